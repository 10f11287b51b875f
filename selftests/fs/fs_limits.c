// SPDX-License-Identifier: GPL-2.0
/* Row S2 at its limits: names, paths, links, sizes, offsets, and a large directory. */
#include "kselftest_harness.h"

#include "pinfs_test.h"

#include <dirent.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/uio.h>

/* Bytes in the longest target: a block without its header. */
#define TARGET_MAX	4080

/* The name of so many bytes; two may be in use at once. */
static const char *name_of(size_t len)
{
	static char name[2][PATH_MAX + 2];
	static int turn;

	turn = !turn;
	memset(name[turn], 'n', len);
	name[turn][len] = '\0';
	return name[turn];
}

static long make(const char *name)
{
	int fd = open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	long ret = ERR(fd);

	if (fd >= 0)
		close(fd);
	return ret < 0 ? ret : 0;
}

static long size_of(const char *path)
{
	struct stat st;
	long ret = ERR(lstat(path, &st));

	return ret ? ret : st.st_size;
}

TEST_F(pinfs, S2_names_of_255_and_256_bytes)
{
	struct statfs fs;

	ASSERT_EQ(0, chdir(self->dir));
	ASSERT_EQ(0, statfs(".", &fs));
	EXPECT_EQ(NAME_MAX, fs.f_namelen);
	EXPECT_EQ(NAME_MAX, pathconf(".", _PC_NAME_MAX));
	EXPECT_EQ(0, make(name_of(255)));
	EXPECT_EQ(-EEXIST, ERR(mkdir(name_of(255), 0700)));
	EXPECT_EQ(0, ERR(rename(name_of(255), "short")));
	EXPECT_EQ(0, ERR(rename("short", name_of(255))));
	EXPECT_EQ(0, ERR(unlink(name_of(255))));
	EXPECT_EQ(0, ERR(mkdir(name_of(255), 0700)));
	EXPECT_EQ(0, ERR(rmdir(name_of(255))));
	EXPECT_EQ(0, ERR(symlink(name_of(255), name_of(255))));
	EXPECT_EQ(0, ERR(unlink(name_of(255))));
	ASSERT_EQ(0, make("short"));
	EXPECT_EQ(-ENAMETOOLONG, make(name_of(256)));
	EXPECT_EQ(-ENAMETOOLONG, ERR(mkdir(name_of(256), 0700)));
	EXPECT_EQ(-ENAMETOOLONG, ERR(symlink("short", name_of(256))));
	EXPECT_EQ(-ENAMETOOLONG, ERR(link("short", name_of(256))));
	EXPECT_EQ(-ENAMETOOLONG, ERR(rename("short", name_of(256))));
	EXPECT_EQ(-ENAMETOOLONG, ERR(mkfifo(name_of(256), 0600)));
	EXPECT_EQ(-ENAMETOOLONG, ERR(access(name_of(256), F_OK)));
	EXPECT_EQ(0, ERR(access("short", F_OK)));
	ASSERT_EQ(0, chdir("/"));
}

/* Every byte but '/' and NUL may stand in a name, and each makes another one. */
TEST_F(pinfs, S2_every_byte_in_a_name)
{
	bool seen[256] = { false };
	struct dirent *entry;
	char name[3] = "xx";
	int count = 0;
	DIR *dir;

	ASSERT_EQ(0, chdir(self->dir));
	ASSERT_EQ(0, mkdir("bytes", 0700));
	ASSERT_EQ(0, chdir("bytes"));
	for (int c = 1; c < 256; c++) {
		name[0] = (char)c;
		if (c != '/')
			EXPECT_EQ(0, make(name));
	}
	dir = opendir(".");
	ASSERT_NE(NULL, dir);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.' && entry->d_name[1] != 'x')
			continue;
		EXPECT_EQ(2, strlen(entry->d_name));
		EXPECT_FALSE(seen[(unsigned char)entry->d_name[0]]);
		seen[(unsigned char)entry->d_name[0]] = true;
		count++;
	}
	closedir(dir);
	EXPECT_EQ(254, count);
	ASSERT_EQ(0, chdir("/"));
}

TEST_F(pinfs, S2_targets_of_symbolic_links)
{
	static char target[PATH_MAX + 1];

	ASSERT_EQ(0, chdir(self->dir));
	for (size_t len = 1; len <= TARGET_MAX; len = len < 200 ? len + 1 : len * 2 - 7) {
		ASSERT_EQ(0, symlink(name_of(len), "link"));
		EXPECT_EQ((long)len, size_of("link"));
		EXPECT_EQ((ssize_t)len, readlink("link", target, sizeof(target)));
		EXPECT_EQ(0, memcmp(target, name_of(len), len));
		ASSERT_EQ(0, unlink("link"));
	}
	ASSERT_EQ(0, symlink(name_of(TARGET_MAX), "link"));
	EXPECT_EQ(TARGET_MAX, readlink("link", target, sizeof(target)));
	EXPECT_EQ(-ENAMETOOLONG, ERR(symlink(name_of(TARGET_MAX + 1), "longer")));
	EXPECT_EQ(-ENAMETOOLONG, ERR(symlink(name_of(PATH_MAX), "longer")));
	EXPECT_EQ(-ENOENT, ERR(symlink("", "empty")));
	ASSERT_EQ(0, symlink("loop", "loop"));
	EXPECT_EQ(-ELOOP, ERR(open("loop", O_RDONLY)));
	ASSERT_EQ(0, chdir("/"));
}

