// SPDX-License-Identifier: GPL-2.0

//! The hooks that pins are made, shown and ended by, and their order.

use super::{
    deferred,
    host::Host,
    longterm,
    proc::{
        AllPins,
        FilePins, //
    },
    registry,
    unpin,
    uring_clones, //
};
use crate::rust::{
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

type LongtermHook<H> = Hook<gup::Longterm<longterm::Longterm<H>>>;

/// The registry of pins and its hooks, as long as the value lives.
pub(crate) struct Pins<H: Host> {
    /// It is the first field, so that no pin is taken while the others are dropped.
    longterm: Option<Pin<KBox<LongtermHook<H>>>>,
    _clones: Option<Pin<KBox<Hook<uring::Cloned<uring_clones::Shares>>>>>,
    file_pins: Option<proc::PidDirectory<FilePins>>,
    _all_pins: proc::Directory,
    _jobs: deferred::Jobs,
    _registry: registry::Open,
}

impl<H: Host> Pins<H> {
    /// Opens the registry, and decides on long-term pins from then on. If the kernel lacks a hook
    /// point, long-term pins are not permitted, as without the module.
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
        let jobs = deferred::Jobs::new()?;
        let all_pins = proc::Directory::new(c"fs/pinfs")?;
        all_pins.file::<AllPins>(c"pins", 0o400)?;
        let longterm = match observer {
            Some(_) => hook::optional(Hook::new(), "long-term pins are")?,
            None => None,
        };
        let clones = match longterm {
            Some(_) => hook::optional(Hook::new(), "io_uring buffer-clone tracking is")?,
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

    /// Returns whether long-term pins can be taken.
    pub(crate) fn has_longterm(&self) -> bool {
        self.longterm.is_some()
    }

    /// Returns whether `/proc/PID/file_pins` exists.
    pub(crate) fn has_file_pins(&self) -> bool {
        self.file_pins.is_some()
    }
}
