// SPDX-License-Identifier: GPL-2.0

//! The block map of files, as the iomap and DAX core use it.
//!
//! C headers: [`include/linux/iomap.h`](srctree/include/linux/iomap.h)

use super::{
    FileSystem,
    FsInode, //
};
use crate::rust::{
    bindings,
    lock::HeldInode, //
};
use core::marker::PhantomData;
use kernel::{
    error::from_result,
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    types::NotThreadSafe, //
};

/// The flags of a request for a mapping (`IOMAP_*`).
#[derive(Clone, Copy)]
pub(crate) struct Request(c_uint);

impl Request {
    /// Returns whether the range is to be written, so that blocks have to be allocated.
    pub(crate) fn is_write(self) -> bool {
        self.0 & bindings::IOMAP_WRITE != 0
    }

    /// Returns whether the request is from a page fault, which holds the invalidate lock shared.
    pub(crate) fn is_fault(self) -> bool {
        self.0 & bindings::IOMAP_FAULT != 0
    }

    /// Returns the evidence of a page fault's lock, if the request is from one.
    pub(crate) fn fault(self) -> Option<InFault> {
        // INVARIANT: `dax_iomap_fault()` was called with a `FaultLock`.
        self.is_fault().then_some(InFault(NotThreadSafe))
    }

    /// Returns whether the mapping is only reported to user space (FIEMAP, SEEK_HOLE).
    pub(crate) fn is_report(self) -> bool {
        self.0 & bindings::IOMAP_REPORT != 0
    }

    /// Returns whether the range is to be zeroed: holes may stay.
    pub(crate) fn is_zero(self) -> bool {
        self.0 & bindings::IOMAP_ZERO != 0
    }

    /// Returns whether the caller must not block.
    pub(crate) fn is_nowait(self) -> bool {
        self.0 & bindings::IOMAP_NOWAIT != 0
    }
}

/// Evidence that the current task handles a page fault of the inode.
///
/// # Invariants
///
/// The task holds `mapping->invalidate_lock` shared.
pub(crate) struct InFault(NotThreadSafe);

// SAFETY: The invalidate lock is held shared, by the type's invariant.
unsafe impl HeldInode for InFault {}

/// The state of a range of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// No blocks: reads as zeroes.
    Hole,
    /// Blocks at this byte address of the device that have never been written: read as zeroes.
    Unwritten(u64),
    /// Blocks at this byte address of the device.
    Mapped(u64),
}

/// A range of a file in one state.
#[derive(Clone, Copy)]
pub(crate) struct Map {
    /// Start of the range in the file, in bytes.
    pub(crate) offset: u64,
    /// Length of the range in bytes.
    pub(crate) length: u64,
    /// Its state.
    pub(crate) extent: Extent,
    /// The blocks were allocated (and zeroed) for this request: page table entries for the former
    /// hole are invalid.
    pub(crate) new: bool,
}

/// The block map of files (`struct iomap_ops`).
pub(crate) trait Operations: Sized + 'static {
    /// The file system whose files these are.
    type Fs: FileSystem;

    /// Returns the mapping at `pos`, of at most `length` bytes for writes.
    ///
    /// Called with the locks that the caller of the iomap function holds: `i_rwsem` for reads and
    /// writes, the invalidate lock for faults.
    fn begin(inode: &FsInode<Self::Fs>, pos: u64, length: u64, request: Request) -> Result<Map>;

    /// Called when blocks of a mapping that [`Operations::begin`] gave to a page fault are in use
    /// by another file, or by another part of this one. Returns the error for the fault.
    fn crossed(inode: &FsInode<Self::Fs>) -> Error;
}

/// Filled `struct iomap_ops` of `F`, for page faults and for other operations.
pub(crate) struct Table<F: FileSystem> {
    table: *const bindings::iomap_ops,
    faults: *const bindings::iomap_ops,
    _file_system: PhantomData<F>,
}

impl<F: FileSystem> Clone for Table<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: FileSystem> Copy for Table<F> {}

