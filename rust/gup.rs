// SPDX-License-Identifier: GPL-2.0

//! Pinned user pages: long-term pins before they are taken, and unpins before they happen.
//!
//! * [`Longterm`] redirects `__gup_longterm_locked()`. Every long-term pin of a DAX page goes
//!   through this function: `get_user_pages_fast()` leaves such pages to the slow path, and the
//!   slow path has no other way. Its callers differ in whether they hold the mmap lock (`*locked`),
//!   and whether it may be dropped. A call may span several mappings.
//! * [`Unpinned`] observes the exported `unpin_*()` functions, and the end of open files, which may
//!   own pins.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h)

use crate::rust::{
    bindings,
    hook::{
        self,
        redirect,
        Call,
        Entry,
        Observe,
        Point, //
    },
    identity::{
        FileId,
        InodeId,
        MmId, //
    },
    safe,
    small_vec::SmallVec,
    vfs::Inode, //
};
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ops::Range,
    ptr::NonNull, //
};
use kernel::{
    ffi::{
        c_int,
        c_uint,
        c_ulong, //
    },
    fs::{
        File, //
    },
    mm::Mm,
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// References to a mount and a dentry, which keep the file and its mount.
///
/// A writable mount stays writable: the data that a device writes has to be flushed, and a file
/// system that was made read-only does not flush any more. Dropping the value may sleep.
///
/// # Invariants
///
/// `path` is that of an open file, and the value owns a reference to it; so the dentry is positive
/// and stays so. The value owns the write access that `writes` and `writes_inode` record.
pub(crate) struct PathRef {
    path: bindings::path,
    /// Write access to the mount is held.
    writes: bool,
    /// Write access to the inode is held.
    writes_inode: Atomic<bool>,
}

// SAFETY: Mounts and dentries are reference-counted and shared by all tasks, and any task may
// release them.
unsafe impl Send for PathRef {}
// SAFETY: Only `writes_inode` changes through a shared reference, and it is atomic.
unsafe impl Sync for PathRef {}

impl PathRef {
    /// # Safety
    ///
    /// `path` must be that of an open file that is referenced for the duration of the call.
    unsafe fn get(path: *const bindings::path) -> Self {
        // SAFETY: The path is referenced, by this function's requirements.
        // INVARIANT: It is the path of an open file, by the same requirements, and this takes what
        // the value owns.
        unsafe {
            bindings::path_get(path);
            Self {
                path: *path,
                writes: bindings::mnt_get_write_access((*path).mnt) == 0,
                writes_inode: Atomic::new(false),
            }
        }
    }

    /// Returns whether the two keep the same mount and dentry, with the same access to the mount.
    pub(crate) fn is_same(&self, other: &PathRef) -> bool {
        self.path.mnt == other.path.mnt
            && self.path.dentry == other.path.dentry
            && self.writes == other.writes
    }

    /// Takes write access to the inode (`get_write_access()`), as an open for writing does: the
    /// file can neither be executed nor get a lease that excludes writers. Does nothing if the file
    /// is being executed. May be called in any context.
    ///
    /// It is not taken for every path: a mere attempt to pin pages must not keep the file from
    /// being executed.
    pub(crate) fn hold_write_access(&self) {
        if !self.writes_inode.load(Relaxed)
            && safe::pinfs_helper_get_write_access(self.inode())
            && self.writes_inode.xchg(true, Full)
        {
            // SAFETY: Just taken, and the value already has another one.
            unsafe { bindings::pinfs_helper_put_write_access(self.inode().as_ptr()) };
        }
    }

    /// Returns the wrapped `struct path`.
    pub(crate) fn as_ptr(&self) -> *const bindings::path {
        &self.path
    }

    /// Returns the inode.
    pub(crate) fn inode(&self) -> &Inode {
        // SAFETY: By the type's invariant the dentry is referenced and positive, and keeps its
        // inode.
        unsafe { Inode::from_raw((*self.path.dentry).d_inode) }
    }
}

impl Drop for PathRef {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant the value owns the write access and the references.
        unsafe {
            if self.writes_inode.load(Relaxed) {
                bindings::pinfs_helper_put_write_access(self.inode().as_ptr());
            }
            if self.writes {
                bindings::mnt_put_write_access(self.path.mnt);
            }
            bindings::path_put(&self.path);
        }
    }
}

