// SPDX-License-Identifier: GPL-2.0

//! What the operations on names do, and when they refuse.

use pinfs_format::{
    inode::{
        Stamp,
        LINK_MAX,
        S_IFBLK,
        S_IFDIR,
        S_IFIFO,
        S_IFLNK,
        S_IFREG, //
    },
    memory::Memory,
    namespace::{
        self,
        IfExists, //
    },
    orphan,
    symlink,
    Error,
    Result,
    Time, //
};

use crate::support::{
    attributes,
    name,
    Fs, //
};

const NOW: Time = Time { sec: 77, nsec: 1 };

fn make(fs: &mut Fs<Memory>, parent: u64, new: &[u8], mode: u32) -> u64 {
    fs.run(|tx| namespace::create(tx, parent, name(new), &attributes(mode), None))
        .expect("create")
}

fn rename(fs: &mut Fs<Memory>, from: (u64, &[u8]), to: (u64, &[u8])) -> Result<Option<u64>> {
    let (from, to) = ((from.0, name(from.1)), (to.0, name(to.1)));
    fs.run(|tx| namespace::rename(tx, from, to, IfExists::Replace, NOW))
        .map(|old| old.map(|old| old.ino))
}

#[test]
fn new_inodes() {
    let mut fs = Fs::new(1024);
    let root = fs.root();
    let attr = pinfs_format::inode::Attributes {
        rdev: 0x0801,
        ..attributes(S_IFBLK | 0o640)
    };
    let ino = fs
        .run(|tx| namespace::create(tx, root, name(b"dev"), &attr, None))
        .expect("create");
    let inode = fs.inode(ino);
    assert_eq!(inode.ino(), ino);
    assert_eq!(inode.mode.get(), S_IFBLK | 0o640);
    assert_eq!((inode.uid.get(), inode.gid.get()), (1000, 100));
    assert_eq!((inode.rdev.get(), inode.nlink.get()), (0x0801, 1));
    for stamp in [Stamp::Access, Stamp::Modify, Stamp::Change, Stamp::Birth] {
        assert_eq!(inode.time(stamp), attr.now);
    }
    assert_eq!(fs.inode(root).time(Stamp::Modify), attr.now);
    // Inodes of one directory are together.
    let next = make(&mut fs, root, b"next", S_IFREG | 0o600);
    assert_eq!(next / 16, ino / 16);
    // No such type, a target for what is no link, and a link without.
    for (mode, target) in [
        (0o644, None),
        (S_IFREG, Some(&b"t"[..])),
        (S_IFLNK, None),
        (S_IFLNK, Some(&b""[..])),
        (S_IFLNK, Some(&b"a\0b"[..])),
    ] {
        let result =
            fs.run(|tx| namespace::create(tx, root, name(b"bad"), &attributes(mode), target));
        assert_eq!(result, Err(Error::Invalid), "{mode:o} {target:?}");
    }
    fs.check();
}

#[test]
fn links_to_targets() {
    let mut fs = Fs::new(1024);
    let root = fs.root();
    let attr = attributes(S_IFLNK | 0o777);
    let mut buf = vec![0; symlink::MAX];
    for len in [1, 95, 96, 97, 4000, symlink::MAX] {
        let target: Vec<u8> = (0..len).map(|i| b'a' + (i % 26) as u8).collect();
        let new = len.to_string();
        let ino = fs
            .run(|tx| namespace::create(tx, root, name(new.as_bytes()), &attr, Some(&target)))
            .expect("create");
        let inode = fs.inode(ino);
        assert_eq!(inode.size.get(), len as u64);
        assert_eq!(inode.blocks.get(), u64::from(len > 96));
        let read = symlink::read(&fs.volume, &inode, &mut buf).expect("read");
        assert_eq!(buf[..read], target);
        let short = symlink::read(&fs.volume, &inode, &mut buf[..len - 1]);
        assert_eq!(short, Err(Error::Overflow));
    }
    let long = vec![b'x'; symlink::MAX + 1];
    let result = fs.run(|tx| namespace::create(tx, root, name(b"l"), &attr, Some(&long)));
    assert_eq!(result, Err(Error::NameTooLong));
    let dir = fs.inode(root);
    assert_eq!(
        symlink::read(&fs.volume, &dir, &mut buf),
        Err(Error::Invalid)
    );
    fs.check();
}

