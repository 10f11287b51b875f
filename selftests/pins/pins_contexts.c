// SPDX-License-Identifier: GPL-2.0
/*
 * Who owns a pin where that is not plain from a descriptor, and what readers
 * in other namespaces see of it: rows P7, P15 and F8.
 */
#include "kselftest_harness.h"

#include "pinfs_test.h"

#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* open, lease and map, all but the ring. */
static long act_leased(struct actor *a, long len)
{
	long ret = act_open(a, O_RDWR);

	if (!ret)
		ret = act_lease(a, EXCLUSIVE);
	if (!ret)
		ret = act_map(a, len);
	return ret;
}

/* The process's own view is one ring with one file. */
static void expect_ring_pins(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, int fd)
{
	char want[2 * PATH_MAX], text[2 * PATH_MAX];

	snprintf(want, sizeof(want), "%d: anon_inode:[io_uring]\n\t%s\n", fd, self->path);
	EXPECT_LT(0, read_text("/proc/self/file_pins", text, sizeof(text)));
	EXPECT_STREQ(want, text);
}

/* ---- P15 ---- */

TEST_F(pinfs, P15_registration_by_the_index_of_a_registered_ring)
{
	struct iovec iov;

	ASSERT_EQ(0, act_leased(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	ASSERT_EQ(1, io_uring_register_ring_fd(&self->me.ring[0]));
	iov = (struct iovec){ self->me.map, FILE_SIZE };
	/* What liburing does with a ring that is registered; the index is not a descriptor. */
	ASSERT_EQ(0, syscall(SYS_io_uring_register, self->me.ring[0].enter_ring_fd,
			     IORING_REGISTER_BUFFERS | IORING_REGISTER_USE_REGISTERED_RING,
			     &iov, 1));
	expect_ring_pins(_metadata, self, self->me.ring[0].ring_fd);
	EXPECT_EQ(-EBUSY, act_lease(&self->me, F_UNLCK));
	ASSERT_EQ(0, syscall(SYS_io_uring_register, self->me.ring[0].enter_ring_fd,
			     IORING_UNREGISTER_BUFFERS | IORING_REGISTER_USE_REGISTERED_RING,
			     NULL, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}

TEST_F(pinfs, P15_index_of_no_ring)
{
	struct iovec iov;

	ASSERT_EQ(0, act_leased(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	iov = (struct iovec){ self->me.map, FILE_SIZE };
	for (unsigned int index = 0; index < 40; index++)
		EXPECT_EQ(-1, syscall(SYS_io_uring_register, index, IORING_REGISTER_BUFFERS |
				      IORING_REGISTER_USE_REGISTERED_RING, &iov, 1));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}

#ifdef __x86_64__
TEST_F(pinfs, P15_a_32_bit_caller)
{
	struct iovec *iov = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long ret;

	ASSERT_NE(MAP_FAILED, iov);
	ASSERT_EQ(0, act_leased(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	*iov = (struct iovec){ self->me.map, FILE_SIZE };
	ret = compat_call(SYS_io_uring_register, self->me.ring[0].ring_fd,
			  IORING_REGISTER_BUFFERS, (long)iov, 1, 0);
	if (ret == -ENOSYS)
		SKIP(return, "no 32-bit system calls on this kernel");
	ASSERT_EQ(0, ret);
	expect_ring_pins(_metadata, self, self->me.ring[0].ring_fd);
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}
#endif

/* ---- P7: ring memory that the application brings ---- */

static long act_ring_in_file(struct actor *a, long flags)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_NO_MMAP | IORING_SETUP_NO_SQARRAY | flags,
	};

	p.cq_off.user_addr = (uintptr_t)a->map;
	p.sq_off.user_addr = (uintptr_t)a->map + 4 * PAGE;
	return ERR(syscall(SYS_io_uring_setup, 8, &p));
}

TEST_F(pinfs, P1_P7_P15_ring_memory_in_the_file)
{
	char id[64], bad[512];
	struct pin_line lines[4];
	long fd, n;

	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	fd = act_ring_in_file(&self->me, 0);
	if (fd == -EINVAL)
		SKIP(return, "this kernel allocates ring memory itself");
	EXPECT_EQ(-EOPNOTSUPP, fd);
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	fd = act_ring_in_file(&self->me, 0);
	ASSERT_LE(0, fd);
	/* There was no descriptor yet: the process itself owns these pins. */
	n = pins_of(id, lines, ARRAY_SIZE(lines), bad, sizeof(bad));
	EXPECT_LT(0, n);
	for (long i = 0; i < n; i++)
		EXPECT_TRUE(pids_have(lines[i].pids, getpid()));
	EXPECT_EQ(-EBUSY, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_truncate, 0));
	EXPECT_EQ(0, close(fd));
	EXPECT_TRUE(EVENTUALLY(act_lease(&self->me, F_UNLCK) == 0, 1000));
	EXPECT_EQ(0, peer_call(&self->a, act_truncate, 0));
}

/* ---- F8 ---- */

static int stage[2] = { -1, -1 };

/* The first process of a pid namespace, with a /proc of its own: holds, and looks. */
static long first_process(struct actor *a, long outer)
{
	char id[64], bad[512], byte = 0;
	struct pin_line line;
	long ret;

	if (getpid() != 1)
		return -ESRCH;
	if (mount("proc", "/proc", "proc", 0, NULL))
		return -errno;
	locks_id(a->path, id, sizeof(id));
	/* Another namespace's process is nobody here. */
	if (outer) {
		if (pins_of(id, &line, 1, bad, sizeof(bad)) != 1)
			return -ENOENT;
		return strcmp(line.pids, "-") ? -EUSERS : 0;
	}
	ret = act_hold(a, EXCLUSIVE);
	if (ret)
		return ret;
	if (pins_of(id, &line, 1, bad, sizeof(bad)) != 1)
		return -ENOENT;
	if (strcmp(line.pids, "1"))
		return -EUSERS;
	/* Until the other side has looked too. */
	if (write(stage[1], &byte, 1) != 1 || read(stage[1], &byte, 1) != 1)
		return -EPIPE;
	return 0;
}

static long act_new_namespace(struct actor *a, long outer)
{
	if (unshare(CLONE_NEWPID | CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	return in_fork(first_process, a, outer);
}

TEST_F(pinfs, F8_a_holder_in_another_pid_namespace)
{
	struct pollfd pfd = { .events = POLLIN };
	char id[64], bad[512], byte = 0;
	struct pin_line line;

	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, stage));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	peer_post(&self->a, act_new_namespace, false);
	pfd.fd = stage[0];
	if (poll(&pfd, 1, scaled_ms(REPLY_MS)) == 1) {
		EXPECT_EQ(1, read(stage[0], &byte, 1));
		EXPECT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad)));
		/* Here it has the number that this namespace gave it. */
		EXPECT_LT(1, atoi(line.pids));
		EXPECT_EQ(1, write(stage[0], &byte, 1));
	}
	EXPECT_EQ(0, peer_answer(&self->a, scaled_ms(REPLY_MS)));
}

TEST_F(pinfs, F8_a_reader_in_another_pid_namespace)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	EXPECT_EQ(0, peer_call(&self->a, act_new_namespace, true));
}

/* The path at the end of the line of a file that ends in "/file". */
static const char *path_in(int fd, char *text, size_t size)
{
	size_t len = 0;
	ssize_t got;
	char *end;

	while ((got = read(fd, text + len, size - 1 - len)) > 0)
		len += got;
	close(fd);
	text[len] = '\0';
	end = strstr(text, "/file\n");
	if (!end)
		return NULL;
	end[strlen("/file")] = '\0';
	return strrchr(text, ' ');
}

/* Reads the table, opened before, from within another root. */
static long act_from_root(struct actor *a, long outside)
{
	static char text[64 * KIB], other[64 * KIB];
	char dir[PATH_MAX], aside[PATH_MAX + 16];
	const char *table, *maps;
	int table_fd = open("/proc/fs/pinfs/pins", O_RDONLY | O_CLOEXEC);
	int maps_fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	long ret = act_open(a, O_RDWR);

	if (!ret)
		ret = act_map(a, FILE_SIZE);
	if (ret)
		return ret;
	snprintf(dir, sizeof(dir), "%s", a->path);
	*strrchr(dir, '/') = '\0';
	snprintf(aside, sizeof(aside), "%s/aside", dir);
	if (mkdir(aside, 0700) || chroot(outside ? aside : dir) || chdir("/"))
		return -errno;
	table = path_in(table_fd, text, sizeof(text));
	maps = path_in(maps_fd, other, sizeof(other));
	if (!table || !maps)
		return -ENOENT;
	if (!outside && strcmp(table, " /file"))
		return -EBADMSG;
	/* Outside of it, whatever the kernel itself says in maps. */
	return strcmp(table, maps) ? -EBADMSG : 0;
}

TEST_F(pinfs, F8_paths_are_those_of_the_readers_root)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	EXPECT_EQ(0, peer_call(&self->a, act_from_root, false));
}

TEST_F(pinfs, F8_a_file_outside_the_readers_root_is_named_as_in_maps)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	EXPECT_EQ(0, peer_call(&self->a, act_from_root, true));
}

TEST_HARNESS_MAIN
