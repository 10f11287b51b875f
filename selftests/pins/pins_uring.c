// SPDX-License-Identifier: GPL-2.0
/* Long-term pins by io_uring's registered buffers: rows P1 to P14. */
#include "kselftest_harness.h"

#include "pinfs_test.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>

/* Opens, maps and makes a ring, all but the lease and the pin. */
static long act_prepare(struct actor *a, long len)
{
	long ret = act_open(a, O_RDWR);

	if (!ret)
		ret = act_map(a, len);
	if (!ret)
		ret = act_ring(a, 0);
	return ret;
}

TEST_F(pinfs, P1_without_a_lease)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_prepare(&self->me, FILE_SIZE));
	EXPECT_EQ(-EOPNOTSUPP, act_pin(&self->me, 0));
	/* Faulted in or not makes no difference. */
	memset(self->me.map, 1, FILE_SIZE);
	EXPECT_EQ(-EOPNOTSUPP, act_pin(&self->me, 0));
	check_nothing_pinned(_metadata, self->path, &self->a);
}

TEST_F(pinfs, P1_with_a_breakable_lease_only)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_prepare(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_lease(&self->me, F_LAYOUT));
	EXPECT_EQ(-EOPNOTSUPP, act_pin(&self->me, 0));
	ASSERT_EQ(0, act_lease(&self->me, F_UNLCK));
	check_nothing_pinned(_metadata, self->path, &self->a);
}

TEST_F(pinfs, P1_after_the_lease_was_given_back)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_prepare(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(-EOPNOTSUPP, act_pin(&self->me, 0));
	check_nothing_pinned(_metadata, self->path, &self->a);
}

TEST_F(pinfs, P2_with_an_exclusive_lease)
{
	char id[64], bad[512] = "";
	struct pin_line line;

	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, act_prepare(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	EXPECT_EQ(0, act_pin(&self->me, 0));
	ASSERT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad))) {
		TH_LOG("line: '%s'", bad);
	}
	EXPECT_EQ(0, line.start);
	EXPECT_EQ(FILE_SIZE, line.end);
	EXPECT_EQ(FILE_PAGES, line.pages);
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(0, pins_of(id, &line, 1, bad, sizeof(bad)));
	/* Again and again under the same lease. */
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, act_pin(&self->me, 0));
		ASSERT_EQ(0, act_unpin(&self->me, 0));
	}
}

