# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the shell tests share: KTAP, the module, mounts, and a process that
# holds leases and pins. Sourced, never run.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PINFS_KO=${PINFS_KO:-/pinfs/pinfs.ko}
PINFS_MKFS=${PINFS_MKFS:-/pinfs/bin/mkfs.pinfs}
PINFS_FSCK=${PINFS_FSCK:-/pinfs/bin/fsck.pinfs}
KSFT_SKIP=4

# ---- KTAP ----

ktap_planned=0
ktap_done=0
ktap_failed=0

plan() {
	ktap_planned=$1
	echo "KTAP version 1"
	echo "1..$1"
}

# A plan of no test: the program as a whole does not apply here.
skip_all() {
	echo "KTAP version 1"
	echo "1..0 # SKIP $*"
	exit $KSFT_SKIP
}

diag() {
	local line
	while IFS= read -r line; do
		echo "# $line"
	done <<<"$*"
}

pass() {
	ktap_done=$((ktap_done + 1))
	echo "ok $ktap_done $1"
}

# fail NAME [WHY...]
fail() {
	local name=$1
	shift
	ktap_done=$((ktap_done + 1))
	ktap_failed=$((ktap_failed + 1))
	[[ $# -eq 0 ]] || diag "$*"
	echo "not ok $ktap_done $name"
}

skip() {
	ktap_done=$((ktap_done + 1))
	echo "ok $ktap_done $1 # SKIP $2"
}

# is NAME EXPECTED SEEN
is() {
	if [[ $2 == "$3" ]]; then
		pass "$1"
	else
		fail "$1" "expected '$2', seen '$3'"
	fi
}

# same_text NAME EXPECTED SEEN: long ones, of which only the difference is shown.
same_text() {
	local dir
	if [[ $2 == "$3" ]]; then
		pass "$1"
		return
	fi
	dir=$(mktemp -d /tmp/pinfs-diff.XXXXXX)
	echo "$2" >"$dir/expected"
	echo "$3" >"$dir/seen"
	fail "$1" "expected (-), seen (+):"$'\n'"$(diff -U0 "$dir/expected" "$dir/seen" | tail -n +4 | head -n 20)"
	rm -r "$dir"
}

# matches NAME PATTERN SEEN: an extended regular expression.
matches() {
	if [[ $3 =~ $2 ]]; then
		pass "$1"
	else
		fail "$1" "expected a match of '$2', seen '$3'"
	fi
}

# succeeds NAME COMMAND...
succeeds() {
	local name=$1 out status
	shift
	if out=$("$@" 2>&1); then
		pass "$name"
	else
		status=$?
		fail "$name" "expected success of '$*', seen status $status: $out"
	fi
}

finish() {
	if [[ $ktap_done -ne $ktap_planned ]]; then
		diag "planned $ktap_planned cases, ran $ktap_done"
		exit 1
	fi
	[[ $ktap_failed -eq 0 ]]
	exit
}

# ---- how much to do ----

# amount_of SLICE FULL [AMOUNT]: how much to do. `slice` is what every run of
# the tests can afford, `full` what a long one wants; a number is itself.
amount_of() {
	case ${3:-${PINFS_AMOUNT:-slice}} in
	slice) echo "$1" ;;
	full) echo "$2" ;;
	*[!0-9]*) echo "amount: slice, full or a number" >&2 && exit 2 ;;
	*) echo "${3:-$PINFS_AMOUNT}" ;;
	esac
}

# ---- what is on the device ----

# read_head MIB: the first of the device, past the page cache.
read_head() {
	dd if="$PINFS_DEV" iflag=direct bs=1M count="$1" status=none
}

# tree_nodes FILE: where it has tree nodes, in the order of their blocks.
tree_nodes() {
	LC_ALL=C grep -abo pNod "$1" | cut -d: -f1 | while read -r at; do
		((at % 4096)) || echo "$at"
	done
}

# spoil OFFSET: changes a byte in a block of the device, past the page cache.
spoil() {
	dd if="$PINFS_DEV" of="$WORK/block" iflag=direct bs=4096 count=1 skip=$(($1 / 4096)) status=none
	printf '\125' | dd of="$WORK/block" bs=1 seek=100 conv=notrunc status=none
	dd if="$WORK/block" of="$PINFS_DEV" oflag=direct bs=4096 count=1 seek=$(($1 / 4096)) conv=notrunc status=none
}

# ---- the kernel's log ----

# Messages since a mark: the log is a ring, so by a line of our own. If that
# has been pushed out, all that is left came later.
log_mark() {
	mark="pinfs-selftest $$ $RANDOM$RANDOM"
	echo "$mark" >/dev/kmsg
}

