// SPDX-License-Identifier: GPL-2.0
/*
 * Pins of memory that is not what it should be, or does not stay so: rows P1,
 * P4, P5, P6. A call pins all of its memory or none, and whatever is pinned is
 * on record.
 */
#include "kselftest_harness.h"

#include "pinfs_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define OTHER_SEED	9
#define ROUNDS		60

/* A ring, and the data file with a lease. */
static void prepare(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
}

static long pin(struct actor *a, void *start, size_t len)
{
	struct iovec iov = { start, len };

	return io_uring_register_buffers(&a->ring[0], &iov, 1);
}

static long unpin(struct actor *a)
{
	return io_uring_unregister_buffers(&a->ring[0]);
}

/* How many pages of a file are on record. */
static long pages_of(const char *path)
{
	char id[64], bad[512] = "";
	struct pin_line lines[FILE_PAGES];
	long pages = 0, count;

	locks_id(path, id, sizeof(id));
	count = pins_of(id, lines, ARRAY_SIZE(lines), bad, sizeof(bad));
	if (count < 0 || count > (long)ARRAY_SIZE(lines))
		return count < 0 ? count : -E2BIG;
	for (long i = 0; i < count; i++)
		pages += lines[i].pages;
	return pages;
}

/* ---- arguments ---- */

/* What io_uring says of ordinary memory it says of a leased mapping, too. */
TEST_F(pinfs, P5_arguments_that_are_refused_as_for_any_memory)
{
	char *anon = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const size_t sizes[] = { 0, (1UL << 30) + 1, SIZE_MAX, SIZE_MAX - PAGE };

	ASSERT_NE(MAP_FAILED, anon);
	prepare(_metadata, self);
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		long want = pin(&self->me, anon, sizes[i]);

		EXPECT_GT(0, want);
		EXPECT_EQ(want, pin(&self->me, self->me.map, sizes[i])) {
			TH_LOG("%zu bytes", sizes[i]);
		}
	}
	EXPECT_EQ(0, pages_of(self->path));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}

/* Pages that the buffer only touches are pinned whole. */
TEST_F(pinfs, P5_ends_within_pages)
{
	prepare(_metadata, self);
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, pin(&self->me, self->me.map + PAGE - 1, 2));
	EXPECT_EQ(2, pages_of(self->path));
	EXPECT_EQ(0, unpin(&self->me));
	ASSERT_EQ(0, pin(&self->me, self->me.map + PAGE - 1, 1));
	EXPECT_EQ(1, pages_of(self->path));
	EXPECT_EQ(0, unpin(&self->me));
	EXPECT_EQ(0, pages_of(self->path));
}

/* One buffer over two files that are mapped one behind the other. */
TEST_F(pinfs, P1_P4_a_buffer_that_goes_over_into_another_file)
{
	struct actor other;
	char path[PATH_MAX];
	char *buf = mmap(NULL, 2 * FILE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, buf);
	snprintf(path, sizeof(path), "%.4000s/other", self->dir);
	ASSERT_EQ(0, make_file(path, FILE_PAGES, OTHER_SEED));
	act_init(&other, path);
	prepare(_metadata, self);
	ASSERT_EQ(0, act_open(&other, O_RDWR));
	ASSERT_EQ(buf, mmap(buf, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, self->me.fd, 0));
	ASSERT_EQ(buf + FILE_SIZE, mmap(buf + FILE_SIZE, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
					other.fd, 0));
	EXPECT_GT(0, pin(&self->me, buf, 2 * FILE_SIZE));
	EXPECT_EQ(0, pages_of(self->path));
	EXPECT_EQ(0, pages_of(path));
	ASSERT_EQ(0, act_lease(&other, EXCLUSIVE));
	EXPECT_EQ(0, pin(&self->me, buf + PAGE, 2 * FILE_SIZE - 3 * PAGE));
	EXPECT_EQ(FILE_PAGES - 1, pages_of(self->path));
	EXPECT_EQ(FILE_PAGES - 2, pages_of(path));
	EXPECT_EQ(-EBUSY, act_lease(&other, F_UNLCK));
	EXPECT_EQ(0, unpin(&self->me));
	EXPECT_EQ(0, act_lease(&other, F_UNLCK));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	munmap(buf, 2 * FILE_SIZE);
	act_fini(&other);
}

/* ---- what changes meanwhile ---- */

/* What the other thread works on, until it is told to stop. */
struct meddler {
	char *room;
	size_t len;
	int leased, other;
	bool anonymous;		/* memory is put there as well, which takes a while */
	struct actor *actor;
	bool stop;
	/* How often it has done its work, and how often it was refused. */
	unsigned long done, refused;
};

