/* SPDX-License-Identifier: Apache-2.0 */
/* Names and places of units, and the properties that limits, device rules and annotations become. */
#include "kernel/cgroup-systemd.h"

#include "base/str.h"
#include "base/test.h"
#include "kernel/cgroup-internal.h"

static void check_expand(const char *slice, const char *want)
{
	_cleanup_free_ char *got = NULL;
	Err e = {0};
	int r = cgroup_slice_expand(slice, &got, &e);

	if (!want) {
		assert_true(r < 0);
		assert_int_equal(e.kind, ERR_INVALID);
		return;
	}
	assert_int_equal(r, 0);
	assert_string_equal(got, want);
}

static void test_slices(void **state _unused_)
{
	check_expand("system.slice", "/system.slice");
	check_expand("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice");
	check_expand("-.slice", "");
	check_expand("-", "");
	const char *bad[] = {"",           ".slice",    "a.scope",    "a",         "-a.slice", "a-.slice",
			     "a--b.slice", "a/b.slice", "a.slice/..", "a b.slice", "ä.slice"};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		check_expand(bad[i], NULL);
}

static void check_unit(const char *path, bool user, const char *name, const char *where)
{
	_cleanup_(cgroup_unit_done) CgroupUnit u = {0};
	_cleanup_free_ char *got = NULL;
	Err e = {0};

	assert_int_equal(cgroup_unit_parse(path, "id1", user, &u, &e), 0);
	assert_string_equal(u.name, name);
	assert_int_equal(cgroup_unit_path(&u, "/r", &got, &e), 0);
	assert_string_equal(got, where);
}

static void test_units(void **state _unused_)
{
	check_unit("", false, "ireko-id1.scope", "/r/system.slice/ireko-id1.scope");
	check_unit(NULL, true, "ireko-id1.scope", "/r/user.slice/ireko-id1.scope");
	check_unit("machine-x.slice:libpod:ab", false, "libpod-ab.scope",
		   "/r/machine.slice/machine-x.slice/libpod-ab.scope");
	check_unit(":docker:ab", false, "docker-ab.scope", "/r/system.slice/docker-ab.scope");
	check_unit("-:p:n", false, "p-n.scope", "/r/p-n.scope");
	check_unit("x.slice:ignored:a-b.slice", false, "a-b.slice", "/r/a.slice/a-b.slice");

	const char *bad[] = {"/a/b",       "a.slice:b",     "a.slice:b:c:d", "a:b:c",
			     "a.slice:b:", "a.slice:b:c/d", "a.slice:b:c d"};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		CgroupUnit u = {0};
		Err e = {0};

		assert_true(cgroup_unit_parse(bad[i], "id", false, &u, &e) < 0);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_non_null(strstr(e.msg, "lice") ? e.msg : strstr(e.msg, "cgroupsPath"));
	}
}

/* As compact JSON, without the versions. */
static char *text_of(json_t *list)
{
	size_t i;
	json_t *p;

	json_array_foreach (list, i, p) {
		json_array_remove(p, 3);
	}
	return json_text(list);
}

static void check_limits(CgroupLimits *l, bool unified, const char *want)
{
	_cleanup_json_ json_t *list = json_array();
	_cleanup_free_ char *got = NULL;
	Err e = {0};

	assert_int_equal(cgroup_unit_limits(l, unified, list, &e), 0);
	got = text_of(list);
	assert_string_equal(got, want);
}

static void test_limits_v2(void **state _unused_)
{
	CgroupLimits l = CGROUP_LIMITS_NONE;
	char *unified[] = {(char *)"memory.high=max", (char *)"cpu.max= 5000 10000", (char *)"pids.max=7",
			   (char *)"cpuset.cpus=8",   (char *)"memory.oom.group=1",  NULL};

	check_limits(&l, true, "[]");
	l.memory_limit = 1000;
	l.memory_swap = 1500;
	l.memory_reservation = 500;
	l.cpu_shares = 1024;
	l.pids_limit = -1;
	l.cpus = "0-2, 9";
	check_limits(&l, true,
		     "[[\"MemoryMax\",\"t\",1000],[\"MemoryLow\",\"t\",500],[\"MemorySwapMax\",\"t\",500],"
		     "[\"CPUWeight\",\"t\",100],[\"TasksMax\",\"t\",-1],[\"AllowedCPUs\",\"ay\",[7,2]]]");
	l = CGROUP_LIMITS_NONE;
	l.unified = unified;
	check_limits(
	    &l, true,
	    "[[\"MemoryHigh\",\"t\",-1],[\"CPUQuotaPeriodUSec\",\"t\",10000],"
	    "[\"CPUQuotaPerSecUSec\",\"t\",500000],[\"TasksMax\",\"t\",7],[\"AllowedCPUs\",\"ay\",[0,1]]]");
}

