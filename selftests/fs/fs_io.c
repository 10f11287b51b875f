// SPDX-License-Identifier: GPL-2.0
/* Ways to read, write and map out a file beyond read(2) and write(2). Row S2. */
#include "fs_test.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

static long read_at(int fd, void *buf, size_t len, off_t off, int flags)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	return ERR(preadv2(fd, &iov, 1, off, flags));
}

static long write_at(int fd, const void *buf, size_t len, off_t off, int flags)
{
	struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };

	return ERR(pwritev2(fd, &iov, 1, off, flags));
}

/* ---- without waiting ---- */

TEST_F(pinfs, S2_RWF_NOWAIT_reads_and_overwrites)
{
	char buf[PAGE], want[PAGE];
	int fd = open(self->path, O_RDWR | O_CLOEXEC);
	struct stat st;

	ASSERT_LE(0, fd);
	/* What is there can be read and overwritten without waiting for anything. */
	EXPECT_EQ(PAGE, read_at(fd, buf, PAGE, 0, RWF_NOWAIT));
	memset(want, 'n', PAGE);
	EXPECT_TRUE(EVENTUALLY(write_at(fd, want, PAGE, PAGE, RWF_NOWAIT) == PAGE, 1000));
	EXPECT_EQ(PAGE, read_at(fd, buf, PAGE, PAGE, 0));
	EXPECT_EQ(0, memcmp(buf, want, PAGE));
	EXPECT_EQ(0, read_at(fd, buf, PAGE, FILE_SIZE, RWF_NOWAIT));

	/* A new size and new blocks have to wait for the journal. */
	EXPECT_EQ(-EAGAIN, write_at(fd, want, PAGE, FILE_SIZE, RWF_NOWAIT));
	EXPECT_EQ(-EAGAIN, write_at(fd, want, 1, FILE_SIZE - 1 + 1, RWF_NOWAIT));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(FILE_SIZE, st.st_size);
	ASSERT_EQ(0, ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE)));
	EXPECT_EQ(-EAGAIN, write_at(fd, want, PAGE, 0, RWF_NOWAIT));
	EXPECT_EQ(PAGE, read_at(fd, buf, PAGE, 0, RWF_NOWAIT));
	EXPECT_TRUE(all_zero(buf, PAGE));
	close(fd);
}

TEST_F(pinfs, S2_RWF_APPEND_and_DSYNC)
{
	int fd = open(self->path, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, fd);
	EXPECT_EQ(3, write_at(fd, "end", 3, 0, RWF_APPEND));
	EXPECT_EQ(FILE_SIZE + 3, size_of(self->path));
	EXPECT_EQ(3, write_at(fd, "new", 3, 0, RWF_DSYNC));
	EXPECT_EQ(3, write_at(fd, "new", 3, 0, RWF_SYNC | RWF_HIPRI));
	close(fd);
}

/* ---- O_DIRECT and asynchronous I/O ---- */

TEST_F(pinfs, S2_O_DIRECT)
{
	static char buf[2 * 4096] __attribute__((aligned(4096)));
	int fd = open(self->path, O_RDWR | O_DIRECT | O_CLOEXEC);

	ASSERT_LE(0, fd);
	fill(buf, PAGE, 7);
	EXPECT_EQ(PAGE, ERR(pwrite(fd, buf, PAGE, 3 * PAGE)));
	/* DAX copies bytes, so it needs no alignment. */
	EXPECT_EQ(PAGE - 1, ERR(pread(fd, buf + 1, PAGE - 1, 3 * PAGE + 1)));
	EXPECT_TRUE(filled(buf, PAGE, 7));
	EXPECT_EQ(PAGE, ERR(pwrite(fd, buf, PAGE, FILE_SIZE)));
	EXPECT_EQ(FILE_SIZE + PAGE, size_of(self->path));
	close(fd);
}

