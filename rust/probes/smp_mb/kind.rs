// SPDX-License-Identifier: GPL-2.0

//! The barrier is told its kind.

pub fn probe() {
    kernel::sync::barrier::smp_mb(kernel::sync::barrier::Full);
}
