/* SPDX-License-Identifier: Apache-2.0 */
/* The error channel: messages grow outwards, kinds and numbers survive, pipes carry them whole. */
#include "base/err.h"
#include "base/test.h"

static void test_sys_appends_strerror(void **state _unused_)
{
	Err e = {0};

	assert_int_equal(err_sys(&e, ENOENT, "open %s", "/a"), -ENOENT);
	assert_string_equal(e.msg, "open /a: No such file or directory");
	assert_int_equal(e.kind, ERR_INTERNAL);
	assert_int_equal(err_sys(&e, ENOSPC, "write"), -ENOSPC);
	assert_int_equal(e.kind, ERR_EXHAUSTED);
	assert_int_equal(err_sys(NULL, EIO, "x"), -EIO);
}

static void test_context_is_put_in_front(void **state _unused_)
{
	Err e = {0};
	int r = err_new(&e, ERR_NOT_FOUND, "No such image: %s", "x");

	r = err_ctx(&e, r, "container %s", "c");
	assert_int_equal(r, -ENOENT);
	assert_string_equal(e.msg, "container c: No such image: x");
	assert_int_equal(err_kind_http_status(e.kind), 404);
}

static void test_cut_keeps_utf8_whole(void **state _unused_)
{
	Err e = {0};
	char big[4000] = "x"; /* 1 + 3n bytes, so that the limit falls inside a character */

	for (size_t i = 1; i + 3 < sizeof(big); i += 3)
		memcpy(big + i, "私", 4);
	assert_true(err_new(&e, ERR_INVALID, "%s", big) < 0);
	assert_int_equal((strlen(e.msg) - 1) % 3, 0);
}

static void test_pipe_round_trip(void **state _unused_)
{
	Err a = {0}, b = {0};
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_true(err_new(&a, ERR_NO_COMMAND, "exec: nope") < 0);
	err_send(p[1], &a);
	close(p[1]);
	assert_int_equal(err_recv(p[0], &b), 1);
	assert_string_equal(b.msg, "exec: nope");
	assert_int_equal(b.kind, ERR_NO_COMMAND);
	assert_int_equal(err_recv(p[0], &b), 0);
	close(p[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sys_appends_strerror),
	    cmocka_unit_test(test_context_is_put_in_front),
	    cmocka_unit_test(test_cut_keeps_utf8_whole),
	    cmocka_unit_test(test_pipe_round_trip),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
