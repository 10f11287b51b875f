// SPDX-License-Identifier: GPL-2.0
/*
 * The wrappers that callbacks of ftrace call, as in helpers/helpers.c.  src/Kbuild
 * excludes them from ftrace.
 */

#include "helpers.h"

#include "notrace/ftrace.c"
#include "notrace/module.c"
#include "notrace/page.c"
#include "notrace/spinlock.c"
#include "notrace/task.c"
#include "notrace/work.c"