/// A part of the memory that a call pins.
pub(crate) struct Segment {
    /// Its pages, counted from the start of the call's memory.
    pub(crate) pages: Range<usize>,
    /// The mapped file, if `wanted` is true for it.
    pub(crate) file: Option<FileSegment>,
}

/// A mapping of a file.
pub(crate) struct FileSegment {
    /// The file.
    pub(crate) path: Arc<PathRef>,
    /// The page of the file at the start of the segment.
    pub(crate) index: u64,
    /// The mapping is shared: it shows writes of others, and they see its writes.
    pub(crate) is_shared: bool,
    /// The mapping is aligned so that huge pages can be mapped in it.
    pub(crate) can_be_huge: bool,
}

/// The place of a page of a DAX file system.
///
/// The kernel counts references by folio, so this is the place of the page's folio.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Folio {
    /// The inode.
    pub(crate) inode: InodeId,
    /// The page of the file at the start of the folio.
    pub(crate) index: u64,
    /// The page frame at the start of the folio.
    pub(crate) pfn: u64,
    /// Binary logarithm of the number of pages in the folio.
    pub(crate) order: u8,
}

impl Folio {
    /// Returns the folio of a page, and the page's number in the file, if it is a page of a file on
    /// a DAX device that passes `wanted`.
    ///
    /// # Safety
    ///
    /// The page must be pinned during the call, so that it stays a page of its file.
    unsafe fn of_page(
        page: *mut bindings::page,
        wanted: fn(&Inode) -> bool,
    ) -> Option<(Self, u64)> {
        let mut place = MaybeUninit::<bindings::pinfs_page_place>::uninit();
        // SAFETY: The page is pinned, by this function's requirements, so that it exists, and stays
        // in its mapping, if it is in one, and the mapping with its inode. If the helper returns
        // true, it has filled in the place.
        let place = unsafe {
            if !bindings::pinfs_helper_page_place(page, place.as_mut_ptr()) {
                return None;
            }
            let place = place.assume_init();
            if !wanted(Inode::from_raw(place.inode)) {
                return None;
            }
            place
        };
        let folio = Self {
            inode: InodeId::of_raw(place.inode),
            index: place.index as u64,
            pfn: place.pfn as u64,
            order: place.order as u8,
        };
        Some((folio, folio.index + u64::from(place.page)))
    }

    /// Returns the pages of the file that are in the folio.
    pub(crate) fn pages(&self) -> Range<u64> {
        self.index..self.index + (1 << self.order)
    }
}

/// Consecutive folios, in their file as well as in memory, that are unpinned alike.
///
/// # Invariants
///
/// Each of the `count` folios from `first` on is pinned as long as the value lives, during which
/// the function that unpins them has yet to run.
pub(crate) struct Span {
    first: Folio,
    /// Number of folios.
    count: u64,
    /// Number of references that are released of each folio.
    pub(crate) refs: u64,
}

impl Span {
    /// Largest number of folios that are reported at once, with interrupts disabled.
    const MAX: u64 = 128;

    /// # Safety
    ///
    /// The folio must be pinned as long as the value lives.
    unsafe fn new(first: Folio, refs: u64) -> Self {
        // INVARIANT: By this function's requirements.
        Self {
            first,
            count: 1,
            refs,
        }
    }

    /// Adds a folio if it is the next one.
    ///
    /// # Safety
    ///
    /// The requirements of [`Span::new`].
    unsafe fn extend(&mut self, folio: &Folio, refs: u64) -> bool {
        let is_next =
            self.count < Self::MAX && self.refs == refs && self.folio(self.count) == *folio;
        // INVARIANT: By this function's requirements.
        self.count += u64::from(is_next);
        is_next
    }

    /// Returns the inode that the folios are of.
    pub(crate) fn inode(&self) -> InodeId {
        self.first.inode
    }