TEST_F(pinfs, P2_one_lease_serves_other_descriptions_of_the_holder)
{
	int other = open(self->path, O_RDWR | O_CLOEXEC);
	struct iovec iov = { .iov_len = FILE_SIZE };

	/* The right is the process's and the file's, not the mapping's descriptor's. */
	ASSERT_LE(0, other);
	ASSERT_EQ(0, act_prepare(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	iov.iov_base = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
	ASSERT_NE(MAP_FAILED, iov.iov_base);
	EXPECT_EQ(0, io_uring_register_buffers(&self->me.ring[0], &iov, 1));
	EXPECT_EQ(-EBUSY, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	munmap(iov.iov_base, FILE_SIZE);
	close(other);
}

TEST_F(pinfs, P2_several_buffers_and_files)
{
	char path[PATH_MAX], id[64], bad[512] = "";
	struct pin_line line[3];
	struct actor other;
	struct iovec iov[3];

	locks_id(self->path, id, sizeof(id));
	snprintf(path, sizeof(path), "%.4000s/second", self->dir);
	ASSERT_EQ(0, make_file(path, FILE_PAGES, 2));
	act_init(&other, path);
	ASSERT_EQ(0, act_open(&other, O_RDWR));
	ASSERT_EQ(0, act_lease(&other, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&other, FILE_SIZE));
	ASSERT_EQ(0, act_prepare(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));

	/* Two ranges of one file, unaligned, and a whole other file. */
	iov[0] = (struct iovec){ self->me.map + 100, PAGE };
	iov[1] = (struct iovec){ self->me.map + 8 * PAGE, 3 * PAGE };
	iov[2] = (struct iovec){ other.map, FILE_SIZE };
	ASSERT_EQ(0, io_uring_register_buffers(&self->me.ring[0], iov, 3));
	ASSERT_EQ(2, pins_of(id, line, 3, bad, sizeof(bad))) {
		TH_LOG("line: '%s'", bad);
	}
	EXPECT_EQ(5, line[0].pages + line[1].pages);
	EXPECT_EQ(-EBUSY, act_lease(&other, F_UNLCK));
	EXPECT_EQ(-EBUSY, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(0, act_lease(&other, F_UNLCK));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	act_fini(&other);
}

TEST_F(pinfs, P1_one_unleased_file_refuses_the_whole_call)
{
	char path[PATH_MAX], id[64], bad[512] = "";
	struct pin_line line;
	struct actor other;
	struct iovec iov[2];

	locks_id(self->path, id, sizeof(id));
	snprintf(path, sizeof(path), "%.4000s/second", self->dir);
	ASSERT_EQ(0, make_file(path, FILE_PAGES, 2));
	act_init(&other, path);
	ASSERT_EQ(0, act_open(&other, O_RDWR));
	ASSERT_EQ(0, act_map(&other, FILE_SIZE));
	ASSERT_EQ(0, act_prepare(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	iov[0] = (struct iovec){ self->me.map, FILE_SIZE };
	iov[1] = (struct iovec){ other.map, FILE_SIZE };
	EXPECT_EQ(-EOPNOTSUPP, io_uring_register_buffers(&self->me.ring[0], iov, 2));
	/* What the first buffer had pinned is given back. */
	EXPECT_EQ(0, pins_of(id, &line, 1, bad, sizeof(bad)));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	act_fini(&other);
}

TEST_F(pinfs, P3_fork_child)
{
	ASSERT_EQ(0, act_prepare(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	EXPECT_EQ(-EOPNOTSUPP, in_fork(act_pin_with_own_ring, &self->me, 1));
	/* In the ring that the holder made it is still the child that asks. */
	EXPECT_EQ(-EOPNOTSUPP, in_fork(act_pin, &self->me, 0));
	EXPECT_EQ(0, act_pin(&self->me, 0));
}

TEST_F(pinfs, P3_receiver_of_the_lease_descriptor)
{
	ASSERT_EQ(0, make_passing());
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, send_fd(passing[0], self->me.fd));
	ASSERT_EQ(0, peer_call(&self->a, act_take_fd, true));
	ASSERT_EQ(0, peer_call(&self->a, act_map, FILE_SIZE));
	EXPECT_EQ(-EOPNOTSUPP, peer_call(&self->a, act_pin_with_own_ring, 0));

	/* Its own lease, on its own description, has to wait for ours. */
	ASSERT_EQ(0, peer_call(&self->a, act_close, 0));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	EXPECT_EQ(-EAGAIN, peer_call(&self->a, act_lease, EXCLUSIVE));
	EXPECT_EQ(-EOPNOTSUPP, peer_call(&self->a, act_pin, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, peer_call(&self->a, act_lease, EXCLUSIVE));
	EXPECT_EQ(0, peer_call(&self->a, act_pin, 0));
}

TEST_F(pinfs, P4_whole_file_lease_covers_what_is_appended_later)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_ftruncate(&self->me, 2 * FILE_SIZE));
	ASSERT_EQ(0, act_map(&self->me, 2 * FILE_SIZE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	EXPECT_EQ(0, act_pin(&self->me, 0));
	EXPECT_EQ(0, act_unpin(&self->me, 0));
}

/* A mapping beyond the end of the file cannot be pinned, lease or not. */
TEST_F(pinfs, P4_beyond_the_end_of_the_file_is_EFAULT)
{
	char id[64], bad[512] = "";
	struct pin_line line;

	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, act_prepare(&self->me, 2 * FILE_SIZE));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	EXPECT_EQ(-EFAULT, act_pin(&self->me, 0));
	EXPECT_EQ(0, pins_of(id, &line, 1, bad, sizeof(bad)));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}

/*
 * A buffer of twice FILE_SIZE, one half of it the file's mapping, the other
 * ordinary memory that has been touched.
 */
static char *mixed_buffer(struct actor *a, bool file_first)
{
	char *buf = mmap(NULL, 2 * FILE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (buf == MAP_FAILED)
		return NULL;
	memset(buf, 'm', 2 * FILE_SIZE);
	if (mmap(buf + (file_first ? 0 : FILE_SIZE), FILE_SIZE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, a->fd, 0) == MAP_FAILED)
		return NULL;
	return buf;
}

static void check_mixed(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
			bool file_first)
{
	struct iovec iov = { .iov_len = 2 * FILE_SIZE };
	char id[64], bad[512] = "", *copy, *file_half, *anon_half;
	struct pin_line line;
	int out = memfd_create("out", MFD_CLOEXEC);

	locks_id(self->path, id, sizeof(id));
	ASSERT_LE(0, out);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	iov.iov_base = mixed_buffer(&self->me, file_first);
	ASSERT_NE(NULL, iov.iov_base);
	/*
	 * Without a lease as on the plain kernel: the error of the first page,
	 * or io_uring's own if it has pinned some before.
	 */
	EXPECT_EQ(file_first ? -EOPNOTSUPP : -EFAULT,
		  io_uring_register_buffers(&self->me.ring[0], &iov, 1));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, io_uring_register_buffers(&self->me.ring[0], &iov, 1));
	ASSERT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad))) {
		TH_LOG("line: '%s'", bad);
	}
	EXPECT_EQ(FILE_PAGES, line.pages);

	/* The ring sees both halves. */
	EXPECT_EQ(2 * FILE_SIZE, ring_write_fixed(&self->me.ring[0], out, iov.iov_base,
						  2 * FILE_SIZE));
	copy = mmap(NULL, 2 * FILE_SIZE, PROT_READ, MAP_SHARED, out, 0);
	ASSERT_NE(MAP_FAILED, copy);
	file_half = copy + (file_first ? 0 : FILE_SIZE);
	anon_half = copy + (file_first ? FILE_SIZE : 0);
	EXPECT_TRUE(filled(file_half, FILE_SIZE, FILE_SEED));
	EXPECT_EQ('m', anon_half[0]);
	EXPECT_EQ('m', anon_half[FILE_SIZE - 1]);
	munmap(copy, 2 * FILE_SIZE);
	close(out);

	EXPECT_EQ(-EBUSY, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	/* The write was done by a worker, which may hold the buffer a little longer. */
	EXPECT_TRUE(EVENTUALLY(act_lease(&self->me, F_UNLCK) == 0, 1000));
	munmap(iov.iov_base, 2 * FILE_SIZE);
}

TEST_F(pinfs, P5_mapping_then_ordinary_memory)
{
	check_mixed(_metadata, self, true);
}

TEST_F(pinfs, P5_ordinary_memory_then_mapping)
{
	check_mixed(_metadata, self, false);
}

/* Long enough for several batches of 512 pages, and for 2 MiB pages. */
TEST_F(pinfs, P2_P6_large_buffer)
{
	const long size = 6 * MIB;
	char id[64], bad[512] = "";
	struct pin_line line;

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, 0));
	ASSERT_EQ(0, ERR(fallocate(self->me.fd, 0, 0, size)));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&self->me, size));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, act_pin(&self->me, 0));
		ASSERT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad))) {
			TH_LOG("line: '%s'", bad);
		}
		EXPECT_EQ(0, line.start);
		EXPECT_EQ(size, line.end);
		EXPECT_EQ(size / PAGE, line.pages);
		EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_ftruncate, 0));
		EXPECT_EQ(0, act_unpin(&self->me, 0));
		EXPECT_EQ(0, pins_of(id, &line, 1, bad, sizeof(bad)));
	}
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, peer_call(&self->a, act_ftruncate, 0));
}

