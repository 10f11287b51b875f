// SPDX-License-Identifier: GPL-2.0
/*
 * Who may have an effect on whom: callers without a right to a lease, breaks
 * that nobody waits for any more, rights that end while an operation waits, and
 * what takes write access away from a file that is pinned.  Rows L9, L20, L21,
 * B5, B14 and B15.
 */
#include "kselftest_harness.h"

#include "pinfs_test.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define NOBODY		65534

/* So often somebody asks for a lease, or takes blocks away, while others try. */
#define ROUNDS		100

#define LEASES_ENABLE	"/proc/sys/fs/leases-enable"

/* Set when those who try without end shall end; and behind it, when one of them has got what it wants. */
static volatile int *stop;

static long make_stop(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return -errno;
	stop = page;
	return 0;
}

/* Asks for a lease again and again, and says what it was told each time if that was the same. */
static long act_lease_storm(struct actor *a, long arg)
{
	long first = act_lease(a, arg), ret;

	while (!*stop) {
		ret = act_lease(a, arg);
		if (ret != first)
			return 1;
	}
	return first;
}

/* What a file has of FS_*_FL; negative errno on failure. */
static long get_flags(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), flags = 0;
	long ret = ERR(fd < 0 ? -1 : ioctl(fd, FS_IOC_GETFLAGS, &flags));

	if (fd >= 0)
		close(fd);
	return ret ? ret : flags & (FS_IMMUTABLE_FL | FS_APPEND_FL);
}

static long set_flags(const char *path, int flags)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long ret = ERR(fd < 0 ? -1 : ioctl(fd, FS_IOC_SETFLAGS, &flags));

	if (fd >= 0)
		close(fd);
	return ret;
}

static long control(unsigned long cmd)
{
	int fd = open(test_mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long ret = ERR(fd < 0 ? -1 : ioctl(fd, cmd, 0));

	if (fd >= 0)
		close(fd);
	return ret;
}

/* ---- L20: who has no right to a lease has no effect ---- */

/* Leases and operations of others, while a storm of requests is refused. */
static void others_do_not_notice(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self)
{
	int leases = 0, punches = 0, truncates = 0;

	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_call(&self->b, act_open, O_RDWR));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	for (int i = 0; i < ROUNDS; i++) {
		leases += !act_lease(&self->me, EXCLUSIVE);
		leases += !act_lease(&self->me, F_UNLCK);
		punches += !peer_call(&self->b, act_punch, RANGE(3, 1));
		truncates += !peer_call(&self->b, act_ftruncate, (FILE_PAGES - 1) * PAGE);
		truncates += !peer_call(&self->b, act_ftruncate, FILE_PAGES * PAGE);
	}
	EXPECT_EQ(2 * ROUNDS, leases);
	EXPECT_EQ(ROUNDS, punches);
	EXPECT_EQ(2 * ROUNDS, truncates);
}

/* D1: it may read the file and nothing else. */
TEST_F(pinfs, L20_D1_a_reader_without_the_right)
{
	ASSERT_EQ(0, make_stop());
	ASSERT_EQ(0, ERR(chmod(self->dir, 0755)));
	ASSERT_EQ(0, ERR(chmod(self->path, 0644)));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_become, NOBODY));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDONLY));
	peer_post(&self->a, act_lease_storm, F_LAYOUT);
	others_do_not_notice(_metadata, self);
	*stop = 1;
	EXPECT_EQ(-EACCES, peer_answer(&self->a, REPLY_MS));
}

/* D1: it may even write, and asks for what would keep all others away. */
TEST_F(pinfs, L20_D1_a_writer_without_the_right)
{
	ASSERT_EQ(0, make_stop());
	ASSERT_EQ(0, ERR(chmod(self->dir, 0755)));
	ASSERT_EQ(0, ERR(chmod(self->path, 0666)));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_become, NOBODY));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	peer_post(&self->a, act_lease_storm, EXCLUSIVE);
	others_do_not_notice(_metadata, self);
	*stop = 1;
	EXPECT_EQ(-EACCES, peer_answer(&self->a, REPLY_MS));
}

