// SPDX-License-Identifier: GPL-2.0

//! What others have left on a device: marks of file systems, swap space, volumes, partition tables.
//!
//! `wipefs` (util-linux) finds and erases them, as libblkid knows all that udev and mount(8) look for.
//! It passes over what is damaged, so a list of the common ones is looked for beside it; where it is
//! missing, that must do.

use std::{
    borrow::ToOwned,
    fmt,
    format,
    path::Path,
    process::{
        Command,
        Output,
        Stdio, //
    },
    string::{
        String,
        ToString, //
    },
    vec,
    vec::Vec, //
};

use crate::{
    device::Device,
    Medium,
    BLOCK_SIZE, //
};

/// A mark that tells what a device holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Where it stands, in bytes.
    pub off: u64,
    /// Its length.
    pub len: u64,
    /// What it stands for, by libblkid's name.
    pub kind: String,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.kind, self.off)
    }
}

/// All of them in one line, each kind once.
pub fn list<'a>(signatures: impl IntoIterator<Item = &'a Signature>) -> String {
    let mut kinds: Vec<&str> = Vec::new();
    let mut texts = Vec::new();
    for signature in signatures {
        if !kinds.contains(&&*signature.kind) {
            kinds.push(&signature.kind);
            texts.push(signature.to_string());
        }
    }
    texts.join(", ")
}

/// Bytes at either end of a device in which most marks stand.
const ENDS: u64 = 1 << 20;

/// Where one of a kind stands, from the start of the device or, if negative, from its end.
struct Mark(i64, &'static [u8], &'static str);

/// Common ones.
const MARKS: [Mark; 23] = [
    Mark(510, &[0x55, 0xaa], "dos"),
    Mark(0x200, b"EFI PART", "gpt"),
    Mark(-512, b"EFI PART", "gpt"),
    Mark(0x438, &[0x53, 0xef], "ext4"),
    Mark(0, b"XFSB", "xfs"),
    Mark(0x400, &[0x10, 0x20, 0xf5, 0xf2], "f2fs"),
    Mark(0x10040, b"_BHRfS_M", "btrfs"),
    Mark(0x400_0040, b"_BHRfS_M", "btrfs"),
    Mark(4086, b"SWAPSPACE2", "swap"),
    Mark(4086, b"SWAP-SPACE", "swap"),
    Mark(0, b"LUKS\xba\xbe", "crypto_LUKS"),
    Mark(0x4000, b"SKUL\xba\xbe", "crypto_LUKS"),
    Mark(0x218, b"LVM2 001", "LVM2_member"),
    Mark(0x18, b"LVM2 001", "LVM2_member"),
    Mark(0, &[0xfc, 0x4e, 0x2b, 0xa9], "linux_raid_member"),
    Mark(0x1000, &[0xfc, 0x4e, 0x2b, 0xa9], "linux_raid_member"),
    Mark(-0x2000, &[0xfc, 0x4e, 0x2b, 0xa9], "linux_raid_member"),
    Mark(0x1018, &[0xc6, 0x85, 0x73, 0xf6], "bcache"),
    Mark(0x8001, b"CD001", "iso9660"),
    Mark(0x20000, &ZFS, "zfs_member"),
    Mark(0x60000, &ZFS, "zfs_member"),
    Mark(-0x60000, &ZFS, "zfs_member"),
    Mark(-0x20000, &ZFS, "zfs_member"),
];

const ZFS: [u8; 8] = 0x00ba_b10c_u64.to_le_bytes();

/// The kinds that are known without wipefs.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    MARKS.into_iter().map(|Mark(_, _, kind)| kind)
}

