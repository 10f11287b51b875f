// SPDX-License-Identifier: GPL-2.0

//! What the kernel shows: `/proc/fs/pinfs/pins`, `/proc/<pid>/file_pins` and `/proc/locks`.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{
        Path,
        PathBuf, //
    },
};

use rustix::fs::{
    major,
    minor, //
};
use serde::Serialize;

const PINS: &str = "/proc/fs/pinfs/pins";

/// A file as the table of pins names it: `MAJOR:MINOR:INODE`, in decimal, as the device is in
/// `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FileId(String);

impl FileId {
    pub(crate) fn of(path: &Path) -> Result<Self, String> {
        let meta = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if !meta.is_file() {
            return Err(format!("{}: not a regular file", path.display()));
        }
        let dev = meta.dev();
        Ok(FileId(format!(
            "{}:{}:{}",
            major(dev),
            minor(dev),
            meta.ino()
        )))
    }
}

impl FileId {
    /// Takes it from `/proc/locks`, where the device is in hexadecimal.
    fn of_locks(id: &str) -> Option<Self> {
        let mut parts = id.splitn(3, ':');
        let mut device = || u32::from_str_radix(parts.next()?, 16).ok();
        let (major, minor) = (device()?, device()?);
        Some(FileId(format!("{major}:{minor}:{}", parts.next()?)))
    }
}

/// A line of the table of pins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Pin {
    pub(crate) file: FileId,
    /// First byte.
    pub(crate) start: u64,
    /// The byte behind the last.
    pub(crate) end: u64,
    pub(crate) pages: u64,
    /// Of the lease: `exclusive` or `unbreak`.
    pub(crate) kind: String,
    /// Of the lease: `active` or `orphaned`.
    pub(crate) state: String,
    /// Processes that have the context; none if it is in flight or the kernel's.
    pub(crate) pids: Vec<u32>,
    pub(crate) path: String,
    pub(crate) deleted: bool,
}

/// Takes back what `/proc` does to spaces and the like: a backslash and three octal digits.
fn unescape(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(value) => {
                bytes.push(value);
                rest = &tail[3..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Splits the mark of an unlinked file off its path.
fn path_of(text: &[u8]) -> (String, bool) {
    match text.strip_suffix(b" (deleted)") {
        Some(path) => (unescape(path), true),
        None => (unescape(text), false),
    }
}

fn parse_pin(line: &[u8]) -> Option<Pin> {
    let mut fields = line.splitn(8, |&byte| byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let file = FileId(text()?.to_owned());
    let start = text()?.parse().ok()?;
    let end = text()?.parse().ok()?;
    let pages = text()?.parse().ok()?;
    let kind = text()?.to_owned();
    let state = text()?.to_owned();
    let pids = match text()? {
        "-" => Vec::new(),
        list => list
            .split(',')
            .map(|pid| pid.parse().ok())
            .collect::<Option<_>>()?,
    };
    let (path, deleted) = path_of(fields.next()?);
    Some(Pin {
        file,
        start,
        end,
        pages,
        kind,
        state,
        pids,
        path,
        deleted,
    })
}

fn parse_pins(table: &[u8]) -> Result<Vec<Pin>, String> {
    table
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .map(|line| {
            parse_pin(line)
                .ok_or_else(|| format!("{PINS}: what is this? {}", String::from_utf8_lossy(line)))
        })
        .collect()
}

/// All long-term pins of the machine, as far as this process may see them.
pub(crate) fn pins() -> Result<Vec<Pin>, String> {
    let table = fs::read(PINS).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{PINS}: {error}; is the module loaded?"),
        _ => format!("{PINS}: {error}"),
    })?;
    parse_pins(&table)
}

/// A descriptor of a process that pins a file, or the process's memory itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Context {
    pub(crate) fd: Option<u32>,
    /// What the descriptor is open on.
    pub(crate) target: String,
}

/// The contexts of a `file_pins` that have `path`.
fn parse_contexts(view: &[u8], path: &str, deleted: bool) -> Vec<Context> {
    let mut found = Vec::new();
    let mut current = None;
    for line in view.split(|&byte| byte == b'\n') {
        let same = |text| path_of(text) == (path.to_owned(), deleted);
        if let Some(file) = line.strip_prefix(b"\t") {
            if same(file) {
                found.extend(current.clone());
            }
        } else if line.starts_with(b"/") {
            // A descriptor's line starts with its number; this is a file that memory itself pins.
            if same(line) {
                found.push(Context {
                    fd: None,
                    target: "memory".to_owned(),
                });
            }
        } else {
            let colon = line.windows(2).position(|pair| pair == b": ");
            current = colon.and_then(|at| {
                Some(Context {
                    fd: Some(std::str::from_utf8(&line[..at]).ok()?.parse().ok()?),
                    target: unescape(&line[at + 2..]),
                })
            });
        }
    }
    found
}

/// The contexts of process `pid` that pin a file; none if it has gone or may not be looked at.
pub(crate) fn contexts(pid: u32, path: &str, deleted: bool) -> Vec<Context> {
    fs::read(format!("/proc/{pid}/file_pins"))
        .map(|view| parse_contexts(&view, path, deleted))
        .unwrap_or_default()
}

/// The processes that took leases on a file.
fn parse_locks(table: &str, file: &FileId) -> Vec<u32> {
    table
        .lines()
        .filter_map(|line| {
            // 1: LEASE ACTIVE READ PID MAJOR:MINOR:INODE START END
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, "LEASE", _, _, pid, id, ..] = fields[..] else {
                return None;
            };
            (FileId::of_locks(id)? == *file).then(|| pid.parse().ok())?
        })
        .collect()
}

