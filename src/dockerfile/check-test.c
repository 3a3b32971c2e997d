/* SPDX-License-Identifier: Apache-2.0 */
/* Build checks: one row for each thing that a rule finds, and for what it does not. */
#include "dockerfile/check.h"
#include "base/str.h"
#include "base/test.h"

static StrBuf found;

static void sink(void *user _unused_, const DockerfileWarning *w)
{
	strbuf_addf(&found, "%s:%d: %s\n", w->rule, w->place.first, w->detail);
	assert_true(w->place.first > 0 && w->place.last >= w->place.first);
	assert_true(*w->description);
	assert_true(!*w->url || (str_starts(w->url, "https://docs.docker.com/go/dockerfile/rule/") &&
				 str_ends(w->url, "/")));
}

static int base_image(void *user _unused_, const char *image, const char *platform _unused_,
		      DockerfileBase *ret)
{
	if (str_starts(image, "unknown"))
		return 0;
	*ret = (DockerfileBase){0};
	assert_int_equal(strv_add(&ret->env, "PATH=/bin"), 0);
	assert_int_equal(strv_add(&ret->env, "FROM_BASE=1"), 0);
	ret->platform = strdup(str_starts(image, "arm") ? "linux/arm64/v8" : "linux/amd64");
	ret->has_shell = str_starts(image, "shell");
	return 1;
}

static int check(const char *text, DockerfileCheckInput *in, Err *e)
{
	Dockerfile d;

	in->base = base_image;
	strbuf_done(&found);
	if (dockerfile_parse(text, strlen(text), "Dockerfile", &d, e) < 0)
		fail_msg("%s: %s", text, e->msg);
	int r = dockerfile_check(&d, in, sink, e);
	dockerfile_done(&d);
	return r;
}

static void assert_found(const char *text, const char *want)
{
	DockerfileCheckInput in = {.all_stages = true};
	Err e = {0};

	if (check(text, &in, &e) < 0)
		fail_msg("%s: %s", text, e.msg);
	if (!streq(found.s ?: "", want))
		fail_msg("%s:\nfound \"%s\"\nnot   \"%s\"", text, found.s ?: "", want);
}

static void test_rules_of_form(void **state _unused_)
{
	assert_found("FROM a AS Base\n", "StageNameCasing:1: Stage name 'Base' should be lowercase\n");
	assert_found("FROM a as b\n", "FromAsCasing:1: 'as' and 'FROM' keywords' casing do not match\n");
	assert_found("from a AS b\n", "FromAsCasing:1: 'AS' and 'from' keywords' casing do not match\n");
	assert_found("FROM a\nRUN x \\\n\n y\nUSER z\n", "NoEmptyContinuation:4: Empty continuation line\n");
	assert_found(
	    "FROM a\nMAINTAINER me\n",
	    "MaintainerDeprecated:2: Maintainer instruction is deprecated in favor of using label\n");
	assert_found(
	    "FROM a AS scratch\n",
	    "ReservedStageName:1: Stage name should not use the same name as reserved stage \"scratch\"\n");
	assert_found("FROM a AS b\nFROM a AS B\n",
		     "StageNameCasing:2: Stage name 'B' should be lowercase\n"
		     "DuplicateStageName:2: Duplicate stage name \"b\", stage names should be unique\n");
	assert_found("FROM a\nrun x\nCopy a b\n", "ConsistentInstructionCasing:2: Command 'run' should match "
						  "the case of the command majority (uppercase)\n"
						  "ConsistentInstructionCasing:3: Command 'Copy' should "
						  "match the case of the command majority (uppercase)\n");
	assert_found("from a\nrun x\nUSER y\n", "ConsistentInstructionCasing:3: Command 'USER' should match "
						"the case of the command majority (lowercase)\n");
	assert_found("ARG v=1\nfrom a:$v as b\nrun x\n", "");
	assert_found(
	    "# check=experimental=all\n#\n# what it is\nFROM a AS b\n# v x\nARG v=1\n# y\nARG c d\n",
	    "InvalidDefinitionDescription:4: Comment for FROM should follow the format: `# b <description>`\n"
	    "InvalidDefinitionDescription:8: Comment for ARG should follow the format: `# <arg_key> "
	    "<description>`\n");
	assert_found("# a stage\nFROM a AS b\n", "");
}