/// Runs a program on the device. `None` if there is no such program.
fn run(program: &str, options: &[&str], path: &Path) -> Result<Option<Output>, String> {
    let output = Command::new(program)
        .args(options)
        // Absolute, so that no name looks like an option.
        .arg(path.canonicalize().map_err(|error| error.to_string())?)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// What a program says, or why it failed.
fn succeeded(program: &str, output: &Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().last().unwrap_or("it failed");
    Err(format!("{program}: {}", last.trim()))
}

/// Reads a line of `wipefs`, as hexadecimal offset, decimal length, type.
fn parse(line: &str) -> Option<Signature> {
    let mut fields = line.split(',');
    let off = fields.next()?.strip_prefix("0x")?;
    let off = u64::from_str_radix(off, 16).ok()?;
    let len = fields.next()?.parse().ok()?;
    let kind = fields.next()?.to_owned();
    Some(Signature { off, len, kind })
}

/// Looks for what others have left on the device. The caller's own marks are not among it.
pub fn find(path: &Path, device: &Device) -> Result<Vec<Signature>, String> {
    // It reads the device through the page cache.
    device.refresh()?;
    let options = ["--no-act", "--parsable", "--output", "OFFSET,LENGTH,TYPE"];
    let mut found = Vec::new();
    if let Some(output) = run("wipefs", &options, path)? {
        let text = succeeded("wipefs", &output)?;
        for line in text.lines().filter(|line| line.starts_with("0x")) {
            found.push(parse(line).ok_or_else(|| format!("wipefs says '{line}'"))?);
        }
    }
    let mut marks = find_marks(device)?;
    marks.retain(|mark| {
        // libblkid tells ext2 from ext4.
        found
            .iter()
            .all(|other| other.kind != mark.kind && other.off != mark.off)
    });
    found.append(&mut marks);
    Ok(found)
}

fn find_marks(device: &Device) -> Result<Vec<Signature>, String> {
    let mut found = Vec::new();
    for Mark(at, mark, kind) in MARKS {
        let off = match at {
            0.. => Some(at as u64),
            _ => device.size().checked_sub(at.unsigned_abs()),
        };
        let len = mark.len() as u64;
        let Some(off) = off.filter(|off| off + len <= device.size()) else {
            continue;
        };
        let mut seen = vec![0; mark.len()];
        read(device, off, &mut seen)?;
        if seen == mark {
            let kind = kind.to_owned();
            found.push(Signature { off, len, kind });
        }
    }
    Ok(found)
}

fn read(device: &Device, off: u64, buf: &mut [u8]) -> Result<(), String> {
    device
        .read(off, buf)
        .map_err(|error| device.failure().unwrap_or_else(|| error.to_string()))
}

/// The magic of ext2, ext3 and ext4.
const EXT_MAGIC: [u8; 2] = 0xef53_u16.to_le_bytes();

/// Where it stands in their superblock, and how long that is.
const EXT_MAGIC_OFF: u64 = 56;
const EXT_SUPERBLOCK: u64 = 1024;

/// The most blocks of one of their groups.
const EXT_GROUP_BLOCKS_MAX: u64 = (1 << 16) - 8;

/// Where backup superblocks of ext2, ext3 and ext4 can stand on a device of `size` bytes: at the start
/// of each group. Most have them in group 1 and those whose number is a power of 3, 5 or 7 only, but
/// without sparse_super every group has one, with sparse_super2 any two have, and a group of clusters
/// is as long as several of these.
fn ext_backups(size: u64) -> impl Iterator<Item = u64> {
    (10..=16).flat_map(move |shift| {
        let block = 1_u64 << shift;
        let group = (8 * block).min(EXT_GROUP_BLOCKS_MAX) * block;
        // With the smallest blocks, the first one is not part of a group.
        let first = if block == 1024 { block } else { 0 };
        let starts = (1..).map(move |number| first + number * group);
        starts.take_while(move |off| off + EXT_SUPERBLOCK <= size)
    })
}

/// Erases backup superblocks of ext2, ext3 and ext4. wipefs leaves them, and e2fsck makes a file
/// system of one again; fsck(8) runs that on a device of whose file system libblkid knows nothing.
fn erase_ext_backups(device: &Device) -> Result<(), String> {
    for off in ext_backups(device.size()) {
        let mut magic = [0; EXT_MAGIC.len()];
        // What cannot be read misleads nobody.
        if device.peek(off + EXT_MAGIC_OFF, &mut magic).is_ok() && magic == EXT_MAGIC {
            device
                .zero(off, EXT_SUPERBLOCK)
                .map_err(|error| device.failure().unwrap_or_else(|| error.to_string()))?;
        }
    }
    Ok(())
}

/// Erases what others have left, the backup superblocks of ext2, ext3 and ext4 among it, and the first
/// and the last mebibyte. Returns what the user should know of it.
///
/// When it is cut short, some of that is left, and nothing new is there.
///
/// # Errors
/// A text, if the device cannot be written, or something is left after all.
pub fn wipe(path: &Path, device: &Device) -> Result<Option<String>, String> {
    let failed = |error: crate::Error| device.failure().unwrap_or_else(|| error.to_string());
    let before = find(path, device)?;
    // The caller has the device for itself, which without --force would be in the way.
    let note = match run("wipefs", &["--all", "--force", "--quiet"], path)? {
        // What it could not do is seen below.
        Some(_) => None,
        None => Some(
            "wipefs (util-linux) is not installed: only common signatures were looked for and erased"
                .to_owned(),
        ),
    };
    device.refresh()?;
    for signature in before {
        device.zero(signature.off, signature.len).map_err(failed)?;
    }
    let ends = ENDS.min(device.size());
    for off in [0, device.size() - ends] {
        device.zero(off, ends).map_err(failed)?;
    }
    erase_ext_backups(device)?;
    device.finish()?;
    // Behind one that is erased another may come to light.
    for _ in 0..64 {
        let left = find(path, device)?;
        if left.is_empty() {
            return Ok(note);
        }
        for signature in left {
            device.zero(signature.off, signature.len).map_err(failed)?;
        }
        device.finish()?;
    }
    let left = find(path, device)?;
    if left.is_empty() {
        return Ok(note);
    }
    Err(format!("{} cannot be erased", list(&left)))
}

/// Whether the first block holds nothing.
pub fn is_bare(device: &Device) -> Result<bool, String> {
    let mut first = [0; BLOCK_SIZE as usize];
    let len = BLOCK_SIZE.min(device.size()) as usize;
    read(device, 0, &mut first[..len])?;
    Ok(first.iter().all(|&byte| byte == 0))
}
