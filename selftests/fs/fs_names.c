// SPDX-License-Identifier: GPL-2.0
/* Names: directories, links, renames, files without a name. Row S2. */
#include "fs_test.h"

#include <dirent.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

/* ---- names ---- */

TEST_F(pinfs, S2_create_and_look_up)
{
	const char *path = in_dir(self, "new");
	struct stat a, b;
	int fd;

	EXPECT_EQ(-ENOENT, ERR(stat(path, &a)));
	fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0640);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &a));
	ASSERT_EQ(0, stat(path, &b));
	EXPECT_EQ(a.st_ino, b.st_ino);
	EXPECT_EQ(a.st_dev, b.st_dev);
	EXPECT_EQ(S_IFREG | 0640, b.st_mode);
	EXPECT_EQ(0, b.st_size);
	EXPECT_EQ(1, b.st_nlink);
	EXPECT_EQ(0, b.st_uid);
	EXPECT_EQ(PAGE, b.st_blksize);
	EXPECT_EQ(-EEXIST, ERR(open(path, O_CREAT | O_EXCL | O_RDWR, 0600)));
	close(fd);
}

TEST_F(pinfs, S2_errors_of_names)
{
	char name[300], under[PATH_MAX];

	EXPECT_EQ(-ENOENT, ERR(open(in_dir(self, "none"), O_RDONLY)));
	EXPECT_EQ(-ENOENT, ERR(open(in_dir(self, "none/file"), O_CREAT | O_RDWR, 0600)));
	EXPECT_EQ(-ENOENT, ERR(unlink(in_dir(self, "none"))));
	EXPECT_EQ(-ENOENT, ERR(rmdir(in_dir(self, "none"))));
	snprintf(under, sizeof(under), "%.4000s/below", self->path);
	EXPECT_EQ(-ENOTDIR, ERR(open(under, O_RDONLY)));
	EXPECT_EQ(-ENOTDIR, ERR(rmdir(self->path)));
	EXPECT_EQ(-EISDIR, ERR(unlink(self->dir)));
	EXPECT_EQ(-EISDIR, ERR(open(self->dir, O_WRONLY)));
	EXPECT_EQ(-EEXIST, ERR(mkdir(self->path, 0700)));
	EXPECT_EQ(-EEXIST, ERR(symlink("x", self->path)));

	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	/* in_dir() cuts names: these are built here. */
	snprintf(under, sizeof(under), "%.3800s/%s", self->dir, name);
	EXPECT_EQ(-ENAMETOOLONG, ERR(open(under, O_CREAT | O_RDWR, 0600)));
	name[255] = '\0';
	snprintf(under, sizeof(under), "%.3800s/%s", self->dir, name);
	EXPECT_EQ(0, make_file(under, 1, 1));
	EXPECT_EQ(PAGE, size_of(under));
}

TEST_F(pinfs, S2_names_are_bytes)
{
	static const char * const names[] = { " ", "\n", "\xff\xfe", "a\\b", ".hidden", "...", "-f" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		ASSERT_EQ(0, make_file(in_dir(self, names[i]), 1, i));
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		EXPECT_EQ(PAGE, size_of(in_dir(self, names[i])));
	}
	EXPECT_EQ(-ENOENT, size_of(in_dir(self, "A\\B")));
}

/* Enough for several blocks and levels of any index. */
#define MANY	3000

static void many_name(char *name, size_t size, int i)
{
	snprintf(name, size, "entry-%d-%.*s", i, i % 40, "a-tail-that-makes-entries-differ-in-length");
}

TEST_F_TIMEOUT(pinfs, S2_readdir_of_thousands, 120)
{
	static unsigned char seen[MANY];
	char name[128];
	struct dirent *de;
	int dots = 0, fd;
	DIR *d;

	ASSERT_EQ(0, mkdir(in_dir(self, "many"), 0700));
	ASSERT_EQ(0, chdir(in_dir(self, "many")));
	for (int i = 0; i < MANY; i++) {
		many_name(name, sizeof(name), i);
		fd = open(name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
		ASSERT_LE(0, fd) {
			TH_LOG("entry %d: %s", i, strerror(errno));
		}
		close(fd);
	}

	/* Every third goes. */
	for (int i = 0; i < MANY; i += 3) {
		many_name(name, sizeof(name), i);
		ASSERT_EQ(0, unlink(name));
	}
	d = opendir(".");
	ASSERT_NE(NULL, d);
	errno = 0;
	while ((de = readdir(d))) {
		int i = -1;

		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, "..")) {
			dots++;
			EXPECT_EQ(DT_DIR, de->d_type);
			continue;
		}
		ASSERT_EQ(1, sscanf(de->d_name, "entry-%d-", &i));
		ASSERT_TRUE(i >= 0 && i < MANY);
		seen[i]++;
		EXPECT_TRUE(de->d_type == DT_REG || de->d_type == DT_UNKNOWN);
		EXPECT_NE(0, de->d_ino);
	}
	EXPECT_EQ(0, errno);
	closedir(d);
	EXPECT_EQ(2, dots);
	for (int i = 0; i < MANY; i++) {
		ASSERT_EQ(i % 3 ? 1 : 0, seen[i]) {
			TH_LOG("times entry %d was listed", i);
		}
	}

	/* Look-up of each, and the directory can be emptied and removed. */
	for (int i = 0; i < MANY; i++) {
		many_name(name, sizeof(name), i);
		ASSERT_EQ(i % 3 ? 0 : -ENOENT, ERR(unlink(name)));
	}
	ASSERT_EQ(0, chdir("/"));
	EXPECT_EQ(0, ERR(rmdir(in_dir(self, "many"))));
}

