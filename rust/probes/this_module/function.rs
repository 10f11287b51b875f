// SPDX-License-Identifier: GPL-2.0

//! A function returns the module.

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

pub const OWNER: *mut kernel::bindings::module =
    kernel::module::this_module::<crate::LocalModule>().as_ptr();
