/* SPDX-License-Identifier: Apache-2.0 */
/* After a crash: orphans go, what is known stays and works. */
#include "network/test-net.h"

static bool link_exists(NetworkHost *h, const char *name)
{
	LinkInfo link;
	Err e = {0};

	return ok(link_find(&h->route, name, &link, &e)) == 1;
}

static int count(const Element *el _unused_, void *arg)
{
	++*(int *)arg;
	return 0;
}

static int elements(NetworkHost *h, const char *set)
{
	int n = 0;
	Err e = {0};

	ok(element_list(&h->filter, TEST_TABLE, set, count, &n, &e));
	return n;
}

static void test_orphans_go(void **state _unused_)
{
	NetworkHost *h, *other;
	NetworkBridge a, b, theirs;
	NetworkPort p[2] = {{TCP, .host_port = 8080, .container_port = 80},
			    {TCP, .host_port = 8081, .container_port = 80}};
	IpAddress keep, lose;
	Err e = {0};

	test_enter_host();
	ok(network_host_new(TEST_TABLE, &h, &e));
	ok(network_host_new(TEST_TABLE "_2", &other, &e));
	a = test_bridge("br-a", "172.20.0.0/16");
	b = test_bridge("br-b", "172.21.0.0/16");
	theirs = test_bridge("br-o", "172.22.0.0/16");
	keep = ip("172.20.0.2");
	lose = ip("172.20.0.3");
	ok(network_bridge_ensure(h, &a, &e));
	ok(network_bridge_ensure(h, &b, &e));
	ok(network_bridge_ensure(other, &theirs, &e));
	int outside = test_uplink(h), a1 = test_container(h, &a, "va1", "172.20.0.2"),
	    a2 = test_container(h, &a, "va2", "172.20.0.3"),
	    o1 = test_container(other, &theirs, "vo1", "172.22.0.2");
	pid_t server = test_serve(a1, 80, false);

	p[1].host_address = ip(UPLINK);
	ok(network_ports_publish(h, "br-a", keep, &p[0], 1, &e));
	ok(network_ports_publish(h, "br-a", lose, &p[1], 1, &e));
	network_host_free(h); /* the daemon dies, the kernel keeps all */

	const char *host_ifs[] = {"va1"};
	NetworkKnown known = {&a, 1, host_ifs, 1, &keep, 1};

	ok(network_host_new(TEST_TABLE, &h, &e));
	ok(network_reconcile(h, &known, &e));
	assert_true(link_exists(h, "br-a"));
	assert_true(link_exists(h, "va1"));
	assert_false(link_exists(h, "va2"));
	assert_false(link_exists(h, "br-b"));
	assert_true(link_exists(h, "br-o")); /* another daemon's */
	assert_true(link_exists(h, "vo1"));
	assert_true(link_exists(h, "up0"));
	assert_int_equal(elements(h, "bridges"), 1);
	assert_int_equal(elements(h, "ports_any4"), 1);
	assert_int_equal(elements(h, "ports_at4"), 0);
	assert_reaches(outside, UPLINK, 8080, OUTSIDE);

	/* Nothing is known any more: nothing of ours remains, and twice is as good as once. */
	ok(network_reconcile(h, &(NetworkKnown){0}, &e));
	ok(network_reconcile(h, &(NetworkKnown){0}, &e));
	assert_false(link_exists(h, "br-a"));
	assert_false(link_exists(h, "va1"));
	assert_int_equal(elements(h, "bridges"), 0);
	assert_true(link_exists(h, "vo1"));
	test_stop(server);
	close(a1);
	close(a2);
	close(o1);
	close(outside);
	ok(network_bridge_remove(other, "br-o", &e));
	network_host_free(h);
	network_host_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_orphans_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
