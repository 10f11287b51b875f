#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rows B9, B10 and B13 under load: the module comes and goes while others use
# what it hooks, and file systems are unmounted from under their users. Makes
# file systems on $PINFS_DEV. $PINFS_TORTURE_SECS is how long each part takes.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

need_root_and_module
make_mnt
unload || skip_all "pinfs is loaded and in use"
log_mark
SECS=${PINFS_TORTURE_SECS:-6}
users=()

# repeat COMMAND...: in the background, until users_end.
repeat() {
	(while :; do "$@"; done >/dev/null 2>&1) &
	users+=($!)
}

users_end() {
	local user
	for user in "${users[@]}"; do
		kill -9 "$user" 2>/dev/null
		wait "$user" 2>/dev/null
	done
	users=()
}

# Leases, pins and unpins of files that are not on pinfs, and direct I/O.
pin_elsewhere() {
	ask "open $1" "lease 0" "lease 2" map ring register unregister ringclose unmap close
}

read_directly() {
	dd if="$1" of=/dev/null bs=64k iflag=direct
}

look_at_pins() {
	cat /proc/self/file_pins /proc/$$/file_pins
}

load_and_mount() {
	{ is_loaded || insmod "$PINFS_KO"; } && mount -t pinfs "$PINFS_DEV" "$MNT"
}

# True once neither a mount nor what is left of one has the device.
device_is_free() {
	"$PINFS_MKFS" -f "$PINFS_DEV"
}

plan 5

# ---- the module comes and goes ----
elsewhere=$(mktemp /var/tmp/pinfs-load.XXXXXX)
head -c 1M /dev/zero >"$elsewhere"
repeat pin_elsewhere "$elsewhere"
repeat read_directly "$elsewhere"
repeat look_at_pins
rounds=0 problem=''
end=$((SECONDS + SECS))
while [[ ! $problem ]] && ((SECONDS < end || rounds == 0)); do
	insmod "$PINFS_KO" || problem="insmod in round $rounds"
	# Busy while somebody is inside, which passes.
	within 30 rmmod pinfs || problem="rmmod in round $rounds"
	rounds=$((rounds + 1))
done
is "B10 insmod and rmmod while its hooks are in use" '' "$problem"
diag "$rounds rounds"

# ---- the same with a file system that is in use as well ----
"$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null
rounds=0 problem=''
end=$((SECONDS + SECS))
while [[ ! $problem ]] && ((SECONDS < end || rounds == 0)); do
	load_and_mount || problem="mount in round $rounds"
	holder_start
	head -c 256k /dev/zero >"$MNT/file" || problem="write in round $rounds"
	[[ $(hold "$MNT/file") == 0 ]] || problem="pin in round $rounds"
	[[ $(error_of rmmod pinfs) == EBUSY ]] || problem="rmmod while pinned in round $rounds"
	kill -9 "$holder"
	wait "$holder" 2>/dev/null
	holder=''
	within 30 umount "$MNT" || problem="umount in round $rounds"
	within 30 rmmod pinfs || problem="rmmod in round $rounds"
	rounds=$((rounds + 1))
done
is "B10 mount, pin, SIGKILL, umount and rmmod" '' "$problem"
diag "$rounds rounds"
users_end
rm "$elsewhere"

# ---- a file system is taken away from under those who use it ----
rounds=0 problem=''
end=$((SECONDS + SECS))
while [[ ! $problem ]] && ((SECONDS < end || rounds == 0)); do
	load_and_mount || problem="mount in round $rounds"
	PINFS_MNT=$MNT PINFS_TORTURE_SECS=600 "$HERE/torture" >/tmp/pinfs-load.log 2>&1 </dev/null &
	storm=$!
	within 30 eval "compgen -G '$MNT/test.*/storm-*'" || problem="no storm in round $rounds"
	sleep 1
	[[ $(error_of umount "$MNT") == EBUSY ]] || problem="umount while in use in round $rounds"
	umount -l "$MNT" || problem="lazy umount in round $rounds"
	# The cases are processes of their own, in the harness's group.
	for pid in $(pgrep -P "$storm") "$storm"; do
		kill -9 "$pid" 2>/dev/null
	done
	wait "$storm" 2>/dev/null
	within 60 device_is_free || problem="the device is still claimed in round $rounds"
	rounds=$((rounds + 1))
done
is "B9 B13 lazy umount and SIGKILL under load" '' "$problem"
diag "$rounds rounds"
succeeds "B10 rmmod after that" within 30 rmmod pinfs
log_clean "E1 the kernel has nothing to complain of"
finish
