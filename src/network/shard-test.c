/* SPDX-License-Identifier: Apache-2.0 */
/* More containers than a bridge has ports: the next ones are on another bridge and on the same network all the same. */
#include "network/test-net.h"

static int join(NetworkHost *h, const NetworkBridge *b, const char *host_if, const char *address,
		unsigned neighbours)
{
	NetworkEndpoint ep = {.container_if = "eth0", .bridge = b->name, .neighbours = neighbours};
	Err e = {0};
	int ns;

	ep.ip[IP_V4] = (NetworkEndpointIp){ip(address), b->ip[IP_V4].prefix, b->ip[IP_V4].gateway};
	snprintf(ep.host_if, sizeof(ep.host_if), "%s", host_if);
	ok(network_namespace_new(&ns, &e));
	ok(network_endpoint_add(h, ns, &ep, &e));
	return ns;
}

static int count_shards(const struct nlmsghdr *m, void *arg)
{
	LinkInfo link;

	link_info_parse(m, &link);
	*(int *)arg += strchr(link.alias, '/') != NULL;
	return 0;
}

/* Bridges of shards, and the ends of their pairs. */
static int shard_links(NetworkHost *h)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct ifinfomsg any = {0};
	int n = 0;
	Err e = {0};

	netlink_msg_end(&b, netlink_msg(&b, RTM_GETLINK, NLM_F_DUMP, &any, sizeof(any)));
	ok(netlink_ask(&h->route, &b, count_shards, &n, &e));
	return n;
}

static void a_full_bridge_grows(bool filtered)
{
	NetworkHost *h;
	NetworkBridge a;
	Err e = {0};

	test_enter_host();
	(void)file_write_at(AT_FDCWD, "/proc/sys/net/bridge/bridge-nf-call-iptables", filtered ? "1" : "0");
	ok(network_host_new(TEST_TABLE, &h, &e));
	int outside = test_uplink(h);

	a = test_bridge("br-a", "172.20.0.0/16");
	ok(network_bridge_ensure(h, &a, &e));
	int first = join(h, &a, "va1", "172.20.0.2", 0);

	test_fill_bridge(h, "br-a", 965);
	int second = join(h, &a, "va2", "172.20.0.3", 967), third = join(h, &a, "va3", "172.20.0.4", 968);
	pid_t servers[] = {test_serve(first, 80, false), test_serve(second, 80, false),
			   test_serve(outside, 99, false)};
	NetworkPort p = {TCP, .host_port = 8080, .container_port = 80};

	assert_int_equal(shard_links(h), 3);
	assert_reaches(second, "172.20.0.2", 80, "172.20.0.3"); /* from one to the other */
	assert_reaches(first, "172.20.0.3", 80, "172.20.0.2");
	assert_reaches(third, "172.20.0.3", 80, "172.20.0.4"); /* both on the new one */
	assert_reaches(HERE, "172.20.0.3", 80, "172.20.0.1");
	assert_reaches(second, OUTSIDE, 99, UPLINK);
	ok(network_ports_publish(h, "br-a", ip("172.20.0.3"), &p, 1, &e));
	assert_reaches(outside, UPLINK, 8080, OUTSIDE);
	if (!filtered)
		assert_reaches(second, UPLINK, 8080, "172.20.0.1"); /* hairpin */

	/* A daemon that comes back knows whose they are. */
	const char *host_ifs[] = {"va1", "va2", "va3"};
	NetworkKnown known = {&a, 1, host_ifs, 3, &(IpAddress){ip("172.20.0.3")}, 1};

	ok(network_reconcile(h, &known, &e));
	assert_int_equal(shard_links(h), 3);
	assert_reaches(second, "172.20.0.2", 80, "172.20.0.3");
	for (size_t i = 0; i < ELEMENTSOF(servers); i++)
		test_stop(servers[i]);
	close(first);
	close(second);
	close(third);
	close(outside);
	ok(network_bridge_remove(h, "br-a", &e));
	assert_int_equal(shard_links(h), 0);
	network_host_free(h);
}

static void test_a_full_bridge_grows(void **state _unused_)
{
	a_full_bridge_grows(false);
}

/* Where br_netfilter shows bridged frames to the rules. */
static void test_a_full_bridge_grows_filtered(void **state _unused_)
{
	a_full_bridge_grows(true);
}

static void test_orphans_go(void **state _unused_)
{
	NetworkHost *h;
	NetworkBridge a;
	Err e = {0};

	test_enter_host();
	ok(network_host_new(TEST_TABLE, &h, &e));
	a = test_bridge("br-a", "172.20.0.0/16");
	ok(network_bridge_ensure(h, &a, &e));
	test_fill_bridge(h, "br-a", 965);
	int ns = join(h, &a, "va1", "172.20.0.2", 1000);

	assert_int_equal(shard_links(h), 3);
	ok(network_reconcile(h, &(NetworkKnown){0}, &e));
	assert_int_equal(shard_links(h), 0);
	close(ns);
	network_host_free(h);
}

static void test_isolated_ports_stay_so(void **state _unused_)
{
	NetworkHost *h;
	NetworkBridge a;
	Err e = {0};

	test_enter_host();
	ok(network_host_new(TEST_TABLE, &h, &e));
	a = test_bridge("br-a", "172.20.0.0/16");
	a.icc = false;
	ok(network_bridge_ensure(h, &a, &e));
	int first = join(h, &a, "va1", "172.20.0.2", 0);

	test_fill_bridge(h, "br-a", 965);
	int second = join(h, &a, "va2", "172.20.0.3", 967);
	pid_t server = test_serve(first, 80, false);

	assert_string_not_equal(test_ask(second, "172.20.0.2", 80, false, 300).s, "172.20.0.3");
	assert_reaches(HERE, "172.20.0.2", 80, "172.20.0.1");
	test_stop(server);
	close(first);
	close(second);
	ok(network_bridge_remove(h, "br-a", &e));
	network_host_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_full_bridge_grows),
	    cmocka_unit_test(test_a_full_bridge_grows_filtered),
	    cmocka_unit_test(test_orphans_go),
	    cmocka_unit_test(test_isolated_ports_stay_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
