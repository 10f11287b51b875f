// SPDX-License-Identifier: GPL-2.0

//! Tracepoints: `/sys/kernel/tracing/events/pinfs`. `pinfs_trace.h` describes them.
//!
//! All of them may be called in any context, under any lock.

use crate::rust::{
    safe,
    vfs::Inode, //
};
use core::ops::Range;
use kernel::{
    ffi::c_int,
    page::PAGE_SHIFT, //
};

/// The reason why a lease has ended.
#[derive(Clone, Copy)]
pub(crate) enum Reason {
    /// Its holder has released it.
    Released = 0,
    /// Its file was closed.
    Closed = 1,
    /// Its file was closed, and pins keep it in force.
    Orphaned = 2,
    /// Its holder did not release it in time.
    TimedOut = 3,
}

/// Converts a range of pages to bytes.
fn bytes_of(pages: &Range<u64>) -> (u64, u64) {
    let byte = |page: u64| page.saturating_mul(1 << PAGE_SHIFT).min(i64::MAX as u64);
    (byte(pages.start), byte(pages.end))
}

/// Traces that pages were put under a lease.
pub(crate) fn lease_set(inode: &Inode, pages: &Range<u64>, lease: c_int) {
    let (start, end) = bytes_of(pages);
    safe::pinfs_helper_trace_lease_set(inode, start, end, lease);
}

/// Traces that leases on pages have ended.
pub(crate) fn lease_release(inode: &Inode, pages: &Range<u64>, reason: Reason) {
    let (start, end) = bytes_of(pages);
    safe::pinfs_helper_trace_lease_release(inode, start, end, reason as c_int);
}

/// Traces that the current task has to wait for a lease on pages.
pub(crate) fn lease_break(inode: &Inode, pages: &Range<u64>) {
    let (start, end) = bytes_of(pages);
    safe::pinfs_helper_trace_lease_break(inode, start, end);
}

/// Traces that pages were pinned.
pub(crate) fn pin(inode: &Inode, pages: &Range<u64>) {
    let (start, end) = bytes_of(pages);
    safe::pinfs_helper_trace_pin(inode, start, end);
}

/// Traces that references to pages were removed from the record.
pub(crate) fn unpin(inode: &Inode, pages: &Range<u64>, refs: u64) {
    let (start, end) = bytes_of(pages);
    safe::pinfs_helper_trace_unpin(inode, start, end, refs);
}

/// Traces that the current task is about to wait for references to pages.
pub(crate) fn busy_wait(inode: &Inode, pages: &Range<u64>) {
    let (start, end) = bytes_of(pages);
    safe::pinfs_helper_trace_busy_wait(inode, start, end);
}

/// Traces that an inode enters quarantine, or leaves it.
pub(crate) fn quarantine(inode: &Inode, enter: bool) {
    safe::pinfs_helper_trace_quarantine(inode, enter);
}
