// SPDX-License-Identifier: GPL-2.0

//! Checks and repairs a pinfs file system.
//!
//! Everything happens in an [`overlay`]: repairs are made there as the faults are found, and each
//! pass sees what the ones before have mended. Whether they reach the device is the caller's
//! decision at the end, so a check tells exactly what a repair would do, and nothing is written
//! for a file system that cannot be repaired.
//!
//! The passes:
//! 1. superblock and its backup, journal, status;
//! 2. inodes: each by itself, with its tree, its leaves, its target; the blocks of those without
//!    fault are theirs;
//! 3. the inodes with faults: they get what nobody else has, and copies of data that somebody has;
//! 4. names, from the root on: what they name, who is the parent of whom; what has no name goes to
//!    `lost+found`;
//! 5. link counts, the orphan list, trees that must be made anew;
//! 6. inode blocks, bitmaps and their checksums, counts.
//!
//! Memory: three bits per block of the device, about 64 bytes per inode, the largest file's extents
//! or directory's names, and a copy of every block that changes.

#![forbid(unsafe_code)]

pub mod checker;
mod examine;
mod finish;
mod names;
pub mod overlay;
mod rebuild;
mod redo;
pub mod report;
pub mod superblocks;

pub use checker::{
    check,
    check_from,
    Options,
    Outcome,
    Summary, //
};
pub use overlay::Overlay;
pub use report::Fault;
