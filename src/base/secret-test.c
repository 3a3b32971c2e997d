/* SPDX-License-Identifier: Apache-2.0 */
/* base64 as others write it, and what is left of a secret in freed memory. */
#include "base/base64.h"
#include "base/secret.h"
#include "base/test.h"

#include <jansson.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static void test_base64_known(void **state _unused_)
{
	static const char *const pairs[][2] = {{"", ""},
					       {"f", "Zg=="},
					       {"fo", "Zm8="},
					       {"foo", "Zm9v"},
					       {"foob", "Zm9vYg=="},
					       {"fooba", "Zm9vYmE="},
					       {"foobar", "Zm9vYmFy"},
					       {"~~\x7f?", "fn5/Pw=="}};

	for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
		_cleanup_secret_ char *coded = base64_encode(pairs[i][0], strlen(pairs[i][0]), false);
		_cleanup_secret_ char *plain = NULL;
		size_t len = 99;

		assert_string_equal(coded, pairs[i][1]);
		assert_int_equal(base64_decode(coded, &plain, &len), 0);
		assert_int_equal(len, strlen(pairs[i][0]));
		assert_string_equal(plain, pairs[i][0]);
	}
	_cleanup_secret_ char *url = base64_encode("~~\x7f?", 4, true);
	assert_string_equal(url, "fn5_Pw==");
}

static void test_base64_forms(void **state _unused_)
{
	static const char *const good[] = {"fn5_Pw==", "fn5_Pw", "fn5/Pw", "fn5/Pw=="};
	static const char *const bad[] = {"f", "fn5_P", "fn5_Pw=", "fn5_Pw===", "fn5 Pw==",   "fn5_Pw==x",
					  "=", "====",  "Zm9v=",   "Zm9v====",  "\xc3\xa4 =", "fn5_Pw==\n"};

	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		_cleanup_secret_ char *plain = NULL;

		assert_int_equal(base64_decode(good[i], &plain, NULL), 0);
		assert_string_equal(plain, "~~\x7f?");
	}
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		char *plain = (char *)"untouched";

		if (base64_decode(bad[i], &plain, NULL) != -EINVAL)
			fail_msg("accepted: %s", bad[i]);
		assert_string_equal(plain, "untouched");
	}
	_cleanup_secret_ char *nul = NULL;
	size_t len = 0;
	assert_int_equal(base64_decode("AAAA", &nul, &len), 0);
	assert_int_equal(len, 3);
}

static void test_realloc_keeps_the_bytes(void **state _unused_)
{
	char *p = secret_realloc(NULL, 4);

	assert_non_null(p);
	memcpy(p, "abc", 4);
	p = secret_realloc(p, 100000);
	assert_string_equal(p, "abc");
	p = secret_realloc(p, 2);
	assert_memory_equal(p, "ab", 2);
	p = secret_realloc(p, 0);
	assert_non_null(p);
	secret_free(p);
	secret_free(NULL);
}

/* What a wiping free() saw; jansson gives everything back through it. */
static size_t freed;

static void counting_free(void *p)
{
	freed++;
	secret_free(p);
}

static void test_json_goes_through_it(void **state _unused_)
{
	json_malloc_t m;
	json_free_t f;

	secret_wipe_json();
	json_get_alloc_funcs(&m, &f);
	assert_ptr_equal(f, secret_free);
	json_set_alloc_funcs(malloc, counting_free);
	json_decref(json_pack("{s:s}", "password", "geheim"));
	assert_true(freed > 1);
	secret_wipe_json();
}

static void test_no_core(void **state _unused_)
{
	pid_t pid = fork();

	if (pid == 0) {
		secret_process();
		_exit(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
	}
	int status = -1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_base64_known),
	    cmocka_unit_test(test_base64_forms),
	    cmocka_unit_test(test_realloc_keeps_the_bytes),
	    cmocka_unit_test(test_json_goes_through_it),
	    cmocka_unit_test(test_no_core),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
