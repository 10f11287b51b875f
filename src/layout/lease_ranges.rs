// SPDX-License-Identifier: GPL-2.0

//! The pages of a file that a lease covers, and its kind on them.
//!
//! A lease belongs to an open file, which may hold up to [`LeaseRanges::MAX`] ranges, each of one
//! [`Kind`]. A request replaces the lease of the file on the requested pages. Adjacent ranges of
//! one kind are joined, and releasing the middle of a range leaves two.

use super::lease_state::Kind;
use core::ops::Range;
use kernel::{
    page::PAGE_SHIFT,
    prelude::*, //
};

/// All pages that a file can have, and that an operation to the end of the file may name.
pub(crate) const ALL: Range<u64> = 0..1 << (u64::BITS as usize - PAGE_SHIFT);

/// Neighbouring pages under a lease of one kind.
#[derive(Clone, Copy)]
pub(crate) struct LeaseRange {
    /// First page.
    pub(crate) start: u64,
    /// The page after the last.
    pub(crate) end: u64,
    /// The kind of lease.
    pub(crate) kind: Kind,
}

/// The ranges of a lease.
///
/// # Invariants
///
/// Ranges are not empty, disjoint and in order; those of one kind do not touch.
pub(super) struct LeaseRanges(KVec<LeaseRange>);

impl LeaseRanges {
    /// The largest number of ranges. All of them may have to be visited with interrupts disabled. A
    /// process that needs more on one file opens it again.
    pub(super) const MAX: usize = 256;

    /// Returns an empty set.
    pub(super) const fn new() -> Self {
        // INVARIANT: There are no ranges.
        Self(KVec::new())
    }

    /// Returns an empty set with room for a change of one that has `ranges` ranges.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn with_room(ranges: usize) -> Result<Self> {
        // INVARIANT: There are no ranges.
        Ok(Self(KVec::with_capacity(ranges + 2, GFP_KERNEL)?))
    }

    /// Returns whether there is room for a change of `old`.
    pub(super) fn has_room_for(&self, old: &LeaseRanges) -> bool {
        self.0.capacity() >= old.0.len() + 2
    }

    /// Sets this to `old` with `pages` changed to `kind`, or removed if that is [`None`].
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no room for it.
    pub(super) fn assign(
        &mut self,
        old: &[LeaseRange],
        pages: &Range<u64>,
        kind: Option<Kind>,
    ) -> Result {
        let joins = |piece: &LeaseRange| {
            Some(piece.kind) == kind && piece.start <= pages.end && pages.start <= piece.end
        };
        self.0.clear();
        for piece in old.iter().filter(|piece| !joins(piece)) {
            self.append(piece.start, piece.end.min(pages.start), piece.kind)?;
        }
        if let Some(kind) = kind {
            let joined = || old.iter().filter(|piece| joins(piece));
            let start = joined().map(|piece| piece.start).min();
            let end = joined().map(|piece| piece.end).max();
            self.append(
                start.map_or(pages.start, |start| start.min(pages.start)),
                end.map_or(pages.end, |end| end.max(pages.end)),
                kind,
            )?;
        }
        for piece in old.iter().filter(|piece| !joins(piece)) {
            self.append(piece.start.max(pages.end), piece.end, piece.kind)?;
        }
        Ok(())
    }

    /// Appends a range, unless it is empty.
    fn append(&mut self, start: u64, end: u64, kind: Kind) -> Result {
        if start < end {
            self.0
                .push_within_capacity(LeaseRange { start, end, kind })
                .map_err(|_| ENOMEM)?;
        }
        Ok(())
    }

    /// Returns all ranges.
    pub(super) fn as_slice(&self) -> &[LeaseRange] {
        &self.0
    }

    /// Returns the ranges that have some of the pages.
    pub(super) fn within(&self, pages: &Range<u64>) -> impl Iterator<Item = &LeaseRange> {
        let first = self.0.partition_point(|piece| piece.end <= pages.start);
        let end = pages.end;
        self.0
            .iter()
            .skip(first)
            .take_while(move |piece| piece.start < end)
    }

    /// Returns whether all the pages are under strong leases.
    pub(super) fn holds(&self, pages: &Range<u64>) -> bool {
        let mut page = pages.start;
        for piece in self.within(pages) {
            if piece.start > page || !piece.kind.is_strong() {
                return false;
            }
            page = piece.end;
        }
        page >= pages.end
    }

    /// Removes the breakable ranges.
    pub(super) fn keep_strong(&mut self) {
        self.0.retain(|piece| piece.kind.is_strong());
    }
}
