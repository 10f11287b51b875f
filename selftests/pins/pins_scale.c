// SPDX-License-Identifier: GPL-2.0
/*
 * Many pins, over many files and contexts, while others read who holds what:
 * rows F7 and P16.
 *
 * Ten processes have a tenth of the files and of the rings each, and each of
 * their rings pins one page of most of their files: neighbouring pins are never
 * of one context, so that each is a range and a record of its own.  The full
 * amount (PINFS_AMOUNT=full) is 100,000 pins of 10,000 files by 100 rings;
 * otherwise it is a fifth of that.
 */
#include "kselftest_harness.h"

#define PINFS_OWN_FIXTURE

#include "pinfs_test.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define HOLDERS		10
#define PER_FILE	10	/* pins, by as many rings, if not just one */
#define SINGLES		10000	/* files with one pin: what others of the system need meanwhile is little beside it */
#define PAGES		4	/* of a file */
#define RINGS_MAX	10	/* of a holder */
#define READERS		2
/* The memory that a range may need, however many pages it has. */
#define RANGE_BYTES	256
/* How much longer a process's view may take with all the others' pins there. */
#define SLOWER_MAX	4

struct holder {
	pid_t pid;
	int sock;
};

struct work {
	char dir[PATH_MAX];
	int number;		/* of the holder */
	int files, rings;	/* of each holder */
	int per_file;		/* pins */
	long pins;		/* of each holder */
};

FIXTURE(pinfs) {
	struct work work;
	struct holder holder[HOLDERS], reader[READERS];
	struct actor me;
};

FIXTURE_SETUP(pinfs) {
	const char *amount = getenv("PINFS_AMOUNT");
	const char *why = test_dir(self->work.dir, sizeof(self->work.dir));
	int part = amount && !strcmp(amount, "full") ? 1 : 5;

	if (why)
		SKIP(return, "%s", why);
	self->work.files = 1000 / part;
	/* Each ring has per_file / rings pins of each file. */
	self->work.per_file = PER_FILE;
	self->work.rings = part == 1 ? RINGS_MAX : RINGS_MAX / 2;
	self->work.pins = (long)self->work.files * PER_FILE;
	act_init(&self->me, "");
}

static void reap(struct holder *h)
{
	if (h->pid <= 0)
		return;
	kill(h->pid, SIGKILL);
	waitpid(h->pid, NULL, 0);
	close(h->sock);
	h->pid = 0;
}

FIXTURE_TEARDOWN(pinfs) {
	for (int i = 0; i < READERS; i++)
		reap(&self->reader[i]);
	for (int i = 0; i < HOLDERS; i++)
		reap(&self->holder[i]);
	act_fini(&self->me);
	remove_tree(self->work.dir);
}

/* ---- a holder ---- */

static char *maps[10000];
static struct io_uring rings[RINGS_MAX];
static struct iovec iov[16384];

static void file_name(const struct work *w, int holder, int file, char *path, size_t size)
{
	snprintf(path, size, "%.4000s/%d-%d", w->dir, holder, file);
}

static long open_files(const struct work *w)
{
	char path[PATH_MAX];

	for (int i = 0; i < w->files; i++) {
		int fd;

		file_name(w, w->number, i, path, sizeof(path));
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 || fallocate(fd, 0, 0, PAGES * PAGE) || fcntl(fd, F_SETLEASE, EXCLUSIVE))
			return -errno;
		/* The mapping keeps the file open, and so the lease. */
		maps[i] = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (maps[i] == MAP_FAILED)
			return -errno;
		/* So that pins find the file's blocks as they stay. */
		memset(maps[i], w->number, PAGES * PAGE);
		close(fd);
	}
	for (int r = 0; r < w->rings; r++) {
		long ret = io_uring_queue_init(1, &rings[r], 0);

		if (ret)
			return ret;
	}
	return 0;
}

