// SPDX-License-Identifier: GPL-2.0
/*
 * Every way in which a file loses or gains blocks, or its name, against
 * everything that may stand in the way, one by one: rows B1 to B5, B8 and L11.
 */
#include "kselftest_harness.h"

#include "pinfs_test.h"

#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* All paths begin with a byte of this page, or just behind the page before. */
#define EDGE		8
#define BESIDE		(EDGE - 1)
#define MOST		(FILE_SIZE + 4 * PAGE)

/* What becomes of the bytes at off. */
enum effect { CUT, ZERO, COLLAPSE, INSERT };

/* Which system call it is. */
enum call { FTRUNCATE, TRUNCATE, OPEN_TRUNC, FALLOCATE };

static const struct path {
	const char *name;
	enum effect effect;
	enum call call;
	long off, len;
	int mode;
} paths[] = {
	{ "ftruncate", CUT, FTRUNCATE, EDGE * PAGE, 0, 0 },
	{ "ftruncate inside a page", CUT, FTRUNCATE, EDGE * PAGE + 100, 0, 0 },
	{ "truncate", CUT, TRUNCATE, EDGE * PAGE, 0, 0 },
	{ "open(O_TRUNC)", CUT, OPEN_TRUNC, 0, 0, 0 },
	{ "punch", ZERO, FALLOCATE, EDGE * PAGE, 4 * PAGE,
	  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE },
	{ "punch inside a page", ZERO, FALLOCATE, EDGE * PAGE + 100, 200,
	  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE },
	{ "zero range", ZERO, FALLOCATE, EDGE * PAGE, 4 * PAGE, FALLOC_FL_ZERO_RANGE },
	{ "zero range inside a page", ZERO, FALLOCATE, EDGE * PAGE + 100, 200,
	  FALLOC_FL_ZERO_RANGE },
	{ "zero range, size kept", ZERO, FALLOCATE, EDGE * PAGE, 4 * PAGE,
	  FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE },
	{ "collapse", COLLAPSE, FALLOCATE, EDGE * PAGE, 4 * PAGE, FALLOC_FL_COLLAPSE_RANGE },
	{ "insert", INSERT, FALLOCATE, EDGE * PAGE, 4 * PAGE, FALLOC_FL_INSERT_RANGE },
};

static const long waits_in[] = {
	[FTRUNCATE] = SYS_ftruncate, [TRUNCATE] = SYS_truncate,
	[OPEN_TRUNC] = SYS_openat, [FALLOCATE] = SYS_fallocate,
};

static long act_path(struct actor *a, long which)
{
	const struct path *p = &paths[which];

	switch (p->call) {
	case FTRUNCATE:
		return act_ftruncate(a, p->off);
	case TRUNCATE:
		return act_truncate(a, p->off);
	case OPEN_TRUNC:
		return act_open_trunc(a, 0);
	case FALLOCATE:
		return ERR(fallocate(a->fd, p->mode, p->off, p->len));
	}
	return -EINVAL;
}

/* What a new file is, and what a path makes of it; the size. */
static long image(char *buf, const struct path *p)
{
	char old[FILE_SIZE];

	memset(buf, 0, MOST);
	fill(old, FILE_SIZE, FILE_SEED);
	memcpy(buf, old, FILE_SIZE);
	if (!p)
		return FILE_SIZE;
	switch (p->effect) {
	case CUT:
		return p->off;
	case ZERO:
		memset(buf + p->off, 0, p->len);
		return FILE_SIZE;
	case COLLAPSE:
		memcpy(buf + p->off, old + p->off + p->len, FILE_SIZE - p->off - p->len);
		return FILE_SIZE - p->len;
	case INSERT:
		memset(buf + p->off, 0, p->len);
		memcpy(buf + p->off + p->len, old + p->off, FILE_SIZE - p->off);
		return FILE_SIZE + p->len;
	}
	return -EINVAL;
}

static bool file_is(const char *path, const struct path *p)
{
	char want[MOST], have[MOST];
	long size = image(want, p), got = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		got = read(fd, have, sizeof(have));
		close(fd);
	}
	return got == size && !memcmp(want, have, size);
}

/* ---- what stands in the way ---- */

static volatile sig_atomic_t signals;

static void on_signal(int sig)
{
	(void)sig;
	signals++;
}

static long act_signals(struct actor *a, long unused)
{
	(void)a;
	(void)unused;
	return signals;
}

