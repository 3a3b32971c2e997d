/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jansson with our errors and limits; the contracts are in json.h.
 *
 * The table walk comes in threes (decode, encode, release), one function a type where a type needs
 * more than a line. Where a decoder stands in the document is a chain of Where on the stack; it
 * becomes text only when something is wrong. Depth is bounded twice: jansson parses no deeper than
 * 2048, and the tables descend only where the document does.
 *
 * Text is small beside what is made of it: {} and its comma are three bytes, as an object they are 240. So what strangers
 * send is counted before anything is made (json_parse_bounded): some ten megabytes of values at most, in each request.
 */
#include "base/json.h"
#include "base/fd.h"
#include "base/str.h"

#include <strings.h>

#define VALUE_SHOWN 60 /* bytes of a wrong value, in its error */
#define FIELDS_MAX  256
#define COST_MAX    (1u << 17) /* of a stranger's document: a value is one, an array or an object four more */
#define COST_NESTED 4u

int json_parse(const char *text, size_t len, const char *what, json_t **ret, Err *e)
{
	json_error_t je;
	json_t *j = json_loadb(text ? text : "", text ? len : 0, JSON_REJECT_DUPLICATES, &je);

	if (!j && json_error_code(&je) == json_error_out_of_memory)
		return err_oom(e);
	if (!j)
		return err_new(e, ERR_INVALID, "%s: line %d, column %d: %s", what, je.line, je.column,
			       je.text);
	*ret = j;
	return 0;
}

static bool costs_too_much(const char *text, size_t len)
{
	size_t cost = 0;
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		if (text[i] == '"')
			quoted = !quoted;
		else if (quoted)
			i += text[i] == '\\';
		else if (text[i] == ',')
			cost++;
		else if (text[i] == '{' || text[i] == '[')
			cost += COST_NESTED;
	}
	return cost > COST_MAX;
}

int json_parse_bounded(const char *text, size_t len, const char *what, json_t **ret, Err *e)
{
	/* A shorter one cannot. */
	if (len > COST_MAX / COST_NESTED && costs_too_much(text, len))
		return err_new(e, ERR_INVALID, "%s: more values, arrays and objects than are taken", what);
	return json_parse(text, len, what, ret, e);
}

int json_load_at(int dirfd, const char *name, size_t max, json_t **ret, Err *e)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = file_read_at(dirfd, name, max, &text, &len);

	if (r == -EFBIG)
		return err_new_no(e, ERR_INVALID, EFBIG, "%s: larger than %zu bytes", name, max);
	if (r < 0)
		return err_sys(e, r, "read %s", name);
	return json_parse(text, len, name, ret, e);
}

/* jansson keeps the order of insertion and leaves '/' alone unless told otherwise. */
char *json_text(const json_t *j)
{
	return json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
}

int json_save_at(int dirfd, const char *name, const json_t *j, mode_t mode, bool sync, Err *e)
{
	_cleanup_free_ char *text = json_text(j);

	if (!text)
		return err_oom(e);
	int r = file_replace_at(dirfd, name, text, strlen(text), mode, sync);
	return r < 0 ? err_sys(e, r, "write %s", name) : 0;
}

const char *json_get_str(const json_t *obj, const char *key)
{
	return json_string_value(json_object_get(obj, key));
}

int64_t json_get_int(const json_t *obj, const char *key, int64_t otherwise)
{
	const json_t *j = json_object_get(obj, key);

	return json_is_integer(j) ? json_integer_value(j) : otherwise;
}

bool json_get_bool(const json_t *obj, const char *key, bool otherwise)
{
	const json_t *j = json_object_get(obj, key);

	return json_is_boolean(j) ? json_is_true(j) : otherwise;
}

int json_to_strv(const json_t *array, char ***ret)
{
	_cleanup_strv_ char **v = NULL;

	if (array && !json_is_null(array)) {
		size_t n = json_array_size(array);

		if (!json_is_array(array))
			return -EINVAL;
		v = calloc(n + 1, sizeof(char *)); /* [] stays apart from absent */
		if (!v)
			return -ENOMEM;
		for (size_t i = 0; i < n; i++) {
			const char *s = json_string_value(json_array_get(array, i));

			if (!s)
				return -EINVAL;
			v[i] = strdup(s);
			if (!v[i])
				return -ENOMEM;
		}
	}
	*ret = take_ptr(v);
	return 0;
}

