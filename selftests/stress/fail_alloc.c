// SPDX-License-Identifier: GPL-2.0
/*
 * What happens when memory runs out, or user memory is not there, at each of
 * the places where it can: rows S4, B8, B10, L5, P6.
 *
 * /proc/thread-self/fail-nth of a kernel with CONFIG_FAULT_INJECTION lets the
 * n-th allocation or copy in a task fail; on others our own module failnth
 * does.  Every system call of the main job
 * is made with n = 1, 2, ... until it was through before the n-th came.  Each
 * time it must either have succeeded or have failed with the error that was
 * injected and without a trace; and in the end everything is as it was: free
 * blocks, the table of pins, the mounts, the module.
 *
 * Works on $PINFS_DEV, and loads and unloads the module; needs nothing mounted.
 */
#include "kselftest_harness.h"

/* The file system is mounted here, and not for all tests alike. */
#define PINFS_OWN_FIXTURE
#include "pinfs_test.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#define OWN_FAIL_NTH	"/proc/pinfs_failnth"
#define DEBUGFS		"/sys/kernel/debug/"
#define PINS		"/proc/fs/pinfs/pins"
/* More places than any call has, for a call that would never be through. */
#define MOST_PLACES	20000
#define LIMIT		1200

static const char *dev;
/* A copy of the module in memory: no failure takes place in the file system that it comes from. */
static int module = -1;
static char mnt[] = "/tmp/pinfs-fail-alloc.XXXXXX";

/* ---- injection ---- */

static const char *fail_nth = "/proc/thread-self/fail-nth";
static int nth_fd = -1;

/*
 * Allocations that may wait, from any memory, of any size; and no word about
 * it in the log, which is read for reports.
 */
