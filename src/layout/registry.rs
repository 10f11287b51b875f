// SPDX-License-Identifier: GPL-2.0

//! The tables of leases and pins, under one lock.
//!
//! A *holding* has the pins of one context on one file under one lease. While pages are pinned or
//! *reserved* (a pin is being taken), the holding keeps the path of the file, and with it the
//! inode, the mount and the module.
//!
//! A holding ends in two steps, because the last unpin may come from an interrupt handler, and
//! dropping a path may sleep. The unpin puts the holding on a list ([`Registry::dead`]), and
//! [`super::deferred`] takes it down. From the first step on, the holding does not count.
//!
//! There may be many holdings. One with a single run takes at most 224 bytes: nodes of 128 and 64
//! bytes for itself and its context's list, and 32 bytes for the path.

use super::{
    context::{
        Context,
        ContextId,
        Owner, //
    },
    folio_runs::{
        FolioRuns, //
        Pool,
    },
    lease_state::{
        LeaseId, //
        LeaseRecord,
    },
    node_cache::NodeCache,
    uring_clones::ShareKey, //
};
use crate::rust::{
    gup::PathRef,
    hook::Observer,
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
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// Identifies a lease record, ordered by inode.
pub(super) type LeaseKey = (InodeId, LeaseId);

/// Identifies a holding, ordered by inode.
pub(super) type HoldingKey = (InodeId, ContextId, LeaseId);

/// Identifies a holding, ordered by context.
pub(super) type ContextKey = (ContextId, InodeId, LeaseId);

/// Identifies a reservation, ordered by inode.
pub(super) type ReservationKey = (InodeId, u64);

/// A reservation: the context and lease, and the pages of the file.
pub(super) type Reserved = (HoldingKey, Range<u64>);

/// Terminates the list of dead holdings.
const NONE: HoldingKey = (InodeId::FIRST, ContextId::FIRST, LeaseId::FIRST);

/// The pins of a context on a file under a lease.
pub(super) struct Holding {
    /// Shared, because cloning a path takes locks that must not be taken under the registry's lock.
    pub(super) path: Arc<PathRef>,
    pub(super) runs: FolioRuns,
    /// Number of reservations.
    pub(super) reserved: u32,
    /// Whether it is on the list of dead holdings.
    is_listed: bool,
    /// The next one on that list, or [`NONE`].
    next_dead: HoldingKey,
}

impl Holding {
    /// Returns a holding without pins.
    pub(super) fn new(path: Arc<PathRef>) -> Self {
        Self {
            path,
            runs: FolioRuns::new(),
            reserved: 0,
            is_listed: false,
            next_dead: NONE,
        }
    }

    /// Returns whether there are no pins and no reservations.
    fn is_over(&self) -> bool {
        self.reserved == 0 && self.runs.is_empty()
    }
}

/// Holdings without pins, to be removed. The list is linked through the holdings, so that adding
/// one needs no memory. They stay in their tree meanwhile.
pub(super) struct DeadList {
    first: HoldingKey,
}

impl DeadList {
    pub(super) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// Puts a holding on the list if it has no pins or reservations.
    pub(super) fn queue_dead(&mut self, key: HoldingKey, holding: &mut Holding) {
        if !holding.is_listed && holding.is_over() {
            holding.is_listed = true;
            holding.next_dead = core::mem::replace(&mut self.first, key);
        }
    }
}

/// Inodes with an unpin that could not be attributed, and how often their pins are still to be
/// compared with the kernel's counts.
///
/// They are few, and are added where there may be no memory. Without memory all inodes are checked.
pub(super) struct Doubts {
    some: RBTree<InodeId, u8>,
    all: u8,
}

impl Doubts {
    fn new() -> Self {
        Self {
            some: RBTree::new(),
            all: 0,
        }
    }

    /// Schedules so many comparisons of the pins of an inode. May be called in any context.
    pub(super) fn add(&mut self, inode: InodeId, checks: u8) {
        if let Some(left) = self.some.get_mut(&inode) {
            *left = checks;
            return;
        }
        match RBTreeNode::new(inode, checks, GFP_ATOMIC | __GFP_NOWARN) {
            Ok(node) => {
                self.some.insert(node);
            }
            Err(_) => self.all = checks,
        }
    }

    /// Returns whether all inodes are to be checked, and counts the check.
    pub(super) fn take_all(&mut self) -> bool {
        let all = self.all != 0;
        self.all = self.all.saturating_sub(1);
        all
    }

    /// Returns the next inode to be checked, and counts the check.
    pub(super) fn take_after(&mut self, last: InodeId) -> Option<InodeId> {
        let inode = key_after(&self.some, last)?;
        let left = self.some.get_mut(&inode)?;
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.some.remove(&inode);
        }
        Some(inode)
    }

    /// Returns whether no inode is to be checked any more.
    pub(super) fn is_empty(&self) -> bool {
        self.all == 0 && self.some.is_empty()
    }
}

