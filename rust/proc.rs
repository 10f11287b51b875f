// SPDX-License-Identifier: GPL-2.0

//! Files in `/proc`: one in the directory of every process, and ordinary ones.
//!
//! # A file in the directory of every process
//!
//! The contents of `/proc/PID` and `/proc/PID/task/TID` come from two tables in the kernel, to
//! which nothing can be added. But `proc_pident_lookup()` takes a table as an argument, and can be
//! called with another one: a look-up of our name gets a table of our single entry. After
//! `proc_pident_readdir()` has listed the kernel's table, our name is added.
//!
//! `struct pid_entry` is private to procfs. A table is only trusted after everything that is known
//! of it has been found in it: names, their lengths, types, and the entry "status" with the
//! functions that such a file has. A trial look-up, through a mount of our own, then shows whether
//! it works ([`PidDirectory::new`]).
//!
//! # Unloading
//!
//! An inode of procfs holds no module. An inode has two pointers into the module: `i_fop`, and the
//! function that prints. The table `i_fop` is the kernel's own for files of this kind, with the
//! module as its owner. So an open file keeps the module loaded, and the function that prints is
//! only called through an open file. This leaves the pointer `i_fop` in inodes of files that are
//! not open.
//!
//! The dentry is removed from the cache as soon as it has been looked up ([`Lookup`]). Every open
//! looks it up again, which fails when the module is about to be unloaded, and otherwise keeps the
//! module until the system call returns. So the module does not begin to unload between a look-up
//! and its open. An inode stays only if it has a reference other than an open file: an O_PATH
//! descriptor, for an unlimited time. Through one it may be opened at any time. So when the module
//! is unloaded,
//!
//! 1. all inodes of all instances of procfs with our `i_fop` are made bad inodes, with functions of
//!    the kernel ([`forget`]). No more come into being: no call is redirected while the module is
//!    unloading, and none is inside;
//! 2. the hooks are removed, which waits for an RCU-tasks grace period. A task that has read
//!    `i_fop` before step 1 is between that and `try_module_get()`, which fails from now on, and
//!    does not sleep there; so it is past that when the grace period ends.
//!
//! After that no pointer in the kernel points to the module.
//!
//! A load that fails after the hooks are set is different: the module goes at once, even if an open
//! file has references to it, or a task that is about to open one. So our name is not found until
//! the module is live, except by the task that tries it ([`PidDirectory::new`]). That task opens no
//! file and takes no reference that outlives the trial.
//!
//! C headers: [`include/linux/proc_fs.h`](srctree/include/linux/proc_fs.h),
//! [`include/linux/seq_file.h`](srctree/include/linux/seq_file.h)

use crate::rust::{
    bindings,
    gup::PathRef,
    hook::{
        self,
        redirect,
        Function,
        Hook, //
    },
    identity::{
        FileId,
        MmId, //
    },
    safe,
    work, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
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
    fmt,
    fs::File,
    pid_namespace::PidNamespace,
    prelude::*,
    seq_file::SeqFile,
    str::CStr,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full,
            Relaxed,
            Release, //
        }, //
    },
    task::Task,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

/// The output of a file that is being read.
///
/// # Invariants
///
/// `inner` is the `seq_file` of an open file, to which the current task prints as long as the value
/// lives.
pub(crate) struct Seq<'a> {
    inner: *mut bindings::seq_file,
    _p: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

