// SPDX-License-Identifier: GPL-2.0

//! Extended attributes, and the access control lists that are stored as such.
//!
//! The VFS checks the permission for each attribute. ACLs have functions of their own. As
//! attributes they have the format that user space sees, with the numbers of the initial user
//! namespace.
//!
//! C headers: [`include/linux/xattr.h`](srctree/include/linux/xattr.h),
//! [`include/linux/posix_acl.h`](srctree/include/linux/posix_acl.h)

use super::{
    errno::{
        enodata,
        eopnotsupp, //
    },
    inode::{
        FsInode,
        Time, //
    },
    FileSystem, //
};
use crate::rust::{
    bindings,
    lock::{
        ExclusiveInode,
        VfsLocked, //
    },
    task, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_char,
        c_int,
        c_void, //
    },
    prelude::*,
    str::CStr, //
};

/// The class of an attribute, by the prefix of its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// `user.`
    User,
    /// `trusted.`
    Trusted,
    /// `security.`
    Security,
    /// `system.posix_acl_access`, the whole name.
    AccessAcl,
    /// `system.posix_acl_default`, the whole name.
    DefaultAcl,
}

/// The expected state of an attribute that is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Either.
    Any,
    /// It does not exist.
    Missing,
    /// It exists.
    Existing,
}

/// The attributes of inodes.
pub(crate) trait Operations: Sized + 'static {
    /// The file system whose inodes these are.
    type Fs: FileSystem;

    /// Copies the value of an attribute into `buf` if it fits, and returns its length. `name` has
    /// no prefix. No lock is held.
    ///
    /// # Errors
    ///
    /// `ENODATA` if there is none.
    fn get(inode: &FsInode<Self::Fs>, space: Space, name: &[u8], buf: &mut [u8]) -> Result<usize>;

    /// Sets the value of an attribute, or removes it. The i_rwsem is held exclusively.
    ///
    /// # Errors
    ///
    /// `EEXIST` or `ENODATA` if `expect` is not met; `ENODATA` if there is none to remove.
    fn set(
        inode: &VfsLocked<'_, Self::Fs>,
        space: Space,
        name: &[u8],
        value: Option<&[u8]>,
        expect: Expect,
    ) -> Result;

    /// Sets or removes an ACL of the inode, and sets the mode that goes with it, atomically. It is
    /// no error if there is none to remove. The i_rwsem is held exclusively.
    fn set_acl(
        inode: &VfsLocked<'_, Self::Fs>,
        space: Space,
        acl: Option<&[u8]>,
        mode: u16,
        now: Time,
    ) -> Result;

    /// Calls `emit` with class, prefix and rest of the name of each attribute, until it returns
    /// false.
    fn list(inode: &FsInode<Self::Fs>, emit: &mut dyn FnMut(Space, &str, &[u8]) -> bool) -> Result;
}

/// The attributes that a new inode gets: ACLs and labels of security modules.
pub(crate) struct Initial(KVec<(Space, KVec<u8>, KVec<u8>)>);

