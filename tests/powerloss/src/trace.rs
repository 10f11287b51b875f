// SPDX-License-Identifier: GPL-2.0

//! What a guest did to its persistent memory: the file that the plugin writes, which says how it looks.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::Path, //
};

const MAGIC: &[u8] = b"pinfsPL1";
const SITE_DEPTH: usize = 5;
const SIZE_MAX: u64 = 1 << 30;

/// A place in the code: the instruction, and the innermost call on the way there from a module. (What
/// the plugin has found on the stack beyond may be left from earlier calls.)
pub type Site = usize;

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'t> {
    /// Bytes were stored.
    Store {
        /// Byte offset.
        off: u64,
        /// What was stored.
        bytes: &'t [u8],
        /// Past the cache.
        streaming: bool,
    },
    /// The write-back of a cache line was started.
    Flush {
        /// Byte offset of the line.
        off: u64,
        /// Who did it.
        site: Site,
    },
    /// A store fence.
    Fence {
        /// Who did it.
        site: Site,
    },
    /// A program's mark.
    Mark(&'t str),
}

/// A trace in memory.
pub struct Trace {
    bytes: Vec<u8>,
    /// Bytes of the memory.
    pub size: u64,
    /// Tells traces apart.
    pub id: u64,
    /// The plugin's numbers, and the places that they belong to.
    numbers: Vec<Site>,
    sites: Vec<[u64; 2]>,
    symbols: BTreeMap<u64, String>,
}

/// Reads a trace from its beginning.
#[derive(Clone)]
pub struct Events<'t> {
    rest: &'t [u8],
    last: u64,
    size: u64,
    defined: usize,
    numbers: &'t [Site],
    all: usize,
}

impl Trace {
    /// Reads a file, all of it: one that is cut off or does not make sense is refused.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Trace::new(bytes).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The same of what is in memory.
    pub fn new(bytes: Vec<u8>) -> Result<Self, String> {
        let head = bytes.get(..24).ok_or("not a trace: too short")?;
        if !head.starts_with(MAGIC) {
            return Err("not a trace, or one of another version".to_owned());
        }
        let size = u64::from_le_bytes(head[16..24].try_into().map_err(|_| "too short")?);
        if size == 0 || size > SIZE_MAX || size % 4096 != 0 {
            return Err(format!("the trace is of a memory of {size} bytes"));
        }
        let id = fingerprint(&bytes);
        let mut trace = Trace {
            bytes,
            size,
            id,
            numbers: Vec::new(),
            sites: Vec::new(),
            symbols: BTreeMap::new(),
        };
        let (mut numbers, mut sites) = (Vec::new(), Vec::new());
        let mut symbols = BTreeMap::new();
        let mut define = |site: [u64; SITE_DEPTH]| {
            let site = [site[0], site[1]];
            numbers.push(
                sites
                    .iter()
                    .position(|known| *known == site)
                    .unwrap_or_else(|| {
                        sites.push(site);
                        sites.len() - 1
                    }),
            );
        };
        let mut events = trace.events();
        while let Some(event) = events.next_or_site(&mut define)? {
            if let Event::Mark(text) = event {
                if let Some(lines) = text.strip_prefix("symbols\n") {
                    symbols.extend(lines.lines().filter_map(symbol));
                }
            }
        }
        trace.numbers = numbers;
        trace.sites = sites;
        trace.symbols = symbols;
        Ok(trace)
    }

    /// What happened, from the beginning.
    pub fn events(&self) -> Events<'_> {
        Events {
            rest: &self.bytes[24..],
            last: 0,
            size: self.size,
            defined: 0,
            numbers: &self.numbers,
            all: self.bytes.len(),
        }
    }

    /// Whether a place is in the module.
    pub fn is_in_module(&self, site: Site) -> bool {
        self.sites.get(site).is_some_and(|site| site[1] != 0)
    }

    /// A place in words, the innermost first.
    pub fn describe(&self, site: Site) -> String {
        let mut text = String::new();
        let Some(addresses) = self.sites.get(site) else {
            return text;
        };
        for (depth, &address) in addresses.iter().enumerate() {
            if address == 0 {
                break;
            }
            if depth > 0 {
                text.push_str(" < ");
            }
            match self.symbols.range(..=address).next_back() {
                Some((start, name)) if address - start < 1 << 20 => {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "{name}+{:#x}", address - start);
                }
                _ => {
                    let _ = write!(text, "{address:#x}");
                }
            }
        }
        text
    }
}

/// A line of /proc/kallsyms.
fn symbol(line: &str) -> Option<(u64, String)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    Some((address, demangle(words.nth(1)?)))
}

