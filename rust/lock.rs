// SPDX-License-Identifier: GPL-2.0

//! The locks of an inode as values, so that a held lock is an argument and not a comment.
//!
//! # Lock order
//!
//! The table has all locks that pinfs takes, or that it is called under, outermost first. A task
//! that holds one takes only locks with a higher number. The name is the class that lockdep
//! reports.
//!
//! |  # | Lock | Class | Taken by |
//! |---:|------|-------|----------|
//! |  1 | `s_umount` | the kernel's | VFS: mount, umount and remount, with the recovery of a remount; shared: the quarantine at the last close of a file, with no lock held |
//! |  2 | write access to the superblock | the kernel's | VFS: `sb_start_write()`. A fault takes `sb_start_pagefault()`, which comes after 4 |
//! |  3 | `i_rwsem`, of the parent directory, then of the inode | the kernel's | [`InodeLock`], [`SharedInodeLock`]; [`VfsLocked`] where the VFS holds it |
//! |  4 | `mmap_lock` | the kernel's | a fault; a copy from or to user memory; a pin |
//! |  5 | `invalidate_lock` of the mapping | the kernel's | exclusive: [`LayoutLock`], [`NoFaults`]; shared: [`FaultLock`] |
//! |  6 | the map lock of an inode, by ascending inode number | `pinfs_map` | `src/fs` ([`RwSemaphore`]) |
//! |  7 | the journal, with the free space | `pinfs_journal` | `src/fs` |
//! |  8 | the observer of unpins | `pinfs_observer` | a pin, after 4 or without it; ftrace's locks are taken, and RCU-tasks grace periods waited for, under it |
//! |  9 | `flc_lock` of an inode | the kernel's | lease code. Spin lock |
//! | 10 | the registry of leases and pins | `pinfs_registry` | `src/layout`, in any context, under any lock that a caller of `unpin_user_page()` holds. Spin lock, interrupts disabled |
//! | 11 | `i_pages` of a mapping | the kernel's | marking pinned pages dirty, under 10. Spin lock, interrupts disabled |
//!
//! No other lock of pinfs is taken under the leaves: `pinfs_map_last` and `pinfs_untracked` of an
//! inode (spin locks, in process context); `owner_scopes_lock` of `caller.c`, `pid_table_lock` of
//! `proc_pid_table.c` and `init_lock` of `helpers/notrace/spinlock.c` (raw spin locks, interrupts
//! disabled; `init_lock` only until the registry's lock is initialised); the wait queue of a folio,
//! whose wake-up ends a quarantine (interrupts disabled).
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::rust::{
    bindings,
    safe,
    vfs::{
        FileSystem,
        FsInode,
        Inode, //
    }, //
};
use core::{
    cell::Cell,
    ops::Range, //
};
use kernel::{
    prelude::*,
    str::CStr,
    sync::LockClassKey,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

/// Evidence that the current task holds an inode's `i_rwsem` exclusively.
///
/// # Safety
///
/// [`ExclusiveInode::inode`] must always return the same inode. The current task must hold the lock
/// of this inode as long as the value is borrowed.
pub(crate) unsafe trait ExclusiveInode {
    /// The file system of the inode.
    type Fs: FileSystem;

    /// Returns the locked inode.
    fn inode(&self) -> &FsInode<Self::Fs>;
}

/// Evidence that the current task holds an inode's `i_rwsem`, or its `mapping->invalidate_lock`, at
/// least shared. None of the inode's written blocks is freed or moved meanwhile: that needs both
/// locks exclusively.
///
/// # Safety
///
/// The current task must hold one of the locks as long as the value lives.
pub(crate) unsafe trait HeldInode {}

// SAFETY: The `i_rwsem` is held, by the requirements of the other trait.
unsafe impl<L: ExclusiveInode> HeldInode for L {}
// SAFETY: The `i_rwsem` is held shared, by the type's invariant.
unsafe impl<F: FileSystem> HeldInode for SharedInodeLock<'_, F> {}

/// Evidence that the VFS holds the inode's `i_rwsem` exclusively during the call that got this
/// value.
///
/// # Invariants
///
/// The lock is held by the current task for `'a`.
pub(crate) struct VfsLocked<'a, F: FileSystem>(&'a FsInode<F>, NotThreadSafe);

impl<F: FileSystem> VfsLocked<'_, F> {
    /// # Safety
    ///
    /// `inode` must point at an inode of `F` that stays referenced, and whose `i_rwsem` the
    /// current task holds exclusively, as long as the returned value lives.
    pub(crate) unsafe fn from_raw(inode: *mut bindings::inode) -> Self {
        // SAFETY: The inode is one of `F` that stays referenced, by this function's requirements.
        // INVARIANT: The lock is held, by the same requirements.
        Self(unsafe { FsInode::from_raw(inode) }, NotThreadSafe)
    }
}

