// SPDX-License-Identifier: GPL-2.0

//! Looking at one inode: what it holds, what of it can be believed, and what is wrong.

use std::collections::BTreeSet;

use pinfs_format::{
    dir::{
        self,
        Found,
        Leaf, //
    },
    extents::{
        Extent,
        MAX_BLOCKS,
        UNWRITTEN, //
    },
    inode::{
        self,
        Stamp,
        COLLAPSING,
        INLINE_TARGET,
        LINK_MAX,
        ORPHAN,
        S_IFDIR,
        S_IFLNK,
        S_IFMT,
        S_IFREG, //
    },
    offset_of,
    symlink::{
        self,
        Target, //
    },
    tree::{
        self,
        Entry,
        Node,
        Root,
        MAX_LEVEL, //
    },
    volume::{
        inode_offset,
        Object,
        Seal, //
    },
    xattr::{
        self,
        Key,
        Namespace, //
    },
    Error,
    Inode,
    Medium,
    Name,
    Result,
    Time,
    Volume,
    BLOCK_SIZE, //
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

use crate::report::{
    self,
    printable, //
};

/// Nanoseconds of a second.
const NSEC: u32 = 1_000_000_000;

/// The largest size of a file.
const SIZE_MAX: u64 = i64::MAX as u64;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirName {
    /// Cookie, inode and type.
    pub found: Found,
    /// The name itself.
    pub bytes: Vec<u8>,
}

/// What an inode holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// Nothing: a special file.
    Nothing,
    /// Extents, in order and apart.
    File(Vec<Extent>),
    /// Names in the order of their cookies.
    Dir(Vec<DirName>),
    /// A target in the inode.
    ShortLink,
    /// A target in a block.
    Link(Vec<u8>),
}

/// An extended attribute: namespace, name, value.
pub type Attribute = (Namespace, Vec<u8>, Vec<u8>);

/// Something wrong with an inode.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub off: u64,
    pub what: String,
    pub loss: bool,
}

/// What an inode is, after the faults that can be seen in it alone are mended.
#[derive(Clone)]
pub struct Plan {
    pub inode: Inode,
    pub content: Content,
    /// Blocks of tree nodes, leaves, the target.
    pub meta: Vec<u64>,
    /// Blocks of extended attributes.
    pub attribute_blocks: Vec<u64>,
    /// Attributes to set anew, because their blocks cannot stay.
    pub attributes: Vec<Attribute>,
    /// The tree does not stand as `content` says: it must be made anew.
    pub rebuild: bool,
    pub troubles: Vec<Trouble>,
}

impl Plan {
    /// What the inode would own if nothing were changed.
    pub fn owned(&self) -> u64 {
        let data = match &self.content {
            Content::File(extents) => extents.iter().map(|extent| extent.len).sum(),
            _ => 0,
        };
        data + (self.meta.len() + self.attribute_blocks.len()) as u64
    }

    pub fn ino(&self) -> u64 {
        self.inode.ino()
    }

    pub fn trouble(&mut self, off: u64, loss: bool, what: impl Into<String>) {
        self.troubles.push(Trouble {
            off,
            what: what.into(),
            loss,
        });
    }

    fn spoil(&mut self, off: u64, loss: bool, what: impl Into<String>) {
        self.trouble(off, loss, what);
        self.rebuild = true;
    }
}

/// How far the inode at a place can be believed.
pub enum Raw {
    /// The checksum is right.
    Sealed(Inode),
    /// It is not, but everything else could be.
    Plausible(Inode),
    /// No inode.
    None,
}