static void test_idle_takes_the_place_of_the_weight(void **state _unused_)
{
	CgroupLimits l = CGROUP_LIMITS_NONE;

	l.cpu_idle = 1;
	l.cpu_shares = 1024;
	check_limits(&l, true, "[[\"CPUWeight\",\"t\",0]]");
	l.cpu_idle = 0;
	check_limits(&l, true, "[[\"CPUWeight\",\"t\",100]]");
}

static void test_quota_is_rounded_up_to_one_percent(void **state _unused_)
{
	CgroupLimits l = CGROUP_LIMITS_NONE;

	l.cpu_quota = 12345;
	l.cpu_period = 100000;
	check_limits(&l, true,
		     "[[\"CPUQuotaPeriodUSec\",\"t\",100000],[\"CPUQuotaPerSecUSec\",\"t\",130000]]");
	assert_int_equal(l.cpu_quota, 13000);
	l.cpu_quota = -1;
	l.cpu_period = CGROUP_UNSET;
	check_limits(&l, true, "[[\"CPUQuotaPerSecUSec\",\"t\",-1]]");
	assert_int_equal(l.cpu_quota, -1);
}

static void test_limits_v1(void **state _unused_)
{
	CgroupLimits l = CGROUP_LIMITS_NONE;

	l.memory_limit = -1;
	l.memory_swap = 77;
	l.cpu_shares = 512;
	l.blkio_weight = 10;
	check_limits(&l, false,
		     "[[\"MemoryLimit\",\"t\",-1],[\"CPUShares\",\"t\",512],[\"BlockIOWeight\",\"t\",10]]");
}

static void test_limits_that_make_no_sense(void **state _unused_)
{
	const char *lists[] = {"0-", "3-1", "a", "0,,x", "99999", "-1", ""};
	char *unified[] = {(char *)"pids.max=many", NULL};
	CgroupLimits l = CGROUP_LIMITS_NONE;

	for (size_t i = 0; i < ELEMENTSOF(lists); i++) {
		_cleanup_json_ json_t *list = json_array();
		Err e = {0};

		l.cpus = lists[i];
		assert_int_equal(cgroup_unit_limits(&l, true, list, &e) < 0, *lists[i] != '\0');
	}
	_cleanup_json_ json_t *list = json_array();
	Err e = {0};

	l = CGROUP_LIMITS_NONE;
	l.unified = unified;
	assert_true(cgroup_unit_limits(&l, true, list, &e) < 0);
	assert_non_null(strstr(e.msg, "pids.max"));
	l = CGROUP_LIMITS_NONE;
	l.memory_limit = 100;
	l.memory_swap = 50;
	assert_true(cgroup_unit_limits(&l, true, list, &e) < 0);
}

static void test_devices(void **state _unused_)
{
	const CgroupDeviceRule rules[] = {{false, 'a', -1, -1, "rwm"}, {true, 'c', 1, 3, "rwm"},
					  {true, 'c', 136, -1, "rw"},  {true, 'b', -1, -1, "m"},
					  {true, 'c', -1, 5, "r"},     {true, 'a', 7, 1, "r"}};
	const CgroupDeviceRule all[] = {{true, 'a', -1, -1, "rwm"}};
	CgroupLimits l = CGROUP_LIMITS_NONE;
	_cleanup_json_ json_t *list = json_array(), *second = json_array(), *none = json_array();
	_cleanup_free_ char *got = NULL, *got_all = NULL;
	Err e = {0};

	assert_int_equal(cgroup_unit_devices(&l, none, &e), 0);
	assert_int_equal(json_array_size(none), 0);
	l.devices = rules;
	l.n_devices = ELEMENTSOF(rules);
	assert_int_equal(cgroup_unit_devices(&l, list, &e), 0);
	got = text_of(list);
	assert_string_equal(got,
			    "[[\"DeviceAllow\",\"a(ss)\",[]],[\"DevicePolicy\",\"s\",\"strict\"],"
			    "[\"DeviceAllow\",\"a(ss)\",[[\"/dev/char/1:3\",\"rwm\"],[\"char-136\",\"rw\"],"
			    "[\"block-*\",\"m\"],[\"/dev/char/7:1\",\"r\"],"
			    "[\"/dev/block/7:1\",\"r\"]]]]");
	l.devices = all;
	l.n_devices = 1;
	assert_int_equal(cgroup_unit_devices(&l, second, &e), 0);
	got_all = text_of(second);
	assert_string_equal(got_all, "[[\"DeviceAllow\",\"a(ss)\",[]],[\"DevicePolicy\",\"s\",\"auto\"]]");
}

