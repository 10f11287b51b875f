// SPDX-License-Identifier: GPL-2.0
/*
 * Everything at once, for a while: rows M1, M2 and M4.  Each file stamps what
 * it holds with a number of its own, and nobody may ever see another's stamp.
 *
 * PINFS_TORTURE_SECS says for how long, for each case; the default is short.
 * PINFS_SEED repeats a run as far as its random numbers go.
 */
#include "kselftest_harness.h"

#include "pinfs_test.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>

#define FILES		4
#define BLOCKS		96L
#define BYTES		(BLOCKS * PAGE)
#define WORDS		(PAGE / sizeof(uint64_t))
/* The upper half says whose it is, the lower half is whatever. */
#define STAMP(owner, n)	((uint64_t)(owner) << 32 | (uint32_t)(n))
#define OWNER(word)	((unsigned int)((word) >> 32))
/* What a device or a disk brings, and no file of the storm has. */
#define DEVICE		0x0de71ceUL
#define LIMIT		36000

struct storm {
	char dir[PATH_MAX];
	unsigned int seed;
	long end;
	atomic_int wrong;
	atomic_long reads, writes, removals, pins;
	char why[256];
};

struct worker {
	struct storm *storm;
	pthread_t thread;
	unsigned int seed;
};

static long seconds(void)
{
	const char *secs = getenv("PINFS_TORTURE_SECS");

	return secs ? atol(secs) : 6;
}

static void storm_init(struct storm *s, const char *dir)
{
	const char *seed = getenv("PINFS_SEED");

	memset(s, 0, sizeof(*s));
	snprintf(s->dir, sizeof(s->dir), "%s", dir);
	s->seed = seed ? strtoul(seed, NULL, 0) : (unsigned int)now_ms();
	s->end = now_ms() + seconds() * 1000;
	printf("# seed %u, %ld s\n", s->seed, seconds());
}

static bool goes_on(struct storm *s)
{
	say_it_goes_on();
	return !atomic_load(&s->wrong) && now_ms() < s->end;
}

static void *complain(struct storm *s, const char *what, long a, long b)
{
	if (!atomic_exchange(&s->wrong, 1))
		snprintf(s->why, sizeof(s->why), "%s: %ld, %ld", what, a, b);
	return NULL;
}

static unsigned int draw(struct worker *w, unsigned int below)
{
	return rand_r(&w->seed) % below;
}

static int open_file(struct storm *s, long file)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.4000s/storm-%ld", s->dir, file);
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

/* A block is of its file, or of nobody: zeroes.  Writers may be half done. */
static bool is_of(const uint64_t *block, unsigned int owner, long words)
{
	for (long i = 0; i < words; i++)
		if (block[i] && OWNER(block[i]) != owner)
			return false;
	return true;
}

static void stamp(uint64_t *block, unsigned int owner, unsigned int n)
{
	for (size_t i = 0; i < WORDS; i++)
		block[i] = STAMP(owner, n);
}

/* Stores to and loads from a mapping may find that the file has become shorter. */
static __thread sigjmp_buf past_the_end;

static void on_sigbus(int signo)
{
	(void)signo;
	siglongjmp(past_the_end, 1);
}

static void catch_sigbus(void)
{
	struct sigaction action = { .sa_handler = on_sigbus, .sa_flags = SA_NODEFER };

	sigaction(SIGBUS, &action, NULL);
}

static void *use_by_calls(void *arg)
{
	struct worker *w = arg;
	struct storm *s = w->storm;
	uint64_t block[WORDS];

	while (goes_on(s)) {
		unsigned int file = 1 + draw(w, FILES);
		int fd = open_file(s, file);

		if (fd < 0)
			return complain(s, "open", errno, 0);
		for (int i = 0; i < 32 && goes_on(s); i++) {
			long at = draw(w, BLOCKS) * PAGE, ret;

			if (draw(w, 2)) {
				stamp(block, file, rand_r(&w->seed));
				ret = ERR(pwrite(fd, block, PAGE, at));
				if (ret != PAGE)
					return complain(s, "write", ret, at);
				atomic_fetch_add(&s->writes, 1);
				continue;
			}
			ret = ERR(pread(fd, block, PAGE, at));
			if (ret < 0)
				return complain(s, "read", ret, at);
			if (!is_of(block, file, ret / 8))
				return complain(s, "read found another file's block", file, at);
			atomic_fetch_add(&s->reads, 1);
		}
		close(fd);
	}
	return NULL;
}

