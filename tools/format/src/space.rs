// SPDX-License-Identifier: GPL-2.0

//! Free space.

use core::ops::DerefMut;

pub use crate::engine::{
    run::*,
    space::*, //
};

impl<S: DerefMut<Target = [u64]>> Space<S> {
    /// Whether `block` is in use.
    pub fn is_used(&mut self, block: u64) -> bool {
        self.view().get(Plane::Used, block)
    }
}