// SAFETY: The `i_rwsem` is held, by the type's invariant.
unsafe impl<F: FileSystem> ExclusiveInode for VfsLocked<'_, F> {
    type Fs = F;

    fn inode(&self) -> &FsInode<F> {
        self.0
    }
}

/// An inode's `i_rwsem`, held exclusively until the value is dropped.
///
/// # Invariants
///
/// The lock is held by the current task.
#[must_use = "the lock unlocks when the guard is dropped"]
pub(crate) struct InodeLock<'a, F: FileSystem>(&'a FsInode<F>, NotThreadSafe);

impl<'a, F: FileSystem> InodeLock<'a, F> {
    /// Waits for the lock (`inode_lock()`).
    pub(crate) fn new(inode: &'a FsInode<F>) -> Self {
        safe::pinfs_helper_inode_lock(inode);
        // INVARIANT: Just taken.
        Self(inode, NotThreadSafe)
    }

    /// Takes the lock, or returns `None` if it is held (`inode_trylock()`).
    pub(crate) fn try_new(inode: &'a FsInode<F>) -> Option<Self> {
        let taken = safe::pinfs_helper_inode_trylock(inode);
        // INVARIANT: Just taken.
        taken.then(|| Self(inode, NotThreadSafe))
    }
}

// SAFETY: The `i_rwsem` is held, by the type's invariant.
unsafe impl<F: FileSystem> ExclusiveInode for InodeLock<'_, F> {
    type Fs = F;

    fn inode(&self) -> &FsInode<F> {
        self.0
    }
}

impl<F: FileSystem> Drop for InodeLock<'_, F> {
    fn drop(&mut self) {
        // SAFETY: The lock is held, by the type's invariant.
        unsafe { bindings::pinfs_helper_inode_unlock(self.0.as_ptr()) };
    }
}

/// An inode's `i_rwsem`, held shared until the value is dropped.
///
/// # Invariants
///
/// The lock is held by the current task.
#[must_use = "the lock unlocks when the guard is dropped"]
pub(crate) struct SharedInodeLock<'a, F: FileSystem>(&'a FsInode<F>, NotThreadSafe);

impl<'a, F: FileSystem> SharedInodeLock<'a, F> {
    /// Waits for the lock (`inode_lock_shared()`).
    pub(crate) fn new(inode: &'a FsInode<F>) -> Self {
        safe::pinfs_helper_inode_lock_shared(inode);
        // INVARIANT: Just taken.
        Self(inode, NotThreadSafe)
    }

    /// Takes the lock, or returns `None` if it is held exclusively (`inode_trylock_shared()`).
    pub(crate) fn try_new(inode: &'a FsInode<F>) -> Option<Self> {
        let taken = safe::pinfs_helper_inode_trylock_shared(inode);
        // INVARIANT: Just taken.
        taken.then(|| Self(inode, NotThreadSafe))
    }
}

impl<F: FileSystem> Drop for SharedInodeLock<'_, F> {
    fn drop(&mut self) {
        // SAFETY: The lock is held, by the type's invariant.
        unsafe { bindings::pinfs_helper_inode_unlock_shared(self.0.as_ptr()) };
    }
}

/// Conditions that the VFS and the file system have checked before an operation began: that the
/// caller may change the file, and that the file may change. They have to be checked again whenever
/// the operation has dropped its locks.
///
/// An operation whose arguments depend on the file (its size, say) checks these itself; see
/// `crate::layout::Broken`.
pub(crate) trait Recheck<F: FileSystem> {
    /// Returns an error if the operation must not continue. The inode's `i_rwsem` is held
    /// exclusively.
    fn recheck(&self, inode: &FsInode<F>) -> Result;
}

/// Both locks that keep a file's layout stable: `i_rwsem` and `mapping->invalidate_lock`, each
/// exclusive. They exclude reads, writes and page faults of the file.
///
/// # Invariants
///
/// Both locks are held by the current task. The pages of the bytes in `idle.0..idle.1` are out of
/// page tables, and only the mapping references them.
#[must_use = "the lock unlocks when the guard is dropped"]
pub(crate) struct LayoutLock<'a, F: FileSystem> {
    inode: &'a FsInode<F>,
    checks: &'a dyn Recheck<F>,
    idle: Cell<(u64, u64)>,
    _not_send: NotThreadSafe,
}

