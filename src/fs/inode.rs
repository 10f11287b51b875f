// SPDX-License-Identifier: GPL-2.0

//! Inodes: reading, writing, changing and freeing them.

use super::{
    dir,
    file::{
        self,
        Untracked, //
    },
    super_block::Pinfs, //
};
use crate::{
    engine::{
        orphan,
        symlink, //
    },
    layout,
    ondisk::{
        self,
        extent::Extent,
        inode::{
            settable,
            Stamp, //
        }, //
    },
    rust::{
        dax,
        lock::{
            ExclusiveInode,
            HeldInode,
            NoFaults,
            ReadGuard,
            RwSemaphore,
            VfsLocked,
            WriteGuard, //
        },
        vfs::{
            errno::{
                eopnotsupp,
                estale, //
            },
            inode::{
                self,
                Attributes,
                Details,
                Found,
                Kind,
                New,
                Operations,
                Params,
                Table,
                Time,
                Times,
                Type,
                FS_APPEND_FL,
                FS_IMMUTABLE_FL, //
            },
            iomap,
            FsInode,
            SuperBlock, //
        }, //
    }, //
};
use kernel::{
    c_str,
    new_spinlock,
    prelude::*,
    static_lock_class,
    sync::{
        aref::ARef,
        SpinLock, //
    }, //
};

/// What pinfs keeps beside each inode.
#[pin_data]
pub(crate) struct Data {
    /// The map lock: the inode and its tree on the device.
    #[pin]
    pub(super) map: MapLock,
    /// Bytes that may have been written since they were flushed without the mapping's knowing. A leaf.
    #[pin]
    pub(super) untracked: SpinLock<Untracked>,
}

impl Data {
    /// Returns an initialiser.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            map <- MapLock::new(),
            untracked <- new_spinlock!(Untracked::default(), "pinfs_untracked"),
        })
    }
}

/// The lock of an inode and its tree on the device, with the extent that was found there last: most
/// reads and writes go on where the one before ended.
#[pin_data]
pub(super) struct MapLock {
    #[pin]
    lock: RwSemaphore,
    /// Only valid while the lock is held, or see [`MapLock::newest`]. Taking it exclusively empties
    /// this, so that whoever may change the tree need not know of it; holders who have looked an
    /// extent up store it.
    #[pin]
    last: SpinLock<Option<Extent>>,
}

impl MapLock {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- RwSemaphore::new(c_str!("pinfs_map"), static_lock_class!()),
            last <- new_spinlock!(None, "pinfs_map_last"),
        })
    }

    /// Waits for the lock with other readers.
    pub(super) fn read(&self) -> ReadGuard<'_> {
        self.lock.read()
    }

    /// Takes the lock with other readers, if nobody has it alone.
    pub(super) fn try_read(&self) -> Option<ReadGuard<'_>> {
        self.lock.try_read()
    }

    /// Waits for the lock alone.
    pub(super) fn write(&self) -> WriteGuard<'_> {
        self.write_nested(0)
    }

    /// Waits for the lock alone, for a change that leaves the tree as it is.
    pub(super) fn write_fields(&self) -> WriteGuard<'_> {
        self.lock.write()
    }

    fn write_nested(&self, depth: i32) -> WriteGuard<'_> {
        let guard = self.lock.write_nested(depth);
        *self.last.lock() = None;
        guard
    }

    /// Returns the extent that was looked up or made last, to those who do not hold this lock but that
    /// of the inode, or handle a page fault of it.
    ///
    /// It was there when it was stored, and nobody has changed the tree since: whoever has the lock
    /// exclusively empties this before. What may change without the lock of the inode are holes and
    /// unwritten extents, which page faults fill: if this one is not written it may be so soon.
    pub(super) fn newest(&self, _lock: &impl HeldInode) -> Option<Extent> {
        *self.last.lock()
    }

    /// Returns what is known of the extent at file block `first`, from there on.
    pub(super) fn last(&self, _lock: &ReadGuard<'_>, first: u64) -> Option<Extent> {
        let last = *self.last.lock();
        last.and_then(|last| last.from(first))
    }

    /// Says that `extent` was found.
    pub(super) fn found(&self, _lock: &ReadGuard<'_>, extent: Extent) {
        *self.last.lock() = Some(extent);
    }

    /// Says that `extent` was made.
    pub(super) fn made(&self, _lock: &WriteGuard<'_>, extent: Extent) {
        *self.last.lock() = Some(extent);
    }
}

/// Evidence that the current task holds the map locks of the inodes that it reads on the device.
///
/// Which inodes these are, it does not say.
pub(super) trait MapsRead {}

