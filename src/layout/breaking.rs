// SPDX-License-Identifier: GPL-2.0

//! Breaking layouts, before an operation frees, moves or un-shares blocks of a file.
//!
//! The caller holds `i_rwsem` and the invalidate lock exclusively. Then, in this order:
//!
//! 1. Look for leases and pins of the range. A pin, or a strong lease of another process, fails the
//!    operation. For a breakable lease of another process, notify the holder and wait.
//! 2. Unmap the range. From now on a new reference to its pages needs a fault, which waits for the
//!    lock.
//! 3. Look for pages that are still referenced. For each, look for pins *again*: one on record
//!    fails the operation. Otherwise the reference is transient (O_DIRECT, a pipe). Drop the locks,
//!    so that others make progress, wait for the reference to end, take the locks, and start over.
//!
//! # How to wait
//!
//! While the locks are dropped, the page may be mapped and referenced again before its last
//! reference has ended. So the wait does not depend on seeing the page idle: it also ends after
//! some time, to unmap and look again. If the page has been mapped meanwhile, again and again,
//! there may be a stream of references. Then the locks are *kept* for a moment while waiting: there
//! are no new references, and those in flight end ([`Patience`]). That does not help against one
//! long reference, say of a page in a pipe, so it is not tried for long; only the caller waits for
//! such a reference.
//!
//! # Why to look for pins twice
//!
//! A pin does not take the locks (see [`super::reserve`]): it is reserved, then gets its pages, and
//! is then put on record. Consider one that is reserved just after 1. If it gets a page that is
//! still mapped before 2, then 3 finds the page referenced, and finds the reservation, which lasts
//! until the pin is on record. Without the second look the operation would wait for a pin that may
//! last for years. If the pin reaches a page only after 2, it faults, and gets what the file has
//! after the operation.
//!
//! # Leases that begin meanwhile
//!
//! Leases are looked for once, in 1. `fcntl()` returns a lease that is granted after that only when
//! the caller has dropped its locks (see [`super::fcntl`]): either the operation is over by then,
//! or it starts over and finds the lease.
//!
//! # Why an idle page stays idle
//!
//! After 2, no page table leads to the page, and both locks are held until the blocks are freed:
//! `get_user_pages_fast()` finds nothing, and the slow path waits in its fault.

use super::{
    deferred,
    lease_ranges::ALL,
    lease_state::{
        Breaker,
        Standing, //
    },
    registry, //
};
use crate::rust::{
    dax,
    identity::InodeId,
    lease,
    lock::{
        ExclusiveInode,
        LayoutLock, //
    },
    task,
    trace,
    vfs::{
        errno::edeadlk,
        FileSystem,
        Inode, //
    }, //
};
use core::ops::Range;
use kernel::{
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::aref::ARef, //
};

