// SPDX-License-Identifier: GPL-2.0
/* create() has an argument that is true if the file must not exist. */
#include <linux/fs.h>

_Static_assert(__builtin_types_compatible_p(typeof(((struct inode_operations *)0)->create),
	int (*)(struct mnt_idmap *, struct inode *, struct dentry *, umode_t, bool)), "create");
