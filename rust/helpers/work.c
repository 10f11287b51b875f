// SPDX-License-Identifier: GPL-2.0
/* Wrappers: workqueues. */

#include <linux/workqueue.h>

struct workqueue_struct *pinfs_helper_alloc_workqueue(const char *name)
{
	return alloc_workqueue("%s", WQ_UNBOUND, 0, name);
}

void pinfs_helper_init_work(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
}

void pinfs_helper_init_delayed_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}
