// SPDX-License-Identifier: GPL-2.0

//! Tests of names of equal hash, which a good hash hardly ever yields.

use std::{
    collections::BTreeMap,
    format,
    println,
    string::String,
    vec,
    vec::Vec, //
};

use super::*;
use crate::{
    check,
    crash::Random,
    inode::{
        Attributes,
        S_IFREG, //
    },
    journal,
    memory::Memory,
    mkfs,
    name::WEAK,
    names,
    namespace,
    ondisk::leaf::{
        BODY,
        SERIAL_BITS, //
    },
    space,
    Journal,
    Space,
    Time, //
};

/// A root directory in which the first byte of a name is its hash.
struct Root {
    volume: Volume<Memory>,
    space: Space<Vec<u64>>,
    journal: Journal<Vec<u8>>,
    model: BTreeMap<String, u64>,
}

impl Root {
    fn new() -> Self {
        let memory = Memory::new(vec![0; 4 << 20]);
        let options = mkfs::Options {
            uuid: [1; 16],
            label: [0; 32],
            hash_key: WEAK,
            now: Time::default(),
            uid: 0,
            gid: 0,
        };
        mkfs::format(&memory, &options).expect("format");
        let volume = Volume::open(memory).expect("superblock");
        let words = space::words_needed(volume.geometry().blocks) as usize;
        let space = Space::load(&volume, vec![0; words]).expect("bitmaps");
        let journal = Journal::new(&volume, vec![0; journal::ARENA_BYTES]).expect("journal");
        Root {
            volume,
            space,
            journal,
            model: BTreeMap::new(),
        }
    }

    fn add(&mut self, name: &str) -> Result {
        let root = self.volume.geometry().root_ino;
        let attr = Attributes {
            mode: S_IFREG,
            uid: 0,
            gid: 0,
            rdev: 0,
            generation: 0,
            now: Time::default(),
        };
        let ino = self.journal.run(&self.volume, &mut self.space, |tx| {
            namespace::create(tx, root, Name::new(name.as_bytes())?, &attr, None)
        })?;
        self.model.insert(name.into(), ino);
        Ok(())
    }

    /// Returns whether a leaf has no room for one more name of this hash.
    fn is_full_for(&self, name: &str) -> bool {
        let bytes = |name: &str| NAME_HEAD + name.len() + 2;
        let alike: Vec<_> = self
            .model
            .keys()
            .filter(|other| other.as_bytes()[0] == name.as_bytes()[0])
            .collect();
        let used: usize = alike.iter().map(|other| bytes(other)).sum();
        alike.len() == 1 << SERIAL_BITS || used + bytes(name) > BODY
    }

    fn remove(&mut self, name: &str) {
        let root = self.volume.geometry().root_ino;
        let found = self.journal.run(&self.volume, &mut self.space, |tx| {
            namespace::unlink(tx, root, Name::new(name.as_bytes())?, Time::default())
        });
        let ino = found.expect("unlink").ino;
        assert_eq!(self.model.remove(name), Some(ino));
    }

    fn cookies(&self) -> BTreeMap<String, u64> {
        let root = self.volume.inode(self.volume.geometry().root_ino);
        let root = root.expect("root");
        let mut cookies = BTreeMap::new();
        names::read(&self.volume, &root, 0, |found, name| {
            let name = String::from_utf8(name.into()).expect("text");
            cookies.insert(name, found.cookie);
            true
        })
        .expect("readdir");
        for (name, &ino) in &self.model {
            let name = Name::new(name.as_bytes()).expect("a name");
            let found = lookup(&self.volume, &root, name).expect("look-up");
            assert_eq!(found.ino, ino);
        }
        assert!(cookies.keys().eq(self.model.keys()));
        if let Err(problems) = check::check(&self.volume) {
            panic!("{problems:?}");
        }
        cookies
    }
}

