// SPDX-License-Identifier: GPL-2.0
#include "any_admin.h"

#include "any_call.h"
#include "kselftest.h"
#include "pinfs_test.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/fs.h>

#define WORDS		((long)(PAGE / sizeof(uint64_t)))
/* The upper half says whose block it is and which, the lower half the version. */
#define STAMP(which, block, version) \
	((0x6b65ULL << 48) | (uint64_t)(which) << 40 | (uint64_t)(block) << 32 | (version))
#define READ_BYTES	(4 * MIB)

struct admin_board *admin_board;

static unsigned int draw(unsigned int *seed, unsigned int below)
{
	return rand_r(seed) % below;
}

static void complain(const char *format, long a, long b, long c)
{
	if (!admin_board->wrong[0])
		snprintf(admin_board->wrong, sizeof(admin_board->wrong), format, a, b, c);
}

/* ---- what an administrator does ---- */

/* The exit status of a program whose output nobody reads, or -1. */
static int run(char *const argv[])
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

char *fsck_path(void)
{
	return getenv("PINFS_FSCK") ?: "/pinfs/bin/fsck.pinfs";
}

static long remount(const char *mnt, unsigned long flags)
{
	return ERR(mount(NULL, mnt, NULL, MS_REMOUNT | flags, NULL));
}

/* Another administrator may have detached it just now, or made it read-only, and then it is so here, too. */
static long mount_again(void)
{
	long ret = ERR(mount(test_dev, test_mnt, "pinfs", 0, NULL));

	if (ret != -EBUSY)
		return ret;
	ret = ERR(mount(test_dev, test_mnt, "pinfs", MS_RDONLY, NULL));
	return ret ?: remount(test_mnt, 0);
}

static bool mounted(void)
{
	struct stat mnt, parent;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/..", test_mnt);
	return !stat(test_mnt, &mnt) && !stat(path, &parent) && mnt.st_dev != parent.st_dev;
}

static long do_remount(unsigned int *seed)
{
	long ret = remount(test_mnt, MS_RDONLY);

	nap_ms(draw(seed, 30));
	remount(test_mnt, 0);
	return ret;
}

/* Every file system of a block device becomes read-only, with whoever writes to it. */
static long do_sysrq(unsigned int *seed)
{
	long ret = write_text("/proc/sysrq-trigger", "u");

	/* A worker does it. */
	nap_ms(50 + draw(seed, 100));
	remount("/", 0);
	remount(test_mnt, 0);
	return ret;
}

static long do_freeze(unsigned int *seed)
{
	int root = open(test_mnt, O_RDONLY | O_CLOEXEC);
	long ret = ERR(ioctl(root, FIFREEZE, 0));

	if (!ret) {
		nap_ms(draw(seed, 50));
		ioctl(root, FITHAW, 0);
	}
	close(root);
	return ret;
}

static long set_flags(const char *path, int set, int clear)
{
	/* Of a device or a FIFO it would be the driver's, or wait. */
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC), flags = 0, wanted;
	struct stat st;
	long ret = -EINVAL;

	if (fd < 0)
		return -errno;
	if (!fstat(fd, &st) && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
		ret = ERR(ioctl(fd, FS_IOC_GETFLAGS, &flags));
	wanted = (flags | set) & ~clear;
	if (!ret && wanted != flags)
		ret = ERR(ioctl(fd, FS_IOC_SETFLAGS, &wanted));
	close(fd);
	return ret;
}

static void kept_path(char *path, int which, const char *dir)
{
	snprintf(path, PATH_MAX, "%.4000s/kept%d", dir, which);
}

static long do_chattr(unsigned int *seed, const char *dir)
{
	int flag = draw(seed, 2) ? FS_IMMUTABLE_FL : FS_APPEND_FL;
	char path[PATH_MAX];
	long ret;

	if (draw(seed, 2))
		kept_path(path, draw(seed, KEEPERS), dir);
	else
		snprintf(path, sizeof(path), "%.4000s/d0/n%u", dir, draw(seed, 7));
	ret = set_flags(path, flag, 0);
	nap_ms(draw(seed, 20));
	set_flags(path, 0, FS_IMMUTABLE_FL | FS_APPEND_FL);
	return ret;
}

static long do_drop_caches(unsigned int *seed)
{
	char what[] = { '1' + draw(seed, 3), '\0' };

	return write_text("/proc/sys/vm/drop_caches", what);
}

/* Some keep the device open, as udev's probes do, with what they have read. */
static long do_read_device(unsigned int *seed)
{
	static char buf[READ_BYTES];
	static int held = -1;
	long at = draw(seed, 2) ? 0 : draw(seed, 64) * MIB;

	if (held >= 0 && !draw(seed, 4)) {
		close(held);
		held = -1;
	}
	if (held < 0)
		held = open(test_dev, O_RDONLY | O_CLOEXEC);
	return held < 0 ? -errno : ERR(pread(held, buf, sizeof(buf), at));
}

