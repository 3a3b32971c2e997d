/* SPDX-License-Identifier: Apache-2.0 */
/* config.json in, structs out: defaults of what is absent, limits of numbers, and errors that name the member. */
#include "oci/runtime-spec.h"

#include "base/test.h"

static int decode(const char *text, OciSpec *s, Err *e)
{
	_cleanup_json_ json_t *j = NULL;
	int r = oci_json_parse(text, strlen(text), "config.json", &j, e);

	return r < 0 ? r : oci_spec_decode(j, s, e);
}

static void test_minimal_has_defaults(void **state _unused_)
{
	OciSpec s = {0};
	Err e = {0};

	assert_int_equal(decode("{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"}}", &s, &e), 0);
	assert_string_equal(s.root_path, "r");
	assert_false(s.has_process);
	assert_false(s.has_seccomp);
	assert_true(s.resources.memory_limit == OCI_UNSET && s.resources.pids_limit == OCI_UNSET);
	assert_true(s.resources.disable_oom_killer == OCI_UNSET);
	assert_int_equal(s.process.user.umask, -1);
	oci_spec_done(&s);
}

static void test_full_process(void **state _unused_)
{
	const char *text = "{\"ociVersion\":\"1.1.0\",\"process\":{\"terminal\":true,\"consoleSize\":{"
			   "\"height\":3,\"width\":4},"
			   "\"user\":{\"uid\":1,\"gid\":2,\"umask\":18,\"additionalGids\":[5,4294967295]},"
			   "\"args\":[\"a\",\"\"],"
			   "\"cwd\":\"/\",\"capabilities\":{},\"oomScoreAdj\":-5,"
			   "\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"soft\":18446744073709551615,\"hard\":"
			   "9223372036854775807}]}}";
	OciSpec s = {0};
	Err e = {0};

	assert_int_equal(decode(text, &s, &e), 0);
	assert_true(s.has_process && s.process.terminal && s.process.has_capabilities);
	assert_int_equal(s.process.console_height, 3);
	assert_int_equal(s.process.user.umask, 18);
	assert_int_equal(s.process.user.n_additional_gids, 2);
	assert_true(s.process.user.additional_gids[1] == UINT32_MAX);
	assert_string_equal(s.process.args[1], "");
	assert_true(s.process.has_oom_score_adj && s.process.oom_score_adj == -5);
	assert_true(s.process.rlimits[0].soft == UINT64_MAX && s.process.rlimits[0].hard == INT64_MAX);
	oci_spec_done(&s);
}

static void test_array_items_have_defaults(void **state _unused_)
{
	const char *text =
	    "{\"ociVersion\":\"1.1.0\",\"linux\":{\"devices\":[{\"path\":\"/dev/"
	    "x\",\"type\":\"c\"},{\"path\":\"/dev/y\","
	    "\"fileMode\":0}],\"resources\":{\"devices\":[{\"allow\":true},{\"major\":0,\"minor\":3}],"
	    "\"memory\":{\"limit\":-1,\"disableOOMKiller\":true},\"unified\":{\"memory.high\":\"1\"}},"
	    "\"seccomp\":{\"defaultAction\":\"A\",\"syscalls\":[{\"names\":[\"x\"],\"action\":\"B\"},"
	    "{\"names\":[],\"action\":\"C\",\"errnoRet\":0,\"args\":[{\"index\":1,\"value\":"
	    "9999999999999999999,\"op\":\"o\"}]}]}}}";
	OciSpec s = {0};
	Err e = {0};

	assert_int_equal(decode(text, &s, &e), 0);
	assert_true(s.devices[0].file_mode == -1 && s.devices[1].file_mode == 0);
	assert_true(s.resources.devices[0].major == -1 && s.resources.devices[1].major == 0);
	assert_true(s.resources.devices[1].minor == 3);
	assert_true(s.resources.memory_limit == -1 && s.resources.disable_oom_killer == 1);
	assert_string_equal(s.resources.unified[0], "memory.high=1");
	assert_true(s.has_seccomp && s.seccomp.default_errno_ret == -1);
	assert_true(s.seccomp.rules[0].errno_ret == -1 && s.seccomp.rules[1].errno_ret == 0);
	assert_true(s.seccomp.rules[1].args[0].value == 9999999999999999999u);
	oci_spec_done(&s);
}

