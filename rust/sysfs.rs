// SPDX-License-Identifier: GPL-2.0

//! Directories in `/sys/fs`, and files in them that show a flag or a number.
//!
//! C headers: [`include/linux/kobject.h`](srctree/include/linux/kobject.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use crate::rust::{
    bindings,
    compat::kobj_attribute,
    safe, //
};
use core::{
    mem::{
        offset_of,
        ManuallyDrop, //
    },
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

/// A directory that is removed when the value is dropped.
///
/// # Invariants
///
/// The value owns a reference to the kobject, which is in sysfs.
pub(crate) struct Directory(NonNull<bindings::kobject>);

// SAFETY: kobjects are reference-counted, and any task may release one.
unsafe impl Send for Directory {}
// SAFETY: A shared reference adds files and directories, for which sysfs has locks.
unsafe impl Sync for Directory {}

impl Directory {
    /// Creates a directory in `/sys/fs`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also if it already exists.
    pub(crate) fn new(name: &CStr) -> Result<Self> {
        // SAFETY: The variable is set when the kernel boots, and does not change.
        let root = NonNull::new(unsafe { bindings::fs_kobj }).ok_or(ENOENT)?;
        // INVARIANT: The kernel's own directory is never removed, and its reference is not
        // released.
        ManuallyDrop::new(Self(root)).directory(name)
    }

    /// Returns the wrapped `struct kobject`.
    pub(super) fn as_ptr(&self) -> *mut bindings::kobject {
        self.0.as_ptr()
    }

    /// Creates a subdirectory, which keeps this directory.
    ///
    /// # Errors
    ///
    /// Those of [`Directory::new`].
    pub(crate) fn directory(&self, name: &CStr) -> Result<Self> {
        // INVARIANT: A reference is returned.
        NonNull::new(safe::kobject_create_and_add(name, self))
            .map(Self)
            .ok_or(ENOMEM)
    }

    /// Creates a file that shows `1` or `0`. The flag is static, as sysfs needs static data for a
    /// file.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EEXIST`.
    pub(crate) fn flag(&self, flag: &'static Flag, value: bool) -> Result {
        let attribute = if value { &flag.yes } else { &flag.no };
        // SAFETY: The attribute is static. The file is removed with the directory, after its
        // readers have been waited for.
        to_result(unsafe {
            bindings::sysfs_create_file_ns(self.0.as_ptr(), &attribute.attr, core::ptr::null_mut())
        })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant the value owns the reference, and the kobject is in
        // sysfs, from where it is removed once. That waits for readers.
        unsafe {
            bindings::kobject_del(self.0.as_ptr());
            bindings::kobject_put(self.0.as_ptr());
        }
    }
}

/// Returns the attribute of a file that every user may read.
const fn attribute(name: &'static CStr) -> bindings::attribute {
    // With lock debugging there are more members.
    #[allow(clippy::needless_update)]
    bindings::attribute {
        name: name.to_bytes_with_nul().as_ptr().cast::<c_char>(),
        mode: 0o444,
        ..pin_init::zeroed()
    }
}

/// A file that shows a flag, before the flag is known.
pub(crate) struct Flag {
    yes: bindings::kobj_attribute,
    no: bindings::kobj_attribute,
}

// SAFETY: The attributes are never written to.
unsafe impl Sync for Flag {}

impl Flag {
    /// Returns a file with this name.
    pub(crate) const fn new(name: &'static CStr) -> Self {
        let attr = attribute(name);
        Self {
            yes: kobj_attribute(attr, show_flag::<true>),
            no: kobj_attribute(attr, show_flag::<false>),
        }
    }
}

/// # Safety
///
/// The arguments must be as in sysfs's call of `show` of a `struct kobj_attribute`.
unsafe extern "C" fn show_flag<const VALUE: bool>(
    _kobject: *mut bindings::kobject,
    _attribute: *mut bindings::kobj_attribute,
    buffer: *mut c_char,
) -> isize {
    let text = if VALUE { c"1\n" } else { c"0\n" };
    // SAFETY: sysfs calls `show` with a page for the answer.
    unsafe { bindings::sysfs_emit(buffer, text.as_char_ptr()) as isize }
}

/// A directory of files that each show a number.
pub(crate) struct Counters<const N: usize> {
    // Dropped first, which waits for readers of the files.
    _directory: Directory,
    counters: Pin<KBox<[Counter; N]>>,
}

impl<const N: usize> Counters<N> {
    /// Creates the directory in `parent`, with files that show `0`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also if the directory already exists.
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

    /// Returns the number that a file shows. `I` is the file's index in the list that [`Self::new`]
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

// SAFETY: The memory is not tied to a task.
unsafe impl Send for Counter {}
// SAFETY: The attribute is not written to after it is in sysfs, and the value is atomic.
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
/// The arguments must be as in sysfs's call of `show` for the attribute of a [`Counter`].
unsafe extern "C" fn show_value(
    _kobject: *mut bindings::kobject,
    attribute: *mut bindings::kobj_attribute,
    buffer: *mut c_char,
) -> isize {
    // SAFETY: The attribute is a field of a counter, by this function's requirements, which
    // outlives its file. sysfs calls `show` with a page for the answer.
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