/* Through the page cache of the device: what stands behind the superblock in its block, unused. */
static long do_write_device(unsigned int *seed)
{
	char zeroes[512] = {};
	int fd = open(test_dev, O_RDWR | O_CLOEXEC);
	long ret;

	if (fd < 0)
		return -errno;
	ret = ERR(pwrite(fd, zeroes, sizeof(zeroes), PAGE - (1 + draw(seed, 4)) * 512));
	close(fd);
	return ret;
}

static long do_fsck(void)
{
	char *argv[] = { fsck_path(), "-n", "-f", (char *)test_dev, NULL };

	/* The device is mounted: it may say anything, and changes nothing. */
	return run(argv) == -1 ? -EINTR : 0;
}

static long do_blkid(void)
{
	char *argv[] = { "blkid", "-p", (char *)test_dev, NULL };

	return run(argv) == -1 ? -EINTR : 0;
}

static long do_umount(void)
{
	long ret = ERR(umount2(test_mnt, UMOUNT_NOFOLLOW));

	/* Nobody had a file open, for once. */
	return ret ?: mount_again();
}

/* Who has files open keeps the old mount; a new one finds the same file system. */
static long do_detach(unsigned int *seed)
{
	long ret = ERR(umount2(test_mnt, MNT_DETACH));

	nap_ms(draw(seed, 10));
	for (int i = 0; i < 100 && !ret && !mounted(); i++) {
		mount_again();
		nap_ms(10);
	}
	return ret;
}

static long do_rmmod(void)
{
	long ret = ERR(syscall(SYS_delete_module, "pinfs", O_NONBLOCK));

	/* Whoever started all this has the root directory open. */
	if (!ret)
		complain("the module went while %ld keepers and %ld callers used it", KEEPERS, CALLERS, 0);
	return ret;
}

void any_admin(unsigned int *seed, const char *dir)
{
	enum admin_action action = draw(seed, ADMIN_ACTIONS);
	long ret = -EINVAL;

	switch (action) {
	case ADMIN_REMOUNT:
		ret = do_remount(seed);
		break;
	case ADMIN_SYSRQ:
		ret = do_sysrq(seed);
		break;
	case ADMIN_FREEZE:
		ret = do_freeze(seed);
		break;
	case ADMIN_CHATTR:
		ret = do_chattr(seed, dir);
		break;
	case ADMIN_DROP_CACHES:
		ret = do_drop_caches(seed);
		break;
	case ADMIN_READ_DEVICE:
		ret = do_read_device(seed);
		break;
	case ADMIN_WRITE_DEVICE:
		ret = do_write_device(seed);
		break;
	case ADMIN_FSCK:
		ret = do_fsck();
		break;
	case ADMIN_BLKID:
		ret = do_blkid();
		break;
	case ADMIN_UMOUNT:
		ret = do_umount();
		break;
	case ADMIN_DETACH:
		ret = do_detach(seed);
		break;
	case ADMIN_RMMOD:
		ret = do_rmmod();
		break;
	case ADMIN_ACTIONS:
		break;
	}
	/* An answer is an answer: what counts is what the others see. */
	(void)ret;
	__atomic_fetch_add(&admin_board->actions[action], 1, __ATOMIC_RELAXED);
	nap_ms(draw(seed, 20));
}

long admin_restore(const char *dir)
{
	char path[PATH_MAX];
	long ret;
	int root;

	remount("/", 0);
	for (int i = 0; i < 200 && !mounted(); i++) {
		mount_again();
		nap_ms(10);
	}
	root = open(test_mnt, O_RDONLY | O_CLOEXEC);
	ret = ERR(root);
	if (ret < 0)
		return ret;
	/* However often it is frozen. */
	while (!ioctl(root, FITHAW, 0))
		;
	close(root);
	ret = remount(test_mnt, 0);
	for (int i = 0; i < KEEPERS; i++) {
		kept_path(path, i, dir);
		set_flags(path, 0, FS_IMMUTABLE_FL | FS_APPEND_FL);
	}
	for (int i = 0; i < 7; i++) {
		snprintf(path, sizeof(path), "%.4000s/d0/n%u", dir, i);
		set_flags(path, 0, FS_IMMUTABLE_FL | FS_APPEND_FL);
	}
	return ret;
}

long admin_shutdown(void)
{
	int root = open(test_mnt, O_RDONLY | O_CLOEXEC);
	unsigned int flags = 0;
	long ret = ERR(ioctl(root, SHUTDOWN, &flags));

	close(root);
	return ret;
}

/* ---- what must not be lost ---- */

static void stamp(uint64_t *block, int which, int number, uint32_t version)
{
	for (long i = 0; i < WORDS; i++)
		block[i] = STAMP(which, number, version);
}

static int open_kept(int which, const char *dir, int flags)
{
	char path[PATH_MAX];

	kept_path(path, which, dir);
	return open(path, O_RDWR | O_CLOEXEC | flags, 0600);
}

