/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pages.h"
#include "base/macro.h"
#include "base/test.h"

#include <stdbool.h>

static const char constant[] = "read only";

static bool has(const PageRange *v, size_t n, const void *p)
{
	for (size_t i = 0; i < n; i++)
		if ((const char *)p >= (const char *)v[i].from &&
		    (const char *)p < (const char *)v[i].from + v[i].len)
			return true;
	return false;
}

/* The code of libraries is found, variables and stack are not, and all is as before when it is used again. */
static void test_drop(void **state _unused_)
{
	static int variable = 7;
	PageRange v[256];
	size_t n = pages_of_program(v, 256);
	int local = 3;

	assert_true(n > 0 && n < 256);
	assert_true(has(v, n, (const void *)(uintptr_t)strlen)); /* in the middle of a large library */
	assert_false(has(v, n, &variable));
	assert_false(has(v, n, &local));
	pages_drop(v, n);
	assert_string_equal(constant, "read only");
	assert_int_equal(variable, 7);
	assert_int_equal(pages_of_program(v, 256), n);
}

static void test_few(void **state _unused_)
{
	PageRange v[2] = {0};

	assert_int_equal(pages_of_program(v, 1), 1);
	assert_null(v[1].from);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_drop),
	    cmocka_unit_test(test_few),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
