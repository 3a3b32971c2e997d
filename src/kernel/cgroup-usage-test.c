/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's texts about usage, and the numbers of a cgroup that a test can make. */
#include "kernel/cgroup-usage.h"

#include "base/fd.h"
#include "base/str.h"
#include "base/test.h"

static CgroupUsage nothing(void)
{
	CgroupUsage u = {0};

	memset(&u, 0xff, offsetof(CgroupUsage, io));
	u.cpu_pressure = u.memory_pressure = u.io_pressure = (CgroupPressure){0};
	return u;
}

static void parse(CgroupUsage *u, bool unified, const char *file, const char *text)
{
	_cleanup_free_ char *copy = strdup(text);

	assert_non_null(copy);
	cgroup_usage_parse(file, copy, unified, u);
}

static void test_v2_texts(void **state _unused_)
{
	CgroupUsage u = nothing();

	parse(&u, true, "cpu.stat",
	      "usage_usec 5000001\nuser_usec 3\nsystem_usec 4\nnice_usec 9\nnr_periods 7\nnr_throttled 2\n"
	      "throttled_usec 11\nnr_bursts 0\n");
	parse(&u, true, "memory.current", "4096000\n");
	parse(&u, true, "memory.max", "max\n");
	parse(&u, true, "memory.stat",
	      "anon 100\nfile 200\nkernel 300\nkernel_stack 1\nfile_mapped 40\ninactive_anon 9\n"
	      "inactive_file 4000\nactive_file 60\npgfault 70\npgmajfault 8\n");
	parse(&u, true, "memory.swap.max", "1000\n");
	parse(&u, true, "memory.events", "low 0\nhigh 5\nmax 6\noom 1\noom_kill 1\n");
	parse(
	    &u, true, "io.stat",
	    "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n8:16 rbytes=7 wbytes=0 rios=1 wios=0\n");
	assert_int_equal(u.cpu_ns, 5000001000);
	assert_int_equal(u.cpu_user_ns, 3000);
	assert_int_equal(u.cpu_system_ns, 4000);
	assert_int_equal(u.cpu_periods, 7);
	assert_int_equal(u.cpu_throttled_periods, 2);
	assert_int_equal(u.cpu_throttled_ns, 11000);
	assert_true(u.memory_limit == CGROUP_UNKNOWN);
	assert_int_equal(u.anon, 100);
	assert_int_equal(u.file, 200);
	assert_int_equal(u.kernel, 300);
	assert_int_equal(u.mapped_file, 40);
	assert_int_equal(u.active_file, 60);
	assert_int_equal(u.page_faults, 70);
	assert_int_equal(u.major_page_faults, 8);
	assert_int_equal(u.swap_limit, 1000);
	assert_true(u.swap == CGROUP_UNKNOWN);
	assert_int_equal(u.memory_failures, 6);
	assert_int_equal(u.oom_kills, 1);
	assert_int_equal(cgroup_working_set(&u), 4092000);
	assert_int_equal(u.n_io, 2);
	assert_int_equal(u.io[0].major, 254);
	assert_int_equal(u.io[0].write_bytes, 2);
	assert_int_equal(u.io[0].reads, 3);
	assert_int_equal(u.io[1].minor, 16);
	assert_int_equal(u.io[1].read_bytes, 7);
	u.inactive_file = u.memory + 1;
	assert_int_equal(cgroup_working_set(&u), 0);
}

