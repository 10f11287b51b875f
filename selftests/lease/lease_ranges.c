// SPDX-License-Identifier: GPL-2.0
/*
 * Rows L5, L6, L8 to L11, L14, L15, L18, L19, P4 and B1 to B3: leases on ranges
 * of a file, by ioctl(PINFS_IOC_LEASE) alone.  So all of it must pass on a
 * kernel without the hook points of fcntl() too (bad_input.sh runs it there).
 */
#include "kselftest_harness.h"
#include "pinfs_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define UNBREAK		(F_LAYOUT | F_UNBREAK)
#define NOBODY		65534

/* A kind of lease, first page and number of pages (0: all that follow) in one number. */
#define PIECE(kind, first, pages)	((long)(kind) << 32 | RANGE(first, pages))
#define PIECE_KIND(p)			((p) >> 32)
#define PIECE_FIRST(p)			((p) >> 16 & 0xffff)
#define NO_PIECE			PIECE(F_UNLCK, 0, 0)

static long lease_op(int fd, unsigned int op, unsigned int lease, long range)
{
	struct pinfs_lease arg = {
		.size = sizeof(arg),
		.op = op,
		.lease = lease,
		.start = PIECE_FIRST(range) * PAGE,
		.len = RANGE_LEN(range),
	};
	long ret = ERR(ioctl(fd, PINFS_IOC_LEASE, &arg));

	if (ret || op != PINFS_LEASE_GET)
		return ret;
	if (arg.lease == F_UNLCK)
		return NO_PIECE;
	return PIECE(arg.lease, arg.start / PAGE, arg.len / PAGE);
}

static long act_set(struct actor *a, long piece)
{
	return lease_op(a->fd, PINFS_LEASE_SET, PIECE_KIND(piece), piece);
}

static long act_release(struct actor *a, long range)
{
	return lease_op(a->fd, PINFS_LEASE_RELEASE, 0, range);
}

/* The first piece from a page on. */
static long act_get(struct actor *a, long first)
{
	return lease_op(a->fd, PINFS_LEASE_GET, 0, RANGE(first, 0));
}

static long act_open_rdwr(struct actor *a, long unused)
{
	(void)unused;
	return act_open(a, O_RDWR);
}

TEST_F(pinfs, L18_set_get_release_of_a_range)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_EQ(NO_PIECE, act_get(&self->me, 0));
	EXPECT_EQ(-EAGAIN, act_release(&self->me, RANGE(0, 0)));
	for (int kind = 0; kind < 3; kind++) {
		const long kinds[] = { F_LAYOUT, EXCLUSIVE, UNBREAK };

		EXPECT_EQ(0, act_set(&self->me, PIECE(kinds[kind], 2, 3)));
		EXPECT_EQ(PIECE(kinds[kind], 2, 3), act_get(&self->me, 0));
		EXPECT_EQ(PIECE(kinds[kind], 2, 3), act_get(&self->me, 4));
		EXPECT_EQ(NO_PIECE, act_get(&self->me, 5));
		EXPECT_EQ(-EAGAIN, act_release(&self->me, RANGE(5, 4)));
		EXPECT_EQ(0, act_release(&self->me, RANGE(2, 3)));
		EXPECT_EQ(NO_PIECE, act_get(&self->me, 0));
	}
}

