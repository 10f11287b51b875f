// SPDX-License-Identifier: GPL-2.0

//! Transactions.
//!
//! A [`Tx`] keeps copies of the objects that it reads in the journal's arena, and a list of changes
//! of the bitmaps. Its changes are visible to itself only before [`Tx::commit`]. If it is dropped
//! instead, nothing has changed and the blocks that it allocated are free again.
//!
//! After an error the transaction may hold half an operation: it must be dropped.

use zerocopy::{
    little_endian::{
        U32,
        U64, //
    },
    FromBytes, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use super::{
    bitmap::{
        self,
        Bits, //
    },
    journal::{
        self,
        State,
        LINE, //
    },
    leaf::LeafEdit,
    persist::{
        Durable,
        Flushed,
        Fresh, //
    },
    run::BlockRun,
    space::{
        Claim,
        Request,
        SpaceMut, //
    },
    volume::Reader,
    Medium,
    Volume, //
};
use crate::ondisk::{
    header::Object,
    inode::InodeHead,
    inode_offset,
    leaf::Leaf,
    node::{
        Entry,
        Found,
        Node, //
    },
    offset_of,
    record,
    status::{
        Status,
        STATUS, //
    },
    xattr,
    Error,
    Geometry,
    Inode,
    Result,
    BLOCK_SIZE,
    INODE_SIZE,
    INODE_SLOTS, //
};

/// Objects that a transaction can hold.
const SLOTS: usize = 96;

/// Runs of bitmap bits that a transaction can change.
const CHANGES: usize = 160;

/// Damage of a block that is free, or being freed, but in the mapping of a file.
pub const MAPPED: &str = "a file maps a block that is free or being freed";

/// Objects of less than a block that an operation may hold in addition to the needs of its steps:
/// the status, inodes, headers of inode blocks.
const SMALL: usize = 10;

/// Runs that an operation may change in addition: an inode block.
const SMALL_CHANGES: usize = 4;

/// Upper bound of what a step takes of a transaction, apart from a few small objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// Objects that fill a block.
    pub(super) blocks: usize,
    /// Runs of bitmap bits.
    pub(super) changes: usize,
}

impl Need {
    /// Returns whether `self` is at most `before` and `need` together.
    pub(super) fn is_within(&self, before: Need, need: Need) -> bool {
        self.blocks <= before.blocks + need.blocks + SMALL
            && self.changes <= before.changes + need.changes
    }
}

/// Returns the most bytes of the log that `need` can take.
const fn log_need(need: Need) -> u64 {
    need.blocks as u64 * journal::bound(BLOCK_SIZE)
        + SMALL as u64 * journal::bound(INODE_SIZE)
        + (need.changes + SMALL_CHANGES) as u64 * journal::RUN_BOUND
}

/// Returns the bytes of the arena that the objects of `need` take.
const fn arena_need(need: Need) -> usize {
    need.blocks * BLOCK_SIZE as usize + SMALL * INODE_SIZE as usize
}

// A transaction that holds nothing yet has room for each step, and for each operation that is not
// divided into steps. The largest is a rename in directories with trees of maximal depth, of which
// each node is split or freed.
const _: () = {
    let largest = Need {
        blocks: 56,
        changes: 100,
    };
    let tables = SLOTS * size_of::<Slot>() + CHANGES * size_of::<Change>();
    assert!(largest.blocks + SMALL <= SLOTS);
    assert!(largest.changes + SMALL_CHANGES <= CHANGES);
    assert!(log_need(largest) <= record::BLOCKS_MIN * BLOCK_SIZE - record::HEADER);
    assert!(arena_need(largest) <= (journal::ARENA_BYTES - MORE - tables) / 2);
};

/// Bytes that the record of all objects and changes takes in addition to the objects.
const MORE: usize = (journal::WRITER
    + SLOTS as u64 * journal::bound(0)
    + CHANGES as u64 * journal::RUN_BOUND) as usize;

/// The object differs from the medium, or may.
const DIRTY: u32 = 1 << 0;

/// The object is in a block that is not referenced yet: it is stored before the log is.
const PLACED: u32 = 1 << 1;

/// The object's block was freed: it must not be written.
const GONE: u32 = 1 << 2;

/// Only lines in which the object changed are noted.
const NOTED: u32 = 1 << 3;

