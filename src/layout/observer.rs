// SPDX-License-Identifier: GPL-2.0

//! Observing unpins, only while there is something to unpin.
//!
//! A pin first makes sure that unpins are observed ([`Watch::new`]), then reserves, and only then
//! lets the kernel pin. So there is no unpin of a pin on record that would not be seen. Whoever
//! stops the observation holds the observer's own mutex while looking whether anybody needs it:
//! a pin that has counted itself in [`USERS`] before is seen there, and one that does so later
//! finds [`OBSERVED`] cleared, waits for the mutex in `enable()` and starts the observation again.

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

/// Unpins are observed, and nobody is about to stop that.
///
/// Spares a pin the mutex. It counts itself in [`USERS`] and then reads this; who wants to stop the
/// observation clears this and then reads [`USERS`], with full barriers in between. So either the
/// pin finds it cleared, or it is seen itself, and the observation goes on.
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
            // Nobody stops it again before this pin has uncounted itself.
            OBSERVED.store(true, Release);
        }
        Ok(watch)
    }

    /// Ends the watch because the pin is reserved: the end of what it belongs to then sees to it that
    /// the observation is stopped.
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

/// Stops to observe unpins if there is nothing to unpin.
pub(super) fn stop_if_idle() {
    let idle = || {
        OBSERVED.xchg(false, Full);
        let is_idle = USERS.fetch_add(0, Full) == 0
            && registry::lock().as_mut().is_none_or(|registry| {
                let is_idle = registry.holdings.is_empty();
                if is_idle {
                    // The ends of files are not seen from now on either.
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
