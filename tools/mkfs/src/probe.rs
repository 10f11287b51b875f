// SPDX-License-Identifier: GPL-2.0

//! Whether a device holds something that a new file system would destroy.

use std::path::Path;

use pinfs_format::{
    device::Device,
    signatures,
    superblock::{
        MountError,
        Superblock,
        MAGIC, //
    },
    Medium,
    BLOCK_SIZE, //
};

/// What the device holds, if anything.
pub fn contents(path: &Path, device: &Device) -> Result<Option<String>, String> {
    if device.size() < BLOCK_SIZE {
        // Too small for anything, this file system included.
        return Ok(None);
    }
    let others = signatures::find(path, device)?;
    let mut found = Vec::new();
    let mut magic = [0; MAGIC.len()];
    device
        .read(0, &mut magic)
        .map_err(|error| device.failure().unwrap_or_else(|| error.to_string()))?;
    if magic == MAGIC {
        found.push("a pinfs file system".to_owned());
    } else if is_backup(device) {
        found.push(
            "the backup superblock of a pinfs (fsck.pinfs -n says what it restores)".to_owned(),
        );
    }
    if !others.is_empty() {
        found.push(signatures::list(&others));
    }
    // Nearly everything leaves a mark in the first block.
    if found.is_empty() && !signatures::is_bare(device)? {
        found.push("data of an unknown kind".to_owned());
    }
    Ok((!found.is_empty()).then(|| found.join(", ")))
}

/// Whether the last block holds the backup superblock of a file system that fills the device. One of
/// a later version, which cannot be read, counts.
fn is_backup(device: &Device) -> bool {
    let last = device.size() / BLOCK_SIZE - 1;
    match Superblock::read_backup(device) {
        Ok((_, geometry)) => geometry.data_end == last,
        Err(MountError::NewerVersion(_) | MountError::UnknownFeatures(_)) => true,
        Err(_) => false,
    }
}

/// The block of the backup of a pinfs that is there, if it is not where the backup of one that fills
/// the device stands.
pub fn old_backup(device: &Device) -> Option<u64> {
    let (_, geometry) = Superblock::read(device).ok()?;
    Some(geometry.data_end)
}
