// SPDX-License-Identifier: GPL-2.0
/* The tables of /proc/PID and /proc/PID/task/TID. */

#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/stat.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "helpers.h"

bool pinfs_helper_dentry_is(const struct dentry *dentry, const char *name)
{
	return dentry->d_name.len == strlen(name) &&
	       !memcmp(dentry->d_name.name, name, dentry->d_name.len);
}

/* The task that tries the file while the module is being loaded. */
struct task_struct *pinfs_pid_file_prober;

bool pinfs_helper_pid_file_is_probed(void)
{
	return READ_ONCE(pinfs_pid_file_prober) == current;
}

static DEFINE_RAW_SPINLOCK(pid_table_lock);

/*
 * Whether a table is that of /proc/PID (which begins with "task") or of
 * /proc/PID/task/TID (which begins with "fd"), and looks as we know it.  The
 * functions of the entry "status" are those of any file that is printed by one
 * function; ours are the same, but owned by the module.
 */
static bool pid_table_inspect(struct pinfs_pid_file *file,
			      const struct pinfs_pid_entry *table,
			      unsigned long count)
{
	const struct file_operations *fop = NULL;
	struct pinfs_pid_entry entry;
	unsigned long i, flags;
	char name[32];
	int slot = -1;

	if (count < 16 || count > 128)
		return false;
	for (i = 0; i < count; i++) {
		if (copy_from_kernel_nofault(&entry, table + i, sizeof(entry)) ||
		    !entry.len || entry.len >= sizeof(name) ||
		    copy_from_kernel_nofault(name, entry.name, entry.len + 1) ||
		    strnlen(name, sizeof(name)) != entry.len)
			return false;
		if (!S_ISREG(entry.mode) && !S_ISDIR(entry.mode) &&
		    !S_ISLNK(entry.mode))
			return false;
		if (i == 0 && S_ISDIR(entry.mode) && !strcmp(name, "task"))
			slot = 0;
		if (i == 0 && S_ISDIR(entry.mode) && !strcmp(name, "fd"))
			slot = 1;
		if (!strcmp(name, "status") && entry.mode == (S_IFREG | 0444) &&
		    !entry.iop && entry.show)
			fop = entry.fop;
	}
	if (slot < 0 || !fop)
		return false;
	raw_spin_lock_irqsave(&pid_table_lock, flags);
	if (!file->entry.fop &&
	    !copy_from_kernel_nofault(&file->fop, fop, sizeof(file->fop))) {
		file->fop.owner = file->owner;
		file->entry.fop = &file->fop;
	}
	if (file->entry.fop)
		smp_store_release(&file->tables[slot], table);
	raw_spin_unlock_irqrestore(&pid_table_lock, flags);
	return file->entry.fop;
}

bool pinfs_helper_pid_table(struct pinfs_pid_file *file,
			    const struct pinfs_pid_entry *table,
			    unsigned long count)
{
	return smp_load_acquire(&file->tables[0]) == table ||
	       smp_load_acquire(&file->tables[1]) == table ||
	       pid_table_inspect(file, table, count);
}
