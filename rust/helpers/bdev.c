// SPDX-License-Identifier: GPL-2.0
/* Wrappers: block devices. */

#include <linux/blkdev.h>

bool pinfs_helper_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

u64 pinfs_helper_bdev_nr_bytes(struct block_device *bdev)
{
	return bdev_nr_bytes(bdev);
}

/* Returns true if fs_dax_get_by_bdev() refuses a disk that has DAX. */
bool pinfs_helper_bdev_dax_misaligned(struct block_device *bdev)
{
	return blk_queue_dax(bdev_get_queue(bdev)) &&
	       ((get_start_sect(bdev) | bdev_nr_sectors(bdev)) * SECTOR_SIZE) % PAGE_SIZE;
}
