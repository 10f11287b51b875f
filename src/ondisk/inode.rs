// SPDX-License-Identifier: GPL-2.0

//! Inodes.

use core::ops::Range;

use zerocopy::little_endian::{
    I64,
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
    node::Root,
    Error,
    Result,
    INODE_SIZE,
    INODE_SLOTS, //
};

/// Mask of the file type in a mode.
pub const S_IFMT: u32 = 0o170_000;
/// A FIFO.
pub const S_IFIFO: u32 = 0o010_000;
/// A character device.
pub const S_IFCHR: u32 = 0o020_000;
/// A directory.
pub const S_IFDIR: u32 = 0o040_000;
/// A block device.
pub const S_IFBLK: u32 = 0o060_000;
/// A regular file.
pub const S_IFREG: u32 = 0o100_000;
/// A symbolic link.
pub const S_IFLNK: u32 = 0o120_000;
/// A socket.
pub const S_IFSOCK: u32 = 0o140_000;

/// The most names an inode may have, and the most subdirectories of a directory plus two.
pub const LINK_MAX: u32 = i32::MAX as u32;

/// [`Inode::flags`]: the target of the symbolic link is in the place of the tree's root.
pub const INLINE_TARGET: u32 = 1 << 0;

/// [`Inode::flags`]: the inode is on the orphan list.
pub const ORPHAN: u32 = 1 << 1;

/// [`Inode::flags`]: a range is being collapsed out of the file, in more than one transaction. The
/// inode is on the orphan list, and [`Inode::parent`] and [`Inode::rdev`] hold the first block of
/// the range and the first one after it.
pub const COLLAPSING: u32 = 1 << 2;

/// [`Inode::flags`]: flags that users set (chattr(1)), with the numbers of `FS_IOC_SETFLAGS`.
/// Writes to the file are durable at once.
pub const SYNC: u32 = 1 << 3;
/// The file must not change.
pub const IMMUTABLE: u32 = 1 << 4;
/// The file must not change except by appends.
pub const APPEND: u32 = 1 << 5;
/// dump(8) omits the file.
pub const NODUMP: u32 = 1 << 6;
/// The time of the last access is not updated.
pub const NOATIME: u32 = 1 << 7;
/// Changes of the directory are durable at once. They always are.
pub const DIRSYNC: u32 = 1 << 16;
/// Mappings of the file use the device's own pages. They always do.
pub const DAX: u32 = 1 << 25;

/// Returns the flags that users can set on an inode with the type in `mode`.
pub const fn settable(mode: u32) -> u32 {
    const ALL: u32 = SYNC | IMMUTABLE | APPEND | NODUMP | NOATIME;
    match mode & S_IFMT {
        S_IFDIR => ALL | DIRSYNC | DAX,
        S_IFREG => ALL | DAX,
        S_IFLNK => 0,
        _ => ALL,
    }
}

/// Returns the flags that a new inode with the type in `mode` inherits from its directory.
pub(crate) const fn inherited(mode: u32) -> u32 {
    settable(mode) & (SYNC | NODUMP | NOATIME | DIRSYNC | DAX)
}

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970.
    pub sec: i64,
    /// Nanoseconds, below 10^9.
    pub nsec: u32,
}

