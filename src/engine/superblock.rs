// SPDX-License-Identifier: GPL-2.0

//! Reads of the superblock.

use zerocopy::{
    FromZeros,
    IntoBytes, //
};

use super::Medium;
use crate::ondisk::{
    superblock::Superblock,
    Geometry,
    MountError, //
};

impl Superblock {
    /// Reads and checks the superblock of `medium`.
    pub fn read<M: Medium>(medium: &M) -> Result<(Self, Geometry), MountError> {
        Self::read_at(medium, 0)
    }

    pub(crate) fn read_at<M: Medium>(medium: &M, off: u64) -> Result<(Self, Geometry), MountError> {
        let sb = Self::plain(medium, off)?;
        let geometry = sb.validate(medium, medium.size())?;
        Ok((sb, geometry))
    }

    pub(crate) fn plain<M: Medium>(medium: &M, off: u64) -> Result<Self, MountError> {
        let mut sb = Self::new_zeroed();
        medium
            .read(off, sb.as_mut_bytes())
            .map_err(|_| MountError::Io)?;
        Ok(sb)
    }
}