impl<F: FileSystem> Table<F> {
    /// Returns the table that calls `T`.
    pub(crate) const fn of<T: Operations<Fs = F>>() -> Self {
        Self {
            table: &Thunks::<T>::TABLE,
            faults: &Thunks::<T>::FAULTS,
            _file_system: PhantomData,
        }
    }

    /// Returns the table for operations other than page faults.
    pub(crate) fn as_ptr(self) -> *const bindings::iomap_ops {
        self.table
    }

    /// Returns the table for page faults.
    pub(crate) fn for_faults(self) -> *const bindings::iomap_ops {
        self.faults
    }
}

/// The address of a hole (`IOMAP_NULL_ADDR`, a macro that bindgen does not evaluate).
const NULL_ADDR: u64 = u64::MAX;

struct Thunks<T: Operations>(PhantomData<T>);

impl<T: Operations> Thunks<T> {
    const TABLE: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: None,
        iomap_end: None,
        iomap_next: Some(Self::next),
    };

    const FAULTS: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: None,
        iomap_end: None,
        iomap_next: Some(Self::next_of_fault),
    };

    /// Fills in the next mapping. Does nothing at the end of a mapping.
    ///
    /// # Safety
    ///
    /// The arguments must be as in iomap's call of `iomap_next`.
    unsafe extern "C" fn next(
        iter: *const bindings::iomap_iter,
        iomap: *mut bindings::iomap,
        srcmap: *mut bindings::iomap,
    ) -> c_int {
        // SAFETY: The arguments are those of iomap's call of `iomap_next`, as both functions
        // require.
        unsafe { Self::advance(iter, iomap, srcmap, || 0, || Self::map(iter, iomap)) }
    }

    /// Does the same as [`Self::next`], and claims the pages that the fault is about to pass to the
    /// DAX core until the mapping ends: the core assumes that they are in no other mapping; see the
    /// C helpers. A mapping that was filled in is always ended, as the core calls this until it
    /// returns 0 or an error.
    ///
    /// # Safety
    ///
    /// The arguments must be as in the call of `iomap_next` in `dax_iomap_fault()`.
    unsafe extern "C" fn next_of_fault(
        iter: *const bindings::iomap_iter,
        iomap: *mut bindings::iomap,
        srcmap: *mut bindings::iomap,
    ) -> c_int {
        // SAFETY: The arguments are those of `dax_iomap_fault()`'s call of `iomap_next`, as the
        // functions require. A mapping that ends was claimed when it was filled in.
        unsafe {
            Self::advance(
                iter,
                iomap,
                srcmap,
                || Self::unclaim(iter, iomap),
                || {
                    Self::map(iter, iomap)?;
                    Self::claim(iter, iomap)
                },
            )
        }
    }

    /// Does the same as `iomap_iter_next()`, which is inline. If `iomap` holds a mapping, calls
    /// `end`, which returns 0 or an errno. Then calls `begin` to fill in the next one. Returns 1,
    /// or 0 if the whole range is done, or an errno.
    ///
    /// # Safety
    ///
    /// The arguments must be as in iomap's call of `iomap_next`.
    #[inline(always)]
    unsafe fn advance(
        iter: *const bindings::iomap_iter,
        iomap: *mut bindings::iomap,
        srcmap: *mut bindings::iomap,
        end: impl FnOnce() -> c_int,
        begin: impl FnOnce() -> Result,
    ) -> c_int {
        // SAFETY: iomap calls `iomap_next` with an iterator and the two mappings in it, which only
        // the current task uses.
        unsafe {
            if (*iomap).length != 0 {
                let ret = bindings::iomap_iter_continue(iter, iomap, srcmap, end());
                if ret <= 0 {
                    return ret;
                }
            }
        }
        from_result(|| begin().map(|()| 1))
    }

    /// Claims the pages of a mapping that was filled in for a page fault.
    ///
    /// # Safety
    ///
    /// The requirements of [`Self::next_of_fault`].
    #[inline(always)]
    unsafe fn claim(iter: *const bindings::iomap_iter, iomap: *mut bindings::iomap) -> Result {
        // SAFETY: `dax_iomap_fault()` calls with an iterator whose inode is of `T::Fs` and held.
        // The lock of the mapping's entry is held until the fault's end. The device exists, as the
        // core will use its pages, too.
        unsafe {
            if u32::from((*iomap).type_) != bindings::IOMAP_MAPPED {
                return Ok(());
            }
            let inode = FsInode::<T::Fs>::from_raw((*iter).inode);
            let dax = inode.super_block().dax();
            let (pos, length) = ((*iter).pos, (*iter).len as bindings::loff_t);
            let (pages, offset) = (dax.pages().as_ptr(), dax.offset());
            let raw = inode.as_ptr();
            if bindings::pinfs_helper_claim(pages, raw, pos, length, iomap, offset) != 0 {
                // There is no mapping to end.
                (*iomap).length = 0;
                return Err(T::crossed(inode));
            }
        }
        Ok(())
    }

    /// Ends the claim of [`Self::claim`], if there is one. Returns 0 or an errno.
    ///
    /// # Safety
    ///
    /// The requirements of [`Self::next_of_fault`], and the mapping must be the one that was filled
    /// in last.
    unsafe fn unclaim(iter: *const bindings::iomap_iter, iomap: *mut bindings::iomap) -> c_int {
        // SAFETY: `dax_iomap_fault()` calls with an iterator whose inode is of `T::Fs` and held.
        // `private` is as the claim has set it, for the position where the iterator was then.
        unsafe {
            let (inode, pos) = ((*iter).inode, (*iter).iter_start_pos);
            if (*iomap).private.is_null() || bindings::pinfs_helper_unclaim(inode, pos, iomap) {
                return 0;
            }
            T::crossed(FsInode::<T::Fs>::from_raw(inode)).to_errno()
        }
    }

    /// Fills in the mapping at the position of the iterator.
    ///
    /// # Safety
    ///
    /// The arguments must be as in iomap's call of `iomap_next`.
    #[inline(always)]
    unsafe fn map(iter: *const bindings::iomap_iter, iomap: *mut bindings::iomap) -> Result {
        // SAFETY: The iterator is valid, and its inode is one of `T::Fs` that the caller of the
        // iomap function holds.
        let (inode, pos, length, flags) = unsafe {
            let iter = &*iter;
            let inode = FsInode::<T::Fs>::from_raw(iter.inode);
            (inode, iter.pos, iter.len, iter.flags)
        };
        let map = T::begin(
            inode,
            pos.try_into().map_err(|_| EINVAL)?,
            length,
            Request(flags),
        )?;
        let (kind, addr) = match map.extent {
            Extent::Hole => (bindings::IOMAP_HOLE, NULL_ADDR),
            Extent::Unwritten(addr) => (bindings::IOMAP_UNWRITTEN, addr),
            Extent::Mapped(addr) => (bindings::IOMAP_MAPPED, addr),
        };
        let dax = inode.super_block().dax();
        // SAFETY: `iomap` is valid, and this function may fill it.
        unsafe {
            (*iomap).addr = addr;
            (*iomap).offset = map.offset.try_into().map_err(|_| EOVERFLOW)?;
            (*iomap).length = map.length;
            (*iomap).type_ = kind as u16;
            (*iomap).flags = if map.new {
                bindings::IOMAP_F_NEW as u16
            } else {
                0
            };
            // Stores through a synchronous mapping must be found after a crash. So the size has to
            // be durable, too, which a write may have left for the next sync.
            if inode.is_dirty() {
                (*iomap).flags |= bindings::IOMAP_F_DIRTY as u16;
            }
            (*iomap).bdev = inode.super_block().bdev().as_ptr();
            (*iomap).dax_dev = dax.as_ptr();
            // Not zero if the device does not start at byte 0 of its DAX device (a partition).
            if addr != NULL_ADDR && flags & bindings::IOMAP_DAX != 0 {
                (*iomap).addr += dax.offset();
            }
        }
        Ok(())
    }
}
