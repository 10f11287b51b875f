// SPDX-License-Identifier: GPL-2.0
/*
 * Workloads whose every store is looked at: see tests/powerloss.
 *
 *	powerloss_workload DEVICE MOUNTPOINT seq1 [EVERY]
 *	powerloss_workload DEVICE MOUNTPOINT seq2 COUNT [SEED]
 *	powerloss_workload DEVICE MOUNTPOINT ace
 *	powerloss_workload DEVICE MOUNTPOINT pins
 *	powerloss_workload DEVICE MOUNTPOINT device
 *	powerloss_workload DEVICE MOUNTPOINT huge
 *	powerloss_workload DEVICE MOUNTPOINT whole
 *	powerloss_workload DEVICE MOUNTPOINT ops OPERATION...
 *	powerloss_workload DEVICE MOUNTPOINT tree
 *
 * Makes a file system and works on it in small pieces, after ACE, the workload
 * generator of CrashMonkey: a known tree, one or two operations, and a call
 * that makes things durable.  `ace` is what ACE itself makes of one operation.
 * EVERY leaves out all but one of so many pieces.
 * OPERATIONs, which need quotes for their words, are one piece.
 * The last form only mounts what is there, and prints the tree.
 *
 * Tells who records by marks, which are the instruction CPUID with a leaf that
 * nothing else uses.  So this runs anywhere, also where nobody records.
 *	piece NAME	a new piece; what follows is preparation
 *	go		and from here on it counts
 *	begin CALL	a system call, by its name and arguments, is entered
 *	end RESULT	and has returned, 0 or more, or a negative errno
 *	tree		and what can be seen now, a line for each file:
 *			INODE MODE LINKS UID GID SIZE BLOCKS RDEV CONTENTS XATTRS PATH
 *	symbols		lines of /proc/kallsyms, of the module
 *	finish		all is done
 */
#include "pinfs_test.h"
#include "powerloss_ace.h"

#include <dirent.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#define MARK_LEAF	0x73666e70	/* "pnfs" */
#define WORDS		8
#define BUFFER		(128 * KIB)

static const char *device, *mnt;
static char text[256 * KIB];
static unsigned char data[BUFFER];
/* Looked at: trees are told only then. */
static bool counts;
static unsigned int pieces, every = 1;

