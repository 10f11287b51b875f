// SPDX-License-Identifier: GPL-2.0

//! Inodes of closed files whose pages are still referenced.
//!
//! When a file is not open any more, a page of it may still be in a pipe (vmsplice) or under I/O.
//! Its block must not be allocated to another file before that reference ends, and the kernel's own
//! record of it must stay. No task must wait for the reference: not the task that closes the file,
//! which may itself be the one to release the reference next, nor a task that unlinks it, nor
//! umount. So the inode is held in memory, in quarantine, until the last reference ends.
//!
//! # References
//!
//! The quarantine holds a reference to the inode, so that no eviction ever meets a referenced page.
//! It also holds a reference to the superblock (`s_active`), so that umount returns at once and the
//! file system stays active after it, with the device claimed, until the last reference ends. A
//! mount of the device meanwhile finds the same superblock. After umount has returned, everything
//! must be durable. To ensure that, files are synced when they are closed while an inode is in
//! quarantine ([`QuarantineState::write_back`]).
//!
//! # How an inode enters and leaves
//!
//! 1. A page of a file can only be referenced through a page table entry, which comes from a page
//!    fault in a mapping; a mapping keeps its open file. Each open file that is mapped has a set of
//!    the parts that it has shown, see [`shown`](super::shown), and is responsible for these pages:
//!    when it ends ([`closed`]), its page table entries are gone, and no more references come from
//!    them. A page of the set that is idle then is dropped from it for good.
//! 2. If a page is busy, the inode enters quarantine and [`Quarantine::work`] is queued. The rest
//!    of the set becomes [`Quarantine::unseen`].
//! 3. The work scans the unseen parts, up to a busy page. It enters [`Quarantine::wait`] into the
//!    wait queue of that page, whose wake-up queues the work again. Then it checks the page once
//!    more: if the reference had ended between the scan and the entry, there would be no wake-up.
//!    Either the work or the wake-up removes the entry from the queue, and only that one continues,
//!    so the work is never queued twice.
//! 4. If no page is busy, or if the file is mapped again, the inode is released. A file without a
//!    name is evicted by that.
//!
//! # Other mappings
//!
//! A scan removes the pages that it scans from page tables, and other mappings of the file would
//! have to fault them in again. So there is no scan while there are any: an open file that ends
//! leaves its set as unseen, and the end of another mapping's open file, which is still to come,
//! takes it over. A task that takes a set out of [`Quarantine::unseen`] is responsible for it,
//! until the pages are found idle or the set is put back. After it has put the set back, it has to
//! ensure that another party is responsible: an open file that has a mapping *after* that, or the
//! task that has set [`Quarantine::held`] by then. Otherwise it must set `held` itself. In detail,
//! where A and B are two open files and P a page that A has shown:
//!
//! * *A ends, B is mapped, and B ends.* A puts P back, then sees the mapping. B's end finds no
//!   mapping and takes P over.
//! * *Both end at once.* A puts, then checks for mappings; B's mapping goes, then B takes. With a
//!   full barrier between the two on either side, A finds no mapping or B finds P. If both do, one
//!   of them gets P by its exchange.
//! * *B is mapped and faults P in while A scans it.* The scan reads the reference count and the map
//!   count one after the other, and may find P idle though it is not, if the fault comes between.
//!   But then P is in the set of B, which ends later, and finds the reference. That holds for any
//!   number of such Bs, as one of them is the last.
//! * *B ends while the inode is held.* It puts its busy pages back, and then finds the inode held.
//!   The work first clears `held`, and then checks for unseen parts; so it sees them, or B did not
//!   find the inode held. B does not scan the earlier unseen parts; otherwise each B would scan all
//!   that wait.
//! * *B is mapped while the work waits, and ends after the work has released the inode for that.*
//!   The work clears `held` and then checks for mappings; B's mapping goes, and then B reads
//!   `held`. With full barriers there, B finds it clear, and takes over; or the work finds no
//!   mapping and keeps the inode.
//! * *fork(2), mremap(2), munmap(2) of a part, MAP_PRIVATE, remap_file_pages(2)* all leave the page
//!   table entries with mappings of the same open file, or need page faults in them.
//!
//! The task that changes `held` from 0 to 1 owns the references to inode and superblock.
//!
//! # Cost
//!
//! Each part that was shown through an open file is scanned once: when the open file ends, or, if
//! there are other mappings, by the last one. If there is no memory to record the shown parts, the
//! whole file is scanned.

