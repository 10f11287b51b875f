// SPDX-License-Identifier: GPL-2.0

//! The tree of files: as an image holds it, and as a workload has seen it.

use std::{
    collections::BTreeMap,
    fmt,
    rc::Rc, //
};

use pinfs_format::{
    extents::{
        self,
        Mapping, //
    },
    inode::{
        S_IFDIR,
        S_IFLNK,
        S_IFMT,
        S_IFREG, //
    },
    names,
    offset_of,
    symlink,
    xattr,
    Error,
    Inode,
    Medium,
    Result,
    Volume,
    BLOCK_SIZE, //
};

/// Longer files are not in these workloads.
const SIZE_MAX: u64 = 4 << 20;

/// More directories within each other are a circle.
const DEPTH_MAX: usize = 16;

/// What there is to see of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number: the same for all names of a file.
    pub ino: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Names.
    pub links: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Bytes; 0 for a directory.
    pub size: u64,
    /// Blocks that it owns.
    pub blocks: u64,
    /// Device number.
    pub rdev: u64,
    /// Contents of a file, target of a symbolic link.
    pub contents: Rc<[u8]>,
    /// Sum over the extended attributes.
    pub xattrs: u64,
}

/// The nodes by their paths, the root's being empty.
pub type Tree = BTreeMap<String, Node>;

/// FNV-1a, as the workload does it.
pub fn hash(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Where [`hash`] starts.
pub const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

impl fmt::Display for Node {
    /// A line as the workload tells it, without the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:o} {} {} {} {} {} {} {:x} {:x}",
            self.ino,
            self.mode,
            self.links,
            self.owner.0,
            self.owner.1,
            self.size,
            self.blocks,
            self.rdev,
            hash(HASH_START, &self.contents),
            self.xattrs,
        )
    }
}

/// A tree as the workload tells it, in the order of paths.
pub fn manifest(tree: &Tree) -> Vec<String> {
    let lines = tree.iter().map(|(path, node)| format!("{node} {path}"));
    lines.collect()
}

/// The lines of a workload's tree in the same order.
pub fn told(text: &str) -> Vec<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_key(|line| line.splitn(11, ' ').nth(10));
    lines.into_iter().map(str::to_owned).collect()
}

/// The sizes in a workload's tree, by the files' numbers.
pub fn told_sizes(text: &str) -> BTreeMap<u64, u64> {
    let sizes = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let ino = words.next()?.parse().ok()?;
        Some((ino, words.nth(4)?.parse().ok()?))
    });
    sizes.collect()
}

/// Reads the tree of a file system.
pub fn read<M: Medium>(volume: &Volume<M>) -> Result<Tree> {
    read_with_sizes(volume, &BTreeMap::new())
}

/// The same of one that is mounted: the size of a file that grows is in memory only until the file is
/// made durable, so `sizes` says what it is.
pub fn read_with_sizes<M: Medium>(volume: &Volume<M>, sizes: &BTreeMap<u64, u64>) -> Result<Tree> {
    let mut tree = Tree::new();
    let root = volume.geometry().root_ino;
    add(volume, root, String::new(), sizes, &mut tree)?;
    Ok(tree)
}

fn add<M: Medium>(
    volume: &Volume<M>,
    ino: u64,
    path: String,
    sizes: &BTreeMap<u64, u64>,
    tree: &mut Tree,
) -> Result {
    let depth = path.matches('/').count();
    if depth > DEPTH_MAX {
        return Err(Error::Corrupt("directories without end"));
    }
    let inode = volume.inode(ino)?;
    if inode.is_dir() {
        let mut names = Vec::new();
        names::read(volume, &inode, 0, |found, name| {
            names.push((found.ino, String::from_utf8_lossy(name).into_owned()));
            true
        })?;
        for (ino, name) in names {
            add(volume, ino, format!("{path}/{name}"), sizes, tree)?;
        }
    }
    tree.insert(path, node(volume, &inode, sizes.get(&ino))?);
    Ok(())
}

fn node<M: Medium>(volume: &Volume<M>, inode: &Inode, size: Option<&u64>) -> Result<Node> {
    let size = size.copied().unwrap_or(inode.size.get());
    let kind = inode.mode.get() & S_IFMT;
    let contents = match kind {
        S_IFREG => contents(volume, inode, size)?,
        S_IFLNK => {
            let mut target = vec![0; symlink::MAX];
            let len = symlink::read(volume, inode, &mut target)?;
            target.truncate(len);
            target
        }
        _ => Vec::new(),
    };
    Ok(Node {
        ino: inode.ino(),
        mode: inode.mode.get(),
        links: inode.nlink.get(),
        owner: (inode.uid.get(), inode.gid.get()),
        size: if kind == S_IFDIR { 0 } else { size },
        blocks: inode.blocks.get(),
        rdev: inode.rdev.get(),
        contents: contents.into(),
        xattrs: xattrs(volume, inode)?,
    })
}

/// What read(2) returns.
fn contents<M: Medium>(volume: &Volume<M>, inode: &Inode, size: u64) -> Result<Vec<u8>> {
    if size > SIZE_MAX {
        return Err(Error::Corrupt(
            "a file that the workload never made so long",
        ));
    }
    let mut bytes = vec![0; size as usize];
    let mut at = 0;
    while at < size {
        let first = at / BLOCK_SIZE;
        let len = match extents::map(volume, inode, first)? {
            Mapping::Hole { len } => len,
            Mapping::Extent(extent) => {
                if !extent.unwritten {
                    let end = (extent.end() * BLOCK_SIZE).min(size);
                    let from = offset_of(extent.block);
                    volume
                        .medium()
                        .read(from, &mut bytes[at as usize..end as usize])?;
                }
                extent.len
            }
        };
        at = first.saturating_add(len).saturating_mul(BLOCK_SIZE);
    }
    Ok(bytes)
}

fn xattrs<M: Medium>(volume: &Volume<M>, inode: &Inode) -> Result<u64> {
    if !inode.has_xattrs() {
        return Ok(0);
    }
    let mut names = Vec::new();
    xattr::list(volume, inode, |key| {
        names.push((key.space(), Vec::from(key.name())));
        true
    })?;
    let mut sum = 0u64;
    let mut value = vec![0; xattr::VALUE_MAX];
    for (space, name) in names {
        let len = xattr::get(volume, inode, xattr::Key::new(space, &name)?, &mut value)?;
        let start = hash(HASH_START, space.prefix().as_bytes());
        let start = hash(hash(start, &name), &[0]);
        sum = sum.wrapping_add(hash(start, &value[..len]));
    }
    Ok(sum)
}
