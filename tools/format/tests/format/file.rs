// SPDX-License-Identifier: GPL-2.0

//! Files against a map from file block to device block.

use std::collections::BTreeMap;

use pinfs_format::{
    crash::Random,
    extents::{
        self,
        Extent,
        Mapping,
        Progress,
        MAX_BLOCKS, //
    },
    inode::{
        S_IFDIR,
        S_IFREG, //
    },
    journal::{
        self,
        Recovered, //
    },
    memory::Memory,
    namespace,
    orphan,
    space::{
        self,
        BlockRun, //
    },
    Error,
    Journal,
    Space, //
};
use proptest::prelude::*;

use crate::support::{
    attributes,
    name,
    Fs, //
};

/// File block to (device block, unwritten).
type Model = BTreeMap<u64, (u64, bool)>;

fn create(fs: &mut Fs<Memory>) -> u64 {
    let root = fs.root();
    let attr = attributes(S_IFREG | 0o644);
    fs.run(|tx| namespace::create(tx, root, name(b"file"), &attr, None))
        .expect("create")
}

fn fill(fs: &mut Fs<Memory>, ino: u64, model: &mut Model, at: u64, len: u64, unwritten: bool) {
    let result = fs.run(|tx| {
        let extent = extents::alloc_extent(tx, ino, at, len)?;
        extents::insert(
            tx,
            ino,
            Extent {
                unwritten,
                ..extent
            },
        )?;
        Ok(extent)
    });
    match result {
        Ok(extent) => {
            assert!(extent.lblock == at && (1..=len).contains(&extent.len));
            for i in 0..extent.len {
                assert_eq!(model.insert(at + i, (extent.block + i, unwritten)), None);
            }
        }
        Err(Error::Exists) => assert!(model.contains_key(&at)),
        Err(error) => assert_eq!(error, Error::NoSpace),
    }
}

fn remove(fs: &mut Fs<Memory>, ino: u64, model: &mut Model, from: u64, to: u64) {
    let mut at = from;
    while let Progress::More(next) = fs
        .run(|tx| extents::remove(tx, ino, at, to))
        .expect("remove")
    {
        assert!(next > at && next < to);
        at = next;
    }
    model.retain(|block, _| !(from..to).contains(block));
}

fn mark_written(fs: &mut Fs<Memory>, ino: u64, model: &mut Model, from: u64, to: u64) {
    let mut at = from;
    while let Progress::More(next) = fs
        .run(|tx| extents::mark_written(tx, ino, at, to))
        .expect("mark")
    {
        assert!(next > at && next < to);
        at = next;
    }
    for (_, unwritten) in model.range_mut(from..to).map(|(_, value)| value) {
        *unwritten = false;
    }
}

fn mark_unwritten(fs: &mut Fs<Memory>, ino: u64, model: &mut Model, from: u64, to: u64) {
    let mut at = from;
    while let Progress::More(next) = fs
        .run(|tx| extents::mark_unwritten(tx, ino, at, to))
        .expect("mark")
    {
        assert!(next > at && next < to);
        at = next;
    }
    for (_, unwritten) in model.range_mut(from..to).map(|(_, value)| value) {
        *unwritten = true;
    }
}

fn size(fs: &Fs<Memory>, ino: u64) -> u64 {
    fs.inode(ino).size.get()
}

fn collapse(fs: &mut Fs<Memory>, ino: u64, model: &mut Model, from: u64, to: u64) {
    let old = size(fs, ino);
    while let Progress::More(again) = fs
        .run(|tx| extents::collapse(tx, ino, from, to))
        .expect("collapse")
    {
        assert_eq!((again, size(fs, ino)), (from, old));
    }
    assert_eq!(size(fs, ino), old - (to - from) * 4096);
    let behind = model.split_off(&from);
    let moved = behind
        .range(to..)
        .map(|(at, value)| (at - (to - from), *value));
    model.extend(moved);
}

