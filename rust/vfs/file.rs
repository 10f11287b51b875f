// SPDX-License-Identifier: GPL-2.0

//! Open files of a DAX file system.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/mm.h`](srctree/include/linux/mm.h)

use super::{
    errno::eopnotsupp,
    inode::Type,
    iomap,
    quarantine,
    shown,
    FileSystem,
    FsInode, //
};
use crate::rust::{
    bindings,
    identity::FileId,
    lease,
    lock::{
        ExclusiveInode,
        FaultLock, //
    },
    safe, //
};
use core::{
    marker::PhantomData,
    ops::Range,
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    ffi::{
        c_int,
        c_long,
        c_uint,
        c_ulong, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::NotThreadSafe,
    uaccess::UserPtr, //
};

/// A read or write in progress on a file of `F` (`struct kiocb`).
///
/// # Invariants
///
/// Points at a valid `struct kiocb` for a file of `F`.
pub(crate) struct Iocb<'a, F: FileSystem> {
    inner: NonNull<bindings::kiocb>,
    _fs: PhantomData<&'a F>,
}

impl<'a, F: FileSystem> Iocb<'a, F> {
    /// Returns the wrapped `struct kiocb`.
    pub(crate) fn as_ptr(&self) -> *mut bindings::kiocb {
        self.inner.as_ptr()
    }

    /// Returns the file.
    fn file(&self) -> OpenFile<'a, F> {
        // SAFETY: By the type's invariant the `kiocb` is one for a file of `F`, which is open
        // during the read or write, so that the pointer is not null.
        let inner = unsafe { NonNull::new_unchecked((*self.as_ptr()).ki_filp) };
        // INVARIANT: The file is one of `F`, and valid as long as the `kiocb`.
        OpenFile {
            inner,
            _fs: PhantomData,
        }
    }

    /// Returns the file's inode.
    pub(crate) fn inode(&self) -> &'a FsInode<F> {
        self.file().inode()
    }

    /// Returns the position in the file, in bytes. It moves as bytes are copied.
    pub(crate) fn position(&self) -> u64 {
        // SAFETY: By the type's invariant the `kiocb` is valid, and only the current task uses it.
        unsafe { (*self.as_ptr()).ki_pos.try_into().unwrap_or(0) }
    }

    /// Advances the position by bytes that were copied.
    pub(crate) fn advance(&mut self, bytes: usize) {
        // SAFETY: By the type's invariant the `kiocb` is valid, and only the current task uses it.
        // The bytes are of the file, whose size is an i64.
        unsafe { (*self.as_ptr()).ki_pos += bytes as i64 };
    }

    /// Returns whether the operation must not block (`RWF_NOWAIT`).
    pub(crate) fn is_nowait(&self) -> bool {
        // SAFETY: By the type's invariant the `kiocb` is valid, and only the current task uses it.
        unsafe { (*self.as_ptr()).ki_flags & bindings::pinfs_iocb_nowait != 0 }
    }

    /// Updates the access time (`file_accessed()`).
    pub(crate) fn accessed(&self) {
        safe::pinfs_helper_file_accessed(&self.file());
    }

    /// Checks a write against the limits and sets the position for appends
    /// (`generic_write_checks()`). Returns the number of bytes to write; zero ends the write.
    ///
    /// # Errors
    ///
    /// `EFBIG`, `EINVAL` …
    pub(crate) fn write_checks(
        &mut self,
        _lock: &impl ExclusiveInode<Fs = F>,
        from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let ret = safe::generic_write_checks(&*self, from);
        usize::try_from(ret).map_err(|_| Error::from_errno(ret as i32))
    }

    /// Strips set-user-id bits and updates the times before a write (`kiocb_modified()`).
    ///
    /// # Errors
    ///
    /// `EAGAIN` if that would block and must not.
    pub(crate) fn modified(&self, _lock: &impl ExclusiveInode<Fs = F>) -> Result {
        to_result(safe::kiocb_modified(self))
    }

    /// Makes a write of `written` bytes durable if the file or the call asks for it
    /// (`generic_write_sync()`). No lock is held.
    pub(crate) fn write_sync(&mut self, written: usize) -> Result<usize> {
        let ret = safe::pinfs_helper_generic_write_sync(&*self, written as isize);
        usize::try_from(ret).map_err(|_| Error::from_errno(ret as i32))
    }
}

