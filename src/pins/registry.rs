// SPDX-License-Identifier: GPL-2.0

//! The tables of leases and pins, under one lock.
//!
//! A *holding* is what one context has pinned of one file under one lease. While anything is
//! pinned, or a pin is on its way (*reserved*), the holding keeps the path of the file and with it
//! the inode, the mount and the module.
//!
//! The end of a holding comes in two steps, as the last unpin may be one in an interrupt handler,
//! and dropping a path may sleep: the unpin puts the holding on a list ([`Registry::dead`]), and
//! [`super::reaper`] takes it down. From the first step on, the holding is in nobody's way.

use super::{
    context::{
        Context,
        ContextId,
        Owner, //
    },
    grant::{
        Grant,
        GrantId, //
    },
    runs::{
        Pool,
        Runs, //
    },
    watch::Unpin, //
};
use crate::{
    gup::PathRef,
    identity::{
        InodeId,
        TaskId, //
    },
    irq::{
        IrqGuard,
        IrqLock, //
    }, //
};
use core::ops::Range;
use kernel::{
    rbtree::{
        RBTree,
        RBTreeNode,
        RBTreeNodeReservation, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// Identifies a grant, ordered by inode.
pub(super) type GrantKey = (InodeId, GrantId);

/// Identifies a holding, ordered by inode.
pub(super) type HoldingKey = (InodeId, ContextId, GrantId);

/// The same, ordered by context.
pub(super) type ContextKey = (ContextId, InodeId, GrantId);

/// Identifies a pin that is on its way, ordered by inode.
pub(super) type ReservationKey = (InodeId, u64);

/// Memory to put a holding on a list with.
pub(super) type Link = RBTreeNodeReservation<HoldingKey, ()>;

/// What a context has pinned of a file under a lease.
pub(super) struct Holding {
    /// Shared, because cloning the path itself takes locks that interrupt handlers must not wait
    /// for.
    pub(super) path: Arc<PathRef>,
    pub(super) runs: Runs,
    /// Number of reservations.
    pub(super) reserved: usize,
    /// For [`Registry::dead`]; gone while the holding is there.
    pub(super) dead: Option<Link>,
    /// For [`Registry::doubts`]; gone while the holding is there.
    pub(super) doubt: Option<Link>,
    /// How often the holding is still to be compared with the kernel's counts.
    pub(super) checks: u8,
}

/// Everything that is known of leases and pins.
pub(crate) struct Registry {
    pub(super) grants: RBTree<GrantKey, Grant>,
    pub(super) contexts: RBTree<ContextId, Context>,
    /// The contexts that are alive, by what they are.
    pub(super) owners: RBTree<Owner, ContextId>,
    pub(super) holdings: RBTree<HoldingKey, Holding>,
    pub(super) by_context: RBTree<ContextKey, ()>,
    /// Pins on their way: the context and lease they are for, and the pages of the file.
    pub(super) reservations: RBTree<ReservationKey, (HoldingKey, Range<u64>)>,
    /// Holdings without pins, to be taken down.
    pub(super) dead: RBTree<HoldingKey, ()>,
    /// Holdings of which an unpin was seen that could not be told from somebody else's.
    pub(super) doubts: RBTree<HoldingKey, ()>,
    /// Tasks that break leases, with what they want to take away.
    pub(super) breakers: RBTree<TaskId, (InodeId, Range<u64>)>,
    /// Memory for the runs of all holdings.
    pub(super) pool: Pool,
    /// Observes unpins; missing if the kernel lacks what that takes.
    pub(super) observer: Option<Arc<Unpin>>,
    /// The next number of a grant, context or reservation.
    next_id: u64,
}

impl Registry {
    fn new(observer: Option<Arc<Unpin>>) -> Self {
        Self {
            observer,
            pool: Pool::new(),
            grants: RBTree::new(),
            contexts: RBTree::new(),
            owners: RBTree::new(),
            holdings: RBTree::new(),
            by_context: RBTree::new(),
            reservations: RBTree::new(),
            dead: RBTree::new(),
            doubts: RBTree::new(),
            breakers: RBTree::new(),
            next_id: 1,
        }
    }

    /// Returns a number that was not used before.
    pub(super) fn next_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    pub(super) fn insert_grant(&mut self, node: RBTreeNode<GrantKey, Grant>) {
        GRANTS.add(1, Relaxed);
        // The key is new, so no node is replaced.
        self.grants.insert(node);
    }

    /// Takes a grant out. The caller drops it without the lock.
    pub(super) fn remove_grant(&mut self, key: &GrantKey) -> Option<RBTreeNode<GrantKey, Grant>> {
        let node = self.grants.remove_node(key)?;
        GRANTS.fetch_sub(1, Relaxed);
        Some(node)
    }

    /// Returns the holdings of pages of an inode.
    pub(super) fn holdings_of(
        &self,
        inode: InodeId,
    ) -> impl Iterator<Item = (HoldingKey, &Holding)> {
        range(&self.holdings, (inode, ContextId::FIRST, GrantId::FIRST))
            .take_while(move |((of, _, _), _)| *of == inode)
    }

    /// Says whether pages of an inode are pinned, or about to be.
    pub(crate) fn is_pinned(&self, inode: InodeId, pages: &Range<u64>) -> bool {
        range(&self.reservations, (inode, 0))
            .take_while(|((of, _), _)| *of == inode)
            .any(|(_, (_, reserved))| reserved.start < pages.end && pages.start < reserved.end)
            || self
                .holdings_of(inode)
                .any(|(_, holding)| holding.runs.touch(pages))
    }

    /// Says whether pages are pinned under a lease, or about to be.
    pub(super) fn is_pinned_under(&self, (inode, grant): GrantKey, pages: &Range<u64>) -> bool {
        range(&self.reservations, (inode, 0))
            .take_while(|((of, _), _)| *of == inode)
            .any(|(_, (holding, reserved))| {
                holding.2 == grant && reserved.start < pages.end && pages.start < reserved.end
            })
            || self
                .holdings_of(inode)
                .any(|((_, _, under), holding)| under == grant && holding.runs.touch(pages))
    }

    /// Counts a reservation or a holding's first pin against the lease.
    pub(super) fn use_grant(&mut self, (inode, _, grant): HoldingKey) {
        if let Some(grant) = self.grants.get_mut(&(inode, grant)) {
            grant.uses += 1;
        }
    }

    /// Takes back what [`Registry::use_grant`] counted.
    pub(super) fn unuse_grant(&mut self, (inode, _, grant): HoldingKey) {
        if let Some(grant) = self.grants.get_mut(&(inode, grant)) {
            grant.uses -= 1;
        }
    }

    /// Puts a holding on the list of the dead, if nothing is left of it.
    pub(super) fn bury(&mut self, key: HoldingKey) {
        let Some(holding) = self.holdings.get_mut(&key) else {
            return;
        };
        if holding.reserved == 0 && holding.runs.is_empty() {
            if let Some(link) = holding.dead.take() {
                self.dead.insert(link.into_node(key, ()));
            }
        }
    }

    /// Puts a holding on the list of those to be compared with the kernel's counts.
    pub(super) fn doubt(&mut self, key: HoldingKey, checks: u8) {
        let Some(holding) = self.holdings.get_mut(&key) else {
            return;
        };
        holding.checks = checks;
        if let Some(link) = holding.doubt.take() {
            self.doubts.insert(link.into_node(key, ()));
        }
    }
}

static REGISTRY: IrqLock<Option<Registry>> = IrqLock::new(None);

/// Number of grants, to be read without the lock: while it is zero, nothing is leased or pinned.
static GRANTS: Atomic<usize> = Atomic::new(0);

/// Takes the registry's lock. There is a registry as long as the module is loaded.
pub(crate) fn lock() -> IrqGuard<Option<Registry>> {
    REGISTRY.lock()
}

/// Says whether there is any lease or pin at all.
///
/// What a caller learns here may be outdated at once; it is for those who would find nothing in
/// the registry if they looked a moment earlier.
pub(crate) fn any() -> bool {
    GRANTS.load(Relaxed) != 0
}

/// The registry, as long as the value lives.
pub(super) struct Open;

impl Open {
    pub(super) fn new(observer: Option<Arc<Unpin>>) -> Self {
        *REGISTRY.lock() = Some(Registry::new(observer));
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let registry = REGISTRY.lock().take();
        drop(registry);
    }
}

/// Returns what a tree holds from `first` on.
pub(super) fn range<K: Copy + Ord, V>(
    tree: &RBTree<K, V>,
    first: K,
) -> impl Iterator<Item = (K, &V)> {
    let mut next = tree
        .cursor_lower_bound(&first)
        .map(|cursor| *cursor.current().0);
    core::iter::from_fn(move || {
        let key = next?;
        next = tree
            .cursor_lower_bound(&key)
            .and_then(|cursor| cursor.peek_next().map(|(key, _)| *key));
        Some((key, tree.get(&key)?))
    })
}

/// Returns the first key of a tree that is not below `first`.
pub(super) fn key_from<K: Copy + Ord, V>(tree: &RBTree<K, V>, first: K) -> Option<K> {
    tree.cursor_lower_bound(&first)
        .map(|cursor| *cursor.current().0)
}

/// Returns the first key of a tree that is above `last`.
pub(super) fn key_after<K: Copy + Ord, V>(tree: &RBTree<K, V>, last: K) -> Option<K> {
    let cursor = tree.cursor_lower_bound(&last)?;
    let key = *cursor.current().0;
    if key > last {
        Some(key)
    } else {
        cursor.peek_next().map(|(key, _)| *key)
    }
}