/// A copy of an object.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Slot {
    /// Byte offset on the medium.
    off: U64,
    /// Offset in the arena.
    at: U32,
    len: U32,
    /// Bytes under the checksum.
    sealed: U32,
    flags: U32,
    /// The lines in which a [`DIRTY`] object differs from the medium, or may.
    lines: U64,
}

impl Slot {
    /// Notes a change of a part of the object, whose lines the caller adds to `lines`.
    fn note_part(&mut self) {
        let noted = if self.flags.get() & DIRTY == 0 {
            NOTED
        } else {
            0
        };
        self.flags.set(self.flags.get() | DIRTY | noted);
        // The first line has the checksum.
        self.lines.set(self.lines.get() | 1);
    }
}

/// Returns the mask of all lines of an object.
const fn all_lines<T: Object>() -> u64 {
    const { assert!(size_of::<T>() % LINE == 0 && size_of::<T>() / LINE <= 64) };
    !0 >> (64 - size_of::<T>() / LINE)
}

/// A change of a bitmap.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Change {
    start: U64,
    len: U64,
    /// One of the kinds of [`record`].
    kind: U32,
    pad: U32,
}

impl Change {
    fn run(&self) -> BlockRun {
        BlockRun {
            start: self.start.get(),
            len: self.len.get(),
        }
    }
}

/// The arena, divided into its uses.
struct Memory<'a> {
    slots: &'a mut [Slot],
    changes: &'a mut [Change],
    objects: &'a mut [u8],
    /// For the log record.
    record: &'a mut [u8],
}

impl<'a> Memory<'a> {
    fn divide(arena: &'a mut [u8]) -> Result<Self> {
        let (slots, rest) =
            <[Slot]>::mut_from_prefix_with_elems(arena, SLOTS).map_err(|_| Error::Invalid)?;
        let (changes, rest) =
            <[Change]>::mut_from_prefix_with_elems(rest, CHANGES).map_err(|_| Error::Invalid)?;
        // The record may hold all objects unchanged, and all changes.
        let objects = rest.len().saturating_sub(MORE) / 2;
        let (objects, record) = rest.split_at_mut(objects);
        Ok(Memory {
            slots,
            changes,
            objects,
            record,
        })
    }
}

/// A transaction.
///
/// Locks: the journal lock, for its whole life; the inode locks named in [the overview](super).
#[must_use = "a transaction that is not committed changes nothing"]
pub struct Tx<'a, M: Medium> {
    volume: &'a Volume<M>,
    state: &'a mut State,
    memory: Memory<'a>,
    space: SpaceMut<'a>,
    slots: usize,
    changes: usize,
    used: usize,
    /// Upper bound of the size of the log record.
    log_bytes: u64,
    /// Free blocks that it may use.
    claim: Claim,
    /// Something outside the log has been stored and flushed.
    stored: bool,
    committed: bool,
}

impl<'a, M: Medium> Tx<'a, M> {
    pub(super) fn new(
        volume: &'a Volume<M>,
        state: &'a mut State,
        arena: &'a mut [u8],
        space: SpaceMut<'a>,
    ) -> Result<Self> {
        Ok(Tx {
            volume,
            state,
            memory: Memory::divide(arena)?,
            space,
            slots: 0,
            changes: 0,
            used: 0,
            log_bytes: 0,
            claim: Claim::Ordinary,
            stored: false,
            committed: false,
        })
    }

