#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
#	powerloss_images.sh DIR
#
# For tests/powerloss/run: mounts each DIR/*.image, which is what power loss has
# left of a file system, and compares with DIR/*.tree, which is what the code
# of the module made of it when it ran elsewhere. Prints what differs.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

dev=/dev/pinfs-memmap
count=0 bad=0
is_loaded || insmod "$PINFS_KO" || exit 1

complain() {
	echo "${1##*/}: $2"
	bad=$((bad + 1))
}

for image in "$1"/*.image; do
	[[ -e $image ]] || continue
	count=$((count + 1))
	dd if="$image" of="$dev" bs=1M conv=fsync status=none || complain "$image" "cannot be copied"
	if ! seen=$("$HERE/powerloss_workload" "$dev" /mnt tree); then
		complain "$image" "cannot be mounted"
	elif [[ $(sort <<<"$seen") != "$(sort "${image%.image}.tree")" ]]; then
		complain "$image" "shows something else:"$'\n'"$seen"
	elif ! out=$("$PINFS_FSCK" -n -f "$dev"); then
		complain "$image" "$out"
	fi
done
echo "$count images, $bad of them bad"
[[ $count -gt 0 && $bad -eq 0 ]]
