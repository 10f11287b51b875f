// SPDX-License-Identifier: GPL-2.0

//! Damaged and hostile images: errors, never a panic, never without end.

use pinfs_format::{
    check,
    crash::Random,
    dir,
    file::{
        self,
        Mapping, //
    },
    inode::S_IFREG,
    journal,
    memory::Memory,
    namespace::{
        self,
        IfExists, //
    },
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
    Name,
    Space,
    Time,
    Tx,
    Volume, //
};

use crate::{
    support::{
        attributes,
        Fs,
        OPTIONS, //
    },
    workload::Workload, //
};

/// An image with some of everything. `blind`: made where every checksum is the same, so that a
/// reader that is as blind takes whatever is changed in it later.
fn populated(seed: u64, blind: bool) -> Vec<u8> {
    let make = if blind { Memory::blind } else { Memory::new };
    let memory = make(vec![0; 512 * 4096]);
    pinfs_format::mkfs::format(&memory, &OPTIONS).expect("format");
    let mut fs = Fs::mount(memory).0;
    let mut workload = Workload::new(seed);
    for _ in 0..200 {
        let contents = fs.check();
        let op = workload.next(&contents);
        let _ = workload.apply(&mut fs, &op);
    }
    // Trees and directories of more than one level, whatever there is already.
    let root = fs.root();
    let attr = attributes(S_IFREG);
    let scattered = Name::new(b"scattered").expect("a name");
    let ino = fs.run(|tx| namespace::create(tx, root, scattered, &attr, None));
    for at in 0..180 {
        let _ = ino.and_then(|ino| {
            fs.run(|tx| {
                let extent = file::reserve(tx, ino, at * 2, 1)?;
                file::insert(tx, ino, extent)
            })
        });
    }
    for i in 0..60 {
        let bytes = format!("{i:080}");
        let name = Name::new(bytes.as_bytes()).expect("a name");
        let _ = fs.run(|tx| namespace::create(tx, root, name, &attr, None));
    }
    // A tree whose keys are shifted, and lists of attributes.
    let _ = ino.and_then(|ino| {
        fs.run(|tx| {
            tx.inode_mut(ino)?.size.set(400 * 4096);
            file::insert_range(tx, ino, 170, 5)
        })
    });
    for i in 0..8 {
        let bytes = format!("{i:0200}");
        let _ = ino.and_then(|ino| {
            let key = Key::new(Namespace::User, bytes.as_bytes())?;
            fs.run(|tx| xattr::set(tx, ino, key, &vec![1; 700 * i], Mode::Any))
        });
    }
    fs.check();
    fs.volume.medium().image()
}

