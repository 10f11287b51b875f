// SPDX-License-Identifier: GPL-2.0

//! The journal: one redo record at a time.
//!
//! A record is a [`Header`] and, behind it, entries: bytes for a place, a run of bits to set or
//! clear in one of the bitmaps, or the checksums of a group in the bitmaps. Applying an entry twice
//! is the same as applying it once.
//!
//! Each commit writes its record over the one before. What makes that safe:
//! * The record is complete or it is not one: the checksum covers the header and all entries. A
//!   record that was written half over another has neither's checksum.
//! * When a record is overwritten, everything that it says is durable in its place.
//! * A record that is complete and applied already may be applied again by recovery, because
//!   nothing that counts has been stored since to a place that it names. Metadata is stored to by
//!   later transactions only, which overwrite the record first. User data is stored in place, but
//!   not where the record names bytes: a block that it frees gets into a file only by a later
//!   transaction.
//! * What a record depends on but does not contain, the contents of new blocks, is durable before
//!   the record is written ([`persist`](super::persist)).

use core::{
    cmp,
    ops::DerefMut, //
};

use zerocopy::{
    little_endian::{
        U32,
        U64, //
    },
    FromBytes,
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

use super::{
    bitmap::{
        self,
        Plane, //
    },
    mount::{
        self,
        STATUS, //
    },
    offset_of,
    persist::{
        Durable,
        Flushed,
        Fresh,
        Home,
        Log,
        Stored, //
    },
    space::Run,
    Error,
    Geometry,
    Medium,
    Result,
    Space,
    Tx,
    Volume,
    BLOCK_SIZE,
    CHUNK, //
};

/// Bytes of arena that suit every operation of the engine.
pub const ARENA_BYTES: usize = 192 << 10;

const MAGIC: u32 = u32::from_le_bytes(*b"pJrn");

/// Entry: bytes follow, for a place in the data area or for the status.
const BYTES: u32 = 1;
/// Entry: blocks are in use.
pub(super) const BLOCKS_USED: u32 = 2;
/// Entry: blocks are free.
pub(super) const BLOCKS_FREE: u32 = 3;
/// Entry: blocks hold inodes.
pub(super) const INODES_HERE: u32 = 4;
/// Entry: blocks do not hold inodes.
pub(super) const INODES_GONE: u32 = 5;
/// Entry: the checksums of a group in the bitmaps.
const SUMS: u32 = 6;

/// Bytes of entries that are stored at a time.
const PIECE: usize = 256;

/// Words that are logged though they did not change, because a new entry would cost as much.
const GAP: usize = 2;

/// The start of a record: one cache line.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: U32,
    /// Of the entries, then of what follows this field here.
    crc: U32,
    sequence: U64,
    /// Bytes of all entries.
    len: U64,
    reserved: [u8; 40],
}

const HEADER: u64 = size_of::<Header>() as u64;

/// The start of an entry. Everything is a multiple of eight bytes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct EntryHead {
    kind: U32,
    /// Of the data that follows, in bytes.
    len: U32,
    /// Byte offset, number of the first bit, or group.
    start: U64,
    /// How many bits, or the checksums.
    bits: U64,
}

const ENTRY: u64 = size_of::<EntryHead>() as u64;

/// The most bytes that the log entries for an object of `len` bytes can take. Two entries stand for
/// words that are at least `GAP + 2` apart, which is as many bytes as the first of them takes.
pub(super) const fn bound(len: u64) -> u64 {
    const { assert!(ENTRY + 8 <= (GAP as u64 + 2) * 8) };
    len + ENTRY + 8
}

/// The most bytes that the log entries for a run of bits can take: its own, and those for the
/// checksums of the groups at its two ends.
pub(super) const RUN_BOUND: u64 = 3 * ENTRY;

/// Bytes that the entries of one record can take.
pub(super) const fn capacity(geometry: &Geometry) -> u64 {
    geometry.journal_blocks * BLOCK_SIZE - HEADER
}

/// What an entry of this kind does to which bitmap.
pub(super) fn bitmap_change(kind: u32) -> Option<(Plane, bool)> {
    match kind {
        BLOCKS_USED => Some((Plane::Used, true)),
        BLOCKS_FREE => Some((Plane::Used, false)),
        INODES_HERE => Some((Plane::Inodes, true)),
        INODES_GONE => Some((Plane::Inodes, false)),
        _ => None,
    }
}

/// What the journal of a mounted file system remembers.
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

    /// The record is in its places: the next may overwrite it.
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

