// SPDX-License-Identifier: GPL-2.0
/*
 * Does with the files of an image from "pinfs-corrupt crossed" what any user
 * may do.
 *
 *	crossed MOUNTPOINT STEP...
 *
 * A step is 1 or 2, for the file "one" or "two", and a letter:
 *
 *	M	map it where 2 MiB can be one page
 *	m	map it where they cannot
 *	S	map it synchronously, where 2 MiB can be one page
 *	R, W	read, write a byte of each page of what was mapped last
 *	V	put pages of what was mapped last into a pipe (vmsplice)
 *	D	drop the pipe
 *	U	unmap what was mapped last
 *	r, w	read, write all of it by calls
 *	s	fsync
 *	x	read an extended attribute
 *	p	punch a hole into its middle
 *	t, e	truncate to nothing, and to the size that it had
 *	u	unlink it
 *	c	close it
 *	n	a new file of 2 MiB, written and mapped
 *	z	two tasks map, write and truncate both for a second
 *
 * Prints how many calls said EUCLEAN or EROFS and how many accesses were
 * answered by SIGBUS. Any other error of a step is printed, too; none is
 * expected to be EFAULT, ENOMEM or EIO, which end the program with status 1.
 */
#include "pinfs_test.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <time.h>

struct file {
	const char *name;
	int fd;
	long size;
	char *map;
	int pipe[2];
};

static struct file files[] = {
	{ .name = "one", .fd = -1, .pipe = { -1, -1 } },
	{ .name = "two", .fd = -1, .pipe = { -1, -1 } },
	{ .name = "new", .fd = -1, .pipe = { -1, -1 } },
};
static char buf[1 << 16];
static atomic_uint damaged, readonly, buses, others;
static __thread sigjmp_buf back;

static void on_sigbus(int sig)
{
	(void)sig;
	buses++;
	siglongjmp(back, 1);
}

static void note(long ret, char step, const struct file *file)
{
	if (ret >= 0)
		return;
	switch (errno) {
	case EUCLEAN:
		damaged++;
		break;
	case EROFS:
		readonly++;
		break;
	case EFAULT:
	case ENOMEM:
	case EIO:
		fprintf(stderr, "crossed: %c of %s: %s\n", step, file->name, strerror(errno));
		exit(1);
	default:
		others++;
	}
}

