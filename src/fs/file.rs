// SPDX-License-Identifier: GPL-2.0

//! Regular files: page faults, and all changes of their blocks. The copies of reads and writes are
//! in [`rw`].

use super::{
    inode::Usage,
    ioctl,
    rw,
    super_block::Pinfs, //
};
use crate::{
    engine::{
        extents::{
            self,
            Mapping,
            Progress, //
        },
        orphan,
        run::BlockRun,
        Medium, //
    },
    layout,
    ondisk::{
        self,
        extent,
        inode::Stamp,
        BLOCK_SIZE, //
    },
    rust::{
        dax,
        lock::{
            ExclusiveInode,
            FaultWriteAccess,
            InodeLock,
            LayoutLock,
            NoFaults,
            ReadGuard,
            Recheck,
            SharedInodeLock,
            WriteGuard, //
        },
        uapi::PINFS_IOC_LEASE,
        vfs::{
            errno::eopnotsupp,
            file::{
                Fallocate,
                FallocateMode,
                Iocb,
                OpenFile,
                Operations,
                Table, //
            },
            inode::Times,
            iomap::{
                self,
                Extent,
                Map,
                Request, //
            },
            FsInode, //
        }, //
    }, //
};
use core::ops::Range;
use kernel::{
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    uaccess::UserPtr, //
};

/// The functions of an open regular file.
pub(super) const TABLE: Table<Pinfs> = Table::regular::<OpenFileOps>();

/// The block map of regular files.
pub(super) const MAP: iomap::Table<Pinfs> = iomap::Table::of::<BlockMap>();

/// The most blocks that one transaction allocates for a write: they are zeroed under the journal
/// lock, for which other tasks wait.
pub(super) const ALLOCATE_MAX: u64 = 4 * ondisk::GROUP_BLOCKS;

struct BlockMap;

impl iomap::Operations for BlockMap {
    type Fs = Pinfs;

    /// Turns holes and unwritten blocks into written blocks of zeroes for a write, in one durable
    /// transaction. So neither a crash nor a reader exposes the old contents of the blocks, and a
    /// synchronous mapping needs nothing more (MAP_SYNC).
    ///
    /// An earlier page fault may have mapped the hole. A fault that needs a block makes the DAX
    /// core replace that mapping; a write must do so here. A write does not mark the blocks as new,
    /// because the DAX core would then unmap all their pages. One of these may be the new block
    /// already: a page fault takes no lock that a write holds, and the mapping must not forget a
    /// page that is mapped.
    fn begin(inode: &FsInode<Pinfs>, pos: u64, length: u64, request: Request) -> Result<Map> {
        let first = pos / BLOCK_SIZE;
        let last = pos.saturating_add(length.max(1) - 1) / BLOCK_SIZE;
        let wanted = last - first + 1;
        let sb = inode.super_block();
        if request.is_write() {
            sb.check_writable()?;
        } else {
            sb.check_readable()?;
        }
        if let Some(extent) = request.fault().and_then(|held| {
            let newest = inode.data().map.newest(&held)?.from(first)?;
            (!newest.unwritten).then_some(newest)
        }) {
            return Ok(to_map(extent, false));
        }
        let vetted = if request.is_report() { 0 } else { wanted };
        let found = if request.is_nowait() {
            let map = inode.data().map.try_read().ok_or(EAGAIN)?;
            look_up_locked(inode, first, vetted, &map)?
        } else {
            look_up_locked(inode, first, vetted, &inode.data().map.read())?
        };
        let allocate =
            request.is_write() && !request.is_zero() && !matches!(found.extent, Extent::Mapped(_));
        if !allocate {
            return Ok(found);
        }
        if request.is_nowait() {
            return Err(EAGAIN);
        }
        let wanted = wanted.min(ALLOCATE_MAX);
        if request.is_fault() {
            // On a full device it may be necessary to make more written than the fault needs, and
            // to unmap it. That needs the lock that faults hold: see `make_room_for_fault`.
            allocate_written(inode, first, wanted, Growth::Needed)
        } else {
            Ok(Map {
                new: false,
                ..replace_holes(&NoFaults::new(inode), inode, first, wanted)?
            })
        }
    }

    fn crossed(inode: &FsInode<Pinfs>) -> Error {
        inode.super_block().report(CROSSED)
    }
}

/// Damage of a block that two files have, or one file in two places.
const CROSSED: ondisk::Error = ondisk::Error::Corrupt("a block has two places in files");

/// Turns an extent, in blocks, into a mapping, in bytes.
fn to_map(extent: extent::Extent, new: bool) -> Map {
    let addr = extent.block * BLOCK_SIZE;
    Map {
        offset: extent.lblock * BLOCK_SIZE,
        length: extent.len * BLOCK_SIZE,
        extent: if extent.unwritten {
            Extent::Unwritten(addr)
        } else {
            Extent::Mapped(addr)
        },
        new,
    }
}

/// Returns the mapping at file block `first`, to the end of the extent or hole.
pub(super) fn look_up(inode: &FsInode<Pinfs>, first: u64) -> Result<Map> {
    look_up_locked(inode, first, 1, &inode.data().map.read())
}

