// SPDX-License-Identifier: GPL-2.0

//! Grants: what a layout lease is to the registry.
//!
//! # States of a lease
//!
//! ```text
//!              change()               last close, pins alive
//!    (none) ----------> Active ---------------------------------> Orphaned
//!                        |  ^                                        |
//!      F_UNLCK, no pins; |  | change()                               | last unpin
//!      last close, none; |  | (other kinds, other ranges)            |
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
//! # Changes
//!
//! What a file's lease covers changes together with the kernel's own lease, under `flc_lock`, and
//! the kernel may refuse that: [`change`] prepares it, the kernel's lease code has it checked
//! ([`admit`]) and made ([`commit`]) when nothing else can fail, and [`end_change`] ends it.
//!
//! What is prepared is nothing to anybody else: it keeps nobody away, permits no pin and is not
//! shown. Otherwise somebody whose request is refused could have others refused, again and again.
//! Two that prepare what cannot be there together find out in [`admit`]: `flc_lock` is held from
//! there to [`commit`], and whoever is second is refused. Pins are looked for in [`commit`], under
//! the registry's lock.
//!
//! Nobody but the task that began it changes the lease meanwhile, except that what can be broken
//! may time out. Then what was to be added is refused, for it was added to a lease that is gone.
//!
//! Transitions happen under the registry's lock, so that a pin is either reserved before the lease
//! stops being active (then F_UNLCK is refused and a close orphans it) or finds it so.

use super::{
    lease_ranges::{
        Cover,
        Piece,
        ALL, //
    },
    registry::{
        self,
        GrantKey,
        Registry, //
    }, //
};
use crate::rust::{
    identity::{
        FileId,
        InodeId,
        TaskId,
        ThreadGroup, //
    },
    lease::LeaseView,
    vfs::errno::enolck, //
};
use core::ops::Range;
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
    pub(super) const LAST: Self = Self(u64::MAX);

    /// Returns the number after this one.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A change of a lease, from [`change`] to [`end_change`].
struct Change {
    /// Who began it, and alone goes on with it.
    task: TaskId,
    pages: Range<u64>,
    kind: Option<Kind>,
    /// What the lease is to cover. When the change is made: what it did before, whose memory is
    /// freed without the lock.
    cover: Cover,
    /// The process that is to hold the lease, if that changes; then the one that did.
    holder: Option<ThreadGroup>,
    is_made: bool,
    /// Something that can be broken has timed out since the change began.
    is_late: bool,
}

/// A lease on a file.
pub(super) struct Grant {
    /// What is in force. Empty if the file's first lease is not there yet.
    cover: Cover,
    /// The change that is under way.
    change: Option<Change>,
    pub(super) state: State,
    /// The process that took the lease, and alone may pin under it.
    pub(super) holder: ThreadGroup,
    /// Number of reservations and of contexts with pins under this lease.
    pub(super) uses: usize,
    /// Somebody waits for what can be broken of the lease to go.
    breaking: bool,
}

impl Grant {
    /// Says whether the lease is in force.
    pub(super) fn is_alive(&self) -> bool {
        self.state != State::Orphaned || self.uses != 0
    }

    /// Says whether the current process may pin pages under the lease.
    pub(super) fn permits_pins(&self, pages: &Range<u64>) -> bool {
        self.state != State::Orphaned && self.holder.is_current() && self.cover.holds(pages)
    }

    /// Returns the kind of lease on a page that is pinned.
    pub(super) fn kind_at(&self, page: u64) -> Option<Kind> {
        let piece = self.cover.within(&(page..page + 1)).next()?;
        Some(piece.kind)
    }

    /// Returns the change that the current task is making.
    fn own_change(&mut self) -> Option<&mut Change> {
        let change = self.change.as_mut()?;
        (change.task == TaskId::current()).then_some(change)
    }

    /// Says whether nothing is left of the lease, nor is to come.
    fn is_over(&self) -> bool {
        self.cover.pieces().is_empty() && self.change.is_none()
    }

    fn has_breakable(&self, pages: &Range<u64>) -> bool {
        self.cover
            .within(pages)
            .any(|piece| !piece.kind.is_strong())
    }

    fn keep_strong(&mut self) {
        self.cover.keep_strong();
        if let Some(change) = self.change.as_mut().filter(|change| !change.is_made) {
            change.cover.keep_strong();
            change.is_late = true;
        }
        self.breaking = false;
    }
}

