// SPDX-License-Identifier: GPL-2.0
/* Wrappers: superblocks. */

#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/fserror.h>
#include <linux/slab.h>
#include <linux/statfs.h>

struct kmem_cache *pinfs_helper_inode_cache_create(const char *name,
						   unsigned int size,
						   unsigned int align,
						   void (*ctor)(void *))
{
	return kmem_cache_create(name, size, align,
				 SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT, ctor);
}

void *pinfs_helper_inode_cache_alloc(struct super_block *sb,
				     struct kmem_cache *cache)
{
	return alloc_inode_sb(sb, cache, GFP_KERNEL);
}

void pinfs_helper_super_set_uuid(struct super_block *sb, const u8 *uuid)
{
	super_set_uuid(sb, uuid, UUID_SIZE);
}

void pinfs_helper_super_set_sysfs_name(struct super_block *sb)
{
	super_set_sysfs_name_bdev(sb);
}

__kernel_fsid_t pinfs_helper_uuid_to_fsid(const u8 *uuid)
{
	return uuid_to_fsid((__u8 *)uuid);
}

void pinfs_helper_report_metadata(struct super_block *sb, int error)
{
	fserror_report_metadata(sb, error, GFP_NOFS);
}

void pinfs_helper_report_shutdown(struct super_block *sb)
{
	fserror_report_shutdown(sb, GFP_NOFS);
}

/* Takes an active reference.  The caller has an open file, which keeps the superblock active. */
void pinfs_helper_super_hold(struct super_block *sb)
{
	atomic_inc(&sb->s_active);
}
