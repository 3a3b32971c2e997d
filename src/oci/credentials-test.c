/* SPDX-License-Identifier: Apache-2.0 */
/* config.json as docker, podman and others write it, and what helpers answer. */
#include "oci/credentials.h"
#include "base/str.h"
#include "base/test.h"

static void test_keys(void **state _unused_)
{
	static const char *const pairs[][2] = {
	    {"docker.io", CREDENTIALS_HUB},
	    {"index.docker.io", CREDENTIALS_HUB},
	    {"https://index.docker.io/v1/", CREDENTIALS_HUB},
	    {"https://index.docker.io/v2/", CREDENTIALS_HUB},
	    {"registry-1.docker.io", CREDENTIALS_HUB},
	    {"localhost:5000", "localhost:5000"},
	    {"https://localhost:5000/v2/", "localhost:5000"},
	    {"http://h.example", "h.example"},
	    {"quay.io/group", "quay.io"},
	    {"[::1]:5000", "[::1]:5000"},
	    {"docker.io.evil.example", "docker.io.evil.example"},
	    {"evil.example/docker.io", "evil.example"},
	};

	for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
		_cleanup_free_ char *key = credentials_key(pairs[i][0]);

		assert_string_equal(key, pairs[i][1]);
	}
}

static void test_servers(void **state _unused_)
{
	static const char *const good[] = {"docker.io",     "h",          "h:5000", "[::1]:5000",
					   "https://h/v2/", "a_b.example"};
	static const char *const bad[] = {"",    "/",   "https://", "-x",    ":5000",
					  "h h", "h\n", "u:p@h",    "h\x7f", "h?x"};
	Err e = {0};

	for (size_t i = 0; i < ELEMENTSOF(good); i++)
		if (credentials_check_server(good[i], &e) < 0)
			fail_msg("%s: %s", good[i], e.msg);
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		if (credentials_check_server(bad[i], NULL) == 0)
			fail_msg("accepted: %s", bad[i]);
}

static json_t *config_of(const char *text)
{
	json_t *j = NULL;
	Err e = {0};

	if (json_parse(text, strlen(text), "config.json", &j, &e) < 0)
		fail_msg("%s", e.msg);
	return j;
}

static void test_entries(void **state _unused_)
{
	_cleanup_json_ json_t *config =
	    config_of("{\"auths\": {\"https://index.docker.io/v1/\": {\"auth\": \"aHViOmdlaGVpbQ==\"},"
		      " \"https://azure.example\": {\"auth\": \"MDA6\", \"identitytoken\": \"it\"},"
		      " \"token.example\": {\"registrytoken\": \"rt\"}, \"old.example\": {\"username\": "
		      "\"u\", \"password\": \"p:q\"},"
		      " \"mark.example\": {}, \"nul.example\": {\"auth\": \"dTpwAAA=\"}}}");
	const struct {
		const char *server, *username, *password, *identity_token, *registry_token;
	} want[] = {
	    {"docker.io", "hub", "geheim", NULL, NULL}, {"azure.example", "00", NULL, "it", NULL},
	    {"token.example", NULL, NULL, NULL, "rt"},  {"old.example", "u", "p:q", NULL, NULL},
	    {"mark.example", NULL, NULL, NULL, NULL},   {"nul.example", "u", "p", NULL, NULL},
	};

	for (size_t i = 0; i < ELEMENTSOF(want); i++) {
		CredentialsPlace p;
		Credentials c = {0};

		assert_int_equal(credentials_find(config, want[i].server, &p, NULL), 0);
		assert_non_null(p.entry);
		assert_int_equal(credentials_of_entry(p.entry, p.entry_key, &c, NULL), 0);
		assert_int_equal(credentials_empty(&c), streq(want[i].server, "mark.example"));
		assert_int_equal(p.entry_full, !streq(want[i].server, "mark.example"));
		const char *const have[] = {c.username, c.password, c.identity_token, c.registry_token};
		const char *const wanted[] = {want[i].username, want[i].password, want[i].identity_token,
					      want[i].registry_token};
		for (size_t k = 0; k < 4; k++)
			if (wanted[k])
				assert_string_equal(have[k], wanted[k]);
			else
				assert_null(have[k]);
		assert_false(p.plain);
		assert_null(p.helper);
		credentials_done(&c);
	}
	CredentialsPlace none;
	assert_int_equal(credentials_find(config, "elsewhere.example", &none, NULL), 0);
	assert_null(none.entry);
}

