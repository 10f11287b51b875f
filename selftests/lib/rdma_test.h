/* SPDX-License-Identifier: GPL-2.0 */
/* Queue pairs of a soft-RoCE device, for the tests and for what measures. */
#ifndef RDMA_TEST_H
#define RDMA_TEST_H

#include <errno.h>
#include <infiniband/verbs.h>
#include <libgen.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PORT		1

/*
 * Makes a soft-RoCE device ("up", with its name as the answer), or removes it
 * ("down"): what rdma_link.sh, which lies beside this program, gives as status.
 */
static inline int rdma_link(const char *verb, char *out, size_t size)
{
	char self[PATH_MAX] = "", cmd[PATH_MAX + 32];
	FILE *pipe;

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return -1;
	snprintf(cmd, sizeof(cmd), "sh %s/rdma_link.sh %s", dirname(self), verb);
	pipe = popen(cmd, "r");
	if (!pipe)
		return -1;
	if (!fgets(out, size, pipe))
		out[0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return pclose(pipe);
}

/* A context of the device of that name, or NULL. */
static inline struct ibv_context *open_device(const char *name)
{
	int n = 0;
	struct ibv_device **list = ibv_get_device_list(&n);
	struct ibv_context *context = NULL;

	for (int i = 0; i < n && !context; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			context = ibv_open_device(list[i]);
	if (list)
		ibv_free_device_list(list);
	return context;
}

/* The entry of the GID table that holds the link's IPv4 address. */
static inline int gid_index(struct ibv_context *ctx, union ibv_gid *gid)
{
	struct ibv_gid_entry entry;

	for (int i = 0; i < 16; i++) {
		if (ibv_query_gid_ex(ctx, PORT, i, &entry, 0))
			continue;
		if (entry.gid_type == IBV_GID_TYPE_ROCE_V2 &&
		    IN6_IS_ADDR_V4MAPPED((struct in6_addr *)entry.gid.raw)) {
			*gid = entry.gid;
			return i;
		}
	}
	return -1;
}

/* A queue pair whose ends of work both go to one queue, or NULL and errno. */
static inline struct ibv_qp *make_qp(struct ibv_pd *pd, struct ibv_cq *cq)
{
	struct ibv_qp_init_attr init = {
		.send_cq = cq,
		.recv_cq = cq,
		.cap = { .max_send_wr = 4, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
	};

	return ibv_create_qp(pd, &init);
}

/* Connects it to another one of the same device; negative errno on failure. */
static inline long connect_qp(struct ibv_qp *qp, uint32_t qp_num)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = PORT,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ |
				   IBV_ACCESS_REMOTE_ATOMIC,
	};
	union ibv_gid gid;
	int ret, index = gid_index(qp->context, &gid);

	if (index < 0)
		return -ENXIO;
	ret = ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
			    IBV_QP_ACCESS_FLAGS);
	if (ret)
		return -ret;
	attr = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = qp_num,
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = 12,
		.ah_attr = {
			.is_global = 1,
			.port_num = PORT,
			.grh = { .dgid = gid, .sgid_index = index, .hop_limit = 1 },
		},
	};
	ret = ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
			    IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
			    IBV_QP_MIN_RNR_TIMER);
	if (ret)
		return -ret;
	attr = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTS,
		/* 4.096 us * 2^18, about a second: an emulated machine is slow to acknowledge. */
		.timeout = 18,
		.retry_cnt = 7,
		.rnr_retry = 7,
		.max_rd_atomic = 1,
	};
	ret = ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
			    IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
	return -ret;
}

#endif /* RDMA_TEST_H */