    /// Returns the number of folios.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// Returns one of the folios.
    pub(crate) fn folio(&self, n: u64) -> Folio {
        let pages = n << self.first.order;
        Folio {
            index: self.first.index + pages,
            pfn: self.first.pfn + pages,
            ..self.first
        }
    }

    /// Returns how many pins there are on one of the folios, from all sources, as [`pins`] does.
    /// Returns 0 past the last folio.
    pub(crate) fn pins(&self, n: u64) -> u64 {
        if n >= self.count {
            return 0;
        }
        // SAFETY: By the type's invariant the folio is pinned, so it exists.
        unsafe { bindings::pinfs_helper_pfn_pins(self.folio(n).pfn as usize) as u64 }
    }
}

/// Returns how many pins there are on the folio that holds a page frame, from all sources. May be
/// called in any context.
///
/// The number is exact for folios of several pages. For a single page it is derived from the
/// reference count, and is too high if there are more references of other kinds than half of a
/// pin's weight (1,024).
///
/// A frame without a page has no pins. If the folio is known to be pinned, [`Span::pins`] does the
/// same without a check for that.
pub(crate) fn pins(pfn: u64) -> u64 {
    safe::pinfs_helper_any_pfn_pins(pfn as usize) as u64
}

/// A call of `__gup_longterm_locked()` with FOLL_LONGTERM.
///
/// Pages are pinned in order. Pages that the call returns as pinned are kept
/// ([`PinnedPages::keep`]); the call returns their number.
///
/// # Invariants
///
/// The arguments are those of the call that `call` is, which is in progress. The first `kept` pages
/// of the array are pinned, once for each place, and `kept` is at most `count`.
pub(crate) struct Request<'a> {
    call: &'a Call,
    mm: &'a Mm,
    start: usize,
    count: usize,
    pages: *mut *mut bindings::page,
    /// The caller holds the mmap lock, unless this is 0.
    locked: &'a mut c_int,
    flags: c_uint,
    /// Number of pages that are pinned and kept.
    kept: usize,
    /// Change count of the mappings when they were looked up, if it is known.
    mappings_seen: Option<c_uint>,
}

