// SPDX-License-Identifier: GPL-2.0

//! Persistent memory behind the cache of an x86 processor.
//!
//! What was written back and then fenced is there. For everything else:
//! * a cache line may have been written back at any time, so it holds the stores to it up to some
//!   moment: they get there in their order, and an aligned word of 8 bytes is never torn;
//! * stores past the cache go in any order, each aligned word by itself.
//!
//! A line or such a word is a [`Unit`], and an image is a choice of how many of each unit's stores got
//! there. At a fence these are all the images of the time since the fence before, too: nothing that
//! was not there then has become sure to be there since.

use std::{
    collections::{
        BTreeMap,
        HashMap, //
    },
    mem, //
};

use pinfs_format::crash::Random;

use crate::trace::Event;

const LINE: u64 = 64;

/// Stores that get to the memory in their order.
#[derive(Clone, Debug, Default)]
struct Unit {
    /// Offsets and new values of aligned words, and when it was; oldest first.
    stores: Vec<(u64, u64, u64)>,
    /// How many of them the next fence makes durable.
    flushed: usize,
}

/// A place in a line, or a word past the cache; the former come last when an image is made up,
/// because a store past the cache throws the line out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Word(u64),
    Line(u64),
}

/// Words and their values.
pub type Change = Vec<(u64, u64)>;

/// The memory, and what the processor sees of it.
#[derive(Clone)]
pub struct Memory {
    /// What the processor sees.
    visible: Vec<u8>,
    /// What is sure to be there.
    durable: Vec<u8>,
    hash: u64,
    units: BTreeMap<Place, Unit>,
    time: u64,
}

/// A word's part in the hash of an image: the sum of all words' parts.
fn part(off: u64, word: u64) -> u64 {
    if word == 0 {
        return 0;
    }
    let mut z = off.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word;
    z = (z ^ z >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    z = (z ^ z >> 29).wrapping_mul(0xd6e8_feb8_6659_fd93);
    z = (z ^ off).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ z >> 32
}

/// The aligned word at `off`.
pub fn word(bytes: &[u8], off: u64) -> u64 {
    let off = off as usize;
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[off..off + 8]);
    u64::from_le_bytes(word)
}

/// Stores an aligned word.
pub fn put(bytes: &mut [u8], off: u64, word: u64) {
    let off = off as usize;
    bytes[off..off + 8].copy_from_slice(&word.to_le_bytes());
}

impl Memory {
    /// Memory that holds `image`.
    pub fn new(image: Vec<u8>) -> Self {
        let words = (0..image.len() as u64).step_by(8);
        let hash = words.map(|off| part(off, word(&image, off)));
        Memory {
            hash: hash.fold(0, u64::wrapping_add),
            visible: image.clone(),
            durable: image,
            units: BTreeMap::new(),
            time: 0,
        }
    }

    /// What the processor sees.
    pub fn visible(&self) -> &[u8] {
        &self.visible
    }

    /// What is sure to be there, and its hash.
    pub fn durable(&self) -> (&[u8], u64) {
        (&self.durable, self.hash)
    }

    /// Goes on by one event. `settled` is told of every word that a fence makes durable.
    pub fn apply(&mut self, event: &Event<'_>, settled: impl FnMut(u64, u64)) {
        match *event {
            Event::Store {
                off,
                bytes,
                streaming,
            } => self.store(off, bytes, streaming),
            Event::Flush { off, .. } => self.flush(off),
            Event::Fence { .. } => self.fence(settled),
            Event::Mark(_) => {}
        }
    }

    fn store(&mut self, off: u64, bytes: &[u8], streaming: bool) {
        let start = off as usize;
        let end = off + bytes.len() as u64;
        self.visible[start..start + bytes.len()].copy_from_slice(bytes);
        for at in (off / 8 * 8..end).step_by(8) {
            let word = word(&self.visible, at);
            self.time += 1;
            let line = Place::Line(at / LINE * LINE);
            // Behind stores to the same line that are still in the cache, it comes after them.
            let cached = !streaming || self.units.contains_key(&line);
            let place = if cached { line } else { Place::Word(at) };
            let unit = self.units.entry(place).or_default();
            unit.stores.push((at, word, self.time));
            if streaming {
                unit.flushed = unit.stores.len();
            }
        }
    }

    /// Starts the write-back of the line at `off`.
    fn flush(&mut self, off: u64) {
        if let Some(unit) = self.units.get_mut(&Place::Line(off / LINE * LINE)) {
            unit.flushed = unit.stores.len();
        }
    }

