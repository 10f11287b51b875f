// SPDX-License-Identifier: GPL-2.0

//! Inodes with unfinished work: inodes without a name that are still open, and files with a
//! truncate or a collapse that takes several transactions. They are on a list in the status block,
//! newest first, so that a mount after a crash can finish the work without a search.
//!
//! The list is doubly linked through fields of the inodes, which the journal lock protects.
//!
//! An inode whose work fails because it is damaged is *set aside*: it stays on the list, and the
//! others are worked on ([`work_off`]). An inode that cannot be read is removed from the list,
//! because no other could be put before it. Both are left to fsck, which the mount asks for
//! ([`mount::ask_for_check`]).

use core::ops::{
    DerefMut,
    Range, //
};

use super::{
    dir,
    extents::{
        self,
        Progress, //
    },
    ialloc,
    mount,
    symlink,
    tx::Need,
    xattr,
    Journal,
    Medium,
    Space,
    Tx,
    Volume, //
};
use crate::ondisk::{
    extent::MAX_BLOCKS,
    inode::{
        self,
        ORPHAN,
        S_IFDIR,
        S_IFLNK,
        S_IFREG, //
    },
    inode_offset,
    Error,
    Inode,
    Result,
    BLOCK_SIZE, //
};

/// An inode with names that is on the list must be a file.
pub const NO_FILE: Error = Error::Corrupt("orphan with names is not a regular file");

/// The need of freeing an inode and its block.
const END: Need = Need {
    blocks: 0,
    changes: 2,
};

/// Puts an inode on the list, if it is not on it.
///
/// Locks: its inode lock, exclusive.
pub fn add<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result {
    if tx.inode(ino)?.is_orphan() {
        return Ok(());
    }
    let next = tx.status()?.orphans.get();
    let inode = tx.inode_mut(ino)?;
    inode.flags.set(inode.flags.get() | ORPHAN);
    inode.orphan_next.set(next);
    inode.orphan_prev.set(0);
    if next != 0 {
        on_list(tx, next)?.orphan_prev.set(ino);
    }
    tx.status_mut()?.orphans.set(ino);
    Ok(())
}

/// Removes an inode from the list, if it is on it.
///
/// Locks: its inode lock, exclusive.
pub fn remove<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result {
    let inode = tx.inode(ino)?;
    if !inode.is_orphan() {
        return Ok(());
    }
    let (next, prev) = (inode.orphan_next.get(), inode.orphan_prev.get());
    if prev == 0 {
        let status = tx.status_mut()?;
        if status.orphans.get() != ino {
            return Err(Error::Corrupt("orphan list is broken"));
        }
        status.orphans.set(next);
    } else {
        on_list(tx, prev)?.orphan_next.set(next);
    }
    if next != 0 {
        on_list(tx, next)?.orphan_prev.set(prev);
    }
    let inode = tx.inode_mut(ino)?;
    inode.flags.set(inode.flags.get() & !ORPHAN);
    inode.orphan_next.set(0);
    inode.orphan_prev.set(0);
    Ok(())
}

fn on_list<'t, M: Medium>(tx: &'t mut Tx<'_, M>, ino: u64) -> Result<&'t mut inode::Inode> {
    match tx.inode_mut(ino) {
        Ok(inode) if inode.is_orphan() => Ok(inode),
        Ok(_) | Err(Error::Stale) => Err(Error::Corrupt("orphan list is broken")),
        Err(error) => Err(error),
    }
}

/// Frees a part of an inode without names, as much as the transaction has room for, and the inode
/// itself with the last part. The caller repeats this, each time in a new transaction, until it
/// returns true.
///
/// Locks: the inode must not be in use.
pub fn reap<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result<bool> {
    let inode = tx.inode(ino)?;
    if inode.nlink.get() != 0 || !inode.is_orphan() {
        return Err(Error::Invalid);
    }
    match inode.kind() {
        S_IFREG => {
            if let Progress::More(_) = extents::remove(tx, ino, 0, MAX_BLOCKS)? {
                return Ok(false);
            }
        }
        S_IFLNK => symlink::free(tx, ino)?,
        S_IFDIR if !dir::is_empty(inode) => {
            return Err(Error::Corrupt("unlinked directory is not empty"));
        }
        _ => {}
    }
    if !xattr::free_some(tx, ino)? || tx.is_done_before(END) {
        return Ok(false);
    }
    remove(tx, ino)?;
    if tx.inode(ino)?.blocks.get() != 0 {
        return Err(Error::Corrupt("block count of an empty inode"));
    }
    ialloc::free(tx, ino)?;
    Ok(true)
}

/// Does a part of the collapse that is recorded in an inode ([`extents::collapse`]). A record that
/// cannot be carried out, from a damaged medium, is dropped.
fn go_on_collapsing<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    Range { start, end }: Range<u64>,
) -> Result {
    let blocks = tx.inode(ino)?.size.get() / BLOCK_SIZE;
    if start >= end || end > blocks {
        return extents::forget_collapse(tx, ino);
    }
    extents::collapse(tx, ino, start, end).map(drop)
}

