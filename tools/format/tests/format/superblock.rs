// SPDX-License-Identifier: GPL-2.0

//! What is accepted as a pinfs device.

use crate::support::{
    image,
    with_superblock,
    Fs,
    OPTIONS, //
};
use pinfs_format::{
    check,
    crc::Checksum,
    memory::Memory,
    mkfs,
    mount,
    space,
    superblock::{
        Superblock,
        LABEL_MAX,
        MAX_BLOCKS,
        MIN_BLOCKS,
        VERSION, //
    },
    Error,
    Medium,
    MountError,
    Space,
    Volume, //
};

const LEN: usize = size_of::<Superblock>();

fn open(image: Vec<u8>) -> Result<(), MountError> {
    Volume::open(Memory::new(image)).map(drop)
}

/// An image with a change in the superblock.
fn forged(change: impl FnOnce(&mut Superblock)) -> Vec<u8> {
    with_superblock(image(MIN_BLOCKS), change)
}

#[test]
fn every_flipped_bit_is_refused() {
    let mut image = image(MIN_BLOCKS);
    for bit in 0..LEN * 8 {
        image[bit / 8] ^= 1 << (bit % 8);
        let wanted = if bit < 64 {
            MountError::NotPinfs
        } else {
            MountError::BadChecksum
        };
        assert_eq!(open(image.clone()), Err(wanted), "bit {bit}");
        image[bit / 8] ^= 1 << (bit % 8);
    }
    assert_eq!(open(image), Ok(()));
}

#[test]
fn reasons_are_told_apart() {
    assert_eq!(open(forged(|_| ())), Ok(()));
    let newer = MountError::NewerVersion(VERSION + 1);
    assert_eq!(open(forged(|sb| sb.version.set(VERSION + 1))), Err(newer));
    let unknown = MountError::UnknownFeatures(1 << 40);
    assert_eq!(open(forged(|sb| sb.incompat.set(1 << 40))), Err(unknown));
    assert_eq!(open(forged(|sb| sb.compat.set(1 << 40))), Ok(()));

    let mut short = image(MIN_BLOCKS);
    short.truncate(short.len() - 1);
    let refusal = MountError::DeviceTooSmall {
        need: MIN_BLOCKS * 4096,
        have: MIN_BLOCKS * 4096 - 1,
    };
    assert_eq!(open(short), Err(refusal));
    assert_eq!(
        refusal.to_string(),
        "file system of 2097152 bytes on a device of 2097151 bytes"
    );
    assert_eq!(open(vec![0; 100]), Err(MountError::Io));
    assert_eq!(open(vec![0; 1 << 20]), Err(MountError::NotPinfs));
    for (refusal, errno) in [
        (MountError::NotPinfs, -22),
        (newer, -22),
        (unknown, -22),
        (refusal, -22),
        (MountError::BadChecksum, -117),
        (MountError::BadGeometry, -117),
        (MountError::Io, -5),
    ] {
        assert_eq!(refusal.errno(), errno);
    }
}

#[test]
fn unknown_ro_features_forbid_writing() {
    let image = forged(|sb| sb.ro_compat.set(2));
    let volume = Volume::open(Memory::new(image)).expect("readable");
    assert!(volume.geometry().read_only);
    let mut fs = crate::support::Fs::mount(Memory::new(volume.medium().image())).0;
    assert_eq!(fs.run(|_| Ok(())), Err(Error::Aborted));
}

