// SPDX-License-Identifier: GPL-2.0

//! Repairs the image: afterwards nothing is to be found, and its tree can be walked; or fsck says
//! that it cannot.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pinfs_format::{
    check::check as walk,
    journal,
    Volume, //
};
use pinfs_fsck::{
    check,
    Fault,
    Options,
    Outcome,
    Overlay, //
};
use pinfs_fuzz::{
    image,
    Image, //
};

/// What was repaired, unless that was refused.
fn repair(image: &Image) -> Option<Vec<Fault>> {
    let overlay = Overlay::new(image);
    let force = Options { force: true };
    match check(&overlay, force, &mut |_, _, _| {}).expect("memory does not fail") {
        Outcome::Checked { faults, .. } => {
            overlay.commit().expect("memory does not fail");
            Some(faults)
        }
        Outcome::Refused(_) | Outcome::NoRoom(_) => None,
        Outcome::Clean(_) => panic!("not looked at though forced"),
    }
}

fuzz_target!(|input: &[u8]| {
    let image = image(input);
    let Some(faults) = repair(&image) else {
        return;
    };
    let again = repair(&image).expect("what was repaired is not refused");
    assert!(again.is_empty(), "{faults:#?}\nthen {again:#?}");
    let volume = Volume::open(&image).expect("superblock");
    assert_eq!(journal::needs_recovery(&volume), Ok(false));
    if let Err(problems) = walk(&volume) {
        panic!("{faults:#?}\nthen {problems:#?}");
    }
});