static void die(const char *what)
{
	fprintf(stderr, "powerloss_workload: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- marks ---- */

static void send_mark(size_t len)
{
	unsigned int leaf = MARK_LEAF;
	const char *at = text;

	asm volatile("cpuid" : "+a"(leaf), "+b"(at), "+c"(len) : : "rdx", "memory");
}

static void mark(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void mark(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	send_mark(vsnprintf(text, sizeof(text), format, args));
	va_end(args);
}

/* FNV-1a, which needs no explanation on the other side. */
static uint64_t hash(uint64_t h, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;

	while (len--)
		h = (h ^ *p++) * 0x100000001b3;
	return h;
}

#define HASH_START	0xcbf29ce484222325

static uint64_t hash_contents(const char *path, const struct stat *st)
{
	uint64_t h = HASH_START;
	ssize_t got;
	int fd;

	if (S_ISLNK(st->st_mode)) {
		got = readlink(path, (char *)data, sizeof(data));
		if (got < 0)
			die(path);
		return hash(h, data, got);
	}
	if (!S_ISREG(st->st_mode))
		return h;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(path);
	while ((got = read(fd, data, sizeof(data))) > 0)
		h = hash(h, data, got);
	if (got < 0)
		die(path);
	close(fd);
	return h;
}

/* The sum, because the order of a list says nothing. */
static uint64_t hash_xattrs(const char *path)
{
	static char names[4096], value[64 * KIB];
	ssize_t len = llistxattr(path, names, sizeof(names)), got;
	uint64_t sum = 0, h;
	char *name;

	if (len < 0)
		die(path);
	for (name = names; name < names + len; name += strlen(name) + 1) {
		got = lgetxattr(path, name, value, sizeof(value));
		if (got < 0)
			die(path);
		h = hash(HASH_START, name, strlen(name) + 1);
		sum += hash(h, value, got);
	}
	return sum;
}

static size_t list(size_t at, char *path)
{
	struct dirent *entry;
	struct stat st;
	size_t len = strlen(path);
	DIR *dir;

	if (lstat(path, &st))
		die(path);
	at += snprintf(text + at, sizeof(text) - at, "%lu %o %lu %u %u %lu %lu %lu %lx %lx %s\n",
		       (long)st.st_ino, st.st_mode, (long)st.st_nlink, st.st_uid, st.st_gid,
		       S_ISDIR(st.st_mode) ? 0L : (long)st.st_size, (long)st.st_blocks / 8,
		       (long)st.st_rdev, (long)hash_contents(path, &st), (long)hash_xattrs(path),
		       path + strlen(mnt));
	if (!S_ISDIR(st.st_mode))
		return at;
	dir = opendir(path);
	if (!dir)
		die(path);
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(path + len, PATH_MAX - len, "/%s", entry->d_name);
		at = list(at, path);
		path[len] = '\0';
	}
	closedir(dir);
	return at;
}

static void mark_tree(void)
{
	static char path[PATH_MAX];

	strcpy(path, mnt);
	strcpy(text, "tree\n");
	send_mark(list(strlen(text), path));
}

static void begin(const char *call)
{
	if (counts)
		mark("begin %s", call);
}

static long end(long result)
{
	if (counts) {
		mark("end %ld", result);
		mark_tree();
	}
	return result;
}

/* Evaluates a system call between its marks. */
#define CALL(name, call)				\
({							\
	long __result;					\
							\
	begin(name);					\
	__result = ERR(call);				\
	end(__result);					\
})

/* ---- operations ---- */

static unsigned int pattern;

/* No two writes store the same. */
static const void *fresh_data(size_t len)
{
	pattern++;
	for (size_t i = 0; i < len; i++)
		data[i] = 1 + (pattern * 89 + i / 8 * 7 + i % 8) % 255;
	return data;
}

static const char *full(const char *path)
{
	static char paths[4][PATH_MAX];
	static int turn;

	turn = (turn + 1) % 4;
	snprintf(paths[turn], PATH_MAX, "%s/%s", mnt, path);
	return paths[turn];
}

static int open_file(const char *path, int flags)
{
	return open(full(path), flags | O_CLOEXEC);
}

/* A call on a descriptor that is opened for it. */
#define WITH_FD(fd, path, flags, expr)			\
({							\
	int fd = open_file(path, flags);		\
	long __ret = fd < 0 ? -(long)errno : 0;		\
							\
	if (fd >= 0) {					\
		__ret = (expr);				\
		close(fd);				\
	}						\
	__ret;						\
})

static long op_write(const char *op, char **w)
{
	const char *how = w[4] ?: "";
	int flags = !strcmp(how, "sync") ? O_SYNC : !strcmp(how, "dsync") ? O_DSYNC :
		    !strcmp(how, "direct") ? O_DIRECT : 0;
	size_t len = atol(w[3]);

	fresh_data(len);
	return WITH_FD(fd, w[1], O_RDWR | flags, CALL(op, pwrite(fd, data, len, atol(w[2]))));
}

static long op_append(const char *op, char **w)
{
	size_t len = atol(w[2]);

	fresh_data(len);
	return WITH_FD(fd, w[1], O_WRONLY | O_APPEND, CALL(op, write(fd, data, len)));
}

/* Stores are not a call, but are marked like one; the msync() is one. */
static long op_mmap(const char *op, char **w)
{
	size_t off = atol(w[2]), len = atol(w[3]);
	int fd = open_file(w[1], O_RDWR);
	struct stat st;
	char *map;

	if (fd < 0)
		return -errno;
	/* Stores behind the end of the file kill. */
	if (fstat(fd, &st) || st.st_size < (off_t)(off + len)) {
		close(fd);
		return -EINVAL;
	}
	/* All of it, so that a large one is mapped by huge pages. */
	map = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return -errno;
	fresh_data(len);
	begin(op);
	memcpy(map + off, data, len);
	end(0);
	if (w[4]) {
		char call[256];

		snprintf(call, sizeof(call), "msync %s", w[1]);
		CALL(call, msync(map, off + len, MS_SYNC));
	}
	munmap(map, st.st_size);
	return 0;
}

static long op_falloc(const char *op, char **w)
{
	static const struct {
		const char *name;
		int mode;
	} modes[] = {
		{ "alloc", 0 },
		{ "keep", FALLOC_FL_KEEP_SIZE },
		{ "punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE },
		{ "zero", FALLOC_FL_ZERO_RANGE },
		{ "zerokeep", FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE },
		{ "collapse", FALLOC_FL_COLLAPSE_RANGE },
		{ "insert", FALLOC_FL_INSERT_RANGE },
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++)
		if (!strcmp(modes[i].name, w[2]))
			return WITH_FD(fd, w[1], O_RDWR,
				       CALL(op, fallocate(fd, modes[i].mode, atol(w[3]), atol(w[4]))));
	return -EINVAL;
}

static long op_tmpfile(const char *op, char **w)
{
	char call[256], self[64];
	int fd;
	long ret;

	(void)op;
	snprintf(call, sizeof(call), "tmpfile %s", w[1]);
	fd = CALL(call, open_file(w[1], O_TMPFILE | O_RDWR));
	if (fd < 0)
		return fd;
	if (write(fd, fresh_data(5000), 5000) != 5000 || fsync(fd))
		die("tmpfile");
	snprintf(call, sizeof(call), "linkat %s", w[2]);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	ret = CALL(call, linkat(AT_FDCWD, self, AT_FDCWD, full(w[2]), AT_SYMLINK_FOLLOW));
	close(fd);
	return ret;
}

/* What has no name any more, but is open: freed by the close. */
static long op_unlink_open(const char *op, char **w)
{
	char call[256];
	int fd = open_file(w[1], O_RDWR);
	long ret;

	if (fd < 0)
		return -errno;
	ret = CALL(op, unlink(full(w[1])));
	snprintf(call, sizeof(call), "close %s", w[1]);
	CALL(call, close(fd));
	return ret;
}

static long op_copy(const char *op, char **w)
{
	int in = open_file(w[1], O_RDONLY), out = open_file(w[2], O_WRONLY);
	long ret = in < 0 || out < 0 ? -ENOENT :
		   CALL(op, copy_file_range(in, NULL, out, NULL, BUFFER, 0));

	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return ret;
}

static long op_setxattr(const char *op, char **w)
{
	size_t len = atol(w[3]);

	fresh_data(len);
	return CALL(op, setxattr(full(w[1]), w[2], data, len, 0));
}

static long op_rename(const char *op, char **w, unsigned int flags)
{
	return CALL(op, renameat2(AT_FDCWD, full(w[1]), AT_FDCWD, full(w[2]), flags));
}

static long mount_it(void)
{
	return mount(device, mnt, "pinfs", MS_NOATIME, NULL);
}

static long run_words(const char *op, char **w)
{
	const char *name = w[0];

#define IS(what) (!strcmp(name, what))
	if (IS("creat"))
		return WITH_FD(fd, ".", O_RDONLY | O_DIRECTORY, ({
			long ret = CALL(op, openat(fd, w[1], O_CREAT | O_EXCL | O_WRONLY, 0644));

			if (ret >= 0)
				close(ret);
			ret;
		}));
	if (IS("opentrunc"))
		return ({
			long ret = CALL(op, open_file(w[1], O_TRUNC | O_WRONLY));

			if (ret >= 0)
				close(ret);
			ret;
		});
	if (IS("mkdir"))
		return CALL(op, mkdir(full(w[1]), 0755));
	if (IS("mknod"))
		return CALL(op, mknod(full(w[1]), S_IFCHR | 0600, makedev(10, 200)));
	if (IS("mkfifo"))
		return CALL(op, mknod(full(w[1]), S_IFIFO | 0600, 0));
	if (IS("symlink"))
		return CALL(op, symlink(w[1], full(w[2])));
	if (IS("link"))
		return CALL(op, link(full(w[1]), full(w[2])));
	if (IS("unlink"))
		return CALL(op, unlink(full(w[1])));
	if (IS("unlinkopen"))
		return op_unlink_open(op, w);
	if (IS("remove"))
		return CALL(op, remove(full(w[1])));
	if (IS("rmdir"))
		return CALL(op, rmdir(full(w[1])));
	if (IS("rename"))
		return op_rename(op, w, 0);
	if (IS("noreplace"))
		return op_rename(op, w, RENAME_NOREPLACE);
	if (IS("exchange"))
		return op_rename(op, w, RENAME_EXCHANGE);
	if (IS("whiteout"))
		return op_rename(op, w, RENAME_WHITEOUT);
	if (IS("truncate"))
		return CALL(op, truncate(full(w[1]), atol(w[2])));
	if (IS("falloc"))
		return op_falloc(op, w);
	if (IS("write"))
		return op_write(op, w);
	if (IS("append"))
		return op_append(op, w);
	if (IS("mmap"))
		return op_mmap(op, w);
	if (IS("copy"))
		return op_copy(op, w);
	if (IS("tmpfile"))
		return op_tmpfile(op, w);
	if (IS("setxattr"))
		return op_setxattr(op, w);
	if (IS("removexattr"))
		return CALL(op, removexattr(full(w[1]), w[2]));
	if (IS("chmod"))
		return CALL(op, chmod(full(w[1]), 0604));
	if (IS("chown"))
		return CALL(op, lchown(full(w[1]), 1000, 100));
	if (IS("fsync"))
		return WITH_FD(fd, w[1], O_RDONLY, CALL(op, fsync(fd)));
	if (IS("fdatasync"))
		return WITH_FD(fd, w[1], O_RDONLY, CALL(op, fdatasync(fd)));
	if (IS("sync"))
		return CALL(op, (sync(), 0));
	if (IS("syncfs"))
		return WITH_FD(fd, ".", O_RDONLY | O_DIRECTORY, CALL(op, syncfs(fd)));
	fprintf(stderr, "powerloss_workload: no operation %s\n", name);
	exit(1);
#undef IS
}

static long run_op(const char *op)
{
	char copy[256], *words[WORDS + 1] = { NULL }, *save;
	int n = 0;

	snprintf(copy, sizeof(copy), "%s", op);
	for (char *w = strtok_r(copy, " ", &save); w && n < WORDS; w = strtok_r(NULL, " ", &save))
		words[n++] = w;
	return run_words(op, words);
}

/* ---- pieces ---- */

/* The tree that each piece begins with. A name ends where its directory does. */
static const char *const before[] = {
	"mkdir A", "mkdir A/C", "mkdir B", "mkdir E",
	"creat foo", "write foo 0 9000", "creat A/foo", "write A/foo 0 5000", "creat B/bar",
	"write B/bar 0 100", "link A/foo A/hard", "symlink A/foo B/soft", "mkfifo A/fifo",
	"creat empty", "setxattr foo user.small 40", "setxattr A/foo user.big 5000",
	"truncate empty 20000", "write empty 12288 3000", "sync",
};

static void must(long result, const char *what)
{
	if (result < 0) {
		errno = -result;
		die(what);
	}
}

/* Operations that cannot fail. */
static void must_run(const char *const *ops, size_t count)
{
	for (size_t i = 0; i < count; i++)
		must(run_op(ops[i]), ops[i]);
}

/* Begins a piece with an empty file system, unless it is one of those that are left out. */
static bool start_empty(const char *name)
{
	counts = false;
	if (pieces++ % every)
		return false;
	mark("piece %s", name);
	remove_tree(mnt);
	must(run_op("sync"), "sync");
	return true;
}

static bool start(const char *name)
{
	if (!start_empty(name))
		return false;
	must_run(before, sizeof(before) / sizeof(*before));
	return true;
}

static void go(void)
{
	mark("go");
	counts = true;
	mark_tree();
}

static void piece(const char *one, const char *two, const char *last)
{
	char name[512];

	snprintf(name, sizeof(name), "%s; %s%s%s", one, two ?: "", two ? "; " : "", last ?: "nothing");
	if (!start(name))
		return;
	go();
	/* Whether they succeed is not the question. */
	run_op(one);
	if (two)
		run_op(two);
	if (last)
		run_op(last);
}

/* Every operation, and the file or directory that it is about. */
static const struct operation {
	const char *op, *about;
} operations[] = {
	{ "creat new", "new" }, { "creat A/new", "A/new" }, { "creat A/C/new", "A/C" },
	{ "mkdir D", "D" }, { "mkdir A/D", "A" }, { "mkdir A/C/D", "A/C/D" },
	{ "mknod A/dev", "A" }, { "mkfifo pipe", "." },
	{ "symlink A/foo A/new", "A" }, { "symlink foo new", "." },
	{ "link foo new", "foo" }, { "link foo A/new", "A" }, { "link A/foo B/new", "A/foo" },
	{ "link A/foo A/C/new", "A/C" },
	{ "unlink foo", "." }, { "unlink A/foo", "A/hard" }, { "unlink B/bar", "B" },
	{ "unlink B/soft", "B" }, { "unlink A/fifo", "A" }, { "unlink empty", "." },
	{ "unlinkopen foo", "." }, { "unlinkopen B/bar", "B" },
	{ "rmdir A/C", "A" }, { "rmdir B", "." }, { "rmdir E", "." },
	{ "rename foo new", "new" }, { "rename foo A/new", "A/new" }, { "rename foo B/bar", "B/bar" },
	{ "rename A/foo A/bar", "A" }, { "rename A/foo foo", "foo" }, { "rename A/foo A/hard", "A" },
	{ "rename A B/A", "B" }, { "rename A/C E", "E" }, { "rename E B", "B" }, { "rename B/soft foo", "." },
	{ "noreplace foo A/new", "A/new" }, { "whiteout A/foo B/foo", "A" },
	{ "exchange foo B/bar", "foo" }, { "exchange A B", "." }, { "exchange A/C foo", "A" },
	{ "truncate foo 0", "foo" }, { "truncate foo 4096", "foo" }, { "truncate foo 5000", "foo" },
	{ "truncate foo 8999", "foo" }, { "truncate foo 9001", "foo" }, { "truncate foo 40000", "foo" },
	{ "truncate A/foo 1", "A/foo" }, { "truncate empty 10", "empty" }, { "opentrunc foo", "foo" },
	{ "falloc foo alloc 0 20000", "foo" }, { "falloc foo alloc 16384 4096", "foo" },
	{ "falloc foo keep 12288 8192", "foo" }, { "falloc empty alloc 0 20000", "empty" },
	{ "falloc empty keep 4096 8192", "empty" },
	{ "falloc foo punch 0 4096", "foo" }, { "falloc foo punch 1000 2000", "foo" },
	{ "falloc foo punch 4000 4300", "foo" }, { "falloc A/foo punch 0 8192", "A/foo" },
	{ "falloc foo zero 0 4096", "foo" }, { "falloc foo zero 100 9500", "foo" },
	{ "falloc foo zerokeep 4096 8192", "foo" }, { "falloc empty zero 0 30000", "empty" },
	{ "falloc foo collapse 0 4096", "foo" }, { "falloc foo collapse 4096 4096", "foo" },
	{ "falloc foo insert 0 4096", "foo" }, { "falloc foo insert 4096 8192", "foo" },
	{ "falloc empty insert 4096 4096", "empty" },
	{ "write foo 0 4096", "foo" }, { "write foo 0 100", "foo" }, { "write foo 8990 20", "foo" },
	{ "write foo 4000 200", "foo" }, { "write foo 9000 3288", "foo" }, { "write foo 20000 500", "foo" },
	{ "write A/foo 3 5", "A/foo" }, { "write empty 0 20000", "empty" }, { "write empty 5000 10", "empty" },
	{ "write foo 0 4096 sync", "foo" }, { "write foo 9000 8192 dsync", "foo" },
	{ "write empty 4096 4096 direct", "empty" }, { "write foo 4096 8192 direct", "foo" },
	{ "append foo 10", "foo" }, { "append foo 4096", "foo" }, { "append A/foo 10000", "A/foo" },
	{ "mmap foo 0 4096", "foo" }, { "mmap foo 100 50", "foo" }, { "mmap empty 0 9000", "empty" },
	{ "mmap foo 0 9000 sync", "foo" }, { "mmap empty 4000 200 sync", "empty" },
	{ "copy foo empty", "empty" }, { "copy A/foo B/bar", "B/bar" },
	{ "tmpfile A A/new", "A/new" }, { "tmpfile . new", "new" },
	{ "setxattr foo user.new 10", "foo" }, { "setxattr foo user.small 40", "foo" },
	{ "setxattr foo user.small 3000", "foo" }, { "setxattr A/foo user.big 10", "A/foo" },
	{ "setxattr A user.dir 100", "A" }, { "setxattr B/bar user.large 20000", "B/bar" },
	{ "removexattr foo user.small", "foo" }, { "removexattr A/foo user.big", "A/foo" },
	{ "chmod foo", "foo" }, { "chmod A", "A" }, { "chown A/foo", "A/foo" }, { "chown B/soft", "B" },
};

#define OPERATIONS	(sizeof(operations) / sizeof(*operations))
#define PERSISTS	4

/* How a piece ends: not at all, or by making the file, or everything, durable. */
static const char *persist(const struct operation *operation, unsigned int which)
{
	static char op[256];

	switch (which) {
	case 1:
		snprintf(op, sizeof(op), "fsync %s", operation->about);
		return op;
	case 2:
		snprintf(op, sizeof(op), "fdatasync %s", operation->about);
		return op;
	case 3:
		return "sync";
	default:
		return NULL;
	}
}

static void seq1(void)
{
	for (unsigned int which = 0; which < PERSISTS; which++)
		for (size_t i = 0; i < OPERATIONS; i++)
			piece(operations[i].op, NULL, persist(&operations[i], which));
}

static void seq2(unsigned int count, unsigned int seed)
{
	while (count--) {
		const struct operation *one = &operations[rand_r(&seed) % OPERATIONS];
		const struct operation *two = &operations[rand_r(&seed) % OPERATIONS];

		piece(one->op, two->op, persist(two, rand_r(&seed) % PERSISTS));
	}
}

static void ace_piece(const struct ace_piece *piece)
{
	char name[ACE_STEPS * (ACE_STEP + 2)] = "";

	for (int i = 0; i < piece->count; i++) {
		strcat(name, i ? "; " : "");
		strcat(name, piece->steps[i]);
	}
	if (!start_empty(name))
		return;
	go();
	for (int i = 0; i < piece->count; i++)
		run_op(piece->steps[i]);
}

/*
 * Operations on a file with long-term pins, which the process holds until a
 * call of its own; then the last of an unlinked file goes.
 */
static void with_pins(const char *op)
{
	struct actor a;
	char name[300];

	snprintf(name, sizeof(name), "pinned: %s", op);
	if (!start(name))
		return;
	act_init(&a, full("foo"));
	must(act_hold(&a, EXCLUSIVE), "pin foo");
	go();
	run_op(op);
	run_op("creat beside");
	run_op("write beside 0 6000 sync");
	begin("unpin");
	act_fini(&a);
	end(0);
	/* The reaper frees them in its own time. */
	begin("settle");
	nap_ms(scaled_ms(50));
	end(0);
	run_op("write beside 0 20000 sync");
}

/*
 * What a device does: it stores through its pin, without a page fault, and is
 * not asked by a write-back. An fsync has to find that.
 */
static void by_device(void)
{
	struct actor a;
	int from = memfd_create("from", MFD_CLOEXEC);

	if (from < 0 || pwrite(from, fresh_data(4096), 4096, 0) != 4096)
		die("memfd");
	if (!start("pinned: stores by a device"))
		return;
	act_init(&a, full("foo"));
	must(act_hold(&a, EXCLUSIVE), "pin foo");
	go();
	for (int turn = 0; turn < 2; turn++) {
		must(CALL("device foo 0 4096", ring_read_fixed(&a.ring[0], from, a.map, 4096)), "device");
		run_op("fsync foo");
		if (pwrite(from, fresh_data(4096), 4096, 0) != 4096)
			die("memfd");
	}
	act_fini(&a);
	close(from);
}

/*
 * A store through a mapping of a huge page, and something that has the mapping
 * forget the page for a part of it. An fsync has to find the store all the same.
 */
static void huge(void)
{
	static const char *const prepare[] = {
		"creat huge", "falloc huge alloc 0 2097152", "mmap huge 0 100", "sync",
	};
	static const char *const ops[] = {
		"falloc huge punch 0 4096", "falloc huge punch 20480 4096", "falloc huge zero 8192 4096",
		"truncate huge 1048576", "falloc huge collapse 4096 4096", "falloc huge insert 4096 4096",
	};

	for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
		const char *const steps[] = { "mmap huge 1000000 100", ops[i], "fsync huge" };

		if (!start_empty(ops[i]))
			continue;
		must_run(prepare, sizeof(prepare) / sizeof(*prepare));
		go();
		must_run(steps, sizeof(steps) / sizeof(*steps));
	}
}

/* What the caller asks for. */
static void ops(char **list, int count)
{
	if (!start("operations"))
		return;
	go();
	for (int i = 0; i < count; i++)
		run_op(list[i]);
}

static void pins(void)
{
	static const char *const ops[] = {
		"unlink foo", "unlinkopen foo", "rename B/bar foo", "truncate foo 0", "truncate foo 5000",
		"falloc foo punch 0 4096", "falloc foo collapse 0 4096", "falloc foo zero 0 4096",
		"falloc foo insert 0 4096", "opentrunc foo", "write foo 0 9000 sync", "append foo 5000",
		"truncate foo 40000", "rename foo A/new", "exchange foo B/bar", "link foo new",
	};

	for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++)
		with_pins(ops[i]);
	by_device();
}

/* ---- the file system as a whole ---- */

static long mkfs(void)
{
	char *args[] = { "mkfs.pinfs", "-f", "-U", "70696e66-7370-4c4f-8f53-530123456789",
			 (char *)device, NULL };
	int status;
	pid_t pid;

	if (posix_spawnp(&pid, args[0], NULL, NULL, args, environ))
		return -ENOENT;
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return status ? -EIO : 0;
}

/* Without a file system there is no tree to tell of. */
#define CALL_BARE(name, call)				\
({							\
	long __result;					\
							\
	mark("begin %s", name);				\
	__result = ERR(call);				\
	mark("end %ld", __result);			\
	must(__result, name);				\
})

static void whole(void)
{
	for (int round = 0; round < 3; round++) {
		if (!start("mount, remount, umount, mkfs"))
			continue;
		go();
		/* What an unmount has to make durable or to free. */
		run_op("mmap foo 0 9000");
		run_op("append A/foo 5000");
		run_op("unlink B/bar");
		CALL("remount-ro", mount("", mnt, "", MS_REMOUNT | MS_RDONLY | MS_NOATIME, NULL));
		CALL("remount-rw", mount("", mnt, "", MS_REMOUNT | MS_NOATIME, NULL));
		run_op("creat new");
		CALL_BARE("umount", umount(mnt));
		CALL_BARE("mount", mount_it());
		mark_tree();
		CALL_BARE("umount", umount(mnt));
		CALL_BARE("mkfs", mkfs());
		CALL_BARE("mount", mount_it());
		mark_tree();
		run_op("creat new");
	}
}

/* So that addresses in the module can be told by name. */
static void mark_symbols(void)
{
	FILE *f = fopen("/proc/kallsyms", "re");
	char line[1024];
	size_t at = 0;

	if (!f)
		die("/proc/kallsyms");
	while (fgets(line, sizeof(line), f)) {
		if (!strstr(line, "[pinfs]"))
			continue;
		if (at + sizeof(line) > sizeof(text)) {
			send_mark(at);
			at = 0;
		}
		if (!at)
			at = sprintf(text, "symbols\n");
		at += sprintf(text + at, "%s", line);
	}
	fclose(f);
	if (at)
		send_mark(at);
}

static void print_tree(void)
{
	static char path[PATH_MAX];

	strcpy(path, mnt);
	must(ERR(mount_it()), "mount");
	fwrite(text, 1, list(0, path), stdout);
	must(ERR(umount(mnt)), "umount");
}

/* Old data everywhere: what a file shows of it was never written there. */
static void fill_device(void)
{
	int fd = open(device, O_WRONLY | O_CLOEXEC);
	ssize_t put;

	if (fd < 0)
		die(device);
	memset(data, 0xdb, sizeof(data));
	while ((put = write(fd, data, sizeof(data))) > 0)
		;
	if (fsync(fd))
		die(device);
	close(fd);
}

int main(int argc, char **argv)
{
	const char *what;
	long ret;

	if (argc < 4) {
		fprintf(stderr, "usage: powerloss_workload DEVICE MOUNTPOINT "
			"seq1 [EVERY] | seq2 COUNT [SEED] | ace | pins | device | huge | whole | ops OPERATION... | tree\n");
		return 2;
	}
	device = argv[1];
	mnt = argv[2];
	what = argv[3];
	if (!strcmp(what, "tree")) {
		print_tree();
		return 0;
	}
	mark("piece preparation");
	mark_symbols();
	fill_device();
	must(mkfs(), "mkfs");
	must(ERR(mount_it()), "mount");
	if (!strcmp(what, "seq1")) {
		every = argc > 4 ? atoi(argv[4]) : 1;
		seq1();
	} else if (!strcmp(what, "seq2")) {
		seq2(argc > 4 ? atoi(argv[4]) : 100, argc > 5 ? atoi(argv[5]) : 1);
	} else if (!strcmp(what, "ace")) {
		ace_each(ace_piece);
	} else if (!strcmp(what, "pins")) {
		pins();
	} else if (!strcmp(what, "device")) {
		by_device();
	} else if (!strcmp(what, "huge")) {
		huge();
	} else if (!strcmp(what, "ops")) {
		ops(argv + 4, argc - 4);
	} else if (!strcmp(what, "whole")) {
		whole();
	} else {
		fprintf(stderr, "powerloss_workload: no workload %s\n", what);
		return 2;
	}
	counts = false;
	/* A ring's pins end some time after it is closed. */
	for (int tries = 0; (ret = ERR(umount(mnt))) == -EBUSY && tries < 100; tries++)
		nap_ms(scaled_ms(20));
	must(ret, "umount");
	mark("finish");
	printf("%u pieces\n", (pieces + every - 1) / every);
	return 0;
}
