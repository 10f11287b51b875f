// SPDX-License-Identifier: GPL-2.0
/*
 * Random operations on one file, compared with a copy of it in memory. The
 * crate fsx does the same with what every system has; this one adds what
 * Linux has: collapse, insert and zero range, allocation beyond the end,
 * direct I/O, holes as lseek(2) sees them, and one shared mapping that stays
 * while the file changes under it.
 *
 *	range_ops FILE SEED COUNT [SIZE]
 *
 * SIZE is the largest size that the file gets. Prints how often each operation
 * ran. The status is 1 if the file was not what it should be, or if an operation
 * is not there; then the last operations are printed too.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096
/* Operations that are printed if something is wrong. */
#define HISTORY 24

static const char *path;
static uint64_t seed, state;
static unsigned long op_number;
static size_t max_size = 256 << 10;

/* The file as it should be: all bytes from `size` on are zero. */
static unsigned char *model;
static size_t size;

static int fd = -1, direct = -1;
static unsigned char *map, *buffer;

static char history[HISTORY][80];
static unsigned int history_next;

static void __attribute__((format(printf, 1, 2))) note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(history[history_next++ % HISTORY], sizeof(history[0]), format, args);
	va_end(args);
}

static void __attribute__((noreturn, format(printf, 1, 2))) wrong(const char *format, ...)
{
	unsigned int i, first = history_next < HISTORY ? 0 : history_next - HISTORY;
	va_list args;

	va_start(args, format);
	printf("seed %" PRIu64 ", operation %lu: ", seed, op_number);
	vprintf(format, args);
	printf("\nthe last operations were:\n");
	va_end(args);
	for (i = first; i < history_next; i++)
		printf("  %s\n", history[i % HISTORY]);
	exit(1);
}

static void check(long result, const char *what)
{
	if (result < 0)
		wrong("%s: %s", what, strerror(errno));
}

static uint64_t number(void)
{
	/* xorshift64*: the same numbers on every machine. */
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1dull;
}

static size_t below(size_t limit)
{
	return limit ? number() % limit : 0;
}

/* A range of at least one unit within the first `limit` bytes, which hold one. */
static void range(size_t limit, size_t unit, size_t *off, size_t *len)
{
	size_t units = limit / unit, most;

	*off = below(units);
	most = units - *off;
	/* Mostly small ones, as large ones soon leave nothing of the others. */
	if (below(4) && most > 16)
		most = 16;
	*len = (1 + below(most)) * unit;
	*off *= unit;
}

static void grow(size_t to)
{
	if (to > size)
		size = to;
}

/* New bytes that cannot be mistaken for those of another operation. */
static void fill(unsigned char *to, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		to[i] = (unsigned char)(op_number * 31 + i / 7 + i) | 1;
}

static void compare(const unsigned char *seen, size_t off, size_t len, const char *how)
{
	size_t i;

	if (!memcmp(seen, model + off, len))
		return;
	for (i = 0; seen[i] == model[off + i]; i++)
		;
	wrong("%s: at %zu of %zu there is %#x, not %#x", how, off + i, size, seen[i],
	      model[off + i]);
}

