/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for others' machines, kernels and capabilities stay out. */
#include "engine/seccomp-docker.h"

#include "base/str.h"
#include "base/test.h"

static char *const chown_only[] = {(char *)"CAP_CHOWN", NULL};

/* How many rules are left of a profile with this one. */
static int left_of(const char *rule)
{
	_cleanup_free_ char *text =
	    strf("{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[{\"names\":[\"read\"],\"action\":"
		 "\"SCMP_ACT_ALLOW\"%s%s}]}",
		 *rule ? "," : "", rule);
	_cleanup_json_ json_t *out = NULL;
	Err e = {0};
	int r = seccomp_docker_profile(text, chown_only, &out, &e);

	return r < 0 ? r : (int)json_array_size(json_object_get(out, "syscalls"));
}

static void conditions(void **state)
{
	assert_int_equal(left_of(""), 1);
	assert_int_equal(left_of("\"includes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}"), 0);
	assert_int_equal(left_of("\"includes\":{\"caps\":[\"CAP_CHOWN\"]}"), 1);
	assert_int_equal(left_of("\"includes\":{\"caps\":[\"CAP_CHOWN\",\"CAP_SYS_ADMIN\"]}"), 0);
	assert_int_equal(left_of("\"excludes\":{\"caps\":[\"CAP_CHOWN\",\"CAP_SYS_ADMIN\"]}"), 0);
	assert_int_equal(left_of("\"excludes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}"), 1);
	assert_int_equal(left_of("\"includes\":{\"arches\":[\"s390\",\"s390x\"]}"), 0);
	assert_int_equal(left_of("\"includes\":{\"arches\":[\"amd64\",\"arm64\"]}"), 1);
	assert_int_equal(left_of("\"excludes\":{\"arches\":[\"amd64\",\"arm64\"]}"), 0);
	assert_int_equal(left_of("\"includes\":{\"minKernel\":\"4.8\"}"), 1);
	assert_int_equal(left_of("\"includes\":{\"minKernel\":\"99.1\"}"), 0);
	assert_int_equal(left_of("\"excludes\":{\"minKernel\":\"4.8\"}"), 0);
	assert_int_equal(left_of("\"includes\":{\"minKernel\":\"soon\"}"), -EINVAL);
	assert_int_equal(left_of("\"name\":\"write\""), -EINVAL);
}

static void what_the_runtime_wants_is_kept(void **state)
{
	static const char text[] =
	    "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":38,\"archMap\":["
	    "{\"architecture\":\"SCMP_ARCH_X86_64\",\"subArchitectures\":[\"SCMP_ARCH_X86\"]},"
	    "{\"architecture\":\"SCMP_ARCH_AARCH64\",\"subArchitectures\":[\"SCMP_ARCH_ARM\"]}],"
	    "\"syscalls\":[{\"name\":\"clone\",\"action\":\"SCMP_ACT_ALLOW\",\"comment\":\"why\","
	    "\"args\":[{\"index\":0,\"value\":2114060288,\"op\":\"SCMP_CMP_MASKED_EQ\"}],\"includes\":{}}]}";
	_cleanup_json_ json_t *out = NULL;
	OciSeccomp s = {0};
	Err e = {0};

	if (seccomp_docker_profile(text, chown_only, &out, &e) < 0 || oci_seccomp_decode(out, &s, &e) < 0)
		fail_msg("%s", e.msg);
	assert_string_equal(s.default_action, "SCMP_ACT_ERRNO");
	assert_int_equal(s.default_errno_ret, 38);
	assert_int_equal(strv_len(s.architectures), 2);
	assert_int_equal(s.n_rules, 1);
	assert_string_equal(s.rules[0].names[0], "clone");
	assert_int_equal(s.rules[0].n_args, 1);
	assert_null(json_object_get(json_array_get(json_object_get(out, "syscalls"), 0), "includes"));
	oci_seccomp_done(&s);
}

static void what_is_no_profile(void **state)
{
	static const char *const wrong[] = {
	    "",
	    "[]",
	    "\"x\"",
	    "{",
	    "/etc/profile.json",
	    "{\"architectures\":[\"SCMP_ARCH_X86\"],\"archMap\":[{\"architecture\":\"SCMP_ARCH_X86\"}]}",
	    "{\"syscalls\":[7]}"};
	_cleanup_json_ json_t *out = NULL;

	for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
		Err e = {0};

		assert_int_equal(seccomp_docker_profile(wrong[i], NULL, &out, &e), -EINVAL);
		assert_non_null(strstr(e.msg, "seccomp profile"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(conditions),
	    cmocka_unit_test(what_the_runtime_wants_is_kept),
	    cmocka_unit_test(what_is_no_profile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