impl MapsRead for ReadGuard<'_> {}
impl<L: MapsWritten> MapsRead for L {}

/// Evidence that it holds the map locks of those that it changes, exclusively.
pub(super) trait MapsWritten {}

impl MapsWritten for WriteGuard<'_> {}
impl MapsWritten for MapLocks<'_> {}

/// A transaction that concerns no inode.
pub(super) struct NoInode;

impl MapsWritten for NoInode {}

/// The map locks of up to four inodes, held exclusively, without double ones.
///
/// They are taken by ascending inode number, which is what keeps two renames from waiting for each
/// other: the VFS's locks order directories by ancestry, but writeback and page faults know
/// nothing of them.
pub(super) struct MapLocks<'a>([Option<WriteGuard<'a>>; 4]);

impl<'a> MapLocks<'a> {
    /// Takes the locks of all `inodes` that are given.
    pub(super) fn new(inodes: [Option<&'a FsInode<Pinfs>>; 4]) -> Self {
        let mut locks = Self([None, None, None, None]);
        let mut last = None;
        for (depth, slot) in locks.0.iter_mut().enumerate() {
            let rest = inodes
                .into_iter()
                .flatten()
                .filter(|inode| Some(inode.ino()) > last);
            let Some(next) = rest.min_by_key(|inode| inode.ino()) else {
                break;
            };
            *slot = Some(next.data().map.write_nested(depth as i32));
            last = Some(next.ino());
        }
        locks
    }
}

impl Time {
    fn of_format(time: ondisk::Time) -> Self {
        Time {
            sec: time.sec,
            nsec: time.nsec,
        }
    }

    /// Returns the time as the engine wants it.
    pub(super) fn to_format(self) -> ondisk::Time {
        ondisk::Time {
            sec: self.sec,
            nsec: self.nsec,
        }
    }
}

/// The functions of regular and special files, and of symbolic links.
struct LeafInode;

#[vtable]
impl Operations for LeafInode {
    type Fs = Pinfs;

    const MAP: Option<iomap::Table<Pinfs>> = Some(file::MAP);

    fn setattr(inode: &mut VfsLocked<'_, Pinfs>, attributes: Attributes<'_>) -> Result {
        setattr(inode, attributes)
    }

    fn details(inode: &FsInode<Pinfs>) -> Result<Option<Details>> {
        details(inode)
    }

