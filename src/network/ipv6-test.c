/* SPDX-License-Identifier: Apache-2.0 */
/* The same promises in IPv6: what is published is reached, what is not is dropped, networks are apart; and the gateway modes of both families. */
#include "network/test-net.h"

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>

#define UPLINK6  "fd00:99::1"
#define OUTSIDE6 "fd00:99::2"

typedef struct World {
	NetworkHost *h;
	NetworkBridge a, b;
	int outside, a1, a2, b1;
	pid_t servers[4];
} World;

static NetworkBridge dual_bridge(const char *name, const char *cidr, const char *cidr6)
{
	NetworkBridge b = {.icc = true, .masquerade = true};
	Err e = {0};

	snprintf(b.name, sizeof(b.name), "%s", name);
	if (cidr)
		ok(network_subnet_parse(cidr, NULL, &b.ip[IP_V4], &e));
	if (cidr6)
		ok(network_subnet_parse(cidr6, NULL, &b.ip[IP_V6], &e));
	return b;
}

/* New namespaces have IPv6 off for what comes into them. */
static int ipv6_on(void *arg _unused_, Err *e _unused_)
{
	return file_write_at(AT_FDCWD, "/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "0");
}

static void uplink6(World *w)
{
	Netlink inside;
	Err e = {0};

	ok(network_host_new(TEST_TABLE, &w->h, &e));
	w->outside = test_uplink(w->h);
	test_address(&w->h->route, "up0", UPLINK6, 64);
	ok(netlink_open_in(&inside, w->outside, NETLINK_ROUTE, &e));
	assert_int_equal(netns_call(w->outside, ipv6_on, NULL, &e), 0);
	test_address(&inside, "eth0", OUTSIDE6, 64);
	test_route(&inside, "fd00:20::", 60, UPLINK6, "eth0", RT_TABLE_MAIN);
	netlink_close(&inside);
}

static int world_up(void **state)
{
	World *w = calloc(1, sizeof(*w));
	Err e = {0};

	test_enter_host();
	uplink6(w);
	w->a = dual_bridge("br-a", "172.20.0.0/16", "fd00:20:0:a::/64");
	w->b = dual_bridge("br-b", NULL, "fd00:20:0:b::/64");
	ok(network_bridge_ensure(w->h, &w->a, &e));
	ok(network_bridge_ensure(w->h, &w->b, &e));
	w->a1 = test_container_dual(w->h, &w->a, "va1", "172.20.0.2", "fd00:20:0:a::2");
	w->a2 = test_container_dual(w->h, &w->a, "va2", "172.20.0.3", "fd00:20:0:a::3");
	w->b1 = test_container_dual(w->h, &w->b, "vb1", NULL, "fd00:20:0:b::2");
	w->servers[0] = test_serve(w->a1, 80, false);
	w->servers[1] = test_serve(w->b1, 80, false);
	w->servers[2] = test_serve(w->outside, 99, false);
	w->servers[3] = test_serve(w->a1, 53, true);
	*state = w;
	return 0;
}

static int world_down(void **state)
{
	World *w = *state;
	Err e = {0};

	for (size_t i = 0; i < ELEMENTSOF(w->servers); i++)
		test_stop(w->servers[i]);
	close(w->a1);
	close(w->a2);
	close(w->b1);
	close(w->outside);
	ok(network_bridge_remove(w->h, "br-a", &e));
	ok(network_bridge_remove(w->h, "br-b", &e));
	network_host_free(w->h);
	free(w);
	return 0;
}

static NetworkPort port6(const char *at, uint16_t host, uint16_t container, uint8_t protocol)
{
	return (NetworkPort){.protocol = protocol,
			     .host_address = at ? ip(at) : IP_V6_ANY,
			     .host_port = host,
			     .container_port = container};
}

static void publish(World *w, const char *bridge, const char *to, NetworkPort p)
{
	Err e = {0};

	ok(network_ports_publish(w->h, bridge, ip(to), &p, 1, &e));
}

static void test_neighbours_and_the_way_out(void **state)
{
	World *w = *state;

	assert_reaches(w->a2, "fd00:20:0:a::2", 80, "fd00:20:0:a::3");
	assert_reaches(HERE, "fd00:20:0:a::2", 80, "fd00:20:0:a::1");
	assert_reaches(w->a1, OUTSIDE6, 99, UPLINK6); /* under the host's address */
	assert_reaches(w->a1, OUTSIDE, 99, UPLINK);   /* and by the other family */
	assert_reaches(w->b1, OUTSIDE6, 99, UPLINK6); /* a network without IPv4 */
	assert_string_not_equal(test_ask(w->b1, OUTSIDE, 99, false, 300).s, UPLINK);
}

static void test_published_port(void **state)
{
	World *w = *state;
	NetworkPort p = port6(NULL, 8080, 80, IPPROTO_TCP);
	Err e = {0};

	publish(w, "br-a", "fd00:20:0:a::2", p);
	assert_reaches(w->outside, UPLINK6, 8080, OUTSIDE6);    /* the client's address is kept */
	assert_reaches(HERE, UPLINK6, 8080, UPLINK6);           /* the host's own address */
	assert_reaches(w->a2, UPLINK6, 8080, "fd00:20:0:a::1"); /* a neighbour, over the host */
	assert_reaches(w->a1, UPLINK6, 8080, "fd00:20:0:a::1"); /* itself */
	assert_reaches(w->b1, UPLINK6, 8080, "fd00:20:0:a::1"); /* another network's container */
	assert_string_equal(test_ask(HERE, UPLINK, 8080, false, 300).s, "refused"); /* not the other family */
	ok(network_ports_unpublish(w->h, "br-a", ip("fd00:20:0:a::2"), &p, 1, &e));
	assert_string_equal(test_ask(w->outside, UPLINK6, 8080, false, 1000).s, "refused");
}

static void test_one_address_and_udp(void **state)
{
	World *w = *state;

	test_address(&w->h->route, "up0", "fd00:99::7", 64);
	publish(w, "br-a", "fd00:20:0:a::2", port6("fd00:99::7", 8080, 80, IPPROTO_TCP));
	assert_reaches(w->outside, "fd00:99::7", 8080, OUTSIDE6);
	assert_string_equal(test_ask(w->outside, UPLINK6, 8080, false, 1000).s, "refused");
	/* What the kernel remembers of a client that asked too early is forgotten. */
	assert_string_equal(test_ask(w->outside, UPLINK6, 5353, true, 1000).s, "refused");
	publish(w, "br-a", "fd00:20:0:a::2", port6(NULL, 5353, 53, IPPROTO_UDP));
	assert_string_equal(test_ask(w->outside, UPLINK6, 5353, true, 1000).s, OUTSIDE6);
}

static void test_nothing_else_gets_in(void **state)
{
	World *w = *state;
	NetworkPort p = port6(NULL, 8080, 80, IPPROTO_TCP), four = {TCP, .host_port = 1, .container_port = 1};
	Err e = {0};

	publish(w, "br-a", "fd00:20:0:a::2", p);
	assert_dropped(w->outside, "fd00:20:0:a::2", 80); /* by its inner address */
	assert_dropped(w->b1, "fd00:20:0:a::2", 80);
	assert_dropped(w->a1, "fd00:20:0:b::2", 80);
	assert_true(network_ports_publish(w->h, "br-a", ip("fd00:20:0:a::2"), &four, 1, &e) < 0);
	assert_non_null(strstr(e.msg, "cannot translate between families"));
}

static void test_internal(void **state)
{
	World *w = *state;
	NetworkBridge in = dual_bridge("br-in", NULL, "fd00:20:0:c::/64");
	Err e = {0};

	in.internal = true;
	ok(network_bridge_ensure(w->h, &in, &e));
	int i1 = test_container_dual(w->h, &in, "vi1", NULL, "fd00:20:0:c::2");

	publish(w, "br-a", "fd00:20:0:a::2", port6(NULL, 8080, 80, IPPROTO_TCP));
	assert_dropped(i1, OUTSIDE6, 99);
	assert_dropped(i1, "fd00:20:0:a::2", 80);
	assert_dropped(i1, UPLINK6, 8080);
	close(i1);
	ok(network_bridge_remove(w->h, "br-in", &e));
}

/* ---- gateway modes, in both families ---- */

static void test_routed(void **state)
{
	World *w = *state;
	const char *const own[IP_FAMILIES] = {"172.20.0.2", "fd00:20:0:a::2"},
			  *const out[] = {OUTSIDE, OUTSIDE6},
			  *const from2[] = {"172.20.0.3", "fd00:20:0:a::3"};
	Err e = {0};

	w->a.gateway[IP_V4] = w->a.gateway[IP_V6] = NETWORK_GATEWAY_ROUTED;
	ok(network_bridge_ensure(w->h, &w->a, &e));
	for (int f = 0; f < IP_FAMILIES; f++) {
		NetworkPort p[2] = {{.protocol = IPPROTO_TCP, .container_port = 80}};

		p[0].host_address = f == IP_V4 ? IP_V4_ANY : IP_V6_ANY;
		p[1] = p[0];
		assert_dropped(w->outside, own[f], 80);
		ok(network_ports_publish(w->h, "br-a", ip(own[f]), p, 2, &e));
		assert_reaches(w->outside, own[f], 80, out[f]);
		assert_reaches(w->a2, out[f], 99, from2[f]); /* and leaves under its own address */
		assert_dropped(w->outside, own[f], 81);
		ok(network_ports_unpublish(w->h, "br-a", ip(own[f]), p, 2, &e));
		assert_dropped(w->outside, own[f], 80);
	}
}

static void test_unprotected(void **state)
{
	World *w = *state;
	Err e = {0};

	w->a.gateway[IP_V6] = NETWORK_GATEWAY_UNPROTECTED;
	ok(network_bridge_ensure(w->h, &w->a, &e));
	assert_reaches(w->outside, "fd00:20:0:a::2", 80, OUTSIDE6);
	assert_dropped(w->outside, "172.20.0.2", 80); /* the other family is as it was */
	assert_dropped(w->b1, "fd00:20:0:a::2", 80);  /* networks stay apart */
	assert_reaches(w->a1, OUTSIDE6, 99, UPLINK6);
	w->a.gateway[IP_V6] = NETWORK_GATEWAY_NAT;
	ok(network_bridge_ensure(w->h, &w->a, &e));
	assert_dropped(w->outside, "fd00:20:0:a::2", 80);
}

static void test_isolated(void **state)
{
	World *w = *state;
	NetworkBridge in = dual_bridge("br-in", "172.22.0.0/16", "fd00:20:0:c::/64");
	Err e = {0};

	in.internal = true;
	in.gateway[IP_V4] = in.gateway[IP_V6] = NETWORK_GATEWAY_ISOLATED;
	ok(network_bridge_ensure(w->h, &in, &e));
	ok(network_bridge_ensure(w->h, &in, &e));
	int i1 = test_container_dual(w->h, &in, "vi1", "172.22.0.2", "fd00:20:0:c::2");
	pid_t server = test_serve(HERE, 77, false);

	/* The host is not on the network at all. */
	assert_string_not_equal(test_ask(i1, "172.22.0.1", 77, false, 300).s, "172.22.0.2");
	assert_string_not_equal(test_ask(i1, "fd00:20:0:c::1", 77, false, 300).s, "fd00:20:0:c::2");
	assert_reaches(w->a1, "172.20.0.1", 77, "172.20.0.2"); /* elsewhere it is */
	test_stop(server);
	close(i1);
	ok(network_bridge_remove(w->h, "br-in", &e));
}

/* ---- addresses that are not the container's ---- */

/* In the namespace: one datagram to the outside's port, under any source address. */
static void send_as(int netns, const char *from, const uint8_t mac[6], uint16_t port)
{
	pid_t pid = test_fork_in(netns);
	int status;

	if (pid == 0) {
		struct {
			struct ip6_hdr ip;
			struct udphdr udp;
			char text[8];
		} packet = {.text = "spoofed"};
		struct sockaddr_ll to = {.sll_family = AF_PACKET,
					 .sll_protocol = htons(ETHERTYPE_IPV6),
					 .sll_ifindex = (int)if_nametoindex("eth0"),
					 .sll_halen = 6};
		int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETHERTYPE_IPV6));
		uint32_t sum = IPPROTO_UDP + 16;
		const uint16_t *words = (const uint16_t *)&packet.ip.ip6_src;

		memcpy(to.sll_addr, mac, 6);
		packet.ip.ip6_vfc = 6 << 4;
		packet.ip.ip6_plen = htons(16);
		packet.ip.ip6_nxt = IPPROTO_UDP;
		packet.ip.ip6_hlim = 64;
		ip_to_bytes(ip(from), packet.ip.ip6_src.s6_addr);
		ip_to_bytes(ip(OUTSIDE6), packet.ip.ip6_dst.s6_addr);
		packet.udp = (struct udphdr){.source = htons(4000), .dest = htons(port), .len = htons(16)};
		for (size_t i = 0; i < 16 + 8; i++)
			sum += ntohs(words[i]);
		sum = (sum >> 16) + (sum & 0xFFFF);
		packet.udp.check = htons((uint16_t) ~(sum + (sum >> 16)));
		_exit(sendto(fd, &packet, sizeof(packet), 0, (struct sockaddr *)&to, sizeof(to)) ==
			      (ssize_t)sizeof(packet)
			  ? 0
			  : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Whether a datagram arrives outside while the packet is sent. */
static bool arrives_as(World *w, const char *from)
{
	static const uint8_t gateway[6] = {0x02, 0x42, 172, 20, 0, 1};
	static uint16_t port = 7000;
	int ready[2], status;
	char c;

	port++;
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = test_fork_in(w->outside);

	if (pid == 0) {
		struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
		int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || write(ready[1], "r", 1) != 1)
			_exit(9);
		_exit(poll(&p, 1, 500) == 1 ? 1 : 0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	send_as(w->a1, from, gateway, port);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WEXITSTATUS(status) < 2);
	return WEXITSTATUS(status) == 1;
}

static void test_spoofed_addresses_do_not_leave(void **state)
{
	World *w = *state;

	assert_reaches(w->a1, OUTSIDE6, 99, UPLINK6); /* so that the neighbours know each other */
	assert_true(arrives_as(w, "fd00:20:0:a::2"));
	assert_false(arrives_as(w, "fd00:20:0:b::2")); /* another network's */
	assert_false(arrives_as(w, UPLINK6));          /* the host's */
	assert_false(arrives_as(w, "fd00:77::7"));     /* nobody's */
}

#define world_test(f) cmocka_unit_test_setup_teardown(f, world_up, world_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    world_test(test_neighbours_and_the_way_out),
	    world_test(test_published_port),
	    world_test(test_one_address_and_udp),
	    world_test(test_nothing_else_gets_in),
	    world_test(test_internal),
	    world_test(test_routed),
	    world_test(test_unprotected),
	    world_test(test_isolated),
	    world_test(test_spoofed_addresses_do_not_leave),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
