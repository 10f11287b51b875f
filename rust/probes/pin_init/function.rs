// SPDX-License-Identifier: GPL-2.0

//! A function runs an initialiser in place.

use core::convert::Infallible;
use kernel::prelude::*;

/// # Safety
///
/// The requirements of `raw_try_init()`.
pub unsafe fn probe<T>(slot: *mut T, init: impl PinInit<T, Infallible>) {
    // SAFETY: By this function's requirements.
    let Ok(()) = unsafe { pin_init::raw_try_init(slot, init) };
}
