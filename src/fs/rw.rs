// SPDX-License-Identifier: GPL-2.0

//! Reads and writes of regular files, without the block map where that is known already: most go on
//! where the one before ended. And appends, which write into blocks that are not part of the file yet.
//! The rest is for the DAX core to do ([`dax::read`], [`dax::write`]).

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

/// The place on the device of the byte at `pos` of a file, and how many bytes of at most `len` follow
/// there, if that was looked up last; none of a hole.
///
/// The inode lock keeps it so ([`MapLock::newest`](super::inode::MapLock::newest)).
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

/// The device under the file system.
fn device(inode: &FsInode<Pinfs>) -> &dax::Device {
    inode.super_block().data().as_ref()
}

/// Reads what is in the extent that was looked up last, if the read begins there.
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

/// Overwrites what is in the extent that was looked up last, if the write begins there.
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

/// Blocks that are set aside for a file, until they are part of it.
struct PendingExtent<'a> {
    inode: &'a FsInode<Pinfs>,
    extent: extent::Extent,
}

impl<'a> PendingExtent<'a> {
    /// Sets as many as come together of the `wanted` blocks aside, for file block `first`, behind the
    /// last extent. `None` if it is not known which that is.
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

    /// Bytes in the blocks.
    fn len(&self) -> u64 {
        self.extent.len * BLOCK_SIZE
    }

    /// Keeps those that hold the first `len` bytes, and zeroes what is behind them in the last one.
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

    /// Lets others have all but the first `used` blocks.
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

    /// Makes the blocks part of the file, which ends at byte `size` then, in one durable transaction.
    fn append(mut self, lock: &InodeLock<'_, Pinfs>, size: u64) -> Result {
        let (inode, extent) = (self.inode, self.extent);
        let map = inode.data().map.write();
        let times = inode.times();
        let sectors = inode.super_block().transact(&map, |tx| {
            // From here on they are the transaction's, whatever comes of it.
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

/// Writes whole new blocks at the end of a file: what is written goes into blocks that are not part
/// of it yet, and then one transaction makes them so, and records the size. So a crash shows all of
/// such a piece or nothing, and no block is stored to twice.
///
/// Nobody else gives the file blocks behind its end meanwhile: who does holds the inode lock
/// exclusively, or is a page fault or a pin, which stay below the size. Blocks that are there already
/// (preallocated, or left by a crash) make the transaction fail, and [`dax::write`] uses them.
///
/// Returns the number of bytes written, 0 if this is for [`dax::write`] to do.
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
    // With more blocks than the size needs, some may be here; to find out later costs a copy.
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

/// Reads what is there, up to the end of the file or an error.
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

/// What a read or write says that has copied `done` bytes before `rest`: an error after some is not
/// told of.
fn after(done: usize, rest: Result<usize>) -> Result<usize> {
    match rest {
        Err(_) if done > 0 => Ok(done),
        rest => rest.map(|bytes| done + bytes),
    }
}
