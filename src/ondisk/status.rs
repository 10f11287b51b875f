// SPDX-License-Identifier: GPL-2.0

//! The status, which changes for the file system as a whole: mount state, orphan list, inode count,
//! label.

use zerocopy::little_endian::{
    I64,
    U32,
    U64, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use super::{
    header::{
        Object,
        Seal, //
    },
    offset_of,
    superblock::{
        LABEL_MAX,
        STATUS_BLOCK, //
    },
    Time, //
};

/// [`Status::flags`]: mounted for writing, or not unmounted.
pub const MOUNTED: u32 = 1 << 0;

/// Offset of the status.
pub const STATUS: u64 = offset_of(STATUS_BLOCK);

/// Offset of a word that requests a check: after the status, in the same block and in a cache line
/// of its own. It shares the line with no other data, and older code does not change it.
///
/// It is no flag of the status, because it must be possible to set it when no other write is: after
/// a failed commit, during a transaction, or when the status itself is damaged. The store of a word
/// is atomic; it needs neither journal nor checksum. Any value but 0 counts.
pub const CHECK: u64 = STATUS + 2048;

/// Value of the word if a check is requested.
pub(crate) const WANTED: u64 = u64::from_le_bytes(*b"pinfsck!");

/// The state of the file system as a whole that changes.
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
    pub(crate) label: [u8; LABEL_MAX],
    /// Zero.
    pub reserved: [u8; 160],
}

const _: () = assert!(size_of::<Status>() == 256);

impl Object for Status {
    const MAGIC: u32 = u32::from_le_bytes(*b"pSta");
    const DAMAGED: &'static str = "status block is damaged";
}

impl Status {
    /// Returns the number of inodes in use.
    pub fn inodes(&self) -> u64 {
        self.inodes.get()
    }

    /// Returns the number of mounts for writing so far.
    pub fn mounts(&self) -> u64 {
        self.mounts.get()
    }

    /// Returns whether the orphan list has inodes.
    pub fn has_orphans(&self) -> bool {
        self.orphans.get() != 0
    }

    /// Returns the label, padded with NULs.
    pub fn label(&self) -> [u8; LABEL_MAX] {
        self.label
    }

    pub(crate) fn change(&mut self, flags: u32, now: Time) {
        self.flags.set(flags);
        self.changed_sec.set(now.sec);
        self.changed_nsec.set(now.nsec);
    }
}
