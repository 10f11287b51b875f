// SPDX-License-Identifier: GPL-2.0

//! Random operations.

use pinfs_format::{
    check::{
        Contents,
        Object, //
    },
    crash::Random,
    extents::{
        self,
        Extent,
        Mapping, //
    },
    inode::{
        Attributes,
        Stamp,
        S_IFDIR,
        S_IFIFO,
        S_IFLNK,
        S_IFMT,
        S_IFREG, //
    },
    namespace::{
        self,
        IfExists, //
    },
    orphan,
    space::BlockRun,
    xattr::{
        self,
        Key,
        Mode,
        Namespace, //
    },
    Medium,
    Result,
    Time,
    Volume, //
};

use crate::support::{
    name,
    Fs, //
};

#[derive(Clone, Debug)]
pub enum Op {
    Create {
        parent: u64,
        name: Vec<u8>,
        mode: u32,
        target: Option<Vec<u8>>,
    },
    Unnamed,
    Link(u64, (u64, Vec<u8>)),
    Unlink(u64, Vec<u8>),
    Rmdir(u64, Vec<u8>),
    Rename((u64, Vec<u8>), (u64, Vec<u8>), IfExists),
    Exchange((u64, Vec<u8>), (u64, Vec<u8>)),
    Allocate {
        ino: u64,
        lblock: u64,
        len: u64,
        unwritten: bool,
        stamped: bool,
    },
    Punch(u64, u64, u64),
    MarkWritten(u64, u64, u64),
    /// Stores to a file in place, and leaves it in the cache.
    Overwrite(u64, u64),
    Truncate(u64, u64),
    Trim(u64),
    Collapse(u64, u64, u64),
    Insert(u64, u64, u64),
    Whiteout((u64, Vec<u8>), (u64, Vec<u8>)),
    SetXattr(u64, Vec<u8>, Vec<u8>),
    RemoveXattr(u64, Vec<u8>),
    Reap(u64),
}

/// Whether ranges of such a file may be moved: then its blocks do not say where they belong.
fn is_movable(object_generation: u32) -> bool {
    object_generation % 3 == 0
}

/// What every word of a file's block is, unless it is zero.
fn stamp(object_generation: u32, lblock: u64, version: u8) -> u64 {
    let lblock = if is_movable(object_generation) {
        0
    } else {
        lblock
    };
    u64::from(object_generation) << 40 | lblock << 8 | u64::from(version)
}

/// Whether a file's written blocks hold what belongs there.
pub fn check_data<M: Medium>(volume: &Volume<M>, contents: &Contents) {
    let mut block = [0u8; 4096];
    for (ino, object) in &contents.objects {
        for extent in object.extents.iter().filter(|extent| !extent.unwritten) {
            for i in 0..extent.len {
                volume
                    .medium()
                    .read((extent.block + i) * 4096, &mut block)
                    .expect("read");
                let wanted = stamp(object.generation, extent.lblock + i, 0);
                for word in block.chunks(8) {
                    let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
                    assert!(
                        word == 0 || word & !0xff == wanted,
                        "inode {ino} block {} holds {word:#x}, not {wanted:#x}",
                        extent.lblock + i,
                    );
                }
            }
        }
    }
}

pub struct Workload {
    pub random: Random,
    clock: i64,
    generation: u32,
}

impl Workload {
    pub fn new(seed: u64) -> Self {
        Workload {
            random: Random::new(seed),
            clock: 100,
            generation: 1,
        }
    }

    fn pick<T>(&mut self, from: &[T]) -> Option<T>
    where
        T: Clone,
    {
        if from.is_empty() {
            return None;
        }
        let index = self.random.below(from.len() as u64) as usize;
        Some(from[index].clone())
    }

    /// A name: mostly one of a few, sometimes a long one, so that leaves split early.
    fn name(&mut self) -> Vec<u8> {
        let number = self.random.below(24);
        let len = match self.random.below(4) {
            0 => 1 + self.random.below(8),
            1 => 200 + number,
            _ => 100,
        };
        let mut bytes = format!("{number}").into_bytes();
        bytes.resize(bytes.len().max(len as usize), b'n');
        bytes
    }

