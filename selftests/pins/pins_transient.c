// SPDX-License-Identifier: GPL-2.0
/*
 * Users of pages that are no long-term pins: rows P10, B5, B13. They need no
 * lease, and what would free the blocks waits for them, or leaves the blocks
 * in quarantine.
 */
#include "kselftest_harness.h"

#include "pinfs_test.h"

#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

TEST_F(pinfs, P10_O_DIRECT_of_another_file_without_a_lease)
{
	char name[] = "/var/tmp/pinfs-direct.XXXXXX";
	int disk = disk_file(name);

	if (disk < 0)
		SKIP(return, "/var/tmp does no O_DIRECT: %s", strerror(errno));
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	/* Out of the mapping ... */
	EXPECT_EQ(FILE_SIZE, ERR(pwrite(disk, self->me.map, FILE_SIZE, 0)));
	/* ... and into it. */
	memset(self->me.map, 0, FILE_SIZE);
	EXPECT_EQ(FILE_SIZE, ERR(pread(disk, self->me.map, FILE_SIZE, 0)));
	EXPECT_TRUE(filled(self->me.map, FILE_SIZE, FILE_SEED));
	close(disk);
	check_nothing_pinned(_metadata, self->path, &self->a);
}

TEST_F(pinfs, P10_O_DIRECT_within_pinfs_without_a_lease)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%.4000s/direct", self->dir);
	ASSERT_EQ(0, make_file(path, FILE_PAGES, 5));
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0 && errno == EINVAL)
		SKIP(return, "this form of pinfs has no O_DIRECT");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	EXPECT_EQ(FILE_SIZE, ERR(pread(fd, self->me.map, FILE_SIZE, 0)));
	EXPECT_TRUE(filled(self->me.map, FILE_SIZE, 5));
	close(fd);
	/* The same file at another offset. */
	fd = open(self->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(2 * PAGE, ERR(pwrite(fd, self->me.map, 2 * PAGE, 8 * PAGE)));
	EXPECT_EQ(0, memcmp(self->me.map, self->me.map + 8 * PAGE, 2 * PAGE));
	close(fd);
}

TEST_F(pinfs, P10_vmsplice_without_a_lease)
{
	char buf[PAGE];

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	EXPECT_EQ(PAGE, act_vmsplice(&self->me, 0));
	EXPECT_EQ(PAGE, ERR(read(self->me.pipe[0], buf, PAGE)));
	EXPECT_TRUE(filled(buf, PAGE, FILE_SEED));
	check_nothing_pinned(_metadata, self->path, &self->a);
}

static char *remote_map;

static long act_peek(struct actor *a, long pid)
{
	char buf[PAGE];
	struct iovec here = { buf, PAGE }, there = { remote_map, PAGE };
	long ret = ERR(process_vm_readv(pid, &here, 1, &there, 1, 0));

	(void)a;
	if (ret != PAGE)
		return ret < 0 ? ret : -EIO;
	return filled(buf, PAGE, FILE_SEED) ? 0 : -EBADMSG;
}

TEST_F(pinfs, P10_process_vm_readv_without_a_lease)
{
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	remote_map = self->me.map;
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	EXPECT_EQ(0, peer_call(&self->a, act_peek, getpid()));
}

static long act_poke(struct actor *a, long pid)
{
	char buf[PAGE];
	struct iovec here = { buf, PAGE }, there = { remote_map + 3 * PAGE, PAGE };

	(void)a;
	fill(buf, PAGE, 33);
	return ERR(process_vm_writev(pid, &here, 1, &there, 1, 0));
}

TEST_F(pinfs, P10_process_vm_writev_without_a_lease)
{
	char buf[PAGE];

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	remote_map = self->me.map;
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	EXPECT_EQ(PAGE, peer_call(&self->a, act_poke, getpid()));
	ASSERT_EQ(PAGE, ERR(pread(self->me.fd, buf, PAGE, 3 * PAGE)));
	EXPECT_TRUE(filled(buf, PAGE, 33));
	check_nothing_pinned(_metadata, self->path, &self->a);
}

/*
 * As long as there is a lease, every pin passes by the module: those of other
 * files go on as before, and so do transient ones of the leased file itself.
 */
static void without_a_lease_of_ones_own(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
					const char *leased)
{
	char name[] = "/var/tmp/pinfs-direct.XXXXXX", buf[PAGE], id[64], bad[512] = "";
	int disk = disk_file(name);
	struct pin_line line = { 0 };

	if (disk < 0)
		SKIP(return, "/var/tmp does no O_DIRECT: %s", strerror(errno));
	ASSERT_EQ(0, peer_start(&self->b, leased));
	ASSERT_EQ(0, peer_call(&self->b, act_hold, EXCLUSIVE));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	/* Each finds pages that are not mapped yet, so that the kernel's fast path does not do. */
	EXPECT_EQ(4 * PAGE, ERR(pwrite(disk, self->me.map, 4 * PAGE, 0)));
	EXPECT_EQ(4 * PAGE, ERR(pread(disk, self->me.map + 4 * PAGE, 4 * PAGE, 0)));
	EXPECT_EQ(0, memcmp(self->me.map, self->me.map + 4 * PAGE, 4 * PAGE));
	EXPECT_EQ(PAGE, act_vmsplice(&self->me, 8));
	EXPECT_EQ(PAGE, ERR(read(self->me.pipe[0], buf, PAGE)));
	EXPECT_EQ(0, memcmp(buf, self->me.map + 8 * PAGE, PAGE));
	remote_map = self->me.map + 9 * PAGE;
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	EXPECT_EQ(PAGE, peer_call(&self->a, act_poke, getpid()));
	/* What is on record is what it was. */
	locks_id(leased, id, sizeof(id));
	EXPECT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad)));
	EXPECT_EQ(FILE_PAGES, line.pages);
	EXPECT_EQ(-ETXTBSY, ERR(truncate(leased, 0)));
	EXPECT_EQ(0, peer_call(&self->b, act_unpin, 0));
	EXPECT_EQ(0, peer_call(&self->b, act_lease, F_UNLCK));
	close(disk);
	check_nothing_pinned(_metadata, self->path, &self->a);
}

