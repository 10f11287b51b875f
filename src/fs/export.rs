// SPDX-License-Identifier: GPL-2.0

//! File handles: inode number and generation instead of a name.

use super::{
    inode,
    super_block::Pinfs, //
};
use crate::rust::vfs::{
    export,
    FsInode,
    SuperBlock, //
};
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

/// The functions of file handles.
pub(super) const TABLE: export::Table<Pinfs> = export::Table::of::<Handles>();

struct Handles;

impl export::Operations for Handles {
    type Fs = Pinfs;

    fn by_number(sb: &SuperBlock<Pinfs>, ino: u64) -> Result<ARef<FsInode<Pinfs>>> {
        inode::get(sb, ino)
    }

    fn parent(dir: &FsInode<Pinfs>) -> Result<ARef<FsInode<Pinfs>>> {
        let sb = dir.super_block();
        sb.check_readable()?;
        let parent = {
            let map = dir.data().map.read();
            let disk = sb.data().volume(&map).inode(dir.ino());
            disk.map_err(|err| sb.report(err))?.parent.get()
        };
        inode::named(sb, parent)
    }
}
