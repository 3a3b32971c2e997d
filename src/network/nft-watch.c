/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notices that somebody else has changed nftables: one socket in the kernel's multicast group for it.
 *
 * A transaction is told as the messages of its changes, and at last one with the name of the thread that made it. A filter in the
 * kernel keeps from us what our own socket has changed, so that containers with ports wake nobody; what our process does through libnftables, which
 * has sockets of its own, is known by that name.
 *
 * Only what may concern us counts: our table, base chains at the hook `forward` that come, go or change, and rules in tables that have such a chain, as
 * foreign.c saw them last. A message too many costs a look, which finds everything well.
 */
#include "base/fd.h"
#include "network/foreign-internal.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#define ROOM (1 << 20) /* of the socket: who loads some thousand rules at once causes as many messages */

typedef struct NetworkWatch {
	Netlink nl;
	char program[NETWORK_PROGRAM]; /* our main thread's name: other threads add a hyphen and a word */
	unsigned pending;              /* of the transaction that is being told */
} NetworkWatch;

void watch_free(NetworkWatch *w)
{
	if (!w)
		return;
	netlink_close(&w->nl);
	free(w);
}

/* Lets through what was not caused by the socket `port`. The kernel reads words as if they came from a network. */
static int filter_out(Netlink *nl, uint32_t port, Err *e)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_pid)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(port), 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, 0),
	    BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	struct sock_fprog program = {.len = ELEMENTSOF(code), .filter = code};

	if (setsockopt(mnl_socket_get_fd(nl->sock), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) <
	    0)
		return err_sys(e, errno, "filter the socket");
	return 0;
}

/* The kernel tells the name of the thread. */
static int own_name(char ret[NETWORK_PROGRAM], Err *e)
{
	_cleanup_close_ int fd = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, NETWORK_PROGRAM - 1);

	if (n < 0)
		return err_sys(e, errno, "read /proc/self/comm");
	ret[n] = 0;
	ret[strcspn(ret, "\n")] = 0;
	return 0;
}

static bool is_own(const NetworkWatch *w, const char *name)
{
	size_t n = strlen(w->program);

	return strncmp(name, w->program, n) == 0 && (name[n] == 0 || name[n] == '-');
}

static int subscribe(NetworkHost *h, NetworkWatch *w, Err *e)
{
	int group = NFNLGRP_NFTABLES, room = ROOM, r;

	r = own_name(w->program, e);
	if (r >= 0)
		r = netlink_open(&w->nl, NETLINK_NETFILTER, e);
	if (r >= 0)
		r = filter_out(&w->nl, mnl_socket_get_portid(h->filter.sock), e);
	if (r < 0)
		return r;
	/* With less room there is more to be looked at anew, that is all. */
	(void)setsockopt(mnl_socket_get_fd(w->nl.sock), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (mnl_socket_setsockopt(w->nl.sock, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return err_sys(e, errno, "join the group");
	return 0;
}

int network_watch_open(NetworkHost *h, int *ret_fd, Err *e)
{
	NetworkWatch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return err_oom(e);
	r = subscribe(h, w, e);
	if (r < 0) {
		watch_free(w);
		return err_ctx(e, r, "watch nftables");
	}
	watch_free(h->watch);
	h->watch = w;
	*ret_fd = mnl_socket_get_fd(w->nl.sock);
	return 0;
}

/* Tables and chains have their table's name as attribute 1, as do rules, sets and elements. */
_Static_assert((int)NFTA_TABLE_NAME == (int)NFTA_CHAIN_TABLE &&
		   (int)NFTA_CHAIN_TABLE == (int)NFTA_RULE_TABLE &&
		   (int)NFTA_RULE_TABLE == (int)NFTA_SET_TABLE &&
		   (int)NFTA_SET_TABLE == (int)NFTA_SET_ELEM_LIST_TABLE,
	       "attribute of the table");

static bool is_forward_chain(const struct nlmsghdr *m)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, m,
			  sizeof(struct nfgenmsg)) if (mnl_attr_get_type(attr) ==
						       NFTA_CHAIN_HOOK) return foreign_hook_is_forward(attr);
	return false;
}

static unsigned change_of(const NetworkHost *h, const struct nlmsghdr *m)
{
	char table[FOREIGN_NAME] = "";
	const struct nlattr *attr;
	int type = m->nlmsg_type & 0xFF;

	mnl_attr_for_each(attr, m, sizeof(struct nfgenmsg)) if (mnl_attr_get_type(attr) == NFTA_TABLE_NAME)
	    snprintf(table, sizeof(table), "%.*s", (int)mnl_attr_get_payload_len(attr),
		     mnl_attr_get_str(attr));
	if (streq(table, h->table))
		return NETWORK_CHANGE_OURS;
	if ((type == NFT_MSG_NEWCHAIN || type == NFT_MSG_DELCHAIN) && is_forward_chain(m))
		return NETWORK_CHANGE_OTHERS;
	if ((type == NFT_MSG_NEWRULE || type == NFT_MSG_DELRULE) && strv_has(h->forward_tables, table))
		return NETWORK_CHANGE_OTHERS;
	return 0;
}

/* The end of a transaction. */
static unsigned take_end(NetworkWatch *w, const struct nlmsghdr *m, char by[NETWORK_PROGRAM])
{
	char name[NETWORK_PROGRAM] = "";
	const struct nlattr *attr;
	unsigned was = w->pending;

	mnl_attr_for_each(attr, m, sizeof(struct nfgenmsg)) if (mnl_attr_get_type(attr) == NFTA_GEN_PROC_NAME)
	    snprintf(name, sizeof(name), "%.*s", (int)mnl_attr_get_payload_len(attr), mnl_attr_get_str(attr));
	w->pending = 0;
	if (was == 0 || is_own(w, name))
		return 0;
	if (by)
		memcpy(by, name, sizeof(name));
	return was;
}

static unsigned take_messages(NetworkHost *h, const char *buf, size_t got, char by[NETWORK_PROGRAM])
{
	const struct nlmsghdr *m = (const void *)buf;
	unsigned found = 0;
	int left = (int)got;

	for (; mnl_nlmsg_ok(m, left); m = mnl_nlmsg_next(m, &left)) {
		if (m->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES ||
		    mnl_nlmsg_get_payload_len(m) < sizeof(struct nfgenmsg))
			continue;
		if ((m->nlmsg_type & 0xFF) == NFT_MSG_NEWGEN)
			found |= take_end(h->watch, m, by);
		else
			h->watch->pending |= change_of(h, m);
	}
	return found;
}

unsigned network_watch_read(NetworkHost *h, char ret_by[NETWORK_PROGRAM])
{
	_Alignas(8) char buf[32768];
	unsigned found = 0;

	if (ret_by)
		*ret_by = 0;
	if (!h->watch)
		return 0;
	SCOPE_LOCK(&h->lock);
	for (;;) {
		ssize_t n = recv(mnl_socket_get_fd(h->watch->nl.sock), buf, sizeof(buf), MSG_DONTWAIT);

		if (n > 0)
			found |= take_messages(h, buf, (size_t)n, ret_by);
		else if (n < 0 && errno == ENOBUFS)
			/* Some are lost: anything may have changed. */
			found |= NETWORK_CHANGE_OURS | NETWORK_CHANGE_OTHERS;
		else if (n == 0 || errno != EINTR)
			return found;
	}
}
