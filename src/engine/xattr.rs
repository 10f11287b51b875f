// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.
//!
//! Most inodes with attributes need one block of the list ([`xattr`](crate::ondisk::xattr)). New
//! blocks are added at its head, and empty ones are freed.
//!
//! [`set`] and [`remove`] are a transaction of their own or a part of one: a new inode can get its
//! attributes in the transaction that makes it ([`namespace::create`](super::namespace::create)).
//! The caller sets the inode's change time.
//!
//! Locks: the inode lock, shared for [`get`] and [`list`], exclusive for the rest.

use core::cmp;

use zerocopy::{
    little_endian::U64,
    FromZeros,
    IntoBytes, //
};

use super::{
    run::BlockRun,
    space::{
        Claim,
        Request, //
    },
    tx::Need,
    volume::Reader,
    Medium,
    Tx,
    Volume,
    CHUNK, //
};
use crate::ondisk::{
    header::Object,
    offset_of,
    xattr::{
        Attributes,
        Entry,
        Head,
        Key,
        Namespace,
        Value,
        ValueHead,
        BODY,
        DAMAGED,
        INLINE,
        LIST_MAX,
        NAME_MAX,
        PIECE,
        PIECES,
        VALUE_MAX, //
    },
    Error,
    Inode,
    Result,
    BLOCK_SIZE,
    INODE_SLOTS, //
};

/// More blocks than the list of an inode can have: each holds a name, and [`LIST_MAX`] bounds them.
const BLOCKS_MAX: usize = LIST_MAX / 4;

/// Blocks that one call of [`free_some`] frees, plus at most a value, even if the transaction has
/// room for more: other tasks wait for it.
const BATCH: u64 = 64;

/// The need of freeing a value, and the block with its name or a part of it.
const VALUE: Need = Need {
    blocks: 1,
    changes: PIECES + 1,
};

/// Expectation of [`set`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The attribute may exist or not.
    Any,
    /// It must not exist (`XATTR_CREATE`).
    Create,
    /// It must exist (`XATTR_REPLACE`).
    Replace,
}
const ENDLESS: Error = Error::Corrupt("list of attributes does not end");

/// Position of an attribute.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) block: u64,
    /// The block before it in the list, or 0.
    before: u64,
    /// Offset in the body.
    at: usize,
    pub(crate) entry: Entry,
}

/// A block of the list.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    pub(crate) block: u64,
    before: u64,
    next: u64,
    used: usize,
}

/// Reads and checks a block of the list of inode `owner`.
fn link<R: Reader>(r: &mut R, owner: u64, block: u64, before: u64) -> Result<Link> {
    r.verify::<Attributes>(block)?;
    let mut head = Head::new_zeroed();
    r.bytes(block, 0, head.as_mut_bytes())?;
    let used = usize::from(head.used.get());
    if head.owner.get() != owner || used > BODY {
        return Err(DAMAGED);
    }
    Ok(Link {
        block,
        before,
        next: head.next.get(),
        used,
    })
}

/// Reads and checks the entry at `at` of a block's body, and reads its name into `name`.
fn entry<R: Reader>(
    r: &mut R,
    link: &Link,
    at: usize,
    name: &mut [u8; NAME_MAX],
) -> Result<(Entry, Namespace)> {
    let room = link.used.checked_sub(at).ok_or(DAMAGED)?;
    if room < size_of::<Entry>() {
        return Err(DAMAGED);
    }
    let mut entry = Entry::new_zeroed();
    let off = size_of::<Head>() + at;
    r.bytes(link.block, off, entry.as_mut_bytes())?;
    let space = entry.check(room).ok_or(DAMAGED)?;
    let name = name.get_mut(..usize::from(entry.name_len)).ok_or(DAMAGED)?;
    r.bytes(link.block, off + size_of::<Entry>(), name)?;
    Ok((entry, space))
}