static bool stops(struct meddler *m)
{
	return __atomic_load_n(&m->stop, __ATOMIC_RELAXED);
}

/* Puts the leased file, one without a lease, and maybe ordinary memory under the same addresses in turn. */
static void *remap(void *arg)
{
	struct meddler *m = arg;
	const size_t half = m->len / 2;
	char *at = m->room + half / 2;

	while (!stops(m)) {
		if (mmap(at, half, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, m->other, half / 2) != at ||
		    (m->anonymous && mmap(at, half, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0) != at) ||
		    mmap(at, half, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, m->leased, half / 2) != at)
			break;
		m->done++;
	}
	return NULL;
}

/* Of how many pages the ring sees what was in a file. */
static long pages_like(struct __test_metadata *_metadata, struct actor *a, int out, unsigned int seed)
{
	static char want[PMD];
	char *copy;
	long same = 0;

	fill(want, a->map_len, seed);
	EXPECT_EQ(0, lseek(out, 0, SEEK_SET));
	EXPECT_EQ((long)a->map_len, ring_write_fixed(&a->ring[0], out, a->map, a->map_len));
	copy = mmap(NULL, a->map_len, PROT_READ, MAP_SHARED, out, 0);
	EXPECT_NE(MAP_FAILED, copy);
	for (size_t at = 0; at < a->map_len; at += PAGE)
		same += !memcmp(copy + at, want + at, PAGE);
	munmap(copy, a->map_len);
	return same;
}

/* Makes the data file so large, and maps all of it where huge pages fit, or do not. */
static long grow(struct actor *a, size_t len, bool huge)
{
	char *room = mmap(NULL, len + 2 * PMD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at = (char *)(((unsigned long)room + PMD - 1) & ~(PMD - 1)) + (huge ? 0 : PAGE);
	long ret = ERR(ftruncate(a->fd, 0));

	if (!ret)
		ret = ERR(fallocate(a->fd, 0, 0, len));
	if (ret)
		return ret;
	if (mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, a->fd, 0) != at)
		return -errno;
	a->map = at;
	a->map_len = len;
	return 0;
}

/*
 * What is pinned in the end is what was looked at: a file without a lease is
 * not in it, and the record names as many pages of the other as the ring has.
 */
static void replaced_meanwhile(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, size_t len,
			       bool huge)
{
	struct meddler m = { .len = len, .anonymous = !huge };
	long same, pages = len / PAGE, end;
	int out = memfd_create("out", MFD_CLOEXEC);
	char path[PATH_MAX];
	pthread_t thread;
	int pinned = 0;

	ASSERT_LE(0, out);
	snprintf(path, sizeof(path), "%.4000s/other", self->dir);
	ASSERT_EQ(0, make_file(path, pages, OTHER_SEED));
	prepare(_metadata, self);
	ASSERT_EQ(0, grow(&self->me, len, huge));
	fill(self->me.map, len, FILE_SEED);
	m.room = self->me.map;
	m.leased = self->me.fd;
	m.other = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, m.other);
	ASSERT_EQ(0, pthread_create(&thread, NULL, remap, &m));
	end = now_ms() + (huge ? 5000 : 0);
	for (int i = 0; i < 20 * ROUNDS && (i < ROUNDS || pinned < 5 || now_ms() < end); i++) {
		long ret = pin(&self->me, self->me.map, len);

		EXPECT_EQ(0, pages_of(path));
		if (ret) {
			EXPECT_TRUE(ret == -EOPNOTSUPP || ret == -EFAULT || ret == -EAGAIN) {
				TH_LOG("%ld", ret);
			}
			EXPECT_EQ(0, pages_of(self->path));
			continue;
		}
		pinned++;
		EXPECT_EQ(0, pages_like(_metadata, &self->me, out, OTHER_SEED));
		same = pages_like(_metadata, &self->me, out, FILE_SEED);
		EXPECT_TRUE(same == pages || (m.anonymous && same == pages / 2)) {
			TH_LOG("%ld pages", same);
		}
		EXPECT_EQ(same, pages_of(self->path));
		EXPECT_EQ(0, unpin(&self->me));
	}
	__atomic_store_n(&m.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	TH_LOG("%d pinned, %lu times replaced", pinned, m.done);
	EXPECT_LT(0, pinned);
	EXPECT_LT(0, m.done);
	EXPECT_TRUE(EVENTUALLY(pages_of(self->path) == 0, 1000));
	EXPECT_TRUE(EVENTUALLY(act_lease(&self->me, F_UNLCK) == 0, 1000));
	close(m.other);
	close(out);
}

