// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that something references when their file is closed, unlinked,
 * unmounted or synced: rows B8, B9, B13 and M7.  B13 has the cases in which ext4
 * and xfs wait for ever, see evict_control.sh.
 */
#include "kselftest_harness.h"

#include "pinfs_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/syscall.h>

/* How a process comes to hold a page of the file, and how it leaves. */
#define PIPE_FIRST	1	/* the pipe's descriptors are below the file's */
#define UNLINK		2
#define UNMAP		4
#define CLOSE		8
#define NOBODY		16

static long act_prepare(struct actor *a, long how)
{
	long ret = 0;

	if (how & NOBODY)
		ret = act_become(a, 65534);
	if (!ret && (how & PIPE_FIRST))
		ret = ERR(pipe2(a->pipe, O_CLOEXEC | O_NONBLOCK));
	if (!ret)
		ret = act_open(a, O_RDWR);
	if (!ret)
		ret = act_map(a, FILE_SIZE);
	if (!ret)
		ret = act_vmsplice(a, 3);
	if (ret != PAGE)
		return ret < 0 ? ret : -EIO;
	ret = how & UNLINK ? act_unlink(a, 0) : 0;
	if (!ret && (how & UNMAP))
		ret = act_unmap(a, 0);
	if (!ret && (how & CLOSE))
		ret = act_close(a, 0);
	return ret;
}

static const struct {
	const char *name;
	long how;
} ways[] = {
	{ "pipe below file", PIPE_FIRST | UNLINK },
	{ "file below pipe", UNLINK },
	{ "pipe below file, unmapped", PIPE_FIRST | UNLINK | UNMAP },
	{ "file below pipe, closed", UNLINK | CLOSE },
	{ "nothing but the pipe is left", PIPE_FIRST | UNLINK | UNMAP | CLOSE },
	{ "pipe below file, an ordinary user", PIPE_FIRST | UNLINK | NOBODY },
};

/* The process that holds the page ends in whatever way; its end takes no time. */
static void check_ends(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
		       long (*end)(struct peer *p))
{
	long before;

	ASSERT_EQ(0, chmod(self->dir, 0777));
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		ASSERT_EQ(0, make_file(self->path, FILE_PAGES, FILE_SEED));
		ASSERT_EQ(0, chmod(self->path, 0666));
		before = blocks_free_at_rest(self->dir);
		ASSERT_EQ(0, peer_start(&self->a, self->path));
		ASSERT_EQ(0, peer_call(&self->a, act_prepare, ways[i].how)) {
			TH_LOG("%s", ways[i].name);
		}
		ASSERT_LE(0, end(&self->a)) {
			TH_LOG("%s: it does not end", ways[i].name);
		}
		EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= before + FILE_PAGES, 1000)) {
			TH_LOG("%s: blocks were not freed", ways[i].name);
		}
	}
}

TEST_F(pinfs, B13_exit_of_the_holder_of_an_unlinked_file_and_its_pipe)
{
	check_ends(_metadata, self, peer_end);
}

TEST_F(pinfs, B13_SIGKILL_of_the_holder_of_an_unlinked_file_and_its_pipe)
{
	check_ends(_metadata, self, peer_kill);
}

/* The page is in the pipe of a process that has neither the file nor a mapping. */
static void hold_by_a_pipe_only(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_prepare, UNMAP | CLOSE));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
}

static long act_tmpfile(struct actor *a, long unused)
{
	char dir[PATH_MAX], *slash;

	(void)unused;
	snprintf(dir, sizeof(dir), "%s", a->path);
	slash = strrchr(dir, '/');
	*slash = 0;
	a->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (a->fd < 0)
		return -errno;
	return act_ftruncate(a, FILE_SIZE);
}

static long act_rename_over(struct actor *a, long unused)
{
	char path[PATH_MAX];
	long ret;

	(void)unused;
	snprintf(path, sizeof(path), "%.4080s.new", a->path);
	ret = make_file(path, 1, 1);
	return ret ? ret : ERR(rename(path, a->path));
}

static void check_removed(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
			  act_fn remove)
{
	long with, gone;

	hold_by_a_pipe_only(_metadata, self);
	with = blocks_free(self->dir);
	ASSERT_EQ(0, peer_call(&self->b, remove, 0)) {
		TH_LOG("it waits for a page in somebody else's pipe");
	}
	gone = blocks_free(self->dir);
	/* Some blocks of metadata may have come or gone, not those of the file. */
	EXPECT_GT(with + FILE_PAGES / 2, gone) {
		TH_LOG("blocks in quarantine count as free");
	}
	/* Meanwhile everybody else goes on. */
	EXPECT_LE(0, peer_call(&self->b, act_ls, 0));
	EXPECT_EQ(0, peer_call(&self->b, act_create_beside, 0));
	EXPECT_EQ(0, peer_call(&self->b, act_unlink_beside, 0));
	EXPECT_EQ(PAGE, peer_call(&self->a, act_drain, 0));
	EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= gone + FILE_PAGES, 1000));
}

TEST_F(pinfs, B13_unlink_with_a_page_in_a_pipe)
{
	check_removed(_metadata, self, act_unlink);
}

TEST_F(pinfs, B13_rename_over_with_a_page_in_a_pipe)
{
	check_removed(_metadata, self, act_rename_over);
}

