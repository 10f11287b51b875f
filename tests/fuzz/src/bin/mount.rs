// SPDX-License-Identifier: GPL-2.0

//! Mounts the image and does with it all that a mounted file system does: errors only, and in time.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pinfs_format::exercise::exercise;
use pinfs_fuzz::image;

fuzz_target!(|input: &[u8]| {
    let _ = exercise(image(input), 8);
});
