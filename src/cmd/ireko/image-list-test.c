/* SPDX-License-Identifier: Apache-2.0 */
#include "image-list.h"
#include "base/test.h"

#define NOW 2000000000

static const char list[] =
    "[{\"Containers\":-1,\"Created\":1999999990,\"Id\":\"sha256:0123456789abcdef0123\",\"Labels\":{\"a\":"
    "\"\\\"]}\\\\\",\"b\":"
    "\"\xE5\xAD\x97\"},\"ParentId\":\"\",\"RepoDigests\":[\"x@sha256:ab\"],\"RepoTags\":[\"x:1\",\"h:5000/y/"
    "z:2\"],"
    "\"Size\":1234567}, {\"Id\" : "
    "\"0123\",\"Size\":-1,\"Created\":0,\"RepoTags\":null,\"RepoDigests\":[\"<none>@<none>\","
    "\"q@sha256:cd\"]},\n"
    "{\"Id\":\"sha256:ff\",\"RepoTags\":[\"<none>:<none>\"],\"Created\":1999999999,\"Size\":0}]\n";

static char *rows(const char *text, bool full, bool ids)
{
	const ImageList o = {full, ids, NOW * 1000000000LL};
	StrBuf b = {0};

	if (image_list_rows(text, &o, &b))
		return b.s ? strbuf_steal(&b) : strdup("");
	strbuf_done(&b);
	return NULL;
}

static void expect(const char *text, bool full, bool ids, const char *want)
{
	_cleanup_free_ char *got = rows(text, full, ids);

	assert_non_null(got);
	assert_string_equal(got, want);
}

static void what_engines_write(void **state)
{
	expect(list, false, false,
	       "x\t1\t0123456789ab\t10 seconds ago\t1.23MB\n"
	       "h:5000/y/z\t2\t0123456789ab\t10 seconds ago\t1.23MB\n"
	       "q\t<none>\t0123\t63 years ago\tN/A\n"
	       "<none>\t<none>\tff\t1 second ago\t0B\n");
	expect(list, true, true,
	       "sha256:0123456789abcdef0123\nsha256:0123456789abcdef0123\n0123\nsha256:ff\n");
	expect("[]", false, false, "");
	expect(" [ ] \n", false, false, "");
}

static void anything_else(void **state)
{
	static const char *const bad[] = {
	    "",
	    "null",
	    "{}",
	    "[",
	    "[{}]",
	    "[{\"Id\":\"\"}]",
	    "[{\"Id\":1}]",
	    "[{\"Id\":\"a\"},]",
	    "[{\"Id\":\"a\"}] x",
	    "[{\"Id\":\"a\\u0062\"}]",
	    "[{\"Id\":\"a\x1b\"}]",
	    "[{\"Id\":\"a\",\"RepoTags\":[\"\xC3\xA4:1\"]}]",
	    "[{\"Id\":\"a\",\"RepoTags\":{}}]",
	    "[{\"Id\":\"a\",\"Size\":1e5}]",
	    "[{\"Id\":\"a\",\"Size\":99999999999999999999}]",
	    "[{\"Id\":\"a\",\"Other\":[}]}]",
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		_cleanup_free_ char *got = rows(bad[i], false, false);

		if (got)
			fail_msg("%s was understood", bad[i]);
	}
	/* Cut anywhere; the copy is as long as the text, so that a step too far is seen. */
	for (size_t n = 0; n < strlen(list) - 2; n++) {
		_cleanup_free_ char *cut = strndup(list, n);

		assert_null(rows(cut, false, false));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_engines_write),
	    cmocka_unit_test(anything_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
