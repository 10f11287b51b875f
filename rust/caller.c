// SPDX-License-Identifier: GPL-2.0
/*
 * The owner of the pins that the current task takes and releases: the one that a
 * caller in the kernel has named, or the file that the first argument of the current
 * system call names.  All functions look at the current task only.
 */

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

#include "helpers.h"
#include "pin_owner.h"

/* All scopes; owner_scopes_lock is a leaf. */
static LIST_HEAD(owner_scopes);
static DEFINE_RAW_SPINLOCK(owner_scopes_lock);

/**
 * pin_owner_scope_begin() - name the owner of the current task's pins
 * @scope: on the stack of the caller, which ends it by pin_owner_scope_end()
 * @owner: the owner, valid until then
 *
 * Context: process context.  Scopes of one task nest; the innermost counts.
 */
void pin_owner_scope_begin(struct pin_owner_scope *scope, const struct vaddr_pin *owner)
{
	unsigned long flags;

	scope->task = current;
	scope->owner = owner;
	raw_spin_lock_irqsave(&owner_scopes_lock, flags);
	list_add(&scope->list, &owner_scopes);
	raw_spin_unlock_irqrestore(&owner_scopes_lock, flags);
}

/**
 * pin_owner_scope_end() - end a scope of the current task
 * @scope: the scope that began last
 */
void pin_owner_scope_end(struct pin_owner_scope *scope)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&owner_scopes_lock, flags);
	list_del(&scope->list);
	raw_spin_unlock_irqrestore(&owner_scopes_lock, flags);
}

/*
 * Returns the owner that the innermost scope of the current task names, or NULL.
 * The owner is valid until the scope ends, so it outlasts the lock.  list_empty()
 * without the lock is right about the task's own scopes, as only the task itself adds
 * and removes them.  An interrupt has no owner: it does not run for the task that it
 * interrupted.
 *
 * Context: any.
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

/**
 * pinfs_helper_acting_mm() - find the address space that a scope names
 *
 * Context: any.
 * Return: the address space, if the current task is in a scope whose owner is not a
 * file, else NULL.  No reference is taken.
 */
struct mm_struct *pinfs_helper_acting_mm(void)
{
	const struct vaddr_pin *owner = current_pin_owner();

	return owner && !owner->f_owner ? owner->mm : NULL;
}

/* The kind of object that the first argument of a system call names. */
enum syscall_names { NAMES_NOTHING, NAMES_FD, NAMES_RING };

static enum syscall_names fd_or_ring(bool is_ring)
{
	return is_ring ? NAMES_RING : NAMES_FD;
}

/*
 * Returns the kind of object that the first argument of the current system call
 * names, and stores the argument.  Kernel threads and io_uring workers are in no
 * system call.  A task that exits may be in a system call that is unrelated to the
 * pins that it releases.
 *
 * With a flag, io_uring_register() and io_uring_enter() take an index of the task's
 * registered rings instead of a descriptor.
 *
 * Context: any.
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

/**
 * pinfs_helper_syscall_fd() - find the descriptor that the system call names
 *
 * Context: any.
 * Return: the first argument of the current system call if it is a descriptor, else
 * -1.
 */
int pinfs_helper_syscall_fd(void)
{
	unsigned int arg;

	return syscall_argument(&arg) == NAMES_FD ? (int)arg : -1;
}

/*
 * Returns a registered ring of the current task, or NULL.  No lock is needed: only
 * the task itself changes its table of rings, in another system call.
 */
static struct file *registered_ring(unsigned int index)
{
	struct io_uring_task *rings = current->io_uring;

	if (!rings || index >= IO_RINGFD_REG_MAX)
		return NULL;
	return rings->registered_rings[array_index_nospec(index, IO_RINGFD_REG_MAX)];
}

/**
 * pinfs_helper_caller_file() - find the open file that owns new pins
 *
 * Context: process context.
 * Return: the file that the innermost scope of the current task names, with a
 * reference.  Outside of a scope, the file that the first argument of its system call
 * names.  NULL if there is none.
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

/**
 * pinfs_helper_caller_file_id() - find the open file that owns released pins
 *
 * Does the same as pinfs_helper_caller_file(), but takes no reference: the file may
 * be gone when this returns, so only its address is of use.
 *
 * Context: any.  In an interrupt there is no such file.
 * Return: the file, or NULL.
 */
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

/**
 * pinfs_helper_clone_source() - find the ring whose buffers are cloned
 * @arg: the argument of IORING_REGISTER_CLONE_BUFFERS
 *
 * Context: process context, in the system call.  May sleep.
 * Return: the file of the source ring with a reference, or NULL.
 */
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
