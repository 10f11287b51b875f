#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Makes and removes a soft-RoCE device over a virtual link.
#
#	rdma_link.sh up|down
#
# up prints the device's name. Status 4 (what kselftest takes for a skip) if
# this kernel or this machine has no soft-RoCE.
NET=pinfs-net
DEV=pinfs-rxe

case $1 in
up)
	command -v rdma >/dev/null && modprobe rdma_rxe 2>/dev/null || exit 4
	# ibv_reg_mr() and its like go through it.
	modprobe ib_uverbs 2>/dev/null
	ip link show $NET >/dev/null 2>&1 || {
		ip link add $NET type veth peer name ${NET}1 &&
			ip link set ${NET}1 up && ip addr add 192.0.2.1/24 dev $NET && ip link set $NET up || exit 1
	}
	rdma link show $DEV/1 >/dev/null 2>&1 || rdma link add $DEV type rxe netdev $NET || exit 1
	echo $DEV
	;;
down)
	rdma link delete $DEV 2>/dev/null
	ip link delete $NET 2>/dev/null
	modprobe -r rdma_rxe 2>/dev/null
	exit 0
	;;
*)
	echo "usage: rdma_link.sh up|down" >&2
	exit 2
	;;
esac
