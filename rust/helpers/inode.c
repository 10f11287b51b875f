// SPDX-License-Identifier: GPL-2.0
/* Wrappers: inodes and their attributes. */

#include <linux/fileattr.h>
#include <linux/fs.h>
#include <linux/iversion.h>
#include <linux/kdev_t.h>

loff_t pinfs_helper_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

void pinfs_helper_mark_dirty(struct inode *inode)
{
	mark_inode_dirty(inode);
}

bool pinfs_helper_is_dirty(const struct inode *inode)
{
	return inode_state_read_once((struct inode *)inode) & I_DIRTY_DATASYNC;
}

void pinfs_helper_i_size_write(struct inode *inode, loff_t size)
{
	i_size_write(inode, size);
}

u64 pinfs_helper_peek_iversion(const struct inode *inode)
{
	return inode_peek_iversion(inode);
}

/* Sets I_VERSION_QUERIED: the version may have been read before the inode left memory. */
void pinfs_helper_set_iversion(struct inode *inode, u64 version)
{
	inode_set_iversion_queried(inode, version);
}

bool pinfs_helper_fileattr_has_fsx(const struct file_kattr *fa)
{
	return fileattr_has_fsx(fa);
}

u32 pinfs_helper_fileattr_flags(const struct file_kattr *fa)
{
	return fa->flags;
}

u32 pinfs_helper_i_uid_read(const struct inode *inode)
{
	return i_uid_read(inode);
}

u32 pinfs_helper_i_gid_read(const struct inode *inode)
{
	return i_gid_read(inode);
}

void pinfs_helper_i_uid_write(struct inode *inode, u32 uid)
{
	i_uid_write(inode, uid);
}

void pinfs_helper_i_gid_write(struct inode *inode, u32 gid)
{
	i_gid_write(inode, gid);
}

struct timespec64 pinfs_helper_inode_get_atime(const struct inode *inode)
{
	return inode_get_atime(inode);
}

struct timespec64 pinfs_helper_inode_get_mtime(const struct inode *inode)
{
	return inode_get_mtime(inode);
}

struct timespec64 pinfs_helper_inode_get_ctime(const struct inode *inode)
{
	return inode_get_ctime(inode);
}

void pinfs_helper_inode_set_atime(struct inode *inode, struct timespec64 ts)
{
	inode_set_atime_to_ts(inode, ts);
}

void pinfs_helper_inode_set_mtime(struct inode *inode, struct timespec64 ts)
{
	inode_set_mtime_to_ts(inode, ts);
}

bool pinfs_helper_inode_is_new(struct inode *inode)
{
	return inode_state_read_once(inode) & I_NEW;
}

u32 pinfs_helper_new_encode_dev(dev_t dev)
{
	return new_encode_dev(dev);
}

dev_t pinfs_helper_new_decode_dev(u32 dev)
{
	return new_decode_dev(dev);
}

bool pinfs_helper_get_write_access(struct inode *inode)
{
	return !get_write_access(inode);
}

void pinfs_helper_put_write_access(struct inode *inode)
{
	put_write_access(inode);
}

bool pinfs_helper_mapping_mapped(const struct inode *inode)
{
	return mapping_mapped(inode->i_mapping);
}
