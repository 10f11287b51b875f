// SPDX-License-Identifier: GPL-2.0

//! The state of a check, and the passes over superblock, journal and inodes.

use std::collections::{
    btree_map::Entry,
    BTreeMap,
    BTreeSet, //
};

use pinfs_format::{
    bitmap,
    extents::Extent,
    inode::{
        InodeHead,
        S_IFDIR,
        S_IFLNK,
        S_IFREG, //
    },
    journal::{
        self,
        Recovered, //
    },
    mount::{
        self,
        Status,
        STATUS, //
    },
    offset_of,
    space::BlockRun,
    volume::inode_offset,
    Error,
    Geometry,
    Inode,
    Medium,
    Result,
    Volume,
    GROUP_BLOCKS,
    INODE_SLOTS, //
};
use zerocopy::IntoBytes;

use crate::{
    examine::{
        self,
        Attribute,
        Content,
        DirName,
        Plan,
        Raw, //
    },
    names::LostFound,
    overlay::Overlay,
    redo,
    report::{
        count,
        Fault, //
    },
    superblocks::{
        self,
        Found,
        Request, //
    }, //
};

const BITS: u64 = u64::BITS as u64;

/// What to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Check even if the file system says that it is clean.
    pub force: bool,
}

/// What a file system holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Inodes in use.
    pub inodes: u64,
    /// Directories among them.
    pub directories: u64,
    /// Blocks in use, those for metadata at fixed places included.
    pub used: u64,
    /// Blocks of the file system.
    pub blocks: u64,
}

/// What a check found.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Marked clean, and not looked into.
    Clean(Summary),
    /// Looked into.
    Checked {
        /// What it holds now.
        summary: Summary,
        /// What was wrong; all of it is repaired in the overlay.
        faults: Vec<Fault>,
        /// Bytes of the journal record that was replayed.
        replayed: Option<u64>,
    },
    /// Not a file system that can be worked on; the text says why.
    Refused(String),
    /// There is not enough room for the repair; what was found.
    NoRoom(Vec<Fault>),
}

/// A set of blocks.
pub(crate) struct Blocks(Vec<u64>);

impl Blocks {
    fn new(blocks: u64) -> Self {
        Blocks(vec![0; blocks.div_ceil(BITS) as usize])
    }

    pub fn has(&self, block: u64) -> bool {
        let word = self.0.get((block / BITS) as usize);
        word.is_some_and(|word| word >> (block % BITS) & 1 != 0)
    }

    pub fn put(&mut self, block: u64, set: bool) {
        if let Some(word) = self.0.get_mut((block / BITS) as usize) {
            let bit = 1 << (block % BITS);
            *word = if set { *word | bit } else { *word & !bit };
        }
    }

    pub fn word(&self, index: u64) -> u64 {
        self.0.get(index as usize).copied().unwrap_or(0)
    }

    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// What is known of an inode.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Info {
    /// As in `DT_*`.
    pub kind: u8,
    /// Marked as an orphan.
    pub orphan: bool,
    /// Directories: found on the way from the root.
    pub reached: bool,
    /// Names found.
    pub links: u32,
    /// Directories among the names in it.
    pub subdirs: u32,
    /// Where a name of it was found first.
    pub parent: u64,
}

impl Info {
    pub fn is_dir(&self) -> bool {
        u32::from(self.kind) << 12 == S_IFDIR
    }

    pub fn is_file(&self) -> bool {
        u32::from(self.kind) << 12 == S_IFREG
    }
}

/// A part of a file whose blocks belong to something else, too.
#[derive(Clone, Copy)]
pub(crate) struct Shared(pub Extent);

/// What must be made anew at the end.
pub(crate) struct Remake {
    pub content: Content,
    /// Blocks that the inode owns besides.
    pub attribute_blocks: u64,
    /// Parts that get copies.
    pub shared: Vec<Shared>,
}

