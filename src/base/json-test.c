/* SPDX-License-Identifier: Apache-2.0 */
/* Documents: what is refused and in which words, and a table with every type there and back. */
#include "base/json.h"
#include "base/str.h"
#include "base/test-dir.h"

typedef struct Item {
	char *source;
	bool ro;
} Item;

typedef struct Inner {
	char *cwd;
	uint32_t uid;
} Inner;

typedef struct Doc {
	char *name;
	bool on;
	int64_t big;
	uint32_t small;
	char **args;
	char **labels;
	Inner process;
	Item *mounts;
	size_t n_mounts;
	json_t *raw;
	int64_t kept;
} Doc;

static const JsonField item_table[] = {
    {.name = "source", .type = JSON_T_STR, .offset = offsetof(Item, source)},
    {.name = "ro", .type = JSON_T_BOOL, .offset = offsetof(Item, ro)},
    {0},
};
static const JsonField inner_table[] = {
    {.name = "cwd", .type = JSON_T_STR, .offset = offsetof(Inner, cwd)},
    {.name = "uid", .type = JSON_T_U32, .offset = offsetof(Inner, uid)},
    {0},
};
static const JsonField doc_table[] = {
    {.name = "Name", .type = JSON_T_STR, .offset = offsetof(Doc, name)},
    {.name = "On", .type = JSON_T_BOOL, .offset = offsetof(Doc, on)},
    {.name = "Big", .type = JSON_T_INT, .offset = offsetof(Doc, big)},
    {.name = "Small", .type = JSON_T_U32, .offset = offsetof(Doc, small)},
    {.name = "Args", .type = JSON_T_STRV, .offset = offsetof(Doc, args)},
    {.name = "Labels", .type = JSON_T_MAP, .offset = offsetof(Doc, labels)},
    {.name = "process", .type = JSON_T_OBJECT, .offset = offsetof(Doc, process), .table = inner_table},
    {.name = "mounts",
     .type = JSON_T_ARRAY,
     .offset = offsetof(Doc, mounts),
     .table = item_table,
     .size = sizeof(Item),
     .count = offsetof(Doc, n_mounts)},
    {.name = "Raw", .type = JSON_T_JSON, .offset = offsetof(Doc, raw)},
    {.name = "Kept", .type = JSON_T_INT, .offset = offsetof(Doc, kept), .keep_empty = true},
    {0},
};

static void doc_done(Doc *d)
{
	json_fields_done(doc_table, d);
}

static json_t *parsed(const char *text)
{
	Err e = {0};
	json_t *j = NULL;

	if (json_parse(text, strlen(text), "test", &j, &e) < 0)
		fail_msg("%s", e.msg);
	return j;
}

static int decode(const char *text, Doc *d, Err *e)
{
	_cleanup_json_ json_t *j = parsed(text);

	return json_decode(j, doc_table, d, e);
}

static void test_parse_refuses(void **state _unused_)
{
	static const char *const bad[] = {
	    "",
	    "{",
	    "{}x",
	    "{} {}",
	    "{\"a\":1,\"a\":2}",
	    "{\"a\":{\"b\":1,\"b\":1}}",
	    "[1,]",
	    "nul",
	    "{'a':1}",
	    "{\"a\":\"x\\u0000y\"}",
	    "{\"a\":\"\x80\"}",
	};
	json_t *j = NULL;

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		Err e = {0};

		if (json_parse(bad[i], strlen(bad[i]), "config.json", &j, &e) >= 0)
			fail_msg("%s was taken", bad[i]);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_true(str_starts(e.msg, "config.json: line 1, column "));
		assert_null(j);
	}
	assert_int_equal(json_parse(NULL, 0, "x", &j, NULL), -EINVAL);
	assert_int_equal(json_parse("{}{}", 2, "only the first two bytes", &j, NULL), 0);
	json_decref(j);
}

static void test_parse_bounds_depth(void **state _unused_)
{
	enum { N = 100000 };
	_cleanup_free_ char *deep = malloc(N);
	json_t *j = NULL;
	Err e = {0};

	memset(deep, '[', N);
	assert_int_equal(json_parse(deep, N, "deep", &j, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "depth"));
}

/* n times `unit`, with commas, in an array; malloc'ed. */
static char *many(const char *unit, size_t n)
{
	StrBuf b = {0};

	strbuf_add(&b, "[");
	for (size_t i = 0; i < n; i++)
		strbuf_addf(&b, "%s%s", i ? "," : "", unit);
	strbuf_add(&b, "]");
	return strbuf_steal(&b);
}

