// SPDX-License-Identifier: GPL-2.0
/* The file system itself: rows S1, S2, S5, M3 and M5. */
#include "fs_test.h"

#include <dirent.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/time.h>

#ifndef STATX_ATTR_DAX
#define STATX_ATTR_DAX	0x00200000
#endif
/* ---- read and write ---- */

TEST_F(pinfs, S2_unaligned_reads_and_writes)
{
	static char model[10 * 4096], buf[10 * 4096];
	unsigned int rnd = 1;

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, 0));
	ASSERT_EQ(0, act_ftruncate(&self->me, sizeof(model)));
	for (int i = 0; i < 300; i++) {
		size_t off, len;

		rnd = rnd * 1103515245 + 12345;
		off = (rnd >> 8) % sizeof(model);
		rnd = rnd * 1103515245 + 12345;
		len = (rnd >> 8) % (sizeof(model) - off) % 9000 + 1;
		if (off + len > sizeof(model))
			len = sizeof(model) - off;
		memset(buf, i + 1, len);
		memcpy(model + off, buf, len);
		ASSERT_EQ((ssize_t)len, pwrite(self->me.fd, buf, len, off));
		rnd = rnd * 1103515245 + 12345;
		off = (rnd >> 8) % sizeof(model);
		len = sizeof(model) - off;
		ASSERT_EQ((ssize_t)len, pread(self->me.fd, buf, sizeof(buf), off));
		ASSERT_EQ(0, memcmp(buf, model + off, len)) {
			TH_LOG("round %d, from offset %zu", i, off);
		}
	}
}

TEST_F(pinfs, S2_holes_read_as_zeroes)
{
	char buf[8 * 4096];

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, 0));
	ASSERT_EQ(1, pwrite(self->me.fd, "x", 1, 5 * PAGE + 7));
	EXPECT_EQ(5 * PAGE + 8, act_stat_size(&self->me, 0));
	ASSERT_EQ(5 * PAGE + 8, pread(self->me.fd, buf, sizeof(buf), 0));
	EXPECT_TRUE(all_zero(buf, 5 * PAGE + 7));
	EXPECT_EQ('x', buf[5 * PAGE + 7]);
	EXPECT_GE(2 * PAGE / 512, blocks_of(self->path));
	EXPECT_LT(0, blocks_of(self->path));
}

TEST_F(pinfs, S2_sparse_to_large_offsets)
{
	static const long offsets[] = {
		1L << 31, (1L << 32) - 2, (1L << 32) + 8, (1L << 40) + 123, (1L << 43) + 4095,
	};
	char buf[16];

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		snprintf(buf, sizeof(buf), "at %zu", i);
		ASSERT_EQ(4, ERR(pwrite(self->me.fd, buf, 4, offsets[i]))) {
			TH_LOG("offset %#lx", offsets[i]);
		}
		EXPECT_EQ(offsets[i] + 4, act_stat_size(&self->me, 0));
	}
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		ASSERT_EQ(4, pread(self->me.fd, buf, 4, offsets[i]));
		EXPECT_EQ('0' + (int)i, buf[3]);
		EXPECT_EQ(0, act_read_byte(&self->me, offsets[i] - 1));
	}
	EXPECT_GE((FILE_PAGES + 64) * PAGE / 512, blocks_of(self->path));
	EXPECT_EQ(-EINVAL, ERR(pwrite(self->me.fd, "x", 1, -1)));
	EXPECT_EQ(0, act_ftruncate(&self->me, 0));
	EXPECT_EQ(0, blocks_of(self->path));
}

/* A mapping of the last page shows zeroes behind the new end. */
TEST_F(pinfs, S2_truncate_zeroes_the_mapped_tail)
{
	char *map;
	int fd;

	fd = open(self->path, O_RDWR | O_CREAT, 0644);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, 2 * PAGE));
	map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	memset(map, 'a', 2 * PAGE);
	ASSERT_EQ(0, ftruncate(fd, 100));
	EXPECT_EQ('a', map[99]);
	EXPECT_TRUE(all_zero(map + 100, PAGE - 100));
	/* What is stored there does not become part of the file later. */
	map[200] = 'b';
	ASSERT_EQ(0, ftruncate(fd, PAGE));
	EXPECT_EQ(0, map[200]);
	munmap(map, 2 * PAGE);
	close(fd);
}

