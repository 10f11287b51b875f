// SPDX-License-Identifier: GPL-2.0
/*
 * What runs in the call-backs of ftrace, at the entry of kernel functions and
 * possibly in hard interrupt context.  This file is compiled without calls of
 * __fentry__, as Rust code is, so that none of it enters ftrace again.
 */

#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/ftrace.h>
#include <linux/io_uring.h>
#include <linux/io_uring_types.h>
#include <linux/kprobes.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/vaddr_pin.h>
#include <linux/workqueue.h>
#include <asm/syscall.h>
#include <asm/unistd.h>

#include "acting.h"
#include "helpers.h"
#include "shapes.h"

static char disable_hooks[256];
module_param_string(disable_hooks, disable_hooks, sizeof(disable_hooks), 0444);
MODULE_PARM_DESC(disable_hooks,
		 "kernel functions to treat as missing, separated by commas");

/* hook.rs */

static bool names_hook(const char *p, const char *name)
{
	size_t len = strlen(name);

	while (*p) {
		size_t n = strcspn(p, ",");

		if (n == len && !memcmp(p, name, len))
			return true;
		p += n;
		if (*p == ',')
			p++;
	}
	return false;
}

/* Disabled by who loads the module, or not as the module knows it. */
bool pinfs_helper_hook_disabled(const char *name)
{
	return names_hook(disable_hooks, name) ||
	       names_hook(PINFS_UNFIT_HOOKS, name);
}

unsigned long pinfs_helper_ftrace_regs_argument(struct ftrace_regs *fregs,
						unsigned int n)
{
	return ftrace_regs_get_argument(fregs, n);
}

unsigned long pinfs_helper_ftrace_regs_ip(struct ftrace_regs *fregs)
{
	return ftrace_regs_get_instruction_pointer(fregs);
}

void pinfs_helper_ftrace_regs_set_ip(struct ftrace_regs *fregs,
				     unsigned long ip)
{
	ftrace_regs_set_instruction_pointer(fregs, ip);
}

/*
 * A probe that is registered but never armed changes no code; it is the one
 * exported way to learn a function's address from its name.
 */
int pinfs_helper_function_address(const char *name, unsigned long *address)
{
	struct kprobe probe = {
		.symbol_name = name,
		.flags = KPROBE_FLAG_DISABLED,
	};
	int ret = register_kprobe(&probe);

	if (ret)
		return ret;
	*address = (unsigned long)probe.addr;
	unregister_kprobe(&probe);
	return 0;
}

bool pinfs_helper_module_is_going(const struct module *module)
{
	return module->state == MODULE_STATE_GOING;
}

bool pinfs_helper_module_is_live(const struct module *module)
{
	return READ_ONCE(module->state) == MODULE_STATE_LIVE;
}

/* identity.rs */

struct pid *pinfs_helper_current_tgid(void)
{
	return in_task() ? task_tgid(current) : NULL;
}

/* irq.rs */

static DEFINE_RAW_SPINLOCK(init_lock);

/*
 * Initialises a lock whose memory is static the first time that it is used.
 * There is one such lock, and so one class.
 */
void pinfs_helper_spin_lock_init_once(spinlock_t *lock, const char *name, bool *ready)
{
	static struct lock_class_key key;
	unsigned long flags;

	raw_spin_lock_irqsave(&init_lock, flags);
	if (!*ready) {
		spin_lock_init(lock);
		lockdep_set_class_and_name(lock, &key, name);
		smp_store_release(ready, true);
	}
	raw_spin_unlock_irqrestore(&init_lock, flags);
}

unsigned long pinfs_helper_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

void pinfs_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

/* gup.rs */

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
 * The mapcount is read after the reference count, and mappings may come and go
 * in between; rounding to the nearest pin keeps that, and the odd reference of
 * another kind, from counting.
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

/* For any number: what has no struct page, as its device is gone, has no pins. */
unsigned long pinfs_helper_any_pfn_pins(unsigned long pfn)
{
	return pfn_valid(pfn) ? pinfs_helper_pfn_pins(pfn) : 0;
}

unsigned long pinfs_helper_pages_left_in_folio(struct page *page)
{
	struct folio *folio = page_folio(page);

	return folio_nr_pages(folio) - folio_page_idx(folio, page);
}

static LIST_HEAD(actings);
static DEFINE_RAW_SPINLOCK(actings_lock);

void acting_begin(struct acting *acting, const struct vaddr_pin *owner)
{
	unsigned long flags;

	acting->task = current;
	acting->owner = owner;
	raw_spin_lock_irqsave(&actings_lock, flags);
	list_add(&acting->list, &actings);
	raw_spin_unlock_irqrestore(&actings_lock, flags);
}

void acting_end(struct acting *acting)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&actings_lock, flags);
	list_del(&acting->list);
	raw_spin_unlock_irqrestore(&actings_lock, flags);
}

/*
 * Whom the current task acts for, or NULL.  The owner's description is on the
 * task's own stack or its caller's, so it stays after the lock.  A task always
 * finds its own entry, as nobody else adds or removes it; what an interrupt
 * does is not in the name of the task that it came upon.
 */
