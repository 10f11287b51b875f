// SPDX-License-Identifier: GPL-2.0

//! Whatever the power loss leaves, recovery finds the state before or after the operation.

use pinfs_format::{
    check::Contents,
    crash::{
        Event,
        Power,
        Random,
        Recorder,
        Survival,
        SURVIVALS, //
    },
    crc,
    extents::{
        self,
        Progress, //
    },
    inode::{
        S_IFIFO,
        S_IFREG, //
    },
    journal::{
        self,
        Recovered, //
    },
    memory::Memory,
    mount,
    namespace,
    orphan,
    space::BlockRun,
    superblock::MIN_BLOCKS,
    Medium,
    Time,
    Volume, //
};

use crate::{
    support::{
        attributes,
        image,
        name,
        Fs, //
    },
    workload::{
        check_data,
        Workload, //
    },
};

/// What the states looked like that were tried, to be sure that the test tests something.
#[derive(Debug, Default)]
struct Tally {
    states: u32,
    before: u32,
    after: u32,
    replayed: u32,
    twice: u32,
}

fn examine(image: Vec<u8>, before: &Contents, after: Option<&Contents>, tally: &mut Tally) {
    let (mut fs, recovered) = Fs::mount(Memory::new(image));
    tally.states += 1;
    tally.replayed += u32::from(recovered != Recovered::Nothing);
    let found = fs.check();
    if Some(&found) == after {
        tally.after += 1;
    } else if found == *before {
        tally.before += 1;
    } else {
        panic!("neither before nor after:\n{found:#?}\nbefore {before:#?}\nafter {after:#?}");
    }
    check_data(&fs.volume, &found);
    fs.mark_mounted();
    fs.finish_orphans();
    let left = fs.check();
    assert!(left.orphans.is_empty());
}

/// Lets the power fail again while recovery is at work.
fn fail_in_recovery(image: Vec<u8>, random: &mut Random) -> Vec<u8> {
    let recorder = Recorder::new(image.clone());
    let volume = Volume::open(&recorder).expect("superblock");
    journal::recover(&volume).expect("recovery");
    let events = recorder.take();
    let mut power = Power::new(image);
    let stop = random.below(events.len() as u64 + 1) as usize;
    for &event in &events[..stop] {
        power.apply(event);
    }
    let survival = SURVIVALS[random.below(SURVIVALS.len() as u64) as usize];
    power.fail(survival, random)
}

fn run(seed: u64, quiet: u32, operations: u32, tally: &mut Tally) {
    let start = image(MIN_BLOCKS);
    let mut power = Power::new(start.clone());
    let mut fs = Fs::mount(Recorder::new(start)).0;
    let mut workload = Workload::new(seed);
    let mut random = Random::new(!seed);
    fs.mark_mounted();
    let mut before = fs.check();
    for turn in 0..quiet + operations {
        let op = workload.next(&before);
        let result = workload.apply(&mut fs, &op);
        let after = fs.check();
        if let Err(error) = result {
            assert_eq!(before, after, "{op:?} failed with {error:?}, but not quite");
            assert!(!fs.journal.is_aborted(), "{op:?}: {error:?}");
        }
        check_data(&fs.volume, &after);
        for event in fs.volume.medium().take() {
            let look = match event {
                Event::Fence => true,
                Event::Flush { .. } => random.once_in(8),
                Event::Store { .. } => random.once_in(100),
            };
            if turn >= quiet && look {
                for survival in SURVIVALS {
                    let image = power.fail(survival, &mut random);
                    if random.once_in(4) {
                        tally.twice += 1;
                        let image = fail_in_recovery(image.clone(), &mut random);
                        examine(image, &before, Some(&after), tally);
                    }
                    examine(image, &before, Some(&after), tally);
                }
            }
            power.apply(event);
        }
        // The operation has returned: it is durable, whatever else is not.
        if turn >= quiet {
            for survival in SURVIVALS {
                let image = power.fail(survival, &mut random);
                examine(image, &after, None, tally);
            }
        }
        before = after;
    }
    fs.run(|tx| mount::unmounted(tx, Time::default()))
        .expect("unmount");
    fs.journal.retire(&fs.volume).expect("retire");
    let (mut fs, recovered) = Fs::mount(Memory::new(fs.volume.medium().image()));
    assert_eq!(recovered, Recovered::Nothing);
    assert!(!mount::status(&fs.volume).expect("status").is_dirty());
    assert_eq!(fs.check(), before);
}

