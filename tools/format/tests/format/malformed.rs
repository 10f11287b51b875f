// SPDX-License-Identifier: GPL-2.0

//! Damaged and hostile images: errors, never a panic, never without end.

use std::{
    cell::RefCell,
    ops::Range, //
};

use pinfs_format::{
    crash::Random,
    crc::Checksum,
    dir,
    exercise::exercise,
    extents,
    inode::S_IFREG,
    memory::Memory,
    names,
    namespace,
    space::BlockRun,
    tree::{
        Entry,
        Root, //
    },
    xattr::{
        self,
        Key,
        Mode,
        Namespace, //
    },
    Error,
    Medium,
    Name,
    Result,
    INODE_SLOTS, //
};

use crate::{
    support::{
        attributes,
        leaf::{
            self,
            COUNT,
            DEAD,
            END, //
        },
        leaves,
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
        let _ = ino.and_then(|ino| fs.allocate(ino, at * 2, 1));
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
            extents::insert_range(tx, ino, 170, 5)
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
        answered += exercise(Memory::new(image), 1).unwrap_or(0);
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
            answered += exercise(Memory::blind(image), 1).unwrap_or(0);
        }
    }
    assert!(answered > 1000);
}

const HEAD: usize = size_of::<dir::LeafHead>();

/// A leaf says how many names it has, up to where they stand, and how much of that is waste. Each is
/// held against the others before any of it is used.
#[test]
fn leaves_that_contradict_themselves_are_refused() {
    let mut fs = Fs::blind();
    let root = fs.root();
    for name in [b"one", b"two", b"six"] {
        fs.create(name).expect("create");
    }
    // Or recovery would bring the leaf back.
    fs.mark_mounted();
    let image = fs.volume.medium().image();
    let leaf = leaves(&image)[0];
    let [count, end, _] = leaf::numbers(&image, leaf);
    assert_eq!(count, 3);
    let most = (4096 - HEAD) as u16 - 2 * count;

    let looked_up = |at: usize, number: u16| {
        let mut image = image.clone();
        image[leaf * 4096 + at..][..2].copy_from_slice(&number.to_le_bytes());
        let fs = Fs::mount(Memory::blind(image)).0;
        let name = Name::new(b"two").expect("a name");
        dir::lookup(&fs.volume, &fs.inode(root), name).map(drop)
    };
    let damaged = Err(Error::Corrupt("directory leaf is damaged"));
    assert_eq!(looked_up(END, most), Ok(()));
    assert_eq!(looked_up(END, most + 1), damaged);
    assert_eq!(looked_up(DEAD, end), Ok(()));
    assert_eq!(looked_up(DEAD, end + 1), damaged);
    assert_eq!(looked_up(COUNT, most), damaged);

    // The slot of the second name, at which a search begins: what it points to has to be in the leaf.
    const SLOT: usize = 4096 - 2 * 2;
    const NAME_HEAD: usize = 18;
    let last = (4096 - HEAD - NAME_HEAD) as u16;
    let bad_slot = Err(Error::Corrupt("directory leaf has a bad slot"));
    assert_ne!(looked_up(SLOT, last), bad_slot);
    assert_eq!(looked_up(SLOT, last + 1), bad_slot);
}

/// A leaf without room that claims to have waste: no name goes where the slots are.
#[test]
fn leaves_without_the_room_they_claim_take_no_name() {
    let (len, full) = leaf::filling();
    // A short name in a full leaf, and one that is a byte too long for the last place of another.
    for (count, new) in [(full, 1), (full - 1, len + 1)] {
        let mut fs = Fs::blind();
        for number in 0..count {
            fs.create(format!("{number:0len$}").as_bytes())
                .expect("create");
        }
        fs.mark_mounted();
        let mut image = fs.volume.medium().image();
        assert_eq!(leaves(&image).len(), 1);
        let leaf = leaves(&image)[0] * 4096;
        image[leaf + DEAD..][..2].copy_from_slice(&100u16.to_le_bytes());

        let mut fs = Fs::mount(Memory::blind(image.clone())).0;
        let bad_slot = Error::Corrupt("directory leaf has a bad slot");
        assert_eq!(
            fs.create("x".repeat(new).as_bytes()).map(drop),
            Err(bad_slot)
        );
        let after = fs.volume.medium().image();
        assert_eq!(after[leaf..][..4096], image[leaf..][..4096]);
    }
}