TEST_F(pinfs, B13_close_of_a_tmpfile_with_a_page_in_a_pipe)
{
	long before = blocks_free_at_rest(self->dir), ret;

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ret = peer_call(&self->a, act_tmpfile, 0);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "the file system has no O_TMPFILE");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, peer_call(&self->a, act_map, FILE_SIZE));
	for (long page = 0; page < FILE_PAGES; page++)
		ASSERT_EQ(0, peer_call(&self->a, act_store_page, page));
	ASSERT_EQ(PAGE, peer_call(&self->a, act_vmsplice, 5));
	EXPECT_EQ(0, peer_call(&self->a, act_close, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_unmap, 0));
	EXPECT_GE(before - FILE_PAGES, blocks_free(self->dir));
	EXPECT_EQ(PAGE, peer_call(&self->a, act_drain, 0));
	EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= before, 1000));
}

/* Long-term pins: the ring's descriptor below the file's and above it. */
TEST_F(pinfs, B13_B8_SIGKILL_of_the_holder_of_an_unlinked_file_and_its_ring)
{
	static const struct {
		const char *name;
		act_fn hold;
		long arg;
	} orders[] = {
		{ "ring below file", act_hold_ring_first, 0 },
		{ "file below ring", act_hold, EXCLUSIVE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(orders) * 2; i++) {
		const char *name = orders[i / 2].name;
		long before;

		ASSERT_EQ(0, make_file(self->path, FILE_PAGES, FILE_SEED));
		before = blocks_free_at_rest(self->dir);
		ASSERT_EQ(0, peer_start(&self->a, self->path));
		ASSERT_EQ(0, peer_call(&self->a, orders[i / 2].hold, orders[i / 2].arg));
		ASSERT_EQ(0, peer_call(&self->a, act_unlink, 0));
		if (i % 2)
			ASSERT_EQ(0, peer_call(&self->a, act_close, 0));
		ASSERT_LE(0, peer_kill(&self->a)) {
			TH_LOG("%s: it does not end", name);
		}
		EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= before + FILE_PAGES, 2000)) {
			TH_LOG("%s: blocks were not freed", name);
		}
	}
}

TEST_F(pinfs, B13_B8_unlink_close_and_munmap_with_a_live_ring)
{
	long before = blocks_free_at_rest(self->dir);

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_hold, EXCLUSIVE));
	EXPECT_EQ(0, peer_call(&self->a, act_unlink, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_close, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_unmap, 0));
	EXPECT_GT(before + FILE_PAGES / 2, blocks_free(self->dir));
	EXPECT_EQ(0, peer_call(&self->a, act_unpin, 0));
	EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= before + FILE_PAGES, 2000));
}

/* ---- umount ---- */

static const char *fs_type(void)
{
	const char *type = getenv("PINFS_ANY_FS");

	return type ? type : "pinfs";
}

static long act_umount(struct actor *a, long flags)
{
	(void)a;
	return ERR(umount2(test_mnt, flags));
}

static long mount_again(void)
{
	return ERR(mount(test_dev, test_mnt, fs_type(), 0, "dax=always"));
}

