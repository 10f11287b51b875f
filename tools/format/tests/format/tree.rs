// SPDX-License-Identifier: GPL-2.0

//! How trees grow and shrink: what is in which node.

use pinfs_format::{
    extents::{
        self,
        Mapping, //
    },
    memory::Memory,
    offset_of,
    tree::{
        raise,
        Entry,
        Node,
        Root,
        MAX_LEVEL, //
    },
    Error,
    Medium,
    Result,
    Tx, //
};
use zerocopy::{
    FromZeros,
    IntoBytes, //
};

use crate::support::{
    request,
    Fs, //
};

/// Entries of the root, of a node, and of a leaf that is split early.
const INLINE: u64 = 4;
const FANOUT: u64 = 169;
const CROWDED: u64 = 48;
/// Entries that are moved without a thought.
const MOVE: u64 = 16;

/// Bytes of a node.
const OWNER: usize = 8;
const LEVEL: usize = 16;
const COUNT: usize = 18;
/// A byte of a root.
const ROOT_COUNT: usize = 4;

/// A file whose blocks are no neighbours of each other.
struct Scattered {
    fs: Fs<Memory>,
    ino: u64,
}

impl Scattered {
    /// One with so many blocks, which came in order.
    fn new(count: u64) -> Self {
        Scattered::on(Fs::new(1024), 0, count)
    }

    /// The same on `fs`, from block `first` on.
    fn on(mut fs: Fs<Memory>, first: u64, count: u64) -> Self {
        let ino = fs.create(b"file").expect("create");
        let mut file = Scattered { fs, ino };
        (0..count).for_each(|index| file.fill(first + 10 * index));
        file
    }

    fn try_fill(&mut self, at: u64) -> Result {
        self.fs.allocate(self.ino, at, 1).map(drop)
    }

    fn fill(&mut self, at: u64) {
        self.try_fill(at).expect("a block");
    }

    fn try_remove(&mut self, at: u64) -> Result {
        let ino = self.ino;
        self.fs
            .run(|tx| extents::remove(tx, ino, at, at + 1).map(drop))
    }

    fn remove(&mut self, at: u64) {
        self.try_remove(at).expect("a block");
    }

    /// How many entries there are on each level, the root's first, node after node.
    fn shape(&mut self) -> Vec<Vec<u64>> {
        self.fs.check();
        let root = self.fs.inode(self.ino).root;
        let entries = (0..root.count()).map(|index| root.entry(index).expect("an entry"));
        let mut blocks: Vec<_> = entries.map(|entry| entry.value).collect();
        let mut levels = vec![vec![root.count() as u64]];
        for _ in 0..root.level() {
            let mut counts = vec![];
            let mut beneath = vec![];
            for block in blocks {
                let mut node = Node::new_zeroed();
                let bytes = node.as_mut_bytes();
                let medium = self.fs.volume.medium();
                medium.read(offset_of(block), bytes).expect("a node");
                let count = usize::from(node.head.count.get());
                counts.push(count as u64);
                let entries = (0..count).map(|index| node.entry(index).expect("an entry"));
                beneath.extend(entries.map(|entry| entry.value));
            }
            levels.push(counts);
            blocks = beneath;
        }
        levels
    }
}

/// Once the root is full, its entries go into a node, and come back when two are left.
#[test]
fn small_trees_are_in_the_inode() {
    let mut file = Scattered::new(INLINE);
    assert_eq!(file.shape(), [[4]]);
    file.fill(10 * INLINE);
    assert_eq!(file.shape(), [[1], [5]]);
    file.remove(0);
    file.remove(10);
    assert_eq!(file.shape(), [[1], [3]]);
    file.remove(20);
    assert_eq!(file.shape(), [[2]]);
    file.remove(30);
    file.remove(40);
    assert_eq!(file.shape(), [[0]]);
}

/// What grows at its end leaves full leaves behind; elsewhere a full leaf is halved.
#[test]
fn full_leaves_are_split() {
    let mut file = Scattered::new(FANOUT);
    assert_eq!(file.shape(), [vec![1], vec![169]]);
    file.fill(10 * FANOUT);
    assert_eq!(file.shape(), [vec![2], vec![168, 2]]);

    for behind in [1, MOVE] {
        let mut file = Scattered::new(FANOUT);
        file.fill(10 * (FANOUT - behind) - 5);
        assert_eq!(file.shape(), [vec![2], vec![84, 86]]);
    }
}

