/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The owner that a caller in the kernel has named for the pins that the current task
 * takes and releases.
 */
#ifndef _PINFS_PIN_OWNER_H
#define _PINFS_PIN_OWNER_H

#include <linux/list.h>

struct task_struct;
struct vaddr_pin;

/**
 * struct pin_owner_scope - a part of a task's execution with a named owner
 * @list: in the list of all scopes
 * @task: the task
 * @owner: the owner of the pins that the task takes and releases in the scope
 *
 * It is on the stack of @task.
 */
struct pin_owner_scope {
	struct list_head list;
	const struct task_struct *task;
	const struct vaddr_pin *owner;
};

void pin_owner_scope_begin(struct pin_owner_scope *scope, const struct vaddr_pin *owner);
void pin_owner_scope_end(struct pin_owner_scope *scope);

#endif /* _PINFS_PIN_OWNER_H */