use super::{
    inode::Container,
    shown::{
        Owned,
        Slot, //
    },
    super_block::{
        NewSuperBlock,
        Registration, //
    },
    FileSystem,
    FsInode,
    SuperBlock, //
};
use crate::rust::{
    bindings,
    compat::smp_mb,
    safe,
    sysfs::Counters,
    trace, //
};
use core::{
    mem::offset_of,
    ptr::NonNull, //
};
use kernel::{
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    prelude::*,
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
    /// Parts that ended open files have shown, and that no scan has found idle since.
    unseen: Slot,
    /// 1 while the inode is in quarantine.
    held: Atomic<i32>,
    /// Bytes of the file that [`QuarantineState`] counts, while it is held.
    bytes: Atomic<i64>,
}

/// The quarantine of a superblock, and its files in sysfs.
pub(crate) struct QuarantineState {
    counters: Counters<2>,
    /// Number of inodes that are being scanned.
    scans: Atomic<i32>,
}

impl QuarantineState {
    const FILES: usize = 0;
    const BYTES: usize = 1;

    /// Creates the superblock's directory in sysfs.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(sb: &NewSuperBlock) -> Result<Self> {
        let files = [c"quarantined_files", c"quarantined_bytes"];
        Ok(Self {
            counters: Counters::new(sb.sysfs(), sb.id(), files)?,
            scans: Atomic::new(0),
        })
    }

    fn files(&self) -> &Atomic<i64> {
        self.counters.value::<{ Self::FILES }>()
    }

    fn bytes(&self) -> &Atomic<i64> {
        self.counters.value::<{ Self::BYTES }>()
    }

    /// Makes a file durable when it is closed, if a following umount would not.
    ///
    /// A file is synced either here, because the quarantine is not empty, or by the first file that
    /// enters quarantine, which syncs all files. This reads the count after the last store, and the
    /// other reads the stores after it has counted itself; so no store is missed by both. Errors
    /// are kept in the mapping, for the next open of the file and its fsync.
    fn write_back<F: FileSystem>(&self, inode: &FsInode<F>) {
        smp_mb();
        if self.files().load(Relaxed) != 0 {
            safe::write_inode_now(inode, 1);
        }
    }

    fn begin_scan(&self) {
        self.scans.fetch_add(1, Full);
    }

    fn end_scan(&self) {
        if self.scans.fetch_sub(1, Full) == 1 {
            self.wake_waiters();
        }
    }

    fn wake_waiters(&self) {
        // Orders the change that ends the wait before the check for waiters.
        smp_mb();
        // SAFETY: The address is compared with those of waiters, and not followed.
        unsafe { bindings::wake_up_var(self.scans.as_ptr().cast()) };
    }
}

/// Waits until the inodes in quarantine have been scanned, or for a fatal signal. Inodes that are
/// left then have referenced pages. A frozen file system frees no inode until it is thawed, so this
/// does not wait then, and [`frozen`] ends a wait in progress.
pub(super) fn wait_idle<F: FileSystem>(sb: &SuperBlock<F>) {
    let scans = &sb.quarantine().scans;
    if scans.load(Relaxed) != 0 {
        // SAFETY: Counter and superblock exist as long as they are borrowed, and the wakers use the
        // counter's address.
        unsafe { bindings::pinfs_helper_wait_zero_or_frozen(scans.as_ptr(), sb.as_ptr()) };
    }
}

/// Ends waits while the file system is being frozen. The superblock must already be marked as such.
pub(super) fn frozen<F: FileSystem>(sb: &SuperBlock<F>) {
    sb.quarantine().wake_waiters();
}

