// SPDX-License-Identifier: GPL-2.0

//! Work that is deferred from where it is not allowed: interrupts, and under spin locks.
//!
//! C headers: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h),
//! [`include/linux/task_work.h`](srctree/include/linux/task_work.h)

use crate::rust::bindings;
use core::marker::PhantomData;
use kernel::{
    ffi::c_uint,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Release, //
    },
    types::Opaque, //
};

/// A function to run later.
pub(crate) trait Job: 'static {
    /// Runs the job. May sleep.
    fn run();
}

/// A job that can be queued from any context while it is [armed].
///
/// [armed]: Deferred::arm
///
/// # Invariants
///
/// `work` is initialised while `armed` is true, and only initialised once: by the task that sets
/// `taken`.
pub(crate) struct Deferred<J: Job> {
    work: Opaque<bindings::delayed_work>,
    taken: Atomic<bool>,
    armed: Atomic<bool>,
    _p: PhantomData<J>,
}

// SAFETY: The workqueue code synchronises the work item.
unsafe impl<J: Job> Sync for Deferred<J> {}

impl<J: Job> Deferred<J> {
    /// Returns a job for use as a `static`.
    pub(crate) const fn new() -> Self {
        // INVARIANT: Not armed.
        Self {
            work: Opaque::uninit(),
            taken: Atomic::<bool>::new(false),
            armed: Atomic::<bool>::new(false),
            _p: PhantomData,
        }
    }

    /// Allows queueing the job as long as the returned value lives.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it was armed before.
    pub(crate) fn arm(&'static self) -> Result<Armed<J>> {
        if self.taken.xchg(true, Full) {
            return Err(EBUSY);
        }
        // SAFETY: The memory is static and is not used before it is armed. That happens once: only
        // one caller has seen `taken` false.
        unsafe { bindings::pinfs_helper_init_delayed_work(self.work.get(), Some(Self::work)) };
        // INVARIANT: Just initialised.
        self.armed.store(true, Release);
        Ok(Armed(self))
    }

    /// Queues the job for a kernel thread in `msecs` milliseconds. A pending job keeps its time.
    pub(crate) fn run_after(&'static self, msecs: u32) {
        if self.armed.load(Acquire) {
            // SAFETY: The work is initialised while `armed` is true, by the type's invariant.
            unsafe {
                bindings::pinfs_helper_queue_delayed_work(self.work.get(), msecs as c_uint, false)
            };
        }
    }

    /// Runs the job as soon as possible. The current task runs it before it returns to user space,
    /// so that the program sees the effect of its call. If the current context belongs to no such
    /// task, a kernel thread runs it.
    pub(crate) fn run_soon(&'static self) {
        if !self.armed.load(Acquire) {
            return;
        }
        // SAFETY: The work is initialised while `armed` is true, by the type's invariant.
        // `on_return` is a function for a task work, and releases the memory and the reference that
        // the helper takes for one.
        unsafe {
            if !bindings::pinfs_helper_task_work(
                crate::rust::compat::this_module(),
                Some(Self::on_return),
            ) {
                bindings::pinfs_helper_queue_delayed_work(self.work.get(), 0, true);
            }
        }
    }

    /// # Safety
    ///
    /// Must be called as the function of a work item.
    unsafe extern "C" fn work(_work: *mut bindings::work_struct) {
        J::run();
    }

    /// # Safety
    ///
    /// Must be called as the function of a task work that the helper has allocated.
    unsafe extern "C" fn on_return(head: *mut bindings::callback_head) {
        J::run();
        // SAFETY: The helper has allocated it, and taken a reference to the module. The code
        // between releasing the reference and the return stays: unloading waits for an RCU-tasks
        // grace period (see `hook.rs`).
        unsafe { bindings::pinfs_helper_task_work_done(crate::rust::compat::this_module(), head) };
    }
}

/// Keeps a [`Deferred`] job armed.
pub(crate) struct Armed<J: Job>(&'static Deferred<J>);

impl<J: Job> Drop for Armed<J> {
    fn drop(&mut self) {
        // All code that could queue the job has ended. This stops jobs that were queued before, and
        // those that queue themselves.
        self.0.armed.store(false, Release);
        // SAFETY: `arm` has initialised the work. The head that is freed after it is a spare one,
        // which is not in use.
        unsafe {
            bindings::cancel_delayed_work_sync(self.0.work.get());
            bindings::pinfs_helper_task_work_exit();
        }
    }
}

/// Keeps the module loaded until the current system call returns. Outside of one it does nothing.
pub(crate) fn hold_module() {
    /// # Safety
    ///
    /// Must be called as the function of a task work that the helper has allocated.
    unsafe extern "C" fn release(head: *mut bindings::callback_head) {
        // SAFETY: The helper has allocated it, and taken a reference to the module, which unloads
        // only after this has returned: see `Deferred::on_return`.
        unsafe { bindings::pinfs_helper_task_work_done(crate::rust::compat::this_module(), head) };
    }

    // SAFETY: `release` is a function for a task work, and releases the memory and the reference
    // that the helper takes for one. If the helper fails, it has taken neither.
    unsafe { bindings::pinfs_helper_task_work(crate::rust::compat::this_module(), Some(release)) };
}