/* Deeper than a path can say: made, found and removed step by step. */
TEST_F(pinfs, S2_directories_deeper_than_a_path)
{
	char here[PATH_MAX];
	int depth;

	ASSERT_EQ(0, chdir(self->dir));
	for (depth = 0; depth < 40; depth++) {
		ASSERT_EQ(0, mkdir(name_of(200), 0700));
		ASSERT_EQ(0, chdir(name_of(200)));
	}
	EXPECT_EQ(NULL, getcwd(here, sizeof(here)));
	ASSERT_EQ(0, make("deep"));
	ASSERT_EQ(0, unlink("deep"));
	while (depth--) {
		ASSERT_EQ(0, chdir(".."));
		ASSERT_EQ(0, rmdir(name_of(200)));
	}
	ASSERT_EQ(0, chdir("/"));
}

/* The largest size is the largest offset that there is; a byte before it is kept. */
TEST_F(pinfs, S2_sizes_to_the_largest_offset)
{
	char byte = 'e', back = 0;
	const off_t last = LLONG_MAX;
	int fd;

	ASSERT_EQ(0, chdir(self->dir));
	fd = open("file", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, last));
	EXPECT_EQ(last, size_of("file"));
	EXPECT_EQ(1, pwrite(fd, &byte, 1, last - 1));
	EXPECT_EQ(1, pread(fd, &back, 1, last - 1));
	EXPECT_EQ(byte, back);
	EXPECT_EQ(last, size_of("file"));
	EXPECT_EQ((last - 1) / PAGE, lseek(fd, last - 2 * PAGE, SEEK_DATA) / PAGE);
	EXPECT_EQ(last, lseek(fd, 0, SEEK_END));
	EXPECT_EQ(-EINVAL, ERR(lseek(fd, 1, SEEK_END)));
	EXPECT_EQ(-ENXIO, ERR(lseek(fd, last, SEEK_DATA)));
	EXPECT_EQ(0, ftruncate(fd, FILE_SIZE));
	EXPECT_EQ(FILE_SIZE, size_of("file"));
	close(fd);
	ASSERT_EQ(0, chdir("/"));
}

TEST_F(pinfs, S2_offsets_and_lengths_out_of_range)
{
	char byte = 'o';
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	int fd = open(self->path, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, ERR(pwrite(fd, &byte, 1, -1)));
	EXPECT_EQ(-EINVAL, ERR(pread(fd, &byte, 1, -1)));
	/* The end of such a write would have no number. */
	EXPECT_EQ(-EINVAL, ERR(pwrite(fd, &byte, 1, LLONG_MAX)));
	EXPECT_EQ(-EINVAL, ERR(pwritev(fd, &iov, 1, LLONG_MAX)));
	EXPECT_EQ(-EINVAL, ERR(ftruncate(fd, -1)));
	EXPECT_EQ(-EINVAL, ERR(fallocate(fd, 0, 0, 0)));
	EXPECT_EQ(-EINVAL, ERR(fallocate(fd, 0, -1, 1)));
	EXPECT_EQ(-EINVAL, ERR(fallocate(fd, 0, 0, -1)));
	EXPECT_EQ(-EFBIG, ERR(fallocate(fd, 0, LLONG_MAX, 1)));
	EXPECT_EQ(-EFBIG, ERR(fallocate(fd, 0, LLONG_MAX - 1, LLONG_MAX)));
	EXPECT_EQ(-ENOSPC, ERR(fallocate(fd, 0, 0, 1L << 60)));
	EXPECT_EQ(0, ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FILE_SIZE,
				   LLONG_MAX - FILE_SIZE - PAGE)));
	EXPECT_EQ(-EINVAL, ERR(lseek(fd, -1, SEEK_SET)));
	EXPECT_EQ(-ENXIO, ERR(lseek(fd, FILE_SIZE, SEEK_HOLE)));
	EXPECT_EQ(FILE_SIZE, size_of(self->path));
	close(fd);
}

