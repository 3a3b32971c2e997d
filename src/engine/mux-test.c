/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "base/str.h"
#include "engine/mux.h"

static int add(void *user, int stream, const void *data, size_t len)
{
	StrBuf *b = user;

	strbuf_addf(b, "%d:", stream);
	strbuf_add_n(b, data, len);
	strbuf_add(b, ";");
	return 0;
}

static const char frames[] = "\1\0\0\0\0\0\0\3out\2\0\0\0\0\0\0\0\2\0\0\0\0\0\0\2er";

static void whole_frames(void **state)
{
	_cleanup_strbuf_ StrBuf b = {0};
	MuxReader m = {0};

	assert_int_equal(mux_read(&m, frames, sizeof(frames) - 1, add, &b), 0);
	assert_string_equal(b.s, "1:out;2:er;");
}

static void frames_in_bytes(void **state)
{
	_cleanup_strbuf_ StrBuf b = {0};
	MuxReader m = {0};

	for (size_t i = 0; i < sizeof(frames) - 1; i++)
		assert_int_equal(mux_read(&m, frames + i, 1, add, &b), 0);
	assert_string_equal(b.s, "1:o;1:u;1:t;2:e;2:r;");
}

static int refuse(void *user, int stream, const void *data, size_t len)
{
	return -EPIPE;
}

static void what_is_no_frame(void **state)
{
	static const char *const wrong[] = {"\0\0\0\0\0\0\0\1", "\3\0\0\0\0\0\0\1", "\1\1\0\0\0\0\0\1"};

	for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
		MuxReader m = {0};

		assert_int_equal(mux_read(&m, wrong[i], 8, add, NULL), -EPROTO);
	}
	MuxReader m = {0};
	assert_int_equal(mux_read(&m, frames, 11, refuse, NULL), -EPIPE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whole_frames),
	    cmocka_unit_test(frames_in_bytes),
	    cmocka_unit_test(what_is_no_frame),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
