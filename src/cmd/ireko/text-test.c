/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"
#include "base/test.h"

#include <time.h>

static void sizes(void **state)
{
	assert_string_equal(text_size(0, 3).s, "0B");
	assert_string_equal(text_size(999, 3).s, "999B");
	assert_string_equal(text_size(1000, 3).s, "1kB");
	assert_string_equal(text_size(123456789, 3).s, "123MB");
	assert_string_equal(text_size(1234567890, 3).s, "1.23GB");
	assert_string_equal(text_size(2048, 4).s, "2.048kB");
	assert_string_equal(text_size(7.79e6, 3).s, "7.79MB");
	assert_string_equal(text_binary_size(0).s, "0B");
	assert_string_equal(text_binary_size(1536).s, "1.5KiB");
	assert_string_equal(text_binary_size(2087321600).s, "1.944GiB");
}

static void test_timestamp(const char *s, const char *want)
{
	_cleanup_free_ char *got = text_timestamp(s, 1700000000500000000);

	assert_string_equal(got, want);
}

static void timestamps(void **state)
{
	assert_int_equal(setenv("TZ", "UTC", 1), 0);
	tzset();
	test_timestamp("1136073600", "1136073600");
	test_timestamp("1136073600.25", "1136073600.25");
	test_timestamp("10s", "1699999990.500000000");
	test_timestamp("2013-01-02T13:23:37Z", "1357133017.000000000");
	test_timestamp("2013-01-02T13:23:37.5+01:00", "1357129417.500000000");
	test_timestamp("2013-01-02T13:23:37", "1357133017.000000000");
	test_timestamp("2013-01-02", "1357084800.000000000");
	test_timestamp("2013-01-02Z", "1357084800.000000000");
	assert_null(text_timestamp("yesterday", 0));
	assert_null(text_timestamp("", 0));
}

static void test_ellipsis(const char *s, size_t max, const char *want)
{
	_cleanup_free_ char *got = text_ellipsis(s, max);

	assert_string_equal(got, want);
}

static void cutting(void **state)
{
	test_ellipsis("short", 20, "short");
	test_ellipsis("exactly twenty chars", 20, "exactly twenty chars");
	test_ellipsis("more than twenty chars", 20, "more than twenty ch\xe2\x80\xa6");
	test_ellipsis("\xe7\xa7\x81\xe3\x81\xae\xe5\x90\x8d", 5, "\xe7\xa7\x81\xe3\x81\xae\xe2\x80\xa6");
	test_ellipsis("abc", 1, "\xe2\x80\xa6");
	test_ellipsis("abc", 0, "");
	assert_int_equal(text_width("\xe7\xa7\x81 x\xcc\x81"), 4);
	_cleanup_free_ char *id = text_short_id("sha256:0123456789abcdef");
	assert_string_equal(id, "0123456789ab");
}

static void test_escape(const char *s, bool lines, const char *want)
{
	_cleanup_strbuf_ StrBuf b = {0};

	text_escape(&b, s, lines);
	assert_string_equal(b.s, want);
}

static void escaping(void **state)
{
	test_escape("a\x1b]0;x\x07", false, "a\\x1b]0;x\\x07");
	test_escape("a\n\tb\r", true, "a\n\tb\\x0d");
	test_escape("a\nb", false, "a\\x0ab");
	test_escape("\xc2\x9b"
		    "31m",
		    true, "\\xc2\\x9b31m");
	test_escape("\x7f\xff\xc3(", true, "\\x7f\\xff\\xc3(");
	test_escape("\xe7\xa7\x81\xf0\x9f\x98\x80", true, "\xe7\xa7\x81\xf0\x9f\x98\x80");
	test_escape("\xe7\xa7", true, "\\xe7\\xa7");
}

static void urls(void **state)
{
	_cleanup_strbuf_ StrBuf b = {0};

	text_url_escape(&b, "a/b:c@d e%\xc3\xa9", true);
	assert_string_equal(b.s, "a/b:c@d%20e%25%C3%A9");
	text_query(&b, "q", "x&y=z/");
	text_query(&b, "r", "1");
	assert_string_equal(b.s, "a/b:c@d%20e%25%C3%A9?q=x%26y%3Dz%2F&r=1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sizes),    cmocka_unit_test(timestamps), cmocka_unit_test(cutting),
	    cmocka_unit_test(escaping), cmocka_unit_test(urls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
