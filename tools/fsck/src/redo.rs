// SPDX-License-Identifier: GPL-2.0

//! The redo log of a repair.
//!
//! The head stands where the record of the kernel's journal does, which is replayed by then, and is
//! the last of the log to be written: with it the repair is decided, and whoever finds it goes on
//! ([`resume`]). The pieces stand in blocks that say nothing else, and hold one stream of entries:
//! an offset, a number of bytes, and as many bytes for that place. An entry may begin in one piece
//! and end in the next. Applying the log twice is the same as applying it once.

use pinfs_format::{
    journal,
    offset_of,
    volume::{
        Object,
        Seal, //
    },
    Error,
    Geometry,
    Medium,
    Result,
    Volume,
    BLOCK_SIZE, //
};
use zerocopy::{
    little_endian::U64,
    FromZeros,
    IntoBytes, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

/// Bytes of entries in a piece.
pub const ROOM: usize = BLOCK_SIZE as usize - 16;

/// Bytes that an entry has before those of its place.
const ENTRY: usize = 16;

/// The most bytes that an entry holds for its place.
const ENTRY_MAX: usize = 1024;

/// Words that are logged though they did not change, because a new entry would cost as much.
const GAP: usize = ENTRY / 8;

/// The start of a log.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    seal: Seal,
    /// The block of the first piece.
    first: U64,
    /// Bytes of all entries.
    len: U64,
    /// XXH64 of all entries.
    hash: U64,
    reserved: [u8; 32],
}

impl Object for Head {
    const MAGIC: u32 = u32::from_le_bytes(*b"pRed");
    const DAMAGED: &'static str = "redo log is damaged";
}

/// A block with entries.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Piece {
    seal: Seal,
    /// The block of the next piece, or 0.
    next: U64,
    bytes: [u8; ROOM],
}

const _: () = assert!(size_of::<Head>() == 64 && size_of::<Piece>() as u64 == BLOCK_SIZE);

impl Object for Piece {
    const MAGIC: u32 = u32::from_le_bytes(*b"pRec");
    const DAMAGED: &'static str = Head::DAMAGED;
}

/// Entries of a log, as they stand in it.
#[derive(Default)]
pub struct Entries(Vec<u8>);

impl Entries {
    /// Bytes of the entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the words that differ between what stands at `off` and what is to stand there.
    pub fn add_differences(&mut self, off: u64, old: &[u8], new: &[u8]) {
        let differs = |at: usize| old[at..at + 8] != new[at..at + 8];
        let mut at = 0;
        while at < new.len() {
            if !differs(at) {
                at += 8;
                continue;
            }
            let start = at;
            let mut end = at + 8;
            at = end;
            while at < new.len() && at - end <= GAP * 8 && at - start < ENTRY_MAX {
                if differs(at) {
                    end = at + 8;
                }
                at += 8;
            }
            self.add(off + start as u64, &new[start..end]);
            at = end;
        }
    }

    fn add(&mut self, off: u64, data: &[u8]) {
        self.0.extend(off.to_le_bytes());
        self.0.extend((data.len() as u64).to_le_bytes());
        self.0.extend(data);
    }

    /// Divides the entries into parts of at most `room` bytes, which is enough for any one of them.
    pub fn divide(self, room: usize) -> Vec<Entries> {
        let mut parts = vec![Entries::default()];
        for (off, data) in self.iter() {
            if let Some(last) = parts.last_mut() {
                if last.len() + ENTRY + data.len() <= room {
                    last.add(off, data);
                    continue;
                }
            }
            let mut part = Entries::default();
            part.add(off, data);
            parts.push(part);
        }
        parts.retain(|part| !part.is_empty());
        parts
    }

    /// Adds what `other` has.
    pub fn append(&mut self, other: &Entries) {
        self.0.extend(&other.0);
    }

