// SPDX-License-Identifier: GPL-2.0

//! What threads do at the same time, and what must hold then.
//!
//! Compiled once with the module's sources and once with each broken copy of them, which `super` is.
//! In the end of each model all pins and leases are given back, and nothing may be left of them.

use super::layout::{
    breaking::{self, break_layouts},
    fcntl::{closed, give_back, take, Fcntl},
    host::Host,
    lease_ranges,
    lease_state::{self, Kind},
    pins::Pins,
    registry, //
};
use crate::{
    machine::{
        self,
        act_for,
        become_process,
        free_blocks,
        get_page,
        machine,
        must,
        run_timers,
        spawn,
        syscall,
        unpin_page,
        violation,
        INODE, //
    },
    page::PAGE_SHIFT,
    prelude::*,
    rust::{
        gup::Request,
        identity::{
            FileId,
            InodeId, //
        },
        lease::{
            self,
            expire,
            Leases,
            OpenFile,
            F_EXCLUSIVE,
            F_LAYOUT,
            F_UNBREAK,
            F_UNLCK,
            REFUSED, //
        },
        lock::LayoutLock,
        proc::{
            Process,
            Seq, //
        },
        vfs::{
            FileSystem,
            Inode, //
        }, //
    }, //
};
use std::{
    ops::Range,
    sync::{
        atomic::{AtomicUsize, Ordering::SeqCst},
        Arc,
    },
};

/// The process that has the lease, and others; and what is none.
const HOLDER: usize = 1;
const OTHER: usize = 2;
const THIRD: usize = 3;
const KERNEL: usize = 0;

/// Open files with leases, of the two processes.
const LEASED: FileId = FileId(10);
const OTHERS: FileId = FileId(11);

/// Rings of io_uring.
const RING: FileId = FileId(20);
const SECOND_RING: FileId = FileId(21);

const EXCLUSIVE: i32 = F_LAYOUT | F_EXCLUSIVE;
const SHARED: i32 = F_LAYOUT | F_UNBREAK;

struct Pinfs;

impl FileSystem for Pinfs {}

impl Host for Pinfs {
    fn owns(_inode: &Inode) -> bool {
        true
    }

    fn can_lease(_inode: &Inode) -> bool {
        true
    }

    fn prepare_pin(_inode: &Inode, _bytes: Range<u64>, _write: bool) -> Result {
        Ok(())
    }

    fn pinned_for_writing(_inode: &Inode, _pages: &Range<u64>) {}
}

/// Runs a model with all interleavings of so many preemptions at most.
fn explore(model: fn()) {
    let wanted = std::env::var("PINFS_PREEMPTIONS").map(|number| number.parse().unwrap());
    let preemptions = wanted.unwrap_or(4);
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(move || {
        counted.fetch_add(1, SeqCst);
        become_process(HOLDER);
        let pins = Pins::<Pinfs>::new().unwrap();
        model();
        run_timers();
        must(!registry::any(), "a lease is left");
        must(
            !is_installed(LEASED) && !is_installed(OTHERS),
            "the kernel keeps a lease",
        );
        must(!on_record(0..1), "a pin is left on record");
        must(machine().paths.load(SeqCst) == 0, "a path is left");
        drop(pins);
        machine::verdict();
    });
    let executions = executions.load(SeqCst);
    println!("{executions} executions with up to {preemptions} preemptions");
    assert!(executions > 10, "nothing happens at the same time");
}

fn bytes(pages: Range<usize>) -> Range<u64> {
    (pages.start as u64) << PAGE_SHIFT..(pages.end as u64) << PAGE_SHIFT
}

/// `fcntl(F_SETLEASE)`.
fn set_lease(file: FileId, arg: i32) -> Result {
    syscall(None, || Fcntl::<Pinfs>::set(OpenFile::of(file), 0, arg))
}

