// SPDX-License-Identifier: GPL-2.0

//! Whatever the power loss leaves, recovery finds the state before or after the operation.

use pinfs_format::{
    check::Contents,
    crash::{
        Event,
        Power,
        Random,
        Recorder,
        SURVIVALS, //
    },
    journal::{
        self,
        Recovered, //
    },
    memory::Memory,
    mount,
    superblock::MIN_BLOCKS,
    Time,
    Volume, //
};

use crate::{
    support::{
        image,
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
