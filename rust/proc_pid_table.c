// SPDX-License-Identifier: GPL-2.0
/*
 * Recognises look-ups and listings of /proc/PID and /proc/PID/task/TID.  Runs with
 * preemption disabled, in callbacks of ftrace at the entry of proc_pident_lookup()
 * and proc_pident_readdir().  proc_pid.c has the rest of the file of pinfs there.
 */

#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/stat.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "helpers.h"

/**
 * pinfs_helper_dentry_is() - compare the name of a dentry
 * @dentry: the dentry of a look-up, whose name does not change
 * @name: the name
 *
 * Return: true if they are the same.
 */
bool pinfs_helper_dentry_is(const struct dentry *dentry, const char *name)
{
	return dentry->d_name.len == strlen(name) &&
	       !memcmp(dentry->d_name.name, name, dentry->d_name.len);
}

/* The task that looks up the file while the module is loaded, or NULL. */
struct task_struct *pinfs_pid_file_prober;

bool pinfs_helper_pid_file_is_probed(void)
{
	return READ_ONCE(pinfs_pid_file_prober) == current;
}

/* Protects entry.fop, fop and tables of a struct pinfs_pid_file.  A leaf. */
static DEFINE_RAW_SPINLOCK(pid_table_lock);

/*
 * Returns true if a table is that of /proc/PID (which begins with "task") or of
 * /proc/PID/task/TID (which begins with "fd"), and has the expected layout.  Then
 * @file keeps the table.  The entry "status" has the functions of any file that one
 * function prints.  The first table completes the entry of @file with a copy of them,
 * which the module owns.
 *
 * Does not trust the table, which is of a private structure of the kernel.
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

/**
 * pinfs_helper_pid_table() - recognise the table of a process or a thread
 * @file: the file of pinfs
 * @table: the table that procfs searches or lists
 * @count: its number of entries
 *
 * Context: any.
 * Return: true if the entry of @file belongs to @table, and is complete.
 */
bool pinfs_helper_pid_table(struct pinfs_pid_file *file,
			    const struct pinfs_pid_entry *table,
			    unsigned long count)
{
	return smp_load_acquire(&file->tables[0]) == table ||
	       smp_load_acquire(&file->tables[1]) == table ||
	       pid_table_inspect(file, table, count);
}
