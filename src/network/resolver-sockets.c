/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver's sockets in a container's namespace.
 *
 * They are bound to ports of the kernel's choice, because port 53 belongs to the container: one that is itself a name server binds it on every
 * address. Four rules in a table of the namespace's own change the port on the way, of what goes to 127.0.0.11:53 and of what comes back.
 * They rewrite packets and keep no state, so no connection tracking starts in the namespace; other packets pass one comparison.
 *
 * The table says in its comment which ports those are. It outlives the sockets, and a container that joins a network again gets sockets at the
 * same ports: to replace a table takes the kernel 20 to 40 ms, as it waits for all who may be reading the old one.
 */
#include "network/network-internal.h"
#include "network/resolver.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#define TABLE        "ireko_resolver"
#define CHAIN        "output"
#define PORT         53
#define COMMENT      "127.0.0.11:53 is at udp port %hu and tcp port %hu"
#define COMMENT_ROOM 80
#define RECEIVE_ROOM (64 << 10)
#define BACKLOG      16

/* ---- expressions of rules ---- */

static void put_be32(struct nlmsghdr *m, uint16_t type, uint32_t v)
{
	mnl_attr_put_u32(m, type, htonl(v));
}

typedef struct Expression {
	struct nlattr *element, *data;
} Expression;

static Expression expression_begin(struct nlmsghdr *m, const char *name)
{
	Expression x = {.element = mnl_attr_nest_start(m, NFTA_LIST_ELEM)};

	mnl_attr_put_strz(m, NFTA_EXPR_NAME, name);
	x.data = mnl_attr_nest_start(m, NFTA_EXPR_DATA);
	return x;
}

static void expression_end(struct nlmsghdr *m, Expression x)
{
	mnl_attr_nest_end(m, x.data);
	mnl_attr_nest_end(m, x.element);
}

static void put_compare(struct nlmsghdr *m, const void *value, size_t len)
{
	Expression x = expression_begin(m, "cmp");

	put_be32(m, NFTA_CMP_SREG, NFT_REG_1);
	put_be32(m, NFTA_CMP_OP, NFT_CMP_EQ);
	nft_put_value(m, NFTA_CMP_DATA, value, len);
	expression_end(m, x);
}

static void put_load(struct nlmsghdr *m, uint32_t base, uint32_t offset, uint32_t len)
{
	Expression x = expression_begin(m, "payload");

	put_be32(m, NFTA_PAYLOAD_DREG, NFT_REG_1);
	put_be32(m, NFTA_PAYLOAD_BASE, base);
	put_be32(m, NFTA_PAYLOAD_OFFSET, offset);
	put_be32(m, NFTA_PAYLOAD_LEN, len);
	expression_end(m, x);
}

static void put_protocol(struct nlmsghdr *m, uint8_t protocol)
{
	Expression x = expression_begin(m, "meta");

	put_be32(m, NFTA_META_DREG, NFT_REG_1);
	put_be32(m, NFTA_META_KEY, NFT_META_L4PROTO);
	expression_end(m, x);
	put_compare(m, &protocol, sizeof(protocol));
}

static void put_store(struct nlmsghdr *m, uint16_t port, uint32_t offset, uint32_t checksum)
{
	uint16_t value = htons(port);
	Expression x = expression_begin(m, "immediate");

	put_be32(m, NFTA_IMMEDIATE_DREG, NFT_REG_1);
	nft_put_value(m, NFTA_IMMEDIATE_DATA, &value, sizeof(value));
	expression_end(m, x);
	x = expression_begin(m, "payload");
	put_be32(m, NFTA_PAYLOAD_SREG, NFT_REG_1);
	put_be32(m, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
	put_be32(m, NFTA_PAYLOAD_OFFSET, offset);
	put_be32(m, NFTA_PAYLOAD_LEN, sizeof(value));
	put_be32(m, NFTA_PAYLOAD_CSUM_TYPE, NFT_PAYLOAD_CSUM_INET);
	put_be32(m, NFTA_PAYLOAD_CSUM_OFFSET, checksum);
	expression_end(m, x);
}

/* ---- the table ---- */

typedef struct Ports {
	uint16_t udp, tcp;
} Ports;

/* A comment as nft(8) writes and shows it: an attribute of type 0 of the table's user data. */
typedef struct Comment {
	uint8_t type, len;
	char text[COMMENT_ROOM];
} Comment;

static void put_table(NetlinkBatch *b, int type, uint16_t flags, const Ports *ports)
{
	struct nlmsghdr *m = nft_msg(b, NFPROTO_IPV4, type, flags);
	Comment c = {0};

	mnl_attr_put_strz(m, NFTA_TABLE_NAME, TABLE);
	if (ports) {
		c.len = (uint8_t)(snprintf(c.text, sizeof(c.text), COMMENT, ports->udp, ports->tcp) + 1);
		mnl_attr_put(m, NFTA_TABLE_USERDATA, offsetof(Comment, text) + c.len, &c);
	}
	netlink_msg_end(b, m);
}

static int take_ports(const struct nlmsghdr *m, void *arg)
{
	const struct nlattr *attr;
	Comment c = {0};

	mnl_attr_for_each(attr, m, sizeof(struct nfgenmsg))
	{
		size_t len = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) == NFTA_TABLE_USERDATA && len < sizeof(c))
			memcpy(&c, mnl_attr_get_payload(attr), len);
	}
	*(Ports *)arg = (Ports){0};
	/* What the container wrote there itself leads nobody but itself astray. */
	if (c.type != 0 || sscanf(c.text, COMMENT, &((Ports *)arg)->udp, &((Ports *)arg)->tcp) != 2)
		*(Ports *)arg = (Ports){0};
	return 0;
}

