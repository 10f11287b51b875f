// SPDX-License-Identifier: GPL-2.0

//! Directories.
//!
//! The tree of a directory maps cookies to leaves ([`leaf`](crate::ondisk::leaf)), in which names
//! are found by a binary search. Names of equal hash are always in one leaf.
//!
//! Locks: the inode lock of the directory, shared for [`lookup`] and [`read`], exclusive for the
//! rest.

use core::ops::Range;

use zerocopy::{
    little_endian::{
        U16,
        U64, //
    },
    FromZeros,
    IntoBytes, //
};

use super::{
    tree,
    Medium,
    Tx,
    Volume, //
};
use crate::ondisk::{
    header::Object,
    leaf::{
        base,
        first_cookie,
        kind_of,
        same_hash,
        Found,
        Leaf,
        LeafHead,
        NameHead,
        BAD_SLOT,
        COOKIE_MAX,
        FIRST,
        NAME_HEAD, //
    },
    node::Entry,
    offset_of,
    Error,
    Inode,
    Name,
    Result, //
};

/// Position of an entry in the tree.
struct Place {
    /// Key and block of the leaf.
    leaf: Entry,
    index: usize,
    /// Offset in the leaf's body.
    at: usize,
    found: Found,
}

pub(crate) const DISORDER: Error = Error::Corrupt("directory entries out of order");

impl<M: Medium> Volume<M> {
    /// Checks that `block` is a leaf of directory `owner` and returns the number of its names.
    pub(crate) fn leaf(&self, block: u64, owner: u64) -> Result<usize> {
        self.verify_block::<Leaf>(block)?;
        self.plain::<LeafHead>(offset_of(block))?.count(owner)
    }

    /// Copies a leaf of directory `owner`.
    fn copy_leaf(&self, block: u64, owner: u64, to: &mut Leaf) -> Result {
        if !self.geometry().in_data(block, 1) {
            return Err(Error::Corrupt(Leaf::DAMAGED));
        }
        self.medium().read(offset_of(block), to.as_mut_bytes())?;
        self.verify_copy::<Leaf>(offset_of(block), to.as_bytes())?;
        to.head.count(owner).map(drop)
    }

    /// Reads bytes from the body of a leaf that [`Volume::leaf`] has checked.
    pub(crate) fn leaf_bytes(&self, block: u64, at: usize, buf: &mut [u8]) -> Result {
        Leaf::check_range(at, buf.len())?;
        let at = size_of::<LeafHead>() + at;
        self.medium().read(offset_of(block) + at as u64, buf)
    }

    /// Returns the head of name `index` of a leaf, and its offset.
    pub(crate) fn name_at(&self, block: u64, index: usize) -> Result<(NameHead, usize)> {
        let mut slot = U16::ZERO;
        self.leaf_bytes(block, Leaf::slot_range(index)?.start, slot.as_mut_bytes())?;
        let at = usize::from(slot.get());
        let mut head = NameHead::new_zeroed();
        self.leaf_bytes(block, at, head.as_mut_bytes())?;
        Ok((head, at))
    }

