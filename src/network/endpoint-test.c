/* SPDX-License-Identifier: Apache-2.0 */
/* Bridges, namespaces and endpoints: made as asked, found again, undone whole, and nothing left afterwards. */
#include "network/test-net.h"

#include <nftables/libnftables.h>
#include <time.h>

static NetworkHost *host_new(void)
{
	NetworkHost *h;
	Err e = {0};

	test_enter_host();
	ok(network_host_new(TEST_TABLE, &h, &e));
	return h;
}

static bool link_exists(NetworkHost *h, const char *name)
{
	LinkInfo link;
	Err e = {0};

	return ok(link_find(&h->route, name, &link, &e)) == 1;
}

static bool table_exists(void)
{
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);

	nft_ctx_buffer_error(nft);
	nft_ctx_buffer_output(nft);
	int r = nft_run_cmd_from_buffer(nft, "list table inet " TEST_TABLE);

	nft_ctx_free(nft);
	return r == 0;
}

static void test_bridge_comes_and_goes(void **state _unused_)
{
	NetworkHost *h = host_new();
	NetworkBridge a = test_bridge("br-a", "172.20.0.0/16"), b = test_bridge("br-b", "172.21.0.0/24");
	_cleanup_free_ char *forward = NULL, *addresses = NULL;
	LinkInfo link;
	Err e = {0};

	assert_false(table_exists());
	ok(network_bridge_ensure(h, &a, &e));
	ok(network_bridge_ensure(h, &b, &e));
	ok(network_bridge_ensure(h, &a, &e)); /* again is no change */
	assert_int_equal(ok(link_find(&h->route, "br-a", &link, &e)), 1);
	assert_string_equal(link.alias, "ireko:" TEST_TABLE);
	assert_string_equal(link.kind, "bridge");
	assert_int_equal(link.mtu, 1500);
	assert_true(link.route_localnet);
	assert_true(link.flags & IFF_UP);
	assert_true(file_read_at(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward", 16, &forward, NULL) >= 0);
	assert_string_equal(forward, "1\n");

	ok(network_bridge_remove(h, "br-a", &e));
	assert_false(link_exists(h, "br-a"));
	assert_true(table_exists());
	ok(network_bridge_remove(h, "br-b", &e));
	ok(network_bridge_remove(h, "br-b", &e)); /* missing is success */
	assert_false(link_exists(h, "br-b"));
	assert_false(table_exists());
	network_host_free(h);
}

static void test_bridge_is_repaired(void **state _unused_)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	NetworkHost *h = host_new();
	NetworkBridge a = test_bridge("br-a", "172.20.0.0/16");
	struct ifinfomsg down = {.ifi_change = IFF_UP};
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	LinkInfo link;
	Err e = {0};

	ok(network_bridge_ensure(h, &a, &e));
	assert_int_equal(ok(link_find(&h->route, "br-a", &link, &e)), 1);
	down.ifi_index = link.index;
	netlink_msg_end(&b, netlink_msg(&b, RTM_SETLINK, 0, &down, sizeof(down)));
	ok(netlink_run(&h->route, &b, NULL, &e));
	assert_int_equal(nft_run_cmd_from_buffer(nft, "delete table inet " TEST_TABLE), 0);
	nft_ctx_free(nft);

	/* The network was made anew with another subnet while the daemon was away. */
	a = test_bridge("br-a", "172.23.0.0/16");
	ok(network_bridge_ensure(h, &a, &e));
	assert_true(table_exists());
	int ns = test_container(h, &a, "va1", "172.23.0.2");
	pid_t server = test_serve(ns, 80, false);

	assert_reaches(HERE, "172.23.0.2", 80, "172.23.0.1");
	test_stop(server);
	close(ns);
	ok(network_bridge_remove(h, "br-a", &e));
	network_host_free(h);
}

static void make_foreign_bridge(NetworkHost *h, const char *name)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct ifinfomsg header = {0};
	struct nlmsghdr *m = netlink_msg(&b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
	Err e = {0};

	mnl_attr_put_strz(m, IFLA_IFNAME, name);
	struct nlattr *info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_str(m, IFLA_INFO_KIND, "bridge");
	mnl_attr_nest_end(m, info);
	netlink_msg_end(&b, m);
	ok(netlink_run(&h->route, &b, NULL, &e));
}

static void test_foreign_bridge_is_left_alone(void **state _unused_)
{
	NetworkHost *h = host_new();
	NetworkBridge mine = test_bridge("virbr0", "172.20.0.0/16");
	NetworkKnown nothing = {0};
	Err e = {0};

	make_foreign_bridge(h, "virbr0");
	assert_true(network_bridge_ensure(h, &mine, &e) < 0);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "virbr0 exists and is not of this daemon"));
	assert_true(network_bridge_remove(h, "virbr0", &e) < 0);
	assert_int_equal(e.kind, ERR_CONFLICT);
	ok(network_reconcile(h, &nothing, &e));
	assert_true(link_exists(h, "virbr0"));
	assert_true(network_endpoint_remove(h, "virbr0", &e) < 0); /* no veth */
	network_host_free(h);
}

