#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Row H4 (faults A2, A3): the block device's page cache and the direct mapping
# are two views of one medium. Documentation/block-device.rst says who sees what
# when; this shows it, with a process that holds the device open all along, one
# that maps it, one that writes to it, and blkid. ext4 and xfs are the controls.
# Makes file systems on $PINFS_DEV.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

need_root_and_module
make_mnt
unload || skip_all "pinfs is loaded and in use"
WORK=$(mktemp -d /tmp/pinfs-blockdev.XXXXXX)
trap 'mapper_end; exec 7>&-; fsfreeze -u "$MNT" 2>/dev/null; umount "$MNT" 2>/dev/null; rm -rf "$WORK"; leave' EXIT
insmod "$PINFS_KO" || exit 1

# Where metadata of these small trees is that changes, in MiB.
LEN=8
# The size of the images that are written over a device, in MiB.
IMAGE=64
DIRS=100

# make_fs FS DEVICE|IMAGE
make_fs() {
	case $1 in
	pinfs) "$PINFS_MKFS" -f "$2" ;;
	ext4) mkfs.ext4 -q -F -b 4096 "$2" ;;
	xfs) mkfs.xfs -q -f --unsupported -m reflink=0 "$2" ;;
	esac >/dev/null 2>&1
}

# mount_fs FS [OPTIONS]
mount_fs() {
	mount -t "$1" -o "dax=always${2:+,$2}" "$PINFS_DEV" "$MNT"
}

# check_fs FS [OPTION]: what the file system's own checker says of the device.
check_fs() {
	case $1 in
	pinfs) "$PINFS_FSCK" "${2:--n}" -f "$PINFS_DEV" ;;
	ext4) e2fsck -n -f "$PINFS_DEV" ;;
	xfs) xfs_repair -n "$PINFS_DEV" ;;
	esac
}

# Somebody holds the device open, as udev may do: what is cached stays.
hold_device() {
	exec 7<"$PINFS_DEV"
}

release_device() {
	exec 7>&-
}

# Fills the device's page cache.
read_device() {
	dd if="$PINFS_DEV" of=/dev/null bs=1M count="$LEN" status=none
}

# Whether a reader sees what is on the medium: prints the number of blocks that differ.
stale_blocks() {
	dd if="$PINFS_DEV" of="$WORK/cached" bs=1M count="$LEN" status=none
	dd if="$PINFS_DEV" of="$WORK/medium" bs=1M count="$LEN" status=none iflag=direct
	differing "$WORK/cached"
}

# differing FILE: in how many blocks FILE is not what is on the medium.
differing() {
	cmp -l "$1" "$WORK/medium" | awk '!seen[int(($1 - 1) / 4096)]++ { n++ } END { print n + 0 }'
}

make_dirs() {
	local i
	for ((i = 0; i < DIRS; i++)); do
		echo "$MNT/$1-$i"
	done | xargs mkdir
}

count_dirs() {
	find "$MNT" -maxdepth 1 -name "$1-*" | wc -l
}

# fresh FS: a new file system, mounted, of which old blocks are cached.
fresh() {
	release_device
	make_fs "$1" "$PINFS_DEV"
	hold_device
	read_device
	mount_fs "$1"
	read_device
}

# ---- readers ----

# What every one of them promises.
readers() {
	local fs=$1
	fresh "$fs"
	make_dirs a
	umount "$MNT"
	is "H4 A2 $fs: a reader who held the device sees what umount left" 0 "$(stale_blocks)"
	succeeds "H4 A2 $fs: fsck with the device held open finds nothing" check_fs "$fs"
	mount_fs "$fs"
	is "H4 A2 $fs: and it is mounted again with all of it" "$DIRS" "$(count_dirs a)"
	make_dirs b
	mount -o remount,ro "$MNT"
	is "H4 $fs: a reader sees what a read-only remount left" 0 "$(stale_blocks)"
	umount "$MNT"
	release_device
}

# As udev and others do at every boot: only the first blocks are read, the bitmaps among them. Then
# fsck finds old bitmaps and new inodes.
first_blocks() {
	local DIRS=300 first_data=75 ahead
	release_device
	make_fs pinfs "$PINFS_DEV"
	hold_device
	# What comes after them is not to be read.
	ahead=$(blockdev --getra "$PINFS_DEV")
	blockdev --setra 0 "$PINFS_DEV"
	dd if="$PINFS_DEV" of=/dev/null bs=4K count="$first_data" status=none
	mount_fs pinfs
	make_dirs a
	umount "$MNT"
	succeeds "H4 A2 fsck -p after the first blocks were read, with the device held open" \
		check_fs pinfs -p
	succeeds "H4 A2 and a mount after that" mount_fs pinfs
	is "H4 A2 with all of it" "$DIRS" "$(count_dirs a)"
	umount "$MNT"
	blockdev --setra "$ahead" "$PINFS_DEV"
	release_device
}

