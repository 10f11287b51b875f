// SPDX-License-Identifier: GPL-2.0
/* File handles, and what ioctl() says of files and the file system. Row S2. */
#include "fs_test.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/swap.h>
#include <sys/xattr.h>

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

TEST_F(pinfs, S2_label)
{
	char was[FSLABEL_MAX], buf[FSLABEL_MAX], label[FSLABEL_MAX];
	const char *dev = getenv("PINFS_DEV"), *mnt = getenv("PINFS_MNT");

	ASSERT_EQ(0, act_open(&self->me, O_RDONLY));
	memset(was, 0x55, sizeof(was));
	ASSERT_EQ(0, ERR(ioctl(self->me.fd, FS_IOC_GETFSLABEL, was)));
	/* As long as may be, with something behind its end; then one too long. */
	memset(label, 'x', sizeof(label));
	label[32] = 0;
	ASSERT_EQ(0, ERR(ioctl(self->me.fd, FS_IOC_SETFSLABEL, label)));
	ASSERT_EQ(0, ERR(ioctl(self->me.fd, FS_IOC_GETFSLABEL, buf)));
	EXPECT_STREQ(label, buf);
	EXPECT_TRUE(all_zero(buf + 33, sizeof(buf) - 33));
	label[32] = 'x';
	label[33] = 0;
	EXPECT_EQ(-EINVAL, ERR(ioctl(self->me.fd, FS_IOC_SETFSLABEL, label)));
	memset(label, 'x', sizeof(label));
	EXPECT_EQ(-EINVAL, ERR(ioctl(self->me.fd, FS_IOC_SETFSLABEL, label)));
	EXPECT_EQ(-EFAULT, ERR(ioctl(self->me.fd, FS_IOC_SETFSLABEL, NULL)));
	EXPECT_EQ(-EFAULT, ERR(ioctl(self->me.fd, FS_IOC_GETFSLABEL, NULL)));

	/* A shorter one, which a new mount finds. */
	memset(label, 0, sizeof(label));
	strcpy(label, "short");
	ASSERT_EQ(0, ERR(ioctl(self->me.fd, FS_IOC_SETFSLABEL, label)));
	act_close(&self->me, 0);
	if (dev) {
		ASSERT_EQ(0, chdir("/"));
		ASSERT_TRUE(EVENTUALLY(!umount2(mnt, 0), 1000));
		ASSERT_EQ(0, ERR(mount(dev, mnt, "pinfs", 0, NULL)));
	}
	ASSERT_EQ(0, act_open(&self->me, O_RDONLY));
	ASSERT_EQ(0, ERR(ioctl(self->me.fd, FS_IOC_GETFSLABEL, buf)));
	EXPECT_STREQ("short", buf);
	EXPECT_EQ(0, ERR(ioctl(self->me.fd, FS_IOC_SETFSLABEL, was)));

	/* Anybody may read it, the administrator set it. */
	ASSERT_EQ(0, act_become(&self->me, 1000));
	EXPECT_EQ(0, ERR(ioctl(self->me.fd, FS_IOC_GETFSLABEL, buf)));
	EXPECT_STREQ(was, buf);
	EXPECT_EQ(-EPERM, ERR(ioctl(self->me.fd, FS_IOC_SETFSLABEL, label)));
}

