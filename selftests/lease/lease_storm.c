// SPDX-License-Identifier: GPL-2.0
/*
 * Leases taken, converted, broken, given back, their descriptors opened,
 * duplicated, inherited, sent and closed, and pages pinned under them and let
 * go, by processes that fork and are killed, in random order: against a model
 * that predicts every result.
 * Rows L2 to L6, L9 to L16, L18, B1 to B3, P1, P3 and P4.
 *
 *	lease_storm [SECONDS [SEED]]
 *
 * The seed is printed, and the same seed does the same again: one operation is
 * asked for at a time, so nothing but the file system decides what comes out.
 */
#include "kselftest.h"
#include "pinfs_test.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define UNBREAK		(F_LAYOUT | F_UNBREAK)

#define WORKERS		4
#define SLOTS		5
#define PAGES		10	/* and one more that stands for all that follow */
#define PINS		2
#define FILES		(WORKERS * (SLOTS + PINS))	/* open, or closed with pins */
#define SECONDS		8
#define LEAST		600	/* operations, however slow the machine */
#define ANSWER_MS	20000

/* ---- workers ---- */

static int slots[SLOTS];	/* descriptors of the file, or -1 */
static struct io_uring rings[PINS];	/* each with one registered buffer, or without */
static volatile sig_atomic_t told;
static char path[PATH_MAX];

struct request {
	long (*fn)(const long *args);
	long args[4];
};

static void on_sigio(int sig)
{
	(void)sig;
	told++;
}

static long do_open(const long *args)
{
	slots[args[0]] = open(path, args[1] | O_CLOEXEC);
	return slots[args[0]] < 0 ? -errno : 0;
}

static long do_dup(const long *args)
{
	slots[args[1]] = dup(slots[args[0]]);
	return slots[args[1]] < 0 ? -errno : 0;
}

static long do_close(const long *args)
{
	long ret = ERR(close(slots[args[0]]));

	slots[args[0]] = -1;
	return ret;
}

static long do_send(const long *args)
{
	return send_fd(passing[0], slots[args[0]]);
}

static long do_receive(const long *args)
{
	slots[args[0]] = recv_fd(passing[1]);
	return slots[args[0]] < 0 ? slots[args[0]] : 0;
}

static long do_lease(const long *args)
{
	struct pinfs_lease arg = {
		.size = sizeof(arg),
		.op = args[1] ? PINFS_LEASE_SET : PINFS_LEASE_RELEASE,
		.lease = args[1],
		.start = args[2] * PAGE,
		.len = args[3] * PAGE,
	};

	return ERR(ioctl(slots[args[0]], PINFS_IOC_LEASE, &arg));
}

static long do_setlease(const long *args)
{
	return ERR(fcntl(slots[args[0]], F_SETLEASE, (int)args[1]));
}

static long do_getlease(const long *args)
{
	return ERR(fcntl(slots[args[0]], F_GETLEASE));
}

/* Kind, first page, and page behind the last, packed. */
#define FOUND(kind, start, end)	((long)(kind) << 32 | (long)(start) << 16 | (end))

static long do_get(const long *args)
{
	struct pinfs_lease arg = {
		.size = sizeof(arg), .op = PINFS_LEASE_GET, .start = args[1] * PAGE,
	};
	long ret = ERR(ioctl(slots[args[0]], PINFS_IOC_LEASE, &arg));

	if (ret)
		return ret;
	if (arg.lease == F_UNLCK)
		return FOUND(F_UNLCK, 0, 0);
	return FOUND(arg.lease, arg.start / PAGE,
		     arg.len ? (arg.start + arg.len) / PAGE : PAGES + 1);
}

static long do_punch(const long *args)
{
	return ERR(fallocate(slots[args[0]], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     args[1] * PAGE, args[2] * PAGE));
}

