// SPDX-License-Identifier: GPL-2.0

//! The superblock: sizes and positions.

use core::fmt;

use zerocopy::{
    little_endian::{
        I64,
        U32,
        U64, //
    },
    IntoBytes, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use super::{
    crc::Checksum,
    error::{
        EINVAL,
        EIO,
        EUCLEAN, //
    },
    BLOCK_SIZE,
    GROUP_BLOCKS,
    INODE_SIZE,
    INODE_SLOTS, //
};

/// The first eight bytes of a pinfs device. The line ends catch a transfer as text.
pub const MAGIC: [u8; 8] = *b"pinfs\0\r\n";

/// The version that this code writes, and the only one it accepts. Additions to the format are
/// features, so the number changes only if the format of the superblock itself does.
pub const VERSION: u32 = 1;

/// A bit in addition to [`VERSION`]: a repair is being written, and the file system must not be
/// used until it is complete. It shares an aligned word with the checksum, so that one store sets
/// or clears both.
pub(crate) const REPAIRING: u32 = 1 << 31;

/// The known features with which older code may read, but not write.
pub const RO_COMPAT: u64 = 0;

/// The known features with which older code must not mount.
pub const INCOMPAT: u64 = 0;

/// Bytes for the label. A shorter one is padded with NULs.
pub const LABEL_MAX: usize = 32;

/// The smallest device, in blocks: 2 MiB.
pub const MIN_BLOCKS: u64 = 512;

/// The largest device, in blocks: 4 PiB.
pub const MAX_BLOCKS: u64 = 1 << 40;

/// The block that holds the status.
pub const STATUS_BLOCK: u64 = 1;

/// Blocks of one journal.
pub const JOURNAL_BLOCKS: u64 = 64;

/// The most blocks a journal of a valid file system may have.
const JOURNAL_BLOCKS_MAX: u64 = 1 << 16;

/// Bits that one bitmap block holds.
pub(crate) const BITS_PER_BLOCK: u64 = BLOCK_SIZE * 8;

/// Groups whose checksums one block holds.
const SUMS_PER_BLOCK: u64 = BLOCK_SIZE / 8;

/// The superblock on the medium.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Superblock {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// CRC-32C of all other fields.
    pub crc: U32,
    /// [`VERSION`].
    pub version: U32,
    /// Features that older code may ignore; this code knows none.
    pub compat: U64,
    /// [`RO_COMPAT`].
    pub ro_compat: U64,
    /// [`INCOMPAT`].
    pub incompat: U64,
    /// Random or chosen by the user.
    pub uuid: [u8; 16],
    /// [`BLOCK_SIZE`].
    pub block_size: U32,
    /// [`INODE_SIZE`].
    pub inode_size: U32,
    /// Blocks of the file system, metadata included.
    pub blocks: U64,
    /// Block of the status.
    pub status_block: U64,
    /// First block of the journals.
    pub journal_start: U64,
    /// Blocks of one journal.
    pub journal_blocks: U64,
    /// Number of journals, one after the other; this version uses one.
    pub journal_count: U64,
    /// First block of the block bitmap.
    pub bitmap_start: U64,
    /// First block of the inode-block bitmap.
    pub inode_bitmap_start: U64,
    /// Blocks of each bitmap.
    pub bitmap_blocks: U64,
    /// First block of the checksums of the bitmaps.
    pub sums_start: U64,
    /// Blocks of the checksums.
    pub sums_blocks: U64,
    /// First block that can be allocated.
    pub data_start: U64,
    /// Block of the backup: the last block, and the end of the data area.
    pub backup_block: U64,
    /// Number of the root directory's inode.
    pub root_ino: U64,
    /// Key of the directory hash.
    pub hash_key: [U64; 2],
    /// Seconds of the time of creation since 1970.
    pub created_sec: I64,
    /// Nanoseconds of the time of creation.
    pub created_nsec: U32,
    /// Zero.
    pub reserved: [u8; 316],
}