/// A leaf that is not full is split where many entries would have to move.
#[test]
fn crowded_leaves_are_split() {
    // How many there are, how many of them are behind the new one, and the leaves then.
    let cases: [(_, _, &[u64]); 7] = [
        (CROWDED - 1, CROWDED - 1, &[48]),
        (CROWDED, 0, &[49]),
        (CROWDED, MOVE, &[49]),
        (CROWDED, MOVE + 1, &[24, 25]),
        (CROWDED, CROWDED / 2 - 1, &[24, 25]),
        (CROWDED, CROWDED / 2, &[25, 24]),
        (CROWDED, CROWDED, &[25, 24]),
    ];
    for (count, behind, leaves) in cases {
        let first = 10;
        let mut file = Scattered::on(Fs::new(1024), first, count);
        file.fill(first + 10 * (count - behind) - 5);
        let shape = file.shape();
        assert_eq!(shape[1], leaves, "{behind} of {count}");
        assert_eq!(shape[0], [leaves.len() as u64]);
    }
}

/// A node that is not what the way to it says is refused, by who reads and by who writes.
#[test]
fn nodes_that_do_not_fit_are_refused() {
    type Damage = fn(&mut [u8]);
    let other = Error::Corrupt("tree node belongs to another inode");
    let unfit = Error::Corrupt("tree node has a wrong level or count");
    let damaged = Error::Corrupt("tree node is damaged");
    // Bytes of the first leaf, what is read, and what is written.
    let cases: [(Damage, _, _); 4] = [
        (|node| node[OWNER] ^= 1, other, other),
        (|node| node[LEVEL] = 1, unfit, unfit),
        (|node| node[COUNT] = 0, unfit, damaged),
        (|node| node[COUNT] = 170, unfit, damaged),
    ];
    for (index, (damage, read, write)) in cases.into_iter().enumerate() {
        let mut file = Scattered::on(Fs::blind(), 0, INLINE + 1);
        let mut image = file.fs.volume.medium().image();
        let inode = file.fs.inode(file.ino);
        let leaf = inode.root.entry(0).expect("an entry").value as usize * 4096;
        damage(&mut image[leaf..leaf + 4096]);
        file.fs = Fs::mount(Memory::blind(image)).0;
        let map = extents::map(&file.fs.volume, &file.fs.inode(file.ino), 3);
        assert_eq!(map, Err(read), "case {index}");
        assert_eq!(file.try_fill(3), Err(write), "case {index}");
        assert_eq!(file.try_remove(0), Err(write), "case {index}");
    }
}

fn entry(key: u64, value: u64, len: u32) -> Entry {
    Entry {
        key,
        value,
        len,
        flags: 0,
    }
}

fn one_block(tx: &mut Tx<'_, Memory>) -> Result<u64> {
    tx.alloc_blocks(request(1)).map(|run| run.start)
}

/// Stores a node that no tree has grown.
fn place(tx: &mut Tx<'_, Memory>, ino: u64, level: u8, entries: &[Entry]) -> Result<u64> {
    let block = one_block(tx)?;
    let mut node = Node::holding(ino, level, entries)?;
    node.as_mut_bytes()[..4].copy_from_slice(b"pNod");
    let medium = tx.volume().medium();
    medium.write(offset_of(block), node.as_bytes())?;
    Ok(block)
}

