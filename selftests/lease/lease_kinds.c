// SPDX-License-Identifier: GPL-2.0
/*
 * Rows L3, L4, L6, L11 and L12: the kinds of layout leases beside each other,
 * one turned into another, and what breaks which.
 *
 * Leases are on the whole file: by fcntl(), or by ioctl(PINFS_IOC_LEASE) if
 * PINFS_LEASE_BY=ioctl is in the environment, as on a kernel that lacks the
 * hook points of fcntl().
 */
#include "kselftest_harness.h"
#include "pinfs_test.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define UNBREAK	(F_LAYOUT | F_UNBREAK)

static const int kinds[] = { F_LAYOUT, EXCLUSIVE, UNBREAK };

static bool by_ioctl(void)
{
	const char *way = getenv("PINFS_LEASE_BY");

	return way && !strcmp(way, "ioctl");
}

static long act_take(struct actor *a, long kind)
{
	struct pinfs_lease arg = {
		.size = sizeof(arg), .op = PINFS_LEASE_SET, .lease = kind,
	};

	if (!by_ioctl())
		return act_lease(a, kind);
	if (kind == F_UNLCK) {
		arg.op = PINFS_LEASE_RELEASE;
		arg.lease = 0;
	}
	return ERR(ioctl(a->fd, PINFS_IOC_LEASE, &arg));
}

static long act_held(struct actor *a, long unused)
{
	struct pinfs_lease arg = { .size = sizeof(arg), .op = PINFS_LEASE_GET };
	long ret;

	if (!by_ioctl())
		return act_getlease(a, unused);
	ret = ERR(ioctl(a->fd, PINFS_IOC_LEASE, &arg));
	return ret ? ret : (long)arg.lease;
}

/* Opens and takes a lease, in whichever process. */
static long act_join(struct actor *a, long kind)
{
	long ret = act_open(a, O_RDWR);

	return ret ? ret : act_take(a, kind);
}

/* And pins all of the file under it. */
static long act_join_and_pin(struct actor *a, long kind)
{
	long ret = act_join(a, kind);

	if (!ret)
		ret = act_map(a, FILE_SIZE);
	if (!ret)
		ret = act_ring(a, 0);
	return ret ? ret : act_pin(a, 0);
}

TEST_F(pinfs, L3_several_holders_and_each_pins)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_start(&self->c, self->path));
	EXPECT_EQ(0, act_join_and_pin(&self->me, UNBREAK));
	EXPECT_EQ(0, peer_call(&self->a, act_join_and_pin, UNBREAK));
	EXPECT_EQ(0, peer_call(&self->b, act_join_and_pin, UNBREAK));
	EXPECT_EQ(UNBREAK, act_held(&self->me, 0));
	EXPECT_EQ(UNBREAK, peer_call(&self->a, act_held, 0));
	/* No exclusive one beside them, and nobody else's truncate. */
	EXPECT_EQ(-EAGAIN, peer_call(&self->c, act_join, EXCLUSIVE));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->c, act_truncate, 0));
	EXPECT_EQ(-EDEADLK, peer_call(&self->a, act_ftruncate, 0));
	/* Each goes by itself; the file is free after the last. */
	EXPECT_EQ(0, peer_call(&self->a, act_unpin, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_take, F_UNLCK));
	EXPECT_EQ(-EBUSY, act_take(&self->me, F_UNLCK));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->c, act_truncate, 0));
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(0, act_take(&self->me, F_UNLCK));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->c, act_truncate, 0));
	EXPECT_LE(0, peer_kill(&self->b));
	self->b.pid = 0;
	EXPECT_TRUE(EVENTUALLY(peer_call(&self->c, act_truncate, 0) == 0, 1000));
	EXPECT_EQ(0, peer_call(&self->c, act_take, EXCLUSIVE));
}

TEST_F(pinfs, L3_a_shared_strong_lease_keeps_the_layout)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_join, UNBREAK));
	EXPECT_EQ(0, act_join(&self->me, UNBREAK));
	/* B2: each is in the other's way, and both in a stranger's. */
	EXPECT_EQ(-ETXTBSY, peer_call(&self->b, act_truncate, 0));
	EXPECT_EQ(-ETXTBSY, act_punch(&self->me, RANGE(0, 1)));
	EXPECT_EQ(0, peer_call(&self->a, act_take, F_UNLCK));
	EXPECT_EQ(0, act_punch(&self->me, RANGE(0, 1)));
}

