// SPDX-License-Identifier: GPL-2.0

//! Layout leases: `struct file_lease` with `FL_LAYOUT`, and their interface by `fcntl(2)`.
//!
//! The kernel keeps such leases (they show in `/proc/locks` and in `fdinfo`, and end when the file
//! is closed for the last time), but `fcntl(F_SETLEASE)` cannot request one: it takes F_RDLCK,
//! F_WRLCK and F_UNLCK only, before it calls any file system. [`SetLease`] and [`GetLease`]
//! redirect it.
//!
//! The kernel's lease is of the whole file. Only [`Leases`] knows the ranges of the holder and
//! their kinds. So the kernel's lease exists as long as the file has any range. The kernel's code
//! notifies holders, keeps the time and makes tasks wait for the end of a lease. It calls
//! [`Leases`] to find which leases are affected.
//!
//! A lease is a real one, taken through `vfs_setlease()`: permission, security modules and the
//! kernel's own conflict rules apply. Like a classic lease it is owned by its file, or `fdinfo`
//! would not show it; therefore a file has one or the other. [`Manager::open_conflict`] refuses a
//! layout lease if the file has a classic one, [`Leases::set`] and [`Manager::change`] the reverse.
//!
//! Locks: functions of [`Leases`] run under the inode's `flc_lock`, a spin lock, if their comment
//! says so.
//!
//! C header: [`include/linux/filelock.h`](srctree/include/linux/filelock.h)

use crate::rust::{
    bindings,
    hook::redirect,
    identity::FileId,
    safe,
    vfs::Inode, //
};
use core::marker::PhantomData;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    prelude::*, //
};

/// `F_LAYOUT`: a layout lease.
pub(crate) const F_LAYOUT: c_int = bindings::F_LAYOUT as c_int;
/// `F_EXCLUSIVE`, with F_LAYOUT: unbreakable, one holder.
pub(crate) const F_EXCLUSIVE: c_int = bindings::F_EXCLUSIVE as c_int;
/// `F_UNBREAK`, with F_LAYOUT: unbreakable, any number of holders.
pub(crate) const F_UNBREAK: c_int = bindings::F_UNBREAK as c_int;
/// `F_RDLCK`: a classic read lease.
pub(crate) const F_RDLCK: c_int = bindings::F_RDLCK as c_int;
/// `F_WRLCK`: a classic write lease.
pub(crate) const F_WRLCK: c_int = bindings::F_WRLCK as c_int;
/// `F_UNLCK`: no lease.
pub(crate) const F_UNLCK: c_int = bindings::F_UNLCK as c_int;

/// An open file with or without a lease.
///
/// # Invariants
///
/// The file is referenced for `'a`.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct OpenFile<'a>(*mut bindings::file, PhantomData<&'a ()>);

impl<'a> OpenFile<'a> {
    /// # Safety
    ///
    /// `file` must be referenced for `'a`.
    pub(crate) unsafe fn from_raw(file: *mut bindings::file) -> Self {
        // INVARIANT: By this function's requirements.
        Self(file, PhantomData)
    }

    /// Returns the wrapped `struct file`.
    pub(super) fn as_ptr(self) -> *mut bindings::file {
        self.0
    }

    /// Returns which file it is.
    pub(crate) fn id(self) -> FileId {
        FileId::of_raw(self.0)
    }

    /// Returns the inode.
    pub(crate) fn inode(self) -> &'a Inode {
        // SAFETY: By the type's invariant the file is referenced for `'a`, and it references its
        // inode, which does not change.
        unsafe { Inode::from_raw((*self.0).f_inode) }
    }

    /// Returns the descriptor that the current system call names, which signals about the lease
    /// carry; -1 if there is none.
    pub(crate) fn descriptor(self) -> c_int {
        safe::pinfs_helper_syscall_fd()
    }

    /// Returns whether the current task may have leases on the file: it acts for the file's owner,
    /// or has CAP_LEASE. Does not sleep.
    ///
    /// `vfs_setlease()` checks this and asks the security modules, whose decision is not known
    /// here.
    pub(crate) fn may_lease(self) -> bool {
        safe::pinfs_helper_may_lease(self)
    }

    /// Returns whether the file is open for writing.
    pub(crate) fn is_writable(self) -> bool {
        safe::pinfs_helper_file_is_writable(self)
    }
}

