#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a lease and a pin cost, next to the same registration of anonymous
# memory; the table goes to /results/bench.txt too. Makes a new file system on
# $PINFS_DEV (/dev/pinfs-memmap).
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
. "$(dirname "$0")/test_lib.sh"

PINFS_DEV=$(readlink -f "${PINFS_DEV:-/dev/pinfs-memmap}")
RESULTS=${RESULTS:-/results/bench.txt}
make_mnt
# Some pages of 2 MiB, if the machine has them to spare.
echo 8 >/proc/sys/vm/nr_hugepages || :

is_loaded || insmod "$PINFS_KO"
"$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null
mount -t pinfs "$PINFS_DEV" "$MNT"
{
	echo "kernel $(uname -r), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) processors"
	"$HERE/bench_pin" "$MNT" "${1:-30}"
} | tee "$RESULTS"
umount "$MNT"
rmmod pinfs