#define SOME	400

TEST_F(pinfs, S2_telldir_and_seekdir_are_stable)
{
	static char names[SOME + 8][64];
	static long at[SOME + 8];
	char name[64];
	struct dirent *de;
	int n = 0, fd;
	DIR *d;

	for (int i = 0; i < SOME; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		fd = open(in_dir(self, name), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		ASSERT_LE(0, fd);
		close(fd);
	}
	d = opendir(self->dir);
	ASSERT_NE(NULL, d);
	for (at[0] = telldir(d); (de = readdir(d)); at[n] = telldir(d)) {
		ASSERT_LT(n, SOME + 7);
		snprintf(names[n++], sizeof(names[0]), "%.60s", de->d_name);
	}
	/* The entries, the data file, and the two dots. */
	ASSERT_EQ(SOME + 3, n);

	/* Backwards, so that no position is where the last read ended. */
	for (int i = n - 1; i >= 0; i--) {
		seekdir(d, at[i]);
		de = readdir(d);
		ASSERT_NE(NULL, de);
		ASSERT_STREQ(names[i], de->d_name);
	}

	/* Removing and adding others does not move the ones that stay. */
	for (int i = 0; i < n; i += 2) {
		if (names[i][0] != 's')
			continue;
		ASSERT_EQ(0, unlink(in_dir(self, names[i])));
	}
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "late%d", i);
		ASSERT_EQ(0, ERR(mkdir(in_dir(self, name), 0700)));
	}
	for (int i = 1; i < n; i += 2) {
		bool found = false;

		seekdir(d, at[i]);
		while (!found && (de = readdir(d)))
			found = !strcmp(de->d_name, names[i]);
		ASSERT_TRUE(found) {
			TH_LOG("%s is not at or behind its old position", names[i]);
		}
	}
	closedir(d);
}

/* ---- 32-bit programs, for whom positions have 31 bits: fault D5 ---- */

#ifdef __x86_64__
#define COMPAT_LSEEK		19
#define COMPAT_LLSEEK		140
#define COMPAT_GETDENTS		141
#define COMPAT_GETDENTS64	220

struct entry {
	char name[64];
	/* Of what follows it. */
	unsigned long off;
};

struct dirent64_head {
	unsigned long ino;
	unsigned long off;
	unsigned short len;
	unsigned char type;
	char name[];
} __attribute__((packed));

/* Memory that 32-bit addresses reach: a buffer for entries, and a place for a position. */
static struct compat_buf {
	char bytes[400];
	long position;
} *compat_buf;

static bool no_compat(int fd)
{
	if (!compat_buf)
		compat_buf = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	return compat_buf == MAP_FAILED || compat_call(COMPAT_LSEEK, fd, 0, SEEK_SET, 0, 0) == -ENOSYS;
}

/* The next entries, at most as many as fit into a small buffer; 0 at the end. */
static int next_entries(int fd, bool compat, struct entry *to)
{
	long at, n = 0, len;

	len = compat ? compat_call(COMPAT_GETDENTS64, fd, (long)compat_buf->bytes,
				   sizeof(compat_buf->bytes), 0, 0) :
		       ERR(syscall(SYS_getdents64, fd, compat_buf->bytes, sizeof(compat_buf->bytes)));
	if (len < 0)
		return len;
	for (at = 0; at < len;) {
		struct dirent64_head *de = (void *)(compat_buf->bytes + at);

		snprintf(to[n].name, sizeof(to[n].name), "%.60s", de->name);
		to[n++].off = de->off;
		at += de->len;
	}
	return n;
}

/* All from the current position on. */
static int entries_from(int fd, bool compat, struct entry *to, int room)
{
	int n = 0, ret = 0;

	while (n + 20 < room && (ret = next_entries(fd, compat, to + n)) > 0)
		n += ret;
	return ret < 0 ? ret : n;
}

static long compat_seek(int fd, unsigned long to)
{
	long ret = compat_call(COMPAT_LLSEEK, fd, to >> 32, to & UINT_MAX,
			       (long)&compat_buf->position, SEEK_SET);

	return ret ? ret : compat_buf->position;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* How many names are in both, each once; the order of the second is changed. */
static int common(struct entry *a, int n, const struct entry *b, int m)
{
	int same = 0;

	qsort(a, n, sizeof(*a), by_name);
	for (int i = 1; i < n; i++)
		if (!strcmp(a[i].name, a[i - 1].name))
			return -1;
	for (int i = 0; i < m; i++)
		same += bsearch(&b[i], a, n, sizeof(*a), by_name) != NULL;
	return same;
}

static struct entry all[SOME + 64], some[SOME + 64];

/* Each entry can be gone back to by the position that was told, and nothing behind it is missing. */
static void check_positions(struct __test_metadata *_metadata, int fd, int n, int equal)
{
	for (int i = n; i >= 0; i--) {
		unsigned long to = i ? all[i - 1].off : 0;
		int m, before = 0;

		ASSERT_EQ(to, compat_seek(fd, to));
		m = entries_from(fd, true, some, ARRAY_SIZE(some));
		ASSERT_LE(n - i, m);
		/* Those with the same position may come again. */
		before = m - (n - i);
		ASSERT_GE(equal, before);
		for (int k = 0; k < n - i; k++) {
			ASSERT_STREQ(all[i + k].name, some[before + k].name);
		}
	}
}

static void make_empty(struct __test_metadata *_metadata, const char *dir, const char *name)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	ASSERT_LE(0, fd);
	close(fd);
}