TEST_F(pinfs, L3_breakable_and_unbreakable_leases_coexist)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_join, F_LAYOUT));
	EXPECT_EQ(0, act_join(&self->me, UNBREAK));
	EXPECT_EQ(F_LAYOUT, peer_call(&self->a, act_held, 0));
	EXPECT_EQ(UNBREAK, act_held(&self->me, 0));
}

TEST_F(pinfs, L6_every_conversion)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	for (size_t from = 0; from < ARRAY_SIZE(kinds); from++) {
		for (size_t to = 0; to < ARRAY_SIZE(kinds); to++) {
			EXPECT_EQ(0, act_take(&self->me, kinds[from]));
			EXPECT_EQ(0, act_take(&self->me, kinds[to]));
			EXPECT_EQ(kinds[to], act_held(&self->me, 0));
		}
	}
	/* One lease all the time: one F_UNLCK, and nothing is left. */
	EXPECT_EQ(0, act_take(&self->me, F_UNLCK));
	EXPECT_EQ(F_UNLCK, act_held(&self->me, 0));
	EXPECT_EQ(-EAGAIN, act_take(&self->me, F_UNLCK));
}

TEST_F(pinfs, L6_refused_conversions_change_nothing)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_join, F_LAYOUT));
	ASSERT_EQ(0, act_join(&self->me, UNBREAK));
	EXPECT_EQ(-EAGAIN, act_take(&self->me, EXCLUSIVE));
	EXPECT_EQ(UNBREAK, act_held(&self->me, 0));
	/* As strong as before. */
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_truncate, 0));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	EXPECT_EQ(0, act_pin_with_own_ring(&self->me, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_take, F_UNLCK));
	EXPECT_EQ(0, act_take(&self->me, EXCLUSIVE));
}

TEST_F(pinfs, L6_a_conversion_that_uncovers_pins_is_EBUSY)
{
	ASSERT_EQ(0, act_join_and_pin(&self->me, EXCLUSIVE));
	EXPECT_EQ(-EBUSY, act_take(&self->me, F_LAYOUT));
	EXPECT_EQ(EXCLUSIVE, act_held(&self->me, 0));
	EXPECT_EQ(0, act_take(&self->me, UNBREAK));
	EXPECT_EQ(-EBUSY, act_take(&self->me, F_LAYOUT));
	EXPECT_EQ(UNBREAK, act_held(&self->me, 0));
	/* Another process that has the descriptor cannot make it its own. */
	EXPECT_EQ(-EBUSY, in_fork(act_take, &self->me, UNBREAK));
	EXPECT_EQ(0, act_take(&self->me, EXCLUSIVE));
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(0, act_take(&self->me, F_LAYOUT));
	EXPECT_EQ(F_LAYOUT, act_held(&self->me, 0));
}

/* Converts to and fro, for whoever looks at it meanwhile. */
static void *convert(void *actor)
{
	for (int i = 0; i < 400; i++)
		if (act_take(actor, i % 2 ? EXCLUSIVE : UNBREAK))
			return NULL;
	return actor;
}

TEST_F(pinfs, L6_a_conversion_is_atomic)
{
	long odd = 0;
	pthread_t thread;
	void *good;

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_join(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, convert, &self->me));
	while (pthread_tryjoin_np(thread, &good) == EBUSY) {
		long held = act_held(&self->me, 0);

		/* There is a strong lease at every moment: to see, to pin under, to fail from. */
		odd += held != EXCLUSIVE && held != UNBREAK;
		odd += act_pin(&self->me, 0) != 0;
		odd += act_unpin(&self->me, 0) != 0;
		odd += peer_call(&self->a, act_ftruncate, 0) != -ETXTBSY;
	}
	EXPECT_EQ(0, odd);
	EXPECT_EQ((void *)&self->me, good);
}

/* ---- breaking ---- */

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

	signals = 0;
	sigaction(sig, &sa, NULL);
}

