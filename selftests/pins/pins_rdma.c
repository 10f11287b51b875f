// SPDX-License-Identifier: GPL-2.0
/*
 * Long-term pins by RDMA: memory regions over soft-RoCE, rows P and F.
 *
 * The device is real as far as the kernel can tell: ibv_reg_mr() goes through
 * the uverbs descriptor to ib_umem_get(), and writes from another process's
 * queue pair land in the file's pages.
 */
#include "kselftest_harness.h"

#include "pinfs_test.h"
#include "rdma_device.h"

#include <arpa/inet.h>
#include <infiniband/verbs.h>
#include <rdma/ib_user_verbs.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define ALL_ACCESS	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | \
			 IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC)
#define READ_ONLY	IBV_ACCESS_REMOTE_READ
#define MRS		4

/* The end of an RDMA connection that a process has. */
static struct {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	struct ibv_mr *mr[MRS];
	struct ibv_mr *local_mr;
	char *local;		/* ordinary memory, FILE_SIZE */
	uint64_t remote_addr;
	uint32_t remote_key;
} end;

/* ---- one end ---- */

static long act_rdma_open(struct actor *a, long unused)
{
	(void)a;
	(void)unused;
	end.ctx = open_device(device);
	if (!end.ctx)
		return -ENODEV;
	end.pd = ibv_alloc_pd(end.ctx);
	end.cq = ibv_create_cq(end.ctx, 4, NULL, NULL, 0);
	return end.pd && end.cq ? 0 : -errno;
}

/* Which MR, and whether it is for reading only. */
#define MR(slot, access)	((long)(slot) << 32 | (access))

static long act_reg(struct actor *a, long arg)
{
	int slot = arg >> 32, access = arg & 0xffffffff;

	end.mr[slot] = ibv_reg_mr(end.pd, a->map, a->map_len, access);
	return end.mr[slot] ? 0 : -errno;
}

static long act_dereg(struct actor *a, long slot)
{
	int ret = ibv_dereg_mr(end.mr[slot]);

	(void)a;
	if (!ret)
		end.mr[slot] = NULL;
	return -ret;
}

/*
 * rxe changes the rights of an MR and its domain, not its memory; and its user
 * library has no call for it, so this is what such a call would write.
 */
static long act_rereg(struct actor *a, long access)
{
	struct ib_uverbs_rereg_mr_resp response;
	struct {
		struct ib_uverbs_cmd_hdr head;
		struct ib_uverbs_rereg_mr cmd;
	} req = {
		.head = {
			.command = IB_USER_VERBS_CMD_REREG_MR,
			.in_words = sizeof(req) / 4,
			.out_words = sizeof(response) / 4,
		},
		.cmd = {
			.response = (uintptr_t)&response,
			.mr_handle = end.mr[0]->handle,
			.flags = IBV_REREG_MR_CHANGE_ACCESS,
			.access_flags = access,
		},
	};

	(void)a;
	return ERR(write(end.ctx->cmd_fd, &req, sizeof(req)));
}

static long act_rdma_close(struct actor *a, long unused)
{
	(void)a;
	(void)unused;
	/* Its queue is a mapping of the context, which would keep it. */
	if (ibv_destroy_cq(end.cq))
		return -EBUSY;
	/* The MR is left to the kernel. */
	return ERR(close(end.ctx->cmd_fd));
}

static long act_cmd_fd(struct actor *a, long unused)
{
	(void)a;
	(void)unused;
	return end.ctx->cmd_fd;
}

static long act_async_send(struct actor *a, long unused)
{
	(void)a;
	(void)unused;
	return send_fd(passing[0], end.ctx->cmd_fd);
}

/* open, lease, map, device and MR: all at once. */
static long act_rdma_hold(struct actor *a, long access)
{
	long ret = act_open(a, O_RDWR);

	if (!ret)
		ret = act_lease(a, EXCLUSIVE);
	if (!ret)
		ret = act_map(a, FILE_SIZE);
	if (!ret)
		ret = act_rdma_open(a, 0);
	if (!ret)
		ret = act_reg(a, MR(0, access));
	return ret;
}