    /// The next operation that makes sense, given what there is.
    pub fn next(&mut self, contents: &Contents) -> Op {
        loop {
            if let Some(op) = self.propose(contents) {
                return op;
            }
        }
    }

    fn propose(&mut self, contents: &Contents) -> Option<Op> {
        let of_kind = |kind: u32, named: bool| -> Vec<u64> {
            let objects = contents.objects.iter();
            objects
                .filter(|(_, o)| o.mode & S_IFMT == kind && (o.nlink > 0) == named)
                .map(|(&ino, _)| ino)
                .collect()
        };
        let dirs = of_kind(S_IFDIR, true);
        let files = of_kind(S_IFREG, true);
        let entries: Vec<(u64, Vec<u8>, u64)> = dirs
            .iter()
            .flat_map(|dir| {
                let names = contents.objects[dir].names.iter();
                names.map(|(name, &ino)| (*dir, name.clone(), ino))
            })
            .collect();
        let is_dir = |ino: u64| contents.objects[&ino].mode & S_IFMT == S_IFDIR;

        Some(match self.random.below(42) {
            0..=5 => {
                let parent = self.pick(&dirs)?;
                let name = self.name();
                let (mode, target) = match self.random.below(8) {
                    0 | 1 => (S_IFDIR | 0o755, None),
                    2 => {
                        let len = self.pick(&[1, 96, 97, 3000, 4080])?;
                        (S_IFLNK | 0o777, Some(vec![b't'; len]))
                    }
                    3 => (S_IFIFO | 0o600, None),
                    _ => (S_IFREG | 0o644, None),
                };
                Op::Create {
                    parent,
                    name,
                    mode,
                    target,
                }
            }
            6 => Op::Unnamed,
            7 => {
                let ino = self.pick(&[files, of_kind(S_IFREG, false)].concat())?;
                Op::Link(ino, (self.pick(&dirs)?, self.name()))
            }
            8..=10 => {
                let (dir, name, ino) = self.pick(&entries)?;
                if is_dir(ino) {
                    Op::Rmdir(dir, name)
                } else {
                    Op::Unlink(dir, name)
                }
            }
            11..=13 => {
                let (from, old, ino) = self.pick(&entries)?;
                let to = self.pick(&dirs)?;
                let new = match self.pick(&entries) {
                    Some((dir, name, _)) if dir == to => name,
                    _ => self.name(),
                };
                if is_below(contents, to, ino) {
                    return None;
                }
                let if_exists = self.pick(&[IfExists::Replace, IfExists::Fail])?;
                Op::Rename((from, old), (to, new), if_exists)
            }
            14 => {
                let (a, name_a, ino_a) = self.pick(&entries)?;
                let (b, name_b, ino_b) = self.pick(&entries)?;
                if is_below(contents, b, ino_a) || is_below(contents, a, ino_b) {
                    return None;
                }
                Op::Exchange((a, name_a), (b, name_b))
            }
            15..=20 => Op::Allocate {
                ino: self.pick(&files)?,
                lblock: self.random.below(60),
                len: self.pick(&[1, 1, 1, 2, 5, 20])?,
                unwritten: self.random.once_in(3),
                stamped: self.random.once_in(2),
            },
            21 | 22 => {
                let from = self.random.below(60);
                let len = 1 + self.random.below(10);
                Op::Punch(self.pick(&files)?, from, from + len)
            }
            23 | 24 => {
                let from = self.random.below(60);
                let len = 1 + self.random.below(10);
                Op::MarkWritten(self.pick(&files)?, from, from + len)
            }
            25 | 26 => Op::Overwrite(self.pick(&files)?, self.random.below(60)),
            27 => Op::Truncate(self.pick(&files)?, self.random.below(60 * 4096)),
            28 => {
                let objects = contents.objects.iter();
                let waiting = |o: &Object| o.nlink > 0 && o.orphan;
                let waiting: Vec<u64> = objects.filter(|(_, o)| waiting(o)).map(|e| *e.0).collect();
                Op::Trim(self.pick(&waiting)?)
            }
            32..=34 => {
                let files = files.iter().copied();
                let movable = |ino: &u64| is_movable(contents.objects[ino].generation);
                let ino = self.pick(&files.filter(movable).collect::<Vec<u64>>())?;
                let at = self.random.below(40);
                let len = 1 + self.random.below(8);
                if self.random.once_in(2) {
                    Op::Collapse(ino, at, at + len)
                } else {
                    Op::Insert(ino, at, len)
                }
            }
            35 => {
                let (from, old, ino) = self.pick(&entries)?;
                let to = self.pick(&dirs)?;
                if is_below(contents, to, ino) {
                    return None;
                }
                Op::Whiteout((from, old), (to, self.name()))
            }
            36..=39 => {
                let (_, _, ino) = self.pick(&entries)?;
                let len = self.pick(&[0, 10, 300, 2048, 2049, 9000])?;
                let byte = self.random.number() as u8;
                Op::SetXattr(ino, self.name(), vec![byte; len])
            }
            40 => {
                let with = contents
                    .objects
                    .iter()
                    .filter(|(_, o)| !o.xattrs.is_empty());
                let with: Vec<u64> = with.map(|(&ino, _)| ino).collect();
                let ino = self.pick(&with)?;
                let names: Vec<_> = contents.objects[&ino].xattrs.keys().cloned().collect();
                Op::RemoveXattr(ino, self.pick(&names)?.1)
            }
            _ => {
                let objects = contents.objects.iter();
                let dead: Vec<u64> = objects
                    .filter(|(_, o)| o.nlink == 0)
                    .map(|e| *e.0)
                    .collect();
                Op::Reap(self.pick(&dead)?)
            }
        })
    }

