// SPDX-License-Identifier: GPL-2.0

//! Operations on names. Each is the only operation of its transaction.
//!
//! Locks, for all of them: the inode locks, exclusive, of every directory and inode that is named
//! by an argument, found under a name, or replaced. The caller has checked permissions, and that a
//! directory is not moved into itself or below.

use super::{
    dir,
    ialloc::{
        self,
        Attributes, //
    },
    orphan,
    symlink,
    Medium,
    Tx, //
};
use crate::ondisk::{
    inode::{
        self,
        Stamp,
        S_IFCHR,
        S_IFDIR,
        S_IFLNK,
        S_IFMT, //
    },
    leaf::{
        self,
        Found, //
    },
    Error,
    Name,
    Result,
    Time, //
};

/// Action of [`rename`] if the new name exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// Replace it.
    Replace,
    /// Fail with [`Error::Exists`].
    Fail,
}

/// Makes an inode and its first name, and returns the inode number. `target` is for symbolic links.
pub fn create<M: Medium>(
    tx: &mut Tx<'_, M>,
    parent: u64,
    name: Name<'_>,
    attr: &Attributes,
    target: Option<&[u8]>,
) -> Result<u64> {
    tx.inode(parent)?.check_dir()?;
    let ino = ialloc::alloc(tx, parent, attr)?;
    let is_dir = attr.mode & S_IFMT == S_IFDIR;
    let new = tx.inode_mut(ino)?;
    new.nlink.set(1);
    if is_dir {
        new.nlink.set(2);
        new.parent.set(parent);
        tx.inode_mut(parent)?.add_links(1)?;
    }
    match (attr.mode & S_IFMT == S_IFLNK, target) {
        (true, Some(target)) => symlink::set(tx, ino, target)?,
        (false, None) => {}
        _ => return Err(Error::Invalid),
    }
    dir::add(tx, parent, name, ino, attr.mode)?;
    tx.inode_mut(parent)?.touch(attr.now);
    Ok(ino)
}

/// Makes an inode without a name. It is freed at the last use unless [`link`] gives it a name. It
/// inherits the flags that a file in `dir` would.
pub fn create_unnamed<M: Medium>(tx: &mut Tx<'_, M>, dir: u64, attr: &Attributes) -> Result<u64> {
    if matches!(attr.mode & S_IFMT, S_IFDIR | S_IFLNK) {
        return Err(Error::Invalid);
    }
    let ino = ialloc::alloc(tx, dir, attr)?;
    orphan::add(tx, ino)?;
    Ok(ino)
}

/// Gives an inode another name.
///
/// # Errors
/// [`Error::IsDirectory`], [`Error::Exists`], [`Error::TooManyLinks`], [`Error::NoSpace`].
pub fn link<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    parent: u64,
    name: Name<'_>,
    now: Time,
) -> Result {
    tx.inode(parent)?.check_dir()?;
    let inode = tx.inode_mut(ino)?;
    if inode.is_dir() {
        return Err(Error::IsDirectory);
    }
    inode.add_links(1)?;
    inode.set_time(Stamp::Change, now);
    let (first, mode) = (inode.nlink.get() == 1, inode.mode.get());
    if first {
        orphan::remove(tx, ino)?;
    }
    dir::add(tx, parent, name, ino, mode)?;
    tx.inode_mut(parent)?.touch(now);
    Ok(())
}

/// Removes a name of an inode other than a directory. Removing the last name puts the inode on the
/// orphan list, for [`orphan::reap`] after its last use.
///
/// # Errors
/// [`Error::NoEntry`], [`Error::IsDirectory`].
pub fn unlink<M: Medium>(
    tx: &mut Tx<'_, M>,
    parent: u64,
    name: Name<'_>,
    now: Time,
) -> Result<Found> {
    let found = dir::lookup_tx(tx, parent, name)?;
    if named(tx, found)?.is_dir() {
        return Err(Error::IsDirectory);
    }
    dir::remove(tx, parent, name)?;
    drop_name(tx, parent, found.ino, now)?;
    Ok(found)
}

/// Removes a directory and puts it on the orphan list.
///
/// # Errors
/// [`Error::NoEntry`], [`Error::NotDirectory`], [`Error::NotEmpty`].
pub fn rmdir<M: Medium>(
    tx: &mut Tx<'_, M>,
    parent: u64,
    name: Name<'_>,
    now: Time,
) -> Result<Found> {
    let found = dir::lookup_tx(tx, parent, name)?;
    check_empty(named(tx, found)?)?;
    dir::remove(tx, parent, name)?;
    drop_name(tx, parent, found.ino, now)?;
    Ok(found)
}