TEST_F(pinfs, P10_beside_the_lease_of_another_file)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.4000s/leased", self->dir);
	ASSERT_EQ(0, make_file(path, FILE_PAGES, 6));
	without_a_lease_of_ones_own(_metadata, self, path);
}

TEST_F(pinfs, P10_P6_beside_the_lease_and_pins_of_another_process)
{
	without_a_lease_of_ones_own(_metadata, self, self->path);
}

/* What a debugger does: looks at a word of the mapping and changes the next. */
static long act_debug(struct actor *a, long pid)
{
	long word, want;
	int status;

	(void)a;
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0))
		return -errno;
	if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		return -ECHILD;
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, pid, remote_map + PAGE, 0);
	if (errno || ptrace(PTRACE_POKEDATA, pid, remote_map + PAGE + sizeof(long), ~word))
		return -errno;
	if (pread(a->fd, &want, sizeof(want), PAGE) != sizeof(want))
		return -EIO;
	if (ptrace(PTRACE_DETACH, pid, 0, 0))
		return -errno;
	return word == want ? 0 : -EBADMSG;
}

TEST_F(pinfs, P10_ptrace_without_a_lease)
{
	long words[2];

	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	remote_map = self->me.map;
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	EXPECT_EQ(0, peer_call(&self->a, act_debug, getpid()));
	ASSERT_EQ(sizeof(words), ERR(pread(self->me.fd, words, sizeof(words), PAGE)));
	EXPECT_EQ(~words[0], words[1]);
	check_nothing_pinned(_metadata, self->path, &self->a);
}

/* ---- MSG_ZEROCOPY ---- */

/*
 * A connection over the loopback device whose receiver has little room: what
 * it has no room for stays with the sender, as references to the file's pages.
 */
static int connect_pair(int pair[2])
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int small = 4096, large = 4 * FILE_SIZE, yes = 1;
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) ||
	    bind(listener, (struct sockaddr *)&addr, sizeof(addr)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&addr, &len))
		return -errno;
	pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)) ||
	    setsockopt(pair[0], SOL_SOCKET, SO_ZEROCOPY, &yes, sizeof(yes)) ||
	    connect(pair[0], (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	return pair[1] < 0 ? -errno : 0;
}

/* Gives the whole mapping to a connection, without anyone who reads. */
static void send_file(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, int pair[2])
{
	int ret = system("ip link set lo up");

	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, connect_pair(pair));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(FILE_SIZE, ERR(send(pair[0], self->me.map, FILE_SIZE, MSG_ZEROCOPY | MSG_DONTWAIT)));
}

/* Whether all that was sent arrives, as it was. */
static bool receive_file(int fd)
{
	char *buf = malloc(FILE_SIZE);
	bool good = buf && recv(fd, buf, FILE_SIZE, MSG_WAITALL) == FILE_SIZE && filled(buf, FILE_SIZE, FILE_SEED);

	free(buf);
	return good;
}

/* Whether the kernel has said that it needs the memory no more. */
static bool sender_is_told(int fd)
{
	char control[256];
	struct msghdr msg = { .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg;
	struct sock_extended_err err;

	if (recvmsg(fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
		return false;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg)
		return false;
	memcpy(&err, CMSG_DATA(cmsg), sizeof(err));
	return err.ee_origin == SO_EE_ORIGIN_ZEROCOPY && err.ee_errno == 0;
}

TEST_F(pinfs, P10_B5_MSG_ZEROCOPY_without_a_lease)
{
	int pair[2];

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	send_file(_metadata, self, pair);
	peer_post(&self->a, act_ftruncate, 0);
	ASSERT_TRUE(EVENTUALLY(peer_waits_in(&self->a, SYS_ftruncate), REPLY_MS));
	EXPECT_TRUE(receive_file(pair[1]));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
	EXPECT_TRUE(EVENTUALLY(sender_is_told(pair[0]), REPLY_MS));
	close(pair[0]);
	close(pair[1]);
	check_nothing_pinned(_metadata, self->path, &self->a);
}

/* The last name and descriptor go while the pages are on their way: nobody waits, and all arrives. */
TEST_F(pinfs, P10_B13_unlink_with_MSG_ZEROCOPY_on_its_way)
{
	long begin, before = blocks_free_at_rest(self->dir);
	int pair[2];

	send_file(_metadata, self, pair);
	begin = now_ms();
	EXPECT_EQ(0, act_unlink(&self->me, 0));
	EXPECT_EQ(0, act_unmap(&self->me, 0));
	EXPECT_EQ(0, act_close(&self->me, 0));
	EXPECT_GE(scaled_ms(PROMPT_MS), now_ms() - begin);
	/* Its blocks do not become another's. */
	EXPECT_GT(before + FILE_PAGES, blocks_free(self->dir));
	EXPECT_TRUE(receive_file(pair[1]));
	EXPECT_TRUE(EVENTUALLY(blocks_free(self->dir) >= before + FILE_PAGES, 1000));
	close(pair[0]);
	close(pair[1]);
}

TEST_HARNESS_MAIN
