// SPDX-License-Identifier: GPL-2.0

//! Regular files: reads, writes, page faults, and whatever changes which blocks they have.

use super::{
    inode::Usage,
    super_block::{
        report,
        Pinfs, //
    }, //
};
use crate::{
    dax,
    format::{
        self,
        file::{
            self as map,
            Mapping,
            Progress, //
        },
        inode::Stamp,
        orphan,
        space::Run,
        BLOCK_SIZE, //
    },
    layout::{
        self,
        Broken, //
    },
    lock::{
        ExclusiveInode,
        FaultLock,
        FaultWriteAccess,
        InodeLock,
        LayoutLock,
        SharedInodeLock, //
    },
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
        INode, //
    }, //
};
use core::ops::Range;
use kernel::{
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*, //
};

/// The functions of an open regular file.
pub(super) const TABLE: Table<Pinfs> = Table::regular::<OpenFileOps>();

/// The block map of regular files.
pub(super) const MAP: iomap::Table<Pinfs> = iomap::Table::of::<BlockMap>();

/// The most blocks that one transaction allocates for a write: they are zeroed under the journal
/// lock, which others wait for.
const ALLOCATE_MAX: u64 = 4 * format::GROUP_BLOCKS;

struct BlockMap;

impl iomap::Operations for BlockMap {
    type Fs = Pinfs;

    /// For a write, holes and unwritten blocks become written ones full of zeroes in one durable
    /// transaction, so that neither a crash nor a reader ever finds what the blocks held before,
    /// and a synchronous mapping needs nothing more (MAP_SYNC).
    fn begin(inode: &INode<Pinfs>, pos: u64, length: u64, request: Request) -> Result<Map> {
        let first = pos / BLOCK_SIZE;
        let last = pos.saturating_add(length.max(1) - 1) / BLOCK_SIZE;
        let wanted = last - first + 1;
        let found = look_up(inode, first)?;
        let allocate =
            request.is_write() && !request.is_zero() && !matches!(found.extent, Extent::Mapped(_));
        if !allocate {
            return Ok(found);
        }
        if request.is_nowait() {
            return Err(EAGAIN);
        }
        allocate_written(inode, first, wanted.min(ALLOCATE_MAX))
    }
}