/* ---- queue pairs ---- */

static long act_qp(struct actor *a, long unused)
{
	(void)a;
	(void)unused;
	end.qp = make_qp(end.pd, end.cq);
	return end.qp ? (long)end.qp->qp_num : -errno;
}

static long act_connect(struct actor *a, long qp_num)
{
	(void)a;
	return connect_qp(end.qp, qp_num);
}

static long act_local(struct actor *a, long unused)
{
	(void)a;
	(void)unused;
	end.local = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	if (end.local == MAP_FAILED)
		return -errno;
	end.local_mr = ibv_reg_mr(end.pd, end.local, FILE_SIZE, IBV_ACCESS_LOCAL_WRITE);
	return end.local_mr ? 0 : -errno;
}

static long act_addr(struct actor *a, long unused)
{
	(void)unused;
	return (long)a->map;
}

static long act_key(struct actor *a, long slot)
{
	(void)a;
	return end.mr[slot]->rkey;
}

static long act_set_addr(struct actor *a, long addr)
{
	(void)a;
	end.remote_addr = addr;
	return 0;
}

static long act_set_key(struct actor *a, long key)
{
	(void)a;
	end.remote_key = key;
	return 0;
}

/* Runs one work request to its end. */
static long post(struct ibv_send_wr *wr, size_t len)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)end.local,
		.length = len,
		.lkey = end.local_mr->lkey,
	};
	struct ibv_send_wr *bad;
	struct ibv_wc wc;
	long limit = now_ms() + scaled_ms(REPLY_MS);
	int ret;

	wr->sg_list = &sge;
	wr->num_sge = 1;
	wr->send_flags = IBV_SEND_SIGNALED;
	ret = ibv_post_send(end.qp, wr, &bad);
	if (ret)
		return -ret;
	do {
		ret = ibv_poll_cq(end.cq, 1, &wc);
		if (ret < 0)
			return -EIO;
		if (ret)
			return wc.status == IBV_WC_SUCCESS ? 0 : -EREMOTEIO;
		nap_ms(1);
	} while (now_ms() < limit);
	return -ETIMEDOUT;
}

static long act_write_remote(struct actor *a, long seed)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_RDMA_WRITE };

	(void)a;
	fill(end.local, FILE_SIZE, seed);
	wr.wr.rdma.remote_addr = end.remote_addr;
	wr.wr.rdma.rkey = end.remote_key;
	return post(&wr, FILE_SIZE);
}

static long act_read_remote(struct actor *a, long seed)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_RDMA_READ };
	long ret;

	(void)a;
	memset(end.local, 0, FILE_SIZE);
	wr.wr.rdma.remote_addr = end.remote_addr;
	wr.wr.rdma.rkey = end.remote_key;
	ret = post(&wr, FILE_SIZE);
	return ret ? ret : filled(end.local, FILE_SIZE, seed) ? 0 : -EBADMSG;
}

/* Adds to the first eight bytes; what was there before comes back. */
static long act_add_remote(struct actor *a, long value)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_ATOMIC_FETCH_AND_ADD };
	uint64_t before;
	long ret;

	(void)a;
	wr.wr.atomic.remote_addr = end.remote_addr;
	wr.wr.atomic.rkey = end.remote_key;
	wr.wr.atomic.compare_add = value;
	ret = post(&wr, sizeof(before));
	memcpy(&before, end.local, sizeof(before));
	return ret ? ret : (long)before;
}

/* ---- set-up of a pair ---- */

#define NEED_DEVICE()								\
	do {									\
		if (!device[0])							\
			SKIP(return, "no soft-RoCE (rdma_rxe, rdma(8)) here");	\
	} while (0)

