// SPDX-License-Identifier: GPL-2.0

//! The journal: one redo record at a time.
//!
//! A record is a [`Header`] followed by entries ([`record`](crate::ondisk::record)). Applying an
//! entry twice is the same as applying it once.
//!
//! Each commit writes its record over the previous one. This is safe because:
//! * A record is complete or not valid: two checksums cover the header and all entries. A record
//!   that was written half over another does not match them. One is not enough: the entries hold
//!   CRC-32Cs of bytes that they hold too, so a CRC-32C of the record need not detect an old word
//!   here with an old checksum there. The XXH64 is not linear and detects it.
//! * When a record is overwritten, all its entries are durable in their places.
//! * Recovery may apply a complete record again, because no later store went to a place that it
//!   names. Only later transactions store metadata, and they overwrite the record first. User data
//!   is stored in place, but never to bytes that the record names: a block that it frees gets into
//!   a file only by a later transaction.
//! * The contents of new blocks, which a record depends on but does not contain, are durable before
//!   the record is written ([`persist`](super::persist)).

use core::{
    cmp,
    ops::{
        DerefMut,
        Range, //
    }, //
};

use zerocopy::{
    little_endian::{
        U32,
        U64, //
    },
    FromBytes,
    IntoBytes, //
};

use super::{
    bitmap,
    mount,
    persist::{
        Durable,
        Flushed,
        Fresh,
        Home,
        Log,
        Stored, //
    },
    run::BlockRun,
    Medium,
    Space,
    Tx,
    Volume,
    CHUNK, //
};
use crate::ondisk::{
    offset_of,
    record::{
        allowed,
        bitmap_change,
        capacity,
        EntryHead,
        Header,
        Sums,
        BLOCKS_MIN,
        BLOCKS_USED,
        BYTES,
        ENTRY,
        HEADER,
        INODES_GONE,
        MAGIC,
        PIECE,
        SUMS, //
    },
    Error,
    Result, //
};

/// Bytes of memory that a [`Writer`] needs in addition to the entries.
pub(super) const WRITER: u64 = HEADER + CHUNK as u64;

/// Bytes of arena that suffice for every operation of the engine: copies of objects, and the
/// record.
pub const ARENA_BYTES: usize = 480 << 10;

/// Bytes of an object that a change is noted for: a cache line. An object has [`u64::BITS`] lines
/// at most.
pub(super) const LINE: usize = 64;

/// Lines that are compared with the medium at a time, at most.
const COMPARED: usize = CHUNK / LINE;

/// Words that are logged though they did not change, because a new entry would cost as much.
const GAP: usize = 2;

/// Returns the most bytes that the log entries for an object of `len` bytes can take. The starts of
/// two entries are at least `GAP + 2` words apart, as many bytes as an entry of one word takes.
pub(super) const fn bound(len: u64) -> u64 {
    const { assert!(ENTRY + 8 <= (GAP as u64 + 2) * 8) };
    len + ENTRY + 8
}

/// The most bytes that the log entries for a run of bits can take: its own entry, and those for the
/// checksums of the groups at its two ends.
pub(super) const RUN_BOUND: u64 = 3 * ENTRY;

/// State of the journal of a mounted file system.
pub(super) struct State {
    sequence: u64,
    aborted: bool,
}

impl State {
    pub(super) fn is_aborted(&self) -> bool {
        self.aborted
    }

    pub(super) fn abort(&mut self) {
        self.aborted = true;
    }

    /// Notes that the record is durable in its places; the next one may overwrite it.
    pub(super) fn settled(&mut self, _: Durable<Home>) {
        self.sequence = self.sequence.wrapping_add(1);
    }
}

/// The journal of a mounted file system. `A` is memory for one transaction, [`ARENA_BYTES`] long.
///
/// Locks: the journal lock for everything.
pub struct Journal<A> {
    state: State,
    arena: A,
}

/// Result of [`recover`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// No complete record.
    Nothing,
    /// A record of so many bytes was applied, perhaps again.
    Replayed(u64),
}

