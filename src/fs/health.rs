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

use super::{
    errno,
    inode::MapsWritten,
    super_block::{
        Pinfs,
        Session, //
    }, //
};
use crate::{
    dax,
    format::{
        self,
        mount,
        Tx, //
    },
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
pub(super) struct Health(Atomic<i32>);

const IDLE: i32 = 1 << 0;
const DAMAGED: i32 = 1 << 1;
const DOWN: i32 = 1 << 2;

impl Health {
    /// A file system that is being mounted: idle.
    pub(super) fn new() -> Self {
        Self(Atomic::new(IDLE))
    }

    /// Changes the state, and returns the one before.
    fn update(&self, change: impl Fn(i32) -> i32) -> i32 {
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
        self.data().health().check_readable()
    }

    /// Fails with `EIO` if the file system was shut down, and with `EROFS` if it is damaged or mounted
    /// read-only.
    pub(super) fn check_writable(&self) -> Result {
        self.data().health().check_writable()
    }

    /// Runs `operation` as one transaction, which is durable when this returns.
    ///
    /// Takes the journal lock.
    ///
    /// # Errors
    ///
    /// What `operation` says, with nothing changed; `EROFS` after a commit could not be completed,
    /// after damage was found, or while the file system is idle, `EIO` after it was shut down.
    pub(super) fn transact<R>(
        &self,
        maps: &impl MapsWritten,
        operation: impl FnOnce(&mut Tx<'_, Session<'_>>) -> format::Result<R>,
    ) -> Result<R> {
        self.data()
            .transact(maps, operation)?
            .map_err(|err| self.report(err))
    }

    /// Returns the errno. The first damage is said in the kernel log, and to whoever watches the
    /// file system (fanotify's `FAN_FS_ERROR`), and nothing is written from then on: what is
    /// written by the word of damaged metadata may go over good data.
    pub(super) fn report(&self, err: format::Error) -> Error {
        let errno = errno(err);
        if let format::Error::Corrupt(what) = err {
            let data = self.data();
            let before = data.health().update(|state| state | DAMAGED);
            if before & (DAMAGED | DOWN) == 0 && data.is_unrecovered() {
                pr_err!(
                    "{}: {what}: the journal was not replayed (norecovery), so this need not be \
                     damage\n",
                    self.id()
                );
            } else if before & (DAMAGED | DOWN) == 0 {
                pr_err!(
                    "{}: {what}: the file system is damaged, nothing is written any more; \
                     unmount it, keep a copy of the device and run fsck.pinfs\n",
                    self.id()
                );
                self.ask_for_check();
                self.report_damage(errno);
            }
        }
        errno
    }

    /// Has fsck look at everything, even if the file system is unmounted cleanly. That is noted in a
    /// word of its own, which can be stored whatever has gone wrong; nothing else is by this.
    pub(super) fn ask_for_check(&self) {
        if self.is_read_only() || mount::ask_for_check(self.data().medium()).is_err() {
            pr_warn!("{}: run fsck.pinfs -f, the need is not noted\n", self.id());
        }
    }

    /// Ends the use of the file system: nothing is read or written from then on.
    pub(super) fn shut_down(&self, why: &str) {
        let data = self.data();
        if data.health().update(|state| state | DOWN) & DOWN != 0 {
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