/* Buffers of ring r: pins r, r + rings, ... of each file, each of another page than its neighbour. */
static long register_ring(const struct work *w, int r)
{
	int n = 0;

	for (int i = 0; i < w->files; i++)
		for (int k = r; k < w->per_file; k += w->rings)
			iov[n++] = (struct iovec){ maps[i] + (r + k / w->rings) % PAGES * PAGE, PAGE };
	return io_uring_register_buffers(&rings[r], iov, n);
}

/* As many buffers of each ring, of memory that is not of pinfs. */
static long register_plain(const struct work *w)
{
	static char page[PAGE] __attribute__((aligned(PAGE)));
	int n = w->pins / w->rings;
	long ret = 0;

	for (int i = 0; i < n; i++)
		iov[i] = (struct iovec){ page, PAGE };
	for (int r = 0; r < w->rings && !ret; r++)
		ret = io_uring_register_buffers(&rings[r], iov, n);
	return ret;
}

static long register_all(const struct work *w)
{
	long ret = 0;

	for (int r = 0; r < w->rings && !ret; r++)
		ret = register_ring(w, r);
	return ret;
}

/* One ring lets go and takes again, after the other, until there is another command. */
static long storm(const struct work *w, int sock)
{
	struct pollfd pfd = { .fd = sock, .events = POLLIN };
	long ret = 0;

	for (int r = 0; !ret && poll(&pfd, 1, 0) == 0; r = (r + 1) % w->rings) {
		ret = io_uring_unregister_buffers(&rings[r]);
		if (!ret)
			ret = register_ring(w, r);
	}
	return ret;
}

static long unregister_all(const struct work *w)
{
	long ret = 0;

	for (int r = 0; r < w->rings && !ret; r++)
		ret = io_uring_unregister_buffers(&rings[r]);
	return ret;
}

/* Answers each command with its result; the end of a storm is another command. */
static void run_holder(const struct work *w, int sock)
{
	char command;
	long ret;

	while (read(sock, &command, 1) == 1) {
		switch (command) {
		case 'o': ret = open_files(w); break;
		case 'p': ret = register_plain(w); break;
		case 'r': ret = register_all(w); break;
		case 's': ret = storm(w, sock); break;
		case 'u': ret = unregister_all(w); break;
		default: ret = 0;
		}
		if (write(sock, &ret, sizeof(ret)) != sizeof(ret))
			break;
	}
	_exit(0);
}

/* ---- a reader ---- */

/* "N: anon_inode:[io_uring]", or a tab and one of the files. */
static bool view_line_is_whole(const struct work *w, const char *line, size_t len)
{
	int fd, holder, file, end = -1;

	if (!len || line[len - 1] != '\n')
		return false;
	if (line[0] != '\t') {
		sscanf(line, "%d: anon_inode:[io_uring]\n%n", &fd, &end);
		return end == (int)len;
	}
	if (strncmp(line + 1, w->dir, strlen(w->dir)))
		return false;
	sscanf(line + 1 + strlen(w->dir), "/%d-%d%n", &holder, &file, &end);
	return 1 + (int)strlen(w->dir) + end == (int)len - 1;
}

/* Reads a process's file_pins: the number of files in it, or -EBADMSG for a torn line. */
static long read_view(const struct work *w, pid_t pid)
{
	static char *line;
	static size_t room;
	char path[64];
	ssize_t len;
	long n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/file_pins", pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while ((len = getline(&line, &room, f)) > 0) {
		if (!view_line_is_whole(w, line, len)) {
			fprintf(stderr, "# torn line of %d: '%s'\n", pid, line);
			n = -EBADMSG;
			break;
		}
		n += line[0] == '\t';
	}
	fclose(f);
	return n;
}

/* Reads all that there is to read until told to end; says how often, or what was wrong. */
static void run_reader(const struct work *w, const pid_t *pids, int sock)
{
	struct pollfd pfd = { .fd = sock, .events = POLLIN };
	char bad[512] = "", command;
	long rounds = 0, ret = 0;

	while (ret >= 0 && poll(&pfd, 1, 0) == 0) {
		for (int i = 0; i < HOLDERS && ret >= 0; i++) {
			ret = read_view(w, pids[i]);
			/* It may have ended. */
			if (ret == -ENOENT || ret == -ESRCH)
				ret = 0;
		}
		if (w->number == 0 && ret >= 0)
			ret = pins_of(NULL, NULL, 0, bad, sizeof(bad));
		if (ret < 0)
			fprintf(stderr, "# reader: %ld %s\n", ret, bad);
		else
			rounds++;
	}
	if (ret >= 0)
		ret = rounds;
	if (read(sock, &command, 1) == 1 && write(sock, &ret, sizeof(ret)) != sizeof(ret))
		_exit(1);
	_exit(0);
}

