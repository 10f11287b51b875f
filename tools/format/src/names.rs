// SPDX-License-Identifier: GPL-2.0

//! Reading directories as a whole.

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
use zerocopy::FromZeros;

/// Calls `emit` with the entries at or behind position `from`, in the order of their cookies, until
/// it returns false.
pub fn read<M: Medium>(
    volume: &Volume<M>,
    dir: &Inode,
    mut from: u64,
    mut emit: impl FnMut(&Found, &[u8]) -> bool,
) -> Result {
    let mut leaf = Leaf::new_zeroed();
    loop {
        let part = dir::read(volume, dir, from, &mut leaf)?;
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
