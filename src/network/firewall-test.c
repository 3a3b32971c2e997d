/* SPDX-License-Identifier: Apache-2.0 */
/* Real connections through the rules: what must get through does, with the right source; what must not is dropped. */
#include "network/test-net.h"

#include <nftables/libnftables.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sys/ioctl.h>

/* Two networks with two and one containers, each serving port 80, and the outside serving port 99. */
typedef struct World {
	NetworkHost *h;
	NetworkBridge a, b;
	int outside, a1, a2, b1;
	pid_t servers[5];
	bool filtered; /* br_netfilter shows bridged frames to the rules */
} World;

static int world_make(void **state, bool filtered)
{
	World *w = calloc(1, sizeof(*w));
	Err e = {0};

	test_enter_host();
	w->filtered = filtered;
	(void)file_write_at(AT_FDCWD, "/proc/sys/net/bridge/bridge-nf-call-iptables", filtered ? "1" : "0");
	ok(network_host_new(TEST_TABLE, &w->h, &e));
	w->outside = test_uplink(w->h);
	w->a = test_bridge("br-a", "172.20.0.0/16");
	w->b = test_bridge("br-b", "172.21.0.0/16");
	ok(network_bridge_ensure(w->h, &w->a, &e));
	ok(network_bridge_ensure(w->h, &w->b, &e));
	w->a1 = test_container(w->h, &w->a, "va1", "172.20.0.2");
	w->a2 = test_container(w->h, &w->a, "va2", "172.20.0.3");
	w->b1 = test_container(w->h, &w->b, "vb1", "172.21.0.2");
	w->servers[0] = test_serve(w->a1, 80, false);
	w->servers[1] = test_serve(w->a2, 80, false);
	w->servers[2] = test_serve(w->b1, 80, false);
	w->servers[3] = test_serve(w->outside, 99, false);
	w->servers[4] = test_serve(w->a1, 53, true);
	*state = w;
	return 0;
}

static int world_up(void **state)
{
	return world_make(state, false);
}

