#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the pinfs tests, on each region of persistent memory.
#
#	run_kselftest.sh [REGION|all [PROGRAM...]]
#
# REGION is memmap or nvdimm (/dev/pinfs-memmap, /dev/pinfs-nvdimm). Prints
# KTAP, and writes it to /results/kselftest.ktap. All data on the regions is
# lost. The status is 0 if every case passed or was skipped.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

# Programs that find a mounted pinfs ...
mounted_programs=(
	fs_basic fs_names fs_xattr fs_ioctl fs_io fs_full fs_limits
	leases lease_kinds lease_ranges lease_storm layout_ops layout_paths layout_states rights evict torture
	pins_uring pins_transient pins_input pins_rdma pins_xdp pins_contexts pins_kernel pins_model pins_scale proc_pins
	random_calls trace_events
)
# ... and those that mount for themselves. The last are what others have written to judge file systems.
alone_programs=(
	module.sh persist.sh fs_states.sh recovery.sh orphans.sh blockdev.sh corrupt_images.sh crossed.sh load.sh
	rdma.sh p9_ext4.sh nfs.sh bad_input.sh tools.sh kernel.sh
	external_pjdfstest.sh external_fsx.sh external_stress.sh external_fio.sh
)
MOUNTED="${mounted_programs[*]}"
ALONE="${alone_programs[*]}"
# Run only where they are named: the kernel's loader warns of failures that the first injects, and is tainted then; the
# other wants a guest with an IOMMU.
APART="fail_alloc vfio.sh"
REGIONS="memmap nvdimm"
RESULTS=${RESULTS:-/results/kselftest.ktap}
# Seconds for one program; each case has a limit of its own too.
LIMIT=${LIMIT:-$(sed -n 's/^timeout=//p' "$HERE/settings")}
# The kernel's own search for leaks, where it has one.
LEAKS=/sys/kernel/debug/kmemleak

usage() {
	echo "usage: run_kselftest.sh [memmap|nvdimm|all [PROGRAM...]]" >&2
	echo "programs: $MOUNTED $ALONE" >&2
	exit 2
}

regions=${1:-all}
shift || :
[[ $regions != all ]] || regions=$REGIONS
for region in $regions; do
	[[ " $REGIONS " == *" $region "* ]] || usage
done
programs=${*:-$MOUNTED $ALONE}
ALONE+=" $APART"
for program in $programs; do
	[[ " $MOUNTED $ALONE " == *" $program "* ]] || usage
done

# On an emulated processor everything takes many times as long.
if [[ -z ${PINFS_TIME_SCALE:-} ]] && grep -q 'QEMU.*TCG\|TCG CPU' /proc/cpuinfo; then
	export PINFS_TIME_SCALE=5
	# A debug kernel checks each access and each lock.
	if [[ -e $LEAKS ]]; then
		PINFS_TIME_SCALE=20
		LIMIT=$((LIMIT * 6))
	fi
fi

cd /
MNT=$(mktemp -d /tmp/pinfs-test.XXXXXX)
RAW=$(mktemp /tmp/pinfs-raw.XXXXXX)
trap 'umount "$MNT" 2>/dev/null; rmdir "$MNT"; rm -f "$RAW"' EXIT
passed=0 failed=0 skipped=0
number=0 bad=0

# result ok|not NAME: one line of the outer list.
result() {
	number=$((number + 1))
	if [[ $1 == ok ]]; then
		echo "ok $number $2"
	else
		bad=$((bad + 1))
		echo "not ok $number $2"
	fi
}

# case_result ok|not NAME: one that has no list of its own.
case_result() {
	if [[ $1 == ok ]]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
	result "$@"
}

# A program's output as a nested list: region and program go into the names.
nest() {
	local line
	while IFS= read -r line || [[ $line ]]; do
		case $line in
		"TAP version "* | "KTAP version "*) line="KTAP version 1" ;;
		esac
		if [[ $line =~ ^((not )?ok\ [0-9]+)\ (-\ )?(pinfs\.)?(.*)$ ]]; then
			line="${BASH_REMATCH[1]} $1 ${BASH_REMATCH[5]}"
		fi
		echo "  $line"
	done
}

# Sums a program's own results up; says what is wrong with them as a whole.
judge() {
	local status=$1 plan ok not skips
	plan=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$RAW" | head -n 1)
	ok=$(grep -c '^ok [0-9]' "$RAW")
	not=$(grep -c '^not ok [0-9]' "$RAW")
	skips=$(grep -c '^ok [0-9].*# SKIP' "$RAW")
	passed=$((passed + ok - skips))
	failed=$((failed + not))
	skipped=$((skipped + skips))
	if [[ ! $plan ]]; then
		echo "it printed no plan (status $status)"
	elif [[ $((ok + not)) -ne $plan ]]; then
		echo "$plan cases were planned, $((ok + not)) ended (status $status)"
	elif [[ $status -eq 124 || $status -eq 137 ]]; then
		echo "it did not end within $LIMIT seconds"
	elif [[ $status -ne 0 && $status -ne $KSFT_SKIP && $not -eq 0 ]]; then
		echo "status $status without a failed case"
	elif [[ $plan -eq 0 ]]; then
		skipped=$((skipped + 1))
	fi
}