/* True if nobody, the file system included, has the device. */
static bool device_is_free(void)
{
	int fd = open(test_dev, O_RDWR | O_EXCL | O_CLOEXEC);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static long quarantined(const char *what)
{
	char path[PATH_MAX], text[64];
	long ret;

	snprintf(path, sizeof(path), "/sys/fs/pinfs/%s/quarantined_%s", strrchr(test_dev, '/') + 1, what);
	ret = read_text(path, text, sizeof(text));
	return ret < 0 ? ret : atol(text);
}

/*
 * A file that keeps its name.  Whoever unmounts does not wait; the device is
 * nobody else's, and free as soon as the pipe is read.
 */
TEST_F(pinfs, B13_umount_with_a_page_in_a_pipe)
{
	NEED_MOUNT();
	hold_by_a_pipe_only(_metadata, self);
	ASSERT_EQ(0, peer_call(&self->b, act_umount, 0)) {
		TH_LOG("it waits for a page in somebody's pipe");
	}
	EXPECT_FALSE(device_is_free());
	EXPECT_EQ(-1, access(self->path, F_OK));
	EXPECT_EQ(PAGE, peer_call(&self->a, act_drain, 0));
	EXPECT_TRUE(EVENTUALLY(device_is_free(), 2000)) {
		TH_LOG("the device is still claimed after the last reference");
	}
	ASSERT_EQ(0, mount_again());
	EXPECT_EQ(FILE_SIZE, act_stat_size(&self->me, 0));
}

TEST_F(pinfs, B13_mount_again_while_a_page_is_in_a_pipe)
{
	NEED_MOUNT();
	hold_by_a_pipe_only(_metadata, self);
	ASSERT_EQ(0, peer_call(&self->b, act_umount, 0));
	/* The same file system, as if it had never been gone. */
	ASSERT_EQ(0, mount_again());
	EXPECT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_LE(0, act_read_byte(&self->me, 3 * PAGE));
	EXPECT_EQ(0, act_close(&self->me, 0));
	EXPECT_EQ(1, quarantined("files"));
	EXPECT_EQ(FILE_SIZE, quarantined("bytes"));

	/* Another reference comes and goes; the first one stays. */
	EXPECT_EQ(0, act_prepare(&self->me, UNMAP | CLOSE));
	EXPECT_EQ(1, quarantined("files"));
	EXPECT_EQ(PAGE, act_drain(&self->me, 0));
	EXPECT_EQ(1, quarantined("files"));
	ASSERT_EQ(0, peer_call(&self->b, act_umount, 0));
	EXPECT_FALSE(device_is_free());

	EXPECT_EQ(PAGE, peer_call(&self->a, act_drain, 0));
	EXPECT_TRUE(EVENTUALLY(device_is_free(), 2000));
	ASSERT_EQ(0, mount_again());
	EXPECT_EQ(0, quarantined("files"));
	EXPECT_EQ(0, quarantined("bytes"));
}

TEST_F(pinfs, B9_B13_lazy_umount_with_a_page_in_a_pipe)
{
	NEED_MOUNT();
	hold_by_a_pipe_only(_metadata, self);
	ASSERT_EQ(0, peer_call(&self->b, act_open, O_RDWR));
	ASSERT_EQ(0, act_umount(NULL, MNT_DETACH));
	EXPECT_LE(0, peer_call(&self->b, act_read_byte, 1));
	EXPECT_EQ(0, peer_call(&self->b, act_close, 0));
	EXPECT_FALSE(device_is_free());
	EXPECT_LE(0, peer_kill(&self->a));
	EXPECT_TRUE(EVENTUALLY(device_is_free(), 2000));
	ASSERT_EQ(0, mount_again());
	EXPECT_EQ(FILE_SIZE, act_stat_size(&self->me, 0));
}

/* An unlinked file goes, blocks and all, though nothing is mounted any more. */
TEST_F(pinfs, B11_B13_umount_with_a_page_of_an_unlinked_file_in_a_pipe)
{
	long before;

	NEED_MOUNT();
	before = blocks_free_at_rest(self->dir);
	hold_by_a_pipe_only(_metadata, self);
	ASSERT_EQ(0, peer_call(&self->b, act_unlink, 0));
	ASSERT_EQ(0, peer_call(&self->b, act_umount, 0));
	EXPECT_FALSE(device_is_free());
	EXPECT_EQ(PAGE, peer_call(&self->a, act_drain, 0));
	EXPECT_TRUE(EVENTUALLY(device_is_free(), 2000));
	ASSERT_EQ(0, mount_again());
	EXPECT_LE(before + FILE_PAGES, blocks_free(self->dir));
}

/* Counts in a tracing instance of its own; negative errno where there is none. */
#define TRACE	"/sys/kernel/tracing/instances/pinfs-evict"

static long trace_flushes(void)
{
	if (mkdir(TRACE, 0700) && errno != EEXIST)
		return -errno;
	return write_text(TRACE "/events/fs_dax/dax_writeback_one/enable", "1");
}

static long flushes(void)
{
	char line[512];
	FILE *trace = fopen(TRACE "/trace", "r");
	long n = 0;

	if (!trace)
		return -errno;
	while (fgets(line, sizeof(line), trace))
		n += strstr(line, "dax_writeback_one:") != NULL;
	fclose(trace);
	return n;
}

/*
 * umount promises that everything is durable when it returns.  With the file
 * system kept alive behind it, that is seen to before.
 */
TEST_F(pinfs, B13_what_was_stored_is_flushed_before_such_a_umount_returns)
{
	char path[PATH_MAX];
	long ret;

	NEED_MOUNT();
	if (trace_flushes())
		SKIP(return, "no tracepoint fs_dax:dax_writeback_one");
	snprintf(path, sizeof(path), "%.4000s/other", self->dir);
	ASSERT_EQ(0, make_file(path, FILE_PAGES, 3));
	act_init(&self->me, path);

	/* One that was closed before there is anything in quarantine ... */
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_store_page(&self->me, 1));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	ASSERT_EQ(0, act_close(&self->me, 0));
	EXPECT_EQ(0, flushes());
	hold_by_a_pipe_only(_metadata, self);
	EXPECT_LE(1, flushes());

	/* ... and one after. */
	ASSERT_EQ(0, write_text(TRACE "/trace", ""));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_store_page(&self->me, 2));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	EXPECT_EQ(0, flushes());
	ASSERT_EQ(0, act_close(&self->me, 0));
	ret = flushes();
	EXPECT_LE(1, ret);
	EXPECT_EQ(PAGE, peer_call(&self->a, act_drain, 0));
	rmdir(TRACE);
}

/* ---- what a device writes is flushed ---- */

#define PROBE	"/sys/kernel/tracing/kprobe_events"

static long probe_flushes(void)
{
	long ret = write_text(PROBE, "p:pinfs_flush arch_wb_cache_pmem len=%si:u64");

	if (!ret && mkdir(TRACE, 0700) && errno != EEXIST)
		ret = -errno;
	return ret ? ret : write_text(TRACE "/events/kprobes/pinfs_flush/enable", "1");
}

static void probe_end(void)
{
	write_text(TRACE "/events/kprobes/pinfs_flush/enable", "0");
	rmdir(TRACE);
	write_text(PROBE, "-:pinfs_flush");
}

/* Bytes that were flushed in whole pages since the last call: data, not metadata. */
static long flushed_bytes(void)
{
	FILE *trace = fopen(TRACE "/trace", "r");
	char line[512], *at;
	long sum = 0;

	if (!trace)
		return -errno;
	while (fgets(line, sizeof(line), trace)) {
		at = strstr(line, " len=");
		if (at && atol(at + 5) >= PAGE)
			sum += atol(at + 5);
	}
	fclose(trace);
	write_text(TRACE "/trace", "");
	return sum;
}

