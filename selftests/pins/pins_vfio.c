// SPDX-License-Identifier: GPL-2.0
/*
 * VFIO: memory of a file mapped for a device behind an IOMMU, as QEMU does with
 * its guest's memory; row P7. Run by vfio.sh, with the device's group in
 * PINFS_VFIO_GROUP.
 */
#include "kselftest_harness.h"

#define PINFS_OWN_FIXTURE

#include "pinfs_test.h"

#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define IOVA	0x10000000UL

FIXTURE(pinfs) {
	char dir[PATH_MAX];
	char path[PATH_MAX];
	char id[64];
	struct actor me;
	struct peer a;
	int container, group;
};

FIXTURE_SETUP(pinfs) {
	const char *why = test_dir(self->dir, sizeof(self->dir)), *group = getenv("PINFS_VFIO_GROUP");
	struct vfio_group_status status = { .argsz = sizeof(status) };

	if (why || !group)
		SKIP(return, "%s", why ?: "no PINFS_VFIO_GROUP");
	snprintf(self->path, sizeof(self->path), "%.4000s/file", self->dir);
	ASSERT_EQ(0, make_file(self->path, FILE_PAGES, FILE_SEED));
	locks_id(self->path, self->id, sizeof(self->id));
	act_init(&self->me, self->path);
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	self->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->container);
	/* The last test's device may be on its way back. */
	ASSERT_TRUE(EVENTUALLY((self->group = open(group, O_RDWR | O_CLOEXEC)) >= 0, 2000));
	ASSERT_EQ(0, ioctl(self->group, VFIO_GROUP_GET_STATUS, &status));
	ASSERT_TRUE(status.flags & VFIO_GROUP_FLAGS_VIABLE);
	ASSERT_EQ(0, ioctl(self->group, VFIO_GROUP_SET_CONTAINER, &self->container));
	ASSERT_EQ(0, ioctl(self->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
}

FIXTURE_TEARDOWN(pinfs) {
	if (self->container >= 0)
		close(self->container);
	if (self->group >= 0)
		close(self->group);
	if (self->a.pid > 0 && peer_kill(&self->a) < 0)
		_metadata->exit_code = KSFT_FAIL;
	act_fini(&self->me);
	remove_tree(self->dir);
}

static long map_dma(int container, const void *from, long len, unsigned long iova, __u32 flags)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = flags,
		.vaddr = (uintptr_t)from,
		.iova = iova,
		.size = len,
	};

	return ERR(ioctl(container, VFIO_IOMMU_MAP_DMA, &map));
}

static long unmap_dma(int container, long len, unsigned long iova)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = iova, .size = len,
	};
	long ret = ERR(ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap));

	return ret ? ret : (long)unmap.size;
}

#define RW	(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)

static long lines_of(const char *id, struct pin_line *lines, size_t max)
{
	char bad[512];

	return pins_of(id, lines, max, bad, sizeof(bad));
}

TEST_F(pinfs, P1_P7_vfio_without_a_lease)
{
	struct pin_line line;

	EXPECT_EQ(-EOPNOTSUPP, map_dma(self->container, self->me.map, FILE_SIZE, IOVA, RW));
	EXPECT_EQ(-EOPNOTSUPP, map_dma(self->container, self->me.map, PAGE, IOVA,
				       VFIO_DMA_MAP_FLAG_READ));
	EXPECT_EQ(0, lines_of(self->id, &line, 1));
	EXPECT_EQ(0, peer_call(&self->a, act_truncate, 0));
}

static void map_whole_file(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self)
{
	char want[2 * PATH_MAX], text[2 * PATH_MAX];
	struct pin_line line;

	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, map_dma(self->container, self->me.map, FILE_SIZE, IOVA, RW));
	snprintf(want, sizeof(want), "%d: /dev/vfio/vfio\n\t%s\n", self->container, self->path);
	EXPECT_LT(0, read_text("/proc/self/file_pins", text, sizeof(text)));
	EXPECT_STREQ(want, text);
	ASSERT_EQ(1, lines_of(self->id, &line, 1));
	EXPECT_EQ(0, (long)line.start);
	EXPECT_EQ(FILE_SIZE, (long)line.end);
	EXPECT_TRUE(pids_have(line.pids, getpid()));
	EXPECT_EQ(-EBUSY, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_truncate, 0));
}

static void file_is_free(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self)
{
	struct pin_line line;

	EXPECT_TRUE(EVENTUALLY(lines_of(self->id, &line, 1) == 0, 1000));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, peer_call(&self->a, act_truncate, 0));
}

TEST_F(pinfs, P2_P7_F1_vfio_map_and_unmap)
{
	map_whole_file(_metadata, self);
	EXPECT_EQ(FILE_SIZE, unmap_dma(self->container, FILE_SIZE, IOVA));
	file_is_free(_metadata, self);
}

TEST_F(pinfs, P6_P7_vfio_close_of_the_container)
{
	map_whole_file(_metadata, self);
	close(self->group);
	close(self->container);
	self->group = self->container = -1;
	file_is_free(_metadata, self);
}

TEST_F(pinfs, P6_P7_vfio_two_mappings_of_the_same_pages)
{
	struct pin_line line;

	map_whole_file(_metadata, self);
	ASSERT_EQ(0, map_dma(self->container, self->me.map + 4 * PAGE, 4 * PAGE, 2 * IOVA, RW));
	EXPECT_EQ(FILE_SIZE, unmap_dma(self->container, FILE_SIZE, IOVA));
	ASSERT_EQ(1, lines_of(self->id, &line, 1));
	EXPECT_EQ(4 * PAGE, (long)line.start);
	EXPECT_EQ(8 * PAGE, (long)line.end);
	EXPECT_EQ(4 * PAGE, unmap_dma(self->container, 4 * PAGE, 2 * IOVA));
	file_is_free(_metadata, self);
}

TEST_F(pinfs, P2_P6_P7_vfio_huge_pages)
{
	struct pin_line line;
	char *room, *map;

	ASSERT_EQ(0, act_ftruncate(&self->me, 3 * PMD));
	ASSERT_EQ(0, fallocate(self->me.fd, 0, 0, 3 * PMD));
	room = mmap(NULL, 4 * PMD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, room);
	map = (char *)(((unsigned long)room + PMD - 1) & ~(PMD - 1));
	ASSERT_EQ(map, mmap(map, 3 * PMD, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			    self->me.fd, 0));
	ASSERT_EQ(0, act_lease(&self->me, EXCLUSIVE));
	ASSERT_EQ(0, map_dma(self->container, map, 3 * PMD, IOVA, RW));
	ASSERT_EQ(1, lines_of(self->id, &line, 1));
	EXPECT_EQ(3 * PMD, (long)line.end);
	EXPECT_EQ(3 * PMD, unmap_dma(self->container, 3 * PMD, IOVA));
	file_is_free(_metadata, self);
	munmap(room, 4 * PMD);
}

TEST_HARNESS_MAIN