impl Seq<'_> {
    /// # Safety
    ///
    /// `inner` must be the file that the current task prints to, while the value lives.
    unsafe fn from_raw(inner: *mut bindings::seq_file) -> Self {
        // INVARIANT: By this function's requirements.
        Self {
            inner,
            _p: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// Returns the wrapped `struct seq_file`.
    pub(super) fn as_ptr(&self) -> *mut bindings::seq_file {
        self.inner
    }

    /// Adds text.
    pub(crate) fn print(&self, args: fmt::Arguments<'_>) {
        // SAFETY: By the type's invariant the file is valid, and the current task may print to it.
        unsafe { SeqFile::from_raw(self.inner) }.call_printf(args);
    }

    /// Adds a path as the reader sees it, with line feeds escaped, as `/proc/PID/maps` has it.
    pub(crate) fn path(&self, path: &PathRef) {
        safe::seq_path(self, path, c"\n");
    }

    /// Adds the path of an open file as the reader sees it, with line feeds escaped.
    pub(crate) fn file_path(&self, file: &File) {
        safe::seq_file_path(self, file, c"\n");
    }

    /// Returns the namespace in which the reader's `/proc` numbers processes.
    pub(crate) fn pid_namespace(&self) -> &PidNamespace {
        // SAFETY: By the type's invariant the file is open, and one of procfs, whose superblock
        // keeps its namespace.
        unsafe { PidNamespace::from_ptr(bindings::pinfs_helper_seq_pid_ns(self.inner)) }
    }

    /// Returns whether the buffer is full, so that the file will be printed again.
    pub(crate) fn is_full(&self) -> bool {
        safe::pinfs_helper_seq_has_overflowed(self)
    }
}

/// A process (or one thread of it), referenced.
pub(crate) struct Process(ARef<Task>);

impl Process {
    /// Calls a function for each descriptor and its open file.
    pub(crate) fn for_each_file(&self, mut each: impl FnMut(u32, FileId, &File)) {
        let mut fd: c_uint = 0;
        loop {
            let Some(file) = NonNull::new(safe::fget_task_next(&self.0, &mut fd)) else {
                return;
            };
            // SAFETY: The function returns a reference. Its holder does not use the file position.
            let file: ARef<File> = unsafe { ARef::from_raw(file.cast()) };
            each(fd, FileId::of_raw(file.as_ptr()), &file);
            fd += 1;
        }
    }

    /// Returns the process's address space.
    pub(crate) fn mm(&self) -> MmId {
        MmId::of_raw(safe::pinfs_helper_task_mm_id(&self.0))
    }
}

/// Calls a function for each process of a namespace, with its number in the namespace.
pub(crate) fn for_each_process(ns: &PidNamespace, mut each: impl FnMut(i32, &Process)) {
    let mut nr: c_int = 1;
    loop {
        let Some(task) = NonNull::new(safe::pinfs_helper_next_process(ns, &mut nr)) else {
            return;
        };
        // SAFETY: The helper returns a reference.
        each(nr, &Process(unsafe { ARef::from_raw(task.cast()) }));
        nr += 1;
    }
}

/// A file in each process's directory.
pub(crate) trait PidFile: 'static {
    /// Its name.
    const NAME: &'static CStr;

    /// Prints the file. The reader has access to the process (`PTRACE_MODE_READ_FSCREDS`), and the
    /// credentials of the process do not change meanwhile.
    fn show(seq: &Seq<'_>, process: &Process) -> Result;
}

/// Our entry, and the kernel's tables that it is for. There is one, because inodes keep its
/// address. One [`PidDirectory`] at a time owns it.
struct Table {
    entry: Opaque<bindings::pinfs_pid_file>,
    /// A [`PidDirectory`] owns it.
    is_taken: Atomic<bool>,
}

// SAFETY: The helpers serialise changes, and readers see the entry only when it is complete.
unsafe impl Sync for Table {}

static TABLE: Table = Table {
    entry: Opaque::zeroed(),
    is_taken: Atomic::<bool>::new(false),
};

static PTRACE_MAY_ACCESS: Atomic<usize> = Atomic::new(0);

/// The owner of [`TABLE`].
///
/// # Invariants
///
/// There is one value of this type at a time.
struct TableOwner;

impl TableOwner {
    /// Takes the table.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it has an owner.
    fn new() -> Result<Self> {
        if TABLE.is_taken.xchg(true, Full) {
            return Err(EBUSY);
        }
        // INVARIANT: The flag was not set, and stays set until this value is dropped.
        Ok(Self)
    }
}

impl Drop for TableOwner {
    fn drop(&mut self) {
        TABLE.is_taken.store(false, Release);
    }
}

/// A [`PidFile`] in the directory of each process, as long as the value lives.
pub(crate) struct PidDirectory<F: PidFile> {
    hooks: Option<DirectoryHooks<F>>,
    // Dropped last, when the kernel has no pointer to the table any more.
    _table: TableOwner,
}

type DirectoryHooks<F> = (Pin<KBox<Hook<Lookup<F>>>>, Pin<KBox<Hook<Readdir<F>>>>);

impl<F: PidFile> PidDirectory<F> {
    /// Adds the file to the directories.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the kernel lacks a hook point, or its tables are not the known ones; `EBUSY` if
    /// such a file already exists.
    pub(crate) fn new() -> Result<Self> {
        let ptrace_may_access = hook::address_of(c"ptrace_may_access")?;
        PTRACE_MAY_ACCESS.store(ptrace_may_access, Relaxed);
        let table = TableOwner::new()?;
        // SAFETY: By the type's invariant there is no other owner of the entry, and the kernel does
        // not use it before the hooks are set. `show` is a function for an entry.
        unsafe {
            bindings::pinfs_helper_pid_file_init(
                TABLE.entry.get(),
                crate::rust::compat::this_module(),
                F::NAME.as_char_ptr(),
                Some(Self::show),
            )
        };
        let directory = Self {
            hooks: Some((Hook::new()?, Hook::new()?)),
            _table: table,
        };
        to_result(safe::pinfs_helper_pid_file_probe(F::NAME))?;
        Ok(directory)
    }

    /// # Safety
    ///
    /// The arguments must be as in procfs's call of the function of a `struct pid_entry` that
    /// prints.
    unsafe extern "C" fn show(
        seq: *mut bindings::seq_file,
        _ns: *mut bindings::pid_namespace,
        _pid: *mut bindings::pid,
        task: *mut bindings::task_struct,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller has referenced the task for the duration of the call, and lets the
            // current task print to the file.
            let (process, seq) =
                unsafe { (Process((&*task.cast::<Task>()).into()), Seq::from_raw(seq)) };
            to_result(safe::pinfs_helper_lock_exec_update(&process.0))?;
            let may_access = Function::at(PTRACE_MAY_ACCESS.load(Relaxed));
            let mode = bindings::pinfs_ptrace_mode_read_fscreds;
            // SAFETY: The function is `bool ptrace_may_access(struct task_struct *, unsigned int)`,
            // whose address was stored before the hooks that lead here were set. The task is
            // referenced.
            let allowed =
                unsafe { may_access.call([task as usize, mode as usize, 0, 0, 0, 0]) as u8 != 0 };
            let shown = if allowed {
                F::show(&seq, &process)
            } else {
                Err(EACCES)
            };
            // SAFETY: Taken above.
            unsafe { bindings::pinfs_helper_unlock_exec_update(task) };
            shown?;
            Ok(0)
        })
    }
}