    /// Carries out an operation in (at most) one transaction.
    pub fn apply<M: Medium>(&mut self, fs: &mut Fs<M>, op: &Op) -> Result {
        self.clock += 1;
        let now = Time {
            sec: self.clock,
            nsec: 0,
        };
        match op {
            Op::Create {
                parent,
                name: new,
                mode,
                target,
            } => {
                let attr = self.attributes(*mode, now);
                fs.run(|tx| {
                    namespace::create(tx, *parent, name(new), &attr, target.as_deref()).map(drop)
                })
            }
            Op::Unnamed => {
                let attr = self.attributes(S_IFREG | 0o600, now);
                let root = fs.root();
                fs.run(|tx| namespace::create_unnamed(tx, root, &attr).map(drop))
            }
            Op::Link(ino, to) => fs.run(|tx| namespace::link(tx, *ino, to.0, name(&to.1), now)),
            Op::Unlink(dir, old) => {
                fs.run(|tx| namespace::unlink(tx, *dir, name(old), now).map(drop))
            }
            Op::Rmdir(dir, old) => {
                fs.run(|tx| namespace::rmdir(tx, *dir, name(old), now).map(drop))
            }
            Op::Rename(from, to, if_exists) => {
                let (from, to) = ((from.0, name(&from.1)), (to.0, name(&to.1)));
                fs.run(|tx| namespace::rename(tx, from, to, *if_exists, now).map(drop))
            }
            Op::Exchange(a, b) => {
                let (a, b) = ((a.0, name(&a.1)), (b.0, name(&b.1)));
                fs.run(|tx| namespace::exchange(tx, a, b, now))
            }
            Op::Allocate {
                ino,
                lblock,
                len,
                unwritten,
                stamped,
            } => allocate(fs, *ino, (*lblock, *len), *unwritten, *stamped),
            Op::Punch(ino, from, to) => {
                fs.run(|tx| extents::remove(tx, *ino, *from, *to).map(drop))
            }
            Op::MarkWritten(ino, from, to) => {
                let generation = fs.inode(*ino).generation.get();
                for lblock in *from..*to {
                    let inode = fs.inode(*ino);
                    if let Mapping::Extent(extent) = extents::map(&fs.volume, &inode, lblock)? {
                        if extent.unwritten {
                            store(fs.volume.medium(), extent.block, lblock, generation, 1)?;
                            fs.volume.medium().flush(extent.block * 4096, 4096)?;
                        }
                    }
                }
                fs.run(|tx| {
                    tx.blocks_stored();
                    extents::mark_written(tx, *ino, *from, *to).map(drop)
                })
            }
            Op::Overwrite(ino, lblock) => {
                let inode = fs.inode(*ino);
                if let Mapping::Extent(extent) = extents::map(&fs.volume, &inode, *lblock)? {
                    let version = self.random.number() as u8;
                    let generation = inode.generation.get();
                    store(
                        fs.volume.medium(),
                        extent.block,
                        *lblock,
                        generation,
                        version,
                    )?;
                }
                Ok(())
            }
            Op::Truncate(ino, size) => fs.run(|tx| {
                tx.inode_mut(*ino)?.size.set(*size);
                orphan::add(tx, *ino)
            }),
            Op::Collapse(ino, from, to) => {
                fs.run(|tx| extents::collapse(tx, *ino, *from, *to).map(drop))
            }
            Op::Insert(ino, at, len) => fs.run(|tx| extents::insert_range(tx, *ino, *at, *len)),
            Op::Whiteout(from, to) => {
                let attr = self.attributes(0o600, now);
                let (from, to) = ((from.0, name(&from.1)), (to.0, name(&to.1)));
                let if_exists = IfExists::Replace;
                fs.run(|tx| namespace::rename_whiteout(tx, from, to, if_exists, &attr).map(drop))
            }
            Op::SetXattr(ino, bytes, value) => fs.run(|tx| {
                let key = Key::new(Namespace::User, bytes)?;
                xattr::set(tx, *ino, key, value, Mode::Any)?;
                tx.inode_mut(*ino)?.set_time(Stamp::Change, now);
                Ok(())
            }),
            Op::RemoveXattr(ino, bytes) => fs.run(|tx| {
                let key = Key::new(Namespace::User, bytes)?;
                xattr::remove(tx, *ino, key)?;
                tx.inode_mut(*ino)?.set_time(Stamp::Change, now);
                Ok(())
            }),
            Op::Trim(ino) => fs.run(|tx| orphan::trim(tx, *ino).map(drop)),
            Op::Reap(ino) => fs.run(|tx| orphan::reap(tx, *ino).map(drop)),
        }
    }