/* Connects two peers; writer can then reach what target has registered as MR 0. */
static long join(struct peer *target, struct peer *writer)
{
	long t = peer_call(target, act_qp, 0), w, ret;

	if (t < 0)
		return t;
	ret = peer_call(writer, act_rdma_open, 0);
	if (!ret)
		ret = peer_call(writer, act_local, 0);
	if (ret)
		return ret;
	w = peer_call(writer, act_qp, 0);
	if (w < 0)
		return w;
	ret = peer_call(target, act_connect, w);
	if (!ret)
		ret = peer_call(writer, act_connect, t);
	if (!ret)
		ret = peer_call(writer, act_set_addr, peer_call(target, act_addr, 0));
	if (!ret)
		ret = peer_call(writer, act_set_key, peer_call(target, act_key, 0));
	return ret;
}

static bool file_filled(const char *path, unsigned int seed)
{
	static char data[FILE_SIZE];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool same = fd >= 0 && read(fd, data, sizeof(data)) == sizeof(data) &&
		    filled(data, sizeof(data), seed);

	close(fd);
	return same;
}

/* The file is nobody's: another process truncates it at once, and the table is empty. */
static bool is_free(const char *path, struct peer *other)
{
	char id[64], bad[512];
	struct pin_line line;

	locks_id(path, id, sizeof(id));
	return pins_of(id, &line, 1, bad, sizeof(bad)) == 0 &&
	       peer_call(other, act_truncate, 0) == 0;
}

/* ---- the cases ---- */

TEST_F(pinfs, P1_P7_reg_mr_without_a_lease)
{
	NEED_DEVICE();
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_rdma_open(&self->me, 0));
	EXPECT_EQ(-EOPNOTSUPP, act_reg(&self->me, MR(0, ALL_ACCESS)));
	EXPECT_EQ(-EOPNOTSUPP, act_reg(&self->me, MR(0, READ_ONLY)));
	EXPECT_TRUE(is_free(self->path, &self->b));
}

TEST_F(pinfs, P13_memory_registered_for_paging_on_demand_needs_no_lease)
{
	struct ibv_device_attr_ex attr;

	NEED_DEVICE();
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
	ASSERT_EQ(0, act_rdma_open(&self->me, 0));
	ASSERT_EQ(0, ibv_query_device_ex(end.ctx, NULL, &attr));
	if (!(attr.odp_caps.general_caps & IBV_ODP_SUPPORT))
		SKIP(return, "this kernel's rxe does no paging on demand");
	/* It pins nothing: the file is truncated under it. */
	ASSERT_EQ(0, act_reg(&self->me, MR(0, ALL_ACCESS | IBV_ACCESS_ON_DEMAND)));
	EXPECT_TRUE(is_free(self->path, &self->b));
	EXPECT_EQ(0, act_dereg(&self->me, 0));
}

TEST_F(pinfs, P7_write_read_and_atomic_into_the_file)
{
	uint64_t word = 41;
	int fd;

	NEED_DEVICE();
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_start(&self->c, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_rdma_hold, ALL_ACCESS));
	ASSERT_EQ(0, join(&self->a, &self->b));
	EXPECT_EQ(0, peer_call(&self->b, act_read_remote, FILE_SEED));
	EXPECT_EQ(0, peer_call(&self->b, act_write_remote, 77));
	EXPECT_TRUE(file_filled(self->path, 77));

	/* What write(2) stores the device reads, and the other way round. */
	fd = open(self->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(sizeof(word), pwrite(fd, &word, sizeof(word), 0));
	EXPECT_EQ(41, peer_call(&self->b, act_add_remote, 1));
	ASSERT_EQ(sizeof(word), pread(fd, &word, sizeof(word), 0));
	EXPECT_EQ(42, word);
	close(fd);

	EXPECT_EQ(-ETXTBSY, peer_call(&self->c, act_truncate, 0));
	EXPECT_EQ(-EBUSY, peer_call(&self->a, act_lease, F_UNLCK));
	EXPECT_EQ(0, peer_call(&self->a, act_dereg, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_lease, F_UNLCK));
	EXPECT_TRUE(is_free(self->path, &self->c));
}

