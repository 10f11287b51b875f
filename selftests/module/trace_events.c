// SPDX-License-Identifier: GPL-2.0
/*
 * Rows E4 and E5: the tracepoints, their names and fields; and the files in
 * sysfs that say what this kernel allows, and tell of the mounted devices.
 */
#include "kselftest_harness.h"
#include "pinfs_test.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#define TRACING	"/sys/kernel/tracing"
#define EVENTS	TRACING "/events/pinfs"

/* An instance of its own, so that nobody else's tracing is in the way. */
FIXTURE(pinfs_trace) {
	char dir[PATH_MAX];
	char path[PATH_MAX];
	char instance[64];
	char file[96];
	char id[64];
	struct actor me;
	struct peer a;
};

FIXTURE_SETUP(pinfs_trace) {
	const char *why = test_dir(self->dir, sizeof(self->dir));
	char name[128];
	struct stat st;

	if (why)
		SKIP(return, "%s", why);
	if (access(TRACING "/instances", F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	snprintf(self->path, sizeof(self->path), "%.4000s/file", self->dir);
	ASSERT_EQ(0, make_file(self->path, FILE_PAGES, FILE_SEED));
	ASSERT_EQ(0, ERR(stat(self->path, &st)));
	snprintf(self->id, sizeof(self->id), "dev %u:%u ino %lu", major(st.st_dev),
		 minor(st.st_dev), st.st_ino);
	act_init(&self->me, self->path);
	snprintf(self->instance, sizeof(self->instance), TRACING "/instances/pinfs.%d", getpid());
	if (mkdir(self->instance, 0700)) {
		self->instance[0] = '\0';
		SKIP(return, "no instance of the tracer can be made here: %s", strerror(errno));
	}
	snprintf(self->file, sizeof(self->file), "%s/trace", self->instance);
	snprintf(name, sizeof(name), "%s/events/pinfs/enable", self->instance);
	ASSERT_EQ(0, write_text(name, "1"));
}

FIXTURE_TEARDOWN(pinfs_trace) {
	if (self->a.pid > 0)
		peer_kill(&self->a);
	act_fini(&self->me);
	if (self->instance[0])
		rmdir(self->instance);
	remove_tree(self->dir);
}

/*
 * How many lines the trace has of an event on the test's file with this text
 * at the end.
 */
static int seen(const FIXTURE_DATA(pinfs_trace) *self, const char *event, const char *rest)
{
	char line[512], want[256];
	FILE *f = fopen(self->file, "re");
	int n = 0;

	snprintf(want, sizeof(want), " %s: %s %s\n", event, self->id, rest);
	while (f && fgets(line, sizeof(line), f)) {
		size_t len = strlen(line), tail = strlen(want);

		n += len >= tail && !strcmp(line + len - tail, want);
	}
	if (f)
		fclose(f);
	return n;
}

/* Shows the trace of a case that has failed. */
static void show(struct __test_metadata *_metadata, const FIXTURE_DATA(pinfs_trace) *self)
{
	FILE *f = fopen(self->file, "re");
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		if (line[0] != '#')
			TH_LOG("%.*s", (int)strcspn(line, "\n"), line);
	if (f)
		fclose(f);
}

#define EXPECT_EVENT(count, event, rest)				\
	EXPECT_EQ(count, seen(self, event, rest)) {			\
		TH_LOG("%s: %s %s", event, self->id, rest);		\
		show(_metadata, self);					\
	}

static long act_range(struct actor *a, unsigned int op, unsigned int lease, long first, long pages)
{
	struct pinfs_lease arg = {
		.size = sizeof(arg), .op = op, .lease = lease,
		.start = first * PAGE, .len = pages * PAGE,
	};

	return ERR(ioctl(a->fd, PINFS_IOC_LEASE, &arg));
}

TEST_F(pinfs_trace, E4_lease_set_and_release)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_range(&self->me, PINFS_LEASE_SET, EXCLUSIVE, 1, 4));
	EXPECT_EVENT(1, "lease_set", "start 4096 end 20480 lease LAYOUT|EXCLUSIVE");
	ASSERT_EQ(0, act_range(&self->me, PINFS_LEASE_SET, F_LAYOUT | F_UNBREAK, 8, 0));
	EXPECT_EVENT(1, "lease_set", "start 32768 end 9223372036854775807 lease LAYOUT|UNBREAK");
	/* What is refused is not told. */
	ASSERT_EQ(-EINVAL, act_range(&self->me, PINFS_LEASE_SET, F_UNBREAK, 0, 1));
	ASSERT_EQ(0, act_range(&self->me, PINFS_LEASE_RELEASE, 0, 2, 1));
	EXPECT_EVENT(1, "lease_release", "start 8192 end 12288 reason released");
	ASSERT_EQ(0, act_range(&self->me, PINFS_LEASE_RELEASE, 0, 0, 0));
	EXPECT_EVENT(1, "lease_release", "start 0 end 9223372036854775807 reason released");
	ASSERT_EQ(0, act_range(&self->me, PINFS_LEASE_SET, F_LAYOUT, 0, 0));
	EXPECT_EVENT(1, "lease_set", "start 0 end 9223372036854775807 lease LAYOUT");
	ASSERT_EQ(0, act_close(&self->me, 0));
	EXPECT_EVENT(1, "lease_release", "start 0 end 9223372036854775807 reason closed");
}

