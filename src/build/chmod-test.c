/* SPDX-License-Identifier: Apache-2.0 */
#include "build/chmod.h"
#include "base/test.h"

static void becomes(const char *text, mode_t before, mode_t after)
{
	ModeChange c;
	Err e = {0};
	mode_t got;

	if (mode_change_parse(text, &c, &e) < 0)
		fail_msg("%s: %s", text, e.msg);
	got = mode_change_apply(&c, before);
	if (got != after)
		fail_msg("%s of %o gave %o, not %o", text, before, got, after);
}

static void octal(void **state)
{
	becomes("0755", S_IFREG | 0600, 0755);
	becomes("644", S_IFDIR | 0700, 0644);
	becomes("4755", S_IFREG | 0600, 04755);
	becomes("07777", S_IFREG, 07777);
	becomes("0", S_IFREG | 0777, 0);
}

static void symbolic(void **state)
{
	becomes("u+x", S_IFREG | 0644, 0744);
	becomes("+x", S_IFREG | 0644, 0755);
	becomes("+w", S_IFREG | 0444, 0644);
	becomes("a+w", S_IFREG | 0444, 0666);
	becomes("a=rX", S_IFREG | 0600, 0444);
	becomes("a=rX", S_IFREG | 0700, 0555);
	becomes("a=rX", S_IFDIR | 0600, 0555);
	becomes("u=rwX,go=rX", S_IFDIR | 0700, 0755);
	becomes("u=rwX,go=rX", S_IFREG | 0600, 0644);
	becomes("go-rwx", S_IFREG | 0777, 0700);
	becomes("g=u", S_IFREG | 0750, 0770);
	becomes("o=g-w", S_IFREG | 0770, 0775);
	becomes("u+s,g+s", S_IFREG | 0755, 06755);
	becomes("o+s", S_IFREG | 0755, 0755);
	becomes("+t", S_IFDIR | 0777, 01777);
	becomes("u-s", S_IFREG | 04755, 0755);
	becomes("u=rw", S_IFDIR | 01777, 01677);
	becomes("u=", S_IFREG | 0755, 0055);
	becomes("u+r+w-x", S_IFREG | 0100, 0600);
}

static void refused(void **state)
{
	static const char *const bad[] = {"",      "08",    "10000", "99999999999999999999",
					  "0x1ff", "x",     "u",     "u+q",
					  "u+x,",  ",u+x",  "u*x",   "ug",
					  "u+ug",  "u+x g", "7 7",   "rwxr-xr-x",
					  "-rwx,"};
	char many[200] = "";
	ModeChange c;
	Err e = {0};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		if (mode_change_parse(bad[i], &c, &e) >= 0)
			fail_msg("\"%s\" was taken", bad[i]);
		assert_true(strncmp(e.msg, "invalid chmod parameter: '", 26) == 0);
	}
	for (size_t i = 0; i < MODE_STEPS_MAX + 1; i++)
		strcat(many, i ? ",u+x" : "u+x");
	assert_true(mode_change_parse(many, &c, &e) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(octal),
	    cmocka_unit_test(symbolic),
	    cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
