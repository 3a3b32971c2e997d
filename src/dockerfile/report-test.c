/* SPDX-License-Identifier: Apache-2.0 */
/* The documents of docker build --call: their members, and the text that is printed. */
#include "base/json.h"
#include "base/str.h"
#include "base/test.h"
#include "dockerfile/check.h"

static const char outline_text[] =
    "ARG v=1\nARG full=x${v}\nARG unused=2\n# base it all begins here\nFROM debian:$full AS base\n"
    "# user who runs it\nARG user=me\nRUN --mount=type=secret,id=token,required \\\n"
    "  --mount=type=ssh true\nFROM base AS other\nARG no\nFROM base AS app\nARG v\nARG given\n"
    "RUN --mount=type=secret,id=two true\n";

static json_t *parsed(const DockerfileReport *r)
{
	json_t *doc = NULL;
	Err e = {0};

	if (json_parse(r->json, strlen(r->json), "report", &doc, &e) < 0)
		fail_msg("%s", e.msg);
	return doc;
}

static int line_of(const json_t *o)
{
	return (int)json_get_int(
	    json_object_get(json_array_get(json_object_get(json_object_get(o, "location"), "ranges"), 0),
			    "start"),
	    "line", 0);
}

static void test_outline(void **state _unused_)
{
	char *args[] = {(char *)"given=yes", NULL};
	DockerfileCheckInput in = {.build_args = args, .target = "app"};
	DockerfileReport r;
	Err e = {0};

	if (dockerfile_outline(outline_text, strlen(outline_text), "Dockerfile", &in, &r, &e) < 0)
		fail_msg("%s", e.msg);
	assert_string_equal(
	    r.text,
	    "TARGET: app\n\nBUILD ARG   VALUE   DESCRIPTION\nv           1       \nfull        x1      \n"
	    "user        me      who runs it\ngiven       yes     \n\nSECRET   REQUIRED\ntoken    true\n"
	    "two      \n\nSSH       REQUIRED\ndefault   \n\n");
	_cleanup_json_ json_t *doc = parsed(&r);
	const json_t *user = json_array_get(json_object_get(doc, "args"), 2),
		     *token = json_array_get(json_object_get(doc, "secrets"), 0);
	assert_string_equal(json_get_str(doc, "name"), "app");
	assert_string_equal(json_get_str(user, "name"), "user");
	assert_string_equal(json_get_str(user, "description"), "who runs it");
	assert_int_equal(line_of(user), 7);
	assert_true(json_get_bool(token, "required", false));
	assert_int_equal(json_array_size(json_object_get(json_object_get(token, "location"), "ranges")), 2);
	assert_int_equal(json_array_size(json_object_get(doc, "sources")), 1);
	dockerfile_report_done(&r);
	in.target = "base";
	assert_int_equal(dockerfile_outline(outline_text, strlen(outline_text), "Dockerfile", &in, &r, &e),
			 0);
	assert_true(str_starts(r.text, "TARGET:      base\nDESCRIPTION: it all begins here\n\nBUILD ARG"));
	dockerfile_report_done(&r);
	in.target = "none";
	assert_true(dockerfile_outline(outline_text, strlen(outline_text), "Dockerfile", &in, &r, &e) < 0);
}

/* Of ARGs before the first FROM, those that the needed stages come to, by way of others too; where it was given its last default. */
static void test_outline_of_global_args(void **state _unused_)
{
	static const char text[] = "ARG a=1\nARG b=2\nARG a=$a$b\nARG c=${a}3\nARG a=$a$c\nARG "
				   "other=$b\nFROM x:$other AS o\nFROM scratch\nARG a\n"
				   "ARG in=1\nARG in=${in}2\n";
	DockerfileCheckInput in = {0};
	DockerfileReport r;
	Err e = {0};

	assert_int_equal(dockerfile_outline(text, strlen(text), "Dockerfile", &in, &r, &e), 0);
	assert_string_equal(r.text, "BUILD ARG   VALUE   DESCRIPTION\nb           2       \nc           123  "
				    "   \na           12123   \n"
				    "in          12      \n\n");
	_cleanup_json_ json_t *doc = parsed(&r);
	assert_int_equal(line_of(json_array_get(json_object_get(doc, "args"), 2)), 5);
	assert_int_equal(line_of(json_array_get(json_object_get(doc, "args"), 3)), 11);
	dockerfile_report_done(&r);
}