/// Moves `from.1` in directory `from.0` to `to.1` in directory `to.0` and returns the entry that it
/// replaces, if there is one.
///
/// # Errors
/// [`Error::NoEntry`], [`Error::Exists`], [`Error::NotEmpty`], [`Error::NotDirectory`],
/// [`Error::IsDirectory`], [`Error::TooManyLinks`], [`Error::NoSpace`].
pub fn rename<M: Medium>(
    tx: &mut Tx<'_, M>,
    from: (u64, Name<'_>),
    to: (u64, Name<'_>),
    if_exists: IfExists,
    now: Time,
) -> Result<Option<Found>> {
    let old = add_moved(tx, from, to, if_exists, now)?;
    if let Moved::Yes(_) = old {
        dir::remove(tx, from.0, from.1)?;
    }
    Ok(old.replaced())
}

/// Does the same as [`rename`], but leaves a whiteout under the old name: a character device of
/// number 0, which overlayfs takes for a missing name. `attr` has its owner and permissions. Also
/// returns the inode number of the whiteout, or `None` if no name was moved.
///
/// # Errors
/// Those of [`rename`].
pub fn rename_whiteout<M: Medium>(
    tx: &mut Tx<'_, M>,
    from: (u64, Name<'_>),
    to: (u64, Name<'_>),
    if_exists: IfExists,
    attr: &Attributes,
) -> Result<(Option<Found>, Option<u64>)> {
    let old = add_moved(tx, from, to, if_exists, attr.now)?;
    let mut whiteout = None;
    if let Moved::Yes(_) = old {
        let attr = Attributes {
            mode: S_IFCHR | attr.mode & !S_IFMT,
            rdev: 0,
            ..*attr
        };
        let ino = ialloc::alloc(tx, from.0, &attr)?;
        tx.inode_mut(ino)?.nlink.set(1);
        dir::replace(tx, from.0, from.1, ino, attr.mode)?;
        whiteout = Some(ino);
    }
    Ok((old.replaced(), whiteout))
}

/// Result of [`add_moved`].
enum Moved {
    /// Nothing was done: both are names of one inode.
    No,
    /// The new name was added, or it replaced this entry.
    Yes(Option<Found>),
}

impl Moved {
    fn replaced(self) -> Option<Found> {
        match self {
            Moved::No => None,
            Moved::Yes(old) => old,
        }
    }
}

/// Does all of [`rename`] except for the old name.
fn add_moved<M: Medium>(
    tx: &mut Tx<'_, M>,
    from: (u64, Name<'_>),
    to: (u64, Name<'_>),
    if_exists: IfExists,
    now: Time,
) -> Result<Moved> {
    let moved = dir::lookup_tx(tx, from.0, from.1)?;
    let inode = named(tx, moved)?;
    let (is_dir, mode) = (inode.is_dir(), inode.mode.get());
    tx.inode(to.0)?.check_dir()?;
    let old = match dir::lookup_tx(tx, to.0, to.1) {
        Ok(old) => Some(old),
        Err(Error::NoEntry) => None,
        Err(error) => return Err(error),
    };
    if old.is_some() && if_exists == IfExists::Fail {
        return Err(Error::Exists);
    }
    if old.is_some_and(|old| old.ino == moved.ino) {
        // Both are names of one inode: POSIX keeps both.
        return Ok(Moved::No);
    }
    if let Some(old) = old {
        let inode = named(tx, old)?;
        match (is_dir, inode.is_dir()) {
            (true, _) => check_empty(inode)?,
            (false, true) => return Err(Error::IsDirectory),
            (false, false) => {}
        }
        dir::replace(tx, to.0, to.1, moved.ino, mode)?;
        drop_name(tx, to.0, old.ino, now)?;
    } else {
        dir::add(tx, to.0, to.1, moved.ino, mode)?;
    }
    if is_dir {
        reparent(tx, moved.ino, from.0, to.0)?;
    }
    tx.inode_mut(moved.ino)?.set_time(Stamp::Change, now);
    tx.inode_mut(from.0)?.touch(now);
    tx.inode_mut(to.0)?.touch(now);
    Ok(Moved::Yes(old))
}

/// Exchanges two names, whatever their types.
///
/// # Errors
/// [`Error::NoEntry`], [`Error::TooManyLinks`].
pub fn exchange<M: Medium>(
    tx: &mut Tx<'_, M>,
    a: (u64, Name<'_>),
    b: (u64, Name<'_>),
    now: Time,
) -> Result {
    let at_a = dir::lookup_tx(tx, a.0, a.1)?;
    let at_b = dir::lookup_tx(tx, b.0, b.1)?;
    if at_a.ino == at_b.ino {
        return Ok(());
    }
    for (found, from, to, name) in [(at_a, a.0, b.0, b.1), (at_b, b.0, a.0, a.1)] {
        let inode = named(tx, found)?;
        let (is_dir, mode) = (inode.is_dir(), inode.mode.get());
        dir::replace(tx, to, name, found.ino, mode)?;
        if is_dir {
            reparent(tx, found.ino, from, to)?;
        }
        tx.inode_mut(found.ino)?.set_time(Stamp::Change, now);
        tx.inode_mut(to)?.touch(now);
    }
    Ok(())
}

/// Returns the inode that a directory entry names.
fn named<'t, M: Medium>(tx: &'t mut Tx<'_, M>, found: Found) -> Result<&'t inode::Inode> {
    match tx.inode(found.ino) {
        Ok(inode) if leaf::kind_of(inode.mode.get()) == found.kind => Ok(inode),
        Ok(_) | Err(Error::Stale) => Err(Error::Corrupt("directory entry names a wrong inode")),
        Err(error) => Err(error),
    }
}

fn check_empty(inode: &inode::Inode) -> Result {
    inode.check_dir()?;
    if dir::is_empty(inode) {
        Ok(())
    } else {
        Err(Error::NotEmpty)
    }
}

/// Updates an inode that has lost a name in `parent`.
fn drop_name<M: Medium>(tx: &mut Tx<'_, M>, parent: u64, ino: u64, now: Time) -> Result {
    let inode = tx.inode_mut(ino)?;
    inode.set_time(Stamp::Change, now);
    if inode.is_dir() {
        inode.nlink.set(0);
        tx.inode_mut(parent)?.add_links(-1)?;
    } else {
        inode.add_links(-1)?;
    }
    tx.inode_mut(parent)?.touch(now);
    if tx.inode(ino)?.nlink.get() == 0 {
        orphan::add(tx, ino)?;
    }
    Ok(())
}

/// Updates directory `ino`, which was moved from one directory to another.
fn reparent<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, from: u64, to: u64) -> Result {
    if from != to {
        tx.inode_mut(from)?.add_links(-1)?;
        tx.inode_mut(to)?.add_links(1)?;
        tx.inode_mut(ino)?.parent.set(to);
    }
    Ok(())
}