impl Request<'_> {
    /// Returns the number of pages to pin.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Returns whether the pages are pinned for writing.
    pub(crate) fn is_write(&self) -> bool {
        self.flags & bindings::FOLL_WRITE != 0
    }

    /// Returns the address space that the memory is in.
    pub(crate) fn mm(&self) -> ARef<Mm> {
        self.mm.into()
    }

    /// Divides the memory into mappings of files that pass `wanted`, and the rest. Returns an empty
    /// vector if no file passes.
    ///
    /// Without the mmap lock, the result may be outdated when this returns.
    ///
    /// # Errors
    ///
    /// `EAGAIN` after a signal that ends the task, `ENOMEM`.
    pub(crate) fn segments(&mut self, wanted: fn(&Inode) -> bool) -> Result<SmallVec<Segment>> {
        let take = *self.locked == 0;
        if take && safe::pinfs_helper_mmap_read_lock_killable(self.mm) != 0 {
            return Err(EAGAIN);
        }
        // SAFETY: The caller holds the lock, or it was taken just now.
        let segments = unsafe { self.segments_locked(wanted) };
        let mut seq = 0;
        let is_known = safe::pinfs_helper_mmap_seq(self.mm, &mut seq);
        self.mappings_seen = is_known.then_some(seq);
        if take {
            // SAFETY: Taken above.
            unsafe { bindings::pinfs_helper_mmap_read_unlock(self.mm.as_raw()) };
        }
        segments
    }

    /// Does the same as [`Request::segments`] under the mmap lock.
    ///
    /// # Safety
    ///
    /// The current task must hold the lock.
    unsafe fn segments_locked(&self, wanted: fn(&Inode) -> bool) -> Result<SmallVec<Segment>> {
        let mut segments = SmallVec::new();
        // Pages before this one are in `segments`.
        let mut done = 0;
        let mut at = 0;
        while at < self.count {
            let mut vma = bindings::pinfs_vma::default();
            let address = self.start + (at << PAGE_SHIFT);
            // SAFETY: The mmap lock is held, by this function's requirements, and the helper
            // requires it. It keeps the mapping, and the mapping its file, with its inode and path.
            let path = unsafe {
                if !bindings::pinfs_helper_vma_lookup(self.mm.as_raw(), address, &mut vma) {
                    // The original returns the error for memory that is not mapped.
                    break;
                }
                NonNull::new(vma.file)
                    .map(|file| file.as_ptr())
                    .filter(|&file| wanted(Inode::from_raw((*file).f_inode)))
                    .map(|file| PathRef::get(bindings::pinfs_helper_file_path(file)))
            };
            let end = self.count.min(at + vma.pages);
            if let Some(path) = path {
                if done < at {
                    segments.push(Segment {
                        pages: done..at,
                        file: None,
                    })?;
                }
                segments.push(Segment {
                    pages: at..end,
                    file: Some(FileSegment {
                        path: Arc::new(path, GFP_KERNEL)?,
                        index: vma.index as u64,
                        is_shared: vma.shared,
                        can_be_huge: vma.can_be_huge,
                    }),
                })?;
                done = end;
            }
            at = end;
        }
        if !segments.is_empty() && done < self.count {
            segments.push(Segment {
                pages: done..self.count,
                file: None,
            })?;
        }
        Ok(segments)
    }

    /// Pins the next `count` pages of ordinary memory with the caller's flags.
    ///
    /// # Errors
    ///
    /// The error of the kernel's function. Fewer than `count` pages may be pinned.
    pub(crate) fn pin_ordinary(&mut self, count: usize) -> Result<PinnedPages<'_>> {
        self.pin(count, self.flags, false)
    }

    /// Pins the next `count` pages of memory without FOLL_LONGTERM, as the kernel refuses long-term
    /// pins of pages of a DAX file.
    ///
    /// Mapped small pages are pinned without the mmap lock if the caller does not hold it: they are
    /// only here because the kernel's fast path does not take long-term pins of DAX pages. For huge
    /// pages the slow path is cheaper.
    ///
    /// The kernel's own checks for long-term pins do not run: before the pages are kept, the caller
    /// has to check that they are pages of a DAX file ([`PinnedPages::folio`]).
    ///
    /// # Errors
    ///
    /// Those of [`Request::pin_ordinary`].
    pub(crate) fn pin_dax(&mut self, count: usize, can_be_huge: bool) -> Result<PinnedPages<'_>> {
        self.pin(count, self.flags & !bindings::FOLL_LONGTERM, !can_be_huge)
    }

    /// Pins the next pages. Uses the kernel's fast path if `fast` is set and it is possible.
    fn pin(&mut self, count: usize, flags: c_uint, fast: bool) -> Result<PinnedPages<'_>> {
        let count = count.min(self.count - self.kept);
        let start = self.start + (self.kept << PAGE_SHIFT);
        let pages = self.pages.wrapping_add(self.kept);
        // SAFETY: By the type's invariant these are the caller's arguments, for a part of its
        // memory and of the array: `kept + count` is at most the caller's count. `locked` may have
        // become 0 in an earlier call, which then has the same meaning as at entry: the callee
        // takes and drops the mmap lock. That is right for callers that allowed it to be dropped,
        // and with others it does not become 0. Both functions return how many of the `count` pages
        // they have pinned, and have put these into the array, which is the caller's for the call.
        let pages = unsafe {
            let ret = if fast
                && *self.locked == 0
                && bindings::pinfs_helper_can_pin_fast(self.mm.as_raw(), count, flags)
            {
                bindings::pinfs_helper_pin_fast(start, count as c_int, flags, pages) as isize
            } else {
                self.call.resume([
                    self.mm.as_raw() as usize,
                    start,
                    count,
                    pages as usize,
                    &raw mut *self.locked as usize,
                    flags as usize,
                ]) as isize
            };
            let pinned = usize::try_from(ret).map_err(|_| Error::from_errno(ret as i32))?;
            core::slice::from_raw_parts(pages, pinned)
        };
        // INVARIANT: These pages were just pinned, and are next in the array.
        Ok(PinnedPages {
            pages,
            mm: self.mm,
            mappings_seen: self.mappings_seen,
            kept: &mut self.kept,
        })
    }

    /// Unpins the pages that were kept, so that the call can start over.
    pub(crate) fn unpin(&mut self) {
        let kept = core::mem::take(&mut self.kept);
        if kept != 0 {
            // SAFETY: By the type's invariant the pages were pinned; none of them is kept any more.
            unsafe { bindings::unpin_user_pages(self.pages, kept) };
        }
    }
}