static void test_two_spellings(void **state _unused_)
{
	_cleanup_json_ json_t *config =
	    config_of("{\"auths\": {\"h.example\": {}, \"https://h.example/v1/\": {\"auth\": \"dTpw\"}}}");
	_cleanup_strv_ char **servers = NULL;
	CredentialsPlace p;

	assert_int_equal(credentials_find(config, "h.example", &p, NULL), 0);
	assert_true(p.entry_full);
	assert_string_equal(p.entry_key, "https://h.example/v1/");
	assert_int_equal(credentials_servers(config, &servers, NULL), 0);
	assert_int_equal(strv_len(servers), 1);
}

static void test_stores(void **state _unused_)
{
	_cleanup_json_ json_t *config = config_of(
	    "{\"credsStore\": \"pass\", \"credHelpers\": {\"gcr.io\": \"gcloud\", \"plain.example\": \"\","
	    " \"https://index.docker.io/v1/\": \"hub\"}}");
	_cleanup_json_ json_t *empty = config_of("{\"credsStore\": \"\"}"), *nothing = config_of("{}");
	CredentialsPlace p;

	assert_int_equal(credentials_find(config, "h", &p, NULL), 0);
	assert_string_equal(p.helper, "pass");
	assert_int_equal(credentials_find(config, "gcr.io", &p, NULL), 0);
	assert_string_equal(p.helper, "gcloud");
	assert_int_equal(credentials_find(config, "docker.io", &p, NULL), 0);
	assert_string_equal(p.helper, "hub");
	assert_int_equal(credentials_find(config, "plain.example", &p, NULL), 0);
	assert_true(!p.helper && p.plain);
	assert_int_equal(credentials_find(empty, "h", &p, NULL), 0);
	assert_true(!p.helper && p.plain);
	assert_int_equal(credentials_find(nothing, "h", &p, NULL), 0);
	assert_true(!p.helper && !p.plain && !p.entry);
}

static void test_bad_configs(void **state _unused_)
{
	static const char *const bad[] = {
	    "{\"auths\": []}",
	    "{\"credsStore\": 7}",
	    "{\"credHelpers\": \"x\"}",
	    "{\"credHelpers\": {\"h\": {}}}",
	    "{\"credsStore\": \"../../tmp/x\"}",
	    "{\"credsStore\": \"-x\"}",
	    "{\"credsStore\": \"a b\"}",
	    "{\"credHelpers\": {\"h\": \"x/y\"}}",
	};
	static const char *const bad_auth[] = {"geheim", "Z2VoZWlt", "dTpwAHg=", "%%%"};
	Err e = {0};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		_cleanup_json_ json_t *config = config_of(bad[i]);
		CredentialsPlace p;

		if (credentials_find(config, "h", &p, &e) == 0)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(e.kind, ERR_INVALID);
	}
	for (size_t i = 0; i < ELEMENTSOF(bad_auth); i++) {
		_cleanup_json_ json_t *entry = json_pack("{s:s}", "auth", bad_auth[i]);
		Credentials c = {0};

		if (credentials_of_entry(entry, "h.example", &c, &e) == 0)
			fail_msg("accepted: %s", bad_auth[i]);
		assert_non_null(strstr(e.msg, "h.example"));
		assert_null(strstr(e.msg, bad_auth[i]));
		assert_null(c.username);
	}
}