/* Nothing is left of the mapping, so that the last close is that of the last descriptor. */
static long do_pin(const long *args)
{
	struct io_uring *ring = &rings[args[0]];
	struct iovec iov = { .iov_len = (args[3] - args[2]) * PAGE };
	long ret;

	iov.iov_base = mmap(NULL, iov.iov_len, PROT_READ | PROT_WRITE, MAP_SHARED,
			    slots[args[1]], args[2] * PAGE);
	if (iov.iov_base == MAP_FAILED)
		return -errno;
	ret = io_uring_queue_init(1, ring, 0);
	if (!ret) {
		ret = io_uring_register_buffers(ring, &iov, 1);
		if (ret)
			io_uring_queue_exit(ring);
	}
	munmap(iov.iov_base, iov.iov_len);
	return ret;
}

static long do_unpin(const long *args)
{
	return io_uring_unregister_buffers(&rings[args[0]]);
}

static long do_close_ring(const long *args)
{
	io_uring_queue_exit(&rings[args[0]]);
	return 0;
}

static long do_told(const long *args)
{
	long n = told;

	(void)args;
	told = 0;
	return n;
}

static void serve(int sock)
{
	struct request req;
	long ret;

	while (read(sock, &req, sizeof(req)) == sizeof(req)) {
		ret = req.fn(req.args);
		if (write(sock, &ret, sizeof(ret)) != sizeof(ret))
			break;
	}
	_exit(0);
}

/* A child with all of this worker's descriptors, which the controller talks to. */
static long do_fork(const long *args)
{
	int sock = recv_fd(passing[1]);
	pid_t pid;

	(void)args;
	if (sock < 0)
		return sock;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, 0);
		told = 0;
		serve(sock);
	}
	close(sock);
	return pid < 0 ? -errno : pid;
}

/* ---- the model ---- */

/* An open file description, or what is left of it for its pins. */
struct file {
	int refs;
	bool writable;
	bool orphaned;
	long lease;		/* leases are numbered as they come */
	int kind[PAGES + 1];	/* 0: none */
	long holder;		/* serial number of the worker that took it last */
	long owner;		/* and of the one that is told */
};

/* A ring with a buffer; inherited, it is one pin still. */
struct pin {
	int refs;
	bool live;		/* it has its buffer */
	int first, end;
	struct file *under;
};

static struct worker {
	pid_t pid;
	int sock;
	long serial;		/* 0: there is none */
	struct file *slot[SLOTS];
	struct pin *pin[PINS];
} workers[WORKERS];

static struct file files[FILES];
static struct pin pins[WORKERS * PINS];
static char id[64];		/* of the file, as the global table has it */
static long serials, leases, operations, pinned, orphans;
static unsigned long long seed;
static bool has_fcntl;

static unsigned int any(unsigned int below)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned int)(seed >> 33) % below;
}

static void __attribute__((format(printf, 1, 2), noreturn)) wrong(const char *format, ...)
{
	va_list ap;
	char text[512];

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	ksft_print_msg("operation %ld: %s\n", operations, text);
	ksft_test_result_fail("L2 L3 L5 L6 L11 L14 L15 L16 L18 B1 B2 P3 lease storm\n");
	for (int i = 0; i < WORKERS; i++)
		if (workers[i].serial)
			kill(workers[i].pid, SIGKILL);
	ksft_finished();
	exit(1);
}

static void post(struct worker *w, long (*fn)(const long *), long a, long b, long c, long d)
{
	struct request req = { fn, { a, b, c, d } };

	if (write(w->sock, &req, sizeof(req)) != sizeof(req))
		wrong("worker %ld does not listen", w->serial);
}

static long answer(struct worker *w)
{
	struct pollfd pfd = { .fd = w->sock, .events = POLLIN };
	long ret;

	if (poll(&pfd, 1, scaled_ms(ANSWER_MS)) != 1 ||
	    read(w->sock, &ret, sizeof(ret)) != sizeof(ret))
		wrong("worker %ld does not answer", w->serial);
	return ret;
}

static long ask(struct worker *w, long (*fn)(const long *), long a, long b, long c, long d)
{
	post(w, fn, a, b, c, d);
	return answer(w);
}