TEST_F(pinfs, S2_io_uring_reads_and_writes)
{
	static char buf[8][4096];
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int fd = open(self->path, O_RDWR | O_CLOEXEC), ret;

	ASSERT_LE(0, fd);
	ret = io_uring_queue_init(16, &ring, 0);
	if (ret < 0)
		SKIP(return, "io_uring: %s", strerror(-ret));
	/* Beyond the end: has to be handed to a worker, not refused. */
	for (int i = 0; i < 8; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		fill(buf[i], PAGE, i);
		io_uring_prep_write(sqe, fd, buf[i], PAGE, FILE_SIZE + i * PAGE);
	}
	ASSERT_EQ(8, io_uring_submit_and_wait(&ring, 8));
	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(0, io_uring_wait_cqe(&ring, &cqe));
		EXPECT_EQ(PAGE, cqe->res);
		io_uring_cqe_seen(&ring, cqe);
	}
	EXPECT_EQ(FILE_SIZE + 8 * PAGE, size_of(self->path));
	memset(buf, 0, sizeof(buf));
	for (int i = 0; i < 8; i++)
		io_uring_prep_read(io_uring_get_sqe(&ring), fd, buf[i], PAGE, FILE_SIZE + i * PAGE);
	ASSERT_EQ(8, io_uring_submit_and_wait(&ring, 8));
	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(0, io_uring_wait_cqe(&ring, &cqe));
		EXPECT_EQ(PAGE, cqe->res);
		io_uring_cqe_seen(&ring, cqe);
	}
	for (int i = 0; i < 8; i++) {
		EXPECT_TRUE(filled(buf[i], PAGE, i));
	}
	io_uring_queue_exit(&ring);
	close(fd);
}

/* ---- copies in the kernel ---- */

