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
    lock::ExclusiveInode, //
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
        // SAFETY: `now` is ours to fill.
        unsafe { bindings::ktime_get_real_ts64(&mut now) };
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
    /// Returns the type that a mode (`i_mode`) says.
    pub(crate) fn of_mode(mode: u16) -> Self {
        match u32::from(mode) & bindings::S_IFMT {
            bindings::S_IFREG => Type::Regular,
            bindings::S_IFDIR => Type::Directory,
            bindings::S_IFLNK => Type::Symlink,
            _ => Type::Special,
        }
    }
}

/// The inode of a file of whatever file system.
///
/// Wraps `struct inode`. Instances are reference-counted by `ihold()` and `iput()`; the last
/// `iput()` may evict the inode and sleep.
///
/// # Invariants
///
/// The wrapped inode is initialised and its reference count is above zero.
#[repr(transparent)]
pub(crate) struct Inode(Opaque<bindings::inode>);

// SAFETY: Inodes are shared between tasks by design; all methods follow the locking rules of the
// fields that they touch.
unsafe impl Send for Inode {}
// SAFETY: As above.
unsafe impl Sync for Inode {}

// SAFETY: The type's invariant says that the reference count is above zero, so `ihold` may be
// called; `iput` gives back what `ihold` took.
unsafe impl AlwaysRefCounted for Inode {
    fn inc_ref(&self) {
        // SAFETY: By the type's invariant.
        unsafe { bindings::ihold(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns a reference.
        unsafe { bindings::iput(obj.as_ref().as_ptr()) };
    }
}

impl Inode {
    /// # Safety
    ///
    /// `ptr` must point at an initialised inode whose reference count stays above zero for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::inode) -> &'a Self {
        // SAFETY: `Inode` is transparent to `struct inode`; validity is the caller's promise.
        unsafe { &*ptr.cast() }
    }

    /// Returns the wrapped `struct inode`.
    pub(crate) fn as_ptr(&self) -> *mut bindings::inode {
        self.0.get()
    }

    /// Returns the inode number.
    pub(crate) fn ino(&self) -> u64 {
        // SAFETY: `i_ino` does not change after the inode was published.
        unsafe { (*self.as_ptr()).i_ino }
    }

    /// Returns the device number of the superblock, as the kernel encodes it.
    pub(crate) fn dev(&self) -> u32 {
        // SAFETY: `i_sb` is set for the inode's whole life and `s_dev` for the superblock's.
        unsafe { (*(*self.as_ptr()).i_sb).s_dev }
    }

    /// Returns the mode: type and permission bits.
    pub(crate) fn mode(&self) -> u16 {
        // SAFETY: A plain load of an aligned field, which `i_rwsem` guards against torn updates.
        unsafe { (*self.as_ptr()).i_mode }
    }

    /// Returns the generation number.
    pub(crate) fn generation(&self) -> u32 {
        // SAFETY: `i_generation` does not change after the inode was published.
        unsafe { (*self.as_ptr()).i_generation }
    }

    /// Returns the type of the file.
    pub(crate) fn file_type(&self) -> Type {
        Type::of_mode(self.mode())
    }

    /// Says whether this is a regular file.
    pub(crate) fn is_regular(&self) -> bool {
        self.file_type() == Type::Regular
    }

    /// Says whether this is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        self.file_type() == Type::Directory
    }