/// Calls `block` with each block of the list of `inode`, and `attribute` with each attribute in it,
/// until one of them returns false.
pub(crate) fn visit<R: Reader>(
    r: &mut R,
    inode: &Inode,
    mut block: impl FnMut(&Link) -> bool,
    mut attribute: impl FnMut(&mut R, &Place, Key<'_>) -> Result<bool>,
) -> Result {
    let mut name = [0; NAME_MAX];
    let mut before = 0;
    let mut next = inode.xattr.get();
    for _ in 0..BLOCKS_MAX {
        if next == 0 {
            return Ok(());
        }
        let link = link(r, inode.ino(), next, before)?;
        if !block(&link) {
            return Ok(());
        }
        let mut at = 0;
        while at < link.used {
            let (entry, space) = entry(r, &link, at, &mut name)?;
            let place = Place {
                block: link.block,
                before: link.before,
                at,
                entry,
            };
            let name = name.get(..usize::from(entry.name_len)).ok_or(DAMAGED)?;
            if !attribute(r, &place, Key { space, name })? {
                return Ok(());
            }
            at += entry.size();
        }
        before = link.block;
        next = link.next;
    }
    Err(ENDLESS)
}

fn find<R: Reader>(r: &mut R, inode: &Inode, key: Key<'_>) -> Result<Option<Place>> {
    let mut found = None;
    visit(
        r,
        inode,
        |_| true,
        |_, place, other| {
            found = (other == key).then_some(*place);
            Ok(found.is_none())
        },
    )?;
    Ok(found)
}

/// Calls `f` with each block of the value of `entry`, if it has any, and the length of the part in
/// it.
pub(crate) fn pieces<R: Reader>(
    r: &mut R,
    owner: u64,
    entry: &Entry,
    mut f: impl FnMut(&mut R, u64, usize) -> Result,
) -> Result {
    let mut left = entry.value_len();
    let mut next = entry.value.get();
    if next == 0 {
        return Ok(());
    }
    while next != 0 {
        r.verify::<Value>(next)?;
        let mut head = ValueHead::new_zeroed();
        r.bytes(next, 0, head.as_mut_bytes())?;
        let len = cmp::min(left, PIECE);
        if head.owner.get() != owner || len == 0 {
            return Err(Error::Corrupt(Value::DAMAGED));
        }
        f(r, next, len)?;
        left -= len;
        next = head.next.get();
    }
    if left == 0 {
        Ok(())
    } else {
        Err(Error::Corrupt(Value::DAMAGED))
    }
}

fn read_value<R: Reader>(r: &mut R, owner: u64, place: &Place, buf: &mut [u8]) -> Result {
    if place.entry.value.get() == 0 {
        let at = place.at + size_of::<Entry>() + usize::from(place.entry.name_len);
        return r.bytes(place.block, size_of::<Head>() + at, buf);
    }
    let mut done = 0;
    pieces(r, owner, &place.entry, |r, block, len| {
        let part = buf.get_mut(done..done + len).ok_or(DAMAGED)?;
        done += len;
        r.bytes(block, size_of::<ValueHead>(), part)
    })
}

/// Copies the value of an attribute to the start of `buf`, if it fits, and returns the value's
/// length.
///
/// # Errors
/// [`Error::NoAttribute`].
pub fn get<M: Medium>(
    volume: &Volume<M>,
    inode: &Inode,
    key: Key<'_>,
    buf: &mut [u8],
) -> Result<usize> {
    let r = &mut &*volume;
    let place = find(r, inode, key)?.ok_or(Error::NoAttribute)?;
    let len = place.entry.value_len();
    if let Some(buf) = buf.get_mut(..len) {
        read_value(r, inode.ino(), &place, buf)?;
    }
    Ok(len)
}

/// Calls `emit` with the name of every attribute, until it returns false.
pub fn list<M: Medium>(
    volume: &Volume<M>,
    inode: &Inode,
    mut emit: impl FnMut(Key<'_>) -> bool,
) -> Result {
    visit(&mut &*volume, inode, |_| true, |_, _, key| Ok(emit(key)))
}

/// Sets the value of an attribute.
///
/// # Errors
/// [`Error::Exists`] and [`Error::NoAttribute`] according to `mode`; [`Error::Overflow`] for a
/// value over [`VALUE_MAX`] bytes; [`Error::NoSpace`] if there is no block, or the names of all
/// attributes would be over [`LIST_MAX`] bytes. A value that takes no more blocks than the old one
/// may use the reserve.
pub fn set<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    key: Key<'_>,
    value: &[u8],
    mode: Mode,
) -> Result {
    if value.len() > VALUE_MAX {
        return Err(Error::Overflow);
    }
    let inode = tx.inode(ino)?.clone();
    let mut entry = Entry::new(key, value);
    let mut old = None::<Place>;
    let mut vacancy = None;
    let mut names = key.list_len();
    visit(
        tx,
        &inode,
        |link| {
            if link.used + entry.size() <= BODY {
                vacancy = vacancy.or(Some(link.block));
            }
            true
        },
        |_, place, other| {
            if other == key {
                old = Some(*place);
            } else {
                names += other.list_len();
            }
            Ok(true)
        },
    )?;
    match (mode, old) {
        (Mode::Create, Some(_)) => return Err(Error::Exists),
        (Mode::Replace, None) => return Err(Error::NoAttribute),
        _ if names > LIST_MAX => return Err(Error::NoSpace),
        _ => {}
    }
    if value.len() > INLINE {
        // A value that is not longer than the old one frees as many blocks as it takes.
        let freed = old.map_or(0, |old| old.entry.pieces());
        let claim = tx.claim(if value.len().div_ceil(PIECE) <= freed {
            Claim::Freeing
        } else {
            Claim::Ordinary
        });
        entry.value.set(store_value(tx, ino, value)?);
        tx.claim(claim);
    }
    let mut block = vacancy;
    if let Some(old) = old {
        let left = take_out(tx, ino, &old)?;
        if left + entry.size() <= BODY {
            // Keep the block, so that a value that is set repeatedly stays in its place.
            block = Some(old.block);
        } else if left == 0 {
            unlink(tx, ino, &old)?;
        }
    }
    let block = match block {
        Some(block) => block,
        None => new_block(tx, ino)?,
    };
    put_in(tx, ino, block, &entry, key, value)
}

/// Removes an attribute.
///
/// # Errors
/// [`Error::NoAttribute`].
pub fn remove<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, key: Key<'_>) -> Result {
    let inode = tx.inode(ino)?.clone();
    let place = find(tx, &inode, key)?.ok_or(Error::NoAttribute)?;
    if take_out(tx, ino, &place)? == 0 {
        unlink(tx, ino, &place)?;
    }
    Ok(())
}

