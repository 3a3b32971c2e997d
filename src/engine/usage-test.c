/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/usage.h"

#include "base/str.h"
#include "base/test.h"

#define HEAD                                                                                                 \
	"Inter-|   Receive                                                |  Transmit\n"                     \
	" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo " \
	"colls carrier compressed\n"

static size_t parse(const char *text, EngineInterface **ret)
{
	_cleanup_free_ char *copy = strdup(text);
	size_t n = 0;

	assert_non_null(copy);
	assert_int_equal(engine_interfaces_parse(copy, ret, &n), 0);
	return n;
}

static void test_interfaces(void **state _unused_)
{
	_cleanup_free_ EngineInterface *v = NULL;

	assert_int_equal(parse(HEAD "    lo:     140       2    0    0    0     0          0         0      "
				    "140       2    0    0    0     0       0          0\n"
				    "  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
				    "veth0123456789a:18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
			       &v),
			 2);
	assert_string_equal(v[0].name, "eth0");
	assert_int_equal(v[0].rx_bytes, 1);
	assert_int_equal(v[0].rx_packets, 2);
	assert_int_equal(v[0].rx_errors, 3);
	assert_int_equal(v[0].rx_dropped, 4);
	assert_int_equal(v[0].tx_bytes, 9);
	assert_int_equal(v[0].tx_packets, 10);
	assert_int_equal(v[0].tx_errors, 11);
	assert_int_equal(v[0].tx_dropped, 12);
	assert_string_equal(v[1].name, "veth0123456789a");
	assert_true(v[1].rx_bytes == UINT64_MAX);
}

static void test_odd_texts(void **state _unused_)
{
	static const char *const none[] = {"", HEAD, HEAD "eth0 1 2 3\n", HEAD ": 1 2\n",
					   HEAD "a-name-that-is-too-long: 1\n"};
	EngineInterface *v = NULL;

	for (size_t i = 0; i < ELEMENTSOF(none); i++)
		assert_int_equal(parse(none[i], &v), 0);
	assert_null(v);
	assert_int_equal(parse(HEAD "eth0: 7\n", &v), 1);
	assert_int_equal(v[0].rx_bytes, 7);
	assert_int_equal(v[0].tx_bytes, 0);
	free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_interfaces),
	    cmocka_unit_test(test_odd_texts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
