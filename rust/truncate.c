// SPDX-License-Identifier: GPL-2.0
/* The second permission check of a truncate. */

#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/mount.h>

#include "helpers.h"

/**
 * pinfs_helper_recheck_truncate() - check the permission for a truncate again
 * @idmap: idmap of the mount
 * @dentry: the file
 * @attr: attributes to be set; ATTR_KILL_PRIV is cleared
 *
 * Repeats the checks of vfs_truncate(), do_ftruncate(), may_open() and nfsd before
 * they call notify_change(), and the checks of the file and the caller that
 * notify_change() makes when the size changes.  A truncate by name, or one that is
 * part of an open, needs permission.  A file that is open for writing keeps it.  nfsd
 * has no files that stay open, and permits the owner what a descriptor would permit.
 *
 * Then removes set-user-ID and set-group-ID bits and capabilities that the file may
 * have got since.  This is a call of its own, because the caller's request depends on
 * what the file had before.  Security modules and fanotify are not asked again: a
 * module has no way to do that.
 *
 * Context: process context, may sleep.  The caller holds i_rwsem of the file
 * exclusively, and write access to the superblock.
 * Return: 0 or a negative errno.
 */
int pinfs_helper_recheck_truncate(struct mnt_idmap *idmap,
				  struct dentry *dentry, struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	struct iattr privs = { .ia_valid = ATTR_FORCE | ATTR_KILL_PRIV };
	int ret;

	if (sb_rdonly(inode->i_sb))
		return -EROFS;
	if (IS_APPEND(inode) || IS_IMMUTABLE(inode))
		return -EPERM;
	if (!(attr->ia_valid & ATTR_FILE) || (attr->ia_valid & ATTR_OPEN)) {
		ret = inode_permission(idmap, inode, MAY_WRITE);
		if (ret == -EACCES && pinfs_helper_is_server() &&
		    vfsuid_eq_kuid(i_uid_into_vfsuid(idmap, inode),
				   current_fsuid()))
			ret = 0;
		if (ret)
			return ret;
	}
	attr->ia_valid &= ~ATTR_KILL_PRIV;
	ret = setattr_prepare(idmap, dentry, attr);
	if (ret)
		return ret;
	if (IS_NOSEC(inode))
		return 0;
	privs.ia_valid |= setattr_should_drop_suidgid(idmap, inode);
	return notify_change(idmap, dentry, &privs, NULL);
}
