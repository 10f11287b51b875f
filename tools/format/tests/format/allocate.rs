// SPDX-License-Identifier: GPL-2.0

//! The allocator.

use std::collections::{
    BTreeMap,
    BTreeSet, //
};

use pinfs_format::{
    crash::Random,
    memory::Memory,
    space::{
        self,
        BlockRun, //
        Claim,
        Request,
    },
    Error,
    Result,
    Space,
    Tx, //
};
use proptest::prelude::*;

use crate::support::{
    request,
    Fs, //
};

const GROUP: u64 = 512;

/// Allocates with the reserve.
fn last_blocks(tx: &mut Tx<'_, Memory>, wanted: Request) -> Result<BlockRun> {
    tx.claim(Claim::Freeing);
    tx.alloc_blocks(wanted)
}

#[test]
fn never_twice_and_never_lost() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let mut fs = Fs::new(4 * GROUP + random.below(GROUP));
        let total = fs.space.counts();
        let mut held: BTreeMap<u64, u64> = BTreeMap::new();
        let mut blocks = BTreeSet::new();
        for _ in 0..400 {
            if random.once_in(3) {
                let Some((&start, &len)) = held.iter().nth(random.below(8) as usize) else {
                    continue;
                };
                held.remove(&start);
                fs.run(|tx| tx.free_blocks(BlockRun { start, len }))
                    .expect("free");
                blocks.retain(|block| !(start..start + len).contains(block));
                continue;
            }
            let scale = [4, 100, 1200][random.below(3) as usize];
            let max = 1 + random.below(scale);
            let wanted = Request {
                goal: random.once_in(2).then(|| random.below(6 * GROUP)),
                min: 1 + random.below(max),
                max,
                aligned: random.once_in(4),
            };
            match fs.run(|tx| tx.alloc_blocks(wanted)) {
                Ok(run) => {
                    assert!((wanted.min..=wanted.max).contains(&run.len), "{wanted:?}");
                    for block in run.start..run.start + run.len {
                        assert!(blocks.insert(block), "{block} is given out twice");
                    }
                    held.insert(run.start, run.len);
                }
                Err(error) => assert_eq!(error, Error::NoSpace),
            }
            assert_eq!(fs.space.counts().free, total.free - blocks.len() as u64);
        }
        // The smallest request is met as long as there is anything.
        while let Ok(run) = fs.run(|tx| last_blocks(tx, request(7))) {
            held.insert(run.start, run.len);
        }
        assert_eq!(fs.space.counts().free, 0);
        for (start, len) in held {
            fs.run(|tx| tx.free_blocks(BlockRun { start, len }))
                .expect("free");
        }
        assert_eq!(fs.space.counts(), total);
        fs.check();
    }
}

/// What a transaction does: blocks taken, and runs given back, of those that are held and of its own.
#[derive(Clone, Debug)]
enum Step {
    Alloc(Request),
    Free(prop::sample::Index),
}