/// Puts pages under a lease, as `ioctl(PINFS_IOC_LEASE)` does.
fn lease_pages(file: FileId, pages: Range<u64>, kind: Kind) -> Result {
    syscall(None, || take::<Pinfs>(OpenFile::of(file), 0, &pages, kind))
}

/// Gives some pages of a lease back, in the same way.
fn shrink(file: FileId, pages: Range<u64>) -> Result {
    syscall(None, || give_back::<Pinfs>(OpenFile::of(file), &pages))
}

/// Says whether the kernel has a lease of a file.
fn is_installed(file: FileId) -> bool {
    lease::is_leased::<Fcntl<Pinfs>>(OpenFile::of(file))
}

/// Says whether a file has a lease: both of the kernel and a lease record, or neither.
fn is_leased(file: FileId) -> bool {
    let is_held = lease_state::held(InodeId::of(&INODE), file, &lease_ranges::ALL).is_some();
    must(is_installed(file) == is_held, "a lease is half there");
    is_held
}

/// The last `close()` of a file.
fn close(file: FileId) {
    syscall(None, || {
        if machine().observed.load(SeqCst) {
            let closing = machine().hooks.lock().unwrap().closing;
            if let Some(closing) = closing {
                closing(file);
            }
        }
        lease::forget(OpenFile::of(file));
        closed(&INODE, file);
    });
}

/// Pins pages for long, through a ring or by the address space, and returns their frames.
fn pin(ring: Option<FileId>, pages: Range<usize>) -> Result<Vec<usize>> {
    syscall(ring, || pin_now(pages))
}

fn pin_now(pages: Range<usize>) -> Result<Vec<usize>> {
    let mut frames = vec![None; pages.len()];
    let hook = machine().hooks.lock().unwrap().longterm;
    let (_, pin) = hook.filter(|(wanted, _)| wanted()).ok_or(EOPNOTSUPP)?;
    let mut request = Request::new(pages.clone(), &mut frames);
    pin(&mut request)?;
    must(
        request.kept() == pages.len(),
        "less is pinned than asked for",
    );
    Ok(frames.into_iter().flatten().collect())
}

/// Pins pages for a process, in its context, as a driver does with `vaddr_pin_pages()`.
fn pin_for(process: usize, pages: Range<usize>) -> Result<Vec<usize>> {
    act_for(process, || pin_now(pages))
}

/// Gives pages back as `vaddr_unpin_pages_dirty_lock()` does.
fn unpin_for(process: usize, frames: &[usize]) {
    act_for(process, || frames.iter().copied().for_each(unpin_page));
}

/// Gives pages back.
fn unpin(ring: Option<FileId>, frames: &[usize]) {
    syscall(ring, || frames.iter().copied().for_each(unpin_page));
}

/// Takes the blocks of pages away from the file.
fn punch(pages: Range<usize>) -> Result {
    syscall(None, || {
        let mut lock = LayoutLock::<Pinfs>::new();
        break_layouts(&mut lock, bytes(pages.clone()), |_| Ok(()))?;
        free_blocks(pages);
        Ok(())
    })
}

/// Makes pages the file's own, and maps them.
fn touch(page: usize) {
    machine::put_page(get_page(page));
}

/// Returns the frame of the file's first page.
fn block() -> Option<usize> {
    machine().memory.lock().unwrap().blocks[0]
}

/// Checks that the first page still has the frame that it had under a strong lease.
fn check_block(before: Option<usize>) {
    must(block() == before, "a strong lease keeps no block");
}

/// Says whether pages are pinned or about to be, for all that the registry knows.
fn on_record(pages: Range<usize>) -> bool {
    registry::any() && breaking::is_pinned(&INODE, &bytes(pages))
}

/// Reads `/proc/fs/pinfs/pins`, without its first line, and looks at each line.
fn all_pins() -> String {
    let show = machine().hooks.lock().unwrap().all_pins.unwrap();
    let seq = Seq::default();
    must(syscall(None, || show(&seq)).is_ok(), "no pins are shown");
    let text = seq.into_string();
    let lines = text.split_once('\n').map_or("", |(_, lines)| lines);
    for line in lines.lines() {
        let kind = line.split(' ').nth(4);
        must(kind != Some("-"), "a pin without a lease is shown");
    }
    lines.to_string()
}

