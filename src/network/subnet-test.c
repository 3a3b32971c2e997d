/* SPDX-License-Identifier: Apache-2.0 */
/* Subnets that keep clear of what the host uses, and addresses that go round. */
#include "network/test-net.h"

#include <sys/mount.h>

/* A private /etc whose resolv.conf is the test's. */
static void resolv_conf(const char *text)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/etc", "tmpfs", 0, "size=1m") < 0)
		fail_msg("private /etc: %s", strerror(errno));
	assert_int_equal(file_replace_at(AT_FDCWD, "/etc/resolv.conf", text, strlen(text), 0644, false), 0);
}

static NetworkHost *host_new(void)
{
	NetworkHost *h;
	Err e = {0};

	test_enter_host();
	resolv_conf("");
	ok(network_host_new(TEST_TABLE, &h, &e));
	return h;
}

static void test_parse(void **state _unused_)
{
	static const char *const bad[] = {"",
					  "172.20.0.0",
					  "172.20.0.0/",
					  "172.20.0.0/33",
					  "172.20.0.0/7",
					  "172.20.0.1/16",
					  "172.20.0.0/16x",
					  "/16",
					  "300.1.1.0/24",
					  "172.20.0.0/31",
					  "127.0.0.0/8",
					  "224.0.0.0/8",
					  "0.0.0.0/8",
					  "172.20.0.0/-1",
					  "::1/64",
					  "fd00:30::1/64",
					  "ff02::/64",
					  "fe80::/64",
					  "::/64",
					  "fd00::/15",
					  "fd00::/127",
					  "::ffff:10.0.0.0/104"};
	static const char *const bad_gateway[] = {"172.20.0.0", "172.20.255.255", "172.21.0.1", "x", ""};
	NetworkSubnet s = {0};
	Err e = {0};

	ok(network_subnet_parse("172.20.0.0/16", NULL, &s, &e));
	assert_int_equal((uint32_t)s.gateway, ip4("172.20.0.1"));
	assert_string_equal(network_subnet_text(&s).s, "172.20.0.0/16");
	ok(network_subnet_parse("10.1.2.8/29", "10.1.2.14", &s, &e));
	assert_string_equal(ip_text(s.gateway).s, "10.1.2.14");
	ok(network_subnet_parse("fd00:30::/64", "fd00:30::fe", &s, &e));
	assert_string_equal(network_subnet_text(&s).s, "fd00:30::/64");
	assert_string_equal(ip_text(s.gateway).s, "fd00:30::fe");
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		if (network_subnet_parse(bad[i], NULL, &s, &e) != -EINVAL)
			fail_msg("\"%s\" was accepted", bad[i]);
	ok(network_gateway_parse("172.20.5.1/16", &s, &e));
	assert_string_equal(network_subnet_text(&s).s, "172.20.0.0/16");
	assert_string_equal(ip_text(s.gateway).s, "172.20.5.1");
	ok(network_gateway_parse("fd00:5::/64", &s, &e));
	assert_string_equal(ip_text(s.gateway).s, "fd00:5::1");
	assert_int_equal(network_gateway_parse("172.20.255.255/16", &s, &e), -EINVAL);
	assert_int_equal(network_gateway_parse("172.20.5.1", &s, &e), -EINVAL);
	for (size_t i = 0; i < ELEMENTSOF(bad_gateway); i++)
		if (network_subnet_parse("172.20.0.0/16", bad_gateway[i], &s, &e) != -EINVAL)
			fail_msg("gateway \"%s\" was accepted", bad_gateway[i]);
}

static void assert_chosen(NetworkHost *h, const NetworkSubnet *used, size_t n, const char *want)
{
	NetworkSubnet s;
	Err e = {0};

	ok(network_subnet_choose(h, IP_V4, true, used, n, &s, &e));
	assert_string_equal(network_subnet_text(&s).s, want);
	assert_true(s.gateway == s.address + 1);
}

