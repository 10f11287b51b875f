// SPDX-License-Identifier: GPL-2.0
/* Claims of the pages of a DAX device by page faults. */

#include <linux/dax.h>
#include <linux/huge_mm.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "helpers.h"

/*
 * Which struct pages of a device are in a file's mapping, and whose.
 *
 * The DAX core believes that no block is in two files.  A page that is in one
 * mapping and comes into another, or comes at another index, or as part of a
 * huge page, gets a wrong owner, order or reference count for good
 * (dax_associate_entry(), dax_folio_init(), vmf_insert_folio_pmd()).  So a page
 * fault claims the pages that it is about to give to the core, from the
 * iomap_next that fills in their mapping to the one that ends it, while it holds
 * the lock of the mapping's entry:
 *
 * - The page that the mapping has at this index already: nothing is to be done,
 *   as the entry cannot change.
 * - Else the page must be in no mapping: no ->mapping, no references, no part of
 *   a folio.  Of two faults in two files that want one page at once, the one
 *   gets it that first puts its mark into ->index, which is 0 while ->mapping is
 *   NULL.  The core overwrites the mark with the index; the end of the fault
 *   takes away what is left of it.
 * - 2 MiB at once, of which all pages must be in no mapping, exclude every other
 *   fault in the same 2 MiB of the device.  A word for each 2 MiB says how many
 *   faults that take single pages are on their way, or that one is that takes
 *   all.  A single one counts itself before it looks whether the page is part of
 *   a folio, and a large one finds no count before it makes it one.  So none
 *   writes into a page that becomes a tail.
 *
 * To look at 512 pages in each large fault would cost as much as the fault.  So
 * the word also says whether a single one was ever taken since they were looked
 * at last.  Nobody needs to wait: where nothing is wrong with a file system,
 * none of this is ever in conflict.
 */
#define GROUP_COUNT	GENMASK(23, 0)	/* faults on their way that take single pages */
#define GROUP_HUGE	BIT(24)		/* one that takes all */
#define GROUP_SINGLES	BIT(25)		/* a single page may be in a mapping */
#define GROUP_FOLIO	BIT(26)		/* all may be, as one */

/* Of an entry in a DAX mapping, as in fs/dax.c: it has no page of the device. */
#define DAX_NO_PAGE	(BIT(2) | BIT(3))

/* Whether a page is that of a mapping at an index, by itself or in a folio. */
static bool is_own(struct page *page, const struct address_space *mapping, pgoff_t index)
{
	struct folio *folio = page_folio(page);

	return READ_ONCE(folio->mapping) == mapping &&
	       READ_ONCE(folio->index) + (page - &folio->page) == index;
}

int pinfs_helper_pages_init(struct pinfs_pages *pages, unsigned long pfn, unsigned long nr)
{
	const size_t groups = ((pfn + nr - 1) >> PMD_ORDER) - (pfn >> PMD_ORDER) + 1;

	pages->pfn = pfn;
	pages->nr = nr;
	pages->groups = kvcalloc(groups, sizeof(*pages->groups), GFP_KERNEL);
	return pages->groups ? 0 : -ENOMEM;
}

void pinfs_helper_pages_free(struct pinfs_pages *pages)
{
	kvfree(pages->groups);
}

static struct folio *nth_page(const struct pinfs_pages *pages, unsigned long nr)
{
	return (struct folio *)pfn_to_page(pages->pfn + nr);
}

static atomic_t *group_of(const struct pinfs_pages *pages, unsigned long nr)
{
	return &pages->groups[((pages->pfn + nr) >> PMD_ORDER) - (pages->pfn >> PMD_ORDER)];
}

/* No address in the kernel is the index of a page. */
static pgoff_t mark_of_fault(void)
{
	return (pgoff_t)current;
}

/* Whether a page is in no mapping, and on no way into one. */
static __always_inline bool is_spare(struct folio *page)
{
	/* One jump, as all are so. */
	return !((unsigned long)PageCompound(&page->page) |
		 (unsigned long)READ_ONCE(page->mapping) | READ_ONCE(page->index) |
		 folio_ref_count(page));
}