static long lease_page(struct actor *a, long page, int kind)
{
	struct pinfs_lease arg = {
		.size = sizeof(arg), .op = PINFS_LEASE_SET, .lease = kind,
		.start = page * PAGE, .len = PAGE,
	};

	return ERR(ioctl(a->fd, PINFS_IOC_LEASE, &arg));
}

static long act_lease_page(struct actor *a, long page)
{
	long ret = act_open(a, O_RDWR);

	return ret ? ret : lease_page(a, page, EXCLUSIVE);
}

static long act_break_page(struct actor *a, long page)
{
	long ret = act_open(a, O_RDWR);

	signals = 0;
	signal(SIGIO, on_signal);
	return ret ? ret : lease_page(a, page, F_LAYOUT);
}

static long act_pin_page(struct actor *a, long page)
{
	long ret = act_lease_page(a, page);
	struct iovec iov;

	if (!ret)
		ret = act_map(a, FILE_SIZE);
	if (!ret)
		ret = act_ring(a, 0);
	if (ret)
		return ret;
	iov = (struct iovec){ a->map + page * PAGE, PAGE };
	return io_uring_register_buffers(&a->ring[0], &iov, 1);
}

static long act_orphan_page(struct actor *a, long page)
{
	long ret = act_pin_page(a, page);

	if (!ret)
		ret = act_close(a, 0);
	return ret ? ret : act_unmap(a, 0);
}

static long act_splice_page(struct actor *a, long page)
{
	long ret = act_open(a, O_RDWR);

	if (!ret)
		ret = act_map(a, FILE_SIZE);
	if (!ret)
		ret = act_vmsplice(a, page);
	if (ret != PAGE)
		return ret < 0 ? ret : -EIO;
	ret = act_close(a, 0);
	return ret ? ret : act_unmap(a, 0);
}

/* Lets go of everything, in one way or the other. */
static long act_let_go(struct actor *a, long unused)
{
	(void)unused;
	act_fini(a);
	return 0;
}

struct blocker {
	const char *name;
	act_fn put;
	/* The answer to others, or 0: it is waited for. */
	long answer;
	/* The answer to its own process. */
	long own;
	bool signals;
};

static const struct blocker leased = { "a strong lease", act_lease_page, -ETXTBSY, 0, false };
static const struct blocker pinned = { "a pin", act_pin_page, -ETXTBSY, -EDEADLK, false };
static const struct blocker orphaned = { "an orphaned pin", act_orphan_page, -ETXTBSY, 0, false };
static const struct blocker breakable = { "a breakable lease", act_break_page, 0, 0, true };
static const struct blocker transient = { "a page in a pipe", act_splice_page, 0, 0, false };
static const struct blocker *const blockers[] = {
	&leased, &pinned, &orphaned, &breakable, &transient,
};

/* One path on a file of its own; a puts what stands in the way, b is who comes along. */
static void prepare(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
		    const struct blocker *by, long page)
{
	ASSERT_EQ(0, make_file(self->path, FILE_PAGES, FILE_SEED));
	ASSERT_EQ(0, peer_call(&self->a, by->put, page)) {
		TH_LOG("%s", by->name);
	}
	ASSERT_EQ(0, peer_call(&self->b, act_open, O_RDWR));
}

static void let_go(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self)
{
	ASSERT_EQ(0, peer_call(&self->a, act_let_go, 0));
	ASSERT_EQ(0, peer_call(&self->b, act_let_go, 0));
	ASSERT_EQ(0, ERR(unlink(self->path)));
}

/* Whether this file system has the path at all; on a file that nobody else uses it must work then. */
static bool is_there(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, size_t i)
{
	long ret;

	ASSERT_EQ(0, make_file(self->path, FILE_PAGES, FILE_SEED));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ret = act_path(&self->me, i);
	if (ret != -EOPNOTSUPP || paths[i].effect < COLLAPSE) {
		EXPECT_EQ(0, ret) {
			TH_LOG("%s of a file that nobody uses", paths[i].name);
		}
		EXPECT_TRUE(file_is(self->path, &paths[i])) {
			TH_LOG("%s: not what it should be after it", paths[i].name);
		}
	}
	act_close(&self->me, 0);
	unlink(self->path);
	return ret != -EOPNOTSUPP;
}

