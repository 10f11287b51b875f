// SPDX-License-Identifier: GPL-2.0

//! Random numbers.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h)

use crate::rust::safe;

/// Returns a random number (`get_random_u32()`).
pub(crate) fn u32() -> u32 {
    safe::get_random_u32()
}