/// Reads the inode `ino`, whose place was checked.
pub fn raw<M: Medium>(volume: &Volume<M>, ino: u64) -> Result<Raw> {
    let off = inode_offset(ino);
    let inode: Inode = volume.plain(off)?;
    let sealed = volume.verify::<Inode>(off, inode.as_bytes()).is_ok();
    let magic = Seal::read_from_prefix(inode.as_bytes())
        .is_ok_and(|(seal, _)| seal.magic.get() == Inode::MAGIC);
    let kind = inode.mode.get() & S_IFMT;
    let known = matches!(kind >> 12, 1 | 2 | 4 | 6 | 8 | 10 | 12);
    Ok(if inode.ino() != ino || !known || !magic {
        Raw::None
    } else if sealed {
        Raw::Sealed(inode)
    } else {
        Raw::Plausible(inode)
    })
}

/// Looks at an inode and everything that hangs on it.
pub fn examine<M: Medium>(volume: &Volume<M>, inode: Inode, sealed: bool) -> Result<Plan> {
    let off = inode_offset(inode.ino());
    let mut plan = Plan {
        inode,
        content: Content::Nothing,
        meta: Vec::new(),
        attribute_blocks: Vec::new(),
        attributes: Vec::new(),
        rebuild: false,
        troubles: Vec::new(),
    };
    if !sealed {
        plan.trouble(
            off,
            true,
            "inode checksum is wrong; what can be used is kept",
        );
        // Whatever the flipped bits were, they must not give anybody rights.
        let mode = plan.inode.mode.get() & !0o6000;
        plan.inode.mode.set(mode);
    }
    fields(&mut plan, off);
    attributes(volume, &mut plan)?;
    match plan.inode.kind() {
        S_IFREG => file(volume, &mut plan)?,
        S_IFDIR => directory(volume, &mut plan)?,
        S_IFLNK => link(volume, &mut plan)?,
        _ => {
            if !plan.inode.root.is_empty() || plan.inode.root.level() != 0 {
                plan.spoil(off, false, "special file has blocks; forgotten");
            }
        }
    }
    if !plan.rebuild && plan.inode.blocks.get() != plan.owned() {
        let (counted, found) = (plan.inode.blocks.get(), plan.owned());
        let counted = report::count(counted, "block is", "blocks are");
        let what = format!("{counted} counted, {found} found; corrected");
        plan.trouble(off, false, what);
        plan.inode.blocks.set(found);
    }
    Ok(plan)
}

/// The blocks of an inode's extended attributes, and whether all of them are good.
fn attribute_blocks<M: Medium>(volume: &Volume<M>, inode: &Inode) -> Result<(Vec<u64>, bool)> {
    let mut seen = BTreeSet::new();
    let mut blocks = Vec::new();
    let mut twice = false;
    let walked = xattr::blocks(volume, inode, |block, _| {
        let new = seen.insert(block);
        twice |= !new;
        blocks.push(block);
        new
    });
    match walked {
        Err(Error::Io) => Err(Error::Io),
        walked => Ok((blocks, walked.is_ok() && !twice)),
    }
}

/// The extended attributes that can be read, and whether those are all.
pub fn read_attributes<M: Medium>(
    volume: &Volume<M>,
    inode: &Inode,
) -> Result<(Vec<Attribute>, bool)> {
    let mut names = Vec::new();
    let listed = xattr::list(volume, inode, |key| {
        let name = (key.space(), key.name().to_vec());
        let new = !names.contains(&name);
        names.push(name);
        new
    });
    let mut good = listed.is_ok();
    let mut found: Vec<Attribute> = Vec::new();
    let mut value = vec![0; xattr::VALUE_MAX];
    for (space, name) in names {
        let twice = found
            .iter()
            .any(|other| other.0 == space && other.1 == name);
        let read =
            Key::new(space, &name).and_then(|key| xattr::get(volume, inode, key, &mut value));
        match read {
            Err(Error::Io) => return Err(Error::Io),
            Ok(len) if !twice => found.push((space, name, value[..len].to_vec())),
            _ => good = false,
        }
    }
    Ok((found, good))
}

