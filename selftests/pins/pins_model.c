// SPDX-License-Identifier: GPL-2.0
/*
 * Who holds what, judged against a model: row P6.
 *
 * Processes with rings, AF_XDP sockets and contexts of the RDMA verbs (if there
 * is soft-RoCE) pin pages of the same few files under leases of their own, give
 * them back in all ways, hand contexts on and are killed, at random from a seed
 * that is printed (PINFS_SEED gives another).  After every step
 * /proc/fs/pinfs/pins, every process's file_pins and what the kernel counts on
 * each page have to become what the model says.  PINFS_STEPS says how many
 * steps there are, PINFS_MODEL_SECS for how long more of them are done.
 */
#include "kselftest_harness.h"

#define PINFS_OWN_FIXTURE

#include "pinfs_test.h"
#include "pinner/pinner.h"
#include "rdma_device.h"

#include <linux/if_xdp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define PROCS		4
#define RINGS		2	/* of a process */
#define XSK		RINGS		/* which context of a process it is */
#define VERBS		(RINGS + 1)
#define KINDS		(RINGS + 2)
#define CONTEXTS	(PROCS * KINDS)
#define FILES		3
#define SLOTS		6	/* of a ring, or memory regions of the verbs */
#define STEPS		100
#define LIMIT		36000	/* s */

/* What a process is told to do: who, with which slot, and which pages of which file. */
struct op {
	unsigned int ring : 4, slot : 4, file : 4, first : 8, pages : 8, write : 1;
};

static long pack(struct op op)
{
	long arg = 0;

	memcpy(&arg, &op, sizeof(op));
	return arg;
}

static struct op unpack(long arg)
{
	struct op op;

	memcpy(&op, &arg, sizeof(op));
	return op;
}

/* ---- in the processes ---- */

static char paths[FILES][PATH_MAX];
static struct {
	int fd[FILES];
	char *map[FILES];
	struct io_uring ring[RINGS];
	int xsk;
	struct ibv_context *verbs;
	struct ibv_pd *pd;
	struct ibv_mr *mr[SLOTS];
} mine;

static long act_setup(struct actor *a, long unused)
{
	(void)a;
	(void)unused;
	mine.xsk = -1;
	for (int f = 0; f < FILES; f++) {
		mine.fd[f] = open(paths[f], O_RDWR | O_CLOEXEC);
		if (mine.fd[f] < 0)
			return -errno;
		mine.map[f] = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, mine.fd[f], 0);
		if (mine.map[f] == MAP_FAILED)
			return -errno;
	}
	return 0;
}

static long act_lease_file(struct actor *a, long file)
{
	(void)a;
	return ERR(fcntl(mine.fd[file], F_SETLEASE, F_LAYOUT | F_UNBREAK));
}

/* A ring with a table of empty slots; returns the descriptor. */
static long act_open_ring(struct actor *a, long ring)
{
	long ret = io_uring_queue_init(4, &mine.ring[ring], 0);

	(void)a;
	if (!ret)
		ret = io_uring_register_buffers_sparse(&mine.ring[ring], SLOTS);
	return ret ? ret : mine.ring[ring].ring_fd;
}

static struct iovec iov_of(struct op op)
{
	if (!op.pages)
		return (struct iovec){ NULL, 0 };
	/* Some begin within their first page and end within their last. */
	return (struct iovec){ mine.map[op.file] + op.first * PAGE + op.first % 2 * 100,
			       op.pages * PAGE - op.first % 2 * 200 };
}

/* Fills a slot, or empties it. */
static long act_update(struct actor *a, long arg)
{
	struct op op = unpack(arg);
	struct iovec iov = iov_of(op);
	__u64 tag = 0;

	(void)a;
	return io_uring_register_buffers_update_tag(&mine.ring[op.ring], op.slot, &iov, &tag, 1);
}

