// SPDX-License-Identifier: GPL-2.0

//! Takes, releases and reads leases for `fcntl(2)`; [`super::ioctl`] is the other interface.
//!
//! A lease of `fcntl()` covers the whole file. `F_SETLEASE` replaces all ranges of the open file,
//! and `F_GETLEASE` returns the kind of the first.
//!
//! A lease exists twice: as the kernel's `struct file_lease`, one for all ranges of an open file,
//! which `/proc/locks` shows and which ends with the file, and as a record ([`lease_state`]), on
//! which pins depend.
//!
//! They begin together. The record is prepared, without effect for others. Then the kernel is asked
//! for its lease. When it can no longer refuse, under `flc_lock`, conflicts of ranges are checked
//! ([`Leases::admit`]), and the record is published ([`Leases::commit`]). They end in three ways:
//!
//! * F_UNLCK: the kernel calls [`Leases::release`] under `flc_lock`, which removes the record or
//!   refuses. So both end, or neither.
//! * Last close: the kernel removes its lease first, then the file system's `->release()` calls
//!   [`closed`]. In between the record is in force, and no task can use it.
//! * A break times out: [`Leases::timed_out`] removes all breakable ranges, and the record with the
//!   last range. That can happen while a range is being added, which then fails. As with a classic
//!   lease, the time is only checked by a task that breaks leases, or one that is refused a lease
//!   ([`time_out`]): the task that began the break may have gone.
//!
//! # Permission
//!
//! The kernel checks permission last. Here it is checked before the registry's lock is taken, so
//! that a task without permission delays no other. The kernel's own check (and that of security
//! modules) still comes before the record is published.
//!
//! # Leases that begin during an operation
//!
//! Consider an operation that looks for leases, and finds none, just before one is taken. It goes
//! on to free blocks, and would do so after `fcntl()` has returned: the holder would see the file's
//! data, and then lose it. The operation holds the invalidate lock from the check to its end. So
//! [`take`] acquires and releases that lock once after the record is published: an operation that
//! checked before has ended by then, and one that checks later finds the record. A task that holds
//! the lock never waits for a lease ([`super::breaking`] drops it first).
//!
//! A signal names a descriptor and no range. So a break concerns all breakable ranges of the open
//! file, although the operation may be about one of them. Until the break is over, its ranges can
//! only be released.

use super::{
    deferred,
    host::Host,
    lease_ranges::{
        LeaseRange,
        ALL, //
    },
    lease_state::{
        self,
        Breaker,
        Kind,
        Prepared,
        State, //
    }, //
};
use crate::rust::{
    identity::{
        FileId,
        InodeId, //
    },
    lease::{
        self,
        LeaseView,
        Leases,
        OpenFile,
        F_EXCLUSIVE,
        F_LAYOUT,
        F_RDLCK,
        F_UNBREAK,
        F_UNLCK,
        F_WRLCK, //
    },
    lock::FaultLock,
    trace::{
        self,
        Reason, //
    },
    vfs::Inode, //
};
use core::{
    marker::PhantomData,
    ops::Range, //
};
use kernel::{
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*, //
};

/// Returns the kind of lease that the argument of `F_SETLEASE` requests.
pub(super) fn kind_of_arg(arg: c_int) -> Result<Kind> {
    const BREAKABLE: c_int = F_LAYOUT;
    const EXCLUSIVE: c_int = F_LAYOUT | F_EXCLUSIVE;
    const UNBREAKABLE: c_int = F_LAYOUT | F_UNBREAK;
    match arg {
        BREAKABLE => Ok(Kind::Breakable),
        EXCLUSIVE => Ok(Kind::Exclusive),
        UNBREAKABLE => Ok(Kind::Unbreakable),
        _ => Err(EINVAL),
    }
}

/// Returns the result of `F_GETLEASE` for a lease.
pub(super) fn arg_of_kind(kind: Kind) -> c_int {
    match kind {
        Kind::Breakable => F_LAYOUT,
        Kind::Exclusive => F_LAYOUT | F_EXCLUSIVE,
        Kind::Unbreakable => F_LAYOUT | F_UNBREAK,
    }
}

fn inode_of(file: OpenFile<'_>) -> InodeId {
    InodeId::of(file.inode())
}

/// Puts pages of a file under a lease for its open file and the current process.
///
/// # Errors
///
/// `EACCES` for a strong lease without write access, and for a caller that is not the file's owner
/// and lacks CAP_LEASE; else as [`lease_state::change`] and [`lease::install`].
pub(crate) fn take<H: Host>(
    file: OpenFile<'_>,
    fd: c_int,
    pages: &Range<u64>,
    kind: Kind,
) -> Result {
    check_permission(file)?;
    // It keeps others from changing the file, so it needs a descriptor that can change it.
    if kind.is_strong() && !file.is_writable() {
        return Err(EACCES);
    }
    let inode = inode_of(file);
    // Ended pins may still be on record, and the record decides here.
    deferred::reconcile(inode);
    if let Err(err) = lease_state::change(inode, file.id(), pages, Some(kind)) {
        if err != EAGAIN {
            return Err(err);
        }
        // The conflicting lease may be breaking, and its time over.
        time_out(file.inode())?;
        lease_state::change(inode, file.id(), pages, Some(kind))?;
    }
    if let Err(err) = lease::install::<Fcntl<H>>(file, fd) {
        lease_state::end_change(inode, file.id());
        return Err(err);
    }
    if !lease_state::end_change(inode, file.id()) {
        // It was published, and has timed out already.
        return Err(EAGAIN);
    }
    // Wait for operations that have looked for leases before this one was published.
    drop(FaultLock::new(file.inode()));
    trace::lease_set(file.inode(), pages, arg_of_kind(kind));
    Ok(())
}

