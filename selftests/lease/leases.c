// SPDX-License-Identifier: GPL-2.0
/* Layout leases: rows L1 to L17 as far as fcntl(F_SETLEASE) reaches. */
#include "kselftest_harness.h"

#include "pinfs_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#define NOBODY	65534

/* Classic leases on a file of their own, where a table is compared with tmpfs. */
#define TMPFS_FILE	"/dev/shm/pinfs-leases.XXXXXX"

TEST_F(pinfs, L1_values)
{
	EXPECT_EQ(16, F_LAYOUT);
	EXPECT_EQ(32, F_EXCLUSIVE);
	EXPECT_EQ(64, F_UNBREAK);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_EQ(0, act_lease(&self->me, 16));
	EXPECT_EQ(16, act_getlease(&self->me, 0));
}

TEST_F(pinfs, L1_plain_layout_leases_are_shared)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDONLY));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_EQ(0, act_lease(&self->me, F_LAYOUT));
	EXPECT_EQ(0, peer_call(&self->a, act_lease, F_LAYOUT));
	EXPECT_EQ(F_LAYOUT, act_getlease(&self->me, 0));
	EXPECT_EQ(F_LAYOUT, peer_call(&self->a, act_getlease, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(F_LAYOUT, peer_call(&self->a, act_getlease, 0));
}

TEST_F(pinfs, L2_exclusive_has_one_holder)
{
	int other;

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	EXPECT_EQ(-EAGAIN, peer_call(&self->a, act_lease, EXCLUSIVE));
	EXPECT_EQ(-EAGAIN, peer_call(&self->a, act_lease, F_LAYOUT));
	EXPECT_EQ(F_UNLCK, peer_call(&self->a, act_getlease, 0));

	/* Another description of the same process is another holder too. */
	other = open(self->path, O_RDWR);
	ASSERT_LE(0, other);
	EXPECT_EQ(-EAGAIN, ERR(fcntl(other, F_SETLEASE, EXCLUSIVE)));
	EXPECT_EQ(-EAGAIN, ERR(fcntl(other, F_SETLEASE, F_LAYOUT)));
	close(other);

	EXPECT_EQ(EXCLUSIVE, act_getlease(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, peer_call(&self->a, act_lease, EXCLUSIVE));
	EXPECT_EQ(-EAGAIN, act_lease(&self->me, EXCLUSIVE));
}

TEST_F(pinfs, L2_exclusive_is_refused_while_another_holds_a_shared_one)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, peer_call(&self->a, act_lease, F_LAYOUT));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_EQ(-EAGAIN, act_lease(&self->me, EXCLUSIVE));
	EXPECT_EQ(F_UNLCK, act_getlease(&self->me, 0));
	EXPECT_EQ(F_LAYOUT, peer_call(&self->a, act_getlease, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_lease, F_UNLCK));
	EXPECT_EQ(0, act_lease(&self->me, EXCLUSIVE));
}