/* Gives all buffers back, and has another table with this one in each slot. */
static long act_replace(struct actor *a, long arg)
{
	struct op op = unpack(arg);
	struct iovec iov[SLOTS];
	long ret = io_uring_unregister_buffers(&mine.ring[op.ring]);

	(void)a;
	for (int i = 0; i < SLOTS; i++)
		iov[i] = iov_of(op);
	if (ret)
		return ret;
	ret = op.pages ? io_uring_register_buffers(&mine.ring[op.ring], iov, SLOTS) : 0;
	/* All or nothing; then it has no table. */
	if (ret || !op.pages)
		return io_uring_register_buffers_sparse(&mine.ring[op.ring], SLOTS) ?: ret;
	return 0;
}

static long act_close_ring(struct actor *a, long ring)
{
	(void)a;
	io_uring_queue_exit(&mine.ring[ring]);
	return 0;
}

static long act_open_xsk(struct actor *a, long arg)
{
	struct op op = unpack(arg);
	struct xdp_umem_reg reg = {
		.chunk_size = PAGE,
		.addr = (uintptr_t)mine.map[op.file] + op.first * PAGE,
		.len = op.pages * PAGE,
	};
	long ret;

	(void)a;
	mine.xsk = ERR(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
	if (mine.xsk < 0)
		return mine.xsk;
	ret = ERR(setsockopt(mine.xsk, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)));
	if (!ret)
		return mine.xsk;
	close(mine.xsk);
	return ret;
}

/* A context with a protection domain; returns the descriptor. */
static long act_open_verbs(struct actor *a, long unused)
{
	(void)a;
	(void)unused;
	mine.verbs = open_device(device);
	if (!mine.verbs)
		return -ENODEV;
	mine.pd = ibv_alloc_pd(mine.verbs);
	return mine.pd ? mine.verbs->cmd_fd : -errno;
}

static long act_register(struct actor *a, long arg)
{
	struct op op = unpack(arg);
	struct iovec iov = iov_of(op);

	(void)a;
	mine.mr[op.slot] = ibv_reg_mr(mine.pd, iov.iov_base, iov.iov_len,
				      op.write ? IBV_ACCESS_LOCAL_WRITE : 0);
	return mine.mr[op.slot] ? 0 : -errno;
}

static long act_deregister(struct actor *a, long slot)
{
	(void)a;
	return -ibv_dereg_mr(mine.mr[slot]);
}

/* The regions are left to the kernel. */
static long act_close_verbs(struct actor *a, long unused)
{
	(void)a;
	(void)unused;
	close(mine.verbs->async_fd);
	return ERR(close(mine.verbs->cmd_fd));
}

static long act_close_fd(struct actor *a, long fd)
{
	(void)a;
	return ERR(close(fd));
}

static long act_send(struct actor *a, long fd)
{
	(void)a;
	return send_fd(passing[0], fd);
}

static long act_receive(struct actor *a, long unused)
{
	long ret = act_take_fd(a, false);

	(void)unused;
	return ret ? ret : a->got_fd;
}

static long act_take(struct actor *a, long ring_of)
{
	long ret = act_take_ring(a, ring_of);

	return ret ? ret : a->got_fd;
}

/* ---- the model ---- */

struct buffer {
	int file, first, pages;		/* pages is 0 if there is none */
};

struct context {
	bool is_open;
	int home;			/* the process that can use it, or -1 */
	int which;			/* ring of the process, XSK, or VERBS */
	int owner;			/* which life of the process has pinned */
	char name[64];			/* as in /proc/PID/fd */
	int fd[PROCS];			/* descriptors in processes, or -1 */
	struct buffer buffer[SLOTS];
};

FIXTURE(pinfs) {
	char dir[PATH_MAX];
	char id[FILES][64];
	struct peer proc[PROCS];
	int life[PROCS], lives;		/* each process that there was has a number */
	bool leased[PROCS][FILES];
	struct context context[CONTEXTS];
	unsigned long long random;
	char did[256];
	long compared;			/* lines, all in all */
	int pinner;			/* the device that counts */
	char *map[FILES];
};

