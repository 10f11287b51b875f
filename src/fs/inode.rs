// SPDX-License-Identifier: GPL-2.0

//! Inodes: reading, writing, changing and freeing them.

use super::{
    dir,
    file,
    super_block::{
        report,
        Pinfs, //
    }, //
};
use crate::{
    format::{
        self,
        inode::Stamp,
        orphan,
        symlink, //
    },
    lock::{
        ExclusiveInode,
        RwSemaphore,
        VfsLocked,
        WriteGuard, //
    },
    vfs::{
        inode::{
            self,
            Attributes,
            Found,
            Kind,
            New,
            Operations,
            Params,
            Table,
            Time,
            Times,
            Type, //
        },
        Dentry,
        INode,
        SuperBlock, //
    }, //
};
use kernel::{
    c_str,
    prelude::*,
    static_lock_class,
    sync::aref::ARef, //
};

/// What pinfs keeps beside each inode.
#[pin_data]
pub(crate) struct Data {
    /// The map lock: the inode and its tree on the device.
    #[pin]
    pub(super) map: RwSemaphore,
}

impl Data {
    /// Returns an initialiser.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            map <- RwSemaphore::new(c_str!("pinfs_map"), static_lock_class!()),
        })
    }
}

/// The map locks of up to four inodes, held exclusively, without double ones.
///
/// They are taken by ascending inode number, which is what keeps two renames from waiting for each
/// other: the VFS's locks order directories by ancestry, but writeback and page faults know
/// nothing of them.
pub(super) struct MapLocks<'a>([Option<WriteGuard<'a>>; 4]);

impl<'a> MapLocks<'a> {
    /// Takes the locks of all `inodes` that are given.
    pub(super) fn new(inodes: [Option<&'a INode<Pinfs>>; 4]) -> Self {
        let mut sorted = inodes;
        sorted.sort_unstable_by_key(|inode| inode.map_or(u64::MAX, |inode| inode.ino()));
        let mut locks = Self([None, None, None, None]);
        let mut last = None;
        for (depth, (slot, inode)) in locks.0.iter_mut().zip(sorted).enumerate() {
            let Some(inode) = inode else { break };
            if last != Some(inode.ino()) {
                *slot = Some(inode.data().map.write_nested(depth as i32));
                last = Some(inode.ino());
            }
        }
        locks
    }
}

impl Time {
    fn of_format(time: format::Time) -> Self {
        Time {
            sec: time.sec,
            nsec: time.nsec,
        }
    }

    /// Returns the time as the engine wants it.
    pub(super) fn to_format(self) -> format::Time {
        format::Time {
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

    fn setattr(
        inode: &mut VfsLocked<'_, Pinfs>,
        dentry: &Dentry,
        attributes: Attributes<'_>,
    ) -> Result {
        setattr(inode, dentry, attributes)
    }

    fn birth_time(inode: &INode<Pinfs>) -> Option<Time> {
        birth_time(inode)
    }
}

/// Changes attributes; the size is the file's to change.
pub(super) fn setattr(
    inode: &mut VfsLocked<'_, Pinfs>,
    dentry: &Dentry,
    mut attributes: Attributes<'_>,
) -> Result {
    attributes.prepare(dentry)?;
    if let Some(size) = attributes.size() {
        file::resize(inode, size)?;
    }
    attributes.apply(inode);
    write(inode.inode())
}

/// Returns when the inode was created, if the device can say.
pub(super) fn birth_time(inode: &INode<Pinfs>) -> Option<Time> {
    let _map = inode.data().map.read();
    let disk = inode.super_block().data().volume().inode(inode.ino());
    disk.ok()
        .map(|disk| Time::of_format(disk.time(Stamp::Birth)))
}

/// Returns inode `ino`, from memory or from the device.
///
/// # Errors
///
/// `ESTALE` if there is no such inode, `EUCLEAN` if it is damaged, `ENOMEM`.
pub(super) fn get(sb: &SuperBlock<Pinfs>, ino: u64) -> Result<ARef<INode<Pinfs>>> {
    match inode::get(sb, ino)? {
        Found::Cached(inode) => Ok(inode),
        Found::New(new) => read(new),
    }
}

fn read(new: New<Pinfs>) -> Result<ARef<INode<Pinfs>>> {
    let volume = new.super_block().data().volume();
    let disk = {
        let _map = new.data().map.read();
        volume.inode(new.ino()).map_err(report)?
    };
    let mut target = KVec::new();
    if Type::of_mode(disk.mode.get() as u16) == Type::Symlink {
        let len = usize::try_from(disk.size.get()).map_err(|_| EOVERFLOW)?;
        if len > symlink::MAX {
            return Err(report(format::Error::Corrupt("symbolic link is too long")));
        }
        target.resize(len, 0, GFP_KERNEL)?;
        symlink::read(volume, &disk, &mut target).map_err(report)?;
    }
    let params = params(&disk, &target);
    new.publish(params)
}

/// How a file on the device looks to the VFS.
fn params<'a>(disk: &format::Inode, target: &'a [u8]) -> Params<'a, Pinfs> {
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
        rdev: disk.rdev.get() as u32,
        times: Times {
            atime: Time::of_format(disk.time(Stamp::Access)),
            mtime: Time::of_format(disk.time(Stamp::Modify)),
            ctime: Time::of_format(disk.time(Stamp::Change)),
        },
        kind: kind(mode, target),
    }
}

/// The tables for a file of this mode.
pub(super) fn kind(mode: u16, target: &[u8]) -> Kind<'_, Pinfs> {
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
    pub(super) fn of(disk: &format::Inode) -> Self {
        Self {
            size: disk.size.get(),
            sectors: disk.blocks.get().saturating_mul(format::BLOCK_SIZE / 512),
        }
    }
}

/// Writes what the VFS changes by itself (times, mode, owner) to the device. Sizes and link counts
/// are written by the transactions that change them.
pub(super) fn write(inode: &INode<Pinfs>) -> Result {
    let sb = inode.super_block().data();
    let _map = inode.data().map.write();
    let (uid, gid) = inode.owner();
    let (mode, times) = (inode.mode(), inode.times());
    sb.transact(|tx| {
        let disk = tx.inode_mut(inode.ino())?;
        disk.mode.set(mode.into());
        disk.uid.set(uid);
        disk.gid.set(gid);
        disk.set_time(Stamp::Access, times.atime.to_format());
        disk.set_time(Stamp::Modify, times.mtime.to_format());
        disk.set_time(Stamp::Change, times.ctime.to_format());
        Ok(())
    })
}

/// Frees a file without a name, in steps that each leave it on the orphan list until it is empty,
/// for the next mount to go on after a crash. A read-only mount leaves it there altogether.
pub(super) fn evict(inode: &INode<Pinfs>) {
    if inode.super_block().is_read_only() {
        return;
    }
    let sb = inode.super_block().data();
    let _map = inode.data().map.write();
    let freed = loop {
        match sb.transact(|tx| orphan::reap(tx, inode.ino())) {
            Ok(false) => continue,
            Ok(true) => break Ok(()),
            Err(err) => break Err(err),
        }
    };
    if let Err(err) = freed {
        pr_err!(
            "{}: inode {} could not be freed ({err:?}); the next mount will try again\n",
            inode.super_block().id(),
            inode.ino()
        );
    }
}