/// Does the same as [`look_up`] with the map lock held. Checks the first `vetted` blocks of an
/// extent that it reads from the tree.
fn look_up_locked(
    inode: &FsInode<Pinfs>,
    first: u64,
    vetted: u64,
    lock: &ReadGuard<'_>,
) -> Result<Map> {
    let map = &inode.data().map;
    if let Some(extent) = map.last(lock, first) {
        return Ok(to_map(extent, false));
    }
    let sb = inode.super_block();
    let volume = sb.data().volume(lock);
    let mapping = volume
        .inode(inode.ino())
        .and_then(|disk| extents::map(volume, &disk, first))
        .map_err(|err| sb.report(err))?;
    Ok(match mapping {
        Mapping::Extent(extent) => {
            vet(inode, &extent, vetted, lock)?;
            map.found(lock, extent);
            to_map(extent, false)
        }
        Mapping::Hole { len } => Map {
            offset: first * BLOCK_SIZE,
            length: len * BLOCK_SIZE,
            extent: Extent::Hole,
            new: false,
        },
    })
}

/// Checks that the first `wanted` blocks of an extent that was just found are data, and that no
/// other file is mapped there.
///
/// This costs little compared to the lookup, and finds most damage of crafted images. Page faults
/// find other damage (`BlockMap::crossed()`). The rest only harms users who trust the image.
fn vet(
    inode: &FsInode<Pinfs>,
    extent: &extent::Extent,
    wanted: u64,
    lock: &ReadGuard<'_>,
) -> Result {
    /// More than one page fault needs.
    const MAX: u64 = ondisk::GROUP_BLOCKS;

    let len = extent.len.min(wanted).min(MAX);
    if len == 0 {
        return Ok(());
    }
    let sb = inode.super_block();
    let run = BlockRun {
        start: extent.block,
        len,
    };
    let vetted = sb.data().medium().session().and_then(|session| {
        extents::vet(&sb.data().volume(lock).through(&session), run)?;
        if session.is_mapped_elsewhere(run, inode) {
            return Err(CROSSED);
        }
        Ok(())
    });
    vetted.map_err(|err| sb.report(err))
}

/// Whether the tree may have to grow when blocks become written.
#[derive(Clone, Copy)]
enum Growth {
    /// It may. Fails if there is no block for the tree.
    Needed,
    /// It need not: if there is no block for the tree, more blocks become written than requested.
    Avoidable,
}

/// Makes file block `first` written, and as many of the `wanted` blocks as are contiguous, and
/// returns the extent. The extent may start before `first` if the tree must not grow.
///
/// Two tasks may need the same block at once, a write under `i_rwsem` and faults under the
/// invalidate lock. The second one to take the map lock finds the block written and keeps it.
fn allocate_written(
    inode: &FsInode<Pinfs>,
    first: u64,
    wanted: u64,
    growth: Growth,
) -> Result<Map> {
    let ino = inode.ino();
    let sb = inode.super_block();
    let map = &inode.data().map;
    let lock = map.write();
    let made = sb.transact(&lock, |tx| {
        let (extent, new) = match extents::map_tx(tx, ino, first)? {
            Mapping::Extent(extent) if !extent.unwritten => (extent, false),
            Mapping::Extent(unwritten) => {
                let written = extent::Extent {
                    len: unwritten.len.min(wanted),
                    unwritten: false,
                    ..unwritten
                };
                tx.zero_blocks(run(&written))?;
                extents::mark_written(tx, ino, first, written.end())?;
                (written, true)
            }
            Mapping::Hole { len } => {
                let extent = extents::alloc_extent(tx, ino, first, len.min(wanted))?;
                tx.zero_blocks(run(&extent))?;
                extents::insert(tx, ino, extent)?;
                (extent, true)
            }
        };
        Ok((extent, new, Usage::of(tx.inode(ino)?).sectors))
    });
    let (extent, new, sectors) = match made {
        Err(ENOSPC) if matches!(growth, Growth::Avoidable) => {
            write_without_growth(inode, &lock, first, wanted)?
        }
        made => made?,
    };
    inode.set_sectors(sectors);
    map.made(&lock, extent);
    Ok(to_map(extent, new))
}

/// Makes unwritten file blocks written if there is no block for the tree: more of them than
/// requested, so that the tree need not grow. So a file can always write to its preallocated
/// blocks.
///
/// Zeroes the blocks first, without the journal lock, because there may be many. No other task
/// writes to them: that takes the map lock, which is held. Stops at a fatal signal; the next writer
/// starts again.
fn write_without_growth(
    inode: &FsInode<Pinfs>,
    lock: &WriteGuard<'_>,
    first: u64,
    wanted: u64,
) -> Result<(extent::Extent, bool, u64)> {
    let ino = inode.ino();
    let sb = inode.super_block();
    let volume = sb.data().volume(lock);
    let found = volume
        .inode(ino)
        .and_then(|disk| extents::without_growth(volume, &disk, first, wanted));
    let extent = found.map_err(|err| sb.report(err))?.ok_or(ENOSPC)?;
    let BlockRun { start, len } = run(&extent);
    let mut done = 0;
    while done < len {
        if crate::rust::task::fatal_signal_pending() {
            return Err(EINTR);
        }
        let (off, piece) = (
            (start + done) * BLOCK_SIZE,
            ALLOCATE_MAX.min(len - done) * BLOCK_SIZE,
        );
        let session = sb.data().medium().session();
        session
            .and_then(|medium| {
                medium.zero(off, piece)?;
                medium.flush(off, piece)
            })
            .map_err(|err| sb.report(err))?;
        done += ALLOCATE_MAX;
    }
    sb.transact(lock, |tx| {
        tx.blocks_stored();
        extents::mark_written(tx, ino, extent.lblock, extent.end())?;
        Ok((extent, true, Usage::of(tx.inode(ino)?).sectors))
    })
}