fn attributes<M: Medium>(volume: &Volume<M>, plan: &mut Plan) -> Result {
    if plan.inode.xattr.get() == 0 {
        return Ok(());
    }
    let (blocks, walked) = attribute_blocks(volume, &plan.inode)?;
    let (found, read) = read_attributes(volume, &plan.inode)?;
    if walked && read {
        plan.attribute_blocks = blocks;
        return Ok(());
    }
    let kept = report::count(found.len() as u64, "is", "are");
    let what = format!("extended attributes are damaged; {kept} kept");
    plan.trouble(inode_offset(plan.ino()), true, what);
    plan.attributes = found;
    plan.inode.xattr.set(0);
    Ok(())
}

fn fields(plan: &mut Plan, off: u64) {
    let kind = plan.inode.kind();
    if plan.inode.mode.get() & !0o177_777 != 0 {
        plan.trouble(off, false, "mode has unknown bits; cleared");
        plan.inode.mode.set(plan.inode.mode.get() & 0o177_777);
    }
    let known = match kind {
        S_IFLNK => INLINE_TARGET | ORPHAN,
        S_IFREG => COLLAPSING | ORPHAN,
        _ => ORPHAN,
    } | inode::settable(plan.inode.mode.get());
    if plan.inode.flags.get() & !known != 0 {
        plan.trouble(off, false, "flags that cannot be; cleared");
        plan.inode.flags.set(plan.inode.flags.get() & known);
    }
    for stamp in [Stamp::Access, Stamp::Modify, Stamp::Change, Stamp::Birth] {
        let time = plan.inode.time(stamp);
        if time.nsec >= NSEC {
            plan.trouble(off, false, "a time has too many nanoseconds; set to none");
            let version = plan.inode.version;
            plan.inode.set_time(stamp, Time { nsec: 0, ..time });
            plan.inode.version = version;
        }
    }
    if let Some(range) = plan.inode.collapsing() {
        let blocks = plan.inode.size.get() / BLOCK_SIZE;
        if range.is_empty() || range.end > blocks || !plan.inode.is_orphan() {
            let what = "says that a range is being taken out of it that cannot be; cleared";
            plan.trouble(off, false, what);
            plan.inode.set_collapsing(None);
        }
    }
    if kind != S_IFDIR && plan.inode.collapsing().is_none() && plan.inode.parent.get() != 0 {
        plan.trouble(off, false, "not a directory, but has a parent; cleared");
        plan.inode.parent.set(0);
    }
    match (kind, plan.inode.size.get()) {
        (S_IFREG | S_IFLNK, size) if size > SIZE_MAX => {
            let what = "size is too large; set to the end of the last extent";
            plan.trouble(off, true, what);
            plan.inode.size.set(u64::MAX);
        }
        (S_IFDIR | S_IFREG | S_IFLNK, _) | (_, 0) => {}
        _ => {
            plan.trouble(off, false, "a special file has a size; cleared");
            plan.inode.size.set(0);
        }
    }
    if plan.inode.nlink.get() > LINK_MAX {
        plan.trouble(off, false, "link count is too large; counted anew");
        plan.inode.nlink.set(LINK_MAX);
    }
    let linked = plan.inode.orphan_next.get() != 0 || plan.inode.orphan_prev.get() != 0;
    if linked && !plan.inode.is_orphan() {
        plan.trouble(
            off,
            false,
            "linked into the orphan list without being on it; cleared",
        );
        plan.inode.orphan_next.set(0);
        plan.inode.orphan_prev.set(0);
    }
    let short = kind == S_IFLNK && plan.inode.flags.get() & INLINE_TARGET != 0;
    let bare = plan.inode.root.is_empty() && plan.inode.root.level() == 0;
    if !plan.inode.root.is_tidy() || (short && !bare) {
        plan.trouble(
            off,
            false,
            "reserved fields of the tree's root are not zero; cleared",
        );
        let mut root = plan.inode.root;
        root.tidy(short);
        plan.inode.root = root;
    }
    if !plan.inode.root.sane() {
        plan.spoil(
            off,
            true,
            "the tree's root has an impossible level or count",
        );
    }
}