/* ---- the test ---- */

static bool start(struct holder *h, const struct work *w, const pid_t *readers_of)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return false;
	h->pid = fork();
	if (h->pid == 0) {
		close(pair[0]);
		if (readers_of)
			run_reader(w, readers_of, pair[1]);
		run_holder(w, pair[1]);
	}
	close(pair[1]);
	h->sock = pair[0];
	return h->pid > 0;
}

static bool tell(struct holder *h, char command)
{
	return write(h->sock, &command, 1) == 1;
}

static long answer(struct holder *h)
{
	struct pollfd pfd = { .fd = h->sock, .events = POLLIN };
	long ret;

	if (poll(&pfd, 1, scaled_ms(20000)) != 1)
		return -ETIMEDOUT;
	return read(h->sock, &ret, sizeof(ret)) == sizeof(ret) ? ret : -EPIPE;
}

static long call(struct holder *h, char command)
{
	return tell(h, command) ? answer(h) : -EPIPE;
}

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e6 + ts.tv_nsec / 1e3;
}

/* The shortest of many looks is what it takes; the rest is others' work. */
static double view_us(const struct work *w, pid_t pid, long want)
{
	double best = 1e12;

	for (int i = 0; i < 40; i++) {
		double begin = now_us();

		if (read_view(w, pid) != want)
			return -1;
		if (now_us() - begin < best)
			best = now_us() - begin;
	}
	return best;
}

static long slab_kib(void)
{
	char text[8192];
	const char *slab;

	if (read_text("/proc/meminfo", text, sizeof(text)) <= 0)
		return 0;
	slab = strstr(text, "\nSlab:");
	return slab ? atol(slab + 6) : 0;
}

static bool debug_kernel(void)
{
	return !access("/sys/kernel/debug/kmemleak", F_OK);
}

/* What one ring with one page of one file shows, and nothing else of this process. */
static void hold_one(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self)
{
	snprintf(self->me.path, sizeof(self->me.path), "%.4000s/0-0", self->work.dir);
	ASSERT_EQ(0, make_file(self->me.path, 1, 1));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
}

/* That so much memory is not too much for so many ranges, besides what the rings need. */
static void expect_memory(struct __test_metadata *_metadata, long kib, long ranges)
{
	long bytes = kib * 1024 / ranges;

	TH_LOG("memory of each of %ld ranges: %ld bytes", ranges, bytes);
	/* A debug kernel surrounds each object with more. */
	if (!debug_kernel())
		EXPECT_GE(RANGE_BYTES, bytes);
}

/* A file's first range takes the most: it is who keeps the path. */
TEST_F_TIMEOUT(pinfs, F7_one_pin_of_each_of_many_files, 120)
{
	struct work *w = &self->work;
	char bad[512];
	long slab;

	w->rings = w->per_file = 1;
	w->files = w->pins = SINGLES;
	ASSERT_TRUE(start(&self->holder[0], w, NULL));
	ASSERT_EQ(0, call(&self->holder[0], 'o'));
	ASSERT_EQ(0, call(&self->holder[0], 'p'));
	slab = slab_kib();
	ASSERT_EQ(0, call(&self->holder[0], 'u'));
	ASSERT_EQ(0, call(&self->holder[0], 'r'));
	slab = slab_kib() - slab;
	EXPECT_EQ(w->files, pins_of(NULL, NULL, 0, bad, sizeof(bad)));
	expect_memory(_metadata, slab, w->files);
	EXPECT_EQ(0, call(&self->holder[0], 'u'));
}