/// The state of a lease that the kernel sees.
#[derive(Clone, Copy)]
pub(crate) struct LeaseView {
    /// It shows as WRITE, else as READ.
    pub(crate) is_exclusive: bool,
    /// Tasks still have to wait for the lease.
    pub(crate) is_breaking: bool,
    /// The current process is the holder.
    pub(crate) is_own: bool,
}

/// Implements `fcntl()` for layout leases, and makes decisions for the kernel's lease code.
pub(crate) trait Leases: 'static {
    /// Returns whether [`Leases::set`] handles `fcntl(F_SETLEASE, arg)` on a file. Must not sleep.
    fn wants_set(file: OpenFile<'_>, arg: c_int) -> bool;

    /// Handles `fcntl(F_SETLEASE, arg)`.
    fn set(file: OpenFile<'_>, fd: c_uint, arg: c_int) -> Result;

    /// Returns whether [`Leases::get`] handles `fcntl(F_GETLEASE)` on a file. Must not sleep.
    fn wants_get(file: OpenFile<'_>) -> bool;

    /// Handles `fcntl(F_GETLEASE)`.
    fn get(file: OpenFile<'_>) -> c_int;

    /// Returns whether the current task need not wait for the file's lease: the lease is its own,
    /// or cannot be broken. Under `flc_lock`.
    fn is_exempt(file: OpenFile<'_>) -> bool;

    /// Called when the current task waits for the end of the file's lease. Returns whether it still
    /// has to wait. Under `flc_lock`.
    fn breaking(file: OpenFile<'_>) -> bool;

    /// Called when the holder did not release the lease in time. Removes the breakable part of the
    /// lease, and returns whether that was all. Under `flc_lock`.
    fn timed_out(file: OpenFile<'_>) -> bool;

    /// Checks whether the current task can have the lease that it requests by [`install`]. Under
    /// `flc_lock`, which is held until the lease is set or refused.
    fn admit(file: OpenFile<'_>) -> Result;

    /// Makes the change that the current task requests by [`install`] or [`update`], and returns
    /// the resulting state of the file's lease. May be called again. Fails if the task requests
    /// another kind of lease on the file, but not for the file's first lease after
    /// [`Leases::admit`]. Under `flc_lock`.
    fn commit(file: OpenFile<'_>) -> Result<LeaseView>;

    /// Releases the file's lease, or returns an error if it must stay. Under `flc_lock`.
    fn release(file: OpenFile<'_>) -> Result;
}

/// The functions that the kernel calls for a lease of `L`.
struct Manager<L: Leases>(PhantomData<L>);

impl<L: Leases> Manager<L> {
    const TABLE: bindings::lease_manager_operations = bindings::lease_manager_operations {
        lm_break: Some(Self::breaking),
        lm_change: Some(Self::change),
        lm_setup: Some(Self::setup),
        lm_breaker_owns_lease: Some(Self::breaker_owns_lease),
        lm_open_conflict: Some(Self::open_conflict),
        lm_breaker_timedout: Some(Self::breaker_timedout),
    };

    fn table() -> *const bindings::lease_manager_operations {
        const { &Self::TABLE }
    }

    /// # Safety
    ///
    /// `lease` must be a lease in a list of its inode, under `flc_lock`.
    unsafe fn file<'a>(lease: *mut bindings::file_lease) -> OpenFile<'a> {
        // SAFETY: A lease is removed from its list, under `flc_lock`, before its file goes. It is
        // in the list and the lock is held, by this function's requirements.
        unsafe { OpenFile::from_raw(bindings::pinfs_helper_lease_file(lease)) }
    }

    /// Signals the holder. The lease stays until the holder releases it or the time is up.
    ///
    /// # Safety
    ///
    /// The argument must be as in the kernel's call of `lm_break`.
    unsafe extern "C" fn breaking(lease: *mut bindings::file_lease) -> bool {
        // SAFETY: `__break_lease()` calls this for a lease in its list, under `flc_lock`, which the
        // helpers require.
        unsafe {
            if L::breaking(Self::file(lease)) {
                bindings::pinfs_helper_lease_signal(lease);
            } else {
                bindings::pinfs_helper_lease_spare(lease);
            }
        }
        false
    }

    /// # Safety
    ///
    /// The arguments must be as in the kernel's call of `lm_change`.
    unsafe extern "C" fn change(
        lease: *mut bindings::file_lease,
        arg: c_int,
        dispose: *mut bindings::list_head,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The kernel's lease code calls this for a lease in its list, under `flc_lock`,
            // which `lease_modify()` and the helpers require, with a list for disposed leases.
            unsafe {
                let file = Self::file(lease);
                if arg == F_UNLCK {
                    L::release(file)?;
                    to_result(bindings::lease_modify(lease, arg, dispose))?;
                    return Ok(0);
                }
                let view = L::commit(file)?;
                if !view.is_breaking {
                    bindings::pinfs_helper_lease_spare(lease);
                }
                if view.is_own {
                    bindings::pinfs_helper_lease_own(lease);
                }
                // Wakes tasks that wait for the lease, to check it again.
                to_result(bindings::lease_modify(lease, type_of(view), dispose))?;
            }
            Ok(0)
        })
    }

    /// Completes a lease that the kernel has added.
    ///
    /// Makes the process the one that signals go to, unless the file already has another, and sets
    /// the type of the lease: the kernel would refuse to add a lease of type F_WRLCK while there is
    /// another.
    ///
    /// # Safety
    ///
    /// The arguments must be as in the kernel's call of `lm_setup`.
    unsafe extern "C" fn setup(lease: *mut bindings::file_lease, _private: *mut *mut c_void) {
        // SAFETY: `generic_add_lease()` calls this for a lease that it has put into the list, under
        // `flc_lock`, which the helper requires.
        unsafe {
            let arg = L::commit(Self::file(lease)).map_or(F_RDLCK, type_of);
            bindings::pinfs_helper_lease_setup(lease, arg);
        }
    }

    /// # Safety
    ///
    /// The argument must be as in the kernel's call of `lm_breaker_owns_lease`.
    unsafe extern "C" fn breaker_owns_lease(lease: *mut bindings::file_lease) -> bool {
        // SAFETY: `leases_conflict()` calls this for a lease in its list, under `flc_lock`.
        L::is_exempt(unsafe { Self::file(lease) })
    }

    /// Refuses a layout lease that conflicts with another lease. Opens do not conflict with a
    /// layout lease. A lease of another kind that the file holds does, and so may the layout leases
    /// of others. The kernel calls this under the lock under which it then calls `change` or
    /// `setup`.
    ///
    /// # Safety
    ///
    /// The arguments must be as in the kernel's call of `lm_open_conflict`.
    unsafe extern "C" fn open_conflict(file: *mut bindings::file, _arg: c_int) -> c_int {
        from_result(|| {
            // SAFETY: `generic_add_lease()` calls this under `flc_lock`, for a file that its caller
            // has referenced.
            unsafe {
                if bindings::pinfs_helper_file_has_other_lease(file, Self::table()) {
                    return Err(EAGAIN);
                }
                L::admit(OpenFile::from_raw(file))?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The argument must be as in the kernel's call of `lm_breaker_timedout`.
    unsafe extern "C" fn breaker_timedout(lease: *mut bindings::file_lease) -> bool {
        // SAFETY: `time_out_leases()` calls this for a lease in its list, under `flc_lock`, which
        // the helper requires.
        unsafe {
            let is_gone = L::timed_out(Self::file(lease));
            if !is_gone {
                bindings::pinfs_helper_lease_spare(lease);
            }
            is_gone
        }
    }
}

/// Returns the type of the kernel's lease.
fn type_of(view: LeaseView) -> c_int {
    if view.is_exclusive {
        F_WRLCK
    } else {
        F_RDLCK
    }
}

/// Takes a layout lease on a file, or changes the one it has.
///
/// Signals carry the descriptor `fd`, if it is the first lease of the file.
///
/// # Errors
///
/// `EACCES` if the task is neither the file's owner nor has CAP_LEASE; `EAGAIN` if another lease
/// conflicts; `EINVAL` if leases are disabled (`fs.leases-enable`); `ENOMEM`.
pub(crate) fn install<L: Leases>(file: OpenFile<'_>, fd: c_int) -> Result {
    // SAFETY: By the type's invariant the file is referenced. The table is one of this module, and
    // a lease on one of its files keeps the module.
    to_result(unsafe {
        bindings::pinfs_helper_layout_lease_install(file.0, fd, Manager::<L>::table())
    })
}

/// Makes the change of a file's layout lease that the current task has prepared, and wakes tasks
/// that wait for the lease.
///
/// # Errors
///
/// Those of [`Leases::commit`]; `EAGAIN` if there is no layout lease.
pub(crate) fn update<L: Leases>(file: OpenFile<'_>) -> Result {
    // SAFETY: By the type's invariant the file is referenced. The helper only compares the table's
    // address.
    to_result(unsafe { bindings::pinfs_helper_layout_lease_update(file.0, Manager::<L>::table()) })
}

/// Returns whether a file has a layout lease. Takes `flc_lock` if any file has a lease on the
/// inode; does not sleep.
pub(crate) fn is_leased<L: Leases>(file: OpenFile<'_>) -> bool {
    // SAFETY: By the type's invariant the file is referenced. The helper only compares the table's
    // address.
    unsafe { bindings::pinfs_helper_file_has_layout_lease(file.0, Manager::<L>::table()) }
}

/// Releases the layout lease of a file, if [`Leases::release`] permits it.
///
/// # Errors
///
/// Those of [`Leases::release`]; `EACCES` as for [`install`]; `EAGAIN` if there is no layout lease.
pub(crate) fn remove(file: OpenFile<'_>) -> Result {
    let mut owner: *mut c_void = file.0.cast();
    // SAFETY: By the type's invariant the file is referenced. For F_UNLCK the last argument is the
    // owner to look for.
    to_result(unsafe { bindings::vfs_setlease(file.0, F_UNLCK, core::ptr::null_mut(), &mut owner) })
}

/// Notifies the holders of breakable layout leases on an inode, and waits until they have released
/// them or their time is up.
///
/// # Errors
///
/// `EAGAIN` if `wait` is false and a holder has to be waited for; `ERESTARTSYS` after a signal.
pub(crate) fn break_layout(inode: &Inode, wait: bool) -> Result {
    to_result(safe::pinfs_helper_break_layout(inode, wait))
}

redirect! {
    /// Redirects `fcntl(F_SETLEASE)` to [`Leases`].
    pub(crate) struct SetLease<L: Leases>;

    // SAFETY: It is `int fcntl_setlease(unsigned int, struct file *, int)`. The system call holds
    // the file for the duration of the call.
    unsafe fn fcntl_setlease(_call, fd: c_uint, file: OpenFile<'_>, arg: c_int) -> c_int {
        from_result(|| {
            L::set(file, fd, arg)?;
            Ok(0)
        })
    }

    fn wanted(entry) -> bool {
        // SAFETY: The second argument is the file, which the system call holds.
        let file = unsafe { OpenFile::from_raw(entry.argument(1)) };
        L::wants_set(file, entry.argument(2))
    }
}

redirect! {
    /// Redirects `fcntl(F_GETLEASE)` to [`Leases`].
    pub(crate) struct GetLease<L: Leases>;

    // SAFETY: It is `int fcntl_getlease(struct file *)`. The system call holds the file for the
    // duration of the call.
    unsafe fn fcntl_getlease(_call, file: OpenFile<'_>) -> c_int {
        L::get(file)
    }

    fn wanted(entry) -> bool {
        // SAFETY: The first argument is the file, which the system call holds.
        L::wants_get(unsafe { OpenFile::from_raw(entry.argument(0)) })
    }
}