/* D1: it has the right, and what it asks for is refused for a reason that comes last. */
TEST_F(pinfs, L20_D1_a_request_that_the_kernel_refuses)
{
	int truncates = 0, punches = 0;
	char was[16];

	ASSERT_EQ(0, make_stop());
	ASSERT_LT(0, read_text(LEASES_ENABLE, was, sizeof(was)));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, write_text(LEASES_ENABLE, "0"));
	peer_post(&self->a, act_lease_storm, EXCLUSIVE);
	for (int i = 0; i < ROUNDS; i++) {
		punches += !act_punch(&self->me, RANGE(3, 1));
		truncates += !act_ftruncate(&self->me, (FILE_PAGES - 1) * PAGE);
		truncates += !act_ftruncate(&self->me, FILE_PAGES * PAGE);
	}
	*stop = 1;
	EXPECT_EQ(-EINVAL, peer_answer(&self->a, REPLY_MS));
	EXPECT_EQ(0, write_text(LEASES_ENABLE, was));
	EXPECT_EQ(ROUNDS, punches);
	EXPECT_EQ(2 * ROUNDS, truncates);
	/* The lease that was refused is not there. */
	EXPECT_EQ(F_UNLCK, peer_call(&self->a, act_getlease, 0));
	EXPECT_EQ(0, act_lease(&self->me, EXCLUSIVE));
}

static long act_give_back_page(struct actor *a, long page)
{
	struct pinfs_lease arg = {
		.size = sizeof(arg), .op = PINFS_LEASE_RELEASE, .start = page * PAGE, .len = PAGE,
	};

	return ERR(ioctl(a->fd, PINFS_IOC_LEASE, &arg));
}

/* D4: a copy of the descriptor is no right to the lease, nor to a part of it. */
TEST_F(pinfs, L9_L20_a_part_of_a_lease_is_not_for_anybody_to_give_back)
{
	ASSERT_EQ(0, make_passing());
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, send_fd(passing[0], self->me.fd));
	ASSERT_EQ(0, peer_call(&self->a, act_take_fd, 1));
	ASSERT_EQ(0, peer_call(&self->a, act_become, NOBODY));
	EXPECT_EQ(-EACCES, peer_call(&self->a, act_give_back_page, 3));
	EXPECT_EQ(-EACCES, peer_call(&self->a, act_lease, F_UNLCK));
	EXPECT_EQ(-EACCES, peer_call(&self->a, act_lease, F_RDLCK));
	EXPECT_EQ(EXCLUSIVE, peer_call(&self->a, act_getlease, 0));
	EXPECT_EQ(0, act_give_back_page(&self->me, 3));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}

/* ---- L21: a break ends when its time is up ---- */

/* A lease that somebody has broken who is dead by now, for whom time is up a second later. */
static void break_and_die(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self)
{
	/* The holder is told, and does nothing. */
	signal(SIGIO, SIG_IGN);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, F_LAYOUT));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	peer_post(&self->a, act_truncate, 0);
	ASSERT_TRUE(EVENTUALLY(peer_waits_in(&self->a, SYS_truncate), REPLY_MS));
	ASSERT_LE(0, peer_kill(&self->a));
	EXPECT_EQ(F_UNLCK, act_getlease(&self->me, 0));
}

/* D2 */
TEST_F(pinfs, L21_D2_another_gets_the_lease)
{
	long was = break_time(1);

	ASSERT_LE(0, was);
	break_and_die(_metadata, self);
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_call(&self->b, act_open, O_RDWR));
	nap_ms(2100);
	EXPECT_EQ(0, peer_call(&self->b, act_lease, EXCLUSIVE));
	EXPECT_EQ(EXCLUSIVE, peer_call(&self->b, act_getlease, 0));
	EXPECT_EQ(F_UNLCK, act_getlease(&self->me, 0));
	break_time(was);
}

