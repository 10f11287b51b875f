// SPDX-License-Identifier: GPL-2.0

//! The B+tree that every inode is the root of.
//!
//! An entry is a key, a block, a length and flags. In an inner node the key is the lowest key
//! beneath the block, exactly; so the greatest key not above a wanted one is always on the way
//! down. Nodes split when they are full and are freed when they are empty; a single child that fits
//! is taken back into the inode.
//!
//! Going down is bounded by [`MAX_LEVEL`]: each step must find a node one level lower.

use core::cmp;

use zerocopy::{
    little_endian::{
        U16,
        U32,
        U64, //
    },
    FromZeros, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use super::{
    tx::Tx,
    volume::{
        Object,
        Reader,
        Seal, //
    },
    Error,
    Medium,
    Result,
    BLOCK_SIZE, //
};

/// Entries of the root, in the inode.
pub const INLINE: usize = 4;

/// Entries of a node.
pub const FANOUT: usize = 169;

/// The highest level of a root; with nodes at least half full, more than any device needs.
pub const MAX_LEVEL: u8 = 6;

/// A single child of at most so many entries goes back into the root. Less than what makes a root
/// overflow, so that a file at the limit does not go back and forth.
const COLLAPSE: usize = 2;

/// Where the root stands instead of in a block.
const ROOT: u64 = 0;

/// An entry in native numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First file block, or cookie.
    pub key: u64,
    /// Block of the device.
    pub value: u64,
    /// Blocks of an extent; 0 in inner nodes and directories.
    pub len: u32,
    /// Of an extent.
    pub flags: u32,
}

/// An entry as it stands on the medium.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawEntry {
    key: U64,
    value: U64,
    len: U32,
    flags: U32,
}

impl RawEntry {
    pub(super) fn get(&self) -> Entry {
        Entry {
            key: self.key.get(),
            value: self.value.get(),
            len: self.len.get(),
            flags: self.flags.get(),
        }
    }
}

impl From<Entry> for RawEntry {
    fn from(entry: Entry) -> Self {
        RawEntry {
            key: U64::new(entry.key),
            value: U64::new(entry.value),
            len: U32::new(entry.len),
            flags: U32::new(entry.flags),
        }
    }
}

/// The root in the inode.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Root {
    level: u8,
    reserved: [u8; 3],
    count: U16,
    reserved2: [u8; 2],
    /// Also the place of a short link target.
    pub(super) entries: [RawEntry; INLINE],
}

impl Root {
    /// Levels of nodes under the root.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Whether the tree has no entry.
    pub fn is_empty(&self) -> bool {
        self.count.get() == 0
    }

    pub(super) fn count(&self) -> usize {
        usize::from(self.count.get())
    }

    pub(super) fn entry(&self, index: usize) -> Result<Entry> {
        let raw = self.entries.get(index);
        raw.map(RawEntry::get)
            .ok_or(Error::Corrupt("tree entry out of range"))
    }

    pub(super) fn sane(&self) -> bool {
        let count = self.count();
        count <= INLINE && self.level <= MAX_LEVEL && (count > 0 || self.level == 0)
    }

    fn slots(&mut self) -> Slots<'_> {
        Slots {
            count: &mut self.count,
            raw: &mut self.entries,
        }
    }
}

/// The start of a node.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct NodeHead {
    seal: Seal,
    owner: U64,
    level: u8,
    reserved: u8,
    count: U16,
    reserved2: [u8; 12],
}

impl NodeHead {
    /// The number of entries, if this is a node of `owner` at `level`.
    pub(super) fn count(&self, owner: u64, level: u8) -> Result<usize> {
        self.check_owner(owner)?;
        let count = usize::from(self.count.get());
        if self.level != level || !(1..=FANOUT).contains(&count) {
            return Err(Error::Corrupt("tree node has a wrong level or count"));
        }
        Ok(count)
    }

    pub(super) fn check_owner(&self, owner: u64) -> Result {
        if self.owner.get() == owner {
            Ok(())
        } else {
            Err(Error::Corrupt("tree node belongs to another inode"))
        }
    }
}

/// A node.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Node {
    pub(super) head: NodeHead,
    entries: [RawEntry; FANOUT],
    reserved: [u8; 8],
}

