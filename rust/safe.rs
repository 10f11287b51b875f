// SPDX-License-Identifier: GPL-2.0

//! Functions of C that are safe to call with any arguments of the types that are given here.
//!
//! bindgen declares all of C to be unsafe, as the types of C do not tell what a function requires.
//! For many functions the types of Rust do, and each of these is listed once, below the argument
//! for it. Calls are checked against the bindings. To sleep where that is not allowed, and to wait
//! for oneself, are errors in the kernel, but they break no memory safety.

use crate::rust::{
    bindings,
    dax::{
        BusyPage,
        Device,
        Pages, //
    },
    gup::PathRef,
    lease,
    lock::RwSemaphore,
    proc::Seq,
    sysfs,
    vfs::{
        file::{
            Iocb,
            OpenFile, //
        },
        inode::Mapping,
        super_block::BlockDevice,
        FileSystem,
        Inode,
        SuperBlock, //
    }, //
};
use kernel::{
    fs::File,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::Mm,
    pid_namespace::PidNamespace,
    prelude::*,
    str::CStr,
    task::Task, //
};

/// A value that can be passed to C.
///
/// # Safety
///
/// If [`Pass::pass`] returns a pointer, it must be to an initialised object of its type that lives
/// as long as the value. The functions of C that are listed in this file may change the object.
pub(super) unsafe trait Pass {
    /// The type of the value in C.
    type C;

    /// Returns the value for C.
    fn pass(self) -> Self::C;
}

macro_rules! pass {
    ($($(@$F:ident)? $Value:ty => $C:ty: |$value:ident| $pass:expr;)*) => {$(
        // SAFETY: An integer, or a pointer to an object that lives, by the type of the value, as
        // long as the value is borrowed.
        unsafe impl$(<$F: FileSystem>)? Pass for $Value {
            type C = $C;

            #[inline(always)]
            fn pass(self) -> $C {
                let $value = self;
                $pass
            }
        }
    )*};
}

pass! {
    bool => bool: |value| value;
    i32 => i32: |value| value;
    u32 => u32: |value| value;
    i64 => i64: |value| value;
    u64 => u64: |value| value;
    isize => isize: |value| value;
    usize => usize: |value| value;
    bindings::timespec64 => bindings::timespec64: |time| time;
    &CStr => *const kernel::ffi::c_char: |string| string.as_char_ptr();
    &File => *mut bindings::file: |file| file.as_ptr();
    &Inode => *mut bindings::inode: |inode| inode.as_ptr();
    &Mm => *mut bindings::mm_struct: |mm| mm.as_raw();
    &PidNamespace => *mut bindings::pid_namespace: |ns| ns.as_ptr();
    &Task => *mut bindings::task_struct: |task| task.as_ptr();
    &RwSemaphore => *mut bindings::rw_semaphore: |lock| lock.as_ptr();
    &BusyPage<'_> => *mut bindings::page: |page| page.as_ptr();
    &Device => *mut bindings::dax_device: |device| device.as_ptr();
    &Pages => *const bindings::pinfs_pages: |pages| pages.as_ptr();
    &PathRef => *const bindings::path: |path| path.as_ptr();
    &Seq<'_> => *mut bindings::seq_file: |seq| seq.as_ptr();
    &sysfs::Directory => *mut bindings::kobject: |directory| directory.as_ptr();
    lease::OpenFile<'_> => *mut bindings::file: |file| file.as_ptr();
    Mapping<'_> => *mut bindings::address_space: |mapping| mapping.as_ptr();
    BlockDevice<'_> => *mut bindings::block_device: |bdev| bdev.as_ptr();
    &mut IovIterDest<'_> => *mut bindings::iov_iter: |iter| iter.as_raw();
    &mut IovIterSource<'_> => *mut bindings::iov_iter: |iter| iter.as_raw();
    @F &SuperBlock<F> => *mut bindings::super_block: |sb| sb.as_ptr();
    @F &OpenFile<'_, F> => *mut bindings::file: |file| file.as_ptr();
    @F &Iocb<'_, F> => *mut bindings::kiocb: |iocb| iocb.as_ptr();
}

