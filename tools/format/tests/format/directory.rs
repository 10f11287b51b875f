// SPDX-License-Identifier: GPL-2.0

//! Directories against a map.

use std::collections::BTreeMap;

use pinfs_format::{
    crash::Random,
    dir::{
        self,
        Found, //
    },
    inode::{
        self,
        S_IFIFO, //
    },
    memory::Memory,
    names,
    namespace::{
        self,
        IfExists, //
    },
    orphan,
    Error,
    Time, //
};
use proptest::prelude::*;

use crate::support::{
    attributes,
    name,
    Fs, //
};

type Model = BTreeMap<Vec<u8>, u64>;

const NOW: Time = Time { sec: 9, nsec: 9 };

fn list(fs: &Fs<Memory>, from: u64, limit: usize) -> Vec<(Found, Vec<u8>)> {
    let dir = fs.inode(fs.root());
    let mut list = Vec::new();
    names::read(&fs.volume, &dir, from, |found, name| {
        list.push((*found, name.to_vec()));
        list.len() < limit
    })
    .expect("readdir");
    list
}

fn compare(fs: &mut Fs<Memory>, model: &Model) {
    let root = fs.root();
    let contents = fs.check();
    assert_eq!(&contents.objects[&root].names, model);
    let dir = fs.inode(root);
    for (key, &ino) in model {
        let found = dir::lookup(&fs.volume, &dir, name(key)).expect("look-up");
        assert_eq!(found.ino, ino);
    }
    let listed = list(fs, 0, usize::MAX);
    assert!(listed.windows(2).all(|w| w[0].0.cookie < w[1].0.cookie));
    let listed: Model = listed.into_iter().map(|(f, name)| (name, f.ino)).collect();
    assert_eq!(&listed, model);
    // The same in small pieces.
    let mut pieces = Model::new();
    let mut from = 0;
    loop {
        let piece = list(fs, from, 3);
        let Some((last, _)) = piece.last() else {
            break;
        };
        from = last.cookie + 1;
        pieces.extend(piece.into_iter().map(|(f, name)| (name, f.ino)));
    }
    assert_eq!(&pieces, model);
}

fn add(fs: &mut Fs<Memory>, model: &mut Model, key: &[u8]) {
    let root = fs.root();
    let attr = attributes(S_IFIFO | 0o600);
    match fs.run(|tx| namespace::create(tx, root, name(key), &attr, None)) {
        Ok(ino) => assert_eq!(model.insert(key.to_vec(), ino), None),
        Err(error) => {
            assert_eq!(error, Error::Exists);
            assert!(model.contains_key(key));
        }
    }
}

fn remove(fs: &mut Fs<Memory>, model: &mut Model, key: &[u8]) {
    let root = fs.root();
    match fs.run(|tx| namespace::unlink(tx, root, name(key), NOW)) {
        Ok(found) => {
            assert_eq!(model.remove(key), Some(found.ino));
            while !fs.run(|tx| orphan::reap(tx, found.ino)).expect("reap") {}
        }
        Err(error) => {
            assert_eq!(error, Error::NoEntry);
            assert!(!model.contains_key(key));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<u8>),
    Remove(Vec<u8>),
    Rename(Vec<u8>, Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || {
        (0u32..60, prop_oneof![Just(1usize), Just(90), Just(250)]).prop_map(|(number, len)| {
            let mut key = number.to_string().into_bytes();
            key.resize(key.len().max(len), b'x');
            key
        })
    };
    let step = prop_oneof![
        5 => key().prop_map(Step::Add),
        2 => key().prop_map(Step::Remove),
        2 => (key(), key()).prop_map(|(a, b)| Step::Rename(a, b)),
    ];
    prop::collection::vec(step, 1..250)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_steps(steps in steps()) {
        let mut fs = Fs::new(1024);
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Add(key) => add(&mut fs, &mut model, &key),
                Step::Remove(key) => remove(&mut fs, &mut model, &key),
                Step::Rename(from, to) => {
                    let root = fs.root();
                    let (a, b) = ((root, name(&from)), (root, name(&to)));
                    match fs.run(|tx| namespace::rename(tx, a, b, IfExists::Replace, NOW)) {
                        Ok(old) => {
                            let ino = model.remove(&from).expect("a name that was there");
                            let replaced = model.insert(to, ino);
                            prop_assert_eq!(replaced.filter(|&r| r != ino), old.map(|o| o.ino));
                            if let Some(old) = old {
                                fs.run(|tx| orphan::reap(tx, old.ino)).expect("reap");
                            }
                        }
                        Err(error) => {
                            prop_assert_eq!(error, Error::NoEntry);
                            prop_assert!(!model.contains_key(&from));
                        }
                    }
                }
            }
        }
        compare(&mut fs, &model);
    }
}

