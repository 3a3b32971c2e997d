/* SPDX-License-Identifier: Apache-2.0 */
/* Accounts out of a container's own files, hostile ones included. */
#include "base/test-dir.h"
#include "base/test.h"
#include "engine/engine-internal.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\nbroken\n:::\nwrap:x:4294967296:4294967296::/:\n"
			     "app:x:1000:1001:App:/home/app:/bin/sh\n";
static const char group[] = "root:x:0:\nstaff:x:50:app,other\nvideo:x:44:app\nwheel:x:10:root\n";

static int setup(void **state)
{
	int root;

	if (test_dir_setup(state) < 0)
		return -1;
	root = ((TestDir *)*state)->fd;
	assert_int_equal(mkdirat(root, "etc", 0755), 0);
	assert_int_equal(file_replace_at(root, "etc/passwd", passwd, strlen(passwd), 0644, false), 0);
	assert_int_equal(file_replace_at(root, "etc/group", group, strlen(group), 0644, false), 0);
	return 0;
}

static void test_names_and_numbers(void **state)
{
	int root = ((TestDir *)*state)->fd;
	char *extra[] = {(char *)"44", (char *)"wheel", NULL};
	UserIds u = {0};
	Err e = {0};

	assert_int_equal(user_resolve(root, "app", extra, USER_DOCKER, &u, &e), 0);
	assert_int_equal(u.uid, 1000);
	assert_int_equal(u.gid, 1001);
	assert_string_equal(u.home, "/home/app");
	assert_int_equal(u.n_groups, 4); /* 50 44 1001 10 */
	user_ids_done(&u);

	assert_int_equal(user_resolve(root, "1000:staff", NULL, USER_DOCKER, &u, &e), 0);
	assert_int_equal(u.uid, 1000);
	assert_int_equal(u.gid, 50);
	user_ids_done(&u);

	assert_int_equal(user_resolve(root, "77", NULL, USER_DOCKER, &u, &e), 0);
	assert_int_equal(u.uid, 77);
	assert_int_equal(u.gid, 0);
	assert_string_equal(u.home, "/");
	user_ids_done(&u);

	assert_int_equal(user_resolve(root, NULL, NULL, USER_DOCKER, &u, &e), 0);
	assert_int_equal(u.uid, 0);
	user_ids_done(&u);
}

/* Of a pod: an account that is called as a number, or a group, is not who a number means. */
static void test_rules_of_pods(void **state)
{
	static const char accounts[] =
	    "root:x:0:0::/root:/bin/sh\n1000:x:0:0::/:\napp:x:1000:1001::/home/app:\n",
			  groups[] = "root:x:0:\n50:x:0:\nvideo:x:44:app\n";
	int root = ((TestDir *)*state)->fd;
	char *extra[] = {(char *)"50", NULL};
	UserIds u = {0};
	Err e = {0};

	assert_int_equal(file_replace_at(root, "etc/passwd", accounts, strlen(accounts), 0644, false), 0);
	assert_int_equal(file_replace_at(root, "etc/group", groups, strlen(groups), 0644, false), 0);
	assert_int_equal(user_resolve(root, "1000", extra, USER_MERGED, &u, &e), 0);
	assert_int_equal(u.uid, 1000);
	assert_int_equal(u.gid, 1001);
	assert_int_equal(u.n_groups, 3); /* 44 1001 50 */
	assert_int_equal(u.groups[0], 44);
	assert_int_equal(u.groups[2], 50);
	user_ids_done(&u);

	assert_int_equal(user_resolve(root, "app:50", NULL, USER_MERGED, &u, &e), 0);
	assert_int_equal(u.gid, 50);
	assert_int_equal(u.n_groups, 2); /* 44 50: the image's, although a group is named */
	user_ids_done(&u);

	assert_int_equal(user_resolve(root, "app", extra, USER_STRICT, &u, &e), 0);
	assert_int_equal(u.uid, 1000);
	assert_int_equal(u.n_groups, 2); /* 1001 50 */
	user_ids_done(&u);
}

/* CVE-2024-40635: 2^31 and above must not come out as some small number. */
static void test_refused(void **state)
{
	static const char *const bad[] = {"nobody",      "2147483648", "4294967296", "-1",
					  "app:nogroup", "wrap",       "0\nroot"};
	int root = ((TestDir *)*state)->fd;

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		UserIds u = {0};
		Err e = {0};

		if (user_resolve(root, bad[i], NULL, USER_DOCKER, &u, &e) >= 0)
			fail_msg("%s was taken as uid %u", bad[i], u.uid);
		assert_int_equal(e.kind, ERR_INVALID);
	}
}

/* A link to the host's accounts stays inside the root, where there is nothing. */
static void test_link_out(void **state)
{
	int root = ((TestDir *)*state)->fd;
	UserIds u = {0};
	Err e = {0};

	assert_int_equal(unlinkat(root, "etc/passwd", 0), 0);
	assert_int_equal(symlinkat("../../../../../../etc/passwd", root, "etc/passwd"), 0);
	assert_true(user_resolve(root, "daemon", NULL, USER_DOCKER, &u, &e) < 0);
}

static void test_signals(void **state _unused_)
{
	int n;

	assert_int_equal(signal_parse("TERM", &n, NULL), 0);
	assert_int_equal(n, 15);
	assert_int_equal(signal_parse("sigkill", &n, NULL), 0);
	assert_int_equal(n, 9);
	assert_int_equal(signal_parse("RTMIN+3", &n, NULL), 0);
	assert_int_equal(n, 37);
	assert_true(signal_parse("0", &n, NULL) < 0);
	assert_true(signal_parse("65", &n, NULL) < 0);
	assert_true(signal_parse("NOPE", &n, NULL) < 0);
}

static void test_detach_keys(void **state _unused_)
{
	char keys[16];
	size_t n;

	assert_int_equal(detach_keys_parse(NULL, keys, sizeof(keys), &n, NULL), 0);
	assert_int_equal(n, 2);
	assert_memory_equal(keys, "\x10\x11", 2);
	assert_int_equal(detach_keys_parse("ctrl-@,a,ctrl-[", keys, sizeof(keys), &n, NULL), 0);
	assert_memory_equal(keys, "\0a\x1b", 3);
	assert_true(detach_keys_parse("ctrl-", keys, sizeof(keys), &n, NULL) < 0);
	assert_true(detach_keys_parse("ab", keys, sizeof(keys), &n, NULL) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_names_and_numbers, setup, test_dir_teardown),
	    cmocka_unit_test_setup_teardown(test_rules_of_pods, setup, test_dir_teardown),
	    cmocka_unit_test_setup_teardown(test_refused, setup, test_dir_teardown),
	    cmocka_unit_test_setup_teardown(test_link_out, setup, test_dir_teardown),
	    cmocka_unit_test(test_signals),
	    cmocka_unit_test(test_detach_keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