// SAFETY: A mutable reference is valid and exclusive.
unsafe impl<T> Pass for &mut T
where
    T: Answer,
{
    type C = *mut T;

    #[inline(always)]
    fn pass(self) -> *mut T {
        self
    }
}

/// A type whose every value C may store.
pub(super) trait Answer {}

impl Answer for bool {}
impl Answer for i32 {}
impl Answer for u32 {}
impl Answer for u64 {}
impl Answer for usize {}
impl Answer for bindings::timespec64 {}

/// Declares safe wrappers of C functions. The user of the macro has to give the argument for each.
macro_rules! safe {
    ($(fn $name:ident($($arg:ident: $Arg:ty),*) $(-> $Ret:ty)?;)*) => {$(
        #[inline(always)]
        pub(super) fn $name($($arg: $Arg),*) $(-> $Ret)? {
            // SAFETY: The arguments are valid by their types, as `Pass` requires. The function
            // requires no more: see the argument where it is listed.
            unsafe { bindings::$name($($arg.pass()),*) }
        }
    )*};
}

// SAFETY: These access the current task, or only atomic data, in any context.
safe! {
    fn get_random_u32() -> u32;
    fn pinfs_helper_acting_mm() -> *mut bindings::mm_struct;
    fn pinfs_helper_caller_file() -> *mut bindings::file;
    fn pinfs_helper_caller_file_id() -> *const bindings::file;
    fn pinfs_helper_current_tgid() -> *mut bindings::pid;
    fn pinfs_helper_fatal_signal_pending() -> bool;
    fn pinfs_helper_holds_write_access() -> bool;
    fn pinfs_helper_is_admin() -> bool;
    fn pinfs_helper_is_server() -> bool;
    fn pinfs_helper_pid_file_is_probed() -> bool;
    fn pinfs_helper_pmem_wmb();
    fn pinfs_helper_syscall_fd() -> i32;
    fn ktime_get_real_ts64(now: &mut bindings::timespec64);
}

// SAFETY: An `Inode` is initialised and referenced. These read or change single fields of it as the
// VFS does without a lock, or take the locks that they need. If two tasks change a link count at
// once, the count becomes wrong, but that is all.
safe! {
    fn clear_nlink(inode: &Inode);
    fn current_time(inode: &Inode) -> bindings::timespec64;
    fn drop_nlink(inode: &Inode);
    fn inc_nlink(inode: &Inode);
    fn inode_dio_wait(inode: &Inode);
    fn inode_maybe_inc_iversion(inode: &Inode, force: bool) -> bool;
    fn inode_newsize_ok(inode: &Inode, size: i64) -> i32;
    fn inode_set_ctime_to_ts(inode: &Inode, time: bindings::timespec64) -> bindings::timespec64;
    fn inode_set_flags(inode: &Inode, flags: u32, mask: u32);
    fn is_bad_inode(inode: &Inode) -> bool;
    fn pinfs_helper_break_layout(inode: &Inode, wait: bool) -> i32;
    fn pinfs_helper_dax_entry(
        inode: &Inode,
        index: usize,
        first: &mut usize,
        dirty: &mut bool
    ) -> usize;
    fn pinfs_helper_dax_flush_range(inode: &Inode, device: &Device, start: i64, end: i64) -> i32;
    fn pinfs_helper_get_write_access(inode: &Inode) -> bool;
    fn pinfs_helper_i_gid_read(inode: &Inode) -> u32;
    fn pinfs_helper_i_size_read(inode: &Inode) -> i64;
    fn pinfs_helper_i_size_write(inode: &Inode, size: i64);
    fn pinfs_helper_i_uid_read(inode: &Inode) -> u32;
    fn pinfs_helper_inode_get_atime(inode: &Inode) -> bindings::timespec64;
    fn pinfs_helper_inode_get_ctime(inode: &Inode) -> bindings::timespec64;
    fn pinfs_helper_inode_get_mtime(inode: &Inode) -> bindings::timespec64;
    fn pinfs_helper_inode_is_new(inode: &Inode) -> bool;
    fn pinfs_helper_inode_set_atime(inode: &Inode, time: bindings::timespec64);
    fn pinfs_helper_inode_set_mtime(inode: &Inode, time: bindings::timespec64);
    fn pinfs_helper_is_dirty(inode: &Inode) -> bool;
    fn pinfs_helper_mapping_mapped(inode: &Inode) -> bool;
    fn pinfs_helper_mark_dirty(inode: &Inode);
    fn pinfs_helper_peek_iversion(inode: &Inode) -> u64;
    fn pinfs_helper_set_iversion(inode: &Inode, version: u64);
    fn pinfs_helper_tag_dirty(inode: &Inode, first: usize, last: usize);
    fn sync_inode_metadata(inode: &Inode, wait: i32) -> i32;
    fn write_inode_now(inode: &Inode, sync: i32) -> i32;
}