static void test_choose_avoids_the_hosts_routes(void **state _unused_)
{
	NetworkHost *h = host_new();
	int outside = test_uplink(h);
	NetworkSubnet used[2], s;
	Err e = {0};

	assert_chosen(h, NULL, 0, "172.17.0.0/16");
	ok(network_subnet_choose(h, IP_V4, false, NULL, 0, &s, &e));
	assert_string_equal(network_subnet_text(&s).s, "172.18.0.0/20");
	ok(network_subnet_parse("172.17.0.0/24", NULL, &used[0], &e));
	ok(network_subnet_parse("172.18.0.0/15", NULL, &used[1], &e));
	assert_chosen(h, used, 2, "172.20.0.0/20");

	test_route(&h->route, "0.0.0.0", 0, OUTSIDE, "up0", RT_TABLE_MAIN);
	test_route(&h->route, "128.0.0.0", 1, OUTSIDE, "up0", RT_TABLE_MAIN); /* half a default route */
	assert_chosen(h, NULL, 0, "172.17.0.0/16");
	test_route(&h->route, "172.17.8.0", 24, OUTSIDE, "up0", RT_TABLE_MAIN); /* a VPN */
	assert_chosen(h, NULL, 0, "172.18.0.0/20");
	test_route(&h->route, "172.18.0.0", 15, OUTSIDE, "up0", 51); /* one with a table of its own */
	assert_chosen(h, NULL, 0, "172.20.0.0/20");
	test_address(&h->route, "lo", "172.20.3.4", 32); /* an address of the host */
	assert_chosen(h, NULL, 0, "172.20.16.0/20");
	resolv_conf("nameserver 172.20.17.1\n"); /* a resolver behind the default route */
	assert_chosen(h, NULL, 0, "172.20.32.0/20");

	test_route(&h->route, "172.16.0.0", 12, OUTSIDE, "up0", 51);
	assert_chosen(h, NULL, 0, "192.168.0.0/24");
	test_route(&h->route, "192.168.0.0", 16, OUTSIDE, "up0", 51);
	assert_int_equal(network_subnet_choose(h, IP_V4, true, NULL, 0, &s, &e), -ENOSPC);
	assert_int_equal(e.kind, ERR_EXHAUSTED);
	close(outside);
	network_host_free(h);
}

static void test_hundreds_of_networks_fit(void **state _unused_)
{
	NetworkHost *h = host_new();
	_cleanup_free_ NetworkSubnet *used = calloc(1000, sizeof(*used));
	size_t n = 0;
	Err e = {0};

	assert_non_null(used);
	while (n < 1000 && network_subnet_choose(h, IP_V4, false, used, n, &used[n], &e) >= 0)
		n++;
	/* The /16 of the default network is left to it. */
	assert_int_equal(n, 192 + 2 * 256 + 256);
	assert_string_equal(network_subnet_text(&used[191]).s, "172.29.240.0/20");
	assert_string_equal(network_subnet_text(&used[192]).s, "172.30.0.0/24");
	network_host_free(h);
}

static void test_check_names_the_route(void **state _unused_)
{
	NetworkHost *h = host_new();
	int outside = test_uplink(h);
	NetworkSubnet s;
	Err e = {0};

	ok(network_subnet_parse("10.8.0.0/16", NULL, &s, &e));
	ok(network_subnet_check(h, &s, &e));
	test_route(&h->route, "10.0.0.0", 8, OUTSIDE, "up0", 51);
	assert_true(network_subnet_check(h, &s, &e) < 0);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "10.8.0.0/16 overlaps with the host's route 10.0.0.0/8 (up0)"));
	close(outside);
	network_host_free(h);
}

/* A VPN that comes when the network is there already. */
static void test_a_route_that_comes_later(void **state _unused_)
{
	NetworkHost *h = host_new();
	int outside = test_uplink(h), fd;
	NetworkBridge b[2] = {test_bridge("br-a", "10.8.0.0/16"), test_bridge("br-b", "10.9.0.0/16")};
	struct pollfd p;
	NetworkOverlap found[2];
	Err e = {0};

	ok(network_bridge_ensure(h, &b[0], &e)); /* the other one has never been used */
	ok(network_routes_watch(&fd, &e));
	p = (struct pollfd){.fd = fd, .events = POLLIN};
	assert_false(network_routes_changed(fd));
	ok(network_overlaps_find(h, b, 2, found, &e));
	assert_false(found[0].found || found[1].found);
	test_route(&h->route, "10.8.128.0", 17, OUTSIDE, "up0", 51);
	test_route(&h->route, "10.0.0.0", 8, OUTSIDE, "up0", RT_TABLE_MAIN);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_true(network_routes_changed(fd));
	assert_int_equal(poll(&p, 1, 0), 0);
	ok(network_overlaps_find(h, b, 2, found, &e));
	assert_true(found[0].found && found[1].found);
	assert_string_equal(found[0].interface, "up0");
	assert_string_equal(network_subnet_text(&found[0].subnet).s, "10.8.0.0/16");
	assert_string_equal(network_subnet_text(&found[1].route).s, "10.0.0.0/8");
	close(fd);
	close(outside);
	ok(network_bridge_remove(h, "br-a", &e));
	network_host_free(h);
}

