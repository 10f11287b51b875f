// SPDX-License-Identifier: GPL-2.0

//! Observing unpins while there are pins.
//!
//! A pin first makes sure that unpins are observed ([`Watch::new`]), then reserves, and then has
//! the kernel pin. So no unpin of a pin on record is missed. [`stop_if_idle`] holds the observer's
//! mutex while it looks for users. A pin that has counted itself in [`USERS`] before is seen there.
//! One that does so later finds [`OBSERVED`] cleared, waits for the mutex in `enable()`, and starts
//! the observation again.

use super::{
    deferred,
    registry, //
};
use crate::rust::hook::Observer;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        Arc, //
    }, //
};

/// Number of pins that are being taken.
static USERS: Atomic<usize> = Atomic::new(0);

/// Whether unpins are observed, and no task is about to stop that.
///
/// Spares a pin the mutex. The pin increments [`USERS`] and then reads this; [`stop_if_idle`]
/// clears this and then reads [`USERS`], both with a full barrier in between. So either the pin
/// finds it cleared, or its count is seen and the observation goes on.
static OBSERVED: Atomic<bool> = Atomic::new(false);

/// Keeps unpins observed while a pin is being taken. Once it is on record, the record does.
pub(super) struct Watch;

impl Watch {
    /// Starts to observe unpins.
    ///
    /// # Errors
    ///
    /// As [`Observer::enable`].
    pub(super) fn new() -> Result<Self> {
        USERS.fetch_add(1, Full);
        let watch = Self;
        if !OBSERVED.load(Acquire) {
            observer().ok_or(ENODEV)?.enable()?;
            // It is not stopped before this pin has decremented `USERS`.
            OBSERVED.store(true, Release);
        }
        Ok(watch)
    }

    /// Ends the watch because the pin is reserved. From now on the reservation keeps unpins
    /// observed, and the end of its holding stops the observation.
    pub(super) fn hand_over(self) {
        USERS.fetch_sub(1, Full);
        core::mem::forget(self);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        USERS.fetch_sub(1, Full);
        deferred::linger();
    }
}

fn observer() -> Option<Arc<Observer>> {
    registry::lock().as_ref()?.observer.clone()
}

/// Stops observing unpins if there are no pins.
pub(super) fn stop_if_idle() {
    let idle = || {
        OBSERVED.xchg(false, Full);
        let is_idle = USERS.fetch_add(0, Full) == 0
            && registry::lock().as_mut().is_none_or(|registry| {
                let is_idle = registry.holdings.is_empty();
                if is_idle {
                    // The ends of files are not observed from now on, either.
                    registry.end_all_shares();
                }
                is_idle
            });
        if !is_idle {
            OBSERVED.store(true, Release);
        }
        is_idle
    };
    if let Some(observer) = observer() {
        observer.disable_if(idle);
    }
}
