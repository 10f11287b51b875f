// SPDX-License-Identifier: GPL-2.0

//! The barrier has no argument.

pub fn probe() {
    kernel::sync::barrier::smp_mb();
}