#[test]
fn hard_links() {
    let mut fs = Fs::new(1024);
    let root = fs.root();
    let before = fs.space.counts();
    let dir = make(&mut fs, root, b"dir", S_IFDIR | 0o755);
    let file = make(&mut fs, root, b"file", S_IFREG | 0o644);
    let link = |fs: &mut Fs<Memory>, ino, new: &[u8]| {
        fs.run(|tx| namespace::link(tx, ino, dir, name(new), NOW))
    };
    assert_eq!(link(&mut fs, file, b"two"), Ok(()));
    assert_eq!(link(&mut fs, file, b"two"), Err(Error::Exists));
    assert_eq!(link(&mut fs, dir, b"loop"), Err(Error::IsDirectory));
    assert_eq!(fs.inode(file).nlink.get(), 2);
    fs.check();
    fs.run(|tx| {
        tx.inode_mut(file)?.nlink.set(LINK_MAX);
        Ok(())
    })
    .expect("set");
    assert_eq!(link(&mut fs, file, b"more"), Err(Error::TooManyLinks));
    fs.run(|tx| {
        tx.inode_mut(file)?.nlink.set(2);
        Ok(())
    })
    .expect("set");

    // One name after the other; it stays until it is reaped, and so does its number.
    fs.run(|tx| namespace::unlink(tx, root, name(b"file"), NOW))
        .expect("unlink");
    assert_eq!(fs.inode(file).nlink.get(), 1);
    assert!(!fs.inode(file).is_orphan());
    fs.run(|tx| namespace::unlink(tx, dir, name(b"two"), NOW))
        .expect("unlink");
    assert!(fs.inode(file).is_orphan());
    assert_eq!(fs.check().orphans, [file]);
    assert_eq!(fs.run(|tx| orphan::reap(tx, dir)), Err(Error::Invalid));
    assert_eq!(fs.run(|tx| orphan::reap(tx, file)), Ok(true));
    assert_eq!(fs.volume.inode(file).map(drop), Err(Error::Stale));
    assert_eq!(fs.run(|tx| orphan::reap(tx, file)), Err(Error::Stale));
    fs.run(|tx| namespace::rmdir(tx, root, name(b"dir"), NOW))
        .expect("rmdir");
    assert_eq!(fs.run(|tx| orphan::reap(tx, dir)), Ok(true));
    fs.check();
    assert_eq!(fs.space.counts(), before);
}

#[test]
fn unnamed_files_get_names() {
    let mut fs = Fs::new(1024);
    let root = fs.root();
    let attr = attributes(S_IFREG | 0o600);
    let mut unnamed = || {
        let ino = fs.run(|tx| namespace::create_unnamed(tx, root, &attr));
        ino.expect("unnamed")
    };
    let (a, b, c) = (unnamed(), unnamed(), unnamed());
    assert_eq!(fs.check().orphans, [c, b, a]);
    fs.run(|tx| namespace::link(tx, b, root, name(b"b"), NOW))
        .expect("link");
    assert_eq!(fs.check().orphans, [c, a]);
    fs.run(|tx| namespace::link(tx, c, root, name(b"c"), NOW))
        .expect("link");
    assert_eq!(fs.check().orphans, [a]);
    fs.finish_orphans();
    assert!(fs.check().orphans.is_empty());
    assert_eq!(fs.volume.inode(a).map(drop), Err(Error::Stale));
    let dir = attributes(S_IFDIR | 0o700);
    let result = fs.run(|tx| namespace::create_unnamed(tx, root, &dir));
    assert_eq!(result, Err(Error::Invalid));
}

#[test]
fn removal_refuses() {
    let mut fs = Fs::new(1024);
    let root = fs.root();
    let dir = make(&mut fs, root, b"dir", S_IFDIR | 0o755);
    make(&mut fs, root, b"file", S_IFREG | 0o644);
    make(&mut fs, dir, b"in", S_IFREG | 0o644);
    let before = fs.check();
    let unlink =
        |fs: &mut Fs<Memory>, old: &[u8]| fs.run(|tx| namespace::unlink(tx, root, name(old), NOW));
    let rmdir =
        |fs: &mut Fs<Memory>, old: &[u8]| fs.run(|tx| namespace::rmdir(tx, root, name(old), NOW));
    assert_eq!(unlink(&mut fs, b"dir"), Err(Error::IsDirectory));
    assert_eq!(unlink(&mut fs, b"none"), Err(Error::NoEntry));
    assert_eq!(rmdir(&mut fs, b"dir"), Err(Error::NotEmpty));
    assert_eq!(rmdir(&mut fs, b"file"), Err(Error::NotDirectory));
    assert_eq!(rmdir(&mut fs, b"none"), Err(Error::NoEntry));
    let attr = attributes(S_IFREG);
    let create = |fs: &mut Fs<Memory>, dir, new: &[u8]| {
        fs.run(|tx| namespace::create(tx, dir, name(new), &attr, None))
    };
    assert_eq!(create(&mut fs, root, b"dir"), Err(Error::Exists));
    let file = before.objects[&root].names[&b"file"[..]];
    assert_eq!(create(&mut fs, file, b"x"), Err(Error::NotDirectory));
    assert_eq!(create(&mut fs, 12345, b"x"), Err(Error::Stale));
    assert_eq!(fs.check(), before);
}