TEST_F(pinfs, L11_SIGIO_and_the_wait_until_it_lets_go)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	catch_signal(SIGIO);
	ASSERT_EQ(0, act_join(&self->me, F_LAYOUT));
	peer_post(&self->a, act_truncate, PAGE);
	EXPECT_TRUE(EVENTUALLY(signals == 1, REPLY_MS));
	EXPECT_TRUE(EVENTUALLY(peer_waits_in(&self->a, SYS_truncate), REPLY_MS));
	/* L4: a break is pending. */
	EXPECT_EQ(F_UNLCK, act_held(&self->me, 0));
	/* It may be kept by nobody, in no form. */
	EXPECT_EQ(-EAGAIN, act_take(&self->me, EXCLUSIVE));
	EXPECT_EQ(-EAGAIN, act_take(&self->me, F_LAYOUT));
	EXPECT_EQ(FILE_SIZE, act_stat_size(&self->me, 0));
	EXPECT_EQ(0, act_take(&self->me, F_UNLCK));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
	EXPECT_EQ(PAGE, act_stat_size(&self->me, 0));
	EXPECT_EQ(1, signals);
	EXPECT_EQ(0, act_take(&self->me, F_LAYOUT));
}

TEST_F(pinfs, L11_F_SETSIG_names_the_descriptor)
{
	int sig = SIGRTMIN + 1;

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	catch_signal(sig);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, ERR(fcntl(self->me.fd, F_SETSIG, sig)));
	ASSERT_EQ(0, act_take(&self->me, F_LAYOUT));
	peer_post(&self->a, act_open_trunc, 0);
	EXPECT_TRUE(EVENTUALLY(signals == 1, REPLY_MS));
	EXPECT_EQ(self->me.fd, signal_fd);
	EXPECT_EQ(0, act_take(&self->me, F_UNLCK));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
}

TEST_F(pinfs, L11_F_SETSIG_takes_no_other_numbers)
{
	ASSERT_EQ(0, act_join(&self->me, F_LAYOUT));
	EXPECT_EQ(-EINVAL, ERR(fcntl(self->me.fd, F_SETSIG, -1)));
	EXPECT_EQ(-EINVAL, ERR(fcntl(self->me.fd, F_SETSIG, 65)));
	EXPECT_EQ(-EINVAL, ERR(fcntl(self->me.fd, F_SETSIG, INT32_MAX)));
	EXPECT_EQ(0, ERR(fcntl(self->me.fd, F_GETSIG)));
	EXPECT_EQ(F_LAYOUT, act_held(&self->me, 0));
}

/* Takes a lease with a signal that nothing can catch or block. */
static long act_join_with_SIGKILL(struct actor *a, long unused)
{
	long ret = act_open(a, O_RDWR);

	(void)unused;
	if (!ret)
		ret = ERR(fcntl(a->fd, F_SETSIG, SIGKILL));
	return ret ? ret : act_take(a, F_LAYOUT);
}

TEST_F(pinfs, L11_a_signal_that_can_not_be_caught_hits_the_holder_only)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_join_with_SIGKILL, 0));
	/* The holder asked for it; the lease goes with it. */
	EXPECT_EQ(0, ERR(truncate(self->path, 0)));
	EXPECT_EQ(-EPIPE, peer_answer(&self->a, REPLY_MS));
	/* Who waited for the lease goes on a moment before the file that had it is gone. */
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_TRUE(EVENTUALLY(act_take(&self->me, EXCLUSIVE) == 0, REPLY_MS));
}

TEST_F(pinfs, L11_a_break_that_nobody_answers_ends_by_time)
{
	long was = break_time(1), begin;

	if (was < 0)
		SKIP(return, "/proc/sys/fs/lease-break-time can not be changed");
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	catch_signal(SIGIO);
	ASSERT_EQ(0, act_join(&self->me, F_LAYOUT));
	ASSERT_EQ(0, peer_call(&self->b, act_join, F_LAYOUT));
	begin = now_ms();
	EXPECT_EQ(0, peer_call(&self->a, act_truncate, PAGE));
	/*
	 * The time is one second of jiffies, which an emulated processor that is
	 * short of time counts late: the clock may show less.
	 */
	EXPECT_LE(500, now_ms() - begin);
	EXPECT_EQ(1, signals);
	EXPECT_EQ(PAGE, act_stat_size(&self->me, 0));
	EXPECT_EQ(F_UNLCK, act_held(&self->me, 0));
	EXPECT_EQ(-EAGAIN, act_take(&self->me, F_UNLCK));
	EXPECT_EQ(0, peer_call(&self->a, act_join, EXCLUSIVE));
	break_time(was);
}

TEST_F(pinfs, L11_a_break_ends_with_the_holder)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_call(&self->b, act_join, F_LAYOUT));
	peer_post(&self->a, act_truncate, 0);
	/* SIGIO unhandled would end it too; what ends it does not matter. */
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
	EXPECT_LE(0, peer_kill(&self->b));
	self->b.pid = 0;
}

