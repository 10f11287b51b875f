// SPDX-License-Identifier: GPL-2.0
#include "any_call.h"

#include "kselftest.h"
#include "pinfs_test.h"
#include "pinner/pinner.h"

#include <dirent.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <linux/fiemap.h>
#include <linux/fs.h>

#define FDS		10
#define MAPS		5
#define RINGS		3
#define NAMES		7
#define LONG_NAMES	90		/* which make directories large */
#define HANDLES		6
#define REACH		(3 * MIB)	/* of most offsets */

struct mapping {
	char *at;
	size_t len;
};

/* What one process has.  A descriptor may be of anything. */
struct caller {
	unsigned int seed;
	char dir[PATH_MAX / 2];
	int fd[FDS];
	struct mapping map[MAPS];
	struct io_uring ring[RINGS];
	bool has_ring[RINGS];
	int pipe[2];
	int root;			/* the directory */
	int driver;			/* which pins from within the kernel, or -1 */
	struct file_handle *handle;	/* of what had a name once */
	int post;			/* for descriptors on their way */
	char *scratch;			/* REACH bytes of its own memory */
};

struct board *board;

static unsigned int draw(struct caller *c, unsigned int below)
{
	return rand_r(&c->seed) % below;
}

static bool chance(struct caller *c, unsigned int of)
{
	return !draw(c, of);
}

/* ---- random arguments ---- */

static long any_offset(struct caller *c)
{
	static const long special[] = {
		0, 1, PAGE - 1, PAGE, PMD - 1, PMD, PMD + 1, REACH, 1L << 40, LONG_MAX,
		LONG_MAX - PAGE + 1, -1, LONG_MIN,
	};

	switch (draw(c, 12)) {
	case 0:
		return special[draw(c, ARRAY_SIZE(special))];
	case 1 ... 3:
		return draw(c, REACH);
	default:
		return draw(c, REACH / PAGE) * PAGE;
	}
}

static long any_length(struct caller *c)
{
	return chance(c, 8) ? any_offset(c) : (1 + draw(c, 64)) * (chance(c, 4) ? 17 : PAGE);
}

static int any_fd(struct caller *c)
{
	if (chance(c, 100))
		return draw(c, 2) ? -1 : c->pipe[draw(c, 2)];
	return c->fd[draw(c, FDS)];
}

/* Where a new descriptor goes: what was there before is closed. */
static long keep_fd(struct caller *c, int fd)
{
	int slot = draw(c, FDS);

	if (fd < 0)
		return -errno;
	if (c->fd[slot] >= 0)
		close(c->fd[slot]);
	c->fd[slot] = fd;
	return 0;
}

static const char *any_path(struct caller *c, char *path)
{
	int dir = draw(c, DIRS + 1), at;

	at = snprintf(path, PATH_MAX, "%s/", c->dir);
	if (dir < DIRS)
		at += snprintf(path + at, PATH_MAX - at, "d%d/", dir);
	if (chance(c, 6))
		snprintf(path + at, PATH_MAX - at, "n%0*u", 200 + dir, draw(c, LONG_NAMES));
	else
		snprintf(path + at, PATH_MAX - at, "n%u", draw(c, NAMES));
	return path;
}

static struct mapping *any_map(struct caller *c)
{
	struct mapping *m = &c->map[draw(c, MAPS)];

	return m->at ? m : NULL;
}

/* A part of a mapping, or of the process's own memory. */
static char *any_memory(struct caller *c, size_t *len)
{
	struct mapping *m = chance(c, 4) ? NULL : any_map(c);
	char *at = m ? m->at : c->scratch;
	size_t size = m ? m->len : REACH;
	size_t from = draw(c, size / PAGE) * PAGE;

	*len = 1 + draw(c, size - from);
	if (!chance(c, 4))
		*len = (*len + PAGE - 1) & -PAGE;
	return at + from;
}

/* ---- nobody sees the poison ---- */

static void stop_all(const char *what, long where)
{
	if (!board->wrong[0])
		snprintf(board->wrong, sizeof(board->wrong), "%s at %ld", what, where);
}

