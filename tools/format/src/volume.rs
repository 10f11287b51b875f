// SPDX-License-Identifier: GPL-2.0

//! Reading, with every checksum verified, and writing of what nothing refers to yet.

use crate::{
    Geometry,
    Medium,
    Result, //
};

pub use crate::{
    engine::volume::*,
    ondisk::{
        header::*,
        inode_offset, //
    }, //
};

impl<M: Medium> Volume<M> {
    /// A volume whose superblock is not written yet.
    pub(crate) fn with_geometry(medium: M, geometry: Geometry) -> Self {
        Volume { medium, geometry }
    }

    /// Stores an object that nothing refers to yet and flushes it.
    pub fn store<T: Object>(&self, off: u64, object: &mut T) -> Result {
        self.seal::<T>(off, object.as_mut_bytes())?;
        self.medium.write(off, object.as_bytes())?;
        self.medium.flush(off, size_of::<T>() as u64)
    }

    /// Writes magic and checksum into `bytes`, an object of type `T` that belongs at `off`.
    fn seal<T: Object>(&self, off: u64, bytes: &mut [u8]) -> Result {
        put(bytes, 0, T::MAGIC)?;
        self.reseal(off, T::SEALED, bytes)
    }
}
