#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Row S1: what was written is there after umount, remount and a reload of the
# module. Makes a new file system on $PINFS_DEV.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

need_root_and_module
make_mnt
log_mark
plan 15

succeeds "S1 mkfs" "$PINFS_MKFS" -f "$PINFS_DEV"
is_loaded || insmod "$PINFS_KO"
succeeds "S1 mount" mount -t pinfs "$PINFS_DEV" "$MNT"
is "S1 a new file system is empty" "" "$(ls -A "$MNT")"
make_tree "$MNT/tree"
before=$(manifest_of "$MNT/tree")
free=$(stat -f -c %f "$MNT")

succeeds "S1 umount" umount "$MNT"
succeeds "S1 mount again" mount -t pinfs "$PINFS_DEV" "$MNT"
same_text "S1 contents after umount and mount" "$before" "$(manifest_of "$MNT/tree")"
is "S1 free blocks after umount and mount" "$free" "$(stat -f -c %f "$MNT")"

umount "$MNT"
rmmod pinfs
insmod "$PINFS_KO"
mount -t pinfs "$PINFS_DEV" "$MNT"
same_text "S1 contents after a reload of the module" "$before" "$(manifest_of "$MNT/tree")"

succeeds "S2 remount read-only" mount -o remount,ro "$MNT"
is "S2 a read-only mount refuses writes" EROFS "$(error_of touch "$MNT/new")"
same_text "S2 a read-only mount can be read" "$before" "$(manifest_of "$MNT/tree")"
mount -o remount,rw "$MNT"
succeeds "S2 remount read-write" touch "$MNT/new"

umount "$MNT"
mount -t pinfs -o ro "$PINFS_DEV" "$MNT"
is "S2 mounted read-only from the start" "EROFS 0" \
	"$(error_of rm "$MNT/new") $(error_of cat "$MNT/tree/size-100")"
umount "$MNT"
mount -t pinfs "$PINFS_DEV" "$MNT"
rm -r "$MNT/tree" "$MNT/new"
is "S2 a tree can be removed again" "" "$(ls -A "$MNT")"
umount "$MNT"
unload
log_clean "S1 the kernel has nothing to complain of"
finish
