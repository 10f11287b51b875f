// SPDX-License-Identifier: GPL-2.0

//! Persistent memory as bytes: copies in and out, write-back of cache lines, store fences.
//!
//! C headers: [`include/linux/dax.h`](srctree/include/linux/dax.h),
//! [`include/linux/libnvdimm.h`](srctree/include/linux/libnvdimm.h)

use crate::rust::{
    bindings,
    dax::Device,
    safe,
    vfs::Inode, //
};
use core::ptr::NonNull;
use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    types::NotThreadSafe, //
};

/// The bytes of a DAX device.
///
/// Every access copies: user space, devices and other processors share the memory, so no reference
/// into it is ever made. The DAX read lock is held around each access ([`Access`]), so that an
/// access to a device that was removed fails with `EIO`.
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
    /// Maps the whole of a device.
    ///
    /// # Errors
    ///
    /// `EIO` if a part of the device cannot be accessed, for instance because of a bad block;
    /// `EOPNOTSUPP` if it has no addresses in the kernel; `ENOMEM`.
    pub(crate) fn map(mut device: Device) -> Result<Self> {
        let pages = device.len() >> bindings::PAGE_SHIFT;
        let count = pages.try_into().map_err(|_| EOVERFLOW)?;
        let mut base: *mut c_void = core::ptr::null_mut();
        let mut pfn = 0;
        // SAFETY: The device is referenced, by its type, and the lock is held meanwhile. If the
        // device returns as many pages as it has, the returned frame is that of the first of them.
        unsafe {
            let id = bindings::dax_read_lock();
            let mapped = bindings::dax_direct_access(
                device.as_ptr(),
                (device.offset() >> bindings::PAGE_SHIFT) as usize,
                count,
                bindings::dax_access_mode_DAX_ACCESS,
                &mut base,
                &mut pfn,
            );
            bindings::dax_read_unlock(id);
            if mapped < 0 {
                return Err(Error::from_errno(mapped as i32));
            }
            if (mapped as u64) < pages {
                return Err(EIO);
            }
            device.set_pages(pfn)?;
        }
        // INVARIANT: `dax_direct_access` gave the address of `pages` contiguous pages.
        Ok(Self {
            base: NonNull::new(base.cast()).ok_or(ENXIO)?,
            len: pages << bindings::PAGE_SHIFT,
            device,
        })
    }

    /// Returns the size in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Prevents the removal of the device until the value is dropped (`dax_read_lock()`).
    ///
    /// # Errors
    ///
    /// `EIO` for a device that is gone.
    pub(crate) fn access(&self) -> Result<Access<'_>> {
        let id = safe::dax_read_lock();
        // INVARIANT: The lock was just taken, and drops with the value.
        let access = Access {
            region: self,
            id,
            _not_send: NotThreadSafe,
        };
        if safe::dax_alive(&self.device) {
            Ok(access)
        } else {
            Err(EIO)
        }
    }

    /// Orders earlier flushes before every later store (`pmem_wmb()`).
    pub(crate) fn fence(&self) {
        safe::pinfs_helper_pmem_wmb();
    }
}

/// Access to the bytes of a live device.
///
/// # Invariants
///
/// The DAX read lock `id` is held by the current task, and the device was alive under it: until the
/// lock is dropped, the region can be accessed.
pub(crate) struct Access<'a> {
    region: &'a Region,
    id: c_int,
    _not_send: NotThreadSafe,
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant `id` is that of a lock that the current task holds.
        unsafe { bindings::dax_read_unlock(self.id) };
    }
}

