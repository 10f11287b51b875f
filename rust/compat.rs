// SPDX-License-Identifier: GPL-2.0

//! Differences between the kernels that pinfs is built for. No other file depends on them.
//!
//! The build compiles a few lines against the kernel (`probes/`) to find which form it has, and
//! passes the result to the compiler as `cfg(kernel_PROBE = "ANSWER")`. `Documentation/porting.rst`
//! describes how to add a form.

use crate::rust::bindings;
use core::convert::Infallible;
use kernel::{
    ffi::{
        c_char,
        c_int, //
    },
    prelude::*, //
};

/// Returns this module as a C pointer.
#[cfg(kernel_this_module = "function")]
pub(crate) const fn this_module() -> *mut bindings::module {
    kernel::module::this_module::<crate::LocalModule>().as_ptr()
}

/// Returns this module as a C pointer.
#[cfg(kernel_this_module = "static")]
pub(crate) const fn this_module() -> *mut bindings::module {
    crate::THIS_MODULE.as_ptr()
}

/// Orders all earlier loads and stores before all later ones, for all processors.
#[inline(always)]
pub(crate) fn smp_mb() {
    #[cfg(kernel_smp_mb = "kind")]
    kernel::sync::barrier::smp_mb(kernel::sync::barrier::Full);
    #[cfg(kernel_smp_mb = "plain")]
    kernel::sync::barrier::smp_mb();
}

/// Initialises `slot` with an initialiser that cannot fail.
///
/// # Safety
///
/// `slot` must be valid for writes. The initialised value must not be moved.
pub(crate) unsafe fn init_in_place<T>(slot: *mut T, init: impl PinInit<T, Infallible>) {
    // SAFETY: The slot is valid for writes and stays where it is, by this function's requirements.
    #[cfg(kernel_pin_init = "function")]
    let Ok(()) = unsafe { pin_init::raw_try_init(slot, init) };
    // SAFETY: The slot is valid for writes and stays where it is, by this function's requirements.
    #[cfg(kernel_pin_init = "method")]
    let Ok(()) = unsafe { init.__pinned_init(slot) };
}

/// `show` of a `struct kobj_attribute`.
pub(crate) type ShowAttribute = unsafe extern "C" fn(
    *mut bindings::kobject,
    *mut bindings::kobj_attribute,
    *mut c_char,
) -> isize;

/// Returns the description of a read-only file in sysfs.
pub(crate) const fn kobj_attribute(
    attr: bindings::attribute,
    show: ShowAttribute,
) -> bindings::kobj_attribute {
    // The other member of each union is the same function, with a constant attribute.
    #[cfg(kernel_kobj_attribute = "unions")]
    return bindings::kobj_attribute {
        attr,
        __bindgen_anon_1: bindings::kobj_attribute__bindgen_ty_1 { show: Some(show) },
        __bindgen_anon_2: bindings::kobj_attribute__bindgen_ty_2 { store: None },
    };
    #[cfg(kernel_kobj_attribute = "members")]
    return bindings::kobj_attribute {
        attr,
        show: Some(show),
        store: None,
    };
}

/// The implementation of `create` of a `struct inode_operations`.
pub(crate) trait CreateFile {
    /// Creates the regular file that `dentry` names.
    ///
    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `create`.
    unsafe fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> c_int;
}

/// `create` of a `struct inode_operations`.
///
/// # Safety
///
/// The arguments must be as in the VFS's call of `create`.
pub(crate) unsafe extern "C" fn create<T: CreateFile>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: bindings::umode_t,
    // The VFS has checked in any case whether the file exists.
    #[cfg(kernel_inode_create = "excl")] _excl: bool,
) -> c_int {
    // SAFETY: The arguments are those of the VFS's call of `create`, by this function's
    // requirements.
    unsafe { T::create(idmap, dir, dentry, mode) }
}
