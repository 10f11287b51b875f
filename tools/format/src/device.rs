// SPDX-License-Identifier: GPL-2.0

//! A block device or an image file as a medium.

use std::{
    cell::RefCell,
    fs::{
        File,
        OpenOptions, //
    },
    io::{
        self,
        Seek,
        SeekFrom, //
    },
    os::unix::fs::{
        FileExt,
        FileTypeExt,
        OpenOptionsExt, //
    },
    path::Path,
    string::{
        String,
        ToString, //
    },
    vec, //
};

use xxhash_rust::xxh64::xxh64;

use crate::{
    Error,
    Medium,
    Result, //
};

/// Bytes of zeroes that are written at a time.
const ZEROES: usize = 1 << 20;

/// An open device or file. The system's reasons for failures are kept, because the engine's errors
/// have no room for them.
pub struct Device {
    file: File,
    size: u64,
    failure: RefCell<Option<io::Error>>,
}

impl Device {
    /// Opens the device. One that is mounted, or in use by another driver, is refused.
    pub fn open(path: &Path, write: bool) -> core::result::Result<Self, String> {
        let metadata = path.metadata().map_err(|error| error.to_string())?;
        let kind = metadata.file_type();
        if !kind.is_block_device() && !kind.is_file() {
            return Err("neither a block device nor a regular file".to_string());
        }
        let mut options = OpenOptions::new();
        options.read(true).write(write);
        if kind.is_block_device() {
            // For block devices this means: fail if a mount or another driver has it.
            options.custom_flags(libc::O_EXCL);
        }
        let mut file = options
            .open(path)
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EBUSY) => "in use: mounted, or part of another device".to_string(),
                _ => error.to_string(),
            })?;
        let size = file
            .seek(SeekFrom::End(0))
            .map_err(|error| error.to_string())?;
        Ok(Device {
            file,
            size,
            failure: RefCell::new(None),
        })
    }

    /// Waits until everything is on the device.
    pub fn finish(&self) -> core::result::Result<(), String> {
        self.fence();
        match self.failure() {
            None => Ok(()),
            Some(failure) => Err(failure),
        }
    }

    /// Why something has failed, if it has.
    pub fn failure(&self) -> Option<String> {
        self.failure.borrow().as_ref().map(io::Error::to_string)
    }

    fn keep<T>(&self, result: io::Result<T>) -> Result<T> {
        result.map_err(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            Error::Io
        })
    }
}

impl Medium for Device {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, off: u64, buf: &mut [u8]) -> Result {
        self.keep(self.file.read_exact_at(buf, off))
    }

    fn write(&self, off: u64, data: &[u8]) -> Result {
        // A fence cannot fail, so what it met is reported here: no superblock after a failed sync.
        if self.failure.borrow().is_some() {
            return Err(Error::Io);
        }
        self.keep(self.file.write_all_at(data, off))
    }

    fn zero(&self, off: u64, len: u64) -> Result {
        let zeroes = vec![0; ZEROES];
        let mut done = 0;
        while done < len {
            let part = (len - done).min(ZEROES as u64);
            self.write(off + done, &zeroes[..part as usize])?;
            done += part;
        }
        Ok(())
    }

    fn flush(&self, _off: u64, _len: u64) -> Result {
        // The system keeps track of what is not written back.
        Ok(())
    }

    fn fence(&self) {
        // The reason is kept, and the next write fails.
        let _ = self.keep(self.file.sync_all());
    }

    fn xxh64(&self, seed: u64, data: &[u8]) -> u64 {
        xxh64(data, seed)
    }
}
