/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "base/base64.h"

#define MAX_LEN 200

static void all_lengths_in_both_alphabets(void **state)
{
	uint8_t data[MAX_LEN];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 167 + 13);
	for (size_t n = 0; n <= MAX_LEN; n++)
		for (int url = 0; url < 2; url++) {
			_cleanup_free_ char *text = base64_encode(data, n, url), *back = NULL, *bare = NULL;
			size_t len;

			assert_non_null(text);
			assert_int_equal(base64_decode(text, &back, &len), 0);
			assert_int_equal(len, n);
			assert_memory_equal(back, data, n);
			assert_int_equal(back[n], 0);
			text[strcspn(text, "=")] = '\0';
			assert_int_equal(base64_decode(text, &bare, &len), 0);
			assert_int_equal(len, n);
		}
}

static void a_stranger_anywhere_is_refused(void **state)
{
	static const char strangers[] = {'!', '\x80', '\xff', ' ', '\n', '.', '@', '[', '`', '{', ':'};
	char text[] = "QUJDREVGRw";

	for (size_t at = 0; text[at]; at++)
		for (size_t i = 0; i < sizeof(strangers); i++) {
			char digit = text[at], *out = NULL;

			text[at] = strangers[i];
			assert_int_equal(base64_decode(text, &out, NULL), -EINVAL);
			assert_null(out);
			text[at] = digit;
		}
}

static void padding(void **state)
{
	static const char *const wrong[] = {"A",     "AAAAA", "=",     "QQ=",  "QQ===",
					    "QUI==", "Q=Q=",  "QQ==A", "QUJD="};
	char *out = NULL;
	size_t len;

	for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
		if (base64_decode(wrong[i], &out, &len) != -EINVAL)
			fail_msg("%s", wrong[i]);
	assert_int_equal(base64_decode("", &out, &len), 0);
	assert_int_equal(len, 0);
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_lengths_in_both_alphabets),
	    cmocka_unit_test(a_stranger_anywhere_is_refused),
	    cmocka_unit_test(padding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