// SAFETY: An `Inode` is initialised, and with it its locks, its mapping and its superblock. So is
// an `RwSemaphore`. Taking a lock requires no more. The guards release each lock once.
safe! {
    fn down_read(lock: &RwSemaphore);
    fn down_read_trylock(lock: &RwSemaphore) -> i32;
    fn pinfs_helper_down_write_nested(lock: &RwSemaphore, depth: i32);
    fn pinfs_helper_inode_lock(inode: &Inode);
    fn pinfs_helper_inode_lock_shared(inode: &Inode);
    fn pinfs_helper_inode_trylock(inode: &Inode) -> bool;
    fn pinfs_helper_inode_trylock_shared(inode: &Inode) -> bool;
    fn pinfs_helper_invalidate_lock(inode: &Inode);
    fn pinfs_helper_invalidate_lock_shared(inode: &Inode);
    fn pinfs_helper_sb_start_pagefault(inode: &Inode);
    fn pinfs_helper_sb_start_write(inode: &Inode);
}

// SAFETY: A mapping lives as long as its inode or device. These take its lock, and those of page
// tables, and leave its entries in their places.
safe! {
    fn dax_layout_busy_page_range(mapping: Mapping<'_>, start: i64, end: i64) -> *mut bindings::page;
    fn filemap_write_and_wait_range(mapping: Mapping<'_>, start: i64, end: i64) -> i32;
}

// SAFETY: Tracepoints read some fields of the inode, which is initialised and referenced.
safe! {
    fn pinfs_helper_trace_busy_wait(inode: &Inode, start: u64, end: u64);
    fn pinfs_helper_trace_lease_break(inode: &Inode, start: u64, end: u64);
    fn pinfs_helper_trace_lease_release(inode: &Inode, start: u64, end: u64, reason: i32);
    fn pinfs_helper_trace_lease_set(inode: &Inode, start: u64, end: u64, lease: i32);
    fn pinfs_helper_trace_pin(inode: &Inode, start: u64, end: u64);
    fn pinfs_helper_trace_quarantine(inode: &Inode, enter: bool);
    fn pinfs_helper_trace_unpin(inode: &Inode, start: u64, end: u64, refs: u64);
}

// SAFETY: An open file is referenced, and so are its mount and its inode. A `kiocb` is that of a
// read or write in progress, and only one task borrows it.
safe! {
    fn file_check_and_advance_wb_err(file: impl Pass<C = *mut bindings::file>) -> i32;
    fn file_modified(file: impl Pass<C = *mut bindings::file>) -> i32;
    fn generic_write_checks(
        iocb: impl Pass<C = *mut bindings::kiocb>,
        from: &mut IovIterSource<'_>
    ) -> isize;
    fn kiocb_modified(iocb: impl Pass<C = *mut bindings::kiocb>) -> i32;
    fn mnt_want_write_file(file: impl Pass<C = *mut bindings::file>) -> i32;
    fn pinfs_helper_file_accessed(file: impl Pass<C = *mut bindings::file>);
    fn pinfs_helper_file_is_writable(file: lease::OpenFile<'_>) -> bool;
    fn pinfs_helper_generic_write_sync(
        iocb: impl Pass<C = *mut bindings::kiocb>,
        written: isize
    ) -> isize;
    fn pinfs_helper_may_lease(file: lease::OpenFile<'_>) -> bool;
}

// SAFETY: A superblock is active and a block device open as long as they are borrowed.
safe! {
    fn bdev_freeze(bdev: BlockDevice<'_>) -> i32;
    fn blkdev_issue_flush(bdev: BlockDevice<'_>) -> i32;
    fn invalidate_bdev(bdev: BlockDevice<'_>);
    fn pinfs_helper_bdev_dax_misaligned(bdev: BlockDevice<'_>) -> bool;
    fn pinfs_helper_bdev_nr_bytes(bdev: BlockDevice<'_>) -> u64;
    fn pinfs_helper_bdev_read_only(bdev: BlockDevice<'_>) -> bool;
    fn pinfs_helper_report_metadata(sb: impl Pass<C = *mut bindings::super_block>, error: i32);
    fn pinfs_helper_report_shutdown(sb: impl Pass<C = *mut bindings::super_block>);
    fn sync_blockdev(bdev: BlockDevice<'_>) -> i32;
}

// SAFETY: A DAX device is referenced. These check whether it is alive, and whether it has the
// range. For a page frame, the helpers only compute, or look up, the `struct page`. That of a busy
// page exists.
safe! {
    fn dax_alive(device: &Device) -> bool;
    fn dax_read_lock() -> i32;
    fn pinfs_helper_any_pfn_pins(pfn: usize) -> usize;
    fn pinfs_helper_dax_copy(
        device: &Device,
        at: u64,
        len: usize,
        iter: impl Pass<C = *mut bindings::iov_iter>
    ) -> usize;
    fn pinfs_helper_dax_folio_range(page: &BusyPage<'_>, start: &mut u64) -> u64;
    fn pinfs_helper_maybe_in_use(pages: &Pages, first: usize, count: usize) -> bool;
    fn pinfs_helper_page_mapped(page: &BusyPage<'_>) -> bool;
    fn pinfs_helper_wake_page(pfn: usize);
}

// SAFETY: An address space, a task or a namespace is referenced. These lock the data that they
// read, or return a snapshot.
safe! {
    fn fget_task_next(task: &Task, fd: &mut u32) -> *mut bindings::file;
    fn pinfs_helper_lock_exec_update(task: &Task) -> i32;
    fn pinfs_helper_mmap_read_lock_killable(mm: &Mm) -> i32;
    fn pinfs_helper_mmap_seq(mm: &Mm, seq: &mut u32) -> bool;
    fn pinfs_helper_mmap_seq_changed(mm: &Mm, seq: u32) -> bool;
    fn pinfs_helper_next_process(ns: &PidNamespace, number: &mut i32) -> *mut bindings::task_struct;
    fn pinfs_helper_task_mm_id(task: &Task) -> *const bindings::mm_struct;
}

// SAFETY: A string ends in NUL, and is read during the call only, or copied. The current task may
// print to a `Seq`, and a kobject is referenced.
safe! {
    fn kobject_create_and_add(name: &CStr, parent: &sysfs::Directory) -> *mut bindings::kobject;
    fn pinfs_helper_alloc_workqueue(name: &CStr) -> *mut bindings::workqueue_struct;
    fn pinfs_helper_function_address(name: &CStr, address: &mut usize) -> i32;
    fn pinfs_helper_hook_disabled(name: &CStr) -> bool;
    fn pinfs_helper_pid_file_probe(name: &CStr) -> i32;
    fn pinfs_helper_seq_has_overflowed(seq: &Seq<'_>) -> bool;
    fn seq_file_path(seq: &Seq<'_>, file: &File, escaped: &CStr) -> i32;
    fn seq_path(seq: &Seq<'_>, path: &PathRef, escaped: &CStr) -> i32;
}