/* The same where br_netfilter is on, as Docker and Kubernetes have it (where the kernel has it). */
static int world_up_filtered(void **state)
{
	return world_make(state, true);
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

static void publish(World *w, const char *bridge, const char *to, const char *at, uint16_t host,
		    uint16_t container, bool udp)
{
	NetworkPort p = {.protocol = udp ? IPPROTO_UDP : IPPROTO_TCP,
			 .host_port = host,
			 .container_port = container,
			 .host_address = at ? ip(at) : IP_V4_ANY};
	Err e = {0};

	ok(network_ports_publish(w->h, bridge, ip(to), &p, 1, &e));
}

static void test_published_port_is_reached_from_everywhere(void **state)
{
	World *w = *state;

	publish(w, "br-a", "172.20.0.2", NULL, 8080, 80, false);
	assert_reaches(w->outside, UPLINK, 8080, OUTSIDE);       /* the client's address is kept */
	assert_reaches(HERE, UPLINK, 8080, UPLINK);              /* the host's own address */
	assert_reaches(HERE, "127.0.0.1", 8080, "172.20.0.1");   /* localhost: as the gateway */
	assert_reaches(w->a2, UPLINK, 8080, "172.20.0.1");       /* a neighbour, over the host */
	assert_reaches(w->a2, "172.20.0.1", 8080, "172.20.0.1"); /* over the gateway address */
	assert_reaches(w->a1, UPLINK, 8080, "172.20.0.1");       /* itself */
	assert_reaches(w->b1, UPLINK, 8080, "172.20.0.1");       /* another network's container */
	assert_string_equal(test_ask(HERE, "127.0.0.1", 8081, false, 1000).s, "refused");
}

static void test_unpublish_ends_it(void **state)
{
	World *w = *state;
	NetworkPort p = {TCP, .host_port = 8080, .container_port = 80};
	Err e = {0};

	publish(w, "br-a", "172.20.0.2", NULL, 8080, 80, false);
	ok(network_ports_unpublish(w->h, "br-a", ip("172.20.0.9"), &p, 1, &e)); /* not theirs: stays */
	assert_reaches(w->outside, UPLINK, 8080, OUTSIDE);
	ok(network_ports_unpublish(w->h, "br-a", ip("172.20.0.2"), &p, 1, &e));
	assert_string_equal(test_ask(w->outside, UPLINK, 8080, false, 1000).s, "refused");
	ok(network_ports_unpublish(w->h, "br-a", ip("172.20.0.2"), &p, 1, &e));
}

static void test_port_at_one_address(void **state)
{
	World *w = *state;

	publish(w, "br-a", "172.20.0.2", "127.0.0.1", 8080, 80, false);
	assert_reaches(HERE, "127.0.0.1", 8080, "172.20.0.1");
	assert_string_equal(test_ask(HERE, UPLINK, 8080, false, 1000).s, "refused");
	assert_string_equal(test_ask(w->outside, UPLINK, 8080, false, 1000).s, "refused");
}

static void test_udp(void **state)
{
	World *w = *state;

	/* A client that asked before the port was published is not left with what the kernel remembers of it. */
	assert_string_equal(test_ask(w->outside, UPLINK, 5353, true, 1000).s, "refused");
	publish(w, "br-a", "172.20.0.2", NULL, 5353, 53, true);
	assert_string_equal(test_ask(w->outside, UPLINK, 5353, true, 1000).s, OUTSIDE);
	assert_string_equal(test_ask(HERE, "127.0.0.1", 5353, true, 1000).s, "172.20.0.1");
}

/* One socket, so that it is one connection to the kernel, asks before and after the port moves. */
static void test_udp_flow_follows_the_port(void **state)
{
	World *w = *state;
	NetworkPort p = {UDP, .host_port = 5353, .container_port = 53};
	struct sockaddr_in to = test_at(UPLINK, 5353);
	struct timeval wait = {1, 0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	pid_t second = test_serve(w->a2, 53, true);
	char text[64];
	Err e = {0};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	publish(w, "br-a", "172.20.0.2", NULL, 5353, 53, true);
	assert_int_equal(sendto(fd, "?", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
	assert_true(recv(fd, text, sizeof(text), 0) > 0);
	test_stop(w->servers[4]);
	w->servers[4] = second;
	ok(network_ports_unpublish(w->h, "br-a", ip("172.20.0.2"), &p, 1, &e));
	publish(w, "br-a", "172.20.0.3", NULL, 5353, 53, true);
	assert_int_equal(sendto(fd, "?", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
	assert_true(recv(fd, text, sizeof(text), 0) > 0);
	close(fd);
}

static void test_way_out_is_masqueraded(void **state)
{
	World *w = *state;

	assert_reaches(w->a1, OUTSIDE, 99, UPLINK);
	assert_reaches(w->a1, "172.20.0.3", 80, "172.20.0.2"); /* neighbours see each other as they are */
}

/* A container that routes a network of its own, as nodes of a cluster do. The host has no part in it, and br_netfilter may show it the frames. */
static void test_containers_that_route(void **state)
{
	World *w = *state;
	Netlink inside;
	Err e = {0};

	ok(netlink_open_in(&inside, w->a1, NETLINK_ROUTE, &e));
	test_address(&inside, "lo", "10.244.1.1", 32);
	netlink_close(&inside);
	ok(netlink_open_in(&inside, w->a2, NETLINK_ROUTE, &e));
	test_route(&inside, "10.244.1.0", 24, "172.20.0.2", "eth0", RT_TABLE_MAIN);
	netlink_close(&inside);
	assert_reaches(w->a2, "10.244.1.1", 80, "172.20.0.3");
}

static void test_networks_are_apart(void **state)
{
	World *w = *state;

	assert_reaches(HERE, "172.21.0.2", 80, "172.21.0.1"); /* it is up */
	assert_dropped(w->a1, "172.21.0.2", 80);
	assert_dropped(w->b1, "172.20.0.2", 80);
}

static void test_unpublished_port_is_closed_to_the_outside(void **state)
{
	World *w = *state;

	publish(w, "br-a", "172.20.0.2", NULL, 8080, 80, false);
	assert_dropped(w->outside, "172.20.0.2", 80); /* even the published one, by its inner address */
	assert_dropped(w->outside, "172.20.0.3", 80);
}

static void test_no_icc(void **state)
{
	World *w = *state;
	Err e = {0};

	w->a.icc = false;
	ok(network_bridge_ensure(w->h, &w->a, &e));
	int a4 = test_container(w->h, &w->a, "va4", "172.20.0.4"),
	    a5 = test_container(w->h, &w->a, "va5", "172.20.0.5");
	pid_t server = test_serve(a4, 80, false);

	/* Isolated ports do not even answer each other's ARP. */
	assert_string_not_equal(test_ask(a5, "172.20.0.4", 80, false, 300).s, "172.20.0.5");
	assert_reaches(a5, OUTSIDE, 99, UPLINK);
	assert_reaches(HERE, "172.20.0.4", 80, "172.20.0.1");
	publish(w, "br-a", "172.20.0.4", NULL, 8084, 80, false);
	if (!w->filtered) /* else translated inside the bridge, and so between isolated ports */
		assert_reaches(a5, UPLINK, 8084, "172.20.0.1");
	test_stop(server);
	close(a4);
	close(a5);
}

static void test_internal_has_no_way_out(void **state)
{
	World *w = *state;
	NetworkBridge in = test_bridge("br-in", "172.22.0.0/16");
	Err e = {0};

	in.internal = true;
	ok(network_bridge_ensure(w->h, &in, &e));
	int i1 = test_container(w->h, &in, "vi1", "172.22.0.2"),
	    i2 = test_container(w->h, &in, "vi2", "172.22.0.3");
	pid_t server = test_serve(i2, 80, false);

	publish(w, "br-a", "172.20.0.2", NULL, 8080, 80, false);
	assert_reaches(i1, "172.22.0.3", 80, "172.22.0.2");
	assert_dropped(i1, OUTSIDE, 99);
	assert_dropped(i1, "172.20.0.2", 80);
	assert_dropped(i1, UPLINK, 8080); /* nor through a published port of another network */
	assert_dropped(w->outside, "172.22.0.3", 80);
	test_stop(server);
	close(i1);
	close(i2);
	ok(network_bridge_remove(w->h, "br-in", &e));
}

static uint16_t ip_sum(const void *p, size_t n)
{
	const uint16_t *w = p;
	uint32_t sum = 0;

	for (size_t i = 0; i < n / 2; i++)
		sum += w[i];
	sum = (sum >> 16) + (sum & 0xFFFF);
	return (uint16_t) ~(sum + (sum >> 16));
}

/* In the namespace: one raw frame with a udp datagram for 127.0.0.1:port, sent to the host's hardware address. */
static void send_martian(int netns, const char *from, const uint8_t mac[6], uint16_t port)
{
	pid_t pid = test_fork_in(netns);
	int status;

	if (pid == 0) {
		struct {
			struct iphdr ip;
			struct udphdr udp;
			char text[4];
		} packet = {.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP}};
		struct sockaddr_ll to = {.sll_family = AF_PACKET,
					 .sll_protocol = htons(ETHERTYPE_IP),
					 .sll_ifindex = (int)if_nametoindex("eth0"),
					 .sll_halen = 6};
		int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETHERTYPE_IP));

		memcpy(to.sll_addr, mac, 6);
		packet.ip.tot_len = htons(sizeof(packet));
		packet.ip.saddr = htonl(ip4(from));
		packet.ip.daddr = htonl(ip4("127.0.0.1"));
		packet.ip.check = ip_sum(&packet.ip, sizeof(packet.ip));
		packet.udp = (struct udphdr){.dest = htons(port), .source = htons(4000), .len = htons(12)};
		_exit(sendto(fd, &packet, sizeof(packet), 0, (struct sockaddr *)&to, sizeof(to)) ==
			      sizeof(packet)
			  ? 0
			  : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void drop_guard(void)
{
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);

	assert_int_equal(nft_run_cmd_from_buffer(nft, "flush chain inet " TEST_TABLE " guard"), 0);
	nft_ctx_free(nft);
}

static void mac_of(const char *name, uint8_t ret[6])
{
	struct ifreq req = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, SIOCGIFHWADDR, &req), 0);
	memcpy(ret, req.ifr_hwaddr.sa_data, 6);
	close(fd);
}

static bool arrives(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char text[16];

	return poll(&p, 1, 300) == 1 && recv(fd, text, sizeof(text), 0) > 0;
}

/* CVE-2020-8558: a container's frame for 127.0.0.1 must not reach the host's localhost, although route_localnet is on. */
static void test_localhost_is_guarded(void **state)
{
	World *w = *state;
	struct sockaddr_in at = test_at("127.0.0.1", 7777);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint8_t mac[6] = {0x02, 0x42, 172, 20, 0, 1};

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	send_martian(w->a1, "172.20.0.2", mac, 7777);
	assert_false(arrives(fd));

	/* Without the guard it does arrive: the test can fail. */
	drop_guard();
	send_martian(w->a1, "172.20.0.2", mac, 7777);
	assert_true(arrives(fd));
	close(fd);
}

/* A receiver inside the namespace: says through the pipe that it is there, then, twice, whether a datagram came. */
static pid_t watch(int netns, uint16_t port, int *ret_said)
{
	int said[2];
	char c;

	assert_int_equal(pipe2(said, O_CLOEXEC), 0);
	pid_t pid = test_fork_in(netns);

	if (pid == 0) {
		struct sockaddr_in at = test_at("0.0.0.0", port);
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || write(said[1], "r", 1) != 1)
			_exit(90);
		for (int i = 0; i < 2; i++)
			(void)!write(said[1], arrives(fd) ? "y" : "n", 1);
		_exit(0);
	}
	close(said[1]);
	assert_int_equal(read(said[0], &c, 1), 1);
	*ret_said = said[0];
	return pid;
}

static char answer_of(int said)
{
	char c = '?';

	assert_int_equal(read(said, &c, 1), 1);
	return c;
}

/* A port published on 127.0.0.1 is not for the neighbours on the uplink, who can send such a frame as well. */
static void test_localhost_port_is_guarded(void **state)
{
	World *w = *state;
	uint8_t mac[6];
	int said;

	publish(w, "br-a", "172.20.0.3", "127.0.0.1", 7777, 7777, true);
	mac_of("up0", mac);

	pid_t pid = watch(w->a2, 7777, &said);

	send_martian(w->outside, OUTSIDE, mac, 7777);
	assert_int_equal(answer_of(said), 'n');
	drop_guard();
	send_martian(w->outside, OUTSIDE, mac, 7777);
	assert_int_equal(answer_of(said), 'y');
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(said);
}

static void test_conflicting_entry_names_its_owner(void **state)
{
	World *w = *state;
	NetworkPort p[2] = {{TCP, .host_port = 8088, .container_port = 80},
			    {TCP, .host_port = 8080, .container_port = 80}};
	Err e = {0};

	publish(w, "br-a", "172.20.0.2", NULL, 8080, 80, false);
	publish(w, "br-a", "172.20.0.2", NULL, 8080, 80, false); /* the same again is no conflict */
	assert_true(network_ports_publish(w->h, "br-a", ip("172.20.0.3"), p, 2, &e) < 0);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "8080/tcp is already in use by the container with address 172.20.0.2"));
	assert_string_equal(test_ask(HERE, "127.0.0.1", 8088, false, 1000).s, "refused"); /* all or nothing */
	assert_true(network_ports_publish(w->h, "br-x", ip("172.20.0.3"), p, 1, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
}

static void test_change_from_one_list_to_another(void **state)
{
	World *w = *state;
	NetworkPort a = {TCP, .host_port = 8080, .container_port = 80},
		    b = {TCP, .host_port = 8081, .container_port = 80},
		    moved = {TCP, .host_port = 8081, .container_port = 7},
		    theirs = {TCP, .host_port = 8088, .container_port = 80};
	IpAddress to = ip("172.20.0.2");
	Err e = {0};

	publish(w, "br-a", "172.20.0.2", NULL, 8080, 80, false);
	ok(network_ports_change(w->h, "br-a", to, &a, 1, &b, 1, &e));
	assert_reaches(w->outside, UPLINK, 8081, OUTSIDE);
	assert_string_equal(test_ask(w->outside, UPLINK, 8080, false, 1000).s, "refused");
	/* One host port, to another port of the container and back. */
	ok(network_ports_change(w->h, "br-a", to, &b, 1, &moved, 1, &e));
	assert_string_equal(test_ask(w->outside, UPLINK, 8081, false, 1000).s, "refused");
	ok(network_ports_change(w->h, "br-a", to, &moved, 1, &b, 1, &e));
	assert_reaches(w->outside, UPLINK, 8081, OUTSIDE);
	/* All or nothing. */
	publish(w, "br-a", "172.20.0.3", NULL, 8088, 80, false);
	assert_true(network_ports_change(w->h, "br-a", to, &b, 1, (NetworkPort[]){a, theirs}, 2, &e) < 0);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "8088/tcp is already in use by the container with address 172.20.0.3"));
	assert_reaches(w->outside, UPLINK, 8081, OUTSIDE);
	/* What should be there and is not is made again; what is somebody else's stays. */
	ok(network_ports_unpublish(w->h, "br-a", to, &b, 1, &e));
	ok(network_ports_change(w->h, "br-a", to, &theirs, 1, &b, 1, &e));
	assert_reaches(w->outside, UPLINK, 8081, OUTSIDE);
	assert_true(network_ports_publish(w->h, "br-a", to, &theirs, 1, &e) < 0);
	ok(network_ports_change(w->h, "br-a", to, &b, 1, NULL, 0, &e));
	assert_string_equal(test_ask(w->outside, UPLINK, 8081, false, 1000).s, "refused");
}

