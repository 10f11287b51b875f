#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs bench_layout on pinfs and on ext4 with DAX, in turn on the same region,
# and writes what it says to /results/bench-layout.txt. All data on the region
# is lost.
#
#	bench_layout.sh [ROUNDS]
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
. "$(dirname "$0")/test_lib.sh"

PINFS_DEV=$(readlink -f "${PINFS_DEV:-/dev/pinfs-memmap}")
RESULTS=${RESULTS:-/results/bench-layout.txt}
make_mnt

for turn in 1 2; do
	is_loaded || insmod "$PINFS_KO"
	"$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null
	mount -t pinfs "$PINFS_DEV" "$MNT"
	echo "pinfs, turn $turn"
	"$HERE/bench_layout" "$MNT" "${1:-15}"
	within 10 umount "$MNT"
	within 10 rmmod pinfs

	mkfs.ext4 -q -F -b 4096 "$PINFS_DEV"
	mount -t ext4 -o dax=always "$PINFS_DEV" "$MNT"
	echo "ext4 -o dax=always, turn $turn"
	"$HERE/bench_layout" "$MNT" "${1:-15}"
	umount "$MNT"
	wipefs -aq "$PINFS_DEV"
done | tee "$RESULTS"
