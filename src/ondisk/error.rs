// SPDX-License-Identifier: GPL-2.0

//! Errors of the checks of structures, and of the engine's operations.

use core::fmt;

/// Reason for a failure. Nothing has changed on the medium unless the variant says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The medium holds invalid data; the text describes it.
    Corrupt(&'static str),
    /// No free block, or no room for one more name of the same hash.
    NoSpace,
    /// No such name, or no extent where one was expected.
    NoEntry,
    /// No such extended attribute.
    NoAttribute,
    /// The name, the extent or the attribute exists already.
    Exists,
    /// The directory holds names.
    NotEmpty,
    /// A directory was needed.
    NotDirectory,
    /// Something other than a directory was needed.
    IsDirectory,
    /// A name over 255 bytes, or a symbolic link target over [`super::symlink::MAX`] bytes.
    NameTooLong,
    /// An argument outside its domain.
    Invalid,
    /// The link count is at its limit.
    TooManyLinks,
    /// The transaction outgrew its arena; the caller should have divided the work.
    TxFull,
    /// A file block number or a size outside what the format can hold.
    Overflow,
    /// No inode of that number: it was freed, or never existed.
    Stale,
    /// The medium failed.
    Io,
    /// An earlier commit failed half-way: no write is possible until the next mount.
    Aborted,
}

/// Result of the engine's operations.
pub type Result<T = ()> = core::result::Result<T, Error>;

pub(crate) const EIO: i32 = -5;
pub(crate) const EINVAL: i32 = -22;
pub(crate) const EROFS: i32 = -30;
pub(crate) const EUCLEAN: i32 = -117;
const ENOENT: i32 = -2;
const EEXIST: i32 = -17;
const ENOTDIR: i32 = -20;
const EISDIR: i32 = -21;
const EFBIG: i32 = -27;
const ENOSPC: i32 = -28;
const EMLINK: i32 = -31;
const ENAMETOOLONG: i32 = -36;
const ENOTEMPTY: i32 = -39;
const ENODATA: i32 = -61;
const ENOBUFS: i32 = -105;
const ESTALE: i32 = -116;

impl Error {
    /// Returns the negative errno for user space.
    pub const fn errno(self) -> i32 {
        match self {
            Error::Corrupt(_) => EUCLEAN,
            Error::NoSpace => ENOSPC,
            Error::NoEntry => ENOENT,
            Error::NoAttribute => ENODATA,
            Error::Exists => EEXIST,
            Error::NotEmpty => ENOTEMPTY,
            Error::NotDirectory => ENOTDIR,
            Error::IsDirectory => EISDIR,
            Error::NameTooLong => ENAMETOOLONG,
            Error::Invalid => EINVAL,
            Error::TooManyLinks => EMLINK,
            Error::TxFull => ENOBUFS,
            Error::Overflow => EFBIG,
            Error::Stale => ESTALE,
            Error::Io => EIO,
            Error::Aborted => EROFS,
        }
    }

    /// Returns a short text for a log line.
    pub const fn message(self) -> &'static str {
        match self {
            Error::Corrupt(what) => what,
            Error::NoSpace => "no space left",
            Error::NoEntry => "no such entry",
            Error::NoAttribute => "no such attribute",
            Error::Exists => "entry exists",
            Error::NotEmpty => "directory not empty",
            Error::NotDirectory => "not a directory",
            Error::IsDirectory => "is a directory",
            Error::NameTooLong => "name too long",
            Error::Invalid => "invalid argument",
            Error::TooManyLinks => "too many links",
            Error::TxFull => "transaction too large",
            Error::Overflow => "file too large",
            Error::Stale => "no such inode",
            Error::Io => "I/O error",
            Error::Aborted => "journal aborted by an earlier error",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}
