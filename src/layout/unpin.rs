// SPDX-License-Identifier: GPL-2.0

//! Attributing unpins to pins on record.
//!
//! An unpin names a page and no owner. It may end a long-term pin on record, or a transient pin
//! (O_DIRECT and the like) of the same page, which has no record. The decision uses the one certain
//! fact: **there cannot be more references on record than pins**. The observer runs before the
//! references are released. So if `pins - refs < recorded`, the difference is due, and it is
//! removed from the record:
//!
//! * of the context of the current system call, if it has pins there (dereg, unregister), or of the
//!   one that a caller of `vaddr_unpin_pages_dirty_lock()` names;
//! * else of contexts whose file has ended: their release or deferred work (a ring's exit work, the
//!   exit of a process) is unpinning;
//! * else of any.
//!
//! If the due references are fewer than the released ones, because other pins of the page exist,
//! the record may be too high by this unpin until these end: their unpins are observed as well, and
//! then the difference is due.
//!
//! These errors are corrected by comparing again ([`reconcile_holding`]) a little later, and at
//! every check of a lease's or a file's pins:
//!
//! * Two tasks release references of a folio at the same time; each still sees those of the other.
//!   The last comparison sees neither.
//! * The kernel drops a pin that is not observed (`get_user_pages_fast()` that lost a race) and
//!   that had hidden a difference.
//! * There was no memory to divide a run.
//!
//! A record is never too low: a difference is only due if the pins on record cannot all exist, and
//! pins are recorded after they were taken.

use super::{
    context::{
        self,
        ContextId,
        Owner,
        Preference, //
    },
    deferred,
    folio_runs::Pool,
    host::Host,
    lease_state::LeaseId,
    registry::{
        self,
        key_from,
        Holding,
        HoldingKey,
        Registry, //
    }, //
};
use crate::rust::{
    gup::{
        self,
        Folio,
        Span,
        Unpins, //
    },
    identity::{
        FileId,
        InodeId, //
    },
    trace,
    vfs::Inode, //
};
use core::marker::PhantomData;

/// Callbacks of the observer of unpins.
pub(super) struct Observed<H>(PhantomData<H>);

impl<H: Host> Unpins for Observed<H> {
    fn wanted(inode: &Inode) -> bool {
        H::owns(inode)
    }

    fn unpinning(span: &Span) {
        let mut guard = registry::lock();
        let Some(registry) = guard.as_mut() else {
            return;
        };
        let mut doubtful = false;
        let mut done = 0;
        while done < span.len() {
            let (folios, is_doubtful) = match registry.credit_only(span, done) {
                Some(credited) => credited,
                None => (1, registry.credit_folio(span, done)),
            };
            doubtful |= is_doubtful;
            done += folios;
        }
        if doubtful {
            registry.doubts.add(span.inode(), deferred::CHECKS);
        }
        let dead = !registry.dead.is_empty();
        drop(guard);
        if dead {
            deferred::reap_soon();
        }
        if doubtful {
            deferred::check_soon();
        }
    }

    fn closing(file: FileId) {
        context::close(file);
    }
}

/// Returns the context of the current system call, or the one that the caller acts for.
fn caller(registry: &Registry) -> Option<ContextId> {
    gup::caller_file_id()
        .map(Owner::File)
        .or_else(|| gup::caller_mm_id().map(Owner::Mm))
        .and_then(|owner| registry.owners.get(&owner))
        .copied()
}

/// The record of a folio.
struct Recorded {
    /// Number of references.
    refs: u64,
    /// The holding with all of the references, if there is only one.
    only: Option<HoldingKey>,
}

impl Registry {
    fn recorded(&mut self, folio: &Folio) -> Recorded {
        let mut recorded = Recorded {
            refs: 0,
            only: None,
        };
        self.for_each_holding(folio.inode, |key, holding| {
            let refs = holding.runs.refs_of(folio);
            if refs != 0 {
                recorded.only = (recorded.refs == 0).then_some(key);
                recorded.refs += refs;
            }
        });
        recorded
    }

    /// Implements [`Registry::credit_folio`] for an inode with a single holding. Removes folios of
    /// a span from the record, from index `from` on. Returns the number of folios credited and
    /// whether a check is needed; [`None`] if the inode has no holding or several.
    ///
    /// Folios that lose all their references are removed together.
    fn credit_only(&mut self, span: &Span, from: u64) -> Option<(u64, bool)> {
        let first = span.folio(from);
        let refs = span.refs;
        let mut cursor = self
            .holdings
            .cursor_lower_bound_mut(&first_of(first.inode))?;
        if cursor
            .peek_next()
            .is_some_and(|(key, _)| key.0 == first.inode)
        {
            return None;
        }
        let (&key, holding) = cursor.current_mut();
        if key.0 != first.inode {
            return None;
        }
        let folios = holding.runs.remove_whole(
            &first,
            refs,
            span.len() - from,
            |n| span.pins(from + n) <= refs,
            &mut self.pool,
        );
        for n in from..from + folios {
            trace::unpin(holding.path.inode(), &span.folio(n).pages(), refs);
        }
        let mut credited = (folios, false);
        if folios == 0 {
            let recorded = holding.runs.refs_of(&first);
            if recorded == 0 {
                return Some((1, false));
            }
            let due = due(span.pins(from), recorded, refs);
            let taken = holding.take_off(&first, due, &mut self.pool);
            credited = (1, is_doubtful(due, taken, refs));
        }
        if holding.runs.is_empty() {
            self.dead.queue_dead(key, holding);
            self.unuse_lease(key);
        }
        Some(credited)
    }

