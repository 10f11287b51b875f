// SPDX-License-Identifier: GPL-2.0

//! Rings of io_uring that share their buffers.
//!
//! C source: `io_uring/rsrc.c`

use crate::rust::{
    bindings,
    gup::caller_file,
    hook::{
        Call,
        Entry,
        Redirect,
        State, //
    },
    identity::FileId, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    fs::File,
    str::CStr,
    sync::aref::ARef, //
};

/// What hears of buffers that are cloned.
pub(crate) trait Clones: 'static {
    /// Says whether such calls are to come to [`Clones::clone`] at present. Must not sleep.
    fn wanted() -> bool;

    /// Has the buffers of the ring `from` cloned into the ring `to` by `original`, which returns 0 or
    /// an errno, as this function does. Both rings are open during the call. May sleep; a lock of
    /// io_uring's is held.
    fn clone(to: FileId, from: FileId, original: impl FnOnce() -> c_int) -> c_int;
}

static CLONED: State = State::new();

/// Lets [`Clones`] hear of buffers that are cloned.
pub(crate) struct Cloned<C>(PhantomData<C>);

impl<C: Clones> Cloned<C> {
    /// # Safety
    ///
    /// As a redirected call of `io_register_clone_buffers()`.
    unsafe extern "C" fn replacement(ctx: *mut c_void, arg: *mut c_void) -> c_int {
        // SAFETY: The first act of the replacement.
        let call = unsafe { Call::begin(&CLONED) };
        // SAFETY: These are the caller's arguments.
        let original = || unsafe { call.resume([ctx as usize, arg as usize, 0, 0, 0, 0]) as c_int };
        match (caller_file(), source(arg)) {
            (Some((to, _to)), Some((from, _from))) => C::clone(to, from, original),
            // The original says what is wrong.
            _ => original(),
        }
    }
}

/// Returns the ring that buffers are to be cloned from. A process that has another thread change
/// the argument meanwhile is told nothing wrong but about itself.
fn source(arg: *const c_void) -> Option<(FileId, ARef<File>)> {
    // SAFETY: The helper takes any pointer to user space.
    let file = NonNull::new(unsafe { bindings::pinfs_helper_clone_source(arg) })?;
    // SAFETY: The helper returns a reference. A ring has no file position.
    let file = unsafe { ARef::from_raw(file.cast::<File>()) };
    Some((FileId::of_raw(file.as_ptr()), file))
}

// SAFETY: The replacement has the signature of `int io_register_clone_buffers(struct io_ring_ctx *,
// void __user *)`, and begins as it must.
unsafe impl<C: Clones> Redirect for Cloned<C> {
    const NAME: &'static CStr = c"io_register_clone_buffers";

    fn replacement() -> usize {
        Self::replacement as usize
    }

    fn state() -> &'static State {
        &CLONED
    }

    fn wanted(_entry: &Entry<'_>) -> bool {
        C::wanted()
    }
}
