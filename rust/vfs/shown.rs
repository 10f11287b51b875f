// SPDX-License-Identifier: GPL-2.0

//! The parts of a file that have been in page tables.
//!
//! Each open file that was mapped has a set of them, which the page faults of its mappings fill.
//! Page faults are the only source of page table entries that does not copy others: fork(2) and
//! mremap(2) copy those of a mapping of the same open file, and so do a split and a merger of
//! mappings. So the mappings of an open file can only have shown parts that are in its set, and the
//! set grows with the parts that were shown and not with the size of the mappings.
//!
//! C header: [`include/linux/xarray.h`](srctree/include/linux/xarray.h)

use super::inode::Mapping;
use crate::rust::{
    bindings,
    safe, //
};
use core::{
    ops::Range,
    ptr::NonNull, //
};
use kernel::{
    ffi::c_void,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

/// Binary logarithm of the number of pages in a part.
///
/// A larger part needs fewer bits, but more pages are checked that the mapping has because of other
/// open files.
const PART_SHIFT: u32 = 6;

/// Binary logarithm of the number of bytes in a part.
const BYTES_SHIFT: u32 = PART_SHIFT + bindings::PAGE_SHIFT;

/// Words of [`Shown::low`]: for files of up to 128 MiB.
const WORDS: usize = 8;

/// A set of parts of a file.
///
/// # Invariants
///
/// `high` is an initialised xarray. The pointers stored in it are only compared with null.
#[pin_data(PinnedDrop)]
pub(super) struct Shown {
    /// The first parts of the file, a bit each: a fault in a recorded part costs next to nothing.
    low: [Atomic<u64>; WORDS],
    /// The other parts, by their numbers.
    #[pin]
    high: Opaque<bindings::xarray>,
    /// The last part that was added to `high`, plus one.
    last: Atomic<usize>,
    /// 1 if there was no memory to record a part: then the set stands for the whole file.
    whole: Atomic<i32>,
}

// SAFETY: The memory is not tied to a task.
unsafe impl Send for Shown {}
// SAFETY: An xarray has a lock of its own, and the rest is atomic.
unsafe impl Sync for Shown {}

#[pinned_drop]
impl PinnedDrop for Shown {
    fn drop(self: Pin<&mut Self>) {
        if !self.no_high() {
            // SAFETY: By the type's invariant the xarray is initialised, and no other task has
            // it any more.
            unsafe { bindings::xa_destroy(self.high.get()) };
        }
    }
}

/// A set with one owner.
pub(super) type Owned = Pin<KBox<Shown>>;

impl Shown {
    /// Returns an empty set.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn new() -> Result<Owned> {
        // INVARIANT: The xarray is initialised here.
        let set = pin_init!(Self {
            low: [const { Atomic::new(0) }; WORDS],
            // SAFETY: The slot is valid for writes, and an xarray does not move after that.
            high <- Opaque::ffi_init(|high| unsafe { bindings::xa_init_flags(high, 0) }),
            last: Atomic::new(0),
            whole: Atomic::new(0),
        });
        KBox::pin_init(set, GFP_KERNEL_ACCOUNT)
    }

    /// Adds the part that a page is in. May sleep.
    pub(super) fn add(&self, page: usize) {
        self.add_part(page >> PART_SHIFT);
    }

    fn add_part(&self, part: usize) {
        match self.low.get(part / u64::BITS as usize) {
            Some(word) => add_bits(word, 1 << (part % u64::BITS as usize)),
            None => self.add_high(part),
        }
    }

    fn add_high(&self, part: usize) {
        if self.last.load(Relaxed) == part + 1 {
            return;
        }
        // SAFETY: By the type's invariant the xarray is initialised. The address of the set is
        // neither an error nor an internal entry, as it is aligned.
        let stored = unsafe {
            if !bindings::xa_load(self.high.get(), part).is_null() {
                return;
            }
            let entry = (&raw const *self).cast_mut().cast();
            bindings::xa_err(bindings::xa_store(
                self.high.get(),
                part,
                entry,
                GFP_ACCOUNT,
            ))
        };
        if stored == 0 {
            self.last.store(part + 1, Relaxed);
        } else {
            self.whole.store(1, Relaxed);
        }
    }

    /// Returns whether `high` is empty. The caller must be the only user of the set.
    fn no_high(&self) -> bool {
        // SAFETY: By the type's invariant the xarray is initialised. A single pointer of it is
        // read.
        unsafe { (*self.high.get()).xa_head.is_null() }
    }

    /// Returns the lowest part in `high` that is not below `part`.
    fn next_high(&self, mut part: usize) -> Option<usize> {
        // SAFETY: By the type's invariant the xarray is initialised.
        let found = unsafe {
            bindings::xa_find(self.high.get(), &mut part, usize::MAX, bindings::XA_PRESENT)
        };
        (!found.is_null()).then_some(part)
    }

    /// Returns a page of a file's mapping that is in the set and has references other than page
    /// tables. The caller must be the only user of the set. The parts before that page's are
    /// removed from the set.
    pub(super) fn first_busy(&self, mapping: Mapping<'_>) -> Option<NonNull<bindings::page>> {
        let busy = |start: i64, last: i64| {
            NonNull::new(safe::dax_layout_busy_page_range(mapping, start, last))
        };
        if self.whole.load(Relaxed) != 0 {
            return busy(0, i64::MAX);
        }
        let in_parts = |parts: Range<usize>| {
            // The end of the last possible part does not fit into the type.
            let start = (parts.start as i64) << BYTES_SHIFT;
            busy(start, start + (((parts.len() as i64) << BYTES_SHIFT) - 1))
        };
        for (index, word) in self.low.iter().enumerate() {
            let base = index * u64::BITS as usize;
            let mut bits = word.load(Relaxed);
            while bits != 0 {
                let from = bits.trailing_zeros();
                let part = base + from as usize;
                // Consecutive parts are checked together, and then one by one if one of them is
                // busy.
                let run = (bits >> from).trailing_ones();
                if in_parts(part..part + run as usize).is_some() {
                    for part in part..part + run as usize {
                        if let Some(page) = in_parts(part..part + 1) {
                            word.store(bits, Relaxed);
                            return Some(page);
                        }
                        bits &= bits - 1;
                    }
                } else {
                    bits &= !(u64::MAX >> (u64::BITS - run) << from);
                }
            }
            word.store(0, Relaxed);
        }
        let mut from = 0;
        while let Some(part) = (!self.no_high()).then(|| self.next_high(from)).flatten() {
            let page = in_parts(part..part + 1);
            if page.is_some() {
                return page;
            }
            // SAFETY: By the type's invariant the xarray is initialised.
            unsafe { bindings::xa_erase(self.high.get(), part) };
            from = part + 1;
        }
        None
    }

    /// Adds the parts of another set, of which the caller must be the only user.
    fn add_all(&self, other: &Self) {
        for (word, bits) in self.low.iter().zip(&other.low) {
            add_bits(word, bits.load(Relaxed));
        }
        if other.whole.load(Relaxed) != 0 {
            self.whole.store(1, Relaxed);
            return;
        }
        let mut from = 0;
        while let Some(part) = (!other.no_high()).then(|| other.next_high(from)).flatten() {
            self.add_high(part);
            from = part + 1;
        }
    }
}

