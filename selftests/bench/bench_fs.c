// SPDX-License-Identifier: GPL-2.0
/*
 * What file systems take for the same work, side by side.
 *
 *	bench_fs [-n ROUNDS] [-r ROW,ROW...] -o CSV TYPE:DEVICE:DIR...
 *	bench_fs -a TYPE:DEVICE:DIR...
 *
 * Each round measures every file system once, beginning with another one each
 * time, so that whatever else the machine does falls on all of them.  What a
 * measurement needs is made ready before the clock is read and taken away
 * afterwards.  The CSV has the raw samples: row, file system, round, number of
 * operations, nanoseconds of all of them.
 *
 * With -a, the file systems are aged instead, and the share of aligned 2 MiB
 * ranges of new files that fault as one page is printed, before and after.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define KIB		1024L
#define MIB		(1024L * KIB)
#define PAGE		4096L
#define PMD		(2 * MIB)
#define MAX_FS		4
#define BIG_DIR		100000
#define FILE_LEN	(16 * MIB)

struct fs {
	const char *type;
	const char *device;
	const char *dir;
	char image[PATH_MAX];	/* of the device as a crash would leave it */
	int fd;
	char *map;
	bool big_dir;		/* the large directory is there */
	bool full;		/* nothing more fits */
};

static struct fs all[MAX_FS];
static int count;
static char *buffer;		/* as long as the longest write */
static unsigned int seed = 1;

static void die(const struct fs *fs, const char *what)
{
	fprintf(stderr, "bench_fs: %s: %s: %s\n", fs->type, what, strerror(errno));
	exit(1);
}

#define NEED(fs, what)					\
({							\
	long __need_res = (long)(what);			\
	if (__need_res == -1)				\
		die(fs, #what);				\
	__need_res;					\
})

static unsigned int dice(unsigned int below)
{
	/* The same numbers for all, whatever the C library does. */
	seed = seed * 1664525 + 1013904223;
	return (unsigned int)(((unsigned long)(seed >> 8) * below) >> 24);
}

static const char *path(const struct fs *fs, const char *format, ...)
{
	static char ring[4][PATH_MAX];
	static int next;
	char *to = ring[next++ % 4];
	va_list args;
	int len;

	len = snprintf(to, PATH_MAX, "%s/", fs->dir);
	va_start(args, format);
	vsnprintf(to + len, PATH_MAX - len, format, args);
	va_end(args);
	return to;
}

static int make_file(const struct fs *fs, const char *name, long len)
{
	int fd = NEED(fs, open(name, O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0644));
	long at;

	for (at = 0; at < len; at += MIB)
		NEED(fs, pwrite(fd, buffer, len - at < MIB ? len - at : MIB, at));
	return fd;
}

static void write_number(const char *name, const char *number)
{
	int fd = open(name, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, number, strlen(number)) < 0) {
		perror(name);
		exit(1);
	}
	close(fd);
}

/* ---- an open file ---- */

static void empty_file(struct fs *fs, int ops)
{
	(void)ops;
	fs->fd = make_file(fs, path(fs, "file"), 0);
}

static void filled_file(struct fs *fs, int ops)
{
	(void)ops;
	fs->fd = make_file(fs, path(fs, "file"), FILE_LEN);
	NEED(fs, lseek(fs->fd, 0, SEEK_SET));
}

static void drop_file(struct fs *fs, int ops)
{
	(void)ops;
	close(fs->fd);
	NEED(fs, unlink(path(fs, "file")));
}

static void write_next(struct fs *fs, int ops, long len)
{
	while (ops--)
		NEED(fs, write(fs->fd, buffer, len));
}

static void append_1k(struct fs *fs, int ops)
{
	write_next(fs, ops, KIB);
}

static void append_16k(struct fs *fs, int ops)
{
	write_next(fs, ops, 16 * KIB);
}