static void want(long expected, long seen, const char *what, const struct worker *w, long slot,
		 long x, long y)
{
	if (expected != seen)
		wrong("%s %ld %ld by worker %ld, slot %ld: %ld expected, %ld seen", what, x, y,
		      w->serial, slot, expected, seen);
}

static bool is_strong(int kind)
{
	return kind == EXCLUSIVE || kind == UNBREAK;
}

static bool is_held(const struct file *f)
{
	for (int i = 0; i <= PAGES; i++)
		if (f->kind[i])
			return true;
	return false;
}

/* A live pin of some pages, under that lease or any. */
static bool has_pin(const struct file *under, int first, int end)
{
	for (size_t i = 0; i < ARRAY_SIZE(pins); i++)
		if (pins[i].live && (!under || pins[i].under == under) &&
		    pins[i].first < end && first < pins[i].end)
			return true;
	return false;
}

static void drop(struct file *f)
{
	if (--f->refs)
		return;
	if (!has_pin(f, 0, PAGES)) {
		memset(f, 0, sizeof(*f));
		return;
	}
	f->orphaned = true;
	f->holder = 0;
	f->owner = 0;
	for (int p = 0; p <= PAGES; p++)
		if (f->kind[p] == F_LAYOUT)
			f->kind[p] = 0;
	orphans++;
}

static void end_pin(struct pin *pin)
{
	struct file *f = pin->under;

	pin->live = false;
	if (f->orphaned && !has_pin(f, 0, PAGES))
		memset(f, 0, sizeof(*f));
}

static void drop_pin(struct pin *pin)
{
	if (--pin->refs)
		return;
	if (pin->live)
		end_pin(pin);
	memset(pin, 0, sizeof(*pin));
}

/* Pages that are pinned in all contexts, by state of the lease; whether the kernel says the same. */
static bool table_agrees(void)
{
	static struct pin_line lines[64];
	long n = pins_of(id, lines, ARRAY_SIZE(lines), NULL, 0);
	long sum[2] = { 0 };

	if (n < 0 || n > (long)ARRAY_SIZE(lines))
		return false;
	for (long i = 0; i < n; i++)
		sum[!strcmp(lines[i].state, "orphaned")] += lines[i].pages;
	for (size_t i = 0; i < ARRAY_SIZE(pins); i++)
		if (pins[i].live)
			sum[pins[i].under->orphaned] -= pins[i].end - pins[i].first;
	return !sum[0] && !sum[1];
}

/* A worker of the kernel may hold a buffer for a moment longer than its ring. */
static void check_table(const char *after)
{
	if (!EVENTUALLY(table_agrees(), ANSWER_MS))
		wrong("after %s the table of pins does not tell what is pinned", after);
}

static void add_worker(struct worker *w, pid_t pid, int sock)
{
	w->pid = pid;
	w->sock = sock;
	w->serial = ++serials;
}

static void start_worker(struct worker *w)
{
	struct sigaction ignore_children = { .sa_handler = SIG_IGN, .sa_flags = SA_NOCLDWAIT };
	pid_t parent = getpid(), pid;
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		wrong("socketpair: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		wrong("fork: %s", strerror(errno));
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		close(sv[0]);
		sigaction(SIGCHLD, &ignore_children, NULL);
		for (int i = 0; i < SLOTS; i++)
			slots[i] = -1;
		serve(sv[1]);
	}
	close(sv[1]);
	memset(w, 0, sizeof(*w));
	add_worker(w, pid, sv[0]);
}

/* Nobody's child, a zombie, or gone: its descriptors are closed. */
static bool has_ended(pid_t pid)
{
	char name[64], text[512];
	const char *state;

	waitpid(pid, NULL, WNOHANG);
	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	if (read_text(name, text, sizeof(text)) < 0)
		return true;
	state = strrchr(text, ')');
	return state && (state[2] == 'Z' || state[2] == 'X');
}

