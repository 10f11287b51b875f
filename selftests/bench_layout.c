// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs to take blocks away from a file that nobody has leased or
 * pinned, and how fast a truncate goes on after it had to wait.
 *
 *	bench_layout DIR [ROUNDS]
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

static void report(const char *what, double *us, int n)
{
	qsort(us, n, sizeof(*us), by_value);
	printf("%-40s %10.1f %10.1f\n", what, us[n / 2], us[0]);
}

static void must(long ret, const char *what)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "bench_layout: %s: %s\n", what, strerror(-ret));
	exit(1);
}

/* A file whose pages have all been touched through a mapping. */
static void prepare(struct actor *a)
{
	must(make_file(a->path, FILE_PAGES, 1), a->path);
	must(act_open(a, O_RDWR), "open");
	must(act_map(a, FILE_BYTES), "mmap");
	must(ERR(madvise(a->map, FILE_BYTES, MADV_POPULATE_WRITE)), "madvise");
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
	int rounds = argc > 2 ? atoi(argv[2]) : 15;
	double *truncate = calloc(rounds, sizeof(double)), *punch = calloc(rounds, sizeof(double));
	double *wake = calloc(rounds, sizeof(double));
	char path[PATH_MAX];
	struct actor a;

	if (argc < 2 || rounds < 1 || !truncate || !punch || !wake) {
		fprintf(stderr, "usage: bench_layout DIR [ROUNDS]\n");
		return 2;
	}
	snprintf(path, sizeof(path), "%.4000s/bench-layout", argv[1]);
	act_init(&a, path);
	for (int i = 0; i < rounds; i++) {
		prepare(&a);
		punch[i] = timed(act_punch, &a, RANGE(2 * i % FILE_PAGES, 1), "punch");
		truncate[i] = timed(act_ftruncate, &a, 0, "truncate");
		finish(&a);
		prepare(&a);
		wake[i] = wake_up(&a);
		finish(&a);
	}
	printf("%-40s %10s %10s\n", "microseconds", "median", "fastest");
	report("punch 4 KiB of a mapped 8 MiB file", punch, rounds);
	report("truncate a mapped 8 MiB file", truncate, rounds);
	report("wake-up of a waiting truncate", wake, rounds);
	unlink(path);
	act_fini(&a);
	return 0;
}