static void append_fsync(struct fs *fs, int ops)
{
	while (ops--) {
		NEED(fs, write(fs->fd, buffer, PAGE));
		NEED(fs, fsync(fs->fd));
	}
}

static void random_write(struct fs *fs, int ops)
{
	while (ops--)
		NEED(fs, pwrite(fs->fd, buffer, PAGE, dice(FILE_LEN / PAGE) * PAGE));
}

static void random_read(struct fs *fs, int ops)
{
	while (ops--)
		NEED(fs, pread(fs->fd, buffer, PAGE, dice(FILE_LEN / PAGE) * PAGE));
}

static void read_1k(struct fs *fs, int ops)
{
	while (ops--)
		NEED(fs, read(fs->fd, buffer, KIB));
}

static void read_16k(struct fs *fs, int ops)
{
	while (ops--)
		NEED(fs, read(fs->fd, buffer, 16 * KIB));
}

static void punch(struct fs *fs, int ops)
{
	const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	/* Every second block, so that each leaves a hole of its own. */
	while (ops--)
		NEED(fs, fallocate(fs->fd, mode, 2 * ops * PAGE, PAGE));
}

/* ---- names ---- */

static void make_dir(struct fs *fs, int ops)
{
	(void)ops;
	NEED(fs, mkdir(path(fs, "dir"), 0755));
}

static void make_names(struct fs *fs, int ops)
{
	make_dir(fs, ops);
	while (ops--)
		close(make_file(fs, path(fs, "dir/%06d", ops), 0));
}

static void make_files(struct fs *fs, int ops)
{
	make_dir(fs, ops);
	while (ops--)
		close(make_file(fs, path(fs, "dir/%06d", ops), 16 * KIB));
}

static void create_names(struct fs *fs, int ops)
{
	while (ops--)
		close(NEED(fs, open(path(fs, "dir/%06d", ops),
				    O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644)));
}

static void make_dirs(struct fs *fs, int ops)
{
	while (ops--)
		NEED(fs, mkdir(path(fs, "dir/%06d", ops), 0755));
}

static void rename_all(struct fs *fs, int ops)
{
	while (ops--)
		NEED(fs, rename(path(fs, "dir/%06d", ops), path(fs, "dir/new-%06d", ops)));
}

static void unlink_all(struct fs *fs, int ops)
{
	while (ops--)
		NEED(fs, unlink(path(fs, "dir/%06d", ops)));
}

static void drop_dir(struct fs *fs, int ops)
{
	int i;

	for (i = 0; i < ops; i++) {
		if (unlink(path(fs, "dir/%06d", i)) && errno == EISDIR)
			rmdir(path(fs, "dir/%06d", i));
		unlink(path(fs, "dir/new-%06d", i));
	}
	NEED(fs, rmdir(path(fs, "dir")));
}

static void big_dir(struct fs *fs, int ops)
{
	int i;

	(void)ops;
	if (!fs->big_dir) {
		NEED(fs, mkdir(path(fs, "big"), 0755));
		for (i = 0; i < BIG_DIR; i++)
			NEED(fs, mknod(path(fs, "big/%06d", i), S_IFREG | 0644, 0));
		sync();
		fs->big_dir = true;
	}
	/* Nothing of it in memory but the directory itself. */
	write_number("/proc/sys/vm/drop_caches", "2");
	NEED(fs, access(path(fs, "big/%06d", 0), F_OK));
}

static void look_up(struct fs *fs, int ops)
{
	struct stat st;

	while (ops--)
		NEED(fs, stat(path(fs, "big/%06d", dice(BIG_DIR)), &st));
}

static void read_big_dir(struct fs *fs, int ops)
{
	DIR *dir = opendir(path(fs, "big"));
	int names = 0;

	if (!dir)
		die(fs, "big");
	while (readdir(dir))
		names++;
	closedir(dir);
	errno = ENOTEMPTY;
	if (names != ops + 2)
		die(fs, "readdir");
}

/* ---- mappings ---- */

