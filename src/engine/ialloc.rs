// SPDX-License-Identifier: GPL-2.0

//! Allocation of inodes.

use super::{
    run::BlockRun,
    Medium,
    Tx, //
};
use crate::ondisk::{
    header::Object,
    inode::{
        inherited,
        InodeHead,
        Stamp, //
    },
    inode_offset,
    offset_of,
    Error,
    Inode,
    Result,
    Time,
    INODE_SIZE,
    INODE_SLOTS, //
};

/// Initial fields of a new inode.
#[derive(Clone, Copy, Debug)]
pub struct Attributes {
    /// File type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a special file.
    pub rdev: u64,
    /// A random number, for [`Inode::generation`].
    pub generation: u32,
    /// The time for all four stamps.
    pub now: Time,
}

/// Inode blocks that are searched before a new one is made.
const CANDIDATES: usize = 4;

/// Makes an inode with no names, in the block of its directory's inode if there is room.
pub(super) fn alloc<M: Medium>(tx: &mut Tx<'_, M>, dir: u64, attr: &Attributes) -> Result<u64> {
    let flags = tx.inode(dir)?.attributes() & inherited(attr.mode);
    let ino = match free_slot(tx, dir / INODE_SLOTS)? {
        Some(ino) => ino,
        None => new_block(tx)?,
    };
    let status = tx.status_mut()?;
    let inodes = status.inodes.get().checked_add(1);
    status
        .inodes
        .set(inodes.ok_or(Error::Corrupt("inode count"))?);

    let inode = tx.fresh::<Inode>(inode_offset(ino))?;
    init(inode, ino, attr);
    inode.set_attributes(flags);
    if !inode.sane() {
        return Err(Error::Invalid);
    }
    Ok(ino)
}

/// Fills in an inode that is all zero.
pub(crate) fn init(inode: &mut Inode, ino: u64, attr: &Attributes) {
    inode.ino.set(ino);
    inode.mode.set(attr.mode);
    inode.uid.set(attr.uid);
    inode.gid.set(attr.gid);
    inode.rdev.set(attr.rdev);
    inode.generation.set(attr.generation);
    for stamp in [Stamp::Access, Stamp::Modify, Stamp::Change, Stamp::Birth] {
        inode.set_time(stamp, attr.now);
    }
}

/// Takes a slot in an inode block that exists.
fn free_slot<M: Medium>(tx: &mut Tx<'_, M>, near: u64) -> Result<Option<u64>> {
    for _ in 0..CANDIDATES {
        let Some(block) = tx.space().hinted(near) else {
            break;
        };
        let free = !tx.inode_head(block)?.used.get() & InodeHead::SLOTS;
        if free == 0 {
            tx.space().hint(block, false);
            continue;
        }
        let slot = u64::from(free.trailing_zeros());
        let head = tx.inode_head_mut(block)?;
        head.used.set(head.used.get() | 1 << slot);
        return Ok(Some(block * INODE_SLOTS + slot));
    }
    Ok(None)
}

/// Makes an inode block and takes its first slot.
fn new_block<M: Medium>(tx: &mut Tx<'_, M>) -> Result<u64> {
    let block = tx.alloc_meta()?;
    // The old contents may be in the cache only; the log records differences to durable contents.
    tx.zero_blocks(BlockRun {
        start: block,
        len: 1,
    })?;
    tx.mark_inode_block(block)?;
    let head = tx.fresh::<InodeHead>(offset_of(block))?;
    head.used.set(1 << 1);
    Ok(block * INODE_SLOTS + 1)
}

/// Frees inode `ino`, and its block with the last inode in it.
pub(super) fn free<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result {
    let block = ino / INODE_SLOTS;
    let bit = 1 << (ino % INODE_SLOTS);
    let head = tx.inode_head_mut(block)?;
    if head.used.get() & bit == 0 {
        return Err(Error::Corrupt("freeing a free inode"));
    }
    let left = head.used.get() & !bit;
    head.used.set(left);

    let status = tx.status_mut()?;
    let inodes = status.inodes.get().checked_sub(1);
    status
        .inodes
        .set(inodes.ok_or(Error::Corrupt("inode count"))?);

    tx.forget(inode_offset(ino), INODE_SIZE);
    if left == 0 {
        tx.free_inode_block(block)
    } else {
        tx.space().hint(block, true);
        Ok(())
    }
}
