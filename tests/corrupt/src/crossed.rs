// SPDX-License-Identifier: GPL-2.0

//! Images with right checksums in which a block is more than one thing.

use pinfs_format::{
    inode::{
        S_IFDIR,
        S_IFREG, //
    },
    namespace,
    tree::{
        Entry,
        Root, //
    },
    xattr::{
        self,
        Key,
        Namespace, //
    },
    Error,
    Name,
    Result,
    Time,
    GROUP_BLOCKS,
    INODE_SLOTS, //
};

use crate::base::Fs;

/// Blocks of an image.
const BLOCKS: u64 = 6144;

/// What the second file has of the first one's, or of something else. In the cases with "twice" and
/// "overlap" both are names of one file.
pub const CASES: [&str; 19] = [
    // The first file has 2 MiB in one piece.
    "inside",
    "head",
    "partial",
    "same",
    "shifted",
    "twice",
    // Or a few blocks.
    "single",
    "twice-single",
    "overlap",
    // Metadata among the data ...
    "node",
    "inode",
    "leaf",
    "value",
    // ... and at its own place.
    "superblock",
    "journal",
    "bitmap",
    "backup",
    // Blocks that are free.
    "free",
    "free-huge",
];

/// An image with the files "one" and "two", which share blocks as `case` says; anybody may write to
/// them.
///
/// # Errors
/// [`Error::Invalid`] if there is no such case.
pub fn crossed(case: &str) -> Result<Vec<u8>> {
    let mut fs = Fs::new(BLOCKS)?;
    let root = fs.volume.geometry().root_ino;
    // Enough names for the directory to have a block of its own.
    for index in 0..20 {
        fs.make(root, &format!("{index:090}"), S_IFREG, None)?;
    }
    let one = fs.make(root, "one", S_IFREG, None)?;
    let both = case.starts_with("twice") || case == "overlap";
    let two = if both {
        let now = Time { sec: 1, nsec: 0 };
        fs.run(|tx| namespace::link(tx, one, root, Name::new(b"two")?, now))?;
        one
    } else {
        fs.make(root, "two", S_IFREG, None)?
    };
    match case {
        "single" | "twice-single" | "overlap" => fs.fill(one, 0, 16, Some(b'1'))?,
        "node" => {
            for at in 0..100 {
                fs.fill(one, at * 2, 1, Some(b'1'))?;
            }
        }
        _ => {
            fs.fill(one, 0, 2 * GROUP_BLOCKS, Some(b'1'))?;
        }
    }
    if case == "value" {
        let key = Key::new(Namespace::User, b"name")?;
        fs.run(|tx| xattr::set(tx, one, key, &[b'v'; 3000], xattr::Mode::Any))?;
    }
    let first = entry(&mut fs, one)?.value;
    let geometry = fs.volume.geometry();
    let free =
        |group: &u64| (0..GROUP_BLOCKS).all(|at| !fs.space.is_used(group * GROUP_BLOCKS + at));
    let at = |key, block, len| Entry {
        key,
        value: block,
        len,
        flags: 0,
    };
    let group = GROUP_BLOCKS as u32;
    let entries = match case {
        "inside" => vec![at(0, first + 5, 1)],
        "head" => vec![at(0, first, 1)],
        "partial" => vec![at(0, first + GROUP_BLOCKS / 2, group)],
        "same" => vec![at(0, first, group)],
        "shifted" => vec![at(GROUP_BLOCKS, first, group)],
        "twice" => vec![at(0, first, group), at(GROUP_BLOCKS, first, group)],
        "single" => vec![at(0, first + 3, 1)],
        "twice-single" => vec![at(0, first, 1), at(1, first, 1)],
        "overlap" => vec![at(0, first, 8), at(4, first + 8, 8)],
        // An inner entry's block is a node.
        "node" => vec![at(0, first, 1)],
        "inode" => vec![at(0, one / INODE_SLOTS, 1)],
        "leaf" => vec![at(0, entry(&mut fs, root)?.value, 1)],
        "value" => vec![at(0, fs.run(|tx| Ok(tx.inode(one)?.xattr.get()))?, 1)],
        "superblock" => vec![at(0, 0, 1)],
        "journal" => vec![at(0, geometry.journal_start, 1)],
        "bitmap" => vec![at(0, geometry.bitmap_start, 1)],
        "backup" => vec![at(0, geometry.blocks - 1, 1)],
        "free" | "free-huge" => {
            let group = (1..BLOCKS / GROUP_BLOCKS)
                .find(free)
                .ok_or(Error::NoSpace)?;
            let len = if case == "free" { 1 } else { GROUP_BLOCKS };
            vec![at(0, group * GROUP_BLOCKS, len as u32)]
        }
        _ => return Err(Error::Invalid),
    };
    let end = entries.iter().map(|entry| entry.key + u64::from(entry.len));
    let end = end.max().unwrap_or(0);
    fs.run(|tx| {
        for ino in [one, two] {
            tx.inode_mut(ino)?.mode.set(S_IFREG | 0o666);
        }
        tx.inode_mut(root)?.mode.set(S_IFDIR | 0o777);
        let inode = tx.inode_mut(two)?;
        inode.root = Root::above(0, &entries)?;
        inode.size.set(end * pinfs_format::BLOCK_SIZE);
        inode.blocks.set(end);
        Ok(())
    })?;
    Ok(fs.volume.medium().image())
}

/// The first entry in the root of an inode.
fn entry(fs: &mut Fs, ino: u64) -> Result<Entry> {
    fs.run(|tx| tx.inode(ino)?.root.entry(0))
}
