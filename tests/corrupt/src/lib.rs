// SPDX-License-Identifier: GPL-2.0

//! Damaged pinfs images.
//!
//! [`base`] makes an image with one of everything, [`Corpus`] lists ways to damage it: every aligned
//! field of every kind of structure set to values that hurt (nothing, all ones, one off, the place
//! of another structure, its own), structures in the place of others, and flipped bits; with the
//! checksum that belongs to the new value, and with the old one. A way is a few [`Patch`]es, so that
//! thousands of images cost no more than one. The same seed gives the same ways. [`crossed`] makes
//! images in which files share blocks with each other and with metadata.

#![forbid(unsafe_code)]

mod base;
mod crossed;

pub use base::base;
pub use crossed::{
    crossed,
    CASES, //
};

use std::collections::BTreeMap;

use pinfs_format::{
    crash::Random,
    crc,
    dir::Leaf,
    inode::InodeHead,
    journal,
    memory::Memory,
    mount::{
        Status,
        STATUS, //
    },
    offset_of,
    symlink::Target,
    tree::Node,
    volume::Object,
    xattr::{
        Attributes,
        Value, //
    },
    Geometry,
    Inode,
    Volume,
    BLOCK_SIZE,
    GROUP_BLOCKS,
    INODE_SIZE,
    INODE_SLOTS, //
};

/// Bytes to write somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Byte offset in the image.
    pub off: u64,
    /// What to put there.
    pub bytes: Vec<u8>,
}

/// A damaged image: what was done, and what to change in the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Says what it is, without spaces.
    pub name: String,
    /// In any order.
    pub patches: Vec<Patch>,
}

impl Damage {
    /// Does it.
    pub fn apply(&self, image: &mut [u8]) {
        for patch in &self.patches {
            let at = patch.off as usize;
            if let Some(place) = image.get_mut(at..at + patch.bytes.len()) {
                place.copy_from_slice(&patch.bytes);
            }
        }
    }

    /// One line: the name, and for each patch the offset and the bytes in hexadecimal.
    pub fn line(&self) -> String {
        let mut line = self.name.clone();
        for patch in &self.patches {
            line.push_str(&format!(" {:x}:", patch.off));
            patch
                .bytes
                .iter()
                .for_each(|byte| line.push_str(&format!("{byte:02x}")));
        }
        line
    }
}

/// Kinds of structures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Superblock,
    Backup,
    Status,
    Journal,
    Bitmap,
    InodeBitmap,
    Sums,
    Head,
    Inode,
    Node,
    Leaf,
    Target,
    Attributes,
    Value,
}

/// A structure in the image.
#[derive(Clone, Copy, Debug)]
struct Place {
    kind: Kind,
    off: u64,
    /// Bytes under its checksum, or of it if it has none.
    len: u64,
    /// Bytes from its start in which fields stand; what follows is more of the same.
    fields: u64,
}

/// Bytes of a fuzzer that make one change: place, field, how, and a number.
const STEP: usize = 14;

/// Changes in one image: more hide each other.
const STEPS_MAX: usize = 12;

/// The ways to damage an image.
pub struct Corpus {
    image: Vec<u8>,
    volume: Volume<Memory>,
    places: Vec<Place>,
    /// Numbers that stand for other structures: blocks and inodes.
    pointers: Vec<u64>,
}

impl Corpus {
    /// The ways to damage `image`, a file system without fault.
    ///
    /// # Errors
    /// A text, if it is none.
    pub fn new(image: Vec<u8>) -> Result<Self, String> {
        let volume = Volume::open(Memory::new(image.clone())).map_err(|why| why.to_string())?;
        let geometry = *volume.geometry();
        let mut corpus = Corpus {
            image,
            volume,
            places: Vec::new(),
            pointers: Vec::new(),
        };
        corpus.find_places(&geometry);
        corpus.find_pointers(&geometry);
        Ok(corpus)
    }

    fn place(&mut self, kind: Kind, off: u64, len: u64, fields: u64) {
        self.places.push(Place {
            kind,
            off,
            len,
            fields,
        });
    }

