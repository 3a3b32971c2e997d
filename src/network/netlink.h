/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Netlink for this floor: messages are gathered in a batch, sent with one system call, and answered by
 * one acknowledgement (of the last message) unless something fails. Errors carry the kernel's own
 * explanation (extended ack) when it gives one.
 *
 * A Netlink may be used from several threads; requests on it take turns. Private to src/network.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <libmnl/libmnl.h>
#include <net/if.h>
#include <pthread.h>

typedef struct Netlink {
	struct mnl_socket *sock;
	pthread_mutex_t lock;
	uint32_t seq;
} Netlink;

/* bus: NETLINK_ROUTE, NETLINK_NETFILTER. */
int netlink_open(Netlink *nl, int bus, Err *e);
/* The socket belongs to the namespace netns_fd; the calling thread stays where it is. */
int netlink_open_in(Netlink *nl, int netns_fd, int bus, Err *e);
void netlink_close(Netlink *nl);

/* Runs fn in a thread of its own inside the network namespace netns_fd, or in a new one if that is -1. */
int netns_call(int netns_fd, int (*fn)(void *arg, Err *e), void *arg, Err *e);
/* The same in two steps: the thread works until netns_end, which returns what fn did. The job stays where it is meanwhile. */
typedef struct NetnsJob {
	int netns_fd;
	int (*fn)(void *arg, Err *e);
	void *arg;
	Err *e;
	int r;
	pthread_t thread;
} NetnsJob;
int netns_begin(NetnsJob *job, Err *e);
int netns_end(NetnsJob *job);

typedef struct NetlinkBatch {
	StrBuf text;
	size_t n;
	bool
	    transaction; /* nftables: the first and last message only open and close it, and are not acknowledged */
	_Alignas(8) char scratch[2048]; /* the message being built: ours are all far smaller */
} NetlinkBatch;

void netlink_batch_done(NetlinkBatch *b);
#define _cleanup_batch_ _cleanup_(netlink_batch_done)

/* Begins a message; `header` is the family's fixed part (ifinfomsg, nfgenmsg, ...). */
struct nlmsghdr *netlink_msg(NetlinkBatch *b, uint16_t type, uint16_t flags, const void *header, size_t len);
/* Ends it, putting it into the batch. */
void netlink_msg_end(NetlinkBatch *b, struct nlmsghdr *m);

/* Sends the batch and waits for the verdict. On failure *ret_bad (may be NULL) is the index of the first message that
 * failed, counted from 0, and the text in e is the kernel's reason alone: callers say what they were doing. The kernel goes on
 * after a failed rtnetlink message, while a nftables batch is undone whole. */
int netlink_run(Netlink *nl, NetlinkBatch *b, size_t *ret_bad, Err *e);

/* Called for every object of an answer. A negative result ends the request with it. */
typedef int (*NetlinkObjectFn)(const struct nlmsghdr *m, void *arg);
/* Asks the one message in the batch and hands over the answers. An object may come twice when the tables
 * change while they are listed (the listing begins anew then). */
int netlink_ask(Netlink *nl, NetlinkBatch *b, NetlinkObjectFn fn, void *arg, Err *e);

/* What we look at in a link. */
typedef struct LinkInfo {
	int index;
	int master;
	uint32_t mtu;
	unsigned flags;
	bool route_localnet;
	char name[IFNAMSIZ];
	char kind[16];
	uint8_t mac[6];
	char alias[256];
} LinkInfo;

void link_info_parse(const struct nlmsghdr *m, LinkInfo *ret);
/* 1 and the link, 0 if there is none of that name. */
int link_find(Netlink *nl, const char *name, LinkInfo *ret, Err *e);
int link_check_name(const char *name, Err *e);
