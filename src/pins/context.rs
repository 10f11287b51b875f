// SPDX-License-Identifier: GPL-2.0

//! Contexts: what owns a long-term pin.
//!
//! A context is an open file where the pin was asked for through one (a ring of io_uring, a
//! context of the RDMA verbs, a socket), else the address space. No reference is kept to the file,
//! because its release is what gives the pins back. Instead its end is observed ([`close`]): a
//! context whose file has ended is *dead*, and may have pins for some time yet if they are given
//! back by deferred work. The next file at the same address is another context.

use super::registry::{
    self,
    HoldingKey, //
};
use crate::identity::{
    FileId,
    MmId, //
};
use kernel::{
    mm::Mm,
    sync::aref::ARef, //
};

/// Which context. Numbers are not used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContextId(pub(super) u64);

impl ContextId {
    pub(super) const FIRST: Self = Self(0);
}

/// What a context is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// An open file.
    File(FileId),
    /// An address space.
    Mm(MmId),
}

/// A context with pins.
pub(super) struct Context {
    pub(super) owner: Owner,
    /// Keeps the address space's identity from being given to another, if it is the owner.
    pub(super) _mm: Option<ARef<Mm>>,
    /// The file has been closed for the last time.
    pub(super) is_dead: bool,
    /// Number of holdings.
    pub(super) holdings: usize,
}

/// Notes that an open file is about to be released, in whatever context that happens.
pub(super) fn close(file: FileId) {
    if let Some(registry) = registry::lock().as_mut() {
        if let Some(id) = registry.owners.remove(&Owner::File(file)) {
            if let Some(context) = registry.contexts.get_mut(&id) {
                context.is_dead = true;
            }
        }
    }
}

/// The order in which contexts are asked for references that somebody has given back.
#[derive(Clone, Copy)]
pub(super) enum Preference {
    /// The one that the current system call is about.
    Caller(ContextId),
    /// Those whose file has ended: their pins are being given back.
    Dead,
    /// Any.
    Any,
}

impl Preference {
    pub(super) fn includes(self, (_, id, _): HoldingKey, registry: &registry::Registry) -> bool {
        match self {
            Preference::Caller(caller) => id == caller,
            Preference::Dead => registry
                .contexts
                .get(&id)
                .is_some_and(|context| context.is_dead),
            Preference::Any => true,
        }
    }
}
