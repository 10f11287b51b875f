// SPDX-License-Identifier: GPL-2.0

//! Grants: what a layout lease is to the registry.
//!
//! # States of a lease
//!
//! ```text
//!              take()                 last close, pins alive
//!    (none) ----------> Active ---------------------------------> Orphaned
//!                        |  ^                                        |
//!      F_UNLCK, no pins; |  | convert()                              | last unpin
//!      last close, none; |  | (re-issued on the same file)           |
//!      break timed out   |  |                                        |
//!                        v  |                                        v
//!                       gone                                       gone
//! ```
//!
//! * **Active**: the open file holds the lease. Its process may pin under it, if it is strong.
//! * **Orphaned**: the file is closed and unmapped, and pins taken under the lease live on. The
//!   lease keeps its force against others until the last of them ends, but nobody can pin under it
//!   any more. Only a strong lease gets here, as a breakable one has no pins.
//! * Gone: an orphaned grant without pins counts as gone at once; its memory goes a little later.
//!
//! Transitions happen under the registry's lock, so that a pin is either reserved before the lease
//! stops being active (then F_UNLCK is refused and a close orphans it) or finds it so.

use super::registry::{
    self,
    GrantKey,
    Registry, //
};
use crate::identity::{
    FileId,
    InodeId,
    ThreadGroup, //
};
use kernel::{
    prelude::*,
    rbtree::{
        RBTreeNode,
        RBTreeNodeReservation, //
    }, //
};

/// What a lease is good for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `F_LAYOUT`: the holder is told when the layout is to change. Any number at a time.
    Breakable,
    /// `F_LAYOUT|F_EXCLUSIVE`: the layout does not change. One at a time.
    Exclusive,
    /// `F_LAYOUT|F_UNBREAK`: the layout does not change. Any number at a time.
    Unbreakable,
}

impl Kind {
    /// Says whether the lease keeps the layout as it is, so that pages may be pinned under it.
    pub(crate) fn is_strong(self) -> bool {
        self != Kind::Breakable
    }

    /// Says whether leases of these kinds can be held by two files at the same time.
    pub(super) fn admits(self, other: Kind) -> bool {
        self != Kind::Exclusive && other != Kind::Exclusive
    }

    /// The kind's name in the global table, `-` for what no pin can be under.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Breakable => "-",
            Kind::Exclusive => "exclusive",
            Kind::Unbreakable => "unbreak",
        }
    }
}

/// Where a lease is in its life; see the module's documentation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Held by this open file.
    Active(FileId),
    /// In force for its pins alone.
    Orphaned,
}

impl State {
    /// The state's name in the global table.
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Active(_) => "active",
            State::Orphaned => "orphaned",
        }
    }
}

/// Which grant. Numbers are not used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GrantId(pub(super) u64);

impl GrantId {
    pub(super) const FIRST: Self = Self(0);

    /// Returns the number after this one.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A lease on a file.
pub(super) struct Grant {
    pub(super) kind: Kind,
    pub(super) state: State,
    /// The process that took the lease, and alone may pin under it.
    pub(super) holder: ThreadGroup,
    /// Number of reservations and of contexts with pins under this lease.
    pub(super) uses: usize,
    /// The kernel's lease is being installed or changed. Meanwhile the grant is in the way of
    /// others, but nothing can be pinned under it, and only [`settle`], [`undo`] and [`end`]
    /// change it.
    changing: bool,
    /// Somebody waits for the lease to go (breakable leases only).
    breaking: bool,
}

impl Grant {
    /// Says whether the lease is in force.
    pub(super) fn is_alive(&self) -> bool {
        self.state != State::Orphaned || self.uses != 0
    }