TEST_F(pinfs_trace, E4_pin_unpin_and_orphan)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, 4 * PAGE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	ASSERT_EQ(-EOPNOTSUPP, act_pin(&self->me, 0));
	EXPECT_EVENT(0, "pin", "start 0 end 16384");
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_pin(&self->me, 0));
	EXPECT_EVENT(1, "pin", "start 0 end 16384");
	ASSERT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	EXPECT_EVENT(1, "lease_release", "start 0 end 9223372036854775807 reason orphaned");
	EXPECT_EVENT(0, "unpin", "start 4096 end 8192 refs 1");
	ASSERT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EVENT(1, "unpin", "start 4096 end 8192 refs 1");
	EXPECT_EVENT(1, "unpin", "start 12288 end 16384 refs 1");
}

static void ignore(int sig)
{
	(void)sig;
}

TEST_F(pinfs_trace, E4_lease_break)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	signal(SIGIO, ignore);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, F_LAYOUT));
	peer_post(&self->a, act_punch, RANGE(3, 2));
	EXPECT_TRUE(EVENTUALLY(seen(self, "lease_break", "start 12288 end 20480") == 1, REPLY_MS));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
	EXPECT_EVENT(1, "lease_break", "start 12288 end 20480");
}

TEST_F(pinfs_trace, E4_busy_wait)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(PAGE, act_vmsplice(&self->me, 6));
	EXPECT_EQ(0, peer_call(&self->a, act_punch, RANGE(8, 1)));
	EXPECT_EVENT(0, "busy_wait", "start 24576 end 28672");
	peer_post(&self->a, act_punch, RANGE(0, 8));
	EXPECT_TRUE(EVENTUALLY(seen(self, "busy_wait", "start 24576 end 28672") != 0, REPLY_MS));
	ASSERT_EQ(PAGE, act_drain(&self->me, 0));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
}

TEST_F(pinfs_trace, E4_quarantine)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(PAGE, act_vmsplice(&self->me, 6));
	ASSERT_EQ(0, act_unlink(&self->me, 0));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	ASSERT_EQ(0, act_close(&self->me, 0));
	EXPECT_TRUE(EVENTUALLY(seen(self, "quarantine", "enter") == 1, REPLY_MS));
	EXPECT_EVENT(0, "quarantine", "leave");
	ASSERT_EQ(PAGE, act_drain(&self->me, 0));
	EXPECT_TRUE(EVENTUALLY(seen(self, "quarantine", "leave") == 1, REPLY_MS));
}

