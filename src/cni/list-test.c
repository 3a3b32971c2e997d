/* SPDX-License-Identifier: Apache-2.0 */
/* Lists that are none, and what counts of those that are. */
#include "cni/test-cni.h"

static CniList *parse(const char *text)
{
	CniList *l = NULL;
	Err e = {0};

	ok(cni_list_parse(text, strlen(text), "f", true, &l, &e));
	return l;
}

#define HEAD "{\"name\":\"n\",\"cniVersion\":\"1.0.0\","
static void lists_that_are_none(void **state)
{
	static const struct {
		const char *text, *error;
	} bad[] = {
	    {"", "f"},
	    {"[]", "not an object"},
	    {"{}", "no name"},
	    {"{\"name\":7}", "name is no string"},
	    {"{\"name\":\"../x\",\"plugins\":[{\"type\":\"a\"}]}", "a name that is none"},
	    {"{\"name\":\"n\",\"cniVersion\":\"2.0.0\",\"plugins\":[{\"type\":\"a\"}]}", "known here are"},
	    {"{\"name\":\"n\",\"cniVersions\":[\"2.0.0\"],\"plugins\":[{\"type\":\"a\"}]}", "known here are"},
	    {"{\"name\":\"n\",\"cniVersions\":[1],\"plugins\":[{\"type\":\"a\"}]}", "no string"},
	    {HEAD "\"plugins\":[]}", "no list of plugins"},
	    {HEAD "\"plugins\":{}}", "no list of plugins"},
	    {HEAD "\"loadOnlyInlinedPlugins\":true}", "no list of plugins"},
	    {HEAD "\"plugins\":[7]}", "no object"},
	    {HEAD "\"plugins\":[{}]}", "has no type"},
	    {HEAD "\"plugins\":[{\"type\":\"/bin/sh\"}]}", "not the name of a program"},
	    {HEAD "\"plugins\":[{\"type\":\"..\"}]}", "not the name of a program"},
	    {HEAD "\"plugins\":[{\"type\":\"a\",\"capabilities\":[]}]}", "are no object"},
	    {HEAD "\"plugins\":[{\"type\":\"a\",\"capabilities\":{\"x\":1}}]}", "capability x"},
	    {HEAD "\"disableCheck\":\"maybe\",\"plugins\":[{\"type\":\"a\"}]}", "disableCheck"},
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		CniList *l = NULL;
		Err e = {0};

		fails(cni_list_parse(bad[i].text, strlen(bad[i].text), "f", true, &l, &e), ERR_INVALID,
		      bad[i].error);
		assert_null(l);
	}
}

static void too_much(void **state)
{
	_cleanup_strbuf_ StrBuf b = {0};
	CniList *l = NULL;
	Err e = {0};

	strbuf_add(&b, HEAD "\"plugins\":[");
	for (int i = 0; i <= CNI_PLUGINS_MAX; i++)
		strbuf_add(&b, i > 0 ? ",{\"type\":\"a\"}" : "{\"type\":\"a\"}");
	strbuf_add(&b, "]}");
	fails(cni_list_parse(b.s, b.len, "f", true, &l, &e), ERR_INVALID, "more than 64 plugins");
	strbuf_done(&b);
	for (int i = 0; i < 200; i++)
		strbuf_add(&b, "{\"a\":");
	fails(cni_list_parse(b.s, b.len, "f", true, &l, &e), ERR_INVALID, "nested more than 64");
	fails(cni_list_parse(b.s, CNI_CONFIG_MAX + 1, "f", true, &l, &e), ERR_INVALID, "larger than");
}

static void versions(void **state)
{
	static const struct {
		const char *text;
		CniVersion v;
	} all[] = {
	    {"{\"name\":\"n\",\"plugins\":[{\"type\":\"a\"}]}", CNI_0_1_0},
	    {"{\"name\":\"n\",\"cniVersion\":\"0.3.1\",\"plugins\":[{\"type\":\"a\"}]}", CNI_0_3_1},
	    {"{\"name\":\"n\",\"cniVersion\":\"0.3.1\",\"cniVersions\":[\"0.4.0\",\"1.0.0\",\"0.2.0\",\"8.0."
	     "0\"],\"plugins\":[{\"type\":\"a\"}]}",
	     CNI_1_0_0},
	    {"{\"name\":\"n\",\"cniVersion\":\"1.1.0\",\"cniVersions\":[\"0.4.0\"],\"plugins\":[{\"type\":"
	     "\"a\"}]}",
	     CNI_1_1_0},
	    {"{\"name\":\"n\",\"cniVersion\":\"8.0.0\",\"cniVersions\":[\"0.1.0\"],\"plugins\":[{\"type\":"
	     "\"a\"}]}",
	     CNI_0_1_0},
	};

	for (size_t i = 0; i < ELEMENTSOF(all); i++) {
		_cleanup_list_ CniList *l = parse(all[i].text);

		assert_int_equal(l->version, all[i].v);
	}
	_cleanup_list_ CniList *l = parse("{\"name\":\"n\",\"disableCheck\":true,\"disableGC\":\"True\","
					  "\"loadOnlyInlinedPlugins\":false,\"plugins\":[{\"type\":\"a\"}]}");
	assert_true(l->disable_check && l->disable_gc && !l->inlined_only);
}

static void names(void **state)
{
	static const char *const good[] = {"a", "0", "a-b_c.d", "A..b"}, *const bad[] = {"",    ".",
											 "..",  "-a",
											 "a/b", "a b",
											 "a\n", "\xc3\xa9"};
	char lengthy[202];

	for (size_t i = 0; i < ELEMENTSOF(good); i++)
		assert_true(cni_name_is_plain(good[i]));
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		assert_false(cni_name_is_plain(bad[i]));
	memset(lengthy, 'a', 201);
	lengthy[201] = '\0';
	assert_false(cni_name_is_plain(lengthy) || cni_name_is_plain(NULL));
	assert_true(cni_ifname_is_good("eth0") && cni_ifname_is_good("a.b") &&
		    cni_ifname_is_good("abcdefghijklmno"));
	assert_false(cni_ifname_is_good("abcdefghijklmnop") || cni_ifname_is_good("") ||
		     cni_ifname_is_good("a b") || cni_ifname_is_good("a:1") || cni_ifname_is_good("..") ||
		     cni_ifname_is_good("a/b") || cni_ifname_is_good("\x7f") || cni_ifname_is_good(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lists_that_are_none),
	    cmocka_unit_test(too_much),
	    cmocka_unit_test(versions),
	    cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
