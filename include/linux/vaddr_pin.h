/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Long-term pins of user memory in somebody's name, for other kernel modules.
 *
 * What is pinned of a pinfs file shows in /proc/PID/file_pins under its owner,
 * which for system calls on a descriptor pinfs finds by itself.  A module that
 * pins at other times, or for another file than the one called, says who it is.
 *
 * The functions are exported by pinfs.ko: a module that calls them keeps it
 * from being unloaded, and loads after it.  One that is to work without pinfs,
 * too, can use symbol_get().  They work on all memory; on that of other files,
 * and anonymous memory, they are what pin_user_pages(FOLL_LONGTERM) and
 * unpin_user_pages_dirty_lock() are.
 */
#ifndef _LINUX_VADDR_PIN_H
#define _LINUX_VADDR_PIN_H

#include <linux/types.h>

struct file;
struct mm_struct;
struct page;

/**
 * struct vaddr_pin - who owns pins
 * @mm: the address space that does, if @f_owner is NULL.
 * @f_owner: the open file that does: the pins show under each descriptor of it.
 *
 * Neither is referenced by the pins.  An owning file gives them back when it is
 * released at the latest, that is in its ->release() or in work that this has
 * started; from then on they show in /proc/fs/pinfs/pins alone.  An owning
 * address space is not given to another process while it has pins.
 */
struct vaddr_pin {
	struct mm_struct *mm;
	struct file *f_owner;
};

/**
 * vaddr_pin_pages() - pin user memory for long
 * @addr: first address; the page that holds it is the first that is pinned.
 * @nr_pages: number of pages, of PAGE_SIZE each, huge ones or not.
 * @gup_flags: FOLL_WRITE and its like; FOLL_LONGTERM is implied.
 * @pages: where the pages go, an array of @nr_pages.
 * @vaddr_pin: who owns the pins.  Only needed during the call.
 *
 * The memory is that of the current process, whoever is to own the pins.  For
 * pages of pinfs the process must hold a strong layout lease (F_EXCLUSIVE or
 * F_UNBREAK) on all of the file's pages in question.
 *
 * Context: The caller holds the current process's mmap_lock, which is not
 * dropped, and a reference to the owner.  May sleep.
 *
 * Return: The number of pages pinned, which may be less than @nr_pages, or
 * * -EINVAL	without an owner, an address space or an array of pages;
 * * -EOPNOTSUPP if a page is of a DAX file that there is no lease for: nothing
 *		is pinned then;
 * * -EFAULT	if the memory is not there or may not be written to;
 * * -ENOMEM	if there is no memory to record the pins in;
 * * -EAGAIN, -EINTR or -ERESTARTSYS after a signal.
 */
long vaddr_pin_pages(unsigned long addr, unsigned long nr_pages,
		     unsigned int gup_flags, struct page **pages,
		     struct vaddr_pin *vaddr_pin);

/**
 * vaddr_unpin_pages_dirty_lock() - give back what vaddr_pin_pages() pinned
 * @pages: the pages.
 * @nr_pages: their number; a part of what was pinned may be given back.
 * @vaddr_pin: who owns the pins, as when they were taken; NULL if that is not
 *	known any more.  Of several owners of pins of a page it is this one that
 *	loses its.
 * @make_dirty: the pages were written to.
 *
 * Context: Any context if @make_dirty is false; else it may sleep.  The owner's
 * file may be in its ->release(); its address space must not be gone.
 */
void vaddr_unpin_pages_dirty_lock(struct page **pages, unsigned long nr_pages,
				  struct vaddr_pin *vaddr_pin, bool make_dirty);

#endif /* _LINUX_VADDR_PIN_H */
