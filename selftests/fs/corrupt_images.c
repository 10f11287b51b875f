// SPDX-License-Identifier: GPL-2.0
/*
 * Mounts damaged images and does with them what users do.
 *
 *	corrupt_images DEVICE MOUNTPOINT IMAGE [NUMBER] <LIST
 *
 * LIST is what pinfs-corrupt prints for IMAGE: a line for each way to damage
 * it, a name and then OFFSET:BYTES. Each damaged image is written to DEVICE,
 * mounted, walked and changed, and unmounted. With NUMBER only so many lines
 * are tried. Prints how many mounts were refused, how many gave errors
 * later, and how many went well.
 *
 * Any error is an answer. What is not: an umount that fails, a mount that is
 * refused with an error that says nothing of a bad image, a walk that does not
 * end. Each name goes into the kernel's log before the mount, so that a fault
 * that is reported there has a culprit.
 */
#include "pinfs_test.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>

/* A walk of a good image sees 200 names; loops in a bad one would go on for ever. */
#define NAMES_MAX	20000
#define DEPTH_MAX	40
#define READ_MAX	(1 << 20)

static char buf[1 << 16];
static unsigned int names, errors;
/* The image at hand. */
static const char *damaged = "";

static void die(const char *what)
{
	fprintf(stderr, "corrupt_images: %s: %s: %s\n", damaged, what, strerror(errno));
	exit(1);
}

/* Counts an error; an answer that the file system must not give ends it all. */
static void note(long ret, const char *what)
{
	if (ret >= 0)
		return;
	errors++;
	switch (errno) {
	case EFAULT:
	case ENOSYS:
	case ENOMEM:
	case EBADF:
	case ERESTART:
	/* Nothing was removed behind our back. */
	case ESTALE:
		die(what);
	}
}

static void read_file(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	long n, all = 0;

	note(fd, "open");
	if (fd < 0)
		return;
	while (all < READ_MAX && (n = read(fd, buf, sizeof(buf))) > 0)
		all += n;
	note(n, "read");
	/* The far end, and what is between. */
	note(pread(fd, buf, 4096, 1L << 40), "pread");
	errno = 0;
	if (lseek(fd, 0, SEEK_DATA) < 0 && errno != ENXIO)
		note(-1, "lseek");
	close(fd);
}

static void read_xattrs(const char *path)
{
	static char list[1 << 16];
	long len = llistxattr(path, list, sizeof(list));

	if (len < 0 && errno == EOPNOTSUPP)
		return;
	note(len, "llistxattr");
	for (char *p = list; p < list + len; p += strlen(p) + 1)
		note(lgetxattr(path, p, buf, sizeof(buf)), "lgetxattr");
}

static void walk(const char *path, int depth)
{
	char sub[8192];
	struct dirent *d;
	struct stat st;
	DIR *dir;

	if (depth > DEPTH_MAX)
		return;
	dir = opendir(path);
	if (!dir) {
		note(-1, "opendir");
		return;
	}
	while (errno = 0, (d = readdir(dir))) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		if (names++ > NAMES_MAX)
			break;
		if (snprintf(sub, sizeof(sub), "%s/%s", path, d->d_name) >= (int)sizeof(sub))
			continue;
		if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW)) {
			note(-1, "stat");
			continue;
		}
		read_xattrs(sub);
		if (S_ISDIR(st.st_mode))
			walk(sub, depth + 1);
		else if (S_ISREG(st.st_mode))
			read_file(dirfd(dir), d->d_name);
		else if (S_ISLNK(st.st_mode))
			note(readlinkat(dirfd(dir), d->d_name, buf, sizeof(buf)), "readlink");
	}
	if (errno)
		note(-1, "readdir");
	closedir(dir);
}