/// Pages that a [`Request`] has pinned, the next ones after those that it keeps. They are unpinned
/// when the value is dropped, unless they are kept.
///
/// # Invariants
///
/// `pages` are pinned by this value, once for each place, and are the places of the request's array
/// after the `kept` first ones.
pub(crate) struct PinnedPages<'a> {
    pages: &'a [*mut bindings::page],
    mm: &'a Mm,
    mappings_seen: Option<c_uint>,
    kept: &'a mut usize,
}

impl PinnedPages<'_> {
    /// Returns the number of pages.
    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    /// Returns the folio of a page, by its place, and the page's number in the file, if it is a
    /// page of a file on a DAX device that passes `wanted`.
    pub(crate) fn folio(&self, page: usize, wanted: fn(&Inode) -> bool) -> Option<(Folio, u64)> {
        let page = *self.pages.get(page)?;
        // SAFETY: By the type's invariant the page is pinned as long as `self` lives.
        unsafe { Folio::of_page(page, wanted) }
    }

    /// Returns whether no mapping of the address space has changed since [`Request::segments`]
    /// looked them up.
    fn has_same_mappings(&self) -> bool {
        self.mappings_seen
            .is_some_and(|seq| !safe::pinfs_helper_mmap_seq_changed(self.mm, seq))
    }

    /// Returns how many of the pages are consecutive from the first one on, as those of a folio
    /// are. All of `pages` are of one segment, and the file has a folio that holds them all.
    ///
    /// If the mappings have not changed, no page is read. Each page of the range is then the one
    /// that its file had at that place when it was pinned. Pages are pinned in order, and once the
    /// first one is, its folio stays at its place in the file.
    ///
    /// Otherwise this compares addresses: pages of one DAX device have consecutive `struct page`s,
    /// so within a folio only the first page has to be read.
    pub(crate) fn in_a_row(&self, pages: Range<usize>) -> usize {
        if pages.len() == 1 || self.has_same_mappings() {
            return pages.len();
        }
        let Some(row @ &[first, ..]) = self.pages.get(pages) else {
            return 0;
        };
        // There may be very many pages: chunks of constant size, without a branch for each page,
        // take half as many instructions.
        let follows = |done: usize, piece: &[*mut bindings::page]| {
            let expected = first.wrapping_add(done);
            let differences = piece.iter().enumerate().fold(0, |all, (at, page)| {
                all | (*page as usize ^ expected.wrapping_add(at) as usize)
            });
            differences == 0
        };
        let mut done = 0;
        for piece in row.chunks_exact(16) {
            if !follows(done, piece) {
                break;
            }
            done += piece.len();
        }
        while done < row.len() && row[done] == first.wrapping_add(done) {
            done += 1;
        }
        done
    }

    /// Clears PG_reserved of consecutive pages, so that they look like pinned ordinary memory.
    ///
    /// All memory of devices is marked as reserved when it is set up. VFIO takes reserved pages for
    /// pages that it has found without a pin, and never unpins them. The kernel itself has no such
    /// pins, because it does not let VFIO pin pages of a DAX file. The mark stays cleared until the
    /// device is set up again. It keeps pages from the page allocator's onlining and from being
    /// written to swap or a hibernation image, which pages of devices never are.
    ///
    /// Pages around them lose the mark with them, so that one read shows that there is nothing to
    /// do. Does nothing for pages that are not of one device.
    pub(crate) fn clear_reserved(&self, row: Range<usize>) {
        let Some((&first, &last)) = self
            .pages
            .get(row)
            .and_then(|row| Option::zip(row.first(), row.last()))
        else {
            return;
        };
        // SAFETY: By the type's invariant both pages are pinned. The helper changes pages of one
        // range of one device only, all of which exist, and changes their bits atomically.
        unsafe { bindings::pinfs_helper_clear_reserved(first, last) };
    }

    /// Lets the call return the pages as pinned. Returns their number.
    pub(crate) fn keep(self) -> usize {
        let pinned = self.pages.len();
        // INVARIANT: The request has these pages now, and they follow those that it had before.
        *self.kept += pinned;
        core::mem::forget(self);
        pinned
    }
}

