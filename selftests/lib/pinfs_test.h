/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the pinfs tests share.
 *
 * Most rows are about what one process may do while another holds a lease or
 * a pin.  So the unit here is the *actor*: a process with one data file, its
 * mapping and its rings.  The test process is an actor itself (act_...()
 * called directly), and starts others (peer_start()), which run the same
 * functions when told to (peer_call()).  Every wait has a limit; an actor that
 * does not answer in time gives -ETIMEDOUT, which no test expects.
 *
 * A peer is a fork: it has every descriptor that the test process had then.
 * So tests start their peers before they open anything themselves.
 *
 * All act_...() functions return 0 or a positive result, or a negative errno.
 */
#ifndef PINFS_TEST_H
#define PINFS_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <linux/pinfs.h>

#define KIB		1024L
#define MIB		(1024L * KIB)
#define PAGE		4096L
#define PMD		(2 * MIB)

/* The result of a libc call as a number: negative errno on failure. */
#define ERR(call)						\
({								\
	long __err_res = (long)(call);				\
	__err_res == -1 ? -(long)errno : __err_res;		\
})

#define EXCLUSIVE	(F_LAYOUT | F_EXCLUSIVE)

/* Two rings: some rows need two contexts that pin the same pages. */
#define ACT_RINGS	2

struct actor {
	char path[PATH_MAX];	/* of the data file */
	int fd;			/* data file, or -1 */
	int got_fd;		/* received from another process, or -1 */
	char *map;		/* mapping of the data file, or NULL */
	size_t map_len;
	struct io_uring ring[ACT_RINGS];
	bool has_ring[ACT_RINGS];
	int pipe[2];		/* holds pages given to vmsplice(), or -1 */
};

typedef long (*act_fn)(struct actor *a, long arg);

struct peer {
	pid_t pid;
	int sock;
};

/* ---- time ---- */

/* Limits are for a quiet machine; PINFS_TIME_SCALE stretches them. */
long scaled_ms(long ms);
long now_ms(void);
void nap_ms(long ms);
/*
 * For tests that take hours: says now and then that they go on, as silence is
 * taken for a hang (qemu/vm run --timeout).  Any thread may call it, often.
 */
void say_it_goes_on(void);

/* A condition that another process or a kernel worker brings about. */
#define EVENTUALLY(cond, ms)					\
({								\
	long __end = now_ms() + scaled_ms(ms);			\
	bool __seen;						\
	while (!(__seen = (cond)) && now_ms() < __end)		\
		nap_ms(2);					\
	__seen;							\
})

/* A call that must answer promptly, and the longest time it is given. */
#define PROMPT_MS	1000
#define REPLY_MS	5000

/* ---- actors ---- */

void act_init(struct actor *a, const char *path);
/* Lets everything go that the actor still has. */
void act_fini(struct actor *a);

long act_open(struct actor *a, long flags);
long act_close(struct actor *a, long unused);
long act_lease(struct actor *a, long arg);
long act_getlease(struct actor *a, long unused);
long act_map(struct actor *a, long len);
long act_unmap(struct actor *a, long unused);
long act_ring(struct actor *a, long which);
long act_ring_close(struct actor *a, long which);
/* Registers the whole mapping as buffer 0 of a ring. */
long act_pin(struct actor *a, long which);
long act_unpin(struct actor *a, long which);
/* open, lease (arg), map (the file's size), ring 0, and pin: all at once. */
long act_hold(struct actor *a, long lease);
/* The same, exclusively, with the ring's descriptor below the file's: an exit closes it first. */
long act_hold_ring_first(struct actor *a, long unused);