static void check(const char *what, const void *buf, long len)
{
	const uint64_t *word = buf;

	for (long i = 0; i < len / 8; i++) {
		if (word[i] == POISON) {
			stop_all(what, i * 8);
			return;
		}
	}
}

static __thread sigjmp_buf fault;

static void on_fault(int signo)
{
	(void)signo;
	siglongjmp(fault, 1);
}

/* ---- the calls: each returns what the kernel said, or a negative errno ---- */

static long call_open(struct caller *c)
{
	static const int flags[] = {
		0, 0, 0, O_TRUNC, O_APPEND, O_DIRECT, O_SYNC, O_DSYNC, O_EXCL, O_PATH,
		O_NOFOLLOW, O_DIRECTORY, O_NOATIME,
	};
	char path[PATH_MAX];
	int how = draw(c, 3) == 0 ? O_RDONLY : O_RDWR;

	if (chance(c, 12)) {
		snprintf(path, sizeof(path), "%s/d%u", c->dir, draw(c, DIRS));
		how = chance(c, 3) ? O_RDONLY | O_DIRECTORY : O_TMPFILE | O_RDWR;
		return keep_fd(c, open(path, how | O_NONBLOCK | O_CLOEXEC, 0600));
	}
	how |= flags[draw(c, ARRAY_SIZE(flags))] | flags[draw(c, ARRAY_SIZE(flags))];
	if (!(how & O_DIRECTORY))
		how |= chance(c, 3) ? 0 : O_CREAT;
	return keep_fd(c, open(any_path(c, path), how | O_NONBLOCK | O_CLOEXEC, 0600));
}

static long call_close(struct caller *c)
{
	int slot = draw(c, FDS), fd = c->fd[slot];

	c->fd[slot] = -1;
	return ERR(close(fd));
}

static long call_dup(struct caller *c)
{
	return keep_fd(c, dup(any_fd(c)));
}

static long call_write(struct caller *c)
{
	size_t len;
	char *from = any_memory(c, &len);

	if (len > MIB)
		len = MIB;
	return chance(c, 3) ? ERR(write(any_fd(c), from, len))
			    : ERR(pwrite(any_fd(c), from, len, any_offset(c)));
}

static long call_read(struct caller *c)
{
	int flags = chance(c, 3) ? RWF_NOWAIT : 0;
	struct iovec to;
	size_t len;
	long ret;

	to.iov_base = any_memory(c, &len);
	to.iov_len = len > MIB ? MIB : len;
	ret = ERR(preadv2(any_fd(c), &to, 1, any_offset(c), flags));
	if (ret > 0 && !sigsetjmp(fault, 1))
		check("read", to.iov_base, ret);
	return ret;
}

static long call_mmap(struct caller *c)
{
	static const int flags[] = {
		MAP_SHARED, MAP_SHARED, MAP_SHARED, MAP_PRIVATE,
		MAP_SHARED_VALIDATE | MAP_SYNC, MAP_SHARED | MAP_POPULATE,
	};
	struct mapping *m = &c->map[draw(c, MAPS)];
	size_t len = chance(c, 3) ? PMD : (1 + draw(c, 128)) * PAGE;
	int prot = chance(c, 5) ? PROT_READ : PROT_READ | PROT_WRITE;
	void *at;

	if (m->at)
		munmap(m->at, m->len);
	m->at = NULL;
	at = mmap(NULL, len, prot, flags[draw(c, ARRAY_SIZE(flags))], any_fd(c),
		  any_offset(c) & -PAGE);
	if (at == MAP_FAILED)
		return -errno;
	*m = (struct mapping){ at, len };
	return 0;
}

static long call_munmap(struct caller *c)
{
	struct mapping *m = any_map(c);
	size_t keep;

	if (!m)
		return -ENOENT;
	keep = chance(c, 2) ? 0 : draw(c, m->len / PAGE) * PAGE;
	munmap(m->at + keep, m->len - keep);
	m->len = keep;
	if (!keep)
		m->at = NULL;
	return 0;
}

