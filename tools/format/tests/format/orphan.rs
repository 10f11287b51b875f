// SPDX-License-Identifier: GPL-2.0

//! The orphan list at a mount: what cannot be freed is in nobody's way. (Contract S3, S4; faults A6, E13.)

use pinfs_format::{
    inode::S_IFREG,
    memory::Memory,
    mount,
    namespace,
    offset_of,
    orphan,
    volume::inode_offset,
    Error,
    Medium,
    Time, //
};

use crate::support::{
    attributes,
    name,
    Fs, //
};

/// Files without names, newest first on the list; each has extents in a node.
fn orphans(count: u8) -> (Fs<Memory>, Vec<u64>) {
    let mut fs = Fs::new(2048);
    let root = fs.root();
    let mut made = Vec::new();
    for index in 0..count {
        let file = [b'a' + index];
        let ino = fs.create(&file).expect("create");
        for at in 0..6 {
            fs.allocate(ino, 3 * at, 1).expect("a block");
        }
        fs.run(|tx| namespace::unlink(tx, root, name(&file), Time::default()))
            .expect("unlink");
        made.insert(0, ino);
    }
    (fs, made)
}

/// The list as it is linked, and no further than it can be read.
fn list(fs: &Fs<Memory>) -> Vec<u64> {
    let mut seen = Vec::new();
    let mut ino = mount::status(&fs.volume).expect("status").orphans.get();
    while ino != 0 {
        seen.push(ino);
        assert!(seen.len() < 100, "no end");
        ino = fs.inode(ino).orphan_next.get();
    }
    seen
}

/// Spoils a byte of the medium.
fn spoil(fs: &Fs<Memory>, off: u64) {
    let mut byte = [0];
    fs.volume.medium().read(off, &mut byte).expect("a byte");
    byte[0] ^= 0x55;
    fs.volume.medium().write(off, &byte).expect("a byte");
}

/// Works the list off, and returns who was told to have failed.
fn work_off(fs: &mut Fs<Memory>) -> Vec<u64> {
    let mut failed = Vec::new();
    let Fs {
        volume,
        space,
        journal,
    } = fs;
    orphan::work_off(journal, volume, space, |ino, _| failed.push(ino)).expect("a mount");
    failed
}

/// That others can come and go beside what is left on the list.
fn files_come_and_go(fs: &mut Fs<Memory>) {
    let before = list(fs);
    let root = fs.root();
    let file = fs
        .run(|tx| namespace::create(tx, root, name(b"new"), &attributes(S_IFREG), None))
        .expect("create");
    fs.run(|tx| namespace::unlink(tx, root, name(b"new"), Time::default()))
        .expect("unlink");
    while !fs.run(|tx| orphan::reap(tx, file)).expect("reap") {}
    assert_eq!(list(fs), before);
}

#[test]
fn s3_all_orphans_are_freed() {
    let (mut fs, made) = orphans(5);
    assert_eq!(list(&fs), made);
    assert_eq!(work_off(&mut fs), []);
    assert_eq!(list(&fs), []);
    assert_eq!(fs.check().objects.len(), 1);
}

/// One whose tree is damaged stays on the list, wherever it stands there; the others are freed.
#[test]
fn s4_an_orphan_with_damage_is_set_aside() {
    for damaged in [vec![0], vec![2], vec![4], vec![1, 2], vec![0, 1, 2, 3, 4]] {
        let (mut fs, made) = orphans(5);
        let free = fs.space.counts().free;
        let mut left = Vec::new();
        for &index in &damaged {
            let node = fs.inode(made[index]).root.entry(0).expect("a node").value;
            spoil(&fs, offset_of(node) + 100);
            left.push(made[index]);
        }
        // As strict as a mount was.
        if damaged == [0] {
            let node = Error::Corrupt("tree node is damaged");
            assert_eq!(fs.run(orphan::step), Err(node));
        }
        assert_eq!(work_off(&mut fs), left);
        assert_eq!(list(&fs), left);
        for ino in &made {
            assert_eq!(fs.volume.inode(*ino).is_ok(), left.contains(ino));
        }
        assert!((fs.space.counts().free > free) == (left.len() < 5));
        files_come_and_go(&mut fs);
        // The next mount tries again, and gets as far.
        assert_eq!(work_off(&mut fs), left);
    }
}

/// One that cannot be read is left out of the list, so that others can be put on it; what is behind is
/// freed as long as it says that it is behind.
#[test]
fn s4_an_orphan_that_cannot_be_read_is_left_out() {
    for damaged in [vec![0], vec![2], vec![4], vec![1, 3]] {
        let (mut fs, made) = orphans(5);
        let left: Vec<u64> = damaged.iter().map(|&index| made[index]).collect();
        for &ino in &left {
            spoil(&fs, inode_offset(ino) + 100);
        }
        assert_eq!(work_off(&mut fs), left);
        assert_eq!(list(&fs), []);
        for ino in &made {
            let free = matches!(fs.volume.inode(*ino), Err(Error::Stale));
            assert_eq!(!free, left.contains(ino));
        }
        files_come_and_go(&mut fs);
    }
}

/// Links that lead nowhere or in a circle end the list.
#[test]
fn s4_a_broken_list_ends() {
    // Whose link, to whom, and who is told of.
    for (of, to, told) in [(4, 1, 1), (2, 2, 2), (1, 4, 4), (0, 0, 0)] {
        let (mut fs, made) = orphans(5);
        fs.run(|tx| {
            tx.inode_mut(made[of])?.orphan_next.set(made[to]);
            Ok(())
        })
        .expect("a link");
        assert_eq!(work_off(&mut fs), [made[told]]);
        assert_eq!(list(&fs), []);
        for ino in &made[..=of] {
            assert!(fs.volume.inode(*ino).is_err());
        }
        files_come_and_go(&mut fs);
    }
    for nowhere in [1, 17, u64::MAX] {
        let (mut fs, made) = orphans(3);
        fs.run(|tx| {
            tx.inode_mut(made[1])?.orphan_next.set(nowhere);
            Ok(())
        })
        .expect("a link");
        assert_eq!(work_off(&mut fs), [nowhere]);
        assert_eq!(list(&fs), []);
        files_come_and_go(&mut fs);
    }
}

/// A check is asked for in a word that nothing else touches, and forgotten when it was made.
#[test]
fn s4_a_check_is_asked_for() {
    let (mut fs, _) = orphans(1);
    assert_eq!(mount::wants_check(&fs.volume), Ok(false));
    mount::ask_for_check(fs.volume.medium()).expect("a word");
    // Mounts, replays and umounts leave it there.
    fs.mark_mounted();
    let image = fs.volume.medium().image();
    let mut fs = Fs::mount(Memory::new(image)).0;
    fs.finish_orphans();
    fs.run(|tx| mount::unmounted(tx, Time::default()))
        .expect("umount");
    fs.journal.retire(&fs.volume).expect("umount");
    assert_eq!(mount::wants_check(&fs.volume), Ok(true));
    fs.check();
    mount::checked(fs.volume.medium()).expect("a word");
    assert_eq!(mount::wants_check(&fs.volume), Ok(false));
}
