/* SPDX-License-Identifier: Apache-2.0 */
/* Detach keys are found however the input is cut, and nothing else is swallowed. */
#include "base/test.h"
#include "shim/detach.h"

/* Feeds `input` in pieces of `step` bytes; expects `through` to be let through and the outcome `detached`. */
static void check(const char *keys, const char *input, size_t step, const char *through, int detached)
{
	size_t len = strlen(input);
	Queue q = {0};
	Detach d;
	int r = 0;

	assert_int_equal(detach_init(&d, keys, strlen(keys)), 0);
	for (size_t i = 0; i < len && r == 0; i += step)
		r = detach_feed(&d, input + i, MIN2(step, len - i), &q);
	assert_int_equal(r, detached);
	if (r == 0)
		assert_int_equal(detach_flush(&d, &q), 0);
	assert_int_equal(q.len, strlen(through));
	assert_true(q.len == 0 || memcmp(queue_head(&q), through, q.len) == 0);
	queue_clear(&q);
}

static void test_sequence_ends_the_client(void **state _unused_)
{
	for (size_t step = 1; step < 5; step++) {
		check("\x10\x11", "ls\n\x10\x11more", step, "ls\n", 1);
		check("\x10\x11", "\x10\x10\x11", step, "\x10", 1);
		check("aab", "xaaab", step, "xa", 1);
		check("abab!", "ababab!", step, "ab", 1);
		check("q", "aq", step, "a", 1);
	}
}

static void test_everything_else_goes_through(void **state _unused_)
{
	for (size_t step = 1; step < 5; step++) {
		check("\x10\x11", "\x10x\x11", step, "\x10x\x11", 0);
		check("\x10\x11", "held\x10", step, "held\x10", 0);
		check("", "\x10\x11", step, "\x10\x11", 0);
		check("aab", "abaaxaa", step, "abaaxaa", 0);
	}
}

static void test_long_sequence_is_refused(void **state _unused_)
{
	char keys[DETACH_KEYS_MAX + 1] = {0};
	Detach d;

	assert_int_equal(detach_init(&d, keys, sizeof(keys)), -EINVAL);
	assert_int_equal(detach_init(&d, keys, sizeof(keys) - 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sequence_ends_the_client),
	    cmocka_unit_test(test_everything_else_goes_through),
	    cmocka_unit_test(test_long_sequence_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
