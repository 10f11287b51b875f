/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a process of random_calls does: one random system call after the other,
 * on what the earlier ones have left it.
 */
#ifndef PINFS_ANY_CALL_H
#define PINFS_ANY_CALL_H

#include <stdint.h>

#include <linux/ioctl.h>
#include <linux/types.h>

#define CALLERS		4
#define DIRS		2	/* d0, d1 ... */
#define POISON		0x706f69736f6e2121ULL
/* FS_IOC_SHUTDOWN, which <linux/fs.h> has since Linux 7.0 only. */
#define SHUTDOWN	_IOR('X', 125, __u32)

/* What all processes see. */
struct board {
	long calls[CALLERS];
	long done;		/* of the calls, how many succeeded */
	long pinned;
	char wrong[256];	/* what must never happen, if it has */
};

extern struct board *board;

struct caller;

/*
 * The current process as one that calls, in the directory `dir`; `post` is the
 * socket by which it passes descriptors on.  NULL if something is not to be had.
 */
struct caller *caller_new(unsigned int seed, const char *dir, int post);

void any_call(struct caller *c);

#endif /* PINFS_ANY_CALL_H */