impl Drop for PinnedPages<'_> {
    fn drop(&mut self) {
        if !self.pages.is_empty() {
            // SAFETY: By the type's invariant the value owns the pins. The function only reads the
            // array.
            unsafe { bindings::unpin_user_pages(self.pages.as_ptr().cast_mut(), self.pages.len()) };
        }
    }
}

/// Handles long-term pins.
pub(crate) trait LongtermPins: 'static {
    /// Returns whether long-term pins are redirected to [`LongtermPins::pin`] at present. Must not
    /// sleep.
    fn wanted() -> bool;

    /// Pins pages for `__gup_longterm_locked()`, which returns the number of kept pages. After an
    /// error it returns the errno, and no page stays pinned.
    ///
    /// May sleep. The mmap lock may be held shared.
    fn pin(request: &mut Request<'_>) -> Result;
}

redirect! {
    /// Redirects long-term pins to [`LongtermPins`].
    pub(crate) struct Longterm<P: LongtermPins>;

    // SAFETY: It is `long __gup_longterm_locked(struct mm_struct *, unsigned long, unsigned long,
    // struct page **, int *, unsigned int)`.
    unsafe fn __gup_longterm_locked(
        call,
        mm: *mut bindings::mm_struct,
        start: c_ulong,
        count: c_ulong,
        pages: *mut *mut bindings::page,
        locked: *mut c_int,
        flags: c_uint,
    ) -> isize {
        // SAFETY: The kernel's function is called with an address space that its caller holds, and
        // with a pointer to a variable of its caller.
        let (mm, locked) = unsafe { (Mm::from_raw(mm), &mut *locked) };
        // INVARIANT: These are the arguments of the call, which has not pinned a page yet.
        let mut request = Request {
            call: &call,
            mm,
            start,
            count,
            pages,
            locked,
            flags,
            kept: 0,
            mappings_seen: None,
        };
        match P::pin(&mut request) {
            Ok(()) => request.kept as isize,
            Err(err) => {
                request.unpin();
                err.to_errno() as isize
            }
        }
    }

    fn wanted(entry) -> bool {
        entry.argument::<c_uint>(5) & bindings::FOLL_LONGTERM != 0 && P::wanted()
    }
}

/// Handles unpins and the ends of files.
pub(crate) trait Unpins: 'static {
    /// Returns whether unpins of the file's pages are reported.
    fn wanted(inode: &Inode) -> bool;

    /// Called when references of folios are about to be released. In any context.
    fn unpinning(span: &Span);

    /// Called when an open file has been closed for the last time and is about to be released.
    fn closing(file: FileId);
}

/// The address of `locks_remove_file()`.
static LOCKS_REMOVE_FILE: Atomic<usize> = Atomic::new(0);

/// Finds the functions that [`Unpinned`] needs and that are not exported.
///
/// # Errors
///
/// `ENOENT` if the kernel lacks one.
pub(crate) fn find_functions() -> Result {
    LOCKS_REMOVE_FILE.store(hook::address_of(c"locks_remove_file")?, Relaxed);
    Ok(())
}

/// Reports unpins to [`Unpins`].
pub(crate) struct Unpinned<U>(PhantomData<U>);

impl<U: Unpins> Unpinned<U> {
    /// Reports a file.
    ///
    /// # Safety
    ///
    /// Must be called as [`Point::entered`] of a function whose first argument is a file.
    unsafe fn file(entry: &Entry<'_>) {
        U::closing(FileId::of_raw(entry.argument(0)));
    }

    /// Reports one page, or a folio, whose first member is a page, with `refs` references.
    ///
    /// # Safety
    ///
    /// The page must be pinned until the function returns.
    unsafe fn report(page: *mut bindings::page, refs: u64) {
        // SAFETY: The page is pinned until this function returns, by its requirements.
        unsafe {
            if let Some((folio, _)) = Folio::of_page(page, U::wanted) {
                U::unpinning(&Span::new(folio, refs));
            }
        }
    }