TEST_F(pinfs, M7_fsync_flushes_what_a_device_wrote)
{
	int from = memfd_create("from", MFD_CLOEXEC);
	long flushed;

	if (probe_flushes())
		SKIP(return, "no kprobe at arch_wb_cache_pmem");
	ASSERT_EQ(0, ERR(ftruncate(from, FILE_SIZE)));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	EXPECT_EQ(0, act_fsync(&self->me, 0));
	EXPECT_LE(FILE_SIZE, flushed_bytes());

	/* No program has stored anything since; a device may have. */
	EXPECT_EQ(0, act_fsync(&self->me, 0));
	flushed = flushed_bytes();
	EXPECT_LE(FILE_SIZE, flushed) {
		TH_LOG("pinned pages do not count as dirty");
	}
	EXPECT_GT(2 * FILE_SIZE, flushed) {
		TH_LOG("pinned pages are flushed twice: %ld bytes", flushed);
	}
	EXPECT_EQ(0, ERR(syncfs(self->me.fd)));
	EXPECT_LE(FILE_SIZE, flushed_bytes()) {
		TH_LOG("pinned pages do not count as dirty for syncfs");
	}

	/* It writes, and lets go. */
	ASSERT_EQ(FILE_SIZE, ring_read_fixed(&self->me.ring[0], from, self->me.map, FILE_SIZE));
	ASSERT_EQ(0, act_unpin(&self->me, 0));
	/* A worker of io_uring may hold the buffer a little longer. */
	ASSERT_TRUE(EVENTUALLY(act_lease(&self->me, F_UNLCK) == 0, 2000));
	flushed_bytes();
	EXPECT_EQ(0, act_fsync(&self->me, 0));
	EXPECT_LE(FILE_SIZE, flushed_bytes()) {
		TH_LOG("what was written last through the pins is not flushed");
	}

	/* And that is that. */
	EXPECT_EQ(0, act_fsync(&self->me, 0));
	EXPECT_EQ(0, flushed_bytes());
	probe_end();
	close(from);
}

/* ---- pages that the mapping forgets while something else in them is dirty ---- */

#define HUGE_FILE	(3 * PMD)

/* Three dirty pages of 2 MiB; false if the device has none to give. */
static bool dirty_huge_pages(struct actor *a)
{
	char *room = mmap(NULL, HUGE_FILE + PMD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *start = (char *)(((unsigned long)room + PMD - 1) & ~(PMD - 1));

	if (room == MAP_FAILED || munmap(room, HUGE_FILE + PMD))
		return false;
	a->map = mmap(start, HUGE_FILE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
		      a->fd, 0);
	if (a->map == MAP_FAILED)
		return false;
	a->map_len = HUGE_FILE;
	memset(a->map, 'd', HUGE_FILE);
	return huge_bytes(a->map, HUGE_FILE) == HUGE_FILE;
}

static long act_syncfs(struct actor *a, long unused)
{
	(void)unused;
	return ERR(syncfs(a->fd));
}

static long act_sync_punched(struct actor *a, long unused)
{
	(void)unused;
	return ERR(msync(a->map, HUGE_FILE, MS_SYNC));
}

#define WRITEBACK	"/proc/sys/vm/dirty_writeback_centisecs"
#define EXPIRE		"/proc/sys/vm/dirty_expire_centisecs"

/* Whether something of that length has been flushed. */
static bool was_flushed(long len)
{
	FILE *trace = fopen(TRACE "/trace", "r");
	char line[512], *at;
	bool seen = false;

	while (trace && fgets(line, sizeof(line), trace)) {
		at = strstr(line, " len=");
		seen |= at && atol(at + 5) == len;
	}
	if (trace)
		fclose(trace);
	return seen;
}

/* Nobody asks for it; the kernel does it when the inode has been dirty for long. */
static long act_wait_for_writeback(struct actor *a, long unused)
{
	bool seen;

	(void)a;
	(void)unused;
	if (write_text(EXPIRE, "1") || write_text(WRITEBACK, "10"))
		return -EPERM;
	seen = EVENTUALLY(was_flushed(PMD - PAGE), 20000);
	write_text(EXPIRE, "3000");
	write_text(WRITEBACK, "500");
	return seen ? 0 : -ETIMEDOUT;
}

/*
 * Takes a part of dirty pages away, and looks for what is left of them in what
 * is flushed until the file is durable: all of it, whoever does that.
 */
static void check_rest_is_flushed(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
				  act_fn take, long arg, long left, act_fn sync)
{
	long flushed;

	ASSERT_EQ(0, act_ftruncate(&self->me, 0));
	ASSERT_EQ(0, ERR(fallocate(self->me.fd, 0, 0, HUGE_FILE)));
	if (!dirty_huge_pages(&self->me)) {
		act_unmap(&self->me, 0);
		SKIP(return, "no 2 MiB pages");
	}
	/* All but the page that loses something is clean. */
	ASSERT_EQ(0, act_fsync(&self->me, 0));
	self->me.map[PMD] = 'e';
	ASSERT_LE(0, flushed_bytes());
	ASSERT_EQ(0, take(&self->me, arg));
	ASSERT_EQ(0, sync(&self->me, 0));
	flushed = flushed_bytes();
	EXPECT_LE(left, flushed) {
		TH_LOG("the rest of a page that was dirty is not flushed: %ld of %ld bytes", flushed, left);
	}
	EXPECT_GE(left + 2 * PAGE, flushed) {
		TH_LOG("more is flushed than was dirty: %ld bytes, not %ld", flushed, left);
	}
	/* Once. */
	EXPECT_EQ(0, act_fsync(&self->me, 0));
	EXPECT_EQ(0, flushed_bytes());
	EXPECT_EQ('d', act_read_byte(&self->me, PMD + 8 * PAGE));
	act_unmap(&self->me, 0);
}

TEST_F(pinfs, M7_S3_rest_of_a_punched_page_is_flushed)
{
	const long first = PMD / PAGE;

	if (probe_flushes())
		SKIP(return, "no kprobe at arch_wb_cache_pmem");
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	check_rest_is_flushed(_metadata, self, act_punch, RANGE(first + 5, 1), PMD - PAGE, act_fsync);
	check_rest_is_flushed(_metadata, self, act_punch, RANGE(first + 5, 1), PMD - PAGE, act_syncfs);
	check_rest_is_flushed(_metadata, self, act_punch, RANGE(first + 5, 1), PMD - PAGE, act_sync_punched);
	check_rest_is_flushed(_metadata, self, act_punch, RANGE(first + 511, 1), PMD - PAGE, act_fsync);
	check_rest_is_flushed(_metadata, self, act_ftruncate, 2 * PMD - PAGE, PMD - PAGE, act_fsync);
	check_rest_is_flushed(_metadata, self, act_punch, RANGE(first, 1), PMD - PAGE, act_wait_for_writeback);
	probe_end();
}

/* The file system has room to remember one range for each file; others are flushed at once. */
TEST_F(pinfs, M7_S3_punches_far_apart)
{
	long flushed;

	if (probe_flushes())
		SKIP(return, "no kprobe at arch_wb_cache_pmem");
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, 0));
	ASSERT_EQ(0, ERR(fallocate(self->me.fd, 0, 0, HUGE_FILE)));
	if (!dirty_huge_pages(&self->me)) {
		probe_end();
		SKIP(return, "no 2 MiB pages");
	}
	ASSERT_LE(0, flushed_bytes());
	ASSERT_EQ(0, act_punch(&self->me, RANGE(0, 1)));
	ASSERT_EQ(0, act_punch(&self->me, RANGE(3 * PMD / PAGE - 1, 1)));
	ASSERT_EQ(0, act_fsync(&self->me, 0));
	flushed = flushed_bytes();
	EXPECT_LE(HUGE_FILE - 2 * PAGE, flushed);
	EXPECT_GE(HUGE_FILE + 2 * PAGE, flushed) {
		TH_LOG("something is flushed twice: %ld bytes", flushed);
	}
	EXPECT_EQ(0, act_fsync(&self->me, 0));
	EXPECT_EQ(0, flushed_bytes());
	act_unmap(&self->me, 0);
	probe_end();
}