/// Where a structure of one block stands between good and useless.
enum State {
    Good,
    /// The checksum is wrong, kind and owner are right.
    Doubtful,
}

/// Reads a block that should hold a `T`.
fn block<M: Medium, T: Object>(volume: &Volume<M>, block: u64) -> Result<Option<(Box<T>, State)>> {
    if !volume.geometry().in_data(block, 1) {
        return Ok(None);
    }
    let mut object = Box::new(T::new_zeroed());
    volume
        .medium()
        .read(offset_of(block), object.as_mut_bytes())?;
    let good = volume.verify::<T>(offset_of(block), object.as_bytes());
    let magic = Seal::read_from_prefix(object.as_bytes())
        .is_ok_and(|(seal, _)| seal.magic.get() == T::MAGIC);
    Ok(match (good.is_ok(), magic) {
        (true, _) => Some((object, State::Good)),
        (false, true) => Some((object, State::Doubtful)),
        (false, false) => None,
    })
}

/// Collects the entries of the tree's leaves, in whatever order they are found.
fn entries<M: Medium>(volume: &Volume<M>, plan: &mut Plan) -> Result<Vec<Entry>> {
    let ino = plan.ino();
    let root: Root = plan.inode.root;
    // Names know their places. Blocks of a file do not: with another key they are other contents.
    let guess = plan.inode.kind() == S_IFREG;
    let mut seen = BTreeSet::new();
    let mut found: Vec<Entry> = Vec::new();
    // The last in is the next out, so the leaves come from left to right.
    let mut todo: Vec<Step> = Vec::new();
    let level = root.level().min(MAX_LEVEL);
    // What a count that cannot be has more of was said to be lost.
    let own = (0..root.count()).map_while(|index| root.entry(index).ok());
    let all = Step {
        entry: Entry {
            key: 0,
            value: 0,
            len: 0,
            flags: 0,
        },
        level,
        least: 0,
        above: None,
        shift: 0,
    };
    spread(own.collect(), &all, &mut todo, &mut found);
    while let Some(mut step) = todo.pop() {
        let entry = step.entry;
        let off = offset_of(entry.value.min(volume.geometry().blocks));
        let Some((node, state)) = block::<M, Node>(volume, entry.value)? else {
            plan.spoil(off, true, "tree node is damaged; what hangs on it is lost");
            continue;
        };
        if node.head.owner.get() != ino || node.head.level() != step.level {
            plan.spoil(
                off,
                true,
                "tree node is another's, or of another level; not used",
            );
            continue;
        }
        if !seen.insert(entry.value) {
            plan.spoil(off, false, "tree node is there twice; once used");
            continue;
        }
        plan.meta.push(entry.value);
        if matches!(state, State::Doubtful) {
            plan.spoil(
                off,
                true,
                "tree node checksum is wrong; what can be used is kept",
            );
        }
        if !node.is_tidy() {
            plan.spoil(
                off,
                false,
                "reserved fields of a tree node are not zero; made anew",
            );
        }
        let count = usize::from(node.head.count.get());
        let own: Vec<Entry> = (0..count)
            .map_while(|index| node.entry(index).ok())
            .collect();
        if own.len() < count {
            let entries = report::count(count as u64, "entry", "entries");
            let what = format!("tree node counts {entries}; those that it can have are kept");
            plan.spoil(off, true, what);
        }
        if step.settle_shift(&own) {
            plan.spoil(
                off,
                guess,
                "keys of a tree node are not those that lead to it; those that fit are kept",
            );
        }
        let all: Vec<Entry> = own.iter().filter_map(|entry| step.raised(entry)).collect();
        if all.len() < own.len() {
            let keys = report::count((own.len() - all.len()) as u64, "key", "keys");
            let what = format!("{keys} of a tree node cannot be; dropped");
            plan.spoil(off, true, what);
        }
        let last = all.last().map(|last| last.key);
        let ordered = all.windows(2).all(|pair| pair[0].key < pair[1].key);
        let inside = step
            .above
            .is_none_or(|above| last.is_some_and(|last| last < above));
        if all.is_empty() || !ordered || !inside {
            plan.spoil(
                off,
                guess,
                "keys of a tree node are out of order; made anew",
            );
        }
        spread(all, &step, &mut todo, &mut found);
    }
    if !found.windows(2).all(|pair| pair[0].key < pair[1].key) {
        let off = inode_offset(ino);
        plan.spoil(off, guess, "keys of the tree are out of order; made anew");
        found.sort_by_key(|entry| entry.key);
    }
    Ok(found)
}

