// SPDX-License-Identifier: GPL-2.0

//! The format of the medium: structures, checksums, names and sizes. Nothing here changes the
//! medium.
//!
//! All of it is safe Rust on `core` alone: the kernel module, `mkfs.pinfs`, `fsck.pinfs` and the
//! host tests compile the same files. It imports no other part; `engine` reads and changes these
//! structures.
//!
//! # Layout
//!
//! A block is 4096 bytes; all numbers are little-endian; block numbers count from the start of the
//! device, so a block address is a byte offset divided by 4096.
//!
//! ```text
//! block 0     1      2                 b        i             s           d               last
//!       +-----+------+-----------------+--------+-------------+-----------+---------------+------+
//!       |super|status| journal         | block  | inode-block | checksums | data area     |backup|
//!       |block|      | (redo log)      | bitmap | bitmap      | of bitmaps|               |super |
//!       +-----+------+-----------------+--------+-------------+-----------+---------------+------+
//!                                       1 bit per block, both  8 bytes per
//!                                                              512 blocks
//!
//! data area, in any order, one block each unless said otherwise:
//!   inode block      [header | inode | inode | ... ]    16 slots of 256 bytes, slot 0: the header
//!   tree node        [header | 169 entries of 24 bytes]
//!   directory leaf   [header | names -> ... <- slots]
//!   symlink target   [header | bytes]
//!   attributes       [header | entries -> ...]          names with values of up to 2 KiB
//!   attribute value  [header | bytes]                   a longer one has a list of these
//!   file extent      1 to 2^32 - 1 blocks of user data
//! ```
//!
//! * The *superblock* is written by mkfs, last, and never changes, so it cannot be torn. Its backup
//!   is an identical copy. The *status* block holds the state of the whole file system that changes
//!   (mount state, orphan list, inode count, label).
//! * After the status, in the same block, is a word that requests a check if it is not 0
//!   ([`status::CHECK`]). It was reserved and 0 before: older code neither refuses such a file
//!   system nor changes the word.
//! * The journal has room for every operation, whatever the shape of the trees, if it has
//!   [`record::BLOCKS_MIN`] blocks. A file system with fewer is not mounted.
//! * An *inode number* is the byte offset of the inode divided by 256: finding an inode needs
//!   neither a table nor a lock. The inode-block bitmap says which blocks hold inodes, so a number
//!   from outside (a file handle, a directory entry of a hostile image) is checked before use.
//! * Every inode has the root of one *B+tree*, four entries inline. For a regular file the tree
//!   maps file blocks to extents. For a directory it maps the lowest cookie of a leaf to the leaf's
//!   block.
//! * The keys of a tree are *relative* below the root: entries of inner nodes hold the shift of the
//!   keys beneath. So a range is collapsed out of a file of any number of extents by changing one
//!   node per level, in one transaction.
//! * The *extended attributes* of an inode are in a list of blocks, most often one.
//! * A *cookie* names a directory entry: 56 bits of the keyed hash of its name and 7 bits that tell
//!   names of equal hash apart. It is unique in its directory and never changes while the name
//!   exists, so it is also the position for readdir.
//! * Every structure has a CRC-32C seeded with the UUID and its own offset: a block of another file
//!   system, or of another place, does not pass as valid. The checksums of the bitmaps are in a
//!   table, one word for the two cache lines of a group of 512 blocks.
//!
//! # Versions
//!
//! Another version number means that the superblock has another format; the mount is refused.
//! Additions to the format get a feature bit instead. An unknown bit in `incompat` refuses the
//! mount, one in `ro_compat` makes it read-only, one in `compat` is ignored. Reserved fields are
//! zero and are for future features.

pub mod bitmap;
pub mod crc;
pub mod error;
pub mod extent;
pub mod header;
pub mod inode;
pub mod leaf;
pub mod name;
pub mod node;
pub mod record;
pub mod status;
pub mod superblock;
pub mod symlink;
pub mod xattr;

pub use error::{
    Error,
    Result, //
};
pub use inode::{
    Inode,
    Time, //
};
pub use name::Name;
pub use superblock::{
    Geometry,
    MountError, //
};

/// Bytes in a block.
pub const BLOCK_SIZE: u64 = 4096;

/// `log2(BLOCK_SIZE)`.
pub const BLOCK_SHIFT: u32 = 12;

/// Bytes in an inode, and in the header of an inode block.
pub const INODE_SIZE: u64 = 256;

/// Slots in an inode block, the header included.
pub const INODE_SLOTS: u64 = BLOCK_SIZE / INODE_SIZE;

/// Blocks in a group: 2 MiB, the size of a huge page.
pub const GROUP_BLOCKS: u64 = 512;

/// Returns the byte offset of `block`, which the geometry has bounded.
pub const fn offset_of(block: u64) -> u64 {
    block << BLOCK_SHIFT
}

/// Returns the offset of inode `ino`, whose number was checked.
pub const fn inode_offset(ino: u64) -> u64 {
    ino * INODE_SIZE
}
