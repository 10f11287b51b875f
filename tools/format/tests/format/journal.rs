// SPDX-License-Identifier: GPL-2.0

//! What commits log, and records that none has written: one that is not complete is none, and one that
//! is complete is held against what the journal is for before any of it is stored.

use std::ops::Range;

use pinfs_format::{
    journal::{
        self,
        Recovered, //
    },
    memory::Memory,
    mount::STATUS,
    offset_of,
    volume::inode_offset,
    Error,
    Journal,
    Medium,
    Result,
    Tx,
    Volume, //
};
use zerocopy::IntoBytes;

use crate::support::{
    image,
    request,
    with_superblock,
    Fs, //
};

const HEADER: usize = 64;
const CRC: usize = 4;
const HASH: usize = 8;
const SEQUENCE: usize = 16;
const LEN: usize = 24;
const ENTRY: u64 = 24;

const BYTES: u32 = 1;
const BITMAPS: [u32; 4] = [2, 3, 4, 5];
const SUMS: u32 = 6;

const IMPOSSIBLE: Result<Recovered> = Err(Error::Corrupt("journal entry for an impossible place"));

fn volume() -> Volume<Memory> {
    Volume::open(Memory::new(image(1024))).expect("superblock")
}

/// An entry that says that so much data follows, which is for the caller to add.
fn entry(kind: u32, len: u64, start: u64, bits: u64) -> Vec<u8> {
    let mut entry = kind.to_le_bytes().to_vec();
    entry.extend((len as u32).to_le_bytes());
    entry.extend(start.to_le_bytes());
    entry.extend(bits.to_le_bytes());
    entry
}

/// An entry for `len` bytes of ones.
fn bytes(start: u64, len: u64) -> Vec<u8> {
    [entry(BYTES, len, start, 0), vec![1; len as usize]].concat()
}

/// A whole record of these entries.
fn record(volume: &Volume<Memory>, entries: &[u8]) -> Vec<u8> {
    let mut record = vec![0; HEADER];
    record[..4].copy_from_slice(b"pJrn");
    record[LEN..LEN + 8].copy_from_slice(&(entries.len() as u64).to_le_bytes());
    record.extend(entries);
    journal::seal(volume, &mut record).expect("a header");
    record
}

/// What recovery does when it finds this in the journal; it stores nothing unless it replays it.
fn recovered(volume: &Volume<Memory>, record: &[u8]) -> Result<Recovered> {
    let image = volume.medium().image();
    let journal = offset_of(volume.geometry().journal_start);
    volume.medium().write(journal, record).expect("store");
    let with_record = volume.medium().image();
    let answer = journal::recover(volume);
    if !matches!(answer, Ok(Recovered::Replayed(_))) {
        assert_eq!(volume.medium().image(), with_record);
    }
    volume.medium().write(0, &image).expect("store");
    answer
}

/// What recovery does with a record of these entries.
fn replayed(entries: &[u8]) -> Result<Recovered> {
    let volume = volume();
    recovered(&volume, &record(&volume, entries))
}

#[test]
fn incomplete_records_are_none() {
    let volume = volume();
    let data = offset_of(volume.geometry().data_start);
    let whole = record(&volume, &bytes(data, 16));
    assert_eq!(recovered(&volume, &whole), Ok(Recovered::Replayed(40)));
    assert_eq!(
        recovered(&volume, &record(&volume, &[])),
        Ok(Recovered::Replayed(0))
    );
    // One bit, wherever it is: each field has something else that it does not agree with.
    for at in 0..whole.len() {
        let mut torn = whole.clone();
        torn[at] ^= 1;
        assert_eq!(
            recovered(&volume, &torn),
            Ok(Recovered::Nothing),
            "byte {at}"
        );
    }
    // The checksums of another record, one at a time.
    let other = record(&volume, &bytes(data, 24));
    for range in [CRC..HASH, HASH..HASH + 8] {
        let mut mixed = whole.clone();
        mixed[range.clone()].copy_from_slice(&other[range]);
        assert_eq!(recovered(&volume, &mixed), Ok(Recovered::Nothing));
    }
}

