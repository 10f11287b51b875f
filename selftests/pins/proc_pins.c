// SPDX-License-Identifier: GPL-2.0
/* Who holds what: /proc/PID/file_pins and /proc/fs/pinfs/pins, rows F1 to F6. */
#include "kselftest_harness.h"

#include "pinfs_test.h"

#include <dirent.h>
#include <linux/if_xdp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define NOBODY	65534

/* What a process's view must be: one context, one file. */
static void one_pin(char *want, size_t size, int fd, const char *context, const char *file)
{
	snprintf(want, size, "%d: %s\n\t%s\n", fd, context, file);
}

static long view_of(pid_t pid, char *text, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/file_pins", pid);
	return read_text(path, text, size);
}

/* The view of another process, as the peer sees it. */
static char peer_want[3 * PATH_MAX];

static long act_view_is(struct actor *a, long pid)
{
	static char text[3 * PATH_MAX];
	long ret = view_of(pid, text, sizeof(text));

	(void)a;
	if (ret < 0)
		return ret;
	if (strcmp(text, peer_want)) {
		fprintf(stderr, "# expected '%s', seen '%s'\n", peer_want, text);
		return -EBADMSG;
	}
	return 0;
}

TEST_F(pinfs, F1_a_registered_buffer)
{
	char text[2 * PATH_MAX], want[2 * PATH_MAX];

	ASSERT_LE(0, view_of(getpid(), text, sizeof(text)));
	EXPECT_STREQ("", text);
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	one_pin(want, sizeof(want), self->me.ring[0].ring_fd, "anon_inode:[io_uring]", self->path);
	ASSERT_LE(0, view_of(getpid(), text, sizeof(text)));
	EXPECT_STREQ(want, text);

	/* Neither the data descriptor nor the mapping is what holds it. */
	ASSERT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	ASSERT_LE(0, view_of(getpid(), text, sizeof(text)));
	EXPECT_STREQ(want, text);
	ASSERT_EQ(0, act_unpin(&self->me, 0));
	ASSERT_LE(0, view_of(getpid(), text, sizeof(text)));
	EXPECT_STREQ("", text);
}

TEST_F(pinfs, F1_each_context_and_each_file_once)
{
	char text[4 * PATH_MAX], want[4 * PATH_MAX], path[PATH_MAX];
	struct actor other;
	struct iovec iov[3];
	int low, high;

	snprintf(path, sizeof(path), "%.4000s/second", self->dir);
	ASSERT_EQ(0, make_file(path, FILE_PAGES, 2));
	act_init(&other, path);
	ASSERT_EQ(0, act_open(&other, O_RDWR));
	ASSERT_EQ(0, act_lease(&other, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&other, FILE_SIZE));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_ring(&self->me, 1));
	/* The second ring: two ranges of one file and one of the other. */
	iov[0] = (struct iovec){ self->me.map, PAGE };
	iov[1] = (struct iovec){ self->me.map + 4 * PAGE, PAGE };
	iov[2] = (struct iovec){ other.map, FILE_SIZE };
	ASSERT_EQ(0, io_uring_register_buffers(&self->me.ring[1], iov, 3));

	ASSERT_LE(0, view_of(getpid(), text, sizeof(text)));
	low = self->me.ring[0].ring_fd;
	high = self->me.ring[1].ring_fd;
	/* Descriptors come in their order; files of one context in either. */
	snprintf(want, sizeof(want), "%d: anon_inode:[io_uring]\n\t%s\n"
		 "%d: anon_inode:[io_uring]\n\t%s\n\t%s\n", low, self->path, high, self->path, path);
	if (strcmp(want, text)) {
		snprintf(want, sizeof(want), "%d: anon_inode:[io_uring]\n\t%s\n"
			 "%d: anon_inode:[io_uring]\n\t%s\n\t%s\n", low, self->path, high, path,
			 self->path);
	}
	EXPECT_STREQ(want, text);
	act_fini(&other);
}

