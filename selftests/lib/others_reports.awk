# SPDX-License-Identifier: GPL-2.0
#
# Drop the reports of a kernel log that are known, and of which pinfs is not the cause.

/WARNING:|BUG:|Oops/ { known = 0 }

# Some allocations of the kernel's module loader tell of their failure with a trace. The test `fail_alloc`
# lets them fail.
/fail_alloc: vmalloc error: / || /WARNING: kernel\/(jump_label|trace\/(fprobe|trace_events))\.c:.* fail_alloc\// { known = 1 }

# soft-RoCE schedules the task of a queue pair whose last reference is gone, when a process that owns
# one is killed while its peer sends. It checks for that itself, and says so twice.
/WARNING: drivers\/infiniband\/sw\/rxe\/rxe_task\.c:[0-9]+ at rxe_sched_task\+/ { known = 1 }

!known { print }

# A report ends with its trace.
/ <\/TASK>/ || /---\[ end trace / { known = 0 }