json_t *json_from_strv(char *const *v)
{
	_cleanup_json_ json_t *array = json_array();

	for (size_t i = 0; array && v && v[i]; i++)
		if (json_array_append_new(array, json_string(v[i])) < 0)
			return NULL;
	return take_ptr(array);
}

int json_map_to_strv(const json_t *obj, char ***ret)
{
	_cleanup_strv_ char **v = NULL;
	size_t n = 0;
	const char *key;
	json_t *value;

	if (obj && !json_is_null(obj)) {
		if (!json_is_object(obj))
			return -EINVAL;
		v = calloc(json_object_size(obj) + 1, sizeof(char *));
		if (!v)
			return -ENOMEM;
		json_object_foreach ((json_t *)obj, key, value) {
			if (json_is_null(value))
				continue;
			if (!json_is_string(value))
				return -EINVAL;
			v[n] = strf("%s=%s", key, json_string_value(value));
			if (!v[n++])
				return -ENOMEM;
		}
	}
	*ret = take_ptr(v);
	return 0;
}

json_t *json_map_from_strv(char *const *v)
{
	_cleanup_json_ json_t *obj = json_object();

	for (size_t i = 0; obj && v && v[i]; i++) {
		size_t len = (size_t)(strchrnul(v[i], '=') - v[i]);
		_cleanup_free_ char *key = strndup(v[i], len);

		if (!key || json_object_set_new(obj, key, json_string(v[i][len] ? v[i] + len + 1 : "")) < 0)
			return NULL;
	}
	return take_ptr(obj);
}

/* Where a decoder is: member `name` of `up`, or item `index` of it if name is NULL. */
typedef struct Where {
	const struct Where *up;
	const char *name;
	size_t index;
} Where;

static void add_where(StrBuf *b, const Where *w)
{
	if (!w)
		return;
	add_where(b, w->up);
	if (w->name)
		strbuf_addf(b, "%s%s", w->up ? "." : "", w->name);
	else
		strbuf_addf(b, "[%zu]", w->index);
}

/* The value itself says more about a mistake than its place; of a long one the beginning does. */
static int invalid(const Where *w, const json_t *j, Err *e, const char *problem)
{
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_free_ char *value = json_text(j);
	const char *text = value ? value : "nothing"; /* of no document at all */
	int shown = (int)strnlen(text, VALUE_SHOWN);

	add_where(&b, w);
	if (b.oom)
		return err_oom(e);
	return err_new(e, ERR_INVALID, "%s%s%s, not %.*s%s", b.s ? b.s : "", b.s ? ": " : "", problem, shown,
		       text, text[shown] ? "..." : "");
}

static void *member_at(const void *base, size_t offset)
{
	return (char *)base + offset;
}

static int decode_object(const json_t *obj, const JsonField *table, void *out, const Where *w, Err *e);

static int decode_str(const json_t *j, char **out, const Where *w, Err *e)
{
	if (!json_is_string(j))
		return invalid(w, j, e, "expected a string");
	*out = strdup(json_string_value(j));
	return *out ? 0 : err_oom(e);
}

static int decode_u32(const json_t *j, uint32_t *out, const Where *w, Err *e)
{
	if (!json_is_integer(j))
		return invalid(w, j, e, "expected an integer");
	if (json_integer_value(j) < 0 || json_integer_value(j) > UINT32_MAX)
		return invalid(w, j, e, "expected an integer from 0 to 4294967295");
	*out = (uint32_t)json_integer_value(j);
	return 0;
}

static int decode_strv(const json_t *j, char ***out, const Where *w, Err *e)
{
	int r;

	if (json_is_string(j))
		r = strv_add(out, json_string_value(j));
	else
		r = json_to_strv(j, out);
	if (r == -EINVAL)
		return invalid(w, j, e, "expected an array of strings");
	return r < 0 ? err_oom(e) : 0;
}

static int decode_map(const json_t *j, char ***out, const Where *w, Err *e)
{
	int r = json_map_to_strv(j, out);

	if (r == -EINVAL)
		return invalid(w, j, e, "expected an object of strings");
	return r < 0 ? err_oom(e) : 0;
}

