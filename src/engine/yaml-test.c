/* SPDX-License-Identifier: Apache-2.0 */
/* What YAML becomes, and what is refused, by line. */
#include "engine/yaml.h"

#include "base/str.h"
#include "base/test.h"

static void becomes(void **state)
{
	static const char *const texts[] = {"name", NULL};
	static const struct {
		const char *yaml, *json;
	} rows[] = {
	    {"", "null"},
	    {"---\n# nothing\n", "null"},
	    {"a: 1\nb: [x, 'y', \"z\\n\"]\n", "{\"a\":1,\"b\":[\"x\",\"y\",\"z\\n\"]}"},
	    {"- 0x1f\n- 017\n- 0o17\n- 0b11\n- -5\n- +7\n- 0\n- 09\n", "[31,15,15,3,-5,7,0,9.0]"},
	    {"[true, Yes, off, ~, null, '', 'true', 1.5, .5, 1e3, 1.2.3, ., -, 0x]",
	     "[true,true,false,null,null,\"\",\"true\",1.5,0.5,1000.0,\"1.2.3\",\".\",\"-\",\"0x\"]"},
	    {"name: 0\nx: {name: 1.0, other: 2}\n", "{\"name\":\"0\",\"x\":{\"name\":\"1.0\",\"other\":2}}"},
	    {"k: !!str 5\n", "{\"k\":\"5\"}"},
	    {"k: |\n  two\n  lines\n", "{\"k\":\"two\\nlines\\n\"}"},
	    {"99999999999999999999: 99999999999999999999\n", "{\"99999999999999999999\":1e20}"},
	    {"{}", "{}"},
	    {"k: 日本\n", "{\"k\":\"日本\"}"},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		_cleanup_json_ json_t *j = NULL, *wanted = json_loads(rows[i].json, JSON_DECODE_ANY, NULL);
		_cleanup_free_ char *text = NULL;
		Err e = {0};

		if (yaml_parse(rows[i].yaml, strlen(rows[i].yaml), texts, &j, &e) < 0)
			fail_msg("%s: %s", rows[i].yaml, e.msg);
		text = json_text(j);
		if (!json_equal(j, wanted))
			fail_msg("%s: %s", rows[i].yaml, text);
	}
}

static void refused(void **state)
{
	static const struct {
		const char *yaml, *says;
	} rows[] = {
	    {"a: &x [1]\nb: *x\n", "line 1: anchors, aliases and tags"},
	    {"b: *x\n", "line 1: anchors, aliases and tags"},
	    {"a: 1\n<<: {b: 2}\n", "line 2: merge keys"},
	    {"a: !!binary aGk=\n", "line 1: tags (!x)"},
	    {"a: !own {}\n", "line 1: anchors, aliases and tags"},
	    {"a: 1\na: 2\n", "line 2: the key \"a\" stands twice"},
	    {"[a, b]: 1\n", "line 1: a key that is a list"},
	    {"a: 1\n---\nb: 2\n", "line 2: a second document"},
	    {"a: \"x\\0y\"\n", "line 1: a NUL"},
	    {"a: [1\n", "line 2: "},
	    {"a:\n\t- 1\n", "line 2: "},
	    {"a: \xff\n", "line 1: "},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		json_t *j = NULL;
		Err e = {0};

		assert_true(yaml_parse(rows[i].yaml, strlen(rows[i].yaml), NULL, &j, &e) < 0);
		if (!str_starts(e.msg, rows[i].says))
			fail_msg("%s: %s", rows[i].yaml, e.msg);
		assert_null(j);
	}
}

static void limits(void **state)
{
	_cleanup_strbuf_ StrBuf deep = {0}, many = {0};
	json_t *j = NULL;
	Err e = {0};

	for (int i = 0; i < YAML_DEPTH_MAX; i++)
		strbuf_add(&deep, "[");
	for (int i = 0; i < YAML_DEPTH_MAX; i++)
		strbuf_add(&deep, "]");
	assert_int_equal(yaml_parse(deep.s, deep.len, NULL, &j, &e), 0);
	json_decref(take_ptr(j));
	strbuf_add(&many, "[");
	for (int i = 0; i < 100000; i++)
		strbuf_add(&many, "[");
	assert_true(yaml_parse(many.s, many.len, NULL, &j, &e) < 0);
	assert_non_null(strstr(e.msg, "nested too deeply"));
	many.len = 0;
	for (int i = 0; i <= YAML_NODES_MAX; i++)
		strbuf_add(&many, "- 1\n");
	assert_true(yaml_parse(many.s, many.len, NULL, &j, &e) < 0);
	assert_non_null(strstr(e.msg, "too many values"));
	assert_null(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(becomes),
	    cmocka_unit_test(refused),
	    cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
