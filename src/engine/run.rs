// SPDX-License-Identifier: GPL-2.0

//! Runs of blocks.

use core::ops::Range;

use crate::ondisk::bitmap::BITS;

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRun {
    /// First block.
    pub start: u64,
    /// Number of blocks.
    pub len: u64,
}

/// Returns the bits of word number `word` that stand for `range`.
pub fn mask(word: u64, range: Range<u64>) -> u64 {
    let base = word * BITS;
    let below = |limit: u64| match limit.saturating_sub(base) {
        0 => 0,
        n if n >= BITS => !0,
        n => (1 << n) - 1,
    };
    below(range.end) & !below(range.start)
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn masks() {
        assert_eq!(mask(0, 0..64), !0);
        assert_eq!(mask(0, 3..5), 0b11000);
        assert_eq!(mask(1, 3..5), 0);
        assert_eq!(mask(1, 60..66), 0b11);
        assert_eq!(mask(1, 70..200), !0 << 6);
    }
}
