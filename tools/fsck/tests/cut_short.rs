// SPDX-License-Identifier: GPL-2.0

//! Whatever power loss or a signal leaves of a repair, the next check ends where the repair would
//! have ended; and what is left of mkfs is the old file system, the new one, or none.
//!
//! The stores of a repair are recorded. It is cut short at each fence and at some of the stores, with
//! every choice of the words that need not have survived if there are few, else with some of them.
//! Each image is looked at as the kernel would, and repaired; some of those repairs are cut short, too.
//!
//! With `PINFS_AMOUNT=full` in the environment there are more of everything.

use std::{
    collections::{
        BTreeMap,
        BTreeSet, //
    },
    env, //
};

use pinfs_corrupt::{
    base,
    Corpus, //
};
use pinfs_format::{
    check::{
        self as contents,
        Object, //
    },
    crash::{
        Event,
        Power,
        Random,
        Recorder,
        Survival, //
    },
    crc::Checksum,
    exercise::attributes,
    extents::{
        self,
        Extent, //
    },
    inode::{
        S_IFDIR,
        S_IFMT,
        S_IFREG, //
    },
    journal::{
        self,
        Journal, //
    },
    memory::Memory,
    mkfs,
    mount,
    namespace,
    offset_of,
    space::{
        self,
        Claim, //
    },
    superblock::Superblock,
    volume::inode_offset,
    xattr::Namespace,
    Error,
    Medium,
    MountError,
    Name,
    Space,
    Time,
    Volume,
    BLOCK_SIZE, //
};
use pinfs_fsck::{
    check,
    Fault,
    Options,
    Outcome,
    Overlay, //
};

const BLOCKS: u64 = 640;

/// The least that is worth a look, or as much as there is time for.
fn amount(short: usize, full: usize) -> usize {
    match env::var("PINFS_AMOUNT").as_deref() {
        Ok("full") => full,
        _ => short,
    }
}

fn hash(image: &[u8]) -> u64 {
    Memory::new(Vec::new()).xxh64(0, image)
}

/// What there is to see of a file, without what depends on when and where it was repaired.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    mode: u32,
    owner: (u32, u32),
    nlink: u32,
    size: u64,
    rdev: u64,
    target: Vec<u8>,
    xattrs: BTreeMap<(Namespace, Vec<u8>), Vec<u8>>,
    times: Option<[Time; 4]>,
    /// What its blocks hold; `None` for those that are not written.
    data: BTreeMap<u64, Option<u64>>,
}

impl Node {
    fn new(image: &[u8], object: &Object) -> Self {
        let mut data = BTreeMap::new();
        for extent in &object.extents {
            for at in 0..extent.len {
                let from = offset_of(extent.block + at) as usize;
                let block = &image[from..from + BLOCK_SIZE as usize];
                let hash = (!extent.unwritten).then(|| hash(block));
                data.insert(extent.lblock + at, hash);
            }
        }
        Node {
            mode: object.mode,
            owner: object.owner,
            nlink: object.nlink,
            size: object.size,
            rdev: object.rdev,
            target: object.target.clone(),
            xattrs: object.xattrs.clone(),
            times: (object.mode & S_IFMT != S_IFDIR).then_some(object.times),
            data,
        }
    }
}

/// What a file system holds, by paths, and by numbers what has none.
type State = BTreeMap<Vec<u8>, Node>;

fn state(image: &[u8]) -> Result<State, String> {
    let volume = Volume::open(Memory::new(image.to_vec())).map_err(|why| why.to_string())?;
    let contents = contents::check(&volume)
        .map_err(|problems| problems[..problems.len().min(3)].join("; "))?;
    let mut state = State::new();
    let mut todo = vec![(b"/".to_vec(), volume.geometry().root_ino)];
    for ino in &contents.orphans {
        todo.push((ino.to_string().into_bytes(), *ino));
    }
    while let Some((path, ino)) = todo.pop() {
        let object = &contents.objects[&ino];
        for (name, ino) in &object.names {
            todo.push(([&path[..], &b"/"[..], &name[..]].concat(), *ino));
        }
        state.insert(path, Node::new(image, object));
    }
    Ok(state)
}

/// A check, and the repair of what it finds.
struct Run {
    faults: Vec<Fault>,
    /// It said that it need not look.
    clean: bool,
    /// There was a record in the journal.
    replayed: bool,
    events: Vec<Event>,
    image: Vec<u8>,
}

