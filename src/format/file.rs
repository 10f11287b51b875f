// SPDX-License-Identifier: GPL-2.0

//! Regular files: which block of the device holds which block of the file.
//!
//! To give a file blocks: [`reserve`], store zeroes or data into the extent and flush it
//! ([`Tx::zero_blocks`], or the caller's own stores and [`Tx::blocks_stored`]), [`insert`], commit.
//! So no crash shows what the blocks held before.
//!
//! Locks: the inode lock of the file, shared for [`map`], exclusive for the rest.

use core::cmp;

use super::{
    inode::S_IFREG,
    space::{
        Request,
        Run, //
    },
    tree::{
        self,
        Entry, //
    },
    volume::Reader,
    Error,
    Geometry,
    Inode,
    Medium,
    Result,
    Tx,
    Volume,
    BLOCK_SHIFT,
    GROUP_BLOCKS, //
};

/// Blocks in the largest file: sizes are signed 64-bit numbers of bytes.
pub const MAX_BLOCKS: u64 = 1 << (63 - BLOCK_SHIFT);

/// [`Entry::flags`]: the blocks are allocated and read as zeroes.
const UNWRITTEN: u32 = 1 << 0;

/// Extents that one call of [`remove`] or [`mark_written`] goes over.
const BATCH: usize = 24;

/// A part of a file that is contiguous on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block of the file.
    pub lblock: u64,
    /// First block of the device.
    pub block: u64,
    /// Blocks.
    pub len: u64,
    /// Whether it reads as zeroes whatever the blocks hold.
    pub unwritten: bool,
}

/// What is at a file block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// From this block on, to the end of the extent.
    Extent(Extent),
    /// Nothing, for so many blocks; up to [`MAX_BLOCKS`] if nothing follows.
    Hole {
        /// Blocks.
        len: u64,
    },
}

/// How far an operation has come that is cut into transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is complete.
    Done,
    /// It goes on at this file block, in another transaction.
    More(u64),
}

impl Extent {
    pub(super) fn from_entry(entry: Entry, geometry: &Geometry) -> Result<Self> {
        let len = u64::from(entry.len);
        let ends = entry
            .key
            .checked_add(len)
            .is_some_and(|end| end <= MAX_BLOCKS);
        if len == 0 || !ends || !geometry.in_data(entry.value, len) {
            return Err(Error::Corrupt("extent outside the file system"));
        }
        Ok(Extent {
            lblock: entry.key,
            block: entry.value,
            len,
            unwritten: entry.flags & UNWRITTEN != 0,
        })
    }

    fn entry(&self) -> Result<Entry> {
        Ok(Entry {
            key: self.lblock,
            value: self.block,
            len: u32::try_from(self.len).map_err(|_| Error::Overflow)?,
            flags: if self.unwritten { UNWRITTEN } else { 0 },
        })
    }

    /// The first file block behind it.
    pub fn end(&self) -> u64 {
        self.lblock + self.len
    }

    /// The part that lies in `from..to`, which it must touch.
    fn clip(&self, from: u64, to: u64) -> Self {
        let start = cmp::max(self.lblock, from);
        Extent {
            lblock: start,
            block: self.block + (start - self.lblock),
            len: cmp::min(self.end(), to) - start,
            unwritten: self.unwritten,
        }
    }

    /// Both as one, if `next` continues this one in file and device.
    fn join(&self, next: &Extent) -> Option<Self> {
        let joined = Extent {
            len: self.len + next.len,
            ..*self
        };
        let continues = self.end() == next.lblock
            && self.block + self.len == next.block
            && self.unwritten == next.unwritten
            && joined.len <= u64::from(u32::MAX);
        continues.then_some(joined)
    }
}

fn check(from: u64, to: u64) -> Result {
    if from >= to {
        return Err(Error::Invalid);
    }
    if to > MAX_BLOCKS {
        return Err(Error::Overflow);
    }
    Ok(())
}

