// SPDX-License-Identifier: GPL-2.0
//! Temporary.
use crate::{dax, lock::LayoutLock, vfs::FileSystem};
use core::ops::Range;
use kernel::prelude::*;
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