TEST_F(pinfs, L18_union_and_split)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	/* Neighbours of one kind become one. */
	EXPECT_EQ(0, act_set(&self->me, PIECE(EXCLUSIVE, 0, 2)));
	EXPECT_EQ(0, act_set(&self->me, PIECE(EXCLUSIVE, 4, 2)));
	EXPECT_EQ(PIECE(EXCLUSIVE, 4, 2), act_get(&self->me, 2));
	EXPECT_EQ(0, act_set(&self->me, PIECE(EXCLUSIVE, 2, 2)));
	EXPECT_EQ(PIECE(EXCLUSIVE, 0, 6), act_get(&self->me, 0));
	EXPECT_EQ(0, act_set(&self->me, PIECE(EXCLUSIVE, 5, 5)));
	EXPECT_EQ(PIECE(EXCLUSIVE, 0, 10), act_get(&self->me, 0));
	/* Another kind takes the place of what was there. */
	EXPECT_EQ(0, act_set(&self->me, PIECE(UNBREAK, 3, 3)));
	EXPECT_EQ(PIECE(EXCLUSIVE, 0, 3), act_get(&self->me, 0));
	EXPECT_EQ(PIECE(UNBREAK, 3, 3), act_get(&self->me, 3));
	EXPECT_EQ(PIECE(EXCLUSIVE, 6, 4), act_get(&self->me, 6));
	/* Given back are the middle, and what reaches over several. */
	EXPECT_EQ(0, act_release(&self->me, RANGE(4, 1)));
	EXPECT_EQ(PIECE(UNBREAK, 3, 1), act_get(&self->me, 3));
	EXPECT_EQ(PIECE(UNBREAK, 5, 1), act_get(&self->me, 4));
	EXPECT_EQ(0, act_release(&self->me, RANGE(2, 6)));
	EXPECT_EQ(PIECE(EXCLUSIVE, 0, 2), act_get(&self->me, 0));
	EXPECT_EQ(PIECE(EXCLUSIVE, 8, 2), act_get(&self->me, 2));
	EXPECT_EQ(NO_PIECE, act_get(&self->me, 10));
	EXPECT_EQ(0, act_release(&self->me, RANGE(0, 0)));
	EXPECT_EQ(NO_PIECE, act_get(&self->me, 0));
}

TEST_F(pinfs, L18_holders_of_different_ranges_are_not_in_each_others_way)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open_rdwr, 0));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_EQ(0, act_set(&self->me, PIECE(EXCLUSIVE, 0, 4)));
	EXPECT_EQ(0, peer_call(&self->a, act_set, PIECE(EXCLUSIVE, 4, 4)));
	/* L2, on what overlaps. */
	EXPECT_EQ(-EAGAIN, peer_call(&self->a, act_set, PIECE(EXCLUSIVE, 3, 1)));
	EXPECT_EQ(-EAGAIN, peer_call(&self->a, act_set, PIECE(F_LAYOUT, 0, 0)));
	EXPECT_EQ(-EAGAIN, act_set(&self->me, PIECE(UNBREAK, 7, 2)));
	EXPECT_EQ(PIECE(EXCLUSIVE, 4, 4), peer_call(&self->a, act_get, 0));
	EXPECT_EQ(PIECE(EXCLUSIVE, 0, 4), act_get(&self->me, 0));
	EXPECT_EQ(0, act_release(&self->me, RANGE(3, 1)));
	EXPECT_EQ(0, peer_call(&self->a, act_set, PIECE(EXCLUSIVE, 3, 1)));
	EXPECT_EQ(PIECE(EXCLUSIVE, 3, 5), peer_call(&self->a, act_get, 0));
}

TEST_F(pinfs, L18_ranges_are_widened_to_pages)
{
	struct pinfs_lease arg = {
		.size = sizeof(arg), .op = PINFS_LEASE_SET, .lease = UNBREAK,
		.start = 2 * PAGE - 1, .len = 2,
	};

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, ERR(ioctl(self->me.fd, PINFS_IOC_LEASE, &arg)));
	EXPECT_EQ(PIECE(UNBREAK, 1, 2), act_get(&self->me, 0));
}

TEST_F(pinfs, L18_length_0_is_up_to_the_largest_offset)
{
	struct pinfs_lease arg = {
		.size = sizeof(arg), .op = PINFS_LEASE_SET, .lease = EXCLUSIVE, .start = 8 * PAGE,
		.len = (1ULL << 63) - 8 * PAGE,
	};

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open_rdwr, 0));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_EQ(0, act_set(&self->me, PIECE(EXCLUSIVE, 8, 0)));
	EXPECT_EQ(PIECE(EXCLUSIVE, 8, 0), act_get(&self->me, 100));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_ftruncate, 15 * PAGE));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_ftruncate, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_punch, RANGE(0, 8)));
	EXPECT_EQ(0, act_release(&self->me, RANGE(0, 0)));
	/* The same by its length. */
	ASSERT_EQ(0, ERR(ioctl(self->me.fd, PINFS_IOC_LEASE, &arg)));
	EXPECT_EQ(PIECE(EXCLUSIVE, 8, 0), act_get(&self->me, 0));
}