/* IPv6 subnets are this machine's own; what is used is passed, and pools are huge. */
static void test_ipv6_subnets(void **state _unused_)
{
	NetworkHost *h = host_new();
	NetworkSubnet first, second, half, local = {(IpAddress)0xFD << 120, 8, 0};
	NetworkAddressPool pool;
	Err e = {0};

	ok(network_subnet_choose(h, IP_V6, false, NULL, 0, &first, &e));
	assert_true(network_subnet_contains(&local, first.address));
	assert_int_equal(first.prefix, 64);
	assert_true(first.gateway == first.address + 1);
	ok(network_subnet_choose(h, IP_V6, false, &first, 1, &second, &e));
	assert_true(second.address == first.address + ((IpAddress)1 << 64));

	/* Half of 2^56 networks is somebody's: the other half begins at once. */
	ok(network_subnet_parse("fd77:7700::/41", NULL, &half, &e));
	pool = (NetworkAddressPool){{half.address, 40, 0}, 96};
	ok(network_host_set_pools(h, &pool, 1, &e));
	ok(network_subnet_choose(h, IP_V6, false, &half, 1, &second, &e));
	assert_string_equal(network_subnet_text(&second).s, "fd77:7700:80::/96");
	ok(network_subnet_choose(h, IP_V4, true, NULL, 0, &second, &e)); /* the other family's pools stay */
	assert_string_equal(network_subnet_text(&second).s, "172.17.0.0/16");
	network_host_free(h);
}

static NetworkPool *pool_new(const char *cidr, const char *range)
{
	NetworkSubnet s, part = {0};
	NetworkPool *p;
	Err e = {0};

	ok(network_subnet_parse(cidr, NULL, &s, &e));
	if (range)
		ok(network_range_parse(range, &s, &part, &e));
	ok(network_pool_new(&s, range ? &part : NULL, &p, &e));
	return p;
}

static void assert_taken(NetworkPool *p, const char *want)
{
	IpAddress a;
	Err e = {0};

	ok(network_pool_take(p, 0, &a, &e));
	assert_string_equal(ip_text(a).s, want);
}

static void test_ipv6_addresses(void **state _unused_)
{
	_cleanup_(network_pool_freep) NetworkPool *p = pool_new("fd00:1::/64", NULL);
	_cleanup_(network_pool_freep) NetworkPool *small = pool_new("fd00:1::/126", NULL);
	IpAddress a;
	Err e = {0};

	assert_taken(p, "fd00:1::2");
	assert_taken(p, "fd00:1::3");
	ok(network_pool_take(p, ip("fd00:1::ffff:ffff:ffff:ffff"), &a, &e)); /* there is no broadcast */
	assert_true(network_pool_take(p, ip("fd00:1::"), &a, &e) < 0);
	assert_true(network_pool_take(p, ip("10.0.0.4"), &a, &e) < 0);
	assert_taken(small, "fd00:1::2");
	assert_taken(small, "fd00:1::3");
	assert_int_equal(network_pool_take(small, 0, &a, &e), -ENOSPC);
}

static void test_addresses_go_round(void **state _unused_)
{
	_cleanup_(network_pool_freep) NetworkPool *p = pool_new("10.0.0.0/29", NULL); /* .2 to .6 */
	IpAddress a;
	Err e = {0};

	for (uint32_t i = 0; i < 5; i++) {
		ok(network_pool_take(p, 0, &a, &e));
		assert_true(a == ip("10.0.0.2") + i);
	}
	assert_int_equal(network_pool_take(p, 0, &a, &e), -ENOSPC);
	assert_int_equal(e.kind, ERR_EXHAUSTED);
	assert_non_null(strstr(e.msg, "subnet 10.0.0.0/29 has no free address left"));

	/* .3 and .6 are freed: the round goes on behind the last one given out, .6, and so at .3 again, then .6. */
	network_pool_give(p, ip("10.0.0.3"));
	network_pool_give(p, ip("10.0.0.6"));
	network_pool_give(p, ip("10.0.0.6")); /* twice is as good as once */
	assert_taken(p, "10.0.0.3");
	network_pool_give(p, ip("10.0.0.3"));
	assert_taken(p, "10.0.0.6"); /* not .3 at once, though it is free again */
	assert_taken(p, "10.0.0.3");
}

