// SPDX-License-Identifier: GPL-2.0

//! Making inodes, trees and leaves.

use std::time::{
    SystemTime,
    UNIX_EPOCH, //
};

use pinfs_format::{
    dir::{
        self,
        Leaf, //
    },
    extents::Extent,
    inode::{
        Stamp,
        INLINE_TARGET,
        S_IFDIR, //
    },
    journal::{
        self,
        Journal, //
    },
    offset_of,
    space::{
        self,
        Space, //
    },
    symlink::Target,
    tree::{
        Entry,
        Node,
        Root,
        FANOUT,
        INLINE, //
    },
    volume::{
        inode_offset,
        Object, //
    },
    xattr::{
        self,
        Key, //
    },
    Error,
    Inode,
    Medium,
    Name,
    Result,
    Time,
    BLOCK_SIZE,
    INODE_SLOTS, //
};
use zerocopy::{
    FromZeros,
    IntoBytes, //
};

use crate::{
    checker::{
        Checker,
        Info,
        Remake,
        Shared, //
    },
    examine::{
        Content,
        DirName, //
    },
};

/// Entries that a new node gets: some room is left for the next ones.
const FILL: usize = FANOUT * 3 / 4;

/// Names of a new leaf take at most so many bytes, unless they cannot be divided.
const LEAF_FILL: usize = BLOCK_SIZE as usize * 3 / 4;

/// The present, or 1970 if the clock is before that.
fn now() -> Time {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Time {
        sec: since.as_secs() as i64,
        nsec: since.subsec_nanos(),
    }
}