/// A reader of a directory gets the names in the order of their cookies, and always gets on.
#[test]
fn names_out_of_order_are_refused() {
    const COUNT: usize = 200;
    let mut fs = Fs::blind();
    let root = fs.root();
    for number in 0..COUNT {
        fs.create(number.to_string().as_bytes()).expect("create");
    }
    fs.mark_mounted();
    let image = fs.volume.medium().image();

    // Where the slots of a leaf stand, and the cookies that they lead to.
    let slot = |leaf: usize, index: usize| leaf * 4096 + 4096 - 2 * (index + 1);
    let cookie = |leaf: usize, index: usize| {
        let at = slot(leaf, index);
        let at = u16::from_le_bytes([image[at], image[at + 1]]);
        leaf * 4096 + HEAD + usize::from(at)
    };
    let value = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().expect("8 bytes"));
    let mut leaves = leaves(&image);
    leaves.sort_by_key(|&leaf| value(cookie(leaf, 0)));
    let [lower, upper] = leaves[..] else {
        panic!("{} leaves", leaves.len());
    };
    let last = |leaf: usize| usize::from(leaf::numbers(&image, leaf)[0]) - 1;

    let listed = |from: u64, change: &dyn Fn(&mut [u8])| {
        let mut image = image.clone();
        change(&mut image);
        let fs = Fs::mount(Memory::blind(image)).0;
        let mut count = 0;
        // One that does not get on would come by the same names again.
        names::read(&fs.volume, &fs.inode(root), from, |_, _| {
            count += 1;
            count <= COUNT
        })
        .map(|()| count)
    };
    let disorder = Err(Error::Corrupt("directory entries out of order"));
    assert_eq!(listed(0, &|_| ()), Ok(COUNT));
    assert_eq!(listed(u64::MAX, &|_| ()), disorder);
    for leaf in [lower, upper] {
        let (first, second) = (slot(leaf, 0), slot(leaf, 1));
        let twice = |image: &mut [u8]| image.copy_within(first..first + 2, second);
        assert_eq!(listed(0, &twice), disorder);
        let swap = |image: &mut [u8]| {
            for byte in 0..2 {
                image.swap(first + byte, second + byte);
            }
        };
        assert_eq!(listed(0, &swap), disorder);
    }
    let with_last = |leaf: usize, number: u64| {
        let at = cookie(leaf, last(leaf));
        listed(0, &|image| {
            image[at..at + 8].copy_from_slice(&number.to_le_bytes());
        })
    };
    // Its hash alone is the key that the leaf is found by.
    let key = value(cookie(upper, 0)) >> 7 << 7;
    assert_eq!(with_last(lower, key - 1), Ok(COUNT));
    assert_eq!(with_last(lower, key), disorder);
    assert_eq!(with_last(upper, i64::MAX as u64), Ok(COUNT));
    assert_eq!(with_last(upper, i64::MAX as u64 + 1), disorder);
}

#[test]
fn extents_that_overlap_are_refused() {
    let mut fs = Fs::new(512);
    let ino = fs.create(b"file").expect("create");
    let extent = fs.allocate(ino, 0, 16).expect("blocks");
    let at = |key, block, len| Entry {
        key,
        value: block,
        len,
        flags: 0,
    };
    let entries = [at(0, extent.block, 8), at(4, extent.block + 8, 8)];
    let root = Root::above(0, &entries).expect("room");
    fs.run(|tx| {
        tx.inode_mut(ino)?.root = root;
        Ok(())
    })
    .expect("commit");
    let seen = extents::map(&fs.volume, &fs.inode(ino), 0);
    assert!(matches!(seen, Err(Error::Corrupt(_))), "{seen:?}");
    let seen = fs.run(|tx| extents::map_tx(tx, ino, 1));
    assert!(matches!(seen, Err(Error::Corrupt(_))), "{seen:?}");
}

