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

# Opens, leases, pins and lets go of a file of the file system, while it is
# mounted. Its directory is not there under the mount.
pin_and_go() {
	ask "open $MNT/users/$1" "lease exclusive" map ring register unregister ringclose unmap close
}

# Unmounts, which may fail with EBUSY only, and counts how often it did.
umount_not_lazily() {
	local error
	error=$(error_of umount "$MNT")
	case $error in
	0) return 0 ;;
	EBUSY) busy=$((busy + 1)) ;;
	*) problem="umount says $error" ;;
	esac
	[[ $problem ]]
}

# within, in this shell: what is called sets variables.
keep_trying() {
	local end=$((SECONDS + $1 + 1))
	shift
	until "$@"; do
		((SECONDS < end)) || return 1
		sleep 0.02
	done
}

start_storm() {
	PINFS_MNT=$MNT PINFS_TORTURE_SECS=600 "$HERE/torture" >/tmp/pinfs-load.log 2>&1 </dev/null &
	storm=$!
	within 30 eval "compgen -G '$MNT/test.*/storm-*'" || problem="no storm in round $rounds"
}

# A case is a group of processes of its own. Who has started it would start the
# next one when it ends, so it is stopped first.
end_storm() {
	local pid
	kill -STOP "$storm"
	for pid in $(pgrep -P "$storm"); do
		kill -9 -- "-$pid"
	done
	kill -9 "$storm"
	wait "$storm" 2>/dev/null
}

# True once neither a mount nor what is left of one has the device.
device_is_free() {
	"$PINFS_MKFS" -f "$PINFS_DEV"
}

plan 7

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

# ---- a file system is unmounted whenever it is free for a moment ----
"$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null
load_and_mount && mkdir "$MNT/users" && head -c 256k /dev/zero >"$MNT/users/1" && cp "$MNT/users/1" "$MNT/users/2"
umount "$MNT"
repeat pin_and_go 1
repeat pin_and_go 2
rounds=0 busy=0 problem=''
end=$((SECONDS + SECS))
while [[ ! $problem ]] && ((SECONDS < end || rounds == 0)); do
	load_and_mount || problem="mount in round $rounds"
	# Let them use it.
	sleep 0.3
	keep_trying 60 umount_not_lazily || problem="umount in round $rounds"
	rounds=$((rounds + 1))
done
users_end
# What has been killed may have a mount in use for a moment.
mountpoint -q "$MNT" && within 30 umount "$MNT"
[[ $problem ]] || "$PINFS_FSCK" -n "$PINFS_DEV" >/dev/null || problem="fsck after $rounds rounds"
is "B9 umount, not lazy, between the uses of others" '' "$problem"
diag "$rounds rounds, EBUSY $busy times"

# ---- and as soon as a load on it has ended ----
rounds=0 problem=''
end=$((SECONDS + SECS))
while [[ ! $problem ]] && ((SECONDS < end || rounds == 0)); do
	load_and_mount || problem="mount in round $rounds"
	start_storm
	# The load alone might have nothing open for a moment.
	exec {used}<"$MNT"
	for _ in {1..20}; do
		[[ $(error_of umount "$MNT") == EBUSY ]] || problem="umount while in use in round $rounds"
		sleep 0.05
	done
	exec {used}<&-
	end_storm
	within 60 umount "$MNT" || problem="umount after the load in round $rounds"
	# A page that a dying process had in a pipe may claim it a moment longer.
	[[ $problem ]] || within 60 device_is_free || problem="the device is still claimed in round $rounds"
	rounds=$((rounds + 1))
done
is "B9 umount, not lazy: EBUSY under load, and done after it" '' "$problem"
diag "$rounds rounds"

# ---- a file system is taken away from under those who use it ----
rounds=0 problem=''
end=$((SECONDS + SECS))
while [[ ! $problem ]] && ((SECONDS < end || rounds == 0)); do
	load_and_mount || problem="mount in round $rounds"
	start_storm
	sleep 1
	[[ $(error_of umount "$MNT") == EBUSY ]] || problem="umount while in use in round $rounds"
	umount -l "$MNT" || problem="lazy umount in round $rounds"
	end_storm
	within 60 device_is_free || problem="the device is still claimed in round $rounds"
	rounds=$((rounds + 1))
done
is "B9 B13 lazy umount and SIGKILL under load" '' "$problem"
diag "$rounds rounds"
succeeds "B10 rmmod after that" within 30 rmmod pinfs
log_clean "E1 the kernel has nothing to complain of"
finish
