/* SPDX-License-Identifier: GPL-2.0 */
/* A soft-RoCE device for as long as the test program runs; one source file may include this. */
#ifndef RDMA_DEVICE_H
#define RDMA_DEVICE_H

#include "rdma_test.h"

static char device[64];		/* its name, or nothing if there is none */
static pid_t first_process;

/* Before the harness forks for the first test, so that there is one device for all. */
__attribute__((constructor)) static void link_up(void)
{
	first_process = getpid();
	if (rdma_link("up", device, sizeof(device)))
		device[0] = '\0';
}

__attribute__((destructor)) static void link_down(void)
{
	char unused[64];

	if (getpid() == first_process)
		rdma_link("down", unused, sizeof(unused));
}

#endif /* RDMA_DEVICE_H */
