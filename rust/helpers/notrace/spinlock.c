// SPDX-License-Identifier: GPL-2.0
/* Wrappers: spin locks that are taken with interrupts disabled. */

#include <linux/lockdep.h>
#include <linux/spinlock.h>

/* Serialises pinfs_helper_spin_lock_init_once().  A leaf. */
static DEFINE_RAW_SPINLOCK(init_lock);

/*
 * Initialises a lock in static memory when it is first used, in any context.  There
 * is one such lock, and so one class.
 */
void pinfs_helper_spin_lock_init_once(spinlock_t *lock, const char *name, bool *ready)
{
	static struct lock_class_key key;
	unsigned long flags;

	raw_spin_lock_irqsave(&init_lock, flags);
	if (!*ready) {
		spin_lock_init(lock);
		lockdep_set_class_and_name(lock, &key, name);
		smp_store_release(ready, true);
	}
	raw_spin_unlock_irqrestore(&init_lock, flags);
}

unsigned long pinfs_helper_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

void pinfs_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}