/// Says whether `/proc/PID/file_pins` of a process with an open file has any pins.
fn has_pins(file: FileId) -> bool {
    shows_pins(Process {
        number: OTHER,
        files: vec![file],
    })
}

/// Says whether that of a process without has any.
fn process_has_pins(number: usize) -> bool {
    shows_pins(Process {
        number,
        files: Vec::new(),
    })
}

fn shows_pins(process: Process) -> bool {
    let show = machine().hooks.lock().unwrap().file_pins.unwrap();
    let seq = Seq::default();
    must(syscall(None, || show(&seq, &process)).is_ok(), "shown");
    seq.into_string().contains("/file")
}

/// Has holders of leases take longer than they have time.
fn time_passes() {
    machine().expires.store(true, SeqCst);
}

/// Checks a pin that was taken beside something else: on record, under a lease, with the page that
/// the file has now.
fn check_pin(frames: &[usize]) {
    must(on_record(0..1), "a pin is not on record");
    let lines = all_pins();
    must(lines.lines().count() == 1, "a pin is not shown");
    must(
        frames == [block().unwrap_or(usize::MAX)],
        "a pinned page is not the file's",
    );
}

/// **Pin granted, or lease given back:** one of the two; never a pin without a lease.
pub(crate) fn unlock_or_pin() {
    explore(|| {
        set_lease(LEASED, EXCLUSIVE).unwrap();
        let pinner = spawn(HOLDER, || pin(None, 0..1));
        let unlocked = set_lease(LEASED, F_UNLCK);
        match (pinner.join().unwrap(), unlocked) {
            (Ok(frames), Err(EBUSY)) => {
                check_pin(&frames);
                unpin(None, &frames);
                must(set_lease(LEASED, F_UNLCK).is_ok(), "a lease is kept");
            }
            (Err(EOPNOTSUPP), Ok(())) => (),
            _ => violation("a pin and the end of its lease both succeed, or fail"),
        }
    });
}

/// The same with a part of the lease, which the kernel is not asked about.
pub(crate) fn shrink_or_pin() {
    explore(|| {
        set_lease(LEASED, EXCLUSIVE).unwrap();
        let pinner = spawn(HOLDER, || pin(None, 0..1));
        let shrunk = shrink(LEASED, 0..1);
        match (pinner.join().unwrap(), shrunk) {
            (Ok(frames), Err(EBUSY)) => {
                check_pin(&frames);
                unpin(None, &frames);
            }
            (Err(EOPNOTSUPP), Ok(())) => (),
            _ => violation("a pin and the end of its lease both succeed, or fail"),
        }
        must(set_lease(LEASED, F_UNLCK).is_ok(), "a lease is kept");
    });
}

/// **Pin granted, or its lease's file closed:** the lease is orphaned, or there is no pin. A lease that
/// somebody else wants at the same time is there in the second case only.
pub(crate) fn close_or_pin() {
    explore(|| {
        set_lease(LEASED, EXCLUSIVE).unwrap();
        let pinner = spawn(HOLDER, || pin(None, 0..1));
        let taker = spawn(OTHER, || set_lease(OTHERS, EXCLUSIVE));
        close(LEASED);
        let taken = taker.join().unwrap();
        if let Ok(frames) = pinner.join().unwrap() {
            check_pin(&frames);
            must(taken.is_err(), "a lease is given beside an orphaned one");
            must(punch(0..1) == Err(ETXTBSY), "a pinned range is punched");
            unpin(None, &frames);
        }
        run_timers();
        if taken.is_err() {
            become_process(OTHER);
            must(set_lease(OTHERS, EXCLUSIVE).is_ok(), "an orphan stays");
        }
        close(OTHERS);
    });
}

