#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Row P9: with pinfs loaded, mounted and holding a pin, another DAX file
# system still gives the plain kernel's answers. Makes a pinfs on $PINFS_DEV
# and an ext4 on $PINFS_OTHER_DEV.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

need_root_and_module
[[ -b ${PINFS_OTHER_DEV:-} ]] || skip_all "PINFS_OTHER_DEV is no block device"
! is_mounted "$(readlink -f "$PINFS_OTHER_DEV")" || skip_all "$PINFS_OTHER_DEV is mounted"
command -v mkfs.ext4 >/dev/null || skip_all "no mkfs.ext4"

# Two mounts below one mount point: what is over it goes first.
make_mnt
trap 'umount "$MNT/ext4" 2>/dev/null; leave' EXIT
mkfs.ext4 -q -F -b 4096 "$PINFS_OTHER_DEV" || skip_all "mkfs.ext4 fails on $PINFS_OTHER_DEV"
log_mark

on_ext4() {
	ask "open $MNT/ext4/file" "$@"
}

"$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null
is_loaded || insmod "$PINFS_KO"
mount -t pinfs "$PINFS_DEV" "$MNT"
mkdir "$MNT/ext4"
if ! mount -t ext4 -o dax=always "$PINFS_OTHER_DEV" "$MNT/ext4" 2>/dev/null; then
	skip_all "ext4 does no DAX on $PINFS_OTHER_DEV"
fi
plan 9
head -c 65536 /dev/zero >"$MNT/ext4/file"
head -c 65536 /dev/zero >"$MNT/file"

is "P9 ext4: a registration is EOPNOTSUPP" EOPNOTSUPP "$(on_ext4 map ring register)"
is "P9 ext4: a layout lease is EINVAL" EINVAL "$(on_ext4 "lease exclusive")"
holder_start
is "P9 pinfs: lease and registration" 0 "$(hold "$MNT/file")"
is "P9 ext4: a registration is EOPNOTSUPP while pins live" EOPNOTSUPP "$(on_ext4 map ring register)"
is "P9 ext4: a layout lease is EINVAL while pins live" EINVAL "$(on_ext4 "lease exclusive")"
is "P9 ext4: classic leases work" 0 "$(on_ext4 "lease 1")"
is "P9 ext4: truncate works" 0 "$(error_of truncate -s 0 "$MNT/ext4/file")"
is "P9 pinfs: truncate is refused" ETXTBSY "$(error_of truncate -s 0 "$MNT/file")"
holder_end
umount "$MNT/ext4"
within 5 umount "$MNT"
unload
log_clean "P9 the kernel has nothing to complain of"
wipefs -aq "$PINFS_OTHER_DEV"
finish