static void *use_by_mapping(void *arg)
{
	struct worker *w = arg;
	struct storm *s = w->storm;

	while (goes_on(s)) {
		unsigned int file = 1 + draw(w, FILES);
		int fd = open_file(s, file);
		uint64_t *map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		close(fd);
		if (map == MAP_FAILED)
			return complain(s, "mmap", errno, 0);
		for (volatile int i = 0; i < 32 && goes_on(s); i++) {
			uint64_t *block = map + draw(w, BLOCKS) * WORDS;

			if (sigsetjmp(past_the_end, 0))
				continue;
			if (draw(w, 2)) {
				stamp(block, file, rand_r(&w->seed));
				atomic_fetch_add(&s->writes, 1);
			} else if (!is_of(block, file, WORDS)) {
				return complain(s, "mapping shows another file's block", file,
						(block - map) * 8);
			} else {
				atomic_fetch_add(&s->reads, 1);
			}
		}
		munmap(map, BYTES);
	}
	return NULL;
}

static void *take_away(void *arg)
{
	struct worker *w = arg;
	struct storm *s = w->storm;

	while (goes_on(s)) {
		unsigned int file = 1 + draw(w, FILES);
		int fd = open_file(s, file);
		long at = draw(w, BLOCKS) * PAGE, ret;
		char path[PATH_MAX];

		switch (draw(w, 7)) {
		case 5:
		case 6:
			/* The file may be shorter by then. */
			ret = ERR(fallocate(fd, draw(w, 2) ? FALLOC_FL_COLLAPSE_RANGE :
					    FALLOC_FL_INSERT_RANGE, at, (1 + draw(w, 8)) * PAGE));
			if (ret == -EINVAL)
				ret = 0;
			break;
		case 0:
			ret = ERR(ftruncate(fd, at));
			break;
		case 1:
			ret = ERR(ftruncate(fd, BYTES));
			break;
		case 2:
			ret = ERR(fallocate(fd, FALLOC_FL_KEEP_SIZE, at, 8 * PAGE));
			break;
		case 3:
			snprintf(path, sizeof(path), "%.4000s/storm-%u", s->dir, file);
			ret = ERR(unlink(path));
			/* Somebody else was first. */
			if (ret == -ENOENT)
				ret = 0;
			break;
		default:
			ret = ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
					    (1 + draw(w, 8)) * PAGE));
		}
		close(fd);
		if (ret)
			return complain(s, "removal", ret, at);
		atomic_fetch_add(&s->removals, 1);
	}
	return NULL;
}

/*
 * A device: it writes and reads a file's pages through pins, with and without
 * a name of the file.
 */
static void *use_by_pins(void *arg)
{
	struct worker *w = arg;
	struct storm *s = w->storm;
	int bounce = memfd_create("bounce", MFD_CLOEXEC);
	uint64_t *seen = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			      -1, 0);
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.4000s/pinned-%u", s->dir, w->seed);
	while (goes_on(s)) {
		struct actor a;
		long ret;

		act_init(&a, path);
		ret = make_file(path, BLOCKS, 1);
		if (!ret)
			ret = act_hold(&a, EXCLUSIVE);
		if (ret)
			return complain(s, "a pin", ret, 0);
		if (draw(w, 2))
			unlink(path);
		for (int i = 0; i < 4 && goes_on(s); i++) {
			unsigned int n = rand_r(&w->seed);

			for (long b = 0; b < BLOCKS; b++)
				stamp(seen + b * WORDS, DEVICE, n);
			if (pwrite(bounce, seen, BYTES, 0) != BYTES ||
			    ring_read_fixed(&a.ring[0], bounce, a.map, BYTES) != BYTES)
				return complain(s, "a device's write", errno, 0);
			nap_ms(draw(w, 20));
			if (ring_write_fixed(&a.ring[0], bounce, a.map, BYTES) != BYTES ||
			    pread(bounce, seen, BYTES, 0) != BYTES)
				return complain(s, "a device's read", errno, 0);
			for (size_t word = 0; word < BYTES / 8; word++)
				if (seen[word] != STAMP(DEVICE, n))
					return complain(s, "a device reads what it did not write",
							word, OWNER(seen[word]));
			atomic_fetch_add(&s->pins, 1);
		}
		act_fini(&a);
		unlink(path);
	}
	close(bounce);
	munmap(seen, BYTES);
	return NULL;
}

static void run(struct __test_metadata *_metadata, struct storm *s, void *(*const *bodies)(void *),
		size_t n)
{
	struct worker workers[16];

	ASSERT_GE(ARRAY_SIZE(workers), n);
	for (size_t i = 0; i < n; i++) {
		workers[i] = (struct worker){ .storm = s, .seed = s->seed + i };
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, bodies[i], &workers[i]));
	}
	for (size_t i = 0; i < n; i++)
		pthread_join(workers[i].thread, NULL);
	EXPECT_EQ(0, atomic_load(&s->wrong)) {
		TH_LOG("seed %u: %s", s->seed, s->why);
	}
}

