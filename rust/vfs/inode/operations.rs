// SPDX-License-Identifier: GPL-2.0

//! The table of an inode's functions.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    new::{
        Draft,
        Negative,
        Unnamed, //
    },
    FsInode,
    Time,
    Type, //
};
use crate::rust::{
    bindings,
    compat,
    lock::{
        ExclusiveInode,
        Recheck,
        SharedInodeLock,
        VfsLocked, //
    },
    vfs::{
        dentry::{
            Dentry,
            Path, //
        },
        errno::{
            enametoolong,
            eopnotsupp, //
        },
        iomap,
        xattr,
        FileSystem, //
    }, //
};
use core::{
    cell::Cell,
    marker::PhantomData, //
};
use kernel::{
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    ffi::{
        c_char,
        c_int,
        c_uint, //
    },
    prelude::*,
    str::CStr,
    sync::aref::ARef, //
};

/// The attributes that `setattr` is asked to change.
pub(crate) struct Attributes<'a> {
    idmap: *mut bindings::mnt_idmap,
    dentry: &'a Dentry,
    iattr: &'a mut bindings::iattr,
    /// Privileges of the file were removed separately.
    privileges_done: Cell<bool>,
}

impl Attributes<'_> {
    /// Returns the new size, if it is to change.
    pub(crate) fn size(&self) -> Option<u64> {
        if self.iattr.ia_valid & bindings::ATTR_SIZE != 0 {
            self.iattr.ia_size.try_into().ok()
        } else {
            None
        }
    }

    /// Checks permission and limits (`setattr_prepare()`).
    ///
    /// # Errors
    ///
    /// `EPERM`, `EFBIG`, `ETXTBSY` (swap file) and other errors of `setattr_prepare()`.
    pub(crate) fn prepare(&mut self) -> Result {
        // SAFETY: All pointers are from the VFS's call of `setattr`, during which the value lives.
        to_result(unsafe {
            bindings::setattr_prepare(self.idmap, self.dentry.as_ptr(), self.iattr)
        })
    }

    /// Returns the attributes to change. A change of the size also changes the mode, as derived
    /// from the mode that the file had when the change was requested. This leaves that out if the
    /// privileges were removed separately.
    fn valid(&self) -> c_uint {
        const PRIVILEGES: c_uint =
            bindings::ATTR_KILL_SUID | bindings::ATTR_KILL_SGID | bindings::ATTR_KILL_PRIV;
        let valid = self.iattr.ia_valid;
        if !self.privileges_done.get() {
            return valid;
        }
        // `notify_change()` derives ATTR_MODE from these, and no caller requests both.
        let derived = bindings::ATTR_KILL_SUID | bindings::ATTR_KILL_SGID;
        let mode = if valid & derived != 0 {
            bindings::ATTR_MODE
        } else {
            0
        };
        valid & !(PRIVILEGES | mode)
    }

    /// Changes the ACL after a change of the mode, which must have been applied and written.
    pub(crate) fn follow_mode<F: FileSystem>(&self, inode: &impl ExclusiveInode<Fs = F>) -> Result {
        let inode = inode.inode();
        if self.valid() & bindings::ATTR_MODE == 0 || inode.file_type() == Type::Symlink {
            return Ok(());
        }
        // SAFETY: `inode` shows that the i_rwsem of the dentry's inode is held.
        unsafe { xattr::Thunks::<F::Xattrs>::chmod(self.idmap, self.dentry.as_ptr(), inode.mode()) }
    }

    /// Copies all attributes but the size to the inode (`setattr_copy()`).
    pub(crate) fn apply<F: FileSystem>(&self, inode: &impl ExclusiveInode<Fs = F>) {
        let iattr = bindings::iattr {
            ia_valid: self.valid(),
            ..*self.iattr
        };
        // SAFETY: `inode` shows that the i_rwsem is held.
        unsafe { bindings::setattr_copy(self.idmap, inode.inode().as_ptr(), &iattr) };
    }
}