/* Behind the limit of a process is SIGXFSZ, or EFBIG if that is ignored. */
TEST_F(pinfs, S2_the_limit_of_a_process)
{
	struct rlimit limit = { .rlim_cur = FILE_SIZE + 100, .rlim_max = RLIM_INFINITY };
	char bytes[200] = "";
	int fd = open(self->path, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, fd);
	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(100, ERR(pwrite(fd, bytes, sizeof(bytes), FILE_SIZE)));
	EXPECT_EQ(-EFBIG, ERR(pwrite(fd, bytes, sizeof(bytes), FILE_SIZE + 100)));
	EXPECT_EQ(-EFBIG, ERR(ftruncate(fd, FILE_SIZE + 101)));
	EXPECT_EQ(-EFBIG, ERR(fallocate(fd, 0, FILE_SIZE, 101)));
	EXPECT_EQ(FILE_SIZE + 100, size_of(self->path));
	close(fd);
}

/* As many names as a test has time for: the count is right at each step. */
TEST_F_TIMEOUT(pinfs, S2_thousands_of_links, 120)
{
	struct stat st;
	char name[32];
	const int links = 3000;

	ASSERT_EQ(0, chdir(self->dir));
	for (int i = 0; i < links; i++) {
		long ret;

		snprintf(name, sizeof(name), "link-%d", i);
		ret = ERR(link("file", name));
		if (ret == -EPERM)
			SKIP(return, "the file system has no links");
		ASSERT_EQ(0, ret);
	}
	ASSERT_EQ(0, stat("file", &st));
	EXPECT_EQ(links + 1, st.st_nlink);
	for (int i = 0; i < links; i++) {
		snprintf(name, sizeof(name), "link-%d", i);
		ASSERT_EQ(0, unlink(name));
	}
	ASSERT_EQ(0, stat("file", &st));
	EXPECT_EQ(1, st.st_nlink);
	ASSERT_EQ(0, chdir("/"));
}

/* A directory's links are its subdirectories' `..`. */
TEST_F_TIMEOUT(pinfs, S2_thousands_of_subdirectories, 120)
{
	const int count = 2000;
	struct stat st;
	char name[32];

	ASSERT_EQ(0, chdir(self->dir));
	ASSERT_EQ(0, mkdir("parent", 0700));
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "parent/%d", i);
		ASSERT_EQ(0, mkdir(name, 0700));
	}
	ASSERT_EQ(0, stat("parent", &st));
	EXPECT_EQ(count + 2, st.st_nlink);
	EXPECT_EQ(-ENOTEMPTY, ERR(rmdir("parent")));
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "parent/%d", i);
		ASSERT_EQ(0, rmdir(name));
	}
	ASSERT_EQ(0, stat("parent", &st));
	EXPECT_EQ(2, st.st_nlink);
	EXPECT_EQ(0, rmdir("parent"));
	ASSERT_EQ(0, chdir("/"));
}

/* As large as $PINFS_NAMES says; what is read is what was made, each name once. */
TEST_F_TIMEOUT(pinfs, S2_a_directory_of_many_names, 3600)
{
	const char *wanted = getenv("PINFS_NAMES");
	long count = wanted ? atol(wanted) : 2000, found = 0, before, number;
	struct dirent *entry;
	char name[64], end;
	struct stat st;
	bool *seen;
	DIR *dir;

	ASSERT_LT(0, count);
	seen = calloc(count, sizeof(*seen));
	ASSERT_NE(NULL, seen);
	before = blocks_free(self->dir);
	ASSERT_EQ(0, chdir(self->dir));
	ASSERT_EQ(0, mkdir("large", 0700));
	ASSERT_EQ(0, chdir("large"));
	for (long i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "name-%ld", i);
		ASSERT_EQ(0, make(name)) {
			TH_LOG("name %ld", i);
		}
	}
	for (long i = 0; i < count; i += 97) {
		snprintf(name, sizeof(name), "name-%ld", i);
		EXPECT_EQ(0, stat(name, &st));
		snprintf(name, sizeof(name), "nome-%ld", i);
		EXPECT_EQ(-ENOENT, ERR(stat(name, &st)));
	}
	dir = opendir(".");
	ASSERT_NE(NULL, dir);
	while ((entry = readdir(dir))) {
		if (sscanf(entry->d_name, "name-%ld%c", &number, &end) != 1)
			continue;
		ASSERT_GT(count, number);
		EXPECT_FALSE(seen[number]);
		seen[number] = true;
		found++;
	}
	EXPECT_EQ(count, found);
	/* Removed while it is read: what is not removed yet is still found. */
	rewinddir(dir);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == 'n')
			ASSERT_EQ(0, unlink(entry->d_name));
	}
	closedir(dir);
	ASSERT_EQ(0, chdir(".."));
	EXPECT_EQ(0, ERR(rmdir("large")));
	EXPECT_EQ(before, blocks_free(self->dir));
	free(seen);
	ASSERT_EQ(0, chdir("/"));
}

TEST_HARNESS_MAIN
