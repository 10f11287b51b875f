// SPDX-License-Identifier: GPL-2.0
/* Installs, updates and finds the layout lease of an open file. */

#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/sched.h>

#include "helpers.h"

/*
 * The kernel's own leases put their fasync entry into place under flc_lock,
 * with memory that modules cannot allocate ahead; ours get it before anybody
 * else sees them.  What is not used (because the file has a layout lease
 * already, which was changed instead) is taken back.
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

/* The lease of a file, under flc_lock. */
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

/* What vfs_setlease() does to a lease that is there, and nothing else of it. */
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
