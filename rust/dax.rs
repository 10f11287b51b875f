// SPDX-License-Identifier: GPL-2.0

//! Memory-like devices: access to their bytes, and the kernel's DAX core for files on them.
//!
//! C headers: [`include/linux/dax.h`](srctree/include/linux/dax.h),
//! [`include/linux/iomap.h`](srctree/include/linux/iomap.h)

use crate::{
    bindings,
    lock::LayoutLock,
    vfs::{
        file::Iocb,
        iomap,
        FileSystem,
        Inode, //
    }, //
};
use core::{
    ops::Range,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    ffi::c_void,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*, //
};

/// The DAX device behind a block device, or the part of it that a partition covers.
///
/// # Invariants
///
/// `device` is referenced.
pub(crate) struct Device {
    device: NonNull<bindings::dax_device>,
    /// Bytes of the DAX device before the block device's first.
    offset: u64,
    /// Bytes of the block device.
    len: u64,
}

// SAFETY: The device is reference-counted and its functions may be called by any task.
unsafe impl Send for Device {}
// SAFETY: As above.
unsafe impl Sync for Device {}

impl Device {
    /// Returns the DAX device of a block device, or `None` if it has none.
    ///
    /// # Safety
    ///
    /// `bdev` must be open.
    pub(crate) unsafe fn of_bdev(bdev: *mut bindings::block_device) -> Option<Self> {
        let mut offset = 0;
        // SAFETY: By this function's requirements. There is no holder, so no call-back either.
        let device = unsafe {
            bindings::fs_dax_get_by_bdev(
                bdev,
                &mut offset,
                core::ptr::null_mut(),
                core::ptr::null(),
            )
        };
        // SAFETY: As above.
        let len = unsafe { bindings::pinfs_helper_bdev_nr_bytes(bdev) };
        // INVARIANT: `fs_dax_get_by_bdev` returns a reference.
        NonNull::new(device).map(|device| Self {
            device,
            offset,
            len,
        })
    }

    /// Returns the DAX device.
    pub(crate) fn as_ptr(&self) -> *mut bindings::dax_device {
        self.device.as_ptr()
    }

    /// Returns the offset of the block device in the DAX device, in bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the size of the block device in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Maps the whole device for access by [`Region`].
    ///
    /// # Errors
    ///
    /// `EIO` if a part of the device cannot be accessed, for instance because of a bad block;
    /// `EOPNOTSUPP` if it has no addresses in the kernel.
    pub(crate) fn map(self) -> Result<Region> {
        let pages = self.len >> bindings::PAGE_SHIFT;
        let mut base: *mut c_void = core::ptr::null_mut();
        // SAFETY: The device is referenced by the type's invariant.
        let mapped = unsafe {
            let id = bindings::dax_read_lock();
            let mapped = bindings::dax_direct_access(
                self.as_ptr(),
                (self.offset >> bindings::PAGE_SHIFT) as usize,
                pages.try_into().map_err(|_| EOVERFLOW)?,
                bindings::dax_access_mode_DAX_ACCESS,
                &mut base,
                core::ptr::null_mut(),
            );
            bindings::dax_read_unlock(id);
            mapped
        };
        if mapped < 0 {
            return Err(Error::from_errno(mapped as i32));
        }
        if (mapped as u64) < pages {
            return Err(EIO);
        }
        // INVARIANT: `dax_direct_access` gave the address of `pages` contiguous pages.
        Ok(Region {
            base: NonNull::new(base.cast()).ok_or(ENXIO)?,
            len: pages << bindings::PAGE_SHIFT,
            device: self,
        })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: The reference is ours. Without a holder `fs_put_dax` only drops it.
        unsafe { bindings::fs_put_dax(self.as_ptr(), core::ptr::null_mut()) };
    }
}

/// The bytes of a DAX device.
///
/// Every access copies: the memory is shared with user space, devices and other processors, so no
/// reference into it is ever made. The DAX read lock is held around each, so that a device that is
/// taken away turns into `EIO` and not into a stray access.
///
/// # Invariants
///
/// `base` is the kernel's address of `len` contiguous bytes, as long as the device is alive.
pub(crate) struct Region {
    base: NonNull<u8>,
    len: u64,
    device: Device,
}

// SAFETY: The region is plain memory that any task may access.
unsafe impl Send for Region {}
// SAFETY: All methods tolerate concurrent access to the memory; see the type's documentation.
unsafe impl Sync for Region {}

