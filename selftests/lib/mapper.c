// SPDX-License-Identifier: GPL-2.0
/*
 * One process with a mapping of a file or a block device, moved step by step from
 * a script: it reads one command a line and answers each with one line, "0" or
 * the name of the error.
 *
 *	open FILE LENGTH	maps so many bytes of it, shared; for reading only
 *				where that is all that is allowed
 *	dump FILE		writes what is mapped to FILE
 *	load FILE		stores what is in FILE to the mapping
 *	splice OFFSET		puts the page there into a pipe (vmsplice(2))
 *	drain FILE		writes what is in the pipe to FILE
 *	close			ends the mapping and the descriptor, not the pipe
 *
 * The end of the input ends the process.
 */
#include "pinfs_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

/* An errno, or 0. */
static long error_of(bool failed)
{
	return failed ? errno : 0;
}

static char *map = MAP_FAILED;
static size_t map_len;
static int map_fd = -1;
static int pipe_fds[2] = { -1, -1 };

static long open_map(const char *path, size_t len)
{
	int prot = PROT_READ | PROT_WRITE;

	map_fd = open(path, O_RDWR | O_CLOEXEC);
	if (map_fd < 0) {
		prot = PROT_READ;
		map_fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (map_fd < 0)
		return errno;
	map_len = len;
	map = mmap(NULL, len, prot, MAP_SHARED, map_fd, 0);
	return error_of(map == MAP_FAILED);
}

static long close_map(void)
{
	char *old = map;

	map = MAP_FAILED;
	return error_of(munmap(old, map_len) || close(map_fd));
}

/* All of it, or an error. */
static long write_out(const char *path, const char *from, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return errno;
	while (len) {
		ssize_t n = write(fd, from, len);

		if (n < 0)
			return errno;
		from += n;
		len -= n;
	}
	return error_of(close(fd));
}

static long load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t done = 0;
	ssize_t n = 1;

	if (fd < 0)
		return errno;
	while (done < map_len && n > 0) {
		/* Not into the mapping: the stores are to be a program's. */
		static char block[1 << 16];
		size_t want = map_len - done;

		n = read(fd, block, want < sizeof(block) ? want : sizeof(block));
		if (n < 0)
			return errno;
		memcpy(map + done, block, n);
		done += n;
	}
	return error_of(close(fd));
}

static long splice_page(size_t offset)
{
	struct iovec iov = { map + offset, PAGE };

	if (pipe_fds[0] < 0 && pipe(pipe_fds))
		return errno;
	return error_of(vmsplice(pipe_fds[1], &iov, 1, 0) != PAGE);
}

static long drain(const char *path)
{
	char page[PAGE];

	if (read(pipe_fds[0], page, PAGE) != PAGE)
		return EIO;
	return write_out(path, page, PAGE);
}

static long command(const char *word, const char *arg, size_t number)
{
	if (!strcmp(word, "open"))
		return open_map(arg, number);
	if (!strcmp(word, "drain"))
		return drain(arg);
	if (map == MAP_FAILED)
		return EBADF;
	if (!strcmp(word, "dump"))
		return write_out(arg, map, map_len);
	if (!strcmp(word, "load"))
		return load(arg);
	if (!strcmp(word, "splice"))
		return splice_page(strtoul(arg, NULL, 0));
	if (!strcmp(word, "close"))
		return close_map();
	return EINVAL;
}

int main(void)
{
	char line[512], word[16], arg[400];
	unsigned long number;
	long ret;

	while (fgets(line, sizeof(line), stdin)) {
		number = 0;
		arg[0] = '\0';
		if (sscanf(line, "%15s %399s %lu", word, arg, &number) < 1)
			continue;
		ret = command(word, arg, number);
		printf("%s\n", ret ? strerrorname_np(ret) : "0");
		fflush(stdout);
	}
	return 0;
}
