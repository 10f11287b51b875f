// SPDX-License-Identifier: GPL-2.0

//! Inodes.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

mod new;
mod operations;

pub(crate) use self::{
    new::{
        get,
        Draft,
        Found,
        Kind,
        Negative,
        New,
        Params,
        Unnamed, //
    },
    operations::{
        Attributes,
        Details,
        Operations,
        Table, //
    }, //
};

use super::{
    quarantine::Quarantine,
    super_block::SuperBlock,
    FileSystem, //
};
use crate::rust::{
    bindings,
    lock::ExclusiveInode,
    safe, //
};
use core::{
    marker::PhantomData,
    ops::{
        Deref,
        Range, //
    },
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    ffi::c_void,
    prelude::*,
    sync::aref::AlwaysRefCounted,
    types::Opaque, //
};

/// `FS_IMMUTABLE_FL`: nothing of the file may change.
pub(crate) const FS_IMMUTABLE_FL: u32 = bindings::FS_IMMUTABLE_FL;
/// `FS_APPEND_FL`: the file may only grow.
pub(crate) const FS_APPEND_FL: u32 = bindings::FS_APPEND_FL;

/// A point in time: seconds since the epoch and nanoseconds within the second.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub(crate) sec: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub(crate) nsec: u32,
}

impl Time {
    /// Returns the current time of day.
    pub(crate) fn now() -> Self {
        let mut now = bindings::timespec64::default();
        safe::ktime_get_real_ts64(&mut now);
        Self::from_c(now)
    }

    fn from_c(ts: bindings::timespec64) -> Self {
        Self {
            sec: ts.tv_sec,
            nsec: ts.tv_nsec as u32,
        }
    }

    fn to_c(self) -> bindings::timespec64 {
        bindings::timespec64 {
            tv_sec: self.sec,
            tv_nsec: self.nsec as isize,
        }
    }
}

/// The three times that the VFS keeps for an inode.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// Last access.
    pub(crate) atime: Time,
    /// Last change of the contents.
    pub(crate) mtime: Time,
    /// Last change of the inode.
    pub(crate) ctime: Time,
}

/// The type of a file, as in the upper bits of its mode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// FIFO, socket or device node.
    Special,
}

impl Type {
    /// Returns the type in a mode (`i_mode`).
    pub(crate) fn of_mode(mode: u16) -> Self {
        match u32::from(mode) & bindings::S_IFMT {
            bindings::S_IFREG => Type::Regular,
            bindings::S_IFDIR => Type::Directory,
            bindings::S_IFLNK => Type::Symlink,
            _ => Type::Special,
        }
    }
}

/// The inode of a file of any file system.
///
/// Wraps `struct inode`. Instances are reference-counted by `ihold()` and `iput()`; the last
/// `iput()` may evict the inode and sleep.
///
/// # Invariants
///
/// The wrapped inode is initialised and its reference count is above zero.
#[repr(transparent)]
pub(crate) struct Inode(Opaque<bindings::inode>);

// SAFETY: An inode is not tied to a task: any task may put it.
unsafe impl Send for Inode {}
// SAFETY: Inodes are shared between tasks by design; all methods follow the locking rules of the
// fields that they touch, or access them as fields that other tasks may be changing.
unsafe impl Sync for Inode {}

// SAFETY: The inode is not freed before its count is zero. `iput` releases the reference of
// `ihold`.
unsafe impl AlwaysRefCounted for Inode {
    fn inc_ref(&self) {
        // SAFETY: By the type's invariant the count is above zero, as `ihold` requires.
        unsafe { bindings::ihold(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns a reference, so that the inode exists, and releases it.
        unsafe { bindings::iput(obj.as_ref().as_ptr()) };
    }
}

/// The mapping of an inode (`struct address_space`).
///
/// # Invariants
///
/// The mapping exists for `'a`, as its inode does.
#[derive(Clone, Copy)]
pub(crate) struct Mapping<'a>(*mut bindings::address_space, PhantomData<&'a Inode>);

impl Mapping<'_> {
    /// # Safety
    ///
    /// `ptr` must point at a mapping that exists as long as the value.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::address_space) -> Self {
        // INVARIANT: By this function's requirements.
        Self(ptr, PhantomData)
    }

    /// Returns the wrapped `struct address_space`.
    pub(in crate::rust) fn as_ptr(self) -> *mut bindings::address_space {
        self.0
    }
}

