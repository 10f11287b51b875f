// SPDX-License-Identifier: GPL-2.0

//! Symbolic links: a short target is in the inode, a longer one in a block of its own.

use zerocopy::IntoBytes;

use super::{
    tree,
    Medium,
    Tx,
    Volume, //
};
use crate::ondisk::{
    header::{
        Object,
        Seal, //
    },
    inode::{
        INLINE_TARGET,
        S_IFLNK, //
    },
    node::{
        Entry,
        Root, //
    },
    offset_of,
    symlink::{
        Target,
        HEAD,
        MAX, //
    },
    Error,
    Inode,
    Result, //
};

/// Sets the target of a new symbolic link.
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
