// SPDX-License-Identifier: GPL-2.0

//! Regular files: the map from blocks of the file to blocks of the device.
//!
//! To give a file blocks: [`alloc_extent`], store zeroes or data into the extent and flush it
//! ([`Tx::zero_blocks`], or the caller's own stores and [`Tx::blocks_stored`]), [`insert`], commit.
//! In this order no crash exposes the old contents of the blocks.
//!
//! Locks: the inode lock of the file, shared for [`map`], exclusive for the rest.

use core::{
    cmp,
    ops::DerefMut, //
};

use super::{
    bitmap,
    orphan,
    run::BlockRun,
    space::{
        Claim,
        Request, //
    },
    tree,
    tx::Need,
    volume::Reader,
    Medium,
    Space,
    Tx,
    Volume, //
};
use crate::ondisk::{
    extent::{
        Extent,
        MAX_BLOCKS, //
    },
    inode::S_IFREG,
    node::{
        Entry,
        MAX_LEVEL, //
    },
    Error,
    Geometry,
    Inode,
    Result,
    BLOCK_SHIFT,
    GROUP_BLOCKS, //
};

/// A first extent of at least so many blocks is taken for the start of a huge file.
const LARGE: u64 = 256;

/// Extents that one call of [`remove`], [`mark_written`] or [`mark_unwritten`] handles, even if the
/// transaction has room for more: other tasks wait for it.
const BATCH: usize = 24;

/// Returns the need of removing a part of an extent from a tree with a root at `level`: the paths
/// to it and to the extent after it, another entry if it is cut in two, or the removal, and the run
/// of blocks.
fn removal(level: u8) -> Need {
    let tree = tree::need(level, 2, 1);
    Need {
        changes: tree.changes + 1,
        ..tree
    }
}

/// Returns the need of making a part of an extent written: the paths to it and to both its
/// neighbours, and two entries more, or one or two fewer.
fn conversion(level: u8) -> Need {
    let tree = tree::need(level, 4, 2);
    Need {
        changes: tree.changes + usize::from(level),
        ..tree
    }
}

/// Returns the need of moving the extents after a range that has been emptied.
fn closing(level: u8) -> Need {
    tree::need(level, 3, 0)
}

/// The mapping of a file block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// The extent, from this block on.
    Extent(Extent),
    /// A hole of so many blocks; up to [`MAX_BLOCKS`] if no extent follows.
    Hole {
        /// Blocks.
        len: u64,
    },
}

/// How far an operation that takes several transactions has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The operation is complete.
    Done,
    /// The operation continues at this file block, in another transaction.
    More(u64),
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

fn check_block(lblock: u64) -> Result {
    if lblock < MAX_BLOCKS {
        Ok(())
    } else {
        Err(Error::Overflow)
    }
}

fn check_file(inode: &Inode) -> Result {
    match inode.kind() {
        S_IFREG => Ok(()),
        _ => Err(Error::Invalid),
    }
}

/// Returns the mapping at `lblock`, given the tree entry at or before it and the lowest key after
/// it.
fn mapping(
    (entry, above): (Option<Entry>, Option<u64>),
    geometry: &Geometry,
    lblock: u64,
) -> Result<Mapping> {
    if let Some(entry) = entry {
        let extent = Extent::from_entry(entry, geometry)?;
        if above.is_some_and(|above| above < extent.end()) {
            return Err(Error::Corrupt("extents of a file overlap"));
        }
        if lblock < extent.end() {
            return Ok(Mapping::Extent(extent.clip(lblock, u64::MAX)));
        }
    }
    let end = cmp::min(above.unwrap_or(MAX_BLOCKS), MAX_BLOCKS);
    Ok(Mapping::Hole { len: end - lblock })
}

/// Returns the mapping of block `lblock` of the file.
///
/// # Errors
/// [`Error::Overflow`] past [`MAX_BLOCKS`], [`Error::Invalid`] if this is no regular file.
pub fn map<M: Medium>(volume: &Volume<M>, inode: &Inode, lblock: u64) -> Result<Mapping> {
    check_file(inode)?;
    check_block(lblock)?;
    let found = tree::floor(&mut &*volume, inode.ino(), &inode.root, lblock)?;
    mapping(found, volume.geometry(), lblock)
}

