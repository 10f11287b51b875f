#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rows S4, S5, L19 and E5: what is wrong is refused with the right error and a
# line that says why, and nothing is lost. Makes file systems on $PINFS_DEV.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

need_root_and_module
make_mnt
unload || skip_all "pinfs is loaded and in use"
WORK=$(mktemp -d /tmp/pinfs-bad.XXXXXX)
loop=''
trap '[[ ! $loop ]] || losetup -d "$loop"; rm -rf "$WORK"; leave' EXIT
log_mark
start=$mark

# Where the superblock has its fields.
SB_VERSION=12 SB_RO_COMPAT=24 SB_INCOMPAT=32 SB_BLOCK_SIZE=56 SB_BLOCKS=64 SB_ROOT=160

edit_superblock() {
	"$HERE/edit_superblock" "$@"
}

fresh() {
	"$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null
}

# refused NAME ERROR MESSAGE DEVICE [OPTIONS]: mount(2) gives ERROR, and the
# kernel says one line about it, which matches MESSAGE.
refused() {
	local name=$1 error=$2 message=$3 seen lines
	shift 3
	log_mark
	seen=$(edit_superblock "$1" mount "$MNT" "${@:2}")
	lines=$(log_since | grep pinfs)
	if [[ ! $seen =~ ^($error)$ ]]; then
		fail "$name" "expected $error, seen $seen; the kernel said: $lines"
	elif [[ $(grep -c . <<<"$lines") -ne 1 || ! $lines =~ $message ]]; then
		fail "$name" "expected one line in the kernel's log that matches '$message', seen: $lines"
	else
		pass "$name"
	fi
}

accepted() {
	is "$1" 0 "$(edit_superblock "${@:2:1}" mount "$MNT" "${@:3}")"
}

# mkfs_refuses NAME MESSAGE ARGUMENT...
mkfs_refuses() {
	local name=$1 message=$2 out
	shift 2
	if out=$("$PINFS_MKFS" "$@" 2>&1); then
		fail "$name" "expected failure of mkfs.pinfs $*, seen success: $out"
	else
		matches "$name" "$message" "$out"
	fi
}

plan 54

# ---- the device ----
insmod "$PINFS_KO"
dd if=/dev/zero of="$PINFS_DEV" bs=64K count=1 conv=fsync status=none
refused "S4 zeroes" EINVAL 'no pinfs' "$PINFS_DEV"
head -c 65536 /dev/urandom | dd of="$PINFS_DEV" conv=fsync status=none
refused "S4 noise" EINVAL 'no pinfs' "$PINFS_DEV"
mkfs.ext4 -q -F -b 4096 "$PINFS_DEV"
refused "S4 ext4" EINVAL 'no pinfs' "$PINFS_DEV"

fresh
accepted "S1 a valid file system" "$PINFS_DEV"
mount -t pinfs "$PINFS_DEV" "$MNT"
make_tree "$MNT/tree"
umount "$MNT"
tree=$(mount -t pinfs "$PINFS_DEV" "$MNT" && manifest_of "$MNT/tree"; umount "$MNT")
dd if="$PINFS_DEV" of="$WORK/superblock" bs=4096 count=1 status=none

# What follows damages the superblock and puts it back.
restore() {
	dd if="$WORK/superblock" of="$PINFS_DEV" conv=fsync status=none
}