/* What is noted of a page includes the hole in it, which a page fault may show again before a write fills it. */
TEST_F(pinfs, S2_M3_write_to_a_hole_in_what_has_to_be_flushed)
{
	const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	char buf[PAGE];

	memset(buf, 'w', PAGE);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, 0));
	ASSERT_EQ(0, ERR(fallocate(self->me.fd, 0, 0, HUGE_FILE)));
	if (!dirty_huge_pages(&self->me)) {
		act_unmap(&self->me, 0);
		SKIP(return, "no 2 MiB pages");
	}
	ASSERT_EQ(0, act_punch(&self->me, RANGE(0, 1)));
	EXPECT_EQ(0, ((volatile char *)self->me.map)[0]);
	self->me.map[8 * PAGE] = 'x';
	/* Part of a dirty page: noted beside the other. */
	ASSERT_EQ(0, ERR(fallocate(self->me.fd, punch, 8 * PAGE + 1, 100)));
	EXPECT_EQ(PAGE, ERR(pwrite(self->me.fd, buf, PAGE, 0)));
	EXPECT_EQ('w', self->me.map[0]);
	EXPECT_EQ('x', self->me.map[8 * PAGE]);
	EXPECT_EQ(0, self->me.map[8 * PAGE + 1]);
	act_unmap(&self->me, 0);
}

/* Between ranges that are pinned, or were, there may be a hole, too. */
TEST_F(pinfs, M7_S3_write_to_a_hole_beside_a_pinned_page)
{
	struct actor *a = &self->me;
	struct iovec iov;
	char buf[PAGE];

	memset(buf, 'w', PAGE);
	ASSERT_EQ(0, act_open(a, O_RDWR));
	ASSERT_EQ(0, act_lease(a, EXCLUSIVE));
	ASSERT_EQ(0, act_map(a, FILE_SIZE));
	for (int i = 0; i < 2; i++) {
		iov = (struct iovec) { a->map + i * 8 * PAGE, PAGE };
		ASSERT_EQ(0, act_ring(a, i));
		ASSERT_EQ(0, io_uring_register_buffers(&a->ring[i], &iov, 1));
	}
	ASSERT_EQ(0, act_unpin(a, 0));
	ASSERT_TRUE(EVENTUALLY(!act_punch(a, RANGE(0, 1)), 2000));
	EXPECT_EQ(0, ((volatile char *)a->map)[0]);
	EXPECT_EQ(0, act_fsync(a, 0));
	EXPECT_EQ(PAGE, ERR(pwrite(a->fd, buf, PAGE, 0)));
	EXPECT_EQ('w', a->map[0]);
	EXPECT_EQ(0, act_fsync(a, 0));
	ASSERT_EQ(0, act_unpin(a, 1));
}

/* ---- what an open file has shown, and who sees to it: fault B4 ---- */

/* What pages have in common is noted for a few of them together: FAR is not near the others. */
#define VIEW_PAGES	512
#define FAR		300

