// SPDX-License-Identifier: GPL-2.0

//! Nodes of the B+tree of an inode.
//!
//! An entry has a key, a block, a length and flags. In an inner node the key is exactly the lowest
//! key beneath the block. So the path to a key passes the greatest key not above it.
//!
//! Keys in a node are relative: an inner entry also holds the *shift* that must be added to the
//! keys beneath it to make them relative to its own node. Keys in the root are absolute. Relative
//! keys are signed and compared as such. Shifts are 0 in directories and where no extent was moved.

use zerocopy::little_endian::{
    U16,
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
    Error,
    Result,
    BLOCK_SIZE, //
};

/// Entries of the root, in the inode.
pub const INLINE: usize = 4;

/// Entries of a node.
pub const FANOUT: usize = 169;

/// The highest level of a root; with nodes at least half full, more than any device needs.
pub const MAX_LEVEL: u8 = 6;

/// An entry in native numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First file block, or cookie.
    pub key: u64,
    /// Block of the device.
    pub value: u64,
    /// Blocks of an extent; 0 in directories; the lower half of the shift in inner nodes.
    pub len: u32,
    /// Flags of an extent; the upper half of the shift in inner nodes.
    pub flags: u32,
}

impl Entry {
    /// Returns an entry of an inner node.
    pub(crate) fn inner(key: u64, value: u64, shift: i64) -> Self {
        Entry {
            key,
            value,
            len: shift as u32,
            flags: (shift >> 32) as u32,
        }
    }

    /// Returns the shift in an entry of an inner node.
    pub fn shift(&self) -> i64 {
        (u64::from(self.flags) << 32 | u64::from(self.len)) as i64
    }

    /// Returns this entry with `shift` added to its key.
    pub(crate) fn raised(self, shift: i64) -> Result<Self> {
        Ok(Entry {
            key: raise(self.key, shift)?,
            ..self
        })
    }

    /// Returns this entry with `shift` subtracted from its key.
    pub(crate) fn lowered(self, shift: i64) -> Result<Self> {
        Ok(Entry {
            key: lower(self.key, shift)? as u64,
            ..self
        })
    }
}

pub(crate) const BAD_KEY: Error = Error::Corrupt("tree key out of range");

/// Returns a key with `shift` added.
pub fn raise(key: u64, shift: i64) -> Result<u64> {
    (key as i64)
        .checked_add(shift)
        .map(|key| key as u64)
        .ok_or(BAD_KEY)
}

/// Returns a key with `shift` subtracted.
pub(crate) fn lower(key: u64, shift: i64) -> Result<i64> {
    (key as i64).checked_sub(shift).ok_or(BAD_KEY)
}

/// An entry on the medium.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawEntry {
    pub(crate) key: U64,
    pub(crate) value: U64,
    pub(crate) len: U32,
    pub(crate) flags: U32,
}

impl RawEntry {
    pub(crate) fn get(&self) -> Entry {
        Entry {
            key: self.key.get(),
            value: self.value.get(),
            len: self.len.get(),
            flags: self.flags.get(),
        }
    }
}

impl From<Entry> for RawEntry {
    fn from(entry: Entry) -> Self {
        RawEntry {
            key: U64::new(entry.key),
            value: U64::new(entry.value),
            len: U32::new(entry.len),
            flags: U32::new(entry.flags),
        }
    }
}

/// The root in the inode.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Root {
    pub(crate) level: u8,
    pub(crate) reserved: [u8; 3],
    pub(crate) count: U16,
    pub(crate) reserved2: [u8; 2],
    /// Also the place of a short link target.
    pub(crate) entries: [RawEntry; INLINE],
}

impl Root {
    /// Returns the number of levels of nodes under the root.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Returns whether the tree has no entry.
    pub fn is_empty(&self) -> bool {
        self.count.get() == 0
    }

    /// Returns the number of entries in the root.
    pub fn count(&self) -> usize {
        usize::from(self.count.get())
    }