static __always_inline bool claim_single(atomic_t *group, struct folio *page)
{
	const pgoff_t mark = mark_of_fault();
	const int old = atomic_fetch_inc(group);

	if (!(old & GROUP_SINGLES))
		atomic_or(GROUP_SINGLES, group);
	if (likely(!(old & GROUP_HUGE) && is_spare(page) &&
		   !cmpxchg(&page->index, 0, mark))) {
		/* Somebody may have got it, and be done, in between. */
		if (likely(!READ_ONCE(page->mapping)))
			return true;
		cmpxchg(&page->index, mark, 0);
	}
	atomic_dec(group);
	return false;
}

static bool is_page(const void *entry)
{
	return xa_is_value(entry) && !(xa_to_value(entry) & DAX_NO_PAGE);
}

/* Whether the mapping has a page of the device at an index. */
static bool has_page(struct address_space *mapping, pgoff_t index)
{
	return is_page(xa_load(&mapping->i_pages, index));
}

/*
 * The same for the index where an entry of 2 MiB begins that the caller has
 * locked: so it is there, and in a slot of its own.  xa_load() costs four times
 * as much.
 */
static __always_inline bool has_huge_page(struct address_space *mapping, pgoff_t index)
{
	const struct xarray *xa = &mapping->i_pages;
	void *entry;

	rcu_read_lock();
	entry = xa_head(xa);
	while (xa_is_node(entry)) {
		const struct xa_node *node = xa_to_node(entry);

		entry = xa_entry(xa, node, (index >> node->shift) & XA_CHUNK_MASK);
	}
	rcu_read_unlock();
	return is_page(entry);
}

/*
 * Keeps faults out of 2 MiB, and sets @state, if all of its pages are in no
 * mapping.
 */
static bool take_group(atomic_t *group, struct folio *first, int state)
{
	unsigned long count = 1;
	int old = atomic_read(group);

	do {
		if (old & (GROUP_HUGE | GROUP_COUNT))
			return false;
	} while (!atomic_try_cmpxchg(group, &old,
				     (old & ~GROUP_SINGLES) | GROUP_HUGE | state));
	if (old & GROUP_SINGLES)
		count = HPAGE_PMD_NR;
	for (unsigned long i = 0; i < count; i++) {
		if (unlikely(!is_spare((struct folio *)(&first->page + i)))) {
			atomic_or(old & GROUP_SINGLES, group);
			atomic_andnot(GROUP_HUGE, group);
			return false;
		}
	}
	return true;
}

static __always_inline bool claim_huge(atomic_t *group, struct folio *first, struct address_space *mapping,
		       pgoff_t index)
{
	/* The core would leave the mapping's entry as it is, and map these pages. */
	return !has_huge_page(mapping, index) && take_group(group, first, GROUP_FOLIO);
}

/*
 * Claims what a fault at @pos, of one page or of 2 MiB, is about to get from
 * @iomap, whose addresses begin @offset bytes before the device's pages.  The
 * claim is kept in the iomap.  Returns -EUCLEAN if somebody else has it.
 */
int pinfs_helper_claim(const struct pinfs_pages *pages, struct inode *inode, loff_t pos,
		       loff_t length, struct iomap *iomap, u64 offset)
{
	struct address_space *mapping = inode->i_mapping;
	const unsigned long nr = PHYS_PFN(iomap->addr - offset + (pos - iomap->offset));
	const pgoff_t index = pos >> PAGE_SHIFT;
	const bool huge = length > PAGE_SIZE;
	struct folio *page;
	atomic_t *group;

	/* Of 2 MiB that are not there as one, the core will ask for a page. */
	if (huge && (iomap->length - (pos - iomap->offset) < PMD_SIZE ||
		     !IS_ALIGNED(pages->pfn + nr, HPAGE_PMD_NR)))
		return 0;
	if (unlikely(nr + (length >> PAGE_SHIFT) > pages->nr))
		return -EUCLEAN;
	page = nth_page(pages, nr);
	if ((READ_ONCE(page->mapping) || PageCompound(&page->page)) &&
	    is_own(&page->page, mapping, index) && (!huge || folio_test_large(page)))
		return 0;
	group = group_of(pages, nr);
	if (huge ? !claim_huge(group, page, mapping, index) : !claim_single(group, page))
		return -EUCLEAN;
	iomap->private = group;
	iomap->inline_data = huge ? NULL : page;
	return 0;
}

