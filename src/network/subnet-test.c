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
					  "::1/64"};
	static const char *const bad_gateway[] = {"172.20.0.0", "172.20.255.255", "172.21.0.1", "x", ""};
	NetworkSubnet s = {0};
	Err e = {0};

	ok(network_subnet_parse("172.20.0.0/16", NULL, &s, &e));
	assert_int_equal(s.gateway, ip4("172.20.0.1"));
	assert_string_equal(network_subnet_text(&s).s, "172.20.0.0/16");
	ok(network_subnet_parse("10.1.2.8/29", "10.1.2.14", &s, &e));
	assert_string_equal(network_address_text(s.gateway).s, "10.1.2.14");
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		if (network_subnet_parse(bad[i], NULL, &s, &e) != -EINVAL)
			fail_msg("\"%s\" was accepted", bad[i]);
	for (size_t i = 0; i < ELEMENTSOF(bad_gateway); i++)
		if (network_subnet_parse("172.20.0.0/16", bad_gateway[i], &s, &e) != -EINVAL)
			fail_msg("gateway \"%s\" was accepted", bad_gateway[i]);
}

static void assert_chosen(NetworkHost *h, const NetworkSubnet *used, size_t n, const char *want)
{
	NetworkSubnet s;
	Err e = {0};

	ok(network_subnet_choose(h, used, n, &s, &e));
	assert_string_equal(network_subnet_text(&s).s, want);
	assert_int_equal(s.gateway, s.address + 1);
}

static void test_choose_avoids_the_hosts_routes(void **state _unused_)
{
	NetworkHost *h = host_new();
	int outside = test_uplink(h);
	NetworkSubnet used[2], s;
	Err e = {0};

	assert_chosen(h, NULL, 0, "172.17.0.0/16");
	ok(network_subnet_parse("172.17.0.0/24", NULL, &used[0], &e));
	ok(network_subnet_parse("172.18.0.0/15", NULL, &used[1], &e));
	assert_chosen(h, used, 2, "172.20.0.0/16");

	test_route(&h->route, "0.0.0.0", 0, OUTSIDE, "up0", RT_TABLE_MAIN);
	test_route(&h->route, "128.0.0.0", 1, OUTSIDE, "up0", RT_TABLE_MAIN); /* half a default route */
	assert_chosen(h, NULL, 0, "172.17.0.0/16");
	test_route(&h->route, "172.17.8.0", 24, OUTSIDE, "up0", RT_TABLE_MAIN); /* a VPN */
	assert_chosen(h, NULL, 0, "172.18.0.0/16");
	test_route(&h->route, "172.18.0.0", 15, OUTSIDE, "up0", 51); /* one with a table of its own */
	assert_chosen(h, NULL, 0, "172.20.0.0/16");
	test_address(&h->route, "lo", "172.20.3.4", 32); /* an address of the host */
	assert_chosen(h, NULL, 0, "172.21.0.0/16");
	resolv_conf("nameserver 172.21.1.1\n"); /* a resolver behind the default route */
	assert_chosen(h, NULL, 0, "172.22.0.0/16");

	test_route(&h->route, "172.16.0.0", 12, OUTSIDE, "up0", 51);
	assert_chosen(h, NULL, 0, "192.168.0.0/20");
	test_route(&h->route, "192.168.0.0", 16, OUTSIDE, "up0", 51);
	assert_int_equal(network_subnet_choose(h, NULL, 0, &s, &e), -ENOSPC);
	assert_int_equal(e.kind, ERR_EXHAUSTED);
	close(outside);
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

static void test_addresses_go_round(void **state _unused_)
{
	NetworkHost *h = host_new();
	NetworkSubnet s;
	uint32_t used[8], a;
	Err e = {0};

	ok(network_subnet_parse("10.0.0.0/29", NULL, &s, &e)); /* .2 to .6 */
	for (uint32_t i = 0; i < 5; i++) {
		ok(network_address_choose(h, &s, used, i, 0, &a, &e));
		assert_int_equal(a, s.address + 2 + i);
		used[i] = a;
	}
	assert_int_equal(network_address_choose(h, &s, used, 5, 0, &a, &e), -ENOSPC);
	assert_int_equal(e.kind, ERR_EXHAUSTED);
	assert_non_null(strstr(e.msg, "subnet 10.0.0.0/29 has no free address left"));

	/* .3 and .6 are freed: the round goes on behind the last one given out, .6, and so at .3 again, then .6. */
	used[1] = used[0];
	used[4] = used[0];
	ok(network_address_choose(h, &s, used, 5, 0, &a, &e));
	assert_int_equal(a, s.address + 3);
	ok(network_address_choose(h, &s, used, 5, 0, &a, &e));
	assert_int_equal(a, s.address + 6); /* not .3 at once, though it is free again */
	network_host_free(h);
}

static void test_wanted_address(void **state _unused_)
{
	NetworkHost *h = host_new();
	NetworkSubnet s;
	uint32_t used = ip4("10.0.0.5"), a = 0;
	Err e = {0};

	ok(network_subnet_parse("10.0.0.0/29", NULL, &s, &e));
	ok(network_address_choose(h, &s, &used, 1, ip4("10.0.0.4"), &a, &e));
	assert_int_equal(a, ip4("10.0.0.4"));
	assert_true(network_address_choose(h, &s, &used, 1, ip4("10.0.0.5"), &a, &e) < 0);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_true(network_address_choose(h, &s, &used, 1, ip4("10.0.0.1"), &a, &e) < 0);
	assert_int_equal(e.kind, ERR_CONFLICT);
	for (uint32_t outside = 0; outside < 2; outside++) {
		assert_true(
		    network_address_choose(h, &s, &used, 1, outside ? s.address + 7 : s.address, &a, &e) < 0);
		assert_int_equal(e.kind, ERR_INVALID);
	}
	network_host_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_choose_avoids_the_hosts_routes),
	    cmocka_unit_test(test_check_names_the_route),
	    cmocka_unit_test(test_addresses_go_round),
	    cmocka_unit_test(test_wanted_address),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
