/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials as clients have been seen to send them. */
#include "api/docker/auth.h"
#include "base/base64.h"
#include "base/secret.h"
#include "base/str.h"
#include "base/test.h"

/* The header of a text, in one of the forms in use: URL alphabet with and without padding, and the standard one. */
static char *header_of(const char *text, int form)
{
	char *s = base64_encode(text, strlen(text), form != 2);

	if (form == 1)
		s[strcspn(s, "=")] = '\0';
	return s;
}

static void test_account(void **state _unused_)
{
	static const char text[] =
	    "{\"username\":\"u\",\"password\":\"p\xc3\xa9~~?\",\"email\":\"\",\"serveraddress\":\"h\"}";

	for (int form = 0; form < 3; form++) {
		_cleanup_secret_ char *header = header_of(text, form);
		_cleanup_json_ json_t *account = NULL;
		EngineAuth a;

		assert_int_equal(auth_header_parse(header, &account, NULL), 0);
		auth_account(account, &a);
		assert_string_equal(a.username, "u");
		assert_string_equal(a.password, "p\xc3\xa9~~?");
		assert_null(a.identity_token);
		assert_null(a.registry_token);
	}
}

static void test_tokens(void **state _unused_)
{
	_cleanup_secret_ char *header = header_of(
	    "{\"username\":\"u\",\"password\":\"\",\"identitytoken\":\"t\",\"registrytoken\":\"r\"}", 0);
	_cleanup_json_ json_t *account = NULL;
	EngineAuth a;

	assert_int_equal(auth_header_parse(header, &account, NULL), 0);
	auth_account(account, &a);
	assert_string_equal(a.username, "u");
	assert_null(a.password);
	assert_string_equal(a.identity_token, "t");
	assert_string_equal(a.registry_token, "r");
}

/* "auth" is base64 of user:password, as in config.json; only where nothing else is said. */
static void test_auth_member(void **state _unused_)
{
	_cleanup_secret_ char *header = header_of("{\"auth\":\"dTpwOng=\"}", 0);
	_cleanup_secret_ char *both = header_of("{\"auth\":\"dTpwOng=\",\"username\":\"other\"}", 0);
	_cleanup_secret_ char *bad = header_of("{\"auth\":\"geheim\"}", 0);
	_cleanup_json_ json_t *account = NULL, *second = NULL, *third = NULL;
	EngineAuth a;
	Err e = {0};

	assert_int_equal(auth_header_parse(header, &account, NULL), 0);
	auth_account(account, &a);
	assert_string_equal(a.username, "u");
	assert_string_equal(a.password, "p:x");
	assert_int_equal(auth_header_parse(both, &second, NULL), 0);
	auth_account(second, &a);
	assert_string_equal(a.username, "other");
	assert_null(a.password);
	assert_true(auth_header_parse(bad, &third, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_null(strstr(e.msg, "geheim"));
}

static void test_nothing(void **state _unused_)
{
	static const char *const headers[] = {NULL, "", "e30=", "e30", "bnVsbA=="};

	for (size_t i = 0; i < ELEMENTSOF(headers); i++) {
		_cleanup_json_ json_t *account = NULL;
		EngineAuth a;

		assert_int_equal(auth_header_parse(headers[i], &account, NULL), 0);
		auth_account(account, &a);
		assert_true(!a.username && !a.password && !a.identity_token && !a.registry_token);
	}
}

static void test_refused(void **state _unused_)
{
	/* Not base64; an array; a string; half a document; a NUL inside; two of one name. */
	static const char *const texts[] = {"[]", "\"x\"", "{\"username\":\"geheim", "{\"a\":\"\\u0000\"}",
					    "{\"a\":1,\"a\":2}"};
	_cleanup_free_ char *long_one = calloc(1, AUTH_HEADER_MAX + 2);
	json_t *account = NULL;
	Err e = {0};

	assert_true(auth_header_parse("%%%", &account, &e) < 0);
	assert_null(strstr(e.msg, "%%%"));
	for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
		_cleanup_secret_ char *header = header_of(texts[i], 0);

		if (auth_header_parse(header, &account, &e) == 0)
			fail_msg("accepted: %s", texts[i]);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_null(strstr(e.msg, "geheim"));
	}
	memset(long_one, 'A', AUTH_HEADER_MAX + 1);
	assert_true(auth_header_parse(long_one, &account, &e) < 0);
	assert_null(account);
}

static void test_config(void **state _unused_)
{
	_cleanup_secret_ char *header =
	    header_of("{\"https://index.docker.io/v1/\":{\"username\":\"hub\"},"
		      "\"localhost:5000\":{\"auth\":\"bG9jYWw6eA==\"},"
		      "\"http://h.example/v2/\":{\"username\":\"third\"},\"odd\":7}",
		      0);
	_cleanup_json_ json_t *config = NULL;
	EngineAuth a;

	assert_int_equal(auth_config_parse(header, &config, NULL), 0);
	auth_account(auth_config_find(config, "docker.io"), &a);
	assert_string_equal(a.username, "hub");
	auth_account(auth_config_find(config, "localhost:5000"), &a);
	assert_string_equal(a.username, "local");
	auth_account(auth_config_find(config, "h.example"), &a);
	assert_string_equal(a.username, "third");
	assert_null(auth_config_find(config, "localhost:500"));
	assert_null(auth_config_find(config, "ost:5000"));
	auth_account(auth_config_find(config, "odd"), &a);
	assert_null(a.username);
}

static void test_too_many_accounts(void **state _unused_)
{
	_cleanup_json_ json_t *config = json_object(), *got = NULL;
	Err e = {0};

	for (int i = 0; i <= AUTH_ACCOUNTS_MAX; i++) {
		_cleanup_free_ char *host = strf("h%d", i);

		json_object_set_new(config, host, json_object());
	}
	_cleanup_free_ char *text = json_text(config);
	_cleanup_secret_ char *header = header_of(text, 0);
	assert_true(auth_config_parse(header, &got, &e) < 0);
	assert_non_null(strstr(e.msg, "512"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_account),           cmocka_unit_test(test_tokens),
	    cmocka_unit_test(test_auth_member),       cmocka_unit_test(test_nothing),
	    cmocka_unit_test(test_refused),           cmocka_unit_test(test_config),
	    cmocka_unit_test(test_too_many_accounts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