FIXTURE_SETUP(pinfs) {
	const char *why = test_dir(self->dir, sizeof(self->dir));
	long ret;

	if (why)
		SKIP(return, "%s", why);
	self->pinner = -1;
	ret = load_module_beside("pinner.ko");
	ASSERT_TRUE(ret == 0 || ret == -EEXIST);
	ASSERT_EQ(0, make_passing());
	for (int f = 0; f < FILES; f++) {
		snprintf(paths[f], sizeof(paths[f]), "%.4000s/file%d", self->dir, f);
		ASSERT_EQ(0, make_file(paths[f], FILE_PAGES, f));
		locks_id(paths[f], self->id[f], sizeof(self->id[f]));
	}
	for (int c = 0; c < CONTEXTS; c++)
		memset(self->context[c].fd, -1, sizeof(self->context[c].fd));
}

FIXTURE_TEARDOWN(pinfs) {
	for (int p = 0; p < PROCS; p++)
		if (self->proc[p].pid > 0)
			peer_kill(&self->proc[p]);
	if (self->pinner >= 0)
		close(self->pinner);
	for (int f = 0; f < FILES; f++)
		if (self->map[f])
			munmap(self->map[f], FILE_SIZE);
	remove_tree(self->dir);
	/* The last file of the device may be on its way yet. */
	if (!EVENTUALLY(syscall(SYS_delete_module, "pinner", O_NONBLOCK) == 0, 1000)) {
		TH_LOG("the module pinner does not go");
		_metadata->exit_code = KSFT_FAIL;
	}
}

static unsigned int pick(FIXTURE_DATA(pinfs) *self, unsigned int below)
{
	/* xorshift64 */
	self->random ^= self->random << 13;
	self->random ^= self->random >> 7;
	self->random ^= self->random << 17;
	return (self->random >> 20) % below;
}

static bool is_alive(FIXTURE_DATA(pinfs) *self, const struct context *c)
{
	for (int p = 0; p < PROCS; p++)
		if (self->life[p] == c->owner)
			return true;
	return false;
}

/* Pins of a process that is gone keep its lease, and others from taking one. */
static bool has_orphan(FIXTURE_DATA(pinfs) *self, int file)
{
	for (int i = 0; i < CONTEXTS; i++) {
		struct context *c = &self->context[i];

		for (int s = 0; s < SLOTS; s++)
			if (c->is_open && c->buffer[s].pages && c->buffer[s].file == file &&
			    !is_alive(self, c))
				return true;
	}
	return false;
}

static unsigned int pinned_of(const struct context *c, int file)
{
	unsigned int pages = 0;

	for (int s = 0; s < SLOTS; s++)
		if (c->is_open && c->buffer[s].file == file)
			pages |= ((1U << c->buffer[s].pages) - 1) << c->buffer[s].first;
	return pages;
}

/* The last descriptor of a context is gone, and so is all that it has pinned. */
static void forget_if_closed(struct context *c)
{
	for (int p = 0; p < PROCS; p++)
		if (c->fd[p] >= 0)
			return;
	c->is_open = false;
	memset(c->buffer, 0, sizeof(c->buffer));
}

/* ---- the model against the kernel ---- */

#define LINES_MAX	(CONTEXTS * FILES * FILE_PAGES)

struct lines {
	int count;
	char text[LINES_MAX][256];
};

