// SPDX-License-Identifier: GPL-2.0

//! What is told about a file system.

use std::{
    collections::BTreeMap,
    fmt, //
};

use pinfs_format::BLOCK_SIZE;

/// Something wrong, and what was done about it.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The inode it belongs to, or 0.
    pub ino: u64,
    /// A path of that inode, if it has one.
    pub path: Option<String>,
    /// Byte offset on the device, if it is in one place.
    pub off: Option<u64>,
    /// What is wrong, and after a semicolon what the repair is.
    pub what: String,
    /// The repair may lose something that a user put there, or has to guess.
    pub loss: bool,
}

impl Fault {
    fn write(&self, what: &str, f: &mut impl fmt::Write) -> fmt::Result {
        if self.ino != 0 {
            write!(f, "inode {}", self.ino)?;
            if let Some(path) = &self.path {
                write!(f, " ({path})")?;
            }
            write!(f, ": ")?;
        }
        f.write_str(what)?;
        if let Some(off) = self.off {
            write!(f, " [block {}, byte {off}]", off / BLOCK_SIZE)?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(&self.what, f)
    }
}

/// Lines of one kind that are shown, unless all are.
const SHOWN: usize = 20;

/// A line for each fault. Of many of one kind the first are shown, and the others counted at the end,
/// unless `all` are wanted. `repaired` says whether the repairs are made or would be.
pub fn lines(faults: &[Fault], repaired: bool, all: bool) -> Vec<String> {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut lines = Vec::new();
    for fault in faults {
        let what = match repaired {
            true => fault.what.clone(),
            false => conditional(&fault.what),
        };
        let count = kinds.entry(kind(&what)).or_default();
        *count += 1;
        if all || *count <= SHOWN {
            let mut line = String::new();
            // A string takes everything.
            let _ = fault.write(&what, &mut line);
            lines.push(line);
        }
    }
    if !all {
        let more = kinds.into_iter().filter(|(_, count)| *count > SHOWN);
        lines.extend(more.map(|(kind, count)| {
            format!(
                "and {} more (-v shows them): {kind}",
                grouped(count - SHOWN)
            )
        }));
    }
    lines
}

/// What is the same in all messages of one kind: numbers and names are left out.
fn kind(what: &str) -> String {
    let unnamed = match (what.find('\''), what.rfind('\'')) {
        (Some(first), Some(last)) if first < last => {
            format!("{}'...'{}", &what[..first], &what[last + 1..])
        }
        _ => what.to_owned(),
    };
    let mut kind = String::new();
    for c in unnamed.chars() {
        match c {
            '0'..='9' if kind.ends_with('N') => {}
            '0'..='9' => kind.push('N'),
            _ => kind.push(c),
        }
    }
    kind
}

/// A number of things, with the word for one or for several.
pub fn count(number: u64, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// A number with commas.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The same message for a repair that is not made.
fn conditional(what: &str) -> String {
    let Some((wrong, repair)) = what.rsplit_once("; ") else {
        return what.to_owned();
    };
    let would = match repair {
        "mark removed" => "mark would be removed".to_owned(),
        "once used" => "would be used once".to_owned(),
        "not used" => "would not be used".to_owned(),
        _ => match [" is ", " are "]
            .iter()
            .find_map(|is| repair.split_once(is))
        {
            Some((what, done)) => format!("{what} would be {done}"),
            None => format!("would be {repair}"),
        },
    };
    format!("{wrong}; {would}")
}

/// A name for people: control characters and bytes that are no text are escaped.
pub fn printable(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => name.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(ino: u64, what: impl Into<String>) -> Fault {
        Fault {
            ino,
            path: None,
            off: None,
            what: what.into(),
            loss: false,
        }
    }

    /// Every message of the sources has a repair behind its last semicolon.
    #[test]
    fn e4_what_is_not_done_would_be() {
        for (done, would) in [
            (
                "status is damaged; made anew",
                "status is damaged; would be made anew",
            ),
            (
                "a; what can be used is kept",
                "a; what can be used would be kept",
            ),
            (
                "'x; y' is there twice; the second is dropped",
                "'x; y' is there twice; the second would be dropped",
            ),
            (
                "is marked; mark removed",
                "is marked; mark would be removed",
            ),
            (
                "leaf is there twice; once used",
                "leaf is there twice; would be used once",
            ),
            (
                "extended attributes are damaged; 2 are kept",
                "extended attributes are damaged; 2 would be kept",
            ),
            ("wrong; kept as it is", "wrong; would be kept as it is"),
        ] {
            assert_eq!(conditional(done), would);
        }
    }

    #[test]
    fn one_is_singular() {
        let words = |number| count(number, "fault", "faults");
        assert_eq!(
            [0, 1, 2, 11].map(words),
            ["0 faults", "1 fault", "2 faults", "11 faults"]
        );
    }

    #[test]
    fn e4_many_of_a_kind_are_summed_up() {
        let mut faults: Vec<Fault> = (1..=1544)
            .map(|ino| {
                fault(
                    ino,
                    format!("'n{ino}' names inode {ino}, which there is not; removed"),
                )
            })
            .collect();
        faults.push(fault(7, "3 links are counted, 2 found; corrected"));
        let some = lines(&faults, true, false);
        assert_eq!(some.len(), SHOWN + 2);
        assert!(
            some[SHOWN].contains("3 links are counted, 2 found"),
            "{some:?}"
        );
        assert_eq!(
            some[SHOWN + 1],
            "and 1,524 more (-v shows them): '...' names inode N, which there is not; removed"
        );
        assert_eq!(lines(&faults, true, true).len(), 1545);
        assert!(lines(&faults, false, true)
            .iter()
            .all(|line| line.contains("would be")));
    }
}
