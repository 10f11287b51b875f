// SPDX-License-Identifier: GPL-2.0

//! `fsck.pinfs`: checks and repairs a pinfs file system.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io::{
        self,
        IsTerminal,
        Write, //
    },
    path::{
        Path,
        PathBuf, //
    },
    process::{
        exit,
        ExitCode, //
    },
    sync::{
        Arc,
        Mutex, //
    },
    thread, //
};

use clap::{
    error::ErrorKind,
    Parser, //
};
use pinfs_format::{
    device::Device,
    signatures::{
        self,
        Signature, //
    },
    superblock::Superblock,
    volume::Object,
    Error,
    Medium,
    BLOCK_SIZE, //
};
use pinfs_fsck::{
    check_from,
    report::{
        count,
        lines, //
    },
    superblocks::{
        self,
        Found,
        Request, //
    },
    Fault,
    Options,
    Outcome,
    Overlay,
    Summary, //
};
use rustix::process::{
    getpid,
    pidfd_getfd,
    pidfd_open,
    PidfdFlags,
    PidfdGetfdFlags, //
};
use signal_hook::{
    consts::{
        SIGINT,
        SIGTERM, //
    },
    iterator::Signals, //
};

/// Exit statuses, as in fsck(8).
const CORRECTED: u8 = 1;
const UNCORRECTED: u8 = 4;
const FAILED: u8 = 8;
const USAGE: u8 = 16;
const CANCELED: u8 = 32;

const NO_ROOM: &str = "there are not enough free blocks to repair this; nothing is changed";

/// Check and repair a pinfs file system on a block device or in an image file.
#[derive(Parser)]
#[command(
    name = "fsck.pinfs",
    bin_name = "fsck.pinfs",
    version,
    override_usage = "fsck.pinfs [-n | -p | -a | -y] [-fv] [-b BLOCK] [-C FD] \
                      [--overwrite KIND,...] DEVICE\n       fsck.pinfs -h | -V"
)]
struct Arguments {
    /// Only check, write nothing; the default
    #[arg(short = 'n', conflicts_with_all = ["yes", "preen"])]
    check_only: bool,

    /// Repair everything
    #[arg(short = 'y')]
    yes: bool,

    /// Repair what can be repaired without losing anything, else nothing
    #[arg(short = 'p', visible_short_alias = 'a', conflicts_with = "yes")]
    preen: bool,

    /// Check even if the file system is marked clean
    #[arg(short = 'f')]
    force: bool,

    /// Take the superblock from its backup in this block, where the one in block 0 is bad; try it
    /// with -n first
    #[arg(short = 'b', value_name = "BLOCK")]
    backup: Option<u64>,

    /// Repair though the device holds this of another owner's, by the name that the refusal gives;
    /// several are separated by commas
    #[arg(long, value_name = "KIND", value_delimiter = ',', requires = "yes")]
    overwrite: Vec<String>,

    /// Show every fault, and the memory that was needed
    #[arg(short = 'v')]
    verbose: bool,

    /// Show how far the check is: 0 for a line on standard error, which is the default on a
    /// terminal; above 0, lines for programs go to this descriptor; below 0, nothing is shown
    #[arg(short = 'C', value_name = "FD", allow_negative_numbers = true)]
    progress: Option<i32>,

    /// Block device or image file
    #[arg(value_name = "DEVICE")]
    device: PathBuf,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // If the message cannot be printed, the exit status still tells.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(USAGE),
            };
        }
    };
    let path = &arguments.device;
    match run(&arguments, path) {
        Ok(status) => ExitCode::from(status),
        Err(message) => {
            eprintln!("fsck.pinfs: {}: {message}", path.display());
            ExitCode::from(FAILED)
        }
    }
}

