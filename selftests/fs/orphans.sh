#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rows S3, S4: files without a name that a crash has left, one of which cannot be
# freed: the mount goes on, and fsck is asked for. Makes file systems on $PINFS_DEV.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

need_root_and_module
make_mnt
unload || skip_all "pinfs is loaded and in use"
WORK=$(mktemp -d /tmp/pinfs-orphans.XXXXXX)
trap 'umount "$MNT" 2>/dev/null; rm -rf "$WORK"; leave' EXIT
insmod "$PINFS_KO" || exit 1

# MiB at the start of the device that hold what is made here.
HEAD=16

# pieces FILE: every second block, more of them than the inode has room for.
pieces() {
	local i
	for ((i = 0; i < 24; i += 2)); do
		dd if=/dev/zero of="$1" bs=4096 count=1 seek=$i conv=notrunc status=none
	done
}

options() {
	awk -v m="$MNT" '$2 == m { print $4 }' /proc/mounts
}

fsck() {
	local out status
	out=$("$PINFS_FSCK" "$@" "$PINFS_DEV" 2>&1)
	status=$?
	echo "$status $out"
}

plan 23

# No node of what was there before.
dd if=/dev/zero of="$PINFS_DEV" oflag=direct bs=1M count=$HEAD status=none
"$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null && mount -t pinfs "$PINFS_DEV" "$MNT"
free=$(stat -f -c %f "$MNT")
pieces "$MNT/first"
pieces "$MNT/second"
pieces "$MNT/third"
exec 7<"$MNT/first" 8<"$MNT/second" 9<"$MNT/third"
rm "$MNT/first" "$MNT/second" "$MNT/third"
held=$(stat -f -c %f "$MNT")
"$HERE/shutdown" "$MNT" 1 >/dev/null
exec 7<&- 8<&- 9<&-
umount "$MNT"

read_head "$HEAD" >"$WORK/head"
tree_nodes "$WORK/head" >"$WORK/nodes"
mapfile -t found <"$WORK/nodes"
is "S3 three files have a node" 3 "${#found[@]}"
spoil "${found[1]}"
read_head "$HEAD" >"$WORK/damaged"

log_mark
succeeds "S4 a mount goes on without an orphan that cannot be freed (A6)" mount -t pinfs "$PINFS_DEV" "$MNT"
matches "S4 and says so" 'inode [0-9]+ could not be freed .*fsck.pinfs' "$(log_since)"
now=$(stat -f -c %f "$MNT")
is "S4 the others are freed" "$((held + (free - held) * 2 / 3))" "$now"
succeeds "S4 files can be made and written beside it" sh -c "echo text >'$MNT/new' && sync"
exec 7<"$MNT/new"
succeeds "S4 and lose their name while they are open" rm "$MNT/new"
exec 7<&-
matches "S4 the file system is in use for writing" '^rw,.*dax=always$' "$(options)"
succeeds "S4 umount" umount "$MNT"
log_clean "S4 nothing is wrong with the kernel"

matches "S4 fsck looks, though it is unmounted cleanly (E13)" '^4 .*tree' "$(fsck -n)"
matches "S4 fsck repairs it" '^1 .*all repaired' "$(fsck -y)"
matches "S4 fsck is not asked for any more" '^0 .*clean' "$(fsck -n)"
succeeds "S4 the next mount frees it" mount -t pinfs "$PINFS_DEV" "$MNT"
is "S4 no block is lost" "$free" "$(stat -f -c %f "$MNT")"
umount "$MNT"

# The same, left by a mount that is read-only, when somebody wants to write.
dd if="$WORK/damaged" of="$PINFS_DEV" oflag=direct bs=1M status=none
succeeds "S4 a read-only mount goes on without it" mount -t pinfs -o ro "$PINFS_DEV" "$MNT"
log_mark
succeeds "S4 and can be remounted for writing" mount -o remount,rw "$MNT"
matches "S4 which says that it is set aside" 'inode [0-9]+ could not be freed .*fsck.pinfs' "$(log_since)"
matches "S4 and the file system is in use for writing" '^rw,.*dax=always$' "$(options)"
succeeds "S4 files can be made and written" sh -c "echo text >'$MNT/new' && sync && rm '$MNT/new'"
is "S4 the others are free" "$now" "$(stat -f -c %f "$MNT")"
succeeds "S4 umount" umount "$MNT"
matches "S4 fsck looks" '^4 .*tree' "$(fsck -n)"
matches "S4 fsck repairs it" '^1 .*all repaired' "$(fsck -y)"
finish
