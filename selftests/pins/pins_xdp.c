// SPDX-License-Identifier: GPL-2.0
/*
 * Long-term pins by AF_XDP: the mapping of a file is the memory for frames
 * (UMEM) of a socket made by libxdp, and frames go between the file and the
 * other end of a virtual link.
 */
#include "kselftest_harness.h"

#include "pinfs_test.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <xdp/xsk.h>

/* One end is the socket's, the other sends and receives as any network would. */
#define HERE		"pinfs-xdp0"
#define THERE		"pinfs-xdp1"

/* For local experiments (IEEE 802): nothing else on the link is of this type. */
#define OUR_TYPE	0x88b5

/* A page of the file holds a frame; the ring of free ones has to be a power of two. */
#define SLOTS		FILE_PAGES
#define RINGS		64
#define FRAME		1000
#define FRAMES		4

static struct {
	struct xsk_umem *umem;
	struct xsk_socket *xsk;
	struct xsk_ring_prod fill, tx;
	struct xsk_ring_cons comp, rx;
	int map, link;
} end;

/* ---- the link ---- */

/* In a network of the test's own, which goes with it. */
static const char *make_link(void)
{
	if (unshare(CLONE_NEWNET))
		return "no network namespace can be made";
	if (system("ip link add " HERE " type veth peer name " THERE " && "
		   "ip link set " HERE " up && ip link set " THERE " up"))
		return "no virtual link can be made";
	return NULL;
}

static int packet_socket(void)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(OUR_TYPE),
		.sll_ifindex = if_nametoindex(THERE),
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(OUR_TYPE));

	if (fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A frame to everyone, with contents that tell it from others. */
static void make_frame(unsigned char *frame, unsigned int seed)
{
	struct ether_header head = { .ether_type = htons(OUR_TYPE) };
	unsigned char page[PAGE];

	fill(page, PAGE, seed);
	memset(head.ether_dhost, 0xff, sizeof(head.ether_dhost));
	memset(head.ether_shost, 2, sizeof(head.ether_shost));
	memcpy(frame, page, FRAME);
	memcpy(frame, &head, sizeof(head));
}

/* ---- the socket ---- */

/*
 * Every frame that arrives goes to the socket of its queue:
 * return bpf_redirect_map(map, ctx->rx_queue_index, XDP_PASS);
 */
static int load_program(int map)
{
	struct bpf_insn code[] = {
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = BPF_REG_2, .src_reg = BPF_REG_1,
		  .off = offsetof(struct xdp_md, rx_queue_index) },
		{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = BPF_REG_1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map },
		{ 0 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "pinfs_frames", "GPL", code, ARRAY_SIZE(code), NULL);
}

/* Makes the actor's mapping a UMEM. */
static long make_umem(struct actor *a)
{
	const struct xsk_umem_config config = {
		.fill_size = RINGS,
		.comp_size = RINGS,
		.frame_size = PAGE,
	};

	return xsk_umem__create(&end.umem, a->map, a->map_len, &end.fill, &end.comp, &config);
}

/* Lets frames of the link come into the UMEM. */
static long make_socket(void)
{
	const struct xsk_socket_config config = {
		.rx_size = RINGS,
		.tx_size = RINGS,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.bind_flags = XDP_COPY,
	};
	LIBBPF_OPTS(bpf_link_create_opts, generic, .flags = XDP_FLAGS_SKB_MODE);
	long ret = xsk_socket__create(&end.xsk, HERE, 0, end.umem, &end.rx, &end.tx, &config);
	int program;

	if (ret)
		return ret;
	end.map = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "pinfs_sockets", sizeof(int), sizeof(int), 1, NULL);
	if (end.map < 0)
		return end.map;
	ret = xsk_socket__update_xskmap(end.xsk, end.map);
	if (ret)
		return ret;
	program = load_program(end.map);
	if (program < 0)
		return program;
	end.link = bpf_link_create(program, if_nametoindex(HERE), BPF_XDP, &generic);
	close(program);
	return end.link < 0 ? end.link : 0;
}

/* Lets go what is there: as a process does that is done with the link. */
static long drop_socket(void)
{
	long ret = 0;

	if (end.link > 0)
		close(end.link);
	if (end.map > 0)
		close(end.map);
	if (end.xsk)
		xsk_socket__delete(end.xsk);
	if (end.umem)
		ret = xsk_umem__delete(end.umem);
	memset(&end, 0, sizeof(end));
	return ret;
}

/* Gives a slot to the kernel, to be received into. */
static bool offer(unsigned long slot)
{
	__u32 at;

	if (xsk_ring_prod__reserve(&end.fill, 1, &at) != 1)
		return false;
	*xsk_ring_prod__fill_addr(&end.fill, at) = slot * PAGE;
	xsk_ring_prod__submit(&end.fill, 1);
	return true;
}

