/* SPDX-License-Identifier: Apache-2.0 */
/* Words to flags: a later word wins, an "r" in front is recursive, what is none of ours is the filesystem's. */
#include "runtime/runtime-internal.h"

#include "base/str.h"
#include "base/test.h"

static MountOptions parse(const char *words)
{
	_cleanup_strv_ char **v = strv_split(words, ',');
	MountOptions o;
	Err e = {0};

	assert_int_equal(mount_options_parse(v, &o, &e), 0);
	return o;
}

static void test_attributes(void **state _unused_)
{
	MountOptions o = parse("ro,nosuid,nodev,noexec");

	assert_int_equal(o.set, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	assert_int_equal(o.clear, 0);
	assert_null(o.params);
	o = parse("ro,rw,suid,nosuid");
	assert_int_equal(o.set, MOUNT_ATTR_NOSUID);
	assert_int_equal(o.clear, MOUNT_ATTR_RDONLY);
}

static void test_access_times_are_one_field(void **state _unused_)
{
	MountOptions o = parse("noatime,strictatime");

	assert_int_equal(o.set, MOUNT_ATTR_STRICTATIME);
	assert_int_equal(o.clear, MOUNT_ATTR__ATIME);
	o = parse("strictatime,relatime");
	assert_int_equal(o.set, MOUNT_ATTR_RELATIME);
	assert_int_equal(o.clear, MOUNT_ATTR__ATIME);
}

static void test_recursion(void **state _unused_)
{
	MountOptions o = parse("rbind,rro,rnosuid,ro");

	assert_true(o.bind && o.recursive_bind);
	assert_int_equal(o.rec_set, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID);
	assert_int_equal(o.set, MOUNT_ATTR_RDONLY);
	o = parse("relatime");
	assert_int_equal(o.rec_clear, 0);
	o = parse("rrw");
	assert_int_equal(o.rec_clear, MOUNT_ATTR_RDONLY);
}

static void test_propagation(void **state _unused_)
{
	MountOptions o = parse("bind,rslave");

	assert_true(o.bind && !o.recursive_bind && o.propagation_recursive);
	assert_int_equal(o.propagation, MS_SLAVE);
	o = parse("shared");
	assert_true(o.propagation == MS_SHARED && !o.propagation_recursive);
}

static void test_params_are_kept(void **state _unused_)
{
	MountOptions o = parse("defaults,mode=755,tmpcopyup,,size=1m,newinstance");

	assert_true(o.copy_up);
	assert_int_equal(strv_len(o.params), 3);
	assert_string_equal(o.params[0], "mode=755");
	assert_string_equal(o.params[2], "newinstance");
	mount_options_done(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_attributes),      cmocka_unit_test(test_access_times_are_one_field),
	    cmocka_unit_test(test_recursion),       cmocka_unit_test(test_propagation),
	    cmocka_unit_test(test_params_are_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
