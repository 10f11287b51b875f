// SPDX-License-Identifier: GPL-2.0

//! The program on image files.

use std::{
    ffi::OsStr,
    fs::{
        self,
        File, //
    },
    os::unix::fs::FileExt,
    path::{
        Path,
        PathBuf, //
    },
    process::{
        Command,
        Output, //
    },
};

use pinfs_format::{
    check,
    memory::Memory,
    mount,
    superblock::Superblock,
    Volume, //
};

const MIB: u64 = 1 << 20;

/// An image file that goes with the test.
struct Image(PathBuf);

impl Image {
    fn new(test: &str, size: u64) -> Self {
        let name = format!("mkfs-{test}-{}.img", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let file = File::create(&path).expect("image");
        file.set_len(size).expect("size");
        Image(path)
    }

    fn put(&self, off: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(&self.0).expect("image");
        file.write_all_at(bytes, off).expect("write");
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.0).expect("image")
    }

    /// Runs the program with the image as its last argument.
    fn mkfs(&self, arguments: &[&str]) -> Output {
        let arguments = arguments.iter().map(OsStr::new);
        run(arguments.chain([self.0.as_os_str()]))
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // A file left behind harms nobody.
        let _ = fs::remove_file(&self.0);
    }
}

fn run<'a>(arguments: impl IntoIterator<Item = &'a OsStr>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mkfs-pinfs"))
        .args(arguments)
        .output()
        .expect("mkfs.pinfs")
}

#[track_caller]
fn succeeds(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*errors), (Some(0), ""));
    String::from_utf8(output.stdout).expect("text")
}

#[track_caller]
fn fails(output: Output, message: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(message), "{errors}");
    assert!(output.stdout.is_empty());
}

#[test]
fn makes_a_good_file_system() {
    let image = Image::new("good", 16 * MIB);
    let uuid = "12345678-9abc-4def-8123-456789abcdef";
    let text = succeeds(image.mkfs(&["-L", "my label", "-U", uuid, "--"]));
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains("16 MiB") && text.contains(uuid), "{text}");
    let memory = Memory::new(image.bytes());
    let (sb, _) = Superblock::read(&memory).expect("superblock");
    assert_eq!(sb.uuid[..4], [0x12, 0x34, 0x56, 0x78]);
    let (backup, _) = Superblock::read_backup(&memory).expect("backup");
    assert_eq!(sb.crc, backup.crc);
    let volume = Volume::open(memory).expect("volume");
    let label = mount::status(&volume).expect("status").label();
    assert!(label.starts_with(b"my label\0"));
    let contents = check::check(&volume).expect("clean");
    assert_eq!(contents.objects.len(), 1);
}

#[test]
fn two_are_never_the_same() {
    let (a, b) = (Image::new("one", 4 * MIB), Image::new("other", 4 * MIB));
    succeeds(a.mkfs(&[]));
    succeeds(b.mkfs(&[]));
    let read = |image: &Image| {
        Superblock::read(&Memory::new(image.bytes()))
            .expect("read")
            .0
    };
    let (a, b) = (read(&a), read(&b));
    assert_ne!(a.uuid, b.uuid);
    assert_ne!(a.hash_key[0].get(), b.hash_key[0].get());
    assert_ne!(a.hash_key[1].get(), b.hash_key[1].get());
}

#[test]
fn spares_what_is_there() {
    for (test, off, bytes, what) in [
        ("partitions", 510, &[0x55, 0xaa][..], "holds"),
        ("text", 100, &b"hello"[..], "holds data of an unknown kind"),
        ("btrfs", 0x10040, &b"_BHRfS_M"[..], "holds"),
        (
            "swap",
            4086,
            &b"SWAPSPACE2"[..],
            "holds swap (at byte 4086)",
        ),
    ] {
        let image = Image::new(test, 4 * MIB);
        image.put(off, bytes);
        let before = image.bytes();
        fails(image.mkfs(&[]), what);
        assert_eq!(image.bytes(), before);
        succeeds(image.mkfs(&["-f"]));
        let made = image.bytes();
        // The other's mark is gone.
        assert_ne!(made[off as usize..][..bytes.len()], *bytes);
        fails(
            image.mkfs(&[]),
            "holds a pinfs file system; use -f to overwrite it",
        );
        assert_eq!(image.bytes(), made);
    }
}