/* D2 */
TEST_F(pinfs, L21_D2_the_holder_gets_another_lease)
{
	long was = break_time(1);

	ASSERT_LE(0, was);
	break_and_die(_metadata, self);
	nap_ms(2100);
	EXPECT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	EXPECT_EQ(EXCLUSIVE, act_getlease(&self->me, 0));
	break_time(was);
}

/* D2: and whoever comes first breaks it no more, nor waits. */
TEST_F(pinfs, L21_D2_an_operation_goes_on)
{
	long was = break_time(1), begin;

	ASSERT_LE(0, was);
	break_and_die(_metadata, self);
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	nap_ms(2100);
	break_time(45);
	begin = now_ms();
	EXPECT_EQ(0, peer_call(&self->b, act_truncate, 0));
	EXPECT_GE(scaled_ms(PROMPT_MS), now_ms() - begin);
	break_time(was);
}

/* Takes the lease again and again, and gives it back when told that somebody wants it, or never. */
static volatile sig_atomic_t told;

static void on_told(int signo)
{
	(void)signo;
	told = 1;
}

static long act_lease_again(struct actor *a, long gives_back)
{
	signal(SIGIO, gives_back ? on_told : SIG_IGN);
	while (!*stop) {
		stop[1] |= !act_lease(a, F_LAYOUT);
		if (told) {
			told = 0;
			act_lease(a, F_UNLCK);
		}
	}
	return act_lease(a, F_LAYOUT);
}

/* While an operation waits for leases to go, nobody gets a new one that it would wait for as well. */
static void is_not_starved(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
			   long gives_back)
{
	long was = break_time(1), answer;

	ASSERT_LE(0, was);
	ASSERT_EQ(0, make_stop());
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	peer_post(&self->a, act_lease_again, gives_back);
	ASSERT_TRUE(EVENTUALLY(stop[1], REPLY_MS));
	for (int i = 0; i < 3; i++) {
		peer_post(&self->b, act_truncate, FILE_SIZE - (i + 1) * PAGE);
		answer = peer_answer(&self->b, 6000);
		EXPECT_EQ(0, answer) {
			TH_LOG("truncate %d: %ld", i, answer);
		}
		if (answer)
			break;
	}
	*stop = 1;
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
	break_time(was);
}

TEST_F(pinfs, L11_L21_leases_that_come_again_starve_nobody)
{
	is_not_starved(_metadata, self, 1);
}

TEST_F(pinfs, L11_L21_nor_do_those_that_are_never_given_back)
{
	is_not_starved(_metadata, self, 0);
}

/* ---- B14: what was checked before a wait is checked again after it ---- */

static long act_zero(struct actor *a, long unused)
{
	(void)unused;
	return ERR(fallocate(a->fd, FALLOC_FL_ZERO_RANGE, 0, FILE_SIZE));
}

static const struct operation {
	const char *name;
	act_fn fn;
	long arg, waits_in;
	/* It has the file open for writing, so permissions do not matter any more. */
	bool has_file;
} operations[] = {
	{ "truncate", act_truncate, 0, SYS_truncate, false },
	{ "open(O_TRUNC)", act_open_trunc, 0, SYS_openat, false },
	{ "ftruncate", act_ftruncate, 0, SYS_ftruncate, true },
	{ "punch", act_punch, RANGE(0, FILE_PAGES), SYS_fallocate, true },
	{ "zero range", act_zero, 0, SYS_fallocate, true },
	{ "collapse", act_collapse, RANGE(0, 8), SYS_fallocate, true },
	{ "insert", act_insert, RANGE(0, 8), SYS_fallocate, true },
};

