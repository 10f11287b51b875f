// SPDX-License-Identifier: GPL-2.0

//! The B+tree of an inode, whose root is in the inode.
//!
//! Nodes ([`node`](crate::ondisk::node)) are split when they are full. Leaves are also split when
//! an insertion would move many entries. Empty nodes are freed. A single child that fits is moved
//! back into the inode.
//!
//! As keys in a node are relative, all keys from one on can be moved by changing the nodes on one
//! path, however many keys there are ([`shift`]). This is how a range is collapsed out of a file or
//! inserted into one.
//!
//! The depth of a descent is bounded by [`MAX_LEVEL`]: each step must find a node one level lower.

use core::{
    cmp,
    ops::Range, //
};

use zerocopy::{
    little_endian::{
        U16,
        U64, //
    },
    FromZeros, //
};

use super::{
    journal::LINE,
    run::mask,
    tx::Need,
    volume::Reader,
    Medium,
    Tx,
    Volume, //
};
use crate::ondisk::{
    node::{
        lower,
        raise,
        Entry,
        Found,
        Live,
        Node,
        NodeHead,
        RawEntry,
        Root,
        BAD_KEY,
        FANOUT,
        INLINE,
        MAX_LEVEL, //
    },
    offset_of,
    Error,
    Result, //
};

/// Entries of a leaf that is split before it is full, if an insertion would move more than [`MOVE`]
/// of them: all moved entries are logged, and stored in their places.
const CROWDED: usize = 48;

/// Entries that an insertion moves without splitting the leaf.
const MOVE: usize = 16;

/// A node with so many entries left is merged with a neighbour.
const SPARSE: usize = 12;

/// Entries of a merged node, at most: it has room for more before it is split.
const MERGED: usize = 40;

/// A single child of at most so many entries is moved back into the root. This is less than the
/// entries that overflow a root, so a file at the limit does not alternate.
const COLLAPSE: usize = 2;

/// Stands for the root, which has no block.
const ROOT: u64 = 0;

impl Root {
    pub(crate) fn slots(&mut self) -> Slots<'_> {
        Slots {
            count: &mut self.count,
            raw: &mut self.entries,
            lines: None,
        }
    }
}

impl Node {
    pub(crate) fn slots(&mut self) -> Slots<'_> {
        Slots {
            count: &mut self.head.count,
            raw: &mut self.entries,
            lines: None,
        }
    }

    /// Returns the entries, to be changed. Notes the changed lines in `lines`.
    fn noted_slots<'a>(&'a mut self, lines: &'a mut U64) -> Slots<'a> {
        Slots {
            lines: Some(lines),
            ..self.slots()
        }
    }
}

impl<'a> Live<'a> {
    /// Returns whether so many entries would move for a new `key` that a leaf is better split. An
    /// insertion at the end never moves any.
    fn is_crowded(&self, key: i64) -> bool {
        let len = self.0.len();
        len >= CROWDED && len - self.rank(key) > MOVE
    }
}

/// The entries of a root or a node, for changes.
pub(crate) struct Slots<'a> {
    count: &'a mut U16,
    raw: &'a mut [RawEntry],
    /// The lines of a node that change. The first line changes in any case.
    lines: Option<&'a mut U64>,
}

