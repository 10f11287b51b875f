// SPDX-License-Identifier: GPL-2.0

//! A mounted file system.

use pinfs_format::{
    check::{
        self,
        Contents, //
    },
    extents::{
        self,
        Extent, //
    },
    inode::S_IFREG,
    journal::{
        self,
        Recovered, //
    },
    memory::Memory,
    mkfs,
    mount,
    namespace,
    orphan,
    space::{
        self,
        Claim,
        Request, //
    },
    superblock::Superblock,
    Inode,
    Journal,
    Medium,
    Name,
    Result,
    Space,
    Time,
    Tx,
    Volume, //
};

use zerocopy::FromBytes;

pub use pinfs_format::exercise::attributes;

/// What blocks hold that nobody has stored to.
pub const JUNK: u8 = 0xaa;

pub const OPTIONS: mkfs::Options = mkfs::Options {
    uuid: *b"0123456789abcdef",
    label: [0; 32],
    hash_key: (0x0123_4567, 0x89ab_cdef),
    now: Time { sec: 1, nsec: 2 },
    uid: 0,
    gid: 0,
};

pub fn name(bytes: &[u8]) -> Name<'_> {
    Name::new(bytes).expect("a valid name")
}

/// Blocks anywhere, at most so many.
pub fn request(max: u64) -> Request {
    Request {
        goal: None,
        min: 1,
        max,
        aligned: false,
    }
}

/// The blocks that hold leaves of directories.
pub fn leaves(image: &[u8]) -> Vec<usize> {
    let blocks = image.chunks(4096).enumerate();
    blocks
        .filter(|(_, block)| block.starts_with(b"pDir"))
        .map(|(at, _)| at)
        .collect()
}

/// Where a leaf says how many names it has, up to where they stand, and how much of that is waste.
pub mod leaf {
    use core::mem::offset_of;

    use pinfs_format::dir::LeafHead;

    pub const COUNT: usize = offset_of!(LeafHead, owner) + 8;
    pub const END: usize = COUNT + 2;
    pub const DEAD: usize = COUNT + 4;

    /// What a name takes besides its bytes: cookie, inode, type and length, and its slot.
    pub const OVERHEAD: usize = 20;

    /// A length, and how many names of it fill a leaf to the last byte.
    pub fn filling() -> (usize, usize) {
        let room = 4096 - size_of::<LeafHead>();
        let len = (10..200)
            .find(|len| room % (OVERHEAD + len) == 0)
            .expect("a divisor");
        (len, room / (OVERHEAD + len))
    }

    /// Returns what the leaf in a block says of each.
    pub fn numbers(image: &[u8], leaf: usize) -> [u16; 3] {
        let leaf = &image[leaf * 4096..];
        [COUNT, END, DEAD].map(|at| u16::from_le_bytes([leaf[at], leaf[at + 1]]))
    }
}

pub struct Fs<M: Medium> {
    pub volume: Volume<M>,
    pub space: Space<Vec<u64>>,
    pub journal: Journal<Vec<u8>>,
}

/// An image of a new file system of so many blocks.
pub fn image(blocks: u64) -> Vec<u8> {
    let memory = Memory::new(vec![JUNK; (blocks * 4096) as usize]);
    mkfs::format(&memory, &OPTIONS).expect("format");
    memory.image()
}

/// The image with a change in the superblock, the checksum made right again.
pub fn with_superblock(mut image: Vec<u8>, change: impl FnOnce(&mut Superblock)) -> Vec<u8> {
    let (sb, _) = Superblock::mut_from_prefix(&mut image).expect("size");
    change(sb);
    sb.crc.set(sb.checksum(&Memory::new(Vec::new())));
    image
}

impl Fs<Memory> {
    pub fn new(blocks: u64) -> Self {
        Fs::mount(Memory::new(image(blocks))).0
    }

    /// A file system on which checksums say nothing.
    pub fn blind() -> Self {
        Self::blind_of(512)
    }

    /// The same of so many blocks.
    pub fn blind_of(blocks: usize) -> Self {
        let memory = Memory::blind(vec![0; blocks * 4096]);
        mkfs::format(&memory, &OPTIONS).expect("format");
        Fs::mount(memory).0
    }

    /// A large file system, of which this machine keeps only what is stored to.
    pub fn sparse(blocks: u64) -> Self {
        let memory = Memory::new(vec![0; (blocks * 4096) as usize]);
        mkfs::format(&memory, &OPTIONS).expect("format");
        Fs::mount(memory).0
    }
}

impl<M: Medium> Fs<M> {
    /// Does what a mount does before it changes anything.
    pub fn mount(medium: M) -> (Self, Recovered) {
        let volume = Volume::open(medium).expect("superblock");
        let recovered = journal::recover(&volume).expect("recovery");
        let words = space::words_needed(volume.geometry().blocks);
        let space = Space::load(&volume, vec![0; words as usize]).expect("bitmaps");
        let journal = Journal::new(&volume, vec![0; journal::ARENA_BYTES]).expect("journal");
        let fs = Fs {
            volume,
            space,
            journal,
        };
        (fs, recovered)
    }

    pub fn run<R>(&mut self, f: impl FnOnce(&mut Tx<'_, M>) -> Result<R>) -> Result<R> {
        self.journal.run(&self.volume, &mut self.space, f)
    }

    /// Gives the file blocks for a hole of it, at most `len` and as many as are contiguous.
    pub fn allocate(&mut self, ino: u64, at: u64, len: u64) -> Result<Extent> {
        self.run(|tx| {
            let extent = extents::alloc_extent(tx, ino, at, len)?;
            extents::insert(tx, ino, extent)?;
            Ok(extent)
        })
    }

    /// Does the same, with the reserve too.
    pub fn allocate_last(&mut self, ino: u64, at: u64, len: u64) -> Result<Extent> {
        self.run(|tx| {
            tx.claim(Claim::Freeing);
            let extent = extents::alloc_extent(tx, ino, at, len)?;
            extents::insert(tx, ino, extent)?;
            Ok(extent)
        })
    }

    /// Makes a file in the root directory and returns its number.
    pub fn create(&mut self, bytes: &[u8]) -> Result<u64> {
        let root = self.root();
        self.run(|tx| namespace::create(tx, root, name(bytes), &attributes(S_IFREG), None))
    }

    pub fn root(&self) -> u64 {
        self.volume.geometry().root_ino
    }

    pub fn inode(&self, ino: u64) -> Inode {
        self.volume.inode(ino).expect("inode")
    }

    /// The contents, if everything agrees; also what is in memory.
    #[track_caller]
    pub fn check(&mut self) -> Contents {
        let contents = match check::check(&self.volume) {
            Ok(contents) => contents,
            Err(problems) => panic!("{}", problems.join("\n")),
        };
        let words = space::words_needed(self.volume.geometry().blocks);
        let mut fresh = Space::load(&self.volume, vec![0; words as usize]).expect("bitmaps");
        assert_eq!(self.space.counts(), fresh.counts());
        for block in 0..self.volume.geometry().blocks {
            assert_eq!(self.space.is_used(block), fresh.is_used(block), "{block}");
        }
        contents
    }

    /// Does what a mount does about the orphan list.
    pub fn finish_orphans(&mut self) {
        while self.run(orphan::step).expect("orphan") {}
    }

    pub fn mark_mounted(&mut self) {
        self.run(|tx| mount::mounted(tx, Time::default()))
            .expect("mount");
    }
}