static void test_thousand_ports_in_one_go(void **state)
{
	World *w = *state;
	enum { N = 2000 };
	NetworkPort *p = calloc(N, sizeof(*p));
	Err e = {0};

	for (uint16_t i = 0; i < N; i++)
		p[i] = (NetworkPort){TCP, .host_port = (uint16_t)(20000 + i), .container_port = 80};
	ok(network_ports_publish(w->h, "br-a", ip("172.20.0.2"), p, N, &e));
	assert_reaches(w->outside, UPLINK, 20000, OUTSIDE);
	assert_reaches(w->outside, UPLINK, 20000 + N - 1, OUTSIDE);
	ok(network_ports_unpublish(w->h, "br-a", ip("172.20.0.2"), p, N, &e));
	assert_string_equal(test_ask(w->outside, UPLINK, 20000, false, 1000).s, "refused");
	free(p);
}

static void test_table_of_another_version_is_made_anew(void **state)
{
	World *w = *state;
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	Err e = {0};

	assert_int_equal(nft_run_cmd_from_buffer(nft,
						 "delete table inet " TEST_TABLE
						 "; add table inet " TEST_TABLE "; add set inet " TEST_TABLE
						 " bridges { type ipv4_addr; }"),
			 0);
	nft_ctx_free(nft);
	ok(network_bridge_ensure(w->h, &w->a, &e));
	ok(network_bridge_ensure(w->h, &w->b, &e));
	publish(w, "br-a", "172.20.0.2", NULL, 8080, 80, false);
	assert_reaches(w->outside, UPLINK, 8080, OUTSIDE);
}

