// SPDX-License-Identifier: GPL-2.0
/* Wrappers: the current task. */

#include <linux/capability.h>
#include <linux/sched/signal.h>

bool pinfs_helper_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

/*
 * Returns true if the current task is a thread of nfsd.  Of the kernel threads that
 * are not workers of a workqueue, only those call file systems for others.
 */
bool pinfs_helper_is_server(void)
{
	return (current->flags & (PF_KTHREAD | PF_WQ_WORKER)) == PF_KTHREAD;
}

bool pinfs_helper_is_admin(void)
{
	return capable(CAP_SYS_ADMIN);
}
