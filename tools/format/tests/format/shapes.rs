// SPDX-License-Identifier: GPL-2.0

//! Trees of every shape that the format allows, and every operation on them to its end: none outgrows
//! a transaction, and what is there after each is sound. (Contract S3, S4; fault A6.)

use std::collections::BTreeMap;

use pinfs_format::{
    crash::Random,
    extents::{
        self,
        Extent,
        Progress,
        MAX_BLOCKS,
        UNWRITTEN, //
    },
    memory::Memory,
    namespace,
    offset_of,
    orphan,
    tree::{
        Entry,
        Node,
        Root,
        MAX_LEVEL, //
    },
    xattr::{
        self,
        Key,
        Mode,
        Namespace, //
    },
    Medium,
    Result,
    Time,
    Tx, //
};
use zerocopy::IntoBytes;

use crate::support::{
    name,
    request,
    Fs, //
};

/// File block to (device block, unwritten).
type Model = BTreeMap<u64, (u64, bool)>;

/// What stands in a node: the key in the root's numbers, the rest of the entry, and what must be added
/// to the keys beneath to have them in the root's numbers.
#[derive(Clone, Copy)]
struct Item {
    key: u64,
    value: u64,
    len: u32,
    flags: u32,
    total: i64,
}

impl Item {
    /// The entry for it in a node of level `level` whose keys lack `total`.
    fn entry(&self, level: u8, total: i64) -> Entry {
        let shift = self.total - total;
        let (len, flags) = match level {
            0 => (self.len, self.flags),
            _ => (shift as u32, (shift >> 32) as u32),
        };
        Entry {
            key: (self.key as i64 - total) as u64,
            value: self.value,
            len,
            flags,
        }
    }
}

/// How a tree is to look.
#[derive(Clone, Debug)]
struct Shape {
    extents: usize,
    levels: u8,
    /// How many entries a node has: one of these. Those under the root have what is left.
    widths: &'static [usize],
    /// Whether keys are relative.
    shifted: bool,
    /// Blocks between one extent and the next, at most.
    gap: u64,
}

/// Blocks in a row.
fn blocks(fs: &mut Fs<Memory>, len: u64) -> u64 {
    let run = fs.run(|tx| tx.alloc_blocks(request(len))).expect("blocks");
    assert_eq!(run.len, len);
    run.start
}

/// Stores a node whose keys lack `total`.
fn place(fs: &mut Fs<Memory>, ino: u64, level: u8, total: i64, items: &[Item]) -> Item {
    let entries: Vec<_> = items.iter().map(|item| item.entry(level, total)).collect();
    let mut node = Node::holding(ino, level, &entries).expect("a node");
    node.as_mut_bytes()[..4].copy_from_slice(b"pNod");
    let value = blocks(fs, 1);
    let medium = fs.volume.medium();
    medium
        .write(offset_of(value), node.as_bytes())
        .expect("a store");
    Item {
        key: items[0].key,
        value,
        len: 0,
        flags: 0,
        total,
    }
}

