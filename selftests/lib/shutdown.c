// SPDX-License-Identifier: GPL-2.0
/*
 * Shuts a file system down (FS_IOC_SHUTDOWN) and prints 0 or the errno.
 *
 *	shutdown PATH FLAGS
 */
#include "pinfs_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	unsigned int flags;
	int fd;

	if (argc != 3) {
		fprintf(stderr, "usage: shutdown PATH FLAGS\n");
		return 2;
	}
	flags = strtoul(argv[2], NULL, 0);
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	printf("%ld\n", ERR(fd < 0 ? -1 : ioctl(fd, _IOR('X', 125, __u32), &flags)));
	return 0;
}