static void test_rules_of_from(void **state _unused_)
{
	assert_found(
	    "ARG version=1\nFROM a$versoin\n",
	    "UndefinedArgInFrom:2: FROM argument 'versoin' is not declared (did you mean version?)\n");
	assert_found("FROM --platform=$BUILDPLATFROM a\n",
		     "UndefinedArgInFrom:1: FROM argument 'BUILDPLATFROM' is not declared (did you mean "
		     "BUILDPLATFORM?)\n");
	assert_found("ARG v\nFROM a:${v:-1}\nFROM --platform=$BUILDPLATFORM b\n", "");
	assert_found("ARG v\nFROM a:$v\n", "InvalidDefaultArgInFrom:2: Default value for ARG a:$v results in "
					   "empty or invalid base image name\n");
	assert_found("FROM --platform=$TARGETPLATFORM a\n",
		     "RedundantTargetPlatform:1: Setting platform to predefined $TARGETPLATFORM in FROM is "
		     "redundant as this "
		     "is the default behavior\n");
	assert_found("FROM --platform=linux/amd64 a\n",
		     "FromPlatformFlagConstDisallowed:1: FROM --platform flag should not use constant value "
		     "\"linux/amd64\"\n");
	assert_found("FROM --platform=linux/amd64 a AS for-amd64\n", "");
	assert_found(
	    "FROM arm\n",
	    "InvalidBaseImagePlatform:1: Base image arm was pulled with platform \"linux/arm64\", expected "
	    "\"linux/amd64\" for current build\n");
}

static void test_rules_of_variables(void **state _unused_)
{
	assert_found("FROM a\nARG dir\nCOPY $dri /x\nWORKDIR /$FROM_BASE$PATH\n",
		     "UndefinedVar:3: Usage of undefined variable '$dri'\n");
	assert_found("FROM a\nARG dir=1\nCOPY $dri /x\n",
		     "UndefinedVar:3: Usage of undefined variable '$dri' (did you mean $dir?)\n");
	assert_found("FROM a AS b\nARG dir=1\nFROM b\nUSER $dir$FROM_BASE\n", "");
	assert_found("FROM unknown\nUSER $anything\n", "");
	assert_found("FROM scratch\nUSER $FROM_BASE\n",
		     "UndefinedVar:2: Usage of undefined variable '$FROM_BASE'\n");
	assert_found("FROM a\nRUN echo $x\nCMD [\"$y\"]\nRUN --mount=type=cache,target=/$z true\n",
		     "UndefinedVar:4: Usage of undefined variable '$z'\n");
	assert_found("FROM a\nCOPY <<E <<'F' /x\n$x \"$y'\nE\n$z\nF\n",
		     "UndefinedVar:2: Usage of undefined variable '$x'\nUndefinedVar:2: Usage of undefined "
		     "variable '$y'\n");
	assert_found("FROM a\nENV x=1 y=$x\n", "UndefinedVar:2: Usage of undefined variable '$x'\n");
	assert_found("FROM a\nUSER '$x'\\$y${z:-1}\n", "UndefinedVar:2: Usage of undefined variable '$z'\n");
	assert_found("ARG v=1\nFROM a\nUSER $v\nARG v\nUSER $v\nARG TARGETARCH\nUSER $TARGETARCH\n",
		     "UndefinedVar:3: Usage of undefined variable '$v'\n");
	assert_found("FROM a\nARG API_KEY\nENV github_Token=x PUBLIC_KEY=y KEY_FILE=z keys=1\n",
		     "SecretsUsedInArgOrEnv:2: Do not use ARG or ENV instructions for sensitive data (ARG "
		     "\"API_KEY\")\n"
		     "SecretsUsedInArgOrEnv:3: Do not use ARG or ENV instructions for sensitive data (ENV "
		     "\"github_Token\")\n");
}