long act_ftruncate(struct actor *a, long size);
long act_truncate(struct actor *a, long size);
long act_open_trunc(struct actor *a, long unused);
/* Offset and length in pages, packed by RANGE(). */
long act_punch(struct actor *a, long range);
long act_collapse(struct actor *a, long range);
long act_insert(struct actor *a, long range);
long act_allocate(struct actor *a, long range);
#define RANGE(first, pages)	((long)(first) << 16 | (pages))
#define RANGE_OFF(r)		(((r) >> 16) * PAGE)
#define RANGE_LEN(r)		(((r) & 0xffff) * PAGE)
long act_unlink(struct actor *a, long unused);
long act_read_byte(struct actor *a, long off);
long act_write_page(struct actor *a, long page);
long act_append(struct actor *a, long len);
long act_stat_size(struct actor *a, long unused);
long act_fsync(struct actor *a, long unused);
long act_store_page(struct actor *a, long page);
long act_ls(struct actor *a, long unused);
long act_create_beside(struct actor *a, long unused);
long act_unlink_beside(struct actor *a, long unused);
/* Puts one page of the mapping into the actor's pipe. */
long act_vmsplice(struct actor *a, long page);
long act_drain(struct actor *a, long unused);
/* setuid() to an ordinary user, with no way back. */
long act_become(struct actor *a, long uid);
/* Makes a ring and pins with it: what a process that has the mapping can try. */
long act_pin_with_own_ring(struct actor *a, long which);
/* Receives what was sent into passing[0]: as its data file, or aside. */
long act_take_fd(struct actor *a, long as_data);
/*
 * Takes a copy of another process's ring: io_uring descriptors cannot be sent
 * through sockets.
 */
long act_take_ring(struct actor *a, long ring_of);
#define RING_OF(pid, fd)	((long)(pid) << 16 | (fd))

/*
 * Copies between a registered buffer and a file by the ring itself: what a
 * device would see or change, mapping and descriptor or not.
 */
long ring_write_fixed(struct io_uring *ring, int fd, const void *buf, size_t len);
long ring_read_fixed(struct io_uring *ring, int fd, void *buf, size_t len);

/* ---- other processes ---- */

/* An unlinked file on a disk, opened for O_DIRECT; name is a template of mkstemp(). */
int disk_file(char *name);

int peer_start(struct peer *p, const char *path);
long peer_call(struct peer *p, act_fn fn, long arg);
/* The same in two halves, for calls that are meant to wait. */
void peer_post(struct peer *p, act_fn fn, long arg);
long peer_answer(struct peer *p, long ms);
/* True once the peer sleeps in that system call. */
bool peer_waits_in(struct peer *p, long nr);
/* Loads a kernel module that lies beside this program. */
long load_module_beside(const char *name);
/* SIGKILL, and how many milliseconds its end took; -ETIMEDOUT if it has none. */
long peer_kill(struct peer *p);
/* Lets it end by itself: its exit status, or negative. */
long peer_end(struct peer *p);

/* Runs fn in a child that fork() makes of this very process, as it is now. */
long in_fork(act_fn fn, struct actor *a, long arg);

/* A socket pair that peers inherit, for descriptors on their way. */
extern int passing[2];
int make_passing(void);
int send_fd(int sock, int fd);
int recv_fd(int sock);

/* ---- what the kernel shows ---- */

/* The whole of a small file as a string; negative errno on failure. */
long read_text(const char *path, char *buf, size_t size);
/* Puts a string in the place of all that; 0, or a negative errno. */
long write_text(const char *path, const char *text);
/* Sets the seconds that a lease may take to break; returns what they were, or -1. */
long break_time(long seconds);
long blocks_free(const char *path);
/* The same when it has stopped changing: what earlier cases let go may be on its way. */
long blocks_free_at_rest(const char *path);
long blocks_of(const char *path);
#ifdef __x86_64__
/* A system call as a 32-bit program makes it: other numbers, other ways to see the arguments. */
static inline long compat_call(long nr, long a, long b, long c, long d, long e)
{
	long ret;

	asm volatile("int $0x80"
		     : "=a"(ret)
		     : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
		     : "memory", "r8", "r9", "r10", "r11");
	return ret;
}
#endif

/* "MAJ:MIN:INO" as /proc/locks writes it. */
void locks_id(const char *path, char *buf, size_t size);

struct pin_line {
	char id[64];
	unsigned long long start, end, pages;
	char kind[16];
	char state[16];
	char pids[256];
	char path[PATH_MAX];
};

/*
 * Lines of /proc/fs/pinfs/pins for one file (by its locks_id()), or NULL for all.  Returns how many there are and
 * fills at most max of them; -EBADMSG for a line that breaks the grammar,
 * which goes to bad if bad is not NULL.
 */
