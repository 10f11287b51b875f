// SPDX-License-Identifier: GPL-2.0
/*
 * System calls in random order with random arguments, by several processes
 * that share files, descriptors and names, and that are killed now and then.
 * Whatever the calls answer, four things must never happen:
 *
 * - somebody sees what another's file held (the poisoner fills the free blocks
 *   with a word that nobody else ever writes, again and again);
 * - a process cannot be killed;
 * - when all are dead, a pin, a lease or a block is left;
 * - the kernel complains, or fsck.pinfs: what runs this program looks.
 *
 * In the second case administrators do random things to the mount and to the
 * device meanwhile, and the mount ends in random ways.  Files whose contents
 * are known must have kept them.
 *
 * PINFS_CALLS_SECS says for how long; the default is short.  PINFS_SEED
 * repeats a run as far as its random numbers go: the processes race.
 *
 * On a kernel with KCOV, it says how many places of the module the calls have
 * reached; PINFS_PLACES names a file for them (see tests/kcov-report).
 */
#include "kselftest_harness.h"

#define PINFS_OWN_FIXTURE
#include "any_admin.h"
#include "any_call.h"
#include "kcov.h"
#include "pinfs_test.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/fs.h>

#define POISON_MIB	24
#define ROUND_MS	1500		/* after which everyone is killed */
#define KILL_MS		5000
#define LIMIT		36000
#define TRACING		"/sys/kernel/tracing"
#define SMALL_MIB	64

/* What of the module they have reached; NULL if the kernel does not tell. */
static struct kcov_places *places;

static void be_caller(int which, unsigned int seed, const char *dir, int post)
{
	struct caller *c = caller_new(seed, dir, post);

	if (!c || prctl(PR_SET_PDEATHSIG, SIGKILL) || (places && !kcov_start()))
		_exit(1);
	while (!board->wrong[0]) {
		any_call(c);
		board->calls[which]++;
		if (places)
			kcov_look(places);
	}
	_exit(0);
}

/* So many free blocks hold the poison afterwards, or all that there are. */
static void poison(const char *dir, long mib)
{
	static uint64_t words[MIB / 8];
	char path[PATH_MAX];
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = POISON;
	snprintf(path, sizeof(path), "%s/poison", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	while (fd >= 0 && mib-- && write(fd, words, MIB) > 0)
		;
	close(fd);
	unlink(path);
}

static void be_poisoner(const char *dir)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		poison(dir, POISON_MIB);
}

/* ---- the run ---- */

static long seconds(void)
{
	const char *secs = getenv("PINFS_CALLS_SECS");

	return secs ? atol(secs) : 6;
}