    /// Returns the size in bytes (`i_size_read()`).
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: The helper reads with the tearing protection that the platform needs.
        let size = unsafe { bindings::pinfs_helper_i_size_read(self.as_ptr()) };
        size.try_into().unwrap_or(0)
    }

    /// Returns the owner's user and group, as numbers of the file system's user namespace.
    pub(crate) fn owner(&self) -> (u32, u32) {
        // SAFETY: The inode is initialised.
        unsafe {
            (
                bindings::pinfs_helper_i_uid_read(self.as_ptr()),
                bindings::pinfs_helper_i_gid_read(self.as_ptr()),
            )
        }
    }

    /// Returns the times of the inode.
    pub(crate) fn times(&self) -> Times {
        // SAFETY: The inode is initialised; the helpers read the fields as the VFS does.
        unsafe {
            Times {
                atime: Time::from_c(bindings::pinfs_helper_inode_get_atime(self.as_ptr())),
                mtime: Time::from_c(bindings::pinfs_helper_inode_get_mtime(self.as_ptr())),
                ctime: Time::from_c(bindings::pinfs_helper_inode_get_ctime(self.as_ptr())),
            }
        }
    }

    /// Says whether nothing of the file may change (`IS_IMMUTABLE()`).
    pub(crate) fn is_immutable(&self) -> bool {
        self.has_flag(bindings::S_IMMUTABLE)
    }

    /// Says whether the file may only grow (`IS_APPEND()`).
    pub(crate) fn is_append_only(&self) -> bool {
        self.has_flag(bindings::S_APPEND)
    }

    /// Says whether the file is swapped to (`IS_SWAPFILE()`).
    pub(crate) fn is_swap_file(&self) -> bool {
        self.has_flag(bindings::S_SWAPFILE)
    }

    fn has_flag(&self, flag: u32) -> bool {
        // SAFETY: The inode is initialised. Others may change the field, so it is read once, as
        // READ_ONCE() does.
        unsafe { (&raw const (*self.as_ptr()).i_flags).read_volatile() & flag != 0 }
    }

    /// Writes dirty pages and the inode (`sync_inode_metadata()`), and waits.
    pub(crate) fn sync_metadata(&self) -> Result {
        // SAFETY: The inode is initialised.
        to_result(unsafe { bindings::sync_inode_metadata(self.as_ptr(), 1) })
    }

    /// Marks the first page that is there of a range (page numbers) as dirty. While such a page is not
    /// written back, an inode that was once made dirty ([`FsInode::mark_data_dirty`]) stays so.
    ///
    /// It must not be the page of a hole. May be called in any context.
    pub(crate) fn tag_dirty(&self, pages: &Range<u64>) {
        let last = pages.end.saturating_sub(1);
        // SAFETY: The inode is initialised.
        unsafe {
            bindings::pinfs_helper_tag_dirty(self.as_ptr(), pages.start as usize, last as usize);
        }
    }
}

/// An inode of the file system `F`.
///
/// # Invariants
///
/// The inode was allocated by `F`'s `alloc_inode`, so that it is the first field of a
/// [`Container<F>`].
#[repr(transparent)]
pub(crate) struct FsInode<F: FileSystem>(Inode, PhantomData<F>);

/// What `alloc_inode` allocates: the VFS's inode and the file system's own part beside it.
#[repr(C)]
pub(super) struct Container<F: FileSystem> {
    pub(super) inode: Opaque<bindings::inode>,
    pub(super) quarantine: Quarantine,
    pub(super) data: F::Inode,
}

// SAFETY: As for `Inode`, with which it shares the reference count.
unsafe impl<F: FileSystem> AlwaysRefCounted for FsInode<F> {
    fn inc_ref(&self) {
        self.0.inc_ref();
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns a reference; the types are transparent to one another.
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
        // SAFETY: `FsInode` is transparent to `struct inode`; validity is the caller's promise.
        unsafe { &*ptr.cast() }
    }

    /// Returns this inode as one of `F`, if it is.
    pub(crate) fn try_from(inode: &Inode) -> Option<&Self> {
        if super::super_block::is_of::<F>(inode) {
            // SAFETY: The superblock's type says that `F` allocated the inode.
            Some(unsafe { Self::from_raw(inode.as_ptr()) })
        } else {
            None
        }
    }

    /// Returns the file system's own part of the inode.
    pub(crate) fn data(&self) -> &F::Inode {
        let container = self.as_ptr().cast::<Container<F>>();
        // SAFETY: By the type's invariant; `data` was initialised by `alloc_inode` and stays so
        // until `free_inode`, and is only ever shared.
        unsafe { &(*container).data }
    }

    /// Returns the superblock.
    pub(crate) fn super_block(&self) -> &SuperBlock<F> {
        // SAFETY: The superblock outlives its inodes and is of type `F`.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).i_sb) }
    }

    /// Sets the size (`i_size_write()`). The i_rwsem is held, as the argument shows, which makes
    /// the caller the only writer.
    pub(crate) fn set_size(&self, _lock: &impl ExclusiveInode, size: u64) {
        // SAFETY: The lock serialises writers of `i_size`. No size above `s_maxbytes`, an i64,
        // reaches this function; one that did would be clamped.
        unsafe {
            bindings::pinfs_helper_i_size_write(
                self.as_ptr(),
                i64::try_from(size).unwrap_or(i64::MAX),
            )
        };
    }

    /// Has the inode written at the next sync (`mark_inode_dirty()`).
    pub(crate) fn mark_dirty(&self) {
        // SAFETY: The inode is initialised.
        unsafe { bindings::pinfs_helper_mark_dirty(self.as_ptr()) };
    }

    /// Whether [`FsInode::mark_dirty`] was called since the last sync. Times alone do not count.
    pub(crate) fn is_dirty(&self) -> bool {
        // SAFETY: The inode is initialised.
        unsafe { bindings::pinfs_helper_is_dirty(self.as_ptr()) }
    }