/// Checks, as far as it is possible at once, that the blocks of an extent are data: in use, without
/// inodes, and not metadata that was verified since the mount.
///
/// Locks: the inode lock of the file, shared.
///
/// # Errors
/// [`Error::Corrupt`].
pub fn vet<M: Medium>(volume: &Volume<M>, run: BlockRun) -> Result {
    if !bitmap::all_data(volume, run)? {
        return Err(Error::Corrupt(
            "extent over blocks that are free or hold inodes",
        ));
    }
    if volume.medium().any_verified(run.start, run.len) {
        return Err(Error::Corrupt("extent over metadata"));
    }
    Ok(())
}

/// Does the same as [`map`], with the transaction's own changes.
pub fn map_tx<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, lblock: u64) -> Result<Mapping> {
    check_file(tx.inode(ino)?)?;
    check_block(lblock)?;
    let found = tree::floor_tx(tx, ino, lblock)?;
    mapping(found, tx.geometry(), lblock)
}

/// Returns the extent at or before `key`, and the extent after `key`.
fn neighbours<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    key: u64,
) -> Result<(Option<Extent>, Option<Extent>)> {
    let (left, above) = tree::floor_tx(tx, ino, key)?;
    let right = match above {
        Some(above) => tree::ceiling(tx, ino, above)?,
        None => None,
    };
    let geometry = tx.geometry();
    let extent = |entry: Entry| Extent::from_entry(entry, geometry);
    Ok((
        left.map(extent).transpose()?,
        right.map(extent).transpose()?,
    ))
}

/// Allocates blocks for the hole at `lblock`: at most `len`, at most to the end of the hole, and as
/// many as are contiguous. They are not part of the file yet.
///
/// # Errors
/// [`Error::Exists`] if there is no hole at `lblock`, [`Error::NoSpace`].
pub fn alloc_extent<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    lblock: u64,
    len: u64,
) -> Result<Extent> {
    check(lblock, lblock.checked_add(len).ok_or(Error::Overflow)?)?;
    check_file(tx.inode(ino)?)?;
    let (left, right) = neighbours(tx, ino, lblock)?;
    if left.is_some_and(|left| lblock < left.end()) {
        return Err(Error::Exists);
    }
    let hole = right.map_or(MAX_BLOCKS, |right| right.lblock) - lblock;
    let run = tx.alloc_blocks(request(left, lblock, len, hole))?;
    Ok(Extent {
        lblock,
        block: run.start,
        len: run.len,
        unwritten: false,
    })
}

/// Returns the request for `len` blocks at `lblock` of a file, in a hole of `hole` blocks after
/// `left`.
fn request(left: Option<Extent>, lblock: u64, len: u64, hole: u64) -> Request {
    // The block that would continue the extent before.
    let goal = left.and_then(|left| left.block.checked_add(lblock - left.lblock));
    let in_phase = goal.is_some_and(|goal| goal % GROUP_BLOCKS == lblock % GROUP_BLOCKS);
    // A run that a huge page cannot map ends at the next boundary.
    let most = match lblock % GROUP_BLOCKS {
        0 => u64::from(u32::MAX),
        _ if in_phase => u64::from(u32::MAX),
        within => GROUP_BLOCKS - within,
    };
    Request {
        goal,
        min: 1,
        max: cmp::min(cmp::min(len, hole), most),
        // A file that is larger than a huge page, or starts with a large write, gets its blocks
        // where huge pages can map them.
        aligned: lblock % GROUP_BLOCKS == 0 && (lblock > 0 || len >= LARGE),
    }
}