impl<'a, F: FileSystem> LayoutLock<'a, F> {
    /// Waits for direct I/O in flight, then for the invalidate lock.
    ///
    /// The callers are `setattr` and `fallocate`. `checks` repeats the checks that they and the VFS
    /// have made before.
    pub(crate) fn new(
        locked: &'a mut impl ExclusiveInode<Fs = F>,
        checks: &'a dyn Recheck<F>,
    ) -> Self {
        let inode = locked.inode();
        // The i_rwsem is held, so no new direct I/O starts.
        safe::inode_dio_wait(inode);
        safe::pinfs_helper_invalidate_lock(inode);
        // INVARIANT: The mutable borrow of the evidence keeps the i_rwsem held.
        Self {
            inode,
            checks,
            idle: Cell::new((0, 0)),
            _not_send: NotThreadSafe,
        }
    }

    /// Records the bytes whose pages are out of page tables and idle, in place of those that were
    /// recorded before.
    ///
    /// # Safety
    ///
    /// The pages must be idle and out of page tables until the locks are released.
    pub(super) unsafe fn set_idle(&self, bytes: &Range<u64>) {
        // INVARIANT: By this function's requirements.
        self.idle.set((bytes.start, bytes.end));
    }

    /// Returns whether all of the bytes are among those that were recorded last.
    pub(super) fn is_idle(&self, bytes: &Range<u64>) -> bool {
        let (start, end) = self.idle.get();
        start <= bytes.start && bytes.end <= end
    }

    /// Releases both locks, runs `wait` and takes the locks again, so that reads, writes and faults
    /// continue meanwhile. A freeze of the file system can continue, too, if the caller of the file
    /// system is known to hold the write access that a freeze waits for. Else the write access is
    /// not released, as the caller may hold none.
    ///
    /// The operation's checks are repeated. The caller has to repeat all other checks of the file
    /// that it made before the call.
    ///
    /// # Errors
    ///
    /// The error of `wait` or of [`Recheck::recheck`]; the locks are held in any case.
    pub(crate) fn unlocked<R>(&mut self, wait: impl FnOnce() -> Result<R>) -> Result<R> {
        let inode = self.inode;
        let write_access = safe::pinfs_helper_holds_write_access();
        // INVARIANT: Pages may get references without the locks, so none is recorded any more.
        self.idle.set((0, 0));
        // SAFETY: Both locks are held, by the type's invariant, and so is the write access if the
        // helper has returned true. They are taken again below.
        unsafe {
            bindings::pinfs_helper_invalidate_unlock(inode.as_ptr());
            bindings::pinfs_helper_inode_unlock(inode.as_ptr());
            if write_access {
                bindings::pinfs_helper_sb_end_write(inode.as_ptr());
            }
        }
        let result = wait();
        // Takes them in the lock order.
        // INVARIANT: Both locks are held again.
        if write_access {
            safe::pinfs_helper_sb_start_write(inode);
        }
        safe::pinfs_helper_inode_lock(inode);
        safe::inode_dio_wait(inode);
        safe::pinfs_helper_invalidate_lock(inode);
        let result = result?;
        self.checks.recheck(self.inode)?;
        Ok(result)
    }
}

// SAFETY: The `i_rwsem` is held, by the type's invariant.
unsafe impl<F: FileSystem> ExclusiveInode for LayoutLock<'_, F> {
    type Fs = F;

    fn inode(&self) -> &FsInode<F> {
        self.inode
    }
}

impl<F: FileSystem> Drop for LayoutLock<'_, F> {
    fn drop(&mut self) {
        // SAFETY: The lock is held, by the type's invariant.
        unsafe { bindings::pinfs_helper_invalidate_unlock(self.inode.as_ptr()) };
    }
}

/// Write access to a superblock for a page fault, released when the value is dropped. A freeze
/// waits for it. It comes after the mmap lock in the lock order.
///
/// # Invariants
///
/// `sb_start_pagefault()` was called for the inode's superblock.
#[must_use = "write access ends when the guard is dropped"]
pub(crate) struct FaultWriteAccess<'a>(&'a Inode, NotThreadSafe);

impl<'a> FaultWriteAccess<'a> {
    /// Waits until the file system is not frozen (`sb_start_pagefault()`).
    pub(crate) fn new(inode: &'a Inode) -> Self {
        safe::pinfs_helper_sb_start_pagefault(inode);
        // INVARIANT: Just called.
        Self(inode, NotThreadSafe)
    }
}

impl Drop for FaultWriteAccess<'_> {
    fn drop(&mut self) {
        // SAFETY: The access was taken, by the type's invariant, and is released once.
        unsafe { bindings::pinfs_helper_sb_end_pagefault(self.0.as_ptr()) };
    }
}

/// A shared `mapping->invalidate_lock`, which keeps the layout from changing under a page fault or
/// an allocation that does not hold `i_rwsem`.
///
/// # Invariants
///
/// The lock is held by the current task.
#[must_use = "the lock unlocks when the guard is dropped"]
pub(crate) struct FaultLock<'a>(&'a Inode, NotThreadSafe);