/// An open file of `F`.
///
/// # Invariants
///
/// Points at a valid `struct file` of `F`, for `'a`.
pub(crate) struct OpenFile<'a, F: FileSystem> {
    inner: NonNull<bindings::file>,
    _fs: PhantomData<&'a F>,
}

impl<'a, F: FileSystem> OpenFile<'a, F> {
    /// Returns the wrapped `struct file`.
    pub(in crate::rust) fn as_ptr(&self) -> *mut bindings::file {
        self.inner.as_ptr()
    }

    /// Returns the file's inode.
    pub(crate) fn inode(&self) -> &'a FsInode<F> {
        // SAFETY: By the type's invariant the file is one of `F` and open for `'a`. It holds the
        // inode, which does not change.
        unsafe { FsInode::from_raw((*self.inner.as_ptr()).f_inode) }
    }

    /// Returns the file for the lease code.
    pub(crate) fn lease(&self) -> lease::OpenFile<'a> {
        // SAFETY: By the type's invariant the file is open for `'a`, so that it is referenced.
        unsafe { lease::OpenFile::from_raw(self.inner.as_ptr()) }
    }

    /// Returns the identity of the open file.
    pub(crate) fn id(&self) -> FileId {
        FileId::of_raw(self.inner.as_ptr())
    }

    /// Runs `change` with write access to the mount (`mnt_want_write_file()`).
    ///
    /// # Errors
    ///
    /// `EROFS` if the mount is read-only; the error of `change`.
    pub(crate) fn with_write_access(&self, change: impl FnOnce() -> Result) -> Result {
        to_result(safe::mnt_want_write_file(self))?;
        let done = change();
        // SAFETY: Just taken.
        unsafe { bindings::mnt_drop_write_file(self.inner.as_ptr()) };
        done
    }

    /// Strips set-user-id bits and updates the times before a change (`file_modified()`).
    pub(crate) fn modified(&self, _lock: &impl ExclusiveInode<Fs = F>) -> Result {
        to_result(safe::file_modified(self))
    }

    /// Flushes the file's dirty pages in a range, whose end is inclusive, and reports earlier
    /// errors (`dax_writeback_mapping_range()`, `file_check_and_advance_wb_err()`).
    ///
    /// Unlike `file_write_and_wait_range()` this does not call `write_back`, which is for callers
    /// outside of the file system.
    pub(crate) fn flush_pages(&self, start: i64, end: i64) -> Result {
        let inode = self.inode();
        let dax = inode.super_block().dax();
        let flushed = safe::pinfs_helper_dax_flush_range(inode, dax, start, end);
        let earlier = safe::file_check_and_advance_wb_err(self);
        to_result(flushed)?;
        to_result(earlier)
    }
}

/// An operation of `fallocate()` on a range of bytes.
#[derive(Clone)]
pub(crate) struct Fallocate {
    mode: c_int,
    /// The range of the file.
    pub(crate) range: Range<u64>,
}

/// The kinds of `fallocate()`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FallocateMode {
    /// Allocate blocks for holes in the range.
    Allocate,
    /// Make the range read as zeroes, and allocate blocks for its holes.
    ZeroRange,
    /// Free the blocks of the range.
    PunchHole,
    /// Remove the range from the file: data after it moves down.
    CollapseRange,
    /// Insert the range into the file: data from its start on moves up.
    InsertRange,
}

impl Fallocate {
    /// Returns the operation, or `None` for a mode that this file system does not have.
    pub(crate) fn mode(&self) -> Option<FallocateMode> {
        const KEEP_SIZE: u32 = bindings::FALLOC_FL_KEEP_SIZE;
        const ZERO: u32 = bindings::FALLOC_FL_ZERO_RANGE;
        const ZERO_KEEP: u32 = ZERO | KEEP_SIZE;
        const PUNCH: u32 = bindings::FALLOC_FL_PUNCH_HOLE | KEEP_SIZE;
        match self.mode as u32 {
            0 | KEEP_SIZE => Some(FallocateMode::Allocate),
            ZERO | ZERO_KEEP => Some(FallocateMode::ZeroRange),
            PUNCH => Some(FallocateMode::PunchHole),
            bindings::FALLOC_FL_COLLAPSE_RANGE => Some(FallocateMode::CollapseRange),
            bindings::FALLOC_FL_INSERT_RANGE => Some(FallocateMode::InsertRange),
            _ => None,
        }
    }