TEST_F(pinfs, S2_append)
{
	int one, two;
	char buf[8];

	one = open(in_dir(self, "log"), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
	two = open(in_dir(self, "log"), O_RDWR | O_APPEND | O_CLOEXEC);
	ASSERT_LE(0, one);
	ASSERT_LE(0, two);
	EXPECT_EQ(2, write(one, "ab", 2));
	EXPECT_EQ(2, write(two, "cd", 2));
	EXPECT_EQ(2, write(one, "ef", 2));
	ASSERT_EQ(6, pread(two, buf, sizeof(buf), 0));
	EXPECT_EQ(0, memcmp(buf, "abcdef", 6));
	close(one);
	close(two);
}

TEST_F(pinfs, S2_open_with_O_TRUNC)
{
	long before = blocks_free(self->dir);

	EXPECT_EQ(0, act_open_trunc(&self->me, 0));
	EXPECT_EQ(0, size_of(self->path));
	EXPECT_EQ(0, blocks_of(self->path));
	EXPECT_LE(before + FILE_PAGES, blocks_free(self->dir));
}

TEST_F(pinfs, S2_reads_past_the_end)
{
	char buf[64];

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_EQ(10, pread(self->me.fd, buf, sizeof(buf), FILE_SIZE - 10));
	EXPECT_EQ(0, pread(self->me.fd, buf, sizeof(buf), FILE_SIZE));
	EXPECT_EQ(0, pread(self->me.fd, buf, sizeof(buf), FILE_SIZE + PAGE));
}

TEST_F(pinfs, S2_truncate_down_and_up)
{
	char buf[4 * 4096];

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, PAGE + 100));
	EXPECT_EQ(PAGE + 100, act_stat_size(&self->me, 0));
	ASSERT_EQ(0, act_ftruncate(&self->me, 4 * PAGE));
	ASSERT_EQ(4 * PAGE, pread(self->me.fd, buf, sizeof(buf), 0));
	EXPECT_TRUE(filled(buf, PAGE, FILE_SEED));
	EXPECT_TRUE(all_zero(buf + PAGE + 100, 3 * PAGE - 100)) {
		TH_LOG("old bytes show behind a tail that was cut off");
	}
	EXPECT_EQ(-EINVAL, act_ftruncate(&self->me, -1));
	/* What a mapping put behind the end does not show either. */
	ASSERT_EQ(0, act_ftruncate(&self->me, 100));
	ASSERT_EQ(0, act_map(&self->me, PAGE));
	memset(self->me.map, 'z', PAGE);
	ASSERT_EQ(0, act_ftruncate(&self->me, PAGE));
	ASSERT_EQ(PAGE, pread(self->me.fd, buf, PAGE, 0));
	EXPECT_EQ('z', buf[99]);
	EXPECT_TRUE(all_zero(buf + 100, PAGE - 100));
}

/* ---- fallocate ---- */

TEST_F(pinfs, S2_fallocate_allocates_and_extends)
{
	char *buf = malloc(2 * FILE_SIZE);

	ASSERT_NE(NULL, buf);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_EQ(0, ERR(fallocate(self->me.fd, 0, PAGE + 1, 2 * FILE_SIZE - PAGE - 1)));
	EXPECT_EQ(2 * FILE_SIZE, act_stat_size(&self->me, 0));
	EXPECT_LE(2 * FILE_SIZE / 512, blocks_of(self->path));
	ASSERT_EQ(2 * FILE_SIZE, pread(self->me.fd, buf, 2 * FILE_SIZE, 0));
	EXPECT_TRUE(filled(buf, FILE_SIZE, FILE_SEED));
	EXPECT_TRUE(all_zero(buf + FILE_SIZE, FILE_SIZE));
	EXPECT_EQ(-EINVAL, ERR(fallocate(self->me.fd, 0, 0, 0)));
	free(buf);
}

TEST_F(pinfs, S2_fallocate_KEEP_SIZE)
{
	long blocks = blocks_of(self->path);

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_EQ(0, ERR(fallocate(self->me.fd, FALLOC_FL_KEEP_SIZE, FILE_SIZE, FILE_SIZE)));
	EXPECT_EQ(FILE_SIZE, act_stat_size(&self->me, 0));
	EXPECT_LE(blocks + FILE_SIZE / 512, blocks_of(self->path));
	ASSERT_EQ(0, act_ftruncate(&self->me, 2 * FILE_SIZE));
	EXPECT_EQ(0, act_read_byte(&self->me, 2 * FILE_SIZE - 1));
	EXPECT_EQ(0, act_read_byte(&self->me, FILE_SIZE));
}