static const struct vaddr_pin *acting_for(void)
{
	const struct vaddr_pin *owner = NULL;
	const struct acting *acting;
	unsigned long flags;

	if (list_empty(&actings) || !in_task())
		return NULL;
	raw_spin_lock_irqsave(&actings_lock, flags);
	list_for_each_entry(acting, &actings, list) {
		if (acting->task == current) {
			owner = acting->owner;
			break;
		}
	}
	raw_spin_unlock_irqrestore(&actings_lock, flags);
	return owner;
}

/* The address space that the current task acts for, if it does not for a file. */
struct mm_struct *pinfs_helper_acting_mm(void)
{
	const struct vaddr_pin *owner = acting_for();

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
	const struct vaddr_pin *owner = acting_for();
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
	const struct vaddr_pin *owner = acting_for();
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

/* uring.rs */

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

/* work.rs */

void pinfs_helper_queue_delayed_work(struct delayed_work *work,
				     unsigned int msecs, bool earlier)
{
	if (earlier)
		mod_delayed_work(system_dfl_wq, work, msecs_to_jiffies(msecs));
	else
		queue_delayed_work(system_dfl_wq, work, msecs_to_jiffies(msecs));
}

/* One that is kept from the last task work for the next: nearly always enough. */
static struct callback_head *spare_head;

static struct callback_head *get_head(void)
{
	struct callback_head *head = xchg(&spare_head, NULL);

	return head ?: kmalloc_obj(*head, GFP_ATOMIC | __GFP_NOWARN);
}

static void put_head(struct callback_head *head)
{
	kfree(xchg(&spare_head, head));
}

/* For the end of the module, when there is no task work any more. */
void pinfs_helper_task_work_exit(void)
{
	put_head(NULL);
}

bool pinfs_helper_task_work(struct module *module, task_work_func_t func)
{
	struct callback_head *head;

	if (!in_task() || (current->flags & PF_KTHREAD) ||
	    !try_module_get(module))
		return false;
	head = get_head();
	if (head) {
		init_task_work(head, func);
		if (!task_work_add(current, head, TWA_RESUME))
			return true;
		put_head(head);
	}
	module_put(module);
	return false;
}

void pinfs_helper_task_work_done(struct module *module,
				 struct callback_head *head)
{
	put_head(head);
	module_put(module);
}

/* proc.rs */

bool pinfs_helper_dentry_is(const struct dentry *dentry, const char *name)
{
	return dentry->d_name.len == strlen(name) &&
	       !memcmp(dentry->d_name.name, name, dentry->d_name.len);
}

/* The task that tries the file while the module is being loaded. */
struct task_struct *pinfs_pid_file_prober;

bool pinfs_helper_pid_file_is_probed(void)
{
	return READ_ONCE(pinfs_pid_file_prober) == current;
}

static DEFINE_RAW_SPINLOCK(pid_table_lock);

/*
 * Whether a table is that of /proc/PID (which begins with "task") or of
 * /proc/PID/task/TID (which begins with "fd"), and looks as we know it.  The
 * functions of the entry "status" are those of any file that is printed by one
 * function; ours are the same, but owned by the module.
 */
static bool pid_table_inspect(struct pinfs_pid_file *file,
			      const struct pinfs_pid_entry *table,
			      unsigned long count)
{
	const struct file_operations *fop = NULL;
	struct pinfs_pid_entry entry;
	unsigned long i, flags;
	char name[32];
	int slot = -1;

	if (count < 16 || count > 128)
		return false;
	for (i = 0; i < count; i++) {
		if (copy_from_kernel_nofault(&entry, table + i, sizeof(entry)) ||
		    !entry.len || entry.len >= sizeof(name) ||
		    copy_from_kernel_nofault(name, entry.name, entry.len + 1) ||
		    strnlen(name, sizeof(name)) != entry.len)
			return false;
		if (!S_ISREG(entry.mode) && !S_ISDIR(entry.mode) &&
		    !S_ISLNK(entry.mode))
			return false;
		if (i == 0 && S_ISDIR(entry.mode) && !strcmp(name, "task"))
			slot = 0;
		if (i == 0 && S_ISDIR(entry.mode) && !strcmp(name, "fd"))
			slot = 1;
		if (!strcmp(name, "status") && entry.mode == (S_IFREG | 0444) &&
		    !entry.iop && entry.show)
			fop = entry.fop;
	}
	if (slot < 0 || !fop)
		return false;
	raw_spin_lock_irqsave(&pid_table_lock, flags);
	if (!file->entry.fop &&
	    !copy_from_kernel_nofault(&file->fop, fop, sizeof(file->fop))) {
		file->fop.owner = file->owner;
		file->entry.fop = &file->fop;
	}
	if (file->entry.fop)
		smp_store_release(&file->tables[slot], table);
	raw_spin_unlock_irqrestore(&pid_table_lock, flags);
	return file->entry.fop;
}

bool pinfs_helper_pid_table(struct pinfs_pid_file *file,
			    const struct pinfs_pid_entry *table,
			    unsigned long count)
{
	return smp_load_acquire(&file->tables[0]) == table ||
	       smp_load_acquire(&file->tables[1]) == table ||
	       pid_table_inspect(file, table, count);
}
