// SPDX-License-Identifier: GPL-2.0

//! Changes of a leaf of a directory.
//!
//! Names are stored in the order of insertion, and slots in the order of the cookies: adding a name
//! changes few words.

use core::ops::{
    Deref,
    Range, //
};

use zerocopy::{
    little_endian::{
        U16,
        U64, //
    },
    IntoBytes, //
};

use super::{
    journal::LINE,
    run::mask, //
};
use crate::ondisk::{
    leaf::{
        same_hash,
        Leaf,
        LeafHead,
        NameHead,
        BAD_SLOT,
        BODY,
        MAX_NAMES,
        NAME_HEAD, //
    },
    Error,
    Name,
    Result, //
};

/// A leaf that is being changed, with a mask of the lines that change.
pub(super) struct LeafEdit<'t> {
    leaf: &'t mut Leaf,
    lines: &'t mut U64,
}

impl Deref for LeafEdit<'_> {
    type Target = Leaf;

    fn deref(&self) -> &Leaf {
        self.leaf
    }
}

impl<'t> LeafEdit<'t> {
    /// Returns a leaf whose changed lines are noted in `lines`.
    pub(super) fn new(leaf: &'t mut Leaf, lines: &'t mut U64) -> Self {
        LeafEdit { leaf, lines }
    }

    /// Notes a change of bytes of the body.
    fn touch(&mut self, body: Range<usize>) {
        let first = (size_of::<LeafHead>() + body.start) / LINE;
        let end = (size_of::<LeafHead>() + body.end).div_ceil(LINE);
        self.lines
            .set(self.lines.get() | mask(0, first as u64..end as u64));
    }

    /// Does [`Leaf::insert`] and notes the lines.
    pub(super) fn insert(&mut self, index: usize, head: NameHead, name: Name<'_>) -> Result {
        let at = usize::from(self.head.end.get());
        if self.gap() < head.size() + 2 {
            // All names are moved.
            self.touch(0..BODY);
        }
        self.touch(at..at + head.size());
        // All slots from this one on move, and there is one more.
        self.touch(Leaf::slot_range(self.len())?.start..Leaf::slot_range(index)?.end);
        self.leaf.insert(index, head, name)
    }

    /// Does [`Leaf::remove`] and notes the lines.
    pub(super) fn remove(&mut self, index: usize) -> Result {
        self.touch(Leaf::slot_range(self.len())?.end..Leaf::slot_range(index)?.end);
        self.leaf.remove(index)
    }

    /// Changes the head of the name at offset `at` of the body.
    pub(super) fn set_head(&mut self, at: usize, head: &NameHead) -> Result {
        self.touch(at..at + NAME_HEAD);
        let bytes = self.leaf.body.get_mut(at..at + NAME_HEAD);
        bytes.ok_or(BAD_SLOT)?.copy_from_slice(head.as_bytes());
        Ok(())
    }
}

/// Sorts a few hundred numbers with Shell's sort, whose code is smaller than the library's.
fn sort(numbers: &mut [u32]) {
    for gap in [57, 23, 10, 4, 1] {
        for start in gap..numbers.len() {
            let mut at = start;
            while at >= gap && numbers.get(at - gap) > numbers.get(at) {
                numbers.swap(at - gap, at);
                at -= gap;
            }
        }
    }
}

impl Leaf {
    fn set_slot(&mut self, index: usize, at: usize) -> Result {
        let bytes = self.body.get_mut(Self::slot_range(index)?);
        let slot = U16::new(at as u16);
        bytes.ok_or(BAD_SLOT)?.copy_from_slice(slot.as_bytes());
        Ok(())
    }

    /// Returns the slot and the cookie for a new name: the lowest free cookie of its hash, from
    /// `first` on.
    pub(super) fn vacancy(&self, first: u64, name: Name<'_>) -> Result<(usize, u64)> {
        let start = self.search(first)?;
        let mut end = start;
        let mut vacant = None;
        let mut next = first;
        for index in start..self.len() {
            let (at, head) = self.head_of(index)?;
            let cookie = head.cookie.get();
            if !same_hash(cookie, first) {
                break;
            }
            if self.is_name(at, &head, name) {
                return Err(Error::Exists);
            }
            if cookie != next {
                vacant = vacant.or(Some((index, next)));
            }
            next = cookie + 1;
            end = index + 1;
        }
        match vacant {
            Some(vacant) => Ok(vacant),
            None if same_hash(next, first) => Ok((end, next)),
            None => Err(Error::NoSpace),
        }
    }

