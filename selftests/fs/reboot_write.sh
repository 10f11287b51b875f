#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Row S1, first half: fills the NVDIMM and leaves it mounted, at rest. The
# machine is then cut off, and reboot_verify.sh runs in the next one. The
# list of what must be found is kept in /results.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

PINFS_DEV=${PINFS_DEV:-/dev/pinfs-nvdimm}
need_root_and_module
MNT=/mnt
plan 5

succeeds "S1 mkfs" "$PINFS_MKFS" -f "$PINFS_DEV"
is_loaded || insmod "$PINFS_KO"
succeeds "S1 mount" mount -t pinfs "$PINFS_DEV" "$MNT"
make_tree "$MNT/tree"
# A second one that is gone again before the cut.
make_tree "$MNT/gone"
rm -r "$MNT/gone"
manifest_of "$MNT/tree" >/results/reboot.manifest
# Written by stores alone, made durable by msync().
truncate -s 4M "$MNT/mapped"
is "S1 stores through a mapping" 0 "$(ask "open $MNT/mapped" map store)"
echo old >"$MNT/replaced"
echo synced >"$MNT/grown"
succeeds "S1 sync" sync -f "$MNT"
# Not synced: a file that is replaced as editors do, and an append.
echo new >"$MNT/replacement"
mv "$MNT/replacement" "$MNT/replaced"
echo not synced >>"$MNT/grown"
succeeds "S1 the list is kept" sync /results/reboot.manifest
finish
