// SPDX-License-Identifier: GPL-2.0

//! A lock that interrupt handlers may take, for data that lives as long as the module.
//!
//! The kernel crate's `SpinLock` leaves interrupts as they are, and has to be pinned and
//! initialised before its first use, which a `static` in safe code cannot arrange.
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

/// Data behind a spin lock that is held with interrupts disabled.
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

// SAFETY: The lock hands the data from one holder to the next.
unsafe impl<T: Send> Send for IrqLock<T> {}
// SAFETY: There is one holder at a time, to which alone the data is shown.
unsafe impl<T: Send> Sync for IrqLock<T> {}

impl<T> IrqLock<T> {
    /// Returns a lock, to be the value of a `static`. Lockdep calls it by its name.
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
    /// `'static`, because the lock must not move once somebody may wait for it.
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
        // SAFETY: The lock is initialised, by the invariant and the load above.
        let flags = unsafe { bindings::pinfs_helper_spin_lock_irqsave(self.lock.get()) };
        IrqGuard {
            lock: self,
            flags,
            _not_send: NotThreadSafe,
        }
    }
}

/// An [`IrqLock`] held, until the value is dropped.
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