#[test]
fn rename_over() {
    let mut fs = Fs::new(1024);
    let root = fs.root();
    let a = make(&mut fs, root, b"a", S_IFDIR | 0o755);
    let b = make(&mut fs, root, b"b", S_IFDIR | 0o755);
    let inner = make(&mut fs, a, b"inner", S_IFDIR | 0o755);
    let file = make(&mut fs, a, b"file", S_IFREG | 0o644);
    let other = make(&mut fs, b, b"other", S_IFIFO | 0o644);

    assert_eq!(
        rename(&mut fs, (a, b"none"), (b, b"x")),
        Err(Error::NoEntry)
    );
    assert_eq!(
        rename(&mut fs, (a, b"inner"), (b, b"other")),
        Err(Error::NotDirectory)
    );
    assert_eq!(
        rename(&mut fs, (a, b"file"), (root, b"b")),
        Err(Error::IsDirectory)
    );
    assert_eq!(
        rename(&mut fs, (a, b"inner"), (root, b"b")),
        Err(Error::NotEmpty)
    );
    let exists = fs.run(|tx| {
        let (from, to) = ((a, name(b"file")), (b, name(b"other")));
        namespace::rename(tx, from, to, IfExists::Fail, NOW)
    });
    assert_eq!(exists, Err(Error::Exists));
    fs.check();

    // A directory to another parent.
    assert_eq!(rename(&mut fs, (a, b"inner"), (b, b"moved")), Ok(None));
    assert_eq!(fs.inode(inner).parent.get(), b);
    assert_eq!((fs.inode(a).nlink.get(), fs.inode(b).nlink.get()), (2, 3));
    assert_eq!(fs.inode(a).time(Stamp::Modify), NOW);
    assert_eq!(fs.inode(inner).time(Stamp::Change), NOW);
    fs.check();
    // A file over a file, in another directory and in the same one.
    assert_eq!(
        rename(&mut fs, (a, b"file"), (b, b"other")),
        Ok(Some(other))
    );
    assert!(fs.inode(other).is_orphan());
    assert_eq!(fs.run(|tx| orphan::reap(tx, other)), Ok(true));
    // A directory over an empty one.
    assert_eq!(rename(&mut fs, (b, b"moved"), (root, b"a")), Ok(Some(a)));
    assert_eq!(fs.inode(inner).parent.get(), root);
    assert_eq!(fs.run(|tx| orphan::reap(tx, a)), Ok(true));
    let contents = fs.check();
    assert_eq!(contents.objects[&root].names[&b"a"[..]], inner);
    assert_eq!(contents.objects[&b].names[&b"other"[..]], file);

    // Two names of one inode stay; a name over itself too.
    fs.run(|tx| namespace::link(tx, file, b, name(b"again"), NOW))
        .expect("link");
    let before = fs.check();
    assert_eq!(rename(&mut fs, (b, b"again"), (b, b"other")), Ok(None));
    assert_eq!(rename(&mut fs, (b, b"again"), (b, b"again")), Ok(None));
    assert_eq!(fs.check(), before);
}

#[test]
fn exchange() {
    let mut fs = Fs::new(1024);
    let root = fs.root();
    let a = make(&mut fs, root, b"a", S_IFDIR | 0o755);
    let b = make(&mut fs, root, b"b", S_IFDIR | 0o755);
    let dir = make(&mut fs, a, b"dir", S_IFDIR | 0o755);
    let file = make(&mut fs, b, b"file", S_IFREG | 0o644);
    let swap = |fs: &mut Fs<Memory>, x: (u64, &[u8]), y: (u64, &[u8])| {
        fs.run(|tx| namespace::exchange(tx, (x.0, name(x.1)), (y.0, name(y.1)), NOW))
    };
    assert_eq!(swap(&mut fs, (a, b"dir"), (b, b"file")), Ok(()));
    let contents = fs.check();
    assert_eq!(contents.objects[&a].names[&b"dir"[..]], file);
    assert_eq!(contents.objects[&b].names[&b"file"[..]], dir);
    assert_eq!((fs.inode(a).nlink.get(), fs.inode(b).nlink.get()), (2, 3));
    assert_eq!(swap(&mut fs, (a, b"no"), (b, b"file")), Err(Error::NoEntry));
    assert_eq!(swap(&mut fs, (a, b"dir"), (b, b"no")), Err(Error::NoEntry));
    assert_eq!(fs.check(), contents);
}

#[test]
fn inode_blocks_are_reused() {
    let mut fs = Fs::new(1024);
    let root = fs.root();
    for i in 0..100 {
        make(&mut fs, root, format!("{i}").as_bytes(), S_IFIFO);
    }
    let full = fs.space.counts();
    // The root and 14 more in the first block, 15 in the others.
    assert_eq!(full.inode_blocks, 1 + 86u64.div_ceil(15));
    for i in (0..100).step_by(3) {
        let name_ = format!("{i}");
        let found = fs.run(|tx| namespace::unlink(tx, root, name(name_.as_bytes()), NOW));
        let ino = found.expect("unlink").ino;
        assert_eq!(fs.run(|tx| orphan::reap(tx, ino)), Ok(true));
    }
    for i in 100..134 {
        make(&mut fs, root, format!("{i}").as_bytes(), S_IFIFO);
    }
    assert_eq!(fs.space.counts(), full);
    fs.check();
}