static const struct meanwhile {
	const char *name;
	int flags;
	/* The owner takes the file back, unless it is root's flags that change. */
	bool takes_file;
} meanwhiles[] = {
	{ "chattr +i", FS_IMMUTABLE_FL, false },
	{ "chattr +a", FS_APPEND_FL, false },
	{ "chown and chmod", 0, true },
};

static bool file_is_unchanged(const char *path)
{
	char want[FILE_SIZE], have[FILE_SIZE + PAGE];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long got = -1;

	fill(want, sizeof(want), FILE_SEED);
	if (fd >= 0) {
		got = read(fd, have, sizeof(have));
		close(fd);
	}
	return got == FILE_SIZE && !memcmp(want, have, FILE_SIZE);
}

/* D3 */
static void recheck(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
		    const struct operation *op, const struct meanwhile *m)
{
	bool denied = !m->takes_file || !op->has_file;
	long ret;

	TH_LOG("%s while %s", m->name, op->name);
	ASSERT_EQ(0, make_file(self->path, FILE_PAGES, FILE_SEED));
	ASSERT_EQ(0, ERR(chown(self->path, NOBODY, NOBODY)));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_become, NOBODY));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(PAGE, act_vmsplice(&self->me, 5));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	ASSERT_EQ(0, act_close(&self->me, 0));

	peer_post(&self->a, op->fn, op->arg);
	EXPECT_TRUE(EVENTUALLY(peer_waits_in(&self->a, op->waits_in), REPLY_MS));
	if (m->takes_file) {
		EXPECT_EQ(0, ERR(chown(self->path, 0, 0)));
		EXPECT_EQ(0, ERR(chmod(self->path, 0644)));
	} else {
		EXPECT_EQ(0, set_flags(self->path, m->flags));
	}
	EXPECT_EQ(PAGE, act_drain(&self->me, 0));
	ret = peer_answer(&self->a, REPLY_MS);
	if (denied) {
		EXPECT_EQ(m->takes_file ? -EACCES : -EPERM, ret);
		EXPECT_TRUE(file_is_unchanged(self->path));
	} else {
		EXPECT_EQ(0, ret);
		EXPECT_FALSE(file_is_unchanged(self->path));
	}
	EXPECT_EQ(0, set_flags(self->path, 0));
	EXPECT_EQ(0, peer_end(&self->a));
	act_fini(&self->me);
	act_init(&self->me, self->path);
	ASSERT_EQ(0, ERR(unlink(self->path)));
}

TEST_F_TIMEOUT(pinfs, B14_D3_what_has_come_to_forbid_an_operation_that_waits, 120)
{
	ASSERT_EQ(0, ERR(chmod(self->dir, 0755)));
	ASSERT_EQ(0, ERR(unlink(self->path)));
	for (size_t m = 0; m < ARRAY_SIZE(meanwhiles); m++)
		for (size_t op = 0; op < ARRAY_SIZE(operations); op++)
			recheck(_metadata, self, &operations[op], &meanwhiles[m]);
	ASSERT_EQ(0, make_file(self->path, 1, 1));
}

static mode_t mode(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : st.st_mode & 07777;
}

/* D3: set-user-ID goes with a truncate by another; what the mode has become meanwhile stays. */
static mode_t mode_after_truncate(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
				  mode_t before, mode_t meanwhile)
{
	EXPECT_EQ(0, ERR(chmod(self->dir, 0755)));
	EXPECT_EQ(0, ERR(chmod(self->path, 0666)));
	EXPECT_EQ(0, peer_start(&self->a, self->path));
	EXPECT_EQ(0, peer_call(&self->a, act_become, NOBODY));
	EXPECT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	EXPECT_EQ(0, ERR(chmod(self->path, before)));
	EXPECT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_EQ(0, act_map(&self->me, FILE_SIZE));
	EXPECT_EQ(PAGE, act_vmsplice(&self->me, 5));
	EXPECT_EQ(0, act_unmap(&self->me, 0));
	peer_post(&self->a, act_ftruncate, 0);
	EXPECT_TRUE(EVENTUALLY(peer_waits_in(&self->a, SYS_ftruncate), REPLY_MS));
	EXPECT_EQ(0, ERR(chmod(self->path, meanwhile)));
	EXPECT_EQ(PAGE, act_drain(&self->me, 0));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
	EXPECT_EQ(0, peer_end(&self->a));
	return mode(self->path);
}