static void map(struct file *file, char step)
{
	long len = (file->size + PAGE - 1) & -PAGE;
	int flags = step == 'S' ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;
	char *room, *start;

	if (!len)
		return;
	room = mmap(NULL, len + 2 * PMD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	start = (char *)(((unsigned long)room + PMD - 1) & -PMD) + (step == 'm' ? PAGE : 0);
	start = mmap(start, len, PROT_READ | PROT_WRITE, flags | MAP_FIXED, file->fd, 0);
	note(start == MAP_FAILED ? -1 : 0, step, file);
	file->map = start == MAP_FAILED ? NULL : start;
}

static void touch_byte(volatile char *byte, char step, char what)
{
	if (sigsetjmp(back, 1))
		return;
	if (step == 'W')
		*byte = what;
	else
		(void)*byte;
}

static void touch(struct file *file, char step)
{
	for (long at = 0; file->map && at < file->size; at += PAGE)
		touch_byte(file->map + at, step, file->name[0]);
}

static void all_of(struct file *file, char step)
{
	long ret, at;

	for (at = 0; at < file->size; at += ret) {
		ret = step == 'w' ? pwrite(file->fd, buf, sizeof(buf), at) :
				    pread(file->fd, buf, sizeof(buf), at);
		note(ret, step, file);
		if (ret <= 0)
			break;
	}
}

static void into_pipe(struct file *file)
{
	if (!file->map)
		return;
	if (file->pipe[0] < 0 && pipe2(file->pipe, O_NONBLOCK | O_CLOEXEC))
		exit(1);
	/* No more than a pipe takes. */
	for (long at = 0; at < file->size; at += file->size > 8 * PAGE ? file->size / 8 : PAGE) {
		struct iovec one = { file->map + at, PAGE };

		/* EFAULT where a fault is refused. */
		if (vmsplice(file->pipe[1], &one, 1, SPLICE_F_NONBLOCK) < 0 && errno == EFAULT)
			buses++;
	}
}

static void new_file(struct file *file)
{
	file->fd = open(file->name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	note(file->fd, 'n', file);
	if (file->fd < 0)
		return;
	file->size = PMD;
	all_of(file, 'w');
	map(file, 'M');
	touch(file, 'W');
}

static atomic_bool over;

/* Maps with each, in turn, and cuts the file off and lets it grow. */
static void *beside(void *arg)
{
	struct file own = *(struct file *)arg;

	for (unsigned int turn = 0; !over; turn++) {
		own.map = NULL;
		map(&own, turn & 1 ? 'm' : 'M');
		touch(&own, turn & 2 ? 'W' : 'R');
		if (own.map)
			munmap(own.map, own.size);
		if (turn % 8 == 7) {
			note(ftruncate(own.fd, own.size / 2), 't', &own);
			note(ftruncate(own.fd, own.size), 'e', &own);
		}
	}
	return NULL;
}

static void race(void)
{
	pthread_t tasks[4];

	for (int i = 0; i < 4; i++)
		if (pthread_create(&tasks[i], NULL, beside, &files[i % 2]))
			exit(1);
	sleep(1);
	over = true;
	for (int i = 0; i < 4; i++)
		pthread_join(tasks[i], NULL);
}

static void step(const char *what)
{
	struct file *file = &files[what[0] == '2'];

	switch (what[0] ? what[1] : 0) {
	case 'M':
	case 'm':
	case 'S':
		return map(file, what[1]);
	case 'R':
	case 'W':
		return touch(file, what[1]);
	case 'V':
		return into_pipe(file);
	case 'D':
		close(file->pipe[0]);
		close(file->pipe[1]);
		file->pipe[0] = file->pipe[1] = -1;
		return;
	case 'U':
		if (file->map)
			munmap(file->map, file->size);
		file->map = NULL;
		return;
	case 'r':
	case 'w':
		return all_of(file, what[1]);
	case 's':
		return note(fsync(file->fd), 's', file);
	case 'x':
		return note(fgetxattr(file->fd, "user.name", buf, sizeof(buf)), 'x', file);
	case 'p':
		return note(fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      file->size / 4, file->size / 2), 'p', file);
	case 't':
		return note(ftruncate(file->fd, 0), 't', file);
	case 'e':
		return note(ftruncate(file->fd, file->size), 'e', file);
	case 'u':
		return note(unlink(file->name), 'u', file);
	case 'c':
		close(file->fd);
		return;
	case 'n':
		return new_file(&files[2]);
	case 'z':
		return race();
	}
	fprintf(stderr, "crossed: %s is no step\n", what);
	exit(2);
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = on_sigbus, .sa_flags = SA_NODEFER };
	struct stat st;

	if (argc < 3) {
		fprintf(stderr, "usage: crossed MOUNTPOINT STEP...\n");
		return 2;
	}
	if (chdir(argv[1])) {
		perror(argv[1]);
		return 1;
	}
	sigaction(SIGBUS, &act, NULL);
	memset(buf, 'w', sizeof(buf));
	for (int i = 0; i < 2; i++) {
		files[i].fd = open(files[i].name, O_RDWR | O_CLOEXEC);
		note(files[i].fd, 'o', &files[i]);
		if (files[i].fd >= 0 && !fstat(files[i].fd, &st))
			files[i].size = st.st_size;
	}
	for (int i = 2; i < argc; i++)
		step(argv[i]);
	printf("%u EUCLEAN, %u EROFS, %u SIGBUS, %u others\n", damaged, readonly, buses, others);
	return 0;
}
