// SPDX-License-Identifier: GPL-2.0

//! The superblock, its backup, and whose device it is.
//!
//! Many programs that make other file systems, swap space, volumes or partition tables overwrite the
//! first block and leave the backup in the last one. So the backup alone says nothing: it is
//! restored only if what hangs on its UUID, the status, the root directory and the bitmaps, goes with
//! it, and over a first block only that is empty or looks like a damaged superblock. Whatever else
//! stands there the user has to give up by its name.

use pinfs_format::{
    bitmap,
    journal,
    mount,
    offset_of,
    signatures::{
        self,
        Signature, //
    },
    superblock::{
        Superblock,
        MAGIC,
        MIN_BLOCKS, //
    },
    volume::inode_offset,
    Error,
    Inode,
    Medium,
    MountError,
    Result,
    Volume,
    BLOCK_SIZE, //
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

use crate::{
    report::Fault,
    Overlay, //
};

/// What stands in the first block if nobody knows what it is.
pub const UNKNOWN: &str = "unknown";

/// Groups whose bitmaps are asked about a superblock, about as many as that.
const GROUPS_ASKED: u64 = 1 << 14;

/// Blocks of a mebibyte: what is made has a size in those, mostly.
const MIB_BLOCKS: u64 = (1 << 20) / BLOCK_SIZE;

/// What the user wants, and what is known beside the medium.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The block of the backup to use.
    pub block: Option<u64>,
    /// What others have left on the medium.
    pub others: &'a [Signature],
    /// The kinds of that which may be overwritten, [`UNKNOWN`] among them.
    pub overwrite: &'a [String],
    /// Look for a backup in every block, if there is none in the last.
    pub search: bool,
}

/// What there is of a superblock.
#[derive(Clone)]
pub enum Found {
    /// A good one where it belongs. What others have left in its block may be erased.
    Here(Vec<Signature>),
    /// Only a backup.
    Copy {
        /// The block in which it is.
        block: u64,
        /// The backup.
        sb: Box<Superblock>,
        /// What is wrong with the first one.
        why: MountError,
        /// Everything that was asked goes with it.
        sure: bool,
    },
    /// There is, or seems to be, a file system, and it must not be worked on; the text says why.
    Doubtful(String),
    /// There is none that can be worked on; the text says why.
    Refused(String),
}

/// How much goes with a superblock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Support {
    All,
    Most,
    Little,
}

/// Whether it was read and found good.
fn is_good<T>(read: Result<T>) -> Result<bool> {
    match read {
        Ok(_) => Ok(true),
        Err(Error::Io) => Err(Error::Io),
        Err(_) => Ok(false),
    }
}

/// Asks what is there about a superblock. Every checksum depends on its UUID.
fn support<M: Medium>(medium: &M, sb: &Superblock) -> Result<Support> {
    let scratch = Overlay::new(medium);
    sb.write_at(&scratch, 0)?;
    let Ok(volume) = Volume::open(&scratch) else {
        return Ok(Support::Little);
    };
    // What a crash left in the journal is not in its place.
    is_good(journal::recover(&volume))?;
    let geometry = *volume.geometry();
    let status = is_good(mount::status(&volume))?;
    let root = is_good(volume.load::<Inode>(inode_offset(geometry.root_ino)))?;
    let groups = (0..geometry.groups()).step_by(geometry.groups().div_ceil(GROUPS_ASKED) as usize);
    let (mut good, mut all) = (0, 0);
    for group in groups {
        good += u32::from(is_good(bitmap::verify(&volume, group))?);
        all += 1;
    }
    let most = u32::from(status) + u32::from(root) + u32::from(2 * good > all);
    Ok(match most {
        3 if good == all => Support::All,
        2.. => Support::Most,
        _ => Support::Little,
    })
}

/// Those that the user has not given up.
fn unnamed<'a>(others: &'a [Signature], overwrite: &[String]) -> Vec<&'a Signature> {
    others
        .iter()
        .filter(|other| !overwrite.contains(&other.kind))
        .collect()
}