static void test_parse_bounds_values(void **state _unused_)
{
	static const struct {
		const char *unit;
		size_t n;
		bool taken;
	} rows[] = {
	    {"{}", 26000, true},          {"{}", 27000, false},         {"[]", 27000, false},
	    {"1", 131000, true},          {"1", 132000, false},         {"\"{}\"", 60000, true},
	    {"\"\\\"[,[\"", 30000, true}, {"{\"a\":[]}", 15000, false},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		_cleanup_free_ char *text = many(rows[i].unit, rows[i].n);
		_cleanup_json_ json_t *j = NULL;
		Err e = {0};
		int r = json_parse_bounded(text, strlen(text), "body", &j, &e);

		if ((r >= 0) != rows[i].taken)
			fail_msg("%zu times %s: %d %s", rows[i].n, rows[i].unit, r, e.msg);
		if (r < 0)
			assert_string_equal(e.msg, "body: more values, arrays and objects than are taken");
	}
}

static void test_text_keeps_order(void **state _unused_)
{
	static const char text[] = "{\"z\":\"a/b\",\"a\":[1,true,null,\"\xE3\x81\x82\"],\"m\":{}}";
	_cleanup_json_ json_t *j = parsed(text), *s = json_string("x\"");
	_cleanup_free_ char *again = json_text(j), *scalar = json_text(s);

	assert_string_equal(again, text);
	assert_string_equal(scalar, "\"x\\\"\"");
}

static void test_round_trip_of_every_type(void **state _unused_)
{
	static const char text[] =
	    "{\"Name\":\"n\",\"On\":true,\"Big\":-9223372036854775808,\"Small\":4294967295,"
	    "\"Args\":[\"a\",\"\"],\"Labels\":{\"k\":\"v=w\",\"e\":\"\"},"
	    "\"process\":{\"cwd\":\"/"
	    "\",\"uid\":7},\"mounts\":[{\"source\":\"s\",\"ro\":true},{},{\"source\":\"t\"}],"
	    "\"Raw\":{\"x\":[1.5,null]},\"Kept\":0}";
	_cleanup_(doc_done) Doc d = {0};
	Err e = {0};

	if (decode(text, &d, &e) < 0)
		fail_msg("%s", e.msg);
	assert_string_equal(d.name, "n");
	assert_true(d.on);
	assert_true(d.big == INT64_MIN);
	assert_true(d.small == UINT32_MAX);
	assert_int_equal(strv_len(d.args), 2);
	assert_string_equal(d.labels[0], "k=v=w");
	assert_string_equal(d.labels[1], "e=");
	assert_string_equal(d.process.cwd, "/");
	assert_int_equal(d.process.uid, 7);
	assert_int_equal(d.n_mounts, 3);
	assert_true(d.mounts[0].ro);
	assert_null(d.mounts[1].source);
	assert_string_equal(d.mounts[2].source, "t");

	_cleanup_json_ json_t *j = json_encode(doc_table, &d);
	_cleanup_free_ char *again = json_text(j);
	assert_string_equal(again, text);
}

static void test_empty_members_are_left_out(void **state _unused_)
{
	_cleanup_(doc_done) Doc d = {0};
	_cleanup_json_ json_t *j = NULL;

	assert_int_equal(decode("{\"Args\":[],\"mounts\":[],\"Labels\":{},\"process\":{},\"Name\":\"\"}", &d,
				NULL),
			 0);
	assert_non_null(d.args); /* [] is not absent */
	j = json_encode(doc_table, &d);
	_cleanup_free_ char *text = json_text(j);
	assert_string_equal(text, "{\"Kept\":0}");
}

static void test_keep_empty_keeps_every_type(void **state _unused_)
{
	JsonField table[ELEMENTSOF(doc_table)];
	Doc d = {0};

	memcpy(table, doc_table, sizeof(table));
	for (JsonField *f = table; f->name; f++)
		f->keep_empty = true;
	_cleanup_json_ json_t *j = json_encode(table, &d);
	_cleanup_free_ char *text = json_text(j);
	assert_string_equal(text,
			    "{\"Name\":\"\",\"On\":false,\"Big\":0,\"Small\":0,\"Args\":[],\"Labels\":{},"
			    "\"process\":{},\"mounts\":[],\"Raw\":null,\"Kept\":0}");
}