TEST_F(pinfs, B14_D3_a_mode_that_changes_meanwhile_stays)
{
	EXPECT_EQ(0600, mode_after_truncate(_metadata, self, 04777, 0600));
}

TEST_F(pinfs, B14_D3_set_user_ID_that_comes_meanwhile_goes)
{
	EXPECT_EQ(0777, mode_after_truncate(_metadata, self, 0777, 04777));
}

/* A remount that would take the right away waits for nobody: it is refused. */
TEST_F(pinfs, B14_D3_a_read_only_remount_beside_a_truncate_that_waits)
{
	NEED_MOUNT();
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(PAGE, act_vmsplice(&self->me, 5));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	ASSERT_EQ(0, act_close(&self->me, 0));
	peer_post(&self->a, act_truncate, 0);
	EXPECT_TRUE(EVENTUALLY(peer_waits_in(&self->a, SYS_truncate), REPLY_MS));
	EXPECT_EQ(-EBUSY, ERR(mount(NULL, test_mnt, NULL, MS_REMOUNT | MS_RDONLY, NULL)));
	EXPECT_EQ(PAGE, act_drain(&self->me, 0));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
}

static long act_limit(struct actor *a, long size)
{
	struct rlimit limit = { size, size };

	(void)a;
	signal(SIGXFSZ, SIG_IGN);
	return ERR(setrlimit(RLIMIT_FSIZE, &limit));
}

static long act_zero_behind(struct actor *a, long unused)
{
	(void)unused;
	return ERR(fallocate(a->fd, FALLOC_FL_ZERO_RANGE, 0, 2 * FILE_SIZE));
}

/* Who may not do it anyway does not have a lease broken. */
TEST_F(pinfs, B14_L11_an_operation_that_must_fail_breaks_no_lease)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, F_LAYOUT));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, peer_call(&self->a, act_limit, FILE_SIZE));
	EXPECT_EQ(-EFBIG, peer_call(&self->a, act_zero_behind, 0));
	EXPECT_EQ(F_LAYOUT, act_getlease(&self->me, 0));
}

/* ---- B15: what takes write access away from a file that is pinned ---- */

/* D8 */
TEST_F(pinfs, B15_D8_a_pinned_file_does_not_become_immutable)
{
	static const int flags[] = { FS_IMMUTABLE_FL, FS_APPEND_FL };

	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		EXPECT_EQ(-EBUSY, set_flags(self->path, flags[i]));
		EXPECT_EQ(0, get_flags(self->path));
	}
	/* Nothing else is refused. */
	EXPECT_EQ(0, set_flags(self->path, FS_NODUMP_FL));

	/* With the descriptor and the mapping gone, a device writes all the same. */
	ASSERT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		EXPECT_EQ(-EBUSY, set_flags(self->path, flags[i]));

	ASSERT_EQ(0, act_unpin(&self->me, 0));
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		EXPECT_EQ(0, set_flags(self->path, flags[i]));
		EXPECT_EQ(flags[i], get_flags(self->path));
		EXPECT_EQ(0, set_flags(self->path, 0));
	}
}

/* D8: the other way round. */
TEST_F(pinfs, B15_D8_an_immutable_file_is_not_pinned)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_ring(&self->me, 0));
	ASSERT_EQ(0, set_flags(self->path, FS_IMMUTABLE_FL));
	EXPECT_EQ(-EPERM, act_pin(&self->me, 0));
	EXPECT_EQ(0, set_flags(self->path, FS_APPEND_FL));
	EXPECT_EQ(-EPERM, act_pin(&self->me, 0));
	EXPECT_EQ(0, set_flags(self->path, 0));
	EXPECT_EQ(0, act_pin(&self->me, 0));
	EXPECT_EQ(0, act_unpin(&self->me, 0));
}