    fn set_flags(inode: &VfsLocked<'_, Pinfs>, flags: u32) -> Result {
        set_flags(inode, flags)
    }
}

/// Changes attributes; the size is the file's to change.
pub(super) fn setattr(inode: &mut VfsLocked<'_, Pinfs>, mut attributes: Attributes<'_>) -> Result {
    if inode.inode().is_immutable() {
        // Who has it open for writing gets here without having been asked for.
        return Err(EPERM);
    }
    attributes.prepare()?;
    if let Some(size) = attributes.size() {
        file::resize(inode, size, &attributes)?;
    }
    attributes.apply(inode);
    write(inode.inode())?;
    attributes.follow_mode(inode)
}

/// Returns what the device alone knows of an inode; nothing after a shutdown, when an administrator
/// still looks at the root directory to thaw what was frozen before.
pub(super) fn details(inode: &FsInode<Pinfs>) -> Result<Option<Details>> {
    let sb = inode.super_block();
    if sb.check_readable().is_err() {
        return Ok(None);
    }
    let map = inode.data().map.read();
    let disk = sb.data().volume(&map).inode(inode.ino());
    disk.map(|disk| {
        Some(Details {
            birth: Time::of_format(disk.time(Stamp::Birth)),
            flags: disk.attributes(),
        })
    })
    .map_err(|err| sb.report(err))
}

/// Sets the flags of an inode, for chattr(1).
///
/// Of a file that has become immutable nothing may change any more, through mappings either: page
/// faults are refused from then on, and those that went before are over when the lock is there.
/// Writing the pages back makes what is mapped read-only, so that the next store faults.
///
/// A device would go on: whoever has pinned pages of the file has the right to write to them. So of
/// such a file nobody takes that right away, as it cannot be mounted read-only either (`EBUSY`),
/// and pages of a file whose contents must stay are not pinned. The one is asked and the other
/// forbidden at once, before the device knows.
pub(super) fn set_flags(locked: &VfsLocked<'_, Pinfs>, flags: u32) -> Result {
    let inode = locked.inode();
    if flags & !settable(inode.mode().into()) != 0 {
        return Err(eopnotsupp());
    }
    let before = details(inode)?.ok_or(EIO)?.flags;
    if flags & !before & (FS_IMMUTABLE_FL | FS_APPEND_FL) != 0 {
        layout::unless_pinned(inode, || inode.set_flags(locked, flags))?;
    }
    let now = inode.current_time();
    let recorded = {
        let map = inode.data().map.write_fields();
        inode.super_block().transact(&map, |tx| {
            let disk = tx.inode_mut(inode.ino())?;
            disk.set_attributes(flags);
            disk.set_time(Stamp::Change, now.to_format());
            Ok(())
        })
    };
    recorded.inspect_err(|_| inode.set_flags(locked, before))?;
    inode.set_ctime(now);
    let no_faults = NoFaults::new(inode);
    inode.set_flags(locked, flags);
    if inode.is_immutable() && inode.is_regular() {
        dax::write_and_wait(no_faults.inode(), &(0..u64::MAX))?;
    }
    Ok(())
}

/// Returns inode `ino`, from memory or from the device.
///
/// # Errors
///
/// `ESTALE` if there is no such inode, `EUCLEAN` if it is damaged, `ENOMEM`.
pub(super) fn get(sb: &SuperBlock<Pinfs>, ino: u64) -> Result<ARef<FsInode<Pinfs>>> {
    match inode::get(sb, ino)? {
        Found::Cached(inode) => Ok(inode),
        Found::New(new) => read(new),
    }
}

/// The inode that the superblock or a name stands for. Who asks holds the lock of the directory, so
/// the name cannot have gone meanwhile: the inode must be there.
///
/// # Errors
/// `EUCLEAN` if it is not, or is damaged; `ENOMEM`.
pub(super) fn named(sb: &SuperBlock<Pinfs>, ino: u64) -> Result<ARef<FsInode<Pinfs>>> {
    get(sb, ino).map_err(|err| {
        if err.to_errno() == ondisk::Error::Stale.errno() {
            sb.report(ondisk::Error::Corrupt("a name stands for no inode"))
        } else {
            err
        }
    })
}

/// Reads an inode from the device, and does nothing else.
pub(super) fn on_disk(inode: &FsInode<Pinfs>) -> ondisk::Result<ondisk::Inode> {
    let map = inode.data().map.read();
    inode.super_block().data().volume(&map).inode(inode.ino())
}

/// Reads an inode from the device and publishes it.
///
/// # Errors
///
/// As [`get`].
pub(super) fn read(new: New<Pinfs>) -> Result<ARef<FsInode<Pinfs>>> {
    let sb = new.super_block();
    sb.check_readable()?;
    let disk = on_disk(&new).map_err(|err| sb.report(err))?;
    let mut target = KVec::new();
    if Type::of_mode(disk.mode.get() as u16) == Type::Symlink {
        let len = usize::try_from(disk.size.get()).map_err(|_| EOVERFLOW)?;
        if len > ondisk::symlink::MAX {
            return Err(sb.report(ondisk::Error::Corrupt("symbolic link is too long")));
        }
        target.resize(len, 0, GFP_KERNEL)?;
        let map = new.data().map.read();
        symlink::read(sb.data().volume(&map), &disk, &mut target).map_err(|err| sb.report(err))?;
    }
    if disk.nlink.get() == 0 {
        // It waits to be freed, and a handle must not bring it back.
        return Err(estale());
    }
    let params = params(&disk, &target);
    new.publish(params)
}

/// How a file on the device looks to the VFS.
pub(super) fn params<'a>(disk: &ondisk::Inode, target: &'a [u8]) -> Params<'a, Pinfs> {
    let mode = disk.mode.get() as u16;
    let usage = Usage::of(disk);
    Params {
        mode,
        uid: disk.uid.get(),
        gid: disk.gid.get(),
        nlink: disk.nlink.get(),
        size: usage.size,
        sectors: usage.sectors,
        generation: disk.generation.get(),
        version: disk.version.get(),
        flags: disk.attributes(),
        rdev: match Type::of_mode(mode) {
            Type::Special => disk.rdev.get() as u32,
            // Of a file the field is the engine's.
            _ => 0,
        },
        times: Times {
            atime: Time::of_format(disk.time(Stamp::Access)),
            mtime: Time::of_format(disk.time(Stamp::Modify)),
            ctime: Time::of_format(disk.time(Stamp::Change)),
        },
        kind: kind(mode, target),
    }
}