static const char *prepare_kernel(void)
{
	static const struct { const char *file, *value; } settings[] = {
		{ "failslab/ignore-gfp-wait", "0" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-wait", "0" },
		{ "fail_page_alloc/ignore-gfp-highmem", "0" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/verbose", "0" },
		{ "fail_usercopy/verbose", "0" },
	};
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		snprintf(path, sizeof(path), DEBUGFS "%s", settings[i].file);
		if (write_text(path, settings[i].value))
			return "this kernel cannot be told to fail (CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC, CONFIG_FAULT_INJECTION_USERCOPY)";
	}
	return NULL;
}

static void fail_at(unsigned int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	if (pwrite(nth_fd, text, len, 0) != len)
		perror("# fail_at");
}

/* Ends the injection; says whether it has taken place since fail_at(). */
static bool has_failed(void)
{
	char text[16] = "";
	/* Reading is a copy itself: if that is what fails, nothing has before. */
	bool failed = pread(nth_fd, text, sizeof(text) - 1, 0) > 0 && text[0] == '0';

	while (pwrite(nth_fd, "0", 1, 0) != 1)
		;
	return failed;
}

/* Errors that an injected failure may be told as. */
static bool is_injected(long ret)
{
	return ret == -ENOMEM || ret == -EFAULT;
}

/* ---- a call, tried at every place ---- */

struct place {
	struct __test_metadata *_metadata;
	const char *what;
	unsigned int n;
};

/*
 *	EACH_PLACE(where, "name", ret, call) { look at ret and at what is left; put it back }
 *
 * The body runs after each try, the last of which nothing has disturbed.
 */
#define EACH_PLACE(where, name, ret, call)						\
	for (struct place where = { _metadata, name, 1 }, *__more = &where;		\
	     __more && where.n < MOST_PLACES; where.n++)				\
		for (long ret = (fail_at(where.n), (call)),				\
		     __once = (__more = has_failed() ? &where : NULL,			\
			       check_result(&where, ret, __more != NULL), 1);		\
		     __once; __once = 0)

static void check_result(struct place *where, long ret, bool failed)
{
	struct __test_metadata *_metadata = where->_metadata;

	EXPECT_TRUE(ret >= 0 || (failed && is_injected(ret))) {
		TH_LOG("%s with a failure at place %u%s: %ld", where->what, where->n,
		       failed ? "" : " (not reached)", ret);
	}
	if (!failed)
		TH_LOG("%s: %u places", where->what, where->n - 1);
}

#define CHECK(where, cond)								\
	EXPECT_TRUE(cond) {								\
		TH_LOG("%s with a failure at place %u", (where).what, (where).n);	\
	}

/* ---- the fixture ---- */

static bool is_mounted(void)
{
	struct statfs fs;

	return !statfs(mnt, &fs) && fs.f_type == PINFS_SUPER_MAGIC;
}

static bool is_loaded(void)
{
	return access("/sys/module/pinfs", F_OK) == 0;
}

static long load_file(const char *path)
{
	long fd = ERR(open(path, O_RDONLY | O_CLOEXEC));
	long ret;

	if (fd < 0)
		return fd;
	ret = ERR(syscall(SYS_finit_module, fd, "", 0));
	close(fd);
	return ret;
}

static long copy_module(const char *path)
{
	int from = open(path, O_RDONLY | O_CLOEXEC);
	long ret = ERR(from);

	if (ret < 0)
		return ret;
	module = memfd_create("pinfs.ko", MFD_CLOEXEC);
	ret = ERR(module);
	while (ret >= 0 && (ret = ERR(sendfile(module, from, NULL, MIB))) > 0)
		;
	close(from);
	return ret;
}

static long load(void)
{
	return ERR(syscall(SYS_finit_module, module, "", 0));
}

static long unload(void)
{
	return ERR(syscall(SYS_delete_module, "pinfs", O_NONBLOCK));
}

static long do_mount(void)
{
	return ERR(mount(dev, mnt, "pinfs", 0, NULL));
}

static long make_fs(void)
{
	const char *mkfs = getenv("PINFS_MKFS") ?: "/pinfs/bin/mkfs.pinfs";
	char command[PATH_MAX];

	snprintf(command, sizeof(command), "%.2000s -f %.1000s >/dev/null", mkfs, dev);
	return system(command) ? -EIO : 0;
}

static long free_inodes(void)
{
	struct statfs fs;
	long ret = ERR(statfs(mnt, &fs));

	return ret ? ret : (long)fs.f_ffree;
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static long pins_listed(void)
{
	char text[4096];
	long ret = read_text(PINS, text, sizeof(text));
	long lines = -1;

	/* Without the header. */
	for (const char *at = text; ret > 0 && (at = strchr(at, '\n')); at++)
		lines++;
	return ret < 0 ? ret : lines;
}

FIXTURE(fail_alloc) {
	char dir[64], file[80], other[80];
	long blocks, inodes;
	struct actor me;
};

FIXTURE_SETUP(fail_alloc) {
	nth_fd = open(fail_nth, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, nth_fd);
	ASSERT_NE(NULL, mkdtemp(mnt));
	ASSERT_EQ(0, make_fs());
	if (!is_loaded())
		ASSERT_EQ(0, load());
	ASSERT_EQ(0, do_mount());
	snprintf(self->dir, sizeof(self->dir), "%s/dir", mnt);
	snprintf(self->file, sizeof(self->file), "%s/file", self->dir);
	snprintf(self->other, sizeof(self->other), "%s/other", self->dir);
	/* The directory has its block before blocks are counted. */
	ASSERT_EQ(0, mkdir(self->dir, 0755));
	ASSERT_EQ(0, make_file(self->file, FILE_PAGES, FILE_SEED));
	act_init(&self->me, self->file);
	self->blocks = blocks_free(mnt);
	self->inodes = free_inodes();
}

FIXTURE_TEARDOWN(fail_alloc) {
	bool all_back;

	act_fini(&self->me);
	all_back = EVENTUALLY(pins_listed() == 0, REPLY_MS) &&
		   EVENTUALLY(blocks_free(mnt) == self->blocks && free_inodes() == self->inodes,
			      REPLY_MS);
	if (!all_back) {
		TH_LOG("left: %ld pins, %ld of %ld blocks, %ld of %ld inodes", pins_listed(),
		       blocks_free(mnt), self->blocks, free_inodes(), self->inodes);
		_metadata->exit_code = KSFT_FAIL;
	}
	/* What is left of a pin, a path, goes a moment after its last line. */
	if (is_mounted() && !EVENTUALLY(umount(mnt) == 0, REPLY_MS)) {
		TH_LOG("umount: %m");
		_metadata->exit_code = KSFT_FAIL;
	}
	rmdir(mnt);
	close(nth_fd);
}

/* ---- names ---- */

static long create(const char *path)
{
	long fd = ERR(open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));

	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

TEST_F_TIMEOUT(fail_alloc, S4_create_and_unlink, LIMIT)
{
	EACH_PLACE(at, "create", ret, create(self->other)) {
		/* A file that was created may then not open. */
		CHECK(at, ret < 0 || exists(self->other));
		if (exists(self->other))
			ASSERT_EQ(0, unlink(self->other));
	}
	ASSERT_EQ(0, create(self->other));
	EACH_PLACE(at, "unlink", ret, ERR(unlink(self->other))) {
		CHECK(at, exists(self->other) == (ret < 0));
		if (!ret)
			ASSERT_EQ(0, create(self->other));
	}
	ASSERT_EQ(0, unlink(self->other));
}

TEST_F_TIMEOUT(fail_alloc, S4_unlink_of_a_file_with_blocks, LIMIT)
{
	ASSERT_EQ(0, make_file(self->other, 3, 1));
	EACH_PLACE(at, "unlink", ret, ERR(unlink(self->other))) {
		CHECK(at, exists(self->other) == (ret < 0));
		CHECK(at, EVENTUALLY(ret < 0 || blocks_free(mnt) == self->blocks, REPLY_MS));
		if (!ret)
			ASSERT_EQ(0, make_file(self->other, 3, 1));
	}
	ASSERT_EQ(0, unlink(self->other));
}

TEST_F_TIMEOUT(fail_alloc, S4_mkdir_and_rmdir, LIMIT)
{
	EACH_PLACE(at, "mkdir", ret, ERR(mkdir(self->other, 0755))) {
		CHECK(at, exists(self->other) == !ret);
		if (!ret)
			ASSERT_EQ(0, rmdir(self->other));
	}
	ASSERT_EQ(0, mkdir(self->other, 0755));
	EACH_PLACE(at, "rmdir", ret, ERR(rmdir(self->other))) {
		CHECK(at, exists(self->other) == (ret < 0));
		if (!ret)
			ASSERT_EQ(0, mkdir(self->other, 0755));
	}
	ASSERT_EQ(0, rmdir(self->other));
}

TEST_F_TIMEOUT(fail_alloc, S4_symlink_and_mknod, LIMIT)
{
	/* One that does not fit into the inode. */
	char target[200];

	memset(target, 't', sizeof(target));
	target[sizeof(target) - 1] = '\0';
	EACH_PLACE(at, "symlink", ret, ERR(symlink(target, self->other))) {
		CHECK(at, exists(self->other) == !ret);
		if (!ret)
			ASSERT_EQ(0, unlink(self->other));
	}
	ASSERT_EQ(0, symlink(target, self->other));
	EACH_PLACE(at, "readlink", ret, ERR(readlink(self->other, target, sizeof(target)))) {
		CHECK(at, ret < 0 || ret == sizeof(target) - 1);
	}
	ASSERT_EQ(0, unlink(self->other));
	EACH_PLACE(at, "mknod", ret, ERR(mknod(self->other, S_IFIFO | 0600, 0))) {
		CHECK(at, exists(self->other) == !ret);
		if (!ret)
			ASSERT_EQ(0, unlink(self->other));
	}
}

TEST_F_TIMEOUT(fail_alloc, S4_rename, LIMIT)
{
	char third[PATH_MAX];

	snprintf(third, sizeof(third), "%s/third", mnt);
	ASSERT_EQ(0, create(third));
	EACH_PLACE(at, "rename into another directory", ret, ERR(rename(third, self->other))) {
		CHECK(at, exists(third) == (ret < 0) && exists(self->other) == !ret);
		if (!ret)
			ASSERT_EQ(0, rename(self->other, third));
	}
	ASSERT_EQ(0, make_file(self->other, 3, 1));
	EACH_PLACE(at, "rename over a file", ret, ERR(rename(third, self->other))) {
		CHECK(at, exists(third) == (ret < 0) && exists(self->other));
		CHECK(at, blocks_of(self->other) == (ret < 0 ? 24 : 0));
		if (!ret) {
			ASSERT_EQ(0, create(third));
			ASSERT_EQ(0, make_file(self->other, 3, 1));
		}
	}
	ASSERT_EQ(0, unlink(third));
	ASSERT_EQ(0, unlink(self->other));
}

static long names_in(const char *path)
{
	char buf[4096];
	long fd = ERR(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	long ret;

	if (fd < 0)
		return fd;
	ret = ERR(syscall(SYS_getdents64, fd, buf, sizeof(buf)));
	close(fd);
	return ret;
}

TEST_F_TIMEOUT(fail_alloc, S4_look_up_and_list, LIMIT)
{
	long all = names_in(self->dir);
	struct stat st;

	ASSERT_LT(0, all);
	EACH_PLACE(at, "readdir", ret, names_in(self->dir)) {
		CHECK(at, ret < 0 || (ret > 0 && ret <= all));
	}
	/* Inode and dentry are read anew each time. */
	EACH_PLACE(at, "stat of what is not in memory", ret, ERR(stat(self->file, &st)))
		ASSERT_EQ(0, write_text("/proc/sys/vm/drop_caches", "2"));
}

/* ---- contents ---- */

TEST_F_TIMEOUT(fail_alloc, S4_write_and_truncate, LIMIT)
{
	static char buf[16 * PAGE];
	int fd = open(self->other, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	long before = blocks_free(mnt);

	ASSERT_LE(0, fd);
	fill(buf, sizeof(buf), 7);
	EACH_PLACE(at, "write", ret, ERR(pwrite(fd, buf, sizeof(buf), 0))) {
		CHECK(at, lseek(fd, 0, SEEK_END) == (ret < 0 ? 0 : ret));
		ASSERT_EQ(0, ftruncate(fd, 0));
		CHECK(at, blocks_free(mnt) == before);
	}
	ASSERT_EQ((long)sizeof(buf), pwrite(fd, buf, sizeof(buf), 0));
	EACH_PLACE(at, "read", ret, ERR(pread(fd, buf, sizeof(buf), 0))) {
		CHECK(at, ret < 0 || filled(buf, ret, 7));
	}
	fill(buf, sizeof(buf), 7);
	EACH_PLACE(at, "truncate", ret, ERR(ftruncate(fd, PAGE + 1))) {
		CHECK(at, lseek(fd, 0, SEEK_END) == (ret < 0 ? (long)sizeof(buf) : PAGE + 1));
		if (!ret)
			ASSERT_EQ((long)sizeof(buf), pwrite(fd, buf, sizeof(buf), 0));
	}
	EACH_PLACE(at, "punch", ret, ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
						   PAGE, 4 * PAGE))) {
		CHECK(at, lseek(fd, 0, SEEK_END) == (long)sizeof(buf));
		if (!ret)
			ASSERT_EQ((long)sizeof(buf), pwrite(fd, buf, sizeof(buf), 0));
	}
	EACH_PLACE(at, "allocate", ret, ERR(fallocate(fd, 0, 0, 2 * sizeof(buf)))) {
		CHECK(at, lseek(fd, 0, SEEK_END) == (long)sizeof(buf) * (ret < 0 ? 1 : 2));
		ASSERT_EQ(0, ftruncate(fd, sizeof(buf)));
	}
	EACH_PLACE(at, "seek for a hole", ret, ERR(lseek(fd, 0, SEEK_HOLE))) {
		CHECK(at, ret < 0 || ret == (long)sizeof(buf));
	}
	EACH_PLACE(at, "fsync", ret, ERR(fsync(fd))) {
		CHECK(at, ret <= 0);
	}
	close(fd);
	ASSERT_EQ(0, unlink(self->other));
}

/* A fault that finds no memory is taken again, and the program never knows. */
TEST_F_TIMEOUT(fail_alloc, M3_faults_in_a_mapping, LIMIT)
{
	int fd = open(self->other, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	volatile char *map;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, PAGE));
	EACH_PLACE(at, "store into a hole", ret,
		   ((map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) ==
		    MAP_FAILED ? -errno : (map[0] = 'x', 0))) {
		char byte = 0;

		CHECK(at, pread(fd, &byte, 1, 0) == 1 && byte == (ret < 0 ? 0 : 'x'));
		if (!ret)
			ASSERT_EQ(0, munmap((void *)map, PAGE));
		ASSERT_EQ(0, ftruncate(fd, 0) || ftruncate(fd, PAGE));
	}
	close(fd);
	ASSERT_EQ(0, unlink(self->other));
}

/* ---- leases and pins ---- */

TEST_F_TIMEOUT(fail_alloc, L5_lease, LIMIT)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EACH_PLACE(at, "take a lease", ret, act_lease(&self->me, EXCLUSIVE)) {
		CHECK(at, act_getlease(&self->me, 0) == (ret < 0 ? F_UNLCK : EXCLUSIVE));
		if (!ret)
			ASSERT_EQ(0, act_lease(&self->me, F_UNLCK));
	}
	ASSERT_EQ(0, act_lease(&self->me, F_LAYOUT));
	EACH_PLACE(at, "convert a lease", ret, act_lease(&self->me, EXCLUSIVE)) {
		CHECK(at, act_getlease(&self->me, 0) == (ret < 0 ? F_LAYOUT : EXCLUSIVE));
		ASSERT_EQ(0, act_lease(&self->me, F_LAYOUT));
	}
	EACH_PLACE(at, "give a lease back", ret, act_lease(&self->me, F_UNLCK)) {
		CHECK(at, act_getlease(&self->me, 0) == (ret < 0 ? F_LAYOUT : F_UNLCK));
		ASSERT_EQ(0, act_lease(&self->me, F_LAYOUT));
	}
	EACH_PLACE(at, "close with a lease", ret, act_close(&self->me, 0)) {
		CHECK(at, ret == 0);
		ASSERT_EQ(0, act_open(&self->me, O_RDWR));
		CHECK(at, act_lease(&self->me, EXCLUSIVE) == 0);
	}
}

