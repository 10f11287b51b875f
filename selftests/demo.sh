#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The main job of pinfs, as a transcript: every value in it is an answer of
# the running kernel. Ends with a message and status 1 at the first answer
# that is not the promised one. All data on the regions is lost.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

bold='' dim='' plain=''
if [[ -t 1 ]]; then
	bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi
step_number=0
region=''

step() {
	step_number=$((step_number + 1))
	printf '\n%s%2d. %s%s\n' "$bold" "$step_number" "$*" "$plain"
}

# line WHO CALL ANSWER
line() {
	printf '    %s%-8s%s %-56s %s\n' "$dim" "$1" "$plain" "$2" "$3"
}

stop() {
	printf '\ndemo: %s\n' "$*" >&2
	exit 1
}

# answers WHO CALL PROMISED SEEN
answers() {
	line "$1" "$2" "$4"
	[[ $4 == "$3" ]] || stop "$2 answered '$4', promised was '$3'"
}

# shell CALL PROMISED COMMAND...: what a command of the administrator says.
shell() {
	local call=$1 promised=$2 seen
	shift 2
	seen=$(error_of "$@")
	[[ $seen != 0 ]] || seen=ok
	answers "#" "$call" "$promised" "$seen"
}

# holder CALL PROMISED COMMAND...: the process that pins; its answers.
holder() {
	local call=$1 promised=$2 seen='' command
	shift 2
	for command; do
		seen+=${seen:+ }$(tell "$command")
	done
	answers "holder" "$call" "$promised" "$seen"
}

# shows CALL PATTERN TEXT: several lines, one of which must match.
shows() {
	local text
	line '#' "$1" ""
	while IFS= read -r text; do
		printf '             | %s\n' "$text"
	done <<<"$3"
	grep -qE -- "$2" <<<"$3" || stop "$1 lacks a line that matches '$2'"
}

taint() {
	local value text=''
	value=$(</proc/sys/kernel/tainted)
	((value & 4096)) && text+=O
	((value & 8192)) && text+=E
	((value & ~12288)) && text+='?'
	echo "$value${text:+ ($text)}"
}

# The kernel's view from the outside: holder's pid, ring and data file.
views() {
	shows "cat /proc/$pid/file_pins" "^$ring: anon_inode:\[io_uring\]\$" "$(cat "/proc/$pid/file_pins")"
	grep -qF "	$FILE" "/proc/$pid/file_pins" || stop "file_pins does not name $FILE"
}

global_view() {
	shows "cat /proc/fs/pinfs/pins" " 0 1048576 256 exclusive $1 $pid $FILE\$" "$(cat /proc/fs/pinfs/pins)"
}

mount_it() {
	PINFS_DEV=$(readlink -f "/dev/pinfs-$region")
	FILE=$MNT/data
	[[ -b $PINFS_DEV ]] || stop "there is no /dev/pinfs-$region"
	shell "mkfs.pinfs -f $PINFS_DEV" ok "$PINFS_MKFS" -f "$PINFS_DEV"
	shell "mount -t pinfs $PINFS_DEV $MNT" ok mount -t pinfs "$PINFS_DEV" "$MNT"
	shell "head -c 1M /dev/urandom > data" ok dd if=/dev/urandom of="$FILE" bs=1M count=1 status=none
}

start_holder() {
	holder_start
	pid=$(tell pid)
	holder "open(\"data\", O_RDWR), mmap 1 MiB MAP_SHARED" "0 0" "open $FILE" map
	holder "io_uring_queue_init()" 0 ring
	ring=$(tell ringfd)
}

main_job() {
	step "A file system on ${1}"
	mount_it

	step "A process maps a file and registers the mapping with io_uring: a long-term pin"
	start_holder
	holder "IORING_REGISTER_BUFFERS, without a lease" EOPNOTSUPP register
	shell "fallocate --punch-hole -l 4096 data" ok timeout 10 fallocate --punch-hole -l 4096 "$FILE"

	step "It takes an exclusive layout lease, and pins"
	holder "fcntl(fd, F_SETLEASE, F_LAYOUT|F_EXCLUSIVE)" 0 "lease exclusive"
	holder "fcntl(fd, F_GETLEASE)" 48 getlease
	holder "IORING_REGISTER_BUFFERS" 0 register

	step "The administrator sees who holds what"
	views
	global_view active

	step "Nothing can take the blocks away from under the device"
	shell "truncate -s 0 data" ETXTBSY timeout 10 truncate -s 0 "$FILE"
	shell "fallocate --punch-hole -l 4096 data" ETXTBSY timeout 10 fallocate --punch-hole -l 4096 "$FILE"
	holder "fcntl(fd, F_SETLEASE, F_UNLCK)" EBUSY "lease unlock"
	shell "rmmod pinfs" EBUSY rmmod pinfs

	step "Not even when the file is closed and unmapped: the pins are still there, and listed"
	holder "close(fd), munmap()" "0 0" close unmap
	views
	global_view orphaned
	shell "truncate -s 0 data" ETXTBSY timeout 10 truncate -s 0 "$FILE"
	shell "umount $MNT" EBUSY umount "$MNT"

	step "The last pin goes, and with it everything that was held"
	holder "IORING_UNREGISTER_BUFFERS" 0 unregister
	answers '#' "cat /proc/$pid/file_pins" "" "$(cat "/proc/$pid/file_pins")"
	shell "truncate -s 0 data" ok timeout 10 truncate -s 0 "$FILE"
	holder_end
	shell "umount $MNT" ok umount "$MNT"
}

