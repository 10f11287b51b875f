// SPDX-License-Identifier: GPL-2.0

//! The record of the journal.
//!
//! A record is a [`Header`] followed by entries: bytes for a place, a run of bits to set or clear
//! in one of the bitmaps, or the checksums of a group in the bitmaps. It is complete if its two
//! checksums are right; they cover the header and all entries.

use zerocopy::{
    little_endian::{
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
    bitmap::Plane,
    crc::Checksum,
    offset_of,
    status::STATUS,
    superblock::JOURNAL_BLOCKS,
    Geometry,
    BLOCK_SIZE, //
};

/// The fewest blocks of a journal that has room for every operation of the engine, whatever the
/// shape of the trees. Every mkfs makes at least so many.
pub const BLOCKS_MIN: u64 = JOURNAL_BLOCKS;

pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"pJrn");

/// Entry: bytes follow, for a place in the data area or for the status.
pub(crate) const BYTES: u32 = 1;
/// Entry: blocks are in use.
pub(crate) const BLOCKS_USED: u32 = 2;
/// Entry: blocks are free.
pub(crate) const BLOCKS_FREE: u32 = 3;
/// Entry: blocks hold inodes.
pub(crate) const INODES_HERE: u32 = 4;
/// Entry: blocks do not hold inodes.
pub(crate) const INODES_GONE: u32 = 5;
/// Entry: the checksums of a group in the bitmaps.
pub(crate) const SUMS: u32 = 6;

/// The start of a record: one cache line.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: U32,
    /// CRC-32C of the entries, then of the header after this field.
    pub(crate) crc: U32,
    /// XXH64 of the entries, [`PIECE`] bytes at a time, then of the header after this field. The
    /// seed is that of the CRC at first, then the XXH64 so far.
    pub(crate) hash: U64,
    pub(crate) sequence: U64,
    /// Bytes of all entries.
    pub(crate) len: U64,
    pub(crate) reserved: [u8; 32],
}

/// Bytes of entries that are hashed at a time. It is part of the format.
pub(crate) const PIECE: usize = 256;

pub(crate) const HEADER: u64 = size_of::<Header>() as u64;

/// The start of an entry. All parts are multiples of eight bytes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct EntryHead {
    pub(crate) kind: U32,
    /// Length of the data that follows, in bytes.
    pub(crate) len: U32,
    /// Byte offset, number of the first bit, or group.
    pub(crate) start: U64,
    /// Number of bits, or the checksums.
    pub(crate) bits: U64,
}

pub(crate) const ENTRY: u64 = size_of::<EntryHead>() as u64;

/// Returns the bytes that the entries of one record can take.
pub(crate) const fn capacity(geometry: &Geometry) -> u64 {
    geometry.journal_blocks * BLOCK_SIZE - HEADER
}

/// Returns which bitmap an entry of this kind changes, and whether it sets bits.
pub(crate) fn bitmap_change(kind: u32) -> Option<(Plane, bool)> {
    match kind {
        BLOCKS_USED => Some((Plane::Used, true)),
        BLOCKS_FREE => Some((Plane::Used, false)),
        INODES_HERE => Some((Plane::Inodes, true)),
        INODES_GONE => Some((Plane::Inodes, false)),
        _ => None,
    }
}

/// The checksums of a record so far.
pub(crate) struct Sums<'c, C: Checksum> {
    pub(crate) checksum: &'c C,
    pub(crate) crc: u32,
    pub(crate) hash: u64,
}

impl<'c, C: Checksum> Sums<'c, C> {
    /// Returns the checksums of no entry. `crc` is the running checksum at the offset of the
    /// record.
    pub(crate) fn new(checksum: &'c C, crc: u32) -> Self {
        Sums {
            checksum,
            crc,
            hash: u64::from(crc),
        }
    }

    /// Adds entries: [`PIECE`] bytes, or the rest of them.
    pub(crate) fn add(&mut self, piece: &[u8]) {
        self.crc = self.checksum.crc32c(self.crc, piece);
        self.hash = self.checksum.xxh64(self.hash, piece);
    }
}

impl Header {
    /// Sets the checksums, given those of the entries.
    pub(crate) fn seal<C: Checksum>(&mut self, entries: Sums<'_, C>) {
        let Sums {
            checksum,
            crc,
            hash,
        } = entries;
        let behind_hash = self.as_bytes().get(16..).unwrap_or(&[]);
        self.hash.set(checksum.xxh64(hash, behind_hash));
        let behind_crc = self.as_bytes().get(8..).unwrap_or(&[]);
        self.crc.set(checksum.crc32c(crc, behind_crc));
    }

    /// Returns whether the checksums are right, given those of the entries.
    pub(crate) fn is_sealed<C: Checksum>(&self, entries: Sums<'_, C>) -> bool {
        let mut right = *self;
        right.seal(entries);
        self.crc == right.crc && self.hash == right.hash
    }
}

/// Returns whether the journal may store `len` bytes at `off`.
pub(crate) fn allowed(geometry: &Geometry, off: u64, len: u64) -> bool {
    let Some(end) = off.checked_add(len) else {
        return false;
    };
    let status = off >= STATUS && end <= STATUS + BLOCK_SIZE;
    let data = off >= offset_of(geometry.data_start) && end <= offset_of(geometry.data_end);
    off % 8 == 0 && len % 8 == 0 && len > 0 && (status || data)
}