long keeper_make(int which, const char *dir)
{
	int fd = open_kept(which, dir, O_CREAT | O_TRUNC);
	uint64_t block[WORDS];
	long ret = ERR(fd);

	for (int i = 0; ret >= 0 && i < KEPT_BLOCKS; i++) {
		stamp(block, which, i, 0);
		ret = ERR(pwrite(fd, block, PAGE, i * PAGE));
	}
	if (ret >= 0)
		ret = ERR(fsync(fd));
	close(fd);
	return ret;
}

static __thread sigjmp_buf fault;

static void on_fault(int signo)
{
	(void)signo;
	siglongjmp(fault, 1);
}

/* Of its own blocks a keeper knows all: what a read must find, or one of two if a store failed. */
static void look(struct kept_block *kept, int which, int number, const uint64_t *block)
{
	for (long i = 0; i < WORDS; i++) {
		uint64_t low = STAMP(which, number, kept->done);

		if (block[i] < low || block[i] > STAMP(which, number, kept->tried)) {
			complain("kept file %ld, block %ld reads as %lx", which, number, block[i]);
			return;
		}
	}
}

static bool store_block(int fd, uint64_t *map, int which, int number, uint32_t version, bool mapped)
{
	uint64_t block[WORDS];

	if (mapped) {
		if (sigsetjmp(fault, 1))
			return false;
		stamp(map + number * WORDS, which, number, version);
		return true;
	}
	stamp(block, which, number, version);
	return pwrite(fd, block, PAGE, number * PAGE) == PAGE;
}

static void sync_blocks(int fd, struct kept_block *kept)
{
	uint32_t done[KEPT_BLOCKS];

	for (int i = 0; i < KEPT_BLOCKS; i++)
		done[i] = kept[i].done;
	if (fsync(fd))
		return;
	for (int i = 0; i < KEPT_BLOCKS; i++)
		kept[i].durable = done[i];
	__atomic_fetch_add(&admin_board->syncs, 1, __ATOMIC_RELAXED);
}

static void use_kept(int which, unsigned int *seed, int fd, uint64_t *map)
{
	struct kept_block *kept = admin_board->kept[which];

	for (int turn = 0; turn < 64; turn++) {
		int number = draw(seed, KEPT_BLOCKS);
		struct kept_block *at = &kept[number];
		uint64_t block[WORDS];

		switch (draw(seed, 8)) {
		case 0:
			sync_blocks(fd, kept);
			break;
		case 1 ... 3:
			if (pread(fd, block, PAGE, number * PAGE) == PAGE)
				look(at, which, number, block);
			break;
		default:
			at->tried++;
			if (store_block(fd, map, which, number, at->tried, draw(seed, 2))) {
				at->done = at->tried;
				__atomic_fetch_add(&admin_board->writes, 1, __ATOMIC_RELAXED);
			}
		}
	}
}

void be_keeper(int which, unsigned int seed, const char *dir)
{
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGBUS, &action, NULL);
	for (;;) {
		/* There may be no mount for a moment, or none to write to. */
		int fd = open_kept(which, dir, 0);
		uint64_t *map;

		if (fd < 0) {
			nap_ms(2);
			continue;
		}
		map = mmap(NULL, KEPT_BLOCKS * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (map != MAP_FAILED) {
			use_kept(which, &seed, fd, map);
			munmap(map, KEPT_BLOCKS * PAGE);
		}
		close(fd);
	}
}

bool keeper_verify(int which, const char *dir)
{
	int fd = open_kept(which, dir, 0);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || st.st_size != KEPT_BLOCKS * PAGE) {
		complain("kept file %ld: open or size: %ld %ld", which, errno, fd);
		close(fd);
		return false;
	}
	for (int i = 0; i < KEPT_BLOCKS; i++) {
		struct kept_block *kept = &admin_board->kept[which][i];
		uint64_t block[WORDS];

		if (pread(fd, block, PAGE, i * PAGE) != PAGE) {
			complain("kept file %ld, block %ld: %ld", which, i, errno);
			break;
		}
		for (long word = 0; word < WORDS; word++) {
			if (block[word] < STAMP(which, i, kept->durable) ||
			    block[word] > STAMP(which, i, kept->tried)) {
				complain("kept file %ld, block %ld holds %lx", which, i, block[word]);
				break;
			}
		}
		/* It may be in the middle of a store; the next one comes after all of them. */
		stamp(block, which, i, ++kept->tried);
		if (pwrite(fd, block, PAGE, i * PAGE) != PAGE)
			complain("kept file %ld, block %ld: write: %ld", which, i, errno);
		kept->done = kept->tried;
	}
	if (fsync(fd))
		complain("kept file %ld: fsync: %ld %ld", which, errno, 0);
	for (int i = 0; i < KEPT_BLOCKS; i++)
		admin_board->kept[which][i].durable = admin_board->kept[which][i].done;
	close(fd);
	return !admin_board->wrong[0];
}
