// SPDX-License-Identifier: GPL-2.0
/*
 * The layout lease of an open file: a struct file_lease of type FL_LAYOUT on the
 * flc_lease list of the inode, with the functions of pinfs.  An open file has at
 * most one.
 */

#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/sched.h>

#include "helpers.h"

/**
 * pinfs_helper_layout_lease_install() - set the layout lease of an open file
 * @file: the file
 * @fd: its descriptor, for signals
 * @ops: functions of the lease
 *
 * Allocates the fasync entry before the lease is visible.  The kernel inserts the
 * entry of its own leases under flc_lock, with memory that modules cannot allocate in
 * advance.  If the file already has a layout lease, this changes that lease and frees
 * the new one.
 *
 * Context: process context, may sleep.  vfs_setlease() takes flc_lock.
 * Return: 0 or a negative errno.
 */
int pinfs_helper_layout_lease_install(struct file *file, int fd,
				      const struct lease_manager_operations *ops)
{
	struct file_lease *lease = locks_alloc_lease();
	struct file_lease *unused = lease;
	int ret;

	if (!lease)
		return -ENOMEM;
	lease->c.flc_owner = file;
	lease->c.flc_pid = current->tgid;
	lease->c.flc_file = file;
	lease->c.flc_flags = FL_LAYOUT;
	lease->c.flc_type = F_RDLCK;
	lease->fl_lmops = ops;

	ret = fasync_helper(fd, file, 1, &lease->fl_fasync);
	if (ret >= 0)
		ret = vfs_setlease(file, F_RDLCK, &unused, NULL);
	if (unused) {
		fasync_helper(-1, file, 0, &unused->fl_fasync);
		locks_free_lease(unused);
	}
	return ret;
}

/* Returns the layout lease of a file, or NULL.  The caller holds flc_lock. */
static struct file_lease *
find_layout_lease(struct file_lock_context *ctx, const struct file *file,
		  const struct lease_manager_operations *ops)
{
	struct file_lease *lease;

	list_for_each_entry(lease, &ctx->flc_lease, c.flc_list)
		if (lease->c.flc_file == file && lease->fl_lmops == ops)
			return lease;
	return NULL;
}

/**
 * pinfs_helper_file_has_layout_lease() - check for a layout lease
 * @file: an open file
 * @ops: functions of the lease
 *
 * Context: process context, also with preemption disabled.  Takes flc_lock.
 * Return: true if the file has one.
 */
bool pinfs_helper_file_has_layout_lease(const struct file *file,
					const struct lease_manager_operations *ops)
{
	struct file_lock_context *ctx = locks_inode_context(file_inode(file));
	bool found;

	if (!ctx || list_empty_careful(&ctx->flc_lease))
		return false;
	spin_lock(&ctx->flc_lock);
	found = find_layout_lease(ctx, file, ops);
	spin_unlock(&ctx->flc_lock);
	return found;
}

/**
 * pinfs_helper_layout_lease_update() - change the layout lease of an open file
 * @file: the file
 * @ops: functions of the lease
 *
 * Only calls ->lm_change(), as vfs_setlease() does for an existing lease.
 *
 * Context: process context.  Takes flc_lock.
 * Return: what ->lm_change() returns, or -EAGAIN if there is no layout lease.
 */
int pinfs_helper_layout_lease_update(struct file *file,
				     const struct lease_manager_operations *ops)
{
	struct file_lock_context *ctx = locks_inode_context(file_inode(file));
	struct file_lease *lease;
	int ret = -EAGAIN;
	LIST_HEAD(dispose);

	if (!ctx)
		return ret;
	spin_lock(&ctx->flc_lock);
	lease = find_layout_lease(ctx, file, ops);
	if (lease)
		ret = ops->lm_change(lease, F_RDLCK, &dispose);
	spin_unlock(&ctx->flc_lock);
	return ret;
}

/**
 * pinfs_helper_file_has_other_lease() - check for a lease that is not a layout lease
 * @file: an open file
 * @ops: functions of layout leases
 *
 * Context: the caller holds flc_lock.
 * Return: true if the file has one.
 */
bool pinfs_helper_file_has_other_lease(const struct file *file,
				       const struct lease_manager_operations *ops)
{
	struct file_lock_context *ctx = locks_inode_context(file_inode(file));
	struct file_lease *lease;

	lockdep_assert_held(&ctx->flc_lock);
	list_for_each_entry(lease, &ctx->flc_lease, c.flc_list)
		if (lease->c.flc_file == file && lease->fl_lmops != ops)
			return true;
	return false;
}
