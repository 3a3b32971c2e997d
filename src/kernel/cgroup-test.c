/* SPDX-License-Identifier: Apache-2.0 */
/* Paths and names of cgroups as text; and, as root on a machine that has them, one cgroup's whole life. */
#include "kernel/cgroup.h"

#include "base/fd.h"
#include "base/str.h"
#include "base/test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void test_text_round_trip(void **state _unused_)
{
	char *v[] = {(char *)"cpu,cpuacct%/sys/fs/cgroup/cpu,cpuacct/a",
		     (char *)"name=systemd%/sys/fs/cgroup/systemd/a=b%c", (char *)"%/sys/fs/cgroup/unified/a",
		     NULL};
	_cleanup_(cgroup_done) Cgroup c = {0};
	Err e = {0};

	assert_int_equal(cgroup_from_strv(v, &c, &e), 0);
	assert_false(cgroup_is_unified(&c));
	assert_string_equal(cgroup_dir(&c, "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct/a");
	assert_string_equal(cgroup_dir(&c, "cpu"), "/sys/fs/cgroup/cpu,cpuacct/a");
	assert_null(cgroup_dir(&c, "cp"));
	assert_null(cgroup_dir(&c, "memory"));
	assert_string_equal(cgroup_dir(&c, "name=systemd"), "/sys/fs/cgroup/systemd/a=b%c");

	_cleanup_strv_ char **back = cgroup_to_strv(&c);
	for (size_t i = 0; v[i]; i++)
		assert_string_equal(back[i], v[i]);
}

static void test_unified_alone(void **state _unused_)
{
	char *v[] = {(char *)"%/sys/fs/cgroup/a", NULL}, *bad[] = {(char *)"memory", NULL};
	_cleanup_(cgroup_done) Cgroup c = {0};
	Err e = {0};

	assert_int_equal(cgroup_from_strv(v, &c, &e), 0);
	assert_true(cgroup_is_unified(&c));
	assert_string_equal(cgroup_dir(&c, "memory"), "/sys/fs/cgroup/a");
	assert_true(cgroup_from_strv(bad, &c, &e) < 0);
}

static void test_paths_that_name_no_own_cgroup(void **state _unused_)
{
	const char *bad[] = {"", "/", ".", "..", "/..", "a/../..", "/a/../b", "//", "/./"};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		Cgroup c = {0};
		Err e = {0};

		assert_true(cgroup_resolve(bad[i], &c, &e) < 0);
		assert_int_equal(e.kind, ERR_INVALID);
	}
}

static void make_sub(const Cgroup *c)
{
	for (size_t i = 0; i < c->n; i++) {
		_cleanup_free_ char *dir = strf("%s/sub", c->dirs[i].path);

		if (streq(c->dirs[i].name, "devices") || cgroup_is_unified(c))
			assert_int_equal(mkdir(dir, 0755), 0);
	}
}

