// SPDX-License-Identifier: GPL-2.0

//! A method runs an initialiser in place.

use core::convert::Infallible;
use kernel::prelude::*;

/// # Safety
///
/// The requirements of `__pinned_init()`.
pub unsafe fn probe<T>(slot: *mut T, init: impl PinInit<T, Infallible>) {
    // SAFETY: By this function's requirements.
    let Ok(()) = unsafe { init.__pinned_init(slot) };
}