#[test]
fn large_directories() {
    let mut fs = Fs::new(8192);
    let free = fs.space.counts();
    let mut model = Model::new();
    let mut random = Random::new(5);
    for i in 0..20_000 {
        add(
            &mut fs,
            &mut model,
            format!("a-name-of-usual-length-{i}").as_bytes(),
        );
    }
    compare(&mut fs, &model);
    // Leaves are used well, but not at all costs.
    let leaves = fs.inode(fs.root()).blocks.get();
    assert!((230..450).contains(&leaves), "{leaves} blocks");
    let mut keys: Vec<_> = model.keys().cloned().collect();
    while keys.len() > 300 {
        let key = keys.swap_remove(random.below(keys.len() as u64) as usize);
        remove(&mut fs, &mut model, &key);
    }
    compare(&mut fs, &model);
    for key in keys {
        remove(&mut fs, &mut model, &key);
    }
    compare(&mut fs, &model);
    assert!(dir::is_empty(&fs.inode(fs.root())));
    assert_eq!(fs.space.counts(), free);
}

/// A reader goes on where it was, though names come and go: it sees every name that was there all
/// the time exactly once.
#[test]
fn positions_are_stable() {
    let mut fs = Fs::new(4096);
    let mut model = Model::new();
    let stays = |i: u32| format!("stays-{i}");
    for i in 0..500 {
        add(&mut fs, &mut model, stays(i).as_bytes());
        add(&mut fs, &mut model, format!("goes-{i}").as_bytes());
    }
    let mut seen: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let mut from = 0;
    for turn in 0.. {
        let piece = list(&fs, from, 7);
        let Some((last, _)) = piece.last() else {
            break;
        };
        from = last.cookie + 1;
        for (_, name) in piece {
            *seen.entry(name).or_default() += 1;
        }
        for i in 0..5 {
            remove(
                &mut fs,
                &mut model,
                format!("goes-{}", turn * 5 + i).as_bytes(),
            );
            add(
                &mut fs,
                &mut model,
                format!("comes-{turn}-{i}-{turn:0100}").as_bytes(),
            );
        }
    }
    for i in 0..500 {
        assert_eq!(seen.get(stays(i).as_bytes()), Some(&1));
    }
    assert!(seen.values().all(|&times| times == 1));
}

/// fsck.pinfs asks whether a name can have the cookie that it has.
#[test]
fn cookies_are_those_of_their_names() {
    let mut fs = Fs::new(512);
    let mut model = Model::new();
    for key in [b"one", b"two", b"six"] {
        add(&mut fs, &mut model, key);
    }
    let geometry = fs.volume.geometry();
    for (found, key) in list(&fs, 0, usize::MAX) {
        for other in model.keys() {
            let has = dir::has_hash(geometry, name(other), found.cookie);
            assert_eq!(has, *other == key);
        }
    }
}

/// Names have the types of readdir(3), which `d_type` shows as they stand.
#[test]
fn names_have_types() {
    let types = [
        ("fifo", inode::S_IFIFO, 1),
        ("chr", inode::S_IFCHR, 2),
        ("dir", inode::S_IFDIR, 4),
        ("blk", inode::S_IFBLK, 6),
        ("reg", inode::S_IFREG, 8),
        ("lnk", inode::S_IFLNK, 10),
        ("sock", inode::S_IFSOCK, 12),
    ];
    let mut fs = Fs::new(512);
    let root = fs.root();
    for (new, mode, _) in types {
        let new = name(new.as_bytes());
        let target = (mode == inode::S_IFLNK).then_some(&b"target"[..]);
        fs.run(|tx| namespace::create(tx, root, new, &attributes(mode), target))
            .expect("create");
    }
    for (new, _, kind) in types {
        let found = dir::lookup(&fs.volume, &fs.inode(root), name(new.as_bytes()));
        assert_eq!(found.map(|found| found.kind), Ok(kind), "{new}");
    }
    // One name of a file, and then of another.
    fs.run(|tx| {
        namespace::rename(
            tx,
            (root, name(b"reg")),
            (root, name(b"sock")),
            IfExists::Replace,
            NOW,
        )
    })
    .expect("rename");
    let found = dir::lookup(&fs.volume, &fs.inode(root), name(b"sock"));
    assert_eq!(found.map(|found| found.kind), Ok(8));
}
