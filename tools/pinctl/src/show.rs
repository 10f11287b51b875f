// SPDX-License-Identifier: GPL-2.0

//! `pinctl ls`, `pinctl holders` and `pinctl wait`.

use std::{
    collections::BTreeMap,
    io::{
        self,
        Write, //
    },
    path::Path,
    thread,
    time::{
        Duration,
        Instant, //
    },
};

use serde::Serialize;

use crate::table::{
    self,
    Context,
    FileId,
    Pin, //
};

/// How often `wait` looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// What a process has to do with a file.
#[derive(Serialize)]
struct Holder {
    /// None of a context that is in no process, or of a lease whose process has gone.
    pid: Option<u32>,
    command: String,
    /// It took a lease that is still in force.
    lease: bool,
    contexts: Vec<Context>,
}

/// A closed pipe is the reader's decision, not an error.
fn print(text: &str) -> Result<(), String> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn print_json(value: &impl Serialize) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    print(&(text + "\n"))
}

/// Columns as wide as what stands in them; the last is not padded.
fn print_table(rows: &[Vec<String>]) -> Result<(), String> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    print(&text)
}

fn header(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// A path in a table: control characters would tear the row, or the terminal.
fn shown(path: &str, deleted: bool) -> String {
    let path: String = path
        .chars()
        .map(|char| if char.is_control() { '?' } else { char })
        .collect();
    if deleted {
        path + " (deleted)"
    } else {
        path
    }
}

fn holder_names(pids: &[u32]) -> String {
    if pids.is_empty() {
        return "-".to_owned();
    }
    let names: Vec<String> = pids
        .iter()
        .map(|&pid| format!("{pid}({})", shown(&table::command(pid), false)))
        .collect();
    names.join(",")
}

/// Whether a pin is of the file, or of one beneath the directory, that the user named.
fn selector(path: Option<&Path>) -> Result<impl Fn(&Pin) -> bool, String> {
    let directory = match path {
        Some(path) if !path.is_dir() => Err(FileId::of(path)?),
        Some(path) => Ok(Some(table::absolute(path)?)),
        None => Ok(None),
    };
    Ok(move |pin: &Pin| match &directory {
        Ok(None) => true,
        Ok(Some(directory)) => Path::new(&pin.path).starts_with(directory),
        Err(file) => pin.file == *file,
    })
}

/// Prints the pins of a file, of a directory or of all.
pub(crate) fn list(path: Option<&Path>, json: bool) -> Result<(), String> {
    let wanted = selector(path)?;
    let mut pins = table::pins()?;
    pins.retain(wanted);
    pins.sort_by(|a, b| (&a.path, a.start, a.end).cmp(&(&b.path, b.start, b.end)));
    if json {
        return print_json(&pins);
    }
    let mut rows = vec![header(&[
        "START", "END", "PAGES", "LEASE", "STATE", "HOLDERS", "FILE",
    ])];
    rows.extend(pins.iter().map(|pin| {
        vec![
            pin.start.to_string(),
            pin.end.to_string(),
            pin.pages.to_string(),
            pin.kind.clone(),
            pin.state.clone(),
            holder_names(&pin.pids),
            shown(&pin.path, pin.deleted),
        ]
    }));
    print_table(&rows)
}

/// Who holds the file: by its number, then the processes.
fn holders_of(file: &FileId) -> Result<Vec<Holder>, String> {
    let mut pins = table::pins()?;
    pins.retain(|pin| pin.file == *file);
    Ok(join(&pins, &table::leases(file)?))
}

/// Who has pins of a file, and leases on it.
fn join(pins: &[Pin], leases: &[u32]) -> Vec<Holder> {
    let mut found: BTreeMap<Option<u32>, Holder> = BTreeMap::new();
    let holder = |pid: Option<u32>| Holder {
        pid,
        command: pid.map(table::command).unwrap_or_default(),
        lease: false,
        contexts: Vec::new(),
    };
    for pin in pins {
        // A context that is in no process is still in the way; there is nobody to name.
        if pin.pids.is_empty() {
            found.entry(None).or_insert_with(|| holder(None));
        }
        for &pid in &pin.pids {
            found.entry(Some(pid)).or_insert_with(|| Holder {
                contexts: table::contexts(pid, &pin.path, pin.deleted),
                ..holder(Some(pid))
            });
        }
    }
    for &pid in leases {
        let pid = Some(pid).filter(|&pid| pid != 0);
        found.entry(pid).or_insert_with(|| holder(pid)).lease = true;
    }
    found.into_values().collect()
}

/// Prints who holds a file; whether somebody does.
pub(crate) fn holders(path: &Path, json: bool) -> Result<bool, String> {
    let holders = holders_of(&FileId::of(path)?)?;
    if json {
        print_json(&holders)?;
    } else if !holders.is_empty() {
        let mut rows = vec![header(&["PID", "COMMAND", "LEASE", "PINS BY"])];
        rows.extend(holders.iter().map(|holder| {
            let contexts: Vec<String> = holder
                .contexts
                .iter()
                .map(|context| match context.fd {
                    Some(fd) => format!("fd {fd} {}", shown(&context.target, false)),
                    None => context.target.clone(),
                })
                .collect();
            vec![
                holder
                    .pid
                    .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                shown(&holder.command, false),
                if holder.lease { "yes" } else { "no" }.to_owned(),
                contexts.join(", "),
            ]
        }));
        print_table(&rows)?;
    }
    Ok(!holders.is_empty())
}

/// Waits until nobody holds the file; whether that came true in time.
pub(crate) fn wait(path: &Path, timeout: Option<Duration>) -> Result<bool, String> {
    let file = FileId::of(path)?;
    let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let pinned = table::pins()?.iter().any(|pin| pin.file == file);
        if !pinned && table::leases(&file)?.is_empty() {
            return Ok(true);
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Ok(false);
        }
        thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever kills what is listed must not get a 0, which is his own process group.
    #[test]
    fn f5_a_row_without_a_process_has_no_number() {
        let pin = |pids: &[u32]| Pin {
            pids: pids.to_vec(),
            ..table::tests::pin()
        };
        // The largest number that no process has.
        let pid = 1 << 22;
        let holders = join(&[pin(&[]), pin(&[pid])], &[0]);
        let rows = serde_json::to_value(&holders).unwrap();
        assert_eq!(rows[0]["pid"], serde_json::Value::Null);
        assert_eq!(rows[0]["lease"], true);
        assert_eq!(rows[1]["pid"], pid);
        assert_eq!(holders.len(), 2);
    }
}
