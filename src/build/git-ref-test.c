/* SPDX-License-Identifier: Apache-2.0 */
#include "build/git-ref.h"
#include "base/str.h"
#include "base/test.h"

static bool same(const char *a, const char *b)
{
	return a && b ? streq(a, b) : a == b;
}

static void is(const char *text, const char *remote, const char *ref, const char *subdir,
	       const char *checksum)
{
	GitRef r = {0};
	Err e = {0};

	if (git_ref_parse(text, true, &r, &e) != 1)
		fail_msg("%s: %s", text, e.msg);
	assert_string_equal(r.remote, remote);
	if (!same(r.ref, ref) || !same(r.subdir, subdir) || !same(r.checksum, checksum))
		fail_msg("%s: %s %s %s", text, r.ref, r.subdir, r.checksum);
	git_ref_done(&r);
}

static void forms(void **state)
{
	is("https://github.com/foo/bar.git", "https://github.com/foo/bar.git", NULL, NULL, NULL);
	is("https://github.com/foo/bar.git#main", "https://github.com/foo/bar.git", "main", NULL, NULL);
	is("https://github.com/foo/bar.git#baz/qux:quux/quuz", "https://github.com/foo/bar.git", "baz/qux",
	   "quux/quuz", NULL);
	is("http://h:81/r.git#:sub/../other/", "http://h:81/r.git", NULL, "other", NULL);
	is("https://h/r.git#v1:/", "https://h/r.git", "v1", NULL, NULL);
	is("https://h/r.git?ref=a%2Fb&subdir=x+y", "https://h/r.git", "a/b", "x y", NULL);
	is("https://h/r.git?tag=v1&commit=0123456789abcdef", "https://h/r.git", "refs/tags/v1", NULL,
	   "0123456789abcdef");
	is("https://h/r.git?branch=refs/heads/m#:d", "https://h/r.git", "refs/heads/m", "d", NULL);
	is("https://h/r.git?checksum=0123456", "https://h/r.git", "0123456", NULL, "0123456");
	is("git://h/r#x", "git://h/r", "x", NULL, NULL);
	is("git@h:foo/bar.git#x:y", "git@h:foo/bar.git", "x", "y", NULL);
	is("ssh://u@h:22/foo.git#x", "ssh://u@h:22/foo.git", "x", NULL, NULL);
	is("github.com/foo/bar#x", "https://github.com/foo/bar", "x", NULL, NULL);
	is("https://h/r.git?keep-git-dir&submodules=0", "https://h/r.git", NULL, NULL, NULL);
}

static void none(void **state)
{
	static const char *const others[] = {"a",
					     "./a.git",
					     "../github.com/x",
					     "https://h/file.tar",
					     "/abs.git",
					     "https://h/r.git/x",
					     "ext::sh -c",
					     "file:///r.git",
					     "user@host",
					     "a:b",
					     "-x@h:y",
					     "a b@h:c"};
	GitRef r = {0};

	for (size_t i = 0; i < ELEMENTSOF(others); i++)
		if (git_ref_parse(others[i], true, &r, NULL) != 0)
			fail_msg("%s was taken", others[i]);
	assert_int_equal(git_ref_parse("github.com/a/b", false, &r, NULL), 0);
}

static void refused(void **state)
{
	static const char *const bad[] = {
	    "https://h/r.git#--upload-pack=x",  "https://h/r.git#a..b",           "https://h/r.git#a b",
	    "https://h/r.git?ref=a&ref=b",      "https://h/r.git?ref=",           "https://h/r.git?what=x",
	    "https://h/r.git?checksum=xyz",     "https://h/r.git?ref=a%0Ab",      "https://h/r.git?ref=%00",
	    "https://h/r.git?submodules=maybe", "https://h/r.git?tag=a&branch=b", "git://h/a b",
	    "https://h/r.git?ref=a#b"};
	GitRef r = {0};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		if (git_ref_parse(bad[i], true, &r, NULL) >= 0)
			fail_msg("%s was taken", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(forms), cmocka_unit_test(none),
					   cmocka_unit_test(refused)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
