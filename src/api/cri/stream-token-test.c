/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "api/cri/stream-parts.h"

static CriTokens *tokens;

static void add(CriStreamKind kind, const char *id, int64_t now, char ret[CRI_TOKEN_LEN + 1])
{
	CriStreamRequest r = {.kind = kind, .id = strdup(id)};

	assert_int_equal(cri_token_add(tokens, &r, now, ret, NULL), 0);
	assert_null(r.id);
}

static bool take(CriStreamKind kind, const char *token, int64_t now, const char *id)
{
	CriStreamRequest r = {0};
	bool got = cri_token_take(tokens, kind, token, now, &r);

	if (got)
		assert_string_equal(r.id, id);
	cri_stream_request_done(&r);
	return got;
}

static void good_for_once(void **state)
{
	char a[CRI_TOKEN_LEN + 1], b[CRI_TOKEN_LEN + 1];

	add(CRI_STREAM_EXEC, "a", 0, a);
	add(CRI_STREAM_EXEC, "b", 0, b);
	assert_string_not_equal(a, b);
	assert_true(take(CRI_STREAM_EXEC, b, 1, "b"));
	assert_false(take(CRI_STREAM_EXEC, b, 1, ""));
	assert_true(take(CRI_STREAM_EXEC, a, 1, "a"));
	assert_false(take(CRI_STREAM_EXEC, "", 1, ""));
}

/* It is used up by being asked for as another kind. */
static void good_for_one_kind(void **state)
{
	char a[CRI_TOKEN_LEN + 1];

	add(CRI_STREAM_EXEC, "a", 0, a);
	assert_false(take(CRI_STREAM_ATTACH, a, 1, ""));
	assert_false(take(CRI_STREAM_EXEC, a, 1, ""));
}

static void good_for_a_minute(void **state)
{
	char a[CRI_TOKEN_LEN + 1], b[CRI_TOKEN_LEN + 1];

	add(CRI_STREAM_EXEC, "a", 0, a);
	add(CRI_STREAM_EXEC, "b", 1, b);
	assert_false(take(CRI_STREAM_EXEC, a, CRI_TOKEN_LIFE_NS, ""));
	assert_true(take(CRI_STREAM_EXEC, b, CRI_TOKEN_LIFE_NS, "b"));
}

static void the_oldest_of_too_many_goes(void **state)
{
	static char all[CRI_TOKENS_MAX + 5][CRI_TOKEN_LEN + 1];

	for (size_t i = 0; i < ELEMENTSOF(all); i++)
		add(CRI_STREAM_EXEC, "x", 0, all[i]);
	for (size_t i = 0; i < ELEMENTSOF(all); i++)
		assert_true(take(CRI_STREAM_EXEC, all[i], 1, "x") == (i >= 5));
}

static int begin(void **state)
{
	return cri_tokens_new(&tokens, NULL);
}

static int end(void **state)
{
	cri_tokens_free(tokens);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(good_for_once, begin, end),
	    cmocka_unit_test_setup_teardown(good_for_one_kind, begin, end),
	    cmocka_unit_test_setup_teardown(good_for_a_minute, begin, end),
	    cmocka_unit_test_setup_teardown(the_oldest_of_too_many_goes, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
