// SPDX-License-Identifier: GPL-2.0
/* Wrappers: locks of inodes, and write access to the superblock. */

#include <linux/fs.h>
#include <linux/rwsem.h>

void pinfs_helper_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

bool pinfs_helper_inode_trylock(struct inode *inode)
{
	return inode_trylock(inode);
}

void pinfs_helper_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

void pinfs_helper_inode_lock_shared(struct inode *inode)
{
	inode_lock_shared(inode);
}

bool pinfs_helper_inode_trylock_shared(struct inode *inode)
{
	return inode_trylock_shared(inode);
}

void pinfs_helper_inode_unlock_shared(struct inode *inode)
{
	inode_unlock_shared(inode);
}

void pinfs_helper_invalidate_lock(struct inode *inode)
{
	filemap_invalidate_lock(inode->i_mapping);
}

void pinfs_helper_invalidate_unlock(struct inode *inode)
{
	filemap_invalidate_unlock(inode->i_mapping);
}

void pinfs_helper_invalidate_lock_shared(struct inode *inode)
{
	filemap_invalidate_lock_shared(inode->i_mapping);
}

void pinfs_helper_invalidate_unlock_shared(struct inode *inode)
{
	filemap_invalidate_unlock_shared(inode->i_mapping);
}

void pinfs_helper_sb_start_write(struct inode *inode)
{
	sb_start_write(inode->i_sb);
}

void pinfs_helper_sb_end_write(struct inode *inode)
{
	sb_end_write(inode->i_sb);
}

void pinfs_helper_sb_start_intwrite(struct inode *inode)
{
	sb_start_intwrite(inode->i_sb);
}

void pinfs_helper_sb_end_intwrite(struct inode *inode)
{
	sb_end_intwrite(inode->i_sb);
}

void pinfs_helper_sb_start_pagefault(struct inode *inode)
{
	sb_start_pagefault(inode->i_sb);
}

void pinfs_helper_sb_end_pagefault(struct inode *inode)
{
	sb_end_pagefault(inode->i_sb);
}

void pinfs_helper_down_write_nested(struct rw_semaphore *sem, int subclass)
{
	down_write_nested(sem, subclass);
}