TEST_F(pinfs, L4_getlease_returns_the_bits_held)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_EQ(F_UNLCK, act_getlease(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_LAYOUT));
	EXPECT_EQ(F_LAYOUT, act_getlease(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(F_UNLCK, act_getlease(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	EXPECT_EQ(EXCLUSIVE, act_getlease(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(F_UNLCK, act_getlease(&self->me, 0));
}

TEST_F(pinfs, L5_unlock_with_pins_is_EBUSY)
{
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	EXPECT_EQ(-EBUSY, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(EXCLUSIVE, act_getlease(&self->me, 0));
	/* Unchanged: it still gives the right to pin. */
	ASSERT_EQ(0, act_ring(&self->me, 1));
	EXPECT_EQ(0, act_pin(&self->me, 1));
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(-EBUSY, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, act_unpin(&self->me, 1));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(F_UNLCK, act_getlease(&self->me, 0));
}

/* What F_SETLEASE must answer to arg when the description has no lease. */
static long lease_answer(int tmpfs_fd, int arg)
{
	long ret;

	if (arg == F_LAYOUT || arg == EXCLUSIVE)
		return 0;
	if (arg & (F_LAYOUT | F_EXCLUSIVE | F_UNBREAK))
		return -EINVAL;
	/* No bit of ours: what the kernel says of any other file. */
	ret = ERR(fcntl(tmpfs_fd, F_SETLEASE, arg));
	if (!ret)
		fcntl(tmpfs_fd, F_SETLEASE, F_UNLCK);
	return ret;
}

/* Wrong answers to one argument are enough: the others would say the same. */
static void check_lease_arg(struct __test_metadata *_metadata, struct actor *a, int tmpfs_fd,
			    int arg)
{
	long want = lease_answer(tmpfs_fd, arg);
	long seen;

	if (_metadata->exit_code)
		return;
	seen = act_lease(a, arg);
	EXPECT_EQ(want, seen) {
		TH_LOG("F_SETLEASE %#x with no lease held", arg);
	}
	EXPECT_EQ(want ? F_UNLCK : arg, act_getlease(a, 0)) {
		TH_LOG("F_GETLEASE after F_SETLEASE %#x", arg);
	}
	act_lease(a, F_UNLCK);

	/* Refused combinations leave a lease that is there as it is. */
	if (want != -EINVAL)
		return;
	EXPECT_EQ(0, act_lease(a, EXCLUSIVE));
	EXPECT_EQ(-EINVAL, act_lease(a, arg)) {
		TH_LOG("F_SETLEASE %#x with an exclusive lease held", arg);
	}
	EXPECT_EQ(EXCLUSIVE, act_getlease(a, 0)) {
		TH_LOG("F_GETLEASE after F_SETLEASE %#x with an exclusive lease held", arg);
	}
	EXPECT_EQ(0, act_lease(a, F_UNLCK));
}

TEST_F(pinfs, L7_every_combination_of_bits)
{
	char name[] = TMPFS_FILE;
	int tmpfs_fd = mkstemp(name);
	unsigned int high = 1;

	ASSERT_LE(0, tmpfs_fd);
	unlink(name);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	for (int arg = 0; arg < 128; arg++) {
		/* F_LAYOUT|F_UNBREAK alone is a valid lease, with its own tests. */
		if (arg == (F_LAYOUT | F_UNBREAK))
			continue;
		check_lease_arg(_metadata, &self->me, tmpfs_fd, arg);
	}
	/* And with each bit above, alone and with some others set. */
	for (int bit = 7; bit < 32; bit++) {
		high = high * 1103515245 + 12345;
		check_lease_arg(_metadata, &self->me, tmpfs_fd, EXCLUSIVE | 1U << bit);
		check_lease_arg(_metadata, &self->me, tmpfs_fd, F_LAYOUT | 1U << bit);
		check_lease_arg(_metadata, &self->me, tmpfs_fd, (high & ~127U) | 1U << bit | bit);
	}
	close(tmpfs_fd);
}

TEST_F(pinfs, L7_unbreakable_and_exclusive_exclude_each_other)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_EQ(-EINVAL, act_lease(&self->me, F_LAYOUT | F_EXCLUSIVE | F_UNBREAK));
	EXPECT_EQ(-EINVAL, act_lease(&self->me, F_UNBREAK));
	EXPECT_EQ(-EINVAL, act_lease(&self->me, F_EXCLUSIVE));
	EXPECT_EQ(F_UNLCK, act_getlease(&self->me, 0));
}

/* What F_SETLEASE says of a path that is not a regular pinfs file. */
static long lease_on(const char *path, int flags, int arg)
{
	int fd = open(path, flags | O_CLOEXEC);
	long ret;

	if (fd < 0)
		return -errno * 1000L;
	ret = ERR(fcntl(fd, F_SETLEASE, arg));
	close(fd);
	return ret;
}

TEST_F(pinfs, L8_directory)
{
	EXPECT_EQ(-EINVAL, lease_on(self->dir, O_RDONLY | O_DIRECTORY, EXCLUSIVE));
	EXPECT_EQ(-EINVAL, lease_on(self->dir, O_RDONLY | O_DIRECTORY, F_LAYOUT));
}

TEST_F(pinfs, L8_fifo)
{
	char fifo[] = "/dev/shm/pinfs-fifo.XXXXXX";

	/* A name of its own, then a FIFO in its place. */
	close(mkstemp(fifo));
	unlink(fifo);
	ASSERT_EQ(0, ERR(mkfifo(fifo, 0600)));
	EXPECT_EQ(-EINVAL, lease_on(fifo, O_RDWR, EXCLUSIVE));
	EXPECT_EQ(-EINVAL, lease_on(fifo, O_RDWR, F_LAYOUT));
	unlink(fifo);
}

TEST_F(pinfs, L8_special_files_on_pinfs)
{
	char fifo[PATH_MAX], dev[PATH_MAX];

	snprintf(fifo, sizeof(fifo), "%.4000s/fifo", self->dir);
	snprintf(dev, sizeof(dev), "%.4000s/null", self->dir);
	if (mkfifo(fifo, 0600) && (errno == EPERM || errno == EOPNOTSUPP))
		SKIP(return, "this form of pinfs makes no special files");
	EXPECT_EQ(-EINVAL, lease_on(fifo, O_RDWR, EXCLUSIVE));
	EXPECT_EQ(0, ERR(mknod(dev, S_IFCHR | 0600, makedev(1, 3))));
	EXPECT_EQ(-EINVAL, lease_on(dev, O_RDWR, EXCLUSIVE));
}

TEST_F(pinfs, L8_device_node)
{
	EXPECT_EQ(-EINVAL, lease_on("/dev/null", O_RDWR, EXCLUSIVE));
	EXPECT_EQ(-EINVAL, lease_on("/dev/null", O_RDWR, F_LAYOUT));
}

TEST_F(pinfs, L8_file_of_another_file_system)
{
	char shm[] = TMPFS_FILE;
	char disk[] = "/var/tmp/pinfs-leases.XXXXXX";

	close(mkstemp(shm));
	EXPECT_EQ(-EINVAL, lease_on(shm, O_RDWR, EXCLUSIVE));
	EXPECT_EQ(-EINVAL, lease_on(shm, O_RDWR, F_LAYOUT));
	unlink(shm);
	close(mkstemp(disk));
	EXPECT_EQ(-EINVAL, lease_on(disk, O_RDWR, EXCLUSIVE));
	EXPECT_EQ(-EINVAL, lease_on(disk, O_RDWR, F_LAYOUT));
	unlink(disk);
}

TEST_F(pinfs, L8_classic_leases_keep_their_meaning)
{
	/* As fcntl(2): a write lease for the only opener, a read lease where nobody writes. */
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_EQ(-EAGAIN, act_lease(&self->me, F_RDLCK));
	EXPECT_EQ(0, act_lease(&self->me, F_WRLCK));
	EXPECT_EQ(F_WRLCK, act_getlease(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(F_UNLCK, act_getlease(&self->me, 0));
	EXPECT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, act_open(&self->me, O_RDONLY));
	EXPECT_EQ(0, act_lease(&self->me, F_RDLCK));
	EXPECT_EQ(F_RDLCK, act_getlease(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}

static volatile sig_atomic_t sigio_seen;

static void on_sigio(int sig)
{
	(void)sig;
	sigio_seen = 1;
}

TEST_F(pinfs, L8_classic_lease_is_broken_by_an_open)
{
	struct sigaction sa = { .sa_handler = on_sigio };

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	sigaction(SIGIO, &sa, NULL);
	ASSERT_EQ(0, act_open(&self->me, O_RDONLY));
	ASSERT_EQ(0, act_lease(&self->me, F_RDLCK));
	peer_post(&self->a, act_open, O_RDWR);
	EXPECT_TRUE(EVENTUALLY(sigio_seen, REPLY_MS));
	EXPECT_EQ(F_UNLCK, act_getlease(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
}

TEST_F(pinfs, L9_needs_ownership_or_CAP_LEASE)
{
	ASSERT_EQ(0, ERR(chmod(self->path, 0666)));
	ASSERT_EQ(0, ERR(chmod(self->dir, 0777)));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));

	ASSERT_EQ(0, peer_call(&self->a, act_become, NOBODY));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	EXPECT_EQ(-EACCES, peer_call(&self->a, act_lease, EXCLUSIVE));
	EXPECT_EQ(-EACCES, peer_call(&self->a, act_lease, F_LAYOUT));
	EXPECT_EQ(F_UNLCK, peer_call(&self->a, act_getlease, 0));

	/* The owner needs no capability. */
	ASSERT_EQ(0, ERR(chown(self->path, NOBODY, NOBODY)));
	ASSERT_EQ(0, peer_call(&self->b, act_become, NOBODY));
	ASSERT_EQ(0, peer_call(&self->b, act_open, O_RDWR));
	EXPECT_EQ(0, peer_call(&self->b, act_lease, EXCLUSIVE));
	EXPECT_EQ(EXCLUSIVE, peer_call(&self->b, act_getlease, 0));
}

TEST_F(pinfs, L9_strong_lease_needs_a_descriptor_open_for_writing)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDONLY));
	EXPECT_EQ(-EACCES, act_lease(&self->me, EXCLUSIVE));
	EXPECT_EQ(F_UNLCK, act_getlease(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_LAYOUT));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, act_open(&self->me, O_WRONLY));
	EXPECT_EQ(0, act_lease(&self->me, EXCLUSIVE));
}

TEST_F(pinfs, L10_dup_can_query_and_release)
{
	int copy;

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	copy = dup(self->me.fd);
	ASSERT_LE(0, copy);
	EXPECT_EQ(EXCLUSIVE, ERR(fcntl(copy, F_GETLEASE)));
	/* The description lives on in the copy, and the lease with it. */
	EXPECT_EQ(0, act_close(&self->me, 0));
	EXPECT_EQ(EXCLUSIVE, ERR(fcntl(copy, F_GETLEASE)));
	EXPECT_EQ(0, ERR(fcntl(copy, F_SETLEASE, F_UNLCK)));
	EXPECT_EQ(F_UNLCK, ERR(fcntl(copy, F_GETLEASE)));
	close(copy);
}

TEST_F(pinfs, L10_fork_child_can_query_and_release_but_not_pin)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	EXPECT_EQ(EXCLUSIVE, in_fork(act_getlease, &self->me, 0));
	EXPECT_EQ(-EOPNOTSUPP, in_fork(act_pin_with_own_ring, &self->me, 1));
	EXPECT_EQ(EXCLUSIVE, act_getlease(&self->me, 0));
	EXPECT_EQ(0, in_fork(act_lease, &self->me, F_UNLCK));
	EXPECT_EQ(F_UNLCK, act_getlease(&self->me, 0));
}

TEST_F(pinfs, L10_scm_rights_copy_can_query_and_release_but_not_pin)
{
	ASSERT_EQ(0, make_passing());
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, send_fd(passing[0], self->me.fd));
	ASSERT_EQ(0, peer_call(&self->a, act_take_fd, true));
	EXPECT_EQ(EXCLUSIVE, peer_call(&self->a, act_getlease, 0));
	ASSERT_EQ(0, peer_call(&self->a, act_map, FILE_SIZE));
	ASSERT_EQ(0, peer_call(&self->a, act_ring, 0));
	EXPECT_EQ(-EOPNOTSUPP, peer_call(&self->a, act_pin, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_lease, F_UNLCK));
	EXPECT_EQ(F_UNLCK, act_getlease(&self->me, 0));
}

static void *pin_in_thread(void *actor)
{
	return (void *)act_pin_with_own_ring(actor, 1);
}

TEST_F(pinfs, L10_every_thread_of_the_holder_may_pin)
{
	pthread_t thread;
	void *seen;

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, pthread_create(&thread, NULL, pin_in_thread, &self->me));
	ASSERT_EQ(0, pthread_join(thread, &seen));
	EXPECT_EQ(0, (long)seen);
	EXPECT_EQ(-EBUSY, act_lease(&self->me, F_UNLCK));
}

TEST_F(pinfs, L13_last_close_without_pins_drops_the_lease)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	EXPECT_EQ(0, act_close(&self->me, 0));
	/* The mapping holds the description. */
	EXPECT_EQ(-EAGAIN, peer_call(&self->a, act_lease, EXCLUSIVE));
	EXPECT_EQ(0, act_unmap(&self->me, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_lease, EXCLUSIVE));
}