    /// Removes the references from the record that are due because those of a span to its folio `n`
    /// end. Returns whether a check is needed.
    fn credit_folio(&mut self, span: &Span, n: u64) -> bool {
        let folio = span.folio(n);
        let recorded = self.recorded(&folio);
        if recorded.refs == 0 {
            return false;
        }
        let due = due(span.pins(n), recorded.refs, span.refs);
        let credited = self.credit(&folio, due, &recorded, caller);
        is_doubtful(due, credited, span.refs)
    }

    /// Removes `due` references of a folio from the record, and returns how many were removed.
    /// `caller` is called only if there are several holdings.
    fn credit(
        &mut self,
        folio: &Folio,
        due: u64,
        recorded: &Recorded,
        caller: impl FnOnce(&Self) -> Option<ContextId>,
    ) -> u64 {
        match recorded.only {
            _ if due == 0 => 0,
            Some(key) => self.credit_holding(key, folio, due),
            None => {
                let caller = caller(self);
                self.credit_one_of_many(folio, due, caller)
            }
        }
    }

    fn credit_one_of_many(&mut self, folio: &Folio, due: u64, caller: Option<ContextId>) -> u64 {
        let mut left = due;
        let preferences = [
            caller.map(Preference::Caller),
            Some(Preference::Dead),
            Some(Preference::Any),
        ];
        for preference in preferences.into_iter().flatten() {
            let mut next = first_of(folio.inode);
            while let Some(key) = key_from(&self.holdings, next).filter(|key| key.0 == folio.inode)
            {
                if left == 0 {
                    return due;
                }
                if preference.includes(key, self) {
                    left -= self.credit_holding(key, folio, left);
                }
                next = (key.0, key.1, key.2.next());
            }
        }
        due - left
    }

    fn credit_holding(&mut self, key: HoldingKey, folio: &Folio, refs: u64) -> u64 {
        let Some(holding) = self.holdings.get_mut(&key) else {
            return 0;
        };
        let credited = holding.take_off(folio, refs, &mut self.pool);
        if credited != 0 && holding.runs.is_empty() {
            self.unuse_lease(key);
            self.queue_dead(key);
        }
        credited
    }
}

impl Holding {
    /// Removes references of a folio from the record, and returns how many were removed.
    fn take_off(&mut self, folio: &Folio, refs: u64, pool: &mut Pool) -> u64 {
        if refs == 0 {
            return 0;
        }
        let taken = self.runs.remove(folio, refs, pool);
        if taken != 0 {
            trace::unpin(self.path.inode(), &folio.pages(), taken);
        }
        taken
    }
}

/// Returns how many of the recorded references of a folio with `pins` pins are due when `refs` end.
fn due(pins: u64, recorded: u64, refs: u64) -> u64 {
    let left = pins.saturating_sub(refs);
    recorded.saturating_sub(left)
}

/// Returns whether more may be due than was removed from the record when `refs` references end.
fn is_doubtful(due: u64, taken: u64, refs: u64) -> bool {
    taken < due || due < refs
}

fn first_of(inode: InodeId) -> HoldingKey {
    (inode, ContextId::FIRST, LeaseId::FIRST)
}

/// Compares the record of a holding's folios with the kernel's counts, and removes the references
/// that cannot exist. May be called in any context; takes time linear in the holding's folios.
pub(super) fn reconcile_holding(key: HoldingKey) {
    /// Number of folios that are checked at a time, with interrupts disabled.
    const BATCH: usize = 128;

    let mut page = 0;
    loop {
        let mut guard = registry::lock();
        let Some(registry) = guard.as_mut() else {
            return;
        };
        let mut more = false;
        for _ in 0..BATCH {
            let run = registry
                .holdings
                .get(&key)
                .and_then(|holding| holding.runs.at_or_after(page));
            more = run.is_some();
            let Some(run) = run else {
                break;
            };
            let folio = run.folio_at(page.max(run.start), key.0);
            let recorded = registry.recorded(&folio);
            let due = recorded.refs.saturating_sub(gup::pins(folio.pfn));
            registry.credit(&folio, due, &recorded, |_| None);
            page = folio.pages().end;
        }
        let dead = !registry.dead.is_empty();
        drop(guard);
        if dead {
            deferred::reap_soon();
        }
        if !more {
            return;
        }
    }
}
