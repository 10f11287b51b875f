// SPDX-License-Identifier: GPL-2.0

//! Reads of the medium, with every checksum verified.

use zerocopy::{
    FromBytes,
    FromZeros,
    IntoBytes, //
};

use super::{
    tree,
    Medium,
    CHUNK, //
};
use crate::ondisk::{
    header::{
        Object,
        Seal, //
    },
    inode::InodeHead,
    inode_offset,
    node::{
        Entry,
        Found,
        Node,
        NodeHead,
        RawEntry, //
    },
    offset_of,
    superblock::Superblock,
    Error,
    Geometry,
    Inode,
    MountError,
    Result,
    BLOCK_SIZE,
    INODE_SLOTS, //
};

/// A file system on a medium, for reading. All readers share it. Writes go through
/// [`Tx`](super::Tx).
pub struct Volume<M> {
    pub(crate) medium: M,
    pub(crate) geometry: Geometry,
}

impl<M: Medium> Volume<M> {
    /// Reads and checks the superblock.
    ///
    /// The journal must have been recovered ([`journal::recover`](super::journal::recover)) before
    /// any other read is valid.
    pub fn open(medium: M) -> core::result::Result<Self, MountError> {
        let (_, geometry) = Superblock::read(&medium)?;
        Ok(Volume { medium, geometry })
    }

    /// Returns the same file system through `medium`, another way to access the same bytes.
    pub fn through<N: Medium>(&self, medium: N) -> Volume<N> {
        Volume {
            medium,
            geometry: self.geometry,
        }
    }

    /// Returns the medium.
    pub fn medium(&self) -> &M {
        &self.medium
    }

    /// Returns positions and identity.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Reads inode `ino`. The number may be any.
    ///
    /// Locks: the inode lock of `ino`, shared, unless no other task can know the number yet.
    ///
    /// # Errors
    /// [`Error::Stale`] if no inode of that number is in use, [`Error::Corrupt`] if it is damaged.
    pub fn inode(&self, ino: u64) -> Result<Inode> {
        if !self.inode_in_use(ino)? {
            return Err(Error::Stale);
        }
        let inode: Inode = self.load(inode_offset(ino))?;
        inode.check_number(ino)?;
        Ok(inode)
    }

    /// Returns whether inode `ino` exists according to the bitmaps. Reads single words, so without
    /// a lock it sees the state either before or after a commit.
    pub(super) fn inode_in_use(&self, ino: u64) -> Result<bool> {
        let block = ino / INODE_SLOTS;
        let slot = ino % INODE_SLOTS;
        if slot == 0 || !self.geometry.in_data(block, 1) {
            return Ok(false);
        }
        let word = offset_of(self.geometry.inode_bitmap_start) + block / 64 * 8;
        if self.word(word)? >> (block % 64) & 1 == 0 {
            return Ok(false);
        }
        let used = self.word(offset_of(block) + InodeHead::USED_OFFSET)?;
        Ok(used >> slot & 1 != 0)
    }

    /// Reads an object of at most [`CHUNK`] bytes.
    pub fn load<T: Object>(&self, off: u64) -> Result<T> {
        let mut object = T::new_zeroed();
        self.medium.read(off, object.as_mut_bytes())?;
        self.verify::<T>(off, object.as_bytes())?;
        if !object.sane() {
            return Err(Error::Corrupt(T::DAMAGED));
        }
        Ok(object)
    }

    /// Writes the checksum into `bytes`, which have the magic.
    pub fn reseal(&self, off: u64, sealed: usize, bytes: &mut [u8]) -> Result {
        let crc = self.checksum(off, sealed, bytes)?;
        put(bytes, 4, crc)
    }

    /// Checks magic and checksum of `bytes`, an object of type `T` read from `off`.
    pub fn verify<T: Object>(&self, off: u64, bytes: &[u8]) -> Result {
        let good = Seal::read_from_prefix(bytes).is_ok_and(|(seal, _)| {
            seal.magic.get() == T::MAGIC
                && self.checksum(off, T::SEALED, bytes) == Ok(seal.crc.get())
        });
        good.then_some(()).ok_or(Error::Corrupt(T::DAMAGED))
    }

    /// Does the same as [`Volume::verify`] for a copy that was just made. Skips the checksum of a
    /// block that is known to be good.
    pub(super) fn verify_copy<T: Object>(&self, off: u64, bytes: &[u8]) -> Result {
        let block = off / BLOCK_SIZE;
        let whole = size_of::<T>() as u64 == BLOCK_SIZE && off % BLOCK_SIZE == 0;
        if whole && self.medium.is_verified(block) {
            let seal = Seal::read_from_prefix(bytes);
            return seal
                .is_ok_and(|(seal, _)| seal.magic.get() == T::MAGIC)
                .then_some(())
                .ok_or(Error::Corrupt(T::DAMAGED));
        }
        self.verify::<T>(off, bytes)?;
        if whole {
            self.remember_verified(block)?;
        }
        Ok(())
    }