static long call_madvise(struct caller *c)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_REMOVE, MADV_WILLNEED, MADV_POPULATE_READ,
		MADV_POPULATE_WRITE, MADV_HUGEPAGE, MADV_COLD, MADV_PAGEOUT, MADV_DONTFORK,
	};
	size_t len;
	char *at = any_memory(c, &len);

	return ERR(madvise(at, len, advice[draw(c, ARRAY_SIZE(advice))]));
}

static long call_msync(struct caller *c)
{
	size_t len;
	char *at = any_memory(c, &len);

	return ERR(msync(at, len, chance(c, 2) ? MS_SYNC : MS_ASYNC));
}

static long call_protect(struct caller *c)
{
	size_t len;
	char *at = any_memory(c, &len);

	/* The process goes on using its own memory. */
	if (at >= c->scratch && at < c->scratch + REACH)
		return -EACCES;
	return ERR(mprotect(at, len, draw(c, 4)));
}

static long call_store(struct caller *c)
{
	size_t len;
	char *at = any_memory(c, &len);

	if (sigsetjmp(fault, 1))
		return -EFAULT;
	memset(at, draw(c, 256), len > 8 * PAGE ? 8 * PAGE : len);
	return 0;
}

static long call_load(struct caller *c)
{
	size_t len;
	char *at = any_memory(c, &len);

	if (sigsetjmp(fault, 1))
		return -EFAULT;
	check("load", at, len > 64 * PAGE ? 64 * PAGE : len);
	return 0;
}

static long call_truncate(struct caller *c)
{
	char path[PATH_MAX];

	return chance(c, 3) ? ERR(truncate(any_path(c, path), any_offset(c)))
			    : ERR(ftruncate(any_fd(c), any_offset(c)));
}

static long call_fallocate(struct caller *c)
{
	static const int mode[] = {
		0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_UNSHARE_RANGE, 0x7f,
	};

	return ERR(fallocate(any_fd(c), mode[draw(c, ARRAY_SIZE(mode))], any_offset(c),
			     any_length(c)));
}

static long call_copy(struct caller *c)
{
	loff_t from = any_offset(c), to = any_offset(c);

	switch (draw(c, 4)) {
	case 0:
		return ERR(sendfile(any_fd(c), any_fd(c), &from, any_length(c)));
	case 1:
		return ERR(splice(any_fd(c), &from, c->pipe[1], NULL, 16 * PAGE,
				  SPLICE_F_NONBLOCK));
	case 2:
		return ERR(splice(c->pipe[0], NULL, any_fd(c), &to, 16 * PAGE,
				  SPLICE_F_NONBLOCK));
	default:
		return ERR(copy_file_range(any_fd(c), &from, any_fd(c), &to, any_length(c), 0));
	}
}

static long call_vmsplice(struct caller *c)
{
	struct iovec from;
	size_t len;

	from.iov_base = any_memory(c, &len);
	from.iov_len = len > 8 * PAGE ? 8 * PAGE : len;
	return ERR(vmsplice(c->pipe[1], &from, 1, SPLICE_F_NONBLOCK));
}

static long call_drain(struct caller *c)
{
	long ret = ERR(read(c->pipe[0], c->scratch, 64 * KIB));

	check("a pipe", c->scratch, ret);
	return ret;
}

/* ---- names, and what goes with them ---- */

static long call_rename(struct caller *c)
{
	static const unsigned int flags[] = {
		0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT, 0xff,
	};
	char from[PATH_MAX], to[PATH_MAX];

	return ERR(renameat2(AT_FDCWD, any_path(c, from), AT_FDCWD, any_path(c, to),
			     flags[draw(c, ARRAY_SIZE(flags))]));
}

static long call_link(struct caller *c)
{
	char from[PATH_MAX], to[PATH_MAX];

	any_path(c, to);
	if (chance(c, 3)) {
		snprintf(from, sizeof(from), "/proc/self/fd/%d", any_fd(c));
		return ERR(linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW));
	}
	return ERR(link(any_path(c, from), to));
}

