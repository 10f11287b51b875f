// SPDX-License-Identifier: GPL-2.0

//! Directories.

use zerocopy::little_endian::U64;

use crate::{
    ondisk::name::NAME_MAX,
    Geometry,
    Inode,
    Medium,
    Name,
    Result,
    Volume, //
};

pub use crate::{
    engine::dir::*,
    ondisk::leaf::*, //
};

/// Whether an entry with this cookie can have this name.
pub fn has_hash(geometry: &Geometry, name: Name<'_>, cookie: u64) -> bool {
    same_hash(first_cookie(geometry, name), cookie)
}

/// Calls `emit` with every entry of one leaf.
pub(crate) fn read_leaf<M: Medium>(
    volume: &Volume<M>,
    dir: &Inode,
    block: u64,
    mut emit: impl FnMut(&Found, &[u8]),
) -> Result {
    let mut last = 0;
    let mut name = [0u8; NAME_MAX];
    for index in 0..volume.leaf(block, dir.ino())? {
        let (head, at) = volume.name_at(block, index)?;
        let name = name.get_mut(..usize::from(head.len)).ok_or(BAD_SLOT)?;
        volume.leaf_bytes(block, at + NAME_HEAD, name)?;
        let found = head.found();
        if found.cookie <= last {
            return Err(DISORDER);
        }
        last = found.cookie;
        emit(&found, name);
    }
    Ok(())
}

impl Leaf {
    /// Adds a name behind the others, or returns false if there is no room.
    pub fn append(&mut self, found: &Found, name: Name<'_>) -> Result<bool> {
        let head = NameHead {
            cookie: U64::new(found.cookie),
            ino: U64::new(found.ino),
            kind: found.kind,
            len: name.bytes().len() as u8,
        };
        if !self.has_room(head.size()) {
            return Ok(false);
        }
        self.insert(self.len(), head, name)?;
        Ok(true)
    }

    /// Bytes of the body that names and their slots take, if they are where they say.
    pub fn live_bytes(&self) -> Result<usize> {
        (0..self.len()).try_fold(0, |sum, index| {
            Ok(sum + self.name_head(self.slot(index)?)?.size())
        })
    }

    /// Bytes of names, by the counts in its start.
    pub fn counted_bytes(&self) -> usize {
        usize::from(self.head.end.get()).saturating_sub(usize::from(self.head.dead.get()))
    }
}