/// Does the same as [`allocate_written`] while page faults are excluded, and unmaps the holes that
/// they have mapped. No fault is between finding a hole and mapping it.
fn replace_holes(
    no_faults: &NoFaults<'_>,
    inode: &FsInode<Pinfs>,
    first: u64,
    wanted: u64,
) -> Result<Map> {
    let made = allocate_written(inode, first, wanted, Growth::Avoidable)?;
    if made.new {
        dax::forget_holes(no_faults, &(made.offset..made.offset + made.length))?;
    }
    Ok(made)
}

/// Returns the blocks of the device of an extent.
fn run(extent: &extent::Extent) -> BlockRun {
    BlockRun {
        start: extent.block,
        len: extent.len,
    }
}

/// Sets a new size, and its times, in an inode of the device.
pub(super) fn record_size(disk: &mut ondisk::Inode, size: u64, times: Times) {
    disk.size.set(size);
    disk.set_time(Stamp::Modify, times.mtime.to_format());
    disk.set_time(Stamp::Change, times.ctime.to_format());
}

/// Records a new size on the device and in memory.
fn set_size(lock: &impl ExclusiveInode<Fs = Pinfs>, size: u64) -> Result {
    let inode = lock.inode();
    let map = inode.data().map.write_fields();
    let times = inode.times();
    inode.super_block().transact(&map, |tx| {
        record_size(tx.inode_mut(inode.ino())?, size, times);
        Ok(())
    })?;
    inode.set_size(lock, size);
    Ok(())
}

/// Zeroes the bytes from the end of the file up to `until`, before the size grows over them: stores
/// through a mapping in the last block, and blocks that were written before a crash without a sync
/// of their size. Holes and unwritten blocks cost nothing.
///
/// The zeroes are durable when this returns. Without the fence the new size could be durable before
/// them, and after a power loss in between the file would expose stale bytes.
fn zero_behind_end(lock: &impl ExclusiveInode<Fs = Pinfs>, until: u64) -> Result {
    let inode = lock.inode();
    if until <= inode.size() {
        return Ok(());
    }
    dax::zero_range(lock, inode.size()..until, MAP)?;
    inode.super_block().data().medium().fence();
    Ok(())
}

/// Breaks leases and waits for pages so that the blocks of `range` (bytes) may be freed, and
/// removes the pages from the mapping.
///
/// The locks may be dropped meanwhile: the caller's knowledge of the file may be outdated.
fn break_layouts(lock: &mut LayoutLock<'_, Pinfs>, range: &Range<u64>) -> Result {
    layout::break_layouts(lock, range.clone(), |_| Ok(()))?;
    keep_dirty(lock, range)?;
    dax::delete_mapping_range(lock, range);
    Ok(())
}

/// Keeps dirty pages that extend past a range on record, before the mapping forgets these pages.
/// They are unmapped already, so there are no more stores through them.
///
/// The next sync of the file flushes the recorded range: a flush here would make a punch of 4 KiB
/// flush 2 MiB. The record has room for one range. A page that is not adjacent to it is flushed
/// here, so that a sync need not flush all bytes in between.
///
/// The range is recorded before the mapping forgets the page, and fsync(2) checks the mapping
/// before the record: it finds the page in at least one of them.
fn keep_dirty(lock: &LayoutLock<'_, Pinfs>, range: &Range<u64>) -> Result {
    let inode = lock.inode();
    let edges = dax::pages_at_edges(lock, range).into_iter().flatten();
    for page in edges.filter(|page| page.is_dirty) {
        let noted = inode.data().untracked.lock().note_forgotten(&page.range);
        if noted {
            inode.mark_data_dirty();
        } else {
            dax::write_and_wait(inode, &page.range)?;
        }
    }
    Ok(())
}

/// Truncates a file to `size`: the first transaction sets the size, and the blocks after it are
/// freed in that one and as many more as necessary. Until then the inode is on the orphan list, so
/// that the next mount after a crash continues.
fn cut_off(lock: &LayoutLock<'_, Pinfs>, size: u64) -> Result {
    let inode = lock.inode();
    let ino = inode.ino();
    let sb = inode.super_block();
    let times = inode.times();
    let map = inode.data().map.write();
    let (mut done, mut sectors) = sb.transact(&map, |tx| {
        record_size(tx.inode_mut(ino)?, size, times);
        orphan::add(tx, ino)?;
        Ok((orphan::trim(tx, ino)?, Usage::of(tx.inode(ino)?).sectors))
    })?;
    inode.set_size(lock, size);
    inode.set_sectors(sectors);
    while !done {
        (done, sectors) = sb.transact(&map, |tx| {
            Ok((orphan::trim(tx, ino)?, Usage::of(tx.inode(ino)?).sectors))
        })?;
        inode.set_sectors(sectors);
    }
    Ok(())
}

