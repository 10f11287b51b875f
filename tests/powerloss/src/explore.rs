// SPDX-License-Identifier: GPL-2.0

//! Going through a trace and looking at every image.

use std::{
    collections::HashSet,
    path::PathBuf, //
};

use pinfs_format::{
    crash::{
        self,
        Random, //
    },
    MountError,
    Volume, //
};

use crate::{
    memory::{
        Change,
        Memory, //
    },
    oracle::{
        Dirty,
        State, //
    },
    plant::Bug,
    recover::{
        self,
        Buffers,
        Failure,
        Scratch, //
    },
    reproducer::Reproducer,
    trace::{
        Event,
        Trace, //
    },
    tree::{
        self,
        Tree, //
    },
};

/// How much to look at.
#[derive(Clone)]
pub struct Options {
    /// Images at a fence.
    pub bound: usize,
    /// The power fails again in one of so many recoveries that had something to do.
    pub again: u64,
    /// Images at a fence in a recovery.
    pub again_bound: usize,
    /// `fsck` looks at one of so many images before the mount, and at every one after it.
    pub raw: u64,
    /// Only pieces whose number leaves the first when divided by the second.
    pub part: (usize, usize),
    /// Pieces that have been done.
    pub done: HashSet<String>,
    /// A bug to plant.
    pub bug: Option<Bug>,
    /// Failures after which to give up.
    pub failures: u64,
    /// Where to keep what fails.
    pub keep: Option<PathBuf>,
    /// Where to put some images, with the trees that they show, for another judge; and how many of
    /// all to put there.
    pub sample: Option<(PathBuf, u64)>,
    /// For what is chosen by chance.
    pub seed: u64,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pieces of the workload.
    pub pieces: u64,
    /// System calls.
    pub calls: u64,
    /// Fences and ends of calls.
    pub points: u64,
    /// Images that were looked at.
    pub images: u64,
    /// Those after a power loss in recovery.
    pub again: u64,
    /// Images in which recovery had something to do.
    pub worked: u64,
    /// Images within a call that show what was before it.
    pub before: u64,
    /// And what was after it.
    pub after: u64,
    /// Images that should not be.
    pub failures: u64,
}

impl Tally {
    /// The sum of two.
    pub fn plus(self, other: Tally) -> Tally {
        Tally {
            pieces: self.pieces + other.pieces,
            calls: self.calls + other.calls,
            points: self.points + other.points,
            images: self.images + other.images,
            again: self.again + other.again,
            worked: self.worked + other.worked,
            before: self.before + other.before,
            after: self.after + other.after,
            failures: self.failures + other.failures,
        }
    }
}

/// Who is told of what was done.
pub trait Sink {
    /// A piece is done; `hashes` are those of the images that were looked at.
    fn piece(&mut self, name: &str, tally: &Tally, hashes: &HashSet<u64>) -> Result<(), String>;

    /// An image should not be.
    fn failure(&mut self, text: &str);
}

/// What may be found at a point.
struct Wanted<'a> {
    call: &'a str,
    before: Option<State<'a>>,
    after: State<'a>,
    /// mkfs: no file system, too.
    nothing: bool,
    /// The same number, the same wanted.
    id: u64,
}

struct Explorer<'t, 's> {
    trace: &'t Trace,
    options: &'s Options,
    sink: &'s mut dyn Sink,
    memory: Memory,
    /// Holds what is durable in `memory`.
    scratch: Scratch,
    buffers: Buffers,
    random: Random,
    /// Everything, and what is new in this piece.
    seen: HashSet<u64>,
    hashes: HashSet<u64>,
    piece: String,
    active: bool,
    /// In this piece something differs from the trace, or there is no bug to make it so.
    differs: bool,
    tree: Tree,
    dirty: Dirty,
    ids: u64,
    total: Tally,
    tally: Tally,
}

/// The mark of an ordinary call's result, and what is seen then.
struct Span<'t> {
    events: Vec<Event<'t>>,
    result: i64,
    told: Option<&'t str>,
}

/// Looks at a trace as `options` say.
pub fn explore(trace: &Trace, options: &Options, sink: &mut dyn Sink) -> Result<Tally, String> {
    let image = vec![0; trace.size as usize];
    let mut explorer = Explorer {
        trace,
        options,
        sink,
        memory: Memory::new(image.clone()),
        scratch: Scratch::new(image),
        buffers: Buffers::default(),
        random: Random::new(options.seed),
        seen: HashSet::new(),
        hashes: HashSet::new(),
        piece: String::new(),
        active: false,
        differs: false,
        tree: Tree::new(),
        dirty: Dirty::default(),
        ids: 0,
        total: Tally::default(),
        tally: Tally::default(),
    };
    explorer.run()?;
    Ok(explorer.total)
}