long pins_of(const char *id, struct pin_line *lines, size_t max, char *bad, size_t bad_size);
/* Whether a comma-separated list has this pid. */
bool pids_have(const char *pids, pid_t pid);

/* Bytes that tell files and pages apart. */
void fill(void *buf, size_t len, unsigned int seed);
bool filled(const void *buf, size_t len, unsigned int seed);
bool all_zero(const void *buf, size_t len);
/* A file of that many pages, filled with seed; negative errno on failure. */
long make_file(const char *path, long pages, unsigned int seed);
/* How many bytes of a range of memory page tables map, and by 2 MiB pages; negative errno. */
long mapped_bytes(const char *start, long len);
long huge_bytes(const char *start, long len);

/* mkdtemp() under $PINFS_MNT into dir, or why the tests cannot run there. */
const char *test_dir(char *dir, size_t size);

/*
 * The mount point and the device behind it, for tests that unmount and mount
 * again; set by test_device(), which is false if they are not known.
 */
extern const char *test_mnt, *test_dev;
bool test_device(void);
void remove_tree(const char *dir);

/* ---- the fixture ---- */

/* Programs that bring no harness of their own (tools) stop here. */
#ifdef __KSELFTEST_HARNESS_H

/* The limits of the tests are for a quiet machine, too; they are known by now. */
static void __attribute__((constructor(KSELFTEST_PRIO_XFAIL + 1))) stretch_limits(void)
{
	for (struct __fixture_metadata *f = __fixture_list; f; f = f->next)
		for (struct __test_metadata *t = f->tests; t; t = t->next)
			t->timeout = scaled_ms(t->timeout * 1000L) / 1000;
}

/* No page stays pinned: another process truncates at once. */
static inline void check_nothing_pinned(struct __test_metadata *_metadata, const char *path, struct peer *other)
{
	char id[64], bad[512] = "";
	struct pin_line line;
	long begin = now_ms();

	locks_id(path, id, sizeof(id));
	EXPECT_EQ(0, pins_of(id, &line, 1, bad, sizeof(bad)));
	EXPECT_EQ(0, peer_call(other, act_truncate, 0));
	EXPECT_GE(scaled_ms(PROMPT_MS), now_ms() - begin);
}

#define FILE_PAGES	16
#define FILE_SIZE	(FILE_PAGES * PAGE)
#define FILE_SEED	0x5eed

/* Programs that mount for themselves have another. */
#ifndef PINFS_OWN_FIXTURE

/*
 * A directory of its own on the file system under test, a data file of
 * FILE_PAGES in it, an actor for this process, and room for three more.
 */
FIXTURE(pinfs) {
	char dir[PATH_MAX];
	char path[PATH_MAX];
	struct actor me;
	struct peer a, b, c;
};

/* For what unmounts the file system and mounts it again: its paths, or a skip. */
#define NEED_MOUNT()									\
do {											\
	if (!test_device())								\
		SKIP(return, "PINFS_DEV is not set: no device to mount again");		\
	ASSERT_EQ(0, chdir("/"));							\
} while (0)

FIXTURE_SETUP(pinfs) {
	const char *why = test_dir(self->dir, sizeof(self->dir));

	if (why)
		SKIP(return, "%s", why);
	snprintf(self->path, sizeof(self->path), "%.4000s/file", self->dir);
	ASSERT_EQ(0, make_file(self->path, FILE_PAGES, FILE_SEED));
	act_init(&self->me, self->path);
}

FIXTURE_TEARDOWN(pinfs) {
	struct peer *peers[] = { &self->a, &self->b, &self->c };

	for (size_t i = 0; i < ARRAY_SIZE(peers); i++) {
		pid_t pid = peers[i]->pid;

		/* No EXPECT: after a failed ASSERT it would fail as well. */
		if (pid > 0 && peer_kill(peers[i]) < 0) {
			TH_LOG("process %d does not die", pid);
			_metadata->exit_code = KSFT_FAIL;
		}
	}
	act_fini(&self->me);
	remove_tree(self->dir);
}

#endif /* PINFS_OWN_FIXTURE */
#endif /* __KSELFTEST_HARNESS_H */
#endif /* PINFS_TEST_H */