TEST_F(pinfs, L18_too_many_ranges_are_ENOLCK)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	for (long i = 0; i < 256; i++)
		ASSERT_EQ(0, act_set(&self->me, PIECE(UNBREAK, 2 * i, 1)));
	EXPECT_EQ(-ENOLCK, act_set(&self->me, PIECE(UNBREAK, 600, 1)));
	EXPECT_EQ(NO_PIECE, act_get(&self->me, 512));
	/* One that makes them fewer is welcome. */
	EXPECT_EQ(0, act_set(&self->me, PIECE(UNBREAK, 1, 1)));
	EXPECT_EQ(0, act_set(&self->me, PIECE(UNBREAK, 600, 1)));
	EXPECT_EQ(0, act_set(&self->me, PIECE(EXCLUSIVE, 0, 0)));
	EXPECT_EQ(PIECE(EXCLUSIVE, 0, 0), act_get(&self->me, 0));
	EXPECT_EQ(0, act_release(&self->me, RANGE(0, 0)));
	EXPECT_EQ(NO_PIECE, act_get(&self->me, 0));
}

/* A good argument in a page, with room behind it. */
static struct pinfs_lease *good_arg(char *page)
{
	struct pinfs_lease *arg = (struct pinfs_lease *)page;

	memset(page, 0, 2 * PAGE);
	arg->size = sizeof(*arg);
	arg->op = PINFS_LEASE_SET;
	arg->lease = UNBREAK;
	arg->start = PAGE;
	arg->len = PAGE;
	return arg;
}

TEST_F(pinfs, L18_sizes_of_the_argument)
{
	char page[2 * PAGE];
	struct pinfs_lease *arg;
	int fd;

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	fd = self->me.fd;
	/* Shorter: older programs.  What is behind is not looked at. */
	arg = good_arg(page);
	arg->size = PINFS_LEASE_SIZE_VER0;
	arg->reserved = 1;
	EXPECT_EQ(0, ERR(ioctl(fd, PINFS_IOC_LEASE, arg)));
	EXPECT_EQ(PIECE(UNBREAK, 1, 1), act_get(&self->me, 0));
	EXPECT_EQ(0, act_release(&self->me, RANGE(0, 0)));
	for (unsigned int size = 0; size < PINFS_LEASE_SIZE_VER0; size++) {
		arg = good_arg(page);
		arg->size = size;
		EXPECT_EQ(-EINVAL, ERR(ioctl(fd, PINFS_IOC_LEASE, arg)));
	}
	/* Longer: newer programs, if what they ask for more is nothing. */
	for (unsigned int size = sizeof(*arg) + 1; size <= PAGE; size += 97) {
		arg = good_arg(page);
		arg->size = size;
		EXPECT_EQ(0, ERR(ioctl(fd, PINFS_IOC_LEASE, arg)));
		page[size] = 1;
		EXPECT_EQ(0, ERR(ioctl(fd, PINFS_IOC_LEASE, arg)));
		EXPECT_EQ(0, act_release(&self->me, RANGE(0, 0)));
		page[size - 1] = 1;
		EXPECT_EQ(-E2BIG, ERR(ioctl(fd, PINFS_IOC_LEASE, arg)));
		EXPECT_EQ(NO_PIECE, act_get(&self->me, 0));
	}
	for (int i = 0; i < 3; i++) {
		const unsigned int sizes[] = { PAGE + 1, INT32_MAX, UINT32_MAX };

		arg = good_arg(page);
		arg->size = sizes[i];
		EXPECT_EQ(-E2BIG, ERR(ioctl(fd, PINFS_IOC_LEASE, arg)));
	}
}

