#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rows H6 and S4, fault B2: images with right checksums in which two files
# share blocks, or one has the same block twice, or blocks of metadata, or free
# ones. Makes file systems on $PINFS_DEV.
#
#	crossed.sh [CASE...]
#
# For each case of pinfs-corrupt, and each list of steps below (the first two
# where it is not about files that share blocks), the image is mounted, an ordinary user takes the steps, and it is unmounted. The file
# system must say that it is damaged and go read-only, umount must succeed, and
# the kernel must report nothing: not then, and not when all of the device is
# mapped by a good file system afterwards, which any page shows that was left
# with a wrong count or owner.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

CORRUPT=${PINFS_CORRUPT:-/pinfs/bin/pinfs-corrupt}

# Cases in which one file has blocks of another, or twice the same.
SHARED="inside head partial same shifted twice single twice-single"

# See crossed.c.
STEPS=(
	# The large page first, and kept in a pipe.
	"x1 M1 W1 V1 M2 W2 V2 m2 W2 w2 r2 s2 D1 D2 t2 U1 U2 u1 u2"
	# Small pages first, of the one and of the other.
	"m2 W2 V2 x1 M1 W1 V1 w1 r1 s1 D2 D1 p1 t1 u2 u1"
	"m1 W1 V1 M2 W2 x1 m2 R2 D1 p1 t1 p2 t2 u1 u2"
	# Only readers; a file is gone while its page is in a pipe.
	"M2 R2 V2 x1 U2 u2 c2 M1 R1 m1 R1 D2 w1 t1"
	# What one gives up, while the other has it, and who gets it then.
	"M2 W2 x1 t1 n1 R2 V2 U2 D2"
	"x1 M1 W1 m2 R2 t2 n1 R1 p1"
	# Synchronous mappings.
	"S1 W1 S2 W2 x1 s1 s2 t1 t2"
	# Both at once.
	"z1 x1"
)

need_root_and_module
[[ -x $CORRUPT ]] || skip_all "pinfs-corrupt is not there; make tools builds it"
is_loaded || insmod "$PINFS_KO" || exit 1
make_mnt
WORK=$(mktemp -d /tmp/pinfs-crossed.XXXXXX)
trap 'rm -rf "$WORK"; leave' EXIT

user() {
	setpriv --reuid 1000 --regid 1000 --clear-groups "$@"
}

# Maps all of a new file system as large pages and as small ones, and frees it.
all_pages() {
	local free
	"$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null && mount -t pinfs "$PINFS_DEV" "$MNT" || return
	free=$(($(stat -f -c %a "$MNT") / 512 * 512 * 4096))
	((free <= 64 << 20)) || free=$((64 << 20))
	fallocate -l $free "$MNT/one" && fallocate -l 4096 "$MNT/two" &&
		"$HERE/crossed" "$MNT" M1 W1 U1 m1 W1 U1 t1 e1 m1 W1 U1 >"$WORK/all" &&
		[[ $(<"$WORK/all") == "0 EUCLEAN, 0 EROFS, 0 SIGBUS, 0 others" ]] || return
	umount "$MNT"
}

# try CASE STEPS: says what is wrong.
try() {
	local out
	# Straight to the medium: the device's cache would keep what the last mount changed.
	dd if="$WORK/image" of="$PINFS_DEV" bs=1M oflag=direct status=none || return
	mount -t pinfs "$PINFS_DEV" "$MNT" || return
	# shellcheck disable=SC2086 # a list
	out=$(cd / && user timeout 30 "$HERE/crossed" "$MNT" $2 2>&1) || echo "status $?: $out"
	[[ $out == *EUCLEAN* && $out != "0 EUCLEAN"*" 0 SIGBUS"* ]] || echo "nothing refused: $out"
	grep -q "^$PINFS_DEV .*emergency_ro" /proc/mounts || echo "not read-only: $out"
	within 10 umount "$MNT" || echo "umount fails"
}

cases=("$@")
[[ $# -gt 0 ]] || mapfile -t cases <<<"$("$CORRUPT" crossed)"
plan $((${#cases[@]} + 3))
for case in "${cases[@]}"; do
	log_mark
	wrong=
	"$CORRUPT" crossed "$case" "$WORK/image" || wrong="no image"
	lists=("${STEPS[@]}")
	[[ " $SHARED " == *" $case "* ]] || lists=("${STEPS[@]:0:2}")
	for steps in "${lists[@]}"; do
		[[ ! $wrong ]] || break
		echo "<7>crossed: $case: $steps" >/dev/kmsg
		wrong=$(try "$case" "$steps")
		[[ ! $wrong ]] || wrong="$steps: $wrong"
		found=$(log_since | grep -E "$FAULTS" | head -n 5) && wrong+=" in the kernel's log: $found"
	done
	if [[ $wrong ]]; then
		fail "H6_B2_$case" "$wrong"
		umount -l "$MNT" 2>/dev/null
	else
		pass "H6_B2_$case"
	fi
done
log_mark
succeeds "H6_B2_pages_are_as_good_as_new" all_pages
log_clean "H6_B2_no_fault_in_the_kernels_log"
umount "$MNT" 2>/dev/null
is "H6_B2_the_module_goes" 0 "$(error_of unload)"
finish