/// Claims blocks for file block `lblock`, after the last extent of the file: at most `len`, and as
/// many as are contiguous. They are not allocated again, and are still free on the medium. They are
/// for [`append`] or [`Space::give_back`].
///
/// # Errors
/// [`Error::NoSpace`].
pub fn claim_extent<S: DerefMut<Target = [u64]>>(
    space: &mut Space<S>,
    last: Option<Extent>,
    lblock: u64,
    len: u64,
) -> Result<Extent> {
    check(lblock, lblock.checked_add(len).ok_or(Error::Overflow)?)?;
    let run = space.take(request(last, lblock, len, MAX_BLOCKS - lblock))?;
    Ok(Extent {
        lblock,
        block: run.start,
        len: run.len,
        unwritten: false,
    })
}

/// Makes an extent from [`claim_extent`] part of the file. Its contents must have been stored and
/// flushed. If this fails, or the transaction is dropped, the blocks are free.
///
/// # Errors
/// [`Error::Exists`] if the file has blocks there.
pub fn append<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, extent: Extent) -> Result {
    tx.take_over(BlockRun {
        start: extent.block,
        len: extent.len,
    })?;
    tx.blocks_stored();
    insert(tx, ino, extent)
}

/// Makes an extent from [`alloc_extent`] part of the file. It may be marked unwritten. It may also
/// be inserted in parts, one by one, as long as all of it is inserted.
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

/// Removes `from..to` from `extent`, which contains it.
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

/// Calls `f` with the parts of extents in `from..to`: one at least, and as many as the transaction
/// has room for. A call takes at most `need(level)` in a tree with its root at `level`.
fn for_parts<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    (from, to): (u64, u64),
    need: fn(u8) -> Need,
    mut f: impl FnMut(&mut Tx<'_, M>, Extent, Extent) -> Result,
) -> Result<Progress> {
    let mut at = from;
    for done in 0..BATCH {
        // A new transaction has room for one part in any tree, and most often for more.
        if done > 0 && !tx.has_room(need(MAX_LEVEL)) {
            let need = need(tx.inode(ino)?.root.level());
            if !tx.has_room(need) {
                break;
            }
        }
        let before = match cfg!(debug_assertions) {
            true => Some((tx.taken(), need(tx.inode(ino)?.root.level()))),
            false => None,
        };
        let (left, right) = neighbours(tx, ino, at)?;
        let extent = left.filter(|left| at < left.end()).or(right);
        let Some(extent) = extent.filter(|extent| extent.lblock < to) else {
            return Ok(Progress::Done);
        };
        let part = extent.clip(at, to);
        f(tx, extent, part)?;
        debug_assert!(before.is_none_or(|(taken, need)| tx.taken().is_within(taken, need)));
        at = part.end();
        if at >= to {
            return Ok(Progress::Done);
        }
    }
    Ok(Progress::More(at))
}

/// Removes `from..to` (file blocks) from the file and frees its blocks, a bounded part per
/// transaction. The blocks must not be in use, and must not be mapped meanwhile.
///
/// # Errors
/// [`Error::NoSpace`] if an extent must be cut in two and there is no block for the tree, not even
/// in the reserve. The removal of a whole extent, or of its start or end, needs none.
pub fn remove<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, from: u64, to: u64) -> Result<Progress> {
    check_file(tx.inode(ino)?)?;
    check(from, to)?;
    for_parts(tx, ino, (from, to), removal, |tx, extent, part| {
        let claim = tx.claim(Claim::Freeing);
        cut(tx, ino, extent, part.lblock, part.end())?;
        tx.claim(claim);
        tx.free_blocks(BlockRun {
            start: part.block,
            len: part.len,
        })?;
        tx.inode_mut(ino)?.add_blocks(-(part.len as i64))
    })
}

/// Makes the unwritten parts of `from..to` (file blocks) written. Their contents must be stored and
/// flushed before ([`Tx::blocks_stored`]). Holes stay.
///
/// # Errors
/// [`Error::NoSpace`] if the tree must grow and there is no block for it. [`without_growth`]
/// returns a range that needs none.
pub fn mark_written<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    from: u64,
    to: u64,
) -> Result<Progress> {
    convert(tx, ino, (from, to), false)
}

/// Makes the written parts of `from..to` (file blocks) unwritten: they read as zeroes then, and
/// keep their blocks. Holes stay. The blocks must not be mapped meanwhile.
pub fn mark_unwritten<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    from: u64,
    to: u64,
) -> Result<Progress> {
    convert(tx, ino, (from, to), true)
}

