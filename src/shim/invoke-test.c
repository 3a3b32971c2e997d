/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/invoke.h"

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "base/test-dir.h"

#include <signal.h>
#include <sys/mman.h>

static void expect_error(const char *log, ErrKind kind, const char *text)
{
	Err e = {0};

	assert_true(invoke_error(log, "/usr/bin/prog", "create", 1 << 8, &e) < 0);
	assert_int_equal(e.kind, kind);
	assert_string_equal(e.msg, text);
}

static void test_what_runtimes_say(void **state _unused_)
{
	expect_error(
	    "{\"level\":\"warning\",\"msg\":\"x\"}\n{\"level\":\"error\",\"msg\":\"runc create failed: exec: "
	    "\\\"nosuch\\\": executable file not found in $PATH\"}\n",
	    ERR_NO_COMMAND, "runc create failed: exec: \"nosuch\": executable file not found in $PATH");
	expect_error("{\"msg\":\"open executable: Permission denied\",\"level\":\"error\"}", ERR_NOT_RUNNABLE,
		     "open executable: Permission denied");
	expect_error("{\"msg\":\"exec: \\\"/x\\\": exec format error\",\"level\":\"error\"}",
		     ERR_NOT_RUNNABLE, "exec: \"/x\": exec format error");
	expect_error("{\"level\":\"error\",\"msg\":\"container does not exist\"}", ERR_NOT_FOUND,
		     "container does not exist");
	expect_error("{\"level\":\"error\",\"msg\":\"error mounting /x: no such file or directory\"}",
		     ERR_INTERNAL, "error mounting /x: no such file or directory");
	expect_error("{\"level\":\"error\",\"msg\":\"first\"}\n{\"level\":\"fatal\",\"msg\":\"last\"}\n{"
		     "\"level\":\"debug\","
		     "\"msg\":\"x\"}\n",
		     ERR_INTERNAL, "last");
}

static void test_what_is_no_log(void **state _unused_)
{
	expect_error("panic: oh\n", ERR_INTERNAL, "panic: oh");
	expect_error("{\"level\":\"error\"", ERR_INTERNAL,
		     "/usr/bin/prog create: exit status 1, and no error in its log");
	expect_error("{\"level\":\"error\",\"msg\":7}\n[]", ERR_INTERNAL, "[]");
	expect_error("", ERR_INTERNAL, "/usr/bin/prog create: exit status 1, and no error in its log");
}

static void test_not_running(void **state _unused_)
{
	Err e = {0};

	assert_int_equal(invoke_error("{\"level\":\"error\",\"msg\":\"container not running\"}", "p", "kill",
				      1 << 8, &e),
			 -ESRCH);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_true(invoke_error("", "p", "kill", SIGKILL, &e) < 0);
	assert_string_equal(e.msg, "p kill was killed by signal 9");
}

/* A program that says what it was given. */
static char *make_program(const TestDir *tmp, const char *script)
{
	char *path = strf("%s/program", tmp->path);

	assert_non_null(path);
	assert_int_equal(file_replace_at(AT_FDCWD, path, script, strlen(script), 0755, false), 0);
	return path;
}

static void test_call(void **state)
{
	_cleanup_free_ char *program =
	    make_program(*state,
			 "#!/bin/sh\n"
			 "[ \"$NOTIFY_SOCKET\" ] && exit 9\n"
			 "case \"$7\" in\n"
			 "ok) echo \"$1 $2 $5 $6 $8\" >&2; exit 0 ;;\n"
			 "bad) echo '{\"level\":\"error\",\"msg\":\"bad thing\"}' >>\"$4\"; exit 1 ;;\n"
			 "cry) echo 'it cries' >&2; exit 1 ;;\n"
			 "esac\n"
			 "kill -9 $$\n");
	char *ok[] = {(char *)"ok", (char *)"word", NULL}, *bad[] = {(char *)"bad", NULL},
	     *cry[] = {(char *)"cry", NULL}, *die[] = {(char *)"die", NULL};
	Invocation v = {.program = program, .root = "/some/root", .words = ok};
	_cleanup_close_ int out = memfd_create("out", MFD_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	Err e = {0};

	setenv("NOTIFY_SOCKET", "/x", 1);
	v.io = &(RuntimeStdio){-1, -1, out};
	assert_int_equal(invoke(&v, &e), 0);
	assert_int_equal(lseek(out, 0, SEEK_SET), 0);
	assert_int_equal(fd_read_all(out, 4096, &text, NULL), 0);
	assert_string_equal(text, "--root /some/root --log-format json word\n");
	v.io = NULL;
	v.words = bad;
	assert_true(invoke(&v, &e) < 0);
	assert_string_equal(e.msg, "bad thing");
	v.words = cry;
	assert_true(invoke(&v, &e) < 0);
	assert_string_equal(e.msg, "it cries");
	v.words = die;
	assert_true(invoke(&v, &e) < 0);
	assert_non_null(strstr(e.msg, "was killed by signal 9"));
}

static void test_no_such_program(void **state _unused_)
{
	char *words[] = {(char *)"x", NULL};
	Invocation v = {.program = "/no/such/program", .root = "/", .words = words};
	Err e = {0};

	assert_int_equal(invoke(&v, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "execute /no/such/program"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_what_runtimes_say), cmocka_unit_test(test_what_is_no_log),
	    cmocka_unit_test(test_not_running),       test_in_dir(test_call),
	    cmocka_unit_test(test_no_such_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