/// Uses everything that a mounted file system uses, whatever it answers.
fn exercise(memory: Memory) -> Result<u32, Error> {
    let volume = Volume::open(memory).map_err(|_| Error::Invalid)?;
    journal::recover(&volume)?;
    let words = space::words_needed(volume.geometry().blocks);
    if words > 1 << 20 {
        return Err(Error::Invalid);
    }
    let mut space = Space::load(&volume, vec![0; words as usize])?;
    let mut journal = Journal::new(&volume, vec![0; journal::ARENA_BYTES])?;
    let mut answered = 0;
    let mut run = |f: &mut dyn FnMut(&mut Tx<'_, Memory>) -> Result<(), Error>| {
        let result = journal.run(&volume, &mut space, f);
        answered += u32::from(result.is_ok());
    };
    let _ = check::check(&volume);

    let now = Time::default();
    let mut target = vec![0; symlink::MAX];
    let mut value = vec![0; xattr::VALUE_MAX];
    let base = volume.geometry().data_start * 16;
    let found: Vec<Inode> = (base..volume.geometry().blocks * 16)
        .filter_map(|ino| volume.inode(ino).ok())
        .collect();
    for inode in found {
        let ino = inode.ino();
        if inode.is_dir() {
            let mut names = Vec::new();
            let _ = dir::read(&volume, &inode, 0, |found, name| {
                // Or a reader that goes on behind the last one would never come to an end.
                let last = names
                    .last()
                    .map_or(0, |last: &(dir::Found, _)| last.0.cookie);
                assert!(found.cookie > last, "{last} before {}", found.cookie);
                names.push((*found, name.to_vec()));
                names.len() < 1000
            });
            for (found, bytes) in names.iter().take(30) {
                let Ok(name) = Name::new(bytes) else {
                    continue;
                };
                let _ = dir::lookup(&volume, &inode, name);
                let _ = volume.inode(found.ino);
                let new = Name::new(b"new").expect("a name");
                run(&mut |tx| namespace::unlink(tx, ino, name, now).map(drop));
                run(&mut |tx| {
                    let (from, to) = ((ino, name), (ino, new));
                    namespace::rename(tx, from, to, IfExists::Replace, now).map(drop)
                });
                run(&mut |tx| namespace::rmdir(tx, ino, name, now).map(drop));
                run(&mut |tx| {
                    let (from, to, attr) = ((ino, name), (ino, new), attributes(0));
                    namespace::rename_whiteout(tx, from, to, IfExists::Replace, &attr).map(drop)
                });
            }
            for i in 0..20 {
                let bytes = format!("{i:0100}");
                let name = Name::new(bytes.as_bytes()).expect("a name");
                let attr = attributes(S_IFREG);
                run(&mut |tx| namespace::create(tx, ino, name, &attr, None).map(drop));
            }
        } else if inode.kind() == S_IFREG {
            let mut at = 0;
            for _ in 0..100 {
                match file::map(&volume, &inode, at) {
                    Ok(Mapping::Extent(extent)) => at = extent.end(),
                    Ok(Mapping::Hole { len }) => at += len,
                    Err(_) => break,
                }
            }
            run(&mut |tx| file::insert_range(tx, ino, 7, 1 << 40));
            run(&mut |tx| file::collapse(tx, ino, 0, 6).map(drop));
            run(&mut |tx| file::mark_unwritten(tx, ino, 0, 1 << 41).map(drop));
            run(&mut |tx| file::mark_written(tx, ino, 3, 40).map(drop));
            run(&mut |tx| file::remove(tx, ino, 5, 9).map(drop));
            for at in 0..12 {
                run(&mut |tx| {
                    let extent = file::reserve(tx, ino, at * 3, 1)?;
                    file::insert(tx, ino, extent)
                });
            }
            run(&mut |tx| file::remove(tx, ino, 0, 30).map(drop));
        }
        let _ = symlink::read(&volume, &inode, &mut target);
        let mut names = Vec::new();
        let _ = xattr::list(&volume, &inode, |key| {
            names.push((key.space(), key.name().to_vec()));
            names.len() < 1000
        });
        for (space, name) in names.iter().take(10) {
            let Ok(key) = Key::new(*space, name) else {
                continue;
            };
            let _ = xattr::get(&volume, &inode, key, &mut value);
            run(&mut |tx| xattr::set(tx, ino, key, &value[..3000], Mode::Any));
            run(&mut |tx| xattr::remove(tx, ino, key));
        }
        run(&mut |tx| orphan::add(tx, ino));
        run(&mut |tx| orphan::remove(tx, ino));
        run(&mut |tx| orphan::reap(tx, ino).map(drop));
    }
    for _ in 0..50 {
        run(&mut |tx| orphan::step(tx).map(drop));
    }
    let _ = check::check(&volume);
    Ok(answered)
}

/// Blocks that hold metadata: damage to the others says little.
fn metadata(image: &[u8]) -> Vec<usize> {
    let magics = [
        b"pIbk", b"pNod", b"pDir", b"pLnk", b"pSta", b"pJrn", b"pXat", b"pXvl",
    ];
    (0..image.len() / 4096)
        .filter(|block| {
            let start = &image[block * 4096..][..4];
            (66..69).contains(block) || magics.iter().any(|magic| start == &magic[..])
        })
        .collect()
}

fn damage(image: &mut [u8], blocks: &[usize], random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let block = blocks[random.below(blocks.len() as u64) as usize];
        // Heads and the first entries are where most of the meaning is.
        let range = [64, 512, 4096][random.below(3) as usize];
        let at = block * 4096 + random.below(range) as usize;
        match random.below(4) {
            0 => image[at] ^= 1 << random.below(8),
            1 => image[at] = [0, 0xff, 0x7f, 0x80][random.below(4) as usize],
            2 => image[at] = random.number() as u8,
            _ => {
                // What stands elsewhere, in the place of an aligned word.
                let from = blocks[random.below(blocks.len() as u64) as usize] * 4096;
                let from = from + random.below(512) as usize * 8;
                let at = at / 8 * 8;
                image.copy_within(from..from + 8, at);
            }
        }
    }
}

#[test]
fn checksums_find_damage() {
    let image = populated(1, false);
    let blocks = metadata(&image);
    assert!(blocks.len() > 10);
    let mut random = Random::new(2);
    let mut answered = 0;
    for seed in 0..150 {
        println!("seed {seed}");
        let mut image = image.clone();
        damage(&mut image, &blocks, &mut random);
        answered += exercise(Memory::new(image)).unwrap_or(0);
    }
    assert!(answered > 1000);
}

#[test]
fn behind_the_checksums() {
    let mut random = Random::new(3);
    let mut answered = 0;
    for seed in 0..10 {
        println!("seed {seed}");
        let image = populated(seed, true);
        let blocks = metadata(&image);
        assert!(blocks.len() > 10);
        for _ in 0..60 {
            let mut image = image.clone();
            damage(&mut image, &blocks, &mut random);
            answered += exercise(Memory::blind(image)).unwrap_or(0);
        }
    }
    assert!(answered > 1000);
}