/// **The last unpin, or the lease's file closed:** whichever is first, nothing is left of the lease,
/// and who reads meanwhile sees no pin without one.
pub(crate) fn close_or_unpin() {
    explore(|| {
        set_lease(LEASED, EXCLUSIVE).unwrap();
        let frames = pin(None, 0..1).unwrap();
        let unpinner = spawn(HOLDER, move || unpin(None, &frames));
        let reader = spawn(OTHER, all_pins);
        close(LEASED);
        unpinner.join().unwrap();
        reader.join().unwrap();
        run_timers();
        become_process(OTHER);
        must(set_lease(OTHERS, EXCLUSIVE).is_ok(), "an orphan stays");
        close(OTHERS);
    });
}

/// **The check of a truncate, and a pin in flight:** either the pin gets what the file has afterwards, or
/// the truncate fails, at once.
pub(crate) fn punch_or_pin() {
    explore(|| {
        set_lease(LEASED, EXCLUSIVE).unwrap();
        touch(0);
        let pinner = spawn(HOLDER, || pin(None, 0..1));
        let punched = punch(0..1);
        let frames = pinner.join().unwrap().unwrap();
        must(matches!(punched, Ok(()) | Err(EDEADLK)), "a punch fails");
        check_pin(&frames);
        unpin(None, &frames);
        close(LEASED);
    });
}

/// The same with a short-lived reference, which is to be waited for, and a pin that would keep the page
/// busy when that has gone.
pub(crate) fn punch_or_pin_beside_another() {
    explore(|| {
        set_lease(LEASED, EXCLUSIVE).unwrap();
        let transient = get_page(0);
        let pinner = spawn(HOLDER, move || {
            let frames = pin(None, 0..1);
            unpin(None, &[transient]);
            frames
        });
        let punched = punch(0..1);
        let frames = pinner.join().unwrap().unwrap();
        must(matches!(punched, Ok(()) | Err(EDEADLK)), "a punch fails");
        check_pin(&frames);
        unpin(None, &frames);
        close(LEASED);
    });
}

/// **Two unpins of one page at once:** each sees the other's reference; in the end none is on record.
pub(crate) fn two_unpins() {
    explore(|| {
        set_lease(LEASED, EXCLUSIVE).unwrap();
        let frames = [pin(None, 0..1).unwrap(), pin(None, 0..1).unwrap()].concat();
        let (first, second) = (frames[0], frames[1]);
        let unpinner = spawn(HOLDER, move || unpin(None, &[first]));
        unpin(None, &[second]);
        unpinner.join().unwrap();
        run_timers();
        must(!on_record(0..1), "ended pins are on record");
        close(LEASED);
    });
}

/// **A pin beside the end of somebody else's reference to the page:** the record is never too low.
pub(crate) fn pin_beside_an_unpin() {
    explore(|| {
        set_lease(LEASED, EXCLUSIVE).unwrap();
        let first = pin(None, 0..1).unwrap();
        let transient = get_page(0);
        let other = spawn(OTHER, move || unpin(None, &[transient]));
        let second = pin(None, 0..1).unwrap();
        other.join().unwrap();
        unpin(None, &first);
        run_timers();
        check_pin(&second);
        unpin(None, &second);
        close(LEASED);
    });
}

/// **The observer of unpins stopped, or a pin taken:** no pin on record is unobserved.
pub(crate) fn stop_watching_or_pin() {
    explore(|| {
        set_lease(LEASED, EXCLUSIVE).unwrap();
        let frames = pin(None, 0..1).unwrap();
        unpin(None, &frames);
        let worker = spawn(KERNEL, run_timers);
        let frames = pin(None, 0..1).unwrap();
        worker.join().unwrap();
        unpin(None, &frames);
        must(!on_record(0..1), "an unpin was not seen");
        close(LEASED);
    });
}

