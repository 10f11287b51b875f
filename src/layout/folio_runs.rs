// SPDX-License-Identifier: GPL-2.0

//! The pinned pages of a file, and their numbers of references.
//!
//! The unit is the folio, because the kernel counts references per folio. A process that pins 512
//! pages of a huge page may unpin 511 of them at once, and the last reference keeps the whole folio
//! pinned (io_uring does that). So a count is the number of outstanding references of a folio, and
//! the pages that were pinned stay on record until it is zero.
//!
//! Neighbouring folios that were pinned alike are one *run*. Runs are disjoint and ordered by their
//! last page, which makes the usual unpin, from the front, a change of a run in place. Other unpins
//! divide runs. That needs memory where allocation may fail (in interrupt handlers), so there is a
//! [`Pool`] of nodes, which pins fill.
//!
//! Most holdings have a single run, which needs no node.

use core::{
    num::NonZero,
    ops::Range, //
};
use kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    }, //
};

use super::registry::range;
use crate::rust::{
    gup::Folio,
    identity::InodeId, //
};

/// Neighbouring pages of a file, in neighbouring page frames, with the same number of references
/// on each of their folios.
///
/// # Invariants
///
/// `start < end`; unless the pages are in one folio, the run starts and ends at folio boundaries.
#[derive(Clone, Copy)]
pub(crate) struct FolioRun {
    /// First page of the file.
    pub(crate) start: u64,
    /// The page after the last.
    pub(crate) end: u64,
    /// Page frame of the first page.
    pub(crate) pfn: u64,
    /// References on each folio.
    pub(crate) refs: u64,
    /// Size of the folios.
    pub(crate) order: u8,
}

impl FolioRun {
    /// Returns the first page of the folio that holds a page.
    fn floor(&self, page: u64) -> u64 {
        page & !((1 << self.order) - 1)
    }

    /// Returns the page after the folio that holds the page before `end`.
    fn ceil(&self, end: u64) -> u64 {
        self.floor(end - 1) + (1 << self.order)
    }

    /// Returns the pages of all folios of the run: a wait is always for whole folios.
    pub(super) fn span(&self) -> Range<u64> {
        self.floor(self.start)..self.ceil(self.end)
    }

    /// Returns whether the run covers all of its folios.
    fn is_whole(&self) -> bool {
        self.floor(self.start) == self.start && self.ceil(self.end) == self.end
    }

    /// Returns whether `next` continues this run, with the same properties.
    pub(super) fn continues_with(&self, next: &FolioRun) -> bool {
        self.end == next.start
            && self.pfn + (self.end - self.start) == next.pfn
            && self.refs == next.refs
            && self.order == next.order
            && self.is_whole()
            && next.is_whole()
    }

    /// Returns the part of the run between two pages.
    fn part(&self, start: u64, end: u64) -> FolioRun {
        FolioRun {
            start,
            end,
            pfn: self.pfn + (start - self.start),
            ..*self
        }
    }

    /// Returns the part of the run from page `page` on, if there is one.
    fn part_from(&self, page: u64) -> Option<FolioRun> {
        (page < self.end).then(|| self.part(page, self.end))
    }

    /// Returns the rest of the run, if any, after a folio of it loses so many references. Returns
    /// [`None`] if the rest is not one run.
    fn without(&self, folio: &Range<u64>, refs: u64) -> Option<Option<FolioRun>> {
        let begins = folio.start <= self.start;
        if begins && refs == self.refs {
            return Some(self.part_from(folio.end));
        }
        let is_all = begins && self.end <= folio.end;
        is_all.then(|| {
            Some(FolioRun {
                refs: self.refs - refs,
                ..*self
            })
        })
    }

    /// Returns the folios of the run.
    pub(super) fn each_folio(&self, inode: InodeId) -> impl Iterator<Item = Folio> + '_ {
        let mut page = self.start;
        core::iter::from_fn(move || {
            let folio = (page < self.end).then(|| self.folio_at(page, inode))?;
            page = folio.pages().end;
            Some(folio)
        })
    }

    /// Returns the folio that holds a page of the run.
    pub(super) fn folio_at(&self, page: u64, inode: InodeId) -> Folio {
        let index = self.floor(page);
        Folio {
            inode,
            index,
            // The frames of a folio are as aligned as its pages.
            pfn: (self.pfn + (page - self.start)) & !((1 << self.order) - 1),
            order: self.order,
        }
    }
}

/// A run without its end, which is its key.
pub(super) struct Stored {
    start: u64,
    pfn: u64,
    /// The kernel's counts of references of a folio have no more bits. Never zero, so that an
    /// `Option` of a run takes no more memory.
    refs: NonZero<u32>,
    order: u8,
}