/* A null item leaves its struct zeroed. */
static int decode_array(const json_t *j, const JsonField *f, void *base, const Where *w, Err *e)
{
	char **items = member_at(base, f->offset);
	size_t *count = member_at(base, f->count), n = json_array_size(j);

	if (!json_is_array(j))
		return invalid(w, j, e, "expected an array");
	*items = calloc(n ? n : 1, f->size); /* of none too: it was given */
	if (!*items)
		return err_oom(e);
	*count = n;
	for (size_t i = 0; i < n; i++) {
		const json_t *item = json_array_get(j, i);
		Where here = {.up = w, .index = i};
		int r =
		    json_is_null(item) ? 0 : decode_object(item, f->table, *items + i * f->size, &here, e);

		if (r < 0)
			return r;
	}
	return 0;
}

static int decode_field(const json_t *j, const JsonField *f, void *base, const Where *w, Err *e)
{
	void *out = member_at(base, f->offset);

	switch (f->type) {
	case JSON_T_STR:
		return decode_str(j, out, w, e);
	case JSON_T_BOOL:
		if (!json_is_boolean(j))
			return invalid(w, j, e, "expected true or false");
		*(bool *)out = json_is_true(j);
		return 0;
	case JSON_T_INT:
		if (!json_is_integer(j))
			return invalid(w, j, e, "expected an integer");
		*(int64_t *)out = json_integer_value(j);
		return 0;
	case JSON_T_U32:
		return decode_u32(j, out, w, e);
	case JSON_T_STRV:
		return decode_strv(j, out, w, e);
	case JSON_T_MAP:
		return decode_map(j, out, w, e);
	case JSON_T_OBJECT:
		return decode_object(j, f->table, out, w, e);
	case JSON_T_ARRAY:
		return decode_array(j, f, base, w, e);
	case JSON_T_JSON:
		*(json_t **)out = json_incref((json_t *)j);
		return 0;
	}
	return invalid(w, j, e, "the table has an unknown type here");
}

/* Tables are in the order of the documents that we write ourselves: the next member is nearly always the next field. */
static const JsonField *find_exact(const JsonField *table, const JsonField *from, const char *name)
{
	const JsonField *f;

	for (f = from; f->name; f++)
		if (*f->name == *name && streq(f->name, name))
			return f;
	for (f = table; f < from; f++)
		if (*f->name == *name && streq(f->name, name))
			return f;
	return NULL;
}

static const JsonField *find_in_any_case(const JsonField *table, const char *name)
{
	/* Most members of other tables are here too: the first letter settles nearly all. */
	for (const JsonField *f = table; f->name; f++)
		if (((*f->name ^ *name) & ~0x20) == 0 && strcasecmp(f->name, name) == 0)
			return f;
	return NULL;
}

static int decode_member(const json_t *j, const JsonField *f, void *out, const Where *w, Err *e)
{
	Where here = {.up = w, .name = f->name};

	return json_is_null(j) ? 0 : decode_field(j, f, out, &here, e);
}

/* Those whose names are no field's exactly; what is there exactly, if only as null, is not looked for in another spelling, and the
 * first of several spellings counts. */
