// SPDX-License-Identifier: GPL-2.0

//! The life of a layout lease: its states, and changes of them.
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
//!   lease stays in force against others until the last of them ends, but permits no more pins.
//!   Only a strong lease gets here, as a breakable one has no pins.
//! * Gone: the record of an orphaned lease without pins no longer counts; it is freed a little
//!   later.
//!
//! # Changes
//!
//! The ranges of a file's lease change together with the kernel's own lease, under `flc_lock`, and
//! the kernel may refuse. [`change`] prepares the change. When nothing else can fail, the kernel's
//! lease code calls back to check it ([`admit`]) and to publish it ([`commit`]). [`end_change`]
//! ends it.
//!
//! A prepared change has no effect on others: it conflicts with no request, permits no pin and is
//! not shown. Otherwise a task whose request is refused could have others refused, again and again.
//! Of two tasks that prepare conflicting changes, the second is refused in [`admit`]: `flc_lock` is
//! held from there to [`commit`]. [`commit`] checks for pins, under the registry's lock.
//!
//! Only the task that began a change changes the lease meanwhile, except that breakable ranges may
//! time out. Then the change is refused, because it would extend a lease that has ended.
//!
//! Transitions happen under the registry's lock. So a pin is either reserved before the lease stops
//! being active (then F_UNLCK is refused, and a close orphans it), or is refused.

use super::{
    lease_ranges::{
        LeaseRange,
        LeaseRanges,
        ALL, //
    },
    registry::{
        self,
        LeaseKey,
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

/// The kind of a lease.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `F_LAYOUT`: the holder is notified before the layout changes. Any number at a time.
    Breakable,
    /// `F_LAYOUT|F_EXCLUSIVE`: the layout does not change. One at a time.
    Exclusive,
    /// `F_LAYOUT|F_UNBREAK`: the layout does not change. Any number at a time.
    Unbreakable,
}

impl Kind {
    /// Returns whether the lease keeps the layout as it is, so that pages may be pinned under it.
    pub(crate) fn is_strong(self) -> bool {
        self != Kind::Breakable
    }

    /// Returns whether leases of these kinds can be held by two files at the same time.
    pub(super) fn admits(self, other: Kind) -> bool {
        self != Kind::Exclusive && other != Kind::Exclusive
    }

    /// Returns the kind's name in the global table, `-` for a kind that permits no pins.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Breakable => "-",
            Kind::Exclusive => "exclusive",
            Kind::Unbreakable => "unbreak",
        }
    }
}

/// The state of a lease; see the module's documentation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Held by this open file.
    Active(FileId),
    /// In force only for its pins.
    Orphaned,
}

impl State {
    /// Returns the state's name in the global table.
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Active(_) => "active",
            State::Orphaned => "orphaned",
        }
    }
}

/// Identifies a lease record. Numbers are not used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeaseId(pub(super) u64);

impl LeaseId {
    pub(super) const FIRST: Self = Self(0);
    pub(super) const LAST: Self = Self(u64::MAX);

    /// Returns the number after this one.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A change of a lease, from [`change`] to [`end_change`].
struct Change {
    /// The task that began it. No other continues it.
    task: TaskId,
    pages: Range<u64>,
    kind: Option<Kind>,
    /// The new ranges. After the change is published: the old ones, to be freed without the lock.
    ranges: LeaseRanges,
    /// The new holder, if it changes. After the change is published: the old one.
    holder: Option<ThreadGroup>,
    is_made: bool,
    /// Breakable ranges have timed out since the change began.
    is_late: bool,
}

/// A lease on a file.
pub(super) struct LeaseRecord {
    /// The ranges in force. Empty until the file's first lease is published.
    ranges: LeaseRanges,
    /// The change that is under way.
    change: Option<Change>,
    pub(super) state: State,
    /// The process that took the lease, and alone may pin under it.
    pub(super) holder: ThreadGroup,
    /// Number of reservations and of contexts with pins under this lease.
    pub(super) uses: usize,
    /// A task waits for the breakable ranges to end.
    breaking: bool,
}

impl LeaseRecord {
    /// Returns whether the lease is in force.
    pub(super) fn is_alive(&self) -> bool {
        self.state != State::Orphaned || self.uses != 0
    }

    /// Returns whether the current process may pin pages under the lease.
    pub(super) fn permits_pins(&self, pages: &Range<u64>) -> bool {
        self.state != State::Orphaned && self.holder.is_current() && self.ranges.holds(pages)
    }

    /// Returns the kind of lease on a page that is pinned.
    pub(super) fn kind_at(&self, page: u64) -> Option<Kind> {
        let piece = self.ranges.within(&(page..page + 1)).next()?;
        Some(piece.kind)
    }

