// SPDX-License-Identifier: GPL-2.0

//! The pass over names: what they name, who is in which directory, and what has no name.

use std::collections::{
    btree_map::Entry,
    BTreeMap,
    BTreeSet,
    HashSet,
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

/// The directory for what has lost its name, while it gets names: one by one, in any order, without
/// going over those that it has.
pub(crate) struct LostFound {
    ino: u64,
    /// By their cookies.
    names: BTreeMap<u64, DirName>,
    taken: HashSet<Vec<u8>>,
}

impl LostFound {
    fn new(ino: u64, names: Vec<DirName>) -> Self {
        LostFound {
            ino,
            taken: names.iter().map(|name| name.bytes.clone()).collect(),
            names: names
                .into_iter()
                .map(|name| (name.found.cookie, name))
                .collect(),
        }
    }
}

impl<M: Medium> Checker<'_, M> {
    /// Goes over all names, from the root on, and finds places for what is not reached.
    pub fn names(&mut self) -> Result {
        self.descend(self.geometry.root_ino, true)?;
        self.nameless()?;
        if let Some(LostFound { ino, names, .. }) = self.lost_found.take() {
            self.set_names(ino, names.into_values().collect())?;
        }
        Ok(())
    }

    /// Finds places for what is not reached.
    fn nameless(&mut self) -> Result {
        // Directories first: what is in them has names then.
        let lost: Vec<u64> = self.info.keys().copied().collect();
        let lost: Vec<u64> = lost.into_iter().filter(|&ino| self.is_lost(ino)).collect();
        let above = self.above(&lost)?;
        let all = lost.len() as u64;
        for (done, ino) in lost.into_iter().enumerate() {
            self.tell("directories without a name", done as u64, all);
            // Each turn reaches one more, if not this one.
            while self.is_lost(ino) {
                let top = self.top(ino, &above);
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
        }
        let nameless = |(&ino, info): (&u64, &crate::checker::Info)| {
            (!info.is_dir() && info.links == 0 && !info.orphan).then_some(ino)
        };
        let lost: Vec<u64> = self.info.iter().filter_map(nameless).collect();
        let all = lost.len() as u64;
        for (done, ino) in lost.into_iter().enumerate() {
            self.tell("inodes without a name", done as u64, all);
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

    /// Whether this is a directory that should have a name and has none. An empty one on the orphan
    /// list need not.
    fn is_lost(&self, ino: u64) -> bool {
        self.info.get(&ino).is_some_and(|info| {
            info.is_dir() && !info.reached && !(info.orphan && self.is_empty(ino))
        })
    }

    /// For each of the `lost` directories the one among them that it says it is in, if that has a name
    /// of it.
    fn above(&self, lost: &[u64]) -> Result<BTreeMap<u64, u64>> {
        let mut parents = BTreeMap::new();
        for &ino in lost {
            let inode: Inode = self.volume.plain(inode_offset(ino))?;
            parents.insert(ino, inode.parent.get());
        }
        let mut above = BTreeMap::new();
        for &dir in lost {
            for name in self.names_of(dir)? {
                let ino = name.found.ino;
                if parents.get(&ino) == Some(&dir) {
                    above.insert(ino, dir);
                }
            }
        }
        Ok(above)
    }

    fn is_empty(&self, ino: u64) -> bool {
        self.names_of(ino).is_ok_and(|names| names.is_empty())
    }

    /// The uppermost directory over one that is not reached, by what they say of their parents.
    fn top(&self, ino: u64, above: &BTreeMap<u64, u64>) -> u64 {
        let mut seen = BTreeSet::new();
        let mut at = ino;
        while seen.insert(at) {
            let parent = above.get(&at).copied();
            match parent.filter(|parent| self.is_lost(*parent) && !seen.contains(parent)) {
                Some(parent) => at = parent,
                None => break,
            }
        }
        at
    }

    /// Follows the names in a directory that was just reached, and in those below. This is a pass of
    /// its own, or a step of one.
    fn descend(&mut self, start: u64, pass: bool) -> Result {
        let mut todo = VecDeque::from([start]);
        let mut done = 0;
        while let Some(ino) = todo.pop_front() {
            if pass {
                self.tell("directories", done, done + todo.len() as u64 + 1);
            }
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
        if !self.home()? {
            return Ok(false);
        }
        let Some(info) = self.info.get(&ino).copied() else {
            return Ok(true);
        };
        let geometry = self.geometry;
        let Some(lost_found) = &mut self.lost_found else {
            return Ok(false);
        };
        let home = lost_found.ino;
        let mut text = format!("#{ino}").into_bytes();
        let place = loop {
            if lost_found.taken.insert(text.clone()) {
                let cookie = dir::first_cookie(&geometry, Name::new(&text)?);
                // Some more may have this hash, not so many that their cookies are another's.
                let mut cookies = (cookie..).take_while(|&other| dir::same_hash(cookie, other));
                let free = |cookie: &u64| !lost_found.names.contains_key(cookie);
                if let Some(cookie) = cookies.find(free) {
                    break cookie;
                }
            }
            text.push(b'_');
        };
        if let Entry::Vacant(entry) = lost_found.names.entry(place) {
            entry.insert(DirName {
                found: Found {
                    ino,
                    kind: info.kind,
                    cookie: place,
                },
                bytes: text,
            });
        }
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
            self.descend(ino, false)?;
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

    /// Sees to the directory for what has lost its name, which is made now if there is none. False if
    /// there is no room for that.
    fn home(&mut self) -> Result<bool> {
        if self.lost_found.is_some() {
            return Ok(true);
        }
        let root = self.geometry.root_ino;
        let mut names = self.names_of(root)?;
        let mut text = LOST_FOUND.to_vec();
        while let Some(there) = names.iter().find(|name| name.bytes == text) {
            if u32::from(there.found.kind) << 12 & S_IFMT == S_IFDIR {
                let ino = there.found.ino;
                self.lost_found = Some(LostFound::new(ino, self.names_of(ino)?));
                return Ok(true);
            }
            text.push(b'_');
        }
        let Some(ino) = self.new_inode()? else {
            self.no_room = true;
            return Ok(false);
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
        self.lost_found = Some(LostFound::new(ino, Vec::new()));
        Ok(true)
    }
}
