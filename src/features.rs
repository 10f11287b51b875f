// SPDX-License-Identifier: GPL-2.0

//! `/sys/fs/pinfs/features`: features that this kernel allows, one file for each, `1` or `0`.
//!
//! * `layout_lease`: `fcntl(F_SETLEASE)` takes layout leases.
//! * `lease_ioctl`: `ioctl(PINFS_IOC_LEASE)` does.
//! * `longterm_pin`: processes with a strong lease may take long-term pins.
//! * `file_pins`: `/proc/PID/file_pins` exists.

use crate::{
    layout::{
        host::Host,
        Layout, //
    },
    rust::sysfs::{
        Directory,
        Flag, //
    }, //
};
use kernel::prelude::*;

static LAYOUT_LEASE: Flag = Flag::new(c"layout_lease");
static LEASE_IOCTL: Flag = Flag::new(c"lease_ioctl");
static LONGTERM_PIN: Flag = Flag::new(c"longterm_pin");
static FILE_PINS: Flag = Flag::new(c"file_pins");

/// The directory, as long as the value lives.
pub(crate) struct Features {
    _features: Directory,
}

impl Features {
    /// Creates the directory, with the features that the hooks allow.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(pinfs: &Directory, layout: &Layout<impl Host>) -> Result<Self> {
        let features = pinfs.directory(c"features")?;
        features.flag(&LAYOUT_LEASE, layout.has_leases())?;
        // It needs no hook.
        features.flag(&LEASE_IOCTL, true)?;
        features.flag(&LONGTERM_PIN, layout.has_longterm())?;
        features.flag(&FILE_PINS, layout.has_file_pins())?;
        Ok(Self {
            _features: features,
        })
    }
}
