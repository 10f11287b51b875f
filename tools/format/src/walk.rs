// SPDX-License-Identifier: GPL-2.0

//! Going over a whole file system, for checking it.
//!
//! [`walk`] looks at every structure by itself: checksums, owners, the order of keys and names. It
//! reports what it sees to a [`Visitor`], which has the memory to say whether the parts agree.
//!
//! Locks: nobody writes.

use crate::{
    dir::{
        self,
        Found, //
    },
    extents::Extent,
    inode::{
        InodeHead,
        S_IFDIR,
        S_IFLNK,
        S_IFREG, //
    },
    mount,
    offset_of,
    space::BlockRun,
    tree::{
        self,
        Entry,
        MAX_LEVEL, //
    },
    volume::Reader,
    xattr,
    Error,
    Inode,
    Medium,
    Name,
    Result,
    Volume,
    INODE_SLOTS, //
};

/// What a block is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Inodes.
    Inodes,
    /// Contents of a file.
    Data,
    /// A tree node.
    Node,
    /// A directory leaf.
    Leaf,
    /// The target of a symbolic link.
    Target,
    /// Extended attributes.
    Attributes,
    /// The value of an extended attribute.
    Value,
}

/// Who is told what a walk sees.
pub trait Visitor {
    /// Blocks in use; `owner` is 0 for inode blocks. Returns whether none of them was seen before:
    /// what they hold is looked at only then, so a walk through a tangle ends.
    fn blocks(&mut self, owner: u64, run: BlockRun, what: Use) -> bool;

    /// An inode in use, before anything that it owns.
    fn inode(&mut self, inode: &Inode);

    /// An extent of a file.
    fn extent(&mut self, inode: &Inode, extent: Extent);

    /// A name in a directory.
    fn name(&mut self, dir: &Inode, found: &Found, name: &[u8]);

    /// An inode on the orphan list, and its neighbours there: next and previous.
    fn orphan(&mut self, ino: u64, neighbours: (u64, u64));

    /// Something wrong with inode `ino`, or with an inode block or the whole if 0.
    fn problem(&mut self, ino: u64, error: Error);
}

/// Goes over the file system. Fails only if the medium does; what is wrong goes to
/// [`Visitor::problem`].
pub fn walk<M: Medium>(volume: &Volume<M>, visitor: &mut impl Visitor) -> Result {
    let geometry = volume.geometry();
    let bitmap = offset_of(geometry.inode_bitmap_start);
    for block in geometry.data_start..geometry.data_end {
        let word = volume.word(bitmap + block / 64 * 8)?;
        if word >> (block % 64) & 1 == 0 {
            continue;
        }
        visitor.blocks(
            0,
            BlockRun {
                start: block,
                len: 1,
            },
            Use::Inodes,
        );
        match volume.load::<InodeHead>(offset_of(block)) {
            Ok(head) => inodes(volume, block, head.used.get(), visitor)?,
            Err(error) => report(visitor, 0, error)?,
        }
    }
    let result = orphans(volume, visitor);
    result.or_else(|error| report(visitor, 0, error))
}

/// An error of the medium ends the walk; others are the visitor's.
fn report(visitor: &mut impl Visitor, ino: u64, error: Error) -> Result {
    if error == Error::Io {
        return Err(error);
    }
    visitor.problem(ino, error);
    Ok(())
}

fn inodes<M: Medium>(
    volume: &Volume<M>,
    block: u64,
    used: u64,
    visitor: &mut impl Visitor,
) -> Result {
    for slot in (1..INODE_SLOTS).filter(|slot| used >> slot & 1 != 0) {
        let ino = block * INODE_SLOTS + slot;
        let inode = match volume.inode(ino) {
            Ok(inode) => inode,
            Err(error) => {
                report(visitor, ino, error)?;
                continue;
            }
        };
        visitor.inode(&inode);
        let result = contents(volume, &inode, visitor);
        result.or_else(|error| report(visitor, ino, error))?;
        let result = attributes(volume, &inode, visitor);
        result.or_else(|error| report(visitor, ino, error))?;
    }
    Ok(())
}

fn attributes<M: Medium>(volume: &Volume<M>, inode: &Inode, visitor: &mut impl Visitor) -> Result {
    xattr::blocks(volume, inode, |block, value| {
        let run = BlockRun {
            start: block,
            len: 1,
        };
        let what = if value { Use::Value } else { Use::Attributes };
        visitor.blocks(inode.ino(), run, what)
    })
}

fn contents<M: Medium>(volume: &Volume<M>, inode: &Inode, visitor: &mut impl Visitor) -> Result {
    match inode.kind() {
        S_IFREG => files(volume, inode, visitor),
        S_IFDIR => names(volume, inode, visitor),
        S_IFLNK => entries(volume, inode, visitor, |entry, _, visitor| {
            let run = BlockRun {
                start: entry.value,
                len: 1,
            };
            visitor.blocks(inode.ino(), run, Use::Target);
            Ok(())
        }),
        _ if inode.root.is_empty() => Ok(()),
        _ => Err(Error::Corrupt("special file has blocks")),
    }
}

