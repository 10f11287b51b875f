// SPDX-License-Identifier: GPL-2.0

//! What is stored to the bitmaps, and what is flushed of it.

use pinfs_format::{
    crash::{
        Event,
        Power,
        Recorder, //
    },
    space::{
        BlockRun, //
        Request,
    }, //
};

use crate::support::{
    image,
    Fs, //
};

const BLOCK: u64 = 4096;
const GROUP: u64 = 512;
const BLOCKS: u64 = 13 * GROUP;
/// Blocks, and bits, of a word.
const WORD: u64 = 64;

/// Where runs begin and end: at the bounds of groups and of words, and beside them.
fn bounds(all: BlockRun) -> Vec<u64> {
    let end = all.start + all.len;
    let at = |group| [0, 1, WORD - 1, WORD, 3 * WORD, GROUP - 1].map(|block| group * GROUP + block);
    let inner = (all.start / GROUP..=end / GROUP).flat_map(at);
    let mut bounds: Vec<u64> = inner
        .filter(|block| all.start < *block && *block < end)
        .collect();
    bounds.extend([all.start, end]);
    bounds
}

/// Looks at what a transaction that took or gave a run stored and flushed: that run's words and the
/// checksums of its groups, and all of that, but nothing else.
fn judge(fs: &Fs<Recorder>, power: &mut Power, run: BlockRun) {
    let geometry = fs.volume.geometry();
    let end = run.start + run.len;
    let words = run.start / WORD..end.div_ceil(WORD);
    let groups = run.start / GROUP..end.div_ceil(GROUP);
    let bitmap = geometry.bitmap_start * BLOCK..geometry.inode_bitmap_start * BLOCK;
    let sums = geometry.sums_start * BLOCK..geometry.data_start * BLOCK;
    let mut stored = 0;
    for event in fs.volume.medium().take() {
        power.apply(event);
        let (off, len) = match event {
            Event::Store { off, .. } => (off, 8),
            Event::Flush { off, len } => (off, len),
            Event::Fence => continue,
        };
        let (table, own) = if bitmap.contains(&off) {
            stored += u64::from(matches!(event, Event::Store { .. }));
            (&bitmap, &words)
        } else if sums.contains(&off) {
            (&sums, &groups)
        } else {
            assert!(off < bitmap.start, "{run:?}: {event:?}");
            continue;
        };
        let own = table.start + own.start * 8..table.start + own.end * 8;
        assert!(
            own.start <= off && off + len <= own.end,
            "{run:?}: {event:?}"
        );
    }
    assert_eq!(stored, words.end - words.start, "{run:?}");
    power.apply(Event::Fence);
    assert_eq!(power.open(), 0, "{run:?} leaves words in the cache");
}

/// Takes all blocks that there are.
fn take_all(fs: &mut Fs<Recorder>, power: &mut Power) -> Vec<BlockRun> {
    let wanted = Request {
        goal: None,
        min: 1,
        max: BLOCKS,
        aligned: false,
    };
    let mut runs = Vec::new();
    while let Ok(run) = fs.run(|tx| tx.alloc_blocks(wanted)) {
        judge(fs, power, run);
        runs.push(run);
    }
    runs
}

fn give_back(fs: &mut Fs<Recorder>, power: &mut Power, run: BlockRun) {
    fs.run(|tx| tx.free_blocks(run)).expect("free");
    judge(fs, power, run);
}

#[test]
fn only_what_changes_is_stored_and_all_of_it_flushed() {
    let image = image(BLOCKS);
    let mut power = Power::new(image.clone());
    let (mut fs, _) = Fs::mount(Recorder::new(image));
    let taken = take_all(&mut fs, &mut power);
    let longest = taken.iter().max_by_key(|run| run.len).expect("space");
    assert!(longest.len > 4 * GROUP);

    let bounds = bounds(*longest);
    for &start in &bounds {
        for &end in bounds.iter().filter(|end| **end > start) {
            let run = BlockRun {
                start,
                len: end - start,
            };
            give_back(&mut fs, &mut power, run);
            take_all(&mut fs, &mut power);
        }
    }
    for run in taken {
        give_back(&mut fs, &mut power, run);
    }
    fs.check();
}
