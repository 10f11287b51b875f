// SPDX-License-Identifier: GPL-2.0
/* Names: directories, links, renames, files without a name. Row S2. */
#include "fs_test.h"

#include <dirent.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <pthread.h>
#include <sys/statfs.h>
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
