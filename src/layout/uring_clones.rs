// SPDX-License-Identifier: GPL-2.0

//! Contexts that share the pins of another.
//!
//! A ring of io_uring can clone the buffers of another one. The pins stay the other's on record, but
//! they last until both have let go: so the ring with the clones is listed with them, too, until it
//! is closed, or they end. That it has given its clones back before is not known.

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

/// That a file shares the pins of a context.
pub(super) type ShareKey = (FileId, ContextId);

/// What hears of clones.
pub(super) struct Shares;

impl Clones for Shares {
    fn wanted() -> bool {
        registry::any()
    }

    fn clone(to: FileId, from: FileId, original: impl FnOnce() -> c_int) -> c_int {
        // For nearly all calls this is what is needed. A clone of many clones that finds no memory
        // later is only not listed.
        let mut node = match RBTreeNodeReservation::new(GFP_KERNEL) {
            Ok(node) => Some(node),
            Err(err) => return err.to_errno(),
        };
        let ret = original();
        if ret != 0 || to == from {
            return ret;
        }
        // The source's buffers may have been registered while the original waited for its lock, so
        // this comes second; as it is open, its context is not overlooked.
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

/// Notes that a file shares the pins of a context, unless they have ended.
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

/// Calls a function for each context that a file is or shares the pins of.
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
    /// Forgets what all files share, as there are no pins at all.
    pub(super) fn end_all_shares(&mut self) {
        while let Some(key) = key_from(&self.shares, (FileId::FIRST, ContextId::FIRST)) {
            self.shares.remove(&key);
            context::uncount_file(key.0);
        }
    }

    /// Forgets what a file shares, of the contexts that a condition holds for.
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
