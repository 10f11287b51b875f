// SPDX-License-Identifier: GPL-2.0

//! An image with one of everything.

use pinfs_format::{
    extents::{
        self,
        Extent,
        Progress, //
    },
    inode::{
        Attributes,
        DIRSYNC,
        NOATIME,
        NODUMP,
        SYNC,
        S_IFCHR,
        S_IFDIR,
        S_IFIFO,
        S_IFLNK,
        S_IFREG,
        S_IFSOCK, //
    },
    journal::{
        self,
        Journal, //
    },
    memory::Memory,
    mkfs::{
        self,
        Options, //
    },
    namespace,
    space,
    xattr::{
        self,
        Key,
        Namespace, //
    },
    Error,
    Name,
    Result,
    Space,
    Time,
    Tx,
    Volume,
    BLOCK_SIZE, //
};

const NOW: Time = Time {
    sec: 1_700_000_000,
    nsec: 1,
};

/// A file system in memory, at work.
pub(crate) struct Fs {
    pub(crate) volume: Volume<Memory>,
    pub(crate) space: Space<Vec<u64>>,
    journal: Journal<Vec<u8>>,
}

impl Fs {
    /// An empty one of `blocks` blocks.
    pub(crate) fn new(blocks: u64) -> Result<Self> {
        let memory = Memory::new(vec![0; (blocks * BLOCK_SIZE) as usize]);
        let options = Options {
            uuid: *b"pinfs-for-damage",
            label: [b'd'; 32],
            hash_key: (1, 2),
            now: NOW,
            uid: 0,
            gid: 0,
        };
        mkfs::format(&memory, &options)?;
        let volume = Volume::open(memory).map_err(|_| Error::Io)?;
        let words = space::words_needed(volume.geometry().blocks) as usize;
        let space = Space::load(&volume, vec![0; words])?;
        let journal = Journal::new(&volume, vec![0; journal::ARENA_BYTES])?;
        Ok(Fs {
            volume,
            space,
            journal,
        })
    }

    pub(crate) fn run<R>(&mut self, f: impl FnOnce(&mut Tx<'_, Memory>) -> Result<R>) -> Result<R> {
        self.journal.run(&self.volume, &mut self.space, f)
    }

    pub(crate) fn make(
        &mut self,
        dir: u64,
        name: &str,
        mode: u32,
        target: Option<&[u8]>,
    ) -> Result<u64> {
        let attr = Attributes {
            mode: mode | 0o644,
            uid: 0,
            gid: 0,
            rdev: 0,
            generation: 7,
            now: NOW,
        };
        let name = Name::new(name.as_bytes())?;
        self.run(|tx| namespace::create(tx, dir, name, &attr, target))
    }

    /// Gives a file blocks from `lblock` on, written ones full of `byte`.
    pub(crate) fn fill(&mut self, ino: u64, lblock: u64, len: u64, byte: Option<u8>) -> Result {
        self.run(|tx| {
            let extent = extents::alloc_extent(tx, ino, lblock, len)?;
            tx.zero_blocks(space::BlockRun {
                start: extent.block,
                len: extent.len,
            })?;
            if let Some(byte) = byte {
                let data = vec![byte; (extent.len * BLOCK_SIZE) as usize];
                let medium = tx.volume().medium();
                pinfs_format::Medium::write(medium, extent.block * BLOCK_SIZE, &data)?;
                tx.blocks_stored();
            }
            let unwritten = byte.is_none();
            extents::insert(
                tx,
                ino,
                Extent {
                    unwritten,
                    ..extent
                },
            )?;
            let size = (extent.end() * BLOCK_SIZE).max(tx.inode(ino)?.size.get());
            tx.inode_mut(ino)?.size.set(size);
            Ok(())
        })
    }
}

/// An image of `blocks` blocks, not unmounted: its journal holds a record.
///
/// # Errors
/// [`Error::NoSpace`] if it does not fit.
pub fn base(blocks: u64) -> Result<Vec<u8>> {
    let mut fs = Fs::new(blocks)?;
    let root = fs.volume.geometry().root_ino;
    let plain = fs.make(root, "plain", S_IFREG, None)?;
    fs.fill(plain, 0, 3, Some(b'p'))?;
    fs.fill(plain, 8, 2, None)?;
    let scattered = fs.make(root, "scattered", S_IFREG, None)?;
    // More than one node's worth.
    for at in 0..190 {
        fs.fill(scattered, at * 2, 1, Some(b's'))?;
    }
    // The keys of some nodes become relative ones.
    while let Progress::More(_) = fs.run(|tx| extents::collapse(tx, scattered, 100, 103))? {}
    let halfway = fs.make(root, "halfway", S_IFREG, None)?;
    for at in 0..60 {
        fs.fill(halfway, at * 2, 1, Some(b'h'))?;
    }
    // A mount has the rest to do.
    fs.run(|tx| extents::collapse(tx, halfway, 10, 110))?;
    for (ino, name, len) in [
        (plain, "small", 20),
        (plain, "large", 9000),
        (scattered, "mid", 3000),
    ] {
        let key = Key::new(Namespace::User, name.as_bytes())?;
        let value = vec![b'v'; len];
        fs.run(|tx| xattr::set(tx, ino, key, &value, xattr::Mode::Any))?;
    }
    // What a user may set, but for what would keep the file from being changed.
    for (ino, flags) in [(plain, SYNC | NODUMP | NOATIME), (root, DIRSYNC)] {
        fs.run(|tx| {
            tx.inode_mut(ino)?.set_attributes(flags);
            Ok(())
        })?;
    }
    fs.make(root, "empty", S_IFREG, None)?;
    fs.run(|tx| namespace::link(tx, plain, root, Name::new(b"hard")?, NOW))?;
    fs.make(root, "short", S_IFLNK, Some(b"plain"))?;
    fs.make(root, "long", S_IFLNK, Some(&[b'l'; 1000]))?;
    fs.make(root, "fifo", S_IFIFO, None)?;
    fs.make(root, "char", S_IFCHR, None)?;
    fs.make(root, "socket", S_IFSOCK, None)?;
    let big = fs.make(root, "big", S_IFDIR, None)?;
    for index in 0..100 {
        fs.make(big, &format!("{index:090}"), S_IFREG, None)?;
    }
    let mut deep = root;
    for index in 0..5 {
        deep = fs.make(deep, &format!("deep{index}"), S_IFDIR, None)?;
        let file = fs.make(deep, "file", S_IFREG, None)?;
        fs.fill(file, 0, 1, Some(b'd'))?;
    }
    for index in 0..3 {
        let ino = fs.make(root, "orphan", S_IFREG, None)?;
        fs.fill(ino, index, 2, Some(b'o'))?;
        fs.run(|tx| namespace::unlink(tx, root, Name::new(b"orphan")?, NOW))?;
    }
    // What the journal holds: a name from here to there.
    fs.run(|tx| {
        let (from, to) = (Name::new(b"empty")?, Name::new(b"moved")?);
        let replace = namespace::IfExists::Replace;
        namespace::rename(tx, (root, from), (deep, to), replace, NOW)
    })?;
    Ok(fs.volume.medium().image())
}
