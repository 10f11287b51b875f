// SPDX-License-Identifier: GPL-2.0

//! The pass over names: what they name, who is in which directory, and what has no name.

use std::collections::{
    BTreeSet,
    VecDeque, //
};

use pinfs_format::{
    dir::{
        self,
        Found, //
    },
    inode::{
        S_IFDIR,
        S_IFMT, //
    },
    volume::inode_offset,
    Inode,
    Medium,
    Name,
    Result,
    INODE_SLOTS, //
};

use crate::{
    checker::Checker,
    examine::{
        self,
        DirName,
        Raw, //
    },
    report::printable, //
};

/// The directory for what has lost its name.
const LOST_FOUND: &[u8] = b"lost+found";

impl<M: Medium> Checker<'_, M> {
    /// Goes over all names, from the root on, and finds places for what is not reached.
    pub fn names(&mut self) -> Result {
        self.descend(self.geometry.root_ino)?;
        // Directories first: what is in them has names then.
        while let Some(ino) = self.unreached() {
            let top = self.top(ino);
            self.fault(
                top,
                inode_offset(top),
                true,
                "directory has no name; put into lost+found",
            );
            if !self.rescue(top)? {
                return Ok(());
            }
        }
        let nameless = |(&ino, info): (&u64, &crate::checker::Info)| {
            (!info.is_dir() && info.links == 0 && !info.orphan).then_some(ino)
        };
        let lost: Vec<u64> = self.info.iter().filter_map(nameless).collect();
        for ino in lost {
            self.fault(
                ino,
                inode_offset(ino),
                true,
                "inode has no name; put into lost+found",
            );
            if !self.rescue(ino)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A directory that should have a name and has none. An empty one on the orphan list need not.
    fn unreached(&self) -> Option<u64> {
        self.info.iter().find_map(|(&ino, info)| {
            let waits = info.orphan && self.is_empty(ino);
            (info.is_dir() && !info.reached && !waits).then_some(ino)
        })
    }

    fn is_empty(&self, ino: u64) -> bool {
        self.names_of(ino).is_ok_and(|names| names.is_empty())
    }

    /// The uppermost directory over an unreached one, by what they say of their parents.
    fn top(&self, ino: u64) -> u64 {
        let mut seen = BTreeSet::new();
        let mut at = ino;
        while seen.insert(at) {
            let inode: Result<Inode> = self.volume.plain(inode_offset(at));
            let Ok(parent) = inode.map(|inode| inode.parent.get()) else {
                break;
            };
            // One that does not have this name would not help.
            let above = self.info.get(&parent);
            let names = |dir| self.names_of(dir).unwrap_or_default();
            let good = above.is_some_and(|info| info.is_dir() && !info.reached)
                && names(parent).iter().any(|name| name.found.ino == at);
            if !good || seen.contains(&parent) {
                break;
            }
            at = parent;
        }
        at
    }

    /// Follows the names in a directory that was just reached, and in those below.
    fn descend(&mut self, start: u64) -> Result {
        let mut todo = VecDeque::from([start]);
        let mut done = 0;
        while let Some(ino) = todo.pop_front() {
            self.tell("directories", done, done + todo.len() as u64 + 1);
            done += 1;
            let old = self.names_of(ino)?;
            let mut names = Vec::with_capacity(old.len());
            let mut changed = false;
            for mut name in old {
                let before = name.found;
                if self.name(ino, &mut name, &mut todo)? {
                    changed |= name.found != before;
                    names.push(name);
                } else {
                    changed = true;
                }
            }
            if changed {
                self.set_names(ino, names)?;
            }
        }
        Ok(())
    }

    /// Looks at one name; returns whether it stays.
    fn name(&mut self, dir: u64, name: &mut DirName, todo: &mut VecDeque<u64>) -> Result<bool> {
        let ino = name.found.ino;
        let off = inode_offset(dir);
        let text = printable(&name.bytes);
        if !self.info.contains_key(&ino) && !self.adopt(ino, name.found.kind)? {
            let what = format!("'{text}' names inode {ino}, which there is not; removed");
            self.fault(dir, off, true, what);
            return Ok(false);
        }
        let Some(info) = self.info.get(&ino).copied() else {
            return Ok(false);
        };
        if info.is_dir() && info.reached {
            let what = format!("'{text}' is a second name of directory {ino}; removed");
            self.fault(dir, off, true, what);
            return Ok(false);
        }
        if name.found.kind != info.kind {
            let what = format!("'{text}' has the type of another inode; corrected");
            self.fault(dir, off, false, what);
            name.found.kind = info.kind;
        }
        if let Some(info) = self.info.get_mut(&ino) {
            info.links = info.links.saturating_add(1);
            if info.parent == 0 {
                info.parent = dir;
            }
            info.reached |= info.is_dir();
        }
        if info.is_dir() {
            if let Some(parent) = self.info.get_mut(&dir) {
                parent.subdirs = parent.subdirs.saturating_add(1);
            }
            todo.push_back(ino);
        }
        Ok(true)
    }

    /// Takes an inode that is named but not marked as in use, if it is one beyond doubt.
    fn adopt(&mut self, ino: u64, kind: u8) -> Result<bool> {
        let block = ino / INODE_SLOTS;
        let slot = ino % INODE_SLOTS;
        let known = self.inode_blocks.has(block);
        if slot == 0 || !self.geometry.in_data(block, 1) || (self.used.has(block) && !known) {
            return Ok(false);
        }
        let (head, sealed) = self.head(block)?;
        if sealed && head.used.get() >> slot & 1 == 0 {
            return Ok(false);
        }
        let Raw::Sealed(inode) = examine::raw(self.volume, ino)? else {
            return Ok(false);
        };
        if (inode.kind() >> 12) as u8 != kind {
            return Ok(false);
        }
        self.used.put(block, true);
        self.inode_blocks.put(block, true);
        let taken = self.take(ino)?;
        if taken {
            self.fault(
                ino,
                inode_offset(ino),
                false,
                "inode is named, but not marked as in use; marked",
            );
        }
        Ok(taken)
    }

    /// Gives an inode a name in `lost+found`. False if there is no room for that.
    fn rescue(&mut self, ino: u64) -> Result<bool> {
        let Some(home) = self.home()? else {
            return Ok(false);
        };
        let mut names = self.names_of(home)?;
        let mut text = format!("#{ino}");
        while names.iter().any(|name| name.bytes == text.as_bytes()) {
            text.push('_');
        }
        let Some(info) = self.info.get(&ino).copied() else {
            return Ok(true);
        };
        let found = Found {
            ino,
            kind: info.kind,
            cookie: 0,
        };
        self.insert(&mut names, found, text.as_bytes());
        self.set_names(home, names)?;
        if let Some(info) = self.info.get_mut(&ino) {
            info.links += 1;
            info.parent = home;
            info.orphan = false;
            info.reached = info.is_dir();
        }
        if info.is_dir() {
            if let Some(home) = self.info.get_mut(&home) {
                home.subdirs += 1;
            }
            self.descend(ino)?;
        }
        Ok(true)
    }

    /// Adds a name to a list in the order of cookies.
    fn insert(&mut self, names: &mut Vec<DirName>, mut found: Found, bytes: &[u8]) {
        let Ok(name) = Name::new(bytes) else {
            return;
        };
        let mut cookie = dir::first_cookie(&self.geometry, name);
        let mut at = names.partition_point(|other| other.found.cookie < cookie);
        while names
            .get(at)
            .is_some_and(|other| other.found.cookie == cookie)
        {
            at += 1;
            cookie += 1;
        }
        found.cookie = cookie;
        let bytes = bytes.to_vec();
        names.insert(at, DirName { found, bytes });
    }

    /// The directory for what has lost its name, made now if there is none.
    fn home(&mut self) -> Result<Option<u64>> {
        if self.lost_found.is_some() {
            return Ok(self.lost_found);
        }
        let root = self.geometry.root_ino;
        let mut names = self.names_of(root)?;
        let mut text = LOST_FOUND.to_vec();
        while let Some(there) = names.iter().find(|name| name.bytes == text) {
            if u32::from(there.found.kind) << 12 & S_IFMT == S_IFDIR {
                self.lost_found = Some(there.found.ino);
                return Ok(self.lost_found);
            }
            text.push(b'_');
        }
        let Some(ino) = self.new_inode()? else {
            self.no_room = true;
            return Ok(None);
        };
        self.fault(root, inode_offset(root), false, "lost+found is made");
        self.make_dir(ino, root)?;
        let found = Found {
            ino,
            kind: (S_IFDIR >> 12) as u8,
            cookie: 0,
        };
        self.insert(&mut names, found, &text);
        self.set_names(root, names)?;
        if let Some(info) = self.info.get_mut(&ino) {
            info.reached = true;
            info.links = 1;
            info.parent = root;
        }
        if let Some(root) = self.info.get_mut(&root) {
            root.subdirs += 1;
        }
        self.lost_found = Some(ino);
        Ok(self.lost_found)
    }
}