/// **Two processes that want a lease:** one gets it.
pub(crate) fn two_takers() {
    explore(|| {
        let other = spawn(OTHER, || set_lease(OTHERS, SHARED));
        let own = set_lease(LEASED, EXCLUSIVE);
        let other = other.join().unwrap();
        must(
            own.is_ok() != other.is_ok(),
            "an exclusive lease is not exclusive",
        );
        close(LEASED);
        close(OTHERS);
    });
}

/// **A lease that the kernel refuses, beside others' leases and operations:** they do not notice.
pub(crate) fn refused_taker() {
    explore(|| {
        machine().refuses.store(true, SeqCst);
        let refused = spawn(THIRD, || set_lease(REFUSED, EXCLUSIVE));
        let puncher = spawn(OTHER, || punch(0..1));
        must(punch(1..2).is_ok(), "a punch fails for no reason");
        must(
            puncher.join().unwrap().is_ok(),
            "a punch fails for no reason",
        );
        must(
            set_lease(LEASED, EXCLUSIVE).is_ok(),
            "a lease is refused for no reason",
        );
        must(refused.join().unwrap().is_err(), "a lease is not refused");
        close(LEASED);
    });
}

/// The same with a lease that is to be made another one: what it was stays in force.
pub(crate) fn refused_change() {
    explore(|| {
        become_process(THIRD);
        set_lease(REFUSED, SHARED).unwrap();
        machine().refuses.store(true, SeqCst);
        let refused = spawn(THIRD, || set_lease(REFUSED, EXCLUSIVE));
        become_process(HOLDER);
        must(
            set_lease(LEASED, SHARED).is_ok(),
            "a lease is refused for no reason",
        );
        must(punch(0..1) == Err(ETXTBSY), "a strong lease keeps no block");
        must(refused.join().unwrap().is_err(), "a lease is not refused");
        close(LEASED);
        close(REFUSED);
    });
}

/// **A pin, or the file made immutable:** one of the two.
pub(crate) fn pin_or_forbid() {
    explore(|| {
        set_lease(LEASED, EXCLUSIVE).unwrap();
        let pinner = spawn(HOLDER, || pin(None, 0..1));
        let forbidden = syscall(None, || {
            breaking::unless_pinned(&INODE, || machine().immutable.store(true, SeqCst))
        });
        match (pinner.join().unwrap(), forbidden) {
            (Ok(frames), Err(EBUSY)) => {
                check_pin(&frames);
                unpin(None, &frames);
            }
            (Err(EPERM), Ok(())) => (),
            _ => violation("an immutable file is pinned, or a file is neither"),
        }
        close(LEASED);
    });
}

/// **Who had a lease broken is gone, and time is up:** one of those gets it who want one of their
/// own.
pub(crate) fn break_abandoned() {
    explore(|| {
        set_lease(LEASED, F_LAYOUT).unwrap();
        let puncher = spawn(THIRD, || {
            let _breaker = lease_state::Breaker::new(InodeId::of(&INODE), 0..1).unwrap();
            // And does not wait.
            lease::break_layout(&INODE, false)
        });
        must(
            puncher.join().unwrap() == Err(EAGAIN),
            "a lease is not to be broken",
        );
        expire();
        let other = spawn(OTHER, || set_lease(OTHERS, EXCLUSIVE));
        let own = set_lease(LEASED, EXCLUSIVE).is_ok();
        let other = other.join().unwrap().is_ok();
        must(
            own != other,
            "a break does not end, or a lease is not exclusive",
        );
        must(
            is_leased(LEASED) == own && is_leased(OTHERS) == other,
            "a lease is not what it was said to be",
        );
        close(LEASED);
        close(OTHERS);
    });
}