pub(crate) struct Checker<'a, M: Medium> {
    pub volume: &'a Volume<&'a Overlay<M>>,
    pub geometry: Geometry,
    pub used: Blocks,
    pub inode_blocks: Blocks,
    pub info: BTreeMap<u64, Info>,
    pub remake: BTreeMap<u64, Remake>,
    /// Extended attributes to set again.
    pub attributes: BTreeMap<u64, Vec<Attribute>>,
    /// The directory for what has lost its name, while that is looked for.
    pub lost_found: Option<LostFound>,
    pub faults: Vec<Fault>,
    /// Where the search for a free block goes on.
    pub next_free: u64,
    /// Only blocks that are read or claimed are left.
    pub only_kept: bool,
    /// A repair needs more blocks than there are.
    pub no_room: bool,
    progress: &'a mut dyn FnMut(&str, u64, u64),
}

/// Checks the file system on `medium`, and repairs it there. `progress` is told what is being done,
/// how far it is, and how far it has to go.
///
/// # Errors
/// [`Error::Io`] if the medium fails.
pub fn check<M: Medium>(
    medium: &Overlay<M>,
    options: Options,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Outcome> {
    let found = superblocks::find(medium, &Request::default(), progress)?;
    check_from(medium, options, found, progress)
}

/// Does the same as [`check`] with a superblock that was looked for already.
///
/// # Errors
/// [`Error::Io`] if the medium fails.
pub fn check_from<M: Medium>(
    medium: &Overlay<M>,
    options: Options,
    found: Found,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Outcome> {
    let mut faults = Vec::new();
    let repairing = match superblocks::settle(medium, found, &mut faults)? {
        Ok(repairing) => repairing,
        Err(refusal) => return Ok(Outcome::Refused(refusal)),
    };
    let volume = match Volume::open(medium) {
        Ok(volume) => volume,
        Err(refusal) => return Ok(Outcome::Refused(refusal.to_string())),
    };
    let geometry = *volume.geometry();
    let pending = journal::needs_recovery(&volume);
    if !options.force && !repairing && faults.is_empty() && pending == Ok(false) {
        if let Ok(status) = mount::status(&volume) {
            if !status.is_dirty() && mount::wants_check(&volume) == Ok(false) {
                return Ok(Outcome::Clean(Summary {
                    inodes: status.inodes(),
                    directories: 0,
                    used: 0,
                    blocks: geometry.blocks,
                }));
            }
        }
    }
    if geometry.read_only {
        let why = "it has features that this program does not know; use a newer one";
        return Ok(Outcome::Refused(why.to_owned()));
    }
    let resumed = redo::resume(&volume)?;
    if repairing || resumed {
        let what = match resumed {
            true => "a repair was cut short; completed",
            false => "a repair was cut short; begun anew",
        };
        faults.push(whole(Some(0), false, what));
    }
    let replayed = match journal::recover(&volume) {
        Ok(Recovered::Replayed(len)) => Some(len),
        Ok(Recovered::Nothing) => None,
        Err(Error::Io) => return Err(Error::Io),
        Err(error) => {
            let off = offset_of(geometry.journal_start);
            let what = format!("{error}; the record is thrown away");
            faults.push(whole(Some(off), true, what));
            journal::erase(&volume)?;
            None
        }
    };
    medium.keep_changed();
    let mut checker = Checker {
        volume: &volume,
        geometry,
        used: Blocks::new(geometry.blocks),
        inode_blocks: Blocks::new(geometry.blocks),
        info: BTreeMap::new(),
        remake: BTreeMap::new(),
        attributes: BTreeMap::new(),
        lost_found: None,
        faults,
        next_free: geometry.data_start,
        only_kept: false,
        no_room: false,
        progress,
    };
    checker.status()?;
    let late = checker.inodes()?;
    checker.late(late)?;
    checker.root()?;
    checker.names()?;
    checker.links()?;
    checker.remake()?;
    if checker.no_room {
        return Ok(Outcome::NoRoom(checker.faults));
    }
    checker.inode_heads()?;
    checker.bitmaps()?;
    checker.final_status()?;
    checker.set_attributes()?;
    if checker.no_room {
        return Ok(Outcome::NoRoom(checker.faults));
    }
    checker.paths();
    let directories = checker.info.values().filter(|info| info.is_dir());
    let summary = Summary {
        inodes: checker.info.len() as u64,
        directories: directories.count() as u64,
        used: checker.used.count(),
        blocks: geometry.blocks,
    };
    Ok(Outcome::Checked {
        summary,
        faults: checker.faults,
        replayed,
    })
}

/// A fault of the file system as a whole.
fn whole(off: Option<u64>, loss: bool, what: impl Into<String>) -> Fault {
    Fault {
        ino: 0,
        path: None,
        off,
        what: what.into(),
        loss,
    }
}

impl<M: Medium> Checker<'_, M> {
    pub fn fault(&mut self, ino: u64, off: u64, loss: bool, what: impl Into<String>) {
        self.faults.push(Fault {
            ino,
            path: None,
            off: Some(off),
            what: what.into(),
            loss,
        });
    }

    pub fn tell(&mut self, what: &str, done: u64, all: u64) {
        (self.progress)(what, done, all);
    }

    /// Makes the status something that can be read; what it counts is seen to at the end.
    fn status(&mut self) -> Result {
        let mut status: Status = self.volume.plain(STATUS)?;
        let sealed = self.volume.verify::<Status>(STATUS, status.as_bytes());
        let tidy = status.reserved0 == [0; 16] && status.reserved == [0; 160];
        let flags = status.flags.get();
        if sealed.is_err() {
            self.fault(0, STATUS, false, "status is damaged; made anew");
            // It must not be one that the journal has used.
            let mounts = status.mounts.get() & u64::from(u32::MAX >> 1);
            status.mounts.set(mounts + 1);
        } else if !tidy || flags & !mount::MOUNTED != 0 {
            self.fault(
                0,
                STATUS,
                false,
                "status has unknown flags or bytes; cleared",
            );
        } else {
            return Ok(());
        }
        status.flags.set(flags & mount::MOUNTED);
        status.reserved0 = [0; 16];
        status.reserved = [0; 160];
        self.volume.store(STATUS, &mut status)
    }

    /// Claims a run for its owner if nobody has any of it.
    fn claim(&mut self, run: BlockRun) -> bool {
        if !self.geometry.in_data(run.start, run.len) {
            return false;
        }
        let blocks = run.start..run.start + run.len;
        // Somebody says that it is his: the next check must see the same if this one is cut short.
        self.volume.medium().keep(blocks.clone());
        let free = blocks.clone().all(|block| !self.used.has(block));
        if free {
            blocks.for_each(|block| self.used.put(block, true));
        }
        free
    }

    fn runs(plan: &Plan) -> Vec<BlockRun> {
        let meta = plan.meta.iter().chain(&plan.attribute_blocks);
        let meta = meta.map(|&start| BlockRun { start, len: 1 });
        let data = match &plan.content {
            Content::File(extents) => &extents[..],
            _ => &[],
        };
        let data = data.iter().map(|extent| BlockRun {
            start: extent.block,
            len: extent.len,
        });
        meta.chain(data).collect()
    }

    /// Claims everything of a plan, or nothing.
    fn claim_all(&mut self, plan: &Plan) -> bool {
        let runs = Self::runs(plan);
        for (index, run) in runs.iter().enumerate() {
            if !self.claim(*run) {
                for run in &runs[..index] {
                    (run.start..run.start + run.len).for_each(|block| self.used.put(block, false));
                }
                return false;
            }
        }
        true
    }

    /// Whether the bitmaps' checksums of a block's group are right.
    fn marked_well(&self, block: u64) -> Result<bool> {
        match bitmap::verify(self.volume, block / GROUP_BLOCKS) {
            Ok(()) => Ok(true),
            Err(Error::Io) => Err(Error::Io),
            Err(_) => Ok(false),
        }
    }

    pub fn head(&self, block: u64) -> Result<(InodeHead, bool)> {
        let head: InodeHead = self.volume.plain(offset_of(block))?;
        let sealed = self
            .volume
            .verify::<InodeHead>(offset_of(block), head.as_bytes());
        Ok((head, sealed.is_ok()))
    }

    /// Goes over the blocks that are marked as inode blocks, and returns the inodes that cannot be
    /// taken as they are.
    fn inodes(&mut self) -> Result<Vec<u64>> {
        // The root's place is known from the superblock.
        let root = self.geometry.root_ino / INODE_SLOTS;
        self.used.put(root, true);
        self.inode_blocks.put(root, true);

        let mut late = Vec::new();
        let (first, end) = (self.geometry.data_start, self.geometry.data_end);
        let bitmap = offset_of(self.geometry.inode_bitmap_start);
        let mut blocks = Vec::new();
        for index in first / BITS..end.div_ceil(BITS) {
            let word = self.volume.word(bitmap + index * 8)?;
            let all = index * BITS..(index + 1) * BITS;
            blocks.extend(all.filter(|block| {
                (first..end).contains(block) && (word >> (block % BITS) & 1 != 0 || *block == root)
            }));
        }
        // All inode blocks are claimed before what the inodes in them point to.
        let mut heads = BTreeMap::new();
        for &block in &blocks {
            let (head, sealed) = self.head(block)?;
            let sure = sealed && self.marked_well(block)?;
            let mut slots = Vec::new();
            for slot in 1..INODE_SLOTS {
                let ino = block * INODE_SLOTS + slot;
                if sealed && head.used.get() >> slot & 1 == 0 {
                    continue;
                }
                // An inode that was freed has no links: those are left out where the marks of
                // what is in use are damaged.
                let live = match examine::raw(self.volume, ino)? {
                    Raw::Sealed(inode) => sure || inode.nlink.get() > 0,
                    Raw::Plausible(_) => sure,
                    Raw::None => false,
                };
                if live {
                    slots.push(ino);
                } else if sure {
                    let what = "inode is damaged beyond use; removed";
                    self.fault(ino, inode_offset(ino), true, what);
                }
            }
            if !slots.is_empty() {
                self.used.put(block, true);
                self.inode_blocks.put(block, true);
                heads.insert(block, slots);
            }
        }
        let all = heads.len() as u64;
        for (done, slots) in heads.into_values().enumerate() {
            self.tell("inodes", done as u64, all);
            for ino in slots {
                let Raw::Sealed(inode) = examine::raw(self.volume, ino)? else {
                    late.push(ino);
                    continue;
                };
                let plan = examine::examine(self.volume, inode, true)?;
                if plan.troubles.is_empty() && !plan.rebuild && self.claim_all(&plan) {
                    self.know(&plan);
                } else {
                    late.push(ino);
                }
            }
        }
        Ok(late)
    }

    fn know(&mut self, plan: &Plan) {
        let info = Info {
            kind: (plan.inode.kind() >> 12) as u8,
            orphan: plan.inode.is_orphan(),
            ..Info::default()
        };
        self.info.insert(plan.ino(), info);
    }

    fn late(&mut self, late: Vec<u64>) -> Result {
        let all = late.len() as u64;
        for (done, ino) in late.into_iter().enumerate() {
            self.tell("damaged inodes", done as u64, all);
            self.take(ino)?;
        }
        Ok(())
    }

    /// Takes an inode with whatever is good in it, and returns whether there was one.
    pub fn take(&mut self, ino: u64) -> Result<bool> {
        let (inode, sealed) = match examine::raw(self.volume, ino)? {
            Raw::Sealed(inode) => (inode, true),
            Raw::Plausible(inode) => (inode, false),
            Raw::None => return Ok(false),
        };
        let mut plan = examine::examine(self.volume, inode, sealed)?;
        let off = inode_offset(ino);
        let no_target = plan.inode.kind() == S_IFLNK && matches!(plan.content, Content::Nothing);
        let mut shared = Vec::new();
        if !no_target && (plan.rebuild || !self.claim_all(&plan)) {
            let blocks = plan.attribute_blocks.clone();
            let had: Vec<u64> = blocks
                .iter()
                .copied()
                .take_while(|&start| self.claim(BlockRun { start, len: 1 }))
                .collect();
            if had.len() < blocks.len() {
                plan.trouble(
                    off,
                    false,
                    "blocks of attributes belong to something else, too; moved",
                );
                had.iter().for_each(|&block| self.used.put(block, false));
                plan.attributes = examine::read_attributes(self.volume, &plan.inode)?.0;
                plan.attribute_blocks.clear();
                plan.inode.xattr.set(0);
                plan.inode.blocks.set(plan.owned());
            }
            if let Content::File(extents) = &mut plan.content {
                let (kept, twice) = self.divide(extents);
                *extents = kept;
                if !twice.is_empty() {
                    let blocks: u64 = twice.iter().map(|shared| shared.0.len).sum();
                    let what = count(blocks, "block belongs", "blocks belong");
                    let what = format!("{what} to something else, too; copied");
                    plan.trouble(off, true, what);
                    plan.rebuild = true;
                    shared = twice;
                }
            }
            // Nodes, leaves and targets get new places if the old ones cannot be had.
            let meta = plan.meta.clone();
            let had: Vec<u64> = meta
                .iter()
                .copied()
                .take_while(|&start| !plan.rebuild && self.claim(BlockRun { start, len: 1 }))
                .collect();
            if had.len() < meta.len() {
                if !plan.rebuild {
                    plan.trouble(
                        off,
                        false,
                        "blocks of the tree belong to something else, too; moved",
                    );
                    plan.rebuild = true;
                }
                had.iter().for_each(|&block| self.used.put(block, false));
            }
        }
        for trouble in std::mem::take(&mut plan.troubles) {
            self.fault(ino, trouble.off, trouble.loss, trouble.what);
        }
        if no_target {
            return Ok(false);
        }
        self.know(&plan);
        self.volume.store(off, &mut plan.inode)?;
        if !plan.attributes.is_empty() {
            self.attributes.insert(ino, plan.attributes);
        }
        if plan.rebuild {
            let remake = Remake {
                content: plan.content,
                attribute_blocks: plan.attribute_blocks.len() as u64,
                shared,
            };
            self.remake.insert(ino, remake);
        }
        Ok(true)
    }

    /// Claims what is free of the extents; the rest belongs to others.
    fn divide(&mut self, extents: &[Extent]) -> (Vec<Extent>, Vec<Shared>) {
        let mut kept: Vec<Extent> = Vec::new();
        let mut shared: Vec<Shared> = Vec::new();
        for extent in extents {
            for at in 0..extent.len {
                let one = Extent {
                    lblock: extent.lblock + at,
                    block: extent.block + at,
                    len: 1,
                    unwritten: extent.unwritten,
                };
                let run = BlockRun {
                    start: one.block,
                    len: 1,
                };
                if self.claim(run) {
                    match kept
                        .last_mut()
                        .and_then(|last| Some((last.join(&one)?, last)))
                    {
                        Some((joined, last)) => *last = joined,
                        None => kept.push(one),
                    }
                } else if !one.unwritten {
                    match shared
                        .last_mut()
                        .and_then(|last| Some((last.0.join(&one)?, last)))
                    {
                        Some((joined, last)) => last.0 = joined,
                        None => shared.push(Shared(one)),
                    }
                } else {
                    // It reads as zeroes, as a hole does.
                    shared.push(Shared(Extent { len: 0, ..one }));
                }
            }
        }
        (kept, shared)
    }

    /// Makes sure that there is a root directory.
    fn root(&mut self) -> Result {
        let ino = self.geometry.root_ino;
        if self.info.get(&ino).is_none_or(|info| !info.is_dir()) {
            // One that no mark speaks of may be there all the same.
            if !self.info.contains_key(&ino) {
                self.take(ino)?;
            }
        }
        let off = inode_offset(ino);
        if self.info.get(&ino).is_none_or(|info| !info.is_dir()) {
            self.fault(ino, off, true, "no root directory; an empty one is made");
            self.give_up(ino)?;
            self.make_dir(ino, ino)?;
        }
        let mut inode: Inode = self.volume.plain(off)?;
        let on_list = inode.is_orphan();
        if inode.parent.get() != ino || on_list {
            self.fault(
                ino,
                off,
                false,
                "root directory is not its own parent; corrected",
            );
            inode.parent.set(ino);
            inode.flags.set(0);
            inode.orphan_next.set(0);
            inode.orphan_prev.set(0);
            self.volume.store(off, &mut inode)?;
        }
        if let Some(info) = self.info.get_mut(&ino) {
            info.reached = true;
            info.orphan = false;
            info.parent = ino;
        }
        Ok(())
    }

    /// Takes the blocks of an inode away, because it becomes another.
    fn give_up(&mut self, ino: u64) -> Result {
        if self.info.remove(&ino).is_none() {
            return Ok(());
        }
        let inode: Inode = self.volume.plain(inode_offset(ino))?;
        let plan = examine::examine(self.volume, inode, true)?;
        let runs: Vec<BlockRun> = match self.remake.remove(&ino) {
            Some(remake) => {
                let extents = match remake.content {
                    Content::File(extents) => extents,
                    _ => Vec::new(),
                };
                let contents = extents.iter().map(|extent| BlockRun {
                    start: extent.block,
                    len: extent.len,
                });
                // Attributes stay where they are when the rest is made anew.
                let attributes = plan.attribute_blocks.iter();
                let attributes = attributes.take(remake.attribute_blocks as usize);
                contents
                    .chain(attributes.map(|&start| BlockRun { start, len: 1 }))
                    .collect()
            }
            None => Self::runs(&plan),
        };
        for run in runs {
            (run.start..run.start + run.len).for_each(|block| self.used.put(block, false));
        }
        Ok(())
    }

    /// The names in a directory, as they are or will be.
    pub fn names_of(&self, ino: u64) -> Result<Vec<DirName>> {
        if let Some(Remake {
            content: Content::Dir(names),
            ..
        }) = self.remake.get(&ino)
        {
            return Ok(names.clone());
        }
        let inode: Inode = self.volume.plain(inode_offset(ino))?;
        match examine::examine(self.volume, inode, true)?.content {
            Content::Dir(names) => Ok(names),
            _ => Ok(Vec::new()),
        }
    }

    /// Gives a directory other names, in a tree made anew.
    pub fn set_names(&mut self, ino: u64, names: Vec<DirName>) -> Result {
        let attribute_blocks = match self.remake.get(&ino) {
            Some(remake) => remake.attribute_blocks,
            None => {
                let inode: Inode = self.volume.plain(inode_offset(ino))?;
                let plan = examine::examine(self.volume, inode, true)?;
                plan.meta
                    .iter()
                    .for_each(|&block| self.used.put(block, false));
                plan.attribute_blocks.len() as u64
            }
        };
        let remake = Remake {
            content: Content::Dir(names),
            attribute_blocks,
            shared: Vec::new(),
        };
        self.remake.insert(ino, remake);
        Ok(())
    }

    /// Fills in the paths of the inodes that something was wrong with.
    fn paths(&mut self) {
        let inos: BTreeSet<u64> = self
            .faults
            .iter()
            .map(|fault| fault.ino)
            .take(1000)
            .collect();
        let mut names = BTreeMap::new();
        let paths: BTreeMap<u64, Option<String>> = inos
            .into_iter()
            .map(|ino| (ino, self.path(ino, &mut names)))
            .collect();
        for fault in &mut self.faults {
            if let Some(path) = paths.get(&fault.ino) {
                fault.path.clone_from(path);
            }
        }
    }

    /// The path of an inode. `names` holds those in the directories that were on the way already.
    fn path(&self, ino: u64, names: &mut BTreeMap<u64, BTreeMap<u64, Vec<u8>>>) -> Option<String> {
        let root = self.geometry.root_ino;
        let mut path = String::new();
        let mut at = ino;
        // No directory is deeper than there are inodes; nobody reads more than this.
        for _ in 0..64 {
            if at == root {
                return Some(if path.is_empty() {
                    "/".to_owned()
                } else {
                    path
                });
            }
            let parent = self.info.get(&at)?.parent;
            let names = match names.entry(parent) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let mut first = BTreeMap::new();
                    for name in self.names_of(parent).ok()? {
                        first.entry(name.found.ino).or_insert(name.bytes);
                    }
                    entry.insert(first)
                }
            };
            let name = names.get(&at)?;
            path = format!("/{}{path}", crate::report::printable(name));
            at = parent;
        }
        Some(format!("...{path}"))
    }
}