TEST_F(pinfs, S2_fallocate_PUNCH_HOLE)
{
	long blocks = blocks_of(self->path), free_before = blocks_free(self->dir);
	char buf[FILE_SIZE], model[FILE_SIZE];

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	fill(model, FILE_SIZE, FILE_SEED);
	/* Whole blocks, ... */
	EXPECT_EQ(0, act_punch(&self->me, RANGE(4, 4)));
	memset(model + 4 * PAGE, 0, 4 * PAGE);
	EXPECT_EQ(blocks - 4 * PAGE / 512, blocks_of(self->path));
	EXPECT_EQ(free_before + 4, blocks_free(self->dir));
	/* ... parts of two with a whole one between, ... */
	EXPECT_EQ(0, ERR(fallocate(self->me.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   9 * PAGE + 50, 2 * PAGE)));
	memset(model + 9 * PAGE + 50, 0, 2 * PAGE);
	/* ... a part of one, ... */
	EXPECT_EQ(0, ERR(fallocate(self->me.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   13 * PAGE + 5, 10)));
	memset(model + 13 * PAGE + 5, 0, 10);
	/* ... and over the end. */
	EXPECT_EQ(0, act_punch(&self->me, RANGE(15, 100)));
	memset(model + 15 * PAGE, 0, PAGE);
	EXPECT_EQ(FILE_SIZE, act_stat_size(&self->me, 0));
	ASSERT_EQ(FILE_SIZE, pread(self->me.fd, buf, FILE_SIZE, 0));
	EXPECT_EQ(0, memcmp(buf, model, FILE_SIZE));
}

TEST_F(pinfs, S2_fallocate_ZERO_RANGE)
{
	char buf[2 * FILE_SIZE], model[FILE_SIZE];

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	fill(model, FILE_SIZE, FILE_SEED);
	EXPECT_EQ(0, ERR(fallocate(self->me.fd, FALLOC_FL_ZERO_RANGE, PAGE + 1, PAGE)));
	memset(model + PAGE + 1, 0, PAGE);
	ASSERT_EQ(FILE_SIZE, pread(self->me.fd, buf, sizeof(buf), 0));
	EXPECT_EQ(0, memcmp(buf, model, FILE_SIZE));
}

static long collapse_range(int fd, off_t off, off_t len)
{
	return ERR(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, off, len));
}

static long insert_range(int fd, off_t off, off_t len)
{
	return ERR(fallocate(fd, FALLOC_FL_INSERT_RANGE, off, len));
}

/* The size is no multiple of a block, and the pages are mapped and dirty. */
TEST_F(pinfs, S2_M1_fallocate_COLLAPSE_and_INSERT_RANGE)
{
	char buf[2 * FILE_SIZE], model[2 * FILE_SIZE] = {};
	long blocks = blocks_of(self->path), size = FILE_SIZE - 100;

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, size));
	ASSERT_EQ(0, act_map(&self->me, 2 * FILE_SIZE));
	fill(self->me.map, size, 77);
	fill(model, size, 77);

	ASSERT_EQ(0, insert_range(self->me.fd, 2 * PAGE, 3 * PAGE));
	memmove(model + 5 * PAGE, model + 2 * PAGE, size - 2 * PAGE);
	memset(model + 2 * PAGE, 0, 3 * PAGE);
	size += 3 * PAGE;
	EXPECT_EQ(blocks, blocks_of(self->path));
	ASSERT_EQ(size, pread(self->me.fd, buf, sizeof(buf), 0));
	EXPECT_EQ(0, memcmp(buf, model, size));
	EXPECT_EQ(0, memcmp(self->me.map, model, size));

	/* Over the hole and a block on either side of it. */
	self->me.map[size - 1] = model[size - 1] = 'e';
	ASSERT_EQ(0, collapse_range(self->me.fd, PAGE, 5 * PAGE));
	memmove(model + PAGE, model + 6 * PAGE, size - 6 * PAGE);
	size -= 5 * PAGE;
	EXPECT_EQ(blocks - 2 * PAGE / 512, blocks_of(self->path));
	ASSERT_EQ(size, pread(self->me.fd, buf, sizeof(buf), 0));
	EXPECT_EQ(0, memcmp(buf, model, size));
	EXPECT_EQ(0, memcmp(self->me.map, model, size));

	/* Nothing is left behind the new end. */
	ASSERT_EQ(0, act_ftruncate(&self->me, 2 * FILE_SIZE));
	EXPECT_TRUE(all_zero(self->me.map + size, 2 * FILE_SIZE - size));
}