    /// Returns the volume that is being changed. Reads through it do not see this transaction's
    /// changes.
    pub fn volume(&self) -> &'a Volume<M> {
        self.volume
    }

    /// Returns inode `ino`. The number may be any.
    ///
    /// # Errors
    /// [`Error::Stale`] if no inode of that number is in use.
    pub fn inode(&mut self, ino: u64) -> Result<&Inode> {
        self.check_inode(ino)?;
        let inode = self.object::<Inode>(inode_offset(ino))?;
        inode.check_number(ino)?;
        Ok(inode)
    }

    /// Returns inode `ino` for changes. Locks: its inode lock, exclusive.
    pub fn inode_mut(&mut self, ino: u64) -> Result<&mut Inode> {
        self.check_inode(ino)?;
        let inode = self.object_mut::<Inode>(inode_offset(ino))?;
        inode.check_number(ino)?;
        Ok(inode)
    }

    fn check_inode(&mut self, ino: u64) -> Result {
        // An inode that this transaction holds is in use, even if it is not on the medium yet.
        if ino < self.volume.geometry().blocks * INODE_SLOTS
            && self.find(inode_offset(ino)).is_some()
        {
            return Ok(());
        }
        let known =
            self.space.is_inode_block(ino / INODE_SLOTS) && self.volume.inode_in_use(ino)?;
        known.then_some(()).ok_or(Error::Stale)
    }

    /// Allocates blocks for this transaction.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub fn alloc_blocks(&mut self, request: Request) -> Result<BlockRun> {
        self.need_change()?;
        let run = self.space.alloc(request, self.claim);
        let run = run.ok_or(Error::NoSpace)?;
        self.change(record::BLOCKS_USED, run)?;
        self.check_unmapped(run)?;
        Ok(run)
    }

    /// Fails if a block that is free, or being freed, is in the mapping of a file: the image gives
    /// it two owners, or none. Blocks of a file are removed from its mapping before they are freed.
    fn check_unmapped(&self, run: BlockRun) -> Result {
        if self.volume.medium().is_mapped(run.start, run.len) {
            return Err(Error::Corrupt(MAPPED));
        }
        Ok(())
    }

    /// Sets the free blocks that this may use from now on, and returns the previous claim.
    pub fn claim(&mut self, claim: Claim) -> Claim {
        core::mem::replace(&mut self.claim, claim)
    }

    /// Allocates blocks that were taken outside a transaction.
    pub(super) fn take_over(&mut self, run: BlockRun) -> Result {
        if !self.space.all_used(run) {
            return Err(Error::Invalid);
        }
        self.change(record::BLOCKS_USED, run)
    }

    /// Frees blocks. They can be allocated again after the commit.
    pub fn free_blocks(&mut self, run: BlockRun) -> Result {
        if run.len == 0 || !self.space.all_used(run) {
            return Err(Error::Corrupt("freeing blocks that are free"));
        }
        self.check_unmapped(run)?;
        self.change(record::BLOCKS_FREE, run)?;
        self.forget(offset_of(run.start), run.len * BLOCK_SIZE);
        Ok(())
    }

    /// Stores zeroes into blocks that this transaction has allocated. They are durable before the
    /// commit.
    pub fn zero_blocks(&mut self, run: BlockRun) -> Result {
        let (off, len) = (offset_of(run.start), run.len * BLOCK_SIZE);
        self.volume.medium().zero(off, len)?;
        self.volume.medium().flush(off, len)?;
        self.stored = true;
        Ok(())
    }

    /// Notes that the caller has stored to blocks that this transaction has allocated, and flushed
    /// them. They must be durable before the commit.
    pub fn blocks_stored(&mut self) {
        self.stored = true;
    }

    /// Returns whether half of the transaction's room is used: optional changes should be skipped.
    pub(super) fn is_half_full(&self) -> bool {
        self.slots > SLOTS / 2
            || self.changes > CHANGES / 2
            || self.used > self.memory.objects.len() / 2
            || self.log_bytes > record::capacity(self.volume.geometry()) / 2
    }

    /// Returns whether a step with this need fits. A new transaction has room for every step.
    pub(super) fn has_room(&self, need: Need) -> bool {
        self.slots + need.blocks + SMALL <= SLOTS
            && self.changes + need.changes + SMALL_CHANGES <= CHANGES
            && self.used + arena_need(need) <= self.memory.objects.len()
            && self.log_bytes + log_need(need) <= record::capacity(self.volume.geometry())
    }

    /// Returns what the transaction has taken so far; all objects count as blocks.
    pub(super) fn taken(&self) -> Need {
        Need {
            blocks: self.slots,
            changes: self.changes,
        }
    }

    /// Returns whether to end the transaction before a step with this need: the step may not fit,
    /// and blocks were freed or allocated, so the next transaction makes progress.
    pub(super) fn is_done_before(&self, need: Need) -> bool {
        self.changes > 0 && !self.has_room(need)
    }

    pub(super) fn space(&mut self) -> &mut SpaceMut<'a> {
        &mut self.space
    }

    pub(crate) fn status(&mut self) -> Result<&Status> {
        self.object(STATUS)
    }

    pub(super) fn status_mut(&mut self) -> Result<&mut Status> {
        self.object_mut(STATUS)
    }

    pub(super) fn inode_head(&mut self, block: u64) -> Result<&InodeHead> {
        self.check_inode_block(block)?;
        self.object(offset_of(block))
    }

    pub(super) fn inode_head_mut(&mut self, block: u64) -> Result<&mut InodeHead> {
        self.check_inode_block(block)?;
        self.object_mut(offset_of(block))
    }

    fn check_inode_block(&self, block: u64) -> Result {
        self.space
            .is_inode_block(block)
            .then_some(())
            .ok_or(Error::Stale)
    }

    pub(super) fn mark_inode_block(&mut self, block: u64) -> Result {
        self.change(
            record::INODES_HERE,
            BlockRun {
                start: block,
                len: 1,
            },
        )?;
        self.space.set_inode_block(block, true);
        Ok(())
    }

    pub(super) fn free_inode_block(&mut self, block: u64) -> Result {
        let run = BlockRun {
            start: block,
            len: 1,
        };
        self.change(record::INODES_GONE, run)?;
        self.space.hint(block, false);
        self.free_blocks(run)
    }

    /// Allocates one block of metadata.
    pub(super) fn alloc_meta(&mut self) -> Result<u64> {
        self.need_change()?;
        let start = self.space.alloc_meta(self.claim).ok_or(Error::NoSpace)?;
        let run = BlockRun { start, len: 1 };
        self.change(record::BLOCKS_USED, run)?;
        self.check_unmapped(run)?;
        Ok(start)
    }

    /// Allocates one block of metadata for inode `ino`.
    pub(super) fn alloc_for(&mut self, ino: u64) -> Result<u64> {
        let block = self.alloc_meta()?;
        self.inode_mut(ino)?.add_blocks(1)?;
        Ok(block)
    }

    /// Frees one block of metadata of inode `ino`.
    pub(super) fn free_for(&mut self, ino: u64, block: u64) -> Result {
        self.free_blocks(BlockRun {
            start: block,
            len: 1,
        })?;
        self.inode_mut(ino)?.add_blocks(-1)
    }

    /// Returns a tree node of inode `owner`.
    pub(super) fn node_peek(&mut self, block: u64, owner: u64) -> Result<&Node> {
        self.check_block(block)?;
        let node = self.object::<Node>(offset_of(block))?;
        node.head.check_owner(owner)?;
        Ok(node)
    }

    /// Returns a tree node of inode `owner` for changes, and the mask to note changed lines in.
    pub(super) fn node_edit(&mut self, block: u64, owner: u64) -> Result<(&mut Node, &mut U64)> {
        self.check_block(block)?;
        let (slot, node) = self.open::<Node>(offset_of(block))?;
        node.head.check_owner(owner)?;
        slot.note_part();
        Ok((node, &mut slot.lines))
    }

    /// Returns a leaf of directory `owner`.
    pub(super) fn leaf(&mut self, block: u64, owner: u64) -> Result<&Leaf> {
        self.check_block(block)?;
        let leaf = self.object::<Leaf>(offset_of(block))?;
        leaf.head.count(owner)?;
        Ok(leaf)
    }

    /// Returns a leaf of directory `owner` for changes.
    pub(super) fn leaf_mut(&mut self, block: u64, owner: u64) -> Result<&mut Leaf> {
        self.check_block(block)?;
        let leaf = self.object_mut::<Leaf>(offset_of(block))?;
        leaf.head.count(owner)?;
        Ok(leaf)
    }

    /// Returns a leaf of directory `owner` for changes of a part of it.
    pub(super) fn leaf_edit(&mut self, block: u64, owner: u64) -> Result<LeafEdit<'_>> {
        self.check_block(block)?;
        let (slot, leaf) = self.open::<Leaf>(offset_of(block))?;
        leaf.head.count(owner)?;
        slot.note_part();
        Ok(LeafEdit::new(leaf, &mut slot.lines))
    }

    /// Returns a block of attributes for changes.
    pub(super) fn attributes_mut(&mut self, block: u64) -> Result<&mut xattr::Attributes> {
        self.check_block(block)?;
        self.object_mut(offset_of(block))
    }

    /// Checks that `block` can hold a node or a leaf. It holds no inodes, so objects in the arena
    /// do not overlap.
    fn check_block(&self, block: u64) -> Result {
        if self.volume.geometry().in_data(block, 1) && !self.space.is_inode_block(block) {
            Ok(())
        } else {
            Err(Error::Corrupt("pointer to a block that cannot be metadata"))
        }
    }

    fn find(&self, off: u64) -> Option<usize> {
        self.memory
            .slots
            .iter()
            .take(self.slots)
            .position(|slot| slot.off.get() == off && slot.flags.get() & GONE == 0)
    }

    /// Makes room for an object.
    fn reserve<T: Object>(&mut self, off: u64) -> Result<usize> {
        let len = size_of::<T>();
        let log_bytes = self.log_bytes + journal::bound(len as u64);
        let slot = self.memory.slots.get_mut(self.slots).ok_or(Error::TxFull)?;
        if len > self.memory.objects.len() - self.used
            || log_bytes > record::capacity(self.volume.geometry())
        {
            return Err(Error::TxFull);
        }
        *slot = Slot {
            off: U64::new(off),
            at: U32::new(self.used as u32),
            len: U32::new(len as u32),
            sealed: U32::new(T::SEALED as u32),
            flags: U32::new(0),
            lines: U64::ZERO,
        };
        Ok(self.slots)
    }

    /// Keeps the object that [`Tx::reserve`] has reserved room for.
    fn keep(&mut self, len: usize) {
        self.slots += 1;
        self.used += len;
        self.log_bytes += journal::bound(len as u64);
    }

    fn held(&mut self, index: usize) -> Result<(&mut Slot, &mut [u8])> {
        let slot = self.memory.slots.get_mut(index).ok_or(Error::TxFull)?;
        let at = slot.at.get() as usize;
        let bytes = self
            .memory
            .objects
            .get_mut(at..at + slot.len.get() as usize)
            .ok_or(Error::TxFull)?;
        Ok((slot, bytes))
    }

    /// Returns the copy of the object at `off`, and makes it if there is none.
    fn open<T: Object>(&mut self, off: u64) -> Result<(&mut Slot, &mut T)> {
        let index = match self.find(off) {
            Some(index) => index,
            None => {
                let volume = self.volume;
                let index = self.reserve::<T>(off)?;
                let (_, bytes) = self.held(index)?;
                volume.medium().read(off, bytes)?;
                volume.verify_copy::<T>(off, bytes)?;
                if !T::ref_from_bytes(bytes).is_ok_and(T::sane) {
                    return Err(Error::Corrupt(T::DAMAGED));
                }
                self.keep(size_of::<T>());
                index
            }
        };
        let (slot, bytes) = self.held(index)?;
        // If a place is used for two objects, their lengths or their magics differ.
        let magic = bytes.get(..4).is_some_and(|m| m == T::MAGIC.to_le_bytes());
        match T::mut_from_bytes(bytes) {
            Ok(object) if magic => Ok((slot, object)),
            _ => Err(Error::Corrupt(T::DAMAGED)),
        }
    }

    fn object<T: Object>(&mut self, off: u64) -> Result<&T> {
        self.open::<T>(off).map(|(_, object)| &*object)
    }

    fn object_mut<T: Object>(&mut self, off: u64) -> Result<&mut T> {
        let (slot, object) = self.open::<T>(off)?;
        slot.flags.set(slot.flags.get() & !NOTED | DIRTY);
        slot.lines.set(all_lines::<T>());
        Ok(object)
    }

    /// Returns an object of zeroes in a place whose contents are durable and do not matter.
    pub(super) fn fresh<T: Object>(&mut self, off: u64) -> Result<&mut T> {
        self.create::<T>(off, DIRTY)
    }

    /// Returns an object of zeroes in a block that this transaction has allocated.
    pub(super) fn place<T: Object>(&mut self, block: u64) -> Result<&mut T> {
        self.create::<T>(offset_of(block), DIRTY | PLACED)
    }

    fn create<T: Object>(&mut self, off: u64, flags: u32) -> Result<&mut T> {
        // This transaction may have freed an object in this place.
        self.forget(off, size_of::<T>() as u64);
        let index = self.reserve::<T>(off)?;
        self.keep(size_of::<T>());
        let (slot, bytes) = self.held(index)?;
        slot.flags.set(flags);
        slot.lines.set(all_lines::<T>());
        bytes.fill(0);
        if let Some(magic) = bytes.get_mut(..4) {
            magic.copy_from_slice(&T::MAGIC.to_le_bytes());
        }
        T::mut_from_bytes(bytes).map_err(|_| Error::Corrupt(T::DAMAGED))
    }

    /// Copies the object in block `from` to block `to`, which this transaction has allocated.
    pub(super) fn duplicate<T: Object>(&mut self, from: u64, to: u64) -> Result<&mut T> {
        self.object::<T>(offset_of(from))?;
        self.place::<T>(to)?;
        let source = self.arena_offset(offset_of(from))?;
        let target = self.arena_offset(offset_of(to))?;
        let end = source + size_of::<T>();
        if target < end {
            return Err(Error::Corrupt("block allocated twice"));
        }
        // The copy is after the original in the arena.
        self.memory.objects.copy_within(source..end, target);
        self.object_mut::<T>(offset_of(to))
    }

    fn arena_offset(&self, off: u64) -> Result<usize> {
        self.find(off)
            .and_then(|index| self.memory.slots.get(index))
            .map(|slot| slot.at.get() as usize)
            .ok_or(Error::TxFull)
    }

    /// Drops the copies of objects in a range that is being freed: they are not read again, and
    /// another object may be made there in this transaction.
    pub(super) fn forget(&mut self, off: u64, len: u64) {
        for slot in self.memory.slots.iter_mut().take(self.slots) {
            let at = slot.off.get();
            if at >= off && at - off < len {
                slot.flags.set(GONE);
            }
        }
    }

    fn need_change(&self) -> Result {
        let log_bytes = self.log_bytes + journal::RUN_BOUND;
        if self.changes < CHANGES && log_bytes <= record::capacity(self.volume.geometry()) {
            Ok(())
        } else {
            Err(Error::TxFull)
        }
    }

    fn change(&mut self, kind: u32, run: BlockRun) -> Result {
        // A run that continues the last one joins it.
        if let Some(last) = self.changes.checked_sub(1) {
            if let Some(last) = self.memory.changes.get_mut(last) {
                if last.kind.get() == kind && last.start.get() + last.len.get() == run.start {
                    last.len.set(last.len.get() + run.len);
                    return Ok(());
                }
            }
        }
        self.need_change()?;
        let slot = self
            .memory
            .changes
            .get_mut(self.changes)
            .ok_or(Error::TxFull)?;
        *slot = Change {
            start: U64::new(run.start),
            len: U64::new(run.len),
            kind: U32::new(kind),
            pad: U32::new(0),
        };
        self.changes += 1;
        self.log_bytes += journal::RUN_BOUND;
        Ok(())
    }

    /// Makes the changes durable, all or none, and applies them in place.
    ///
    /// # Errors
    /// [`Error::Aborted`] if an earlier commit failed. Any other error aborts the journal: whether
    /// the changes are durable is then known only after the next recovery.
    pub fn commit(mut self) -> Result {
        if self.state.is_aborted() {
            return Err(Error::Aborted);
        }
        let result = self.write();
        match result {
            Ok(()) => self.publish(),
            Err(_) => self.state.abort(),
        }
        result
    }

    fn write(&mut self) -> Result {
        let ready = self.write_placed()?;
        let volume = self.volume;
        let mut log = journal::Writer::new(volume, core::mem::take(&mut self.memory.record))?;
        for index in 0..self.slots {
            let (slot, bytes) = self.held(index)?;
            let flags = slot.flags.get();
            if flags & (DIRTY | PLACED | GONE) == DIRTY {
                let noted = flags & NOTED != 0;
                log.object(slot.off.get(), bytes, slot.lines.get(), noted)?;
            }
        }
        for change in self.changes() {
            log.run(change.kind.get(), change.run())?;
        }
        self.log_sums(&mut log)?;
        if log.is_empty() {
            return Ok(());
        }
        let written = log.finish(ready, self.state)?;
        let home = written.apply()?.fence();
        self.state.settled(home);
        Ok(())
    }

    fn changes(&self) -> &[Change] {
        self.memory.changes.get(..self.changes).unwrap_or(&[])
    }

    /// Logs the new checksums of the groups that the runs cover in part. Verifies the old ones
    /// first: otherwise damage since the mount would get a good checksum.
    fn log_sums(&self, log: &mut journal::Writer<'_, M>) -> Result {
        let changes = self.changes();
        for (index, change) in changes.iter().enumerate() {
            for group in bitmap::partial_groups(change.run()) {
                let mut earlier = changes.iter().take(index);
                if earlier.any(|c| bitmap::partial_groups(c.run()).any(|g| g == group)) {
                    continue;
                }
                let mut bits = Bits::read(self.volume, group)?;
                for change in changes {
                    if let Some((plane, set)) = record::bitmap_change(change.kind.get()) {
                        bits.mark(group, plane, change.run(), set);
                    }
                }
                log.sums(group, bits.sum(self.volume, group))?;
            }
        }
        Ok(())
    }

    /// Computes checksums, and stores the objects that are in new blocks.
    fn write_placed(&mut self) -> Result<Durable<Fresh>> {
        let volume = self.volume;
        let mut stored = self.stored;
        for index in 0..self.slots {
            let (slot, bytes) = self.held(index)?;
            let flags = slot.flags.get();
            if flags & GONE != 0 || flags & DIRTY == 0 {
                continue;
            }
            let off = slot.off.get();
            volume.reseal(off, slot.sealed.get() as usize, bytes)?;
            if flags & PLACED != 0 {
                volume.medium().store(off, bytes)?;
                stored = true;
            }
        }
        Ok(if stored {
            Flushed::<M, Fresh>::new(volume.medium()).fence()
        } else {
            Durable::nothing()
        })
    }

    /// Makes the blocks that this transaction freed available.
    fn publish(&mut self) {
        self.committed = true;
        for change in self.memory.changes.iter().take(self.changes) {
            let run = change.run();
            match change.kind.get() {
                record::BLOCKS_FREE => {
                    self.volume.medium().forget_verified(run.start, run.len);
                    self.space.release(run);
                }
                record::INODES_GONE => self.space.set_inode_block(run.start, false),
                _ => {}
            }
        }
    }
}

