// SPDX-License-Identifier: GPL-2.0
/* struct iomap_ops has iomap_next(), and iomap's functions take the structure. */
#include <linux/dax.h>
#include <linux/iomap.h>

_Static_assert(__builtin_types_compatible_p(typeof(((struct iomap_ops *)0)->iomap_next),
	int (*)(const struct iomap_iter *, struct iomap *, struct iomap *)), "iomap_next");
_Static_assert(__builtin_types_compatible_p(typeof(iomap_iter_continue),
	int (const struct iomap_iter *, struct iomap *, struct iomap *, int)), "iomap_iter_continue");
_Static_assert(__builtin_types_compatible_p(typeof(dax_iomap_rw),
	ssize_t (struct kiocb *, struct iov_iter *, const struct iomap_ops *)), "dax_iomap_rw");