static void kill_worker(struct worker *w)
{
	kill(w->pid, SIGKILL);
	if (!EVENTUALLY(has_ended(w->pid), ANSWER_MS))
		wrong("worker %ld does not die", w->serial);
	close(w->sock);
	for (int i = 0; i < SLOTS; i++)
		if (w->slot[i])
			drop(w->slot[i]);
	for (int i = 0; i < PINS; i++)
		if (w->pin[i])
			drop_pin(w->pin[i]);
	memset(w, 0, sizeof(*w));
	check_table("a kill");
}

static struct worker *by_serial(long serial)
{
	for (int i = 0; i < WORKERS; i++)
		if (serial && workers[i].serial == serial)
			return &workers[i];
	return NULL;
}

/* ---- operations ---- */

static void fork_worker(struct worker *w, struct worker *new)
{
	int sv[2];
	long pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) ||
	    send_fd(passing[0], sv[1]))
		wrong("a socket for a fork: %s", strerror(errno));
	pid = ask(w, do_fork, 0, 0, 0, 0);
	close(sv[1]);
	if (pid <= 0)
		wrong("fork of worker %ld: %ld", w->serial, pid);
	*new = *w;
	add_worker(new, pid, sv[0]);
	for (int i = 0; i < SLOTS; i++)
		if (new->slot[i])
			new->slot[i]->refs++;
	for (int i = 0; i < PINS; i++)
		if (new->pin[i])
			new->pin[i]->refs++;
}

static void open_file(struct worker *w, int slot)
{
	bool writable = any(4);
	struct file *f = files;

	while (f->refs || f->orphaned)
		f++;
	want(0, ask(w, do_open, slot, writable ? O_RDWR : O_RDONLY, 0, 0), "open", w, slot, 0, 0);
	f->refs = 1;
	f->writable = writable;
	w->slot[slot] = f;
}

static void take(struct worker *w, int slot, int kind, int first, int end, bool by_fcntl)
{
	struct file *f = w->slot[slot];
	long expected = 0, seen;

	if (is_strong(kind) && !f->writable)
		expected = -EACCES;
	for (int i = 0; i < FILES && !expected; i++)
		for (int p = first; p < end; p++)
			if (&files[i] != f && files[i].kind[p] &&
			    (files[i].kind[p] == EXCLUSIVE || kind == EXCLUSIVE ||
			     (files[i].orphaned && is_strong(kind))))
				expected = -EAGAIN;
	/* Pins stay with who took them, and under a lease that they can be under. */
	if (!expected && ((has_pin(f, 0, PAGES) && f->holder != w->serial) ||
			  (!is_strong(kind) && has_pin(f, first, end))))
		expected = -EBUSY;
	if (by_fcntl)
		seen = ask(w, do_setlease, slot, kind, 0, 0);
	else
		seen = ask(w, do_lease, slot, kind, first, end > PAGES ? 0 : end - first);
	want(expected, seen, by_fcntl ? "F_SETLEASE" : "set", w, slot, kind, FOUND(0, first, end));
	if (expected)
		return;
	if (!is_held(f)) {
		f->owner = w->serial;
		f->lease = ++leases;
	}
	f->holder = w->serial;
	for (int p = first; p < end; p++)
		f->kind[p] = kind;
}

static void release(struct worker *w, int slot, int first, int end, bool by_fcntl)
{
	struct file *f = w->slot[slot];
	long expected = -EAGAIN, seen;

	for (int p = first; p < end; p++)
		if (f->kind[p])
			expected = has_pin(f, first, end) ? -EBUSY : 0;
	for (int p = first; p < end && !expected; p++)
		f->kind[p] = 0;
	if (by_fcntl)
		seen = ask(w, do_setlease, slot, F_UNLCK, 0, 0);
	else
		seen = ask(w, do_lease, slot, 0, first, end > PAGES ? 0 : end - first);
	want(expected, seen, by_fcntl ? "F_UNLCK" : "release", w, slot, first, end);
}

