// SPDX-License-Identifier: GPL-2.0

//! Directories: lookups, and every operation that adds, moves or removes a name.

use super::{
    errno,
    inode::{
        self,
        MapLocks,
        Usage, //
    },
    ioctl,
    super_block::{
        Pinfs,
        Session, //
    },
    xattr, //
};
use crate::{
    engine::{
        dir,
        ialloc::Attributes as Owner,
        namespace::{
            self,
            IfExists, //
        },
        Tx, //
    },
    ondisk::{
        self,
        leaf,
        Name, //
    },
    rust::{
        lock::{
            ExclusiveInode,
            VfsLocked, //
        },
        random,
        vfs::{
            file::{
                self,
                DirEmitter,
                OpenFile, //
            },
            inode::{
                Attributes,
                Details,
                Draft,
                Negative,
                Operations,
                Table,
                Time,
                Unnamed, //
            },
            iomap,
            Dentry,
            FsInode, //
        }, //
    }, //
};
use kernel::{
    prelude::*,
    sync::aref::ARef,
    uaccess::UserPtr, //
};

/// The functions of a directory's inode.
pub(super) const INODE_TABLE: Table<Pinfs> = Table::of::<DirInode>();

/// The functions of an open directory.
pub(super) const FILE_TABLE: file::Table<Pinfs> = file::Table::directory::<OpenDir>();

struct DirInode;

fn name<'a>(dentry: &'a Dentry) -> Result<Name<'a>> {
    Name::new(dentry.name()).map_err(errno)
}

/// Returns the engine's attributes for a file that is being created.
fn owner(draft: &Draft<Pinfs>, rdev: u32) -> Owner {
    let (uid, gid) = draft.owner();
    Owner {
        mode: draft.mode().into(),
        uid,
        gid,
        rdev: rdev.into(),
        generation: random::u32(),
        now: draft.times().ctime.to_format(),
    }
}

/// Creates a file under `dentry`, in one transaction, and publishes its inode.
fn create(
    dir: &VfsLocked<'_, Pinfs>,
    dentry: Negative<'_>,
    draft: Draft<Pinfs>,
    rdev: u32,
    target: Option<&[u8]>,
) -> Result {
    let parent = dir.inode();
    let sb = parent.super_block();
    let owner = owner(&draft, rdev);
    let (disk, usage) = {
        let maps = MapLocks::new([Some(parent), None, None, None]);
        let name = name(&dentry)?;
        sb.transact(&maps, |tx| {
            let ino = namespace::create(tx, parent.ino(), name, &owner, target)?;
            xattr::init(tx, ino, draft.xattrs())?;
            let disk = tx.inode(ino)?.clone();
            Ok((disk, Usage::of(tx.inode(parent.ino())?)))
        })?
    };
    let is_dir = draft.is_dir();
    let now = draft.times().ctime;
    let params = inode::params(&disk, target.unwrap_or_default());
    draft.number(disk.ino())?.publish_as(dentry, params)?;
    if is_dir {
        parent.inc_nlink();
    }
    changed(dir, usage, now);
    Ok(())
}

/// Updates a directory in memory after a transaction that changed it.
fn changed(dir: &VfsLocked<'_, Pinfs>, usage: Usage, now: Time) {
    let inode = dir.inode();
    inode.set_size(dir, usage.size);
    inode.set_sectors(usage.sectors);
    inode.set_mtime(now);
    inode.set_ctime(now);
}

/// Removes a name by one of the engine's operations. The caller changes the link counts.
fn remove(
    dir: &VfsLocked<'_, Pinfs>,
    dentry: &Dentry,
    victim: &VfsLocked<'_, Pinfs>,
    operation: fn(
        &mut Tx<'_, Session<'_>>,
        u64,
        Name<'_>,
        ondisk::Time,
    ) -> ondisk::Result<leaf::Found>,
) -> Result {
    let (parent, inode) = (dir.inode(), victim.inode());
    let name = name(dentry)?;
    let now = parent.current_time();
    let usage = {
        let maps = MapLocks::new([Some(parent), Some(inode), None, None]);
        parent.super_block().transact(&maps, |tx| {
            operation(tx, parent.ino(), name, now.to_format())?;
            Ok(Usage::of(tx.inode(parent.ino())?))
        })?
    };
    changed(dir, usage, now);
    inode.set_ctime(now);
    Ok(())
}

#[vtable]
impl Operations for DirInode {
    type Fs = Pinfs;