impl<'a> FaultLock<'a> {
    /// Waits for the lock (`filemap_invalidate_lock_shared()`).
    pub(crate) fn new(inode: &'a Inode) -> Self {
        safe::pinfs_helper_invalidate_lock_shared(inode);
        // INVARIANT: Just taken.
        Self(inode, NotThreadSafe)
    }
}

impl Drop for FaultLock<'_> {
    fn drop(&mut self) {
        // SAFETY: The lock is held, by the type's invariant.
        unsafe { bindings::pinfs_helper_invalidate_unlock_shared(self.0.as_ptr()) };
    }
}

/// An exclusive `mapping->invalidate_lock` without the rest of [`LayoutLock`]: no page fault of the
/// file is in progress.
///
/// # Invariants
///
/// The lock is held by the current task.
#[must_use = "the lock unlocks when the guard is dropped"]
pub(crate) struct NoFaults<'a>(&'a Inode, NotThreadSafe);

impl<'a> NoFaults<'a> {
    /// Waits for the lock (`filemap_invalidate_lock()`).
    pub(crate) fn new(inode: &'a Inode) -> Self {
        safe::pinfs_helper_invalidate_lock(inode);
        // INVARIANT: Just taken.
        Self(inode, NotThreadSafe)
    }

    /// Returns the inode.
    pub(crate) fn inode(&self) -> &Inode {
        self.0
    }
}

impl Drop for NoFaults<'_> {
    fn drop(&mut self) {
        // SAFETY: The lock is held, by the type's invariant.
        unsafe { bindings::pinfs_helper_invalidate_unlock(self.0.as_ptr()) };
    }
}

/// A reader-writer lock that sleeps (`struct rw_semaphore`). It protects data on the device, and
/// none in memory.
#[pin_data]
pub(crate) struct RwSemaphore {
    #[pin]
    inner: Opaque<bindings::rw_semaphore>,
}

// SAFETY: The lock does not depend on the task that has initialised it.
unsafe impl Send for RwSemaphore {}
// SAFETY: A shared reference allows only to take the lock, which any task may.
unsafe impl Sync for RwSemaphore {}

impl RwSemaphore {
    /// Returns an initialiser. `class` tells lockdep which locks are of one kind.
    pub(crate) fn new(
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot| {
                // SAFETY: The slot is ours to initialise, and pinned. Name and class are static.
                unsafe { bindings::__init_rwsem(slot, name.as_char_ptr(), class.as_ptr()) }
            }),
        })
    }

    /// Returns the wrapped `struct rw_semaphore`.
    pub(super) fn as_ptr(&self) -> *mut bindings::rw_semaphore {
        self.inner.get()
    }

    /// Takes the lock shared (`down_read()`).
    pub(crate) fn read(&self) -> ReadGuard<'_> {
        safe::down_read(self);
        // INVARIANT: Just taken.
        ReadGuard(self, NotThreadSafe)
    }

    /// Takes the lock shared, or returns `None` if it is held exclusively (`down_read_trylock()`).
    pub(crate) fn try_read(&self) -> Option<ReadGuard<'_>> {
        let taken = safe::down_read_trylock(self) != 0;
        // INVARIANT: Just taken.
        taken.then(|| ReadGuard(self, NotThreadSafe))
    }

    /// Takes the lock exclusively (`down_write()`).
    pub(crate) fn write(&self) -> WriteGuard<'_> {
        self.write_nested(0)
    }

    /// Takes the lock exclusively while `depth` others of its class are held that come before it.
    pub(crate) fn write_nested(&self, depth: i32) -> WriteGuard<'_> {
        safe::pinfs_helper_down_write_nested(self, depth);
        // INVARIANT: Just taken.
        WriteGuard(self, NotThreadSafe)
    }
}

/// An [`RwSemaphore`] held shared.
///
/// # Invariants
///
/// The lock is held by the current task.
#[must_use = "the lock unlocks when the guard is dropped"]
pub(crate) struct ReadGuard<'a>(&'a RwSemaphore, NotThreadSafe);

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: The lock is held, by the type's invariant.
        unsafe { bindings::up_read(self.0.inner.get()) };
    }
}

/// An [`RwSemaphore`] held exclusively.
///
/// # Invariants
///
/// The lock is held by the current task.
#[must_use = "the lock unlocks when the guard is dropped"]
pub(crate) struct WriteGuard<'a>(&'a RwSemaphore, NotThreadSafe);

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: The lock is held, by the type's invariant.
        unsafe { bindings::up_write(self.0.inner.get()) };
    }
}