/// An inode on the medium: four cache lines, ordered so that the usual operations change only the
/// first (a name in a directory, a write in place) or the first and the third (a new extent).
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Inode {
    seal: Seal,
    /// [`INLINE_TARGET`], [`ORPHAN`], [`COLLAPSING`], and the [`settable`] ones.
    pub flags: U32,
    /// Number of names; for a directory, 2 plus the number of its subdirectories.
    pub nlink: U32,
    /// Bytes; for a directory, the number of its entries.
    pub size: U64,
    /// Blocks that the inode owns: data, tree nodes, directory leaves, link target, attributes.
    pub blocks: U64,
    /// Number of changes of the inode and its contents (`i_version`). It is incremented whenever
    /// [`Inode::set_time`] sets the time of the last change.
    pub version: U64,
    mtime_sec: I64,
    ctime_sec: I64,
    mtime_nsec: U32,
    ctime_nsec: U32,

    /// Its inode number.
    pub ino: U64,
    /// File type and permissions.
    pub mode: U32,
    /// Owner.
    pub uid: U32,
    /// Group.
    pub gid: U32,
    /// Distinguishes inodes that have had the same number.
    pub generation: U32,
    atime_sec: I64,
    btime_sec: I64,
    atime_nsec: U32,
    btime_nsec: U32,
    /// Device number of a special file, as the kernel encodes it for user space.
    pub rdev: U64,
    /// Directories: the directory that contains this one; the root contains itself.
    pub parent: U64,

    /// The first block of the extended attributes, or 0.
    pub xattr: U64,
    /// The root of the tree, or a short link target.
    pub root: Root,
    /// The next older inode on the orphan list, or 0. This field and the next one are not covered
    /// by the checksum, because they change when a neighbour leaves the list, under another inode
    /// lock.
    pub orphan_next: U64,
    /// The next newer inode on the orphan list, or 0 for the head of the list.
    pub orphan_prev: U64,
}

const _: () = assert!(size_of::<Inode>() == INODE_SIZE as usize);
const _: () = assert!(core::mem::offset_of!(Inode, ino) == 64);
const _: () = assert!(core::mem::offset_of!(Inode, xattr) == 128);

impl Object for Inode {
    const MAGIC: u32 = u32::from_le_bytes(*b"pIno");
    const SEALED: usize = core::mem::offset_of!(Inode, orphan_next);
    const DAMAGED: &'static str = "inode is damaged";

    fn sane(&self) -> bool {
        let type_known = matches!(
            self.mode.get() & S_IFMT,
            S_IFIFO | S_IFCHR | S_IFDIR | S_IFBLK | S_IFREG | S_IFLNK | S_IFSOCK
        );
        let inline = self.flags.get() & INLINE_TARGET != 0;
        type_known && self.root.sane() && (!inline || self.root.is_empty())
    }
}

/// The times of an inode, which are set one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Last access.
    Access,
    /// Last change of the contents.
    Modify,
    /// Last change of the inode.
    Change,
    /// Creation.
    Birth,
}

impl Inode {
    /// Returns the inode number.
    pub fn ino(&self) -> u64 {
        self.ino.get()
    }

    /// Returns the file type: the bits of the mode in [`S_IFMT`].
    pub fn kind(&self) -> u32 {
        self.mode.get() & S_IFMT
    }

