// SPDX-License-Identifier: GPL-2.0
/* Extended attributes and ACLs. Row S2. */
#include "fs_test.h"

#include <sys/wait.h>
#include <sys/xattr.h>

static char value[65536], got[65536];

TEST_F(pinfs, S2_xattr_set_get_list_remove)
{
	char list[256];

	ASSERT_EQ(0, ERR(setxattr(self->path, "user.a", "one", 3, 0)));
	EXPECT_EQ(3, ERR(getxattr(self->path, "user.a", NULL, 0)));
	EXPECT_EQ(3, ERR(getxattr(self->path, "user.a", got, sizeof(got))));
	EXPECT_EQ(0, memcmp(got, "one", 3));
	EXPECT_EQ(-ERANGE, ERR(getxattr(self->path, "user.a", got, 2)));
	EXPECT_EQ(-ENODATA, ERR(getxattr(self->path, "user.b", got, sizeof(got))));
	EXPECT_EQ(-EEXIST, ERR(setxattr(self->path, "user.a", "two", 3, XATTR_CREATE)));
	EXPECT_EQ(-ENODATA, ERR(setxattr(self->path, "user.b", "two", 3, XATTR_REPLACE)));
	ASSERT_EQ(0, ERR(setxattr(self->path, "user.a", "longer", 6, XATTR_REPLACE)));
	EXPECT_EQ(6, ERR(getxattr(self->path, "user.a", got, sizeof(got))));
	ASSERT_EQ(0, ERR(setxattr(self->path, "trusted.t", "", 0, 0)));
	EXPECT_EQ(0, ERR(getxattr(self->path, "trusted.t", got, sizeof(got))));
	EXPECT_EQ(7 + 10, ERR(listxattr(self->path, NULL, 0)));
	EXPECT_EQ(-ERANGE, ERR(listxattr(self->path, list, 5)));
	EXPECT_EQ(7 + 10, ERR(listxattr(self->path, list, sizeof(list))));
	ASSERT_EQ(0, ERR(removexattr(self->path, "user.a")));
	EXPECT_EQ(-ENODATA, ERR(removexattr(self->path, "user.a")));
	EXPECT_EQ(10, ERR(listxattr(self->path, list, sizeof(list))));
	EXPECT_EQ(0, memcmp(list, "trusted.t", 10));
	EXPECT_EQ(-EOPNOTSUPP, ERR(setxattr(self->path, "other.x", "1", 1, 0)));
	EXPECT_EQ(-EPERM, ERR(lsetxattr(in_dir(self, "none"), "user.x", "1", 1, 0)) ==
		  -ENOENT ? -EPERM : 0);
}

TEST_F(pinfs, S2_xattr_sizes)
{
	static const size_t sizes[] = { 1, 255, 2047, 2048, 2049, 4095, 4097, 16384, 65536 };
	long before = blocks_free(self->dir);

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		fill(value, sizeof(value), i);
		ASSERT_EQ(0, ERR(setxattr(self->path, "user.v", value, sizes[i], 0))) {
			TH_LOG("%zu bytes", sizes[i]);
		}
		memset(got, 0, sizeof(got));
		ASSERT_EQ((long)sizes[i], ERR(getxattr(self->path, "user.v", got, sizeof(got))));
		EXPECT_EQ(0, memcmp(value, got, sizes[i]));
	}
	ASSERT_EQ(0, ERR(removexattr(self->path, "user.v")));
	EXPECT_EQ(before, blocks_free(self->dir));
}

TEST_F(pinfs, S2_xattr_many_names)
{
	char name[300], list[65536];

	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "user.%d-%.*s", i, i % 100,
			 "names-of-different-lengths-names-of-different-lengths-names-of-different-lengths-and-more");
		ASSERT_EQ(0, ERR(setxattr(self->path, name, name, strlen(name), XATTR_CREATE))) {
			TH_LOG("attribute %d", i);
		}
	}
	EXPECT_LT(300 * 7, ERR(listxattr(self->path, list, sizeof(list))));
	for (int i = 0; i < 300; i++) {
		long len;

		snprintf(name, sizeof(name), "user.%d-%.*s", i, i % 100,
			 "names-of-different-lengths-names-of-different-lengths-names-of-different-lengths-and-more");
		len = ERR(getxattr(self->path, name, got, sizeof(got)));
		ASSERT_EQ((long)strlen(name), len);
		ASSERT_EQ(0, memcmp(name, got, len));
	}
}

