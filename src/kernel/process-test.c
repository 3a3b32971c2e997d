/* SPDX-License-Identifier: Apache-2.0 */
/* Processes whose names try to look like something else, pids that have another owner, limits by name. */
#include "kernel/process.h"

#include "base/str.h"
#include "base/test.h"
#include "kernel/capability.h"
#include "kernel/namespace.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

static void test_stat_of_an_odd_name(void **state _unused_)
{
	ProcessStat before, after;

	assert_int_equal(process_stat(getpid(), &before), 0);
	assert_int_equal(prctl(PR_SET_NAME, ") Z 1 2 3 (", 0, 0, 0), 0);
	assert_int_equal(process_stat(getpid(), &after), 0);
	assert_true(before.start == after.start && after.start > 0);
	assert_int_equal(after.state, 'R');
	assert_int_equal(process_stat(0, &after), -ESRCH);
}

/* The start time still counts, for states that were written before the inode did. */
static void test_pidfd_is_checked(void **state _unused_)
{
	ProcessStat st;
	pid_t pid = fork();
	uint64_t identity;

	if (pid == 0) {
		pause();
		_exit(0);
	}
	_cleanup_close_ int own = process_pidfd(pid);
	assert_int_equal(process_stat(pid, &st), 0);
	assert_int_equal(process_identity(pid, own, &identity), 0);
	assert_true(identity > 0 && identity < INT64_MAX);
	const uint64_t good[] = {st.start, identity};
	const uint64_t bad[] = {st.start + 1, identity + 1, identity - 1, 0, identity ^ (1ULL << 62)};
	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		_cleanup_close_ int fd = process_pidfd_checked(pid, good[i]);
		assert_true(fd >= 0);
	}
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		assert_int_equal(process_pidfd_checked(pid, bad[i]), -ESRCH);
	assert_int_equal(process_signal(own, SIGKILL), 0);
	siginfo_t si;
	assert_int_equal(waitid(P_PIDFD, (id_t)own, &si, WEXITED | WNOWAIT), 0);
	for (size_t i = 0; i < ELEMENTSOF(good); i++) /* a zombie is no process any more */
		assert_int_equal(process_pidfd_checked(pid, good[i]), -ESRCH);
	assert_true(process_reap(pid) >= 0);
	assert_int_equal(process_signal(own, SIGKILL), -ESRCH);
}

/* Of two processes with one number the second is another. */
static void test_identity_is_not_of_the_number(void **state _unused_)
{
	uint64_t seen[2];

	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			pause();
			_exit(0);
		}
		_cleanup_close_ int fd = process_pidfd(pid);
		assert_int_equal(process_identity(pid, fd, &seen[i]), 0);
		process_kill_child(pid);
		/* Start times are of 10 ms. */
		usleep(20000);
	}
	assert_true(seen[0] != seen[1]);
}

static pid_t fork_pausing(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		pause();
		_exit(0);
	}
	return pid;
}

/* A process that takes hold of `victim`; it has when this returns. */
static pid_t fork_tracer(pid_t victim)
{
	int p[2];
	char c;

	assert_int_equal(pipe(p), 0);
	pid_t pid = fork();
	if (pid == 0) {
		c = ptrace(PTRACE_SEIZE, victim, 0, 0) == 0;
		(void)!write(p[1], &c, 1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(p[0], &c, 1), 1);
	assert_int_equal(c, 1);
	close(p[0]);
	close(p[1]);
	return pid;
}

static void test_reaping_has_an_end(void **state _unused_)
{
	pid_t pid = fork_pausing(), tracer;
	_cleanup_close_ int fd = process_pidfd(pid);

	assert_int_equal(process_reap_within(pid, fd, 20), -ETIMEDOUT);
	assert_int_equal(process_reap_within(pid, -1, 20), -ETIMEDOUT);
	tracer = fork_tracer(pid);
	assert_int_equal(process_signal(fd, SIGKILL), 0);
	/* It has ended, but not for us. */
	assert_int_equal(process_reap_within(pid, fd, 100), -ETIMEDOUT);
	process_kill_child(tracer);
	int status = process_reap_within(pid, fd, 10000);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(process_reap_within(pid, fd, 20), -ECHILD);
}

static void test_rlimits(void **state _unused_)
{
	Err e = {0};

	assert_int_equal(process_rlimit_by_name("RLIMIT_NOFILE"), RLIMIT_NOFILE);
	assert_int_equal(process_rlimit_by_name("NOFILE"), -1);
	assert_true(process_set_rlimit(0, "RLIMIT_X", 1, 1, &e) < 0);
	assert_true(process_set_rlimit(0, "RLIMIT_CORE", 2, 1, &e) < 0);
	assert_non_null(strstr(e.msg, "RLIMIT_CORE"));
	assert_int_equal(process_set_rlimit(0, "RLIMIT_CORE", 0, 0, &e), 0);
}

static void test_capability_names(void **state _unused_)
{
	char *good[] = {(char *)"CAP_CHOWN", (char *)"cap_kill", NULL}, *bad[] = {(char *)"CAP_NO", NULL};
	_cleanup_strv_ char **unknown = NULL;
	uint64_t mask = 0;

	assert_int_equal(capability_by_name("CAP_CHECKPOINT_RESTORE"), 40);
	assert_int_equal(capability_by_name("net_raw"), 13);
	assert_int_equal(capability_by_name("CAP_"), -1);
	assert_int_equal(capability_mask(good, &mask, &unknown), 0);
	assert_int_equal(mask, 0x21);
	assert_int_equal(capability_available(0), 0);
	assert_int_equal(capability_available(1ULL << 63), 0);
	assert_int_equal(capability_available(mask) & ~mask, 0);
	assert_int_equal(capability_mask(bad, &mask, &unknown), 0);
	assert_int_equal(capability_mask(bad, &mask, &unknown), 0);
	assert_true(mask == 0 && strv_has(unknown, "CAP_NO"));
	assert_string_equal(capability_name(0), "CAP_CHOWN");
	assert_null(capability_name(64));
}

static void test_namespace_names(void **state _unused_)
{
	assert_int_equal(namespace_flag("network"), CLONE_NEWNET);
	assert_int_equal(namespace_flag("net"), 0);
	assert_string_equal(namespace_file(CLONE_NEWNS), "mnt");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_stat_of_an_odd_name),
	    cmocka_unit_test(test_pidfd_is_checked),
	    cmocka_unit_test(test_identity_is_not_of_the_number),
	    cmocka_unit_test(test_reaping_has_an_end),
	    cmocka_unit_test(test_rlimits),
	    cmocka_unit_test(test_capability_names),
	    cmocka_unit_test(test_namespace_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
