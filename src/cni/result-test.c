/* SPDX-License-Identifier: Apache-2.0 */
/* Results from one version to another, whose addresses are whose, and results that are none. */
#include "cni/test-cni.h"

static const char old[] =
    "{\"ip4\":{\"ip\":\"10.0.0.2/24\",\"gateway\":\"10.0.0.1\",\"routes\":[{\"dst\":\"0.0.0.0/"
    "0\",\"gw\":\"10.0.0.1\"}]},"
    "\"ip6\":{\"ip\":\"fd00::2/64\",\"routes\":[{\"dst\":\"::/"
    "0\"}]},\"dns\":{\"nameservers\":[\"10.0.0.1\"]}%s}";
static const char middle[] =
    "{\"interfaces\":[{\"name\":\"eth0\",\"mac\":\"00:11\",\"sandbox\":\"/"
    "n\"}],\"ips\":[{\"version\":\"4\",\"address\":\"10.0.0.2/24\",\"gateway\":"
    "\"10.0.0.1\",\"interface\":0},{\"version\":\"6\",\"address\":\"fd00::2/64\",\"interface\":0}],"
    "\"routes\":[{\"dst\":\"0.0.0.0/0\",\"gw\":\"10.0.0.1\"},{\"dst\":\"::/"
    "0\"}],\"dns\":{\"nameservers\":[\"10.0.0.1\"]}%s}";
static const char new[] = "{\"interfaces\":[{\"name\":\"eth0\",\"mac\":\"00:11\",\"sandbox\":\"/"
			  "n\"}],\"ips\":[{\"address\":\"10.0.0.2/24\",\"gateway\":\"10.0.0.1\","
			  "\"interface\":0},{\"address\":\"fd00::2/64\",\"interface\":0}],"
			  "\"routes\":[{\"dst\":\"0.0.0.0/0\",\"gw\":\"10.0.0.1\"},{\"dst\":\"::/"
			  "0\"}],\"dns\":{\"nameservers\":[\"10.0.0.1\"]}%s}";

static char *text_of(CniVersion v)
{
	_cleanup_free_ char *version = must(strf(",\"cniVersion\":\"%s\"", cni_version_text(v)));
	_cleanup_strbuf_ StrBuf b = {0};
	const char *format = v < CNI_0_3_0 ? old : v < CNI_1_0_0 ? middle : new;
	const char *at = strstr(format, "%s");

	strbuf_add_n(&b, format, (size_t)(at - format));
	strbuf_add(&b, version);
	strbuf_add(&b, at + 2);
	return must(strbuf_steal(&b));
}

static json_t *json_of(const char *text)
{
	json_t *j = NULL;
	Err e = {0};

	ok(json_parse(text, strlen(text), "test", &j, &e));
	return j;
}

/* The old form knows no interfaces. */
static void forget_interfaces(json_t *j)
{
	json_t *v;
	size_t i;

	(void)json_object_del(j, "interfaces");
	json_array_foreach (json_object_get(j, "ips"), i, v)
		(void)json_object_del(v, "interface");
}

static void every_version_to_every_other(void **state)
{
	for (int from = 0; from < CNI_VERSION_MAX; from++)
		for (int to = 0; to < CNI_VERSION_MAX; to++) {
			_cleanup_free_ char *given = text_of((CniVersion)from),
					    *wanted = text_of((CniVersion)to);
			_cleanup_json_ json_t *want = json_of(wanted), *got = NULL;
			Err e = {0};

			ok(cni_result_parse(given, strlen(given), CNI_0_1_0, (CniVersion)to, "test", &got,
					    &e));
			if (from < CNI_0_3_0 && to >= CNI_0_3_0)
				forget_interfaces(want);
			if (!json_equal(got, want)) {
				_cleanup_free_ char *shown = json_text(got);

				fail_msg("%s to %s: %s", cni_version_text((CniVersion)from),
					 cni_version_text((CniVersion)to), shown);
			}
		}
}

static void what_a_form_has_no_place_for(void **state)
{
	static const char text[] =
	    "{\"cniVersion\":\"1.1.0\",\"interfaces\":[{\"name\":\"eth0\",\"mtu\":1400,\"pciID\":\"x\","
	    "\"sandbox\":\"/n\"}],"
	    "\"ips\":[{\"address\":\"10.0.0.2/24\"},{\"address\":\"10.0.0.3/24\"}],\"own\":[1]}";
	_cleanup_json_ json_t *same = NULL, *lower = NULL, *oldest = NULL, *given = json_of(text);
	Err e = {0};

	ok(cni_result_parse(text, strlen(text), CNI_0_1_0, CNI_1_1_0, "test", &same, &e));
	assert_true(json_equal(same, given));
	ok(cni_result_parse(text, strlen(text), CNI_0_1_0, CNI_0_4_0, "test", &lower, &e));
	assert_null(json_object_get(json_array_get(json_object_get(lower, "interfaces"), 0), "mtu"));
	assert_string_equal(json_get_str(json_array_get(json_object_get(lower, "ips"), 1), "version"), "4");
	ok(cni_result_parse(text, strlen(text), CNI_0_1_0, CNI_0_2_0, "test", &oldest, &e));
	assert_string_equal(json_get_str(json_object_get(oldest, "ip4"), "ip"), "10.0.0.2/24");
	/* What names no version has the one that was asked for. */
	json_decref(take_ptr(oldest));
	ok(cni_result_parse("{\"ips\":[]}", 10, CNI_0_4_0, CNI_0_4_0, "test", &oldest, &e));
	assert_string_equal(json_get_str(oldest, "cniVersion"), "0.4.0");
}