TEST_F(pinfs, F1_a_copied_descriptor_shows_as_well)
{
	char text[2 * PATH_MAX], want[2 * PATH_MAX];
	int copy, len;

	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	copy = dup(self->me.ring[0].ring_fd);
	ASSERT_LE(0, copy);
	one_pin(want, sizeof(want), self->me.ring[0].ring_fd, "anon_inode:[io_uring]", self->path);
	len = strlen(want);
	one_pin(want + len, sizeof(want) - len, copy, "anon_inode:[io_uring]", self->path);
	ASSERT_LE(0, view_of(getpid(), text, sizeof(text)));
	EXPECT_STREQ(want, text);
	close(copy);
}

TEST_F(pinfs, F1_unlinked)
{
	char text[2 * PATH_MAX], want[2 * PATH_MAX], path[PATH_MAX];

	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_unlink(&self->me, 0));
	snprintf(path, sizeof(path), "%.4000s (deleted)", self->path);
	one_pin(want, sizeof(want), self->me.ring[0].ring_fd, "anon_inode:[io_uring]", path);
	ASSERT_LE(0, view_of(getpid(), text, sizeof(text)));
	EXPECT_STREQ(want, text);
}

TEST_F(pinfs, F1_renamed)
{
	char text[2 * PATH_MAX], want[2 * PATH_MAX], path[PATH_MAX];

	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	snprintf(path, sizeof(path), "%.4000s/renamed", self->dir);
	ASSERT_EQ(0, ERR(rename(self->path, path)));
	one_pin(want, sizeof(want), self->me.ring[0].ring_fd, "anon_inode:[io_uring]", path);
	ASSERT_LE(0, view_of(getpid(), text, sizeof(text)));
	EXPECT_STREQ(want, text);
}

/* The path of a mapping as /proc/PID/maps writes it. */
static bool path_in_maps(const void *addr, char *path, size_t size)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned long start;
	char line[2 * PATH_MAX];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		char *slash = strchr(line, '/');

		if (sscanf(line, "%lx-", &start) != 1 || start != (unsigned long)addr || !slash)
			continue;
		slash[strcspn(slash, "\n")] = '\0';
		snprintf(path, size, "%s", slash);
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}

TEST_F(pinfs, F1_escapes_as_in_maps)
{
	char text[2 * PATH_MAX], want[2 * PATH_MAX], path[PATH_MAX], shown[PATH_MAX] = "";
	struct pin_line line;
	char id[64], bad[512] = "";

	snprintf(path, sizeof(path), "%.4000s/a b\tc\nd\\e", self->dir);
	ASSERT_EQ(0, make_file(path, FILE_PAGES, 1));
	act_init(&self->me, path);
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	ASSERT_TRUE(path_in_maps(self->me.map, shown, sizeof(shown)));
	EXPECT_EQ(NULL, strchr(shown, '\n'));
	one_pin(want, sizeof(want), self->me.ring[0].ring_fd, "anon_inode:[io_uring]", shown);
	ASSERT_LE(0, view_of(getpid(), text, sizeof(text)));
	EXPECT_STREQ(want, text);
	locks_id(path, id, sizeof(id));
	ASSERT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad))) {
		TH_LOG("line: '%s'", bad);
	}
	EXPECT_STREQ(shown, line.path);
}