/// Reads a field of an [`Inode`] that other tasks may be changing, as `READ_ONCE()` does.
macro_rules! read_once {
    ($inode:expr, $field:ident) => {
        // SAFETY: By the type's invariant the inode is initialised and exists as long as the
        // reference. The field is an aligned integer or pointer, which is written as a whole, so a
        // concurrent write does no harm.
        unsafe { (&raw const (*Inode::as_ptr($inode)).$field).read_volatile() }
    };
}

impl Inode {
    /// # Safety
    ///
    /// `ptr` must point at an initialised inode whose reference count stays above zero for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::inode) -> &'a Self {
        // SAFETY: `Inode` is transparent to `struct inode`, of which there is one at `ptr` for
        // `'a`, by this function's requirements.
        unsafe { &*ptr.cast() }
    }

    /// Returns the wrapped `struct inode`.
    pub(crate) fn as_ptr(&self) -> *mut bindings::inode {
        self.0.get()
    }

    /// Returns the mapping of the file's pages.
    pub(crate) fn mapping(&self) -> Mapping<'_> {
        // INVARIANT: `i_mapping` is set for the inode's whole life. It is a part of a block device,
        // which the inode keeps, or of the inode.
        Mapping(read_once!(self, i_mapping), PhantomData)
    }

    /// Returns the inode number, which does not change after the inode was published.
    pub(crate) fn ino(&self) -> u64 {
        read_once!(self, i_ino)
    }

    /// Returns the device number of the superblock, as the kernel encodes it.
    pub(crate) fn dev(&self) -> u32 {
        let sb = read_once!(self, i_sb);
        // SAFETY: `i_sb` is set for the inode's whole life, and its superblock outlives it. `s_dev`
        // does not change after the superblock was mounted.
        unsafe { (*sb).s_dev }
    }

    /// Returns the mode: type and permission bits. The permission bits change under `i_rwsem`, by
    /// chmod(2), chown(2), a write and a change of the ACL.
    pub(crate) fn mode(&self) -> u16 {
        read_once!(self, i_mode)
    }

    /// Returns the generation number, which does not change after the inode was published.
    pub(crate) fn generation(&self) -> u32 {
        read_once!(self, i_generation)
    }

    /// Returns the type of the file.
    pub(crate) fn file_type(&self) -> Type {
        Type::of_mode(self.mode())
    }

    /// Returns whether this is a regular file.
    pub(crate) fn is_regular(&self) -> bool {
        self.file_type() == Type::Regular
    }

    /// Returns whether this is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        self.file_type() == Type::Directory
    }

    /// Returns the size in bytes (`i_size_read()`).
    pub(crate) fn size(&self) -> u64 {
        safe::pinfs_helper_i_size_read(self).try_into().unwrap_or(0)
    }

    /// Returns the owner's user and group, as numbers of the file system's user namespace.
    pub(crate) fn owner(&self) -> (u32, u32) {
        (
            safe::pinfs_helper_i_uid_read(self),
            safe::pinfs_helper_i_gid_read(self),
        )
    }

    /// Returns the times of the inode.
    pub(crate) fn times(&self) -> Times {
        Times {
            atime: Time::from_c(safe::pinfs_helper_inode_get_atime(self)),
            mtime: Time::from_c(safe::pinfs_helper_inode_get_mtime(self)),
            ctime: Time::from_c(safe::pinfs_helper_inode_get_ctime(self)),
        }
    }

    /// Returns whether the file must not change at all (`IS_IMMUTABLE()`).
    pub(crate) fn is_immutable(&self) -> bool {
        self.has_flag(bindings::S_IMMUTABLE)
    }

    /// Returns whether the file may only grow (`IS_APPEND()`).
    pub(crate) fn is_append_only(&self) -> bool {
        self.has_flag(bindings::S_APPEND)
    }

    /// Returns whether the file is a swap file in use (`IS_SWAPFILE()`).
    pub(crate) fn is_swap_file(&self) -> bool {
        self.has_flag(bindings::S_SWAPFILE)
    }

    /// Returns whether a flag is set. The flags change under `i_rwsem`, by FS_IOC_SETFLAGS,
    /// swapon(2) and swapoff(2).
    fn has_flag(&self, flag: u32) -> bool {
        read_once!(self, i_flags) & flag != 0
    }

    /// Writes dirty pages and the inode (`sync_inode_metadata()`), and waits.
    pub(crate) fn sync_metadata(&self) -> Result {
        to_result(safe::sync_inode_metadata(self, 1))
    }

    /// Marks the first present page of a range (page numbers) as dirty. While such a page is not
    /// written back, an inode that was once made dirty ([`FsInode::mark_data_dirty`]) stays dirty.
    ///
    /// It must not be the page of a hole. May be called in any context.
    pub(crate) fn tag_dirty(&self, pages: &Range<u64>) {
        let last = pages.end.saturating_sub(1);
        safe::pinfs_helper_tag_dirty(self, pages.start as usize, last as usize);
    }
}

