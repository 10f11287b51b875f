// SPDX-License-Identifier: GPL-2.0

//! Directories in `/sys/fs`, and files in them that say yes or no, or a number.
//!
//! C headers: [`include/linux/kobject.h`](srctree/include/linux/kobject.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use crate::rust::{
    bindings,
    compat::kobj_attribute, //
};
use core::{
    mem::offset_of,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    ffi::c_char,
    prelude::*,
    str::CStr,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
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
            bindings::sysfs_create_file_ns(self.0.as_ptr(), &attribute.attr, core::ptr::null_mut())
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

/// What sysfs wants to know of a file that everybody may read.
const fn attribute(name: &'static CStr) -> bindings::attribute {
    // With lock debugging there are more members.
    #[allow(clippy::needless_update)]
    bindings::attribute {
        name: name.to_bytes_with_nul().as_ptr().cast::<c_char>(),
        mode: 0o444,
        ..pin_init::zeroed()
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
        let attr = attribute(name);
        Self {
            yes: kobj_attribute(attr, show_yes),
            no: kobj_attribute(attr, show_no),
        }
    }
}

/// # Safety
///
/// As `show` of a `struct kobj_attribute`.
unsafe extern "C" fn show_yes(
    _kobject: *mut bindings::kobject,
    _attribute: *mut bindings::kobj_attribute,
    buffer: *mut c_char,
) -> isize {
    // SAFETY: The buffer is a page for the answer.
    unsafe { bindings::sysfs_emit(buffer, c"1\n".as_char_ptr()) as isize }
}

/// # Safety
///
/// As `show` of a `struct kobj_attribute`.
unsafe extern "C" fn show_no(
    _kobject: *mut bindings::kobject,
    _attribute: *mut bindings::kobj_attribute,
    buffer: *mut c_char,
) -> isize {
    // SAFETY: The buffer is a page for the answer.
    unsafe { bindings::sysfs_emit(buffer, c"0\n".as_char_ptr()) as isize }
}

/// A directory of files that each show a number.
pub(crate) struct Counters<const N: usize> {
    // Dropped first, which waits for those who read the files.
    _directory: Directory,
    counters: Pin<KBox<[Counter; N]>>,
}

impl<const N: usize> Counters<N> {
    /// Makes the directory in `parent`, with files that say `0`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also if the directory is there already.
    pub(crate) fn new(parent: &Directory, name: &CStr, files: [&'static CStr; N]) -> Result<Self> {
        let counters = KBox::pin(files.map(Counter::new), GFP_KERNEL)?;
        let directory = parent.directory(name)?;
        for counter in counters.iter() {
            let attribute = counter.attribute.get();
            // SAFETY: The attribute is pinned and outlives the directory, and the file with it.
            to_result(unsafe {
                bindings::pinfs_helper_sysfs_attr_init(&raw mut (*attribute).attr);
                bindings::sysfs_create_file_ns(
                    directory.0.as_ptr(),
                    &raw const (*attribute).attr,
                    core::ptr::null_mut(),
                )
            })?;
        }
        Ok(Self {
            _directory: directory,
            counters,
        })
    }

    /// Returns the number that a file shows, by the file's place in the list that [`Self::new`]
    /// got.
    pub(crate) fn value<const I: usize>(&self) -> &Atomic<i64> {
        const { assert!(I < N) };
        &self.counters[I].value
    }
}

/// A file that shows a number.
struct Counter {
    attribute: Opaque<bindings::kobj_attribute>,
    value: Atomic<i64>,
}

// SAFETY: The attribute is not written to once it is in sysfs, and the value is atomic.
unsafe impl Send for Counter {}
// SAFETY: As above.
unsafe impl Sync for Counter {}

impl Counter {
    fn new(name: &'static CStr) -> Self {
        Self {
            attribute: Opaque::new(kobj_attribute(attribute(name), show_value)),
            value: Atomic::new(0),
        }
    }
}

/// # Safety
///
/// As `show` of a `struct kobj_attribute`, one of a [`Counter`].
unsafe extern "C" fn show_value(
    _kobject: *mut bindings::kobject,
    attribute: *mut bindings::kobj_attribute,
    buffer: *mut c_char,
) -> isize {
    // SAFETY: By this function's requirements; the counter outlives its file. The buffer is a page
    // for the answer.
    unsafe {
        let counter = attribute
            .byte_sub(offset_of!(Counter, attribute))
            .cast::<Counter>();
        bindings::sysfs_emit(
            buffer,
            c"%lld\n".as_char_ptr(),
            (*counter).value.load(Relaxed),
        ) as isize
    }
}