fn run(arguments: &Arguments, path: &Path) -> Result<u8, String> {
    let repair = arguments.yes || arguments.preen;
    let name = path.display();
    // Before anything is opened: what the caller has not opened must not become one of ours.
    let mut meter = Meter::new(arguments.progress, path);
    let (device, in_use) = match arguments.check_only {
        true => Device::look(path)?,
        false => (Device::open(path, repair)?, false),
    };
    if in_use {
        eprintln!(
            "fsck.pinfs: {name}: warning: in use: faults may be changes that are being made; unmounted, it \
             can be checked for sure"
        );
    }
    let failure =
        |error: pinfs_format::Error| device.failure().unwrap_or_else(|| error.to_string());
    let overlay = Overlay::new(&device);
    let interruptible = cancel_on_signals(path)?;
    let options = Options {
        force: arguments.force,
    };
    let mut tell = |what: &str, done, all| meter.tell(what, done, all);
    let others_at_first = others_at_first(arguments, path, &device, in_use)?;
    if let Some(why) = unknown_kind(&arguments.overwrite, &others_at_first) {
        eprintln!("fsck.pinfs: {name}: {why}");
        return Ok(USAGE);
    }
    let found = match superblock(arguments, &device, &others_at_first, &mut tell)? {
        Found::Doubtful(why) => {
            println!("{name}: {why}");
            return Ok(UNCORRECTED);
        }
        found => found,
    };
    let outcome = check_from(&overlay, options, found, &mut tell);
    meter.clear();
    let (summary, faults, replayed) = match outcome.map_err(failure)? {
        Outcome::Clean(summary) => {
            println!(
                "{name}: clean, {}, {}",
                count(summary.inodes, "inode", "inodes"),
                count(summary.blocks, "block", "blocks"),
            );
            return Ok(0);
        }
        Outcome::Refused(why) => return Err(why),
        Outcome::NoRoom(faults) => {
            print(&name.to_string(), &faults, false, arguments.verbose);
            println!("{name}: {NO_ROOM}");
            return Ok(UNCORRECTED);
        }
        Outcome::Checked {
            summary,
            faults,
            replayed,
        } => (summary, faults, replayed),
    };
    let changes = overlay.changes().map_err(failure)?;
    let loss = faults.iter().any(|fault| fault.loss);
    let others = match (faults.len(), changes) {
        (0, 0) => None,
        _ if in_use => None,
        _ => others(arguments, path, &device)?,
    };
    let refused = others.is_some() || (arguments.preen && loss);
    let repairs = repair && !refused;
    let tell_all = |repaired: bool| {
        if let Some(len) = replayed.filter(|_| arguments.verbose || repair) {
            let done = if repaired { "" } else { "would be " };
            println!("{name}: journal {done}replayed, {len} bytes");
        }
        print(&name.to_string(), &faults, repaired, arguments.verbose);
    };
    if repairs && changes > 0 {
        // Only what is on the device is said to be done.
        let written = write(&overlay, &device, &interruptible);
        tell_all(matches!(written, Ok(true)));
        if !written? {
            println!("{name}: {NO_ROOM}");
            return Ok(UNCORRECTED);
        }
    } else {
        tell_all(repairs);
    }
    if let Some(why) = others {
        println!("{name}: {why}");
        return Ok(UNCORRECTED);
    }
    let status = match faults.len() {
        0 => 0,
        _ if repairs => CORRECTED,
        _ => UNCORRECTED,
    };
    conclude(&name.to_string(), &summary, faults.len(), status, arguments);
    Ok(status)
}

/// Writes the repair; returns whether there was room for it.
fn write(
    overlay: &Overlay<&Device>,
    device: &Device,
    repaired: &Mutex<bool>,
) -> Result<bool, String> {
    let mut repaired = repaired.lock().map_err(|error| error.to_string())?;
    match overlay.commit() {
        Ok(()) => {}
        Err(Error::NoSpace) => return Ok(false),
        Err(error) => return Err(device.failure().unwrap_or_else(|| error.to_string())),
    }
    device.finish()?;
    *repaired = true;
    Ok(true)
}

/// What others have left, if the superblock is not where it belongs, or may be overwritten.
fn others_at_first(
    arguments: &Arguments,
    path: &Path,
    device: &Device,
    in_use: bool,
) -> Result<Vec<Signature>, String> {
    let small = device.size() < BLOCK_SIZE;
    let skip =
        small || in_use || (arguments.overwrite.is_empty() && Superblock::read(device).is_ok());
    match skip {
        true => Ok(Vec::new()),
        false => signatures::find(path, device),
    }
}

/// Says what can be named, if what the user wants to overwrite is none of it.
fn unknown_kind(named: &[String], others: &[Signature]) -> Option<String> {
    let mut known: Vec<&str> = signatures::kinds().chain([superblocks::UNKNOWN]).collect();
    known.extend(others.iter().map(|other| &*other.kind));
    known.sort_unstable();
    known.dedup();
    let kind = named.iter().find(|kind| !known.contains(&&***kind))?;
    let held = match others {
        [] => String::new(),
        _ => format!(", which holds {}", signatures::list(others)),
    };
    Some(format!(
        "--overwrite {kind}: there is no such signature on the device{held}; known are {}",
        known.join(", ")
    ))
}

/// Looks for the superblock.
fn superblock(
    arguments: &Arguments,
    device: &Device,
    others: &[Signature],
    tell: &mut dyn FnMut(&str, u64, u64),
) -> Result<Found, String> {
    let request = Request {
        block: arguments.backup,
        others,
        overwrite: &arguments.overwrite,
        search: !arguments.preen,
    };
    superblocks::find(device, &request, tell)
        .map_err(|error| device.failure().unwrap_or_else(|| error.to_string()))
}

/// Whether another owner may have the device by now, though its superblock is ours; before anything
/// is written.
fn others(arguments: &Arguments, path: &Path, device: &Device) -> Result<Option<String>, String> {
    let others = signatures::find(path, device)?;
    let request = Request {
        others: &others,
        overwrite: &arguments.overwrite,
        ..Request::default()
    };
    superblocks::in_the_way(device, &request)
        .map_err(|error| device.failure().unwrap_or_else(|| error.to_string()))
}