edit_superblock "$PINFS_DEV" flip 300
refused "S4 one flipped bit" EUCLEAN 'checksum' "$PINFS_DEV"
restore
flips=$(edit_superblock "$PINFS_DEV" flips "$MNT")
is "S4 every byte of the superblock is covered by its checksum" "512 bytes" "$flips"
edit_superblock "$PINFS_DEV" set32 $SB_VERSION 999
refused "S4 newer version" EINVAL '999.*newer' "$PINFS_DEV"
restore
edit_superblock "$PINFS_DEV" set32 $SB_VERSION 0
refused "S4 version 0" 'EINVAL|EUCLEAN' . "$PINFS_DEV"
restore
edit_superblock "$PINFS_DEV" set64 $SB_INCOMPAT 0x8000000000000000
refused "S4 unknown incompatible feature" EINVAL '0x8000000000000000' "$PINFS_DEV"
restore
edit_superblock "$PINFS_DEV" set32 $SB_BLOCK_SIZE 0
refused "S4 block size 0" EUCLEAN 'geometry' "$PINFS_DEV"
restore
edit_superblock "$PINFS_DEV" set64 $SB_BLOCKS 0
refused "S4 no blocks" EUCLEAN 'geometry' "$PINFS_DEV"
restore
edit_superblock "$PINFS_DEV" set64 $SB_BLOCKS 0xffffffffffffffff
refused "S4 more blocks than can be counted" EUCLEAN 'geometry' "$PINFS_DEV"
restore
edit_superblock "$PINFS_DEV" set64 $SB_ROOT 0xfffffffffffffff0
refused "S4 root directory nowhere" EUCLEAN 'geometry' "$PINFS_DEV"
restore
edit_superblock "$PINFS_DEV" set64 $SB_RO_COMPAT 0x8000000000000000
mount -t pinfs -o ro "$PINFS_DEV" "$MNT"
same_text "S4 unknown read-only feature: can be read" "$tree" "$(manifest_of "$MNT/tree")"
is "S4 unknown read-only feature: cannot be remounted for writing" EROFS \
	"$(error_of mount -o remount,rw "$MNT")"
umount "$MNT"
restore

# A file system of a gibibyte, cut down to this device.
truncate -s 1G "$WORK/large"
"$PINFS_MKFS" "$WORK/large" >/dev/null
dd if="$PINFS_DEV" of="$WORK/first" bs=1M count=4 status=none
dd if="$WORK/large" of="$PINFS_DEV" bs=1M count=4 conv=fsync status=none
refused "S4 a device smaller than its file system" EINVAL '1073741824 bytes' "$PINFS_DEV"
dd if="$WORK/first" of="$PINFS_DEV" conv=fsync status=none
rm "$WORK/large" "$WORK/first"

mount -t pinfs "$PINFS_DEV" "$MNT"
same_text "S4 nothing is lost" "$tree" "$(manifest_of "$MNT/tree")"
umount "$MNT"

# What fails late in a mount has changed nothing, or the next mount takes it for one after a crash.
mount -t pinfs "$PINFS_DEV" "$MNT"
touch "$MNT/no directory"
ino=$(stat -c %i "$MNT/no directory")
umount "$MNT"
dd if="$PINFS_DEV" of="$WORK/superblock" bs=4096 count=1 status=none
edit_superblock "$PINFS_DEV" set64 $SB_ROOT "$ino"
# The device without the word that has fsck look at a file system that is marked clean.
but_for_check() {
	{ head -c 6144; dd bs=8 count=1 status=none >/dev/null; cat; } <"$PINFS_DEV" | sha256sum
}
before=$(but_for_check)
refused "S4 the root directory is none" EUCLEAN 'not a directory' "$PINFS_DEV"
is "S4 a mount that fails at the root directory leaves the device as it was" "$before" "$(but_for_check)"
restore

# ---- options ----
for option in dax dax=always; do
	accepted "S5 option $option" "$PINFS_DEV" "$option"
done
refused "S5 option dax=never" EINVAL 'dax' "$PINFS_DEV" dax=never
refused "S5 option dax=inode" EINVAL 'dax' "$PINFS_DEV" dax=inode
refused "S5 option dax=nonsense" EINVAL 'dax|Bad value' "$PINFS_DEV" dax=nonsense
refused "S5 option nonsense=1" EINVAL 'nonsense' "$PINFS_DEV" nonsense=1
refused "S5 option nonsense" EINVAL 'nonsense' "$PINFS_DEV" nonsense
refused "S5 option dax=" EINVAL 'dax|Bad value' "$PINFS_DEV" dax=

# ---- a device without DAX, and none ----
truncate -s 16M "$WORK/image"
"$PINFS_MKFS" "$WORK/image" >/dev/null
modprobe loop 2>/dev/null
if loop=$(losetup -f --show "$WORK/image" 2>/dev/null); then
	refused "S5 a loop device without DAX" 'EINVAL|EOPNOTSUPP' 'fsdax' "$loop"
else
	skip "S5 a loop device without DAX" "no loop devices"
