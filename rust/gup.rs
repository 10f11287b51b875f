// SPDX-License-Identifier: GPL-2.0

//! Pinned user pages: long-term pins before they are taken, and unpins before they happen.
//!
//! * [`Longterm`] redirects `__gup_longterm_locked()`, which every long-term pin of a DAX page
//!   comes through: `get_user_pages_fast()` leaves such pages to the slow path, and the slow path
//!   has no other way. Its callers differ in whether they hold the mmap lock (`*locked`), and
//!   whether it may be dropped; a call may span several mappings.
//! * [`Unpinned`] observes the exported `unpin_*()` functions, and the end of open files, which
//!   may own pins.
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

/// A mount and a dentry, both referenced: the file stays, and so does its mount.
///
/// A mount that can be written to stays so: what a device writes has to be flushed, which a file
/// system that was made read-only does not do any more. Dropping it may sleep.
///
/// # Invariants
///
/// `path` is that of an open file, and the value owns a reference to it; so the dentry is positive
/// and stays so. It owns the write access that `writes` and `writes_inode` say it has.
pub(crate) struct PathRef {
    path: bindings::path,
    /// Write access to the mount is held.
    writes: bool,
    /// So is that to the inode.
    writes_inode: Atomic<bool>,
}

// SAFETY: Mounts and dentries are reference-counted and shared by all tasks, and any may put them.
unsafe impl Send for PathRef {}
// SAFETY: What a shared reference changes, `writes_inode`, is atomic.
unsafe impl Sync for PathRef {}

impl PathRef {
    /// # Safety
    ///
    /// `path` must be that of an open file, which somebody has referenced for the duration of the
    /// call.
    unsafe fn get(path: *const bindings::path) -> Self {
        // SAFETY: The path is referenced, by this function's requirements.
        // INVARIANT: It is the path of an open file, by the same, and what is owned is taken here.
        unsafe {
            bindings::path_get(path);
            Self {
                path: *path,
                writes: bindings::mnt_get_write_access((*path).mnt) == 0,
                writes_inode: Atomic::new(false),
            }
        }
    }

    /// Says whether the other keeps nothing else than this one.
    pub(crate) fn is_same(&self, other: &PathRef) -> bool {
        self.path.mnt == other.path.mnt
            && self.path.dentry == other.path.dentry
            && self.writes == other.writes
    }