/// What a change that was prepared leaves of a lease.
pub(crate) enum Prepared {
    /// Some of it: the kernel's lease changes.
    Some,
    /// Nothing: the kernel's lease goes, and with it the grant ([`release`]). Nothing is under way.
    Nothing,
}

/// Prepares to put pages of a file under a lease of another kind, or of none, for an open file and
/// in the name of the current process. If that leaves anything of a lease, [`end_change`] must follow.
///
/// # Errors
///
/// `EAGAIN` if a lease of another file is in the way, another thread is at this one, it is being
/// broken or an operation waits for leases on these pages to go, or there is nothing to give back; `EBUSY` if pins would be left without the lease that
/// they were taken under; `ENOLCK` if the file has too many ranges; `ENOMEM`.
pub(crate) fn change(
    inode: InodeId,
    file: FileId,
    pages: &Range<u64>,
    kind: Option<Kind>,
) -> Result<Prepared> {
    let holder = ThreadGroup::current().ok_or(ESRCH)?;
    let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
    let mut cover = Cover::with_room(0)?;
    let prepared = |cover, holder| Change {
        task: TaskId::current(),
        pages: pages.clone(),
        kind,
        cover,
        holder,
        is_made: false,
        is_late: false,
    };
    loop {
        let mut guard = registry::lock();
        let registry = guard.as_mut().ok_or(ENODEV)?;
        registry.check_change(inode, file, pages, kind)?;
        let Some(grant) = registry.grant_of_file(inode, file) else {
            cover.assign(&[], pages, kind)?;
            let key = (inode, GrantId(registry.next_id()));
            registry.insert_grant(node.into_node(
                key,
                Grant {
                    cover: Cover::new(),
                    change: Some(prepared(cover, None)),
                    state: State::Active(file),
                    holder,
                    uses: 0,
                    breaking: false,
                },
            ));
            return Ok(Prepared::Some);
        };
        if grant.change.is_some() {
            return Err(EAGAIN);
        }
        if !cover.has_room_for(&grant.cover) {
            let pieces = grant.cover.pieces().len();
            drop(guard);
            cover = Cover::with_room(pieces)?;
            continue;
        }
        cover.assign(grant.cover.pieces(), pages, kind)?;
        if cover.pieces().len() > Cover::MAX {
            return Err(enolck());
        }
        if cover.pieces().is_empty() {
            return Ok(Prepared::Nothing);
        }
        grant.change = Some(prepared(cover, kind.is_some().then_some(holder)));
        return Ok(Prepared::Some);
    }
}

/// Says whether the change that the current task has prepared can be made. Under `flc_lock`.
///
/// # Errors
///
/// As [`change`], for what has come about since; `EAGAIN` if nothing was prepared.
pub(crate) fn admit(inode: InodeId, file: FileId) -> Result {
    let mut guard = registry::lock();
    guard.as_mut().ok_or(ENODEV)?.check_prepared(inode, file)
}

/// Makes the change that the current task has prepared, unless it is made already, and returns what
/// the kernel's lease has to look like then. Under `flc_lock`.
///
/// Pins come about without that lock, so whether there are any under what is given back is looked
/// at under the registry's lock, which is held until that is given back. Under a file's first lease
/// there are none; and the leases of others are what they were in [`admit`], but that one may have
/// been orphaned, which is as if that came later.
///
/// # Errors
///
/// As [`admit`], unless it is the file's first lease; `EAGAIN` if nothing was prepared.
pub(crate) fn commit(inode: InodeId, file: FileId) -> Result<LeaseView> {
    let mut guard = registry::lock();
    let registry = guard.as_mut().ok_or(ENODEV)?;
    let is_first = registry
        .grant_of_file(inode, file)
        .is_some_and(|grant| grant.cover.pieces().is_empty());
    if !is_first {
        registry.check_prepared(inode, file)?;
    }
    let grant = registry.grant_of_file(inode, file).ok_or(EAGAIN)?;
    let change = grant
        .change
        .as_mut()
        .filter(|change| change.task == TaskId::current())
        .ok_or(EAGAIN)?;
    if !change.is_made {
        change.is_made = true;
        core::mem::swap(&mut grant.cover, &mut change.cover);
        if let Some(holder) = &mut change.holder {
            core::mem::swap(&mut grant.holder, holder);
        }
    }
    // The time is up for all that can be broken, so without that there is nothing to wait for.
    grant.breaking &= grant.has_breakable(&ALL);
    Ok(LeaseView {
        is_exclusive: grant
            .cover
            .pieces()
            .iter()
            .any(|piece| piece.kind == Kind::Exclusive),
        is_breaking: grant.breaking,
        is_own: grant.holder.is_current(),
    })
}