impl Initial {
    /// Returns class, name and value of each attribute.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Space, &[u8], &[u8])> {
        self.0
            .iter()
            .map(|(space, name, value)| (*space, name.as_slice(), value.as_slice()))
    }

    /// Returns no attributes.
    pub(super) const fn none() -> Self {
        Self(KVec::new())
    }

    /// Collects the attributes of a new inode in `dir`. Changes its mode by the ACL of the
    /// directory or the umask.
    ///
    /// # Safety
    ///
    /// `inode` must be new, with its mode and owner, and no other task may reach it; `dir` must be
    /// a directory of the same superblock; `name` must be valid or null.
    pub(super) unsafe fn new(
        inode: *mut bindings::inode,
        dir: *mut bindings::inode,
        name: *const bindings::qstr,
    ) -> Result<Self> {
        let mut initial = Self::none();
        let mut default = core::ptr::null_mut();
        let mut access = core::ptr::null_mut();
        // SAFETY: The inode is new and no other task reaches it, and `dir` is a directory, by this
        // function's requirements.
        // INVARIANT: `posix_acl_create` returns references to the ACLs, which may be null.
        let (default, access) = unsafe {
            to_result(bindings::posix_acl_create(
                dir,
                &raw mut (*inode).i_mode,
                &mut default,
                &mut access,
            ))?;
            (Acl(default), Acl(access))
        };
        for (space, acl) in [(Space::DefaultAcl, &default), (Space::AccessAcl, &access)] {
            if let Some(value) = acl.to_value()? {
                initial.push(space, &[], value.as_slice())?;
            }
        }
        // SAFETY: Inode, directory and name are valid, by this function's requirements. The
        // call-back gets the pointer that it expects, during the call.
        let ret = unsafe {
            bindings::security_inode_init_security(
                inode,
                dir,
                name,
                Some(Self::labels),
                (&raw mut initial).cast(),
            )
        };
        if ret != 0 && ret != -(bindings::EOPNOTSUPP as c_int) {
            to_result(ret)?;
        }
        Ok(initial)
    }

    fn push(&mut self, space: Space, name: &[u8], value: &[u8]) -> Result {
        let mut attribute = (space, KVec::new(), KVec::new());
        attribute.1.extend_from_slice(name, GFP_KERNEL)?;
        attribute.2.extend_from_slice(value, GFP_KERNEL)?;
        self.0.push(attribute, GFP_KERNEL)?;
        Ok(())
    }

    /// # Safety
    ///
    /// `array` must end with an entry without a name, and `data` must point to an [`Initial`].
    unsafe extern "C" fn labels(
        _inode: *mut bindings::inode,
        array: *const bindings::xattr,
        data: *mut c_void,
    ) -> c_int {
        from_result(|| {
            let mut label = array;
            // SAFETY: The array ends with an entry without a name, by this function's requirements.
            // Names are strings, and values have the length in the entry. `data` is an `Initial`,
            // which only the current task uses meanwhile.
            unsafe {
                while !(*label).name.is_null() {
                    let name = CStr::from_char_ptr((*label).name).to_bytes();
                    let value =
                        core::slice::from_raw_parts((*label).value.cast(), (*label).value_len);
                    (*data.cast::<Self>()).push(Space::Security, name, value)?;
                    label = label.add(1);
                }
            }
            Ok(0)
        })
    }
}

/// A reference to an ACL, or null.
///
/// # Invariants
///
/// The value owns the reference.
struct Acl(*mut bindings::posix_acl);

impl Acl {
    /// Returns the ACL as the value of an attribute.
    fn to_value(&self) -> Result<Option<Value>> {
        if self.0.is_null() {
            return Ok(None);
        }
        let mut len = 0;
        // SAFETY: By the type's invariant the ACL is referenced.
        let value = unsafe { bindings::pinfs_helper_acl_to_xattr(self.0, &mut len) };
        let value = NonNull::new(value.cast()).ok_or(ENOMEM)?;
        // INVARIANT: The memory was just allocated with this length.
        Ok(Some(Value(value, len)))
    }
}

impl Drop for Acl {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant the value owns the reference. The helper ignores null.
        unsafe { bindings::pinfs_helper_acl_release(self.0) };
    }
}

/// The value of an attribute, allocated by the kernel.
///
/// # Invariants
///
/// The value owns memory of that length from `kmalloc()`.
struct Value(NonNull<u8>, usize);

impl Value {
    fn as_slice(&self) -> &[u8] {
        // SAFETY: By the type's invariant there are as many bytes, which the kernel has written.
        unsafe { core::slice::from_raw_parts(self.0.as_ptr(), self.1) }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant the value owns the memory, which is from `kmalloc()`.
        unsafe { bindings::kfree(self.0.as_ptr().cast()) };
    }
}

/// The private functions of the tables.
pub(super) struct Thunks<T: Operations>(PhantomData<T>);

impl<T: Operations> Thunks<T> {
    /// The table for `s_xattr`.
    pub(super) const HANDLERS: [*const bindings::xattr_handler; 4] = [
        &Self::USER,
        &Self::TRUSTED,
        &Self::SECURITY,
        core::ptr::null(),
    ];
    const USER: bindings::xattr_handler = Self::handler(c"user.", Space::User);
    const TRUSTED: bindings::xattr_handler = Self::handler(c"trusted.", Space::Trusted);
    const SECURITY: bindings::xattr_handler = Self::handler(c"security.", Space::Security);

