// SPDX-License-Identifier: GPL-2.0
/* Clearing of PG_reserved on pages of a device. */

#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page-flags.h>

#include "helpers.h"

/*
 * Clears PG_reserved of all pages of a subsection, in order.  Device memory is added
 * and removed in subsections.  The last page is cleared last: if it is not marked, no
 * page is.  The first page would not tell this, as a device may keep its memmap
 * there, in pages without the mark.
 *
 * Each page of a huge page has its own mark.  ClearPageReserved() does not accept
 * tail pages.
 */
static void clear_reserved_subsection(struct page *last)
{
	struct page *page;

	if (!test_bit_acquire(PG_reserved, &last->flags.f))
		return;
	for (page = last - (PAGES_PER_SUBSECTION - 1); page != last; page++)
		if (test_bit(PG_reserved, &page->flags.f))
			clear_bit(PG_reserved, &page->flags.f);
	clear_bit_unlock(PG_reserved, &last->flags.f);
}

/**
 * pinfs_helper_clear_reserved() - clear PG_reserved of pages
 * @first: the first page
 * @last: the last page
 *
 * Clears it on all pages of the subsections that the range touches.  Does nothing
 * unless both pages are in one range of a device: such a range has struct pages for
 * whole subsections, also between two of its pages.
 *
 * Context: any.  The caller has pinned both pages.
 */
void pinfs_helper_clear_reserved(struct page *first, struct page *last)
{
	unsigned long pfn = page_to_pfn(first), end = page_to_pfn(last);

	if (!is_zone_device_page(first) ||
	    !zone_device_pages_have_same_pgmap(first, last) ||
	    page_pgmap(first)->nr_range != 1)
		return;
	for (pfn |= ~PAGE_SUBSECTION_MASK; ; pfn += PAGES_PER_SUBSECTION) {
		clear_reserved_subsection(pfn_to_page(pfn));
		if (pfn >= end)
			break;
	}
}