TEST_F(pinfs, L18_an_answer_is_not_longer_than_the_argument)
{
	char page[2 * PAGE];
	struct pinfs_lease *arg = good_arg(page);

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_EQ(0, act_set(&self->me, PIECE(EXCLUSIVE, 3, 0)));
	arg->size = PINFS_LEASE_SIZE_VER0;
	arg->op = PINFS_LEASE_GET;
	arg->lease = 0;
	arg->len = 0;
	arg->reserved = ~0ULL;
	EXPECT_EQ(0, ERR(ioctl(self->me.fd, PINFS_IOC_LEASE, arg)));
	EXPECT_EQ(EXCLUSIVE, arg->lease);
	EXPECT_EQ(3 * PAGE, arg->start);
	EXPECT_EQ(0, arg->len);
	EXPECT_EQ(~0ULL, arg->reserved);
}

TEST_F(pinfs, L18_bad_arguments)
{
	char page[2 * PAGE];
	struct pinfs_lease *arg;
	void *hole, *edge;
	int fd;

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	fd = self->me.fd;
#define REFUSED(errno_wanted, change)					\
	do {								\
		arg = good_arg(page);					\
		change;							\
		EXPECT_EQ(-(errno_wanted), ERR(ioctl(fd, PINFS_IOC_LEASE, arg))) {	\
			TH_LOG("%s", #change);				\
		}							\
	} while (0)

	for (int bit = 0; bit < 32; bit++)
		REFUSED(EINVAL, arg->flags = 1U << bit);
	for (int bit = 0; bit < 64; bit++)
		REFUSED(EINVAL, arg->reserved = 1ULL << bit);
	REFUSED(EINVAL, arg->op = 0);
	REFUSED(EINVAL, arg->op = 4);
	REFUSED(EINVAL, arg->op = UINT32_MAX);
	/* L7 */
	for (unsigned int lease = 0; lease < 256; lease++)
		if (lease != F_LAYOUT && lease != EXCLUSIVE && lease != UNBREAK)
			REFUSED(EINVAL, arg->lease = lease);
	for (int bit = 8; bit < 32; bit++)
		REFUSED(EINVAL, arg->lease = UNBREAK | 1U << bit);
	REFUSED(EINVAL, arg->op = PINFS_LEASE_RELEASE);
	REFUSED(EINVAL, arg->op = PINFS_LEASE_GET);
	REFUSED(EINVAL, arg->start = 1ULL << 63);
	REFUSED(EINVAL, arg->start = ~0ULL);
	REFUSED(EINVAL, arg->len = 1ULL << 63);
	REFUSED(EINVAL, arg->len = ~0ULL);
	REFUSED(EINVAL, arg->start = (1ULL << 63) - 1; arg->len = 2);
#undef REFUSED
	EXPECT_EQ(NO_PIECE, act_get(&self->me, 0));

	/* Memory that is not there, in whole or in part. */
	EXPECT_EQ(-EFAULT, ERR(ioctl(fd, PINFS_IOC_LEASE, NULL)));
	EXPECT_EQ(-EFAULT, ERR(ioctl(fd, PINFS_IOC_LEASE, -1L)));
	hole = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, hole);
	ASSERT_EQ(0, munmap((char *)hole + PAGE, PAGE));
	edge = (char *)hole + PAGE - 16;
	memcpy(edge, good_arg(page), 16);
	EXPECT_EQ(-EFAULT, ERR(ioctl(fd, PINFS_IOC_LEASE, edge)));
	munmap(hole, PAGE);
	EXPECT_EQ(NO_PIECE, act_get(&self->me, 0));

	/* No command of ours. */
	EXPECT_EQ(-ENOTTY, ERR(ioctl(fd, _IO(0xf9, 1), good_arg(page))));
	EXPECT_EQ(-ENOTTY, ERR(ioctl(fd, _IO(0xf9, 2), good_arg(page))));
}