/* Field names and types of an event, after the common ones. */
static void fields_of(const char *event, char *out, size_t size)
{
	char path[128], line[256], type[64], name[64];
	FILE *f;
	size_t len = 0;

	snprintf(path, sizeof(path), EVENTS "/%s/format", event);
	f = fopen(path, "re");
	*out = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "\tfield:%63s %63[^;]", type, name) != 2 ||
		    !strncmp(name, "common_", 7) || strstr(line, " common_"))
			continue;
		len += snprintf(out + len, size - len, "%s%s %s", len ? ", " : "", type, name);
	}
	if (f)
		fclose(f);
}

TEST(E4_names_and_fields_are_stable)
{
	static const char *const events[][2] = {
		{ "lease_set", "dev_t dev, u64 ino, u64 start, u64 end, int lease" },
		{ "lease_release", "dev_t dev, u64 ino, u64 start, u64 end, int reason" },
		{ "lease_break", "dev_t dev, u64 ino, u64 start, u64 end" },
		{ "pin", "dev_t dev, u64 ino, u64 start, u64 end" },
		{ "unpin", "dev_t dev, u64 ino, u64 start, u64 end, u64 refs" },
		{ "busy_wait", "dev_t dev, u64 ino, u64 start, u64 end" },
		{ "quarantine", "dev_t dev, u64 ino, bool enter" },
	};
	char fields[512];

	if (access(EVENTS, F_OK))
		SKIP(return, "no tracefs, or no pinfs");
	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		fields_of(events[i][0], fields, sizeof(fields));
		EXPECT_STREQ(events[i][1], fields) {
			TH_LOG("event %s", events[i][0]);
		}
	}
}

/* Checks the files of a directory of sysfs: each has one line. How many there are. */
static int one_value_each(struct __test_metadata *_metadata, const char *dir)
{
	char path[PATH_MAX], text[256];
	struct dirent *entry;
	DIR *d = opendir(dir);
	int n = 0;

	while (d && (entry = readdir(d))) {
		long len;

		if (entry->d_type != DT_REG)
			continue;
		snprintf(path, sizeof(path), "%.3000s/%.200s", dir, entry->d_name);
		len = read_text(path, text, sizeof(text));
		EXPECT_LT(1, len) {
			TH_LOG("%s: %ld", path, len);
		}
		if (len > 0) {
			EXPECT_EQ(text + len - 1, strchr(text, '\n')) {
				TH_LOG("%s: '%s'", path, text);
			}
		}
		n++;
	}
	if (d)
		closedir(d);
	return n;
}

TEST(E5_features)
{
	static const char *const features[] = {
		"layout_lease", "lease_ioctl", "longterm_pin", "file_pins",
	};
	char path[128], text[64];

	if (access("/sys/fs/pinfs/features", F_OK))
		SKIP(return, "pinfs is not loaded");
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		snprintf(path, sizeof(path), "/sys/fs/pinfs/features/%s", features[i]);
		ASSERT_LT(0, read_text(path, text, sizeof(text))) {
			TH_LOG("%s", path);
		}
		/* All there is of it, as this kernel has what they need. */
		EXPECT_STREQ("1\n", text) {
			TH_LOG("%s", path);
		}
		/* And nobody can change it. */
		EXPECT_GT(0, write_text(path, "0"));
	}
	EXPECT_EQ((int)ARRAY_SIZE(features),
		  one_value_each(_metadata, "/sys/fs/pinfs/features"));
}

TEST_F(pinfs, E5_each_device_has_one_value_per_file)
{
	char path[256];
	struct dirent *entry;
	int dirs = 0;
	DIR *d = opendir("/sys/fs/pinfs");

	ASSERT_NE(NULL, d);
	while ((entry = readdir(d))) {
		if (entry->d_name[0] == '.' || !strcmp(entry->d_name, "features"))
			continue;
		snprintf(path, sizeof(path), "/sys/fs/pinfs/%.200s", entry->d_name);
		EXPECT_LT(0, one_value_each(_metadata, path)) {
			TH_LOG("%s is empty", path);
		}
		dirs++;
	}
	closedir(d);
	if (!dirs)
		SKIP(return, "this form of pinfs tells nothing of its devices in sysfs");
}

TEST_HARNESS_MAIN