is_released() {
	[[ ! -e /sys/fs/pinfs/${PINFS_DEV##*/} ]]
}

# What pinfs promises beside that.
pinfs_readers() {
	fresh pinfs
	make_dirs a
	fsfreeze -f "$MNT"
	is "H4 a reader sees what is frozen" 0 "$(stale_blocks)"
	fsfreeze -u "$MNT"
	make_dirs b
	is "H4 until the next such moment it may see what was cached" "stale" \
		"$([[ $(stale_blocks) -eq 0 ]] || echo stale)"
	blockdev --flushbufs "$PINFS_DEV"
	is "H4 a reader sees what is there when it flushes its buffers" 0 "$(stale_blocks)"
	make_dirs c
	"$HERE/shutdown" "$MNT" 2 >/dev/null
	is "H4 a reader sees what a shutdown left" 0 "$(stale_blocks)"
	umount "$MNT"
	mount_fs pinfs
	is "H4 and what the journal's replay did at the next mount" 0 "$(stale_blocks)"
	is "H4 which has all of it" "$DIRS" "$(count_dirs c)"

	# A lazy umount ends when the last file is closed.
	read_device
	exec 8<"$MNT"
	make_dirs d
	umount -l "$MNT"
	exec 8<&-
	within 10 is_released
	is "H4 a reader sees what a lazy umount left at its end" 0 "$(stale_blocks)"

	# One that maps the device keeps no old page either.
	mount_fs pinfs
	mapper_start
	ask_mapper open "$PINFS_DEV" $((LEN << 20)) >/dev/null
	ask_mapper dump "$WORK/mapped" >/dev/null
	make_dirs e
	umount "$MNT"
	ask_mapper dump "$WORK/mapped" >/dev/null
	stale_blocks >/dev/null
	is "H4 who has mapped the device sees what umount left" 0 "$(differing "$WORK/mapped")"
	mapper_end

	# udev's blkid, at every boot.
	fresh pinfs
	blkid -p "$PINFS_DEV" >/dev/null
	! command -v udevadm >/dev/null ||
		udevadm test-builtin blkid "/sys/class/block/${PINFS_DEV##*/}" >/dev/null 2>&1
	make_dirs a
	umount "$MNT"
	succeeds "H4 A2 fsck -p after blkid, with the device held open" check_fs pinfs -p
	succeeds "H4 A2 and a mount after blkid" mount_fs pinfs
	is "H4 A2 with all of it after blkid" "$DIRS" "$(count_dirs a)"
	umount "$MNT"
	release_device
}

# ---- writers ----

# A file system image that is known by its size, and the device's blocks in it.
make_image() {
	rm -f "$WORK/image"
	truncate -s "${IMAGE}M" "$WORK/image"
	make_fs "$1" "$WORK/image"
}

# Whether what is mounted is the image, and stays sound.
judge_image() {
	local fs=$1 how=$2 blocks
	blocks=$(stat -f -c %b "$MNT")
	is "H4 A3 $fs: what was $how last is what is mounted" "small" \
		"$( ((blocks <= IMAGE << 8)) && echo small || echo "$blocks blocks")"
	make_dirs new
	sync
	sync -f "$MNT"
	umount "$MNT"
	succeeds "H4 A3 $fs: and nothing $how lands on it later" check_fs "$fs"
	mount_fs "$fs"
	is "H4 A3 $fs: what was made on it is there ($how)" "$DIRS" "$(count_dirs new)"
	umount "$MNT"
	release_device
}

writers() {
	local fs=$1
	make_image "$fs"
	fresh "$fs"
	make_dirs old
	umount "$MNT"
	dd if="$WORK/image" of="$PINFS_DEV" bs=1M conv=notrunc status=none
	mount_fs "$fs"
	judge_image "$fs" written
}

# Through a mapping of the device, which is still there while it is mounted.
pinfs_mapped_writer() {
	make_image pinfs
	fresh pinfs
	make_dirs old
	umount "$MNT"
	mapper_start
	ask_mapper open "$PINFS_DEV" $((IMAGE << 20)) >/dev/null
	is "H4 A3 an image is stored through a mapping of the device" 0 \
		"$(ask_mapper load "$WORK/image")"
	mount_fs pinfs
	judge_image pinfs stored
	mapper_end
}

plan 40
log_mark
for fs in pinfs ext4 xfs; do
	readers "$fs"
	writers "$fs"
done
first_blocks
pinfs_readers
pinfs_mapped_writer
rmmod pinfs
log_clean "H4 the kernel has nothing to say"
finish
