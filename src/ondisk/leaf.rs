// SPDX-License-Identifier: GPL-2.0

//! Leaves of directories.
//!
//! The tree of a directory maps cookies to leaves: a leaf holds the names whose cookies are at
//! least its key and below the next leaf's. Names are in the order of insertion and grow up from
//! the start of the body. An array of 2-byte slots, in the order of the cookies, grows down from
//! its end.
//!
//! Names of equal hash are always in one leaf.

use core::ops::Range;

use zerocopy::{
    little_endian::{
        U16,
        U64, //
    },
    FromBytes, //
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
    inode::S_IFMT,
    name::{
        hash,
        HASH_BITS, //
    },
    Error,
    Geometry,
    Name,
    Result,
    BLOCK_SIZE, //
};

/// Bits of a cookie that distinguish names of equal hash.
pub(crate) const SERIAL_BITS: u32 = 7;

/// The largest cookie: cookies are positive signed 64-bit numbers.
pub(crate) const COOKIE_MAX: u64 = i64::MAX as u64;

/// Bytes of a leaf for names and slots.
pub(crate) const BODY: usize = BLOCK_SIZE as usize - size_of::<LeafHead>();

/// The lowest position of a name in its directory; the ones below are for `.` and `..`.
pub const FIRST: u64 = 2;

/// The start of a leaf.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LeafHead {
    seal: Seal,
    /// The directory.
    pub owner: U64,
    pub(crate) count: U16,
    /// Bytes of the body up to the end of the last name.
    pub(crate) end: U16,
    /// Number of these bytes that removed names have left.
    pub(crate) dead: U16,
    /// Zero.
    pub reserved: [u8; 10],
}

impl LeafHead {
    /// Returns the number of names, if this is a leaf of `owner`.
    pub(crate) fn count(&self, owner: u64) -> Result<usize> {
        if self.owner.get() != owner {
            return Err(Error::Corrupt("directory leaf belongs to another inode"));
        }
        if !self.sane() {
            return Err(Error::Corrupt(Leaf::DAMAGED));
        }
        Ok(usize::from(self.count.get()))
    }

    pub(crate) fn sane(&self) -> bool {
        let count = usize::from(self.count.get());
        let end = usize::from(self.end.get());
        end + 2 * count <= BODY && self.dead.get() <= self.end.get()
    }
}

/// A leaf.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Leaf {
    /// Its start.
    pub head: LeafHead,
    pub(crate) body: [u8; BODY],
}

const _: () = assert!(size_of::<Leaf>() == BLOCK_SIZE as usize);

impl Object for Leaf {
    const MAGIC: u32 = u32::from_le_bytes(*b"pDir");
    const DAMAGED: &'static str = "directory leaf is damaged";

    fn sane(&self) -> bool {
        self.head.sane()
    }
}

/// A name in a leaf; its bytes follow.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct NameHead {
    pub(crate) cookie: U64,
    pub(crate) ino: U64,
    /// The bits of the mode in `S_IFMT`, shifted to the right as in `DT_*`.
    pub(crate) kind: u8,
    pub(crate) len: u8,
}

pub(crate) const NAME_HEAD: usize = size_of::<NameHead>();

/// Upper bound of the names in a leaf.
pub(crate) const MAX_NAMES: usize = BODY / (NAME_HEAD + 2);

impl NameHead {
    pub(crate) fn size(&self) -> usize {
        NAME_HEAD + usize::from(self.len)
    }

    pub(crate) fn found(&self) -> Found {
        Found {
            ino: self.ino.get(),
            kind: self.kind,
            cookie: self.cookie.get(),
        }
    }
}

/// A directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The inode number.
    pub ino: u64,
    /// File type, as in `DT_*` of readdir.
    pub kind: u8,
    /// The position in the directory. It never changes while the entry exists.
    pub cookie: u64,
}

/// Returns the file type of a mode as readdir reports it.
pub fn kind_of(mode: u32) -> u8 {
    ((mode & S_IFMT) >> 12) as u8
}

/// Returns the lowest cookie that a name can have.
pub fn first_cookie(geometry: &Geometry, name: Name<'_>) -> u64 {
    const { assert!(HASH_BITS + SERIAL_BITS == 63) };
    let hash = hash(geometry.hash_key, name);
    // Hash 0 would overlap the positions of `.` and `..`.
    core::cmp::max(hash, 1) << SERIAL_BITS
}