static void test_refusals_name_the_member(void **state _unused_)
{
	const struct {
		const char *text, *says;
	} cases[] = {
	    {"{}", "ociVersion"},
	    {"{\"ociVersion\":\"0.9\"}", "ociVersion"},
	    {"{\"ociVersion\":\"1.0\",\"process\":{\"cwd\":1}}", "process.cwd"},
	    {"{\"ociVersion\":\"1.0\",\"process\":{\"user\":{\"additionalGids\":[-1]}}}",
	     "additionalGids[0]"},
	    {"{\"ociVersion\":\"1.0\",\"process\":{\"oomScoreAdj\":1001}}", "oomScoreAdj"},
	    {"{\"ociVersion\":\"1.0\",\"mounts\":[{\"destination\":[]}]}", "mounts[0].destination"},
	    {"{\"ociVersion\":\"1.0\",\"linux\":{\"resources\":{\"memory\":{\"disableOOMKiller\":1}}}}",
	     "disableOOMKiller"},
	    {"{\"ociVersion\":\"1.0\",\"ociVersion\":\"1.0\"}", "duplicate"},
	    {"{\"ociVersion\":\"1.0\",\"linux\":{\"resources\":{\"pids\":{\"limit\":99999999999999999999}}}}",
	     "config.json"},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		OciSpec s = {0};
		Err e = {0};

		assert_true(decode(cases[i].text, &s, &e) < 0);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_non_null(strstr(e.msg, cases[i].says));
		oci_spec_done(&s);
	}
}

/* A long number in a string, a fraction or behind a sign is none of the rewriter's business. */
static void test_big_numbers_elsewhere(void **state _unused_)
{
	const char *text =
	    "{\"s\":\"18446744073709551615 \\\" 18446744073709551615\",\"n\":-9223372036854775808,"
	    "\"m\":18446744073709551615,\"f\":0.18446744073709551615}";
	_cleanup_json_ json_t *j = NULL;
	Err e = {0};

	assert_int_equal(oci_json_parse(text, strlen(text), "x", &j, &e), 0);
	assert_string_equal(json_get_str(j, "s"), "18446744073709551615 \" 18446744073709551615");
	assert_true(json_get_int(j, "n", 0) == INT64_MIN);
	assert_true((uint64_t)json_get_int(j, "m", 0) == UINT64_MAX);
	assert_true(json_is_real(json_object_get(j, "f")));
}

static void test_resources(void **state _unused_)
{
	const char *text =
	    "{\"memory\":{\"checkBeforeUpdate\":true},\"blockIO\":{\"leafWeight\":20,\"weightDevice\":[{"
	    "\"major\":8,\"minor\":1,\"weight\":500,\"leafWeight\":300},{\"major\":9,\"minor\":2}]},"
	    "\"network\":{\"classID\":4294967295,\"priorities\":[{\"name\":\"eth0\",\"priority\":7}]},"
	    "\"rdma\":{\"mlx5_1\":{\"hcaHandles\":3},\"mlx5_2\":{\"hcaObjects\":4294967295}}}";
	_cleanup_json_ json_t *j = NULL;
	OciResources r = {0};
	Err e = {0};

	assert_int_equal(oci_json_parse(text, strlen(text), "resources", &j, &e), 0);
	assert_int_equal(oci_resources_decode(j, &r, &e), 0);
	assert_true(r.memory_check);
	assert_int_equal(r.blkio_leaf_weight, 20);
	assert_int_equal(r.n_weight_devices, 2);
	assert_true(r.weight_devices[0].weight == 500 && r.weight_devices[0].leaf_weight == 300);
	assert_true(r.weight_devices[1].major == 9 && r.weight_devices[1].weight == 0);
	assert_int_equal(r.network_class, UINT32_MAX);
	assert_string_equal(r.network_priorities[0].name, "eth0");
	assert_int_equal(r.network_priorities[0].priority, 7);
	assert_int_equal(r.n_rdma, 2);
	assert_string_equal(r.rdma[0].device, "mlx5_1");
	assert_true(r.rdma[0].handles == 3 && r.rdma[0].objects == OCI_UNSET);
	assert_true(r.rdma[1].handles == OCI_UNSET && r.rdma[1].objects == UINT32_MAX);
	oci_resources_done(&r);
}

static void test_bad_rdma(void **state _unused_)
{
	const char *bad[] = {"{\"rdma\":[]}", "{\"rdma\":{\"a\":{\"hcaHandles\":-1}}}",
			     "{\"rdma\":{\"ok\":{},\"a\":{\"hcaObjects\":4294967296}}}",
			     "{\"rdma\":{\"ok\":{},\"a\":{\"hcaObjects\":\"1\"}}}"};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		_cleanup_json_ json_t *j = NULL;
		OciResources r = {0};
		Err e = {0};

		assert_int_equal(oci_json_parse(bad[i], strlen(bad[i]), "resources", &j, &e), 0);
		assert_true(oci_resources_decode(j, &r, &e) < 0);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_non_null(strstr(e.msg, "rdma"));
		oci_resources_done(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_resources),
	    cmocka_unit_test(test_bad_rdma),
	    cmocka_unit_test(test_minimal_has_defaults),
	    cmocka_unit_test(test_full_process),
	    cmocka_unit_test(test_array_items_have_defaults),
	    cmocka_unit_test(test_refusals_name_the_member),
	    cmocka_unit_test(test_big_numbers_elsewhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