TEST_F_TIMEOUT(pinfs, S2_positions_in_a_directory_for_32_bit_programs, 120)
{
	const char *dir = in_dir(self, "d");
	char name[32];
	int fd, n, m;
	long len;

	ASSERT_EQ(0, mkdir(dir, 0700));
	for (int i = 0; i < SOME / 2; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		make_empty(_metadata, dir, name);
	}
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	if (no_compat(fd))
		SKIP(return, "no 32-bit system calls on this kernel");

	n = entries_from(fd, true, all, ARRAY_SIZE(all));
	ASSERT_EQ(SOME / 2 + 2, n);
	for (int i = 0; i < n; i++) {
		ASSERT_GE(INT_MAX, all[i].off) {
			TH_LOG("a position of more than 31 bits: %#lx", all[i].off);
		}
	}
	check_positions(_metadata, fd, n, 1);

	/* The oldest call says the same. */
	ASSERT_EQ(0, compat_seek(fd, 0));
	for (m = 0; (len = compat_call(COMPAT_GETDENTS, fd, (long)compat_buf->bytes,
				       sizeof(compat_buf->bytes), 0, 0)) > 0;) {
		for (long at = 0; at < len; m++) {
			unsigned int *head = (void *)(compat_buf->bytes + at);

			EXPECT_EQ(all[m].off, head[1]);
			EXPECT_STREQ(all[m].name, (char *)head + 10);
			at += ((unsigned short *)head)[4];
		}
	}
	EXPECT_EQ(0, len);
	EXPECT_EQ(n, m);

	/* The end is one for both kinds of programs. */
	EXPECT_LT(0, ERR(lseek(fd, 0, SEEK_END)));
	EXPECT_EQ(0, next_entries(fd, false, some));
	EXPECT_EQ(INT_MAX, compat_call(COMPAT_LSEEK, fd, 0, SEEK_END, 0, 0));
	EXPECT_EQ(0, next_entries(fd, true, some));

	/* Two programs of different kinds share an open directory. */
	for (int first = 0; first < 2; first++) {
		ASSERT_EQ(0, ERR(lseek(fd, 0, SEEK_SET)));
		for (m = 0; m < n / 2;)
			m += next_entries(fd, first, some + m);
		m += entries_from(fd, !first, some + m, ARRAY_SIZE(some) - m);
		ASSERT_EQ(n, m);
		EXPECT_EQ(n, common(some, n, all, n));
	}
	close(fd);
}

/* SipHash-2-4, by which directories are ordered, of names of less than 16 bytes. */
#define ROL(x, b)	((x) << (b) | (x) >> (64 - (b)))

