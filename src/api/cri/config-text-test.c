/* SPDX-License-Identifier: Apache-2.0 */
/* The small parts of configurations: quantities, names, signals, paths, capabilities, limits of an update. */
#include "base/test.h"

#include "api/cri/config-internal.h"

static void quantities(void **state)
{
	static const struct {
		const char *text;
		int64_t value; /* -1: it is none */
	} cases[] = {{"0", 0},
		     {"1", 1},
		     {"10M", 10000000},
		     {"1Gi", 1073741824},
		     {"1.5k", 1500},
		     {"1.5Ki", 1536},
		     {"+5", 5},
		     {".5", 1},
		     {"100m", 1},
		     {"1001m", 2},
		     {"2e3", 2000},
		     {"2E3", 2000},
		     {"2E", 2000000000000000000},
		     {"5e-1", 1},
		     {"999999999999999999", 999999999999999999},
		     {"", -1},
		     {"M", -1},
		     {"-5", -1},
		     {"1 M", -1},
		     {"1MB", -1},
		     {"0x10", -1},
		     {"1e99", -1},
		     {"1.2.3", -1},
		     {"9999999999999999999", -1},
		     {"999999999999999999Ei", -1}};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		int64_t v = -1;

		if (cri_quantity(cases[i].text, &v) < 0)
			v = -1;
		if (v != cases[i].value)
			fail_msg("\"%s\": %lld", cases[i].text, (long long)v);
	}
}

static void object_names(void **state)
{
	char a_lot[254], other[254];
	const char *plain[] = {"app", "web", "default", "u", "0"}, *one[] = {a_lot, "0"},
		   *two[] = {other, "0"};
	_cleanup_free_ char *a = cri_object_name(plain, 5), *b = NULL, *c = NULL;

	memset(a_lot, 'x', sizeof(a_lot));
	memset(other, 'x', sizeof(other));
	a_lot[253] = other[253] = '\0';
	other[252] = 'y';
	b = cri_object_name(one, 2);
	c = cri_object_name(two, 2);
	assert_string_equal(a, "k8s_app_web_default_u_0");
	assert_int_equal(strlen(b), 255);
	assert_string_not_equal(b, c);
}

static void signals(void **state)
{
	for (int i = CRI__SIGNAL__SIGABRT; i <= CRI__SIGNAL__SIGRTMAX; i++) {
		const char *text = cri_signal_text((Cri__Signal)i);

		assert_non_null(text);
		assert_int_equal(cri_signal_of(text), i);
	}
	assert_null(cri_signal_text(CRI__SIGNAL__RUNTIME_DEFAULT));
	assert_null(cri_signal_text((Cri__Signal)-1));
	assert_null(cri_signal_text((Cri__Signal)66));
	assert_int_equal(cri_signal_of("term"), CRI__SIGNAL__SIGTERM);
	assert_int_equal(cri_signal_of("3"), CRI__SIGNAL__SIGQUIT);
	assert_int_equal(cri_signal_of("RTMIN+3"), CRI__SIGNAL__SIGRTMINPLUS3);
	assert_int_equal(cri_signal_of(""), CRI__SIGNAL__RUNTIME_DEFAULT);
	assert_int_equal(cri_signal_of("SIGNONE"), CRI__SIGNAL__RUNTIME_DEFAULT);
}

static void paths(void **state)
{
	assert_true(cri_path_leads_up(".."));
	assert_true(cri_path_leads_up("/a/.."));
	assert_true(cri_path_leads_up("../a"));
	assert_false(cri_path_leads_up("/a/..b/c../..."));
	assert_false(cri_path_leads_up(""));
}

/* What is left of capabilities, as the engine's rules read it: added by name beats dropped, dropped by name beats all. */
static void capabilities(void **state)
{
	static const struct {
		const char *add[3], *drop[3], *cap_add, *cap_drop;
	} cases[] = {
	    {{"NET_ADMIN"}, {"CHOWN"}, "NET_ADMIN", "CHOWN"},
	    {{"CAP_net_admin"}, {"net_admin"}, "", "net_admin"},
	    {{"ALL"}, {"CHOWN"}, "ALL", "CHOWN"},
	    {{"NET_ADMIN"}, {"all"}, "NET_ADMIN", "ALL"},
	    {{"all", "NET_ADMIN"}, {"ALL", "KILL"}, "NET_ADMIN", "ALL,KILL"},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		ContainerConfig k = {0};
		Cri__Capability c = CRI__CAPABILITY__INIT;
		_cleanup_free_ char *add = NULL, *drop = NULL;
		Err e = {0};

		c.add_capabilities = (char **)(uintptr_t)cases[i].add;
		c.drop_capabilities = (char **)(uintptr_t)cases[i].drop;
		c.n_add_capabilities = strv_len(c.add_capabilities);
		c.n_drop_capabilities = strv_len(c.drop_capabilities);
		assert_int_equal(cri_capabilities(&c, &k, &e), 0);
		add = strv_join(k.host.cap_add, ",");
		drop = strv_join(k.host.cap_drop, ",");
		assert_string_equal(add, cases[i].cap_add);
		assert_string_equal(drop, cases[i].cap_drop);
		container_config_done(&k);
	}
}

static void limits_that_change(void **state)
{
	Cri__LinuxContainerResources r = CRI__LINUX_CONTAINER_RESOURCES__INIT;
	ContainerConfig k = {0};
	Err e = {0};

	r.memory_limit_in_bytes = -1;
	assert_int_equal(cri_resources_update(&r, &k, &e), 0);
	assert_int_equal(k.host.memory, -1);
	assert_int_equal(k.host.memory_swap, -1);
	container_config_done(&k);
	memset(&k, 0, sizeof(k));
	assert_int_equal(cri_resources(&r, &k, &e), 0);
	assert_int_equal(k.host.memory, 0);
	assert_int_equal(cri_resources(NULL, &k, &e), 0);
	container_config_done(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(quantities),   cmocka_unit_test(object_names),
	    cmocka_unit_test(signals),      cmocka_unit_test(paths),
	    cmocka_unit_test(capabilities), cmocka_unit_test(limits_that_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
