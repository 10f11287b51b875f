// SPDX-License-Identifier: GPL-2.0

//! Making a file system.

use zerocopy::{
    little_endian::U64,
    FromZeros, //
};

use crate::{
    bitmap,
    engine::{
        ialloc,
        run::BlockRun, //
    },
    inode::{
        Attributes,
        InodeHead,
        S_IFDIR, //
    },
    mount::{
        Status,
        STATUS, //
    },
    offset_of,
    ondisk::{
        bitmap::Plane,
        inode_offset,
        superblock::{
            sums_blocks,
            BITS_PER_BLOCK, //
        }, //
    },
    superblock::{
        Superblock,
        INCOMPAT,
        JOURNAL_BLOCKS,
        LABEL_MAX,
        MAGIC,
        MAX_BLOCKS,
        MIN_BLOCKS,
        RO_COMPAT,
        STATUS_BLOCK,
        VERSION, //
    },
    Error,
    Geometry,
    Inode,
    Medium,
    MountError,
    Result,
    Time,
    Volume,
    BLOCK_SIZE,
    INODE_SIZE,
    INODE_SLOTS, //
};

/// The features this code knows that others may ignore.
pub const COMPAT: u64 = 0;

/// What is chosen for a new file system.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Identity.
    pub uuid: [u8; 16],
    /// NULs behind a shorter one.
    pub label: [u8; LABEL_MAX],
    /// Random, so that nobody can tell which names collide.
    pub hash_key: (u64, u64),
    /// The present.
    pub now: Time,
    /// Owner of the root directory.
    pub uid: u32,
    /// Group of the root directory.
    pub gid: u32,
}

/// Where everything would be on a medium of `size` bytes.
///
/// # Errors
/// [`Error::NoSpace`] below the minimum, [`Error::Overflow`] above the maximum.
pub fn plan<M: Medium>(medium: &M, options: &Options) -> Result<(Superblock, Geometry)> {
    let blocks = medium.size() / BLOCK_SIZE;
    if blocks > MAX_BLOCKS {
        return Err(Error::Overflow);
    }
    let mut sb = Superblock::for_blocks(blocks).ok_or(Error::NoSpace)?;
    // The root directory is the first inode of the first block.
    sb.root_ino.set(sb.data_start.get() * INODE_SLOTS + 1);
    sb.uuid = options.uuid;
    sb.hash_key = [U64::new(options.hash_key.0), U64::new(options.hash_key.1)];
    sb.created_sec.set(options.now.sec);
    sb.created_nsec.set(options.now.nsec);
    sb.crc.set(sb.checksum(medium));
    match sb.validate(medium, medium.size()) {
        Ok(geometry) => Ok((sb, geometry)),
        Err(MountError::Io) => Err(Error::Io),
        Err(_) => Err(Error::NoSpace),
    }
}

/// Makes the medium hold no superblock at its beginning, durably: nobody takes what is there for a
/// file system then. First of all the superblock itself, so that one that is still there finds its
/// backup.
pub fn invalidate<M: Medium>(medium: &M) -> Result {
    medium.zero(0, BLOCK_SIZE)?;
    medium.flush(0, BLOCK_SIZE)?;
    medium.fence();
    Ok(())
}

