/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/subid.h"

#include "base/str.h"
#include "base/test.h"

static const char text[] =
    "other:1:2\nme:100000:65536\n1000:5:6\n\nme:300000:10\nbroken:x:1\nhuge:1:4294967295\n"
    "many:1\nlast:4294967294:1\nmessy:1:1";

static void ranges_follow_each_other(void **state)
{
	_cleanup_free_ NamespaceIdMap *v = NULL, *one = NULL;
	size_t n, n_one;
	Err e = {0};

	assert_int_equal(subid_maps(text, "me", &v, &n, &e), 0);
	assert_int_equal(n, 2);
	assert_int_equal(v[0].inside, 0);
	assert_int_equal(v[0].outside, 100000);
	assert_int_equal(v[0].count, 65536);
	assert_int_equal(v[1].inside, 65536);
	assert_int_equal(v[1].outside, 300000);
	assert_int_equal(v[1].count, 10);
	assert_int_equal(subid_maps(text, "1000", &one, &n_one, &e), 0);
	assert_int_equal(n_one, 1);
	assert_int_equal(one[0].outside, 5);
}

static void what_is_wrong(void **state)
{
	static const char *const users[] = {"broken", "huge", "many", "last"};
	NamespaceIdMap *v = NULL;
	size_t n;
	Err e = {0};

	for (size_t i = 0; i < ELEMENTSOF(users); i++) {
		assert_int_equal(subid_maps(text, users[i], &v, &n, &e), -EINVAL);
		assert_int_equal(e.kind, ERR_INVALID);
	}
	assert_true(subid_maps(text, "nobody", &v, &n, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_true(subid_maps(text, "", &v, &n, &e) < 0);
	assert_null(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(ranges_follow_each_other),
	    cmocka_unit_test(what_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
