// SPDX-License-Identifier: GPL-2.0

//! What happens at the same time in `src/layout`: all interleavings, up to a bound.
//!
//! The sources are those of the module as they are. This crate is to them what both the kernel crate
//! and the rest of the module are, on top of loom, which runs a model again and again with its
//! threads interleaved in all ways that have not more than so many preemptions (`PINFS_PREEMPTIONS`
//! says how many) and with all values that a relaxed load may see:
//!
//! * [`kernel_crate`]: what they use of the kernel crate;
//! * [`rust`]: of `rust/`, with the same names, and the machine below it ([`machine`]): page tables
//!   and page frames, leases, tasks, deferred work;
//! * [`models`]: what the threads do, and what must hold then.
//!
//! That a model would find what it is about is shown by [`broken`]: copies of the sources, each with a
//! patch of `tests/bugs/models`, which the build script makes. The model must find something in its copy.

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
mod rust;

#[path = "../../../../src"]
mod kernel_module {
    pub(crate) mod layout {
        pub(crate) mod breaking;
        pub(crate) mod context;
        pub(crate) mod deferred;
        pub(crate) mod fcntl;
        pub(crate) mod folio_runs;
        pub(crate) mod host;
        pub(crate) mod lease_ranges;
        pub(crate) mod lease_state;
        pub(crate) mod longterm;
        pub(crate) mod node_cache;
        pub(crate) mod observer;
        pub(crate) mod pins;
        pub(crate) mod proc;
        pub(crate) mod registry;
        pub(crate) mod reserve;
        pub(crate) mod unpin;
        pub(crate) mod uring_clones;
    }
}

mod broken {
    include!(concat!(env!("OUT_DIR"), "/broken.rs"));
}

use kernel_crate::{ffi, mm, page, prelude, rbtree, str, sync};
use kernel_module::layout;
use rust::fs;

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