/// Transactions, and whether each is kept.
fn transactions() -> impl Strategy<Value = Vec<(Vec<Step>, bool)>> {
    let alloc = (
        prop::option::of(0..3 * GROUP),
        prop_oneof![1..4u64, 1..100u64, 1..700u64],
        any::<prop::sample::Index>(),
        any::<bool>(),
    );
    let alloc = alloc.prop_map(|(goal, max, min, aligned)| {
        let min = 1 + min.index(max as usize) as u64;
        Step::Alloc(Request {
            goal,
            min,
            max,
            aligned,
        })
    });
    let step = prop_oneof![
        3 => alloc,
        2 => any::<prop::sample::Index>().prop_map(Step::Free),
    ];
    let transaction = (prop::collection::vec(step, 1..8), prop::bool::weighted(0.7));
    prop::collection::vec(transaction, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    /// Allocations and frees in one transaction: all of it or nothing, and what is freed is not given
    /// out again before the transaction is durable.
    #[test]
    fn any_transactions(transactions in transactions()) {
        let mut fs = Fs::new(3 * GROUP);
        let total = fs.space.counts().free;
        // Runs by their first block.
        let mut held: BTreeMap<u64, u64> = BTreeMap::new();
        for (steps, is_kept) in transactions {
            let mut now = held.clone();
            let before = held.clone();
            let result = fs.run(|tx| {
                for step in &steps {
                    match step {
                        Step::Alloc(wanted) => match tx.alloc_blocks(*wanted) {
                            Ok(run) => {
                                assert!((wanted.min..=wanted.max).contains(&run.len), "{wanted:?}");
                                let is_apart = |(&start, &len): (&u64, &u64)| {
                                    start + len <= run.start || run.start + run.len <= start
                                };
                                assert!(now.iter().all(is_apart), "{run:?} is in use");
                                assert!(before.iter().all(is_apart), "{run:?} is not free yet");
                                now.insert(run.start, run.len);
                            }
                            Err(error) => assert_eq!(error, Error::NoSpace),
                        },
                        Step::Free(which) if !now.is_empty() => {
                            let (&start, &len) = which.get(&now.iter().collect::<Vec<_>>());
                            now.remove(&start);
                            tx.free_blocks(BlockRun { start, len })?;
                        }
                        Step::Free(_) => (),
                    }
                }
                if is_kept { Ok(()) } else { Err(Error::Invalid) }
            });
            prop_assert_eq!(result, if is_kept { Ok(()) } else { Err(Error::Invalid) });
            if is_kept {
                held = now;
            }
            prop_assert_eq!(fs.space.counts().free, total - held.values().sum::<u64>());
            for (&start, &len) in &held {
                prop_assert!((start..start + len).all(|block| fs.space.is_used(block)));
            }
        }
        // The medium says the same.
        let words = space::words_needed(fs.volume.geometry().blocks);
        let mut fresh = Space::load(&fs.volume, vec![0; words as usize]).expect("bitmaps");
        prop_assert_eq!(fs.space.counts(), fresh.counts());
        for block in 0..fs.volume.geometry().blocks {
            prop_assert_eq!(fs.space.is_used(block), fresh.is_used(block));
        }
    }
}

#[test]
fn a_dropped_transaction_gives_back() {
    let mut fs = Fs::new(4 * GROUP);
    let before = fs.space.counts();
    let result = fs.run(|tx| {
        tx.alloc_blocks(request(900))?;
        tx.alloc_blocks(request(3))?;
        Err::<(), _>(Error::Io)
    });
    assert_eq!(result, Err(Error::Io));
    assert_eq!(fs.space.counts(), before);
    fs.check();
}

#[test]
fn freed_blocks_come_back_after_the_commit_only() {
    let mut fs = Fs::new(GROUP);
    let free = fs.space.counts().free;
    let run = fs.run(|tx| last_blocks(tx, request(free))).expect("all");
    assert_eq!(run.len, free);
    fs.run(|tx| {
        tx.free_blocks(run)?;
        assert_eq!(last_blocks(tx, request(1)), Err(Error::NoSpace));
        Ok(())
    })
    .expect("free");
    assert_eq!(fs.space.counts().free, free);
    // Blocks that are free cannot be freed.
    for bad in [
        run,
        BlockRun { start: 0, len: 1 },
        BlockRun {
            start: GROUP,
            len: 1,
        },
        BlockRun {
            start: u64::MAX,
            len: u64::MAX,
        },
        BlockRun { len: 0, ..run },
    ] {
        let result = fs.run(|tx| tx.free_blocks(bad));
        assert!(matches!(result, Err(Error::Corrupt(_))), "{bad:?}");
    }
}

#[test]
fn large_requests_get_whole_groups_and_small_ones_fill_broken_ones() {
    // The last block has a group of its own: the backup superblock stands there.
    let mut fs = Fs::new(8 * GROUP + 1);
    assert_eq!(fs.space.counts().free_groups, 7);
    let large = fs
        .run(|tx| tx.alloc_blocks(request(2 * GROUP + 5)))
        .expect("large");
    assert_eq!((large.start % GROUP, large.len), (0, 2 * GROUP));
    // The tail goes to the lowest group that is not for metadata, and so do small ones.
    let own = fs.space.counts().free - 5 * GROUP;
    let goal = Some(large.start + large.len);
    let tail = fs
        .run(|tx| tx.alloc_blocks(Request { goal, ..request(5) }))
        .expect("tail");
    assert_eq!(Some(tail.start), goal);
    assert_eq!(fs.space.counts().free_groups, 4);
    while fs.space.counts().free_groups == 4 {
        let one = fs.run(|tx| tx.alloc_blocks(request(1))).expect("small");
        assert!(one.start >= GROUP);
    }
    let counts = fs.space.counts();
    assert_eq!((counts.free_groups, counts.free), (3, 4 * GROUP - 1 + own));
    // Contiguous with the goal inside a broken group.
    let first = fs.run(|tx| tx.alloc_blocks(request(3))).expect("small");
    let goal = Some(first.start + 3);
    let next = fs
        .run(|tx| tx.alloc_blocks(Request { goal, ..request(3) }))
        .expect("next");
    assert_eq!(Some(next.start), goal);
    // Aligned where that is asked for, even if little is wanted.
    let aligned = Request {
        aligned: true,
        ..request(1)
    };
    assert_eq!(
        fs.run(|tx| tx.alloc_blocks(aligned))
            .expect("aligned")
            .start
            % GROUP,
        0
    );
}

#[test]
fn few_blocks_begin_no_group_while_whole_ones_are_scarce() {
    let mut fs = Fs::new(16 * GROUP + 1);
    let mut taken = Vec::new();
    while fs.space.counts().free_groups > 1 {
        taken.push(fs.run(|tx| tx.alloc_blocks(request(GROUP))).expect("group"));
    }
    for run in taken.iter().take(8) {
        let half = BlockRun {
            start: run.start + GROUP / 2,
            len: GROUP / 2,
        };
        fs.run(|tx| tx.free_blocks(half)).expect("free");
    }
    let aligned = |max| Request {
        aligned: true,
        ..request(max)
    };
    let few = fs.run(|tx| tx.alloc_blocks(aligned(10))).expect("few");
    assert_eq!((few.len, fs.space.counts().free_groups), (10, 1));
    let many = fs.run(|tx| tx.alloc_blocks(aligned(GROUP / 2)));
    assert_eq!(many.expect("many").start % GROUP, 0);
    assert_eq!(fs.space.counts().free_groups, 0);
}

/// Small files come and go for a long time, then most of them are deleted: what is free must be
/// usable by huge pages to a good part.
#[test]
fn ageing_leaves_whole_groups() {
    let mut fs = Fs::new(64 * GROUP);
    let mut random = Random::new(1);
    let mut held = Vec::new();
    for _ in 0..60_000 {
        let counts = fs.space.counts();
        let full = counts.free * 10 < counts.total * 5;
        if full || (random.once_in(3) && !held.is_empty()) {
            let index = random.below(held.len() as u64) as usize;
            let run = held.swap_remove(index);
            fs.run(|tx| tx.free_blocks(run)).expect("free");
        } else {
            let max = 1 + random.below(16);
            let run = fs.run(|tx| tx.alloc_blocks(request(max))).expect("alloc");
            held.push(run);
        }
    }
    let counts = fs.space.counts();
    let whole = counts.free_groups * GROUP;
    println!("{counts:?}");
    assert!(
        whole * 10 >= counts.free * 8,
        "{counts:?}: too little is in whole groups"
    );
    let huge = fs.run(|tx| tx.alloc_blocks(request(counts.free_groups * GROUP)));
    assert_eq!(huge.expect("huge").start % GROUP, 0);
}

#[test]
fn bitmaps_that_contradict_are_refused() {
    use pinfs_format::{
        bitmap,
        memory::Memory,
        space,
        Medium,
        Space,
        Volume, //
    };
    let volume = Volume::open(Memory::new(crate::support::image(GROUP))).expect("superblock");
    let geometry = *volume.geometry();
    let words = space::words_needed(geometry.blocks) as usize;
    let load = || Space::load(&volume, vec![0; words]).map(drop);
    let flip = |bitmap: u64, block: u64| {
        let mut byte = [0];
        let at = bitmap * 4096 + block / 8;
        volume.medium().read(at, &mut byte).expect("read");
        byte[0] ^= 1 << (block % 8);
        volume.medium().write(at, &byte).expect("write");
        bitmap::seal(&volume, 0).expect("seal");
    };
    assert_eq!(load(), Ok(()));
    assert_eq!(
        Space::load(&volume, vec![0; words - 1]).map(drop),
        Err(Error::Invalid)
    );
    for (bitmap, block) in [
        (geometry.bitmap_start, 0),
        (geometry.bitmap_start, geometry.data_start - 1),
        (geometry.bitmap_start, geometry.data_start),
        (geometry.bitmap_start, geometry.data_end),
        (geometry.inode_bitmap_start, 0),
        (geometry.inode_bitmap_start, geometry.data_start + 1),
        (geometry.inode_bitmap_start, geometry.data_end),
    ] {
        flip(bitmap, block);
        assert!(matches!(load(), Err(Error::Corrupt(_))), "{block}");
        flip(bitmap, block);
    }
}
