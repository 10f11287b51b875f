// SPDX-License-Identifier: GPL-2.0
/* The page cache entries of a DAX file. */

#include <linux/dax.h>
#include <linux/fs.h>
#include <linux/pagemap.h>
#include <linux/writeback.h>

#include "helpers.h"

/* Gives the first page in a range of the mapping the mark of a dirty one. */
void pinfs_helper_tag_dirty(struct inode *inode, pgoff_t first, pgoff_t last)
{
	XA_STATE(xas, &inode->i_mapping->i_pages, first);
	unsigned long flags;

	xas_lock_irqsave(&xas, flags);
	if (xas_find(&xas, last))
		xas_set_mark(&xas, PAGECACHE_TAG_DIRTY);
	xas_unlock_irqrestore(&xas, flags);
}

/*
 * Finds the page of a mapping that holds an index: its first index and its
 * number of pages, 0 if there is none.  Page faults change that, so they must be
 * kept out for the answer to last.
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