/// Frees a part of all attributes of an inode, as much as the transaction has room for, and returns
/// whether there are none left.
pub(super) fn free_some<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result<bool> {
    let mut name = [0; NAME_MAX];
    let mut freed = 0;
    loop {
        let first = tx.inode(ino)?.xattr.get();
        if first == 0 {
            return Ok(true);
        }
        if freed >= BATCH || tx.is_done_before(VALUE) {
            return Ok(false);
        }
        let link = link(tx, ino, first, 0)?;
        let mut at = 0;
        while at < link.used && freed < BATCH && !tx.is_done_before(VALUE) {
            let (entry, _) = entry(tx, &link, at, &mut name)?;
            freed += free_value(tx, ino, &entry)?;
            at += entry.size();
        }
        if at < link.used {
            let block = attributes_mut(tx, ino, first)?;
            cut(block, 0, at)?;
        } else {
            tx.inode_mut(ino)?.xattr.set(link.next);
            tx.free_for(ino, first)?;
            freed += 1;
        }
    }
}

fn attributes_mut<'t, M: Medium>(
    tx: &'t mut Tx<'_, M>,
    ino: u64,
    block: u64,
) -> Result<&'t mut Attributes> {
    let attributes = tx.attributes_mut(block)?;
    if attributes.head.owner.get() != ino {
        return Err(DAMAGED);
    }
    Ok(attributes)
}

/// Removes `len` bytes of entries at `at` from a block and returns how many bytes are left.
fn cut(block: &mut Attributes, at: usize, len: usize) -> Result<usize> {
    let used = usize::from(block.head.used.get());
    let end = at
        .checked_add(len)
        .filter(|&end| end <= used && used <= BODY);
    let end = end.ok_or(DAMAGED)?;
    block.body.copy_within(end..used, at);
    let left = used - len;
    if let Some(tail) = block.body.get_mut(left..used) {
        tail.fill(0);
    }
    block.head.used.set(left as u16);
    Ok(left)
}

/// Removes an entry and frees its value. Returns how many bytes of entries its block still holds.
fn take_out<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, place: &Place) -> Result<usize> {
    free_value(tx, ino, &place.entry)?;
    let block = attributes_mut(tx, ino, place.block)?;
    cut(block, place.at, place.entry.size())
}

/// Frees an empty block of the list.
fn unlink<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, place: &Place) -> Result {
    let next = attributes_mut(tx, ino, place.block)?.head.next;
    if place.before == 0 {
        tx.inode_mut(ino)?.xattr = next;
    } else {
        attributes_mut(tx, ino, place.before)?.head.next = next;
    }
    tx.free_for(ino, place.block)
}

