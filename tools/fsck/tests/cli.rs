// SPDX-License-Identifier: GPL-2.0

//! The program: what it writes, what it says, and with which status it ends.

use std::{
    fs,
    io::Read,
    os::{
        fd::OwnedFd,
        unix::{
            fs::FileExt,
            net::UnixStream, //
        },
    },
    path::PathBuf,
    process::{
        Command,
        Output, //
    },
};

use pinfs_corrupt::base;
use pinfs_format::{
    memory::Memory,
    mkfs,
    superblock::Superblock,
    Time, //
};

/// A file that goes away with the test.
struct Image(PathBuf);

impl Image {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let name = format!("pinfs-fsck-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, bytes).expect("write");
        Image(path)
    }

    fn fsck(&self, options: &[&str]) -> (i32, String) {
        run(&[options, &[self.0.to_str().expect("text")]].concat())
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.0).expect("read")
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn run(arguments: &[&str]) -> (i32, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_fsck-pinfs"))
        .args(arguments)
        .output()
        .expect("start");
    let text = [stdout, stderr].concat();
    let text = String::from_utf8(text).expect("text");
    (status.code().expect("no signal"), text)
}

/// The base with its block bitmap set to nothing: wrong, and nothing is lost by the repair.
fn without_bitmap() -> Vec<u8> {
    let mut bytes = base(640).expect("base");
    bytes[66 * 4096..67 * 4096].fill(0);
    bytes
}

/// The base with the first directory leaf gone.
fn without_a_leaf() -> Vec<u8> {
    let mut bytes = base(640).expect("base");
    let block = (0..640).find(|block| bytes[block * 4096..].starts_with(b"pDir"));
    let at = block.expect("a leaf") * 4096;
    bytes[at..at + 4096].fill(0x55);
    bytes
}

#[test]
fn a_good_one() {
    let before = base(640).expect("base");
    let image = Image::new("good", &before);
    let (status, text) = image.fsck(&["-n"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("no faults"), "{text}");
    assert_eq!(image.bytes(), before);

    // The journal's record is replayed, and it is marked clean.
    let (status, text) = image.fsck(&["-a"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("journal replayed"), "{text}");
    let (status, text) = image.fsck(&[]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("clean"), "{text}");
    let (status, text) = image.fsck(&["-n", "-f", "-v"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("directories"), "{text}");
}

/// The shell opens descriptor 7, as a front end would.
#[test]
fn progress_for_programs() {
    let image = Image::new("progress", &base(640).expect("base"));
    let out = Image::new("progress.out", b"");
    let script = r#""$0" -n -f -C 7 "$1" 7>"$2""#;
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_fsck-pinfs")])
        .args([&image.0, &out.0])
        .output()
        .expect("start");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
    let text = String::from_utf8(out.bytes()).expect("text");
    let mut last = (0, 0);
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let numbers: Vec<u64> = words[..3]
            .iter()
            .map(|word| word.parse().expect("number"))
            .collect();
        assert_eq!(words[3..], [image.0.to_str().expect("text")]);
        assert!(numbers[1] <= numbers[2], "{line}");
        assert!((numbers[0], numbers[1]) >= last, "{line}");
        last = (numbers[0], numbers[1]);
    }
    assert!(last.0 >= 3, "{text}");

    let (status, text) = image.fsck(&["-n", "-f", "-C", "-1"]);
    assert_eq!((status, text.contains('%')), (0, false), "{text}");
    let (status, text) = image.fsck(&["-n", "-f", "-C", "0"]);
    assert_eq!((status, text.contains('%')), (0, true), "{text}");
}

/// A descriptor for the progress that is of no use does not end the check, nor is one that the caller
/// has not opened mistaken for one of the program's own, such as that of the device.
#[test]
fn progress_that_cannot_be_shown() {
    let before = without_bitmap();
    for fd in 3..10 {
        let image = Image::new(&format!("progress-{fd}"), &before);
        let (status, text) = image.fsck(&["-n", "-f", "-C", &fd.to_string()]);
        assert_eq!(status, 4, "{fd}: {text}");
        assert!(text.contains("not marked as in use"), "{text}");
        assert!(image.bytes() == before, "{fd}");
    }
    let image = Image::new("progress-closed", &before);
    let (status, text) = image.fsck(&["-n", "-f", "-C", "999"]);
    assert_eq!(status, 4, "{text}");
    assert!(
        text.contains("warning: no progress is shown: descriptor 999"),
        "{text}"
    );
    for script in [
        // Nobody reads any more.
        r#"exec 7> >(:); wait $!; "$0" -n -f -C 7 "$1""#,
        // Open for reading only.
        r#""$0" -n -f -C 7 "$1" 7</dev/null"#,
    ] {
        let output = Command::new("bash")
            .args(["-c", script, env!("CARGO_BIN_EXE_fsck-pinfs")])
            .arg(&image.0)
            .output()
            .expect("start");
        assert_eq!(output.status.code(), Some(4), "{script}: {output:?}");
    }
}

/// A socket cannot be opened again, but written to.
#[test]
fn progress_to_a_socket() {
    let image = Image::new("progress-socket", &base(640).expect("base"));
    let (mut ours, theirs) = UnixStream::pair().expect("socket");
    let status = Command::new(env!("CARGO_BIN_EXE_fsck-pinfs"))
        .args(["-n", "-f", "-C", "1"])
        .arg(&image.0)
        .stdout(OwnedFd::from(theirs))
        .status()
        .expect("start");
    assert_eq!(status.code(), Some(0));
    let mut text = String::new();
    ours.read_to_string(&mut text).expect("text");
    assert!(text.starts_with("1 "), "{text}");
    assert!(text.contains("no faults"), "{text}");
}

/// One of a thing is no several.
#[test]
fn one_is_singular() {
    let image = Image::new("singular", &vec![0; 4 << 20]);
    let memory = Memory::new(image.bytes());
    let options = mkfs::Options {
        uuid: [7; 16],
        label: [0; 32],
        hash_key: (1, 2),
        now: Time { sec: 0, nsec: 0 },
        uid: 0,
        gid: 0,
    };
    mkfs::format(&memory, &options).expect("format");
    let mut bytes = memory.image();
    fs::write(&image.0, &bytes).expect("write");
    let (_, text) = image.fsck(&["-n"]);
    assert!(text.contains("clean, 1 inode, 1024 blocks"), "{text}");
    let (_, text) = image.fsck(&["-n", "-f"]);
    assert!(
        text.contains("no faults; 1 inode (1 directory), "),
        "{text}"
    );
    // The backup superblock.
    bytes[1023 * 4096..][..512].fill(0);
    fs::write(&image.0, &bytes).expect("write");
    let (status, text) = image.fsck(&["-n", "-f"]);
    assert_eq!(status, 4, "{text}");
    assert!(
        text.contains(": 1 fault, nothing is changed; -y repairs it;"),
        "{text}"
    );
    // The bit of a free block.
    let (status, text) = image.fsck(&["-y", "-f"]);
    assert!(
        status == 1 && text.contains(": 1 fault, all repaired"),
        "{text}"
    );
    let mut bytes = image.bytes();
    bytes[66 * 4096 + 100] |= 1;
    fs::write(&image.0, &bytes).expect("write");
    let (_, text) = image.fsck(&["-n", "-f"]);
    assert!(
        text.contains("block 800 is marked as in use; would be corrected"),
        "{text}"
    );
}

/// A kind that nobody knows is a slip of the pen.
#[test]
fn h5_an_unknown_kind_is_not_overwritten() {
    let image = taken("kinds", 4096, &SWAP);
    let before = image.bytes();
    let (status, text) = image.fsck(&["-y", "--overwrite", "swap,foo"]);
    assert_eq!(status, 16, "{text}");
    assert!(text.contains("--overwrite foo"), "{text}");
    assert!(text.contains("which holds swap (at byte 4086)"), "{text}");
    for kind in ["ext4", "xfs", "unknown"] {
        assert!(text.contains(kind), "{text}");
    }
    assert!(image.bytes() == before);
    // One that is known, and not there, is in nobody's way.
    let (status, text) = image.fsck(&["-y", "--overwrite", "swap,xfs"]);
    assert_eq!(status, 1, "{text}");
    let (status, text) = image.fsck(&["-y", "--overwrite", "foo"]);
    assert_eq!(status, 16, "{text}");
}

/// The pipe for its progress is full, so that it stands still before it has written anything.
#[test]
fn interrupted() {
    let before = without_bitmap();
    let image = Image::new("interrupted", &before);
    let fifo = Image::new("interrupted.fifo", b"");
    let script = r#"
        rm -f "$2" && mkfifo "$2" && exec 7<>"$2" && head -c 65536 /dev/zero >&7 || exit 99
        "$0" -y -f -C 7 "$1" & pid=$!
        caught=0
        until [ $((0x$caught & 0x4000)) != 0 ]; do
            sleep 0.05
            caught=$(sed -n 's/^SigCgt:[[:space:]]*//p' /proc/$pid/status)
        done
        kill "-$3" $pid
        wait $pid
    "#;
    for signal in ["INT", "TERM"] {
        let output = Command::new("bash")
            .args(["-c", script, env!("CARGO_BIN_EXE_fsck-pinfs")])
            .args([&image.0, &fifo.0])
            .arg(signal)
            .output()
            .expect("start");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(32), "{signal}: {text}");
        assert!(text.contains("nothing is changed"), "{text}");
        assert_eq!(image.bytes(), before);
    }
    let (status, text) = image.fsck(&["-y"]);
    assert_eq!(status, 1, "{text}");
}

#[test]
fn repair_only_if_told() {
    let before = without_bitmap();
    let image = Image::new("bitmap", &before);
    for options in [&["-n"][..], &[], &["-n", "-f"]] {
        let (status, text) = image.fsck(options);
        assert_eq!(status, 4, "{text}");
        assert!(text.contains("not marked as in use"), "{text}");
        assert_eq!(image.bytes(), before);
    }
    let (status, text) = image.fsck(&["-p"]);
    assert_eq!(status, 1, "{text}");
    let (status, text) = image.fsck(&["-n", "-f"]);
    assert_eq!(status, 0, "{text}");
}

#[test]
fn preen_loses_nothing() {
    let before = without_a_leaf();
    let image = Image::new("leaf", &before);
    let (status, text) = image.fsck(&["-p"]);
    assert_eq!(status, 4, "{text}");
    assert_eq!(image.bytes(), before);
    let (status, text) = image.fsck(&["-y"]);
    assert_eq!(status, 1, "{text}");
    // What had its name in the leaf has one in lost+found.
    assert!(text.contains("lost+found"), "{text}");
    let (status, text) = image.fsck(&["-n", "-f"]);
    assert_eq!(status, 0, "{text}");
}

#[test]
fn either_superblock_is_enough() {
    let mut bytes = base(640).expect("base");
    bytes[..4096].fill(0);
    let image = Image::new("superblock", &bytes);
    let (status, text) = image.fsck(&["-y"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("restored from the backup"), "{text}");

    let last = bytes.len() - 4096;
    bytes[last..].fill(0);
    let image = Image::new("superblocks", &bytes);
    let (status, text) = image.fsck(&["-y"]);
    assert_eq!(status, 8, "{text}");
    assert_eq!(image.bytes(), bytes);
}

/// The base after another owner has put `marks` there, which leaves the backup at the end.
fn taken(name: &str, zeroed: usize, marks: &[(u64, &[u8])]) -> Image {
    let mut bytes = base(640).expect("base");
    bytes[..zeroed].fill(0);
    let image = Image::new(name, &bytes);
    let file = fs::File::options().write(true).open(&image.0);
    let file = file.expect("open");
    for (off, mark) in marks {
        file.write_all_at(mark, *off).expect("write");
    }
    image
}

/// Swap space as mkswap(8) makes it.
const SWAP: [(u64, &[u8]); 2] = [(1024, &[1, 0, 0, 0, 159, 0, 0, 0]), (4086, b"SWAPSPACE2")];

/// Fault A4: what another owner has put into block 0 stays, whatever the options, unless it is named.
#[test]
fn h5_another_owner_keeps_the_device() {
    let partition: &[u8] = &[0, 2, 0, 0, 0x83, 9, 9, 9, 0, 8, 0, 0, 0, 1, 0, 0];
    let owners: [(&str, usize, &[(u64, &[u8])]); 3] = [
        ("dos", 512, &[(446, partition), (510, &[0x55, 0xaa])]),
        ("swap", 4096, &SWAP),
        ("unknown", 4096, &[(700, b"something that nobody knows")]),
    ];
    for (kind, zeroed, marks) in owners {
        let image = taken(kind, zeroed, marks);
        let before = image.bytes();
        for options in [&["-p"][..], &["-a", "-f"], &["-y"], &["-n"], &[]] {
            let (status, text) = image.fsck(options);
            assert_eq!(status, 8, "{kind} {options:?}: {text}");
            assert!(text.contains(&format!("--overwrite {kind}")), "{text}");
            assert!(image.bytes() == before, "{kind} {options:?}: {text}");
        }
        let (status, text) = image.fsck(&["-y", "--overwrite", "xfs"]);
        assert_eq!(status, 8, "{text}");
        let (status, text) = image.fsck(&["-y", "--overwrite", kind]);
        assert_eq!(status, 1, "{text}");
        assert!(text.contains("restored from the backup"), "{text}");
        let (status, text) = image.fsck(&["-n", "-f"]);
        assert_eq!(status, 0, "{text}");
    }
}

/// A device that never held a pinfs gets no advice how to repair one over its owner.
#[test]
fn h5_no_advice_where_there_is_no_backup() {
    let ext4: [(u64, &[u8]); 1] = [(0x438, &[0x53, 0xef])];
    let xfs: [(u64, &[u8]); 1] = [(0, b"XFSB")];
    for (kind, marks) in [("swap", &SWAP[..]), ("ext", &ext4), ("xfs", &xfs)] {
        let mut bytes = vec![0; 4 << 20];
        for (off, mark) in marks {
            bytes[*off as usize..][..mark.len()].copy_from_slice(mark);
        }
        let image = Image::new(&format!("never-{kind}"), &bytes);
        for options in [&["-n"][..], &["-p"], &["-y"], &[], &["-n", "-b", "7"]] {
            let (status, text) = image.fsck(options);
            assert_eq!(status, 8, "{kind} {options:?}: {text}");
            assert!(text.contains("no pinfs superblock found, nor a good backup in block"));
            assert!(text.contains(&format!("the device holds {kind}")), "{text}");
            assert!(!text.contains("--overwrite"), "{text}");
            assert!(!text.contains("wipefs"), "{text}");
            assert!(image.bytes() == bytes, "{text}");
        }
    }
    // With a backup of which nothing else is left neither.
    let image = taken("little", 639 * 4096, &SWAP);
    let (status, text) = image.fsck(&["-y"]);
    assert_eq!(status, 8, "{text}");
    assert!(text.contains("little else is left"), "{text}");
    assert!(!text.contains("--overwrite"), "{text}");
}

/// Fault A4: a mark beside a good superblock, too.
#[test]
fn h5_another_owner_beside_the_superblock() {
    let image = taken("beside", 0, &SWAP);
    let before = image.bytes();
    // There is something to write: the journal.
    for options in [&["-p"][..], &["-y"]] {
        let (status, text) = image.fsck(options);
        assert_eq!(status, 4, "{text}");
        assert!(text.contains("swap (at byte 4086)"), "{text}");
        assert!(image.bytes() == before, "{text}");
    }
    let (status, text) = image.fsck(&["-y", "--overwrite", "swap"]);
    assert_eq!(status, 1, "{text}");
    let (status, text) = image.fsck(&["-p", "-f"]);
    assert_eq!(status, 0, "{text}");
    assert_eq!(image.bytes()[512..4096], [0; 3584]);
}

/// Fault A4: block 0 is empty, and the backup is of a file system whose other parts are not there.
#[test]
fn h5_a_backup_alone_is_not_believed() {
    let mut bytes = base(640).expect("base");
    let backup = bytes.len() - 4096;
    bytes[..backup].fill(0);
    let image = Image::new("alone", &bytes);
    for options in ["-p", "-y", "-n"] {
        let (status, text) = image.fsck(&[options]);
        assert_eq!(status, 4, "{text}");
        assert!(text.contains("backup in block 639"), "{text}");
        assert!(image.bytes() == bytes, "{text}");
    }
    // With most of them it needs -y.
    let mut bytes = base(640).expect("base");
    bytes[..8192].fill(0);
    let image = Image::new("most", &bytes);
    let (status, text) = image.fsck(&["-p"]);
    assert_eq!(status, 4, "{text}");
    assert!(image.bytes() == bytes, "{text}");
    let (status, text) = image.fsck(&["-y"]);
    assert_eq!(status, 1, "{text}");
}

/// With all of them nothing is a guess; a damaged superblock is still ours. One that has lost its
/// magic is so for -y only.
#[test]
fn h5_a_backup_is_restored_if_all_goes_with_it() {
    for (damage, byte, preen) in [
        (0..4096, 0, true),
        (100..101, 0x5a, true),
        (12..512, 0x5a, true),
        (0..3, 0x5a, false),
    ] {
        let mut bytes = base(640).expect("base");
        bytes[damage.clone()].fill(byte);
        let image = Image::new(&format!("ours-{}", damage.len()), &bytes);
        let (status, text) = image.fsck(&["-p"]);
        assert_eq!(status, if preen { 1 } else { 4 }, "{damage:?}: {text}");
        let (status, text) = image.fsck(&["-y"]);
        assert_eq!(status, if preen { 0 } else { 1 }, "{damage:?}: {text}");
        let (status, text) = image.fsck(&["-n", "-f"]);
        assert_eq!(status, 0, "{damage:?}: {text}");
    }
}

/// Fault E3: the image has grown since it was made, by whole mebibytes or not, and block 0 is lost.
#[test]
fn h5_a_backup_that_is_not_at_the_end_is_found() {
    for (blocks, grown) in [(768, 2048), (641, 2000)] {
        let mut bytes = base(blocks).expect("base");
        bytes[..4096].fill(0);
        bytes.resize(grown * 4096, 0);
        let image = Image::new(&format!("grown-{blocks}"), &bytes);
        let (status, text) = image.fsck(&["-p"]);
        assert_eq!(status, 8, "{text}");
        assert!(image.bytes() == bytes, "{text}");
        let wanted = format!("backup in block {}", blocks - 1);
        let block = (blocks - 1).to_string();
        let (status, text) = image.fsck(&["-n"]);
        assert_eq!(status, 4, "{text}");
        assert!(text.contains(&wanted), "{text}");
        let (status, text) = image.fsck(&["-n", "-b", &block]);
        assert_eq!(status, 4, "{text}");
        assert!(text.contains(&wanted), "{text}");
        let (status, text) = image.fsck(&["-y", "-b", "5"]);
        assert_eq!(status, 8, "{text}");
        let (status, text) = image.fsck(&["-y"]);
        assert_eq!(status, 1, "{text}");
        assert!(text.contains(&wanted), "{text}");
        let (status, text) = image.fsck(&["-n", "-f"]);
        assert_eq!(status, 0, "{text}");
    }
}

/// Fault E4: too small, or cut off.
#[test]
fn s4_sizes_are_told() {
    for size in [0, 1, 4096, (2 << 20) - 4096] {
        let image = Image::new(&format!("small-{size}"), &vec![0; size]);
        for options in ["-n", "-p", "-y"] {
            let (status, text) = image.fsck(&[options]);
            assert_eq!(status, 8, "{text}");
            assert!(
                text.contains("too small to hold a pinfs file system"),
                "{text}"
            );
        }
    }
    let mut bytes = base(640).expect("base");
    bytes.truncate(600 * 4096);
    let image = Image::new("cut", &bytes);
    let (status, text) = image.fsck(&["-y"]);
    assert_eq!(status, 8, "{text}");
    assert!(
        text.contains("is of 2621440 bytes and the device of 2457600"),
        "{text}"
    );
    assert!(image.bytes() == bytes, "{text}");
}

/// Fault E4: what is not done is not said to be done.
#[test]
fn s4_a_check_speaks_of_what_would_be() {
    for damaged in [without_bitmap(), without_a_leaf()] {
        let image = Image::new("tense", &damaged);
        let (_, text) = image.fsck(&["-n", "-f", "-v"]);
        let repairs = text.lines().filter(|line| line.contains("; "));
        for line in repairs.filter(|line| line.contains("[block")) {
            assert!(line.contains(" would "), "{line}");
        }
        assert!(text.contains(" would be "), "{text}");
        let (_, text) = image.fsck(&["-y", "-f"]);
        assert!(!text.contains(" would "), "{text}");
    }
}

/// What is marked as being repaired is looked at though it is marked clean, and completed by `-p`.
#[test]
fn a_repair_that_was_cut_short() {
    let image = Image::new("cut", &base(640).expect("base"));
    let (status, text) = image.fsck(&["-p"]);
    assert_eq!(status, 0, "{text}");
    let memory = Memory::new(image.bytes());
    let (mut sb, _) = Superblock::read(&memory).expect("superblock");
    sb.set_repairing(&memory, true);
    sb.write_at(&memory, 0).expect("store");
    let before = memory.image();
    fs::write(&image.0, &before).expect("write");

    let (status, text) = image.fsck(&["-n"]);
    assert_eq!(status, 4, "{text}");
    assert!(text.contains("a repair was cut short"), "{text}");
    assert_eq!(image.bytes(), before);
    let (status, text) = image.fsck(&["-p"]);
    assert_eq!(status, 1, "{text}");
    let (status, text) = image.fsck(&["-n"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("clean"), "{text}");
}

#[test]
fn what_it_does_not_take() {
    let (status, text) = run(&["-n", "-y", "/dev/null"]);
    assert_eq!(status, 16, "{text}");
    let (status, _) = run(&[]);
    assert_eq!(status, 16);
    let (status, _) = run(&["--what"]);
    assert_eq!(status, 16);
    let (status, text) = run(&["-n", "/dev/null"]);
    assert_eq!(status, 8, "{text}");
    let (status, text) = run(&["-n", "/nowhere/at/all"]);
    assert_eq!(status, 8, "{text}");
    let image = Image::new("nothing", &[0; 4 << 20]);
    let (status, text) = image.fsck(&["-y"]);
    assert_eq!(status, 8, "{text}");
    let (status, text) = run(&["-V"]);
    assert_eq!(status, 0);
    assert!(text.starts_with("fsck.pinfs "), "{text}");
    let (status, text) = run(&["-h"]);
    assert_eq!(status, 0);
    assert!(text.contains("[-n | -p | -a | -y]"), "{text}");
    assert!(text.contains("[--overwrite KIND,...] DEVICE\n"), "{text}");
    assert!(text.contains("\n  <DEVICE> "), "{text}");
    assert!(text.contains("[alias: -a]"), "{text}");
}
