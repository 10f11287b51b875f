// SPDX-License-Identifier: GPL-2.0

//! Directories.
//!
//! The tree of a directory maps cookies to leaves: a leaf holds the names whose cookies are not
//! below its key and below the next leaf's. In a leaf, names stand in the order they came in,
//! growing up from the start of its body; an array of 2-byte slots, in the order of the cookies,
//! grows down from the end. So adding a name changes few words, and finding one is a binary search.
//!
//! Names of equal hash are always in one leaf.
//!
//! Locks: the inode lock of the directory, shared for [`lookup`] and [`read`], exclusive for the
//! rest.

use core::ops::{
    Deref,
    Range, //
};

use zerocopy::{
    little_endian::{
        U16,
        U64, //
    },
    FromBytes,
    FromZeros,
    IntoBytes, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use super::{
    inode::S_IFMT,
    journal::LINE,
    name::{
        hash,
        HASH_BITS,
        NAME_MAX, //
    },
    offset_of,
    space::mask,
    tree::{
        self,
        Entry, //
    },
    volume::{
        Object,
        Seal, //
    },
    Error,
    Geometry,
    Inode,
    Medium,
    Name,
    Result,
    Tx,
    Volume,
    BLOCK_SIZE, //
};

/// Bits of a cookie that tell names of equal hash apart.
const SERIAL_BITS: u32 = 7;

/// The largest cookie: cookies are positive signed 64-bit numbers.
const COOKIE_MAX: u64 = i64::MAX as u64;

/// Bytes of a leaf for names and slots.
const BODY: usize = BLOCK_SIZE as usize - size_of::<LeafHead>();

/// The position for [`read`] of the first name; the ones below are for `.` and `..`.
pub const FIRST: u64 = 2;

/// The start of a leaf.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LeafHead {
    seal: Seal,
    /// The directory.
    pub owner: U64,
    count: U16,
    /// Bytes of the body up to the end of the last name.
    end: U16,
    /// Bytes among them that removed names have left.
    dead: U16,
    /// Zero.
    pub reserved: [u8; 10],
}

impl LeafHead {
    /// The number of names, if this is a leaf of `owner`.
    pub(super) fn count(&self, owner: u64) -> Result<usize> {
        if self.owner.get() != owner {
            return Err(Error::Corrupt("directory leaf belongs to another inode"));
        }
        if !self.sane() {
            return Err(Error::Corrupt(Leaf::DAMAGED));
        }
        Ok(usize::from(self.count.get()))
    }

    fn sane(&self) -> bool {
        let count = usize::from(self.count.get());
        let end = usize::from(self.end.get());
        end + 2 * count <= BODY && self.dead.get() <= self.end.get()
    }
}

/// A leaf.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Leaf {
    /// Its start.
    pub head: LeafHead,
    body: [u8; BODY],
}

const _: () = assert!(size_of::<Leaf>() == BLOCK_SIZE as usize);

impl Object for Leaf {
    const MAGIC: u32 = u32::from_le_bytes(*b"pDir");
    const DAMAGED: &'static str = "directory leaf is damaged";

    fn sane(&self) -> bool {
        self.head.sane()
    }
}

/// A name in a leaf; its bytes follow.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct NameHead {
    cookie: U64,
    ino: U64,
    /// The bits of the mode under `S_IFMT`, shifted to the right as in `DT_*`.
    kind: u8,
    len: u8,
}

const NAME_HEAD: usize = size_of::<NameHead>();

/// More names than fit into a leaf.
const MAX_NAMES: usize = BODY / (NAME_HEAD + 2);

impl NameHead {
    fn size(&self) -> usize {
        NAME_HEAD + usize::from(self.len)
    }

    fn found(&self) -> Found {
        Found {
            ino: self.ino.get(),
            kind: self.kind,
            cookie: self.cookie.get(),
        }
    }
}

/// A directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The inode it names.
    pub ino: u64,
    /// File type, as in `DT_*` of readdir.
    pub kind: u8,
    /// Its position for [`read`]; never changes while the entry exists.
    pub cookie: u64,
}

/// Where in the tree an entry stands.
struct Place {
    /// Key and block of the leaf.
    leaf: Entry,
    index: usize,
    /// Offset in the leaf's body.
    at: usize,
    found: Found,
}

