// SPDX-License-Identifier: GPL-2.0

//! Layout leases, and the operations that have to heed them.
//!
//! * [`lease`]: `fcntl(F_SETLEASE)` and `fcntl(F_GETLEASE)` with F_LAYOUT.
//!
//! Nothing here knows how a file system keeps its blocks: it is about inodes and ranges of bytes.

use crate::{
    dax,
    hook::Hook,
    lock::LayoutLock,
    vfs::FileSystem, //
};
use core::ops::Range;
use kernel::prelude::*;

pub(crate) mod lease;

use lease::Fcntl;

/// The lease interface, as long as the value lives.
pub(crate) struct Layout {
    /// Both hooks or none: a lease that cannot be asked for is no use, and neither is one that
    /// cannot be seen.
    fcntl: Option<(
        Pin<KBox<Hook<crate::lease::SetLease<Fcntl>>>>,
        Pin<KBox<Hook<crate::lease::GetLease<Fcntl>>>>,
    )>,
}

impl Layout {
    /// Starts to answer `fcntl()`. Where the kernel lacks a hook point, everything else works.
    pub(crate) fn new() -> Self {
        let hooks = || -> Result<_> { Ok((Hook::new()?, Hook::new()?)) };
        let fcntl = hooks()
            .inspect_err(|err| {
                pr_warn!("layout leases through fcntl() are not available: hooks: {err:?}\n")
            })
            .ok();
        Self { fcntl }
    }

    /// Says whether `fcntl()` takes layout leases.
    pub(crate) fn has_leases(&self) -> bool {
        self.fcntl.is_some()
    }
}

pub(crate) enum Broken {
    Ready,
    Again,
}
pub(crate) fn break_layouts<F: FileSystem>(
    lock: &mut LayoutLock<'_, F>,
    range: Range<u64>,
) -> Result<Broken> {
    match dax::layout_busy_page_range(lock, &range) {
        None => Ok(Broken::Ready),
        Some(page) => {
            lock.unlocked(|| page.wait_killable())?;
            Ok(Broken::Again)
        }
    }
}
