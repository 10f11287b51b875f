// SPDX-License-Identifier: GPL-2.0

//! Vectors that mostly have one element, and take memory for more only.

use kernel::prelude::*;

/// Some elements, in order.
pub(crate) struct Few<T> {
    first: Option<T>,
    /// Empty if there is no first.
    rest: KVec<T>,
}

impl<T> Few<T> {
    /// Returns an empty vector.
    pub(crate) const fn new() -> Self {
        Self {
            first: None,
            rest: KVec::new(),
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
            Some(_) => self.rest.push(element, GFP_KERNEL)?,
        }
        Ok(())
    }

    /// Says whether there are no elements.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Returns the last element.
    pub(crate) fn last_mut(&mut self) -> Option<&mut T> {
        self.rest.last_mut().or(self.first.as_mut())
    }

    /// Returns the elements, in two parts.
    pub(crate) fn as_slices(&self) -> [&[T]; 2] {
        [self.first.as_slice(), &self.rest]
    }

    /// Returns the elements, one after the other.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.as_slices().into_iter().flatten()
    }
}
