// SPDX-License-Identifier: GPL-2.0
/* Wrappers: mappings, page faults, and pins of pages. */

#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/pagemap.h>

int pinfs_helper_mmap_read_lock_killable(struct mm_struct *mm)
{
	return mmap_read_lock_killable(mm);
}

void pinfs_helper_mmap_read_unlock(struct mm_struct *mm)
{
	mmap_read_unlock(mm);
}

/*
 * Looks up the mapping that covers an address.  Returns false if there is none.  The
 * caller holds mmap_lock; @found is valid until it is released.
 */
bool pinfs_helper_vma_lookup(struct mm_struct *mm, unsigned long addr,
			     struct pinfs_vma *found)
{
	struct vm_area_struct *vma;

	addr = untagged_addr_remote(mm, addr);
	vma = vma_lookup(mm, addr);
	if (!vma)
		return false;
	found->file = vma->vm_file;
	found->index = linear_page_index(vma, addr);
	found->pages = (vma->vm_end - addr + PAGE_SIZE - 1) >> PAGE_SHIFT;
	found->shared = vma->vm_flags & VM_MAYSHARE;
	found->can_be_huge = IS_ALIGNED(found->index - PHYS_PFN(addr), PTRS_PER_PMD) &&
			     vma->vm_end - vma->vm_start >= PMD_SIZE;
	return true;
}

/* Reads the count of changes of the mappings.  Returns false during a change. */
bool pinfs_helper_mmap_seq(struct mm_struct *mm, unsigned int *seq)
{
	return mmap_lock_speculate_try_begin(mm, seq);
}

bool pinfs_helper_mmap_seq_changed(struct mm_struct *mm, unsigned int seq)
{
	return mmap_lock_speculate_retry(mm, seq);
}

void pinfs_helper_vma_desc_set_hugepage(struct vm_area_desc *desc)
{
	vma_desc_set_flags(desc, VMA_HUGEPAGE_BIT);
}

struct file *pinfs_helper_vmf_file(const struct vm_fault *vmf)
{
	return vmf->vma->vm_file;
}

/*
 * Returns true if a fault is a write to the file.  vmf->cow_page shows that for
 * single pages only, so this looks at the VMA.
 */
bool pinfs_helper_vmf_is_shared_write(const struct vm_fault *vmf)
{
	return (vmf->flags & FAULT_FLAG_WRITE) &&
	       (vmf->vma->vm_flags & VM_SHARED);
}

/* The fast path accepts no other flags, and pins memory of the current task only. */
bool pinfs_helper_can_pin_fast(const struct mm_struct *mm, unsigned long count,
			       unsigned int flags)
{
	const unsigned int others = FOLL_GET | FOLL_DUMP | FOLL_NOFAULT |
				    FOLL_HWPOISON | FOLL_ANON | FOLL_SPLIT_PMD |
				    FOLL_PCI_P2PDMA | FOLL_INTERRUPTIBLE |
				    FOLL_HONOR_NUMA_FAULT;

	return mm == current->mm && count <= INT_MAX && !(flags & others);
}

int pinfs_helper_pin_fast(unsigned long start, int count, unsigned int flags,
			  struct page **pages)
{
	return pin_user_pages_fast(start, count, flags & (FOLL_WRITE | FOLL_FORCE),
				   pages);
}