static void check_refused(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
			  const struct blocker *by, size_t i)
{
	long blocks = blocks_of(self->path), ret = -1;

	EXPECT_EQ(by->answer, peer_call(&self->b, act_path, i)) {
		TH_LOG("%s on %s", paths[i].name, by->name);
	}
	EXPECT_TRUE(file_is(self->path, NULL) && blocks_of(self->path) == blocks) {
		TH_LOG("%s on %s was refused, and has changed the file", paths[i].name, by->name);
	}
	ASSERT_EQ(0, peer_call(&self->a, act_let_go, 0));
	EXPECT_TRUE(EVENTUALLY((ret = peer_call(&self->b, act_path, i)) == 0, 2000)) {
		TH_LOG("%s: %ld though %s has gone", paths[i].name, ret, by->name);
	}
}

static void check_waits(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
			const struct blocker *by, size_t i)
{
	peer_post(&self->b, act_path, i);
	ASSERT_TRUE(EVENTUALLY(peer_waits_in(&self->b, waits_in[paths[i].call]), REPLY_MS)) {
		TH_LOG("%s does not wait for %s", paths[i].name, by->name);
	}
	EXPECT_EQ(by->signals, peer_call(&self->a, act_signals, 0)) {
		TH_LOG("%s on %s", paths[i].name, by->name);
	}
	EXPECT_TRUE(file_is(self->path, NULL)) {
		TH_LOG("%s waits for %s, and has changed the file", paths[i].name, by->name);
	}
	/* It still does, though it looks now and then whether it may go on. */
	EXPECT_TRUE(EVENTUALLY(peer_waits_in(&self->b, waits_in[paths[i].call]), REPLY_MS));
	ASSERT_EQ(0, peer_call(&self->a, act_let_go, 0));
	ASSERT_EQ(0, peer_answer(&self->b, REPLY_MS)) {
		TH_LOG("%s, after %s has gone", paths[i].name, by->name);
	}
}

static void start_both(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
}

static void check_every_path(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
			     const struct blocker *by)
{
	start_both(_metadata, self);
	for (size_t i = 0; i < ARRAY_SIZE(paths) && !_metadata->exit_code; i++) {
		if (!is_there(_metadata, self, i))
			continue;
		prepare(_metadata, self, by, EDGE);
		if (by->answer)
			check_refused(_metadata, self, by, i);
		else
			check_waits(_metadata, self, by, i);
		EXPECT_TRUE(file_is(self->path, &paths[i])) {
			TH_LOG("%s, after %s: not what it should be", paths[i].name, by->name);
		}
		let_go(_metadata, self);
	}
}

TEST_F(pinfs, B2_every_path_on_a_leased_range)
{
	check_every_path(_metadata, self, &leased);
}

TEST_F(pinfs, B1_every_path_on_a_pinned_range)
{
	check_every_path(_metadata, self, &pinned);
}

TEST_F(pinfs, B1_L14_every_path_on_a_range_with_an_orphaned_pin)
{
	check_every_path(_metadata, self, &orphaned);
}

TEST_F(pinfs, L11_every_path_on_a_range_under_a_breakable_lease)
{
	check_every_path(_metadata, self, &breakable);
}

TEST_F(pinfs, B5_every_path_on_a_range_with_a_page_in_a_pipe)
{
	check_every_path(_metadata, self, &transient);
}

/* The page before the first one concerned is full of obstacles, and nobody minds. */
TEST_F(pinfs, B3_B12_every_path_just_behind_what_is_taken)
{
	start_both(_metadata, self);
	for (size_t b = 0; b < ARRAY_SIZE(blockers); b++) {
		for (size_t i = 0; i < ARRAY_SIZE(paths) && !_metadata->exit_code; i++) {
			if (paths[i].off < EDGE * PAGE || !is_there(_metadata, self, i))
				continue;
			prepare(_metadata, self, blockers[b], BESIDE);
			EXPECT_EQ(0, peer_call(&self->b, act_path, i)) {
				TH_LOG("%s just behind %s", paths[i].name, blockers[b]->name);
			}
			EXPECT_EQ(0, peer_call(&self->a, act_signals, 0)) {
				TH_LOG("%s just behind %s", paths[i].name, blockers[b]->name);
			}
			EXPECT_TRUE(file_is(self->path, &paths[i])) {
				TH_LOG("%s just behind %s", paths[i].name, blockers[b]->name);
			}
			let_go(_metadata, self);
		}
	}
}

