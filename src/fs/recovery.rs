// SPDX-License-Identifier: GPL-2.0

//! Recovery of the orphan list when a file system that was mounted read-only is remounted for
//! writing.
//!
//! At a mount the file system is not in use yet, and the list is worked off in order
//! ([`orphan::work_off`]), even if the mount is read-only. So a later remount only finds inodes
//! that came onto the list since, or whose work was not possible at the mount because the device
//! was write-protected. All of them may be in use:
//!
//! * An inode without a name may be open, mapped, pinned, or in quarantine: it was unlinked before
//!   the remount that made the file system read-only, or its last reference ended after that. An
//!   inode in memory is left alone; it is freed when it is evicted. Any other is read into memory
//!   like at a lookup, so that no other task can get it meanwhile ([`vfs::inode::get`]), and freed.
//! * A file with an unfinished truncate or collapse, which a forced remount stopped, may be open,
//!   mapped and read. It is finished under the locks of such an operation, before other writes to
//!   the file system: bytes written to a file that is not collapsed yet would move with the rest.
//!   If pages that would be moved or freed are referenced, the remount fails. It cannot wait for
//!   them, because the superblock is locked.
//!
//! # Order
//!
//! 1. [`Super::claim`](super::super_block::Super::claim). The list does not change, because the
//!    file system is idle.
//! 2. Files with names are finished.
//! 3. The file system is no longer idle: processes that have a file open for writing continue.
//! 4. Inodes without names are freed. An eviction that began before step 3 has left its inode on
//!    the list, and `get` waits for it. One that begins after step 3 frees the inode, and `free`
//!    finds it gone.

use super::{
    file,
    inode,
    super_block::Pinfs, //
};
use crate::{
    engine::{
        mount,
        orphan, //
    },
    ondisk::{
        self,
        inode::S_IFREG, //
    },
    rust::vfs::{
        self,
        inode::Found,
        SuperBlock, //
    }, //
};
use kernel::prelude::*;

/// Makes an idle file system writable. The caller holds `s_umount` exclusively.
///
/// Damaged inodes are set aside, as by a mount ([`orphan`]).
///
/// # Errors
///
/// `EBUSY` if a file that must change is in use; the error of a commit that fails. The file system
/// stays idle then.
pub(super) fn start_writing(sb: &SuperBlock<Pinfs>) -> Result {
    let data = sb.data();
    let mut failed = false;
    let mut set_aside = |ino, err| {
        failed = true;
        say_set_aside(sb.id(), ino, err);
    };
    let orphans = data.claim(&mut set_aside)?.map_err(|err| sb.report(err))?;
    for &ino in orphans.named.iter() {
        match finish(sb, ino) {
            Ok(Ok(())) => {}
            Ok(Err(err)) if !data.is_aborted() => set_aside(ino, err),
            ended => {
                data.stop_writing().map_err(|err| sb.report(err))?;
                return ended?.map_err(|err| sb.report(err));
            }
        }
    }
    data.start_writing();
    for &ino in orphans.unnamed.iter() {
        match free(sb, ino) {
            Ok(Ok(())) => {}
            Ok(Err(err)) if !data.is_aborted() => set_aside(ino, err),
            // It stays on the list for the next mount.
            _ => {}
        }
    }
    if failed {
        // The superblock is still read-only here.
        mount::ask_for_check(data.medium()).map_err(|err| sb.report(err))?;
    }
    Ok(())
}

/// Logs that an inode stays on the orphan list, or is removed from it, for fsck.
pub(super) fn say_set_aside(id: &CStr, ino: u64, err: ondisk::Error) {
    pr_err!(
        "{id}: inode {ino} could not be freed or truncated ({}); it is set aside, unmount the file \
         system and run fsck.pinfs\n",
        err.message()
    );
}

/// Finishes an interrupted operation on a file that has a name. The inner error is about the file.
fn finish(sb: &SuperBlock<Pinfs>, ino: u64) -> Result<ondisk::Result> {
    let inode = match vfs::inode::get(sb, ino)? {
        Found::Cached(inode) => inode,
        Found::New(new) => match inode::on_disk(&new) {
            // Only read a regular file: others need more than their inode.
            Ok(disk) if disk.kind() == S_IFREG => inode::read(new)?,
            Ok(_) => return Ok(Err(orphan::NO_FILE)),
            Err(err) => return Ok(Err(err)),
        },
    };
    if !inode.is_regular() {
        return Ok(Err(orphan::NO_FILE));
    }
    file::finish(&inode).inspect_err(|err| {
        if err.to_errno() == EBUSY.to_errno() {
            pr_err!(
                "{}: inode {ino} is in use; its truncate or collapse must be finished before \
                 the file system becomes writable\n",
                sb.id()
            );
        }
    })
}

/// Frees an inode that had no name, unless it is in use. The inner error is about the inode.
fn free(sb: &SuperBlock<Pinfs>, ino: u64) -> Result<ondisk::Result> {
    // An inode in memory is freed at its eviction: at the end of this reference, if it is the last.
    let Found::New(new) = vfs::inode::get(sb, ino)? else {
        return Ok(Ok(()));
    };
    match inode::on_disk(&new) {
        // It was linked again, or freed and reused since.
        Ok(disk) if disk.nlink.get() != 0 => Ok(Ok(())),
        Err(ondisk::Error::Stale) => Ok(Ok(())),
        Err(err) => Ok(Err(err)),
        Ok(_) => inode::free(&new),
    }
}
