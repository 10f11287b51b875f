// SPDX-License-Identifier: GPL-2.0
/*
 * What long-term pins cost: memory of pinfs in huge and in small pages, beside
 * anonymous memory in either, registered and unregistered; and how fast data
 * goes to and from it then.
 *
 *	bench_pin DIR [ROUNDS [RDMADEVICE]]
 *
 * Each round measures every kind of memory once, one after the other, so that
 * whatever else the machine does falls on all of them.  The figures are
 * microseconds of one call, medians; ratios are taken within a round, and given
 * as the median and the range that holds 80 % of the rounds.
 */
#include "pinfs_test.h"
#include "bench.h"
#include "rdma_test.h"

#include <infiniband/verbs.h>
#include <sys/mman.h>
#include <sys/statvfs.h>

#define ROUNDS_MAX	1000
#define TRANSFER	MIB	/* at most, by RDMA */

enum { PINFS_2M, PINFS_4K, ANON_2M, ANON_4K, KINDS };

static const char *const kind_names[KINDS] = { "pinfs 2M", "pinfs 4K", "anon huge", "anon 4K" };

/* One kind of memory, as much as the largest row needs. */
struct memory {
	char *buf;
	int fd;			/* of the pinfs file, or -1 */
};

enum { BEGIN, END, PHASES };

/*
 * Who pins, and then unpins; or, with what goes around it, who uses memory that
 * is pinned.  A call may fail only if the whole consumer is not there.
 */
struct consumer {
	const char *phase_names[PHASES];
	void (*begin)(const struct memory *m, size_t size);
	void (*end)(const struct memory *m);
	bool leases;		/* and takes the lease itself */
	void (*before)(const struct memory *m, size_t size);
	void (*after)(const struct memory *m);
};

struct row {
	const struct consumer *by;
	const char *size_name;
	size_t size;
	int per_round;
	int every;		/* measured in one round of so many */
};

static struct memory memory[KINDS];
static struct io_uring ring;
static struct ibv_pd *pd;
static struct ibv_mr *mr;

/* The other side of transfers: a file in memory, and a region behind a queue pair. */
static int file;
static struct {
	struct ibv_cq *cq;
	struct ibv_qp *qp[2];
	struct ibv_mr *mr;
} other;
static size_t transfer;
static double us[PHASES][KINDS][ROUNDS_MAX];

/* ---- memory ---- */