    /// Keeps the file one that is open for writing (`get_write_access()`), as it is to whoever
    /// executes it or wants a lease that says that nobody writes to it. Does nothing if somebody
    /// executes it. May be called in any context.
    ///
    /// Not every path has that: who only tries to pin pages must not be in the way of such.
    pub(crate) fn hold_write_access(&self) {
        if !self.writes_inode.load(Relaxed)
            && safe::pinfs_helper_get_write_access(self.inode())
            && self.writes_inode.xchg(true, Full)
        {
            // SAFETY: Just taken, and the value has it from somebody else already.
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
        // SAFETY: By the type's invariant the write access and the references are ours to put.
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

/// Part of the memory that a call wants to pin.
pub(crate) struct Segment {
    /// Its first page and the one behind its last, counted from the start of the call's memory.
    pub(crate) pages: Range<usize>,
    /// The file behind it, if it is one of those that were asked for.
    pub(crate) file: Option<FileSegment>,
}

/// A mapping of a file.
pub(crate) struct FileSegment {
    /// The file.
    pub(crate) path: Arc<PathRef>,
    /// The page of the file that the segment begins with.
    pub(crate) index: u64,
    /// The mapping shows what others write to the file, and they see what is written to it.
    pub(crate) is_shared: bool,
    /// The mapping lies so that huge pages can be mapped in it.
    pub(crate) can_be_huge: bool,
}

/// Where a page of a DAX file system lies.
///
/// The kernel counts references by folio, so that is what is said of the page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Folio {
    /// The inode.
    pub(crate) inode: InodeId,
    /// Page of the file that the folio begins with.
    pub(crate) index: u64,
    /// Number of the page frame of that.
    pub(crate) pfn: u64,
    /// Number of pages in the folio is 2 to the power of this.
    pub(crate) order: u8,
}

impl Folio {
    /// Returns the folio of a page, and the page's number in the file, if it is a page of a file
    /// on a DAX device that passes `wanted`.
    ///
    /// # Safety
    ///
    /// The page must be pinned by somebody, so that it stays a page of its file for the call.
    unsafe fn of_page(
        page: *mut bindings::page,
        wanted: fn(&Inode) -> bool,
    ) -> Option<(Self, u64)> {
        let mut place = MaybeUninit::<bindings::pinfs_page_place>::uninit();
        // SAFETY: The page is pinned, by this function's requirements, so that it is there, and
        // stays in its mapping, if it is in one, and the mapping with its inode. The helper fills
        // the place in if it returns true.
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

    /// Returns the pages of the file that the folio holds.
    pub(crate) fn pages(&self) -> Range<u64> {
        self.index..self.index + (1 << self.order)
    }
}

/// Folios in a row, in their file as well as in memory, that are given back alike.
///
/// # Invariants
///
/// Each of the `count` folios from `first` on is pinned as long as the value lives, which is while
/// the function that gives them back has yet to run.
pub(crate) struct Span {
    first: Folio,
    /// Number of folios.
    count: u64,
    /// Number of references that are given back of each folio.
    pub(crate) refs: u64,
}

impl Span {
    /// Number of folios that are told of in one go, with interrupts disabled.
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
    /// As for [`Span::new`].
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

    /// Returns how many pins there are on one of the folios, whoever took them, as [`pins`] does;
    /// none beyond the last folio.
    pub(crate) fn pins(&self, n: u64) -> u64 {
        if n >= self.count {
            return 0;
        }
        // SAFETY: By the type's invariant the folio is pinned, so that it is there.
        unsafe { bindings::pinfs_helper_pfn_pins(self.folio(n).pfn as usize) as u64 }
    }
}

/// Returns how many pins there are on the folio that holds a page frame, whoever took them. May be
/// called in any context.
///
/// Exact for folios of several pages. For a single page it is made out from the reference count,
/// and more references of other kinds than half of what a pin counts (1,024) make it too high.
///
/// A frame without a page has no pins. Where it is known that the folio is pinned, [`Span::pins`]
/// need not look for that.
pub(crate) fn pins(pfn: u64) -> u64 {
    safe::pinfs_helper_any_pfn_pins(pfn as usize) as u64
}

/// A call of `__gup_longterm_locked()` with FOLL_LONGTERM.
///
/// Pages are pinned in order. Those that are to be the call's are kept ([`PinnedPages::keep`]);
/// their number is what the call returns.
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
    /// How often the mappings had been changed when they were looked at, if that is known.
    mappings_seen: Option<c_uint>,
}

impl Request<'_> {
    /// Returns the number of pages to pin.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Says whether the pages are pinned to be written to.
    pub(crate) fn is_write(&self) -> bool {
        self.flags & bindings::FOLL_WRITE != 0
    }

    /// Returns the address space that the memory is in.
    pub(crate) fn mm(&self) -> ARef<Mm> {
        self.mm.into()
    }

    /// Divides the memory into mappings of files that pass `wanted`, and the rest. Returns nothing
    /// if it is all rest.
    ///
    /// Without the mmap lock, this is outdated as soon as it is returned.
    ///
    /// # Errors
    ///
    /// `EAGAIN` after a signal that ends the task, `ENOMEM`.
    pub(crate) fn segments(&mut self, wanted: fn(&Inode) -> bool) -> Result<SmallVec<Segment>> {
        let take = *self.locked == 0;
        if take && safe::pinfs_helper_mmap_read_lock_killable(self.mm) != 0 {
            return Err(EAGAIN);
        }
        // SAFETY: The lock is held by the caller, or was taken just now.
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

    /// [`Request::segments`] under the mmap lock.
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
            // SAFETY: The mmap lock is held, by this function's requirements, which the helper
            // wants. It keeps the mapping, and the mapping its file, with its inode and path.
            let path = unsafe {
                if !bindings::pinfs_helper_vma_lookup(self.mm.as_raw(), address, &mut vma) {
                    // The original says what is wrong with memory that is not there.
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

    /// Pins the next `count` pages of memory, which is ordinary, as the caller wants it.
    ///
    /// # Errors
    ///
    /// What the kernel says. Fewer pages than asked for may be pinned.
    pub(crate) fn pin_ordinary(&mut self, count: usize) -> Result<PinnedPages<'_>> {
        self.pin(count, self.flags, false)
    }

    /// Pins the next `count` pages of memory without FOLL_LONGTERM, which is how to get at pages of
    /// a DAX file.
    ///
    /// Small pages are pinned without the mmap lock if the caller does not hold it and they are
    /// mapped: the call has only come here because the kernel's fast path leaves long-term pins of
    /// DAX pages alone. Of huge ones the slow path makes less.
    ///
    /// The kernel's own checks for long-term pins do not run: before the pages are kept, the caller
    /// has to make sure that they are those of a DAX file ([`PinnedPages::folio`]).
    ///
    /// # Errors
    ///
    /// As [`Request::pin_ordinary`].
    pub(crate) fn pin_dax(&mut self, count: usize, can_be_huge: bool) -> Result<PinnedPages<'_>> {
        self.pin(count, self.flags & !bindings::FOLL_LONGTERM, !can_be_huge)
    }

    /// Pins the next pages, by the kernel's fast path if that is `fast` and possible.
    fn pin(&mut self, count: usize, flags: c_uint, fast: bool) -> Result<PinnedPages<'_>> {
        let count = count.min(self.count - self.kept);
        let start = self.start + (self.kept << PAGE_SHIFT);
        let pages = self.pages.wrapping_add(self.kept);
        // SAFETY: By the type's invariant these are the caller's arguments, for a part of its
        // memory and of the array: `kept + count` is at most the caller's count. `locked` may have
        // become 0 in an earlier call, which then means what it means at entry: the callee takes
        // and drops the mmap lock. That is right for callers that allowed it to be dropped, and
        // with others it does not become 0. Both functions return how many of the `count` pages
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
        // INVARIANT: Just pinned. What comes next in the array is these pages.
        Ok(PinnedPages {
            pages,
            mm: self.mm,
            mappings_seen: self.mappings_seen,
            kept: &mut self.kept,
        })
    }

    /// Unpins the pages that were kept, so that the call may begin anew.
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
        // SAFETY: By the type's invariant the page is pinned as long as `self` is there.
        unsafe { Folio::of_page(page, wanted) }
    }

