// SPDX-License-Identifier: GPL-2.0

//! Layout leases, long-term pins, and the operations that conflict with them.
//!
//! Leases and pins depend on each other under one lock, so they are in one place. The code here
//! does not know how a file system keeps its blocks: it handles inodes and ranges, and [`host`] is
//! the whole interface to the file system.
//!
//! * Leases. [`fcntl`]: `F_SETLEASE` and `F_GETLEASE` with F_LAYOUT; [`ioctl`]: the same on ranges.
//!   [`lease_state`]: the life of a lease; [`lease_ranges`]: the pages that it covers.
//! * Breaking. [`breaking`]: checks of an operation before it frees, moves or un-shares blocks.
//! * Pins. [`context`]: owners of pins; [`uring_clones`]: files that share pins. [`longterm`] and
//!   [`reserve`]: recording a pin. [`unpin`], [`observer`] and [`deferred`]: removing its record.
//!   [`proc`]: files in `/proc` that show pins.
//! * The record. [`registry`]: the tables, and the one lock over all of them; [`folio_runs`]:
//!   pinned pages; [`node_cache`]: memory for both.
//!
//! # Locks
//!
//! The lock order is in [`lock`](crate::rust::lock). While the registry's lock ([`registry::lock`])
//! is held, the task does not sleep, and drops no value whose destructor could sleep or take a
//! lock.
//!
//! `tests/models` has models of concurrent operations, which run on the host.

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
    /// Both hooks or none: a lease needs both the request and the report of leases. It is the first
    /// field, so that no lease is taken while the others are dropped.
    fcntl: Option<FcntlHooks<H>>,
    pins: Pins<H>,
}

type FcntlHooks<H> = (
    Pin<KBox<Hook<SetLease<Fcntl<H>>>>>,
    Pin<KBox<Hook<GetLease<Fcntl<H>>>>>,
);

impl<H: Host> Layout<H> {
    /// Opens the registry, and starts to decide on long-term pins and to handle `fcntl()`. If the
    /// kernel lacks a hook point, the other features work.
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

    /// Returns whether `fcntl()` takes layout leases.
    pub(crate) fn has_leases(&self) -> bool {
        self.fcntl.is_some()
    }

    /// Returns whether long-term pins can be taken.
    pub(crate) fn has_longterm(&self) -> bool {
        self.pins.has_longterm()
    }

    /// Returns whether `/proc/PID/file_pins` exists.
    pub(crate) fn has_file_pins(&self) -> bool {
        self.pins.has_file_pins()
    }
}