/// A node to look at.
struct Step {
    /// What points to it.
    entry: Entry,
    level: u8,
    /// The least key that it can have.
    least: u64,
    /// The key behind it.
    above: Option<u64>,
    /// What must be added to its keys.
    shift: i64,
}

impl Step {
    /// An entry of the node with its key as it is in the tree, if that can be.
    fn raised(&self, entry: &Entry) -> Option<Entry> {
        let key = tree::raise(entry.key, self.shift).ok()?;
        // Unmoved keys are what they are; a file has none below 0.
        let below = self.shift != 0 && (key as i64) < 0;
        (!below).then_some(Entry { key, ..*entry })
    }

    /// Whether all keys of the node stand between those beside it.
    fn fits(&self, own: &[Entry]) -> bool {
        let keys: Option<Vec<u64>> = own
            .iter()
            .map(|entry| self.raised(entry).map(|entry| entry.key))
            .collect();
        keys.is_some_and(|keys| {
            keys.iter()
                .all(|&key| key >= self.least && self.above.is_none_or(|above| key < above))
        })
    }

    /// If the first key of the node and the one that leads to it disagree, decides which to believe.
    /// Where only one fits it is that one. Where both do, what is added to the keys is wrong, unless
    /// that is nothing, as it mostly is. Returns whether they disagree.
    fn settle_shift(&mut self, own: &[Entry]) -> bool {
        let Some(first) = own.first() else {
            return false;
        };
        if self
            .raised(first)
            .is_some_and(|first| first.key == self.entry.key)
        {
            return false;
        }
        if self.shift != 0 || !self.fits(own) {
            let shift = (self.entry.key as i64).checked_sub(first.key as i64);
            let led = Step {
                shift: shift.unwrap_or(self.shift),
                ..*self
            };
            if led.fits(own) {
                *self = led;
            }
        }
        true
    }
}

/// Sends the entries of a node to where they belong.
fn spread(entries: Vec<Entry>, node: &Step, todo: &mut Vec<Step>, found: &mut Vec<Entry>) {
    let Some(level) = node.level.checked_sub(1) else {
        found.extend(entries);
        return;
    };
    let keys: Vec<u64> = entries.iter().map(|entry| entry.key).collect();
    for (index, entry) in entries.into_iter().enumerate().rev() {
        let before = index.checked_sub(1).and_then(|index| keys.get(index));
        todo.push(Step {
            entry,
            level,
            least: before.map_or(node.least, |before| before.saturating_add(1)),
            above: keys.get(index + 1).copied().or(node.above),
            // A sum that cannot be is no worse than another wrong one: the keys will not fit.
            shift: node.shift.saturating_add(entry.shift()),
        });
    }
}

