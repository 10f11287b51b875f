// SPDX-License-Identifier: GPL-2.0

//! What changes for the file system as a whole: mount state, orphan list, inode count, label.
//!
//! To mount: [`Volume::open`], [`journal::recover`](super::journal::recover), [`Space::load`],
//! [`Journal::new`], [`mounted`] in a transaction, and [`orphan::work_off`](super::orphan::work_off).
//! To unmount: [`unmounted`], then [`Journal::retire`].
//!
//! [`Space::load`]: super::Space::load
//! [`Journal::new`]: super::Journal::new
//! [`Journal::retire`]: super::Journal::retire

use zerocopy::{
    little_endian::{
        I64,
        U32,
        U64, //
    },
    FromZeros, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use super::{
    offset_of,
    superblock::{
        LABEL_MAX,
        STATUS_BLOCK, //
    },
    volume::{
        Object,
        Seal, //
    },
    Error,
    Medium,
    Result,
    Time,
    Tx,
    Volume, //
};

/// [`Status::flags`]: mounted for writing, or not unmounted.
pub const MOUNTED: u32 = 1 << 0;

/// Where the status stands.
pub const STATUS: u64 = offset_of(STATUS_BLOCK);

/// Where a word stands that asks for a check: behind the status, in the same block and in a cache line
/// of its own. Nothing else is there, and who does not know of the word leaves it alone.
///
/// It is no flag of the status, because it must be possible to set it when nothing else can be written
/// any more: after a commit that failed, beside a transaction that goes on, when the status itself is
/// damaged. To store a word is atomic; it needs neither journal nor checksum. Any value but 0 counts.
pub const CHECK: u64 = STATUS + 2048;

/// What [`ask_for_check`] stores there.
const WANTED: u64 = u64::from_le_bytes(*b"pinfsck!");

/// The changing part of what mkfs wrote into the superblock.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Status {
    seal: Seal,
    /// [`MOUNTED`].
    pub flags: U32,
    changed_nsec: U32,
    /// Seconds of the last mount or umount.
    changed_sec: I64,
    /// Mounts for writing so far.
    pub mounts: U64,
    /// Inodes in use.
    pub inodes: U64,
    /// The newest inode on the orphan list, or 0.
    pub orphans: U64,
    /// Zero.
    pub reserved0: [u8; 16],
    label: [u8; LABEL_MAX],
    /// Zero.
    pub reserved: [u8; 160],
}

const _: () = assert!(size_of::<Status>() == 256);

impl Object for Status {
    const MAGIC: u32 = u32::from_le_bytes(*b"pSta");
    const DAMAGED: &'static str = "status block is damaged";
}

impl Status {
    /// Inodes in use.
    pub fn inodes(&self) -> u64 {
        self.inodes.get()
    }

    /// Mounts for writing so far.
    pub fn mounts(&self) -> u64 {
        self.mounts.get()
    }

    /// Whether the last mount for writing was not undone by an umount.
    pub fn is_dirty(&self) -> bool {
        self.flags.get() & MOUNTED != 0
    }

    /// Whether inodes wait on the orphan list.
    pub fn has_orphans(&self) -> bool {
        self.orphans.get() != 0
    }

    /// What the user calls the file system, NULs at the end.
    pub fn label(&self) -> [u8; LABEL_MAX] {
        self.label
    }

    /// The time of the last mount or umount.
    pub fn changed(&self) -> Time {
        Time {
            sec: self.changed_sec.get(),
            nsec: self.changed_nsec.get(),
        }
    }

    fn change(&mut self, flags: u32, now: Time) {
        self.flags.set(flags);
        self.changed_sec.set(now.sec);
        self.changed_nsec.set(now.nsec);
    }
}

/// The status as it is on the medium. Locks: the journal lock, or nobody writes.
pub fn status<M: Medium>(volume: &Volume<M>) -> Result<Status> {
    volume.load(STATUS)
}

/// Asks for a check: the file system is not sound, or something could not be done because it is not.
/// `fsck.pinfs` then looks at everything, even if the file system is unmounted cleanly afterwards.
///
/// Locks: none.
pub fn ask_for_check<M: Medium>(medium: &M) -> Result {
    set_check(medium, WANTED)
}

/// Says that a check has been made and everything is sound. Locks: nobody else writes.
pub fn checked<M: Medium>(medium: &M) -> Result {
    set_check(medium, 0)
}

fn set_check<M: Medium>(medium: &M, word: u64) -> Result {
    medium.write(CHECK, &word.to_le_bytes())?;
    medium.flush(CHECK, size_of::<u64>() as u64)?;
    medium.fence();
    Ok(())
}

/// Whether somebody has asked for a check.
pub fn wants_check<M: Medium>(volume: &Volume<M>) -> Result<bool> {
    Ok(volume.word(CHECK)? != 0)
}

/// The status of a new file system with one inode.
pub(super) fn first_status(now: Time, label: [u8; LABEL_MAX]) -> Status {
    let mut status = Status::new_zeroed();
    status.inodes.set(1);
    status.label = label;
    status.change(0, now);
    status
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

/// Gives the file system another label; NULs stand behind a shorter one.
pub fn set_label<M: Medium>(tx: &mut Tx<'_, M>, label: [u8; LABEL_MAX]) -> Result {
    tx.status_mut()?.label = label;
    Ok(())
}

/// Records an umount.
pub fn unmounted<M: Medium>(tx: &mut Tx<'_, M>, now: Time) -> Result {
    tx.status_mut()?.change(0, now);
    Ok(())
}