/* Runs a call that must not wait for pins; how long it took, or its error. */
static long timed(act_fn fn, struct actor *a, long arg)
{
	long begin = now_ms(), ret = fn(a, arg);

	return ret < 0 ? ret : now_ms() - begin;
}

TEST_F(pinfs, L14_L15_close_and_munmap_with_pins_orphan_the_lease)
{
	struct pin_line line;
	char id[64], bad[512] = "";
	long took;

	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	ASSERT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad))) {
		TH_LOG("line: '%s'", bad);
	}
	EXPECT_STREQ("active", line.state);

	took = timed(act_close, &self->me, 0);
	EXPECT_GE(scaled_ms(PROMPT_MS), took);
	EXPECT_LE(0, took);
	took = timed(act_unmap, &self->me, 0);
	EXPECT_GE(scaled_ms(PROMPT_MS), took);
	EXPECT_LE(0, took);

	/* Still in force, and visible. */
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_ftruncate, 0));
	EXPECT_EQ(-EAGAIN, peer_call(&self->a, act_lease, EXCLUSIVE));
	EXPECT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad)));
	EXPECT_STREQ("orphaned", line.state);

	/* It grants nothing new, to its old holder neither. */
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	EXPECT_EQ(-EOPNOTSUPP, act_pin_with_own_ring(&self->me, 1));
	EXPECT_EQ(-EAGAIN, act_lease(&self->me, EXCLUSIVE));

	/* And goes with the last pin. */
	EXPECT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_EQ(0, pins_of(id, &line, 1, bad, sizeof(bad)));
	EXPECT_EQ(0, peer_call(&self->a, act_lease, EXCLUSIVE));
	EXPECT_EQ(0, peer_call(&self->a, act_ftruncate, 0));
}