fn repair(image: Vec<u8>, force: bool) -> Result<Run, String> {
    let recorder = Recorder::new(image);
    let overlay = Overlay::new(&recorder);
    let outcome = check(&overlay, Options { force }, &mut |_, _, _| {});
    let (faults, clean, replayed) = match outcome.expect("memory does not fail") {
        Outcome::Checked {
            faults, replayed, ..
        } => {
            let committed = overlay.commit();
            committed.map_err(|error| error.to_string())?;
            (faults, false, replayed.is_some())
        }
        Outcome::Clean(_) => (Vec::new(), true, false),
        Outcome::Refused(why) => return Err(why),
        Outcome::NoRoom(_) => return Err("no room".to_owned()),
    };
    Ok(Run {
        faults,
        clean,
        replayed,
        events: recorder.take(),
        image: recorder.image(),
    })
}

fn loses(faults: &[Fault]) -> bool {
    faults.iter().any(|fault| fault.loss)
}

/// How many looks there are.
#[derive(Clone, Copy)]
struct Budget {
    /// At a fence.
    fence: usize,
    /// At places between two fences.
    between: usize,
}

impl Budget {
    fn usual() -> Self {
        Budget {
            fence: amount(10, 600),
            between: amount(12, 400),
        }
    }
}

/// Calls `look` with images that power loss may leave while the events happen.
fn cut(
    start: &[u8],
    events: &[Event],
    budget: Budget,
    random: &mut Random,
    mut look: impl FnMut(usize, Vec<u8>, &mut Random),
) {
    let mut power = Power::new(start.to_vec());
    let every = (events.len() / budget.between.max(1)).max(1) as u64;
    let mut choice = random.clone();
    for (index, &event) in events.iter().enumerate() {
        let limit = match event {
            Event::Fence => budget.fence,
            _ if choice.once_in(every) => 3,
            _ => 0,
        };
        if limit > 0 {
            power.images(limit, random, |image| look(index, image, &mut choice));
        }
        power.apply(event);
    }
    // What nobody has waited for is open even at the end.
    power.images(budget.fence, random, |image| {
        look(events.len(), image, &mut choice)
    });
}

/// A repair, and what it is judged by.
struct Workload {
    start: Vec<u8>,
    events: Vec<Event>,
    wanted: State,
    /// Nothing of it needs `-y`.
    harmless: bool,
    /// The file system said that it was clean before.
    clean: bool,
    /// There was a record in the journal.
    replayed: bool,
}

impl Workload {
    /// The repair of `start`; `None` if that is refused.
    fn of(start: Vec<u8>) -> Option<Self> {
        let clean = match check(
            &Overlay::new(&Memory::new(start.clone())),
            Options::default(),
            &mut |_, _, _| {},
        ) {
            Ok(Outcome::Clean(_)) => true,
            Ok(_) => false,
            Err(error) => panic!("{error}"),
        };
        let run = repair(start.clone(), true).ok()?;
        Some(Workload {
            start,
            events: run.events,
            wanted: state(&run.image).expect("repaired"),
            harmless: !loses(&run.faults),
            clean,
            replayed: run.replayed,
        })
    }

    /// Says what is wrong with what is left of an image.
    fn judge(&self, image: &[u8], deeper: bool, random: &mut Random) -> Result<(), String> {
        // The kernel may be first.
        let memory = Memory::new(image.to_vec());
        match Volume::open(&memory) {
            Ok(volume) => {
                let recovered = journal::recover(&volume).is_ok();
                if let (true, Ok(mut status)) = (recovered, mount::status(&volume)) {
                    status.flags.set(status.flags.get() | mount::MOUNTED);
                    volume.store(mount::STATUS, &mut status).expect("store");
                    self.settle(memory.image(), deeper, random)
                        .map_err(|why| format!("after a mount, {why}"))?;
                }
            }
            Err(MountError::NotPinfs | MountError::BadChecksum | MountError::Repairing) => {}
            // As it was.
            Err(_) if image[..512] == self.start[..512] => {}
            Err(why) => return Err(format!("the kernel says: {why}")),
        }
        self.settle(image.to_vec(), deeper, random)
    }

