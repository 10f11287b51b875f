// SPDX-License-Identifier: GPL-2.0

//! The order in which stores become durable, as types.
//!
//! A store is [`Stored`], then [`Flushed`], then [`Durable`]; each step consumes the previous one.
//! A step that requires another to be durable takes its `Durable` as an argument, so a commit in
//! the wrong order does not compile. The parameter `W` is the kind of store: [`Fresh`], [`Log`] or
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

/// New blocks that are not referenced yet.
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

/// Stores whose write-back has started.
#[must_use]
pub struct Flushed<'m, M: Medium, W> {
    medium: &'m M,
    what: PhantomData<W>,
}

/// Proof that the stores are durable.
#[must_use]
pub struct Durable<W> {
    what: PhantomData<W>,
}

impl<'m, M: Medium, W> Stored<'m, M, W> {
    /// Asserts that `off..off + len` was stored. Only the owner of a kind of store calls this.
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
    /// Asserts that stores of this kind were made and flushed one by one.
    pub(super) fn new(medium: &'m M) -> Self {
        Flushed {
            medium,
            what: PhantomData,
        }
    }

    /// Waits until the stores are durable.
    pub(super) fn fence(self) -> Durable<W> {
        self.medium.fence();
        Durable { what: PhantomData }
    }
}

impl Durable<Fresh> {
    /// Returns the proof for a transaction that stored nothing outside the log.
    pub(super) fn nothing() -> Self {
        Durable { what: PhantomData }
    }
}
