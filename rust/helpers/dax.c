// SPDX-License-Identifier: GPL-2.0
/* Wrappers: pages and folios of DAX devices. */

#include <linux/dax.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/wait_bit.h>

bool pinfs_helper_daxdev_mapping_supported(const struct vm_area_desc *desc,
					   const struct inode *inode,
					   struct dax_device *dax_dev)
{
	return daxdev_mapping_supported(desc, inode, dax_dev);
}

bool pinfs_helper_dax_page_is_idle(struct page *page)
{
	return dax_page_is_idle(page);
}

/* Returns the size of a page's folio, and sets @start to its offset in the file. */
u64 pinfs_helper_dax_folio_range(struct page *page, u64 *start)
{
	struct folio *folio = page_folio(page);

	*start = folio_pos(folio);
	return folio_size(folio);
}

bool pinfs_helper_page_mapped(struct page *page)
{
	return folio_mapped(page_folio(page));
}

/*
 * Waits until a page is idle, until @stop returns true, or for at most @msecs.  @stop
 * is called after each wake-up, and must not sleep.  Returns 0 after a timeout,
 * -ERESTARTSYS after a fatal signal, and a positive number otherwise.
 */
long pinfs_helper_wait_page_idle_killable(struct page *page,
					  unsigned int msecs,
					  bool (*stop)(void *), void *arg)
{
	return ___wait_var_event(page,
				 ___wait_cond_timeout(dax_page_is_idle(page) ||
						      stop(arg)),
				 TASK_KILLABLE, 0, msecs_to_jiffies(msecs),
				 __ret = schedule_timeout(__ret));
}

void pinfs_helper_wake_page(unsigned long pfn)
{
	wake_up_var(pfn_to_page(pfn));
}