TEST_F_TIMEOUT(pinfs, M2_M1_nobody_sees_another_files_blocks, LIMIT)
{
	static void *(*const bodies[])(void *) = {
		use_by_calls, use_by_calls, use_by_mapping, use_by_mapping, take_away, take_away,
		use_by_pins,
	};
	struct storm *s = malloc(sizeof(*s));

	ASSERT_NE(NULL, s);
	catch_sigbus();
	storm_init(s, self->dir);
	run(_metadata, s, bodies, ARRAY_SIZE(bodies));
	printf("# %ld reads, %ld writes, %ld removals, %ld rounds of a device\n",
	       atomic_load(&s->reads), atomic_load(&s->writes), atomic_load(&s->removals),
	       atomic_load(&s->pins));
	/* It has been a test of something. */
	EXPECT_LT(0, atomic_load(&s->reads));
	EXPECT_LT(0, atomic_load(&s->writes));
	EXPECT_LT(0, atomic_load(&s->removals));
	EXPECT_LT(0, atomic_load(&s->pins));
	free(s);
}

/* ---- get_user_pages_fast() against truncate ---- */

/* Direct I/O into the mapping of a file that is cut off and grown all the time. */
static void *read_into_mapping(void *arg)
{
	struct worker *w = arg;
	struct storm *s = w->storm;
	char name[] = "/var/tmp/pinfs-torture.XXXXXX";
	int fd = open_file(s, 1), disk = disk_file(name);
	uint64_t *map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint64_t *buf = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);

	for (long b = 0; b < BLOCKS; b++)
		stamp(buf + b * WORDS, DEVICE, b);
	if (disk < 0 || map == MAP_FAILED || pwrite(disk, buf, BYTES, 0) != BYTES)
		return complain(s, "no disk to read from", errno, 0);
	while (goes_on(s)) {
		long first = draw(w, BLOCKS / 2), ret;

		/* Behind the end of the file there is no page to read into. */
		ret = ERR(pread(disk, map + first * WORDS, BYTES / 2, 0));
		if (ret < 0 && ret != -EFAULT)
			return complain(s, "direct read", ret, first);
		atomic_fetch_add(&s->reads, ret > 0);
	}
	munmap(map, BYTES);
	munmap(buf, BYTES);
	close(disk);
	close(fd);
	return NULL;
}

/* Gives the blocks to another file as soon as they are free, and looks at them there. */
static void *cut_off_and_reuse(void *arg)
{
	struct worker *w = arg;
	struct storm *s = w->storm;
	int from = open_file(s, 1), to = open_file(s, 2);
	uint64_t block[WORDS];

	while (goes_on(s)) {
		long ret = ERR(ftruncate(from, 0));

		for (long b = 0; !ret && b < BLOCKS; b++) {
			stamp(block, 2, b);
			ret = ERR(pwrite(to, block, PAGE, b * PAGE));
			ret = ret == PAGE ? 0 : -EIO;
		}
		nap_ms(draw(w, 5));
		for (long b = 0; !ret && b < BLOCKS; b++) {
			ret = ERR(pread(to, block, PAGE, b * PAGE));
			ret = ret == PAGE ? 0 : -EIO;
			if (!ret && block[0] != STAMP(2, b))
				return complain(s, "a read reached a freed block", b, OWNER(block[0]));
			if (!ret && !is_of(block, 2, WORDS))
				return complain(s, "a read reached part of a freed block", b, 0);
		}
		if (!ret)
			ret = ERR(ftruncate(to, 0));
		if (!ret)
			ret = ERR(ftruncate(from, BYTES));
		if (ret)
			return complain(s, "a step", ret, 0);
		atomic_fetch_add(&s->removals, 1);
		nap_ms(draw(w, 10));
	}
	close(from);
	close(to);
	return NULL;
}

TEST_F_TIMEOUT(pinfs, M4_direct_IO_into_a_mapping_against_truncate, LIMIT)
{
	static void *(*const bodies[])(void *) = {
		read_into_mapping, read_into_mapping, cut_off_and_reuse,
	};
	struct storm *s = malloc(sizeof(*s));

	ASSERT_NE(NULL, s);
	storm_init(s, self->dir);
	run(_metadata, s, bodies, ARRAY_SIZE(bodies));
	printf("# %ld reads into the mapping, %ld truncates\n", atomic_load(&s->reads),
	       atomic_load(&s->removals));
	EXPECT_LT(0, atomic_load(&s->reads));
	EXPECT_LT(0, atomic_load(&s->removals));
	free(s);
}

TEST_HARNESS_MAIN