#[test]
fn every_crash_leaves_before_or_after() {
    let mut tally = Tally::default();
    for seed in 0..12 {
        println!("seed {seed}");
        run(seed, 10 + seed as u32 * 20, 24, &mut tally);
    }
    println!("{tally:?}");
    assert!(tally.states > 4000, "{tally:?}");
    assert!(tally.before.min(tally.after) > 500, "{tally:?}");
    assert!(tally.replayed > 500 && tally.twice > 500, "{tally:?}");
}

/// A range of more extents than one transaction can free is taken out of a file, or it is not: the
/// mount after a crash finishes what was begun, also if the power fails again meanwhile.
#[test]
fn a_long_collapse_is_all_or_nothing() {
    let start = image(MIN_BLOCKS);
    let mut power = Power::new(start.clone());
    let mut fs = Fs::mount(Recorder::new(start)).0;
    fs.mark_mounted();
    let root = fs.root();
    let ino = fs
        .run(|tx| namespace::create(tx, root, name(b"f"), &attributes(S_IFREG), None))
        .expect("create");
    for at in 0..70 {
        fs.run(|tx| {
            tx.inode_mut(ino)?.size.set(400 * 4096 + 17);
            let extent = extents::alloc_extent(tx, ino, 2 * at, 1)?;
            extents::insert(tx, ino, extent)
        })
        .expect("allocate");
    }
    for event in fs.volume.medium().take() {
        power.apply(event);
    }
    let before = fs.check();
    let mut transactions = 1;
    while let Progress::More(_) = fs
        .run(|tx| extents::collapse(tx, ino, 6, 131))
        .expect("collapse")
    {
        assert!(fs.check().orphans == [ino]);
        transactions += 1;
    }
    assert_eq!(transactions, 3);
    let after = fs.check();
    assert_eq!(after.objects[&ino].size, (400 - 125) * 4096 + 17);
    let (mut old, mut new) = (0, 0);
    let mut random = Random::new(9);
    for event in fs.volume.medium().take() {
        if matches!(event, Event::Fence) || random.once_in(16) {
            for survival in SURVIVALS {
                let image = power.fail(survival, &mut random);
                let image = fail_in_finishing(image, &mut random);
                let (mut fs, _) = Fs::mount(Memory::new(image));
                fs.finish_orphans();
                let found = fs.check();
                old += u32::from(found.objects == before.objects);
                new += u32::from(found.objects == after.objects);
                assert!(found.objects == before.objects || found.objects == after.objects);
                assert!(found.orphans.is_empty());
                assert!(fs.inode(ino).collapsing().is_none());
            }
        }
        power.apply(event);
    }
    println!("{old} old, {new} new");
    assert!(old > 10 && new > 50);
}

/// Lets the power fail again while a mount recovers and does what was left.
fn fail_in_finishing(image: Vec<u8>, random: &mut Random) -> Vec<u8> {
    let (mut fs, _) = Fs::mount(Recorder::new(image.clone()));
    fs.finish_orphans();
    let mut power = Power::new(image);
    let events = fs.volume.medium().take();
    let stop = random.below(events.len() as u64 + 1) as usize;
    for &event in &events[..stop] {
        power.apply(event);
    }
    let survival = SURVIVALS[random.below(SURVIVALS.len() as u64) as usize];
    power.fail(survival, random)
}

/// What a user has stored may be in the cache only. Where an inode comes to stand there, its zeroes
/// must not be taken for those that the user left.
#[test]
fn cached_data_is_not_durable() {
    let start = image(MIN_BLOCKS);
    let mut power = Power::new(start.clone());
    let mut fs = Fs::mount(Recorder::new(start)).0;
    let root = fs.root();
    let ino = fs.create(b"all").expect("create");
    let mut at = 0;
    while let Ok(extent) = fs.allocate_last(ino, at, 1000) {
        let medium = fs.volume.medium();
        // Durable junk, and zeroes over it in the cache.
        let (off, len) = (extent.block * 4096, extent.len * 4096);
        medium.write(off, &vec![0x99; len as usize]).expect("store");
        medium.flush(off, len).expect("flush");
        medium.fence();
        medium.zero(off, len).expect("store");
        at = extent.end();
    }
    assert_eq!(fs.space.counts().free, 0);
    fs.run(|tx| namespace::unlink(tx, root, name(b"all"), Time::default()))
        .expect("unlink");
    while !fs.run(|tx| orphan::reap(tx, ino)).expect("reap") {}
    for i in 0..40 {
        let new = format!("{i}");
        fs.run(|tx| {
            let attr = attributes(S_IFIFO);
            namespace::create(tx, root, name(new.as_bytes()), &attr, None)
        })
        .expect("create");
    }
    let after = fs.check();
    for event in fs.volume.medium().take() {
        power.apply(event);
    }
    let image = power.fail(Survival::Nothing, &mut Random::new(0));
    examine(image, &after, None, &mut Tally::default());
}