/// Sets bits of a word while other tasks may be setting some, too.
fn add_bits(word: &Atomic<u64>, bits: u64) {
    let mut old = word.load(Relaxed);
    while old & bits != bits {
        match word.cmpxchg(old, old | bits, Relaxed) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
}

/// Allocations for a set are charged to the task that maps the file.
const GFP_ACCOUNT: bindings::gfp_t = bindings::GFP_KERNEL_ACCOUNT;

/// Returns the set at a place that several tasks may use. Allocates one if there is none.
///
/// # Errors
///
/// `ENOMEM`.
///
/// # Safety
///
/// `place` must be valid for `'a`, and either null or set by this function or [`Slot::put`]. The
/// set must not be taken from there during `'a`.
pub(super) unsafe fn get_or_make<'a>(place: *mut *mut c_void) -> Result<&'a Shown> {
    // SAFETY: The place is valid for `'a`, and used as an atomic, by this function's requirements.
    let place = unsafe { Atomic::from_ptr(place) };
    let mut there = place.load(Acquire);
    if there.is_null() {
        let made = Shown::new()?.into_foreign();
        match place.cmpxchg(core::ptr::null_mut(), made, Full) {
            Ok(_) => there = made,
            Err(other) => {
                // SAFETY: It was made above, and no other task has seen it.
                drop(unsafe { Owned::from_foreign(made) });
                there = other;
            }
        }
    }
    // SAFETY: The pointer came from `into_foreign`, here or elsewhere, and the set is not taken
    // away during `'a`, by this function's requirements.
    Ok(unsafe { Owned::borrow(there) }.get_ref())
}

/// Returns the set at a place that [`get_or_make`] has filled.
///
/// # Safety
///
/// The requirements of [`get_or_make`], which must have returned before: so the place does not
/// change until the set is taken away.
pub(super) unsafe fn get<'a>(place: *const *mut c_void) -> &'a Shown {
    // SAFETY: The place has a set that is not taken away during `'a`, and no task writes to the
    // place meanwhile, by this function's requirements.
    unsafe { Owned::borrow(place.read()).get_ref() }
}

/// Takes the set away from a place of [`get_or_make`].
///
/// # Safety
///
/// The requirements of [`get_or_make`], and no other task may use the place any more.
pub(super) unsafe fn take(place: *mut *mut c_void) -> Option<Owned> {
    // SAFETY: The pointer came from `into_foreign`, or is null, and no other task uses it any more,
    // by this function's requirements.
    unsafe {
        let there = Atomic::from_ptr(place).xchg(core::ptr::null_mut(), Full);
        Owned::try_from_foreign(there)
    }
}

/// A place where a task can leave a set for others.
pub(super) struct Slot(Atomic<*mut c_void>);

impl Slot {
    /// Returns an empty place.
    pub(super) const fn new() -> Self {
        Self(Atomic::new(core::ptr::null_mut()))
    }

    /// Returns whether there is no set.
    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Relaxed).is_null()
    }

    /// Takes the set away. This is a full barrier.
    pub(super) fn take(&self) -> Option<Owned> {
        let there = self.0.xchg(core::ptr::null_mut(), Full);
        // SAFETY: The pointer came from `put`, and after the exchange only this task has it.
        unsafe { Owned::try_from_foreign(there) }
    }

    /// Leaves a set, joined with the one that is already there. A full barrier follows. May sleep.
    pub(super) fn put(&self, set: Owned) {
        let mut set = set;
        loop {
            let all = self.join(set).into_foreign();
            if self.0.cmpxchg(core::ptr::null_mut(), all, Full).is_ok() {
                return;
            }
            // SAFETY: The pointer is from `into_foreign`, and no other task has it.
            set = unsafe { Owned::from_foreign(all) };
        }
    }

    /// Takes the set away and returns it joined with another.
    pub(super) fn join(&self, set: Owned) -> Owned {
        let Some(there) = self.take() else {
            return set;
        };
        there.add_all(&set);
        there
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.take());
    }
}