    /// Says whether no mapping of the address space was changed since [`Request::segments`] looked
    /// at them.
    fn has_same_mappings(&self) -> bool {
        self.mappings_seen
            .is_some_and(|seq| !safe::pinfs_helper_mmap_seq_changed(self.mm, seq))
    }

    /// Returns how many of the pages lie in a row from one on, as those of a folio do. They are of
    /// one segment, behind which there is a folio as large.
    ///
    /// If the mappings are those that were seen, there is nothing to look at. Each page of the
    /// range is then the one that its file had at that place when it was pinned; pages are pinned
    /// in order, and once the first one is, its folio stays where it is in the file.
    ///
    /// Else, pages of one DAX device have their `struct page`s in a row, so that within a folio the
    /// addresses say it all, and no page but the first has to be looked at.
    pub(crate) fn in_a_row(&self, pages: Range<usize>) -> usize {
        if pages.len() == 1 || self.has_same_mappings() {
            return pages.len();
        }
        let Some(row @ &[first, ..]) = self.pages.get(pages) else {
            return 0;
        };
        // There may be very many of them: pieces of constant size, without a branch for each page,
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

    /// Makes pages that lie in a row look like the ordinary memory that a pin makes of them.
    ///
    /// All memory of devices is marked as reserved when it is set up. VFIO takes what is marked so
    /// for what it has found without a pin, and never gives a pin of it back; the kernel itself
    /// does not come to that, because it does not let VFIO pin such pages. The mark stays away
    /// until the device is set up again: it keeps pages from the page allocator's onlining and from
    /// being written to swap or a hibernation image, where those of devices do not come in any
    /// case.
    ///
    /// Those around them lose the mark with them, so that it takes one look to know that there is
    /// nothing to do. Does nothing for pages that are not of one device.
    pub(crate) fn clear_reserved(&self, row: Range<usize>) {
        let Some((&first, &last)) = self
            .pages
            .get(row)
            .and_then(|row| Option::zip(row.first(), row.last()))
        else {
            return;
        };
        // SAFETY: By the type's invariant both pages are pinned. The helper changes pages of one
        // range of one device only, all of which are there, and their bits atomically.
        unsafe { bindings::pinfs_helper_clear_reserved(first, last) };
    }

    /// Makes the pages the call's, which returns them as pinned. Returns their number.
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
            // SAFETY: By the type's invariant the pins are ours. The function only reads the array.
            unsafe { bindings::unpin_user_pages(self.pages.as_ptr().cast_mut(), self.pages.len()) };
        }
    }
}