    fn find_places(&mut self, geometry: &Geometry) {
        self.place(Kind::Superblock, 0, 512, 224);
        self.place(Kind::Backup, offset_of(geometry.data_end), 512, 32);
        self.place(Kind::Status, STATUS, Status::SEALED as u64, 64);
        // The header and the first entries.
        self.place(Kind::Journal, offset_of(geometry.journal_start), 4096, 256);
        let line = GROUP_BLOCKS / 8;
        self.place(Kind::Bitmap, offset_of(geometry.bitmap_start), line, line);
        self.place(
            Kind::InodeBitmap,
            offset_of(geometry.inode_bitmap_start),
            line,
            line,
        );
        self.place(Kind::Sums, offset_of(geometry.sums_start), 8, 8);
        for block in geometry.data_start..geometry.data_end {
            let off = offset_of(block);
            let is = |magic: u32| self.word(off, 4) == u64::from(magic);
            if is(InodeHead::MAGIC) {
                self.place(Kind::Head, off, INODE_SIZE, 24);
                let used = self.word(off + 8, 8);
                for slot in (1..INODE_SLOTS).filter(|slot| used >> slot & 1 != 0) {
                    let off = off + slot * INODE_SIZE;
                    self.place(Kind::Inode, off, Inode::SEALED as u64, INODE_SIZE);
                }
            } else if is(Node::MAGIC) {
                self.place(Kind::Node, off, BLOCK_SIZE, 128);
            } else if is(Leaf::MAGIC) {
                self.place(Kind::Leaf, off, BLOCK_SIZE, 128);
            } else if is(Target::MAGIC) {
                self.place(Kind::Target, off, BLOCK_SIZE, 32);
            } else if is(Attributes::MAGIC) {
                self.place(Kind::Attributes, off, BLOCK_SIZE, 64);
            } else if is(Value::MAGIC) {
                self.place(Kind::Value, off, BLOCK_SIZE, 24);
            }
        }
    }

    fn find_pointers(&mut self, geometry: &Geometry) {
        let mut found = vec![
            1,
            geometry.journal_start,
            geometry.bitmap_start,
            geometry.data_start,
            geometry.data_end,
            geometry.blocks,
            geometry.root_ino,
        ];
        for place in &self.places {
            found.push(place.off / BLOCK_SIZE);
            if place.kind == Kind::Inode {
                found.push(place.off / INODE_SIZE);
            }
        }
        found.sort_unstable();
        found.dedup();
        self.pointers = found;
    }

    fn word(&self, off: u64, width: usize) -> u64 {
        let mut bytes = [0; 8];
        let at = off as usize;
        if let Some(from) = self.image.get(at..at + width) {
            bytes[..width].copy_from_slice(from);
        }
        u64::from_le_bytes(bytes)
    }

    /// The bytes of a structure as they are.
    fn bytes(&self, off: u64, len: u64) -> Vec<u8> {
        self.image[off as usize..(off + len) as usize].to_vec()
    }

    /// `count` ways, or `None` for as many as suits: each kind of structure in turn, so that any
    /// part of the list has some of everything.
    pub fn list(&self, seed: u64, count: usize) -> Vec<Damage> {
        let mut random = Random::new(seed);
        (0..count)
            .map(|index| self.way(index, &mut random))
            .collect()
    }

    fn way(&self, index: usize, random: &mut Random) -> Damage {
        match index % 8 {
            0 => self.flips(index, random),
            1 => self.transplant(index, random),
            _ => self.field(index, random),
        }
    }