const _: () = assert!(size_of::<Superblock>() == 512);

/// Returns the number of blocks for the checksums of the bitmaps of `blocks` blocks.
pub(crate) fn sums_blocks(blocks: u64) -> u64 {
    blocks.div_ceil(GROUP_BLOCKS).div_ceil(SUMS_PER_BLOCK)
}

/// Reason to refuse a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountError {
    /// The magic is missing.
    NotPinfs,
    /// The magic is there, the checksum is wrong.
    BadChecksum,
    /// A repair was begun and is not complete.
    Repairing,
    /// The version of the format is newer.
    NewerVersion(u32),
    /// The file system needs features, given as their bits, that this code does not know.
    UnknownFeatures(u64),
    /// The file system is longer than the device; both in bytes.
    DeviceTooSmall {
        /// Size in the superblock.
        need: u64,
        /// Size of the device.
        have: u64,
    },
    /// The positions and sizes contradict each other.
    BadGeometry,
    /// The medium could not be read.
    Io,
}

impl MountError {
    /// Returns the negative errno for mount(2).
    pub const fn errno(self) -> i32 {
        match self {
            MountError::NotPinfs | MountError::NewerVersion(_) | MountError::UnknownFeatures(_) => {
                EINVAL
            }
            MountError::BadChecksum | MountError::BadGeometry | MountError::Repairing => EUCLEAN,
            MountError::DeviceTooSmall { .. } => EINVAL,
            MountError::Io => EIO,
        }
    }
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MountError::NotPinfs => f.write_str("no pinfs superblock found"),
            MountError::BadChecksum => f.write_str("superblock checksum is wrong"),
            MountError::Repairing => f.write_str("a repair was cut short; fsck.pinfs completes it"),
            MountError::NewerVersion(v) => {
                write!(
                    f,
                    "format version {v} is newer than {VERSION}, the newest known"
                )
            }
            MountError::UnknownFeatures(bits) => {
                write!(f, "unknown incompatible features {bits:#x}")
            }
            MountError::DeviceTooSmall { need, have } => {
                write!(f, "file system of {need} bytes on a device of {have} bytes")
            }
            MountError::BadGeometry => f.write_str("superblock geometry is invalid"),
            MountError::Io => f.write_str("cannot read the superblock"),
        }
    }
}

/// The contents of the superblock that the engine needs, checked and in native numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks of the file system.
    pub blocks: u64,
    /// First block of the journal.
    pub journal_start: u64,
    /// Blocks of the journal in use.
    pub journal_blocks: u64,
    /// First block of the block bitmap.
    pub bitmap_start: u64,
    /// First block of the inode-block bitmap.
    pub inode_bitmap_start: u64,
    /// First block of the checksums of the bitmaps.
    pub sums_start: u64,
    /// First block that can be allocated.
    pub data_start: u64,
    /// The block after the last one that can be allocated; it holds the backup superblock.
    pub data_end: u64,
    /// The root directory.
    pub root_ino: u64,
    /// UUID of the file system.
    pub uuid: [u8; 16],
    /// The superblock has features that forbid writes by this code.
    pub read_only: bool,
    /// Initial value of every checksum.
    pub(crate) crc_seed: u32,
    /// Key of the directory hash.
    pub(crate) hash_key: (u64, u64),
}

impl Superblock {
    /// Returns the checksum for [`Superblock::crc`].
    pub fn checksum<C: Checksum>(&self, checksum: &C) -> u32 {
        let bytes = self.as_bytes();
        let crc = bytes
            .get(..8)
            .map_or(!0, |magic| checksum.crc32c(!0, magic));
        bytes
            .get(12..)
            .map_or(crc, |rest| checksum.crc32c(crc, rest))
    }

    pub(crate) fn is_repairing(&self) -> bool {
        self.version.get() == VERSION | REPAIRING
    }

