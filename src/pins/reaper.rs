// SPDX-License-Identifier: GPL-2.0

//! What is left to do after a pin has ended, where it may sleep.
//!
//! * [`Reap`] takes down holdings without pins, and with the last of an orphaned lease the grant.
//! * [`Check`] compares holdings with the kernel's counts, after an unpin was seen that could not
//!   be told from somebody else's.
//! * [`Linger`] stops observing unpins some time after the last pin.

use super::{
    context::ContextId,
    grant::GrantId,
    registry::{
        self,
        key_from,
        HoldingKey,
        Registry, //
    },
    unpin,
    watch, //
};
use crate::{
    identity::InodeId,
    work::{
        Armed,
        Deferred,
        Job, //
    }, //
};

/// How long the unpin functions stay observed after the last pin, in milliseconds: who pins and
/// unpins in turn should not have code patched each time.
const LINGER_MS: u32 = 1000;

/// How soon a doubtful holding is looked at again, in milliseconds.
const CHECK_MS: u32 = 20;

/// How often.
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
    pub(super) fn new() -> Self {
        Self {
            _reap: REAP.arm(),
            _check: CHECK.arm(),
            _linger: LINGER.arm(),
        }
    }
}

/// Has holdings without pins taken down. May be called in any context.
pub(super) fn reap_soon() {
    REAP.run_soon();
}

/// Has the observation of unpins stopped some time later, if there is nothing to unpin then.
pub(super) fn linger() {
    LINGER.run_after(LINGER_MS);
}

/// Has doubtful holdings looked at. May be called in any context.
pub(super) fn check_soon() {
    CHECK.run_after(CHECK_MS);
}

struct Reap;

impl Job for Reap {
    fn run() {
        loop {
            // The lock is given back at the end of the statement: what follows may sleep.
            let removed = registry::lock().as_mut().and_then(take_down);
            if removed.is_none() {
                break;
            }
        }
        linger();
    }
}

/// Takes one dead holding out, and returns all that belonged to it.
fn take_down(registry: &mut Registry) -> Option<impl Sized> {
    let key = registry
        .dead
        .cursor_front()
        .map(|cursor| *cursor.current().0)?;
    let link = registry.dead.remove_node(&key)?.into_reservation();
    let (inode, context, grant) = key;
    if let Some(holding) = registry.holdings.get_mut(&key) {
        if holding.reserved != 0 || !holding.runs.is_empty() {
            // It has come to life again.
            holding.dead = Some(link);
            return Some((None, None, None, None, None, None, None));
        }
    }
    let holding = registry.holdings.remove_node(&key);
    let doubt = registry.doubts.remove_node(&key);
    let by_context = registry.by_context.remove_node(&(context, inode, grant));
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
    let grant_node = match registry.grants.get(&(inode, grant)) {
        Some(entry) if !entry.is_alive() => registry.remove_grant(&(inode, grant)),
        _ => None,
    };
    Some((
        holding,
        doubt,
        by_context,
        context_node,
        owner_node,
        grant_node,
        Some(link),
    ))
}

struct Check;

impl Job for Check {
    fn run() {
        let mut next: Option<HoldingKey> = None;
        let mut again = false;
        while let Some((key, more)) = next_doubt(next) {
            unpin::reconcile_holding(key);
            again |= more;
            next = Some(key);
        }
        if again {
            check_soon();
        }
    }
}

struct Linger;

impl Job for Linger {
    fn run() {
        // If there is, the end of that brings this job back.
        watch::stop_if_idle();
    }
}

/// Returns the next doubtful holding, and whether it is to be looked at another time.
fn next_doubt(last: Option<HoldingKey>) -> Option<(HoldingKey, bool)> {
    let mut guard = registry::lock();
    let registry = guard.as_mut()?;
    let key = match last {
        None => registry
            .doubts
            .cursor_front()
            .map(|cursor| *cursor.current().0),
        Some(last) => registry::key_after(&registry.doubts, last),
    }?;
    let holding = registry.holdings.get_mut(&key)?;
    holding.checks = holding.checks.saturating_sub(1);
    if holding.checks != 0 {
        return Some((key, true));
    }
    if let Some(node) = registry.doubts.remove_node(&key) {
        if let Some(holding) = registry.holdings.get_mut(&key) {
            holding.doubt = Some(node.into_reservation());
        }
    }
    Some((key, false))
}

/// Compares all holdings of pages of an inode with the kernel's counts.
pub(crate) fn settle(inode: InodeId) {
    if !registry::any() {
        return;
    }
    let mut next = (inode, ContextId::FIRST, GrantId::FIRST);
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
