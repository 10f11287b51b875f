/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * pinfs: what a program needs that pins pages of a pinfs file.
 *
 * A layout lease is taken on an open file description:
 *
 *	fcntl(fd, F_SETLEASE, F_LAYOUT | F_EXCLUSIVE);
 *
 * While the process holds it, long-term pins (RDMA memory regions, io_uring
 * registered buffers, ...) of the file's pages are granted.  While such pins
 * live, whatever would free the pinned blocks fails with ETXTBSY, or EDEADLK
 * in the process that holds the lease.
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

#include <linux/types.h>

/* A layout lease: its holder is told before the file's blocks change. */
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

/* statfs(2) f_type: the bytes "pinf". */
#define PINFS_SUPER_MAGIC	0x666e6970

#endif /* _UAPI_LINUX_PINFS_H */