/* Nobody else finds the file held when its pins are gone; it is as before then. */
static bool can_be_truncated(const char *path)
{
	return make_file(path, FILE_PAGES, FILE_SEED) == 0;
}

TEST_F_TIMEOUT(fail_alloc, P6_pin_and_unpin, LIMIT)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	EACH_PLACE(at, "pin", ret, act_pin(&self->me, 0)) {
		CHECK(at, pins_listed() == !ret);
		if (!ret)
			ASSERT_EQ(0, act_unpin(&self->me, 0));
		CHECK(at, EVENTUALLY(pins_listed() == 0, REPLY_MS));
		CHECK(at, can_be_truncated(self->file));
	}
	ASSERT_EQ(0, act_pin(&self->me, 0));
	EACH_PLACE(at, "unpin", ret, act_unpin(&self->me, 0)) {
		if (!ret) {
			CHECK(at, EVENTUALLY(pins_listed() == 0, REPLY_MS));
			CHECK(at, can_be_truncated(self->file));
			ASSERT_EQ(0, act_pin(&self->me, 0));
		}
	}
	EACH_PLACE(at, "end of the mapping and the file", ret,
		   (act_unmap(&self->me, 0) ?: act_close(&self->me, 0))) {
		CHECK(at, ret < 0 || pins_listed() == 1);
		if (self->me.map)
			ASSERT_EQ(0, act_unmap(&self->me, 0));
		if (self->me.fd >= 0)
			ASSERT_EQ(0, act_close(&self->me, 0));
		ASSERT_EQ(0, act_ring_close(&self->me, 0));
		CHECK(at, EVENTUALLY(pins_listed() == 0, REPLY_MS));
		CHECK(at, can_be_truncated(self->file));
		ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	}
}

