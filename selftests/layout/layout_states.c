// SPDX-License-Identifier: GPL-2.0
/*
 * What happens to a file system as a whole while leases, pins and pages in
 * quarantine are alive: remounted, frozen, shut down, unmounted.  Rows B5, B9
 * and B13.
 */
#include "kselftest_harness.h"

#include "pinfs_test.h"

#include <linux/fs.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

static long remount(unsigned long flags)
{
	return ERR(mount(NULL, test_mnt, NULL, MS_REMOUNT | flags, NULL));
}

static bool is_read_only(void)
{
	struct statvfs fs;

	return !statvfs(test_mnt, &fs) && fs.f_flag & ST_RDONLY;
}

/* A page in a pipe, and nothing else left of the file. */
static long act_splice(struct actor *a, long unlinked)
{
	long ret = act_open(a, O_RDWR);

	if (!ret)
		ret = act_map(a, FILE_SIZE);
	if (!ret)
		ret = act_vmsplice(a, 3);
	if (ret != PAGE)
		return ret < 0 ? ret : -EIO;
	ret = unlinked ? act_unlink(a, 0) : 0;
	if (!ret)
		ret = act_close(a, 0);
	return ret ? ret : act_unmap(a, 0);
}

static long act_take_lease(struct actor *a, long kind)
{
	long ret = act_open(a, O_RDWR);

	return ret ? ret : act_lease(a, kind);
}

/* Of the mount: whoever opens a file of it would count as its user. */
static long control(unsigned long cmd)
{
	int fd = open(test_mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long ret = ERR(fd < 0 ? -1 : ioctl(fd, cmd, 0));

	if (fd >= 0)
		close(fd);
	return ret;
}

static long act_statfs(struct actor *a, long unused)
{
	(void)a;
	(void)unused;
	return blocks_free(test_mnt);
}

/* ---- remount ---- */

/* What a device writes has to be flushed, and a read-only file system flushes nothing. */
TEST_F(pinfs, B9_M7_read_only_remount_with_pins_is_EBUSY)
{
	NEED_MOUNT();
	ASSERT_EQ(0, act_hold(&self->me, EXCLUSIVE));
	EXPECT_EQ(-EBUSY, remount(MS_RDONLY));
	ASSERT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	EXPECT_EQ(-EBUSY, remount(MS_RDONLY)) {
		remount(0);
	}
	EXPECT_FALSE(is_read_only());

	/* They were the only reason. */
	ASSERT_EQ(0, act_unpin(&self->me, 0));
	EXPECT_TRUE(EVENTUALLY(!remount(MS_RDONLY), 2000));
	EXPECT_TRUE(is_read_only());
	EXPECT_EQ(0, remount(0));
}

TEST_F(pinfs, L9_B9_read_only_remount_with_leases)
{
	NEED_MOUNT();
	ASSERT_EQ(0, act_take_lease(&self->me, EXCLUSIVE));
	/* A strong lease takes a descriptor that can write. */
	EXPECT_EQ(-EBUSY, remount(MS_RDONLY));
	ASSERT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, act_open(&self->me, O_RDONLY));
	ASSERT_EQ(0, act_lease(&self->me, F_LAYOUT));
	EXPECT_EQ(0, remount(MS_RDONLY));
	EXPECT_EQ(F_LAYOUT, act_getlease(&self->me, 0));
	EXPECT_EQ(-EACCES, act_lease(&self->me, EXCLUSIVE));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, act_lease(&self->me, F_LAYOUT));
	EXPECT_EQ(0, remount(0));
	EXPECT_EQ(F_LAYOUT, act_getlease(&self->me, 0));
}

TEST_F(pinfs, B13_read_only_remount_with_a_page_in_a_pipe)
{
	NEED_MOUNT();
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_splice, 0));
	EXPECT_EQ(0, remount(MS_RDONLY));
	EXPECT_EQ(PAGE, peer_call(&self->a, act_drain, 0));
	EXPECT_EQ(0, remount(0));
	EXPECT_EQ(FILE_SIZE, act_stat_size(&self->me, 0));
}

/* It has blocks that have to be freed, so the file system has to be written to. */
TEST_F(pinfs, B8_B13_read_only_remount_with_an_unlinked_file_in_quarantine)
{
	long before;

	NEED_MOUNT();
	before = blocks_free_at_rest(test_mnt);
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_splice, 1));
	EXPECT_EQ(-EBUSY, remount(MS_RDONLY)) {
		remount(0);
	}
	EXPECT_EQ(PAGE, peer_call(&self->a, act_drain, 0));
	EXPECT_TRUE(EVENTUALLY(!remount(MS_RDONLY), 2000));
	EXPECT_LE(before + FILE_PAGES, blocks_free(test_mnt));
	EXPECT_EQ(0, remount(0));
}