impl Stored {
    fn of(run: &FolioRun) -> Self {
        Self {
            start: run.start,
            pfn: run.pfn,
            refs: NonZero::new(run.refs as u32).unwrap_or(NonZero::<u32>::MIN),
            order: run.order,
        }
    }

    fn run_to(&self, last: u64) -> FolioRun {
        FolioRun {
            start: self.start,
            end: last + 1,
            pfn: self.pfn,
            refs: self.refs.get().into(),
            order: self.order,
        }
    }
}

fn run_of((last, run): (&u64, &Stored)) -> FolioRun {
    run.run_to(*last)
}

/// Memory for a run.
pub(super) type Spare = RBTreeNodeReservation<u64, Stored>;

/// Nodes for dividing runs.
pub(super) struct Pool(KVec<Spare>);

impl Pool {
    /// Nodes that an unpin may need at once.
    const UNPIN: usize = 3;
    /// Nodes that are kept.
    const KEEP: usize = 64;

    pub(super) fn new() -> Self {
        Self(KVec::new())
    }

    /// Returns how many nodes the caller must add for a pin that needs `wanted`, so that some are
    /// left afterwards.
    pub(super) fn missing(&self, wanted: usize) -> usize {
        (wanted + Self::UNPIN).saturating_sub(self.0.len())
    }