static long call_make(struct caller *c)
{
	char path[PATH_MAX], target[PATH_MAX];
	size_t len;

	any_path(c, path);
	switch (draw(c, 4)) {
	case 0:
		return ERR(mkdir(path, 0700));
	case 1:
		return ERR(mknod(path, S_IFIFO | 0600, 0));
	case 2:
		len = 1 + draw(c, PATH_MAX);
		memset(target, 'x', len);
		target[len - 1] = '\0';
		return ERR(symlink(target, path));
	default:
		return ERR(symlink(any_path(c, target), path));
	}
}

static long call_remove(struct caller *c)
{
	char path[PATH_MAX];

	any_path(c, path);
	return chance(c, 3) ? ERR(rmdir(path)) : ERR(unlink(path));
}

static long call_look(struct caller *c)
{
	char path[PATH_MAX], buf[4096];
	struct statfs fs;
	struct statx stx;
	DIR *dir;

	switch (draw(c, 6)) {
	case 0:
		return ERR(statx(AT_FDCWD, any_path(c, path), AT_SYMLINK_NOFOLLOW, ~0U >> 1, &stx));
	case 1:
		return ERR(readlink(any_path(c, path), buf, sizeof(buf)));
	case 2:
		return ERR(lseek(any_fd(c), any_offset(c), draw(c, 6)));
	case 3:
		return ERR(syscall(SYS_getdents64, any_fd(c), buf, sizeof(buf)));
	case 4:
		return ERR(fstatfs(any_fd(c), &fs));
	default:
		snprintf(path, sizeof(path), "%s/d%u", c->dir, draw(c, DIRS));
		dir = opendir(path);
		while (dir && readdir(dir))
			;
		return dir ? closedir(dir) : -errno;
	}
}

/* An ACL in the form of linux/posix_acl_xattr.h: its length.  Some are wrong. */
static size_t any_acl(struct caller *c)
{
	struct {
		__le32 version;
		struct {
			__le16 tag, perm;
			__le32 id;
		} entry[5];
	} acl = { 2, {
		{ 1, draw(c, 8), -1 }, { 2, draw(c, 8), 1000 }, { 4, draw(c, 8), -1 },
		{ 16, draw(c, 8), -1 }, { 32, draw(c, 8), -1 },
	} };

	memcpy(c->scratch, &acl, sizeof(acl));
	return sizeof(acl) - (chance(c, 4) ? draw(c, sizeof(acl)) : 0);
}

static void any_attribute(struct caller *c, char *name)
{
	static const char *const names[] = {
		"user.a", "user.b", "trusted.c", "system.posix_acl_access",
		"system.posix_acl_default", "security.d", "x", "user.", "system.x",
	};

	if (chance(c, 3))
		sprintf(name, "user.%0*u", 1 + draw(c, 252), draw(c, 5));
	else
		strcpy(name, names[draw(c, ARRAY_SIZE(names))]);
}

static long call_attributes(struct caller *c)
{
	char path[PATH_MAX], name[300];
	size_t len = chance(c, 6) ? draw(c, 70000) : draw(c, 5000);
	int fd = any_fd(c);

	any_path(c, path);
	any_attribute(c, name);
	if (strstr(name, "acl") && !chance(c, 3))
		len = any_acl(c);
	switch (draw(c, 9)) {
	case 0:
		return ERR(lsetxattr(path, name, c->scratch, len, draw(c, 3)));
	case 1:
		return ERR(lgetxattr(path, name, c->scratch, len));
	case 2:
		return ERR(lremovexattr(path, name));
	case 3:
		return ERR(llistxattr(path, c->scratch, draw(c, 500)));
	case 4:
		return ERR(fsetxattr(fd, name, c->scratch, len, draw(c, 3)));
	case 5:
		return ERR(fgetxattr(fd, name, c->scratch, chance(c, 3) ? 0 : len));
	case 6:
		return ERR(flistxattr(fd, c->scratch, chance(c, 3) ? 0 : 5000));
	case 7:
		return ERR(fremovexattr(fd, name));
	default:
		snprintf(path, sizeof(path), "%s/d%u", c->dir, draw(c, DIRS));
		return ERR(setxattr(path, name, c->scratch, len, draw(c, 3)));
	}
}