static void test_written_and_read(void **state _unused_)
{
	const Credentials c = {.username = (char *)"\xc3\xa4nne",
			       .password = (char *)"p:a\"ss",
			       .identity_token = NULL};
	const Credentials t = {.username = (char *)"00", .identity_token = (char *)"it"};
	_cleanup_json_ json_t *entry = credentials_to_entry(&c), *token = credentials_to_entry(&t),
			      *api = credentials_to_api(&t, "h");
	Credentials back = {0};

	assert_int_equal(credentials_of_entry(entry, "h", &back, NULL), 0);
	assert_string_equal(back.username, c.username);
	assert_string_equal(back.password, c.password);
	credentials_done(&back);
	assert_int_equal(credentials_of_entry(token, "h", &back, NULL), 0);
	assert_string_equal(back.username, "00");
	assert_string_equal(back.identity_token, "it");
	assert_null(back.password);
	credentials_done(&back);
	assert_string_equal(json_get_str(api, "identitytoken"), "it");
	assert_string_equal(json_get_str(api, "serveraddress"), "h");
	assert_null(json_object_get(api, "password"));
}

static void test_helper(void **state _unused_)
{
	static const char good[] = "{\"ServerURL\":\"h\",\"Username\":\"u\",\"Secret\":\"s\"}\n";
	static const char token[] = "{\"Username\":\"<token>\",\"Secret\":\"it\"}";
	static const char *const bad[] = {"",
					  "{}",
					  "[]",
					  "null",
					  "{\"Username\":\"u\"}",
					  "{\"Secret\":\"geheim\"}",
					  "{\"Username\":1,\"Secret\":\"geheim\"}",
					  "{\"Username\":\"u\",\"Secret\":\"geheim\""};
	Credentials c = {0};
	Err e = {0};

	assert_int_equal(credentials_of_helper(good, strlen(good), &c, NULL), 0);
	assert_string_equal(c.username, "u");
	assert_string_equal(c.password, "s");
	credentials_done(&c);
	assert_int_equal(credentials_of_helper(token, strlen(token), &c, NULL), 0);
	assert_null(c.username);
	assert_string_equal(c.identity_token, "it");
	_cleanup_json_ json_t *back = credentials_to_helper(&c, "h");
	assert_string_equal(json_get_str(back, "Username"), "<token>");
	assert_string_equal(json_get_str(back, "Secret"), "it");
	assert_string_equal(json_get_str(back, "ServerURL"), "h");
	credentials_done(&c);
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		if (credentials_of_helper(bad[i], strlen(bad[i]), &c, &e) == 0)
			fail_msg("accepted: %s", bad[i]);
		assert_null(strstr(e.msg, "geheim"));
	}
}

static void test_limits(void **state _unused_)
{
	_cleanup_free_ char *secret = calloc(1, CREDENTIALS_SECRET_MAX + 2);
	Credentials c = {0};
	Err e = {0};

	memset(secret, 'x', CREDENTIALS_SECRET_MAX + 1);
	_cleanup_json_ json_t *entry = json_pack("{s:s, s:s}", "username", "u", "password", secret);
	assert_true(credentials_of_entry(entry, "h", &c, &e) < 0);
	assert_null(c.username);
	_cleanup_free_ char *reply = strf("{\"Username\":\"u\",\"Secret\":\"%s\"}", secret);
	assert_true(credentials_of_helper(reply, strlen(reply), &c, &e) < 0);
	secret[CREDENTIALS_SECRET_MAX] = '\0';
	_cleanup_json_ json_t *just = json_pack("{s:s, s:s}", "username", "u", "password", secret);
	assert_int_equal(credentials_of_entry(just, "h", &c, NULL), 0);
	credentials_done(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_keys),
	    cmocka_unit_test(test_servers),
	    cmocka_unit_test(test_entries),
	    cmocka_unit_test(test_two_spellings),
	    cmocka_unit_test(test_stores),
	    cmocka_unit_test(test_bad_configs),
	    cmocka_unit_test(test_written_and_read),
	    cmocka_unit_test(test_helper),
	    cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
