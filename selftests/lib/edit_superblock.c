// SPDX-License-Identifier: GPL-2.0
/*
 * Damages the superblock of an unmounted pinfs, for the tests of bad input, and
 * asks what mount(2) itself says of it.
 *
 *	edit_superblock DEVICE set32 OFFSET VALUE	and seals it again with a right checksum
 *	edit_superblock DEVICE set64 OFFSET VALUE
 *	edit_superblock DEVICE flip OFFSET		one bit, checksum left as it is
 *	edit_superblock DEVICE flips MOUNTPOINT		each byte of it in turn: mount must refuse
 *	edit_superblock DEVICE mount MOUNTPOINT [OPTIONS]	mount(2) and umount(2): "0", or the error's name
 *
 * flips restores each byte, prints what mount said otherwise than EINVAL or
 * EUCLEAN, and the number of bytes tried; it fails if any was accepted.
 */
#include "pinfs_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#define SB_SIZE		512
#define SB_CRC		8
#define SB_CRC_END	12

/* CRC-32C as the format wants it: all ones at the start, no inversion at the end. */
static uint32_t crc32c(uint32_t crc, const unsigned char *p, size_t len)
{
	while (len--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
	}
	return crc;
}

static void fail(const char *what)
{
	fprintf(stderr, "edit_superblock: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Each use opens the device anew: the last close drops its cached blocks. */
static void read_sb(const char *dev, unsigned char *sb)
{
	int fd = open(dev, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, sb, SB_SIZE, 0) != SB_SIZE)
		fail(dev);
	close(fd);
}

static void write_sb(const char *dev, const unsigned char *sb)
{
	int fd = open(dev, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, sb, SB_SIZE, 0) != SB_SIZE || fsync(fd))
		fail(dev);
	close(fd);
}

static int flips(const char *dev, const char *mnt)
{
	unsigned char sb[SB_SIZE];
	int bad = 0;

	read_sb(dev, sb);
	for (int i = 0; i < SB_SIZE; i++) {
		long ret;

		sb[i] ^= 1 << i % 8;
		write_sb(dev, sb);
		ret = ERR(mount(dev, mnt, "pinfs", 0, NULL));
		if (ret == 0)
			umount(mnt);
		if (ret != -EINVAL && ret != -EUCLEAN) {
			printf("byte %d, bit %d: expected EINVAL or EUCLEAN, seen %s\n", i, i % 8,
			       ret ? strerrorname_np(-ret) : "0");
			bad++;
		}
		sb[i] ^= 1 << i % 8;
	}
	write_sb(dev, sb);
	printf("%d bytes\n", SB_SIZE);
	return bad != 0;
}

static int try_mount(const char *dev, const char *mnt, const char *options)
{
	long ret = ERR(mount(dev, mnt, "pinfs", 0, options));

	if (ret == 0)
		ret = ERR(umount(mnt));
	puts(ret ? strerrorname_np(-ret) : "0");
	return 0;
}

static unsigned long number(const char *text, unsigned long max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 0);

	if (*end || n > max) {
		fprintf(stderr, "edit_superblock: %s is no number up to %lu\n", text, max);
		exit(2);
	}
	return n;
}

int main(int argc, char **argv)
{
	unsigned char sb[SB_SIZE];
	unsigned long off, value;
	uint32_t crc;
	size_t size;

	if (argc == 4 && !strcmp(argv[2], "flips"))
		return flips(argv[1], argv[3]);
	if ((argc == 4 || argc == 5) && !strcmp(argv[2], "mount"))
		return try_mount(argv[1], argv[3], argv[4]);
	if (argc == 4 && !strcmp(argv[2], "flip")) {
		read_sb(argv[1], sb);
		sb[number(argv[3], SB_SIZE - 1)] ^= 1;
		write_sb(argv[1], sb);
		return 0;
	}
	if (argc != 5 || (strcmp(argv[2], "set32") && strcmp(argv[2], "set64"))) {
		fprintf(stderr, "usage: edit_superblock DEVICE set32|set64 OFFSET VALUE | flip OFFSET |\n"
			"                     flips MOUNTPOINT | mount MOUNTPOINT [OPTIONS]\n");
		return 2;
	}
	size = strcmp(argv[2], "set32") ? 8 : 4;
	off = number(argv[3], SB_SIZE - size);
	value = number(argv[4], ULONG_MAX);
	read_sb(argv[1], sb);
	memcpy(sb + off, &value, size);
	crc = crc32c(~0u, sb, SB_CRC);
	crc = crc32c(crc, sb + SB_CRC_END, SB_SIZE - SB_CRC_END);
	memcpy(sb + SB_CRC, &crc, sizeof(crc));
	write_sb(argv[1], sb);
	return 0;
}