/* Owners, modes and times: the processes stay root, so none is in their way. */
static long call_owner(struct caller *c)
{
	struct timespec times[2] = { { draw(c, 2), UTIME_OMIT }, { rand_r(&c->seed), 1 } };
	char path[PATH_MAX];

	any_path(c, path);
	switch (draw(c, 4)) {
	case 0:
		return ERR(fchmod(any_fd(c), draw(c, 010000)));
	case 1:
		return ERR(lchown(path, draw(c, 3) - 1, draw(c, 3) - 1));
	case 2:
		return ERR(fchown(any_fd(c), draw(c, 3) * 1000, draw(c, 3) - 1));
	default:
		return ERR(utimensat(AT_FDCWD, path, chance(c, 2) ? times : NULL,
				     AT_SYMLINK_NOFOLLOW));
	}
}

/* A file again by its handle, whether it is there or not, and by what is none. */
static long call_handle(struct caller *c)
{
	struct file_handle *handle = (void *)((char *)c->handle +
					      draw(c, HANDLES) * (sizeof(*handle) + MAX_HANDLE_SZ));
	/* By number alone; and with the directory, so that a name can be found. */
	static const int flags[] = { 0, 0, 0x200 /* AT_HANDLE_FID */, 0x2 /* AT_HANDLE_CONNECTABLE */ };
	char path[PATH_MAX];
	int mount;

	if (chance(c, 2)) {
		handle->handle_bytes = chance(c, 8) ? draw(c, MAX_HANDLE_SZ) : MAX_HANDLE_SZ;
		if (chance(c, 3))
			return ERR(name_to_handle_at(any_fd(c), "", handle, &mount, AT_EMPTY_PATH));
		return ERR(name_to_handle_at(AT_FDCWD, any_path(c, path), handle, &mount,
					     flags[draw(c, ARRAY_SIZE(flags))]));
	}
	if (chance(c, 8))
		handle->f_handle[draw(c, 16)] ^= 1 << draw(c, 8);
	return keep_fd(c, open_by_handle_at(c->root, handle, O_RDWR | O_NONBLOCK | O_CLOEXEC));
}

/*
 * The file system once more, in a name space of the process's own, and with
 * other options.  Read-only is not among them: see be_read_only().
 */
static long call_mount(struct caller *c)
{
	static const char *const options[] = {
		"", "dax", "dax=always", "dax=never", "dax=x", "nonsense", "dax,dax=inode",
	};
	static const int flags[] = { 0, MS_NOATIME, MS_SYNCHRONOUS, MS_LAZYTIME, MS_NOSUID };
	const char *with = options[draw(c, ARRAY_SIZE(options))];
	int how = flags[draw(c, ARRAY_SIZE(flags))];

	switch (draw(c, 3)) {
	case 0:
		return ERR(mount(NULL, getenv("PINFS_MNT"), NULL, MS_REMOUNT | how, with));
	case 1:
		return ERR(mount(getenv("PINFS_DEV"), "/mnt", "pinfs", how, with));
	default:
		return ERR(umount2("/mnt", MNT_DETACH));
	}
}

static long call_sync(struct caller *c)
{
	switch (draw(c, 8)) {
	case 0:
		return ERR(syncfs(any_fd(c)));
	case 1:
		return ERR(sync_file_range(any_fd(c), any_offset(c), any_length(c), draw(c, 8)));
	case 2:
		return ERR(fdatasync(any_fd(c)));
	default:
		return ERR(fsync(any_fd(c)));
	}
}