/* Files and directories of our own, and changes to what was there. */
static void change(const char *mnt)
{
	int dir = open(mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
	struct stat st;

	note(dir, "open");
	if (dir < 0)
		return;
	fd = openat(dir, "new", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	note(fd, "create");
	if (fd >= 0) {
		memset(buf, 'n', sizeof(buf));
		note(write(fd, buf, 20000), "write");
		note(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192), "punch");
		note(fsync(fd), "fsync");
		close(fd);
	}
	note(mkdirat(dir, "newdir", 0700), "mkdir");
	note(renameat(dir, "new", dir, "newdir/renamed"), "rename");
	note(unlinkat(dir, "newdir/renamed", 0), "unlink");
	note(unlinkat(dir, "newdir", AT_REMOVEDIR), "rmdir");
	note(symlinkat("somewhere", dir, "newlink"), "symlink");
	for (int i = 0; i < 4; i++) {
		const char *old[] = { "plain", "scattered", "deep0/file", "moved" };

		fd = openat(dir, old[i], O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		note(pwrite(fd, buf, 9000, 5000), "pwrite");
		if (!fstat(fd, &st))
			note(ftruncate(fd, st.st_size / 2), "ftruncate");
		close(fd);
		note(unlinkat(dir, old[i], 0), "unlink");
	}
	note(unlinkat(dir, "long", 0), "unlink");
	close(dir);
	dir = open(mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0) {
		note(syncfs(dir), "syncfs");
		close(dir);
	}
}

/* Applies "OFFSET:BYTES ..."; the offsets are within the image. */
static void damage(char *image, size_t size, char *text)
{
	char *end;

	while (*text) {
		unsigned long off = strtoul(text, &end, 16);

		if (*end != ':')
			goto bad;
		for (text = end + 1; isxdigit(*text); text += 2, off++) {
			char byte[3] = { text[0], text[1], 0 };

			if (off >= size || !isxdigit(text[1]))
				goto bad;
			image[off] = strtoul(byte, NULL, 16);
		}
		while (*text == ' ' || *text == '\n')
			text++;
	}
	return;
bad:
	errno = EINVAL;
	die("list");
}

static void write_image(const char *dev, const char *image, size_t size)
{
	/* Direct, or the device's cache would keep what the last mount changed. */
	int fd = open(dev, O_WRONLY | O_DIRECT | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, image, size, 0) != (ssize_t)size)
		die(dev);
	close(fd);
}

int main(int argc, char **argv)
{
	unsigned int refused = 0, wrong = 0, well = 0;
	long left = argc == 5 ? atol(argv[4]) : -1;
	size_t size, room = 0;
	char *base, *image, *line = NULL;
	const char *mnt;
	int fd, kmsg;
	struct stat st;

	if (argc != 4 && argc != 5) {
		fprintf(stderr, "usage: corrupt_images DEVICE MOUNTPOINT IMAGE [NUMBER] <LIST\n");
		return 2;
	}
	mnt = argv[2];
	fd = open(argv[3], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		die(argv[3]);
	size = st.st_size;
	base = aligned_alloc(4096, size);
	image = aligned_alloc(4096, size);
	if (!base || !image || read(fd, base, size) != (ssize_t)size)
		die(argv[3]);
	close(fd);
	kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	while (left-- && getline(&line, &room, stdin) > 0) {
		char *rest = strchr(line, ' ');

		if (rest)
			*rest++ = 0;
		else
			rest = strchr(line, '\n'), *rest = 0;
		damaged = line;
		memcpy(image, base, size);
		damage(image, size, rest);
		write_image(argv[1], image, size);
		if (kmsg >= 0)
			dprintf(kmsg, "<7>corrupt_images: %s\n", line);
		names = errors = 0;
		if (mount(argv[1], mnt, "pinfs", 0, NULL)) {
			if (errno != EINVAL && errno != EUCLEAN && errno != EIO && errno != EROFS &&
			    errno != EFBIG)
				die("mount");
			refused++;
			continue;
		}
		walk(mnt, 0);
		change(mnt);
		walk(mnt, 0);
		if (umount(mnt))
			die("umount");
		if (names > NAMES_MAX) {
			fprintf(stderr, "corrupt_images: %s: the walk does not end\n", line);
			return 1;
		}
		if (errors)
			wrong++;
		else
			well++;
	}
	printf("%u refused, %u with errors, %u well\n", refused, wrong, well);
	return 0;
}
