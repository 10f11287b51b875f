// SPDX-License-Identifier: GPL-2.0
/*
 * Tracepoints, and the functions by which Rust calls them.  The tracepoints of the
 * kernel crate would have to be in its own bindings.
 */

#include "helpers.h"

#define CREATE_TRACE_POINTS
#include "pinfs_trace.h"

void pinfs_helper_trace_lease_set(const struct inode *inode, u64 start,
				  u64 end, int lease)
{
	trace_lease_set(inode, start, end, lease);
}

void pinfs_helper_trace_lease_release(const struct inode *inode, u64 start,
				      u64 end, int reason)
{
	trace_lease_release(inode, start, end, reason);
}

void pinfs_helper_trace_lease_break(const struct inode *inode, u64 start,
				    u64 end)
{
	trace_lease_break(inode, start, end);
}

void pinfs_helper_trace_pin(const struct inode *inode, u64 start, u64 end)
{
	trace_pin(inode, start, end);
}

void pinfs_helper_trace_unpin(const struct inode *inode, u64 start, u64 end,
			      u64 refs)
{
	trace_unpin(inode, start, end, refs);
}

void pinfs_helper_trace_busy_wait(const struct inode *inode, u64 start,
				  u64 end)
{
	trace_busy_wait(inode, start, end);
}

void pinfs_helper_trace_quarantine(const struct inode *inode, bool enter)
{
	trace_quarantine(inode, enter);
}
