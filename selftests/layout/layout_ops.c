// SPDX-License-Identifier: GPL-2.0
/* Operations that change the layout, against leases and pins: rows B1 to B9. */
#include "kselftest_harness.h"

#include "pinfs_test.h"

#include <limits.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>

/* Every way to take blocks from a file that this kernel offers on it. */
struct subtractive {
	const char *name;
	act_fn fn;
	long arg;
};

#define WHOLE	RANGE(0, FILE_PAGES)

static const struct subtractive subtractive[] = {
	{ "ftruncate to 0", act_ftruncate, 0 },
	{ "ftruncate to 4 KiB less", act_ftruncate, FILE_SIZE - PAGE },
	{ "truncate to 0", act_truncate, 0 },
	{ "open(O_TRUNC)", act_open_trunc, 0 },
	{ "punch of everything", act_punch, WHOLE },
	{ "punch of one block", act_punch, RANGE(3, 1) },
	{ "collapse of the first block", act_collapse, RANGE(0, 1) },
	{ "collapse of the last block but one", act_collapse, RANGE(FILE_PAGES - 2, 1) },
	{ "insertion before everything", act_insert, RANGE(0, 1) },
	{ "insertion before the last block", act_insert, RANGE(FILE_PAGES - 1, 3) },
};

struct state {
	long size, blocks;
};

static struct state look(const char *path)
{
	struct stat st = { .st_size = -1, .st_blocks = -1 };

	stat(path, &st);
	return (struct state){ st.st_size, st.st_blocks };
}

static bool content_is(const char *path, long len, unsigned int seed)
{
	char *buf = malloc(len);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool same = buf && fd >= 0 && read(fd, buf, len) == len && filled(buf, len, seed);

	if (fd >= 0)
		close(fd);
	free(buf);
	return same;
}

/* Size, blocks and data are as they were before a refused operation. */
static void check_unchanged(struct __test_metadata *_metadata, const char *path,
			    struct state before, const char *after_what)
{
	struct state now = look(path);

	EXPECT_EQ(before.size, now.size) {
		TH_LOG("after %s", after_what);
	}
	EXPECT_EQ(before.blocks, now.blocks) {
		TH_LOG("after %s", after_what);
	}
	EXPECT_TRUE(content_is(path, FILE_SIZE, FILE_SEED)) {
		TH_LOG("contents changed after %s", after_what);
	}
}

TEST_F(pinfs, B1_pinned_ETXTBSY_for_others)
{
	struct state before = look(self->path);

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	/* The first wrong answer changes what the others start from. */
	for (size_t i = 0; i < ARRAY_SIZE(subtractive) && !_metadata->exit_code; i++) {
		const struct subtractive *op = &subtractive[i];

		EXPECT_EQ(-ETXTBSY, peer_call(&self->a, op->fn, op->arg)) {
			TH_LOG("%s by another process", op->name);
		}
		check_unchanged(_metadata, self->path, before, op->name);
	}
}

TEST_F(pinfs, B1_pinned_EDEADLK_for_the_holder)
{
	struct state before = look(self->path);

	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	/* The first wrong answer changes what the others start from. */
	for (size_t i = 0; i < ARRAY_SIZE(subtractive) && !_metadata->exit_code; i++) {
		const struct subtractive *op = &subtractive[i];

		EXPECT_EQ(-EDEADLK, op->fn(&self->me, op->arg)) {
			TH_LOG("%s by the holder", op->name);
		}
		check_unchanged(_metadata, self->path, before, op->name);
	}
}

TEST_F(pinfs, B1_succeeds_after_the_unpin)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	ASSERT_EQ(-ETXTBSY, peer_call(&self->a, act_ftruncate, 0));
	ASSERT_EQ(0, act_unpin(&self->me, 0));
	ASSERT_EQ(0, act_lease(&self->me, F_UNLCK));
	for (size_t i = 0; i < ARRAY_SIZE(subtractive); i++) {
		const struct subtractive *op = &subtractive[i];

		ASSERT_EQ(0, make_file(self->path, FILE_PAGES, FILE_SEED));
		EXPECT_EQ(0, peer_call(&self->a, op->fn, op->arg)) {
			TH_LOG("%s", op->name);
		}
	}
}

