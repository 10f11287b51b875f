#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rows S2, M3: random operations on a file against a copy in memory. The crate
# fsx does them on small files and on large ones that have huge pages, three
# seeds at the same time; range_ops adds the operations that fsx does not know.
#
#	external_fsx.sh [slice|full|OPERATIONS]
#
# OPERATIONS is the number for each seed on small files; `full` is a million.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"
. "$HERE/external_lib.sh"

SEEDS="1 2 3"
# Every operation that range_ops knows.
RANGE_OPS="write read direct-write direct-read map-write map-read truncate allocate punch zero collapse insert copy sync reopen"

# config LARGEST_FILE LARGEST_OPERATION: of no bytes at all there are none, as
# fsx does not expect the EINVAL of a posix_fallocate() of them.
config() {
	cat <<-END
		flen = $1
		[opsize]
		min = 1
		max = $2
		[weights]
		close_open = 1
		read = 10
		write = 10
		mapread = 10
		mapwrite = 10
		invalidate = 1
		truncate = 5
		fsync = 1
		fdatasync = 1
		posix_fallocate = 3
		punch_hole = 5
		sendfile = 3
		posix_fadvise = 1
		copy_file_range = 5
	END
}

# all_seeds NAME COMMAND...: a case for each seed, all at the same time; the
# command finds the seed in $seed.
all_seeds() {
	local name=$1 seed pids=()
	shift
	for seed in $SEEDS; do
		"$@" >"$WORK/$seed.log" 2>&1 &
		pids+=($!)
	done
	for seed in $SEEDS; do
		if wait "${pids[0]}"; then
			pass "$name, seed $seed"
		else
			fail "$name, seed $seed" "$(tail -n 40 "$WORK/$seed.log")"
		fi
		pids=("${pids[@]:1}")
	done
	# A file that was not right is worth keeping; there is no use for the others.
	[[ $ktap_failed -ne 0 ]] || rm "$MNT"/*
}

# fsx CONFIG OPERATIONS: by processes of 2,000 each, since it never unmaps what
# it has read by a mapping (0.3.2): of a million, each would have thousands of
# mappings to look through for every one that takes blocks away, and then no more
# to be had.
fsx() {
	local left turn=0 part
	for ((left = $2; left > 0; left -= part)); do
		part=$((left < 2000 ? left : 2000))
		NO_COLOR=1 "$WORK/fsx" -f "$WORK/$1" -S "$((seed + 1000 * turn++))" -N "$part" -P "$WORK" "$MNT/$1.$seed" || return
	done
}

range_ops() {
	"$HERE/range_ops" "$MNT/range.$seed" "$seed" "$1" "$2"
}

# What one of them has not done, it has not shown.
range_counts() {
	local op count
	for op in $RANGE_OPS; do
		count=$(sed -n "s/^$op //p" "$WORK"/[0-9].log | sort -u)
		case $count in
		*[1-9]*) pass "S2 range_ops has done $op" ;;
		*) fail "S2 range_ops has done $op" "counted: '$count'" ;;
		esac
	done
}

count=$(amount_of 1500 1000000 "$@") || exit
external_start
external_program fsx
seeds=$(wc -w <<<"$SEEDS")
plan $((4 * seeds + $(wc -w <<<"$RANGE_OPS") + EXTERNAL_END))
config 262144 65536 >"$WORK/small"
config 8388608 3000000 >"$WORK/large"
still_there "fsx"
all_seeds "S2 M3 fsx: $count operations on 256 KiB" fsx small "$count"
all_seeds "S2 M3 fsx: $((count / 20)) operations on 8 MiB" fsx large $((count / 20))
all_seeds "S2 M3 range_ops: $((count / 20)) operations on 8 MiB" range_ops $((count / 20)) 8388608
all_seeds "S2 M3 range_ops: $count operations on 256 KiB" range_ops "$count" 262144
range_counts
external_end fsx
finish
