// SPDX-License-Identifier: GPL-2.0
/*
 * Claims of the pages of a DAX device by page faults.
 *
 * The DAX core assumes that no block belongs to two files.  A page that is in one
 * mapping and gets into another, or to another index, or into a huge page, has a
 * wrong owner, order or reference count from then on (dax_associate_entry(),
 * dax_folio_init(), vmf_insert_folio_pmd()).  So a page fault claims the pages that
 * it is about to pass to the core.  The claim lasts from the iomap_next that fills
 * in their mapping to the one that ends it, under the lock of the mapping's entry:
 *
 * - If the mapping already has the page at this index, there is nothing to do: the
 *   entry cannot change.
 * - Else the page must be in no mapping: it has no ->mapping and no references, and
 *   is not part of a folio.  If faults in two files want one page at the same time,
 *   the first to put its mark into ->index gets it; ->index is 0 while ->mapping is
 *   NULL.  The core overwrites the mark with the index.  The end of the fault removes
 *   a mark that is left.
 * - A claim of 2 MiB requires that all of the pages are in no mapping, and excludes
 *   every other fault in the same 2 MiB of the device.  A word for each 2 MiB counts
 *   the faults in progress that take single pages, and has a bit for one that takes
 *   all.  A fault of a single page increments the count before it checks whether the
 *   page is part of a folio.  A fault of 2 MiB makes it a folio only if the count is
 *   zero.  So no fault writes into a page that becomes a tail page.
 *
 * To check 512 pages in each huge fault would cost as much as the fault.  So the word
 * also has a bit for "a single page was taken since the pages were last checked".  No
 * fault waits: in a consistent file system no claims conflict.
 *
 * Claims are made and ended in page faults, in process context.
 */

#include <linux/dax.h>
#include <linux/huge_mm.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "helpers.h"

#define GROUP_COUNT	GENMASK(23, 0)	/* faults in progress of single pages */
#define GROUP_HUGE	BIT(24)		/* a fault in progress of all pages */
#define GROUP_SINGLES	BIT(25)		/* a single page may be in a mapping */
#define GROUP_FOLIO	BIT(26)		/* all pages may be, as one folio */

/* Bits of a DAX entry that has no page of the device, as in fs/dax.c. */
#define DAX_NO_PAGE	(BIT(2) | BIT(3))

/* Returns true if a page, or the folio it is part of, is in a mapping at an index. */
static bool is_own(struct page *page, const struct address_space *mapping, pgoff_t index)
{
	struct folio *folio = page_folio(page);

	return READ_ONCE(folio->mapping) == mapping &&
	       READ_ONCE(folio->index) + (page - &folio->page) == index;
}

/**
 * pinfs_helper_pages_init() - initialise the claims of a device's pages
 * @pages: to be initialised
 * @pfn: the first page frame
 * @nr: number of pages
 *
 * Context: may sleep.
 * Return: 0 or -ENOMEM.
 */
int pinfs_helper_pages_init(struct pinfs_pages *pages, unsigned long pfn, unsigned long nr)
{
	const size_t groups = ((pfn + nr - 1) >> PMD_ORDER) - (pfn >> PMD_ORDER) + 1;

	pages->pfn = pfn;
	pages->nr = nr;
	pages->groups = kvcalloc(groups, sizeof(*pages->groups), GFP_KERNEL);
	return pages->groups ? 0 : -ENOMEM;
}

/**
 * pinfs_helper_pages_free() - free the memory of pinfs_helper_pages_init()
 * @pages: of which no claim is left
 */
void pinfs_helper_pages_free(struct pinfs_pages *pages)
{
	kvfree(pages->groups);
}

/* The cast is for the members of struct folio; the page may be a tail page. */
static struct folio *nth_page(const struct pinfs_pages *pages, unsigned long nr)
{
	return (struct folio *)pfn_to_page(pages->pfn + nr);
}

/* Returns the word of the 2 MiB that a page is in. */
static atomic_t *group_of(const struct pinfs_pages *pages, unsigned long nr)
{
	return &pages->groups[((pages->pfn + nr) >> PMD_ORDER) - (pages->pfn >> PMD_ORDER)];
}

/* Returns the mark of a fault of the current task.  No address is the index of a page. */
static pgoff_t mark_of_fault(void)
{
	return (pgoff_t)current;
}

/* Returns true if a page is in no mapping and no fault has claimed it. */
static __always_inline bool is_spare(struct folio *page)
{
	/* One branch: nearly all pages are spare. */
	return !((unsigned long)PageCompound(&page->page) |
		 (unsigned long)READ_ONCE(page->mapping) | READ_ONCE(page->index) |
		 folio_ref_count(page));
}

/*
 * Claims one page.  Returns false if the page is in use.  Otherwise @group counts the
 * fault until the claim ends.
 */
