// SPDX-License-Identifier: GPL-2.0

//! What happens at the same time in `src/pins` and `src/layout`: all interleavings, up to a bound.
//!
//! The sources are those of the module as they are. This crate is to them what both the kernel crate
//! and the rest of the module are, on top of loom, which runs a model again and again with its
//! threads interleaved in all ways that have not more than so many preemptions (`PINFS_PREEMPTIONS`
//! says how many) and with all values that a relaxed load may see:
//!
//! * [`kernel_crate`]: what they use of the kernel crate;
//! * [`walls`]: of `rust/`, with the same names, and the machine below it ([`machine`]): page tables
//!   and page frames, leases, tasks, deferred work;
//! * [`models`]: what the threads do, and what must hold then.
//!
//! That a model would find what it is about is shown by [`broken`]: copies of the sources with one
//! thing changed, made by the build script, in which the model must find something.

#![forbid(unsafe_code)]
#![expect(
    dead_code,
    unused_imports,
    reason = "the module uses more than the models"
)]

extern crate self as kernel;

mod kernel_crate;
mod machine;
mod models;
mod walls;

#[path = "../../../../src/small_vec.rs"]
mod small_vec;

#[path = "../../../../src"]
mod kernel_module {
    pub(crate) mod layout {
        pub(crate) mod busy;
        pub(crate) mod lease;
    }
    pub(crate) mod pins;
}

mod broken {
    include!(concat!(env!("OUT_DIR"), "/broken.rs"));
}

use kernel_crate::{ffi, mm, page, prelude, rbtree, str, sync};
use kernel_module::{layout, pins};
use walls::{dax, fs, gup, hook, identity, irq, lease, lock, proc, task, trace, uring, vfs, work};

/// Runs a model that has to find something.
fn must_fail(model: fn()) {
    let found =
        std::panic::catch_unwind(model).expect_err("a model finds nothing in a broken copy");
    let what = found.downcast_ref::<String>().map_or("", String::as_str);
    assert!(what.starts_with("violation: "), "{what}");
    println!("{what}");
}

macro_rules! tests {
    ($($model:ident,)+) => {
        $(#[test]
        fn $model() {
            models::$model();
        })+
    };
}

tests! {
    break_abandoned,
    break_or_give_back,
    break_or_shrink,
    clone_or_pin,
    close_or_pin,
    close_or_unpin,
    kernel_unpins_or_close,
    pin_beside_an_unpin,
    pin_or_forbid,
    punch_or_lease,
    punch_or_pin,
    punch_or_pin_beside_another,
    refused_change,
    refused_taker,
    shrink_or_pin,
    stop_watching_or_pin,
    time_out_beside_pins,
    time_out_or_add,
    time_out_or_give_back,
    time_out_or_strengthen,
    two_breakers,
    two_takers,
    two_unpins,
    unlock_or_pin,
}