#[test]
fn absurd_geometry_is_refused() {
    type Change = fn(&mut Superblock);
    let changes: [Change; 30] = [
        |sb| sb.version.set(0),
        |sb| sb.block_size.set(512),
        |sb| sb.inode_size.set(128),
        |sb| sb.blocks.set(MIN_BLOCKS - 1),
        |sb| sb.blocks.set(MAX_BLOCKS + 1),
        |sb| sb.blocks.set(u64::MAX),
        |sb| sb.status_block.set(0),
        |sb| sb.journal_start.set(1),
        |sb| sb.journal_start.set(u64::MAX),
        |sb| sb.journal_blocks.set(0),
        |sb| sb.journal_blocks.set(u64::MAX),
        |sb| sb.journal_count.set(0),
        |sb| sb.journal_count.set(u64::MAX),
        |sb| sb.journal_count.set(2),
        |sb| sb.bitmap_start.set(2),
        |sb| sb.bitmap_start.set(u64::MAX),
        |sb| sb.inode_bitmap_start.set(sb.bitmap_start.get()),
        |sb| sb.bitmap_blocks.set(0),
        |sb| sb.bitmap_blocks.set(u64::MAX),
        |sb| sb.sums_start.set(sb.inode_bitmap_start.get()),
        |sb| sb.sums_start.set(u64::MAX),
        |sb| sb.sums_blocks.set(0),
        |sb| sb.sums_blocks.set(u64::MAX),
        |sb| sb.backup_block.set(MIN_BLOCKS),
        |sb| sb.backup_block.set(0),
        |sb| sb.data_start.set(sb.sums_start.get()),
        |sb| sb.data_start.set(MIN_BLOCKS - 1),
        |sb| sb.root_ino.set(0),
        |sb| sb.root_ino.set(u64::MAX),
        |sb| sb.root_ino.set(sb.data_start.get() * 16),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let result = open(forged(change));
        assert_eq!(result, Err(MountError::BadGeometry), "change {index}");
    }
}

#[test]
fn sizes() {
    for blocks in [0, 1, MIN_BLOCKS - 1] {
        let memory = Memory::new(vec![0; (blocks * 4096 + 4095) as usize]);
        assert_eq!(mkfs::format(&memory, &OPTIONS), Err(Error::NoSpace));
        assert!(memory.image().iter().all(|&byte| byte == 0));
    }
    // A tail shorter than a block is left alone.
    let memory = Memory::new(vec![0x55; (MIN_BLOCKS * 4096 + 4095) as usize]);
    let geometry = mkfs::format(&memory, &OPTIONS).expect("format");
    assert_eq!(geometry.blocks, MIN_BLOCKS);
    let tail = &memory.image()[(MIN_BLOCKS * 4096) as usize..];
    assert!(tail.iter().all(|&byte| byte == 0x55));
}

#[test]
fn the_backup_is_the_same() {
    let mut image = image(MIN_BLOCKS);
    let last = image.len() - 4096;
    assert_eq!(image[..4096], image[last..]);
    image[20] ^= 1;
    let memory = Memory::new(image.clone());
    assert_eq!(
        Volume::open(&memory).map(drop),
        Err(MountError::BadChecksum)
    );
    let (backup, geometry) = Superblock::read_backup(&memory).expect("backup");
    backup.write_at(&memory, 0).expect("repair");
    let volume = Volume::open(&memory).expect("repaired");
    assert_eq!(*volume.geometry(), geometry);
    assert_eq!(memory.image()[..4096], image[last..]);

    image[last + 20] ^= 1;
    let damaged = Superblock::read_backup(&Memory::new(image));
    assert_eq!(damaged.map(drop), Err(MountError::BadChecksum));
    let nothing = Superblock::read_backup(&Memory::new(vec![0; 100]));
    assert_eq!(nothing.map(drop), Err(MountError::Io));
}

#[test]
fn the_label_can_be_changed() {
    let mut fs = Fs::new(MIN_BLOCKS);
    let label = |fs: &Fs<Memory>| mount::status(&fs.volume).expect("status").label();
    assert_eq!(label(&fs), OPTIONS.label);
    let mut new = [0; LABEL_MAX];
    new[..5].copy_from_slice(b"other");
    fs.run(|tx| mount::set_label(tx, new)).expect("label");
    assert_eq!(label(&fs), new);
    fs.check();
    let again = Fs::mount(Memory::new(fs.volume.medium().image())).0;
    assert_eq!(label(&again), new);
}