/// Waits until the blocks of a range (bytes; up to `u64::MAX` for the rest of the file) can be
/// freed or moved. When this returns without an error, no lease, pin or reference of a page
/// conflicts with that, and none will as long as the locks are held.
///
/// It may wait with the locks dropped. Whenever they are taken again, `recheck` is called, because
/// the file may have changed. While this waits for leases to end, no new ones on the range are
/// granted: they would starve it.
///
/// # Errors
///
/// * `ETXTBSY` for a range that is pinned, or under a strong lease of another process;
/// * `EDEADLK` for a range that is pinned, if the current process holds the lease;
/// * `ERESTARTSYS` or `EINTR` after a signal while waiting;
/// * the error that [`Recheck`](crate::rust::lock::Recheck) returns after a wait, or `recheck`;
/// * for a server like nfsd, `EAGAIN` instead of all of these but the last: see [`for_server`].
pub(crate) fn break_layouts<F: FileSystem>(
    lock: &mut LayoutLock<'_, F>,
    range: Range<u64>,
    recheck: impl Fn(&LayoutLock<'_, F>) -> Result,
) -> Result {
    let is_server = task::is_server();
    let broken = break_or_wait(lock, range, is_server, recheck);
    if is_server {
        broken.map_err(for_server)
    } else {
        broken
    }
}

/// Translates errors for a server like nfsd, which takes some of these errnos for an I/O error and
/// warns about others. It passes `EAGAIN` on (`NFS4ERR_DELAY`, `NFS3ERR_JUKEBOX`): the client
/// retries, and an operation on a pinned file succeeds after the pins have ended.
fn for_server(err: Error) -> Error {
    let unknown = [ETXTBSY, edeadlk(), EBUSY, EINTR];
    if unknown.contains(&err) {
        EAGAIN
    } else {
        err
    }
}

/// Implements [`break_layouts`].
///
/// A server has few threads, and its clients retry. So for a server this notifies holders without
/// waiting, and waits for pages at most [`Patience::OF_SERVER`] without the locks.
fn break_or_wait<F: FileSystem>(
    lock: &mut LayoutLock<'_, F>,
    range: Range<u64>,
    is_server: bool,
    recheck: impl Fn(&LayoutLock<'_, F>) -> Result,
) -> Result {
    let inode = InodeId::of(lock.inode());
    let pages = pages_of(&range);
    let mut patience = Patience::new();
    let mut last: Option<dax::BusyPage<'_>> = None;
    // From the first lease on to the end, so that no other comes in between.
    let mut breaker = None;
    loop {
        if registry::any() {
            check_pins(inode, &range)?;
            let standing = standing(inode, &pages)?;
            if standing.other_strong {
                return Err(ETXTBSY);
            }
            if standing.other_breakable {
                if breaker.is_none() {
                    breaker = Some(Breaker::new(inode, pages.clone())?);
                }
                if let Err(err) = lease::break_layout(lock.inode(), false) {
                    if is_server {
                        return Err(err);
                    }
                    // The holder has been notified; now wait for it.
                    let file = ARef::<Inode>::from(&**lock.inode());
                    lock.unlocked(|| lease::break_layout(&file, true))?;
                    recheck(lock)?;
                    continue;
                }
            }
        }
        if last.take().is_some_and(|page| page.is_mapped()) {
            patience.mapped_again();
        }
        let Some(page) = dax::layout_busy_page_range(lock, &range) else {
            return Ok(());
        };
        let busy = page.range(lock);
        if registry::any() {
            check_pins(inode, &busy)?;
        }
        let pages_busy = pages_of(&busy);
        trace::busy_wait(lock.inode(), &pages_busy);
        if let Some(msecs) = patience.with_locks() {
            if page.wait_killable(msecs, || false)? {
                continue;
            }
        }
        // A pin that is taken meanwhile may never end, so it ends the wait. The next iteration
        // finds it.
        let msecs = patience.without_locks();
        if is_server && patience.is_over() {
            return Err(EAGAIN);
        }
        lock.unlocked(|| page.wait_killable(msecs, || are_pinned(inode, &pages_busy)))?;
        last = Some(page);
        recheck(lock)?;
    }
}

/// How long to wait for a page, with and without the locks.
struct Patience {
    /// The next wait without the locks, in milliseconds.
    next: u32,
    /// Waits after which the page was mapped again.
    in_vain: u32,
    /// Milliseconds that were waited without the locks.
    spent: u32,
}

impl Patience {
    /// Milliseconds of the first wait without the locks. They double until the page is mapped
    /// again.
    const FIRST: u32 = 10;
    const LONGEST: u32 = 1000;
    /// After so many waits that ended with the page mapped again, references are a stream.
    const STREAM: u32 = 4;
    /// Number of waits with the locks, of 10 to 320 milliseconds, against a stream of references.
    const TRIES: u32 = 6;
    /// After so many waits that ended with the page mapped again, the count starts again.
    const PAUSE: u32 = 40;
    /// Milliseconds that a server waits without the locks, at most.
    const OF_SERVER: u32 = 500;

    fn new() -> Self {
        Self {
            next: Self::FIRST,
            in_vain: 0,
            spent: 0,
        }
    }

    /// Notes that the page was mapped again during the wait.
    fn mapped_again(&mut self) {
        self.in_vain = (self.in_vain + 1) % Self::PAUSE;
        if self.in_vain < Self::STREAM + Self::TRIES {
            self.next = Self::FIRST;
        }
    }

    /// Returns the milliseconds to wait with the locks held, if at all.
    fn with_locks(&self) -> Option<u32> {
        let tries = self.in_vain.checked_sub(Self::STREAM)?;
        (tries < Self::TRIES).then(|| Self::FIRST << tries)
    }

    /// Returns the milliseconds to wait without the locks.
    fn without_locks(&mut self) -> u32 {
        let msecs = self.next;
        self.next = (self.next * 2).min(Self::LONGEST);
        self.spent = self.spent.saturating_add(msecs);
        msecs
    }

    /// Returns whether the next wait without the locks would be too long for a server.
    fn is_over(&self) -> bool {
        self.spent > Self::OF_SERVER
    }
}

/// Returns the pages that have bytes of a range.
fn pages_of(bytes: &Range<u64>) -> Range<u64> {
    bytes.start >> PAGE_SHIFT..bytes.end.div_ceil(PAGE_SIZE as u64)
}

/// Returns the leases that conflict with a change of the layout.
fn standing(inode: InodeId, pages: &Range<u64>) -> Result<Standing> {
    let guard = registry::lock();
    let registry = guard.as_ref().ok_or(ENODEV)?;
    Ok(registry.standing(inode, pages))
}

/// Returns whether a pin, a lease or a reference to a page forbids to free the blocks of a range
/// (bytes). If not, the range is unmapped, and stays without references as long as the locks are
/// held.
///
/// Does not wait, and notifies no holder.
pub(crate) fn is_held<F: FileSystem>(lock: &LayoutLock<'_, F>, range: &Range<u64>) -> Result<bool> {
    let inode = InodeId::of(lock.inode());
    if registry::any() {
        let standing = standing(inode, &pages_of(range))?;
        if standing.other_strong || standing.other_breakable || check_pins(inode, range).is_err() {
            return Ok(true);
        }
    }
    Ok(dax::layout_busy_page_range(lock, range).is_some())
}

/// Returns whether pages that hold bytes of a range are pinned, or about to be.
pub(crate) fn is_pinned(inode: &Inode, bytes: &Range<u64>) -> bool {
    are_pinned(InodeId::of(inode), &pages_of(bytes))
}

/// Calls `forbid`, after which pins of the inode must be refused, unless there are pins or
/// reservations. It is called with interrupts disabled and must not sleep.
///
/// # Errors
///
/// `EBUSY` if there are pins or reservations.
pub(crate) fn unless_pinned(inode: &Inode, forbid: impl FnOnce()) -> Result {
    let id = InodeId::of(inode);
    // Ended pins may still be on record.
    deferred::reconcile(id);
    let guard = registry::lock();
    if let Some(registry) = guard.as_ref() {
        if registry.is_pinned(id, &ALL) {
            return Err(EBUSY);
        }
    }
    forbid();
    drop(guard);
    Ok(())
}

/// Tags one pinned page of a range (bytes) as dirty, if there is one, so that writeback does not
/// take the file for clean.
///
/// The page must be one of the device. A hole that was read through a mapping has the kernel's zero
/// page. Tagged as dirty, that would stay in place when a write allocates the block, and could not
/// be written back. A pinned page has a block and keeps it. So the page is tagged under the
/// registry's lock, under which the pin is found: the pin cannot end before, and no punch frees the
/// block.
pub(crate) fn mark_pinned_dirty(inode: &Inode, bytes: &Range<u64>) {
    if !registry::any() {
        return;
    }
    let guard = registry::lock();
    let part = guard
        .as_ref()
        .and_then(|registry| registry.pinned_part(InodeId::of(inode), &pages_of(bytes)));
    if let Some(pages) = part {
        inode.tag_dirty(&pages);
    }
}

/// Returns whether there are pins or reservations.
fn are_pinned(inode: InodeId, pages: &Range<u64>) -> bool {
    registry::any()
        && registry::lock()
            .as_ref()
            .is_some_and(|registry| registry.is_pinned(inode, pages))
}

/// Fails if there are pins.
fn check_pins(inode: InodeId, bytes: &Range<u64>) -> Result {
    let pages = pages_of(bytes);
    let is_pinned = || {
        let guard = registry::lock();
        let registry = guard.as_ref()?;
        registry
            .is_pinned(inode, &pages)
            .then(|| registry.standing(inode, &pages).own_strong)
    };
    if is_pinned().is_none() {
        return Ok(());
    }
    // Ended pins may still be on record; compare with the kernel's counts.
    deferred::reconcile(inode);
    match is_pinned() {
        None => Ok(()),
        Some(true) => Err(edeadlk()),
        Some(false) => Err(ETXTBSY),
    }
}
