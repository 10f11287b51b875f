// SPDX-License-Identifier: GPL-2.0

//! What is told about a file system.

use std::fmt;

use pinfs_format::BLOCK_SIZE;

/// Something wrong, and what was done about it.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The inode it belongs to, or 0.
    pub ino: u64,
    /// A path of that inode, if it has one.
    pub path: Option<String>,
    /// Byte offset on the device, if it is in one place.
    pub off: Option<u64>,
    /// What is wrong, and after a semicolon what the repair is.
    pub what: String,
    /// The repair may lose something that a user put there, or has to guess.
    pub loss: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ino != 0 {
            write!(f, "inode {}", self.ino)?;
            if let Some(path) = &self.path {
                write!(f, " ({path})")?;
            }
            write!(f, ": ")?;
        }
        f.write_str(&self.what)?;
        if let Some(off) = self.off {
            write!(f, " [block {}, byte {off}]", off / BLOCK_SIZE)?;
        }
        Ok(())
    }
}

/// A name for people: control characters and bytes that are no text are escaped.
pub fn printable(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => name.escape_ascii().to_string(),
    }
}