impl<F: PidFile> Drop for PidDirectory<F> {
    fn drop(&mut self) {
        forget();
        self.hooks = None;
    }
}

/// Removes our entry from procfs, see the module's documentation.
fn forget() {
    // SAFETY: The table is static, and the helper takes the locks that it needs.
    unsafe { bindings::pinfs_helper_pid_file_forget(TABLE.entry.get()) };
}

/// Returns whether a table is one of the two that our entry is for.
fn is_ours(table: *const bindings::pinfs_pid_entry, count: usize) -> bool {
    // SAFETY: The helper reads the kernel's table with the care that an unknown pointer needs.
    unsafe { bindings::pinfs_helper_pid_table(TABLE.entry.get(), table, count) }
}

/// Returns whether the module has been loaded and is not about to be unloaded.
fn is_live() -> bool {
    // SAFETY: The module is loaded as long as its code runs.
    unsafe { bindings::pinfs_helper_module_is_live(crate::rust::compat::this_module()) }
}

const ENTRY_SIZE: usize = size_of::<bindings::pinfs_pid_entry>();

redirect! {
    /// The hook of `proc_pident_lookup()`.
    struct Lookup<F: PidFile>;

    // SAFETY: It is `struct dentry *proc_pident_lookup(struct inode *, struct dentry *,
    // const struct pid_entry *, const struct pid_entry *)`.
    unsafe fn proc_pident_lookup(
        call,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        _first: *const bindings::pinfs_pid_entry,
        _end: *const bindings::pinfs_pid_entry,
    ) -> *mut bindings::dentry {
        let entry = TABLE.entry.get() as usize;
        // SAFETY: These are the arguments of the call, with a table of one entry, which is the
        // first member of `TABLE.entry`. It is complete, as `is_ours` has completed it before. The
        // helper requires the result of a look-up of the dentry.
        let (found, is_there) = unsafe {
            let found = call.resume([
                dir as usize,
                dentry as usize,
                entry,
                entry + ENTRY_SIZE,
                0,
                0,
            ]) as *mut bindings::dentry;
            (found, bindings::pinfs_helper_pid_file_uncache(dentry, found))
        };
        // The trial look-up is a part of loading, and no open follows it.
        if is_there && is_live() {
            work::hold_module();
        }
        found
    }

    fn wanted(entry) -> bool {
        let (first, end): (usize, usize) = (entry.argument(2), entry.argument(3));
        // SAFETY: The second argument is the dentry that is looked up, whose name does not change.
        // The name that it is compared with ends in NUL.
        let is_named = unsafe {
            bindings::pinfs_helper_dentry_is(entry.argument(1), F::NAME.as_char_ptr())
        };
        is_named
            && (is_live() || safe::pinfs_helper_pid_file_is_probed())
            && is_ours(entry.argument(2), end.wrapping_sub(first) / ENTRY_SIZE)
    }
}