/* An open file of its own, with a mapping of some pages. */
struct view {
	int fd;
	char *map;
	long len;
};

static long view_open(struct view *v, const char *path, long page, long pages, int flags)
{
	v->len = pages * PAGE;
	v->fd = open(path, O_RDWR | O_CLOEXEC);
	if (v->fd < 0)
		return -errno;
	v->map = mmap(NULL, v->len, PROT_READ | PROT_WRITE, flags, v->fd, page * PAGE);
	return v->map == MAP_FAILED ? -errno : 0;
}

static long view_close(struct view *v)
{
	long ret = ERR(munmap(v->map, v->len));

	return ERR(close(v->fd)) ?: ret;
}

/* Puts a page, and no copy of it, into a new pipe. */
static long splice_page(const char *at, int *pipe)
{
	struct iovec iov = { (void *)at, PAGE };
	volatile char byte = *at;

	(void)byte;
	if (pipe2(pipe, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	return ERR(vmsplice(pipe[1], &iov, 1, 0)) == PAGE ? 0 : -EIO;
}

static long drop_pipe(int *pipe)
{
	return ERR(close(pipe[0])) ?: ERR(close(pipe[1]));
}

static long view_shared(const char *path, int *pipe)
{
	struct view v;

	return view_open(&v, path, 3, 1, MAP_SHARED) ?: splice_page(v.map, pipe) ?: view_close(&v);
}

static long view_private(const char *path, int *pipe)
{
	struct view v;

	return view_open(&v, path, 3, 1, MAP_PRIVATE) ?: splice_page(v.map, pipe) ?: view_close(&v);
}

/* Pages that the call to mmap() did not speak of. */
static long view_grown(const char *path, int *pipe)
{
	long ret;
	struct view v;

	ret = view_open(&v, path, 0, 1, MAP_SHARED);
	if (ret)
		return ret;
	v.map = mremap(v.map, v.len, VIEW_PAGES * PAGE, MREMAP_MAYMOVE);
	v.len = VIEW_PAGES * PAGE;
	if (v.map == MAP_FAILED)
		return -errno;
	return splice_page(v.map + FAR * PAGE, pipe) ?: view_close(&v);
}

static long view_rearranged(const char *path, int *pipe)
{
	long ret;
	struct view v;

	ret = view_open(&v, path, 0, 2, MAP_SHARED);
	if (!ret)
		ret = ERR(syscall(SYS_remap_file_pages, v.map, PAGE, 0, FAR, 0));
	return ret ?: splice_page(v.map, pipe) ?: view_close(&v);
}

static long view_unmapped_in_parts(const char *path, int *pipe)
{
	long ret;
	struct view v;

	ret = view_open(&v, path, 0, 8, MAP_SHARED) ?: splice_page(v.map + 3 * PAGE, pipe);
	if (!ret)
		ret = ERR(munmap(v.map + 3 * PAGE, PAGE)) ?: ERR(munmap(v.map, 2 * PAGE));
	return ret ?: view_close(&v);
}

/* The child faults the page in, and its parent is the last to close the file. */
static long view_forked(const char *path, int *pipe, int flags, bool before)
{
	struct view v;
	long ret;
	pid_t pid;
	int status;

	ret = view_open(&v, path, 0, VIEW_PAGES, flags);
	if (!ret && pipe2(pipe, O_CLOEXEC | O_NONBLOCK))
		ret = -errno;
	if (ret)
		return ret;
	if (before) {
		/* There are page table entries to be copied, and a reason to do so. */
		v.map[0] = 'a';
		(void)((volatile char *)v.map)[FAR * PAGE];
	}
	pid = fork();
	if (!pid) {
		struct iovec iov = { v.map + FAR * PAGE, PAGE };

		_exit(vmsplice(pipe[1], &iov, 1, 0) != PAGE);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		return -ECHILD;
	return view_close(&v);
}

static long view_of_child(const char *path, int *pipe)
{
	return view_forked(path, pipe, MAP_SHARED, false);
}

static long view_copied_by_fork(const char *path, int *pipe)
{
	return view_forked(path, pipe, MAP_PRIVATE, true);
}

/* Another open file maps another page all the time, and ends last or first. */
static long view_beside(const char *path, int *pipe, bool ends_last)
{
	struct view other, v;
	long ret;

	ret = view_open(&other, path, FAR, 1, MAP_SHARED);
	other.map[0] = 'o';
	ret = ret ?: view_open(&v, path, 3, 1, MAP_SHARED) ?: splice_page(v.map, pipe);
	if (ret)
		return ret;
	if (ends_last)
		return view_close(&v) ?: view_close(&other);
	return view_close(&other) ?: view_close(&v);
}

static long view_ends_first(const char *path, int *pipe)
{
	return view_beside(path, pipe, true);
}

static long view_ends_last(const char *path, int *pipe)
{
	return view_beside(path, pipe, false);
}

/* One after the other, so that there is always a mapping, and nobody but the last may look. */
static long view_relay(const char *path, int *pipe)
{
	struct view v[2];
	long ret;

	ret = view_open(&v[0], path, 3, 1, MAP_SHARED) ?: splice_page(v[0].map, pipe);
	for (int i = 1; i < 6 && !ret; i++) {
		ret = view_open(&v[i % 2], path, 3 + i * 80, 1, MAP_SHARED);
		v[i % 2].map[0] = 'r';
		ret = ret ?: view_close(&v[(i - 1) % 2]);
	}
	return ret ?: view_close(&v[1]);
}

static const struct {
	const char *name;
	long (*show)(const char *path, int *pipe);
} views[] = {
	{ "shared", view_shared },
	{ "private", view_private },
	{ "grown by mremap()", view_grown },
	{ "rearranged by remap_file_pages()", view_rearranged },
	{ "unmapped in parts", view_unmapped_in_parts },
	{ "faulted in by a child", view_of_child },
	{ "copied by fork()", view_copied_by_fork },
	{ "another mapping ends later", view_ends_first },
	{ "another mapping ends before", view_ends_last },
	{ "a relay of mappings", view_relay },
};

TEST_F(pinfs, B13_B17_whatever_way_a_page_was_shown_it_is_seen_when_its_file_is_closed)
{
	NEED_MOUNT();
	for (size_t i = 0; i < ARRAY_SIZE(views); i++) {
		int pipe[2];
		long before;

		ASSERT_EQ(0, make_file(self->path, VIEW_PAGES, FILE_SEED));
		before = blocks_free_at_rest(self->dir);
		ASSERT_EQ(0, quarantined("files"));
		ASSERT_EQ(0, views[i].show(self->path, pipe)) {
			TH_LOG("%s", views[i].name);
		}
		EXPECT_EQ(1, quarantined("files")) {
			TH_LOG("%s: nobody has seen the page", views[i].name);
		}
		ASSERT_EQ(0, unlink(self->path));
		EXPECT_GT(before + VIEW_PAGES / 2, blocks_free(self->dir)) {
			TH_LOG("%s: the blocks are free too early", views[i].name);
		}
		EXPECT_EQ(0, drop_pipe(pipe));
		EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= before + VIEW_PAGES, 1000)) {
			TH_LOG("%s: blocks were not freed", views[i].name);
		}
	}
}

/* The inode is let go for a mapping while something is not seen yet: the mapping's file takes it over. */
TEST_F(pinfs, B13_B17_a_mapping_takes_over_what_was_in_quarantine)
{
	struct view a, b;
	int pipe[2][2];
	long before;

	NEED_MOUNT();
	ASSERT_EQ(0, make_file(self->path, VIEW_PAGES, FILE_SEED));
	before = blocks_free_at_rest(self->dir);
	/* Too little for a page of 2 MiB, whose parts would be referenced together. */
	ASSERT_EQ(0, view_open(&a, self->path, 0, VIEW_PAGES - 1, MAP_SHARED));
	ASSERT_EQ(0, splice_page(a.map + 3 * PAGE, pipe[0]));
	ASSERT_EQ(0, splice_page(a.map + FAR * PAGE, pipe[1]));
	ASSERT_EQ(0, view_close(&a));
	ASSERT_EQ(1, quarantined("files"));
	ASSERT_EQ(0, view_open(&b, self->path, 99, 1, MAP_SHARED));
	b.map[0] = 'b';
	ASSERT_EQ(0, unlink(self->path));
	/* The work looks again, and leaves the rest to the mapping. */
	ASSERT_EQ(0, drop_pipe(pipe[0]));
	EXPECT_TRUE(EVENTUALLY(quarantined("files") == 0, 1000));
	ASSERT_EQ(0, view_close(&b));
	EXPECT_EQ(1, quarantined("files")) {
		TH_LOG("what was left is forgotten");
	}
	EXPECT_GT(before + VIEW_PAGES / 2, blocks_free(self->dir));
	ASSERT_EQ(0, drop_pipe(pipe[1]));
	EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= before + VIEW_PAGES, 1000));
	EXPECT_EQ(0, quarantined("files"));
}

