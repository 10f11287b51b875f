// SPDX-License-Identifier: GPL-2.0

//! Whether the parts of a file system agree.

use std::{
    collections::{
        BTreeMap,
        BTreeSet, //
    },
    format,
    string::String,
    vec,
    vec::Vec, //
};

use crate::{
    bitmap,
    dir::Found,
    extents::Extent,
    inode::{
        Inode,
        Stamp,
        S_IFDIR,
        S_IFLNK,
        S_IFREG, //
    },
    mount,
    space::BlockRun,
    symlink,
    walk::{
        self,
        Use,
        Visitor, //
    },
    xattr::{
        self,
        Key,
        Namespace, //
    },
    Error,
    Medium,
    Time,
    Volume,
    BLOCK_SIZE,
    GROUP_BLOCKS, //
};

/// What there is to see of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Type and permissions.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Names.
    pub nlink: u32,
    /// Tells reuses of a number apart.
    pub generation: u32,
    /// Bytes, or names.
    pub size: u64,
    /// Device number.
    pub rdev: u64,
    /// Times, as in [`Stamp`].
    pub times: [Time; 4],
    /// The directory of a directory.
    pub parent: u64,
    /// On the orphan list.
    pub orphan: bool,
    /// Contents of a file.
    pub extents: Vec<Extent>,
    /// Contents of a directory.
    pub names: BTreeMap<Vec<u8>, u64>,
    /// Contents of a symbolic link.
    pub target: Vec<u8>,
    /// Extended attributes.
    pub xattrs: BTreeMap<(Namespace, Vec<u8>), Vec<u8>>,
    /// Counts the changes.
    pub version: u64,
    blocks: u64,
    owned: u64,
}

/// A whole file system as users see it, by inode numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The inodes in use.
    pub objects: BTreeMap<u64, Object>,
    /// The orphan list, newest first.
    pub orphans: Vec<u64>,
}

struct Collector {
    contents: Contents,
    links: BTreeMap<u64, (u64, u64)>,
    /// Which blocks have been seen.
    claimed: Vec<bool>,
    problems: Vec<String>,
}

impl Visitor for Collector {
    fn blocks(&mut self, owner: u64, run: BlockRun, what: Use) -> bool {
        let mut first = true;
        for block in run.start..run.start.saturating_add(run.len) {
            match self.claimed.get_mut(block as usize) {
                Some(claimed) if !*claimed => *claimed = true,
                Some(_) => {
                    first = false;
                    self.problems
                        .push(format!("block {block} ({what:?} of {owner}) is used twice"));
                }
                None => {
                    first = false;
                    self.problems.push(format!(
                        "block {block} ({what:?} of {owner}) does not exist"
                    ));
                    break;
                }
            }
        }
        if let Some(object) = self.contents.objects.get_mut(&owner) {
            object.owned += run.len;
        }
        first
    }

    fn inode(&mut self, inode: &Inode) {
        let object = Object {
            mode: inode.mode.get(),
            owner: (inode.uid.get(), inode.gid.get()),
            nlink: inode.nlink.get(),
            generation: inode.generation.get(),
            size: inode.size.get(),
            rdev: inode.rdev.get(),
            times: [Stamp::Access, Stamp::Modify, Stamp::Change, Stamp::Birth]
                .map(|stamp| inode.time(stamp)),
            parent: inode.parent.get(),
            orphan: inode.is_orphan(),
            extents: Vec::new(),
            names: BTreeMap::new(),
            target: Vec::new(),
            xattrs: BTreeMap::new(),
            version: inode.version.get(),
            blocks: inode.blocks.get(),
            owned: 0,
        };
        self.contents.objects.insert(inode.ino(), object);
    }

    fn extent(&mut self, inode: &Inode, extent: Extent) {
        if let Some(object) = self.contents.objects.get_mut(&inode.ino()) {
            object.extents.push(extent);
        }
    }

