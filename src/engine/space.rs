// SPDX-License-Identifier: GPL-2.0

//! Free space, in memory.
//!
//! While a file system is mounted, allocation uses the bitmaps in memory; the ones on the medium
//! follow with each commit. Blocks that a transaction allocates are marked here at once and
//! released if it is dropped. Blocks that it frees are marked free only after its commit, so that
//! no task stores to them while a crash could still restore their old owner.
//!
//! The unit for huge pages is the *group*, 512 blocks aligned to 2 MiB. Large requests get whole
//! free groups. Small ones fill broken groups, the lowest first, and break another only if there is
//! none. So as files come and go, small requests gather in the low groups and the others become
//! whole again.
//!
//! A file that grows by small appends past a 2 MiB boundary starts a group of its own, as long as
//! whole groups are not scarce: on an aged file system the ends of files would break them all. The
//! last few groups that files started are kept for them as long as other blocks are free. Otherwise
//! two files that grow at the same time would interrupt each other's contiguous runs.
//!
//! Metadata gathers in groups of its own: an inode block is hardly ever freed, and would keep its
//! group broken.
//!
//! The last free blocks are a *reserve*, of one block in 64 and at most [`RESERVE_MAX`]. Freeing a
//! part of an extent, or writing to a part of an unwritten one, may take a tree node, and must not
//! fail because the device is full. [`Claim`] says which operations may use it. The medium does not
//! record the reserve: if it is used up, or was never kept, each of these operations has a way that
//! needs no block.

use core::{
    cmp,
    ops::DerefMut, //
};

use super::{
    bitmap::Bits,
    run::{
        mask,
        BlockRun, //
    },
    Medium,
    Volume, //
};
use crate::ondisk::{
    bitmap::BITS,
    Error,
    Result,
    GROUP_BLOCKS, //
};

/// Broken groups that are searched for a long enough run before one of half the length is taken.
const TRIES: u32 = 8;

/// Broken groups that are searched before anything is taken.
const TRIES_MAX: u32 = 64;

/// Groups started by files that are kept for these files.
const KEPT: usize = 8;

/// No group.
const NONE: u64 = u64::MAX;

/// The most blocks that are kept for [`Claim`]s other than the ordinary one. With nodes that are
/// half full, they suffice to cut unwritten extents into 350,000 parts.
pub const RESERVE_MAX: u64 = 4096;

/// One block in so many is kept.
const RESERVE_SHARE: u64 = 64;

/// Which free blocks a transaction may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// All but the reserve.
    Ordinary,
    /// All but half of the reserve: for a tree node when a part of an unwritten extent is made
    /// written. If there is no block, more of the extent is made written.
    Promised,
    /// All: for a tree node when blocks are freed.
    Freeing,
}

/// The bitmaps of a mounted file system. `S` is the memory, of [`words_needed`] words.
///
/// Locks: the journal lock for everything.
pub struct Space<S> {
    words: S,
    map: Map,
}

/// Returns how many of `blocks` usable blocks are kept.
fn reserve(blocks: u64) -> u64 {
    cmp::min(blocks / RESERVE_SHARE, RESERVE_MAX)
}

/// Returns how many words of memory a [`Space`] for `blocks` blocks needs.
pub const fn words_needed(blocks: u64) -> u64 {
    3 * blocks.div_ceil(BITS) + blocks.div_ceil(GROUP_BLOCKS)
}

/// The numbers for statfs, in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Blocks that data and metadata can use, used or not.
    pub total: u64,
    /// Blocks that are free.
    pub free: u64,
    /// Free blocks that files can have: all but the reserve.
    pub available: u64,
    /// Blocks that hold inodes.
    pub inode_blocks: u64,
    /// Groups that are free as a whole, for huge pages.
    pub free_groups: u64,
}

/// A request for blocks.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Preferred first block.
    pub goal: Option<u64>,
    /// The fewest blocks that are of use.
    pub min: u64,
    /// The most blocks wanted.
    pub max: u64,
    /// Whether to start on a 2 MiB boundary if a group is free and groups are not scarce.
    pub aligned: bool,
}

