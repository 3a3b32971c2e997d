/* SPDX-License-Identifier: Apache-2.0 */
/* Dockerfiles: form, places in errors, variables and words. */
#include "base/str.h"
#include "base/test.h"
#include "dockerfile/dockerfile.h"

static Dockerfile parse_ok(const char *text)
{
	Dockerfile d;
	Err e = {0};

	if (dockerfile_parse(text, strlen(text), "Dockerfile", &d, &e) < 0)
		fail_msg("%s", e.msg);
	return d;
}

static void assert_refused(const char *text, const char *message)
{
	Dockerfile d;
	Err e = {0};

	assert_true(dockerfile_parse(text, strlen(text), "Dockerfile", &d, &e) < 0);
	assert_non_null(strstr(e.msg, message));
	assert_int_equal(e.kind, ERR_INVALID);
}

static void test_continuations_and_comments(void **state _unused_)
{
	Dockerfile d = parse_ok("# syntax=docker/dockerfile:1\n\nfrom debian:bookworm AS base\n"
				"RUN apt-get update && \\\n  # not part of it\n\n  apt-get install git\n"
				"COPY --from=base --chown=1:2 a b/\n");

	assert_int_equal(d.n_steps, 3);
	assert_int_equal(d.steps[0].verb, DF_FROM);
	assert_int_equal(d.steps[0].line, 3);
	assert_string_equal(d.steps[0].text, "debian:bookworm AS base");
	assert_int_equal(d.steps[1].line, 4);
	assert_string_equal(d.steps[1].text, "apt-get update &&   apt-get install git");
	assert_string_equal(dockerfile_flag(&d.steps[2], "from"), "base");
	assert_string_equal(dockerfile_flag(&d.steps[2], "chown"), "1:2");
	assert_null(dockerfile_flag(&d.steps[2], "chmod"));
	assert_string_equal(d.steps[2].text, "a b/");
	dockerfile_done(&d);
}

static void test_escape_directive(void **state _unused_)
{
	Dockerfile d = parse_ok("# escape=`\nFROM x\nRUN a `\n b\\\n");

	assert_int_equal(d.n_steps, 2);
	assert_string_equal(d.steps[1].text, "a  b\\");
	dockerfile_done(&d);
}

static void test_heredoc(void **state _unused_)
{
	Dockerfile d = parse_ok("FROM x\nRUN <<EOF\necho one\necho two\nEOF\nUSER me\n");

	assert_int_equal(d.n_steps, 3);
	assert_string_equal(d.steps[1].heredocs[0].text, "echo one\necho two\n");
	assert_int_equal(d.steps[2].verb, DF_USER);
	dockerfile_done(&d);
}

static void test_errors_have_file_and_line(void **state _unused_)
{
	assert_refused("FROM x\n\nFRO y\n", "Dockerfile:3: unknown instruction: FRO (did you mean FROM?)");
	assert_refused("RUN x\n", "Dockerfile:1: no build stage");
	assert_refused("", "file with no instructions");
	assert_refused("FROM x\nRUN\n", "Dockerfile:2: RUN requires");
	assert_refused("FROM x\nRUN <<EOF\nnever ends\n", "unterminated heredoc");
	assert_refused("FROM x\nRUN \xff\n", "UTF-8");
}

static void test_exec_form(void **state _unused_)
{
	_cleanup_strv_ char **v = NULL, **none = NULL;

	assert_true(dockerfile_exec_form(" [\"a\", \"b c\"]", &v));
	assert_int_equal(strv_len(v), 2);
	assert_false(dockerfile_exec_form("[a]", &none));
	assert_false(dockerfile_exec_form("echo [\"a\"]", &none));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_continuations_and_comments),
	    cmocka_unit_test(test_escape_directive),
	    cmocka_unit_test(test_heredoc),
	    cmocka_unit_test(test_errors_have_file_and_line),
	    cmocka_unit_test(test_exec_form),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
