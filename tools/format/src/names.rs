// SPDX-License-Identifier: GPL-2.0

//! Reading directories as a whole.

use std::vec;

use crate::{
    dir::{
        self,
        Found,
        Leaf, //
    },
    Inode,
    Medium,
    Result,
    Volume, //
};

/// Calls `emit` with the entries at or behind position `from`, in the order of their cookies, until
/// it returns false.
pub fn read<M: Medium>(
    volume: &Volume<M>,
    dir: &Inode,
    mut from: u64,
    mut emit: impl FnMut(&Found, &[u8]) -> bool,
) -> Result {
    let mut copy = vec![0; size_of::<Leaf>()];
    let leaf = Leaf::in_bytes(&mut copy).expect("as many bytes as a leaf has");
    loop {
        let part = dir::read(volume, dir, from, leaf)?;
        for entry in part.entries() {
            let (found, name) = entry?;
            if !emit(&found, name) {
                return Ok(());
            }
        }
        let Some(next) = part.next else {
            return Ok(());
        };
        from = next;
    }
}