static void add_line(struct lines *l, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (l->count < LINES_MAX)
		vsnprintf(l->text[l->count++], sizeof(l->text[0]), fmt, args);
	va_end(args);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static bool same_lines(struct lines *a, struct lines *b)
{
	qsort(a->text, a->count, sizeof(a->text[0]), by_text);
	qsort(b->text, b->count, sizeof(b->text[0]), by_text);
	if (a->count != b->count)
		return false;
	for (int i = 0; i < a->count; i++)
		if (strcmp(a->text[i], b->text[i]))
			return false;
	return true;
}

static void add_ranges(struct lines *l, unsigned int pages, int file, const char *state,
		       const char *pids)
{
	for (int first = 0; first < FILE_PAGES; first++) {
		int end = first;

		while (pages & 1U << end)
			end++;
		if (end == first)
			continue;
		add_line(l, "file%d %d..%d %s %s", file, first, end, state, pids);
		first = end;
	}
}

static void pids_of(FIXTURE_DATA(pinfs) *self, const struct context *c, char *pids, size_t size)
{
	size_t len = 0;
	int last = 0;

	for (;;) {
		int next = 0;

		for (int p = 0; p < PROCS; p++) {
			int pid = self->proc[p].pid;

			if (c->fd[p] >= 0 && pid > last && (!next || pid < next))
				next = pid;
		}
		if (!next)
			return;
		len += snprintf(pids + len, size - len, "%s%d", len ? "," : "", next);
		last = next;
	}
}

static void model_table(FIXTURE_DATA(pinfs) *self, struct lines *l)
{
	char pids[128];

	l->count = 0;
	for (int i = 0; i < CONTEXTS; i++) {
		const struct context *c = &self->context[i];

		if (!c->is_open)
			continue;
		pids_of(self, c, pids, sizeof(pids));
		for (int f = 0; f < FILES; f++)
			add_ranges(l, pinned_of(c, f), f, is_alive(self, c) ? "active" : "orphaned",
				   pids);
	}
}

static bool kernels_table(FIXTURE_DATA(pinfs) *self, struct lines *l)
{
	static struct pin_line lines[LINES_MAX];
	char bad[512];

	l->count = 0;
	for (int f = 0; f < FILES; f++) {
		long n = pins_of(self->id[f], lines, LINES_MAX, bad, sizeof(bad));

		if (n < 0 || n > LINES_MAX)
			return false;
		for (long i = 0; i < n; i++)
			add_line(l, "file%d %llu..%llu %s %s", f, lines[i].start / PAGE,
				 lines[i].end / PAGE, lines[i].state, lines[i].pids);
	}
	return true;
}

static void model_view(FIXTURE_DATA(pinfs) *self, int p, struct lines *l)
{
	l->count = 0;
	for (int i = 0; i < CONTEXTS; i++) {
		const struct context *c = &self->context[i];

		for (int f = 0; f < FILES; f++)
			if (c->fd[p] >= 0 && pinned_of(c, f))
				add_line(l, "%d: %s file%d", c->fd[p], c->name, f);
	}
}

static bool kernels_view(FIXTURE_DATA(pinfs) *self, int p, struct lines *l)
{
	static char text[256 * KIB];
	char path[64], context[128] = "", *line, *rest;

	l->count = 0;
	snprintf(path, sizeof(path), "/proc/%d/file_pins", self->proc[p].pid);
	if (read_text(path, text, sizeof(text)) < 0)
		return false;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (line[0] == '\t')
			add_line(l, "%s %s", context, strrchr(line, '/') + 1);
		else
			snprintf(context, sizeof(context), "%s", line);
	}
	return true;
}

/* Each buffer is one pin on each of its pages. */
static void model_counts(FIXTURE_DATA(pinfs) *self, int file, __u32 *count)
{
	memset(count, 0, PINNER_COUNTS * sizeof(*count));
	for (int i = 0; i < CONTEXTS; i++) {
		const struct context *c = &self->context[i];

		for (int s = 0; s < SLOTS; s++)
			if (c->is_open && c->buffer[s].file == file)
				for (int n = 0; n < c->buffer[s].pages; n++)
					count[c->buffer[s].first + n]++;
	}
}

static bool counts_are_right(FIXTURE_DATA(pinfs) *self, int file)
{
	struct pinner_counts counts = { .addr = (uintptr_t)self->map[file] };
	__u32 expected[PINNER_COUNTS];

	model_counts(self, file, expected);
	return !ioctl(self->pinner, PINNER_COUNT, &counts) &&
	       !memcmp(expected, counts.count, sizeof(expected));
}

static struct lines want, seen;

static bool table_is_right(FIXTURE_DATA(pinfs) *self)
{
	model_table(self, &want);
	return kernels_table(self, &seen) && same_lines(&want, &seen);
}

static bool view_is_right(FIXTURE_DATA(pinfs) *self, int p)
{
	model_view(self, p, &want);
	return kernels_view(self, p, &seen) && same_lines(&want, &seen);
}

