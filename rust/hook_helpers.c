// SPDX-License-Identifier: GPL-2.0
/*
 * What runs in the call-backs of ftrace, at the entry of kernel functions and
 * possibly in hard interrupt context.  This file is compiled without calls of
 * __fentry__, as Rust code is, so that none of it enters ftrace again.
 */

#include <linux/fdtable.h>
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <asm/syscall.h>
#include <asm/unistd.h>

#include "helpers.h"

static char disable_hooks[256];
module_param_string(disable_hooks, disable_hooks, sizeof(disable_hooks), 0444);
MODULE_PARM_DESC(disable_hooks,
		 "kernel functions to treat as missing, separated by commas");

/* hook.rs */

bool pinfs_helper_hook_disabled(const char *name)
{
	size_t len = strlen(name);
	const char *p = disable_hooks;

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
unsigned long pinfs_helper_function_address(const char *name)
{
	struct kprobe probe = {
		.symbol_name = name,
		.flags = KPROBE_FLAG_DISABLED,
	};
	unsigned long address;

	if (register_kprobe(&probe))
		return 0;
	address = (unsigned long)probe.addr;
	unregister_kprobe(&probe);
	return address;
}

/* identity.rs */

struct pid *pinfs_helper_current_tgid(void)
{
	return in_task() ? task_tgid(current) : NULL;
}

/* irq.rs */

static DEFINE_RAW_SPINLOCK(init_lock);

/* Initialises a lock whose memory is static the first time that it is used. */
void pinfs_helper_spin_lock_init_once(spinlock_t *lock, bool *ready)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&init_lock, flags);
	if (!*ready) {
		spin_lock_init(lock);
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

bool pinfs_helper_in_task(void)
{
	return in_task();
}