static void get(struct worker *w, int slot, int first)
{
	const struct file *f = w->slot[slot];
	long expected = FOUND(F_UNLCK, 0, 0);
	int start = first, end;

	while (start <= PAGES && !f->kind[start])
		start++;
	if (start <= PAGES) {
		for (end = start; end <= PAGES && f->kind[end] == f->kind[start]; end++)
			;
		while (start && f->kind[start - 1] == f->kind[start])
			start--;
		expected = FOUND(f->kind[start], start, end);
	}
	want(expected, ask(w, do_get, slot, first, 0, 0), "get", w, slot, first, 0);
	if (!has_fcntl)
		return;
	for (start = 0; start < PAGES && !f->kind[start]; start++)
		;
	want(f->kind[start] ? f->kind[start] : F_UNLCK, ask(w, do_getlease, slot, 0, 0, 0),
	     "F_GETLEASE", w, slot, 0, 0);
}

static bool is_victim(const struct worker *w, const struct file *f, int first, int end)
{
	for (int p = first; p < end; p++)
		if (f->kind[p] == F_LAYOUT && f->holder != w->serial)
			return true;
	return false;
}

/* A worker that can give a file's lease back while another waits for that. */
static struct worker *giver_of(const struct file *f, const struct worker *waiter, int *slot)
{
	for (int i = 0; i < WORKERS; i++)
		for (*slot = 0; *slot < SLOTS; ++*slot)
			if (&workers[i] != waiter && workers[i].slot[*slot] == f)
				return &workers[i];
	return NULL;
}

static void give_way(const struct file *f, struct worker *giver, int slot)
{
	for (int p = 0; p <= PAGES; p++) {
		long ret;

		if (f->kind[p] != F_LAYOUT)
			continue;
		ret = ask(giver, do_lease, slot, 0, p, p < PAGES);
		/* The time may have been up already. */
		if (ret != -EAGAIN)
			want(0, ret, "release in a break", giver, slot, p, 0);
	}
}

static void punch(struct worker *w, int slot, int first, int end)
{
	bool strong = false, own = false, victims = false, patient = !any(100);
	struct worker *giver;
	long expected = 0;
	int from;

	for (int i = 0; i < FILES; i++) {
		for (int p = first; p < end; p++)
			if (is_strong(files[i].kind[p]))
				*(files[i].holder == w->serial ? &own : &strong) = true;
		victims |= is_victim(w, &files[i], first, end);
	}
	if (!w->slot[slot]->writable)
		expected = -EBADF;
	else if (has_pin(NULL, first, end))
		expected = own ? -EDEADLK : -ETXTBSY;
	else if (strong)
		expected = -ETXTBSY;
	if (expected)
		victims = false;
	/* Where nobody can give way it takes the time of a break, and that only now and then. */
	for (int i = 0; i < FILES && victims && !patient; i++)
		if (is_victim(w, &files[i], first, end) && !giver_of(&files[i], w, &from))
			return;
	for (int i = 0; i < WORKERS; i++)
		if (workers[i].serial)
			ask(&workers[i], do_told, 0, 0, 0, 0);

	post(w, do_punch, slot, first, end - first, 0);
	for (int i = 0; i < FILES && victims; i++) {
		struct worker *owner = by_serial(files[i].owner);
		bool asked = false;

		if (!is_victim(w, &files[i], first, end))
			continue;
		/* One signal may stand for several files. */
		for (int j = 0; j < i; j++)
			asked |= files[j].owner == files[i].owner &&
				 is_victim(w, &files[j], first, end);
		/* Who began all this may be told as well, and is busy now. */
		if (owner && owner != w && !asked &&
		    !EVENTUALLY(ask(owner, do_told, 0, 0, 0, 0) > 0, ANSWER_MS))
			wrong("worker %ld was not told of a break", owner->serial);
	}
	if (victims && !patient) {
		for (int i = 0; i < FILES; i++) {
			if (!is_victim(w, &files[i], first, end))
				continue;
			giver = giver_of(&files[i], w, &from);
			if (giver)
				give_way(&files[i], giver, from);
		}
	}
	want(expected, answer(w), "punch", w, slot, first, end);
	for (int i = 0; i < FILES && victims; i++)
		if (is_victim(w, &files[i], first, end))
			for (int p = 0; p <= PAGES; p++)
				if (files[i].kind[p] == F_LAYOUT)
					files[i].kind[p] = 0;
	if (victims)
		return;
	/* Nobody whose lease was not in the way has been told, and nobody by who was refused. */
	for (int i = 0; i < WORKERS; i++)
		if (workers[i].serial)
			want(0, ask(&workers[i], do_told, 0, 0, 0, 0), "signals", w, slot, first, end);
}