static void sip_round(unsigned long *v)
{
	v[0] += v[1];
	v[1] = ROL(v[1], 13) ^ v[0];
	v[0] = ROL(v[0], 32);
	v[2] += v[3];
	v[3] = ROL(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = ROL(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = ROL(v[1], 17) ^ v[2];
	v[2] = ROL(v[2], 32);
}

static unsigned long sip_hash(const unsigned long *key, const char *name)
{
	unsigned long v[4] = {
		key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
		key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573,
	};
	unsigned long word[2] = {}, len = strlen(name);

	memcpy(word, name, len);
	word[len / 8] |= len << 56;
	for (unsigned long i = 0; i <= len / 8; i++) {
		v[3] ^= word[i];
		sip_round(v);
		sip_round(v);
		v[0] ^= word[i];
	}
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The key from the superblock, past the block device's cache. */
static bool hash_key(unsigned long *key)
{
	const char *dev = getenv("PINFS_DEV");
	void *buf = NULL;
	int fd = -1;
	bool ok;

	if (dev && !posix_memalign(&buf, PAGE, PAGE))
		fd = open(dev, O_RDONLY | O_DIRECT | O_CLOEXEC);
	ok = fd >= 0 && pread(fd, buf, PAGE, 0) == PAGE;
	if (ok)
		memcpy(key, (char *)buf + 168, 16);
	if (fd >= 0)
		close(fd);
	free(buf);
	return ok;
}

#define DRAWN	(1 << 18)

struct drawn {
	unsigned int position;
	int number;
};

static int by_position(const void *a, const void *b)
{
	unsigned int left = ((const struct drawn *)a)->position;
	unsigned int right = ((const struct drawn *)b)->position;

	return left < right ? -1 : left > right;
}

/* Among so many names there are some whose positions are one; nothing is left out and the end comes. */
TEST_F_TIMEOUT(pinfs, S2_names_of_one_position_for_32_bit_programs, 120)
{
	struct drawn *drawn = calloc(DRAWN, sizeof(*drawn));
	const char *dir = in_dir(self, "d");
	int fd, n, pairs = 0, repeated;
	unsigned long key[2];
	char name[32];

	ASSERT_NE(NULL, drawn);
	if (!hash_key(key))
		SKIP(return, "no device whose superblock has the key");
	for (int i = 0; i < DRAWN; i++) {
		snprintf(name, sizeof(name), "%d", i);
		drawn[i] = (struct drawn) { sip_hash(key, name) >> 33, i };
	}
	qsort(drawn, DRAWN, sizeof(*drawn), by_position);
	ASSERT_EQ(0, mkdir(dir, 0700));
	for (int i = 1; i < DRAWN; i++) {
		if (drawn[i].position != drawn[i - 1].position && i % (DRAWN / 64))
			continue;
		for (int k = i - 1; k <= i; k++) {
			snprintf(name, sizeof(name), "%d", drawn[k].number);
			make_empty(_metadata, dir, name);
		}
		pairs += drawn[i].position == drawn[i - 1].position;
		i++;
	}
	/* 16 are to be expected. */
	ASSERT_LE(1, pairs);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	if (no_compat(fd))
		SKIP(return, "no 32-bit system calls on this kernel");
	n = entries_from(fd, true, all, ARRAY_SIZE(all));
	ASSERT_LT(2 * pairs, n);
	repeated = 0;
	for (int i = 1; i < n; i++)
		repeated += all[i].off == all[i - 1].off;
	EXPECT_LE(pairs, repeated) {
		TH_LOG("%d pairs, %d positions told twice: not the hash of the file system?", pairs, repeated);
	}
	/* One after the other: each call goes on where the last one ended, also between such names. */
	memcpy(some, all, sizeof(all));
	EXPECT_EQ(n, common(some, n, all, n));
	check_positions(_metadata, fd, n, 2);
	close(fd);
	free(drawn);
}
#endif

TEST_F_TIMEOUT(pinfs, S2_readdir_while_entries_go, 60)
{
	static unsigned char seen[MANY];
	char name[128];
	struct dirent *de;
	int i, removed = 0;
	DIR *d;

	for (i = 0; i < SOME; i++) {
		snprintf(name, sizeof(name), "g%d", i);
		ASSERT_EQ(0, ERR(mkdir(in_dir(self, name), 0700)));
	}
	d = opendir(self->dir);
	ASSERT_NE(NULL, d);
	while ((de = readdir(d))) {
		if (sscanf(de->d_name, "g%d", &i) != 1)
			continue;
		seen[i]++;
		/* rm -r: each goes as soon as it is seen. */
		ASSERT_EQ(0, ERR(rmdir(in_dir(self, de->d_name))));
		removed++;
	}
	closedir(d);
	EXPECT_EQ(SOME, removed);
	for (i = 0; i < SOME; i++) {
		ASSERT_EQ(1, seen[i]);
	}
}

TEST_F(pinfs, S2_mkdir_and_rmdir)
{
	long links = links_of(self->dir);

	EXPECT_EQ(0, ERR(mkdir(in_dir(self, "d"), 0750)));
	EXPECT_EQ(2, links_of(in_dir(self, "d")));
	EXPECT_EQ(links + 1, links_of(self->dir));
	EXPECT_EQ(inode_of(self->dir), inode_of(in_dir(self, "d/..")));
	EXPECT_EQ(inode_of(in_dir(self, "d")), inode_of(in_dir(self, "d/.")));
	EXPECT_EQ(0, make_file(in_dir(self, "d/f"), 1, 1));
	EXPECT_EQ(-ENOTEMPTY, ERR(rmdir(in_dir(self, "d"))));
	EXPECT_EQ(-EINVAL, ERR(rmdir(in_dir(self, "d/."))));
	EXPECT_EQ(0, ERR(unlink(in_dir(self, "d/f"))));
	EXPECT_EQ(0, ERR(rmdir(in_dir(self, "d"))));
	EXPECT_EQ(links, links_of(self->dir));
	EXPECT_EQ(-ENOENT, ERR(rmdir(in_dir(self, "d"))));
}

TEST_F(pinfs, S2_removed_directory_that_is_open)
{
	int fd;

	ASSERT_EQ(0, mkdir(in_dir(self, "d"), 0700));
	fd = open(in_dir(self, "d"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, rmdir(in_dir(self, "d")));
	EXPECT_EQ(-ENOENT, ERR(openat(fd, "f", O_CREAT | O_RDWR, 0600)));
	EXPECT_EQ(-ENOENT, ERR(mkdirat(fd, "f", 0700)));
	close(fd);
}

TEST_F(pinfs, S2_unlinked_file_stays_readable)
{
	long before = blocks_free(self->dir), with;
	char buf[PAGE];
	struct stat st;

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	with = blocks_free(self->dir);
	ASSERT_EQ(0, act_unlink(&self->me, 0));
	EXPECT_EQ(-ENOENT, ERR(stat(self->path, &st)));
	ASSERT_EQ(0, fstat(self->me.fd, &st));
	EXPECT_EQ(0, st.st_nlink);
	EXPECT_EQ(FILE_SIZE, st.st_size);
	ASSERT_EQ(PAGE, pread(self->me.fd, buf, PAGE, 0));
	EXPECT_TRUE(filled(buf, PAGE, FILE_SEED));
	EXPECT_EQ(PAGE, act_write_page(&self->me, 2));
	EXPECT_GE(with + 16, blocks_free(self->dir));
	ASSERT_EQ(0, act_close(&self->me, 0));
	EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= before + FILE_PAGES, 1000));
}

/* ---- rename ---- */

TEST_F(pinfs, S2_rename_over_a_file)
{
	long ino = inode_of(self->path);

	ASSERT_EQ(0, make_file(in_dir(self, "old"), 1, 1));
	EXPECT_EQ(0, ERR(rename(self->path, in_dir(self, "old"))));
	EXPECT_EQ(-ENOENT, size_of(self->path));
	EXPECT_EQ(FILE_SIZE, size_of(in_dir(self, "old")));
	EXPECT_EQ(ino, inode_of(in_dir(self, "old")));
	EXPECT_EQ(1, links_of(in_dir(self, "old")));
	/* Onto itself: nothing happens. */
	EXPECT_EQ(0, ERR(rename(in_dir(self, "old"), in_dir(self, "old"))));
	EXPECT_EQ(FILE_SIZE, size_of(in_dir(self, "old")));
	EXPECT_EQ(-ENOENT, ERR(rename(in_dir(self, "none"), in_dir(self, "old"))));
	EXPECT_EQ(FILE_SIZE, size_of(in_dir(self, "old")));
}

TEST_F(pinfs, S2_rename_over_an_open_file_keeps_its_data)
{
	char buf[PAGE];

	ASSERT_EQ(0, act_open(&self->me, O_RDONLY));
	ASSERT_EQ(0, make_file(in_dir(self, "new"), 1, 1));
	ASSERT_EQ(0, ERR(rename(in_dir(self, "new"), self->path)));
	EXPECT_EQ(PAGE, size_of(self->path));
	ASSERT_EQ(PAGE, pread(self->me.fd, buf, PAGE, 0));
	EXPECT_TRUE(filled(buf, PAGE, FILE_SEED));
}

TEST_F(pinfs, S2_rename_over_directories)
{
	long links = links_of(self->dir);

	ASSERT_EQ(0, mkdir(in_dir(self, "a"), 0700));
	ASSERT_EQ(0, mkdir(in_dir(self, "b"), 0700));
	ASSERT_EQ(0, make_file(in_dir(self, "a/x"), 1, 1));
	ASSERT_EQ(0, make_file(in_dir(self, "b/y"), 1, 1));
	EXPECT_EQ(-ENOTEMPTY, ERR(rename(in_dir(self, "a"), in_dir(self, "b"))));
	EXPECT_EQ(-EISDIR, ERR(rename(self->path, in_dir(self, "b"))));
	EXPECT_EQ(-ENOTDIR, ERR(rename(in_dir(self, "b"), self->path)));
	EXPECT_EQ(PAGE, size_of(in_dir(self, "a/x")));
	EXPECT_EQ(PAGE, size_of(in_dir(self, "b/y")));
	ASSERT_EQ(0, unlink(in_dir(self, "b/y")));
	EXPECT_EQ(0, ERR(rename(in_dir(self, "a"), in_dir(self, "b"))));
	EXPECT_EQ(PAGE, size_of(in_dir(self, "b/x")));
	EXPECT_EQ(-ENOENT, size_of(in_dir(self, "a")));
	EXPECT_EQ(links + 1, links_of(self->dir));
}

TEST_F(pinfs, S2_rename_between_directories)
{
	ASSERT_EQ(0, mkdir(in_dir(self, "p"), 0700));
	ASSERT_EQ(0, mkdir(in_dir(self, "q"), 0700));
	ASSERT_EQ(0, mkdir(in_dir(self, "p/d"), 0700));
	ASSERT_EQ(0, make_file(in_dir(self, "p/d/f"), 1, 1));
	EXPECT_EQ(3, links_of(in_dir(self, "p")));
	EXPECT_EQ(2, links_of(in_dir(self, "q")));
	EXPECT_EQ(0, ERR(rename(in_dir(self, "p/d"), in_dir(self, "q/e"))));
	EXPECT_EQ(2, links_of(in_dir(self, "p")));
	EXPECT_EQ(3, links_of(in_dir(self, "q")));
	EXPECT_EQ(inode_of(in_dir(self, "q")), inode_of(in_dir(self, "q/e/..")));
	EXPECT_EQ(PAGE, size_of(in_dir(self, "q/e/f")));
	EXPECT_EQ(0, ERR(rename(in_dir(self, "q/e/f"), in_dir(self, "p/f"))));
	EXPECT_EQ(PAGE, size_of(in_dir(self, "p/f")));
	EXPECT_EQ(0, ERR(rmdir(in_dir(self, "q/e"))));
}

TEST_F(pinfs, S2_rename_into_itself)
{
	ASSERT_EQ(0, mkdir(in_dir(self, "a"), 0700));
	ASSERT_EQ(0, mkdir(in_dir(self, "a/b"), 0700));
	EXPECT_EQ(-EINVAL, ERR(rename(in_dir(self, "a"), in_dir(self, "a/b/c"))));
	EXPECT_EQ(-ENOTEMPTY, ERR(rename(in_dir(self, "a/b"), in_dir(self, "a"))));
	EXPECT_EQ(0, ERR(rmdir(in_dir(self, "a/b"))));
}

/* ---- links ---- */

TEST_F(pinfs, S2_symlinks_short_and_long)
{
	static const size_t lengths[] = { 1, 20, 59, 60, 61, 100, 140, 200, 255, 1000, 4000 };
	char target[4096], buf[4096], name[32];
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		memset(target, 'a' + (int)i, sizeof(target));
		target[lengths[i]] = '\0';
		snprintf(name, sizeof(name), "link%zu", i);
		ASSERT_EQ(0, ERR(symlink(target, in_dir(self, name)))) {
			TH_LOG("a target of %zu bytes", lengths[i]);
		}
		memset(buf, 0, sizeof(buf));
		ASSERT_EQ((ssize_t)lengths[i], ERR(readlink(in_dir(self, name), buf, sizeof(buf))));
		EXPECT_EQ(0, memcmp(target, buf, lengths[i]));
		ASSERT_EQ(0, lstat(in_dir(self, name), &st));
		EXPECT_TRUE(S_ISLNK(st.st_mode));
		EXPECT_EQ((off_t)lengths[i], st.st_size);
		EXPECT_EQ(0, ERR(unlink(in_dir(self, name))));
	}
}

TEST_F(pinfs, S2_symlinks_are_followed)
{
	ASSERT_EQ(0, mkdir(in_dir(self, "d"), 0700));
	ASSERT_EQ(0, symlink("../file", in_dir(self, "d/up")));
	ASSERT_EQ(0, symlink(self->dir, in_dir(self, "d/abs")));
	ASSERT_EQ(0, symlink("loop", in_dir(self, "loop")));
	EXPECT_EQ(FILE_SIZE, ERR(lseek(open(in_dir(self, "d/up"), O_RDONLY | O_CLOEXEC), 0,
				       SEEK_END)));
	EXPECT_EQ(0, ERR(access(in_dir(self, "d/abs/file"), R_OK)));
	EXPECT_EQ(-ELOOP, ERR(open(in_dir(self, "loop"), O_RDONLY)));
	EXPECT_EQ(-EINVAL, ERR(readlink(self->path, (char[8]){ 0 }, 8)));
}

TEST_F(pinfs, S2_hard_links)
{
	struct stat before, after;

	ASSERT_EQ(0, stat(self->path, &before));
	nap_ms(20);
	ASSERT_EQ(0, ERR(link(self->path, in_dir(self, "second"))));
	EXPECT_EQ(2, links_of(self->path));
	EXPECT_EQ(inode_of(self->path), inode_of(in_dir(self, "second")));
	ASSERT_EQ(0, stat(self->path, &after));
	EXPECT_TRUE(after.st_ctim.tv_sec > before.st_ctim.tv_sec ||
		    after.st_ctim.tv_nsec > before.st_ctim.tv_nsec);
	EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	EXPECT_EQ(0, ERR(truncate(in_dir(self, "second"), PAGE)));
	EXPECT_EQ(PAGE, size_of(self->path));
	EXPECT_EQ(-EEXIST, ERR(link(self->path, in_dir(self, "second"))));
	EXPECT_EQ(0, ERR(unlink(self->path)));
	EXPECT_EQ(1, links_of(in_dir(self, "second")));
	EXPECT_EQ(-EPERM, ERR(link(self->dir, in_dir(self, "third"))));
	EXPECT_EQ(-ENOENT, ERR(link(in_dir(self, "none"), in_dir(self, "third"))));
}

/* Whatever is not a directory can have several names. */
TEST_F(pinfs, S2_hard_links_to_special_files_and_symlinks)
{
	ASSERT_EQ(0, ERR(mknod(in_dir(self, "fifo"), S_IFIFO | 0600, 0)));
	ASSERT_EQ(0, ERR(mknod(in_dir(self, "dev"), S_IFCHR | 0600, makedev(1, 3))));
	ASSERT_EQ(0, symlink("file", in_dir(self, "sym")));
	ASSERT_EQ(0, mkdir(in_dir(self, "d"), 0700));
	ASSERT_EQ(0, ERR(link(in_dir(self, "fifo"), in_dir(self, "d/fifo"))));
	ASSERT_EQ(0, ERR(link(in_dir(self, "dev"), in_dir(self, "d/dev"))));
	ASSERT_EQ(0, ERR(link(in_dir(self, "sym"), in_dir(self, "d/sym"))));
	EXPECT_EQ(2, links_of(in_dir(self, "fifo")));
	EXPECT_EQ(2, links_of(in_dir(self, "d/dev")));
	EXPECT_EQ(2, links_of(in_dir(self, "sym")));
	EXPECT_EQ(inode_of(in_dir(self, "dev")), inode_of(in_dir(self, "d/dev")));
	EXPECT_TRUE(S_ISLNK(mode_of(in_dir(self, "d/sym"))));
	EXPECT_TRUE(S_ISFIFO(mode_of(in_dir(self, "d/fifo"))));
	EXPECT_EQ(2, links_of(in_dir(self, "d")));
}

TEST_F(pinfs, S2_rename_of_one_link_over_another_keeps_both)
{
	ASSERT_EQ(0, ERR(link(self->path, in_dir(self, "second"))));
	EXPECT_EQ(0, ERR(rename(self->path, in_dir(self, "second"))));
	EXPECT_EQ(2, links_of(self->path));
	EXPECT_EQ(2, links_of(in_dir(self, "second")));
}

TEST_F(pinfs, S2_special_files)
{
	struct stat st;

	ASSERT_EQ(0, ERR(mknod(in_dir(self, "blk"), S_IFBLK | 0640, makedev(259, 70000))));
	ASSERT_EQ(0, ERR(mknod(in_dir(self, "sock"), S_IFSOCK | 0600, 0)));
	ASSERT_EQ(0, stat(in_dir(self, "blk"), &st));
	EXPECT_EQ(S_IFBLK | 0640, st.st_mode);
	EXPECT_EQ(makedev(259, 70000), st.st_rdev);
	EXPECT_TRUE(S_ISSOCK(mode_of(in_dir(self, "sock"))));
	EXPECT_EQ(-ENXIO, ERR(open(in_dir(self, "sock"), O_RDWR)));
}

/* ---- renameat2() ---- */

static long rename2(const char *from, const char *to, unsigned int flags)
{
	return ERR(renameat2(AT_FDCWD, from, AT_FDCWD, to, flags));
}

TEST_F(pinfs, S2_rename_NOREPLACE)
{
	ASSERT_EQ(0, make_file(in_dir(self, "other"), 1, 1));
	EXPECT_EQ(-EEXIST, rename2(self->path, in_dir(self, "other"), RENAME_NOREPLACE));
	EXPECT_EQ(PAGE, size_of(in_dir(self, "other")));
	EXPECT_EQ(FILE_SIZE, size_of(self->path));
	EXPECT_EQ(0, rename2(self->path, in_dir(self, "new"), RENAME_NOREPLACE));
	EXPECT_EQ(FILE_SIZE, size_of(in_dir(self, "new")));
	EXPECT_EQ(-ENOENT, size_of(self->path));
}

TEST_F(pinfs, S2_rename_EXCHANGE)
{
	long file = inode_of(self->path), other;

	ASSERT_EQ(0, make_file(in_dir(self, "other"), 1, 1));
	other = inode_of(in_dir(self, "other"));
	ASSERT_EQ(0, rename2(self->path, in_dir(self, "other"), RENAME_EXCHANGE));
	EXPECT_EQ(file, inode_of(in_dir(self, "other")));
	EXPECT_EQ(other, inode_of(self->path));
	EXPECT_EQ(PAGE, size_of(self->path));
	EXPECT_EQ(1, links_of(self->path));
	EXPECT_EQ(-ENOENT, rename2(self->path, in_dir(self, "none"), RENAME_EXCHANGE));
	EXPECT_EQ(-EINVAL, rename2(self->path, in_dir(self, "other"),
				   RENAME_EXCHANGE | RENAME_NOREPLACE));
}

/* A file and a directory with something in it, in two directories. */
TEST_F(pinfs, S2_rename_EXCHANGE_of_file_and_directory)
{
	ASSERT_EQ(0, mkdir(in_dir(self, "p"), 0700));
	ASSERT_EQ(0, mkdir(in_dir(self, "q"), 0700));
	ASSERT_EQ(0, mkdir(in_dir(self, "p/d"), 0700));
	ASSERT_EQ(0, make_file(in_dir(self, "p/d/in"), 1, 1));
	ASSERT_EQ(0, make_file(in_dir(self, "q/f"), 2, 2));
	ASSERT_EQ(0, rename2(in_dir(self, "p/d"), in_dir(self, "q/f"), RENAME_EXCHANGE));
	EXPECT_EQ(2, links_of(in_dir(self, "p")));
	EXPECT_EQ(3, links_of(in_dir(self, "q")));
	EXPECT_EQ(2 * PAGE, size_of(in_dir(self, "p/d")));
	EXPECT_EQ(PAGE, size_of(in_dir(self, "q/f/in")));
	EXPECT_EQ(inode_of(in_dir(self, "q")), inode_of(in_dir(self, "q/f/..")));
	EXPECT_EQ(-EINVAL, rename2(in_dir(self, "q"), in_dir(self, "q/f"), RENAME_EXCHANGE));
	/* And back, and the empty directories can go. */
	ASSERT_EQ(0, rename2(in_dir(self, "p/d"), in_dir(self, "q/f"), RENAME_EXCHANGE));
	EXPECT_EQ(3, links_of(in_dir(self, "p")));
	EXPECT_EQ(2, links_of(in_dir(self, "q")));
	EXPECT_EQ(0, ERR(unlink(in_dir(self, "q/f"))));
	EXPECT_EQ(0, ERR(rmdir(in_dir(self, "q"))));
}

TEST_F(pinfs, S2_rename_WHITEOUT)
{
	struct stat st;

	ASSERT_EQ(0, mkdir(in_dir(self, "d"), 0700));
	ASSERT_EQ(0, rename2(self->path, in_dir(self, "d/moved"), RENAME_WHITEOUT));
	EXPECT_EQ(FILE_SIZE, size_of(in_dir(self, "d/moved")));
	ASSERT_EQ(0, lstat(self->path, &st));
	EXPECT_EQ(S_IFCHR, st.st_mode);
	EXPECT_EQ(0, st.st_rdev);
	EXPECT_EQ(1, st.st_nlink);
	/* Over something, and a directory that moves. */
	ASSERT_EQ(0, rename2(in_dir(self, "d"), in_dir(self, "e"), RENAME_WHITEOUT));
	EXPECT_TRUE(S_ISCHR(mode_of(in_dir(self, "d"))));
	ASSERT_EQ(0, rename2(in_dir(self, "e/moved"), self->path, RENAME_WHITEOUT));
	EXPECT_EQ(FILE_SIZE, size_of(self->path));
	EXPECT_TRUE(S_ISCHR(mode_of(in_dir(self, "e/moved"))));
	EXPECT_EQ(3, links_of(self->dir));
	EXPECT_EQ(-EINVAL, rename2(self->path, in_dir(self, "x"), 1 << 7));
}

/* Names change hands under a reader, who finds one of the two at each look. */
static const char *exchanged[2];

static void *exchange_for_ever(void *stop)
{
	while (!__atomic_load_n((bool *)stop, __ATOMIC_RELAXED))
		rename2(exchanged[0], exchanged[1], RENAME_EXCHANGE);
	return NULL;
}

TEST_F(pinfs, S2_rename_EXCHANGE_is_atomic)
{
	bool stop = false;
	pthread_t thread;

	ASSERT_EQ(0, make_file(in_dir(self, "other"), 1, 1));
	exchanged[0] = self->path;
	exchanged[1] = strdup(in_dir(self, "other"));
	ASSERT_EQ(0, pthread_create(&thread, NULL, exchange_for_ever, &stop));
	for (int i = 0; i < 2000; i++) {
		long size = size_of(exchanged[i % 2]);

		EXPECT_TRUE(size == PAGE || size == FILE_SIZE) {
			TH_LOG("look %d: %ld", i, size);
			break;
		}
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
}

/* ---- files without a name ---- */

static int open_tmpfile(const char *dir, int flags)
{
	return open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0640);
}

TEST_F(pinfs, S2_tmpfile_has_no_name_and_leaves_nothing)
{
	long before = blocks_free(self->dir);
	static char buf[4096];
	struct stat st;
	DIR *d;
	int fd, entries = 0;

	fd = open_tmpfile(self->dir, 0);
	ASSERT_LE(0, fd) {
		TH_LOG("O_TMPFILE: %s", strerror(errno));
	}
	for (int i = 0; i < 100; i++) {
		fill(buf, sizeof(buf), i);
		ASSERT_EQ(PAGE, ERR(write(fd, buf, sizeof(buf))));
	}
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(0, st.st_nlink);
	EXPECT_EQ(S_IFREG | 0640, st.st_mode);
	EXPECT_EQ(100 * PAGE, st.st_size);
	ASSERT_EQ(PAGE, ERR(pread(fd, buf, sizeof(buf), 42 * PAGE)));
	EXPECT_TRUE(filled(buf, sizeof(buf), 42));
	d = opendir(self->dir);
	ASSERT_NE(NULL, d);
	while (readdir(d))
		entries++;
	closedir(d);
	EXPECT_EQ(3, entries);
	EXPECT_GE(before - 100, blocks_free(self->dir));
	close(fd);
	EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) == before, 2000)) {
		TH_LOG("%ld blocks were free, now %ld", before, blocks_free(self->dir));
	}
	EXPECT_EQ(-ENOTDIR, ERR(open_tmpfile(self->path, 0)));
}