impl Slots<'_> {
    fn live(&self) -> Live<'_> {
        Live::new(self.count.get().into(), self.raw)
    }

    fn len(&self) -> usize {
        self.live().0.len()
    }

    fn set_len(&mut self, len: usize) {
        self.count.set(len as u16);
    }

    fn get(&self, index: usize) -> Result<Entry> {
        self.live().get(index)
    }

    /// Notes a change of entries.
    fn touch(&mut self, entries: Range<usize>) {
        let Some(lines) = self.lines.as_mut() else {
            return;
        };
        let byte = |index: usize| size_of::<NodeHead>() + index * size_of::<RawEntry>();
        let first = byte(entries.start) / LINE;
        let end = byte(entries.end).div_ceil(LINE);
        lines.set(lines.get() | mask(0, first as u64..end as u64));
    }

    fn set(&mut self, index: usize, entry: Entry) -> Result {
        self.touch(index..index + 1);
        let len = self.len();
        let slot = self.raw.get_mut(..len).and_then(|live| live.get_mut(index));
        *slot.ok_or(Error::Corrupt("tree entry out of range"))? = entry.into();
        Ok(())
    }

    pub(crate) fn insert(&mut self, index: usize, entry: Entry) -> Result {
        let len = self.len();
        if index > len || len == self.raw.len() {
            return Err(Error::Corrupt("tree entry out of range"));
        }
        self.touch(index..len + 1);
        self.raw.copy_within(index..len, index + 1);
        self.set_len(len + 1);
        self.set(index, entry)
    }

    fn remove(&mut self, index: usize) -> Result {
        let len = self.len();
        if index >= len {
            return Err(Error::Corrupt("tree entry out of range"));
        }
        self.touch(index..len);
        self.raw.copy_within(index + 1..len, index);
        self.set_len(len - 1);
        Ok(())
    }

    /// Drops the entries before `index`.
    fn keep_from(&mut self, index: usize) {
        let len = self.len();
        let index = cmp::min(index, len);
        self.touch(0..len);
        self.raw.copy_within(index..len, 0);
        self.set_len(len - index);
    }

    /// Returns the index of `key`, which is relative to this node.
    fn find(&self, key: u64) -> Result<usize> {
        let index = self.live().rank(key as i64).checked_sub(1);
        let index = index.ok_or(Error::NoEntry)?;
        if self.get(index)?.key != key {
            return Err(Error::NoEntry);
        }
        Ok(index)
    }

    /// Moves all keys from entry `index` on, along with all keys of their subtrees.
    fn shift_from(&mut self, index: usize, delta: i64, inner: bool) -> Result {
        for index in index..self.len() {
            let entry = self.get(index)?;
            let key = raise(entry.key, delta)?;
            let moved = if inner {
                let shift = entry.shift().checked_add(delta).ok_or(BAD_KEY)?;
                Entry::inner(key, entry.value, shift)
            } else {
                Entry { key, ..entry }
            };
            self.set(index, moved)?;
        }
        Ok(())
    }
}

/// One node on the path to a key.
#[derive(Clone, Copy, Default)]
struct Step {
    /// [`ROOT`] or the node's block.
    block: u64,
    /// In an inner node, the entry that was followed; in a leaf, the number of keys that are not
    /// above the wanted one.
    index: usize,
    /// Difference of the keys in the root and in this node.
    shift: i64,
}

/// The path to a key.
#[derive(Default)]
struct Path {
    steps: [Step; MAX_LEVEL as usize + 1],
    /// Level of the root, and index of the leaf's step.
    depth: usize,
}

impl Path {
    fn step(&self, depth: usize) -> Step {
        self.steps.get(depth).copied().unwrap_or_default()
    }
}

/// Searches the node in `block`, which has `count` entries, for `key` on the medium.
pub(super) fn search_in_place<M: Medium>(
    volume: &Volume<M>,
    (block, count): (u64, usize),
    key: i64,
) -> Result<Found> {
    let base = offset_of(block) + size_of::<NodeHead>() as u64;
    let at = |index: usize| base + (index * size_of::<RawEntry>()) as u64;
    let (mut rank, mut end) = (0, count);
    while rank < end {
        let middle = rank + (end - rank) / 2;
        if volume.word(at(middle))? as i64 <= key {
            rank = middle + 1;
        } else {
            end = middle;
        }
    }
    let raw: RawEntry = volume.plain(at(rank.saturating_sub(1)))?;
    let above = (rank < count).then(|| volume.word(at(rank)));
    Ok(Found {
        rank,
        entry: Some(raw.get()),
        above: above.transpose()?,
    })
}

/// Descends to `key` and calls `visit` with the depth of each step and the step. Returns the entry
/// with the greatest key not above `key`, and the lowest key above.
fn descend<R: Reader>(
    r: &mut R,
    owner: u64,
    root: &Root,
    key: u64,
    mut visit: impl FnMut(usize, Step),
) -> Result<(Option<Entry>, Option<u64>)> {
    let depth = usize::from(root.level);
    let mut above = None;
    let mut block = ROOT;
    let mut shift = 0;
    let mut found = root.live().search(key as i64);
    // The level of a root was checked when it was read.
    for at in 0..=depth {
        let Found { rank, entry, .. } = found;
        if let Some(key) = found.above {
            above = Some(raise(key, shift)?);
        }
        let last = at == depth;
        let index = if last { rank } else { rank.saturating_sub(1) };
        visit(
            at,
            Step {
                block,
                index,
                shift,
            },
        );
        if last {
            let entry = entry.filter(|_| rank > 0);
            return Ok((entry.map(|entry| entry.raised(shift)).transpose()?, above));
        }
        let entry = entry.ok_or(Error::Corrupt("tree entry out of range"))?;
        block = entry.value;
        shift = shift.checked_add(entry.shift()).ok_or(BAD_KEY)?;
        let beneath = (depth - at - 1) as u8;
        found = r.node_search(block, owner, beneath, lower(key, shift)?)?;
    }
    Err(Error::Corrupt("tree does not end"))
}

