// SPDX-License-Identifier: GPL-2.0
/*
 * Pins from within the kernel, by vaddr_pin_pages(): row P12.  The module
 * pinner is the driver that takes them, for whom it is told to.
 */
#include "kselftest_harness.h"

#define PINFS_OWN_FIXTURE

#include "pinfs_test.h"
#include "pinner/pinner.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define DEVICE	"/dev/" PINNER_DEVICE

FIXTURE(pinfs) {
	char dir[PATH_MAX];
	char path[PATH_MAX];
	char id[64];
	struct actor me;
	struct peer a;
	int dev[2];
};

FIXTURE_SETUP(pinfs) {
	const char *why = test_dir(self->dir, sizeof(self->dir));
	long ret;

	if (why)
		SKIP(return, "%s", why);
	snprintf(self->path, sizeof(self->path), "%.4000s/file", self->dir);
	ASSERT_EQ(0, make_file(self->path, FILE_PAGES, FILE_SEED));
	locks_id(self->path, self->id, sizeof(self->id));
	act_init(&self->me, self->path);
	ret = load_module_beside("pinner.ko");
	ASSERT_TRUE(ret == 0 || ret == -EEXIST);
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	for (int i = 0; i < 2; i++) {
		self->dev[i] = open(DEVICE, O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, self->dev[i]);
	}
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
}

FIXTURE_TEARDOWN(pinfs) {
	for (int i = 0; i < 2; i++)
		if (self->dev[i] >= 0)
			close(self->dev[i]);
	if (self->a.pid > 0 && peer_kill(&self->a) < 0)
		_metadata->exit_code = KSFT_FAIL;
	act_fini(&self->me);
	remove_tree(self->dir);
	/* The last file of the device may be on its way yet. */
	if (!EVENTUALLY(syscall(SYS_delete_module, "pinner", O_NONBLOCK) == 0, 1000)) {
		TH_LOG("the module pinner does not go");
		_metadata->exit_code = KSFT_FAIL;
	}
}

/* Pins pages of the mapping; returns how many, and the handle. */
static long pin_pages(int dev, const void *map, long first, long pages, enum pinner_owner owner,
		      int fd, __u32 *handle)
{
	struct pinner_pin pin = {
		.addr = (uintptr_t)map + first * PAGE,
		.pages = pages,
		.owner = owner,
		.fd = fd,
	};
	long ret = ERR(ioctl(dev, PINNER_PIN, &pin));

	if (handle)
		*handle = pin.handle;
	return ret;
}

static long unpin_pages(int dev, __u32 handle, enum pinner_way way)
{
	struct pinner_unpin unpin = { .handle = handle, .way = way };

	return ERR(ioctl(dev, PINNER_UNPIN, &unpin));
}

/* /proc/self/file_pins has nothing but this. */
#define EXPECT_VIEW(...)						\
({									\
	char __want[4 * PATH_MAX], __text[4 * PATH_MAX];		\
	snprintf(__want, sizeof(__want), __VA_ARGS__);			\
	EXPECT_LE(0, read_text("/proc/self/file_pins", __text, sizeof(__text))); \
	EXPECT_STREQ(__want, __text);					\
})

static long lines_of(const char *id, struct pin_line *lines, size_t max)
{
	char bad[512];

	return pins_of(id, lines, max, bad, sizeof(bad));
}

TEST_F(pinfs, P12_P1_no_lease_no_pin)
{
	struct pin_line line;

	EXPECT_EQ(-EOPNOTSUPP, pin_pages(self->dev[0], self->me.map, 0, 4, PINNER_SELF, -1, NULL));
	EXPECT_EQ(-EOPNOTSUPP, pin_pages(self->dev[0], self->me.map, 0, 4, PINNER_MM, -1, NULL));
	/* Nor by somebody else's, nor by one that can be broken. */
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, peer_call(&self->a, act_lease, F_LAYOUT | F_UNBREAK));
	EXPECT_EQ(-EOPNOTSUPP, pin_pages(self->dev[0], self->me.map, 0, 4, PINNER_SELF, -1, NULL));
	ASSERT_EQ(0, act_lease(&self->me, F_LAYOUT));
	EXPECT_EQ(-EOPNOTSUPP, pin_pages(self->dev[0], self->me.map, 0, 4, PINNER_SELF, -1, NULL));
	EXPECT_EQ(0, lines_of(self->id, &line, 1));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}

