// SPDX-License-Identifier: GPL-2.0

//! Where the bytes of a file are: the questions that the iomap and DAX core ask.
//!
//! C headers: [`include/linux/iomap.h`](srctree/include/linux/iomap.h)

use super::{
    FileSystem,
    INode, //
};
use crate::bindings;
use core::marker::PhantomData;
use kernel::{
    error::from_result,
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*, //
};

/// What the mapping is asked for (`IOMAP_*` request flags).
#[derive(Clone, Copy)]
pub(crate) struct Request(c_uint);

impl Request {
    /// Says whether the range is to be written, so that blocks have to be allocated.
    pub(crate) fn is_write(self) -> bool {
        self.0 & bindings::IOMAP_WRITE != 0
    }

    /// Says whether a page fault asks, which holds the invalidate lock shared.
    pub(crate) fn is_fault(self) -> bool {
        self.0 & bindings::IOMAP_FAULT != 0
    }

    /// Says whether the range is to be zeroed: holes may stay.
    pub(crate) fn is_zero(self) -> bool {
        self.0 & bindings::IOMAP_ZERO != 0
    }

    /// Says whether the caller must not block.
    pub(crate) fn is_nowait(self) -> bool {
        self.0 & bindings::IOMAP_NOWAIT != 0
    }
}

/// What is behind a range of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Nothing: reads as zeroes.
    Hole,
    /// Blocks at this byte address of the device that have never been written: read as zeroes.
    Unwritten(u64),
    /// Blocks at this byte address of the device.
    Mapped(u64),
}

/// A range of a file with one extent behind it.
#[derive(Clone, Copy)]
pub(crate) struct Map {
    /// Start of the range in the file, in bytes.
    pub(crate) offset: u64,
    /// Length of the range in bytes.
    pub(crate) length: u64,
    /// What is behind it.
    pub(crate) extent: Extent,
    /// The blocks were allocated (and zeroed) for this request: mappings of a hole that was there
    /// before are invalid.
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
    fn begin(inode: &INode<Self::Fs>, pos: u64, length: u64, request: Request) -> Result<Map>;
}

/// A filled `struct iomap_ops` of `F`.
pub(crate) struct Table<F: FileSystem>(*const bindings::iomap_ops, PhantomData<F>);

impl<F: FileSystem> Clone for Table<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: FileSystem> Copy for Table<F> {}

impl<F: FileSystem> Table<F> {
    /// Returns the table that calls `T`.
    pub(crate) const fn of<T: Operations<Fs = F>>() -> Self {
        Self(&Thunks::<T>::TABLE, PhantomData)
    }

    /// Returns the table.
    pub(crate) fn as_ptr(self) -> *const bindings::iomap_ops {
        self.0
    }
}

/// The address of what has none (`IOMAP_NULL_ADDR`, a macro that bindgen does not evaluate).
const NULL_ADDR: u64 = u64::MAX;

struct Thunks<T: Operations>(PhantomData<T>);

impl<T: Operations> Thunks<T> {
    const TABLE: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: None,
        iomap_end: None,
        iomap_next: Some(Self::next),
    };

    /// Ends the mapping that `iomap` holds, if it holds one, and fills in the next. Returns 1, or 0
    /// if the whole range is done, or an errno. As `iomap_iter_next()`, which is inline, without a
    /// function that is told of ends: nothing is to be done then.
    ///
    /// # Safety
    ///
    /// The arguments must be as in iomap's call of `iomap_next`.
    unsafe extern "C" fn next(
        iter: *const bindings::iomap_iter,
        iomap: *mut bindings::iomap,
        srcmap: *mut bindings::iomap,
    ) -> c_int {
        // SAFETY: By this function's requirements.
        unsafe {
            if (*iomap).length != 0 {
                let ret = bindings::iomap_iter_continue(iter, iomap, srcmap, 0);
                if ret <= 0 {
                    return ret;
                }
            }
        }
        from_result(|| {
            // SAFETY: By this function's requirements. The mapping of before has been ended.
            unsafe { Self::begin(iter, iomap)? };
            Ok(1)
        })
    }

    /// Fills in the mapping at the place where the iterator is.
    ///
    /// # Safety
    ///
    /// The arguments must be as in iomap's call of `iomap_next`.
    unsafe fn begin(iter: *const bindings::iomap_iter, iomap: *mut bindings::iomap) -> Result {
        // SAFETY: The iterator is valid, and its inode is one of `T::Fs` that the caller of the iomap
        // function holds.
        let (inode, pos, length, flags) = unsafe {
            let iter = &*iter;
            let inode = INode::<T::Fs>::from_raw(iter.inode);
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
        // SAFETY: `iomap` is valid and ours to fill.
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
            // What a synchronous mapping stores must be found after a crash: then the size has to be
            // durable too, which a write may have left for the next sync.
            if inode.is_dirty() {
                (*iomap).flags |= bindings::IOMAP_F_DIRTY as u16;
            }
            (*iomap).bdev = inode.super_block().bdev();
            (*iomap).dax_dev = dax.as_ptr();
            // A device that does not start at byte 0 of its DAX device (a partition).
            if addr != NULL_ADDR && flags & bindings::IOMAP_DAX != 0 {
                (*iomap).addr += dax.offset();
            }
        }
        Ok(())
    }
}
