/* SPDX-License-Identifier: Apache-2.0 */
#include "dial.h"
#include "base/test.h"

static void good(const char *url)
{
	Err e = {0};

	if (dial_check_ssh(url, &e) < 0)
		fail_msg("%s: %s", url, e.msg);
}

static void bad(const char *url)
{
	Err e = {0};

	assert_true(dial_check_ssh(url, &e) < 0);
	assert_non_null(strstr(e.msg, "invalid address"));
	assert_non_null(strstr(e.msg, url));
}

static void test_ssh(void **state)
{
	good("ssh://host");
	good("ssh://user@host");
	good("ssh://user@host:22");
	good("ssh://[::1]:22/run/x.sock");
	good("ssh://host/");
	bad("ssh://");
	bad("ssh:///run/x.sock");
	bad("ssh://@host");
	bad("ssh://user:secret@host");
	bad("ssh://host:");
	bad("ssh://host:0");
	bad("ssh://host:70000");
	bad("ssh://host:22x");
	bad("ssh://ho st");
	bad("ssh://host?x");
	bad("ssh://host#x");
	bad("ssh://[::1");
	bad("ssh://[]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_ssh)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