/// A leaf that is being changed, with a note of the lines in which it is.
pub(super) struct LeafEdit<'t> {
    leaf: &'t mut Leaf,
    lines: &'t mut U64,
}

impl Deref for LeafEdit<'_> {
    type Target = Leaf;

    fn deref(&self) -> &Leaf {
        self.leaf
    }
}

impl<'t> LeafEdit<'t> {
    /// A change of `leaf` that is noted in `lines`.
    pub(super) fn new(leaf: &'t mut Leaf, lines: &'t mut U64) -> Self {
        LeafEdit { leaf, lines }
    }

    /// Notes that bytes of the body change.
    fn touch(&mut self, body: Range<usize>) {
        let first = (size_of::<LeafHead>() + body.start) / LINE;
        let end = (size_of::<LeafHead>() + body.end).div_ceil(LINE);
        self.lines
            .set(self.lines.get() | mask(0, first as u64..end as u64));
    }

    /// [`Leaf::insert`], noted.
    fn insert(&mut self, index: usize, head: NameHead, name: Name<'_>) -> Result {
        let at = usize::from(self.head.end.get());
        if self.gap() < head.size() + 2 {
            // All names are moved.
            self.touch(0..BODY);
        }
        self.touch(at..at + head.size());
        // All slots from this one on, and one more.
        self.touch(Leaf::slot_range(self.len())?.start..Leaf::slot_range(index)?.end);
        self.leaf.insert(index, head, name)
    }

    /// [`Leaf::remove`], noted.
    fn remove(&mut self, index: usize) -> Result {
        self.touch(Leaf::slot_range(self.len())?.end..Leaf::slot_range(index)?.end);
        self.leaf.remove(index)
    }

    /// Changes the head of the name at `at` of the body.
    fn set_head(&mut self, at: usize, head: &NameHead) -> Result {
        self.touch(at..at + NAME_HEAD);
        let bytes = self.leaf.body.get_mut(at..at + NAME_HEAD);
        bytes.ok_or(BAD_SLOT)?.copy_from_slice(head.as_bytes());
        Ok(())
    }
}

/// Sorts a few hundred numbers: Shell's sort, which is small. The library's is made for more.
fn sort(numbers: &mut [u32]) {
    for gap in [57, 23, 10, 4, 1] {
        for start in gap..numbers.len() {
            let mut at = start;
            while at >= gap && numbers.get(at - gap) > numbers.get(at) {
                numbers.swap(at - gap, at);
                at -= gap;
            }
        }
    }
}

/// The file type of a mode as readdir gives it.
pub fn kind_of(mode: u32) -> u8 {
    ((mode & S_IFMT) >> 12) as u8
}

/// The lowest cookie that a name can have.
pub fn first_cookie(geometry: &Geometry, name: Name<'_>) -> u64 {
    const { assert!(HASH_BITS + SERIAL_BITS == 63) };
    let hash = hash(geometry.hash_key, name);
    // Hash 0 would reach into the positions of `.` and `..`.
    core::cmp::max(hash, 1) << SERIAL_BITS
}

/// The lowest cookie with the same hash.
pub fn base(cookie: u64) -> u64 {
    cookie >> SERIAL_BITS << SERIAL_BITS
}

/// Whether two cookies stand for names of equal hash.
pub fn same_hash(a: u64, b: u64) -> bool {
    base(a) == base(b)
}

const DISORDER: Error = Error::Corrupt("directory entries out of order");
const BAD_SLOT: Error = Error::Corrupt("directory leaf has a bad slot");

impl Leaf {
    /// The range of `len` body bytes from `at`, if there is one.
    pub(super) fn check_range(at: usize, len: usize) -> Result<Range<usize>> {
        match at.checked_add(len) {
            Some(end) if end <= BODY => Ok(at..end),
            _ => Err(BAD_SLOT),
        }
    }

    /// Takes bytes, whatever is in them, for a place to copy leaves to. `None` if they are too few or
    /// too many.
    pub fn in_bytes(bytes: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_bytes(bytes).ok()
    }

    /// Names in it.
    pub fn len(&self) -> usize {
        usize::from(self.head.count.get())
    }