/* Waits for a frame of ours, and says where it is. What else comes is let go. */
static bool receive(int file, struct xdp_desc *desc)
{
	struct pollfd ready = { .fd = xsk_socket__fd(end.xsk), .events = POLLIN };
	long limit = now_ms() + scaled_ms(REPLY_MS);
	struct ether_header head;
	__u32 at;

	while (now_ms() < limit) {
		if (xsk_ring_cons__peek(&end.rx, 1, &at) != 1) {
			poll(&ready, 1, 100);
			continue;
		}
		*desc = *xsk_ring_cons__rx_desc(&end.rx, at);
		xsk_ring_cons__release(&end.rx, 1);
		if (pread(file, &head, sizeof(head), desc->addr) != sizeof(head))
			return false;
		if (head.ether_type == htons(OUR_TYPE))
			return true;
		if (!offer(desc->addr / PAGE))
			return false;
	}
	return false;
}

/* Sends a frame that lies in the UMEM, and waits until its slot is free again. */
static bool transmit(unsigned long addr, unsigned int len)
{
	int fd = xsk_socket__fd(end.xsk);
	__u32 at;

	if (xsk_ring_prod__reserve(&end.tx, 1, &at) != 1)
		return false;
	*xsk_ring_prod__tx_desc(&end.tx, at) = (struct xdp_desc){ .addr = addr, .len = len };
	xsk_ring_prod__submit(&end.tx, 1);
	if (sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0) && errno != EAGAIN && errno != EBUSY)
		return false;
	if (!EVENTUALLY(xsk_ring_cons__peek(&end.comp, 1, &at) == 1, REPLY_MS))
		return false;
	xsk_ring_cons__release(&end.comp, 1);
	return true;
}

/* ---- the tests ---- */

/* The link, and the mapping of the file, with a lease or not. */
static void prepare(struct __test_metadata *_metadata, FIXTURE_DATA(pinfs) *self, long lease)
{
	const char *why = make_link();

	if (why)
		SKIP(exit(KSFT_SKIP), "%s", why);
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	if (lease)
		ASSERT_EQ(0, act_lease(&self->me, lease));
	ASSERT_EQ(0, act_map(&self->me, FILE_SIZE));
}

/* Whether this process has the file pinned by the UMEM's socket, and by nothing else. */
static bool socket_has_file(const char *path)
{
	char link[64], name[64] = "", want[PATH_MAX + 256], text[PATH_MAX + 256] = "";
	int fd = xsk_umem__fd(end.umem);

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (readlink(link, name, sizeof(name) - 1) < 0 || read_text("/proc/self/file_pins", text, sizeof(text)) < 0)
		return false;
	snprintf(want, sizeof(want), "%d: %s\n\t%s\n", fd, name, path);
	return !strcmp(want, text);
}

TEST_F(pinfs, P1_P7_UMEM_without_a_lease)
{
	char id[64], bad[512] = "";
	struct pin_line line;

	prepare(_metadata, self, 0);
	EXPECT_EQ(-EOPNOTSUPP, make_umem(&self->me));
	locks_id(self->path, id, sizeof(id));
	EXPECT_EQ(0, pins_of(id, &line, 1, bad, sizeof(bad)));
	EXPECT_EQ(0, act_ftruncate(&self->me, 0));
}

TEST_F(pinfs, P7_P8_F1_frames_are_received_into_the_file)
{
	unsigned char frame[FRAMES][FRAME], got[FRAME];
	struct xdp_desc desc;
	int there, file;

	ASSERT_EQ(0, peer_start(&self->a, self->path));
	prepare(_metadata, self, EXCLUSIVE);
	ASSERT_EQ(0, make_umem(&self->me));
	ASSERT_EQ(0, make_socket());
	EXPECT_TRUE(socket_has_file(self->path));
	ASSERT_EQ(0, peer_call(&self->a, act_open, O_RDWR));
	there = packet_socket();
	ASSERT_LE(0, there);
	file = open(self->path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, file);
	for (int slot = 0; slot < SLOTS; slot++)
		ASSERT_TRUE(offer(slot));

	for (int i = 0; i < FRAMES; i++) {
		make_frame(frame[i], i);
		ASSERT_EQ(FRAME, ERR(send(there, frame[i], FRAME, 0)));
		ASSERT_TRUE(receive(file, &desc));
		EXPECT_EQ(FRAME, desc.len);
		ASSERT_EQ(FRAME, ERR(pread(file, got, FRAME, desc.addr)));
		EXPECT_EQ(0, memcmp(frame[i], got, FRAME));
		/* As long as it lasts, the blocks are the file's. */
		EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_truncate, 0));
		EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_punch, RANGE(desc.addr / PAGE, 1)));
	}

	/* The device goes on without the mapping and the descriptor, too. */
	ASSERT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	ASSERT_EQ(FRAME, ERR(send(there, frame[0], FRAME, 0)));
	ASSERT_TRUE(receive(file, &desc));
	ASSERT_EQ(FRAME, ERR(pread(file, got, FRAME, desc.addr)));
	EXPECT_EQ(0, memcmp(frame[0], got, FRAME));
	EXPECT_EQ(-ETXTBSY, peer_call(&self->a, act_truncate, 0));

	EXPECT_EQ(0, drop_socket());
	EXPECT_TRUE(EVENTUALLY(peer_call(&self->a, act_truncate, 0) == 0, REPLY_MS));
	close(file);
	close(there);
}

