// SPDX-License-Identifier: GPL-2.0

//! `/proc/PID/file_pins`, and `/proc/fs/pinfs/pins` for all processes.
//!
//! Paths are printed without the registry's lock, so lines are read from the registry one by one.
//! Each line is consistent, but lines may be of different moments.

use super::{
    context::{
        ContextId,
        Owner, //
    },
    lease_state::{
        Kind, //
        LeaseId,
    },
    registry::{
        self,
        key_after,
        key_from,
        ContextKey,
        HoldingKey,
        Registry, //
    },
    unpin::reconcile_holding,
    uring_clones::for_each_context, //
};
use crate::rust::{
    gup::PathRef,
    identity::InodeId,
    proc::{
        for_each_process,
        PidFile,
        Process,
        Seq,
        SingleFile, //
    }, //
};
use kernel::{
    page::PAGE_SHIFT,
    prelude::*,
    str::CStr,
    sync::Arc, //
};

/// `/proc/PID/file_pins`: for each descriptor of the process that is a context its number and path,
/// followed by the files that are pinned through it; then the files that are pinned by the address
/// space.
pub(super) struct FilePins;

impl PidFile for FilePins {
    const NAME: &'static CStr = c"file_pins";

    fn show(seq: &Seq<'_>, process: &Process) -> Result {
        if !registry::any() {
            return Ok(());
        }
        process.for_each_file(|fd, id, file| {
            let mut is_first = true;
            let mut print = |path: &PathRef| {
                if is_first {
                    seq.print(fmt!("{fd}: "));
                    seq.file_path(file);
                    seq.print(fmt!("\n"));
                    is_first = false;
                }
                seq.print(fmt!("\t"));
                seq.path(path);
                seq.print(fmt!("\n"));
            };
            for_each_context(id, |context| for_each_pinned(context, &mut print));
        });
        if let Some(context) = context_of(Owner::Mm(process.mm())) {
            for_each_pinned(context, |path| {
                seq.path(path);
                seq.print(fmt!("\n"));
            });
        }
        Ok(())
    }
}

fn context_of(owner: Owner) -> Option<ContextId> {
    registry::lock().as_ref()?.owners.get(&owner).copied()
}

/// Calls a function for each file that a context has pinned.
fn for_each_pinned(context: ContextId, mut each: impl FnMut(&PathRef)) {
    let mut next = next_holding(context, None);
    let mut shown = None;
    while let Some(key) = next {
        let (_, inode, lease) = key;
        // One file may be pinned under several leases.
        if shown != Some(inode) {
            reconcile_holding((inode, context, lease));
            if let Some(path) = pinned_path((inode, context, lease)) {
                each(&path);
                shown = Some(inode);
            }
        }
        next = next_holding(context, Some(key));
    }
}

fn next_holding(context: ContextId, last: Option<ContextKey>) -> Option<ContextKey> {
    let guard = registry::lock();
    let tree = &guard.as_ref()?.by_context;
    let key = match last {
        None => key_from(tree, (context, InodeId::FIRST, LeaseId::FIRST)),
        Some(last) => key_after(tree, last),
    }?;
    (key.0 == context).then_some(key)
}

fn pinned_path(key: HoldingKey) -> Option<Arc<PathRef>> {
    let guard = registry::lock();
    let holding = guard.as_ref()?.holdings.get(&key)?;
    (!holding.runs.is_empty()).then(|| holding.path.clone())
}

/// `/proc/fs/pinfs/pins`: a line for each range of a file that a context has pinned.
pub(super) struct AllPins;

/// One line of the file.
struct Line {
    holding: HoldingKey,
    path: Arc<PathRef>,
    start: u64,
    end: u64,
    kind: &'static str,
    state: &'static str,
}

impl SingleFile for AllPins {
    fn show(seq: &Seq<'_>) -> Result {
        seq.print(fmt!(
            "# device:inode start end pages kind state pids path\n"
        ));
        if !registry::any() {
            return Ok(());
        }
        let holders = holders(seq)?;
        let mut next = (None, 0);
        let mut reconciled = None;
        while let Some(line) = next_line(next.0, next.1) {
            if reconciled != Some(line.holding) {
                reconcile_holding(line.holding);
                reconciled = Some(line.holding);
                continue;
            }
            if seq.is_full() {
                break;
            }
            print_line(seq, &line, &holders);
            next = (Some(line.holding), line.end);
        }
        Ok(())
    }
}

fn print_line(seq: &Seq<'_>, line: &Line, holders: &[(ContextId, i32)]) {
    let inode = line.path.inode();
    seq.print(fmt!(
        "{}:{}:{} {} {} {} {} {} ",
        inode.dev() >> 20,
        inode.dev() & 0xfffff,
        inode.ino(),
        line.start << PAGE_SHIFT,
        line.end << PAGE_SHIFT,
        line.end - line.start,
        line.kind,
        line.state,
    ));
    let mut is_first = true;
    for (_, pid) in holders.iter().filter(|(id, _)| *id == line.holding.1) {
        seq.print(fmt!("{}{}", if is_first { "" } else { "," }, pid));
        is_first = false;
    }
    seq.print(fmt!("{}", if is_first { "- " } else { " " }));
    seq.path(&line.path);
    seq.print(fmt!("\n"));
}

/// Returns the processes of the reader's namespace that have contexts.
fn holders(seq: &Seq<'_>) -> Result<KVVec<(ContextId, i32)>> {
    let mut holders = KVVec::new();
    let mut result = Ok(());
    for_each_process(seq.pid_namespace(), |pid, process| {
        let mut add = |context| {
            // Several descriptors of one open file count once.
            if holders.last() != Some(&(context, pid)) && !holders.contains(&(context, pid)) {
                if let Err(err) = holders.push((context, pid), GFP_KERNEL) {
                    result = Err(err);
                }
            }
        };
        process.for_each_file(|_, id, _| for_each_context(id, &mut add));
        if let Some(context) = context_of(Owner::Mm(process.mm())) {
            add(context);
        }
    });
    result?;
    Ok(holders)
}

/// Returns the first range of a holding from a page on, or else the first of the next holding.
fn next_line(holding: Option<HoldingKey>, page: u64) -> Option<Line> {
    let guard = registry::lock();
    let registry = guard.as_ref()?;
    let mut key = match holding {
        None => registry
            .holdings
            .cursor_front()
            .map(|cursor| *cursor.current().0),
        Some(key) => key_from(&registry.holdings, key),
    }?;
    let mut page = if Some(key) == holding { page } else { 0 };
    loop {
        if let Some(line) = line_from(registry, key, page) {
            return Some(line);
        }
        key = key_after(&registry.holdings, key)?;
        page = 0;
    }
}

fn line_from(registry: &Registry, key: HoldingKey, page: u64) -> Option<Line> {
    /// Number of runs that are visited at a time, with interrupts disabled.
    const BATCH: usize = 256;

    let (inode, _, lease): (InodeId, ContextId, LeaseId) = key;
    let holding = registry.holdings.get(&key)?;
    let first = holding.runs.at_or_after(page)?;
    let end = holding
        .runs
        .within(first.start..u64::MAX)
        .take(BATCH)
        .scan(first.start, |end, run| {
            (run.start == *end).then(|| {
                *end = run.end;
                run.end
            })
        })
        .last()?;
    let lease = registry.leases.get(&(inode, lease));
    Some(Line {
        holding: key,
        path: holding.path.clone(),
        start: first.start,
        end,
        kind: lease
            .and_then(|lease| lease.kind_at(first.start))
            .map_or("-", Kind::name),
        state: lease.map_or("orphaned", |lease| lease.state.name()),
    })
}