/* Maps so that huge pages fit, or so that none can. */
static void map_file(struct fs *fs, long len, long skew)
{
	char *room = mmap(NULL, len + 2 * PMD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *start;

	if (room == MAP_FAILED)
		die(fs, "address space");
	start = (char *)(((unsigned long)room + PMD - 1) & ~(PMD - 1)) + skew;
	fs->map = mmap(start, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fs->fd, 0);
	if (fs->map == MAP_FAILED)
		die(fs, "mmap");
}

static void mapped_small(struct fs *fs, int ops)
{
	filled_file(fs, ops);
	map_file(fs, FILE_LEN, PAGE);
}

static void mapped_huge(struct fs *fs, int ops)
{
	fs->fd = make_file(fs, path(fs, "file"), ops * PMD);
	map_file(fs, ops * PMD, 0);
}

static void touch(struct fs *fs, int ops, long step)
{
	int i;

	for (i = 0; i < ops; i++)
		*(volatile char *)(fs->map + i * step) = 1;
}

static void touch_small(struct fs *fs, int ops)
{
	touch(fs, ops, PAGE);
}

static void touch_huge(struct fs *fs, int ops)
{
	touch(fs, ops, PMD);
}

static void drop_small(struct fs *fs, int ops)
{
	munmap(fs->map, FILE_LEN);
	drop_file(fs, ops);
}

static void drop_huge(struct fs *fs, int ops)
{
	munmap(fs->map, ops * PMD);
	drop_file(fs, ops);
}

static void mapped_256m(struct fs *fs, int ops)
{
	(void)ops;
	mapped_huge(fs, 128);
	touch_huge(fs, 128);
}

static void truncate_all(struct fs *fs, int ops)
{
	(void)ops;
	NEED(fs, ftruncate(fs->fd, 0));
}

static void drop_256m(struct fs *fs, int ops)
{
	(void)ops;
	drop_huge(fs, 128);
}

/* ---- a mail server ---- */

#define BOXES	4
#define MAILS	16

static void make_boxes(struct fs *fs, int ops)
{
	int i, j;

	(void)ops;
	NEED(fs, mkdir(path(fs, "mail"), 0755));
	NEED(fs, mkdir(path(fs, "mail/tmp"), 0755));
	for (i = 0; i < BOXES; i++) {
		NEED(fs, mkdir(path(fs, "mail/%d", i), 0755));
		for (j = 0; j < MAILS; j++)
			close(make_file(fs, path(fs, "mail/%d/%d", i, j), 4 * KIB));
	}
}

/*
 * A mail comes in: it is written, made durable, and moved to its box in the
 * place of an old one, as maildir does; somebody reads another.
 */
static void deliver(struct fs *fs, int ops)
{
	int fd, box;
	long len;

	while (ops--) {
		box = dice(BOXES);
		len = KIB << dice(6);
		fd = make_file(fs, path(fs, "mail/tmp/%d", ops), 0);
		NEED(fs, write(fd, buffer, len));
		NEED(fs, fsync(fd));
		close(fd);
		NEED(fs, rename(path(fs, "mail/tmp/%d", ops),
				path(fs, "mail/%d/%d", box, dice(MAILS))));
		fd = NEED(fs, open(path(fs, "mail/%d/%d", box, dice(MAILS)), O_RDONLY | O_CLOEXEC));
		while (NEED(fs, read(fd, buffer, 16 * KIB)) > 0)
			;
		close(fd);
	}
}

static void drop_boxes(struct fs *fs, int ops)
{
	int i, j;

	(void)ops;
	for (i = 0; i < BOXES; i++) {
		for (j = 0; j < MAILS; j++)
			NEED(fs, unlink(path(fs, "mail/%d/%d", i, j)));
		NEED(fs, rmdir(path(fs, "mail/%d", i)));
	}
	NEED(fs, rmdir(path(fs, "mail/tmp")));
	NEED(fs, rmdir(path(fs, "mail")));
}

/* ---- mounts of a full device ---- */

static void mount_it(const struct fs *fs)
{
	const char *options = strcmp(fs->type, "pinfs") ? "dax=always" : NULL;

	NEED(fs, mount(fs->device, fs->dir, fs->type, 0, options));
}

/* Copies block by block, past the page cache, without the blocks of zeroes if 'sparse'. */
static void copy(const struct fs *fs, const char *from, const char *to, bool sparse)
{
	const int direct = sparse ? 0 : O_DIRECT;
	int in = NEED(fs, open(from, O_RDONLY | O_CLOEXEC | (sparse ? O_DIRECT : 0)));
	int out = NEED(fs, open(to, O_CREAT | O_WRONLY | O_CLOEXEC | direct, 0600));
	long at = 0;
	long got;

	while ((got = NEED(fs, pread(in, buffer, MIB, at))) > 0) {
		if (!sparse || buffer[0] || memcmp(buffer, buffer + 1, got - 1))
			NEED(fs, pwrite(out, buffer, got, at));
		at += got;
	}
	if (sparse)
		NEED(fs, ftruncate(out, at));
	memset(buffer, 0, MIB);
	close(in);
	close(out);
}

/*
 * Fills the device: a tree of small files, and large ones for the rest.  What
 * a crash leaves is the device as it is in the middle of the work.
 */
static void fill(struct fs *fs)
{
	int i, fd;
	long len;

	if (fs->full)
		return;
	for (i = 0; i < 2000; i++) {
		if (i % 100 == 0)
			NEED(fs, mkdir(path(fs, "full%d", i / 100), 0755));
		close(make_file(fs, path(fs, "full%d/%d", i / 100, i), dice(8) * KIB));
	}
	/* Some megabytes stay free: a mount needs them, and nobody's device is fuller. */
	for (i = 0;; i++) {
		struct statvfs st;

		NEED(fs, statvfs(fs->dir, &st));
		len = ((long)st.f_bavail * (long)st.f_frsize - 24 * MIB) & -MIB;
		if (len <= 0)
			break;
		fd = make_file(fs, path(fs, "full%d/large%d", i % 20, i), len < 32 * MIB ? len : 32 * MIB);
		close(fd);
	}
	sync();
	for (i = 0; i < 200; i++)
		close(make_file(fs, path(fs, "full0/late%d", i), 4 * KIB));
	fd = make_file(fs, path(fs, "full0/last"), 4 * KIB);
	NEED(fs, fsync(fd));
	close(fd);
	snprintf(fs->image, sizeof(fs->image), "/tmp/bench-%s.image", fs->type);
	copy(fs, fs->device, fs->image, true);
	fs->full = true;
}

static void full_clean(struct fs *fs, int ops)
{
	(void)ops;
	fill(fs);
	NEED(fs, umount(fs->dir));
}

static void full_crashed(struct fs *fs, int ops)
{
	full_clean(fs, ops);
	copy(fs, fs->image, fs->device, false);
}

static void mount_again(struct fs *fs, int ops)
{
	(void)ops;
	mount_it(fs);
}

static void nothing(struct fs *fs, int ops)
{
	(void)fs;
	(void)ops;
}

/* ---- the table ---- */

static const struct row {
	const char *name;
	int ops;
	void (*prepare)(struct fs *fs, int ops);
	void (*run)(struct fs *fs, int ops);
	void (*clean)(struct fs *fs, int ops);
} rows[] = {
	{ "append1k", 512, empty_file, append_1k, drop_file },
	{ "append16k", 128, empty_file, append_16k, drop_file },
	{ "fsync4k", 128, empty_file, append_fsync, drop_file },
	{ "randwrite4k", 512, filled_file, random_write, drop_file },
	{ "randread4k", 512, filled_file, random_read, drop_file },
	{ "read1k", 1024, filled_file, read_1k, drop_file },
	{ "read16k", 512, filled_file, read_16k, drop_file },
	{ "create", 256, make_dir, create_names, drop_dir },
	{ "mkdir", 256, make_dir, make_dirs, drop_dir },
	{ "rename", 256, make_names, rename_all, drop_dir },
	{ "unlink", 256, make_files, unlink_all, drop_dir },
	{ "mail", 64, make_boxes, deliver, drop_boxes },
	{ "fault4k", 1024, mapped_small, touch_small, drop_small },
	{ "fault2m", 16, mapped_huge, touch_huge, drop_huge },
	{ "punch", 256, filled_file, punch, drop_file },
	{ "truncate256m", 1, mapped_256m, truncate_all, drop_256m },
	{ "lookup", 1000, big_dir, look_up, nothing },
	{ "readdir", BIG_DIR, big_dir, read_big_dir, nothing },
	{ "mount_clean", 1, full_clean, mount_again, nothing },
	{ "mount_crashed", 1, full_crashed, mount_again, nothing },
};

#define ROWS ((int)(sizeof(rows) / sizeof(rows[0])))

static bool wanted(const char *list, const char *name)
{
	size_t len = strlen(name);
	const char *at = list;

	while (at) {
		if (!strncmp(at, name, len) && (at[len] == ',' || !at[len]))
			return true;
		at = strchr(at, ',');
		at = at ? at + 1 : NULL;
	}
	return !list;
}

static void check_list(const char *list)
{
	char *names = strdup(list ? list : "");
	char *name;
	int i;

	for (name = strtok(names, ","); name; name = strtok(NULL, ",")) {
		for (i = 0; i < ROWS && strcmp(rows[i].name, name); i++)
			;
		if (i < ROWS)
			continue;
		fprintf(stderr, "bench_fs: no row %s; there are", name);
		for (i = 0; i < ROWS; i++)
			fprintf(stderr, " %s", rows[i].name);
		fputc('\n', stderr);
		exit(2);
	}
	free(names);
}

static long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec * 1000000000L + ts.tv_nsec;
}

