// SPDX-License-Identifier: GPL-2.0

//! What the next mount does, on an image that is put back afterwards.

use std::cell::{
    Cell,
    RefCell, //
};

use pinfs_format::{
    crash::Event,
    crc::Checksum,
    journal::{
        self,
        Recovered, //
    },
    mount,
    orphan,
    space,
    Error,
    Journal,
    Medium,
    MountError,
    Result,
    Space,
    Time,
    Volume, //
};
use pinfs_fsck::{
    check,
    Options,
    Outcome,
    Overlay, //
};
use xxhash_rust::xxh64::xxh64;

use crate::{
    memory::{
        put,
        word,
        Change, //
    },
    tree::{
        self,
        Tree, //
    },
};

/// An image that remembers what it held, and can list what is done to it.
pub struct Scratch {
    bytes: RefCell<Vec<u8>>,
    undo: RefCell<Vec<(u64, u64)>>,
    /// What was stored, written back and fenced, if that is wanted.
    events: RefCell<Vec<Event>>,
    record: Cell<bool>,
}

impl Scratch {
    /// Holds `image`.
    pub fn new(image: Vec<u8>) -> Self {
        Scratch {
            bytes: RefCell::new(image),
            undo: RefCell::new(Vec::new()),
            events: RefCell::new(Vec::new()),
            record: Cell::new(false),
        }
    }

    /// Changes the image for good.
    pub fn settle(&self, off: u64, word: u64) {
        put(&mut self.bytes.borrow_mut(), off, word);
    }

    /// Changes the image until [`Scratch::undo`].
    pub fn change(&self, change: &Change) {
        let mut bytes = self.bytes.borrow_mut();
        let mut undo = self.undo.borrow_mut();
        for &(off, new) in change {
            undo.push((off, word(&bytes, off)));
            put(&mut bytes, off, new);
        }
    }

    /// Takes back what was changed since `mark`, which is from [`Scratch::mark`].
    pub fn undo(&self, mark: usize) {
        let mut bytes = self.bytes.borrow_mut();
        for (off, old) in self.undo.borrow_mut().drain(mark..).rev() {
            put(&mut bytes, off, old);
        }
    }

    /// How much could be taken back.
    pub fn mark(&self) -> usize {
        self.undo.borrow().len()
    }

    /// A copy of the image.
    pub fn image(&self) -> Vec<u8> {
        self.bytes.borrow().clone()
    }

    /// Whether to list what is done; what was listed before is returned.
    pub fn record(&self, record: bool) -> Vec<Event> {
        self.record.set(record);
        self.events.take()
    }

    /// Lists no more of what is done.
    pub fn stop(&self) {
        self.record.set(false);
    }

    fn note(&self, event: impl FnOnce() -> Event) {
        if self.record.get() {
            self.events.borrow_mut().push(event());
        }
    }

    fn range(&self, off: u64, len: u64) -> Result<std::ops::Range<usize>> {
        let end = off.checked_add(len).ok_or(Error::Io)?;
        if end > self.size() {
            return Err(Error::Io);
        }
        Ok(off as usize..end as usize)
    }

    fn store(&self, range: std::ops::Range<usize>, fill: impl FnOnce(&mut [u8])) {
        let words = (range.start / 8 * 8..range.end).step_by(8);
        {
            let bytes = self.bytes.borrow();
            let mut undo = self.undo.borrow_mut();
            undo.extend(words.clone().map(|at| (at as u64, word(&bytes, at as u64))));
        }
        fill(&mut self.bytes.borrow_mut()[range]);
        let bytes = self.bytes.borrow();
        for at in words {
            self.note(|| Event::Store {
                off: at as u64,
                word: word(&bytes, at as u64),
            });
        }
    }
}

impl Checksum for Scratch {
    fn crc32c(&self, crc: u32, data: &[u8]) -> u32 {
        // The crate's function inverts before and after; the engine's does not.
        !crc32c::crc32c_append(!crc, data)
    }

    fn xxh64(&self, seed: u64, data: &[u8]) -> u64 {
        xxh64(data, seed)
    }
}

impl Medium for Scratch {
    fn size(&self) -> u64 {
        self.bytes.borrow().len() as u64
    }

    fn read(&self, off: u64, buf: &mut [u8]) -> Result {
        let range = self.range(off, buf.len() as u64)?;
        buf.copy_from_slice(&self.bytes.borrow()[range]);
        Ok(())
    }

    fn write(&self, off: u64, data: &[u8]) -> Result {
        let range = self.range(off, data.len() as u64)?;
        self.store(range, |bytes| bytes.copy_from_slice(data));
        Ok(())
    }

    fn zero(&self, off: u64, len: u64) -> Result {
        let range = self.range(off, len)?;
        self.store(range, |bytes| bytes.fill(0));
        Ok(())
    }

    fn flush(&self, off: u64, len: u64) -> Result {
        self.range(off, len)?;
        self.note(|| Event::Flush { off, len });
        Ok(())
    }

    fn fence(&self) {
        self.note(|| Event::Fence);
    }
}

/// What a mount found.
pub struct Mounted {
    /// The tree.
    pub tree: Tree,
    /// There was a commit to complete, or a file without a name to free.
    pub worked: bool,
}

/// Why there is nothing to be seen.
#[derive(Debug)]
pub enum Failure {
    /// No file system is recognised.
    Refused(MountError),
    /// It is damaged; in words.
    Damaged(String),
}

/// Memory that mounts need, kept for the next.
#[derive(Default)]
pub struct Buffers {
    arena: Vec<u8>,
}

/// Does what a mount does: completes the last commit, marks the file system as in use, frees what has
/// no name. Compare `load()` and `activate()` in `src/fs/super_block.rs`.
pub fn mount(scratch: &Scratch, buffers: &mut Buffers) -> std::result::Result<Mounted, Failure> {
    let volume = Volume::open(scratch).map_err(Failure::Refused)?;
    let mut step = "recovery";
    let mut inner = || -> Result<Mounted> {
        let recovered = journal::recover(&volume)?;
        step = "bitmaps";
        let words = space::words_needed(volume.geometry().blocks);
        let mut space = Space::load(&volume, vec![0; words as usize])?;
        buffers.arena.resize(journal::ARENA_BYTES, 0);
        let mut journal = Journal::new(&volume, &mut buffers.arena[..])?;
        step = "marking it as mounted";
        journal.run(&volume, &mut space, |tx| {
            mount::mounted(tx, Time::default())
        })?;
        step = "files without a name";
        let worked = recovered != Recovered::Nothing || mount::status(&volume)?.has_orphans();
        let mut failed = Ok(());
        orphan::work_off(&mut journal, &volume, &mut space, |_, error| {
            failed = Err(error);
        })?;
        failed?;
        step = "reading the tree";
        let tree = tree::read(&volume)?;
        Ok(Mounted { tree, worked })
    };
    inner().map_err(|error| Failure::Damaged(format!("{step}: {error}")))
}

/// What `fsck.pinfs -f` finds.
pub fn fsck(scratch: &Scratch) -> std::result::Result<(), String> {
    let outcome = check(
        &Overlay::new(scratch),
        Options { force: true },
        &mut |_, _, _| (),
    );
    match outcome.map_err(|error| format!("fsck: {error}"))? {
        Outcome::Checked { faults, .. } if faults.is_empty() => Ok(()),
        Outcome::Checked { faults, .. } | Outcome::NoRoom(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Err(format!("fsck: {}", faults.join("\n      ")))
        }
        Outcome::Clean(_) => Err("fsck did not look".to_owned()),
        Outcome::Refused(why) => Err(format!("fsck: {why}")),
    }
}
