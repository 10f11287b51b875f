// SPDX-License-Identifier: GPL-2.0

//! The header of every checksummed object.

use zerocopy::{
    little_endian::U32,
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

/// Start of every checksummed object.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Seal {
    /// The kind of the object.
    pub magic: U32,
    /// CRC-32C of the file system's seed, the object's byte offset, the magic, and the bytes after
    /// this field.
    pub crc: U32,
}

/// A structure of fixed size at a multiple of 256 bytes that starts with a [`Seal`].
pub trait Object: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Sized {
    /// Value of [`Seal::magic`].
    const MAGIC: u32;

    /// Number of bytes that the checksum covers, from the first.
    const SEALED: usize = size_of::<Self>();

    /// Error message for a damaged object.
    const DAMAGED: &'static str;

    /// Returns whether the fields are valid. Only called if the checksum is right.
    fn sane(&self) -> bool {
        true
    }
}