static void test_wanted_address(void **state _unused_)
{
	_cleanup_(network_pool_freep) NetworkPool *p = pool_new("10.0.0.0/29", NULL);
	IpAddress a = 0;
	Err e = {0};

	ok(network_pool_take(p, ip("10.0.0.4"), &a, &e));
	assert_ip_equal(a, "10.0.0.4");
	for (int gateway = 0; gateway < 2; gateway++) {
		assert_true(network_pool_take(p, ip(gateway ? "10.0.0.1" : "10.0.0.4"), &a, &e) < 0);
		assert_int_equal(e.kind, ERR_DENIED);
		assert_true(str_starts(e.msg, "Address already in use"));
	}
	for (int last = 0; last < 2; last++) {
		assert_true(network_pool_take(p, ip(last ? "10.0.0.7" : "10.0.0.0"), &a, &e) < 0);
		assert_int_equal(e.kind, ERR_INVALID);
	}
	assert_true(network_pool_take(p, ip("10.0.1.4"), &a, &e) < 0);
}

static void test_range_and_many(void **state _unused_)
{
	static const char *const bad[] = {"10.0.5.0", "10.1.0.0/24", "10.0.0.0/15",
					  "x/24",     "10.0.0.0/33", "/24",
					  ""};
	_cleanup_(network_pool_freep) NetworkPool *p = pool_new("10.0.0.0/16", "10.0.5.0/30");
	_cleanup_(network_pool_freep) NetworkPool *whole = pool_new("10.0.0.0/20", NULL);
	NetworkSubnet s, range;
	IpAddress a;
	Err e = {0};

	/* All four of the part: its first and last address are ordinary ones of the subnet. */
	assert_taken(p, "10.0.5.0");
	assert_taken(p, "10.0.5.1");
	assert_taken(p, "10.0.5.2");
	assert_taken(p, "10.0.5.3");
	assert_int_equal(network_pool_take(p, 0, &a, &e), -ENOSPC);
	ok(network_pool_take(p, ip("10.0.9.9"), &a, &e)); /* asked for, it may be anywhere in the subnet */

	ok(network_subnet_parse("10.0.0.0/16", NULL, &s, &e));
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		assert_int_equal(network_range_parse(bad[i], &s, &range, &e), -EINVAL);

	for (uint32_t i = 0; i < 4093; i++)
		ok(network_pool_take(whole, 0, &a, &e));
	assert_int_equal(network_pool_take(whole, 0, &a, &e), -ENOSPC);
	for (uint32_t i = 2; i < 4095; i += 2)
		network_pool_give(whole, ip("10.0.0.0") + i);
	for (uint32_t i = 2; i < 4095; i += 2)
		ok(network_pool_take(whole, ip("10.0.0.0") + i, &a, &e));
	assert_int_equal(network_pool_take(whole, 0, &a, &e), -ENOSPC);
}

static void test_configured_pools(void **state _unused_)
{
	NetworkAddressPool pools[2] = {{{ip("10.99.0.0"), 29, 0}, 30}, {{ip("10.98.0.0"), 16, 0}, 8}};
	NetworkHost *h = host_new();
	NetworkSubnet used;
	Err e = {0};

	assert_int_equal(network_host_set_pools(h, pools, 2, &e), -EINVAL); /* a /8 does not fit into a /16 */
	ok(network_host_set_pools(h, pools, 1, &e));
	assert_chosen(h, NULL, 0, "10.99.0.0/30");
	ok(network_subnet_parse("10.99.0.0/30", NULL, &used, &e));
	assert_chosen(h, &used, 1, "10.99.0.4/30");
	network_host_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_choose_avoids_the_hosts_routes),
	    cmocka_unit_test(test_hundreds_of_networks_fit),
	    cmocka_unit_test(test_check_names_the_route),
	    cmocka_unit_test(test_a_route_that_comes_later),
	    cmocka_unit_test(test_ipv6_subnets),
	    cmocka_unit_test(test_ipv6_addresses),
	    cmocka_unit_test(test_addresses_go_round),
	    cmocka_unit_test(test_wanted_address),
	    cmocka_unit_test(test_range_and_many),
	    cmocka_unit_test(test_configured_pools),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