/// All leases and pins.
pub(crate) struct Registry {
    pub(super) leases: RBTree<LeaseKey, LeaseRecord>,
    pub(super) contexts: RBTree<ContextId, Context>,
    /// The contexts that are alive, by owner.
    pub(super) owners: RBTree<Owner, ContextId>,
    pub(super) holdings: RBTree<HoldingKey, Holding>,
    pub(super) by_context: RBTree<ContextKey, ()>,
    /// Files that share the pins of a context.
    pub(super) shares: RBTree<ShareKey, ()>,
    /// Pins that are being taken.
    pub(super) reservations: RBTree<ReservationKey, Reserved>,
    pub(super) dead: DeadList,
    pub(super) doubts: Doubts,
    /// Tasks that break leases, with the pages that they are about to free or move.
    pub(super) breakers: RBTree<TaskId, (InodeId, Range<u64>)>,
    /// Memory for the runs of all holdings.
    pub(super) pool: Pool,
    /// Memory for the rest.
    pub(super) node_cache: NodeCache,
    /// Observes unpins. [`None`] if the kernel lacks a hook point for it.
    pub(super) observer: Option<Arc<Observer>>,
    /// The next number of a lease record, context or reservation.
    next_id: u64,
}

impl Registry {
    fn new(observer: Option<Arc<Observer>>) -> Result<Self> {
        Ok(Self {
            observer,
            pool: Pool::new(),
            node_cache: NodeCache::new()?,
            leases: RBTree::new(),
            contexts: RBTree::new(),
            owners: RBTree::new(),
            holdings: RBTree::new(),
            by_context: RBTree::new(),
            shares: RBTree::new(),
            reservations: RBTree::new(),
            dead: DeadList { first: NONE },
            doubts: Doubts::new(),
            breakers: RBTree::new(),
            next_id: 1,
        })
    }

    /// Returns a number that was not used before.
    pub(super) fn next_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    pub(super) fn insert_lease(&mut self, node: RBTreeNode<LeaseKey, LeaseRecord>) {
        LEASES.add(1, Relaxed);
        // The key is new, so no node is replaced.
        self.leases.insert(node);
    }

    /// Removes a lease record. The caller drops it without the lock.
    pub(super) fn remove_lease(
        &mut self,
        key: &LeaseKey,
    ) -> Option<RBTreeNode<LeaseKey, LeaseRecord>> {
        let node = self.leases.remove_node(key)?;
        LEASES.fetch_sub(1, Relaxed);
        Some(node)
    }

    /// Returns the holdings of pages of an inode.
    pub(super) fn holdings_of(
        &self,
        inode: InodeId,
    ) -> impl Iterator<Item = (HoldingKey, &Holding)> {
        range(&self.holdings, (inode, ContextId::FIRST, LeaseId::FIRST))
            .take_while(move |((of, _, _), _)| *of == inode)
    }

    /// Calls a function for each holding of pages of an inode.
    pub(super) fn for_each_holding(
        &mut self,
        inode: InodeId,
        mut each: impl FnMut(HoldingKey, &mut Holding),
    ) {
        let first = (inode, ContextId::FIRST, LeaseId::FIRST);
        let mut next = self.holdings.cursor_lower_bound_mut(&first);
        while let Some(mut cursor) = next {
            let (key, holding) = cursor.current_mut();
            if key.0 != inode {
                return;
            }
            each(*key, holding);
            next = cursor.move_next();
        }
    }

