/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/bootstrap.h"
#include "base/str.h"
#include "base/test.h"

static BaseSource parsed(const char *reference)
{
	BaseSource b = {0};
	Err e = {0};

	if (base_source_parse(reference, &b, &e) < 0)
		fail_msg("%s: %s", reference, e.msg);
	return b;
}

static void references(void **state)
{
	BaseSource b = parsed("debian:12-slim");

	assert_string_equal(b.distribution, "debian");
	assert_string_equal(b.suite, "bookworm");
	assert_true(b.slim && b.has_updates && b.has_security);
	base_source_done(&b);
	b = parsed("docker.io/library/debian:sid");
	assert_string_equal(b.suite, "sid");
	assert_false(b.slim || b.has_updates || b.has_security);
	base_source_done(&b);
	b = parsed("ubuntu:24.04");
	assert_string_equal(b.suite, "noble");
	assert_string_equal(b.keyring, "/usr/share/keyrings/ubuntu-archive-keyring.gpg");
	base_source_done(&b);

	const char *const bad[] = {"debian:99",    "alpine:3", "me/debian:12", "quay.io/library/debian:12",
				   "debian:-slim", "x y"};
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		Err e = {0};

		assert_true(base_source_parse(bad[i], &b, &e) < 0);
		assert_int_equal(e.kind, ERR_INVALID);
	}
}

static void one_line_sources(void **state)
{
	BaseSource b = parsed("debian:bookworm");

	assert_int_equal(
	    base_source_scan(
		&b,
		"# deb http://commented/debian bookworm main\n"
		"deb-src http://src/debian bookworm main\n"
		"deb [arch=amd64 signed-by=/etc/passwd] http://mirror/debian trixie main # note\n"
		"deb https://other.example/apt nodistro main\n"
		"deb http://mirror/sec bookworm-security main\n"
		"deb cdrom:[x] bookworm main\n"
		"deb\n",
		false),
	    0);
	assert_string_equal(b.uri, "http://mirror/debian");
	assert_string_equal(b.security_uri, "http://mirror/sec");
	assert_string_equal(b.keyring, "/etc/passwd"); /* any file that can be read */
	_cleanup_strv_ char **v = base_source_lines(&b);
	assert_string_equal(v[0], "deb [signed-by=/etc/passwd] http://mirror/debian bookworm main");
	assert_string_equal(v[1], "deb [signed-by=/etc/passwd] http://mirror/debian bookworm-updates main");
	assert_string_equal(v[2], "deb [signed-by=/etc/passwd] http://mirror/sec bookworm-security main");
	assert_null(v[3]);
	base_source_done(&b);
}

static void deb822_sources(void **state)
{
	BaseSource b = parsed("debian:sid");

	assert_int_equal(
	    base_source_scan(
		&b,
		"Types: deb\n# comment\nURIs: http://a/debian\nSuites: bookworm bookworm-updates\n"
		"Components: main\nSigned-By:\n -----BEGIN\n .\n\n"
		"Types: deb\nEnabled: no\nURIs: http://off/debian\nSuites: bookworm\n\n"
		"Types: deb-src\nURIs: http://src/debian\nSuites: bookworm\n\n"
		"types: deb deb-src\nuris: http://s/debian-security/\nsuites: bookworm-security\n",
		true),
	    0);
	assert_string_equal(b.uri, "http://a/debian");
	assert_string_equal(b.security_uri, "http://s/debian-security/");
	assert_string_equal(b.keyring, "/usr/share/keyrings/debian-archive-keyring.gpg");
	_cleanup_strv_ char **v = base_source_lines(&b);
	assert_int_equal(strv_len(v), 1);
	base_source_done(&b);
}

static void foreign_and_hostile_sources(void **state)
{
	BaseSource b = parsed("ubuntu:noble");

	assert_int_equal(base_source_scan(&b,
					  "deb http://m/debian bookworm main\n"
					  "deb http://m/u'buntu noble main\n"
					  "deb file:/etc noble main\n"
					  "deb [[[[ noble",
					  false),
			 0);
	assert_true(str_ends(b.uri, "ubuntu") || str_ends(b.uri, "ubuntu-ports"));
	base_source_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(references),
	    cmocka_unit_test(one_line_sources),
	    cmocka_unit_test(deb822_sources),
	    cmocka_unit_test(foreign_and_hostile_sources),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