TEST_F(pinfs, P7_frames_are_sent_out_of_the_file)
{
	unsigned char frame[FRAME], got[PAGE];
	int there;

	prepare(_metadata, self, EXCLUSIVE);
	ASSERT_EQ(0, make_umem(&self->me));
	ASSERT_EQ(0, make_socket());
	there = packet_socket();
	ASSERT_LE(0, there);
	for (int i = 0; i < FRAMES; i++) {
		unsigned long addr = (SLOTS - 1 - i) * PAGE + 64;

		make_frame(frame, i);
		/* What write(2) puts into the file is what goes out. */
		ASSERT_EQ(FRAME, ERR(pwrite(self->me.fd, frame, FRAME, addr)));
		ASSERT_TRUE(transmit(addr, FRAME));
		ASSERT_EQ(FRAME, ERR(recv(there, got, sizeof(got), 0)));
		EXPECT_EQ(0, memcmp(frame, got, FRAME));
	}
	EXPECT_EQ(0, drop_socket());
	close(there);
}

/*
 * What ends with unpin_user_pages_dirty_lock(), and nothing else does for so
 * long.  Nobody may ask for the file's leases or pins meanwhile: that compares
 * the record with what the kernel has pinned, and finds what was missed.
 */
TEST_F(pinfs, P6_P8_P7_a_removed_file_is_freed_with_its_UMEM)
{
	struct pollfd freed = { .fd = inotify_init1(IN_CLOEXEC), .events = POLLIN };

	prepare(_metadata, self, EXCLUSIVE);
	ASSERT_EQ(0, make_umem(&self->me));
	ASSERT_LE(0, freed.fd);
	ASSERT_LE(0, inotify_add_watch(freed.fd, self->path, IN_DELETE_SELF));
	ASSERT_EQ(0, unlink(self->path));
	ASSERT_EQ(0, act_close(&self->me, 0));
	ASSERT_EQ(0, act_unmap(&self->me, 0));
	EXPECT_EQ(0, poll(&freed, 1, scaled_ms(100)));
	EXPECT_EQ(0, drop_socket());
	EXPECT_EQ(1, poll(&freed, 1, scaled_ms(REPLY_MS)));
	close(freed.fd);
}

/* In a page of the file that no frame comes to: where the first one has come. */
struct arrival {
	uint64_t magic;
	uint64_t addr;
};

#define ARRIVED		0x6465766972726121ULL
#define ARRIVAL		PAGE

/*
 * Receives for ever, and leaves the first frame where it is. The kernel has
 * frames of its own on a new link: with one slot, ours would find none at times.
 */
static void keep_receiving(struct actor *a, int there, const unsigned char *frame)
{
	struct arrival *arrival = (struct arrival *)(a->map + ARRIVAL);
	bool first = true;

	for (int slot = 0; slot < SLOTS; slot++)
		if (slot != ARRIVAL / PAGE && !offer(slot))
			return;
	for (;;) {
		struct xdp_desc desc;

		if (send(there, frame, FRAME, 0) != FRAME || !receive(a->fd, &desc))
			return;
		if (!first && !offer(desc.addr / PAGE))
			return;
		if (first) {
			arrival->addr = desc.addr;
			__atomic_store_n(&arrival->magic, ARRIVED, __ATOMIC_RELEASE);
			first = false;
		}
	}
}

/* A frame is in the file also after the process is no more. */
TEST_F(pinfs, P6_P7_SIGKILL_while_frames_come)
{
	unsigned char frame[FRAME], got[FRAME];
	struct arrival seen = { 0 };
	const char *why = make_link();
	pid_t child;
	int there, status;

	if (why)
		SKIP(return, "%s", why);
	there = packet_socket();
	ASSERT_LE(0, there);
	make_frame(frame, 7);
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		long ret = act_open(&self->me, O_RDWR);

		if (!ret)
			ret = act_lease(&self->me, EXCLUSIVE);
		if (!ret)
			ret = act_map(&self->me, FILE_SIZE);
		if (!ret)
			ret = make_umem(&self->me);
		if (!ret)
			ret = make_socket();
		if (!ret)
			keep_receiving(&self->me, there, frame);
		_exit(1);
	}
	ASSERT_EQ(0, act_open(&self->me, O_RDWR));
	EXPECT_TRUE(EVENTUALLY(pread(self->me.fd, &seen, sizeof(seen), ARRIVAL) == sizeof(seen) &&
			       seen.magic == ARRIVED, REPLY_MS));
	EXPECT_EQ(-ETXTBSY, act_ftruncate(&self->me, 0));
	EXPECT_EQ(0, kill(child, SIGKILL));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(FRAME, ERR(pread(self->me.fd, got, FRAME, seen.addr)));
	EXPECT_EQ(0, memcmp(frame, got, FRAME));
	EXPECT_TRUE(EVENTUALLY(act_ftruncate(&self->me, 0) == 0, REPLY_MS));
	close(there);
}

TEST_HARNESS_MAIN