static void open_file(void)
{
	fd = open(path, O_RDWR);
	check(fd, "open");
	direct = open(path, O_RDWR | O_DIRECT);
	check(direct, "open for direct I/O");
	map = mmap(NULL, max_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		wrong("mmap: %s", strerror(errno));
}

static void close_file(void)
{
	check(munmap(map, max_size), "munmap");
	check(close(direct), "close");
	check(close(fd), "close");
}

static void check_size(void)
{
	struct stat st;

	check(fstat(fd, &st), "fstat");
	if ((size_t)st.st_size != size)
		wrong("the size is %lld, not %zu", (long long)st.st_size, size);
}

/* What lseek(2) calls a hole holds nothing, and its ends alternate up to the size. */
static void check_holes(void)
{
	off_t data, hole = 0;
	size_t i;

	while ((size_t)hole < size) {
		data = lseek(fd, hole, SEEK_DATA);
		if (data < 0) {
			if (errno != ENXIO)
				wrong("SEEK_DATA from %lld: %s", (long long)hole, strerror(errno));
			data = size;
		}
		if (data < hole || (size_t)data > size)
			wrong("SEEK_DATA from %lld says %lld of %zu", (long long)hole,
			      (long long)data, size);
		for (i = hole; i < (size_t)data; i++)
			if (model[i])
				wrong("SEEK_DATA has a hole from %lld to %lld, with data at %zu",
				      (long long)hole, (long long)data, i);
		if ((size_t)data == size)
			break;
		hole = lseek(fd, data, SEEK_HOLE);
		check(hole, "SEEK_HOLE");
		if (hole <= data || (size_t)hole > size)
			wrong("SEEK_HOLE from %lld says %lld of %zu", (long long)data,
			      (long long)hole, size);
	}
}

static void check_all(void)
{
	ssize_t got = pread(fd, buffer, max_size, 0);

	check(got, "read of the whole file");
	if ((size_t)got != size)
		wrong("read returned %zd, the size is %zu", got, size);
	compare(buffer, 0, size, "read of the whole file");
	compare(map, 0, size, "the whole file mapped");
	/* The rest of the last page is zero as well, as nobody has stored there. */
	compare(map + size, size, -size & (BLOCK - 1), "the last page beyond the end");
	check_holes();
}

static void do_fallocate(int mode, size_t off, size_t len, const char *what)
{
	if (fallocate(fd, mode, off, len))
		wrong("%s: %s", what, strerror(errno));
}

static void op_write(void)
{
	size_t off, len;

	range(max_size, 1 + (number() & 1) * (BLOCK - 1), &off, &len);
	note("%lu write %zu+%zu", op_number, off, len);
	fill(buffer, len);
	if (pwrite(fd, buffer, len, off) != (ssize_t)len)
		wrong("write: %s", strerror(errno));
	memcpy(model + off, buffer, len);
	grow(off + len);
}

static void op_read(void)
{
	size_t off, len;

	if (!size)
		return;
	range(size, 1, &off, &len);
	note("%lu read %zu+%zu", op_number, off, len);
	if (pread(fd, buffer, len, off) != (ssize_t)len)
		wrong("read: %s", strerror(errno));
	compare(buffer, off, len, "read");
}

static void op_direct_write(void)
{
	size_t off, len;

	range(max_size, BLOCK, &off, &len);
	note("%lu direct write %zu+%zu", op_number, off, len);
	fill(buffer, len);
	if (pwrite(direct, buffer, len, off) != (ssize_t)len)
		wrong("direct write: %s", strerror(errno));
	memcpy(model + off, buffer, len);
	grow(off + len);
}

static void op_direct_read(void)
{
	size_t off, len;

	if (size < BLOCK)
		return;
	range(size, BLOCK, &off, &len);
	note("%lu direct read %zu+%zu", op_number, off, len);
	if (pread(direct, buffer, len, off) != (ssize_t)len)
		wrong("direct read: %s", strerror(errno));
	compare(buffer, off, len, "direct read");
}

static void op_map_write(void)
{
	size_t off, len;

	if (!size)
		return;
	range(size, 1, &off, &len);
	note("%lu store %zu+%zu", op_number, off, len);
	fill(model + off, len);
	memcpy(map + off, model + off, len);
}

static void op_map_read(void)
{
	size_t off, len;

	if (!size)
		return;
	range(size, 1, &off, &len);
	note("%lu load %zu+%zu", op_number, off, len);
	compare(map + off, off, len, "load");
}

static void op_truncate(void)
{
	size_t to = below(max_size + 1);

	if (number() & 1)
		to &= ~(size_t)(BLOCK - 1);
	note("%lu truncate %zu to %zu", op_number, size, to);
	check(ftruncate(fd, to), "truncate");
	if (to < size)
		memset(model + to, 0, size - to);
	size = to;
}

static void op_allocate(void)
{
	int keep = number() & 1;
	size_t off, len;

	range(max_size, 1, &off, &len);
	note("%lu allocate %zu+%zu%s", op_number, off, len, keep ? ", size kept" : "");
	do_fallocate(keep ? FALLOC_FL_KEEP_SIZE : 0, off, len, "allocate");
	if (!keep)
		grow(off + len);
}

static void op_punch(void)
{
	size_t off, len;

	range(max_size, 1 + (number() & 1) * (BLOCK - 1), &off, &len);
	note("%lu punch %zu+%zu", op_number, off, len);
	do_fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len, "punch");
	memset(model + off, 0, len);
}

static void op_zero(void)
{
	int keep = number() & 1;
	size_t off, len;

	range(max_size, 1 + (number() & 1) * (BLOCK - 1), &off, &len);
	note("%lu zero %zu+%zu%s", op_number, off, len, keep ? ", size kept" : "");
	do_fallocate(FALLOC_FL_ZERO_RANGE | (keep ? FALLOC_FL_KEEP_SIZE : 0), off, len,
			  "zero range");
	memset(model + off, 0, len);
	if (!keep)
		grow(off + len);
}

static void op_collapse(void)
{
	size_t off, len;

	/* Up to the end it would be a truncate, which the kernel refuses. */
	if (size < BLOCK + 1)
		return;
	range(size - 1, BLOCK, &off, &len);
	note("%lu collapse %zu+%zu of %zu", op_number, off, len, size);
	do_fallocate(FALLOC_FL_COLLAPSE_RANGE, off, len, "collapse");
	memmove(model + off, model + off + len, size - off - len);
	memset(model + size - len, 0, len);
	size -= len;
}

