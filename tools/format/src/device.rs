// SPDX-License-Identifier: GPL-2.0

//! A block device or an image file as a medium.
//!
//! A mounted pinfs stores to the memory behind the block device, past the device's page cache. That
//! lives as long as anybody has the device open, so what it holds can be older than the medium. Here
//! the device is read and written past it (`O_DIRECT`), in aligned blocks. The system writes back what
//! others have left dirty in a range before it reads it so, and drops what it has cached of a range
//! that is written so.

use std::{
    boxed::Box,
    cell::{
        Cell,
        RefCell, //
    },
    collections::BTreeMap,
    format,
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
        MetadataExt,
        OpenOptionsExt, //
    },
    path::{
        Path,
        PathBuf, //
    },
    string::{
        String,
        ToString, //
    },
    vec,
    vec::Vec, //
};

use rustix::fs::{
    fadvise,
    major,
    minor,
    Advice, //
};
use xxhash_rust::xxh64::xxh64;
use zerocopy::IntoBytes;
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

use crate::{
    crc::Checksum,
    offset_of,
    Error,
    Medium,
    Result,
    BLOCK_SIZE, //
};

/// Bytes that are written at a time, at most.
const CHUNK: usize = 1 << 20;

/// Blocks that are read at a time where one follows the other.
const AHEAD: u64 = 16;

/// Blocks that are remembered, at most, unless all are.
const REMEMBERED: usize = 1024;

/// A block where the system can read and write it past its cache: aligned for every device whose
/// sectors are not larger.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Page([u8; BLOCK_SIZE as usize]);

const ZEROES: Page = Page([0; BLOCK_SIZE as usize]);

/// What is known of the device's blocks.
#[derive(Default)]
struct Cache {
    /// The blocks, and whether they are still to be written.
    blocks: BTreeMap<u64, (Box<Page>, bool)>,
    /// The block behind the ones that were read last.
    next: u64,
    /// Blocks are never forgotten, so that each is read once.
    all: bool,
}

/// An open device or file. The system's reasons for failures are kept, because the engine's errors
/// have no room for them.
///
/// What is written may reach the device at the next fence only.
pub struct Device {
    file: File,
    size: u64,
    cache: RefCell<Cache>,
    /// Something was written and not waited for.
    unsynced: Cell<bool>,
    failure: RefCell<Option<io::Error>>,
}

/// The ways to open a device.
#[derive(Clone, Copy)]
struct Way {
    write: bool,
    exclusive: bool,
}

/// Opens it past the page cache if that can be. File systems without that say `EINVAL`, and so do
/// devices with larger sectors when they are read.
fn open_file(path: &Path, way: Way, direct: bool) -> io::Result<File> {
    let mut flags = 0;
    if way.exclusive {
        // For block devices this means: fail if a mount or another driver has it.
        flags |= libc::O_EXCL;
    }
    if direct {
        flags |= libc::O_DIRECT;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(way.write)
        .custom_flags(flags)
        .open(path)?;
    if direct {
        let mut page = Box::new(ZEROES);
        file.read_at(page.as_mut_bytes(), 0)?;
    }
    Ok(file)
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBUSY)
}

/// What sysfs has of a block device.
fn sysfs_of(path: &Path) -> Option<PathBuf> {
    let metadata = path.metadata().ok()?;
    if !metadata.file_type().is_block_device() {
        return None;
    }
    let device = metadata.rdev();
    let name = format!("{}:{}", major(device), minor(device));
    Path::new("/sys/dev/block").join(name).canonicalize().ok()
}

/// Such a device can be opened for writing all the same; the writes fail.
fn is_write_protected(path: &Path) -> bool {
    sysfs_of(path).is_some_and(|place| {
        std::fs::read_to_string(place.join("ro")).is_ok_and(|text| text.trim() == "1")
    })
}

const WRITE_PROTECTED: &str = "the device is write-protected";

/// Of a device that is in use, what else than a mount it can be.
fn busy(path: &Path) -> String {
    let ours = sysfs_of(path).and_then(|place| {
        let place = Path::new("/sys/fs/pinfs").join(place.file_name()?);
        place.exists().then_some(place)
    });
    match ours {
        Some(place) => format!(
            "in use: pinfs is mounted there, or pages of its files are still pinned; see {} and pinctl ls",
            place.display()
        ),
        None => "in use: mounted, or part of another device".to_string(),
    }
}

fn text(path: &Path, error: &io::Error) -> String {
    if is_busy(error) {
        busy(path)
    } else {
        error.to_string()
    }
}

/// What to say of a read or write that failed.
fn failed(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => WRITE_PROTECTED.to_string(),
        _ => error.to_string(),
    }
}