#define world_test(f)    cmocka_unit_test_setup_teardown(f, world_up, world_down)
#define filtered_test(f) cmocka_unit_test_setup_teardown(f, world_up_filtered, world_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    world_test(test_published_port_is_reached_from_everywhere),
	    filtered_test(test_published_port_is_reached_from_everywhere),
	    world_test(test_unpublish_ends_it),
	    world_test(test_port_at_one_address),
	    world_test(test_udp),
	    world_test(test_udp_flow_follows_the_port),
	    world_test(test_way_out_is_masqueraded),
	    filtered_test(test_way_out_is_masqueraded),
	    world_test(test_containers_that_route),
	    filtered_test(test_containers_that_route),
	    world_test(test_networks_are_apart),
	    filtered_test(test_networks_are_apart),
	    world_test(test_unpublished_port_is_closed_to_the_outside),
	    world_test(test_no_icc),
	    filtered_test(test_no_icc),
	    world_test(test_internal_has_no_way_out),
	    filtered_test(test_internal_has_no_way_out),
	    world_test(test_localhost_is_guarded),
	    filtered_test(test_localhost_is_guarded),
	    world_test(test_localhost_port_is_guarded),
	    world_test(test_conflicting_entry_names_its_owner),
	    world_test(test_change_from_one_list_to_another),
	    world_test(test_thousand_ports_in_one_go),
	    world_test(test_table_of_another_version_is_made_anew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