static void expect_ips(const char *text, const char *want)
{
	_cleanup_json_ json_t *j = json_of(text);
	_cleanup_strv_ char **ips = NULL;
	_cleanup_free_ char *got = NULL;
	Err e = {0};

	ok(cni_result_ips(j, "eth0", &ips, &e));
	got = strv_join(ips, " ");
	assert_string_equal(got, want);
}

static void whose_addresses(void **state)
{
#define V "{\"cniVersion\":\"1.0.0\","
	expect_ips(V "\"ips\":[]}", "");
	expect_ips(V "\"ips\":[{\"address\":\"fd00::1/64\"},{\"address\":\"10.0.0.1/"
		     "8\"},{\"address\":\"10.0.0.1/8\"}]}",
		   "10.0.0.1 fd00::1");
	expect_ips(V "\"interfaces\":[{\"name\":\"eth0\"},{\"name\":\"eth0\",\"sandbox\":\"/"
		     "n\"},{\"name\":\"eth1\",\"sandbox\":\"/n\"}],"
		     "\"ips\":[{\"address\":\"1.1.1.1/8\",\"interface\":0},{\"address\":\"1.1.1.2/"
		     "8\",\"interface\":1},{\"address\":\"1.1.1.3/8\",\"interface\":2}]}",
		   "1.1.1.2");
	/* Plugins that do not say where it is. */
	expect_ips(
	    V "\"interfaces\":[{\"name\":\"eth0\"}],\"ips\":[{\"address\":\"1.1.1.1/8\",\"interface\":0}]}",
	    "1.1.1.1");
	expect_ips(
	    V "\"ips\":[{\"address\":\"127.0.0.1/8\"},{\"address\":\"::1/128\"},{\"address\":\"::2/128\"}]}",
	    "::2");
	expect_ips("{\"ip4\":{\"ip\":\"10.0.0.1/8\"}}", "10.0.0.1");
}

static void results_that_are_none(void **state)
{
	static const char *const bad[] = {
	    "{\"cniVersion\":1}",
	    "{\"cniVersion\":\"1.0\"}",
	    V "\"ips\":{}}",
	    V "\"ips\":[1]}",
	    V "\"ips\":[{}]}",
	    V "\"ips\":[{\"address\":\"10.0.0.1\"}]}",
	    V "\"ips\":[{\"address\":\"10.0.0.1/33\"}]}",
	    V "\"ips\":[{\"address\":\"10.0.0.1/-1\"}]}",
	    V "\"ips\":[{\"address\":\"10.0.0.256/8\"}]}",
	    V "\"ips\":[{\"address\":\"fd00::1/129\"}]}",
	    V "\"ips\":[{\"address\":\"10.0.0.1/8\",\"gateway\":\"x\"}]}",
	    V "\"ips\":[{\"address\":\"10.0.0.1/8\",\"interface\":0}]}",
	    V "\"interfaces\":[{\"name\":\"a\"}],\"ips\":[{\"address\":\"10.0.0.1/8\",\"interface\":-1}]}",
	    V "\"interfaces\":[{\"name\":\"a\"}],\"ips\":[{\"address\":\"10.0.0.1/8\",\"interface\":\"0\"}]}",
	    V "\"interfaces\":[{}]}",
	    V "\"interfaces\":[{\"name\":\"a\",\"sandbox\":1}]}",
	    V "\"routes\":[{\"dst\":\"default\"}]}",
	    V "\"routes\":[{\"dst\":\"0.0.0.0/0\",\"gw\":7}]}",
	    V "\"dns\":[]}",
	    V "\"dns\":{\"search\":[1]}}",
	    "{\"ip4\":{\"ip\":\"fd00::1/64\"}}",
	    "{\"ip6\":[]}",
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		json_t *j = NULL;
		Err e = {0};

		if (cni_result_parse(bad[i], strlen(bad[i]), CNI_0_1_0, CNI_1_0_0, "plugin x", &j, &e) >= 0)
			fail_msg("taken: %s", bad[i]);
		assert_true(str_starts(e.msg, "plugin x: "));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_version_to_every_other),
	    cmocka_unit_test(what_a_form_has_no_place_for),
	    cmocka_unit_test(whose_addresses),
	    cmocka_unit_test(results_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
