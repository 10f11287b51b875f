// SPDX-License-Identifier: GPL-2.0
/* Wrappers: POSIX ACLs as extended attributes. */

#include <linux/posix_acl_xattr.h>

struct posix_acl *pinfs_helper_acl_from_xattr(const void *value, size_t size)
{
	return posix_acl_from_xattr(&init_user_ns, value, size);
}

void *pinfs_helper_acl_to_xattr(const struct posix_acl *acl, size_t *size)
{
	return posix_acl_to_xattr(&init_user_ns, acl, size, GFP_NOFS);
}

void pinfs_helper_acl_release(struct posix_acl *acl)
{
	posix_acl_release(acl);
}