fn check_file(inode: &Inode) -> Result {
    match inode.kind() {
        S_IFREG => Ok(()),
        _ => Err(Error::Invalid),
    }
}

fn map_in<R: Reader>(r: &mut R, inode: &Inode, lblock: u64) -> Result<Mapping> {
    check_file(inode)?;
    if lblock >= MAX_BLOCKS {
        return Err(Error::Overflow);
    }
    let (entry, above) = tree::floor(r, inode.ino(), &inode.root, lblock)?;
    if let Some(entry) = entry {
        let extent = Extent::from_entry(entry, r.geometry())?;
        if lblock < extent.end() {
            return Ok(Mapping::Extent(extent.clip(lblock, u64::MAX)));
        }
    }
    let end = cmp::min(above.unwrap_or(MAX_BLOCKS), MAX_BLOCKS);
    Ok(Mapping::Hole { len: end - lblock })
}

/// What is at block `lblock` of the file.
///
/// # Errors
/// [`Error::Overflow`] past [`MAX_BLOCKS`], [`Error::Invalid`] if this is no regular file.
pub fn map<M: Medium>(volume: &Volume<M>, inode: &Inode, lblock: u64) -> Result<Mapping> {
    map_in(&mut &*volume, inode, lblock)
}

/// The same as [`map`], with the transaction's own changes.
pub fn map_tx<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, lblock: u64) -> Result<Mapping> {
    let inode = tx.inode(ino)?.clone();
    map_in(tx, &inode, lblock)
}

/// The extent at `key` or before it, and the one behind `key`.
fn neighbours<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    key: u64,
) -> Result<(Option<Extent>, Option<Extent>)> {
    let root = tx.inode(ino)?.root;
    let geometry = *tx.geometry();
    let (left, above) = tree::floor(tx, ino, &root, key)?;
    let left = left.map(|e| Extent::from_entry(e, &geometry)).transpose()?;
    let right = match above {
        Some(above) => tree::ceiling(tx, ino, &root, above)?,
        None => None,
    };
    let right = right
        .map(|e| Extent::from_entry(e, &geometry))
        .transpose()?;
    Ok((left, right))
}

/// Allocates blocks for a hole of the file that begins at or before `lblock`: at most `len`, at
/// most to the end of the hole, and as many as are contiguous. They are not part of the file yet.
///
/// # Errors
/// [`Error::Exists`] if there is no hole at `lblock`, [`Error::NoSpace`].
pub fn reserve<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, lblock: u64, len: u64) -> Result<Extent> {
    check(lblock, lblock.checked_add(len).ok_or(Error::Overflow)?)?;
    check_file(tx.inode(ino)?)?;
    let (left, right) = neighbours(tx, ino, lblock)?;
    if left.is_some_and(|left| lblock < left.end()) {
        return Err(Error::Exists);
    }
    let hole = right.map_or(MAX_BLOCKS, |right| right.lblock) - lblock;
    let run = tx.alloc_blocks(Request {
        // Where the block would be if the extent before went on.
        goal: left.and_then(|left| left.block.checked_add(lblock - left.lblock)),
        min: 1,
        max: cmp::min(cmp::min(len, hole), u64::from(u32::MAX)),
        // A file that has outgrown a huge page gets its blocks where huge pages can map them.
        aligned: lblock > 0 && lblock % GROUP_BLOCKS == 0,
    })?;
    Ok(Extent {
        lblock,
        block: run.start,
        len: run.len,
        unwritten: false,
    })
}

/// Makes an extent from [`reserve`] part of the file. It may be marked unwritten, or be cut into
/// parts that are inserted one by one, as long as all of it is.
///
/// # Errors
/// [`Error::Exists`] if the file has blocks there.
pub fn insert<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, extent: Extent) -> Result {
    check_file(tx.inode(ino)?)?;
    link(tx, ino, extent)?;
    tx.inode_mut(ino)?.add_blocks(extent.len as i64)
}

