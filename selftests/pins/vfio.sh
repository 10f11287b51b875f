#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# VFIO: gives the device that qemu/vm --iommu adds to vfio-pci, and runs
# pins_vfio with it on a pinfs on $PINFS_DEV.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

need_root_and_module
# QEMU's pci-testdev.
vendor=1b36 product=0005

device_of() {
	local dir
	for dir in /sys/bus/pci/devices/*; do
		if [[ $(<"$dir/vendor") == 0x$vendor && $(<"$dir/device") == 0x$product ]]; then
			echo "$dir"
			return
		fi
	done
	return 1
}

device=$(device_of) || skip_all "no device to give away here"
[[ -e $device/iommu_group ]] || skip_all "no IOMMU here"
modprobe -a vfio_iommu_type1 vfio-pci || skip_all "no vfio-pci here"
# Its interrupts are not kept apart: they are not used.
echo 1 >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts
echo "$vendor $product" >/sys/bus/pci/drivers/vfio-pci/new_id 2>/dev/null
group=$(basename "$(readlink "$device/iommu_group")")
within 10 test -e "/dev/vfio/$group" || skip_all "vfio-pci does not take the device"
make_mnt
trap leave EXIT

"$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null
is_loaded || insmod "$PINFS_KO"
mount -t pinfs "$PINFS_DEV" "$MNT"
PINFS_MNT=$MNT PINFS_VFIO_GROUP=/dev/vfio/$group "$HERE/pins_vfio"