TEST_F(pinfs, B1_no_fallocate_mode_gets_round_it)
{
	static const int modes[] = {
		FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	};
	struct state before = look(self->path);
	int other = open(self->path, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_hold, EXCLUSIVE));
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		long ret = ERR(fallocate(other, modes[i], PAGE, PAGE));

		EXPECT_EQ(-ETXTBSY, ret) {
			TH_LOG("fallocate mode %#x", modes[i]);
		}
		check_unchanged(_metadata, self->path, before, "a fallocate mode");
	}
	close(other);
}

TEST_F(pinfs, B2_leased_without_pins)
{
	struct state before = look(self->path);

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	/* The first wrong answer changes what the others start from. */
	for (size_t i = 0; i < ARRAY_SIZE(subtractive) && !_metadata->exit_code; i++) {
		const struct subtractive *op = &subtractive[i];

		EXPECT_EQ(-ETXTBSY, peer_call(&self->a, op->fn, op->arg)) {
			TH_LOG("%s by another process", op->name);
		}
		check_unchanged(_metadata, self->path, before, op->name);
	}
	EXPECT_EQ(0, act_punch(&self->me, RANGE(3, 1)));
	EXPECT_EQ(0, act_ftruncate(&self->me, 0));
	EXPECT_EQ(EXCLUSIVE, act_getlease(&self->me, 0));
}

static long act_punch_for_ever(struct actor *a, long range)
{
	long ret;

	do {
		ret = act_punch(a, range);
	} while (!ret || ret == -ETXTBSY);
	return ret;
}

/* What has begun before the lease was there ends before it is. */
TEST_F(pinfs, B2_nothing_is_under_way_when_the_lease_is_there)
{
	long rounds = 0, stored = 0, lost = 0;
	volatile char *byte;
	long end;

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	byte = self->me.map;
	peer_post(&self->a, act_punch_for_ever, RANGE(0, 1));
	end = now_ms() + 2000;
	do {
		*byte = 1;
		ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
		if (*byte) {
			stored++;
			for (int i = 0; i < 20000 && *byte; i++)
				;
			lost += !*byte;
		}
		ASSERT_EQ(0, act_lease(&self->me, F_UNLCK));
		rounds++;
	} while (!lost && now_ms() < end);
	EXPECT_EQ(0, lost) {
		TH_LOG("round %ld", rounds);
	}
	EXPECT_LE(20, stored) {
		TH_LOG("of %ld rounds: the punches are always faster", rounds);
	}
	EXPECT_LE(0, peer_kill(&self->a));
}

TEST_F(pinfs, B3_neither_leased_nor_pinned)
{
	char path[PATH_MAX], buf[FILE_SIZE];
	struct iovec iov;

	snprintf(path, sizeof(path), "%.4000s/other", self->dir);
	ASSERT_EQ(0, make_file(path, FILE_PAGES, 3));
	ASSERT_EQ(0, peer_start(&self->a, path));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	iov = (struct iovec){ self->me.map, 4 * PAGE };
	ASSERT_EQ(0, io_uring_register_buffers(&self->me.ring[0], &iov, 1));

	/* Another file is free. */
	EXPECT_EQ(0, peer_call(&self->a, act_truncate, 0));
	/* So is, for the holder, every range of this one that has no pin. */
	EXPECT_EQ(0, act_punch(&self->me, RANGE(8, 4)));
	EXPECT_EQ(-EDEADLK, act_punch(&self->me, RANGE(3, 2)));
	EXPECT_EQ(0, act_ftruncate(&self->me, 14 * PAGE));
	EXPECT_EQ(-EDEADLK, act_ftruncate(&self->me, 4 * PAGE - 1));
	EXPECT_EQ(0, act_ftruncate(&self->me, 4 * PAGE));

	/* The pinned part is what it was. */
	ASSERT_EQ(4 * PAGE, ERR(pread(self->me.fd, buf, FILE_SIZE, 0)));
	EXPECT_TRUE(filled(buf, 4 * PAGE, FILE_SEED));
}