static void test_v1_texts(void **state _unused_)
{
	CgroupUsage u = nothing();

	parse(&u, false, "cpuacct.usage", "123456789\n");
	parse(&u, false, "memory.stat",
	      "cache 1\nrss 2\ninactive_file 3\ntotal_cache 10\ntotal_rss 20\ntotal_inactive_file 30\n"
	      "total_pgfault 40\ntotal_pgmajfault 50\ntotal_swap 60\ntotal_mapped_file 70\ntotal_active_file "
	      "80\n");
	parse(&u, false, "blkio.throttle.io_service_bytes_recursive",
	      "254:0 Read 1\n254:0 Write 2\n254:0 Sync 3\n254:0 Total 3\nTotal 3\n");
	parse(&u, false, "blkio.throttle.io_serviced_recursive", "254:0 Read 5\n254:0 Write 6\nTotal 11\n");
	assert_int_equal(u.cpu_ns, 123456789);
	assert_int_equal(u.anon, 20);
	assert_int_equal(u.file, 10);
	assert_int_equal(u.inactive_file, 30);
	assert_int_equal(u.page_faults, 40);
	assert_int_equal(u.major_page_faults, 50);
	assert_int_equal(u.swap, 60);
	assert_int_equal(u.mapped_file, 70);
	assert_int_equal(u.active_file, 80);
	assert_int_equal(u.n_io, 1);
	assert_int_equal(u.io[0].read_bytes, 1);
	assert_int_equal(u.io[0].write_bytes, 2);
	assert_int_equal(u.io[0].reads, 5);
	assert_int_equal(u.io[0].writes, 6);
}

static void test_pressure(void **state _unused_)
{
	CgroupUsage u = nothing();

	parse(&u, true, "cpu.pressure",
	      "some avg10=1.50 avg60=2.25 avg300=0.00 total=17\nfull avg10=0.00 avg60=0.50 avg300=0.00 "
	      "total=18\n");
	parse(&u, true, "io.pressure", "nonsense\nsome avg10=x\n");
	assert_true(u.cpu_pressure.known);
	assert_true(u.cpu_pressure.some.avg10 == 1.5 && u.cpu_pressure.some.avg60 == 2.25);
	assert_int_equal(u.cpu_pressure.some.total_us, 17);
	assert_true(u.cpu_pressure.full.avg60 == 0.5);
	assert_int_equal(u.cpu_pressure.full.total_us, 18);
	assert_false(u.io_pressure.known);
}

static void test_odd_texts(void **state _unused_)
{
	_cleanup_strbuf_ StrBuf b = {0};
	CgroupUsage u = nothing();

	parse(&u, true, "memory.current", "");
	parse(&u, true, "memory.max", "-1\n");
	parse(&u, true, "pids.current", "99999999999999999999999\n");
	parse(&u, true, "cpu.stat", "usage_usec\nusage_usecs 5\nuser_usec 18446744073709551615\n");
	assert_true(u.memory == CGROUP_UNKNOWN && u.memory_limit == CGROUP_UNKNOWN);
	assert_true(u.cpu_ns == CGROUP_UNKNOWN);
	assert_true(u.cpu_user_ns == CGROUP_UNKNOWN - 1);
	for (int i = 0; i < 40; i++)
		strbuf_addf(&b, "8:%d rbytes=1 wbytes=1 rios=1 wios=1\n", i);
	parse(&u, true, "io.stat", b.s);
	assert_int_equal(u.n_io, CGROUP_IO_DEVICES);
}

/* As root, on whatever this machine has. */
static void test_alive(void **state _unused_)
{
	_cleanup_(cgroup_done) Cgroup c = {0}, gone = {0};
	_cleanup_free_ char *path = strf("/ireko-usage-test-%d", (int)getpid());
	CgroupUsage u;
	Err e = {0};

	if (geteuid() != 0)
		skip();
	assert_int_equal(cgroup_resolve(path, &c, &e), 0);
	assert_int_equal(cgroup_usage(&c, CGROUP_USUAL, &u), -ENOENT);
	if (cgroup_create(&c, 0, &e) < 0)
		skip();
	assert_int_equal(cgroup_usage(&c, CGROUP_WITH_FILES, &u), 0);
	assert_int_equal(u.processes, 0);
	assert_int_equal(u.descriptors, 0);
	assert_int_equal(u.oom_kills, 0);
	assert_int_equal(u.cpu_ns, 0);
	assert_int_equal(cgroup_remove(&c, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_v2_texts), cmocka_unit_test(test_v1_texts),
	    cmocka_unit_test(test_pressure), cmocka_unit_test(test_odd_texts),
	    cmocka_unit_test(test_alive),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