log_since() {
	dmesg --notime | awk -v mark="$mark" '
		index($0, mark) { seen = NR }
		{ line[NR] = $0 }
		END { for (i = seen + 1; i <= NR; i++) print line[i] }'
}

# What the kernel says when something is wrong with it.
FAULTS='WARNING:|BUG:|Oops|general protection|KASAN|UBSAN|Call Trace|refcount_t|blocked for more than|detected stall'

# The faults since the mark; fails if there are none.
log_faults() {
	log_since | awk -f "$(dirname "${BASH_SOURCE[0]}")/others_reports.awk" | grep -E "$FAULTS"
}

# log_clean NAME: no fault since the mark.
log_clean() {
	local found
	if found=$(log_faults); then
		fail "$1" "in the kernel's log:"$'\n'"$(head -n 10 <<<"$found")"
	else
		pass "$1"
	fi
}

# ---- module, file system ----

# Needs said once for every test that loads and mounts by itself.
need_root_and_module() {
	[[ $EUID -eq 0 ]] || skip_all "not root"
	[[ -r $PINFS_KO ]] || skip_all "no module at $PINFS_KO"
	[[ -x $PINFS_MKFS ]] || skip_all "no mkfs.pinfs at $PINFS_MKFS"
	[[ -b ${PINFS_DEV:-} ]] || skip_all "PINFS_DEV is no block device"
	PINFS_DEV=$(readlink -f "$PINFS_DEV")
	! is_mounted "$PINFS_DEV" || skip_all "$PINFS_DEV is mounted"
}

is_loaded() {
	[[ -d /sys/module/pinfs ]]
}

is_mounted() {
	local dev
	while read -r dev _; do
		[[ $dev != "$1" ]] || return 0
	done </proc/mounts
	return 1
}

unload() {
	! is_loaded || rmmod pinfs
}

# fsck_clean NAME: the unmounted file system on $PINFS_DEV has nothing wrong.
fsck_clean() {
	if [[ -x $PINFS_FSCK ]]; then
		succeeds "$1" "$PINFS_FSCK" -n -f "$PINFS_DEV"
	else
		skip "$1" "no fsck.pinfs at $PINFS_FSCK"
	fi
}

# A mount point of our own, gone with the script.
make_mnt() {
	MNT=$(mktemp -d /tmp/pinfs-mnt.XXXXXX)
	trap leave EXIT
}

leave() {
	holder_end
	cd /
	while umount "$MNT" 2>/dev/null; do :; done
	rmdir "$MNT" 2>/dev/null
}

# error_of COMMAND...: runs it and prints how it ended, by the name of the
# error that mount, rmmod and the like put into words.
error_of() {
	local out
	if out=$(LC_ALL=C "$@" 2>&1 >/dev/null); then
		echo 0
		return
	fi
	case $out in
	*"Device or resource busy"* | *"target is busy"* | *"in use"* | *EBUSY*) echo EBUSY ;;
	*"Resource temporarily unavailable"* | *EAGAIN*) echo EAGAIN ;;
	*"File exists"* | *EEXIST*) echo EEXIST ;;
	*"Text file busy"* | *ETXTBSY*) echo ETXTBSY ;;
	*"Read-only file system"* | *"write-protected"* | *EROFS*) echo EROFS ;;
	*"Structure needs cleaning"* | *EUCLEAN*) echo EUCLEAN ;;
	*"Operation not supported"* | *EOPNOTSUPP*) echo EOPNOTSUPP ;;
	*"wrong fs type"* | *"Invalid argument"* | *"bad option"* | *EINVAL*) echo EINVAL ;;
	*"unknown filesystem type"* | *"No such device"* | *ENODEV*) echo ENODEV ;;
	*) echo "$out" ;;
	esac
}

# status_of COMMAND...: runs it and prints its status.
status_of() {
	"$@"
	echo $?
}