/// An inode of the file system `F`.
///
/// # Invariants
///
/// The inode was allocated by `F`'s `alloc_inode`, so it is the first field of a [`Container<F>`].
#[repr(transparent)]
pub(crate) struct FsInode<F: FileSystem>(Inode, PhantomData<F>);

/// The memory that `alloc_inode` allocates: the VFS's inode and the file system's own part.
#[repr(C)]
pub(super) struct Container<F: FileSystem> {
    pub(super) inode: Opaque<bindings::inode>,
    pub(super) quarantine: Quarantine,
    pub(super) data: F::Inode,
}

// SAFETY: The inode is not freed before the count of the `Inode` in it is zero.
unsafe impl<F: FileSystem> AlwaysRefCounted for FsInode<F> {
    fn inc_ref(&self) {
        self.0.inc_ref();
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns a reference, and releases it; the types are transparent to one
        // another.
        unsafe { Inode::dec_ref(obj.cast()) };
    }
}

impl<F: FileSystem> Deref for FsInode<F> {
    type Target = Inode;

    fn deref(&self) -> &Inode {
        &self.0
    }
}

impl<F: FileSystem> FsInode<F> {
    /// # Safety
    ///
    /// `ptr` must point at an inode that `F` allocated, with a reference count that stays above
    /// zero for `'a` (or that is being created or evicted by the caller for `'a`).
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::inode) -> &'a Self {
        // SAFETY: `FsInode` is transparent to `struct inode`, of which there is one of `F` at `ptr`
        // for `'a`, by this function's requirements.
        unsafe { &*ptr.cast() }
    }

    /// Returns this inode as one of `F`, or `None` if it is not one.
    pub(crate) fn try_from(inode: &Inode) -> Option<&Self> {
        if super::super_block::is_of::<F>(inode) {
            // SAFETY: By the superblock's type, `F` allocated the inode, which is referenced as
            // long as it is borrowed.
            Some(unsafe { Self::from_raw(inode.as_ptr()) })
        } else {
            None
        }
    }

    /// Returns the file system's own part of the inode.
    pub(crate) fn data(&self) -> &F::Inode {
        let container = self.as_ptr().cast::<Container<F>>();
        // SAFETY: By the type's invariant the inode is in a container. `data` was initialised by
        // `alloc_inode` and stays so until `free_inode`, and is only ever shared.
        unsafe { &(*container).data }
    }

    /// Returns the superblock.
    pub(crate) fn super_block(&self) -> &SuperBlock<F> {
        let sb = read_once!(self, i_sb);
        // SAFETY: The superblock outlives its inodes, and is of `F`, as the inode is by the type's
        // invariant.
        unsafe { SuperBlock::from_raw(sb) }
    }

    /// Sets the size (`i_size_write()`). `_lock` shows that the i_rwsem is held, so the caller is
    /// the only writer.
    pub(crate) fn set_size(&self, _lock: &impl ExclusiveInode, size: u64) {
        // No size above `s_maxbytes`, an i64, reaches this function.
        safe::pinfs_helper_i_size_write(self, i64::try_from(size).unwrap_or(i64::MAX));
    }

    /// Marks the inode dirty, so that the next sync writes it (`mark_inode_dirty()`).
    pub(crate) fn mark_dirty(&self) {
        safe::pinfs_helper_mark_dirty(self);
    }

    /// Returns whether [`FsInode::mark_dirty`] was called since the last sync. Times alone do not
    /// count.
    pub(crate) fn is_dirty(&self) -> bool {
        safe::pinfs_helper_is_dirty(self)
    }

    /// Returns the number of 512-byte sectors that statx reports.
    pub(crate) fn sectors(&self) -> u64 {
        read_once!(self, i_blocks)
    }

    /// Sets the number of 512-byte sectors that statx reports.
    pub(crate) fn set_sectors(&self, sectors: u64) {
        // SAFETY: By the type's invariant the inode exists. The VFS reads the field for statx(2),
        // and does not write it. If several tasks set it, the last one wins.
        unsafe { (&raw mut (*self.as_ptr()).i_blocks).write_volatile(sectors) };
    }

    /// Checks a new size against the limits (`inode_newsize_ok()`).
    ///
    /// # Errors
    ///
    /// `EFBIG` (with SIGXFSZ for the resource limit), `ETXTBSY` for a swap file.
    pub(crate) fn check_new_size(&self, _lock: &impl ExclusiveInode, size: u64) -> Result {
        let size = i64::try_from(size).map_err(|_| EFBIG)?;
        to_result(safe::inode_newsize_ok(self, size))
    }

    /// Adds a hard link. Link counts change under the parent directory's lock.
    pub(crate) fn inc_nlink(&self) {
        safe::inc_nlink(self);
    }

    /// Removes a hard link.
    pub(crate) fn drop_nlink(&self) {
        safe::drop_nlink(self);
    }

    /// Removes all hard links, as for a directory with its own `.`.
    pub(crate) fn clear_nlink(&self) {
        safe::clear_nlink(self);
    }

    /// Returns the current time at the file system's granularity (`current_time()`).
    pub(crate) fn current_time(&self) -> Time {
        Time::from_c(safe::current_time(self))
    }

    /// Makes the inode dirty, so that the next sync of the file or of the file system calls
    /// `write_back` for it once. It stays dirty only if a page is dirty ([`Inode::tag_dirty`]).
    pub(crate) fn mark_data_dirty(&self) {
        // SAFETY: By the type's invariant the inode is initialised, and it may be marked with this
        // flag.
        unsafe { bindings::__mark_inode_dirty(self.as_ptr(), bindings::pinfs_i_dirty_pages) };
    }

    /// Sets the time of the last change of the inode, and counts the change.
    pub(crate) fn set_ctime(&self, time: Time) {
        safe::inode_set_ctime_to_ts(self, time.to_c());
        safe::inode_maybe_inc_iversion(self, true);
    }

    /// Returns how many changes were counted (`inode_peek_iversion()`).
    pub(crate) fn version(&self) -> u64 {
        safe::pinfs_helper_peek_iversion(self)
    }

    /// Passes an inode's flags (`FS_*_FL`) that the VFS knows to the VFS. `_lock` shows that the
    /// i_rwsem is held.
    pub(crate) fn set_flags(&self, _lock: &impl ExclusiveInode, flags: u32) {
        apply_flags(self, flags);
    }

    /// Sets the time of the last change of the contents.
    pub(crate) fn set_mtime(&self, time: Time) {
        safe::pinfs_helper_inode_set_mtime(self, time.to_c());
    }

    /// Sets the times of a change of the contents to now.
    pub(crate) fn touch(&self) {
        let now = self.current_time();
        self.set_mtime(now);
        self.set_ctime(now);
    }
}