/// Writes an empty file system. The old superblock and its backup go first and the new ones come
/// last, so that an interrupted run leaves no half of an old or a new file system.
///
/// # Errors
/// Those of [`plan`], and [`Error::Io`].
pub fn format<M: Medium>(medium: &M, options: &Options) -> Result<Geometry> {
    let (sb, geometry) = plan(medium, options)?;
    let volume = Volume::with_geometry(medium, geometry);

    let backup = geometry.data_end;
    invalidate(medium)?;
    medium.zero(offset_of(backup), BLOCK_SIZE)?;
    medium.flush(offset_of(backup), BLOCK_SIZE)?;
    medium.fence();

    // Of the journal only the header counts, but what others look for may stand there too. The
    // bitmaps end where the data area begins, with the inode block of the root directory.
    let journal = offset_of(geometry.journal_start);
    let data = offset_of(geometry.data_start);
    for (start, end) in [(STATUS, STATUS + BLOCK_SIZE), (journal, data + BLOCK_SIZE)] {
        medium.zero(start, end - start)?;
        medium.flush(start, end - start)?;
    }
    let run = |start, len| BlockRun { start, len };
    let used = run(0, geometry.data_start + 1);
    bitmap::mark(&volume, Plane::Used, used, true)?;
    bitmap::mark(&volume, Plane::Used, run(backup, 1), true)?;
    let inodes = run(geometry.data_start, 1);
    bitmap::mark(&volume, Plane::Inodes, inodes, true)?;
    for group in 0..geometry.groups() {
        bitmap::seal(&volume, group)?;
    }
    volume.store(data, &mut first_head())?;
    volume.store(
        inode_offset(geometry.root_ino),
        &mut root(&geometry, options),
    )?;
    volume.store(STATUS, &mut first_status(options.now, options.label))?;
    medium.fence();

    sb.write_at(medium, backup)?;
    sb.write_at(medium, 0)?;
    Ok(geometry)
}

fn root(geometry: &Geometry, options: &Options) -> Inode {
    let attr = Attributes {
        mode: S_IFDIR | 0o755,
        uid: options.uid,
        gid: options.gid,
        rdev: 0,
        generation: 0,
        now: options.now,
    };
    let mut root = new(geometry.root_ino, &attr);
    root.nlink.set(2);
    root.parent.set(geometry.root_ino);
    root
}

impl Superblock {
    /// Where everything goes on a device of `blocks` blocks, or `None` if that is too few or too
    /// many. Identity, root inode and checksum are for the caller to fill in.
    fn for_blocks(blocks: u64) -> Option<Self> {
        if !(MIN_BLOCKS..=MAX_BLOCKS).contains(&blocks) {
            return None;
        }
        let bitmap_blocks = blocks.div_ceil(BITS_PER_BLOCK);
        let journal_start = STATUS_BLOCK + 1;
        let bitmap_start = journal_start + JOURNAL_BLOCKS;
        let inode_bitmap_start = bitmap_start + bitmap_blocks;
        let sums_start = inode_bitmap_start + bitmap_blocks;
        let sums_blocks = sums_blocks(blocks);
        let data_start = sums_start + sums_blocks;

        let mut sb = Self::new_zeroed();
        sb.magic = MAGIC;
        sb.version.set(VERSION);
        sb.compat.set(COMPAT);
        sb.ro_compat.set(RO_COMPAT);
        sb.incompat.set(INCOMPAT);
        sb.block_size.set(BLOCK_SIZE as u32);
        sb.inode_size.set(INODE_SIZE as u32);
        sb.blocks.set(blocks);
        sb.status_block.set(STATUS_BLOCK);
        sb.journal_start.set(journal_start);
        sb.journal_blocks.set(JOURNAL_BLOCKS);
        sb.journal_count.set(1);
        sb.bitmap_start.set(bitmap_start);
        sb.inode_bitmap_start.set(inode_bitmap_start);
        sb.bitmap_blocks.set(bitmap_blocks);
        sb.sums_start.set(sums_start);
        sb.sums_blocks.set(sums_blocks);
        sb.data_start.set(data_start);
        sb.backup_block.set(blocks - 1);
        Some(sb)
    }
}

/// An inode that is all zero but for what [`init`] sets; mkfs has no transaction yet.
fn new(ino: u64, attr: &Attributes) -> Inode {
    let mut inode = Inode::new_zeroed();
    ialloc::init(&mut inode, ino, attr);
    inode
}

/// The header of an inode block of which only slot 1 is in use.
fn first_head() -> InodeHead {
    let mut head = InodeHead::new_zeroed();
    head.used.set(1 << 1);
    head
}

/// The status of a new file system with one inode.
fn first_status(now: Time, label: [u8; LABEL_MAX]) -> Status {
    let mut status = Status::new_zeroed();
    status.inodes.set(1);
    status.label = label;
    status.change(0, now);
    status
}