#[test]
fn records_are_as_long_as_they_can_be() {
    let volume = volume();
    let geometry = volume.geometry();
    let (data, end) = (offset_of(geometry.data_start), offset_of(geometry.data_end));
    let capacity = geometry.journal_blocks * 4096 - HEADER as u64;
    let of = |len: u64| {
        // In several pieces, as they are longer than what is there to be overwritten.
        let mut entries = vec![];
        while (entries.len() as u64) < len {
            let left = len - entries.len() as u64 - ENTRY;
            let mut part = left.min(end - data);
            if part < left {
                // Room for one more.
                part = part.min(left - 2 * ENTRY);
            }
            entries.extend(bytes(data, part));
        }
        record(&volume, &entries)
    };
    assert_eq!(
        recovered(&volume, &of(capacity)),
        Ok(Recovered::Replayed(capacity))
    );
    assert_eq!(
        recovered(&volume, &of(capacity + 8)),
        Ok(Recovered::Nothing)
    );

    let odd = [entry(BYTES, 4, data, 0), vec![1; 4]].concat();
    assert_eq!(
        recovered(&volume, &record(&volume, &odd)),
        Ok(Recovered::Nothing)
    );
    let two = [bytes(data, 16), entry(BYTES, 24, data, 0), vec![1; 16]].concat();
    assert_eq!(
        recovered(&volume, &record(&volume, &two)),
        Err(Error::Corrupt("journal entry past the record's end"))
    );
    let half = [bytes(data, 16), vec![0; 16]].concat();
    assert_eq!(
        recovered(&volume, &record(&volume, &half)),
        Err(Error::Corrupt("journal entry past the record's end"))
    );
}

#[test]
fn bytes_go_where_metadata_is() {
    let geometry = *volume().geometry();
    let (data, end) = (offset_of(geometry.data_start), offset_of(geometry.data_end));
    let status = (STATUS, STATUS + 4096);
    for (start, end) in [status, (data, end)] {
        assert_eq!(replayed(&bytes(start, 8)), Ok(Recovered::Replayed(32)));
        assert_eq!(replayed(&bytes(end - 8, 8)), Ok(Recovered::Replayed(32)));
        assert_eq!(replayed(&bytes(start - 8, 8)), IMPOSSIBLE);
        assert_eq!(replayed(&bytes(start - 8, 16)), IMPOSSIBLE);
        assert_eq!(replayed(&bytes(end - 8, 16)), IMPOSSIBLE);
        assert_eq!(replayed(&bytes(end, 8)), IMPOSSIBLE);
        assert_eq!(replayed(&bytes(start, 0)), IMPOSSIBLE);
        assert_eq!(replayed(&bytes(start + 4, 8)), IMPOSSIBLE);
        // Two that make up for each other.
        let halves = [bytes(start, 4), bytes(start + 8, 4)].concat();
        assert_eq!(replayed(&halves), IMPOSSIBLE);
    }
    assert_eq!(replayed(&bytes(u64::MAX - 7, 8)), IMPOSSIBLE);
    assert_eq!(replayed(&bytes(u64::MAX - 7, 16)), IMPOSSIBLE);
}

#[test]
fn bits_are_those_of_blocks_that_can_be_allocated() {
    let geometry = *volume().geometry();
    let (start, end) = (geometry.data_start, geometry.data_end);
    let one = Ok(Recovered::Replayed(ENTRY));
    for kind in BITMAPS {
        assert_eq!(replayed(&entry(kind, 0, start, end - start)), one);
        assert_eq!(replayed(&entry(kind, 0, end - 1, 1)), one);
        assert_eq!(replayed(&entry(kind, 0, start, 0)), IMPOSSIBLE);
        assert_eq!(replayed(&entry(kind, 0, start - 1, 1)), IMPOSSIBLE);
        assert_eq!(replayed(&entry(kind, 0, end - 1, 2)), IMPOSSIBLE);
        let with_data = [entry(kind, 8, start, 1), vec![0; 8]].concat();
        assert_eq!(replayed(&with_data), IMPOSSIBLE);
    }
    let groups = geometry.groups();
    assert_eq!(replayed(&entry(SUMS, 0, groups - 1, 0)), one);
    assert_eq!(replayed(&entry(SUMS, 0, groups, 0)), IMPOSSIBLE);
    let with_data = [entry(SUMS, 8, 0, 0), vec![0; 8]].concat();
    assert_eq!(replayed(&with_data), IMPOSSIBLE);
    for kind in [0, SUMS + 1, u32::MAX] {
        assert_eq!(replayed(&entry(kind, 0, start, 1)), IMPOSSIBLE);
    }
}

/// Returns the bytes that the last commit has logged of an object, as places in it.
fn logged(fs: &Fs<Memory>, object: Range<u64>) -> Vec<Range<u64>> {
    let image = fs.volume.medium().image();
    let record = &image[offset_of(fs.volume.geometry().journal_start) as usize..];
    let number = |at: usize, len: usize| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&record[at..at + len]);
        u64::from_le_bytes(bytes)
    };
    let end = HEADER + number(LEN, 8) as usize;
    let mut at = HEADER;
    let mut ranges = vec![];
    while at < end {
        let (kind, len, start) = (number(at, 4), number(at + 4, 4), number(at + 8, 8));
        if kind == u64::from(BYTES) && object.contains(&start) {
            let start = start - object.start;
            ranges.push(start..start + len);
        }
        at += ENTRY as usize + len as usize;
    }
    assert_eq!(at, end);
    ranges
}

