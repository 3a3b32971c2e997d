/* SPDX-License-Identifier: Apache-2.0 */
/* Which requests go through a proxy, and what is told of one. */
#include "registry/proxy.h"
#include "base/str.h"
#include "base/test.h"

#define PROXY  "http://proxy.lan:3128"
#define SECURE "http://secure.lan:3129"

static const char *through(const char *no_proxy, const char *url)
{
	static char chosen[100];
	ProxyRules r = {0};
	Err e = {0};

	if (proxy_rules_parse(PROXY, SECURE, no_proxy, &r, &e) < 0)
		fail_msg("%s", e.msg);
	const char *p = proxy_for(&r, url);
	snprintf(chosen, sizeof(chosen), "%s", p ? p : "-");
	proxy_rules_done(&r);
	return chosen;
}

static void test_scheme(void **state _unused_)
{
	assert_string_equal(through(NULL, "http://quay.io/v2/"), PROXY);
	assert_string_equal(through("", "https://quay.io/v2/"), SECURE);
}

static void test_this_machine_never(void **state _unused_)
{
	static const char *const urls[] = {"http://localhost/",    "http://127.0.0.1:5000/",
					   "https://127.9.8.7/",   "http://[::1]:5000/",
					   "https://LOCALHOST:1/", "http://169.254.1.1/",
					   "http://[fe80::1]/x"};

	for (size_t i = 0; i < ELEMENTSOF(urls); i++)
		if (!streq(through(NULL, urls[i]), "-"))
			fail_msg("%s goes through the proxy", urls[i]);
}

typedef struct Case {
	const char *no_proxy, *url;
	bool direct;
} Case;

static void test_exceptions(void **state _unused_)
{
	static const Case cases[] = {
	    {"*", "http://quay.io/", true},
	    {"quay.io", "http://quay.io/", true},
	    {"quay.io", "http://cdn.quay.io/", true},
	    {"quay.io", "http://notquay.io/", false},
	    {".quay.io", "http://quay.io/", false},
	    {".quay.io", "https://cdn.quay.io/", true},
	    {"*.quay.io", "https://cdn.quay.io/", true},
	    {"*.quay.io", "https://quay.io/", false},
	    {" a.b , Quay.IO ,", "http://QUAY.io/", true},
	    {"quay.io:8080", "http://quay.io:8080/", true},
	    {"quay.io:8080", "http://quay.io/", false},
	    {"quay.io:443", "https://quay.io/", true},
	    {"10.0.0.0/8", "http://10.1.2.3:5000/", true},
	    {"10.0.0.0/8", "http://11.1.2.3:5000/", false},
	    {"10.0.0.0/8", "http://ten.example/", false},
	    {"10.1.2.3", "http://10.1.2.3:5000/", true},
	    {"10.1.2.3:80", "http://10.1.2.3:5000/", false},
	    {"fd00::/8", "http://[fd12::1]/", true},
	    {"fd12::1", "http://[fd12::1]:5000/", true},
	    {"[fd12::1]:5000", "http://[fd12::1]:5000/", true},
	    {"[fd12::1]:5000", "http://[fd12::1]:5001/", false},
	    {",,:,/", "http://quay.io/", false},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++)
		if (streq(through(cases[i].no_proxy, cases[i].url), "-") != cases[i].direct)
			fail_msg("no_proxy \"%s\", %s", cases[i].no_proxy, cases[i].url);
}

static void test_urls(void **state _unused_)
{
	static const char *const good[] = {"proxy:3128", "http://u:p@proxy:3128", "socks5h://x:1",
					   "https://x/"};
	static const char *const bad[] = {"ftp://user:geheim@x", "http://", "http:///x",
					  "http://user:geheim@x y", "://x"};

	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		ProxyRules r = {0};

		assert_int_equal(proxy_rules_parse(good[i], NULL, NULL, &r, NULL), 0);
		assert_non_null(strstr(r.http, "://"));
		proxy_rules_done(&r);
	}
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		ProxyRules r = {0};
		Err e = {0};

		assert_true(proxy_rules_parse(NULL, bad[i], NULL, &r, &e) < 0);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_null(strstr(e.msg, "geheim"));
		assert_non_null(strstr(e.msg, "https-proxy"));
	}
}

static void test_shown(void **state _unused_)
{
	static const char *const pairs[][2] = {
	    {"http://proxy:3128", "http://proxy:3128"},
	    {"http://u:p@proxy:3128/", "http://xxxxx:xxxxx@proxy:3128/"},
	    {"http://u:p@q@proxy", "http://xxxxx:xxxxx@proxy"},
	    {"u:p@proxy:1", "xxxxx:xxxxx@proxy:1"},
	    {"http://proxy/a@b", "http://proxy/a@b"},
	};

	for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
		_cleanup_free_ char *s = proxy_shown(pairs[i][0]);

		assert_string_equal(s, pairs[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_scheme),
					   cmocka_unit_test(test_this_machine_never),
					   cmocka_unit_test(test_exceptions), cmocka_unit_test(test_urls),
					   cmocka_unit_test(test_shown)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