    fn settle(&self, image: Vec<u8>, deeper: bool, random: &mut Random) -> Result<(), String> {
        let mut run = repair(image.clone(), false)?;
        if run.clean && self.clean && state(&run.image).ok().as_ref() != Some(&self.wanted) {
            // It has not begun.
            run = repair(image.clone(), true)?;
        }
        if self.harmless && loses(&run.faults) {
            return Err(format!("-p does not go on: {:#?}", run.faults));
        }
        let found = state(&run.image)?;
        if found != self.wanted {
            return Err(difference(&self.wanted, &found));
        }
        let again = repair(run.image.clone(), true)?;
        if !again.faults.is_empty() {
            return Err(format!("then there are {:#?}", again.faults));
        }
        if deeper && !run.events.is_empty() {
            let budget = Budget {
                fence: 2,
                between: 2,
            };
            let mut result = Ok(());
            cut(&image, &run.events, budget, random, |at, image, random| {
                if result.is_ok() {
                    result = self
                        .judge(&image, false, random)
                        .map_err(|why| format!("cut again at {at}, {why}"));
                }
            });
            result?;
        }
        Ok(())
    }

    /// Cuts `events` short and says what goes wrong first.
    fn explore(
        &self,
        events: &[Event],
        budget: Budget,
        tally: &mut usize,
        random: &mut Random,
    ) -> Result<(), String> {
        let mut result = Ok(());
        let mut seen = BTreeSet::new();
        cut(&self.start, events, budget, random, |at, image, random| {
            if result.is_ok() && seen.insert(hash(&image)) {
                *tally += 1;
                let deeper = random.once_in(16);
                result = self
                    .judge(&image, deeper, random)
                    .map_err(|why| format!("cut at {at} of {}: {why}", events.len()));
            }
        });
        result
    }
}

/// The first thing that is not as wanted.
fn difference(wanted: &State, found: &State) -> String {
    let text = |path: &[u8]| path.escape_ascii().to_string();
    for (path, node) in wanted {
        match found.get(path) {
            None => return format!("{} is lost", text(path)),
            Some(other) if other != node => {
                return format!("{}: {node:?} has become {other:?}", text(path));
            }
            Some(_) => {}
        }
    }
    let more = found.keys().find(|path| !wanted.contains_key(*path));
    format!("there is {:?}", more.map(|path| text(path)))
}

fn good() -> Vec<u8> {
    base(BLOCKS).expect("base")
}

/// The base as a repair leaves it: clean, with an empty journal.
fn tidy() -> Vec<u8> {
    repair(good(), true).expect("accepted").image
}

fn fill(mut image: Vec<u8>, block: usize, byte: u8) -> Vec<u8> {
    let at = block * BLOCK_SIZE as usize;
    image[at..at + BLOCK_SIZE as usize].fill(byte);
    image
}

fn leaf_of(image: &[u8]) -> usize {
    let blocks = image.chunks(BLOCK_SIZE as usize);
    blocks
        .enumerate()
        .find(|(_, block)| block.starts_with(b"pDir"))
        .expect("a leaf")
        .0
}

/// The inode of the named file or directory in the root.
fn ino_of(image: &[u8], name: &[u8]) -> u64 {
    let volume = Volume::open(Memory::new(image.to_vec())).expect("superblock");
    journal::recover(&volume).expect("recovery");
    let root = volume.geometry().root_ino;
    let contents = contents::check(&volume).expect("without fault");
    contents.objects[&root].names[name]
}

fn without_inode(image: Vec<u8>, name: &[u8]) -> Vec<u8> {
    let at = inode_offset(ino_of(&image, name)) as usize;
    let mut image = image;
    image[at..at + 256].fill(0);
    image
}