#[test]
fn names_of_equal_hash() {
    let mut root = Root::new();
    let cookie = u64::from(b'a') << SERIAL_BITS;
    for i in 0..5 {
        assert_eq!(root.add(&format!("a{i}")), Ok(()));
    }
    assert_eq!(root.add("a3"), Err(Error::Exists));
    let before = root.cookies();
    assert_eq!(before["a0"], cookie);
    assert_eq!(before["a4"], cookie + 4);
    // The others keep their cookies, and the lowest free cookie is taken.
    root.remove("a1");
    root.remove("a3");
    assert_eq!(root.cookies()["a4"], cookie + 4);
    assert_eq!(root.add("a4"), Err(Error::Exists));
    assert_eq!(root.add("anew"), Ok(()));
    assert_eq!(root.cookies()["anew"], cookie + 1);
    assert_eq!(root.add("amore"), Ok(()));
    assert_eq!(root.cookies()["amore"], cookie + 3);
    assert_eq!(root.add("alast"), Ok(()));
    assert_eq!(root.cookies()["alast"], cookie + 5);
}

#[test]
fn too_many_of_equal_hash() {
    let mut root = Root::new();
    for i in 0..1 << SERIAL_BITS {
        assert_eq!(root.add(&format!("a{i}")), Ok(()));
    }
    assert_eq!(root.add("aover"), Err(Error::NoSpace));
    root.cookies();
    root.remove("a77");
    assert_eq!(root.add("aover"), Ok(()));
    // Names of other hashes get leaves of their own.
    for i in 0..100 {
        for first in ['b', 'Z', '0'] {
            assert_eq!(root.add(&format!("{first}{i}")), Ok(()));
        }
    }
    root.cookies();
    assert_eq!(root.add("aagain"), Err(Error::NoSpace));
}

#[test]
fn too_long_ones_of_equal_hash() {
    let mut root = Root::new();
    let name = |first: char, i: i32| format!("{first}{i:0200}");
    let mut fit = 0;
    while root.add(&name('a', fit)).is_ok() {
        fit += 1;
    }
    assert_eq!(root.add(&name('a', fit)), Err(Error::NoSpace));
    assert_eq!(fit as usize, BODY / (NAME_HEAD + 201 + 2));
    // A full leaf of one hash splits off its neighbours on both sides.
    assert_eq!(root.add(&name('b', 0)), Ok(()));
    assert_eq!(root.add(&name('A', 0)), Ok(()));
    root.cookies();
    for i in 0..fit {
        root.remove(&name('a', i));
        assert_eq!(root.add(&name('a', i)), Ok(()));
    }
    root.cookies();
}

/// Adds and removes names of a few hashes, among them more of one hash than a leaf can hold. Leaves
/// are split and freed. Each name is found and keeps its cookie. A name is refused only if a leaf
/// has no room for it with the others of its hash.
#[test]
fn any_names_of_few_hashes() {
    for seed in 0..6 {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let mut root = Root::new();
        let mut before = BTreeMap::new();
        let mut refused = 0;
        for step in 0..600 {
            let hash = char::from(b'a' + random.below(5) as u8);
            let len = [1, 30, 200][random.below(3) as usize];
            let name = format!("{hash}{:01$}", random.below(40), len);
            if root.model.contains_key(&name) {
                if random.once_in(2) {
                    root.remove(&name);
                    before.remove(&name);
                } else {
                    assert_eq!(root.add(&name), Err(Error::Exists));
                }
            } else if root.is_full_for(&name) {
                assert_eq!(root.add(&name), Err(Error::NoSpace));
                refused += 1;
            } else {
                assert_eq!(root.add(&name), Ok(()));
            }
            if step % 20 == 0 {
                let now = root.cookies();
                assert!(before.iter().all(|(name, cookie)| now[name] == *cookie));
                before = now;
            }
        }
        assert!(refused > 0);
        let names: Vec<_> = root.model.keys().cloned().collect();
        for name in names {
            root.remove(&name);
        }
        root.cookies();
    }
}
