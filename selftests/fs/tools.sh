#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rows H4 and H5: fsck.pinfs and mkfs.pinfs see what is on the medium while
# somebody else holds the device open, are seen by him, and write over nothing
# that another owner has put there. Makes file systems on $PINFS_DEV.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

need_root_and_module
[[ -x $PINFS_FSCK ]] || skip_all "no fsck.pinfs at $PINFS_FSCK"
make_mnt
unload || skip_all "pinfs is loaded and in use"
WORK=$(mktemp -d /tmp/pinfs-tools.XXXXXX)
loop=''
trap '[[ ! $loop ]] || losetup -d "$loop"; rm -rf "$WORK"; leave' EXIT
log_mark
start=$mark
insmod "$PINFS_KO" || skip_all "the module does not load"
# All that happens here happens in so many MiB.
MIB=64

fresh() {
	"$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null
}

# What a program reads that goes through the block device's page cache ...
by_cache() {
	dd if="$PINFS_DEV" bs=1M count=$MIB status=none
}

# ... and what is there.
on_medium() {
	dd if="$PINFS_DEV" iflag=direct bs=1M count=$MIB status=none
}

# Another process has the device open, and has read it, so that its pages are
# cached, and stay so.
hold_device() {
	exec 7<"$PINFS_DEV"
	by_cache >/dev/null
}

let_go() {
	exec 7<&-
}

# same_views NAME: who reads through the cache sees what is on the medium.
same_views() {
	is "$1" "$(on_medium | sha256sum)" "$(by_cache | sha256sum)"
}

# Runs fsck.pinfs: its status into $status, what it said into $said.
fsck() {
	said=$("$PINFS_FSCK" "$@" "$PINFS_DEV" 2>&1)
	status=$?
}

# fsck_is NAME STATUS PATTERN ARGUMENT...
fsck_is() {
	local name=$1 wanted=$2 pattern=$3
	shift 3
	fsck "$@"
	if [[ $status -eq $wanted && $said =~ $pattern ]]; then
		pass "$name"
	else
		fail "$name" "expected status $wanted and '$pattern', seen $status: $said"
	fi
}

first_block() {
	dd if="$PINFS_DEV" iflag=direct bs=4096 count=1 status=none | sha256sum
}

# Marks of others, as udev would see them.
marks() {
	wipefs --no-act --parsable --output OFFSET,TYPE "$PINFS_DEV" | grep -v '^#'
}

plan 44

# ---- H4: faults A2, A3 ----
fresh
hold_device
mount -t pinfs "$PINFS_DEV" "$MNT"
mkdir "$MNT"/{1..300}
umount "$MNT"
fsck_is "H4 fsck sees what a mount has written, though old pages are cached" 0 'no faults; 301 inodes' -n -f
fsck_is "H4 and has nothing to repair" 0 'no faults; 301 inodes' -p -f
same_views "H4 then the holder sees it, too"

# Damage past the cache, which keeps the good bitmap.
by_cache >/dev/null
dd if=/dev/zero of="$PINFS_DEV" oflag=direct bs=4096 seek=66 count=1 conv=notrunc status=none
fsck_is "H4 fsck sees damage that the cache hides" 4 'would be corrected' -n -f
by_cache >/dev/null
fsck_is "H4 and repairs it" 1 'all repaired' -p -f
same_views "H4 the holder sees the repair"
fsck_is "H4 and so does the next check" 0 'no faults; 301 inodes' -n -f

by_cache >"$WORK/image"
by_cache >/dev/null
succeeds "H4 mkfs while the device is held open" "$PINFS_MKFS" -f -U 11111111-2222-4333-8444-555555555555 "$PINFS_DEV"
same_views "H4 the holder sees what mkfs has made"
fsck_is "H4 and fsck does" 0 'no faults' -n -f
is "H4 and the kernel" 0 "$(error_of mount -t pinfs "$PINFS_DEV" "$MNT")"
umount "$MNT"

# What was written through the cache, and is not on the medium yet.
dd if="$WORK/image" of="$PINFS_DEV" bs=1M conv=notrunc status=none
fsck -n -f
matches "H4 fsck sees what is dirty in the cache" '; 301 inodes' "$said"
let_go

# Of some blocks, the bitmaps among them, the cache has what was there before the mount.
fresh
exec 7<"$PINFS_DEV"
dd if="$PINFS_DEV" bs=4096 skip=66 count=3 status=none >/dev/null
mount -t pinfs "$PINFS_DEV" "$MNT"
mkdir "$MNT"/{a..z}{a..z}
umount "$MNT"
fsck -p -f
is "H4 fsck repairs nothing that only the cache holds" 0 "$status"
is "H4 and the file system is whole" "0 676" \
	"$(error_of mount -t pinfs "$PINFS_DEV" "$MNT") $(find "$MNT" -mindepth 1 | wc -l)"
umount "$MNT"
let_go

# ---- a device in use ----
fresh
mount -t pinfs "$PINFS_DEV" "$MNT"
mkdir "$MNT"/{1..300}
before=$(on_medium | sha256sum)
fsck_is "H4 fsck -n looks at a mounted device, and says so" 0 'warning: in use.*no faults' -n
for option in -p -y -f; do
	fsck_is "H5 fsck $option refuses a mounted device" 8 "in use: .*; see /sys/fs/pinfs/${PINFS_DEV##*/} and pinctl ls" $option
done
is "H5 nothing has been written" "$before" "$(on_medium | sha256sum)"
umount "$MNT"
fsck_is "H5 nor is anything wrong" 0 'no faults' -n -f

