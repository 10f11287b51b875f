// SPDX-License-Identifier: GPL-2.0

//! A lock that interrupt handlers may take, for data that lives as long as the module.
//!
//! The kernel crate's `SpinLock` does not disable interrupts, and has to be pinned and initialised
//! before its first use, which safe code cannot do for a `static`.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use crate::rust::bindings;
use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    }, //
};
use kernel::{
    ffi::c_ulong,
    prelude::*,
    str::CStr,
    sync::atomic::{
        Acquire,
        Atomic, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

/// Data under a spin lock that is held with interrupts disabled.
///
/// # Invariants
///
/// `lock` is initialised once `ready` reads true.
pub(crate) struct IrqLock<T> {
    lock: Opaque<bindings::spinlock_t>,
    ready: Atomic<bool>,
    name: &'static CStr,
    data: UnsafeCell<T>,
}

// SAFETY: The lock passes the data from one holder to the next.
unsafe impl<T: Send> Send for IrqLock<T> {}
// SAFETY: There is one holder at a time, and only the holder can access the data.
unsafe impl<T: Send> Sync for IrqLock<T> {}

impl<T> IrqLock<T> {
    /// Returns a lock for use as a `static`. `name` is its class in lockdep.
    pub(crate) const fn new(name: &'static CStr, data: T) -> Self {
        // INVARIANT: Not ready.
        Self {
            lock: Opaque::uninit(),
            ready: Atomic::<bool>::new(false),
            name,
            data: UnsafeCell::new(data),
        }
    }

    /// Disables interrupts and takes the lock (`spin_lock_irqsave()`).
    ///
    /// `self` is `'static`, because the lock must not move while a task may wait for it.
    pub(crate) fn lock(&'static self) -> IrqGuard<T> {
        if !self.ready.load(Acquire) {
            // SAFETY: The pointers are valid for as long as the module is loaded, and the function
            // serialises its callers.
            // INVARIANT: It sets `ready` after it has initialised the lock.
            unsafe {
                bindings::pinfs_helper_spin_lock_init_once(
                    self.lock.get(),
                    self.name.as_char_ptr(),
                    self.ready.as_ptr(),
                )
            };
        }
        // SAFETY: The lock is initialised, by the invariant: `ready` was read as true, or set in
        // the call.
        let flags = unsafe { bindings::pinfs_helper_spin_lock_irqsave(self.lock.get()) };
        IrqGuard {
            lock: self,
            flags,
            _not_send: NotThreadSafe,
        }
    }
}

/// A held [`IrqLock`], released when the value is dropped.
#[must_use = "the lock unlocks when the guard is dropped"]
pub(crate) struct IrqGuard<T: 'static> {
    lock: &'static IrqLock<T>,
    flags: c_ulong,
    _not_send: NotThreadSafe,
}

impl<T> Deref for IrqGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The lock is held as long as the guard exists.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for IrqGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The lock is held as long as the guard exists, which is borrowed mutably.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for IrqGuard<T> {
    fn drop(&mut self) {
        // SAFETY: The lock is held, and `flags` are those that were saved when it was taken.
        unsafe { bindings::pinfs_helper_spin_unlock_irqrestore(self.lock.lock.get(), self.flags) };
    }
}
