// SPDX-License-Identifier: GPL-2.0

//! Taking a pin: reserve, let the kernel pin, commit.
//!
//! No lock can be held while the kernel pins: it faults, and faults take the file's invalidate
//! lock. So a range of the file is *reserved* first. A reservation counts as a pin for changes of
//! the file's layout and for the release of the lease, and only for these:
//!
//! * **The layout is changed first.** Its check finds no reservation; it holds the invalidate lock
//!   exclusively, and unmaps the range. The pin, reserved after the check, finds the pages
//!   unmapped, faults, waits for the lock, and then gets the pages of the file after the change, if
//!   there are any.
//! * **The pin is reserved first.** The check finds it, and the change fails.
//! * **In between:** the check finds nothing, then the pin is reserved and gets a page before the
//!   range is unmapped. The scan for busy pages, which follows the unmapping, finds the page. The
//!   registry is checked for it again: the change fails (`super::breaking`).
//! * **The lease is released or its file closed.** The registry's lock orders that and the
//!   reservation. Either the lease record is in use: F_UNLCK fails and the close orphans the
//!   record. Or the record does not exist any more, and the pin fails.

use super::{
    context::{
        Context,
        ContextId,
        Owner, //
    },
    deferred,
    folio_runs::{
        FolioRun, //
        Pool,
    },
    node_cache::PinNodes,
    registry::{
        self,
        Holding,
        HoldingKey,
        Registry,
        ReservationKey, //
    }, //
};
use crate::rust::{
    gup::PathRef,
    identity::InodeId,
    small_vec::SmallVec,
    vfs::errno::eopnotsupp, //
};
use core::ops::Range;
use kernel::{
    mm::Mm,
    prelude::*,
    rbtree::RBTreeNode,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

/// A reservation of a pin. Dropping it ends the reservation, unless all pages are on record.
///
/// # Invariants
///
/// The holding exists and counts this reservation, unless it is over.
pub(super) struct Reservation {
    key: ReservationKey,
    holding: HoldingKey,
    /// The record has replaced it.
    is_over: bool,
}

impl Reservation {
    /// Reserves pages of a file for a context. The current process must have a strong lease of one
    /// open file on all of the pages.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` without such a strong lease of this process; `EPERM` for a file that is
    /// immutable or append-only; `ENOMEM`.
    pub(super) fn new(
        owner: Owner,
        mm: Option<ARef<Mm>>,
        path: Arc<PathRef>,
        pages: Range<u64>,
    ) -> Result<Self> {
        let inode = InodeId::of(path.inode());
        // Values that are not needed are dropped after the lock is released.
        let mut mm = mm;
        let mut nodes = PinNodes::default();
        let mut guard = registry::lock();
        while !guard.as_mut().ok_or(ENODEV)?.node_cache.supply(&mut nodes) {
            drop(guard);
            nodes.complete()?;
            guard = registry::lock();
        }
        let registry = guard.as_mut().ok_or(ENODEV)?;
        let lease = registry
            .leases_of(inode)
            .find(|(_, lease)| lease.permits_pins(&pages))
            .map(|(id, _)| id)
            .ok_or_else(eopnotsupp)?;
        // The flags are set under the same lock.
        if path.inode().is_immutable() || path.inode().is_append_only() {
            return Err(EPERM);
        }

        let context = match registry.owners.get(&owner) {
            Some(&id) => id,
            None => {
                let id = ContextId(registry.next_id());
                if let (Some(context), Some(owner_node)) =
                    (nodes.context.take(), nodes.owner.take())
                {
                    registry.contexts.insert(context.into_node(
                        id,
                        Context {
                            owner,
                            _mm: mm.take(),
                            is_dead: false,
                            holdings: 0,
                        },
                    ));
                    registry.insert_owner(owner_node.into_node(owner, id), owner);
                }
                id
            }
        };
        let holding = (inode, context, lease);
        if registry.holdings.get(&holding).is_none() {
            if let (Some(holding_node), Some(by_context)) =
                (nodes.holding.take(), nodes.by_context.take())
            {
                let path = registry.shared_path(inode, &path);
                // The lease's descriptor is open for writing, so no process executes the file. None
                // may as long as a device may write to it.
                path.hold_write_access();
                registry
                    .holdings
                    .insert(holding_node.into_node(holding, Holding::new(path)));
                registry
                    .by_context
                    .insert(by_context.into_node((context, inode, lease), ()));
                if let Some(context) = registry.contexts.get_mut(&context) {
                    context.holdings += 1;
                }
            }
        }
        if let Some(holding) = registry.holdings.get_mut(&holding) {
            holding.reserved += 1;
        }
        registry.use_lease(holding);
        let key = (inode, registry.next_id());
        if let Some(reservation) = nodes.reservation.take() {
            registry
                .reservations
                .insert(reservation.into_node(key, (holding, pages)));
        }
        registry.node_cache.put(nodes);
        drop(guard);
        // INVARIANT: Counted above.
        Ok(Self {
            key,
            holding,
            is_over: false,
        })
    }

    /// Records pages that the kernel has pinned. If there are any, this ends the reservation: the
    /// record replaces it under the same lock.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; some pages may be on record then. The caller unpins all of the pages, which
    /// removes them from the record.
    pub(super) fn commit(&mut self, runs: &SmallVec<FolioRun>) -> Result {
        /// Number of runs that are recorded at a time, with interrupts disabled.
        const BATCH: usize = 64;

        let [first, rest] = runs.as_slices();
        if !first.is_empty() {
            self.commit_batch(first, rest.is_empty())?;
        }
        let mut rest = rest.chunks(BATCH);
        while let Some(batch) = rest.next() {
            self.commit_batch(batch, rest.len() == 0)?;
        }
        Ok(())
    }

    /// Removes the reservation from the registry.
    fn end(&mut self, registry: &mut Registry) {
        self.is_over = true;
        if let Some(holding) = registry.holdings.get_mut(&self.holding) {
            holding.reserved -= 1;
            registry.dead.queue_dead(self.holding, holding);
        }
        registry.unuse_lease(self.holding);
        let node = registry.reservations.remove_node(&self.key);
        registry
            .node_cache
            .put_reservation(node.map(RBTreeNode::into_reservation));
    }

    fn commit_batch(&mut self, new: &[FolioRun], is_last: bool) -> Result {
        let mut more = None;
        loop {
            // Dropped after the lock is released.
            let _surplus;
            let mut guard = registry::lock();
            let registry = guard.as_mut().ok_or(ENODEV)?;
            let holding = registry.holdings.get_mut(&self.holding).ok_or(ENOENT)?;
            let runs = &mut holding.runs;
            let pool = &mut registry.pool;
            _surplus = more.take().map(|more| pool.bring(more));
            let wanted = new.iter().map(|run| runs.nodes_for(run)).sum();
            let missing = pool.missing(wanted);
            if missing == 0 {
                let was_empty = runs.is_empty();
                for run in new {
                    runs.add(*run, pool);
                }
                pool.trim();
                if was_empty {
                    registry.use_lease(self.holding);
                }
                if is_last {
                    // The new record keeps the holding alive.
                    self.end(registry);
                }
                return Ok(());
            }
            drop(guard);
            // Other tasks may take or add nodes meanwhile, therefore the loop.
            more = Some(Pool::more(wanted, missing)?);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut guard = registry::lock();
        let Some(registry) = guard.as_mut() else {
            return;
        };
        self.end(registry);
        let dead = !registry.dead.is_empty();
        drop(guard);
        if dead {
            deferred::reap_soon();
        }
    }
}