/* A page of 2 MiB, of which not the first 4 KiB were touched. */
TEST_F(pinfs, B13_B17_a_huge_page_is_seen)
{
	int pipe[2];

	NEED_MOUNT();
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, 0));
	ASSERT_EQ(0, ERR(fallocate(self->me.fd, 0, 0, HUGE_FILE)));
	if (!dirty_huge_pages(&self->me)) {
		act_unmap(&self->me, 0);
		SKIP(return, "no 2 MiB pages");
	}
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	ASSERT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, quarantined("files"));

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_TRUE(dirty_huge_pages(&self->me));
	ASSERT_EQ(0, splice_page(self->me.map + 2 * PMD - PAGE, pipe));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	ASSERT_EQ(0, act_close(&self->me, 0));
	EXPECT_EQ(1, quarantined("files"));
	ASSERT_EQ(0, drop_pipe(pipe));
	EXPECT_TRUE(EVENTUALLY(quarantined("files") == 0, 1000));
}

/* Far out: behind what is noted bit by bit, and where the numbers end. */
TEST_F(pinfs, B13_B17_pages_far_out_are_seen)
{
	const long pages[] = { 1L << 15, 1L << 40, (1L << 51) - 2 };
	struct view v[ARRAY_SIZE(pages)];
	int pipe[ARRAY_SIZE(pages)][2];

	NEED_MOUNT();
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, LONG_MAX));
	ASSERT_EQ(0, act_close(&self->me, 0));
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		ASSERT_EQ(0, view_open(&v[i], self->path, pages[i], 1, MAP_SHARED));
		v[i].map[0] = 'f';
		ASSERT_EQ(0, splice_page(v[i].map, pipe[i]));
		/* All but the last leave theirs to the next one. */
		if (i)
			ASSERT_EQ(0, view_close(&v[i - 1]));
	}
	EXPECT_EQ(0, quarantined("files"));
	ASSERT_EQ(0, view_close(&v[ARRAY_SIZE(pages) - 1]));
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		EXPECT_EQ(1, quarantined("files")) {
			TH_LOG("page %ld is not seen", pages[i]);
		}
		ASSERT_EQ(0, drop_pipe(pipe[i]));
		/* Time for the work to go on to the next. */
		usleep(20000);
	}
	EXPECT_TRUE(EVENTUALLY(quarantined("files") == 0, 1000));
}

