// SPDX-License-Identifier: GPL-2.0

//! A full device, and a transaction that is too small: an operation that fails at any of its steps
//! changes and loses nothing. What gives space back, or was promised it, does not fail.

use std::collections::BTreeSet;

use pinfs_format::{
    crash::Random,
    extents::{
        self,
        Extent,
        Mapping, //
    },
    inode::S_IFDIR,
    journal,
    memory::Memory,
    namespace::{
        self,
        IfExists, //
    },
    orphan,
    space::{
        Claim,
        Request, //
    },
    xattr::{
        self,
        Key,
        Mode,
        Namespace, //
    },
    Error,
    Journal,
    Time, //
};

use crate::{
    support::{
        attributes,
        name,
        Fs, //
    },
    workload::Workload, //
};

/// Takes blocks until `left` are free. They belong to nobody, so they are given back before a check.
fn take(fs: &mut Fs<Memory>, left: u64) -> Vec<pinfs_format::space::BlockRun> {
    let mut taken = Vec::new();
    while fs.space.counts().free > left {
        let max = fs.space.counts().free - left;
        let run = fs.run(|tx| {
            tx.claim(Claim::Freeing);
            tx.alloc_blocks(Request {
                goal: None,
                min: 1,
                max,
                aligned: false,
            })
        });
        taken.push(run.expect("a block"));
    }
    taken
}

#[test]
fn no_space_loses_nothing() {
    let mut refused = 0;
    for seed in 0..6 {
        println!("seed {seed}");
        let mut fs = Fs::new(512);
        let mut workload = Workload::new(seed);
        let mut random = Random::new(seed);
        for _ in 0..250 {
            let before = fs.check();
            let op = workload.next(&before);
            let left = random.below(4);
            let taken = take(&mut fs, left);
            let counts = fs.space.counts();
            let result = workload.apply(&mut fs, &op);
            if result.is_err() {
                assert_eq!(fs.space.counts(), counts, "{op:?}");
            }
            for run in taken {
                fs.run(|tx| tx.free_blocks(run)).expect("free");
            }
            let after = fs.check();
            if result.is_err() {
                assert_eq!(after, before, "{op:?}");
            }
            refused += u32::from(result == Err(Error::NoSpace));
        }
    }
    println!("{refused} operations found no space");
    assert!(refused > 50);
}

#[test]
fn small_transactions_lose_nothing() {
    let mut refused = 0;
    let mut done = 0;
    for seed in 10..14 {
        println!("seed {seed}");
        let mut fs = Fs::new(512);
        let mut workload = Workload::new(seed);
        let mut random = Random::new(seed);
        for _ in 0..300 {
            let before = fs.check();
            let op = workload.next(&before);
            let bytes = 23_000 + 2 * random.below(20_000) as usize;
            fs.journal = Journal::new(&fs.volume, vec![0; bytes]).expect("journal");
            let result = workload.apply(&mut fs, &op);
            let after = fs.check();
            if result.is_err() {
                assert_eq!(after, before, "{op:?}");
            }
            refused += u32::from(result == Err(Error::TxFull));
            done += u32::from(result.is_ok());
        }
    }
    println!("{refused} operations did not fit, {done} did");
    assert!(refused > 50 && done > 50);
}

#[test]
fn the_arena_suits_every_operation() {
    for seed in 20..24 {
        println!("seed {seed}");
        let mut fs = Fs::new(2048);
        let mut workload = Workload::new(seed);
        for _ in 0..1000 {
            let contents = fs.check();
            let op = workload.next(&contents);
            assert_ne!(workload.apply(&mut fs, &op), Err(Error::TxFull), "{op:?}");
        }
    }
    let mut fs = Fs::new(512);
    fs.journal = Journal::new(&fs.volume, vec![0; 100]).expect("journal");
    assert_eq!(fs.run(|_| Ok(())), Err(Error::Invalid));
    fs.journal = Journal::new(&fs.volume, vec![0; journal::ARENA_BYTES]).expect("journal");
    assert_eq!(fs.run(|_| Ok(())), Ok(()));
}

/// Gives a file so many unwritten blocks.
fn preallocate(fs: &mut Fs<Memory>, ino: u64, blocks: u64) {
    let mut at = 0;
    while at < blocks {
        let extent = fs.run(|tx| {
            let extent = extents::alloc_extent(tx, ino, at, blocks - at)?;
            let unwritten = Extent {
                unwritten: true,
                ..extent
            };
            extents::insert(tx, ino, unwritten)?;
            Ok(extent)
        });
        at = extent.expect("blocks").end();
    }
}