static long call_ioctl(struct caller *c)
{
	/* All that pinfs and the VFS answer; of what stops the file system only what cannot. */
	static const unsigned long numbers[] = {
		FS_IOC_FIEMAP, FS_IOC_GETFLAGS, FS_IOC_FSGETXATTR, FIGETBSZ, FS_IOC_GETFSLABEL,
		FS_IOC_SETFSLABEL, FS_IOC_GETVERSION, FIBMAP, FIOASYNC, FIONREAD, FICLONE, 0, ~0UL,
		PINFS_IOC_LEASE, FS_IOC_GETFSUUID, FS_IOC_GETFSSYSFSPATH,
	};
	struct fiemap *fiemap = (void *)c->scratch;
	int flags = draw(c, 4) ? FS_NOATIME_FL | FS_NODUMP_FL : FS_SYNC_FL | FS_DIRSYNC_FL;
	int fd = any_fd(c);

	memset(c->scratch, 0, 4096);
	switch (draw(c, 8)) {
	case 0:
		flags &= rand_r(&c->seed);
		return ERR(ioctl(fd, FS_IOC_SETFLAGS, &flags));
	case 1:
		/* With these, nobody could remove the file. */
		((struct fsxattr *)c->scratch)->fsx_xflags =
			rand_r(&c->seed) & ~(FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND);
		return ERR(ioctl(fd, FS_IOC_FSSETXATTR, c->scratch));
	case 2:
		*(unsigned int *)c->scratch = 3 + draw(c, 100);
		return ERR(ioctl(fd, SHUTDOWN, c->scratch));
	case 3:
		return ERR(ioctl(fd, numbers[draw(c, ARRAY_SIZE(numbers))], NULL));
	case 4:
		memset(c->scratch, 'l', draw(c, 300));
		return ERR(ioctl(fd, FS_IOC_SETFSLABEL, c->scratch));
	default:
		fiemap->fm_start = chance(c, 2) ? 0 : any_offset(c);
		fiemap->fm_length = chance(c, 2) ? FIEMAP_MAX_OFFSET : (__u64)any_length(c);
		fiemap->fm_extent_count = draw(c, 20);
		fiemap->fm_flags = draw(c, 8);
		return ERR(ioctl(fd, numbers[draw(c, ARRAY_SIZE(numbers))], c->scratch));
	}
}

/* ---- leases and pins ---- */

static long any_lease(struct caller *c)
{
	static const long bits[] = {
		F_LAYOUT, EXCLUSIVE, EXCLUSIVE, EXCLUSIVE, F_LAYOUT | F_UNBREAK,
		F_LAYOUT | F_UNBREAK, F_UNLCK, F_UNLCK, F_RDLCK, F_WRLCK, F_EXCLUSIVE,
	};

	return chance(c, 50) ? rand_r(&c->seed) : bits[draw(c, ARRAY_SIZE(bits))];
}

static long call_lease(struct caller *c)
{
	static const int signals[] = { 0, SIGUSR1, SIGIO, SIGKILL, 64, 65, -1 };
	struct pinfs_lease arg = {
		.size = chance(c, 20) ? draw(c, 100) : sizeof(arg),
		.op = chance(c, 20) ? draw(c, 6) : PINFS_LEASE_SET,
		.flags = chance(c, 50),
		.start = any_offset(c),
		.len = chance(c, 3) ? 0 : any_length(c),
		.reserved = chance(c, 50),
	};

	switch (draw(c, 8)) {
	case 0:
		return ERR(fcntl(any_fd(c), F_GETLEASE));
	case 1:
		return ERR(fcntl(any_fd(c), F_SETSIG, signals[draw(c, ARRAY_SIZE(signals))]));
	case 2 ... 3:
		arg.lease = any_lease(c);
		return ERR(ioctl(any_fd(c), PINFS_IOC_LEASE, &arg));
	case 4:
		arg.op = chance(c, 2) ? PINFS_LEASE_RELEASE : PINFS_LEASE_GET;
		return ERR(ioctl(any_fd(c), PINFS_IOC_LEASE, &arg));
	default:
		return ERR(fcntl(any_fd(c), F_SETLEASE, any_lease(c)));
	}
}