/// Initialises the quarantine's part of a new inode.
///
/// # Safety
///
/// `container` must be memory for an inode of `F`, which no other task can reach.
pub(super) unsafe fn init<F: FileSystem>(container: *mut Container<F>) {
    // SAFETY: This function may initialise the memory, by its requirements. `scan` is a function
    // for a work item, one of a quarantine of `F`.
    unsafe {
        let quarantine = &raw mut (*container).quarantine;
        (&raw mut (*quarantine).unseen).write(Slot::new());
        (&raw mut (*quarantine).held).write(Atomic::new(0));
        (&raw mut (*quarantine).bytes).write(Atomic::new(0));
        bindings::pinfs_helper_init_work(
            Opaque::cast_into(&raw const (*quarantine).work),
            Some(scan::<F>),
        )
    };
}

/// Frees the quarantine's part of an inode.
///
/// # Safety
///
/// No task can reach the inode any more, and [`init()`] was called for it.
pub(super) unsafe fn free<F: FileSystem>(container: *mut Container<F>) {
    // SAFETY: The inode was through `init`, and no other task can reach it any more, by this
    // function's requirements.
    unsafe { core::ptr::drop_in_place(&raw mut (*container).quarantine.unseen) };
}

/// Puts the inode into quarantine if pages that the ended open file has shown are referenced. Must
/// be called when an open file ends, while it still holds its superblock, with the set of its
/// mappings, if it ever had one.
///
/// # Safety
///
/// The caller must hold an open file of `inode`.
pub(super) unsafe fn closed<F: FileSystem>(inode: &FsInode<F>, shown: Option<Owned>) {
    let raw = inode.as_ptr();
    let sb = inode.super_block();
    let state = sb.quarantine();
    state.write_back(inode);
    let Some(mut shown) = shown else {
        return;
    };
    let quarantine = quarantine_of(inode);
    let is_mapped = || safe::pinfs_helper_mapping_mapped(inode);
    if is_mapped() {
        quarantine.unseen.put(shown);
        if is_mapped() {
            return;
        }
        match quarantine.unseen.take() {
            Some(taken) => shown = taken,
            None => return,
        }
    } else {
        // Orders the end of this open file's mapping before the read of `held`.
        smp_mb();
        if quarantine.held.load(Relaxed) == 0 {
            shown = quarantine.unseen.join(shown);
        }
    }
    if shown.first_busy(inode.mapping()).is_none() {
        return;
    }
    quarantine.unseen.put(shown);
    if quarantine.held.xchg(1, Full) != 0 {
        return;
    }
    // SAFETY: The open file holds both the inode and, by its mount, the superblock. `held` was 0,
    // so no other task is about to queue the work. The current task holds no lock that comes after
    // `s_umount`, as the last close of a file happens without any.
    unsafe {
        bindings::ihold(raw);
        bindings::pinfs_helper_super_hold(sb.as_ptr());
        let bytes = (*raw).i_blocks as i64 * 512;
        quarantine.bytes.store(bytes, Relaxed);
        state.bytes().fetch_add(bytes, Relaxed);
        if state.files().fetch_add(1, Full) == 0 {
            bindings::down_read(&raw mut (*sb.as_ptr()).s_umount);
            bindings::sync_filesystem(sb.as_ptr());
            bindings::up_read(&raw mut (*sb.as_ptr()).s_umount);
        }
        trace::quarantine(inode, true);
        queue::<F>(raw.cast());
    }
}

fn quarantine_of<F: FileSystem>(inode: &FsInode<F>) -> &Quarantine {
    // SAFETY: `F` has allocated the inode, by its type, and `init` was called for it. Of the
    // quarantine, `work` and `wait` are opaque, and the rest is atomic.
    unsafe { &(*inode.as_ptr().cast::<Container<F>>()).quarantine }
}