TEST_F(pinfs, S2_copy_file_range_and_sendfile)
{
	static char buf[4096];
	int from = open(self->path, O_RDONLY | O_CLOEXEC);
	int to = open(in_dir(self, "copy"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	off_t in = PAGE, out = 100;

	ASSERT_LE(0, from);
	ASSERT_LE(0, to);
	ASSERT_EQ(2 * PAGE, ERR(copy_file_range(from, &in, to, &out, 2 * PAGE, 0)));
	EXPECT_EQ(3 * PAGE, in);
	EXPECT_EQ(2 * PAGE + 100, size_of(in_dir(self, "copy")));
	ASSERT_EQ(PAGE, ERR(pread(to, buf, PAGE, 100)));
	in = PAGE;
	{
		static char want[4096];

		ASSERT_EQ(PAGE, ERR(pread(from, want, PAGE, PAGE)));
		EXPECT_EQ(0, memcmp(want, buf, PAGE));
	}
	/* In one file, apart and overlapping; at the end there is nothing. */
	close(from);
	from = open(in_dir(self, "copy"), O_RDWR | O_CLOEXEC);
	in = 0, out = 4 * PAGE;
	EXPECT_EQ(PAGE, ERR(copy_file_range(from, &in, from, &out, PAGE, 0)));
	in = 0, out = 10;
	EXPECT_EQ(-EINVAL, ERR(copy_file_range(from, &in, from, &out, PAGE, 0)));
	in = 0;
	EXPECT_EQ(0, ERR(lseek(to, 0, SEEK_SET)));
	EXPECT_EQ(5 * PAGE, ERR(sendfile(to, from, &in, 100 * PAGE)));
	EXPECT_EQ(-EOPNOTSUPP, ERR(ioctl(to, FICLONE, from)));
	close(from);
	close(to);
}

/* ---- where the data is ---- */

struct map {
	struct fiemap head;
	struct fiemap_extent extents[16];
};

static long map_of(int fd, struct map *map, unsigned int flags)
{
	long ret;

	memset(map, 0, sizeof(*map));
	map->head.fm_length = FIEMAP_MAX_OFFSET;
	map->head.fm_flags = flags;
	map->head.fm_extent_count = 16;
	ret = ERR(ioctl(fd, FS_IOC_FIEMAP, &map->head));
	return ret ? ret : (long)map->head.fm_mapped_extents;
}

TEST_F(pinfs, S2_FIEMAP)
{
	struct map map;
	unsigned long long bytes = 0;
	int fd = open(in_dir(self, "map"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	static char buf[4096];
	long n;

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, map_of(fd, &map, 0));
	fill(buf, PAGE, 1);
	/* Data, a hole, an unwritten part, data in the last block. */
	ASSERT_EQ(PAGE, ERR(pwrite(fd, buf, PAGE, 0)));
	ASSERT_EQ(0, ERR(fallocate(fd, 0, 8 * PAGE, 4 * PAGE)));
	ASSERT_EQ(10, ERR(pwrite(fd, buf, 10, 20 * PAGE)));
	n = map_of(fd, &map, FIEMAP_FLAG_SYNC);
	ASSERT_EQ(3, n);
	EXPECT_EQ(0, map.extents[0].fe_logical);
	EXPECT_EQ(PAGE, map.extents[0].fe_length);
	EXPECT_NE(0, map.extents[0].fe_physical);
	EXPECT_EQ(0, map.extents[0].fe_flags);
	EXPECT_EQ(8 * PAGE, map.extents[1].fe_logical);
	EXPECT_EQ(FIEMAP_EXTENT_UNWRITTEN, map.extents[1].fe_flags);
	EXPECT_EQ(20 * PAGE, map.extents[2].fe_logical);
	EXPECT_EQ(FIEMAP_EXTENT_LAST, map.extents[2].fe_flags);
	for (int i = 0; i < n; i++)
		bytes += map.extents[i].fe_length;
	EXPECT_EQ(6 * PAGE, bytes);
	/* Flags that are not known are named. */
	EXPECT_EQ(-EBADR, map_of(fd, &map, 0x80));
	close(fd);
}

TEST_F(pinfs, S2_SEEK_agrees_with_FIEMAP)
{
	int fd = open(in_dir(self, "seek"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	ASSERT_LE(0, fd);
	ASSERT_EQ(1, ERR(pwrite(fd, "x", 1, 5 * PAGE)));
	ASSERT_EQ(0, ERR(ftruncate(fd, 1L << 60)));
	EXPECT_EQ(5 * PAGE, ERR(lseek(fd, 0, SEEK_DATA)));
	EXPECT_EQ(6 * PAGE, ERR(lseek(fd, 5 * PAGE, SEEK_HOLE)));
	EXPECT_EQ(-ENXIO, ERR(lseek(fd, 6 * PAGE, SEEK_DATA)));
	EXPECT_EQ(1L << 60, ERR(lseek(fd, 0, SEEK_END)));
	EXPECT_EQ(-ENXIO, ERR(lseek(fd, 1L << 60, SEEK_HOLE)));
	close(fd);
}

/* ---- appends ---- */

/* Appends fill new blocks, preallocated ones and the rest of the last one, and show zeroes behind. */
TEST_F(pinfs, S2_appends_of_all_lengths)
{
	static const long lengths[] = { 1, 100, PAGE - 101, PAGE, 3 * PAGE + 5, 7, 20 * PAGE, PAGE - 12 };
	static char data[32 * PAGE], buf[256 * PAGE], want[256 * PAGE];

	for (int preallocate = 0; preallocate < 2; preallocate++) {
		int fd = open(in_dir(self, "appended"), O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
		struct stat st;
		long at = 0;

		ASSERT_LE(0, fd);
		if (preallocate)
			ASSERT_EQ(0, ERR(fallocate(fd, FALLOC_FL_KEEP_SIZE, 5 * PAGE, 30 * PAGE)));
		for (size_t i = 0; i < 3 * ARRAY_SIZE(lengths); i++) {
			long len = lengths[i % ARRAY_SIZE(lengths)];

			memset(data, 'a' + (int)i, len);
			memcpy(want + at, data, len);
			ASSERT_EQ(len, ERR(write(fd, data, len)));
			at += len;
			ASSERT_EQ(0, fstat(fd, &st));
			ASSERT_EQ(at, st.st_size);
			ASSERT_EQ(at, ERR(pread(fd, buf, sizeof(buf), 0)));
			ASSERT_EQ(0, memcmp(buf, want, at));
		}
		/* What the last block had behind the end does not come to light. */
		ASSERT_EQ(0, ERR(ftruncate(fd, at + PAGE)));
		ASSERT_EQ(PAGE, ERR(pread(fd, buf, 2 * PAGE, at)));
		EXPECT_TRUE(all_zero(buf, PAGE));
		close(fd);
		unlink(in_dir(self, "appended"));
	}
}

/* An append that cannot read all it is to write keeps what it could, and no block for the rest. */
TEST_F(pinfs, S2_append_from_bad_memory)
{
	char *data = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static char buf[8 * PAGE];
	int fd = open(in_dir(self, "appended"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct stat st;

	ASSERT_LE(0, fd);
	ASSERT_NE(MAP_FAILED, data);
	memset(data, 'b', 8 * PAGE);
	ASSERT_EQ(0, mprotect(data + 2 * PAGE, PAGE, PROT_NONE));
	EXPECT_EQ(-EFAULT, ERR(write(fd, data + 2 * PAGE, PAGE)));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(0, st.st_size);
	EXPECT_EQ(2 * PAGE - 100, ERR(write(fd, data + 100, 7 * PAGE)));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(2 * PAGE - 100, st.st_size);
	EXPECT_EQ(2 * PAGE / 512, st.st_blocks);
	/* Nor can a read write it. */
	EXPECT_EQ(-EFAULT, ERR(pread(fd, data + 2 * PAGE, PAGE, 0)));
	EXPECT_EQ(PAGE, ERR(pread(fd, data + PAGE, 2 * PAGE - 100, 0)));
	EXPECT_EQ(2 * PAGE - 100, ERR(pread(fd, buf, sizeof(buf), 0)));
	for (long i = 0; i < 2 * PAGE - 100; i++)
		ASSERT_EQ('b', buf[i]);
	munmap(data, 8 * PAGE);
	close(fd);
	unlink(in_dir(self, "appended"));
}

/* ---- fallocate ---- */

static long sectors_of(const char *path)
{
	struct stat st;
	long ret = ERR(stat(path, &st));

	return ret ? ret : (long)st.st_blocks;
}

TEST_F(pinfs, S2_fallocate_ZERO_RANGE)
{
	static char buf[FILE_SIZE], want[FILE_SIZE];
	int fd = open(self->path, O_RDWR | O_CLOEXEC);
	long sectors = sectors_of(self->path);

	ASSERT_LE(0, fd);
	ASSERT_EQ(FILE_SIZE, ERR(pread(fd, want, FILE_SIZE, 0)));
	ASSERT_EQ(0, ERR(fallocate(fd, FALLOC_FL_ZERO_RANGE, 2 * PAGE - 100, PAGE + 200)));
	memset(want + 2 * PAGE - 100, 0, PAGE + 200);
	ASSERT_EQ(FILE_SIZE, ERR(pread(fd, buf, FILE_SIZE, 0)));
	EXPECT_EQ(0, memcmp(buf, want, FILE_SIZE));
	EXPECT_EQ(sectors, sectors_of(self->path));
	/* Holes in the range get blocks. */
	ASSERT_EQ(0, ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8 * PAGE)));
	ASSERT_GT(sectors, sectors_of(self->path));
	ASSERT_EQ(0, ERR(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 8 * PAGE)));
	EXPECT_EQ(sectors, sectors_of(self->path));
	/* Past the end: with the size, and without. */
	ASSERT_EQ(0, ERR(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
				   FILE_SIZE - 10, 4 * PAGE)));
	EXPECT_EQ(FILE_SIZE, size_of(self->path));
	EXPECT_LT(sectors, sectors_of(self->path));
	ASSERT_EQ(0, ERR(fallocate(fd, FALLOC_FL_ZERO_RANGE, FILE_SIZE - 20, 2 * PAGE)));
	EXPECT_EQ(FILE_SIZE + 2 * PAGE - 20, size_of(self->path));
	ASSERT_EQ(PAGE, ERR(pread(fd, buf, PAGE, FILE_SIZE)));
	EXPECT_TRUE(all_zero(buf, PAGE));
	close(fd);
}

/* A mapping shows it at once, also where it had the zero page of a hole. */
TEST_F(pinfs, S2_ZERO_RANGE_under_a_mapping)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	EXPECT_NE(0, self->me.map[PAGE + 1] | self->me.map[PAGE + 2]);
	ASSERT_EQ(0, ERR(fallocate(self->me.fd, FALLOC_FL_ZERO_RANGE, 0, FILE_SIZE)));
	EXPECT_TRUE(all_zero(self->me.map, FILE_SIZE));
	self->me.map[5 * PAGE] = 'm';
	EXPECT_EQ('m', act_read_byte(&self->me, 5 * PAGE));
}

/* Fault F4: whole blocks are kept and become unwritten, and only what is left of others is zeroed. */
TEST_F(pinfs, S2_ZERO_RANGE_makes_whole_blocks_unwritten)
{
	static char buf[FILE_SIZE], want[FILE_SIZE];
	int fd = open(self->path, O_RDWR | O_CLOEXEC);
	unsigned long long first;
	struct map map;

	ASSERT_LE(0, fd);
	ASSERT_EQ(FILE_SIZE, ERR(pread(fd, want, FILE_SIZE, 0)));
	ASSERT_EQ(1, map_of(fd, &map, 0));
	first = map.extents[0].fe_physical;
	ASSERT_EQ(0, ERR(fallocate(fd, FALLOC_FL_ZERO_RANGE, 3 * PAGE - 10, 2 * PAGE + 20)));
	memset(want + 3 * PAGE - 10, 0, 2 * PAGE + 20);
	ASSERT_EQ(3, map_of(fd, &map, 0));
	EXPECT_EQ(0, map.extents[0].fe_flags);
	EXPECT_EQ(3 * PAGE, map.extents[1].fe_logical);
	EXPECT_EQ(2 * PAGE, map.extents[1].fe_length);
	EXPECT_EQ(FIEMAP_EXTENT_UNWRITTEN, map.extents[1].fe_flags);
	EXPECT_EQ(first + 3 * PAGE, map.extents[1].fe_physical);
	EXPECT_EQ(5 * PAGE, map.extents[2].fe_logical);
	EXPECT_EQ(FIEMAP_EXTENT_LAST, map.extents[2].fe_flags);
	ASSERT_EQ(FILE_SIZE, ERR(pread(fd, buf, FILE_SIZE, 0)));
	EXPECT_EQ(0, memcmp(buf, want, FILE_SIZE));

	/* Within a block nothing is marked. */
	ASSERT_EQ(0, ERR(fallocate(fd, FALLOC_FL_ZERO_RANGE, 7 * PAGE + 1, 100)));
	memset(want + 7 * PAGE + 1, 0, 100);
	EXPECT_EQ(3, map_of(fd, &map, 0));

	/* What is written then is there, with zeroes beside it, and it is one extent again. */
	ASSERT_EQ(5, ERR(pwrite(fd, "again", 5, 3 * PAGE + 7)));
	memcpy(want + 3 * PAGE + 7, "again", 5);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	self->me.map[5 * PAGE - 1] = 'm';
	want[5 * PAGE - 1] = 'm';
	ASSERT_EQ(FILE_SIZE, ERR(pread(fd, buf, FILE_SIZE, 0)));
	EXPECT_EQ(0, memcmp(buf, want, FILE_SIZE));
	EXPECT_EQ(1, map_of(fd, &map, 0));
	close(fd);
}

/* It takes no longer for more: in pages of 2 MiB that are mapped, too. */
TEST_F_TIMEOUT(pinfs, S2_ZERO_RANGE_of_many_blocks_takes_no_longer, 120)
{
	const long len = 64 << 20;
	char *big = strdup(in_dir(self, "big"));
	long ns[2] = { LONG_MAX, LONG_MAX };
	struct map map;
	char *data;
	int fd;

	ASSERT_EQ(0, make_file(big, len / PAGE, 1));
	fd = open(big, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	data = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, data);
	for (int i = 0; i < 6; i++) {
		struct timespec begin, end;
		long took, part = i % 2 ? len : PAGE;

		if (i % 2)
			ASSERT_EQ(0, make_file(big, len / PAGE, 1));
		data[0] = data[len / 2] = 'x';
		clock_gettime(CLOCK_MONOTONIC, &begin);
		ASSERT_EQ(0, ERR(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, part)));
		clock_gettime(CLOCK_MONOTONIC, &end);
		took = (end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec;
		if (took < ns[i % 2])
			ns[i % 2] = took;
		EXPECT_EQ(0, data[0]);
		if (i % 2)
			EXPECT_EQ(0, data[len / 2]);
	}
	EXPECT_LE(1, map_of(fd, &map, 0));
	EXPECT_GT(20 * ns[0], ns[1]) {
		TH_LOG("a block: %ld ns, 64 MiB: %ld ns", ns[0], ns[1]);
	}
	munmap(data, len);
	close(fd);
	unlink(big);
	free(big);
}

/* Behind the end: blocks that a file has there become unwritten, too, and its size stays or grows. */
TEST_F(pinfs, S2_ZERO_RANGE_around_the_end)
{
	int fd = open(self->path, O_RDWR | O_CLOEXEC);
	static char buf[4 * PAGE];
	struct map map;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ERR(ftruncate(fd, FILE_SIZE - 100)));
	ASSERT_EQ(0, ERR(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
				   FILE_SIZE - 2 * PAGE, 4 * PAGE)));
	EXPECT_EQ(FILE_SIZE - 100, size_of(self->path));
	ASSERT_EQ(2, map_of(fd, &map, 0));
	EXPECT_EQ(FILE_SIZE - 2 * PAGE, map.extents[1].fe_logical);
	EXPECT_EQ(4 * PAGE, map.extents[1].fe_length);
	EXPECT_EQ(FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_LAST, map.extents[1].fe_flags);
	ASSERT_EQ(0, ERR(fallocate(fd, FALLOC_FL_ZERO_RANGE, FILE_SIZE - 10, PAGE)));
	EXPECT_EQ(FILE_SIZE + PAGE - 10, size_of(self->path));
	ASSERT_EQ(3 * PAGE - 10, ERR(pread(fd, buf, sizeof(buf), FILE_SIZE - 2 * PAGE)));
	EXPECT_TRUE(all_zero(buf, 3 * PAGE - 10));
	close(fd);
}

TEST_F(pinfs, S2_fallocate_refuses_what_it_does_not_know)
{
	static const int modes[] = {
		FALLOC_FL_PUNCH_HOLE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_UNSHARE_RANGE,
		FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_INSERT_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_NO_HIDE_STALE,
		0x1000,
	};
	int fd = open(self->path, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, fd);
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		long ret = ERR(fallocate(fd, modes[i], 0, PAGE));

		EXPECT_TRUE(ret == -EOPNOTSUPP || ret == -EINVAL) {
			TH_LOG("mode %#x: %ld", modes[i], ret);
		}
	}
	EXPECT_EQ(-EINVAL, ERR(fallocate(fd, 0, 0, 0)));
	EXPECT_EQ(-EFBIG, ERR(fallocate(fd, 0, LONG_MAX - 10, PAGE)));
	close(fd);
	fd = open(self->path, O_RDONLY | O_CLOEXEC);
	EXPECT_EQ(-EBADF, ERR(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, PAGE)));
	close(fd);
}

TEST_HARNESS_MAIN