    /// Places and what belongs there; ends where the bytes are no entries.
    fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (off, behind) = rest.split_first_chunk()?;
            let (len, behind) = behind.split_first_chunk()?;
            let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
            let (data, behind) = behind.split_at_checked(len)?;
            rest = behind;
            Some((u64::from_le_bytes(*off), data))
        })
    }

    /// Whether all bytes are entries, each for a place that a repair may store to.
    fn are_good(&self, geometry: &Geometry) -> bool {
        let mut len = 0;
        let all = self.iter().all(|(off, data)| {
            len += ENTRY + data.len();
            let journal = offset_of(geometry.journal_start);
            let behind = journal + geometry.journal_blocks * BLOCK_SIZE;
            let end = off.checked_add(data.len() as u64);
            off >= BLOCK_SIZE
                && off % 8 == 0
                && data.len() % 8 == 0
                && end.is_some_and(|end| end <= geometry.blocks * BLOCK_SIZE)
                && end.is_some_and(|end| end <= journal || off >= behind)
        });
        all && len == self.len()
    }
}

/// Whether a piece may stand in `block`.
fn may_hold_piece(geometry: &Geometry, block: u64) -> bool {
    let journal = geometry.journal_start + 1..geometry.journal_start + geometry.journal_blocks;
    journal.contains(&block) || geometry.in_data(block, 1)
}

/// Writes a log with its pieces in `places`, which are enough, and makes it durable. Whatever it
/// refers to is durable then, too.
pub fn write<M: Medium>(volume: &Volume<M>, entries: &Entries, places: &[u64]) -> Result {
    let mut hash = 0;
    for (index, part) in entries.0.chunks(ROOM).enumerate() {
        let place = *places.get(index).ok_or(Error::NoSpace)?;
        let more = (index + 1) * ROOM < entries.len();
        let next = places.get(index + 1).filter(|_| more);
        let mut piece = Box::new(Piece::new_zeroed());
        piece.next.set(next.copied().unwrap_or(0));
        piece.bytes[..part.len()].copy_from_slice(part);
        volume.store(offset_of(place), &mut *piece)?;
        hash = volume.medium().xxh64(hash, part);
    }
    volume.medium().fence();
    let mut head = Head::new_zeroed();
    head.first.set(places.first().copied().unwrap_or(0));
    head.len.set(entries.len() as u64);
    head.hash.set(hash);
    volume.store(offset_of(volume.geometry().journal_start), &mut head)?;
    volume.medium().fence();
    Ok(())
}

/// Stores what a log says, durably. The log must be durable.
pub fn apply<M: Medium>(volume: &Volume<M>, entries: &Entries) -> Result {
    for (off, data) in entries.iter() {
        volume.medium().store(off, data)?;
    }
    volume.medium().fence();
    Ok(())
}

/// Reads a log that is complete. Its blocks are flushed, because they may be seen before they are
/// durable.
fn find<M: Medium>(volume: &Volume<M>) -> Result<Option<Entries>> {
    let geometry = volume.geometry();
    let off = offset_of(geometry.journal_start);
    let head: Head = volume.plain(off)?;
    if volume.verify::<Head>(off, head.as_bytes()).is_err() {
        return Ok(None);
    }
    volume.medium().flush(off, size_of::<Head>() as u64)?;
    let len = head.len.get();
    if len > geometry.blocks * BLOCK_SIZE {
        return Ok(None);
    }
    let mut entries = Entries::default();
    let mut block = head.first.get();
    let mut hash = 0;
    while (entries.len() as u64) < len {
        if !may_hold_piece(geometry, block) {
            return Ok(None);
        }
        let mut piece = Box::new(Piece::new_zeroed());
        let off = offset_of(block);
        volume.medium().read(off, piece.as_mut_bytes())?;
        if volume.verify::<Piece>(off, piece.as_bytes()).is_err() {
            return Ok(None);
        }
        volume.medium().flush(off, BLOCK_SIZE)?;
        let part = (len - entries.len() as u64).min(ROOM as u64);
        let part = &piece.bytes[..part as usize];
        hash = volume.medium().xxh64(hash, part);
        entries.0.extend(part);
        block = piece.next.get();
    }
    let good = hash == head.hash.get() && entries.are_good(geometry);
    Ok(good.then_some(entries))
}

/// Completes a repair that was cut short, if it was decided. Returns whether it was.
pub fn resume<M: Medium>(volume: &Volume<M>) -> Result<bool> {
    let Some(entries) = find(volume)? else {
        return Ok(false);
    };
    volume.medium().fence();
    apply(volume, &entries)?;
    journal::erase(volume)?;
    Ok(true)
}
