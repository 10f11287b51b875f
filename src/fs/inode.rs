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

/// The data of pinfs for each inode.
#[pin_data]
pub(crate) struct Data {
    /// The map lock: protects the inode and its tree on the device.
    #[pin]
    pub(super) map: MapLock,
    /// Bytes that may have been written since their last flush without being dirty in the mapping.
    /// The lock is a leaf.
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

/// The lock of an inode and its tree on the device, with the extent that was looked up last: most
/// reads and writes continue at the end of the previous one.
#[pin_data]
pub(super) struct MapLock {
    #[pin]
    lock: RwSemaphore,
    /// Only valid while the lock is held, but see [`MapLock::newest`]. Taking the lock exclusively
    /// clears this, so that code that changes the tree need not. Holders of the lock that have
    /// looked an extent up store it.
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

    /// Waits for the lock, shared.
    pub(super) fn read(&self) -> ReadGuard<'_> {
        self.lock.read()
    }

    /// Takes the lock shared, if no task holds it exclusively.
    pub(super) fn try_read(&self) -> Option<ReadGuard<'_>> {
        self.lock.try_read()
    }

    /// Waits for the lock, exclusive.
    pub(super) fn write(&self) -> WriteGuard<'_> {
        self.write_nested(0)
    }

    /// Waits for the lock, exclusive, for a change that does not modify the tree.
    pub(super) fn write_fields(&self) -> WriteGuard<'_> {
        self.lock.write()
    }

    fn write_nested(&self, depth: i32) -> WriteGuard<'_> {
        let guard = self.lock.write_nested(depth);
        *self.last.lock() = None;
        guard
    }

    /// Returns the extent that was looked up or allocated last. The caller does not hold this lock
    /// but that of the inode, or handles a page fault of it.
    ///
    /// The extent was valid when it was stored, and the tree has not changed since: taking the lock
    /// exclusively clears the extent before. Without the inode lock only holes and unwritten
    /// extents can change, because page faults fill them: an extent that is not written may become
    /// so at any time.
    pub(super) fn newest(&self, _lock: &impl HeldInode) -> Option<Extent> {
        *self.last.lock()
    }

    /// Returns the known extent from file block `first` on, if there is one.
    pub(super) fn last(&self, _lock: &ReadGuard<'_>, first: u64) -> Option<Extent> {
        let last = *self.last.lock();
        last.and_then(|last| last.from(first))
    }

    /// Stores an extent that was looked up.
    pub(super) fn found(&self, _lock: &ReadGuard<'_>, extent: Extent) {
        *self.last.lock() = Some(extent);
    }

    /// Stores an extent that was allocated.
    pub(super) fn made(&self, _lock: &WriteGuard<'_>, extent: Extent) {
        *self.last.lock() = Some(extent);
    }
}

/// Evidence that the current task holds the map locks of the inodes that it reads on the device.
///
/// It does not show which inodes these are.
pub(super) trait MapsRead {}

impl MapsRead for ReadGuard<'_> {}
impl<L: MapsWritten> MapsRead for L {}

/// Evidence that the current task holds the map locks of the inodes that it changes, exclusively.
pub(super) trait MapsWritten {}

impl MapsWritten for WriteGuard<'_> {}
impl MapsWritten for MapLocks<'_> {}

/// A transaction that concerns no inode.
pub(super) struct NoInode;

impl MapsWritten for NoInode {}

/// The map locks of up to four inodes, held exclusively. Each inode is locked once.
///
/// They are taken by ascending inode number, which keeps two renames from a deadlock. The VFS's
/// locks order directories by ancestry, but writeback and page faults do not take these.
pub(super) struct MapLocks<'a>([Option<WriteGuard<'a>>; 4]);

impl<'a> MapLocks<'a> {
    /// Takes the locks of all `inodes` that are `Some`.
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

