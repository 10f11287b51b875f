// SPDX-License-Identifier: GPL-2.0
/* Wrappers: sysfs. */

#include <linux/sysfs.h>

void pinfs_helper_sysfs_attr_init(struct attribute *attr)
{
	sysfs_attr_init(attr);
}
