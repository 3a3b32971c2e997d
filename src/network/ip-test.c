/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of both families as numbers, bytes and text. */
#include "network/ip.h"

#include "base/test.h"

#include <string.h>

static void test_text(void **state _unused_)
{
	static const char *const good[] = {"0.0.0.0", "10.1.2.3", "255.255.255.255", "::",
					   "::1",     "fd00::1",  "2001:db8::ff:0:1"};
	static const char *const bad[] = {"",      "10.1.2", "10.1.2.256", "::ffff:10.0.0.1", "fe80::1%eth0",
					  "[::1]", "x"};
	IpAddress a;

	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		assert_int_equal(ip_parse(good[i], &a), 0);
		assert_string_equal(ip_text(a).s, good[i]);
		assert_int_equal(ip_is_v4(a), strchr(good[i], '.') != NULL);
	}
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		if (ip_parse(bad[i], &a) == 0)
			fail_msg("\"%s\" was accepted", bad[i]);
	assert_string_equal(ip_port_text(ip_v4(0x0A000001), 80).s, "10.0.0.1:80");
	assert_string_equal(ip_port_text(IP_V6_LO, 65535).s, "[::1]:65535");
}

static void test_bytes(void **state _unused_)
{
	static const uint8_t v4[4] = {10, 0, 0, 1}, v6[16] = {0xfd, [15] = 9};
	uint8_t bytes[16];

	assert_int_equal(ip_to_bytes(ip_from_bytes(v4, 4), bytes), 4);
	assert_memory_equal(bytes, v4, 4);
	assert_int_equal(ip_to_bytes(ip_from_bytes(v6, 16), bytes), 16);
	assert_memory_equal(bytes, v6, 16);
	assert_true(ip_from_bytes(v4, 4) == ip_v4(0x0A000001));
}

static void test_kinds(void **state _unused_)
{
	struct sockaddr_storage at;
	IpAddress a;

	assert_true(ip_is_any(IP_V4_ANY) && ip_is_any(IP_V6_ANY) && !ip_is_any(IP_V6_LO));
	assert_true(ip_is_loopback(ip_v4(0x7F000001)) && ip_is_loopback(ip_v4(0x7FFFFFFE)) &&
		    ip_is_loopback(IP_V6_LO));
	assert_false(ip_is_loopback(IP_V4_ANY) || ip_is_loopback(ip_v4(0x80000000)));
	assert_int_equal(ip_parse("fe80::1", &a), 0);
	assert_true(ip_is_link_local(a) && ip_is_link_local(ip_v4(0xA9FE0001)));
	assert_int_equal(ip_parse("fd80::1", &a), 0);
	assert_false(ip_is_link_local(a));
	assert_int_equal(ip_to_sockaddr(a, 53, &at), sizeof(struct sockaddr_in6));
	assert_int_equal(at.ss_family, AF_INET6);
	assert_int_equal(ip_to_sockaddr(IP_V4_ANY, 53, &at), sizeof(struct sockaddr_in));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_text),
	    cmocka_unit_test(test_bytes),
	    cmocka_unit_test(test_kinds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
