// SPDX-License-Identifier: GPL-2.0

//! Inodes that have work left.

use crate::{
    Medium,
    Result,
    Tx, //
};

pub use crate::engine::orphan::*;

/// Does a part of the work that the list holds, and returns whether there was any. To be called in one
/// transaction after the other until it returns false.
///
/// Locks: nobody else may use the file system yet.
pub fn step<M: Medium>(tx: &mut Tx<'_, M>) -> Result<bool> {
    let ino = tx.status()?.orphans.get();
    if ino == 0 {
        return Ok(false);
    }
    work_on(tx, ino)?;
    Ok(true)
}