    const fn handler(prefix: &'static CStr, space: Space) -> bindings::xattr_handler {
        bindings::xattr_handler {
            prefix: prefix.to_bytes_with_nul().as_ptr().cast(),
            flags: space as c_int,
            get: Some(Self::get),
            set: Some(Self::set),
            ..pin_init::zeroed()
        }
    }

    fn space(flags: c_int) -> Result<Space> {
        [Space::User, Space::Trusted, Space::Security]
            .into_iter()
            .find(|&space| space as c_int == flags)
            .ok_or_else(eopnotsupp)
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of a handler's `get`.
    unsafe extern "C" fn get(
        handler: *const bindings::xattr_handler,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const c_char,
        buffer: *mut c_void,
        size: usize,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS calls with an inode of `T::Fs` that it holds, a name that is a
            // string, and a buffer of the given size unless it is null.
            let (inode, space, name, buf) = unsafe {
                (
                    FsInode::<T::Fs>::from_raw(inode),
                    Self::space((*handler).flags)?,
                    CStr::from_char_ptr(name).to_bytes(),
                    match NonNull::new(buffer.cast::<u8>()) {
                        Some(buf) => core::slice::from_raw_parts_mut(buf.as_ptr(), size),
                        None => &mut [],
                    },
                )
            };
            let wanted = !buf.is_empty();
            let len = T::get(inode, space, name, buf)?;
            if wanted && len > size {
                return Err(ERANGE);
            }
            Ok(len as c_int)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of a handler's `set`.
    unsafe extern "C" fn set(
        handler: *const bindings::xattr_handler,
        _idmap: *mut bindings::mnt_idmap,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const c_char,
        value: *const c_void,
        size: usize,
        flags: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS calls with an inode of `T::Fs` whose i_rwsem it holds, a name that is
            // a string, and a value of the given size unless it is null.
            let (inode, space, name, value) = unsafe {
                (
                    VfsLocked::<T::Fs>::from_raw(inode),
                    Self::space((*handler).flags)?,
                    CStr::from_char_ptr(name).to_bytes(),
                    NonNull::new(value.cast_mut().cast::<u8>())
                        .map(|value| core::slice::from_raw_parts(value.as_ptr(), size)),
                )
            };
            let expect = match flags as u32 {
                bindings::XATTR_CREATE => Expect::Missing,
                bindings::XATTR_REPLACE => Expect::Existing,
                _ => Expect::Any,
            };
            T::set(&inode, space, name, value, expect)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `listxattr`.
    pub(super) unsafe extern "C" fn list(
        dentry: *mut bindings::dentry,
        buffer: *mut c_char,
        size: usize,
    ) -> isize {
        from_result(|| {
            // SAFETY: The VFS calls with a positive dentry of `T::Fs` that it holds, and a buffer
            // of the given size unless it is null.
            let (inode, mut buf) = unsafe {
                (
                    FsInode::<T::Fs>::from_raw((*dentry).d_inode),
                    NonNull::new(buffer.cast::<u8>())
                        .map(|buf| core::slice::from_raw_parts_mut(buf.as_ptr(), size)),
                )
            };
            let admin = task::is_admin();
            let mut used = 0;
            let mut fits = true;
            T::list(inode, &mut |space, prefix, name| {
                if space == Space::Trusted && !admin {
                    return true;
                }
                for part in [prefix.as_bytes(), name, b"\0"] {
                    if let Some(buf) = &mut buf {
                        match buf.get_mut(used..used + part.len()) {
                            Some(to) => to.copy_from_slice(part),
                            None => fits = false,
                        }
                    }
                    used += part.len();
                }
                fits
            })?;
            if !fits {
                return Err(ERANGE);
            }
            Ok(used as isize)
        })
    }

    fn acl_space(kind: c_int) -> Result<Space> {
        match kind as u32 {
            bindings::ACL_TYPE_ACCESS => Ok(Space::AccessAcl),
            bindings::ACL_TYPE_DEFAULT => Ok(Space::DefaultAcl),
            _ => Err(EINVAL),
        }
    }

    /// Returns the attribute that stores an ACL.
    fn acl_value(inode: &FsInode<T::Fs>, space: Space) -> Result<Option<KVec<u8>>> {
        let len = match T::get(inode, space, &[], &mut []) {
            Err(err) if err == enodata() => return Ok(None),
            len => len?,
        };
        let mut value = KVec::from_elem(0, len, GFP_KERNEL)?;
        // It may have changed, but then the task that changed it drops the cached result.
        let len = match T::get(inode, space, &[], &mut value) {
            Err(err) if err == enodata() => return Ok(None),
            len => len?,
        };
        if len > value.len() {
            return Err(EAGAIN);
        }
        value.truncate(len);
        Ok(Some(value))
    }

    /// Reads an ACL. The VFS caches it.
    ///
    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `get_inode_acl`.
    pub(super) unsafe extern "C" fn get_acl(
        inode: *mut bindings::inode,
        kind: c_int,
        rcu: bool,
    ) -> *mut bindings::posix_acl {
        if rcu {
            // Reading takes a lock that sleeps.
            return Error::from_errno(-(bindings::ECHILD as c_int)).to_ptr();
        }
        // SAFETY: The VFS calls with an inode of `T::Fs` that it holds.
        let inode = unsafe { FsInode::<T::Fs>::from_raw(inode) };
        match Self::acl_space(kind).and_then(|space| Self::acl_value(inode, space)) {
            // SAFETY: The value is valid for its length; the VFS gets a reference, or an error.
            Ok(Some(value)) => unsafe {
                bindings::pinfs_helper_acl_from_xattr(value.as_ptr().cast(), value.len())
            },
            Ok(None) => core::ptr::null_mut(),
            Err(err) => err.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `set_acl`.
    pub(super) unsafe extern "C" fn set_acl(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        acl: *mut bindings::posix_acl,
        kind: c_int,
    ) -> c_int {
        from_result(|| {
            let space = Self::acl_space(kind)?;
            // SAFETY: The VFS calls with a positive dentry of `T::Fs`, and holds its inode's
            // i_rwsem.
            let locked = unsafe { VfsLocked::<T::Fs>::from_raw((*dentry).d_inode) };
            let inode = locked.inode();
            let mut mode = inode.mode();
            let mut acl = acl;
            if space == Space::AccessAcl && !acl.is_null() {
                // SAFETY: The VFS calls with an ACL that it holds, and the idmap of a mount. An ACL
                // that is equivalent to the mode becomes null; the caller keeps its reference.
                to_result(unsafe {
                    bindings::posix_acl_update_mode(idmap, inode.as_ptr(), &mut mode, &mut acl)
                })?;
            }
            if space == Space::DefaultAcl && !inode.is_dir() {
                return if acl.is_null() { Ok(0) } else { Err(EACCES) };
            }
            // The caller owns the reference.
            let value = core::mem::ManuallyDrop::new(Acl(acl)).to_value()?;
            let now = inode.current_time();
            T::set_acl(
                &locked,
                space,
                value.as_ref().map(Value::as_slice),
                mode,
                now,
            )?;
            // SAFETY: The i_rwsem is held, so no other task writes the mode; tasks may read it at
            // any time. The cache takes a reference of its own.
            unsafe {
                (&raw mut (*inode.as_ptr()).i_mode).write_volatile(mode);
                bindings::set_cached_acl(inode.as_ptr(), kind, acl);
            }
            inode.set_ctime(now);
            Ok(0)
        })
    }

    /// Changes the ACL of an inode after its mode was changed (`posix_acl_chmod()`).
    ///
    /// # Safety
    ///
    /// The i_rwsem of the dentry's inode must be held.
    pub(super) unsafe fn chmod(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        mode: u16,
    ) -> Result {
        // SAFETY: The dentry's inode is locked, by this function's requirements.
        to_result(unsafe { bindings::posix_acl_chmod(idmap, dentry, mode) })
    }
}