impl AsRef<Device> for Region {
    fn as_ref(&self) -> &Device {
        &self.device
    }
}

impl Region {
    /// Returns the size in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    fn with<R>(&self, offset: u64, len: u64, f: impl FnOnce(*mut u8) -> R) -> Result<R> {
        let end = offset.checked_add(len).ok_or(EINVAL)?;
        if end > self.len {
            return Err(EINVAL);
        }
        // SAFETY: A pure SRCU read lock.
        let id = unsafe { bindings::dax_read_lock() };
        // SAFETY: The device is referenced.
        let result = if unsafe { bindings::dax_alive(self.device.as_ptr()) } {
            // SAFETY: The offset was just checked against the length.
            Ok(f(unsafe { self.base.as_ptr().add(offset as usize) }))
        } else {
            Err(EIO)
        };
        // SAFETY: `id` is from `dax_read_lock`.
        unsafe { bindings::dax_read_unlock(id) };
        result
    }

    /// Copies bytes out of the device.
    ///
    /// # Errors
    ///
    /// `EINVAL` outside of the device, `EIO` for a device that is gone or memory that is poisoned.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> Result {
        let len = u32::try_from(out.len()).map_err(|_| EINVAL)?;
        // SAFETY: `with` gives an address of as many bytes as asked for. `copy_mc_to_kernel`
        // survives a machine check, and tells how many bytes it did not copy.
        let left = self.with(offset, len.into(), |src| unsafe {
            bindings::copy_mc_to_kernel(out.as_mut_ptr().cast(), src.cast(), len)
        })?;
        if left == 0 {
            Ok(())
        } else {
            Err(EIO)
        }
    }

    /// Stores bytes in the device. They are durable after [`Region::flush`] and
    /// [`Region::fence`]. Aligned stores of eight bytes are atomic.
    ///
    /// # Errors
    ///
    /// `EINVAL` outside of the device, `EIO` for a device that is gone.
    pub(crate) fn write(&self, offset: u64, data: &[u8]) -> Result {
        // SAFETY: `with` gives an address of as many bytes as asked for.
        self.with(offset, data.len() as u64, |dst| unsafe {
            bindings::pinfs_helper_pmem_write(dst.cast(), data.as_ptr().cast(), data.len())
        })
    }

    /// Stores zeroes in the device. They are durable after [`Region::flush`] and
    /// [`Region::fence`].
    ///
    /// # Errors
    ///
    /// `EINVAL` outside of the device, `EIO` for a device that is gone.
    pub(crate) fn zero(&self, offset: u64, len: u64) -> Result {
        // SAFETY: `with` gives an address of as many bytes as asked for.
        self.with(offset, len, |dst| unsafe { core::ptr::write_bytes(dst, 0, len as usize) })
    }

    /// Writes the cache lines of a range back to the device (`arch_wb_cache_pmem()`).
    ///
    /// # Errors
    ///
    /// `EINVAL` outside of the device, `EIO` for a device that is gone.
    pub(crate) fn flush(&self, offset: u64, len: u64) -> Result {
        // SAFETY: `with` gives an address of as many bytes as asked for.
        self.with(offset, len, |addr| unsafe {
            bindings::arch_wb_cache_pmem(addr.cast(), len as usize)
        })
    }

    /// Orders what was flushed before against every later store (`pmem_wmb()`).
    pub(crate) fn fence(&self) {
        // SAFETY: A store fence.
        unsafe { bindings::pinfs_helper_pmem_wmb() };
    }
}

/// Reads a DAX file (`dax_iomap_rw()`). The caller holds the inode's i_rwsem at least shared.
pub(crate) fn read<F: FileSystem>(
    iocb: &mut Iocb<'_, F>,
    to: &mut IovIterDest<'_>,
    map: iomap::Table<F>,
) -> Result<usize> {
    // SAFETY: Both pointers are valid for the call.
    let ret = unsafe { bindings::dax_iomap_rw(iocb.as_ptr(), to.as_raw(), map.as_ptr()) };
    usize::try_from(ret).map_err(|_| Error::from_errno(ret as i32))
}

/// Writes a DAX file (`dax_iomap_rw()`). The caller holds the inode's i_rwsem exclusively.
pub(crate) fn write<F: FileSystem>(
    iocb: &mut Iocb<'_, F>,
    from: &mut IovIterSource<'_>,
    map: iomap::Table<F>,
) -> Result<usize> {
    // SAFETY: Both pointers are valid for the call.
    let ret = unsafe { bindings::dax_iomap_rw(iocb.as_ptr(), from.as_raw(), map.as_ptr()) };
    usize::try_from(ret).map_err(|_| Error::from_errno(ret as i32))
}