const _: () = assert!(size_of::<Node>() == BLOCK_SIZE as usize);

impl Object for Node {
    const MAGIC: u32 = u32::from_le_bytes(*b"pNod");
    const DAMAGED: &'static str = "tree node is damaged";

    fn sane(&self) -> bool {
        (1..=FANOUT).contains(&usize::from(self.head.count.get()))
    }
}

impl Node {
    pub(super) fn entry(&self, index: usize) -> Result<Entry> {
        let raw = self.entries.get(index);
        raw.map(RawEntry::get).ok_or(Error::Corrupt(Node::DAMAGED))
    }

    fn slots(&mut self) -> Slots<'_> {
        Slots {
            count: &mut self.head.count,
            raw: &mut self.entries,
        }
    }
}

/// The entries of a root or a node, to be changed.
struct Slots<'a> {
    count: &'a mut U16,
    raw: &'a mut [RawEntry],
}

impl Slots<'_> {
    fn len(&self) -> usize {
        cmp::min(usize::from(self.count.get()), self.raw.len())
    }

    fn set_len(&mut self, len: usize) {
        self.count.set(len as u16);
    }

    fn is_full(&self) -> bool {
        self.len() == self.raw.len()
    }

    fn get(&self, index: usize) -> Result<Entry> {
        let live = self.raw.get(..self.len());
        live.and_then(|live| live.get(index))
            .map(RawEntry::get)
            .ok_or(Error::Corrupt("tree entry out of range"))
    }

    fn set(&mut self, index: usize, entry: Entry) -> Result {
        let len = self.len();
        let slot = self.raw.get_mut(..len).and_then(|live| live.get_mut(index));
        *slot.ok_or(Error::Corrupt("tree entry out of range"))? = entry.into();
        Ok(())
    }

    fn insert(&mut self, index: usize, entry: Entry) -> Result {
        let len = self.len();
        if index > len || self.is_full() {
            return Err(Error::Corrupt("tree entry out of range"));
        }
        self.raw.copy_within(index..len, index + 1);
        self.set_len(len + 1);
        self.set(index, entry)
    }

    fn remove(&mut self, index: usize) -> Result {
        let len = self.len();
        if index >= len {
            return Err(Error::Corrupt("tree entry out of range"));
        }
        self.raw.copy_within(index + 1..len, index);
        self.set_len(len - 1);
        Ok(())
    }

    /// Drops the entries before `index`.
    fn keep_from(&mut self, index: usize) {
        let len = self.len();
        let index = cmp::min(index, len);
        self.raw.copy_within(index..len, 0);
        self.set_len(len - index);
    }

    /// How many keys are not above `key`.
    fn rank(&self, key: u64) -> usize {
        let live = self.raw.get(..self.len()).unwrap_or(&[]);
        live.partition_point(|entry| entry.key.get() <= key)
    }
}

/// One node on the way to a key.
#[derive(Clone, Copy, Default)]
struct Step {
    /// [`ROOT`] or the node's block.
    block: u64,
    /// In an inner node, the entry that was followed; in a leaf, how many keys are not above the
    /// wanted one.
    index: usize,
}

/// The way to a key.
struct Path {
    steps: [Step; MAX_LEVEL as usize + 1],
    /// Level of the root, and index of the leaf's step.
    depth: usize,
    /// The lowest key above the wanted one.
    above: Option<u64>,
}

impl Path {
    fn step(&self, depth: usize) -> Step {
        self.steps.get(depth).copied().unwrap_or_default()
    }
}

fn entry_at<R: Reader>(r: &mut R, root: &Root, block: u64, index: usize) -> Result<Entry> {
    if block == ROOT {
        root.entry(index)
    } else {
        r.node_entry(block, index)
    }
}

