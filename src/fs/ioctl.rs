// SPDX-License-Identifier: GPL-2.0

//! ioctl()s on files and directories, beyond those that the VFS answers itself.

use super::super_block::Pinfs;
use crate::{
    task,
    vfs::{
        file::OpenFile,
        SuperBlock, //
    }, //
};
use kernel::{
    ioctl::_IOR,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// `FS_IOC_SHUTDOWN`, known as `XFS_IOC_GOINGDOWN` too. bindgen does not evaluate such macros.
const SHUTDOWN: u32 = _IOR::<u32>(b'X' as u32, 125);

/// Answers an ioctl.
///
/// # Errors
///
/// `ENOTTY` for one that is none of pinfs.
pub(super) fn ioctl(file: &OpenFile<'_, Pinfs>, command: u32, arg: UserPtr) -> Result {
    let sb = file.inode().super_block();
    match command {
        SHUTDOWN => shut_down(sb, arg),
        _ => Err(ENOTTY),
    }
}

/// Every transaction is durable before it is seen, so what the flags of `FS_IOC_SHUTDOWN` say of
/// the log makes no difference. With none of them the file system is frozen first: then data, and
/// the sizes that writes leave for the next sync, are durable too.
fn shut_down(sb: &SuperBlock<Pinfs>, arg: UserPtr) -> Result {
    const DEFAULT: u32 = 0;
    const LOGFLUSH: u32 = 1;
    const NOLOGFLUSH: u32 = 2;

    if !task::is_admin() {
        return Err(EPERM);
    }
    let flags: u32 = UserSlice::new(arg, size_of::<u32>()).reader().read()?;
    match flags {
        DEFAULT => sb.frozen(|| sb.shut_down("by ioctl")),
        LOGFLUSH | NOLOGFLUSH => {
            sb.shut_down("by ioctl");
            Ok(())
        }
        _ => Err(EINVAL),
    }
}