    /// Returns whether count and level are valid.
    pub fn sane(&self) -> bool {
        let count = self.count();
        count <= INLINE && self.level <= MAX_LEVEL && (count > 0 || self.level == 0)
    }

    /// Returns the entry with the greatest key not above `key`, and the lowest key above, or `None`
    /// if there are nodes.
    pub(crate) fn floor(&self, key: u64) -> Option<(Option<Entry>, Option<u64>)> {
        if self.level != 0 {
            return None;
        }
        let Found { rank, entry, above } = self.live().search(key as i64);
        Some((entry.filter(|_| rank > 0), above))
    }

    pub(crate) fn live(&self) -> Live<'_> {
        Live::new(self.count(), &self.entries)
    }
}

/// The start of a node.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct NodeHead {
    seal: Seal,
    /// The inode.
    pub owner: U64,
    pub(crate) level: u8,
    pub(crate) reserved: u8,
    /// Entries in use.
    pub count: U16,
    pub(crate) reserved2: [u8; 12],
}

impl NodeHead {
    /// Returns the number of entries, if this is a node of `owner` at `level`.
    pub fn count(&self, owner: u64, level: u8) -> Result<usize> {
        self.check_owner(owner)?;
        let count = usize::from(self.count.get());
        if self.level != level || !(1..=FANOUT).contains(&count) {
            return Err(Error::Corrupt("tree node has a wrong level or count"));
        }
        Ok(count)
    }

    pub(crate) fn check_owner(&self, owner: u64) -> Result {
        if self.owner.get() == owner {
            Ok(())
        } else {
            Err(Error::Corrupt("tree node belongs to another inode"))
        }
    }
}

/// A node.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Node {
    /// Its start.
    pub head: NodeHead,
    pub(crate) entries: [RawEntry; FANOUT],
    pub(crate) reserved: [u8; 8],
}

const _: () = assert!(size_of::<Node>() == BLOCK_SIZE as usize);

impl Object for Node {
    const MAGIC: u32 = u32::from_le_bytes(*b"pNod");
    const DAMAGED: &'static str = "tree node is damaged";

    fn sane(&self) -> bool {
        (1..=FANOUT).contains(&usize::from(self.head.count.get()))
    }
}

impl Node {
    /// Returns entry `index`.
    pub fn entry(&self, index: usize) -> Result<Entry> {
        let raw = self.entries.get(index);
        raw.map(RawEntry::get).ok_or(Error::Corrupt(Node::DAMAGED))
    }

    /// Searches for `key`.
    pub(crate) fn search(&self, key: i64) -> Found {
        self.live().search(key)
    }

    pub(crate) fn live(&self) -> Live<'_> {
        Live::new(self.head.count.get().into(), &self.entries)
    }
}

/// The entries in use of a root or a node.
pub(crate) struct Live<'a>(pub(crate) &'a [RawEntry]);

impl<'a> Live<'a> {
    pub(crate) fn new(count: usize, raw: &'a [RawEntry]) -> Self {
        Live(raw.get(..count).unwrap_or(raw))
    }

    pub(crate) fn get(&self, index: usize) -> Result<Entry> {
        let raw = self.0.get(index).map(RawEntry::get);
        raw.ok_or(Error::Corrupt("tree entry out of range"))
    }

    /// Returns the number of keys not above `key`.
    pub(crate) fn rank(&self, key: i64) -> usize {
        self.0
            .partition_point(|entry| entry.key.get() as i64 <= key)
    }

    /// Searches for `key`.
    pub(crate) fn search(&self, key: i64) -> Found {
        let rank = self.rank(key);
        let raw = self.0.get(rank.saturating_sub(1));
        Found {
            rank,
            entry: raw.map(RawEntry::get),
            above: self.0.get(rank).map(|above| above.key.get()),
        }
    }
}

/// Result of a search for a key in a root or a node.
pub struct Found {
    /// Number of keys not above the wanted one.
    pub(crate) rank: usize,
    /// The entry with the greatest of these keys, else the first entry.
    pub(crate) entry: Option<Entry>,
    /// The lowest key above.
    pub(crate) above: Option<u64>,
}