    /// Returns the change that the current task is making.
    fn own_change(&mut self) -> Option<&mut Change> {
        let change = self.change.as_mut()?;
        (change.task == TaskId::current()).then_some(change)
    }

    /// Returns whether nothing is left of the lease, and no change is pending.
    fn is_over(&self) -> bool {
        self.ranges.as_slice().is_empty() && self.change.is_none()
    }

    fn has_breakable(&self, pages: &Range<u64>) -> bool {
        self.ranges
            .within(pages)
            .any(|piece| !piece.kind.is_strong())
    }

    fn keep_strong(&mut self) {
        self.ranges.keep_strong();
        if let Some(change) = self.change.as_mut().filter(|change| !change.is_made) {
            change.ranges.keep_strong();
            change.is_late = true;
        }
        self.breaking = false;
    }
}

/// The rest of a lease after a prepared change.
pub(crate) enum Prepared {
    /// Ranges are left: the kernel's lease changes.
    Some,
    /// No range is left: the kernel's lease is to be removed, and the record with it ([`release`]).
    /// No change is pending.
    Nothing,
}

/// Prepares to set the lease of an open file on `pages` to `kind`, or to remove it, for the current
/// process. [`end_change`] must follow if this returns [`Prepared::Some`].
///
/// # Errors
///
/// * `EAGAIN` if a lease of another file conflicts, another thread changes this one, it is being
///   broken, an operation waits for leases on these pages to end, or there is no lease to remove.
/// * `EBUSY` if pins would be left without the lease that they were taken under.
/// * `ENOLCK` if the file has too many ranges.
/// * `ENOMEM`.
pub(crate) fn change(
    inode: InodeId,
    file: FileId,
    pages: &Range<u64>,
    kind: Option<Kind>,
) -> Result<Prepared> {
    let holder = ThreadGroup::current().ok_or(ESRCH)?;
    let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
    let mut ranges = LeaseRanges::with_room(0)?;
    let prepared = |ranges, holder| Change {
        task: TaskId::current(),
        pages: pages.clone(),
        kind,
        ranges,
        holder,
        is_made: false,
        is_late: false,
    };
    loop {
        let mut guard = registry::lock();
        let registry = guard.as_mut().ok_or(ENODEV)?;
        registry.check_change(inode, file, pages, kind)?;
        let Some(lease) = registry.lease_of_file(inode, file) else {
            ranges.assign(&[], pages, kind)?;
            let key = (inode, LeaseId(registry.next_id()));
            registry.insert_lease(node.into_node(
                key,
                LeaseRecord {
                    ranges: LeaseRanges::new(),
                    change: Some(prepared(ranges, None)),
                    state: State::Active(file),
                    holder,
                    uses: 0,
                    breaking: false,
                },
            ));
            return Ok(Prepared::Some);
        };
        if lease.change.is_some() {
            return Err(EAGAIN);
        }
        if !ranges.has_room_for(&lease.ranges) {
            let as_slice = lease.ranges.as_slice().len();
            drop(guard);
            ranges = LeaseRanges::with_room(as_slice)?;
            continue;
        }
        ranges.assign(lease.ranges.as_slice(), pages, kind)?;
        if ranges.as_slice().len() > LeaseRanges::MAX {
            return Err(enolck());
        }
        if ranges.as_slice().is_empty() {
            return Ok(Prepared::Nothing);
        }
        lease.change = Some(prepared(ranges, kind.is_some().then_some(holder)));
        return Ok(Prepared::Some);
    }
}

/// Checks that the change prepared by the current task can be made. The caller holds `flc_lock`.
///
/// # Errors
///
/// The same as [`change`], for conflicts since then; `EAGAIN` if no change was prepared.
pub(crate) fn admit(inode: InodeId, file: FileId) -> Result {
    let mut guard = registry::lock();
    guard.as_mut().ok_or(ENODEV)?.check_prepared(inode, file)
}

/// Publishes the change prepared by the current task, unless it is published already, and returns
/// the new state of the kernel's lease. The caller holds `flc_lock`.
///
/// Pins begin without `flc_lock`. So pins under ranges that are removed are looked for here, under
/// the registry's lock, which is held until the ranges are removed. Under a file's first lease
/// there are none. The leases of others have not changed since [`admit`], but that one may have
/// been orphaned, which might as well have happened later.
///
/// # Errors
///
/// The same as [`admit`], unless it is the file's first lease; `EAGAIN` if no change was prepared.
pub(crate) fn commit(inode: InodeId, file: FileId) -> Result<LeaseView> {
    let mut guard = registry::lock();
    let registry = guard.as_mut().ok_or(ENODEV)?;
    let is_first = registry
        .lease_of_file(inode, file)
        .is_some_and(|lease| lease.ranges.as_slice().is_empty());
    if !is_first {
        registry.check_prepared(inode, file)?;
    }
    let lease = registry.lease_of_file(inode, file).ok_or(EAGAIN)?;
    let change = lease
        .change
        .as_mut()
        .filter(|change| change.task == TaskId::current())
        .ok_or(EAGAIN)?;
    if !change.is_made {
        change.is_made = true;
        core::mem::swap(&mut lease.ranges, &mut change.ranges);
        if let Some(holder) = &mut change.holder {
            core::mem::swap(&mut lease.holder, holder);
        }
    }
    // A break is about all breakable ranges, so without any there is nothing to wait for.
    lease.breaking &= lease.has_breakable(&ALL);
    Ok(LeaseView {
        is_exclusive: lease
            .ranges
            .as_slice()
            .iter()
            .any(|piece| piece.kind == Kind::Exclusive),
        is_breaking: lease.breaking,
        is_own: lease.holder.is_current(),
    })
}

/// Ends the change of the current task, published or refused, and removes the record if it is
/// empty. Returns whether the file has a lease.
pub(crate) fn end_change(inode: InodeId, file: FileId) -> bool {
    let (is_left, removed) = {
        let mut guard = registry::lock();
        let Some(registry) = guard.as_mut() else {
            return false;
        };
        let Some(lease) = registry.lease_of_file(inode, file) else {
            return false;
        };
        if lease.own_change().is_none() {
            return !lease.ranges.as_slice().is_empty();
        }
        let change = lease.change.take();
        let is_over = lease.is_over();
        let lease = is_over.then(|| registry.remove_lease_of_file(inode, file));
        (!is_over, (change, lease))
    };
    drop(removed);
    is_left
}

/// Removes the file's lease because its holder releases all of it.
///
/// # Errors
///
/// `EBUSY` as long as there are pins that were taken under it; `EAGAIN` if another thread is
/// changing it.
pub(crate) fn release(inode: InodeId, file: FileId) -> Result {
    let removed = match registry::lock().as_mut() {
        Some(registry) => match registry.lease_of_file(inode, file) {
            Some(lease) if lease.change.is_some() => return Err(EAGAIN),
            Some(lease) if lease.uses != 0 => return Err(EBUSY),
            _ => registry.remove_lease_of_file(inode, file),
        },
        None => None,
    };
    drop(removed);
    Ok(())
}

/// Ends the file's lease because the file is closed; pins that were taken under it orphan it
/// instead. Returns its last state, or [`None`] without a lease.
pub(crate) fn end(inode: InodeId, file: FileId) -> Option<State> {
    if !registry::any() {
        return None;
    }
    let removed = match registry::lock().as_mut() {
        Some(registry) => match registry.lease_of_file(inode, file) {
            Some(lease) if lease.uses != 0 => {
                lease.state = State::Orphaned;
                lease.keep_strong();
                return Some(State::Orphaned);
            }
            _ => registry.remove_lease_of_file(inode, file),
        },
        None => None,
    };
    removed.map(|_| State::Active(file))
}

/// Removes the breakable ranges of the file's lease because the break has timed out. Returns true
/// if no range is left.
pub(crate) fn time_out(inode: InodeId, file: FileId) -> bool {
    let removed = match registry::lock().as_mut() {
        Some(registry) => match registry.lease_of_file(inode, file) {
            Some(lease) => {
                lease.keep_strong();
                if !lease.ranges.as_slice().is_empty() {
                    return false;
                }
                if lease.is_over() {
                    registry.remove_lease_of_file(inode, file)
                } else {
                    // `end_change()` removes it.
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

/// Returns the first range of the file's lease in `pages` that is not breaking.
pub(crate) fn held(inode: InodeId, file: FileId, pages: &Range<u64>) -> Option<LeaseRange> {
    if !registry::any() {
        return None;
    }
    let mut guard = registry::lock();
    let lease = guard.as_mut()?.lease_of_file(inode, file)?;
    let held = lease
        .ranges
        .within(pages)
        .find(|piece| !lease.breaking || piece.kind.is_strong())
        .copied();
    held
}

/// Marks the file's lease as breaking, for the current task. Returns the pages that the task waits
/// for, or [`None`] if it need not wait.
pub(crate) fn set_breaking(inode: InodeId, file: FileId) -> Option<Range<u64>> {
    let mut guard = registry::lock();
    let registry = guard.as_mut()?;
    let pages = registry.pages_to_break(inode);
    let lease = registry.lease_of_file(inode, file)?;
    if !lease.has_breakable(&pages) {
        return None;
    }
    lease.breaking = true;
    Some(pages)
}

/// Returns whether the current task need not wait for the file's lease.
pub(crate) fn is_exempt(inode: InodeId, file: FileId) -> bool {
    let mut guard = registry::lock();
    let Some(registry) = guard.as_mut() else {
        return true;
    };
    let pages = registry.pages_to_break(inode);
    registry
        .lease_of_file(inode, file)
        .is_none_or(|lease| lease.holder.is_current() || !lease.has_breakable(&pages))
}

/// The pages whose leases the current task breaks, as long as the value lives. The kernel's code
/// for breaking knows no ranges, so its call-backs look the pages up here. No new lease on them
/// begins.
pub(crate) struct Breaker {
    task: TaskId,
}

impl Breaker {
    /// Records which pages of an inode the current task is about to free or move.
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

/// Leases of a range that conflict with a change of its layout.
#[derive(Clone, Copy, Default)]
pub(crate) struct Standing {
    /// The current process holds a strong lease.
    pub(crate) own_strong: bool,
    /// Another process holds a strong lease, or an orphaned one is in force.
    pub(crate) other_strong: bool,
    /// Another process holds a breakable lease.
    pub(crate) other_breakable: bool,
}

impl Registry {
    /// Returns the lease records on an inode, dead ones included.
    pub(super) fn leases_of(
        &self,
        inode: InodeId,
    ) -> impl Iterator<Item = (LeaseId, &LeaseRecord)> {
        registry::range(&self.leases, (inode, LeaseId::FIRST))
            .take_while(move |((of, _), _)| *of == inode)
            .map(|((_, id), lease)| (id, lease))
    }

    /// Returns the active lease record that a file holds.
    fn lease_of_file(&mut self, inode: InodeId, file: FileId) -> Option<&mut LeaseRecord> {
        let id = self.lease_id_of_file(inode, file)?;
        self.leases.get_mut(&(inode, id))
    }

    fn lease_id_of_file(&self, inode: InodeId, file: FileId) -> Option<LeaseId> {
        self.leases_of(inode)
            .find(|(_, lease)| lease.state == State::Active(file))
            .map(|(id, _)| id)
    }

    fn remove_lease_of_file(
        &mut self,
        inode: InodeId,
        file: FileId,
    ) -> Option<RBTreeNode<LeaseKey, LeaseRecord>> {
        let id = self.lease_id_of_file(inode, file)?;
        self.remove_lease(&(inode, id))
    }

    /// Returns whether a lease on `pages` conflicts with one that another file requests.
    fn refuses(&self, inode: InodeId, file: FileId, pages: &Range<u64>, kind: Kind) -> bool {
        self.leases_of(inode).any(|(_, lease)| {
            lease.state != State::Active(file)
                && lease.is_alive()
                && lease.ranges.within(pages).any(|piece| {
                    !piece.kind.admits(kind) || (lease.state == State::Orphaned && kind.is_strong())
                })
        })
    }

    /// Checks that the current process can put pages under a lease of another kind, or of none.
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
            .leases_of(inode)
            .find(|(_, lease)| lease.state == State::Active(file));
        let Some((id, lease)) = held else {
            return kind.map(|_| ()).ok_or(EAGAIN);
        };
        match kind {
            None if lease.ranges.within(pages).next().is_none() => Err(EAGAIN),
            Some(_) if lease.breaking => Err(EAGAIN),
            // Pins stay with the process that took them.
            Some(_) if lease.uses != 0 && !lease.holder.is_current() => Err(EBUSY),
            Some(kind) if kind.is_strong() => Ok(()),
            _ if self.is_pinned_under((inode, id), pages) => Err(EBUSY),
            _ => Ok(()),
        }
    }

    /// Checks that the change that the current task has prepared can be made, if it is not made
    /// yet.
    fn check_prepared(&mut self, inode: InodeId, file: FileId) -> Result {
        let change = self
            .lease_of_file(inode, file)
            .and_then(LeaseRecord::own_change)
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

    /// Returns whether another task breaks leases to free or move pages of an inode.
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

    /// Returns the leases that conflict with a change of the layout of pages.
    pub(crate) fn standing(&self, inode: InodeId, pages: &Range<u64>) -> Standing {
        let mut standing = Standing::default();
        for (_, lease) in self.leases_of(inode).filter(|(_, lease)| lease.is_alive()) {
            let own = lease.state != State::Orphaned && lease.holder.is_current();
            for piece in lease.ranges.within(pages) {
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