/// Returns the path to `key`, and the entry with the greatest key not above it.
fn locate<R: Reader>(
    r: &mut R,
    owner: u64,
    root: &Root,
    key: u64,
) -> Result<(Path, Option<Entry>)> {
    let mut path = Path {
        depth: usize::from(root.level),
        ..Path::default()
    };
    let (entry, _) = descend(r, owner, root, key, |depth, step| {
        if let Some(slot) = path.steps.get_mut(depth) {
            *slot = step;
        }
    })?;
    Ok((path, entry))
}

/// Returns the entry with the greatest key not above `key`, and the lowest key above `key`.
pub(super) fn floor<R: Reader>(
    r: &mut R,
    owner: u64,
    root: &Root,
    key: u64,
) -> Result<(Option<Entry>, Option<u64>)> {
    // Most trees have no nodes.
    if let Some(found) = root.floor(key) {
        return Ok(found);
    }
    descend(r, owner, root, key, |_, _| {})
}

/// Does the same as [`floor`] in the tree of inode `ino`, as the transaction sees it.
pub(super) fn floor_tx<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    key: u64,
) -> Result<(Option<Entry>, Option<u64>)> {
    let root = &tx.inode(ino)?.root;
    if let Some(found) = root.floor(key) {
        return Ok(found);
    }
    // Only copy the root if it is needed: it is not small.
    let root = *root;
    floor(tx, ino, &root, key)
}

/// Returns the entry with the lowest key not below `key` in the tree of inode `ino`, as the
/// transaction sees it.
pub(super) fn ceiling<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, key: u64) -> Result<Option<Entry>> {
    let (entry, above) = floor_tx(tx, ino, key)?;
    if entry.is_some_and(|entry| entry.key == key) {
        return Ok(entry);
    }
    let Some(above) = above else {
        return Ok(None);
    };
    match floor_tx(tx, ino, above)? {
        (Some(entry), _) if entry.key == above => Ok(Some(entry)),
        _ => Err(Error::Corrupt("tree keys out of order")),
    }
}

fn root<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result<Root> {
    Ok(tx.inode(ino)?.root)
}

fn live<'t, M: Medium>(tx: &'t mut Tx<'_, M>, ino: u64, block: u64) -> Result<Live<'t>> {
    if block == ROOT {
        Ok(tx.inode(ino)?.root.live())
    } else {
        Ok(tx.node_peek(block, ino)?.live())
    }
}

fn slots<'t, M: Medium>(tx: &'t mut Tx<'_, M>, ino: u64, block: u64) -> Result<Slots<'t>> {
    if block == ROOT {
        Ok(tx.inode_mut(ino)?.root.slots())
    } else {
        let (node, lines) = tx.node_edit(block, ino)?;
        Ok(node.noted_slots(lines))
    }
}

/// Returns the need of looking up keys on `paths` paths in a tree with a root at `level`, and of
/// inserting `inserted` entries or removing one.
///
/// An insertion splits a node on each level, twice more where leaves are crowded, and deepens the
/// tree. A removal frees a node on each level, or reads its neighbour, and moves single children
/// back into the root.
pub(super) fn need(level: u8, paths: usize, inserted: usize) -> Need {
    let levels = usize::from(level);
    let grown = inserted * (levels + 3);
    let shrunk = 2 * levels;
    Need {
        blocks: paths * levels + cmp::max(grown, shrunk),
        changes: cmp::max(grown, shrunk),
    }
}

