// SPDX-License-Identifier: GPL-2.0

//! Layout leases by fcntl(2), with the values of `<linux/pinfs.h>`.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd, //
};

/// A layout lease.
const F_LAYOUT: libc::c_int = 16;
/// It cannot be broken and has one holder.
const F_EXCLUSIVE: libc::c_int = 32;
/// It cannot be broken and may be shared.
const F_UNBREAK: libc::c_int = 64;

/// Takes a lease that cannot be broken on `file`, which is open for writing.
///
/// # Errors
///
/// `EAGAIN` if somebody else's lease is in the way, `EINVAL` where there are no layout leases,
/// `EACCES` if the file is another user's.
pub(crate) fn take(file: &File, shared: bool) -> io::Result<()> {
    let kind = F_LAYOUT | if shared { F_UNBREAK } else { F_EXCLUSIVE };
    // SAFETY: With F_SETLEASE fcntl() takes a number; no memory of ours is read or written.
    #[allow(unsafe_code)]
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
