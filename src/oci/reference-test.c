/* SPDX-License-Identifier: Apache-2.0 */
/* References: what people type, normalised as Docker does, and what is refused. */
#include "oci/reference.h"
#include "base/str.h"
#include "base/test.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct {
	const char *text, *full, *familiar, *name;
} good[] = {
    {"debian", "docker.io/library/debian:latest", "debian:latest", "debian"},
    {"debian:bookworm", "docker.io/library/debian:bookworm", "debian:bookworm", "debian"},
    {"library/debian", "docker.io/library/debian:latest", "debian:latest", "debian"},
    {"docker.io/debian", "docker.io/library/debian:latest", "debian:latest", "debian"},
    {"index.docker.io/library/debian:x", "docker.io/library/debian:x", "debian:x", "debian"},
    {"me/app", "docker.io/me/app:latest", "me/app:latest", "me/app"},
    {"a/b/c", "docker.io/a/b/c:latest", "a/b/c:latest", "a/b/c"},
    {"localhost/x", "localhost/x:latest", "localhost/x:latest", "localhost/x"},
    {"localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x"},
    {"127.0.0.1:5000/x", "127.0.0.1:5000/x:latest", "127.0.0.1:5000/x:latest", "127.0.0.1:5000/x"},
    {"[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest", "[::1]:5000/x"},
    {"ghcr.io/a/b@sha256:" HEX64, "ghcr.io/a/b@sha256:" HEX64, "ghcr.io/a/b@sha256:" HEX64, "ghcr.io/a/b"},
    {"x:1@sha256:" HEX64, "docker.io/library/x:1@sha256:" HEX64, "x:1@sha256:" HEX64, "x"},
    {"Foo/bar", "Foo/bar:latest", "Foo/bar:latest", "Foo/bar"},
    {"a__b/c-----d.e_f", "docker.io/a__b/c-----d.e_f:latest", "a__b/c-----d.e_f:latest", "a__b/c-----d.e_f"},
    {"x:_a.b-C", "docker.io/library/x:_a.b-C", "x:_a.b-C", "x"},
    {"docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest", "docker.io/a.b/c"},
    {"docker.io/localhost/c", "docker.io/localhost/c:latest", "docker.io/localhost/c:latest",
     "docker.io/localhost/c"},
    {HEX64 ":t", "docker.io/library/" HEX64 ":t", "library/" HEX64 ":t", "library/" HEX64},
};

static void test_good(void **state _unused_)
{
	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		Reference r = {0};
		Err e = {0};

		if (reference_parse(good[i].text, &r, &e) < 0)
			fail_msg("%s: %s", good[i].text, e.msg);
		_cleanup_free_ char *full = reference_full(&r);
		_cleanup_free_ char *familiar = reference_familiar(&r);
		_cleanup_free_ char *name = reference_familiar_name(&r);

		assert_string_equal(full, good[i].full);
		assert_string_equal(familiar, good[i].familiar);
		assert_string_equal(name, good[i].name);
		reference_done(&r);
	}
}

static void test_bad(void **state _unused_)
{
	static const char *const bad[] = {
	    "",
	    ":",
	    "/",
	    "a/",
	    "/a",
	    "a//b",
	    "a:",
	    "a:-x",
	    "a:.x",
	    "a:b:c",
	    "a@",
	    "a@sha256:",
	    "a b",
	    "a\n",
	    "-a",
	    "a-",
	    "a___b",
	    "a..b",
	    "a._b",
	    "_a",
	    "a/_b",
	    "a.-/b",
	    "-h.io/x",
	    "h-.io/x",
	    "h.io:/x",
	    "h.io:p/x",
	    "[::1/x",
	    "[]/x",
	    "x@md5:00",
	    "../etc",
	    "a/../b",
	    "http://h/x",
	    "h.io:1:2/x",
	    "私/x",
	    "x:私",
	    "h..io/x",
	    "h.io./x",
	    "docker.io/",
	    "x@sha256:" HEX64 "0",
	    "a?b",
	    "x:a/b",
	    "x@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		Reference r = {0};
		Err e = {0};

		if (reference_parse(bad[i], &r, &e) >= 0)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_non_null(strstr(e.msg, "invalid reference format"));
		assert_null(r.domain);
	}
}

static void test_wording(void **state _unused_)
{
	Reference r = {0};
	Err e = {0};

	assert_true(reference_parse("Foo", &r, &e) < 0);
	assert_string_equal(e.msg,
			    "invalid reference format: repository name (library/Foo) must be lowercase");
	assert_true(reference_parse(HEX64, &r, &e) < 0);
	assert_string_equal(e.msg, "invalid repository name (" HEX64
				   "), cannot specify 64-byte hexadecimal strings");
}

static void test_lengths(void **state _unused_)
{
	char tag[140] = "x:", name[300] = "h.io/";
	Reference r = {0};

	memset(tag + 2, 'a', 128);
	assert_int_equal(reference_parse(tag, &r, NULL), 0);
	reference_done(&r);
	tag[130] = 'a';
	assert_true(reference_parse(tag, &r, NULL) < 0);

	memset(name + 5, 'a', 255);
	assert_int_equal(reference_parse(name, &r, NULL), 0);
	reference_done(&r);
	name[260] = 'a';
	assert_true(reference_parse(name, &r, NULL) < 0);
}

static void test_digest(void **state _unused_)
{
	assert_true(digest_is_valid("sha256:" HEX64));
	assert_false(digest_is_valid("sha256:" HEX64 "0"));
	assert_false(digest_is_valid("sha256:"));
	assert_false(digest_is_valid("sha512:" HEX64));
	assert_false(digest_is_valid(HEX64));
	assert_false(digest_is_valid(NULL));
	assert_string_equal(digest_hex("sha256:" HEX64), HEX64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good),    cmocka_unit_test(test_bad),    cmocka_unit_test(test_wording),
	    cmocka_unit_test(test_lengths), cmocka_unit_test(test_digest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