# ---- H5: a write-protected device ----
# Something to write: the journal of a file system that was shut down.
mount -t pinfs "$PINFS_DEV" "$MNT"
mkdir "$MNT/last"
"$HERE/shutdown" "$MNT" 1 >/dev/null
umount "$MNT"
before=$(on_medium | sha256sum)
blockdev --setro "$PINFS_DEV"
for option in -p -y; do
	fsck_is "H5 fsck $option says that the device is write-protected" 8 '^fsck.pinfs: [^ ]*: the device is write-protected$' $option
done
said=$("$PINFS_MKFS" -f "$PINFS_DEV" 2>&1)
is "H5 mkfs says the same" "1 mkfs.pinfs: $PINFS_DEV: the device is write-protected" "$? $said"
fsck_is "H5 fsck -n looks at it" 0 'no faults' -n -f
blockdev --setrw "$PINFS_DEV"
is "H5 nothing has been written to it" "$before" "$(on_medium | sha256sum)"

# ---- H5: block 0 is lost ----
dd if=/dev/zero of="$PINFS_DEV" oflag=direct bs=4096 count=1 conv=notrunc status=none
said=$("$PINFS_MKFS" "$PINFS_DEV" 2>&1)
is "H5 mkfs spares a file system that only its backup shows" "1 1" "$? $(grep -c 'backup superblock of a pinfs' <<<"$said")"
fsck_is "H5 which fsck -p restores" 1 'restored from the backup.*; 302 inodes' -p

# ---- H5: fault A4 ----
# taken KIND COMMAND...: another owner takes the device, which leaves our backup.
taken() {
	local kind=$1 before out=''
	shift
	fresh
	"$@" >/dev/null 2>&1 || { fail "H5 $kind: $* failed"; return; }
	before=$(first_block)
	for option in -p -a -y; do
		fsck $option
		[[ $status -eq 8 && $said == *"nothing is changed"* && $(first_block) == "$before" ]] ||
			out+="fsck $option: status $status: $said"$'\n'
	done
	if [[ $out ]]; then
		fail "H5 fsck leaves $kind alone" "$out"
	else
		pass "H5 fsck leaves $kind alone"
	fi
}

partitions() {
	printf 'label: %s\nstart=%s, size=%s\n' "$1" "$2" "$3" | sfdisk -q --force --no-reread --wipe never "$PINFS_DEV"
}

no_partitions() {
	wipefs --all --force --quiet "$PINFS_DEV"
	blockdev --rereadpt "$PINFS_DEV"
}

taken "swap space" mkswap "$PINFS_DEV"
taken ext4 mkfs.ext4 -q -F -b 4096 "$PINFS_DEV" "${MIB}M"
taken "a DOS partition table" partitions dos 4096 8192
taken "a GPT" partitions gpt 4096 8192
no_partitions

# ---- H5: fault E1 ----
# wiped KIND COMMAND...: mkfs.pinfs -f leaves no mark of it.
wiped() {
	local kind=$1 before
	shift
	no_partitions
	"$@" >/dev/null 2>&1
	before=$(marks)
	fresh
	if [[ $before && ! $(marks) && ! $(blkid -p "$PINFS_DEV") ]]; then
		pass "H5 mkfs -f leaves nothing of $kind"
	else
		fail "H5 mkfs -f leaves nothing of $kind" "before: $before; left: $(marks)"
	fi
}

wiped "swap space" mkswap "$PINFS_DEV"
wiped xfs mkfs.xfs -q -f "$PINFS_DEV"
wiped "a GPT" partitions gpt 4096 8192

# fsck(8) runs e2fsck where libblkid knows nothing, which looks for backup superblocks.
for size in 1024 2048 4096; do
	no_partitions
	mkfs.ext4 -q -F -b $size "$PINFS_DEV" 200M >/dev/null 2>&1
	fresh
	said=$(e2fsck -n "$PINFS_DEV" 2>&1)
	is "H5 mkfs -f leaves e2fsck no backup of ext4 with blocks of $size bytes" "8 0" \
		"$? $(grep -c '^Pass' <<<"$said")"
done

# ---- H5: fault E2 ----
no_partitions
partitions dos 4097 16384
blockdev --rereadpt "$PINFS_DEV"
part=${PINFS_DEV}p1
if within 5 test -b "$part"; then
	said=$("$PINFS_MKFS" -f "$part" 2>&1)
	matches "H5 mkfs says that a partition is not aligned" 'not aligned.*2097152' "$said"
	log_mark
	is "H5 such a partition is not mounted" EINVAL "$("$HERE/edit_superblock" "$part" mount "$MNT")"
	matches "H5 and the kernel says why" 'partition is not aligned' "$(log_since | grep pinfs)"
	is "H5 neither advises to destroy the others" "" "$(grep ndctl <<<"$said$(log_since)")"
else
	for name in "mkfs says" "not mounted" "the kernel says" "no advice"; do
		skip "H5 a partition that is not aligned: $name" "there is no $part"
	done
fi
no_partitions
truncate -s 16M "$WORK/loop"
modprobe loop 2>/dev/null
if loop=$(losetup -f --show "$WORK/loop" 2>/dev/null); then
	said=$("$PINFS_MKFS" "$loop" 2>&1)
	matches "H5 a loop device gets advice of its own" 'loop device' "$said"
	is "H5 which is not to make a namespace" "" "$(grep ndctl <<<"$said")"
else
	skip "H5 a loop device gets advice of its own" "no loop devices"
	skip "H5 which is not to make a namespace" "no loop devices"
fi

fresh
rmmod pinfs
mark=$start
log_clean "H4 the kernel has nothing to complain of"
finish