    /// The damage that the bytes of a fuzzer stand for: changes of fields, as many as there are bytes
    /// for. Every input is one, and a small change of it is a small change of the image.
    pub fn decode(&self, input: &[u8]) -> Damage {
        let mut changed: BTreeMap<u64, (Place, Vec<u8>, bool)> = BTreeMap::new();
        for step in input.chunks_exact(STEP).take(STEPS_MAX) {
            let word = |at: usize| u16::from_le_bytes([step[at], step[at + 1]]);
            let number = u64::from_le_bytes(step[6..14].try_into().unwrap_or_default());
            let place = self.places[usize::from(word(0)) % self.places.len()];
            let (_, bytes, sealed) = changed.entry(place.off).or_insert_with(|| {
                let bytes = self.bytes(place.off, place.len.max(place.fields));
                (place, bytes, true)
            });
            // Most of the meaning is where the fields are.
            let range = if step[4] & 0x80 == 0 {
                place.fields
            } else {
                bytes.len() as u64
            };
            let width = 1 << (step[4] & 3);
            let at = (u64::from(word(2)) % (range / width) * width) as usize;
            let field = &mut bytes[at..at + width as usize];
            let mut old = [0; 8];
            old[..field.len()].copy_from_slice(field);
            let old = u64::from_le_bytes(old);
            let which = number as usize;
            let new = match step[5] % 8 {
                0 | 1 => number,
                2 => old.wrapping_add(number),
                3 => old ^ 1 << (number % (width * 8)),
                4 | 5 => self.pointers[which % self.pointers.len()],
                6 => place.off / BLOCK_SIZE,
                _ => {
                    let from = self.places[which % self.places.len()];
                    self.word(from.off + (number >> 32) % (from.fields / 8) * 8, 8)
                }
            };
            field.copy_from_slice(&new.to_le_bytes()[..width as usize]);
            *sealed &= step[4] & 0x70 != 0x70;
        }
        let patches = changed
            .into_values()
            .flat_map(|(place, bytes, sealed)| self.finish(place, bytes, sealed))
            .collect();
        Damage {
            name: "decoded".to_owned(),
            patches,
        }
    }