static void test_rules_of_steps(void **state _unused_)
{
	assert_found("FROM a\nENV x y\nlabel z w\n", "ConsistentInstructionCasing:3: Command 'label' should "
						     "match the case of the command majority (uppercase)\n"
						     "LegacyKeyValueFormat:2: \"ENV key=value\" should be "
						     "used instead of legacy \"ENV key value\" format\n"
						     "LegacyKeyValueFormat:3: \"label key=value\" should be "
						     "used instead of legacy \"label key value\" format\n");
	assert_found(
	    "FROM a\nCMD x\n",
	    "JSONArgsRecommended:2: JSON arguments recommended for CMD to prevent unintended behavior "
	    "related to OS signals\n");
	assert_found("FROM a\nSHELL [\"x\"]\nENTRYPOINT x\nFROM shell\nCMD x\n", "");
	assert_found("FROM a\nCMD [\"x\"]\nHEALTHCHECK CMD x\nCMD []\nHEALTHCHECK NONE\nFROM a\nCMD []\n",
		     "MultipleInstructionsDisallowed:2: Multiple CMD instructions should not be used in the "
		     "same stage because only "
		     "the last one will be used\n"
		     "MultipleInstructionsDisallowed:3: Multiple HEALTHCHECK instructions should not be used "
		     "in the same stage "
		     "because only the last one will be used\n");
	assert_found("FROM a AS b\nWORKDIR x\nWORKDIR y\nFROM b\nWORKDIR z\nFROM a\nWORKDIR /x\nWORKDIR y\n",
		     "WorkdirRelativePath:2: Relative workdir \"x\" can have unexpected results if the base "
		     "image changes\n");
	assert_found(
	    "FROM a\nEXPOSE 80/TCP 127.0.0.1:80:90 80:90/udp 1-2\n",
	    "ExposeProtoCasing:2: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase\n"
	    "ExposeInvalidFormat:2: EXPOSE instruction should not define an IP address or host-port mapping, "
	    "found "
	    "'127.0.0.1:80:90'\n"
	    "ExposeInvalidFormat:2: EXPOSE instruction should not define an IP address or host-port mapping, "
	    "found "
	    "'80:90/udp'\n");
}

static void test_ignored_files(void **state _unused_)
{
	Ignore ig = {0};
	DockerfileCheckInput in = {.ignore = &ig};
	Err e = {0};

	assert_int_equal(ignore_parse("secret\n*.tmp\n", &ig, &e), 0);
	assert_int_equal(check("FROM a AS b\nFROM a\nARG f=x.tmp\nCOPY ok ./secret/y /d/\nADD $f "
			       "https://x/secret /d/\nCOPY . /e\n"
			       "COPY --from=b secret /f\nCOPY <<E /g\nE\n",
			       &in, &e),
			 0);
	assert_string_equal(
	    found.s,
	    "CopyIgnoredFile:4: Attempting to Copy file \"secret/y\" that is excluded by .dockerignore\n"
	    "CopyIgnoredFile:5: Attempting to Add file \"x.tmp\" that is excluded by .dockerignore\n");
	ignore_done(&ig);
	assert_int_equal(ignore_parse("*\n", &ig, &e), 0);
	assert_int_equal(check("FROM a\nCOPY . /e\n", &in, &e), 0);
	assert_string_equal(
	    found.s, "CopyIgnoredFile:2: Attempting to Copy file \".\" that is excluded by .dockerignore\n");
	ignore_done(&ig);
	assert_int_equal(ignore_parse("*\n!x\n", &ig, &e), 0);
	assert_int_equal(check("FROM a\nCOPY y /e\n", &in, &e), 0);
	assert_null(found.s);
	ignore_done(&ig);
}

static void test_options(void **state _unused_)
{
	static const char text[] = "FROM a AS B\nCMD x\nCMD y\n";
	char *given[] = {
	    (char *)"BUILDKIT_DOCKERFILE_CHECK=skip=JSONArgsRecommended, StageNameCasing;error=true", NULL};
	DockerfileCheckInput in = {0}, other = {.build_args = given};
	Err e = {0};

	assert_int_equal(check("# check=skip=all\nFROM a AS B\n", &in, &e), 0);
	assert_null(found.s);
	assert_found("# check=skip=StageNameCasing,nothing\nFROM a AS B\nCMD x\n",
		     "JSONArgsRecommended:3: JSON arguments recommended for CMD to prevent unintended "
		     "behavior related to OS signals\n");
	assert_found("FROM a\n# check=skip=JSONArgsRecommended\nCMD x\n", "");
	assert_true(check(text, &other, &e) < 0);
	assert_string_equal(e.msg, "lint violation found for rules: MultipleInstructionsDisallowed");
	assert_true(check("# check=error=true\nFROM a AS B\n", &in, &e) < 0);
	assert_string_equal(e.msg, "lint violation found for rules: StageNameCasing");
	assert_true(check("# check=skip\nFROM a\n", &in, &e) < 0);
	assert_string_equal(e.msg, "failed to parse check options: invalid check option \"skip\"");
	assert_true(check("# check=warn=x\nFROM a\n", &in, &e) < 0);
	assert_true(check("# check=error=maybe\nFROM a\n", &in, &e) < 0);
}

