// SPDX-License-Identifier: GPL-2.0

//! Which parts of a file have been in page tables.
//!
//! A set of them belongs to each open file that was mapped, and is filled by the page faults of its
//! mappings. Page faults are the only source of page table entries that does not copy others:
//! fork(2) and mremap(2) copy those of a mapping of the same open file, and so do a split and a
//! merger of mappings. So whatever is done to the mappings of an open file, they can only have
//! shown what is in its set, and its size follows what was shown rather than what was mapped.
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

/// Binary logarithm of the pages of a part.
///
/// The more there are, the less there is to note, and the more pages are looked at that the mapping
/// knows from others.
const PART_SHIFT: u32 = 6;

/// Binary logarithm of the bytes of a part.
const BYTES_SHIFT: u32 = PART_SHIFT + bindings::PAGE_SHIFT;

/// Words of [`Shown::low`]: for files of up to 128 MiB.
const WORDS: usize = 8;

/// A set of parts of a file.
///
/// # Invariants
///
/// `high` is an initialised xarray. What is stored in it is only compared with null.
#[pin_data(PinnedDrop)]
pub(super) struct Shown {
    /// The first parts of the file, a bit each: a fault in one that is there costs next to nothing.
    low: [Atomic<u64>; WORDS],
    /// The others, by their numbers.
    #[pin]
    high: Opaque<bindings::xarray>,
    /// The one that was added last to these, plus one.
    last: Atomic<usize>,
    /// 1 if more was shown than there was memory to note: then it stands for the whole file.
    whole: Atomic<i32>,
}

// SAFETY: It is memory that no task is tied to.
unsafe impl Send for Shown {}
// SAFETY: An xarray has a lock of its own, and the rest is atomic.
unsafe impl Sync for Shown {}

#[pinned_drop]
impl PinnedDrop for Shown {
    fn drop(self: Pin<&mut Self>) {
        if !self.no_high() {
            // SAFETY: By the type's invariant the xarray is initialised; nobody else has it any
            // more.
            unsafe { bindings::xa_destroy(self.high.get()) };
        }
    }
}

/// A set that the caller alone has.
pub(super) type Owned = Pin<KBox<Shown>>;