/// How many of `count` keys are not above `key`.
fn rank<R: Reader>(r: &mut R, root: &Root, at: (u64, usize), key: u64) -> Result<usize> {
    let (block, count) = at;
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if entry_at(r, root, block, middle)?.key <= key {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

fn locate<R: Reader>(r: &mut R, owner: u64, root: &Root, key: u64) -> Result<Path> {
    let mut path = Path {
        steps: Default::default(),
        depth: usize::from(root.level),
        above: None,
    };
    let mut block = ROOT;
    let mut count = root.count();
    for (depth, step) in path.steps.iter_mut().enumerate().take(path.depth + 1) {
        let rank = rank(r, root, (block, count), key)?;
        if rank < count {
            path.above = Some(entry_at(r, root, block, rank)?.key);
        }
        let leaf = depth == path.depth;
        let index = if leaf { rank } else { rank.saturating_sub(1) };
        *step = Step { block, index };
        if !leaf {
            block = entry_at(r, root, block, index)?.value;
            let level = (path.depth - depth - 1) as u8;
            count = r.node(block, owner, level)?;
        }
    }
    Ok(path)
}

/// The entry with the greatest key not above `key`, and the lowest key above `key`.
pub(super) fn floor<R: Reader>(
    r: &mut R,
    owner: u64,
    root: &Root,
    key: u64,
) -> Result<(Option<Entry>, Option<u64>)> {
    let path = locate(r, owner, root, key)?;
    let leaf = path.step(path.depth);
    let entry = match leaf.index.checked_sub(1) {
        Some(index) => Some(entry_at(r, root, leaf.block, index)?),
        None => None,
    };
    Ok((entry, path.above))
}

/// The entry with the lowest key not below `key`.
pub(super) fn ceiling<R: Reader>(
    r: &mut R,
    owner: u64,
    root: &Root,
    key: u64,
) -> Result<Option<Entry>> {
    let (entry, above) = floor(r, owner, root, key)?;
    if entry.is_some_and(|entry| entry.key == key) {
        return Ok(entry);
    }
    let Some(above) = above else {
        return Ok(None);
    };
    match floor(r, owner, root, above)? {
        (Some(entry), _) if entry.key == above => Ok(Some(entry)),
        _ => Err(Error::Corrupt("tree keys out of order")),
    }
}

fn root<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result<Root> {
    Ok(tx.inode(ino)?.root)
}

fn slots<'t, M: Medium>(tx: &'t mut Tx<'_, M>, ino: u64, block: u64) -> Result<Slots<'t>> {
    if block == ROOT {
        Ok(tx.inode_mut(ino)?.root.slots())
    } else {
        Ok(tx.node_mut(block, ino)?.slots())
    }
}

/// Adds an entry, whose key must be new.
pub(super) fn insert<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, entry: Entry) -> Result {
    let mut at = ROOT;
    let mut level = root(tx, ino)?.level;
    // Every node on the way down is made to have room before it is entered. A turn either goes down
    // a level, splits a child, or deepens the tree, so a few per level are enough.
    for _ in 0..4 * usize::from(MAX_LEVEL) {
        let node = slots(tx, ino, at)?;
        let rank = node.rank(entry.key);
        if at == ROOT && level == 0 && node.is_full() {
            level = deepen(tx, ino)?;
            continue;
        }
        if level == 0 {
            if rank > 0 && node.get(rank - 1)?.key == entry.key {
                return Err(Error::Exists);
            }
            return slots(tx, ino, at)?.insert(rank, entry);
        }
        let full = node.is_full();
        let index = rank.saturating_sub(1);
        let child = node.get(index)?;
        tx.node(child.value, ino, level - 1)?;
        if slots(tx, ino, child.value)?.is_full() {
            if full {
                level = deepen(tx, ino)?;
                at = ROOT;
            } else {
                split(tx, ino, (at, index), child.value, entry.key)?;
            }
            continue;
        }
        if rank == 0 {
            let child = Entry {
                key: entry.key,
                ..child
            };
            slots(tx, ino, at)?.set(index, child)?;
        }
        at = child.value;
        level -= 1;
    }
    Err(Error::Corrupt("tree does not end"))
}

/// Moves the entries of the root into a new node under it and returns the root's new level.
fn deepen<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result<u8> {
    let old = root(tx, ino)?;
    if old.level >= MAX_LEVEL {
        return Err(Error::NoSpace);
    }
    let first = old.entries[0].get();
    let block = tx.alloc_for(ino, first.value)?;
    let node = tx.place::<Node>(block)?;
    node.head.owner.set(ino);
    node.head.level = old.level;
    node.head.count = old.count;
    for (to, from) in node.entries.iter_mut().zip(&old.entries) {
        *to = *from;
    }
    let root = &mut tx.inode_mut(ino)?.root;
    root.level = old.level + 1;
    root.slots().set_len(1);
    root.slots().set(
        0,
        Entry {
            key: first.key,
            value: block,
            len: 0,
            flags: 0,
        },
    )?;
    Ok(old.level + 1)
}

/// Splits node `child`, entry `at.1` of `at.0`, for an insertion of `key`.
fn split<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    at: (u64, usize),
    child: u64,
    key: u64,
) -> Result {
    let right = tx.alloc_for(ino, child)?;
    tx.duplicate::<Node>(child, right)?;
    let mut left = slots(tx, ino, child)?;
    let len = left.len();
    // What grows at its end leaves full nodes behind.
    let keep = if left.rank(key) == len {
        len - 1
    } else {
        len / 2
    };
    left.set_len(keep);
    let mut node = slots(tx, ino, right)?;
    node.keep_from(keep);
    let separator = Entry {
        key: node.get(0)?.key,
        value: right,
        len: 0,
        flags: 0,
    };
    slots(tx, ino, at.0)?.insert(at.1 + 1, separator)
}

