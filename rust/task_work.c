// SPDX-License-Identifier: GPL-2.0
/*
 * Work that the current task runs on its way back to user space.  Functions may be
 * called in callbacks of ftrace, in any context.
 */

#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/task_work.h>

#include "helpers.h"

/*
 * The last task work's head, kept for the next one, so that most need no allocation.
 * xchg() passes it on without a lock.
 */
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

/**
 * pinfs_helper_task_work_exit() - free the spare head
 *
 * Context: module exit.  No task work is pending.
 */
void pinfs_helper_task_work_exit(void)
{
	put_head(NULL);
}

/**
 * pinfs_helper_task_work() - run a function before the current task returns to user space
 * @module: the module that has the function; a reference keeps it until
 *	pinfs_helper_task_work_done()
 * @func: the function, which ends with pinfs_helper_task_work_done()
 *
 * Context: any.
 * Return: false if the current context belongs to no task that returns to user space,
 * if there is no memory, or if the module is about to be unloaded.
 */
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

/**
 * pinfs_helper_task_work_done() - end a task work
 * @module: the module
 * @head: the argument of the function
 */
void pinfs_helper_task_work_done(struct module *module,
				 struct callback_head *head)
{
	put_head(head);
	module_put(module);
}