/// Fills the device as users can; with `all`, the reserve too.
fn fill_up(fs: &mut Fs<Memory>, all: bool) {
    let ino = fs.create(b"ballast").expect("create");
    let mut at = 0;
    loop {
        let more = match all {
            true => fs.allocate_last(ino, at, 1 << 20),
            false => fs.allocate(ino, at, 1 << 20),
        };
        match more {
            Ok(extent) => at = extent.end(),
            Err(error) => {
                assert_eq!(error, Error::NoSpace);
                break;
            }
        }
    }
    let counts = fs.space.counts();
    assert_eq!(counts.available, 0);
    assert_eq!(counts.free == 0, all);
}

/// Writes a block as the module does. Returns how many blocks had to be zeroed.
fn write(fs: &mut Fs<Memory>, ino: u64, at: u64) -> u64 {
    match fs.run(|tx| extents::mark_written(tx, ino, at, at + 1)) {
        Ok(_) => return 1,
        Err(error) => assert_eq!(error, Error::NoSpace),
    }
    let found = extents::without_growth(&fs.volume, &fs.inode(ino), at, 1).expect("a tree");
    let extent = found.expect("an unwritten extent");
    assert!((extent.lblock..extent.end()).contains(&at));
    let before = fs.space.counts();
    let marked = fs.run(|tx| extents::mark_written(tx, ino, extent.lblock, extent.end()));
    assert_eq!(marked, Ok(extents::Progress::Done));
    assert!(fs.space.counts().free >= before.free);
    extent.len
}

fn is_written(fs: &Fs<Memory>, ino: u64, at: u64) -> bool {
    match extents::map(&fs.volume, &fs.inode(ino), at).expect("a tree") {
        Mapping::Extent(extent) => !extent.unwritten,
        Mapping::Hole { .. } => panic!("block {at} is gone"),
    }
}

/// Fault A8: blocks that were given to a file can be written when the device is full, one by one.
#[test]
fn s2_promised_blocks_are_written_on_a_full_device() {
    const BLOCKS: u64 = 4096;
    let mut fs = Fs::sparse(8192);
    let ino = fs.create(b"promised").expect("create");
    preallocate(&mut fs, ino, BLOCKS);
    fill_up(&mut fs, false);
    let mut random = Random::new(8);
    for index in 0..2000 {
        let at = random.below(BLOCKS);
        let marked = fs.run(|tx| extents::mark_written(tx, ino, at, at + 1));
        assert_eq!(
            marked,
            Ok(extents::Progress::Done),
            "block {at}, no. {index}"
        );
    }
    fs.check();
}

/// The same of many files, with the reserve used up long before, or never there.
#[test]
fn s2_promised_blocks_are_written_without_a_reserve() {
    const BLOCKS: u64 = 1024;
    let mut fs = Fs::sparse(8192);
    let files: Vec<u64> = (0..5)
        .map(|index| {
            let ino = fs.create(&[b'a' + index]).expect("create");
            preallocate(&mut fs, ino, BLOCKS);
            ino
        })
        .collect();
    fill_up(&mut fs, true);
    let mut random = Random::new(9);
    let (mut zeroed, mut count) = (0, 0);
    for &ino in &files {
        let mut wanted = BTreeSet::new();
        for _ in 0..1000 {
            let at = random.below(BLOCKS);
            wanted.insert(at);
            if !is_written(&fs, ino, at) {
                zeroed += write(&mut fs, ino, at);
                count += 1;
            }
        }
        assert!(wanted.iter().all(|&at| is_written(&fs, ino, at)));
        assert_eq!(fs.inode(ino).blocks.get() / BLOCKS, 1);
    }
    println!("{count} writes, {zeroed} blocks zeroed");
    assert!(zeroed <= files.len() as u64 * BLOCKS);
    fs.check();
}

