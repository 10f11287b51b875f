// SPDX-License-Identifier: GPL-2.0

//! The last passes: counts, the orphan list, inode blocks and bitmaps.

use std::collections::BTreeSet;

use pinfs_format::{
    bitmap,
    inode::{
        InodeHead,
        ORPHAN,
        S_IFLNK, //
    },
    mount::{
        self,
        Status,
        STATUS, //
    },
    offset_of,
    volume::inode_offset,
    Error,
    Inode,
    Medium,
    Result,
    BLOCK_SIZE,
    GROUP_BLOCKS,
    INODE_SLOTS, //
};
use zerocopy::{
    FromZeros,
    IntoBytes, //
};

use crate::{
    checker::Checker,
    report::count, //
};

const BITS: u64 = u64::BITS as u64;

impl<M: Medium> Checker<'_, M> {
    /// Link counts, parents, sizes of directories, and the orphan list.
    pub fn links(&mut self) -> Result {
        let all: Vec<u64> = self.info.keys().copied().collect();
        let count = all.len() as u64;
        let mut orphans = BTreeSet::new();
        for (done, ino) in all.into_iter().enumerate() {
            self.tell("links", done as u64, count);
            if self.links_of(ino)? {
                orphans.insert(ino);
            }
        }
        self.orphans(orphans)
    }

    /// Corrects what an inode says of its names; returns whether it is an orphan.
    fn links_of(&mut self, ino: u64) -> Result<bool> {
        let Some(info) = self.info.get(&ino).copied() else {
            return Ok(false);
        };
        let off = inode_offset(ino);
        let mut inode: Inode = self.volume.plain(off)?;
        let mut changed = false;
        let links = match (info.is_dir(), info.reached) {
            (true, true) => info.subdirs.saturating_add(2),
            (true, false) => 0,
            (false, _) => info.links,
        };
        // A file with names is on the list while it is being truncated; nothing else can be.
        let orphan = info.orphan && (links == 0 || info.is_file());
        if inode.is_orphan() != orphan {
            let what = "is marked as without use, but is used; mark removed";
            self.fault(ino, off, false, what);
            inode.flags.set(inode.flags.get() & !ORPHAN);
            inode.orphan_next.set(0);
            inode.orphan_prev.set(0);
            if inode.collapsing().is_some() {
                inode.set_collapsing(None);
            }
            changed = true;
        }
        if inode.nlink.get() != links {
            let counted = count(inode.nlink.get().into(), "link is", "links are");
            let what = format!("{counted} counted, {links} found; corrected");
            self.fault(ino, off, false, what);
            inode.nlink.set(links);
            changed = true;
        }
        if info.is_dir() {
            if info.reached && inode.parent.get() != info.parent {
                let (old, new) = (inode.parent.get(), info.parent);
                let what = format!("parent is said to be {old}, but is {new}; corrected");
                self.fault(ino, off, false, what);
                inode.parent.set(new);
                changed = true;
            }
            let names = self.names_of(ino)?.len() as u64;
            if inode.size.get() != names && !self.remake.contains_key(&ino) {
                let counted = count(inode.size.get(), "name is", "names are");
                let what = format!("{counted} counted, {names} found; corrected");
                self.fault(ino, off, false, what);
                inode.size.set(names);
                changed = true;
            }
        }
        debug_assert!(inode.kind() != S_IFLNK || !orphan || links == 0);
        if changed {
            self.volume.store(off, &mut inode)?;
        }
        Ok(orphan)
    }

    /// Makes the list hold exactly those that are to be on it.
    fn orphans(&mut self, wanted: BTreeSet<u64>) -> Result {
        let mut status: Status = self.volume.plain(STATUS)?;
        let mut seen = Vec::new();
        let mut left = wanted.clone();
        let mut next = status.orphans.get();
        let mut last = 0;
        while left.remove(&next) {
            let inode: Inode = self.volume.plain(inode_offset(next))?;
            if inode.orphan_prev.get() != last {
                break;
            }
            seen.push(next);
            last = next;
            next = inode.orphan_next.get();
        }
        if next == 0 && left.is_empty() && seen.len() == wanted.len() {
            return Ok(());
        }
        self.fault(0, STATUS, false, "orphan list is broken; made anew");
        let listed: BTreeSet<u64> = seen.iter().copied().collect();
        seen.extend(wanted.difference(&listed));
        for (index, &ino) in seen.iter().enumerate() {
            let mut inode: Inode = self.volume.plain(inode_offset(ino))?;
            let before = index.checked_sub(1).and_then(|index| seen.get(index));
            inode.orphan_prev.set(before.copied().unwrap_or(0));
            inode
                .orphan_next
                .set(seen.get(index + 1).copied().unwrap_or(0));
            self.volume.store(inode_offset(ino), &mut inode)?;
        }
        status.orphans.set(seen.first().copied().unwrap_or(0));
        self.volume.store(STATUS, &mut status)
    }

    /// The headers of the inode blocks.
    pub fn inode_heads(&mut self) -> Result {
        let mut slots = std::collections::BTreeMap::<u64, u64>::new();
        for ino in self.info.keys() {
            *slots.entry(ino / INODE_SLOTS).or_default() |= 1 << (ino % INODE_SLOTS);
        }
        let claimed: Vec<u64> = (self.geometry.data_start..self.geometry.data_end)
            .filter(|&block| self.inode_blocks.has(block) && !slots.contains_key(&block))
            .collect();
        for block in claimed {
            self.used.put(block, false);
            self.inode_blocks.put(block, false);
        }
        for (block, used) in slots {
            let off = offset_of(block);
            let (head, sealed) = self.head(block)?;
            if sealed && head.used.get() == used && head.reserved == [0; 240] {
                continue;
            }
            let what = match sealed {
                true => "inode block header does not say what is in use; corrected",
                false => "inode block header is damaged; made anew",
            };
            self.fault(0, off, false, what);
            let mut new = InodeHead::new_zeroed();
            new.used.set(used);
            self.volume.store(off, &mut new)?;
        }
        Ok(())
    }

    /// The bitmaps must show what was found, and their checksums must be right.
    pub fn bitmaps(&mut self) -> Result {
        let geometry = self.geometry;
        (0..geometry.data_start).for_each(|block| self.used.put(block, true));
        self.used.put(geometry.data_end, true);
        let groups = geometry.groups();
        for group in 0..groups {
            if group % 64 == 0 {
                self.tell("bitmaps", group, groups);
            }
            let sum = match bitmap::verify(self.volume, group) {
                Ok(()) => true,
                Err(Error::Io) => return Err(Error::Io),
                Err(_) => false,
            };
            let mut changed = false;
            for (start, inodes) in [
                (geometry.bitmap_start, false),
                (geometry.inode_bitmap_start, true),
            ] {
                changed |= self.bitmap(group, start, inodes)?;
            }
            if !sum {
                let off = offset_of(geometry.bitmap_start) + group * GROUP_BLOCKS / 8;
                let what =
                    format!("checksum of the bitmaps of group {group} is wrong; computed anew");
                self.fault(0, off, false, what);
            }
            if changed || !sum {
                bitmap::seal(self.volume, group)?;
            }
        }
        Ok(())
    }

    /// Corrects what one bitmap says of a group; returns whether anything was wrong.
    fn bitmap(&mut self, group: u64, start: u64, inodes: bool) -> Result<bool> {
        let mut changed = false;
        let words = group * GROUP_BLOCKS / BITS..(group + 1) * GROUP_BLOCKS / BITS;
        let (mut leaked, mut missing) = (Vec::new(), Vec::new());
        for index in words {
            let off = offset_of(start) + index * 8;
            let old = self.volume.word(off)?;
            let found = match inodes {
                true => self.inode_blocks.word(index),
                false => self.used.word(index),
            };
            // Bits for blocks behind the last one say nothing.
            let blocks = index * BITS..(index + 1) * BITS;
            let beyond = blocks
                .clone()
                .filter(|&block| block >= self.geometry.blocks)
                .fold(0, |mask, block| mask | 1 << (block % BITS));
            let new = found & !beyond | old & beyond;
            if new == old {
                continue;
            }
            changed = true;
            leaked.extend(
                blocks
                    .clone()
                    .filter(|block| (old & !new) >> (block % BITS) & 1 != 0),
            );
            missing.extend(blocks.filter(|block| (new & !old) >> (block % BITS) & 1 != 0));
            self.volume.medium().write(off, &new.to_le_bytes())?;
        }
        let what = if inodes {
            "as inode blocks"
        } else {
            "as in use"
        };
        let off = |block: u64| offset_of(start) + block / 8;
        for (list, says) in [(leaked, "marked"), (missing, "not marked")] {
            if let (Some(&first), Some(&last)) = (list.first(), list.last()) {
                let blocks = match list.len() {
                    1 => format!("block {first} is"),
                    count => format!("{count} blocks from {first} to {last} are"),
                };
                let text = format!("{blocks} {says} {what}; corrected");
                self.fault(0, off(first), false, text);
            }
        }
        Ok(changed)
    }

    /// The number of inodes; and from now on the file system is clean.
    pub fn final_status(&mut self) -> Result {
        let mut status: Status = self.volume.plain(STATUS)?;
        let found = self.info.len() as u64;
        if status.inodes.get() != found {
            let counted = count(status.inodes.get(), "inode is", "inodes are");
            let what = format!("{counted} counted, {found} found; corrected");
            self.fault(0, STATUS, false, what);
            status.inodes.set(found);
        }
        status.flags.set(status.flags.get() & !mount::MOUNTED);
        self.volume.store(STATUS, &mut status)?;
        debug_assert_eq!(status.as_bytes().len() as u64 * 16, BLOCK_SIZE);
        if mount::wants_check(self.volume)? {
            // This was it. In the overlay it is, until all is repaired.
            mount::checked(self.volume.medium())?;
        }
        Ok(())
    }
}
