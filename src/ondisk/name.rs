// SPDX-License-Identifier: GPL-2.0

//! File names and their keyed hash.

use super::{
    Error,
    Result, //
};

/// Bytes in the longest name.
pub const NAME_MAX: usize = 255;

/// A valid name of a directory entry: 1 to 255 bytes without `/` or NUL, neither `.` nor `..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// [`Error::NameTooLong`] over 255 bytes, [`Error::Invalid`] for the other rules.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() > NAME_MAX {
            return Err(Error::NameTooLong);
        }
        if matches!(bytes, b"" | b"." | b"..") || bytes.iter().any(|&b| b == b'/' || b == 0) {
            return Err(Error::Invalid);
        }
        Ok(Name(bytes))
    }

    /// Returns the bytes of the name.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Bits of a name's hash.
pub(crate) const HASH_BITS: u32 = 56;

/// A key that makes the hash the first byte of a name: 56 bits do not collide in tests.
#[cfg(test)]
pub(crate) const WEAK: (u64, u64) = (0, 0);

/// Returns the hash of a name. It is keyed, so that users cannot prepare names that all get into
/// one leaf.
pub(crate) fn hash(key: (u64, u64), name: Name<'_>) -> u64 {
    #[cfg(test)]
    if key == WEAK {
        return u64::from(name.0[0]);
    }
    siphash(key, name.0) >> (u64::BITS - HASH_BITS)
}

/// Returns the SipHash-2-4 of `data`.
fn siphash(key: (u64, u64), data: &[u8]) -> u64 {
    let mut v = [
        key.0 ^ 0x736f_6d65_7073_6575,
        key.1 ^ 0x646f_7261_6e64_6f6d,
        key.0 ^ 0x6c79_6765_6e65_7261,
        key.1 ^ 0x7465_6462_7974_6573,
    ];
    let mut words = data.chunks_exact(8);
    for word in words.by_ref() {
        absorb(&mut v, little_endian(word));
    }
    let length = (data.len() as u64) << 56;
    absorb(&mut v, length | little_endian(words.remainder()));
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, &byte| (word << 8) | u64::from(byte))
}

fn absorb(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_known_answers() {
        // The first vectors of the algorithm's reference test: key 00..0f, message 00..(n-1).
        let key = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let data: [u8; 16] = core::array::from_fn(|i| i as u8);
        assert_eq!(siphash(key, &data[..0]), 0x726f_db47_dd0e_0e31);
        assert_eq!(siphash(key, &data[..1]), 0x74f8_39c5_93dc_67fd);
        assert_eq!(siphash(key, &data[..15]), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn names() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
            assert_eq!(Name::new(bad), Err(Error::Invalid));
        }
        assert_eq!(Name::new(&[b'x'; 256]), Err(Error::NameTooLong));
        assert!(Name::new(&[b'x'; 255]).is_ok());
        assert!(Name::new(b"...").is_ok());
    }
}