static void measure(const struct row *row, int rounds, FILE *csv)
{
	int round, i;

	/* The first round warms up and is not counted. */
	for (round = -1; round < rounds; round++) {
		unsigned int start_seed = seed;

		for (i = 0; i < count; i++) {
			struct fs *fs = &all[(i + round + 1) % count];
			long begun, took;

			seed = start_seed;
			row->prepare(fs, row->ops);
			/* Others end what they have left for later. */
			usleep(20000);
			begun = now();
			row->run(fs, row->ops);
			took = now() - begun;
			row->clean(fs, row->ops);
			if (round >= 0)
				fprintf(csv, "%s,%s,%d,%d,%ld\n", row->name, fs->type, round, row->ops, took);
		}
		fflush(csv);
	}
	printf("%s: %d rounds\n", row->name, rounds);
	fflush(stdout);
}

/* ---- huge pages ---- */

/* The share of 2 MiB ranges of a new file that one fault maps, in percent. */
static double huge_share(struct fs *fs, const char *name, long len)
{
	struct rusage before, after;
	long ranges = len / PMD;
	long huge = 0;
	long i;

	fs->fd = make_file(fs, path(fs, "%s", name), len);
	map_file(fs, len, 0);
	for (i = 0; i < ranges; i++) {
		volatile char *range = fs->map + i * PMD;

		range[0] = 1;
		getrusage(RUSAGE_SELF, &before);
		range[PMD / 2 + PAGE] = 1;
		getrusage(RUSAGE_SELF, &after);
		huge += before.ru_minflt == after.ru_minflt && before.ru_majflt == after.ru_majflt;
	}
	munmap(fs->map, len);
	close(fs->fd);
	return 100.0 * huge / ranges;
}