/* blkid reads it from the block device, whose blocks may have been cached before. */
TEST_F(pinfs, H4_label_on_the_block_device)
{
	char was[FSLABEL_MAX], label[FSLABEL_MAX] = "seen from outside", block[PAGE];
	const char *dev = getenv("PINFS_DEV");
	int fd;

	if (!dev)
		SKIP(return, "PINFS_DEV is not set");
	fd = open(dev, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(PAGE, ERR(pread(fd, block, PAGE, PAGE)));
	ASSERT_EQ(0, act_open(&self->me, O_RDONLY));
	ASSERT_EQ(0, ERR(ioctl(self->me.fd, FS_IOC_GETFSLABEL, was)));
	ASSERT_EQ(0, ERR(ioctl(self->me.fd, FS_IOC_SETFSLABEL, label)));
	/* The status is in the second block. */
	ASSERT_EQ(PAGE, ERR(pread(fd, block, PAGE, PAGE)));
	EXPECT_NE(NULL, memmem(block, PAGE, label, strlen(label)));
	EXPECT_EQ(0, ERR(ioctl(self->me.fd, FS_IOC_SETFSLABEL, was)));
	EXPECT_EQ(0, ERR(close(fd)));
}

/* ---- flags ---- */

static long get_flags(int fd)
{
	int flags = 0;
	long ret = ERR(ioctl(fd, FS_IOC_GETFLAGS, &flags));

	return ret ? ret : flags;
}

static long set_flags(int fd, int flags)
{
	return ERR(ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

static uint64_t attributes(const char *path, uint64_t *mask)
{
	struct statx stx = {};

	statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &stx);
	if (mask)
		*mask = stx.stx_attributes_mask;
	return stx.stx_attributes;
}

#define SETTABLE (FS_SYNC_FL | FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL)

/* Each of them, and none of those that are not there. */
TEST_F(pinfs, S2_flags_of_files_and_directories)
{
	int file = open(self->path, O_RDONLY | O_CLOEXEC);
	int dir = open(self->dir, O_RDONLY | O_CLOEXEC);

	ASSERT_LE(0, file);
	ASSERT_LE(0, dir);
	ASSERT_EQ(0, get_flags(file));
	ASSERT_EQ(0, get_flags(dir));
	for (int bit = 0; bit < 32; bit++) {
		int flag = 1u << bit;
		bool works = flag & (SETTABLE | FS_DAX_FL);

		EXPECT_EQ(works ? 0 : -EOPNOTSUPP, set_flags(file, flag)) {
			TH_LOG("flag %#x of a file", flag);
		}
		EXPECT_EQ(works ? flag : 0, get_flags(file));
		EXPECT_EQ(0, set_flags(file, 0));
		works = flag & (SETTABLE | FS_DAX_FL | FS_DIRSYNC_FL);
		EXPECT_EQ(works ? 0 : -EOPNOTSUPP, set_flags(dir, flag)) {
			TH_LOG("flag %#x of a directory", flag);
		}
		EXPECT_EQ(works ? flag : 0, get_flags(dir));
		EXPECT_EQ(0, set_flags(dir, 0));
	}
	close(dir);
	close(file);
}

TEST_F(pinfs, S2_FSGETXATTR)
{
	struct fsxattr fsx;
	int fd = open(self->path, O_RDONLY | O_CLOEXEC);

	ASSERT_LE(0, fd);
	memset(&fsx, 0x55, sizeof(fsx));
	ASSERT_EQ(0, ERR(ioctl(fd, FS_IOC_FSGETXATTR, &fsx)));
	EXPECT_EQ(0, fsx.fsx_xflags);
	EXPECT_EQ(0, fsx.fsx_extsize);
	EXPECT_EQ(0, fsx.fsx_projid);
	fsx.fsx_xflags |= FS_XFLAG_APPEND | FS_XFLAG_NOATIME;
	ASSERT_EQ(0, ERR(ioctl(fd, FS_IOC_FSSETXATTR, &fsx)));
	EXPECT_EQ(FS_APPEND_FL | FS_NOATIME_FL, get_flags(fd));
	fsx.fsx_projid = 5;
	EXPECT_EQ(-EOPNOTSUPP, ERR(ioctl(fd, FS_IOC_FSSETXATTR, &fsx)));
	fsx.fsx_projid = 0;
	fsx.fsx_xflags |= FS_XFLAG_EXTSIZE;
	fsx.fsx_extsize = PAGE;
	EXPECT_EQ(-EOPNOTSUPP, ERR(ioctl(fd, FS_IOC_FSSETXATTR, &fsx)));
	EXPECT_EQ(0, set_flags(fd, 0));
	close(fd);
}

TEST_F(pinfs, S2_flags_are_inherited_and_kept)
{
	const char *dev = getenv("PINFS_DEV"), *mnt = getenv("PINFS_MNT");
	const int all = FS_SYNC_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_DIRSYNC_FL;
	int dir = open(self->dir, O_RDONLY | O_CLOEXEC), fd;
	struct stat before, after;
	uint64_t mask;
	char byte;

	ASSERT_LE(0, dir);
	ASSERT_EQ(0, set_flags(dir, all));
	ASSERT_EQ(0, make_file(in_dir(self, "new"), 1, 1));
	ASSERT_EQ(0, mkdir(in_dir(self, "newdir"), 0700));
	ASSERT_EQ(0, mkfifo(in_dir(self, "fifo"), 0600));
	ASSERT_EQ(0, symlink("new", in_dir(self, "link")));
	EXPECT_EQ(0, set_flags(dir, 0));
	close(dir);
	if (dev) {
		ASSERT_EQ(0, chdir("/"));
		ASSERT_TRUE(EVENTUALLY(!umount2(mnt, 0), 1000));
		ASSERT_EQ(0, ERR(mount(dev, mnt, "pinfs", 0, NULL)));
	}
	fd = open(in_dir(self, "new"), O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(all & ~FS_DIRSYNC_FL, get_flags(fd));
	EXPECT_EQ(STATX_ATTR_NODUMP,
		  attributes(in_dir(self, "new"), &mask) & (STATX_ATTR_NODUMP | STATX_ATTR_APPEND));
	EXPECT_EQ(STATX_ATTR_NODUMP | STATX_ATTR_APPEND | STATX_ATTR_IMMUTABLE,
		  mask & (STATX_ATTR_NODUMP | STATX_ATTR_APPEND | STATX_ATTR_IMMUTABLE));
	/* The time of the last access stays, though it is older than the change. */
	ASSERT_EQ(0, fstat(fd, &before));
	usleep(20000);
	ASSERT_EQ(0, futimens(fd, (struct timespec[]){ { .tv_nsec = UTIME_OMIT }, {} }));
	ASSERT_EQ(1, ERR(read(fd, &byte, 1)));
	ASSERT_EQ(0, fstat(fd, &after));
	EXPECT_EQ(before.st_atim.tv_nsec, after.st_atim.tv_nsec);
	close(fd);
	fd = open(in_dir(self, "newdir"), O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(all, get_flags(fd));
	EXPECT_EQ(0, set_flags(fd, 0));
	close(fd);
}

static long xflags(const char *path)
{
	struct fsxattr fsx;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long ret;

	if (fd < 0)
		return -errno;
	ret = ERR(ioctl(fd, FS_IOC_FSGETXATTR, &fsx));
	close(fd);
	return ret ? ret : (long)fsx.fsx_xflags;
}

static long set_xflags(const char *path, unsigned int xflags)
{
	struct fsxattr fsx;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long ret;

	if (fd < 0)
		return -errno;
	ret = ERR(ioctl(fd, FS_IOC_FSGETXATTR, &fsx));
	fsx.fsx_xflags = xflags;
	if (!ret)
		ret = ERR(ioctl(fd, FS_IOC_FSSETXATTR, &fsx));
	close(fd);
	return ret;
}

static bool is_dax(const char *path)
{
	uint64_t mask, have = attributes(path, &mask);

	return mask & have & STATX_ATTR_DAX;
}

/*
 * Fault F1, and what Documentation/filesystems/dax.rst says: the flag is a wish,
 * which is kept and inherited, and statx() says what is.
 */
TEST_F(pinfs, S2_S5_the_DAX_flag_is_kept_and_inherited)
{
	const char *dev = getenv("PINFS_DEV"), *mnt = getenv("PINFS_MNT");

	ASSERT_EQ(0, mkdir(in_dir(self, "d"), 0700));
	ASSERT_EQ(0, mkdir(in_dir(self, "d/old"), 0700));
	ASSERT_EQ(0, make_file(in_dir(self, "d/before"), 1, 1));
	EXPECT_EQ(0, xflags(self->path));
	EXPECT_EQ(0, xflags(in_dir(self, "d")));
	EXPECT_TRUE(is_dax(self->path));

	/* A file: set and cleared at any time, and nothing follows. */
	EXPECT_EQ(0, set_xflags(self->path, FS_XFLAG_DAX));
	EXPECT_EQ(FS_XFLAG_DAX, xflags(self->path));
	EXPECT_TRUE(is_dax(self->path));
	EXPECT_EQ(0, set_xflags(self->path, 0));
	EXPECT_EQ(0, xflags(self->path));
	EXPECT_TRUE(is_dax(self->path));

	/* A directory: what is in it stays as it is, what comes has it. */
	EXPECT_EQ(0, set_xflags(in_dir(self, "d"), FS_XFLAG_DAX));
	EXPECT_EQ(FS_XFLAG_DAX, xflags(in_dir(self, "d")));
	EXPECT_FALSE(is_dax(in_dir(self, "d")));
	EXPECT_EQ(0, xflags(in_dir(self, "d/old")));
	EXPECT_EQ(0, xflags(in_dir(self, "d/before")));
	ASSERT_EQ(0, make_file(in_dir(self, "d/new"), 1, 1));
	ASSERT_EQ(0, mkdir(in_dir(self, "d/e"), 0700));
	ASSERT_EQ(0, make_file(in_dir(self, "d/e/new"), 1, 1));
	ASSERT_EQ(0, make_file(in_dir(self, "d/old/new"), 1, 1));
	/* What is renamed keeps its own. */
	ASSERT_EQ(0, rename(self->path, in_dir(self, "d/moved")));
	EXPECT_EQ(0, set_xflags(in_dir(self, "d"), 0));
	if (dev) {
		ASSERT_EQ(0, chdir("/"));
		ASSERT_TRUE(EVENTUALLY(!umount2(mnt, 0), 1000));
		ASSERT_EQ(0, ERR(mount(dev, mnt, "pinfs", 0, NULL)));
	}
	EXPECT_EQ(0, xflags(in_dir(self, "d")));
	EXPECT_EQ(0, xflags(in_dir(self, "d/moved")));
	EXPECT_EQ(FS_XFLAG_DAX, xflags(in_dir(self, "d/new")));
	EXPECT_EQ(FS_XFLAG_DAX, xflags(in_dir(self, "d/e")));
	EXPECT_EQ(FS_XFLAG_DAX, xflags(in_dir(self, "d/e/new")));
	EXPECT_EQ(0, xflags(in_dir(self, "d/old/new")));
	EXPECT_TRUE(is_dax(in_dir(self, "d/old/new")));
	EXPECT_TRUE(is_dax(in_dir(self, "d/e/new")));
}

/* ---- generations: fault E10 ---- */

#define COMPAT_IOCTL	54

TEST_F(pinfs, S2_GETVERSION_is_the_generation)
{
	struct handle h;
	unsigned int version[2] = { 0, 0x5a5a5a5a }, other = 0;
	int fd = open(self->path, O_RDWR | O_CLOEXEC);
	int dir = open(self->dir, O_RDONLY | O_CLOEXEC);

	ASSERT_LE(0, fd);
	ASSERT_LE(0, dir);
	ASSERT_EQ(0, handle_of(self->path, &h));
	ASSERT_EQ(0, ERR(ioctl(fd, FS_IOC_GETVERSION, version)));
	/* That which tells a stale handle. */
	EXPECT_EQ(0, memcmp(h.bytes + 8, version, 4));
	/* An int, whatever the number of the call says. */
	EXPECT_EQ(0x5a5a5a5a, version[1]);
	EXPECT_EQ(0, ERR(ioctl(dir, FS_IOC_GETVERSION, &other)));
	EXPECT_NE(version[0], other);
	EXPECT_EQ(-EOPNOTSUPP, ERR(ioctl(fd, FS_IOC_SETVERSION, &other)));
	EXPECT_EQ(-EFAULT, ERR(ioctl(fd, FS_IOC_GETVERSION, NULL)));
#ifdef __x86_64__
	unsigned int *low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	ASSERT_NE(MAP_FAILED, low);
	if (compat_call(COMPAT_IOCTL, fd, FS_IOC32_GETVERSION, (long)low, 0, 0) != -ENOSYS) {
		EXPECT_EQ(0, compat_call(COMPAT_IOCTL, fd, FS_IOC32_GETVERSION, (long)low, 0, 0));
		EXPECT_EQ(version[0], *low);
		EXPECT_EQ(-EOPNOTSUPP,
			  compat_call(COMPAT_IOCTL, fd, FS_IOC32_SETVERSION, (long)low, 0, 0));
	}
	munmap(low, PAGE);
#endif
	close(dir);
	close(fd);
}

#ifdef __x86_64__
/* Every ioctl() of the file system takes the same argument from a 32-bit program. */
TEST_F(pinfs, S2_ioctls_of_32_bit_programs)
{
	int fd = open(self->path, O_RDWR | O_CLOEXEC);
	struct pinfs_lease *lease;
	unsigned int *flags;
	char *low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	ASSERT_LE(0, fd);
	ASSERT_NE(MAP_FAILED, low);
	if (compat_call(COMPAT_IOCTL, fd, FS_IOC32_GETFLAGS, (long)low, 0, 0) == -ENOSYS)
		SKIP(return, "no 32-bit system calls on this kernel");
	flags = (void *)low;
	*flags = FS_NODUMP_FL;
	EXPECT_EQ(0, compat_call(COMPAT_IOCTL, fd, FS_IOC32_SETFLAGS, (long)low, 0, 0));
	EXPECT_EQ(FS_NODUMP_FL, get_flags(fd));
	EXPECT_EQ(0, compat_call(COMPAT_IOCTL, fd, FS_IOC32_GETFLAGS, (long)low, 0, 0));
	EXPECT_EQ(FS_NODUMP_FL, *flags);
	EXPECT_EQ(0, compat_call(COMPAT_IOCTL, fd, FS_IOC_FSGETXATTR, (long)low, 0, 0));
	EXPECT_EQ(FS_XFLAG_NODUMP, ((struct fsxattr *)low)->fsx_xflags);
	EXPECT_EQ(0, compat_call(COMPAT_IOCTL, fd, FS_IOC_GETFSLABEL, (long)low, 0, 0));
	EXPECT_EQ(0, compat_call(COMPAT_IOCTL, fd, FS_IOC_GETFSUUID, (long)low, 0, 0));
	memset(low, 0, PAGE);
	((struct fiemap *)low)->fm_length = FIEMAP_MAX_OFFSET;
	EXPECT_EQ(0, compat_call(COMPAT_IOCTL, fd, FS_IOC_FIEMAP, (long)low, 0, 0));
	lease = (void *)low;
	*lease = (struct pinfs_lease) {
		.size = sizeof(*lease), .op = PINFS_LEASE_SET, .lease = F_LAYOUT | F_UNBREAK,
		.start = PAGE, .len = PAGE,
	};
	EXPECT_EQ(0, compat_call(COMPAT_IOCTL, fd, PINFS_IOC_LEASE, (long)low, 0, 0));
	*lease = (struct pinfs_lease) {
		.size = sizeof(*lease), .op = PINFS_LEASE_GET, .start = 0, .len = 0,
	};
	EXPECT_EQ(0, compat_call(COMPAT_IOCTL, fd, PINFS_IOC_LEASE, (long)low, 0, 0));
	EXPECT_EQ(F_LAYOUT | F_UNBREAK, lease->lease);
	EXPECT_EQ(PAGE, lease->start);
	EXPECT_EQ(PAGE, lease->len);
	EXPECT_EQ(-ENOTTY, compat_call(COMPAT_IOCTL, fd, 0x1234, (long)low, 0, 0));
	munmap(low, PAGE);
	close(fd);
}
#endif

/* As on every DAX file; see pinfs(5). */
TEST_F(pinfs, S2_no_swapping_to_a_file)
{
	EXPECT_EQ(-EINVAL, ERR(swapon(self->path, 0)));
}

TEST_F(pinfs, S2_immutable_and_append_only)
{
	int dir = open(self->dir, O_RDONLY | O_CLOEXEC);
	int fd = open(self->path, O_RDWR | O_CLOEXEC), grow;
	struct stat before, after;

	ASSERT_LE(0, dir);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_flags(fd, FS_IMMUTABLE_FL));
	EXPECT_TRUE(attributes(self->path, NULL) & STATX_ATTR_IMMUTABLE);
	ASSERT_EQ(0, fstat(fd, &before));
	/* For those who had it open before, too. */
	EXPECT_EQ(-EPERM, ERR(pwrite(fd, "x", 1, 0)));
	EXPECT_EQ(-EPERM, ERR(ftruncate(fd, 0)));
	EXPECT_EQ(-EPERM, ERR(fallocate(fd, 0, 0, 2 * FILE_SIZE)));
	EXPECT_EQ(-EPERM, ERR(fchmod(fd, 0600)));
	EXPECT_EQ(-EPERM, ERR(fsetxattr(fd, "user.a", "b", 1, 0)));
	EXPECT_EQ(-EPERM, ERR(open(self->path, O_RDWR)));
	EXPECT_EQ(-EPERM, ERR(unlink(self->path)));
	EXPECT_EQ(-EPERM, ERR(rename(self->path, in_dir(self, "other"))));
	EXPECT_EQ(-EPERM, ERR(link(self->path, in_dir(self, "other"))));
	ASSERT_EQ(0, fstat(fd, &after));
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));

	ASSERT_EQ(0, set_flags(fd, FS_APPEND_FL));
	EXPECT_TRUE(attributes(self->path, NULL) & STATX_ATTR_APPEND);
	grow = open(self->path, O_WRONLY | O_APPEND | O_CLOEXEC);
	ASSERT_LE(0, grow);
	EXPECT_EQ(1, ERR(write(grow, "x", 1)));
	EXPECT_EQ(-EPERM, ERR(ftruncate(grow, 0)));
	EXPECT_EQ(-EPERM, ERR(fallocate(grow, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE)));
	EXPECT_EQ(-EPERM, ERR(open(self->path, O_WRONLY)));
	close(grow);
	ASSERT_EQ(0, set_flags(fd, 0));
	EXPECT_EQ(FILE_SIZE + 1, act_stat_size(&self->me, 0));

	ASSERT_EQ(0, set_flags(dir, FS_APPEND_FL));
	EXPECT_EQ(0, mkdir(in_dir(self, "d"), 0700));
	EXPECT_EQ(-EPERM, ERR(rmdir(in_dir(self, "d"))));
	ASSERT_EQ(0, set_flags(dir, FS_IMMUTABLE_FL));
	EXPECT_EQ(-EPERM, ERR(mkdir(in_dir(self, "e"), 0700)));
	ASSERT_EQ(0, set_flags(dir, 0));

	/* Not for everybody, and not on what is another's. */
	ASSERT_EQ(0, chmod(self->dir, 0777));
	ASSERT_EQ(0, fchown(fd, 1000, 1000));
	ASSERT_EQ(0, act_become(&self->me, 1000));
	EXPECT_EQ(-EPERM, set_flags(fd, FS_IMMUTABLE_FL));
	EXPECT_EQ(0, set_flags(fd, FS_NODUMP_FL));
	EXPECT_EQ(-EPERM, set_flags(dir, FS_NODUMP_FL));
	close(dir);
	close(fd);
}

static sigjmp_buf refused;

static void on_refusal(int sig)
{
	(void)sig;
	siglongjmp(refused, 1);
}

/* A page that is mapped for writing already, and one that is not. */
TEST_F(pinfs, S2_stores_to_an_immutable_file_are_refused)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	self->me.map[0] = 'a';
	ASSERT_EQ(0, set_flags(self->me.fd, FS_IMMUTABLE_FL));
	ASSERT_NE(SIG_ERR, signal(SIGBUS, on_refusal));
	for (int i = 0; i < 2; i++) {
		if (sigsetjmp(refused, 1))
			continue;
		*(volatile char *)(self->me.map + i * 5 * PAGE) = 'b';
		EXPECT_TRUE(false) {
			TH_LOG("page %d took a store", i * 5);
		}
	}
	EXPECT_EQ('a', act_read_byte(&self->me, 0));
	ASSERT_EQ(0, set_flags(self->me.fd, 0));
	self->me.map[0] = 'c';
	EXPECT_EQ('c', act_read_byte(&self->me, 0));
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
