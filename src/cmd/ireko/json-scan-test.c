/* SPDX-License-Identifier: Apache-2.0 */
/* What is picked is what the JSON parser finds; what is odd is left to it. */
#include "json-scan.h"
#include "base/test.h"

static const char *const members[] = {"Id", "Names", "Ports", "Created", "Labels", NULL};

static const char list[] =
    "[{\"Id\":\"ab\",\"Names\":[\"/x\",\"/"
    "y\\u00e9\"],\"Other\":{\"Id\":\"no\",\"deep\":[[{}]]},\"Created\":1780000000,\"Labels\":"
    "{\"a\\\"]\":\"b\"},\"Ports\":[{\"IP\":\"::\",\"PrivatePort\":80}, {}]},\n {\"Id\" : null, "
    "\"Created\":-5,\"Ports\":[],\"Names\":"
    "[ ]},{}]\n";

static void picks_what_is_wanted(void **state)
{
	_cleanup_json_ json_t *got = json_scan_pick(list, members), *whole = json_loads(list, 0, NULL);

	assert_non_null(got);
	for (size_t i = 0; i < json_array_size(whole); i++)
		json_object_del(json_array_get(whole, i), "Other");
	assert_int_equal(json_equal(got, whole), 1);
	json_t *empty = json_scan_pick(" [ ] ", members);
	assert_int_equal(json_array_size(empty), 0);
	assert_non_null(empty);
	json_decref(empty);
}

static bool append_to(void *user, json_t *item)
{
	return json_array_append(user, item) == 0;
}

/* Wherever the text is cut, in two and byte by byte. */
static void grows_bit_by_bit(void **state)
{
	_cleanup_json_ json_t *want = json_scan_pick(list, members);
	size_t len = strlen(list);

	for (size_t cut = 0; cut <= len; cut++) {
		_cleanup_free_ char *first = strndup(list, cut);
		_cleanup_json_ json_t *two = json_array(), *many = json_array();
		JsonScan s = {members, append_to, two}, t = {members, append_to, many};

		json_scan_more(&s, first, cut);
		assert_true(json_scan_end(&s, list, len));
		assert_int_equal(json_equal(two, want), 1);
		for (size_t n = 0; n < cut; n++) {
			_cleanup_free_ char *part = strndup(list, n);

			json_scan_more(&t, part, n);
		}
		assert_true(json_scan_end(&t, list, len));
		assert_int_equal(json_equal(many, want), 1);
	}
}

static void leaves_the_rest(void **state)
{
	static const char *const odd[] = {"",
					  "{}",
					  "[",
					  "[{]",
					  "[{}",
					  "[{},]",
					  "[{}] x",
					  "[1]",
					  "[{\"Id\"}]",
					  "[{\"Id\":}]",
					  "[{\"Id\":1e}]",
					  "[{\"Id\":\"a}]",
					  "[{a:1}]",
					  "[{\"Id\":[1,]}]",
					  "[{\"Id\":{\"a\"}}]",
					  "[{\"\\u0049d\":1}]"};

	for (size_t i = 0; i < ELEMENTSOF(odd); i++) {
		json_t *got = json_scan_pick(odd[i], members);

		if (got)
			fail_msg("%s", odd[i]);
	}
}

static void depth_is_bounded(void **state)
{
	char deep[20000] = "[{\"Id\":";
	size_t n = strlen(deep);

	memset(deep + n, '[', sizeof(deep) - n - 1);
	assert_null(json_scan_pick(deep, members));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(picks_what_is_wanted),
	    cmocka_unit_test(grows_bit_by_bit),
	    cmocka_unit_test(leaves_the_rest),
	    cmocka_unit_test(depth_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
