// SPDX-License-Identifier: GPL-2.0

//! What an operation has to ask before it takes blocks away from a file.
//!
//! The caller holds `i_rwsem` and the invalidate lock exclusively. Then, in this order:
//!
//! 1. Leases and pins on record are asked about the range, page by page. A strong lease of somebody else, or a
//!    pin, is a reason to fail; a breakable lease of somebody else is a reason to tell the holder
//!    and wait.
//! 2. The range is unmapped, so that no new reference to its pages can come about without a fault,
//!    which waits for the lock.
//! 3. Pages that are still referenced are looked for. For each, pins are asked *again*. If it is on
//!    record now, that is a reason to fail; else it is a transient reference (O_DIRECT, a pipe),
//!    and is waited for. The locks are dropped for that, so that everybody else goes on, and so
//!    the caller has to begin anew.
//!
//! # How to wait
//!
//! While the locks are dropped, the page may be mapped again, and referenced again before the last
//! reference has ended. So the wait does not depend on seeing it idle: it also ends after some
//! time, to unmap and look again. If the page has been mapped meanwhile, again and again, there may
//! be a stream of references. Then the locks are *kept* for a moment while waiting: there are no
//! new references, and those in flight end ([`Patience`]). One reference that lasts, say of a page
//! in a pipe, does not end by that, so it is not tried for long; nobody but the caller waits for
//! such a one.
//!
//! # Why pins are asked twice
//!
//! A pin does not take the locks (see `super::reserve`): it is reserved, then gets its pages, and
//! then is put on record. Consider one that is reserved just after 1. If it gets a page that is
//! still mapped before 2, then 3 finds the page referenced and the reservation, which is there as
//! long as the pin is not on record. Without the second question the operation would wait for a
//! pin that may last for years. If the pin comes to a page only after 2, it faults, and gets what
//! the file has when the operation is done.
//!
//! # Leases that come meanwhile
//!
//! Leases are asked about once, in 1. One that is granted after that says so to its holder only when the
//! caller has given its locks up (`super::lease`): either all is done by then, or it is asked again.
//!
//! # Why a page that is found idle stays so
//!
//! After 2, page tables lead nowhere, and both locks are held until the blocks are gone:
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

/// Clears a range of a file (bytes; up to `u64::MAX` for all that follows) of what stands in the way
/// of taking its blocks away. There is nothing in the way when this returns, and will not be as long
/// as the locks are held.
///
/// Some of it is waited for with the locks dropped. Whenever they are taken again, `recheck` is
/// called, for what the caller knows of the file may have changed. While this waits for leases to go,
/// no new ones are given out on the range: their takers would starve it.
///
/// # Errors
///
/// * `ETXTBSY` for a range that is pinned, or under a strong lease of another process;
/// * `EDEADLK` for a range that is pinned, if the current process holds the lease;
/// * `ERESTARTSYS` or `EINTR` after a signal while waiting;
/// * what has come to forbid the operation while it waited ([`Recheck`](crate::rust::lock::Recheck)), and
///   what `recheck` returns;
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

/// What a server like nfsd is told. It has no word for most of these errnos: some it takes for an
/// I/O error, of others it warns. `EAGAIN` it knows (`NFS4ERR_DELAY`, `NFS3ERR_JUKEBOX`): the
/// client asks again later, and an operation on a pinned file goes on when the pins have ended.
fn for_server(err: Error) -> Error {
    let unknown = [ETXTBSY, edeadlk(), EBUSY, EINTR];
    if unknown.contains(&err) {
        EAGAIN
    } else {
        err
    }
}

/// The heart of [`break_layouts`].
///
/// A server's threads are few, and its clients ask again; so it has holders told of a break, and
/// waits for pages no longer than streams of references take.
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
                    // The holder has been told; now give it time.
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
        // A pin that comes later would never let the page become idle; it is found in the next
        // round.
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
    /// Waits without the locks begin with this, and double as long as the page is left alone.
    const FIRST: u32 = 10;
    const LONGEST: u32 = 1000;
    /// So many waits in vain are a stream of references ...
    const STREAM: u32 = 4;
    /// ... and after so many waits with the locks, of 10 to 320 milliseconds, they are not.
    const TRIES: u32 = 6;
    /// After so many waits in vain it is tried again.
    const PAUSE: u32 = 40;
    /// A server does not wait for longer than this without the locks.
    const OF_SERVER: u32 = 500;

    fn new() -> Self {
        Self {
            next: Self::FIRST,
            in_vain: 0,
            spent: 0,
        }
    }

    /// Learns that the page was mapped again while it was waited for.
    fn mapped_again(&mut self) {
        self.in_vain = (self.in_vain + 1) % Self::PAUSE;
        if self.in_vain < Self::STREAM + Self::TRIES {
            self.next = Self::FIRST;
        }
    }

    /// Milliseconds to wait while the locks are held, if at all.
    fn with_locks(&self) -> Option<u32> {
        let tries = self.in_vain.checked_sub(Self::STREAM)?;
        (tries < Self::TRIES).then(|| Self::FIRST << tries)
    }

    /// Milliseconds to wait while they are not.
    fn without_locks(&mut self) -> u32 {
        let msecs = self.next;
        self.next = (self.next * 2).min(Self::LONGEST);
        self.spent = self.spent.saturating_add(msecs);
        msecs
    }

    /// Says whether the next wait without the locks would be too long for a server.
    fn is_over(&self) -> bool {
        self.spent > Self::OF_SERVER
    }
}

/// Returns the pages that have bytes of a range.
fn pages_of(bytes: &Range<u64>) -> Range<u64> {
    bytes.start >> PAGE_SHIFT..bytes.end.div_ceil(PAGE_SIZE as u64)
}

/// Returns the leases that stand in the way.
fn standing(inode: InodeId, pages: &Range<u64>) -> Result<Standing> {
    let guard = registry::lock();
    let registry = guard.as_ref().ok_or(ENODEV)?;
    Ok(registry.standing(inode, pages))
}

/// Says whether something stands in the way of taking the blocks of a range (bytes) away: a pin, a
/// lease, or a reference to a page. If not, the range is out of page tables, and no reference to it
/// comes into being as long as the locks are held.
///
/// For those who must not wait; nobody is told.
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

/// Says whether pages that hold bytes of a range are pinned, or about to be.
pub(crate) fn is_pinned(inode: &Inode, bytes: &Range<u64>) -> bool {
    are_pinned(InodeId::of(inode), &pages_of(bytes))
}

/// Runs `forbid`, which must have pins of the inode refused from then on, unless there are any or
/// some on their way. It runs with interrupts disabled and must not sleep.
///
/// # Errors
///
/// `EBUSY` if there are.
pub(crate) fn unless_pinned(inode: &Inode, forbid: impl FnOnce()) -> Result {
    let id = InodeId::of(inode);
    // The record may be behind.
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

/// Marks one of the pages that hold bytes of a range and are pinned as dirty, if there are any, so that
/// writeback does not take the file for clean.
///
/// What is marked must be a page of the device. A hole may have been read through a mapping, whose
/// page is the kernel's page of zeroes; marked as dirty, that would stay where a write gives the
/// hole a block, and could not be written back. What is pinned has blocks, and keeps them: so the
/// page is marked under the lock under which the pins are seen, before the last of them can end
/// and a punch can ask for it.
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

/// Says whether there are pins, or some on their way.
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
    // The record may be behind; ask the kernel what is really pinned.
    deferred::reconcile(inode);
    match is_pinned() {
        None => Ok(()),
        Some(true) => Err(edeadlk()),
        Some(false) => Err(ETXTBSY),
    }
}
