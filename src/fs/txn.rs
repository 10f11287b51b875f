// SPDX-License-Identifier: GPL-2.0

//! Transactions of a mounted file system, and the effect of their errors on it.

use super::{
    errno,
    inode::MapsWritten,
    state::{
        DAMAGED,
        DOWN, //
    },
    super_block::{
        Pinfs,
        Session, //
    }, //
};
use crate::{
    engine::{
        mount,
        Tx, //
    },
    ondisk,
    rust::vfs::SuperBlock, //
};
use kernel::prelude::*;

impl SuperBlock<Pinfs> {
    /// Runs `operation` as one transaction, which is durable when this returns.
    ///
    /// Takes the journal lock.
    ///
    /// # Errors
    ///
    /// The error of `operation`, with nothing changed; `EROFS` after a failed commit, after damage
    /// was found, or while the file system is idle; `EIO` after a shutdown.
    pub(super) fn transact<R>(
        &self,
        maps: &impl MapsWritten,
        operation: impl FnOnce(&mut Tx<'_, Session<'_>>) -> ondisk::Result<R>,
    ) -> Result<R> {
        self.data()
            .transact(maps, operation)?
            .map_err(|err| self.report(err))
    }

    /// Returns the errno. Reports the first damage in the kernel log and through fanotify
    /// (`FAN_FS_ERROR`), and makes the file system read-only: a write directed by damaged metadata
    /// could overwrite good data.
    pub(super) fn report(&self, err: ondisk::Error) -> Error {
        let errno = errno(err);
        if let ondisk::Error::Corrupt(what) = err {
            let data = self.data();
            let before = data.state().update(|state| state | DAMAGED);
            if before & (DAMAGED | DOWN) == 0 && data.is_unrecovered() {
                pr_err!(
                    "{}: {what}: the journal was not replayed (norecovery), so this need not be \
                     damage\n",
                    self.id()
                );
            } else if before & (DAMAGED | DOWN) == 0 {
                pr_err!(
                    "{}: {what}: the file system is damaged and read-only now; \
                     unmount it, keep a copy of the device and run fsck.pinfs\n",
                    self.id()
                );
                self.ask_for_check();
                self.report_damage(errno);
            }
        }
        errno
    }

    /// Requests a full check by fsck, even if the file system is unmounted cleanly. The request is
    /// a word of its own, which can be stored in any state; nothing else is stored.
    pub(super) fn ask_for_check(&self) {
        if self.is_read_only() || mount::ask_for_check(self.data().medium()).is_err() {
            pr_warn!(
                "{}: run fsck.pinfs -f; the request is not recorded\n",
                self.id()
            );
        }
    }
}
