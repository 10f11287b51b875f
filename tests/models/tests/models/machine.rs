// SPDX-License-Identifier: GPL-2.0

//! The machine that a model runs on: one file with its page tables and page frames, tasks, deferred
//! work, and who has hooked into what.
//!
//! What threads share and change is behind locks of loom, so that it knows what depends on what.
//! What is behind locks of `std` is set up by one thread before the others begin, or is looked at
//! when they have ended.

use crate::{
    fs::File,
    prelude::*,
    rust::{
        gup::{
            self,
            Folio,
            Request,
            Span, //
        },
        identity::{
            FileId,
            InodeId, //
        },
        lease::KernelLease,
        proc::{
            Process,
            Seq, //
        },
        vfs::Inode, //
    }, //
};
use loom::{
    lazy_static::Lazy,
    sync::{atomic::AtomicBool, Mutex, RwLock},
    thread::{self, JoinHandle},
};
use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    ops::Range,
    sync::atomic::Ordering::SeqCst,
};

/// The only file.
pub(crate) static INODE: Inode = Inode::numbered(1);

/// Pages that it has.
pub(crate) const PAGES: usize = 2;

/// A page frame.
pub(crate) struct Frame {
    /// The page of the file that it was allocated for.
    pub(crate) index: u64,
    /// References other than of page tables.
    pub(crate) refs: u64,
}

/// The file's blocks, and what is mapped of them. Its lock is that of the page tables: looking a
/// page up and referencing it is one step, as the kernel makes it one for those who unmap.
pub(crate) struct Memory {
    /// The frame of each page, if it is not a hole.
    pub(crate) blocks: [Option<usize>; PAGES],
    pub(crate) mapped: [bool; PAGES],
    pub(crate) frames: Vec<Frame>,
    /// How often those who wait for a page were told to look again.
    pub(crate) wakes: u64,
}

/// What the module has hooked into the kernel.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) longterm: Option<(fn() -> bool, fn(&mut Request<'_>) -> Result)>,
    pub(crate) cloned: Option<(
        fn() -> bool,
        fn(FileId, FileId, &mut dyn FnMut() -> i32) -> i32,
    )>,
    pub(crate) unpinning: Option<fn(&Span)>,
    pub(crate) closing: Option<fn(FileId)>,
    pub(crate) file_pins: Option<fn(&Seq<'_>, &Process) -> Result>,
    pub(crate) all_pins: Option<fn(&Seq<'_>) -> Result>,
}

pub(crate) struct Machine {
    pub(crate) memory: Mutex<Memory>,
    pub(crate) rwsem: Mutex<()>,
    pub(crate) invalidate: RwLock<()>,
    /// Under `flc_lock`.
    pub(crate) leases: Mutex<Vec<KernelLease>>,
    /// Holders of leases that are to be broken may take longer than they have time.
    pub(crate) expires: std::sync::atomic::AtomicBool,
    /// The file is immutable.
    pub(crate) immutable: AtomicBool,
    /// The kernel refuses leases on one of the open files.
    pub(crate) refuses: std::sync::atomic::AtomicBool,
    /// Unpins are observed.
    pub(crate) observed: AtomicBool,
    pub(crate) hooks: std::sync::Mutex<Hooks>,
    /// References to the file that [`gup::PathRef`]s keep.
    pub(crate) paths: std::sync::atomic::AtomicUsize,
    pub(crate) processes: std::sync::Mutex<Vec<Process>>,
    timers: std::sync::Mutex<Vec<fn()>>,
    violation: std::sync::Mutex<Option<String>>,
}

static MACHINE: Lazy<Machine> = Lazy {
    init: || Machine {
        memory: Mutex::new(Memory {
            blocks: [None; PAGES],
            mapped: [false; PAGES],
            frames: Vec::new(),
            wakes: 0,
        }),
        rwsem: Mutex::new(()),
        invalidate: RwLock::new(()),
        leases: Mutex::new(Vec::new()),
        expires: Default::default(),
        refuses: Default::default(),
        immutable: AtomicBool::new(false),
        observed: AtomicBool::new(false),
        hooks: Default::default(),
        paths: Default::default(),
        processes: Default::default(),
        timers: Default::default(),
        violation: Default::default(),
    },
    _p: PhantomData,
};

/// The machine of this execution.
pub(crate) fn machine() -> &'static Machine {
    MACHINE.get()
}

/// The current task.
#[derive(Default)]
struct Task {
    process: Cell<usize>,
    /// The file that the system call is about.
    file: Cell<Option<FileId>>,
    /// The process that a caller within the kernel acts for.
    acting_for: Cell<Option<usize>>,
    /// Spin locks held.
    spinning: Cell<usize>,
    /// To be done on return to user space.
    work: RefCell<Vec<fn()>>,
}

loom::thread_local! {
    static TASK: Task = Task::default();
}

/// Notes that something has happened that must not. The model ends with it, when nothing is held any
/// more that would have to be given back.
pub(crate) fn violation(what: &str) {
    machine()
        .violation
        .lock()
        .unwrap()
        .get_or_insert_with(|| what.to_string());
}

/// Ends an execution.
///
/// # Panics
///
/// If there was a violation.
pub(crate) fn verdict() {
    let what = machine().violation.lock().unwrap().take();
    if let Some(what) = what {
        panic!("violation: {what}");
    }
}

