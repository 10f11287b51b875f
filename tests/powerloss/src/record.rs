// SPDX-License-Identifier: GPL-2.0

//! What has been done, kept so that a run that is interrupted goes on where it was.
//!
//! `DIR/done` has a line for each piece: the trace's number, counts, and the piece; `DIR/hashes` the
//! hashes of all images, 8 bytes each. A piece is done when its line is there, which comes last.

use std::{
    collections::{
        HashMap,
        HashSet, //
    },
    fs::{
        File,
        OpenOptions, //
    },
    io::Write,
    path::Path, //
};

use pinfs_powerloss_explorer::{
    explore::{
        Sink,
        Tally, //
    },
    trace::Trace, //
};

/// What has been done.
pub struct Record {
    files: Option<(File, File)>,
    hashes: HashSet<u64>,
    done: HashMap<(u64, String), Tally>,
    trace: u64,
}

impl Record {
    /// Reads what is in `dir`, if there is one.
    pub fn open(dir: Option<&Path>) -> Result<Self, String> {
        let mut record = Record {
            files: None,
            hashes: HashSet::new(),
            done: HashMap::new(),
            trace: 0,
        };
        if let Some(dir) = dir {
            let explain = |error: std::io::Error| format!("{}: {error}", dir.display());
            std::fs::create_dir_all(dir).map_err(explain)?;
            let append = |name| {
                let mut options = OpenOptions::new();
                options.create(true).append(true).open(dir.join(name))
            };
            let hashes = append("hashes").map_err(explain)?;
            // A run that was killed may have left a part of one.
            let len = hashes.metadata().map_err(explain)?.len();
            hashes.set_len(len / 8 * 8).map_err(explain)?;
            record.files = Some((append("done").map_err(explain)?, hashes));
            let bytes = std::fs::read(dir.join("hashes")).map_err(explain)?;
            let words = bytes.chunks_exact(8).map(|word| {
                let mut padded = [0; 8];
                padded.copy_from_slice(word);
                u64::from_le_bytes(padded)
            });
            record.hashes = words.collect();
            let lines = std::fs::read_to_string(dir.join("done")).map_err(explain)?;
            record.done = lines.lines().filter_map(parse).collect();
        }
        Ok(record)
    }

    /// What follows is about `trace`.
    pub fn begin(&mut self, trace: &Trace) {
        self.trace = trace.id;
    }

    /// Pieces of the trace that are done, and without a failure.
    pub fn done(&self) -> HashSet<String> {
        let good = self
            .done
            .iter()
            .filter(|((trace, _), tally)| *trace == self.trace && tally.failures == 0);
        good.map(|((_, piece), _)| piece.clone()).collect()
    }

    /// The sum of all that has been done.
    pub fn total(&self) -> Tally {
        let tallies = self.done.values();
        tallies.fold(Tally::default(), |sum, tally| sum.plus(*tally))
    }

    /// Different images.
    pub fn distinct(&self) -> usize {
        self.hashes.len()
    }
}

fn parse(line: &str) -> Option<((u64, String), Tally)> {
    let (head, piece) = line.split_once('\t')?;
    let mut words = head.split(' ');
    let trace = u64::from_str_radix(words.next()?, 16).ok()?;
    let counts: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
    let [calls, points, images, again, worked, before, after, failures] = counts[..] else {
        return None;
    };
    let tally = Tally {
        pieces: 1,
        calls,
        points,
        images,
        again,
        worked,
        before,
        after,
        failures,
    };
    Some(((trace, piece.to_owned()), tally))
}

impl Sink for Record {
    fn piece(&mut self, name: &str, tally: &Tally, hashes: &HashSet<u64>) -> Result<(), String> {
        let new = hashes.iter().filter(|hash| self.hashes.insert(**hash));
        let bytes: Vec<u8> = new.flat_map(|hash| hash.to_le_bytes()).collect();
        self.done.insert((self.trace, name.to_owned()), *tally);
        if let Some((done, hashes)) = &mut self.files {
            let t = tally;
            let line = format!(
                "{:x} {} {} {} {} {} {} {} {}\t{name}\n",
                self.trace,
                t.calls,
                t.points,
                t.images,
                t.again,
                t.worked,
                t.before,
                t.after,
                t.failures
            );
            hashes
                .write_all(&bytes)
                .and_then(|()| done.write_all(line.as_bytes()))
                .map_err(|error| format!("cannot keep what was done: {error}"))?;
        }
        Ok(())
    }

    fn failure(&mut self, text: &str) {
        println!("FAILURE: {text}");
    }
}