TEST_F(pinfs, P6_unregister)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	check_nothing_pinned(_metadata, self->path, &self->a);
}

TEST_F(pinfs, P6_close_of_the_ring)
{
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	EXPECT_EQ(0, act_ring_close(&self->me, 0));
	/* The kernel unpins in a worker. */
	EXPECT_TRUE(EVENTUALLY(act_lease(&self->me, F_UNLCK) == 0, 1000));
}

TEST_F(pinfs, P6_SIGKILL)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_hold, EXCLUSIVE));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->b, act_truncate, 0));
	EXPECT_LE(0, peer_kill(&self->a));
	EXPECT_TRUE(EVENTUALLY(peer_call(&self->b, act_truncate, 0) == 0, 1000));
}

TEST_F(pinfs, P6_exit)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_hold, EXCLUSIVE));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->b, act_truncate, 0));
	EXPECT_EQ(0, peer_end(&self->a));
	EXPECT_TRUE(EVENTUALLY(peer_call(&self->b, act_truncate, 0) == 0, 1000));
}

/*
 * Two rings of one process pin the same pages, and the first lets go in some
 * way; the other's pins must neither be lost nor be credited with it.
 */
static void check_two_rings(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
			    act_fn let_go)
{
	char id[64], bad[512] = "";
	struct pin_line line[2];

	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_ring(&self->me, 1));
	ASSERT_EQ(0, act_pin(&self->me, 1));
	EXPECT_EQ(2, pins_of(id, line, 2, bad, sizeof(bad))) {
		TH_LOG("line: '%s'", bad);
	}
	EXPECT_EQ(0, let_go(&self->me, 0));
	EXPECT_TRUE(EVENTUALLY(pins_of(id, line, 2, bad, sizeof(bad)) == 1, 1000));
	EXPECT_EQ(FILE_PAGES, line[0].pages);
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_truncate, 0));
	EXPECT_EQ(-EBUSY, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, act_unpin(&self->me, 1));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	check_nothing_pinned(_metadata, self->path, &self->a);
}

