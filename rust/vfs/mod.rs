// SPDX-License-Identifier: GPL-2.0

//! The virtual file system, as one trait for each of its C tables of functions.
//!
//! | trait | C table |
//! | --- | --- |
//! | [`FileSystem`] | `file_system_type`, `fs_context_operations`, `super_operations` |
//! | [`inode::Operations`] | `inode_operations` |
//! | [`file::Operations`] | `file_operations` |
//! | [`iomap::Operations`] | `iomap_ops` |
//! | [`export::Operations`] | `export_operations` |
//! | [`xattr::Operations`] | `xattr_handler` |
//!
//! A type that implements a trait with [`macro@vtable`] fills only the slots that it defines. The
//! private functions of the slots turn raw pointers into references whose types state the kernel's
//! guarantees (the locks that are held, an object that is still unpublished), and turn `Result`
//! into an errno.
//!
//! [`macro@vtable`]: kernel::prelude::vtable

pub(crate) mod export;
pub(crate) mod file;
pub(crate) mod inode;
pub(crate) mod iomap;
pub(crate) mod super_block;
pub(crate) mod xattr;

mod dentry;
mod quarantine;
mod shown;

pub(crate) use self::{
    dentry::Dentry,
    inode::{
        FsInode,
        Inode, //
    },
    quarantine::QuarantineState,
    super_block::{
        FileSystem,
        Registration,
        SuperBlock, //
    }, //
};

use kernel::error::Error;

/// Errors that file systems need and [`kernel::error::code`] does not name.
pub(crate) mod errno {
    use super::Error;
    use kernel::bindings;

    macro_rules! errors {
        ($($name:ident = $value:ident: $doc:literal,)*) => {
            $(
                #[doc = $doc]
                pub(crate) fn $name() -> Error {
                    Error::from_errno(-(bindings::$value as i32))
                }
            )*
        };
    }

    errors! {
        eopnotsupp = EOPNOTSUPP: "Operation not supported (`EOPNOTSUPP`).",
        edeadlk = EDEADLK: "Resource deadlock would occur (`EDEADLK`).",
        enolck = ENOLCK: "No record locks available (`ENOLCK`).",
        enametoolong = ENAMETOOLONG: "File name too long (`ENAMETOOLONG`).",
        enodata = ENODATA: "No data available (`ENODATA`).",
        estale = ESTALE: "Stale file handle (`ESTALE`).",
        euclean = EUCLEAN: "Structure needs cleaning (`EUCLEAN`).",
    }
}
