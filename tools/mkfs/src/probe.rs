// SPDX-License-Identifier: GPL-2.0

//! Whether a device holds something that a new file system would destroy.

use std::{
    fs,
    os::unix::fs::{
        FileTypeExt,
        MetadataExt, //
    },
    path::Path,
    process::{
        Command,
        Stdio, //
    },
};

use pinfs_format::{
    device::Device,
    superblock,
    Medium,
    BLOCK_SIZE, //
};

/// What has its mark behind the first block, for systems without `blkid`.
const MARKS: [(u64, &[u8], &str); 3] = [
    (0x10040, b"_BHRfS_M", "a btrfs file system"),
    (0x1000, &[0xfc, 0x4e, 0x2b, 0xa9], "a RAID member"),
    (0x8001, b"CD001", "an ISO 9660 file system"),
];

/// What the device holds, if anything.
pub fn contents(path: &Path, device: &Device) -> Result<Option<String>, String> {
    let mut first = [0; BLOCK_SIZE as usize];
    if device.size() < BLOCK_SIZE {
        // Too small for anything, this file system included.
        return Ok(None);
    }
    read(device, 0, &mut first)?;
    if first.starts_with(&superblock::MAGIC) {
        return Ok(Some("a pinfs file system".to_owned()));
    }
    if let Some(what) = blkid(path) {
        return Ok(Some(what));
    }
    for (off, mark, what) in MARKS {
        let mut found = vec![0; mark.len()];
        if off + found.len() as u64 <= device.size() {
            read(device, off, &mut found)?;
            if found == mark {
                return Ok(Some(what.to_owned()));
            }
        }
    }
    // Nearly everything leaves a mark in the first block.
    let unknown = first.iter().any(|&byte| byte != 0);
    Ok(unknown.then(|| "data of an unknown kind".to_owned()))
}

fn read(device: &Device, off: u64, buf: &mut [u8]) -> Result<(), String> {
    device
        .read(off, buf)
        .map_err(|error| device.failure().unwrap_or_else(|| error.to_string()))
}

/// What `blkid` sees. It may be missing; then the caller's own look must do.
fn blkid(path: &Path) -> Option<String> {
    /// The exit status for signatures of several kinds.
    const AMBIVALENT: i32 = 8;

    // Absolute, so that no name looks like an option.
    let path = path.canonicalize().ok()?;
    let output = Command::new("blkid")
        .args(["-p", "-o", "export"])
        .arg(path)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    if output.status.code() == Some(AMBIVALENT) {
        return Some("signatures of several kinds".to_owned());
    }
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    match (value("TYPE"), value("PTTYPE")) {
        (Some(kind), _) => Some(format!("{kind} data")),
        (None, Some(table)) => Some(format!("a partition table ({table})")),
        (None, None) => None,
    }
}

/// Whether this is a block device that says that it has no DAX.
pub fn lacks_dax(path: &Path) -> bool {
    let Ok(metadata) = path.metadata() else {
        return false;
    };
    if !metadata.file_type().is_block_device() {
        return false;
    }
    let device = metadata.rdev();
    let sysfs = format!(
        "/sys/dev/block/{}:{}",
        libc::major(device),
        libc::minor(device)
    );
    // A partition has the queue of its disk.
    ["queue/dax", "../queue/dax"]
        .iter()
        .find_map(|name| fs::read_to_string(Path::new(&sysfs).join(name)).ok())
        .is_some_and(|dax| dax.trim() == "0")
}