/// The base, mounted, and its journal has a record of a rename that is not in its places yet.
fn renamed() -> Vec<u8> {
    let start = tidy();
    let recorder = Recorder::new(start.clone());
    let volume = Volume::open(&recorder).expect("superblock");
    let words = space::words_needed(BLOCKS) as usize;
    let mut space = Space::load(&volume, vec![0; words]).expect("bitmaps");
    let mut journal = Journal::new(&volume, vec![0; journal::ARENA_BYTES]).expect("journal");
    let now = Time { sec: 5, nsec: 6 };
    journal
        .run(&volume, &mut space, |tx| mount::mounted(tx, now))
        .expect("mount");
    let mut power = Power::new(start.clone());
    recorder
        .take()
        .into_iter()
        .for_each(|event| power.apply(event));
    let root = volume.geometry().root_ino;
    let dir = ino_of(&start, b"deep0");
    journal
        .run(&volume, &mut space, |tx| {
            let (from, to) = (Name::new(b"plain")?, Name::new(b"renamed")?);
            let replace = namespace::IfExists::Replace;
            namespace::rename(tx, (root, from), (dir, to), replace, now)
        })
        .expect("rename");
    let nothing = || Random::new(0);
    let before = power.fail(Survival::Nothing, &mut nothing());
    for event in recorder.take() {
        power.apply(event);
        let image = power.fail(Survival::Nothing, &mut nothing());
        if image[2 * 4096..] != before[2 * 4096..] && matches!(event, Event::Fence) {
            let volume = Volume::open(Memory::new(image.clone())).expect("superblock");
            assert_eq!(journal::needs_recovery(&volume), Ok(true));
            return image;
        }
    }
    panic!("no fence behind a record");
}

/// A status that says that it was unmounted.
fn marked_clean(image: Vec<u8>) -> Vec<u8> {
    let volume = Volume::open(Memory::new(image)).expect("superblock");
    let mut status = mount::status(&volume).expect("status");
    status.flags.set(0);
    volume.store(mount::STATUS, &mut status).expect("store");
    volume.medium().image()
}

/// Two files that have the same blocks.
fn crossed() -> Vec<u8> {
    let image = tidy();
    let (one, other) = (ino_of(&image, b"plain"), ino_of(&image, b"halfway"));
    let volume = Volume::open(Memory::new(image)).expect("superblock");
    let from = volume.inode(one).expect("inode");
    let mut to = volume.inode(other).expect("inode");
    to.root = from.root;
    volume.store(inode_offset(other), &mut to).expect("store");
    volume.medium().image()
}

/// Bytes of the superblock that are reserved are not zero, under a right checksum.
fn untidy_superblock() -> Vec<u8> {
    let memory = Memory::new(good());
    let (mut sb, _) = Superblock::read(&memory).expect("superblock");
    sb.reserved = [0x5a; 316];
    sb.crc.set(sb.checksum(&memory));
    sb.write_at(&memory, 0).expect("store");
    memory.image()
}

/// Where a file's blocks stand.
fn target_of(image: &[u8]) -> usize {
    let blocks = image.chunks(BLOCK_SIZE as usize);
    blocks
        .enumerate()
        .find(|(_, block)| block.starts_with(b"pTgt") || block.starts_with(b"pXat"))
        .map_or_else(|| leaf_of(image), |(at, _)| at)
}

fn workloads() -> Vec<(&'static str, Vec<u8>)> {
    let last = BLOCKS as usize - 1;
    vec![
        ("rename", renamed()),
        ("rename-and-bitmap", fill(renamed(), 66, 0)),
        ("rename-and-superblock", fill(renamed(), 0, 0)),
        ("replay", good()),
        ("clean-replay", marked_clean(good())),
        ("bitmap", fill(good(), 66, 0)),
        ("bitmap-of-clean", fill(tidy(), 66, 0)),
        ("superblock", fill(good(), 0, 0)),
        (
            "superblock-and-leaf",
            fill(fill(good(), 0, 0), leaf_of(&good()), 0x55),
        ),
        ("superblock-of-clean", fill(fill(tidy(), 0, 0), 66, 0)),
        ("backup", fill(good(), last, 0)),
        ("untidy-superblock", untidy_superblock()),
        ("leaf", fill(good(), leaf_of(&good()), 0x55)),
        ("directory", without_inode(good(), b"big")),
        ("node", without_inode(tidy(), b"deep0")),
        ("target", fill(good(), target_of(&good()), 0x33)),
        ("crossed", crossed()),
        ("journal", fill(fill(good(), 2, 0xff), 1, 0xff)),
    ]
}

#[test]
fn s3_a7_a_repair_can_be_cut_short_anywhere() {
    let mut tally = 0;
    for (name, start) in workloads() {
        let workload = Workload::of(start).expect(name);
        let mut random = Random::new(7);
        let events = workload.events.clone();
        let result = workload.explore(&events, Budget::usual(), &mut tally, &mut random);
        if let Err(why) = result {
            panic!("{name}: {why}");
        }
    }
    println!("{tally} images");
    assert!(tally > 500, "{tally}");
}

