// SPDX-License-Identifier: GPL-2.0

//! What changes for the file system as a whole.

use crate::{
    Medium,
    Result, //
};

pub use crate::{
    engine::mount::*,
    ondisk::status::*, //
};

impl Status {
    /// Whether the last mount for writing was not undone by an umount.
    pub fn is_dirty(&self) -> bool {
        self.flags.get() & MOUNTED != 0
    }
}

/// Says that a check has been made and everything is sound. Locks: nobody else writes.
pub fn checked<M: Medium>(medium: &M) -> Result {
    set_check(medium, 0)
}
