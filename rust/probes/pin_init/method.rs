// SPDX-License-Identifier: GPL-2.0

//! Initialisers have a method that does it.

use core::convert::Infallible;
use kernel::prelude::*;

/// # Safety
///
/// As the method.
pub unsafe fn probe<T>(slot: *mut T, init: impl PinInit<T, Infallible>) {
    // SAFETY: By this function's requirements.
    let Ok(()) = unsafe { init.__pinned_init(slot) };
}