impl<M: Medium> Drop for Tx<'_, M> {
    fn drop(&mut self) {
        // After an abort there are no more allocations, and the contents of the medium are unknown.
        if self.committed || self.state.is_aborted() {
            return;
        }
        for change in self.memory.changes.iter().take(self.changes) {
            let run = change.run();
            match change.kind.get() {
                record::BLOCKS_USED => self.space.release(run),
                record::INODES_HERE => self.space.set_inode_block(run.start, false),
                _ => {}
            }
        }
    }
}

impl<M: Medium> Reader for Tx<'_, M> {
    fn geometry(&self) -> &Geometry {
        self.volume.geometry()
    }

    fn verify<T: Object>(&mut self, block: u64) -> Result {
        self.check_block(block)?;
        // An object that is not held is read on the medium: reading many blocks must not fill the
        // arena.
        match self.find(offset_of(block)) {
            Some(_) => self.object::<T>(offset_of(block)).map(drop),
            None => self.volume.verify_block::<T>(block),
        }
    }

    fn bytes(&mut self, block: u64, at: usize, buf: &mut [u8]) -> Result {
        let Some(index) = self.find(offset_of(block)) else {
            return self.volume.medium().read(offset_of(block) + at as u64, buf);
        };
        let (_, bytes) = self.held(index)?;
        let bytes = bytes.get(at..).and_then(|bytes| bytes.get(..buf.len()));
        buf.copy_from_slice(bytes.ok_or(Error::Corrupt("object shorter than its fields"))?);
        Ok(())
    }

    fn node(&mut self, block: u64, owner: u64, level: u8) -> Result<usize> {
        self.check_block(block)?;
        self.object::<Node>(offset_of(block))?
            .head
            .count(owner, level)
    }

    fn node_entry(&mut self, block: u64, index: usize) -> Result<Entry> {
        self.object::<Node>(offset_of(block))?.entry(index)
    }

    fn node_search(&mut self, block: u64, owner: u64, level: u8, key: i64) -> Result<Found> {
        self.check_block(block)?;
        let node = self.object::<Node>(offset_of(block))?;
        node.head.count(owner, level)?;
        Ok(node.search(key))
    }
}