TEST_F(pinfs, L8_ioctl_on_other_descriptors)
{
	struct pinfs_lease arg = {
		.size = sizeof(arg), .op = PINFS_LEASE_SET, .lease = F_LAYOUT,
	};
	int sockets[2], pipes[2];
	struct {
		const char *what;
		int fd;
	} others[] = {
		{ "a directory", open(self->dir, O_RDONLY | O_DIRECTORY) },
		{ "a device", open("/dev/null", O_RDWR) },
		{ "a file of another file system", open("/proc/self/exe", O_RDONLY) },
		{ "memory", memfd_create("other", 0) },
		{ "epoll", epoll_create1(0) },
		{ "a pipe", pipe(pipes) ? -1 : pipes[1] },
		{ "a socket", socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) ? -1 : sockets[0] },
	};
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		ASSERT_LE(0, others[i].fd);
		EXPECT_GT(0, ERR(ioctl(others[i].fd, PINFS_IOC_LEASE, &arg))) {
			TH_LOG("%s has a lease", others[i].what);
		}
		close(others[i].fd);
	}
	close(pipes[0]);
	close(sockets[1]);
	fd = open(self->path, O_PATH);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EBADF, ERR(ioctl(fd, PINFS_IOC_LEASE, &arg)));
	close(fd);
	EXPECT_EQ(-EBADF, ERR(ioctl(fd, PINFS_IOC_LEASE, &arg)));
}

TEST_F(pinfs, L9_ioctl_needs_what_fcntl_needs)
{
	ASSERT_EQ(0, ERR(chmod(self->path, 0666)));
	ASSERT_EQ(0, ERR(chmod(self->dir, 0777)));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_become, NOBODY));
	ASSERT_EQ(0, peer_call(&self->a, act_open_rdwr, 0));
	EXPECT_EQ(-EACCES, peer_call(&self->a, act_set, PIECE(UNBREAK, 0, 1)));
	EXPECT_EQ(-EACCES, peer_call(&self->a, act_set, PIECE(F_LAYOUT, 0, 1)));
	EXPECT_EQ(NO_PIECE, peer_call(&self->a, act_get, 0));

	ASSERT_EQ(0, act_open(&self->me, O_RDONLY));
	EXPECT_EQ(-EACCES, act_set(&self->me, PIECE(EXCLUSIVE, 0, 1)));
	EXPECT_EQ(-EACCES, act_set(&self->me, PIECE(UNBREAK, 0, 1)));
	EXPECT_EQ(0, act_set(&self->me, PIECE(F_LAYOUT, 0, 1)));
	EXPECT_EQ(-EACCES, act_set(&self->me, PIECE(EXCLUSIVE, 0, 1)));
	EXPECT_EQ(PIECE(F_LAYOUT, 0, 1), act_get(&self->me, 0));
}

TEST_F(pinfs, L10_fork_child_can_query_and_release_ranges)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_set(&self->me, PIECE(EXCLUSIVE, 0, 8)));
	EXPECT_EQ(PIECE(EXCLUSIVE, 0, 8), in_fork(act_get, &self->me, 0));
	EXPECT_EQ(0, in_fork(act_release, &self->me, RANGE(2, 2)));
	EXPECT_EQ(PIECE(EXCLUSIVE, 0, 2), act_get(&self->me, 0));
	EXPECT_EQ(PIECE(EXCLUSIVE, 4, 4), act_get(&self->me, 2));
	/* It is the parent's still. */
	ASSERT_EQ(0, act_map(&self->me, 2 * PAGE));
	EXPECT_EQ(-EOPNOTSUPP, in_fork(act_pin_with_own_ring, &self->me, 0));
	EXPECT_EQ(0, act_pin_with_own_ring(&self->me, 0));
	/* And a child cannot take it over while there are pins. */
	EXPECT_EQ(-EBUSY, in_fork(act_set, &self->me, PIECE(EXCLUSIVE, 8, 1)));
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(0, in_fork(act_set, &self->me, PIECE(EXCLUSIVE, 8, 1)));
	EXPECT_EQ(-EOPNOTSUPP, act_pin(&self->me, 0));
}