/// Releases a file's lease on some pages.
///
/// # Errors
///
/// `EACCES` as [`take`]; `EAGAIN` if there is no lease on any of them; `EBUSY` if some are pinned
/// under it.
pub(crate) fn give_back<H: Host>(file: OpenFile<'_>, pages: &Range<u64>) -> Result {
    check_permission(file)?;
    if !lease::is_leased::<Fcntl<H>>(file) {
        return Err(EAGAIN);
    }
    let inode = inode_of(file);
    deferred::reconcile(inode);
    match lease_state::change(inode, file.id(), pages, None)? {
        Prepared::Nothing => lease::remove(file),
        Prepared::Some => {
            let updated = lease::update::<Fcntl<H>>(file);
            // It is no error if the other ranges have timed out meanwhile.
            lease_state::end_change(inode, file.id());
            updated.inspect(|()| trace::lease_release(file.inode(), pages, Reason::Released))
        }
    }
}

/// Fails if the caller may not have leases on the file. The kernel checks the same.
fn check_permission(file: OpenFile<'_>) -> Result {
    if file.may_lease() {
        Ok(())
    } else {
        Err(EACCES)
    }
}

/// Ends leases of a file whose break has timed out.
///
/// The kernel checks that whenever leases are broken. So they are broken here on behalf of an
/// operation on no pages, with which no lease conflicts.
fn time_out(inode: &Inode) -> Result {
    let _nothing = Breaker::new(InodeId::of(inode), 0..0)?;
    lease::break_layout(inode, false)
}

/// Returns the first range of a file's lease in `pages` that is not breaking.
pub(super) fn held<H: Host>(file: OpenFile<'_>, pages: &Range<u64>) -> Option<LeaseRange> {
    if !lease::is_leased::<Fcntl<H>>(file) {
        return None;
    }
    lease_state::held(inode_of(file), file.id(), pages)
}

/// The callbacks of `fcntl()`.
pub(crate) struct Fcntl<H>(PhantomData<H>);

impl<H: Host> Leases for Fcntl<H> {
    fn wants_set(file: OpenFile<'_>, arg: c_int) -> bool {
        H::can_lease(file.inode()) && (arg & F_LAYOUT != 0 || lease::is_leased::<Self>(file))
    }

    fn set(file: OpenFile<'_>, fd: c_uint, arg: c_int) -> Result {
        match arg {
            F_UNLCK => give_back::<H>(file, &ALL),
            // A file has no classic lease along with a layout lease.
            F_RDLCK | F_WRLCK => check_permission(file).and(Err(EAGAIN)),
            _ => take::<H>(file, fd as c_int, &ALL, kind_of_arg(arg)?),
        }
    }

    fn wants_get(file: OpenFile<'_>) -> bool {
        H::can_lease(file.inode()) && lease::is_leased::<Self>(file)
    }

    fn get(file: OpenFile<'_>) -> c_int {
        held::<H>(file, &ALL).map_or(F_UNLCK, |piece| arg_of_kind(piece.kind))
    }

    fn is_exempt(file: OpenFile<'_>) -> bool {
        lease_state::is_exempt(inode_of(file), file.id())
    }

    fn breaking(file: OpenFile<'_>) -> bool {
        match lease_state::set_breaking(inode_of(file), file.id()) {
            Some(pages) => {
                trace::lease_break(file.inode(), &pages);
                true
            }
            None => false,
        }
    }

    fn timed_out(file: OpenFile<'_>) -> bool {
        trace::lease_release(file.inode(), &ALL, Reason::TimedOut);
        lease_state::time_out(inode_of(file), file.id())
    }

    fn admit(file: OpenFile<'_>) -> Result {
        lease_state::admit(inode_of(file), file.id())
    }

    fn commit(file: OpenFile<'_>) -> Result<LeaseView> {
        lease_state::commit(inode_of(file), file.id())
    }

    fn release(file: OpenFile<'_>) -> Result {
        lease_state::release(inode_of(file), file.id())?;
        trace::lease_release(file.inode(), &ALL, Reason::Released);
        Ok(())
    }
}

/// Ends the lease of a file. The file system calls this from `->release()`: no descriptor and no
/// mapping of the open file is left.
pub(crate) fn closed(inode: &Inode, file: FileId) {
    match lease_state::end(InodeId::of(inode), file) {
        Some(State::Orphaned) => trace::lease_release(inode, &ALL, Reason::Orphaned),
        Some(State::Active(_)) => trace::lease_release(inode, &ALL, Reason::Closed),
        None => (),
    }
}
