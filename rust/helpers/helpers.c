// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of the kernel, as functions that Rust can call.  There
 * is a file for each subject; all are one translation unit.  A function has the
 * locking and the context of the wrapped one, unless its comment states otherwise.
 */

#include "helpers.h"

#include "acl.c"
#include "bdev.c"
#include "dax.c"
#include "dir.c"
#include "file.c"
#include "inode.c"
#include "lease.c"
#include "lock.c"
#include "mm.c"
#include "pmem.c"
#include "proc.c"
#include "super.c"
#include "sysfs.c"
#include "task.c"
#include "wait.c"
#include "work.c"
