// SPDX-License-Identifier: GPL-2.0

//! Which pages of a file a lease covers, and in which way.
//!
//! A lease belongs to an open file, which may hold any number of ranges, each of one [`Kind`]. What
//! is asked for replaces what was there; neighbours of one kind become one range, and giving back
//! the middle of a range leaves two.

use super::lease_state::Kind;
use core::ops::Range;
use kernel::{
    page::PAGE_SHIFT,
    prelude::*, //
};

/// All pages that a file can have, and all that an operation on "the rest" may name.
pub(crate) const ALL: Range<u64> = 0..1 << (u64::BITS as usize - PAGE_SHIFT);

/// Neighbouring pages under a lease of one kind.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    /// First page.
    pub(crate) start: u64,
    /// The page behind the last.
    pub(crate) end: u64,
    /// The kind of lease.
    pub(crate) kind: Kind,
}

/// What a lease covers.
///
/// # Invariants
///
/// Pieces are not empty, disjoint and in order; those of one kind do not touch.
pub(super) struct Cover(KVec<Piece>);

impl Cover {
    /// The most pieces: who wants more of one file uses another descriptor. All of them may have
    /// to be looked at with interrupts disabled.
    pub(super) const MAX: usize = 256;

    /// Returns nothing.
    pub(super) const fn new() -> Self {
        // INVARIANT: There are no pieces.
        Self(KVec::new())
    }

    /// Returns nothing, with the memory for a change of a cover of `pieces`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn with_room(pieces: usize) -> Result<Self> {
        // INVARIANT: There are no pieces.
        Ok(Self(KVec::with_capacity(pieces + 2, GFP_KERNEL)?))
    }

    /// Says whether there is the memory for a change of `old`.
    pub(super) fn has_room_for(&self, old: &Cover) -> bool {
        self.0.capacity() >= old.0.len() + 2
    }

    /// Becomes what `old` is with a range of another kind, or of none. There must be
    /// room for it.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is none.
    pub(super) fn assign(
        &mut self,
        old: &[Piece],
        pages: &Range<u64>,
        kind: Option<Kind>,
    ) -> Result {
        let joins = |piece: &Piece| {
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

    /// Appends a piece, unless it is empty.
    fn append(&mut self, start: u64, end: u64, kind: Kind) -> Result {
        if start < end {
            self.0
                .push_within_capacity(Piece { start, end, kind })
                .map_err(|_| ENOMEM)?;
        }
        Ok(())
    }

    /// Returns the pieces.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// Returns the pieces that have pages of a range.
    pub(super) fn within(&self, pages: &Range<u64>) -> impl Iterator<Item = &Piece> {
        let first = self.0.partition_point(|piece| piece.end <= pages.start);
        let end = pages.end;
        self.0
            .iter()
            .skip(first)
            .take_while(move |piece| piece.start < end)
    }

    /// Says whether all pages of a range are under strong leases.
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

    /// Forgets what can be broken.
    pub(super) fn keep_strong(&mut self) {
        self.0.retain(|piece| piece.kind.is_strong());
    }
}
