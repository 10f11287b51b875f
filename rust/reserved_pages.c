// SPDX-License-Identifier: GPL-2.0
/* Clears PG_reserved of pages of a device. */

#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page-flags.h>

#include "helpers.h"

/*
 * Clears PG_reserved of all pages of a subsection, the unit in which device memory is
 * added and removed, in order, and of the last page last: if that page is not marked,
 * no page is.  The first page would not do for it, as a device may keep its memmap
 * there, in pages without the mark.
 *
 * Each page of a huge one has its own mark.  ClearPageReserved() does not accept tail
 * pages.
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
 * @pfn: the first page frame
 * @count: number of pages, not 0
 *
 * Clears it of all pages of the subsections that the range touches.
 *
 * Context: any.  The caller has pinned the pages.
 */
void pinfs_helper_clear_reserved(unsigned long pfn, unsigned long count)
{
	unsigned long end = pfn + count;

	for (pfn |= ~PAGE_SUBSECTION_MASK; ; pfn += PAGES_PER_SUBSECTION) {
		clear_reserved_subsection(pfn_to_page(pfn));
		if (pfn >= end - 1)
			break;
	}
}