/// Finishes an interrupted truncate or collapse of a file while the file system is idle. Other
/// tasks may have the file open, map and read it. The inner error is about the file.
///
/// # Errors
///
/// `EBUSY` if a block to be moved or freed is in use.
pub(super) fn finish(inode: &FsInode<Pinfs>) -> Result<ondisk::Result> {
    let mut locked = InodeLock::new(inode);
    // No lock is dropped here, so there is nothing to recheck.
    let lock = LayoutLock::new(&mut locked, &StillMutable);
    let ino = inode.ino();
    let data = inode.super_block().data();
    let disk = match super::inode::on_disk(inode) {
        Ok(disk) if disk.is_orphan() => disk,
        other => return Ok(other.map(drop)),
    };
    let (size, times) = (inode.size(), inode.times());
    let collapsing = disk.collapsing();
    let start = collapsing.map_or(size, |range| range.start.saturating_mul(BLOCK_SIZE));
    let rest = start..u64::MAX;
    if layout::is_held(&lock, &rest)? {
        return Err(EBUSY);
    }
    dax::write_and_wait(inode, &rest)?;
    flush_untracked(inode, &rest)?;
    dax::delete_mapping_range(&lock, &rest);
    let map = inode.data().map.write();
    loop {
        let resumed = data.transact_idle(&map, |tx| {
            // A write may have left the size to a sync that was not possible.
            record_size(tx.inode_mut(ino)?, size, times);
            Ok((orphan::resume(tx, ino)?, Usage::of(tx.inode(ino)?)))
        })?;
        let (done, usage) = match resumed {
            Ok(resumed) => resumed,
            Err(err) => return Ok(Err(err)),
        };
        inode.set_sectors(usage.sectors);
        if done {
            inode.set_size(&lock, usage.size);
            return Ok(Ok(()));
        }
    }
}

/// Frees the blocks of a range, in steps of one transaction each.
fn remove_blocks(lock: &LayoutLock<'_, Pinfs>, blocks: Range<u64>) -> Result {
    let inode = lock.inode();
    let ino = inode.ino();
    let sb = inode.super_block();
    let map = inode.data().map.write();
    let mut from = blocks.start;
    loop {
        let (progress, sectors) = sb.transact(&map, |tx| {
            let progress = extents::remove(tx, ino, from, blocks.end)?;
            Ok((progress, Usage::of(tx.inode(ino)?).sectors))
        })?;
        inode.set_sectors(sectors);
        match progress {
            Progress::Done => return Ok(()),
            Progress::More(next) => from = next,
        }
    }
}

/// Sets the size of a file, for truncate(2) in either direction.
///
/// `checks` are the permission checks to repeat after the locks were dropped.
pub(super) fn resize(
    locked: &mut impl ExclusiveInode<Fs = Pinfs>,
    size: u64,
    checks: &dyn Recheck<Pinfs>,
) -> Result {
    if size > locked.inode().size() {
        zero_behind_end(locked, size)?;
        locked.inode().touch();
        return set_size(locked, size);
    }
    let mut lock = LayoutLock::new(locked, checks);
    // The file may have grown or shrunk while the locks were dropped. The requested size is the
    // same, and the range does not depend on the old size.
    break_layouts(&mut lock, &(size..u64::MAX))?;
    if size > lock.inode().size() {
        // The file has shrunk below the requested size.
        zero_behind_end(&lock, size)?;
    }
    lock.inode().touch();
    let tail = size..size.next_multiple_of(BLOCK_SIZE);
    cut_off(&lock, size)?;
    // A mapping of the last page shows zeroes past the end. Zero it only now: after a crash before
    // the new size was durable, the file must have its old bytes.
    dax::zero_range(&lock, tail, MAP)
}

/// Frees the whole blocks of a range and zeroes the rest of it.
fn punch(lock: &LayoutLock<'_, Pinfs>, range: &Range<u64>) -> Result {
    let start = range.start.div_ceil(BLOCK_SIZE);
    let end = range.end / BLOCK_SIZE;
    if start < end {
        match remove_blocks(lock, start..end) {
            // There is not even a node in the reserve to cut an extent in two. The rest of the
            // range keeps its blocks, and is zeroed instead.
            Err(ENOSPC) => {
                dax::zero_range(lock, start * BLOCK_SIZE..end * BLOCK_SIZE, MAP)?;
            }
            removed => removed?,
        }
        dax::zero_range(lock, range.start..start * BLOCK_SIZE, MAP)?;
        dax::zero_range(lock, end * BLOCK_SIZE..range.end, MAP)
    } else {
        dax::zero_range(lock, range.clone(), MAP)
    }
}