#[test]
fn blocks_that_cannot_be_data_are_refused() {
    let mut fs = Fs::new(512);
    let ino = fs.create(b"file").expect("create");
    let extent = fs.allocate(ino, 0, 130).expect("blocks");
    let run = |start, len| BlockRun { start, len };
    let vet = |fs: &Fs<Memory>, run| extents::vet(&fs.volume, run);
    assert_eq!(vet(&fs, run(extent.block, extent.len)), Ok(()));
    assert_eq!(vet(&fs, run(extent.block + 3, 1)), Ok(()));
    let free = (extent.block..).find(|&block| !fs.space.is_used(block));
    let free = free.expect("free");
    for bad in [run(free, 1), run(free - 1, 2), run(ino / INODE_SLOTS, 1)] {
        let seen = vet(&fs, bad);
        assert!(matches!(seen, Err(Error::Corrupt(_))), "{bad:?}: {seen:?}");
    }
}

/// A medium of which programs have blocks in their page tables.
struct Mapped {
    memory: Memory,
    blocks: RefCell<Range<u64>>,
}

impl Checksum for Mapped {
    fn xxh64(&self, seed: u64, data: &[u8]) -> u64 {
        self.memory.xxh64(seed, data)
    }
}

impl Medium for Mapped {
    fn size(&self) -> u64 {
        self.memory.size()
    }

    fn read(&self, off: u64, buf: &mut [u8]) -> Result {
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

    fn is_mapped(&self, start: u64, len: u64) -> bool {
        let mapped = self.blocks.borrow();
        start < mapped.end && mapped.start < start + len
    }
}

#[test]
fn mapped_blocks_are_neither_freed_nor_given_away_nor_metadata() {
    let memory = Memory::new(vec![0; 512 * 4096]);
    pinfs_format::mkfs::format(&memory, &OPTIONS).expect("format");
    let medium = Mapped {
        memory,
        blocks: RefCell::new(0..0),
    };
    let mut fs = Fs::mount(medium).0;
    let root = fs.root();
    let attr = attributes(S_IFREG);
    let file = Name::new(b"file").expect("a name");
    let ino = fs
        .run(|tx| namespace::create(tx, root, file, &attr, None))
        .expect("create");
    let extent = fs.allocate(ino, 0, 8).expect("blocks");
    let is_corrupt = |seen: Result| assert!(matches!(seen, Err(Error::Corrupt(_))), "{seen:?}");
    let map = |fs: &Fs<Mapped>, blocks| *fs.volume.medium().blocks.borrow_mut() = blocks;

    // Another file has one of them, as this one has taken its own out of its mapping.
    map(&fs, extent.block + 5..extent.block + 6);
    is_corrupt(fs.run(|tx| extents::remove(tx, ino, 0, 8).map(drop)));
    fs.run(|tx| extents::remove(tx, ino, 0, 4).map(drop))
        .expect("the others are free to go");

    // What is free is mapped.
    let geometry = *fs.volume.geometry();
    map(&fs, geometry.data_start..geometry.data_end);
    is_corrupt(fs.allocate(ino, 20, 1).map(drop));
    let before = fs.space.counts();
    is_corrupt(fs.run(|tx| extents::alloc_extent(tx, ino, 20, 4).map(drop)));
    assert_eq!(fs.space.counts(), before);

    // A node, or a leaf, or a list of attributes.
    map(&fs, 0..0);
    for at in 0..20 {
        fs.allocate(ino, 40 + 2 * at, 1).expect("blocks");
    }
    let inode = fs.inode(ino);
    let node = inode.root.entry(0).expect("an entry").value;
    assert!(inode.root.level() > 0);
    map(&fs, node..node + 1);
    is_corrupt(extents::map(&fs.volume, &inode, 40).map(drop));
    map(&fs, 0..0);
    extents::map(&fs.volume, &inode, 40).expect("is good");
}
