// SPDX-License-Identifier: GPL-2.0
/* Wrappers: pages that are pinned or unpinned. */

#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

/*
 * Finds where a page is in a file.  Returns false if the page is not in a DAX file.
 * The result is outdated unless the caller has a reference to the page.
 */
bool pinfs_helper_page_place(struct page *page, struct pinfs_page_place *place)
{
	struct folio *folio = page_folio(page);
	struct address_space *mapping;

	if (!folio_is_fsdax(folio))
		return false;
	mapping = READ_ONCE(folio->mapping);
	if (!mapping)
		return false;
	place->inode = mapping->host;
	place->index = folio->index;
	place->pfn = folio_pfn(folio);
	place->page = folio_page_idx(folio, page);
	place->order = folio_order(folio);
	return true;
}

/*
 * Returns the number of pins of a page frame's folio.  Without a pin count it is
 * derived from the reference count.  The map count is read later, and mappings may
 * come and go in between: rounding to the nearest pin makes up for that, and for a
 * few references of other kinds.
 */
unsigned long pinfs_helper_pfn_pins(unsigned long pfn)
{
	struct folio *folio = page_folio(pfn_to_page(pfn));
	int refs;

	if (folio_has_pincount(folio))
		return max(atomic_read(&folio->_pincount), 0);
	refs = folio_ref_count(folio);
	refs -= folio_mapcount(folio);
	return max(refs + GUP_PIN_COUNTING_BIAS / 2, 0) / GUP_PIN_COUNTING_BIAS;
}

/* Accepts any number: a frame whose device is gone has no struct page, and so no pins. */
unsigned long pinfs_helper_any_pfn_pins(unsigned long pfn)
{
	return pfn_valid(pfn) ? pinfs_helper_pfn_pins(pfn) : 0;
}

unsigned long pinfs_helper_pages_left_in_folio(struct page *page)
{
	struct folio *folio = page_folio(page);

	return folio_nr_pages(folio) - folio_page_idx(folio, page);
}
