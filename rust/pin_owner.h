/* SPDX-License-Identifier: GPL-2.0 */
/*
 * In whose name the current task pins and unpins, where a caller within the
 * kernel has said so.
 */
#ifndef _PINFS_ACTING_H
#define _PINFS_ACTING_H

#include <linux/list.h>

struct task_struct;
struct vaddr_pin;

/* Lives on the task's stack while it acts for somebody. */
struct acting {
	struct list_head list;
	const struct task_struct *task;
	const struct vaddr_pin *owner;
};

void acting_begin(struct acting *acting, const struct vaddr_pin *owner);
void acting_end(struct acting *acting);

#endif /* _PINFS_ACTING_H */