/* ---- umount ---- */

TEST_F(pinfs, B9_umount_with_a_lease_is_EBUSY)
{
	NEED_MOUNT();
	ASSERT_EQ(0, act_take_lease(&self->me, EXCLUSIVE));
	EXPECT_EQ(-EBUSY, ERR(umount2(test_mnt, 0)));
	EXPECT_EQ(EXCLUSIVE, act_getlease(&self->me, 0));
	ASSERT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, ERR(umount2(test_mnt, 0)));
	ASSERT_EQ(0, ERR(mount(test_dev, test_mnt, "pinfs", 0, NULL)));
	EXPECT_EQ(FILE_SIZE, act_stat_size(&self->me, 0));
}

/* ---- freeze ---- */

/*
 * Nothing of this changes the file system, so none of it waits for the thaw,
 * and what has to is done after it.  All by others: whoever waits, is seen.
 */
TEST_F(pinfs, B5_B13_leases_pins_and_quarantine_on_a_frozen_file_system)
{
	char path[PATH_MAX];
	long before, frozen;

	NEED_MOUNT();
	snprintf(path, sizeof(path), "%.4000s/other", self->dir);
	ASSERT_EQ(0, make_file(path, FILE_PAGES, 3));
	before = blocks_free_at_rest(test_mnt);
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, path));
	ASSERT_EQ(0, peer_start(&self->c, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_hold, EXCLUSIVE));
	ASSERT_EQ(0, peer_call(&self->b, act_splice, 1));

	frozen = control(FIFREEZE);
	ASSERT_EQ(0, frozen);
	EXPECT_EQ(0, peer_call(&self->a, act_close, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_unmap, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_unpin, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_take_lease, EXCLUSIVE));
	EXPECT_EQ(0, peer_call(&self->a, act_lease, F_UNLCK));
	EXPECT_EQ(0, peer_call(&self->a, act_lease, EXCLUSIVE));
	EXPECT_EQ(0, peer_call(&self->a, act_map, FILE_SIZE));
	/* The last reference: its blocks are freed by and by, and nobody waits for it. */
	EXPECT_EQ(PAGE, peer_call(&self->b, act_drain, 0));
	EXPECT_LT(0, peer_call(&self->c, act_statfs, 0));
	EXPECT_LE(0, peer_kill(&self->b));
	EXPECT_LT(0, peer_call(&self->c, act_statfs, 0));
	/* Who would change something waits, or let a device change it. */
	peer_post(&self->a, act_pin, 0);
	EXPECT_EQ(-ETIMEDOUT, peer_answer(&self->a, 100));
	peer_post(&self->c, act_truncate, 2 * FILE_SIZE);
	EXPECT_EQ(-ETIMEDOUT, peer_answer(&self->c, 100));

	EXPECT_EQ(0, control(FITHAW));
	EXPECT_EQ(0, peer_answer(&self->a, REPLY_MS));
	EXPECT_EQ(0, peer_answer(&self->c, REPLY_MS));
	EXPECT_TRUE(EVENTUALLY(blocks_free(test_mnt) >= before + FILE_PAGES, 2000)) {
		TH_LOG("%ld blocks were free before, %ld are after it", before, blocks_free(test_mnt));
	}
}

/* Shared with the processes of the storm. */
struct counts {
	atomic_long files, looks;
};

static struct counts *counts;

static long act_storm(struct actor *a, long unused)
{
	(void)unused;
	for (;;) {
		long ret = make_file(a->path, 1, 1);

		if (!ret)
			ret = act_open(a, O_RDWR);
		if (!ret)
			ret = act_map(a, PAGE);
		if (!ret)
			ret = act_vmsplice(a, 0);
		if (ret != PAGE || act_unlink(a, 0) || act_close(a, 0) || act_unmap(a, 0) ||
		    act_drain(a, 0) != PAGE)
			return -EIO;
		counts->files++;
	}
}

static long act_look(struct actor *a, long unused)
{
	(void)unused;
	while (act_statfs(a, 0) > 0)
		counts->looks++;
	return -EIO;
}