/* Its own lease is in nobody's own way, its own pin is. */
TEST_F(pinfs, B1_B2_every_path_by_the_holder_itself)
{
	static const struct blocker *const own[] = { &leased, &pinned, &breakable };

	start_both(_metadata, self);
	for (size_t b = 0; b < ARRAY_SIZE(own); b++) {
		for (size_t i = 0; i < ARRAY_SIZE(paths) && !_metadata->exit_code; i++) {
			if (!is_there(_metadata, self, i))
				continue;
			prepare(_metadata, self, own[b], EDGE);
			EXPECT_EQ(own[b]->own, peer_call(&self->a, act_path, i)) {
				TH_LOG("%s by who has %s", paths[i].name, own[b]->name);
			}
			EXPECT_TRUE(file_is(self->path, own[b]->own ? NULL : &paths[i])) {
				TH_LOG("%s by who has %s", paths[i].name, own[b]->name);
			}
			let_go(_metadata, self);
		}
	}
}

/* ---- what takes nothing away ---- */

static long act_zero_behind(struct actor *a, long range)
{
	return ERR(fallocate(a->fd, FALLOC_FL_ZERO_RANGE, RANGE_OFF(range), RANGE_LEN(range)));
}

static long act_copy_range(struct actor *a, long page)
{
	off_t from = 0, to = page * PAGE;

	return ERR(copy_file_range(a->fd, &from, a->fd, &to, PAGE, 0));
}

static const struct {
	const char *name;
	act_fn fn;
	long arg, ret;
} additive[] = {
	{ "write", act_write_page, EDGE, PAGE },
	{ "copy_file_range", act_copy_range, EDGE, PAGE },
	{ "append", act_append, PAGE, PAGE },
	{ "allocate", act_allocate, RANGE(0, 2 * FILE_PAGES), 0 },
	{ "truncate up", act_ftruncate, 2 * FILE_SIZE, 0 },
	{ "truncate to the same size", act_ftruncate, FILE_SIZE, 0 },
	{ "zero range behind the end", act_zero_behind, RANGE(FILE_PAGES, 4), 0 },
};

TEST_F(pinfs, B4_L11_what_only_adds_minds_nothing)
{
	start_both(_metadata, self);
	for (size_t b = 0; b < ARRAY_SIZE(blockers); b++) {
		for (size_t i = 0; i < ARRAY_SIZE(additive) && !_metadata->exit_code; i++) {
			prepare(_metadata, self, blockers[b], EDGE);
			EXPECT_EQ(additive[i].ret, peer_call(&self->b, additive[i].fn, additive[i].arg)) {
				TH_LOG("%s on %s", additive[i].name, blockers[b]->name);
			}
			EXPECT_EQ(0, peer_call(&self->a, act_signals, 0)) {
				TH_LOG("%s on %s", additive[i].name, blockers[b]->name);
			}
			let_go(_metadata, self);
		}
	}
}

/* Blocks that are shared or exchanged between files would be a way round all of it. */
TEST_F(pinfs, B1_no_ioctl_takes_or_shares_blocks)
{
	struct { uint32_t reserved, donor; uint64_t orig, donor_start, len, moved; } move = { 0 };
	struct file_clone_range range = { .src_length = PAGE };
	char path[PATH_MAX], xfs[64] = { 0 };
	int to, from;

	snprintf(path, sizeof(path), "%.4000s/other", self->dir);
	ASSERT_EQ(0, make_file(path, FILE_PAGES, 3));
	from = open(path, O_RDWR | O_CLOEXEC);
	to = open(self->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, from);
	ASSERT_LE(0, to);
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	range.src_fd = from;
	move.donor = from;
	move.len = 1;
	EXPECT_EQ(-EOPNOTSUPP, ERR(ioctl(to, FICLONE, from)));
	EXPECT_EQ(-EOPNOTSUPP, ERR(ioctl(to, FICLONERANGE, &range)));
	/* EXT4_IOC_MOVE_EXT and XFS_IOC_EXCHANGE_RANGE. */
	EXPECT_EQ(-ENOTTY, ERR(ioctl(to, _IOWR('f', 15, move), &move)));
	EXPECT_EQ(-ENOTTY, ERR(ioctl(to, _IOC(_IOC_WRITE, 'X', 129, 40), xfs)));
	EXPECT_TRUE(file_is(self->path, NULL));
	close(from);
	close(to);
}

/* ---- what takes the name away ---- */

static void beside(const struct actor *a, char *path)
{
	snprintf(path, PATH_MAX, "%.4080s.new", a->path);
}

static long act_rename_over(struct actor *a, long unused)
{
	char path[PATH_MAX];
	long ret;

	(void)unused;
	beside(a, path);
	ret = make_file(path, 1, 1);
	return ret ? ret : ERR(rename(path, a->path));
}

