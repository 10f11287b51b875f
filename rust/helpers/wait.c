// SPDX-License-Identifier: GPL-2.0
/* Wrappers: waits and wait queues. */

#include <linux/fs.h>
#include <linux/wait.h>
#include <linux/wait_bit.h>

/*
 * Waits until a counter is 0 or the superblock is being frozen.  Returns 0 or
 * -ERESTARTSYS.  The task that sets the counter to 0 calls wake_up_var().
 */
int pinfs_helper_wait_zero_or_frozen(int *counter, const struct super_block *sb)
{
	return wait_var_event_killable(counter, READ_ONCE(*counter) == 0 ||
				       READ_ONCE(sb->s_writers.frozen) != SB_UNFROZEN);
}

/* Removes an entry from a wait queue.  Returns true if it was still in the queue. */
bool pinfs_helper_unwait(struct wait_queue_head *head,
			 struct wait_queue_entry *entry)
{
	unsigned long flags;
	bool waited;

	spin_lock_irqsave(&head->lock, flags);
	waited = !list_empty(&entry->entry);
	list_del_init(&entry->entry);
	spin_unlock_irqrestore(&head->lock, flags);
	return waited;
}

void pinfs_helper_list_del_init(struct list_head *entry)
{
	list_del_init(entry);
}
