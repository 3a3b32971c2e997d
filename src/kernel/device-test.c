/* SPDX-License-Identifier: Apache-2.0 */
/* The BPF device filter: accepted by the kernel's verifier, and deciding as the rules say. Needs root and a cgroup v2 tree. */
#include "kernel/device.h"

#include "base/str.h"
#include "base/test.h"
#include "kernel/namespace.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

static char *make_group(void)
{
	static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
	struct statfs fs;

	for (size_t i = 0; geteuid() == 0 && i < ELEMENTSOF(roots); i++) {
		if (statfs(roots[i], &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC)
			continue;
		char *dir = strf("%s/ireko-device-%d", roots[i], getpid());

		assert_int_equal(mkdir(dir, 0755), 0);
		return dir;
	}
	return NULL;
}

/* Bits: 1 null readable, 2 null writable, 4 zero readable, 8 zero writable. */
static int reach(const char *dir)
{
	_cleanup_close_ int group = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	pid_t pid = namespace_fork(&(NamespaceFork){.cgroup_fd = group});
	int status;

	if (pid == 0)
		_exit((open("/dev/null", O_RDONLY) >= 0) | (open("/dev/null", O_WRONLY) >= 0) << 1 |
		      (open("/dev/zero", O_RDONLY) >= 0) << 2 | (open("/dev/zero", O_WRONLY) >= 0) << 3);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_rules_decide(void **state _unused_)
{
	const struct {
		CgroupDeviceRule rules[3];
		size_t n;
		int expected;
	} cases[] = {
	    {{{0}}, 0, 0},
	    {{{true, 'a', -1, -1, "rwm"}}, 1, 15},
	    {{{true, 'c', 1, 3, "r"}}, 1, 1},
	    {{{true, 'c', 1, 3, "rx"}}, 1, 1},
	    {{{true, 'c', 1, -1, "rw"}}, 1, 15},
	    {{{true, 'b', 1, -1, "rw"}}, 1, 0},
	    {{{true, 'a', -1, -1, "rwm"}, {false, 'c', 1, 5, "w"}}, 2, 7},
	    {{{true, 'c', 1, 5, "rw"}, {false, 'a', -1, -1, "rwm"}, {true, 'c', -1, 3, "w"}}, 3, 2},
	};
	_cleanup_free_ char *dir = make_group();
	Err e = {0};

	if (!dir)
		skip();
	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		assert_int_equal(device_apply_v2(dir, cases[i].rules, cases[i].n, &e), 0);
		assert_int_equal(reach(dir), cases[i].expected);
	}
	assert_int_equal(rmdir(dir), 0);
}

static void test_bad_rules_are_refused(void **state _unused_)
{
	const CgroupDeviceRule bad[] = {{true, 'x', 1, 3, "r"},
					{true, 'c', 1, 3, "x"},
					{true, 'c', 1, 3, ""}};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		Err e = {0};

		assert_true(device_apply_v2("/nonexistent", &bad[i], 1, &e) < 0);
		assert_int_equal(e.kind, ERR_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rules_decide),
	    cmocka_unit_test(test_bad_rules_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