static long act_exchange(struct actor *a, long unused)
{
	char path[PATH_MAX];
	long ret;

	(void)unused;
	beside(a, path);
	ret = make_file(path, 1, 1);
	return ret ? ret : ERR(renameat2(AT_FDCWD, path, AT_FDCWD, a->path, RENAME_EXCHANGE));
}

static const struct {
	const char *name;
	act_fn fn;
} removals[] = {
	{ "unlink", act_unlink },
	{ "rename over", act_rename_over },
	{ "exchange", act_exchange },
};

/* At once, and with no word to anybody; what is open of the file is what it was. */
TEST_F(pinfs, B8_B13_every_way_to_take_the_name)
{
	char path[PATH_MAX], *want = malloc(MOST), *have = malloc(MOST);

	ASSERT_TRUE(want && have);
	image(want, NULL);
	start_both(_metadata, self);
	beside(&self->me, path);
	for (size_t b = 0; b < ARRAY_SIZE(blockers); b++) {
		for (size_t i = 0; i < ARRAY_SIZE(removals) && !_metadata->exit_code; i++) {
			long before, begin;
			int fd;

			prepare(_metadata, self, blockers[b], EDGE);
			before = blocks_free_at_rest(self->dir);
			fd = open(self->path, O_RDWR | O_CLOEXEC);
			ASSERT_LE(0, fd);
			begin = now_ms();
			EXPECT_EQ(0, peer_call(&self->b, removals[i].fn, 0)) {
				TH_LOG("%s with %s", removals[i].name, blockers[b]->name);
			}
			EXPECT_GE(scaled_ms(PROMPT_MS), now_ms() - begin);
			EXPECT_EQ(0, peer_call(&self->a, act_signals, 0));
			EXPECT_EQ(FILE_SIZE, ERR(pread(fd, have, MOST, 0)));
			EXPECT_EQ(0, memcmp(want, have, FILE_SIZE));
			/* It is the file that is leased or pinned, not its name. */
			if (blockers[b]->answer)
				EXPECT_EQ(blockers[b]->answer, ERR(ftruncate(fd, 0)));
			close(fd);
			ASSERT_EQ(0, peer_call(&self->a, act_let_go, 0));
			ASSERT_EQ(0, peer_call(&self->b, act_let_go, 0));
			unlink(self->path);
			unlink(path);
			EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= before + FILE_PAGES, 2000)) {
				TH_LOG("%s with %s: %ld blocks free before, %ld after",
				       removals[i].name, blockers[b]->name, before,
				       blocks_free(self->dir));
			}
		}
	}
	free(want);
	free(have);
}

/* Names change places; leases and pins go with the file, and are told under its new name. */
TEST_F(pinfs, B8_exchange_of_a_pinned_file_takes_its_pins_along)
{
	struct pin_line line;
	char path[PATH_MAX], id[64];

	start_both(_metadata, self);
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, peer_call(&self->a, act_exchange, 0));
	beside(&self->me, path);
	EXPECT_EQ(PAGE, act_stat_size(&self->me, 0));
	EXPECT_TRUE(file_is(path, NULL));
	ASSERT_EQ(1, pins_of(id, &line, 1, NULL, 0));
	EXPECT_STREQ(path, line.path);
	/* The other file is free under the old name. */
	EXPECT_EQ(0, peer_call(&self->a, act_truncate, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_unlink, 0));
	EXPECT_EQ(0, ERR(rename(path, self->path)));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_truncate, 0));
	EXPECT_EQ(FILE_SIZE, act_stat_size(&self->me, 0));
}

/* A file that never had a name, with pins that outlive it. */
TEST_F(pinfs, B8_close_of_a_pinned_tmpfile)
{
	long before, with;

	ASSERT_EQ(0, ERR(unlink(self->path)));
	before = blocks_free_at_rest(self->dir);
	self->me.fd = open(self->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ASSERT_LE(0, self->me.fd);
	ASSERT_EQ(0, act_ftruncate(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	for (long page = 0; page < FILE_PAGES; page++)
		ASSERT_EQ(0, act_store_page(&self->me, page));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	ASSERT_EQ(0, act_pin(&self->me, 0));
	EXPECT_EQ(0, act_close(&self->me, 0));
	EXPECT_EQ(0, act_unmap(&self->me, 0));
	with = blocks_free(self->dir);
	EXPECT_LE(with + FILE_PAGES, before) {
		TH_LOG("pinned blocks count as free");
	}
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= before, 2000)) {
		TH_LOG("%ld blocks were free, %ld with the pins, %ld are after them", before, with,
		       blocks_free(self->dir));
	}
}

TEST_HARNESS_MAIN
