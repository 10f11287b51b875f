// SPDX-License-Identifier: GPL-2.0

//! `powerloss`: looks at everything that a power loss may leave.

#![forbid(unsafe_code)]

mod record;

use std::{
    collections::HashSet,
    path::PathBuf,
    process::ExitCode,
    sync::Mutex,
    thread, //
};

use clap::{
    Args,
    Parser,
    Subcommand, //
};
use pinfs_powerloss_explorer::{
    explore::{
        explore,
        Options,
        Sink,
        Tally, //
    },
    plant::{
        self,
        Bug, //
    },
    recover::{
        self,
        Buffers,
        Scratch, //
    },
    reproducer::Reproducer,
    trace::Trace,
    tree, //
};

use record::Record;

/// Look at everything that a power loss may leave of a pinfs file system.
#[derive(Parser)]
#[command(name = "powerloss", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Look at what a power loss may leave at each moment of traces, and tell what has been done in all
    Explore {
        #[command(flatten)]
        amount: Amount,

        /// Keep in DIR what has been done, and go on there
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,

        /// Keep in DIR the images that should not be
        #[arg(long, value_name = "DIR")]
        keep: Option<PathBuf>,

        /// Put some images, and the trees that they show, into DIR, for the module itself to judge
        #[arg(long, value_name = "DIR")]
        sample: Option<PathBuf>,

        /// One of how many images
        #[arg(long, value_name = "N", default_value_t = 1000)]
        odds: u64,

        /// Failures after which to give up
        #[arg(long, value_name = "N", default_value_t = 20)]
        failures: u64,

        /// Files that the plugin has written; without one, tells what has been done
        #[arg(value_name = "TRACE")]
        traces: Vec<PathBuf>,
    },

    /// Plant each ordering bug that can be planted into a trace, and see whether it is found
    Plant {
        #[command(flatten)]
        amount: Amount,

        /// How many have to be found at least
        #[arg(long, default_value_t = 10)]
        least: usize,

        /// A file that the plugin has written
        trace: PathBuf,
    },

    /// Mount and check an image that was kept, and tell what is there
    Show {
        /// Write the image to FILE
        #[arg(long, value_name = "FILE")]
        image: Option<PathBuf>,

        /// The file that was kept
        reproducer: PathBuf,
    },
}

#[derive(Args)]
struct Amount {
    /// Images at each fence
    #[arg(long, default_value_t = 64)]
    bound: usize,

    /// Let the power fail again in one of so many recoveries
    #[arg(long, default_value_t = 64)]
    again: u64,

    /// Threads
    #[arg(long, default_value_t = 2)]
    jobs: usize,

    /// For what is chosen by chance
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Explore {
            amount,
            state,
            keep,
            sample,
            odds,
            failures,
            traces,
        } => {
            let options = Options {
                keep,
                failures: failures.max(1),
                sample: sample.map(|dir| (dir, odds.max(1))),
                ..amount.options()
            };
            explore_all(&options, amount.jobs, state, &traces)
        }
        Command::Plant {
            amount,
            least,
            trace,
        } => plant_all(&amount, least, &trace),
        Command::Show { image, reproducer } => show(image, &reproducer),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("powerloss: {message}");
            ExitCode::from(2)
        }
    }
}

impl Amount {
    fn options(&self) -> Options {
        Options {
            bound: self.bound.max(2),
            again: self.again.max(1),
            again_bound: 16,
            raw: 16,
            part: (0, 1),
            done: HashSet::new(),
            bug: None,
            failures: 20,
            keep: None,
            sample: None,
            seed: self.seed,
        }
    }
}

/// Looks at one trace with several threads, each at its own pieces.
fn with_threads<S: Sink + Send>(
    trace: &Trace,
    options: &Options,
    jobs: usize,
    sink: &Mutex<S>,
) -> Result<Tally, String> {
    let jobs = jobs.max(1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs)
            .map(|job| {
                let options = Options {
                    part: (job, jobs),
                    seed: options.seed.wrapping_add(job as u64),
                    ..options.clone()
                };
                scope.spawn(move || explore(trace, &options, &mut Shared(sink)))
            })
            .collect();
        let mut total = Tally::default();
        for thread in threads {
            let tally = thread.join().map_err(|_| "a thread has panicked")??;
            total = total.plus(tally);
        }
        Ok(total)
    })
}

struct Shared<'a, S>(&'a Mutex<S>);

