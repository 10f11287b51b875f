// SPDX-License-Identifier: GPL-2.0

//! Extended attributes and ACLs, stored by the engine.

use super::{
    inode::Usage,
    super_block::{
        Pinfs,
        Session, //
    }, //
};
use crate::{
    engine::{
        xattr::{
            self,
            Mode, //
        },
        Tx, //
    },
    ondisk::{
        self,
        inode::Stamp,
        xattr::{
            Key,
            Namespace, //
        }, //
    },
    rust::{
        lock::{
            ExclusiveInode,
            VfsLocked, //
        },
        vfs::{
            inode::Time,
            xattr::{
                Expect,
                Initial,
                Operations,
                Space, //
            },
            FsInode, //
        }, //
    }, //
};
use kernel::prelude::*;

/// The functions of attributes.
pub(crate) struct Xattrs;

fn key<'a>(space: Space, name: &'a [u8]) -> ondisk::Result<Key<'a>> {
    let space = match space {
        Space::User => Namespace::User,
        Space::Trusted => Namespace::Trusted,
        Space::Security => Namespace::Security,
        Space::AccessAcl => Namespace::AccessAcl,
        Space::DefaultAcl => Namespace::DefaultAcl,
    };
    Key::new(space, name)
}

fn space(key: &Key<'_>) -> Space {
    match key.space() {
        Namespace::User => Space::User,
        Namespace::Trusted => Space::Trusted,
        Namespace::Security => Space::Security,
        Namespace::AccessAcl => Space::AccessAcl,
        Namespace::DefaultAcl => Space::DefaultAcl,
    }
}

/// Sets the attributes of a new inode, in the transaction that makes it.
pub(super) fn init(tx: &mut Tx<'_, Session<'_>>, ino: u64, initial: &Initial) -> ondisk::Result {
    initial.iter().try_for_each(|(space, name, value)| {
        xattr::set(tx, ino, key(space, name)?, value, Mode::Any)
    })
}

/// Runs a transaction that changes attributes, and updates the inode in memory.
fn change(
    locked: &VfsLocked<'_, Pinfs>,
    now: Time,
    operation: impl FnOnce(&mut Tx<'_, Session<'_>>, u64) -> ondisk::Result,
) -> Result {
    let inode = locked.inode();
    let map = inode.data().map.write();
    let usage = inode.super_block().transact(&map, |tx| {
        operation(tx, inode.ino())?;
        let disk = tx.inode_mut(inode.ino())?;
        disk.set_time(Stamp::Change, now.to_format());
        Ok(Usage::of(disk))
    })?;
    inode.set_sectors(usage.sectors);
    Ok(())
}

impl Operations for Xattrs {
    type Fs = Pinfs;

    fn get(inode: &FsInode<Pinfs>, space: Space, name: &[u8], buf: &mut [u8]) -> Result<usize> {
        let sb = inode.super_block();
        sb.check_readable()?;
        let map = inode.data().map.read();
        let volume = sb.data().volume(&map);
        volume
            .inode(inode.ino())
            .and_then(|disk| xattr::get(volume, &disk, key(space, name)?, buf))
            .map_err(|err| sb.report(err))
    }

    fn set(
        inode: &VfsLocked<'_, Pinfs>,
        space: Space,
        name: &[u8],
        value: Option<&[u8]>,
        expect: Expect,
    ) -> Result {
        let now = inode.inode().current_time();
        let mode = match expect {
            Expect::Any => Mode::Any,
            Expect::Missing => Mode::Create,
            Expect::Existing => Mode::Replace,
        };
        change(inode, now, |tx, ino| {
            let key = key(space, name)?;
            match value {
                Some(value) => xattr::set(tx, ino, key, value, mode),
                None => xattr::remove(tx, ino, key),
            }
        })?;
        inode.inode().set_ctime(now);
        Ok(())
    }

    fn set_acl(
        inode: &VfsLocked<'_, Pinfs>,
        space: Space,
        acl: Option<&[u8]>,
        mode: u16,
        now: Time,
    ) -> Result {
        change(inode, now, |tx, ino| {
            let key = key(space, &[])?;
            match acl {
                Some(acl) => xattr::set(tx, ino, key, acl, Mode::Any)?,
                None => match xattr::remove(tx, ino, key) {
                    Err(ondisk::Error::NoAttribute) => {}
                    removed => removed?,
                },
            }
            tx.inode_mut(ino)?.mode.set(mode.into());
            Ok(())
        })
    }

    fn list(inode: &FsInode<Pinfs>, emit: &mut dyn FnMut(Space, &str, &[u8]) -> bool) -> Result {
        let sb = inode.super_block();
        sb.check_readable()?;
        let map = inode.data().map.read();
        let volume = sb.data().volume(&map);
        volume
            .inode(inode.ino())
            .and_then(|disk| {
                xattr::list(volume, &disk, |key| {
                    emit(space(&key), key.space().prefix(), key.name())
                })
            })
            .map_err(|err| sb.report(err))
    }
}
