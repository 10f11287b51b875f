// SPDX-License-Identifier: GPL-2.0

//! Long-term pins of memory that is mapped from files of the host.
//!
//! The memory may be of several mappings, of the host and others. All pins of the host are reserved
//! before the first page is pinned, so that a call that must fail for one of them fails for all.
//!
//! The mappings are read first and the pages pinned later. Without the mmap lock in between, the
//! mappings may change. Therefore every pinned page is checked to be the page of the file that was
//! reserved; the kernel's own checks for long-term pins did not run for it. If one is not, the pin
//! starts again.

use super::{
    context::Owner,
    folio_runs::FolioRun,
    host::Host,
    observer::Watch,
    registry,
    reserve::Reservation, //
};
use crate::rust::{
    dax,
    gup::{
        self,
        FileSegment,
        LongtermPins,
        PinnedPages,
        Request,
        Segment, //
    },
    identity::{
        FileId,
        InodeId,
        MmId, //
    },
    small_vec::SmallVec,
    trace,
    vfs::errno::eopnotsupp, //
};
use core::{
    marker::PhantomData,
    ops::Range, //
};
use kernel::{
    fs::File,
    mm::Mm,
    page::PAGE_SHIFT,
    prelude::*,
    sync::aref::ARef, //
};

/// Decides on long-term pins.
pub(super) struct Longterm<H>(PhantomData<H>);

impl<H: Host> LongtermPins for Longterm<H> {
    fn wanted() -> bool {
        // Without a lease the kernel's decision is right.
        registry::any()
    }

    fn pin(request: &mut Request<'_>) -> Result {
        /// How often the mappings may change during a pin before it fails.
        const ATTEMPTS: u32 = 8;

        for _ in 0..ATTEMPTS {
            let segments = request.segments(H::owns)?;
            if segments.is_empty() {
                request.pin_ordinary(request.count())?.keep();
                return Ok(());
            }
            match pin_segments::<H>(request, &segments)? {
                Pinned::Pages(_) => return Ok(()),
                Pinned::Changed => (),
            }
        }
        Err(EFAULT)
    }
}

/// Result of an attempt to pin.
enum Pinned {
    /// So many pages are pinned, from the first on.
    Pages(usize),
    /// No pages are pinned: the mappings have changed since they were read.
    Changed,
}

fn pin_segments<H: Host>(
    request: &mut Request<'_>,
    segments: &SmallVec<Segment>,
) -> Result<Pinned> {
    let watch = Watch::new()?;
    let caller = Caller::of(request);
    let mut reservations = SmallVec::new();
    for segment in segments.iter() {
        let reservation = match &segment.file {
            Some(file) => Some(reserve(&caller, segment, file)?),
            None => None,
        };
        reservations.push(reservation)?;
    }
    // There is at least one reservation, as a segment is of a file of the host.
    watch.hand_over();

    for segment in segments.iter() {
        if let Some(file) = &segment.file {
            let pages = file_pages(segment, file);
            let bytes = pages.start << PAGE_SHIFT..pages.end << PAGE_SHIFT;
            H::prepare_pin(file.path.inode(), bytes, request.is_write())?;
        }
    }

    let mut done = 0;
    for (segment, reservation) in segments.iter().zip(reservations.iter_mut()) {
        let count = segment.pages.len();
        let pinned = match (&segment.file, reservation) {
            (Some(file), Some(reservation)) => pin_file::<H>(request, segment, file, reservation),
            _ => request
                .pin_ordinary(count)
                .map(|pages| Pinned::Pages(pages.keep())),
        };
        match pinned {
            Ok(Pinned::Pages(pinned)) => {
                done += pinned;
                if pinned < count {
                    break;
                }
            }
            Ok(Pinned::Changed) => {
                request.unpin();
                return Ok(Pinned::Changed);
            }
            // As in the kernel, pages that are pinned already count.
            Err(_) if done != 0 => break,
            Err(err) => return Err(err),
        }
    }
    Ok(Pinned::Pages(done))
}

/// Returns the pages of the file that a segment maps.
fn file_pages(segment: &Segment, file: &FileSegment) -> Range<u64> {
    file.index..file.index + segment.pages.len() as u64
}

/// The owner of the pins, referenced while they are reserved.
enum Caller {
    File { id: FileId, _file: ARef<File> },
    Mm(ARef<Mm>),
}

impl Caller {
    fn of(request: &Request<'_>) -> Self {
        match gup::caller_file() {
            Some((id, file)) => Self::File { id, _file: file },
            None => Self::Mm(gup::caller_mm().unwrap_or_else(|| request.mm())),
        }
    }
}

fn reserve(caller: &Caller, segment: &Segment, file: &FileSegment) -> Result<Reservation> {
    // A private mapping gets a copy of a page at the first store.
    if !file.is_shared {
        return Err(eopnotsupp());
    }
    let (owner, mm) = match caller {
        Caller::File { id, .. } => (Owner::File(*id), None),
        Caller::Mm(mm) => (Owner::Mm(MmId::of(mm)), Some(mm.clone())),
    };
    Reservation::new(owner, mm, file.path.clone(), file_pages(segment, file))
}

/// Pins reserved pages of a file, and records them.
fn pin_file<H: Host>(
    request: &mut Request<'_>,
    segment: &Segment,
    file: &FileSegment,
    reservation: &mut Reservation,
) -> Result<Pinned> {
    let is_write = request.is_write();
    let pinned = request.pin_dax(segment.pages.len(), file.can_be_huge)?;
    let Some(runs) = runs_of::<H>(&pinned, file)? else {
        return Ok(Pinned::Changed);
    };
    for run in runs.iter() {
        let place = |page| (page - file.index) as usize;
        pinned.clear_reserved(place(run.start)..place(run.end));
    }
    reservation.commit(&runs)?;
    let pages = file.index..file.index + pinned.len() as u64;
    if is_write {
        H::pinned_for_writing(file.path.inode(), &pages);
    }
    trace::pin(file.path.inode(), &pages);
    // A truncate that waits for one of these pages must not wait for the end of the pin.
    let inode = InodeId::of(file.path.inode());
    let folios = runs.iter().flat_map(|run| run.each_folio(inode));
    dax::wake_waiters(folios.map(|folio| folio.pfn));
    Ok(Pinned::Pages(pinned.keep()))
}

/// Returns the runs of pages that were pinned, or [`None`] if one of them is not the file's page of
/// that offset.
fn runs_of<H: Host>(
    pages: &PinnedPages<'_>,
    file: &FileSegment,
) -> Result<Option<SmallVec<FolioRun>>> {
    let inode = InodeId::of(file.path.inode());
    let mut runs: SmallVec<FolioRun> = SmallVec::new();
    let mut page = 0;
    let mut index = file.index;
    while page < pages.len() {
        let Some((folio, at)) = pages.folio(page, H::owns) else {
            return Ok(None);
        };
        if folio.inode != inode || at != index {
            return Ok(None);
        }
        // The rest of the folio, each page of which was pinned by one reference.
        let left = (folio.pages().end - index).min((pages.len() - page) as u64) as usize;
        let refs = pages.in_a_row(page..page + left);
        let run = FolioRun {
            start: index,
            end: index + refs as u64,
            pfn: folio.pfn + (index - folio.index),
            refs: refs as u64,
            order: folio.order,
        };
        match runs.last_mut() {
            Some(last) if last.continues_with(&run) => last.end = run.end,
            _ => runs.push(run)?,
        }
        page += refs;
        index = run.end;
    }
    Ok(Some(runs))
}
