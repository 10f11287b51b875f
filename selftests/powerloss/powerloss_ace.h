/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The one-operation workloads of ACE, the generator of CrashMonkey (Mohan et
 * al., OSDI '18), by the bounds that it has by default: an empty file system,
 * in which what the operation needs is made and not yet durable; one operation
 * on foo, bar, or their like in A and A/C; then a sync, or an fsync of one of
 * the files, of those beside them, or of the directories that they are in,
 * made first if it is not there.  93 operations, 423 workloads.
 */
#ifndef POWERLOSS_ACE_H
#define POWERLOSS_ACE_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define ACE_STEPS	8
#define ACE_STEP	96

/* What a file has to be before the operation. */
enum ace_needs {
	ACE_NOTHING,	/* not there */
	ACE_EMPTY,
	ACE_FILLED,	/* 32 KiB */
	ACE_LONGER,	/* and as much again, allocated */
	ACE_XATTR,
};

struct ace_piece {
	char steps[ACE_STEPS][ACE_STEP];
	int count;
};

/* How a name relates to others: ACE persists these too. */
static const struct ace_name {
	const char *name, *beside, *dir;
} ace_names[] = {
	{ "foo", "bar", "." }, { "bar", "foo", "." },
	{ "A/foo", "A/bar", "A" }, { "A/bar", "A/foo", "A" },
	{ "A/C/foo", "A/C/bar", "A/C" }, { "A/C/bar", "A/C/foo", "A/C" },
	{ "A", "B", "." }, { "B", "A", "." }, { "A/C", "A/C", "A" },
};

static const struct ace_name *ace_find(const char *name)
{
	for (size_t i = 0; i < sizeof(ace_names) / sizeof(*ace_names); i++)
		if (!strcmp(ace_names[i].name, name))
			return &ace_names[i];
	return NULL;
}

static bool ace_is_dir(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "A") || !strcmp(name, "B") || !strcmp(name, "A/C");
}

static void ace_add(struct ace_piece *piece, const char *verb, const char *name, const char *rest)
{
	snprintf(piece->steps[piece->count++], ACE_STEP, "%s %s%s", verb, name, rest);
}

/* Directories first: those that a file is in, and itself if it is one. */
static void ace_add_dirs(struct ace_piece *piece, const char *name)
{
	static const char *const dirs[] = { "A", "A/C", "B" };

	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		size_t len = strlen(dirs[i]);
		bool there = false;

		for (int j = 0; j < piece->count; j++)
			there |= !strncmp(piece->steps[j], "mkdir ", 6) && !strcmp(piece->steps[j] + 6, dirs[i]);
		if (!there && !strncmp(name, dirs[i], len) && (!name[len] || name[len] == '/'))
			ace_add(piece, "mkdir", dirs[i], "");
	}
}

/* Makes what an operation needs; `to` is where it puts the file, or NULL. */
static void ace_prepare(struct ace_piece *piece, const char *name, const char *to, enum ace_needs needs)
{
	piece->count = 0;
	ace_add_dirs(piece, ace_find(name)->dir);
	if (to)
		ace_add_dirs(piece, ace_find(to)->dir);
	if (ace_is_dir(name)) {
		if (needs != ACE_NOTHING)
			ace_add_dirs(piece, name);
		return;
	}
	if (needs != ACE_NOTHING)
		ace_add(piece, "creat", name, "");
	if (needs == ACE_FILLED || needs == ACE_LONGER)
		ace_add(piece, "write", name, " 0 32768");
	if (needs == ACE_LONGER)
		ace_add(piece, "falloc", name, " alloc 32768 32768");
	if (needs == ACE_XATTR)
		ace_add(piece, "setxattr", name, " user.test 10");
}

typedef void (*ace_fn)(const struct ace_piece *piece);

/* One operation, with each way to make it durable. */
static void ace_persists(struct ace_piece *piece, const char *name, const char *to, ace_fn run)
{
	const char *about[6], *about_to = to;
	int count = 0, whole = piece->count;

	ace_add(piece, "sync", "", "");
	run(piece);
	for (; name; name = about_to, about_to = NULL) {
		const struct ace_name *entry = ace_find(name);
		const char *more[] = { name, entry->beside, entry->dir };

		for (size_t i = 0; i < 3; i++) {
			bool there = false;

			for (int j = 0; j < count; j++)
				there |= !strcmp(about[j], more[i]);
			if (!there)
				about[count++] = more[i];
		}
	}
	for (int i = 0; i < count; i++) {
		piece->count = whole;
		/* Those that are there already say EEXIST. */
		if (strcmp(about[i], "."))
			ace_add(piece, ace_is_dir(about[i]) ? "mkdir" : "creat", about[i], "");
		ace_add(piece, "fsync", about[i], "");
		run(piece);
	}
}

