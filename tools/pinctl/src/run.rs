// SPDX-License-Identifier: GPL-2.0

//! `pinctl run`.
//!
//! Only the process that took a lease may pin under it. So this takes the leases and then becomes
//! the command, by exec in the same process; the descriptors stay open behind it, and with them the
//! leases, until the command ends.

use std::{
    convert::Infallible,
    ffi::OsString,
    fs::OpenOptions,
    io,
    os::{
        fd::IntoRawFd,
        unix::process::CommandExt, //
    },
    path::{
        Path,
        PathBuf, //
    },
    process::Command, //
};

use rustix::io::FdFlags;

use crate::lease;

fn explain(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.raw_os_error() {
        Some(libc::EAGAIN) => {
            format!("{path}: somebody else has a lease on it; see pinctl holders {path}")
        }
        Some(libc::EINVAL) => format!("{path}: no layout leases here; is it a file on pinfs?"),
        Some(libc::EACCES) => {
            format!("{path}: only the owner of a file, or who has CAP_LEASE, may lease it")
        }
        _ => format!("{path}: {error}"),
    }
}

/// Does not return unless something went wrong.
pub(crate) fn run(
    files: &[PathBuf],
    shared: bool,
    command: &[OsString],
) -> Result<Infallible, String> {
    for path in files {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        lease::take(&file, shared).map_err(|error| explain(path, &error))?;
        rustix::io::fcntl_setfd(&file, FdFlags::empty())
            .map_err(|error| format!("{}: {error}", path.display()))?;
        // Open for as long as the process lives: that is what the command has to bring along.
        let _ = file.into_raw_fd();
    }
    let (program, rest) = command.split_first().ok_or("no command")?;
    let error = Command::new(program).args(rest).exec();
    Err(format!("{}: {error}", Path::new(program).display()))
}