fn convert<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    (from, to): (u64, u64),
    unwritten: bool,
) -> Result<Progress> {
    check_file(tx.inode(ino)?)?;
    check(from, to)?;
    for_parts(tx, ino, (from, to), conversion, |tx, extent, part| {
        if part.unwritten == unwritten {
            return Ok(());
        }
        let converted = Extent { unwritten, ..part };
        if part.len == extent.len {
            return convert_whole(tx, ino, converted);
        }
        let claim = tx.claim(Claim::Promised);
        cut(tx, ino, extent, part.lblock, part.end())?;
        link(tx, ino, converted)?;
        tx.claim(claim);
        Ok(())
    })
}

/// Replaces an unwritten extent by `extent`, which is written, or the other way round, and joins it
/// with its neighbours. The tree does not grow.
fn convert_whole<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, extent: Extent) -> Result {
    let (left, right) = beside(&extent, |key| {
        let (entry, _) = tree::floor_tx(tx, ino, key)?;
        let geometry = tx.geometry();
        entry
            .map(|entry| Extent::from_entry(entry, geometry))
            .transpose()
    })?;
    let mut joined = extent;
    if let Some(all) = right.and_then(|right| joined.join(&right)) {
        tree::remove(tx, ino, extent.end())?;
        joined = all;
    }
    match left.and_then(|left| left.join(&joined)) {
        Some(all) => {
            tree::remove(tx, ino, extent.lblock)?;
            tree::change(tx, ino, all.lblock, all.entry()?)
        }
        None => tree::change(tx, ino, extent.lblock, joined.entry()?),
    }
}

/// Returns the extents that end where `extent` begins, and begin where it ends. `floor` returns the
/// extent at or before a key.
fn beside(
    extent: &Extent,
    mut floor: impl FnMut(u64) -> Result<Option<Extent>>,
) -> Result<(Option<Extent>, Option<Extent>)> {
    let left = match extent.lblock.checked_sub(1) {
        Some(below) => floor(below)?,
        None => None,
    };
    let right = floor(extent.end())?;
    Ok((
        left.filter(|left| left.end() == extent.lblock),
        right.filter(|right| right.lblock == extent.end()),
    ))
}

/// Returns the extent to make written so that the `len` blocks at `lblock`, or the first of them,
/// become written without growing the tree, for a full device: the whole unwritten extent, or its
/// part up to a written neighbour that it joins, whichever is shortest. Returns `None` if there is
/// no unwritten extent at `lblock`.
///
/// The blocks can be zeroed before: they read as zeroes as long as they are unwritten. Locks: the
/// inode lock, exclusive, until they are [written](mark_written).
pub fn without_growth<M: Medium>(
    volume: &Volume<M>,
    inode: &Inode,
    lblock: u64,
    len: u64,
) -> Result<Option<Extent>> {
    check_file(inode)?;
    check_block(lblock)?;
    let floor = |key| {
        let (entry, _) = tree::floor(&mut &*volume, inode.ino(), &inode.root, key)?;
        entry
            .map(|entry| Extent::from_entry(entry, volume.geometry()))
            .transpose()
    };
    let there = floor(lblock)?.filter(|there| there.unwritten && lblock < there.end());
    let Some(whole) = there else {
        return Ok(None);
    };
    let written = Extent {
        unwritten: false,
        ..whole
    };
    let (left, right) = beside(&whole, floor)?;
    let head = written.clip(0, lblock.saturating_add(len));
    let tail = written.clip(lblock, u64::MAX);
    let mut least = written;
    if left.is_some_and(|left| left.join(&head).is_some()) && head.len < least.len {
        least = head;
    }
    if right.is_some_and(|right| tail.join(&right).is_some()) && tail.len < least.len {
        least = tail;
    }
    Ok(Some(least))
}