/// Turns an extent, in blocks, into a mapping, in bytes.
fn to_map(extent: map::Extent, new: bool) -> Map {
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

/// Returns what is at file block `first`, to the end of the extent or hole.
fn look_up(inode: &INode<Pinfs>, first: u64) -> Result<Map> {
    let _map = inode.data().map.read();
    let volume = inode.super_block().data().volume();
    let mapping = volume
        .inode(inode.ino())
        .and_then(|disk| map::map(volume, &disk, first))
        .map_err(report)?;
    Ok(match mapping {
        Mapping::Extent(extent) => to_map(extent, false),
        Mapping::Hole { len } => Map {
            offset: first * BLOCK_SIZE,
            length: len * BLOCK_SIZE,
            extent: Extent::Hole,
            new: false,
        },
    })
}

/// Makes file block `first` a written one, and as many of the `wanted` blocks as come with it, and
/// returns the extent.
///
/// Two tasks may want the same block at once, a write under `i_rwsem` and faults under the
/// invalidate lock: whoever gets the map lock second finds it written and leaves it alone.
fn allocate_written(inode: &INode<Pinfs>, first: u64, wanted: u64) -> Result<Map> {
    let ino = inode.ino();
    let sb = inode.super_block().data();
    let _map = inode.data().map.write();
    let (map, sectors) = sb.transact(|tx| {
        let map = match map::map_tx(tx, ino, first)? {
            Mapping::Extent(extent) if !extent.unwritten => to_map(extent, false),
            Mapping::Extent(unwritten) => {
                let written = map::Extent {
                    len: unwritten.len.min(wanted),
                    unwritten: false,
                    ..unwritten
                };
                tx.zero_blocks(run(&written))?;
                map::mark_written(tx, ino, first, written.end())?;
                to_map(written, true)
            }
            Mapping::Hole { len } => {
                let extent = map::reserve(tx, ino, first, len.min(wanted))?;
                tx.zero_blocks(run(&extent))?;
                map::insert(tx, ino, extent)?;
                to_map(extent, true)
            }
        };
        Ok((map, Usage::of(tx.inode(ino)?).sectors))
    })?;
    inode.set_sectors(sectors);
    Ok(map)
}

/// The blocks of the device behind an extent.
fn run(extent: &map::Extent) -> Run {
    Run {
        start: extent.block,
        len: extent.len,
    }
}

/// Puts a new size, and the times that go with it, into an inode of the device.
fn record_size(disk: &mut format::Inode, size: u64, times: Times) {
    disk.size.set(size);
    disk.set_time(Stamp::Modify, times.mtime.to_format());
    disk.set_time(Stamp::Change, times.ctime.to_format());
}

/// Records a new size on the device and in memory.
fn set_size(lock: &impl ExclusiveInode<Fs = Pinfs>, size: u64) -> Result {
    let inode = lock.inode();
    let _map = inode.data().map.write();
    let times = inode.times();
    inode.super_block().data().transact(|tx| {
        record_size(tx.inode_mut(inode.ino())?, size, times);
        Ok(())
    })?;
    inode.set_size(lock, size);
    Ok(())
}

/// Zeroes what a mapping may have left behind the end of the file, up to `until` or the end of the
/// last block, before the size grows over it.
fn zero_behind_end(lock: &impl ExclusiveInode<Fs = Pinfs>, until: u64) -> Result {
    let size = lock.inode().size();
    let end = size.next_multiple_of(BLOCK_SIZE).min(until);
    dax::zero_range(lock, size..end.max(size), MAP)
}

/// Breaks leases and waits for pages so that the blocks of `range` (bytes) may be freed, and takes
/// the pages out of the mapping.
///
/// What else is in the pages at the edges of the range, and in a huge page that reaches out of it,
/// is flushed first: the mapping forgets with a page that it is dirty.
///
/// [`Broken::Again`] means that the locks were dropped: whatever the caller has found out about
/// the file has to be found out again.
fn break_layouts(lock: &mut LayoutLock<'_, Pinfs>, range: &Range<u64>) -> Result<Broken> {
    if let Broken::Again = layout::break_layouts(lock, range.clone())? {
        return Ok(Broken::Again);
    }
    for edge in [range.start, range.end.saturating_sub(1)] {
        if edge < lock.inode().size() {
            dax::write_and_wait(lock.inode(), &(edge..edge + 1))?;
        }
    }
    dax::delete_mapping_range(lock, range);
    Ok(Broken::Ready)
}

/// Cuts a file off at `size`: from the first transaction on it has that size, and what lies behind
/// is freed in that one and as many more as it takes. Until then the inode is on the orphan list,
/// so that after a crash the next mount goes on.
fn cut_off(lock: &LayoutLock<'_, Pinfs>, size: u64) -> Result {
    let inode = lock.inode();
    let ino = inode.ino();
    let sb = inode.super_block().data();
    let times = inode.times();
    let _map = inode.data().map.write();
    let (mut done, mut sectors) = sb.transact(|tx| {
        record_size(tx.inode_mut(ino)?, size, times);
        orphan::add(tx, ino)?;
        Ok((orphan::trim(tx, ino)?, Usage::of(tx.inode(ino)?).sectors))
    })?;
    inode.set_size(lock, size);
    inode.set_sectors(sectors);
    while !done {
        (done, sectors) =
            sb.transact(|tx| Ok((orphan::trim(tx, ino)?, Usage::of(tx.inode(ino)?).sectors)))?;
        inode.set_sectors(sectors);
    }
    Ok(())
}

/// Frees the blocks of a range, in steps of one transaction each.
fn remove_blocks(lock: &LayoutLock<'_, Pinfs>, blocks: Range<u64>) -> Result {
    let inode = lock.inode();
    let ino = inode.ino();
    let sb = inode.super_block().data();
    let _map = inode.data().map.write();
    let mut from = blocks.start;
    loop {
        let (progress, sectors) = sb.transact(|tx| {
            let progress = map::remove(tx, ino, from, blocks.end)?;
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
pub(super) fn resize(locked: &mut impl ExclusiveInode<Fs = Pinfs>, size: u64) -> Result {
    if size > locked.inode().size() {
        zero_behind_end(locked, size)?;
        locked.inode().touch();
        return set_size(locked, size);
    }
    let mut lock = LayoutLock::new(locked);
    // The file may have grown or shrunk while the locks were dropped; what the caller wants is
    // the same still, and `range` does not depend on the old size.
    while let Broken::Again = break_layouts(&mut lock, &(size..u64::MAX))? {}
    if size > lock.inode().size() {
        // It has shrunk below what is wanted now.
        zero_behind_end(&lock, size)?;
    }
    lock.inode().touch();
    cut_off(&lock, size)?;
    // A mapping of the last page shows zeroes behind the end. Only now: after a crash before the
    // new size was durable, the file has its old bytes.
    dax::zero_range(&lock, size..size.next_multiple_of(BLOCK_SIZE), MAP)
}

/// Frees the whole blocks of a range and zeroes the rest of it.
fn punch(lock: &LayoutLock<'_, Pinfs>, range: &Range<u64>) -> Result {
    let start = range.start.div_ceil(BLOCK_SIZE);
    let end = range.end / BLOCK_SIZE;
    if start < end {
        remove_blocks(lock, start..end)?;
        dax::zero_range(lock, range.start..start * BLOCK_SIZE, MAP)?;
        dax::zero_range(lock, end * BLOCK_SIZE..range.end, MAP)
    } else {
        dax::zero_range(lock, range.clone(), MAP)
    }
}

/// Allocates unwritten blocks for the holes of a range.
fn preallocate(locked: &impl ExclusiveInode<Fs = Pinfs>, range: &Range<u64>) -> Result {
    let inode = locked.inode();
    let sb = inode.super_block().data();
    let mut block = range.start / BLOCK_SIZE;
    let end = range.end.div_ceil(BLOCK_SIZE);
    while block < end {
        // One extent at a time, so that page faults and a fatal signal get their turn.
        if crate::task::fatal_signal_pending() {
            return Err(EINTR);
        }
        let _map = inode.data().map.write();
        let (next, sectors) = sb.transact(|tx| {
            let next = match map::map_tx(tx, inode.ino(), block)? {
                Mapping::Extent(extent) => extent.end(),
                Mapping::Hole { len } => {
                    let extent = map::reserve(tx, inode.ino(), block, len.min(end - block))?;
                    let unwritten = map::Extent {
                        unwritten: true,
                        ..extent
                    };
                    map::insert(tx, inode.ino(), unwritten)?;
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

/// Allocates and zeroes what is not written of a range, for [`super::allocate_for_pin`].
pub(super) fn allocate_for_pin(inode: &INode<Pinfs>, range: Range<u64>) -> Result {
    if !inode.is_regular() {
        return Err(EINVAL);
    }
    let end = range.end.min(inode.size()).div_ceil(BLOCK_SIZE);
    let mut block = range.start / BLOCK_SIZE;
    let _access = FaultWriteAccess::new(inode);
    while block < end {
        // The size is only looked at once: a pin behind the end of a file that shrinks meanwhile
        // fails in the fault, and the blocks go with the next truncate.
        let _fault = FaultLock::new(inode);
        let found = look_up(inode, block)?;
        let found = match found.extent {
            Extent::Mapped(_) => found,
            _ => {
                let made = allocate_written(inode, block, (end - block).min(ALLOCATE_MAX))?;
                // A read may have mapped the zero page.
                dax::unmap(inode, &(made.offset..made.offset + made.length));
                made
            }
        };
        block = (found.offset + found.length) / BLOCK_SIZE;
    }
    Ok(())
}

/// Makes an inode durable, the device's own buffers included.
pub(super) fn sync_inode(inode: &INode<Pinfs>) -> Result {
    inode.sync_metadata()?;
    dax::flush_device(inode.super_block())
}

struct OpenFileOps;

#[vtable]
impl Operations for OpenFileOps {
    type Fs = Pinfs;

    const MAP: iomap::Table<Pinfs> = MAP;

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
        let read = dax::read(iocb, to, MAP);
        drop(lock);
        iocb.accessed();
        read
    }

    fn write_iter(iocb: &mut Iocb<'_, Pinfs>, from: &mut IovIterSource<'_>) -> Result<usize> {
        let inode = iocb.inode();
        let lock = if iocb.is_nowait() {
            InodeLock::try_new(inode).ok_or(EAGAIN)?
        } else {
            InodeLock::new(inode)
        };
        if iocb.write_checks(from)? == 0 {
            return Ok(0);
        }
        iocb.modified()?;
        if iocb.position() > inode.size() {
            zero_behind_end(&lock, iocb.position())?;
        }
        // Some bytes may have been written before an error; they count.
        let written = dax::write(iocb, from, MAP);
        if iocb.position() > inode.size() {
            set_size(&lock, iocb.position())?;
        }
        drop(lock);
        iocb.write_sync(written?)
    }

    fn fallocate(file: &OpenFile<'_, Pinfs>, what: &Fallocate) -> Result {
        let mode = what.mode().ok_or_else(eopnotsupp)?;
        let inode = file.inode();
        let mut locked = InodeLock::new(inode);
        match mode {
            FallocateMode::Allocate => {
                let grows = !what.keeps_size() && what.range.end > inode.size();
                if grows {
                    inode.check_new_size(&locked, what.range.end)?;
                }
                file.modified()?;
                preallocate(&locked, &what.range)?;
                if grows {
                    zero_behind_end(&locked, what.range.end)?;
                    set_size(&locked, what.range.end)?;
                }
                Ok(())
            }
            FallocateMode::PunchHole => {
                let mut lock = LayoutLock::new(&mut locked);
                while let Broken::Again = break_layouts(&mut lock, &what.range)? {}
                file.modified()?;
                punch(&lock, &what.range)
            }
        }
    }

    fn release(file: &OpenFile<'_, Pinfs>) {
        layout::lease::closed(file.inode(), file.id());
    }

    fn fsync(file: &OpenFile<'_, Pinfs>, start: i64, end: i64, _datasync: bool) -> Result {
        file.write_and_wait(start, end)?;
        sync_inode(file.inode())
    }
}
