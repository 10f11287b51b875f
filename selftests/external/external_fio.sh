#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rows S1, S2: fio writes blocks with checksums in every way that there is, and
# finds them again: while it writes, and after an umount and a mount.
#
#	external_fio.sh [slice|full|MEGABYTES]
#
# MEGABYTES is the size of each job's file; more than 2, and two jobs of a kind
# run at the same time.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"
. "$HERE/external_lib.sh"

JOBS="psync-buffered psync-direct psync-sync psync-huge pvsync2-vectors mmap mmap-holes libaio-direct
	io_uring-buffered io_uring-direct io_uring-fixed posixaio splice mixed"

# How a kind of job differs from the others.
job() {
	case $1 in
	psync-buffered) echo "ioengine=psync rw=randwrite bsrange=512-64k fsync=64" ;;
	psync-direct) echo "ioengine=psync direct=1 rw=randwrite bsrange=4k-128k" ;;
	psync-sync) echo "ioengine=psync sync=1 rw=write bs=4k" ;;
	psync-huge) echo "ioengine=psync fallocate=native rw=randwrite bs=2m" ;;
	pvsync2-vectors) echo "ioengine=pvsync2 rw=randwrite bsrange=1k-32k" ;;
	mmap) echo "ioengine=mmap fallocate=native rw=randwrite bs=4k fsync=128" ;;
	mmap-holes) echo "ioengine=mmap fallocate=none rw=randwrite bs=12k" ;;
	libaio-direct) echo "ioengine=libaio direct=1 iodepth=16 rw=randwrite bsrange=4k-64k" ;;
	io_uring-buffered) echo "ioengine=io_uring iodepth=16 rw=randwrite bsrange=1k-64k" ;;
	io_uring-direct) echo "ioengine=io_uring direct=1 iodepth=16 rw=randwrite bsrange=4k-64k" ;;
	io_uring-fixed) echo "ioengine=io_uring direct=1 fixedbufs=1 registerfiles=1 iodepth=8 rw=randwrite bs=16k" ;;
	posixaio) echo "ioengine=posixaio iodepth=8 rw=randwrite bs=8k" ;;
	splice) echo "ioengine=splice rw=randwrite bs=4k" ;;
	mixed) echo "ioengine=psync rw=randrw rwmixread=30 bsrange=1k-256k" ;;
	esac
}

# run_fio JOB OPTION...
run_fio() {
	local name=$1 options
	shift
	read -ra options <<<"$(job "$name")"
	fio --name="$name" --directory="$MNT" --size="${size}M" --numjobs="$workers" --thread --group_reporting --randrepeat=1 \
		--randseed=77 --verify=crc32c --verify_fatal=1 --serialize_overlap=1 --output-format=terse \
		"${options[@]/#/--}" "$@"
}

command -v fio >/dev/null || skip_all "no fio"
size=$(amount_of 2 96 "$@") || exit
workers=1
[[ $size -le 2 ]] || workers=2
external_start
plan $((2 * $(wc -w <<<"$JOBS") + 1 + EXTERNAL_END))
still_there fio
free=$(stat -f -c %f "$MNT")
for name in $JOBS; do
	succeeds "S2 fio $name: writes and finds what it wrote" run_fio "$name" --do_verify=1 --verify_backlog=128
	umount "$MNT"
	mount -t pinfs "$PINFS_DEV" "$MNT"
	succeeds "S1 fio $name: finds it after a new mount" run_fio "$name" --verify_only
	rm -f "$MNT"/*
done
is "S2 fio: all blocks are free again" "$free" "$(stat -f -c %f "$MNT")"
external_end fio
finish
