// SPDX-License-Identifier: GPL-2.0

//! State of a mounted file system.
//!
//! The state of damage only gets worse until the next mount: in use, then read-only because damaged
//! metadata was found, then shut down. In addition the file system is *idle* while it is mounted
//! read-only: then nothing is written, even if the VFS permits it. A forced remount (sysrq-u) does
//! not check for users, and leaves files open for writing, pins and evictions. The state is checked
//! before metadata is read or changed, and at every request for a block of a file. Existing
//! mappings stay.
//!
//! A change checks the state under the journal lock ([`SuperBlock::transact`]). So after the state
//! was set and that lock was taken once, no change that saw the old state is in progress. A change
//! of several transactions may be stopped between two of them. Then the inode is on the orphan
//! list, and [`recovery`](super::recovery) continues it when the file system becomes writable
//! again.

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

/// The state of the file system, as bits. None is set while all operations are allowed. See the
/// [module](self)'s documentation.
pub(super) struct FsState(Atomic<i32>);

const IDLE: i32 = 1 << 0;
pub(super) const DAMAGED: i32 = 1 << 1;
pub(super) const DOWN: i32 = 1 << 2;

impl FsState {
    /// Returns the state of a file system that is being mounted: idle.
    pub(super) fn new() -> Self {
        Self(Atomic::new(IDLE))
    }

    /// Changes the state, and returns the old one.
    pub(super) fn update(&self, change: impl Fn(i32) -> i32) -> i32 {
        let mut old = self.0.load(Relaxed);
        while let Err(seen) = self.0.cmpxchg(old, change(old), Full) {
            old = seen;
        }
        old
    }

    /// Allows or forbids new changes. Changes in progress hold the journal lock.
    pub(super) fn set_idle(&self, idle: bool) {
        self.update(|state| if idle { state | IDLE } else { state & !IDLE });
    }

    /// Returns whether nothing is written because the file system is mounted read-only.
    pub(super) fn is_idle(&self) -> bool {
        self.0.load(Relaxed) & IDLE != 0
    }

    fn check_readable(&self) -> Result {
        match self.0.load(Relaxed) & DOWN {
            0 => Ok(()),
            _ => Err(EIO),
        }
    }

    /// Fails if changes are not allowed.
    pub(super) fn check_writable(&self) -> Result {
        match self.0.load(Relaxed) {
            0 => Ok(()),
            state if state & DOWN == 0 => Err(EROFS),
            _ => Err(EIO),
        }
    }

    /// Fails if changes are not allowed even for recovery.
    pub(super) fn check_sound(&self) -> Result {
        match self.0.load(Relaxed) & (DAMAGED | DOWN) {
            0 => Ok(()),
            DAMAGED => Err(EROFS),
            _ => Err(EIO),
        }
    }

    /// Returns the state as a mount option.
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

    /// Fails with `EIO` if the file system was shut down, and with `EROFS` if it is damaged or
    /// mounted read-only.
    pub(super) fn check_writable(&self) -> Result {
        self.data().state().check_writable()
    }

    /// Shuts the file system down: reads and writes fail from then on.
    pub(super) fn shut_down(&self, why: &str) {
        let data = self.data();
        if data.state().update(|state| state | DOWN) & DOWN != 0 {
            return;
        }
        data.drain();
        pr_warn!(
            "{}: shut down {why}; it can be mounted again after an unmount\n",
            self.id()
        );
        self.report_shutdown();
    }

    /// Makes all completed writes durable.
    pub(super) fn flush(&self) -> Result {
        self.check_readable()?;
        // Transactions are durable when they return; only the buffers of the device are left.
        dax::flush_device(self)
    }
}
