/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints.  Names and fields are an interface: fields are only added.
 *
 * Ranges are in bytes, from start up to end; an end of 2^63 - 1 stands for the
 * largest offset.  lease is the argument of F_SETLEASE.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM pinfs

#if !defined(_PINFS_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _PINFS_TRACE_H

#include <linux/fs.h>
#include <linux/tracepoint.h>

#define PINFS_TRACE_RANGE						\
	__field(dev_t, dev)						\
	__field(u64, ino)						\
	__field(u64, start)						\
	__field(u64, end)

#define PINFS_TRACE_ASSIGN						\
	__entry->dev = inode->i_sb->s_dev;				\
	__entry->ino = inode->i_ino;					\
	__entry->start = start;						\
	__entry->end = end

#define PINFS_TRACE_FORMAT	"dev %d:%d ino %llu start %llu end %llu"
#define PINFS_TRACE_VALUES						\
	MAJOR(__entry->dev), MINOR(__entry->dev), __entry->ino,		\
	__entry->start, __entry->end

/* A range was put under a lease. */
TRACE_EVENT(lease_set,
	TP_PROTO(const struct inode *inode, u64 start, u64 end, int lease),
	TP_ARGS(inode, start, end, lease),
	TP_STRUCT__entry(
		PINFS_TRACE_RANGE
		__field(int, lease)
	),
	TP_fast_assign(
		PINFS_TRACE_ASSIGN;
		__entry->lease = lease;
	),
	TP_printk(PINFS_TRACE_FORMAT " lease %s", PINFS_TRACE_VALUES,
		  __print_flags(__entry->lease, "|",
				{ 16, "LAYOUT" },
				{ 32, "EXCLUSIVE" },
				{ 64, "UNBREAK" }))
);

/* Ranges of a lease have ended, or its remaining ranges are orphaned. */
TRACE_EVENT(lease_release,
	TP_PROTO(const struct inode *inode, u64 start, u64 end, int reason),
	TP_ARGS(inode, start, end, reason),
	TP_STRUCT__entry(
		PINFS_TRACE_RANGE
		__field(int, reason)
	),
	TP_fast_assign(
		PINFS_TRACE_ASSIGN;
		__entry->reason = reason;
	),
	TP_printk(PINFS_TRACE_FORMAT " reason %s", PINFS_TRACE_VALUES,
		  __print_symbolic(__entry->reason,
				   { 0, "released" },
				   { 1, "closed" },
				   { 2, "orphaned" },
				   { 3, "timed_out" }))
);

DECLARE_EVENT_CLASS(pinfs_range,
	TP_PROTO(const struct inode *inode, u64 start, u64 end),
	TP_ARGS(inode, start, end),
	TP_STRUCT__entry(
		PINFS_TRACE_RANGE
	),
	TP_fast_assign(
		PINFS_TRACE_ASSIGN;
	),
	TP_printk(PINFS_TRACE_FORMAT, PINFS_TRACE_VALUES)
);

/* The current task wants the range, and the holder of a lease is notified. */
DEFINE_EVENT(pinfs_range, lease_break,
	TP_PROTO(const struct inode *inode, u64 start, u64 end),
	TP_ARGS(inode, start, end)
);

/* The range was pinned for long. */
DEFINE_EVENT(pinfs_range, pin,
	TP_PROTO(const struct inode *inode, u64 start, u64 end),
	TP_ARGS(inode, start, end)
);

/* The current task waits for references to a page, or a huge page. */
DEFINE_EVENT(pinfs_range, busy_wait,
	TP_PROTO(const struct inode *inode, u64 start, u64 end),
	TP_ARGS(inode, start, end)
);

/* Long-term references to a page, or a huge page, were removed from the record. */
TRACE_EVENT(unpin,
	TP_PROTO(const struct inode *inode, u64 start, u64 end, u64 refs),
	TP_ARGS(inode, start, end, refs),
	TP_STRUCT__entry(
		PINFS_TRACE_RANGE
		__field(u64, refs)
	),
	TP_fast_assign(
		PINFS_TRACE_ASSIGN;
		__entry->refs = refs;
	),
	TP_printk(PINFS_TRACE_FORMAT " refs %llu", PINFS_TRACE_VALUES,
		  __entry->refs)
);

/* A closed file with referenced pages enters quarantine, or leaves it. */
TRACE_EVENT(quarantine,
	TP_PROTO(const struct inode *inode, bool enter),
	TP_ARGS(inode, enter),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, ino)
		__field(bool, enter)
	),
	TP_fast_assign(
		__entry->dev = inode->i_sb->s_dev;
		__entry->ino = inode->i_ino;
		__entry->enter = enter;
	),
	TP_printk("dev %d:%d ino %llu %s", MAJOR(__entry->dev),
		  MINOR(__entry->dev), __entry->ino,
		  __entry->enter ? "enter" : "leave")
);

#endif /* _PINFS_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE pinfs_trace
#include <trace/define_trace.h>