TEST_F(pinfs, L14_munmap_before_close_orphans_too)
{
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	EXPECT_GE(scaled_ms(PROMPT_MS), timed(act_unmap, &self->me, 0));
	EXPECT_GE(scaled_ms(PROMPT_MS), timed(act_close, &self->me, 0));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_ftruncate, 0));
	EXPECT_EQ(-EAGAIN, peer_call(&self->a, act_lease, EXCLUSIVE));
	EXPECT_EQ(0, act_ring_close(&self->me, 0));
	EXPECT_TRUE(EVENTUALLY(peer_call(&self->a, act_ftruncate, 0) == 0, 1000));
	EXPECT_EQ(0, peer_call(&self->a, act_lease, EXCLUSIVE));
}

/* A holder whose data descriptor is below or above its ring's. */
static long hold_fd_first(struct actor *a, long unused)
{
	long ret = act_hold(a, EXCLUSIVE);

	(void)unused;
	if (!ret && a->fd > a->ring[0].ring_fd)
		ret = -EPROTO;
	return ret;
}

/* The holder dies; everything it held goes with it, soon. */
static void kill_holder(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
			act_fn hold, bool unlinked)
{
	long before, took;

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	before = blocks_free_at_rest(self->dir);
	ASSERT_LT(0, before);
	ASSERT_EQ(0, peer_call(&self->a, hold, 0));
	if (unlinked) {
		ASSERT_EQ(0, peer_call(&self->b, act_unlink, 0));
	} else {
		ASSERT_EQ(-ETXTBSY, peer_call(&self->b, act_truncate, 0));
	}
	took = peer_kill(&self->a);
	EXPECT_LE(0, took) {
		TH_LOG("the killed holder does not end");
	}
	if (unlinked) {
		EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= before + FILE_PAGES, 1000)) {
			TH_LOG("%ld blocks were free with the file, %ld are now", before,
			       blocks_free(self->dir));
		}
	} else {
		EXPECT_TRUE(EVENTUALLY(peer_call(&self->b, act_truncate, 0) == 0, 1000));
		EXPECT_EQ(0, peer_call(&self->b, act_open, O_RDWR));
		EXPECT_EQ(0, peer_call(&self->b, act_lease, EXCLUSIVE));
	}
}

