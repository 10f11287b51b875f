// SPDX-License-Identifier: GPL-2.0
/* The mark PG_reserved of pages of a device. */

#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page-flags.h>

#include "helpers.h"

/*
 * All pages of a subsection, the unit that memory of devices comes and goes in,
 * the last of them last: if that has no mark, none has.  The first would not do
 * for it, as a device may keep its memmap there, in pages without one.
 *
 * Each page of a huge one has its own mark.  ClearPageReserved() would not have
 * that: the others are not folios.
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

void pinfs_helper_clear_reserved(unsigned long pfn, unsigned long count)
{
	unsigned long end = pfn + count;

	for (pfn |= ~PAGE_SUBSECTION_MASK; ; pfn += PAGES_PER_SUBSECTION) {
		clear_reserved_subsection(pfn_to_page(pfn));
		if (pfn >= end - 1)
			break;
	}
}
