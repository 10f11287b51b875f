// SPDX-License-Identifier: GPL-2.0

//! Files in `/proc`: one in every process's directory, and ordinary ones.
//!
//! # A file in every process's directory
//!
//! What is in `/proc/PID` and `/proc/PID/task/TID` comes from two tables in the kernel, which
//! nothing can be added to. But `proc_pident_lookup()`, which takes a table as an argument, can be
//! called with another one: a look-up of our name gets a table of our single entry. After
//! `proc_pident_readdir()` has listed the kernel's table, our name is added.
//!
//! `struct pid_entry` is private to procfs. A table is only trusted after everything that can be
//! known of it has been found in it: names, their lengths, types, and the entry "status" with the
//! functions that such a file has. A trial look-up, through a mount of our own, then shows whether
//! it works ([`PidDirectory::new`]).
//!
//! # Leaving again
//!
//! An inode of procfs holds no module. Of ours, an inode has two pointers: `i_fop`, and the
//! function that prints. The table `i_fop` is the kernel's own for files of this kind, with the
//! module as its owner: so an open file keeps the module, and what prints is only called through an
//! open file. What is left is the pointer `i_fop` in inodes that nobody has open.
//!
//! The dentry is taken out of the cache as soon as it has been looked up ([`Lookup::replacement`]):
//! every open looks it up again, which fails when the module is about to go, and otherwise keeps
//! the module until the system call returns. So the module does not begin to go between a look-up
//! and the open that it is for. An inode lives on only if something keeps it that is not an open
//! file, for as long as it likes: an O_PATH descriptor. Through one it may be opened at any time.
//! So when the module goes,
//!
//! 1. all inodes of all instances of procfs are searched for our `i_fop`, and made bad inodes,
//!    with functions of the kernel ([`forget`]). No more come into being: no call is redirected
//!    while the module goes, and none is inside;
//! 2. the hooks are removed, which waits for an RCU-tasks grace period. A task that has read
//!    `i_fop` before 1 is between that and `try_module_get()`, which fails from now on, and does
//!    not sleep there; so it has come to the end of that when the grace period ends.
//!
//! After that nothing in the kernel points at the module.
//!
//! A load that fails after the hooks are there is another matter: the module goes at once, whatever
//! references it has, be they those of an open file or of a task that is about to open one. So
//! until the module is live our name is not found, except by the task that tries it
//! ([`PidDirectory::new`]), which opens nothing and takes no reference that outlives the trial.
//!
//! C headers: [`include/linux/proc_fs.h`](srctree/include/linux/proc_fs.h),
//! [`include/linux/seq_file.h`](srctree/include/linux/seq_file.h)

use crate::rust::{
    bindings,
    gup::PathRef,
    hook::{
        self,
        Call,
        Entry,
        Function,
        Hook,
        Redirect,
        State, //
    },
    identity::{
        FileId,
        MmId, //
    },
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
        c_ulong,
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
            Relaxed, //
        }, //
    },
    task::Task,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

/// The text of a file that is being read.
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
        // SAFETY: Valid, and the current task's alone.
        unsafe { SeqFile::from_raw(self.inner) }.call_printf(args);
    }

    /// Adds a path as the reader sees it, with line feeds escaped, as `/proc/PID/maps` has it.
    pub(crate) fn path(&self, path: &PathRef) {
        // SAFETY: Both are valid.
        unsafe { bindings::seq_path(self.inner, path.as_ptr(), c"\n".as_char_ptr()) };
    }

    /// Adds the path of an open file, likewise.
    pub(crate) fn file_path(&self, file: &File) {
        // SAFETY: Both are valid.
        unsafe { bindings::seq_file_path(self.inner, file.as_ptr(), c"\n".as_char_ptr()) };
    }

    /// Returns the namespace in which the reader's `/proc` numbers processes.
    pub(crate) fn pid_namespace(&self) -> &PidNamespace {
        // SAFETY: The superblock of the open file keeps its namespace.
        unsafe { PidNamespace::from_ptr(bindings::pinfs_helper_seq_pid_ns(self.inner)) }
    }

    /// Says whether there is no room for more, so that all of it will be printed again.
    pub(crate) fn is_full(&self) -> bool {
        // SAFETY: Valid.
        unsafe { bindings::pinfs_helper_seq_has_overflowed(self.inner) }
    }
}

