// SPDX-License-Identifier: GPL-2.0

//! The word by which the kernel asks for a check of a file system that is marked clean. (Fault E13.)

use std::{
    fs,
    path::PathBuf,
    process::Command, //
};

use pinfs_corrupt::base;
use pinfs_format::mount;

/// A file that goes away with the test.
struct Image(PathBuf);

impl Image {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let name = format!("pinfs-fsck-asked-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, bytes).expect("write");
        Image(path)
    }

    fn fsck(&self, option: &str) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_fsck-pinfs"))
            .arg(option)
            .arg(&self.0)
            .output()
            .expect("start");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("text");
        (output.status.code().expect("no signal"), text)
    }

    /// The word as it is.
    fn word(&self) -> u64 {
        let at = mount::CHECK as usize;
        let bytes = fs::read(&self.0).expect("read");
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a word"))
    }

    fn set_word(&self, word: u64) {
        let at = mount::CHECK as usize;
        let mut bytes = fs::read(&self.0).expect("read");
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        fs::write(&self.0, bytes).expect("write");
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Any word asks, and a check that repairs forgets it.
#[test]
fn s4_a_clean_file_system_is_looked_at() {
    let image = Image::new("sound", &base(640).expect("base"));
    assert_eq!(image.fsck("-p").0, 0);
    let (status, text) = image.fsck("-n");
    assert!(status == 0 && text.contains("clean"), "{text}");
    for word in [1, u64::from_le_bytes(*b"pinfsck!"), 1 << 63] {
        image.set_word(word);
        let (status, text) = image.fsck("-n");
        assert!(status == 0 && text.contains("no faults"), "{text}");
        assert!(!text.contains("clean"), "{text}");
        assert_eq!(image.word(), word);
        for option in ["-p", "-y"] {
            image.set_word(word);
            let (status, text) = image.fsck(option);
            assert!(status == 0 && text.contains("no faults"), "{text}");
            assert_eq!(image.word(), 0);
        }
        let (status, text) = image.fsck("-n");
        assert!(status == 0 && text.contains("clean"), "{text}");
    }
}

/// What is not repaired is asked for again.
#[test]
fn s4_what_is_not_repaired_is_not_forgotten() {
    let image = Image::new("damaged", &base(640).expect("base"));
    assert_eq!(image.fsck("-p").0, 0);
    let mut bytes = fs::read(&image.0).expect("read");
    let leaf = (0..640).find(|block| bytes[block * 4096..].starts_with(b"pDir"));
    let at = leaf.expect("a leaf") * 4096;
    bytes[at..at + 4096].fill(0x55);
    fs::write(&image.0, bytes).expect("write");
    let (status, text) = image.fsck("-n");
    assert!(status == 0 && text.contains("clean"), "{text}");
    image.set_word(7);
    assert_eq!(image.fsck("-n").0, 4);
    assert_eq!(image.fsck("-p").0, 4);
    assert_eq!(image.word(), 7);
    assert_eq!(image.fsck("-y").0, 1);
    assert_eq!(image.word(), 0);
    let (status, text) = image.fsck("-n");
    assert!(status == 0 && text.contains("clean"), "{text}");
}
