/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small world for the tests of this floor: the test process moves into a network namespace of its own
 * ("the host"), so the machine's own network is never touched, and everything is gone when it ends. "Outside" is
 * another namespace behind an uplink 192.0.2.1 (host) - 192.0.2.2 (outside). Servers and clients are
 * forked children, that enter a namespace first.
 */
#pragma once

#include "network/network-internal.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define TEST_TABLE "ireko_test"
#define HERE       (-1)
#define UPLINK     "192.0.2.1"
#define OUTSIDE    "192.0.2.2"

/* Fails the test with the message of e. */
#define ok(call)                                                                                             \
	({                                                                                                   \
		int _r = (call);                                                                             \
		if (_r < 0)                                                                                  \
			fail_msg("%s: %s", #call, err_msg(&e, _r));                                          \
		_r;                                                                                          \
	})

static inline IpAddress ip(const char *s)
{
	IpAddress a;

	assert_int_equal(ip_parse(s, &a), 0);
	return a;
}

static inline uint32_t ip4(const char *s)
{
	return (uint32_t)ip(s);
}

#define assert_ip_equal(a, text) assert_string_equal(ip_text(a).s, text)
/* A tcp port on every IPv4 address of the host; and one of udp. */
#define TCP .protocol = IPPROTO_TCP, .host_address = IP_V4_ANY
#define UDP .protocol = IPPROTO_UDP, .host_address = IP_V4_ANY

static inline int network_namespace_new(int *ret, Err *e)
{
	NetworkNamespaceJob *job;
	int r = network_namespace_begin(false, &job, e);

	return r < 0 ? r : network_namespace_end(job, ret, e);
}

static inline void test_lo_up(Netlink *nl)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct ifinfomsg header = {.ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	Err e = {0};

	netlink_msg_end(&b, netlink_msg(&b, RTM_SETLINK, 0, &header, sizeof(header)));
	ok(netlink_run(nl, &b, NULL, &e));
}

/* Moves the process to a namespace of its own. Every test calls it, so that each starts with nothing. */
static inline void test_enter_host(void)
{
	Netlink nl;
	Err e = {0};

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	ok(netlink_open(&nl, NETLINK_ROUTE, &e));
	test_lo_up(&nl);
	netlink_close(&nl);
}

static inline void test_address(Netlink *nl, const char *name, const char *address, uint8_t prefix)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	uint8_t bytes[16];
	size_t n = ip_to_bytes(ip(address), bytes);
	struct ifaddrmsg header = {.ifa_family = n == 4 ? AF_INET : AF_INET6,
				   .ifa_prefixlen = prefix,
				   .ifa_flags = n == 16 ? IFA_F_NODAD : 0};
	struct ifinfomsg up = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	LinkInfo link;
	Err e = {0};

	assert_int_equal(ok(link_find(nl, name, &link, &e)), 1);
	header.ifa_index = (unsigned)link.index;
	up.ifi_index = link.index;

	struct nlmsghdr *m = netlink_msg(&b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));

	mnl_attr_put(m, IFA_LOCAL, n, bytes);
	mnl_attr_put(m, IFA_ADDRESS, n, bytes);
	netlink_msg_end(&b, m);
	netlink_msg_end(&b, netlink_msg(&b, RTM_SETLINK, 0, &up, sizeof(up)));
	ok(netlink_run(nl, &b, NULL, &e));
}

/* A route to a network, through a gateway or (NULL) right behind the interface, in any table. */
static inline void test_route(Netlink *nl, const char *to, uint8_t prefix, const char *via, const char *dev,
			      uint8_t table)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	uint8_t bytes[16];
	struct rtmsg header = {.rtm_family = (uint8_t)ip_af(ip(to)),
			       .rtm_dst_len = prefix,
			       .rtm_table = table,
			       .rtm_protocol = RTPROT_STATIC,
			       .rtm_scope = via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
			       .rtm_type = RTN_UNICAST};
	struct nlmsghdr *m =
	    netlink_msg(&b, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
	LinkInfo link;
	Err e = {0};

	mnl_attr_put(m, RTA_DST, ip_to_bytes(ip(to), bytes), bytes);
	if (via)
		mnl_attr_put(m, RTA_GATEWAY, ip_to_bytes(ip(via), bytes), bytes);
	assert_int_equal(ok(link_find(nl, dev, &link, &e)), 1);
	mnl_attr_put_u32(m, RTA_OIF, (uint32_t)link.index);
	netlink_msg_end(&b, m);
	ok(netlink_run(nl, &b, NULL, &e));
}