redirect! {
    /// The hook of `proc_pident_readdir()`. It lists the kernel's entries, and then ours at the
    /// position after them.
    struct Readdir<F: PidFile>;

    // SAFETY: It is `int proc_pident_readdir(struct file *, struct dir_context *,
    // const struct pid_entry *, unsigned int)`.
    unsafe fn proc_pident_readdir(
        call,
        file: *mut bindings::file,
        ctx: *mut bindings::dir_context,
        table: *const bindings::pinfs_pid_entry,
        count: c_uint,
    ) -> c_int {
        // SAFETY: These are the arguments of the call. The current task may use the directory's
        // position, and the name ends in NUL.
        unsafe {
            let ret = call.resume([
                file as usize,
                ctx as usize,
                table as usize,
                count as usize,
                0,
                0,
            ]) as c_int;
            if ret == 0 && (*ctx).pos == i64::from(count) + 2 {
                bindings::pinfs_helper_pid_file_emit(ctx, F::NAME.as_char_ptr());
            }
            ret
        }
    }

    fn wanted(entry) -> bool {
        is_ours(entry.argument(2), entry.argument::<c_uint>(3) as usize)
    }
}

/// An ordinary file in `/proc` that is printed at once.
pub(crate) trait SingleFile: 'static {
    /// Prints the file.
    fn show(seq: &Seq<'_>) -> Result;
}

/// A directory in `/proc`, which is removed when the value is dropped, with the files in it. That
/// waits for reads in progress.
///
/// # Invariants
///
/// The value owns the entry, which exists until the value is dropped.
pub(crate) struct Directory(NonNull<bindings::proc_dir_entry>);

// SAFETY: Any task may remove an entry of procfs.
unsafe impl Send for Directory {}
// SAFETY: A shared reference adds files, for which procfs has a lock.
unsafe impl Sync for Directory {}

impl Directory {
    /// Creates a directory.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also if it already exists.
    pub(crate) fn new(path: &CStr) -> Result<Self> {
        // SAFETY: The name ends in NUL and is copied; null stands for the root of procfs.
        // INVARIANT: The value owns the new entry.
        let entry = unsafe { bindings::proc_mkdir(path.as_char_ptr(), core::ptr::null_mut()) };
        NonNull::new(entry).map(Self).ok_or(ENOMEM)
    }

    /// Creates a file in the directory.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also if it already exists.
    pub(crate) fn file<F: SingleFile>(&self, name: &CStr, mode: u16) -> Result {
        // SAFETY: By the type's invariant the directory exists, and removes the file with it. The
        // name is copied, and `show_single` is a function that prints a file.
        let entry = unsafe {
            bindings::proc_create_single_data(
                name.as_char_ptr(),
                mode,
                self.0.as_ptr(),
                Some(show_single::<F>),
                core::ptr::null_mut(),
            )
        };
        if entry.is_null() {
            return Err(ENOMEM);
        }
        Ok(())
    }
}

/// # Safety
///
/// The arguments must be as in procfs's call of the function of a `struct proc_dir_entry` that
/// prints.
unsafe extern "C" fn show_single<F: SingleFile>(
    seq: *mut bindings::seq_file,
    _data: *mut c_void,
) -> c_int {
    from_result(|| {
        // SAFETY: procfs calls this for the current task to print to the file.
        F::show(&unsafe { Seq::from_raw(seq) })?;
        Ok(0)
    })
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant the value owns the directory, and with it the entries in
        // it.
        unsafe { bindings::proc_remove(self.0.as_ptr()) };
    }
}
