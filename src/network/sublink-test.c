/* SPDX-License-Identifier: Apache-2.0 */
/* Interfaces upon the host's: the container is on the parent's wire, under addresses of its own. */
#include "network/test-net.h"

#include <linux/if_link.h>

typedef struct World {
	NetworkHost *h;
	int outside;
} World;

static int world_up(void **state)
{
	World *w = calloc(1, sizeof(*w));
	Err e = {0};

	test_enter_host();
	ok(network_host_new(TEST_TABLE, &w->h, &e));
	w->outside = test_uplink(w->h);
	*state = w;
	return 0;
}

static int world_down(void **state)
{
	World *w = *state;

	close(w->outside);
	network_host_free(w->h);
	free(w);
	return 0;
}

static NetworkEndpoint endpoint(const NetworkSublink *sub, const char *address)
{
	NetworkEndpoint ep = {.container_if = "eth0", .sub = sub};

	ep.ip[IP_V4] = (NetworkEndpointIp){.address = ip(address), .prefix = 24};
	return ep;
}

static int join(World *w, const NetworkSublink *sub, const char *address)
{
	NetworkEndpoint ep = endpoint(sub, address);
	Err e = {0};
	int ns;

	ok(network_namespace_new(&ns, &e));
	ok(network_endpoint_add(w->h, ns, &ep, &e));
	return ns;
}

static void test_macvlan(void **state)
{
	World *w = *state;
	const NetworkSublink sub = {.parent = "up0", .mode = MACVLAN_MODE_BRIDGE};
	int a = join(w, &sub, "192.0.2.50"), b = join(w, &sub, "192.0.2.51");
	pid_t servers[] = {test_serve(a, 80, false), test_serve(w->outside, 99, false),
			   test_serve(HERE, 77, false)};
	NetworkEndpoint again = endpoint(&sub, "192.0.2.52");
	Err e = {0};

	assert_reaches(a, OUTSIDE, 99, "192.0.2.50"); /* nothing is translated */
	assert_reaches(w->outside, "192.0.2.50", 80, OUTSIDE);
	assert_reaches(b, "192.0.2.50", 80, "192.0.2.51");
	assert_string_not_equal(test_ask(a, UPLINK, 77, false, 300).s,
				"192.0.2.50"); /* the host is not there */
	assert_true(network_endpoint_add(w->h, a, &again, &e) < 0);
	assert_int_equal(e.kind, ERR_CONFLICT);
	ok(network_interface_remove(a, "eth0", &e));
	ok(network_interface_remove(a, "eth0", &e));
	assert_string_not_equal(test_ask(a, OUTSIDE, 99, false, 300).s, "192.0.2.50");
	for (size_t i = 0; i < ELEMENTSOF(servers); i++)
		test_stop(servers[i]);
	close(a);
	close(b);
}

static void test_private_mode_and_a_route_without_gateway(void **state)
{
	World *w = *state;
	const NetworkSublink sub = {.parent = "up0", .mode = MACVLAN_MODE_PRIVATE};
	NetworkEndpoint ep = endpoint(&sub, "198.51.100.7");
	int a = join(w, &sub, "192.0.2.50"), b;
	pid_t server = test_serve(a, 80, false), far = test_serve(w->outside, 99, false);
	Netlink inside;
	Err e = {0};

	ep.ip[IP_V4].direct = true;
	ok(network_namespace_new(&b, &e));
	ok(network_endpoint_add(w->h, b, &ep, &e));
	ok(netlink_open_in(&inside, w->outside, NETLINK_ROUTE, &e));
	test_route(&inside, "198.51.100.0", 24, NULL, "eth0", RT_TABLE_MAIN);
	netlink_close(&inside);
	assert_reaches(b, OUTSIDE, 99, "198.51.100.7");
	assert_string_not_equal(test_ask(b, "192.0.2.50", 80, false, 300).s, "198.51.100.7");
	test_stop(server);
	test_stop(far);
	close(a);
	close(b);
}

static void test_parents(void **state)
{
	World *w = *state;
	const NetworkSublink none = {.parent = "eth77", .mode = MACVLAN_MODE_BRIDGE};
	NetworkEndpoint ep = endpoint(&none, "192.0.2.50");
	Err e = {0};
	int ns;

	ok(network_parent_check(w->h, "up0", &e));
	assert_true(network_parent_check(w->h, "up0.10", &e) < 0);
	assert_non_null(strstr(e.msg, "ip link add link up0 name up0.10 type vlan id 10"));
	assert_int_equal(network_parent_check(w->h, "a/b", &e), -EINVAL);
	ok(network_namespace_new(&ns, &e));
	assert_true(network_endpoint_add(w->h, ns, &ep, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	close(ns);
}

/* Where the kernel has it; where it has not, that is what is said. */
static void test_ipvlan(void **state)
{
	World *w = *state;
	const NetworkSublink sub = {.parent = "up0", .ipvlan = true};
	NetworkEndpoint ep = endpoint(&sub, "192.0.2.50");
	pid_t server = test_serve(w->outside, 99, false);
	Err e = {0};
	int ns;

	ok(network_namespace_new(&ns, &e));
	if (network_endpoint_add(w->h, ns, &ep, &e) < 0) {
		assert_int_equal(e.kind, ERR_UNSUPPORTED);
		assert_non_null(strstr(e.msg, "modprobe ipvlan"));
	} else {
		assert_reaches(ns, OUTSIDE, 99, "192.0.2.50");
	}
	test_stop(server);
	close(ns);
}

#define world_test(f) cmocka_unit_test_setup_teardown(f, world_up, world_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    world_test(test_macvlan),
	    world_test(test_private_mode_and_a_route_without_gateway),
	    world_test(test_parents),
	    world_test(test_ipvlan),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