/// Adds a block at the head of the list.
fn new_block<M: Medium>(tx: &mut Tx<'_, M>, ino: u64) -> Result<u64> {
    let block = tx.alloc_for(ino)?;
    let next = core::mem::replace(&mut tx.inode_mut(ino)?.xattr, U64::new(block));
    let new = tx.place::<Attributes>(block)?;
    new.head.owner.set(ino);
    new.head.next = next;
    Ok(block)
}

/// Adds an entry to a block that has room for it.
fn put_in<M: Medium>(
    tx: &mut Tx<'_, M>,
    ino: u64,
    block: u64,
    entry: &Entry,
    key: Key<'_>,
    value: &[u8],
) -> Result {
    let target = attributes_mut(tx, ino, block)?;
    let at = usize::from(target.head.used.get());
    let end = at + entry.size();
    let place = target.body.get_mut(at..end).ok_or(DAMAGED)?;
    place.fill(0);
    let inline = if entry.value.get() == 0 { value } else { &[] };
    let parts = [entry.as_bytes(), key.name, inline];
    let mut from = 0;
    for part in parts {
        let to = place.get_mut(from..from + part.len()).ok_or(DAMAGED)?;
        to.copy_from_slice(part);
        from += part.len();
    }
    target.head.used.set(end as u16);
    Ok(())
}

/// Stores a long value in new blocks and returns the first. They are stored at once, not with the
/// commit: they are not referenced before, and need no room in the transaction.
fn store_value<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, value: &[u8]) -> Result<u64> {
    let mut blocks = [0; PIECES + 1];
    let count = value.len().div_ceil(PIECE);
    let mut goal = ino / INODE_SLOTS;
    let mut filled = 0;
    while filled < count {
        let run = tx.alloc_blocks(Request {
            goal: Some(goal),
            min: 1,
            max: (count - filled) as u64,
            aligned: false,
        })?;
        goal = run.start + run.len;
        for (slot, block) in blocks.iter_mut().skip(filled).zip(run.start..goal) {
            *slot = block;
        }
        filled += run.len as usize;
    }
    tx.inode_mut(ino)?.add_blocks(count as i64)?;
    for (pair, piece) in blocks.windows(2).zip(value.chunks(PIECE)) {
        if let [block, next] = *pair {
            store_piece(tx.volume(), ino, (block, next), piece)?;
        }
    }
    tx.blocks_stored();
    Ok(blocks[0])
}

fn store_piece<M: Medium>(
    volume: &Volume<M>,
    ino: u64,
    (block, next): (u64, u64),
    piece: &[u8],
) -> Result {
    let medium = volume.medium();
    let off = offset_of(block);
    let mut head = ValueHead::new_zeroed();
    head.seal.magic.set(Value::MAGIC);
    head.owner.set(ino);
    head.next.set(next);
    let mut crc = volume.crc_start(off);
    crc = medium.crc32c(crc, head.seal.magic.as_bytes());
    crc = medium.crc32c(crc, head.owner.as_bytes());
    crc = medium.crc32c(crc, head.next.as_bytes());
    crc = medium.crc32c(crc, piece);
    let mut rest = PIECE - piece.len();
    while rest > 0 {
        let zeroes = [0; CHUNK];
        let part = zeroes.get(..rest).unwrap_or(&zeroes);
        crc = medium.crc32c(crc, part);
        rest -= part.len();
    }
    head.seal.crc.set(crc);
    let at = off + size_of::<ValueHead>() as u64;
    medium.write(off, head.as_bytes())?;
    medium.write(at, piece)?;
    medium.zero(at + piece.len() as u64, (PIECE - piece.len()) as u64)?;
    medium.flush(off, BLOCK_SIZE)
}

/// Frees the blocks of a value and returns how many there were.
fn free_value<M: Medium>(tx: &mut Tx<'_, M>, ino: u64, entry: &Entry) -> Result<u64> {
    let mut count = 0;
    pieces(tx, ino, entry, |tx, block, _| {
        count += 1;
        tx.free_blocks(BlockRun {
            start: block,
            len: 1,
        })
    })?;
    if count > 0 {
        tx.inode_mut(ino)?.add_blocks(-(count as i64))?;
    }
    Ok(count)
}
