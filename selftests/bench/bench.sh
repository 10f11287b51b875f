#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: bench.sh [ROW,ROW...]
#
# What file-system work takes on pinfs, and on ext4 and xfs with DAX, on equal
# regions of persistent memory; then what it costs to take mapped blocks away,
# how well huge pages last, and what leases and pins cost, those who use them and
# those who do not. With rows (see bench_fs.c), just those.
#
# Needs three regions of 1 GiB, and one of 2304 MiB for pins of 1 GiB, which are
# formatted. ROUNDS (9) is how often each row is measured. The raw samples go to $RESULTS/bench.csv, what is
# printed to $RESULTS/bench.txt as well.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
. "$(dirname "$0")/test_lib.sh"

RESULTS=${RESULTS:-/results}
ROUNDS=${ROUNDS:-9}
rows=${1:-}
types=(pinfs ext4 xfs)

# Regions of so many MiB, by address as their numbers are.
regions() {
	local disk
	for disk in /sys/block/pmem*; do
		if [[ $(<"$disk/size") == $(($1 * 2048)) ]]; then
			echo "/dev/${disk##*/}"
		fi
	done
}

# Makes a file system as its own tools do by default, but for what would go on
# behind the measurement's back, and for xfs's sharing of blocks, which costs
# it time and which the others do not have.
make_fs() {
	case $1 in
	pinfs) "$PINFS_MKFS" -f "$2" ;;
	ext4) mkfs.ext4 -q -F -b 4096 -i 4096 -E lazy_itable_init=0,lazy_journal_init=0 "$2" ;;
	xfs) mkfs.xfs -q -f -m reflink=0 "$2" ;;
	esac >/dev/null
	mkdir -p "/mnt/$1"
	mount -t "$1" -o dax=always "$2" "/mnt/$1"
}

make_all() {
	local i
	for i in "${!types[@]}"; do
		make_fs "${types[i]}" "${devices[i]}"
	done
}

umount_all() {
	umount "${types[@]/#//mnt/}"
}

mapfile -t devices <<<"$(regions 1024)"
large=$(regions 2304)
if ((${#devices[@]} < 3)); then
	echo "bench.sh: wants three regions of 1 GiB, there are ${#devices[@]}" >&2
	exit 1
fi
if [[ -z $large ]]; then
	echo "bench.sh: wants a region of 2304 MiB" >&2
	exit 1
fi
targets=()
for i in "${!types[@]}"; do
	targets+=("${types[i]}:${devices[i]}:/mnt/${types[i]}")
done
mkdir -p /mnt
mountpoint -q /mnt || mount -t tmpfs mnt /mnt
modprobe -a ext4 xfs
is_loaded || insmod "$PINFS_KO"

measure() {
	local turn type rdma
	echo "kernel $(uname -r), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) processors"
	make_all
	"$HERE/bench_fs" -n "$ROUNDS" ${rows:+-r "$rows"} -o "$RESULTS/bench.csv" "${targets[@]}"
	# What an inode in memory takes.
	grep -E '^(pinfs|ext4|xfs)_?inode|^(ext4_inode_cache|xfs_inode|pinfs) ' /proc/slabinfo |
		awk '{ print "memory: " $1 ", " $4 " bytes an object" }'
	umount_all
	[[ -z $rows ]] || return 0
	make_all
	for turn in 1 2; do
		for type in pinfs ext4; do
			echo "$type, turn $turn"
			"$HERE/bench_layout" "/mnt/$type" 15
		done
	done
	umount_all
	make_all
	"$HERE/bench_fs" -a "${targets[@]}"
	umount_all

	make_fs pinfs "$large"
	rdma=$(sh "$HERE/rdma_link.sh" up) || rdma=
	# RDMA heeds the limit of locked memory, which all that runs as root counts towards.
	(ulimit -l unlimited && "$HERE/bench_pin" /mnt/pinfs 30 ${rdma:+"$rdma"})
	sh "$HERE/rdma_link.sh" down
	within 60 umount /mnt/pinfs
	make_fs pinfs "${devices[0]}"
	"$HERE/bench_lease" /mnt/pinfs 30
	# 100,000 pins: what they take, and what they cost who reads of another.
	PINFS_MNT=/mnt/pinfs PINFS_AMOUNT=full "$HERE/pins_scale" 2>&1 | sed -n 's/^#.*many_\(readers\|files\)://p'
	within 60 umount /mnt/pinfs
	within 60 rmmod pinfs
	"$HERE/bench_hooks" "$PINFS_KO" "${devices[0]}" /mnt/pinfs "${devices[1]}" 15
	insmod "$PINFS_KO"
}

measure 2>&1 | tee "$RESULTS/bench.txt"
