// SPDX-License-Identifier: GPL-2.0

//! The explorer's parts, one by one. That the whole finds bugs is shown by tests/powerloss/run.

use std::collections::BTreeSet;

use pinfs_format::crash::Random;
use pinfs_powerloss_explorer::{
    memory::{
        word,
        Memory, //
    },
    oracle::{
        Dirty,
        State, //
    },
    reproducer::Reproducer,
    trace::{
        Event,
        Trace, //
    },
    tree::{
        Node,
        Tree, //
    },
};

#[path = "../plugin/src/decode.rs"]
mod decode;

use decode::Instruction;

/// Every image there may be, as the first words of the memory.
fn images(memory: &Memory, words: u64) -> BTreeSet<Vec<u64>> {
    let mut found = BTreeSet::new();
    memory.images(1000, &mut Random::new(1), |change| {
        let mut image = memory.durable().0.to_vec();
        for &(off, word) in change {
            pinfs_powerloss_explorer::memory::put(&mut image, off, word);
        }
        assert_eq!(
            memory.hash_with(change),
            Memory::new(image.clone()).durable().1
        );
        found.insert((0..words).map(|i| word(&image, i * 8)).collect());
    });
    found
}

fn store(memory: &mut Memory, off: u64, value: u64, streaming: bool) {
    let bytes = &value.to_le_bytes()[..];
    let event = Event::Store {
        off,
        bytes,
        streaming,
    };
    memory.apply(&event, |_, _| ());
}

fn flush(memory: &mut Memory, off: u64) {
    memory.apply(&Event::Flush { off, site: 0 }, |_, _| ());
}

fn fence(memory: &mut Memory) {
    memory.apply(&Event::Fence { site: 0 }, |_, _| ());
}

#[test]
fn a_line_keeps_its_order() {
    let mut memory = Memory::new(vec![0; 128]);
    store(&mut memory, 0, 1, false);
    store(&mut memory, 8, 2, false);
    let wanted = [vec![0, 0], vec![1, 0], vec![1, 2]];
    assert_eq!(images(&memory, 2), BTreeSet::from(wanted));
}

#[test]
fn lines_have_no_order() {
    let mut memory = Memory::new(vec![0; 128]);
    store(&mut memory, 0, 1, false);
    store(&mut memory, 64, 2, false);
    let found: BTreeSet<(u64, u64)> = images(&memory, 9).iter().map(|w| (w[0], w[8])).collect();
    assert_eq!(found, BTreeSet::from([(0, 0), (1, 0), (0, 2), (1, 2)]));
}

#[test]
fn words_past_the_cache_have_no_order() {
    let mut memory = Memory::new(vec![0; 128]);
    store(&mut memory, 0, 1, true);
    store(&mut memory, 8, 2, true);
    let wanted = [vec![0, 0], vec![1, 0], vec![0, 2], vec![1, 2]];
    assert_eq!(images(&memory, 2), BTreeSet::from(wanted));
    fence(&mut memory);
    assert_eq!(images(&memory, 2), BTreeSet::from([vec![1, 2]]));
}

#[test]
fn only_flush_and_fence_make_durable() {
    let mut memory = Memory::new(vec![0; 128]);
    store(&mut memory, 0, 1, false);
    fence(&mut memory);
    assert_eq!(images(&memory, 1).len(), 2, "a fence alone");
    flush(&mut memory, 0);
    assert_eq!(images(&memory, 1).len(), 2, "a flush alone");
    store(&mut memory, 8, 2, false);
    fence(&mut memory);
    let wanted = [vec![1, 0], vec![1, 2]];
    assert_eq!(
        images(&memory, 2),
        BTreeSet::from(wanted),
        "stored after the flush"
    );
    assert_eq!(word(memory.visible(), 8), 2);
}

#[test]
fn words_are_not_torn_and_lines_may_be() {
    let mut memory = Memory::new(vec![0; 128]);
    // Across two words: each is whole by itself.
    let bytes = &[0xff; 8][..];
    let event = Event::Store {
        off: 4,
        bytes,
        streaming: false,
    };
    memory.apply(&event, |_, _| ());
    let wanted = [
        vec![0, 0],
        vec![0xffff_ffff_0000_0000, 0],
        vec![0xffff_ffff_0000_0000, 0xffff_ffff],
    ];
    assert_eq!(images(&memory, 2), BTreeSet::from(wanted));
}