TEST_F(pinfs, S2_tmpfile_gets_a_name)
{
	char link[64];
	int fd;

	/* By /proc/self/fd ... */
	fd = open_tmpfile(self->dir, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(3, ERR(write(fd, "one", 3)));
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ASSERT_EQ(0, ERR(linkat(AT_FDCWD, link, AT_FDCWD, in_dir(self, "one"),
				AT_SYMLINK_FOLLOW)));
	EXPECT_EQ(1, links_of(in_dir(self, "one")));
	/* A name like any other: a second one, and neither any more. */
	ASSERT_EQ(0, ERR(linkat(fd, "", AT_FDCWD, in_dir(self, "two"), AT_EMPTY_PATH)));
	EXPECT_EQ(2, links_of(in_dir(self, "one")));
	EXPECT_EQ(0, unlink(in_dir(self, "one")));
	EXPECT_EQ(0, unlink(in_dir(self, "two")));
	/* It had a name, so it is no longer one that may get its first. */
	EXPECT_EQ(-ENOENT, ERR(linkat(fd, "", AT_FDCWD, in_dir(self, "three"), AT_EMPTY_PATH)));
	close(fd);

	/* ... and by its descriptor; the data outlives the descriptor. */
	fd = open_tmpfile(self->dir, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(3, ERR(write(fd, "two", 3)));
	ASSERT_EQ(0, ERR(linkat(fd, "", AT_FDCWD, in_dir(self, "four"), AT_EMPTY_PATH)));
	close(fd);
	EXPECT_EQ(3, size_of(in_dir(self, "four")));
	EXPECT_EQ(1, links_of(in_dir(self, "four")));

	/* O_EXCL: never to have one. */
	fd = open_tmpfile(self->dir, O_EXCL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-ENOENT, ERR(linkat(fd, "", AT_FDCWD, in_dir(self, "five"), AT_EMPTY_PATH)));
	close(fd);
}

TEST_HARNESS_MAIN