/// A flipped bit in a bitmap, or in its checksum, is seen at the next mount, and by a transaction
/// that would otherwise give it a good checksum.
#[test]
fn damaged_bitmaps_are_found() {
    let image = image(2 * MIN_BLOCKS);
    let geometry = *Volume::open(Memory::new(image.clone()))
        .expect("open")
        .geometry();
    let words = space::words_needed(geometry.blocks) as usize;
    let starts = [
        geometry.bitmap_start,
        geometry.inode_bitmap_start,
        geometry.sums_start,
    ];
    for start in starts {
        // Bits of both groups; of the table there are 16 bytes.
        for bit in [0, 7, 77, 127] {
            let mut image = image.clone();
            image[start as usize * 4096 + bit / 8] ^= 1 << (bit % 8);
            let volume = Volume::open(Memory::new(image)).expect("superblock");
            let result = Space::load(&volume, vec![0; words]).map(drop);
            assert_eq!(result, Err(Error::Corrupt("bitmap is damaged")));
            assert!(check::check(&volume).is_err());
        }
    }

    let mut fs = Fs::mount(Memory::new(image)).0;
    let mut byte = [0];
    let at = geometry.bitmap_start * 4096 + 40;
    let medium = fs.volume.medium();
    medium.read(at, &mut byte).expect("read");
    medium.write(at, &[!byte[0]]).expect("write");
    assert_eq!(fs.create(b"new"), Err(Error::Corrupt("bitmap is damaged")));
    assert!(fs.journal.is_aborted());
}

/// Nothing but a size.
struct Size(u64);

impl Checksum for Size {
    fn xxh64(&self, _: u64, _: &[u8]) -> u64 {
        0
    }
}

impl Medium for Size {
    fn size(&self) -> u64 {
        self.0
    }
    fn read(&self, _: u64, _: &mut [u8]) -> pinfs_format::Result {
        Err(Error::Io)
    }
    fn write(&self, _: u64, _: &[u8]) -> pinfs_format::Result {
        Err(Error::Io)
    }
    fn zero(&self, _: u64, _: u64) -> pinfs_format::Result {
        Err(Error::Io)
    }
    fn flush(&self, _: u64, _: u64) -> pinfs_format::Result {
        Err(Error::Io)
    }
    fn fence(&self) {}
}

#[test]
fn the_largest_sizes_are_planned() {
    for blocks in [MIN_BLOCKS, 32768, 32769, 1 << 28, MAX_BLOCKS] {
        let (sb, geometry) = mkfs::plan(&Size(blocks * 4096), &OPTIONS).expect("plan");
        assert_eq!(geometry.blocks, blocks);
        assert_eq!(sb.bitmap_blocks.get(), blocks.div_ceil(32768));
    }
    let size = Size((MAX_BLOCKS + 1) * 4096);
    assert_eq!(mkfs::plan(&size, &OPTIONS).map(drop), Err(Error::Overflow));
}

#[test]
fn crc_agrees_with_another() {
    let data: Vec<u8> = (0..1000u32).map(|i| ((i * i) >> 3) as u8).collect();
    for len in 0..data.len() {
        let ours = !pinfs_format::crc::update(!0, &data[..len]);
        assert_eq!(ours, crc32c::crc32c(&data[..len]));
    }
}

/// The mark of a repair is set and cleared by one store of a word, and refused until it is.
#[test]
fn a_superblock_that_is_being_repaired() {
    let memory = Memory::new(image(MIN_BLOCKS));
    let clean = memory.image();
    let (mut sb, geometry) = Superblock::read(&memory).expect("superblock");
    sb.set_repairing(&memory, true);
    sb.write_at(&memory, 0).expect("store");
    let marked = memory.image();
    let words = clean.chunks(8).zip(marked.chunks(8));
    let changed: Vec<usize> = words
        .enumerate()
        .filter(|(_, (old, new))| old != new)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(changed, [1]);

    let refusal = Volume::open(&memory).map(drop).expect_err("a refusal");
    assert_eq!(refusal, MountError::Repairing);
    assert_eq!(refusal.errno(), -117, "EUCLEAN");
    assert!(refusal.to_string().contains("fsck.pinfs"), "{refusal}");
    let (mut sb, found) = Superblock::read_repairing(&memory).expect("superblock");
    assert_eq!(found, geometry);
    sb.set_repairing(&memory, false);
    sb.write_at(&memory, 0).expect("store");
    assert_eq!(memory.image(), clean);
    let none = Superblock::read_repairing(&memory).map(drop);
    assert_eq!(none, Err(MountError::NotPinfs));
}