TEST_F(pinfs, P6_two_rings_one_unregisters)
{
	check_two_rings(_metadata, self, act_unpin);
}

TEST_F(pinfs, P6_two_rings_one_is_closed)
{
	check_two_rings(_metadata, self, act_ring_close);
}

TEST_F(pinfs, P6_two_rings_one_goes_by_SIGKILL)
{
	char id[64], bad[512] = "";
	struct pin_line line[2];

	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_ring(&self->me, 1));
	ASSERT_EQ(0, act_pin(&self->me, 1));
	ASSERT_EQ(0, peer_call(&self->b, act_take_ring,
			       RING_OF(getpid(), self->me.ring[1].ring_fd)));
	ASSERT_EQ(0, act_ring_close(&self->me, 1));
	EXPECT_EQ(2, pins_of(id, line, 2, bad, sizeof(bad))) {
		TH_LOG("line: '%s'", bad);
	}

	EXPECT_LE(0, peer_kill(&self->b));
	EXPECT_TRUE(EVENTUALLY(pins_of(id, line, 2, bad, sizeof(bad)) == 1, 1000));
	EXPECT_EQ(FILE_PAGES, line[0].pages);
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_truncate, 0));
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	check_nothing_pinned(_metadata, self->path, &self->a);
}

/* ---- P7: other ways to register, and other rings ---- */

static long act_empty_slot(struct io_uring *ring, unsigned int slot)
{
	struct iovec none = { NULL, 0 };
	__u64 tag = 0;

	return io_uring_register_buffers_update_tag(ring, slot, &none, &tag, 1);
}

