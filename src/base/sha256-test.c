/* SPDX-License-Identifier: Apache-2.0 */
/* The standard's examples, and every length around the block's end against a digest of digests made by coreutils. */
#include "base/sha256.h"
#include "base/str.h"
#include "base/test.h"

static void check(const char *text, const char *want)
{
	Sha256Hex got = sha256_hex(text, strlen(text));

	assert_string_equal(got.s, want);
}

static void test_known(void **state)
{
	check("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	check("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	check("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
	      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	check("a", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb");
}

static void test_every_length(void **state)
{
	_cleanup_strbuf_ StrBuf all = {0};
	char text[200];

	memset(text, 'x', sizeof(text));
	for (size_t n = 0; n < sizeof(text); n++)
		strbuf_add(&all, sha256_hex(text, n).s);
	assert_false(all.oom);
	check(all.s, "f61ffcc417e1f0e59eba2da7fa32fbe05b64e478b68c6bacf990455f00248b98");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_known),
	    cmocka_unit_test(test_every_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