static int decode_other_spellings(const json_t *obj, const JsonField *table, void *out, const Where *w,
				  Err *e)
{
	bool had[FIELDS_MAX] = {false};
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)obj, key, value) {
		const JsonField *f = find_exact(table, table, key) ? NULL : find_in_any_case(table, key);
		int r;

		if (!f || json_object_get(obj, f->name))
			continue;
		if (f - table >= FIELDS_MAX)
			return invalid(w, obj, e, "the table has too many fields");
		/* A name of 15 letters has 32,768 spellings: none is looked for among all members. */
		if (had[f - table])
			continue;
		had[f - table] = true;
		r = decode_member(value, f, out, w, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int decode_object(const json_t *obj, const JsonField *table, void *out, const Where *w, Err *e)
{
	const JsonField *next = table;
	bool others = false;
	const char *key;
	json_t *value;

	if (!json_is_object(obj))
		return invalid(w, obj, e, "expected an object");
	json_object_foreach ((json_t *)obj, key, value) {
		const JsonField *f = find_exact(table, next, key);
		int r;

		if (!f) {
			others = true;
			continue;
		}
		r = decode_member(value, f, out, w, e);
		if (r < 0)
			return r;
		next = f + 1;
	}
	return others ? decode_other_spellings(obj, table, out, w, e) : 0;
}

int json_decode(const json_t *obj, const JsonField *table, void *out, Err *e)
{
	return decode_object(obj, table, out, NULL, e);
}

static json_t *encode_fields(const JsonField *table, const void *in, bool sparse);

static json_t *encode_array(const JsonField *f, const void *in, bool sparse)
{
	_cleanup_json_ json_t *array = json_array();
	char *const *items = member_at(in, f->offset);
	const size_t *count = member_at(in, f->count);

	for (size_t i = 0; array && i < *count; i++)
		if (json_array_append_new(array, encode_fields(f->table, *items + i * f->size, sparse)) < 0)
			return NULL;
	return take_ptr(array);
}

/* A new reference; NULL on failure. */
static json_t *encode_field(const JsonField *f, const void *base, bool sparse)
{
	const void *in = member_at(base, f->offset);

	switch (f->type) {
	case JSON_T_STR:
		return json_string(*(char *const *)in ? *(char *const *)in : "");
	case JSON_T_BOOL:
		return json_boolean(*(const bool *)in);
	case JSON_T_INT:
		return json_integer(*(const int64_t *)in);
	case JSON_T_U32:
		return json_integer(*(const uint32_t *)in);
	case JSON_T_STRV:
		return json_from_strv(*(char **const *)in);
	case JSON_T_MAP:
		return json_map_from_strv(*(char **const *)in);
	case JSON_T_OBJECT:
		return encode_fields(f->table, in, sparse);
	case JSON_T_ARRAY:
		return encode_array(f, base, sparse);
	case JSON_T_JSON:
		return *(json_t *const *)in ? json_incref(*(json_t *const *)in) : json_null();
	}
	return NULL;
}

static bool fields_are_empty(const JsonField *table, const void *base);

static bool is_empty(const JsonField *f, const void *base)
{
	const void *in = member_at(base, f->offset);

	switch (f->type) {
	case JSON_T_STR:
		return str_empty(*(char *const *)in);
	case JSON_T_BOOL:
		return !*(const bool *)in;
	case JSON_T_INT:
		return *(const int64_t *)in == 0;
	case JSON_T_U32:
		return *(const uint32_t *)in == 0;
	case JSON_T_STRV:
	case JSON_T_MAP:
		return strv_len(*(char **const *)in) == 0;
	case JSON_T_ARRAY:
		return *(const size_t *)member_at(base, f->count) == 0;
	case JSON_T_OBJECT:
		return fields_are_empty(f->table, in);
	case JSON_T_JSON:
		return !*(json_t *const *)in ||
		       json_is_null(*(json_t *const *)in); /* {} and [] are kept as they came */
	}
	return false;
}

static bool is_given(const JsonField *f, const void *base)
{
	return f->keep_given && *(void *const *)member_at(base, f->offset);
}

static bool is_left_out(const JsonField *f, const void *base, bool sparse)
{
	return (sparse || !f->keep_empty) && !is_given(f, base) && is_empty(f, base);
}

static bool fields_are_empty(const JsonField *table, const void *base)
{
	for (const JsonField *f = table; f->name; f++)
		if (!is_left_out(f, base, false))
			return false;
	return true;
}

static json_t *encode_fields(const JsonField *table, const void *in, bool sparse)
{
	_cleanup_json_ json_t *obj = json_object();

	for (const JsonField *f = table; obj && f->name; f++)
		if (!is_left_out(f, in, sparse) &&
		    json_object_set_new(obj, f->name, encode_field(f, in, sparse)) < 0)
			return NULL;
	return take_ptr(obj);
}

json_t *json_encode(const JsonField *table, const void *in)
{
	return encode_fields(table, in, false);
}

json_t *json_encode_sparse(const JsonField *table, const void *in)
{
	return encode_fields(table, in, true);
}

static int copy_array(const JsonField *f, const void *from, void *to)
{
	const char *items = *(char *const *)member_at(from, f->offset);
	char **copy = member_at(to, f->offset);
	size_t n = *(const size_t *)member_at(from, f->count), *count = member_at(to, f->count);
	int r = 0;

	if (!items)
		return 0;
	*copy = calloc(n ? n : 1, f->size);
	if (!*copy)
		return -ENOMEM;
	for (*count = 0; r >= 0 && *count < n; (*count)++)
		r = json_fields_copy(f->table, items + *count * f->size, *copy + *count * f->size);
	return r;
}

static int copy_strv(char *const *v, char ***ret)
{
	*ret = v ? strv_dup(v) : NULL;
	return v && !*ret ? -ENOMEM : 0;
}

static int copy_field(const JsonField *f, const void *from, void *to)
{
	const void *in = member_at(from, f->offset);
	void *out = member_at(to, f->offset);

	switch (f->type) {
	case JSON_T_STR:
		if (*(char *const *)in)
			*(char **)out = strdup(*(char *const *)in);
		return *(char *const *)in && !*(char **)out ? -ENOMEM : 0;
	case JSON_T_BOOL:
		*(bool *)out = *(const bool *)in;
		return 0;
	case JSON_T_INT:
		*(int64_t *)out = *(const int64_t *)in;
		return 0;
	case JSON_T_U32:
		*(uint32_t *)out = *(const uint32_t *)in;
		return 0;
	case JSON_T_STRV:
	case JSON_T_MAP:
		return copy_strv(*(char **const *)in, out);
	case JSON_T_OBJECT:
		return json_fields_copy(f->table, in, out);
	case JSON_T_ARRAY:
		return copy_array(f, from, to);
	case JSON_T_JSON:
		*(json_t **)out = json_incref(*(json_t *const *)in);
		return 0;
	}
	return -EINVAL;
}

int json_fields_copy(const JsonField *table, const void *from, void *to)
{
	int r = 0;

	for (const JsonField *f = table; r >= 0 && f->name; f++)
		r = copy_field(f, from, to);
	return r;
}

static int fill_array(const JsonField *f, void *base)
{
	char *items = *(char **)member_at(base, f->offset);
	size_t n = *(size_t *)member_at(base, f->count);
	int r = 0;

	for (size_t i = 0; r >= 0 && i < n; i++)
		r = json_fields_fill(f->table, items + i * f->size);
	return r;
}

int json_fields_fill(const JsonField *table, void *base)
{
	int r = 0;

	for (const JsonField *f = table; r >= 0 && f->name; f++) {
		void *at = member_at(base, f->offset);

		if (f->type == JSON_T_OBJECT)
			r = json_fields_fill(f->table, at);
		else if (f->type == JSON_T_ARRAY)
			r = fill_array(f, base);
		else if (f->type == JSON_T_STR && f->keep_empty && !*(char **)at)
			r = (*(char **)at = strdup("")) ? 0 : -ENOMEM;
	}
	return r;
}

static void release_array(const JsonField *f, void *base)
{
	char **items = member_at(base, f->offset);
	size_t *count = member_at(base, f->count);

	for (size_t i = 0; *items && i < *count; i++)
		json_fields_done(f->table, *items + i * f->size);
	free(take_ptr(*items));
	*count = 0;
}

static void release_field(const JsonField *f, void *base)
{
	void *at = member_at(base, f->offset);

	switch (f->type) {
	case JSON_T_STR:
		free(take_ptr(*(char **)at));
		break;
	case JSON_T_BOOL:
		*(bool *)at = false;
		break;
	case JSON_T_INT:
		*(int64_t *)at = 0;
		break;
	case JSON_T_U32:
		*(uint32_t *)at = 0;
		break;
	case JSON_T_STRV:
	case JSON_T_MAP:
		strv_free(take_ptr(*(char ***)at));
		break;
	case JSON_T_OBJECT:
		json_fields_done(f->table, at);
		break;
	case JSON_T_ARRAY:
		release_array(f, base);
		break;
	case JSON_T_JSON:
		json_decref(take_ptr(*(json_t **)at));
		break;
	}
}

void json_fields_done(const JsonField *table, void *in)
{
	for (const JsonField *f = table; f->name; f++)
		release_field(f, in);
}