/// Block 0 alone is lost, and fsck.pinfs would restore all.
#[test]
fn h5_spares_a_backup_without_its_first_block() {
    let image = Image::new("backup", 4 * MIB);
    succeeds(image.mkfs(&[]));
    for zeroed in [4096, MIB] {
        image.put(0, &vec![0; zeroed as usize]);
        let before = image.bytes();
        for options in [&[][..], &["-n"]] {
            let message =
                "holds the backup superblock of a pinfs (fsck.pinfs -n says what it restores)";
            fails(image.mkfs(options), message);
            assert!(image.bytes() == before);
        }
    }
    // Beside what somebody else has put there it is told, too.
    image.put(4086, b"SWAPSPACE2");
    let output = image.mkfs(&[]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("backup") && errors.contains("swap"),
        "{errors}"
    );
    succeeds(image.mkfs(&["-f"]));
    // One that is not in its place is no backup.
    let image = Image::new("no-backup", 8 * MIB);
    succeeds(image.mkfs(&[]));
    let backup = image.bytes()[(8 * MIB - 4096) as usize..].to_vec();
    let image = Image::new("elsewhere", 16 * MIB);
    image.put(16 * MIB - 4096, &backup);
    succeeds(image.mkfs(&[]));
}

/// What wipefs sees, or nothing where it is missing.
fn marks(image: &Image) -> String {
    let output = Command::new("wipefs").arg("-n").arg(&image.0).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8(output.stdout).expect("text"),
    )
}

