// SPDX-License-Identifier: GPL-2.0
/* Wrappers: workqueues. */

#include <linux/jiffies.h>
#include <linux/workqueue.h>

/* Queues a work item.  @earlier changes the time of a pending one.  Any context. */
void pinfs_helper_queue_delayed_work(struct delayed_work *work,
				     unsigned int msecs, bool earlier)
{
	if (earlier)
		mod_delayed_work(system_dfl_wq, work, msecs_to_jiffies(msecs));
	else
		queue_delayed_work(system_dfl_wq, work, msecs_to_jiffies(msecs));
}