    /// The name of slot `index`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the slot does not point to a name.
    pub fn name(&self, index: usize) -> Result<(Found, &[u8])> {
        let at = self.slot(index)?;
        let head = self.name_head(at)?;
        let bytes = self.body.get(at + NAME_HEAD..at + head.size());
        Ok((head.found(), bytes.ok_or(BAD_SLOT)?))
    }

    /// Adds a name behind the others, or returns false if there is no room.
    pub fn append(&mut self, found: &Found, name: Name<'_>) -> Result<bool> {
        let head = NameHead {
            cookie: U64::new(found.cookie),
            ino: U64::new(found.ino),
            kind: found.kind,
            len: name.bytes().len() as u8,
        };
        if !self.has_room(head.size()) {
            return Ok(false);
        }
        self.insert(self.len(), head, name)?;
        Ok(true)
    }

    /// Bytes of the body that names and their slots take, if they are where they say.
    pub fn live_bytes(&self) -> Result<usize> {
        (0..self.len()).try_fold(0, |sum, index| {
            Ok(sum + self.name_head(self.slot(index)?)?.size())
        })
    }

    /// Bytes of names, by the counts in its start.
    pub fn counted_bytes(&self) -> usize {
        usize::from(self.head.end.get()).saturating_sub(usize::from(self.head.dead.get()))
    }

    /// Where slot `index` stands, for indices below what fits into a body.
    fn slot_range(index: usize) -> Result<Range<usize>> {
        let at = BODY.checked_sub(2 * (index + 1)).ok_or(BAD_SLOT)?;
        Ok(at..at + 2)
    }

    fn slot(&self, index: usize) -> Result<usize> {
        let bytes = self.body.get(Self::slot_range(index)?).ok_or(BAD_SLOT)?;
        let slot = U16::read_from_bytes(bytes).map_err(|_| BAD_SLOT)?;
        Ok(usize::from(slot.get()))
    }

    fn set_slot(&mut self, index: usize, at: usize) -> Result {
        let bytes = self.body.get_mut(Self::slot_range(index)?);
        let slot = U16::new(at as u16);
        bytes.ok_or(BAD_SLOT)?.copy_from_slice(slot.as_bytes());
        Ok(())
    }

    fn name_head(&self, at: usize) -> Result<NameHead> {
        let bytes = self.body.get(at..).ok_or(BAD_SLOT)?;
        let (head, _) = NameHead::read_from_prefix(bytes).map_err(|_| BAD_SLOT)?;
        if at + head.size() > usize::from(self.head.end.get()) {
            return Err(BAD_SLOT);
        }
        Ok(head)
    }