/* Kills a process that may be in any call: the milliseconds, or -ETIMEDOUT. */
static long end_of(pid_t pid)
{
	struct pollfd ended = { .fd = syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	long begun = now_ms();

	kill(pid, SIGKILL);
	if (poll(&ended, 1, scaled_ms(KILL_MS)) != 1)
		begun = -1;
	close(ended.fd);
	if (begun < 0)
		return -ETIMEDOUT;
	waitpid(pid, NULL, 0);
	return now_ms() - begun;
}

/* Where in the kernel the threads of a process are. */
static void tell_where(pid_t pid)
{
	static const char *const files[] = { "comm", "wchan", "stack" };
	char path[PATH_MAX], text[4096];
	struct dirent *task;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	while (tasks && (task = readdir(tasks))) {
		for (size_t i = 0; task->d_name[0] != '.' && i < ARRAY_SIZE(files); i++) {
			snprintf(path, sizeof(path), "/proc/%d/task/%s/%s", pid, task->d_name, files[i]);
			if (read_text(path, text, sizeof(text)) < 0)
				continue;
			for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
				printf("# thread %s: %s: %s\n", task->d_name, files[i], line);
		}
	}
	if (tasks)
		closedir(tasks);
	fflush(stdout);
}

/*
 * Everybody waits while the file system is frozen, or finds it read-only if
 * nobody writes now; and what nobody uses is read from the medium again.
 * Returns the first error.
 */
static long interrupt(const char *dir, int root)
{
	const char *mnt = getenv("PINFS_MNT");
	struct statfs fs;
	long ret, back;

	ret = ERR(ioctl(root, FIFREEZE, 0));
	if (ret || ERR(ioctl(root, FITHAW, 0)) || ERR(statfs(dir, &fs)))
		return ret ?: -EIO;
	ret = ERR(mount(NULL, mnt, NULL, MS_REMOUNT | MS_RDONLY, NULL));
	back = ERR(mount(NULL, mnt, NULL, MS_REMOUNT, NULL));
	write_text("/proc/sys/vm/drop_caches", "2");
	return back ?: ret == -EBUSY ? 0 : ret;
}

/* All but so many blocks are taken, so that the others are soon used again, and run out. */
static long leave_free(const char *dir, long mib)
{
	char path[PATH_MAX];
	struct statfs fs;
	long ret;
	int fd;

	snprintf(path, sizeof(path), "%s/ballast", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || fstatfs(fd, &fs))
		return -errno;
	ret = ERR(fallocate(fd, 0, 0, fs.f_bavail * fs.f_bsize - mib * MIB));
	close(fd);
	return ret;
}

/* The kernel's tracer has all events of pinfs, in an instance of its own. */
static void trace_all(const char *instance)
{
	char path[PATH_MAX];

	if (access(TRACING "/instances", F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	if (mkdir(instance, 0700))
		return;
	snprintf(path, sizeof(path), "%s/events/pinfs/enable", instance);
	write_text(path, "1");
}

static bool leased(const char *dir)
{
	char id[64], *text = malloc(MIB), *colon;
	bool found;

	locks_id(dir, id, sizeof(id));
	/* Of any file of the file system: up to the inode's number. */
	colon = strrchr(id, ':');
	colon[1] = '\0';
	found = read_text("/proc/locks", text, MIB) > 0 && strstr(text, id);
	free(text);
	return found;
}

static bool pinned(void)
{
	char text[4096], *end;
	bool found = true;

	/* The first line is the header. */
	if (read_text("/proc/fs/pinfs/pins", text, sizeof(text)) > 0) {
		end = strchr(text, '\n');
		found = end && end[1];
	}
	return found;
}

static long all_calls(void)
{
	long all = 0;

	for (int i = 0; i < CALLERS; i++)
		all += board->calls[i];
	return all;
}

/* How many places, when as many seconds have passed as last time and half as many. */
static void tell_places(long begun, long *next)
{
	long secs = (now_ms() - begun) / 1000;

	if (!places || secs < *next)
		return;
	printf("# after %ld s: %ld calls, %ld places\n", secs, all_calls(), places->count);
	fflush(stdout);
	*next = *next * 3 / 2;
}

FIXTURE(storm) {
	char dir[PATH_MAX / 4];
	char tracer[64];
	long free_before;
	long break_before;
};

FIXTURE_SETUP(storm) {
	const char *why = test_dir(self->dir, sizeof(self->dir));
	char path[PATH_MAX];

	if (why)
		SKIP(return, "%s", why);
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		     -1, 0);
	ASSERT_NE(MAP_FAILED, board);
	places = kcov_places();
	self->free_before = blocks_free_at_rest(self->dir);
	self->break_before = break_time(1);
	poison(self->dir, LONG_MAX);
	for (int i = 0; i < DIRS; i++) {
		snprintf(path, sizeof(path), "%s/d%d", self->dir, i);
		ASSERT_EQ(0, ERR(mkdir(path, 0700)));
	}
	/* Where it does not go, nobody pins from within the kernel. */
	load_module_beside("pinner.ko");
	snprintf(self->tracer, sizeof(self->tracer), TRACING "/instances/random.%d", getpid());
	trace_all(self->tracer);
}

FIXTURE_TEARDOWN(storm) {
	break_time(self->break_before);
	rmdir(self->tracer);
	remove_tree(self->dir);
	EVENTUALLY(syscall(SYS_delete_module, "pinner", O_NONBLOCK) != -1 || errno == ENOENT, 1000);
	munmap(board, sizeof(*board));
}

TEST_F_TIMEOUT(storm, S4_B13_F6_random_calls_end_and_leave_nothing, LIMIT)
{
	const char *given = getenv("PINFS_SEED");
	unsigned int seed = given ? strtoul(given, NULL, 0) : (unsigned int)now_ms();
	long begun = now_ms(), end = begun + seconds() * 1000, next = 15, slowest = 0;
	pid_t pid[CALLERS] = {}, poisoner;
	char trace[96], text[4096];
	int post[2], root;

	snprintf(trace, sizeof(trace), "%s/trace", self->tracer);
	printf("# seed %u, %ld s\n", seed, seconds());
	ASSERT_EQ(0, ERR(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, post)));
	root = open(self->dir, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, root);
	if (seed & 1)
		EXPECT_EQ(0, leave_free(self->dir, SMALL_MIB));
	if (places)
		EXPECT_TRUE(kcov_start());
	poisoner = fork();
	if (!poisoner)
		be_poisoner(self->dir);

	while (now_ms() < end && !board->wrong[0]) {
		for (int i = 0; i < CALLERS; i++, seed++) {
			if (pid[i])
				continue;
			pid[i] = fork();
			if (!pid[i])
				be_caller(i, seed, self->dir, post[i % 2]);
			ASSERT_LT(0, pid[i]);
		}
		nap_ms(ROUND_MS);
		tell_places(begun, &next);
		/* Beneath all that. */
		EXPECT_EQ(0, interrupt(self->dir, root));
		read_text(trace, text, sizeof(text));
		for (int i = 0; i < CALLERS; i++) {
			/* Some of them live on, and keep what they have. */
			if ((seed + i) & 1)
				continue;
			long ms = end_of(pid[i]);

			EXPECT_LE(0, ms) {
				TH_LOG("seed %u: a process cannot be killed", seed);
				tell_where(pid[i]);
			}
			slowest = ms > slowest ? ms : slowest;
			pid[i] = 0;
		}
	}
	for (int i = 0; i < CALLERS; i++) {
		if (pid[i])
			EXPECT_LE(0, end_of(pid[i]));
	}
	EXPECT_LE(0, end_of(poisoner));
	close(post[0]);
	close(post[1]);
	close(root);
	EXPECT_STREQ("", board->wrong) {
		TH_LOG("the poison was seen by %s", board->wrong);
	}
	EXPECT_TRUE(EVENTUALLY(!pinned(), 2000)) {
		TH_LOG("all processes are dead, and something is pinned");
	}
	EXPECT_TRUE(EVENTUALLY(!leased(self->dir), 2000)) {
		TH_LOG("all processes are dead, and something is leased");
	}
	remove_tree(self->dir);
	EXPECT_TRUE(EVENTUALLY(blocks_free(getenv("PINFS_MNT")) >= self->free_before, 2000)) {
		TH_LOG("%ld blocks are lost",
		       self->free_before - blocks_free(getenv("PINFS_MNT")));
	}
	if (places)
		kcov_look(places);
	printf("# %ld calls, %ld of them succeeded, %ld pins; the slowest end took %ld ms\n", all_calls(),
	       board->done, board->pinned, slowest);
	if (places) {
		printf("# %ld places of the module reached\n", places->count);
		/* Or nothing watches. */
		EXPECT_LT(100, places->count);
		if (getenv("PINFS_PLACES"))
			EXPECT_EQ(0, ERR(kcov_write(places, getenv("PINFS_PLACES"))));
	}
	/* It has been a test of something. */
	EXPECT_LT(100, board->done);
	EXPECT_LT(0, board->pinned);
}

/* ---- administrators ---- */

static void be_admin(unsigned int seed, const char *dir)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		any_admin(&seed, dir);
}

