/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Administrators for random_calls: each does one random thing to the whole file
 * system, or to its device, while others use it.  And keepers, which write one
 * file each and say what of it is durable, so that the contents can be verified
 * after whatever the administrators did.
 */
#ifndef PINFS_ANY_ADMIN_H
#define PINFS_ANY_ADMIN_H

#include <stdbool.h>
#include <stdint.h>

#define ADMINS		2
#define KEEPERS		2
#define KEPT_BLOCKS	48

enum admin_action {
	ADMIN_REMOUNT,
	ADMIN_SYSRQ,
	ADMIN_FREEZE,
	ADMIN_CHATTR,
	ADMIN_DROP_CACHES,
	ADMIN_READ_DEVICE,
	ADMIN_WRITE_DEVICE,
	ADMIN_FSCK,
	ADMIN_BLKID,
	ADMIN_UMOUNT,
	ADMIN_DETACH,
	ADMIN_RMMOD,
	ADMIN_ACTIONS
};

/* What a keeper has written to one block of its file, as numbers that only grow. */
struct kept_block {
	uint32_t tried;		/* the newest store that was begun */
	uint32_t done;		/* the newest that has returned */
	uint32_t durable;	/* the newest that an fsync has covered */
};

/* Shared by all processes, and outlives them. */
struct admin_board {
	long actions[ADMIN_ACTIONS];
	long writes, syncs;
	struct kept_block kept[KEEPERS][KEPT_BLOCKS];
	char wrong[256];	/* what must never happen, if it has */
};

extern struct admin_board *admin_board;

/* One random action.  The state of the mount may be another afterwards; see admin_restore(). */
void any_admin(unsigned int *seed, const char *dir);

/* Where fsck.pinfs is. */
char *fsck_path(void);

/*
 * Undoes what an administrator that was killed may have left: every file
 * system is writable, thawed and mounted, no file of `dir` is immutable.
 * Returns 0, or the first error.
 */
long admin_restore(const char *dir);

/* FS_IOC_SHUTDOWN: the device stays as the calls so far have left it. */
long admin_shutdown(void);

/* Makes the file of keeper `which` in `dir`, with all blocks at version 0. */
long keeper_make(int which, const char *dir);

/* Writes to the file of keeper `which`, until it is killed. */
void be_keeper(int which, unsigned int seed, const char *dir);

/*
 * Whether the file of a keeper that has ended holds what it must.  What was
 * begun and is not durable may be there or not.  The record follows the file.
 */
bool keeper_verify(int which, const char *dir);

#endif /* PINFS_ANY_ADMIN_H */