TEST_F_TIMEOUT(pinfs, F7_P16_P6_many_pins_and_many_readers, 120)
{
	struct rlimit limit = { 4096, 4096 };
	struct work *w = &self->work;
	double alone, among, begin, us[HOLDERS];
	long all = HOLDERS * w->pins, slab, distinct;
	pid_t pids[HOLDERS];
	char bad[512];

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	for (int i = 0; i < HOLDERS; i++) {
		/* File 0-0 is this process's own. */
		w->number = i + 1;
		ASSERT_TRUE(start(&self->holder[i], w, NULL));
		pids[i] = self->holder[i].pid;
	}
	hold_one(_metadata, self);
	alone = view_us(w, getpid(), 1);
	ASSERT_LT(0, alone);

	for (int i = 0; i < HOLDERS; i++) {
		begin = now_us();
		ASSERT_EQ(0, call(&self->holder[i], 'o'));
		us[i] = (now_us() - begin) / w->files;
	}
	TH_LOG("%d files: %.1f us each for the first holder, %.1f us for the last", HOLDERS * w->files,
	       us[0], us[HOLDERS - 1]);
	/* What the rings themselves need for so many buffers is left as it is by what comes next. */
	for (int i = 0; i < HOLDERS; i++)
		ASSERT_EQ(0, call(&self->holder[i], 'p'));
	slab = slab_kib();
	for (int i = 0; i < HOLDERS; i++)
		ASSERT_EQ(0, call(&self->holder[i], 'u'));
	for (int i = 0; i < HOLDERS; i++) {
		begin = now_us();
		ASSERT_EQ(0, call(&self->holder[i], 'r'));
		us[i] = (now_us() - begin) / w->pins;
	}
	slab = slab_kib() - slab;
	TH_LOG("%ld pins: %.1f us each for the first holder, %.1f us for the last", all, us[0],
	       us[HOLDERS - 1]);

	/* With fewer rings, two pins of a ring may be one range. */
	distinct = pins_of(NULL, NULL, 0, bad, sizeof(bad));
	EXPECT_LE(all / 2, distinct);
	EXPECT_GE(all + 1, distinct);
	expect_memory(_metadata, slab, distinct);
	for (int i = 0; i < HOLDERS; i++)
		EXPECT_EQ((long)w->files * w->rings, read_view(w, pids[i]));

	among = view_us(w, getpid(), 1);
	TH_LOG("reading one process's pin: %.0f us alone, %.0f us among %ld others", alone, among,
	       all);
	EXPECT_LT(among, SLOWER_MAX * alone);

	for (int i = 0; i < READERS; i++) {
		w->number = i;
		ASSERT_TRUE(start(&self->reader[i], w, pids));
	}
	for (int i = 0; i < HOLDERS; i++)
		ASSERT_TRUE(tell(&self->holder[i], 's'));
	nap_ms(scaled_ms(400));
	/* Half of them let go, and the others are killed while they do this and that. */
	begin = now_us();
	for (int i = 0; i < HOLDERS; i++) {
		if (i % 2)
			kill(pids[i], SIGKILL);
		else
			EXPECT_TRUE(tell(&self->holder[i], 'u'));
	}
	for (int i = 0; i < HOLDERS; i++) {
		if (i % 2) {
			reap(&self->holder[i]);
		} else {
			EXPECT_EQ(0, answer(&self->holder[i]));
			EXPECT_EQ(0, answer(&self->holder[i]));
		}
	}
	EXPECT_TRUE(EVENTUALLY(pins_of(NULL, NULL, 0, bad, sizeof(bad)) == 1, 10000));
	TH_LOG("their end: %.1f us each", (now_us() - begin) / all);
	for (int i = 0; i < READERS; i++)
		EXPECT_LT(0, call(&self->reader[i], 'q'));
	/* What was held is free: another process may change it. */
	for (int i = 0; i < HOLDERS; i += 3) {
		char path[PATH_MAX];

		file_name(w, i + 1, w->files - 1, path, sizeof(path));
		if (i % 2)
			EXPECT_EQ(0, truncate(path, 0));
	}
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}

TEST_HARNESS_MAIN