#define AGED_FILES	4096

static double used_share(const struct fs *fs)
{
	struct statvfs st;

	NEED(fs, statvfs(fs->dir, &st));
	return 1.0 - (double)st.f_bavail / (double)st.f_blocks;
}

/* Sizes as they are found on disks: many small files, most bytes in large ones. */
static long aged_size(void)
{
	unsigned int kind = dice(100);

	if (kind < 60)
		return KIB + dice(31) * KIB;
	if (kind < 90)
		return 32 * KIB + dice(480) * KIB;
	if (kind < 98)
		return 512 * KIB + dice(4096) * KIB;
	return 4 * MIB + dice(12 * KIB) * KIB;
}

/*
 * The ageing program: files of all sizes are made, grown by appends, cut short
 * and removed at random for as long as it takes to write the device's size
 * three times over, while between 60 % and 75 % of it are in use; it ends at
 * 75 %.
 */
static void age(struct fs *fs)
{
	struct statvfs st;
	long left, len;
	int i, fd;

	NEED(fs, statvfs(fs->dir, &st));
	left = 3 * (long)st.f_blocks * (long)st.f_frsize;
	for (i = 0; i < 64; i++)
		NEED(fs, mkdir(path(fs, "aged%d", i), 0755));
	while (left > 0 || used_share(fs) < 0.75) {
		const char *name;

		i = dice(AGED_FILES);
		name = path(fs, "aged%d/%d", i % 64, i);
		if (used_share(fs) >= 0.75) {
			while (used_share(fs) > 0.60) {
				i = dice(AGED_FILES);
				unlink(path(fs, "aged%d/%d", i % 64, i));
			}
			continue;
		}
		fd = NEED(fs, open(name, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644));
		if (dice(10) == 0) {
			NEED(fs, ftruncate(fd, dice(64) * KIB));
		} else {
			len = aged_size();
			left -= len;
			for (; len > 0; len -= MIB)
				NEED(fs, write(fd, buffer, len < MIB ? len : MIB));
		}
		close(fd);
	}
}

