// SPDX-License-Identifier: GPL-2.0
/* Work of the current task on its way back to user space. */

#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/task_work.h>

#include "helpers.h"

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