impl Device {
    /// Opens the device. One that is mounted, or in use by another driver, is refused, and one that is
    /// write-protected if it is to be written to.
    pub fn open(path: &Path, write: bool) -> core::result::Result<Self, String> {
        if write && is_write_protected(path) {
            return Err(WRITE_PROTECTED.to_string());
        }
        let exclusive = true;
        Self::with(path, Way { write, exclusive })?.map_err(|error| text(path, &error))
    }

    /// Opens the device to look at it, and says whether somebody else uses it. Then each block is
    /// read once, so that it does not change under the one who looks.
    pub fn look(path: &Path) -> core::result::Result<(Self, bool), String> {
        let mut way = Way {
            write: false,
            exclusive: true,
        };
        match Self::with(path, way)? {
            Ok(device) => Ok((device, false)),
            Err(error) if is_busy(&error) => {
                way.exclusive = false;
                let device = Self::with(path, way)?.map_err(|error| text(path, &error))?;
                device.cache.borrow_mut().all = true;
                Ok((device, true))
            }
            Err(error) => Err(text(path, &error)),
        }
    }

    /// The outer error is that of a file of another kind.
    fn with(path: &Path, way: Way) -> core::result::Result<io::Result<Self>, String> {
        let metadata = path.metadata().map_err(|error| error.to_string())?;
        let kind = metadata.file_type();
        if !kind.is_block_device() && !kind.is_file() {
            return Err("neither a block device nor a regular file".to_string());
        }
        let way = Way {
            exclusive: way.exclusive && kind.is_block_device(),
            ..way
        };
        let opened = || {
            // The end of a file that is no whole block cannot be written past the cache. All who have
            // a file open see the same cache of it.
            let direct = kind.is_block_device() || metadata.len() % BLOCK_SIZE == 0;
            let refused = Some(libc::EINVAL);
            let mut file = match open_file(path, way, direct) {
                Err(error) if direct && error.raw_os_error() == refused => {
                    open_file(path, way, false)
                }
                opened => opened,
            }?;
            let size = file.seek(SeekFrom::End(0))?;
            let device = Device {
                file,
                size,
                cache: RefCell::default(),
                unsynced: Cell::new(false),
                failure: RefCell::new(None),
            };
            device.forget_cache();
            Ok(device)
        };
        Ok(opened())
    }

    /// Waits until everything is on the device.
    pub fn finish(&self) -> core::result::Result<(), String> {
        self.fence();
        match self.failure() {
            None => Ok(()),
            Some(failure) => Err(failure),
        }
    }

    /// Does the same as [`Device::finish`], and sees what other programs have written since the
    /// device was opened. They, too, see what is on the medium then.
    pub fn refresh(&self) -> core::result::Result<(), String> {
        self.finish()?;
        self.cache.borrow_mut().blocks.clear();
        self.forget_cache();
        Ok(())
    }

    /// Why something has failed, if it has.
    pub fn failure(&self) -> Option<String> {
        self.failure.borrow().as_ref().map(failed)
    }

    /// Reads what matters only if it can be read: where it cannot, nothing is said to have failed.
    ///
    /// # Errors
    /// Also that of a write that had to come first, which is kept.
    pub fn peek(&self, off: u64, buf: &mut [u8]) -> Result {
        let mut cache = self.cache.borrow_mut();
        if cache.blocks.len() >= REMEMBERED && !cache.all {
            let written = self.write_back(&mut cache);
            self.keep(written)?;
            cache.blocks.clear();
        }
        drop(cache);
        self.get(off, buf).map_err(|_| Error::Io)
    }

    /// Has the system drop what it has cached, for programs that are started to read the device.
    fn forget_cache(&self) {
        // Only advice: without it they see what they would see without us.
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    fn keep<T>(&self, result: io::Result<T>) -> Result<T> {
        result.map_err(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            Error::Io
        })
    }