    fn lookup(dir: &FsInode<Pinfs>, name: &[u8]) -> Result<Option<ARef<FsInode<Pinfs>>>> {
        let sb = dir.super_block();
        sb.check_readable()?;
        let name = Name::new(name).map_err(errno)?;
        let found = {
            let map = dir.data().map.read();
            let volume = sb.data().volume(&map);
            volume
                .inode(dir.ino())
                .and_then(|disk| dir::lookup(volume, &disk, name))
        };
        match found {
            Ok(found) => inode::named(sb, found.ino).map(Some),
            Err(ondisk::Error::NoEntry) => Ok(None),
            Err(err) => Err(sb.report(err)),
        }
    }

    fn create(
        dir: &VfsLocked<'_, Pinfs>,
        dentry: Negative<'_>,
        draft: Draft<Pinfs>,
        rdev: u32,
    ) -> Result {
        create(dir, dentry, draft, rdev, None)
    }

    fn symlink(
        dir: &VfsLocked<'_, Pinfs>,
        dentry: Negative<'_>,
        draft: Draft<Pinfs>,
        target: &[u8],
    ) -> Result {
        create(dir, dentry, draft, 0, Some(target))
    }

    fn unlink(
        dir: &VfsLocked<'_, Pinfs>,
        dentry: &Dentry,
        victim: &VfsLocked<'_, Pinfs>,
    ) -> Result {
        remove(dir, dentry, victim, |tx, dir, name, now| {
            namespace::unlink(tx, dir, name, now)
        })?;
        victim.inode().drop_nlink();
        Ok(())
    }

    fn rmdir(dir: &VfsLocked<'_, Pinfs>, dentry: &Dentry, victim: &VfsLocked<'_, Pinfs>) -> Result {
        remove(dir, dentry, victim, |tx, dir, name, now| {
            namespace::rmdir(tx, dir, name, now)
        })?;
        dir.inode().drop_nlink();
        victim.inode().clear_nlink();
        Ok(())
    }

    fn link(
        dir: &VfsLocked<'_, Pinfs>,
        inode: &VfsLocked<'_, Pinfs>,
        dentry: &Negative<'_>,
    ) -> Result {
        let (parent, inode) = (dir.inode(), inode.inode());
        let name = name(dentry)?;
        inode::write_size(inode)?;
        let now = parent.current_time();
        let usage = {
            let maps = MapLocks::new([Some(parent), Some(inode), None, None]);
            parent.super_block().transact(&maps, |tx| {
                namespace::link(tx, inode.ino(), parent.ino(), name, now.to_format())?;
                Ok(Usage::of(tx.inode(parent.ino())?))
            })?
        };
        inode.inc_nlink();
        inode.set_ctime(now);
        changed(dir, usage, now);
        Ok(())
    }

    /// Puts the file on the orphan list at once, so that it does not outlive a crash.
    fn tmpfile(dir: &FsInode<Pinfs>, file: Unnamed<'_>, draft: Draft<Pinfs>) -> Result {
        let owner = owner(&draft, 0);
        let disk = {
            let maps = MapLocks::new([Some(dir), None, None, None]);
            dir.super_block().transact(&maps, |tx| {
                let ino = namespace::create_unnamed(tx, dir.ino(), &owner)?;
                xattr::init(tx, ino, draft.xattrs())?;
                Ok(tx.inode(ino)?.clone())
            })?
        };
        let params = inode::params(&disk, &[]);
        draft.number(disk.ino())?.publish_unnamed(file, params)
    }

    fn rename(
        from_dir: &VfsLocked<'_, Pinfs>,
        from: &Dentry,
        inode: &FsInode<Pinfs>,
        to_dir: &VfsLocked<'_, Pinfs>,
        to: &Dentry,
        victim: Option<&VfsLocked<'_, Pinfs>>,
        whiteout: Option<Draft<Pinfs>>,
    ) -> Result {
        let (old, new) = (from_dir.inode(), to_dir.inode());
        let victim = victim.map(|victim| victim.inode());
        let (from, to) = (name(from)?, name(to)?);
        inode::write_size(inode)?;
        let now = old.current_time();
        let (old_usage, new_usage) = {
            let maps = MapLocks::new([Some(old), Some(new), Some(inode), victim]);
            let sb = old.super_block();
            sb.transact(&maps, |tx| {
                let target = (new.ino(), to);
                let source = (old.ino(), from);
                let replace = IfExists::Replace;
                if let Some(whiteout) = &whiteout {
                    let owner = owner(whiteout, 0);
                    let made = namespace::rename_whiteout(tx, source, target, replace, &owner)?;
                    if let (_, Some(ino)) = made {
                        xattr::init(tx, ino, whiteout.xattrs())?;
                    }
                } else {
                    namespace::rename(tx, source, target, replace, now.to_format())?;
                }
                let old = Usage::of(tx.inode(old.ino())?);
                Ok((old, Usage::of(tx.inode(new.ino())?)))
            })?
        };
        changed(from_dir, old_usage, now);
        changed(to_dir, new_usage, now);
        inode.set_ctime(now);
        if let Some(victim) = victim {
            victim.set_ctime(now);
            if victim.is_dir() {
                victim.clear_nlink();
                new.drop_nlink();
            } else {
                victim.drop_nlink();
            }
        }
        if inode.is_dir() && old.ino() != new.ino() {
            old.drop_nlink();
            new.inc_nlink();
        }
        Ok(())
    }