/// Damage of every kind.
#[test]
fn s3_a7_repairs_of_any_damage_can_be_cut_short() {
    let image = good();
    let corpus = Corpus::new(image.clone()).expect("corpus");
    let list = corpus.list(17, amount(72, 2000));
    let budget = Budget {
        fence: amount(2, 12),
        between: amount(2, 12),
    };
    let mut tally = 0;
    let mut random = Random::new(23);
    for damage in list {
        let mut damaged = image.clone();
        damage.apply(&mut damaged);
        let Some(workload) = Workload::of(damaged) else {
            continue;
        };
        let events = workload.events.clone();
        if let Err(why) = workload.explore(&events, budget, &mut tally, &mut random) {
            panic!("{}: {why}", damage.name);
        }
    }
    println!("{tally} images");
    assert!(tally > 300, "{tally}");
}

/// What was durable in the journal is not lost or half done: here a rename, by each write of a
/// check that finds nothing wrong and is killed.
#[test]
fn s3_a7_a_durable_rename_outlives_a_killed_check() {
    let start = renamed();
    let run = repair(start.clone(), false).expect("accepted");
    assert!(run.faults.is_empty());
    let wanted = state(&run.image).expect("without fault");
    assert!(wanted.contains_key(&b"//deep0/renamed"[..]));
    let mut power = Power::new(start);
    let mut looks = 0;
    for &event in &run.events {
        power.apply(event);
        if matches!(event, Event::Store { .. }) {
            continue;
        }
        looks += 1;
        power.images(1, &mut Random::new(0), |image| {
            let again = repair(image, false).expect("accepted");
            assert!(!loses(&again.faults), "{:#?}", again.faults);
            assert_eq!(state(&again.image).as_ref(), Ok(&wanted));
        });
    }
    assert!(looks > 10, "{looks}");
}

/// A file system whose journal has so many blocks, and whose one file has all blocks that are left.
fn full(blocks: u64, journal_blocks: u64) -> Vec<u8> {
    let now = Time { sec: 5, nsec: 6 };
    let options = mkfs::Options {
        uuid: *b"pinfs-without-ro",
        label: [0; 32],
        hash_key: (3, 4),
        now,
        uid: 0,
        gid: 0,
    };
    let memory = Memory::new(vec![0; (blocks * BLOCK_SIZE) as usize]);
    mkfs::format(&memory, &options).expect("format");
    let volume = Volume::open(&memory).expect("superblock");
    let mut space = {
        let words = space::words_needed(blocks) as usize;
        Space::load(&volume, vec![0; words]).expect("bitmaps")
    };
    let mut journal = Journal::new(&volume, vec![0; journal::ARENA_BYTES]).expect("journal");
    let root = volume.geometry().root_ino;
    let name = Name::new(b"all").expect("a valid name");
    let ino = journal
        .run(&volume, &mut space, |tx| {
            namespace::create(tx, root, name, &attributes(S_IFREG), None)
        })
        .expect("create");
    let mut at = 0;
    while let Ok(extent) = journal.run(&volume, &mut space, |tx| {
        // The reserve, too.
        tx.claim(Claim::Freeing);
        let extent = extents::alloc_extent(tx, ino, at, blocks)?;
        let extent = Extent {
            unwritten: true,
            ..extent
        };
        extents::insert(tx, ino, extent)?;
        Ok(extent)
    }) {
        at = extent.end();
    }
    assert_eq!(space.counts().free, 0);
    journal.retire(&volume).expect("retire");
    let (mut sb, _) = Superblock::read(&memory).expect("superblock");
    sb.journal_blocks.set(journal_blocks);
    sb.crc.set(sb.checksum(&memory));
    for copy in [0, blocks - 1] {
        sb.write_at(&memory, copy).expect("store");
    }
    memory.image()
}