TEST_F(pinfs, F2_mode_and_place)
{
	static const char * const dirs[] = { "/proc/%d", "/proc/%d/task/%d" };
	char dir[64], path[128];

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		struct dirent *de;
		struct stat st;
		int listed = 0;
		DIR *d;

		snprintf(dir, sizeof(dir), dirs[i], getpid(), getpid());
		snprintf(path, sizeof(path), "%s/file_pins", dir);
		ASSERT_EQ(0, ERR(stat(path, &st))) {
			TH_LOG("%s", path);
		}
		EXPECT_EQ(S_IFREG | 0444, st.st_mode);
		d = opendir(dir);
		ASSERT_NE(NULL, d);
		while ((de = readdir(d))) {
			if (strcmp(de->d_name, "file_pins"))
				continue;
			listed++;
			EXPECT_EQ(DT_REG, de->d_type);
		}
		closedir(d);
		EXPECT_EQ(1, listed) {
			TH_LOG("times file_pins is listed in %s", dir);
		}
	}
	EXPECT_EQ(0, ERR(access("/proc/self/file_pins", R_OK)));
	EXPECT_EQ(0, ERR(access("/proc/thread-self/file_pins", R_OK)));
	EXPECT_EQ(-ENOENT, ERR(access("/proc/self/attr/file_pins", F_OK)));
}

TEST_F(pinfs, F2_every_entry_is_still_there)
{
	static const char * const known[] = {
		"task", "fd", "fdinfo", "ns", "maps", "status", "stat", "cmdline", "exe", "root",
		"cwd", "mounts", "smaps", "attr", "limits", "environ", "auxv", "cgroup", "oom_score",
	};
	char path[64];

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		struct stat st;

		snprintf(path, sizeof(path), "/proc/self/%s", known[i]);
		EXPECT_EQ(0, ERR(lstat(path, &st))) {
			TH_LOG("%s", path);
		}
	}
}

TEST_F(pinfs, F2_thread_view_is_the_process_view)
{
	char text[2 * PATH_MAX], want[2 * PATH_MAX], path[64];

	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	one_pin(want, sizeof(want), self->me.ring[0].ring_fd, "anon_inode:[io_uring]", self->path);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/file_pins", getpid(), getpid());
	ASSERT_LE(0, read_text(path, text, sizeof(text)));
	EXPECT_STREQ(want, text);
}

/* What comes of reading a file of another process: an error, or the length. */
static long act_read_maps(struct actor *a, long pid)
{
	char path[64], text[PATH_MAX];

	(void)a;
	snprintf(path, sizeof(path), "/proc/%ld/maps", pid);
	return read_text(path, text, sizeof(text));
}

static long act_read_pins(struct actor *a, long pid)
{
	char text[PATH_MAX];

	(void)a;
	return view_of(pid, text, sizeof(text));
}

TEST_F(pinfs, F2_other_users_may_read_it_where_they_may_read_maps)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	EXPECT_LT(0, peer_call(&self->a, act_read_maps, getpid()));
	EXPECT_LT(0, peer_call(&self->a, act_read_pins, getpid()));
	ASSERT_EQ(0, peer_call(&self->b, act_become, NOBODY));
	EXPECT_EQ(-EACCES, peer_call(&self->b, act_read_maps, getpid()));
	EXPECT_EQ(-EACCES, peer_call(&self->b, act_read_pins, getpid()));
	/* Its own it may read. */
	EXPECT_EQ(0, peer_call(&self->b, act_read_pins, self->b.pid));
}

/* ---- F3: contexts that change hands ---- */

/*
 * io_uring descriptors cannot be sent through sockets (the kernel refuses it),
 * so the context that is really passed with SCM_RIGHTS is an AF_XDP socket
 * with the file's mapping as its UMEM.
 */
static long act_xsk_pin(struct actor *a, long unused)
{
	struct xdp_umem_reg reg = { .chunk_size = PAGE };
	long fd = ERR(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
	long ret;

	(void)unused;
	if (fd < 0)
		return fd;
	a->got_fd = fd;
	ret = act_open(a, O_RDWR);
	if (!ret)
		ret = act_lease(a, EXCLUSIVE);
	if (!ret)
		ret = act_map(a, 16 * PAGE);
	if (ret)
		return ret;
	reg.addr = (unsigned long)a->map;
	reg.len = a->map_len;
	return ERR(setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)));
}