static void show_counts(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, int file)
{
	struct pinner_counts counts = { .addr = (uintptr_t)self->map[file] };
	__u32 expected[PINNER_COUNTS];

	TH_LOG("after: %s", self->did);
	model_counts(self, file, expected);
	ASSERT_EQ(0, ioctl(self->pinner, PINNER_COUNT, &counts));
	for (int i = 0; i < PINNER_COUNTS; i++)
		TH_LOG("page %d of file%d: expected %u pins, there are %u", i, file, expected[i],
		       counts.count[i]);
}

static void show_difference(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self)
{
	TH_LOG("after: %s", self->did);
	for (int i = 0; i < want.count; i++)
		TH_LOG("expected: %s", want.text[i]);
	for (int i = 0; i < seen.count; i++)
		TH_LOG("seen:     %s", seen.text[i]);
}

/* What a closed ring had goes a little later. */
static void compare(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self)
{
	ASSERT_TRUE(EVENTUALLY(table_is_right(self), 2000)) {
		show_difference(_metadata, self);
	}
	self->compared += want.count;
	for (int f = 0; f < FILES; f++) {
		ASSERT_TRUE(EVENTUALLY(counts_are_right(self, f), 2000)) {
			show_counts(_metadata, self, f);
		}
	}
	for (int p = 0; p < PROCS; p++) {
		ASSERT_TRUE(EVENTUALLY(view_is_right(self, p), 1000)) {
			TH_LOG("view of process %d", self->proc[p].pid);
			show_difference(_metadata, self);
		}
	}
}

/* ---- steps ---- */

static void start_process(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, int p)
{
	ASSERT_EQ(0, peer_start(&self->proc[p], paths[0]));
	ASSERT_EQ(0, peer_call(&self->proc[p], act_setup, 0));
	self->life[p] = ++self->lives;
	for (int f = 0; f < FILES; f++)
		self->leased[p][f] = false;
}

static void kill_process(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, int p)
{
	snprintf(self->did, sizeof(self->did), "SIGKILL of %d", self->proc[p].pid);
	ASSERT_LE(0, peer_kill(&self->proc[p]));
	for (int i = 0; i < CONTEXTS; i++) {
		struct context *c = &self->context[i];

		if (c->is_open && c->home == p)
			c->home = -1;
		if (c->fd[p] >= 0) {
			c->fd[p] = -1;
			forget_if_closed(c);
		}
	}
	start_process(_metadata, self, p);
}

/* Whether the process has a lease now that it may pin under. */
static bool has_lease(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, int p, int file)
{
	long ret;

	if (self->leased[p][file])
		return true;
	/* Now and then it has just forgotten to take one. */
	if (pick(self, 8) == 0)
		return false;
	ret = peer_call(&self->proc[p], act_lease_file, file);
	EXPECT_EQ(has_orphan(self, file) ? -EAGAIN : 0, ret);
	self->leased[p][file] = ret == 0;
	return ret == 0;
}

static struct context *context_of(FIXTURE_DATA(pinfs) *self, int p, int which)
{
	struct context *unused = NULL;

	for (int i = 0; i < CONTEXTS; i++) {
		struct context *c = &self->context[i];

		if (c->is_open && c->home == p && c->which == which)
			return c;
		if (!c->is_open)
			unused = c;
	}
	return unused;
}

static struct op any_pages(FIXTURE_DATA(pinfs) *self, int ring)
{
	struct op op = { .ring = ring, .slot = pick(self, SLOTS), .file = pick(self, FILES) };

	op.first = pick(self, FILE_PAGES);
	op.pages = 1 + pick(self, FILE_PAGES - op.first);
	return op;
}

static void opened(FIXTURE_DATA(pinfs) *self, struct context *c, int p, int which, int fd)
{
	char path[64];
	ssize_t len;

	c->is_open = true;
	c->home = p;
	c->which = which;
	c->owner = self->life[p];
	c->fd[p] = fd;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", self->proc[p].pid, fd);
	len = readlink(path, c->name, sizeof(c->name) - 1);
	c->name[len > 0 ? len : 0] = '\0';
}

