// SPDX-License-Identifier: GPL-2.0

//! A state that should not be, in a small file.
//!
//! ```text
//! file := "pinfsRP1" len:u32 text[len] size:u64 run...
//! run  := count:u32 word:u64            so many times the same word, the image from its beginning
//! ```

use std::path::Path;

use crate::memory::word;

const MAGIC: &[u8] = b"pinfsRP1";

/// An image, and what is wrong with it.
pub struct Reproducer {
    /// In words.
    pub text: String,
    /// The image.
    pub image: Vec<u8>,
}

impl Reproducer {
    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let mut out = MAGIC.to_vec();
        out.extend((self.text.len() as u32).to_le_bytes());
        out.extend(self.text.as_bytes());
        out.extend((self.image.len() as u64).to_le_bytes());
        let mut words = (0..self.image.len() as u64).step_by(8).peekable();
        while let Some(off) = words.next() {
            let value = word(&self.image, off);
            let mut count = 1u32;
            while words
                .next_if(|&next| word(&self.image, next) == value)
                .is_some()
            {
                count += 1;
            }
            out.extend(count.to_le_bytes());
            out.extend(value.to_le_bytes());
        }
        std::fs::write(path, out).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Reads such a file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&bytes).ok_or_else(|| format!("{}: not a reproducer", path.display()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        let (size, mut rest) = rest.split_first_chunk::<8>()?;
        let size = usize::try_from(u64::from_le_bytes(*size)).ok()?;
        let mut image = Vec::new();
        while let Some((count, after)) = rest.split_first_chunk::<4>() {
            let (value, after) = after.split_first_chunk::<8>()?;
            let count = u32::from_le_bytes(*count) as usize;
            if image.len() + count * 8 > size {
                return None;
            }
            image.extend(value.repeat(count));
            rest = after;
        }
        (image.len() == size && rest.is_empty()).then(|| Reproducer {
            text: String::from_utf8_lossy(text).into_owned(),
            image,
        })
    }
}
