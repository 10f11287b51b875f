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
//! block 0     1      2                 b        i             s           d               last
//!       +-----+------+-----------------+--------+-------------+-----------+---------------+------+
//!       |super|status| journal         | block  | inode-block | checksums | data area     |backup|
//!       |block|      | (redo log)      | bitmap | bitmap      | of bitmaps|               |super |
//!       +-----+------+-----------------+--------+-------------+-----------+---------------+------+
//!                                       1 bit per block, both  8 bytes per
//!                                                              512 blocks
//!
//! data area, in any order, one block each unless said otherwise:
//!   inode block      [header | inode | inode | ... ]    16 slots of 256 bytes, slot 0 is the header
//!   tree node        [header | 169 entries of 24 bytes]
//!   directory leaf   [header | names -> ... <- slots]
//!   symlink target   [header | bytes]
//!   attributes       [header | entries -> ...]          names with values of up to 2 KiB
//!   attribute value  [header | bytes]                   a longer one has a list of these
//!   file extent      1 to 2^32 - 1 blocks of user data
//! ```
//!
//! * The *superblock* is written by mkfs, last, and never changes, so it cannot be torn; its backup
//!   is the same byte for byte. What does change for the whole file system (mount state, orphan
//!   list, inode count, label) is the *status* block.
//! * Behind the status, in the same block, stands a word that asks for a check if it is not 0
//!   ([`mount::CHECK`]). It was reserved and 0 before; who does not know of it neither refuses such a
//!   file system nor changes the word.
//! * The journal has room for every operation, whatever the trees look like, if it has
//!   [`journal::BLOCKS_MIN`] blocks. One with fewer is not mounted.
//! * An *inode number* is the byte offset of the inode divided by 256: finding an inode needs
//!   neither a table nor a lock. The inode-block bitmap says which blocks hold inodes, so a number
//!   from outside (a file handle, a directory entry of a hostile image) is checked before use.
//! * Every inode is the root of one *B+tree*, four entries inline. For a regular file it maps file
//!   blocks to extents. For a directory it maps the lowest cookie of a leaf to the leaf's block.
//! * The keys of a tree are *relative* below the root: entries of inner nodes say how much the keys
//!   beneath are to be shifted. So a range is collapsed out of a file of any number of extents by
//!   changing one node per level, in one transaction.
//! * The *extended attributes* of an inode stand in a list of blocks, most often one.
//! * A *cookie* names a directory entry: 56 bits of the keyed hash of its name and 7 bits that tell
//!   names of equal hash apart. It is unique in its directory and never changes while the name
//!   exists, so it is also the position for readdir.
//! * Every structure carries a CRC-32C seeded with the UUID and with its own offset: a block of
//!   another file system, or of another place, is not mistaken for a good one. Those of the bitmaps
//!   stand in a table, one word for the two cache lines of a group of 512 blocks.
//!
//! # Versions
//!
//! Another version number means a superblock that is read in another way, and is refused. What is
//! added to a format without that gets a feature bit. An unknown bit in `incompat` refuses the mount,
//! one in `ro_compat` makes it read-only, one in `compat` is ignored. Reserved fields are zero and
//! belong to features to come.
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

pub mod bitmap;
pub mod crc;
pub mod dir;
pub mod error;
pub mod extents;
pub mod inode;
pub mod journal;
pub mod medium;
pub mod mkfs;
pub mod mount;
pub mod name;
pub mod namespace;
pub mod orphan;
pub mod persist;
pub mod planted;
pub mod space;
pub mod superblock;
pub mod symlink;
pub mod tree;
pub mod tx;
pub mod volume;
pub mod walk;
pub mod xattr;

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
pub const fn offset_of(block: u64) -> u64 {
    block << BLOCK_SHIFT
}