impl<A: DerefMut<Target = [u8]>> Journal<A> {
    /// Returns the journal of `volume`, which has been recovered.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it has less than [`BLOCKS_MIN`] blocks, or the status is damaged.
    pub fn new<M: Medium>(volume: &Volume<M>, arena: A) -> Result<Self> {
        if volume.geometry().journal_blocks < BLOCKS_MIN {
            return Err(Error::Corrupt("journal is too small"));
        }
        let mounts = mount::status(volume)?.mounts();
        Ok(Journal {
            // Differs between mounts for writing, each of which increments the count.
            state: State {
                sequence: mounts << 32,
                aborted: volume.geometry().read_only,
            },
            arena,
        })
    }

    /// Returns a journal that refuses transactions, for a volume that is only read. `arena` may be
    /// empty.
    pub fn closed(arena: A) -> Self {
        Journal {
            state: State {
                sequence: 0,
                aborted: true,
            },
            arena,
        }
    }

    /// Starts a transaction.
    ///
    /// # Errors
    /// [`Error::Aborted`] after a failed commit and on a volume that must not be written,
    /// [`Error::Invalid`] if the arena is too small to be of any use.
    pub fn begin<'a, M, S>(
        &'a mut self,
        volume: &'a Volume<M>,
        space: &'a mut Space<S>,
    ) -> Result<Tx<'a, M>>
    where
        M: Medium,
        S: DerefMut<Target = [u64]>,
    {
        if self.state.aborted {
            return Err(Error::Aborted);
        }
        Tx::new(volume, &mut self.state, &mut self.arena, space.view())
    }

    /// Runs `operation` in a transaction. Commits it if `operation` succeeds, and drops it
    /// otherwise.
    pub fn run<M, S, R>(
        &mut self,
        volume: &Volume<M>,
        space: &mut Space<S>,
        operation: impl FnOnce(&mut Tx<'_, M>) -> Result<R>,
    ) -> Result<R>
    where
        M: Medium,
        S: DerefMut<Target = [u64]>,
    {
        let mut tx = self.begin(volume, space)?;
        let answer = operation(&mut tx)?;
        tx.commit()?;
        Ok(answer)
    }

    /// Returns whether the journal refuses transactions, as after a failed commit.
    pub fn is_aborted(&self) -> bool {
        self.state.aborted
    }

    /// Empties the journal at umount: the next mount has nothing to replay.
    pub fn retire<M: Medium>(&mut self, volume: &Volume<M>) -> Result {
        if self.state.aborted {
            return Err(Error::Aborted);
        }
        erase(volume)
    }
}

/// Erases the record in the journal.
pub fn erase<M: Medium>(volume: &Volume<M>) -> Result {
    let base = offset_of(volume.geometry().journal_start);
    volume.medium().zero(base, HEADER)?;
    volume.medium().flush(base, HEADER)?;
    volume.medium().fence();
    Ok(())
}

/// A record in memory.
struct Record<'v> {
    /// The header and the entries.
    bytes: &'v mut [u8],
    /// Where the next entry goes.
    end: usize,
}

impl Record<'_> {
    fn append(&mut self, bytes: &[u8]) -> Result {
        let end = self.end + bytes.len();
        let to = self.bytes.get_mut(self.end..end).ok_or(Error::TxFull)?;
        to.copy_from_slice(bytes);
        self.end = end;
        Ok(())
    }

    /// Adds bytes `more` of an object at offset `off` to its pending `run`. Bytes that cannot join
    /// the run start a new one, and the old one gets an entry.
    fn extend(
        &mut self,
        off: u64,
        object: &[u8],
        run: &mut Range<usize>,
        more: Range<usize>,
    ) -> Result {
        if run.start == run.end || more.start - run.end > GAP * 8 {
            self.part(off, object, core::mem::replace(run, more))
        } else {
            run.end = more.end;
            Ok(())
        }
    }

    /// Appends an entry for bytes `run` of an object at offset `off`.
    fn part(&mut self, off: u64, object: &[u8], run: Range<usize>) -> Result {
        if run.is_empty() {
            return Ok(());
        }
        let start = off + run.start as u64;
        let data = object.get(run).ok_or(Error::TxFull)?;
        let head = EntryHead {
            kind: U32::new(BYTES),
            len: U32::new(data.len() as u32),
            start: U64::new(start),
            bits: U64::new(0),
        };
        self.append(head.as_bytes())?;
        self.append(data)
    }
}