impl Shown {
    /// Makes an empty set.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn new() -> Result<Owned> {
        // INVARIANT: The xarray is initialised here.
        let set = pin_init!(Self {
            low: [const { Atomic::new(0) }; WORDS],
            // SAFETY: The memory is ours to initialise; an xarray does not move after that.
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
        // SAFETY: By the type's invariant the xarray is initialised. The address of the set is no
        // error and no internal entry, as it is that of something aligned.
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

    /// Says whether there are none of the other parts, to who has the set alone.
    fn no_high(&self) -> bool {
        // SAFETY: By the type's invariant the xarray is initialised. Nobody else changes it.
        unsafe { (*self.high.get()).xa_head.is_null() }
    }

    /// The lowest of the other parts that is not below `part`.
    fn next_high(&self, mut part: usize) -> Option<usize> {
        // SAFETY: By the type's invariant the xarray is initialised.
        let found = unsafe {
            bindings::xa_find(self.high.get(), &mut part, usize::MAX, bindings::XA_PRESENT)
        };
        (!found.is_null()).then_some(part)
    }

    /// Returns a page of a file's mapping that is in the set and that something other than page
    /// tables references, to who has the set alone. What is left in the set is what stands at it
    /// and behind it.
    pub(super) fn first_busy(&self, mapping: Mapping<'_>) -> Option<NonNull<bindings::page>> {
        let busy = |start: i64, last: i64| {
            NonNull::new(safe::dax_layout_busy_page_range(mapping, start, last))
        };
        if self.whole.load(Relaxed) != 0 {
            return busy(0, i64::MAX);
        }
        let in_parts = |parts: Range<usize>| {
            // The end of the last one there can be has no number.
            let start = (parts.start as i64) << BYTES_SHIFT;
            busy(start, start + (((parts.len() as i64) << BYTES_SHIFT) - 1))
        };
        for (index, word) in self.low.iter().enumerate() {
            let base = index * u64::BITS as usize;
            let mut bits = word.load(Relaxed);
            while bits != 0 {
                let from = bits.trailing_zeros();
                let part = base + from as usize;
                // Parts that follow one another are looked at together, and one by one if that is
                // not the end of it.
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

    /// Adds what is in another set, which the caller has alone.
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

/// Sets bits of a word that others may be setting, too.
fn add_bits(word: &Atomic<u64>, bits: u64) {
    let mut old = word.load(Relaxed);
    while old & bits != bits {
        match word.cmpxchg(old, old | bits, Relaxed) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
}

/// Allocations for a set count as those of the task that maps the file.
const GFP_ACCOUNT: bindings::gfp_t = bindings::GFP_KERNEL_ACCOUNT;

/// Returns the set at a place that several tasks may look at, which is made now if there is none.
///
/// # Errors
///
/// `ENOMEM`.
///
/// # Safety
///
/// `place` must be valid for `'a`, and either null or have come from this function or
/// [`Slot::put`]; nobody may take the set away from there during `'a`.
pub(super) unsafe fn get_or_make<'a>(place: *mut *mut c_void) -> Result<&'a Shown> {
    // SAFETY: The place is there for `'a`, and used as an atomic, by this function's requirements.
    let place = unsafe { Atomic::from_ptr(place) };
    let mut there = place.load(Acquire);
    if there.is_null() {
        let made = Shown::new()?.into_foreign();
        match place.cmpxchg(core::ptr::null_mut(), made, Full) {
            Ok(_) => there = made,
            Err(other) => {
                // SAFETY: Made above, and nobody else has seen it.
                drop(unsafe { Owned::from_foreign(made) });
                there = other;
            }
        }
    }
    // SAFETY: What is there came from `into_foreign`, here or elsewhere, and is not taken away
    // during `'a`, by this function's requirements.
    Ok(unsafe { Owned::borrow(there) }.get_ref())
}

/// Returns the set at such a place.
///
/// # Safety
///
/// As for [`get_or_make`], which must have returned to whoever has led the caller here: so the
/// place does not change any more, until the set is taken away.
pub(super) unsafe fn get<'a>(place: *const *mut c_void) -> &'a Shown {
    // SAFETY: The place has a set that is not taken away during `'a`, and nobody writes to it
    // meanwhile, by this function's requirements.
    unsafe { Owned::borrow(place.read()).get_ref() }
}

/// Takes the set away from such a place.
///
/// # Safety
///
/// As for [`get_or_make`], and nobody else may look at the place any more.
pub(super) unsafe fn take(place: *mut *mut c_void) -> Option<Owned> {
    // SAFETY: What is there came from `into_foreign`, or is null, and nobody else looks at it any
    // more, by this function's requirements.
    unsafe {
        let there = Atomic::from_ptr(place).xchg(core::ptr::null_mut(), Full);
        Owned::try_from_foreign(there)
    }
}

/// A place where a set may be left for others.
pub(super) struct Slot(Atomic<*mut c_void>);

impl Slot {
    /// Returns an empty one.
    pub(super) const fn new() -> Self {
        Self(Atomic::new(core::ptr::null_mut()))
    }

    /// Says whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Relaxed).is_null()
    }

    /// Takes the set away. A full barrier.
    pub(super) fn take(&self) -> Option<Owned> {
        let there = self.0.xchg(core::ptr::null_mut(), Full);
        // SAFETY: What is here came from `put`, and the exchange made it ours alone.
        unsafe { Owned::try_from_foreign(there) }
    }

    /// Leaves a set, together with what is there already. A full barrier after that. May sleep.
    pub(super) fn put(&self, set: Owned) {
        let mut set = set;
        loop {
            let all = self.join(set).into_foreign();
            if self.0.cmpxchg(core::ptr::null_mut(), all, Full).is_ok() {
                return;
            }
            // SAFETY: From `into_foreign`, and not handed over.
            set = unsafe { Owned::from_foreign(all) };
        }
    }

    /// Takes the set away, together with another.
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
