/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "api/cri/stream-parts.h"

static void statuses(void **state)
{
	_cleanup_free_ char *good = cri_status_success(), *code = cri_status_exit(7),
			    *bad = cri_status_error("no \xff such file");

	assert_string_equal(good, "{\"metadata\":{},\"status\":\"Success\"}");
	assert_non_null(strstr(code, "\"reason\":\"NonZeroExitCode\""));
	assert_non_null(strstr(code, "{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"7\"}]}"));
	assert_non_null(strstr(bad, "\"message\":\"no \xef\xbf\xbd such file\""));
	assert_non_null(strstr(bad, "\"code\":500"));
}

/* The sizes in a text that comes in pieces of n bytes, as "ROWSxCOLS ". */
static void sizes_of(const char *text, size_t n, char *ret, bool *ret_broken)
{
	CriResizeReader r = {0};
	size_t len = strlen(text);

	*ret = 0;
	for (size_t at = 0; at < len;) {
		size_t piece = MIN2(n, len - at);
		uint16_t rows, cols;
		bool got;

		at += cri_resize_feed(&r, text + at, piece, &got, &rows, &cols);
		if (got)
			ret += sprintf(ret, "%ux%u ", rows, cols);
	}
	*ret_broken = r.broken;
}

static void sizes(void **state)
{
	static const struct {
		const char *text, *sizes;
		bool broken;
	} table[] = {
	    {"{\"Width\":80,\"Height\":24}", "24x80 ", false},
	    {"{\"Width\":80,\"Height\":24}\n{\"Height\":1,\"Width\":2}\n", "24x80 1x2 ", false},
	    {"{\"Width\":0,\"Height\":24}{\"Width\":1,\"Height\":1}", "1x1 ", false},
	    {"{\"Width\":65536,\"Height\":24}", "", false},
	    {"{\"Width\":-1,\"Height\":24}", "", false},
	    {"{}", "", false},
	    {"[]}{\"Width\":1,\"Height\":1}", "", true},
	    {"{\"Width\":}{\"Width\":1,\"Height\":1}", "", true},
	    {"", "", false},
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++)
		for (size_t n = 1; n < 100; n++) {
			char got[256];
			bool broken;

			sizes_of(table[i].text, n, got, &broken);
			assert_string_equal(got, table[i].sizes);
			assert_true(broken == table[i].broken);
		}
}

static void a_size_without_end(void **state)
{
	CriResizeReader r = {0};
	uint16_t rows, cols;
	bool got;

	for (int i = 0; i < 100; i++)
		assert_int_equal(cri_resize_feed(&r, "          ", 10, &got, &rows, &cols), 10);
	assert_true(r.broken);
}

static void base64(void **state)
{
	static const struct {
		const char *text, *bytes;
	} table[] = {{"", ""},        {"Zg==", "f"},        {"Zm8=", "fo"},
		     {"Zm9v", "foo"}, {"Zm9vYg==", "foob"}, {"/+/+", "\xff\xef\xfe"}};
	static const char *const wrong[] = {"Z===", "=",    "Zg==Zg==", "Zm9v=",
					    "Zg=a", "Z g=", "Zg===",    "-_-_"};

	for (size_t i = 0; i < ELEMENTSOF(table); i++)
		for (size_t n = 1; n <= 8; n++) {
			uint8_t got[64];
			CriBase64 b = {0};
			size_t out = 0, len = strlen(table[i].text);

			for (size_t at = 0; at < len; at += n) {
				ssize_t r =
				    cri_base64_feed(&b, table[i].text + at, MIN2(n, len - at), got + out);

				assert_true(r >= 0);
				out += (size_t)r;
			}
			assert_int_equal(out, strlen(table[i].bytes));
			assert_memory_equal(got, table[i].bytes, out);
		}
	for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
		CriBase64 b = {0};
		uint8_t got[64];

		assert_int_equal(cri_base64_feed(&b, wrong[i], strlen(wrong[i]), got), -EPROTO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(statuses),
	    cmocka_unit_test(sizes),
	    cmocka_unit_test(a_size_without_end),
	    cmocka_unit_test(base64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
