/* SPDX-License-Identifier: Apache-2.0 */
/* What is refused is found wherever it hides, and nothing else is. */
#include "base/str.h"
#include "base/test.h"
#include "engine/container-fields.h"

static int check(const char *text, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;

	*e = (Err){0};
	if (json_parse(text, strlen(text), "body", &doc, e) < 0)
		fail_msg("%s", e->msg);
	return container_fields_check(doc, e);
}

static void refused_by_name_and_value(void **state)
{
	Err e;

	assert_int_equal(check("{\"HostConfig\":{\"CpuCount\":2}}", &e), -EINVAL);
	assert_string_equal(e.msg, "HostConfig.CpuCount: 2 is not possible: it is of containers for Windows");
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(check("{\"HostConfig\":{\"StorageOpt\":{\"size\":\"10G\"}}}", &e), -EINVAL);
	assert_non_null(strstr(e.msg, "StorageOpt: {\"size\":\"10G\"}"));
}

static void found_under_any_spelling(void **state)
{
	Err e;

	assert_int_equal(check("{\"hostconfig\":{\"cpucount\":2}}", &e), -EINVAL);
	assert_int_equal(check("{\"HostConfig\":{},\"HOSTCONFIG\":{\"CpuCount\":2}}", &e), -EINVAL);
	assert_int_equal(check("{\"HostConfig\":{\"CpuCount\":0,\"CPUCOUNT\":2}}", &e), -EINVAL);
}

static void found_in_lists(void **state)
{
	Err e;

	assert_int_equal(
	    check("{\"HostConfig\":{\"DeviceRequests\":[{\"Driver\":\"cdi\"},{\"Options\":{\"a\":"
		  "\"b\"}}]}}",
		  &e),
	    -EINVAL);
	assert_non_null(strstr(e.msg, "HostConfig.DeviceRequests[].Options"));
}

static void empty_values_pass(void **state)
{
	Err e;

	assert_int_equal(check("{}", &e), 0);
	assert_int_equal(check("[]", &e), 0);
	assert_int_equal(check("{\"HostConfig\":null}", &e), 0);
	assert_int_equal(check("{\"HostConfig\":[{\"CpuCount\":2}]}", &e), 0);
	assert_int_equal(check("{\"HostConfig\":{\"CpuCount\":0,\"StorageOpt\":{},\"Cgroup\":\"\","
			       "\"DeviceRequests\":null}}",
			       &e),
			 0);
	assert_int_equal(check("{\"HostConfig\":{\"DeviceRequests\":{\"Options\":{\"a\":\"b\"}}}}", &e), 0);
	assert_int_equal(check("{\"CpuCount\":2,\"Unknown\":{\"CpuCount\":2}}", &e), 0);
}

static void a_row_for_each_member_once(void **state)
{
	for (const ContainerField *f = container_fields; f->path; f++) {
		for (const ContainerField *o = container_fields; o != f; o++)
			assert_string_not_equal(o->path, f->path);
		assert_true(f->state != FIELD_REFUSED || f->remark);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(refused_by_name_and_value),
	    cmocka_unit_test(found_under_any_spelling),
	    cmocka_unit_test(found_in_lists),
	    cmocka_unit_test(empty_values_pass),
	    cmocka_unit_test(a_row_for_each_member_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
