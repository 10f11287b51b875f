// SPDX-License-Identifier: GPL-2.0

//! Memory for what a pin adds to the registry, kept from the last pins for the next.

use super::{
    context::{
        Context,
        ContextId,
        Owner, //
    },
    registry::{
        ContextKey,
        Holding,
        HoldingKey,
        ReservationKey, //
        Reserved,
    }, //
};
use kernel::{
    prelude::*,
    rbtree::RBTreeNodeReservation, //
};

/// One node of each tree, as far as they are there. Dropping it only frees memory, which is allowed
/// in any context.
#[derive(Default)]
pub(super) struct Kit {
    pub(super) context: Option<RBTreeNodeReservation<ContextId, Context>>,
    pub(super) owner: Option<RBTreeNodeReservation<Owner, ContextId>>,
    pub(super) holding: Option<RBTreeNodeReservation<HoldingKey, Holding>>,
    pub(super) by_context: Option<RBTreeNodeReservation<ContextKey, ()>>,
    pub(super) reservation: Option<RBTreeNodeReservation<ReservationKey, Reserved>>,
}

impl Kit {
    fn is_complete(&self) -> bool {
        self.context.is_some()
            && self.owner.is_some()
            && self.holding.is_some()
            && self.by_context.is_some()
            && self.reservation.is_some()
    }

    /// Allocates what is not there.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn complete(&mut self) -> Result {
        fill(&mut self.context)?;
        fill(&mut self.owner)?;
        fill(&mut self.holding)?;
        fill(&mut self.by_context)?;
        fill(&mut self.reservation)
    }
}

fn fill<K, V>(node: &mut Option<RBTreeNodeReservation<K, V>>) -> Result {
    if node.is_none() {
        *node = Some(RBTreeNodeReservation::new(GFP_KERNEL)?);
    }
    Ok(())
}

/// Nodes of one tree.
struct Shelf<K, V>(KVec<RBTreeNodeReservation<K, V>>);

impl<K, V> Shelf<K, V> {
    /// Nodes that are kept.
    const ROOM: usize = 8;

    fn new() -> Result<Self> {
        Ok(Self(KVec::with_capacity(Self::ROOM, GFP_KERNEL)?))
    }

    fn supply(&mut self, node: &mut Option<RBTreeNodeReservation<K, V>>) {
        if node.is_none() {
            *node = self.0.pop();
        }
    }

    fn put(&mut self, node: Option<RBTreeNodeReservation<K, V>>) {
        if let Some(node) = node {
            // If there are too many it is dropped.
            let _ = self.0.push_within_capacity(node);
        }
    }
}

/// Some of each.
pub(super) struct Stock {
    contexts: Shelf<ContextId, Context>,
    owners: Shelf<Owner, ContextId>,
    holdings: Shelf<HoldingKey, Holding>,
    by_context: Shelf<ContextKey, ()>,
    reservations: Shelf<ReservationKey, Reserved>,
}

impl Stock {
    /// Returns an empty stock.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            contexts: Shelf::new()?,
            owners: Shelf::new()?,
            holdings: Shelf::new()?,
            by_context: Shelf::new()?,
            reservations: Shelf::new()?,
        })
    }

    /// Adds what a kit lacks, as far as it is there, and says whether the kit is complete then.
    pub(super) fn supply(&mut self, kit: &mut Kit) -> bool {
        self.contexts.supply(&mut kit.context);
        self.owners.supply(&mut kit.owner);
        self.holdings.supply(&mut kit.holding);
        self.by_context.supply(&mut kit.by_context);
        self.reservations.supply(&mut kit.reservation);
        kit.is_complete()
    }

    /// Puts back the memory of a reservation.
    pub(super) fn put_reservation(
        &mut self,
        node: Option<RBTreeNodeReservation<ReservationKey, Reserved>>,
    ) {
        self.reservations.put(node);
    }

    /// Puts back what was not needed, or is not any more.
    pub(super) fn put(&mut self, kit: Kit) {
        self.contexts.put(kit.context);
        self.owners.put(kit.owner);
        self.holdings.put(kit.holding);
        self.by_context.put(kit.by_context);
        self.reservations.put(kit.reservation);
    }
}