/// Blocks that a transaction frees are not reused by itself, where a crash would bring the old
/// owner back with the new one's contents.
#[test]
fn freed_blocks_wait_for_the_commit() {
    let mut fs = Fs::mount(Memory::new(image(MIN_BLOCKS))).0;
    let ino = fs.create(b"f").expect("create");
    let extent = fs.allocate(ino, 0, 8).expect("allocate");
    fs.run(|tx| {
        extents::remove(tx, ino, 0, 8)?;
        let again = extents::alloc_extent(tx, ino, 0, 8)?;
        assert!(again.block >= extent.block + 8 || again.block + again.len <= extent.block);
        tx.zero_blocks(BlockRun {
            start: again.block,
            len: again.len,
        })?;
        extents::insert(tx, ino, again)
    })
    .expect("exchange");
    fs.check();
}

/// While a commit is at work, readers of inodes that it does not change find them whole: they hold
/// no lock that the commit needs.
#[test]
fn readers_beside_a_commit() {
    let mut looks = 0;
    for seed in 100..106 {
        println!("seed {seed}");
        let mut seen = image(MIN_BLOCKS);
        let mut fs = Fs::mount(Recorder::new(seen.clone())).0;
        let mut workload = Workload::new(seed);
        let mut before = fs.check();
        for _ in 0..80 {
            let op = workload.next(&before);
            let done = workload.apply(&mut fs, &op).is_ok();
            let after = fs.check();
            let others: Vec<u64> = before
                .objects
                .iter()
                .filter(|&(ino, object)| after.objects.get(ino) == Some(object))
                .map(|(&ino, _)| ino)
                .collect();
            for event in fs.volume.medium().take() {
                let Event::Store { off, word } = event else {
                    continue;
                };
                let off = off as usize;
                if seen[off..off + 8] == word.to_le_bytes() {
                    continue;
                }
                seen[off..off + 8].copy_from_slice(&word.to_le_bytes());
                if !done || off / 4096 < 69 {
                    continue;
                }
                // Only the block stored to can have changed for them.
                let slots = off as u64 / 4096 * 16..(off as u64 / 4096 + 1) * 16;
                if others.iter().any(|ino| slots.contains(ino)) {
                    let volume = Volume::open(Memory::new(seen.clone())).expect("superblock");
                    for ino in others.iter().filter(|ino| slots.contains(ino)) {
                        assert!(volume.inode(*ino).is_ok(), "{op:?} tears inode {ino}");
                        looks += 1;
                    }
                }
            }
            before = after;
        }
    }
    println!("{looks} looks");
    assert!(looks > 1000);
}

/// A record holds checksums of what it holds: where words of an old record show through, the two
/// differences can cancel out in a checksum of the same kind. So that one does not decide alone.
#[test]
fn a_record_is_not_whole_by_its_crc_alone() {
    /// CRC-32C's generator, the first bit lowest: adding it anywhere changes no remainder.
    const GENERATOR: u64 = 0x82f6_3b78 << 1 | 1;
    assert_eq!(crc::update(0, &GENERATOR.to_le_bytes()), 0);

    let mut fs = Fs::mount(Memory::new(image(MIN_BLOCKS))).0;
    let root = fs.root();
    fs.run(|tx| namespace::create(tx, root, name(b"f"), &attributes(S_IFREG), None))
        .expect("create");
    let whole = fs.volume.medium().image();
    let start = fs.volume.geometry().journal_start as usize * 4096;
    let recovered = |image: Vec<u8>| {
        let volume = Volume::open(Memory::new(image)).expect("superblock");
        journal::recover(&volume).expect("recovery")
    };
    let Recovered::Replayed(len) = recovered(whole.clone()) else {
        panic!("the record is whole");
    };
    assert!(len > 256 + 64);
    let words = start + 64..start + 64 + len as usize;
    for at in words.step_by(8) {
        let mut torn = whole.clone();
        for (byte, change) in torn[at..].iter_mut().zip(GENERATOR.to_le_bytes()) {
            *byte ^= change;
        }
        assert_eq!(recovered(torn), Recovered::Nothing, "changed at {at:#x}");
    }
}