static void op_insert(void)
{
	size_t off, len;

	if (!size || max_size - size < BLOCK)
		return;
	range(max_size - size, BLOCK, &off, &len);
	off = below(size) & ~(size_t)(BLOCK - 1);
	note("%lu insert %zu+%zu into %zu", op_number, off, len, size);
	do_fallocate(FALLOC_FL_INSERT_RANGE, off, len, "insert");
	memmove(model + off + len, model + off, size - off);
	memset(model + off, 0, len);
	size += len;
}

static void op_copy(void)
{
	size_t off, len, to;
	loff_t from_pos, to_pos;
	ssize_t done;

	if (!size)
		return;
	range(size, 1, &off, &len);
	to = below(max_size - len + 1);
	/* Overlapping ranges of one file are refused. */
	if (to < off + len && off < to + len)
		return;
	note("%lu copy %zu+%zu to %zu", op_number, off, len, to);
	from_pos = off;
	to_pos = to;
	while (len) {
		done = copy_file_range(fd, &from_pos, fd, &to_pos, len, 0);
		check(done, "copy_file_range");
		if (!done)
			wrong("copy_file_range stopped %zu bytes before its end", len);
		memcpy(model + to, model + off, done);
		off += done;
		to += done;
		len -= done;
		grow(to);
	}
}

static void op_sync(void)
{
	note("%lu sync", op_number);
	switch (below(3)) {
	case 0:
		check(fsync(fd), "fsync");
		break;
	case 1:
		check(fdatasync(fd), "fdatasync");
		break;
	default:
		check(msync(map, max_size, MS_SYNC), "msync");
	}
}

static void op_reopen(void)
{
	note("%lu close and open", op_number);
	close_file();
	open_file();
	check_all();
}

static struct operation {
	const char *name;
	void (*run)(void);
	unsigned int weight;
	unsigned long count;
} operations[] = {
	{ .name = "write", .run = op_write, .weight = 12 },
	{ .name = "read", .run = op_read, .weight = 6 },
	{ .name = "direct-write", .run = op_direct_write, .weight = 6 },
	{ .name = "direct-read", .run = op_direct_read, .weight = 3 },
	{ .name = "map-write", .run = op_map_write, .weight = 12 },
	{ .name = "map-read", .run = op_map_read, .weight = 6 },
	{ .name = "truncate", .run = op_truncate, .weight = 3 },
	{ .name = "allocate", .run = op_allocate, .weight = 5 },
	{ .name = "punch", .run = op_punch, .weight = 6 },
	{ .name = "zero", .run = op_zero, .weight = 6 },
	{ .name = "collapse", .run = op_collapse, .weight = 6 },
	{ .name = "insert", .run = op_insert, .weight = 6 },
	{ .name = "copy", .run = op_copy, .weight = 4 },
	{ .name = "sync", .run = op_sync, .weight = 2 },
	{ .name = "reopen", .run = op_reopen, .weight = 1 },
};

#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static struct operation *choose(void)
{
	unsigned int total = 0, at, i;

	for (i = 0; i < OPERATIONS; i++)
		total += operations[i].weight;
	at = below(total);
	for (i = 0; at >= operations[i].weight; i++)
		at -= operations[i].weight;
	return &operations[i];
}

int main(int argc, char **argv)
{
	unsigned long count;
	unsigned int i;

	if (argc < 4 || argc > 5) {
		fprintf(stderr, "usage: range_ops FILE SEED COUNT [SIZE]\n");
		return 2;
	}
	path = argv[1];
	seed = strtoull(argv[2], NULL, 0);
	count = strtoul(argv[3], NULL, 0);
	if (argc == 5)
		max_size = strtoul(argv[4], NULL, 0) & ~(size_t)(BLOCK - 1);
	if (max_size < 16 * BLOCK) {
		fprintf(stderr, "range_ops: SIZE is at least 16 blocks\n");
		return 2;
	}
	/* The generator would stay at zero for ever. */
	state = seed * 2 + 1;
	model = calloc(1, max_size);
	buffer = aligned_alloc(BLOCK, max_size);
	if (!model || !buffer) {
		fprintf(stderr, "range_ops: no memory\n");
		return 2;
	}
	check(close(open(path, O_CREAT | O_TRUNC | O_RDWR, 0600)), "create");
	open_file();
	for (op_number = 1; op_number <= count; op_number++) {
		struct operation *op = choose();

		op->run();
		op->count++;
		check_size();
		if (!(op_number % 64))
			check_all();
	}
	check_all();
	close_file();
	for (i = 0; i < OPERATIONS; i++)
		printf("%s %lu\n", operations[i].name, operations[i].count);
	return 0;
}
