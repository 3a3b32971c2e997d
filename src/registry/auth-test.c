/* SPDX-License-Identifier: Apache-2.0 */
/* Challenges as servers write them, and who may see a password. */
#include "registry/auth.h"
#include "base/str.h"
#include "base/test.h"

static AuthChallenge parse(const char *a, const char *b)
{
	char *v[] = {(char *)a, (char *)b, NULL};
	AuthChallenge c = {0};

	assert_int_equal(auth_challenge_parse(v, &c), 0);
	return c;
}

static void test_bearer(void **state _unused_)
{
	AuthChallenge c =
	    parse("Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
		  "scope=\"repository:library/x:pull,push\",error=\"invalid_token\"",
		  NULL);

	assert_true(c.bearer);
	assert_false(c.basic);
	assert_string_equal(c.realm, "https://auth.docker.io/token");
	assert_string_equal(c.service, "registry.docker.io");
	auth_challenge_done(&c);
}

static void test_spellings(void **state _unused_)
{
	AuthChallenge c = parse("bEaReR  Realm = \"http://h/a\\\"b\" , SERVICE=s", NULL);

	assert_string_equal(c.realm, "http://h/a\"b");
	assert_string_equal(c.service, "s");
	auth_challenge_done(&c);

	c = parse("Basic realm=\"x\", Bearer realm=\"http://h/t\"", NULL);
	assert_true(c.basic && c.bearer);
	assert_string_equal(c.realm, "http://h/t");
	auth_challenge_done(&c);

	c = parse("Negotiate", "Basic realm=\"Registry, the one\"");
	assert_true(c.basic && !c.bearer);
	auth_challenge_done(&c);
}

static void test_useless(void **state _unused_)
{
	static const char *const bad[] = {"",
					  "Negotiate",
					  "Bearer",
					  "Bearer service=\"x\"",
					  "Bearer realm=\"unended",
					  "Digest realm=\"x\"",
					  "=,=,=",
					  "Bearer realm=\"\""};
	AuthChallenge c = {0};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		char *v[] = {(char *)bad[i], NULL};

		if (auth_challenge_parse(v, &c) == 0)
			fail_msg("accepted: %s", bad[i]);
	}
	assert_int_equal(auth_challenge_parse(NULL, &c), -EINVAL);
}

static void test_trust(void **state _unused_)
{
	static const char *const yes[][2] = {
	    {"localhost", "localhost"},
	    {"127.0.0.1", "127.0.0.1"},
	    {"registry-1.docker.io", "auth.docker.io"},
	    {"registry.gitlab.com", "gitlab.com"},
	    {"acme.org", "auth.acme.org"},
	    {"registry.acme.co.uk", "login.acme.co.uk"},
	    /* Where the large ones have their token servers. */
	    {"ghcr.io", "ghcr.io"},
	    {"gcr.io", "gcr.io"},
	    {"us-docker.pkg.dev", "us-docker.pkg.dev"},
	    {"acme.azurecr.io", "acme.azurecr.io"},
	    {"public.ecr.aws", "public.ecr.aws"},
	    {"quay.io", "quay.io"},
	    {"registry.redhat.io", "registry.redhat.io"},
	    {"nvcr.io", "nvcr.io"},
	    {"registry.digitalocean.com", "api.digitalocean.com"},
	    {"registry.cn-hangzhou.aliyuncs.com", "dockerauth.cn-hangzhou.aliyuncs.com"},
	    {"harbor.acme.org", "harbor.acme.org"},
	    {"registry.git.acme.org", "git.acme.org"},
	};
	static const char *const no[][2] = {
	    {"localhost", "127.0.0.1"},
	    {"127.0.0.1", "127.0.0.2"},
	    {"10.0.0.1", "1.0.0.1"},
	    {"registry.acme.org", "evil.org"},
	    {"acme.co.uk", "evil.co.uk"},
	    {"acme.org", "evil.org"},
	    {"registry.acme.org", "evilacme.org"},
	    {"a.acme.org", "acme.org.evil.com"},
	    {"registry", "auth"},
	    {"acme.com", "com"},
	    {"[::1]", "[::2]"},
	    /* Siblings of which each has another owner. */
	    {"acme.azurecr.io", "evil.azurecr.io"},
	    {"1.dkr.ecr.eu-west-1.amazonaws.com", "2.dkr.ecr.eu-west-1.amazonaws.com"},
	    {"1.dkr.ecr.eu-west-1.amazonaws.com", "evil.s3.eu-west-1.amazonaws.com"},
	    {"us-docker.pkg.dev", "evil.pkg.dev"},
	    {"acme.jfrog.io", "evil.jfrog.io"},
	    {"acme.github.io", "evil.github.io"},
	    {"acme.westeurope.cloudapp.azure.com", "evil.westeurope.cloudapp.azure.com"},
	    {"acme-xyz.run.app", "evil-xyz.run.app"},
	    {"acme.azurecr.io", "azurecr.io"},
	    {"1.2.3.4.nip.io", "5.6.7.8.nip.io"},
	};

	for (size_t i = 0; i < ELEMENTSOF(yes); i++)
		if (!auth_realm_is_trusted(yes[i][0], yes[i][1]))
			fail_msg("%s does not trust %s", yes[i][0], yes[i][1]);
	for (size_t i = 0; i < ELEMENTSOF(no); i++)
		if (auth_realm_is_trusted(no[i][0], no[i][1]))
			fail_msg("%s trusts %s", no[i][0], no[i][1]);
}

static void test_addresses(void **state _unused_)
{
	static const char *const local[] = {
	    "127.0.0.1", "127.9.9.9", "0.0.0.0",          "169.254.169.254",   "::1",
	    "::",        "fe80::1",   "::ffff:127.0.0.1", "::ffff:169.254.1.1"};
	static const char *const other[] = {"10.0.0.1", "8.8.8.8", "2001:db8::1", "::ffff:8.8.8.8", "x", ""};

	for (size_t i = 0; i < ELEMENTSOF(local); i++)
		assert_true(http_address_is_local(local[i]));
	for (size_t i = 0; i < ELEMENTSOF(other); i++)
		assert_false(http_address_is_local(other[i]));
}

static void test_url_hosts(void **state _unused_)
{
	static const char *const good[][2] = {{"http://H.io/x", "h.io:80"},
					      {"https://h.io:5000", "h.io:5000"},
					      {"http://[::1]:5/", "[::1]:5"}};
	static const char *const bad[] = {"ftp://h/", "file:///etc/passwd", "http://u:p@h/", "h.io", "",
					  "unix:/x"};

	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		_cleanup_free_ char *host = http_url_host(good[i][0], true);

		assert_non_null(host);
		assert_string_equal(host, good[i][1]);
	}
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		assert_null(http_url_host(bad[i], false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_bearer), cmocka_unit_test(test_spellings), cmocka_unit_test(test_useless),
	    cmocka_unit_test(test_trust),  cmocka_unit_test(test_addresses), cmocka_unit_test(test_url_hosts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