#[test]
fn many_images_are_a_choice_with_the_extremes() {
    let mut memory = Memory::new(vec![0; 1 << 16]);
    for line in 0..500 {
        store(&mut memory, line * 64, 1, false);
    }
    let mut sums = BTreeSet::new();
    let mut looks = 0;
    memory.images(64, &mut Random::new(1), |change| {
        looks += 1;
        sums.insert(change.len());
    });
    assert!((32..=80).contains(&looks), "{looks}");
    for wanted in [0, 1, 499, 500] {
        assert!(sums.contains(&wanted), "{wanted} of 500 lines");
    }
}

fn trace(records: &[u8]) -> Result<Vec<String>, String> {
    let mut bytes = b"pinfsPL1".to_vec();
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(8192u64.to_le_bytes());
    bytes.extend(records);
    let trace = Trace::new(bytes)?;
    let mut events = trace.events();
    let mut found = Vec::new();
    while let Some(event) = events.next()? {
        found.push(format!("{event:?}"));
    }
    Ok(found)
}

#[test]
fn traces_are_read() {
    let mut records = vec![0x60];
    records.extend([0; 40]);
    // A store of four bytes at 16, a flush there, a fence, a mark.
    records.extend([
        0x12, 32, 1, 2, 3, 4, 0x30, 0, 0, 0x40, 0, 0x50, 2, b'g', b'o', 0x7f,
    ]);
    let wanted = [
        "Store { off: 16, bytes: [1, 2, 3, 4], streaming: false }",
        "Flush { off: 16, site: 0 }",
        "Fence { site: 0 }",
        "Mark(\"go\")",
    ];
    assert_eq!(trace(&records).expect("a good trace"), wanted);
}

