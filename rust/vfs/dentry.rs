// SPDX-License-Identifier: GPL-2.0

//! Directory entries and paths.
//!
//! C headers: [`include/linux/dcache.h`](srctree/include/linux/dcache.h),
//! [`include/linux/path.h`](srctree/include/linux/path.h)

use crate::rust::bindings;
use kernel::types::Opaque;

/// A name in the directory tree, with or without an inode.
///
/// Wraps `struct dentry`.
///
/// # Invariants
///
/// The wrapped dentry is referenced as long as the reference lives.
#[repr(transparent)]
pub(crate) struct Dentry(Opaque<bindings::dentry>);

impl Dentry {
    /// # Safety
    ///
    /// `ptr` must point at a dentry that stays referenced for `'a`, and whose name does not change
    /// meanwhile: the parent's i_rwsem is held.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::dentry) -> &'a Self {
        // SAFETY: `Dentry` is transparent to `struct dentry`, of which there is one at `ptr` for
        // `'a`, by this function's requirements.
        unsafe { &*ptr.cast() }
    }

    /// Returns the wrapped `struct dentry`.
    pub(crate) fn as_ptr(&self) -> *mut bindings::dentry {
        self.0.get()
    }

    /// Returns the last component of the name.
    pub(crate) fn name(&self) -> &[u8] {
        // SAFETY: The dentry is referenced, and its name, of `len` bytes, does not change, as
        // `from_raw` requires.
        unsafe {
            let name = &(*self.as_ptr()).__bindgen_anon_1.d_name;
            core::slice::from_raw_parts(
                name.name,
                name.__bindgen_anon_1.__bindgen_anon_1.len as usize,
            )
        }
    }
}

/// A mount and a dentry.
///
/// Wraps `struct path`.
///
/// # Invariants
///
/// Both are referenced as long as the reference lives.
#[repr(transparent)]
pub(crate) struct Path(Opaque<bindings::path>);

impl Path {
    /// # Safety
    ///
    /// `ptr` must point at a path whose mount and dentry stay referenced for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *const bindings::path) -> &'a Self {
        // SAFETY: `Path` is transparent to `struct path`, of which there is one at `ptr` for `'a`,
        // by this function's requirements.
        unsafe { &*ptr.cast() }
    }

    /// Returns the wrapped `struct path`.
    pub(crate) fn as_ptr(&self) -> *mut bindings::path {
        self.0.get()
    }

    /// Returns the dentry.
    pub(crate) fn dentry(&self) -> &Dentry {
        // SAFETY: By the type's invariant the dentry is referenced as long as the path is borrowed.
        unsafe { Dentry::from_raw((*self.as_ptr()).dentry) }
    }
}