/// What decides on long-term pins.
pub(crate) trait LongtermPins: 'static {
    /// Says whether long-term pins are to come to [`LongtermPins::pin`] at all at present. Must
    /// not sleep.
    fn wanted() -> bool;

    /// Pins pages for `__gup_longterm_locked()`, which returns the number of those that are kept,
    /// or an errno, and then none stays pinned.
    ///
    /// May sleep. The mmap lock may be held shared.
    fn pin(request: &mut Request<'_>) -> Result;
}

redirect! {
    /// Lets [`LongtermPins`] decide on long-term pins.
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
        // INVARIANT: These are the arguments of the call, of which nothing is pinned yet.
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

/// What hears of unpins and of the ends of files.
pub(crate) trait Unpins: 'static {
    /// Says whether a file is one whose pages count.
    fn wanted(inode: &Inode) -> bool;

    /// Is told that references of folios are about to be given back. In any context.
    fn unpinning(span: &Span);

    /// Is told that an open file has been closed for the last time and is about to be released.
    fn closing(file: FileId);
}

/// The address of `locks_remove_file()`.
static LOCKS_REMOVE_FILE: Atomic<usize> = Atomic::new(0);

/// Finds the functions that [`Unpinned`] needs and the module cannot name.
///
/// # Errors
///
/// `ENOENT` if the kernel lacks one.
pub(crate) fn find_functions() -> Result {
    LOCKS_REMOVE_FILE.store(hook::address_of(c"locks_remove_file")?, Relaxed);
    Ok(())
}

/// Lets [`Unpins`] hear of unpins.
pub(crate) struct Unpinned<U>(PhantomData<U>);

impl<U: Unpins> Unpinned<U> {
    /// Reports a file.
    ///
    /// # Safety
    ///
    /// For [`Point::entered`] of a function whose first argument is a file.
    unsafe fn file(entry: &Entry<'_>) {
        U::closing(FileId::of_raw(entry.argument(0)));
    }

    /// Reports one page or folio, whose first member is a page, `refs` times.
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
    /// For [`Point::entered`] of a function that unpins its first argument, a page or folio.
    unsafe fn page(entry: &Entry<'_>) {
        // SAFETY: The function has yet to unpin it.
        unsafe { Self::report(entry.argument(0), 1) };
    }

