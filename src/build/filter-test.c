/* SPDX-License-Identifier: Apache-2.0 */
#include "build/filter.h"
#include "base/str.h"
#include "base/test.h"

static void says(const TreeFilter *f, const char *below, bool is_dir, FilterSays want)
{
	_cleanup_free_ char *path = strf("src/%s", below);
	FilterSays got = filter_says(f, path, below, is_dir);

	if (got != want)
		fail_msg("%s: %d, not %d", below, got, want);
}

static void includes(void **state)
{
	TreeFilter f = {.include = "a/*/c.txt"};

	says(&f, "", true, FILTER_LOOK);
	says(&f, "a", true, FILTER_LOOK);
	says(&f, "a", false, FILTER_SKIP);
	says(&f, "a/b", true, FILTER_LOOK);
	says(&f, "a/b/c.txt", false, FILTER_TAKE);
	says(&f, "a/b/c.txt", true, FILTER_TAKE);
	says(&f, "a/b/c.txt/deeper", false, FILTER_TAKE);
	says(&f, "a/b/d.txt", false, FILTER_SKIP);
	says(&f, "a/b/d", true, FILTER_SKIP);
	says(&f, "b", true, FILTER_SKIP);
	says(&f, "ab", true, FILTER_SKIP);
	f.include = "**/x";
	says(&f, "any/where", true, FILTER_LOOK);
	says(&f, "any/where/x", false, FILTER_TAKE);
	says(&f, "any/where/y", false, FILTER_SKIP);
	f.include = "d/**/x";
	says(&f, "e", true, FILTER_SKIP);
	says(&f, "d/q", true, FILTER_LOOK);
	says(&f, "d/x", false, FILTER_TAKE);
	f.include = "";
	says(&f, "anything", false, FILTER_TAKE);
}

static void excludes(void **state)
{
	Ignore ignore = {0}, exclude = {0};
	TreeFilter f = {.ignore = &ignore, .exclude = &exclude};

	assert_int_equal(ignore_add(&ignore, "src/secret"), 0);
	assert_int_equal(ignore_add(&ignore, "!src/secret/not"), 0);
	assert_int_equal(ignore_add(&exclude, "*.md"), 0);
	says(&f, "", true, FILTER_TAKE);
	says(&f, "secret", true, FILTER_LOOK);
	says(&f, "secret/a", false, FILTER_SKIP);
	says(&f, "secret/not", false, FILTER_TAKE);
	says(&f, "a.md", false, FILTER_SKIP);
	says(&f, "d/a.md", false, FILTER_TAKE);
	f.include = "d";
	says(&f, "d/secret", false, FILTER_TAKE);
	says(&f, "secret", true, FILTER_SKIP);
	ignore_done(&ignore);
	ignore_done(&exclude);
}

static void parents(const char *source, const char *base, const char *pattern)
{
	_cleanup_free_ char *b = NULL, *p = NULL;

	assert_int_equal(filter_parents(source, &b, &p), 0);
	assert_string_equal(b, base);
	assert_string_equal(p, pattern);
}

static void pivots(void **state)
{
	parents("a/b/c", "", "a/b/c");
	parents("/a/b/c", "", "a/b/c");
	parents("./a/b", "", "a/b");
	parents("a/./b/c", "a", "b/c");
	parents("a/b/./**/*.txt", "a/b", "**/*.txt");
	parents("./x/./y/./z", "x", "y/z");
	parents("/./y", "", "y");
	parents("../../x", "", "x");
	parents("x/../../y/./z/..", "y", "");
	parents(".", "", "");
}

static void wildcards(void **state)
{
	assert_true(filter_has_wildcard("a*"));
	assert_true(filter_has_wildcard("a/[b]"));
	assert_true(filter_has_wildcard("?"));
	assert_false(filter_has_wildcard("a\\*b"));
	assert_false(filter_has_wildcard("plain/name\\"));
	assert_false(filter_has_wildcard("a]"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(includes),
	    cmocka_unit_test(excludes),
	    cmocka_unit_test(pivots),
	    cmocka_unit_test(wildcards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
