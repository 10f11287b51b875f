#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Row S4: images damaged by chance and on purpose. Makes file systems on $PINFS_DEV.
#
#	corrupt_images.sh [COUNT [SEED]]
#
# COUNT images (100, or 5000 if PINFS_AMOUNT is full), of the ways to damage
# one that pinfs-corrupt lists for SEED (1): each is mounted, walked, changed
# and unmounted. Every mount must be refused or end in errors or go well; the
# kernel must report no fault.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

count=$(amount_of 100 5000 "${1:-}")
seed=${2:-1}
CORRUPT=${PINFS_CORRUPT:-/pinfs/bin/pinfs-corrupt}

need_root_and_module
[[ -x $CORRUPT && -x $PINFS_FSCK ]] || skip_all "pinfs-corrupt or fsck.pinfs is not there; make tools builds them"
is_loaded || insmod "$PINFS_KO" || exit 1
make_mnt
WORK=$(mktemp -d /tmp/pinfs-corrupt-images.XXXXXX)
trap 'rm -rf "$WORK"; leave' EXIT
log_mark

plan 5
"$CORRUPT" base "$WORK/base"

# Without damage nothing may fail, or what follows says nothing.
seen=$(echo undamaged | "$HERE/corrupt_images" "$PINFS_DEV" "$MNT" "$WORK/base" 2>&1)
is "S4_the_base_is_good" "0 refused, 0 with errors, 1 well" "$seen"
"$PINFS_FSCK" -n -f "$PINFS_DEV" >"$WORK/fsck" 2>&1
is "S4_fsck_agrees_with_what_the_kernel_made_of_it" 0 "$?$(grep -v 'no faults' "$WORK/fsck")"

"$CORRUPT" list --seed "$seed" --count "$count" "$WORK/base" >"$WORK/list"
is "S4_as_many_images_as_asked_for" "$count" "$(grep -c . "$WORK/list")"
if seen=$("$HERE/corrupt_images" "$PINFS_DEV" "$MNT" "$WORK/base" <"$WORK/list" 2>&1); then
	diag "$seen"
	# Some of each, or the damage is none, or the walk sees nothing of it.
	if [[ $seen =~ ^[1-9][0-9]*\ refused,\ [1-9][0-9]*\ with\ errors,\ [1-9][0-9]*\ well$ ]]; then
		pass "S4_each_image_is_refused_or_answered"
	else
		fail "S4_each_image_is_refused_or_answered" "one kind of answer is missing: $seen"
	fi
else
	fail "S4_each_image_is_refused_or_answered" "$seen"
fi
log_clean "S4_no_fault_in_the_kernels_log"
finish
