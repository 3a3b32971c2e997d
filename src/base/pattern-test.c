/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns that are used, and patterns that explode. */
#include "base/pattern.h"
#include "base/str.h"
#include "base/test.h"

#include <string.h>

static void bounded(void **state)
{
	static const char *const good[] = {
	    "",           "^web$",          "a|b",    "^(web|db)+_[0-9]+$", "[{]+[+]+[)]+",
	    "\\{\\+\\)+", "((((a*)*)*)*)*", "a?b?c?", "[[:alpha:]]+",       "(a+)+(b+)+"};

	for (size_t i = 0; i < ELEMENTSOF(good); i++)
		if (!pattern_is_bounded(good[i]))
			fail_msg("%s was refused", good[i]);
}

static void unbounded(void **state)
{
	static const char *const bad[] = {"a{2}",
					  "(x{1,1000}){1,1000}",
					  "(a*)*\\1b",
					  "(((((((a+)+)+)+)+)+)+)+",
					  "a++++++++++++",
					  "a+?+?+?+?+?+",
					  "a+*+*+*+*+*+",
					  "[\\](a{1,255}){1,255}",
					  "[)]+[+]++?+?+?+?+"};
	char text[PATTERN_MAX + 2];

	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		if (pattern_is_bounded(bad[i]))
			fail_msg("%s was taken", bad[i]);
	memset(text, 'a', sizeof(text) - 1);
	text[PATTERN_MAX + 1] = '\0';
	assert_false(pattern_is_bounded(text));
	text[PATTERN_MAX] = '\0';
	assert_true(pattern_is_bounded(text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bounded),
	    cmocka_unit_test(unbounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