/* What is behind the range moves, so it counts; what is before it does not. */
TEST_F(pinfs, B1_B3_collapse_and_insert_reach_to_the_end)
{
	struct state before = look(self->path);
	char buf[FILE_SIZE], model[FILE_SIZE];
	struct iovec iov;

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	iov = (struct iovec){ self->me.map + 8 * PAGE, PAGE };
	ASSERT_EQ(0, io_uring_register_buffers(&self->me.ring[0], &iov, 1));

	EXPECT_EQ(-EDEADLK, act_collapse(&self->me, RANGE(2, 1)));
	EXPECT_EQ(-EDEADLK, act_insert(&self->me, RANGE(2, 1)));
	EXPECT_EQ(-EDEADLK, act_insert(&self->me, RANGE(8, 1)));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_collapse, RANGE(8, 1)));
	check_unchanged(_metadata, self->path, before, "what was refused");

	fill(model, FILE_SIZE, FILE_SEED);
	EXPECT_EQ(0, act_collapse(&self->me, RANGE(9, 2)));
	memmove(model + 9 * PAGE, model + 11 * PAGE, 5 * PAGE);
	EXPECT_EQ(0, act_insert(&self->me, RANGE(10, 2)));
	memmove(model + 12 * PAGE, model + 10 * PAGE, 4 * PAGE);
	memset(model + 10 * PAGE, 0, 2 * PAGE);
	ASSERT_EQ(FILE_SIZE, ERR(pread(self->me.fd, buf, FILE_SIZE, 0)));
	EXPECT_EQ(0, memcmp(buf, model, FILE_SIZE));
	EXPECT_EQ(0, memcmp(self->me.map, model, FILE_SIZE));

	/* The pinned page is the file's still. */
	self->me.map[8 * PAGE + 5] = 'p';
	EXPECT_EQ('p', act_read_byte(&self->me, 8 * PAGE + 5));
}

TEST_F(pinfs, B4_additive_operations_go_on)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));

	EXPECT_EQ(PAGE, peer_call(&self->a, act_write_page, 2));
	EXPECT_TRUE(filled(self->me.map + 2 * PAGE, PAGE, 2));
	ASSERT_EQ(0, peer_call(&self->a, act_map, FILE_SIZE));
	EXPECT_EQ(0, peer_call(&self->a, act_store_page, 4));
	EXPECT_TRUE(filled(self->me.map + 4 * PAGE, PAGE, 4));
	EXPECT_EQ(PAGE, peer_call(&self->a, act_append, PAGE));
	EXPECT_EQ(FILE_SIZE + PAGE, peer_call(&self->a, act_stat_size, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_allocate, RANGE(FILE_PAGES, 8)));
	EXPECT_EQ(0, peer_call(&self->a, act_ftruncate, 2 * FILE_SIZE));
	EXPECT_EQ(2 * FILE_SIZE, peer_call(&self->a, act_stat_size, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_fsync, 0));

	/* And the holder's own. */
	EXPECT_EQ(PAGE, act_write_page(&self->me, 5));
	EXPECT_EQ(PAGE, act_append(&self->me, PAGE));
	EXPECT_EQ(0, act_ftruncate(&self->me, 3 * FILE_SIZE));
	EXPECT_EQ(0, act_allocate(&self->me, RANGE(0, 4 * FILE_PAGES)));
	/* Nothing of this moved a block from under the pins. */
	EXPECT_TRUE(filled(self->me.map + 2 * PAGE, PAGE, 2));
	self->me.map[7 * PAGE] = 'p';
	EXPECT_EQ('p', act_read_byte(&self->me, 7 * PAGE));
}

TEST_F(pinfs, B4_truncate_to_the_same_size)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	/* Row B12: it takes nothing away, so the pins are no reason to refuse it. */
	EXPECT_EQ(0, act_ftruncate(&self->me, FILE_SIZE));
}

/* A process that does nothing but wait until the pages in a pipe are read. */
static void start_waiter(struct __test_metadata *_metadata, struct peer *p, const char *path)
{
	ASSERT_EQ(0, peer_start(p, path));
	ASSERT_EQ(0, peer_call(p, act_open, O_RDWR));
}

static bool blocked_in_ftruncate(struct peer *p)
{
	return EVENTUALLY(peer_waits_in(p, SYS_ftruncate), REPLY_MS);
}