/* A file with everything that a pin needs: by chance alone they would be rare. */
static long call_hold(struct caller *c)
{
	struct mapping *m = &c->map[draw(c, MAPS)];
	size_t len = (1 + draw(c, 40)) * PAGE;
	char path[PATH_MAX];
	int fd = open(any_path(c, path), O_RDWR | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0600);
	void *at;

	if (keep_fd(c, fd) || fallocate(fd, 0, 0, len) ||
	    fcntl(fd, F_SETLEASE, chance(c, 2) ? EXCLUSIVE : F_LAYOUT | F_UNBREAK))
		return -errno;
	at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	if (m->at)
		munmap(m->at, m->len);
	*m = (struct mapping){ at, len };
	return 0;
}

static long call_ring(struct caller *c)
{
	int which = draw(c, RINGS);
	long ret;

	if (c->has_ring[which]) {
		io_uring_queue_exit(&c->ring[which]);
		c->has_ring[which] = false;
		return 0;
	}
	ret = io_uring_queue_init(4, &c->ring[which], 0);
	c->has_ring[which] = !ret;
	return ret;
}

static long call_share(struct caller *c)
{
	int from = draw(c, RINGS), to = draw(c, RINGS);

	if (!c->has_ring[from] || !c->has_ring[to])
		return -ENOENT;
	return io_uring_clone_buffers(&c->ring[to], &c->ring[from]);
}

static long call_pin(struct caller *c)
{
	int which = draw(c, RINGS);
	struct iovec buf[3];
	long ret;

	if (!c->has_ring[which])
		return -ENOENT;
	if (chance(c, 3))
		return io_uring_unregister_buffers(&c->ring[which]);
	for (size_t i = 0; i < ARRAY_SIZE(buf); i++)
		buf[i].iov_base = any_memory(c, &buf[i].iov_len);
	ret = io_uring_register_buffers(&c->ring[which], buf, 1 + draw(c, ARRAY_SIZE(buf)));
	if (!ret)
		__atomic_fetch_add(&board->pinned, 1, __ATOMIC_RELAXED);
	return ret;
}

/* The same from within the kernel, for any owner. */
static long call_driver(struct caller *c)
{
	struct pinner_pin pin = { .owner = draw(c, 5), .read_only = chance(c, 3) };
	struct pinner_unpin unpin = { .way = draw(c, 3), .handle = 1 + draw(c, 30) };
	size_t len;
	long ret;

	if (chance(c, 2))
		return ERR(ioctl(c->driver, PINNER_UNPIN, &unpin));
	pin.addr = (uintptr_t)any_memory(c, &len);
	pin.pages = chance(c, 2) ? 1 : (len + PAGE - 1) / PAGE;
	pin.fd = any_fd(c);
	ret = ERR(ioctl(c->driver, PINNER_PIN, &pin));
	if (ret > 0)
		__atomic_fetch_add(&board->pinned, 1, __ATOMIC_RELAXED);
	return ret;
}

/* What a device sees through a pin, whatever has become of file and mapping. */
static long call_device(struct caller *c)
{
	int which = draw(c, RINGS), to;
	struct mapping *m = any_map(c);
	long ret;

	if (!c->has_ring[which] || !m)
		return -ENOENT;
	to = memfd_create("to", MFD_CLOEXEC);
	ret = ring_write_fixed(&c->ring[which], to, m->at, PAGE);
	if (ret == PAGE && ERR(pread(to, c->scratch, PAGE, 0)) == PAGE)
		check("a device", c->scratch, PAGE);
	close(to);
	return ret;
}

/* ---- what else may be in the way ---- */

static long call_vm(struct caller *c)
{
	struct iovec from, to = { c->scratch, 4 * PAGE };
	size_t len;
	long ret;

	from.iov_base = any_memory(c, &len);
	from.iov_len = len > 4 * PAGE ? 4 * PAGE : len;
	ret = ERR(process_vm_readv(getpid(), &to, 1, &from, 1, 0));
	if (ret > 0)
		check("process_vm_readv", c->scratch, ret);
	return ret;
}

static long call_pass(struct caller *c)
{
	if (chance(c, 2))
		return send_fd(c->post, any_fd(c));
	return keep_fd(c, recv_fd(c->post));
}