/// # Safety
///
/// The inode must be in quarantine, and no other task may be about to queue it.
unsafe fn queue<F: FileSystem>(container: *mut Container<F>) {
    // SAFETY: The quarantine holds the inode, by this function's requirements, and with it the
    // superblock. The work was initialised with the inode, and is not queued.
    unsafe {
        let inode = FsInode::<F>::from_raw((*container).inode.get());
        let sb = inode.super_block();
        sb.quarantine().begin_scan();
        bindings::queue_work_on(
            bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
            Registration::queue_of(sb),
            (*container).quarantine.work.get(),
        );
    }
}

/// Returns a referenced page of the unseen parts, unless the file is mapped again: then the end of
/// that mapping's open file will scan them.
fn busy_page<F: FileSystem>(inode: &FsInode<F>) -> Option<NonNull<bindings::page>> {
    // A mapping that is made between the two only loses page table entries by this.
    if safe::pinfs_helper_mapping_mapped(inode) {
        return None;
    }
    let quarantine = quarantine_of(inode);
    let unseen = quarantine.unseen.take()?;
    let page = unseen.first_busy(inode.mapping())?;
    quarantine.unseen.put(unseen);
    Some(page)
}

/// The work of an inode in quarantine.
///
/// # Safety
///
/// Must be called by the workqueue.
unsafe extern "C" fn scan<F: FileSystem>(work: *mut bindings::work_struct) {
    // SAFETY: The work is part of an inode that the quarantine holds, and its superblock with it,
    // until `held` is 0 and this releases the references. No other task is about to queue the work
    // while it runs.
    unsafe {
        let container = work
            .byte_sub(offset_of!(Container<F>, quarantine) + offset_of!(Quarantine, work))
            .cast::<Container<F>>();
        let inode = FsInode::<F>::from_raw((*container).inode.get());
        let quarantine = quarantine_of(inode);
        let held = &quarantine.held;
        let sb = inode.super_block();
        let state = sb.quarantine();
        loop {
            if let Some(page) = busy_page(inode) {
                if wait_for::<F>(container, page.as_ptr()) {
                    state.end_scan();
                    return;
                }
                continue;
            }
            let bytes = quarantine.bytes.load(Relaxed);
            held.xchg(0, Full);
            if !quarantine.unseen.is_empty()
                && !safe::pinfs_helper_mapping_mapped(inode)
                && held.xchg(1, Full) == 0
            {
                // Another task may have held it in between, and stored its own count.
                quarantine.bytes.store(bytes, Relaxed);
                continue;
            }
            trace::quarantine(inode, false);
            bindings::iput(inode.as_ptr());
            state.bytes().fetch_sub(bytes, Relaxed);
            state.files().fetch_sub(1, Relaxed);
            state.end_scan();
            bindings::deactivate_super(sb.as_ptr());
            return;
        }
    }
}

/// Queues the work again when `page` has no reference any more. Returns false if that is so
/// already.
///
/// # Safety
///
/// The inode must be in quarantine, and the page must be in its mapping.
unsafe fn wait_for<F: FileSystem>(container: *mut Container<F>, page: *mut bindings::page) -> bool {
    // SAFETY: The inode is held by the quarantine and the page exists, by this function's
    // requirements. The entry is not in a queue, as the work is running, and leaves the queue
    // before the inode is released.
    unsafe {
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
        !bindings::pinfs_helper_dax_page_is_idle(page)
            || !bindings::pinfs_helper_unwait(head, &raw mut (*wait).wq_entry)
    }
}

/// Called when a page of the wait queue that an inode waits in becomes idle, in any context.
///
/// # Safety
///
/// Must be called by the wait queue, whose lock is held.
unsafe extern "C" fn woken<F: FileSystem>(
    entry: *mut bindings::wait_queue_entry,
    _mode: c_uint,
    _flags: c_int,
    key: *mut c_void,
) -> c_int {
    // SAFETY: The entry is part of the quarantine of an inode, which holds the inode until the
    // entry is out of the queue and the work has run; the key is of the kind that `wake_up_var`
    // passes.
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