/// Builds a record in memory, and writes it to the journal when it is complete.
pub(super) struct Writer<'v, M: Medium> {
    volume: &'v Volume<M>,
    record: Record<'v>,
    /// Buffer for the old contents of an object on the medium.
    old: &'v mut [Words],
}

/// The words of a line.
type Words = [U64; LINE / 8];

/// Returns a mask of the words in which two lines differ.
fn difference(old: &Words, new: &Words) -> u32 {
    let pairs = old.iter().zip(new).enumerate();
    pairs.fold(0, |bits, (index, (old, new))| {
        bits | u32::from(old.get() != new.get()) << index
    })
}

impl<'v, M: Medium> Writer<'v, M> {
    /// Returns a writer that builds the record in `memory`.
    pub(super) fn new(volume: &'v Volume<M>, memory: &'v mut [u8]) -> Result<Self> {
        let (old, bytes) =
            <[Words]>::mut_from_prefix_with_elems(memory, COMPARED).map_err(|_| Error::TxFull)?;
        Ok(Writer {
            volume,
            record: Record {
                bytes,
                end: HEADER as usize,
            },
            old,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.record.end == HEADER as usize
    }

    /// Logs the words of an object that differ from the medium, all of them in the `lines` that are
    /// set. If the lines are `noted` one by one, many in a row are entries that were moved: almost
    /// every word differs, and they are logged without a comparison.
    pub(super) fn object(&mut self, off: u64, bytes: &[u8], lines: u64, noted: bool) -> Result {
        debug_assert!(self.is_noted(off, bytes, lines));
        // The run of words to log, as byte positions in the object.
        let mut run = 0..0;
        let mut left = lines;
        while left != 0 {
            let first = left.trailing_zeros() as usize;
            let count = (left >> first).trailing_ones() as usize;
            let moved = noted && count > COMPARED;
            let count = if moved {
                count
            } else {
                cmp::min(count, COMPARED)
            };
            left &= !(!0 >> (u64::BITS as usize - count) << first);
            let part = first * LINE..(first + count) * LINE;
            if moved {
                self.record.extend(off, bytes, &mut run, part)?;
            } else {
                self.differences(off, bytes, &mut run, part)?;
            }
        }
        self.record.part(off, bytes, run)
    }

    /// Adds the words in a part of an object that differ from the medium to the pending `run`.
    fn differences(
        &mut self,
        off: u64,
        bytes: &[u8],
        run: &mut Range<usize>,
        part: Range<usize>,
    ) -> Result {
        let start = part.start;
        let new = bytes.get(part).ok_or(Error::TxFull)?;
        let new = <[Words]>::ref_from_bytes(new).map_err(|_| Error::TxFull)?;
        let old = self.old.get_mut(..new.len()).ok_or(Error::TxFull)?;
        let medium = self.volume.medium();
        medium.read(off + start as u64, old.as_mut_bytes())?;
        for (line, (old, new)) in old.iter().zip(new).enumerate() {
            let mut left = difference(old, new);
            while left != 0 {
                let first = left.trailing_zeros() as usize;
                let count = (left >> first).trailing_ones() as usize;
                left &= !((1 << (first + count)) - 1);
                let at = start + line * LINE + first * 8;
                self.record.extend(off, bytes, run, at..at + count * 8)?;
            }
        }
        Ok(())
    }

    /// Returns whether all differences to the medium are in `lines`.
    fn is_noted(&self, off: u64, bytes: &[u8], lines: u64) -> bool {
        let mut old = [0; LINE];
        bytes.chunks(LINE).enumerate().all(|(line, new)| {
            let at = off + (line * LINE) as u64;
            lines >> line & 1 != 0
                || self.volume.medium().read(at, &mut old).is_err()
                || old.as_slice() == new
        })
    }

    /// Logs a change of a bitmap.
    pub(super) fn run(&mut self, kind: u32, run: BlockRun) -> Result {
        self.entry(kind, run.start, run.len)
    }

    /// Logs the checksums of a group.
    pub(super) fn sums(&mut self, group: u64, word: u64) -> Result {
        self.entry(SUMS, group, word)
    }

    fn entry(&mut self, kind: u32, start: u64, bits: u64) -> Result {
        let head = EntryHead {
            kind: U32::new(kind),
            len: U32::new(0),
            start: U64::new(start),
            bits: U64::new(bits),
        };
        self.record.append(head.as_bytes())
    }

    /// Completes the record and stores it. The contents that it refers to must be durable before.
    pub(super) fn finish(self, _: Durable<Fresh>, state: &State) -> Result<Written<'v, M>> {
        let volume = self.volume;
        let base = offset_of(volume.geometry().journal_start);
        let Record { bytes, end } = self.record;
        let record = bytes.get_mut(..end).ok_or(Error::TxFull)?;
        let (header, entries) = Header::mut_from_prefix(&mut *record).map_err(|_| Error::TxFull)?;
        if entries.len() as u64 > capacity(volume.geometry()) {
            return Err(Error::TxFull);
        }
        header.magic.set(MAGIC);
        header.sequence.set(state.sequence);
        header.len.set(entries.len() as u64);
        header.reserved = [0; 32];
        seal(volume, record)?;
        volume.medium().stream(base, record)?;
        Ok(Written {
            volume,
            entries: record.get(HEADER as usize..).unwrap_or(&[]),
            flushed: Flushed::new(volume.medium()),
        })
    }
}

/// A record that has been stored, and its entries in memory.
#[must_use]
pub(super) struct Written<'v, M: Medium> {
    volume: &'v Volume<M>,
    entries: &'v [u8],
    flushed: Flushed<'v, M, Log>,
}

