// SPDX-License-Identifier: GPL-2.0

//! Vectors that mostly have one element, and take memory for more only.

use kernel::prelude::*;

/// Some elements, in order.
pub(crate) struct SmallVec<T> {
    first: Option<T>,
    /// Missing if there are none. An empty vector would be no memory either, but the kernel would
    /// be called to free it.
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

    /// Says whether there are no elements.
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

    /// Returns the elements in two parts, the second of which is empty if the first one is.
    pub(crate) fn as_slices(&self) -> [&[T]; 2] {
        [self.first.as_slice(), self.rest.as_deref().unwrap_or(&[])]
    }

    /// Returns the elements, one after the other.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let [first, rest] = self.as_slices();
        // `PinInit` has a method of this name, too.
        Iterator::chain(first.iter(), rest)
    }

    /// Returns the elements, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        Iterator::chain(self.first.iter_mut(), self.rest.iter_mut().flatten())
    }
}
