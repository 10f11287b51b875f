// SPDX-License-Identifier: GPL-2.0

//! Layout leases, and the operations that have to heed them.
//!
//! * [`lease`]: `fcntl(F_SETLEASE)` and `fcntl(F_GETLEASE)` with F_LAYOUT.
//! * [`ioctl`]: the same on ranges, and on kernels without the hook points.
//! * [`busy`]: what an operation asks before it frees, moves or un-shares blocks.
//!
//! Nothing here knows how a file system keeps its blocks: it is about inodes and ranges of bytes.

use crate::{
    pins::host::Host,
    rust::{
        hook::{
            self,
            Hook, //
        },
        lease::{
            GetLease,
            SetLease, //
        }, //
    }, //
};
use kernel::prelude::*;

mod busy;
mod ioctl;
pub(crate) mod lease;

pub(crate) use self::busy::{
    break_layouts,
    is_held,
    is_pinned,
    mark_pinned_dirty,
    unless_pinned, //
};
pub(crate) use self::ioctl::lease as lease_ioctl;
use self::lease::Fcntl;

/// The lease interface, as long as the value lives.
pub(crate) struct Layout<H: Host> {
    /// Both hooks or none: a lease that cannot be asked for is no use, and neither is one that
    /// cannot be seen.
    fcntl: Option<FcntlHooks<H>>,
}

type FcntlHooks<H> = (
    Pin<KBox<Hook<SetLease<Fcntl<H>>>>>,
    Pin<KBox<Hook<GetLease<Fcntl<H>>>>>,
);

impl<H: Host> Layout<H> {
    /// Starts to answer `fcntl()`. Where the kernel lacks a hook point, everything else works.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let hooks = || -> Result<_> { Ok((Hook::new()?, Hook::new()?)) };
        let fcntl = hook::optional(hooks(), "layout leases through fcntl() are")?;
        Ok(Self { fcntl })
    }

    /// Says whether `fcntl()` takes layout leases.
    pub(crate) fn has_leases(&self) -> bool {
        self.fcntl.is_some()
    }
}