/// Zeroes a range of a file through the device; holes stay (`dax_zero_range()`).
pub(crate) fn zero_range<F: FileSystem>(
    lock: &LayoutLock<'_>,
    range: Range<u64>,
    map: iomap::Table<F>,
) -> Result {
    let start = range.start.try_into().map_err(|_| EFBIG)?;
    let len = (range.end.saturating_sub(range.start))
        .try_into()
        .map_err(|_| EFBIG)?;
    // SAFETY: The layout is locked, as the argument shows.
    to_result(unsafe {
        bindings::dax_zero_range(
            lock.inode().as_ptr(),
            start,
            len,
            core::ptr::null_mut(),
            map.as_ptr(),
        )
    })
}

/// The last byte of a range, as the DAX core wants it: inclusive, `LLONG_MAX` for the largest
/// offset.
fn last_byte(range: &Range<u64>) -> i64 {
    i64::try_from(range.end).map_or(i64::MAX, |end| if end == i64::MAX { end } else { end - 1 })
}

/// A page of a file that something other than a mapping references.
pub(crate) struct BusyPage(NonNull<bindings::page>);

impl BusyPage {
    /// Returns the range of the file, in bytes, that the page's folio holds.
    ///
    /// The folio cannot change under the lock: its mapping entry stays while it is busy.
    pub(crate) fn range(&self, _lock: &LayoutLock<'_>) -> Range<u64> {
        let mut start = 0;
        // SAFETY: The page is one of the locked mapping's, found under the lock.
        let len = unsafe { bindings::pinfs_helper_dax_folio_range(self.0.as_ptr(), &mut start) };
        start..start.saturating_add(len)
    }

    /// Waits until the page's last reference is gone, or a fatal signal comes.
    ///
    /// No lock is held meanwhile (see [`LayoutLock::unlocked`]); ZONE_DEVICE pages outlive every
    /// file, so that the page itself stays valid.
    ///
    /// # Errors
    ///
    /// `EINTR` after a signal that ends the task.
    pub(crate) fn wait_killable(&self) -> Result {
        // SAFETY: A page of a DAX device, which the mount keeps alive.
        to_result(unsafe { bindings::pinfs_helper_wait_page_idle_killable(self.0.as_ptr()) })
            .map_err(|_| EINTR)
    }
}

/// Unmaps a range of a file from all page tables, and looks for a page in it that something else
/// references (`dax_layout_busy_page_range()`).
///
/// After it returned `None`, no new reference to a page of the range can come into being until the
/// lock is dropped: `get_user_pages_fast()` finds the page table entries gone, and the slow path
/// has to fault, which waits for the lock.
pub(crate) fn layout_busy_page_range(
    lock: &LayoutLock<'_>,
    range: &Range<u64>,
) -> Option<BusyPage> {
    let start = i64::try_from(range.start).ok()?;
    // SAFETY: The layout is locked, as the argument shows.
    let page = unsafe {
        bindings::dax_layout_busy_page_range(
            (*lock.inode().as_ptr()).i_mapping,
            start,
            last_byte(range),
        )
    };
    NonNull::new(page).map(BusyPage)
}

/// Removes a range's pages from the file's mapping (`dax_delete_mapping_range()`).
///
/// Only for a range that [`layout_busy_page_range`] has just found idle under the same lock.
pub(crate) fn delete_mapping_range(lock: &LayoutLock<'_>, range: &Range<u64>) {
    let Ok(start) = i64::try_from(range.start) else {
        return;
    };
    // SAFETY: The layout is locked, as the argument shows.
    unsafe {
        bindings::dax_delete_mapping_range(
            (*lock.inode().as_ptr()).i_mapping,
            start,
            last_byte(range),
        )
    };
}

/// Takes a range of a file out of all page tables, so that its next access faults.
pub(crate) fn unmap(inode: &Inode, range: &Range<u64>) {
    let (Ok(start), Ok(len)) = (
        i64::try_from(range.start),
        i64::try_from(range.end.saturating_sub(range.start)),
    ) else {
        return;
    };
    // SAFETY: The inode is initialised.
    unsafe { bindings::unmap_mapping_range((*inode.as_ptr()).i_mapping, start, len, 1) };
}