TEST_F(pinfs, P4_a_pin_outside_the_leased_range)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	EXPECT_EQ(0, act_set(&self->me, PIECE(EXCLUSIVE, 0, FILE_PAGES - 1)));
	EXPECT_EQ(-EOPNOTSUPP, act_pin(&self->me, 0));
	EXPECT_EQ(0, act_set(&self->me, PIECE(F_LAYOUT, FILE_PAGES - 1, 1)));
	EXPECT_EQ(-EOPNOTSUPP, act_pin(&self->me, 0));
	EXPECT_EQ(0, act_release(&self->me, RANGE(0, 1)));
	EXPECT_EQ(0, act_set(&self->me, PIECE(UNBREAK, 1, FILE_PAGES - 1)));
	EXPECT_EQ(-EOPNOTSUPP, act_pin(&self->me, 0));
	/* Nothing of it stayed pinned. */
	EXPECT_EQ(0, act_release(&self->me, RANGE(0, 0)));
	/* All of it, by several ranges. */
	EXPECT_EQ(0, act_set(&self->me, PIECE(EXCLUSIVE, 0, 5)));
	EXPECT_EQ(0, act_set(&self->me, PIECE(UNBREAK, 5, FILE_PAGES - 5)));
	EXPECT_EQ(0, act_pin(&self->me, 0));
}

TEST_F(pinfs, L5_L6_a_range_with_pins_can_not_be_given_back)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, 4 * PAGE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	EXPECT_EQ(0, act_set(&self->me, PIECE(EXCLUSIVE, 0, 0)));
	EXPECT_EQ(0, act_pin(&self->me, 0));
	EXPECT_EQ(-EBUSY, act_release(&self->me, RANGE(0, 0)));
	EXPECT_EQ(-EBUSY, act_release(&self->me, RANGE(3, 1)));
	EXPECT_EQ(-EBUSY, act_set(&self->me, PIECE(F_LAYOUT, 2, 9)));
	EXPECT_EQ(PIECE(EXCLUSIVE, 0, 0), act_get(&self->me, 0));
	/* What is not pinned can, and a strong lease can become another. */
	EXPECT_EQ(0, act_release(&self->me, RANGE(4, 0)));
	EXPECT_EQ(0, act_set(&self->me, PIECE(UNBREAK, 1, 2)));
	EXPECT_EQ(PIECE(EXCLUSIVE, 0, 1), act_get(&self->me, 0));
	EXPECT_EQ(PIECE(UNBREAK, 1, 2), act_get(&self->me, 1));
	EXPECT_EQ(PIECE(EXCLUSIVE, 3, 1), act_get(&self->me, 3));
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(0, act_release(&self->me, RANGE(0, 0)));
}

TEST_F(pinfs, B1_B2_B3_what_is_leased_and_pinned_is_a_range)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open_rdwr, 0));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, 2 * PAGE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	EXPECT_EQ(0, act_set(&self->me, PIECE(EXCLUSIVE, 0, 4)));
	EXPECT_EQ(0, act_pin(&self->me, 0));

	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_punch, RANGE(0, 1)));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_punch, RANGE(3, 1)));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_punch, RANGE(3, 9)));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_ftruncate, 3 * PAGE));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_ftruncate, 4 * PAGE - 1));
	EXPECT_EQ(0, peer_call(&self->a, act_punch, RANGE(4, 1)));
	EXPECT_EQ(0, peer_call(&self->a, act_ftruncate, 5 * PAGE));
	EXPECT_EQ(0, peer_call(&self->a, act_ftruncate, 4 * PAGE));

	EXPECT_EQ(-EDEADLK, act_punch(&self->me, RANGE(1, 1)));
	EXPECT_EQ(-EDEADLK, act_ftruncate(&self->me, PAGE));
	EXPECT_EQ(0, act_punch(&self->me, RANGE(2, 1)));
	EXPECT_EQ(0, act_ftruncate(&self->me, 3 * PAGE));
}

