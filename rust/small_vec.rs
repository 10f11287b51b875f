// SPDX-License-Identifier: GPL-2.0

//! Vectors that mostly have one element, and allocate memory only for more.

use kernel::prelude::*;

/// A vector whose first element needs no allocation.
pub(crate) struct SmallVec<T> {
    first: Option<T>,
    /// `None` while empty. An empty vector would have no memory either, but dropping it would call
    /// the kernel.
    rest: Option<KVec<T>>,
}

impl<T> SmallVec<T> {
    /// Returns an empty vector.
    pub(crate) const fn new() -> Self {
        Self {
            first: None,
            rest: None,
        }
    }

    /// Appends an element.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn push(&mut self, element: T) -> Result {
        match self.first {
            None => self.first = Some(element),
            Some(_) => self
                .rest
                .get_or_insert_with(KVec::new)
                .push(element, GFP_KERNEL)?,
        }
        Ok(())
    }

    /// Returns whether there are no elements.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Returns the last element.
    pub(crate) fn last_mut(&mut self) -> Option<&mut T> {
        self.rest
            .as_mut()
            .and_then(|rest| rest.last_mut())
            .or(self.first.as_mut())
    }

    /// Returns the elements in two slices. The second is empty if the first one is.
    pub(crate) fn as_slices(&self) -> [&[T]; 2] {
        [self.first.as_slice(), self.rest.as_deref().unwrap_or(&[])]
    }

    /// Returns an iterator over the elements.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let [first, rest] = self.as_slices();
        // `PinInit` has a method of this name, too.
        Iterator::chain(first.iter(), rest)
    }

    /// Returns an iterator over the elements that can change them.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        Iterator::chain(self.first.iter_mut(), self.rest.iter_mut().flatten())
    }
}
