// SPDX-License-Identifier: GPL-2.0

#include "helpers.h"

void pinfs_helper_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}