TEST_F(pinfs, P7_sparse_table_filled_and_emptied)
{
	struct io_uring *ring = &self->me.ring[0];
	struct pin_line line[2];
	char id[64], bad[512];
	struct iovec iov;
	__u64 tag = 0;

	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_prepare(&self->me, FILE_SIZE));
	ASSERT_EQ(0, io_uring_register_buffers_sparse(ring, 4));
	iov = (struct iovec){ self->me.map, 2 * PAGE };
	EXPECT_EQ(-EOPNOTSUPP, io_uring_register_buffers_update_tag(ring, 1, &iov, &tag, 1));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(1, io_uring_register_buffers_update_tag(ring, 1, &iov, &tag, 1));
	/* What takes a slot's place is pinned before the slot lets go. */
	iov.iov_base = self->me.map + PAGE;
	ASSERT_EQ(1, io_uring_register_buffers_update_tag(ring, 1, &iov, &tag, 1));
	iov.iov_base = self->me.map + 8 * PAGE;
	ASSERT_EQ(1, io_uring_register_buffers_update_tag(ring, 3, &iov, &tag, 1));
	ASSERT_EQ(2, pins_of(id, line, 2, bad, sizeof(bad)));
	EXPECT_EQ(PAGE, (long)line[0].start);
	EXPECT_EQ(2, line[0].pages);
	EXPECT_EQ(1, act_empty_slot(ring, 1));
	ASSERT_EQ(1, pins_of(id, line, 2, bad, sizeof(bad)));
	EXPECT_EQ(8 * PAGE, (long)line[0].start);
	EXPECT_EQ(-EBUSY, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(1, act_empty_slot(ring, 3));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	check_nothing_pinned(_metadata, self->path, &self->a);
}

/* Whether this process's file_pins has the file under a ring's descriptor. */
static bool ring_shows(const struct io_uring *ring, const char *path)
{
	char text[8192], head[64], *line;

	if (read_text("/proc/self/file_pins", text, sizeof(text)) < 0)
		return false;
	snprintf(head, sizeof(head), "%d: anon_inode:[io_uring]\n\t", ring->ring_fd);
	line = strstr(text, head);
	/* Not within another number. */
	if (!line || (line != text && line[-1] != '\n'))
		return false;
	line += strlen(head);
	return !strncmp(line, path, strlen(path)) && line[strlen(path)] == '\n';
}

/*
 * A ring that clones another's buffers shares its pins. They stay on record, as
 * the first ring's, until the last of the two has let go; both are listed.
 */
static void check_clone(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, act_fn let_go)
{
	int out = memfd_create("out", MFD_CLOEXEC);
	char id[64], bad[512], buf[PAGE];
	struct pin_line line[2];

	ASSERT_LE(0, out);
	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_ring(&self->me, 1));
	ASSERT_EQ(0, io_uring_clone_buffers(&self->me.ring[1], &self->me.ring[0]));
	EXPECT_EQ(1, pins_of(id, line, 2, bad, sizeof(bad)));
	EXPECT_TRUE(ring_shows(&self->me.ring[0], self->path));
	EXPECT_TRUE(ring_shows(&self->me.ring[1], self->path));
	EXPECT_EQ(0, let_go(&self->me, 0));
	/* Time for deferred work to do something wrong. */
	nap_ms(scaled_ms(50));
	ASSERT_EQ(1, pins_of(id, line, 2, bad, sizeof(bad)));
	EXPECT_EQ(FILE_PAGES, line[0].pages);
	EXPECT_TRUE(pids_have(line[0].pids, getpid()));
	EXPECT_TRUE(ring_shows(&self->me.ring[1], self->path));
	EXPECT_EQ(-EBUSY, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_truncate, 0));
	EXPECT_EQ(PAGE, ring_write_fixed(&self->me.ring[1], out, self->me.map, PAGE));
	EXPECT_EQ(PAGE, pread(out, buf, PAGE, 0));
	EXPECT_EQ(0, memcmp(buf, self->me.map, PAGE));
	EXPECT_EQ(0, act_unpin(&self->me, 1));
	EXPECT_TRUE(EVENTUALLY(act_lease(&self->me, F_UNLCK) == 0, 1000));
	check_nothing_pinned(_metadata, self->path, &self->a);
	close(out);
}

TEST_F(pinfs, P6_P7_clone_outlives_unregistration)
{
	check_clone(_metadata, self, act_unpin);
}

TEST_F(pinfs, P6_P7_clone_outlives_its_source)
{
	check_clone(_metadata, self, act_ring_close);
}

