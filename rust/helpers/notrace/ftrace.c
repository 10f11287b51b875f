// SPDX-License-Identifier: GPL-2.0
/* Wrappers: the registers that ftrace passes to a callback. */

#include <linux/ftrace.h>

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