/* Stages that the target does not need are not looked into, unless that is asked for. */
static void test_needed_stages(void **state _unused_)
{
	static const char text[] =
	    "FROM a AS one\nUSER $x\nFROM a AS two\nUSER $y\nFROM a AS three\nUSER $z\n"
	    "FROM one\nCOPY --from=two a b\nRUN --mount=from=2,target=/x true\n";
	DockerfileCheckInput in = {.target = "two"};
	Err e = {0};

	assert_int_equal(check(text, &in, &e), 0);
	assert_string_equal(found.s, "UndefinedVar:4: Usage of undefined variable '$y'\n");
	in.target = "3";
	assert_int_equal(check(text, &in, &e), 0);
	assert_string_equal(
	    found.s,
	    "UndefinedVar:2: Usage of undefined variable '$x'\nUndefinedVar:4: Usage of undefined variable "
	    "'$y'\nUndefinedVar:6: Usage of undefined variable '$z'\n");
	in.target = "four";
	assert_true(check(text, &in, &e) < 0);
	assert_string_equal(e.msg, "target stage \"four\" could not be found");
}

/* Where the base image is known only later. */
static void test_platform_of_a_base(void **state _unused_)
{
	static const char text[] = "# check=error=true\nFROM a\n";
	DockerfileCheckInput in = {0};
	Dockerfile d;
	Err e = {0};

	strbuf_done(&found);
	assert_int_equal(dockerfile_parse(text, strlen(text), "Dockerfile", &d, &e), 0);
	assert_int_equal(dockerfile_check_base(&d, &in, &d.steps[0], "a", "linux/arm64/v8", "linux/aarch64",
					       sink, &e),
			 0);
	assert_null(found.s);
	assert_true(dockerfile_check_base(&d, &in, &d.steps[0], "a", "linux/arm64", "linux/amd64", sink, &e) <
		    0);
	assert_string_equal(e.msg, "lint violation found for rules: InvalidBaseImagePlatform");
	assert_string_equal(
	    found.s,
	    "InvalidBaseImagePlatform:2: Base image a was pulled with platform \"linux/arm64\", expected "
	    "\"linux/amd64\" for current build\n");
	dockerfile_done(&d);
}

static void test_references(void **state _unused_)
{
	static const char *const good[] = {"a",
					   "a/b",
					   "a.b/c:1",
					   "localhost/a",
					   "h:5000/a/b-c__d.e@sha256:0123456789abcdef0123456789abcdef",
					   "A.b/c",
					   "a--b:x_Y.z-1"};
	static const char *const bad[] = {"A",     "a:",   "a//b",  "-a",       "a_",
					  "a___b", "a..b", "a:b:c", "a@sha256", "/a"};

	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		_cleanup_free_ char *text = strf("FROM %s\n", good[i]);

		assert_found(text, "");
	}
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		_cleanup_free_ char *text = strf("FROM %s\n", bad[i]);
		_cleanup_free_ char *want = strf("InvalidDefaultArgInFrom:1: Default value for ARG %s "
						 "results in empty or invalid base image name\n",
						 bad[i]);

		assert_found(text, want);
	}
}

static int done(void **state _unused_)
{
	strbuf_done(&found);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rules_of_form),      cmocka_unit_test(test_rules_of_from),
	    cmocka_unit_test(test_rules_of_variables), cmocka_unit_test(test_rules_of_steps),
	    cmocka_unit_test(test_ignored_files),      cmocka_unit_test(test_options),
	    cmocka_unit_test(test_needed_stages),      cmocka_unit_test(test_references),
	    cmocka_unit_test(test_platform_of_a_base),
	};
	return cmocka_run_group_tests(tests, NULL, done);
}