static void age_all(void)
{
	int i;

	for (i = 0; i < count; i++) {
		struct fs *fs = &all[i];
		double fresh, full;

		seed = 1;
		fresh = huge_share(fs, "fresh", 128 * MIB);
		NEED(fs, unlink(path(fs, "fresh")));
		age(fs);
		full = used_share(fs);
		printf("huge pages, %s: %.1f %% of a new file fresh, ", fs->type, fresh);
		printf("%.1f %% aged to %.0f %% full\n", huge_share(fs, "aged", 128 * MIB), 100 * full);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	const char *list = NULL;
	const char *out = NULL;
	bool ages = false;
	int rounds = 9;
	FILE *csv;
	int c, i;

	while ((c = getopt(argc, argv, "an:r:o:")) != -1) {
		if (c == 'a')
			ages = true;
		else if (c == 'n')
			rounds = atoi(optarg);
		else if (c == 'r')
			list = optarg;
		else if (c == 'o')
			out = optarg;
		else
			return 2;
	}
	check_list(list);
	for (; optind < argc && count < MAX_FS; optind++, count++) {
		all[count].type = strtok(argv[optind], ":");
		all[count].device = strtok(NULL, ":");
		all[count].dir = strtok(NULL, ":");
		if (!all[count].dir) {
			fputs("bench_fs: a file system is TYPE:DEVICE:DIR\n", stderr);
			return 2;
		}
	}
	buffer = aligned_alloc(PAGE, MIB);
	if (!buffer || !count || rounds < 1 || (!out && !ages)) {
		fputs("bench_fs: [-n ROUNDS] [-r ROW,...] {-a | -o CSV} TYPE:DEVICE:DIR...\n", stderr);
		return 2;
	}
	memset(buffer, 0, MIB);
	if (ages) {
		age_all();
		return 0;
	}
	csv = fopen(out, "w");
	if (!csv) {
		perror(out);
		return 1;
	}
	fputs("row,fs,round,operations,nanoseconds\n", csv);
	for (i = 0; i < ROWS; i++)
		if (wanted(list, rows[i].name))
			measure(&rows[i], rounds, csv);
	return fclose(csv) ? 1 : 0;
}
