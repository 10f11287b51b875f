// SPDX-License-Identifier: GPL-2.0

//! `fsck.pinfs`: checks and repairs a pinfs file system.

#![forbid(unsafe_code)]

use std::{
    fs::{
        File,
        OpenOptions, //
    },
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
    signatures,
    superblock::Superblock,
    volume::Object,
    Error,
    Medium,
    BLOCK_SIZE, //
};
use pinfs_fsck::{
    check_from,
    report::lines,
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
    disable_version_flag = true
)]
struct Arguments {
    /// Only check, write nothing; the default
    #[arg(short = 'n', conflicts_with_all = ["yes", "preen"])]
    check_only: bool,

    /// Repair everything
    #[arg(short = 'y')]
    yes: bool,

    /// Repair what can be repaired without losing anything, else nothing
    #[arg(short = 'p', short_alias = 'a', conflicts_with = "yes")]
    preen: bool,

    /// Check even if the file system is marked clean
    #[arg(short = 'f')]
    force: bool,

    /// Take the superblock from its backup in this block, where the one in block 0 is bad
    #[arg(short = 'b', value_name = "BLOCK")]
    backup: Option<u64>,

    /// Repair though the device holds this of another owner's, by the name that the refusal gives;
    /// several are separated by commas
    #[arg(long, value_name = "KIND", value_delimiter = ',', requires = "yes")]
    overwrite: Vec<String>,

    /// Say more
    #[arg(short = 'v')]
    verbose: bool,

    /// Show how far the check is: 0 for a line on standard error, which is the default on a
    /// terminal; above 0, lines for programs go to this descriptor; below 0, nothing is shown
    #[arg(short = 'C', value_name = "FD", allow_negative_numbers = true)]
    progress: Option<i32>,

    /// Print the version
    #[arg(short = 'V', long = "version")]
    version: bool,

    /// Block device or image file
    #[arg(value_name = "DEVICE", required_unless_present = "version")]
    device: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // If the message cannot be printed, the exit status still tells.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp => ExitCode::SUCCESS,
                _ => ExitCode::from(USAGE),
            };
        }
    };
    if arguments.version {
        println!("fsck.pinfs {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let Some(path) = &arguments.device else {
        return ExitCode::from(USAGE);
    };
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
    let mut meter = Meter::new(arguments.progress, path)?;
    let options = Options {
        force: arguments.force,
    };
    let mut tell = |what: &str, done, all| meter.tell(what, done, all);
    let found = match superblock(arguments, path, &device, in_use, &mut tell)? {
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
                "{name}: clean, {} inodes, {} blocks",
                summary.inodes, summary.blocks
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
    let repaired = repair && !refused;
    if let Some(len) = replayed.filter(|_| arguments.verbose || repair) {
        let done = if repaired { "" } else { "would be " };
        println!("{name}: journal {done}replayed, {len} bytes");
    }
    print(&name.to_string(), &faults, repaired, arguments.verbose);
    if let Some(why) = others {
        println!("{name}: {why}");
        return Ok(UNCORRECTED);
    }
    let status = if !repaired {
        match faults.len() {
            0 => 0,
            _ => UNCORRECTED,
        }
    } else {
        if changes > 0 {
            let _until_the_end = interruptible.lock();
            match overlay.commit() {
                Err(Error::NoSpace) => {
                    println!("{name}: {NO_ROOM}");
                    return Ok(UNCORRECTED);
                }
                committed => committed.map_err(failure)?,
            }
            device.finish()?;
        }
        match faults.len() {
            0 => 0,
            _ => CORRECTED,
        }
    };
    conclude(&name.to_string(), &summary, faults.len(), status, arguments);
    Ok(status)
}

/// Looks for the superblock, and for what others have left if it is not where it belongs.
fn superblock(
    arguments: &Arguments,
    path: &Path,
    device: &Device,
    in_use: bool,
    tell: &mut dyn FnMut(&str, u64, u64),
) -> Result<Found, String> {
    let small = device.size() < BLOCK_SIZE;
    let skip =
        small || in_use || (arguments.overwrite.is_empty() && Superblock::read(device).is_ok());
    let others = match skip {
        true => Vec::new(),
        false => signatures::find(path, device)?,
    };
    let request = Request {
        block: arguments.backup,
        others: &others,
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
    let verdict = match status {
        CORRECTED => format!("{faults} faults, all repaired"),
        UNCORRECTED if arguments.preen => {
            format!("{faults} faults, repaired by -y only, as something may be lost")
        }
        UNCORRECTED => format!("{faults} faults, nothing is changed; -y repairs them"),
        _ => "no faults".to_owned(),
    };
    println!(
        "{name}: {verdict}; {} inodes ({} directories), {} of {} blocks in use",
        summary.inodes, summary.directories, summary.used, summary.blocks,
    );
    if arguments.verbose {
        println!(
            "{name}: {} KiB of memory for the maps of blocks, seals of {} bytes",
            3 * summary.blocks.div_ceil(8) >> 10,
            pinfs_format::Inode::SEALED,
        );
    }
}

/// Ends the program at a signal to do so. Nothing is written to the device as long as nobody holds
/// the lock that is returned; who does is not interrupted.
fn cancel_on_signals(path: &Path) -> Result<Arc<Mutex<()>>, String> {
    let interruptible = Arc::new(Mutex::new(()));
    let lock = Arc::clone(&interruptible);
    let name = path.display().to_string();
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| error.to_string())?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            let _nothing_is_written = lock.lock();
            eprintln!("\nfsck.pinfs: {name}: interrupted; nothing is changed");
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

impl Meter {
    /// `wanted` is what `-C` says.
    fn new(wanted: Option<i32>, device: &Path) -> Result<Self, String> {
        let show = match wanted {
            Some(0) => Show::Bar,
            Some(fd @ 1..) => {
                // A descriptor of its own for what the caller has opened.
                let file = OpenOptions::new()
                    .append(true)
                    .open(format!("/proc/self/fd/{fd}"))
                    .map_err(|error| format!("descriptor {fd}: {error}"))?;
                Show::Lines(file, device.to_owned())
            }
            Some(_) => Show::Nothing,
            None if io::stderr().is_terminal() => Show::Bar,
            None => Show::Nothing,
        };
        Ok(Meter {
            show,
            shown: u64::MAX,
            pass: (String::new(), 0),
        })
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
        let _ = match &mut self.show {
            Show::Nothing => Ok(()),
            Show::Bar => {
                eprint!("\r{what}: {percent:3} %   ");
                io::stderr().flush()
            }
            Show::Lines(file, device) => {
                let number = self.pass.1;
                writeln!(file, "{number} {done} {all} {}", device.display())
            }
        };
    }

    fn clear(&self) {
        if matches!(self.show, Show::Bar) && self.pass.1 > 0 {
            eprint!("\r{:30}\r", "");
        }
    }
}
