// SPDX-License-Identifier: GPL-2.0

//! Every damaged image is repaired in one go: the second check finds nothing, and neither does the
//! checker that the format's own tests use.

use std::{
    fs,
    path::Path, //
};

use pinfs_corrupt::{
    base,
    Corpus,
    Damage, //
};
use pinfs_format::{
    check as contents,
    exercise::exercise,
    inode::{
        settable,
        S_IFCHR,
        S_IFDIR,
        S_IFLNK,
        S_IFMT,
        S_IFREG, //
    },
    journal,
    memory::Memory,
    volume::inode_offset,
    Volume, //
};
use pinfs_fsck::{
    check,
    Fault,
    Options,
    Outcome,
    Overlay, //
};
use proptest::prelude::*;

const FORCE: Options = Options { force: true };

/// Checks and repairs; `None` if it was refused.
fn repair(image: Vec<u8>) -> Option<(Vec<Fault>, Vec<u8>)> {
    let memory = Memory::new(image);
    let overlay = Overlay::new(&memory);
    match check(&overlay, FORCE, &mut |_, _, _| {}).expect("memory does not fail") {
        Outcome::Checked { faults, .. } => {
            overlay.commit().expect("memory does not fail");
            Some((faults, memory.image()))
        }
        Outcome::Refused(_) | Outcome::NoRoom(_) => None,
        Outcome::Clean(_) => panic!("not looked at though forced"),
    }
}

#[track_caller]
fn try_damage(image: &[u8], damage: &Damage) -> bool {
    let mut damaged = image.to_vec();
    damage.apply(&mut damaged);
    let Some((faults, repaired)) = repair(damaged) else {
        return false;
    };
    let (again, twice) = repair(repaired.clone()).expect("a repaired image is not refused");
    assert!(
        again.is_empty(),
        "{}: {faults:#?}\nthen {again:#?}",
        damage.name
    );
    assert!(twice == repaired, "{}: changed without fault", damage.name);
    let volume = Volume::open(Memory::new(repaired)).expect("superblock");
    assert_eq!(
        journal::needs_recovery(&volume),
        Ok(false),
        "{}",
        damage.name
    );
    if let Err(problems) = contents::check(&volume) {
        panic!("{}: {faults:#?}\nthen {problems:#?}", damage.name);
    }
    true
}

#[test]
fn the_base_is_without_fault() {
    let image = base(640).expect("base");
    let (faults, repaired) = repair(image.clone()).expect("accepted");
    assert!(faults.is_empty(), "{faults:#?}");
    // Its journal was replayed, and the file system is now marked clean.
    let memory = Memory::new(repaired);
    let overlay = Overlay::new(&memory);
    let outcome = check(&overlay, Options::default(), &mut |_, _, _| {});
    assert!(matches!(outcome, Ok(Outcome::Clean(_))), "{outcome:?}");
}

#[test]
fn repaired_in_one_go() {
    let image = base(640).expect("base");
    let corpus = Corpus::new(image.clone()).expect("corpus");
    let list = corpus.list(1, 2000);
    assert!(
        list.iter()
            .filter(|damage| try_damage(&image, damage))
            .count()
            > 1700
    );
}

#[test]
fn the_corpus_is_what_it_says() {
    let corpus = Corpus::new(base(640).expect("base")).expect("corpus");
    let list = corpus.list(1, 2500);
    assert_eq!(list, corpus.list(1, 2500));
    let mut different: Vec<_> = list.iter().map(|damage| &damage.patches).collect();
    different.sort_by_key(|patches| format!("{patches:?}"));
    different.dedup();
    assert!(different.len() >= 2000, "{}", different.len());
}

/// The files that tests/fuzz keeps for one of its programs.
fn inputs(program: &str) -> Vec<Vec<u8>> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz");
    let dirs = ["found", "corpus"].map(|dir| fuzz.join(dir).join(program));
    let files = dirs.iter().flat_map(|dir| dir.read_dir().expect("there"));
    files
        .map(|file| fs::read(file.expect("listed").path()).expect("readable"))
        .collect()
}

/// What the fuzzer has found, and what it goes on from.
#[test]
fn inputs_of_the_fuzzer() {
    let image = base(640).expect("base");
    let corpus = Corpus::new(image.clone()).expect("corpus");
    let mut repaired = 0;
    for input in inputs("fsck") {
        repaired += u32::from(try_damage(&image, &corpus.decode(&input)));
    }
    assert!(repaired > 0);
    let mut answered = 0;
    for input in inputs("mount") {
        let mut damaged = image.clone();
        corpus.decode(&input).apply(&mut damaged);
        answered += exercise(Memory::new(damaged), 8).unwrap_or(0);
    }
    assert!(answered > 1000);
}

/// Damage to the journal that is to get behind its checksums does.
#[test]
fn sealed_records_are_taken() {
    let image = base(640).expect("base");
    let list = Corpus::new(image.clone()).expect("corpus").list(1, 4000);
    let mut looks = 0;
    for damage in list {
        // NUMBER-Journal@PLACE+OFFSET-WIDTH-WHAT-sealed
        let rest = damage.name.split_once("-Journal@").map(|(_, rest)| rest);
        let at = rest.and_then(|rest| rest.split(['+', '-']).nth(1)?.parse::<u64>().ok());
        let sealed = damage.name.ends_with("-sealed");
        if !sealed || damage.name.contains("-in-") || at.is_none_or(|at| at < 64) {
            continue;
        }
        let mut damaged = image.clone();
        damage.apply(&mut damaged);
        let volume = Volume::open(Memory::new(damaged)).expect("superblock");
        assert_ne!(
            journal::needs_recovery(&volume),
            Ok(false),
            "{}",
            damage.name
        );
        looks += 1;
    }
    assert!(looks > 30, "{looks}");
}

/// Users' flags are checked by the type of the file, one by one.
#[test]
fn flags_that_a_file_cannot_have() {
    let (_, image) = repair(base(640).expect("base")).expect("accepted");
    let volume = Volume::open(Memory::new(image)).expect("superblock");
    let objects = contents::check(&volume).expect("without fault").objects;
    let mut looks = 0;
    for kind in [S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR] {
        let (&ino, _) = objects
            .iter()
            .find(|(_, object)| object.mode & S_IFMT == kind)
            .expect("one of each");
        for bit in 3..32 {
            let flag = 1 << bit;
            let memory = Memory::new(volume.medium().image());
            let damaged = Volume::open(memory).expect("superblock");
            let mut inode = damaged.inode(ino).expect("inode");
            inode.flags.set(inode.flags.get() & 7 | flag);
            damaged.store(inode_offset(ino), &mut inode).expect("store");
            let (faults, repaired) = repair(damaged.medium().image()).expect("accepted");
            let allowed = settable(kind) & flag != 0;
            assert_eq!(faults.is_empty(), allowed, "{kind:o} {flag:#x}: {faults:?}");
            assert!(repair(repaired).expect("accepted").0.is_empty());
            looks += 1;
        }
    }
    assert_eq!(looks, 4 * 29);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn several_at_once(seed in any::<u64>(), count in 1usize..12) {
        let image = base(640).expect("base");
        let list = Corpus::new(image.clone()).expect("corpus").list(seed, count);
        let all = Damage {
            name: format!("{seed} {count}"),
            patches: list.into_iter().flat_map(|damage| damage.patches).collect(),
        };
        try_damage(&image, &all);
    }
}