TEST_F(pinfs, L11_who_waits_for_a_break_can_be_killed)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	catch_signal(SIGIO);
	ASSERT_EQ(0, act_join(&self->me, F_LAYOUT));
	peer_post(&self->a, act_truncate, 0);
	EXPECT_TRUE(EVENTUALLY(signals == 1, REPLY_MS));
	EXPECT_TRUE(EVENTUALLY(peer_waits_in(&self->a, SYS_truncate), REPLY_MS));
	EXPECT_LE(0, peer_kill(&self->a));
	self->a.pid = 0;
	EXPECT_EQ(FILE_SIZE, act_stat_size(&self->me, 0));
	EXPECT_EQ(0, act_take(&self->me, F_UNLCK));
}

TEST_F(pinfs, L11_what_adds_or_rewrites_does_not_signal)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	catch_signal(SIGIO);
	ASSERT_EQ(0, act_join(&self->me, F_LAYOUT));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, peer_call(&self->a, act_map, FILE_SIZE));
	EXPECT_LE(0, peer_call(&self->a, act_append, PAGE));
	EXPECT_LE(0, peer_call(&self->a, act_write_page, 0));
	EXPECT_LE(0, peer_call(&self->a, act_store_page, 1));
	EXPECT_EQ(0, peer_call(&self->a, act_allocate, RANGE(FILE_PAGES + 4, 4)));
	EXPECT_EQ(0, peer_call(&self->a, act_ftruncate, 2 * FILE_SIZE));
	EXPECT_EQ(0, peer_call(&self->a, act_fsync, 0));
	EXPECT_EQ(0, signals);
	EXPECT_EQ(F_LAYOUT, act_held(&self->me, 0));
}

TEST_F(pinfs, L11_the_holder_does_not_break_its_own)
{
	catch_signal(SIGIO);
	ASSERT_EQ(0, act_join(&self->me, F_LAYOUT));
	EXPECT_EQ(0, act_punch(&self->me, RANGE(0, 2)));
	EXPECT_EQ(0, act_ftruncate(&self->me, PAGE));
	EXPECT_EQ(0, signals);
	EXPECT_EQ(F_LAYOUT, act_held(&self->me, 0));
}

TEST_F(pinfs, L12_strong_leases_are_never_signalled_or_timed_out)
{
	long was = break_time(1);

	if (was < 0)
		SKIP(return, "/proc/sys/fs/lease-break-time can not be changed");
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	catch_signal(SIGIO);
	for (size_t i = 1; i < ARRAY_SIZE(kinds); i++) {
		ASSERT_EQ(0, act_join(&self->me, kinds[i]));
		EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_truncate, 0));
		EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_open_trunc, 0));
		nap_ms(1200);
		EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_truncate, 0));
		EXPECT_EQ(0, signals);
		EXPECT_EQ(kinds[i], act_held(&self->me, 0));
		EXPECT_EQ(0, act_close(&self->me, 0));
	}
	break_time(was);
}

TEST_F(pinfs, L12_a_breakable_lease_beside_a_strong_one_is_left_alone)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_call(&self->b, act_join, UNBREAK));
	catch_signal(SIGIO);
	ASSERT_EQ(0, act_join(&self->me, F_LAYOUT));
	/* It fails anyway, so nobody has to let go for it. */
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_truncate, 0));
	EXPECT_EQ(0, signals);
	EXPECT_EQ(F_LAYOUT, act_held(&self->me, 0));
}

/* The state that /proc/locks shows of the one lease on a file. */
static void lock_state(const char *id, char *state)
{
	FILE *f = fopen("/proc/locks", "re");
	char line[256];

	*state = '\0';
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, id) && !strstr(line, "BREAKER"))
			sscanf(line, "%*s LEASE %31s", state);
	if (f)
		fclose(f);
}

TEST_F(pinfs, L17_proc_locks_shows_a_break)
{
	char id[64], state[32];

	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	catch_signal(SIGIO);
	ASSERT_EQ(0, act_join(&self->me, F_LAYOUT));
	lock_state(id, state);
	EXPECT_STREQ("ACTIVE", state);
	peer_post(&self->a, act_truncate, 0);
	EXPECT_TRUE(EVENTUALLY(signals == 1, REPLY_MS));
	lock_state(id, state);
	EXPECT_STREQ("BREAKING", state);
	EXPECT_EQ(0, act_take(&self->me, F_UNLCK));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
	lock_state(id, state);
	EXPECT_STREQ("", state);
}

TEST_HARNESS_MAIN
