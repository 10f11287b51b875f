// SPDX-License-Identifier: GPL-2.0
/*
 * The file of pinfs in /proc/PID and /proc/PID/task/TID: its entry, a trial look-up
 * while the module is loaded, and its removal.  proc_pid_table.c has the functions
 * that run in callbacks of ftrace.
 */

#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>

#include "helpers.h"

/**
 * pinfs_helper_pid_file_init() - fill in the entry of the file
 * @file: zeroed; not in use yet
 * @owner: pinfs
 * @name: name of the file
 * @show: prints the file
 *
 * pinfs_helper_pid_table() completes the entry when it has recognised a table of the
 * kernel.
 */
void pinfs_helper_pid_file_init(struct pinfs_pid_file *file,
				struct module *owner, const char *name,
				pinfs_pid_show_t show)
{
	file->owner = owner;
	file->entry.name = name;
	file->entry.len = strlen(name);
	file->entry.mode = S_IFREG | 0444;
	file->entry.show = show;
}

/*
 * Looks up a path in an instance of procfs.  Returns 0 or a negative errno.  procfs
 * returns ENOENT also if it cannot allocate an inode, so this retries after ENOENT: a
 * file that does not exist does not exist the next time either.
 */
static int pid_file_lookup(struct vfsmount *mnt, const char *name)
{
	struct path path;
	int tries, ret;

	for (tries = 0; tries < 3; tries++) {
		ret = vfs_path_lookup(mnt->mnt_root, mnt, name, LOOKUP_FOLLOW,
				      &path);
		if (!ret)
			path_put(&path);
		if (ret != -ENOENT)
			break;
	}
	return ret;
}

/**
 * pinfs_helper_pid_file_probe() - check by a look-up whether the file exists
 * @name: name of the file
 *
 * Looks up the file in /proc/self and /proc/thread-self, in an internal mount of
 * procfs: the caller may not have one.  pinfs_pid_file_prober is the current task
 * during the look-ups.
 *
 * Context: process context, may sleep.
 * Return: 0 or a negative errno.
 */
int pinfs_helper_pid_file_probe(const char *name)
{
	static const char * const dirs[] = { "self", "thread-self" };
	struct file_system_type *type = get_fs_type("proc");
	struct vfsmount *mnt;
	char path_name[64];
	int ret = 0;
	int i;

	if (!type)
		return -ENOENT;
	mnt = kern_mount(type);
	module_put(type->owner);
	if (IS_ERR(mnt))
		return PTR_ERR(mnt);
	WRITE_ONCE(pinfs_pid_file_prober, current);
	for (i = 0; !ret && i < ARRAY_SIZE(dirs); i++) {
		scnprintf(path_name, sizeof(path_name), "%s/%s", dirs[i], name);
		ret = pid_file_lookup(mnt, path_name);
	}
	WRITE_ONCE(pinfs_pid_file_prober, NULL);
	kern_unmount(mnt);
	return ret;
}

/**
 * pinfs_helper_pid_file_uncache() - keep the result of a look-up out of the dcache
 * @dentry: the dentry that was looked up
 * @found: result of the look-up: NULL if @dentry was used, another dentry, or an errno
 *
 * Return: true if the file was found.
 */
bool pinfs_helper_pid_file_uncache(struct dentry *dentry, struct dentry *found)
{
	if (IS_ERR(found))
		return false;
	d_drop(found ?: dentry);
	return true;
}

/**
 * pinfs_helper_pid_file_emit() - list the file
 * @ctx: the listing, at the position after the last entry of the kernel
 * @name: name of the file
 *
 * The inode number has no meaning, as each look-up creates a new inode.
 */
void pinfs_helper_pid_file_emit(struct dir_context *ctx, const char *name)
{
	if (dir_emit(ctx, name, strlen(name), 1, DT_REG))
		ctx->pos++;
}

/* Makes all inodes bad in one procfs that have given functions, and drops their dentries. */
static void pid_file_forget_in(struct super_block *sb, void *fop)
{
	struct dentry *dentry;
	struct inode *inode;

again:
	spin_lock(&sb->s_inode_list_lock);
	list_for_each_entry(inode, &sb->s_inodes, i_sb_list) {
		/* An inode that is being freed has no dentry, so it cannot be opened. */
		if (inode->i_fop != fop || !igrab(inode))
			continue;
		spin_unlock(&sb->s_inode_list_lock);
		make_bad_inode(inode);
		/* An inode of procfs has one dentry. */
		dentry = d_find_any_alias(inode);
		if (dentry) {
			d_invalidate(dentry);
			dput(dentry);
		}
		iput(inode);
		cond_resched();
		goto again;
	}
	spin_unlock(&sb->s_inode_list_lock);
}

/**
 * pinfs_helper_pid_file_forget() - remove the file from all instances of procfs
 * @file: the file, which no later look-up finds
 *
 * Context: process context, may sleep.  Takes s_umount of each instance of procfs
 * shared, and s_inode_list_lock.
 */
void pinfs_helper_pid_file_forget(struct pinfs_pid_file *file)
{
	struct file_system_type *type = get_fs_type("proc");

	if (!type)
		return;
	iterate_supers_type(type, pid_file_forget_in, &file->fop);
	module_put(type->owner);
}
