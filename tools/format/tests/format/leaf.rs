// SPDX-License-Identifier: GPL-2.0

//! What a change of a directory stores to its leaf, and how much a leaf holds.

use std::collections::BTreeSet;

use pinfs_format::{
    crash::{
        Event,
        Random,
        Recorder, //
    },
    dir,
    namespace::{
        self,
        IfExists, //
    },
    Time, //
};

use crate::support::{
    image,
    leaf::{
        self,
        OVERHEAD, //
    },
    leaves,
    name,
    Fs, //
};

const BLOCK: usize = 4096;
const LINE: usize = 64;

fn create(fs: &mut Fs<Recorder>, bytes: &str) {
    fs.create(bytes.as_bytes()).expect("create");
}

fn unlink(fs: &mut Fs<Recorder>, bytes: &str) {
    let root = fs.root();
    fs.run(|tx| namespace::unlink(tx, root, name(bytes.as_bytes()), Time::default()))
        .expect("unlink");
}

/// Does `change`, and sees that of the leaf the lines were stored that it changed, and no others but
/// the first, which has the checksum.
#[track_caller]
fn stores_what_changes(fs: &mut Fs<Recorder>, leaf: usize, change: impl FnOnce(&mut Fs<Recorder>)) {
    let before = fs.volume.medium().image();
    fs.volume.medium().take();
    change(fs);
    let after = fs.volume.medium().image();
    let lines = |image: &'_ [u8], line: usize| image[leaf * BLOCK + line * LINE..][..LINE].to_vec();
    let differ = |line: &usize| *line == 0 || lines(&before, *line) != lines(&after, *line);
    let changed: BTreeSet<usize> = (0..BLOCK / LINE).filter(differ).collect();
    let stored: BTreeSet<usize> = fs
        .volume
        .medium()
        .take()
        .into_iter()
        .filter_map(|event| match event {
            Event::Store { off, .. } => (off as usize).checked_sub(leaf * BLOCK),
            _ => None,
        })
        .filter(|at| *at < BLOCK)
        .map(|at| at / LINE)
        .collect();
    assert_eq!(stored, changed);
}

#[test]
fn only_lines_that_change_are_stored() {
    let (mut fs, _) = Fs::mount(Recorder::new(image(1024)));
    let root = fs.root();
    let now = Time::default();
    let mut random = Random::new(1);
    create(&mut fs, "first");
    let leaf = leaves(&fs.volume.medium().image())[0];
    let mut names = vec![];
    for number in 0..60 {
        let new = format!("{number}{}", "x".repeat(random.below(20) as usize));
        stores_what_changes(&mut fs, leaf, |fs| create(fs, &new));
        names.push(new);
        if random.once_in(3) {
            // The other name stays, and is now that of this file.
            let from = names.pop().expect("a name");
            if let Some(to) = names.last() {
                stores_what_changes(&mut fs, leaf, |fs| {
                    let (from, to) = ((root, name(from.as_bytes())), (root, name(to.as_bytes())));
                    fs.run(|tx| namespace::rename(tx, from, to, IfExists::Replace, now))
                        .expect("rename");
                });
            }
        }
        if !names.is_empty() && random.once_in(3) {
            let old = names.swap_remove(random.below(names.len() as u64) as usize);
            stores_what_changes(&mut fs, leaf, |fs| unlink(fs, &old));
        }
    }
    assert_eq!(leaves(&fs.volume.medium().image()), [leaf]);
    fs.check();
}

#[test]
fn leaves_are_filled_to_the_last_byte() {
    let (len, count) = leaf::filling();
    let (mut fs, _) = Fs::mount(Recorder::new(image(1024)));
    create(&mut fs, &format!("{:0len$}", 0));
    let leaf = leaves(&fs.volume.medium().image())[0];
    for number in 1..count {
        stores_what_changes(&mut fs, leaf, |fs| create(fs, &format!("{number:0len$}")));
    }
    assert_eq!(leaves(&fs.volume.medium().image()).len(), 1);
    create(&mut fs, "more");
    assert!(leaves(&fs.volume.medium().image()).len() > 1);
    fs.check();
}

/// The room of the name that stands last is there at once, that of another when names are moved together.
#[test]
fn names_leave_room_or_waste() {
    const SIZE: u16 = OVERHEAD as u16 - 2 + 3;
    let (mut fs, _) = Fs::mount(Recorder::new(image(1024)));
    for new in ["one", "two", "six", "ten"] {
        create(&mut fs, new);
    }
    let leaf = leaves(&fs.volume.medium().image())[0];
    let numbers = |fs: &Fs<Recorder>| leaf::numbers(&fs.volume.medium().image(), leaf);
    assert_eq!(numbers(&fs), [4, 4 * SIZE, 0]);
    let mut remove = |old: &str| {
        unlink(&mut fs, old);
        numbers(&fs)
    };
    assert_eq!(remove("ten"), [3, 3 * SIZE, 0]);
    assert_eq!(remove("one"), [2, 3 * SIZE, SIZE]);
    assert_eq!(remove("six"), [1, 2 * SIZE, SIZE]);
    fs.check();
}