/// Where there is no room for one log, all but the bitmap of blocks goes into the first; without any
/// room nothing is written.
#[test]
fn s3_a7_repairs_on_a_full_device() {
    let blocks = 32 << 10;
    let damage = |mut image: Vec<u8>| {
        let volume = Volume::open(Memory::new(image.clone())).expect("superblock");
        let geometry = *volume.geometry();
        for (start, end) in [
            (geometry.bitmap_start, geometry.inode_bitmap_start),
            (geometry.sums_start, geometry.data_start),
        ] {
            image[offset_of(start) as usize..offset_of(end) as usize].fill(0);
        }
        image
    };
    let workload = Workload::of(damage(full(blocks, 2))).expect("room for a piece");
    // Each of two logs has four.
    assert_eq!(segments(&workload.events).len(), 10);
    let budget = Budget {
        fence: amount(1, 10),
        between: amount(1, 10),
    };
    let events = workload.events.clone();
    let mut tally = 0;
    let result = workload.explore(&events, budget, &mut tally, &mut Random::new(1));
    assert_eq!(result, Ok(()));
    assert!(tally > 5, "{tally}");

    let recorder = Recorder::new(damage(full(blocks, 1)));
    let overlay = Overlay::new(&recorder);
    let outcome = check(&overlay, Options { force: true }, &mut |_, _, _| {});
    assert!(
        matches!(outcome, Ok(Outcome::Checked { .. })),
        "{outcome:?}"
    );
    assert_eq!(overlay.commit(), Err(Error::NoSpace));
    assert!(recorder.take().is_empty());
}

/// The file system that there was, the new one, or none; never half of one.
#[test]
fn s3_mkfs_can_be_cut_short_anywhere() {
    let options = mkfs::Options {
        uuid: *b"pinfs-made-anew!",
        label: [b'n'; 32],
        hash_key: (3, 4),
        now: Time { sec: 5, nsec: 6 },
        uid: 0,
        gid: 0,
    };
    let budget = Budget {
        fence: amount(12, 300),
        between: amount(40, 400),
    };
    let size = (BLOCKS * BLOCK_SIZE) as usize;
    let old_state = state(&tidy()).expect("without fault");
    let mut tally = [0; 3];
    for start in [vec![0; size], vec![0xaa; size], tidy()] {
        let recorder = Recorder::new(start.clone());
        mkfs::format(&recorder, &options).expect("format");
        let new_state = state(&recorder.image()).expect("without fault");
        let events = recorder.take();
        let mut random = Random::new(3);
        cut(&start, &events, budget, &mut random, |at, image, _| {
            let opened = Volume::open(Memory::new(image.clone())).is_ok();
            let run = match repair(image.clone(), true) {
                Ok(run) => run,
                Err(why) => {
                    assert!(!opened, "cut at {at}: {why}");
                    tally[0] += 1;
                    return;
                }
            };
            let found = state(&run.image).expect("repaired");
            if found == new_state {
                tally[1] += 1;
            } else if found == old_state {
                tally[2] += 1;
            } else {
                panic!("cut at {at}: {:#?}", run.faults);
            }
            if opened {
                assert!(run.faults.is_empty(), "cut at {at}: {:#?}", run.faults);
            }
        });
    }
    println!("none, new, old: {tally:?}");
    assert!(tally.iter().all(|count| *count > 0), "{tally:?}");
}

/// The events between the fences, each with the fence behind it.
fn segments(events: &[Event]) -> Vec<Vec<Event>> {
    let mut segments = Vec::new();
    let mut segment = Vec::new();
    for &event in events {
        segment.push(event);
        if matches!(event, Event::Fence) {
            segments.push(std::mem::take(&mut segment));
        }
    }
    segments.push(segment);
    segments.retain(|segment| !segment.is_empty());
    segments
}

fn stores_to(segment: &[Event], block: u64) -> bool {
    segment
        .iter()
        .any(|event| matches!(event, Event::Store { off, .. } if off / BLOCK_SIZE == block))
}

/// A repair written in a wrong way.
#[derive(Clone, Copy, Debug)]
enum Bug {
    /// The kernel's record is erased before what it says is in its places.
    RecordErasedFirst,
    /// Nobody waits for new blocks before the log that has what refers to them.
    NewBlocksUnfenced,
    /// New blocks are not written back.
    NewBlocksNotFlushed,
    /// Nobody waits for the log before what it says goes into its places.
    LogUnfenced,
    /// What the log says is in its places before the log is there: old blocks are used again.
    OldBlocksUsedAgain,
    /// Nobody waits for what the log says before it is erased.
    PlacesUnfenced,
    /// The mark goes before what the log says is in its places.
    MarkRemovedFirst,
    /// Blocks in ascending order, without a fence, the status last.
    AsItWas,
}

