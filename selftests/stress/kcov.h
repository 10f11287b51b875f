/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which places of pinfs.ko the calls of some processes reach, on a kernel with
 * KCOV.  What runs in another context (workers, a process's own end) is not
 * seen.
 */
#ifndef PINFS_KCOV_H
#define PINFS_KCOV_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/kcov.h>

#define KCOV_FILE	"/sys/kernel/debug/kcov"
/* The most places between two looks; more are dropped. */
#define KCOV_WORDS	(1UL << 18)
/* Where the kernel is linked to run: it tells addresses as if it were there. */
#define KCOV_LINKED	0xffffffff81000000UL

/* The places that were reached, shared by all who look. */
struct kcov_places {
	unsigned long start;		/* of the module's text, as KCOV tells it */
	unsigned long size;
	long count;
	uint64_t word[];
};

/* The addresses that this process has come by: their number, and they. */
static unsigned long *kcov_area;

static inline unsigned long kcov_number(const char *path, const char *format)
{
	FILE *file = fopen(path, "re");
	unsigned long number = 0;
	char line[512];

	while (file && !number && fgets(line, sizeof(line), file))
		sscanf(line, format, &number);
	if (file)
		fclose(file);
	return number;
}

/* The kernel's first symbol, and how far it is from where it was linked. */
static inline unsigned long kcov_moved(void)
{
	char line[512], name[64];
	FILE *file = fopen("/proc/kallsyms", "re");
	unsigned long at = KCOV_LINKED;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx %*c %63s", &at, name) == 2 && !strcmp(name, "_text"))
			break;
	}
	if (file)
		fclose(file);
	return at - KCOV_LINKED;
}

/* No place yet, or NULL where there is no KCOV. */
static inline struct kcov_places *kcov_places(void)
{
	unsigned long size = kcov_number("/proc/modules", "pinfs %lu");
	struct kcov_places *places;

	if (access(KCOV_FILE, R_OK | W_OK) || !size)
		return NULL;
	places = mmap(NULL, sizeof(*places) + size / 8 + 8, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (places == MAP_FAILED)
		return NULL;
	places->start = kcov_number("/sys/module/pinfs/sections/.text", "%lx") - kcov_moved();
	places->size = size;
	return places;
}

/* From here on the calls of this process are watched; false if they cannot be. */
static inline bool kcov_start(void)
{
	int fd = open(KCOV_FILE, O_RDWR | O_CLOEXEC);
	size_t len = KCOV_WORDS * sizeof(*kcov_area);

	if (fd < 0 || ioctl(fd, KCOV_INIT_TRACE, KCOV_WORDS))
		return false;
	kcov_area = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (kcov_area == MAP_FAILED)
		return false;
	madvise(kcov_area, len, MADV_DONTFORK);
	return !ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC);
}

/* What this process has reached since it last looked: how many were new to all. */
static inline long kcov_look(struct kcov_places *places)
{
	unsigned long n = __atomic_load_n(&kcov_area[0], __ATOMIC_RELAXED);
	long new = 0;

	for (unsigned long i = 1; i <= n; i++) {
		unsigned long at = kcov_area[i] - places->start;
		uint64_t bit = 1UL << (at % 64);

		if (at >= places->size || places->word[at / 64] & bit)
			continue;
		if (!(__atomic_fetch_or(&places->word[at / 64], bit, __ATOMIC_RELAXED) & bit))
			new++;
	}
	__atomic_store_n(&kcov_area[0], 0, __ATOMIC_RELAXED);
	if (new)
		__atomic_fetch_add(&places->count, new, __ATOMIC_RELAXED);
	return new;
}

/* All that were reached, as offsets into the module's text, one a line. */
static inline int kcov_write(const struct kcov_places *places, const char *path)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return -1;
	for (unsigned long at = 0; at < places->size; at++) {
		if (places->word[at / 64] >> (at % 64) & 1)
			fprintf(file, "%lx\n", at);
	}
	return fclose(file);
}

#endif /* PINFS_KCOV_H */