static long act_xsk_send(struct actor *a, long unused)
{
	(void)unused;
	return send_fd(passing[0], a->got_fd);
}

static long act_got_fd(struct actor *a, long unused)
{
	(void)unused;
	return a->got_fd;
}

/* The name of a descriptor of another process, as /proc/PID/fd shows it. */
static void link_of(pid_t pid, long fd, char *name, size_t size)
{
	char path[64];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%d/fd/%ld", pid, fd);
	len = readlink(path, name, size - 1);
	name[len > 0 ? len : 0] = '\0';
}

TEST_F(pinfs, F3_F6_context_passed_by_SCM_RIGHTS)
{
	char text[2 * PATH_MAX], want[2 * PATH_MAX], name[256];
	char id[64], bad[512] = "";
	struct pin_line line;
	long fd, ret;

	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, make_passing());
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_start(&self->c, self->path));
	ret = peer_call(&self->a, act_xsk_pin, 0);
	if (ret == -EAFNOSUPPORT)
		SKIP(return, "no AF_XDP sockets on this kernel");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, peer_call(&self->a, act_xsk_send, 0));
	ASSERT_EQ(0, peer_call(&self->b, act_take_fd, false));
	fd = peer_call(&self->b, act_got_fd, 0);
	ASSERT_LE(0, fd);
	link_of(self->b.pid, fd, name, sizeof(name));
	EXPECT_EQ(0, strncmp(name, "socket:[", 8));
	one_pin(want, sizeof(want), fd, name, self->path);

	/* Both have it ... */
	ASSERT_LT(0, view_of(self->b.pid, text, sizeof(text)));
	EXPECT_STREQ(want, text);
	EXPECT_LT(0, view_of(self->a.pid, text, sizeof(text)));
	ASSERT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad))) {
		TH_LOG("line: '%s'", bad);
	}
	EXPECT_TRUE(pids_have(line.pids, self->a.pid)) {
		TH_LOG("pids '%s' lack %d", line.pids, self->a.pid);
	}
	EXPECT_TRUE(pids_have(line.pids, self->b.pid)) {
		TH_LOG("pids '%s' lack %d", line.pids, self->b.pid);
	}

	/* ... and when the one that pinned dies, the other is found. */
	ret = self->a.pid;
	EXPECT_LE(0, peer_kill(&self->a));
	ASSERT_LT(0, view_of(self->b.pid, text, sizeof(text)));
	EXPECT_STREQ(want, text);
	ASSERT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad)));
	EXPECT_FALSE(pids_have(line.pids, ret));
	EXPECT_TRUE(pids_have(line.pids, self->b.pid));
	EXPECT_STREQ("orphaned", line.state);
	EXPECT_EQ(-ETXTBSY, peer_call(&self->c, act_truncate, 0));

	/* Killing it frees the file. */
	EXPECT_LE(0, peer_kill(&self->b));
	EXPECT_TRUE(EVENTUALLY(peer_call(&self->c, act_truncate, 0) == 0, 1000));
	EXPECT_EQ(0, pins_of(id, &line, 1, bad, sizeof(bad)));
}

static long act_ring_fd(struct actor *a, long which)
{
	return a->ring[which].ring_fd;
}

TEST_F(pinfs, F3_F6_ring_taken_over_by_another_process)
{
	char text[2 * PATH_MAX], want[2 * PATH_MAX];
	long fd;

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_start(&self->c, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_hold, EXCLUSIVE));
	fd = peer_call(&self->a, act_ring_fd, 0);
	ASSERT_EQ(0, peer_call(&self->b, act_take_ring, RING_OF(self->a.pid, fd)));
	fd = peer_call(&self->b, act_got_fd, 0);
	ASSERT_LE(0, fd);
	EXPECT_LE(0, peer_kill(&self->a));
	one_pin(want, sizeof(want), fd, "anon_inode:[io_uring]", self->path);
	ASSERT_LT(0, view_of(self->b.pid, text, sizeof(text)));
	EXPECT_STREQ(want, text);
	EXPECT_EQ(-ETXTBSY, peer_call(&self->c, act_truncate, 0));
	EXPECT_LE(0, peer_kill(&self->b));
	EXPECT_TRUE(EVENTUALLY(peer_call(&self->c, act_truncate, 0) == 0, 1000));
}