TEST_F(pinfs, B5_waits_for_transient_pins_and_completes)
{
	start_waiter(_metadata, &self->a, self->path);
	start_waiter(_metadata, &self->b, self->path);
	ASSERT_EQ(0, act_create_beside(&self->me, 0));
	ASSERT_EQ(0, act_unlink_beside(&self->me, 0));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(PAGE, act_vmsplice(&self->me, 6));

	peer_post(&self->a, act_ftruncate, 0);
	ASSERT_TRUE(blocked_in_ftruncate(&self->a));

	/* It holds no lock meanwhile: each of these answers in time. */
	EXPECT_LE(0, peer_call(&self->b, act_read_byte, 100));
	EXPECT_EQ(PAGE, peer_call(&self->b, act_write_page, 1));
	EXPECT_LE(0, peer_call(&self->b, act_stat_size, 0));
	EXPECT_EQ(0, peer_call(&self->b, act_fsync, 0));
	EXPECT_LE(3, peer_call(&self->b, act_ls, 0));
	EXPECT_EQ(0, peer_call(&self->b, act_create_beside, 0));
	EXPECT_EQ(0, peer_call(&self->b, act_unlink_beside, 0));
	EXPECT_EQ(PAGE, peer_call(&self->b, act_append, PAGE));

	/* Still the file's page that is in the pipe, and still waiting for it. */
	EXPECT_TRUE(blocked_in_ftruncate(&self->a));
	EXPECT_EQ(PAGE, act_drain(&self->me, 0));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
	EXPECT_EQ(0, peer_call(&self->a, act_stat_size, 0));
}

static long act_freeze_and_thaw(struct actor *a, long unused)
{
	long ret = ERR(ioctl(a->fd, FIFREEZE, 0));

	(void)unused;
	return ret ? ret : ERR(ioctl(a->fd, FITHAW, 0));
}

static long act_sync(struct actor *a, long unused)
{
	(void)unused;
	return ERR(syncfs(a->fd));
}

/* Twice, as the first freeze may have let the waiter do something. */
TEST_F(pinfs, B5_sync_and_freeze_go_on)
{
	long frozen = 0;

	start_waiter(_metadata, &self->a, self->path);
	start_waiter(_metadata, &self->b, self->path);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(PAGE, act_vmsplice(&self->me, 6));
	peer_post(&self->a, act_ftruncate, 0);
	ASSERT_TRUE(blocked_in_ftruncate(&self->a));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, peer_call(&self->b, act_sync, 0));
		frozen = peer_call(&self->b, act_freeze_and_thaw, 0);
		if (frozen != -EOPNOTSUPP)
			EXPECT_EQ(0, frozen);
	}
	EXPECT_EQ(PAGE, act_drain(&self->me, 0));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
	EXPECT_EQ(0, act_stat_size(&self->me, 0));
	if (frozen == -EOPNOTSUPP)
		SKIP(return, "the file system cannot be frozen");
}

TEST_F(pinfs, B5_unlink_of_the_same_file_goes_on)
{
	start_waiter(_metadata, &self->a, self->path);
	start_waiter(_metadata, &self->b, self->path);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(PAGE, act_vmsplice(&self->me, 6));
	peer_post(&self->a, act_ftruncate, 0);
	ASSERT_TRUE(blocked_in_ftruncate(&self->a));
	EXPECT_EQ(0, peer_call(&self->b, act_unlink, 0));
	EXPECT_EQ(PAGE, act_drain(&self->me, 0));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
}

TEST_F(pinfs, B5_punch_waits_too)
{
	start_waiter(_metadata, &self->a, self->path);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(PAGE, act_vmsplice(&self->me, 6));
	peer_post(&self->a, act_punch, RANGE(4, 4));
	ASSERT_TRUE(EVENTUALLY(peer_waits_in(&self->a, SYS_fallocate), REPLY_MS));
	EXPECT_EQ(PAGE, act_drain(&self->me, 0));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
	EXPECT_EQ(0, act_read_byte(&self->me, 6 * PAGE + 9));
}