/*
 * Ends a claim.  Returns false if the mapping has another page of the device
 * there than the one that was claimed, which the core has left in its place.
 */
bool pinfs_helper_unclaim(struct inode *inode, loff_t pos, const struct iomap *iomap)
{
	struct folio *page = iomap->inline_data;
	atomic_t *group = iomap->private;
	bool left = false;

	if (page && unlikely(READ_ONCE(page->index) == mark_of_fault())) {
		left = has_page(inode->i_mapping, pos >> PAGE_SHIFT);
		cmpxchg(&page->index, mark_of_fault(), 0);
	}
	/* Whoever finds the claim gone finds what the core has made of the page. */
	smp_mb__before_atomic();
	if (page)
		atomic_dec(group);
	else
		atomic_andnot(GROUP_HUGE, group);
	return !left;
}

/*
 * Says whether pages may be in a mapping, without looking at them.
 */
bool pinfs_helper_maybe_in_use(const struct pinfs_pages *pages, unsigned long nr,
			       unsigned long count)
{
	const unsigned long end = min(nr + count, pages->nr);
	atomic_t *group, *last;

	if (nr >= end)
		return false;
	last = group_of(pages, end - 1);
	for (group = group_of(pages, nr); group <= last; group++)
		if (atomic_read(group))
			return true;
	return false;
}

/*
 * Says whether one of a number of pages is in a mapping, or on its way into one;
 * with @but, in one of another file.  Without, nobody but by mistake faults in
 * the pages meanwhile: they are free, or the caller's alone.
 */
bool pinfs_helper_in_use(const struct pinfs_pages *pages, unsigned long nr, unsigned long count,
			 const struct inode *but)
{
	const unsigned long end = min(nr + count, pages->nr);

	while (nr < end) {
		const unsigned long next = min(end, ALIGN_DOWN(pages->pfn + nr, HPAGE_PMD_NR) +
					       HPAGE_PMD_NR - pages->pfn);
		atomic_t *group = group_of(pages, nr);
		const int state = atomic_read(group);

		if (likely(!state)) {
			nr = next;
			continue;
		}
		if ((state & GROUP_HUGE) && !but)
			return true;
		if ((state & GROUP_SINGLES) && !but && next - nr == HPAGE_PMD_NR) {
			/* All of it, so the next look need not be as long. */
			if (!take_group(group, nth_page(pages, nr), 0))
				return true;
			smp_mb__before_atomic();
			atomic_andnot(GROUP_HUGE, group);
			nr = next;
			continue;
		}
		for (; nr < next; nr++) {
			struct folio *folio = page_folio(&nth_page(pages, nr)->page);
			struct address_space *mapping = READ_ONCE(folio->mapping);

			if (but ? mapping && mapping != but->i_mapping :
				  mapping || READ_ONCE(folio->index))
				return true;
			/* All are as the first. */
			if (!(state & (GROUP_SINGLES | GROUP_COUNT)))
				nr = next - 1;
		}
	}
	return false;
}

/* Whether a frame is what the file of a fault has where the fault is. */
bool pinfs_helper_vmf_has(const struct vm_fault *vmf, unsigned int order, unsigned long pfn)
{
	const pgoff_t index = ALIGN_DOWN(vmf->pgoff, 1UL << order);

	return is_own(pfn_to_page(pfn), vmf->vma->vm_file->f_mapping, index);
}