/// **Buffers of a ring passed on, and registered meanwhile:** a ring that has got any is listed with them,
/// also when the first ring is gone; until it is closed.
pub(crate) fn clone_or_pin() {
    explore(|| {
        set_lease(LEASED, EXCLUSIVE).unwrap();
        // What is registered in the first ring, under its lock, and in the second one.
        let ring = Arc::new(loom::sync::Mutex::new(Vec::new()));
        let registered = ring.clone();
        let pinner = spawn(HOLDER, move || {
            let mut buffers = registered.lock().unwrap();
            *buffers = pin(Some(RING), 0..1).unwrap();
        });
        let mut second = Vec::new();
        let cloned = machine().hooks.lock().unwrap().cloned;
        let (_, clone) = cloned.unwrap();
        syscall(Some(SECOND_RING), || {
            clone(SECOND_RING, RING, &mut || {
                second = ring.lock().unwrap().clone();
                0
            })
        });
        pinner.join().unwrap();
        must(has_pins(RING), "a ring with pins is not listed");
        must(
            second.is_empty() || has_pins(SECOND_RING),
            "a ring with clones is not listed",
        );
        close(RING);
        if second.is_empty() {
            unpin(None, &ring.lock().unwrap());
        } else {
            must(has_pins(SECOND_RING), "a ring with clones is forgotten");
            close(SECOND_RING);
            unpin(None, &second);
        }
        must(!has_pins(SECOND_RING), "a closed ring is listed");
        close(LEASED);
    });
}

/// **A lease that is to be broken, and given back:** who waits for it goes on, without time passing.
pub(crate) fn break_or_give_back() {
    explore(|| {
        set_lease(LEASED, F_LAYOUT).unwrap();
        let puncher = spawn(OTHER, || punch(0..1));
        must(set_lease(LEASED, F_UNLCK).is_ok(), "a lease is kept");
        must(puncher.join().unwrap().is_ok(), "a punch fails");
    });
}

/// The same with the pages that somebody waits for only: the kernel keeps its lease, and those pages can be
/// leased again.
pub(crate) fn break_or_shrink() {
    explore(|| {
        lease_pages(LEASED, 0..1, Kind::Breakable).unwrap();
        lease_pages(LEASED, 1..2, Kind::Exclusive).unwrap();
        let puncher = spawn(OTHER, || punch(0..1));
        must(shrink(LEASED, 0..1).is_ok(), "a lease is kept");
        must(puncher.join().unwrap().is_ok(), "a punch fails");
        must(is_leased(LEASED), "a lease goes that nobody wants gone");
        must(
            lease_pages(LEASED, 0..1, Kind::Breakable).is_ok(),
            "a break does not end",
        );
        must(set_lease(LEASED, F_UNLCK).is_ok(), "a lease is kept");
    });
}

/// **Two that take blocks away, each of a lease of its own:** neither lease goes before it is given back.
pub(crate) fn two_breakers() {
    explore(|| {
        time_passes();
        lease_pages(LEASED, 0..1, Kind::Breakable).unwrap();
        become_process(OTHER);
        lease_pages(OTHERS, 1..2, Kind::Breakable).unwrap();
        let puncher = spawn(THIRD, || punch(0..1));
        must(punch(1..2).is_ok(), "one's own lease is in the way");
        must(puncher.join().unwrap().is_ok(), "a punch fails");
        must(!is_leased(LEASED), "a lease stays whose time is up");
        must(is_leased(OTHERS), "a lease goes that nobody wants gone");
        close(OTHERS);
    });
}

/// **Time is up, or the lease is given back:** one of the two.
pub(crate) fn time_out_or_give_back() {
    explore(|| {
        time_passes();
        set_lease(LEASED, F_LAYOUT).unwrap();
        let puncher = spawn(OTHER, || punch(0..1));
        let timer = spawn(KERNEL, expire);
        let given = set_lease(LEASED, F_UNLCK);
        timer.join().unwrap();
        must(puncher.join().unwrap().is_ok(), "a punch fails");
        must(matches!(given, Ok(()) | Err(EAGAIN)), "a lease is kept");
        must(!is_leased(LEASED), "a lease stays");
    });
}