static void test_null_and_unknown_members(void **state _unused_)
{
	_cleanup_(doc_done) Doc d = {0};

	assert_int_equal(
	    decode(
		"{\"Name\":null,\"On\":null,\"Big\":null,\"Args\":null,\"Labels\":{\"a\":null,\"b\":\"c\"},"
		"\"process\":null,\"mounts\":[null],\"Raw\":null,\"other\":{\"x\":1}}",
		&d, NULL),
	    0);
	assert_null(d.name);
	assert_null(d.args);
	assert_null(d.raw);
	assert_int_equal(strv_len(d.labels), 1);
	assert_string_equal(d.labels[0], "b=c");
	assert_int_equal(d.n_mounts, 1);
	assert_null(d.mounts[0].source);
}

static void test_keys_match_without_case(void **state _unused_)
{
	_cleanup_(doc_done) Doc a = {0}, b = {0};

	assert_int_equal(decode("{\"name\":\"lower\",\"PROCESS\":{\"Cwd\":\"/x\"}}", &a, NULL), 0);
	assert_string_equal(a.name, "lower");
	assert_string_equal(a.process.cwd, "/x");
	assert_int_equal(decode("{\"NAME\":\"upper\",\"Name\":\"exact\",\"name\":\"lower\"}", &b, NULL), 0);
	assert_string_equal(b.name, "exact");
	doc_done(&b);
	assert_int_equal(decode("{\"NAME\":\"first\",\"name\":\"second\"}", &b, NULL), 0);
	assert_string_equal(b.name, "first");
	doc_done(&b);
	assert_int_equal(decode("{\"NAME\":\"other\",\"Name\":null}", &b, NULL), 0);
	assert_null(b.name);
}

static void test_single_string_is_a_vector(void **state _unused_)
{
	_cleanup_(doc_done) Doc d = {0};

	assert_int_equal(decode("{\"Args\":\"sh\"}", &d, NULL), 0);
	assert_int_equal(strv_len(d.args), 1);
	assert_string_equal(d.args[0], "sh");
}

static void test_errors_name_the_member(void **state _unused_)
{
	static const char *const cases[][2] = {
	    {"[]", "expected an object, not []"},
	    {"{\"Name\":1}", "Name: expected a string, not 1"},
	    {"{\"On\":1}", "On: expected true or false, not 1"},
	    {"{\"Big\":1.0}", "Big: expected an integer, not 1.0"},
	    {"{\"Small\":\"1\"}", "Small: expected an integer, not \"1\""},
	    {"{\"Small\":-1}", "Small: expected an integer from 0 to 4294967295, not -1"},
	    {"{\"Small\":4294967296}", "Small: expected an integer from 0 to 4294967295, not 4294967296"},
	    {"{\"Args\":[\"a\",1]}", "Args: expected an array of strings, not [\"a\",1]"},
	    {"{\"Args\":{}}", "Args: expected an array of strings, not {}"},
	    {"{\"Labels\":{\"a\":1}}", "Labels: expected an object of strings, not {\"a\":1}"},
	    {"{\"Labels\":[]}", "Labels: expected an object of strings, not []"},
	    {"{\"process\":[]}", "process: expected an object, not []"},
	    {"{\"process\":{\"CWD\":[]}}", "process.cwd: expected a string, not []"},
	    {"{\"mounts\":{}}", "mounts: expected an array, not {}"},
	    {"{\"mounts\":[{},1]}", "mounts[1]: expected an object, not 1"},
	    {"{\"mounts\":[{\"source\":\"kept\"},{\"source\":2}]}",
	     "mounts[1].source: expected a string, not 2"},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		_cleanup_(doc_done) Doc d = {0};
		Err e = {0};

		assert_int_equal(decode(cases[i][0], &d, &e), -EINVAL);
		assert_string_equal(e.msg, cases[i][1]);
		assert_int_equal(e.kind, ERR_INVALID);
	}
}

static void test_done_twice(void **state _unused_)
{
	static const Doc zero;
	Doc d = {0};

	assert_int_equal(
	    decode("{\"Name\":\"n\",\"Small\":1,\"mounts\":[{\"source\":\"s\"}],\"Raw\":[],\"On\":true}", &d,
		   NULL),
	    0);
	doc_done(&d);
	assert_memory_equal(&d, &zero, sizeof(d));
	doc_done(&d);
}

