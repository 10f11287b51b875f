// SPDX-License-Identifier: GPL-2.0
/* The functions are plain members. */
#include <linux/kobject.h>

#define IS(member, type) \
	_Static_assert(__builtin_types_compatible_p(typeof(((struct kobj_attribute *)0)->member), type), #member)

IS(show, ssize_t (*)(struct kobject *, struct kobj_attribute *, char *));
IS(store, ssize_t (*)(struct kobject *, struct kobj_attribute *, const char *, size_t));
