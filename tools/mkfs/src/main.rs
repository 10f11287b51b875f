// SPDX-License-Identifier: GPL-2.0

//! `mkfs.pinfs`: makes a pinfs file system on a block device or in an image file.

#![forbid(unsafe_code)]

mod dax;
mod probe;

use std::{
    path::{
        Path,
        PathBuf, //
    },
    process::ExitCode,
    time::{
        SystemTime,
        UNIX_EPOCH, //
    },
};

use clap::{
    error::ErrorKind,
    Parser, //
};
use pinfs_format::{
    device::Device,
    mkfs::{
        self,
        Options, //
    },
    signatures,
    superblock::{
        LABEL_MAX,
        MAX_BLOCKS,
        MIN_BLOCKS, //
    },
    Error,
    Geometry,
    Medium,
    Time,
    BLOCK_SIZE, //
};
use uuid::Uuid;

/// Make a pinfs file system on a block device or in an existing image file.
#[derive(Parser)]
#[command(name = "mkfs.pinfs", bin_name = "mkfs.pinfs", version)]
struct Arguments {
    /// Make it even if the device seems to hold something
    #[arg(short)]
    force: bool,

    /// Label, up to 32 bytes
    #[arg(short = 'L', value_name = "LABEL", default_value = "", value_parser = label)]
    label: Label,

    /// UUID; a random one by default
    #[arg(short = 'U', value_name = "UUID", value_parser = uuid)]
    uuid: Option<Uuid>,

    /// Say what would be made, and write nothing
    #[arg(short = 'n')]
    dry_run: bool,

    /// Block device or image file
    #[arg(value_name = "DEVICE")]
    device: PathBuf,
}

#[derive(Clone)]
struct Label([u8; LABEL_MAX]);

fn label(text: &str) -> Result<Label, String> {
    let mut bytes = [0; LABEL_MAX];
    bytes
        .get_mut(..text.len())
        .ok_or_else(|| format!("longer than {LABEL_MAX} bytes"))?
        .copy_from_slice(text.as_bytes());
    Ok(Label(bytes))
}

/// Programs take a UUID of all zeroes for none.
fn uuid(text: &str) -> Result<Uuid, String> {
    let uuid: Uuid = text.parse().map_err(|error| format!("{error}"))?;
    match uuid.is_nil() {
        true => Err("all zeroes stand for no UUID".to_owned()),
        false => Ok(uuid),
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // If the message cannot be printed, the exit status still tells.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            };
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let device = arguments.device.display();
            eprintln!("mkfs.pinfs: {device}: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let path = &arguments.device;
    let device = Device::open(path, !arguments.dry_run)?;
    if !arguments.force {
        if let Some(what) = probe::contents(path, &device)? {
            return Err(format!("holds {what}; use -f to overwrite it"));
        }
    }
    let uuid = arguments.uuid.unwrap_or_else(Uuid::new_v4);
    let options = Options {
        uuid: *uuid.as_bytes(),
        label: arguments.label.0,
        hash_key: Uuid::new_v4().as_u64_pair(),
        now: now()?,
        uid: 0,
        gid: 0,
    };
    let (_, planned) = mkfs::plan(&device, &options).map_err(|error| explain(error, &device))?;
    if arguments.dry_run {
        print(path, &planned, uuid, "would make");
        return Ok(());
    }
    let note = clear(path, &device)?;
    mkfs::format(&device, &options).map_err(|error| explain(error, &device))?;
    device.finish()?;
    print(path, &planned, uuid, "made");
    for warning in [note, dax::warning(path)].into_iter().flatten() {
        eprintln!("mkfs.pinfs: {}: warning: {warning}", path.display());
    }
    Ok(())
}

/// Erases all that others, or an older pinfs, have left. Returns what the user should know of it.
///
/// The order, for when it is cut short: an older pinfs loses its superblock and then its backup, so
/// that what is left of it is the whole or nothing; then goes what others left. Only after all of that
/// is durable the new file system is made, so it is never there beside anything else.
fn clear(path: &Path, device: &Device) -> Result<Option<String>, String> {
    let failed = |error| explain(error, device);
    let last = (device.size() / BLOCK_SIZE).saturating_sub(1);
    let backups = [Some(last), probe::old_backup(device)];
    mkfs::invalidate(device).map_err(failed)?;
    for backup in backups.into_iter().flatten() {
        device
            .zero(backup * BLOCK_SIZE, BLOCK_SIZE)
            .map_err(failed)?;
    }
    device.finish()?;
    signatures::wipe(path, device)
}

fn now() -> Result<Time, String> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| "the clock is before 1970")?;
    Ok(Time {
        sec: since.as_secs() as i64,
        nsec: since.subsec_nanos(),
    })
}

fn explain(error: Error, device: &Device) -> String {
    match error {
        Error::NoSpace => format!(
            "too small: {} bytes, at least {} are needed",
            device.size(),
            MIN_BLOCKS * BLOCK_SIZE
        ),
        Error::Overflow => format!(
            "too large: {} bytes, at most {} are possible",
            device.size(),
            MAX_BLOCKS * BLOCK_SIZE
        ),
        other => device
            .failure()
            .unwrap_or_else(|| other.message().to_owned()),
    }
}

fn print(path: &Path, geometry: &Geometry, uuid: Uuid, verb: &str) {
    println!(
        "{}: {verb} pinfs of {} MiB, {} blocks of {BLOCK_SIZE} bytes, {} of them free, UUID {uuid}",
        path.display(),
        (geometry.blocks * BLOCK_SIZE) >> 20,
        geometry.blocks,
        geometry.blocks - geometry.data_start - 1,
    );
}