    /// Returns whether the file's size must not change.
    pub(crate) fn keeps_size(&self) -> bool {
        self.mode as u32 & bindings::FALLOC_FL_KEEP_SIZE != 0
    }
}

/// The form of the positions of a directory that its reader sees.
///
/// A position has 63 bits, and 32-bit programs (and old NFS clients) take 31. They get the upper
/// ones, which several consecutive entries may have in common. A reader that seeks to such a
/// position gets the first of these entries, so that no entry is left out, but some may come twice.
/// This does not happen to a reader that does not seek: the open directory keeps the whole of the
/// last position.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    Upper,
}

impl Form {
    /// Number of bits that are left out.
    const LOWER: u32 = 32;
    /// The position after all entries.
    const END: u64 = i64::MAX as u64;
    const UPPER_END: u64 = Self::END >> Self::LOWER;
    /// The first position that is not one of `.` and `..`, in either form.
    const FIRST: u64 = 2;

    /// # Safety
    ///
    /// `file` must be an open directory.
    unsafe fn of(file: *mut bindings::file) -> Self {
        // SAFETY: The file is open, by this function's requirements.
        match unsafe { bindings::pinfs_helper_dir_pos_is_31bit(file) } {
            true => Form::Upper,
            false => Form::Whole,
        }
    }

    /// Returns the position after all entries in this form.
    fn end(self) -> u64 {
        self.show(Self::END)
    }

    /// Converts a position to this form.
    fn show(self, position: u64) -> u64 {
        match self {
            Form::Upper if (Self::FIRST..Self::END).contains(&position) => {
                (position >> Self::LOWER).clamp(Self::FIRST, Self::UPPER_END - 1)
            }
            Form::Upper if position >= Self::END => Self::UPPER_END,
            _ => position,
        }
    }

    /// Returns the lowest position with this form. A position that is too large for the form is
    /// from a reader with the other one.
    fn read(self, shown: u64) -> u64 {
        match self {
            Form::Upper if shown == Self::UPPER_END => Self::END,
            Form::Upper if (Self::FIRST + 1..Self::UPPER_END).contains(&shown) => {
                shown << Self::LOWER
            }
            _ => shown,
        }
    }
}

/// Returns the last position, which replaces an open directory's private data. It is 0 if the
/// reader sees whole positions.
///
/// # Safety
///
/// `file` must be an open directory of this module's table, and stay open during `'a`.
unsafe fn kept_position<'a>(file: *mut bindings::file) -> &'a Atomic<usize> {
    // SAFETY: The file is open for `'a`, by this function's requirements, and for an open directory
    // of this module the field is used here only, as an atomic.
    unsafe { Atomic::from_ptr((&raw mut (*file).private_data).cast()) }
}

/// The destination of the entries that `readdir()` lists (`struct dir_context`).
///
/// # Invariants
///
/// `ctx` is valid for `'a`; `file` is the open directory.
pub(crate) struct DirEmitter<'a, F: FileSystem> {
    file: NonNull<bindings::file>,
    ctx: NonNull<bindings::dir_context>,
    form: Form,
    /// The whole of the position that `ctx` has in this form.
    position: u64,
    _fs: PhantomData<&'a F>,
    _not_send: NotThreadSafe,
}

