// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.
//!
//! The attributes of an inode are in a list of blocks that starts in the inode. An entry holds
//! namespace, name, and a value of up to [`INLINE`] bytes. A longer value is in a list of blocks of
//! its own.

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

/// Bytes in the longest value.
pub const VALUE_MAX: usize = 64 << 10;

/// Bytes of all names of an inode, each with its prefix and a NUL: the limit of listxattr(2).
pub const LIST_MAX: usize = 64 << 10;

/// Bytes in the longest name, without the prefix of its namespace.
pub const NAME_MAX: usize = 255;

/// Bytes of the longest value in the block of its name.
pub(crate) const INLINE: usize = 2048;

/// Bytes of a block of attributes for entries.
pub(crate) const BODY: usize = BLOCK_SIZE as usize - size_of::<Head>();

/// Bytes of a value in one block.
pub(crate) const PIECE: usize = BLOCK_SIZE as usize - size_of::<ValueHead>();

/// Blocks of the longest value.
pub(crate) const PIECES: usize = VALUE_MAX.div_ceil(PIECE);

/// Namespaces of attributes, as prefixes of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Namespace {
    /// `user.`
    User,
    /// `trusted.`
    Trusted,
    /// `security.`
    Security,
    /// `system.posix_acl_access`, a whole name.
    AccessAcl,
    /// `system.posix_acl_default`, a whole name.
    DefaultAcl,
}

impl Namespace {
    pub(crate) const ALL: [Namespace; 5] = [
        Namespace::User,
        Namespace::Trusted,
        Namespace::Security,
        Namespace::AccessAcl,
        Namespace::DefaultAcl,
    ];

    /// Returns the number on the medium.
    pub(crate) const fn index(self) -> u8 {
        match self {
            Namespace::User => 1,
            Namespace::Trusted => 2,
            Namespace::Security => 3,
            Namespace::AccessAcl => 4,
            Namespace::DefaultAcl => 5,
        }
    }

    pub(crate) fn from_index(index: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|space| space.index() == index)
    }

    /// Returns the prefix of the name, or the whole name.
    pub const fn prefix(self) -> &'static str {
        match self {
            Namespace::User => "user.",
            Namespace::Trusted => "trusted.",
            Namespace::Security => "security.",
            Namespace::AccessAcl => "system.posix_acl_access",
            Namespace::DefaultAcl => "system.posix_acl_default",
        }
    }

    /// Returns whether the prefix is a whole name.
    pub(crate) const fn is_whole(self) -> bool {
        matches!(self, Namespace::AccessAcl | Namespace::DefaultAcl)
    }
}

/// The name of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    pub(crate) space: Namespace,
    pub(crate) name: &'a [u8],
}

impl<'a> Key<'a> {
    /// Returns a key. `name` has no prefix; it is empty if the prefix is a whole name.
    ///
    /// # Errors
    /// [`Error::NameTooLong`] over [`NAME_MAX`] bytes; [`Error::Invalid`] if `name` is empty for a
    /// namespace that needs one or the other way round, or if it contains a NUL.
    pub fn new(space: Namespace, name: &'a [u8]) -> Result<Self> {
        if name.len() > NAME_MAX {
            return Err(Error::NameTooLong);
        }
        if name.is_empty() != space.is_whole() || name.contains(&0) {
            return Err(Error::Invalid);
        }
        Ok(Key { space, name })
    }

    /// Returns the namespace.
    pub fn space(&self) -> Namespace {
        self.space
    }

    /// Returns the name without the prefix.
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// Returns the number of bytes in listxattr(2): prefix, name and a NUL.
    pub fn list_len(&self) -> usize {
        self.space.prefix().len() + self.name.len() + 1
    }
}

/// The start of a block of attributes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Head {
    pub(crate) seal: Seal,
    pub(crate) owner: U64,
    /// The next block of the list, or 0.
    pub(crate) next: U64,
    /// Bytes of the body that entries take, without gaps.
    pub(crate) used: U16,
    reserved: [u8; 6],
}

/// A block of attributes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Attributes {
    pub(crate) head: Head,
    pub(crate) body: [u8; BODY],
}

const _: () = assert!(size_of::<Attributes>() == BLOCK_SIZE as usize);

const _: () = assert!(size_of::<Entry>() + NAME_MAX + INLINE + 8 <= BODY);

impl Object for Attributes {
    const MAGIC: u32 = u32::from_le_bytes(*b"pXat");
    const DAMAGED: &'static str = "block of attributes is damaged";

    fn sane(&self) -> bool {
        usize::from(self.head.used.get()) <= BODY
    }
}

/// An attribute; its name follows, then its value if that is inline, then zeroes up to a multiple
/// of eight bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) space: u8,
    pub(crate) name_len: u8,
    /// Bytes of the whole entry.
    pub(crate) size: U16,
    pub(crate) value_len: U32,
    /// The first block of the value, or 0 if it is inline.
    pub(crate) value: U64,
}

impl Entry {
    pub(crate) fn new(key: Key<'_>, value: &[u8]) -> Self {
        let inline = if value.len() > INLINE { 0 } else { value.len() };
        let size = size_of::<Entry>() + key.name.len() + inline;
        Entry {
            space: key.space.index(),
            name_len: key.name.len() as u8,
            size: U16::new(size.next_multiple_of(8) as u16),
            value_len: U32::new(value.len() as u32),
            value: U64::new(0),
        }
    }

    pub(crate) fn size(&self) -> usize {
        usize::from(self.size.get())
    }

    pub(crate) fn value_len(&self) -> usize {
        self.value_len.get() as usize
    }

    /// Returns the number of blocks of the value.
    pub(crate) fn pieces(&self) -> usize {
        match self.value.get() {
            0 => 0,
            _ => self.value_len().div_ceil(PIECE),
        }
    }

    /// Returns the namespace, if the entry is valid and fits into `room` bytes.
    pub(crate) fn check(&self, room: usize) -> Option<Namespace> {
        let inline = if self.value.get() == 0 {
            self.value_len()
        } else {
            0
        };
        let needed = size_of::<Entry>() + usize::from(self.name_len) + inline;
        let space = Namespace::from_index(self.space)?;
        let good = inline <= INLINE
            && self.value_len() <= VALUE_MAX
            && self.size() == needed.next_multiple_of(8)
            && self.size() <= room
            && (self.name_len == 0) == space.is_whole();
        good.then_some(space)
    }
}

/// The start of a block of a value.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ValueHead {
    pub(crate) seal: Seal,
    pub(crate) owner: U64,
    /// The next block of the value, or 0.
    pub(crate) next: U64,
}

/// A block of a value, padded with zeroes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Value {
    pub(crate) head: ValueHead,
    pub(crate) bytes: [u8; PIECE],
}

const _: () = assert!(size_of::<Value>() == BLOCK_SIZE as usize);

impl Object for Value {
    const MAGIC: u32 = u32::from_le_bytes(*b"pXvl");
    const DAMAGED: &'static str = "value of an attribute is damaged";
}

pub(crate) const DAMAGED: Error = Error::Corrupt(Attributes::DAMAGED);
