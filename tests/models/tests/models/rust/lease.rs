// SPDX-License-Identifier: GPL-2.0

//! Leases as the kernel has them, `fs/locks.c`: of the one file, with the time that holders have.

use crate::{
    machine::{
        self,
        machine, //
    },
    prelude::*,
    rust::{
        identity::FileId,
        vfs::Inode, //
    }, //
};
use core::ffi::{c_int, c_uint};
use std::sync::atomic::Ordering::SeqCst;

pub(crate) const F_RDLCK: c_int = 0;
pub(crate) const F_WRLCK: c_int = 1;
pub(crate) const F_UNLCK: c_int = 2;
pub(crate) const F_LAYOUT: c_int = 16;
pub(crate) const F_EXCLUSIVE: c_int = 32;
pub(crate) const F_UNBREAK: c_int = 64;

/// The open file on which the kernel refuses leases for a reason that nobody else knows.
pub(crate) const REFUSED: FileId = FileId(12);

/// An open file description of the file.
#[derive(Clone, Copy)]
pub(crate) struct OpenFile<'a> {
    id: FileId,
    inode: &'a Inode,
}

impl<'a> OpenFile<'a> {
    pub(crate) fn of(id: FileId) -> OpenFile<'static> {
        OpenFile {
            id,
            inode: &machine::INODE,
        }
    }

    pub(crate) fn id(self) -> FileId {
        self.id
    }

    pub(crate) fn inode(self) -> &'a Inode {
        self.inode
    }

    pub(crate) fn is_writable(self) -> bool {
        true
    }

    pub(crate) fn may_lease(self) -> bool {
        true
    }
}

pub(crate) struct LeaseView {
    pub(crate) is_exclusive: bool,
    pub(crate) is_breaking: bool,
    pub(crate) is_own: bool,
}

