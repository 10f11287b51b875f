#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Row S2: POSIX as the crate pjdfstest has it, every case of it, as root. Each
# is a case here. It always runs whole: that takes seconds.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"
. "$HERE/external_lib.sh"

# How many cases the version has that tests/external/crates names.
CASES=398

# Cases that are skipped, and why that is right. One that is skipped without
# standing here fails, and so does one that stands here and is not skipped.
skip_reason() {
	case $1 in
	link::link_count_max) echo "pathconf(_PC_LINK_MAX) is a table in the C library, which knows no pinfs" ;;
	esac
}

config() {
	cat <<-END
		[features]
		posix_fallocate = {}
		rename_ctime = {}
		stat_st_birthtime = {}
		utime_now = {}
		utimensat = {}
		[settings]
		naptime = 0.02
		allow_remount = $1
		[dummy_auth]
		entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
	END
}

# pjd ALLOW_REMOUNT [PATTERN]
pjd() {
	config "$1" >"$WORK/config"
	shift
	NO_COLOR=1 "$WORK/pjdfstest" -c "$WORK/config" -p "$MNT" -s "$WORK/other" "$@" 2>&1
}

# One of its lines: the case's name, how it ended, and the lines that say why.
verdict() {
	local name="S2 pjdfstest $1" reason=''
	reason=$(skip_reason "$1")
	case $2 in
	skipped)
		if [[ $reason ]]; then
			skip "$name" "$reason"
		else
			fail "$name" "skipped, and the list does not say why:$3"
		fi
		;;
	ok)
		if [[ $reason ]]; then
			fail "$name" "it is on the list of skipped cases, and was not"
		else
			pass "$name"
		fi
		;;
	*) fail "$name" "$2:$3" ;;
	esac
}

verdicts() {
	local line name='' ended='' why=''
	while IFS= read -r line; do
		if [[ $line =~ ^([a-z0-9_]+::[a-z0-9_:]+)\ +(ok|skipped|FAILED|.*[a-z])$ ]]; then
			[[ ! $name ]] || verdict "$name" "$ended" "$why"
			name=${BASH_REMATCH[1]} ended=${BASH_REMATCH[2]} why=''
		else
			why+=" ${line//$'\t'/}"
		fi
	done <"$1"
	[[ ! $name ]] || verdict "$name" "$ended" "$why"
}

external_start
external_program pjdfstest
mkdir "$WORK/other"
plan $((CASES + 1 + EXTERNAL_END))

# The suite leaves descriptors open on the file system here and there, so that
# it cannot be remounted read-only any more, on no file system: the cases that
# do that have a run of their own.
pjd false | grep -v '::erofs' >"$WORK/log"
pjd true erofs >"$WORK/erofs"
grep '::erofs' -A 1 "$WORK/erofs" | grep -v '^--$' >>"$WORK/log"
verdicts "$WORK/log"
is "S2 pjdfstest has run $CASES cases" "$CASES" "$ktap_done"
external_end pjdfstest
finish
