// SPDX-License-Identifier: GPL-2.0

//! Reads and writes of regular files that avoid the block map. Most start in the extent that was
//! looked up last. Appends write into blocks that are not part of the file yet. The DAX core
//! handles the rest ([`dax::read`], [`dax::write`]).

use super::{
    file::{
        look_up,
        record_size,
        ALLOCATE_MAX,
        MAP, //
    },
    inode::Usage,
    super_block::{
        Pinfs,
        Session, //
    }, //
};
use crate::{
    engine::{
        extents,
        run::BlockRun,
        Medium, //
    },
    ondisk::{
        extent,
        BLOCK_SIZE, //
    },
    rust::{
        dax,
        lock::{
            ExclusiveInode,
            HeldInode,
            InodeLock,
            SharedInodeLock, //
        },
        vfs::{
            file::Iocb,
            iomap::Extent,
            FsInode, //
        }, //
    }, //
};
use kernel::{
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*, //
};

/// Returns the place on the device of the byte at `pos` of a file, and how many bytes, at most
/// `len`, are contiguous there. Returns `None` if it is not in the extent that was looked up last,
/// or that is unwritten.
///
/// The inode lock keeps it valid ([`MapLock::newest`](super::inode::MapLock::newest)).
fn known_place(
    lock: &impl HeldInode,
    inode: &FsInode<Pinfs>,
    pos: u64,
    len: usize,
) -> Option<(u64, usize)> {
    let newest = inode.data().map.newest(lock)?;
    let extent = newest.from(pos / BLOCK_SIZE)?;
    if extent.unwritten {
        return None;
    }
    let within = pos % BLOCK_SIZE;
    let bytes = extent.len * BLOCK_SIZE - within;
    let len = usize::try_from(bytes).map_or(len, |bytes| len.min(bytes));
    Some((extent.block * BLOCK_SIZE + within, len))
}

/// Returns the device of the file system.
fn device(inode: &FsInode<Pinfs>) -> &dax::Device {
    inode.super_block().data().as_ref()
}

/// Reads from the extent that was looked up last, if the read starts there.
fn read_known(
    lock: &SharedInodeLock<'_, Pinfs>,
    iocb: &mut Iocb<'_, Pinfs>,
    to: &mut IovIterDest<'_>,
) -> Result<usize> {
    let inode = iocb.inode();
    inode.super_block().check_readable()?;
    let pos = iocb.position();
    let left = inode.size().saturating_sub(pos);
    let len = usize::try_from(left).map_or(to.len(), |left| left.min(to.len()));
    if len == 0 {
        return Ok(0);
    }
    let Some(place) = known_place(lock, inode, pos, len) else {
        return Ok(0);
    };
    let read = dax::read_extent(lock, device(inode), place, to);
    iocb.advance(read);
    Ok(read)
}

/// Overwrites the extent that was looked up last, if the write starts there.
fn write_known(
    lock: &InodeLock<'_, Pinfs>,
    iocb: &mut Iocb<'_, Pinfs>,
    from: &mut IovIterSource<'_>,
) -> Result<usize> {
    let inode = iocb.inode();
    let Some(place) = known_place(lock, inode, iocb.position(), from.len()) else {
        return Ok(0);
    };
    let written = dax::write_extent(lock, device(inode), place, from, |_| Ok(()))?;
    iocb.advance(written);
    Ok(written)
}

/// Blocks that are claimed for a file, until they are part of it.
struct PendingExtent<'a> {
    inode: &'a FsInode<Pinfs>,
    extent: extent::Extent,
}

impl<'a> PendingExtent<'a> {
    /// Claims as many of the `wanted` blocks as are contiguous for file block `first`, after the
    /// last extent. Returns `None` if the last extent is not known.
    fn new(lock: &'a InodeLock<'_, Pinfs>, first: u64, wanted: u64) -> Result<Option<Self>> {
        let inode = lock.inode();
        let last = inode.data().map.newest(lock);
        let last = last.filter(|last| last.end() == first);
        if last.is_none() && first > 0 {
            return Ok(None);
        }
        let sb = inode.super_block();
        let extent = sb
            .data()
            .claim_extent(last, first, wanted.min(ALLOCATE_MAX))?;
        let extent = extent.map_err(|err| sb.report(err))?;
        Ok(Some(Self { inode, extent }))
    }

    /// Returns the number of bytes in the blocks.
    fn len(&self) -> u64 {
        self.extent.len * BLOCK_SIZE
    }

