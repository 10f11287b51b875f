// SPDX-License-Identifier: GPL-2.0

//! What user space asks for with `fcntl(2)`, and what it gets; `super::ioctl` is the other way in.
//!
//! A lease of `fcntl()` is on all of the file. `F_SETLEASE` replaces whatever ranges the open file
//! has, and `F_GETLEASE` tells the kind of the first.
//!
//! A lease exists twice: as the kernel's `struct file_lease`, one for all ranges of an open file,
//! which is seen in `/proc/locks` and ends with the file, and as a [`lease_state`], which pins depend on.
//! They come about together: the lease record is prepared, and is nothing to anybody yet; then the kernel
//! is asked for its lease, and when it has no reason left to refuse, under `flc_lock`, conflicts of
//! ranges are settled ([`Leases::admit`]) and the lease record is there ([`Leases::commit`]). They end
//! each in its own way:
//!
//! * F_UNLCK: the kernel asks [`Leases::release`] under `flc_lock`, which forgets the lease record or
//!   refuses; so either both go or neither.
//! * last close: the kernel takes its lease away first, then the file system's `release` calls
//!   [`closed`]. In between the lease record is in force with nobody who could use it.
//! * a break times out: [`Leases::timed_out`] forgets all ranges that can be broken, and if there
//!   is no other, the lease record. That can happen while a range is being added, which then has failed.
//!   As with a classic lease, time is up when somebody looks: who breaks leases, and who is refused
//!   one ([`time_out`]). Whoever had it broken may be gone by then.
//!
//! # Who may ask
//!
//! The kernel asks about permission last. Here it is asked first, before the registry's lock is
//! taken: who has no right to a lease costs nobody anything. What only the kernel can ask (a
//! security module) it still asks before the lease record is there.
//!
//! # Leases that come while an operation is at it
//!
//! Consider an operation that has asked about leases, and found none, just before one is taken. It goes
//! on to take blocks away, and would do so after `fcntl()` has returned; the holder would see what the
//! file had, and then see it gone. The operation holds the invalidate lock from its question to its
//! end, so who takes a lease waits for that lock once, when the lease record is there: what was asked before
//! has ended by then, and what is asked later finds the lease record. Nothing that holds the lock waits for
//! a lease (`super::breaking` drops it for that).
//!
//! A signal names a descriptor and no range. So a break concerns all ranges of the open file that
//! can be broken, though only an operation on one of them brings it about; until it is over, none
//! of its ranges changes except by being given back.

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

/// The lease that the argument of `F_SETLEASE` asks for.
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

/// The result of `F_GETLEASE` for a lease.
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
/// `EACCES` for a strong lease without write access, and for who is neither the file's owner nor
/// has CAP_LEASE; else as [`lease_state::change`] and [`lease::install`].
pub(crate) fn take<H: Host>(
    file: OpenFile<'_>,
    fd: c_int,
    pages: &Range<u64>,
    kind: Kind,
) -> Result {
    check_permission(file)?;
    // It keeps others from changing a file, so it takes a descriptor that could change it.
    if kind.is_strong() && !file.is_writable() {
        return Err(EACCES);
    }
    let inode = inode_of(file);
    // The record of pins may be behind, and it decides here.
    deferred::reconcile(inode);
    if let Err(err) = lease_state::change(inode, file.id(), pages, Some(kind)) {
        if err != EAGAIN {
            return Err(err);
        }
        // What is in the way may be to go, and its time be up.
        time_out(file.inode())?;
        lease_state::change(inode, file.id(), pages, Some(kind))?;
    }
    if let Err(err) = lease::install::<Fcntl<H>>(file, fd) {
        lease_state::end_change(inode, file.id());
        return Err(err);
    }
    if !lease_state::end_change(inode, file.id()) {
        // It was there, and has timed out already.
        return Err(EAGAIN);
    }
    // Whoever asked about leases before there was this one, and is still at it, ends first.
    drop(FaultLock::new(file.inode()));
    trace::lease_set(file.inode(), pages, arg_of_kind(kind));
    Ok(())
}

/// Gives pages of a file's lease back.
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
            // If the rest has timed out meanwhile, that is as good.
            lease_state::end_change(inode, file.id());
            updated.inspect(|()| trace::lease_release(file.inode(), pages, Reason::Released))
        }
    }
}

/// Fails for who has no right to a lease on a file, as the kernel does.
fn check_permission(file: OpenFile<'_>) -> Result {
    if file.may_lease() {
        Ok(())
    } else {
        Err(EACCES)
    }
}

/// Ends what of a file's leases is to go and had its time.
///
/// The kernel looks at that whenever somebody breaks leases; so they are broken here by somebody
/// who is in the way of none.
fn time_out(inode: &Inode) -> Result {
    let _nothing = Breaker::new(InodeId::of(inode), 0..0)?;
    lease::break_layout(inode, false)
}

/// Returns the first range that a file's lease has among some pages and that nobody waits for to
/// go.
pub(super) fn held<H: Host>(file: OpenFile<'_>, pages: &Range<u64>) -> Option<LeaseRange> {
    if !lease::is_leased::<Fcntl<H>>(file) {
        return None;
    }
    lease_state::held(inode_of(file), file.id(), pages)
}

/// The answers to `fcntl()`.
pub(crate) struct Fcntl<H>(PhantomData<H>);

impl<H: Host> Leases for Fcntl<H> {
    fn wants_set(file: OpenFile<'_>, arg: c_int) -> bool {
        H::can_lease(file.inode()) && (arg & F_LAYOUT != 0 || lease::is_leased::<Self>(file))
    }

    fn set(file: OpenFile<'_>, fd: c_uint, arg: c_int) -> Result {
        match arg {
            F_UNLCK => give_back::<H>(file, &ALL),
            // A classic lease does not come beside a layout lease of the same file.
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

/// Is told by the file system that a file is closed for the last time (`->release()`): no
/// descriptor and no mapping is left of it.
pub(crate) fn closed(inode: &Inode, file: FileId) {
    match lease_state::end(InodeId::of(inode), file) {
        Some(State::Orphaned) => trace::lease_release(inode, &ALL, Reason::Orphaned),
        Some(State::Active(_)) => trace::lease_release(inode, &ALL, Reason::Closed),
        None => (),
    }
}