/// Of an inode the words that change are logged, and with them one or two between.
#[test]
fn words_that_change_are_logged() {
    let mut fs = Fs::new(512);
    let ino = fs.create(b"file").expect("create");
    let place = inode_offset(ino);
    type Change<'a> = &'a dyn Fn(&mut Tx<'_, Memory>) -> Result;
    let mut log_of = |change: Change<'_>| {
        fs.run(|tx| change(tx)).expect("commit");
        logged(&fs, place..place + 256)
    };
    // The first word has the checksum.
    let nlink = log_of(&|tx| tx.inode_mut(ino).map(|inode| inode.nlink.set(7)));
    assert_eq!(nlink, [0..16]);
    let size = log_of(&|tx| tx.inode_mut(ino).map(|inode| inode.size.set(7)));
    assert_eq!(size, [0..24]);
    let blocks = log_of(&|tx| tx.inode_mut(ino).map(|inode| inode.blocks.set(7)));
    assert_eq!(blocks, [0..32]);
    let version = log_of(&|tx| tx.inode_mut(ino).map(|inode| inode.version.set(7)));
    assert_eq!(version, [0..8, 32..40]);
    // In two cache lines, of which there is a word between them.
    let two_lines = log_of(&|tx| {
        let inode = tx.inode_mut(ino)?;
        inode.rdev.set(8);
        inode.xattr.set(8);
        Ok(())
    });
    assert_eq!(two_lines, [0..8, 112..136]);
    let far_apart = log_of(&|tx| {
        let inode = tx.inode_mut(ino)?;
        inode.nlink.set(8);
        inode.rdev.set(9);
        inode.orphan_prev.set(9);
        Ok(())
    });
    assert_eq!(far_apart, [0..16, 112..120, 248..256]);
}

/// A transaction that is let change something has room for it in the record, and is not told that it
/// is full while there is room for another: however large the journal is.
#[test]
fn what_a_transaction_is_let_change_fits() {
    // What the change of all of an inode takes: no less, and no more than a word beside it.
    const INODE: u64 = ENTRY + 256;
    let mut fs = Fs::new(512);
    let files: Vec<_> = (0..90)
        .map(|i| fs.create(format!("{i}").as_bytes()).expect("create"))
        .collect();
    let image = fs.volume.medium().image();
    for blocks in 1..=6 {
        let small = with_superblock(image.clone(), |sb| sb.journal_blocks.set(blocks));
        let volume = Volume::open(Memory::new(small)).expect("superblock");
        let arena = vec![0; journal::ARENA_BYTES];
        let small = Error::Corrupt("journal is too small");
        assert_eq!(Journal::new(&volume, arena).err(), Some(small));
        // A mount refuses it; what a journal of the usual size remembers does for this.
        let mut fs = Fs {
            volume,
            ..Fs::mount(Memory::new(image.clone())).0
        };
        let mut changed = 0;
        let mut tx = fs.journal.begin(&fs.volume, &mut fs.space).expect("begin");
        for ino in &files {
            let inode = match tx.inode_mut(*ino) {
                Ok(inode) => inode,
                Err(error) => {
                    assert_eq!(error, Error::TxFull);
                    break;
                }
            };
            inode.as_mut_bytes()[4..].iter_mut().for_each(|b| *b ^= 255);
            inode.ino.set(*ino);
            changed += 1;
        }
        assert_eq!(tx.commit(), Ok(()), "{blocks}");
        let capacity = blocks * 4096 - HEADER as u64;
        let fit = capacity / (INODE + 8)..=capacity / INODE;
        assert!(fit.contains(&changed), "{blocks}: {changed}");
        let logged: u64 = files
            .iter()
            .flat_map(|ino| logged(&fs, inode_offset(*ino)..inode_offset(*ino) + 256))
            .map(|range| ENTRY + range.end - range.start)
            .sum();
        assert_eq!(logged, changed * INODE);
    }
}

