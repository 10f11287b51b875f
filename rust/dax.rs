// SPDX-License-Identifier: GPL-2.0

//! Memory-like devices: access to their bytes, and the kernel's DAX core for files on them.
//!
//! C headers: [`include/linux/dax.h`](srctree/include/linux/dax.h),
//! [`include/linux/iomap.h`](srctree/include/linux/iomap.h)

use crate::rust::{
    bindings,
    compat::smp_mb,
    lock::{
        ExclusiveInode,
        LayoutLock,
        NoFaults,
        SharedInodeLock, //
    },
    safe,
    vfs::{
        file::Iocb,
        iomap,
        super_block::BlockDevice,
        FileSystem,
        Inode,
        SuperBlock, //
    }, //
};
use core::{
    marker::PhantomData,
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
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

/// The struct pages of a device.
///
/// # Invariants
///
/// All zeroes, for no pages, or as `pinfs_helper_pages_init()` has set it.
pub(super) struct Pages(bindings::pinfs_pages);

impl Pages {
    /// Returns the wrapped `struct pinfs_pages`.
    pub(super) fn as_ptr(&self) -> *const bindings::pinfs_pages {
        &self.0
    }
}

/// The DAX device of a block device, or the part of it that a partition covers.
///
/// # Invariants
///
/// `device` is referenced. `pages` are none, or those of the `len` bytes from `offset` on.
pub(crate) struct Device {
    device: NonNull<bindings::dax_device>,
    /// Offset of the block device in the DAX device, in bytes.
    offset: u64,
    /// Size of the block device in bytes.
    len: u64,
    pages: Pages,
}

// SAFETY: The device is reference-counted, and any task may put it.
unsafe impl Send for Device {}
// SAFETY: Any task may call the functions of a DAX device, and a shared reference changes `pages`
// only atomically.
unsafe impl Sync for Device {}

impl Device {
    /// Returns the DAX device of a block device, or `None` if it has none.
    pub(super) fn of_bdev(bdev: BlockDevice<'_>) -> Option<Self> {
        let mut offset = 0;
        // SAFETY: The block device is open. There is no holder, and so no call-back.
        let device = unsafe {
            bindings::fs_dax_get_by_bdev(
                bdev.as_ptr(),
                &mut offset,
                core::ptr::null_mut(),
                core::ptr::null(),
            )
        };
        let len = safe::pinfs_helper_bdev_nr_bytes(bdev);
        // INVARIANT: `fs_dax_get_by_bdev` returns a reference; zeroes stand for no pages.
        NonNull::new(device).map(|device| Self {
            device,
            offset,
            len,
            pages: Pages(Default::default()),
        })
    }

    /// Sets the struct pages of the device: consecutive ones from that of frame `pfn` on. No page
    /// of the device can be mapped before that.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    ///
    /// # Safety
    ///
    /// `pfn` must be the page frame of the device's first byte, and those of the rest follow.
    pub(super) unsafe fn set_pages(&mut self, pfn: usize) -> Result {
        let count = (self.len >> bindings::PAGE_SHIFT) as usize;
        // SAFETY: `pages` is as the type's invariant says, so that it can be freed, and it is
        // borrowed exclusively. The frames are the device's, by this function's requirements.
        unsafe {
            bindings::pinfs_helper_pages_free(&mut self.pages.0);
            to_result(bindings::pinfs_helper_pages_init(
                &mut self.pages.0,
                pfn,
                count,
            ))
        }
    }

    /// Returns whether [`Access::is_mapped`] may be true for a range of the device (bytes). Reads
    /// no page, as the device may be gone.
    ///
    /// [`Access::is_mapped`]: crate::rust::pmem::Access::is_mapped
    pub(crate) fn may_be_mapped(&self, start: u64, len: u64) -> bool {
        let (first, count) = Self::pages_of(start, len);
        safe::pinfs_helper_maybe_in_use(&self.pages, first, count)
    }

    /// Returns whether a page of a range of the device (bytes) is in the mapping of a file. The
    /// mapping of `but` does not count.
    ///
    /// # Safety
    ///
    /// The device must be alive during the call.
    pub(super) unsafe fn is_mapped(&self, start: u64, len: u64, but: Option<&Inode>) -> bool {
        let (first, count) = Self::pages_of(start, len);
        let but = but.map_or(core::ptr::null_mut(), Inode::as_ptr);
        // SAFETY: The device is alive, by this function's requirements, so its pages exist. The
        // helper does not read past them.
        unsafe { bindings::pinfs_helper_in_use(self.pages.as_ptr(), first, count, but) }
    }

    /// Returns the first page that overlaps a range, and the number of such pages.
    fn pages_of(start: u64, len: u64) -> (usize, usize) {
        let first = start >> bindings::PAGE_SHIFT;
        let last = start.saturating_add(len.max(1) - 1) >> bindings::PAGE_SHIFT;
        (first as usize, (last - first + 1) as usize)
    }

    /// Returns the pages, for the helpers.
    pub(super) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Returns the wrapped `struct dax_device`.
    pub(super) fn as_ptr(&self) -> *mut bindings::dax_device {
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
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: The value owns the reference. Without a holder `fs_put_dax` only drops it. The
        // pages are as the type's invariant says, so that they can be freed.
        unsafe {
            bindings::fs_put_dax(self.as_ptr(), core::ptr::null_mut());
            bindings::pinfs_helper_pages_free(&mut self.pages.0);
        }
    }
}

/// Makes data durable that has reached the memory controller, where that takes more than a store
/// fence (`blkdev_issue_flush()`: flush hints, virtual devices).
///
/// # Errors
///
/// `EIO` for a device that is gone.
pub(crate) fn flush_device<F: FileSystem>(sb: &SuperBlock<F>) -> Result {
    to_result(safe::blkdev_issue_flush(sb.bdev()))
}

/// Reads a DAX file (`dax_iomap_rw()`).
pub(crate) fn read<F: FileSystem>(
    _lock: &SharedInodeLock<'_, F>,
    iocb: &mut Iocb<'_, F>,
    to: &mut IovIterDest<'_>,
    map: iomap::Table<F>,
) -> Result<usize> {
    // SAFETY: The iterator is valid, as it is borrowed.
    unsafe { read_or_write(iocb, to.as_raw(), map) }
}

/// Writes a DAX file (`dax_iomap_rw()`).
pub(crate) fn write<F: FileSystem>(
    _lock: &impl ExclusiveInode<Fs = F>,
    iocb: &mut Iocb<'_, F>,
    from: &mut IovIterSource<'_>,
    map: iomap::Table<F>,
) -> Result<usize> {
    // SAFETY: The iterator is valid, as it is borrowed.
    unsafe { read_or_write(iocb, from.as_raw(), map) }
}

/// # Safety
///
/// `iter` must be valid for the call.
unsafe fn read_or_write<F: FileSystem>(
    iocb: &mut Iocb<'_, F>,
    iter: *mut bindings::iov_iter,
    map: iomap::Table<F>,
) -> Result<usize> {
    // SAFETY: The iterator is valid, by this function's requirements. The table is for files of
    // `F`, and the `kiocb` one of such a file.
    let ret = unsafe { bindings::dax_iomap_rw(iocb.as_ptr(), iter, map.as_ptr()) };
    usize::try_from(ret).map_err(|_| Error::from_errno(ret as i32))
}

/// Copies at most `len` bytes from byte `at` of the device to the memory of a read. Returns the
/// number of bytes copied. If it is less than `len`, [`read`] has to find the reason.
///
/// The bytes are of one extent, which the inode lock keeps in the file.
pub(crate) fn read_extent<F: FileSystem>(
    _lock: &SharedInodeLock<'_, F>,
    device: &Device,
    (at, len): (u64, usize),
    to: &mut IovIterDest<'_>,
) -> usize {
    safe::pinfs_helper_dax_copy(device, device.offset() + at, len, to)
}

/// Stores at most `len` bytes of a write at byte `at` of the device, and then calls `then` with
/// their number, unless it is 0. Returns the number of bytes stored. If it is less than `len`,
/// [`write()`] has to find the reason. The bytes are durable after a fence.
///
/// The bytes are of one extent, which the inode lock keeps in the file, or which no file has.
///
/// # Errors
///
/// Those of `then`; then no bytes have been taken from `from`.
pub(crate) fn write_extent(
    _lock: &impl ExclusiveInode,
    device: &Device,
    (at, len): (u64, usize),
    from: &mut IovIterSource<'_>,
    then: impl FnOnce(usize) -> Result,
) -> Result<usize> {
    let written = safe::pinfs_helper_dax_copy(device, device.offset() + at, len, &mut *from);
    if written > 0 {
        then(written).inspect_err(|_| {
            // SAFETY: The helper has just advanced it by as many bytes.
            unsafe { from.revert(written) };
        })?;
    }
    Ok(written)
}

/// Zeroes a range of a file through the device; holes stay (`dax_zero_range()`).
///
/// # Errors
///
/// `EFBIG` past the largest offset; the errors of the block map and of the device.
pub(crate) fn zero_range<F: FileSystem>(
    lock: &impl ExclusiveInode<Fs = F>,
    range: Range<u64>,
    map: iomap::Table<F>,
) -> Result {
    if range.is_empty() {
        return Ok(());
    }
    let start = range.start.try_into().map_err(|_| EFBIG)?;
    let len = (range.end - range.start).try_into().map_err(|_| EFBIG)?;
    // SAFETY: The inode is referenced, and the table is for files of `F`.
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

/// Flushes stores through mappings to the pages that hold `range`
/// (`filemap_write_and_wait_range()`).
///
/// # Errors
///
/// `EIO` for a device that is gone.
pub(crate) fn write_and_wait(inode: &Inode, range: &Range<u64>) -> Result {
    let start = i64::try_from(range.start).map_err(|_| EFBIG)?;
    to_result(safe::filemap_write_and_wait_range(
        inode.mapping(),
        start,
        last_byte(range),
    ))
}

/// Returns the last byte of a range, for the DAX core: inclusive, `LLONG_MAX` for the largest
/// offset.
fn last_byte(range: &Range<u64>) -> i64 {
    match i64::try_from(range.end) {
        Ok(end) if end < i64::MAX => end - 1,
        _ => i64::MAX,
    }
}

/// A page of a file, of any size, that is or was in page tables.
pub(crate) struct Page {
    /// Its bytes in the file.
    pub(crate) range: Range<u64>,
    /// It may have been stored to since the last flush.
    pub(crate) is_dirty: bool,
}

/// Returns the page that holds the byte at `pos`, if it was ever faulted in. Without page faults it
/// only changes by a flush.
fn page_at(inode: &Inode, pos: u64) -> Option<Page> {
    let (mut first, mut is_dirty) = (0, false);
    let pages = safe::pinfs_helper_dax_entry(
        inode,
        (pos >> bindings::PAGE_SHIFT) as usize,
        &mut first,
        &mut is_dirty,
    );
    let start = (first as u64) << bindings::PAGE_SHIFT;
    let len = (pages as u64) << bindings::PAGE_SHIFT;
    (pages > 0).then(|| Page {
        range: start..start.saturating_add(len),
        is_dirty,
    })
}

/// Returns the pages that cross the start and the end of a range (bytes, not empty; up to
/// `u64::MAX` for the rest of the file). Both may be the same page.
pub(crate) fn pages_at_edges<F: FileSystem>(
    lock: &LayoutLock<'_, F>,
    range: &Range<u64>,
) -> [Option<Page>; 2] {
    edges(lock.inode(), range)
}

/// Does the same as [`pages_at_edges`], for an inode whose invalidate lock is held.
fn edges(inode: &Inode, range: &Range<u64>) -> [Option<Page>; 2] {
    let first = page_at(inode, range.start).filter(|page| page.range.start < range.start);
    let last = page_at(inode, range.end - 1).filter(|page| page.range.end > range.end);
    [first, last]
}

/// Does the same as [`layout_busy_page_range`], for an inode whose invalidate lock is held
/// exclusively. Also returns the range that was checked.
fn busy_page_range(inode: &Inode, range: &Range<u64>) -> (Range<u64>, *mut bindings::page) {
    // A huge page that crosses the end of the range is busy or idle as a whole, and leaves the
    // mapping as a whole; so its part outside of the range is unmapped, too.
    let mut whole = range.clone();
    for page in edges(inode, range).into_iter().flatten() {
        whole = whole.start.min(page.range.start)..whole.end.max(page.range.end);
    }
    let page = match i64::try_from(whole.start) {
        Ok(start) => safe::dax_layout_busy_page_range(inode.mapping(), start, last_byte(&whole)),
        // No file has bytes at such an offset.
        Err(_) => core::ptr::null_mut(),
    };
    (whole, page)
}

/// A page of a file that has, or had, references other than that of a mapping.
///
/// # Invariants
///
/// The page is one of the device that the file's superblock is on. The inode is referenced for
/// `'a`, so the superblock is active and the device open, and has its `struct page`s: the DAX core
/// itself relies on that for all pages of the file's mapping.
pub(crate) struct BusyPage<'a>(NonNull<bindings::page>, PhantomData<&'a Inode>);

impl BusyPage<'_> {
    /// Returns the wrapped `struct page`.
    pub(super) fn as_ptr(&self) -> *mut bindings::page {
        self.0.as_ptr()
    }

    /// Returns the range of the file, in bytes, that the page's folio holds.
    ///
    /// The folio cannot change under the lock: its mapping entry stays while the folio is busy.
    pub(crate) fn range<F: FileSystem>(&self, _lock: &LayoutLock<'_, F>) -> Range<u64> {
        let mut start = 0;
        let len = safe::pinfs_helper_dax_folio_range(self, &mut start);
        start..start.saturating_add(len)
    }

    /// Returns whether the page is in page tables.
    pub(crate) fn is_mapped(&self) -> bool {
        safe::pinfs_helper_page_mapped(self)
    }

    /// Waits until the page has no reference, until `stop` returns true, for `msecs` milliseconds,
    /// or for a fatal signal. `stop` is called at the start and after each call of [`wake_waiters`]
    /// for the page. Returns false after a timeout, else true.
    ///
    /// If no lock is held meanwhile (see [`LayoutLock::unlocked`]), the page may get new
    /// references, of this file or another, as soon as it is idle, so that the waiter does not see
    /// it idle: hence the timeout. ZONE_DEVICE pages outlive every file, so the page itself stays
    /// valid.
    ///
    /// # Errors
    ///
    /// `EINTR` after a signal that ends the task.
    pub(crate) fn wait_killable<S: Fn() -> bool>(&self, msecs: u32, stop: S) -> Result<bool> {
        /// # Safety
        ///
        /// `stop` must point at an `S`.
        unsafe extern "C" fn ask<S: Fn() -> bool>(stop: *mut c_void) -> bool {
            // SAFETY: `stop` points at an `S`, by this function's requirements.
            unsafe { (*stop.cast::<S>())() }
        }

        WAITERS.fetch_add(1, Full);
        // SAFETY: By the type's invariant the page exists. The helper passes `ask` the last
        // argument, which points to `stop`, and `stop` outlives the call.
        let left = unsafe {
            bindings::pinfs_helper_wait_page_idle_killable(
                self.0.as_ptr(),
                msecs,
                Some(ask::<S>),
                (&raw const stop).cast_mut().cast(),
            )
        };
        WAITERS.fetch_sub(1, Relaxed);
        if left < 0 {
            return Err(EINTR);
        }
        Ok(left != 0)
    }
}

