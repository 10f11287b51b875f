// SPDX-License-Identifier: GPL-2.0

//! Looks for images that break who reads them, led by which code an image reaches.
//!
//! An input of libFuzzer is a list of changes to fields of an image that has one of everything, and
//! every checksum is made good again unless the input says otherwise ([`Corpus::decode`]). So inputs get
//! behind the checksums, and stay small.

#![forbid(unsafe_code)]

use std::{
    cell::RefCell,
    ops::Range, //
};

use pinfs_corrupt::{
    base,
    Corpus, //
};
use pinfs_format::{
    crc::Checksum,
    Error,
    Medium,
    Result, //
};

/// A medium in ordinary memory, with the processor's checksums: they are most of the work.
pub struct Image(RefCell<Vec<u8>>);

impl Image {
    /// Holds `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Image(RefCell::new(bytes))
    }

    fn range(&self, off: u64, len: u64) -> Result<Range<usize>> {
        let end = off.checked_add(len).filter(|end| *end <= self.size());
        Ok(off as usize..end.ok_or(Error::Io)? as usize)
    }
}

impl Checksum for Image {
    fn crc32c(&self, crc: u32, data: &[u8]) -> u32 {
        // The crate's function inverts before and after; the engine's does not.
        !crc32c::crc32c_append(!crc, data)
    }

    fn xxh64(&self, seed: u64, data: &[u8]) -> u64 {
        xxhash_rust::xxh64::xxh64(data, seed)
    }
}

impl Medium for Image {
    fn size(&self) -> u64 {
        self.0.borrow().len() as u64
    }

    fn read(&self, off: u64, buf: &mut [u8]) -> Result {
        let range = self.range(off, buf.len() as u64)?;
        buf.copy_from_slice(&self.0.borrow()[range]);
        Ok(())
    }

    fn write(&self, off: u64, data: &[u8]) -> Result {
        let range = self.range(off, data.len() as u64)?;
        self.0.borrow_mut()[range].copy_from_slice(data);
        Ok(())
    }

    fn zero(&self, off: u64, len: u64) -> Result {
        let range = self.range(off, len)?;
        self.0.borrow_mut()[range].fill(0);
        Ok(())
    }

    fn flush(&self, off: u64, len: u64) -> Result {
        self.range(off, len).map(drop)
    }

    fn fence(&self) {}
}

struct Base {
    image: Vec<u8>,
    corpus: Corpus,
}

thread_local! {
    static BASE: Base = {
        let image = base(640).expect("an image");
        let corpus = Corpus::new(image.clone()).expect("without fault");
        Base { image, corpus }
    };
}

/// The image that an input of the fuzzer stands for.
pub fn image(input: &[u8]) -> Image {
    BASE.with(|base| {
        let mut image = base.image.clone();
        base.corpus.decode(input).apply(&mut image);
        Image::new(image)
    })
}
