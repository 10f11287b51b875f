// SPDX-License-Identifier: GPL-2.0

//! Inodes without a name whose pages something still references.
//!
//! When the last name and the last user of a file are gone, a page of it may still be in a pipe
//! (vmsplice) or under I/O. Its block must not be given to another file before that reference ends,
//! and nobody must wait for it: not the task that closes the file, which may itself be the one to
//! end the reference next, nor umount. So the inode stays in memory, in quarantine, and is evicted
//! on the event of the last reference.
//!
//! # How an inode goes
//!
//! 1. The last `iput()` asks `drop_inode`. It holds `i_lock` and cannot look at pages. If the file
//!    has no name and its mapping has entries, the quarantine takes a reference to the inode and
//!    one to the superblock (`s_active`), which keeps the device claimed beyond umount, and queues
//!    [`Quarantine::work`].
//! 2. The work looks for a busy page. If there is one, it enters [`Quarantine::wait`] into the wait
//!    queue of that page, whose wake-up queues the work again; then it looks at the page once more:
//!    had the reference ended between the look and the entry, nobody would wake it up. Whichever
//!    of the two takes the entry out of the queue goes on, so the work is never queued twice.
//! 3. If there is none, there never will be one: the file has no name, no descriptor and no mapping
//!    to come to it by. The mapping is emptied and the reference dropped: `drop_inode` finds an
//!    empty mapping, and the inode is evicted.
//!
//! Most files are idle, so that 2 and 3 happen at once, yet not before `unlink()` or `close()`
//! return; whoever wants to know how much space there is waits for the looking to end, which takes
//! no reference's end ([`settle`]).

use super::{
    inode::Container,
    super_block::Registration,
    FileSystem, //
};
use crate::bindings;
use core::mem::offset_of;
use kernel::{
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
    types::Opaque, //
};

/// The part of an inode that the quarantine needs.
pub(super) struct Quarantine {
    work: Opaque<bindings::work_struct>,
    wait: Opaque<bindings::wait_bit_queue_entry>,
}

/// Inodes whose pages are being looked at, of one file system type.
pub(super) struct Looking(Atomic<i32>);

impl Looking {
    pub(super) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    fn begin(&self) {
        self.0.fetch_add(1, Full);
    }

    fn end(&self) {
        if self.0.fetch_sub(1, Full) == 1 {
            // SAFETY: The address is only compared.
            unsafe { bindings::wake_up_var(core::ptr::from_ref(self).cast_mut().cast()) };
        }
    }
}

/// Waits until what is in quarantine of file system type `F` has been looked at, or a signal comes
/// that ends the task: what is left then is really referenced.
pub(super) fn settle<F: FileSystem>(registration: &Registration<F>) {
    let counter = &registration.looking.0;
    if counter.load(Relaxed) != 0 {
        // SAFETY: The counter is valid, and its waker uses the same address.
        unsafe { bindings::pinfs_helper_wait_zero_killable(counter.as_ptr()) };
    }
}

/// Initialises the quarantine's part of a new inode.
///
/// # Safety
///
/// `container` must be memory for an inode of `F`, of which nobody else knows.
pub(super) unsafe fn init<F: FileSystem>(container: *mut Container<F>) {
    // SAFETY: By this function's requirements.
    unsafe {
        bindings::pinfs_helper_init_work(
            Opaque::cast_into(&raw const (*container).quarantine.work),
            Some(look::<F>),
        )
    };
}

/// Takes an inode into quarantine, if it may have to go there. Then the caller must keep it.
///
/// # Safety
///
/// `inode` must be an inode of `F` in its `drop_inode`.
pub(super) unsafe fn take<F: FileSystem>(inode: *mut bindings::inode) -> bool {
    // SAFETY: By this function's requirements: `i_lock` is held and the reference count zero.
    unsafe {
        if (*inode).__bindgen_anon_1.i_nlink != 0
            || (*inode).i_data.nrpages == 0
            || !bindings::pinfs_helper_quarantine_hold(inode)
        {
            return false;
        }
        queue::<F>(inode.cast());
    }
    true
}

/// # Safety
///
/// The inode must be in quarantine, and nobody else be about to queue it.
unsafe fn queue<F: FileSystem>(container: *mut Container<F>) {
    // SAFETY: By this function's requirements; the registration outlives its inodes.
    unsafe {
        let registration = Registration::<F>::of((*container).inode.get());
        registration.looking.begin();
        bindings::queue_work_on(
            bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
            registration.queue.as_ptr(),
            (*container).quarantine.work.get(),
        );
    }
}

/// The work of an inode in quarantine.
///
/// # Safety
///
/// For the workqueue.
unsafe extern "C" fn look<F: FileSystem>(work: *mut bindings::work_struct) {
    // SAFETY: The work is part of an inode that the quarantine holds.
    unsafe {
        let container = work
            .byte_sub(offset_of!(Container<F>, quarantine) + offset_of!(Quarantine, work))
            .cast::<Container<F>>();
        let inode = (*container).inode.get();
        let registration = Registration::<F>::of(inode);
        let superblock = (*inode).i_sb;
        loop {
            let page = bindings::dax_layout_busy_page_range((*inode).i_mapping, 0, i64::MAX);
            if page.is_null() {
                break;
            }
            let wait = (*container).quarantine.wait.get();
            wait.write(bindings::wait_bit_queue_entry {
                key: bindings::wait_bit_key {
                    flags: page.cast(),
                    bit_nr: -1,
                    ..Default::default()
                },
                wq_entry: bindings::wait_queue_entry {
                    func: Some(woken::<F>),
                    ..Default::default()
                },
            });
            let head = bindings::__var_waitqueue(page.cast());
            bindings::add_wait_queue(head, &raw mut (*wait).wq_entry);
            if !bindings::pinfs_helper_dax_page_is_idle(page)
                || !bindings::pinfs_helper_unwait(head, &raw mut (*wait).wq_entry)
            {
                registration.looking.end();
                return;
            }
        }
        bindings::dax_delete_mapping_range((*inode).i_mapping, 0, i64::MAX);
        bindings::iput(inode);
        registration.looking.end();
        bindings::deactivate_super(superblock);
    }
}

/// Is called when a page of the wait queue that an inode waits in becomes idle, in any context.
///
/// # Safety
///
/// For the wait queue, whose lock is held.
unsafe extern "C" fn woken<F: FileSystem>(
    entry: *mut bindings::wait_queue_entry,
    _mode: c_uint,
    _flags: c_int,
    key: *mut c_void,
) -> c_int {
    // SAFETY: The entry is part of the quarantine of an inode; the key is of the kind that
    // `wake_up_var` passes.
    unsafe {
        let wait = entry
            .byte_sub(offset_of!(bindings::wait_bit_queue_entry, wq_entry))
            .cast::<bindings::wait_bit_queue_entry>();
        let key = key.cast::<bindings::wait_bit_key>();
        if (*key).flags != (*wait).key.flags || (*key).bit_nr != (*wait).key.bit_nr {
            return 0;
        }
        bindings::pinfs_helper_list_del_init(&raw mut (*entry).entry);
        let container = wait
            .byte_sub(offset_of!(Container<F>, quarantine) + offset_of!(Quarantine, wait))
            .cast::<Container<F>>();
        queue::<F>(container);
    }
    1
}
