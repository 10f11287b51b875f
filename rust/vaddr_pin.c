// SPDX-License-Identifier: GPL-2.0
/*
 * Pins by other kernel modules.  They pass through the same hooks as all other pins.
 * The functions here add the owner.  include/linux/vaddr_pin.h describes them.
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
	struct pin_owner_scope scope;
	long ret;

	if (!vaddr_pin || !(vaddr_pin->f_owner || vaddr_pin->mm) || !pages ||
	    !current->mm)
		return -EINVAL;
	mmap_assert_locked(current->mm);
	pin_owner_scope_begin(&scope, vaddr_pin);
	ret = pin_user_pages(addr, nr_pages, gup_flags | FOLL_LONGTERM, pages);
	pin_owner_scope_end(&scope);
	return ret;
}
EXPORT_SYMBOL_GPL(vaddr_pin_pages);

void vaddr_unpin_pages_dirty_lock(struct page **pages, unsigned long nr_pages,
				  struct vaddr_pin *vaddr_pin, bool make_dirty)
{
	struct pin_owner_scope scope;

	if (!vaddr_pin) {
		unpin_user_pages_dirty_lock(pages, nr_pages, make_dirty);
		return;
	}
	pin_owner_scope_begin(&scope, vaddr_pin);
	unpin_user_pages_dirty_lock(pages, nr_pages, make_dirty);
	pin_owner_scope_end(&scope);
}
EXPORT_SYMBOL_GPL(vaddr_unpin_pages_dirty_lock);