/// What must be written with a block so that the tree need not grow is the least there is.
#[test]
fn without_growth_takes_the_least() {
    let mut fs = Fs::sparse(2048);
    let ino = fs.create(b"file").expect("create");
    preallocate(&mut fs, ino, 512);
    let range = |fs: &Fs<Memory>, at, len| {
        let found = extents::without_growth(&fs.volume, &fs.inode(ino), at, len);
        found
            .expect("a tree")
            .map(|extent| (extent.lblock, extent.end()))
    };
    assert_eq!(range(&fs, 100, 1), Some((0, 512)));
    assert_eq!(range(&fs, 512, 1), None);
    write(&mut fs, ino, 0);
    assert_eq!(range(&fs, 0, 1), None);
    assert_eq!(range(&fs, 100, 1), Some((1, 101)));
    assert_eq!(range(&fs, 100, 1000), Some((1, 512)));
    write(&mut fs, ino, 511);
    assert_eq!(range(&fs, 100, 2), Some((1, 102)));
    assert_eq!(range(&fs, 400, 2), Some((400, 511)));
    assert_eq!(range(&fs, 510, 1), Some((510, 511)));
}

/// Fault A8: on a full device whatever gives space back succeeds.
#[test]
fn s2_what_frees_space_needs_none_on_a_full_device() {
    let mut fs = Fs::sparse(4096);
    let root = fs.root();
    let now = Time::default();
    let long = [b'a', b'b'];
    let keys = long.each_ref().map(|byte| std::slice::from_ref(byte));
    let keys = keys.map(|name| Key::new(Namespace::User, name).expect("a key"));
    let made: Vec<u64> = [
        "punched",
        "converted",
        "collapsed",
        "attributes",
        "new",
        "old",
    ]
    .iter()
    .map(|bytes| {
        let ino = fs.create(bytes.as_bytes()).expect("create");
        fs.allocate(ino, 0, 300).expect("blocks");
        fs.run(|tx| {
            tx.inode_mut(ino)?.size.set(300 * 4096);
            Ok(())
        })
        .expect("size");
        ino
    })
    .collect();
    let [punched, converted, collapsed, attributed, ..] = made[..] else {
        panic!("files");
    };
    for key in keys {
        fs.run(|tx| xattr::set(tx, attributed, key, &[1; 30_000], Mode::Any))
            .expect("set");
    }
    fs.run(|tx| {
        let attr = attributes(S_IFDIR | 0o755);
        namespace::create(tx, root, name(b"directory"), &attr, None)
    })
    .expect("mkdir");
    fill_up(&mut fs, false);
    assert_eq!(
        fs.create(b"more")
            .and_then(|ino| fs.allocate(ino, 0, 1))
            .err(),
        Some(Error::NoSpace)
    );

    let available = |fs: &Fs<Memory>| fs.space.counts().available;
    // Nobody gets what comes back meanwhile: the device stays full.
    for at in (1..299).step_by(2) {
        let removed = fs.run(|tx| extents::remove(tx, punched, at, at + 1));
        assert_eq!(removed, Ok(extents::Progress::Done), "{at}");
        let marked = fs.run(|tx| extents::mark_unwritten(tx, converted, at, at + 1));
        assert_eq!(marked, Ok(extents::Progress::Done), "{at}");
        while available(&fs) > 0 {
            let ballast = fs.create(format!("ballast {at}").as_bytes());
            let Ok(ballast) = ballast else { break };
            while fs.allocate(ballast, 0, 1 << 20).is_ok() {}
        }
    }
    for at in [100, 50, 3] {
        let gone = fs.run(|tx| extents::collapse(tx, collapsed, at, at + 1));
        assert_eq!(gone, Ok(extents::Progress::Done));
    }
    // As long as before: as chmod does of an ACL.
    let [first, second] = keys;
    fs.run(|tx| xattr::set(tx, attributed, first, &[2; 30_000], Mode::Replace))
        .expect("replaced");
    fs.run(|tx| xattr::remove(tx, attributed, second))
        .expect("removed");
    fs.run(|tx| {
        tx.inode_mut(attributed)?.mode.set(0o100_400);
        Ok(())
    })
    .expect("chmod");
    fs.run(|tx| {
        namespace::rename(
            tx,
            (root, name(b"new")),
            (root, name(b"old")),
            IfExists::Replace,
            now,
        )
    })
    .expect("rename");
    fs.run(|tx| namespace::rmdir(tx, root, name(b"directory"), now))
        .expect("rmdir");
    fs.run(|tx| {
        tx.inode_mut(punched)?.size.set(4096);
        orphan::add(tx, punched)?;
        orphan::trim(tx, punched).map(drop)
    })
    .expect("truncate");
    fs.finish_orphans();
    fs.run(|tx| namespace::unlink(tx, root, name(b"converted"), now))
        .expect("unlink");
    fs.finish_orphans();
    assert!(available(&fs) > 0);
    fs.check();
}