/// A file of `blocks` blocks under a root that `grow` makes.
fn with_tree(
    blocks: u64,
    grow: impl FnOnce(&mut Tx<'_, Memory>, u64) -> Result<Root>,
) -> Scattered {
    let mut fs = Fs::blind();
    let ino = fs.create(b"file").expect("create");
    let grown = fs.run(|tx| {
        let root = grow(tx, ino)?;
        let inode = tx.inode_mut(ino)?;
        inode.root = root;
        inode.blocks.set(blocks);
        inode.size.set(100 * 4096);
        Ok(())
    });
    grown.expect("a tree");
    Scattered { fs, ino }
}

/// A file with one block, at 20, in a tree of as many levels as there can be.
fn deepest() -> Scattered {
    with_tree(1 + u64::from(MAX_LEVEL), |tx, ino| {
        let mut beneath = entry(20, one_block(tx)?, 1);
        for level in 0..MAX_LEVEL {
            beneath = entry(20, place(tx, ino, level, &[beneath])?, 0);
        }
        Root::above(MAX_LEVEL, &[beneath])
    })
}

/// The deepest tree takes blocks, moves them, and is freed with the last one, or when few are left.
#[test]
fn the_deepest_tree() {
    let levels = |leaf| [vec![vec![1]; MAX_LEVEL.into()], vec![vec![leaf]]].concat();
    let mut file = deepest();
    assert_eq!(file.shape(), levels(1));
    file.remove(20);
    assert_eq!(file.shape(), [[0]]);
    assert_eq!(file.fs.inode(file.ino).blocks.get(), 0);

    let mut file = deepest();
    file.fill(10);
    file.fill(30);
    assert_eq!(file.shape(), levels(3));
    let ino = file.ino;
    file.fs
        .run(|tx| extents::insert_range(tx, ino, 25, 5))
        .expect("moved");
    assert_eq!(file.shape(), levels(3));
    file.remove(20);
    assert_eq!(file.shape(), [[2]]);
    let root = file.fs.inode(ino).root;
    let keys = [0, 1].map(|index| root.entry(index).map(|entry| entry.key));
    assert_eq!(keys, [Ok(10), Ok(35)]);
    assert_eq!(file.fs.inode(ino).blocks.get(), 2);
}

/// Where there is no block for a node, a full leaf takes no more.
#[test]
fn full_leaves_on_a_full_device() {
    let mut file = Scattered::new(FANOUT);
    let other = file.fs.create(b"other").expect("create");
    let mut blocks = 0;
    while let Ok(extent) = file.fs.allocate_last(other, blocks, 1024) {
        blocks += extent.len;
    }
    let last = blocks - 1;
    let removed = file.fs.run(|tx| extents::remove(tx, other, last, blocks));
    removed.expect("a free block");
    assert_eq!(file.fs.space.counts().free, 1);
    for at in [5, 10 * FANOUT] {
        assert_eq!(file.try_fill(at), Err(Error::NoSpace));
        assert_eq!(file.shape(), [[1], [169]]);
    }
}

/// If all nodes on the way to a new entry are full, all are split.
#[test]
fn every_node_is_split() {
    let mut file = with_tree(9, |tx, ino| {
        let data = one_block(tx)?;
        let leaf: Vec<_> = (0..FANOUT).map(|index| entry(2 * index, data, 1)).collect();
        let mut beneath = place(tx, ino, 0, &leaf)?;
        // The next leaf; all others have the same place, and nobody comes there.
        let next = place(tx, ino, 0, &[entry(400, data, 1)])?;
        for level in 1..MAX_LEVEL {
            let key = |index| index * 400u64.pow(level.into());
            let others = (1..FANOUT).map(|index| entry(key(index), next, 0));
            let node: Vec<_> = [entry(0, beneath, 0)].into_iter().chain(others).collect();
            beneath = place(tx, ino, level, &node)?;
        }
        Root::above(MAX_LEVEL, &[entry(0, beneath, 0)])
    });
    let before = file.fs.space.counts().free;
    file.fill(399);
    // A block of data, and a node on each level.
    assert_eq!(
        file.fs.space.counts().free,
        before - 1 - u64::from(MAX_LEVEL)
    );
    let inode = file.fs.inode(file.ino);
    assert_eq!(inode.root.count(), 2);
    for at in (0..2 * FANOUT).step_by(2).chain([399, 400]) {
        let map = extents::map(&file.fs.volume, &inode, at);
        assert!(matches!(map, Ok(Mapping::Extent(_))), "{at}: {map:?}");
        let map = extents::map(&file.fs.volume, &inode, at + 1);
        assert_eq!(
            at == 399,
            matches!(map, Ok(Mapping::Extent(_))),
            "{at}: {map:?}"
        );
    }
}

/// The way to a key that a leaf has must lead to that leaf.
#[test]
fn keys_out_of_order_are_refused() {
    for (key, refused) in [(42, true), (45, false)] {
        let mut file = with_tree(7, |tx, ino| {
            let data = one_block(tx)?;
            let mut leaf = |keys: &[u64]| {
                let entries: Vec<_> = keys.iter().map(|&key| entry(key, data, 1)).collect();
                place(tx, ino, 0, &entries)
            };
            let leaves = [
                entry(10, leaf(&[25])?, 0),
                entry(20, leaf(&[22, 45])?, 0),
                entry(40, leaf(&[key])?, 0),
            ];
            Root::above(1, &leaves)
        });
        let ino = file.ino;
        let reserved = file.fs.run(|tx| extents::alloc_extent(tx, ino, 5, 1));
        let wanted = Err(Error::Corrupt("tree keys out of order"));
        assert_eq!(reserved.map(drop), if refused { wanted } else { Ok(()) });
    }
}

/// What a root can say.
#[test]
fn roots_have_limits() {
    let entries: Vec<_> = (0..=INLINE).map(|key| entry(key, 7, 1)).collect();
    for count in 0..=INLINE as usize {
        let root = Root::above(1, &entries[..count]).expect("room");
        assert_eq!((root.level(), root.count()), (1, count));
        assert_eq!(root.is_empty(), count == 0);
        assert_eq!(root.sane(), count > 0);
        assert!(Root::above(0, &entries[..count]).is_ok_and(|root| root.sane()));
        let held = (0..count).map(|index| root.entry(index).expect("an entry"));
        assert!(held.eq(entries[..count].iter().copied()));
    }
    let full = Error::Corrupt("tree entry out of range");
    assert_eq!(Root::above(1, &entries).map(drop), Err(full));
    assert_eq!(Root::new_zeroed().entry(INLINE as usize), Err(full));

    for level in [0, MAX_LEVEL, MAX_LEVEL + 1] {
        let root = Root::above(level, &entries[..1]).expect("room");
        assert_eq!(root.sane(), level <= MAX_LEVEL);
    }
    let mut root = Root::new_zeroed();
    root.as_mut_bytes()[ROOT_COUNT] = INLINE as u8 + 1;
    assert!(!root.sane());

    // Level, three bytes that are reserved, the count, and two more.
    for reserved in [1, 2, 3, 6, 7] {
        let mut root = Root::above(1, &entries[..2]).expect("room");
        assert!(root.is_tidy());
        root.as_mut_bytes()[reserved] = 1;
        assert!(!root.is_tidy());
        root.tidy(false);
        assert!(root.is_tidy());
        assert_eq!((root.level(), root.count()), (1, 2));
        root.tidy(true);
        assert_eq!((root.level(), root.count()), (0, 0));
    }
}

/// What a node can say.
#[test]
fn nodes_have_limits() {
    let entries: Vec<_> = (0..=FANOUT).map(|key| entry(key, 7, 1)).collect();
    let node = Node::holding(9, 2, &entries[1..]).expect("room");
    assert_eq!((node.head.owner.get(), node.head.level()), (9, 2));
    assert_eq!(node.head.count(9, 2), Ok(169));
    assert_eq!(node.entry(168), Ok(entries[169]));
    let damaged = Error::Corrupt("tree node is damaged");
    assert_eq!(node.entry(169), Err(damaged));
    let full = Error::Corrupt("tree entry out of range");
    assert_eq!(Node::holding(9, 2, &entries).map(drop), Err(full));

    let mut node = Node::holding(9, 2, &entries[..1]).expect("room");
    assert!(node.is_tidy());
    let reserved = [LEVEL + 1]
        .into_iter()
        .chain(COUNT + 2..32)
        .chain(4088..4096);
    for reserved in reserved {
        node.as_mut_bytes()[reserved] = 1;
        assert!(!node.is_tidy(), "byte {reserved}");
        node.as_mut_bytes()[reserved] = 0;
    }
}

/// Keys are signed, where they are relative, and none is moved over the end of its numbers.
#[test]
fn keys_are_moved() {
    assert_eq!(raise(5, -7), Ok(-2i64 as u64));
    assert_eq!(raise(-2i64 as u64, 7), Ok(5));
    let over = Err(Error::Corrupt("tree key out of range"));
    assert_eq!(raise(i64::MAX as u64, 1), over);
    assert_eq!(raise(i64::MIN as u64, -1), over);
}