/* As fallocate(2) has it, and nothing has changed after any of them. */
TEST_F(pinfs, S2_fallocate_that_cannot_be)
{
	const struct rlimit small = { 2 * FILE_SIZE, RLIM_INFINITY };
	char buf[FILE_SIZE];
	int fd, ro;

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	fd = self->me.fd;
	ro = open(self->path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, ro);
	EXPECT_EQ(-EOPNOTSUPP, ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, PAGE)));
	EXPECT_EQ(-EOPNOTSUPP, ERR(fallocate(fd, 1 << 20, 0, PAGE)));
	EXPECT_EQ(-EOPNOTSUPP, ERR(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE,
					     0, PAGE)));
	for (int i = 0; i < 2; i++) {
		long (*move)(int, off_t, off_t) = i ? insert_range : collapse_range;

		EXPECT_EQ(-EBADF, move(ro, 0, PAGE));
		EXPECT_EQ(-EINVAL, move(fd, 1, PAGE));
		EXPECT_EQ(-EINVAL, move(fd, PAGE, PAGE + 512));
		EXPECT_EQ(-EINVAL, move(fd, -PAGE, PAGE));
		EXPECT_EQ(-EINVAL, move(fd, 0, 0));
		EXPECT_EQ(-EINVAL, move(fd, FILE_SIZE, PAGE));
		EXPECT_EQ(-EINVAL, move(fd, 2 * FILE_SIZE, PAGE));
		EXPECT_EQ(-EFBIG, move(fd, PAGE, LONG_MAX - PAGE + 1));
	}
	EXPECT_EQ(-EINVAL, collapse_range(fd, 0, FILE_SIZE));
	EXPECT_EQ(-EINVAL, collapse_range(fd, PAGE, FILE_SIZE));
	EXPECT_EQ(-EFBIG, insert_range(fd, 0, LONG_MAX / PAGE * PAGE));
	ASSERT_EQ(0, ERR(setrlimit(RLIMIT_FSIZE, &small)));
	ASSERT_NE(SIG_ERR, signal(SIGXFSZ, SIG_IGN));
	EXPECT_EQ(-EFBIG, insert_range(fd, 0, FILE_SIZE + PAGE));
	EXPECT_EQ(FILE_SIZE, act_stat_size(&self->me, 0));
	ASSERT_EQ(FILE_SIZE, pread(fd, buf, sizeof(buf), 0));
	EXPECT_TRUE(filled(buf, FILE_SIZE, FILE_SEED));
	close(ro);
}

/* More extents than one transaction frees, with more of them before and behind. */
TEST_F(pinfs, S2_S3_collapse_of_many_extents)
{
	const long count = 400;
	char buf[PAGE], want[PAGE];
	long free_before;

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, 0));
	for (long i = 0; i < count; i++) {
		fill(buf, PAGE, i);
		ASSERT_EQ(PAGE, pwrite(self->me.fd, buf, PAGE, 2 * i * PAGE));
	}
	free_before = blocks_free(self->dir);
	ASSERT_EQ(0, collapse_range(self->me.fd, 20 * PAGE, 600 * PAGE));
	EXPECT_LE(free_before + 300, blocks_free(self->dir));
	ASSERT_EQ((2 * count - 1 - 600) * PAGE, act_stat_size(&self->me, 0));
	for (long i = 0; i < count - 300; i++) {
		fill(want, PAGE, i < 10 ? i : i + 300);
		ASSERT_EQ(PAGE, pread(self->me.fd, buf, PAGE, 2 * i * PAGE));
		ASSERT_EQ(0, memcmp(buf, want, PAGE)) {
			TH_LOG("block %ld", 2 * i);
		}
	}
	/* And a hole in the middle, which moves as many. */
	ASSERT_EQ(0, insert_range(self->me.fd, 20 * PAGE, 600 * PAGE));
	fill(want, PAGE, count - 1);
	ASSERT_EQ(PAGE, pread(self->me.fd, buf, PAGE, 2 * (count - 1) * PAGE));
	EXPECT_EQ(0, memcmp(buf, want, PAGE));
}

