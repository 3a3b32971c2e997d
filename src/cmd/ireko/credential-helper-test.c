/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers that answer, refuse, talk without end, hang, or do not listen: shell scripts on a PATH of the test's own. */
#include "credential-helper.h"
#include "base/clock.h"
#include "base/secret.h"
#include "base/str.h"
#include "base/test-dir.h"

#include <signal.h>
#include <sys/wait.h>

static int setup(void **state)
{
	if (test_dir_setup(state) < 0)
		return -1;
	const TestDir *dir = *state;
	_cleanup_free_ char *path = strf("%s:/usr/bin:/bin", dir->path);

	return setenv("PATH", path, 1) < 0 || setenv("IREKO_CREDENTIAL_TIMEOUT", "20", 1) < 0 ? -1 : 0;
}

static void script(const TestDir *dir, const char *name, const char *body)
{
	_cleanup_free_ char *file = strf("docker-credential-%s", name);
	_cleanup_free_ char *text = strf("#!/bin/sh\n%s\n", body);

	assert_int_equal(file_replace_at(dir->fd, file, text, strlen(text), 0755, false), 0);
}

/* The error's message; the reply must not have been touched. */
static const char *fails(const char *name, const char *input, ErrKind kind)
{
	static Err e;
	char *reply = NULL;
	size_t len = 77;

	e = (Err){0};
	if (helper_run(name, NULL, "get", input, &reply, &len, &e) == 0)
		fail_msg("%s did not fail", name);
	if (e.kind != kind)
		fail_msg("%s: kind %d: %s", name, (int)e.kind, e.msg);
	assert_null(reply);
	assert_int_equal(len, 77);
	return e.msg;
}

static void test_answers(void **state)
{
	_cleanup_secret_ char *reply = NULL;
	size_t len = 0;
	Err e = {0};

	script(*state, "good", "printf '%s:' \"$@\"; cat");
	if (helper_run("good", NULL, "get", "h:5000", &reply, &len, &e) < 0)
		fail_msg("%s", e.msg);
	assert_string_equal(reply, "get:h:5000");
	assert_int_equal(len, strlen(reply));
	secret_free(take_ptr(reply));
	assert_int_equal(helper_run("good", "--key=file", "store", "{}", &reply, &len, &e), 0);
	assert_string_equal(reply, "--key=file:store:{}");
	assert_int_equal(helper_run("good", NULL, "erase", "h", NULL, NULL, &e), 0);
}

static void test_refuses(void **state)
{
	script(*state, "none", "echo 'credentials not found in native keychain'; exit 1");
	script(*state, "angry", "echo 'exit status 2: gpg: no key'; exit 1");
	script(*state, "mute", "exit 3");
	script(*state, "killed", "kill -9 $$");
	fails("none", "h", ERR_NOT_FOUND);
	assert_non_null(
	    strstr(fails("angry", "h", ERR_UNAVAILABLE), "docker-credential-angry get: exit status 2: gpg"));
	assert_non_null(strstr(fails("mute", "h", ERR_UNAVAILABLE), "without a word"));
	assert_non_null(strstr(fails("killed", "h", ERR_UNAVAILABLE), "signal 9"));
	assert_non_null(strstr(fails("missing", "h", ERR_UNAVAILABLE), "there is no such program on PATH"));
}

static void test_talks_without_end(void **state)
{
	int64_t before = clock_mono_ns();

	script(*state, "endless", "exec yes");
	assert_non_null(strstr(fails("endless", "h", ERR_INVALID), "longer than 131072 bytes"));
	assert_true(clock_mono_ns() - before < 10 * 1000000000LL);
}

static void test_hangs(void **state)
{
	const TestDir *dir = *state;
	_cleanup_free_ char *body = strf("echo $$ > %s/pid; exec sleep 1000", dir->path), *pid = NULL;

	assert_int_equal(setenv("IREKO_CREDENTIAL_TIMEOUT", "1", 1), 0);
	script(dir, "hang", body);
	assert_non_null(strstr(fails("hang", "h", ERR_UNAVAILABLE), "no answer within 1 seconds"));
	/* It is not left behind. */
	assert_int_equal(file_read_at(dir->fd, "pid", 64, &pid, NULL), 0);
	assert_int_equal(kill(atoi(pid), 0), -1);
}

/* Much to say to somebody who does not listen: neither a deadlock nor a signal. */
static void test_does_not_listen(void **state)
{
	_cleanup_free_ char *big = malloc(1 << 20);
	_cleanup_secret_ char *reply = NULL;
	size_t len = 0;

	memset(big, 'x', (1 << 20) - 1);
	big[(1 << 20) - 1] = '\0';
	script(*state, "deaf", "exec <&-; echo ok");
	assert_int_equal(helper_run("deaf", NULL, "get", big, &reply, &len, NULL), 0);
	assert_string_equal(reply, "ok\n");
	script(*state, "count", "wc -c");
	secret_free(take_ptr(reply));
	assert_int_equal(helper_run("count", NULL, "get", big, &reply, &len, NULL), 0);
	assert_int_equal(atoi(reply), (1 << 20) - 1);
}

/* An agent that it leaves behind holds its standard output, and is not waited for. */
static void test_leaves_an_agent(void **state)
{
	const TestDir *dir = *state;
	_cleanup_free_ char *body = strf("echo ok; sleep 1000 & echo $! > %s/agent", dir->path), *pid = NULL;
	_cleanup_secret_ char *reply = NULL;
	int64_t before = clock_mono_ns();
	size_t len = 0;

	script(dir, "agent", body);
	assert_int_equal(helper_run("agent", NULL, "get", "h", &reply, &len, NULL), 0);
	assert_true(clock_mono_ns() - before < 10 * 1000000000LL);
	assert_string_equal(reply, "ok\n");
	assert_int_equal(file_read_at(dir->fd, "agent", 64, &pid, NULL), 0);
	assert_int_equal(kill(atoi(pid), SIGKILL), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, test_dir_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_answers), T(test_refuses),         T(test_talks_without_end),
	    T(test_hangs),   T(test_does_not_listen), T(test_leaves_an_agent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