/// Notes a violation unless a condition holds.
pub(crate) fn must(condition: bool, what: &str) {
    if !condition {
        violation(what);
    }
}

/// Notes that something sleeps, which is a violation under a spin lock.
pub(crate) fn might_sleep(what: &str) {
    if TASK.with(|task| task.spinning.get()) != 0 {
        violation(&format!("{what} under a spin lock"));
    }
}

/// Says that a spin lock was taken, or given back.
pub(crate) fn spins(is_taken: bool) {
    TASK.with(|task| {
        task.spinning.set(if is_taken {
            task.spinning.get() + 1
        } else {
            task.spinning.get() - 1
        });
    });
}

/// Runs a thread of a process.
pub(crate) fn spawn<R: 'static>(
    process: usize,
    run: impl FnOnce() -> R + 'static,
) -> JoinHandle<R> {
    thread::spawn(move || {
        become_process(process);
        run()
    })
}

/// Makes the current thread one of a process.
pub(crate) fn become_process(process: usize) {
    TASK.with(|task| task.process.set(process));
}

pub(crate) fn process() -> usize {
    TASK.with(|task| task.process.get())
}

/// The file that the current system call is about.
pub(crate) fn file() -> Option<FileId> {
    TASK.with(|task| task.file.get())
}

/// The process that the current task pins for, or gives back pins of, within the kernel.
pub(crate) fn acting_for() -> Option<usize> {
    TASK.with(|task| task.acting_for.get())
}

/// What the kernel does in the name of a process.
pub(crate) fn act_for<R>(process: usize, act: impl FnOnce() -> R) -> R {
    syscall(None, || {
        TASK.with(|task| task.acting_for.set(Some(process)));
        let result = act();
        TASK.with(|task| task.acting_for.set(None));
        result
    })
}

/// A system call about a file or none: what was put off until its end is done then.
pub(crate) fn syscall<R>(file: Option<FileId>, call: impl FnOnce() -> R) -> R {
    TASK.with(|task| task.file.set(file));
    let result = call();
    TASK.with(|task| task.file.set(None));
    loop {
        let work = TASK.with(|task| task.work.borrow_mut().pop());
        match work {
            Some(work) => work(),
            None => return result,
        }
    }
}

/// Has something done at the end of the system call.
pub(crate) fn on_return(work: fn()) {
    TASK.with(|task| {
        let mut all = task.work.borrow_mut();
        if !all.iter().any(|other| *other as usize == work as usize) {
            all.push(work);
        }
    });
}

/// Has something done later, by [`run_timers`].
pub(crate) fn later(work: fn()) {
    let mut timers = machine().timers.lock().unwrap();
    if !timers.iter().any(|other| *other as usize == work as usize) {
        timers.push(work);
    }
}

/// Forgets what was to be done.
pub(crate) fn cancel(work: fn()) {
    machine()
        .timers
        .lock()
        .unwrap()
        .retain(|other| *other as usize != work as usize);
}

/// Does what was put off, and what that puts off.
pub(crate) fn run_timers() {
    for _ in 0..100 {
        let work = machine().timers.lock().unwrap().pop();
        match work {
            Some(work) => work(),
            None => return,
        }
    }
    violation("deferred work does not end");
}

/// A page fault: maps what the file has there, and allocates a block for a hole.
fn fault(index: usize) {
    might_sleep("faults");
    let invalidate = machine().invalidate.read().unwrap();
    let mut memory = machine().memory.lock().unwrap();
    if memory.blocks[index].is_none() {
        memory.blocks[index] = Some(memory.frames.len());
        memory.frames.push(Frame {
            index: index as u64,
            refs: 0,
        });
    }
    memory.mapped[index] = true;
    drop(memory);
    drop(invalidate);
}

/// References a page of the file through a mapping of it, and returns its frame.
pub(crate) fn get_page(index: usize) -> usize {
    loop {
        let mut memory = machine().memory.lock().unwrap();
        if let (true, Some(frame)) = (memory.mapped[index], memory.blocks[index]) {
            memory.frames[frame].refs += 1;
            return frame;
        }
        drop(memory);
        fault(index);
    }
}

/// Gives a reference back, without anybody being told.
pub(crate) fn put_page(frame: usize) {
    let mut memory = machine().memory.lock().unwrap();
    must(memory.frames[frame].refs != 0, "a page is given back twice");
    memory.frames[frame].refs = memory.frames[frame].refs.saturating_sub(1);
}

/// `unpin_user_page()`: the observers are told before the reference is given back.
pub(crate) fn unpin_page(frame: usize) {
    if machine().observed.load(SeqCst) {
        let unpinning = machine().hooks.lock().unwrap().unpinning;
        let index = machine().memory.lock().unwrap().frames[frame].index;
        if let Some(unpinning) = unpinning {
            unpinning(&Span::of(Folio::of_frame(frame, index)));
        }
    }
    put_page(frame);
}

/// Takes blocks away from the file, which nobody may have a reference to.
pub(crate) fn free_blocks(pages: Range<usize>) {
    let mut memory = machine().memory.lock().unwrap();
    for index in pages {
        if let Some(frame) = memory.blocks[index].take() {
            must(memory.frames[frame].refs == 0, "a pinned block is freed");
            must(!memory.mapped[index], "a mapped block is freed");
        }
    }
}
