// SPDX-License-Identifier: GPL-2.0

//! All that a mounted file system does, done to an image that may be damaged or hostile.

use std::{
    format,
    vec,
    vec::Vec, //
};

use crate::{
    check,
    dir,
    extents::{
        self,
        Mapping, //
    },
    inode::{
        Attributes,
        S_IFREG, //
    },
    journal,
    names,
    namespace::{
        self,
        IfExists, //
    },
    offset_of,
    orphan,
    space,
    symlink,
    xattr::{
        self,
        Key,
        Mode,
        Namespace, //
    },
    Error,
    Inode,
    Journal,
    Medium,
    Name,
    Result,
    Space,
    Time,
    Tx,
    Volume,
    BLOCK_SIZE,
    INODE_SLOTS, //
};

/// Attributes of a new object of type and mode `mode`.
pub fn attributes(mode: u32) -> Attributes {
    Attributes {
        mode,
        uid: 1000,
        gid: 100,
        rdev: 0,
        generation: 7,
        now: Time { sec: 10, nsec: 20 },
    }
}

/// Mounts an image and uses everything that a mounted file system uses, whatever it answers; returns how
/// many transactions succeeded. One of `every` inodes is changed, the others are only read.
///
/// # Errors
/// Those of a mount. What comes after it may fail, but must come to an end.
pub fn exercise<M: Medium>(medium: M, every: usize) -> Result<u32> {
    let volume = Volume::open(medium).map_err(|_| Error::Invalid)?;
    journal::recover(&volume)?;
    let words = space::words_needed(volume.geometry().blocks);
    if words > 1 << 20 {
        return Err(Error::Invalid);
    }
    let mut mounted = Mounted {
        volume: &volume,
        space: Space::load(&volume, vec![0; words as usize])?,
        journal: Journal::new(&volume, vec![0; journal::ARENA_BYTES])?,
        value: vec![0; xattr::VALUE_MAX],
        answered: 0,
    };
    let _ = check::check(&volume);

    let base = volume.geometry().data_start * INODE_SLOTS;
    let end = volume.geometry().blocks * INODE_SLOTS;
    let found: Vec<Inode> = (base..end)
        .filter_map(|ino| volume.inode(ino).ok())
        .collect();
    for (index, inode) in found.iter().enumerate() {
        let names = mounted.read(inode);
        if index % every == 0 {
            mounted.change(inode, &names);
        }
    }
    for _ in 0..50 {
        mounted.run(|tx| orphan::step(tx).map(drop));
    }
    let _ = check::check(&volume);
    Ok(mounted.answered)
}

/// Names in a directory, and of attributes.
#[derive(Default)]
struct Names {
    entries: Vec<Vec<u8>>,
    attributes: Vec<(Namespace, Vec<u8>)>,
}

struct Mounted<'v, M: Medium> {
    volume: &'v Volume<M>,
    space: Space<Vec<u64>>,
    journal: Journal<Vec<u8>>,
    value: Vec<u8>,
    answered: u32,
}

impl<M: Medium> Mounted<'_, M> {
    fn run(&mut self, operation: impl FnOnce(&mut Tx<'_, M>) -> Result) {
        let result = self.journal.run(self.volume, &mut self.space, operation);
        self.answered += u32::from(result.is_ok());
    }

    /// Reads all there is of an inode.
    fn read(&mut self, inode: &Inode) -> Names {
        let volume = self.volume;
        let mut names = Names::default();
        if inode.is_dir() {
            let mut last = 0;
            let _ = names::read(volume, inode, 0, |found, name| {
                // Or a reader that goes on behind the last one would never come to an end.
                assert!(found.cookie > last, "{last} before {}", found.cookie);
                last = found.cookie;
                names.entries.push(name.to_vec());
                names.entries.len() < 1000
            });
            for name in &names.entries {
                let found = Name::new(name).and_then(|name| dir::lookup(volume, inode, name));
                let _ = found.and_then(|found| volume.inode(found.ino));
            }
        } else if inode.kind() == S_IFREG {
            self.read_file(inode);
        }
        let _ = symlink::read(volume, inode, &mut self.value[..symlink::MAX]);
        let _ = xattr::list(volume, inode, |key| {
            names.attributes.push((key.space(), key.name().to_vec()));
            names.attributes.len() < 1000
        });
        for (space, name) in &names.attributes {
            let _ = Key::new(*space, name)
                .and_then(|key| xattr::get(volume, inode, key, &mut self.value));
        }
        names
    }

    fn read_file(&mut self, inode: &Inode) {
        let mut at = 0;
        for _ in 0..300 {
            match extents::map(self.volume, inode, at) {
                Ok(Mapping::Extent(extent)) => {
                    let piece = &mut self.value[..BLOCK_SIZE as usize];
                    for block in extent.block..extent.block + extent.len {
                        let read = self.volume.medium().read(offset_of(block), piece);
                        read.expect("an extent lies on the medium");
                    }
                    at = extent.end();
                }
                Ok(Mapping::Hole { len }) => at += len,
                Err(_) => break,
            }
        }
    }

    /// Changes all that can be changed of an inode.
    fn change(&mut self, inode: &Inode, names: &Names) {
        let ino = inode.ino();
        if inode.is_dir() {
            self.change_directory(ino, names);
        } else if inode.kind() == S_IFREG {
            self.change_file(ino);
        }
        let value = vec![1; 3000];
        for (space, name) in names.attributes.iter().take(10) {
            let Ok(key) = Key::new(*space, name) else {
                continue;
            };
            self.run(|tx| xattr::set(tx, ino, key, &value, Mode::Any));
            self.run(|tx| xattr::remove(tx, ino, key));
        }
        self.run(|tx| orphan::add(tx, ino));
        self.run(|tx| orphan::remove(tx, ino));
        self.run(|tx| orphan::reap(tx, ino).map(drop));
    }

    fn change_directory(&mut self, ino: u64, names: &Names) {
        let now = Time::default();
        let new = Name::new(b"new").expect("a name");
        for bytes in names.entries.iter().take(30) {
            let Ok(name) = Name::new(bytes) else {
                continue;
            };
            let (from, to) = ((ino, name), (ino, new));
            self.run(|tx| namespace::unlink(tx, ino, name, now).map(drop));
            self.run(|tx| namespace::rename(tx, from, to, IfExists::Replace, now).map(drop));
            self.run(|tx| namespace::rmdir(tx, ino, name, now).map(drop));
            self.run(|tx| {
                let attr = attributes(0);
                namespace::rename_whiteout(tx, from, to, IfExists::Replace, &attr).map(drop)
            });
        }
        for i in 0..20 {
            let bytes = format!("{i:0100}");
            let name = Name::new(bytes.as_bytes()).expect("a name");
            let attr = attributes(S_IFREG);
            self.run(|tx| namespace::create(tx, ino, name, &attr, None).map(drop));
        }
    }

    fn change_file(&mut self, ino: u64) {
        self.run(|tx| extents::insert_range(tx, ino, 7, 1 << 40));
        self.run(|tx| extents::collapse(tx, ino, 0, 6).map(drop));
        self.run(|tx| extents::mark_unwritten(tx, ino, 0, 1 << 41).map(drop));
        self.run(|tx| extents::mark_written(tx, ino, 3, 40).map(drop));
        self.run(|tx| extents::remove(tx, ino, 5, 9).map(drop));
        for at in 0..12 {
            self.run(|tx| {
                let extent = extents::alloc_extent(tx, ino, at * 3, 1)?;
                extents::insert(tx, ino, extent)
            });
        }
        self.run(|tx| extents::remove(tx, ino, 0, 30).map(drop));
    }
}