impl<S: Sink> Sink for Shared<'_, S> {
    fn piece(&mut self, name: &str, tally: &Tally, hashes: &HashSet<u64>) -> Result<(), String> {
        let mut sink = self.0.lock().map_err(|_| "a thread has panicked")?;
        sink.piece(name, tally, hashes)
    }

    fn failure(&mut self, text: &str) {
        if let Ok(mut sink) = self.0.lock() {
            sink.failure(text);
        }
    }
}

fn explore_all(
    options: &Options,
    jobs: usize,
    state: Option<PathBuf>,
    traces: &[PathBuf],
) -> Result<bool, String> {
    let sample = options.sample.as_ref().map(|(dir, _)| dir);
    for dir in options.keep.iter().chain(sample) {
        std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    let mut record = Record::open(state.as_deref())?;
    for path in traces {
        let trace = Trace::read(path)?;
        record.begin(&trace);
        let options = Options {
            done: record.done(),
            ..options.clone()
        };
        let shared = Mutex::new(record);
        let result = with_threads(&trace, &options, jobs, &shared);
        record = shared.into_inner().map_err(|_| "a thread has panicked")?;
        result?;
    }
    let tally = record.total();
    println!("pieces of work        {}", tally.pieces);
    println!("system calls          {}", tally.calls);
    println!("moments               {}", tally.points);
    println!("distinct images       {}", record.distinct());
    println!("looks at images       {}", tally.images + tally.again);
    println!(
        "  in a call, as before it {}, as after it {}",
        tally.before, tally.after
    );
    println!("  recovery had work   {}", tally.worked);
    println!("  power lost again    {}", tally.again);
    println!("failures              {}", tally.failures);
    Ok(tally.failures == 0 && tally.pieces > 0)
}

/// Counts, and forgets the rest.
#[derive(Default)]
struct Count {
    images: u64,
    first: Option<String>,
}

impl Sink for Count {
    fn piece(&mut self, _: &str, tally: &Tally, _: &HashSet<u64>) -> Result<(), String> {
        self.images += tally.images + tally.again;
        Ok(())
    }

    fn failure(&mut self, text: &str) {
        self.first.get_or_insert_with(|| text.to_owned());
    }
}

fn plant_all(amount: &Amount, least: usize, path: &std::path::Path) -> Result<bool, String> {
    let trace = Trace::read(path)?;
    let bugs = plant::all(&trace)?;
    let next = Mutex::new(bugs.iter().copied().enumerate());
    let found = Mutex::new(0);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..amount.jobs.max(1))
            .map(|_| scope.spawn(|| plant_some(amount, &trace, &next, &found)))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err("a thread has panicked".to_owned()))
        })
    })?;
    let found = found.into_inner().map_err(|_| "a thread has panicked")?;
    println!("{found} of {} planted bugs found", bugs.len());
    Ok(found >= least)
}

fn plant_some(
    amount: &Amount,
    trace: &Trace,
    next: &Mutex<impl Iterator<Item = (usize, Bug)>>,
    found: &Mutex<usize>,
) -> Result<(), String> {
    loop {
        let Some((number, bug)) = next.lock().map_err(|_| "a thread has panicked")?.next() else {
            return Ok(());
        };
        let options = Options {
            bug: Some(bug),
            failures: 1,
            ..amount.options()
        };
        let mut count = Count::default();
        explore(trace, &options, &mut count)?;
        let place = trace.describe(bug.site());
        match &count.first {
            Some(first) => {
                *found.lock().map_err(|_| "a thread has panicked")? += 1;
                println!(
                    "{number} {bug}: found in {} images\n   at {place}\n   {first}",
                    count.images
                );
            }
            None => println!(
                "{number} {bug}: NOT FOUND in {} images\n   at {place}",
                count.images
            ),
        }
    }
}

fn show(image: Option<PathBuf>, path: &std::path::Path) -> Result<bool, String> {
    let reproducer = Reproducer::read(path)?;
    print!("{}", reproducer.text);
    if let Some(out) = image {
        std::fs::write(&out, &reproducer.image)
            .map_err(|error| format!("{}: {error}", out.display()))?;
    }
    let scratch = Scratch::new(reproducer.image);
    match recover::mount(&scratch, &mut Buffers::default()) {
        Ok(mounted) => {
            println!("it can be mounted, and shows:");
            for line in tree::manifest(&mounted.tree) {
                println!("   {line}");
            }
        }
        Err(failure) => println!("it cannot be mounted: {failure:?}"),
    }
    match recover::fsck(&scratch) {
        Ok(()) => println!("fsck finds nothing then"),
        Err(why) => println!("{why}"),
    }
    Ok(true)
}
