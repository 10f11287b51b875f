/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Inline functions and macros of the kernel, as functions that Rust can call.
 * Each is named after the one it stands for.
 */
#ifndef _PINFS_HELPERS_H
#define _PINFS_HELPERS_H

#include <linux/fs.h>

void pinfs_helper_inode_lock(struct inode *inode);

#endif /* _PINFS_HELPERS_H */
