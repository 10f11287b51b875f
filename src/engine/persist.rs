// SPDX-License-Identifier: GPL-2.0

//! The order in which stores become durable, as types.
//!
//! A store is [`Stored`], then [`Flushed`], then [`Durable`]; each step consumes the one before. A
//! step that depends on another being durable takes its `Durable` as an argument, so a commit in
//! the wrong order does not compile. The parameter `W` says what was stored: [`Fresh`], [`Log`] or
//! [`Home`].
//!
//! ```text
//! Durable<Fresh> --> Stored<Log> --> Flushed<Log> --> Durable<Log>
//!                                                          |
//!                    Durable<Home> <-- Flushed<Home> <-----+
//! ```

use core::marker::PhantomData;

use super::{
    Medium, //
};
use crate::ondisk::Result;

/// New blocks that nothing refers to yet.
pub enum Fresh {}

/// The redo record of a transaction.
pub enum Log {}

/// Objects in their own place.
pub enum Home {}

/// A range that was stored and may still be in the cache.
#[must_use]
pub struct Stored<'m, M: Medium, W> {
    medium: &'m M,
    off: u64,
    len: u64,
    what: PhantomData<W>,
}

/// Stores that are on their way to the memory.
#[must_use]
pub struct Flushed<'m, M: Medium, W> {
    medium: &'m M,
    what: PhantomData<W>,
}

/// Proof that the stores have reached the memory.
#[must_use]
pub struct Durable<W> {
    what: PhantomData<W>,
}

impl<'m, M: Medium, W> Stored<'m, M, W> {
    /// Says that `off..off + len` was stored. Only the owner of a kind of store calls this.
    pub(super) fn new(medium: &'m M, off: u64, len: u64) -> Self {
        Stored {
            medium,
            off,
            len,
            what: PhantomData,
        }
    }

    /// Starts the write-back.
    pub(super) fn flush(self) -> Result<Flushed<'m, M, W>> {
        self.medium.flush(self.off, self.len)?;
        Ok(Flushed::new(self.medium))
    }
}

impl<'m, M: Medium, W> Flushed<'m, M, W> {
    /// Says that a number of stores of this kind were made and flushed one by one.
    pub(super) fn new(medium: &'m M) -> Self {
        Flushed {
            medium,
            what: PhantomData,
        }
    }

    /// Waits for the memory.
    pub(super) fn fence(self) -> Durable<W> {
        self.medium.fence();
        Durable { what: PhantomData }
    }
}

impl Durable<Fresh> {
    /// A transaction that stored nothing outside the log has nothing to wait for.
    pub(super) fn nothing() -> Self {
        Durable { what: PhantomData }
    }
}