TEST_F(pinfs, L14_L15_an_orphaned_lease_is_a_range)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open_rdwr, 0));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, 2 * PAGE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	EXPECT_EQ(0, act_set(&self->me, PIECE(EXCLUSIVE, 0, 4)));
	EXPECT_EQ(0, act_set(&self->me, PIECE(F_LAYOUT, 4, 4)));
	EXPECT_EQ(0, act_pin(&self->me, 0));
	EXPECT_EQ(0, act_close(&self->me, 0));
	EXPECT_EQ(0, act_unmap(&self->me, 0));

	EXPECT_EQ(-EAGAIN, peer_call(&self->a, act_set, PIECE(EXCLUSIVE, 3, 1)));
	EXPECT_EQ(-EAGAIN, peer_call(&self->a, act_set, PIECE(UNBREAK, 3, 5)));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_punch, RANGE(3, 1)));
	/* What could be broken went with the descriptor. */
	EXPECT_EQ(0, peer_call(&self->a, act_set, PIECE(EXCLUSIVE, 4, 0)));
	EXPECT_EQ(0, peer_call(&self->a, act_punch, RANGE(4, 2)));
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_set, PIECE(EXCLUSIVE, 0, 0)));
}

static volatile sig_atomic_t signals, signal_fd;

static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	signals++;
	signal_fd = info->si_fd;
}

static void catch_signal(int sig)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

	sigaction(sig, &sa, NULL);
}

TEST_F(pinfs, L11_a_break_is_of_a_range)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open_rdwr, 0));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	catch_signal(SIGRTMIN + 3);
	ASSERT_EQ(0, ERR(fcntl(self->me.fd, F_SETSIG, SIGRTMIN + 3)));
	EXPECT_EQ(0, act_set(&self->me, PIECE(F_LAYOUT, 0, 4)));
	/* Beside it nobody is told. */
	EXPECT_EQ(0, peer_call(&self->a, act_punch, RANGE(4, 4)));
	EXPECT_EQ(0, peer_call(&self->a, act_ftruncate, 4 * PAGE));
	EXPECT_EQ(0, signals);
	/* On it the holder is, and the other waits until it gives back that much. */
	peer_post(&self->a, act_punch, RANGE(3, 1));
	EXPECT_TRUE(EVENTUALLY(signals == 1, REPLY_MS));
	EXPECT_EQ(self->me.fd, signal_fd);
	EXPECT_TRUE(EVENTUALLY(peer_waits_in(&self->a, SYS_fallocate), REPLY_MS));
	EXPECT_EQ(NO_PIECE, act_get(&self->me, 0));
	EXPECT_EQ(-EAGAIN, act_set(&self->me, PIECE(EXCLUSIVE, 0, 1)));
	EXPECT_EQ(0, act_release(&self->me, RANGE(0, 1)));
	EXPECT_EQ(-ETIMEDOUT, peer_answer(&self->a, 100));
	EXPECT_EQ(0, act_release(&self->me, RANGE(3, 1)));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
	EXPECT_EQ(1, signals);
	EXPECT_EQ(0, act_release(&self->me, RANGE(0, 0)));
	EXPECT_EQ(0, act_set(&self->me, PIECE(F_LAYOUT, 0, 1)));
	EXPECT_EQ(PIECE(F_LAYOUT, 0, 1), act_get(&self->me, 0));
}

TEST_F(pinfs, L11_L12_only_what_can_be_broken_times_out)
{
	long was = break_time(1);

	if (was < 0)
		SKIP(return, "/proc/sys/fs/lease-break-time can not be changed");
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open_rdwr, 0));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	catch_signal(SIGIO);
	EXPECT_EQ(0, act_set(&self->me, PIECE(F_LAYOUT, 0, 4)));
	EXPECT_EQ(0, act_set(&self->me, PIECE(UNBREAK, 4, 4)));
	/* Nobody answers; it goes on all the same, and twice. */
	for (int i = 1; i <= 2; i++) {
		EXPECT_EQ(0, peer_call(&self->a, act_punch, RANGE(0, 1)));
		EXPECT_EQ(i, signals);
		EXPECT_EQ(PIECE(UNBREAK, 4, 4), act_get(&self->me, 0));
		EXPECT_EQ(0, act_set(&self->me, PIECE(F_LAYOUT, 0, 2)));
		EXPECT_EQ(PIECE(F_LAYOUT, 0, 2), act_get(&self->me, 0));
	}
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_punch, RANGE(4, 1)));
	EXPECT_EQ(2, signals);
	break_time(was);
}

TEST_HARNESS_MAIN