/// The bitmaps that share the memory.
#[derive(Clone, Copy)]
pub(crate) enum Plane {
    /// Set: the block is in use.
    Used,
    /// Set: the block holds inodes.
    Inodes,
    /// Set: the block holds inodes and one of them may be free. A clear bit is always right.
    Hints,
}

struct Map {
    blocks: u64,
    data_start: u64,
    data_end: u64,
    plane_words: u64,
    groups: u64,
    free: u64,
    /// Free blocks that are kept.
    reserve: u64,
    inode_blocks: u64,
    hints: u64,
    /// Groups of which every block is free.
    whole: u64,
    /// Groups of which some are free.
    broken: u64,
    /// Where a small request looks first: no group below is broken.
    small_group: u64,
    /// Where the next large request looks first.
    large_group: u64,
    /// Where the search for a block with a free inode starts.
    inode_word: u64,
    /// Groups started by files, or [`NONE`].
    kept: [u64; KEPT],
    /// Index of the oldest of the groups in `kept`.
    kept_next: usize,
    /// Group of the last metadata block.
    meta_group: u64,
}

impl<S: DerefMut<Target = [u64]>> Space<S> {
    /// Reads the bitmaps of `volume`, whose journal has been recovered, into `words`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `words` is too short, [`Error::Corrupt`] if the bitmaps contradict
    /// their checksums, the geometry or each other.
    pub fn load<M: Medium>(volume: &Volume<M>, words: S) -> Result<Self> {
        let mut space = Self::unknown(volume, words)?;
        space.view().load(volume)?;
        Ok(space)
    }

    /// Returns a `Space` without known free blocks, for a volume that is only read. `words` are all
    /// zero.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `words` is too short.
    pub fn unknown<M: Medium>(volume: &Volume<M>, words: S) -> Result<Self> {
        let geometry = volume.geometry();
        let blocks = geometry.blocks;
        if (words.len() as u64) < words_needed(blocks) {
            return Err(Error::Invalid);
        }
        Ok(Space {
            words,
            map: Map {
                blocks,
                data_start: geometry.data_start,
                data_end: geometry.data_end,
                plane_words: blocks.div_ceil(BITS),
                groups: blocks.div_ceil(GROUP_BLOCKS),
                free: 0,
                reserve: reserve(geometry.data_end - geometry.data_start),
                inode_blocks: 0,
                hints: 0,
                whole: 0,
                broken: 0,
                small_group: 0,
                large_group: 0,
                inode_word: 0,
                kept: [NONE; KEPT],
                kept_next: 0,
                meta_group: 0,
            },
        })
    }

    /// Returns the numbers for statfs.
    pub fn counts(&self) -> Counts {
        Counts {
            total: self.map.data_end - self.map.data_start,
            free: self.map.free,
            available: self.map.free.saturating_sub(self.map.reserve),
            inode_blocks: self.map.inode_blocks,
            free_groups: self.map.whole,
        }
    }

    /// Takes blocks outside a transaction: they are in use for allocation, and free on the medium.
    pub(super) fn take(&mut self, request: Request) -> Result<BlockRun> {
        let run = self.view().alloc(request, Claim::Ordinary);
        run.ok_or(Error::NoSpace)
    }

    /// Releases blocks that were claimed ([`extents::claim_extent`](super::extents::claim_extent))
    /// and are not needed.
    pub fn give_back(&mut self, run: BlockRun) {
        self.view().release(run);
    }

    pub(crate) fn view(&mut self) -> SpaceMut<'_> {
        SpaceMut {
            words: &mut self.words,
            map: &mut self.map,
        }
    }
}

/// A borrowed [`Space`], without the type of its memory.
pub(crate) struct SpaceMut<'a> {
    words: &'a mut [u64],
    map: &'a mut Map,
}