/// The tables for a file of this mode.
fn kind(mode: u16, target: &[u8]) -> Kind<'_, Pinfs> {
    match Type::of_mode(mode) {
        Type::Regular => Kind::Regular(Table::of::<LeafInode>(), file::TABLE),
        Type::Directory => Kind::Directory(dir::INODE_TABLE, dir::FILE_TABLE),
        Type::Symlink => Kind::Symlink(Table::symlink::<LeafInode>(), target),
        Type::Special => Kind::Special(Table::of::<LeafInode>()),
    }
}

/// What an inode holds, as a transaction leaves it.
#[derive(Clone, Copy)]
pub(super) struct Usage {
    /// Bytes of a file; entries of a directory.
    pub(super) size: u64,
    /// Blocks, in the 512-byte sectors that statx reports.
    pub(super) sectors: u64,
}

impl Usage {
    /// Reads it from an inode of the device.
    pub(super) fn of(disk: &ondisk::Inode) -> Self {
        Self {
            size: disk.size.get(),
            sectors: disk.blocks.get().saturating_mul(ondisk::BLOCK_SIZE / 512),
        }
    }
}

/// Writes what the VFS changes by itself (times, mode, owner) and what writes leave for later (the
/// size of a file) to the device. Link counts, and what directories hold, are written by the
/// transactions that change them.
///
/// Whoever else changes a size does so on the device and in memory under the map lock, so that the
/// size read here is not older than the one on the device; a write that changes it in memory alone
/// marks the inode dirty after that.
///
/// What cannot be written because the file system is idle stays dirty, for when it no longer is.
pub(super) fn write(inode: &FsInode<Pinfs>) -> Result {
    let sb = inode.super_block();
    let map = inode.data().map.write_fields();
    let (uid, gid) = inode.owner();
    let (mode, times, version) = (inode.mode(), inode.times(), inode.version());
    let written = sb.transact(&map, |tx| {
        let disk = tx.inode(inode.ino())?;
        if (!inode.is_regular() || disk.size.get() == inode.size())
            && (disk.mode.get(), disk.uid.get(), disk.gid.get()) == (mode.into(), uid, gid)
            && disk.version.get() >= version
            && [
                (Stamp::Access, times.atime),
                (Stamp::Modify, times.mtime),
                (Stamp::Change, times.ctime),
            ]
            .iter()
            .all(|&(stamp, time)| disk.time(stamp) == time.to_format())
        {
            // A transaction has recorded it since.
            return Ok(());
        }
        let disk = tx.inode_mut(inode.ino())?;
        if inode.is_regular() {
            disk.size.set(inode.size());
        }
        disk.mode.set(mode.into());
        disk.uid.set(uid);
        disk.gid.set(gid);
        disk.set_time(Stamp::Access, times.atime.to_format());
        disk.set_time(Stamp::Modify, times.mtime.to_format());
        disk.set_time(Stamp::Change, times.ctime.to_format());
        // Not below what somebody may have been told.
        disk.version.set(disk.version.get().max(version));
        Ok(())
    });
    if written.is_err() && sb.data().state().is_idle() {
        inode.mark_dirty();
    }
    written
}

/// Writes the size that a write may have left for the next sync. To be called before the inode gets
/// the name of another: who replaces a file by a new one wants to find one of the two after a
/// crash, and not the new one without its contents.
pub(super) fn write_size(inode: &FsInode<Pinfs>) -> Result {
    if inode.is_regular() && inode.is_dirty() {
        write(inode)?;
    }
    Ok(())
}

/// Frees a file without a name, whose inode leaves memory. While the file system is idle it stays
/// on the orphan list, for [`recovery`](super::recovery) or the next mount.
pub(super) fn evict(inode: &FsInode<Pinfs>) {
    let sb = inode.super_block();
    if sb.check_writable().is_err() {
        return;
    }
    let freed = free(inode).and_then(|freed| freed.map_err(|err| sb.report(err)));
    // The file system may have become read-only meanwhile.
    if let Some(err) = freed.err().filter(|_| !sb.data().state().is_idle()) {
        pr_err!(
            "{}: inode {} could not be freed ({err:?}); the next mount will try again\n",
            sb.id(),
            inode.ino()
        );
        sb.ask_for_check();
    }
}

/// Frees a file without a name, in steps that each leave it on the orphan list until it is empty,
/// for the next mount to go on after a crash. The inner error is about the inode.
///
/// Nobody else has the inode: it is leaving memory, or on its way there.
pub(super) fn free(inode: &FsInode<Pinfs>) -> Result<ondisk::Result> {
    let data = inode.super_block().data();
    let map = inode.data().map.write();
    loop {
        let freed = data.transact(&map, |tx| orphan::reap(tx, inode.ino()))?;
        match freed {
            Ok(false) => {}
            ended => return Ok(ended.map(drop)),
        }
    }
}