/* fsck.pinfs -n -f: its exit status, or -1. */
static int check_device(void)
{
	char command[PATH_MAX * 2];

	snprintf(command, sizeof(command), "%s -n -f %s >&2", fsck_path(), test_dev);
	/* What was printed before is printed once. */
	fflush(NULL);
	return system(command);
}

/* How a round ends. */
enum ending { ENDING_UMOUNT, ENDING_DETACH, ENDING_SHUTDOWN, ENDINGS };

static long umount_all(void)
{
	long ret;

	/* One mount may lie on another. */
	while (!(ret = ERR(umount2(test_mnt, 0))))
		;
	return ret;
}

/* Of a file system that is in use without a mount there is its directory in sysfs. */
static bool in_use(void)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/fs/pinfs/%s", strrchr(test_dev, '/') + 1);
	return !access(path, F_OK);
}

static const char *const actions[ADMIN_ACTIONS] = {
	[ADMIN_REMOUNT] = "remount", [ADMIN_SYSRQ] = "sysrq-u", [ADMIN_FREEZE] = "freeze",
	[ADMIN_CHATTR] = "chattr", [ADMIN_DROP_CACHES] = "drop_caches",
	[ADMIN_READ_DEVICE] = "read the device", [ADMIN_WRITE_DEVICE] = "write to the device",
	[ADMIN_FSCK] = "fsck -n", [ADMIN_BLKID] = "blkid", [ADMIN_UMOUNT] = "umount",
	[ADMIN_DETACH] = "umount -l", [ADMIN_RMMOD] = "rmmod",
};

#define ALL_OF_A_ROUND	(CALLERS + KEEPERS + ADMINS)

/* Everybody at once for a while: callers, keepers and administrators. */
static void start_round(pid_t *pid, unsigned int seed, const char *dir, const int *post)
{
	for (int i = 0; i < ALL_OF_A_ROUND; i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		if (i < ADMINS)
			be_admin(seed + i, dir);
		else if (i < ADMINS + KEEPERS)
			be_keeper(i - ADMINS, seed + i, dir);
		else
			be_caller(i - ADMINS - KEEPERS, seed + i, dir, post[i % 2]);
	}
}

