// SPDX-License-Identifier: GPL-2.0

//! Identities of kernel objects, which do not keep the objects.
//!
//! An identity is an address that is compared and ordered, and never followed. It is right while
//! the object lives. Code that stores an identity has to notice the object's end, or keep the
//! object by other means, because the next object may get the same address.

use crate::rust::{
    bindings,
    safe,
    vfs::Inode, //
};
use core::ptr::NonNull;
use kernel::{
    bindings::pid_type_PIDTYPE_TGID,
    mm::Mm,
    task::Task, //
};

/// The identity of an inode.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InodeId(usize);

impl InodeId {
    /// Sorts before or at the identity of every inode.
    pub(crate) const FIRST: Self = Self(0);

    /// Returns the identity of an inode.
    pub(crate) fn of(inode: &Inode) -> Self {
        Self(inode.as_ptr() as usize)
    }

    pub(crate) fn of_raw(inode: *const bindings::inode) -> Self {
        Self(inode as usize)
    }
}

/// The identity of an open file description (`struct file`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId(usize);

impl FileId {
    /// Sorts before or at the identity of every file.
    pub(crate) const FIRST: Self = Self(0);

    /// Returns a number that differs between most files.
    pub(crate) fn hash(self) -> u32 {
        // The golden ratio spreads addresses that differ in a few middle bits.
        ((self.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
    }

    pub(crate) fn of_raw(file: *const bindings::file) -> Self {
        Self(file as usize)
    }
}

/// The identity of an address space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MmId(usize);

impl MmId {
    /// Returns the identity of an address space.
    pub(crate) fn of(mm: &Mm) -> Self {
        Self(mm.as_raw() as usize)
    }

    pub(crate) fn of_raw(mm: *const bindings::mm_struct) -> Self {
        Self(mm as usize)
    }
}

/// The identity of a task.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskId(usize);

impl TaskId {
    /// Returns the identity of the current task.
    pub(crate) fn current() -> Self {
        Self(Task::current_raw() as usize)
    }
}

/// A process. The value stays valid after the process has ended: no other process is equal to it.
///
/// # Invariants
///
/// The value owns a reference to the `struct pid` of the thread group.
pub(crate) struct ThreadGroup(NonNull<bindings::pid>);

// SAFETY: `struct pid` is reference-counted, and the functions used on it may be called anywhere.
unsafe impl Send for ThreadGroup {}
// SAFETY: A shared reference allows only to compare the address.
unsafe impl Sync for ThreadGroup {}

impl ThreadGroup {
    /// Returns the process that the current task belongs to, or `None` while it is being reaped.
    pub(crate) fn current() -> Option<Self> {
        // SAFETY: The current task exists as long as it runs this, and the function takes the locks
        // that it needs.
        let pid = unsafe { bindings::get_task_pid(Task::current_raw(), pid_type_PIDTYPE_TGID) };
        // INVARIANT: `get_task_pid` returns a reference.
        NonNull::new(pid).map(Self)
    }

    /// Returns whether the current task belongs to this process. May be called in any context; an
    /// interrupt belongs to no process.
    pub(crate) fn is_current(&self) -> bool {
        safe::pinfs_helper_current_tgid() == self.0.as_ptr()
    }
}

impl PartialEq for ThreadGroup {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Drop for ThreadGroup {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant the value owns the reference.
        unsafe { bindings::put_pid(self.0.as_ptr()) };
    }
}