TEST_F(pinfs, L16_kill_with_the_data_descriptor_first)
{
	kill_holder(_metadata, self, hold_fd_first, false);
}

TEST_F(pinfs, L16_kill_with_the_ring_first)
{
	kill_holder(_metadata, self, act_hold_ring_first, false);
}

TEST_F(pinfs, L16_kill_with_the_data_descriptor_first_unlinked)
{
	kill_holder(_metadata, self, hold_fd_first, true);
}

TEST_F(pinfs, L16_kill_with_the_ring_first_unlinked)
{
	kill_holder(_metadata, self, act_hold_ring_first, true);
}

/* Cuts a line at blanks; how many fields it has. */
static int split(char *line, char *fields[], int max)
{
	char *save = NULL;
	int n = 0;

	for (char *word = strtok_r(line, " \t\n", &save); word; word = strtok_r(NULL, " \t\n", &save))
		if (n++ < max)
			fields[n - 1] = word;
	return n;
}

/* N: LEASE ACTIVE WRITE PID MAJ:MIN:INO 0 EOF */
static void check_lock_line(struct __test_metadata *_metadata, const char *line, const char *id)
{
	char copy[512], pid[32];
	char *f[8];

	snprintf(copy, sizeof(copy), "%s", line);
	snprintf(pid, sizeof(pid), "%d", getpid());
	ASSERT_EQ(8, split(copy, f, 8)) {
		TH_LOG("line: '%s'", line);
	}
	EXPECT_NE(0, atoi(f[0]));
	EXPECT_EQ(':', f[0][strlen(f[0]) - 1]);
	EXPECT_STREQ("LEASE", f[1]);
	EXPECT_STREQ("ACTIVE", f[2]);
	EXPECT_TRUE(!strcmp(f[3], "READ") || !strcmp(f[3], "WRITE")) {
		TH_LOG("access field: '%s'", f[3]);
	}
	EXPECT_STREQ(pid, f[4]);
	EXPECT_STREQ(id, f[5]);
	EXPECT_STREQ("0", f[6]);
	EXPECT_STREQ("EOF", f[7]);
}

