// SPDX-License-Identifier: GPL-2.0
/* Checks whether the caller holds write access to the superblock. */

#include <linux/kallsyms.h>
#include <linux/sched.h>
#include <linux/stacktrace.h>
#include <linux/string.h>

#include "helpers.h"

/*
 * Returns true if an address is in the kernel image, in pinfs, or in overlayfs.
 * Trampolines of BPF and kprobes count as modules.
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

/**
 * pinfs_helper_holds_write_access() - check whether setattr or fallocate has write access
 *
 * The VFS calls ->setattr() and ->fallocate() with write access to the superblock.
 * Other callers do not take it: the core dumper (PF_DUMPCORE); loop and
 * target_core_file, which call ->fallocate() in kernel threads; ecryptfs and
 * cachefiles, which call notify_change() in system calls.  The counter of the
 * superblock does not tell which task holds it.
 *
 * So this looks at the stack: the access is held if the stack has only the kernel
 * image, pinfs, and overlayfs, which takes write access as the VFS does.  Any other
 * module may be a caller that has not taken it.
 *
 * Context: process context, in a call of ->setattr() or ->fallocate().
 * Return: true if the current task is known to hold write access.
 */
bool pinfs_helper_holds_write_access(void)
{
	unsigned long stack[64];
	unsigned int count, i;

	if (current->flags & (PF_DUMPCORE | PF_KTHREAD))
		return false;
	/* If they are built in, the stack does not show them as modules. */
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
