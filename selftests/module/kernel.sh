#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Row E7: the module and the kernel that it is loaded into. One that was built for another kernel, and whose hooks were checked
# against that one, is refused, and the refusal changes nothing. Modules for other kernels are copies of ours that say so and,
# where /pinfs/other holds some, real ones. Ours finds all its hooks, and keeps them. The kernel has what the tests need.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

need_root_and_module
unload || skip_all "pinfs is loaded and in use"
shopt -s nullglob
others=(/pinfs/other/*.ko)
RELEASE=$(uname -r)
TAINTED=$(</proc/sys/kernel/tainted)
KO=/tmp/pinfs-other-kernel.ko
trap 'rm -f "$KO"' EXIT

# refused NAME FILE: three cases.
refused() {
	local out
	dmesg -C
	out=$(insmod "$2" 2>&1)
	is "E7 $1 is refused" "1 ENOEXEC" "$? $(errno_in "$out")"
	matches "E7 $1: the kernel says why" "pinfs: version magic '.*' should be '${RELEASE//+/.} " "$(dmesg)"
	is "E7 $1: nothing is left" "0 0 $TAINTED" "$(grep -cw ^pinfs /proc/modules) $(grep -cw pinfs /proc/filesystems) $(
		</proc/sys/kernel/tainted)"
}

# The configuration of this kernel; fails if it tells of none.
configuration() {
	local file
	for file in "/lib/modules/$RELEASE/config" "/boot/config-$RELEASE"; do
		[[ -r $file ]] && cat "$file" && return
	done
	zcat /proc/config.gz 2>/dev/null
}

# The options of selftests/config that CONFIGURATION does not set, or that there are none.
not_set() {
	awk -F= '
		NR == FNR { if ($2 == "y" || $2 == "m") set[$1]; next }
		/^CONFIG_/ { count++; if (!($1 in set)) print $1 }
		END { if (!count) print "no options" }' - "$HERE/config" <<<"$1" || echo "no list"
}

errno_in() {
	[[ $1 == *"nvalid module format"* || $1 == *"xec format error"* ]] && echo ENOEXEC || echo "$1"
}

# altered NEW: our module, as if for the release NEW, of the same length.
altered() {
	[[ ${#1} -eq ${#RELEASE} ]] || return
	sed "s/vermagic=$RELEASE /vermagic=$1 /" "$PINFS_KO" >"$KO"
}

plan $((1 + 3 + 3 + 4 + 3 * ${#others[@]}))

# Without one of them a test is skipped or fails.
name="E7 this kernel has all that selftests/config lists"
if config=$(configuration); then
	is "$name" "" "$(not_set "$config")"
else
	skip "$name" "it does not tell its configuration; the build of the debug kernel compares"
fi

# Another series, and another build of the same.
altered "6${RELEASE#?}" && refused "a module of another series" "$KO"
altered "${RELEASE%?}0" && refused "a module of another flavour" "$KO"
for other in "${others[@]}"; do
	refused "${other##*/}" "$other"
done

succeeds "E7 ours is not" insmod "$PINFS_KO"
is "E7 it finds all that it hooks, as it knows it" "" "$(grep -Lx 1 /sys/fs/pinfs/features/*)"
# 7.2 refuses because of the module's hooks (EBUSY), 7.3 on principle (EOPNOTSUPP).
out=$(sysctl -w kernel.ftrace_enabled=0 2>&1)
matches "E7 and nobody can switch the hooks off" '^1 (Device or resource busy|Operation not supported)$' \
	"$(</proc/sys/kernel/ftrace_enabled) ${out##*: }"
succeeds "E7 and goes" rmmod pinfs
finish
