// SPDX-License-Identifier: GPL-2.0

//! A full device, and a transaction that is too small: an operation that fails at any of its steps
//! changes and loses nothing.

use pinfs_format::{
    crash::Random,
    journal,
    memory::Memory,
    space::Request,
    Error,
    Journal, //
};

use crate::{
    support::Fs,
    workload::Workload, //
};

/// Takes blocks until `left` are free. They belong to nobody, so they are given back before a check.
fn take(fs: &mut Fs<Memory>, left: u64) -> Vec<pinfs_format::space::Run> {
    let mut taken = Vec::new();
    while fs.space.counts().free > left {
        let max = fs.space.counts().free - left;
        let run = fs.run(|tx| {
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