/// Removes a part of a file's extents past its size, and takes the file off the list with the last
/// part. The caller repeats this, each time in a new transaction, until it returns true.
///
/// To truncate: set the size and [`add`] in one transaction, then call this.
///
/// Locks: the inode lock, exclusive, from before the size was set.
pub fn trim<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result<bool> {
    if tx.inode(ino)?.collapsing().is_some() {
        // A collapse that an I/O error interrupted is dropped: the truncate replaces it.
        tx.inode_mut(ino)?.set_collapsing(None);
    }
    let inode = tx.inode(ino)?;
    let from = inode.size.get().div_ceil(BLOCK_SIZE);
    let named = inode.nlink.get() != 0;
    if from < MAX_BLOCKS {
        if let Progress::More(_) = extents::remove(tx, ino, from, MAX_BLOCKS)? {
            return Ok(false);
        }
    }
    if named {
        remove(tx, ino)?;
    }
    Ok(true)
}

/// Does a part of the work on an inode that is on the list.
pub(crate) fn work_on<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result {
    if on_list(tx, ino)?.nlink.get() == 0 {
        reap(tx, ino).map(drop)
    } else {
        resume(tx, ino).map(drop)
    }
}

/// Works off the list at a mount. Calls `failed` with each inode that is set aside or left out, and
/// the reason. After such a call, the caller must [ask for a check](mount::ask_for_check).
///
/// Locks: the file system is not in use yet.
///
/// # Errors
/// Errors of failed commits, after which no write is possible, and [`Error::Corrupt`] if the status
/// is damaged.
pub fn work_off<M, A, S>(
    journal: &mut Journal<A>,
    volume: &Volume<M>,
    space: &mut Space<S>,
    mut failed: impl FnMut(u64, Error),
) -> Result
where
    M: Medium,
    A: DerefMut<Target = [u8]>,
    S: DerefMut<Target = [u64]>,
{
    if !mount::status(volume)?.has_orphans() {
        return Ok(());
    }
    list(journal, volume, space, |_, _| {}, &mut failed)?;
    // The last inode that was set aside.
    let mut aside = 0;
    loop {
        let ino = match aside {
            0 => mount::status(volume)?.orphans.get(),
            _ => volume.inode(aside)?.orphan_next.get(),
        };
        if ino == 0 {
            return Ok(());
        }
        match journal.run(volume, space, |tx| work_on(tx, ino)) {
            Ok(()) => {}
            Err(error) if journal.is_aborted() => return Err(error),
            Err(error) => {
                failed(ino, error);
                aside = ino;
            }
        }
    }
}

/// Calls `found` with each inode on the list, newest first. Removes inodes that cannot be read from
/// the list, along with the rest of the list if such an inode has no valid link to it. Calls
/// `failed` with these as [`work_off`] does.
///
/// The walk ends: each inode that it has passed is linked back to the previous one, so none is
/// passed twice.
///
/// Locks: the list must not change meanwhile.
///
/// # Errors
/// The same as [`work_off`].
pub fn list<M, A, S>(
    journal: &mut Journal<A>,
    volume: &Volume<M>,
    space: &mut Space<S>,
    mut found: impl FnMut(u64, &Inode),
    mut failed: impl FnMut(u64, Error),
) -> Result
where
    M: Medium,
    A: DerefMut<Target = [u8]>,
    S: DerefMut<Target = [u64]>,
{
    const BROKEN: Error = Error::Corrupt("orphan list is broken");

    let mut last = 0;
    let mut ino = mount::status(volume)?.orphans.get();
    while ino != 0 {
        let (next, error) = match volume.inode(ino) {
            Ok(inode) if inode.is_orphan() && inode.orphan_prev.get() == last => {
                found(ino, &inode);
                last = ino;
                ino = inode.orphan_next.get();
                continue;
            }
            Ok(_) | Err(Error::Stale) => (0, BROKEN),
            Err(error) => (behind_damaged(volume, ino), error),
        };
        failed(ino, error);
        journal.run(volume, space, |tx| {
            match last {
                0 => tx.status_mut()?.orphans.set(next),
                _ => on_list(tx, last)?.orphan_next.set(next),
            }
            if next != 0 {
                on_list(tx, next)?.orphan_prev.set(last);
            }
            Ok(())
        })?;
        ino = next;
    }
    Ok(())
}

/// Returns the inode after a damaged one, if its back link confirms it; else 0. The links are not
/// covered by the checksum.
fn behind_damaged<M: Medium>(volume: &Volume<M>, ino: u64) -> u64 {
    let next = |damaged: Inode| {
        let next = damaged.orphan_next.get();
        let inode = volume.inode(next).ok()?;
        (inode.is_orphan() && inode.orphan_prev.get() == ino).then_some(next)
    };
    let damaged = volume.plain(inode_offset(ino));
    damaged.ok().and_then(next).unwrap_or(0)
}

/// Continues an interrupted truncate or collapse, and returns whether that was its last part. The
/// caller repeats this, each time in a new transaction, until it returns true.
///
/// Locks: its inode lock, exclusive, and those that keep other tasks from blocks that are freed or
/// moved.
///
/// # Errors
/// [`Error::Invalid`] if the inode has no name: [`reap`] is for these.
pub fn resume<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result<bool> {
    let inode = tx.inode(ino)?;
    if !inode.is_orphan() {
        return Ok(true);
    }
    if inode.nlink.get() == 0 {
        return Err(Error::Invalid);
    }
    match (inode.kind(), inode.collapsing()) {
        (S_IFREG, Some(range)) => go_on_collapsing(tx, ino, range)?,
        (S_IFREG, None) => drop(trim(tx, ino)?),
        _ => return Err(NO_FILE),
    }
    Ok(!tx.inode(ino)?.is_orphan())
}
