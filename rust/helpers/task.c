// SPDX-License-Identifier: GPL-2.0
/* Wrappers: the current task. */

#include <linux/capability.h>
#include <linux/sched/signal.h>

bool pinfs_helper_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

/*
 * Whether the current task is a server of other machines, that is nfsd: of the
 * kernel's threads that are no workers of a workqueue, it alone calls file
 * systems for others.
 */
bool pinfs_helper_is_server(void)
{
	return (current->flags & (PF_KTHREAD | PF_WQ_WORKER)) == PF_KTHREAD;
}

bool pinfs_helper_is_admin(void)
{
	return capable(CAP_SYS_ADMIN);
}
