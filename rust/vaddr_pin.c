// SPDX-License-Identifier: GPL-2.0
/*
 * Pins for other kernel modules.  They come through the same hooks as all
 * others; what is added here is who they are for.
 */

#include <linux/export.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/sched.h>
#include <linux/vaddr_pin.h>

#include "pin_owner.h"

long vaddr_pin_pages(unsigned long addr, unsigned long nr_pages,
		     unsigned int gup_flags, struct page **pages,
		     struct vaddr_pin *vaddr_pin)
{
	struct acting acting;
	long ret;

	if (!vaddr_pin || !(vaddr_pin->f_owner || vaddr_pin->mm) || !pages ||
	    !current->mm)
		return -EINVAL;
	mmap_assert_locked(current->mm);
	acting_begin(&acting, vaddr_pin);
	ret = pin_user_pages(addr, nr_pages, gup_flags | FOLL_LONGTERM, pages);
	acting_end(&acting);
	return ret;
}
EXPORT_SYMBOL_GPL(vaddr_pin_pages);

void vaddr_unpin_pages_dirty_lock(struct page **pages, unsigned long nr_pages,
				  struct vaddr_pin *vaddr_pin, bool make_dirty)
{
	struct acting acting;

	if (!vaddr_pin) {
		unpin_user_pages_dirty_lock(pages, nr_pages, make_dirty);
		return;
	}
	acting_begin(&acting, vaddr_pin);
	unpin_user_pages_dirty_lock(pages, nr_pages, make_dirty);
	acting_end(&acting);
}
EXPORT_SYMBOL_GPL(vaddr_unpin_pages_dirty_lock);
