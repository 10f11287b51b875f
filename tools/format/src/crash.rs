// SPDX-License-Identifier: GPL-2.0

//! What power loss leaves behind.
//!
//! A [`Recorder`] is a medium that keeps the list of what was stored, flushed and fenced. A
//! [`Power`] goes through that list and can at any point make up an image that the memory may hold
//! if the power fails there: what was flushed and then fenced is there; of everything else, every
//! 8-byte word independently holds any of the values stored to it since. That is more than
//! processors do (they keep the order within a cache line).

use std::{
    cell::RefCell,
    collections::BTreeMap,
    mem,
    vec,
    vec::Vec, //
};

use xxhash_rust::xxh64::xxh64;

use crate::{
    crc::Checksum,
    memory::range,
    Medium,
    Result, //
};

const LINE: u64 = 64;

/// What reached the memory controller's side.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A store of an aligned word.
    Store {
        /// Byte offset.
        off: u64,
        /// The whole word after the store.
        word: u64,
    },
    /// A write-back of the cache lines that hold a range.
    Flush {
        /// Byte offset.
        off: u64,
        /// Bytes.
        len: u64,
    },
    /// A wait for the write-backs.
    Fence,
}

/// A medium that records events.
pub struct Recorder {
    bytes: RefCell<Vec<u8>>,
    events: RefCell<Vec<Event>>,
}

impl Recorder {
    /// A medium that holds `bytes`, durably.
    pub fn new(bytes: Vec<u8>) -> Self {
        Recorder {
            bytes: RefCell::new(bytes),
            events: RefCell::new(Vec::new()),
        }
    }

    /// The events since the last call.
    pub fn take(&self) -> Vec<Event> {
        mem::take(&mut self.events.borrow_mut())
    }

    /// What a reader sees now.
    pub fn image(&self) -> Vec<u8> {
        self.bytes.borrow().clone()
    }
}

impl Checksum for Recorder {
    fn xxh64(&self, seed: u64, data: &[u8]) -> u64 {
        xxh64(data, seed)
    }
}

impl Medium for Recorder {
    fn size(&self) -> u64 {
        self.bytes.borrow().len() as u64
    }

    fn read(&self, off: u64, buf: &mut [u8]) -> Result {
        let bytes = self.bytes.borrow();
        buf.copy_from_slice(&bytes[range(bytes.len(), off, buf.len() as u64)?]);
        Ok(())
    }

    fn write(&self, off: u64, data: &[u8]) -> Result {
        let mut bytes = self.bytes.borrow_mut();
        let range = range(bytes.len(), off, data.len() as u64)?;
        bytes[range.clone()].copy_from_slice(data);
        let mut events = self.events.borrow_mut();
        for at in (range.start / 8 * 8..range.end).step_by(8) {
            let word = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
            events.push(Event::Store {
                off: at as u64,
                word,
            });
        }
        Ok(())
    }

    fn zero(&self, off: u64, len: u64) -> Result {
        range(self.bytes.borrow().len(), off, len)?;
        self.write(off, &vec![0; len as usize])
    }

    fn flush(&self, off: u64, len: u64) -> Result {
        range(self.bytes.borrow().len(), off, len)?;
        self.events.borrow_mut().push(Event::Flush { off, len });
        Ok(())
    }

    fn fence(&self) {
        self.events.borrow_mut().push(Event::Fence);
    }
}

/// A word that is not what the memory is known to hold.
#[derive(Default)]
struct Pending {
    /// What was stored, oldest first.
    values: Vec<u64>,
    /// How many of them the last flush covered.
    flushed: usize,
}

/// A source of random numbers, the same for the same seed.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// Starts with `seed`.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// How an image is made up from words that may have any of several values.
#[derive(Clone, Copy, Debug)]
pub enum Survival {
    /// Nothing that need not have survived.
    Nothing,
    /// The last value of everything.
    Everything,
    /// Any value of any word.
    Any,
    /// The last value of all words but one.
    AllButOne,
    /// The last value of one word only.
    OnlyOne,
}

/// Everything that [`Survival`] offers.
pub const SURVIVALS: [Survival; 5] = [
    Survival::Nothing,
    Survival::Everything,
    Survival::Any,
    Survival::AllButOne,
    Survival::OnlyOne,
];