/// **Time is up while a range is added:** the lease goes with it, or has that range only.
pub(crate) fn time_out_or_add() {
    explore(|| {
        time_passes();
        lease_pages(LEASED, 0..1, Kind::Breakable).unwrap();
        let puncher = spawn(OTHER, || punch(0..1));
        let timer = spawn(KERNEL, expire);
        let added = lease_pages(LEASED, 1..2, Kind::Breakable);
        timer.join().unwrap();
        must(puncher.join().unwrap().is_ok(), "a punch fails");
        let is_leased = is_leased(LEASED);
        match added {
            Ok(()) => (),
            Err(EAGAIN) => must(!is_leased, "a lease is there that was refused"),
            Err(_) => violation("a range is refused"),
        }
        must(shrink(LEASED, 0..1) == Err(EAGAIN), "a range stays");
        must(shrink(LEASED, 1..2).is_ok() == is_leased, "a range goes");
    });
}

/// **Time is up while the lease is made a strong one:** one of the two, and a strong lease keeps what the
/// file has when it is there.
pub(crate) fn time_out_or_strengthen() {
    explore(|| {
        time_passes();
        set_lease(LEASED, F_LAYOUT).unwrap();
        touch(0);
        let puncher = spawn(OTHER, || punch(0..1));
        let timer = spawn(KERNEL, expire);
        let strengthened = set_lease(LEASED, EXCLUSIVE);
        let block = block();
        timer.join().unwrap();
        let punched = puncher.join().unwrap();
        match strengthened {
            Ok(()) => {
                must(matches!(punched, Ok(()) | Err(ETXTBSY)), "a punch fails");
                check_block(block);
            }
            Err(EAGAIN) => must(punched.is_ok(), "a punch fails"),
            Err(_) => violation("a lease is refused"),
        }
        must(
            is_leased(LEASED) == strengthened.is_ok(),
            "a lease is not what it was said to be",
        );
        close(LEASED);
    });
}

/// **A strong lease, or blocks taken away:** when the lease is there, no more is.
pub(crate) fn punch_or_lease() {
    explore(|| {
        touch(0);
        let puncher = spawn(OTHER, || punch(0..1));
        set_lease(LEASED, EXCLUSIVE).unwrap();
        let block = block();
        let punched = puncher.join().unwrap();
        must(matches!(punched, Ok(()) | Err(ETXTBSY)), "a punch fails");
        check_block(block);
        close(LEASED);
    });
}

/// **Time is up for one range while the file is closed, which pins of another outlive:** those keep their
/// lease.
pub(crate) fn time_out_beside_pins() {
    explore(|| {
        time_passes();
        lease_pages(LEASED, 0..1, Kind::Exclusive).unwrap();
        lease_pages(LEASED, 1..2, Kind::Breakable).unwrap();
        let frames = pin(None, 0..1).unwrap();
        touch(1);
        let puncher = spawn(OTHER, || punch(1..2));
        let timer = spawn(KERNEL, expire);
        close(LEASED);
        timer.join().unwrap();
        must(puncher.join().unwrap().is_ok(), "a punch fails");
        check_pin(&frames);
        must(punch(0..1) == Err(ETXTBSY), "a pinned range is punched");
        unpin(None, &frames);
    });
}

/// **Pins given back within the kernel, and a ring closed:** what is given back for a process is taken off
/// that process's record, though pins of what is closed go first elsewhere.
pub(crate) fn kernel_unpins_or_close() {
    explore(|| {
        set_lease(LEASED, EXCLUSIVE).unwrap();
        let own = pin_for(HOLDER, 0..1).unwrap();
        let rings = pin(Some(RING), 0..1).unwrap();
        let worker = spawn(KERNEL, move || unpin_for(HOLDER, &own));
        close(RING);
        worker.join().unwrap();
        must(!process_has_pins(HOLDER), "an ended pin is on record");
        check_pin(&rings);
        unpin(None, &rings);
        close(LEASED);
    });
}