/// The way to an entry that must exist, and its index in the leaf.
fn locate_exact<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, key: u64) -> Result<(Path, usize)> {
    let root = root(tx, ino)?;
    let path = locate(tx, ino, &root, key)?;
    let leaf = path.step(path.depth);
    let index = leaf.index.checked_sub(1).ok_or(Error::NoEntry)?;
    if entry_at(tx, &root, leaf.block, index)?.key != key {
        return Err(Error::NoEntry);
    }
    Ok((path, index))
}

/// Tells the nodes above step `depth` that the lowest key there is now `key`.
fn set_lowest<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    path: &Path,
    depth: usize,
    key: u64,
) -> Result {
    for depth in (0..depth).rev() {
        let step = path.step(depth);
        let mut node = slots(tx, ino, step.block)?;
        let entry = node.get(step.index)?;
        node.set(step.index, Entry { key, ..entry })?;
        if step.index > 0 {
            break;
        }
    }
    Ok(())
}

/// Replaces the entry at `key` by one that has the same neighbours.
pub(super) fn change<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, key: u64, entry: Entry) -> Result {
    let (path, index) = locate_exact(tx, ino, key)?;
    slots(tx, ino, path.step(path.depth).block)?.set(index, entry)?;
    if index == 0 && entry.key != key {
        set_lowest(tx, ino, &path, path.depth, entry.key)?;
    }
    Ok(())
}

/// Removes the entry at `key`.
pub(super) fn remove<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, key: u64) -> Result {
    let (path, mut index) = locate_exact(tx, ino, key)?;
    for depth in (0..=path.depth).rev() {
        let block = path.step(depth).block;
        let mut node = slots(tx, ino, block)?;
        node.remove(index)?;
        if node.len() > 0 {
            if index == 0 {
                let lowest = node.get(0)?.key;
                set_lowest(tx, ino, &path, depth, lowest)?;
            }
            break;
        }
        if block == ROOT {
            tx.inode_mut(ino)?.root.level = 0;
        } else {
            tx.free_for(ino, block)?;
            index = path.step(depth.saturating_sub(1)).index;
        }
    }
    collapse(tx, ino)
}

/// Takes a single small child back into the root.
fn collapse<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result {
    for _ in 0..MAX_LEVEL {
        let old = root(tx, ino)?;
        if old.level == 0 || old.count.get() != 1 {
            break;
        }
        let child = old.entries[0].get().value;
        let count = tx.node(child, ino, old.level - 1)?;
        if count > COLLAPSE {
            break;
        }
        let mut new = Root::new_zeroed();
        new.level = old.level - 1;
        for index in 0..count {
            let entry = tx.node_entry(child, index)?;
            new.slots().insert(index, entry)?;
        }
        tx.inode_mut(ino)?.root = new;
        tx.free_for(ino, child)?;
    }
    Ok(())
}