/* ---- mappings ---- */

TEST_F(pinfs, S2_shared_mappings_and_read_write_agree)
{
	char buf[PAGE];

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	EXPECT_TRUE(filled(self->me.map, FILE_SIZE, FILE_SEED));
	for (int i = 0; i < FILE_PAGES; i++) {
		EXPECT_EQ(0, act_store_page(&self->me, i));
		ASSERT_EQ(PAGE, pread(self->me.fd, buf, PAGE, i * PAGE));
		EXPECT_TRUE(filled(buf, PAGE, i));
		fill(buf, PAGE, 100 + i);
		ASSERT_EQ(PAGE, pwrite(self->me.fd, buf, PAGE, i * PAGE));
		EXPECT_TRUE(filled(self->me.map + i * PAGE, PAGE, 100 + i));
	}
	EXPECT_EQ(0, ERR(msync(self->me.map, FILE_SIZE, MS_SYNC)));
	EXPECT_EQ(0, ERR(fsync(self->me.fd)));
	EXPECT_EQ(0, ERR(fdatasync(self->me.fd)));
}

TEST_F(pinfs, S2_stores_into_holes)
{
	char buf[PAGE];

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, 0));
	ASSERT_EQ(0, act_ftruncate(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	/* Read first, so that a page of zeroes is there to be replaced. */
	EXPECT_TRUE(all_zero(self->me.map, FILE_SIZE));
	EXPECT_EQ(0, act_store_page(&self->me, 3));
	ASSERT_EQ(PAGE, pread(self->me.fd, buf, PAGE, 3 * PAGE));
	EXPECT_TRUE(filled(buf, PAGE, 3));
	EXPECT_TRUE(all_zero(self->me.map, 3 * PAGE));
	EXPECT_TRUE(all_zero(self->me.map + 4 * PAGE, FILE_SIZE - 4 * PAGE));
	/* A write into a hole that is mapped as zeroes shows in the mapping. */
	EXPECT_EQ(PAGE, act_write_page(&self->me, 9));
	EXPECT_TRUE(filled(self->me.map + 9 * PAGE, PAGE, 9));
}

TEST_F(pinfs, S2_private_mappings_do_not_write)
{
	char *map;

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	map = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, self->me.fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	map[0] = ~map[0];
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	EXPECT_TRUE(filled(self->me.map, FILE_SIZE, FILE_SEED));
	munmap(map, FILE_SIZE);
}

TEST_F_SIGNAL(pinfs, S2_access_beyond_the_end_is_SIGBUS, SIGBUS)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	self->me.map[FILE_SIZE - 1] = 1;
	ASSERT_EQ(0, act_ftruncate(&self->me, PAGE));
	self->me.map[0] = 1;
	remove_tree(self->dir);
	self->me.map[PAGE] = 1;
}

TEST_F(pinfs, M3_fault_after_a_punch)
{
	char buf[PAGE];

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	for (int round = 0; round < 50; round++) {
		long page = round % FILE_PAGES;

		EXPECT_EQ(0, act_store_page(&self->me, page));
		ASSERT_EQ(0, act_punch(&self->me, RANGE(page, 1)));
		ASSERT_TRUE(all_zero(self->me.map + page * PAGE, PAGE)) {
			TH_LOG("round %d: old data after a punch", round);
		}
		EXPECT_EQ(0, act_store_page(&self->me, page));
		ASSERT_EQ(PAGE, pread(self->me.fd, buf, PAGE, page * PAGE));
		ASSERT_TRUE(filled(buf, PAGE, page)) {
			TH_LOG("round %d: a store after a punch is lost", round);
		}
	}
}

static volatile bool stop_storing;

/* Stores a growing number into page 3, as fast as faults allow. */
static void *store_on_and_on(void *map)
{
	volatile unsigned long *word = (volatile unsigned long *)((char *)map + 3 * PAGE);
	unsigned long n = 0;

	while (!stop_storing)
		*word = ++n;
	return (void *)n;
}

