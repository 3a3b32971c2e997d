/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "api/docker/filters.h"
#include "base/clock.h"

static Filters parsed(const char *json)
{
	Filters f;
	Err e;

	if (filters_parse(json, &f, &e) < 0)
		fail_msg("%s: %s", json, e.msg);
	return f;
}

static void both_encodings(void **state)
{
	static const char *const texts[] = {"{\"label\":{\"a=1\":true,\"b\":true},\"name\":{\"x\":true}}",
					    "{\"label\":[\"a=1\",\"b\"],\"name\":[\"x\"]}"};

	for (size_t i = 0; i < 2; i++) {
		_cleanup_filters_ Filters f = parsed(texts[i]);

		assert_int_equal(f.n, 3);
		assert_string_equal(filters_get(&f, "label", 0), "a=1");
		assert_string_equal(filters_get(&f, "label", 1), "b");
		assert_null(filters_get(&f, "label", 2));
		assert_true(filters_has(&f, "name"));
	}
	_cleanup_filters_ Filters off = parsed("{\"dangling\":{\"true\":false}}");
	assert_false(filters_has(&off, "dangling"));
	_cleanup_filters_ Filters none = parsed("");
	assert_int_equal(none.n, 0);
}

static void refused(void **state)
{
	static const char *const bad[] = {"[]",          "x",       "{\"a\":1}",
					  "{\"a\":[1]}", "{\"a\":", "{\"a\":[\"b\"]} x"};
	static const char *const allowed[] = {"name", NULL};
	Filters f;
	Err e;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_true(filters_parse(bad[i], &f, &e) < 0);
		assert_int_equal(e.kind, ERR_INVALID);
	}
	_cleanup_filters_ Filters g = parsed("{\"nmae\":[\"x\"]}");
	assert_true(filters_allow(&g, allowed, &e) < 0);
	assert_string_equal(e.msg, "invalid filter 'nmae'");
}

static void labels(void **state)
{
	char *have[] = {(char *)"a=1", (char *)"b=", NULL};
	_cleanup_filters_ Filters both = parsed("{\"label\":[\"a=1\",\"b\"]}"),
				  wrong = parsed("{\"label\":[\"a=2\"]}"),
				  prefix = parsed("{\"label\":[\"a=\"]}"),
				  not_all = parsed("{\"label!\":[\"a\",\"c\"]}"),
				  not_any = parsed("{\"label!\":[\"a=1\"]}"),
				  other = parsed("{\"label!\":[\"c\"]}");

	assert_true(filters_labels(&both, have));
	assert_false(filters_labels(&both, NULL));
	assert_false(filters_labels(&wrong, have));
	assert_false(filters_labels(&prefix, have));
	assert_true(filters_labels(&not_all, have));
	assert_false(filters_labels(&not_any, have));
	assert_true(filters_labels(&other, have));
}

static void patterns(void **state)
{
	_cleanup_filters_ Filters f = parsed("{\"name\":[\"^web$\",\"data\"]}"),
				  bad = parsed("{\"name\":[\"(\"]}"),
				  bomb = parsed("{\"name\":[\"(x{1,1000}){1,1000}\"]}"),
				  back = parsed("{\"name\":[\"(a*)*\\\\1b\"]}"),
				  plus = parsed("{\"name\":[\"^(web|db)+[+]+_\\\\)+[0-9]+$\"]}"),
				  nested = parsed("{\"name\":[\"(((((((((((a+)+)+)+)+)+)+)+)+)+)+)+\"]}"),
				  row = parsed("{\"name\":[\"a+++++++++++\"]}"),
				  set = parsed("{\"name\":[\"[)]+[+]++?+?+?+?+\"]}");
	Err e;

	assert_int_equal(filters_regex(&f, "name", "web", &e), 1);
	assert_int_equal(filters_regex(&f, "name", "web2", &e), 0);
	assert_int_equal(filters_regex(&f, "name", "mydata1", &e), 1);
	assert_int_equal(filters_regex(&f, "id", "anything", &e), 1);
	assert_true(filters_regex(&bad, "name", "x", &e) < 0);
	assert_true(filters_regex(&bomb, "name", "x", &e) < 0);
	assert_true(filters_regex(&back, "name", "x", &e) < 0);
	assert_int_equal(filters_regex(&plus, "name", "web++_))12", &e), 1);
	assert_true(filters_regex(&nested, "name", "x", &e) < 0);
	assert_true(filters_regex(&row, "name", "x", &e) < 0);
	assert_true(filters_regex(&set, "name", "x", &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
}

static void times(void **state)
{
	_cleanup_filters_ Filters ago = parsed("{\"until\":[\"1h30m\"]}"),
				  at = parsed("{\"until\":[\"2024-01-02T03:04:05Z\"]}"),
				  bad = parsed("{\"until\":[\"soon\"]}"),
				  two = parsed("{\"until\":[\"1h\",\"2h\"]}");
	int64_t t = 0, now = clock_now_ns();
	Err e;

	assert_int_equal(filters_time(&ago, "until", &t, &e), 0);
	assert_in_range((uint64_t)(now - t), (uint64_t)5390 * 1000000000, (uint64_t)5410 * 1000000000);
	assert_int_equal(filters_time(&at, "until", &t, &e), 0);
	assert_int_equal(t, 1704164645000000000);
	assert_true(filters_time(&bad, "until", &t, &e) < 0);
	assert_true(filters_time(&two, "until", &t, &e) < 0);
}

static void globs(void **state)
{
	assert_true(glob_match("debian:*", "debian:bookworm"));
	assert_false(glob_match("*", "a/b"));
	assert_true(glob_match("*/b", "a/b"));
	assert_true(glob_match("de?ian", "debian"));
	assert_false(glob_match("*a*a*a*a*a*a*a*a*a*a*a*", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(both_encodings), cmocka_unit_test(refused), cmocka_unit_test(labels),
	    cmocka_unit_test(patterns),       cmocka_unit_test(times),   cmocka_unit_test(globs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
