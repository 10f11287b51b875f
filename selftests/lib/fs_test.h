/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of the file system share, beyond pinfs_test.h. */
#ifndef FS_TEST_H
#define FS_TEST_H

#include "kselftest_harness.h"

#include "pinfs_test.h"

/* A path in the test's directory; four may be in use at once. */
static inline const char *in_dir(const FIXTURE_DATA(pinfs) *self, const char *name)
{
	static char path[4][PATH_MAX];
	static int turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof(path[turn]), "%.3800s/%.250s", self->dir, name);
	return path[turn];
}

static inline long size_of(const char *path)
{
	struct stat st;
	long ret = ERR(lstat(path, &st));

	return ret ? ret : st.st_size;
}

static inline long links_of(const char *path)
{
	struct stat st;
	long ret = ERR(lstat(path, &st));

	return ret ? ret : (long)st.st_nlink;
}

static inline long inode_of(const char *path)
{
	struct stat st;
	long ret = ERR(lstat(path, &st));

	return ret ? ret : (long)st.st_ino;
}

static inline mode_t mode_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) ? 0 : st.st_mode;
}

#endif /* FS_TEST_H */