TEST_F(pinfs, P1_P6_a_mapping_that_is_replaced_meanwhile)
{
	replaced_meanwhile(_metadata, self, FILE_SIZE, false);
}

/* The middle half of a huge page: its ends do not tell what is between them. */
TEST_F(pinfs, P1_P6_the_middle_of_a_huge_page_is_replaced_meanwhile)
{
	replaced_meanwhile(_metadata, self, PMD, true);
}

static void *take_and_release(void *arg)
{
	struct meddler *m = arg;

	while (!stops(m)) {
		if (act_lease(m->actor, F_UNLCK))
			m->refused++;
		if (act_lease(m->actor, EXCLUSIVE))
			break;
		m->done++;
	}
	return NULL;
}

/* There is a lease for every pin, also if it was on its way out. */
TEST_F(pinfs, P1_L5_a_lease_that_is_released_meanwhile)
{
	struct meddler m = { .actor = &self->me };
	pthread_t thread;
	int pinned = 0;

	prepare(_metadata, self);
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, pthread_create(&thread, NULL, take_and_release, &m));
	for (int i = 0; i < 20 * ROUNDS && (i < ROUNDS || pinned < 5 || !m.refused); i++) {
		long ret = pin(&self->me, self->me.map, FILE_SIZE);

		if (ret) {
			EXPECT_EQ(-EOPNOTSUPP, ret);
			EXPECT_EQ(0, pages_of(self->path));
			continue;
		}
		pinned++;
		EXPECT_EQ(EXCLUSIVE, act_getlease(&self->me, 0));
		EXPECT_EQ(FILE_PAGES, pages_of(self->path));
		EXPECT_EQ(EXCLUSIVE, act_getlease(&self->me, 0));
		EXPECT_EQ(0, unpin(&self->me));
	}
	__atomic_store_n(&m.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	TH_LOG("%d pinned, %lu times released, %lu times refused", pinned, m.done, m.refused);
	EXPECT_LT(0, pinned);
	EXPECT_LT(0, m.done);
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}

static volatile sig_atomic_t alarms;

static void count_alarm(int unused)
{
	(void)unused;
	alarms++;
}

#define LARGE	(16 * MIB)

/* A call that a signal ends has pinned nothing. */
TEST_F(pinfs, P6_signals_during_a_large_pin)
{
	const struct sigaction catch = { .sa_handler = count_alarm };
	const struct itimerval off = { 0 };
	int pinned = 0;

	prepare(_metadata, self);
	ASSERT_EQ(0, grow(&self->me, LARGE, false));
	ASSERT_EQ(0, sigaction(SIGALRM, &catch, NULL));
	for (int i = 0; i < ROUNDS / 4; i++) {
		struct itimerval often = { .it_interval.tv_usec = 700 + 300 * i, .it_value.tv_usec = 500 };
		long ret;

		ASSERT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));
		ret = pin(&self->me, self->me.map, LARGE);
		ASSERT_EQ(0, setitimer(ITIMER_REAL, &off, NULL));
		EXPECT_TRUE(ret == 0 || ret == -EINTR) {
			TH_LOG("%ld", ret);
		}
		EXPECT_EQ(ret ? 0 : LARGE / PAGE, pages_of(self->path));
		if (!ret) {
			pinned++;
			EXPECT_EQ(0, unpin(&self->me));
		}
	}
	TH_LOG("%d pinned, %d signals", pinned, (int)alarms);
	EXPECT_LT(0, alarms);
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}

/* Nor has one that SIGKILL ends, wherever it is. */
TEST_F(pinfs, P6_SIGKILL_during_a_large_pin)
{
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	for (int i = 0; i < ROUNDS / 6; i++) {
		int status;
		pid_t child = fork();

		ASSERT_LE(0, child);
		if (!child) {
			long ret = act_open(&self->me, O_RDWR);

			if (!ret)
				ret = act_lease(&self->me, EXCLUSIVE);
			if (!ret)
				ret = act_ring(&self->me, 0);
			if (!ret)
				ret = grow(&self->me, LARGE, false);
			while (!ret) {
				ret = pin(&self->me, self->me.map, LARGE);
				if (!ret)
					ret = unpin(&self->me);
			}
			_exit(1);
		}
		nap_ms(40 + 17 * i);
		EXPECT_EQ(0, kill(child, SIGKILL));
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
		EXPECT_TRUE(EVENTUALLY(pages_of(self->path) == 0, 1000));
		EXPECT_TRUE(EVENTUALLY(peer_call(&self->b, act_truncate, 0) == 0, 1000));
	}
}

TEST_HARNESS_MAIN