/// Number of tasks in [`BusyPage::wait_killable`].
static WAITERS: Atomic<usize> = Atomic::new(0);

// With a virtual memmap, the address of a `struct page` is computed without looking at memory.
#[cfg(not(CONFIG_SPARSEMEM_VMEMMAP))]
compile_error!("wake_waiters() relies on CONFIG_SPARSEMEM_VMEMMAP");

/// Wakes tasks that wait for a folio, so that they call `stop` again. Must be called after a change
/// of the result of `stop`.
///
/// Either this sees the waiter's count and wakes it, or the waiter counts itself later, and then
/// calls `stop` after the change. The barrier here and the one in the waiter's count ensure that.
pub(crate) fn wake_waiters(pfns: impl Iterator<Item = u64>) {
    smp_mb();
    if WAITERS.load(Relaxed) == 0 {
        return;
    }
    for pfn in pfns {
        safe::pinfs_helper_wake_page(pfn as usize);
    }
}

/// Unmaps a range of a file from all page tables, and returns a page in it that has other
/// references, if there is one (`dax_layout_busy_page_range()`).
///
/// After it returned `None`, no new reference to a page of the range can come into being until the
/// lock is dropped: `get_user_pages_fast()` finds no page table entries, and the slow path has to
/// fault, which waits for the lock.
pub(crate) fn layout_busy_page_range<'a, F: FileSystem>(
    lock: &LayoutLock<'a, F>,
    range: &Range<u64>,
) -> Option<BusyPage<'a>> {
    let (whole, page) = busy_page_range(lock.inode(), range);
    // SAFETY: If there is no busy page, the range is idle and out of page tables, and stays idle as
    // long as both locks are held: see this function's documentation.
    unsafe { lock.set_idle(if page.is_null() { &whole } else { &(0..0) }) };
    // INVARIANT: The page is in the mapping of an inode that is referenced for `'a`.
    NonNull::new(page).map(|page| BusyPage(page, PhantomData))
}