/// Ends the change of the current task, whether it was made or refused, and with it the grant if
/// that leaves nothing of it. Returns whether the file has a lease.
pub(crate) fn end_change(inode: InodeId, file: FileId) -> bool {
    let (is_left, removed) = {
        let mut guard = registry::lock();
        let Some(registry) = guard.as_mut() else {
            return false;
        };
        let Some(grant) = registry.grant_of_file(inode, file) else {
            return false;
        };
        if grant.own_change().is_none() {
            return !grant.cover.pieces().is_empty();
        }
        let change = grant.change.take();
        let is_over = grant.is_over();
        let grant = is_over.then(|| registry.remove_grant_of_file(inode, file));
        (!is_over, (change, grant))
    };
    drop(removed);
    is_left
}

/// Forgets the file's lease because its holder lets go of all of it.
///
/// # Errors
///
/// `EBUSY` as long as there are pins that were taken under it; `EAGAIN` if another thread is
/// changing it.
pub(crate) fn release(inode: InodeId, file: FileId) -> Result {
    let removed = match registry::lock().as_mut() {
        Some(registry) => match registry.grant_of_file(inode, file) {
            Some(grant) if grant.change.is_some() => return Err(EAGAIN),
            Some(grant) if grant.uses != 0 => return Err(EBUSY),
            _ => registry.remove_grant_of_file(inode, file),
        },
        None => None,
    };
    drop(removed);
    Ok(())
}

/// Ends the file's lease because the file is closed. Pins that were taken under it keep it in
/// force. Returns the state that it had at last, if there was one.
pub(crate) fn end(inode: InodeId, file: FileId) -> Option<State> {
    if !registry::any() {
        return None;
    }
    let removed = match registry::lock().as_mut() {
        Some(registry) => match registry.grant_of_file(inode, file) {
            Some(grant) if grant.uses != 0 => {
                grant.state = State::Orphaned;
                grant.keep_strong();
                return Some(State::Orphaned);
            }
            _ => registry.remove_grant_of_file(inode, file),
        },
        None => None,
    };
    removed.map(|_| State::Active(file))
}

/// Ends what can be broken of the file's lease because its time is up. Returns true if nothing is
/// left then.
pub(crate) fn time_out(inode: InodeId, file: FileId) -> bool {
    let removed = match registry::lock().as_mut() {
        Some(registry) => match registry.grant_of_file(inode, file) {
            Some(grant) => {
                grant.keep_strong();
                if !grant.cover.pieces().is_empty() {
                    return false;
                }
                if grant.is_over() {
                    registry.remove_grant_of_file(inode, file)
                } else {
                    // Who changes it ends it.
                    None
                }
            }
            None => None,
        },
        None => None,
    };
    drop(removed);
    true
}

/// Returns the first range that a file's lease has among some pages, and that nobody waits for to
/// go.
pub(crate) fn held(inode: InodeId, file: FileId, pages: &Range<u64>) -> Option<Piece> {
    if !registry::any() {
        return None;
    }
    let mut guard = registry::lock();
    let grant = guard.as_mut()?.grant_of_file(inode, file)?;
    let held = grant
        .cover
        .within(pages)
        .find(|piece| !grant.breaking || piece.kind.is_strong())
        .copied();
    held
}

/// Notes that the current task waits for what can be broken of the file's lease to go. Returns
/// the pages that it wants, or nothing if it need not wait.
pub(crate) fn set_breaking(inode: InodeId, file: FileId) -> Option<Range<u64>> {
    let mut guard = registry::lock();
    let registry = guard.as_mut()?;
    let pages = registry.pages_to_break(inode);
    let grant = registry.grant_of_file(inode, file)?;
    if !grant.has_breakable(&pages) {
        return None;
    }
    grant.breaking = true;
    Some(pages)
}

/// Says whether the file's lease lets the current task go on.
pub(crate) fn is_exempt(inode: InodeId, file: FileId) -> bool {
    let mut guard = registry::lock();
    let Some(registry) = guard.as_mut() else {
        return true;
    };
    let pages = registry.pages_to_break(inode);
    registry
        .grant_of_file(inode, file)
        .is_none_or(|grant| grant.holder.is_current() || !grant.has_breakable(&pages))
}