    /// Returns the time in the engine's type.
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

/// Changes attributes. A new size is passed to [`file::resize`].
pub(super) fn setattr(inode: &mut VfsLocked<'_, Pinfs>, mut attributes: Attributes<'_>) -> Result {
    if inode.inode().is_immutable() {
        // A process that has it open for writing gets here without a check.
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

/// Returns the attributes of an inode that only the device has. Returns `None` after a shutdown,
/// when an administrator may still read the root directory to thaw a file system that was frozen
/// before.
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
/// A file that has become immutable must not change, through mappings either. Page faults fail from
/// then on, and earlier ones have ended when the lock is taken. Writeback makes mapped pages
/// read-only, so that the next store faults.
///
/// A device would continue: a process that has pinned pages of the file has the right to write to
/// them. So a file with pins cannot become immutable or append-only, as the file system cannot be
/// mounted read-only either (`EBUSY`), and pages of an immutable file are not pinned. The check for
/// pins, and the flags in memory that make new pins fail, are one step before the change on the
/// device.
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

/// Returns the inode of the superblock's root or of a name. The caller holds the lock of the
/// directory, so the name cannot be removed meanwhile: the inode must exist.
///
/// # Errors
/// `EUCLEAN` if it does not exist, or is damaged; `ENOMEM`.
pub(super) fn named(sb: &SuperBlock<Pinfs>, ino: u64) -> Result<ARef<FsInode<Pinfs>>> {
    get(sb, ino).map_err(|err| {
        if err.to_errno() == ondisk::Error::Stale.errno() {
            sb.report(ondisk::Error::Corrupt("a name without an inode"))
        } else {
            err
        }
    })
}

/// Reads an inode from the device, without publishing it.
pub(super) fn on_disk(inode: &FsInode<Pinfs>) -> ondisk::Result<ondisk::Inode> {
    let map = inode.data().map.read();
    inode.super_block().data().volume(&map).inode(inode.ino())
}

/// Reads an inode from the device and publishes it.
///
/// # Errors
///
/// The same as [`get`].
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
        // It will be freed, and a file handle must not revive it.
        return Err(estale());
    }
    let params = params(&disk, &target);
    new.publish(params)
}

/// Returns the attributes of a file on the device for the VFS.
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
            // For other files the engine uses this field.
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

/// Returns the tables for a file of this mode.
fn kind(mode: u16, target: &[u8]) -> Kind<'_, Pinfs> {
    match Type::of_mode(mode) {
        Type::Regular => Kind::Regular(Table::of::<LeafInode>(), file::TABLE),
        Type::Directory => Kind::Directory(dir::INODE_TABLE, dir::FILE_TABLE),
        Type::Symlink => Kind::Symlink(Table::symlink::<LeafInode>(), target),
        Type::Special => Kind::Special(Table::of::<LeafInode>()),
    }
}

/// Size and blocks of an inode after a transaction.
#[derive(Clone, Copy)]
pub(super) struct Usage {
    /// Bytes of a file; entries of a directory.
    pub(super) size: u64,
    /// Blocks, in the 512-byte sectors that statx reports.
    pub(super) sectors: u64,
}

impl Usage {
    /// Reads them from an inode of the device.
    pub(super) fn of(disk: &ondisk::Inode) -> Self {
        Self {
            size: disk.size.get(),
            sectors: disk.blocks.get().saturating_mul(ondisk::BLOCK_SIZE / 512),
        }
    }
}

/// Writes attributes that the VFS changes by itself (times, mode, owner) and the size that writes
/// leave for later to the device. Link counts, and the sizes of directories, are written by the
/// transactions that change them.
///
/// Other changes of a size are made on the device and in memory under the map lock, so the size
/// read here is not older than the one on the device. A write that changes the size only in memory
/// marks the inode dirty after that.
///
/// While the file system is idle the inode stays dirty, to be written later.
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
            // A transaction has recorded the attributes since.
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
        // Not below a value that user space may have read.
        disk.version.set(disk.version.get().max(version));
        Ok(())
    });
    if written.is_err() && sb.data().state().is_idle() {
        inode.mark_dirty();
    }
    written
}

/// Writes the size that a write may have left to the next sync. Must be called before the inode
/// gets another name: a program that replaces a file by a new one expects one of the two after a
/// crash, not the new one without its contents.
pub(super) fn write_size(inode: &FsInode<Pinfs>) -> Result {
    if inode.is_regular() && inode.is_dirty() {
        write(inode)?;
    }
    Ok(())
}

/// Frees a file without a name, whose inode is being evicted. While the file system is idle the
/// inode stays on the orphan list, for [`recovery`](super::recovery) or the next mount.
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

/// Frees a file without a name. Each step leaves it on the orphan list until it is empty, so that
/// the next mount after a crash continues. The inner error is about the inode.
///
/// No other task uses the inode: it is being evicted or read.
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
