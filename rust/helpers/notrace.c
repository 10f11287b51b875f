// SPDX-License-Identifier: GPL-2.0
/*
 * As helpers.c: the wrappers that callbacks of ftrace use. This file is compiled
 * without calls of __fentry__, see src/Kbuild.
 */

#include "helpers.h"

#include "notrace/ftrace.c"
#include "notrace/module.c"
#include "notrace/page.c"
#include "notrace/spinlock.c"
#include "notrace/task.c"
#include "notrace/work.c"
