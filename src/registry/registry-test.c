/* SPDX-License-Identifier: Apache-2.0 */
/* Which hosts are asked, in which order, and how far they are trusted. */
#include "registry/registry-internal.h"
#include "base/str.h"
#include "base/test.h"

static void test_insecure(void **state _unused_)
{
	char *rules[] = {(char *)"reg.lan", (char *)"other.lan:5000", (char *)"10.1.0.0/16",
			 (char *)"fd00::/8", NULL};
	static const char *const yes[] = {"localhost",  "localhost:5000", "127.0.0.1:5000", "127.3.2.1",
					  "[::1]:5000", "reg.lan",        "reg.lan:80",     "other.lan:5000",
					  "10.1.2.3:5", "[fd12::1]:80"};
	static const char *const no[] = {"docker.io", "other.lan",    "other.lan:5001",     "10.2.0.1",
					 "128.0.0.1", "[fe12::1]:80", "localhost.evil.org", "xreg.lan"};

	for (size_t i = 0; i < ELEMENTSOF(yes); i++)
		if (!registry_is_insecure(rules, yes[i]))
			fail_msg("%s should be insecure", yes[i]);
	for (size_t i = 0; i < ELEMENTSOF(no); i++)
		if (registry_is_insecure(rules, no[i]))
			fail_msg("%s should be secure", no[i]);
}

static void test_endpoints(void **state _unused_)
{
	char *mirrors[] = {(char *)"docker.io=http://127.0.0.1:5000/hub/",
			   (char *)"quay.io=https://m.example", NULL};
	const RegistryOptions o = {.mirrors = mirrors};
	Registry *r = NULL;
	Endpoint *v = NULL;
	size_t n = 0;

	assert_int_equal(registry_new(&o, &r, NULL), 0);
	assert_int_equal(registry_endpoints(r, "docker.io", &v, &n, NULL), 0);
	assert_int_equal(n, 2);
	assert_string_equal(v[0].host, "127.0.0.1:5000");
	assert_string_equal(v[0].prefix, "/hub");
	assert_true(v[0].mirror && v[0].try_http && !v[0].try_https);
	assert_string_equal(v[1].host, "registry-1.docker.io");
	assert_true(!v[1].mirror && v[1].try_https && !v[1].try_http && !v[1].unverified_tls);
	registry_endpoints_free(v, n);

	assert_int_equal(registry_endpoints(r, "localhost:5000", &v, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_true(v[0].try_https && v[0].try_http && v[0].unverified_tls);
	registry_endpoints_free(v, n);
	registry_free(r);
}

static void test_mirrors_of_all(void **state _unused_)
{
	char *mirrors[] = {(char *)"*=https://any.example", (char *)"quay.io=https://own.example", NULL};
	const RegistryOptions o = {.mirrors = mirrors};
	Registry *r = NULL;
	Endpoint *v = NULL;
	size_t n = 0;

	assert_int_equal(registry_new(&o, &r, NULL), 0);
	assert_int_equal(registry_endpoints(r, "ghcr.io", &v, &n, NULL), 0);
	assert_int_equal(n, 2);
	assert_string_equal(v[0].host, "any.example");
	assert_string_equal(v[0].asked_for, "ghcr.io");
	assert_true(v[0].mirror && !v[1].mirror);
	registry_endpoints_free(v, n);
	assert_int_equal(registry_endpoints(r, "quay.io", &v, &n, NULL), 0);
	assert_int_equal(n, 2);
	assert_string_equal(v[0].host, "own.example");
	assert_null(v[0].asked_for);
	registry_endpoints_free(v, n);
	registry_free(r);
}

static void test_options_are_checked(void **state _unused_)
{
	static const char *const mirrors[] = {
	    "docker.io", "=http://x", "docker.io=ftp://x", "docker.io=http://u:p@x", "docker.io=http://x/?q",
	    "docker.io="};
	static const char *const insecure[] = {"", "http://x", "10.0.0.0/33", "x/8", "fd00::/129"};

	for (size_t i = 0; i < ELEMENTSOF(mirrors) + ELEMENTSOF(insecure); i++) {
		bool m = i < ELEMENTSOF(mirrors);
		char *v[] = {(char *)(m ? mirrors[i] : insecure[i - ELEMENTSOF(mirrors)]), NULL};
		const RegistryOptions o = {.mirrors = m ? v : NULL, .insecure = m ? NULL : v};
		Registry *r = NULL;
		Err e = {0};

		if (registry_new(&o, &r, &e) >= 0)
			fail_msg("accepted: %s", v[0]);
		assert_int_equal(e.kind, ERR_INVALID);
	}
}

static void test_delays(void **state _unused_)
{
	assert_int_equal(retry_delay_ms(1, 0), 250);
	assert_int_equal(retry_delay_ms(2, 0), 500);
	assert_int_equal(retry_delay_ms(100, 0), 8000);
	assert_int_equal(retry_delay_ms(1, 3), 3000);
	assert_int_equal(retry_delay_ms(1, INT64_MAX), 60000);
	for (int i = 0; i < 1000; i++) {
		int64_t ms = retry_delay_spread_ms(3, 0);

		assert_true(ms >= 1000 && ms <= 1250);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_insecure),       cmocka_unit_test(test_endpoints),
	    cmocka_unit_test(test_mirrors_of_all), cmocka_unit_test(test_options_are_checked),
	    cmocka_unit_test(test_delays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