/// Sets the VFS's flags of an inode.
fn apply_flags(inode: &Inode, flags: u32) {
    const KNOWN: [(u32, u32); 5] = [
        (bindings::FS_SYNC_FL, bindings::S_SYNC),
        (bindings::FS_IMMUTABLE_FL, bindings::S_IMMUTABLE),
        (bindings::FS_APPEND_FL, bindings::S_APPEND),
        (bindings::FS_NOATIME_FL, bindings::S_NOATIME),
        (bindings::FS_DIRSYNC_FL, bindings::S_DIRSYNC),
    ];
    let (mut set, mut mask) = (0, 0);
    for (flag, bit) in KNOWN {
        mask |= bit;
        if flags & flag != 0 {
            set |= bit;
        }
    }
    safe::inode_set_flags(inode, set, mask);
}

/// Frees the link target that [`New::init`] allocated for an inode.
///
/// # Safety
///
/// Must be called only by `free_inode`: no task can reach the inode any more, as an RCU grace
/// period has passed.
pub(super) unsafe fn free_link(inode: *mut bindings::inode) {
    // SAFETY: No other task can reach the inode, by this function's requirements. `i_link` shares
    // its storage with the device and pipe pointers, so only symbolic links own it.
    unsafe {
        if Type::of_mode((*inode).i_mode) == Type::Symlink {
            bindings::kfree((*inode).__bindgen_anon_5.i_link.cast::<c_void>());
        }
    }
}
