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
	"1x 1M 1W 1V 2M 2W 2V 2m 2W 2w 2r 2s 1D 2D 2t 1U 2U 1u 2u"
	# Small pages first, of the one and of the other.
	"2m 2W 2V 1x 1M 1W 1V 1w 1r 1s 2D 1D 1p 1t 2u 1u"
	"1m 1W 1V 2M 2W 1x 2m 2R 1D 1p 1t 2p 2t 1u 2u"
	# Only readers; a file is gone while its page is in a pipe.
	"2M 2R 2V 1x 2U 2u 2c 1M 1R 1m 1R 2D 1w 1t"
	# What one gives up, while the other has it, and who gets it then.
	"2M 2W 1x 1t 1n 2R 2V 2U 2D"
	"1x 1M 1W 2m 2R 2t 1n 1R 1p"
	# Synchronous mappings.
	"1S 1W 2S 2W 1x 1s 2s 1t 2t"
	# Both at once.
	"1z 1x"
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
	fallocate -l "$free" "$MNT/one" && fallocate -l 4096 "$MNT/two" &&
		"$HERE/crossed" "$MNT" 1M 1W 1U 1m 1W 1U 1t 1e 1m 1W 1U >"$WORK/all" &&
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
		found=$(log_faults | head -n 5) && wrong+=" in the kernel's log: $found"
	done
	if [[ $wrong ]]; then
		fail "H6 S4 blocks of two things (fault B2): $case" "$wrong"
		umount -l "$MNT" 2>/dev/null
	else
		pass "H6 S4 blocks of two things (fault B2): $case"
	fi
done
log_mark
succeeds "H6 pages are as good as new afterwards" all_pages
log_clean "H6 no fault in the kernel's log"
umount "$MNT" 2>/dev/null
is "H6 the module goes" 0 "$(error_of unload)"
finish
