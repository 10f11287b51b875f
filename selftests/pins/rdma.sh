#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# RDMA by programs that know nothing of leases: perftest's ib_write_bw --mmap,
# under pinctl, whose own commands are tried on what it holds. Makes a pinfs on
# $PINFS_DEV.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

need_root_and_module
pinctl_here || skip_all "no pinctl at $PINCTL"
rdma_up || skip_all "no soft-RoCE (rdma_rxe, rdma(8)) or no perftest here"
make_mnt
trap 'rm -f "$PINCTL"; kill $(jobs -p) 2>/dev/null; leave; rdma_down' EXIT
log_mark

file=$MNT/data

pinned() {
	"$PINCTL" ls "$file" | grep -q "^0 .* exclusive *active .*(ib_write_bw)"
}

plan 16
"$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null
is_loaded || insmod "$PINFS_KO"
mount -t pinfs "$PINFS_DEV" "$MNT"
truncate -s 4M "$file"

rdma_server "$file" -n20
within 20 rdma_listens
rdma_client -n20
wait "$server"
succeeds "P1 P7 ib_write_bw --mmap fails without a lease" test $? -ne 0
wait "$client"
is "P1 and pins nothing" "" "$("$PINCTL" ls "$file" | tail -n +2)"
is "pinctl holders of a free file: nobody, status 1" "1" "$("$PINCTL" holders "$file"; echo $?)"
succeeds "pinctl wait for a free file returns at once" "$PINCTL" wait -t 0 "$file"

# Until it is killed, to be looked at meanwhile.
rdma_server "$file" --run_infinitely "$PINCTL" run --lease "$file" --
within 20 rdma_listens
is "L2 pinctl run: the file is leased to the program" "$server ib_write_bw yes" \
	"$("$PINCTL" holders "$file" | awk 'NR > 1 { print $1, $2, $3 }')"
other=$("$PINCTL" run -l "$file" -- true 2>&1)
is "L2 pinctl run: the lease is another's, status 2" 2 $?
matches "L2 and it says so" "somebody else has a lease" "$other"
rdma_client --run_infinitely
succeeds "P7 ib_write_bw has its memory region in the file, and pinctl ls shows it" within 20 pinned
matches "F1 pinctl holders names the descriptor" "fd [0-9]+ /dev/infiniband/uverbs[0-9]+" "$("$PINCTL" holders "$file")"
matches "F5 pinctl ls --json" '"kind": "exclusive".*"path": "'"$file"'"' "$("$PINCTL" ls --json "$MNT")"
"$PINCTL" wait -t 0.1 "$file"
is "pinctl wait: status 1 when the time is over" 1 $?
is "B1 truncate meanwhile" ETXTBSY "$(error_of truncate -s 0 "$file")"
succeeds "P7 ib_write_bw writes over RDMA into the file" within 20 rdma_written "$file"
kill -9 "$server"
succeeds "F6 the holder is killed: pinctl wait sees the file free" "$PINCTL" wait -t 10 "$file"
kill -9 "$client"
wait "$client" "$server" 2>/dev/null
sum=$(sha256sum <"$file")
umount "$MNT"
mount -t pinfs "$PINFS_DEV" "$MNT"
is "P7 S1 what the device wrote is there after a remount" "$sum written" \
	"$(sha256sum <"$file") $(rdma_written "$file" && echo written)"
within 5 umount "$MNT"
unload
log_clean "P7 the kernel has nothing to complain of"
finish