/// A file with a tree of that shape, and what it holds.
fn craft(shape: &Shape, random: &mut Random) -> (Fs<Memory>, u64, Model) {
    let mut fs = Fs::blind_of(3072);
    let ino = fs.create(b"file").expect("create");
    let free = fs.space.counts().free;
    let mut model = Model::new();
    let mut at = random.below(shape.gap + 1);
    let mut items = Vec::new();
    for _ in 0..shape.extents {
        let (len, unwritten) = (1 + random.below(3), random.once_in(2));
        items.push(Item {
            key: at,
            value: 0,
            len: len as u32,
            flags: if unwritten { UNWRITTEN } else { 0 },
            total: 0,
        });
        at += len + random.below(shape.gap + 1);
    }
    // Neighbours in the file are seldom neighbours on the device.
    let mut order: Vec<usize> = (0..shape.extents).collect();
    for index in (1..order.len()).rev() {
        order.swap(index, random.below(index as u64 + 1) as usize);
    }
    for index in order {
        let item = &mut items[index];
        let len = u64::from(item.len);
        item.value = blocks(&mut fs, len);
        let unwritten = item.flags != 0;
        model.extend((0..len).map(|i| (item.key + i, (item.value + i, unwritten))));
    }
    for level in 0..shape.levels {
        let mut above = Vec::new();
        let mut rest = items.as_slice();
        while !rest.is_empty() {
            let width = match level + 1 == shape.levels {
                true => items.len().div_ceil(4),
                false => shape.widths[random.below(shape.widths.len() as u64) as usize],
            };
            let (node, behind) = rest.split_at(width.min(rest.len()));
            let total = match shape.shifted {
                true => random.below(1 << 40) as i64 - (1 << 39),
                false => 0,
            };
            above.push(place(&mut fs, ino, level, total, node));
            rest = behind;
        }
        items = above;
    }
    let entries: Vec<_> = items
        .iter()
        .map(|item| item.entry(shape.levels, 0))
        .collect();
    let root = Root::above(shape.levels, &entries).expect("a root");
    let used = free - fs.space.counts().free;
    fs.run(|tx| {
        let inode = tx.inode_mut(ino)?;
        inode.root = root;
        inode.blocks.set(used);
        inode.size.set(at * 4096);
        Ok(())
    })
    .expect("a tree");
    (fs, ino, model)
}

fn compare(fs: &mut Fs<Memory>, ino: u64, model: &Model, what: &str) {
    let contents = fs.check();
    let extents = &contents.objects[&ino].extents;
    let found: Model = extents
        .iter()
        .flat_map(|extent: &Extent| {
            (0..extent.len).map(|i| (extent.lblock + i, (extent.block + i, extent.unwritten)))
        })
        .collect();
    let wrong = found
        .iter()
        .find(|(at, there)| model.get(at) != Some(there));
    let lost = model
        .iter()
        .find(|(at, there)| found.get(at) != Some(there));
    assert_eq!((wrong, lost), (None, None), "{what}");
}

