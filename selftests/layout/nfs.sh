#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Row B1 over NFS: the kernel's own server exports a pinfs, its client mounts it
# in the same guest, and truncates a file that is pinned.  Neither mountd nor
# exportfs is needed: the server's caches are filled by hand.  Makes a file
# system on $PINFS_DEV.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

NFSD=/proc/fs/nfsd
RPC=/proc/net/rpc
# Until when the caches' entries last, in seconds since the epoch.
FOREVER=2147483647
# NFSEXP_INSECURE_PORT, NFSEXP_NOSUBTREECHECK, NFSEXP_FSID.
OPTIONS=$((0x0002 | 0x0400 | 0x2000))

need_root_and_module
for driver in nfsd nfsv4; do
	modprobe "$driver" 2>/dev/null || skip_all "no $driver in this kernel"
done
make_mnt
is_loaded || insmod "$PINFS_KO" || skip_all "the module does not load"
EXPORT=$MNT/export CLIENT=$MNT/client
mkdir "$EXPORT" "$CLIENT"

nfs_down() {
	holder_end
	umount -f "$CLIENT" 2>/dev/null
	[[ -e $NFSD/threads ]] && echo 0 >"$NFSD"/threads
	for cache in auth.unix.ip nfsd.export nfsd.fh; do
		date +%s 2>/dev/null >"$RPC/$cache/flush"
	done
	umount "$NFSD" 2>/dev/null
	umount "$EXPORT" 2>/dev/null
	rmdir "$EXPORT" "$CLIENT" 2>/dev/null
	leave
}
trap nfs_down EXIT

nfs_up() {
	mountpoint -q "$NFSD" || mount -t nfsd nfsd "$NFSD" || return
	ip link set lo up
	echo '-3 +4 +4.1 +4.2' >"$NFSD"/versions
	echo 10 >"$NFSD"/nfsv4gracetime
	echo "nfsd 127.0.0.1 $FOREVER *" >"$RPC"/auth.unix.ip/channel || return
	echo "* $EXPORT $FOREVER $OPTIONS 65534 65534 0" >"$RPC"/nfsd.export/channel || return
	# FSID_NUM, 0: the root of NFSv4.
	printf '* 1 \\x00000000 %s %s\n' $FOREVER "$EXPORT" >"$RPC"/nfsd.fh/channel || return
	echo 'tcp 2049' >"$NFSD"/portlist || return
	echo 2 >"$NFSD"/threads || return
	# In the grace period of a new server the client mounts, but opens nothing for writing.
	within 60 mount -i -t nfs4 -o vers=4.2,addr=127.0.0.1,clientaddr=127.0.0.1,hard 127.0.0.1:/ "$CLIENT"
}

"$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null || skip_all "no pinfs on $PINFS_DEV"
mount -t pinfs "$PINFS_DEV" "$EXPORT" || skip_all "$PINFS_DEV is not mounted"
dd if=/dev/urandom of="$EXPORT/file" bs=4096 count=16 status=none
cp "$EXPORT/file" "$EXPORT/other"
chmod 666 "$EXPORT/file" "$EXPORT/other"
nfs_up || skip_all "the NFS server does not start"

plan 8
log_mark
is "B1_D7_the_client_sees_the_file" 65536 "$(stat -c %s "$CLIENT/file")"
# Nothing else is in the way of one.
succeeds "B1_D7_a_truncate_of_a_file_that_is_not_pinned" timeout -s KILL 60 truncate -s 0 "$CLIENT/other"
holder_start
is "B1_D7_pinned" 0 "$(hold "$EXPORT/file")"

# The client asks again until it is killed; it is not told of an I/O error.
truncate_status() {
	timeout -s KILL "$1" truncate -s 0 "$CLIENT/file" 2>/dev/null
	echo $?
}
is "B1_D7_a_truncate_of_a_pinned_file_is_to_be_tried_later" 137 "$(truncate_status 6)"
is "B1_D7_the_file_is_as_it_was" 65536 "$(stat -c %s "$EXPORT/file")"
# Others are served meanwhile.
truncate -s 0 "$CLIENT/file" 2>/dev/null &
waiting=$!
is "B1_D7_the_server_serves_others" 0 "$(timeout 20 ls "$CLIENT" >/dev/null; echo $?)"
holder_end
wait $waiting
is "B1_D7_it_goes_on_when_the_pins_have_ended" "0 0" "$? $(stat -c %s "$EXPORT/file")"
log_clean "B1_D7_nfsd_does_not_warn"
finish