/* A fork has all the descriptors of its parent. */
static long fork_sees_itself(struct actor *a, long unused)
{
	char text[2 * PATH_MAX];
	long ret = view_of(getpid(), text, sizeof(text));

	(void)a;
	(void)unused;
	if (ret < 0)
		return ret;
	return strcmp(text, peer_want) ? -EBADMSG : 0;
}

TEST_F(pinfs, F3_fork)
{
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	one_pin(peer_want, sizeof(peer_want), self->me.ring[0].ring_fd, "anon_inode:[io_uring]",
		self->path);
	EXPECT_EQ(0, in_fork(fork_sees_itself, &self->me, 0));
	EXPECT_EQ(0, in_fork(act_view_is, &self->me, getpid()));
}

TEST_F(pinfs, F4_context_that_no_process_has)
{
	char id[64], bad[512] = "";
	struct pin_line line;
	long ret;

	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, make_passing());
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ret = peer_call(&self->a, act_xsk_pin, 0);
	if (ret == -EAFNOSUPPORT)
		SKIP(return, "no AF_XDP sockets on this kernel");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, peer_call(&self->a, act_xsk_send, 0));
	EXPECT_LE(0, peer_kill(&self->a));
	/* In flight: in the socket's queue, and in no process. */
	ASSERT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad))) {
		TH_LOG("line: '%s'", bad);
	}
	EXPECT_STREQ("-", line.pids);
	EXPECT_STREQ("orphaned", line.state);
	close(passing[0]);
	close(passing[1]);
	EXPECT_TRUE(EVENTUALLY(pins_of(id, &line, 1, bad, sizeof(bad)) == 0, 1000));
}

/* ---- F5: the global table ---- */

TEST_F(pinfs, F5_fields)
{
	char id[64], bad[512] = "", pid[32];
	struct pin_line line;
	struct iovec iov;

	locks_id(self->path, id, sizeof(id));
	EXPECT_EQ(0, pins_of(id, &line, 1, bad, sizeof(bad))) {
		TH_LOG("line: '%s'", bad);
	}
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	iov = (struct iovec){ self->me.map + 2 * PAGE, 3 * PAGE };
	ASSERT_EQ(0, io_uring_register_buffers(&self->me.ring[0], &iov, 1));
	ASSERT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad))) {
		TH_LOG("line: '%s'", bad);
	}
	snprintf(pid, sizeof(pid), "%d", getpid());
	EXPECT_EQ(2 * PAGE, line.start);
	EXPECT_EQ(5 * PAGE, line.end);
	EXPECT_EQ(3, line.pages);
	EXPECT_STREQ("exclusive", line.kind);
	EXPECT_STREQ("active", line.state);
	EXPECT_STREQ(pid, line.pids);
	EXPECT_STREQ(self->path, line.path);
	ASSERT_EQ(0, act_unlink(&self->me, 0));
	ASSERT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad)));
	EXPECT_EQ(0, strncmp(line.path, self->path, strlen(self->path)));
	EXPECT_STREQ(" (deleted)", line.path + strlen(self->path));
	ASSERT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(0, pins_of(id, &line, 1, bad, sizeof(bad)));
}