/// Does an operation to its end, and looks at what is there after every transaction.
fn to_the_end(
    fs: &mut Fs<Memory>,
    what: &str,
    mut step: impl FnMut(&mut Tx<'_, Memory>, u64) -> Result<Progress>,
    mut from: u64,
) {
    for _ in 0..10_000 {
        match fs.run(|tx| step(tx, from)) {
            Ok(Progress::Done) => return,
            Ok(Progress::More(next)) => from = next,
            Err(error) => panic!("{what}: {error:?}"),
        }
        fs.check();
    }
    panic!("{what} does not end");
}

fn done(over: bool) -> Progress {
    match over {
        true => Progress::Done,
        false => Progress::More(0),
    }
}

/// Every operation on a file of that shape.
fn every_operation(shape: &Shape, seed: u64) {
    let (fs, ino, model) = craft(shape, &mut Random::new(seed));
    let image = fs.volume.medium().image();
    let mut random = Random::new(seed ^ 77);
    let end = model.keys().next_back().expect("a block") + 1;
    let mut a = random.below(end);
    let mut b = random.below(end);
    if a > b {
        std::mem::swap(&mut a, &mut b);
    }
    let ranges = [
        (0, end),
        (a, b + 1),
        (1, end.max(2) - 1),
        (end / 2, end / 2 + 1),
    ];
    let fresh = || Fs::mount(Memory::blind(image.clone())).0;
    compare(&mut fresh(), ino, &model, "as it was made");

    for (from, to) in ranges.into_iter().filter(|(from, to)| from < to) {
        let what = format!("{shape:?} {seed}: remove {from}..{to}");
        let (mut fs, mut rest) = (fresh(), model.clone());
        to_the_end(
            &mut fs,
            &what,
            |tx, at| extents::remove(tx, ino, at, to),
            from,
        );
        rest.retain(|at, _| !(from..to).contains(at));
        compare(&mut fs, ino, &rest, &what);

        for unwritten in [false, true] {
            let what = format!("{shape:?} {seed}: unwritten {unwritten} {from}..{to}");
            let (mut fs, mut model) = (fresh(), model.clone());
            let mark = if unwritten {
                extents::mark_unwritten
            } else {
                extents::mark_written
            };
            to_the_end(&mut fs, &what, |tx, at| mark(tx, ino, at, to), from);
            for (_, marked) in model.range_mut(from..to) {
                marked.1 = unwritten;
            }
            compare(&mut fs, ino, &model, &what);
        }

        if to < end {
            let what = format!("{shape:?} {seed}: collapse {from}..{to}");
            let mut fs = fresh();
            to_the_end(
                &mut fs,
                &what,
                |tx, _| extents::collapse(tx, ino, from, to),
                0,
            );
            let below = model.range(..from).map(|(&at, &value)| (at, value));
            let behind = model.range(to..);
            let behind = behind.map(|(&at, &value)| (at - (to - from), value));
            let model = below.chain(behind).collect();
            compare(&mut fs, ino, &model, &what);
        }

        let what = format!("{shape:?} {seed}: insert at {from}");
        let mut fs = fresh();
        let len = to - from;
        let inserted = fs.run(|tx| extents::insert_range(tx, ino, from, len));
        assert_eq!(inserted, Ok(()), "{what}");
        let moved = model.iter();
        let moved = moved.map(|(&at, &value)| (if at < from { at } else { at + len }, value));
        compare(&mut fs, ino, &moved.collect(), &what);
    }

    let what = format!("{shape:?} {seed}: truncate");
    let mut fs = fresh();
    fs.run(|tx| {
        tx.inode_mut(ino)?.size.set(a * 4096);
        orphan::add(tx, ino)
    })
    .expect("a size");
    to_the_end(&mut fs, &what, |tx, _| orphan::trim(tx, ino).map(done), 0);
    let mut cut = model.clone();
    cut.retain(|&at, _| at < a);
    compare(&mut fs, ino, &cut, &what);

    let what = format!("{shape:?} {seed}: unlink");
    let mut fs = fresh();
    attributes_of(&mut fs, ino);
    let root = fs.root();
    fs.run(|tx| namespace::unlink(tx, root, name(b"file"), Time::default()))
        .expect("unlink");
    to_the_end(&mut fs, &what, |tx, _| orphan::reap(tx, ino).map(done), 0);
    assert_eq!(fs.check().objects.len(), 1);
}

/// Gives a file attributes whose values are in blocks all over the place.
fn attributes_of(fs: &mut Fs<Memory>, ino: u64) {
    for index in 0..6u8 {
        let key = [b'a' + index];
        let key = Key::new(Namespace::User, &key).expect("a key");
        let set = fs.run(|tx| xattr::set(tx, ino, key, &[index; 20_000], Mode::Any));
        set.expect("an attribute");
    }
}

/// Each extent has nodes of its own up to the root, as deep as it can be.
#[test]
fn s3_lonely_entries_in_the_deepest_trees() {
    for levels in 1..=MAX_LEVEL {
        for (seed, shifted) in [(1, false), (2, true)] {
            let shape = Shape {
                extents: 90,
                levels,
                widths: &[1],
                shifted,
                gap: 3,
            };
            every_operation(&shape, seed);
        }
    }
}

/// Nodes with one entry beside full ones.
#[test]
fn s3_trees_of_any_shape() {
    const WIDTHS: [&[usize]; 4] = [&[1, 1, 2], &[1, 169], &[2, 12, 13, 84], &[1, 1, 1, 40]];
    for seed in 0..24 {
        let mut random = Random::new(seed);
        let shape = Shape {
            extents: 20 + random.below(180) as usize,
            levels: 1 + random.below(u64::from(MAX_LEVEL)) as u8,
            widths: WIDTHS[random.below(4) as usize],
            shifted: random.once_in(2),
            gap: [0, 2, 1000][random.below(3) as usize],
        };
        every_operation(&shape, seed);
    }
}

/// What an ordinary user can do to a file: many extents, of which few are left in each node.
#[test]
fn s3_a_sparse_tree_is_cut_and_freed() {
    let mut fs = Fs::sparse(20_000);
    let ino = fs.create(b"file").expect("create");
    let root = fs.root();
    const COUNT: u64 = 12_000;
    for at in (0..COUNT).rev() {
        fs.allocate(ino, 2 * at, 1).expect("a block");
    }
    // One of 85 stays, then one of 700.
    for keep in [85, 700] {
        for at in (0..COUNT).filter(|at| at % keep != 0) {
            let removed = fs.run(|tx| extents::remove(tx, ino, 2 * at, 2 * at + 1));
            assert_eq!(removed, Ok(Progress::Done), "{at}");
        }
        // Nodes with few entries do not stay.
        let extents = fs.check().objects[&ino].extents.len() as u64;
        let nodes = fs.inode(ino).blocks.get() - extents;
        assert!(
            nodes <= extents / 4 + 8,
            "{nodes} nodes of {extents} extents"
        );
    }
    fs.run(|tx| namespace::unlink(tx, root, name(b"file"), Time::default()))
        .expect("unlink");
    to_the_end(
        &mut fs,
        "unlink",
        |tx, _| orphan::reap(tx, ino).map(done),
        0,
    );
    assert_eq!(fs.check().objects.len(), 1);
}

/// All nodes on the way are full, and an extent is cut in two or three: each is split.
#[test]
fn s3_full_nodes_are_split_on_the_way() {
    let entry = |key, value, len, flags| Entry {
        key,
        value,
        len,
        flags,
    };
    for (convert, at) in [(false, 0), (false, 30), (true, 0), (true, 30), (true, 168)] {
        let mut fs = Fs::blind_of(2048);
        let ino = fs.create(b"file").expect("create");
        let grown = fs.run(|tx| {
            let data = tx.alloc_blocks(request(169 * 3))?.start;
            let store = |tx: &mut Tx<'_, Memory>, level, entries: &[Entry]| {
                let block = tx.alloc_blocks(request(1))?.start;
                let mut node = Node::holding(ino, level, entries)?;
                node.as_mut_bytes()[..4].copy_from_slice(b"pNod");
                tx.volume()
                    .medium()
                    .write(offset_of(block), node.as_bytes())?;
                Ok(block)
            };
            let leaf: Vec<_> = (0..169)
                .map(|i| entry(5 * i, data + 3 * i, 3, UNWRITTEN))
                .collect();
            let mut beneath = store(tx, 0, &leaf)?;
            let next = store(tx, 0, &[entry(1000, data, 1, 0)])?;
            for level in 1..MAX_LEVEL {
                let others = (1..169).map(|i| entry(i * 1000u64.pow(level.into()), next, 0, 0));
                let node: Vec<_> = [entry(0, beneath, 0, 0)]
                    .into_iter()
                    .chain(others)
                    .collect();
                beneath = store(tx, level, &node)?;
            }
            let inode = tx.inode_mut(ino)?;
            inode.root = Root::above(MAX_LEVEL, &[entry(0, beneath, 0, 0)])?;
            inode.blocks.set(1000);
            inode.size.set(1000 * 4096);
            Ok(())
        });
        grown.expect("a tree");
        let at = 5 * at + 1;
        let result = match convert {
            true => fs.run(|tx| extents::mark_written(tx, ino, at, at + 1)),
            false => fs.run(|tx| extents::remove(tx, ino, at, at + 1)),
        };
        assert_eq!(result, Ok(Progress::Done), "{convert} {at}");
        assert!(MAX_BLOCKS > at);
    }
}
