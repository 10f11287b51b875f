# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the external tests share, those that others have written for all file
# systems: a new file system to work on, and checks of what they have left of it.
# Sourced after test_lib.sh, never run.

JUDGES=${JUDGES:-/pinfs/judges/bin}

# A new file system on $PINFS_DEV, mounted at $MNT, and a directory in memory,
# $WORK, for what must not touch it.
external_start() {
	need_root_and_module
	WORK=$(mktemp -d /tmp/pinfs-external.XXXXXX)
	make_mnt
	signs=''
	trap '[[ ! $signs ]] || kill "$signs"; leave; rm -rf "$WORK"' EXIT
	log_mark
	is_loaded || insmod "$PINFS_KO"
	if ! "$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null || ! mount -t pinfs "$PINFS_DEV" "$MNT"; then
		plan 1
		fail "S1 there is a file system to judge"
		finish
	fi
}

# still_there WHO: a sign of life each minute, as some say nothing for hours.
still_there() {
	while sleep 60; do
		diag "$1 is at work since $SECONDS s"
	done &
	signs=$!
}

# What a test needs of crates.io, copied to memory: programs that start often
# should not come over the wire each time.
external_program() {
	[[ -x $JUDGES/$1 ]] || skip_all "$JUDGES/$1 has not been built"
	cp "$JUDGES/$1" "$WORK/$1"
}

# The cases that end every external test.
# shellcheck disable=SC2034 # for those that source this
EXTERNAL_END=3

# external_end WHO: the file system as the test has left it.
external_end() {
	succeeds "S2 $1: umount" umount "$MNT"
	fsck_clean "S3 $1: fsck finds nothing"
	unload
	log_clean "S2 $1: the kernel has nothing to complain of"
}