TEST_F_TIMEOUT(fail_alloc, B1_truncate_of_a_pinned_file, LIMIT)
{
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	for (unsigned int n = 1, more = 1; more; n++) {
		long ret;

		fail_at(n);
		ret = act_truncate(&self->me, 0);
		more = has_failed();
		EXPECT_TRUE(ret == -EDEADLK || (more && is_injected(ret))) {
			TH_LOG("truncate with a failure at place %u: %ld", n, ret);
		}
		EXPECT_EQ(FILE_SIZE, act_stat_size(&self->me, 0));
	}
}

/* A process that ends with pins while nothing can be allocated for it. */
TEST_F_TIMEOUT(fail_alloc, L16_exit_with_pins, LIMIT)
{
	for (unsigned int n = 1; n <= 40; n++) {
		int status;
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (pid == 0) {
			struct actor a;
			long ret;

			act_init(&a, self->file);
			ret = act_hold(&a, EXCLUSIVE);
			if (ret || act_close(&a, 0))
				_exit(1);
			/* That of the parent's thread is not this one's. */
			close(nth_fd);
			nth_fd = open(fail_nth, O_RDWR | O_CLOEXEC);
			fail_at(n);
			_exit(0);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		fail_at(0);
		EXPECT_TRUE(EVENTUALLY(pins_listed() == 0, REPLY_MS)) {
			TH_LOG("exit with a failure at place %u", n);
		}
		EXPECT_TRUE(can_be_truncated(self->file));
	}
}

/* Without memory for an inode, procfs says of any file that it is not there. */
static long in_proc(long ret)
{
	return ret == -ENOENT ? -ENOMEM : ret;
}

TEST_F_TIMEOUT(fail_alloc, F1_views, LIMIT)
{
	char all[4096], text[4096];
	const char *views[] = { "/proc/self/file_pins", PINS, "/proc/locks" };

	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	for (size_t i = 0; i < ARRAY_SIZE(views); i++) {
		ASSERT_LT(0, read_text(views[i], all, sizeof(all)));
		EACH_PLACE(at, views[i], ret, in_proc(read_text(views[i], text, sizeof(text)))) {
			CHECK(at, ret < 0 || !strcmp(all, text));
		}
	}
}

/* ---- mounts, and the module itself ---- */

TEST_F_TIMEOUT(fail_alloc, S1_mount_and_umount, LIMIT)
{
	EACH_PLACE(at, "remount", ret, ERR(mount(NULL, mnt, NULL, MS_REMOUNT | MS_RDONLY, NULL)))
		ASSERT_EQ(0, mount(NULL, mnt, NULL, MS_REMOUNT, NULL));
	EACH_PLACE(at, "umount", ret, ERR(umount(mnt))) {
		CHECK(at, is_mounted() == (ret < 0));
		if (!ret)
			ASSERT_EQ(0, do_mount());
	}
	ASSERT_EQ(0, umount(mnt));
	EACH_PLACE(at, "mount", ret, do_mount()) {
		CHECK(at, is_mounted() == !ret);
		if (!ret)
			ASSERT_EQ(0, umount(mnt));
	}
	ASSERT_EQ(0, do_mount());
	EXPECT_EQ(self->blocks, blocks_free(mnt));
}

static bool all_features(void)
{
	static const char * const names[] = { "layout_lease", "longterm_pin", "file_pins" };
	char path[PATH_MAX], text[16];
	bool all = true;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "/sys/fs/pinfs/features/%s", names[i]);
		all = all && read_text(path, text, sizeof(text)) > 0 && text[0] == '1';
	}
	return all;
}