    /// Reads `pages.len()` blocks from `block` on, or fewer, but at least the first.
    fn read_pages(&self, block: u64, pages: &mut [Page]) -> io::Result<usize> {
        let off = offset_of(block);
        let end = self.size.min(off + pages.as_bytes().len() as u64);
        let read = loop {
            match self.file.read_at(pages.as_mut_bytes(), off) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What is behind the one that is wanted must not matter.
                Err(_) if pages.len() > 1 => return self.read_pages(block, &mut pages[..1]),
                read => break read?,
            }
        };
        match off + read as u64 {
            reached if reached >= end => Ok((end - off).div_ceil(BLOCK_SIZE) as usize),
            reached if reached >= off + BLOCK_SIZE => Ok(read / BLOCK_SIZE as usize),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Remembers `block`, and those that follow if it follows what was read last.
    fn load(&self, cache: &mut Cache, block: u64) -> io::Result<()> {
        if cache.blocks.len() >= REMEMBERED && !cache.all {
            self.write_back(cache)?;
            cache.blocks.clear();
        }
        let ahead = if block == cache.next { AHEAD } else { 1 };
        let left = self.size.div_ceil(BLOCK_SIZE).saturating_sub(block);
        let mut pages = vec![ZEROES; ahead.min(left) as usize];
        if pages.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let read = self.read_pages(block, &mut pages)?;
        cache.next = block + read as u64;
        for (block, page) in (block..).zip(pages).take(read) {
            cache
                .blocks
                .entry(block)
                .or_insert_with(|| (Box::new(page), false));
        }
        Ok(())
    }

    /// Writes what is still to be written, in the order of the blocks.
    fn write_back(&self, cache: &mut Cache) -> io::Result<()> {
        let mut run: (u64, Vec<Page>) = (0, Vec::new());
        for (&block, (page, dirty)) in cache.blocks.iter_mut() {
            if !std::mem::take(dirty) {
                continue;
            }
            let full = run.1.len() >= CHUNK / BLOCK_SIZE as usize;
            if full || run.0 + run.1.len() as u64 != block {
                self.write_pages(run.0, &run.1)?;
                run = (block, Vec::new());
            }
            run.1.push((**page).clone());
        }
        self.write_pages(run.0, &run.1)
    }

    fn write_pages(&self, block: u64, pages: &[Page]) -> io::Result<()> {
        let off = offset_of(block);
        let len = self.size.saturating_sub(off);
        let bytes = pages.as_bytes();
        let len = bytes.len().min(len.try_into().unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(());
        }
        self.unsynced.set(true);
        self.file.write_all_at(&bytes[..len], off)
    }

    /// Calls `f` with each block of a range, the part of it, and where that stands in the range.
    fn parts(
        &self,
        off: u64,
        len: usize,
        mut f: impl FnMut(&mut Cache, u64, std::ops::Range<usize>, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let end = off.checked_add(len as u64);
        let Some(end) = end.filter(|&end| end <= self.size) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let mut cache = self.cache.borrow_mut();
        let mut at = off;
        while at < end {
            let block = at / BLOCK_SIZE;
            let stop = end.min(offset_of(block + 1));
            let start = (at % BLOCK_SIZE) as usize;
            let part = start..start + (stop - at) as usize;
            f(&mut cache, block, part, (at - off) as usize)?;
            at = stop;
        }
        Ok(())
    }

    fn get(&self, off: u64, buf: &mut [u8]) -> io::Result<()> {
        let len = buf.len();
        self.parts(off, len, |cache, block, part, at| {
            if !cache.blocks.contains_key(&block) {
                self.load(cache, block)?;
            }
            if let Some((page, _)) = cache.blocks.get(&block) {
                buf[at..at + part.len()].copy_from_slice(&page.0[part]);
            }
            Ok(())
        })
    }

    /// Overwrites parts of blocks, or few of them.
    fn put(&self, off: u64, data: &[u8]) -> io::Result<()> {
        self.parts(off, data.len(), |cache, block, part, at| {
            if !cache.blocks.contains_key(&block) {
                self.load(cache, block)?;
            }
            if let Some((page, dirty)) = cache.blocks.get_mut(&block) {
                let new = &data[at..at + part.len()];
                page.0[part].copy_from_slice(new);
                *dirty = true;
            }
            Ok(())
        })
    }

    /// Overwrites whole blocks, which no longer need to be remembered.
    fn put_pages(&self, block: u64, pages: &[Page]) -> io::Result<()> {
        let mut cache = self.cache.borrow_mut();
        for block in block..block + pages.len() as u64 {
            cache.blocks.remove(&block);
        }
        self.write_pages(block, pages)
    }

    fn check(&self) -> Result {
        // A fence cannot fail, so what it met is reported here: no superblock after a failed sync.
        match &*self.failure.borrow() {
            Some(_) => Err(Error::Io),
            None => Ok(()),
        }
    }
}

impl Checksum for Device {
    fn xxh64(&self, seed: u64, data: &[u8]) -> u64 {
        xxh64(data, seed)
    }
}

impl Medium for Device {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, off: u64, buf: &mut [u8]) -> Result {
        self.keep(self.get(off, buf))
    }

    fn write(&self, off: u64, data: &[u8]) -> Result {
        self.check()?;
        self.keep(self.put(off, data))
    }

    fn zero(&self, off: u64, len: u64) -> Result {
        self.check()?;
        let end = off.checked_add(len).ok_or(Error::Io)?;
        // The blocks that lie in the range as a whole.
        let first = off.div_ceil(BLOCK_SIZE);
        let last = end / BLOCK_SIZE;
        if end > self.size || first >= last {
            return self.keep(self.put(off, &vec![0; len.min(self.size) as usize]));
        }
        let zeroes = vec![ZEROES; (CHUNK as u64 / BLOCK_SIZE).min(last - first) as usize];
        let mut block = first;
        while block < last {
            let count = (last - block).min(zeroes.len() as u64);
            self.keep(self.put_pages(block, &zeroes[..count as usize]))?;
            block += count;
        }
        let head = offset_of(first) - off;
        self.write(off, &ZEROES.0[..head as usize])?;
        let tail = end - offset_of(last);
        self.write(offset_of(last), &ZEROES.0[..tail as usize])
    }

    fn flush(&self, _off: u64, _len: u64) -> Result {
        // What is not written back is known.
        Ok(())
    }

    fn fence(&self) {
        // The reason is kept, and the next write fails.
        let mut written = self.write_back(&mut self.cache.borrow_mut());
        if self.unsynced.take() {
            written = written.and_then(|()| self.file.sync_all());
        }
        let _ = self.keep(written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A file that goes away with the test.
    struct Image(PathBuf);

    impl Image {
        fn new(name: &str, size: usize) -> Self {
            let name = format!("pinfs-device-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let bytes: Vec<u8> = (0..size).map(|at| (at / 7) as u8).collect();
            fs::write(&path, bytes).expect("write");
            Image(path)
        }
    }

    impl Drop for Image {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    /// Whatever is written in whatever pieces, the file holds afterwards what a plain array does.
    #[test]
    fn is_a_row_of_bytes() {
        for size in [3 << 20, (3 << 20) + 100, 4096, 5000, 1] {
            let image = Image::new(&format!("row-{size}"), size);
            let mut model = fs::read(&image.0).expect("read");
            let device = Device::open(&image.0, true).expect("open");
            assert_eq!(device.size(), size as u64);
            let mut random = 88172645463325252u64;
            for round in 0..400u64 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = (random >> 20) as usize % size;
                let most = [9, 5000, 70_000, 2 << 20][(random % 4) as usize];
                let len = 1 + (random >> 40) as usize % most;
                let len = len.min(size - at);
                match random >> 8 & 3 {
                    0 => {
                        device.zero(at as u64, len as u64).expect("zero");
                        model[at..at + len].fill(0);
                    }
                    1 => {
                        let data: Vec<u8> = (0..len).map(|i| i as u8 ^ round as u8).collect();
                        device.write(at as u64, &data).expect("write");
                        model[at..at + len].copy_from_slice(&data);
                    }
                    2 if random >> 11 & 7 == 0 => device.refresh().expect("refresh"),
                    _ => {
                        let mut seen = vec![0; len];
                        device.read(at as u64, &mut seen).expect("read");
                        assert_eq!(seen, model[at..at + len], "{at}+{len} of {size}");
                    }
                }
            }
            device.finish().expect("finish");
            assert_eq!(fs::read(&image.0).expect("read"), model, "{size}");
        }
    }

    #[test]
    fn nothing_behind_the_end() {
        let image = Image::new("end", 8192);
        let device = Device::open(&image.0, true).expect("open");
        assert_eq!(device.read(8191, &mut [0; 2]), Err(Error::Io));
        assert!(device.failure().is_some());
        // After a failure nothing is written.
        assert_eq!(device.write(0, &[1]), Err(Error::Io));
        let device = Device::open(&image.0, true).expect("open");
        assert_eq!(device.zero(8191, 2), Err(Error::Io));
        assert_eq!(fs::metadata(&image.0).expect("file").len(), 8192);
    }

    /// What another program writes is seen after a refresh, and not overwritten by what is remembered.
    #[test]
    fn sees_what_others_write() {
        let image = Image::new("others", 1 << 20);
        let device = Device::open(&image.0, true).expect("open");
        let mut seen = [0; 4];
        device.read(4096, &mut seen).expect("read");
        let other = OpenOptions::new().write(true).open(&image.0).expect("open");
        other.write_all_at(b"else", 4096).expect("write");
        device.refresh().expect("refresh");
        device.read(4096, &mut seen).expect("read");
        assert_eq!(&seen, b"else");
    }

    #[test]
    fn nothing_is_lost_when_much_is_remembered() {
        let image = Image::new("much", 2 * REMEMBERED * BLOCK_SIZE as usize);
        let device = Device::open(&image.0, true).expect("open");
        for block in (0..2 * REMEMBERED as u64).rev() {
            device
                .write(offset_of(block) + 8, &block.to_le_bytes())
                .expect("write");
        }
        device.finish().expect("finish");
        let bytes = fs::read(&image.0).expect("read");
        for (block, page) in bytes.chunks(BLOCK_SIZE as usize).enumerate() {
            assert_eq!(page[8..16], (block as u64).to_le_bytes());
        }
    }
}