impl<'v, M: Medium> Written<'v, M> {
    /// Makes the record durable, and applies it.
    pub(super) fn apply(self) -> Result<Flushed<'v, M, Home>> {
        let log = self.flushed.fence();
        apply_entries(self.volume, log, self.entries)
    }
}

/// Applies the entries of the record that is in the journal, from memory.
fn apply_entries<'v, M: Medium>(
    volume: &'v Volume<M>,
    _: Durable<Log>,
    entries: &[u8],
) -> Result<Flushed<'v, M, Home>> {
    let mut rest = entries;
    while !rest.is_empty() {
        let (entry, behind) = EntryHead::ref_from_prefix(rest).map_err(|_| Error::TxFull)?;
        let data = behind.split_at_checked(entry.len.get() as usize);
        let (data, behind) = data.ok_or(Error::TxFull)?;
        if entry.kind.get() == BYTES {
            volume.medium().store(entry.start.get(), data)?;
        } else {
            apply_bits(volume, entry)?;
        }
        rest = behind;
    }
    Ok(Flushed::new(volume.medium()))
}

/// Applies an entry about the bitmaps.
fn apply_bits<M: Medium>(volume: &Volume<M>, entry: &EntryHead) -> Result {
    let run = BlockRun {
        start: entry.start.get(),
        len: entry.bits.get(),
    };
    match bitmap_change(entry.kind.get()) {
        Some((plane, set)) => bitmap::mark(volume, plane, run, set),
        None => bitmap::set_sum(volume, run.start, run.len),
    }
}

/// Returns the checksums of a record that has no entries yet.
fn sums<M: Medium>(volume: &Volume<M>) -> Sums<'_, M> {
    let crc = volume.crc_start(offset_of(volume.geometry().journal_start));
    Sums::new(volume.medium(), crc)
}

/// Sets the checksums of a record in memory.
pub fn seal<M: Medium>(volume: &Volume<M>, record: &mut [u8]) -> Result {
    let (header, entries) = Header::mut_from_prefix(record).map_err(|_| Error::Invalid)?;
    let len = cmp::min(header.len.get(), entries.len() as u64);
    let mut sums = sums(volume);
    let pieces = entries.get(..len as usize).unwrap_or(&[]).chunks(PIECE);
    pieces.for_each(|piece| sums.add(piece));
    header.seal(sums);
    Ok(())
}