/* Of a page that moves, not of one that goes. */
TEST_F(pinfs, B5_collapse_and_insert_wait_too)
{
	static const act_fn moves[] = { act_collapse, act_insert };
	char want[PAGE], got[PAGE];

	start_waiter(_metadata, &self->a, self->path);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	for (size_t i = 0; i < ARRAY_SIZE(moves); i++) {
		ASSERT_EQ(PAGE, ERR(pread(self->me.fd, want, PAGE, 6 * PAGE)));
		ASSERT_EQ(PAGE, act_vmsplice(&self->me, 6));
		peer_post(&self->a, moves[i], RANGE(1, 1));
		ASSERT_TRUE(EVENTUALLY(peer_waits_in(&self->a, SYS_fallocate), REPLY_MS));
		/* A store meanwhile goes with the page. */
		self->me.map[6 * PAGE + 100] = want[100] = 'm';
		EXPECT_EQ(PAGE, act_drain(&self->me, 0));
		EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
		ASSERT_EQ(PAGE, ERR(pread(self->me.fd, got, PAGE, (i ? 7 : 5) * PAGE)));
		EXPECT_EQ(0, memcmp(want, got, PAGE));
	}
}

TEST_F(pinfs, B5_B12_other_ranges_do_not_wait)
{
	start_waiter(_metadata, &self->a, self->path);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(PAGE, act_vmsplice(&self->me, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_punch, RANGE(15, 1)));
	EXPECT_EQ(0, peer_call(&self->a, act_ftruncate, 2 * FILE_SIZE));
	EXPECT_EQ(0, peer_call(&self->a, act_ftruncate, 4 * PAGE));
	EXPECT_EQ(PAGE, act_drain(&self->me, 0));
}

/* The fastest of some punches of one page of a file whose pages are all mapped. */
static long fastest_punch(struct __test_metadata *_metadata, struct actor *a, long pages)
{
	long best = LONG_MAX;

	ASSERT_EQ(0, make_file(a->path, pages, FILE_SEED));
	ASSERT_EQ(0, act_open(a, O_RDWR));
	ASSERT_EQ(0, act_map(a, pages * PAGE));
	ASSERT_EQ(0, ERR(madvise(a->map, pages * PAGE, MADV_NOHUGEPAGE)));
	ASSERT_EQ(0, ERR(madvise(a->map, pages * PAGE, MADV_POPULATE_WRITE)));
	for (long i = 0; i < 16; i++) {
		struct timespec t0, t1;

		clock_gettime(CLOCK_MONOTONIC, &t0);
		ASSERT_EQ(0, act_punch(a, RANGE(2 * i, 1)));
		clock_gettime(CLOCK_MONOTONIC, &t1);
		long ns = (t1.tv_sec - t0.tv_sec) * 1000000000L + t1.tv_nsec - t0.tv_nsec;

		if (ns < best)
			best = ns;
	}
	act_unmap(a, 0);
	act_close(a, 0);
	return best;
}

/* 256 times the pages: what looks at them all takes that much longer. */
TEST_F(pinfs, B12_the_cost_is_in_the_range)
{
	long few, many;

	few = fastest_punch(_metadata, &self->me, 64);
	many = fastest_punch(_metadata, &self->me, 64 * 256);
	TH_LOG("a punch takes %ld ns in 64 mapped pages, %ld ns in 16384", few, many);
	EXPECT_GT(16 * few, many);
}

TEST_F(pinfs, B5_the_wait_ends_by_SIGKILL)
{
	start_waiter(_metadata, &self->a, self->path);
	start_waiter(_metadata, &self->b, self->path);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(PAGE, act_vmsplice(&self->me, 6));
	peer_post(&self->a, act_ftruncate, 0);
	ASSERT_TRUE(blocked_in_ftruncate(&self->a));
	EXPECT_LE(0, peer_kill(&self->a));

	/* Nothing was done by halves, and nothing is left locked. */
	EXPECT_EQ(FILE_SIZE, act_stat_size(&self->me, 0));
	EXPECT_TRUE(content_is(self->path, FILE_SIZE, FILE_SEED));
	EXPECT_EQ(PAGE, act_drain(&self->me, 0));
	EXPECT_EQ(0, peer_call(&self->b, act_ftruncate, 0));
}

TEST_F(pinfs, B5_the_wait_ends_when_the_pipe_goes)
{
	start_waiter(_metadata, &self->a, self->path);
	start_waiter(_metadata, &self->b, self->path);
	ASSERT_EQ(0, peer_call(&self->b, act_map, FILE_SIZE));
	ASSERT_EQ(PAGE, peer_call(&self->b, act_vmsplice, 6));
	peer_post(&self->a, act_ftruncate, 0);
	ASSERT_TRUE(blocked_in_ftruncate(&self->a));
	EXPECT_LE(0, peer_kill(&self->b));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
}

