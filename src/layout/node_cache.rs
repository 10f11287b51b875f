// SPDX-License-Identifier: GPL-2.0

//! Memory for the nodes that a pin adds to the registry, kept from earlier pins.

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

/// At most one node for each tree. Dropping it only frees memory, which is allowed in any context.
#[derive(Default)]
pub(super) struct PinNodes {
    pub(super) context: Option<RBTreeNodeReservation<ContextId, Context>>,
    pub(super) owner: Option<RBTreeNodeReservation<Owner, ContextId>>,
    pub(super) holding: Option<RBTreeNodeReservation<HoldingKey, Holding>>,
    pub(super) by_context: Option<RBTreeNodeReservation<ContextKey, ()>>,
    pub(super) reservation: Option<RBTreeNodeReservation<ReservationKey, Reserved>>,
}

impl PinNodes {
    fn is_complete(&self) -> bool {
        self.context.is_some()
            && self.owner.is_some()
            && self.holding.is_some()
            && self.by_context.is_some()
            && self.reservation.is_some()
    }

    /// Allocates the missing nodes.
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
struct FreeList<K, V>(KVec<RBTreeNodeReservation<K, V>>);

impl<K, V> FreeList<K, V> {
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

/// Nodes of each tree.
pub(super) struct NodeCache {
    contexts: FreeList<ContextId, Context>,
    owners: FreeList<Owner, ContextId>,
    holdings: FreeList<HoldingKey, Holding>,
    by_context: FreeList<ContextKey, ()>,
    reservations: FreeList<ReservationKey, Reserved>,
}

impl NodeCache {
    /// Returns an empty cache.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            contexts: FreeList::new()?,
            owners: FreeList::new()?,
            holdings: FreeList::new()?,
            by_context: FreeList::new()?,
            reservations: FreeList::new()?,
        })
    }

    /// Adds missing nodes as far as the cache has them, and returns whether none is missing.
    pub(super) fn supply(&mut self, nodes: &mut PinNodes) -> bool {
        self.contexts.supply(&mut nodes.context);
        self.owners.supply(&mut nodes.owner);
        self.holdings.supply(&mut nodes.holding);
        self.by_context.supply(&mut nodes.by_context);
        self.reservations.supply(&mut nodes.reservation);
        nodes.is_complete()
    }

    /// Returns the memory of a reservation to the cache.
    pub(super) fn put_reservation(
        &mut self,
        node: Option<RBTreeNodeReservation<ReservationKey, Reserved>>,
    ) {
        self.reservations.put(node);
    }

    /// Returns unneeded nodes to the cache.
    pub(super) fn put(&mut self, nodes: PinNodes) {
        self.contexts.put(nodes.context);
        self.owners.put(nodes.owner);
        self.holdings.put(nodes.holding);
        self.by_context.put(nodes.by_context);
        self.reservations.put(nodes.reservation);
    }
}