static void send_file(struct worker *from, int slot, struct worker *to, int free)
{
	want(0, ask(from, do_send, slot, 0, 0, 0), "send", from, slot, 0, 0);
	want(0, ask(to, do_receive, free, 0, 0, 0), "receive", to, free, 0, 0);
	to->slot[free] = from->slot[slot];
	to->slot[free]->refs++;
}

/* A lease of one description on all of the pages, taken by this very process, and the first of these. */
static struct file *to_pin_under(const struct worker *w, int first, int end)
{
	struct file *under = NULL;

	for (int i = 0; i < FILES; i++) {
		int p = first;

		while (p < end && is_strong(files[i].kind[p]))
			p++;
		if (p == end && files[i].holder == w->serial &&
		    (!under || files[i].lease < under->lease))
			under = &files[i];
	}
	return under;
}

/* Some pages that the worker may pin, if there are any. */
static void aim(const struct worker *w, int *first, int *end)
{
	for (int p = 0; p < PAGES; p++) {
		if (!to_pin_under(w, p, p + 1))
			continue;
		*first = p;
		*end = p + 1;
		while (*end < PAGES && any(4) && to_pin_under(w, p, *end + 1))
			++*end;
		if (!any(3))
			return;
	}
}

static void take_pin(struct worker *w, int at, int slot, int first, int end)
{
	struct file *under;
	struct pin *pin = pins;

	if (!w->slot[slot]->writable)
		return;
	/* At random, hardly any would be allowed. */
	if (any(4))
		aim(w, &first, &end);
	under = to_pin_under(w, first, end);
	want(under ? 0 : -EOPNOTSUPP, ask(w, do_pin, at, slot, first, end), "pin", w, slot, first, end);
	if (!under)
		return;
	while (pin->refs)
		pin++;
	*pin = (struct pin){ .refs = 1, .live = true, .first = first, .end = end, .under = under };
	w->pin[at] = pin;
	pinned++;
	check_table("a pin");
}

static void give_pin_back(struct worker *w, int at, bool by_close)
{
	struct pin *pin = w->pin[at];

	if (by_close) {
		want(0, ask(w, do_close_ring, at, 0, 0, 0), "close of a ring", w, at, 0, 0);
		w->pin[at] = NULL;
		drop_pin(pin);
	} else {
		want(pin->live ? 0 : -ENXIO, ask(w, do_unpin, at, 0, 0, 0), "unpin", w, at, 0, 0);
		if (pin->live)
			end_pin(pin);
	}
	check_table("an unpin");
}

/* A slot that is in use, or one that is not; -1 if there is none. */
static int any_slot(const struct worker *w, bool used)
{
	int from = any(SLOTS);

	for (int i = 0; i < SLOTS; i++)
		if (!w->slot[(from + i) % SLOTS] != used)
			return (from + i) % SLOTS;
	return -1;
}