#define BIG_PAGES	16384

/* The shortest time of some rounds in which a file is opened, pages of it are touched, and it is closed. */
static long shortest_ns(const char *path, long pages, bool both_ends)
{
	long shortest = LONG_MAX;

	for (int i = 0; i < 30; i++) {
		struct timespec begin, end;
		struct view v;
		long ns;

		clock_gettime(CLOCK_MONOTONIC, &begin);
		if (view_open(&v, path, 0, pages, MAP_SHARED))
			return -EIO;
		(void)((volatile char *)v.map)[0];
		if (both_ends)
			(void)((volatile char *)v.map)[v.len - PAGE];
		if (view_close(&v))
			return -EIO;
		clock_gettime(CLOCK_MONOTONIC, &end);
		ns = (end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec;
		if (ns < shortest)
			shortest = ns;
	}
	return shortest;
}

/* Has every page of a file mapped once, one by one. */
static long map_all_pages(struct view *v, const char *path, long pages)
{
	char *room = mmap(NULL, pages * PAGE + 2 * PMD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* Where no huge page can be. */
	char *at = (char *)(((unsigned long)room + PMD - 1) & ~(PMD - 1)) + PAGE;

	v->fd = open(path, O_RDWR | O_CLOEXEC);
	v->len = pages * PAGE;
	if (room == MAP_FAILED || v->fd < 0 || munmap(room, pages * PAGE + 2 * PMD))
		return -errno;
	v->map = mmap(at, v->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, v->fd, 0);
	if (v->map == MAP_FAILED)
		return -errno;
	for (long i = 0; i < pages; i++)
		(void)((volatile char *)v->map)[i * PAGE];
	return 0;
}

TEST_F_TIMEOUT(pinfs, B17_close_costs_what_the_open_file_has_shown, 120)
{
	char big[PATH_MAX];
	struct view all;
	long one, ns;

	snprintf(big, sizeof(big), "%.4000s/big", self->dir);
	ASSERT_EQ(0, make_file(big, BIG_PAGES, 1));
	one = shortest_ns(self->path, 1, false);
	ASSERT_LT(0, one);

	/* Somebody has mapped the whole of it, and is gone. */
	ASSERT_EQ(0, map_all_pages(&all, big, BIG_PAGES));
	ASSERT_EQ(0, view_close(&all));
	ns = shortest_ns(big, 1, false);
	EXPECT_GT(4 * one, ns) {
		TH_LOG("one page of many: %ld ns, of a small file %ld ns", ns, one);
	}
	/* Much is mapped, and little touched: it may be by pages of 2 MiB, whose parts are looked at first. */
	ns = shortest_ns(big, BIG_PAGES, true);
	EXPECT_GT(20 * one, ns) {
		TH_LOG("both ends of it: %ld ns, of a small file %ld ns", ns, one);
	}

	/* Somebody has done so and still has it open, or mapped. */
	ASSERT_EQ(0, map_all_pages(&all, big, BIG_PAGES));
	ns = shortest_ns(big, 1, false);
	EXPECT_GT(4 * one, ns) {
		TH_LOG("beside a mapping of all: %ld ns, of a small file %ld ns", ns, one);
	}
	ASSERT_EQ(0, munmap(all.map, all.len));
	ns = shortest_ns(big, 1, false);
	EXPECT_GT(4 * one, ns) {
		TH_LOG("beside an open file that has mapped all: %ld ns, of a small file %ld ns", ns, one);
	}
	ASSERT_EQ(0, close(all.fd));
}

/* ---- letting go against coming in ---- */

#define STORM_MS	1500

static void *come_and_go(void *arg)
{
	const char *path = arg;
	long end = now_ms() + STORM_MS;
	struct actor a;

	act_init(&a, path);
	while (now_ms() < end) {
		if (act_prepare(&a, UNMAP | CLOSE) || act_drain(&a, 0) != PAGE)
			return "a step failed";
	}
	act_fini(&a);
	return NULL;
}

TEST_F(pinfs, B13_references_come_and_go_at_once)
{
	pthread_t thread[4];

	NEED_MOUNT();
	for (size_t i = 0; i < ARRAY_SIZE(thread); i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, come_and_go, self->path));
	for (size_t i = 0; i < ARRAY_SIZE(thread); i++) {
		void *why;

		ASSERT_EQ(0, pthread_join(thread[i], &why));
		EXPECT_EQ(NULL, why) {
			TH_LOG("%s", (char *)why);
		}
	}
	/* Nothing is forgotten, neither a file in quarantine nor one that is not. */
	EXPECT_TRUE(EVENTUALLY(quarantined("files") == 0, 2000)) {
		TH_LOG("%ld files are still in quarantine", quarantined("files"));
	}
	EXPECT_EQ(0, quarantined("bytes"));
	ASSERT_EQ(0, act_umount(NULL, 0));
	EXPECT_TRUE(EVENTUALLY(device_is_free(), 2000));
	ASSERT_EQ(0, mount_again());
}

TEST_HARNESS_MAIN