static void test_getters(void **state _unused_)
{
	_cleanup_json_ json_t *j = parsed("{\"s\":\"x\",\"i\":5,\"b\":true,\"n\":null,\"r\":1.5}");

	assert_string_equal(json_get_str(j, "s"), "x");
	assert_null(json_get_str(j, "i"));
	assert_null(json_get_str(j, "n"));
	assert_null(json_get_str(j, "absent"));
	assert_null(json_get_str(NULL, "s"));
	assert_int_equal(json_get_int(j, "i", -1), 5);
	assert_int_equal(json_get_int(j, "r", -1), -1);
	assert_int_equal(json_get_int(j, "n", -1), -1);
	assert_true(json_get_bool(j, "b", false));
	assert_true(json_get_bool(j, "i", true));
	assert_false(json_get_bool(j, "absent", false));
}

static void test_vectors_of_json(void **state _unused_)
{
	_cleanup_json_ json_t *bad = parsed("[\"a\",null]"), *obj = parsed("{\"a\":\"1\",\"b\":2}");
	char **v = (char **)doc_table; /* any mark: outputs stay untouched on failure */

	assert_int_equal(json_to_strv(bad, &v), -EINVAL);
	assert_int_equal(json_to_strv(obj, &v), -EINVAL);
	assert_int_equal(json_map_to_strv(obj, &v), -EINVAL);
	assert_int_equal(json_map_to_strv(bad, &v), -EINVAL);
	assert_ptr_equal(v, doc_table);
	assert_int_equal(json_to_strv(NULL, &v), 0);
	assert_null(v);

	char *pairs[] = {(char *)"K=a=b", (char *)"EMPTY=", (char *)"BARE", NULL};
	_cleanup_json_ json_t *map = json_map_from_strv(pairs), *list = json_from_strv(pairs),
			      *none = json_from_strv(NULL);
	_cleanup_free_ char *map_text = json_text(map), *list_text = json_text(list),
			    *none_text = json_text(none);
	assert_string_equal(map_text, "{\"K\":\"a=b\",\"EMPTY\":\"\",\"BARE\":\"\"}");
	assert_string_equal(list_text, "[\"K=a=b\",\"EMPTY=\",\"BARE\"]");
	assert_string_equal(none_text, "[]");

	char *latin1[] = {(char *)"\xE9", NULL};
	assert_null(json_from_strv(latin1));
	assert_null(json_map_from_strv(latin1));
}

static void test_files(void **state)
{
	const TestDir *dir = *state;
	_cleanup_json_ json_t *j = parsed("{\"a\":[1]}"), *back = NULL;
	_cleanup_free_ char *text = NULL;
	json_t *none = NULL;
	Err e = {0};

	assert_int_equal(json_save_at(dir->fd, "f.json", j, 0600, true, &e), 0);
	assert_int_equal(file_read_at(dir->fd, "f.json", 100, &text, NULL), 0);
	assert_string_equal(text, "{\"a\":[1]}");
	assert_int_equal(json_load_at(dir->fd, "f.json", 9, &back, &e), 0);
	assert_true(json_equal(j, back));

	assert_int_equal(json_load_at(dir->fd, "f.json", 8, &none, &e), -EFBIG);
	assert_string_equal(e.msg, "f.json: larger than 8 bytes");
	assert_int_equal(json_load_at(dir->fd, "absent.json", 8, &none, &e), -ENOENT);
	assert_string_equal(e.msg, "read absent.json: No such file or directory");
	assert_int_equal(json_save_at(dir->fd, "no/f.json", j, 0600, false, &e), -ENOENT);
	assert_null(none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse_refuses),
	    cmocka_unit_test(test_parse_bounds_depth),
	    cmocka_unit_test(test_parse_bounds_values),
	    cmocka_unit_test(test_text_keeps_order),
	    cmocka_unit_test(test_round_trip_of_every_type),
	    cmocka_unit_test(test_empty_members_are_left_out),
	    cmocka_unit_test(test_keep_empty_keeps_every_type),
	    cmocka_unit_test(test_null_and_unknown_members),
	    cmocka_unit_test(test_keys_match_without_case),
	    cmocka_unit_test(test_single_string_is_a_vector),
	    cmocka_unit_test(test_errors_name_the_member),
	    cmocka_unit_test(test_done_twice),
	    cmocka_unit_test(test_getters),
	    cmocka_unit_test(test_vectors_of_json),
	    test_in_dir(test_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