impl Access<'_> {
    /// Returns whether a page of a range of the device (bytes) is in the mapping of a file: a
    /// process has mapped it, and it was not removed from the mapping since. A page fault may be
    /// about to add it.
    pub(crate) fn is_mapped(&self, start: u64, len: u64) -> bool {
        // SAFETY: By the type's invariant the device is alive.
        unsafe { self.region.device.is_mapped(start, len, None) }
    }

    /// Returns whether a page of a range of the device (bytes) is in the mapping of a file other
    /// than `inode`.
    pub(crate) fn is_mapped_elsewhere(&self, start: u64, len: u64, inode: &Inode) -> bool {
        // SAFETY: By the type's invariant the device is alive.
        unsafe { self.region.device.is_mapped(start, len, Some(inode)) }
    }

    /// Returns the address of `len` bytes at `offset`, valid as long as `self`.
    ///
    /// # Errors
    ///
    /// `EINVAL` outside of the device.
    fn at(&self, offset: u64, len: u64) -> Result<*mut u8> {
        let end = offset.checked_add(len).ok_or(EINVAL)?;
        if end > self.region.len {
            return Err(EINVAL);
        }
        // SAFETY: The offset was just checked against the length, so the address is in the region,
        // or just past its end.
        Ok(unsafe { self.region.base.as_ptr().add(offset as usize) })
    }

    /// Copies bytes out of the device.
    ///
    /// # Errors
    ///
    /// `EINVAL` outside of the device, `EIO` for memory that is poisoned.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> Result {
        let src = self.at(offset, out.len() as u64)?;
        // SAFETY: `at` returns an address of as many bytes as requested, which exist while the
        // device cannot be removed. The helper survives a machine check, and returns how many bytes
        // it did not copy.
        let left = unsafe {
            bindings::pinfs_helper_pmem_read(out.as_mut_ptr().cast(), src.cast(), out.len())
        };
        if left == 0 {
            Ok(())
        } else {
            Err(EIO)
        }
    }

    /// Stores bytes in the device. They are durable after [`Access::flush`] and
    /// [`Region::fence`]. Aligned stores of eight bytes are atomic.
    ///
    /// # Errors
    ///
    /// `EINVAL` outside of the device.
    pub(crate) fn write(&self, offset: u64, data: &[u8]) -> Result {
        let dst = self.at(offset, data.len() as u64)?;
        // SAFETY: `at` returns an address of as many bytes as requested, which exist while the
        // device cannot be removed.
        unsafe { bindings::pinfs_helper_pmem_write(dst.cast(), data.as_ptr().cast(), data.len()) };
        Ok(())
    }

    /// Does both [`Access::write`] and [`Access::flush`].
    ///
    /// # Errors
    ///
    /// `EINVAL` outside of the device.
    pub(crate) fn store(&self, offset: u64, data: &[u8]) -> Result {
        self.write(offset, data)?;
        self.flush(offset, data.len() as u64)
    }

    /// Stores bytes in the device without the cache, for data that will not be read soon. They are
    /// durable after [`Region::fence`].
    ///
    /// # Errors
    ///
    /// `EINVAL` outside of the device.
    pub(crate) fn stream(&self, offset: u64, data: &[u8]) -> Result {
        let dst = self.at(offset, data.len() as u64)?;
        // SAFETY: `at` returns an address of as many bytes as requested, which exist while the
        // device cannot be removed.
        unsafe { bindings::pinfs_helper_pmem_stream(dst.cast(), data.as_ptr().cast(), data.len()) };
        Ok(())
    }

    /// Stores zeroes in the device. They are durable after [`Access::flush`] and
    /// [`Region::fence`].
    ///
    /// # Errors
    ///
    /// `EINVAL` outside of the device.
    pub(crate) fn zero(&self, offset: u64, len: u64) -> Result {
        let dst = self.at(offset, len)?;
        // SAFETY: `at` returns an address of as many bytes as requested, which exist while the
        // device cannot be removed.
        unsafe { bindings::pinfs_helper_pmem_zero(dst.cast(), len as usize) };
        Ok(())
    }

    /// Copies bytes from one place of the device to another, which does not overlap the first, and
    /// writes back the cache lines of the copy.
    ///
    /// # Errors
    ///
    /// `EINVAL` outside of the device, `EIO` for memory that is poisoned.
    pub(crate) fn copy(&self, from: u64, to: u64, len: u64) -> Result {
        let (src, dst) = (self.at(from, len)?, self.at(to, len)?);
        // SAFETY: `at` returns addresses of as many bytes as requested, which exist while the
        // device cannot be removed. The helper survives a machine check, and returns how many bytes
        // it did not copy.
        let left =
            unsafe { bindings::pinfs_helper_pmem_read(dst.cast(), src.cast(), len as usize) };
        self.flush(to, len)?;
        if left == 0 {
            Ok(())
        } else {
            Err(EIO)
        }
    }

    /// Writes back the cache lines of a range to the device (`arch_wb_cache_pmem()`).
    ///
    /// # Errors
    ///
    /// `EINVAL` outside of the device.
    pub(crate) fn flush(&self, offset: u64, len: u64) -> Result {
        let addr = self.at(offset, len)?;
        // SAFETY: `at` returns an address of as many bytes as requested, which exist while the
        // device cannot be removed.
        unsafe { bindings::arch_wb_cache_pmem(addr.cast(), len as usize) };
        Ok(())
    }
}

/// Continues a CRC-32C over `data`, without inversion before or after (`crc32c()`).
pub(crate) fn crc32c(crc: u32, data: &[u8]) -> u32 {
    // SAFETY: The slice is valid for the call.
    unsafe { bindings::crc32c(crc, data.as_ptr().cast(), data.len()) }
}

/// Returns the XXH64 of `data` (`xxh64()`).
pub(crate) fn xxh64(seed: u64, data: &[u8]) -> u64 {
    // SAFETY: The slice is valid for the call.
    unsafe { bindings::xxh64(data.as_ptr().cast(), data.len(), seed) }
}