#[test]
fn bad_traces_are_refused() {
    let cases: [(&[u8], &str); 9] = [
        (&[], "cut off at byte 24"),
        (&[0x12, 32, 1, 2], "cut off"),
        (
            &[0x13, 0xff, 0xff, 0x7f, 1, 2, 3, 4, 5, 6, 7, 8, 0x7f],
            "outside of the memory",
        ),
        (&[0x30, 0, 0, 0x7f], "not defined"),
        (&[0x50, 1, 0xff, 0x7f], "no text"),
        (
            &[
                0x50, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
            "cut off",
        ),
        (&[0x70, 1, b'x', 0x7f], "the plugin gave up"),
        (&[0x99], "unknown record"),
        (&[0x7f, 0x40], "follows the end"),
    ];
    for (records, wanted) in cases {
        let why = trace(records).expect_err(wanted);
        assert!(why.contains(wanted), "{records:?}: {why}");
    }
    let not_one = Trace::new(b"pinfsPL2 and so on, long enough to be one".to_vec());
    assert!(not_one.err().is_some_and(|why| why.contains("not a trace")));
    assert!(Trace::new(Vec::new()).is_err());
}

#[test]
fn reproducers_are_the_image() {
    let mut image = vec![0xdb; 16384];
    image[5000..5100].fill(7);
    let path = std::env::temp_dir().join(format!("pinfs-reproducer-{}", std::process::id()));
    let kept = Reproducer {
        text: "what is wrong".to_owned(),
        image: image.clone(),
    };
    kept.write(&path).expect("write");
    let read = Reproducer::read(&path).expect("read");
    assert_eq!((read.text, read.image), (kept.text, image));
    let bytes = std::fs::read(&path).expect("read");
    assert!(bytes.len() < 1000, "small");
    std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("write");
    assert!(Reproducer::read(&path).is_err());
    std::fs::remove_file(&path).expect("remove");
}

fn tree(contents: &[u8]) -> Tree {
    let node = Node {
        ino: 17,
        mode: 0o100_644,
        links: 1,
        owner: (0, 0),
        size: contents.len() as u64,
        blocks: 1,
        rdev: 0,
        contents: contents.into(),
        xattrs: 0,
    };
    Tree::from([("/f".to_owned(), node)])
}

#[test]
fn data_may_be_lost_until_it_is_synced_and_only_data() {
    let (before, after) = (tree(b"aaaa"), tree(b"bbbb"));
    let clean = Dirty::default();
    let (_, later) = clean.during("write f 0 4", &before, &after);
    let state = |tree, dirty| State { tree, dirty };
    assert_eq!(state(&after, &later).differs(&tree(b"abab")), None);
    assert!(state(&after, &later).differs(&tree(b"abac")).is_some());
    assert!(state(&after, &later).differs(&tree(b"abab0")).is_some());
    assert!(state(&after, &later).differs(&Tree::new()).is_some());
    assert!(state(&after, &clean).differs(&tree(b"abbb")).is_some());
    let mut synced = later.clone();
    synced.settle("fsync f", 0, &after);
    assert!(state(&after, &synced).differs(&tree(b"abbb")).is_some());
    assert_eq!(state(&after, &synced).differs(&after), None);
    let mut failed = later.clone();
    failed.settle("fsync f", -5, &after);
    assert_eq!(state(&after, &failed).differs(&tree(b"abbb")), None);
    // A call that takes blocks for something else does not make the contents durable.
    let mut more = after.clone();
    for node in more.values_mut() {
        node.blocks += 1;
    }
    let (_, still) = later.during("setxattr f user.x 5000", &after, &more);
    assert_eq!(state(&more, &still).differs(&tree(b"aaaa")), None);
    // What is appended comes in pieces of whole blocks, one after the other.
    let (short, long) = (tree(&[b'a'; 100]), tree(&[b'a'; 9000]));
    let (_, grown) = clean.during("append f 8900", &short, &long);
    let cut = |len| state(&long, &grown).differs(&tree(&[b'a'; 9000][..len]));
    assert_eq!([100, 4096, 8192, 9000].map(cut), [const { None }; 4]);
    assert!(cut(4097).is_some() && cut(99).is_some());
    // Any other call is all or nothing.
    let (_, atomic) = clean.during("truncate f 2", &before, &tree(b"aa"));
    assert!(state(&tree(b"aa"), &atomic).differs(&before).is_some());
}

#[test]
fn instructions_are_recognised() {
    let fences: [&[u8]; 2] = [&[0x0f, 0xae, 0xf8], &[0x0f, 0xae, 0xf0]];
    for code in fences {
        assert_eq!(decode::decode(code, 0), Instruction::Fence, "{code:x?}");
    }
    // LFENCE, TPAUSE, XSAVEOPT, a plain store, CLDEMOTE's neighbour.
    let others: [&[u8]; 5] = [
        &[0x0f, 0xae, 0xe8],
        &[0x66, 0x0f, 0xae, 0xf0],
        &[0x0f, 0xae, 0x30],
        &[0x48, 0x89, 0x07],
        &[0x0f, 0x1c, 0x00],
    ];
    for code in others {
        assert_eq!(decode::decode(code, 0), Instruction::Other, "{code:x?}");
    }
    let streaming: [&[u8]; 3] = [
        &[0x4c, 0x0f, 0xc3, 0x07],
        &[0x66, 0x0f, 0xe7, 0x07],
        &[0xc5, 0xfd, 0xe7, 0x07],
    ];
    for code in streaming {
        assert_eq!(
            decode::decode(code, 0),
            Instruction::StreamingStore,
            "{code:x?}"
        );
    }
    assert_eq!(decode::decode(&[0x0f, 0xa2], 0), Instruction::Cpuid);
}

/// Registers hold 0x1000 times their number.
#[test]
fn operands_of_flushes_are_understood() {
    let cases: [(&[u8], u64); 8] = [
        // clwb (%rax), clflushopt (%rdi), clflush (%r8)
        (&[0x66, 0x0f, 0xae, 0x30], 0),
        (&[0x66, 0x0f, 0xae, 0x3f], 0x7000),
        (&[0x41, 0x0f, 0xae, 0x38], 0x8000),
        // clwb -64(%rbx), clwb 0x100(%rcx,%rdx,8), clwb (%r12), clwb (%rsp,%r9,2)
        (&[0x66, 0x0f, 0xae, 0x73, 0xc0], 0x2fc0),
        (&[0x66, 0x0f, 0xae, 0xb4, 0xd1, 0, 1, 0, 0], 0x11100),
        (&[0x66, 0x41, 0x0f, 0xae, 0x34, 0x24], 0xc000),
        (&[0x66, 0x42, 0x0f, 0xae, 0x34, 0x4c], 0x16000),
        // clwb 0x10(%rip)
        (&[0x66, 0x0f, 0xae, 0x35, 0x10, 0, 0, 0], 0x5018),
    ];
    for (code, wanted) in cases {
        let Instruction::Flush(operand) = decode::decode(code, 0x5000) else {
            panic!("{code:x?} is a flush");
        };
        let value = operand.value(|number| Some(number as u64 * 0x1000));
        assert_eq!(value, Some(wanted), "{code:x?}");
    }
}