    fn fence(&mut self, mut settled: impl FnMut(u64, u64)) {
        let (durable, hash) = (&mut self.durable, &mut self.hash);
        self.units.retain(|_, unit| {
            for (off, new, _) in unit.stores.drain(..mem::take(&mut unit.flushed)) {
                let old = word(durable, off);
                *hash = hash
                    .wrapping_sub(part(off, old))
                    .wrapping_add(part(off, new));
                put(durable, off, new);
                settled(off, new);
            }
            !unit.stores.is_empty()
        });
    }

    /// Units whose stores may be there or not.
    pub fn open(&self) -> usize {
        self.units.len()
    }

    /// The hash of the image with `change` over what is durable.
    pub fn hash_with(&self, change: &Change) -> u64 {
        change.iter().fold(self.hash, |hash, &(off, new)| {
            let old = word(&self.durable, off);
            hash.wrapping_sub(part(off, old))
                .wrapping_add(part(off, new))
        })
    }

    /// Calls `look` with what an image of a power loss now may have over what is durable: with all of
    /// them if they are not more than `bound`, otherwise with about as many, the most telling and some
    /// by chance.
    pub fn images(&self, bound: usize, random: &mut Random, mut look: impl FnMut(&Change)) {
        let units: Vec<&Unit> = self.units.values().collect();
        let all = units
            .iter()
            .try_fold(1usize, |all, unit| all.checked_mul(unit.stores.len() + 1))
            .filter(|&all| all <= bound);
        let mut scratch = HashMap::new();
        let mut tell = |choice: &[usize]| {
            scratch.clear();
            for (unit, &count) in units.iter().zip(choice) {
                for &(off, word, _) in &unit.stores[..count] {
                    scratch.insert(off, word);
                }
            }
            let differs = |&(&off, &new): &(&u64, &u64)| word(&self.durable, off) != new;
            let change: Change = scratch
                .iter()
                .filter(differs)
                .map(|(&off, &word)| (off, word))
                .collect();
            look(&change);
        };
        let mut choice = vec![0; units.len()];
        if all.is_some() {
            loop {
                tell(&choice);
                let Some(index) = (0..units.len()).find(|&i| choice[i] < units[i].stores.len())
                else {
                    return;
                };
                choice[index] += 1;
                choice[..index].fill(0);
            }
        }
        tell(&choice);
        let whole: Vec<usize> = units.iter().map(|unit| unit.stores.len()).collect();
        tell(&whole);
        let quarter = bound / 4;
        // As the stores came, up to one of them: what a processor without reordering would leave.
        let mut times: Vec<u64> = units
            .iter()
            .flat_map(|unit| unit.stores.iter().map(|store| store.2))
            .collect();
        times.sort_unstable();
        for index in spread(times.len(), quarter) {
            for (count, unit) in choice.iter_mut().zip(&units) {
                *count = unit.stores.partition_point(|store| store.2 <= times[index]);
            }
            tell(&choice);
        }
        // One block alone, and all but one.
        let block = |place: &Place| match *place {
            Place::Line(off) | Place::Word(off) => off >> 12,
        };
        let blocks: Vec<u64> = self.units.keys().map(block).collect();
        let mut distinct = blocks.clone();
        distinct.sort_unstable();
        distinct.dedup();
        for index in spread(distinct.len(), quarter / 2) {
            for alone in [true, false] {
                for (number, count) in choice.iter_mut().enumerate() {
                    let there = (blocks[number] == distinct[index]) == alone;
                    *count = if there { whole[number] } else { 0 };
                }
                tell(&choice);
            }
        }
        // One alone, and all but one.
        for index in spread(units.len(), quarter / 2) {
            choice.fill(0);
            choice[index] = whole[index];
            tell(&choice);
            choice.copy_from_slice(&whole);
            choice[index] = 0;
            tell(&choice);
        }
        for turn in 0..bound / 4 {
            // Few, half, or most of them.
            let odds = [8, 2, 2, 1][turn % 4];
            for (count, unit) in choice.iter_mut().zip(&units) {
                let stores = unit.stores.len() as u64;
                *count = match random.once_in(odds) {
                    true if odds == 1 => stores - u64::from(random.once_in(8)),
                    true => random.below(stores) + 1,
                    false => 0,
                } as usize;
            }
            tell(&choice);
        }
    }
}

/// At most `count` numbers below `limit`, evenly.
fn spread(limit: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(limit);
    (0..count).map(move |i| i * limit / count)
}