/* The uplink; returns the descriptor of the outside namespace. Outside routes everything to the host. */
static inline int test_uplink(NetworkHost *h)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct ifinfomsg header = {0};
	struct nlattr *info, *data, *peer;
	struct nlmsghdr *m;
	Netlink inside;
	Err e = {0};
	int outside;

	ok(network_namespace_new(&outside, &e));
	m = netlink_msg(&b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
	mnl_attr_put_strz(m, IFLA_IFNAME, "up0");
	info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_str(m, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(m, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(m, VETH_INFO_PEER);
	memset(mnl_nlmsg_put_extra_header(m, sizeof(header)), 0, sizeof(header));
	mnl_attr_put_strz(m, IFLA_IFNAME, "eth0");
	mnl_attr_put_u32(m, IFLA_NET_NS_FD, (uint32_t)outside);
	mnl_attr_nest_end(m, peer);
	mnl_attr_nest_end(m, data);
	mnl_attr_nest_end(m, info);
	netlink_msg_end(&b, m);
	ok(netlink_run(&h->route, &b, NULL, &e));
	test_address(&h->route, "up0", UPLINK, 24);
	ok(netlink_open_in(&inside, outside, NETLINK_ROUTE, &e));
	test_address(&inside, "eth0", OUTSIDE, 24);
	test_route(&inside, "172.16.0.0", 12, UPLINK, "eth0", RT_TABLE_MAIN);
	netlink_close(&inside);
	return outside;
}

static inline NetworkBridge test_bridge(const char *name, const char *cidr)
{
	NetworkBridge b = {.icc = true, .masquerade = true};
	Err e = {0};

	snprintf(b.name, sizeof(b.name), "%s", name);
	ok(network_subnet_parse(cidr, NULL, &b.ip[IP_V4], &e));
	return b;
}

/* As many ports as that, by interfaces that are nobody's. */
static inline void test_fill_bridge(NetworkHost *h, const char *bridge, unsigned n)
{
	LinkInfo link;
	Err e = {0};

	assert_int_equal(ok(link_find(&h->route, bridge, &link, &e)), 1);
	for (unsigned i = 0; i < n; i++) {
		_cleanup_batch_ NetlinkBatch b = {0};
		struct ifinfomsg header = {0};
		struct nlmsghdr *m =
		    netlink_msg(&b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
		char name[IFNAMSIZ];

		snprintf(name, sizeof(name), "fill%u", i);
		mnl_attr_put_strz(m, IFLA_IFNAME, name);
		mnl_attr_put_u32(m, IFLA_MASTER, (uint32_t)link.index);
		struct nlattr *info = mnl_attr_nest_start(m, IFLA_LINKINFO);

		mnl_attr_put_str(m, IFLA_INFO_KIND, "ifb");
		mnl_attr_nest_end(m, info);
		netlink_msg_end(&b, m);
		ok(netlink_run(&h->route, &b, NULL, &e));
	}
}

/* A namespace on the bridge; its descriptor. */
static inline int test_container(NetworkHost *h, const NetworkBridge *b, const char *host_if,
				 const char *address)
{
	NetworkEndpoint ep = {.container_if = "eth0",
			      .bridge = b->name,
			      .ip[IP_V4] = {ip(address), b->ip[IP_V4].prefix, b->ip[IP_V4].gateway}};
	Err e = {0};
	int ns;

	snprintf(ep.host_if, sizeof(ep.host_if), "%s", host_if);
	ok(network_namespace_new(&ns, &e));
	ok(network_endpoint_add(h, ns, &ep, &e));
	return ns;
}

/* The same of both families. */
static inline int test_container_dual(NetworkHost *h, const NetworkBridge *b, const char *host_if,
				      const char *address, const char *address6)
{
	NetworkEndpoint ep = {.container_if = "eth0", .bridge = b->name};
	Err e = {0};
	int ns;

	if (address)
		ep.ip[IP_V4] = (NetworkEndpointIp){ip(address), b->ip[IP_V4].prefix, b->ip[IP_V4].gateway};
	if (address6)
		ep.ip[IP_V6] = (NetworkEndpointIp){ip(address6), b->ip[IP_V6].prefix, b->ip[IP_V6].gateway};
	snprintf(ep.host_if, sizeof(ep.host_if), "%s", host_if);
	ok(network_namespace_new(&ns, &e));
	ok(network_endpoint_add(h, ns, &ep, &e));
	return ns;
}

static inline pid_t test_fork_in(int netns)
{
	pid_t parent = getpid(), pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || (netns >= 0 && setns(netns, CLONE_NEWNET) < 0))
		_exit(99);
	return 0;
}

static inline struct sockaddr_in test_at(const char *address, uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(ip4(address))};
}

/* Answers every tcp connection or udp datagram with the address it came from, until killed. */
static inline void test_serve_loop(int fd, bool udp)
{
	for (;;) {
		struct sockaddr_in6 from;
		socklen_t len = sizeof(from);
		AddressText text;
		char in[64];
		int c = udp ? fd : accept(fd, (struct sockaddr *)&from, &len);

		if (udp && recvfrom(fd, in, sizeof(in), 0, (struct sockaddr *)&from, &len) < 0)
			continue;
		if (c < 0)
			continue;
		text = ip_text(ip_from_bytes(&from.sin6_addr, 16));
		(void)!(udp ? sendto(fd, text.s, strlen(text.s), 0, (struct sockaddr *)&from, len)
			    : send(c, text.s, strlen(text.s), MSG_NOSIGNAL));
		if (!udp)
			close(c);
	}
}

/* Of both families. */
static inline pid_t test_serve(int netns, uint16_t port, bool udp)
{
	int ready[2];
	char c;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = test_fork_in(netns);

	if (pid == 0) {
		struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
		int on = 1, fd = socket(AF_INET6, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || (!udp && listen(fd, 16) < 0))
			_exit(98);
		(void)!write(ready[1], "r", 1);
		test_serve_loop(fd, udp);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

static inline void test_stop(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* In a child: the answer to standard text, or "timeout", "refused", "error N". */
static inline void test_ask_child(int out, const char *address, uint16_t port, bool udp, int wait_ms)
{
	struct sockaddr_storage to;
	socklen_t len = ip_to_sockaddr(ip(address), port, &to);
	struct timeval wait = {wait_ms / 1000, wait_ms % 1000 * 1000};
	int fd = socket(to.ss_family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	char text[64];
	ssize_t n = -1;

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (connect(fd, (struct sockaddr *)&to, len) == 0 && (!udp || send(fd, "?", 1, 0) == 1))
		n = recv(fd, text, sizeof(text), 0);
	if (n >= 0)
		(void)!write(out, text, (size_t)n);
	else if (errno == EINPROGRESS || errno == EAGAIN || errno == ETIMEDOUT)
		dprintf(out, "timeout");
	else if (errno == ECONNREFUSED)
		dprintf(out, "refused");
	else
		dprintf(out, "error %d", errno);
	_exit(0);
}

typedef struct Answer {
	char s[64];
} Answer;

static inline Answer test_ask(int netns, const char *address, uint16_t port, bool udp, int wait_ms)
{
	Answer a = {""};
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	pid_t pid = test_fork_in(netns);

	if (pid == 0)
		test_ask_child(p[1], address, port, udp, wait_ms);
	close(p[1]);
	assert_true(fd_read_full(p[0], a.s, sizeof(a.s) - 1) >= 0);
	close(p[0]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return a;
}

/* What the server saw as the client's address. */
#define assert_reaches(netns, address, port, as)                                                             \
	assert_string_equal(test_ask(netns, address, port, false, 15000).s, as)
/* Packets vanish: neither an answer nor a refusal. */
#define assert_dropped(netns, address, port)                                                                 \
	assert_string_equal(test_ask(netns, address, port, false, 300).s, "timeout")
