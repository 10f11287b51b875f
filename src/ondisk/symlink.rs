// SPDX-License-Identifier: GPL-2.0

//! Symbolic links: a short target is in the inode, a longer one in a block of its own.

use zerocopy::little_endian::U64;
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
    BLOCK_SIZE, //
};

/// Bytes in the longest target.
pub const MAX: usize = BLOCK_SIZE as usize - HEAD;

pub(crate) const HEAD: usize = 16;

/// A block that holds a target; its length is the inode's size.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Target {
    seal: Seal,
    /// The link.
    pub owner: U64,
    /// The target, and bytes after it that are not used.
    pub bytes: [u8; MAX],
}

const _: () = assert!(size_of::<Target>() == BLOCK_SIZE as usize);

impl Object for Target {
    const MAGIC: u32 = u32::from_le_bytes(*b"pLnk");
    const DAMAGED: &'static str = "symbolic link is damaged";
}