/// The identifiers in a name that rustc has mangled (v0), which is enough to see what is meant; any
/// other name as it is.
fn demangle(name: &str) -> String {
    let Some(rest) = name.strip_prefix("_R") else {
        return name.to_owned();
    };
    let bytes = rest.as_bytes();
    let mut parts: Vec<&str> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            // A disambiguator, s…_, has digits that are no lengths.
            at += match bytes[at] {
                b's' | b'B' => rest[at..].find('_').map_or(1, |end| end + 1),
                _ => 1,
            };
            continue;
        }
        let digits = rest[at..].bytes().take_while(u8::is_ascii_digit).count();
        let Ok(len) = rest[at..at + digits].parse::<usize>() else {
            break;
        };
        at += digits;
        if bytes.get(at) == Some(&b'_') {
            at += 1;
        }
        let Some(part) = rest.get(at..at + len) else {
            break;
        };
        if len > 0 {
            parts.push(part);
        }
        at += len;
    }
    let parts: Vec<&str> = parts
        .into_iter()
        .filter(|part| !matches!(*part, "pinfs" | "pinfs_main" | "kernel" | "core"))
        .collect();
    parts.join("::")
}

/// A number for a text of any length.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    let mut sum = bytes.len() as u64;
    for word in bytes.chunks(8) {
        let mut padded = [0; 8];
        padded[..word.len()].copy_from_slice(word);
        sum = (sum.rotate_left(5) ^ u64::from_le_bytes(padded)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    sum ^ sum >> 29
}

impl<'t> Events<'t> {
    /// The next event, or `None` at the end.
    pub fn next(&mut self) -> Result<Option<Event<'t>>, String> {
        self.next_or_site(&mut |_| ())
    }

    fn next_or_site(
        &mut self,
        define: &mut dyn FnMut([u64; SITE_DEPTH]),
    ) -> Result<Option<Event<'t>>, String> {
        let at = self.all - self.rest.len();
        let event = self.parse(define);
        event.map_err(|why| match why {
            "" => format!("the trace is cut off at byte {at}: it has no end"),
            why => format!("the trace makes no sense at byte {at}: {why}"),
        })
    }

    fn parse(
        &mut self,
        define: &mut dyn FnMut([u64; SITE_DEPTH]),
    ) -> Result<Option<Event<'t>>, &'static str> {
        loop {
            let kind = self.take(1)?[0];
            return Ok(Some(match kind {
                0x10..=0x14 | 0x20..=0x24 => {
                    let off = self.place()?;
                    let bytes = self.take(1 << (kind & 0xf))?;
                    if off + bytes.len() as u64 > self.size {
                        return Err("a store outside of the memory");
                    }
                    Event::Store {
                        off,
                        bytes,
                        streaming: kind >= 0x20,
                    }
                }
                0x30 => {
                    let off = self.place()?;
                    let site = self.site()?;
                    Event::Flush { off, site }
                }
                0x40 => Event::Fence { site: self.site()? },
                0x50 => {
                    let len = self.number()?;
                    let text = self.take(len)?;
                    Event::Mark(std::str::from_utf8(text).map_err(|_| "a mark that is no text")?)
                }
                0x60 => {
                    let mut site = [0; SITE_DEPTH];
                    for word in &mut site {
                        let bytes = self.take(8)?.try_into().map_err(|_| "")?;
                        *word = u64::from_le_bytes(bytes);
                    }
                    self.defined += 1;
                    define(site);
                    continue;
                }
                0x70 => return Err("the plugin gave up there, see what QEMU said"),
                0x7f => {
                    if !self.rest.is_empty() {
                        return Err("something follows the end");
                    }
                    self.rest = &[];
                    return Ok(None);
                }
                _ => return Err("an unknown record"),
            }));
        }
    }

    fn take(&mut self, len: u64) -> Result<&'t [u8], &'static str> {
        let (taken, rest) = usize::try_from(len)
            .ok()
            .and_then(|len| self.rest.split_at_checked(len))
            .ok_or("")?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, &'static str> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number that does not end")
    }

    fn place(&mut self) -> Result<u64, &'static str> {
        let step = self.number()?;
        let step = (step >> 1) ^ (step & 1).wrapping_neg();
        self.last = self.last.wrapping_add(step);
        (self.last < self.size)
            .then_some(self.last)
            .ok_or("a place outside of the memory")
    }

    fn site(&mut self) -> Result<Site, &'static str> {
        let number = self.number()?;
        if number >= self.defined as u64 {
            return Err("a place in the code that is not defined");
        }
        // They are not known yet when the trace is read for the first time.
        Ok(self.numbers.get(number as usize).copied().unwrap_or(0))
    }
}