    /// Returns new nodes, in a vector with room for them and the old ones.
    pub(super) fn more(wanted: usize, missing: usize) -> Result<KVec<Spare>> {
        let mut more = KVec::with_capacity((wanted + Self::UNPIN).max(Self::KEEP), GFP_KERNEL)?;
        for _ in 0..missing {
            more.push(Spare::new(GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(more)
    }

    /// Adds nodes, and returns those that do not fit.
    pub(super) fn bring(&mut self, mut more: KVec<Spare>) -> KVec<Spare> {
        if more.capacity() > self.0.capacity() {
            core::mem::swap(&mut self.0, &mut more);
        }
        while self.0.len() < self.0.capacity() {
            match more.pop() {
                Some(node) => self.keep(node),
                None => break,
            }
        }
        more
    }

    /// Frees nodes that were added in case they would be needed.
    pub(super) fn trim(&mut self) {
        self.0.truncate(Self::KEEP);
    }

    /// Makes sure that there are the nodes that an unpin may need, without sleeping.
    fn fill_for_unpin(&mut self) -> bool {
        while self.0.len() < Self::UNPIN {
            match Spare::new(GFP_ATOMIC | __GFP_NOWARN) {
                Ok(node) => {
                    if self.0.push_within_capacity(node).is_err() {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        true
    }

    fn take(&mut self) -> Option<Spare> {
        self.0.pop()
    }

    fn keep(&mut self, node: Spare) {
        // If there are too many it is dropped, which frees memory and is allowed in any context.
        let _ = self.0.push_within_capacity(node);
    }
}

/// The pinned pages of one file, of one context.
///
/// # Invariants
///
/// The runs are disjoint, no two have pages of the same folio, and each has references. The tree is
/// empty if [`FolioRuns::only`] is set.
pub(crate) struct FolioRuns {
    /// The last page of the only run, and the run.
    only: Option<(u64, Stored)>,
    /// By the last page.
    tree: RBTree<u64, Stored>,
}

impl FolioRuns {
    pub(super) fn new() -> Self {
        Self {
            only: None,
            tree: RBTree::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.only.is_none() && self.tree.is_empty()
    }

    /// Returns the run that has no node.
    fn only(&self) -> Option<FolioRun> {
        self.only.as_ref().map(|(last, run)| run.run_to(*last))
    }

    fn set_only(&mut self, run: Option<FolioRun>) {
        self.only = run.map(|run| (run.end - 1, Stored::of(&run)));
    }

    /// Moves the only run to a node from the pool, to divide it or to add others.
    fn grow_to_tree(&mut self, pool: &mut Pool) {
        if let Some(run) = self.only() {
            self.only = None;
            self.put(run, pool);
        }
    }

    /// Moves the run out of its node if it is the only one.
    fn shrink_to_inline(&mut self, pool: &mut Pool) {
        let only = self
            .tree
            .cursor_front()
            .filter(|cursor| cursor.peek_next().is_none())
            .map(|cursor| run_of(cursor.current()));
        if let Some(run) = only {
            self.take(run.start, pool);
            self.set_only(Some(run));
        }
    }

    /// Returns the first run that ends after a page: the one that holds it, or the next.
    pub(super) fn at_or_after(&self, page: u64) -> Option<FolioRun> {
        if let Some(only) = self.only() {
            return Some(only).filter(|run| run.end > page);
        }
        self.tree
            .cursor_lower_bound(&page)
            .map(|cursor| run_of(cursor.current()))
    }

    /// Returns all runs that hold pages of a range.
    pub(super) fn within(&self, pages: Range<u64>) -> impl Iterator<Item = FolioRun> + '_ {
        let only = self.only().filter(|run| run.end > pages.start);
        let several = range(&self.tree, pages.start).map(|(last, run)| run.run_to(last));
        Iterator::chain(only.into_iter(), several).take_while(move |run| run.start < pages.end)
    }

    /// Returns whether a folio of one of the pages has references.
    pub(super) fn touch(&self, pages: &Range<u64>) -> bool {
        self.touching(pages).is_some()
    }

    /// Returns all pages of all folios of a run with a folio of one of the pages, if there is one.
    pub(super) fn touching(&self, pages: &Range<u64>) -> Option<Range<u64>> {
        if let Some(only) = self.only() {
            return Some(only.span())
                .filter(|span| span.start < pages.end && pages.start < span.end);
        }
        // A run that ends before the pages may have a part of a folio that extends into them.
        let before = self
            .tree
            .cursor_lower_bound(&pages.start)
            .map_or_else(
                || {
                    self.tree
                        .cursor_back()
                        .map(|cursor| run_of(cursor.current()))
                },
                |cursor| cursor.peek_prev().map(run_of),
            )
            .map(|run| run.span())
            .filter(|span| span.end > pages.start);
        before.or_else(|| {
            self.at_or_after(pages.start)
                .map(|run| run.span())
                .filter(|span| span.start < pages.end)
        })
    }

    /// Returns the number of references on a folio.
    pub(super) fn refs_of(&self, folio: &Folio) -> u64 {
        let pages = folio.pages();
        match self.at_or_after(pages.start) {
            Some(run) if run.start < pages.end => run.refs,
            _ => 0,
        }
    }

    /// Returns the number of nodes that [`FolioRuns::add`] may need for a run.
    pub(super) fn nodes_for(&self, run: &FolioRun) -> usize {
        // The only run so far needs a node, too. Each overlapping run is divided at most twice, and
        // leaves a gap before it.
        2 + 3 * self.within(run.span()).count()
    }

    /// Adds references. The pool must have the nodes of [`FolioRuns::nodes_for`].
    pub(super) fn add(&mut self, new: FolioRun, pool: &mut Pool) {
        if self.is_empty() {
            return self.set_only(Some(new));
        }
        self.grow_to_tree(pool);
        let mut at = new.start;
        while at < new.end {
            let floor = new.floor(at);
            let in_the_way = self
                .at_or_after(floor)
                .filter(|old| old.start < new.ceil(new.end));
            at = match in_the_way {
                None => {
                    self.put(new.part(at, new.end), pool);
                    new.end
                }
                Some(old) if old.floor(old.start) >= floor + (1 << new.order) => {
                    let end = new.end.min(old.floor(old.start));
                    self.put(new.part(at, end), pool);
                    end
                }
                Some(old) => {
                    // If both cover whole folios, their references are added at once; otherwise one
                    // folio at a time, with the union of its pinned pages.
                    let whole = old.is_whole() && at == floor && new.floor(new.end) > at;
                    let end = if whole {
                        old.end.min(new.floor(new.end))
                    } else {
                        new.ceil(at + 1)
                    };
                    self.divide(floor, pool);
                    self.divide(end, pool);
                    if let Some(old) = self.take(floor, pool) {
                        let start = old.start.min(at);
                        let union = FolioRun {
                            start,
                            end: old.end.max(end.min(new.end)),
                            pfn: old.pfn - (old.start - start),
                            refs: old.refs + new.refs,
                            order: new.order,
                        };
                        self.put(union, pool);
                    }
                    end.min(new.end)
                }
            };
        }
        self.join(new.start, pool);
        self.join(new.end, pool);
        self.shrink_to_inline(pool);
    }

    /// Removes at most `most` folios, from `first` on, as long as each has exactly `refs`
    /// references and `condition` holds, which is called in order. Returns how many.
    ///
    /// May be called in any context. Removes none if no run starts at `first`.
    pub(super) fn remove_whole(
        &mut self,
        first: &Folio,
        refs: u64,
        most: u64,
        condition: impl Fn(u64) -> bool,
        pool: &mut Pool,
    ) -> u64 {
        let folios_of = |run: &FolioRun| {
            if run.floor(run.start) != first.index || run.order != first.order || run.refs != refs {
                return 0;
            }
            let most = most.min((run.ceil(run.end) - first.index) >> run.order);
            (0..most).find(|n| !condition(*n)).unwrap_or(most)
        };
        let end = |folios| first.index + (folios << first.order);
        if let Some(run) = self.only() {
            let folios = folios_of(&run);
            if folios != 0 {
                self.set_only(run.part_from(end(folios)));
            }
            return folios;
        }
        let Some(mut cursor) = self.tree.cursor_lower_bound_mut(&first.index) else {
            return 0;
        };
        let (last, stored) = cursor.current_mut();
        let run = stored.run_to(*last);
        let folios = folios_of(&run);
        if folios != 0 {
            match run.part_from(end(folios)) {
                Some(rest) => *stored = Stored::of(&rest),
                None => {
                    pool.keep(cursor.remove_current().1.into_reservation());
                    self.shrink_to_inline(pool);
                }
            }
        }
        folios
    }

    /// Removes up to `refs` references of a folio, and returns how many.
    ///
    /// May be called in any context. It may remove none if there is no memory to divide a run.
    pub(super) fn remove(&mut self, folio: &Folio, refs: u64, pool: &mut Pool) -> u64 {
        let pages = folio.pages();
        if let Some(run) = self.only() {
            if run.end <= pages.start || pages.end <= run.start {
                return 0;
            }
            let refs = refs.min(run.refs);
            match run.without(&pages, refs) {
                Some(rest) => {
                    self.set_only(rest);
                    return refs;
                }
                None if !pool.fill_for_unpin() => return 0,
                None => self.grow_to_tree(pool),
            }
        }
        let Some(mut cursor) = self.tree.cursor_lower_bound_mut(&pages.start) else {
            return 0;
        };
        let (last, stored) = cursor.current_mut();
        let run = stored.run_to(*last);
        if run.start >= pages.end {
            return 0;
        }
        if run.start < pages.start {
            if !pool.fill_for_unpin() {
                return 0;
            }
            self.divide(pages.start, pool);
            // Now a run starts with the folio.
            return self.remove(folio, refs, pool);
        }
        let refs = refs.min(run.refs);
        match run.without(&pages, refs) {
            Some(Some(rest)) => {
                *stored = Stored::of(&rest);
                if rest.start == run.start {
                    self.join(run.start, pool);
                    self.join(run.end, pool);
                    self.shrink_to_inline(pool);
                }
            }
            Some(None) => {
                pool.keep(cursor.remove_current().1.into_reservation());
                self.shrink_to_inline(pool);
            }
            None if !pool.fill_for_unpin() => return 0,
            None => self.leave_some(run, pages.end, run.refs - refs, pool),
        }
        refs
    }

    /// Makes the part of a run before a page a run of its own, with fewer references. The pool must
    /// have a node for it.
    fn leave_some(&mut self, run: FolioRun, end: u64, refs: u64, pool: &mut Pool) {
        let Some(mut cursor) = self.tree.cursor_lower_bound_mut(&run.start) else {
            return;
        };
        *cursor.current_mut().1 = Stored::of(&run.part(end, run.end));
        let mut some = FolioRun {
            refs,
            ..run.part(run.start, end)
        };
        // It often continues the previous run: a process that unpins all but one reference of each
        // folio starts with the first.
        let before = cursor.peek_prev().map(run_of);
        if let Some(before) = before.filter(|before| before.continues_with(&some)) {
            if let Some(node) = cursor.remove_prev() {
                pool.keep(node.into_reservation());
                some = FolioRun {
                    end: some.end,
                    ..before
                };
            }
        }
        self.put(some, pool);
    }

    /// Divides the run that contains `page`, if any, so that `page` starts a run.
    fn divide(&mut self, page: u64, pool: &mut Pool) {
        if let Some(run) = self.at_or_after(page).filter(|run| run.start < page) {
            // The node of the run, whose key is the last page, keeps the second half.
            if let Some(second) = self.tree.get_mut(&(run.end - 1)) {
                *second = Stored::of(&run.part(page, run.end));
            }
            self.put(run.part(run.start, page), pool);
        }
    }

    /// Joins the two runs that meet at `page`, if they are alike.
    fn join(&mut self, page: u64, pool: &mut Pool) {
        let Some(last) = page.checked_sub(1) else {
            return;
        };
        let Some(after) = self.at_or_after(page).filter(|after| after.start == page) else {
            return;
        };
        let Some(before) = self.tree.get(&last).map(|run| run.run_to(last)) else {
            return;
        };
        if before.continues_with(&after) {
            if let Some(node) = self.tree.remove_node(&last) {
                pool.keep(node.into_reservation());
            }
            if let Some(run) = self.tree.get_mut(&(after.end - 1)) {
                *run = Stored::of(&before);
            }
        }
    }

    /// Removes the first run that ends after a page.
    fn take(&mut self, page: u64, pool: &mut Pool) -> Option<FolioRun> {
        let run = self.at_or_after(page)?;
        let node = self.tree.remove_node(&(run.end - 1))?;
        pool.keep(node.into_reservation());
        Some(run)
    }

    /// Inserts a run, which must not overlap others. The pool must have a node for it.
    fn put(&mut self, run: FolioRun, pool: &mut Pool) {
        if let Some(node) = pool.take() {
            self.tree
                .insert(node.into_node(run.end - 1, Stored::of(&run)));
        }
    }
}