    /// Checks all fields, without reading more of the medium, which has `size` bytes.
    pub fn validate<C: Checksum>(&self, checksum: &C, size: u64) -> Result<Geometry, MountError> {
        if self.magic != MAGIC {
            return Err(MountError::NotPinfs);
        }
        if self.crc.get() != self.checksum(checksum) {
            return Err(MountError::BadChecksum);
        }
        if self.is_repairing() {
            return Err(MountError::Repairing);
        }
        if self.version.get() > VERSION {
            return Err(MountError::NewerVersion(self.version.get()));
        }
        match self.incompat.get() & !INCOMPAT {
            0 => {}
            unknown => return Err(MountError::UnknownFeatures(unknown)),
        }
        let geometry = self.geometry(checksum).ok_or(MountError::BadGeometry)?;
        let need = geometry.blocks * BLOCK_SIZE;
        if size < need {
            return Err(MountError::DeviceTooSmall { need, have: size });
        }
        Ok(geometry)
    }

    /// Returns the geometry, if each area has its size and comes after the previous one.
    fn geometry<C: Checksum>(&self, checksum: &C) -> Option<Geometry> {
        let blocks = self.blocks.get();
        let journal_blocks = self.journal_blocks.get();
        let bitmap_blocks = self.bitmap_blocks.get();
        let root_block = self.root_ino.get() / INODE_SLOTS;
        let in_range = |value: u64, low: u64, high: u64| (low..=high).contains(&value);

        let good = self.version.get() == VERSION
            && u64::from(self.block_size.get()) == BLOCK_SIZE
            && u64::from(self.inode_size.get()) == INODE_SIZE
            && in_range(blocks, MIN_BLOCKS, MAX_BLOCKS)
            && in_range(journal_blocks, 1, JOURNAL_BLOCKS_MAX)
            && in_range(self.journal_count.get(), 1, 1 << 10)
            && bitmap_blocks == blocks.div_ceil(BITS_PER_BLOCK)
            && self.sums_blocks.get() == sums_blocks(blocks)
            && self.backup_block.get() == blocks - 1
            && self.status_block.get() == STATUS_BLOCK;
        if !good {
            return None;
        }
        let areas = [
            (
                self.journal_start.get(),
                journal_blocks * self.journal_count.get(),
            ),
            (self.bitmap_start.get(), bitmap_blocks),
            (self.inode_bitmap_start.get(), bitmap_blocks),
            (self.sums_start.get(), self.sums_blocks.get()),
            (self.data_start.get(), 1),
        ];
        let mut next = STATUS_BLOCK + 1;
        for (start, len) in areas {
            if !in_range(start, next, blocks) {
                return None;
            }
            next = start.checked_add(len)?;
        }
        let data_end = self.backup_block.get();
        let good = next <= data_end
            && in_range(root_block, self.data_start.get(), data_end - 1)
            && self.root_ino.get() % INODE_SLOTS != 0;
        good.then(|| Geometry {
            blocks,
            journal_start: self.journal_start.get(),
            journal_blocks,
            bitmap_start: self.bitmap_start.get(),
            inode_bitmap_start: self.inode_bitmap_start.get(),
            sums_start: self.sums_start.get(),
            data_start: self.data_start.get(),
            data_end,
            root_ino: self.root_ino.get(),
            uuid: self.uuid,
            read_only: self.ro_compat.get() & !RO_COMPAT != 0,
            crc_seed: checksum.crc32c(!0, &self.uuid),
            hash_key: (self.hash_key[0].get(), self.hash_key[1].get()),
        })
    }
}

impl Geometry {
    /// Returns whether all of `start..start + len` can be allocated.
    pub fn in_data(&self, start: u64, len: u64) -> bool {
        start >= self.data_start
            && start
                .checked_add(len)
                .is_some_and(|end| end <= self.data_end)
    }

    /// Returns the number of groups of blocks. The last group may be short.
    pub fn groups(&self) -> u64 {
        self.blocks.div_ceil(GROUP_BLOCKS)
    }
}