pub(crate) trait Leases: 'static {
    fn wants_set(file: OpenFile<'_>, arg: c_int) -> bool;
    fn set(file: OpenFile<'_>, fd: c_uint, arg: c_int) -> Result;
    fn wants_get(file: OpenFile<'_>) -> bool;
    fn get(file: OpenFile<'_>) -> c_int;
    fn is_exempt(file: OpenFile<'_>) -> bool;
    fn breaking(file: OpenFile<'_>) -> bool;
    fn timed_out(file: OpenFile<'_>) -> bool;
    fn admit(file: OpenFile<'_>) -> Result;
    fn commit(file: OpenFile<'_>) -> Result<LeaseView>;
    fn release(file: OpenFile<'_>) -> Result;
}

/// What the kernel's lease code asks the module.
#[derive(Clone, Copy)]
struct Manager {
    release: fn(FileId) -> Result,
    /// Says whether there is still something to wait for.
    commit: fn(FileId) -> Result<bool>,
    is_exempt: fn(FileId) -> bool,
    breaking: fn(FileId) -> bool,
    timed_out: fn(FileId) -> bool,
}

/// Until when a lease has to be gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Never,
    Later,
    Past,
}

/// The kernel's lease of an open file.
pub(crate) struct KernelLease {
    file: FileId,
    manager: Manager,
    due: Due,
    /// How often those who wait for it to go were told to look again.
    wakes: u64,
}

/// Runs something under `flc_lock`.
fn locked<R>(run: impl FnOnce(&mut Vec<KernelLease>) -> R) -> R {
    let mut leases = machine().leases.lock().unwrap();
    machine::spins(true);
    let result = run(&mut leases);
    machine::spins(false);
    result
}

fn manager<L: Leases>() -> Manager {
    Manager {
        release: |file| L::release(OpenFile::of(file)),
        commit: |file| L::commit(OpenFile::of(file)).map(|view| view.is_breaking),
        is_exempt: |file| L::is_exempt(OpenFile::of(file)),
        breaking: |file| L::breaking(OpenFile::of(file)),
        timed_out: |file| L::timed_out(OpenFile::of(file)),
    }
}

impl KernelLease {
    /// `lm_change()`.
    fn change(&mut self) -> Result {
        if !(self.manager.commit)(self.file)? {
            self.due = Due::Never;
        }
        self.wakes += 1;
        Ok(())
    }
}

/// `time_out_leases()`.
fn time_out(leases: &mut Vec<KernelLease>) {
    leases.retain_mut(|lease| {
        let is_gone = lease.due == Due::Past && (lease.manager.timed_out)(lease.file);
        if lease.due == Due::Past {
            lease.due = Due::Never;
        }
        !is_gone
    });
}

/// Lets the time pass that holders have.
pub(crate) fn expire() {
    locked(|leases| {
        for lease in leases.iter_mut().filter(|lease| lease.due == Due::Later) {
            lease.due = Due::Past;
        }
    });
}

/// `vfs_setlease()`.
pub(crate) fn install<L: Leases>(file: OpenFile<'_>, _fd: c_int) -> Result {
    // A security module, say.
    if file.id() == REFUSED && machine().refuses.load(SeqCst) {
        return Err(EACCES);
    }
    locked(|leases| {
        time_out(leases);
        L::admit(file)?;
        let mut others = leases.iter().filter(|lease| lease.file != file.id());
        if others.any(|lease| lease.due != Due::Never) {
            return Err(EAGAIN);
        }
        match leases.iter_mut().find(|lease| lease.file == file.id()) {
            Some(lease) => lease.change()?,
            None => {
                leases.push(KernelLease {
                    file: file.id(),
                    manager: manager::<L>(),
                    due: Due::Never,
                    wakes: 0,
                });
            }
        }
        // The kernel's lease has some type in any case.
        let _ = L::commit(file);
        Ok(())
    })
}

pub(crate) fn update<L: Leases>(file: OpenFile<'_>) -> Result {
    locked(|leases| {
        let mut leases = leases.iter_mut();
        let lease = leases.find(|lease| lease.file == file.id());
        lease.ok_or(EAGAIN)?.change()
    })
}

/// Says whether the kernel has a lease of a file.
pub(crate) fn is_leased<L: Leases>(file: OpenFile<'_>) -> bool {
    locked(|leases| leases.iter().any(|lease| lease.file == file.id()))
}

pub(crate) fn remove(file: OpenFile<'_>) -> Result {
    locked(|leases| {
        let at = leases
            .iter()
            .position(|lease| lease.file == file.id())
            .ok_or(EAGAIN)?;
        (leases[at].manager.release)(file.id())?;
        leases.remove(at);
        Ok(())
    })
}

/// What the kernel does when a file is closed for the last time.
pub(crate) fn forget(file: OpenFile<'_>) {
    locked(|leases| leases.retain(|lease| lease.file != file.id()));
}

/// Returns the first lease that the current task has to wait for.
fn conflicting(leases: &[KernelLease]) -> Option<(FileId, u64)> {
    leases
        .iter()
        .find(|lease| !(lease.manager.is_exempt)(lease.file))
        .map(|lease| (lease.file, lease.wakes))
}

/// `__break_lease()`.
pub(crate) fn break_layout(_inode: &Inode, wait: bool) -> Result {
    let mut waited_for = locked(|leases| {
        time_out(leases);
        for lease in leases.iter_mut() {
            if !(lease.manager.is_exempt)(lease.file) && lease.due == Due::Never {
                lease.due = Due::Later;
                if !(lease.manager.breaking)(lease.file) {
                    lease.due = Due::Never;
                }
            }
        }
        conflicting(leases)
    });
    while let Some((file, wakes)) = waited_for {
        if !wait {
            return Err(EAGAIN);
        }
        let is_late = sleep(file, wakes)?;
        waited_for = locked(|leases| {
            if is_late {
                time_out(leases);
            }
            conflicting(leases)
        });
    }
    Ok(())
}

/// Waits until who waits for a lease is told to look again, or time is up; then returns true.
fn sleep(file: FileId, wakes: u64) -> Result<bool> {
    machine::might_sleep("waits for a lease");
    for _ in 0..8 {
        loom::thread::yield_now();
        let due = locked(|leases| {
            let mut leases = leases.iter();
            leases
                .find(|lease| lease.file == file && lease.wakes == wakes)
                .map(|lease| lease.due)
        });
        match due {
            None => return Ok(false),
            Some(Due::Later) => (),
            // One without a limit of time is looked at again soon.
            Some(Due::Past | Due::Never) => return Ok(true),
        }
    }
    if !machine().expires.load(SeqCst) {
        machine::violation("waits for a lease that is not given back");
        return Err(EINTR);
    }
    expire();
    Ok(true)
}
