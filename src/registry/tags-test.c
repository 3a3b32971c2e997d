/* SPDX-License-Identifier: Apache-2.0 */
/* The Link header of lists in pages. */
#include "registry/registry-internal.h"
#include "base/test.h"

static void test_link(void **state _unused_)
{
	static const char *const pairs[][2] = {
	    {"</v2/x/tags/list?last=a&n=2>; rel=\"next\"", "last=a&n=2"},
	    {"<https://other.example/v2/x/tags/list?n=2&last=b%2Fc>; rel=next", "n=2&last=b%2Fc"},
	    {"<?last=a>;rel=\"next\"", "last=a"},
	    {NULL, NULL},
	    {"", NULL},
	    {"<", NULL},
	    {"</v2/x/tags/list>; rel=\"next\"", NULL},
	    {"</v2/x/tags/list?>; rel=\"next\"", NULL},
	    {"</v2/x?last=a>", NULL},
	    {"</v2/x?last=a>; rel=\"prev\"", NULL},
	    {"</v2/x?last=a b>; rel=\"next\"", NULL},
	    {"</v2/x?last=a\r\nX: y>; rel=\"next\"", NULL},
	    {"</v2/x?last=a#b>; rel=\"next\"", NULL},
	    {"/v2/x?last=a; rel=\"next\"", NULL},
	    {"</v2/x?last=a\xC3\xA4>; rel=\"next\"", NULL},
	};

	for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
		_cleanup_free_ char *s = link_next_query(pairs[i][0]);

		if (pairs[i][1] ? !streq0(s, pairs[i][1]) : s != NULL)
			fail_msg("%s: got %s", pairs[i][0], s ? s : "nothing");
	}
}

static void test_link_is_bounded(void **state _unused_)
{
	_cleanup_strbuf_ StrBuf b = {0};

	strbuf_add(&b, "</v2/x?last=");
	for (int i = 0; i < 3000; i++)
		strbuf_add_c(&b, 'a');
	strbuf_add(&b, ">; rel=\"next\"");
	assert_null(link_next_query(b.s));
}

static void test_query(void **state _unused_)
{
	_cleanup_strbuf_ StrBuf b = {0};

	query_add(&b, "q", "a b&c=d/\xC3\xA9");
	query_add(&b, "n", "5");
	assert_string_equal(b.s, "q=a%20b%26c%3Dd%2F%C3%A9&n=5");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_link),
					   cmocka_unit_test(test_link_is_bounded),
					   cmocka_unit_test(test_query)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