/// Removes `from..to` (file blocks) from the file and frees its blocks. The blocks after it move
/// down, and the size shrinks. The caller sets the times.
///
/// The move is one transaction, however many extents it moves. If the range has more extents than
/// that transaction can free, others before it empty the range, and this returns
/// [`Progress::More`]: the caller must call it again with the same range. The first of them records
/// the range in the inode, so that [`orphan::work_off`] completes the collapse after a crash:
/// recovery yields either the file as it was or the file without the range.
///
/// # Errors
/// [`Error::Invalid`] if the range is not all below the size; [`Error::NoSpace`] as in [`remove`],
/// in the first call only.
pub fn collapse<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, from: u64, to: u64) -> Result<Progress> {
    check(from, to)?;
    let size = tx.inode(ino)?.size.get();
    let behind = size.checked_sub(to << BLOCK_SHIFT).ok_or(Error::Invalid)?;
    let emptied = remove(tx, ino, from, to)? == Progress::Done;
    let closing = closing(tx.inode(ino)?.root.level());
    if !emptied || tx.is_done_before(closing) {
        tx.inode_mut(ino)?.set_collapsing(Some(from..to));
        orphan::add(tx, ino)?;
        return Ok(Progress::More(from));
    }
    tree::shift(tx, ino, to, -((to - from) as i64))?;
    let size = &mut tx.inode_mut(ino)?.size;
    size.set((from << BLOCK_SHIFT) + behind);
    rejoin(tx, ino, from)?;
    forget_collapse(tx, ino)?;
    Ok(Progress::Done)
}

/// Ends a [`collapse`] that is recorded in the inode, if there is one.
pub(super) fn forget_collapse<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result {
    let inode = tx.inode(ino)?;
    if inode.collapsing().is_none() {
        return Ok(());
    }
    let named = inode.nlink.get() != 0;
    tx.inode_mut(ino)?.set_collapsing(None);
    if named {
        orphan::remove(tx, ino)?;
    }
    Ok(())
}

/// Inserts a hole of `len` blocks at block `at` of the file. The blocks from `at` on move up, and
/// the size grows. This is one transaction, however many extents it moves. The caller sets the
/// times.
///
/// # Errors
/// [`Error::Invalid`] if `at` is not below the size; [`Error::Overflow`] if an extent or the size
/// would go past [`MAX_BLOCKS`]; [`Error::NoSpace`] as in [`remove`].
pub fn insert_range<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, at: u64, len: u64) -> Result {
    check_file(tx.inode(ino)?)?;
    check(at, at.checked_add(len).ok_or(Error::Overflow)?)?;
    let size = tx.inode(ino)?.size.get();
    if at << BLOCK_SHIFT >= size {
        return Err(Error::Invalid);
    }
    // A collapse that an I/O error interrupted is dropped: its range moves.
    forget_collapse(tx, ino)?;
    let (last, _) = neighbours(tx, ino, MAX_BLOCKS - 1)?;
    let end = last.map_or(0, |last| last.end()).checked_add(len);
    let size = size.checked_add(len << BLOCK_SHIFT);
    let size = size.filter(|&size| size <= i64::MAX as u64);
    let (true, Some(size)) = (end.is_some_and(|end| end <= MAX_BLOCKS), size) else {
        return Err(Error::Overflow);
    };
    let (left, _) = neighbours(tx, ino, at)?;
    if let Some(left) = left.filter(|left| left.lblock < at && at < left.end()) {
        tree::change(tx, ino, left.lblock, left.clip(0, at).entry()?)?;
        tree::insert(tx, ino, left.clip(at, u64::MAX).entry()?)?;
    }
    tree::shift(tx, ino, at, len as i64)?;
    tx.inode_mut(ino)?.size.set(size);
    Ok(())
}

/// Joins the extents before and after block `at`, if they are contiguous.
fn rejoin<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, at: u64) -> Result {
    let Some(below) = at.checked_sub(1) else {
        return Ok(());
    };
    let (left, right) = neighbours(tx, ino, below)?;
    if let (Some(left), Some(right)) = (left, right) {
        if let Some(all) = left.join(&right) {
            tree::remove(tx, ino, right.lblock)?;
            tree::change(tx, ino, left.lblock, all.entry()?)?;
        }
    }
    Ok(())
}
