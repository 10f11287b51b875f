#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Shows that cases of rows B5 and B13 can fail: runs them on ext4, where tasks
# wait that must not. Some of them can never be killed, so this wants a machine
# of its own, to be thrown away after it.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

[[ $EUID -eq 0 ]] || skip_all "not root"
PINFS_DEV=$(readlink -f "${PINFS_DEV:-/dev/pinfs-memmap}")
[[ -b $PINFS_DEV ]] || skip_all "PINFS_DEV is no block device"
command -v mkfs.ext4 >/dev/null || skip_all "no mkfs.ext4"
! is_loaded || skip_all "pinfs is loaded: this is not the plain kernel"
# How long a case may take until it comes to where it hangs, in seconds.
LIMIT=${LIMIT:-60}

MNT=$(mktemp -d /tmp/ext4-control.XXXXXX)
cd /
if ! mkfs.ext4 -q -F -b 4096 "$PINFS_DEV" || ! mount -t ext4 -o dax=always "$PINFS_DEV" "$MNT"; then
	skip_all "no ext4 with DAX"
fi
# The kernel need not tell of tasks that hang: they are what is wanted.
sysctl -qw kernel.hung_task_timeout_secs=0

# How many tasks wait below a function of the kernel, in a way that no signal ends.
waiting() {
	local stack
	# Without a process substitution: this guest has no /dev/fd.
	grep -ls "$1" /proc/[0-9]*/stack | while read -r stack; do
		! grep -qs '^State:.D' "${stack%stack}status" || echo "$stack"
	done | wc -l
}

more_wait() {
	(($(waiting "$1") > $2))
}

no_more_wait() {
	! more_wait "$@"
}

# hangs NAME PROGRAM CASE WHERE: the case does not come to its end, because a task waits in that function.
hangs() {
	local pid before begin=$SECONDS
	before=$(waiting "$4")
	mountpoint -q "$MNT" || mount -t ext4 -o dax=always "$PINFS_DEV" "$MNT"
	PINFS_ANY_FS=ext4 PINFS_MNT=$MNT PINFS_DEV=$PINFS_DEV PINFS_TIME_SCALE=5 \
		"$HERE/$2" -t "$3" >/tmp/control.log 2>&1 </dev/null &
	pid=$!
	within "$LIMIT" more_wait "$4" "$before"
	# For longer than anything takes that is not stuck.
	sleep 3
	if more_wait "$4" "$before"; then
		pass "$1"
	else
		fail "$1" "nobody waits; the case says:"$'\n'"$(cat /tmp/control.log)"
	fi
	kill -9 "$pid"
	wait "$pid" 2>/dev/null
	pkill -9 -x "$2"
	stuck=$before
	diag "$((SECONDS - begin)) s"
}

# ends_hanging ...: the same, and with the processes of the case goes what the task waited for.
ends_hanging() {
	hangs "$@"
	within 30 no_more_wait "$4" "$stuck" || diag "it waits still, though nothing is left to wait for"
}

plan 9
ends_hanging "B5 on ext4 a read waits behind a truncate that waits" \
	layout_ops B5_waits_for_transient_pins_and_completes ext4_file_read_iter
ends_hanging "B5 on ext4 an unlink waits behind a truncate that waits" \
	layout_ops B5_unlink_of_the_same_file_goes_on vfs_unlink
ends_hanging "B13 on ext4 an unlink waits for a page in somebody's pipe" \
	evict B13_unlink_with_a_page_in_a_pipe dax_break_layout_final
ends_hanging "B13 on ext4 a rename waits for a page in somebody's pipe" \
	evict B13_rename_over_with_a_page_in_a_pipe dax_break_layout_final
ends_hanging "B13 on ext4 a umount waits for a page in somebody's pipe" \
	evict B13_umount_with_a_page_in_a_pipe dax_break_layout_final
# Whoever waits for itself, does so for ever.
hangs "B13 on ext4 a munmap waits for its own pipe" \
	evict B13_close_of_a_tmpfile_with_a_page_in_a_pipe dax_break_layout_final
hangs "B13 on ext4 a process that exits waits for its own pipe" \
	evict B13_exit_of_the_holder_of_an_unlinked_file_and_its_pipe dax_break_layout_final
hangs "B13 on ext4 a process that is killed waits for its own pipe" \
	evict B13_SIGKILL_of_the_holder_of_an_unlinked_file_and_its_pipe dax_break_layout_final
if more_wait dax_break_layout_final 2; then
	pass "B13 on ext4 they wait for ever"
else
	fail "B13 on ext4 they wait for ever" "$(waiting dax_break_layout_final) wait"
fi
finish