/// Inserts an extent and joins it with its neighbours.
fn link<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, extent: Extent) -> Result {
    let end = extent.lblock.checked_add(extent.len);
    check(extent.lblock, end.ok_or(Error::Overflow)?)?;
    let (left, right) = neighbours(tx, ino, extent.lblock)?;
    if left.is_some_and(|left| extent.lblock < left.end())
        || right.is_some_and(|right| right.lblock < extent.end())
    {
        return Err(Error::Exists);
    }
    let with_left = left.and_then(|left| left.join(&extent));
    let joined = with_left.unwrap_or(extent);
    let with_right = right.and_then(|right| joined.join(&right));
    match (left.filter(|_| with_left.is_some()), right, with_right) {
        (Some(left), Some(right), Some(all)) => {
            tree::remove(tx, ino, right.lblock)?;
            tree::change(tx, ino, left.lblock, all.entry()?)
        }
        (Some(left), ..) => tree::change(tx, ino, left.lblock, joined.entry()?),
        (None, Some(right), Some(all)) => tree::change(tx, ino, right.lblock, all.entry()?),
        _ => tree::insert(tx, ino, extent.entry()?),
    }
}

/// Takes `from..to` out of `extent`, of which it is a part.
fn cut<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, extent: Extent, from: u64, to: u64) -> Result {
    let head = (extent.lblock < from).then(|| extent.clip(0, from));
    let tail = (to < extent.end()).then(|| extent.clip(to, u64::MAX));
    match (head, tail) {
        (None, None) => tree::remove(tx, ino, extent.lblock),
        (Some(rest), None) | (None, Some(rest)) => {
            tree::change(tx, ino, extent.lblock, rest.entry()?)
        }
        (Some(head), Some(tail)) => {
            tree::change(tx, ino, extent.lblock, head.entry()?)?;
            tree::insert(tx, ino, tail.entry()?)
        }
    }
}

/// Calls `f` with the parts of extents in `from..to`, a batch of them.
fn for_parts<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    (from, to): (u64, u64),
    mut f: impl FnMut(&mut Tx<'_, M>, Extent, Extent) -> Result,
) -> Result<Progress> {
    let mut at = from;
    for _ in 0..BATCH {
        let (left, right) = neighbours(tx, ino, at)?;
        let extent = left.filter(|left| at < left.end()).or(right);
        let Some(extent) = extent.filter(|extent| extent.lblock < to) else {
            return Ok(Progress::Done);
        };
        let part = extent.clip(at, to);
        f(tx, extent, part)?;
        at = part.end();
        if at >= to {
            return Ok(Progress::Done);
        }
    }
    Ok(Progress::More(at))
}

/// Removes `from..to` (file blocks) from the file and frees what was there, a bounded part of it
/// per transaction. Nobody may use the blocks any more, and nobody may map them meanwhile.
///
/// # Errors
/// [`Error::NoSpace`] if an extent must be cut in two and there is no block for the tree.
pub fn remove<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, from: u64, to: u64) -> Result<Progress> {
    check_file(tx.inode(ino)?)?;
    check(from, to)?;
    for_parts(tx, ino, (from, to), |tx, extent, part| {
        cut(tx, ino, extent, part.lblock, part.end())?;
        tx.free_blocks(Run {
            start: part.block,
            len: part.len,
        })?;
        tx.inode_mut(ino)?.add_blocks(-(part.len as i64))
    })
}

/// Makes the unwritten parts of `from..to` (file blocks) written ones. Their contents must be
/// stored and flushed before ([`Tx::blocks_stored`]). Holes stay.
pub fn mark_written<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    from: u64,
    to: u64,
) -> Result<Progress> {
    check_file(tx.inode(ino)?)?;
    check(from, to)?;
    for_parts(tx, ino, (from, to), |tx, extent, part| {
        if !part.unwritten {
            return Ok(());
        }
        cut(tx, ino, extent, part.lblock, part.end())?;
        let written = Extent {
            unwritten: false,
            ..part
        };
        link(tx, ino, written)
    })
}