static long act_exec(struct actor *a, long unused)
{
	char *const argv[] = { a->path, NULL };

	(void)unused;
	return ERR(execv(a->path, argv));
}

/* D8: who executes a file, or has a lease that nobody writes to it, relies on that. */
TEST_F(pinfs, B15_D8_a_pinned_file_is_open_for_writing)
{
	ASSERT_EQ(0, ERR(chmod(self->path, 0755)));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDONLY));
	/* It is no program. */
	EXPECT_EQ(-ENOEXEC, peer_call(&self->a, act_exec, 0));
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_exec, 0));
	EXPECT_EQ(-EAGAIN, peer_call(&self->a, act_lease, F_RDLCK));

	ASSERT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_TRUE(EVENTUALLY(peer_call(&self->a, act_exec, 0) == -ENOEXEC, REPLY_MS));
	EXPECT_EQ(0, peer_call(&self->a, act_lease, F_RDLCK));
	EXPECT_EQ(0, peer_call(&self->a, act_lease, F_UNLCK));
}

/* Documented in pinfs(5): a freeze is for a snapshot, and devices go on. */
TEST_F(pinfs, B15_D8_a_freeze_with_pins_succeeds)
{
	NEED_MOUNT();
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	EXPECT_EQ(0, control(FIFREEZE));
	EXPECT_EQ(0, control(FITHAW));
	EXPECT_EQ(0, act_unpin(&self->me, 0));
}

/* ---- B5: a freeze beside who waits without write access ---- */

static int loop_of(const char *path, char *name, size_t size)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), file, fd, number;

	if (control < 0)
		return -errno;
	number = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	snprintf(name, size, "/dev/loop%d", number);
	fd = open(name, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	file = open(path, O_RDWR | O_CLOEXEC);
	if (file < 0 || ioctl(fd, LOOP_SET_FD, file)) {
		close(fd);
		fd = -errno;
	}
	if (file >= 0)
		close(file);
	return fd;
}

static long act_discard(struct actor *a, long fd)
{
	unsigned long long range[2] = { 0, FILE_SIZE };

	(void)a;
	return ERR(ioctl(fd, BLKDISCARD, range));
}

static long act_freeze(struct actor *a, long unused)
{
	(void)a;
	(void)unused;
	return control(FIFREEZE);
}

/* D6: a loop device punches its file without having asked for write access. Last, as it hangs if that fails. */
TEST_F(pinfs, B5_D6_a_freeze_while_a_loop_device_waits)
{
	char name[64];
	int fd;

	NEED_MOUNT();
	if (system("modprobe loop 2>/dev/null"))
		SKIP(return, "no loop devices");
	fd = loop_of(self->path, name, sizeof(name));
	if (fd < 0)
		SKIP(return, "no loop device: %s", strerror(-fd));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(PAGE, act_vmsplice(&self->me, 5));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	ASSERT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	peer_post(&self->a, act_discard, fd);
	/* It takes a while to get into the worker, and to wait there. */
	nap_ms(scaled_ms(200));
	peer_post(&self->b, act_freeze, 0);
	EXPECT_EQ(0, peer_answer(&self->b, REPLY_MS)) {
		TH_LOG("the freeze waits for a writer that there is not");
	}
	EXPECT_EQ(0, control(FITHAW));
	EXPECT_EQ(PAGE, act_drain(&self->me, 0));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
	ioctl(fd, LOOP_CLR_FD, 0);
	close(fd);
	/* Nor is any writer missing later. */
	EXPECT_EQ(0, control(FIFREEZE));
	EXPECT_EQ(0, control(FITHAW));
}

TEST_HARNESS_MAIN