    /// The first slot whose cookie is not below `cookie`.
    fn search(&self, cookie: u64) -> Result<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.head_of(middle)?.1.cookie.get() < cookie {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The place and the head of the name of slot `index`.
    fn head_of(&self, index: usize) -> Result<(usize, NameHead)> {
        let at = self.slot(index)?;
        Ok((at, self.name_head(at)?))
    }

    fn is_name(&self, at: usize, head: &NameHead, name: Name<'_>) -> bool {
        self.body.get(at + NAME_HEAD..at + head.size()) == Some(name.bytes())
    }

    /// The slot, the place and the head of a name whose lowest cookie is `first`.
    fn find(&self, first: u64, name: Name<'_>) -> Result<(usize, usize, NameHead)> {
        for index in self.search(first)?..self.len() {
            let (at, head) = self.head_of(index)?;
            if !same_hash(head.cookie.get(), first) {
                break;
            }
            if self.is_name(at, &head, name) {
                return Ok((index, at, head));
            }
        }
        Err(Error::NoEntry)
    }

    /// The slot and the cookie for a new name: the lowest cookie of its hash, from `first` on, that
    /// is not taken.
    fn vacancy(&self, first: u64, name: Name<'_>) -> Result<(usize, u64)> {
        let start = self.search(first)?;
        let mut end = start;
        let mut vacant = None;
        let mut next = first;
        for index in start..self.len() {
            let (at, head) = self.head_of(index)?;
            let cookie = head.cookie.get();
            if !same_hash(cookie, first) {
                break;
            }
            if self.is_name(at, &head, name) {
                return Err(Error::Exists);
            }
            if cookie != next {
                vacant = vacant.or(Some((index, next)));
            }
            next = cookie + 1;
            end = index + 1;
        }
        match vacant {
            Some(vacant) => Ok(vacant),
            None if same_hash(next, first) => Ok((end, next)),
            None => Err(Error::NoSpace),
        }
    }

    /// Bytes between the names and the slots.
    fn gap(&self) -> usize {
        BODY - usize::from(self.head.end.get()) - 2 * self.len()
    }

    /// Whether a name of `size` bytes, head included, would fit after [`Leaf::compact`].
    fn has_room(&self, size: usize) -> bool {
        self.gap() + usize::from(self.head.dead.get()) >= size + 2
    }

    /// Adds a name as slot `index`; the room must be there.
    fn insert(&mut self, index: usize, head: NameHead, name: Name<'_>) -> Result {
        if self.gap() < head.size() + 2 {
            self.compact()?;
        }
        let at = usize::from(self.head.end.get());
        let end = at + head.size();
        if self.gap() < head.size() + 2 || index > self.len() {
            return Err(BAD_SLOT);
        }
        let bytes = self.body.get_mut(at..end).ok_or(BAD_SLOT)?;
        let (to_head, to_name) = bytes.split_at_mut(NAME_HEAD);
        to_head.copy_from_slice(head.as_bytes());
        to_name.copy_from_slice(name.bytes());
        for i in (index..self.len()).rev() {
            let moved = self.slot(i)?;
            self.set_slot(i + 1, moved)?;
        }
        self.set_slot(index, at)?;
        self.head.count.set(self.head.count.get() + 1);
        self.head.end.set(end as u16);
        Ok(())
    }

    /// Removes the name of slot `index`.
    fn remove(&mut self, index: usize) -> Result {
        let at = self.slot(index)?;
        let size = self.name_head(at)?.size();
        for i in index + 1..self.len() {
            let moved = self.slot(i)?;
            self.set_slot(i - 1, moved)?;
        }
        self.head.count.set(self.head.count.get() - 1);
        let end = usize::from(self.head.end.get());
        let dead = usize::from(self.head.dead.get());
        if at + size == end && dead <= at {
            self.head.end.set(at as u16);
        } else if dead + size <= end {
            self.head.dead.set((dead + size) as u16);
        } else {
            // Names that overlap; they cannot be ours.
            return Err(BAD_SLOT);
        }
        Ok(())
    }

    /// Moves the names together, in the order of their places.
    fn compact(&mut self) -> Result {
        let mut places = [0u32; MAX_NAMES];
        let places = places.get_mut(..self.len()).ok_or(BAD_SLOT)?;
        for (index, place) in places.iter_mut().enumerate() {
            *place = (self.slot(index)? << 16 | index) as u32;
        }
        sort(places);
        let (mut from, mut to) = (0, 0);
        for place in places {
            let (at, index) = ((*place >> 16) as usize, (*place & 0xffff) as usize);
            if at < from {
                // Names that overlap; they cannot be ours.
                return Err(BAD_SLOT);
            }
            let size = self.name_head(at)?.size();
            if at != to {
                self.body.copy_within(at..at + size, to);
                self.set_slot(index, to)?;
            }
            from = at + size;
            to += size;
        }
        self.head.end.set(to as u16);
        self.head.dead.set(0);
        Ok(())
    }

    /// Keeps the slots in `range` only.
    fn keep(&mut self, range: Range<usize>) -> Result {
        for (to, from) in range.clone().enumerate() {
            let moved = self.slot(from)?;
            self.set_slot(to, moved)?;
        }
        self.head.count.set(range.len() as u16);
        self.compact()
    }

    /// Where to split: near the middle of the bytes, but not between names of equal hash. `None` if
    /// there are no others.
    fn middle(&self) -> Result<Option<usize>> {
        let len = self.len();
        let live = usize::from(self.head.end.get()) - usize::from(self.head.dead.get());
        let mut middle = 0;
        let mut bytes = 0;
        while middle < len && bytes < live / 2 {
            bytes += self.name_head(self.slot(middle)?)?.size();
            middle += 1;
        }
        for distance in 0..len {
            for index in [middle.checked_sub(distance), middle.checked_add(distance)] {
                let Some(index) = index.filter(|index| (1..len).contains(index)) else {
                    continue;
                };
                let left = self.name_head(self.slot(index - 1)?)?.cookie.get();
                let right = self.name_head(self.slot(index)?)?.cookie.get();
                if !same_hash(left, right) {
                    return Ok(Some(index));
                }
            }
        }
        Ok(None)
    }

    /// The lowest cookie that a name with the hash of slot `index` can have.
    fn base(&self, index: usize) -> Result<u64> {
        Ok(base(self.name_head(self.slot(index)?)?.cookie.get()))
    }
}

impl<M: Medium> Volume<M> {
    /// Checks that `block` is a leaf of directory `owner` and returns the number of its names.
    fn leaf(&self, block: u64, owner: u64) -> Result<usize> {
        self.verify_block::<Leaf>(block)?;
        self.plain::<LeafHead>(offset_of(block))?.count(owner)
    }