impl<'t> Explorer<'t, '_> {
    fn run(&mut self) -> Result<(), String> {
        let mut events = self.trace.events();
        let mut number = 0;
        while let Some(event) = events.next()? {
            let Event::Mark(text) = event else {
                if self.active && matches!(event, Event::Fence { .. }) {
                    self.idle();
                }
                self.apply(&event);
                continue;
            };
            let (word, rest) = text.split_once([' ', '\n']).unwrap_or((text, ""));
            match word {
                "piece" | "finish" => {
                    self.end_piece()?;
                    if self.total.failures >= self.options.failures {
                        return Ok(());
                    }
                    self.piece = format!("{number} {rest}");
                    number += 1;
                }
                "go" => {
                    let (part, parts) = self.options.part;
                    self.active =
                        number % parts == part && !self.options.done.contains(&self.piece);
                    self.dirty = Dirty::default();
                    self.differs = self.options.bug.is_none();
                    if self.options.bug.is_some() {
                        // What the bug has left in the cache is not to disturb the next piece.
                        self.settle();
                    }
                }
                "tree" if self.active => self.tree = self.look(Some(rest))?,
                "begin" if self.active => {
                    let span = self.collect(&mut events)?;
                    self.call(rest, span)?;
                    if self.total.failures + self.tally.failures >= self.options.failures {
                        self.end_piece()?;
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        self.end_piece()
    }

    fn end_piece(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.active) {
            self.tally.pieces = 1;
            self.sink.piece(&self.piece, &self.tally, &self.hashes)?;
            self.total = self.total.plus(self.tally);
        }
        self.tally = Tally::default();
        self.hashes.clear();
        self.seen.clear();
        Ok(())
    }

    fn apply(&mut self, event: &Event<'_>) {
        let scratch = &self.scratch;
        self.memory
            .apply(event, |off, word| scratch.settle(off, word));
    }

    /// Makes everything durable.
    fn settle(&mut self) {
        let image = self.memory.visible().to_vec();
        self.scratch = Scratch::new(image.clone());
        self.memory = Memory::new(image);
    }

    /// Everything up to the end of a call, and what is told of it.
    fn collect(&self, events: &mut crate::trace::Events<'t>) -> Result<Span<'t>, String> {
        let mut span = Span {
            events: Vec::new(),
            result: 0,
            told: None,
        };
        let cut = || format!("piece {}: a call without an end", self.piece);
        loop {
            match events.next()?.ok_or_else(cut)? {
                Event::Mark(text) => match text.split_once([' ', '\n']) {
                    Some(("end", result)) => {
                        span.result = result.parse().map_err(|_| cut())?;
                        break;
                    }
                    _ => return Err(cut()),
                },
                event => span.events.push(event),
            }
        }
        // The tree is told next. The kernel may do something in its own time before: it writes the size of
        // a file back, which the workload sees at once and the memory only then.
        let mut ahead = events.clone();
        while let Some(event) = ahead.next()? {
            if let Event::Mark(text) = event {
                span.told = text.strip_prefix("tree\n");
                break;
            }
        }
        Ok(span)
    }

    /// The tree that the processor sees, which has to be as it is told.
    fn look(&mut self, told: Option<&str>) -> Result<Tree, String> {
        let visible = Scratch::new(self.memory.visible().to_vec());
        self.look_at(&visible, told)
    }

    fn look_at(&self, visible: &Scratch, told: Option<&str>) -> Result<Tree, String> {
        let piece = &self.piece;
        let volume = Volume::open(visible).map_err(|why| format!("piece {piece}: {why}"))?;
        let sizes = told.map(tree::told_sizes).unwrap_or_default();
        let tree = tree::read_with_sizes(&volume, &sizes)
            .map_err(|why| format!("piece {piece}: {why}"))?;
        if let Some(told) = told {
            let (told, found) = (tree::told(told), tree::manifest(&tree));
            if told != found {
                let differs = told.iter().zip(&found).find(|(told, found)| told != found);
                return Err(format!(
                    "piece {piece}: the workload has not seen what is in the memory: {differs:?}, {} and {} files",
                    told.len(),
                    found.len()
                ));
            }
        }
        Ok(tree)
    }

    /// A system call, from its beginning to its end.
    fn call(&mut self, call: &'t str, mut span: Span<'t>) -> Result<(), String> {
        self.tally.calls += 1;
        let before = std::mem::take(&mut self.tree);
        let after = {
            let mut visible = self.memory.visible().to_vec();
            for event in &span.events {
                if let Event::Store { off, bytes, .. } = *event {
                    visible[off as usize..off as usize + bytes.len()].copy_from_slice(bytes);
                }
            }
            self.look_at(&Scratch::new(visible), span.told)?
        };
        if let Some(bug) = self.options.bug {
            let without = span.events.clone();
            bug.plant(&mut span.events);
            self.differs |= span.events != without;
        }
        let (earlier, later) = self.dirty.during(call, &before, &after);
        self.ids += 2;
        let mut wanted = Wanted {
            call,
            before: Some(State {
                tree: &before,
                dirty: &earlier,
            }),
            after: State {
                tree: &after,
                dirty: &later,
            },
            nothing: call == "mkfs",
            id: self.ids,
        };
        for event in &span.events {
            if matches!(event, Event::Fence { .. }) {
                self.point(&wanted);
            }
            self.apply(event);
        }
        // Until it returns, nothing is promised.
        self.point(&wanted);
        wanted.before = None;
        wanted.nothing = false;
        wanted.id += 1;
        let mut settled = later.clone();
        settled.settle(call, span.result, &after);
        wanted.after.dirty = &settled;
        self.point(&wanted);
        self.tree = after;
        self.dirty = settled;
        Ok(())
    }

    /// A fence between two calls: work that the kernel does in its own time.
    fn idle(&mut self) {
        self.ids += 2;
        let (tree, dirty) = (self.tree.clone(), self.dirty.clone());
        let wanted = Wanted {
            call: "(between calls)",
            before: None,
            after: State {
                tree: &tree,
                dirty: &dirty,
            },
            nothing: false,
            id: self.ids,
        };
        self.point(&wanted);
    }

    /// Looks at what a power loss now may leave.
    fn point(&mut self, wanted: &Wanted<'_>) {
        if !self.differs {
            return;
        }
        self.tally.points += 1;
        let mut changes = Vec::new();
        let (memory, seen, hashes) = (&self.memory, &mut self.seen, &mut self.hashes);
        memory.images(self.options.bound, &mut self.random, |change| {
            let hash = memory.hash_with(change);
            hashes.insert(hash);
            // The same image again is looked at only if less is accepted.
            if seen.insert(hash ^ wanted.id.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
                changes.push(change.clone());
            }
        });
        for change in changes {
            self.image(&change, wanted);
            if self.tally.failures + self.total.failures >= self.options.failures {
                return;
            }
        }
    }

    /// Looks at one image.
    fn image(&mut self, change: &Change, wanted: &Wanted<'_>) {
        self.tally.images += 1;
        let start = self.scratch.mark();
        self.scratch.change(change);
        let loss = self.scratch.mark();
        if self.random.once_in(self.options.raw) {
            self.raw(wanted);
            self.scratch.undo(loss);
        }
        if let Some((dir, odds)) = &self.options.sample {
            if self.random.once_in(*odds) && !wanted.nothing {
                self.sample(dir);
                self.scratch.undo(loss);
            }
        }
        let again = self.random.once_in(self.options.again);
        self.scratch.record(again);
        let worked = self.judge(wanted, true);
        let events = self.scratch.record(false);
        self.scratch.undo(loss);
        if again && worked {
            self.again(&events, wanted);
        }
        self.scratch.undo(start);
    }

    /// What fsck finds without a mount.
    fn raw(&mut self, wanted: &Wanted<'_>) {
        if wanted.nothing && Volume::open(&self.scratch).is_err() {
            return;
        }
        let before = self.scratch.mark();
        let result = recover::fsck(&self.scratch);
        self.scratch.undo(before);
        if let Err(why) = result {
            self.fail(wanted, &format!("before a mount, {why}"));
        }
    }

    /// Puts the image where another judge finds it. What does not work is another's to tell.
    fn sample(&mut self, dir: &std::path::Path) {
        let image = self.scratch.image();
        let Ok(mounted) = recover::mount(&self.scratch, &mut self.buffers) else {
            return;
        };
        let name = format!(
            "{}-{}",
            self.options.part.0,
            self.total.images + self.tally.images
        );
        let tree = tree::manifest(&mounted.tree).join("\n") + "\n";
        let written = std::fs::write(dir.join(format!("{name}.image")), image)
            .and_then(|()| std::fs::write(dir.join(format!("{name}.tree")), tree));
        if let Err(error) = written {
            self.sink.failure(&format!("{}: {error}", dir.display()));
        }
    }

    /// Mounts the image and looks at what there is. Returns whether recovery had something to do.
    fn judge(&mut self, wanted: &Wanted<'_>, first: bool) -> bool {
        let before = self.scratch.mark();
        let (why, worked) = match recover::mount(&self.scratch, &mut self.buffers) {
            Ok(mounted) => {
                self.scratch.stop();
                self.tally.worked += u64::from(mounted.worked && first);
                let why = self.compare(&mounted.tree, wanted);
                let why = why.or_else(|| recover::fsck(&self.scratch).err());
                (why, mounted.worked)
            }
            Err(Failure::Refused(MountError::NotPinfs | MountError::BadChecksum))
                if wanted.nothing =>
            {
                (None, false)
            }
            Err(failure) => (Some(format!("{failure:?}")), false),
        };
        self.scratch.undo(before);
        if let Some(why) = why {
            self.fail(wanted, &why);
        }
        worked
    }

    fn compare(&mut self, found: &Tree, wanted: &Wanted<'_>) -> Option<String> {
        let not_after = wanted.after.differs(found);
        let Some(not_after) = not_after else {
            self.tally.after += 1;
            return None;
        };
        match &wanted.before {
            None => Some(format!("not what was before: {not_after}")),
            Some(before) => {
                let Some(not_before) = before.differs(found) else {
                    self.tally.before += 1;
                    return None;
                };
                Some(format!(
                    "neither before the call: {not_before}\n      nor after it: {not_after}"
                ))
            }
        }
    }

    /// Lets the power fail again in a recovery that did `events` to what `scratch` holds.
    fn again(&mut self, events: &[crash::Event], wanted: &Wanted<'_>) {
        let start = self.scratch.mark();
        let mut memory = Memory::new(self.scratch.image());
        for event in events {
            if matches!(event, crash::Event::Fence) {
                let mut changes = Vec::new();
                let (seen, hashes) = (&mut self.seen, &mut self.hashes);
                memory.images(self.options.again_bound, &mut self.random, |change| {
                    let hash = memory.hash_with(change);
                    hashes.insert(hash);
                    if seen.insert(hash ^ wanted.id.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
                        changes.push(change.clone());
                    }
                });
                for change in changes {
                    self.tally.again += 1;
                    let mark = self.scratch.mark();
                    self.scratch.change(&change);
                    self.judge(wanted, false);
                    self.scratch.undo(mark);
                }
            }
            let mut settled = Change::new();
            match *event {
                crash::Event::Store { off, word } => {
                    let bytes = &word.to_le_bytes()[..];
                    let store = Event::Store {
                        off,
                        bytes,
                        streaming: false,
                    };
                    memory.apply(&store, |_, _| ());
                }
                crash::Event::Flush { off, len } => {
                    for line in (off / 64 * 64..off + len).step_by(64) {
                        memory.apply(&Event::Flush { off: line, site: 0 }, |_, _| ());
                    }
                }
                crash::Event::Fence => {
                    let fence = Event::Fence { site: 0 };
                    memory.apply(&fence, |off, word| settled.push((off, word)));
                }
            }
            self.scratch.change(&settled);
        }
        self.scratch.undo(start);
    }

    /// Keeps and tells of what should not be.
    fn fail(&mut self, wanted: &Wanted<'_>, why: &str) {
        self.tally.failures += 1;
        let number = self.total.failures + self.tally.failures;
        let when = match wanted.before {
            Some(_) => "in the midst of",
            None => "after",
        };
        let mut text = format!(
            "piece {}\n   {when} the call: {}\n   {why}\n",
            self.piece, wanted.call
        );
        if let Some(keep) = &self.options.keep {
            let path = keep.join(format!(
                "failure-{:x}-{}-{number}.pinfs-crash",
                self.trace.id, self.options.part.0
            ));
            let reproducer = Reproducer {
                text: text.clone(),
                image: self.scratch.image(),
            };
            match reproducer.write(&path) {
                Ok(()) => text.push_str(&format!("   kept in {}\n", path.display())),
                Err(error) => text.push_str(&format!("   not kept: {error}\n")),
            }
        }
        self.sink.failure(&text);
    }
}