/// Returns the lowest cookie with the same hash.
pub fn base(cookie: u64) -> u64 {
    cookie >> SERIAL_BITS << SERIAL_BITS
}

/// Returns whether two cookies are of names of equal hash.
pub fn same_hash(a: u64, b: u64) -> bool {
    base(a) == base(b)
}

pub(crate) const BAD_SLOT: Error = Error::Corrupt("directory leaf has a bad slot");

impl Leaf {
    /// Returns the range of `len` body bytes from `at`, if it is in the body.
    pub(crate) fn check_range(at: usize, len: usize) -> Result<Range<usize>> {
        match at.checked_add(len) {
            Some(end) if end <= BODY => Ok(at..end),
            _ => Err(BAD_SLOT),
        }
    }

    /// Returns `bytes`, whatever their contents, as a buffer for copies of leaves. Returns `None`
    /// if the size is wrong.
    pub fn in_bytes(bytes: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_bytes(bytes).ok()
    }

    /// Returns the number of names.
    pub fn len(&self) -> usize {
        usize::from(self.head.count.get())
    }

    /// Returns the name of slot `index`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the slot does not point to a name.
    pub fn name(&self, index: usize) -> Result<(Found, &[u8])> {
        let at = self.slot(index)?;
        let head = self.name_head(at)?;
        let bytes = self.body.get(at + NAME_HEAD..at + head.size());
        Ok((head.found(), bytes.ok_or(BAD_SLOT)?))
    }

    /// Returns the range of slot `index` in the body, if it fits.
    pub(crate) fn slot_range(index: usize) -> Result<Range<usize>> {
        let at = BODY.checked_sub(2 * (index + 1)).ok_or(BAD_SLOT)?;
        Ok(at..at + 2)
    }

    pub(crate) fn slot(&self, index: usize) -> Result<usize> {
        let bytes = self.body.get(Self::slot_range(index)?).ok_or(BAD_SLOT)?;
        let slot = U16::read_from_bytes(bytes).map_err(|_| BAD_SLOT)?;
        Ok(usize::from(slot.get()))
    }

    pub(crate) fn name_head(&self, at: usize) -> Result<NameHead> {
        let bytes = self.body.get(at..).ok_or(BAD_SLOT)?;
        let (head, _) = NameHead::read_from_prefix(bytes).map_err(|_| BAD_SLOT)?;
        if at + head.size() > usize::from(self.head.end.get()) {
            return Err(BAD_SLOT);
        }
        Ok(head)
    }

    /// Returns the first slot whose cookie is not below `cookie`.
    pub(crate) fn search(&self, cookie: u64) -> Result<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.head_of(middle)?.1.cookie.get() < cookie {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Returns the offset and the head of the name of slot `index`.
    pub(crate) fn head_of(&self, index: usize) -> Result<(usize, NameHead)> {
        let at = self.slot(index)?;
        Ok((at, self.name_head(at)?))
    }

    pub(crate) fn is_name(&self, at: usize, head: &NameHead, name: Name<'_>) -> bool {
        self.body.get(at + NAME_HEAD..at + head.size()) == Some(name.bytes())
    }

    /// Returns the slot, the offset and the head of a name whose lowest cookie is `first`.
    pub(crate) fn find(&self, first: u64, name: Name<'_>) -> Result<(usize, usize, NameHead)> {
        for index in self.search(first)?..self.len() {
            let (at, head) = self.head_of(index)?;
            if !same_hash(head.cookie.get(), first) {
                break;
            }
            if self.is_name(at, &head, name) {
                return Ok((index, at, head));
            }
        }
        Err(Error::NoEntry)
    }

    /// Returns the number of bytes between the names and the slots.
    pub(crate) fn gap(&self) -> usize {
        BODY - usize::from(self.head.end.get()) - 2 * self.len()
    }

    /// Returns whether a name of `size` bytes, head included, fits after compaction.
    pub(crate) fn has_room(&self, size: usize) -> bool {
        self.gap() + usize::from(self.head.dead.get()) >= size + 2
    }

    /// Returns the lowest cookie that a name with the hash of slot `index` can have.
    pub(crate) fn base(&self, index: usize) -> Result<u64> {
        Ok(base(self.name_head(self.slot(index)?)?.cookie.get()))
    }
}
