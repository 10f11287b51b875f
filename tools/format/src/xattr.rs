// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.

use crate::{
    ondisk::header::Object,
    Error,
    Inode,
    Medium,
    Result,
    Volume, //
};

pub use crate::{
    engine::xattr::*,
    ondisk::xattr::*, //
};

/// Calls `f` with the blocks of the list and of the values, until it returns false; the second
/// argument says whether it is one of a value.
pub fn blocks<M: Medium>(
    volume: &Volume<M>,
    inode: &Inode,
    f: impl FnMut(u64, bool) -> bool,
) -> Result {
    let f = core::cell::RefCell::new(f);
    visit(
        &mut &*volume,
        inode,
        |link| f.borrow_mut()(link.block, false),
        |r, place, _| {
            let mut go_on = true;
            pieces(r, inode.ino(), &place.entry, |_, block, _| {
                go_on = f.borrow_mut()(block, true);
                go_on.then_some(()).ok_or(Error::Corrupt(Value::DAMAGED))
            })
            .map(|()| go_on)
        },
    )
}
