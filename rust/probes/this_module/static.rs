// SPDX-License-Identifier: GPL-2.0

//! The module is a static.

use kernel::prelude::*;

module! {
    type: Probe,
    name: "probe",
    authors: ["pinfs authors"],
    description: "probe",
    license: "GPL",
}

struct Probe;

impl kernel::Module for Probe {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Probe)
    }
}

pub const OWNER: *mut kernel::bindings::module = crate::THIS_MODULE.as_ptr();
