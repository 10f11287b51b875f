// SPDX-License-Identifier: GPL-2.0

//! Contexts that share the pins of another.
//!
//! A ring of io_uring can clone the buffers of another one. On record the pins stay the other's,
//! but they last until both rings have unregistered them. So the ring with the clones is listed as
//! a holder, too, until it is closed or the pins end. An earlier unregistration of the clones is
//! not seen.

use super::{
    context::{
        self,
        ContextId,
        Owner, //
    },
    registry::{
        self,
        key_after,
        key_from,
        Registry, //
    }, //
};
use crate::rust::{
    identity::FileId,
    uring::Clones, //
};
use kernel::{
    ffi::c_int,
    prelude::*,
    rbtree::RBTreeNodeReservation, //
};

/// Key of a share: the file, and the context whose pins it shares.
pub(super) type ShareKey = (FileId, ContextId);

/// Handles `IORING_REGISTER_CLONE_BUFFERS`.
pub(super) struct Shares;

impl Clones for Shares {
    fn wanted() -> bool {
        registry::any()
    }

    fn clone(to: FileId, from: FileId, original: impl FnOnce() -> c_int) -> c_int {
        // Nearly all calls need one node. A ring that clones clones of several others, and finds no
        // memory for the rest, is not listed for these.
        let mut node = match RBTreeNodeReservation::new(GFP_KERNEL) {
            Ok(node) => Some(node),
            Err(err) => return err.to_errno(),
        };
        let ret = original();
        if ret != 0 || to == from {
            return ret;
        }
        // The source's buffers may have been registered while the original waited for its lock, so
        // contexts are looked up after it. The source is open, so `may_be()` does not miss it.
        for_each_context(from, |context| {
            let node = node
                .take()
                .or_else(|| RBTreeNodeReservation::new(GFP_KERNEL).ok());
            if let Some(node) = node {
                share((to, context), node);
            }
        });
        ret
    }
}

/// Records that a file shares the pins of a context, unless these have ended.
fn share(key: ShareKey, node: RBTreeNodeReservation<ShareKey, ()>) {
    // A node that is not needed is dropped after the lock.
    let mut node = Some(node);
    if let Some(registry) = registry::lock().as_mut() {
        registry.end_shares(key.0, |registry, id| registry.contexts.get(&id).is_none());
        let is_news = registry.contexts.get(&key.1).is_some()
            && registry.owners.get(&Owner::File(key.0)) != Some(&key.1)
            && registry.shares.get(&key).is_none();
        if let Some(node) = node.take_if(|_| is_news) {
            context::count_file(key.0);
            registry.shares.insert(node.into_node(key, ()));
        }
    }
}

/// Calls `each` for the context that a file is, and for those whose pins it shares.
pub(super) fn for_each_context(file: FileId, mut each: impl FnMut(ContextId)) {
    if !context::may_be(file) {
        return;
    }
    let own = match registry::lock().as_ref() {
        Some(registry) => registry.owners.get(&Owner::File(file)).copied(),
        None => None,
    };
    if let Some(own) = own {
        each(own);
    }
    let mut last = ContextId::FIRST;
    while let Some(context) = next_share(file, last) {
        each(context);
        last = context;
    }
}

fn next_share(file: FileId, last: ContextId) -> Option<ContextId> {
    let guard = registry::lock();
    let (of, context) = key_after(&guard.as_ref()?.shares, (file, last))?;
    (of == file).then_some(context)
}

impl Registry {
    /// Removes all shares. There are no pins.
    pub(super) fn end_all_shares(&mut self) {
        while let Some(key) = key_from(&self.shares, (FileId::FIRST, ContextId::FIRST)) {
            self.shares.remove(&key);
            context::uncount_file(key.0);
        }
    }

    /// Removes the shares of a file in contexts that `condition` holds for.
    pub(super) fn end_shares(
        &mut self,
        file: FileId,
        condition: impl Fn(&Self, ContextId) -> bool,
    ) {
        let mut last = (file, ContextId::FIRST);
        while let Some(key) = key_after(&self.shares, last).filter(|key| key.0 == file) {
            if condition(self, key.1) {
                self.shares.remove(&key);
                context::uncount_file(file);
            }
            last = key;
        }
    }
}
