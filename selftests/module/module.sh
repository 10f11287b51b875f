#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rows E1 and B10: the module comes and goes, and leaves nothing behind.
# Makes file systems on $PINFS_DEV.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

need_root_and_module
make_mnt
unload || skip_all "pinfs is loaded and in use"
log_mark

# Taints of an out-of-tree (O) and unsigned (E) module. What the programs before this one did to the kernel is in its word
# already.
TAINT_O=4096
TAINT_E=8192
TAINTED=$(</proc/sys/kernel/tainted)
OWN_TAINTS="OE $((TAINTED | TAINT_O | TAINT_E))"
# A kernel that knows no signatures misses none.
[[ -e /sys/module/module/parameters/sig_enforce ]] || OWN_TAINTS="O $((TAINTED | TAINT_O))"
ROUNDS=20

# The file system that has the answers of the plain kernel, for comparison.
plain_answers() {
	local file=$MNT/file lease pin
	if ! mkfs.ext4 -q -F -b 4096 "$PINFS_DEV" || ! mount -t ext4 -o dax=always "$PINFS_DEV" "$MNT"; then
		echo "no ext4 with DAX"
		return
	fi
	head -c 65536 /dev/zero >"$file"
	lease=$(ask "open $file" "lease exclusive")
	pin=$(ask "open $file" map ring register)
	umount "$MNT"
	echo "$lease $pin"
}

ns() {
	date +%s%N
}

plan 30

# ---- before the module was ever there, or after it is gone: no difference ----
is "B10 before: no file_pins" 1 "$(status_of test -e /proc/self/file_pins)"
before=$(plain_answers)
is "B10 before: ext4's answers to lease and registration" "EINVAL EOPNOTSUPP" "$before"

# ---- load ----
succeeds "E1 insmod" insmod "$PINFS_KO"
is "E1 taints are O and E only" "$OWN_TAINTS" "$(</sys/module/pinfs/taint) $(</proc/sys/kernel/tainted)"
is "E1 a second insmod" EEXIST "$(error_of insmod "$PINFS_KO")"
is "E5 features" "1 1 1" "$(cd /sys/fs/pinfs/features && cat layout_lease longterm_pin file_pins | xargs)"
is "S1 the file system type is known" "nodev 0 known 1" \
	"nodev $(grep -cw 'nodev.pinfs' /proc/filesystems) known $(grep -cw pinfs /proc/filesystems)"
succeeds "F2 file_pins is there" test -r /proc/self/file_pins

# ---- in use ----
"$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null
mount -t pinfs "$PINFS_DEV" "$MNT"
is "B10 rmmod while mounted" EBUSY "$(error_of rmmod pinfs)"
head -c 65536 /dev/zero >"$MNT/file"
holder_start
is "B10 a lease" "0 0" "$(tell "open $MNT/file") $(tell lease layout)"
is "B10 rmmod while leased" EBUSY "$(error_of rmmod pinfs)"
tell "lease unlock" >/dev/null
is "B10 a pin" "0 0 0 0" "$(tell lease exclusive) $(tell map) $(tell ring) $(tell register)"
is "B10 rmmod while pinned" EBUSY "$(error_of rmmod pinfs)"
tell close >/dev/null
tell unmap >/dev/null
is "B9 umount while pinned" EBUSY "$(error_of umount "$MNT")"

# A lazy umount takes the name away, not the file system.
umount -l "$MNT"
is "B9 after a lazy umount the module is still in use" EBUSY "$(error_of rmmod pinfs)"
matches "B9 after a lazy umount mkfs refuses the device" '[1-9]' \
	"$("$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null 2>&1; echo $?)"
is "B9 after a lazy umount the pin is listed" 1 "$(grep -c "^[0-9]" /proc/fs/pinfs/pins)"
is "B9 the last pin goes" 0 "$(tell unregister)"
succeeds "B9 then the module can go" within 5 rmmod pinfs
holder_end

# ---- what the module put into /proc is open, or was looked at ----
insmod "$PINFS_KO"
exec 9</proc/self/file_pins
is "B10 rmmod with file_pins open" EBUSY "$(error_of rmmod pinfs)"
exec 9<&-
exec 9</proc/$$/task/$$/file_pins
cat <&9 >/dev/null
is "B10 rmmod with a thread's file_pins open" EBUSY "$(error_of rmmod pinfs)"
exec 9<&-
exec 9</proc/fs/pinfs/pins
cat <&9 >/dev/null
exec 9<&-
for pid in /proc/[0-9]*; do
	cat "$pid"/file_pins "$pid"/task/*/file_pins >/dev/null 2>&1
done
succeeds "B10 rmmod after every file_pins was read" rmmod pinfs

# ---- gone ----
is "B10 after: no file_pins anywhere" "" \
	"$(ls -d /proc/self/file_pins /proc/[0-9]*/file_pins /proc/[0-9]*/task/*/file_pins 2>/dev/null)"
is "B10 after: nor is it listed" 0 "$(find /proc/$$ /proc/$$/task/$$ -maxdepth 1 -name file_pins 2>/dev/null | wc -l)"
is "B10 after: nothing in sysfs and procfs" "" "$(ls -d /sys/fs/pinfs /proc/fs/pinfs /sys/module/pinfs 2>/dev/null)"
is "B10 after: no file system type" 0 "$(grep -cw pinfs /proc/filesystems)"
is "B10 after: no hook" 0 "$(grep -c pinfs /sys/kernel/tracing/enabled_functions)"
is "B10 after: ext4's answers to lease and registration" "$before" "$(plain_answers)"

# ---- again and again: first in peace, for the time it takes, then while others look ----
cp "$PINFS_KO" /tmp/pinfs-module-test.ko
load=0 unload=0
for ((i = 0; i < 5; i++)); do
	t0=$(ns)
	insmod /tmp/pinfs-module-test.ko
	t1=$(ns)
	rmmod pinfs
	t2=$(ns)
	load=$((load + t1 - t0)) unload=$((unload + t2 - t1))
done
diag "insmod takes $((load / 5000000)) ms, rmmod $((unload / 5000000)) ms" \
	"(with the start of these programs and with RCU waiting)"
(while :; do
	cat /proc/self/file_pins /proc/$$/file_pins
	ls -f /proc/$$ /proc/$$/task/$$
done >/dev/null 2>&1) &
looker=$!
problem=''
for ((i = 0; i < ROUNDS && ${#problem} == 0; i++)); do
	insmod /tmp/pinfs-module-test.ko || problem="insmod in round $i"
	test -r /proc/self/file_pins || problem="no file_pins in round $i"
	# Busy while somebody happens to have it open: that is an answer, not a failure.
	within 10 rmmod pinfs || problem="rmmod in round $i"
done
kill "$looker"
wait "$looker" 2>/dev/null
rm /tmp/pinfs-module-test.ko
is "B10 loaded and unloaded $ROUNDS times" "" "$problem"
log_clean "E1 the kernel has nothing to complain of"
finish