/// The pages that the current task breaks leases of, as long as the value lives. The kernel's code for
/// that knows of no ranges; when it asks about a lease, it is looked up here for which pages. Nobody
/// gets a new lease on them.
pub(crate) struct Breaker {
    task: TaskId,
}

impl Breaker {
    /// Says which pages of an inode the current task is about to take away.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(inode: InodeId, pages: Range<u64>) -> Result<Self> {
        let task = TaskId::current();
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        if let Some(registry) = registry::lock().as_mut() {
            registry
                .breakers
                .insert(node.into_node(task, (inode, pages)));
        }
        Ok(Self { task })
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        let node = registry::lock()
            .as_mut()
            .and_then(|registry| registry.breakers.remove_node(&self.task));
        drop(node);
    }
}

/// Leases of a range that an operation on its layout has to heed.
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

    /// Says whether a lease on pages is in the way of one that another file wants.
    fn refuses(&self, inode: InodeId, file: FileId, pages: &Range<u64>, kind: Kind) -> bool {
        self.grants_of(inode).any(|(_, grant)| {
            grant.state != State::Active(file)
                && grant.is_alive()
                && grant.cover.within(pages).any(|piece| {
                    !piece.kind.admits(kind) || (grant.state == State::Orphaned && kind.is_strong())
                })
        })
    }

    /// Says why pages cannot be put under a lease of another kind, or of none, by the current
    /// process.
    fn check_change(
        &self,
        inode: InodeId,
        file: FileId,
        pages: &Range<u64>,
        kind: Option<Kind>,
    ) -> Result {
        if kind.is_some_and(|kind| {
            self.refuses(inode, file, pages, kind) || self.is_being_broken(inode, pages)
        }) {
            return Err(EAGAIN);
        }
        let held = self
            .grants_of(inode)
            .find(|(_, grant)| grant.state == State::Active(file));
        let Some((id, grant)) = held else {
            return kind.map(|_| ()).ok_or(EAGAIN);
        };
        match kind {
            None if grant.cover.within(pages).next().is_none() => Err(EAGAIN),
            Some(_) if grant.breaking => Err(EAGAIN),
            // Pins stay with the process that took them.
            Some(_) if grant.uses != 0 && !grant.holder.is_current() => Err(EBUSY),
            Some(kind) if kind.is_strong() => Ok(()),
            _ if self.is_pinned_under((inode, id), pages) => Err(EBUSY),
            _ => Ok(()),
        }
    }

    /// Says why the change that the current task has prepared cannot be made, if it is not made
    /// yet.
    fn check_prepared(&mut self, inode: InodeId, file: FileId) -> Result {
        let change = self
            .grant_of_file(inode, file)
            .and_then(Grant::own_change)
            .ok_or(EAGAIN)?;
        if change.is_made {
            return Ok(());
        }
        if change.is_late && change.kind.is_some() {
            return Err(EAGAIN);
        }
        let (pages, kind) = (change.pages.clone(), change.kind);
        self.check_change(inode, file, &pages, kind)
    }

    /// Says whether another task takes pages of an inode away, and has leases broken for that.
    fn is_being_broken(&self, inode: InodeId, pages: &Range<u64>) -> bool {
        self.breakers.iter().any(|(task, (of, broken))| {
            *task != TaskId::current() && *of == inode && registry::overlap(broken, pages)
        })
    }

    /// Returns the pages of an inode that the current task breaks leases of.
    fn pages_to_break(&self, inode: InodeId) -> Range<u64> {
        self.breakers
            .get(&TaskId::current())
            .filter(|(of, _)| *of == inode)
            .map_or(ALL, |(_, pages)| pages.clone())
    }

    /// Returns what stands in the way of a change of the layout of pages.
    pub(crate) fn standing(&self, inode: InodeId, pages: &Range<u64>) -> Standing {
        let mut standing = Standing::default();
        for (_, grant) in self.grants_of(inode).filter(|(_, grant)| grant.is_alive()) {
            let own = grant.state != State::Orphaned && grant.holder.is_current();
            for piece in grant.cover.within(pages) {
                match (piece.kind.is_strong(), own) {
                    (true, true) => standing.own_strong = true,
                    (true, false) => standing.other_strong = true,
                    (false, true) => (),
                    (false, false) => standing.other_breakable = true,
                }
            }
        }
        standing
    }
}