TEST_F(pinfs, P12_without_an_owner_nothing_is_pinned)
{
	struct pin_line line;

	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	EXPECT_EQ(-EINVAL, pin_pages(self->dev[0], self->me.map, 0, 4, PINNER_NOBODY, -1, NULL));
	EXPECT_EQ(-EINVAL, pin_pages(self->dev[0], self->me.map, 0, 4, PINNER_NULL, -1, NULL));
	EXPECT_EQ(-EFAULT, pin_pages(self->dev[0], NULL, 1 << 20, 4, PINNER_SELF, -1, NULL));
	EXPECT_EQ(0, lines_of(self->id, &line, 1));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}

TEST_F(pinfs, P12_the_file_that_is_called_owns_it)
{
	struct pin_line line;
	__u32 handle;

	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(4, pin_pages(self->dev[0], self->me.map, 2, 4, PINNER_SELF, -1, &handle));
	EXPECT_VIEW("%d: " DEVICE "\n\t%s\n", self->dev[0], self->path);
	ASSERT_EQ(1, lines_of(self->id, &line, 1));
	EXPECT_EQ(2 * PAGE, (long)line.start);
	EXPECT_EQ(6 * PAGE, (long)line.end);
	EXPECT_TRUE(pids_have(line.pids, getpid()));
	EXPECT_EQ(-EBUSY, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_truncate, 0));
	EXPECT_EQ(0, unpin_pages(self->dev[0], handle, PINNER_CALL));
	EXPECT_VIEW("%s", "");
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, peer_call(&self->a, act_truncate, 0));
}

TEST_F(pinfs, P12_another_file_owns_it)
{
	__u32 handle;

	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	EXPECT_EQ(-EBADF, pin_pages(self->dev[0], self->me.map, 0, 4, PINNER_FD, 999, NULL));
	/* Not the one that the system call names. */
	ASSERT_EQ(FILE_PAGES, pin_pages(self->dev[0], self->me.map, 0, FILE_PAGES, PINNER_FD,
					self->dev[1], &handle));
	EXPECT_VIEW("%d: " DEVICE "\n\t%s\n", self->dev[1], self->path);
	EXPECT_EQ(0, unpin_pages(self->dev[0], handle, PINNER_WORK));
	EXPECT_VIEW("%s", "");
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}

TEST_F(pinfs, P12_an_address_space_owns_it)
{
	struct pin_line line;
	__u32 handle;

	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(1, pin_pages(self->dev[0], self->me.map, 7, 1, PINNER_MM, -1, &handle));
	EXPECT_VIEW("%s\n", self->path);
	ASSERT_EQ(1, lines_of(self->id, &line, 1));
	EXPECT_TRUE(pids_have(line.pids, getpid()));
	EXPECT_EQ(0, unpin_pages(self->dev[0], handle, PINNER_WORK));
	EXPECT_VIEW("%s", "");
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}

/* Three owners of the same pages: whoever is named loses its pins, and not another. */
static void unpin_in_turn(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self,
			  enum pinner_way way)
{
	__u32 first, second, third;

	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(8, pin_pages(self->dev[0], self->me.map, 0, 8, PINNER_SELF, -1, &first));
	ASSERT_EQ(8, pin_pages(self->dev[0], self->me.map, 0, 8, PINNER_FD, self->dev[1],
			       &second));
	ASSERT_EQ(8, pin_pages(self->dev[0], self->me.map, 0, 8, PINNER_MM, -1, &third));
	EXPECT_VIEW("%d: " DEVICE "\n\t%s\n%d: " DEVICE "\n\t%s\n%s\n", self->dev[0], self->path,
		    self->dev[1], self->path, self->path);
	EXPECT_EQ(0, unpin_pages(self->dev[0], third, way));
	EXPECT_VIEW("%d: " DEVICE "\n\t%s\n%d: " DEVICE "\n\t%s\n", self->dev[0], self->path,
		    self->dev[1], self->path);
	EXPECT_EQ(0, unpin_pages(self->dev[0], second, way));
	EXPECT_VIEW("%d: " DEVICE "\n\t%s\n", self->dev[0], self->path);
	EXPECT_EQ(0, unpin_pages(self->dev[0], first, way));
	EXPECT_VIEW("%s", "");
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
}