    /// Copies a leaf of directory `owner`.
    fn copy_leaf(&self, block: u64, owner: u64, to: &mut Leaf) -> Result {
        if !self.geometry().in_data(block, 1) {
            return Err(Error::Corrupt(Leaf::DAMAGED));
        }
        self.medium().read(offset_of(block), to.as_mut_bytes())?;
        self.verify_copy::<Leaf>(offset_of(block), to.as_bytes())?;
        to.head.count(owner).map(drop)
    }

    /// Bytes from the body of a leaf that [`Volume::leaf`] has checked.
    fn leaf_bytes(&self, block: u64, at: usize, buf: &mut [u8]) -> Result {
        Leaf::check_range(at, buf.len())?;
        let at = size_of::<LeafHead>() + at;
        self.medium().read(offset_of(block) + at as u64, buf)
    }

    /// Reads the head of name `index` of a leaf, and its place.
    fn name_at(&self, block: u64, index: usize) -> Result<(NameHead, usize)> {
        let mut slot = U16::ZERO;
        self.leaf_bytes(block, Leaf::slot_range(index)?.start, slot.as_mut_bytes())?;
        let at = usize::from(slot.get());
        let mut head = NameHead::new_zeroed();
        self.leaf_bytes(block, at, head.as_mut_bytes())?;
        Ok((head, at))
    }