/// A full leaf is parted in the middle of what its names take, whatever waste there is.
#[test]
fn full_leaves_are_halved() {
    let room = BLOCK - size_of::<dir::LeafHead>();
    let (old, new) = ("x".repeat(200), "y".repeat(250));
    let short = |number: usize| format!("{number:03}");
    let count = (room - OVERHEAD - old.len()) / (OVERHEAD + 3) / 2 * 2;
    let (mut fs, _) = Fs::mount(Recorder::new(image(1024)));
    create(&mut fs, &old);
    for number in 0..count {
        create(&mut fs, &short(number));
    }
    // Too little waste for the new name.
    unlink(&mut fs, &old);
    let leaf = leaves(&fs.volume.medium().image())[0];
    let [_, _, dead] = leaf::numbers(&fs.volume.medium().image(), leaf);
    assert_eq!(usize::from(dead), OVERHEAD - 2 + old.len());
    create(&mut fs, &new);

    let image = fs.volume.medium().image();
    let mut halves: Vec<_> = leaves(&image)
        .into_iter()
        .map(|leaf| {
            let mut bytes = image[leaf * BLOCK..][..BLOCK].to_vec();
            let leaf = dir::Leaf::in_bytes(&mut bytes).expect("a leaf");
            (0..leaf.len())
                .filter(|&index| leaf.name(index).expect("a name").1.len() == 3)
                .count()
        })
        .collect();
    halves.sort();
    assert_eq!(halves, [count / 2, count / 2]);
    fs.check();
}

/// When the first leaf is gone, the next one takes the names that would have been in it.
#[test]
fn the_first_leaf_takes_what_is_below_it() {
    let (mut fs, _) = Fs::mount(Recorder::new(image(1024)));
    let root = fs.root();
    let cookie = |fs: &Fs<Recorder>, bytes: &str| {
        let found = dir::lookup(&fs.volume, &fs.inode(root), name(bytes.as_bytes()));
        found.map(|found| found.cookie)
    };
    let mut names: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    for new in &names {
        create(&mut fs, new);
    }
    names.sort_by_key(|name| cookie(&fs, name).expect("the name"));
    let blocks = |fs: &Fs<Recorder>| fs.inode(root).blocks.get();
    assert_eq!(blocks(&fs), 2);
    for old in &names {
        if blocks(&fs) == 1 {
            break;
        }
        unlink(&mut fs, old);
    }
    assert!(cookie(&fs, &names[199]).is_ok());
    assert!(cookie(&fs, &names[0]).is_err());
    create(&mut fs, &names[0]);
    assert_eq!(blocks(&fs), 1);
    assert!(cookie(&fs, &names[0]).is_ok());
    fs.check();
}

/// As fsck.pinfs does it, which puts names into new leaves.
#[test]
fn names_are_appended_while_there_is_room() {
    let mut bytes = vec![0; BLOCK];
    let leaf = dir::Leaf::in_bytes(&mut bytes).expect("a leaf");
    let room = BLOCK - size_of::<dir::LeafHead>();
    let mut taken = 0;
    for number in 0.. {
        let new = format!("{number:0len$}", len = 10 + number % 7);
        let found = dir::Found {
            ino: number as u64,
            kind: 8,
            cookie: 100 + number as u64,
        };
        let fits = taken + OVERHEAD + new.len() <= room;
        assert_eq!(leaf.append(&found, name(new.as_bytes())), Ok(fits));
        if !fits {
            break;
        }
        taken += OVERHEAD + new.len();
        assert_eq!(leaf.len(), number + 1);
        assert_eq!(leaf.name(number), Ok((found, new.as_bytes())));
        // Without the slots, of two bytes each.
        assert_eq!(leaf.live_bytes(), Ok(taken - 2 * leaf.len()));
        assert_eq!(leaf.counted_bytes(), taken - 2 * leaf.len());
    }
    assert!(taken + OVERHEAD + 16 > room);
    assert!(dir::Leaf::in_bytes(&mut [0; BLOCK - 1]).is_none());
    assert!(dir::Leaf::in_bytes(&mut [0; BLOCK + 1]).is_none());
}
