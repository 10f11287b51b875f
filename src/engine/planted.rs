// SPDX-License-Identifier: GPL-2.0

//! Ordering bugs, planted to see that those who look for such bugs find them.
//!
//! `make module PLANT=NAME` builds a module that has one of them: the compiler finds the name in its
//! environment as `PINFS_PLANT`, and so do programs that are built from these sources. Without it, none
//! of them is there: [`planted`] is false when the compiler looks at it. `tools/power-loss planted`
//! plants one after the other, and the explorer of power loss must find each.

/// Names the bugs.
macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $bug:ident = $name:literal,)+) => {
        /// A bug that can be planted, and what it breaks.
        #[derive(Clone, Copy)]
        pub enum Bug {
            $($(#[doc = $doc])+ $bug,)+
        }

        impl Bug {
            const fn named(name: &str) -> Option<Bug> {
                $(if same(name.as_bytes(), $name.as_bytes()) {
                    return Some(Bug::$bug);
                })+
                None
            }
        }
    };
}

bugs! {
    /// The journal's record is not written back: the objects that it is to protect may be half
    /// stored when there is no record.
    RecordNotFlushed = "record-not-flushed",
    /// Nobody waits for the record before the objects are stored in their places.
    RecordUnfenced = "record-unfenced",
    /// Objects are stored in their places but not written back: the next record overwrites the only
    /// durable copy.
    HomesNotFlushed = "homes-not-flushed",
    /// Nobody waits for the objects before the next record overwrites the one that has them.
    HomesUnfenced = "homes-unfenced",
    /// The same of the bitmaps alone.
    BitmapsNotFlushed = "bitmaps-not-flushed",
    /// The bitmaps change before the record that says so is there: outside of the transaction.
    BitmapsEarly = "bitmaps-early",
    /// Nobody waits for what is in new blocks of metadata before the record refers to them.
    NewMetadataUnfenced = "new-metadata-unfenced",
    /// The zeroes in new blocks are not written back.
    ZeroesNotFlushed = "zeroes-not-flushed",
    /// Nobody waits for the zeroes in new blocks of a file before it has them.
    ZeroesUnfenced = "zeroes-unfenced",
    /// New blocks of a file are zeroed when it has them already.
    ZeroesLate = "zeroes-late",
    /// Nobody waits for the value of an extended attribute before the name has it.
    ValueUnfenced = "value-unfenced",
    /// A file without a name comes onto the orphan list when it is freed, not when it loses the name.
    OrphanLate = "orphan-late",
    /// Nobody waits for what recovery has stored before it empties the journal.
    ReplayUnfenced = "replay-unfenced",
    /// mkfs writes the superblock before what it speaks of.
    SuperblockEarly = "superblock-early",
    /// Nobody waits for the zeroes behind the end of a file before it grows over them.
    BehindEndUnfenced = "behind-end-unfenced",
    /// The last block of a file that is truncated is zeroed before the file is cut off.
    TailZeroedEarly = "tail-zeroed-early",
    /// fsync(2) and msync(2) do not write back what was stored through a mapping.
    MappedNotFlushed = "mapped-not-flushed",
    /// Nor what a device has stored through a pin.
    DeviceNotFlushed = "device-not-flushed",
    /// Nor what is left of a huge page that the mapping forgets because a part of it is punched.
    RestForgotten = "rest-forgotten",
    /// What was stored through a mapping is not written back before its blocks move in the file.
    MovedNotFlushed = "moved-not-flushed",
}

/// `==` of slices, which is no constant function.
const fn same(a: &[u8], b: &[u8]) -> bool {
    match (a, b) {
        ([], []) => true,
        ([x, a @ ..], [y, b @ ..]) => *x == *y && same(a, b),
        _ => false,
    }
}

/// What was asked for when this was compiled. A name that there is not does not compile.
const PLANTED: Option<Bug> = match option_env!("PINFS_PLANT") {
    None => None,
    Some(name) if name.is_empty() => None,
    Some(name) => match Bug::named(name) {
        Some(bug) => Some(bug),
        None => panic!("PINFS_PLANT names no bug of src/engine/planted.rs"),
    },
};

/// Whether `bug` is in this build.
#[inline(always)]
pub const fn planted(bug: Bug) -> bool {
    matches!(PLANTED, Some(there) if there as u8 == bug as u8)
}
