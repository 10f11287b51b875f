// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs to take blocks away from a file that nobody has leased or
 * pinned, and how fast a truncate goes on after it had to wait.
 *
 *	bench_layout DIR [ROUNDS]
 *
 * The file has 8 MiB, all of them mapped, in pages of 2 MiB or of 4 KiB, and
 * written to through the mapping since they were synced (dirty) or only read
 * (clean).  What is measured depends on these, so what page tables really have
 * is printed beside the times, before the operation and after.  A punch of 4 KiB
 * may make other things dearer: so what comes after it is measured too, an
 * fsync(), and touching the mapping again, which faults for whatever the punch
 * took out of page tables.
 *
 * One line for each: what, the median and the fastest, in microseconds.  DIR may
 * be on any file system with DAX.
 */
#include "pinfs_test.h"
#include "bench.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#define FILE_BYTES	(8L << 20)
#define FILE_PAGES	(FILE_BYTES / PAGE)

static int rounds = 15;

static void must(long ret, const char *what)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "bench_layout: %s: %s\n", what, strerror(-ret));
	exit(1);
}

/* Maps the file so that huge pages fit, or so that none can. */
static void map_file(struct actor *a, bool huge)
{
	char *room = mmap(NULL, FILE_BYTES + 2 * PMD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *start;

	must(ERR(room), "address space");
	start = (char *)(((unsigned long)room + PMD - 1) & ~(PMD - 1)) + (huge ? 0 : PAGE);
	/* What is left of the room goes: the mapping is all that the actor knows of. */
	must(ERR(munmap(room, FILE_BYTES + 2 * PMD)), "munmap");
	a->map = mmap(start, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
		      a->fd, 0);
	must(ERR(a->map), "mmap");
	a->map_len = FILE_BYTES;
}

/* A file whose pages have all been touched through a mapping. */
static void prepare(struct actor *a, bool huge, bool dirty)
{
	must(make_file(a->path, FILE_PAGES, 1), a->path);
	must(act_open(a, O_RDWR), "open");
	must(ERR(fsync(a->fd)), "fsync");
	map_file(a, huge);
	must(ERR(madvise(a->map, FILE_BYTES, dirty ? MADV_POPULATE_WRITE : MADV_POPULATE_READ)),
	     "madvise");
}

static void finish(struct actor *a)
{
	act_unmap(a, 0);
	act_close(a, 0);
}

static double timed(act_fn fn, struct actor *a, long arg, const char *what)
{
	double begin = now_us();

	must(fn(a, arg), what);
	return now_us() - begin;
}

/* Faults for whatever of the mapping is not in page tables. */
static long touch_all(struct actor *a, long unused)
{
	(void)unused;
	return ERR(madvise(a->map, FILE_BYTES, MADV_POPULATE_READ));
}

/* What was measured of one operation. */
struct samples {
	double *us;
	int count;
};

static void add(struct samples *s, double us)
{
	if (!s->us)
		s->us = calloc(rounds, sizeof(*s->us));
	need(s->us, "memory");
	s->us[s->count++] = us;
}

static void report(struct samples *s, const char *what, const char *pages)
{
	qsort(s->us, s->count, sizeof(*s->us), by_value);
	printf("%-34s %-16s %10.1f %10.1f\n", what, pages, s->us[s->count / 2], s->us[0]);
	free(s->us);
}

/* Says by pages of which size how much is in page tables. */
static void in_page_tables(const struct actor *a, char *what, size_t size)
{
	long mapped = mapped_bytes(a->map, FILE_BYTES);
	long huge = huge_bytes(a->map, FILE_BYTES);

	must(mapped, "pagemap");
	must(huge, "pagemap");
	snprintf(what, size, "%ld KiB%s", mapped / KIB,
		 !mapped ? "" : !huge ? " in 4K" : huge == mapped ? " in 2M" : " mixed");
}

static void measure_truncate(struct actor *a, bool huge, bool dirty)
{
	struct samples truncate = {};
	char pages[64];

	for (int i = 0; i < rounds; i++) {
		prepare(a, huge, dirty);
		in_page_tables(a, pages, sizeof(pages));
		add(&truncate, timed(act_ftruncate, a, 0, "truncate"));
		finish(a);
	}
	report(&truncate, dirty ? "truncate 8 MiB, dirty" : "truncate 8 MiB, clean", pages);
}

static void measure_punch(struct actor *a, bool huge, bool dirty)
{
	struct samples punch = {}, sync = {}, touch = {};
	char before[64], after[64];

	for (int i = 0; i < rounds; i++) {
		prepare(a, huge, dirty);
		in_page_tables(a, before, sizeof(before));
		add(&punch, timed(act_punch, a, RANGE(2 * i % FILE_PAGES, 1), "punch"));
		in_page_tables(a, after, sizeof(after));
		add(&sync, timed(act_fsync, a, 0, "fsync"));
		add(&touch, timed(touch_all, a, 0, "touch"));
		finish(a);
	}
	report(&punch, dirty ? "punch 4 KiB of 8 MiB, dirty" : "punch 4 KiB of 8 MiB, clean", before);
	report(&sync, "  fsync after it", after);
	report(&touch, "  touch all after it", after);
}

/*
 * The waiter says when it was back; both clocks are the same.  It is only
 * measured once it sleeps.
 */
static double wake_up(struct actor *a)
{
	int back[2];
	double begin, end;
	struct peer waiter;
	pid_t pid;

	must(ERR(pipe2(back, O_CLOEXEC)), "pipe");
	must(act_vmsplice(a, 3), "vmsplice");
	pid = fork();
	must(ERR(pid), "fork");
	if (pid == 0) {
		act_ftruncate(a, 0);
		end = now_us();
		_exit(write(back[1], &end, sizeof(end)) != sizeof(end));
	}
	waiter = (struct peer){ .pid = pid };
	if (!EVENTUALLY(peer_waits_in(&waiter, SYS_ftruncate), REPLY_MS))
		must(-ETIMEDOUT, "nobody waits");
	/* Let it get through its first, short waits. */
	nap_ms(100);
	begin = now_us();
	must(act_drain(a, 0), "read");
	if (read(back[0], &end, sizeof(end)) != sizeof(end))
		must(-EIO, "the waiter");
	close(back[0]);
	close(back[1]);
	return end - begin;
}

int main(int argc, char **argv)
{
	struct samples wake = {};
	char path[PATH_MAX];
	struct actor a;

	if (argc > 2)
		rounds = atoi(argv[2]);
	if (argc < 2 || rounds < 1) {
		fprintf(stderr, "usage: bench_layout DIR [ROUNDS]\n");
		return 2;
	}
	snprintf(path, sizeof(path), "%.4000s/bench-layout", argv[1]);
	act_init(&a, path);
	printf("%-34s %-16s %10s %10s\n", "microseconds", "pages in page tables", "median", "fastest");
	for (int kind = 0; kind < 4; kind++) {
		measure_truncate(&a, kind & 1, kind & 2);
		measure_punch(&a, kind & 1, kind & 2);
	}
	for (int i = 0; i < rounds; i++) {
		prepare(&a, true, true);
		add(&wake, wake_up(&a));
		finish(&a);
	}
	report(&wake, "wake-up of a waiting truncate", "dirty 2M");
	unlink(path);
	act_fini(&a);
	return 0;
}