/* Nothing of a module that was not loaded, or no longer is. */
static bool no_trace(void)
{
	return !is_loaded() && access("/sys/fs/pinfs", F_OK) && access("/proc/fs/pinfs", F_OK) &&
	       access("/proc/self/file_pins", F_OK);
}

/*
 * Most places are the loader's, before the module has a say. A module that was
 * loaded has all it should have: no memory for a hook does not mean that the
 * kernel lacks it.
 */
TEST_F_TIMEOUT(fail_alloc, B10_insmod_and_rmmod, LIMIT)
{
	long begin = now_ms();
	unsigned int n = 1, step = 1;
	bool more = true;

	ASSERT_EQ(0, umount(mnt));
	ASSERT_TRUE(all_features());
	ASSERT_EQ(0, unload());
	for (; more; n += step) {
		long ret;

		fail_at(n);
		ret = load();
		more = has_failed();
		EXPECT_TRUE(ret == 0 || (more && is_injected(ret))) {
			TH_LOG("insmod with a failure at place %u: %ld", n, ret);
		}
		if (ret) {
			EXPECT_TRUE(no_trace()) {
				TH_LOG("insmod with a failure at place %u", n);
			}
		} else {
			EXPECT_TRUE(all_features()) {
				TH_LOG("insmod with a failure at place %u", n);
			}
			ASSERT_EQ(0, unload());
		}
		/* As far as the time goes: then with gaps that grow. */
		if (now_ms() - begin > scaled_ms(4000))
			step = step < 64 ? step * 2 : step;
	}
	TH_LOG("insmod: %u places, every %u. at the end", n - 1, step);
	ASSERT_EQ(0, load());
	EACH_PLACE(at, "rmmod", ret, unload()) {
		CHECK(at, ret ? all_features() : no_trace());
		if (!ret)
			ASSERT_EQ(0, load());
	}
	ASSERT_EQ(0, do_mount());
}

