// SPDX-License-Identifier: GPL-2.0

//! Layout leases, long-term pins, and the operations that have to heed them.
//!
//! Leases and pins decide about each other under one lock, so they live in one place. Nothing here
//! knows how a file system keeps its blocks: it is about inodes and ranges, and [`host`] is all that
//! is asked of the file system.
//!
//! * Leases. [`fcntl`]: `F_SETLEASE` and `F_GETLEASE` with F_LAYOUT; [`ioctl`]: the same on ranges.
//!   [`lease_state`]: the life of a lease; [`lease_ranges`]: what it covers.
//! * Breaking. [`breaking`]: what an operation asks before it frees, moves or un-shares blocks.
//! * Pins. [`context`]: what owns a pin; [`uring_clones`]: what has a part in it.
//!   [`longterm`] and [`reserve`]: how a pin comes onto the record. [`unpin`], [`observer`] and
//!   [`deferred`]: how it comes off. [`proc`]: what is seen of it.
//! * The record. [`registry`]: the tables, and the one lock over all of them; [`folio_runs`]: which
//!   pages; [`node_cache`]: memory for both.
//!
//! # Locks
//!
//! The lock order is in [`lock`](crate::rust::lock). While the registry's lock ([`registry::lock`]) is
//! held, nothing sleeps, and nothing is dropped whose destructor could sleep or take a lock.
//!
//! `tests/models` has models of what happens at the same time, on the host.

use self::{
    fcntl::Fcntl,
    host::Host,
    pins::Pins, //
};
use crate::rust::{
    hook::{
        self,
        Hook, //
    },
    lease::{
        GetLease,
        SetLease, //
    }, //
};
use kernel::prelude::*;

mod breaking;
mod context;
mod deferred;
mod fcntl;
mod folio_runs;
pub(crate) mod host;
mod ioctl;
mod lease_ranges;
mod lease_state;
mod longterm;
mod node_cache;
mod observer;
mod pins;
mod proc;
mod registry;
mod reserve;
mod unpin;
mod uring_clones;

pub(crate) use self::breaking::{
    break_layouts,
    is_held,
    is_pinned,
    mark_pinned_dirty,
    unless_pinned, //
};
pub(crate) use self::fcntl::closed;
pub(crate) use self::ioctl::lease as lease_ioctl;

/// Leases and pins with their hooks, as long as the value lives.
pub(crate) struct Layout<H: Host> {
    /// Both hooks or none: a lease that cannot be asked for is no use, and neither is one that
    /// cannot be seen. Comes first, so that nothing is leased when the rest goes.
    fcntl: Option<FcntlHooks<H>>,
    pins: Pins<H>,
}

type FcntlHooks<H> = (
    Pin<KBox<Hook<SetLease<Fcntl<H>>>>>,
    Pin<KBox<Hook<GetLease<Fcntl<H>>>>>,
);

impl<H: Host> Layout<H> {
    /// Opens the registry, and starts to decide on long-term pins and to answer `fcntl()`. Where the
    /// kernel lacks a hook point, everything else works.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let pins = Pins::new()?;
        let hooks = || -> Result<_> { Ok((Hook::new()?, Hook::new()?)) };
        let fcntl = hook::optional(hooks(), "layout leases through fcntl() are")?;
        Ok(Self { fcntl, pins })
    }

    /// Says whether `fcntl()` takes layout leases.
    pub(crate) fn has_leases(&self) -> bool {
        self.fcntl.is_some()
    }

    /// Says whether long-term pins can be taken at all.
    pub(crate) fn has_longterm(&self) -> bool {
        self.pins.has_longterm()
    }

    /// Says whether there is `/proc/PID/file_pins`.
    pub(crate) fn has_file_pins(&self) -> bool {
        self.pins.has_file_pins()
    }
}
