// SPDX-License-Identifier: GPL-2.0

//! Long-term pins: who may take them, who has them, and when they are gone.
//!
//! * [`grant`]: the leases, as far as pins depend on them, with their state machine.
//! * [`registry`]: the tables, and the one lock over all of them.
//!
//! # Lock order
//!
//! The registry's lock ([`registry::lock`]) is a leaf that interrupt handlers take too: while it is
//! held nothing sleeps, no other lock is taken, and nothing is dropped whose destructor could do
//! either. It is taken under `flc_lock` (lease code) and under whatever callers of `unpin_*()`
//! hold.

pub(crate) mod grant;
pub(crate) mod registry;

/// The registry of pins and its hooks, as long as the value lives.
pub(crate) struct Pins {
    _registry: registry::Open,
}

impl Pins {
    /// Opens the registry.
    pub(crate) fn new() -> Self {
        Self {
            _registry: registry::Open::new(),
        }
    }
}