/* Reads from a disk into the whole mapping, over and over, until it is killed. */
static long act_read_for_ever(struct actor *a, long unused)
{
	char name[] = "/var/tmp/pinfs-stream.XXXXXX";
	int disk = disk_file(name);
	void *buf = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)unused;
	if (disk < 0 || buf == MAP_FAILED || pwrite(disk, buf, FILE_SIZE, 0) != FILE_SIZE)
		return -errno;
	for (;;)
		if (pread(disk, a->map, FILE_SIZE, 0) < 0 && errno != EFAULT)
			return -errno;
}

/*
 * Several readers, so that there is hardly a moment without a reference to some
 * page.  The file is truncated up again, for them to find pages again.
 */
TEST_F(pinfs, B5_a_stream_of_direct_IO_does_not_starve_it)
{
	struct peer readers[3];

	for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
		ASSERT_EQ(0, peer_start(&readers[i], self->path));
		ASSERT_EQ(0, peer_call(&readers[i], act_open, O_RDWR));
		ASSERT_EQ(0, peer_call(&readers[i], act_map, FILE_SIZE));
		peer_post(&readers[i], act_read_for_ever, 0);
	}
	start_waiter(_metadata, &self->a, self->path);
	for (int round = 0; round < 10; round++) {
		peer_post(&self->a, act_ftruncate, 0);
		ASSERT_EQ(0, peer_answer(&self->a, 1000)) {
			TH_LOG("round %d", round);
		}
		ASSERT_EQ(0, truncate(self->path, FILE_SIZE));
	}
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++)
		EXPECT_LE(0, peer_kill(&readers[i]));
}

/* A long-term pin that comes during the wait ends it: now there is one to refuse for. */
TEST_F(pinfs, B5_B1_a_pin_during_the_wait_makes_it_fail)
{
	start_waiter(_metadata, &self->a, self->path);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	ASSERT_EQ(PAGE, act_vmsplice(&self->me, 6));
	peer_post(&self->a, act_ftruncate, 0);
	ASSERT_TRUE(blocked_in_ftruncate(&self->a));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_pin(&self->me, 0));
	EXPECT_EQ(PAGE, act_drain(&self->me, 0));
	EXPECT_EQ(-ETXTBSY, peer_answer(&self->a, REPLY_MS));
	EXPECT_EQ(FILE_SIZE, act_stat_size(&self->me, 0));
}

TEST_F(pinfs, B6_pins_are_found_after_the_last_munmap)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_ftruncate, 0));
	EXPECT_EQ(-EDEADLK, act_ftruncate(&self->me, 0));
	ASSERT_EQ(0, act_close(&self->me, 0));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_ftruncate, 0));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_punch, RANGE(0, 1)));
}

TEST_F(pinfs, B6_transient_pins_too)
{
	start_waiter(_metadata, &self->a, self->path);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(PAGE, act_vmsplice(&self->me, 6));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	ASSERT_EQ(0, act_close(&self->me, 0));
	peer_post(&self->a, act_ftruncate, 0);
	ASSERT_TRUE(blocked_in_ftruncate(&self->a));
	EXPECT_EQ(PAGE, act_drain(&self->me, 0));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
}

TEST_F(pinfs, B7_truncate_up_writes_its_own_bytes_only)
{
	const long odd = PAGE + 100, mid = PAGE + 2000;
	char buf[4 * PAGE];

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, odd));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&self->me, 2 * PAGE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	ASSERT_EQ(0, act_pin(&self->me, 0));
	/* What a device left in the tail block, beyond the end of the file. */
	memset(self->me.map + odd, 0xaa, 2 * PAGE - odd);

	ASSERT_EQ(0, peer_call(&self->a, act_ftruncate, mid));
	ASSERT_EQ(mid, ERR(pread(self->me.fd, buf, sizeof(buf), 0)));
	EXPECT_EQ(0, memcmp(buf, self->me.map, mid));
	EXPECT_TRUE(filled(buf, PAGE, FILE_SEED));
	EXPECT_TRUE(all_zero(buf + odd, mid - odd));
	EXPECT_EQ((char)0xaa, self->me.map[mid]);
	EXPECT_EQ((char)0xaa, self->me.map[2 * PAGE - 1]);

	/* Growing over the rest must not show it. */
	ASSERT_EQ(0, peer_call(&self->a, act_ftruncate, 4 * PAGE));
	ASSERT_EQ(4 * PAGE, ERR(pread(self->me.fd, buf, sizeof(buf), 0)));
	EXPECT_TRUE(all_zero(buf + odd, 4 * PAGE - odd));
	EXPECT_TRUE(filled(buf, PAGE, FILE_SEED));
}

