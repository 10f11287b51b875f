// SPDX-License-Identifier: GPL-2.0
/* The page cache entries of a DAX file. */

#include <linux/dax.h>
#include <linux/fs.h>
#include <linux/pagemap.h>
#include <linux/writeback.h>

#include "helpers.h"

/**
 * pinfs_helper_tag_dirty() - mark the first page in a range of a file dirty
 * @inode: the file
 * @first: index of the first page
 * @last: index of the last page
 *
 * One page is enough for writeback to visit the file.
 *
 * Context: any.  Takes the xa_lock of the mapping.
 */
void pinfs_helper_tag_dirty(struct inode *inode, pgoff_t first, pgoff_t last)
{
	XA_STATE(xas, &inode->i_mapping->i_pages, first);
	unsigned long flags;

	xas_lock_irqsave(&xas, flags);
	if (xas_find(&xas, last))
		xas_set_mark(&xas, PAGECACHE_TAG_DIRTY);
	xas_unlock_irqrestore(&xas, flags);
}

/**
 * pinfs_helper_dax_entry() - find the page of a file at an index
 * @inode: the file
 * @index: index in the file
 * @first: set to the first index of the page, if there is one
 * @dirty: set to whether the page is marked dirty, if there is one
 *
 * Context: any.  Takes the xa_lock of the mapping.  The answer only lasts while page
 * faults are excluded.
 * Return: size of the page in units of PAGE_SIZE, or 0 if there is none.
 */
unsigned long pinfs_helper_dax_entry(struct inode *inode, pgoff_t index, pgoff_t *first,
				     bool *dirty)
{
	XA_STATE(xas, &inode->i_mapping->i_pages, index);
	unsigned long pages = 0;
	unsigned long flags;

	if (mapping_empty(inode->i_mapping))
		return 0;
	xas_lock_irqsave(&xas, flags);
	if (xas_load(&xas)) {
		pages = 1UL << xas_get_order(&xas);
		*first = index & ~(pages - 1);
		*dirty = xas_get_mark(&xas, PAGECACHE_TAG_DIRTY);
	}
	xas_unlock_irqrestore(&xas, flags);
	return pages;
}

/**
 * pinfs_helper_dax_flush_range() - write back the dirty pages in a range
 * @inode: the file
 * @dax_dev: its device
 * @start: first byte
 * @end: last byte
 *
 * Context: may sleep.
 * Return: 0 or a negative errno.
 */
int pinfs_helper_dax_flush_range(struct inode *inode, struct dax_device *dax_dev,
				 loff_t start, loff_t end)
{
	struct writeback_control wbc = {
		.sync_mode = WB_SYNC_ALL,
		.nr_to_write = LONG_MAX,
		.range_start = start,
		.range_end = end,
	};

	return dax_writeback_mapping_range(inode->i_mapping, dax_dev, &wbc);
}