/// Removes a range's pages from the file's mapping (`dax_delete_mapping_range()`).
///
/// The range is one that [`layout_busy_page_range`] has found idle under the same lock. If it is
/// not, this checks it, and removes nothing if a page of it is referenced.
pub(crate) fn delete_mapping_range<F: FileSystem>(lock: &LayoutLock<'_, F>, range: &Range<u64>) {
    if !lock.is_idle(range) && layout_busy_page_range(lock, range).is_some() {
        return;
    }
    let Ok(start) = i64::try_from(range.start) else {
        return;
    };
    // SAFETY: Only the mapping references a page of the range, and both locks are held, so that
    // this stays so: the entries may be removed.
    unsafe {
        bindings::dax_delete_mapping_range(lock.inode().mapping().as_ptr(), start, last_byte(range))
    };
}

/// Removes the zero pages that page faults have mapped for holes from page tables and the mapping,
/// after blocks were allocated for all of the holes in `range` (bytes) under the lock
/// (`invalidate_inode_pages2_range()`).
///
/// The range had only holes and unwritten blocks, so no page of a device is or was mapped in it.
///
/// # Errors
///
/// `EBUSY` if an entry stays, or a page of a device is referenced, which would be an error of the
/// caller.
pub(crate) fn forget_holes(lock: &NoFaults<'_>, range: &Range<u64>) -> Result {
    if range.is_empty() {
        return Ok(());
    }
    if !busy_page_range(lock.inode(), range).1.is_null() {
        return Err(EBUSY);
    }
    // SAFETY: Only the mapping references a page of the range, which is out of page tables. As
    // faults are excluded, this stays so: the entries may be removed.
    to_result(unsafe {
        bindings::invalidate_inode_pages2_range(
            lock.inode().mapping().as_ptr(),
            (range.start >> bindings::PAGE_SHIFT) as usize,
            ((range.end - 1) >> bindings::PAGE_SHIFT) as usize,
        )
    })
}
