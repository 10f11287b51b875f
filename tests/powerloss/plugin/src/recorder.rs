// SPDX-License-Identifier: GPL-2.0

//! The file that is written.
//!
//! ```text
//! file    := "pinfsPL1" base:u64 size:u64 record...
//! record  := 0x10|n off bytes[1 << n]      a store
//!          | 0x20|n off bytes[1 << n]      a store past the cache
//!          | 0x30 off site                 a cache line is written back
//!          | 0x40 site                     a store fence
//!          | 0x50 len text[len]            a mark
//!          | 0x60 word:u64[SITE_DEPTH]     defines the next site, from 0 on
//!          | 0x70 len text[len]            what went wrong in recording: the rest is worth nothing
//!          | 0x7f                          the end
//! ```
//!
//! `off`, `site` and `len` are in LEB128; an `off` is the difference to the one before, in zigzag.
//! Other numbers are little-endian. A file that does not end with 0x7f is cut off.

use std::{
    collections::HashMap,
    fs::File,
    io::{
        self,
        BufWriter,
        Write, //
    },
};

/// The leaf of CPUID that sets a mark: RBX is the address of the text, RCX its length.
pub const MARK_LEAF: u32 = u32::from_le_bytes(*b"pnfs");

/// Addresses that make a site: the instruction and calls on the way there, innermost first.
pub const SITE_DEPTH: usize = 5;

const MAGIC: &[u8; 8] = b"pinfsPL1";
const STORE: u8 = 0x10;
const STREAMING: u8 = 0x20;
const FLUSH: u8 = 0x30;
const FENCE: u8 = 0x40;
const MARK: u8 = 0x50;
const SITE: u8 = 0x60;
const FAILURE: u8 = 0x70;
const END: u8 = 0x7f;

/// Writes what it is told of.
pub struct Recorder {
    out: BufWriter<File>,
    base: u64,
    size: u64,
    last: u64,
    sites: HashMap<[u64; SITE_DEPTH], u64>,
    failed: bool,
}

impl Recorder {
    /// Begins a file about `size` bytes at the physical address `base`.
    pub fn create(path: &str, base: u64, size: u64) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        out.write_all(MAGIC)?;
        out.write_all(&base.to_le_bytes())?;
        out.write_all(&size.to_le_bytes())?;
        Ok(Recorder {
            out,
            base,
            size,
            last: 0,
            sites: HashMap::new(),
            failed: false,
        })
    }

    /// Where in the range a physical address is.
    pub fn offset(&self, phys: u64) -> Option<u64> {
        phys.checked_sub(self.base).filter(|off| *off < self.size)
    }

    fn write(&mut self, bytes: &[u8]) {
        if !self.failed {
            if let Err(error) = self.out.write_all(bytes) {
                eprintln!("pinfs_powerloss: {error}");
                self.failed = true;
            }
        }
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.write(&[number as u8 | 0x80]);
            number >>= 7;
        }
        self.write(&[number as u8]);
    }

    fn place(&mut self, off: u64) {
        let step = off.wrapping_sub(self.last) as i64;
        self.last = off;
        self.number((step << 1 ^ step >> 63) as u64);
    }

    fn text(&mut self, kind: u8, text: &[u8]) {
        self.write(&[kind]);
        self.number(text.len() as u64);
        self.write(text);
        // QEMU may be killed next.
        if let Err(error) = self.out.flush() {
            eprintln!("pinfs_powerloss: {error}");
            self.failed = true;
        }
    }

    fn site(&mut self, site: &[u64; SITE_DEPTH]) -> u64 {
        if let Some(&known) = self.sites.get(site) {
            return known;
        }
        let number = self.sites.len() as u64;
        self.sites.insert(*site, number);
        self.write(&[SITE]);
        for word in site {
            self.write(&word.to_le_bytes());
        }
        number
    }

    /// A store of a power of two of bytes.
    pub fn store(&mut self, off: u64, bytes: &[u8], streaming: bool) {
        let kind = if streaming { STREAMING } else { STORE };
        self.write(&[kind | bytes.len().trailing_zeros() as u8]);
        self.place(off);
        self.write(bytes);
    }

    /// A write-back of the line at `off`.
    pub fn flush(&mut self, off: u64, site: &[u64; SITE_DEPTH]) {
        let site = self.site(site);
        self.write(&[FLUSH]);
        self.place(off);
        self.number(site);
    }

    /// A store fence.
    pub fn fence(&mut self, site: &[u64; SITE_DEPTH]) {
        let site = self.site(site);
        self.write(&[FENCE]);
        self.number(site);
    }

    /// A mark of a program.
    pub fn mark(&mut self, text: &[u8]) {
        self.text(MARK, text);
    }

    /// Something that makes the record useless.
    pub fn fail(&mut self, why: &str) {
        eprintln!("pinfs_powerloss: {why}");
        self.text(FAILURE, why.as_bytes());
    }

    /// The guest is gone.
    pub fn end(&mut self) {
        self.write(&[END]);
        if let Err(error) = self.out.flush() {
            eprintln!("pinfs_powerloss: {error}");
        }
    }
}