TEST_F(pinfs, P8_P14_a_hole_through_a_device_that_outlives_descriptor_and_mapping)
{
	NEED_DEVICE();
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, truncate(self->path, 0));
	ASSERT_EQ(0, truncate(self->path, FILE_SIZE));
	ASSERT_EQ(0, peer_call(&self->a, act_rdma_hold, ALL_ACCESS));
	ASSERT_EQ(0, join(&self->a, &self->b));
	ASSERT_EQ(0, peer_call(&self->a, act_unmap, 0));
	ASSERT_EQ(0, peer_call(&self->a, act_close, 0));
	EXPECT_EQ(0, peer_call(&self->b, act_write_remote, 5));
	EXPECT_TRUE(file_filled(self->path, 5));
	EXPECT_EQ(-ETXTBSY, ERR(truncate(self->path, 0)));
	EXPECT_EQ(0, peer_call(&self->a, act_dereg, 0));
	EXPECT_TRUE(EVENTUALLY(truncate(self->path, 0) == 0, 1000));
}

TEST_F(pinfs, P14_read_only_region_over_a_hole_sees_later_writes)
{
	static char data[FILE_SIZE];
	int fd;

	NEED_DEVICE();
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, truncate(self->path, 0));
	ASSERT_EQ(0, truncate(self->path, FILE_SIZE));
	ASSERT_EQ(0, peer_call(&self->a, act_rdma_hold, READ_ONLY));
	ASSERT_EQ(0, join(&self->a, &self->b));
	fd = open(self->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	fill(data, sizeof(data), 9);
	ASSERT_EQ(FILE_SIZE, pwrite(fd, data, sizeof(data), 0));
	close(fd);
	EXPECT_EQ(0, peer_call(&self->b, act_read_remote, 9));
	/* Its rights are its own affair: the device may not write. */
	EXPECT_EQ(-EREMOTEIO, peer_call(&self->b, act_write_remote, 10));
}

TEST_F(pinfs, P6_rereg_mr_keeps_the_pin)
{
	char id[64], bad[512];
	struct pin_line line;

	NEED_DEVICE();
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, act_rdma_hold(&self->me, ALL_ACCESS));
	ASSERT_LT(0, act_rereg(&self->me, READ_ONLY));
	EXPECT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad)));
	EXPECT_EQ(FILE_PAGES, line.pages);
	EXPECT_EQ(-EBUSY, act_lease(&self->me, F_UNLCK));
	EXPECT_EQ(0, act_dereg(&self->me, 0));
	EXPECT_EQ(0, act_lease(&self->me, F_UNLCK));
	EXPECT_TRUE(is_free(self->path, &self->b));
}

TEST_F(pinfs, F1_several_regions_over_several_files_in_one_context)
{
	char head[256], text[8 * PATH_MAX], path[PATH_MAX], row[PATH_MAX + 2];
	struct actor file[MRS];
	char name[128], entry[64];
	size_t expected;
	ssize_t len;

	NEED_DEVICE();
	ASSERT_EQ(0, act_rdma_open(&self->me, 0));
	snprintf(entry, sizeof(entry), "/proc/self/fd/%ld", act_cmd_fd(&self->me, 0));
	len = readlink(entry, name, sizeof(name) - 1);
	ASSERT_LT(0, len);
	name[len] = '\0';
	expected = snprintf(head, sizeof(head), "%ld: %s\n", act_cmd_fd(&self->me, 0), name);
	for (int i = 0; i < MRS; i++) {
		snprintf(path, sizeof(path), "%.4000s/many%d", self->dir, i);
		ASSERT_EQ(0, make_file(path, FILE_PAGES, i));
		act_init(&file[i], path);
		ASSERT_EQ(0, act_open(&file[i], O_RDWR));
		ASSERT_EQ(0, act_lease(&file[i], EXCLUSIVE));
		ASSERT_EQ(0, act_map(&file[i], FILE_SIZE));
		ASSERT_EQ(0, act_reg(&file[i], MR(i, ALL_ACCESS)));
	}
	/* The context once, and under it each file once, in whatever order. */
	ASSERT_LT(0, read_text("/proc/self/file_pins", text, sizeof(text)));
	EXPECT_EQ(0, strncmp(text, head, expected));
	for (int i = 0; i < MRS; i++) {
		expected += snprintf(row, sizeof(row), "\t%s\n", file[i].path);
		EXPECT_NE(NULL, strstr(text, row));
	}
	EXPECT_EQ(expected, strlen(text)) {
		TH_LOG("'%s'", text);
	}
	for (int i = 0; i < MRS; i++)
		EXPECT_EQ(0, act_dereg(&file[i], i));
	EXPECT_EQ(0, read_text("/proc/self/file_pins", text, sizeof(text)));
	for (int i = 0; i < MRS; i++)
		act_fini(&file[i]);
}

