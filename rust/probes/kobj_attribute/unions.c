// SPDX-License-Identifier: GPL-2.0
/* Each function is in a union with the one that takes a constant attribute. */
#include <linux/kobject.h>

#define IS(member, type) \
	_Static_assert(__builtin_types_compatible_p(typeof(((struct kobj_attribute *)0)->member), type), #member)

IS(show, ssize_t (*)(struct kobject *, struct kobj_attribute *, char *));
IS(show_const, ssize_t (*)(struct kobject *, const struct kobj_attribute *, char *));
IS(store, ssize_t (*)(struct kobject *, struct kobj_attribute *, const char *, size_t));
IS(store_const, ssize_t (*)(struct kobject *, const struct kobj_attribute *, const char *, size_t));