fi
is "S4 no block device" ENOTBLK "$(edit_superblock /dev/null mount "$MNT")"
is "S4 no device at all" ENOENT "$(edit_superblock /dev/pinfs-none mount "$MNT")"

# ---- mkfs.pinfs ----
mkfs.ext4 -q -F -b 4096 "$WORK/ext4" 16M 2>/dev/null
mkfs_refuses "S1 mkfs on ext4" 'ext4' "$WORK/ext4"
is "S1 mkfs on ext4 leaves it alone" 0 "$(error_of e2fsck -fn "$WORK/ext4")"
succeeds "S1 mkfs -f on ext4" "$PINFS_MKFS" -f "$WORK/ext4"
mkfs_refuses "S1 mkfs on pinfs" 'pinfs' "$PINFS_DEV"
mount -t pinfs "$PINFS_DEV" "$MNT"
mkfs_refuses "S1 mkfs on a mounted device" 'mounted|in use|busy' "$PINFS_DEV"
mkfs_refuses "S1 mkfs -f on a mounted device" 'mounted|in use|busy' -f "$PINFS_DEV"
same_text "S1 mkfs leaves a mounted device alone" "$tree" "$(manifest_of "$MNT/tree")"
umount "$MNT"
truncate -s 64K "$WORK/small"
mkfs_refuses "S1 mkfs on something too small" 'small|at least' "$WORK/small"
mkfs_refuses "S1 mkfs on nothing" '[Nn]o such file' "$WORK/none"
mkfs_refuses "S1 mkfs on a directory" . "$WORK"
mkfs_refuses "S1 mkfs without a device" '[Uu]sage'
mkfs_refuses "S1 mkfs with an unknown option" '[Uu]sage|unexpected' --nonsense "$WORK/small"
rmmod pinfs

# ---- hook points that this kernel does not have ----
features() {
	(cd /sys/fs/pinfs/features && cat layout_lease longterm_pin file_pins lease_ioctl) | xargs
}

# without HOOKS: loads and mounts with these functions missing.
without() {
	log_mark
	insmod "$PINFS_KO" "disable_hooks=$1" && mount -t pinfs "$PINFS_DEV" "$MNT" || return
	head -c 65536 /dev/zero >"$MNT/file"
}

end_without() {
	umount "$MNT"
	rmmod pinfs
}

without fcntl_setlease
is "L19 E5 no fcntl_setlease: features" "0 1 1 1" "$(features)"
is "L19 no fcntl_setlease: a lease answers as the plain kernel" EINVAL \
	"$(ask "open $MNT/file" "lease exclusive")"
is "L19 no fcntl_setlease: a registration answers as the plain kernel" EOPNOTSUPP \
	"$(ask "open $MNT/file" map ring register)"
PINFS_MNT=$MNT succeeds "L19 no fcntl_setlease: ranges by ioctl" "$HERE/lease_ranges"
PINFS_MNT=$MNT PINFS_LEASE_BY=ioctl succeeds "L19 no fcntl_setlease: kinds, conversions and breaks by ioctl" \
	"$HERE/lease_kinds"
matches "L19 E6 no fcntl_setlease: the kernel's log says so" 'pinfs: .*lease.*not available' \
	"$(log_since | grep pinfs)"
same_text "L19 no fcntl_setlease: the file system works" "$tree" "$(manifest_of "$MNT/tree")"
end_without

without __gup_longterm_locked
is "L19 E5 no __gup_longterm_locked: features" 0 "$(cut -d' ' -f2 <<<"$(features)")"
is "L19 no __gup_longterm_locked: a registration answers as the plain kernel" EOPNOTSUPP \
	"$(ask "open $MNT/file" "lease exclusive" map ring register)"
end_without

without proc_pident_lookup,proc_pident_readdir
is "L19 E5 no proc_pident_lookup: features" "1 1 0 1" "$(features)"
is "L19 no proc_pident_lookup: no file_pins, the rest works" "absent 0" \
	"$(test -e /proc/self/file_pins || echo absent) $(ask "open $MNT/file" "lease exclusive" map ring register)"
end_without

mark=$start
log_clean "S4 the kernel has nothing to complain of"
finish
