// SPDX-License-Identifier: GPL-2.0

//! Rings of io_uring that share their buffers.
//!
//! C source: `io_uring/rsrc.c`

use crate::rust::{
    bindings,
    gup::caller_file,
    hook::redirect,
    identity::FileId, //
};
use core::ptr::NonNull;
use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    fs::File,
    sync::aref::ARef, //
};

/// Handles the cloning of buffers.
pub(crate) trait Clones: 'static {
    /// Returns whether such calls are redirected to [`Clones::clone`] at present. Must not sleep.
    fn wanted() -> bool;

    /// Runs `original`, which clones the buffers of the ring `from` into the ring `to`. Both
    /// functions return 0 or an errno. Both rings are open during the call. May sleep; a lock of
    /// io_uring is held.
    fn clone(to: FileId, from: FileId, original: impl FnOnce() -> c_int) -> c_int;
}

redirect! {
    /// Redirects the cloning of buffers to [`Clones`].
    pub(crate) struct Cloned<C: Clones>;

    // SAFETY: It is `int io_register_clone_buffers(struct io_ring_ctx *, void __user *)`.
    unsafe fn io_register_clone_buffers(call, ctx: *mut c_void, arg: *mut c_void) -> c_int {
        // SAFETY: These are the arguments that the kernel's function was called with.
        let original = || unsafe { call.resume([ctx as usize, arg as usize, 0, 0, 0, 0]) as c_int };
        match (caller_file(), source(arg)) {
            (Some((to, _to)), Some((from, _from))) => C::clone(to, from, original),
            // The original returns the error.
            _ => original(),
        }
    }

    fn wanted(_entry) -> bool {
        C::wanted()
    }
}

/// Returns the ring whose buffers are cloned. User space can change the argument meanwhile: the
/// process then misleads only itself.
fn source(arg: *const c_void) -> Option<(FileId, ARef<File>)> {
    // SAFETY: The helper takes any pointer to user space, and returns a reference to a ring, which
    // has no file position, or null.
    let file = unsafe {
        let file = NonNull::new(bindings::pinfs_helper_clone_source(arg))?;
        ARef::from_raw(file.cast::<File>())
    };
    Some((FileId::of_raw(file.as_ptr()), file))
}