fn file<M: Medium>(volume: &Volume<M>, plan: &mut Plan) -> Result {
    let off = inode_offset(plan.ino());
    let mut extents: Vec<Extent> = Vec::new();
    for entry in entries(volume, plan)? {
        let at = entry.key.saturating_mul(BLOCK_SIZE);
        let Ok(extent) = Extent::from_entry(entry, volume.geometry()) else {
            let what = format!("extent at byte {at} is outside the file system; dropped");
            plan.spoil(off, true, what);
            continue;
        };
        if entry.flags & !UNWRITTEN != 0 {
            plan.spoil(off, false, "extent has unknown flags; cleared");
        }
        if extents
            .last()
            .is_some_and(|last| last.end() > extent.lblock)
        {
            let what = format!("extent at byte {at} overlaps the one before; dropped");
            plan.spoil(off, true, what);
            continue;
        }
        extents.push(extent);
    }
    if plan.inode.size.get() > SIZE_MAX {
        let end = extents.last().map_or(0, Extent::end).min(MAX_BLOCKS - 1);
        plan.inode.size.set(end * BLOCK_SIZE);
    }
    plan.content = Content::File(extents);
    Ok(())
}

fn link<M: Medium>(volume: &Volume<M>, plan: &mut Plan) -> Result {
    let off = inode_offset(plan.ino());
    let size = plan.inode.size.get();
    if plan.inode.flags.get() & INLINE_TARGET != 0 {
        let mut buf = vec![0; symlink::MAX];
        if symlink::read(volume, &plan.inode, &mut buf).is_ok() {
            plan.content = Content::ShortLink;
        } else {
            plan.spoil(off, true, "symbolic link has no good target; removed");
        }
        return Ok(());
    }
    let found = entries(volume, plan)?;
    let straight = matches!(&found[..], [entry] if (entry.key, entry.len, entry.flags) == (0, 1, 0))
        && plan.inode.root.level() == 0;
    if !straight {
        plan.spoil(
            off,
            false,
            "tree of a symbolic link is not one block; made anew",
        );
    }
    for entry in found {
        let at = offset_of(entry.value.min(volume.geometry().blocks));
        let Some((target, state)) = block::<M, Target>(volume, entry.value)? else {
            continue;
        };
        let text = target.bytes.get(..size as usize);
        let Some(text) = text.filter(|text| !text.is_empty() && !text.contains(&0)) else {
            continue;
        };
        if target.owner.get() != plan.ino() {
            continue;
        }
        if matches!(state, State::Doubtful) {
            plan.spoil(
                at,
                true,
                "checksum of the link target is wrong; kept as it is",
            );
        }
        plan.meta.push(entry.value);
        plan.content = Content::Link(text.to_vec());
        return Ok(());
    }
    plan.spoil(off, true, "symbolic link has no good target; removed");
    Ok(())
}

fn directory<M: Medium>(volume: &Volume<M>, plan: &mut Plan) -> Result {
    let ino = plan.ino();
    let found = entries(volume, plan)?;
    let mut names: Vec<DirName> = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, entry) in found.iter().enumerate() {
        let off = offset_of(entry.value.min(volume.geometry().blocks));
        let Some((leaf, state)) = block::<M, Leaf>(volume, entry.value)? else {
            plan.spoil(off, true, "directory leaf is damaged; its names are lost");
            continue;
        };
        if leaf.head.owner.get() != ino {
            plan.spoil(off, true, "directory leaf is another's; not used");
            continue;
        }
        if !seen.insert(entry.value) {
            plan.spoil(off, false, "directory leaf is there twice; once used");
            continue;
        }
        plan.meta.push(entry.value);
        if matches!(state, State::Doubtful) {
            plan.spoil(
                off,
                true,
                "directory leaf checksum is wrong; what can be used is kept",
            );
        }
        let spare = leaf.head.reserved != [0; 10] || (entry.len, entry.flags) != (0, 0);
        if spare {
            plan.spoil(
                off,
                false,
                "reserved fields of a directory leaf are not zero; made anew",
            );
        }
        let limit = found.get(index + 1).map_or(u64::MAX, |next| next.key);
        let first = names.len();
        let count = leaf.len().min(BLOCK_SIZE as usize / 2);
        for slot in 0..count {
            let Ok((found, bytes)) = leaf.name(slot) else {
                plan.spoil(off, true, "a name stands outside its directory leaf; lost");
                continue;
            };
            keep(
                volume,
                plan,
                off,
                &mut names,
                found,
                bytes,
                entry.key..limit,
            );
        }
        if names.len() == first {
            plan.spoil(off, false, "directory leaf is empty; removed");
        } else if leaf.live_bytes() != Ok(leaf.counted_bytes()) {
            plan.spoil(
                off,
                false,
                "directory leaf counts its bytes wrongly; made anew",
            );
        }
    }
    // Cookies that are out of order stand in a rebuilt tree only.
    if plan.rebuild {
        normalize(volume, plan, &mut names);
    }
    plan.content = Content::Dir(names);
    Ok(())
}

