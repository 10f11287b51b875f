// SPDX-License-Identifier: GPL-2.0

//! `pinfs-corrupt`: an image with one of everything, and ways to damage it.

#![forbid(unsafe_code)]

use std::{
    fs,
    io::{
        self,
        Write, //
    },
    path::PathBuf,
    process::ExitCode, //
};

use clap::{
    Parser,
    Subcommand, //
};
use pinfs_corrupt::Corpus;

/// Make a pinfs image with one of everything, and ways to damage it.
#[derive(Parser)]
#[command(name = "pinfs-corrupt", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write an image without fault
    Base {
        /// Blocks of 4096 bytes
        #[arg(long, default_value_t = 640)]
        blocks: u64,
        /// The file to write
        image: PathBuf,
    },
    /// Print ways to damage an image, one a line: a name, then OFFSET:BYTES in hexadecimal
    List {
        /// The same seed gives the same ways
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many
        #[arg(long, default_value_t = 2000)]
        count: usize,
        /// An image without fault
        image: PathBuf,
    },
    /// Write an image with the files "one" and "two", which share blocks; without CASE, list the cases
    Crossed {
        /// What they share
        case: Option<String>,
        /// The file to write
        #[arg(requires = "case")]
        image: Option<PathBuf>,
    },
    /// Damage an image in place, in one of the ways that `list` prints
    Apply {
        /// As for `list`
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Which way, from 0
        #[arg(long)]
        index: usize,
        /// An image without fault
        image: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("pinfs-corrupt: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    match command {
        Command::Base { blocks, image } => {
            let bytes = pinfs_corrupt::base(blocks).map_err(|error| error.to_string())?;
            fs::write(image, bytes).map_err(text)
        }
        Command::List { seed, count, image } => {
            let corpus = Corpus::new(fs::read(image).map_err(text)?)?;
            let mut out = io::BufWriter::new(io::stdout().lock());
            for damage in corpus.list(seed, count) {
                writeln!(out, "{}", damage.line()).map_err(text)?;
            }
            out.flush().map_err(text)
        }
        Command::Crossed {
            case: Some(case),
            image: Some(image),
        } => {
            let bytes = pinfs_corrupt::crossed(&case).map_err(|error| error.to_string())?;
            fs::write(image, bytes).map_err(text)
        }
        Command::Crossed { case: Some(_), .. } => Err("no image to write is named".to_owned()),
        Command::Crossed { case: None, .. } => {
            pinfs_corrupt::CASES
                .iter()
                .for_each(|case| println!("{case}"));
            Ok(())
        }
        Command::Apply { seed, index, image } => {
            let mut bytes = fs::read(&image).map_err(text)?;
            let list = Corpus::new(bytes.clone())?.list(seed, index + 1);
            let damage = list.last().ok_or("no such way")?;
            damage.apply(&mut bytes);
            fs::write(image, bytes).map_err(text)
        }
    }
}
