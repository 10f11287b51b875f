#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Shows that the cases of row B13 can fail: runs them on ext4, where they wait
# for ever. Some of the tasks that are left cannot be killed, so this wants a
# machine of its own, to be thrown away after it.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

[[ $EUID -eq 0 ]] || skip_all "not root"
PINFS_DEV=$(readlink -f "${PINFS_DEV:-/dev/pinfs-memmap}")
[[ -b $PINFS_DEV ]] || skip_all "PINFS_DEV is no block device"
command -v mkfs.ext4 >/dev/null || skip_all "no mkfs.ext4"
! is_loaded || skip_all "pinfs is loaded: this is not the plain kernel"
# How long a case may take until it comes to where it hangs, in seconds.
LIMIT=${LIMIT:-30}

MNT=$(mktemp -d /tmp/ext4-control.XXXXXX)
cd /
mkfs.ext4 -q -F -b 4096 "$PINFS_DEV" && mount -t ext4 -o dax=always "$PINFS_DEV" "$MNT" ||
	skip_all "no ext4 with DAX"

# Tasks that wait in the eviction of an inode.
waiting() {
	grep -ls dax_break_layout_final /proc/[0-9]*/stack
}

nobody_waits() {
	! waiting
}

# hangs NAME CASE: the case does not succeed, because a task waits in the eviction.
hangs() {
	local pid
	PINFS_ANY_FS=ext4 PINFS_MNT=$MNT PINFS_DEV=$PINFS_DEV PINFS_TIME_SCALE=5 \
		"$HERE/evict" -t "$2" >/tmp/control.log 2>&1 </dev/null &
	pid=$!
	within "$LIMIT" waiting
	# For longer than anything takes that is not stuck.
	sleep 3
	if waiting >/dev/null; then
		pass "$1"
	else
		fail "$1" "nobody waits; the case says:"$'\n'"$(cat /tmp/control.log)"
	fi
	kill -9 "$pid"
}

plan 2
# One that ends when the pipe does goes first, the one that stays for ever last.
hangs "B13 on ext4 an unlink waits for a page in somebody's pipe" B13_unlink_with_a_page_in_a_pipe
pkill -9 -x evict
within 10 nobody_waits
hangs "B13 on ext4 a process that exits waits for its own pipe" \
	B13_exit_of_the_holder_of_an_unlinked_file_and_its_pipe
finish
