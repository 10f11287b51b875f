// SPDX-License-Identifier: GPL-2.0
/*
 * No space left, in every operation and at every step of it: each runs with no
 * free block, with one, with two and so on, until it succeeds. Until then it
 * must say ENOSPC and leave everything as it was, down to the count of free
 * blocks. What frees space must work without any, and so must what was
 * promised space. A block counts as free here if a user can have it: the file
 * system keeps a few for what must not fail.
 */
/* In this order, as there is a fixture of its own here. */
#include "pinfs_test.h"

#include "kselftest_harness.h"

#include <dirent.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>

/* Files of one block each: the free space is that of those which are empty. */
#define SLOTS		72
/* Free blocks that every operation here can do with. */
#define MOST		66
/* Up to here each count of free blocks is tried, then every fourth. */
#define EACH		16
/* Blocks that are free while a test makes what it needs; the rest is ballast. */
#define ROOM		(8 * MIB / PAGE)
/* Pages of a file that is one hole; names for a few blocks, extents for a few nodes. */
#define HOLE		40
#define MANY_NAMES	120
#define MANY_EXTENTS	260

static char buffer[256 * KIB];

/* ---- what there is ---- */

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;

	while (len--)
		hash = (hash ^ *p++) * 0x100000001b3;
	return hash;
}

static uint64_t hash_xattrs(uint64_t hash, const char *path)
{
	static char names[8 * KIB], value[64 * KIB];
	ssize_t total = llistxattr(path, names, sizeof(names)), len;

	for (char *name = names; name < names + total; name += strlen(name) + 1) {
		len = lgetxattr(path, name, value, sizeof(value));
		hash = hash_bytes(hash, name, strlen(name));
		if (len > 0)
			hash = hash_bytes(hash, value, len);
	}
	return hash;
}