    /// The first of `count` names whose cookie is not below `cookie`.
    fn search(&self, block: u64, count: usize, cookie: u64) -> Result<usize> {
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.name_at(block, middle)?.0.cookie.get() < cookie {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn is_name(&self, block: u64, (head, at): (NameHead, usize), name: Name<'_>) -> Result<bool> {
        if usize::from(head.len) != name.bytes().len() {
            return Ok(false);
        }
        let mut buf = [0u8; 32];
        for (part, at) in name
            .bytes()
            .chunks(buf.len())
            .zip((at + NAME_HEAD..).step_by(buf.len()))
        {
            let buf = buf.get_mut(..part.len()).ok_or(BAD_SLOT)?;
            self.leaf_bytes(block, at, buf)?;
            if buf != part {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Finds a name.
///
/// # Errors
/// [`Error::NoEntry`], [`Error::NotDirectory`].
pub fn lookup<M: Medium>(volume: &Volume<M>, dir: &Inode, name: Name<'_>) -> Result<Found> {
    dir.check_dir()?;
    let cookie = first_cookie(volume.geometry(), name);
    let (leaf, _) = tree::floor(&mut &*volume, dir.ino(), &dir.root, cookie)?;
    let block = leaf.ok_or(Error::NoEntry)?.value;
    let count = volume.leaf(block, dir.ino())?;
    for index in volume.search(block, count, cookie)?..count {
        let (head, at) = volume.name_at(block, index)?;
        if !same_hash(head.cookie.get(), cookie) {
            break;
        }
        if volume.is_name(block, (head, at), name)? {
            return Ok(head.found());
        }
    }
    Err(Error::NoEntry)
}

/// Finds a name as the transaction sees it. `Err(Error::NoEntry)` if there is none.
fn find<M: Medium>(tx: &mut Tx<'_, M>, dir: u64, name: Name<'_>) -> Result<Place> {
    tx.inode(dir)?.check_dir()?;
    let cookie = first_cookie(tx.volume().geometry(), name);
    let (leaf, _) = tree::floor_tx(tx, dir, cookie)?;
    let leaf = leaf.ok_or(Error::NoEntry)?;
    let (index, at, head) = tx.leaf(leaf.value, dir)?.find(cookie, name)?;
    Ok(Place {
        leaf,
        index,
        at,
        found: head.found(),
    })
}

/// The same as [`lookup`], with the transaction's own changes.
pub(super) fn lookup_tx<M: Medium>(tx: &mut Tx<'_, M>, dir: u64, name: Name<'_>) -> Result<Found> {
    Ok(find(tx, dir, name)?.found)
}

/// Some entries of a directory: those of one leaf that are at or behind a position.
pub struct Part<'l> {
    leaf: &'l Leaf,
    slots: Range<usize>,
    /// The positions that its entries may have.
    from: u64,
    end: u64,
    /// Where the next part begins, if there is one.
    pub next: Option<u64>,
}

impl<'l> Part<'l> {
    /// The entries, in the order of their cookies. To go on later behind one, begin with its cookie
    /// plus one.
    pub fn entries(&self) -> impl Iterator<Item = Result<(Found, &'l [u8])>> {
        let (leaf, end, mut from) = (self.leaf, self.end, self.from);
        self.slots.clone().map(move |index| {
            let (found, name) = leaf.name(index)?;
            // A reader that starts again behind this one must always get on.
            if found.cookie < from || found.cookie >= end {
                return Err(DISORDER);
            }
            from = found.cookie + 1;
            Ok((found, name))
        })
    }
}

/// Copies the next entries of a directory from position `from` on, if there are any, into `leaf`. The
/// part may be empty and not the last one. Names that are added or removed meanwhile do not disturb
/// the others. `.` and `..` are the caller's.
pub fn read<'l, M: Medium>(
    volume: &Volume<M>,
    dir: &Inode,
    from: u64,
    leaf: &'l mut Leaf,
) -> Result<Part<'l>> {
    dir.check_dir()?;
    let from = core::cmp::max(from, FIRST);
    let (entry, next) = tree::floor(&mut &*volume, dir.ino(), &dir.root, from)?;
    let end = next.unwrap_or(COOKIE_MAX + 1);
    if next.is_some_and(|next| next <= from) || end > COOKIE_MAX + 1 {
        return Err(DISORDER);
    }
    let slots = match entry {
        Some(entry) => {
            volume.copy_leaf(entry.value, dir.ino(), leaf)?;
            leaf.search(from)?..leaf.len()
        }
        None => 0..0,
    };
    Ok(Part {
        leaf,
        slots,
        from,
        end,
        next,
    })
}

/// Whether an entry with this cookie can have this name.
pub fn has_hash(geometry: &Geometry, name: Name<'_>, cookie: u64) -> bool {
    same_hash(first_cookie(geometry, name), cookie)
}

/// Calls `emit` with every entry of one leaf.
pub(super) fn read_leaf<M: Medium>(
    volume: &Volume<M>,
    dir: &Inode,
    block: u64,
    mut emit: impl FnMut(&Found, &[u8]),
) -> Result {
    let mut last = 0;
    let mut name = [0u8; NAME_MAX];
    for index in 0..volume.leaf(block, dir.ino())? {
        let (head, at) = volume.name_at(block, index)?;
        let name = name.get_mut(..usize::from(head.len)).ok_or(BAD_SLOT)?;
        volume.leaf_bytes(block, at + NAME_HEAD, name)?;
        let found = head.found();
        if found.cookie <= last {
            return Err(DISORDER);
        }
        last = found.cookie;
        emit(&found, name);
    }
    Ok(())
}

/// Adds a name.
///
/// # Errors
/// [`Error::Exists`], [`Error::NoSpace`].
pub(super) fn add<M: Medium>(
    tx: &mut Tx<'_, M>,
    dir: u64,
    name: Name<'_>,
    ino: u64,
    mode: u32,
) -> Result {
    tx.inode(dir)?.check_dir()?;
    let cookie = first_cookie(tx.volume().geometry(), name);
    let size = NAME_HEAD + name.bytes().len();
    // After one split there is room, unless many names share a hash; then it may take a few.
    for _ in 0..4 {
        let leaf = leaf_for(tx, dir, cookie)?;
        let mut target = tx.leaf_edit(leaf.value, dir)?;
        let (index, cookie) = target.vacancy(cookie, name)?;
        if target.has_room(size) {
            let head = NameHead {
                cookie: U64::new(cookie),
                ino: U64::new(ino),
                kind: kind_of(mode),
                len: name.bytes().len() as u8,
            };
            target.insert(index, head, name)?;
            return tx.inode_mut(dir)?.add_entries(1);
        }
        split(tx, dir, leaf, cookie)?;
    }
    Err(Error::NoSpace)
}

/// The leaf that a new name with `cookie` belongs into, made now if there is none.
fn leaf_for<M: Medium>(tx: &mut Tx<'_, M>, dir: u64, cookie: u64) -> Result<Entry> {
    if let (Some(leaf), _) = tree::floor_tx(tx, dir, cookie)? {
        return Ok(leaf);
    }
    if let Some(first) = tree::ceiling(tx, dir, 0)? {
        // The first leaf takes what is below it too.
        let leaf = Entry { key: 0, ..first };
        tree::change(tx, dir, first.key, leaf)?;
        return Ok(leaf);
    }
    let block = tx.alloc_for(dir)?;
    tx.place::<Leaf>(block)?.head.owner.set(dir);
    let leaf = Entry {
        key: 0,
        value: block,
        len: 0,
        flags: 0,
    };
    tree::insert(tx, dir, leaf)?;
    Ok(leaf)
}

/// Makes two leaves of one that has no room for a name with `cookie`.
///
/// # Errors
/// [`Error::NoSpace`] if all names in it have the hash of the new one too.
fn split<M: Medium>(tx: &mut Tx<'_, M>, dir: u64, leaf: Entry, cookie: u64) -> Result {
    let full = tx.leaf_mut(leaf.value, dir)?;
    let middle = full.middle()?;
    let lowest = full.base(0)?;
    if middle.is_none() && lowest == base(cookie) {
        return Err(Error::NoSpace);
    }
    let block = tx.alloc_for(dir)?;
    let key = if let Some(middle) = middle {
        let upper = tx.duplicate::<Leaf>(leaf.value, block)?;
        upper.keep(middle..upper.len())?;
        let key = upper.base(0)?;
        tx.leaf_mut(leaf.value, dir)?.keep(0..middle)?;
        key
    } else {
        // Names of one other hash fill it: the new one gets a leaf of its own, behind or before.
        tx.place::<Leaf>(block)?.head.owner.set(dir);
        if lowest < cookie {
            base(cookie)
        } else {
            let moved = Entry {
                key: lowest,
                ..leaf
            };
            tree::change(tx, dir, leaf.key, moved)?;
            leaf.key
        }
    };
    let entry = Entry {
        key,
        value: block,
        len: 0,
        flags: 0,
    };
    tree::insert(tx, dir, entry)
}

/// Removes a name and returns what it named.
pub(super) fn remove<M: Medium>(tx: &mut Tx<'_, M>, dir: u64, name: Name<'_>) -> Result<Found> {
    let place = find(tx, dir, name)?;
    let mut leaf = tx.leaf_edit(place.leaf.value, dir)?;
    leaf.remove(place.index)?;
    if leaf.len() == 0 {
        tree::remove(tx, dir, place.leaf.key)?;
        tx.free_for(dir, place.leaf.value)?;
    }
    tx.inode_mut(dir)?.add_entries(-1)?;
    Ok(place.found)
}

/// Makes a name stand for another inode and returns what it named before.
pub(super) fn replace<M: Medium>(
    tx: &mut Tx<'_, M>,
    dir: u64,
    name: Name<'_>,
    ino: u64,
    mode: u32,
) -> Result<Found> {
    let place = find(tx, dir, name)?;
    let mut leaf = tx.leaf_edit(place.leaf.value, dir)?;
    let mut head = leaf.name_head(place.at)?;
    head.ino.set(ino);
    head.kind = kind_of(mode);
    leaf.set_head(place.at, &head)?;
    Ok(place.found)
}

/// Whether a directory has no names.
pub fn is_empty(dir: &Inode) -> bool {
    dir.root.is_empty()
}

#[cfg(test)]
mod tests;