    /// Reports one page or folio.
    ///
    /// # Safety
    ///
    /// Must be called as [`Point::entered`] of a function that unpins its first argument, a page or
    /// folio.
    unsafe fn page(entry: &Entry<'_>) {
        // SAFETY: The function has yet to unpin it.
        unsafe { Self::report(entry.argument(0), 1) };
    }

    /// Reports a folio.
    ///
    /// # Safety
    ///
    /// Must be called as [`Point::entered`] of a function that unpins its first argument, a folio,
    /// as often as its second argument says.
    unsafe fn folio(entry: &Entry<'_>) {
        // SAFETY: The function has yet to unpin it.
        unsafe { Self::report(entry.argument(0), entry.argument::<usize>(1) as u64) };
    }

    /// Reports an array of pages, if they are to be marked dirty. Otherwise the kernel calls
    /// another function to unpin them, which is observed itself.
    ///
    /// # Safety
    ///
    /// The requirements of [`Self::pages`], for a function whose third argument selects that.
    unsafe fn pages_dirty(entry: &Entry<'_>) {
        if entry.argument::<u8>(2) != 0 {
            // SAFETY: This function's requirements are those of the other.
            unsafe { Self::pages(entry) };
        }
    }

    /// Reports an array of pages or folios. Consecutive places of one folio are reported at once.
    ///
    /// # Safety
    ///
    /// Must be called as [`Point::entered`] of a function that unpins the pages or folios of an
    /// array. Its first argument is the array, and the second the number of its places, which may
    /// be null.
    unsafe fn pages(entry: &Entry<'_>) {
        let pages: *const *mut bindings::page = entry.argument(0);
        let count: usize = entry.argument(1);
        // Some callers pass an errno by mistake, about which the kernel warns.
        if count > isize::MAX as usize / size_of::<usize>() {
            return;
        }
        let mut spans = Spans::<U>::new();
        let mut run: Option<(Folio, u64)> = None;
        // SAFETY: By this function's requirements the array has `count` places, each of which is
        // null or pinned: the kernel's function has yet to run when this one returns and `spans` is
        // gone. So are the folios that are added, each of which is that of a page of the array.
        unsafe {
            for &page in core::slice::from_raw_parts(pages, count) {
                let folio = NonNull::new(page)
                    .and_then(|page| Folio::of_page(page.as_ptr(), U::wanted))
                    .map(|(folio, _)| folio);
                match (&mut run, folio) {
                    (Some((of, refs)), Some(folio)) if *of == folio => *refs += 1,
                    (_, folio) => {
                        if let Some((of, refs)) = run.take() {
                            spans.add(of, refs);
                        }
                        run = folio.map(|folio| (folio, 1));
                    }
                }
            }
            if let Some((of, refs)) = run {
                spans.add(of, refs);
            }
        }
    }

    /// Reports pages that are consecutive in memory.
    ///
    /// # Safety
    ///
    /// Must be called as [`Point::entered`] of a function that unpins as many pages as its second
    /// argument says, from its first argument on.
    unsafe fn range(entry: &Entry<'_>) {
        let mut page: *mut bindings::page = entry.argument(0);
        let count: usize = entry.argument(1);
        let mut spans = Spans::<U>::new();
        let mut left = count;
        while left != 0 {
            // SAFETY: By this function's requirements `page`, which is one of the `count`, is
            // pinned: the kernel's function has yet to run when this one returns and `spans` is
            // gone.
            let refs = unsafe {
                let in_folio = bindings::pinfs_helper_pages_left_in_folio(page) as usize;
                let refs = in_folio.min(left);
                if let Some((folio, _)) = Folio::of_page(page, U::wanted) {
                    spans.add(folio, refs as u64);
                }
                refs
            };
            page = page.wrapping_add(refs);
            left -= refs;
        }
    }
}

/// Collects folios into spans for [`Unpins::unpinning`]. All are reported before the first of them
/// is unpinned.
struct Spans<U: Unpins> {
    span: Option<Span>,
    _p: PhantomData<U>,
}