fn print(name: &str, faults: &[Fault], repaired: bool, all: bool) {
    for line in lines(faults, repaired, all) {
        println!("{name}: {line}");
    }
}

fn conclude(name: &str, summary: &Summary, faults: usize, status: u8, arguments: &Arguments) {
    let them = if faults == 1 { "it" } else { "them" };
    let faults = count(faults as u64, "fault", "faults");
    let verdict = match status {
        CORRECTED => format!("{faults}, all repaired"),
        UNCORRECTED if arguments.preen => {
            format!("{faults}, repaired by -y only, as something may be lost")
        }
        UNCORRECTED => format!("{faults}, nothing is changed; -y repairs {them}"),
        _ => "no faults".to_owned(),
    };
    println!(
        "{name}: {verdict}; {} ({}), {} of {} in use",
        count(summary.inodes, "inode", "inodes"),
        count(summary.directories, "directory", "directories"),
        summary.used,
        count(summary.blocks, "block", "blocks"),
    );
    if arguments.verbose {
        println!(
            "{name}: {} KiB of memory for the maps of blocks; an inode's checksum covers {} bytes",
            3 * summary.blocks.div_ceil(8) >> 10,
            pinfs_format::Inode::SEALED,
        );
    }
}

/// Ends the program at a signal to do so. Nothing is written to the device as long as nobody holds
/// the lock that is returned; who does is not interrupted. It holds whether something was written.
fn cancel_on_signals(path: &Path) -> Result<Arc<Mutex<bool>>, String> {
    let interruptible = Arc::new(Mutex::new(false));
    let lock = Arc::clone(&interruptible);
    let name = path.display().to_string();
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| error.to_string())?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            // Nothing is written as long as this is held.
            let repaired = lock.lock();
            let what = match &repaired {
                Ok(repaired) if **repaired => "after everything was repaired",
                _ => "nothing is changed",
            };
            eprintln!("\nfsck.pinfs: {name}: interrupted; {what}");
            exit(CANCELED.into());
        }
    });
    Ok(interruptible)
}

/// Shows how far a pass is, in whole percents.
struct Meter {
    show: Show,
    shown: u64,
    /// The pass, and its number.
    pass: (String, u32),
}

enum Show {
    Nothing,
    /// One line on standard error, again and again.
    Bar,
    /// Lines for programs, as e2fsck writes them: number of the pass, done, whole, device.
    Lines(File, PathBuf),
}

/// A copy of a descriptor that the caller has opened: of the same open file, so that it can be a
/// socket, or a line that cannot be opened twice.
fn descriptor(fd: i32) -> io::Result<File> {
    // The descriptor of the process itself takes the lowest free number, which may be this.
    Path::new(&format!("/proc/self/fd/{fd}")).symlink_metadata()?;
    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    let copy = pidfd_getfd(&process, fd, PidfdGetfdFlags::empty())?;
    Ok(File::from(copy))
}

impl Meter {
    /// `wanted` is what `-C` says. That it cannot be done is no reason not to check.
    fn new(wanted: Option<i32>, device: &Path) -> Self {
        let show = match wanted {
            Some(0) => Show::Bar,
            Some(fd @ 1..) => match descriptor(fd) {
                Ok(file) => Show::Lines(file, device.to_owned()),
                Err(error) => {
                    let name = device.display();
                    eprintln!(
                        "fsck.pinfs: {name}: warning: no progress is shown: descriptor {fd}: {error}"
                    );
                    Show::Nothing
                }
            },
            Some(_) => Show::Nothing,
            None if io::stderr().is_terminal() => Show::Bar,
            None => Show::Nothing,
        };
        Meter {
            show,
            shown: u64::MAX,
            pass: (String::new(), 0),
        }
    }

    fn tell(&mut self, what: &str, done: u64, all: u64) {
        if self.pass.0 != what {
            self.pass = (what.to_owned(), self.pass.1 + 1);
            self.shown = u64::MAX;
        }
        let percent = done.saturating_mul(100) / all.max(1);
        if percent == self.shown {
            return;
        }
        self.shown = percent;
        // That nobody looks any more is no reason to stop.
        let shown = match &mut self.show {
            Show::Nothing => Ok(()),
            Show::Bar => {
                write!(io::stderr(), "\r{what}: {percent:3} %   ")
            }
            Show::Lines(file, device) => {
                let number = self.pass.1;
                let line = format!("{number} {done} {all} {}\n", device.display());
                file.write_all(line.as_bytes())
            }
        };
        if shown.is_err() {
            self.show = Show::Nothing;
        }
    }

    fn clear(&self) {
        if matches!(self.show, Show::Bar) && self.pass.1 > 0 {
            // As above.
            let _ = write!(io::stderr(), "\r{:30}\r", "");
        }
    }
}