static void check_value(const char *text, const char *signature, const char *want)
{
	_cleanup_json_ json_t *value = NULL;
	_cleanup_free_ char *got_signature = NULL, *got = NULL;
	Err e = {0};
	int r = cgroup_unit_value(text, &got_signature, &value, &e);

	if (!signature) {
		assert_true(r < 0);
		assert_int_equal(e.kind, ERR_INVALID);
		return;
	}
	assert_int_equal(r, 0);
	assert_string_equal(got_signature, signature);
	got = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	assert_string_equal(got, want);
}

static void test_values(void **state _unused_)
{
	check_value("uint64 123456789", "t", "123456789");
	check_value("uint64 18446744073709551615", "t", "-1");
	check_value("'inactive-or-failed'", "s", "\"inactive-or-failed\"");
	check_value(" \"a'b\\n\" ", "s", "\"a'b\\n\"");
	check_value("5", "i", "5");
	check_value("-0x10", "i", "-16");
	check_value("1.5", "d", "1.5");
	check_value("@d 2", "d", "2.0");
	check_value("true", "b", "true");
	check_value("boolean false", "b", "false");
	check_value("byte 255", "y", "255");
	check_value("b'ab'", "ay", "[97,98,0]");
	check_value("['a', 'b']", "as", "[\"a\",\"b\"]");
	check_value("[uint32 1, 2]", "au", "[1,2]");
	check_value("@as []", "as", "[]");
	check_value("[[1],[2,3]]", "aai", "[[1],[2,3]]");
	const char *bad[] = {"",
			     "[]",
			     "'x",
			     "byte 256",
			     "uint32 -1",
			     "int16 40000",
			     "nope",
			     "1 2",
			     "uint64",
			     "uint64 'a'",
			     "[1, 'a']",
			     "@",
			     "@as",
			     "[1",
			     "'a\\",
			     "@s 5",
			     "{'a': 1}",
			     "<1>",
			     "(1,2)",
			     "0x",
			     "1.5.5",
			     "[[[[[[1]]]]]]",
			     "99999999999999999999",
			     "true false",
			     "uint64 -",
			     "b'x"};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		check_value(bad[i], NULL, NULL);
}

static void test_annotations(void **state _unused_)
{
	char *notes[] = {(char *)"other=1", (char *)"org.systemd.property.TimeoutStopSec=uint16 3",
			 (char *)"org.systemd.property.CollectMode='inactive'",
			 (char *)"org.systemd.property.RuntimeMaxSec=1.5", NULL};
	char *bad[] = {(char *)"org.systemd.property.X=1", (char *)"org.systemd.property.a-b-c=1",
		       (char *)"org.systemd.property.CollectMode=inactive",
		       (char *)"org.systemd.property.StopSec='x'"};
	_cleanup_json_ json_t *list = json_array();
	_cleanup_free_ char *got = NULL;
	Err e = {0};

	assert_int_equal(cgroup_unit_annotations(NULL, list, &e), 0);
	assert_int_equal(cgroup_unit_annotations(notes, list, &e), 0);
	got = text_of(list);
	assert_string_equal(got, "[[\"TimeoutStopUSec\",\"t\",3000000],[\"CollectMode\",\"s\",\"inactive\"],"
				 "[\"RuntimeMaxUSec\",\"t\",1500000]]");
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		char *one[] = {bad[i], NULL};

		assert_true(cgroup_unit_annotations(one, list, &e) < 0);
		assert_non_null(strstr(e.msg, "annotations.org.systemd.property."));
	}
}

/* The values that runc 1.3 writes: both ends, the default, and some between. */
static void test_weight_of_shares(void **state _unused_)
{
	const struct {
		int64_t shares, weight;
	} cases[] = {{1, 1},         {2, 1},         {3, 2},          {10, 4},
		     {100, 17},      {512, 59},      {1024, 100},     {2048, 174},
		     {102400, 4429}, {200000, 7899}, {262144, 10000}, {1 << 30, 10000}};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++)
		assert_int_equal(cgroup_weight_of_shares(cases[i].shares), cases[i].weight);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_slices),
	    cmocka_unit_test(test_units),
	    cmocka_unit_test(test_limits_v2),
	    cmocka_unit_test(test_idle_takes_the_place_of_the_weight),
	    cmocka_unit_test(test_quota_is_rounded_up_to_one_percent),
	    cmocka_unit_test(test_limits_v1),
	    cmocka_unit_test(test_limits_that_make_no_sense),
	    cmocka_unit_test(test_devices),
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_annotations),
	    cmocka_unit_test(test_weight_of_shares),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