TEST_F_TIMEOUT(storm, H4_B16_M2_S3_administrators_at_random_lose_nothing, LIMIT)
{
	const char *given = getenv("PINFS_SEED");
	unsigned int seed = given ? strtoul(given, NULL, 0) : (unsigned int)now_ms();
	long end = now_ms() + seconds() * 1000, rounds = 0, ended[ENDINGS] = {};
	/* As udev's probes have it, all the time, with old blocks in the page cache. */
	static char old[MIB];
	int post[2], device, root;
	pid_t pid[ALL_OF_A_ROUND];

	if (!test_device())
		SKIP(return, "PINFS_DEV is not set: no device to mount again");
	ASSERT_EQ(0, chdir("/"));
	printf("# seed %u, %ld s\n", seed, seconds());
	admin_board = mmap(NULL, sizeof(*admin_board), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, admin_board);
	device = open(test_dev, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, device);
	for (int i = 0; i < KEEPERS; i++)
		ASSERT_LE(0, keeper_make(i, self->dir));

	while ((now_ms() < end || rounds < ENDINGS) && !admin_board->wrong[0] && !board->wrong[0]) {
		/* Each way to end at least once. */
		enum ending ending = rounds < ENDINGS ? (enum ending)rounds : seed % ENDINGS;

		ASSERT_EQ(sizeof(old), ERR(pread(device, old, sizeof(old), 0)));
		root = open(test_mnt, O_RDONLY | O_CLOEXEC);
		ASSERT_LE(0, root);
		ASSERT_EQ(0, ERR(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, post)));
		start_round(pid, seed, self->dir, post);
		nap_ms(ROUND_MS);
		/* A frozen file system would keep the others from ending: no administrator ends in between. */
		for (int i = 0; i < ALL_OF_A_ROUND; i++) {
			long ms;

			if (i == ADMINS) {
				EXPECT_EQ(0, admin_restore(self->dir));
				if (ending == ENDING_DETACH)
					umount2(test_mnt, MNT_DETACH);
				if (ending == ENDING_SHUTDOWN) {
					EXPECT_EQ(0, admin_shutdown());
				}
			}
			ms = end_of(pid[i]);
			EXPECT_LE(0, ms) {
				TH_LOG("seed %u: process %d cannot be killed", seed, i);
				tell_where(pid[i]);
			}
		}
		close(root);
		/* Descriptors are on their way in them, and hold what was detached. */
		close(post[0]);
		close(post[1]);
		EXPECT_TRUE(EVENTUALLY(umount_all() == -EINVAL && !in_use(), 5000)) {
			TH_LOG("seed %u, ending %d: %ld, %s", seed, ending, umount_all(),
			       in_use() ? "a file system that was detached is still in use" : "not in use");
		}
		EXPECT_EQ(0, check_device()) {
			TH_LOG("seed %u, ending %d: fsck finds faults", seed, ending);
		}
		ASSERT_EQ(0, ERR(mount(test_dev, test_mnt, "pinfs", 0, NULL)));
		for (int i = 0; i < KEEPERS; i++) {
			EXPECT_TRUE(keeper_verify(i, self->dir)) {
				TH_LOG("seed %u, ending %d: %s", seed, ending, admin_board->wrong);
			}
		}
		EXPECT_FALSE(pinned());
		EXPECT_FALSE(leased(self->dir));
		ended[ending]++;
		rounds++;
		seed += 97;
	}
	close(device);
	EXPECT_STREQ("", admin_board->wrong);
	EXPECT_STREQ("", board->wrong) {
		TH_LOG("the poison was seen by %s", board->wrong);
	}
	printf("# %ld rounds (%ld ended by umount, %ld by umount -l, %ld by a shutdown), %ld writes and %ld fsyncs of keepers\n",
	       rounds, ended[ENDING_UMOUNT], ended[ENDING_DETACH], ended[ENDING_SHUTDOWN],
	       admin_board->writes, admin_board->syncs);
	for (int i = 0; i < ADMIN_ACTIONS; i++)
		printf("# %5ld %s\n", admin_board->actions[i], actions[i]);
	/* It has been a test of something. */
	EXPECT_LT(0, admin_board->syncs);
	EXPECT_LT(ADMIN_ACTIONS, admin_board->writes);
	munmap(admin_board, sizeof(*admin_board));
}

TEST_HARNESS_MAIN