impl<'a, F: FileSystem> DirEmitter<'a, F> {
    /// # Safety
    ///
    /// The arguments must be those of the VFS's call of `iterate_shared` for a directory of `F`,
    /// and the call last for `'a`.
    unsafe fn new(file: NonNull<bindings::file>, ctx: NonNull<bindings::dir_context>) -> Self {
        // SAFETY: The file is an open directory of this module, and the context the current task's,
        // by this function's requirements.
        let (form, shown, kept) = unsafe {
            (
                Form::of(file.as_ptr()),
                (*ctx.as_ptr()).pos.try_into().unwrap_or(Form::END),
                kept_position(file.as_ptr()).load(Relaxed) as u64,
            )
        };
        let goes_on = kept != 0 && Form::Upper.show(kept) == shown;
        // INVARIANT: By this function's requirements.
        Self {
            file,
            ctx,
            form,
            position: if goes_on { kept } else { form.read(shown) },
            _fs: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// Keeps the position for the next call.
    fn leave(self) {
        let kept = match self.form {
            Form::Upper => self.position as usize,
            Form::Whole => 0,
        };
        // SAFETY: By the type's invariant the file is an open directory of this module.
        let place = unsafe { kept_position(self.file.as_ptr()) };
        if place.load(Relaxed) != kept {
            place.store(kept, Relaxed);
        }
    }

    /// Returns the directory.
    pub(crate) fn inode(&self) -> &'a FsInode<F> {
        // SAFETY: By the type's invariant the file is one of `F` and open for `'a`. It holds the
        // inode, which does not change.
        unsafe { FsInode::from_raw((*self.file.as_ptr()).f_inode) }
    }

    /// Returns the position of the next entry: 0 and 1 are `.` and `..`.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Sets the position of the next entry.
    pub(crate) fn set_position(&mut self, position: u64) {
        self.position = position.min(Form::END);
        let shown = self.form.show(self.position);
        // SAFETY: By the type's invariant the context is valid, and the current task may change it.
        unsafe { (*self.ctx.as_ptr()).pos = shown as i64 };
    }

    /// Sets the position after all entries.
    ///
    /// The upper part of the position after the last entry may be that of the last entry, too.
    pub(crate) fn end(&mut self) {
        if self.form == Form::Upper {
            self.set_position(Form::END);
        }
    }

    /// Emits `.` and `..` if the position is before or at them. Returns false if the buffer is
    /// full.
    pub(crate) fn emit_dots(&mut self) -> bool {
        if self.position >= Form::FIRST {
            return true;
        }
        // SAFETY: By the type's invariant both are valid. The directory's i_rwsem is held, so the
        // parent is stable enough for its inode number to be read.
        let (done, shown) = unsafe {
            let done = bindings::pinfs_helper_dir_emit_dots(self.file.as_ptr(), self.ctx.as_ptr());
            (done, (*self.ctx.as_ptr()).pos)
        };
        // Up to the first position both forms are equal.
        self.position = shown.try_into().unwrap_or(Form::END);
        done
    }

    /// Emits one entry. Returns false if the buffer is full.
    ///
    /// `mode_type` is the upper four bits of the mode (`S_DT(mode)`).
    pub(crate) fn emit(&mut self, name: &[u8], ino: u64, mode_type: u8) -> bool {
        // SAFETY: By the type's invariant the context is valid, and `name` has the given length.
        unsafe {
            bindings::pinfs_helper_dir_emit(
                self.ctx.as_ptr(),
                name.as_ptr().cast(),
                name.len() as c_int,
                ino,
                mode_type.into(),
            )
        }
    }
}

/// The functions of an open file (`struct file_operations`) and of its mappings
/// (`struct vm_operations_struct`).
#[vtable]
pub(crate) trait Operations: Sized + 'static {
    /// The file system whose files these are.
    type Fs: FileSystem;

    /// The block map of the files: page faults and SEEK_HOLE go to it directly.
    const MAP: iomap::Table<Self::Fs>;