    /// Notes that the metadata in a block was found good. Fails for a block that is mapped to user
    /// space: its contents may change at any time.
    fn remember_verified(&self, block: u64) -> Result {
        self.medium.set_verified(block);
        if self.medium.is_mapped(block, 1) {
            self.medium.forget_verified(block, 1);
            return Err(Error::Corrupt("metadata in a mapped block of a file"));
        }
        Ok(())
    }

    fn checksum(&self, off: u64, sealed: usize, bytes: &[u8]) -> Result<u32> {
        let (Some(magic), Some(rest)) = (bytes.get(..4), bytes.get(8..sealed)) else {
            return Err(Error::Corrupt("object shorter than its seal"));
        };
        let crc = self.crc_start(off);
        let crc = self.medium.crc32c(crc, magic);
        Ok(self.medium.crc32c(crc, rest))
    }

    /// Returns the running checksum of an object at `off` before its first byte.
    pub fn crc_start(&self, off: u64) -> u32 {
        self.medium
            .crc32c(self.geometry.crc_seed, &off.to_le_bytes())
    }

    /// Checks magic and checksum of the whole block of a `T`, a chunk at a time.
    pub(super) fn verify_block<T: Object>(&self, block: u64) -> Result {
        if !self.geometry.in_data(block, 1) {
            return Err(Error::Corrupt(T::DAMAGED));
        }
        let base = offset_of(block);
        if self.medium.is_verified(block) {
            let seal: Seal = self.plain(base)?;
            return (seal.magic.get() == T::MAGIC)
                .then_some(())
                .ok_or(Error::Corrupt(T::DAMAGED));
        }
        let mut chunk = [0u8; CHUNK];
        let mut crc = self.crc_start(base);
        let mut expected = Seal::new_zeroed();
        for off in (base..base + BLOCK_SIZE).step_by(CHUNK) {
            self.medium.read(off, &mut chunk)?;
            if off == base {
                expected = Seal::read_from_prefix(&chunk).map_or(expected, |(seal, _)| seal);
                crc = self.medium.crc32c(crc, expected.magic.as_bytes());
                crc = self.medium.crc32c(crc, &chunk[size_of::<Seal>()..]);
            } else {
                crc = self.medium.crc32c(crc, &chunk);
            }
        }
        if expected.magic.get() != T::MAGIC || expected.crc.get() != crc {
            return Err(Error::Corrupt(T::DAMAGED));
        }
        self.remember_verified(block)
    }

    /// Reads a plain structure, which has no checksum of its own.
    pub fn plain<T: FromBytes + IntoBytes>(&self, off: u64) -> Result<T> {
        let mut value = T::new_zeroed();
        self.medium.read(off, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Reads an aligned word.
    pub fn word(&self, off: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        self.medium.read(off, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// Overwrites the four bytes at `at`.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: u32) -> Result {
    bytes
        .get_mut(at..at + 4)
        .ok_or(Error::Corrupt("object shorter than its seal"))?
        .copy_from_slice(&value.to_le_bytes());
    Ok(())
}

/// Source of trees and attributes: the medium, or a transaction that sees its own changes.
pub trait Reader {
    /// Returns positions and identity.
    fn geometry(&self) -> &Geometry;

    /// Checks magic and checksum of the `T` in `block`.
    fn verify<T: Object>(&mut self, block: u64) -> Result;

    /// Reads bytes of an object that [`Reader::verify`] has checked.
    fn bytes(&mut self, block: u64, at: usize, buf: &mut [u8]) -> Result;

    /// Checks that `block` is a tree node of inode `owner` at `level` and returns the number of its
    /// entries.
    fn node(&mut self, block: u64, owner: u64, level: u8) -> Result<usize>;

    /// Returns entry `index` of a node that [`Reader::node`] has checked.
    fn node_entry(&mut self, block: u64, index: usize) -> Result<Entry>;

    /// Does the same as [`Reader::node`], and searches the node for `key`.
    fn node_search(&mut self, block: u64, owner: u64, level: u8, key: i64) -> Result<Found>;
}

impl<M: Medium> Reader for &Volume<M> {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn verify<T: Object>(&mut self, block: u64) -> Result {
        self.verify_block::<T>(block)
    }

    fn bytes(&mut self, block: u64, at: usize, buf: &mut [u8]) -> Result {
        self.medium.read(offset_of(block) + at as u64, buf)
    }

    fn node(&mut self, block: u64, owner: u64, level: u8) -> Result<usize> {
        self.verify_block::<Node>(block)?;
        self.plain::<NodeHead>(offset_of(block))?
            .count(owner, level)
    }

    fn node_entry(&mut self, block: u64, index: usize) -> Result<Entry> {
        let at = size_of::<NodeHead>() + index * size_of::<RawEntry>();
        let raw: RawEntry = self.plain(offset_of(block) + at as u64)?;
        Ok(raw.get())
    }

    fn node_search(&mut self, block: u64, owner: u64, level: u8, key: i64) -> Result<Found> {
        let count = self.node(block, owner, level)?;
        tree::search_in_place(self, (block, count), key)
    }
}
