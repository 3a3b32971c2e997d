/* SPDX-License-Identifier: Apache-2.0 */
#include "dockerfile/ignore.h"
#include "base/str.h"
#include "base/test.h"

static void glob(const char *pattern, const char *path, bool want)
{
	if (ignore_glob(pattern, path) != want)
		fail_msg("%s %s %s", pattern, want ? "should match" : "should not match", path);
}

static void globs(void **state)
{
	glob("a", "a", true);
	glob("a", "ab", false);
	glob("*.log", "x.log", true);
	glob("*.log", "d/x.log", false);
	glob("*/x", "d/x", true);
	glob("*/x", "d/e/x", false);
	glob("**/x", "x", true);
	glob("**/x", "d/e/x", true);
	glob("**/x", "d/e/yx", false);
	glob("d/**", "d/e/f", true);
	glob("d/**", "d", false);
	glob("**", "d/e", true);
	glob("d/**/f", "d/f", true);
	glob("d/**/f", "d/a/b/f", true);
	glob("**/*.go", "a/b.go", true);
	glob("a**b", "a/x/b", true);
	glob("a?c", "abc", true);
	glob("a?c", "a/c", false);
	glob("a?c",
	     "a\xc3\xa9"
	     "c",
	     true);
	glob("[a-c]x", "bx", true);
	glob("[^a-c]x", "bx", false);
	glob("[^a-c]x", "dx", true);
	glob("[]]x", "]x", true);
	glob("[a", "a", false);
	glob("\\*", "*", true);
	glob("\\*", "x", false);
	glob("[\\]]", "]", true);
	glob("\xe7\xa7\x81\xe3\x81\xae \xe5\x90\x8d/*", "\xe7\xa7\x81\xe3\x81\xae \xe5\x90\x8d/x", true);
}

static void test_list(const char *text, const char *path, bool want)
{
	Ignore ig = {0};

	assert_int_equal(ignore_parse(text, &ig, NULL), 0);
	if (ignore_matches(&ig, path) != want)
		fail_msg("\"%s\" %s %s", text, want ? "should ignore" : "should keep", path);
	ignore_done(&ig);
}

static void lists(void **state)
{
	test_list("", "a", false);
	test_list("# a\na", "a", true);
	test_list("#a", "#a", false);
	test_list(" a \n", "a", true);
	test_list("\xef\xbb\xbf"
		  "a\r\nb\r\n",
		  "a", true);
	test_list("/a/", "a", true);
	test_list("./a/../b", "b", true);
	test_list("a", "a/b/c", true);
	test_list("a", "b/a", false);
	test_list("*\n!a", "a", false);
	test_list("*\n!a", "a/b", false);
	test_list("*\n!a\na/secret", "a/secret", true);
	test_list("*\n!a/b", "a/c", true);
	test_list("*\n!a/b", "a/b", false);
	test_list("a\n!a\na", "a", true);
	test_list("**/node_modules\n!keep", "x/node_modules/y", true);
	test_list("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true);
	test_list("*.md\n!README*.md\nREADME-secret.md", "README.md", false);
	test_list("! a \n", "a", false);
	test_list("a\n! a \n", "a", false);
}

static void test_enter(const char *text, const char *dir, bool want)
{
	Ignore ig = {0};

	assert_int_equal(ignore_parse(text, &ig, NULL), 0);
	assert_int_equal(ignore_may_return(&ig, dir), want);
	ignore_done(&ig);
}

static void what_may_come_back(void **state)
{
	test_enter("a", "a", false);
	test_enter("a\n!b", "a", false);
	test_enter("a\n!a/b", "a", true);
	test_enter("a\n!ab/c", "a", false);
	test_enter("*\n!a/b/c", "a/b", true);
	test_enter("*\n!a/*.txt", "a", true);
	test_enter("*\n!**/keep", "deep/down", true);
	test_enter("*\n!a*", "b", false);
}

static void bad_lines(void **state)
{
	_cleanup_strbuf_ StrBuf b = {0};
	Ignore ig = {0};
	Err e = {0};

	assert_true(ignore_parse("a\n!\n", &ig, &e) < 0);
	assert_non_null(strstr(e.msg, "line 2"));
	for (int i = 0; i < 5000; i++)
		strbuf_add_c(&b, '*');
	assert_true(ignore_parse(b.s, &ig, &e) < 0);
}

/* Matching takes bounded time whatever the pattern. */
static void stars_end(void **state)
{
	_cleanup_strbuf_ StrBuf pattern = {0}, path = {0};

	for (int i = 0; i < 1000; i++) {
		strbuf_add(&pattern, "*a");
		strbuf_add(&path, "aaaa");
	}
	strbuf_add(&pattern, "b");
	assert_false(ignore_glob(pattern.s, path.s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(globs),     cmocka_unit_test(lists),     cmocka_unit_test(what_may_come_back),
	    cmocka_unit_test(bad_lines), cmocka_unit_test(stars_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