TEST_F(pinfs, M3_stores_against_punches)
{
	pthread_t thread;
	unsigned long seen;
	void *last;

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, pthread_create(&thread, NULL, store_on_and_on, self->me.map));
	for (int i = 0; i < 300; i++) {
		ASSERT_EQ(0, act_punch(&self->me, RANGE(3, 1)));
	}
	stop_storing = true;
	ASSERT_EQ(0, pthread_join(thread, &last));
	/*
	 * The last store came after the last punch, or the punch after it: the
	 * file has the last number or zero, in the mapping and in read alike.
	 */
	ASSERT_EQ((ssize_t)sizeof(seen), pread(self->me.fd, &seen, sizeof(seen), 3 * PAGE));
	EXPECT_TRUE(seen == (unsigned long)last || seen == 0) {
		TH_LOG("expected %lu or 0, seen %lu", (unsigned long)last, seen);
	}
	EXPECT_EQ(seen, *(unsigned long *)(self->me.map + 3 * PAGE));
	*(unsigned long *)(self->me.map + 3 * PAGE) = 12345;
	ASSERT_EQ((ssize_t)sizeof(seen), pread(self->me.fd, &seen, sizeof(seen), 3 * PAGE));
	EXPECT_EQ(12345, seen);
}

TEST_F(pinfs, M5_MAP_SYNC)
{
	char *map, buf[PAGE];

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	map = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_SYNC,
		   self->me.fd, 0);
	ASSERT_NE(MAP_FAILED, map) {
		TH_LOG("MAP_SYNC: %s", strerror(errno));
	}
	EXPECT_TRUE(filled(map, FILE_SIZE, FILE_SEED));
	fill(map + 2 * PAGE, PAGE, 4);
	ASSERT_EQ(PAGE, pread(self->me.fd, buf, PAGE, 2 * PAGE));
	EXPECT_TRUE(filled(buf, PAGE, 4));
	munmap(map, FILE_SIZE);

	/* And in blocks that the fault has to allocate. */
	ASSERT_EQ(0, act_ftruncate(&self->me, 2 * FILE_SIZE));
	map = mmap(NULL, 2 * FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_SYNC,
		   self->me.fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	fill(map + FILE_SIZE, PAGE, 5);
	ASSERT_EQ(PAGE, pread(self->me.fd, buf, PAGE, FILE_SIZE));
	EXPECT_TRUE(filled(buf, PAGE, 5));
	munmap(map, 2 * FILE_SIZE);
}

/* Maps at an address that a 2 MiB page could start at. */
static char *map_aligned(int fd, long len)
{
	char *room = mmap(NULL, len + PMD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *start;

	if (room == MAP_FAILED)
		return NULL;
	start = (char *)(((unsigned long)room + PMD - 1) & ~(PMD - 1));
	start = mmap(start, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	return start == MAP_FAILED ? NULL : start;
}

TEST_F(pinfs, M5_two_mebibyte_faults)
{
	char *map;

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, 0));
	ASSERT_EQ(0, ERR(fallocate(self->me.fd, 0, 0, 2 * PMD)));
	map = map_aligned(self->me.fd, 2 * PMD);
	ASSERT_NE(NULL, map);
	EXPECT_EQ(0, huge_bytes(map, 2 * PMD));
	map[12345] = 'h';
	EXPECT_EQ(PMD, huge_bytes(map, 2 * PMD));
	EXPECT_EQ('h', act_read_byte(&self->me, 12345));
	EXPECT_EQ(0, map[PMD + 1]);
	EXPECT_EQ(2 * PMD, huge_bytes(map, 2 * PMD));
	EXPECT_TRUE(all_zero(map + PMD, PMD));
	/* A punch in the middle takes its own bytes and no more. */
	memset(map, 'm', PMD);
	ASSERT_EQ(0, act_punch(&self->me, RANGE(100, 1)));
	EXPECT_TRUE(all_zero(map + 100 * PAGE, PAGE));
	EXPECT_EQ('m', map[100 * PAGE - 1]);
	EXPECT_EQ('m', map[101 * PAGE]);
	munmap(map, 2 * PMD);
}

