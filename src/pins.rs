// SPDX-License-Identifier: GPL-2.0

//! Long-term pins: who may take them, who has them, and when they are gone.
//!
//! * [`grant`]: the leases, as far as pins depend on them, with their state machine; [`cover`]:
//!   of which ranges.
//! * [`context`]: what owns a pin; [`share`]: what has a part in it.
//! * [`registry`]: the tables, and the one lock over all of them; [`runs`]: which pages;
//!   [`stock`]: memory for both.
//! * [`longterm`] and [`pin`]: how a pin comes onto the record.
//! * [`unpin`], [`watch`] and [`reaper`]: how it comes off.
//! * [`view`]: what is seen of it in `/proc`.
//! * [`host`]: what all of this asks of the file system.
//!
//! # Locks
//!
//! The lock order is in [`lock`](crate::lock). While the registry's lock ([`registry::lock`]) is held,
//! nothing sleeps, and nothing is dropped whose destructor could sleep or take a lock.
//!
//! `tests/models` has models of what happens at the same time, on the host, and copies of these
//! files with one thing changed that the models must fail with.

use self::host::Host;
use crate::{
    gup,
    hook::{
        self,
        Hook,
        Observer, //
    },
    proc,
    uring, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

mod context;
pub(crate) mod cover;
pub(crate) mod grant;
pub(crate) mod host;
mod longterm;
mod pin;
pub(crate) mod reaper;
pub(crate) mod registry;
mod runs;
mod share;
mod stock;
mod unpin;
mod view;
mod watch;

type LongtermHook<H> = Hook<gup::Longterm<longterm::Longterm<H>>>;

/// The registry of pins and its hooks, as long as the value lives.
pub(crate) struct Pins<H: Host> {
    /// Comes first, so that no pin is taken when the rest goes.
    longterm: Option<Pin<KBox<LongtermHook<H>>>>,
    _clones: Option<Pin<KBox<Hook<uring::Cloned<share::Shares>>>>>,
    file_pins: Option<proc::PidDirectory<view::FilePins>>,
    _all_pins: proc::Directory,
    _jobs: reaper::Jobs,
    _registry: registry::Open,
}

impl<H: Host> Pins<H> {
    /// Opens the registry, and decides on long-term pins from then on. Where the kernel lacks a
    /// hook point, none are allowed, as without the module.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let observer = || -> Result<_> {
            gup::find_functions()?;
            Arc::pin_init(
                Observer::new::<gup::Unpinned<unpin::Observed<H>>>(),
                GFP_KERNEL,
            )
        };
        let observer = hook::optional(observer(), "long-term pins are")?;
        let registry = registry::Open::new(observer.clone())?;
        let jobs = reaper::Jobs::new()?;
        let all_pins = proc::Directory::new(c"fs/pinfs")?;
        all_pins.file::<view::AllPins>(c"pins", 0o400)?;
        let longterm = match observer {
            Some(_) => hook::optional(Hook::new(), "long-term pins are")?,
            None => None,
        };
        let clones = match longterm {
            Some(_) => hook::optional(Hook::new(), "who clones buffers of io_uring is")?,
            None => None,
        };
        let file_pins = hook::optional(proc::PidDirectory::new(), "/proc/PID/file_pins is")?;
        Ok(Self {
            longterm,
            _clones: clones,
            file_pins,
            _all_pins: all_pins,
            _jobs: jobs,
            _registry: registry,
        })
    }

    /// Says whether long-term pins can be taken at all.
    pub(crate) fn has_longterm(&self) -> bool {
        self.longterm.is_some()
    }

    /// Says whether there is `/proc/PID/file_pins`.
    pub(crate) fn has_file_pins(&self) -> bool {
        self.file_pins.is_some()
    }
}