static void test_life(void **state _unused_)
{
	CgroupDeviceRule rules[] = {{true, 'c', 1, 3, "rw"}};
	CgroupLimits l = CGROUP_LIMITS_NONE;
	_cleanup_(cgroup_done) Cgroup c = {0};
	_cleanup_free_ char *path = strf("/ireko-unit-%d", getpid());
	CgroupSeat seat;
	Err e = {0};
	size_t n = 0;
	pid_t *pids = NULL;
	char *bad_sub[] = {(char *)"a/../..", NULL}, *missing_sub[] = {(char *)"missing", NULL},
	     *bad_controller[] = {(char *)"whaaat:/", NULL}, *sub[] = {NULL, NULL};

	if (geteuid() != 0)
		skip();
	if (cgroup_resolve(path, &c, &e) < 0)
		skip();
	sub[0] = cgroup_is_unified(&c) ? (char *)"sub" : (char *)"devices:sub";
	assert_int_equal(cgroup_create(&c, 0, &e), 0);
	l.devices = rules;
	l.n_devices = 1;
	l.pids_limit = 100;
	assert_int_equal(cgroup_apply(&c, &l, &e), 0);
	assert_true(cgroup_seat_open(&c, bad_sub, &seat, &e) < 0);
	assert_non_null(strstr(e.msg, "not a sub cgroup path"));
	assert_int_equal(cgroup_seat_open(&c, missing_sub, &seat, &e), -ENOENT);
	if (!cgroup_is_unified(&c)) {
		assert_true(cgroup_seat_open(&c, bad_controller, &seat, &e) < 0);
		assert_non_null(strstr(e.msg, "unknown controller"));
	}
	make_sub(&c);
	assert_int_equal(cgroup_seat_open(&c, sub, &seat, &e), 0);

	pid_t pid = fork();
	if (pid == 0) {
		/* /dev/null stays open to it, /dev/zero does not. A unified tree would have taken it at its birth. */
		int r = cgroup_seat_take(&seat, NULL);
		bool null_open = open("/dev/null", O_RDWR) >= 0, zero_open = open("/dev/zero", O_RDONLY) >= 0;

		if (cgroup_is_unified(&c))
			zero_open = false;
		_exit(r < 0 || !null_open || zero_open);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	cgroup_seat_done(&seat);
	assert_int_equal(cgroup_freeze(&c, true, &e), 0);
	assert_true(cgroup_is_frozen(&c));
	assert_int_equal(cgroup_freeze(&c, false, &e), 0);
	assert_int_equal(cgroup_pids(&c, &pids, &n, &e), 0);
	assert_int_equal(n, 0);
	free(pids);
	assert_int_equal(cgroup_signal(&c, SIGKILL, &e), 0);
	assert_int_equal(cgroup_remove(&c, &e), 0);
	for (size_t i = 0; i < c.n; i++)
		assert_int_equal(access(c.dirs[i].path, F_OK), -1);
}

static void assert_reads(const char *dir, const char *file, const char *want)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, file), *text = NULL;

	assert_int_equal(file_read_at(AT_FDCWD, path, 4096, &text, NULL), 0);
	assert_string_equal(text, want);
}

static void set(const char *dir, const char *file, const char *value)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, file);

	assert_int_equal(file_write_at(AT_FDCWD, path, value), 0);
}

static void make_inner(const char *path, const char *outer_dir, const char *cpus)
{
	_cleanup_(cgroup_done) Cgroup c = {0};
	Err e = {0};

	assert_int_equal(cgroup_resolve(path, &c, &e), 0);
	assert_int_equal(cgroup_create(&c, 0, &e), 0);
	assert_reads(cgroup_dir(&c, "cpuset"), "cpuset.cpus", cpus);
	assert_reads(outer_dir, "cpuset.cpus", cpus);
	assert_int_equal(cgroup_remove(&c, &e), 0);
}

/* Whether the kernel gives it to the new one or we do; and nothing about the parent has changed afterwards. */
static void test_cpuset_has_what_its_parent_has(void **state _unused_)
{
	_cleanup_(cgroup_done) Cgroup c = {0};
	_cleanup_free_ char *outer = strf("/ireko-unit-cpuset-%d", getpid()),
			    *inner = strf("%s/inner", outer);
	const char *dir;
	Err e = {0};

	if (geteuid() != 0 || cgroup_resolve(outer, &c, &e) < 0 || cgroup_is_unified(&c) ||
	    !cgroup_dir(&c, "cpuset"))
		skip();
	assert_int_equal(cgroup_create(&c, 0, &e), 0);
	dir = cgroup_dir(&c, "cpuset");
	set(dir, "cpuset.cpus", "0");
	for (int flag = 0; flag < 2; flag++) {
		set(dir, "cgroup.clone_children", flag ? "1" : "0");
		make_inner(inner, dir, "0\n");
		assert_reads(dir, "cgroup.clone_children", flag ? "1\n" : "0\n");
	}
	assert_int_equal(cgroup_remove(&c, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_text_round_trip),
	    cmocka_unit_test(test_unified_alone),
	    cmocka_unit_test(test_paths_that_name_no_own_cgroup),
	    cmocka_unit_test(test_life),
	    cmocka_unit_test(test_cpuset_has_what_its_parent_has),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