/// Applies the record that is in the journal.
fn apply<M: Medium>(volume: &Volume<M>, _: Durable<Log>) -> Result<Flushed<'_, M, Home>> {
    let header: Header = volume.plain(offset_of(volume.geometry().journal_start))?;
    for_each(volume, header.len.get(), |entry, data| {
        if entry.kind.get() == BYTES {
            let len = u64::from(entry.len.get());
            volume.medium().copy(data, entry.start.get(), len)
        } else {
            apply_bits(volume, entry)
        }
    })?;
    Ok(Flushed::new(volume.medium()))
}

/// Calls `f` with each entry and the offset of its data.
fn for_each<M: Medium>(
    volume: &Volume<M>,
    len: u64,
    mut f: impl FnMut(&EntryHead, u64) -> Result,
) -> Result {
    let base = offset_of(volume.geometry().journal_start) + HEADER;
    let mut at = 0;
    while at < len {
        let entry: EntryHead = volume.plain(base + at)?;
        at += ENTRY;
        f(&entry, base + at)?;
        at += u64::from(entry.len.get());
    }
    Ok(())
}

/// Finds a complete record, checks that it could have been written by this code, and returns its
/// length.
fn find<M: Medium>(volume: &Volume<M>) -> Result<Option<u64>> {
    let geometry = volume.geometry();
    let base = offset_of(geometry.journal_start);
    let header: Header = volume.plain(base)?;
    let len = header.len.get();
    if header.magic.get() != MAGIC || len > capacity(geometry) || len % 8 != 0 {
        return Ok(None);
    }
    let mut piece = [0u8; PIECE];
    let mut sums = sums(volume);
    let mut done = 0;
    while done < len {
        let part = cmp::min(len - done, PIECE as u64);
        let part = piece.get_mut(..part as usize).ok_or(Error::Io)?;
        volume.medium().read(base + HEADER + done, part)?;
        sums.add(part);
        done += part.len() as u64;
    }
    if !header.is_sealed(sums) {
        return Ok(None);
    }

    // A record with right checksums may be forged: only allow places that the journal is for.
    let mut room = len;
    for_each(volume, len, |entry, _| {
        let (start, bits) = (entry.start.get(), entry.bits.get());
        let bytes = u64::from(entry.len.get());
        room = room
            .checked_sub(ENTRY)
            .and_then(|room| room.checked_sub(bytes))
            .ok_or(Error::Corrupt("journal entry past the record's end"))?;
        let good = match entry.kind.get() {
            BYTES => allowed(geometry, start, bytes),
            BLOCKS_USED..=INODES_GONE => bits > 0 && bytes == 0 && geometry.in_data(start, bits),
            SUMS => bytes == 0 && start < geometry.groups(),
            _ => false,
        };
        good.then_some(())
            .ok_or(Error::Corrupt("journal entry for an impossible place"))
    })?;
    Ok(Some(len))
}

/// Returns whether [`recover`] would write, for a mount that must not.
pub fn needs_recovery<M: Medium>(volume: &Volume<M>) -> Result<bool> {
    Ok(find(volume)?.is_some())
}

/// Completes the last commit if it reached the journal. Must be called before any other read.
///
/// A crash meanwhile is harmless: the record is still there.
///
/// # Errors
/// [`Error::Corrupt`] if the journal holds a record that no commit can have written,
/// [`Error::Aborted`] if the volume must not be written but needs recovery.
pub fn recover<M: Medium>(volume: &Volume<M>) -> Result<Recovered> {
    let Some(len) = find(volume)? else {
        return Ok(Recovered::Nothing);
    };
    if volume.geometry().read_only {
        return Err(Error::Aborted);
    }
    let base = offset_of(volume.geometry().journal_start);
    // Contents that are visible after a crash may still be in the cache: flush them first.
    let log = Stored::new(volume.medium(), base, HEADER + len)
        .flush()?
        .fence();
    let _home = apply(volume, log)?.fence();
    erase(volume)?;
    Ok(Recovered::Replayed(len))
}
