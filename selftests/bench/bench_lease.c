// SPDX-License-Identifier: GPL-2.0
/*
 * What a lease costs: to take and give back, in memory, and to whoever changes
 * the layout of a file that has many pins elsewhere.
 *
 *	bench_lease DIR [ROUNDS]
 *
 * Figures are microseconds of one operation: median, and the range that holds
 * 80 % of the rounds.
 */
#include "pinfs_test.h"
#include "bench.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define PER_ROUND	50
#define ROUNDS_MAX	1000

/* Leases that are held at once to see what memory they take. */
#define LEASES		4096
#define PER_FILE	16

/* Buffers of a ring; io_uring takes 16,384 at most. */
#define PER_RING	12500
#define RINGS		5

static int rounds;

/* Runs an operation many times and prints what one takes. */
static void measure(const char *name, void (*op)(int fd, long arg), int fd, long arg)
{
	double us[ROUNDS_MAX], begin;

	op(fd, arg);
	for (int r = 0; r < rounds; r++) {
		begin = now_us();
		for (int i = 0; i < PER_ROUND; i++)
			op(fd, arg);
		us[r] = (now_us() - begin) / PER_ROUND;
	}
	qsort(us, rounds, sizeof(us[0]), by_value);
	printf("%-52s %9.2f %8.2f .. %7.2f\n", name, us[rounds / 2], us[rounds / 10],
	       us[rounds - 1 - rounds / 10]);
}

static void by_fcntl(int fd, long kind)
{
	need(!fcntl(fd, F_SETLEASE, kind), "F_SETLEASE");
	need(!fcntl(fd, F_SETLEASE, F_UNLCK), "F_UNLCK");
}

static void by_ioctl(int fd, long kind)
{
	struct pinfs_lease arg = {
		.size = sizeof(arg), .op = PINFS_LEASE_SET, .lease = kind, .start = MIB, .len = MIB,
	};

	need(!ioctl(fd, PINFS_IOC_LEASE, &arg), "PINFS_LEASE_SET");
	arg.op = PINFS_LEASE_RELEASE;
	arg.lease = 0;
	need(!ioctl(fd, PINFS_IOC_LEASE, &arg), "PINFS_LEASE_RELEASE");
}

/* A hole, so that the check is all there is to do. */
static void punch(int fd, long page)
{
	need(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, page * PAGE, PAGE), "punch");
}

static int file_of(const char *dir, long pages)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/bench-lease", dir);
	fd = open(path, O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600);
	need(fd >= 0, path);
	/* Pins of it may last a little longer than its descriptors. */
	unlink(path);
	if (pages)
		need(!fallocate(fd, 0, 0, pages * PAGE), "fallocate");
	return fd;
}

static long slab_kib(void)
{
	char text[8192];
	const char *slab;

	need(read_text("/proc/meminfo", text, sizeof(text)) > 0, "/proc/meminfo");
	slab = strstr(text, "\nSlab:");
	need(slab, "Slab:");
	return atol(slab + 6);
}

/* Many descriptors first, then a lease on each; what slabs grow by is the leases'. */
static void memory(const char *dir)
{
	struct rlimit limit = { LEASES + 64, LEASES + 64 };
	static int fds[LEASES];
	char path[PATH_MAX];
	long before;

	need(!setrlimit(RLIMIT_NOFILE, &limit), "RLIMIT_NOFILE");
	for (int i = 0; i < LEASES; i++) {
		snprintf(path, sizeof(path), "%s/lease-%d", dir, i / PER_FILE);
		fds[i] = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
		need(fds[i] >= 0, path);
	}
	before = slab_kib();
	for (int i = 0; i < LEASES; i++)
		need(!fcntl(fds[i], F_SETLEASE, F_LAYOUT | F_UNBREAK), "F_SETLEASE");
	printf("%-52s %9.0f bytes\n", "memory of a lease (slabs, over 4,096 of them)",
	       (slab_kib() - before) * 1024.0 / LEASES);
	for (int i = 0; i < LEASES; i++)
		close(fds[i]);
	for (int i = 0; i < LEASES; i += PER_FILE) {
		snprintf(path, sizeof(path), "%s/lease-%d", dir, i / PER_FILE);
		unlink(path);
	}
}

static void pin(struct io_uring *ring, struct iovec *iov, unsigned int n)
{
	errno = -io_uring_queue_init(1, ring, 0);
	need(!errno, "io_uring");
	errno = -io_uring_register_buffers(ring, iov, n);
	need(!errno, "register");
}

/*
 * Pages that are pinned once and twice in turn are a run each on the record,
 * which neighbours alike would not be.
 */
static void check_with(const char *dir, long pins)
{
	static struct iovec iov[PER_RING];
	static struct io_uring rings[RINGS];
	int fd = file_of(dir, pins), used = 0;
	long odd = 1;
	char name[64];
	char *map;

	map = mmap(NULL, pins * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(map != MAP_FAILED, "mmap");
	madvise(map, pins * PAGE, MADV_NOHUGEPAGE);
	need(!fcntl(fd, F_SETLEASE, EXCLUSIVE), "F_SETLEASE");
	iov[0] = (struct iovec){ map, pins * PAGE };
	pin(&rings[used++], iov, 1);
	while (odd < pins) {
		unsigned int n = 0;

		for (; n < PER_RING && odd < pins; odd += 2)
			iov[n++] = (struct iovec){ map + odd * PAGE, PAGE };
		pin(&rings[used++], iov, n);
	}
	snprintf(name, sizeof(name), "punch of a hole, %ld pins elsewhere in the file", pins);
	measure(name, punch, fd, pins + 4096);
	while (used)
		io_uring_queue_exit(&rings[--used]);
	munmap(map, pins * PAGE);
	close(fd);
}

int main(int argc, char **argv)
{
	int fd;

	setlinebuf(stdout);
	rounds = argc > 2 ? atoi(argv[2]) : 30;
	if (argc < 2 || rounds < 3 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: bench_lease DIR [ROUNDS (3 to %d)]\n", ROUNDS_MAX);
		return 2;
	}
	printf("%-52s %9s %19s\n", "microseconds", "median", "80 % of rounds in");
	fd = file_of(argv[1], 0);
	measure("lease and unlock, fcntl(), exclusive", by_fcntl, fd, EXCLUSIVE);
	measure("lease and unlock, fcntl(), breakable", by_fcntl, fd, F_LAYOUT);
	measure("lease and unlock, ioctl(), 1 MiB, unbreakable", by_ioctl, fd,
		F_LAYOUT | F_UNBREAK);
	measure("punch of a hole, no lease and no pin", punch, fd, 4096);
	close(fd);
	memory(argv[1]);
	check_with(argv[1], 1);
	check_with(argv[1], 1000);
	check_with(argv[1], 10000);
	check_with(argv[1], 100000);
	return 0;
}