    fn name(&mut self, dir: &Inode, found: &Found, name: &[u8]) {
        if let Some(object) = self.contents.objects.get_mut(&dir.ino()) {
            if object.names.insert(name.into(), found.ino).is_some() {
                self.problems
                    .push(format!("directory {} has a name twice", dir.ino()));
            }
        }
    }

    fn orphan(&mut self, ino: u64, neighbours: (u64, u64)) {
        self.contents.orphans.push(ino);
        self.links.insert(ino, neighbours);
    }

    fn problem(&mut self, ino: u64, error: Error) {
        self.problems.push(format!("inode {ino}: {error}"));
    }
}

/// Walks the file system and returns what it holds.
///
/// # Errors
/// A list of everything that is wrong.
pub fn check<M: Medium>(volume: &Volume<M>) -> Result<Contents, Vec<String>> {
    let geometry = *volume.geometry();
    let mut seen = Collector {
        contents: Contents::default(),
        links: BTreeMap::new(),
        claimed: vec![false; geometry.blocks as usize],
        problems: Vec::new(),
    };
    if let Err(error) = walk::walk(volume, &mut seen) {
        return Err(vec![format!("cannot read: {error}")]);
    }
    targets(volume, &mut seen);
    xattrs(volume, &mut seen);
    bitmaps(volume, &mut seen);
    links(volume, &mut seen);
    orphans(&mut seen);
    match mount::status(volume) {
        Ok(status) if status.inodes() == seen.contents.objects.len() as u64 => {}
        Ok(status) => seen.problems.push(format!(
            "{} inodes are counted, {} found",
            status.inodes(),
            seen.contents.objects.len()
        )),
        Err(error) => seen.problems.push(format!("{error}")),
    }
    if seen.problems.is_empty() {
        Ok(seen.contents)
    } else {
        Err(seen.problems)
    }
}

fn targets<M: Medium>(volume: &Volume<M>, seen: &mut Collector) {
    let mut buf = vec![0; symlink::MAX];
    for (&ino, object) in &mut seen.contents.objects {
        if object.mode & 0o170_000 != S_IFLNK {
            continue;
        }
        let read = volume
            .inode(ino)
            .and_then(|inode| symlink::read(volume, &inode, &mut buf));
        match read {
            Ok(len) => object.target = buf[..len].into(),
            Err(error) => seen.problems.push(format!("inode {ino}: {error}")),
        }
    }
}

fn xattrs<M: Medium>(volume: &Volume<M>, seen: &mut Collector) {
    for (&ino, object) in &mut seen.contents.objects {
        let read = volume.inode(ino).and_then(|inode| {
            let mut names = Vec::new();
            xattr::list(volume, &inode, |key| {
                names.push((key.space(), Vec::from(key.name())));
                true
            })?;
            let mut buf = vec![0; xattr::VALUE_MAX];
            for (space, name) in names {
                let len = xattr::get(volume, &inode, Key::new(space, &name)?, &mut buf)?;
                if object
                    .xattrs
                    .insert((space, name), buf[..len].into())
                    .is_some()
                {
                    return Err(Error::Corrupt("an attribute stands twice"));
                }
            }
            Ok(())
        });
        if let Err(error) = read {
            seen.problems.push(format!("inode {ino}: {error}"));
        }
    }
}

/// The bitmap must show what has been seen, and the metadata at both ends, under right checksums.
fn bitmaps<M: Medium>(volume: &Volume<M>, seen: &mut Collector) {
    let geometry = volume.geometry();
    for group in 0..geometry.blocks.div_ceil(GROUP_BLOCKS) {
        if let Err(error) = bitmap::verify(volume, group) {
            seen.problems.push(format!("group {group}: {error}"));
        }
    }
    for block in 0..geometry.blocks {
        let mut byte = [0];
        let at = geometry.bitmap_start * BLOCK_SIZE + block / 8;
        if let Err(error) = volume.medium().read(at, &mut byte) {
            seen.problems.push(format!("bitmap: {error}"));
            return;
        }
        let used = byte[0] >> (block % 8) & 1 != 0;
        let metadata = block < geometry.data_start || block == geometry.data_end;
        let wanted = metadata || seen.claimed[block as usize];
        if used != wanted {
            seen.problems.push(format!(
                "block {block} is marked {}, but is {}",
                if used { "used" } else { "free" },
                if wanted { "used" } else { "free" },
            ));
        }
    }
}

