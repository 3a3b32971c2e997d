/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/security-opt.h"

#include "base/str.h"
#include "base/test.h"

static int parse(const char *a, const char *b, SecurityOptions *o, Err *e)
{
	char *const v[] = {(char *)(uintptr_t)a, (char *)(uintptr_t)b, NULL};

	*o = (SecurityOptions){0};
	*e = (Err){0};
	return security_options_parse(v, o, e);
}

static void both_separators(void **state)
{
	SecurityOptions o;
	Err e;

	assert_int_equal(parse("seccomp=unconfined", "no-new-privileges", &o, &e), 0);
	assert_string_equal(o.seccomp, "unconfined");
	assert_true(o.no_new_privileges);
	assert_int_equal(parse("seccomp:unconfined", "no-new-privileges:true", &o, &e), 0);
	assert_string_equal(o.seccomp, "unconfined");
	assert_true(o.no_new_privileges);
	assert_int_equal(parse("no-new-privileges=0", "apparmor:unconfined", &o, &e), 0);
	assert_false(o.no_new_privileges);
	assert_string_equal(o.apparmor, "unconfined");
	assert_int_equal(parse("seccomp={\"a\":\"b=c\"}", "label=disable", &o, &e), 0);
	assert_string_equal(o.seccomp, "{\"a\":\"b=c\"}");
	assert_int_equal(parse("seccomp=builtin", NULL, &o, &e), 0);
	assert_null(o.seccomp);
	assert_int_equal(security_options_parse(NULL, &o, &e), 0);
}

static void refused_in_dockerds_words(void **state)
{
	static const char *const wrong[][2] = {
	    {"nonsense", "invalid --security-opt 1: \"nonsense\""},
	    {"", "invalid --security-opt 1: \"\""},
	    {"what=ever", "invalid --security-opt 2: \"what=ever\""},
	    {"no-new-privileges=perhaps", "invalid --security-opt value for no-new-privileges: \"perhaps\""},
	    {"seccompx=unconfined", "invalid --security-opt 2: \"seccompx=unconfined\""},
	};
	SecurityOptions o;
	Err e;

	for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
		assert_int_equal(parse(wrong[i][0], NULL, &o, &e), -EINVAL);
		assert_string_equal(e.msg, wrong[i][1]);
	}
	assert_true(parse("label=what", NULL, &o, &e) < 0);
	assert_true(parse("apparmor=", NULL, &o, &e) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(both_separators),
	    cmocka_unit_test(refused_in_dockerds_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