TEST_F(pinfs, M5_unaligned_mappings_fault_in_small_pages)
{
	char *room, *map;

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, 0));
	ASSERT_EQ(0, ERR(fallocate(self->me.fd, 0, 0, 2 * PMD)));
	room = map_aligned(self->me.fd, 2 * PMD);
	ASSERT_NE(NULL, room);
	/* One page off: file and address differ modulo 2 MiB. */
	map = mmap(room, PMD, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, self->me.fd, PAGE);
	ASSERT_NE(MAP_FAILED, map);
	map[0] = 's';
	EXPECT_EQ('s', act_read_byte(&self->me, PAGE));
	EXPECT_EQ(0, huge_bytes(map, PMD));
	munmap(room, 2 * PMD);
}

/* ---- the file system as a whole, and attributes ---- */

TEST_F(pinfs, S2_statfs)
{
	struct statfs before, with, after;

	ASSERT_EQ(0, statfs(self->dir, &before));
	if (!getenv("PINFS_ANY_FS")) {
		EXPECT_EQ(PINFS_SUPER_MAGIC, before.f_type);
	}
	EXPECT_EQ(PAGE, before.f_bsize);
	EXPECT_EQ(255, before.f_namelen);
	EXPECT_LT(before.f_bfree, before.f_blocks);
	EXPECT_LE(before.f_bavail, before.f_bfree);
	ASSERT_EQ(0, make_file(in_dir(self, "big"), 1024, 1));
	ASSERT_EQ(0, statfs(self->dir, &with));
	EXPECT_LE(before.f_bfree - 1024 - 16, with.f_bfree);
	EXPECT_GE(before.f_bfree - 1024, with.f_bfree);
	EXPECT_EQ(before.f_blocks, with.f_blocks);
	ASSERT_EQ(0, unlink(in_dir(self, "big")));
	EXPECT_TRUE(EVENTUALLY(!statfs(self->dir, &after) && after.f_bfree + 16 >= before.f_bfree,
			       1000));
	EXPECT_GE(before.f_bfree, after.f_bfree);
}

TEST_F(pinfs, S2_nothing_leaks)
{
	long before = 0;

	/* Once, so that whatever directories keep for good is there. */
	for (int round = 0; round < 3; round++) {
		if (round == 1)
			before = blocks_free(self->dir);
		ASSERT_EQ(0, mkdir(in_dir(self, "t"), 0700));
		for (int i = 0; i < 100; i++) {
			char name[32];

			snprintf(name, sizeof(name), "t/f%d", i);
			ASSERT_EQ(0, make_file(in_dir(self, name), i % 7, i));
			ASSERT_EQ(0, truncate(in_dir(self, name), i % 5 * 1000));
		}
		remove_tree(in_dir(self, "t"));
	}
	EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) == before, 1000)) {
		TH_LOG("%ld blocks were free after the first round, %ld are after the third",
		       before, blocks_free(self->dir));
	}
}

TEST_F(pinfs, S5_statx_reports_DAX)
{
	struct statx stx;

	ASSERT_EQ(0, statx(AT_FDCWD, self->path, 0, STATX_BASIC_STATS, &stx));
	EXPECT_NE(0, stx.stx_attributes & STATX_ATTR_DAX);
	EXPECT_NE(0, stx.stx_attributes_mask & STATX_ATTR_DAX);
}

TEST_F(pinfs, S2_chmod_chown_and_times)
{
	struct timespec times[2] = { { 1000000001, 123456789 }, { 2000000002, 987654321 } };
	struct timespec far[2] = { { 5000000000, 1 }, { -5, 2 } };
	struct stat st;

	EXPECT_EQ(0, ERR(chmod(self->path, 04751)));
	EXPECT_EQ(0, ERR(chown(self->path, 12, 100000)));
	EXPECT_EQ(0, ERR(utimensat(AT_FDCWD, self->path, times, 0)));
	ASSERT_EQ(0, stat(self->path, &st));
	/* chown by root keeps set-user-ID off files that others may run. */
	EXPECT_EQ(0751, st.st_mode & 0777);
	EXPECT_EQ(12, st.st_uid);
	EXPECT_EQ(100000, st.st_gid);
	EXPECT_EQ(1000000001, st.st_atim.tv_sec);
	EXPECT_EQ(123456789, st.st_atim.tv_nsec);
	EXPECT_EQ(2000000002, st.st_mtim.tv_sec);
	EXPECT_EQ(987654321, st.st_mtim.tv_nsec);
	EXPECT_EQ(0, ERR(utimensat(AT_FDCWD, self->path, far, 0)));
	ASSERT_EQ(0, stat(self->path, &st));
	EXPECT_EQ(5000000000, st.st_atim.tv_sec);
	EXPECT_EQ(-5, st.st_mtim.tv_sec);
}