    /// Returns the path that a new holding is to keep: that of another if it is the same, as many
    /// may have pinned one file.
    pub(super) fn shared_path(&self, inode: InodeId, path: &Arc<PathRef>) -> Arc<PathRef> {
        match self.holdings_of(inode).next() {
            Some((_, other)) if other.path.is_same(path) => other.path.clone(),
            _ => path.clone(),
        }
    }

    /// Returns whether pages of an inode are pinned, or about to be.
    pub(crate) fn is_pinned(&self, inode: InodeId, pages: &Range<u64>) -> bool {
        range(&self.reservations, (inode, 0))
            .take_while(|((of, _), _)| *of == inode)
            .any(|(_, (_, reserved))| overlap(reserved, pages))
            || self.pinned_part(inode, pages).is_some()
    }

    /// Returns pages of an inode that are pinned and on record, some of those that hold pages of a
    /// range, if there are any.
    pub(crate) fn pinned_part(&self, inode: InodeId, pages: &Range<u64>) -> Option<Range<u64>> {
        self.holdings_of(inode)
            .find_map(|(_, holding)| holding.runs.touching(pages))
    }

    /// Returns whether pages are pinned under a lease, or about to be.
    pub(super) fn is_pinned_under(&self, (inode, lease): LeaseKey, pages: &Range<u64>) -> bool {
        range(&self.reservations, (inode, 0))
            .take_while(|((of, _), _)| *of == inode)
            .any(|(_, (holding, reserved))| holding.2 == lease && overlap(reserved, pages))
            || self
                .holdings_of(inode)
                .any(|((_, _, under), holding)| under == lease && holding.runs.touch(pages))
    }

    /// Counts a reservation or a holding's first pin against the lease.
    pub(super) fn use_lease(&mut self, (inode, _, lease): HoldingKey) {
        if let Some(lease) = self.leases.get_mut(&(inode, lease)) {
            lease.uses += 1;
        }
    }

    /// Reverses [`Registry::use_lease`].
    pub(super) fn unuse_lease(&mut self, (inode, _, lease): HoldingKey) {
        if let Some(lease) = self.leases.get_mut(&(inode, lease)) {
            lease.uses -= 1;
        }
    }

    /// Puts a holding on the list of dead ones if it has no pins or reservations.
    pub(super) fn queue_dead(&mut self, key: HoldingKey) {
        if let Some(holding) = self.holdings.get_mut(&key) {
            self.dead.queue_dead(key, holding);
        }
    }

    /// Removes holdings from the list of dead ones up to the first that still has no pins.
    pub(super) fn pop_dead(&mut self) -> Option<HoldingKey> {
        while !self.dead.is_empty() {
            let key = self.dead.first;
            let holding = self.holdings.get_mut(&key)?;
            self.dead.first = holding.next_dead;
            holding.is_listed = false;
            // Otherwise it has got pins or reservations again.
            if holding.is_over() {
                return Some(key);
            }
        }
        None
    }
}

static REGISTRY: IrqLock<Option<Registry>> = IrqLock::new(c"pinfs_registry", None);

/// Number of lease records, read without the lock. While it is zero, nothing is leased or pinned.
static LEASES: Atomic<usize> = Atomic::new(0);

/// Takes the registry's lock. There is a registry as long as the module is loaded.
pub(crate) fn lock() -> IrqGuard<Option<Registry>> {
    REGISTRY.lock()
}

/// Returns whether there is any lease or pin, without the lock.
///
/// The answer may be outdated at once. It is for callers that may as well have looked a moment
/// earlier.
pub(crate) fn any() -> bool {
    LEASES.load(Relaxed) != 0
}

/// The registry, as long as the value lives.
pub(super) struct Open;

impl Open {
    /// Opens the registry.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(observer: Option<Arc<Observer>>) -> Result<Self> {
        let registry = Registry::new(observer)?;
        *REGISTRY.lock() = Some(registry);
        Ok(Self)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let registry = REGISTRY.lock().take();
        drop(registry);
    }
}

/// Returns whether two ranges have pages in common.
pub(super) fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Returns the entries of a tree from `first` on.
pub(super) fn range<K: Copy + Ord, V>(
    tree: &RBTree<K, V>,
    first: K,
) -> impl Iterator<Item = (K, &V)> {
    let mut last = None;
    core::iter::from_fn(move || {
        let key = match last {
            None => key_from(tree, first),
            Some(last) => key_after(tree, last),
        }?;
        last = Some(key);
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