/* What a mapping of the last page shows behind the end. */
TEST_F(pinfs, B7_truncate_down_zeroes_the_rest_of_the_last_page)
{
	const long size = 2 * PAGE + 100;
	unsigned char *map;

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	map = (unsigned char *)self->me.map;
	memset(map + 2 * PAGE, 0xa5, PAGE);
	ASSERT_EQ(0, act_ftruncate(&self->me, size));
	EXPECT_EQ(0xa5, map[size - 1]);
	for (long at = size; at < 3 * PAGE; at++)
		ASSERT_EQ(0, map[at]);
}

TEST_F(pinfs, B7_truncate_down_covers_blocks_past_the_end)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	/* Blocks behind the end of the file go as well, even without a change of size. */
	ASSERT_EQ(0, ERR(fallocate(self->me.fd, FALLOC_FL_KEEP_SIZE, FILE_SIZE, FILE_SIZE)));
	ASSERT_LE(2 * FILE_SIZE / 512, blocks_of(self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_ftruncate, PAGE));
	EXPECT_GE(4 * PAGE / 512, blocks_of(self->path));
	EXPECT_EQ(0, act_ftruncate(&self->me, 2 * FILE_SIZE));
	EXPECT_EQ(0, act_read_byte(&self->me, FILE_SIZE + 1));
}

/*
 * Takes all the space there is and writes all of it, so that whoever has one
 * of these blocks too would see it.  The descriptor that holds it.
 */
static int take_all_space(const char *dir)
{
	char path[PATH_MAX], *pattern = malloc(MIB);
	long end = 0;
	int fd;

	snprintf(path, sizeof(path), "%.4000s/all", dir);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 || !pattern)
		return -errno;
	memset(pattern, 0x55, MIB);
	for (long step = 64 * MIB; step >= PAGE; step /= 4)
		while (!fallocate(fd, 0, end, step))
			end += step;
	for (long at = 0; at < end; at += MIB)
		if (pwrite(fd, pattern, end - at < MIB ? end - at : MIB, at) < 0)
			break;
	free(pattern);
	return fd;
}

/* Writing all of a device takes a while on an emulated machine. */
#define SLOW_TEST	180

/*
 * The name is gone (by whatever remove does), the pins are not: the blocks
 * must be nobody else's until the last one ends, and free then.
 */
static void check_removed_but_pinned(struct __test_metadata *_metadata,
				     FIXTURE_DATA(pinfs) *self, act_fn remove)
{
	const long pages = 2 * MIB / PAGE;
	int out = memfd_create("out", MFD_CLOEXEC), hog;
	char *map, *copy;
	long begin, with, pinned;

	ASSERT_LE(0, out);
	ASSERT_EQ(0, make_file(self->path, pages, FILE_SEED));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	map = self->me.map;
	with = blocks_free(self->dir);

	begin = now_ms();
	EXPECT_EQ(0, peer_call(&self->a, remove, 0));
	EXPECT_EQ(0, act_close(&self->me, 0));
	EXPECT_EQ(0, act_unmap(&self->me, 0));
	EXPECT_GE(scaled_ms(PROMPT_MS), now_ms() - begin);

	pinned = blocks_free(self->dir);
	/* Some blocks of metadata may have come or gone, not those of the data. */
	EXPECT_LE(pinned, with + 16) {
		TH_LOG("pinned blocks count as free");
	}
	hog = take_all_space(self->dir);
	ASSERT_LE(0, hog);
	ASSERT_EQ(pages * PAGE, ring_write_fixed(&self->me.ring[0], out, map, pages * PAGE));
	copy = mmap(NULL, pages * PAGE, PROT_READ, MAP_SHARED, out, 0);
	ASSERT_NE(MAP_FAILED, copy);
	EXPECT_TRUE(filled(copy, pages * PAGE, FILE_SEED)) {
		TH_LOG("the device sees blocks that another file has written");
	}
	munmap(copy, pages * PAGE);
	ASSERT_EQ(0, ERR(ftruncate(hog, 0)));
	close(hog);

	pinned = blocks_free(self->dir);
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= pinned + pages, 1000)) {
		TH_LOG("%ld blocks were free with the pins, %ld are after them", pinned,
		       blocks_free(self->dir));
	}
	close(out);
}

