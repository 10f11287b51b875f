// SPDX-License-Identifier: GPL-2.0

//! The B+tree of an inode.

use zerocopy::FromZeros;

use crate::{
    Error,
    Result, //
};

pub use crate::ondisk::node::*;

impl Root {
    /// Entry `index`.
    pub fn entry(&self, index: usize) -> Result<Entry> {
        let raw = self.entries.get(index);
        raw.map(RawEntry::get)
            .ok_or(Error::Corrupt("tree entry out of range"))
    }

    /// A root above `entries`, which are at most [`INLINE`] and in order.
    pub fn above(level: u8, entries: &[Entry]) -> Result<Self> {
        let mut root = Root::new_zeroed();
        root.level = level;
        for (index, entry) in entries.iter().enumerate() {
            root.slots().insert(index, *entry)?;
        }
        Ok(root)
    }

    /// Whether the reserved fields are zero.
    pub fn is_tidy(&self) -> bool {
        self.reserved == [0; 3] && self.reserved2 == [0; 2]
    }

    /// Clears the reserved fields, and if nothing can hang on the root, level and count.
    pub fn tidy(&mut self, empty: bool) {
        self.reserved = [0; 3];
        self.reserved2 = [0; 2];
        if empty {
            self.level = 0;
            self.count.set(0);
        }
    }
}

impl NodeHead {
    /// Levels of nodes under this one.
    pub fn level(&self) -> u8 {
        self.level
    }
}

impl Node {
    /// A node of inode `owner` with `entries`, which are at most [`FANOUT`] and in order.
    pub fn holding(owner: u64, level: u8, entries: &[Entry]) -> Result<Self> {
        let mut node = Node::new_zeroed();
        node.head.owner.set(owner);
        node.head.level = level;
        for (index, entry) in entries.iter().enumerate() {
            node.slots().insert(index, *entry)?;
        }
        Ok(node)
    }

    /// Whether the reserved fields are zero.
    pub fn is_tidy(&self) -> bool {
        self.head.reserved == 0 && self.head.reserved2 == [0; 12] && self.reserved == [0; 8]
    }
}