static long call_proc(struct caller *c)
{
	static const char *const files[] = {
		"/proc/self/file_pins", "/proc/1/file_pins", "/proc/fs/pinfs/pins", "/proc/locks",
		"/proc/self/maps", "/proc/self/smaps", "/proc/self/mountinfo",
		"/sys/fs/pinfs/features/longterm_pin", "/sys/fs/pinfs/features/layout_lease",
	};

	char path[PATH_MAX];
	DIR *dir;

	switch (draw(c, 8)) {
	case 0:
		dir = opendir("/proc/self");
		while (dir && readdir(dir))
			;
		return dir ? closedir(dir) : -errno;
	case 1:
		snprintf(path, sizeof(path), "/sys/fs/pinfs/%s/quarantined_bytes",
			 basename(getenv("PINFS_DEV")));
		return read_text(path, c->scratch, REACH);
	default:
		return read_text(files[draw(c, ARRAY_SIZE(files))], c->scratch, REACH);
	}
}

/* A child has all that its parent has, but the right to pin; it ends at once. */
static long call_fork(struct caller *c)
{
	pid_t pid = fork();

	if (!pid) {
		call_load(c);
		call_pin(c);
		call_store(c);
		_exit(0);
	}
	return pid < 0 ? -errno : ERR(waitpid(pid, NULL, 0));
}

static const struct {
	long (*call)(struct caller *c);
	unsigned int weight;
} calls[] = {
	{ call_open, 10 }, { call_close, 5 }, { call_dup, 2 }, { call_write, 8 },
	{ call_read, 8 }, { call_mmap, 5 }, { call_munmap, 2 }, { call_madvise, 2 },
	{ call_msync, 2 }, { call_protect, 1 }, { call_store, 6 }, { call_load, 6 },
	{ call_truncate, 6 }, { call_fallocate, 8 }, { call_copy, 4 }, { call_vmsplice, 1 },
	{ call_drain, 3 }, { call_rename, 5 }, { call_link, 3 }, { call_make, 3 },
	{ call_remove, 5 }, { call_look, 6 }, { call_attributes, 5 }, { call_sync, 2 },
	{ call_lease, 8 }, { call_ioctl, 3 }, { call_hold, 4 }, { call_ring, 3 },
	{ call_pin, 8 }, { call_device, 4 }, { call_vm, 2 }, { call_pass, 3 },
	{ call_proc, 2 }, { call_fork, 1 }, { call_owner, 2 }, { call_handle, 3 },
	{ call_mount, 1 }, { call_share, 2 }, { call_driver, 4 },
};

void any_call(struct caller *c)
{
	unsigned int all = 0, at;

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		all += calls[i].weight;
	at = draw(c, all);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		if (at < calls[i].weight) {
			if (calls[i].call(c) >= 0)
				__atomic_fetch_add(&board->done, 1, __ATOMIC_RELAXED);
			return;
		}
		at -= calls[i].weight;
	}
}

static void ignore_and_catch(void)
{
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	/* What a lease's break may send, as far as it can be. */
	static const int ignored[] = { SIGIO, SIGUSR1, SIGPIPE, 64 };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
}

struct caller *caller_new(unsigned int seed, const char *dir, int post)
{
	struct caller *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->seed = seed;
	c->post = post;
	snprintf(c->dir, sizeof(c->dir), "%s", dir);
	for (int i = 0; i < FDS; i++)
		c->fd[i] = -1;
	c->scratch = mmap(NULL, REACH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	c->handle = calloc(HANDLES, sizeof(*c->handle) + MAX_HANDLE_SZ);
	c->root = open(dir, O_RDONLY | O_CLOEXEC);
	c->driver = open("/dev/" PINNER_DEVICE, O_RDWR | O_CLOEXEC);
	if (c->scratch == MAP_FAILED || !c->handle || c->root < 0 ||
	    pipe2(c->pipe, O_NONBLOCK | O_CLOEXEC) || unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return NULL;
	ignore_and_catch();
	return c;
}
