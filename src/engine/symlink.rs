// SPDX-License-Identifier: GPL-2.0

//! Symbolic links: a short target stands in the inode, a longer one in a block of its own.

use zerocopy::{
    little_endian::U64,
    IntoBytes, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use super::{
    inode::{
        INLINE_TARGET,
        S_IFLNK, //
    },
    offset_of,
    tree::{
        self,
        Entry,
        Root, //
    },
    volume::{
        Object,
        Seal, //
    },
    Error,
    Inode,
    Medium,
    Result,
    Tx,
    Volume,
    BLOCK_SIZE, //
};

/// Bytes in the longest target.
pub const MAX: usize = BLOCK_SIZE as usize - HEAD;

const HEAD: usize = 16;

/// A block that holds a target; its length is the inode's size.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Target {
    seal: Seal,
    /// The link.
    pub owner: U64,
    /// What it points to, and what stands behind that.
    pub bytes: [u8; MAX],
}

const _: () = assert!(size_of::<Target>() == BLOCK_SIZE as usize);

impl Object for Target {
    const MAGIC: u32 = u32::from_le_bytes(*b"pLnk");
    const DAMAGED: &'static str = "symbolic link is damaged";
}

/// Gives a new symbolic link its target.
pub(super) fn set<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, target: &[u8]) -> Result {
    if target.is_empty() || target.contains(&0) {
        return Err(Error::Invalid);
    }
    if target.len() > MAX {
        return Err(Error::NameTooLong);
    }
    let inode = tx.inode_mut(ino)?;
    inode.size.set(target.len() as u64);
    if let Some(place) = inline(&mut inode.root).get_mut(..target.len()) {
        place.copy_from_slice(target);
        inode.flags.set(inode.flags.get() | INLINE_TARGET);
        return Ok(());
    }
    let block = tx.alloc_for(ino)?;
    let long = tx.place::<Target>(block)?;
    long.owner.set(ino);
    let place = long.bytes.get_mut(..target.len());
    place.ok_or(Error::NameTooLong)?.copy_from_slice(target);
    let entry = Entry {
        key: 0,
        value: block,
        len: 1,
        flags: 0,
    };
    tree::insert(tx, ino, entry)
}

fn inline(root: &mut Root) -> &mut [u8] {
    root.entries.as_mut_bytes()
}

/// Copies the target into `buf` and returns its length.
///
/// Locks: none beyond a reference to the inode; a target never changes.
///
/// # Errors
/// [`Error::Invalid`] if this is no symbolic link, [`Error::Overflow`] if `buf` is too short;
/// [`MAX`] bytes always suffice.
pub fn read<M: Medium>(volume: &Volume<M>, inode: &Inode, buf: &mut [u8]) -> Result<usize> {
    if inode.kind() != S_IFLNK {
        return Err(Error::Invalid);
    }
    let size = inode.size.get();
    if size == 0 || size > MAX as u64 {
        return Err(Error::Corrupt(Target::DAMAGED));
    }
    let size = size as usize;
    let buf = buf.get_mut(..size).ok_or(Error::Overflow)?;
    if inode.flags.get() & INLINE_TARGET != 0 {
        let bytes = inode.root.entries.as_bytes().get(..size);
        buf.copy_from_slice(bytes.ok_or(Error::Corrupt(Target::DAMAGED))?);
    } else {
        let (entry, _) = tree::floor(&mut &*volume, inode.ino(), &inode.root, 0)?;
        let block = entry.ok_or(Error::Corrupt(Target::DAMAGED))?.value;
        volume.verify_block::<Target>(block)?;
        let base = offset_of(block);
        if volume.word(base + size_of::<Seal>() as u64)? != inode.ino() {
            return Err(Error::Corrupt(Target::DAMAGED));
        }
        volume.medium().read(base + HEAD as u64, buf)?;
    }
    if buf.contains(&0) {
        return Err(Error::Corrupt(Target::DAMAGED));
    }
    Ok(size)
}

/// Frees the block of a long target.
pub(super) fn free<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result {
    let inode = tx.inode(ino)?;
    if inode.flags.get() & INLINE_TARGET != 0 {
        return Ok(());
    }
    let root = inode.root;
    if let (Some(entry), _) = tree::floor(tx, ino, &root, 0)? {
        tree::remove(tx, ino, entry.key)?;
        tx.free_for(ino, entry.value)?;
    }
    Ok(())
}
