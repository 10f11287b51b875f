// SPDX-License-Identifier: GPL-2.0

//! ioctl()s on files and directories that the VFS does not handle.

use super::{
    inode::NoInode,
    super_block::Pinfs, //
};
use crate::{
    engine::mount,
    ondisk::superblock::LABEL_MAX,
    rust::{
        task,
        vfs::{
            errno::eopnotsupp,
            file::OpenFile,
            SuperBlock, //
        }, //
    }, //
};
use kernel::{
    ioctl::{
        _IOR,
        _IOW, //
    },
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// `FS_IOC_SHUTDOWN`, known as `XFS_IOC_GOINGDOWN` too. bindgen does not evaluate such macros.
const SHUTDOWN: u32 = _IOR::<u32>(b'X' as u32, 125);

/// `FS_IOC_GETFSLABEL` and `FS_IOC_SETFSLABEL`.
const GETFSLABEL: u32 = _IOR::<[u8; FSLABEL_MAX]>(0x94, 49);
const SETFSLABEL: u32 = _IOW::<[u8; FSLABEL_MAX]>(0x94, 50);

/// `FS_IOC_GETVERSION` and `FS_IOC_SETVERSION`, in the forms for 64-bit and for 32-bit programs.
/// The numbers encode a long, but all of them pass an int.
const GETVERSION: u32 = _IOR::<i64>(b'v' as u32, 1);
const GETVERSION32: u32 = _IOR::<i32>(b'v' as u32, 1);
const SETVERSION: u32 = _IOW::<i64>(b'v' as u32, 2);
const SETVERSION32: u32 = _IOW::<i32>(b'v' as u32, 2);

/// Bytes of a label in `FS_IOC_GETFSLABEL`, with the NUL that ends it.
const FSLABEL_MAX: usize = 256;

/// Handles an ioctl.
///
/// # Errors
/// `ENOTTY` for an unknown one; `EOPNOTSUPP` for a new generation: file handles, and programs that
/// have read the old one, rely on it.
pub(super) fn ioctl(file: &OpenFile<'_, Pinfs>, command: u32, arg: UserPtr) -> Result {
    let sb = file.inode().super_block();
    match command {
        SHUTDOWN => shut_down(sb, arg),
        GETFSLABEL => get_label(sb, arg),
        SETFSLABEL => set_label(file, arg),
        GETVERSION | GETVERSION32 => UserSlice::new(arg, size_of::<u32>())
            .writer()
            .write(&file.inode().generation()),
        SETVERSION | SETVERSION32 => Err(eopnotsupp()),
        _ => Err(ENOTTY),
    }
}

/// Shuts the file system down. Every transaction is durable before it is visible, so the flags of
/// `FS_IOC_SHUTDOWN` about the log make no difference. Without them the file system is frozen
/// first, so that data, and the sizes that writes leave to the next sync, are durable too.
fn shut_down(sb: &SuperBlock<Pinfs>, arg: UserPtr) -> Result {
    const DEFAULT: u32 = 0;
    const LOGFLUSH: u32 = 1;
    const NOLOGFLUSH: u32 = 2;

    if !task::is_admin() {
        return Err(EPERM);
    }
    let flags: u32 = UserSlice::new(arg, size_of::<u32>()).reader().read()?;
    match flags {
        DEFAULT => sb.frozen(|| sb.shut_down("by ioctl"))?,
        LOGFLUSH | NOLOGFLUSH => sb.shut_down("by ioctl"),
        _ => return Err(EINVAL),
    }
    sb.drop_device_cache();
    Ok(())
}

fn get_label(sb: &SuperBlock<Pinfs>, arg: UserPtr) -> Result {
    sb.check_readable()?;
    let label = sb.data().label().map_err(|err| sb.report(err))?;
    let mut answer = [0; FSLABEL_MAX];
    if let Some(start) = answer.get_mut(..label.len()) {
        start.copy_from_slice(&label);
    }
    UserSlice::new(arg, answer.len())
        .writer()
        .write_slice(&answer)
}

fn set_label(file: &OpenFile<'_, Pinfs>, arg: UserPtr) -> Result {
    if !task::is_admin() {
        return Err(EPERM);
    }
    let mut wanted = [0; FSLABEL_MAX];
    UserSlice::new(arg, wanted.len())
        .reader()
        .read_slice(&mut wanted)?;
    // Bytes after the NUL may have any value, and are not kept.
    let wanted = wanted.split(|&byte| byte == 0).next().unwrap_or_default();
    let mut label = [0; LABEL_MAX];
    label
        .get_mut(..wanted.len())
        .ok_or(EINVAL)?
        .copy_from_slice(wanted);
    let sb = file.inode().super_block();
    file.with_write_access(|| sb.transact(&NoInode, |tx| mount::set_label(tx, label)))?;
    // blkid reads it from the block device.
    sb.drop_device_cache();
    Ok(())
}
