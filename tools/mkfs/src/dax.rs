// SPDX-License-Identifier: GPL-2.0

//! Whether a file system on a device could be mounted there, by what sysfs tells of the device.

use std::{
    fs,
    os::unix::fs::{
        FileTypeExt,
        MetadataExt, //
    },
    path::{
        Path,
        PathBuf, //
    },
};

use pinfs_format::BLOCK_SIZE;

/// Bytes of the sectors that sysfs counts in.
const SECTOR: u64 = 512;

/// Where a partition begins best: pages of this size can map it.
const LARGE_PAGE: u64 = 2 << 20;

/// What to say of a device on which the file system cannot be mounted, or only with a loss. Nothing
/// of an image file.
pub fn warning(path: &Path) -> Option<String> {
    let metadata = path.metadata().ok()?;
    if !metadata.file_type().is_block_device() {
        return None;
    }
    let device = metadata.rdev();
    let name = format!("{}:{}", libc::major(device), libc::minor(device));
    // The place among the devices tells what it is a part of.
    let place = Path::new("/sys/dev/block").join(name).canonicalize().ok()?;
    Device { place }.warning()
}

struct Device {
    place: PathBuf,
}

impl Device {
    fn number(&self, name: &str) -> Option<u64> {
        let text = fs::read_to_string(self.place.join(name)).ok()?;
        text.trim().parse().ok()
    }

    fn warning(&self) -> Option<String> {
        let is_partition = self.place.join("partition").exists();
        let disk = match is_partition {
            true => self.place.parent()?.to_owned(),
            false => self.place.clone(),
        };
        let dax = fs::read_to_string(disk.join("queue/dax")).ok()?;
        if dax.trim() == "0" {
            let why = without_dax(&disk);
            return Some(format!(
                "the device has no DAX, so the file system cannot be mounted there: {why}"
            ));
        }
        if !is_partition {
            return None;
        }
        let start = self.number("start")?.checked_mul(SECTOR)?;
        let len = self.number("size")?.checked_mul(SECTOR)?;
        if start % BLOCK_SIZE != 0 || len % BLOCK_SIZE != 0 {
            return Some(format!(
                "the partition is not aligned, so the file system cannot be mounted there: it begins at byte \
                 {start} and is of {len} bytes, and both must be multiples of {BLOCK_SIZE}, better of \
                 {LARGE_PAGE}; the namespace and the other partitions can stay as they are"
            ));
        }
        (start % LARGE_PAGE != 0).then(|| {
            format!(
                "the partition begins at byte {start}, which is no multiple of {LARGE_PAGE}: its files can be \
                 mapped by pages of {BLOCK_SIZE} bytes only"
            )
        })
    }
}

/// Why a disk has no DAX, and what can be done.
fn without_dax(disk: &Path) -> String {
    let part = |prefix: &str| {
        disk.iter()
            .filter_map(|part| part.to_str())
            .find(|part| part.starts_with(prefix))
    };
    if disk.join("dm").exists() {
        return "a device-mapper target has it if it is linear or striped and all devices below have it"
            .to_owned();
    }
    if disk.join("loop").exists() {
        return "a loop device never has it; the file system can be checked there".to_owned();
    }
    if let Some(btt) = part("btt") {
        return format!(
            "its namespace is in mode sector ({btt}); another mode destroys what the namespace holds"
        );
    }
    if part("ndbus").is_some() {
        let namespace = part("namespace").unwrap_or("NAMESPACE");
        return format!(
            "its namespace must be in mode fsdax (ndctl create-namespace -f -e {namespace} -m fsdax), which \
             destroys all that the namespace holds, partitions included"
        );
    }
    "it is no persistent memory".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory as sysfs has it, which goes away with the test.
    struct Sysfs(PathBuf);

    impl Sysfs {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let name = format!("pinfs-sysfs-{}-{name}", std::process::id());
            let root = std::env::temp_dir().join(name);
            for (file, text) in files {
                let file = root.join(file);
                fs::create_dir_all(file.parent().expect("parent")).expect("directory");
                fs::write(file, text).expect("file");
            }
            Sysfs(root)
        }

        fn warning(&self, device: &str) -> String {
            let place = self.0.join(device);
            Device { place }.warning().unwrap_or_default()
        }
    }

    impl Drop for Sysfs {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const DISK: &str = "ndbus0/region0/namespace0.0/block/pmem0";

    fn partition(start: &str, size: &str) -> String {
        let (start, size) = (format!("{start}\n"), format!("{size}\n"));
        let place = format!("{DISK}/pmem0p1");
        let sysfs = Sysfs::new(
            start.trim(),
            &[
                (&format!("{DISK}/queue/dax"), "1\n"),
                (&format!("{place}/partition"), "1\n"),
                (&format!("{place}/start"), &start),
                (&format!("{place}/size"), &size),
            ],
        );
        sysfs.warning(&place)
    }

    /// Fault E2: nothing but the partition has to be made anew.
    #[test]
    fn h5_a_partition_that_is_not_aligned() {
        for (start, size) in [("2049", "8192"), ("2048", "8191")] {
            let text = partition(start, size);
            assert!(text.contains("not aligned"), "{text}");
            assert!(!text.contains("ndctl"), "{text}");
        }
        assert!(partition("2056", "8192").contains("pages of 4096 bytes only"));
        assert_eq!(partition("4096", "8192"), "");
    }

    #[test]
    fn h5_advice_that_destroys_says_so() {
        let raw = Sysfs::new("raw", &[(&format!("{DISK}/queue/dax"), "0\n")]);
        let text = raw.warning(DISK);
        assert!(text.contains("-e namespace0.0 -m fsdax"), "{text}");
        assert!(text.contains("destroys"), "{text}");
        for (extra, says) in [
            ("loop/backing_file", "loop device"),
            ("dm/name", "device-mapper"),
            ("size", "no persistent memory"),
        ] {
            let disk = Sysfs::new(
                &extra[..2],
                &[("d/queue/dax", "0\n"), (&format!("d/{extra}"), "")],
            );
            let text = disk.warning("d");
            assert!(text.contains(says) && !text.contains("ndctl"), "{text}");
        }
    }
}
