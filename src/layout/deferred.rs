// SPDX-License-Identifier: GPL-2.0

//! Work after the end of a pin, deferred to where it may sleep.
//!
//! * [`Reap`] removes holdings without pins, and the record of an orphaned lease with its last one.
//! * [`Check`] compares pins with the kernel's counts, after an unpin that could not be attributed.
//! * [`Linger`] stops observing unpins some time after the last pin.

use super::{
    context::{
        Context,
        ContextId,
        Owner, //
    },
    lease_state::{
        LeaseId, //
        LeaseRecord,
    },
    node_cache::PinNodes,
    observer,
    registry::{
        self,
        key_after,
        key_from,
        ContextKey,
        Holding,
        HoldingKey,
        LeaseKey,
        Registry, //
    },
    unpin, //
};
use crate::rust::{
    identity::InodeId,
    work::{
        Armed,
        Deferred,
        Job, //
    }, //
};
use kernel::{
    prelude::*,
    rbtree::RBTreeNode, //
};

/// How long the unpin functions stay observed after the last pin, in milliseconds, so that a
/// program that pins and unpins in turn does not patch code each time.
const LINGER_MS: u32 = 1000;

/// Delay before doubtful pins are checked again, in milliseconds.
const CHECK_MS: u32 = 20;

/// Number of checks.
pub(super) const CHECKS: u8 = 5;

static REAP: Deferred<Reap> = Deferred::new();
static CHECK: Deferred<Check> = Deferred::new();
static LINGER: Deferred<Linger> = Deferred::new();

/// Lets the jobs run, as long as the value lives.
pub(super) struct Jobs {
    _reap: Armed<Reap>,
    _check: Armed<Check>,
    _linger: Armed<Linger>,
}

impl Jobs {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            _reap: REAP.arm()?,
            _check: CHECK.arm()?,
            _linger: LINGER.arm()?,
        })
    }
}

/// Schedules the removal of holdings without pins. May be called in any context.
pub(super) fn reap_soon() {
    REAP.run_soon();
}

/// Schedules the end of the observation of unpins, if there are no pins then.
pub(super) fn linger() {
    LINGER.run_after(LINGER_MS);
}

/// Schedules the check of doubtful pins. May be called in any context.
pub(super) fn check_soon() {
    CHECK.run_after(CHECK_MS);
}

struct Reap;

impl Job for Reap {
    fn run() {
        let mut nodes = PinNodes::default();
        loop {
            // The lock is released at the end of the statement; the rest may sleep.
            let removed = registry::lock().as_mut().and_then(|registry| {
                registry.node_cache.put(core::mem::take(&mut nodes));
                take_down(registry)
            });
            match removed {
                Some(removed) => nodes = removed.into_nodes(),
                None => break,
            }
        }
        linger();
    }
}

/// The nodes of a removed holding.
struct Removed {
    holding: Option<RBTreeNode<HoldingKey, Holding>>,
    by_context: Option<RBTreeNode<ContextKey, ()>>,
    context: Option<RBTreeNode<ContextId, Context>>,
    owner: Option<RBTreeNode<Owner, ContextId>>,
    _lease: Option<RBTreeNode<LeaseKey, LeaseRecord>>,
}

impl Removed {
    /// Drops the values, which may sleep, and returns the memory.
    fn into_nodes(self) -> PinNodes {
        PinNodes {
            holding: self.holding.map(RBTreeNode::into_reservation),
            by_context: self.by_context.map(RBTreeNode::into_reservation),
            context: self.context.map(RBTreeNode::into_reservation),
            owner: self.owner.map(RBTreeNode::into_reservation),
            reservation: None,
        }
    }
}

/// Removes one dead holding.
fn take_down(registry: &mut Registry) -> Option<Removed> {
    let key = registry.pop_dead()?;
    let (inode, context, lease) = key;
    let holding = registry.holdings.remove_node(&key);
    let by_context = registry.by_context.remove_node(&(context, inode, lease));
    let mut context_node = None;
    let mut owner_node = None;
    if let Some(entry) = registry.contexts.get_mut(&context) {
        entry.holdings -= 1;
        if entry.holdings == 0 {
            let owner = entry.owner;
            if registry.owners.get(&owner) == Some(&context) {
                owner_node = registry.remove_owner(owner);
            }
            context_node = registry.contexts.remove_node(&context);
        }
    }
    let lease_node = match registry.leases.get(&(inode, lease)) {
        Some(entry) if !entry.is_alive() => registry.remove_lease(&(inode, lease)),
        _ => None,
    };
    Some(Removed {
        holding,
        by_context,
        context: context_node,
        owner: owner_node,
        _lease: lease_node,
    })
}

struct Check;

impl Job for Check {
    fn run() {
        let all = registry::lock()
            .as_mut()
            .is_some_and(|registry| registry.doubts.take_all());
        let mut last = InodeId::FIRST;
        while let Some(inode) = next_doubtful(last, all) {
            reconcile(inode);
            last = inode;
        }
        let again = registry::lock()
            .as_ref()
            .is_some_and(|registry| !registry.doubts.is_empty());
        if again {
            check_soon();
        }
    }
}

/// Returns the next inode whose pins are to be compared with the kernel's counts.
fn next_doubtful(last: InodeId, all: bool) -> Option<InodeId> {
    let mut guard = registry::lock();
    let registry = guard.as_mut()?;
    if !all {
        return registry.doubts.take_after(last);
    }
    let last = (last, ContextId::LAST, LeaseId::LAST);
    Some(key_after(&registry.holdings, last)?.0)
}

struct Linger;

impl Job for Linger {
    fn run() {
        // The end of a pin that exists queues this job again.
        observer::stop_if_idle();
    }
}

/// Compares all holdings of pages of an inode with the kernel's counts.
pub(crate) fn reconcile(inode: InodeId) {
    if !registry::any() {
        return;
    }
    let mut next = (inode, ContextId::FIRST, LeaseId::FIRST);
    loop {
        let key = match registry::lock().as_ref() {
            Some(registry) => key_from(&registry.holdings, next),
            None => None,
        };
        match key {
            Some(key) if key.0 == inode => {
                unpin::reconcile_holding(key);
                next = (inode, key.1, key.2.next());
            }
            _ => return,
        }
    }
}