/* Address space in which a huge page begins at the address, or a page behind. */
static char *room_for(size_t len, bool huge)
{
	char *room = mmap(NULL, len + 2 * PMD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(room != MAP_FAILED, "address space");
	room = (char *)(((unsigned long)room + PMD - 1) & ~(PMD - 1));
	return huge ? room : room + PAGE;
}

static void map_anonymous(struct memory *m, size_t len, bool huge)
{
	m->fd = -1;
	m->buf = mmap(room_for(len, huge), len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	need(m->buf != MAP_FAILED, "mmap");
	need(!madvise(m->buf, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE), "madvise");
	memset(m->buf, 1, len);
}

static void map_file(struct memory *m, const char *dir, size_t len, bool huge)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/bench-pin", dir);
	m->fd = open(path, O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600);
	need(m->fd >= 0, path);
	unlink(path);
	need(!fallocate(m->fd, 0, 0, len), "fallocate");
	m->buf = mmap(room_for(len, huge), len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		      m->fd, 0);
	need(m->buf != MAP_FAILED, "mmap");
	memset(m->buf, 1, len);
}

/* ---- consumers ---- */

static void uring_pin(const struct memory *m, size_t size)
{
	struct iovec iov = { m->buf, size };

	errno = -io_uring_register_buffers(&ring, &iov, 1);
	need(!errno, "io_uring_register_buffers");
}

static void uring_unpin(const struct memory *m)
{
	(void)m;
	errno = -io_uring_unregister_buffers(&ring);
	need(!errno, "io_uring_unregister_buffers");
}

static void lease_pin(const struct memory *m, size_t size)
{
	if (m->fd >= 0)
		need(!fcntl(m->fd, F_SETLEASE, EXCLUSIVE), "F_SETLEASE");
	uring_pin(m, size);
}

/* A request that is over may hold its buffer a little longer, in a worker. */
static void release(const struct memory *m)
{
	need(EVENTUALLY(!fcntl(m->fd, F_SETLEASE, F_UNLCK), REPLY_MS), "F_SETLEASE F_UNLCK");
}

static void lease_unpin(const struct memory *m)
{
	uring_unpin(m);
	if (m->fd >= 0)
		need(!fcntl(m->fd, F_SETLEASE, F_UNLCK), "F_SETLEASE F_UNLCK");
}

static void mr_pin(const struct memory *m, size_t size)
{
	mr = ibv_reg_mr(pd, m->buf, size, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	need(mr, "ibv_reg_mr");
}

static void mr_unpin(const struct memory *m)
{
	(void)m;
	errno = ibv_dereg_mr(mr);
	need(!errno, "ibv_dereg_mr");
}

/* Between a file in memory and a registered buffer. */
static void fixed_in(const struct memory *m, size_t size)
{
	transfer = size;
	need(ring_read_fixed(&ring, file, m->buf, size) == (long)size, "IORING_OP_READ_FIXED");
}

static void fixed_out(const struct memory *m)
{
	need(ring_write_fixed(&ring, file, m->buf, transfer) == (long)transfer, "IORING_OP_WRITE_FIXED");
}

/* Between a memory region and one that is registered all the time, from a queue pair to its peer. */
static void rdma_transfer(const struct memory *m, enum ibv_wr_opcode opcode)
{
	struct ibv_sge sge = { (uint64_t)other.mr->addr, transfer, other.mr->lkey };
	struct ibv_send_wr *bad, wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = opcode,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = { .remote_addr = (uint64_t)m->buf, .rkey = mr->rkey },
	};
	struct ibv_wc wc;
	int n;

	errno = ibv_post_send(other.qp[0], &wr, &bad);
	need(!errno, "ibv_post_send");
	while (!(n = ibv_poll_cq(other.cq, 1, &wc)))
		;
	need(n == 1 && wc.status == IBV_WC_SUCCESS, ibv_wc_status_str(wc.status));
}

static void rdma_in(const struct memory *m, size_t size)
{
	transfer = size;
	rdma_transfer(m, IBV_WR_RDMA_WRITE);
}

static void rdma_out(const struct memory *m)
{
	rdma_transfer(m, IBV_WR_RDMA_READ);
}

static void mr_pin_for_all(const struct memory *m, size_t size)
{
	mr = ibv_reg_mr(pd, m->buf, size, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
	need(mr, "ibv_reg_mr");
}

static const struct consumer uring = {
	{ "io_uring: register", "io_uring: unregister" }, uring_pin, uring_unpin, false, NULL, NULL
};
static const struct consumer leased = {
	{ "lease, io_uring: register", "unregister, unlock" }, lease_pin, lease_unpin, true, NULL, NULL
};
static const struct consumer rdma = {
	{ "RDMA: ibv_reg_mr", "RDMA: ibv_dereg_mr" }, mr_pin, mr_unpin, false, NULL, NULL
};
static const struct consumer uring_io = {
	{ "io_uring: READ_FIXED", "io_uring: WRITE_FIXED" }, fixed_in, fixed_out, false, uring_pin, uring_unpin
};
static const struct consumer rdma_io = {
	{ "RDMA: write into it", "RDMA: read out of it" }, rdma_in, rdma_out, false, mr_pin_for_all, mr_unpin
};

static void open_rdma(const char *name, size_t size)
{
	char *room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ibv_context *context = open_device(name);

	need(context, name);
	need(room != MAP_FAILED, "mmap");
	pd = ibv_alloc_pd(context);
	need(pd, "ibv_alloc_pd");
	other.cq = ibv_create_cq(context, 8, NULL, NULL, 0);
	need(other.cq, "ibv_create_cq");
	for (int i = 0; i < 2; i++) {
		other.qp[i] = make_qp(pd, other.cq);
		need(other.qp[i], "ibv_create_qp");
	}
	for (int i = 0; i < 2; i++) {
		errno = -connect_qp(other.qp[i], other.qp[!i]->qp_num);
		need(!errno, "ibv_modify_qp");
	}
	other.mr = ibv_reg_mr(pd, room, size, IBV_ACCESS_LOCAL_WRITE);
	need(other.mr, "ibv_reg_mr");
}

/* ---- measuring ---- */

static void measure(const struct row *row, int kind, int round)
{
	const struct memory *m = &memory[kind];
	double begin, middle, end, pins = 0, unpins = 0;

	/* Who does not measure leases has one around it all. */
	if (m->fd >= 0 && !row->by->leases)
		need(!fcntl(m->fd, F_SETLEASE, EXCLUSIVE), "F_SETLEASE");
	if (row->by->before)
		row->by->before(m, row->size);
	for (int i = -1; i < row->per_round; i++) {
		begin = now_us();
		row->by->begin(m, row->size);
		middle = now_us();
		row->by->end(m);
		end = now_us();
		/* The first time is for caches to fill. */
		if (i >= 0) {
			pins += middle - begin;
			unpins += end - middle;
		}
	}
	if (row->by->after)
		row->by->after(m);
	if (m->fd >= 0 && !row->by->leases)
		release(m);
	us[BEGIN][kind][round] = pins / row->per_round;
	us[END][kind][round] = unpins / row->per_round;
}

static double quantile(const double *sorted, int n, double q)
{
	return sorted[(int)(q * (n - 1) + 0.5)];
}

static double median(const double *values, int n)
{
	double sorted[ROUNDS_MAX];

	memcpy(sorted, values, n * sizeof(sorted[0]));
	qsort(sorted, n, sizeof(sorted[0]), by_value);
	return quantile(sorted, n, 0.5);
}

static void print_ratio(const double *a, const double *b, int n)
{
	double ratio[ROUNDS_MAX];

	/* Round by round, so that what disturbed both cancels. */
	for (int r = 0; r < n; r++)
		ratio[r] = a[r] / b[r];
	qsort(ratio, n, sizeof(ratio[0]), by_value);
	printf("  %5.2f (%.2f .. %.2f)", quantile(ratio, n, 0.5), quantile(ratio, n, 0.1),
	       quantile(ratio, n, 0.9));
}

static void print_phase(const struct row *row, int phase, int n)
{
	printf("%-7s %-26s", row->size_name, row->by->phase_names[phase]);
	for (int k = 0; k < KINDS; k++)
		printf(" %10.1f", median(us[phase][k], n));
	print_ratio(us[phase][PINFS_2M], us[phase][ANON_2M], n);
	print_ratio(us[phase][PINFS_2M], us[phase][ANON_4K], n);
	print_ratio(us[phase][PINFS_4K], us[phase][ANON_4K], n);
	printf("\n");
}

static void print_head(void)
{
	printf("%-34s", "microseconds a call, medians");
	for (int k = 0; k < KINDS; k++)
		printf(" %10s", kind_names[k]);
	printf("  %-20s  %-20s  %-20s\n", "2M : huge (80 %)", "2M : anon 4K", "4K : anon 4K");
}

static void run(const struct row *row, int rounds)
{
	int n = rounds / row->every;

	if (n < 3)
		n = 3;
	for (int r = 0; r < n; r++)
		for (int k = 0; k < KINDS; k++)
			measure(row, k, r);
	print_phase(row, BEGIN, n);
	print_phase(row, END, n);
}

/* What the file system has room for twice, and the machine for anonymous memory. */
static bool fits(const char *dir, size_t size)
{
	char text[8192];
	const char *free;
	struct statvfs fs;

	need(!statvfs(dir, &fs), dir);
	need(read_text("/proc/meminfo", text, sizeof(text)) > 0, "/proc/meminfo");
	free = strstr(text, "\nMemAvailable:");
	return fs.f_bavail * fs.f_bsize > 2 * size && free &&
	       (size_t)atol(free + 14) * 1024 > 2 * size + 256 * MIB;
}

int main(int argc, char **argv)
{
	struct row rows[] = {
		{ &uring, "1 MiB", MIB, 20, 1 },
		{ &leased, "1 MiB", MIB, 20, 1 },
		{ &uring, "64 MiB", 64 * MIB, 2, 3 },
		{ &uring, "1 GiB", 1024 * MIB, 1, 10 },
		{ &rdma, "1 MiB", MIB, 10, 1 },
		{ &rdma, "64 MiB", 64 * MIB, 2, 3 },
		{ &uring_io, "4 KiB", PAGE, 50, 1 },
		{ &uring_io, "1 MiB", MIB, 5, 1 },
		{ &rdma_io, "4 KiB", PAGE, 20, 1 },
		{ &rdma_io, "1 MiB", TRANSFER, 2, 3 },
	};
	int rounds = argc > 2 ? atoi(argv[2]) : 30;
	size_t most = 64 * MIB;

	if (argc < 2 || rounds < 3 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: bench_pin DIR [ROUNDS (3 to %d) [RDMADEVICE]]\n", ROUNDS_MAX);
		return 2;
	}
	setlinebuf(stdout);
	while (most < 1024 * MIB && fits(argv[1], 4 * most))
		most *= 4;
	map_file(&memory[PINFS_2M], argv[1], most, true);
	map_file(&memory[PINFS_4K], argv[1], most, false);
	map_anonymous(&memory[ANON_2M], most, true);
	map_anonymous(&memory[ANON_4K], most, false);
	errno = -io_uring_queue_init(1, &ring, 0);
	need(!errno, "io_uring");
	file = memfd_create("transfers", MFD_CLOEXEC);
	need(file >= 0 && !fallocate(file, 0, 0, MIB), "memfd");
	if (argc > 3)
		open_rdma(argv[3], TRANSFER);

	print_head();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].size > most)
			printf("%-7s %-26s no room\n", rows[i].size_name, rows[i].by->phase_names[BEGIN]);
		else if ((rows[i].by == &rdma || rows[i].by == &rdma_io) && !pd)
			printf("%-7s %-26s no device\n", rows[i].size_name, rows[i].by->phase_names[BEGIN]);
		else
			run(&rows[i], rounds);
	}
	return 0;
}