TEST_F(pinfs, F5_one_line_per_context_file_and_range)
{
	char path[PATH_MAX], id[2][64], bad[512] = "";
	struct pin_line line[8];
	struct actor other;
	struct iovec iov[3];

	snprintf(path, sizeof(path), "%.4000s/second", self->dir);
	ASSERT_EQ(0, make_file(path, FILE_PAGES, 2));
	locks_id(self->path, id[0], sizeof(id[0]));
	locks_id(path, id[1], sizeof(id[1]));
	act_init(&other, path);
	ASSERT_EQ(0, act_open(&other, O_RDWR));
	ASSERT_EQ(0, act_lease(&other, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&other, FILE_SIZE));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_ring(&self->me, 1));
	iov[0] = (struct iovec){ self->me.map, PAGE };
	iov[1] = (struct iovec){ self->me.map + 4 * PAGE, PAGE };
	iov[2] = (struct iovec){ other.map, FILE_SIZE };
	ASSERT_EQ(0, io_uring_register_buffers(&self->me.ring[1], iov, 3));
	EXPECT_EQ(3, pins_of(id[0], line, 8, bad, sizeof(bad))) {
		TH_LOG("line: '%s'", bad);
	}
	EXPECT_EQ(1, pins_of(id[1], line, 8, bad, sizeof(bad)));
	EXPECT_EQ(0, line[0].start);
	EXPECT_EQ(FILE_SIZE, line[0].end);
	act_fini(&other);
}

TEST_F(pinfs, F5_root_only)
{
	struct stat st;

	ASSERT_EQ(0, ERR(stat("/proc/fs/pinfs/pins", &st)));
	EXPECT_EQ(S_IFREG | 0400, st.st_mode);
	EXPECT_EQ(0, st.st_uid);
}

/* Fault E8: one form of a device's number, which is that of /proc/self/mountinfo, in events, too. */
TEST_F(pinfs, F5_the_device_is_that_of_mountinfo)
{
	char dir[PATH_MAX], id[64], want[64], line[4096], dev[32] = "", *end;
	struct pin_line pin;
	struct stat st;
	FILE *mounts;

	snprintf(dir, sizeof(dir), "%s", getenv("PINFS_MNT") ?: "");
	mounts = fopen("/proc/self/mountinfo", "re");
	ASSERT_NE(NULL, mounts);
	/* ID PARENT MAJOR:MINOR ROOT MOUNT ...: the last one at the place counts. */
	while (fgets(line, sizeof(line), mounts)) {
		char where[PATH_MAX], number[32];

		if (sscanf(line, "%*d %*d %31s %*s %4095s", number, where) == 2 && !strcmp(where, dir))
			strcpy(dev, number);
	}
	fclose(mounts);
	if (!dev[0])
		SKIP(return, "no mount point is given");
	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	ASSERT_EQ(1, pins_of(id, &pin, 1, line, sizeof(line))) {
		TH_LOG("%s", line);
	}
	end = strrchr(pin.id, ':');
	ASSERT_NE(NULL, end);
	ASSERT_EQ(0, stat(self->path, &st));
	snprintf(want, sizeof(want), "%s:%lu", dev, st.st_ino);
	EXPECT_STREQ(want, pin.id);
}

TEST_F(pinfs, F6_killing_every_listed_holder_frees_the_file)
{
	char id[64], bad[512] = "", *pid;
	struct pin_line line[4];
	long count, ring;

	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_start(&self->c, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_hold, EXCLUSIVE));
	ring = peer_call(&self->a, act_ring_fd, 0);
	ASSERT_EQ(0, peer_call(&self->b, act_take_ring, RING_OF(self->a.pid, ring)));
	count = pins_of(id, line, 4, bad, sizeof(bad));
	ASSERT_EQ(1, count);
	/* An administrator with nothing but the table. */
	for (pid = strtok(line[0].pids, ","); pid; pid = strtok(NULL, ",")) {
		ASSERT_LT(1, atoi(pid));
		ASSERT_EQ(0, ERR(kill(atoi(pid), SIGKILL)));
	}
	EXPECT_TRUE(EVENTUALLY(peer_call(&self->c, act_truncate, 0) == 0, 1000));
}

TEST_HARNESS_MAIN
