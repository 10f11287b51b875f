// SPDX-License-Identifier: GPL-2.0

//! The on-disk format of pinfs and the engine that reads and changes it.
//!
//! Everything here is safe Rust on `core` alone: the kernel module, `mkfs.pinfs` and the host tests
//! compile the same files. It sees persistent memory through [`Medium`], which copies.
//!
//! # Layout
//!
//! A block is 4096 bytes; all numbers are little-endian; block numbers count from the start of the
//! device, so a block address is a byte offset divided by 4096.
//!
//! ```text
//! block 0     1       2                    b         i             d
//!       +-----+-------+--------------------+---------+-------------+----------------------------+
//!       |super|status | journal            | block   | inode-block | data area                  |
//!       |block|       | (redo log)         | bitmap  | bitmap      |                            |
//!       +-----+-------+--------------------+---------+-------------+----------------------------+
//!                                            1 bit per block of the device, both
//!
//! data area, in any order, one block each unless said otherwise:
//!   inode block      [header | inode | inode | ... ]    16 slots of 256 bytes, slot 0 is the header
//!   tree node        [header | 169 entries of 24 bytes]
//!   directory leaf   [header | names -> ... <- slots]
//!   symlink target   [header | bytes]
//!   file extent      1 to 2^32 - 1 blocks of user data
//! ```
//!
//! * The *superblock* is written by mkfs, last, and never changes, so it cannot be torn. What does
//!   change for the whole file system (mount state, orphan list, inode count) is the *status* block.
//! * An *inode number* is the byte offset of the inode divided by 256: finding an inode needs
//!   neither a table nor a lock. The inode-block bitmap says which blocks hold inodes, so a number
//!   from outside (a file handle, a directory entry of a hostile image) is checked before use.
//! * Every inode is the root of one *B+tree*, four entries inline. For a regular file it maps file
//!   blocks to extents. For a directory it maps the lowest cookie of a leaf to the leaf's block.
//! * A *cookie* names a directory entry: 56 bits of the keyed hash of its name and 7 bits that tell
//!   names of equal hash apart. It is unique in its directory and never changes while the name
//!   exists, so it is also the position for readdir.
//! * Every structure but the two bitmaps carries a CRC-32C seeded with the UUID and with its own
//!   offset: a block of another file system, or of another place, is not mistaken for a good one.
//!
//! # Changing it
//!
//! Every change is made in a transaction ([`Tx`]): it works on copies in an arena that the caller
//! owns, [`Tx::commit`] writes one redo record and then changes the objects in place. A transaction
//! that is dropped instead leaves no trace. What order the stores reach the memory in is fixed by
//! types ([`persist`]).
//!
//! # Locks
//!
//! The engine takes none. The caller holds
//! 1. the *inode lock* of an inode shared to read its tree, and exclusive in a transaction that
//!    changes its tree or its fields (for namespace operations: of both directories and of every
//!    inode named by an argument or replaced by the operation);
//! 2. inside that, the *journal lock*, around everything that has a `&mut` [`Journal`] or
//!    [`Space`]: from [`Journal::begin`] to the end of the transaction.
//!
//! Readers without the journal lock ([`Volume`]'s methods and the functions that take one) are
//! safe beside a commit, because no commit stores to an object whose inode lock it does not hold,
//! except for fields such a reader does not use: orphan links (outside the checksum) and headers
//! of inode blocks (read in single words).

pub mod crc;
pub mod dir;
pub mod error;
pub mod file;
pub mod inode;
pub mod journal;
pub mod medium;
pub mod mkfs;
pub mod mount;
pub mod name;
pub mod namespace;
pub mod orphan;
pub mod persist;
pub mod space;
pub mod superblock;
pub mod symlink;
pub mod tree;
pub mod tx;
pub mod volume;
pub mod walk;

pub use error::{
    Error,
    Result, //
};
pub use inode::{
    Inode,
    Time, //
};
pub use journal::Journal;
pub use medium::Medium;
pub use name::Name;
pub use space::Space;
pub use superblock::{
    Geometry,
    Refusal, //
};
pub use tx::Tx;
pub use volume::Volume;

/// Bytes in a block.
pub const BLOCK_SIZE: u64 = 4096;

/// `log2(BLOCK_SIZE)`.
pub const BLOCK_SHIFT: u32 = 12;

/// Bytes in an inode, and in the header of an inode block.
pub const INODE_SIZE: u64 = 256;

/// Slots in an inode block, the header included.
pub const INODE_SLOTS: u64 = BLOCK_SIZE / INODE_SIZE;

/// Blocks in a group: 2 MiB, what one huge page maps.
pub const GROUP_BLOCKS: u64 = 512;

/// Bytes that are copied through the stack at a time.
pub(crate) const CHUNK: usize = 256;

/// The byte offset of `block`, for block numbers that the geometry has bounded.
pub(crate) const fn offset_of(block: u64) -> u64 {
    block << BLOCK_SHIFT
}