# run_program REGION PROGRAM
run_program() {
	local name="$1 ${2%.sh}" pid status why not
	# Emptied here and not by the program's own shell, which tail may be ahead of.
	: >"$RAW"
	# Not a pipe: a process that cannot be killed would keep it open for ever.
	timeout -k 10 "$LIMIT" "$HERE/$2" >>"$RAW" 2>&1 </dev/null &
	pid=$!
	tail -s 0.2 -f -n +1 --pid="$pid" "$RAW" | nest "$name"
	wait "$pid"
	status=$?
	judge "$status" >"$RAW.why"
	why=$(<"$RAW.why")
	rm "$RAW.why"
	not=$(grep -c '^not ok' "$RAW")
	if [[ $why ]]; then
		# Nobody else counts what has not been printed.
		failed=$((failed + 1))
		diag "$name: $why"
		result not "$name: $why"
	elif [[ $not -ne 0 ]]; then
		result not "$name"
	elif grep -q '^1\.\.0 # SKIP' "$RAW"; then
		result ok "$name # SKIP $(sed -n 's/^1\.\.0 # SKIP //p' "$RAW")"
	else
		result ok "$name"
	fi
}

mount_region() {
	"$PINFS_MKFS" -f "$PINFS_DEV" && { is_loaded || insmod "$PINFS_KO"; } &&
		mount -t pinfs "$PINFS_DEV" "$MNT"
}

# What a program that was given up has left must not stop the others.
umount_region() {
	fuser -skm "$MNT"
	within 10 umount "$MNT" && rmmod pinfs
}

# What all of these programs have left of the file system.
judge_region() {
	local out
	if [[ ! -x $PINFS_FSCK ]]; then
		skipped=$((skipped + 1))
		result ok "S3 $1 fsck finds nothing # SKIP no fsck.pinfs at $PINFS_FSCK"
	elif out=$("$PINFS_FSCK" -n -f "$PINFS_DEV" 2>&1); then
		case_result ok "S3 $1 fsck finds nothing"
	else
		diag "$out"
		case_result not "S3 $1 fsck finds nothing"
	fi
}

selected() {
	local p
	for p in $1; do
		[[ " $programs " != *" $p "* ]] || echo "$p"
	done
}

run_region() {
	local region=$1 other program out
	local mounted alone
	mounted=$(selected "$MOUNTED")
	alone=$(selected "$ALONE")
	PINFS_DEV=$(readlink -f "/dev/pinfs-$region")
	PINFS_OTHER_DEV=
	for other in $REGIONS; do
		[[ $other == "$region" || ! -b /dev/pinfs-$other ]] ||
			PINFS_OTHER_DEV=$(readlink -f "/dev/pinfs-$other")
	done
	export PINFS_DEV PINFS_OTHER_DEV PINFS_KO PINFS_MKFS

	if [[ $mounted ]]; then
		if out=$(mount_region 2>&1); then
			out=mounted
			case_result ok "S1 $region mkfs, insmod and mount"
		else
			diag "$out"
			case_result not "S1 $region mkfs, insmod and mount"
			diag "$(dmesg | tail -n 5)"
		fi
		for program in $mounted; do
			if [[ $out == mounted ]]; then
				PINFS_MNT=$MNT run_program "$region" "$program"
			else
				case_result not "$region $program: there was nothing to run it on"
			fi
		done
		if out=$(umount_region 2>&1); then
			case_result ok "S1 $region umount and rmmod"
		else
			diag "$out"
			diag "$(cat /proc/fs/pinfs/pins 2>/dev/null)"
			case_result not "S1 $region umount and rmmod"
		fi
		judge_region "$region"
	fi
	for program in $alone; do
		run_program "$region" "$program"
	done
}

count() {
	local region=0 n=0
	[[ -z $(selected "$MOUNTED") ]] || n=3
	for region in $regions; do
		number=$((number + n + $(selected "$MOUNTED $ALONE" | wc -l)))
	done
	[[ ! -e $LEAKS ]] || number=$((number + 1))
	echo "$number"
}

# Memory that nothing points to. Only what has been so in two looks, and for five
# seconds, is told of: a pointer may be on its way.
find_leaks() {
	local found
	sleep 6
	echo scan >"$LEAKS" && echo scan >"$LEAKS" && found=$(<"$LEAKS") || return
	if [[ $found ]]; then
		diag "$(head -n 100 <<<"$found")"
		case_result not "S4 no memory has been lost"
	else
		case_result ok "S4 no memory has been lost"
	fi
}

main() {
	echo "KTAP version 1"
	echo "1..$(count)"
	for region in $regions; do
		run_region "$region"
	done
	[[ ! -e $LEAKS ]] || find_leaks || case_result not "S4 no memory has been lost"
	echo "# cases: $passed passed, $failed failed, $skipped skipped"
	[[ $bad -eq 0 ]]
}

mkdir -p "$(dirname "$RESULTS")"
main | tee "$RESULTS"
exit "${PIPESTATUS[0]}"
