// SPDX-License-Identifier: GPL-2.0

//! How far a mounted file system may still be used.
//!
//! Damage goes one way only, until it is mounted anew: in use, then read-only because metadata was
//! found damaged, then shut down. Beside that it is *idle* while it is mounted read-only: then nothing
//! is written, whatever the VFS lets through. A remount that was forced (sysrq-u) asks nobody, and
//! leaves files open for writing, pins and evictions behind. Whoever is about to look at or change
//! metadata asks, and so does every request for a block of a file; what is mapped already stays so.
//!
//! A change asks with the journal lock held ([`SuperBlock::transact`]). So when that lock has been
//! passed once after the state was set, no change goes on that did not know. A change that takes more
//! than one transaction may be stopped between two; then the inode is on the orphan list, and
//! [`recovery`](super::recovery) goes on with it when the file system is written again.

use super::super_block::Pinfs;
use crate::rust::{
    dax,
    vfs::SuperBlock, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

/// See the [module](self)'s documentation: bits, of which none is set while everything is allowed.
pub(super) struct FsState(Atomic<i32>);

const IDLE: i32 = 1 << 0;
pub(super) const DAMAGED: i32 = 1 << 1;
pub(super) const DOWN: i32 = 1 << 2;

impl FsState {
    /// A file system that is being mounted: idle.
    pub(super) fn new() -> Self {
        Self(Atomic::new(IDLE))
    }

    /// Changes the state, and returns the one before.
    pub(super) fn update(&self, change: impl Fn(i32) -> i32) -> i32 {
        let mut old = self.0.load(Relaxed);
        while let Err(seen) = self.0.cmpxchg(old, change(old), Full) {
            old = seen;
        }
        old
    }

    /// Lets changes begin, or forbids them. Those that go on hold the journal lock.
    pub(super) fn set_idle(&self, idle: bool) {
        self.update(|state| if idle { state | IDLE } else { state & !IDLE });
    }

    /// Says whether nothing is written because the file system is mounted read-only.
    pub(super) fn is_idle(&self) -> bool {
        self.0.load(Relaxed) & IDLE != 0
    }

    fn check_readable(&self) -> Result {
        match self.0.load(Relaxed) & DOWN {
            0 => Ok(()),
            _ => Err(EIO),
        }
    }

    /// Fails if nothing may be written.
    pub(super) fn check_writable(&self) -> Result {
        match self.0.load(Relaxed) {
            0 => Ok(()),
            state if state & DOWN == 0 => Err(EROFS),
            _ => Err(EIO),
        }
    }

    /// Fails if nothing may be written by recovery either.
    pub(super) fn check_sound(&self) -> Result {
        match self.0.load(Relaxed) & (DAMAGED | DOWN) {
            0 => Ok(()),
            DAMAGED => Err(EROFS),
            _ => Err(EIO),
        }
    }

    /// What to show among the mount options.
    pub(super) fn option(&self) -> &'static str {
        let state = self.0.load(Relaxed);
        if state & DOWN != 0 {
            ",shutdown"
        } else if state & DAMAGED != 0 {
            ",emergency_ro"
        } else {
            ""
        }
    }
}

impl SuperBlock<Pinfs> {
    /// Fails with `EIO` if the file system was shut down.
    pub(super) fn check_readable(&self) -> Result {
        self.data().state().check_readable()
    }

    /// Fails with `EIO` if the file system was shut down, and with `EROFS` if it is damaged or mounted
    /// read-only.
    pub(super) fn check_writable(&self) -> Result {
        self.data().state().check_writable()
    }

    /// Ends the use of the file system: nothing is read or written from then on.
    pub(super) fn shut_down(&self, why: &str) {
        let data = self.data();
        if data.state().update(|state| state | DOWN) & DOWN != 0 {
            return;
        }
        data.drain();
        pr_warn!("{}: shut down {why}; it can be mounted anew\n", self.id());
        self.report_shutdown();
    }

    /// Makes everything durable that was written so far.
    pub(super) fn flush(&self) -> Result {
        self.check_readable()?;
        // Transactions are durable as they return; what is left is the device's own buffering.
        dax::flush_device(self)
    }
}