TEST_F(pinfs, P6_P8_close_of_the_context_ends_the_pins)
{
	NEED_DEVICE();
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_rdma_hold, ALL_ACCESS));
	ASSERT_EQ(0, peer_call(&self->a, act_unmap, 0));
	ASSERT_EQ(0, peer_call(&self->a, act_close, 0));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->b, act_truncate, 0));
	EXPECT_EQ(0, peer_call(&self->a, act_rdma_close, 0));
	EXPECT_TRUE(EVENTUALLY(is_free(self->path, &self->b), 1000));
}

TEST_F(pinfs, L16_P6_SIGKILL_with_the_data_descriptor_before_the_context)
{
	NEED_DEVICE();
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_rdma_hold, ALL_ACCESS));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->b, act_truncate, 0));
	EXPECT_LE(0, peer_kill(&self->a));
	EXPECT_TRUE(EVENTUALLY(is_free(self->path, &self->b), 1000));
}

TEST_F(pinfs, L16_P6_SIGKILL_with_the_data_descriptor_behind_the_context)
{
	NEED_DEVICE();
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_rdma_open, 0));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	ASSERT_EQ(0, peer_call(&self->a, act_lease, EXCLUSIVE));
	ASSERT_EQ(0, peer_call(&self->a, act_map, FILE_SIZE));
	ASSERT_EQ(0, peer_call(&self->a, act_reg, MR(0, ALL_ACCESS)));
	EXPECT_LE(0, peer_kill(&self->a));
	EXPECT_TRUE(EVENTUALLY(is_free(self->path, &self->b), 1000));
}

TEST_F(pinfs, F3_F6_context_handed_on_by_SCM_RIGHTS)
{
	char text[2 * PATH_MAX], path[64], id[64], bad[512];
	struct pin_line line;
	pid_t first;

	NEED_DEVICE();
	locks_id(self->path, id, sizeof(id));
	ASSERT_EQ(0, make_passing());
	ASSERT_EQ(0, peer_start(&self->a, self->path));
	ASSERT_EQ(0, peer_start(&self->b, self->path));
	ASSERT_EQ(0, peer_start(&self->c, self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_rdma_hold, ALL_ACCESS));
	ASSERT_EQ(0, peer_call(&self->a, act_async_send, 0));
	ASSERT_EQ(0, peer_call(&self->b, act_take_fd, false));
	first = self->a.pid;
	EXPECT_LE(0, peer_kill(&self->a));

	/* The owner is dead; whoever has its context now is found, and nobody else. */
	snprintf(path, sizeof(path), "/proc/%d/file_pins", self->b.pid);
	ASSERT_LT(0, read_text(path, text, sizeof(text)));
	EXPECT_NE(NULL, strstr(text, self->path));
	ASSERT_EQ(1, pins_of(id, &line, 1, bad, sizeof(bad)));
	EXPECT_TRUE(pids_have(line.pids, self->b.pid));
	EXPECT_FALSE(pids_have(line.pids, first));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->c, act_truncate, 0));
	EXPECT_LE(0, peer_kill(&self->b));
	EXPECT_TRUE(EVENTUALLY(is_free(self->path, &self->c), 1000));
}

TEST_HARNESS_MAIN