fn links<M: Medium>(volume: &Volume<M>, seen: &mut Collector) {
    let root = volume.geometry().root_ino;
    let objects = &seen.contents.objects;
    let problems = &mut seen.problems;
    let mut names: BTreeMap<u64, u32> = BTreeMap::new();
    let mut subdirs: BTreeMap<u64, u32> = BTreeMap::new();
    for (&ino, object) in objects {
        for &target in object.names.values() {
            *names.entry(target).or_default() += 1;
            let Some(named) = objects.get(&target) else {
                problems.push(format!("directory {ino} names {target}, which is free"));
                continue;
            };
            if named.mode & 0o170_000 == S_IFDIR {
                *subdirs.entry(ino).or_default() += 1;
                if named.parent != ino {
                    problems.push(format!("directory {target} has a wrong parent"));
                }
            }
        }
    }
    for (&ino, object) in objects {
        let named = names.get(&ino).copied().unwrap_or(0);
        let is_dir = object.mode & 0o170_000 == S_IFDIR;
        let wanted = match (is_dir, named) {
            (true, 0) if ino != root => 0,
            (true, 0 | 1) => 2 + subdirs.get(&ino).copied().unwrap_or(0),
            (true, _) => {
                problems.push(format!("directory {ino} has {named} names"));
                continue;
            }
            (false, _) => named,
        };
        if object.nlink != wanted {
            problems.push(format!("inode {ino}: {} links, not {wanted}", object.nlink));
        }
        if wanted == 0 && !object.orphan {
            problems.push(format!("inode {ino} is lost"));
        }
        if is_dir && object.size != object.names.len() as u64 {
            problems.push(format!("directory {ino} has a wrong size"));
        }
        if object.blocks != object.owned {
            problems.push(format!(
                "inode {ino}: {} blocks are counted, {} found",
                object.blocks, object.owned
            ));
        }
    }
    reachable(root, seen);
}

/// Every directory with a name must hang on the root.
fn reachable(root: u64, seen: &mut Collector) {
    let objects = &seen.contents.objects;
    let mut reached = BTreeSet::from([root]);
    let mut todo = vec![root];
    while let Some(ino) = todo.pop() {
        for &target in objects.get(&ino).into_iter().flat_map(|o| o.names.values()) {
            if reached.insert(target) {
                todo.push(target);
            }
        }
    }
    for (&ino, object) in objects {
        if object.nlink > 0 && !reached.contains(&ino) {
            seen.problems.push(format!("inode {ino} cannot be reached"));
        }
    }
}

fn orphans(seen: &mut Collector) {
    let list = &seen.contents.orphans;
    for (index, ino) in list.iter().enumerate() {
        let next = list.get(index + 1).copied().unwrap_or(0);
        let prev = index.checked_sub(1).map_or(0, |i| list[i]);
        if seen.links.get(ino) != Some(&(next, prev)) {
            seen.problems.push(format!("orphan {ino} has wrong links"));
        }
    }
    for (ino, object) in &seen.contents.objects {
        if object.orphan != list.contains(ino) {
            seen.problems
                .push(format!("inode {ino} does not know whether it is an orphan"));
        }
        if object.orphan && object.nlink > 0 && object.mode & 0o170_000 != S_IFREG {
            seen.problems
                .push(format!("inode {ino} cannot be truncated"));
        }
    }
}
