// SPDX-License-Identifier: GPL-2.0

//! The superblock.

use zerocopy::IntoBytes;

use crate::{
    offset_of,
    Medium,
    BLOCK_SIZE, //
};

pub use crate::ondisk::superblock::*;

impl Superblock {
    /// Reads and checks the second copy, where a file system that fills `medium` has it. With it a
    /// damaged first copy can be repaired: both are the same, byte for byte.
    pub fn read_backup<M: Medium>(medium: &M) -> Result<(Self, Geometry), MountError> {
        let last = (medium.size() / BLOCK_SIZE).checked_sub(1);
        Self::read_at(medium, offset_of(last.ok_or(MountError::Io)?))
    }

    /// Reads and checks the superblock of a `medium` that [`Superblock::read`] refuses as
    /// [`MountError::Repairing`], as it is without that mark.
    pub fn read_repairing<M: Medium>(medium: &M) -> Result<(Self, Geometry), MountError> {
        let mut sb = Self::plain(medium, 0)?;
        if !sb.is_repairing() {
            return Err(MountError::NotPinfs);
        }
        sb.set_repairing(medium, false);
        let geometry = sb.validate(medium, medium.size())?;
        Ok((sb, geometry))
    }

    /// Sets or clears the mark that a repair is being written. Beside the checksum it is in one
    /// aligned word, so that power loss leaves the one or the other.
    pub fn set_repairing<M: Medium>(&mut self, medium: &M, repairing: bool) {
        let mark = if repairing { REPAIRING } else { 0 };
        self.version.set(VERSION | mark);
        self.crc.set(self.checksum(medium));
    }

    /// Writes one of the two copies, at block `block`, and makes it durable. Everything that it
    /// speaks of must be durable.
    pub fn write_at<M: Medium>(&self, medium: &M, block: u64) -> crate::Result {
        medium.write(offset_of(block), self.as_bytes())?;
        medium.flush(offset_of(block), BLOCK_SIZE)?;
        medium.fence();
        Ok(())
    }
}
