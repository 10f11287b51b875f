// SPDX-License-Identifier: GPL-2.0
/* For whom the current task pins and unpins. */

#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/io_uring.h>
#include <linux/io_uring_types.h>
#include <linux/list.h>
#include <linux/nospec.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/vaddr_pin.h>
#include <asm/syscall.h>
#include <asm/unistd.h>

#include "pin_owner.h"
#include "helpers.h"

static LIST_HEAD(owner_scopes);
static DEFINE_RAW_SPINLOCK(owner_scopes_lock);

void pin_owner_scope_begin(struct pin_owner_scope *scope, const struct vaddr_pin *owner)
{
	unsigned long flags;

	scope->task = current;
	scope->owner = owner;
	raw_spin_lock_irqsave(&owner_scopes_lock, flags);
	list_add(&scope->list, &owner_scopes);
	raw_spin_unlock_irqrestore(&owner_scopes_lock, flags);
}

void pin_owner_scope_end(struct pin_owner_scope *scope)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&owner_scopes_lock, flags);
	list_del(&scope->list);
	raw_spin_unlock_irqrestore(&owner_scopes_lock, flags);
}

/*
 * Whom the current task acts for, or NULL.  The owner's description is on the
 * task's own stack or its caller's, so it stays after the lock.  A task always
 * finds its own entry, as nobody else adds or removes it; what an interrupt
 * does is not in the name of the task that it came upon.
 */
static const struct vaddr_pin *current_pin_owner(void)
{
	const struct vaddr_pin *owner = NULL;
	const struct pin_owner_scope *scope;
	unsigned long flags;

	if (list_empty(&owner_scopes) || !in_task())
		return NULL;
	raw_spin_lock_irqsave(&owner_scopes_lock, flags);
	list_for_each_entry(scope, &owner_scopes, list) {
		if (scope->task == current) {
			owner = scope->owner;
			break;
		}
	}
	raw_spin_unlock_irqrestore(&owner_scopes_lock, flags);
	return owner;
}

/* The address space that the current task acts for, if it does not for a file. */
struct mm_struct *pinfs_helper_acting_mm(void)
{
	const struct vaddr_pin *owner = current_pin_owner();

	return owner && !owner->f_owner ? owner->mm : NULL;
}

/* What the first argument of the system call in progress names. */
enum syscall_names { NAMES_NOTHING, NAMES_FD, NAMES_RING };

static enum syscall_names fd_or_ring(bool is_ring)
{
	return is_ring ? NAMES_RING : NAMES_FD;
}

/*
 * Looks at the system call that the current task is in.  Kernel threads and
 * io_uring's workers are in none, and a task that exits may be in one that has
 * nothing to do with what it gives back.
 *
 * io_uring's two calls take an index into the task's registered rings instead
 * of a descriptor, if a flag says so.
 */
static enum syscall_names syscall_argument(unsigned int *arg)
{
	const unsigned int enter_registered = 1U << 4;	/* io_uring_enter() */
	struct pt_regs *regs;
	unsigned long args[6];

	if (!in_task() ||
	    (current->flags & (PF_KTHREAD | PF_USER_WORKER | PF_EXITING)))
		return NAMES_NOTHING;
	regs = task_pt_regs(current);
	if (!user_mode(regs))
		return NAMES_NOTHING;
	syscall_get_arguments(current, regs, args);
	*arg = args[0];
#ifdef CONFIG_IA32_EMULATION
	if (current->thread_info.status & TS_COMPAT) {
		switch (syscall_get_nr(current, regs)) {
		case 4:			/* write */
		case 54:		/* ioctl */
		case 146:		/* writev */
		case 366:		/* setsockopt */
			return NAMES_FD;
		case __NR_io_uring_register:
			return fd_or_ring(args[1] & IORING_REGISTER_USE_REGISTERED_RING);
		case __NR_io_uring_enter:
			return fd_or_ring(args[3] & enter_registered);
		}
		return NAMES_NOTHING;
	}
#endif
	switch (syscall_get_nr(current, regs)) {
	case __NR_write:
	case __NR_ioctl:
	case __NR_writev:
	case __NR_setsockopt:
		return NAMES_FD;
	case __NR_io_uring_register:
		return fd_or_ring(args[1] & IORING_REGISTER_USE_REGISTERED_RING);
	case __NR_io_uring_enter:
		return fd_or_ring(args[3] & enter_registered);
	}
	return NAMES_NOTHING;
}

/* The descriptor that is the first argument of the system call, or -1. */
int pinfs_helper_syscall_fd(void)
{
	unsigned int arg;

	return syscall_argument(&arg) == NAMES_FD ? (int)arg : -1;
}

/* Only the task itself changes its table of rings, and it is in another call. */
static struct file *registered_ring(unsigned int index)
{
	struct io_uring_task *rings = current->io_uring;

	if (!rings || index >= IO_RINGFD_REG_MAX)
		return NULL;
	return rings->registered_rings[array_index_nospec(index, IO_RINGFD_REG_MAX)];
}

/*
 * The open file that the current task acts for, or that its system call's first
 * argument names, with a reference, or NULL.
 */
struct file *pinfs_helper_caller_file(void)
{
	const struct vaddr_pin *owner = current_pin_owner();
	unsigned int arg;
	struct file *file;

	if (owner)
		return owner->f_owner ? get_file(owner->f_owner) : NULL;
	switch (syscall_argument(&arg)) {
	case NAMES_FD:
		return fget(arg);
	case NAMES_RING:
		file = registered_ring(arg);
		return file ? get_file(file) : NULL;
	default:
		return NULL;
	}
}

/* The address only: the file may be gone when this returns. */
const struct file *pinfs_helper_caller_file_id(void)
{
	const struct vaddr_pin *owner = current_pin_owner();
	struct files_struct *files = current->files;
	const struct file *file;
	unsigned int arg;

	if (owner)
		return owner->f_owner;
	switch (syscall_argument(&arg)) {
	case NAMES_FD:
		if (!files)
			return NULL;
		rcu_read_lock();
		file = files_lookup_fd_raw(files, arg);
		rcu_read_unlock();
		return file;
	case NAMES_RING:
		return registered_ring(arg);
	default:
		return NULL;
	}
}

/* The ring that buffers are to be cloned from, with a reference, or NULL. */
struct file *pinfs_helper_clone_source(const void __user *arg)
{
	struct io_uring_clone_buffers buf;
	struct file *file;

	if (copy_from_user(&buf, arg, sizeof(buf)))
		return NULL;
	if (!(buf.flags & IORING_REGISTER_SRC_REGISTERED))
		return fget(buf.src_fd);
	file = registered_ring(buf.src_fd);
	return file ? get_file(file) : NULL;
}