    fn exchange(
        a_dir: &VfsLocked<'_, Pinfs>,
        a: (&Dentry, &FsInode<Pinfs>),
        b_dir: &VfsLocked<'_, Pinfs>,
        b: (&Dentry, &FsInode<Pinfs>),
    ) -> Result {
        let (at_a, at_b) = (a_dir.inode(), b_dir.inode());
        let (a_name, b_name) = (name(a.0)?, name(b.0)?);
        let (a, b) = (a.1, b.1);
        inode::write_size(a)?;
        inode::write_size(b)?;
        let now = at_a.current_time();
        let (a_usage, b_usage) = {
            let maps = MapLocks::new([Some(at_a), Some(at_b), Some(a), Some(b)]);
            at_a.super_block().transact(&maps, |tx| {
                let names = ((at_a.ino(), a_name), (at_b.ino(), b_name));
                namespace::exchange(tx, names.0, names.1, now.to_format())?;
                let a_usage = Usage::of(tx.inode(at_a.ino())?);
                Ok((a_usage, Usage::of(tx.inode(at_b.ino())?)))
            })?
        };
        changed(a_dir, a_usage, now);
        changed(b_dir, b_usage, now);
        a.set_ctime(now);
        b.set_ctime(now);
        if at_a.ino() != at_b.ino() {
            match (a.is_dir(), b.is_dir()) {
                (true, false) => {
                    at_a.drop_nlink();
                    at_b.inc_nlink();
                }
                (false, true) => {
                    at_a.inc_nlink();
                    at_b.drop_nlink();
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn setattr(inode: &mut VfsLocked<'_, Pinfs>, attributes: Attributes<'_>) -> Result {
        inode::setattr(inode, attributes)
    }

    fn details(inode: &FsInode<Pinfs>) -> Result<Option<Details>> {
        inode::details(inode)
    }

    fn set_flags(inode: &VfsLocked<'_, Pinfs>, flags: u32) -> Result {
        inode::set_flags(inode, flags)
    }
}

/// Copies the next entries of a directory.
///
/// The names are copied to user memory, which may fault and wait for anything, so the map lock is
/// not held meanwhile.
fn next_part<'l>(
    dir: &FsInode<Pinfs>,
    from: u64,
    leaf: &'l mut leaf::Leaf,
) -> Result<dir::Part<'l>> {
    let sb = dir.super_block();
    sb.check_readable()?;
    let map = dir.data().map.read();
    let volume = sb.data().volume(&map);
    volume
        .inode(dir.ino())
        .and_then(|disk| dir::read(volume, &disk, from, leaf))
        .map_err(|err| sb.report(err))
}

struct OpenDir;

#[vtable]
impl file::Operations for OpenDir {
    type Fs = Pinfs;

    const MAP: iomap::Table<Pinfs> = super::file::MAP;

    // Also after a shutdown: a file system that was frozen before is thawed through a directory.
    fn open(_file: &OpenFile<'_, Pinfs>) -> Result {
        Ok(())
    }

    fn ioctl(file: &OpenFile<'_, Pinfs>, command: u32, arg: UserPtr) -> Result {
        ioctl::ioctl(file, command, arg)
    }

    fn iterate(emitter: &mut DirEmitter<'_, Pinfs>) -> Result {
        if !emitter.emit_dots() {
            return Ok(());
        }
        let dir = emitter.inode();
        let mut copy = KVec::from_elem(0u8, size_of::<leaf::Leaf>(), GFP_KERNEL)?;
        let leaf = leaf::Leaf::in_bytes(&mut copy).ok_or(EINVAL)?;
        loop {
            let part = next_part(dir, emitter.position(), leaf)?;
            for entry in part.entries() {
                let (found, name) = entry.map_err(|err| dir.super_block().report(err))?;
                emitter.set_position(found.cookie);
                if !emitter.emit(name, found.ino, found.kind) {
                    return Ok(());
                }
                emitter.set_position(found.cookie + 1);
            }
            match part.next {
                Some(next) => emitter.set_position(next),
                None => {
                    emitter.end();
                    return Ok(());
                }
            }
        }
    }

    fn fsync(file: &OpenFile<'_, Pinfs>, _start: i64, _end: i64, _datasync: bool) -> Result {
        super::file::sync_inode(file.inode())
    }
}
