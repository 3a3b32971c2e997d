/* SPDX-License-Identifier: Apache-2.0 */
#include "rows.h"
#include "base/test.h"

static void ports(const char *json, const char *want)
{
	_cleanup_json_ json_t *j = json_loads(json, 0, NULL);
	_cleanup_free_ char *got = row_ports(j);

	assert_string_equal(got, want);
}

#define P(ip, in, out) "{\"IP\":\"" ip "\",\"PrivatePort\":" #in ",\"PublicPort\":" #out ",\"Type\":\"tcp\"}"
#define E(in)          "{\"PrivatePort\":" #in ",\"Type\":\"tcp\"}"

static void ports_are_collapsed(void **state)
{
	ports("[]", "");
	ports("null", "");
	ports("[" E(80) "]", "80/tcp");
	ports("[" P("0.0.0.0", 80, 8080) "]", "0.0.0.0:8080->80/tcp");
	ports("[" P("0.0.0.0", 80, 80) "," P("::", 80, 80) "]", "0.0.0.0:80->80/tcp, [::]:80->80/tcp");
	ports("[" E(81) "," E(80) "," E(82) "," E(90) "]", "80-82/tcp, 90/tcp");
	ports("[" P("0.0.0.0", 80, 80) "," P("0.0.0.0", 81, 81) "," P("0.0.0.0", 82, 82) "]",
	      "0.0.0.0:80-82->80-82/tcp");
	ports("[" P("0.0.0.0", 80, 8080) "," P("0.0.0.0", 81, 8081) "," E(443) "]",
	      "443/tcp, 0.0.0.0:8080->80/tcp, 0.0.0.0:8081->81/tcp");
	ports("[{\"PrivatePort\":53,\"Type\":\"udp\"}," E(53) "]", "53/tcp, 53/udp");
}

static void maps_are_sorted(void **state)
{
	_cleanup_json_ json_t *j = json_loads("{\"b\":\"2\",\"a\":\"1\"}", 0, NULL);
	_cleanup_free_ char *pairs = row_join_map(j, ","), *keys = row_join_keys(j, " "),
			    *none = row_join_map(NULL, ",");

	assert_string_equal(pairs, "a=1,b=2");
	assert_string_equal(keys, "a b");
	assert_string_equal(none, "");
}

static void quoting(void **state)
{
	_cleanup_free_ char *q = row_quote("sh -c \"a\\b\"\n\x1b\xe2\x80\xa6");

	assert_string_equal(q, "\"sh -c \\\"a\\\\b\\\"\\n\\x1b\xe2\x80\xa6\"");
}

static void sorting(void **state)
{
	_cleanup_json_ json_t *j = json_loads("[{\"N\":\"b\"},{\"N\":\"a\"},{}]", 0, NULL),
			      *s = rows_sorted(j, "N");

	assert_int_equal(json_array_size(s), 3);
	assert_null(json_get_str(json_array_get(s, 0), "N"));
	assert_string_equal(json_get_str(json_array_get(s, 2), "N"), "b");
}

static void rows_refuse_what_is_no_text(void **state)
{
	_cleanup_json_ json_t *row = json_object();

	assert_int_equal(row_take(row, "A", NULL), -ENOMEM);
	assert_int_equal(row_take(row, "A", strdup("\xff")), -ENOMEM);
	assert_int_equal(row_add(row, "A", NULL), 0);
	assert_string_equal(json_get_str(row, "A"), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(ports_are_collapsed),
	    cmocka_unit_test(maps_are_sorted),
	    cmocka_unit_test(quoting),
	    cmocka_unit_test(sorting),
	    cmocka_unit_test(rows_refuse_what_is_no_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
