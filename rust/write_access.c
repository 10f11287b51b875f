// SPDX-License-Identifier: GPL-2.0
/* Finds out whether the caller holds write access to the superblock. */

#include <linux/kallsyms.h>
#include <linux/sched.h>
#include <linux/stacktrace.h>
#include <linux/string.h>

#include "helpers.h"

/*
 * The VFS calls setattr and fallocate with write access to the superblock, but
 * others call them without: the core dumper, which tells by PF_DUMPCORE; loop
 * and target_core_file, which call f_op->fallocate() from kernel threads; and
 * ecryptfs and cachefiles, which call notify_change() from system calls.  The
 * counter itself does not say who holds it.
 *
 * So what is asked is who called: if all that is on the stack is the kernel
 * proper, pinfs, and overlayfs, which takes it as the VFS does, then it is held.
 * Whoever else is there may be one who has not; that includes the trampolines
 * of BPF and kprobes, which count as modules.
 */
static bool is_known_caller(unsigned long addr)
{
	char name[KSYM_SYMBOL_LEN];
	char *module;

	sprint_symbol(name, addr);
	module = strchr(name, '[');
	return !module || strstarts(module, "[" KBUILD_MODNAME "]") ||
	       strstarts(module, "[overlay]");
}

bool pinfs_helper_holds_write_access(void)
{
	unsigned long stack[64];
	unsigned int count, i;

	if (current->flags & (PF_DUMPCORE | PF_KTHREAD))
		return false;
	/* Built in, they do not show as modules. */
	if (IS_BUILTIN(CONFIG_ECRYPT_FS) || IS_BUILTIN(CONFIG_CACHEFILES))
		return false;
	count = stack_trace_save(stack, ARRAY_SIZE(stack), 0);
	if (!count || count == ARRAY_SIZE(stack))
		return false;
	for (i = 0; i < count; i++)
		if (!is_known_caller(stack[i]))
			return false;
	return true;
}
