/* SPDX-License-Identifier: Apache-2.0 */
#include "dockerfile/ignore.h"
#include "base/str.h"
#include "base/test.h"

#include <time.h>

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
	glob("[]]x", "]x", false);
	glob("[a", "a", false);
	glob("\\*", "*", true);
	glob("\\*", "x", false);
	glob("[\\]]", "]", true);
	glob("\xe7\xa7\x81\xe3\x81\xae \xe5\x90\x8d/*", "\xe7\xa7\x81\xe3\x81\xae \xe5\x90\x8d/x", true);
}

/* What patternmatcher's users rely on, odd as some of it is. */
static void details(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool want;
	} rows[] = {
	    {"**", "x", true},
	    {"**", "x/y/z", true},
	    {"**/**", "a/b", true},
	    {"d/**", "d/", true},
	    {"d/**", "dx", false},
	    {"d**", "dx/y", true},
	    {"**x", "ax", true},
	    {"**x", "a/bx", true},
	    {"**x?", "axy", false},
	    {"**x?", "xy", true},
	    {"**x?", "a/xy", true},
	    {"a**b", "ab", true},
	    {"a**b", "axb", false},
	    {"a**b", "ax/b", true},
	    {"**/a**b", "axx/ab", true},
	    {"**/f*.txt", "a/b/fx.txt", true},
	    {"**/**/*.txt", "x.txt", true},
	    {"a**/*.txt", "ab/c/x.txt", true},
	    {"a/*.t**", "a/x.tyz", true},
	    {"**/d/*", "d/x", true},
	    {"**/d/**", "a/d/x/y", true},
	    {"**/.f", "a.f", false},
	    {".*", ".f", true},
	    {".*", "f", false},
	    {"a.c", "abc", false},
	    {"a.|)$(}+{b^", "a.|)$(}+{b^", true},
	    {"a\\\\", "a\\", true},
	    {"a\\[b", "a[b", true},
	    {"a*b?c*x", "abxbbxdbxebxczzx", true},
	    {"a*b?c*x", "abxbbxdbxebxczzy", false},
	    {"a*b*c*d*e*/f", "axbxcxdxexxx/f", true},
	    {"a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false},
	    {"a[^a]b",
	     "a\xe2\x98\xba"
	     "b",
	     true},
	    {"a[^b]c", "a/c", true},
	    {"a?c", "a/c", false},
	    {"a??", "a\xe2\x98\xba", false},
	    {"[a-\xce\xb6]*", "\xce\xb1", true},
	    {"[x\\-]", "-", true},
	    {"[\\-x]", "-", true},
	    {"[\\-x]", "a", false},
	    {"[!a]", "!", true},
	    {"a\nb", "a\nb", true},
	    {"a*", "a\nb", true},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++)
		glob(rows[i].pattern, rows[i].path, rows[i].want);
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
	test_list("../a", "a", false);
	test_list("/../a", "a", true);
	test_list("/", "a", false);
	test_list("a/b/..", "a/x", true);
	test_list(".", "a", false);
	test_list("!!a\n*\n!!a", "!a", false);
	test_list("**\n!util/docker/web", "util/docker/web/foo", false);
	test_list("**\n!util/docker/web\nutil/docker/web/foo", "util/docker/web/foo", true);
	test_list("**\n!dist/*.whl", "dist/a-1.0+b.whl", false);
	test_list("*/b", "a/b/c/d", true);
	test_list("a/*/c", "a/b/c/d", true);
	test_list("\xe3\x80\x80 a", "a", true);
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
	static const char *const bad[] = {"[",    "[]",   "[^", "[^bc", "a[",      "[]a]",  "[-]",
					  "[x-]", "[-x]", "\\", "a\\",  "[a-b-c]", "[b-a]", "[Local-Only]"};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		e = (Err){0};
		if (ignore_parse(bad[i], &ig, &e) >= 0)
			fail_msg("%s is taken", bad[i]);
		assert_non_null(strstr(e.msg, "line 1: illegal exclusion pattern"));
		assert_false(ignore_glob(bad[i], "a"));
	}
	for (int i = 0; i < 5000; i++)
		strbuf_add_c(&b, '*');
	assert_true(ignore_parse(b.s, &ig, &e) < 0);
}

/* Matching takes the product of both lengths at most, whatever the pattern. */
static void stars_end(void **state)
{
	static const char *const parts[] = {"*a", "**/a", "?*", "[a-z]*", "**/"};
	_cleanup_strbuf_ StrBuf path = {0};
	clock_t before = clock();

	for (int i = 0; i < 1000; i++)
		strbuf_add(&path, i % 4 ? "aaaa" : "aaa/");
	for (size_t k = 0; k < ELEMENTSOF(parts); k++) {
		_cleanup_strbuf_ StrBuf pattern = {0};

		while (pattern.len < 4000)
			strbuf_add(&pattern, parts[k]);
		strbuf_add(&pattern, "b");
		assert_false(ignore_glob(pattern.s, path.s));
	}
	assert_true(clock() - before < 20 * CLOCKS_PER_SEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(globs),     cmocka_unit_test(details),
	    cmocka_unit_test(lists),     cmocka_unit_test(what_may_come_back),
	    cmocka_unit_test(bad_lines), cmocka_unit_test(stars_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