/// Takes a name that can be one.
fn keep<M: Medium>(
    volume: &Volume<M>,
    plan: &mut Plan,
    off: u64,
    names: &mut Vec<DirName>,
    mut found: Found,
    bytes: &[u8],
    keys: std::ops::Range<u64>,
) {
    let Ok(name) = Name::new(bytes) else {
        let what = format!("'{}' cannot be a name; dropped", printable(bytes));
        plan.spoil(off, true, what);
        return;
    };
    if !dir::has_hash(volume.geometry(), name, found.cookie) {
        let what = format!("'{}' is not where its hash says; moved", printable(bytes));
        plan.spoil(off, false, what);
        found.cookie = dir::first_cookie(volume.geometry(), name);
    } else if !keys.contains(&found.cookie) {
        let what = format!("'{}' is in a wrong directory leaf; moved", printable(bytes));
        plan.spoil(off, false, what);
    }
    if let Some(last) = names.last() {
        if last.found.cookie >= found.cookie {
            plan.spoil(
                off,
                false,
                "names of a directory are out of order; made anew",
            );
        }
    }
    // Names of equal hash are neighbours, so a name that is there twice is near.
    let same = |other: &&DirName| dir::same_hash(other.found.cookie, found.cookie);
    if names
        .iter()
        .rev()
        .take_while(same)
        .any(|other| other.bytes == bytes)
    {
        let what = format!(
            "'{}' is there twice; the second is dropped",
            printable(bytes)
        );
        plan.spoil(off, true, what);
        return;
    }
    names.push(DirName {
        found,
        bytes: bytes.to_vec(),
    });
}

/// Puts names into the order of their cookies, each name and each cookie once.
pub fn normalize<M: Medium>(volume: &Volume<M>, plan: &mut Plan, names: &mut Vec<DirName>) {
    names.sort_by(|a, b| {
        let key = |name: &DirName| (dir::base(name.found.cookie), name.found.cookie);
        key(a).cmp(&key(b)).then_with(|| a.bytes.cmp(&b.bytes))
    });
    let off = inode_offset(plan.ino());
    let old = std::mem::take(names);
    for mut name in old {
        let group = names
            .iter()
            .rev()
            .take_while(|other| dir::same_hash(other.found.cookie, name.found.cookie));
        if group.clone().any(|other| other.bytes == name.bytes) {
            let what = format!(
                "'{}' is there twice; the second is dropped",
                printable(&name.bytes)
            );
            plan.trouble(off, true, what);
            continue;
        }
        if let Some(last) = group.clone().next() {
            if last.found.cookie >= name.found.cookie {
                let next = last.found.cookie + 1;
                if !dir::same_hash(next, last.found.cookie) {
                    let what = format!("no room for '{}'; dropped", printable(&name.bytes));
                    plan.trouble(off, true, what);
                    continue;
                }
                name.found.cookie = next;
            }
        }
        debug_assert!(Name::new(&name.bytes).is_ok_and(|n| dir::has_hash(
            volume.geometry(),
            n,
            name.found.cookie
        )));
        names.push(name);
    }
}
