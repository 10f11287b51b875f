// SPDX-License-Identifier: GPL-2.0

//! Changes of the bitmaps on the medium, and of their checksums.
//!
//! The log names the words of the groups that a transaction changes in part, so recovery does not
//! rely on the contents of the bitmaps. The words of groups that a run covers as a whole follow
//! from the run: a huge file is freed with a log record of one entry.

use core::{
    cmp,
    ops::Range, //
};

use zerocopy::{
    little_endian::U64,
    IntoBytes, //
};

use super::{
    run::{
        mask,
        BlockRun, //
    },
    Medium,
    Volume,
    CHUNK, //
};
use crate::ondisk::{
    bitmap::{
        sum_offset,
        Plane,
        BITS,
        LINE,
        WORDS, //
    },
    Error,
    Result,
    GROUP_BLOCKS, //
};

impl Plane {
    /// Returns the checksum of a line of `group`.
    fn crc<M: Medium>(self, volume: &Volume<M>, group: u64, line: &[u8]) -> u32 {
        let seed = volume.crc_start(self.line(volume.geometry(), group));
        volume.medium().crc32c(seed, line)
    }
}

/// The bits of one group in both bitmaps.
pub(crate) struct Bits {
    pub(crate) used: [U64; WORDS],
    pub(crate) inodes: [U64; WORDS],
}

impl Bits {
    /// Reads the bits of a group and verifies their checksums.
    pub(crate) fn read<M: Medium>(volume: &Volume<M>, group: u64) -> Result<Self> {
        let bits = Self::read_unverified(volume, group)?;
        if volume.word(sum_offset(volume.geometry(), group))? != bits.sum(volume, group) {
            return Err(Error::Corrupt("bitmap is damaged"));
        }
        Ok(bits)
    }

    pub(crate) fn read_unverified<M: Medium>(volume: &Volume<M>, group: u64) -> Result<Self> {
        let geometry = volume.geometry();
        Ok(Bits {
            used: volume.plain(Plane::Used.line(geometry, group))?,
            inodes: volume.plain(Plane::Inodes.line(geometry, group))?,
        })
    }

    /// Returns the word of the checksum table for these bits.
    pub(crate) fn sum<M: Medium>(&self, volume: &Volume<M>, group: u64) -> u64 {
        let used = Plane::Used.crc(volume, group, self.used.as_bytes());
        let inodes = Plane::Inodes.crc(volume, group, self.inodes.as_bytes());
        Plane::Inodes.half(u64::from(used), inodes)
    }

    /// Sets or clears the bits of a run that are in `group`.
    pub(crate) fn mark(&mut self, group: u64, plane: Plane, run: BlockRun, set: bool) {
        let words = match plane {
            Plane::Used => &mut self.used,
            Plane::Inodes => &mut self.inodes,
        };
        for (number, word) in (group * WORDS as u64..).zip(words) {
            let bits = mask(number, run.start..run.start + run.len);
            let old = word.get();
            word.set(if set { old | bits } else { old & !bits });
        }
    }
}

/// Returns the groups that `run` covers as a whole.
pub(super) fn whole_groups(run: BlockRun) -> Range<u64> {
    run.start.div_ceil(GROUP_BLOCKS)..(run.start + run.len) / GROUP_BLOCKS
}

/// Returns the groups that `run` covers in part, at most two.
pub(super) fn partial_groups(run: BlockRun) -> impl Iterator<Item = u64> {
    let first = run.start / GROUP_BLOCKS;
    let last = (run.start + run.len - 1) / GROUP_BLOCKS;
    let second = (last != first).then_some(last);
    [Some(first), second]
        .into_iter()
        .flatten()
        .filter(move |group| !whole_groups(run).contains(group))
}

/// Sets or clears a run of bits in a bitmap, updates the checksums of the groups that it covers as
/// a whole, and flushes these stores.
pub(crate) fn mark<M: Medium>(
    volume: &Volume<M>,
    plane: Plane,
    run: BlockRun,
    set: bool,
) -> Result {
    let end = run.start + run.len;
    let base = plane.line(volume.geometry(), 0);
    let fill = [if set { !0u64 } else { 0 }; CHUNK / 8];
    let last = end.div_ceil(BITS);
    let mut word = run.start / BITS;
    while word < last {
        let off = base + word * 8;
        let bits = mask(word, run.start..end);
        if bits != !0 {
            let old = volume.word(off)?;
            let new = if set { old | bits } else { old & !bits };
            volume.medium().write(off, &new.to_le_bytes())?;
            word += 1;
            continue;
        }
        // Only the first and the last word can be partial.
        let whole = cmp::min(end / BITS - word, fill.len() as u64);
        let bytes = fill.as_bytes();
        let bytes = bytes.get(..whole as usize * 8).unwrap_or(bytes);
        volume.medium().write(off, bytes)?;
        word += whole;
    }
    let first = run.start / BITS;
    volume
        .medium()
        .flush(base + first * 8, (last - first) * 8)?;

    let whole = whole_groups(run);
    if whole.is_empty() {
        return Ok(());
    }
    let line = fill.as_bytes();
    let line = line.get(..LINE as usize).unwrap_or(line);
    for group in whole.clone() {
        let off = sum_offset(volume.geometry(), group);
        let word = plane.half(volume.word(off)?, plane.crc(volume, group, line));
        volume.medium().write(off, &word.to_le_bytes())?;
    }
    let off = sum_offset(volume.geometry(), whole.start);
    volume.medium().flush(off, (whole.end - whole.start) * 8)
}

/// Stores the checksums of a group and flushes them.
pub(crate) fn set_sum<M: Medium>(volume: &Volume<M>, group: u64, word: u64) -> Result {
    let off = sum_offset(volume.geometry(), group);
    volume.medium().store(off, &word.to_le_bytes())
}

/// Returns whether all blocks of a run are in use and none holds inodes. The checksums were
/// verified at the mount. Only commits store there since, a word at a time.
pub(super) fn all_data<M: Medium>(volume: &Volume<M>, run: BlockRun) -> Result<bool> {
    let end = run.start + run.len;
    for group in run.start / GROUP_BLOCKS..end.div_ceil(GROUP_BLOCKS) {
        let bits = Bits::read_unverified(volume, group)?;
        let words = bits.used.iter().zip(&bits.inodes);
        for (number, (used, inodes)) in (group * WORDS as u64..).zip(words) {
            let wanted = mask(number, run.start..end);
            if used.get() & wanted != wanted || inodes.get() & wanted != 0 {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