/// How to go on in spite of others.
fn advice(others: &[&Signature]) -> String {
    let mut kinds: Vec<&str> = others.iter().map(|other| &*other.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    format!(
        "nothing is changed; if that is out of date, remove it with wipefs, or repair the file system \
         over it with -y --overwrite {}",
        kinds.join(",")
    )
}

/// What of others' marks speaks against a file system whose superblock is good: it may be theirs by
/// now. A mark in a place that belongs to the file system does not if everything else is sound, as it
/// may be in somebody's file.
///
/// # Errors
/// [`Error::Io`] if the medium fails.
pub fn in_the_way<M: Medium>(medium: &M, request: &Request<'_>) -> Result<Option<String>> {
    let read = Superblock::read(medium).or_else(|_| Superblock::read_repairing(medium));
    let Ok((sb, geometry)) = read else {
        return Ok(None);
    };
    let mut others = unnamed(request.others, request.overwrite);
    if others.is_empty() {
        return Ok(None);
    }
    if support(medium, &sb)? == Support::All {
        others.retain(|other| {
            let block = other.off / BLOCK_SIZE;
            block <= mount::STATUS / BLOCK_SIZE || block >= geometry.data_end
        });
    }
    Ok((!others.is_empty()).then(|| {
        let list = signatures::list(others.iter().copied());
        format!(
            "the device holds {list} beside pinfs, so it may be another's; {}",
            advice(&others)
        )
    }))
}

/// Looks for the superblock. `progress` is told how far a search is.
///
/// # Errors
/// [`Error::Io`] if the medium fails.
pub fn find<M: Medium>(
    medium: &M,
    request: &Request<'_>,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Found> {
    let least = MIN_BLOCKS * BLOCK_SIZE;
    let size = medium.size();
    let too_small = || {
        let text = format!(
            "too small to hold a pinfs file system: {size} bytes, at least {least} are needed"
        );
        Ok(Found::Refused(text))
    };
    if size < BLOCK_SIZE {
        return too_small();
    }
    // One that is marked as being repaired is good.
    let read = match Superblock::read(medium) {
        Err(MountError::Repairing) => Superblock::read_repairing(medium),
        read => read,
    };
    let why = match read {
        Ok(_) if request.block.is_some() => {
            let text = "the superblock in block 0 is good: a backup is not needed";
            return Ok(Found::Refused(text.to_owned()));
        }
        Ok(_) => {
            let in_block = |other: &&Signature| {
                other.off < BLOCK_SIZE && request.overwrite.contains(&other.kind)
            };
            let erase = request.others.iter().filter(in_block).cloned();
            return Ok(Found::Here(erase.collect()));
        }
        Err(MountError::Io) => return Err(Error::Io),
        Err(MountError::DeviceTooSmall { need, have }) => {
            let text = format!(
                "the file system is of {need} bytes and the device of {have}: the device has become shorter, or \
                 is another one; it is not checked until it has at least {need} bytes"
            );
            return Ok(Found::Refused(text));
        }
        Err(why @ (MountError::NotPinfs | MountError::BadChecksum | MountError::BadGeometry)) => {
            why
        }
        Err(why) => return Ok(Found::Refused(why.to_string())),
    };
    if size < least {
        return too_small();
    }
    let others = unnamed(request.others, request.overwrite);
    if !others.is_empty() {
        return Ok(Found::Refused(occupied(medium, request, &others, why)?));
    }
    let mut first = [0; BLOCK_SIZE as usize];
    medium.read(0, &mut first)?;
    candidate(medium, request, (&first, why), progress)
}

/// Says why a device that holds `others` is not worked on. How to go on is said only if there has been
/// a file system of ours.
fn occupied<M: Medium>(
    medium: &M,
    request: &Request<'_>,
    others: &[&Signature],
    why: MountError,
) -> Result<String> {
    let list = signatures::list(others.iter().copied());
    let block = request
        .block
        .unwrap_or_else(|| medium.size() / BLOCK_SIZE - 1);
    let backup = match copy(medium, block)? {
        Some((_, sb)) => Some(support(medium, &sb)?),
        None => None,
    };
    Ok(match backup {
        Some(Support::Little) => format!(
            "{why}; the device holds {list}; the backup in block {block} is of a file system of which \
             little else is left; nothing is changed"
        ),
        Some(_) => format!(
            "{why}; the device holds {list}, and a backup superblock of pinfs in block {block}; {}",
            advice(others)
        ),
        // The first block is, or was, ours.
        None if why != MountError::NotPinfs => {
            format!("{why}; the device holds {list}; {}", advice(others))
        }
        None => format!("{why}, nor a good backup in block {block}; the device holds {list}"),
    })
}

/// Looks for a backup that may replace the first block, which is bad.
fn candidate<M: Medium>(
    medium: &M,
    request: &Request<'_>,
    (first, why): (&[u8; BLOCK_SIZE as usize], MountError),
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Found> {
    let (head, rest) = first.split_at(size_of::<Superblock>());
    let tidy = rest.iter().all(|&byte| byte == 0);
    let ours = tidy && (head.starts_with(&MAGIC) || head.iter().all(|&byte| byte == 0));
    let is_named = |kind: &str| request.overwrite.iter().any(|named| named == kind);
    let named = is_named(UNKNOWN)
        || request
            .others
            .iter()
            .any(|other| other.off < BLOCK_SIZE && is_named(&other.kind));
    let last = medium.size() / BLOCK_SIZE - 1;
    let asked = request.block.unwrap_or(last);
    let mut found = None;
    if let Some((block, sb)) = copy(medium, asked)? {
        found = Some((block, support(medium, &sb)?, sb));
    }
    let searched = request.search && request.block.is_none() && (tidy || named);
    if searched
        && found
            .as_ref()
            .is_none_or(|found| found.1 == Support::Little)
    {
        found = search(medium, last, progress)?.or(found);
    }
    let Some((block, support, sb)) = found else {
        let text = match (request.block, searched) {
            (Some(block), _) => format!("{why}, nor a good backup in block {block}"),
            (None, true) => format!("{why}, nor a good backup in any block"),
            (None, false) => format!("{why}, nor a good backup in the last block"),
        };
        return Ok(Found::Refused(text));
    };
    let ours = ours || tidy && is_part(medium, head, &sb);
    if !ours && !named && !(tidy && is_similar(head, &sb)) {
        let text = format!(
            "{why}; block 0 holds data of an unknown kind, which may be another owner's: the backup in block \
             {block} can be left from before; nothing is changed; -y --overwrite {UNKNOWN} restores the \
             file system over it"
        );
        return Ok(Found::Refused(text));
    }
    if support == Support::Little && request.block.is_none() {
        let text = format!(
            "{why}; the backup in block {block} is of a file system of which little else is left; nothing is \
             changed; -n -b {block} shows what -y -b {block} would restore"
        );
        return Ok(Found::Doubtful(text));
    }
    let sure = support == Support::All && ours;
    let sb = Box::new(sb);
    Ok(Found::Copy {
        block,
        sb,
        why,
        sure,
    })
}

/// Whether `head` is what a store of `sb` over an empty block leaves if it is cut short: each word is
/// there or not. The mark of a repair may be in it.
fn is_part<M: Medium>(medium: &M, head: &[u8], sb: &Superblock) -> bool {
    let mut marked = sb.clone();
    marked.set_repairing(medium, true);
    let words = head.chunks(8).zip(sb.as_bytes().chunks(8));
    words
        .zip(marked.as_bytes().chunks(8))
        .all(|((seen, good), marked)| seen == [0; 8] || seen == good || seen == marked)
}

/// Whether most bytes that say something in `sb` are the same in `head`.
fn is_similar(head: &[u8], sb: &Superblock) -> bool {
    let pairs = head.iter().zip(sb.as_bytes());
    let telling = pairs.filter(|(_, &good)| good != 0);
    let (same, all) = telling.fold((0, 0), |(same, all), (seen, good)| {
        (same + u32::from(seen == good), all + 1)
    });
    2 * same > all
}

/// The backup in `block`, if there is a good one that says that it is there.
fn copy<M: Medium>(medium: &M, block: u64) -> Result<Option<(u64, Superblock)>> {
    let off = block.checked_mul(BLOCK_SIZE);
    let Some(off) = off.filter(|off| off + BLOCK_SIZE <= medium.size()) else {
        return Ok(None);
    };
    let mut bytes = [0; size_of::<Superblock>()];
    medium.read(off, &mut bytes)?;
    Ok(parse(medium, block, &bytes))
}

fn parse<M: Medium>(medium: &M, block: u64, bytes: &[u8]) -> Option<(u64, Superblock)> {
    if !bytes.starts_with(&MAGIC) {
        return None;
    }
    let (sb, _) = Superblock::read_from_prefix(bytes).ok()?;
    let good = sb.validate(medium, medium.size()).is_ok() && sb.backup_block.get() == block;
    good.then_some((block, sb))
}

/// Looks for a backup up to block `last`: where a size in mebibytes has it, the largest first, then
/// everywhere. One that little goes with is the answer only if there is no better one.
fn search<M: Medium>(
    medium: &M,
    last: u64,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Option<(u64, Support, Superblock)>> {
    const WHAT: &str = "search for a backup superblock";
    let mut other = None;
    let mut is_better = |(block, sb): (u64, Superblock)| -> Result<bool> {
        let support = support(medium, &sb)?;
        let better = support != Support::Little;
        if better || other.is_none() {
            other = Some((block, support, sb));
        }
        Ok(better)
    };
    let all = last + 1;
    let ends = (1..=all / MIB_BLOCKS).rev();
    for (done, end) in ends.enumerate() {
        if done as u64 % MIB_BLOCKS == 0 {
            progress(WHAT, done as u64, all / MIB_BLOCKS);
        }
        if let Some(found) = copy(medium, end * MIB_BLOCKS - 1)? {
            if is_better(found)? {
                return Ok(other);
            }
        }
    }
    let mut bytes = vec![0; (MIB_BLOCKS * BLOCK_SIZE) as usize];
    for start in (0..all).step_by(MIB_BLOCKS as usize) {
        progress("search for a backup superblock in all blocks", start, all);
        let count = MIB_BLOCKS.min(all - start);
        let bytes = &mut bytes[..(count * BLOCK_SIZE) as usize];
        medium.read(offset_of(start), bytes)?;
        for (block, bytes) in (start..).zip(bytes.chunks(BLOCK_SIZE as usize)) {
            if let Some(found) = parse(medium, block, bytes) {
                if is_better(found)? {
                    return Ok(other);
                }
            }
        }
    }
    Ok(other)
}

/// Makes both copies of the superblock good; otherwise says why not. Returns whether it said that a
/// repair is being written, which it does no more.
pub(crate) fn settle<M: Medium>(
    medium: &M,
    found: Found,
    faults: &mut Vec<Fault>,
) -> Result<core::result::Result<bool, String>> {
    let mut repairing = false;
    let mut fault = |block: u64, loss: bool, what: String| {
        faults.push(Fault {
            ino: 0,
            path: None,
            off: Some(offset_of(block)),
            what,
            loss,
        });
    };
    let mut sb = match found {
        Found::Refused(why) | Found::Doubtful(why) => return Ok(Err(why)),
        Found::Copy {
            block,
            sb,
            why,
            sure,
        } => {
            let what = format!("{why}; restored from the backup in block {block}");
            fault(0, !sure, what);
            // Nothing of another's stays in the block.
            medium.zero(0, BLOCK_SIZE)?;
            sb.write_at(medium, 0)?;
            *sb
        }
        Found::Here(others) => {
            let mut read = Superblock::read(medium);
            repairing = matches!(read, Err(MountError::Repairing));
            if repairing {
                read = Superblock::read_repairing(medium);
                if let Ok((sb, _)) = &read {
                    sb.write_at(medium, 0)?;
                }
            }
            let (sb, _) = match read {
                Ok(read) => read,
                Err(MountError::Io) => return Err(Error::Io),
                Err(why) => return Ok(Err(why.to_string())),
            };
            if !others.is_empty() {
                let list = signatures::list(&others);
                fault(0, true, format!("{list} beside the superblock; erased"));
                medium.zero(0, BLOCK_SIZE)?;
                sb.write_at(medium, 0)?;
            }
            sb
        }
    };
    if sb.reserved.iter().any(|&byte| byte != 0) {
        fault(
            0,
            false,
            "reserved bytes of the superblock; cleared".to_owned(),
        );
        sb.reserved = [0; 316];
        sb.crc.set(sb.checksum(medium));
        sb.write_at(medium, 0)?;
    }
    let block = sb.backup_block.get();
    let mut copy = [0; size_of::<Superblock>()];
    medium.read(offset_of(block), &mut copy)?;
    if copy != sb.as_bytes() {
        let what = "backup superblock differs; written anew";
        fault(block, false, what.to_owned());
        sb.write_at(medium, block)?;
    }
    Ok(Ok(repairing))
}
