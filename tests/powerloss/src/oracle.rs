// SPDX-License-Identifier: GPL-2.0

//! What may be seen after a power loss.
//!
//! Every system call is atomic, and durable when it has returned; the exception is what files
//! contain: before an fsync or its like, each byte of what was written may be there or not, and
//! in its place is what stood there before, or zero where nothing was. The size of such a file is
//! one that it had since, or lies between two of them at a block's end: what is appended may come in
//! pieces of whole blocks.

use std::{
    collections::{
        BTreeMap,
        BTreeSet, //
    },
    rc::Rc, //
};

use pinfs_format::BLOCK_SIZE;

use crate::tree::{
    Node,
    Tree, //
};

/// The contents that a file has had since it was made durable.
#[derive(Clone, Debug, Default)]
struct Versions {
    contents: Vec<Rc<[u8]>>,
    sizes: BTreeSet<u64>,
}

/// Files whose contents are not durable, by number.
#[derive(Clone, Debug, Default)]
pub struct Dirty(BTreeMap<u64, Versions>);

/// A state that may be found.
pub struct State<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// What of it may differ.
    pub dirty: &'a Dirty,
}

/// The arguments of a call.
struct Call<'a>(Vec<&'a str>);

impl<'a> Call<'a> {
    fn new(text: &'a str) -> Self {
        Call(text.split(' ').collect())
    }

    fn word(&self, index: usize) -> &'a str {
        self.0.get(index).copied().unwrap_or("")
    }

    fn number(&self, index: usize) -> usize {
        self.word(index).parse().unwrap_or(0)
    }

    /// Whether it stores into files, which is not atomic.
    fn writes(&self) -> bool {
        match self.word(0) {
            "write" | "append" | "mmap" | "device" | "copy" => true,
            "falloc" => matches!(
                self.word(2),
                "alloc" | "keep" | "punch" | "zero" | "zerokeep"
            ),
            _ => false,
        }
    }

    /// The file that it makes durable, if it is that kind of call.
    fn syncs(&self) -> Option<&'a str> {
        let synchronous = self.word(0) == "write" && matches!(self.word(4), "sync" | "dsync");
        let asked_for = matches!(self.word(0), "fsync" | "fdatasync" | "msync");
        (synchronous || asked_for).then(|| self.word(1))
    }

    fn syncs_all(&self) -> bool {
        let calls = ["sync", "syncfs", "umount", "remount-ro", "mkfs"];
        calls.contains(&self.word(0))
    }
}

fn numbers(tree: &Tree) -> BTreeMap<u64, &Node> {
    tree.values().map(|node| (node.ino, node)).collect()
}

impl Dirty {
    /// How things are while `call` leads from one tree to the other: for either, what may differ.
    pub fn during(&self, call: &str, before: &Tree, after: &Tree) -> (Dirty, Dirty) {
        let call = Call::new(call);
        let (old, new) = (numbers(before), numbers(after));
        let mut earlier = self.clone();
        let mut later = self.clone();
        for (ino, node) in &new {
            let Some(was) = old.get(ino) else {
                continue;
            };
            if was.contents == node.contents && was.blocks == node.blocks {
                continue;
            }
            if call.writes() {
                for dirty in [&mut earlier, &mut later] {
                    dirty.add(was);
                    dirty.add(node);
                    dirty.add_sizes_between(was, node);
                }
            } else if was.contents == node.contents {
                // Blocks for something else: an extended attribute.
                continue;
            } else if let Some(versions) = later.0.get_mut(ino) {
                // What is not durable of the contents goes with them.
                let change = |bytes: &Rc<[u8]>| moved(&call, bytes, node.size);
                versions.contents = versions.contents.iter().map(change).collect();
                versions.sizes = BTreeSet::from([node.size]);
                later.add(node);
            }
        }
        (earlier, later)
    }

    /// What is left of it when `call` has returned `result`; `path` is of the tree then.
    pub fn settle(&mut self, call: &str, result: i64, tree: &Tree) {
        let call = Call::new(call);
        if result < 0 {
            return;
        }
        if call.syncs_all() {
            self.0.clear();
        } else if let Some(path) = call.syncs() {
            if let Some(node) = tree.get(&format!("/{path}")) {
                self.0.remove(&node.ino);
            }
        }
    }

    fn add_sizes_between(&mut self, was: &Node, node: &Node) {
        let versions = self.0.entry(node.ino).or_default();
        let blocks = was.size / BLOCK_SIZE + 1..node.size.div_ceil(BLOCK_SIZE);
        versions
            .sizes
            .extend(blocks.map(|block| block * BLOCK_SIZE));
    }

    fn add(&mut self, node: &Node) {
        let versions = self.0.entry(node.ino).or_default();
        versions.sizes.insert(node.size);
        if !versions.contents.contains(&node.contents) {
            versions.contents.push(node.contents.clone());
        }
    }
}

/// Contents after a call that moves or cuts them off without looking at them.
fn moved(call: &Call<'_>, bytes: &Rc<[u8]>, size: u64) -> Rc<[u8]> {
    let mut bytes = bytes.to_vec();
    let at = call.number(3).min(bytes.len());
    match (call.word(0), call.word(2)) {
        ("falloc", "collapse") => {
            let end = (at + call.number(4)).min(bytes.len());
            bytes.drain(at..end);
        }
        ("falloc", "insert") => {
            bytes.splice(at..at, vec![0; call.number(4)]);
        }
        _ => {}
    }
    bytes.resize(size as usize, 0);
    bytes.into()
}

/// Why a node is none that may be found.
fn differs(found: &Node, wanted: &Node, dirty: &Dirty) -> Option<String> {
    let Some(versions) = dirty.0.get(&wanted.ino) else {
        return (found != wanted).then(|| format!("is {found}, not {wanted}"));
    };
    let same = Node {
        size: wanted.size,
        blocks: wanted.blocks,
        contents: wanted.contents.clone(),
        ..found.clone()
    };
    if same != *wanted {
        return Some(format!("is {found}, not {wanted}"));
    }
    if !versions.sizes.contains(&found.size) {
        return Some(format!("has {} bytes, never did", found.size));
    }
    found.contents.iter().enumerate().find_map(|(at, &byte)| {
        let known = |version: &Rc<[u8]>| version.get(at).copied().unwrap_or(0) == byte;
        (!versions.contents.iter().any(known))
            .then(|| format!("has at {at} the byte {byte:#x}, never did"))
    })
}

impl State<'_> {
    /// Why `found` is not this.
    pub fn differs(&self, found: &Tree) -> Option<String> {
        for (path, node) in found {
            let why = match self.tree.get(path) {
                None => Some(format!("is there: {node}")),
                Some(wanted) => differs(node, wanted, self.dirty),
            };
            if let Some(why) = why {
                return Some(format!("'{path}' {why}"));
            }
        }
        let missing = self.tree.keys().find(|path| !found.contains_key(*path));
        missing.map(|path| format!("'{path}' is missing"))
    }
}