/* 1 if the table is there; then the ports that it leads to, or zeros. */
static int table_find(Netlink *nl, Ports *ret, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct nlmsghdr *m = nft_msg(&b, NFPROTO_IPV4, NFT_MSG_GETTABLE, 0);
	int r;

	mnl_attr_put_strz(m, NFTA_TABLE_NAME, TABLE);
	netlink_msg_end(&b, m);
	r = netlink_ask(nl, &b, take_ports, ret, e);
	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

static void put_chain(NetlinkBatch *b)
{
	struct nlmsghdr *m = nft_msg(b, NFPROTO_IPV4, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	struct nlattr *hook;

	mnl_attr_put_strz(m, NFTA_CHAIN_TABLE, TABLE);
	mnl_attr_put_strz(m, NFTA_CHAIN_NAME, CHAIN);
	mnl_attr_put_strz(m, NFTA_CHAIN_TYPE, "filter");
	hook = mnl_attr_nest_start(m, NFTA_CHAIN_HOOK);
	put_be32(m, NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT);
	put_be32(m, NFTA_HOOK_PRIORITY, (uint32_t)NF_IP_PRI_RAW);
	mnl_attr_nest_end(m, hook);
	netlink_msg_end(b, m);
}

/* One direction of one protocol: with our address at `address` of the IP header and port `from` at `offset` behind it, the port becomes `to`. */
typedef struct Rewrite {
	uint8_t protocol;
	uint32_t address, offset, checksum;
	uint16_t from, to;
} Rewrite;

static void put_rule(NetlinkBatch *b, const Rewrite *w)
{
	struct nlmsghdr *m = nft_msg(b, NFPROTO_IPV4, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
	uint32_t ours = inet_addr(NETWORK_RESOLVER_ADDRESS);
	uint16_t from = htons(w->from);
	struct nlattr *list;

	mnl_attr_put_strz(m, NFTA_RULE_TABLE, TABLE);
	mnl_attr_put_strz(m, NFTA_RULE_CHAIN, CHAIN);
	list = mnl_attr_nest_start(m, NFTA_RULE_EXPRESSIONS);
	put_load(m, NFT_PAYLOAD_NETWORK_HEADER, w->address, sizeof(ours));
	put_compare(m, &ours, sizeof(ours));
	put_protocol(m, w->protocol);
	put_load(m, NFT_PAYLOAD_TRANSPORT_HEADER, w->offset, sizeof(from));
	put_compare(m, &from, sizeof(from));
	put_store(m, w->to, w->offset, w->checksum);
	mnl_attr_nest_end(m, list);
	netlink_msg_end(b, m);
}

/* anew: in place of the table that is there. */
static int rules_commit(Netlink *nl, bool anew, const Ports *ports, const Rewrite *rules, size_t n, Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};

	element_begin(&b);
	if (anew)
		put_table(&b, NFT_MSG_DELTABLE, 0, NULL);
	put_table(&b, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, ports);
	put_chain(&b);
	for (size_t i = 0; i < n; i++)
		put_rule(&b, &rules[i]);
	return element_commit(nl, &b, NULL, e);
}

static int rules_make(Netlink *nl, bool anew, const Ports *p, Err *e)
{
	enum {
		SOURCE = 12,
		DESTINATION = 16,
		SOURCE_PORT = 0,
		DESTINATION_PORT = 2,
		UDP_SUM = 6,
		TCP_SUM = 16
	};
	const Rewrite rules[] = {
	    {IPPROTO_UDP, DESTINATION, DESTINATION_PORT, UDP_SUM, PORT, p->udp},
	    {IPPROTO_UDP, SOURCE, SOURCE_PORT, UDP_SUM, p->udp, PORT},
	    {IPPROTO_TCP, DESTINATION, DESTINATION_PORT, TCP_SUM, PORT, p->tcp},
	    {IPPROTO_TCP, SOURCE, SOURCE_PORT, TCP_SUM, p->tcp, PORT},
	};

	return rules_commit(nl, anew, p, rules, ELEMENTSOF(rules), e);
}

/* ---- the sockets ---- */

/* *port: 0 for one of the kernel's choice, which is put there. */
static int socket_open(int type, uint16_t *port, Err *e)
{
	_cleanup_close_ int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_addr.s_addr = inet_addr(NETWORK_RESOLVER_ADDRESS),
				 .sin_port = htons(*port)};
	socklen_t len = sizeof(at);
	int room = RECEIVE_ROOM, on = 1;

	if (fd < 0)
		return err_sys(e, errno, "open a socket");
	/* What a flood may take of the kernel's memory. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	/* Connections to the last one at this port may not be forgotten yet (tcp(7), TIME_WAIT). */
	if (type == SOCK_STREAM)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    (type == SOCK_STREAM && listen(fd, BACKLOG) < 0) ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		return err_sys(e, errno, "bind a socket to " NETWORK_RESOLVER_ADDRESS);
	*port = ntohs(at.sin_port);
	return take_fd(&fd);
}

static int sockets_bind(ResolverSockets *s, Ports *ports, Err *e)
{
	s->udp = socket_open(SOCK_DGRAM, &ports->udp, e);
	s->tcp = s->udp < 0 ? -1 : socket_open(SOCK_STREAM, &ports->tcp, e);
	if (s->tcp >= 0)
		return 0;

	int r = s->udp < 0 ? s->udp : s->tcp;

	s->tcp = -1;
	if (s->udp < 0)
		s->udp = -1;
	close_fd(&s->udp);
	return r;
}

/* Sockets where the table leads to, if there is one and nobody else is there; else anywhere, and a table that leads to them. */
static int sockets_and_rules(Netlink *nl, ResolverSockets *s, Err *e)
{
	Ports ports = {0};
	int there = table_find(nl, &ports, e), r;

	if (there < 0)
		return there;
	if (ports.udp && ports.tcp) {
		if (sockets_bind(s, &ports, NULL) == 0)
			return 0;
		ports = (Ports){0};
	}
	r = sockets_bind(s, &ports, e);
	return r < 0 ? r : rules_make(nl, there == 1, &ports, e);
}

static int open_job(void *arg, Err *e)
{
	Netlink nl;
	int r = netlink_open(&nl, NETLINK_NETFILTER, e);

	if (r < 0)
		return r;
	r = sockets_and_rules(&nl, arg, e);
	netlink_close(&nl);
	return err_ctx(e, r, "nftables table ip " TABLE " (needs the kernel module nf_tables)");
}

int resolver_sockets_open(int netns_fd, ResolverSockets *ret, Err *e)
{
	ResolverSockets s = {-1, -1};
	int r = netns_call(netns_fd, open_job, &s, e);

	if (r < 0) {
		close_fd(&s.udp);
		close_fd(&s.tcp);
		return err_ctx(e, r, "resolver of the container");
	}
	*ret = s;
	return 0;
}

/* A socket bound to our address; its type, or 0. */
static int type_of(int fd)
{
	struct sockaddr_in at = {0};
	socklen_t len = sizeof(at), type_len = sizeof(int);
	int type = 0;

	if (getsockname(fd, (struct sockaddr *)&at, &len) < 0 || at.sin_family != AF_INET ||
	    at.sin_addr.s_addr != inet_addr(NETWORK_RESOLVER_ADDRESS) ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0)
		return 0;
	return type;
}

static bool keep_if_ours(int fd, void *arg)
{
	ResolverSockets *s = arg;
	int type = type_of(fd);

	if (type == SOCK_DGRAM && s->udp < 0)
		s->udp = take_fd(&fd);
	else if (type == SOCK_STREAM && s->tcp < 0)
		s->tcp = take_fd(&fd);
	close_fd(&fd);
	return s->udp < 0 || s->tcp < 0;
}

int resolver_sockets_take(pid_t pid, ResolverSockets *ret, Err *e)
{
	ResolverSockets s = {-1, -1};
	int r = held_sockets(pid, keep_if_ours, &s, e);

	if (r < 0)
		return r;
	if (s.udp >= 0 && s.tcp >= 0) {
		*ret = s;
		return 1;
	}
	close_fd(&s.udp);
	close_fd(&s.tcp);
	return 0;
}