/* Everything below a directory that an operation that fails must not change. */
static uint64_t hash_tree(uint64_t hash, const char *path, bool blocks)
{
	struct dirent **list;
	char below[PATH_MAX];
	struct stat st;
	off_t data = 0;
	ssize_t got;
	int fd, n;

	if (lstat(path, &st))
		return hash * 3;
	hash = hash_bytes(hash, path, strlen(path));
	hash = hash_bytes(hash, &st.st_mode, sizeof(st.st_mode));
	hash = hash_bytes(hash, &st.st_nlink, sizeof(st.st_nlink));
	hash = hash_bytes(hash, &st.st_size, sizeof(st.st_size));
	if (blocks)
		hash = hash_bytes(hash, &st.st_blocks, sizeof(st.st_blocks));
	hash = hash_xattrs(hash, path);
	if (S_ISLNK(st.st_mode)) {
		got = readlink(path, buffer, sizeof(buffer));
		return hash_bytes(hash, buffer, got > 0 ? got : 0);
	}
	if (S_ISREG(st.st_mode)) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		/* Some of them are large, and nearly all hole. */
		while ((data = lseek(fd, data, SEEK_DATA)) >= 0) {
			got = pread(fd, buffer, PAGE - data % PAGE, data);
			if (got <= 0)
				break;
			hash = hash_bytes(hash, &data, sizeof(data));
			hash = hash_bytes(hash, buffer, got);
			data += got;
		}
		close(fd);
		return hash;
	}
	if (!S_ISDIR(st.st_mode))
		return hash;
	n = scandir(path, &list, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		if (strcmp(list[i]->d_name, ".") && strcmp(list[i]->d_name, "..")) {
			snprintf(below, sizeof(below), "%.3800s/%.255s", path, list[i]->d_name);
			hash = hash_tree(hash, below, blocks);
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	return hash;
}

/* ---- operations: each in a fresh directory, the current one ---- */

static long touch(const char *name)
{
	int fd = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	long ret = ERR(fd);

	if (fd >= 0)
		close(fd);
	return ret < 0 ? ret : 0;
}

static long nothing(void)
{
	return 0;
}

/* Names as long as they can be: several hundred of them fill a few blocks. */
static const char *long_name(char kind, int i)
{
	static char path[] = "many/012345678901234567890123456789012345678901234567890123456789"
			     "01234567890123456789012345678901234567890123456789"
			     "01234567890123456789012345678901234567890123456789"
			     "01234567890123456789012345678901234567890123456789";

	path[5] = kind;
	path[6] = '0' + i / 100;
	path[7] = '0' + i / 10 % 10;
	path[8] = '0' + i % 10;
	return path;
}

static long many_names(void)
{
	long ret = ERR(mkdir("many", 0700));

	for (int i = 0; !ret && i < MANY_NAMES; i++)
		ret = touch(long_name('n', i));
	return ret;
}

/* "file": 16 blocks of data. */
static long a_file(void)
{
	return make_file("file", 16, 1);
}

static long two_files(void)
{
	long ret = a_file();

	return ret ? ret : make_file("other", 16, 2);
}

/* "file": every second block of it is a hole, so that its tree has many leaves. */
static long many_extents(void)
{
	int fd = open("file", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	long ret = ERR(fd);

	memset(buffer, 'x', PAGE);
	for (int i = 0; ret >= 0 && i < MANY_EXTENTS; i++)
		ret = ERR(pwrite(fd, buffer, PAGE, 3 * i * PAGE));
	if (fd >= 0)
		close(fd);
	return ret < 0 ? ret : 0;
}

/* "file": one extent of many blocks, which nothing has been written to. */
static long unwritten(void)
{
	int fd = open("file", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	long ret = ERR(fallocate(fd, 0, 0, 64 * PAGE));

	close(fd);
	return ret;
}

/* The same with every second block written: the tree has as many entries as there are blocks. */
static long many_unwritten(void)
{
	long ret = unwritten();
	int fd = open("file", O_RDWR | O_CLOEXEC);

	for (int i = 0; ret >= 0 && i < 30; i += 2)
		ret = ERR(pwrite(fd, "x", 1, i * PAGE));
	close(fd);
	return ret < 0 ? ret : 0;
}

static long a_hole(void)
{
	long ret = touch("file");

	return ret ? ret : ERR(truncate("file", HOLE * PAGE));
}

static long a_directory(void)
{
	return ERR(mkdir("directory", 0700));
}

static long do_create(void)
{
	return touch("new");
}

static long do_create_many(void)
{
	long ret = 0;

	/* One of these does not fit into the block that is there. */
	for (int i = 0; !ret && i < 24; i++)
		ret = touch(long_name('x', i));
	return ret;
}

static long do_mkdir(void)
{
	return ERR(mkdir("new", 0700));
}

static long do_symlink(void)
{
	return ERR(symlink("short", "new"));
}

static long do_long_symlink(void)
{
	memset(buffer, 'x', 4080);
	buffer[4080] = '\0';
	return ERR(symlink(buffer, "new"));
}

static long do_mknod(void)
{
	return ERR(mkfifo("new", 0600));
}

static long do_link(void)
{
	return ERR(link("file", "new"));
}

static long do_tmpfile(void)
{
	int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	long ret = ERR(fd);

	if (fd >= 0)
		close(fd);
	return ret < 0 ? ret : 0;
}

static long do_linked_tmpfile(void)
{
	char path[64];
	int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	long ret = ERR(fd);

	if (fd < 0)
		return ret;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ret = ERR(linkat(AT_FDCWD, path, AT_FDCWD, "new", AT_SYMLINK_FOLLOW));
	close(fd);
	return ret;
}

static long do_rename(void)
{
	return ERR(rename("file", "new"));
}

static long do_rename_into(void)
{
	return ERR(rename("file", "directory/new"));
}

static long file_and_directory(void)
{
	long ret = a_file();

	return ret ? ret : a_directory();
}

static long do_rename_over(void)
{
	return ERR(rename("file", "other"));
}

static long do_exchange(void)
{
	return ERR(renameat2(AT_FDCWD, "file", AT_FDCWD, "other", RENAME_EXCHANGE));
}

static long do_whiteout(void)
{
	return ERR(renameat2(AT_FDCWD, "file", AT_FDCWD, "new", RENAME_WHITEOUT));
}

/* All of it or an error: a short write is followed by one of the rest. */
static long write_at(long off, long len, int flags)
{
	static char *aligned;
	int fd = open("file", O_CREAT | O_RDWR | O_CLOEXEC | flags, 0600);
	long done = ERR(fd), from = off;

	if (!aligned)
		aligned = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(aligned, 'w', len);
	while (done >= 0 && off < from + len) {
		done = ERR(pwrite(fd, aligned, from + len - off, off));
		off += done;
	}
	if (fd >= 0)
		close(fd);
	return done < 0 ? done : 0;
}

static long do_append(void)
{
	return write_at(16 * PAGE, 100, 0);
}

static long do_long_write(void)
{
	return write_at(16 * PAGE + 7, 40 * PAGE, 0);
}

static long do_direct_write(void)
{
	return write_at(16 * PAGE, 40 * PAGE, O_DIRECT);
}

static long do_synced_write(void)
{
	return write_at(0, 8 * PAGE, O_SYNC);
}

/* In the middle of what is one extent: there are three of it afterwards. */
static long do_write_unwritten(void)
{
	return write_at(31 * PAGE, 100, 0);
}

static long do_write_among_many(void)
{
	long ret = 0;

	for (int i = 0; !ret && i < 12; i++)
		ret = write_at((3 * i * 9 + 1) * PAGE, 100, 0);
	return ret;
}

static long do_write_far(void)
{
	return write_at(1L << 50, 100, 0);
}

static long change(int mode, long off, long len)
{
	int fd = open("file", O_RDWR | O_CLOEXEC);
	long ret = ERR(fallocate(fd, mode, off, len));

	close(fd);
	return ret;
}

static long do_allocate(void)
{
	return change(0, 16 * PAGE, 40 * PAGE);
}

static long do_allocate_beyond(void)
{
	return change(FALLOC_FL_KEEP_SIZE, 100 * PAGE, PAGE);
}

static long do_allocate_holes(void)
{
	return change(0, 0, 24 * PAGE);
}

static long do_punch(void)
{
	return change(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * PAGE + 1, 5 * PAGE);
}

static long do_zero(void)
{
	return change(FALLOC_FL_ZERO_RANGE, 5 * PAGE + 1, 5 * PAGE);
}

static long do_zero_holes(void)
{
	return change(FALLOC_FL_ZERO_RANGE, 100, 60 * PAGE);
}

static long do_collapse(void)
{
	return change(FALLOC_FL_COLLAPSE_RANGE, 4 * PAGE, 3 * PAGE);
}

static long do_insert(void)
{
	return change(FALLOC_FL_INSERT_RANGE, 4 * PAGE, 3 * PAGE);
}

static long do_truncate_down(void)
{
	return ERR(truncate("file", 9 * PAGE + 100));
}

static long do_truncate_up(void)
{
	return ERR(truncate("file", 1L << 40));
}

static long do_open_truncate(void)
{
	int fd = open("file", O_RDWR | O_TRUNC | O_CLOEXEC);
	long ret = ERR(fd);

	close(fd);
	return ret < 0 ? ret : 0;
}

static long do_unlink(void)
{
	return ERR(unlink("file"));
}

static long do_rmdir(void)
{
	return ERR(rmdir("directory"));
}

static long do_unlink_many(void)
{
	long ret = 0;

	for (int i = 0; !ret && i < MANY_NAMES; i++)
		ret = ERR(unlink(long_name('n', i)));
	return ret ? ret : ERR(rmdir("many"));
}

static long do_attributes(void)
{
	struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 2 } };
	long ret = ERR(chmod("file", 0644));

	if (!ret)
		ret = ERR(chown("file", 1000, 1000));
	return ret ? ret : ERR(utimensat(AT_FDCWD, "file", times, 0));
}

static long do_overwrite(void)
{
	return write_at(3 * PAGE + 5, 3 * PAGE, 0);
}

static long set_attribute(const char *name, size_t len)
{
	memset(buffer, 'v', len);
	return ERR(setxattr("file", name, buffer, len, 0));
}

static long do_small_xattr(void)
{
	return set_attribute("user.small", 20);
}

static long do_block_xattr(void)
{
	return set_attribute("user.block", 3500);
}

static long do_huge_xattr(void)
{
	return set_attribute("user.huge", 60 * KIB);
}

static long with_small_xattr(void)
{
	long ret = a_file();

	return ret ? ret : do_small_xattr();
}

static long do_growing_xattr(void)
{
	return set_attribute("user.small", 30 * KIB);
}

static long with_huge_xattr(void)
{
	long ret = a_file();

	return ret ? ret : do_huge_xattr();
}

static long do_remove_xattr(void)
{
	return ERR(removexattr("file", "user.huge"));
}

/* A store that finds no block is a SIGBUS of its process. */
static long do_store(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		int fd = open("file", O_RDWR | O_CLOEXEC);
		char *map = mmap(NULL, HOLE * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		signal(SIGBUS, SIG_DFL);
		map[33 * PAGE] = 'm';
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -errno;
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGBUS ? -ENOSPC : -EINTR;
	return 0;
}

/* Loads need no block: they see zeroes. */
static long do_load(void)
{
	int fd = open("file", O_RDONLY | O_CLOEXEC);
	char *map = mmap(NULL, HOLE * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	long ret = map == MAP_FAILED ? -errno : all_zero(map, HOLE * PAGE) ? 0 : -EBADMSG;

	munmap(map, HOLE * PAGE);
	close(fd);
	return ret;
}

/* The pin of a hole allocates; if it cannot, that is a bad address to GUP. */
static long do_pin(void)
{
	struct actor me;
	long ret;

	act_init(&me, "file");
	ret = act_hold(&me, EXCLUSIVE);
	if (!ret)
		ret = act_unpin(&me, 0);
	act_fini(&me);
	return ret == -EFAULT ? -ENOSPC : ret;
}

static long do_copy(void)
{
	int from = open("other", O_RDONLY | O_CLOEXEC);
	int to = open("file", O_WRONLY | O_CLOEXEC);
	loff_t from_pos = 0, to_pos = 16 * PAGE;
	long done = 0;

	while (done >= 0 && from_pos < 16 * PAGE)
		done = ERR(copy_file_range(from, &from_pos, to, &to_pos, 16 * PAGE - from_pos, 0));
	close(from);
	close(to);
	return done < 0 ? done : 0;
}

/* ---- the test ---- */

FIXTURE(S2_no_space) {
	char dir[PATH_MAX];
	char work[PATH_MAX];
	long free_before;
};

FIXTURE_VARIANT(S2_no_space) {
	long (*prepare)(void);
	long (*run)(void);
	/* It consists of several, of which the first may have been done. */
	bool in_steps;
	/* It frees, or changes in place: there has to be no free block. */
	bool always;
};

#define OPERATION(name, ...) FIXTURE_VARIANT_ADD(S2_no_space, name) { __VA_ARGS__ }

OPERATION(create, .prepare = nothing, .run = do_create);
OPERATION(create_many, .prepare = many_names, .run = do_create_many, .in_steps = true);
OPERATION(mkdir, .prepare = nothing, .run = do_mkdir);
OPERATION(symlink, .prepare = nothing, .run = do_symlink);
OPERATION(long_symlink, .prepare = nothing, .run = do_long_symlink);
OPERATION(mknod, .prepare = nothing, .run = do_mknod);
OPERATION(link, .prepare = a_file, .run = do_link);
OPERATION(tmpfile, .prepare = nothing, .run = do_tmpfile);
OPERATION(linked_tmpfile, .prepare = nothing, .run = do_linked_tmpfile);
OPERATION(rename, .prepare = a_file, .run = do_rename);
OPERATION(rename_into, .prepare = file_and_directory, .run = do_rename_into);
OPERATION(rename_over, .prepare = two_files, .run = do_rename_over, .always = true);
OPERATION(exchange, .prepare = two_files, .run = do_exchange, .always = true);
OPERATION(whiteout, .prepare = a_file, .run = do_whiteout);
OPERATION(append, .prepare = a_file, .run = do_append);
OPERATION(long_write, .prepare = a_file, .run = do_long_write, .in_steps = true);
OPERATION(direct_write, .prepare = a_file, .run = do_direct_write, .in_steps = true);
OPERATION(synced_write, .prepare = nothing, .run = do_synced_write, .in_steps = true);
OPERATION(write_unwritten, .prepare = unwritten, .run = do_write_unwritten, .always = true);
OPERATION(write_among_many, .prepare = many_extents, .run = do_write_among_many, .in_steps = true);
OPERATION(write_far, .prepare = many_extents, .run = do_write_far);
OPERATION(allocate, .prepare = a_file, .run = do_allocate, .in_steps = true);
OPERATION(allocate_beyond, .prepare = a_file, .run = do_allocate_beyond);
OPERATION(allocate_holes, .prepare = many_extents, .run = do_allocate_holes, .in_steps = true);
OPERATION(punch, .prepare = a_file, .run = do_punch, .always = true);
OPERATION(punch_among_many, .prepare = many_extents, .run = do_punch, .always = true);
OPERATION(zero, .prepare = a_file, .run = do_zero, .in_steps = true);
OPERATION(zero_holes, .prepare = many_extents, .run = do_zero_holes, .in_steps = true);
OPERATION(collapse, .prepare = a_file, .run = do_collapse, .always = true);
OPERATION(collapse_among_many, .prepare = many_extents, .run = do_collapse, .always = true);
OPERATION(convert_among_many, .prepare = many_unwritten, .run = do_write_unwritten,
	  .always = true);
OPERATION(store_unwritten, .prepare = unwritten, .run = do_store, .always = true);
OPERATION(pin_unwritten, .prepare = unwritten, .run = do_pin, .always = true);
OPERATION(replace_xattr, .prepare = with_huge_xattr, .run = do_huge_xattr, .always = true);
OPERATION(insert, .prepare = a_file, .run = do_insert);
OPERATION(insert_among_many, .prepare = many_extents, .run = do_insert);
OPERATION(truncate_down, .prepare = a_file, .run = do_truncate_down, .always = true);
OPERATION(truncate_among_many, .prepare = many_extents, .run = do_truncate_down, .always = true);
OPERATION(truncate_up, .prepare = a_file, .run = do_truncate_up, .always = true);
OPERATION(open_truncate, .prepare = many_extents, .run = do_open_truncate, .always = true);
OPERATION(unlink, .prepare = a_file, .run = do_unlink, .always = true);
OPERATION(unlink_extents, .prepare = many_extents, .run = do_unlink, .always = true);
OPERATION(unlink_many, .prepare = many_names, .run = do_unlink_many, .always = true);
OPERATION(rmdir, .prepare = a_directory, .run = do_rmdir, .always = true);
OPERATION(attributes, .prepare = a_file, .run = do_attributes, .always = true);
OPERATION(overwrite, .prepare = a_file, .run = do_overwrite, .always = true);
OPERATION(small_xattr, .prepare = a_file, .run = do_small_xattr);
OPERATION(block_xattr, .prepare = a_file, .run = do_block_xattr);
OPERATION(huge_xattr, .prepare = a_file, .run = do_huge_xattr);
OPERATION(growing_xattr, .prepare = with_small_xattr, .run = do_growing_xattr);
OPERATION(remove_xattr, .prepare = with_huge_xattr, .run = do_remove_xattr, .always = true);
OPERATION(store, .prepare = a_hole, .run = do_store);
OPERATION(load, .prepare = a_hole, .run = do_load, .always = true);
OPERATION(pin, .prepare = a_hole, .run = do_pin, .in_steps = true);
OPERATION(copy, .prepare = two_files, .run = do_copy, .in_steps = true);

/* Those that a user can have. */
static long blocks_available(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) ? -errno : (long)fs.f_bavail;
}

/* The first so many of them. */
static int empty_slots = SLOTS;

static const char *slot(const char *dir, int i)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.3900s/ballast/%d", dir, i);
	return path;
}

/* Gives a file as many bytes as there are, in ever smaller pieces down to a block. */
static long fill_up(const char *path, long leave)
{
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	long off = 0, piece, ret = ERR(fd);

	for (piece = MIB * 256; fd >= 0 && piece >= PAGE; piece /= 2) {
		while (blocks_available(path) - leave >= piece / PAGE) {
			ret = ERR(fallocate(fd, 0, off, piece));
			if (ret)
				break;
			off += piece;
		}
	}
	close(fd);
	return ret == -ENOSPC ? 0 : ret;
}

/*
 * Leaves exactly so many blocks free, for slots of which none is empty. The
 * rest is what the test has not used of its room.
 */
static long leave_free(const char *dir, long blocks)
{
	char rest[PATH_MAX];
	long ret;

	snprintf(rest, sizeof(rest), "%.3900s/ballast/rest", dir);
	ret = fill_up(rest, 0);
	while (!ret && empty_slots < SLOTS && blocks_available(dir) < blocks)
		ret = ERR(truncate(slot(dir, empty_slots++), 0));
	return ret ? ret : blocks_free(dir);
}

/* Takes back what leave_free() gave, and gives the room. */
static long leave_room(const char *dir)
{
	char rest[PATH_MAX];
	long ret;

	snprintf(rest, sizeof(rest), "%.3900s/ballast/rest", dir);
	ret = ERR(truncate(rest, 0));
	while (!ret && empty_slots) {
		int fd = open(slot(dir, empty_slots - 1), O_CREAT | O_RDWR | O_CLOEXEC, 0600);

		ret = ERR(fallocate(fd, 0, 0, PAGE));
		close(fd);
		if (!ret)
			empty_slots--;
	}
	return ret;
}

FIXTURE_SETUP(S2_no_space)
{
	const char *why = test_dir(self->dir, sizeof(self->dir));
	char path[PATH_MAX];

	if (why)
		SKIP(return, "%s", why);
	snprintf(path, sizeof(path), "%.4000s/ballast", self->dir);
	ASSERT_EQ(0, mkdir(path, 0700));
	snprintf(path, sizeof(path), "%.4000s/ballast/rest", self->dir);
	ASSERT_EQ(0, touch(path));
	ASSERT_EQ(0, leave_room(self->dir));
	snprintf(path, sizeof(path), "%.4000s/ballast/most", self->dir);
	ASSERT_EQ(0, fill_up(path, ROOM));
	snprintf(self->work, sizeof(self->work), "%.4000s/work", self->dir);
	self->free_before = blocks_free(self->dir);
}

FIXTURE_TEARDOWN(S2_no_space)
{
	ASSERT_EQ(0, chdir("/"));
	remove_tree(self->dir);
}

TEST_F_TIMEOUT(S2_no_space, is_clean, 300)
{
	uint64_t before, after;
	long result = -ENOSPC, room, has;

	for (room = 0; result == -ENOSPC && room <= MOST; room += room < EACH ? 1 : 4) {
		ASSERT_EQ(0, mkdir(self->work, 0700));
		ASSERT_EQ(0, chdir(self->work));
		result = variant->prepare();
		ASSERT_EQ(0, result);
		has = leave_free(self->dir, room);
		ASSERT_LE(0, has);
		before = hash_tree(1, ".", true);

		result = variant->run();
		if (result) {
			EXPECT_EQ(-ENOSPC, result);
			EXPECT_FALSE(variant->always);
			after = hash_tree(1, ".", true);
			if (!variant->in_steps) {
				EXPECT_EQ(before, after);
				EXPECT_EQ(has, blocks_free(self->dir));
			}
		}
		ASSERT_EQ(0, chdir("/"));
		remove_tree(self->work);
		ASSERT_EQ(0, leave_room(self->dir));
		EXPECT_EQ(self->free_before, blocks_free(self->dir)) {
			TH_LOG("with %ld free blocks, result %ld", room, result);
			break;
		}
	}
	EXPECT_EQ(0, result) {
		TH_LOG("with fewer than %ld free blocks", room);
	}
}

/* ---- what was given ---- */

/* Files, and how many blocks each is given; single blocks of it that are written. */
#define GIVEN		18
#define GIVEN_BLOCKS	4096
#define GIVEN_WRITES	2000

FIXTURE(S2_given) {
	char dir[PATH_MAX];
};

FIXTURE_SETUP(S2_given)
{
	const char *why = test_dir(self->dir, sizeof(self->dir));

	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(S2_given)
{
	remove_tree(self->dir);
}

static sigjmp_buf no_block;

static void at_sigbus(int sig)
{
	(void)sig;
	siglongjmp(no_block, 1);
}

/* Writes a block through a descriptor or a mapping; 0, or a negative errno. */
static long put(int fd, char *map, long block, char what)
{
	if (!map) {
		memset(buffer, what, PAGE);
		return ERR(pwrite(fd, buffer, PAGE, block * PAGE)) < 0 ? -errno : 0;
	}
	if (sigsetjmp(no_block, 1))
		return -ENOSPC;
	memset(map + block * PAGE, what, PAGE);
	return 0;
}

/*
 * Every block that fallocate() has given to a file can be written when the
 * device is full, one by one (fault A8). There are so many files that the
 * nodes which the file system keeps for them do not suffice.
 */
TEST_F_TIMEOUT(S2_given, blocks_can_be_written, 300)
{
	static bool written[GIVEN_BLOCKS];
	static char path[PATH_MAX];
	long failed = 0, wrong = 0, before, at_end, block;
	unsigned long random = 8;
	int files = 0, fd[GIVEN];
	char *map[GIVEN];

	for (; files < GIVEN; files++) {
		snprintf(path, sizeof(path), "%.4000s/given%d", self->dir, files);
		fd[files] = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
		ASSERT_LE(0, fd[files]);
		ASSERT_EQ(0, posix_fallocate(fd[files], 0, GIVEN_BLOCKS * PAGE));
		map[files] = mmap(NULL, GIVEN_BLOCKS * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
				  fd[files], 0);
		ASSERT_NE(MAP_FAILED, map[files]);
	}
	snprintf(path, sizeof(path), "%.4000s/ballast", self->dir);
	ASSERT_EQ(0, fill_up(path, 0));
	ASSERT_EQ(0, blocks_available(self->dir));
	snprintf(path, sizeof(path), "%.4000s/more", self->dir);
	ASSERT_EQ(-ENOSPC, make_file(path, 1, 1));
	unlink(path);

	before = blocks_free(self->dir);
	signal(SIGBUS, at_sigbus);
	for (int i = 0; i < files; i++) {
		/* Every second file through a mapping that has been read before. */
		bool store = i % 2;

		memset(written, 0, sizeof(written));
		for (block = 0; store && block < GIVEN_BLOCKS; block++)
			wrong += map[i][block * PAGE] != 0;
		for (int n = 0; n < GIVEN_WRITES; n++) {
			random = random * 6364136223846793005 + 1442695040888963407;
			/* From the end to the start there are few extents in a node, and many nodes. */
			block = i < GIVEN - 4 ? GIVEN_BLOCKS - 1 - 2 * n :
						(long)(random >> 33) % GIVEN_BLOCKS;
			if (put(fd[i], store ? map[i] : NULL, block, 'a' + i)) {
				failed++;
				continue;
			}
			written[block] = true;
			/* What others see of it, and of what is beside. */
			wrong += map[i][block * PAGE + 7] != 'a' + i;
		}
		/* Written by write(2), those that a mapping has shown as zeroes are seen, too. */
		for (block = 0; store && block < GIVEN_BLOCKS; block += 5) {
			if (put(fd[i], NULL, block, 'a' + i))
				failed++;
			else
				written[block] = true;
		}
		for (block = 0; block < GIVEN_BLOCKS; block++)
			wrong += map[i][block * PAGE + 9] != (written[block] ? 'a' + i : 0);
	}
	signal(SIGBUS, SIG_DFL);
	at_end = blocks_free(self->dir);
	TH_LOG("%ld blocks were kept, %ld are left", before, at_end);
	/* Half of them is for what frees space. */
	EXPECT_LE(before / 2 - 1, at_end);
	EXPECT_GE(before / 2 + 8, at_end);
	EXPECT_EQ(0, failed);
	EXPECT_EQ(0, wrong);
	for (int i = 0; i < files; i++) {
		munmap(map[i], GIVEN_BLOCKS * PAGE);
		close(fd[i]);
	}
}

TEST_HARNESS_MAIN