    /// Returns the index of the first of `count` names whose cookie is not below `cookie`.
    fn search(&self, block: u64, count: usize, cookie: u64) -> Result<usize> {
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.name_at(block, middle)?.0.cookie.get() < cookie {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn is_name(&self, block: u64, (head, at): (NameHead, usize), name: Name<'_>) -> Result<bool> {
        if usize::from(head.len) != name.bytes().len() {
            return Ok(false);
        }
        let mut buf = [0u8; 32];
        for (part, at) in name
            .bytes()
            .chunks(buf.len())
            .zip((at + NAME_HEAD..).step_by(buf.len()))
        {
            let buf = buf.get_mut(..part.len()).ok_or(BAD_SLOT)?;
            self.leaf_bytes(block, at, buf)?;
            if buf != part {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Finds a name.
///
/// # Errors
/// [`Error::NoEntry`], [`Error::NotDirectory`].
pub fn lookup<M: Medium>(volume: &Volume<M>, dir: &Inode, name: Name<'_>) -> Result<Found> {
    dir.check_dir()?;
    let cookie = first_cookie(volume.geometry(), name);
    let (leaf, _) = tree::floor(&mut &*volume, dir.ino(), &dir.root, cookie)?;
    let block = leaf.ok_or(Error::NoEntry)?.value;
    let count = volume.leaf(block, dir.ino())?;
    for index in volume.search(block, count, cookie)?..count {
        let (head, at) = volume.name_at(block, index)?;
        if !same_hash(head.cookie.get(), cookie) {
            break;
        }
        if volume.is_name(block, (head, at), name)? {
            return Ok(head.found());
        }
    }
    Err(Error::NoEntry)
}

/// Finds a name as the transaction sees it. Returns `Err(Error::NoEntry)` if there is none.
fn find<M: Medium>(tx: &mut Tx<'_, M>, dir: u64, name: Name<'_>) -> Result<Place> {
    tx.inode(dir)?.check_dir()?;
    let cookie = first_cookie(tx.volume().geometry(), name);
    let (leaf, _) = tree::floor_tx(tx, dir, cookie)?;
    let leaf = leaf.ok_or(Error::NoEntry)?;
    let (index, at, head) = tx.leaf(leaf.value, dir)?.find(cookie, name)?;
    Ok(Place {
        leaf,
        index,
        at,
        found: head.found(),
    })
}

/// Does the same as [`lookup`], with the transaction's own changes.
pub(super) fn lookup_tx<M: Medium>(tx: &mut Tx<'_, M>, dir: u64, name: Name<'_>) -> Result<Found> {
    Ok(find(tx, dir, name)?.found)
}

/// Some entries of a directory: those of one leaf that are at or after a position.
pub struct Part<'l> {
    leaf: &'l Leaf,
    slots: Range<usize>,
    /// The lowest position that its entries may have.
    from: u64,
    end: u64,
    /// Position of the next part, if there is one.
    pub next: Option<u64>,
}

impl<'l> Part<'l> {
    /// Returns the entries in the order of their cookies. A reader resumes after an entry at its
    /// cookie plus one.
    pub fn entries(&self) -> impl Iterator<Item = Result<(Found, &'l [u8])>> {
        let (leaf, end, mut from) = (self.leaf, self.end, self.from);
        self.slots.clone().map(move |index| {
            let (found, name) = leaf.name(index)?;
            // A reader that resumes after this entry must always make progress.
            if found.cookie < from || found.cookie >= end {
                return Err(DISORDER);
            }
            from = found.cookie + 1;
            Ok((found, name))
        })
    }
}

/// Copies the next entries of a directory at or after position `from`, if there are any, into
/// `leaf`. The part may be empty and not the last one. Names that are added or removed meanwhile do
/// not disturb the others. The caller adds `.` and `..`.
pub fn read<'l, M: Medium>(
    volume: &Volume<M>,
    dir: &Inode,
    from: u64,
    leaf: &'l mut Leaf,
) -> Result<Part<'l>> {
    dir.check_dir()?;
    let from = core::cmp::max(from, FIRST);
    let (entry, next) = tree::floor(&mut &*volume, dir.ino(), &dir.root, from)?;
    let end = next.unwrap_or(COOKIE_MAX + 1);
    if next.is_some_and(|next| next <= from) || end > COOKIE_MAX + 1 {
        return Err(DISORDER);
    }
    let slots = match entry {
        Some(entry) => {
            volume.copy_leaf(entry.value, dir.ino(), leaf)?;
            leaf.search(from)?..leaf.len()
        }
        None => 0..0,
    };
    Ok(Part {
        leaf,
        slots,
        from,
        end,
        next,
    })
}

/// Adds a name.
///
/// # Errors
/// [`Error::Exists`], [`Error::NoSpace`].
pub(super) fn add<M: Medium>(
    tx: &mut Tx<'_, M>,
    dir: u64,
    name: Name<'_>,
    ino: u64,
    mode: u32,
) -> Result {
    tx.inode(dir)?.check_dir()?;
    let cookie = first_cookie(tx.volume().geometry(), name);
    let size = NAME_HEAD + name.bytes().len();
    // After one split there is room, unless many names share a hash. Then it may take a few splits.
    for _ in 0..4 {
        let leaf = leaf_for(tx, dir, cookie)?;
        let mut target = tx.leaf_edit(leaf.value, dir)?;
        let (index, cookie) = target.vacancy(cookie, name)?;
        if target.has_room(size) {
            let head = NameHead {
                cookie: U64::new(cookie),
                ino: U64::new(ino),
                kind: kind_of(mode),
                len: name.bytes().len() as u8,
            };
            target.insert(index, head, name)?;
            return tx.inode_mut(dir)?.add_entries(1);
        }
        split(tx, dir, leaf, cookie)?;
    }
    Err(Error::NoSpace)
}

/// Returns the leaf for a new name with `cookie`, and makes it if there is none.
fn leaf_for<M: Medium>(tx: &mut Tx<'_, M>, dir: u64, cookie: u64) -> Result<Entry> {
    if let (Some(leaf), _) = tree::floor_tx(tx, dir, cookie)? {
        return Ok(leaf);
    }
    if let Some(first) = tree::ceiling(tx, dir, 0)? {
        // The first leaf also takes names below its lowest cookie.
        let leaf = Entry { key: 0, ..first };
        tree::change(tx, dir, first.key, leaf)?;
        return Ok(leaf);
    }
    let block = tx.alloc_for(dir)?;
    tx.place::<Leaf>(block)?.head.owner.set(dir);
    let leaf = Entry {
        key: 0,
        value: block,
        len: 0,
        flags: 0,
    };
    tree::insert(tx, dir, leaf)?;
    Ok(leaf)
}

/// Splits a leaf that has no room for a name with `cookie`.
///
/// # Errors
/// [`Error::NoSpace`] if all names in it have the hash of the new one.
fn split<M: Medium>(tx: &mut Tx<'_, M>, dir: u64, leaf: Entry, cookie: u64) -> Result {
    let full = tx.leaf_mut(leaf.value, dir)?;
    let middle = full.middle()?;
    let lowest = full.base(0)?;
    if middle.is_none() && lowest == base(cookie) {
        return Err(Error::NoSpace);
    }
    let block = tx.alloc_for(dir)?;
    let key = if let Some(middle) = middle {
        let upper = tx.duplicate::<Leaf>(leaf.value, block)?;
        upper.keep(middle..upper.len())?;
        let key = upper.base(0)?;
        tx.leaf_mut(leaf.value, dir)?.keep(0..middle)?;
        key
    } else {
        // Names of one other hash fill it: the new one gets a leaf of its own, after or before this
        // one.
        tx.place::<Leaf>(block)?.head.owner.set(dir);
        if lowest < cookie {
            base(cookie)
        } else {
            let moved = Entry {
                key: lowest,
                ..leaf
            };
            tree::change(tx, dir, leaf.key, moved)?;
            leaf.key
        }
    };
    let entry = Entry {
        key,
        value: block,
        len: 0,
        flags: 0,
    };
    tree::insert(tx, dir, entry)
}

/// Removes a name and returns its entry.
pub(super) fn remove<M: Medium>(tx: &mut Tx<'_, M>, dir: u64, name: Name<'_>) -> Result<Found> {
    let place = find(tx, dir, name)?;
    let mut leaf = tx.leaf_edit(place.leaf.value, dir)?;
    leaf.remove(place.index)?;
    if leaf.len() == 0 {
        tree::remove(tx, dir, place.leaf.key)?;
        tx.free_for(dir, place.leaf.value)?;
    }
    tx.inode_mut(dir)?.add_entries(-1)?;
    Ok(place.found)
}

/// Makes a name refer to another inode and returns the entry that it replaces.
pub(super) fn replace<M: Medium>(
    tx: &mut Tx<'_, M>,
    dir: u64,
    name: Name<'_>,
    ino: u64,
    mode: u32,
) -> Result<Found> {
    let place = find(tx, dir, name)?;
    let mut leaf = tx.leaf_edit(place.leaf.value, dir)?;
    let mut head = leaf.name_head(place.at)?;
    head.ino.set(ino);
    head.kind = kind_of(mode);
    leaf.set_head(place.at, &head)?;
    Ok(place.found)
}

/// Returns whether a directory has no names.
pub fn is_empty(dir: &Inode) -> bool {
    dir.root.is_empty()
}

#[cfg(test)]
mod tests;