    fn attributes(&mut self, mode: u32, now: Time) -> Attributes {
        self.generation += 1;
        Attributes {
            mode,
            uid: 1,
            gid: 2,
            rdev: 3,
            generation: self.generation,
            now,
        }
    }
}

/// Whether directory `dir` is `ino` or below it.
fn is_below(contents: &Contents, dir: u64, ino: u64) -> bool {
    let mut at = dir;
    loop {
        if at == ino {
            return true;
        }
        let parent = contents.objects[&at].parent;
        if parent == at {
            return false;
        }
        at = parent;
    }
}

fn allocate<M: Medium>(
    fs: &mut Fs<M>,
    ino: u64,
    (lblock, len): (u64, u64),
    unwritten: bool,
    stamped: bool,
) -> Result {
    let generation = fs.inode(ino).generation.get();
    fs.run(|tx| {
        let extent = extents::alloc_extent(tx, ino, lblock, len)?;
        if stamped {
            for i in 0..extent.len {
                let medium = tx.volume().medium();
                store(medium, extent.block + i, lblock + i, generation, 0)?;
            }
            let medium = tx.volume().medium();
            medium.flush(extent.block * 4096, extent.len * 4096)?;
            tx.blocks_stored();
        } else if !unwritten {
            tx.zero_blocks(BlockRun {
                start: extent.block,
                len: extent.len,
            })?;
        }
        let extent = Extent {
            unwritten,
            ..extent
        };
        extents::insert(tx, ino, extent)
    })
}

fn store<M: Medium>(medium: &M, block: u64, lblock: u64, generation: u32, version: u8) -> Result {
    let word = stamp(generation, lblock, version).to_le_bytes();
    let data: Vec<u8> = word.iter().copied().cycle().take(4096).collect();
    medium.write(block * 4096, &data)
}