static void ace_on_file(const char *name, ace_fn run)
{
	static const struct {
		const char *verb, *rest;
		enum ace_needs needs;
	} operations[] = {
		{ "creat", "", ACE_NOTHING },
		{ "write", " 0 32768", ACE_EMPTY },
		{ "write", " 30768 5000", ACE_FILLED },
		{ "write", " 0 5000", ACE_FILLED },
		{ "write", " 0 32768 direct", ACE_EMPTY },
		{ "write", " 0 8192 direct", ACE_FILLED },
		{ "mmap", " 0 8192 sync", ACE_FILLED },
		{ "mmap", " 32768 32768 sync", ACE_LONGER },
		{ "setxattr", " user.test 10", ACE_EMPTY },
		{ "removexattr", " user.test", ACE_XATTR },
		{ "truncate", " 0", ACE_FILLED },
		{ "truncate", " 2500", ACE_FILLED },
	};
	static const char *const modes[] = { "alloc", "keep", "punch", "zero", "zerokeep" };
	static const char *const ranges[] = { "32768 32768", "30768 5000", "0 5000" };
	struct ace_piece piece;

	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++) {
		ace_prepare(&piece, name, NULL, operations[i].needs);
		ace_add(&piece, operations[i].verb, name, operations[i].rest);
		/* Its msync() does. */
		if (!strcmp(operations[i].verb, "mmap"))
			run(&piece);
		else
			ace_persists(&piece, name, NULL, run);
	}
	for (size_t i = 0; i < 5; i++) {
		for (size_t j = 0; j < 3; j++) {
			char rest[32];

			snprintf(rest, sizeof(rest), " %s %s", modes[i], ranges[j]);
			ace_prepare(&piece, name, NULL, ACE_FILLED);
			ace_add(&piece, "falloc", name, rest);
			ace_persists(&piece, name, NULL, run);
		}
	}
}

/* Calls `run` for each workload. */
static void ace_each(ace_fn run)
{
	static const char *const removed[] = { "foo", "bar", "A/foo", "A/bar", "A/C/bar" };
	static const char *const moved[][2] = {
		{ "foo", "bar" }, { "foo", "A/bar" }, { "foo", "A/C/bar" },
		{ "A/foo", "bar" }, { "A/foo", "A/bar" }, { "A/foo", "A/C/bar" },
		{ "bar", "A/bar" }, { "bar", "A/C/bar" }, { "A/bar", "bar" }, { "A/bar", "A/C/bar" },
		{ "A/C/bar", "bar" }, { "A/C/bar", "A/bar" },
		{ "A", "B" }, { "A", "A/C" }, { "A/C", "B" }, { "B", "A/C" },
	};
	struct ace_piece piece;

	ace_on_file("foo", run);
	ace_on_file("A/foo", run);
	ace_prepare(&piece, "A", NULL, ACE_NOTHING);
	ace_add(&piece, "mkdir", "A", "");
	ace_persists(&piece, "A", NULL, run);
	for (size_t i = 0; i < sizeof(removed) / sizeof(*removed); i++) {
		for (int j = 0; j < 2; j++) {
			ace_prepare(&piece, removed[i], NULL, ACE_EMPTY);
			ace_add(&piece, j ? "remove" : "unlink", removed[i], "");
			ace_persists(&piece, removed[i], NULL, run);
		}
	}
	for (size_t i = 0; i < sizeof(moved) / sizeof(*moved); i++) {
		for (int j = ace_is_dir(moved[i][0]); j < 2; j++) {
			char rest[16];

			snprintf(rest, sizeof(rest), " %s", moved[i][1]);
			ace_prepare(&piece, moved[i][0], moved[i][1], ACE_EMPTY);
			ace_add(&piece, j ? "rename" : "link", moved[i][0], rest);
			ace_persists(&piece, moved[i][0], moved[i][1], run);
		}
	}
}

#endif /* POWERLOSS_ACE_H */