/// Each record has another sequence number than the one that it overwrites; what changes nothing
/// leaves none.
#[test]
fn records_are_numbered() {
    let mut fs = Fs::new(512);
    let ino = fs.create(b"file").expect("create");
    let mut commit = |nlink| {
        fs.run(|tx| {
            if let Some(nlink) = nlink {
                tx.inode_mut(ino)?.nlink.set(nlink);
            }
            Ok(())
        })
        .expect("commit");
        let image = fs.volume.medium().image();
        let record = offset_of(fs.volume.geometry().journal_start) as usize;
        let number = &image[record + SEQUENCE..][..8];
        u64::from_le_bytes(number.try_into().expect("size"))
    };
    let first = commit(Some(2));
    assert_eq!(commit(Some(3)), first + 1);
    assert_eq!(commit(None), first + 1);
    assert_eq!(commit(Some(4)), first + 2);
}

/// A mount that must not write asks first whether there is a record.
#[test]
fn a_record_is_there_until_the_journal_is_emptied() {
    let mut fs = Fs::new(512);
    assert_eq!(journal::needs_recovery(&fs.volume), Ok(false));
    fs.create(b"file").expect("create");
    assert_eq!(journal::needs_recovery(&fs.volume), Ok(true));
    let image = with_superblock(fs.volume.medium().image(), |sb| sb.ro_compat.set(2));
    let volume = Volume::open(Memory::new(image)).expect("superblock");
    assert_eq!(journal::needs_recovery(&volume), Ok(true));
    assert_eq!(journal::recover(&volume), Err(Error::Aborted));
    assert_eq!(fs.journal.retire(&fs.volume), Ok(()));
    assert_eq!(journal::needs_recovery(&fs.volume), Ok(false));
    assert_eq!(journal::recover(&fs.volume), Ok(Recovered::Nothing));
}

/// Whether what a commit that failed has allocated is durable, nobody knows: it stays allocated, and
/// there are no more transactions.
#[test]
fn a_failed_commit_gives_nothing_back() {
    let mut fs = Fs::new(512);
    let wanted = request(3);
    let free = fs.space.counts().free;
    let dropped = fs.run(|tx| tx.alloc_blocks(wanted).and(Err::<(), _>(Error::Io)));
    assert_eq!(dropped, Err(Error::Io));
    assert_eq!(fs.space.counts().free, free);

    let at = offset_of(fs.volume.geometry().bitmap_start);
    fs.volume.medium().write(at, &[0; 8]).expect("store");
    let failed = fs.run(|tx| tx.alloc_blocks(wanted));
    assert_eq!(failed, Err(Error::Corrupt("bitmap is damaged")));
    assert_eq!(fs.space.counts().free, free - 3);
    assert!(fs.journal.is_aborted());
    assert_eq!(fs.run(|_| Ok(())), Err(Error::Aborted));
    assert_eq!(fs.journal.retire(&fs.volume), Err(Error::Aborted));
}

/// Of the entries of a node that are moved, words are compared in up to four cache lines in a row;
/// more lines are logged as they are.
#[test]
fn lines_that_are_moved_are_logged() {
    const LINE: usize = 64;
    const COUNT: usize = 30;
    let place = |index: usize| 32 + 24 * index;
    // Where the new entry goes, and the lines that are not compared.
    for (index, whole) in [(0, 0..13), (22, 8..13), (24, 0..0), (28, 0..0), (30, 0..0)] {
        let mut fs = Fs::new(512);
        let ino = fs.create(b"file").expect("create");
        let mut fill = |at: usize| {
            fs.allocate(ino, at as u64, 1).expect("a block");
            fs.volume.medium().image()
        };
        let before = (1..=COUNT).map(|at| fill(4 * at)).last().expect("an image");
        let after = fill(4 * index + 2);
        let node = before
            .chunks(4096)
            .position(|block| block.starts_with(b"pNod"));
        let node = node.expect("a node") * 4096;
        let whole = whole.start * LINE..whole.end * LINE;
        let differ = |&at: &usize| before[node + at..][..8] != after[node + at..][..8];
        let changed: Vec<_> = (0..4096).step_by(8).filter(differ).collect();
        // All of it is where the entries are, and the start of the node.
        let moved = place(index)..place(COUNT + 1);
        assert!(
            changed.iter().all(|at| *at < LINE || moved.contains(at)),
            "{index}"
        );
        assert!(changed.contains(&moved.start), "{index}");
        let mut expected: Vec<Range<u64>> = vec![];
        for at in (0..4096).step_by(8) {
            if !changed.contains(&at) && !whole.contains(&at) {
                continue;
            }
            let at = at as u64;
            match expected.last_mut() {
                Some(last) if at - last.end <= 16 => last.end = at + 8,
                _ => expected.push(at..at + 8),
            }
        }
        let object = node as u64..node as u64 + 4096;
        assert_eq!(logged(&fs, object), expected, "{index}");
    }
}