static __always_inline bool claim_single(atomic_t *group, struct folio *page)
{
	const pgoff_t mark = mark_of_fault();
	const int old = atomic_fetch_inc(group);

	if (!(old & GROUP_SINGLES))
		atomic_or(GROUP_SINGLES, group);
	if (likely(!(old & GROUP_HUGE) && is_spare(page) &&
		   !cmpxchg(&page->index, 0, mark))) {
		/* Another fault may have taken the page, and have ended, since is_spare(). */
		if (likely(!READ_ONCE(page->mapping)))
			return true;
		cmpxchg(&page->index, mark, 0);
	}
	atomic_dec(group);
	return false;
}

/* Returns true if an entry of a DAX mapping has a page of the device. */
static bool is_page(const void *entry)
{
	return xa_is_value(entry) && !(xa_to_value(entry) & DAX_NO_PAGE);
}

/* Returns true if the mapping has a page of the device at an index. */
static bool has_page(struct address_space *mapping, pgoff_t index)
{
	return is_page(xa_load(&mapping->i_pages, index));
}

/*
 * Returns true if the mapping has a page of the device at an index where an entry of
 * 2 MiB begins that the caller has locked.  The entry exists, and is in a slot of its
 * own.  xa_load() costs four times as much.
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
 * Excludes faults from 2 MiB and sets @state, if none of the pages is in a mapping.
 * Returns false if one is, or if a fault is in progress there.
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

/* Claims 2 MiB.  Returns false if one of the pages is in use. */
static __always_inline bool claim_huge(atomic_t *group, struct folio *first,
				       struct address_space *mapping, pgoff_t index)
{
	/* The core would keep an existing entry of the mapping, and map these pages. */
	return !has_huge_page(mapping, index) && take_group(group, first, GROUP_FOLIO);
}

/**
 * pinfs_helper_claim() - claim the pages that a page fault is about to map
 * @pages: pages of the device
 * @inode: the faulting file
 * @pos: position of the fault in the file
 * @length: PAGE_SIZE or PMD_SIZE
 * @iomap: the mapping that was filled in for @pos; ->private and ->inline_data keep
 *	the claim
 * @offset: address of @pages in the terms of @iomap
 *
 * Context: the fault holds the lock of the mapping's entry until
 * pinfs_helper_unclaim().
 * Return: 0, or -EUCLEAN if one of the pages is in use, or past the end of the
 * device.
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

	/* If the 2 MiB are not contiguous and aligned, the core falls back to a single page. */
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

/**
 * pinfs_helper_unclaim() - end a claim
 * @inode: the faulting file
 * @pos: position of the fault in the file
 * @iomap: the mapping, with a claim
 *
 * Return: false if the mapping has another page of the device at @pos, which the core
 * has kept in place of the claimed one.
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
	/* A fault that sees the claim ended sees what the core has stored in the page. */
	smp_mb__before_atomic();
	if (page)
		atomic_dec(group);
	else
		atomic_andnot(GROUP_HUGE, group);
	return !left;
}

/**
 * pinfs_helper_maybe_in_use() - check roughly whether pages are in a mapping
 * @pages: pages of a device, which may be gone
 * @nr: the first page
 * @count: number of pages
 *
 * Does not read the struct pages.
 *
 * Context: any.
 * Return: false if none of the pages is in a mapping.
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

/**
 * pinfs_helper_in_use() - check whether pages are in a mapping
 * @pages: pages of a device, which is alive
 * @nr: the first page
 * @count: number of pages
 * @but: a file whose mapping does not count, or NULL
 *
 * Context: any.  Without @but, the pages are free or belong to the caller alone: a
 * file faults in one of them during the call only by mistake.
 * Return: true if one of the pages is in a mapping that counts, or, without @but, if
 * a fault has claimed it.
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
			/* Check all of the 2 MiB, and record the result for the next check. */
			if (!take_group(group, nth_page(pages, nr), 0))
				return true;
			/* The checks of the pages come before faults are allowed again. */
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
			/* All pages are one folio, so they have the state of the first page. */
			if (!(state & (GROUP_SINGLES | GROUP_COUNT)))
				nr = next - 1;
		}
	}
	return false;
}

/**
 * pinfs_helper_vmf_has() - check whether a file has a page frame at a fault's index
 * @vmf: the fault
 * @order: 0 or PMD_ORDER
 * @pfn: a page frame of the device
 *
 * Return: true if the faulting file has the page frame at the index of the fault,
 * rounded down to @order.
 */
bool pinfs_helper_vmf_has(const struct vm_fault *vmf, unsigned int order, unsigned long pfn)
{
	const pgoff_t index = ALIGN_DOWN(vmf->pgoff, 1UL << order);

	return is_own(pfn_to_page(pfn), vmf->vma->vm_file->f_mapping, index);
}
