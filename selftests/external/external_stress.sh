#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Row S2: stress-ng's file-system stressors. A case for each; afterwards all
# that they used is free again.
#
#	external_stress.sh [slice|full|SECONDS]
#
# SECONDS is how long each group of stressors runs. With `full`, which takes
# two hours, each one runs alone as well, in two instances.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"
. "$HERE/external_lib.sh"

# Those of its class "filesystem" that use files of one file system, and some
# of other classes that do. Left out are those about descriptors, processes or
# other file systems: binderfs bind-mount dup eventfd fd-fork ioprio procfs
# statmount umask. Each line runs at the same time; sync-file fills whatever there
# is, whatever its options say.
STRESSORS="
access acl chattr chdir chmod chown copy-file
dentry dir dirdeep dirmany dnotify fallocate fanotify
fcntl fiemap file-ioctl filename filerace flock fpunch
fsize fstat getdent handle hdd inode-flags inotify
io iomix lease link locka lockf lockmix
lockofd metamix mknod mmap msync open pseek
readahead rename revio seek sendfile symlink
touch unlink utime verity xattr aio aiol
sync-file"

# What one of them needs to be about files, and about no more than there is.
options() {
	case $1 in
	mmap) echo "--mmap-file --mmap-bytes 8M" ;;
	fallocate | hdd | iomix | readahead | revio) echo "--$1-bytes 16M" ;;
	esac
}

# Stressors that find nothing to do, and why that is right; see
# external_pjdfstest.sh.
skip_reason() {
	case $1 in
	verity) echo "pinfs has no fs-verity, which works on pages in the page cache" ;;
	esac
}

# run NAME INSTANCES SECONDS STRESSOR...: a case for each, from the summary
# that ends the output: "passed: 2: dir (1) link (1)".
run() {
	local name=$1 instances=$2 seconds=$3 stressor arguments=() ended reason
	shift 3
	for stressor; do
		# shellcheck disable=SC2207 # words are wanted
		arguments+=("--$stressor" "$instances" $(options "$stressor"))
	done
	stress-ng --temp-path "$MNT" --verify --timeout "${seconds}s" "${arguments[@]}" >"$WORK/log" 2>&1
	for stressor; do
		ended=$(sed -nE "s/.*\] (skipped|passed|failed|metrics untrustworthy): .* $stressor \(.*/\1/p" "$WORK/log" | sort -u)
		reason=$(skip_reason "$stressor")
		case $ended in
		passed | passed$'\n'skipped)
			if [[ $reason ]]; then
				fail "$name $stressor" "it is on the list of skipped ones, and was not"
			else
				pass "$name $stressor"
			fi
			;;
		skipped)
			if [[ $reason ]]; then
				skip "$name $stressor" "$reason"
			else
				fail "$name $stressor" "$(grep "$stressor: " "$WORK/log" | head -n 5)"
			fi
			;;
		*) fail "$name $stressor" "ended: $ended"$'\n'"$(grep -v ' info: ' "$WORK/log" | head -n 20)" ;;
		esac
	done
}

free_blocks() {
	stat -f -c %f "$MNT"
}

command -v stress-ng >/dev/null || skip_all "no stress-ng"
seconds=$(amount_of 2 300 "$@") || exit
alone=''
[[ ${1:-${PINFS_AMOUNT:-slice}} != full ]] || alone=75
external_start
begin=$SECONDS
count=$(wc -w <<<"$STRESSORS")
plan $((count * (${alone:+1} + 1) + 2 + EXTERNAL_END))
free=$(free_blocks)
while read -r group; do
	# shellcheck disable=SC2086 # words are wanted
	[[ ! $group ]] || run "S2 stress-ng" 1 "$seconds" $group
done <<<"$STRESSORS"
if [[ $alone ]]; then
	for stressor in $STRESSORS; do
		run "S2 stress-ng alone" 2 "$alone" "$stressor"
	done
fi
diag "$((SECONDS - begin)) s"
rm -rf "${MNT:?}"/*
is "S2 stress-ng has left nothing" "" "$(ls -A "$MNT")"
is "S2 stress-ng: all blocks are free again" "$free" "$(free_blocks)"
external_end stress-ng
finish
