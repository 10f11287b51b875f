/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * pinfs: interface for programs that pin pages of a pinfs file.
 *
 * A layout lease is taken on an open file description:
 *
 *	fcntl(fd, F_SETLEASE, F_LAYOUT | F_EXCLUSIVE);
 *
 * While the process holds it, long-term pins (RDMA memory regions, io_uring
 * registered buffers, ...) of the file's pages are granted.  While such pins
 * live, operations that would free the pinned blocks fail with ETXTBSY, or with
 * EDEADLK in the process that holds the lease.
 *
 *	fcntl(fd, F_GETLEASE)			the bits held, or F_UNLCK
 *	fcntl(fd, F_SETLEASE, F_UNLCK)		EBUSY while pins live
 *
 * These bits are arguments of F_SETLEASE and results of F_GETLEASE on files
 * of pinfs only.  On alpha they collide with F_EXLCK and F_SHLCK; pinfs does
 * not build there.
 */
#ifndef _UAPI_LINUX_PINFS_H
#define _UAPI_LINUX_PINFS_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* A layout lease: its holder is notified before the file's blocks change. */
#ifndef F_LAYOUT
#define F_LAYOUT	16
#endif

/* With F_LAYOUT: the lease cannot be broken, and has one holder. */
#ifndef F_EXCLUSIVE
#define F_EXCLUSIVE	32
#endif

/* With F_LAYOUT: the lease cannot be broken, and may have many holders. */
#ifndef F_UNBREAK
#define F_UNBREAK	64
#endif

/*
 * Leases on ranges of a file:
 *
 *	struct pinfs_lease arg = {
 *		.size = sizeof(arg),
 *		.op = PINFS_LEASE_SET,
 *		.lease = F_LAYOUT | F_UNBREAK,
 *		.start = 0,
 *		.len = 1 << 20,
 *	};
 *	ioctl(fd, PINFS_IOC_LEASE, &arg);
 *
 * An open file description may hold many ranges, up to 256 of them (ENOLCK).
 * Ranges are widened to whole pages; len 0 means up to the largest offset.  SET
 * replaces what the description has in the range; neighbouring ranges of one
 * kind become one.  RELEASE releases the range, and splits a held range if it
 * is in the middle of one; EAGAIN if there is nothing to release.  GET changes
 * lease, start and len to those of the first held range that overlaps the given
 * one, or lease to F_UNLCK.  For RELEASE and GET lease must be 0.  fcntl() does
 * the same on the whole file.
 *
 * Leases of different descriptions conflict where their ranges overlap.  When
 * an operation breaks a range with F_LAYOUT alone, the holder must release all
 * such ranges of the description; after a timeout they are gone.  Until then
 * F_GETLEASE and GET do not show them, and SET fails with EAGAIN.
 *
 * The struct may grow.  If size is smaller, from PINFS_LEASE_SIZE_VER0 on, the
 * missing bytes count as zeroes.  A larger size is E2BIG unless the excess
 * bytes are zero.  flags and reserved must be 0.
 */
enum pinfs_lease_op {
	PINFS_LEASE_SET		= 1,
	PINFS_LEASE_GET		= 2,
	PINFS_LEASE_RELEASE	= 3,
};

struct pinfs_lease {
	__u32 size;		/* sizeof(struct pinfs_lease) */
	__u32 op;		/* enum pinfs_lease_op */
	__u32 lease;		/* F_LAYOUT, with F_EXCLUSIVE or F_UNBREAK */
	__u32 flags;
	__u64 start;		/* in bytes */
	__u64 len;
	__u64 reserved;
};

#define PINFS_LEASE_SIZE_VER0	32	/* up to len */

/* The number stays the same when the struct grows. */
#define PINFS_IOC_LEASE \
	_IOC(_IOC_READ | _IOC_WRITE, 0xf9, 1, PINFS_LEASE_SIZE_VER0)

/* statfs(2) f_type: the bytes "pinf". */
#define PINFS_SUPER_MAGIC	0x666e6970

#endif /* _UAPI_LINUX_PINFS_H */
