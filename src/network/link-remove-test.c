/* SPDX-License-Identifier: Apache-2.0 */
/* Removal of interfaces: gone when it has returned, with their name free; a refusal is told, and a stranger that took over a name is left alone. */
#include "network/test-net.h"

static void make_pair(Netlink *nl)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
	struct nlmsghdr *m = netlink_msg(&b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
	struct nlattr *info;
	Err e = {0};

	mnl_attr_put_strz(m, IFLA_IFNAME, "one");
	info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_str(m, IFLA_INFO_KIND, "veth");
	mnl_attr_nest_end(m, info);
	netlink_msg_end(&b, m);
	ok(netlink_run(nl, &b, NULL, &e));
}

static LinkInfo find(Netlink *nl, const char *name)
{
	LinkInfo link;
	Err e = {0};

	assert_int_equal(ok(link_find(nl, name, &link, &e)), 1);
	return link;
}

static void test_name_is_free_at_once(void **state _unused_)
{
	LinkInfo link;
	Netlink nl;
	Err e = {0};

	test_enter_host();
	ok(netlink_open(&nl, NETLINK_ROUTE, &e));
	for (int i = 0; i < 5; i++) {
		make_pair(&nl);
		test_address(&nl, "one", "192.0.2.1", 24);
		link = find(&nl, "one");
		ok(link_remove(&link, &e));
		assert_int_equal(ok(link_find(&nl, "one", &link, &e)), 0);
	}
	netlink_close(&nl);
}

static void test_refusal_is_told(void **state _unused_)
{
	LinkInfo lo;
	Netlink nl;
	Err e = {0};
	int r;

	test_enter_host();
	ok(netlink_open(&nl, NETLINK_ROUTE, &e));
	lo = find(&nl, "lo");
	r = link_remove(&lo, &e);
	assert_true(r < 0);
	assert_non_null(strstr(err_msg(&e, r), "remove interface lo"));
	find(&nl, "lo");
	netlink_close(&nl);
}

static void test_only_what_was_found_goes(void **state _unused_)
{
	LinkInfo link;
	Netlink nl;
	Err e = {0};

	test_enter_host();
	ok(netlink_open(&nl, NETLINK_ROUTE, &e));
	make_pair(&nl);
	link = find(&nl, "one");
	ok(link_remove(&link, &e));
	make_pair(&nl);
	/* Of the first one, which is no more. */
	ok(link_remove(&link, &e));
	link = find(&nl, "one");
	ok(link_remove(&link, &e));
	netlink_close(&nl);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_name_is_free_at_once),
	    cmocka_unit_test(test_refusal_is_told),
	    cmocka_unit_test(test_only_what_was_found_goes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