impl<U: Unpins> Spans<U> {
    fn new() -> Self {
        Self {
            span: None,
            _p: PhantomData,
        }
    }

    /// # Safety
    ///
    /// The folio must be pinned as long as `self` lives.
    unsafe fn add(&mut self, folio: Folio, refs: u64) {
        // SAFETY: By this function's requirements the folio stays pinned, and the spans do not
        // outlive `self`.
        unsafe {
            let span = self.span.as_mut();
            if span.is_some_and(|span| span.extend(&folio, refs)) {
                return;
            }
            if let Some(full) = self.span.replace(Span::new(folio, refs)) {
                U::unpinning(&full);
            }
        }
    }
}

impl<U: Unpins> Drop for Spans<U> {
    fn drop(&mut self) {
        if let Some(span) = &self.span {
            U::unpinning(span);
        }
    }
}

// SAFETY: Each point's function has the arguments that `entered` requires. The caller has pinned
// the pages that the function unpins, and the function has yet to run.
unsafe impl<U: Unpins> Observe for Unpinned<U> {
    const POINTS: &'static [Point] = &[
        Point {
            name: c"locks_remove_file",
            address: || LOCKS_REMOVE_FILE.load(Relaxed),
            entered: Self::file,
        },
        Point {
            name: c"unpin_user_folio",
            address: || bindings::unpin_user_folio as usize,
            entered: Self::folio,
        },
        Point {
            name: c"unpin_user_page",
            address: || bindings::unpin_user_page as usize,
            entered: Self::page,
        },
        Point {
            name: c"unpin_user_pages",
            address: || bindings::unpin_user_pages as usize,
            entered: Self::pages,
        },
        Point {
            name: c"unpin_user_pages_dirty_lock",
            address: || bindings::unpin_user_pages_dirty_lock as usize,
            entered: Self::pages_dirty,
        },
        Point {
            name: c"unpin_user_page_range_dirty_lock",
            address: || bindings::unpin_user_page_range_dirty_lock as usize,
            entered: Self::range,
        },
        Point {
            name: c"unpin_folio",
            address: || bindings::unpin_folio as usize,
            entered: Self::page,
        },
        Point {
            name: c"unpin_folios",
            address: || bindings::unpin_folios as usize,
            entered: Self::pages,
        },
    ];
}

/// Returns the open file that a caller of `vaddr_pin_pages()` pins for. Outside of such a call,
/// returns the file that the first argument of the system call in progress names, as a descriptor
/// or as an index of a registered ring.
pub(crate) fn caller_file() -> Option<(FileId, ARef<File>)> {
    let file = NonNull::new(safe::pinfs_helper_caller_file())?;
    // SAFETY: The helper returns a reference. None of the system calls that pin for long uses the
    // file position meanwhile.
    let file = unsafe { ARef::from_raw(file.cast::<File>()) };
    Some((FileId::of_raw(file.as_ptr()), file))
}

/// Returns the address space that a caller of `vaddr_pin_pages()` pins for.
pub(crate) fn caller_mm() -> Option<ARef<Mm>> {
    let mm = NonNull::new(safe::pinfs_helper_acting_mm())?;
    // SAFETY: It belongs to the owner that a caller of `vaddr_pin_pages()` has named, and that
    // caller keeps it until the call returns. The current task is inside of the call.
    Some(unsafe { Mm::from_raw(mm.as_ptr()) }.into())
}

/// Returns the identity of the address space that [`caller_mm`] would return, or whose pins a
/// caller of `vaddr_unpin_pages_dirty_lock()` releases. May be called in any context; returns
/// `None` in an interrupt.
pub(crate) fn caller_mm_id() -> Option<MmId> {
    let mm = safe::pinfs_helper_acting_mm();
    (!mm.is_null()).then(|| MmId::of_raw(mm))
}

/// Returns the identity of the file that [`caller_file`] would return. May be called in any
/// context; returns `None` in an interrupt.
pub(crate) fn caller_file_id() -> Option<FileId> {
    let file = safe::pinfs_helper_caller_file_id();
    (!file.is_null()).then(|| FileId::of_raw(file))
}