static void step(void)
{
	static const int kinds[] = { F_LAYOUT, F_LAYOUT, EXCLUSIVE, UNBREAK, UNBREAK };
	struct worker *w = &workers[any(WORKERS)], *other = &workers[any(WORKERS)];
	int first = any(PAGES), end = first + 1 + any(PAGES - first);
	bool by_fcntl = has_fcntl && !any(8);
	int kind = kinds[any(5)];
	int used, free, at = any(PINS);

	if (by_fcntl || !any(8))
		first = 0;
	if (by_fcntl || !any(8))
		end = PAGES + 1;
	operations++;
	if (!w->serial) {
		if (other->serial && any(3))
			fork_worker(other, w);
		else
			start_worker(w);
		return;
	}
	used = any_slot(w, true);
	free = any_slot(w, false);
	switch (any(48)) {
	case 0:
		if (!any(5))
			kill_worker(w);
		return;
	case 40 ... 44:
		if (used >= 0 && !w->pin[at])
			take_pin(w, at, used, first, end > PAGES ? PAGES : end);
		return;
	case 45 ... 47:
		if (w->pin[at])
			give_pin_back(w, at, any(2));
		return;
	case 1 ... 3:
		if (used < 0)
			return;
		want(0, ask(w, do_close, used, 0, 0, 0), "close", w, used, 0, 0);
		drop(w->slot[used]);
		w->slot[used] = NULL;
		check_table("a close");
		return;
	case 4:
		if (used < 0 || free < 0)
			return;
		want(0, ask(w, do_dup, used, free, 0, 0), "dup", w, used, free, 0);
		w->slot[free] = w->slot[used];
		w->slot[free]->refs++;
		return;
	case 5:
		if (used < 0 || !other->serial || other == w || any_slot(other, false) < 0)
			return;
		send_file(w, used, other, any_slot(other, false));
		return;
	case 6 ... 9:
		if (free >= 0)
			open_file(w, free);
		return;
	case 10 ... 20:
		if (used >= 0)
			take(w, used, kind, first, end, by_fcntl);
		return;
	case 21 ... 26:
		if (used >= 0)
			release(w, used, first, end, by_fcntl);
		return;
	case 27 ... 33:
		if (used >= 0)
			get(w, used, first);
		return;
	default:
		if (used >= 0)
			punch(w, used, first, end > PAGES ? PAGES : end);
		return;
	}
}

int main(int argc, char **argv)
{
	long seconds = argc > 1 ? atol(argv[1]) : SECONDS;
	struct sigaction sa = { .sa_handler = on_sigio, .sa_flags = SA_RESTART };
	long was, end;
	char dir[PATH_MAX], text[65536];
	const char *why;

	seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (unsigned long long)now_ms() * 1000003;
	ksft_print_header();
	ksft_set_plan(1);
	why = test_dir(dir, sizeof(dir));
	if (why)
		ksft_exit_skip("%s\n", why);
	snprintf(path, sizeof(path), "%.4000s/file", dir);
	if (make_file(path, PAGES, 0x5eed) || make_passing())
		ksft_exit_fail_msg("no file to take leases on\n");
	locks_id(path, id, sizeof(id));
	ksft_print_msg("lease_storm %ld %llu\n", seconds, seed);
	was = break_time(2);
	sigaction(SIGIO, &sa, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	has_fcntl = read_text("/sys/fs/pinfs/features/layout_lease", text, sizeof(text)) > 0 &&
		    text[0] == '1';
	end = now_ms() + seconds * 1000;
	while (now_ms() < end || operations < LEAST)
		step();

	/* All gone: nothing is left of any lease. */
	for (int i = 0; i < WORKERS; i++)
		if (workers[i].serial)
			kill_worker(&workers[i]);
	start_worker(&workers[0]);
	open_file(&workers[0], 0);
	take(&workers[0], 0, EXCLUSIVE, 0, PAGES + 1, false);
	kill_worker(&workers[0]);
	if (read_text("/proc/locks", text, sizeof(text)) > 0 && strstr(text, id))
		wrong("/proc/locks shows a lease that nobody has");
	break_time(was);
	remove_tree(dir);
	ksft_print_msg("%ld operations, %ld pins, %ld leases orphaned\n", operations, pinned, orphans);
	ksft_test_result_pass("L2 L3 L5 L6 L11 L14 L15 L16 L18 B1 B2 P3 lease storm\n");
	ksft_finished();
}