fn insert_range(fs: &mut Fs<Memory>, ino: u64, model: &mut Model, at: u64, len: u64) {
    let old = size(fs, ino);
    fs.run(|tx| extents::insert_range(tx, ino, at, len))
        .expect("insert");
    assert_eq!(size(fs, ino), old + len * 4096);
    let behind = model.split_off(&at);
    model.extend(behind.into_iter().map(|(at, value)| (at + len, value)));
}

fn compare(fs: &mut Fs<Memory>, ino: u64, model: &Model) {
    let contents = fs.check();
    let extents = &contents.objects[&ino].extents;
    let mut found = Model::new();
    for extent in extents {
        for i in 0..extent.len {
            found.insert(extent.lblock + i, (extent.block + i, extent.unwritten));
        }
    }
    assert_eq!(&found, model);
    for pair in extents.windows(2) {
        let joins = pair[0].end() == pair[1].lblock
            && pair[0].block + pair[0].len == pair[1].block
            && pair[0].unwritten == pair[1].unwritten;
        assert!(!joins, "extents that should be one: {pair:?}");
    }
    // The map, step by step over the whole file.
    let inode = fs.inode(ino);
    let mut at = 0;
    while at < MAX_BLOCKS {
        match extents::map(&fs.volume, &inode, at).expect("map") {
            Mapping::Extent(extent) => {
                assert_eq!(extent.lblock, at);
                assert_eq!(model.get(&at), Some(&(extent.block, extent.unwritten)));
                at = extent.end();
            }
            Mapping::Hole { len } => {
                assert_eq!(model.range(at..at + len).next(), None);
                at += len;
                assert!(at == MAX_BLOCKS || model.contains_key(&at));
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Fill(u64, u64, bool),
    Remove(u64, u64),
    MarkWritten(u64, u64),
    MarkUnwritten(u64, u64),
    Collapse(u64, u64),
    Insert(u64, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u64..200, 1u64..20, any::<bool>()).prop_map(|(at, len, u)| Step::Fill(at, len, u)),
        2 => (0u64..200, 1u64..40).prop_map(|(at, len)| Step::Remove(at, at + len)),
        2 => (0u64..200, 1u64..40).prop_map(|(at, len)| Step::MarkWritten(at, at + len)),
        1 => (0u64..200, 1u64..40).prop_map(|(at, len)| Step::MarkUnwritten(at, at + len)),
        1 => (0u64..200, 1u64..20).prop_map(|(at, len)| Step::Collapse(at, at + len)),
        1 => (0u64..200, 1u64..20).prop_map(|(at, len)| Step::Insert(at, len)),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_steps(steps in steps()) {
        let mut fs = Fs::new(1024);
        let ino = create(&mut fs);
        set_size(&mut fs, ino, 1 << 30);
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Fill(at, len, unwritten) => {
                    fill(&mut fs, ino, &mut model, at, len, unwritten);
                }
                Step::Remove(from, to) => remove(&mut fs, ino, &mut model, from, to),
                Step::MarkWritten(from, to) => mark_written(&mut fs, ino, &mut model, from, to),
                Step::MarkUnwritten(from, to) => {
                    mark_unwritten(&mut fs, ino, &mut model, from, to);
                }
                Step::Collapse(from, to) => collapse(&mut fs, ino, &mut model, from, to),
                Step::Insert(at, len) => insert_range(&mut fs, ino, &mut model, at, len),
            }
        }
        compare(&mut fs, ino, &model);
    }
}

/// Scattered single blocks: a tree with inner nodes that split, grown and taken apart.
#[test]
fn deep_trees() {
    let mut fs = Fs::new(36_000);
    let ino = create(&mut fs);
    let mut model = Model::new();
    let mut random = Random::new(3);
    // Every third block, in a scattered order, so that no two are neighbours in the file.
    let count = 31_000;
    for i in 0..count {
        fill(&mut fs, ino, &mut model, i * 7919 % count * 3, 1, false);
    }
    assert_eq!(model.len() as u64, count);
    let nodes = fs.inode(ino).blocks.get() - count;
    // More than one inner node can point to, so that inner nodes have split too.
    assert!(nodes > 2 + 169, "{nodes} nodes");
    compare(&mut fs, ino, &model);
    for _ in 0..2000 {
        let from = random.below(3 * count);
        remove(&mut fs, ino, &mut model, from, from + random.below(60) + 1);
    }
    compare(&mut fs, ino, &model);
    remove(&mut fs, ino, &mut model, 1000, 3 * count - 1000);
    compare(&mut fs, ino, &model);
    // What is left fits into the inode again.
    remove(&mut fs, ino, &mut model, 2, MAX_BLOCKS);
    assert_eq!((fs.inode(ino).blocks.get(), model.len()), (1, 1));
    compare(&mut fs, ino, &model);
    remove(&mut fs, ino, &mut model, 0, MAX_BLOCKS);
    assert_eq!(fs.inode(ino).blocks.get(), 0);
    compare(&mut fs, ino, &model);
}

/// A file of `blocks` blocks, to be cut from the end to the start.
fn filled(fs: &mut Fs<Memory>, blocks: u64) -> (u64, Model) {
    let ino = create(fs);
    let mut model = Model::new();
    while (model.len() as u64) < blocks {
        let at = model.len() as u64;
        fill(fs, ino, &mut model, at, blocks - at, false);
    }
    (ino, model)
}

/// A cut before many others, which each leave an extent: what has to move for it is logged, and so
/// must be little.
#[test]
fn cuts_before_others_move_little() {
    let mut fs = Fs::new(3000);
    let cuts = 400;
    let (ino, mut model) = filled(&mut fs, 2 * cuts);
    for cut in (0..cuts).rev() {
        remove(&mut fs, ino, &mut model, 2 * cut, 2 * cut + 1);
        let recovered = journal::recover(&fs.volume).expect("recovery");
        assert!(
            matches!(recovered, Recovered::Replayed(bytes) if bytes < 1700),
            "cut {cut}: {recovered:?}"
        );
    }
    // Leaves are split in the middle when they have 48 entries.
    let nodes = fs.inode(ino).blocks.get() - cuts;
    assert!(nodes <= cuts / 24 + 1, "{nodes} nodes");
    compare(&mut fs, ino, &model);
}

/// The same on a full device: where there is no block for another leaf, the entries move.
#[test]
fn cuts_on_a_full_device() {
    let mut fs = Fs::new(1500);
    let cuts = 150;
    let (ino, mut model) = filled(&mut fs, 2 * cuts);
    let root = fs.root();
    let attr = attributes(S_IFREG | 0o644);
    let other = fs
        .run(|tx| namespace::create(tx, root, name(b"other"), &attr, None))
        .expect("create");
    let mut at = 0;
    for cut in (0..cuts).rev() {
        remove(&mut fs, ino, &mut model, 2 * cut, 2 * cut + 1);
        if cut > cuts - 40 {
            continue;
        }
        // Nothing is left for the next cut. At an offset of its own each piece would need an extent.
        while let Ok(extent) = fs.allocate_last(other, at, MAX_BLOCKS - at) {
            at += extent.len;
        }
    }
    let nodes = fs.inode(ino).blocks.get() - cuts;
    assert_eq!(nodes, 1);
    compare(&mut fs, ino, &model);
}

fn set_size(fs: &mut Fs<Memory>, ino: u64, size: u64) {
    fs.run(|tx| {
        tx.inode_mut(ino)?.size.set(size);
        Ok(())
    })
    .expect("size");
}

/// Ranges come and go in a tree of more than one level, also at its ends, and blocks between them.
#[test]
fn ranges_move_in_deep_trees() {
    let mut fs = Fs::new(36_000);
    let ino = create(&mut fs);
    let mut model = Model::new();
    let mut random = Random::new(5);
    let count = 31_000;
    set_size(&mut fs, ino, 4 * count * 4096);
    for i in 0..count {
        fill(&mut fs, ino, &mut model, i * 7919 % count * 3, 1, false);
    }
    for turn in 0..300 {
        let at = match random.below(8) {
            0 => 0,
            1 => model.keys().next_back().map_or(0, |&last| last),
            2 => model.keys().next().map_or(0, |&first| first + 1),
            _ => random.below(3 * count),
        };
        let len = 1 + random.below(40);
        match random.below(3) {
            0 => collapse(&mut fs, ino, &mut model, at, at + len),
            1 => insert_range(&mut fs, ino, &mut model, at, len),
            _ => fill(&mut fs, ino, &mut model, at, len, random.once_in(2)),
        }
        if turn % 60 == 0 {
            compare(&mut fs, ino, &model);
        }
    }
    compare(&mut fs, ino, &model);
    // A log that is cut off at its start and grows at its end.
    for _ in 0..40 {
        let first = *model.keys().next().expect("a block");
        collapse(&mut fs, ino, &mut model, 0, first + 500);
        let last = *model.keys().next_back().expect("a block");
        for i in 0..100 {
            fill(&mut fs, ino, &mut model, last + 2 + 2 * i, 1, false);
        }
    }
    compare(&mut fs, ino, &model);
    remove(&mut fs, ino, &mut model, 0, MAX_BLOCKS);
    assert_eq!(fs.inode(ino).blocks.get(), 0);
    compare(&mut fs, ino, &model);
}

/// A move is one transaction that changes a node per level, however long the file.
#[test]
fn ranges_have_limits() {
    let mut fs = Fs::new(1024);
    let ino = create(&mut fs);
    let mut model = Model::new();
    fill(&mut fs, ino, &mut model, 0, 8, false);
    set_size(&mut fs, ino, 8 * 4096 - 100);
    let before = fs.check();
    type Attempt = fn(&mut pinfs_format::Tx<'_, Memory>, u64) -> pinfs_format::Result;
    let attempts: [(Attempt, Error); 8] = [
        (
            |tx, ino| extents::insert_range(tx, ino, 8, 1),
            Error::Invalid,
        ),
        (
            |tx, ino| extents::insert_range(tx, ino, 1, 0),
            Error::Invalid,
        ),
        (
            |tx, ino| extents::insert_range(tx, ino, 1, MAX_BLOCKS),
            Error::Overflow,
        ),
        (
            |tx, ino| extents::insert_range(tx, ino, 1, MAX_BLOCKS - 7),
            Error::Overflow,
        ),
        (
            |tx, ino| extents::insert_range(tx, ino, 1, u64::MAX),
            Error::Overflow,
        ),
        (
            |tx, ino| extents::collapse(tx, ino, 2, 2).map(drop),
            Error::Invalid,
        ),
        (
            |tx, ino| extents::collapse(tx, ino, 7, 8).map(drop),
            Error::Invalid,
        ),
        (
            |tx, ino| extents::collapse(tx, ino, 0, u64::MAX).map(drop),
            Error::Overflow,
        ),
    ];
    for (index, (attempt, error)) in attempts.into_iter().enumerate() {
        let result = fs.run(|tx| attempt(tx, ino));
        assert_eq!(result, Err(error), "attempt {index}");
        assert_eq!(fs.check(), before);
    }
    // As far up as there are blocks, and back.
    insert_range(&mut fs, ino, &mut model, 1, MAX_BLOCKS - 9);
    compare(&mut fs, ino, &model);
    collapse(&mut fs, ino, &mut model, 1, MAX_BLOCKS - 8);
    compare(&mut fs, ino, &model);
    assert_eq!(fs.check().objects[&ino].extents.len(), 1);
}

/// A file that grows at its end has full nodes and few extents.
#[test]
fn appending_makes_long_extents() {
    let mut fs = Fs::new(4096);
    let ino = create(&mut fs);
    let mut model = Model::new();
    for at in 0..2000 {
        fill(&mut fs, ino, &mut model, at, 1, false);
    }
    compare(&mut fs, ino, &model);
    assert!(fs.check().objects[&ino].extents.len() < 10);
    // Past the first 2 MiB, huge pages can map it.
    assert_eq!(model[&512].0 % 512, 0);
    assert_eq!(model[&1024].0 % 512, 0);
}

/// Blocks set aside are nobody else's, and nothing is left of them if they are not used.
#[test]
fn blocks_are_claimed() {
    let mut fs = Fs::new(2048);
    let ino = create(&mut fs);
    let before = fs.space.counts();
    let first = extents::claim_extent(&mut fs.space, None, 0, 4).expect("claim");
    let other = extents::claim_extent(&mut fs.space, None, 0, 4).expect("claim");
    assert!(first.block + first.len <= other.block || other.block + other.len <= first.block);
    assert_eq!(fs.space.counts().free, before.free - first.len - other.len);
    let run = |extent: Extent| BlockRun {
        start: extent.block,
        len: extent.len,
    };
    fs.space.give_back(run(other));
    fs.run(|tx| extents::append(tx, ino, first))
        .expect("append");
    let mut model = Model::new();
    model.extend((0..first.len).map(|i| (first.lblock + i, (first.block + i, false))));
    compare(&mut fs, ino, &model);
    fs.check();

    // Behind the last extent, as one with it.
    let next = extents::claim_extent(&mut fs.space, Some(first), first.end(), 1).expect("claim");
    assert_eq!(first.join(&next).map(|all| all.len), Some(first.len + 1));
    fs.run(|tx| extents::append(tx, ino, next)).expect("append");
    model.insert(next.lblock, (next.block, false));
    compare(&mut fs, ino, &model);

    // Where the file has blocks already, they go back.
    let twice = extents::claim_extent(&mut fs.space, None, 0, 1).expect("claim");
    assert_eq!(
        fs.run(|tx| extents::append(tx, ino, twice)),
        Err(Error::Exists)
    );
    compare(&mut fs, ino, &model);
    fs.check();

    // What was given back, or never taken, cannot be used.
    let gone = extents::claim_extent(&mut fs.space, None, 100, 1).expect("claim");
    fs.space.give_back(run(gone));
    assert_eq!(
        fs.run(|tx| extents::append(tx, ino, gone)),
        Err(Error::Invalid)
    );
    fs.check();
}

#[test]
fn truncation_ends_at_the_size() {
    let mut fs = Fs::new(2048);
    let ino = create(&mut fs);
    let mut model = Model::new();
    for at in (0..300).step_by(2) {
        fill(&mut fs, ino, &mut model, at, 1, false);
    }
    fs.run(|tx| {
        tx.inode_mut(ino)?.size.set(100 * 4096 + 1);
        orphan::add(tx, ino)
    })
    .expect("size");
    let mut turns = 0;
    while !fs.run(|tx| orphan::trim(tx, ino)).expect("trim") {
        turns += 1;
        fs.check();
    }
    assert!(turns > 1, "nothing was cut into several transactions");
    model.retain(|&at, _| at < 101);
    compare(&mut fs, ino, &model);
    assert!(fs.check().orphans.is_empty());
}

/// The orphan list as [`orphan::list`] shows it.
fn listed(fs: &mut Fs<Memory>) -> Vec<(u64, bool)> {
    let mut all = Vec::new();
    let found = |ino, inode: &pinfs_format::Inode| all.push((ino, inode.nlink.get() != 0));
    let failed = |ino, error: Error| panic!("{ino}: {error:?}");
    orphan::list(&mut fs.journal, &fs.volume, &mut fs.space, found, failed).expect("list");
    all
}

#[test]
fn what_was_cut_short_is_resumed() {
    let mut fs = Fs::new(4096);
    let mut model = Model::new();
    let ino = create(&mut fs);
    for at in (0..300).step_by(2) {
        fill(&mut fs, ino, &mut model, at, 1, false);
    }
    fs.run(|tx| {
        tx.inode_mut(ino)?.size.set(300 * 4096);
        Ok(())
    })
    .expect("size");
    assert_eq!(listed(&mut fs), []);
    let first = fs.run(|tx| extents::collapse(tx, ino, 2, 202));
    assert!(matches!(first, Ok(Progress::More(_))));
    let other = fs.create(b"other").expect("create");
    let third = fs.create(b"third").expect("create");
    for gone in [other, third] {
        fs.run(|tx| {
            tx.inode_mut(gone)?.nlink.set(0);
            orphan::add(tx, gone)
        })
        .expect("unlink");
    }
    assert_eq!(
        listed(&mut fs),
        [(third, false), (other, false), (ino, true)]
    );
    let mut turns = 0;
    while !fs.run(|tx| orphan::resume(tx, ino)).expect("resume") {
        turns += 1;
    }
    assert!(turns > 1, "nothing was left for several transactions");
    assert_eq!(fs.inode(ino).size.get(), 100 * 4096);
    assert_eq!(listed(&mut fs), [(third, false), (other, false)]);
    // There is nothing left to do.
    assert_eq!(fs.run(|tx| orphan::resume(tx, ino)), Ok(true));
    assert_eq!(fs.run(|tx| orphan::resume(tx, other)), Err(Error::Invalid));
}

/// What a mount has that leaves everything as it is.
#[test]
fn nothing_is_written_without_recovery() {
    let fs = Fs::new(1024);
    let words = space::words_needed(fs.volume.geometry().blocks) as usize;
    let mut space = Space::unknown(&fs.volume, vec![0; words]).expect("memory");
    assert_eq!(space.counts().free, 0);
    assert_eq!(space.counts().total, fs.space.counts().total);
    let short = Space::unknown(&fs.volume, vec![0; words - 1]).map(drop);
    assert_eq!(short, Err(Error::Invalid));
    let mut journal = Journal::closed(Vec::new());
    let run = journal.run(&fs.volume, &mut space, |_| Ok(()));
    assert_eq!(run, Err(Error::Aborted));
    assert_eq!(journal.retire(&fs.volume), Err(Error::Aborted));
}

#[test]
fn bad_arguments() {
    let mut fs = Fs::new(1024);
    let ino = create(&mut fs);
    let root = fs.root();
    let inode = fs.inode(ino);
    assert_eq!(
        extents::map(&fs.volume, &inode, MAX_BLOCKS),
        Err(Error::Overflow)
    );
    let dir = fs.inode(root);
    assert_eq!(extents::map(&fs.volume, &dir, 0), Err(Error::Invalid));
    assert_eq!(dir.kind(), S_IFDIR);
    for (at, len, error) in [
        (0, 0, Error::Invalid),
        (MAX_BLOCKS, 1, Error::Overflow),
        (MAX_BLOCKS - 1, 2, Error::Overflow),
        (u64::MAX, 1, Error::Overflow),
        (1, u64::MAX, Error::Overflow),
    ] {
        let result = fs.run(|tx| extents::alloc_extent(tx, ino, at, len));
        assert_eq!(result.map(drop), Err(error), "{at} {len}");
    }
    for (from, to, error) in [
        (5, 5, Error::Invalid),
        (6, 5, Error::Invalid),
        (0, u64::MAX, Error::Overflow),
    ] {
        let result = fs.run(|tx| extents::remove(tx, ino, from, to));
        assert_eq!(result, Err(error));
        let result = fs.run(|tx| extents::mark_written(tx, ino, from, to));
        assert_eq!(result, Err(error));
    }
    // The last block that there can be.
    let mut model = Model::new();
    fill(&mut fs, ino, &mut model, MAX_BLOCKS - 1, 1, false);
    compare(&mut fs, ino, &model);
    for wrong in [root, 0, 1, ino + 1, u64::MAX] {
        assert!(fs.run(|tx| extents::alloc_extent(tx, wrong, 0, 1)).is_err());
    }
}