    /// Says whether the current process may pin under the lease.
    pub(super) fn permits_pins(&self) -> bool {
        self.kind.is_strong()
            && !self.changing
            && self.state != State::Orphaned
            && self.holder.is_current()
    }
}

/// What [`take`] did, to be undone if the kernel refuses its part.
pub(crate) enum Taken {
    /// There is a new grant.
    New,
    /// The file's grant was changed; this is what it was.
    Converted(Kind, ThreadGroup),
}

/// Enters a lease of the current process, or changes the one that the file has. No pins can be
/// taken under a new one until [`settle`].
///
/// # Errors
///
/// `EAGAIN` if another lease is in the way, or another thread is at this one; `EBUSY` if the change
/// would leave pins without the lease that they were taken under; `ENOMEM`.
pub(crate) fn take(inode: InodeId, file: FileId, kind: Kind) -> Result<Taken> {
    let mut holder = ThreadGroup::current().ok_or(ESRCH)?;
    let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
    let mut guard = registry::lock();
    let registry = guard.as_mut().ok_or(ENODEV)?;

    let in_the_way = |grant: &Grant| {
        grant.state != State::Active(file)
            && grant.is_alive()
            && (!grant.kind.admits(kind) || (grant.state == State::Orphaned && kind.is_strong()))
    };
    if registry
        .grants_of(inode)
        .any(|(_, grant)| in_the_way(grant))
    {
        return Err(EAGAIN);
    }
    if let Some(grant) = registry.grant_of_file(inode, file) {
        if grant.changing {
            return Err(EAGAIN);
        }
        if grant.uses != 0 && !(kind.is_strong() && grant.holder == holder) {
            return Err(EBUSY);
        }
        grant.changing = true;
        let previous = core::mem::replace(&mut grant.kind, kind);
        core::mem::swap(&mut grant.holder, &mut holder);
        return Ok(Taken::Converted(previous, holder));
    }
    let key = (inode, GrantId(registry.next_id()));
    registry.insert_grant(node.into_node(
        key,
        Grant {
            kind,
            state: State::Active(file),
            holder,
            uses: 0,
            changing: true,
            breaking: false,
        },
    ));
    Ok(Taken::New)
}

/// Lets pins be taken under the file's lease, now that the kernel has it too. Returns false if it
/// has timed out meanwhile, which is how a breakable lease ends that was to become a strong one.
#[must_use]
pub(crate) fn settle(inode: InodeId, file: FileId) -> bool {
    match registry::lock()
        .as_mut()
        .and_then(|registry| registry.grant_of_file(inode, file))
    {
        Some(grant) => {
            grant.changing = false;
            true
        }
        None => false,
    }
}

/// Says whether the kernel's lease of the file is being installed or changed.
pub(crate) fn is_changing(inode: InodeId, file: FileId) -> bool {
    registry::lock()
        .as_mut()
        .and_then(|registry| registry.grant_of_file(inode, file))
        .is_some_and(|grant| grant.changing)
}

/// Undoes [`take`]. There is no pin that would stand in the way, as none is taken before
/// [`settle`]; a strong lease that became another strong one has kept its pins all the time.
pub(crate) fn undo(inode: InodeId, file: FileId, taken: Taken) {
    let removed = match (registry::lock().as_mut(), taken) {
        (Some(registry), Taken::New) => registry.remove_grant_of_file(inode, file),
        (Some(registry), Taken::Converted(kind, holder)) => {
            if let Some(grant) = registry.grant_of_file(inode, file) {
                grant.kind = kind;
                grant.holder = holder;
                grant.changing = false;
            }
            None
        }
        (None, _) => None,
    };
    drop(removed);
}

/// Forgets the file's lease because its holder lets go.
///
/// # Errors
///
/// `EBUSY` as long as there are pins that were taken under it; `EAGAIN` if another thread is
/// changing it.
pub(crate) fn release(inode: InodeId, file: FileId) -> Result {
    let removed = match registry::lock().as_mut() {
        Some(registry) => match registry.grant_of_file(inode, file) {
            Some(grant) if grant.changing => return Err(EAGAIN),
            Some(grant) if grant.uses != 0 => return Err(EBUSY),
            _ => registry.remove_grant_of_file(inode, file),
        },
        None => None,
    };
    drop(removed);
    Ok(())
}

/// Ends the file's lease because the file is closed, or because its time is up. Pins that were
/// taken under it keep it in force.
pub(crate) fn end(inode: InodeId, file: FileId) {
    if !registry::any() {
        return;
    }
    let removed = match registry::lock().as_mut() {
        Some(registry) => match registry.grant_of_file(inode, file) {
            Some(grant) if grant.uses != 0 => {
                grant.state = State::Orphaned;
                None
            }
            _ => registry.remove_grant_of_file(inode, file),
        },
        None => None,
    };
    drop(removed);
}

/// What can be said of the lease that a file holds.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Somebody waits for it to go.
    pub(crate) breaking: bool,
    /// The current process took it.
    pub(crate) is_own: bool,
}

/// Returns the lease that a file holds.
pub(crate) fn held(inode: InodeId, file: FileId) -> Option<Held> {
    if !registry::any() {
        return None;
    }
    let mut guard = registry::lock();
    let grant = guard.as_mut()?.grant_of_file(inode, file)?;
    Some(Held {
        kind: grant.kind,
        breaking: grant.breaking,
        is_own: grant.holder.is_current(),
    })
}

/// Notes that somebody waits for the file's lease to go.
pub(crate) fn set_breaking(inode: InodeId, file: FileId) {
    if let Some(registry) = registry::lock().as_mut() {
        if let Some(grant) = registry.grant_of_file(inode, file) {
            grant.breaking = true;
        }
    }
}

/// Leases of an inode that an operation on its layout has to heed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Standing {
    /// The current process holds a strong lease.
    pub(crate) own_strong: bool,
    /// Somebody else does, or an orphaned one is in force.
    pub(crate) other_strong: bool,
    /// Somebody else holds a breakable lease.
    pub(crate) other_breakable: bool,
}

impl Registry {
    /// Returns the grants on an inode, dead ones included.
    pub(super) fn grants_of(&self, inode: InodeId) -> impl Iterator<Item = (GrantId, &Grant)> {
        registry::range(&self.grants, (inode, GrantId::FIRST))
            .take_while(move |((of, _), _)| *of == inode)
            .map(|((_, id), grant)| (id, grant))
    }

    /// Returns the active grant that a file holds.
    fn grant_of_file(&mut self, inode: InodeId, file: FileId) -> Option<&mut Grant> {
        let id = self.grant_id_of_file(inode, file)?;
        self.grants.get_mut(&(inode, id))
    }

    fn grant_id_of_file(&self, inode: InodeId, file: FileId) -> Option<GrantId> {
        self.grants_of(inode)
            .find(|(_, grant)| grant.state == State::Active(file))
            .map(|(id, _)| id)
    }

    fn remove_grant_of_file(
        &mut self,
        inode: InodeId,
        file: FileId,
    ) -> Option<RBTreeNode<GrantKey, Grant>> {
        let id = self.grant_id_of_file(inode, file)?;
        self.remove_grant(&(inode, id))
    }

    /// Returns what stands in the way of a change of the inode's layout.
    pub(crate) fn standing(&self, inode: InodeId) -> Standing {
        let mut standing = Standing::default();
        for (_, grant) in self.grants_of(inode) {
            let own = grant.state != State::Orphaned && grant.holder.is_current();
            match (grant.kind.is_strong(), own) {
                (true, true) => standing.own_strong = true,
                (true, false) => standing.other_strong |= grant.is_alive(),
                (false, true) => (),
                (false, false) => standing.other_breakable = true,
            }
        }
        standing
    }
}