static void use_ring(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, struct context *c,
		     int p, int ring)
{
	bool all = pick(self, 5) == 0;
	struct op op = any_pages(self, ring);
	bool may;
	long ret;

	if (pick(self, 3) == 0)
		op.pages = 0;
	may = !op.pages || has_lease(_metadata, self, p, op.file);
	snprintf(self->did, sizeof(self->did), "%s of slot %d of ring %d of %d: file%d, %d pages from %d",
		 all ? "replacement" : "update", op.slot, ring, self->proc[p].pid, op.file, op.pages,
		 op.first);
	ret = peer_call(&self->proc[p], all ? act_replace : act_update, pack(op));
	if (all)
		memset(c->buffer, 0, sizeof(c->buffer));
	if (!may) {
		EXPECT_EQ(-EOPNOTSUPP, ret);
		return;
	}
	/* An update says how many slots. */
	ASSERT_EQ(all ? 0 : 1, ret) {
		TH_LOG("after: %s", self->did);
	}
	for (int s = 0; s < SLOTS; s++)
		if (all || s == (int)op.slot)
			c->buffer[s] = (struct buffer){ op.file, op.first, op.pages };
}

static void use_xsk(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, struct context *c,
		    int p)
{
	struct op op = any_pages(self, 0);
	bool may = has_lease(_metadata, self, p, op.file);
	long ret = peer_call(&self->proc[p], act_open_xsk, pack(op));

	snprintf(self->did, sizeof(self->did), "socket of %d: file%d, %d pages from %d",
		 self->proc[p].pid, op.file, op.pages, op.first);
	if (!may) {
		EXPECT_EQ(-EOPNOTSUPP, ret);
		return;
	}
	ASSERT_LE(0, ret);
	opened(self, c, p, XSK, ret);
	c->buffer[0] = (struct buffer){ op.file, op.first, op.pages };
}

static void use_verbs(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, struct context *c,
		      int p)
{
	struct op op = any_pages(self, 0);
	struct buffer *buffer = &c->buffer[op.slot];
	bool may;
	long ret;

	op.write = pick(self, 2);
	if (buffer->pages) {
		snprintf(self->did, sizeof(self->did), "end of region %d of %d", op.slot, self->proc[p].pid);
		ASSERT_EQ(0, peer_call(&self->proc[p], act_deregister, op.slot));
		buffer->pages = 0;
		return;
	}
	may = has_lease(_metadata, self, p, op.file);
	snprintf(self->did, sizeof(self->did), "region %d of %d: file%d, %d pages from %d", op.slot,
		 self->proc[p].pid, op.file, op.pages, op.first);
	ret = peer_call(&self->proc[p], act_register, pack(op));
	EXPECT_EQ(may ? 0 : -EOPNOTSUPP, ret) {
		TH_LOG("after: %s", self->did);
	}
	if (!ret)
		*buffer = (struct buffer){ op.file, op.first, op.pages };
}

/* Another process gets a descriptor of a context. */
static void pass_on(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, struct context *c,
		    int from, int to)
{
	struct peer *a = &self->proc[from], *b = &self->proc[to];

	snprintf(self->did, sizeof(self->did), "descriptor %d from %d to %d", c->fd[from], a->pid,
		 b->pid);
	if (c->which >= RINGS) {
		ASSERT_EQ(0, peer_call(a, act_send, c->fd[from]));
		c->fd[to] = peer_call(b, act_receive, 0);
	} else {
		c->fd[to] = peer_call(b, act_take, RING_OF(a->pid, c->fd[from]));
	}
	ASSERT_LE(0, c->fd[to]);
}