/* A clone of a clone, in another process, is all that is left: killing that frees the file. */
TEST_F(pinfs, F6_clone_of_a_clone_is_found_and_killed)
{
	struct io_uring third, *first = &self->me.ring[0], *second = &self->me.ring[1];
	char id[64], bad[512];
	struct pin_line line[2];

	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_ring(&self->me, 1));
	ASSERT_EQ(0, io_uring_queue_init(8, &third, 0));
	/* Nothing to clone yet, and then something in the way of it. */
	EXPECT_EQ(-ENXIO, io_uring_clone_buffers(second, &third));
	ASSERT_EQ(0, io_uring_clone_buffers(second, first));
	EXPECT_EQ(-EBUSY, io_uring_clone_buffers(second, first));
	EXPECT_FALSE(ring_shows(&third, self->path));
	ASSERT_EQ(0, io_uring_clone_buffers(&third, second));
	EXPECT_TRUE(ring_shows(first, self->path));
	EXPECT_TRUE(ring_shows(second, self->path));
	EXPECT_TRUE(ring_shows(&third, self->path));

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_take_ring, (long)getpid() << 16 | third.ring_fd));
	io_uring_queue_exit(&third);
	ASSERT_EQ(0, act_ring_close(&self->me, 0));
	ASSERT_EQ(0, act_ring_close(&self->me, 1));
	ASSERT_EQ(1, pins_of(id, line, 2, bad, sizeof(bad)));
	EXPECT_TRUE(pids_have(line[0].pids, self->a.pid));
	EXPECT_FALSE(pids_have(line[0].pids, getpid()));
	EXPECT_EQ(-EBUSY, act_lease(&self->me, F_UNLCK));
	EXPECT_LE(0, peer_kill(&self->a));
	EXPECT_TRUE(EVENTUALLY(pins_of(id, line, 2, bad, sizeof(bad)) == 0, 1000));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}

TEST_F(pinfs, P6_P7_ring_that_is_polled_by_the_kernel)
{
	int other = memfd_create("other", MFD_CLOEXEC);
	char id[64], bad[512], text[2 * PATH_MAX], want[2 * PATH_MAX], buf[PAGE];
	struct pin_line line;
	struct io_uring ring;
	struct iovec iov;

	ASSERT_LE(0, other);
	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_prepare(&self->me, FILE_SIZE));
	ASSERT_EQ(0, io_uring_queue_init(8, &ring, IORING_SETUP_SQPOLL));
	iov = (struct iovec){ self->me.map, FILE_SIZE };
	EXPECT_EQ(-EOPNOTSUPP, io_uring_register_buffers(&ring, &iov, 1));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, io_uring_register_buffers(&ring, &iov, 1));
	snprintf(want, sizeof(want), "%d: anon_inode:[io_uring]\n\t%s\n", ring.ring_fd, self->path);
	EXPECT_LT(0, read_text("/proc/self/file_pins", text, sizeof(text)));
	EXPECT_STREQ(want, text);
	EXPECT_EQ(PAGE, ring_write_fixed(&ring, other, self->me.map, PAGE));
	fill(buf, PAGE, 7);
	EXPECT_EQ(PAGE, pwrite(other, buf, PAGE, 0));
	EXPECT_EQ(PAGE, ring_read_fixed(&ring, other, self->me.map + PAGE, PAGE));
	EXPECT_TRUE(filled(self->me.map + PAGE, PAGE, 7));
	io_uring_queue_exit(&ring);
	EXPECT_TRUE(EVENTUALLY(pins_of(id, &line, 1, bad, sizeof(bad)) == 0, 1000));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	check_nothing_pinned(_metadata, self->path, &self->a);
	close(other);
}