    /// Returns whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == S_IFDIR
    }

    /// Returns one of the times.
    pub fn time(&self, stamp: Stamp) -> Time {
        let (sec, nsec) = match stamp {
            Stamp::Access => (self.atime_sec, self.atime_nsec),
            Stamp::Modify => (self.mtime_sec, self.mtime_nsec),
            Stamp::Change => (self.ctime_sec, self.ctime_nsec),
            Stamp::Birth => (self.btime_sec, self.btime_nsec),
        };
        Time {
            sec: sec.get(),
            nsec: nsec.get(),
        }
    }

    /// Sets one of the times. Setting the time of the last change increments [`Inode::version`].
    pub fn set_time(&mut self, stamp: Stamp, time: Time) {
        let (sec, nsec) = match stamp {
            Stamp::Access => (&mut self.atime_sec, &mut self.atime_nsec),
            Stamp::Modify => (&mut self.mtime_sec, &mut self.mtime_nsec),
            Stamp::Change => (&mut self.ctime_sec, &mut self.ctime_nsec),
            Stamp::Birth => (&mut self.btime_sec, &mut self.btime_nsec),
        };
        sec.set(time.sec);
        nsec.set(time.nsec);
        if stamp == Stamp::Change {
            self.version.set(self.version.get().wrapping_add(1));
        }
    }

    /// Sets the times of a change of the contents.
    pub(crate) fn touch(&mut self, now: Time) {
        self.set_time(Stamp::Modify, now);
        self.set_time(Stamp::Change, now);
    }

    /// Returns whether the inode is on the orphan list.
    pub fn is_orphan(&self) -> bool {
        self.flags.get() & ORPHAN != 0
    }

    /// Returns the flags that users set.
    pub fn attributes(&self) -> u32 {
        self.flags.get() & settable(self.mode.get())
    }

    /// Sets the flags that users set. They must be [`settable`].
    pub fn set_attributes(&mut self, attributes: u32) {
        let settable = settable(self.mode.get());
        self.flags
            .set(self.flags.get() & !settable | attributes & settable);
    }

    /// Returns the range of file blocks that is being collapsed out of the file, if there is one.
    pub fn collapsing(&self) -> Option<Range<u64>> {
        let range = self.parent.get()..self.rdev.get();
        (self.flags.get() & COLLAPSING != 0).then_some(range)
    }

    /// Records the range that is being collapsed out of the file.
    pub fn set_collapsing(&mut self, range: Option<Range<u64>>) {
        let (flag, range) = range.map_or((0, 0..0), |range| (COLLAPSING, range));
        self.flags.set(self.flags.get() & !COLLAPSING | flag);
        self.parent.set(range.start);
        self.rdev.set(range.end);
    }

    pub(crate) fn check_number(&self, ino: u64) -> Result {
        if self.ino() == ino {
            Ok(())
        } else {
            Err(Error::Corrupt("inode has a wrong number"))
        }
    }

    pub(crate) fn check_dir(&self) -> Result {
        self.is_dir().then_some(()).ok_or(Error::NotDirectory)
    }

    /// Adds `delta` to the link count.
    pub(crate) fn add_links(&mut self, delta: i32) -> Result {
        let links = self
            .nlink
            .get()
            .checked_add_signed(delta)
            .ok_or(Error::Corrupt("link count below zero"))?;
        if delta > 0 && links > LINK_MAX {
            return Err(Error::TooManyLinks);
        }
        self.nlink.set(links);
        Ok(())
    }

    /// Adds `delta` to the number of owned blocks.
    pub(crate) fn add_blocks(&mut self, delta: i64) -> Result {
        let blocks = self
            .blocks
            .get()
            .checked_add_signed(delta)
            .ok_or(Error::Corrupt("block count below zero"))?;
        self.blocks.set(blocks);
        Ok(())
    }

    /// Adds `delta` to the number of directory entries.
    pub(crate) fn add_entries(&mut self, delta: i64) -> Result {
        let size = self
            .size
            .get()
            .checked_add_signed(delta)
            .ok_or(Error::Corrupt("directory size below zero"))?;
        self.size.set(size);
        Ok(())
    }
}

/// The first slot of an inode block.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct InodeHead {
    seal: Seal,
    /// Bit `n`: slot `n` is in use. Bit 0 is never set.
    pub used: U64,
    /// Zero.
    pub reserved: [u8; 240],
}

const _: () = assert!(size_of::<InodeHead>() == INODE_SIZE as usize);

impl InodeHead {
    /// Bits of the slots that can hold inodes.
    pub const SLOTS: u64 = (1 << INODE_SLOTS) - 2;

    /// Offset of [`InodeHead::used`], for readers without the journal lock.
    pub(crate) const USED_OFFSET: u64 = core::mem::offset_of!(InodeHead, used) as u64;
}

impl Object for InodeHead {
    const MAGIC: u32 = u32::from_le_bytes(*b"pIbk");
    const DAMAGED: &'static str = "inode block header is damaged";

    fn sane(&self) -> bool {
        self.used.get() & !Self::SLOTS == 0
    }
}