/// The processes that have leases on a file. A lease whose process has gone is process 0's.
pub(crate) fn leases(file: &FileId) -> Result<Vec<u32>, String> {
    let table =
        fs::read_to_string("/proc/locks").map_err(|error| format!("/proc/locks: {error}"))?;
    Ok(parse_locks(&table, file))
}

/// What process `pid` is called.
pub(crate) fn command(pid: u32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(name.trim_ascii_end()).into_owned()
}

/// `path` as the kernel would print it.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, String> {
    fs::canonicalize(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn pin() -> Pin {
        parse_pins(TABLE).unwrap().remove(0)
    }

    const TABLE: &[u8] = b"# device:inode start end pages kind state pids path\n\
        259:0:1186 0 1048576 256 exclusive active 175,9 /mnt/p/a\\040b\\134c\n\
        259:0:7 4096 8192 1 unbreak orphaned - /mnt/p/gone (deleted)\n";

    #[test]
    fn f5_table() {
        let pins = parse_pins(TABLE).unwrap();
        assert_eq!(pins.len(), 2);
        assert_eq!(pins[0].path, "/mnt/p/a b\\c");
        assert_eq!(pins[0].pids, [175, 9]);
        assert_eq!(
            (pins[0].start, pins[0].end, pins[0].pages),
            (0, 1 << 20, 256)
        );
        assert!(pins[1].deleted && pins[1].pids.is_empty());
        assert_eq!(pins[1].path, "/mnt/p/gone");
    }

    #[test]
    fn f5_a_line_that_is_not_one() {
        for line in [
            "x",
            "259:0:1 0 1 1 exclusive active 1",
            "259:0:1 0 y 1 k s - /p",
        ] {
            assert!(parse_pins(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn f1_view() {
        let view = b"3: anon_inode:[io_uring]\n\t/mnt/p/x\n\t/mnt/p/y\n\
            7: /dev/infiniband/uverbs0\n\t/mnt/p/y\n/mnt/p/x\n";
        let fds = |path| -> Vec<_> {
            parse_contexts(view, path, false)
                .iter()
                .map(|context| context.fd)
                .collect()
        };
        assert_eq!(fds("/mnt/p/y"), [Some(3), Some(7)]);
        assert_eq!(fds("/mnt/p/x"), [Some(3), None]);
        assert!(parse_contexts(view, "/mnt/p/y", true).is_empty());
        assert_eq!(
            parse_contexts(view, "/mnt/p/y", false)[1].target,
            "/dev/infiniband/uverbs0"
        );
    }

    #[test]
    fn l17_locks() {
        let table = "1: LEASE  ACTIVE    READ 175 103:00:7 0 EOF\n\
            2: POSIX  ADVISORY  WRITE 9 103:00:7 0 EOF\n\
            3: LEASE  ACTIVE    READ 8 103:00:70 0 EOF\n";
        assert_eq!(parse_locks(table, &FileId("259:0:7".to_owned())), [175]);
        assert!(parse_locks(table, &FileId("103:0:7".to_owned())).is_empty());
    }

    #[test]
    fn escapes_at_the_end() {
        assert_eq!(unescape(b"a\\04"), "a\\04");
        assert_eq!(unescape(b"\\012"), "\n");
        assert_eq!(unescape(b"\\999"), "\\999");
    }
}