/// Adds an entry, whose key must be new.
pub(super) fn insert<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, entry: Entry) -> Result {
    let mut at = ROOT;
    let mut shift = 0;
    let mut level = tx.inode(ino)?.root.level;
    // A transaction that is half full only splits leaves that are full.
    let mut thrifty = tx.is_half_full();
    // Each node on the path gets room before the descent enters it. An iteration descends a level,
    // splits a child, deepens the tree, or finds that there is no block for a split. So a few per
    // level are enough.
    for _ in 0..4 * usize::from(MAX_LEVEL) {
        let node = live(tx, ino, at)?;
        let new = entry.lowered(shift)?;
        let rank = node.rank(new.key as i64);
        let full = node.0.len() == if at == ROOT { INLINE } else { FANOUT };
        if at == ROOT && level == 0 && full {
            level = deepen(tx, ino)?;
            continue;
        }
        if level == 0 {
            if rank > 0 && node.get(rank - 1)?.key == new.key {
                return Err(Error::Exists);
            }
            return slots(tx, ino, at)?.insert(rank, new);
        }
        let index = rank.saturating_sub(1);
        let child = node.get(index)?;
        let beneath = lower(new.key, child.shift())?;
        tx.node(child.value, ino, level - 1)?;
        let node = live(tx, ino, child.value)?;
        let child_full = node.0.len() == FANOUT;
        let crowded = level == 1 && !thrifty && (!full || at == ROOT) && node.is_crowded(beneath);
        if child_full || crowded {
            let room = if full {
                deepen(tx, ino).map(|deeper| {
                    level = deeper;
                    at = ROOT;
                    shift = 0;
                })
            } else {
                split(tx, ino, (at, index), child, new.key)
            };
            match room {
                // There is no block for a split: move the entries instead.
                Err(Error::NoSpace) if !child_full => thrifty = true,
                room => room?,
            }
            continue;
        }
        if rank == 0 {
            let child = Entry {
                key: new.key,
                ..child
            };
            slots(tx, ino, at)?.set(index, child)?;
        }
        at = child.value;
        shift = shift.checked_add(child.shift()).ok_or(BAD_KEY)?;
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
    let block = tx.alloc_for(ino)?;
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
    root.slots().set(0, Entry::inner(first.key, block, 0))?;
    Ok(old.level + 1)
}

/// Splits node `child`, entry `at.1` of `at.0`, to insert `key`, which is relative to `at.0`.
fn split<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    at: (u64, usize),
    child: Entry,
    key: u64,
) -> Result {
    let shift = child.shift();
    let key = lower(key, shift)?;
    let right = tx.alloc_for(ino)?;
    tx.duplicate::<Node>(child.value, right)?;
    let mut left = slots(tx, ino, child.value)?;
    let len = left.len();
    // A tree that grows at its end fills its nodes.
    let keep = if left.live().rank(key) == len {
        len - 1
    } else {
        len / 2
    };
    left.set_len(keep);
    let mut node = slots(tx, ino, right)?;
    node.keep_from(keep);
    let separator = Entry::inner(raise(node.get(0)?.key, shift)?, right, shift);
    slots(tx, ino, at.0)?.insert(at.1 + 1, separator)
}

/// Returns the path to an entry that must exist, and its index in the leaf.
fn locate_exact<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, key: u64) -> Result<(Path, usize)> {
    let root = root(tx, ino)?;
    let (path, entry) = locate(tx, ino, &root, key)?;
    let index = path.step(path.depth).index.checked_sub(1);
    match (entry, index) {
        (Some(entry), Some(index)) if entry.key == key => Ok((path, index)),
        _ => Err(Error::NoEntry),
    }
}

/// Sets the lowest key of step `depth` in the nodes above to `key`.
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
        let lowest = Entry { key, ..entry }.lowered(step.shift)?;
        node.set(step.index, lowest)?;
        if step.index > 0 {
            break;
        }
    }
    Ok(())
}

/// Replaces the entry at `key` by one with the same neighbours.
pub(super) fn change<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, key: u64, entry: Entry) -> Result {
    if tx.inode(ino)?.root.level == 0 {
        let mut root = slots(tx, ino, ROOT)?;
        let index = root.find(key)?;
        return root.set(index, entry);
    }
    let (path, index) = locate_exact(tx, ino, key)?;
    let leaf = path.step(path.depth);
    slots(tx, ino, leaf.block)?.set(index, entry.lowered(leaf.shift)?)?;
    if index == 0 && entry.key != key {
        set_lowest(tx, ino, &path, path.depth, entry.key)?;
    }
    Ok(())
}