impl<M: Medium> Checker<'_, M> {
    /// A block that nothing uses. As long as there are any, one that nothing has used before: it can
    /// be written without a log.
    fn alloc(&mut self) -> Option<u64> {
        let (first, end) = (self.geometry.data_start, self.geometry.data_end);
        let medium = self.volume.medium();
        loop {
            let from = self.next_free;
            let kept = self.only_kept;
            let found = (from..end)
                .chain(first..from)
                .find(|&block| !self.used.has(block) && (kept || !medium.is_kept(block)));
            if let Some(block) = found {
                self.used.put(block, true);
                self.next_free = block + 1;
                return Some(block);
            }
            if kept {
                self.no_room = true;
                return None;
            }
            self.only_kept = true;
        }
    }

    /// A number for a new inode, in a block with room or in a new one.
    pub fn new_inode(&mut self) -> Result<Option<u64>> {
        let root = self.geometry.root_ino / INODE_SLOTS;
        let slots = |block: u64| block * INODE_SLOTS + 1..(block + 1) * INODE_SLOTS;
        let near: Vec<u64> = self
            .info
            .keys()
            .map(|ino| ino / INODE_SLOTS)
            .take(1000)
            .collect();
        for block in std::iter::once(root).chain(near) {
            // Not where an inode may stand that a name has yet to lead to.
            let (head, sealed) = self.head(block)?;
            let free = |ino: &u64| {
                sealed
                    && head.used.get() >> (ino % INODE_SLOTS) & 1 == 0
                    && !self.info.contains_key(ino)
            };
            if let Some(ino) = slots(block).find(free) {
                return Ok(Some(ino));
            }
        }
        let Some(block) = self.alloc() else {
            return Ok(None);
        };
        self.volume.medium().zero(offset_of(block), BLOCK_SIZE)?;
        self.inode_blocks.put(block, true);
        Ok(Some(block * INODE_SLOTS + 1))
    }

    /// Makes `ino` an empty directory.
    pub fn make_dir(&mut self, ino: u64, parent: u64) -> Result {
        let mut inode = Inode::new_zeroed();
        inode.ino.set(ino);
        inode.mode.set(S_IFDIR | 0o700);
        inode.nlink.set(2);
        inode.parent.set(parent);
        for stamp in [Stamp::Access, Stamp::Modify, Stamp::Change, Stamp::Birth] {
            inode.set_time(stamp, now());
        }
        self.volume.store(inode_offset(ino), &mut inode)?;
        let info = Info {
            kind: (S_IFDIR >> 12) as u8,
            ..Info::default()
        };
        self.info.insert(ino, info);
        Ok(())
    }

    /// Makes all that must be made anew.
    pub fn remake(&mut self) -> Result {
        let all = std::mem::take(&mut self.remake);
        // What stays in place must be known before copies get blocks; it is, as all is claimed.
        for (ino, remake) in all {
            let Remake {
                content,
                attribute_blocks,
                shared,
            } = remake;
            if self.no_room {
                return Ok(());
            }
            let off = inode_offset(ino);
            let mut inode: Inode = self.volume.plain(off)?;
            let mut owned = attribute_blocks;
            let root = match content {
                Content::File(extents) => {
                    let extents = self.with_copies(extents, shared)?;
                    owned += extents.iter().map(|extent| extent.len).sum::<u64>();
                    let entries: Result<Vec<Entry>> = extents.iter().map(Extent::entry).collect();
                    self.tree(ino, entries?, &mut owned)?
                }
                Content::Dir(names) => {
                    inode.size.set(names.len() as u64);
                    let entries = self.leaves(ino, &names, &mut owned)?;
                    self.tree(ino, entries, &mut owned)?
                }
                Content::Link(text) => {
                    let entries = self.target(ino, &text, &mut owned)?;
                    inode.flags.set(inode.flags.get() & !INLINE_TARGET);
                    self.tree(ino, entries, &mut owned)?
                }
                Content::ShortLink => inode.root,
                Content::Nothing => Root::above(0, &[])?,
            };
            inode.root = root;
            inode.blocks.set(owned);
            self.volume.store(off, &mut inode)?;
        }
        Ok(())
    }

    /// Sets the attributes that lost their blocks, with the engine's own transactions: the file
    /// system is whole by now.
    pub fn set_attributes(&mut self) -> Result {
        let all = std::mem::take(&mut self.attributes);
        if all.is_empty() {
            return Ok(());
        }
        let words = space::words_needed(self.geometry.blocks) as usize;
        let mut space = Space::load(self.volume, vec![0; words])?;
        let mut journal = Journal::new(self.volume, vec![0; journal::ARENA_BYTES])?;
        for (ino, attributes) in all {
            for (space_of, name, value) in attributes {
                let key = Key::new(space_of, &name)?;
                let set = journal.run(self.volume, &mut space, |tx| {
                    xattr::set(tx, ino, key, &value, xattr::Mode::Any)
                });
                match set {
                    Ok(()) => {}
                    Err(Error::NoSpace) => self.no_room = true,
                    Err(error) => return Err(error),
                }
            }
        }
        journal.retire(self.volume)?;
        let counts = space.counts();
        for block in self.geometry.data_start..self.geometry.data_end {
            self.used.put(block, space.is_used(block));
        }
        debug_assert_eq!(counts.inode_blocks, self.inode_blocks.count());
        Ok(())
    }

    /// The extents of a file, with copies of what it must not share.
    fn with_copies(
        &mut self,
        mut extents: Vec<Extent>,
        shared: Vec<Shared>,
    ) -> Result<Vec<Extent>> {
        let mut data = [0; BLOCK_SIZE as usize];
        for Shared(extent) in shared {
            for at in 0..extent.len {
                let Some(block) = self.alloc() else {
                    return Ok(extents);
                };
                let medium = self.volume.medium();
                medium.read(offset_of(extent.block + at), &mut data)?;
                medium.write(offset_of(block), &data)?;
                extents.push(Extent {
                    lblock: extent.lblock + at,
                    block,
                    len: 1,
                    unwritten: false,
                });
            }
        }
        extents.sort_by_key(|extent| extent.lblock);
        let mut joined: Vec<Extent> = Vec::with_capacity(extents.len());
        for extent in extents {
            match joined.last().and_then(|last| last.join(&extent)) {
                Some(both) => {
                    joined.pop();
                    joined.push(both);
                }
                None => joined.push(extent),
            }
        }
        Ok(joined)
    }

    /// Stores a structure of one block.
    fn store<T: Object>(&mut self, block: u64, object: &mut T) -> Result {
        self.volume.store(offset_of(block), object)
    }

    /// Builds the nodes over `entries`.
    fn tree(&mut self, ino: u64, mut entries: Vec<Entry>, owned: &mut u64) -> Result<Root> {
        let mut level = 0;
        while entries.len() > INLINE {
            let mut above = Vec::with_capacity(entries.len().div_ceil(FILL));
            for part in entries.chunks(FILL) {
                let Some(block) = self.alloc() else {
                    return Root::above(0, &[]);
                };
                *owned += 1;
                self.store(block, &mut Node::holding(ino, level, part)?)?;
                above.extend(part.first().map(|first| Entry {
                    value: block,
                    len: 0,
                    flags: 0,
                    ..*first
                }));
            }
            entries = above;
            level += 1;
        }
        Root::above(level, &entries)
    }

    /// Writes the leaves of a directory.
    fn leaves(&mut self, ino: u64, names: &[DirName], owned: &mut u64) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut rest = names;
        while !rest.is_empty() {
            let mut leaf = Box::new(Leaf::new_zeroed());
            leaf.head.owner.set(ino);
            let mut taken = 0;
            for name in rest {
                // Names of equal hash stay together.
                let fresh =
                    taken == 0 || !dir::same_hash(rest[taken - 1].found.cookie, name.found.cookie);
                if fresh && leaf.counted_bytes() > LEAF_FILL {
                    break;
                }
                if !leaf.append(&name.found, Name::new(&name.bytes)?)? {
                    break;
                }
                taken += 1;
            }
            let Some(block) = self.alloc() else {
                return Ok(Vec::new());
            };
            *owned += 1;
            self.store(block, &mut *leaf)?;
            let key = match entries.len() {
                0 => 0,
                _ => dir::base(rest[0].found.cookie),
            };
            entries.push(Entry {
                key,
                value: block,
                len: 0,
                flags: 0,
            });
            rest = &rest[taken.max(1)..];
        }
        Ok(entries)
    }

    /// Writes the block of a link's target.
    fn target(&mut self, ino: u64, text: &[u8], owned: &mut u64) -> Result<Vec<Entry>> {
        let Some(block) = self.alloc() else {
            return Ok(Vec::new());
        };
        let mut target = Box::new(Target::new_zeroed());
        target.owner.set(ino);
        if let Some(place) = target.bytes.get_mut(..text.len()) {
            place.copy_from_slice(text);
        }
        *owned += 1;
        self.store(block, &mut *target)?;
        debug_assert_eq!(target.as_bytes().len() as u64, BLOCK_SIZE);
        Ok(vec![Entry {
            key: 0,
            value: block,
            len: 1,
            flags: 0,
        }])
    }
}
