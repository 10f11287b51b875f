// SPDX-License-Identifier: GPL-2.0

//! `pinctl`: takes layout leases for programs that do not know them, and shows who pins what.

#![deny(unsafe_code)]

mod lease;
mod run;
mod show;
mod table;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::Duration, //
};

use clap::{
    error::ErrorKind,
    Args,
    CommandFactory,
    Parser,
    Subcommand, //
};
use clap_complete::Shell;

/// Exit status when the answer is no: somebody holds the file, or the time is over.
const HELD: u8 = 1;

/// Exit status when there is no answer.
const FAILED: u8 = 2;

/// Take layout leases on pinfs files, and see who pins them.
#[derive(Parser)]
#[command(name = "pinctl", version, infer_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Take a lease on each FILE, then become COMMAND, which may pin them for as long as it lives
    Run(Run),
    /// List the long-term pins: of the file PATH, of all files beneath the directory PATH, or all
    Ls(List),
    /// Say which processes hold FILE, by a pin or by a lease (status 1 if nobody does)
    Holders(Holders),
    /// Wait until nothing pins FILE and nobody has a lease on it
    Wait(Wait),
    /// Print the completion script of a shell
    Completion {
        /// Shell to complete for
        shell: Shell,
    },
}

#[derive(Args)]
struct Run {
    /// File to take a lease on; may be given more than once
    #[arg(short = 'l', long = "lease", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Let others take shared leases on the same files (F_UNBREAK instead of F_EXCLUSIVE)
    #[arg(short, long)]
    shared: bool,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<std::ffi::OsString>,
}

#[derive(Args)]
struct List {
    /// Print JSON
    #[arg(short = 'J', long)]
    json: bool,

    /// File or directory
    path: Option<PathBuf>,
}

#[derive(Args)]
struct Holders {
    /// Print JSON
    #[arg(short = 'J', long)]
    json: bool,

    /// File on pinfs
    file: PathBuf,
}

#[derive(Args)]
struct Wait {
    /// Give up after so many seconds (status 1)
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        value_parser = seconds,
        allow_hyphen_values = true
    )]
    timeout: Option<Duration>,

    /// File on pinfs
    file: PathBuf,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if seconds.is_nan() {
        return Err("not a number".to_owned());
    }
    if seconds < 0.0 {
        return Err("a time cannot be negative".to_owned());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| "too long".to_owned())
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // If the message cannot be printed, the exit status still tells.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(FAILED),
            };
        }
    };
    match dispatch(&arguments.command) {
        Ok(status) => status,
        Err(message) => {
            eprintln!("pinctl: {message}");
            ExitCode::from(FAILED)
        }
    }
}

fn dispatch(command: &Command) -> Result<ExitCode, String> {
    match command {
        Command::Run(run) => match run::run(&run.files, run.shared, &run.command)? {},
        Command::Ls(list) => {
            show::list(list.path.as_deref(), list.json)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Holders(holders) => {
            let held = show::holders(&holders.file, holders.json)?;
            Ok(if held {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(HELD)
            })
        }
        Command::Wait(wait) => {
            let free = show::wait(&wait.file, wait.timeout)?;
            Ok(if free {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(HELD)
            })
        }
        Command::Completion { shell } => {
            clap_complete::generate(
                *shell,
                &mut Arguments::command(),
                "pinctl",
                &mut std::io::stdout(),
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(time: &str) -> Result<Option<Duration>, String> {
        let arguments = Arguments::try_parse_from(["pinctl", "wait", "-t", time, "/file"]);
        match arguments.map_err(|error| error.to_string())?.command {
            Command::Wait(wait) => Ok(wait.timeout),
            _ => Err("another command".to_owned()),
        }
    }

    #[test]
    fn f5_a_time_to_wait() {
        assert_eq!(wait("0"), Ok(Some(Duration::ZERO)));
        assert_eq!(wait("0.25"), Ok(Some(Duration::from_millis(250))));
        for (time, what) in [
            ("-1", "a time cannot be negative"),
            ("-0.5", "a time cannot be negative"),
            ("-inf", "a time cannot be negative"),
            ("nan", "not a number"),
            ("soon", "not a number"),
            ("1e30", "too long"),
        ] {
            let error = wait(time).expect_err(time);
            assert!(error.contains(what), "{error}");
        }
    }
}
