/* SPDX-License-Identifier: Apache-2.0 */
/* Words to numbers, and wrong words to errors that say what is possible; what may be set without privilege is set and read back. */
#include "kernel/scheduling.h"

#include "base/str.h"
#include "base/test.h"

#include <linux/ioprio.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/syscall.h>

static void test_policies(void **state _unused_)
{
	char *const flags[] = {(char *)"SCHED_FLAG_RESET_ON_FORK", NULL}, *const wrong[] = {(char *)"X",
											    NULL};
	SchedulingWords w = {.policy = "SCHED_FIFO", .priority = 5, .flags = flags};
	SchedulingAttr a;
	Err e = {0};

	assert_int_equal(scheduling_parse(&w, &a, &e), 0);
	assert_true(a.policy == SCHED_FIFO && a.priority == 5 && a.flags == 1 && a.size == sizeof(a));
	w.flags = wrong;
	assert_true(scheduling_parse(&w, &a, &e) < 0);
	assert_non_null(strstr(e.msg, "scheduler.flags: unknown \"X\""));
	w = (SchedulingWords){.policy = "SCHED_OTHER", .priority = 5};
	assert_true(scheduling_parse(&w, &a, &e) < 0);
	w = (SchedulingWords){.policy = "SCHED_OTHER", .nice = 20};
	assert_true(scheduling_parse(&w, &a, &e) < 0);
	assert_non_null(strstr(e.msg, "scheduler.nice: 20"));
	w = (SchedulingWords){.policy = "SCHED_BATCH", .runtime = 1};
	assert_true(scheduling_parse(&w, &a, &e) < 0);
	w = (SchedulingWords){.policy = "sched_other"};
	assert_true(scheduling_parse(&w, &a, &e) < 0);
	assert_non_null(strstr(e.msg, "SCHED_DEADLINE"));
}

static void test_policy_is_set(void **state _unused_)
{
	SchedulingWords w = {.policy = "SCHED_BATCH"};
	SchedulingAttr a;
	Err e = {0};

	assert_int_equal(scheduling_parse(&w, &a, &e), 0);
	assert_int_equal(scheduling_set(0, &a, &e), 0);
	assert_int_equal(sched_getscheduler(0), SCHED_BATCH);
}

static void test_io_priority(void **state _unused_)
{
	Err e = {0};
	int n;

	assert_int_equal(scheduling_parse_io("IOPRIO_CLASS_BE", 3, &n, &e), 0);
	assert_int_equal(scheduling_set_io(0, n, &e), 0);
	assert_int_equal(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0), n);
	assert_true(scheduling_parse_io("IOPRIO_CLASS_BE", 8, &n, &e) < 0);
	assert_true(scheduling_parse_io("BE", 3, &n, &e) < 0);
}

static void test_sets(void **state _unused_)
{
	const char *good[] = {"0", "0-3", "1,3-4,8191"},
		   *bad[] = {"", ",", "1,", "3-1", "a", "8192", "1-", "-1", "1;2", "99999999999999999999999"};
	SchedulingSet s;
	Err e = {0};

	for (size_t i = 0; i < ELEMENTSOF(good); i++)
		assert_int_equal(scheduling_parse_set(good[i], "x", &s, &e), 0);
	assert_int_equal(s.n, 8192);
	assert_true(s.bits[0] == (1u << 1 | 1u << 3 | 1u << 4));
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		assert_true(scheduling_parse_set(bad[i], "x", &s, &e) < 0);
}

static void test_affinity(void **state _unused_)
{
	SchedulingSet s;
	cpu_set_t got;
	Err e = {0};

	assert_int_equal(scheduling_parse_set("0", "x", &s, &e), 0);
	assert_int_equal(scheduling_set_affinity(0, &s, &e), 0);
	assert_int_equal(sched_getaffinity(0, sizeof(got), &got), 0);
	assert_true(CPU_COUNT(&got) == 1 && CPU_ISSET(0, &got));
	scheduling_reset_affinity(0);
	assert_int_equal(sched_getaffinity(0, sizeof(got), &got), 0);
	assert_int_equal(CPU_COUNT(&got), sysconf(_SC_NPROCESSORS_ONLN));
	assert_int_equal(scheduling_parse_set("8191", "x", &s, &e), 0);
	assert_true(scheduling_set_affinity(0, &s, &e) < 0);
}

static void test_memory_and_domain(void **state _unused_)
{
	char *const flags[] = {(char *)"MPOL_F_STATIC_NODES", NULL};
	SchedulingMemory m;
	unsigned long domain;
	Err e = {0};

	assert_int_equal(scheduling_parse_memory("MPOL_BIND", flags, "0-1", &m, &e), 0);
	assert_true(m.mode == (2 | 1 << 15) && m.nodes.n == 2);
	assert_true(scheduling_parse_memory("BIND", NULL, "0", &m, &e) < 0);
	assert_true(scheduling_parse_memory("MPOL_BIND", NULL, "x", &m, &e) < 0);
	assert_non_null(strstr(e.msg, "memoryPolicy.nodes"));
	assert_int_equal(scheduling_parse_domain("LINUX32", &domain, &e), 0);
	assert_int_equal(domain, PER_LINUX32);
	assert_true(scheduling_parse_domain("BSD", &domain, &e) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_policies),    cmocka_unit_test(test_policy_is_set),
	    cmocka_unit_test(test_io_priority), cmocka_unit_test(test_sets),
	    cmocka_unit_test(test_affinity),    cmocka_unit_test(test_memory_and_domain),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
