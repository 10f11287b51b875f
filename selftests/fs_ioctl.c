// SPDX-License-Identifier: GPL-2.0
/* File handles, and what ioctl() says of files and the file system. Row S2. */
#include "fs_test.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>

/* ---- file handles ---- */

struct handle {
	struct file_handle head;
	unsigned char bytes[MAX_HANDLE_SZ];
};

static long handle_of(const char *path, struct handle *h)
{
	int mount;

	memset(h, 0, sizeof(*h));
	h->head.handle_bytes = MAX_HANDLE_SZ;
	return ERR(name_to_handle_at(AT_FDCWD, path, &h->head, &mount, 0));
}

static long open_handle(const char *on, struct handle *h)
{
	int dir = open(on, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
	long ret;

	if (dir < 0)
		return -errno;
	fd = open_by_handle_at(dir, &h->head, O_RDONLY | O_CLOEXEC);
	ret = ERR(fd);
	close(dir);
	return ret;
}

TEST_F(pinfs, S2_handles_find_files_and_directories)
{
	struct handle file, dir;
	struct stat a, b;
	long fd;

	ASSERT_EQ(0, handle_of(self->path, &file));
	EXPECT_EQ(12, file.head.handle_bytes);
	ASSERT_EQ(0, mkdir(in_dir(self, "d"), 0700));
	ASSERT_EQ(0, mkdir(in_dir(self, "d/e"), 0700));
	ASSERT_EQ(0, handle_of(in_dir(self, "d/e"), &dir));
	/* By number, whatever the name is by now. */
	ASSERT_EQ(0, rename(self->path, in_dir(self, "d/moved")));
	fd = open_handle(self->dir, &file);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &a));
	ASSERT_EQ(0, stat(in_dir(self, "d/moved"), &b));
	EXPECT_EQ(b.st_ino, a.st_ino);
	EXPECT_EQ(FILE_SIZE, a.st_size);
	close(fd);
	fd = open_handle(self->dir, &dir);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, ERR(faccessat(fd, "../moved", R_OK, 0)));
	close(fd);
}

/* Not from the caches: get_parent() and reading by number are what is tried. */
TEST_F(pinfs, S2_handles_find_what_is_not_in_memory)
{
	struct handle dir, file;
	char name[64];
	long fd;
	int drop;

	ASSERT_EQ(0, mkdir(in_dir(self, "x"), 0700));
	ASSERT_EQ(0, mkdir(in_dir(self, "x/y"), 0700));
	ASSERT_EQ(0, mkdir(in_dir(self, "x/y/z"), 0700));
	ASSERT_EQ(0, make_file(in_dir(self, "x/y/z/f"), 1, 5));
	ASSERT_EQ(0, handle_of(in_dir(self, "x/y/z"), &dir));
	ASSERT_EQ(0, handle_of(in_dir(self, "x/y/z/f"), &file));
	drop = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	ASSERT_LE(0, drop);
	ASSERT_EQ(1, write(drop, "2", 1));
	close(drop);
	fd = open_handle(self->dir, &dir);
	ASSERT_LE(0, fd);
	snprintf(name, sizeof(name), "../../../%s", "file");
	EXPECT_EQ(0, ERR(faccessat(fd, name, R_OK, 0)));
	close(fd);
	fd = open_handle(self->dir, &file);
	ASSERT_LE(0, fd);
	EXPECT_EQ(PAGE, ERR(lseek(fd, 0, SEEK_END)));
	close(fd);
}

TEST_F(pinfs, S2_handles_of_files_that_are_gone_are_stale)
{
	struct handle h, other;
	long fd;

	ASSERT_EQ(0, handle_of(self->path, &h));
	other = h;
	other.bytes[8] ^= 1;
	EXPECT_EQ(-ESTALE, open_handle(self->dir, &other));
	for (int i = 0; i < 64; i++) {
		/* Numbers that are none, of every size. */
		memset(other.bytes, 0, 8);
		other.bytes[i / 8] = 1 << i % 8;
		fd = open_handle(self->dir, &other);
		EXPECT_EQ(-ESTALE, fd) {
			TH_LOG("number 1 << %d", i);
		}
	}
	ASSERT_EQ(0, unlink(self->path));
	EXPECT_TRUE(EVENTUALLY(open_handle(self->dir, &h) == -ESTALE, 2000));
	/* Its number may belong to another file now, its generation does not. */
	for (int i = 0; i < 50; i++) {
		char name[16];

		snprintf(name, sizeof(name), "n%d", i);
		ASSERT_EQ(0, make_file(in_dir(self, name), 1, i));
	}
	EXPECT_EQ(-ESTALE, open_handle(self->dir, &h));
}

/* ---- the file system ---- */

TEST_F(pinfs, S2_uuid_and_sysfs_path)
{
	int fd = open(self->path, O_RDONLY | O_CLOEXEC);
	struct fs_sysfs_path path;
	struct fsuuid2 uuid;
	char sysfs[256];

	ASSERT_LE(0, fd);
	memset(&uuid, 0, sizeof(uuid));
	ASSERT_EQ(0, ERR(ioctl(fd, FS_IOC_GETFSUUID, &uuid)));
	EXPECT_EQ(16, uuid.len);
	EXPECT_FALSE(all_zero(uuid.uuid, 16));
	memset(&path, 0, sizeof(path));
	ASSERT_EQ(0, ERR(ioctl(fd, FS_IOC_GETFSSYSFSPATH, &path)));
	snprintf(sysfs, sizeof(sysfs), "%.*s", path.len, path.name);
	EXPECT_EQ(0, strncmp(sysfs, "pinfs/", 6)) {
		TH_LOG("%s", sysfs);
	}
	close(fd);
}

TEST_F(pinfs, S2_unknown_ioctls_are_ENOTTY)
{
	int fd = open(self->path, O_RDWR | O_CLOEXEC);
	int dir = open(self->dir, O_RDONLY | O_CLOEXEC);

	ASSERT_LE(0, fd);
	ASSERT_LE(0, dir);
	EXPECT_EQ(-ENOTTY, ERR(ioctl(fd, 0x12345678, 0)));
	EXPECT_EQ(-ENOTTY, ERR(ioctl(dir, 0x12345678, 0)));
	close(dir);
	close(fd);
}

TEST_F(pinfs, S2_shutdown_is_for_the_administrator)
{
	unsigned int flags = 0x99;

	ASSERT_EQ(0, chmod(self->dir, 0777));
	ASSERT_EQ(0, chmod(self->path, 0666));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	/* Flags that do not exist do nothing. */
	EXPECT_EQ(-EINVAL, ERR(ioctl(self->me.fd, _IOR('X', 125, __u32), &flags)));
	EXPECT_EQ(-EFAULT, ERR(ioctl(self->me.fd, _IOR('X', 125, __u32), NULL)));
	ASSERT_EQ(0, act_become(&self->me, 1000));
	EXPECT_EQ(-EPERM, ERR(ioctl(self->me.fd, _IOR('X', 125, __u32), &flags)));
	EXPECT_EQ('a', ({ ERR(pwrite(self->me.fd, "a", 1, 0)); act_read_byte(&self->me, 0); }));
}

TEST_HARNESS_MAIN