static void close_one(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, struct context *c,
		      int p)
{
	struct peer *peer = &self->proc[p];

	snprintf(self->did, sizeof(self->did), "close of %d by %d", c->fd[p], peer->pid);
	if (c->home == p && c->which < RINGS) {
		ASSERT_EQ(0, peer_call(peer, act_close_ring, c->which));
	} else if (c->home == p && c->which == VERBS) {
		ASSERT_EQ(0, peer_call(peer, act_close_verbs, 0));
	} else {
		ASSERT_EQ(0, peer_call(peer, act_close_fd, c->fd[p]));
	}
	if (c->home == p)
		c->home = -1;
	c->fd[p] = -1;
	forget_if_closed(c);
}

static void step(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self)
{
	int p = pick(self, PROCS), which = pick(self, device[0] ? KINDS : VERBS), other = pick(self, PROCS);
	struct context *c = context_of(self, p, which);
	struct context *any = &self->context[pick(self, CONTEXTS)];
	unsigned int what = pick(self, 32);

	if (what == 0) {
		kill_process(_metadata, self, p);
	} else if (what < 6) {
		if (any->is_open && any->fd[p] >= 0)
			close_one(_metadata, self, any, p);
	} else if (what < 9) {
		if (any->is_open && any->fd[p] >= 0 && any->fd[other] < 0)
			pass_on(_metadata, self, any, p, other);
	} else if (!c) {
		/* All are in use, by others. */
	} else if (!c->is_open && which < RINGS) {
		long fd = peer_call(&self->proc[p], act_open_ring, which);

		ASSERT_LE(0, fd);
		opened(self, c, p, which, fd);
	} else if (!c->is_open && which == VERBS) {
		long fd = peer_call(&self->proc[p], act_open_verbs, 0);

		ASSERT_LE(0, fd);
		opened(self, c, p, which, fd);
	} else if (!c->is_open) {
		use_xsk(_metadata, self, c, p);
	} else if (which == VERBS) {
		use_verbs(_metadata, self, c, p);
	} else if (which < RINGS) {
		use_ring(_metadata, self, c, p, which);
	}
}

static long number_from(const char *name, long otherwise)
{
	const char *text = getenv(name);

	return text ? strtol(text, NULL, 0) : otherwise;
}

/* For the device that counts, which sees the caller's memory. */
static void map_files(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self)
{
	self->pinner = open("/dev/" PINNER_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->pinner);
	for (int f = 0; f < FILES; f++) {
		int fd = open(paths[f], O_RDONLY | O_CLOEXEC);

		ASSERT_LE(0, fd);
		self->map[f] = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
		ASSERT_NE(MAP_FAILED, self->map[f]);
		close(fd);
	}
}

static void has_all_steps(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self)
{
	long steps = number_from("PINFS_STEPS", STEPS);
	long seconds = number_from("PINFS_MODEL_SECS", 0);
	long end = now_ms() + seconds * 1000;
	long seed = number_from("PINFS_SEED", now_ms() & 0xffffff);
	long i;

	printf("# seed %ld, %ld s\n", seed, seconds);
	fflush(stdout);
	self->random = seed * 0x9e3779b97f4a7c15ULL + 1;
	for (int p = 0; p < PROCS; p++)
		start_process(_metadata, self, p);
	map_files(_metadata, self);
	for (i = 0; i < steps || now_ms() < end; i++) {
		say_it_goes_on();
		step(_metadata, self);
		compare(_metadata, self);
	}
	printf("# %ld steps, %ld lines compared, %s\n", i, self->compared,
	       device[0] ? "with RDMA" : "without RDMA");
	EXPECT_LT(0, self->compared);
}

TEST_F_TIMEOUT(pinfs, P6_F1_F3_F5_random_contexts_and_a_model, LIMIT)
{
	struct lines *none = &want;

	has_all_steps(_metadata, self);
	/* All at once in the end: everything is free. */
	for (int p = 0; p < PROCS; p++)
		ASSERT_LE(0, peer_kill(&self->proc[p]));
	none->count = 0;
	EXPECT_TRUE(EVENTUALLY(kernels_table(self, &seen) && seen.count == 0, 1000));
	for (int f = 0; f < FILES; f++)
		EXPECT_EQ(0, truncate(paths[f], 0));
}

TEST_HARNESS_MAIN