TEST_F(pinfs, P8_pins_survive_close_and_munmap)
{
	char buf[PAGE], *copy, *map;
	int in = memfd_create("in", MFD_CLOEXEC);
	int out = memfd_create("out", MFD_CLOEXEC);
	int fd;

	ASSERT_LE(0, in);
	ASSERT_LE(0, out);
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	map = self->me.map;
	ASSERT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, act_unmap(&self->me, 0));

	/* The device reads the file's contents ... */
	ASSERT_EQ(FILE_SIZE, ring_write_fixed(&self->me.ring[0], out, map, FILE_SIZE));
	copy = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, out, 0);
	ASSERT_NE(MAP_FAILED, copy);
	EXPECT_TRUE(filled(copy, FILE_SIZE, FILE_SEED));
	munmap(copy, FILE_SIZE);

	/* ... and what it writes is the file's. */
	fill(buf, PAGE, 77);
	ASSERT_EQ(PAGE, ERR(write(in, buf, PAGE)));
	ASSERT_EQ(PAGE, ring_read_fixed(&self->me.ring[0], in, map + 3 * PAGE, PAGE));
	fd = open(self->path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	memset(buf, 0, sizeof(buf));
	ASSERT_EQ(PAGE, ERR(pread(fd, buf, PAGE, 3 * PAGE)));
	EXPECT_TRUE(filled(buf, PAGE, 77));
	close(fd);
	close(in);
	close(out);
}

/* Also with long-term pins on the same pages: the two must not be mixed up. */
TEST_F(pinfs, P6_P10_transient_pins_beside_long_term_ones)
{
	char name[] = "/var/tmp/pinfs-direct.XXXXXX";
	int disk = disk_file(name);
	char id[64], bad[512] = "";
	struct pin_line line;

	if (disk < 0)
		SKIP(return, "/var/tmp does no O_DIRECT: %s", strerror(errno));
	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(FILE_SIZE, ERR(pwrite(disk, self->me.map, FILE_SIZE, 0)));
		ASSERT_EQ(FILE_SIZE, ERR(pread(disk, self->me.map, FILE_SIZE, 0)));
		ASSERT_EQ(PAGE, act_vmsplice(&self->me, i));
	}
	ASSERT_LT(0, act_drain(&self->me, 0));
	close(disk);
	EXPECT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad)));
	EXPECT_EQ(FILE_PAGES, line.pages);
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_truncate, 0));
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	check_nothing_pinned(_metadata, self->path, &self->a);
}

/*
 * A device that pinned a hole or an unwritten block must see what is written
 * later, and what it writes must be in the file.
 */
static void check_later_writes(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self)
{
	int out = memfd_create("out", MFD_CLOEXEC);
	char buf[PAGE], *copy;
	int in;

	ASSERT_LE(0, out);
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	ASSERT_EQ(0, act_pin(&self->me, 0));
	ASSERT_EQ(FILE_SIZE, ring_write_fixed(&self->me.ring[0], out, self->me.map, FILE_SIZE));
	copy = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, out, 0);
	ASSERT_NE(MAP_FAILED, copy);
	EXPECT_TRUE(all_zero(copy, FILE_SIZE));

	fill(buf, PAGE, 9);
	ASSERT_EQ(PAGE, ERR(pwrite(self->me.fd, buf, PAGE, 5 * PAGE)));
	ASSERT_EQ(0, lseek(out, 0, SEEK_SET));
	ASSERT_EQ(FILE_SIZE, ring_write_fixed(&self->me.ring[0], out, self->me.map, FILE_SIZE));
	EXPECT_TRUE(filled(copy + 5 * PAGE, PAGE, 9));
	EXPECT_TRUE(all_zero(copy, 5 * PAGE));
	munmap(copy, FILE_SIZE);

	in = memfd_create("in", MFD_CLOEXEC);
	ASSERT_LE(0, in);
	fill(buf, PAGE, 10);
	ASSERT_EQ(PAGE, ERR(write(in, buf, PAGE)));
	ASSERT_EQ(PAGE, ring_read_fixed(&self->me.ring[0], in, self->me.map + 6 * PAGE, PAGE));
	memset(buf, 0, PAGE);
	ASSERT_EQ(PAGE, ERR(pread(self->me.fd, buf, PAGE, 6 * PAGE)));
	EXPECT_TRUE(filled(buf, PAGE, 10));
	close(in);
	close(out);
}

