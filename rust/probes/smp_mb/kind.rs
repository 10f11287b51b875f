// SPDX-License-Identifier: GPL-2.0

//! The barrier takes its kind as an argument.

pub fn probe() {
    kernel::sync::barrier::smp_mb(kernel::sync::barrier::Full);
}
