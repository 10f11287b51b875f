// SPDX-License-Identifier: GPL-2.0

//! What user space asks for with `fcntl(2)`, and what it gets.
//!
//! A lease exists twice: as the kernel's `struct file_lease`, which is seen in `/proc/locks` and
//! ends with the file, and as a [`grant`], which pins depend on. First comes the grant, which
//! settles conflicts (the kernel knows nothing of orphaned leases), then the kernel's lease; if
//! that is refused, the grant is undone. They end each in its own way:
//!
//! * F_UNLCK: the kernel asks [`Leases::release`] under `flc_lock`, which forgets the grant or
//!   refuses; so either both go or neither.
//! * last close: the kernel takes its lease away first, then the file system's `release` calls
//!   [`closed`]. In between the grant is in force with nobody who could use it.
//! * a breakable lease times out: [`Leases::timed_out`] forgets the grant. That can happen while
//!   the lease is being turned into a strong one, which then has failed.

use crate::{
    fs::is_pinfs,
    identity::{
        FileId,
        InodeId, //
    },
    lease::{
        self,
        Leases,
        OpenFile,
        F_EXCLUSIVE,
        F_LAYOUT,
        F_UNBREAK,
        F_UNLCK, //
    },
    pins::{
        grant::{
            self,
            Kind, //
        },
        reaper, //
    },
    vfs::Inode, //
};
use kernel::{
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*, //
};

/// The lease that the argument of `F_SETLEASE` asks for.
fn kind_of_arg(arg: c_int) -> Result<Kind> {
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
fn arg_of_kind(kind: Kind) -> c_int {
    match kind {
        Kind::Breakable => F_LAYOUT,
        Kind::Exclusive => F_LAYOUT | F_EXCLUSIVE,
        Kind::Unbreakable => F_LAYOUT | F_UNBREAK,
    }
}

fn held(file: OpenFile<'_>) -> Option<grant::Held> {
    grant::held(InodeId::of(file.inode()), file.id())
}

/// The answers to `fcntl()`.
pub(crate) struct Fcntl;

impl Fcntl {
    fn take(file: OpenFile<'_>, fd: c_uint, kind: Kind) -> Result {
        // It keeps others from changing a file, so it takes a descriptor that could change it.
        if kind.is_strong() && !file.is_writable() {
            return Err(EACCES);
        }
        let inode = InodeId::of(file.inode());
        let taken = grant::take(inode, file.id(), kind)?;
        if let Err(err) = lease::install::<Self>(file, fd, kind == Kind::Exclusive) {
            grant::undo(inode, file.id(), taken);
            return Err(err);
        }
        if grant::settle(inode, file.id()) {
            Ok(())
        } else {
            // The one that timed out was replaced by one that has no grant.
            lease::remove(file)?;
            Err(EAGAIN)
        }
    }
}

impl Leases for Fcntl {
    fn wants_set(file: OpenFile<'_>, arg: c_int) -> bool {
        let inode = file.inode();
        is_pinfs(inode) && inode.is_regular() && (arg & F_LAYOUT != 0 || held(file).is_some())
    }

    fn set(file: OpenFile<'_>, fd: c_uint, arg: c_int) -> Result {
        // The record of pins may be behind, and it decides here.
        reaper::settle(InodeId::of(file.inode()));
        if arg == F_UNLCK {
            lease::remove(file)
        } else if arg & F_LAYOUT != 0 {
            Self::take(file, fd, kind_of_arg(arg)?)
        } else {
            // A classic lease does not come beside a layout lease of the same file.
            Err(EAGAIN)
        }
    }

    fn wants_get(file: OpenFile<'_>) -> bool {
        held(file).is_some()
    }

    fn get(file: OpenFile<'_>) -> c_int {
        match held(file) {
            Some(held) if !held.breaking => arg_of_kind(held.kind),
            _ => F_UNLCK,
        }
    }

    fn is_exempt(file: OpenFile<'_>) -> bool {
        held(file).is_none_or(|held| held.kind.is_strong() || held.is_own)
    }

    fn breaking(file: OpenFile<'_>) {
        grant::set_breaking(InodeId::of(file.inode()), file.id());
    }

    fn timed_out(file: OpenFile<'_>) {
        grant::end(InodeId::of(file.inode()), file.id());
    }

    fn change(file: OpenFile<'_>) -> Result {
        if grant::is_changing(InodeId::of(file.inode()), file.id()) {
            Ok(())
        } else {
            Err(EAGAIN)
        }
    }

    fn release(file: OpenFile<'_>) -> Result {
        grant::release(InodeId::of(file.inode()), file.id())
    }
}

/// Is told by the file system that a file is closed for the last time (`->release()`): no
/// descriptor and no mapping is left of it.
pub(crate) fn closed(inode: &Inode, file: FileId) {
    grant::end(InodeId::of(inode), file);
}