/* The one line of a file that has this text in it, after skip; how many have. */
static int lines_with(const char *path, const char *skip, const char *text, char *out, size_t size)
{
	FILE *f = fopen(path, "re");
	char line[512];
	int n = 0;

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, skip, strlen(skip)) || !strstr(line, text))
			continue;
		n++;
		line[strcspn(line, "\n")] = '\0';
		snprintf(out, size, "%s", line + strlen(skip));
	}
	if (f)
		fclose(f);
	return n;
}

static void check_shown(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, int lease)
{
	char id[64], line[512] = "", fdinfo[64];

	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, lease));
	snprintf(fdinfo, sizeof(fdinfo), "/proc/self/fdinfo/%d", self->me.fd);
	ASSERT_EQ(1, lines_with("/proc/locks", "", id, line, sizeof(line)));
	check_lock_line(_metadata, line, id);
	ASSERT_EQ(1, lines_with(fdinfo, "lock:\t", id, line, sizeof(line)));
	check_lock_line(_metadata, line, id);
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, lines_with("/proc/locks", "", id, line, sizeof(line)));
	EXPECT_EQ(0, lines_with(fdinfo, "lock:\t", id, line, sizeof(line)));
}

TEST_F(pinfs, L17_proc_locks_and_fdinfo_exclusive)
{
	check_shown(_metadata, self, EXCLUSIVE);
}

TEST_F(pinfs, L17_proc_locks_and_fdinfo_breakable)
{
	check_shown(_metadata, self, F_LAYOUT);
}

TEST_F(pinfs, L17_lslocks_parses_it)
{
	char command[128], line[PATH_MAX] = "", text[64];
	char *f[4];
	struct stat st;
	FILE *out;

	if (system("command -v lslocks >/dev/null 2>&1"))
		SKIP(return, "lslocks (util-linux) is not installed");
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, fstat(self->me.fd, &st));
	snprintf(command, sizeof(command), "lslocks -n -r -u -p %d -o TYPE,PID,INODE,PATH",
		 getpid());
	out = popen(command, "re");
	ASSERT_NE(NULL, out);
	ASSERT_NE(NULL, fgets(line, sizeof(line), out));
	EXPECT_EQ(0, pclose(out));
	ASSERT_EQ(4, split(line, f, 4));
	EXPECT_STREQ("LEASE", f[0]);
	snprintf(text, sizeof(text), "%d", getpid());
	EXPECT_STREQ(text, f[1]);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)st.st_ino);
	EXPECT_STREQ(text, f[2]);
	EXPECT_STREQ(self->path, f[3]);
}

TEST_HARNESS_MAIN