/// Removes the entry at `key`.
pub(super) fn remove<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, key: u64) -> Result {
    if tx.inode(ino)?.root.level == 0 {
        let mut root = slots(tx, ino, ROOT)?;
        let index = root.find(key)?;
        return root.remove(index);
    }
    let (path, mut index) = locate_exact(tx, ino, key)?;
    for depth in (0..=path.depth).rev() {
        let Step { block, shift, .. } = path.step(depth);
        let mut node = slots(tx, ino, block)?;
        node.remove(index)?;
        let left = node.len();
        if left > 0 {
            if index == 0 {
                let lowest = node.get(0)?.raised(shift)?.key;
                set_lowest(tx, ino, &path, depth, lowest)?;
            }
            if matches!(left, 1 | SPARSE) {
                merge(tx, ino, &path, depth)?;
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

/// Merges the node of step `depth`, which has lost an entry, with a neighbour if both have few
/// entries. Then merges the nodes above, each of which has lost an entry by that. A node is
/// considered with [`SPARSE`] entries left and again with one, so a full neighbour is not read at
/// each removal.
fn merge<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, path: &Path, depth: usize) -> Result {
    for depth in (1..=depth).rev() {
        let len = live(tx, ino, path.step(depth).block)?.0.len();
        if !matches!(len, 1 | SPARSE) || tx.is_half_full() {
            break;
        }
        let above = path.step(depth - 1);
        let nodes = live(tx, ino, above.block)?;
        let right = cmp::max(above.index, 1);
        if right >= nodes.0.len() {
            break;
        }
        let (left, moved) = (nodes.get(right - 1)?, nodes.get(right)?);
        let level = (path.depth - depth) as u8;
        let count = tx.node(left.value, ino, level)? + tx.node(moved.value, ino, level)?;
        if count > MERGED {
            break;
        }
        // Difference of the relative keys in the two nodes.
        let delta = moved.shift().checked_sub(left.shift()).ok_or(BAD_KEY)?;
        slots(tx, ino, moved.value)?.shift_from(0, delta, level > 0)?;
        let mut entries = [RawEntry::new_zeroed(); MERGED];
        let from = live(tx, ino, moved.value)?.0;
        let len = from.len();
        let entries = entries.get_mut(..len).ok_or(BAD_KEY)?;
        entries.copy_from_slice(from);
        let mut target = slots(tx, ino, left.value)?;
        for entry in entries.iter() {
            let end = target.len();
            target.insert(end, entry.get())?;
        }
        slots(tx, ino, above.block)?.remove(right)?;
        tx.free_for(ino, moved.value)?;
    }
    Ok(())
}

/// Adds `delta` to all keys from `from` on. The order must stay: if `delta` is negative, there is
/// no key from `from + delta` to `from`. Changes a node per level at most.
pub(super) fn shift<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, from: u64, delta: i64) -> Result {
    let root = root(tx, ino)?;
    let path = match from.checked_sub(1) {
        Some(below) => locate(tx, ino, &root, below)?.0,
        None => Path::default(),
    };
    // No key is below: no path separates moved keys from others.
    if path.step(path.depth).index == 0 {
        let inner = root.level > 0;
        return tx.inode_mut(ino)?.root.slots().shift_from(0, delta, inner);
    }
    for depth in 0..=path.depth {
        let step = path.step(depth);
        let inner = depth < path.depth;
        let first = if inner { step.index + 1 } else { step.index };
        slots(tx, ino, step.block)?.shift_from(first, delta, inner)?;
    }
    Ok(())
}

/// Moves the entries of a small single child back into the root.
fn collapse<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result {
    for _ in 0..MAX_LEVEL {
        let old = &tx.inode(ino)?.root;
        if old.level == 0 || old.count.get() != 1 {
            break;
        }
        let old = *old;
        let Entry { value: child, .. } = old.entries[0].get();
        let shift = old.entries[0].get().shift();
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
        let inner = new.level > 0;
        new.slots().shift_from(0, shift, inner)?;
        tx.inode_mut(ino)?.root = new;
        tx.free_for(ino, child)?;
    }
    Ok(())
}
