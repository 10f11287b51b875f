// SPDX-License-Identifier: GPL-2.0

//! Observing unpins, only while there is something to unpin.
//!
//! A pin first makes sure that unpins are observed ([`Watch::new`]), then reserves, and only then
//! lets the kernel pin. So there is no unpin of a pin on record that would not be seen. Whoever
//! stops the observation holds the observer's own mutex while looking whether anybody needs it:
//! a pin that has counted itself in [`USERS`] before is seen there, and one that does so later
//! waits for the mutex in `enable()` and starts the observation again.

use super::{
    reaper,
    registry,
    unpin::Observed, //
};
use crate::{
    gup::Unpinned,
    hook::Observer, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full, //
        },
        Arc, //
    }, //
};

/// The observer of unpins.
pub(super) type Unpin = Observer<Unpinned<Observed>>;

/// Number of pins that are being taken.
static USERS: Atomic<usize> = Atomic::new(0);

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
        observer().ok_or(ENODEV)?.enable()?;
        Ok(watch)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        USERS.fetch_sub(1, Full);
        reaper::linger();
    }
}

fn observer() -> Option<Arc<Unpin>> {
    registry::lock().as_ref()?.observer.clone()
}

/// Stops to observe unpins if there is nothing to unpin.
pub(super) fn stop_if_idle() {
    let idle = || {
        USERS.fetch_add(0, Full) == 0
            && registry::lock().as_mut().is_none_or(|registry| {
                let is_idle = registry.holdings.is_empty();
                if is_idle {
                    // The ends of files are not seen from now on either.
                    registry.end_all_shares();
                }
                is_idle
            })
    };
    if let Some(observer) = observer() {
        observer.disable_if(idle);
    }
}