TEST_F_TIMEOUT(pinfs, B8_unlink_of_a_pinned_file, SLOW_TEST)
{
	check_removed_but_pinned(_metadata, self, act_unlink);
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

TEST_F_TIMEOUT(pinfs, B8_rename_over_a_pinned_file, SLOW_TEST)
{
	check_removed_but_pinned(_metadata, self, act_rename_over);
	EXPECT_EQ(PAGE, act_stat_size(&self->me, 0));
}

TEST_F(pinfs, B8_pins_end_with_the_ring)
{
	long before = blocks_free_at_rest(self->dir);

	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_unlink(&self->me, 0));
	ASSERT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	ASSERT_EQ(0, act_ring_close(&self->me, 0));
	EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= before + FILE_PAGES, 1000));
}

/* Row B13 in its smallest form: pages of an unlinked file in a pipe. */
TEST_F_TIMEOUT(pinfs, B13_unlinked_file_with_pages_in_a_pipe, SLOW_TEST)
{
	long before = blocks_free_at_rest(self->dir), begin;
	char buf[PAGE];

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(PAGE, act_vmsplice(&self->me, 0));
	begin = now_ms();
	ASSERT_EQ(0, act_unlink(&self->me, 0));
	ASSERT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	EXPECT_GE(scaled_ms(PROMPT_MS), now_ms() - begin);
	/* Nobody else gets the page that is on its way. */
	close(take_all_space(self->dir));
	ASSERT_EQ(PAGE, ERR(read(self->me.pipe[0], buf, PAGE)));
	EXPECT_TRUE(filled(buf, PAGE, FILE_SEED));
	snprintf(buf, sizeof(buf), "%.4000s/all", self->dir);
	ASSERT_EQ(0, ERR(unlink(buf)));
	EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= before + FILE_PAGES, 1000));
}

static long make_and_leave(struct actor *a, long unused)
{
	long ret = act_open(a, O_RDWR);

	(void)unused;
	if (!ret)
		ret = act_map(a, FILE_SIZE);
	if (!ret)
		ret = act_vmsplice(a, 0);
	return ret == PAGE ? act_unlink(a, 0) : ret;
}

TEST_F(pinfs, B13_SIGKILL_of_the_holder_of_an_unlinked_file_and_its_pipe)
{
	long before = blocks_free_at_rest(self->dir);

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, make_and_leave, 0));
	EXPECT_LE(0, peer_kill(&self->a));
	EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= before + FILE_PAGES, 1000));
}

TEST_F(pinfs, B9_umount_with_pins_is_EBUSY)
{
	const char *mnt = getenv("PINFS_MNT"), *dev = getenv("PINFS_DEV");
	long ret;

	if (!dev)
		SKIP(return, "PINFS_DEV is not set: no device to mount again");
	ASSERT_EQ(0, chdir("/"));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	ret = ERR(umount2(mnt, 0));
	EXPECT_EQ(-EBUSY, ret);
	if (!ret) {
		/* For the tests that follow. */
		ASSERT_EQ(0, ERR(mount(dev, mnt, "pinfs", 0, NULL)));
	}
	EXPECT_EQ(FILE_SIZE, act_stat_size(&self->me, 0));

	/* The pins were the only reason. */
	ASSERT_EQ(0, act_unpin(&self->me, 0));
	ret = -EBUSY;
	EXPECT_TRUE(EVENTUALLY((ret = ERR(umount2(mnt, 0))) == 0, 1000)) {
		TH_LOG("umount after the last unpin: expected 0, seen %ld", ret);
	}
	if (ret)
		return;
	ASSERT_EQ(0, ERR(mount(dev, mnt, "pinfs", 0, NULL)));
	EXPECT_TRUE(content_is(self->path, FILE_SIZE, FILE_SEED));
}

TEST_HARNESS_MAIN
