// SPDX-License-Identifier: GPL-2.0

//! The current task.
//!
//! C header: [`include/linux/sched/signal.h`](srctree/include/linux/sched/signal.h)

use crate::rust::safe;

/// Returns whether a fatal signal is pending for the current task, so that long work should stop.
pub(crate) fn fatal_signal_pending() -> bool {
    safe::pinfs_helper_fatal_signal_pending()
}

/// Returns whether the current task is a kernel thread that serves others, as nfsd does: it must
/// not wait for an unlimited time, and has errnos of its own.
pub(crate) fn is_server() -> bool {
    safe::pinfs_helper_is_server()
}

/// Returns whether the current task may administer file systems (`CAP_SYS_ADMIN`).
pub(crate) fn is_admin() -> bool {
    safe::pinfs_helper_is_admin()
}
