// SPDX-License-Identifier: GPL-2.0
/*
 * One process with a data file, a lease, a mapping and an io_uring, moved step
 * by step from a script: it reads one command a line and answers each with one
 * line, "0" or the name of the error.
 *
 *	open FILE	ring		close
 *	lease ARG	register	unmap
 *	getlease	unregister	ringclose
 *	map		pid		ringfd
 *	store		check
 *
 * ARG is layout, exclusive, unbreak, unlock or a number.  map maps the whole
 * file.  store writes each of its pages through the mapping, and makes it
 * durable; check answers EBADMSG if one has something else.  getlease, pid and ringfd answer with a number.  The end of the input
 * ends the process, and lets go of what it holds.
 */
#include "pinfs_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static long lease_arg(const char *word)
{
	static const struct {
		const char *name;
		int arg;
	} names[] = {
		{ "layout", F_LAYOUT },
		{ "exclusive", F_LAYOUT | F_EXCLUSIVE },
		{ "unbreak", F_LAYOUT | F_UNBREAK },
		{ "unlock", F_UNLCK },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(word, names[i].name))
			return names[i].arg;
	return strtol(word, NULL, 0);
}

static long open_file(struct actor *a, const char *path)
{
	snprintf(a->path, sizeof(a->path), "%s", path);
	return act_open(a, O_RDWR);
}

static long map_file(struct actor *a)
{
	struct stat st;
	long ret = ERR(fstat(a->fd, &st));

	return ret ? ret : act_map(a, st.st_size);
}

static long store_pages(struct actor *a)
{
	for (size_t i = 0; i < a->map_len / PAGE; i++)
		act_store_page(a, i);
	return ERR(msync(a->map, a->map_len, MS_SYNC));
}

static long check_pages(const struct actor *a)
{
	for (size_t i = 0; i < a->map_len / PAGE; i++)
		if (!filled(a->map + i * PAGE, PAGE, i))
			return -EBADMSG;
	return 0;
}

static long obey(struct actor *a, const char *command, const char *word)
{
	if (!strcmp(command, "open"))
		return open_file(a, word);
	if (!strcmp(command, "lease"))
		return act_lease(a, lease_arg(word));
	if (!strcmp(command, "getlease"))
		return act_getlease(a, 0);
	if (!strcmp(command, "map"))
		return map_file(a);
	if (!strcmp(command, "store"))
		return store_pages(a);
	if (!strcmp(command, "check"))
		return check_pages(a);
	if (!strcmp(command, "ring"))
		return act_ring(a, 0);
	if (!strcmp(command, "register"))
		return act_pin(a, 0);
	if (!strcmp(command, "unregister"))
		return act_unpin(a, 0);
	if (!strcmp(command, "close"))
		return act_close(a, 0);
	if (!strcmp(command, "unmap"))
		return act_unmap(a, 0);
	if (!strcmp(command, "ringclose"))
		return act_ring_close(a, 0);
	if (!strcmp(command, "ringfd"))
		return a->has_ring[0] ? a->ring[0].ring_fd : -EBADF;
	if (!strcmp(command, "pid"))
		return getpid();
	fprintf(stderr, "pindemo: unknown command '%s'\n", command);
	exit(2);
}

int main(void)
{
	static struct actor a;
	char line[PATH_MAX + 16];

	act_init(&a, "");
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		char *word = line + strcspn(line, " \n");
		long ret;

		if (*word)
			*word++ = '\0';
		word[strcspn(word, "\n")] = '\0';
		ret = obey(&a, line, word);
		if (ret < 0)
			printf("%s\n", strerrorname_np(-ret) ?: "?");
		else
			printf("%ld\n", ret);
	}
	return 0;
}