static long unprivileged(struct actor *a, long what)
{
	long ret = act_become(a, 1000);
	char list[256];

	if (ret)
		return ret;
	switch (what) {
	case 0: return ERR(setxattr(a->path, "trusted.t", "1", 1, 0));
	case 1: return ERR(getxattr(a->path, "trusted.t", got, sizeof(got)));
	case 2: return ERR(listxattr(a->path, list, sizeof(list)));
	case 3: return ERR(setxattr(a->path, "user.u", "1", 1, 0));
	default: return ERR(open(a->path, O_RDWR | O_CLOEXEC)) >= 0 ? 0 : -errno;
	}
}

TEST_F(pinfs, S2_xattr_permissions)
{
	ASSERT_EQ(0, chmod(self->dir, 0755));
	ASSERT_EQ(0, chmod(self->path, 0644));
	ASSERT_EQ(0, ERR(setxattr(self->path, "trusted.t", "1", 1, 0)));
	EXPECT_EQ(-EPERM, in_fork(unprivileged, &self->me, 0));
	EXPECT_EQ(-ENODATA, in_fork(unprivileged, &self->me, 1));
	EXPECT_EQ(0, in_fork(unprivileged, &self->me, 2));
	EXPECT_EQ(-EACCES, in_fork(unprivileged, &self->me, 3));
}

/* ---- ACLs, in the form of linux/posix_acl_xattr.h ---- */

struct acl {
	uint32_t version;
	struct { uint16_t tag, perm; uint32_t id; } e[5];
};

/* user::rw-, user:1000:rw-, group::r--, mask::rw-, other::--- */
static const struct acl for_1000 = { 2, {
	{ 0x01, 6, -1 }, { 0x02, 6, 1000 }, { 0x04, 4, -1 }, { 0x10, 6, -1 }, { 0x20, 0, -1 },
} };

TEST_F(pinfs, S2_ACL_lets_a_user_in)
{
	ASSERT_EQ(0, chmod(self->dir, 0755));
	ASSERT_EQ(0, chmod(self->path, 0600));
	EXPECT_EQ(-EACCES, in_fork(unprivileged, &self->me, 9));
	ASSERT_EQ(0, ERR(setxattr(self->path, "system.posix_acl_access", &for_1000,
				  sizeof(for_1000), 0)));
	EXPECT_EQ(0, in_fork(unprivileged, &self->me, 9));
	EXPECT_EQ(S_IFREG | 0660, mode_of(self->path));
	EXPECT_EQ((long)sizeof(for_1000), ERR(getxattr(self->path, "system.posix_acl_access", got,
						       sizeof(got))));
	EXPECT_EQ(0, memcmp(got, &for_1000, sizeof(for_1000)));
	/* chmod changes the mask, and so shuts the user out. */
	ASSERT_EQ(0, chmod(self->path, 0600));
	EXPECT_EQ(-EACCES, in_fork(unprivileged, &self->me, 9));
	ASSERT_EQ(0, ERR(removexattr(self->path, "system.posix_acl_access")));
	EXPECT_EQ(-ENODATA, ERR(getxattr(self->path, "system.posix_acl_access", got, 100)));
	EXPECT_EQ(-EACCES, ERR(setxattr(self->path, "system.posix_acl_default", &for_1000,
					sizeof(for_1000), 0)));
}

TEST_F(pinfs, S2_ACL_default_is_inherited)
{
	mode_t mask = umask(077);
	int fd;

	ASSERT_EQ(0, ERR(setxattr(self->dir, "system.posix_acl_default", &for_1000,
				  sizeof(for_1000), 0)));
	/* The default ACL takes the umask's place. */
	fd = open(in_dir(self, "new"), O_CREAT | O_RDWR | O_CLOEXEC, 0666);
	ASSERT_LE(0, fd);
	close(fd);
	EXPECT_EQ(S_IFREG | 0660, mode_of(in_dir(self, "new")));
	EXPECT_EQ((long)sizeof(for_1000), ERR(getxattr(in_dir(self, "new"),
						       "system.posix_acl_access", got, 100)));
	ASSERT_EQ(0, mkdir(in_dir(self, "d"), 0777));
	EXPECT_EQ((long)sizeof(for_1000), ERR(getxattr(in_dir(self, "d"),
						       "system.posix_acl_default", got, 100)));
	ASSERT_EQ(0, ERR(removexattr(self->dir, "system.posix_acl_default")));
	fd = open(in_dir(self, "plain"), O_CREAT | O_RDWR | O_CLOEXEC, 0666);
	ASSERT_LE(0, fd);
	close(fd);
	/* ... and without one it is back. */
	EXPECT_EQ(S_IFREG | 0600, mode_of(in_dir(self, "plain")));
	EXPECT_EQ(-ENODATA, ERR(getxattr(in_dir(self, "plain"), "system.posix_acl_access", got, 100)));
	umask(mask);
}

TEST_HARNESS_MAIN