/* Our module lies beside this program. */
static const char *prepare_own(void)
{
	static char why[PATH_MAX + 80];
	char path[PATH_MAX] = "";
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - sizeof("failnth.ko"));
	char *slash = len > 0 ? strrchr(path, '/') : NULL;
	long ret;

	if (!slash)
		return "no /proc/self/exe";
	strcpy(slash + 1, "failnth.ko");
	ret = load_file(path);
	if (ret && ret != -EEXIST) {
		snprintf(why, sizeof(why), "no fault injection: neither CONFIG_FAULT_INJECTION nor %s (%s)",
			 path, strerror(-ret));
		return why;
	}
	fail_nth = OWN_FAIL_NTH;
	return NULL;
}

static const char *why_not(void)
{
	dev = getenv("PINFS_DEV");
	if (geteuid())
		return "not root";
	if (!dev)
		return "PINFS_DEV is not set";
	if (copy_module(getenv("PINFS_KO") ?: "/pinfs/pinfs.ko"))
		return "no module to load (PINFS_KO)";
	return access(fail_nth, W_OK) ? prepare_own() : prepare_kernel();
}

int main(int argc, char **argv)
{
	const char *why = why_not();
	int ret;

	if (why) {
		printf("TAP version 13\n1..0 # SKIP %s\n", why);
		return KSFT_SKIP;
	}
	ret = test_harness_run(argc, argv);
	syscall(SYS_delete_module, "failnth", O_NONBLOCK);
	return ret;
}