TEST_F(pinfs, P14_hole)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, 0));
	ASSERT_EQ(0, act_ftruncate(&self->me, FILE_SIZE));
	check_later_writes(_metadata, self);
	/* The file has blocks of its own under every pinned page. */
	EXPECT_LE(FILE_PAGES * PAGE / 512, blocks_of(self->path));
}

TEST_F(pinfs, P14_hole_that_was_read_through_the_mapping_first)
{
	volatile char *map;
	char sum = 0;

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, 0));
	ASSERT_EQ(0, act_ftruncate(&self->me, FILE_SIZE));
	/* Reading faults the shared zero page in. */
	map = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, self->me.fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	for (long i = 0; i < FILE_PAGES; i++)
		sum |= map[i * PAGE];
	EXPECT_EQ(0, sum);
	check_later_writes(_metadata, self);
	EXPECT_EQ(0, map[0]);
	self->me.map[1] = 'x';
	EXPECT_EQ('x', map[1]);
	munmap((void *)map, FILE_SIZE);
}

TEST_F(pinfs, P14_unwritten_blocks)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_ftruncate(&self->me, 0));
	ASSERT_EQ(0, ERR(fallocate(self->me.fd, 0, 0, FILE_SIZE)));
	check_later_writes(_metadata, self);
}

#define NOBODY	65534

/* Memory accounted as pinned, in KiB. */
static long act_vm_pin(struct actor *a, long unused)
{
	char text[8192], *line;

	(void)a;
	(void)unused;
	if (read_text("/proc/self/status", text, sizeof(text)) <= 0)
		return -EIO;
	line = strstr(text, "VmPin:");
	return line ? atol(line + strlen("VmPin:")) : -ENOENT;
}

/* Registers as much ordinary memory as the file has. */
static long act_pin_anonymous(struct actor *a, long which)
{
	struct iovec iov = { .iov_len = FILE_SIZE };

	iov.iov_base = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (iov.iov_base == MAP_FAILED)
		return -errno;
	return io_uring_register_buffers(&a->ring[which], &iov, 1);
}

static long act_limit_memlock(struct actor *a, long bytes)
{
	struct rlimit limit = { bytes, bytes };

	(void)a;
	return ERR(setrlimit(RLIMIT_MEMLOCK, &limit));
}

/* Only an unprivileged user's registrations are accounted. */
static void start_nobody(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
			 long memlock)
{
	ASSERT_EQ(0, chmod(self->dir, 0755));
	ASSERT_EQ(0, chown(self->path, NOBODY, NOBODY));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_limit_memlock, memlock));
	ASSERT_EQ(0, peer_call(&self->a, act_become, NOBODY));
	ASSERT_EQ(0, peer_call(&self->a, act_prepare, FILE_SIZE));
	ASSERT_EQ(0, peer_call(&self->a, act_lease, EXCLUSIVE));
}

TEST_F(pinfs, P11_pinned_memory_is_accounted_as_any_other)
{
	start_nobody(_metadata, self, 64 * MIB);
	ASSERT_EQ(0, peer_call(&self->a, act_pin_anonymous, 0));
	EXPECT_EQ(FILE_SIZE / KIB, peer_call(&self->a, act_vm_pin, 0));
	ASSERT_EQ(0, peer_call(&self->a, act_unpin, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_vm_pin, 0));
	ASSERT_EQ(0, peer_call(&self->a, act_pin, 0));
	EXPECT_EQ(FILE_SIZE / KIB, peer_call(&self->a, act_vm_pin, 0));
	ASSERT_EQ(0, peer_call(&self->a, act_unpin, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_vm_pin, 0));
}

TEST_F(pinfs, P11_the_limit_of_locked_memory_holds)
{
	start_nobody(_metadata, self, FILE_SIZE / 2);
	EXPECT_EQ(-ENOMEM, peer_call(&self->a, act_pin_anonymous, 0));
	EXPECT_EQ(-ENOMEM, peer_call(&self->a, act_pin, 0));
	/* What io_uring had pinned before it looked at the limit is given back. */
	EXPECT_EQ(0, peer_call(&self->a, act_lease, F_UNLCK));
}

TEST_HARNESS_MAIN