# The same once more, without the looks around.
main_job_in_brief() {
	step "The same on $1"
	mount_it
	start_holder
	holder "IORING_REGISTER_BUFFERS, without a lease" EOPNOTSUPP register
	holder "F_SETLEASE F_LAYOUT|F_EXCLUSIVE, IORING_REGISTER_BUFFERS" "0 0" "lease exclusive" register
	holder "close(fd), munmap()" "0 0" close unmap
	views
	shell "truncate -s 0 data" ETXTBSY timeout 10 truncate -s 0 "$FILE"
	holder "IORING_UNREGISTER_BUFFERS" 0 unregister
	shell "truncate -s 0 data" ok timeout 10 truncate -s 0 "$FILE"
	holder_end
	shell "umount $MNT" ok umount "$MNT"
}

# perftest's ib_write_bw as it comes: it knows no leases, so pinctl takes one and becomes it.
rdma_job() {
	local pid server='' client=''
	step "RDMA: a program that knows nothing of leases receives into a file"
	mount_it
	shell "truncate -s 0 data; truncate -s 1M data" ok truncate -s 0 "$FILE"
	truncate -s 1M "$FILE"
	rdma_server "$FILE" -n20
	within 20 rdma_listens
	rdma_client -n20
	wait "$server" && stop "ib_write_bw --mmap=data got a memory region without a lease"
	wait "$client"
	line server "ib_write_bw --mmap=data" "fails: ibv_reg_mr() is EOPNOTSUPP"
	rdma_server "$FILE" --run_infinitely "$PINCTL" run -l "$FILE" --
	within 20 rdma_listens
	line server "pinctl run -l data -- ib_write_bw --mmap=data" "waits for its client"
	rdma_client --run_infinitely
	within 30 rdma_written "$FILE" || stop "no byte came over RDMA"
	line client "ib_write_bw 192.0.2.1" "its bytes are in the file"
	shows "pinctl holders data" "^$server +ib_write_bw +yes +fd [0-9]+ /dev/infiniband/uverbs[0-9]+\$" "$("$PINCTL" holders "$FILE")"
	shows "cat /proc/$server/file_pins" "^	$FILE\$" "$(cat "/proc/$server/file_pins")"
	shell "truncate -s 0 data" ETXTBSY timeout 10 truncate -s 0 "$FILE"
	kill -9 "$server"
	shell "kill -9 $server; pinctl wait -t 10 data" ok "$PINCTL" wait -t 10 "$FILE"
	kill -9 "$client"
	wait "$server" "$client" 2>/dev/null
	shell "truncate -s 0 data" ok timeout 10 truncate -s 0 "$FILE"
	shell "umount $MNT" ok umount "$MNT"
}

[[ $EUID -eq 0 ]] || stop "not root"
[[ -r $PINFS_KO && -x $PINFS_MKFS ]] || stop "$PINFS_KO or $PINFS_MKFS is missing"
MNT=/mnt/pinfs
mkdir -p "$MNT"
pinctl_here || stop "$PINCTL is missing"
trap 'leave; rdma_down; rm -f "$PINCTL"' EXIT
unload || stop "pinfs is loaded and in use"
log_mark

step "The stock kernel, and the module"
line '#' "uname -r" "$(uname -r)"
line '#' "cat /proc/sys/kernel/tainted" "$(taint)"
answers '#' "test -e /proc/self/file_pins" 1 "$(status_of test -e /proc/self/file_pins)"
shell "insmod pinfs.ko" ok insmod "$PINFS_KO"
answers '#' "cat /proc/sys/kernel/tainted" "12288 (OE)" "$(taint)"
line '' "" "(out of tree, unsigned; nothing else)"

region=memmap
main_job "DRAM that memmap= declares persistent"
region=nvdimm
main_job_in_brief "an NVDIMM"
if rdma_up; then
	rdma_job
else
	line '' "" "(no soft-RoCE or no perftest here: RDMA is not shown)"
fi

step "The module goes, and leaves nothing"
shell "rmmod pinfs" ok rmmod pinfs
answers '#' "test -e /proc/self/file_pins" 1 "$(status_of test -e /proc/self/file_pins)"
if found=$(log_faults); then
	stop "the kernel complained: $found"
fi
line '#' "dmesg: warnings and faults since the start" "none"
echo
echo "kernel log: clean"