    /// Called before a file or directory is opened; an error fails the open.
    fn open(_file: &OpenFile<'_, Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reads. No lock is held.
    fn read_iter(_iocb: &mut Iocb<'_, Self::Fs>, _to: &mut IovIterDest<'_>) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes. Write access to the superblock is held (`file_start_write()`).
    fn write_iter(_iocb: &mut Iocb<'_, Self::Fs>, _from: &mut IovIterSource<'_>) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Allocates or frees blocks. Write access to the superblock is held.
    fn fallocate(_file: &OpenFile<'_, Self::Fs>, _what: &Fallocate) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called after a page fault that writes to the byte at `pos` has failed with `ENOSPC`. Returns
    /// whether to try it again. Write access to the superblock and the lock of the mapping (of the
    /// VMA or the whole) are held. The invalidate lock is not held.
    fn make_room_for_fault(_inode: &FsInode<Self::Fs>, _pos: u64) -> bool {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a range durable (bytes, `end` inclusive). No lock is held.
    fn fsync(_file: &OpenFile<'_, Self::Fs>, _start: i64, _end: i64, _datasync: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Handles `ioctl()`. A 32-bit program passes the same argument. No lock is held.
    ///
    /// # Errors
    ///
    /// `ENOTTY` for an unknown command.
    fn ioctl(_file: &OpenFile<'_, Self::Fs>, _command: u32, _arg: UserPtr) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Flushes dirty data that the kernel does not know of in a range (bytes), for sync(2) and
    /// umount. Without `wait` it need not flush, but then the inode has to stay dirty.
    fn write_back(_inode: &FsInode<Self::Fs>, _range: &Range<u64>, _wait: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called when the file is closed for the last time: no descriptor and no mapping is left.
    fn release(_file: &OpenFile<'_, Self::Fs>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Lists a directory. Its i_rwsem is held at least shared.
    fn iterate(_emitter: &mut DirEmitter<'_, Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A filled `struct file_operations` of `F` with its address space operations.
pub(crate) struct Table<F: FileSystem> {
    operations: *const bindings::file_operations,
    address_space: *const bindings::address_space_operations,
    _fs: PhantomData<F>,
}

impl<F: FileSystem> Clone for Table<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: FileSystem> Copy for Table<F> {}

impl<F: FileSystem> Table<F> {
    /// Returns the tables that call `T`, for regular files.
    pub(crate) const fn regular<T: Operations<Fs = F>>() -> Self {
        Self {
            operations: &Thunks::<T>::REGULAR,
            address_space: &Thunks::<T>::ADDRESS_SPACE,
            _fs: PhantomData,
        }
    }

    /// Returns the tables that call `T`, for directories.
    pub(crate) const fn directory<T: Operations<Fs = F>>() -> Self {
        Self {
            operations: &Thunks::<T>::DIRECTORY,
            address_space: &Thunks::<T>::ADDRESS_SPACE,
            _fs: PhantomData,
        }
    }

    pub(super) fn operations(self) -> *const bindings::file_operations {
        self.operations
    }

    pub(super) fn address_space(self) -> *const bindings::address_space_operations {
        self.address_space
    }
}

struct Thunks<T: Operations>(PhantomData<T>);

impl<T: Operations> Thunks<T> {
    const REGULAR: bindings::file_operations = bindings::file_operations {
        // The file system type holds the module as long as a superblock is mounted, and a file
        // holds its mount. The VFS still needs the owner for `fops_get()`.
        owner: crate::rust::compat::this_module(),
        fop_flags: bindings::pinfs_fop_flags,
        llseek: Some(Self::llseek),
        read_iter: Some(Self::read_iter),
        write_iter: Some(Self::write_iter),
        fallocate: Some(Self::fallocate),
        fsync: Some(Self::fsync),
        mmap_prepare: Some(Self::mmap_prepare),
        get_unmapped_area: Some(bindings::thp_get_unmapped_area),
        open: Some(Self::open),
        release: Some(Self::release),
        unlocked_ioctl: if T::HAS_IOCTL {
            Some(Self::ioctl)
        } else {
            None
        },
        compat_ioctl: if T::HAS_IOCTL {
            Some(bindings::compat_ptr_ioctl)
        } else {
            None
        },
        splice_read: Some(bindings::copy_splice_read),
        splice_write: Some(bindings::iter_file_splice_write),
        // For classic leases and delegations. The hook of fcntl() handles layout leases.
        setlease: Some(bindings::generic_setlease),
        ..pin_init::zeroed()
    };

    const DIRECTORY: bindings::file_operations = bindings::file_operations {
        owner: crate::rust::compat::this_module(),
        llseek: Some(Self::llseek_dir),
        read: Some(bindings::generic_read_dir),
        iterate_shared: Some(Self::iterate),
        open: Some(Self::open_dir),
        unlocked_ioctl: Some(Self::ioctl),
        compat_ioctl: Some(bindings::compat_ptr_ioctl),
        fsync: Some(Self::fsync),
        setlease: Some(bindings::generic_setlease),
        ..pin_init::zeroed()
    };

    const ADDRESS_SPACE: bindings::address_space_operations = bindings::address_space_operations {
        writepages: Some(Self::writepages),
        dirty_folio: Some(bindings::noop_dirty_folio),
        direct_IO: Some(bindings::noop_direct_IO),
        ..pin_init::zeroed()
    };

    const VM: bindings::vm_operations_struct = bindings::vm_operations_struct {
        fault: Some(Self::fault),
        huge_fault: Some(Self::huge_fault),
        map_pages: Some(Self::map_pages),
        page_mkwrite: Some(Self::fault),
        pfn_mkwrite: Some(Self::fault),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `llseek`.
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        // SAFETY: The VFS calls with an open file of `T::Fs`, and the block map is for its files.
        unsafe {
            let inode = (*file).f_inode;
            let found = match whence as u32 {
                bindings::SEEK_HOLE => bindings::iomap_seek_hole(inode, offset, T::MAP.as_ptr()),
                bindings::SEEK_DATA => bindings::iomap_seek_data(inode, offset, T::MAP.as_ptr()),
                _ => return bindings::generic_file_llseek(file, offset, whence),
            };
            if found < 0 {
                return found;
            }
            bindings::vfs_setpos(file, found, bindings::pinfs_max_lfs_filesize)
        }
    }

    /// Seeks in a directory, where positions do not depend on the size.
    ///
    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `llseek`.
    unsafe extern "C" fn llseek_dir(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        // SAFETY: The VFS calls with an open file, which is a directory, as only the table of
        // directories has this function.
        unsafe {
            let end = Form::of(file).end() as i64;
            let found = bindings::generic_file_llseek_size(file, offset, whence, end, end);
            let asks = whence as u32 == bindings::SEEK_CUR && offset == 0;
            if found >= 0 && !asks {
                // Also by a seek to the current position, which may have been that of earlier
                // entries.
                kept_position(file).store(0, Relaxed);
            }
            found
        }
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `open`.
    unsafe extern "C" fn open_dir(
        _inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> c_int {
        from_result(|| {
            T::open(&OpenFile {
                inner: NonNull::new(file).ok_or(EINVAL)?,
                _fs: PhantomData,
            })?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `open`.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The VFS calls with a file that is not open yet, so no other task looks at its
        // mode.
        unsafe {
            // Reads and writes support IOCB_NOWAIT.
            (*file).f_mode |= bindings::pinfs_fmode_nowait;
            match Self::open_dir(inode, file) {
                0 => bindings::generic_file_open(inode, file),
                err => err,
            }
        }
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `read_iter`.
    unsafe extern "C" fn read_iter(
        iocb: *mut bindings::kiocb,
        to: *mut bindings::iov_iter,
    ) -> isize {
        from_result(|| {
            let mut iocb = Iocb {
                inner: NonNull::new(iocb).ok_or(EINVAL)?,
                _fs: PhantomData,
            };
            // SAFETY: The VFS calls `read_iter` with an iterator to copy to, which is valid during
            // the call.
            let to = unsafe { IovIterDest::from_raw(to) };
            Ok(T::read_iter(&mut iocb, to)? as isize)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `write_iter`.
    unsafe extern "C" fn write_iter(
        iocb: *mut bindings::kiocb,
        from: *mut bindings::iov_iter,
    ) -> isize {
        from_result(|| {
            let mut iocb = Iocb {
                inner: NonNull::new(iocb).ok_or(EINVAL)?,
                _fs: PhantomData,
            };
            // SAFETY: The VFS calls `write_iter` with an iterator to copy from, which is valid
            // during the call.
            let from = unsafe { IovIterSource::from_raw(from) };
            Ok(T::write_iter(&mut iocb, from)? as isize)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `fallocate`.
    unsafe extern "C" fn fallocate(
        file: *mut bindings::file,
        mode: c_int,
        offset: bindings::loff_t,
        len: bindings::loff_t,
    ) -> isize {
        from_result(|| {
            let file = OpenFile::<T::Fs> {
                inner: NonNull::new(file).ok_or(EINVAL)?,
                _fs: PhantomData,
            };
            if Type::of_mode(file.inode().mode()) != Type::Regular {
                return Err(eopnotsupp());
            }
            let start = u64::try_from(offset).map_err(|_| EINVAL)?;
            let len = u64::try_from(len).map_err(|_| EINVAL)?;
            let range = start..start.checked_add(len).ok_or(EFBIG)?;
            T::fallocate(&file, &Fallocate { mode, range })?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `fsync`.
    unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        start: bindings::loff_t,
        end: bindings::loff_t,
        datasync: c_int,
    ) -> c_int {
        from_result(|| {
            let file = OpenFile::<T::Fs> {
                inner: NonNull::new(file).ok_or(EINVAL)?,
                _fs: PhantomData,
            };
            T::fsync(&file, start, end, datasync != 0)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `unlocked_ioctl`.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, command: c_uint, arg: c_ulong) -> c_long {
        from_result(|| {
            let file = OpenFile::<T::Fs> {
                inner: NonNull::new(file).ok_or(EINVAL)?,
                _fs: PhantomData,
            };
            T::ioctl(&file, command, UserPtr::from_addr(arg))?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `release`.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        if let Some(inner) = NonNull::new(file) {
            if T::HAS_RELEASE {
                T::release(&OpenFile {
                    inner,
                    _fs: PhantomData,
                });
            }
            // SAFETY: The file is of `T::Fs`, and no other task uses it any more, as it has no
            // mappings. Only `mmap_prepare` has stored private data.
            unsafe {
                let inode = FsInode::<T::Fs>::from_raw((*file).f_inode);
                quarantine::closed(inode, shown::take(&raw mut (*file).private_data));
            }
        }
        0
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `iterate_shared`.
    unsafe extern "C" fn iterate(
        file: *mut bindings::file,
        ctx: *mut bindings::dir_context,
    ) -> c_int {
        from_result(|| {
            let file = NonNull::new(file).ok_or(EINVAL)?;
            let ctx = NonNull::new(ctx).ok_or(EINVAL)?;
            // SAFETY: The arguments are those of the VFS's call of `iterate_shared`, which the
            // emitter does not outlive. The directory is of `T::Fs`, as its table is.
            let mut emitter = unsafe { DirEmitter::new(file, ctx) };
            let done = T::iterate(&mut emitter);
            emitter.leave();
            done.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the kernel's call of `writepages`, for a file of `T::Fs`.
    unsafe extern "C" fn writepages(
        mapping: *mut bindings::address_space,
        wbc: *mut bindings::writeback_control,
    ) -> c_int {
        // SAFETY: The kernel calls with the mapping of an inode of `T::Fs`, which it holds, and a
        // control block of its own.
        unsafe {
            let inode = FsInode::<T::Fs>::from_raw((*mapping).host);
            let dax = inode.super_block().dax();
            let ret = bindings::dax_writeback_mapping_range(mapping, dax.as_ptr(), wbc);
            if ret != 0 || !T::HAS_WRITE_BACK {
                return ret;
            }
            let wait = (*wbc).sync_mode == bindings::writeback_sync_modes_WB_SYNC_ALL;
            let start = u64::try_from((*wbc).range_start).unwrap_or(0);
            let end = u64::try_from((*wbc).range_end).unwrap_or(u64::MAX);
            from_result(|| {
                T::write_back(inode, &(start..end.saturating_add(1)), wait)?;
                Ok(0)
            })
        }
    }

    /// # Safety
    ///
    /// The argument must be as in the kernel's call of `mmap_prepare`.
    unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> c_int {
        // SAFETY: The kernel calls with a description of a new mapping of an open file, which is of
        // `T::Fs`. Its private data is used for the set of shown parts only.
        unsafe {
            let file = (*desc).file;
            let inode = FsInode::<T::Fs>::from_raw((*file).f_inode);
            let dax = inode.super_block().dax();
            if !bindings::pinfs_helper_daxdev_mapping_supported(desc, inode.as_ptr(), dax.as_ptr())
            {
                return eopnotsupp().to_errno();
            }
            bindings::pinfs_helper_file_accessed(file);
            // For page faults and for `release`.
            if let Err(err) = shown::get_or_make(&raw mut (*file).private_data) {
                return err.to_errno();
            }
            (*desc).vm_ops = &Self::VM;
            bindings::pinfs_helper_vma_desc_set_hugepage(desc);
        }
        0
    }

    /// Maps no pages around a fault, as there are none in memory. Because this function exists,
    /// page faults need no more than the lock of the VMA. Without it the kernel starts each over
    /// under the mmap lock.
    ///
    /// # Safety
    ///
    /// None; the kernel's type requires an unsafe function.
    unsafe extern "C" fn map_pages(
        _vmf: *mut bindings::vm_fault,
        _first: usize,
        _last: usize,
    ) -> bindings::vm_fault_t {
        0
    }

    /// # Safety
    ///
    /// The argument must be as in the kernel's call of `fault`.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: The kernel calls `huge_fault` as it calls `fault`, with an additional order.
        unsafe { Self::huge_fault(vmf, 0) }
    }

    /// Maps a page, or 2 MiB of them.
    ///
    /// A write to a private mapping becomes a copy and does not change the file, so only writes to
    /// shared ones count as writes here. For those the superblock must not freeze, and the times
    /// change, both before the invalidate lock, which excludes operations that free blocks. The
    /// immutable flag is checked under that lock, so that no write is in progress when a file has
    /// become immutable, and before it, so that the times of such a file do not change.
    ///
    /// # Safety
    ///
    /// The arguments must be as in the kernel's call of `huge_fault`.
    unsafe extern "C" fn huge_fault(
        vmf: *mut bindings::vm_fault,
        order: c_uint,
    ) -> bindings::vm_fault_t {
        // SAFETY: The kernel calls with a fault in progress: the VMA is stable meanwhile, and its
        // file, of `T::Fs`, was through `mmap_prepare`, which has stored the set of shown parts.
        // Write access to the superblock is released if it was taken.
        unsafe {
            let file = bindings::pinfs_helper_vmf_file(vmf);
            let inode = FsInode::<T::Fs>::from_raw((*file).f_inode);
            let write = bindings::pinfs_helper_vmf_is_shared_write(vmf);
            // Done before the page can be referenced. Without `mmap_prepare` there was no mapping.
            let page = (*vmf).__bindgen_anon_1.pgoff;
            shown::get(&raw const (*file).private_data).add(page);
            if write && inode.is_immutable() {
                return bindings::vm_fault_reason_VM_FAULT_SIGBUS as bindings::vm_fault_t;
            }
            if write {
                bindings::pinfs_helper_sb_start_pagefault(inode.as_ptr());
                bindings::file_update_time(file);
            }
            let lock = FaultLock::new(inode);
            let mut pfn = 0;
            let mut error = 0;
            let mut result = if write && inode.is_immutable() {
                bindings::vm_fault_reason_VM_FAULT_SIGBUS as bindings::vm_fault_t
            } else {
                bindings::dax_iomap_fault(vmf, order, &mut pfn, &mut error, T::MAP.for_faults())
            };
            if result & bindings::vm_fault_reason_VM_FAULT_NEEDDSYNC as bindings::vm_fault_t != 0 {
                // If the mapping has another page, the core has kept that one, but would map this
                // one.
                result = if bindings::pinfs_helper_vmf_has(vmf, order, pfn) {
                    bindings::dax_finish_sync_fault(vmf, order, pfn)
                } else {
                    bindings::vm_fault_reason_VM_FAULT_SIGBUS as bindings::vm_fault_t
                };
            }
            drop(lock);
            if write && error == ENOSPC.to_errno() && T::HAS_MAKE_ROOM_FOR_FAULT {
                let pos = ((*vmf).__bindgen_anon_1.pgoff as u64) << bindings::PAGE_SHIFT;
                if T::make_room_for_fault(inode, pos) {
                    result = bindings::vm_fault_reason_VM_FAULT_NOPAGE as bindings::vm_fault_t;
                }
            }
            if write {
                bindings::pinfs_helper_sb_end_pagefault(inode.as_ptr());
            }
            result
        }
    }
}
