// SPDX-License-Identifier: GPL-2.0
/*
 * What the module costs those who do not use it: ordinary calls without it, with
 * it, and with a long-term pin somewhere, which has unpins observed.
 *
 *	bench_hooks MODULE DEVICE DIR OTHER [ROUNDS]
 *
 * MODULE must not be loaded; it is, and unloaded, in each round.  DEVICE holds a
 * pinfs, which is mounted on DIR for the pin; OTHER is a block device to read.
 * Figures are microseconds of one call, medians; ratios are taken within a
 * round, and given as the median and the range that holds 80 % of the rounds.
 */
#include "pinfs_test.h"
#include "bench.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ROUNDS_MAX	1000
#define CALLS		400	/* of each kind in a round */
#define SETTLE_MS	1000

enum { ABSENT, LOADED, PINNED, STATES };
enum { READ, OPEN, FAULT, OPS };

static const char *const op_names[OPS] = {
	"O_DIRECT read of 4 KiB", "open and close", "fault of a mapped page"
};
static const char *module, *device, *dir;
static double us[OPS][STATES][ROUNDS_MAX];
static int raw;			/* OTHER */
static char name[] = "/tmp/bench-hooks-XXXXXX";
static int file;
static char *buf;

/* ---- what is measured ---- */

static void read_once(int i)
{
	need(pread(raw, buf, PAGE, (i % 64) * PAGE) == PAGE, "O_DIRECT read");
}

static void open_once(int i)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	(void)i;
	need(fd >= 0, name);
	close(fd);
}

static void fault_once(int i)
{
	char *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	need(map != MAP_FAILED, "mmap");
	*(volatile char *)map = i;
	munmap(map, PAGE);
}

static void (*const ops[OPS])(int i) = { read_once, open_once, fault_once };

static void measure(int state, int round)
{
	/* What loading and unloading leaves to be done later is not the module's cost. */
	nap_ms(SETTLE_MS);
	for (int op = 0; op < OPS; op++) {
		double begin;

		ops[op](0);
		begin = now_us();
		for (int i = 0; i < CALLS; i++)
			ops[op](i);
		us[op][state][round] = (now_us() - begin) / CALLS;
	}
}

/* ---- states ---- */

static void load(void)
{
	int fd = open(module, O_RDONLY | O_CLOEXEC);

	need(fd >= 0, module);
	need(!syscall(SYS_finit_module, fd, "", 0), "finit_module");
	close(fd);
}

static void unload(void)
{
	/* What ended a moment ago may still be taken down. */
	need(EVENTUALLY(!syscall(SYS_delete_module, "pinfs", O_NONBLOCK), REPLY_MS), "delete_module");
}

/* Holds a pin until the other end of the socket is closed. */
static void hold(int sock)
{
	char path[PATH_MAX], byte = 0;
	struct actor a;

	snprintf(path, sizeof(path), "%s/pinned", dir);
	act_init(&a, path);
	errno = -make_file(path, 1, 1);
	need(!errno, path);
	errno = -act_hold(&a, EXCLUSIVE);
	need(!errno, "a pin");
	need(write(sock, &byte, 1) == 1, "the parent");
	_exit(read(sock, &byte, 1) != 0);
}

/* The pin is another process's, as its mappings would make this one's calls slower, too. */
static void measure_pinned(int round)
{
	int pair[2], status;
	pid_t pid;
	char byte;

	need(!mount(device, dir, "pinfs", 0, NULL), "mount");
	need(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
	pid = fork();
	need(pid >= 0, "fork");
	if (pid == 0) {
		close(pair[0]);
		hold(pair[1]);
	}
	close(pair[1]);
	need(read(pair[0], &byte, 1) == 1, "the process with the pin");
	measure(PINNED, round);
	close(pair[0]);
	need(waitpid(pid, &status, 0) == pid && !status, "the process with the pin");
	need(EVENTUALLY(!umount2(dir, 0), REPLY_MS), "umount");
}

static void measure_all(int round)
{
	measure(ABSENT, round);
	load();
	measure(LOADED, round);
	measure_pinned(round);
	unload();
}

/* ---- report ---- */

/* Sorts, and returns a value that so many in ten are below of. */
static double tenth(double *values, int n, int tenths)
{
	qsort(values, n, sizeof(values[0]), by_value);
	return values[(tenths * (n - 1) + 5) / 10];
}

static void report(int op, int n)
{
	double ratio[STATES][ROUNDS_MAX];

	for (int s = LOADED; s < STATES; s++)
		for (int r = 0; r < n; r++)
			ratio[s][r] = us[op][s][r] / us[op][ABSENT][r];
	printf("%-30s", op_names[op]);
	for (int s = 0; s < STATES; s++)
		printf(" %9.2f", tenth(us[op][s], n, 5));
	for (int s = LOADED; s < STATES; s++)
		printf("  %6.3f (%.3f .. %.3f)", tenth(ratio[s], n, 5), tenth(ratio[s], n, 1),
		       tenth(ratio[s], n, 9));
	printf("\n");
}

int main(int argc, char **argv)
{
	int rounds = argc > 5 ? atoi(argv[5]) : 15;
	cpu_set_t one;

	if (argc < 5 || rounds < 3 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: bench_hooks MODULE DEVICE DIR OTHER [ROUNDS (3 to %d)]\n",
			ROUNDS_MAX);
		return 2;
	}
	/* Moves to another processor come with the waits for the module, and would be its cost. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	need(!sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
	module = argv[1];
	device = argv[2];
	dir = argv[3];
	raw = open(argv[4], O_RDONLY | O_DIRECT | O_CLOEXEC);
	need(raw >= 0, argv[4]);
	close(mkostemp(name, O_CLOEXEC));
	/* Without times to be written to a journal. */
	file = memfd_create("bench-hooks", MFD_CLOEXEC);
	need(file >= 0 && !ftruncate(file, PAGE), "memfd_create");
	buf = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
		   -1, 0);
	need(buf != MAP_FAILED, "memory");
	for (int r = 0; r < rounds; r++)
		measure_all(r);
	printf("%-30s %9s %9s %9s  %-23s  %s\n", "microseconds a call, medians", "no module", "loaded",
	       "with pin", "loaded : none (80 %)", "with pin : none (80 %)");
	for (int op = 0; op < OPS; op++)
		report(op, rounds);
	unlink(name);
	return 0;
}
