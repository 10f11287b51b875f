// SPDX-License-Identifier: GPL-2.0

//! File handles: `open_by_handle_at()` and the NFS server.
//!
//! A handle is an inode's number and its generation, which differs from those of former and later
//! inodes with the number. A connectable handle also has those of the parent directory.
//!
//! C header: [`include/linux/exportfs.h`](srctree/include/linux/exportfs.h)

use super::{
    errno::estale,
    FileSystem,
    FsInode,
    SuperBlock, //
};
use crate::rust::bindings;
use core::marker::PhantomData;
use kernel::{
    ffi::c_int,
    prelude::*,
    sync::aref::ARef, //
};

/// Finds files by their handles (`struct export_operations`).
pub(crate) trait Operations: Sized + 'static {
    /// The file system whose files these are.
    type Fs: FileSystem;

    /// Returns the inode of a number, which may be invalid.
    ///
    /// # Errors
    ///
    /// `ESTALE` if there is no such inode.
    fn by_number(sb: &SuperBlock<Self::Fs>, ino: u64) -> Result<ARef<FsInode<Self::Fs>>>;

    /// Returns the parent of a directory.
    fn parent(dir: &FsInode<Self::Fs>) -> Result<ARef<FsInode<Self::Fs>>>;
}

/// A filled `struct export_operations` of `F`.
pub(crate) struct Table<F: FileSystem>(*const bindings::export_operations, PhantomData<F>);

impl<F: FileSystem> Table<F> {
    /// Returns the table that calls `T`.
    pub(crate) const fn of<T: Operations<Fs = F>>() -> Self {
        Self(&Thunks::<T>::TABLE, PhantomData)
    }

    /// Returns the table.
    pub(super) fn as_ptr(&self) -> *const bindings::export_operations {
        self.0
    }
}

/// Words of a handle: the two halves of the number, and the generation.
const WORDS: usize = 3;

struct Thunks<T: Operations>(PhantomData<T>);

impl<T: Operations> Thunks<T> {
    const TABLE: bindings::export_operations = bindings::export_operations {
        encode_fh: Some(Self::encode),
        fh_to_dentry: Some(Self::to_dentry),
        fh_to_parent: Some(Self::to_parent),
        get_parent: Some(Self::get_parent),
        ..pin_init::zeroed()
    };

    fn words(inode: &FsInode<T::Fs>) -> [u32; WORDS] {
        let ino = inode.ino();
        [ino as u32, (ino >> 32) as u32, inode.generation()]
    }

    /// Returns a dentry for an inode, or an errno.
    fn alias(inode: Result<ARef<FsInode<T::Fs>>>) -> *mut bindings::dentry {
        match inode {
            // SAFETY: The inode is referenced, and the reference is passed on.
            Ok(inode) => unsafe {
                bindings::d_obtain_alias(ARef::into_raw(inode).as_ref().as_ptr())
            },
            Err(err) => err.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// The arguments must be as in exportfs's call of `encode_fh`.
    unsafe extern "C" fn encode(
        inode: *mut bindings::inode,
        handle: *mut u32,
        max_len: *mut c_int,
        parent: *mut bindings::inode,
    ) -> c_int {
        let connectable = !parent.is_null();
        let len = if connectable { 2 * WORDS } else { WORDS };
        // SAFETY: exportfs calls with inodes of `T::Fs` that it holds. The lengths count words, of
        // which it has as many. If that is not enough, it gets the required number.
        unsafe {
            let fits = usize::try_from(*max_len).is_ok_and(|max| max >= len);
            *max_len = len as c_int;
            if !fits {
                return bindings::fid_type_FILEID_INVALID as c_int;
            }
            handle
                .cast::<[u32; WORDS]>()
                .write(Self::words(FsInode::from_raw(inode)));
            if !connectable {
                return bindings::fid_type_FILEID_INO64_GEN as c_int;
            }
            handle
                .cast::<[u32; WORDS]>()
                .add(1)
                .write(Self::words(FsInode::from_raw(parent)));
            bindings::fid_type_FILEID_INO64_GEN_PARENT as c_int
        }
    }

    /// Returns a dentry for the inode of the handle's words from `first` on.
    ///
    /// # Safety
    ///
    /// `sb` must be an opened superblock of `T::Fs`, and `handle` must have `len` words.
    unsafe fn find(
        sb: *mut bindings::super_block,
        handle: *const u32,
        len: c_int,
        first: usize,
    ) -> *mut bindings::dentry {
        if usize::try_from(len).map_or(true, |len| len < first + WORDS) {
            return estale().to_ptr();
        }
        // SAFETY: The superblock is opened and the handle has `len` words, by this function's
        // requirements. The check above has found that enough.
        let (sb, [low, high, generation]) = unsafe {
            let words = handle.add(first).cast::<[u32; WORDS]>();
            (SuperBlock::<T::Fs>::from_raw(sb), words.read())
        };
        let inode = T::by_number(sb, u64::from(high) << 32 | u64::from(low));
        Self::alias(
            inode.and_then(|inode| match inode.generation() == generation {
                true => Ok(inode),
                false => Err(estale()),
            }),
        )
    }

    /// # Safety
    ///
    /// The arguments must be as in exportfs's call of `fh_to_dentry`.
    unsafe extern "C" fn to_dentry(
        sb: *mut bindings::super_block,
        fid: *mut bindings::fid,
        len: c_int,
        kind: c_int,
    ) -> *mut bindings::dentry {
        match kind as u32 {
            bindings::fid_type_FILEID_INO64_GEN | bindings::fid_type_FILEID_INO64_GEN_PARENT => {
                // SAFETY: exportfs calls with a superblock that has this table, and `len` words.
                unsafe { Self::find(sb, fid.cast(), len, 0) }
            }
            _ => core::ptr::null_mut(),
        }
    }

    /// # Safety
    ///
    /// The arguments must be as in exportfs's call of `fh_to_parent`.
    unsafe extern "C" fn to_parent(
        sb: *mut bindings::super_block,
        fid: *mut bindings::fid,
        len: c_int,
        kind: c_int,
    ) -> *mut bindings::dentry {
        if kind as u32 != bindings::fid_type_FILEID_INO64_GEN_PARENT {
            return core::ptr::null_mut();
        }
        // SAFETY: exportfs calls with a superblock that has this table, and `len` words.
        unsafe { Self::find(sb, fid.cast(), len, WORDS) }
    }

    /// # Safety
    ///
    /// `child` must be a directory of `T::Fs`.
    unsafe extern "C" fn get_parent(child: *mut bindings::dentry) -> *mut bindings::dentry {
        // SAFETY: The dentry is that of a directory of `T::Fs`, by this function's requirements, so
        // that it is positive, and keeps its inode.
        Self::alias(T::parent(unsafe { FsInode::from_raw((*child).d_inode) }))
    }
}
