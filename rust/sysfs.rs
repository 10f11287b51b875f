// SPDX-License-Identifier: GPL-2.0

//! Directories in `/sys/fs`, and files in them that say yes or no.
//!
//! C headers: [`include/linux/kobject.h`](srctree/include/linux/kobject.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    ffi::c_char,
    prelude::*,
    str::CStr, //
};

/// A directory, as long as the value lives.
///
/// # Invariants
///
/// The value owns a reference to the kobject, which is in sysfs.
pub(crate) struct Directory(NonNull<bindings::kobject>);

// SAFETY: kobjects are reference-counted and shared.
unsafe impl Send for Directory {}
// SAFETY: As above.
unsafe impl Sync for Directory {}

impl Directory {
    /// Makes a directory in `/sys/fs`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also if it is there already.
    pub(crate) fn new(name: &CStr) -> Result<Self> {
        // SAFETY: The kernel's own directory is there for ever.
        unsafe { Self::below(bindings::fs_kobj, name) }
    }

    /// Makes a directory in this one. It keeps this one.
    ///
    /// # Errors
    ///
    /// As [`Directory::new`].
    pub(crate) fn directory(&self, name: &CStr) -> Result<Self> {
        // SAFETY: By the type's invariant.
        unsafe { Self::below(self.0.as_ptr(), name) }
    }

    /// # Safety
    ///
    /// `parent` must be valid.
    unsafe fn below(parent: *mut bindings::kobject, name: &CStr) -> Result<Self> {
        // SAFETY: By this function's requirements; the name is copied.
        let kobject = unsafe { bindings::kobject_create_and_add(name.as_char_ptr(), parent) };
        // INVARIANT: A reference is returned.
        NonNull::new(kobject).map(Self).ok_or(ENOMEM)
    }

    /// Makes a file in the directory that says `1` or `0`, which are static, as files in sysfs are
    /// described by static data.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EEXIST`.
    pub(crate) fn flag(&self, flag: &'static Flag, value: bool) -> Result {
        let attribute = if value { &flag.yes } else { &flag.no };
        // SAFETY: The attribute is static. The file is gone when the directory is, after readers
        // that are inside have been waited for.
        to_result(unsafe {
            bindings::sysfs_create_file_ns(
                self.0.as_ptr(),
                &attribute.attr,
                core::ptr::null_mut(),
            )
        })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: The reference is ours. Removing the directory waits for readers.
        unsafe {
            bindings::kobject_del(self.0.as_ptr());
            bindings::kobject_put(self.0.as_ptr());
        }
    }
}

/// A file that says yes or no, before it is known which.
pub(crate) struct Flag {
    yes: bindings::kobj_attribute,
    no: bindings::kobj_attribute,
}

// SAFETY: The attributes are never written to.
unsafe impl Sync for Flag {}

impl Flag {
    /// Returns a file of this name.
    pub(crate) const fn new(name: &'static CStr) -> Self {
        let attr = bindings::attribute {
            name: name.as_ptr().cast::<c_char>(),
            mode: 0o444,
            ..pin_init::zeroed()
        };
        Self {
            yes: bindings::kobj_attribute {
                attr,
                show: Some(show_yes),
                store: None,
            },
            no: bindings::kobj_attribute {
                attr,
                show: Some(show_no),
                store: None,
            },
        }
    }
}

unsafe extern "C" fn show_yes(
    _kobject: *mut bindings::kobject,
    _attribute: *mut bindings::kobj_attribute,
    buffer: *mut c_char,
) -> isize {
    // SAFETY: The buffer is a page for the answer.
    unsafe { bindings::sysfs_emit(buffer, c"1\n".as_char_ptr()) as isize }
}

unsafe extern "C" fn show_no(
    _kobject: *mut bindings::kobject,
    _attribute: *mut bindings::kobj_attribute,
    buffer: *mut c_char,
) -> isize {
    // SAFETY: The buffer is a page for the answer.
    unsafe { bindings::sysfs_emit(buffer, c"0\n".as_char_ptr()) as isize }
}
