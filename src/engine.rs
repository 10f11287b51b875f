// SPDX-License-Identifier: GPL-2.0

//! The engine: reads and changes the structures of [`ondisk`](crate::ondisk).
//!
//! Everything here is safe Rust on `core` alone: the kernel module, `mkfs.pinfs` and the host tests
//! compile the same files. It sees persistent memory through [`Medium`], which copies. It imports
//! `ondisk` and nothing else.
//!
//! # Changes
//!
//! Every change is made in a transaction ([`Tx`]). It works on copies in an arena that the caller
//! owns. [`Tx::commit`] writes one redo record and then changes the objects in place. A transaction
//! that is dropped instead leaves no trace. Types fix the order in which stores reach the memory
//! ([`persist`]).
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
//! Readers without the journal lock ([`Volume`]'s methods and the functions that take one) are safe
//! during a commit, because the caller of a commit holds the inode locks of all objects that it
//! stores to. Exceptions are fields that such a reader does not use: orphan links (outside the
//! checksum) and headers of inode blocks (read in single words).

pub mod bitmap;
pub mod dir;
pub mod extents;
pub mod ialloc;
pub mod journal;
pub mod leaf;
pub mod medium;
pub mod mount;
pub mod namespace;
pub mod orphan;
pub mod persist;
pub mod run;
pub mod space;
pub mod superblock;
pub mod symlink;
pub mod tree;
pub mod tx;
pub mod volume;
pub mod xattr;

pub use journal::Journal;
pub use medium::Medium;
pub use space::Space;
pub use tx::Tx;
pub use volume::Volume;

/// Bytes that are copied through the stack at a time.
pub(crate) const CHUNK: usize = 256;