static void test_hostile_names_are_refused(void **state _unused_)
{
	static const char *const bad[] = {"", "..", "a/b", "with space", "sixteen-bytes-xx", "a\nb", "a\"b"};
	NetworkHost *h = host_new(), *none = NULL;
	Err e = {0};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		assert_int_equal(network_bridge_remove(h, bad[i], &e), -EINVAL);
		assert_int_equal(network_endpoint_remove(h, bad[i], &e), -EINVAL);
	}
	assert_true(network_host_new("x; flush ruleset", &none, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	network_host_free(h);
}

static void test_endpoint(void **state _unused_)
{
	NetworkHost *h = host_new();
	NetworkBridge a = test_bridge("br-a", "172.20.0.0/16");
	NetworkEndpoint ep = {.host_if = "va1", .container_if = "eth0", .bridge = "br-a"};
	static const uint8_t mac[6] = {0x02, 0x42, 172, 20, 0, 2};
	Netlink inside;
	LinkInfo link;
	Err e = {0};
	int ns;

	a.mtu = 1400;
	ep.ip[IP_V4] = (NetworkEndpointIp){ip("172.20.0.2"), 16, a.ip[IP_V4].gateway};
	ok(network_bridge_ensure(h, &a, &e));
	ok(network_namespace_new(&ns, &e));
	ok(network_endpoint_add(h, ns, &ep, &e));
	assert_memory_equal(ep.mac, mac, 6);
	ok(netlink_open_in(&inside, ns, NETLINK_ROUTE, &e));
	assert_int_equal(ok(link_find(&inside, "eth0", &link, &e)), 1);
	assert_int_equal(link.mtu, 1400);
	assert_true(link.flags & IFF_UP);
	assert_int_equal(ok(link_find(&inside, "lo", &link, &e)), 1);
	assert_true(link.flags & IFF_UP);
	netlink_close(&inside);

	ok(network_endpoint_remove(h, "va1", &e));
	assert_false(link_exists(h, "va1"));
	ok(network_endpoint_remove(h, "va1", &e));
	close(ns);
	ok(network_bridge_remove(h, "br-a", &e));
	network_host_free(h);
}

static void test_failed_endpoint_is_undone(void **state _unused_)
{
	NetworkHost *h = host_new();
	NetworkBridge a = test_bridge("br-a", "172.20.0.0/16");
	NetworkEndpoint ep = {.host_if = "va1", .container_if = "eth0", .bridge = "br-a"};
	Err e = {0};
	int ns;

	ep.ip[IP_V4] = (NetworkEndpointIp){ip("172.20.0.2"), 16, 0};
	ok(network_namespace_new(&ns, &e));
	assert_true(network_endpoint_add(h, ns, &ep, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND); /* no bridge yet */
	ok(network_bridge_ensure(h, &a, &e));

	ep.ip[IP_V4].gateway = ip("10.9.9.9"); /* not reachable: the last step fails */
	assert_true(network_endpoint_add(h, ns, &ep, &e) < 0);
	assert_non_null(strstr(e.msg, "set the default route"));
	assert_false(link_exists(h, "va1"));

	ep.ip[IP_V4].gateway = 0;
	ok(network_endpoint_add(h, ns, &ep, &e));
	snprintf(ep.host_if, sizeof(ep.host_if), "va2"); /* eth0 is taken inside */
	assert_true(network_endpoint_add(h, ns, &ep, &e) < 0);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_false(link_exists(h, "va2"));
	snprintf(ep.host_if, sizeof(ep.host_if), "va1"); /* and va1 outside: it must survive the failure */
	ep.container_if = "eth1";
	assert_true(network_endpoint_add(h, ns, &ep, &e) < 0);
	assert_true(link_exists(h, "va1"));
	close(ns);
	ok(network_bridge_remove(h, "br-a", &e));
	network_host_free(h);
}

static void test_calling_thread_stays(void **state _unused_)
{
	struct stat before, after;
	Err e = {0};
	int ns;

	test_enter_host();
	assert_int_equal(stat("/proc/thread-self/ns/net", &before), 0);
	ok(network_namespace_new(&ns, &e));
	assert_int_equal(stat("/proc/thread-self/ns/net", &after), 0);
	assert_true(before.st_ino == after.st_ino);
	assert_int_equal(fstat(ns, &after), 0);
	assert_true(before.st_ino != after.st_ino);
	close(ns);
}

/* The death of a namespace takes the host side with it. The kernel does that in its own time. */
static void test_namespace_death_removes_the_pair(void **state _unused_)
{
	NetworkHost *h = host_new();
	NetworkBridge a = test_bridge("br-a", "172.20.0.0/16");
	Err e = {0};

	ok(network_bridge_ensure(h, &a, &e));
	close(test_container(h, &a, "va1", "172.20.0.2"));
	for (int i = 0; i < 500 && link_exists(h, "va1"); i++)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_false(link_exists(h, "va1"));
	ok(network_bridge_remove(h, "br-a", &e));
	network_host_free(h);
}

static void *add_many(void *arg)
{
	NetworkHost *h = arg;
	static int next;
	int first = __atomic_fetch_add(&next, 16, __ATOMIC_RELAXED);
	Err e = {0};

	for (int i = first; i < first + 16; i++) {
		NetworkEndpoint ep = {.container_if = "eth0", .bridge = "br-a"};
		NetworkPort p = {TCP, .host_port = (uint16_t)(30000 + i), .container_port = 80};
		int ns;

		snprintf(ep.host_if, sizeof(ep.host_if), "v%d", i);
		ep.ip[IP_V4] = (NetworkEndpointIp){ip("172.20.1.0") + (IpAddress)i, 16, 0};
		if (network_namespace_new(&ns, &e) < 0)
			return strdup(e.msg);
		if (network_endpoint_add(h, ns, &ep, &e) < 0 ||
		    network_ports_publish(h, "br-a", ep.ip[IP_V4].address, &p, 1, &e) < 0 ||
		    network_ports_unpublish(h, "br-a", ep.ip[IP_V4].address, &p, 1, &e) < 0 ||
		    network_endpoint_remove(h, ep.host_if, &e) < 0)
			return strdup(e.msg);
		close(ns);
	}
	return NULL;
}

static void test_threads(void **state _unused_)
{
	NetworkHost *h = host_new();
	NetworkBridge a = test_bridge("br-a", "172.20.0.0/16");
	pthread_t t[4];
	Err e = {0};

	ok(network_bridge_ensure(h, &a, &e));
	for (size_t i = 0; i < ELEMENTSOF(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, add_many, h), 0);
	for (size_t i = 0; i < ELEMENTSOF(t); i++) {
		void *failed;

		pthread_join(t[i], &failed);
		if (failed)
			fail_msg("%s", (char *)failed);
	}
	ok(network_bridge_remove(h, "br-a", &e));
	assert_false(table_exists());
	network_host_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_bridge_comes_and_goes),
	    cmocka_unit_test(test_bridge_is_repaired),
	    cmocka_unit_test(test_foreign_bridge_is_left_alone),
	    cmocka_unit_test(test_hostile_names_are_refused),
	    cmocka_unit_test(test_endpoint),
	    cmocka_unit_test(test_failed_endpoint_is_undone),
	    cmocka_unit_test(test_calling_thread_stays),
	    cmocka_unit_test(test_namespace_death_removes_the_pair),
	    cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