static bool later(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

TEST_F(pinfs, S2_times_follow_changes)
{
	struct stat file, dir, now;

	ASSERT_EQ(0, stat(self->path, &file));
	ASSERT_EQ(0, stat(self->dir, &dir));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	/* The clock of file times ticks a few milliseconds apart. */
	EXPECT_TRUE(EVENTUALLY(act_write_page(&self->me, 0) == PAGE && !stat(self->path, &now) &&
			       later(now.st_mtim, file.st_mtim), 1000));
	EXPECT_TRUE(later(now.st_ctim, file.st_ctim));
	EXPECT_EQ(0, act_create_beside(&self->me, 0));
	ASSERT_EQ(0, stat(self->dir, &now));
	EXPECT_TRUE(later(now.st_mtim, dir.st_mtim));
	file = now;
	ASSERT_EQ(0, stat(self->path, &file));
	EXPECT_TRUE(EVENTUALLY(!chmod(self->path, 0600) && !stat(self->path, &now) &&
			       later(now.st_ctim, file.st_ctim), 1000));
	EXPECT_FALSE(later(now.st_mtim, file.st_mtim));
}

TEST_F(pinfs, S2_permissions_are_enforced)
{
	ASSERT_EQ(0, chmod(self->dir, 0755));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_become, 65534));
	EXPECT_EQ(-EACCES, peer_call(&self->a, act_open, O_RDONLY));
	EXPECT_EQ(-EACCES, peer_call(&self->a, act_unlink, 0));
	EXPECT_EQ(-EACCES, peer_call(&self->a, act_create_beside, 0));
	ASSERT_EQ(0, chmod(self->path, 0644));
	EXPECT_EQ(0, peer_call(&self->a, act_open, O_RDONLY));
	EXPECT_EQ(-EACCES, peer_call(&self->a, act_truncate, 0));
}

TEST_F_TIMEOUT(pinfs, S2_full_device, 180)
{
	long before = blocks_free(self->dir), end = 0, ret;
	char buf[PAGE], name[32];
	int fd, made;

	fd = open(in_dir(self, "all"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	ASSERT_LE(0, fd);
	for (long step = 64 * MIB; step >= PAGE; step /= 4)
		while (!(ret = ERR(fallocate(fd, 0, end, step))))
			end += step;
	EXPECT_EQ(-ENOSPC, ret);
	EXPECT_LT(before / 2 * PAGE, end);

	/* No data block is left: writes say so, and change nothing. */
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	memset(buf, 'f', sizeof(buf));
	ret = 0;
	for (long at = FILE_SIZE; ret >= 0 && at < FILE_SIZE + MIB; at += PAGE)
		ret = ERR(pwrite(self->me.fd, buf, PAGE, at));
	EXPECT_EQ(-ENOSPC, ret);
	ret = 0;
	for (made = 0; !ret && made < 20000; made++) {
		snprintf(name, sizeof(name), "full%d", made);
		ret = ERR(mkdir(in_dir(self, name), 0700));
	}
	EXPECT_EQ(-ENOSPC, ret);
	/* Nothing that was there is harmed, and old blocks can be written. */
	EXPECT_EQ(PAGE, act_write_page(&self->me, 1));
	ASSERT_EQ(PAGE, pread(self->me.fd, buf, PAGE, 0));
	EXPECT_TRUE(filled(buf, PAGE, FILE_SEED));

	/* Removing makes room again. */
	close(fd);
	ASSERT_EQ(0, unlink(in_dir(self, "all")));
	EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) > before / 2, 1000));
	EXPECT_EQ(0, make_file(in_dir(self, "again"), 256, 1));
	for (int i = 0; i < made - 1; i++) {
		snprintf(name, sizeof(name), "full%d", i);
		ASSERT_EQ(0, ERR(rmdir(in_dir(self, name))));
	}
}

TEST_HARNESS_MAIN
