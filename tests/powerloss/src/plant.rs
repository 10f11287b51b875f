// SPDX-License-Identifier: GPL-2.0

//! Bugs planted into a trace, as if the code that made it had them.

use std::{
    collections::BTreeSet,
    fmt, //
};

use crate::trace::{
    Event,
    Site,
    Trace, //
};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// No write-back is started there.
    NoFlush(Site),
    /// Nobody waits there for write-backs.
    NoFence(Site),
    /// What comes after the fence there is done before what comes before it.
    Swap(Site),
}

impl Bug {
    /// Its place in the code.
    pub fn site(self) -> Site {
        match self {
            Bug::NoFlush(site) | Bug::NoFence(site) | Bug::Swap(site) => site,
        }
    }

    /// Changes what one system call does.
    pub fn plant<'t>(self, events: &mut Vec<Event<'t>>) {
        match self {
            Bug::NoFlush(bad) => {
                events.retain(|event| !matches!(event, Event::Flush { site, .. } if *site == bad));
            }
            Bug::NoFence(bad) => {
                events.retain(|event| !matches!(event, Event::Fence { site } if *site == bad));
            }
            Bug::Swap(bad) => swap(events, bad),
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bug::NoFlush(_) => "missing flush",
            Bug::NoFence(_) => "missing fence",
            Bug::Swap(_) => "swapped updates",
        })
    }
}

/// Exchanges what is between the fence there and the one before with what is between it and the next.
/// Where both store to the same words there is nothing to exchange.
fn swap(events: &mut [Event<'_>], bad: Site) {
    let is_fence = |event: &Event<'_>| matches!(event, Event::Fence { .. });
    let mut begin = 0;
    while let Some(len) = events[begin..].iter().position(is_fence) {
        let middle = begin + len + 1;
        let Some(rest) = events[middle..].iter().position(is_fence) else {
            return;
        };
        let end = middle + rest + 1;
        let hit = matches!(events[middle - 1], Event::Fence { site } if site == bad);
        if hit && words(&events[begin..middle]).is_disjoint(&words(&events[middle..end])) {
            events[begin..end].rotate_left(middle - begin);
            begin = end;
        } else {
            begin = middle;
        }
    }
}

fn words(events: &[Event<'_>]) -> BTreeSet<u64> {
    let stores = events.iter().filter_map(|event| match *event {
        Event::Store { off, bytes, .. } => Some((off, bytes.len() as u64)),
        _ => None,
    });
    stores
        .flat_map(|(off, len)| (off / 8..(off + len).div_ceil(8)))
        .collect()
}

/// Every bug that can be planted into what the module did within the system calls that are looked at.
pub fn all(trace: &Trace) -> Result<Vec<Bug>, String> {
    let (mut flushes, mut fences) = (BTreeSet::new(), BTreeSet::new());
    let (mut counts, mut inside) = (false, false);
    let mut events = trace.events();
    while let Some(event) = events.next()? {
        match event {
            Event::Mark("go") => counts = true,
            Event::Mark(text) if text.starts_with("piece") => counts = false,
            Event::Mark(text) if text.starts_with("begin") => inside = counts,
            Event::Mark(text) if text.starts_with("end") => inside = false,
            Event::Flush { site, .. } if inside && trace.is_in_module(site) => {
                flushes.insert(site);
            }
            Event::Fence { site } if inside && trace.is_in_module(site) => {
                fences.insert(site);
            }
            _ => {}
        }
    }
    let no_flush = flushes.into_iter().map(Bug::NoFlush);
    let no_fence = fences.iter().copied().map(Bug::NoFence);
    let swap = fences.iter().copied().map(Bug::Swap);
    Ok(no_flush.chain(no_fence).chain(swap).collect())
}