static void test_targets(void **state _unused_)
{
	static const char text[] = "# build compiles it\nFROM --platform=$BUILDPLATFORM gcc AS build\nFROM "
				   "scratch\nFROM build AS last\n";
	DockerfileReport r;
	Err e = {0};

	assert_int_equal(dockerfile_targets(text, strlen(text), "Dockerfile", &r, &e), 0);
	assert_string_equal(
	    r.text,
	    "TARGET         DESCRIPTION\nbuild          compiles it\n               \nlast (default) \n");
	_cleanup_json_ json_t *doc = parsed(&r);
	const json_t *first = json_array_get(json_object_get(doc, "targets"), 0),
		     *last = json_array_get(json_object_get(doc, "targets"), 2);
	assert_string_equal(json_get_str(first, "base"), "gcc");
	assert_string_equal(json_get_str(first, "platform"), "$BUILDPLATFORM");
	assert_string_equal(json_get_str(first, "description"), "compiles it");
	assert_int_equal(line_of(first), 2);
	assert_false(json_get_bool(first, "default", false));
	assert_true(json_get_bool(last, "default", false));
	dockerfile_report_done(&r);
	assert_true(dockerfile_targets("FRO x\n", 6, "Dockerfile", &r, &e) < 0);
}

static void test_lint(void **state _unused_)
{
	static const char text[] = "FROM scratch AS B\nUSER $x\nMAINTAINER me\n";
	DockerfileCheckInput in = {0};
	DockerfileReport r;
	Err e = {0};

	assert_int_equal(dockerfile_lint(text, strlen(text), "Dockerfile", &in, &r, &e), 0);
	assert_int_equal(r.status, 1);
	_cleanup_json_ json_t *doc = parsed(&r);
	const json_t *first = json_array_get(json_object_get(doc, "warnings"), 0),
		     *source = json_array_get(json_object_get(doc, "sources"), 0);
	assert_int_equal(json_array_size(json_object_get(doc, "warnings")), 3);
	assert_string_equal(json_get_str(first, "ruleName"), "StageNameCasing");
	assert_string_equal(json_get_str(first, "url"),
			    "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/");
	assert_string_equal(json_get_str(source, "filename"), "Dockerfile");
	assert_null(json_object_get(doc, "buildError"));
	/* By line, though what is seen at once was found first. */
	const char *user =
	    strstr(r.text,
		   "\nWARNING: UndefinedVar - https://docs.docker.com/go/dockerfile/rule/undefined-var/\n"
		   "Usage of undefined variable '$x'\nDockerfile:2\n--------------------\n"
		   "   1 |     FROM scratch AS B\n   2 | >>> USER $x\n");
	assert_non_null(user);
	assert_true(user < strstr(r.text, "WARNING: MaintainerDeprecated"));
	dockerfile_report_done(&r);
	assert_int_equal(dockerfile_lint("FROM scratch\n", 13, "Dockerfile", &in, &r, &e), 0);
	assert_int_equal(r.status, 0);
	assert_string_equal(r.text, "");
	dockerfile_report_done(&r);
}

static void test_lint_of_what_cannot_be_built(void **state _unused_)
{
	DockerfileCheckInput in = {0};
	DockerfileReport r;
	Err e = {0};

	assert_int_equal(dockerfile_lint("FROM x\nFRO y\n", 13, "Dockerfile", &in, &r, &e), 0);
	assert_int_equal(r.status, 1);
	_cleanup_json_ json_t *doc = parsed(&r);
	const json_t *error = json_object_get(doc, "buildError");
	assert_string_equal(json_get_str(error, "message"),
			    "Dockerfile:2: unknown instruction: FRO (did you mean FROM?)");
	assert_int_equal(line_of(error), 2);
	assert_string_equal(r.text, "");
	dockerfile_report_done(&r);
	/* What stands before the error is looked at. */
	static const char text[] = "FROM x AS B\nMAINTAINER me\nRUN <<E\n";
	assert_int_equal(dockerfile_lint(text, strlen(text), "Dockerfile", &in, &r, &e), 0);
	assert_non_null(strstr(r.text, "WARNING: StageNameCasing"));
	assert_non_null(strstr(r.text, "WARNING: MaintainerDeprecated"));
	assert_non_null(strstr(r.json, "unterminated heredoc"));
	dockerfile_report_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_outline),
	    cmocka_unit_test(test_outline_of_global_args),
	    cmocka_unit_test(test_targets),
	    cmocka_unit_test(test_lint),
	    cmocka_unit_test(test_lint_of_what_cannot_be_built),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
