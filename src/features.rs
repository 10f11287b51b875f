// SPDX-License-Identifier: GPL-2.0

//! `/sys/fs/pinfs/features`: what this kernel allows, one file for each, `1` or `0`.

use crate::{
    layout::Layout,
    pins::Pins,
    sysfs::{
        Directory,
        Flag, //
    }, //
};
use kernel::prelude::*;

static LAYOUT_LEASE: Flag = Flag::new(c"layout_lease");
static LONGTERM_PIN: Flag = Flag::new(c"longterm_pin");
static FILE_PINS: Flag = Flag::new(c"file_pins");

/// The directory, as long as the value lives.
pub(crate) struct Features {
    _features: Directory,
    _pinfs: Directory,
}

impl Features {
    /// Tells what the hooks have found.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(layout: &Layout, pins: &Pins) -> Result<Self> {
        let pinfs = Directory::new(c"pinfs")?;
        let features = pinfs.directory(c"features")?;
        features.flag(&LAYOUT_LEASE, layout.has_leases())?;
        // A pin takes a lease to be pinned under.
        features.flag(&LONGTERM_PIN, layout.has_leases() && pins.has_longterm())?;
        features.flag(&FILE_PINS, pins.has_file_pins())?;
        Ok(Self {
            _features: features,
            _pinfs: pinfs,
        })
    }
}