    /// Returns the number of 512-byte sectors that statx reports.
    pub(crate) fn sectors(&self) -> u64 {
        // SAFETY: An aligned load of a field that is only reported.
        unsafe { (*self.as_ptr()).i_blocks }
    }

    /// Sets the number of 512-byte sectors that statx reports.
    pub(crate) fn set_sectors(&self, sectors: u64) {
        // SAFETY: An aligned store to a field that is only reported.
        unsafe { (*self.as_ptr()).i_blocks = sectors };
    }

    /// Checks a new size against the limits (`inode_newsize_ok()`).
    ///
    /// # Errors
    ///
    /// `EFBIG` (with SIGXFSZ for the resource limit), `ETXTBSY` for a swap file.
    pub(crate) fn check_new_size(&self, _lock: &impl ExclusiveInode, size: u64) -> Result {
        let size = i64::try_from(size).map_err(|_| EFBIG)?;
        // SAFETY: The i_rwsem is held, as the argument shows.
        to_result(unsafe { bindings::inode_newsize_ok(self.as_ptr(), size) })
    }

    /// Adds a hard link. Link counts change under the parent directory's lock.
    pub(crate) fn inc_nlink(&self) {
        // SAFETY: The inode is initialised.
        unsafe { bindings::inc_nlink(self.as_ptr()) };
    }

    /// Takes a hard link away.
    pub(crate) fn drop_nlink(&self) {
        // SAFETY: The inode is initialised.
        unsafe { bindings::drop_nlink(self.as_ptr()) };
    }

    /// Takes all hard links away, as for a directory with its own `.`.
    pub(crate) fn clear_nlink(&self) {
        // SAFETY: The inode is initialised.
        unsafe { bindings::clear_nlink(self.as_ptr()) };
    }

    /// Returns the current time at the file system's granularity (`current_time()`).
    pub(crate) fn current_time(&self) -> Time {
        // SAFETY: The inode is initialised.
        Time::from_c(unsafe { bindings::current_time(self.as_ptr()) })
    }

    /// Has `write_back` called for the file by whoever syncs it or the file system, once: makes the
    /// inode dirty, which it stays only if a page is ([`Inode::tag_dirty`]).
    pub(crate) fn mark_data_dirty(&self) {
        // SAFETY: The inode is initialised.
        unsafe { bindings::__mark_inode_dirty(self.as_ptr(), bindings::pinfs_i_dirty_pages) };
    }

    /// Sets the time of the last change of the inode, and counts the change.
    pub(crate) fn set_ctime(&self, time: Time) {
        // SAFETY: The inode is initialised.
        unsafe {
            bindings::inode_set_ctime_to_ts(self.as_ptr(), time.to_c());
            bindings::inode_maybe_inc_iversion(self.as_ptr(), true);
        }
    }

    /// Returns how many changes were counted (`inode_peek_iversion()`).
    pub(crate) fn version(&self) -> u64 {
        // SAFETY: The inode is initialised.
        unsafe { bindings::pinfs_helper_peek_iversion(self.as_ptr()) }
    }

    /// Has the VFS heed the flags of an inode (`FS_*_FL`), those that it knows. The i_rwsem is
    /// held, as the argument shows.
    pub(crate) fn set_flags(&self, _lock: &impl ExclusiveInode, flags: u32) {
        // SAFETY: The lock serialises changes of the flags.
        unsafe { apply_flags(self.as_ptr(), flags) };
    }

    /// Sets the time of the last change of the contents.
    pub(crate) fn set_mtime(&self, time: Time) {
        // SAFETY: The inode is initialised.
        unsafe { bindings::pinfs_helper_inode_set_mtime(self.as_ptr(), time.to_c()) };
    }

    /// Sets the times of a change of the contents to now.
    pub(crate) fn touch(&self) {
        let now = self.current_time();
        self.set_mtime(now);
        self.set_ctime(now);
    }
}

/// Sets what the VFS keeps of the flags of an inode.
///
/// # Safety
///
/// The inode must be initialised, and nobody else change its flags.
unsafe fn apply_flags(inode: *mut bindings::inode, flags: u32) {
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
    // SAFETY: By this function's requirements.
    unsafe { bindings::inode_set_flags(inode, set, mask) };
}

/// Frees what [`New::init`] allocated for an inode.
///
/// # Safety
///
/// Only for `free_inode`: nobody can reach the inode any more, an RCU grace period has passed.
pub(super) unsafe fn free_link(inode: *mut bindings::inode) {
    // SAFETY: By this function's requirements; `i_link` shares its storage with the device and
    // pipe pointers, so only symbolic links own it.
    unsafe {
        if Type::of_mode((*inode).i_mode) == Type::Symlink {
            bindings::kfree((*inode).__bindgen_anon_5.i_link.cast::<c_void>());
        }
    }
}
