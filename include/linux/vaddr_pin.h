/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Long-term pins of user memory that other kernel modules take for an owner.
 *
 * The pins of pages of a pinfs file show in /proc/PID/file_pins under their
 * owner.  For system calls on a descriptor, pinfs finds the owner by itself.  A
 * module that pins at other times, or for a file other than the one called,
 * names the owner.
 *
 * The functions are exported by pinfs.ko: a module that calls them loads after
 * pinfs, and keeps it from being unloaded.  A module that must also work
 * without pinfs can use symbol_get().  The functions work on all memory.  On
 * anonymous memory and pages of other files they do the same as
 * pin_user_pages(FOLL_LONGTERM) and unpin_user_pages_dirty_lock().
 */
#ifndef _LINUX_VADDR_PIN_H
#define _LINUX_VADDR_PIN_H

#include <linux/types.h>

struct file;
struct mm_struct;
struct page;

/**
 * struct vaddr_pin - the owner of pins
 * @mm: the owning address space, if @f_owner is NULL.
 * @f_owner: the owning open file: the pins show under each descriptor of it.
 *
 * The pins reference neither.  An owning file releases them in its ->release()
 * at the latest, or in work that this has started; from then on they show in
 * /proc/fs/pinfs/pins only.  An owning address space is not passed to another
 * process while it has pins.
 */
struct vaddr_pin {
	struct mm_struct *mm;
	struct file *f_owner;
};

/**
 * vaddr_pin_pages() - take long-term pins of user memory
 * @addr: first address; the page that holds it is the first that is pinned.
 * @nr_pages: number of pages, of PAGE_SIZE each, huge ones or not.
 * @gup_flags: FOLL_WRITE and its like; FOLL_LONGTERM is implied.
 * @pages: an array of @nr_pages, filled with the pinned pages.
 * @vaddr_pin: the owner of the pins.  Only needed during the call.
 *
 * The memory is that of the current process, also if the pins get another owner.
 * For pages of pinfs the process must hold a strong layout lease (F_EXCLUSIVE or
 * F_UNBREAK) on all of these pages of the file.
 *
 * Context: The caller holds the current process's mmap_lock, which is not
 * dropped, and a reference to the owner.  May sleep.
 *
 * Return: The number of pages pinned, which may be less than @nr_pages, or
 * * -EINVAL	without an owner, an address space or an array of pages;
 * * -EOPNOTSUPP if a page is of a DAX file without such a lease: no page is
 *		pinned then;
 * * -EFAULT	if the memory is not mapped or must not be written to;
 * * -ENOMEM	if there is no memory to record the pins;
 * * -EAGAIN, -EINTR or -ERESTARTSYS after a signal.
 */
long vaddr_pin_pages(unsigned long addr, unsigned long nr_pages,
		     unsigned int gup_flags, struct page **pages,
		     struct vaddr_pin *vaddr_pin);

/**
 * vaddr_unpin_pages_dirty_lock() - release pins of vaddr_pin_pages()
 * @pages: the pages.
 * @nr_pages: their number; may be a part of what was pinned.
 * @vaddr_pin: the owner of the pins, as when they were taken; NULL if it is not
 *	known any more.  If pins of a page have several owners, this one loses its
 *	pins.
 * @make_dirty: the pages were written to.
 *
 * Context: Any context if @make_dirty is false; else it may sleep.  The owner's
 * file may be in its ->release(); its address space must not be gone.
 */
void vaddr_unpin_pages_dirty_lock(struct page **pages, unsigned long nr_pages,
				  struct vaddr_pin *vaddr_pin, bool make_dirty);

#endif /* _LINUX_VADDR_PIN_H */