    /// Keeps the blocks of the first `len` bytes, and zeroes the rest of the last one.
    fn cut(&mut self, len: u64) -> Result {
        let start = self.extent.block * BLOCK_SIZE;
        let used = len.div_ceil(BLOCK_SIZE);
        self.give_back(used);
        let sb = self.inode.super_block();
        let rest = used * BLOCK_SIZE - len;
        if rest == 0 {
            return Ok(());
        }
        let zero = |medium: Session<'_>| {
            medium.zero(start + len, rest)?;
            medium.flush(start + len, rest)
        };
        let medium = sb.data().medium().session();
        medium.and_then(zero).map_err(|err| sb.report(err))
    }

    /// Releases all but the first `used` blocks.
    fn give_back(&mut self, used: u64) {
        let rest = BlockRun {
            start: self.extent.block + used,
            len: self.extent.len - used,
        };
        self.extent.len = used;
        if rest.len > 0 {
            self.inode.super_block().data().give_back(rest);
        }
    }

    /// Makes the blocks part of the file, with the file size `size`, in one durable transaction.
    fn append(mut self, lock: &InodeLock<'_, Pinfs>, size: u64) -> Result {
        let (inode, extent) = (self.inode, self.extent);
        let map = inode.data().map.write();
        let times = inode.times();
        let sectors = inode.super_block().transact(&map, |tx| {
            // From here on the transaction owns the blocks, even if it fails.
            self.extent.len = 0;
            extents::append(tx, inode.ino(), extent)?;
            record_size(tx.inode_mut(inode.ino())?, size, times);
            Ok(Usage::of(tx.inode(inode.ino())?).sectors)
        })?;
        inode.set_sectors(sectors);
        inode.set_size(lock, size);
        inode.data().map.made(&map, extent);
        Ok(())
    }
}

impl Drop for PendingExtent<'_> {
    fn drop(&mut self) {
        self.give_back(0);
    }
}

/// Appends whole new blocks to a file: the bytes are written to blocks that are not part of the
/// file yet, and then one transaction adds the blocks and records the size. So a crash leaves all
/// of the blocks or none, and no block is stored to twice.
///
/// No other task adds blocks past the end of the file meanwhile: that needs the inode lock,
/// exclusive, and page faults and pins stay below the size. If the file has blocks there
/// (preallocated, or left by a crash), the transaction fails, and [`dax::write`] uses them.
///
/// Returns the number of bytes written, 0 if [`dax::write`] has to write them.
fn append(
    lock: &InodeLock<'_, Pinfs>,
    iocb: &mut Iocb<'_, Pinfs>,
    from: &mut IovIterSource<'_>,
) -> Result<usize> {
    let inode = iocb.inode();
    let pos = iocb.position();
    if iocb.is_nowait() || pos % BLOCK_SIZE != 0 || pos < inode.size() || from.is_empty() {
        return Ok(0);
    }
    let first = pos / BLOCK_SIZE;
    // With more blocks than the size needs, some may be here. A failure later would cost a copy.
    let many = inode.sectors() > first * (BLOCK_SIZE / 512);
    if many && look_up(inode, first)?.extent != Extent::Hole {
        return Ok(0);
    }
    let wanted = (from.len() as u64).div_ceil(BLOCK_SIZE);
    let Some(mut aside) = PendingExtent::new(lock, first, wanted)? else {
        return Ok(0);
    };
    let len = usize::try_from(aside.len()).map_or(from.len(), |len| len.min(from.len()));
    let start = aside.extent.block * BLOCK_SIZE;
    let written = dax::write_extent(lock, device(inode), (start, len), from, |written| {
        aside.cut(written as u64)?;
        aside.append(lock, pos + written as u64)
    });
    match written {
        Ok(written) => {
            iocb.advance(written);
            Ok(written)
        }
        Err(err) if err.to_errno() == EEXIST.to_errno() => Ok(0),
        Err(err) => Err(err),
    }
}

/// Reads up to the end of the file or an error.
pub(super) fn read(
    lock: &SharedInodeLock<'_, Pinfs>,
    iocb: &mut Iocb<'_, Pinfs>,
    to: &mut IovIterDest<'_>,
) -> Result<usize> {
    let done = read_known(lock, iocb, to)?;
    if to.is_empty() || iocb.position() >= iocb.inode().size() {
        return Ok(done);
    }
    after(done, dax::read(lock, iocb, to, MAP))
}

/// Writes all of `from`, or up to an error.
pub(super) fn write(
    lock: &InodeLock<'_, Pinfs>,
    iocb: &mut Iocb<'_, Pinfs>,
    from: &mut IovIterSource<'_>,
) -> Result<usize> {
    let mut done = write_known(lock, iocb, from)?;
    while !from.is_empty() {
        match append(lock, iocb, from) {
            Ok(0) => return after(done, dax::write(lock, iocb, from, MAP)),
            Ok(written) => done += written,
            Err(err) => return after(done, Err(err)),
        }
    }
    Ok(done)
}

/// Returns the result of a read or write that copied `done` bytes before `rest`. An error after a
/// partial copy is dropped.
fn after(done: usize, rest: Result<usize>) -> Result<usize> {
    match rest {
        Err(_) if done > 0 => Ok(done),
        rest => rest.map(|bytes| done + bytes),
    }
}