    /// The bytes for a fuzzer to begin with that stand for a change of each kind of structure.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        let mut kinds: Vec<Kind> = Vec::new();
        let mut seeds = Vec::new();
        for (index, place) in self.places.iter().enumerate() {
            if kinds.contains(&place.kind) {
                continue;
            }
            kinds.push(place.kind);
            let mut seed = (index as u16).to_le_bytes().to_vec();
            seed.resize(STEP, 0);
            seeds.push(seed);
        }
        seeds
    }

    fn choose(&self, random: &mut Random) -> Place {
        const KINDS: [Kind; 18] = [
            Kind::Superblock,
            Kind::Backup,
            Kind::Status,
            Kind::Journal,
            Kind::Bitmap,
            Kind::InodeBitmap,
            Kind::Sums,
            Kind::Head,
            Kind::Inode,
            Kind::Inode,
            Kind::Inode,
            Kind::Node,
            Kind::Node,
            Kind::Leaf,
            Kind::Leaf,
            Kind::Target,
            Kind::Attributes,
            Kind::Value,
        ];
        let kind = KINDS[random.below(KINDS.len() as u64) as usize];
        let all: Vec<&Place> = self
            .places
            .iter()
            .filter(|place| place.kind == kind)
            .collect();
        match all.len() as u64 {
            0 => self.places[0],
            n => *all[random.below(n) as usize],
        }
    }

    /// A field set to something else.
    fn field(&self, index: usize, random: &mut Random) -> Damage {
        let place = self.choose(random);
        let width = [1, 2, 4, 8, 8][random.below(5) as usize];
        let at = random.below(place.fields / width) * width;
        let old = self.word(place.off + at, width as usize);
        let pointer = self.pointers[random.below(self.pointers.len() as u64) as usize];
        let (what, new) = match random.below(9) {
            0 => ("zero", 0),
            1 => ("ones", u64::MAX),
            2 => ("more", old.wrapping_add(1)),
            3 => ("less", old.wrapping_sub(1)),
            4 => ("sign", old ^ 1 << (width * 8 - 1)),
            5 => ("max", u64::MAX >> 1),
            6 => ("own", place.off / BLOCK_SIZE),
            7 => ("pointer", pointer),
            _ => ("bit", old ^ 1 << random.below(width * 8)),
        };
        let mut bytes = self.bytes(place.off, place.len.max(place.fields));
        let field = &new.to_le_bytes()[..width as usize];
        bytes[at as usize..(at + width) as usize].copy_from_slice(field);
        let sealed = !random.once_in(4);
        let how = if sealed { "sealed" } else { "unsealed" };
        Damage {
            name: format!(
                "{index}-{:?}@{:x}+{at}-{width}-{what}-{how}",
                place.kind, place.off
            ),
            patches: self.finish(place, bytes, sealed),
        }
    }

    /// What another structure holds, or another part of the same.
    fn transplant(&self, index: usize, random: &mut Random) -> Damage {
        let to = self.choose(random);
        let mut bytes = self.bytes(to.off, to.len.max(to.fields));
        let from = self.choose(random);
        let sealed = !random.once_in(4);
        let (what, source) = if from.kind == to.kind || random.once_in(2) {
            ("whole", self.bytes(from.off, to.len.max(to.fields)))
        } else {
            let at = from.off + random.below(from.fields / 8) * 8;
            ("part", self.bytes(at, 8))
        };
        let room = (bytes.len() - source.len()) as u64;
        // Entries of trees are 24 bytes, behind 32 of their node.
        let at = match random.below(3) {
            0 => 0,
            1 => room.min(32 + 24 * random.below(4)),
            _ => random.below(room.min(to.fields) / 8 + 1) * 8,
        } as usize;
        let at = at.min(room as usize);
        bytes[at..at + source.len()].copy_from_slice(&source);
        let how = if sealed { "sealed" } else { "unsealed" };
        Damage {
            name: format!(
                "{index}-{what}-{:?}@{:x}-in-{:?}@{:x}+{at}-{how}",
                from.kind, from.off, to.kind, to.off
            ),
            patches: self.finish(to, bytes, sealed),
        }
    }

    /// Bits flipped anywhere in a structure.
    fn flips(&self, index: usize, random: &mut Random) -> Damage {
        let place = self.choose(random);
        let mut bytes = self.bytes(place.off, place.len);
        let count = 1 + random.below(6);
        for _ in 0..count {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
        let sealed = random.once_in(2);
        let how = if sealed { "sealed" } else { "unsealed" };
        Damage {
            name: format!(
                "{index}-{count}flips-{:?}@{:x}-{how}",
                place.kind, place.off
            ),
            patches: self.finish(place, bytes, sealed),
        }
    }

    /// The patches that put `bytes` into a place, with a good checksum if so wished.
    fn finish(&self, place: Place, mut bytes: Vec<u8>, sealed: bool) -> Vec<Patch> {
        let mut patches = Vec::new();
        if sealed {
            match place.kind {
                Kind::Superblock | Kind::Backup => {
                    let crc = crc::update(crc::update(!0, &bytes[..8]), &bytes[12..512]);
                    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
                }
                Kind::Journal => self.seal_journal(place.off, &mut bytes),
                Kind::Bitmap | Kind::InodeBitmap => patches.push(self.sum(place, &bytes)),
                Kind::Sums => {}
                _ => {
                    // It cannot fail: the structure is longer than what its checksum covers.
                    let _ = self
                        .volume
                        .reseal(place.off, place.len as usize, &mut bytes);
                }
            }
        }
        patches.push(Patch {
            off: place.off,
            bytes,
        });
        // The base is what the reader has: only differences.
        patches
            .iter()
            .flat_map(|patch| self.differences(patch))
            .collect()
    }

    fn seal_journal(&self, off: u64, bytes: &mut [u8]) {
        let mut all = self.image[off as usize..].to_vec();
        all[..bytes.len()].copy_from_slice(bytes);
        // It cannot fail: there is room for a header.
        let _ = journal::seal(&self.volume, &mut all);
        bytes.copy_from_slice(&all[..bytes.len()]);
    }

    /// The checksum of a line of a bitmap, in the table.
    fn sum(&self, place: Place, line: &[u8]) -> Patch {
        let crc = crc::update(self.volume.crc_start(place.off), line);
        let at = offset_of(self.volume.geometry().sums_start);
        Patch {
            off: at + if place.kind == Kind::Bitmap { 0 } else { 4 },
            bytes: crc.to_le_bytes().to_vec(),
        }
    }

    fn differences(&self, patch: &Patch) -> Vec<Patch> {
        let old = self.bytes(patch.off, patch.bytes.len() as u64);
        let mut found: Vec<Patch> = Vec::new();
        for (at, (old, new)) in (patch.off..).zip(old.iter().zip(&patch.bytes)) {
            if old == new {
                continue;
            }
            match found.last_mut() {
                Some(last) if last.off + last.bytes.len() as u64 == at => last.bytes.push(*new),
                _ => found.push(Patch {
                    off: at,
                    bytes: vec![*new],
                }),
            }
        }
        found
    }
}
