// SPDX-License-Identifier: GPL-2.0

//! Contexts: owners of long-term pins.
//!
//! A context is an open file if the pin was requested through one (a ring of io_uring, a context of
//! the RDMA verbs, a socket), else the address space. No reference to the file is kept, because its
//! release unpins. Instead its end is observed ([`close`]). A context whose file has ended is
//! *dead*; it may have pins for some time if deferred work releases them. The next file at the same
//! address is another context.

use super::registry::{
    self,
    HoldingKey,
    Registry, //
};
use crate::rust::identity::{
    FileId,
    MmId, //
};
use kernel::{
    mm::Mm,
    rbtree::RBTreeNode,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        }, //
    }, //
};

/// Identifies a context. Numbers are not used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContextId(pub(super) u64);

impl ContextId {
    pub(super) const FIRST: Self = Self(0);
    pub(super) const LAST: Self = Self(u64::MAX);
}

/// The owner of a context's pins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// An open file.
    File(FileId),
    /// An address space.
    Mm(MmId),
}

/// A context with pins.
pub(super) struct Context {
    pub(super) owner: Owner,
    /// Keeps the identity of the address space from being reused, if it is the owner.
    pub(super) _mm: Option<ARef<Mm>>,
    /// The file has been closed for the last time.
    pub(super) is_dead: bool,
    /// Number of holdings.
    pub(super) holdings: usize,
}

/// Number of open files that are contexts or share one, by a hash of the file. Every close in the
/// system comes here, and for most files this answers without the lock.
static FILES: [Atomic<u32>; 64] = [const { Atomic::new(0) }; 64];

fn files(owner: Owner) -> Option<&'static Atomic<u32>> {
    match owner {
        Owner::File(file) => Some(&FILES[file.hash() as usize % FILES.len()]),
        Owner::Mm(_) => None,
    }
}

/// Returns whether a file may be a context, or share the pins of one.
pub(super) fn may_be(file: FileId) -> bool {
    files(Owner::File(file)).is_some_and(|files| files.load(Relaxed) != 0)
}

/// Makes [`may_be`] true for a file that shares the pins of a context.
pub(super) fn count_file(file: FileId) {
    if let Some(files) = files(Owner::File(file)) {
        files.add(1, Relaxed);
    }
}

/// Reverses [`count_file`].
pub(super) fn uncount_file(file: FileId) {
    if let Some(files) = files(Owner::File(file)) {
        files.fetch_sub(1, Relaxed);
    }
}

impl Registry {
    /// Makes a context known by its owner.
    pub(super) fn insert_owner(&mut self, node: RBTreeNode<Owner, ContextId>, owner: Owner) {
        if let Some(files) = files(owner) {
            files.add(1, Relaxed);
        }
        // The key is new, so no node is replaced.
        self.owners.insert(node);
    }

    /// Removes a context's owner. The caller may keep the node, and only frees memory by dropping
    /// it.
    pub(super) fn remove_owner(&mut self, owner: Owner) -> Option<RBTreeNode<Owner, ContextId>> {
        let node = self.owners.remove_node(&owner)?;
        if let Some(files) = files(owner) {
            files.fetch_sub(1, Relaxed);
        }
        Some(node)
    }
}

/// Marks the context of an open file dead, because the file is about to be released. May be called
/// in any context.
///
/// A context is inserted while a system call holds the file. The file comes here after that call
/// has dropped it, so [`may_be`] does not miss the count.
pub(super) fn close(file: FileId) {
    if !may_be(file) {
        return;
    }
    if let Some(registry) = registry::lock().as_mut() {
        registry.end_shares(file, |_, _| true);
        if let Some(node) = registry.remove_owner(Owner::File(file)) {
            let (_, id) = node.to_key_value();
            if let Some(context) = registry.contexts.get_mut(&id) {
                context.is_dead = true;
            }
        }
    }
}

/// The contexts that lose references at an unpin, in the order in which they are tried.
#[derive(Clone, Copy)]
pub(super) enum Preference {
    /// The context of the current system call.
    Caller(ContextId),
    /// Contexts whose file has ended: their pins are being released.
    Dead,
    /// Any.
    Any,
}

impl Preference {
    pub(super) fn includes(self, (_, id, _): HoldingKey, registry: &Registry) -> bool {
        match self {
            Preference::Caller(caller) => id == caller,
            Preference::Dead => registry
                .contexts
                .get(&id)
                .is_some_and(|context| context.is_dead),
            Preference::Any => true,
        }
    }
}
