// SPDX-License-Identifier: GPL-2.0

//! `ioctl(fd, PINFS_IOC_LEASE, &arg)`: leases on ranges of a file. It is also the only interface on
//! kernels where `fcntl(2)` cannot be hooked.
//!
//! The argument starts with its size, so that it can grow. Missing fields of a shorter argument are
//! zero. Additional bytes of a longer one must be zero, because their meaning is not known here.

use super::{
    fcntl::{
        arg_of_kind,
        give_back,
        held,
        kind_of_arg,
        take, //
    },
    host::Host,
    lease_ranges::ALL, //
};
use crate::rust::{
    lease::{
        OpenFile,
        F_UNLCK, //
    },
    uapi::{
        LeaseArg,
        PINFS_LEASE_GET,
        PINFS_LEASE_RELEASE,
        PINFS_LEASE_SET,
        PINFS_LEASE_SIZE_VER0, //
    }, //
};
use core::ops::Range;
use kernel::{
    ffi::c_int,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    transmute::FromBytes,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// Size of the known argument.
const KNOWN: usize = size_of::<LeaseArg>();

/// Handles `PINFS_IOC_LEASE`.
///
/// # Errors
///
/// * `EFAULT` for an argument that cannot be read or written;
/// * `E2BIG` for a larger one that is not zero past the known size;
/// * `EINVAL` for one that is too small, or has an invalid value;
/// * the errors of the same request by `fcntl()`.
pub(crate) fn lease<H: Host>(file: OpenFile<'_>, user: UserPtr) -> Result {
    let size = UserSlice::new(user, size_of::<u32>())
        .reader()
        .read::<u32>()? as usize;
    let arg = read(user, size)?;
    if arg.flags != 0 || arg.reserved != 0 {
        return Err(EINVAL);
    }
    let pages = pages_of(arg.start, arg.len)?;
    match arg.op {
        PINFS_LEASE_SET => {
            let kind = c_int::try_from(arg.lease)
                .map_err(|_| EINVAL)
                .and_then(kind_of_arg)?;
            take::<H>(file, file.descriptor(), &pages, kind)
        }
        PINFS_LEASE_RELEASE if arg.lease == 0 => give_back::<H>(file, &pages),
        PINFS_LEASE_GET if arg.lease == 0 => {
            let answer = get::<H>(file, &pages, arg);
            let known = size.min(KNOWN);
            UserSlice::new(user, known)
                .writer()
                .write_slice(&kernel::transmute::AsBytes::as_bytes(&answer)[..known])
        }
        _ => Err(EINVAL),
    }
}

/// Reads an argument whose `size` field is `size`.
fn read(user: UserPtr, size: usize) -> Result<LeaseArg> {
    if size < PINFS_LEASE_SIZE_VER0 as usize {
        return Err(EINVAL);
    }
    if size > PAGE_SIZE {
        return Err(E2BIG);
    }
    let mut reader = UserSlice::new(user, size).reader();
    let mut known = [0; KNOWN];
    let given = size.min(KNOWN);
    reader.read_slice(&mut known[..given])?;
    while !reader.is_empty() {
        if reader.read::<u8>()? != 0 {
            return Err(E2BIG);
        }
    }
    LeaseArg::from_bytes_copy(&known).ok_or(EINVAL)
}

/// Returns the pages that have bytes of a range, given as `start` and `len`.
fn pages_of(start: u64, len: u64) -> Result<Range<u64>> {
    // Offsets are signed.
    const AFTER_LAST: u64 = 1 << 63;

    if start >= AFTER_LAST {
        return Err(EINVAL);
    }
    let end = match len {
        0 => AFTER_LAST,
        _ => start
            .checked_add(len)
            .filter(|end| *end <= AFTER_LAST)
            .ok_or(EINVAL)?,
    };
    let end = if end == AFTER_LAST {
        ALL.end
    } else {
        end.div_ceil(PAGE_SIZE as u64)
    };
    Ok(start >> PAGE_SHIFT..end)
}

/// Returns the first lease of the file in a range.
fn get<H: Host>(file: OpenFile<'_>, pages: &Range<u64>, arg: LeaseArg) -> LeaseArg {
    match held::<H>(file, pages) {
        Some(piece) => LeaseArg {
            lease: arg_of_kind(piece.kind) as u32,
            start: piece.start << PAGE_SHIFT,
            len: if piece.end == ALL.end {
                0
            } else {
                (piece.end - piece.start) << PAGE_SHIFT
            },
            ..arg
        },
        None => LeaseArg {
            lease: F_UNLCK as u32,
            ..arg
        },
    }
}