fn files<M: Medium>(volume: &Volume<M>, inode: &Inode, visitor: &mut impl Visitor) -> Result {
    let mut last = 0;
    entries(volume, inode, visitor, |entry, _, visitor| {
        let extent = Extent::from_entry(entry, volume.geometry())?;
        if extent.lblock < last {
            return Err(Error::Corrupt("extents overlap in the file"));
        }
        last = extent.end();
        let run = BlockRun {
            start: extent.block,
            len: extent.len,
        };
        visitor.blocks(inode.ino(), run, Use::Data);
        visitor.extent(inode, extent);
        Ok(())
    })
}

fn names<M: Medium>(volume: &Volume<M>, dir: &Inode, visitor: &mut impl Visitor) -> Result {
    entries(volume, dir, visitor, |entry, above, visitor| {
        let run = BlockRun {
            start: entry.value,
            len: 1,
        };
        if !visitor.blocks(dir.ino(), run, Use::Leaf) {
            return Ok(());
        }
        let mut any = false;
        let mut wrong = None;
        let limit = above.unwrap_or(u64::MAX);
        dir::read_leaf(volume, dir, entry.value, |found, name| {
            any = true;
            let right = (entry.key..limit).contains(&found.cookie)
                && Name::new(name).is_ok_and(|n| dir::has_hash(volume.geometry(), n, found.cookie));
            if !right {
                wrong = Some(Error::Corrupt("name is not where its hash says"));
            }
            visitor.name(dir, found, name);
        })?;
        if !any {
            wrong = Some(Error::Corrupt("directory leaf is empty"));
        }
        wrong.map_or(Ok(()), Err)
    })
}

/// Calls `f` with every entry of a tree's leaves and the key behind it.
fn entries<M: Medium, V: Visitor>(
    volume: &Volume<M>,
    inode: &Inode,
    visitor: &mut V,
    mut f: impl FnMut(Entry, Option<u64>, &mut V) -> Result,
) -> Result {
    /// A node that is being gone over: block, next entry, number of entries, and what its keys lack.
    type Level = (u64, usize, usize, i64);

    let mut levels: [Level; MAX_LEVEL as usize + 1] = Default::default();
    let mut r = volume;
    let root = &inode.root;
    let top = usize::from(root.level());
    let mut depth = top;
    let mut pending = None::<Entry>;
    if let Some(level) = levels.get_mut(top) {
        *level = (0, 0, root.count(), 0);
    }
    while let Some(level) = levels.get_mut(depth) {
        let (block, index, count, shift) = *level;
        if index == count {
            depth += 1;
            if depth > top {
                break;
            }
            continue;
        }
        level.1 += 1;
        let entry = if block == 0 {
            root.entry(index)?
        } else {
            r.node_entry(block, index)?
        };
        let entry = Entry {
            key: tree::raise(entry.key, shift)?,
            ..entry
        };
        if depth == 0 {
            if let Some(last) = pending.replace(entry) {
                if last.key >= entry.key {
                    return Err(Error::Corrupt("tree keys out of order"));
                }
                f(last, Some(entry.key), visitor)?;
            }
            continue;
        }
        let run = BlockRun {
            start: entry.value,
            len: 1,
        };
        if !visitor.blocks(inode.ino(), run, Use::Node) {
            continue;
        }
        let count = r.node(entry.value, inode.ino(), (depth - 1) as u8)?;
        let shift = shift.checked_add(entry.shift());
        let shift = shift.ok_or(Error::Corrupt("tree key out of range"))?;
        if tree::raise(r.node_entry(entry.value, 0)?.key, shift)? != entry.key {
            return Err(Error::Corrupt("tree node does not begin with its key"));
        }
        depth -= 1;
        if let Some(level) = levels.get_mut(depth) {
            *level = (entry.value, 0, count, shift);
        }
    }
    match pending {
        Some(last) => f(last, None, visitor),
        None => Ok(()),
    }
}

fn orphans<M: Medium>(volume: &Volume<M>, visitor: &mut impl Visitor) -> Result {
    let status = mount::status(volume)?;
    let mut ino = status.orphans.get();
    let mut left = status.inodes();
    while ino != 0 {
        left = left
            .checked_sub(1)
            .ok_or(Error::Corrupt("orphan list does not end"))?;
        let inode = volume.inode(ino)?;
        let next = inode.orphan_next.get();
        visitor.orphan(ino, (next, inode.orphan_prev.get()));
        ino = next;
    }
    Ok(())
}