const BUGS: [Bug; 8] = [
    Bug::RecordErasedFirst,
    Bug::NewBlocksUnfenced,
    Bug::NewBlocksNotFlushed,
    Bug::LogUnfenced,
    Bug::OldBlocksUsedAgain,
    Bug::PlacesUnfenced,
    Bug::MarkRemovedFirst,
    Bug::AsItWas,
];

impl Bug {
    /// What the repair would have done. `None` where it makes no difference.
    fn plant(self, workload: &Workload) -> Option<Vec<Event>> {
        const JOURNAL: u64 = 2;
        let mut segments = segments(&workload.events);
        // The mark; the record, what it says in its places, erased.
        assert!(stores_to(&segments[0], 0));
        if let Bug::RecordErasedFirst = self {
            return workload.replayed.then(|| {
                segments.swap(2, 3);
                segments.concat()
            });
        }
        if let Bug::AsItWas = self {
            return Some(as_it_was(workload));
        }
        // New blocks and pieces, head, places, erased; the mark.
        let first = if workload.replayed { 4 } else { 1 };
        if segments.len() != first + 5 {
            return None;
        }
        assert!(stores_to(&segments[first + 1], JOURNAL));
        assert!(stores_to(&segments[first + 3], JOURNAL));
        assert!(stores_to(&segments[first + 4], 0));
        match self {
            Bug::RecordErasedFirst | Bug::AsItWas => return None,
            Bug::NewBlocksUnfenced => {
                segments[first].pop();
            }
            Bug::NewBlocksNotFlushed => {
                segments[first].retain(|event| !matches!(event, Event::Flush { .. }));
            }
            Bug::LogUnfenced => {
                segments[first + 1].pop();
            }
            Bug::OldBlocksUsedAgain => segments.swap(first + 1, first + 2),
            Bug::PlacesUnfenced => {
                segments[first + 2].pop();
            }
            Bug::MarkRemovedFirst => {
                let last = segments.pop()?;
                segments.insert(first + 2, last);
            }
        }
        Some(segments.concat())
    }
}

/// What fsck.pinfs did when it wrote the blocks that had changed one after the other.
fn as_it_was(workload: &Workload) -> Vec<Event> {
    let result = Recorder::new(workload.start.clone());
    workload.events.iter().for_each(|event| {
        if let Event::Store { off, word } = event {
            result.write(*off, &word.to_le_bytes()).expect("store");
        }
    });
    let new = result.image();
    let recorder = Recorder::new(workload.start.clone());
    if let Ok(volume) = Volume::open(&recorder) {
        if let Ok(mut status) = mount::status(&volume) {
            status.flags.set(status.flags.get() | mount::MOUNTED);
            volume.store(mount::STATUS, &mut status).expect("store");
            recorder.fence();
        }
    }
    for last in [false, true] {
        for (index, block) in new.chunks(BLOCK_SIZE as usize).enumerate() {
            let off = offset_of(index as u64);
            let old = &workload.start[off as usize..off as usize + block.len()];
            if (off == mount::STATUS) == last && old != block {
                recorder.store(off, block).expect("store");
            }
        }
        recorder.fence();
    }
    recorder.take()
}

/// Each bug is found by at least one workload.
#[test]
fn s3_a7_planted_bugs_of_a_repair_are_found() {
    // Those that most of them break come first.
    let first = |name: &str| !matches!(name, "superblock-and-leaf" | "rename");
    let mut workloads: Vec<(&str, Workload)> = workloads()
        .into_iter()
        .map(|(name, start)| (name, Workload::of(start).expect(name)))
        .collect();
    workloads.sort_by_key(|(name, _)| first(name));
    let budget = Budget {
        fence: amount(24, 200),
        between: amount(24, 200),
    };
    let mut tally = 0;
    let mut missed = Vec::new();
    for bug in BUGS {
        let found = workloads.iter().find_map(|(name, workload)| {
            let events = bug.plant(workload)?;
            let mut random = Random::new(11);
            let result = workload.explore(&events, budget, &mut tally, &mut random);
            result.err().map(|why| (name, why))
        });
        match found {
            Some((name, why)) => {
                let why: String = why.chars().take(200).collect();
                println!("{bug:?}: by {name}: {why}");
            }
            None => missed.push(bug),
        }
    }
    println!("{tally} images");
    assert!(missed.is_empty(), "not found: {missed:?}");
}