/// A process (or one thread of it) that is being looked at.
pub(crate) struct Process(ARef<Task>);

impl Process {
    /// Calls a function for each descriptor and its open file.
    pub(crate) fn for_each_file(&self, mut each: impl FnMut(u32, FileId, &File)) {
        let mut fd: c_uint = 0;
        loop {
            // SAFETY: The task is valid; the function finds it without files once it has exited.
            let file = unsafe { bindings::fget_task_next(self.0.as_ptr(), &mut fd) };
            let Some(file) = NonNull::new(file) else {
                return;
            };
            // SAFETY: The function returns a reference. Nobody uses the position through it.
            let file: ARef<File> = unsafe { ARef::from_raw(file.cast()) };
            each(fd, FileId::of_raw(file.as_ptr()), &file);
            fd += 1;
        }
    }

    /// Returns the process's address space.
    pub(crate) fn mm(&self) -> MmId {
        // SAFETY: The task is valid.
        MmId::of_raw(unsafe { bindings::pinfs_helper_task_mm_id(self.0.as_ptr()) })
    }
}

/// Calls a function for each process of a namespace, with its number there.
pub(crate) fn for_each_process(ns: &PidNamespace, mut each: impl FnMut(i32, &Process)) {
    let mut nr: c_int = 1;
    loop {
        // SAFETY: The namespace is valid.
        let task = unsafe { bindings::pinfs_helper_next_process(ns.as_ptr(), &mut nr) };
        let Some(task) = NonNull::new(task) else {
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

    /// Prints it. The reader may look at the process (`PTRACE_MODE_READ_FSCREDS`), and the process
    /// does not get other credentials meanwhile.
    fn show(seq: &Seq<'_>, process: &Process) -> Result;
}

/// Our entry, and the tables that it goes with. There is one, because its address is kept in
/// inodes.
struct Table(Opaque<bindings::pinfs_pid_file>);

// SAFETY: The helpers serialise changes, and readers see the entry only when it is complete.
unsafe impl Sync for Table {}

static TABLE: Table = Table(Opaque::zeroed());
static LOOKUP: State = State::new();
static READDIR: State = State::new();
static PTRACE_MAY_ACCESS: Atomic<usize> = Atomic::new(0);

/// A [`PidFile`] in each process's directory, as long as the value lives.
pub(crate) struct PidDirectory<F: PidFile> {
    hooks: Option<DirectoryHooks<F>>,
}

type DirectoryHooks<F> = (Pin<KBox<Hook<Lookup<F>>>>, Pin<KBox<Hook<Readdir<F>>>>);

impl<F: PidFile> PidDirectory<F> {
    /// Adds the file to the directories.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the kernel lacks a hook point, or its tables are not what we know.
    pub(crate) fn new() -> Result<Self> {
        let ptrace_may_access = hook::address_of(c"ptrace_may_access")?;
        PTRACE_MAY_ACCESS.store(ptrace_may_access, Relaxed);
        // SAFETY: The entry is not in use before the hooks are there. The function fits.
        unsafe {
            bindings::pinfs_helper_pid_file_init(
                TABLE.0.get(),
                crate::rust::compat::this_module(),
                F::NAME.as_char_ptr(),
                Some(Self::show),
            )
        };
        let directory = Self {
            hooks: Some((Hook::new()?, Hook::new()?)),
        };
        // SAFETY: The name ends in NUL.
        to_result(unsafe { bindings::pinfs_helper_pid_file_probe(F::NAME.as_char_ptr()) })?;
        Ok(directory)
    }

    /// # Safety
    ///
    /// As the function of a `struct pid_entry` that prints.
    unsafe extern "C" fn show(
        seq: *mut bindings::seq_file,
        _ns: *mut bindings::pid_namespace,
        _pid: *mut bindings::pid,
        task: *mut bindings::task_struct,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller has referenced the task for the duration of the call.
            let process = Process(unsafe { &*task.cast::<Task>() }.into());
            let may_access = Function::at(PTRACE_MAY_ACCESS.load(Relaxed));
            // SAFETY: The task is valid; the lock is given back below. The function is
            // `bool ptrace_may_access(struct task_struct *, unsigned int)`.
            let allowed = unsafe {
                to_result(bindings::pinfs_helper_lock_exec_update(task))?;
                let mode = bindings::pinfs_ptrace_mode_read_fscreds;
                may_access.call([task as usize, mode as usize, 0, 0, 0, 0]) as u8 != 0
            };
            let shown = if allowed {
                // SAFETY: The kernel prints to the file in this task.
                F::show(&unsafe { Seq::from_raw(seq) }, &process)
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

/// Makes procfs forget our entry, see the module's documentation.
fn forget() {
    // SAFETY: The helper takes the locks that it needs.
    unsafe { bindings::pinfs_helper_pid_file_forget(TABLE.0.get()) };
}

/// Says whether a table is one of the two that our entry goes with.
fn is_ours(table: usize, count: usize) -> bool {
    // SAFETY: The helper reads the kernel's table with the care that an unknown pointer needs.
    unsafe {
        bindings::pinfs_helper_pid_table(
            TABLE.0.get(),
            table as *const bindings::pinfs_pid_entry,
            count as c_ulong,
        )
    }
}

/// Says whether the module has been loaded and is not about to go.
fn is_live() -> bool {
    // SAFETY: Our own module is valid as long as its code runs.
    unsafe { bindings::pinfs_helper_module_is_live(crate::rust::compat::this_module()) }
}

const ENTRY_SIZE: usize = size_of::<bindings::pinfs_pid_entry>();

/// The hook of `proc_pident_lookup()`.
struct Lookup<F>(PhantomData<F>);

impl<F: PidFile> Lookup<F> {
    /// # Safety
    ///
    /// As a redirected call of `proc_pident_lookup()`.
    unsafe extern "C" fn replacement(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        _first: *const c_void,
        _end: *const c_void,
    ) -> *mut bindings::dentry {
        // SAFETY: The first act of the replacement.
        let call = unsafe { Call::begin(&LOOKUP) };
        let entry = TABLE.0.get() as usize;
        // SAFETY: The original's arguments, with a table of one entry, its first member.
        let found = unsafe {
            call.resume([
                dir as usize,
                dentry as usize,
                entry,
                entry + ENTRY_SIZE,
                0,
                0,
            ]) as *mut bindings::dentry
        };
        // SAFETY: The result of a look-up of this dentry.
        let is_there = unsafe { bindings::pinfs_helper_pid_file_uncache(dentry, found) };
        // The trial look-up is a part of loading, and nothing is opened after it.
        if is_there && is_live() {
            work::hold_module();
        }
        found
    }
}

// SAFETY: The replacement has the signature of `struct dentry *proc_pident_lookup(struct inode *,
// struct dentry *, const struct pid_entry *, const struct pid_entry *)`, and begins as it must.
unsafe impl<F: PidFile> Redirect for Lookup<F> {
    const NAME: &'static CStr = c"proc_pident_lookup";

    fn replacement() -> usize {
        Self::replacement as usize
    }

    fn state() -> &'static State {
        &LOOKUP
    }

    fn wanted(entry: &Entry<'_>) -> bool {
        let (first, end) = (entry.argument(2), entry.argument(3));
        // SAFETY: The second argument is the dentry that is looked up, whose name does not change.
        unsafe {
            bindings::pinfs_helper_dentry_is(
                entry.argument(1) as *mut bindings::dentry,
                F::NAME.as_char_ptr(),
            ) && (is_live() || bindings::pinfs_helper_pid_file_is_probed())
                && is_ours(first, end.wrapping_sub(first) / ENTRY_SIZE)
        }
    }
}

/// The hook of `proc_pident_readdir()`.
struct Readdir<F>(PhantomData<F>);

impl<F: PidFile> Readdir<F> {
    /// Lists the kernel's entries, and then ours, which comes at the position behind them.
    ///
    /// # Safety
    ///
    /// As a redirected call of `proc_pident_readdir()`.
    unsafe extern "C" fn replacement(
        file: *mut bindings::file,
        ctx: *mut bindings::dir_context,
        table: *const c_void,
        count: c_uint,
    ) -> c_int {
        // SAFETY: The first act of the replacement.
        let call = unsafe { Call::begin(&READDIR) };
        // SAFETY: The original's arguments.
        let ret = unsafe {
            call.resume([
                file as usize,
                ctx as usize,
                table as usize,
                count as usize,
                0,
                0,
            ]) as c_int
        };
        // SAFETY: The directory's position is the current task's to use; the name ends in NUL.
        unsafe {
            if ret == 0 && (*ctx).pos == i64::from(count) + 2 {
                bindings::pinfs_helper_pid_file_emit(ctx, F::NAME.as_char_ptr());
            }
        }
        ret
    }
}

// SAFETY: The replacement has the signature of `int proc_pident_readdir(struct file *,
// struct dir_context *, const struct pid_entry *, unsigned int)`, and begins as it must.
unsafe impl<F: PidFile> Redirect for Readdir<F> {
    const NAME: &'static CStr = c"proc_pident_readdir";

    fn replacement() -> usize {
        Self::replacement as usize
    }

    fn state() -> &'static State {
        &READDIR
    }

    fn wanted(entry: &Entry<'_>) -> bool {
        is_ours(entry.argument(2), entry.argument(3) as c_uint as usize)
    }
}

/// An ordinary file in `/proc` that is printed as a whole.
pub(crate) trait SingleFile: 'static {
    /// Prints it.
    fn show(seq: &Seq<'_>) -> Result;
}

/// A directory in `/proc`, as long as the value lives. With it go the files in it; reads that are
/// in progress are waited for.
pub(crate) struct Directory(NonNull<bindings::proc_dir_entry>);

// SAFETY: The entry is procfs's to synchronise.
unsafe impl Send for Directory {}
// SAFETY: As above.
unsafe impl Sync for Directory {}

impl Directory {
    /// Makes a directory.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also if it is there already.
    pub(crate) fn new(path: &CStr) -> Result<Self> {
        // SAFETY: The name ends in NUL and is copied.
        let entry = unsafe { bindings::proc_mkdir(path.as_char_ptr(), core::ptr::null_mut()) };
        NonNull::new(entry).map(Self).ok_or(ENOMEM)
    }

    /// Makes a file in the directory.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also if it is there already.
    pub(crate) fn file<F: SingleFile>(&self, name: &CStr, mode: u16) -> Result {
        // SAFETY: The directory is valid, the name is copied, and the function fits.
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
/// As the function of a `struct proc_dir_entry` that prints.
unsafe extern "C" fn show_single<F: SingleFile>(
    seq: *mut bindings::seq_file,
    _data: *mut c_void,
) -> c_int {
    from_result(|| {
        // SAFETY: The kernel prints to the file in this task.
        F::show(&unsafe { Seq::from_raw(seq) })?;
        Ok(0)
    })
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: The directory is ours, and so is all that is in it.
        unsafe { bindings::proc_remove(self.0.as_ptr()) };
    }
}
