/* SPDX-License-Identifier: Apache-2.0 */
/* What can be tried without a container: finding commands, the filter cache, ids, sysctl names, exec errors, hooks. */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "base/test.h"
#include "kernel/namespace.h"

#include <dirent.h>
#include <sys/stat.h>

static char top[64];

static int make_top(void **state _unused_)
{
	strcpy(top, "/tmp/runtime-test-XXXXXX");
	return mkdtemp(top) ? 0 : -1;
}

static int remove_top(void **state _unused_)
{
	return remove_tree_at(AT_FDCWD, top);
}

static void put(const char *name, const char *text, mode_t mode)
{
	_cleanup_free_ char *path = strf("%s/%s", top, name);

	assert_int_equal(file_replace_at(AT_FDCWD, path, text, strlen(text), mode, false), 0);
}

static ErrKind find(const char *file, const char *search, char **ret)
{
	_cleanup_free_ char *path = strf("PATH=%s", search);
	char *const env[] = {path, NULL};
	Err e = {0};

	return command_find(file, env, ret, &e) == 0 ? ERR_KIND_MAX : e.kind;
}

static void test_commands_are_found_in_order(void **state _unused_)
{
	_cleanup_free_ char *a = strf("%s/a", top), *b = strf("%s/b", top), *both = strf("%s:%s", a, b),
			    *found = NULL;
	_cleanup_free_ char *direct = strf("%s/b/run", top), *again = NULL, *missing = strf("%s/b/no", top);

	assert_int_equal(mkdir(a, 0755) | mkdir(b, 0755), 0);
	put("a/run", "x", 0644);
	put("b/run", "x", 0755);
	put("a/plain", "x", 0644);
	assert_int_equal(find("run", both, &found),
			 ERR_KIND_MAX); /* what cannot be executed is passed over */
	assert_string_equal(found, direct);
	assert_int_equal(find(direct, "", &again), ERR_KIND_MAX);
	assert_int_equal(find("plain", both, NULL), ERR_NOT_RUNNABLE);
	assert_int_equal(find("nothing", both, NULL), ERR_NO_COMMAND);
	assert_int_equal(find("nothing", "", NULL), ERR_NO_COMMAND);
	assert_int_equal(find(missing, both, NULL), ERR_NO_COMMAND);
	assert_int_equal(find(a, both, NULL), ERR_NOT_RUNNABLE);
}

static void test_exec_errors_have_dockers_kinds(void **state _unused_)
{
	Err e = {0};

	assert_true(command_exec_failed("/x", ENOENT, &e) < 0);
	assert_int_equal(command_exit_status(&e), 127);
	assert_true(command_exec_failed("/x", EACCES, &e) < 0);
	assert_int_equal(command_exit_status(&e), 126);
	assert_string_equal(e.msg, "exec /x: permission denied");
	assert_true(command_exec_failed("/x", ENOEXEC, &e) < 0);
	assert_int_equal(command_exit_status(&e), 126);
}

static size_t count_files(const char *dir)
{
	DIR *d = opendir(dir);
	size_t n = 0;

	for (struct dirent *de; d && (de = readdir(d));)
		n += de->d_name[0] != '.';
	if (d)
		closedir(d);
	return n;
}

static void damage_cache(const char *dir)
{
	DIR *d = opendir(dir);

	for (struct dirent *de; (de = readdir(d));)
		if (de->d_name[0] != '.')
			assert_int_equal(file_replace_at(dirfd(d), de->d_name, "SBP1", 4, 0600, false), 0);
	closedir(d);
}