    /// Adds a name as slot `index`. There must be room.
    pub(crate) fn insert(&mut self, index: usize, head: NameHead, name: Name<'_>) -> Result {
        if self.gap() < head.size() + 2 {
            self.compact()?;
        }
        let at = usize::from(self.head.end.get());
        let end = at + head.size();
        if self.gap() < head.size() + 2 || index > self.len() {
            return Err(BAD_SLOT);
        }
        let bytes = self.body.get_mut(at..end).ok_or(BAD_SLOT)?;
        let (to_head, to_name) = bytes.split_at_mut(NAME_HEAD);
        to_head.copy_from_slice(head.as_bytes());
        to_name.copy_from_slice(name.bytes());
        for i in (index..self.len()).rev() {
            let moved = self.slot(i)?;
            self.set_slot(i + 1, moved)?;
        }
        self.set_slot(index, at)?;
        self.head.count.set(self.head.count.get() + 1);
        self.head.end.set(end as u16);
        Ok(())
    }

    /// Removes the name of slot `index`.
    pub(super) fn remove(&mut self, index: usize) -> Result {
        let at = self.slot(index)?;
        let size = self.name_head(at)?.size();
        for i in index + 1..self.len() {
            let moved = self.slot(i)?;
            self.set_slot(i - 1, moved)?;
        }
        self.head.count.set(self.head.count.get() - 1);
        let end = usize::from(self.head.end.get());
        let dead = usize::from(self.head.dead.get());
        if at + size == end && dead <= at {
            self.head.end.set(at as u16);
        } else if dead + size <= end {
            self.head.dead.set((dead + size) as u16);
        } else {
            // Names overlap: the leaf is corrupt.
            return Err(BAD_SLOT);
        }
        Ok(())
    }

    /// Compacts the names, in the order of their offsets.
    fn compact(&mut self) -> Result {
        let mut places = [0u32; MAX_NAMES];
        let places = places.get_mut(..self.len()).ok_or(BAD_SLOT)?;
        for (index, place) in places.iter_mut().enumerate() {
            *place = (self.slot(index)? << 16 | index) as u32;
        }
        sort(places);
        let (mut from, mut to) = (0, 0);
        for place in places {
            let (at, index) = ((*place >> 16) as usize, (*place & 0xffff) as usize);
            if at < from {
                // Names overlap: the leaf is corrupt.
                return Err(BAD_SLOT);
            }
            let size = self.name_head(at)?.size();
            if at != to {
                self.body.copy_within(at..at + size, to);
                self.set_slot(index, to)?;
            }
            from = at + size;
            to += size;
        }
        self.head.end.set(to as u16);
        self.head.dead.set(0);
        Ok(())
    }

    /// Keeps only the slots in `range`.
    pub(super) fn keep(&mut self, range: Range<usize>) -> Result {
        for (to, from) in range.clone().enumerate() {
            let moved = self.slot(from)?;
            self.set_slot(to, moved)?;
        }
        self.head.count.set(range.len() as u16);
        self.compact()
    }

    /// Returns where to split: near the middle of the bytes, but not between names of equal hash.
    /// Returns `None` if all names have the same hash.
    pub(super) fn middle(&self) -> Result<Option<usize>> {
        let len = self.len();
        let live = usize::from(self.head.end.get()) - usize::from(self.head.dead.get());
        let mut middle = 0;
        let mut bytes = 0;
        while middle < len && bytes < live / 2 {
            bytes += self.name_head(self.slot(middle)?)?.size();
            middle += 1;
        }
        for distance in 0..len {
            for index in [middle.checked_sub(distance), middle.checked_add(distance)] {
                let Some(index) = index.filter(|index| (1..len).contains(index)) else {
                    continue;
                };
                let left = self.name_head(self.slot(index - 1)?)?.cookie.get();
                let right = self.name_head(self.slot(index)?)?.cookie.get();
                if !same_hash(left, right) {
                    return Ok(Some(index));
                }
            }
        }
        Ok(None)
    }
}
