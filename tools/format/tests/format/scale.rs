// SPDX-License-Identifier: GPL-2.0

//! Large directories and files.

use std::cell::Cell;

use pinfs_format::{
    crc::Checksum,
    dir,
    extents::{
        self,
        Extent,
        Mapping,
        MAX_BLOCKS, //
    },
    inode::S_IFREG,
    memory::Memory,
    mkfs,
    names,
    namespace,
    orphan,
    Medium,
    Name,
    Result,
    Time, //
};

use crate::support::{
    attributes,
    name,
    Fs,
    OPTIONS, //
};

/// A medium that counts the bytes that are read.
struct Counting {
    memory: Memory,
    read: Cell<u64>,
}

impl Checksum for Counting {
    fn xxh64(&self, seed: u64, data: &[u8]) -> u64 {
        self.memory.xxh64(seed, data)
    }
}

impl Medium for Counting {
    fn size(&self) -> u64 {
        self.memory.size()
    }

    fn read(&self, off: u64, buf: &mut [u8]) -> Result {
        self.read.set(self.read.get() + buf.len() as u64);
        self.memory.read(off, buf)
    }

    fn write(&self, off: u64, data: &[u8]) -> Result {
        self.memory.write(off, data)
    }

    fn zero(&self, off: u64, len: u64) -> Result {
        self.memory.zero(off, len)
    }

    fn flush(&self, off: u64, len: u64) -> Result {
        self.memory.flush(off, len)
    }

    fn fence(&self) {
        self.memory.fence();
    }
}

/// Gives one inode so many names in one directory, and looks at what they and a look-up cost.
fn names(count: u64, blocks: u64) {
    let memory = Memory::new(vec![0; (blocks * 4096) as usize]);
    mkfs::format(&memory, &OPTIONS).expect("format");
    let read = Cell::new(0);
    let mut fs = Fs::mount(Counting { memory, read }).0;
    let root = fs.root();
    let ino = fs
        .run(|tx| namespace::create(tx, root, name(b"first"), &attributes(S_IFREG), None))
        .expect("create");
    let text = |i: u64| format!("name {i:08}");
    // What a look-up reads: the average of a few.
    let cost = |fs: &Fs<Counting>, count: u64| {
        let dir = fs.inode(root);
        let counter = &fs.volume.medium().read;
        let before = counter.get();
        for i in 0..100 {
            let text = text(i * (count / 100));
            let found = dir::lookup(&fs.volume, &dir, name(text.as_bytes()));
            assert_eq!(found.expect("look-up").ino, ino);
        }
        (counter.get() - before) / 100
    };
    let mut small = 0;
    for i in 0..count {
        let text = text(i);
        let new = Name::new(text.as_bytes()).expect("a name");
        fs.run(|tx| namespace::link(tx, ino, root, new, Time::default()))
            .expect("link");
        if i + 1 == 1000 {
            small = cost(&fs, 1000);
        }
    }
    let large = cost(&fs, count);
    println!("a look-up reads {small} bytes of 1000 names, {large} of {count}");
    // A thousand names have one node above the leaves; two more levels hold millions.
    assert!(large <= small + 2 * 5000);
    let dir = fs.inode(root);
    assert_eq!(dir.size.get(), count + 1);
    // Head, name and slot are 33 bytes; leaves are at least half full, as is usual for a tree.
    let least = count * 33 / 4096;
    let blocks = dir.blocks.get();
    println!("{blocks} blocks for {least} blocks of names");
    assert!((least..2 * least).contains(&blocks));
    let mut listed = 0;
    names::read(&fs.volume, &dir, 0, |_, _| {
        listed += 1;
        true
    })
    .expect("readdir");
    assert_eq!(listed, count + 1);
}

#[test]
fn many_names() {
    names(100_000, 3000);
}

#[test]
#[ignore = "takes a minute"]
fn a_million_names() {
    names(1_000_000, 24_000);
}

/// A file of more than a hundred thousand extents is mapped, moved about and freed.
#[test]
fn many_extents() {
    const COUNT: u64 = 110_000;
    let mut fs = Fs::sparse(COUNT + 6000);
    let free = fs.space.counts().free;
    let root = fs.root();
    let ino = fs
        .run(|tx| namespace::create(tx, root, name(b"file"), &attributes(S_IFREG), None))
        .expect("create");
    for i in 0..COUNT / 10 {
        fs.run(|tx| {
            for at in (i * 10..i * 10 + 10).map(|i| 2 * i) {
                let extent = extents::alloc_extent(tx, ino, at, 1)?;
                extents::insert(tx, ino, extent)?;
            }
            tx.inode_mut(ino)?.size.set(2 * COUNT * 4096);
            Ok(())
        })
        .expect("allocate");
    }
    // All move, twice, in one transaction each, and come back.
    let far = MAX_BLOCKS / 2;
    fs.run(|tx| extents::insert_range(tx, ino, 1, far))
        .expect("up");
    fs.run(|tx| extents::insert_range(tx, ino, far + COUNT, 7))
        .expect("up");
    let at = |fs: &Fs<Memory>, at| extents::map(&fs.volume, &fs.inode(ino), at).expect("map");
    let last = far + 7 + 2 * (COUNT - 1);
    assert!(matches!(
        at(&fs, last),
        Mapping::Extent(Extent { len: 1, .. })
    ));
    assert_eq!(at(&fs, 1), Mapping::Hole { len: far + 1 });
    let contents = fs.check();
    assert_eq!(contents.objects[&ino].extents.len() as u64, COUNT);
    fs.run(|tx| extents::collapse(tx, ino, far + COUNT, far + COUNT + 7).map(drop))
        .expect("down");
    fs.run(|tx| extents::collapse(tx, ino, 1, far + 1).map(drop))
        .expect("down");
    assert!(matches!(at(&fs, 2 * (COUNT - 1)), Mapping::Extent(_)));
    fs.check();
    fs.run(|tx| namespace::unlink(tx, root, name(b"file"), Time::default()))
        .expect("unlink");
    while !fs.run(|tx| orphan::reap(tx, ino)).expect("reap") {}
    assert_eq!(fs.space.counts().free, free);
    fs.check();
}

/// Blocks anywhere up to the largest offset.
#[test]
fn sparse_files_of_exabytes() {
    let mut fs = Fs::new(1024);
    let root = fs.root();
    let ino = fs
        .run(|tx| namespace::create(tx, root, name(b"file"), &attributes(S_IFREG), None))
        .expect("create");
    let places: Vec<u64> = (0..51)
        .map(|power| 1 << power)
        .chain([MAX_BLOCKS - 1])
        .collect();
    for &at in places.iter().rev() {
        fs.run(|tx| {
            let extent = extents::alloc_extent(tx, ino, at, 1)?;
            extents::insert(tx, ino, extent)?;
            tx.inode_mut(ino)?.size.set(i64::MAX as u64);
            Ok(())
        })
        .expect("allocate");
    }
    let inode = fs.inode(ino);
    let mut at = 0;
    let mut found = Vec::new();
    while at < MAX_BLOCKS {
        match extents::map(&fs.volume, &inode, at).expect("map") {
            Mapping::Extent(extent) => {
                found.extend(extent.lblock..extent.end());
                at = extent.end();
            }
            Mapping::Hole { len } => at += len,
        }
    }
    assert_eq!(found, places);
    fs.check();
}