static void test_filters_are_cached(void **state _unused_)
{
	char *const names[] = {(char *)"mkdir", NULL};
	OciSeccompRule rule = {.names = (char **)names, .action = (char *)"SCMP_ACT_ERRNO", .errno_ret = -1};
	OciSeccomp s = {.default_action = (char *)"SCMP_ACT_ALLOW",
			.default_errno_ret = -1,
			.rules = &rule,
			.n_rules = 1};
	_cleanup_free_ char *cache = strf("%s/cache", top), *empty = strf("%s/empty-cache", top);
	SeccompProgram fresh = {0}, cached = {0}, once = {0}, other = {0};
	Err e = {0};

	assert_int_equal(runtime_seccomp_prepare(&s, cache, &e), 0);
	assert_int_equal(count_files(cache), 1);
	assert_int_equal(filter_load(&s, empty, &fresh, &e), 0);
	assert_int_equal(filter_load(&s, cache, &cached, &e), 0);
	assert_int_equal(fresh.len, cached.len);
	assert_memory_equal(fresh.code, cached.code, fresh.len);
	seccomp_program_done(&cached);
	damage_cache(cache);
	assert_int_equal(filter_load(&s, cache, &cached, &e), 0);
	assert_memory_equal(fresh.code, cached.code, fresh.len);
	/* What is used once is made in another way (kernel/seccomp.h), and no file is left of it. */
	assert_int_equal(filter_load(&s, NULL, &once, &e), 0);
	assert_true(once.len > 0);
	assert_int_equal(count_files(cache), 1);
	rule.errno_ret = 5;
	assert_int_equal(filter_load(&s, cache, &other, &e), 0);
	assert_int_equal(count_files(cache), 2);
	seccomp_program_done(&fresh);
	seccomp_program_done(&cached);
	seccomp_program_done(&once);
	seccomp_program_done(&other);
}

static void test_ids(void **state _unused_)
{
	const char *good[] = {"a", "A-b_c.d+1", ".x"},
		   *bad[] = {"", ".", "..", "a/b", "@seccomp", "a b", "a\n", "ä"};

	for (size_t i = 0; i < ELEMENTSOF(good); i++)
		assert_int_equal(state_check_id(good[i], NULL), 0);
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		assert_true(state_check_id(bad[i], NULL) < 0);
}

static int check_sysctl(const char *entry, uint64_t namespaces)
{
	char *const v[] = {(char *)entry, NULL};
	OciSpec s = {.sysctl = (char **)v};

	return sysctl_check(&s, namespaces, NULL);
}

static void test_only_namespaced_sysctls(void **state _unused_)
{
	assert_int_equal(check_sysctl("net.ipv4.ip_forward=1", CLONE_NEWNET), 0);
	assert_int_equal(check_sysctl("kernel.shmmax=1", CLONE_NEWIPC), 0);
	assert_int_equal(check_sysctl("kernel/msgmax=1", CLONE_NEWIPC), 0);
	assert_true(check_sysctl("net.ipv4.ip_forward=1", CLONE_NEWIPC) < 0);
	assert_true(check_sysctl("kernel.panic=1", NAMESPACE_ALL) < 0);
	assert_true(check_sysctl("net/../kernel/panic=1", NAMESPACE_ALL) < 0);
	assert_true(check_sysctl("kernel.shmmaxx=1", NAMESPACE_ALL) < 0);
}

static void test_hook_gets_state_and_its_environment_only(void **state _unused_)
{
	_cleanup_free_ char *out = strf("%s/out", top),
			    *script = strf("read s; echo \"$s $A [$HOME]\" > %s", out), *text = NULL;
	char *const args[] = {(char *)"sh", (char *)"-c", script, NULL}, *const env[] = {(char *)"A=b", NULL};
	OciHook hook = {.path = (char *)"/bin/sh", .args = (char **)args, .env = (char **)env};
	OciHookList list = {&hook, 1};
	_cleanup_json_ json_t *doc = json_pack("{s:s}", "id", "x");
	Err e = {0};

	assert_int_equal(setenv("HOME", "/secret", 1), 0);
	assert_int_equal(hooks_run(&list, "prestart", doc, &e), 0);
	assert_int_equal(file_read_at(AT_FDCWD, out, 100, &text, NULL), 0);
	assert_string_equal(text, "{\"id\":\"x\"} b []\n");
	hook.path = (char *)"relative";
	assert_true(hooks_run(&list, "prestart", doc, &e) < 0);
	hook.path = (char *)"/nonexistent";
	assert_true(hooks_run(&list, "prestart", doc, &e) < 0);
	assert_non_null(strstr(e.msg, "error running prestart hook #0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_commands_are_found_in_order),
	    cmocka_unit_test(test_exec_errors_have_dockers_kinds),
	    cmocka_unit_test(test_filters_are_cached),
	    cmocka_unit_test(test_ids),
	    cmocka_unit_test(test_only_namespaced_sysctls),
	    cmocka_unit_test(test_hook_gets_state_and_its_environment_only),
	};
	return cmocka_run_group_tests(tests, make_top, remove_top);
}
