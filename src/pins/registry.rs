// SPDX-License-Identifier: GPL-2.0

//! The tables of leases and pins, under one lock.

use super::grant::{
    Grant,
    GrantId, //
};
use crate::{
    identity::InodeId,
    irq::{
        IrqGuard,
        IrqLock, //
    }, //
};
use kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// Identifies a grant, ordered by inode.
pub(super) type GrantKey = (InodeId, GrantId);

/// Everything that is known of leases and pins.
pub(crate) struct Registry {
    pub(super) grants: RBTree<GrantKey, Grant>,
    /// The number of the next grant.
    next_id: u64,
}

impl Registry {
    fn new() -> Self {
        Self {
            grants: RBTree::new(),
            next_id: 1,
        }
    }

    pub(super) fn next_grant_id(&mut self) -> GrantId {
        let id = self.next_id;
        self.next_id += 1;
        GrantId(id)
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
    pub(super) fn new() -> Self {
        *REGISTRY.lock() = Some(Registry::new());
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
