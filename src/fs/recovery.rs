// SPDX-License-Identifier: GPL-2.0

//! What is left on the orphan list when a file system that was mounted read-only is written again.
//!
//! At a mount nobody uses the file system yet, and the list is worked off as it comes
//! ([`orphan::work_off`]), whether the mount is read-only or not. So what a
//! later remount finds is what came onto the list meanwhile, or what could not be done at the mount
//! because the device was write-protected then. Others may use all of it:
//!
//! * An inode without a name may be open, mapped, pinned, or in quarantine: it was unlinked before the
//!   remount that made the file system read-only, or its last reference ended while it was. What is in
//!   memory is left alone; it is freed when it leaves memory, as ever. What is not is brought there as
//!   whoever looks for it would do, so that nobody else can ([`vfs::inode::get`]), and freed.
//! * A file that a truncate or a collapse is not done with, because a forced remount stopped it, may
//!   be open, mapped and read. It is finished under the locks that such an operation has, before the
//!   file system is written by anybody else: what is written to a file that is not all collapsed yet
//!   would move with the rest. If somebody references pages that would be moved or freed, the remount
//!   fails, as it cannot wait for them: the superblock is locked.
//!
//! # Order
//!
//! 1. [`Super::claim`](super::super_block::Super::claim), in which nobody changes the list as the file
//!    system is idle.
//! 2. Files with names are finished.
//! 3. The file system is no longer idle: whoever has a file open for writing goes on.
//! 4. Inodes without names are freed. An eviction that began before 3 has left its inode on the list,
//!    and is waited for by `get`; one that begins after it frees the inode, which `free` then finds
//!    gone.

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

/// Starts to write a file system that is idle. The caller holds `s_umount` exclusively.
///
/// What is damaged is set aside, as by a mount ([`orphan`]).
///
/// # Errors
///
/// `EBUSY` if a file would have to change that somebody holds; what a commit says that fails. It stays
/// idle then.
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
            // It is on the list for the next mount, if there is anything that can be written to.
            _ => {}
        }
    }
    if failed {
        // The superblock is still said to be read-only.
        mount::ask_for_check(data.medium()).map_err(|err| sb.report(err))?;
    }
    Ok(())
}

/// Says in the kernel log that an inode stays on the orphan list, or is left out of it, for fsck.
pub(super) fn say_set_aside(id: &CStr, ino: u64, err: ondisk::Error) {
    pr_err!(
        "{id}: inode {ino} could not be freed or truncated ({}); it is set aside, unmount the file \
         system and run fsck.pinfs\n",
        err.message()
    );
}

/// Finishes what was cut short of a file that has a name. The inner error is about the file.
fn finish(sb: &SuperBlock<Pinfs>, ino: u64) -> Result<ondisk::Result> {
    let inode = match vfs::inode::get(sb, ino)? {
        Found::Cached(inode) => inode,
        Found::New(new) => match inode::on_disk(&new) {
            // What else has a name is read with more than its inode.
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
                "{}: inode {ino} is in use, and has to be truncated or collapsed to its end \
                 before anything is written\n",
                sb.id()
            );
        }
    })
}

/// Frees an inode that had no name, unless somebody uses it. The inner error is about the inode.
fn free(sb: &SuperBlock<Pinfs>, ino: u64) -> Result<ondisk::Result> {
    // What is in memory is freed when it leaves it: by the end of this reference, if it is the last.
    let Found::New(new) = vfs::inode::get(sb, ino)? else {
        return Ok(Ok(()));
    };
    match inode::on_disk(&new) {
        // Whoever had it got a name for it, or it has left memory since.
        Ok(disk) if disk.nlink.get() != 0 => Ok(Ok(())),
        Err(ondisk::Error::Stale) => Ok(Ok(())),
        Err(err) => Ok(Err(err)),
        Ok(_) => inode::free(&new),
    }
}
