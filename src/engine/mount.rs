// SPDX-License-Identifier: GPL-2.0

//! Mount and umount, and other changes of the file system as a whole.
//!
//! To mount: [`Volume::open`], [`journal::recover`](super::journal::recover), [`Space::load`],
//! [`Journal::new`], [`mounted`] in a transaction, and
//! [`orphan::work_off`](super::orphan::work_off). To unmount: [`unmounted`], then
//! [`Journal::retire`].
//!
//! [`Space::load`]: super::Space::load
//! [`Journal::new`]: super::Journal::new
//! [`Journal::retire`]: super::Journal::retire

use super::{
    Medium,
    Tx,
    Volume, //
};
use crate::ondisk::{
    status::{
        Status,
        CHECK,
        MOUNTED,
        STATUS,
        WANTED, //
    },
    superblock::LABEL_MAX,
    Error,
    Result,
    Time, //
};

/// Reads the status from the medium. Locks: the journal lock, or no writers.
pub fn status<M: Medium>(volume: &Volume<M>) -> Result<Status> {
    volume.load(STATUS)
}

/// Requests a check: the file system is damaged, or damage made an operation fail. `fsck.pinfs`
/// then checks everything, even if the file system is unmounted cleanly afterwards.
///
/// Locks: none.
pub fn ask_for_check<M: Medium>(medium: &M) -> Result {
    set_check(medium, WANTED)
}

pub(crate) fn set_check<M: Medium>(medium: &M, word: u64) -> Result {
    medium.write(CHECK, &word.to_le_bytes())?;
    medium.flush(CHECK, size_of::<u64>() as u64)?;
    medium.fence();
    Ok(())
}

/// Returns whether a check is requested.
pub fn wants_check<M: Medium>(volume: &Volume<M>) -> Result<bool> {
    Ok(volume.word(CHECK)? != 0)
}

/// Records a mount for writing.
pub fn mounted<M: Medium>(tx: &mut Tx<'_, M>, now: Time) -> Result {
    let status = tx.status_mut()?;
    let mounts = status.mounts.get().checked_add(1);
    status
        .mounts
        .set(mounts.ok_or(Error::Corrupt("mount count"))?);
    status.change(MOUNTED, now);
    Ok(())
}

/// Sets the label of the file system. A shorter one is padded with NULs.
pub fn set_label<M: Medium>(tx: &mut Tx<'_, M>, label: [u8; LABEL_MAX]) -> Result {
    tx.status_mut()?.label = label;
    Ok(())
}

/// Records an umount.
pub fn unmounted<M: Medium>(tx: &mut Tx<'_, M>, now: Time) -> Result {
    tx.status_mut()?.change(0, now);
    Ok(())
}