/// A string or a number as XDR has it.
fn xdr(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
    bytes.extend(text.bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn pair(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    let mut body = xdr(name);
    body.extend([kind.to_be_bytes(), 1u32.to_be_bytes()].concat());
    body.extend(value);
    let len = (body.len() as u32 + 8).to_be_bytes();
    [&len[..], &len, &body].concat()
}

/// The labels of a member of a ZFS pool: four, of which each has a list of names and values and a row
/// of uberblocks.
fn zfs_labels(image: &Image, size: u64) {
    let mut list = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    list.extend(pair("name", 9, &xdr("tank")));
    for (name, value) in [
        ("version", 5000u64),
        ("state", 0),
        ("txg", 4),
        ("pool_guid", 1234567),
        ("top_guid", 77),
        ("guid", 77),
    ] {
        list.extend(pair(name, 8, &value.to_be_bytes()));
    }
    list.extend([0; 8]);
    for label in [0, 256 << 10, size - (512 << 10), size - (256 << 10)] {
        image.put(label + (16 << 10), &list);
        for index in 0..16 {
            let words = [0x00ba_b10c_u64, 5000, 100 + index, 0];
            let block: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            image.put(label + (128 << 10) + index * 1024, &block);
        }
    }
}

/// Fault E1: whatever was there, nobody takes the device for it afterwards; also without wipefs, as
/// far as the program knows the marks itself.
#[test]
fn h5_force_leaves_no_mark_of_others() {
    let size = 128 * MIB;
    let raid = [0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0];
    for path in [std::env::var("PATH").expect("PATH"), "/nowhere".to_owned()] {
        let image = Image::new(&format!("marks-{}", path.len()), size);
        zfs_labels(&image, size);
        image.put(0x1000, &raid);
        image.put(size - 0x2000, &raid);
        image.put(64 * MIB + 0x40, b"_BHRfS_M");
        image.put(size - 512, b"EFI PART");
        if !marks(&image).is_empty() {
            assert!(marks(&image).contains("zfs_member"), "{}", marks(&image));
        }
        let mkfs = |arguments: &[&str]| {
            Command::new(env!("CARGO_BIN_EXE_mkfs-pinfs"))
                .env("PATH", &path)
                .args(arguments)
                .arg(&image.0)
                .output()
                .expect("mkfs.pinfs")
        };
        fails(mkfs(&[]), "zfs_member");
        let output = mkfs(&["-f"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{errors}");
        assert_eq!(errors.contains("wipefs"), path == "/nowhere", "{errors}");
        assert_eq!(marks(&image), "");
        let bytes = image.bytes();
        for off in [0x20000, 0x60000, size - 0x60000, size - 0x20000, 0x1000] {
            assert_ne!(bytes[off as usize..][..3], [0x0c, 0xb1, 0xba], "{off}");
            assert_ne!(bytes[off as usize..][..4], raid[..4], "{off}");
        }
        assert_eq!(bytes[(64 * MIB + 0x40) as usize..][..8], [0; 8]);
        let volume = Volume::open(Memory::new(bytes)).expect("volume");
        check::check(&volume).expect("clean");
    }
}

/// Of an ext4 that was there no backup superblock is left, which e2fsck would make a file system of
/// again, whatever its block size. What is none stays.
#[test]
fn h5_no_backup_of_ext4_is_left() {
    const KIB: u64 = 1024;
    let image = Image::new("ext4", 1200 * MIB + 2 * KIB);
    let superblock = [&[0x11; 56][..], &[0x53, 0xef], &[0x22; 966]].concat();
    let backups = [
        // Blocks of 1 KiB: groups 1, 3, and one that has none with sparse_super.
        8 * MIB + KIB,
        24 * MIB + KIB,
        48 * MIB + KIB,
        // 2 KiB: groups 1, 3 and 5.
        32 * MIB,
        96 * MIB,
        160 * MIB,
        // 4 KiB: groups 1, 3, 5, 7 and 9.
        128 * MIB,
        384 * MIB,
        640 * MIB,
        896 * MIB,
        1152 * MIB,
        // 8 KiB, whose groups are not as long as a bitmap could show.
        65528 * 8 * KIB,
        // The last that fits.
        1200 * MIB + KIB,
    ];
    for off in backups {
        image.put(off, &superblock);
    }
    // In no place of a backup, and in one without the magic.
    let others = [40 * MIB, 64 * MIB + 8 * KIB];
    image.put(others[0], &superblock);
    image.put(others[1], &[0x53, 0xef].repeat(512));
    image.put(256 * MIB, &[0x33; 1024]);
    succeeds(image.mkfs(&["-f"]));
    let file = File::open(&image.0).expect("image");
    let bytes = |off| {
        let mut bytes = [0; 1024];
        file.read_exact_at(&mut bytes, off).expect("read");
        bytes
    };
    for off in backups {
        assert!(bytes(off) == [0; 1024], "{off}");
    }
    assert!(bytes(others[0]) == superblock[..]);
    assert!(bytes(others[1])[..] == [0x53, 0xef].repeat(512));
    assert!(bytes(256 * MIB) == [0x33; 1024]);
}

/// Fault A4: of an older file system that did not fill the image no backup is left.
#[test]
fn h5_no_old_backup_is_left() {
    let image = Image::new("backups", 4 * MIB);
    succeeds(image.mkfs(&[]));
    let file = File::options().write(true).open(&image.0).expect("image");
    file.set_len(8 * MIB).expect("size");
    succeeds(image.mkfs(&["-f"]));
    let bytes = image.bytes();
    let copies: Vec<usize> = (0..bytes.len() / 4096)
        .filter(|block| bytes[block * 4096..].starts_with(b"pinfs"))
        .collect();
    assert_eq!(copies, [0, 2047]);
}

#[test]
fn clears_the_end() {
    let image = Image::new("end", 4 * MIB + 100);
    image.put(4 * MIB + 100 - 512, &[0x77; 512]);
    succeeds(image.mkfs(&[]));
    let bytes = image.bytes();
    assert!(bytes[bytes.len() - 512..].iter().all(|&byte| byte == 0));
}

#[test]
fn dry_run_writes_nothing() {
    let image = Image::new("dry", 4 * MIB);
    let text = succeeds(image.mkfs(&["-n"]));
    assert!(text.contains("would make"), "{text}");
    assert!(image.bytes().iter().all(|&byte| byte == 0));
    image.put(0, b"x");
    fails(image.mkfs(&["-n"]), "holds");
}

#[test]
fn too_small() {
    for size in [0, 1, 4096, 2 * MIB - 1] {
        let image = Image::new(&format!("small-{size}"), size);
        fails(image.mkfs(&["-f"]), "at least 2097152 are needed");
        assert!(image.bytes().iter().all(|&byte| byte == 0));
    }
    succeeds(Image::new("least", 2 * MIB).mkfs(&[]));
}

#[test]
fn bad_arguments() {
    let image = Image::new("arguments", 4 * MIB);
    fails(image.mkfs(&["-L", &"x".repeat(33)]), "longer than 32 bytes");
    fails(image.mkfs(&["-U", "12345"]), "invalid value");
    let nil = "00000000-0000-0000-0000-000000000000";
    fails(image.mkfs(&["-U", nil]), "all zeroes stand for no UUID");
    fails(image.mkfs(&["-U", &"0".repeat(32)]), "all zeroes");
    fails(image.mkfs(&["-x"]), "unexpected argument");
    fails(image.mkfs(&["/dev/null"]), "unexpected argument");
    fails(run([]), "required");
    fails(
        run([OsStr::new("/dev/null")]),
        "neither a block device nor a regular file",
    );
    fails(
        run([OsStr::new("/")]),
        "neither a block device nor a regular file",
    );
    fails(run([OsStr::new("/does/not/exist")]), "No such file");
    assert!(image.bytes().iter().all(|&byte| byte == 0));
    succeeds(image.mkfs(&["-L", &"x".repeat(32)]));
    assert!(succeeds(run([OsStr::new("--help")])).contains("Usage: mkfs.pinfs"));
}
