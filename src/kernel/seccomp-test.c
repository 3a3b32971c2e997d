/* SPDX-License-Identifier: Apache-2.0 */
/* A policy compiled, and what a process under it may do. */
#include "kernel/seccomp.h"

#include "base/test.h"

#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static char *const mkdirs[] = {(char *)"mkdir", (char *)"mkdirat", (char *)"no_such_call_of_any_kernel",
			       NULL};

/* Runs `attempt` in a child under the policy; its exit status. */
static int under_one(const SeccompPolicy *policy, int (*attempt)(void))
{
	SeccompProgram p = {0};
	Err e = {0};
	int status;
	pid_t pid;

	if (seccomp_compile(policy, &p, &e) < 0)
		fail_msg("%s", e.msg);
	pid = fork();
	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    seccomp_install(&p, 0, false, NULL, NULL) < 0)
			_exit(100);
		/* Not _exit(): what the sanitizers do there is not allowed by all filters. */
		syscall(SYS_exit_group, attempt());
	}
	seccomp_program_done(&p);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The program that is made quickly and the one that is quick are the same to a process. */
static int under(const SeccompPolicy *policy, int (*attempt)(void))
{
	SeccompPolicy kept = *policy;
	int status = under_one(policy, attempt);

	kept.kept = true;
	assert_int_equal(under_one(&kept, attempt), status);
	return status;
}

static int make_a_directory(void)
{
	return mkdir("/nonexistent/x", 0700) < 0 ? errno : 0;
}

static int set_a_priority_name(void)
{
	/* prctl(PR_SET_NAME) is option 15, prctl(PR_GET_DUMPABLE) 3. */
	char name[16] = "x";

	return (prctl(PR_SET_NAME, name, 0, 0, 0) < 0 ? 1 : 0) |
	       (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) < 0 ? 2 : 0);
}

static void test_errno_and_unknown_names(void **state _unused_)
{
	SeccompRule rule = {.names = mkdirs, .action = "SCMP_ACT_ERRNO", .errno_ret = 95};
	SeccompPolicy p = {.default_action = "SCMP_ACT_ALLOW",
			   .default_errno_ret = -1,
			   .rules = &rule,
			   .n_rules = 1};

	assert_int_equal(under(&p, make_a_directory), 95);
	rule.errno_ret = -1;
	assert_int_equal(under(&p, make_a_directory), EPERM);
	rule.action = "SCMP_ACT_ALLOW"; /* says what the default says */
	assert_int_equal(under(&p, make_a_directory), ENOENT);
}

static void test_conditions(void **state _unused_)
{
	char *const names[] = {(char *)"prctl", NULL};
	SeccompArg args[] = {{.index = 0, .value = PR_SET_NAME, .op = "SCMP_CMP_EQ"},
			     {.index = 0, .value = PR_GET_DUMPABLE, .op = "SCMP_CMP_EQ"}};
	SeccompRule rule = {
	    .names = names, .action = "SCMP_ACT_ERRNO", .errno_ret = 1, .args = args, .n_args = 1};
	SeccompPolicy p = {.default_action = "SCMP_ACT_ALLOW",
			   .default_errno_ret = -1,
			   .rules = &rule,
			   .n_rules = 1};

	assert_int_equal(under(&p, set_a_priority_name), 1);
	rule.n_args = 2; /* two on one argument: either */
	assert_int_equal(under(&p, set_a_priority_name), 3);
}

static int call_a_future_number(void)
{
	return syscall(1000) < 0 ? errno : 0;
}

/* What the profile's author could not know fails as on an old kernel; what he left out is refused. */
static void test_new_calls_are_unknown(void **state _unused_)
{
	char *const names[] = {(char *)"exit_group", (char *)"write", NULL};
	char *const arches[] = {(char *)"SCMP_ARCH_X86", (char *)"SCMP_ARCH_X32", NULL};
	SeccompRule rule = {.names = names, .action = "SCMP_ACT_ALLOW", .errno_ret = -1};
	SeccompPolicy p = {.default_action = "SCMP_ACT_ERRNO",
			   .default_errno_ret = -1,
			   .rules = &rule,
			   .n_rules = 1};

	assert_int_equal(under(&p, call_a_future_number), ENOSYS);
	assert_int_equal(under(&p, make_a_directory), EPERM);
	p.architectures = arches;
	assert_int_equal(under(&p, call_a_future_number), ENOSYS);
	assert_int_equal(under(&p, make_a_directory), EPERM);
	p.default_action = "SCMP_ACT_ALLOW";
	rule.action = "SCMP_ACT_LOG";
	assert_int_equal(under(&p, make_a_directory), ENOENT);
}

static void test_names(void **state _unused_)
{
	assert_string_equal(seccomp_name(SECCOMP_ACTIONS, 0), "SCMP_ACT_ERRNO");
	assert_string_equal(seccomp_name(SECCOMP_ACTIONS, 2), "SCMP_ACT_KILL");
	assert_null(seccomp_name(SECCOMP_ARCHITECTURES, 1000));
	assert_true(seccomp_flag_works("SECCOMP_FILTER_FLAG_LOG"));
	assert_false(seccomp_flag_works("SECCOMP_FILTER_FLAG_MAGIC"));
}

static void test_refusals(void **state _unused_)
{
	SeccompArg arg = {.index = 7, .op = "SCMP_CMP_EQ"};
	SeccompRule rule = {
	    .names = mkdirs, .action = "SCMP_ACT_ERRNO", .errno_ret = 1, .args = &arg, .n_args = 1};
	SeccompPolicy p = {.default_action = "SCMP_ACT_ALLOW",
			   .default_errno_ret = -1,
			   .rules = &rule,
			   .n_rules = 1};
	char *const bad_arch[] = {(char *)"SCMP_ARCH_PDP11", NULL};
	SeccompProgram out = {0};
	unsigned flags;
	Err e = {0};

	assert_true(seccomp_compile(&p, &out, &e) < 0);
	arg = (SeccompArg){.index = 0, .op = "SCMP_CMP_NEARLY"};
	assert_true(seccomp_compile(&p, &out, &e) < 0);
	assert_non_null(strstr(e.msg, "SCMP_CMP_NEARLY"));
	p = (SeccompPolicy){.default_action = "SCMP_ACT_DANCE"};
	assert_true(seccomp_compile(&p, &out, &e) < 0);
	p = (SeccompPolicy){.default_action = "SCMP_ACT_ALLOW", .architectures = bad_arch};
	assert_true(seccomp_compile(&p, &out, &e) < 0);
	assert_true(seccomp_flags(bad_arch, &flags, &e) < 0);
	assert_true(seccomp_install(&out, 0, false, NULL, &e) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_errno_and_unknown_names),
	    cmocka_unit_test(test_conditions),
	    cmocka_unit_test(test_new_calls_are_unknown),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