TEST_F(pinfs, P12_P6_the_named_owner_loses_its_pins)
{
	unpin_in_turn(_metadata, self, PINNER_CALL);
}

TEST_F(pinfs, P12_P6_in_a_worker_too)
{
	unpin_in_turn(_metadata, self, PINNER_WORK);
}

TEST_F(pinfs, P12_P6_and_with_interrupts_disabled)
{
	unpin_in_turn(_metadata, self, PINNER_INTERRUPT);
}

TEST_F(pinfs, P12_the_owners_release_gives_it_back)
{
	struct pin_line line;

	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(4, pin_pages(self->dev[0], self->me.map, 0, 4, PINNER_SELF, -1, NULL));
	ASSERT_EQ(4, pin_pages(self->dev[1], self->me.map, 2, 4, PINNER_SELF, -1, NULL));
	close(self->dev[0]);
	self->dev[0] = -1;
	EXPECT_VIEW("%d: " DEVICE "\n\t%s\n", self->dev[1], self->path);
	ASSERT_EQ(1, lines_of(self->id, &line, 1));
	EXPECT_EQ(2 * PAGE, (long)line.start);
	EXPECT_EQ(6 * PAGE, (long)line.end);
}

static long act_pin_by_device(struct actor *a, long pages)
{
	long ret = act_open(a, O_RDWR);
	int dev;

	if (!ret)
		ret = act_lease(a, EXCLUSIVE);
	if (!ret)
		ret = act_map(a, FILE_SIZE);
	if (ret)
		return ret;
	dev = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -errno;
	return pin_pages(dev, a->map, 0, pages, PINNER_SELF, -1, NULL);
}

TEST_F(pinfs, P12_F6_killing_the_holder_frees_the_file)
{
	struct pin_line line;

	ASSERT_EQ(FILE_PAGES, peer_call(&self->a, act_pin_by_device, FILE_PAGES));
	ASSERT_EQ(1, lines_of(self->id, &line, 1));
	EXPECT_TRUE(pids_have(line.pids, self->a.pid));
	EXPECT_EQ(-ETXTBSY, act_truncate(&self->me, 0));
	ASSERT_LE(0, peer_kill(&self->a));
	EXPECT_TRUE(EVENTUALLY(act_truncate(&self->me, 0) == 0, 1000));
	EXPECT_EQ(0, lines_of(self->id, &line, 1));
}

TEST_F(pinfs, P12_other_memory_needs_no_lease)
{
	char *anon = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	__u32 handle;

	ASSERT_NE(MAP_FAILED, anon);
	ASSERT_EQ(FILE_PAGES, pin_pages(self->dev[0], anon, 0, FILE_PAGES, PINNER_SELF, -1,
					&handle));
	EXPECT_VIEW("%s", "");
	EXPECT_EQ(0, unpin_pages(self->dev[0], handle, PINNER_CALL));
}

TEST_F(pinfs, P12_its_users_keep_the_module)
{
	char text[64];

	/* By name, and not only because something is mounted. */
	EXPECT_EQ(0, access("/sys/module/pinfs/holders/pinner", F_OK));
	EXPECT_LT(0, read_text("/sys/module/pinfs/refcnt", text, sizeof(text)));
	EXPECT_EQ(-1, syscall(SYS_delete_module, "pinfs", O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
}

TEST_HARNESS_MAIN