/// What [`recover`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// No complete record.
    Nothing,
    /// A record, of so many bytes, that was applied (again).
    Replayed(u64),
}

impl<A: DerefMut<Target = [u8]>> Journal<A> {
    /// The journal of `volume`, which has been recovered.
    pub fn new<M: Medium>(volume: &Volume<M>, arena: A) -> Result<Self> {
        let mounts = mount::status(volume)?.mounts();
        Ok(Journal {
            // Never the same twice: a mount counts up, in a transaction, before all others.
            state: State {
                sequence: mounts << 32,
                aborted: volume.geometry().read_only,
            },
            arena,
        })
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

    /// Runs `operation` in a transaction, which is committed if it succeeds and dropped if not.
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

    /// Whether a commit has failed.
    pub fn is_aborted(&self) -> bool {
        self.state.aborted
    }

    /// Empties the journal, at umount: the next mount has nothing to replay.
    pub fn retire<M: Medium>(&mut self, volume: &Volume<M>) -> Result {
        if self.state.aborted {
            return Err(Error::Aborted);
        }
        erase(volume)
    }
}

/// Makes the journal hold no record.
pub fn erase<M: Medium>(volume: &Volume<M>) -> Result {
    let base = offset_of(volume.geometry().journal_start);
    volume.medium().zero(base, HEADER)?;
    volume.medium().flush(base, HEADER)?;
    volume.medium().fence();
    Ok(())
}

/// Writes a record.
pub(super) struct Writer<'v, M: Medium> {
    volume: &'v Volume<M>,
    /// Bytes of the entries so far.
    len: u64,
    /// Checksum of what has left the buffer.
    crc: u32,
    /// The last bytes of them, which are stored together.
    buffer: [u8; PIECE],
    buffered: usize,
}

