// SPDX-License-Identifier: GPL-2.0

//! Whether huge pages can still map new files on an aged file system.
//!
//! The ageing program: files are made and grow by appends, several at a time, until three quarters
//! of the device are in use; from then on files are deleted at random to keep it so, until ten times
//! the device has been written. Of the files 70 % have 1 to 16 blocks, 20 % up to 256, 9 % up to 2048
//! and 1 % up to 8192 (4 KiB to 32 MiB); each append is of 1 to 16 blocks, one in eight of 256.
//! Then big files are written, by appends of 1 MiB, two at a time, until 85 % are in use, and it is
//! counted how many of their aligned ranges of 2 MiB are contiguous and aligned on the device.

use pinfs_format::{
    crash::Random,
    extents::{
        self,
        Mapping, //
    },
    inode::S_IFREG,
    memory::Memory,
    namespace,
    orphan,
    Error,
    Time, //
};

use crate::support::{
    attributes,
    name,
    Fs, //
};

const GROUP: u64 = 512;

/// 512 MiB, of which only the metadata is ever stored to.
const BLOCKS: u64 = 256 * GROUP;

/// A file and the size it is to have.
struct Growing {
    name: String,
    ino: u64,
    at: u64,
    end: u64,
}

struct Device {
    fs: Fs<Memory>,
    random: Random,
    made: u64,
    /// Names of files that are complete.
    files: Vec<String>,
}

impl Device {
    fn used(&self) -> u64 {
        let counts = self.fs.space.counts();
        (counts.total - counts.free) * 100 / counts.total
    }

    fn create(&mut self, end: u64) -> Growing {
        self.made += 1;
        let new = format!("file {}", self.made);
        let root = self.fs.root();
        let attr = attributes(S_IFREG);
        let ino = self
            .fs
            .run(|tx| namespace::create(tx, root, name(new.as_bytes()), &attr, None))
            .expect("create");
        Growing {
            name: new,
            ino,
            at: 0,
            end,
        }
    }

    /// Appends up to `len` blocks, and returns how many.
    fn append(&mut self, file: &mut Growing, len: u64) -> Result<u64, Error> {
        let (ino, at) = (file.ino, file.at);
        let len = len.min(file.end - at);
        let extent = self.fs.allocate(ino, at, len)?;
        file.at = extent.end();
        Ok(extent.len)
    }

    fn delete(&mut self) {
        let index = self.random.below(self.files.len() as u64) as usize;
        let old = self.files.swap_remove(index);
        let root = self.fs.root();
        let gone = name(old.as_bytes());
        let found = self
            .fs
            .run(|tx| namespace::unlink(tx, root, gone, Time::default()))
            .expect("unlink");
        while !self.fs.run(|tx| orphan::reap(tx, found.ino)).expect("reap") {}
    }

    fn size(&mut self) -> u64 {
        let limit = match self.random.below(100) {
            0..=69 => 16,
            70..=89 => 256,
            90..=98 => 2048,
            _ => 8192,
        };
        1 + self.random.below(limit)
    }

    fn age(&mut self) {
        let mut growing = Vec::new();
        let mut written = 0;
        while written < 10 * BLOCKS {
            while self.used() >= 75 {
                self.delete();
            }
            if growing.len() < 6 {
                let end = self.size();
                let file = self.create(end);
                growing.push(file);
            }
            let index = self.random.below(growing.len() as u64) as usize;
            let len = if self.random.once_in(8) {
                256
            } else {
                1 + self.random.below(16)
            };
            written += self.append(&mut growing[index], len).expect("append");
            if growing[index].at == growing[index].end {
                self.files.push(growing.swap_remove(index).name);
            }
        }
        self.files.extend(growing.into_iter().map(|file| file.name));
    }

    /// Aligned ranges of 2 MiB of a file, and how many of them one huge page can map.
    fn ranges(&self, file: &Growing) -> (u64, u64) {
        let inode = self.fs.inode(file.ino);
        let starts = (0..file.at / GROUP).map(|range| range * GROUP);
        let huge = starts.clone().filter(|&at| {
            match extents::map(&self.fs.volume, &inode, at).expect("map") {
                Mapping::Extent(extent) => extent.len >= GROUP && extent.block % GROUP == 0,
                Mapping::Hole { .. } => false,
            }
        });
        (starts.clone().count() as u64, huge.count() as u64)
    }
}

/// Ages a device, writes big files, and returns what [`Device::ranges`] says of all of them.
fn run(seed: u64) -> (u64, u64) {
    let mut device = Device {
        fs: Fs::sparse(BLOCKS),
        random: Random::new(seed),
        made: 0,
        files: Vec::new(),
    };
    device.age();
    let counts = device.fs.space.counts();
    println!("aged: {} files, {counts:?}", device.files.len());
    let (mut ranges, mut huge) = (0, 0);
    while device.used() < 85 {
        let mut pair = [device.create(4096), device.create(4096)];
        while pair.iter().any(|file| file.at < file.end) && device.used() < 85 {
            for file in &mut pair {
                if file.at < file.end {
                    device.append(file, 256).expect("append");
                }
            }
        }
        for file in &pair {
            let (all, good) = device.ranges(file);
            ranges += all;
            huge += good;
        }
    }
    println!("{huge} of {ranges} ranges are huge");
    device.fs.check();
    (ranges, huge)
}

#[test]
fn new_files_get_huge_pages() {
    let (mut ranges, mut huge) = (0, 0);
    for seed in 0..3 {
        let (all, good) = run(seed);
        ranges += all;
        huge += good;
    }
    assert!(ranges > 60);
    assert!(huge * 10 >= ranges * 9, "{huge} of {ranges}");
}