    /// Reports a folio.
    ///
    /// # Safety
    ///
    /// For [`Point::entered`] of a function that unpins its first argument, a folio, as often as
    /// its second one says.
    unsafe fn folio(entry: &Entry<'_>) {
        // SAFETY: The function has yet to unpin it.
        unsafe { Self::report(entry.argument(0), entry.argument::<usize>(1) as u64) };
    }

    /// Reports an array of pages, if they are to be marked dirty. Else it is another function that
    /// unpins them, which is seen by itself.
    ///
    /// # Safety
    ///
    /// As for [`Self::pages`], for a function whose third argument says that.
    unsafe fn pages_dirty(entry: &Entry<'_>) {
        if entry.argument::<u8>(2) != 0 {
            // SAFETY: This function's requirements are those of the other.
            unsafe { Self::pages(entry) };
        }
    }

    /// Reports an array of pages or folios, those of one folio in a row at once, as they are given
    /// back.
    ///
    /// # Safety
    ///
    /// For [`Point::entered`] of a function that unpins what is in an array, its first argument, of
    /// as many pages or folios as its second one says, or null pointers.
    unsafe fn pages(entry: &Entry<'_>) {
        let pages: *const *mut bindings::page = entry.argument(0);
        let count: usize = entry.argument(1);
        // Some callers pass an errno on by mistake, which the kernel warns of.
        if count > isize::MAX as usize / size_of::<usize>() {
            return;
        }
        let mut spans = Spans::<U>::new();
        let mut run: Option<(Folio, u64)> = None;
        // SAFETY: By this function's requirements the array has `count` places, and what is there
        // is null or pinned: the kernel's function has yet to run when this one returns and `spans`
        // is gone. So are the folios that are added, each of which is that of a page of the array.
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

    /// Reports pages that follow one another in memory.
    ///
    /// # Safety
    ///
    /// For [`Point::entered`] of a function that unpins as many pages as its second argument says,
    /// from its first one on.
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

/// Folios on their way to [`Unpins::unpinning`], of which they are all told before the first of
/// them is given back.
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
        // SAFETY: By this function's requirements; the spans do not outlive `self`.
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

// SAFETY: Each point's function is one that has the arguments that `entered` takes it to have. What
// is unpinned is pinned by the caller, and the function has yet to run.
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

/// Returns the open file that a caller of `vaddr_pin_pages()` pins for, else the one that the
/// system call in progress is about: that its first argument names, if it is a call whose argument
/// is a descriptor, or an index of a registered ring.
pub(crate) fn caller_file() -> Option<(FileId, ARef<File>)> {
    let file = NonNull::new(safe::pinfs_helper_caller_file())?;
    // SAFETY: The helper returns a reference. Of the calls in question, none that pins for long
    // uses the file position meanwhile.
    let file = unsafe { ARef::from_raw(file.cast::<File>()) };
    Some((FileId::of_raw(file.as_ptr()), file))
}

/// Returns the address space that a caller of `vaddr_pin_pages()` pins for.
pub(crate) fn caller_mm() -> Option<ARef<Mm>> {
    let mm = NonNull::new(safe::pinfs_helper_acting_mm())?;
    // SAFETY: It is that of the owner that a caller of `vaddr_pin_pages()` has named, which it
    // keeps until that returns. The current task is inside of it.
    Some(unsafe { Mm::from_raw(mm.as_ptr()) }.into())
}

/// Returns which address space [`caller_mm`] would return, or that a caller of
/// `vaddr_unpin_pages_dirty_lock()` gives pins back of. May be called in any context; in an
/// interrupt there is none.
pub(crate) fn caller_mm_id() -> Option<MmId> {
    let mm = safe::pinfs_helper_acting_mm();
    (!mm.is_null()).then(|| MmId::of_raw(mm))
}

/// Returns which file [`caller_file`] would return. May be called in any context; in an interrupt
/// there is none.
pub(crate) fn caller_file_id() -> Option<FileId> {
    let file = safe::pinfs_helper_caller_file_id();
    (!file.is_null()).then(|| FileId::of_raw(file))
}