/* statfs waits for what is about to be freed; when a freeze comes in between, it must not. */
TEST_F(pinfs, B13_a_freeze_while_statfs_waits)
{
	char path[PATH_MAX];
	long end;

	NEED_MOUNT();
	counts = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)counts);
	snprintf(path, sizeof(path), "%.4000s/storm", self->dir);
	ASSERT_EQ(0, peer_start(&self->a, path));
	snprintf(path, sizeof(path), "%.4000s/another", self->dir);
	ASSERT_EQ(0, peer_start(&self->b, path));
	ASSERT_EQ(0, peer_start(&self->c, self->path));
	peer_post(&self->a, act_storm, 0);
	peer_post(&self->b, act_storm, 0);
	peer_post(&self->c, act_look, 0);
	end = now_ms() + 2000;
	while (now_ms() < end) {
		long files = counts->files, looks;
		bool went_on;

		/* They wait for the thaw in a different place each time. */
		ASSERT_TRUE(EVENTUALLY(counts->files > files, REPLY_MS));
		nap_ms(files % 7);
		ASSERT_EQ(0, control(FIFREEZE));
		looks = counts->looks;
		went_on = EVENTUALLY(counts->looks > looks + 1, REPLY_MS);
		ASSERT_EQ(0, control(FITHAW));
		ASSERT_TRUE(went_on) {
			TH_LOG("statfs waits for the thaw, after %ld files and %ld looks",
			       files, looks);
		}
	}
	EXPECT_LE(0, peer_kill(&self->a));
	EXPECT_LE(0, peer_kill(&self->b));
	EXPECT_LE(0, peer_kill(&self->c));
	munmap(counts, PAGE);
}

/* ---- shutdown ---- */

#define SHUTDOWN_NOLOGFLUSH	2

static long shut_down(void)
{
	unsigned int flags = SHUTDOWN_NOLOGFLUSH;
	int fd = open(test_mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long ret = ERR(fd < 0 ? -1 : ioctl(fd, _IOR('X', 125, uint32_t), &flags));

	if (fd >= 0)
		close(fd);
	return ret;
}

/* What is held can still be let go, and then the file system can go; nothing is lost by it. */
TEST_F(pinfs, B9_B13_shutdown_with_leases_pins_and_quarantine)
{
	char path[PATH_MAX], gone[PATH_MAX];
	long before;

	NEED_MOUNT();
	snprintf(path, sizeof(path), "%.4000s/leased", self->dir);
	ASSERT_EQ(0, make_file(path, FILE_PAGES, 3));
	snprintf(gone, sizeof(gone), "%.4000s/gone", self->dir);
	ASSERT_EQ(0, make_file(gone, FILE_PAGES, 3));
	sync();
	before = blocks_free_at_rest(test_mnt);
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, path));
	ASSERT_EQ(0, peer_start(&self->c, gone));
	ASSERT_EQ(0, peer_call(&self->a, act_hold, EXCLUSIVE));
	ASSERT_EQ(0, peer_call(&self->b, act_take_lease, EXCLUSIVE));
	ASSERT_EQ(0, peer_call(&self->c, act_splice, 1));

	ASSERT_EQ(0, shut_down());
	EXPECT_EQ(-EIO, peer_call(&self->b, act_ftruncate, 0));
	EXPECT_EQ(-EBUSY, ERR(umount2(test_mnt, 0)));
	EXPECT_EQ(EXCLUSIVE, peer_call(&self->b, act_getlease, 0));
	EXPECT_EQ(0, peer_call(&self->b, act_lease, F_UNLCK));
	EXPECT_LE(0, peer_kill(&self->b));
	EXPECT_EQ(0, peer_call(&self->a, act_unpin, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_lease, F_UNLCK));
	EXPECT_EQ(0, peer_call(&self->a, act_unmap, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_close, 0));

	ASSERT_TRUE(EVENTUALLY(!umount2(test_mnt, 0), 2000));
	/* The page in the pipe keeps what was shut down, which is of no use to a new mount. */
	EXPECT_EQ(-EBUSY, ERR(mount(test_dev, test_mnt, "pinfs", 0, NULL))) {
		umount2(test_mnt, 0);
	}
	EXPECT_EQ(PAGE, peer_call(&self->c, act_drain, 0));
	ASSERT_TRUE(EVENTUALLY(!mount(test_dev, test_mnt, "pinfs", 0, NULL) && access(self->path, F_OK) == 0, 2000));
	EXPECT_EQ(FILE_SIZE, act_stat_size(&self->me, 0));
	EXPECT_EQ(-1, access(gone, F_OK));
	/* The next mount has freed what could not be freed any more. */
	EXPECT_TRUE(EVENTUALLY(blocks_free(test_mnt) >= before + FILE_PAGES, 1000)) {
		TH_LOG("%ld blocks were free before, %ld are now", before, blocks_free(test_mnt));
	}
}

TEST_HARNESS_MAIN
