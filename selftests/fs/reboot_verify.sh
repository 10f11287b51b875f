#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Row S1, second half: finds in the NVDIMM what reboot_write.sh left there
# when its machine was cut off.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

PINFS_DEV=${PINFS_DEV:-/dev/pinfs-nvdimm}
need_root_and_module
[[ -s /results/reboot.manifest ]] || skip_all "reboot_write.sh has left no list in /results"
make_mnt
log_mark
plan 10

is_loaded || insmod "$PINFS_KO"
succeeds "S1 mount after the machine was cut off" mount -t pinfs "$PINFS_DEV" "$MNT"
same_text "S1 contents after the machine was cut off" "$(</results/reboot.manifest)" \
	"$(manifest_of "$MNT/tree")"
is "S1 what was removed is gone" "grown mapped replaced tree" "$(cd "$MNT" && echo *)"
is "S1 stores through a mapping are there" "4194304 0" \
	"$(stat -c %s "$MNT/mapped") $(ask "open $MNT/mapped" map check)"
is "S3 a file replaced without a sync has its contents" new "$(<"$MNT/replaced")"
size=$(stat -c %s "$MNT/grown")
truncate -s 64K "$MNT/grown"
is "S3 what was appended without a sync does not come back when the file grows" 0 \
	"$(tail -c +$((size + 1)) "$MNT/grown" | tr -d '\0' | wc -c)"
make_tree "$MNT/after"
before=$(manifest_of "$MNT/after")
succeeds "S1 umount" umount "$MNT"
mount -t pinfs "$PINFS_DEV" "$MNT"
same_text "S1 it can be written to afterwards" "$before" "$(manifest_of "$MNT/after")"
rm -r "$MNT/after" "$MNT/tree" "$MNT"/{mapped,grown,replaced}
is "S1 and emptied" "" "$(ls -A "$MNT")"
umount "$MNT"
unload
log_clean "S1 the kernel has nothing to complain of"
finish
