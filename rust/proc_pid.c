// SPDX-License-Identifier: GPL-2.0
/* The file in /proc/PID: tries it, shows it, and forgets it. */

#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>

#include "helpers.h"

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
 * procfs answers ENOENT also if it has no memory for an inode.  What is really
 * not there is not there the next time either.
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

/*
 * Looks the file up in /proc/self and /proc/thread-self, in an instance of
 * procfs of our own: the caller's may not have one.
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

bool pinfs_helper_pid_file_uncache(struct dentry *dentry, struct dentry *found)
{
	if (IS_ERR(found))
		return false;
	d_drop(found ?: dentry);
	return true;
}

/* An inode number means nothing here, as it is another after each look-up. */
void pinfs_helper_pid_file_emit(struct dir_context *ctx, const char *name)
{
	if (dir_emit(ctx, name, strlen(name), 1, DT_REG))
		ctx->pos++;
}

static void pid_file_forget_in(struct super_block *sb, void *fop)
{
	struct dentry *dentry;
	struct inode *inode;

again:
	spin_lock(&sb->s_inode_list_lock);
	list_for_each_entry(inode, &sb->s_inodes, i_sb_list) {
		/* One that is being freed is in no dentry, so none can open it. */
		if (inode->i_fop != fop || !igrab(inode))
			continue;
		spin_unlock(&sb->s_inode_list_lock);
		make_bad_inode(inode);
		/* Inodes of procfs have one dentry. */
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

void pinfs_helper_pid_file_forget(struct pinfs_pid_file *file)
{
	struct file_system_type *type = get_fs_type("proc");

	if (!type)
		return;
	iterate_supers_type(type, pid_file_forget_in, &file->fop);
	module_put(type->owner);
}
