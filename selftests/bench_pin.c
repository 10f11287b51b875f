// SPDX-License-Identifier: GPL-2.0
/*
 * What a lease and a pin cost: round trips of 1 MiB through io_uring's
 * registered buffers, on a pinfs file and on anonymous memory.
 *
 *	bench_pin DIR [ROUNDS]
 *
 * Each round measures every kind once, one after the other, so that whatever
 * else the machine does falls on all of them.  The figures are microseconds
 * of one round trip: median, and the range that holds 80 % of the rounds.
 */
#include "pinfs_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define BUF_SIZE	MIB
#define PER_ROUND	20
#define ROUNDS_MAX	1000

struct kind {
	const char *name;
	int fd;			/* of the pinfs file, or -1 */
	bool lease;		/* taken and given back in each round trip */
	char *buf;		/* NULL: not available here */
	int base;		/* index of the kind it is compared with */
	double us[ROUNDS_MAX];
};

enum { ANON_4K, ANON_2M, PINFS_4K, PINFS_2M, LEASED_4K, LEASED_2M, KINDS };

static struct kind kinds[KINDS] = {
	[ANON_4K] = { "anonymous, 4 KiB pages: pin, unpin", -1, false, NULL, -1, { 0 } },
	[ANON_2M] = { "anonymous, 2 MiB hugetlb: pin, unpin", -1, false, NULL, -1, { 0 } },
	[PINFS_4K] = { "pinfs, 4 KiB pages: pin, unpin", -1, false, NULL, ANON_4K, { 0 } },
	[PINFS_2M] = { "pinfs, 2 MiB pages: pin, unpin", -1, false, NULL, ANON_2M, { 0 } },
	[LEASED_4K] = { "pinfs, 4 KiB: lease, pin, unpin, unlock", -1, true, NULL, ANON_4K, { 0 } },
	[LEASED_2M] = { "pinfs, 2 MiB: lease, pin, unpin, unlock", -1, true, NULL, ANON_2M, { 0 } },
};

static void need(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "bench_pin: %s: %s\n", what, strerror(errno));
	exit(1);
}

static char *anonymous(int flags)
{
	char *buf = mmap(NULL, PMD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (buf == MAP_FAILED)
		return NULL;
	if (!flags)
		madvise(buf, PMD, MADV_NOHUGEPAGE);
	memset(buf, 1, PMD);
	return buf;
}

/* A file mapped and touched; len decides whether a 2 MiB page fits into it. */
static char *pinfs_file(const char *dir, const char *name, long len, int *fd)
{
	char path[PATH_MAX];
	char *room, *start;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	*fd = open(path, O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600);
	need(*fd >= 0, path);
	unlink(path);
	need(!fallocate(*fd, 0, 0, len), "fallocate");
	room = mmap(NULL, 2 * PMD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(room != MAP_FAILED, "address space");
	start = (char *)(((unsigned long)room + PMD - 1) & ~(PMD - 1));
	start = mmap(start, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, *fd, 0);
	need(start != MAP_FAILED, "mmap");
	memset(start, 1, len);
	return start;
}

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e6 + ts.tv_nsec / 1e3;
}

static void round_trip(struct io_uring *ring, const struct kind *k)
{
	struct iovec iov = { k->buf, BUF_SIZE };

	if (k->lease)
		need(!fcntl(k->fd, F_SETLEASE, EXCLUSIVE), "F_SETLEASE");
	errno = -io_uring_register_buffers(ring, &iov, 1);
	need(!errno, k->name);
	errno = -io_uring_unregister_buffers(ring);
	need(!errno, "unregister");
	if (k->lease)
		need(!fcntl(k->fd, F_SETLEASE, F_UNLCK), "F_SETLEASE F_UNLCK");
}

static double measure(struct io_uring *ring, const struct kind *k)
{
	double begin, end;

	/* The kinds without a lease in the round trip hold one around it. */
	if (k->fd >= 0 && !k->lease)
		need(!fcntl(k->fd, F_SETLEASE, EXCLUSIVE), "F_SETLEASE");
	round_trip(ring, k);
	begin = now_us();
	for (int i = 0; i < PER_ROUND; i++)
		round_trip(ring, k);
	end = now_us();
	if (k->fd >= 0 && !k->lease)
		need(!fcntl(k->fd, F_SETLEASE, F_UNLCK), "F_SETLEASE F_UNLCK");
	return (end - begin) / PER_ROUND;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double quantile(const double *sorted, int n, double q)
{
	return sorted[(int)(q * (n - 1) + 0.5)];
}

static void report(int rounds)
{
	double ratio[ROUNDS_MAX], sorted[ROUNDS_MAX];

	printf("%-42s %9s %19s   %s\n", "1 MiB, microseconds a round trip", "median",
	       "80 % of rounds in", "ratio to anonymous (80 %)");
	for (int i = 0; i < KINDS; i++) {
		const struct kind *k = &kinds[i], *base = k->base < 0 ? NULL : &kinds[k->base];

		if (!k->buf) {
			printf("%-42s not available\n", k->name);
			continue;
		}
		memcpy(sorted, k->us, sizeof(sorted));
		qsort(sorted, rounds, sizeof(sorted[0]), by_value);
		printf("%-42s %9.1f %8.1f .. %7.1f", k->name, quantile(sorted, rounds, 0.5),
		       quantile(sorted, rounds, 0.1), quantile(sorted, rounds, 0.9));
		if (base && base->buf) {
			/* Round by round, so that what disturbed both cancels. */
			for (int r = 0; r < rounds; r++)
				ratio[r] = k->us[r] / base->us[r];
			qsort(ratio, rounds, sizeof(ratio[0]), by_value);
			printf("   %5.2f (%.2f .. %.2f)", quantile(ratio, rounds, 0.5),
			       quantile(ratio, rounds, 0.1), quantile(ratio, rounds, 0.9));
		}
		printf("\n");
	}
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[2]) : 30;
	struct actor a;

	if (argc < 2 || rounds < 3 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: bench_pin DIR [ROUNDS (3 to %d)]\n", ROUNDS_MAX);
		return 2;
	}
	kinds[ANON_4K].buf = anonymous(0);
	need(kinds[ANON_4K].buf, "anonymous memory");
	kinds[ANON_2M].buf = anonymous(MAP_HUGETLB);
	kinds[PINFS_4K].buf = pinfs_file(argv[1], "bench-4k", BUF_SIZE, &kinds[PINFS_4K].fd);
	kinds[PINFS_2M].buf = pinfs_file(argv[1], "bench-2m", PMD, &kinds[PINFS_2M].fd);
	kinds[LEASED_4K].buf = kinds[PINFS_4K].buf;
	kinds[LEASED_4K].fd = kinds[PINFS_4K].fd;
	kinds[LEASED_2M].buf = kinds[PINFS_2M].buf;
	kinds[LEASED_2M].fd = kinds[PINFS_2M].fd;

	act_init(&a, "");
	errno = -act_ring(&a, 0);
	need(!errno, "io_uring");
	for (int r = 0; r < rounds; r++)
		for (int i = 0; i < KINDS; i++)
			if (kinds[i].buf)
				kinds[i].us[r] = measure(&a.ring[0], &kinds[i]);
	report(rounds);
	act_fini(&a);
	return 0;
}