/// The memory behind the cache.
pub struct Power {
    durable: Vec<u8>,
    pending: BTreeMap<u64, Pending>,
}

impl Power {
    /// The memory holds `image`.
    pub fn new(image: Vec<u8>) -> Self {
        Power {
            durable: image,
            pending: BTreeMap::new(),
        }
    }

    /// Goes on by one event.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Store { off, word } => self.pending.entry(off).or_default().values.push(word),
            Event::Flush { off, len } => {
                let first = off / LINE * LINE;
                let end = (off + len).div_ceil(LINE) * LINE;
                for (_, pending) in self.pending.range_mut(first..end) {
                    pending.flushed = pending.values.len();
                }
            }
            Event::Fence => {
                let durable = &mut self.durable;
                self.pending.retain(|&off, pending| {
                    if let Some(last) = pending.flushed.checked_sub(1) {
                        put(durable, off, pending.values[last]);
                        pending.values.drain(..=last);
                        pending.flushed = 0;
                    }
                    !pending.values.is_empty()
                });
            }
        }
    }

    /// Words whose value is open.
    pub fn open(&self) -> usize {
        self.pending.len()
    }

    /// Calls `look` with images that a power loss now may leave: all of them if they are at most
    /// `limit`, and else so many of them, those at the ends among them. Words that are what they were
    /// make no difference.
    pub fn images(&self, limit: usize, random: &mut Random, mut look: impl FnMut(Vec<u8>)) {
        let word = |off: u64| {
            let bytes = &self.durable[off as usize..off as usize + 8];
            u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
        };
        // The first value is the one that is durable.
        let mut words: Vec<(u64, Vec<u64>)> = Vec::new();
        for (&off, pending) in &self.pending {
            let mut values = vec![word(off)];
            for &value in &pending.values {
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            if values.len() > 1 {
                words.push((off, values));
            }
        }
        let count = words
            .iter()
            .try_fold(1usize, |count, (_, values)| count.checked_mul(values.len()))
            .unwrap_or(usize::MAX);
        let mut make = |choose: &mut dyn FnMut(usize, &[u64]) -> u64| {
            let mut image = self.durable.clone();
            for (index, (off, values)) in words.iter().enumerate() {
                put(&mut image, *off, choose(index, values));
            }
            look(image);
        };
        if count <= limit {
            for number in 0..count {
                let mut rest = number;
                make(&mut |_, values| {
                    let value = values[rest % values.len()];
                    rest /= values.len();
                    value
                });
            }
            return;
        }
        for turn in 0..limit {
            let chosen = random.below(words.len() as u64) as usize;
            make(&mut |index, values| {
                let last = values[values.len() - 1];
                match turn {
                    0 => last,
                    1 => values[0],
                    _ if turn % 3 == 0 && index != chosen => last,
                    _ if turn % 3 == 1 && index == chosen => last,
                    _ if turn % 3 == 2 => values[random.below(values.len() as u64) as usize],
                    _ => values[0],
                }
            });
        }
    }

    /// An image that a power loss now may leave.
    pub fn fail(&self, survival: Survival, random: &mut Random) -> Vec<u8> {
        let mut image = self.durable.clone();
        if self.pending.is_empty() {
            return image;
        }
        let chosen = random.below(self.pending.len() as u64) as usize;
        for (index, (&off, pending)) in self.pending.iter().enumerate() {
            let last = pending.values.last().copied();
            let value = match survival {
                Survival::Nothing => None,
                Survival::Everything => last,
                Survival::AllButOne => last.filter(|_| index != chosen),
                Survival::OnlyOne => last.filter(|_| index == chosen),
                Survival::Any => {
                    let choice = random.below(pending.values.len() as u64 + 1) as usize;
                    pending.values.get(choice).copied()
                }
            };
            if let Some(value) = value {
                put(&mut image, off, value);
            }
        }
        image
    }
}

fn put(image: &mut [u8], off: u64, word: u64) {
    let off = off as usize;
    image[off..off + 8].copy_from_slice(&word.to_le_bytes());
}