/// Breaks leases and waits for pages so that all blocks from `start` on may move, and removes the
/// pages from the mapping. Flushes all of them first, because dirty pages are recorded by their
/// current offset. Calls `check` first, and again whenever the locks were dropped.
fn break_layouts_to_move(
    lock: &mut LayoutLock<'_, Pinfs>,
    start: u64,
    check: impl Fn(&LayoutLock<'_, Pinfs>) -> Result,
) -> Result {
    let moving = start..u64::MAX;
    check(lock)?;
    layout::break_layouts(lock, moving.clone(), check)?;
    dax::write_and_wait(lock.inode(), &moving)?;
    flush_untracked(lock.inode(), &moving)?;
    dax::delete_mapping_range(lock, &moving);
    Ok(())
}

/// Returns the file blocks of a range to collapse or insert, which must be whole blocks.
fn whole_blocks(range: &Range<u64>) -> Result<Range<u64>> {
    if range.start % BLOCK_SIZE != 0 || range.end % BLOCK_SIZE != 0 {
        return Err(EINVAL);
    }
    Ok(range.start / BLOCK_SIZE..range.end / BLOCK_SIZE)
}

/// Collapses a range of a file, which must be whole blocks before its end.
fn collapse(
    locked: &mut InodeLock<'_, Pinfs>,
    file: &OpenFile<'_, Pinfs>,
    what: &Fallocate,
) -> Result {
    let blocks = whole_blocks(&what.range)?;
    let mut lock = LayoutLock::new(locked, &StillMutable);
    break_layouts_to_move(&mut lock, what.range.start, |lock| {
        // Up to the end it would be a truncate.
        if what.range.end < lock.inode().size() {
            Ok(())
        } else {
            Err(EINVAL)
        }
    })?;
    file.modified(&lock)?;
    move_down(&lock, &blocks)
}

/// Collapses a range of blocks. If that takes more than one transaction, the first one commits to
/// it: a mount after a crash continues.
fn move_down(lock: &LayoutLock<'_, Pinfs>, blocks: &Range<u64>) -> Result {
    let inode = lock.inode();
    let ino = inode.ino();
    let (size, times) = (inode.size(), inode.times());
    let map = inode.data().map.write();
    loop {
        let (progress, usage) = inode.super_block().transact(&map, |tx| {
            // A write may have left the size to the next sync; the new size depends on it.
            record_size(tx.inode_mut(ino)?, size, times);
            let progress = extents::collapse(tx, ino, blocks.start, blocks.end)?;
            Ok((progress, Usage::of(tx.inode(ino)?)))
        })?;
        inode.set_sectors(usage.sectors);
        if let Progress::Done = progress {
            inode.set_size(lock, usage.size);
            return Ok(());
        }
    }
}

/// Inserts a hole of whole blocks before the end of a file. The blocks from there on move up.
fn insert(
    locked: &mut InodeLock<'_, Pinfs>,
    file: &OpenFile<'_, Pinfs>,
    what: &Fallocate,
) -> Result {
    let blocks = whole_blocks(&what.range)?;
    let len = what.range.end - what.range.start;
    let mut lock = LayoutLock::new(locked, &StillMutable);
    break_layouts_to_move(&mut lock, what.range.start, |lock| {
        let size = lock.inode().size();
        if what.range.start >= size {
            return Err(EINVAL);
        }
        let grown = size.checked_add(len).ok_or(EFBIG)?;
        lock.inode().check_new_size(lock, grown)
    })?;
    file.modified(&lock)?;
    move_up(&lock, &blocks)
}

/// Inserts a range of blocks, in one transaction.
fn move_up(lock: &LayoutLock<'_, Pinfs>, blocks: &Range<u64>) -> Result {
    let inode = lock.inode();
    let ino = inode.ino();
    let (size, times) = (inode.size(), inode.times());
    let map = inode.data().map.write();
    let usage = inode.super_block().transact(&map, |tx| {
        record_size(tx.inode_mut(ino)?, size, times);
        extents::insert_range(tx, ino, blocks.start, blocks.end - blocks.start)?;
        Ok(Usage::of(tx.inode(ino)?))
    })?;
    inode.set_sectors(usage.sectors);
    inode.set_size(lock, usage.size);
    Ok(())
}

/// Checks the size that a file is to grow to, if it grows.
fn check_growth(locked: &impl ExclusiveInode<Fs = Pinfs>, what: &Fallocate) -> Result {
    if what.keeps_size() || what.range.end <= locked.inode().size() {
        return Ok(());
    }
    locked.inode().check_new_size(locked, what.range.end)
}

/// Allocates the range, and grows the file over it unless it must keep its size.
fn allocate(locked: &impl ExclusiveInode<Fs = Pinfs>, what: &Fallocate) -> Result {
    preallocate(locked, &what.range)?;
    if what.keeps_size() || what.range.end <= locked.inode().size() {
        return Ok(());
    }
    zero_behind_end(locked, what.range.end)?;
    set_size(locked, what.range.end)
}

/// Makes a range read as zeroes: whole blocks become unwritten, and the partial blocks at both ends
/// are zeroed in place. Leases are broken, there are no pins, and the pages are removed from the
/// mapping.
///
/// On a full device there may be no block for the extents that remain at both sides of an unwritten
/// one. Then its blocks are zeroed, too.
fn zero(locked: &LayoutLock<'_, Pinfs>, range: &Range<u64>) -> Result {
    let start = range.start.next_multiple_of(BLOCK_SIZE);
    let end = range.end - range.end % BLOCK_SIZE;
    if start >= end {
        return zero_in_place(locked, range.clone());
    }
    zero_in_place(locked, range.start..start)?;
    let blocks = start / BLOCK_SIZE..end / BLOCK_SIZE;
    match unwrite(locked, blocks) {
        Err((from, ENOSPC)) => zero_in_place(locked, from * BLOCK_SIZE..end)?,
        done => done.map_err(|(_, err)| err)?,
    }
    zero_in_place(locked, end..range.end)
}

/// Makes the blocks of a range unwritten, in steps of one transaction each. On failure, returns the
/// first block of the step that failed.
fn unwrite(
    locked: &LayoutLock<'_, Pinfs>,
    blocks: Range<u64>,
) -> core::result::Result<(), (u64, Error)> {
    let inode = locked.inode();
    let (ino, sb) = (inode.ino(), inode.super_block());
    let mut from = blocks.start;
    loop {
        if crate::rust::task::fatal_signal_pending() {
            return Err((from, EINTR));
        }
        let map = inode.data().map.write();
        let progress = sb.transact(&map, |tx| {
            let progress = extents::mark_unwritten(tx, ino, from, blocks.end)?;
            Ok((progress, Usage::of(tx.inode(ino)?).sectors))
        });
        let (progress, sectors) = progress.map_err(|err| (from, err))?;
        // The tree may have grown.
        inode.set_sectors(sectors);
        match progress {
            Progress::Done => return Ok(()),
            Progress::More(next) => from = next,
        }
    }
}

/// Zeroes the written blocks of a range in place.
fn zero_in_place(locked: &LayoutLock<'_, Pinfs>, range: Range<u64>) -> Result {
    /// Bytes between checks for a fatal signal.
    const STEP: u64 = 32 << 20;

    // Past the end of the file only the last block can be mapped, and its bytes there have no
    // defined contents.
    let end = range
        .end
        .min(locked.inode().size().next_multiple_of(BLOCK_SIZE));
    let mut from = range.start;
    while from < end {
        if crate::rust::task::fatal_signal_pending() {
            return Err(EINTR);
        }
        let to = end.min(from.saturating_add(STEP));
        dax::zero_range(locked, from..to, MAP)?;
        from = to;
    }
    Ok(())
}

/// Allocates unwritten blocks for the holes of a range.
fn preallocate(locked: &impl ExclusiveInode<Fs = Pinfs>, range: &Range<u64>) -> Result {
    let inode = locked.inode();
    let sb = inode.super_block();
    let mut block = range.start / BLOCK_SIZE;
    let end = range.end.div_ceil(BLOCK_SIZE);
    while block < end {
        // One extent at a time, so that page faults and a fatal signal are handled in between.
        if crate::rust::task::fatal_signal_pending() {
            return Err(EINTR);
        }
        let map = inode.data().map.write();
        let (next, sectors) = sb.transact(&map, |tx| {
            let next = match extents::map_tx(tx, inode.ino(), block)? {
                Mapping::Extent(extent) => extent.end(),
                Mapping::Hole { len } => {
                    let extent =
                        extents::alloc_extent(tx, inode.ino(), block, len.min(end - block))?;
                    let unwritten = extent::Extent {
                        unwritten: true,
                        ..extent
                    };
                    extents::insert(tx, inode.ino(), unwritten)?;
                    extent.end()
                }
            };
            Ok((next, Usage::of(tx.inode(inode.ino())?).sectors))
        })?;
        inode.set_sectors(sectors);
        block = next;
    }
    Ok(())
}

/// Allocates and zeroes the blocks of a range that are not written, for
/// [`Host::prepare_pin`](crate::layout::host::Host::prepare_pin).
pub(super) fn allocate_for_pin(inode: &FsInode<Pinfs>, range: Range<u64>) -> Result {
    if !inode.is_regular() {
        return Err(EINVAL);
    }
    let end = range.end.min(inode.size()).div_ceil(BLOCK_SIZE);
    let mut block = range.start / BLOCK_SIZE;
    let _access = FaultWriteAccess::new(inode);
    while block < end {
        // The size is read only once: a pin past the end of a file that shrinks meanwhile fails in
        // the fault, and the next truncate frees the blocks.
        let no_faults = NoFaults::new(inode);
        let found = look_up(inode, block)?;
        let found = match found.extent {
            Extent::Mapped(_) => found,
            _ => replace_holes(&no_faults, inode, block, (end - block).min(ALLOCATE_MAX))?,
        };
        block = (found.offset + found.length) / BLOCK_SIZE;
    }
    Ok(())
}

/// Records that a device may write to a range. Must be called between the reservation of a pin and
/// the pin itself.
///
/// The kernel tracks stores of the file system and of processes as dirty pages, but not those of a
/// device: it may write to a page again after a flush, without a page fault. So pinned ranges are
/// recorded here, and flushed whenever the file is.
pub(super) fn expect_device_writes(inode: &FsInode<Pinfs>, range: &Range<u64>) {
    inode.data().untracked.lock().note_device(range);
}

/// Bytes of a file that may have been written since their last flush without being dirty in the
/// mapping: one range for each reason.
#[derive(Default)]
pub(super) struct Untracked {
    /// Bytes that a device may write to, and the bytes between them.
    device: Range<u64>,
    /// Bytes of pages that the mapping had to forget.
    forgotten: Range<u64>,
    /// Number of additions.
    notes: u64,
}

impl Untracked {
    /// Adds a range for devices.
    fn note_device(&mut self, range: &Range<u64>) {
        self.notes += 1;
        self.device = union(&self.device, range);
    }

    /// Adds the range of a page, unless there is a gap to the recorded range. Returns whether it
    /// was added.
    fn note_forgotten(&mut self, page: &Range<u64>) -> bool {
        let old = &self.forgotten;
        let beside = old.is_empty() || (page.start <= old.end && old.start <= page.end);
        if beside {
            self.notes += 1;
            self.forgotten = union(old, page);
        }
        beside
    }

    /// Returns the parts of the ranges that are in `range`.
    fn within(&self, range: &Range<u64>) -> [Range<u64>; 2] {
        [&self.device, &self.forgotten]
            .map(|known| known.start.max(range.start)..known.end.min(range.end))
    }
}

/// Returns the smallest range that contains both. The first one may be empty.
fn union(a: &Range<u64>, b: &Range<u64>) -> Range<u64> {
    if a.is_empty() {
        b.clone()
    } else {
        a.start.min(b.start)..a.end.max(b.end)
    }
}

/// Flushes untracked writes to a range, and removes their record if there are no pins. Dirty pages
/// of the mapping must have been flushed before.
///
/// Looks for pins before the flush. If there are none, two cases remain. A pin that comes later
/// records its range after its reservation, thus after this check; then the record is kept. A pin
/// that ended before has its device writes flushed here. The record is kept unless all of it is in
/// the range.
///
/// The record is removed only after the flush. Otherwise fsync(2), which holds no lock against
/// moving blocks, could remove it before a collapse of an earlier range. The collapse would flush
/// nothing and move the blocks. fsync(2) would flush the old offset and report unflushed bytes as
/// durable.
pub(super) fn flush_untracked(inode: &FsInode<Pinfs>, range: &Range<u64>) -> Result {
    let (known, [device, forgotten], notes) = {
        let untracked = inode.data().untracked.lock();
        let known = [untracked.device.clone(), untracked.forgotten.clone()];
        (known, untracked.within(range), untracked.notes)
    };
    if known.iter().all(Range::is_empty) {
        return Ok(());
    }
    let device_done = device == known[0] && !layout::is_pinned(inode, &device);
    let forgotten_done = forgotten == known[1];
    flush_blocks(inode, &device)
        .and_then(|()| flush_blocks(inode, &forgotten))
        .inspect_err(|_| keep_inode_dirty(inode))?;
    {
        let mut untracked = inode.data().untracked.lock();
        if untracked.notes == notes {
            if device_done {
                untracked.device = 0..0;
            }
            if forgotten_done {
                untracked.forgotten = 0..0;
            }
        }
    }
    keep_inode_dirty(inode);
    Ok(())
}

/// Marks the file dirty for the next sync, if it has untracked writes.
pub(super) fn keep_inode_dirty(inode: &FsInode<Pinfs>) {
    let [device, forgotten] = inode.data().untracked.lock().within(&(0..u64::MAX));
    if device.is_empty() && forgotten.is_empty() {
        return;
    }
    layout::mark_pinned_dirty(inode, &device);
    inode.mark_data_dirty();
}

/// Writes the cache lines of a range of a file back to the device. Skips holes.
fn flush_blocks(inode: &FsInode<Pinfs>, range: &Range<u64>) -> Result {
    let sb = inode.super_block();
    let medium = sb.data().medium();
    let mut pos = range.start;
    while pos < range.end {
        // The map lock keeps blocks from being freed. If they were reused meanwhile, a flush would
        // do no harm.
        let found = look_up(inode, pos / BLOCK_SIZE)?;
        let end = found.offset.saturating_add(found.length).min(range.end);
        if let Extent::Mapped(addr) = found.extent {
            medium
                .flush(addr + (pos - found.offset), end - pos)
                .map_err(|err| sb.report(err))?;
        }
        pos = end.max(pos + 1);
    }
    medium.fence();
    Ok(())
}

/// Fails for an immutable file. A descriptor that was opened for writing before stays open. The
/// inode lock is held, which protects the flag.
fn check_mutable(inode: &FsInode<Pinfs>) -> Result {
    if inode.is_immutable() {
        return Err(EPERM);
    }
    Ok(())
}

/// The checks of `vfs_fallocate()` and [`check_mutable`] that can change while the locks are
/// dropped: all modes that wait need them again. The descriptor, and with it the mount, stays
/// writable. Checks of security modules and fanotify are not repeated; a module cannot call them.
struct StillMutable;

impl Recheck<Pinfs> for StillMutable {
    fn recheck(&self, inode: &FsInode<Pinfs>) -> Result {
        inode.super_block().check_writable()?;
        if inode.is_append_only() {
            return Err(EPERM);
        }
        check_mutable(inode)?;
        if inode.is_swap_file() {
            return Err(ETXTBSY);
        }
        Ok(())
    }
}

/// Makes an inode durable, including buffers of the device.
pub(super) fn sync_inode(inode: &FsInode<Pinfs>) -> Result {
    inode.sync_metadata()?;
    inode.super_block().flush()
}

struct OpenFileOps;

#[vtable]
impl Operations for OpenFileOps {
    type Fs = Pinfs;

    const MAP: iomap::Table<Pinfs> = MAP;

    fn open(file: &OpenFile<'_, Pinfs>) -> Result {
        file.inode().super_block().check_readable()
    }

    fn read_iter(iocb: &mut Iocb<'_, Pinfs>, to: &mut IovIterDest<'_>) -> Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        let inode = iocb.inode();
        let lock = if iocb.is_nowait() {
            SharedInodeLock::try_new(inode).ok_or(EAGAIN)?
        } else {
            SharedInodeLock::new(inode)
        };
        let read = rw::read(&lock, iocb, to);
        drop(lock);
        iocb.accessed();
        read
    }

    fn write_iter(iocb: &mut Iocb<'_, Pinfs>, from: &mut IovIterSource<'_>) -> Result<usize> {
        let inode = iocb.inode();
        inode.super_block().check_writable()?;
        let lock = if iocb.is_nowait() {
            InodeLock::try_new(inode).ok_or(EAGAIN)?
        } else {
            InodeLock::new(inode)
        };
        check_mutable(inode)?;
        if iocb.write_checks(&lock, from)? == 0 {
            return Ok(0);
        }
        let start = iocb.position();
        if iocb.is_nowait() && start > inode.size() {
            // The bytes between must be checked first.
            return Err(EAGAIN);
        }
        iocb.modified(&lock)?;
        if start > inode.size() {
            zero_behind_end(&lock, start)?;
        }
        // Bytes that were written before an error count. If there are none, the file does not grow
        // to the start of the write.
        let written = rw::write(&lock, iocb, from);
        if iocb.position() > start.max(inode.size()) {
            // The next sync records the size on the device, together with the times. A crash before
            // that leaves the old size, with blocks past it.
            inode.set_size(&lock, iocb.position());
            inode.mark_dirty();
        }
        drop(lock);
        iocb.write_sync(written?)
    }

    fn fallocate(file: &OpenFile<'_, Pinfs>, what: &Fallocate) -> Result {
        let mode = what.mode().ok_or_else(eopnotsupp)?;
        let inode = file.inode();
        inode.super_block().check_writable()?;
        let mut locked = InodeLock::new(inode);
        check_mutable(inode)?;
        match mode {
            FallocateMode::Allocate => {
                check_growth(&locked, what)?;
                file.modified(&locked)?;
                allocate(&locked, what)
            }
            FallocateMode::ZeroRange => {
                check_growth(&locked, what)?;
                let mut lock = LayoutLock::new(&mut locked, &StillMutable);
                break_layouts(&mut lock, &what.range)?;
                check_growth(&lock, what)?;
                file.modified(&lock)?;
                zero(&lock, &what.range)?;
                allocate(&lock, what)
            }
            FallocateMode::PunchHole => {
                let mut lock = LayoutLock::new(&mut locked, &StillMutable);
                break_layouts(&mut lock, &what.range)?;
                file.modified(&lock)?;
                punch(&lock, &what.range)
            }
            FallocateMode::CollapseRange => collapse(&mut locked, file, what),
            FallocateMode::InsertRange => insert(&mut locked, file, what),
        }
    }

    fn ioctl(file: &OpenFile<'_, Pinfs>, command: u32, arg: UserPtr) -> Result {
        match command {
            PINFS_IOC_LEASE => layout::lease_ioctl::<Pinfs>(file.lease(), arg),
            _ => ioctl::ioctl(file, command, arg),
        }
    }

    /// Makes an unwritten block written, which needs no new blocks even on a full device. Another
    /// task may have done so since the fault has failed.
    fn make_room_for_fault(inode: &FsInode<Pinfs>, pos: u64) -> bool {
        let block = pos / BLOCK_SIZE;
        let no_faults = NoFaults::new(inode);
        if inode.is_immutable() || pos >= inode.size() {
            return false;
        }
        match look_up(inode, block).map(|found| found.extent) {
            Ok(Extent::Mapped(_)) => true,
            Ok(Extent::Unwritten(_)) => replace_holes(&no_faults, inode, block, 1).is_ok(),
            _ => false,
        }
    }

    fn write_back(inode: &FsInode<Pinfs>, range: &Range<u64>, wait: bool) -> Result {
        let device = inode.data().untracked.lock().device.clone();
        if wait || !layout::is_pinned(inode, &device) {
            return flush_untracked(inode, range);
        }
        keep_inode_dirty(inode);
        Ok(())
    }

    fn release(file: &OpenFile<'_, Pinfs>) {
        layout::closed(file.inode(), file.id());
    }

    fn fsync(file: &OpenFile<'_, Pinfs>, start: i64, end: i64, _datasync: bool) -> Result {
        file.flush_pages(start, end)?;
        let start = u64::try_from(start).map_err(|_| EINVAL)?;
        let end = u64::try_from(end).map_err(|_| EINVAL)?;
        flush_untracked(file.inode(), &(start..end.saturating_add(1)))?;
        sync_inode(file.inode())
    }
}