impl<F: FileSystem> Recheck<F> for Attributes<'_> {
    /// Repeats the checks for a change of the file's size, and removes privileges (set-user-ID and
    /// the like) that the file may have got meanwhile.
    fn recheck(&self, _inode: &FsInode<F>) -> Result {
        let mut iattr = bindings::iattr { ..*self.iattr };
        // SAFETY: All pointers come from the VFS's call of `setattr`, which holds the i_rwsem of
        // the dentry's inode except while it waits. The wait is over.
        to_result(unsafe {
            bindings::pinfs_helper_recheck_truncate(self.idmap, self.dentry.as_ptr(), &mut iattr)
        })?;
        self.privileges_done.set(true);
        Ok(())
    }
}

/// The functions of an inode (`struct inode_operations`).
///
/// Unless a comment states otherwise, the directory's i_rwsem is held exclusively in all functions
/// that change it, and that of a victim, too (see
/// `Documentation/filesystems/directory-locking.rst`).
#[vtable]
pub(crate) trait Operations: Sized + 'static {
    /// The file system whose inodes these are.
    type Fs: FileSystem;

    /// The block map of regular files, for `FS_IOC_FIEMAP`.
    const MAP: Option<iomap::Table<Self::Fs>> = None;

    /// Looks up a name. The directory's i_rwsem is held at least shared.
    fn lookup(_dir: &FsInode<Self::Fs>, _name: &[u8]) -> Result<Option<ARef<FsInode<Self::Fs>>>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Creates a file of the type in the draft's mode: regular, directory (for `mkdir`) or special
    /// file with the device number `rdev`.
    fn create(
        _dir: &VfsLocked<'_, Self::Fs>,
        _dentry: Negative<'_>,
        _draft: Draft<Self::Fs>,
        _rdev: u32,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Creates a symbolic link.
    fn symlink(
        _dir: &VfsLocked<'_, Self::Fs>,
        _dentry: Negative<'_>,
        _draft: Draft<Self::Fs>,
        _target: &[u8],
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes the name of a file that is not a directory.
    fn unlink(
        _dir: &VfsLocked<'_, Self::Fs>,
        _dentry: &Dentry,
        _inode: &VfsLocked<'_, Self::Fs>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes a directory. The function has to check that it is empty.
    fn rmdir(
        _dir: &VfsLocked<'_, Self::Fs>,
        _dentry: &Dentry,
        _inode: &VfsLocked<'_, Self::Fs>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Gives a file that is not a directory another name. Its i_rwsem is held exclusively, too. A
    /// file without any name is from [`Operations::tmpfile`].
    fn link(
        _dir: &VfsLocked<'_, Self::Fs>,
        _inode: &VfsLocked<'_, Self::Fs>,
        _dentry: &Negative<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Creates a file without a name (`O_TMPFILE`), in the file system of `dir`. No lock is held.
    fn tmpfile(_dir: &FsInode<Self::Fs>, _file: Unnamed<'_>, _draft: Draft<Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Renames `from` in `from_dir` to `to` in `to_dir`, and replaces `victim` if there is one. If
    /// there is a draft `whiteout`, leaves a file made from it at `from` (a character device
    /// without a driver, by which overlayfs knows that the name is gone).
    ///
    /// Both directories' i_rwsem are held exclusively (they may be one directory), the victim's
    /// too, and that of `inode` if it is a directory that changes its parent.
    fn rename(
        _from_dir: &VfsLocked<'_, Self::Fs>,
        _from: &Dentry,
        _inode: &FsInode<Self::Fs>,
        _to_dir: &VfsLocked<'_, Self::Fs>,
        _to: &Dentry,
        _victim: Option<&VfsLocked<'_, Self::Fs>>,
        _whiteout: Option<Draft<Self::Fs>>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Exchanges two names.
    ///
    /// Both directories' i_rwsem are held exclusively (they may be one directory), and those of
    /// the inodes that are directories and change their parent.
    fn exchange(
        _a_dir: &VfsLocked<'_, Self::Fs>,
        _a: (&Dentry, &FsInode<Self::Fs>),
        _b_dir: &VfsLocked<'_, Self::Fs>,
        _b: (&Dentry, &FsInode<Self::Fs>),
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes attributes. The inode's i_rwsem is held exclusively.
    fn setattr(_inode: &mut VfsLocked<'_, Self::Fs>, _attributes: Attributes<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the attributes that the VFS's inode does not hold, or `None` if they cannot be read
    /// any more. The other attributes of statx come from the VFS's inode (`generic_fillattr()`). No
    /// lock is held, or i_rwsem.
    fn details(_inode: &FsInode<Self::Fs>) -> Result<Option<Details>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets the flags (`FS_*_FL`) of a file that is not a symbolic link. The i_rwsem is held
    /// exclusively, and the caller has the permission.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for flags that the file system does not have.
    fn set_flags(_inode: &VfsLocked<'_, Self::Fs>, _flags: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Attributes of an inode that only the file system has.
pub(crate) struct Details {
    /// Time of its creation.
    pub(crate) birth: Time,
    /// The flags that `FS_IOC_GETFLAGS` returns.
    pub(crate) flags: u32,
}

/// A filled `struct inode_operations` of `F`.
pub(crate) struct Table<F: FileSystem>(
    pub(super) *const bindings::inode_operations,
    PhantomData<F>,
);

impl<F: FileSystem> Clone for Table<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: FileSystem> Copy for Table<F> {}

impl<F: FileSystem> Table<F> {
    /// Returns the table that calls `T`, for all but symbolic links.
    pub(crate) const fn of<T: Operations<Fs = F>>() -> Self {
        Self(&Thunks::<T>::TABLE, PhantomData)
    }

    /// Returns the table that calls `T`, for a symbolic link.
    pub(crate) const fn symlink<T: Operations<Fs = F>>() -> Self {
        Self(&Thunks::<T>::SYMLINK, PhantomData)
    }
}

type Xattrs<T> = <<T as Operations>::Fs as FileSystem>::Xattrs;

struct Thunks<T: Operations>(PhantomData<T>);

impl<T: Operations> Thunks<T> {
    const TABLE: bindings::inode_operations = bindings::inode_operations {
        lookup: if T::HAS_LOOKUP {
            Some(Self::lookup)
        } else {
            None
        },
        create: if T::HAS_CREATE {
            Some(compat::create::<Self>)
        } else {
            None
        },
        mkdir: if T::HAS_CREATE {
            Some(Self::mkdir)
        } else {
            None
        },
        mknod: if T::HAS_CREATE {
            Some(Self::mknod)
        } else {
            None
        },
        symlink: if T::HAS_SYMLINK {
            Some(Self::symlink)
        } else {
            None
        },
        unlink: if T::HAS_UNLINK {
            Some(Self::unlink)
        } else {
            None
        },
        rmdir: if T::HAS_RMDIR {
            Some(Self::rmdir)
        } else {
            None
        },
        link: if T::HAS_LINK { Some(Self::link) } else { None },
        tmpfile: if T::HAS_TMPFILE {
            Some(Self::tmpfile)
        } else {
            None
        },
        rename: if T::HAS_RENAME {
            Some(Self::rename)
        } else {
            None
        },
        listxattr: Some(xattr::Thunks::<Xattrs<T>>::list),
        get_inode_acl: Some(xattr::Thunks::<Xattrs<T>>::get_acl),
        set_acl: Some(xattr::Thunks::<Xattrs<T>>::set_acl),
        setattr: if T::HAS_SETATTR {
            Some(Self::setattr)
        } else {
            None
        },
        fiemap: if T::MAP.is_some() {
            Some(Self::fiemap)
        } else {
            None
        },
        getattr: if T::HAS_DETAILS {
            Some(Self::getattr)
        } else {
            None
        },
        fileattr_get: if T::HAS_DETAILS {
            Some(Self::fileattr_get)
        } else {
            None
        },
        fileattr_set: if T::HAS_SET_FLAGS {
            Some(Self::fileattr_set)
        } else {
            None
        },
        update_time: Some(Self::update_time),
        ..pin_init::zeroed()
    };

    /// The VFS takes an inode with `get_link` for a symbolic link. The target is cached in
    /// `i_link`. A symbolic link has neither an ACL nor flags.
    const SYMLINK: bindings::inode_operations = bindings::inode_operations {
        get_link: Some(bindings::simple_get_link),
        get_inode_acl: None,
        set_acl: None,
        fileattr_get: None,
        fileattr_set: None,
        ..Self::TABLE
    };

    /// Updates times and the change count. They are recorded in memory and written with the inode:
    /// that never waits, so a write with `IOCB_NOWAIT` may update them, too.
    /// `generic_update_time()` does not know that, and would refuse to increase the count.
    ///
    /// # Safety
    ///
    /// `inode` must be an inode of `T::Fs` that the caller has referenced.
    unsafe extern "C" fn update_time(
        inode: *mut bindings::inode,
        what: bindings::fs_update_time,
        flags: c_uint,
    ) -> c_int {
        let nowait = bindings::pinfs_iocb_nowait as c_uint;
        // SAFETY: The inode is referenced, by this function's requirements.
        unsafe { bindings::generic_update_time(inode, what, flags & !nowait) }
    }

    /// # Safety
    ///
    /// `dir` and `dentry` must be as in the VFS's call of `lookup`.
    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        _flags: c_uint,
    ) -> *mut bindings::dentry {
        // SAFETY: The VFS calls with a directory of `T::Fs` that it has referenced, and with a
        // dentry in it that is not hashed yet, whose name does not change. The reference to the
        // inode, if there is one by that name, is passed on.
        unsafe {
            let name = Dentry::from_raw(dentry).name();
            if name.len() > bindings::NAME_MAX as usize {
                return enametoolong().to_ptr();
            }
            let inode = match T::lookup(FsInode::from_raw(dir), name) {
                Ok(Some(inode)) => ARef::into_raw(inode).as_ref().as_ptr(),
                Ok(None) => core::ptr::null_mut(),
                Err(err) => return err.to_ptr(),
            };
            bindings::d_splice_alias(inode, dentry)
        }
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `create`; `mode` must have the type of the
    /// file.
    unsafe fn make(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
        rdev: u32,
    ) -> Result {
        // SAFETY: The VFS holds the directory's i_rwsem and calls with a negative dentry.
        unsafe {
            let draft = Draft::new(idmap, dir, dentry, mode)?;
            T::create(
                &VfsLocked::from_raw(dir),
                Negative(Dentry::from_raw(dentry)),
                draft,
                rdev,
            )
        }
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `mkdir`.
    unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> *mut bindings::dentry {
        // SAFETY: The VFS calls `mkdir` as it calls `create`, and the mode is a directory's.
        match unsafe { Self::make(idmap, dir, dentry, mode | bindings::S_IFDIR as u16, 0) } {
            Ok(()) => core::ptr::null_mut(),
            Err(err) => err.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `mknod`.
    unsafe extern "C" fn mknod(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        dev: bindings::dev_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS calls `mknod` as it calls `create`, with a mode that has the file's
            // type.
            unsafe {
                let rdev = bindings::pinfs_helper_new_encode_dev(dev);
                Self::make(idmap, dir, dentry, mode, rdev)?
            };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `symlink`.
    unsafe extern "C" fn symlink(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        target: *const c_char,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS holds the directory's i_rwsem, calls with a negative dentry and
            // with a string.
            unsafe {
                let mode = (bindings::S_IFLNK | 0o777) as u16;
                let target = CStr::from_char_ptr(target).to_bytes();
                T::symlink(
                    &VfsLocked::from_raw(dir),
                    Negative(Dentry::from_raw(dentry)),
                    Draft::of_symlink(idmap, dir, dentry, mode, target)?,
                    target,
                )?
            };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `unlink`.
    unsafe extern "C" fn unlink(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        from_result(|| {
            // SAFETY: The VFS holds both inodes' i_rwsem; the dentry is positive.
            unsafe {
                let victim = VfsLocked::from_raw((*dentry).d_inode);
                T::unlink(&VfsLocked::from_raw(dir), Dentry::from_raw(dentry), &victim)?
            };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `rmdir`.
    unsafe extern "C" fn rmdir(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        from_result(|| {
            // SAFETY: The VFS holds both inodes' i_rwsem; the dentry is positive.
            unsafe {
                let victim = VfsLocked::from_raw((*dentry).d_inode);
                T::rmdir(&VfsLocked::from_raw(dir), Dentry::from_raw(dentry), &victim)?
            };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `link`.
    unsafe extern "C" fn link(
        old: *mut bindings::dentry,
        dir: *mut bindings::inode,
        new: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS holds the i_rwsem of the directory and of the inode; `old` is
            // positive and `new` negative, and becomes another name of the same inode, for which
            // it gets a reference.
            unsafe {
                let inode = (*old).d_inode;
                T::link(
                    &VfsLocked::from_raw(dir),
                    &VfsLocked::from_raw(inode),
                    &Negative(Dentry::from_raw(new)),
                )?;
                bindings::ihold(inode);
                bindings::d_instantiate(new, inode);
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `tmpfile`.
    unsafe extern "C" fn tmpfile(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        file: *mut bindings::file,
        mode: bindings::umode_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The directory is referenced, the file is being opened and has a negative
            // dentry without a name of its own.
            unsafe {
                T::tmpfile(
                    FsInode::from_raw(dir),
                    Unnamed::from_raw(file),
                    Draft::new(
                        idmap,
                        dir,
                        bindings::pinfs_helper_file_dentry(file),
                        mode | bindings::S_IFREG as u16,
                    )?,
                )?;
                to_result(bindings::pinfs_helper_finish_open(file))?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `rename`.
    unsafe extern "C" fn rename(
        idmap: *mut bindings::mnt_idmap,
        from_dir: *mut bindings::inode,
        from: *mut bindings::dentry,
        to_dir: *mut bindings::inode,
        to: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        /// The supported flags. The VFS handles `RENAME_NOREPLACE`.
        const KNOWN: c_uint =
            bindings::RENAME_NOREPLACE | bindings::RENAME_EXCHANGE | bindings::RENAME_WHITEOUT;

        from_result(|| {
            if flags & !KNOWN != 0 {
                return Err(EINVAL);
            }
            // SAFETY: The VFS holds the i_rwsem of the directories, of the victim, and of
            // directories that change their parent; both dentries' inodes are stable under them.
            unsafe {
                let from_dir = VfsLocked::from_raw(from_dir);
                let to_dir = VfsLocked::from_raw(to_dir);
                let inode = FsInode::from_raw((*from).d_inode);
                let (from, other) = (Dentry::from_raw(from), (*to).d_inode);
                let to = Dentry::from_raw(to);
                if flags & bindings::RENAME_EXCHANGE != 0 {
                    // The VFS exchanges only names that exist.
                    let other = FsInode::from_raw(other);
                    T::exchange(&from_dir, (from, inode), &to_dir, (to, other))?;
                    return Ok(0);
                }
                let whiteout = if flags & bindings::RENAME_WHITEOUT != 0 {
                    let mode = bindings::S_IFCHR as u16;
                    Some(Draft::new(
                        idmap,
                        from_dir.inode().as_ptr(),
                        from.as_ptr(),
                        mode,
                    )?)
                } else {
                    None
                };
                let victim = (!other.is_null()).then(|| VfsLocked::from_raw(other));
                T::rename(
                    &from_dir,
                    from,
                    inode,
                    &to_dir,
                    to,
                    victim.as_ref(),
                    whiteout,
                )?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `setattr`.
    unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        iattr: *mut bindings::iattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS holds the inode's i_rwsem and passes a valid `iattr`.
            unsafe {
                let mut inode = VfsLocked::from_raw((*dentry).d_inode);
                let attributes = Attributes {
                    idmap,
                    dentry: Dentry::from_raw(dentry),
                    iattr: &mut *iattr,
                    privileges_done: Cell::new(false),
                };
                T::setattr(&mut inode, attributes)?
            };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `getattr`.
    unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        request_mask: u32,
        _flags: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The path is positive and referenced by the caller, `stat` is valid.
            unsafe {
                let inode = (*Path::from_raw(path).dentry().as_ptr()).d_inode;
                bindings::generic_fillattr(idmap, request_mask, inode, stat);
                bindings::generic_fill_statx_attr(inode, stat);
                let Some(details) = T::details(FsInode::from_raw(inode))? else {
                    return Ok(0);
                };
                (*stat).btime = details.birth.to_c();
                (*stat).result_mask |= bindings::STATX_BTIME;
                (*stat).attributes_mask |= u64::from(bindings::STATX_ATTR_NODUMP);
                if details.flags & bindings::FS_NODUMP_FL != 0 {
                    (*stat).attributes |= u64::from(bindings::STATX_ATTR_NODUMP);
                }
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `fileattr_get`.
    unsafe extern "C" fn fileattr_get(
        dentry: *mut bindings::dentry,
        attr: *mut bindings::file_kattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The dentry is positive and referenced by the caller, `attr` is valid.
            unsafe {
                let inode = (*dentry).d_inode;
                let flags = T::details(FsInode::from_raw(inode))?.ok_or(EIO)?.flags;
                bindings::fileattr_fill_flags(attr, flags);
            }
            Ok(0)
        })
    }

    /// Sets the flags. `FS_DAX_FL` is stored as others are, but has no effect: whether the pages of
    /// a file are the device's own (`S_DAX`, `STATX_ATTR_DAX`) does not depend on it.
    ///
    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `fileattr_set`.
    unsafe extern "C" fn fileattr_set(
        _idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::file_kattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS holds the i_rwsem of the positive dentry's inode; `attr` is valid.
            unsafe {
                if bindings::pinfs_helper_fileattr_has_fsx(attr) {
                    return Err(eopnotsupp());
                }
                let inode = (*dentry).d_inode;
                let flags = bindings::pinfs_helper_fileattr_flags(attr);
                T::set_flags(&VfsLocked::from_raw(inode), flags)?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `fiemap`.
    unsafe extern "C" fn fiemap(
        inode: *mut bindings::inode,
        info: *mut bindings::fiemap_extent_info,
        start: u64,
        len: u64,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS calls with an inode of `T::Fs` that it has referenced, whose block
            // map is `T::MAP`, and with a valid `info`.
            let ret = unsafe {
                let inode = FsInode::<T::Fs>::from_raw(inode);
                let map = T::MAP
                    .filter(|_| inode.is_regular())
                    .ok_or_else(eopnotsupp)?;
                let _lock = SharedInodeLock::new(inode);
                bindings::iomap_fiemap(inode.as_ptr(), info, start, len, map.as_ptr())
            };
            to_result(ret).map(|()| 0)
        })
    }
}

impl<T: Operations> compat::CreateFile for Thunks<T> {
    unsafe fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The arguments are those of the VFS's call of `create`, by this function's
            // requirements.
            unsafe { Self::make(idmap, dir, dentry, mode | bindings::S_IFREG as u16, 0)? };
            Ok(0)
        })
    }
}