impl SpaceMut<'_> {
    fn load<M: Medium>(&mut self, volume: &Volume<M>) -> Result {
        self.words.fill(0);
        for group in 0..self.map.groups {
            let bits = Bits::read(volume, group)?;
            let words = bits.used.iter().zip(&bits.inodes);
            for (word, (used, inodes)) in (group * (GROUP_BLOCKS / BITS)..).zip(words) {
                self.set_word(Plane::Used, word, used.get());
                self.set_word(Plane::Inodes, word, inodes.get());
            }
        }

        let m = &self.map;
        for word in 0..m.plane_words {
            // The bits of blocks past the end do not count.
            let valid = mask(word, 0..m.blocks);
            let metadata = mask(word, 0..m.data_start) | mask(word, m.data_end..m.blocks);
            let used = self.word(Plane::Used, word);
            let inodes = self.word(Plane::Inodes, word);
            if used & metadata != metadata {
                return Err(Error::Corrupt("bitmap shows metadata as free"));
            }
            if inodes & !(used & valid & !metadata) != 0 {
                return Err(Error::Corrupt("bitmap shows inodes outside used blocks"));
            }
        }
        for group in 0..self.map.groups {
            let mut free = 0;
            for word in group * (GROUP_BLOCKS / BITS)..(group + 1) * (GROUP_BLOCKS / BITS) {
                let used = self.word(Plane::Used, word) | !mask(word, 0..self.map.blocks);
                self.set_word(Plane::Used, word, used);
                let inodes = self.word(Plane::Inodes, word);
                self.set_word(Plane::Hints, word, inodes);
                self.map.inode_blocks += u64::from(inodes.count_ones());
                free += u64::from(used.count_zeros());
            }
            self.set_group(group, free);
            self.map.free += free;
        }
        self.map.hints = self.map.inode_blocks;
        self.map.large_group = self.map.data_start / GROUP_BLOCKS;
        self.map.meta_group = self.map.large_group;
        Ok(())
    }

    fn index(&self, plane: Plane, word: u64) -> usize {
        let base = match plane {
            Plane::Used => 0,
            Plane::Inodes => self.map.plane_words,
            Plane::Hints => 2 * self.map.plane_words,
        };
        (base + word) as usize
    }

    /// Returns a word of a bitmap. Blocks outside are in use and hold no inodes.
    fn word(&self, plane: Plane, word: u64) -> u64 {
        let outside = match plane {
            Plane::Used => !0,
            Plane::Inodes | Plane::Hints => 0,
        };
        if word >= self.map.plane_words {
            return outside;
        }
        let index = self.index(plane, word);
        self.words.get(index).copied().unwrap_or(outside)
    }

    fn set_word(&mut self, plane: Plane, word: u64, value: u64) {
        if word < self.map.plane_words {
            let index = self.index(plane, word);
            if let Some(slot) = self.words.get_mut(index) {
                *slot = value;
            }
        }
    }

    pub(crate) fn get(&self, plane: Plane, block: u64) -> bool {
        self.word(plane, block / BITS) >> (block % BITS) & 1 != 0
    }

    /// Sets or clears one bit and returns whether that changed it.
    fn put(&mut self, plane: Plane, block: u64, set: bool) -> bool {
        let word = block / BITS;
        let old = self.word(plane, word);
        let bit = 1 << (block % BITS);
        let new = if set { old | bit } else { old & !bit };
        self.set_word(plane, word, new);
        old != new
    }

    fn group_index(&self, group: u64) -> usize {
        (3 * self.map.plane_words + group) as usize
    }

    /// Returns the number of free blocks of a group.
    fn group(&self, group: u64) -> u64 {
        let index = self.group_index(group);
        self.words.get(index).copied().unwrap_or(0)
    }

    fn set_group(&mut self, group: u64, free: u64) {
        let old = self.group(group);
        self.map.whole -= u64::from(old == GROUP_BLOCKS);
        self.map.broken -= u64::from(old != 0 && old != GROUP_BLOCKS);
        self.map.whole += u64::from(free == GROUP_BLOCKS);
        self.map.broken += u64::from(free != 0 && free != GROUP_BLOCKS);
        if free != 0 && free != GROUP_BLOCKS {
            self.map.small_group = cmp::min(self.map.small_group, group);
        }
        let index = self.group_index(group);
        if let Some(slot) = self.words.get_mut(index) {
            *slot = free;
        }
    }

    /// Marks a run used or free. The counts change only for blocks whose state changes.
    fn mark(&mut self, run: BlockRun, used: bool) {
        let end = cmp::min(run.start.saturating_add(run.len), self.map.blocks);
        let mut at = run.start;
        while at < end {
            let group = at / GROUP_BLOCKS;
            let stop = cmp::min(end, (group + 1) * GROUP_BLOCKS);
            if stop - at == GROUP_BLOCKS && self.turn(group, used) {
                at = stop;
                continue;
            }
            let mut changed = 0;
            for word in at / BITS..stop.div_ceil(BITS) {
                let bits = mask(word, at..stop);
                let old = self.word(Plane::Used, word);
                let new = if used { old | bits } else { old & !bits };
                changed += u64::from((old ^ new).count_ones());
                self.set_word(Plane::Used, word, new);
            }
            let free = self.group(group);
            if used {
                self.set_group(group, free - changed);
                self.map.free -= changed;
            } else {
                self.set_group(group, free + changed);
                self.map.free += changed;
            }
            at = stop;
        }
    }

    /// Marks a whole group used or free if all of it is in the other state. Returns whether it was.
    fn turn(&mut self, group: u64, used: bool) -> bool {
        let free = self.group(group);
        if free != if used { GROUP_BLOCKS } else { 0 } {
            return false;
        }
        let first = self.index(Plane::Used, group * (GROUP_BLOCKS / BITS));
        let words = self
            .words
            .get_mut(first..first + (GROUP_BLOCKS / BITS) as usize);
        let Some(words) = words else {
            return false;
        };
        words.fill(if used { !0 } else { 0 });
        self.set_group(group, GROUP_BLOCKS - free);
        if used {
            self.map.free -= GROUP_BLOCKS;
        } else {
            self.map.free += GROUP_BLOCKS;
        }
        true
    }

    /// Returns whether all of `run` is in use and can be freed.
    pub(super) fn all_used(&self, run: BlockRun) -> bool {
        let end = run.start.saturating_add(run.len);
        if run.start < self.map.data_start || end > self.map.data_end {
            return false;
        }
        let mut at = run.start;
        while at < end {
            let group = at / GROUP_BLOCKS;
            if self.group(group) == 0 {
                at = (group + 1) * GROUP_BLOCKS;
                continue;
            }
            let word = at / BITS;
            let bits = mask(word, at..end);
            if self.word(Plane::Used, word) & bits != bits {
                return false;
            }
            at = (word + 1) * BITS;
        }
        true
    }

    /// Makes a run allocatable.
    pub(super) fn release(&mut self, run: BlockRun) {
        self.mark(run, false);
    }

    pub(super) fn is_inode_block(&self, block: u64) -> bool {
        self.get(Plane::Inodes, block)
    }

    /// Notes that `block` holds inodes, or no longer does.
    pub(super) fn set_inode_block(&mut self, block: u64, holds: bool) {
        if self.put(Plane::Inodes, block, holds) {
            if holds {
                self.map.inode_blocks += 1;
            } else {
                self.map.inode_blocks -= 1;
            }
        }
        self.hint(block, holds);
    }

    /// Notes that `block` may have a free inode, or that it has none.
    pub(super) fn hint(&mut self, block: u64, free: bool) {
        if self.put(Plane::Hints, block, free) {
            if free {
                self.map.hints += 1;
            } else {
                self.map.hints -= 1;
            }
        }
    }

    /// Returns an inode block that may have a free inode: `near` if it may, else any.
    pub(super) fn hinted(&mut self, near: u64) -> Option<u64> {
        if self.map.hints == 0 {
            return None;
        }
        if self.get(Plane::Hints, near) {
            return Some(near);
        }
        let words = self.map.plane_words;
        for step in 0..words {
            let word = (self.map.inode_word + step) % words;
            let bits = self.word(Plane::Hints, word);
            if bits != 0 {
                self.map.inode_word = word;
                return Some(word * BITS + u64::from(bits.trailing_zeros()));
            }
        }
        None
    }

    /// Takes free blocks and marks them used.
    ///
    /// The run starts at the goal if that is free and a small request would not break a group.
    /// Otherwise a large or aligned one starts a free group, and a small one comes from a broken
    /// group.
    pub(super) fn alloc(&mut self, request: Request, claim: Claim) -> Option<BlockRun> {
        let want = cmp::min(request.max, self.left(claim));
        if want == 0 || want < request.min {
            return None;
        }
        let request = Request {
            max: want,
            aligned: request.aligned && (want >= GROUP_BLOCKS / 2 || !self.whole_are_scarce()),
            ..request
        };
        let run = self
            .at_goal(request)
            .or_else(|| self.in_whole_groups(request))
            .or_else(|| self.in_broken_group(request, false))
            .or_else(|| self.break_group(request))
            .or_else(|| self.in_broken_group(request, true))?;
        let group = run.start / GROUP_BLOCKS;
        if request.aligned && run.len < GROUP_BLOCKS && self.group(group) == GROUP_BLOCKS {
            self.keep(group);
        }
        self.mark(run, true);
        Some(run)
    }

    /// Returns how many free blocks `claim` may use.
    fn left(&self, claim: Claim) -> u64 {
        let kept = match claim {
            Claim::Ordinary => self.map.reserve,
            Claim::Promised => self.map.reserve / 2,
            Claim::Freeing => 0,
        };
        self.map.free.saturating_sub(kept)
    }

    /// Returns whether less than half of the free blocks are in whole groups: too few to start a
    /// group for a few blocks.
    fn whole_are_scarce(&self) -> bool {
        2 * self.map.whole * GROUP_BLOCKS < self.map.free
    }

    /// Takes a free block for metadata and marks it used.
    pub(super) fn alloc_meta(&mut self, claim: Claim) -> Option<u64> {
        if self.left(claim) == 0 {
            return None;
        }
        let groups = self.map.groups;
        let free = |space: &Self, group: &u64| space.group(*group) != 0;
        if !free(self, &self.map.meta_group) {
            // Prefer a group with inodes: it was full when another was chosen.
            let old = (0..groups).find(|group| free(self, group) && self.holds_inodes(*group));
            let whole = || (0..groups).find(|&group| self.group(group) == GROUP_BLOCKS);
            let any = || (0..groups).find(|group| free(self, group));
            self.map.meta_group = old.or_else(whole).or_else(any)?;
        }
        let run = self.run_in_group(self.map.meta_group, 1)?;
        self.mark(run, true);
        Some(run.start)
    }

    fn holds_inodes(&self, group: u64) -> bool {
        let words = GROUP_BLOCKS / BITS;
        (group * words..(group + 1) * words).any(|word| self.word(Plane::Inodes, word) != 0)
    }

    /// Keeps `group` for the file that started it.
    fn keep(&mut self, group: u64) {
        if let Some(slot) = self.map.kept.get_mut(self.map.kept_next) {
            *slot = group;
            self.map.kept_next = (self.map.kept_next + 1) % KEPT;
        }
    }

    fn at_goal(&self, request: Request) -> Option<BlockRun> {
        let start = request.goal?;
        let boundary = start % GROUP_BLOCKS == 0;
        let breaks = self.group(start / GROUP_BLOCKS) == GROUP_BLOCKS;
        let large = request.max >= GROUP_BLOCKS;
        if start < self.map.data_start
            || (request.aligned && !boundary)
            || (breaks && !large && !request.aligned)
        {
            return None;
        }
        // It must not break the next group either: a file that reaches a boundary makes an aligned
        // request there.
        let end = (start / GROUP_BLOCKS + 1) * GROUP_BLOCKS;
        let max = if large {
            request.max
        } else {
            cmp::min(request.max, end - start)
        };
        let len = self.free_len(start, max);
        (len > 0 && len >= request.min).then_some(BlockRun { start, len })
    }

    /// Returns the first run of free groups that is long enough, else the longest.
    fn in_whole_groups(&mut self, request: Request) -> Option<BlockRun> {
        let large = request.max >= GROUP_BLOCKS;
        if self.map.whole == 0 || !(large || request.aligned) {
            return None;
        }
        let want = cmp::max(request.max / GROUP_BLOCKS, 1);
        let groups = self.map.groups;
        let mut best = BlockRun { start: 0, len: 0 };
        let mut run = best;
        for step in 0..groups {
            let group = (self.map.large_group + step) % groups;
            if self.group(group) != GROUP_BLOCKS {
                run.len = 0;
                continue;
            }
            // A run does not wrap from the last group to the first.
            if run.len == 0 || group == 0 {
                run = BlockRun {
                    start: group,
                    len: 0,
                };
            }
            run.len += 1;
            if run.len > best.len {
                best = run;
            }
            if best.len == want {
                break;
            }
        }
        self.map.large_group = best.start;
        let len = cmp::min(best.len * GROUP_BLOCKS, request.max);
        // A tail shorter than a group is left for another request, which need not break a group.
        let len = if large { len - len % GROUP_BLOCKS } else { len };
        (len > 0 && len >= request.min).then_some(BlockRun {
            start: best.start * GROUP_BLOCKS,
            len,
        })
    }

    /// Returns a run in a broken group. If `kept`, it may be a group that is kept for a file.
    fn in_broken_group(&mut self, request: Request, kept: bool) -> Option<BlockRun> {
        if self.map.broken == 0 {
            return None;
        }
        let mut lowest = None;
        let mut best = None::<BlockRun>;
        let mut tries = 0;
        for group in self.map.small_group..self.map.groups {
            if matches!(self.group(group), 0 | GROUP_BLOCKS) {
                continue;
            }
            lowest = lowest.or(Some(group));
            if !kept && (group == self.map.meta_group || self.map.kept.contains(&group)) {
                continue;
            }
            let run = self.run_in_group(group, request.max);
            if run.is_some_and(|run| run.len > best.map_or(0, |best| best.len)) {
                best = run;
            }
            tries += 1;
            let len = best.map_or(0, |best| best.len);
            let fair = tries >= TRIES && len >= request.max.div_ceil(2);
            if len >= request.max || (len >= request.min && (fair || tries >= TRIES_MAX)) {
                break;
            }
        }
        self.map.small_group = lowest.unwrap_or(self.map.groups);
        best.filter(|run| run.len >= request.min)
    }

    fn break_group(&self, request: Request) -> Option<BlockRun> {
        if self.map.whole == 0 {
            return None;
        }
        // The lowest group, not one near the goal, which is often among large files.
        let group = (0..self.map.groups).find(|&group| self.group(group) == GROUP_BLOCKS)?;
        let start = group * GROUP_BLOCKS;
        let len = self.free_len(start, cmp::min(request.max, GROUP_BLOCKS));
        (len >= request.min).then_some(BlockRun { start, len })
    }

    /// Returns the first free run of at least `max` blocks in a group, else the longest.
    fn run_in_group(&self, group: u64, max: u64) -> Option<BlockRun> {
        let end = (group + 1) * GROUP_BLOCKS;
        let mut at = group * GROUP_BLOCKS;
        let mut best = None::<BlockRun>;
        while at < end {
            let len = self.free_len(at, cmp::min(max, end - at));
            if len > best.map_or(0, |best| best.len) {
                best = Some(BlockRun { start: at, len });
            }
            if len >= max {
                break;
            }
            at += len;
            // The block at `at` is used: skip the used ones, a word at most.
            let used = self.word(Plane::Used, at / BITS) >> (at % BITS);
            at += cmp::max(u64::from(used.trailing_ones()), 1);
        }
        best
    }

    /// Returns how many blocks from `start` on are free, up to `max`.
    fn free_len(&self, start: u64, max: u64) -> u64 {
        let end = cmp::min(start.saturating_add(max), self.map.blocks);
        let mut at = start;
        while at < end {
            let used = self.word(Plane::Used, at / BITS) >> (at % BITS);
            if used != 0 {
                at += u64::from(used.trailing_zeros());
                break;
            }
            at += BITS - at % BITS;
        }
        cmp::min(at, end).saturating_sub(start)
    }
}