# Repeats COMMAND until it succeeds, for at most so many seconds.
within() {
	local end=$((SECONDS + $1 + 1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || return 1
		sleep 0.02
	done
}

# ---- a process that holds things ----

holder=''

# Its ends as ordinary descriptors: those of a coproc are not there in $(...).
holder_start() {
	coproc HOLDER { exec "$HERE/pindemo"; }
	holder=$HOLDER_PID
	exec {holder_in}>&"${HOLDER[1]}" {holder_out}<&"${HOLDER[0]}"
	eval "exec ${HOLDER[1]}>&- ${HOLDER[0]}<&-"
}

# tell COMMAND...: its answer; a holder that is stuck or gone says so.
tell() {
	local answer
	echo "$*" >&"$holder_in" || { echo gone; return; }
	if read -rt 20 answer <&"$holder_out"; then
		echo "$answer"
	else
		echo "no answer"
	fi
}

# hold FILE: lease, map and register; the answer of the first step that fails.
hold() {
	local step answer
	for step in "open $1" "lease exclusive" map ring register; do
		answer=$(tell "$step")
		[[ $answer == 0 ]] || { echo "$step: $answer"; return; }
	done
	echo 0
}

# The end of its input is its end.
holder_end() {
	[[ $holder ]] || return 0
	exec {holder_in}>&- {holder_out}<&-
	within 10 is_gone "$holder" || kill -9 "$holder"
	wait "$holder" 2>/dev/null
	holder=''
}

is_gone() {
	[[ ! -e /proc/$1 ]] || grep -q '^State:.Z' "/proc/$1/status"
}

# One-shot: the answers of a process of its own to the commands given.
ask() {
	local IFS=$'\n'
	"$HERE/pindemo" <<<"$*" | tail -n 1
}

# ---- a process that maps a file or a device ----

mapper=''

mapper_start() {
	coproc MAPPER { exec "$HERE/mapper"; }
	mapper=$MAPPER_PID
	exec {mapper_in}>&"${MAPPER[1]}" {mapper_out}<&"${MAPPER[0]}"
	eval "exec ${MAPPER[1]}>&- ${MAPPER[0]}<&-"
}

# ask_mapper COMMAND...: its answer.
ask_mapper() {
	local answer
	echo "$*" >&"$mapper_in"
	if read -rt 60 answer <&"$mapper_out"; then
		echo "$answer"
	else
		echo "no answer"
	fi
}

mapper_end() {
	[[ $mapper ]] || return 0
	exec {mapper_in}>&- {mapper_out}<&-
	wait "$mapper" 2>/dev/null
	mapper=''
}

# ---- RDMA, by perftest ----

rdma_device=''
rdma_args=(-F -s 65536)

# The pinctl to use, from memory: one that is read over the wire takes seconds to start.
pinctl_here() {
	local tool
	[[ -x ${PINCTL:=$HERE/../bin/pinctl} ]] || return 1
	tool=$(mktemp /tmp/pinctl.XXXXXX)
	install -m 0755 "$PINCTL" "$tool"
	PINCTL=$tool
}

# rdma_up: a soft-RoCE device, until rdma_down.
rdma_up() {
	command -v ib_write_bw >/dev/null && rdma_device=$(sh "$HERE/rdma_link.sh" up)
}

rdma_down() {
	sh "$HERE/rdma_link.sh" down
}

# rdma_server FILE ARGUMENT [WRAPPER...]: waits for a client, and lets it write into the file. Its process is $server.
rdma_server() {
	"${@:3}" ib_write_bw -d "$rdma_device" "${rdma_args[@]}" "$2" --mmap="$1" >/dev/null 2>&1 &
	# shellcheck disable=SC2034 # the caller's
	server=$!
}

rdma_listens() {
	ss -Hltn 'sport = :18515' | grep -q .
}

# rdma_client ARGUMENT: writes into the server's file. Its process is $client.
rdma_client() {
	ib_write_bw -d "$rdma_device" "${rdma_args[@]}" "$1" 192.0.2.1 >/dev/null 2>&1 &
	# shellcheck disable=SC2034 # the caller's
	client=$!
}

# Whether a device has written into the file, which was a hole.
rdma_written() {
	! cmp -s -n 65536 "$1" /dev/zero
}

# ---- a tree to be found again ----

# make_tree DIR: files of many sizes, holes, links, directories, modes, times.
make_tree() {
	local i size
	mkdir -p "$1/deep/er/and/deeper" "$1/empty" "$1/many"
	for size in 0 1 100 4095 4096 4097 70000 3000000; do
		head -c "$size" /dev/urandom >"$1/size-$size"
	done
	truncate -s 5000000 "$1/hole"
	printf x | dd of="$1/hole" bs=1 seek=1000000 conv=notrunc status=none
	for ((i = 0; i < 300; i++)); do
		echo "$i" >"$1/many/name-$i"
	done
	for ((i = 0; i < 300; i += 3)); do
		rm "$1/many/name-$i"
	done
	ln -s size-100 "$1/short"
	ln -s "$(printf 'long/%.0s' {1..50})end" "$1/long"
	ln -s ../../size-4096 "$1/deep/er/up"
	cp "$1/size-70000" "$1/deep/er/and/deeper/copy"
	chmod 4751 "$1/size-100"
	chown 1000:2000 "$1/size-4095"
	touch -d '2001-02-03 04:05:06.789' "$1/size-4096"
	mv "$1/size-4097" "$1/deep/moved"
	printf 'new name' >"$1/"$'tab\tand newline\n'
}

# manifest_of DIR: everything about the tree that must be kept.
manifest_of() (
	cd "$1" || exit
	find . -printf '%P|%y|%m|%U|%G|%s|%n|%T@|%l\n' | LC_ALL=C sort
	find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum -b
)