impl<'v, M: Medium> Writer<'v, M> {
    pub(super) fn new(volume: &'v Volume<M>) -> Self {
        let base = offset_of(volume.geometry().journal_start);
        Writer {
            volume,
            len: 0,
            crc: volume.crc_start(base),
            buffer: [0; PIECE],
            buffered: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn append(&mut self, bytes: &[u8]) -> Result {
        let len = bytes.len() as u64;
        if self.len + len > capacity(self.volume.geometry()) {
            return Err(Error::TxFull);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.buffered == PIECE {
                self.store()?;
            }
            let free = self.buffer.get_mut(self.buffered..).ok_or(Error::Io)?;
            let (now, later) = rest.split_at(cmp::min(rest.len(), free.len()));
            let to = free.get_mut(..now.len()).ok_or(Error::Io)?;
            to.copy_from_slice(now);
            self.buffered += now.len();
            self.len += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// Stores what is in the buffer.
    fn store(&mut self) -> Result {
        let bytes = self.buffer.get(..self.buffered).ok_or(Error::Io)?;
        let base = offset_of(self.volume.geometry().journal_start) + HEADER;
        let at = base + self.len - bytes.len() as u64;
        self.volume.medium().write(at, bytes)?;
        self.crc = self.volume.medium().crc32c(self.crc, bytes);
        self.buffered = 0;
        Ok(())
    }

    /// Logs the words of an object that differ from the medium.
    pub(super) fn object(&mut self, off: u64, bytes: &[u8]) -> Result {
        let mut old = [U64::ZERO; CHUNK / 8];
        let new = <[U64]>::ref_from_bytes(bytes).map_err(|_| Error::TxFull)?;
        // The run of words to log, as byte positions in the object.
        let mut run = 0..0;
        let mut base = 0;
        for new in new.chunks(CHUNK / 8) {
            let old = old.get_mut(..new.len()).ok_or(Error::TxFull)?;
            let medium = self.volume.medium();
            medium.read(off + base as u64, old.as_mut_bytes())?;
            // Most of a block has not changed: the whole piece is compared first.
            if old.as_bytes() != new.as_bytes() {
                for (index, (old, new)) in old.iter().zip(new).enumerate() {
                    if old.get() == new.get() {
                        continue;
                    }
                    let at = base + index * 8;
                    if run.is_empty() || at - run.end > GAP * 8 {
                        self.bytes(off, bytes, run)?;
                        run = at..at + 8;
                    } else {
                        run.end = at + 8;
                    }
                }
            }
            base += CHUNK;
        }
        self.bytes(off, bytes, run)
    }

    fn bytes(&mut self, off: u64, object: &[u8], run: core::ops::Range<usize>) -> Result {
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

    /// Logs a change of a bitmap.
    pub(super) fn run(&mut self, kind: u32, run: Run) -> Result {
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
        self.append(head.as_bytes())
    }

    /// Completes the record. What it refers to must be durable before this.
    pub(super) fn finish(mut self, _: Durable<Fresh>, state: &State) -> Result<Stored<'v, M, Log>> {
        self.store()?;
        let volume = self.volume;
        let mut header = Header::new_zeroed();
        header.magic.set(MAGIC);
        header.sequence.set(state.sequence);
        header.len.set(self.len);
        header.crc.set(header.checksum(volume, self.crc));
        let base = offset_of(volume.geometry().journal_start);
        volume.medium().write(base, header.as_bytes())?;
        Ok(Stored::new(volume.medium(), base, HEADER + self.len))
    }
}

impl Header {
    /// The checksum, given that of the entries.
    fn checksum<M: Medium>(&self, volume: &Volume<M>, entries: u32) -> u32 {
        let rest = self.as_bytes().get(8..).unwrap_or(&[]);
        volume.medium().crc32c(entries, rest)
    }
}

/// Applies the record that is in the journal.
pub(super) fn apply<M: Medium>(
    volume: &Volume<M>,
    _: Durable<Log>,
) -> Result<Flushed<'_, M, Home>> {
    let header: Header = volume.plain(offset_of(volume.geometry().journal_start))?;
    for_each(volume, header.len.get(), |entry, data| {
        let run = Run {
            start: entry.start.get(),
            len: entry.bits.get(),
        };
        match (entry.kind.get(), bitmap_change(entry.kind.get())) {
            (BYTES, _) => {
                let len = u64::from(entry.len.get());
                volume.medium().copy(data, run.start, len)
            }
            (_, Some((plane, set))) => bitmap::mark(volume, plane, run, set),
            _ => bitmap::set_sum(volume, run.start, run.len),
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
    let mut chunk = [0u8; CHUNK];
    let mut crc = volume.crc_start(base);
    let mut done = 0;
    while done < len {
        let part = cmp::min(len - done, CHUNK as u64);
        let part = chunk.get_mut(..part as usize).ok_or(Error::Io)?;
        volume.medium().read(base + HEADER + done, part)?;
        crc = volume.medium().crc32c(crc, part);
        done += part.len() as u64;
    }
    if header.checksum(volume, crc) != header.crc.get() {
        return Ok(None);
    }

    // A right checksum can still be a forger's: nothing outside what the journal is for.
    let mut room = len;
    for_each(volume, len, |entry, _| {
        let (start, bits) = (entry.start.get(), entry.bits.get());
        let bytes = u64::from(entry.len.get());
        room = room
            .checked_sub(ENTRY)
            .and_then(|room| room.checked_sub(bytes))
            .ok_or(Error::Corrupt("journal entry reaches over its end"))?;
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

/// Whether the journal may store `len` bytes at `off`.
fn allowed(geometry: &Geometry, off: u64, len: u64) -> bool {
    let Some(end) = off.checked_add(len) else {
        return false;
    };
    let status = off >= STATUS && end <= STATUS + BLOCK_SIZE;
    let data = off >= offset_of(geometry.data_start) && end <= offset_of(geometry.data_end);
    off % 8 == 0 && len % 8 == 0 && len > 0 && (status || data)
}

/// Whether [`recover`] would write, for a mount that must not.
pub fn needs_recovery<M: Medium>(volume: &Volume<M>) -> Result<bool> {
    Ok(find(volume)?.is_some())
}

/// Completes the last commit if it reached the journal. Must come before anything else is read.
///
/// A crash on the way is harmless: the record is still there.
///
/// # Errors
/// [`Error::Corrupt`] if the journal holds what no commit can have written, [`Error::Aborted`] if
/// the volume must not be written but needs it.
pub fn recover<M: Medium>(volume: &Volume<M>) -> Result<Recovered> {
    let Some(len) = find(volume)? else {
        return Ok(Recovered::Nothing);
    };
    if volume.geometry().read_only {
        return Err(Error::Aborted);
    }
    let base = offset_of(volume.geometry().journal_start);
    // What is seen after a crash may still be on its way: flush it before relying on it.
    let log = Stored::new(volume.medium(), base, HEADER + len)
        .flush()?
        .fence();
    let _home = apply(volume, log)?.fence();
    erase(volume)?;
    Ok(Recovered::Replayed(len))
}
