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

/// How every checksummed object begins.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Seal {
    /// The kind of the object.
    pub magic: U32,
    /// CRC-32C of the file system's seed, the object's byte offset, the magic, and what follows
    /// this field.
    pub crc: U32,
}

/// A structure of fixed size that stands at a multiple of 256 bytes and begins with a [`Seal`].
pub trait Object: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Sized {
    /// What [`Seal::magic`] must be.
    const MAGIC: u32;

    /// How many bytes the checksum covers, from the first.
    const SEALED: usize = size_of::<Self>();

    /// What to say when the object is damaged.
    const DAMAGED: &'static str;

    /// Whether the fields are in their domains; looked at after the checksum is found right.
    fn sane(&self) -> bool {
        true
    }
}
