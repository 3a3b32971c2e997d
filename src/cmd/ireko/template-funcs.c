/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions of --format templates: docker's (json, split, join, title, lower, upper, pad, truncate) and
 * Go's (and, or, not, len, index, slice, print, println, printf, eq, ne, lt, le, gt, ge).
 */
#include "template-internal.h"

#include <ctype.h>

#define PAD_MAX 65536

typedef struct Call {
	const char *name;
	const Arguments *a;
	TemplateFlags flags;
	Err *e;
} Call;

static int fail(const Call *c, const char *what)
{
	return err_new(c->e, ERR_INVALID, "template error: %s: %s", c->name, what);
}

static int give(const Call *c, json_t *j, json_t **ret)
{
	if (!j)
		return err_oom(c->e);
	*ret = j;
	return 0;
}

static int give_buf(const Call *c, StrBuf *b, json_t **ret)
{
	if (b->oom)
		return err_oom(c->e);
	json_t *j = json_stringn(b->s ? b->s : "", b->len);
	return j ? give(c, j, ret) : fail(c, "the result is no UTF-8");
}

bool template_truth(const json_t *j)
{
	if (!j)
		return false;
	switch (json_typeof(j)) {
	case JSON_OBJECT:
		return json_object_size(j) > 0;
	case JSON_ARRAY:
		return json_array_size(j) > 0;
	case JSON_STRING:
		return json_string_length(j) > 0;
	case JSON_INTEGER:
		return json_integer_value(j) != 0;
	case JSON_REAL:
		return json_real_value(j) < 0 || json_real_value(j) > 0;
	case JSON_TRUE:
		return true;
	case JSON_FALSE:
	case JSON_NULL:
		return false;
	}
	return false;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void print_object(StrBuf *b, const json_t *j)
{
	_cleanup_free_ const char **keys = calloc(json_object_size(j) + 1, sizeof(char *));
	size_t n = 0;
	const char *key;
	json_t *v;

	if (!keys) {
		b->oom = true;
		return;
	}
	json_object_foreach ((json_t *)j, key, v) {
		if (!streq(key, TEMPLATE_LABELS))
			keys[n++] = key;
	}
	qsort(keys, n, sizeof(*keys), by_name);
	strbuf_add(b, "map[");
	for (size_t i = 0; i < n; i++) {
		strbuf_addf(b, "%s%s:", i ? " " : "", keys[i]);
		template_print(b, json_object_get(j, keys[i]));
	}
	strbuf_add_c(b, ']');
}

static void print_array(StrBuf *b, const json_t *j)
{
	strbuf_add_c(b, '[');
	for (size_t i = 0; i < json_array_size(j); i++) {
		if (i)
			strbuf_add_c(b, ' ');
		template_print(b, json_array_get(j, i));
	}
	strbuf_add_c(b, ']');
}

/* The shortest text that reads back as the same number. */
static void print_real(StrBuf *b, double v)
{
	char s[40];

	for (int digits = 1; digits <= 17; digits++) {
		snprintf(s, sizeof(s), "%.*g", digits, v);
		double back = strtod(s, NULL);
		if (!(back < v) && !(back > v))
			break;
	}
	strbuf_add(b, s);
}

void template_print(StrBuf *b, const json_t *j)
{
	if (!j) {
		strbuf_add(b, "<nil>");
		return;
	}
	switch (json_typeof(j)) {
	case JSON_OBJECT:
		print_object(b, j);
		break;
	case JSON_ARRAY:
		print_array(b, j);
		break;
	case JSON_STRING:
		strbuf_add_n(b, json_string_value(j), json_string_length(j));
		break;
	case JSON_INTEGER:
		strbuf_addf(b, "%lld", (long long)json_integer_value(j));
		break;
	case JSON_REAL:
		print_real(b, json_real_value(j));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		strbuf_add(b, json_is_true(j) ? "true" : "false");
		break;
	case JSON_NULL:
		strbuf_add(b, "<nil>");
		break;
	}
}

static int f_json(const Call *c, json_t **ret)
{
	const json_t *j = c->a->v[0];
	size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | (c->flags & TEMPLATE_SORT_KEYS ? JSON_SORT_KEYS : 0);
	_cleanup_json_ json_t *shown = NULL;

	if (j && json_object_get(j, TEMPLATE_LABELS)) {
		shown = json_copy((json_t *)j);
		if (!shown || json_object_del(shown, TEMPLATE_LABELS) < 0)
			return err_oom(c->e);
		j = shown;
	}
	_cleanup_free_ char *s = j ? json_dumps(j, flags) : strdup("null");
	return give(c, s ? json_string(s) : NULL, ret);
}

static const char *string_at(const Call *c, size_t i)
{
	return json_string_value(c->a->v[i]);
}

static int f_split(const Call *c, json_t **ret)
{
	const char *s = string_at(c, 0), *sep = string_at(c, 1);
	_cleanup_json_ json_t *array = json_array();

	if (!s || !sep || !*sep)
		return fail(c, "expected two strings");
	for (;;) {
		const char *end = strstr(s, sep);

		if (json_array_append_new(array, json_stringn(s, end ? (size_t)(end - s) : strlen(s))) < 0)
			return fail(c, "a part is no UTF-8");
		if (!end)
			break;
		s = end + strlen(sep);
	}
	return give(c, take_ptr(array), ret);
}

static int f_join(const Call *c, json_t **ret)
{
	_cleanup_strbuf_ StrBuf b = {0};
	const char *sep = string_at(c, 1);
	const json_t *array = c->a->v[0];

	if (!sep || (array && !json_is_array(array) && !json_is_null(array)))
		return fail(c, "expected an array and a string");
	for (size_t i = 0; i < json_array_size(array); i++) {
		if (i)
			strbuf_add(&b, sep);
		template_print(&b, json_array_get(array, i));
	}
	return give_buf(c, &b, ret);
}

/* lower, upper, title: ASCII letters; others are left as they are. */
static int f_case(const Call *c, json_t **ret)
{
	_cleanup_strbuf_ StrBuf b = {0};
	bool start = true;

	template_print(&b, c->a->v[0]);
	for (size_t i = 0; i < b.len; i++) {
		unsigned char ch = (unsigned char)b.s[i];

		if (c->name[0] == 'l')
			b.s[i] = (char)tolower(ch);
		else if (c->name[0] == 'u' || start)
			b.s[i] = (char)toupper(ch);
		start = isspace(ch);
	}
	return give_buf(c, &b, ret);
}

/* pad STRING BEFORE AFTER */
static int f_pad(const Call *c, json_t **ret)
{
	_cleanup_strbuf_ StrBuf b = {0};
	json_int_t before = json_integer_value(c->a->v[1]), after = json_integer_value(c->a->v[2]);

	if (before < 0 || before > PAD_MAX || after < 0 || after > PAD_MAX)
		return fail(c, "expected a string and two lengths");
	strbuf_addf(&b, "%*s", (int)before, "");
	template_print(&b, c->a->v[0]);
	strbuf_addf(&b, "%*s", (int)after, "");
	return give_buf(c, &b, ret);
}

/* The byte offset of the n-th character. */
static size_t char_offset(const char *s, size_t n)
{
	size_t i = 0;

	for (; s[i]; i++)
		if (((unsigned char)s[i] & 0xC0) != 0x80 && n-- == 0)
			break;
	return i;
}

static int f_truncate(const Call *c, json_t **ret)
{
	_cleanup_strbuf_ StrBuf b = {0};
	json_int_t n = json_integer_value(c->a->v[1]);

	if (!json_is_integer(c->a->v[1]) || n < 0)
		return fail(c, "expected a string and a length");
	template_print(&b, c->a->v[0]);
	if (b.s)
		b.len = char_offset(b.s, (size_t)n);
	return give_buf(c, &b, ret);
}

static int f_len(const Call *c, json_t **ret)
{
	const json_t *j = c->a->v[0];
	size_t n = 0;

	if (json_is_string(j))
		n = json_string_length(j);
	else if (json_is_array(j))
		n = json_array_size(j);
	else if (json_is_object(j))
		n = json_object_size(j) - (json_object_get(j, TEMPLATE_LABELS) != NULL);
	else if (j && !json_is_null(j))
		return fail(c, "the value has no length");
	return give(c, json_integer((json_int_t)n), ret);
}

static bool all_strings(const json_t *obj)
{
	const char *key;
	json_t *v;

	json_object_foreach ((json_t *)obj, key, v) {
		if (!json_is_string(v))
			return false;
	}
	return true;
}

/* In Go a missing key of a map of strings gives "": {{index .Config.Labels "x"}} relies on it. */
static int index_once(const Call *c, const json_t *on, const json_t *key, json_t **ret)
{
	if (!on || json_is_null(on) || json_is_object(on)) {
		const json_t *v;

		if (json_is_integer(key) && !json_is_object(on))
			return fail(c, "there is nothing to index");
		if (!json_is_string(key))
			return fail(c, "the key of an object is a string");
		v = json_object_get(on, json_string_value(key));
		if (v)
			*ret = json_incref((json_t *)v);
		else
			*ret = all_strings(on) ? json_string("") : NULL;
		return 0;
	}
	if (!json_is_array(on) || !json_is_integer(key))
		return fail(c, "expected an array and a position, or an object and a key");
	if (json_integer_value(key) < 0 || (size_t)json_integer_value(key) >= json_array_size(on))
		return fail(c, "the position is out of range");
	*ret = json_incref(json_array_get(on, (size_t)json_integer_value(key)));
	return 0;
}

static int f_index(const Call *c, json_t **ret)
{
	_cleanup_json_ json_t *on = json_incref(c->a->v[0]);

	for (size_t i = 1; i < c->a->n; i++) {
		json_t *next = NULL;
		int r = index_once(c, on, c->a->v[i], &next);

		if (r < 0)
			return r;
		json_decref(on);
		on = next;
	}
	*ret = take_ptr(on);
	return 0;
}

static int f_slice(const Call *c, json_t **ret)
{
	const json_t *on = c->a->v[0];
	size_t len = json_is_string(on) ? json_string_length(on) : json_array_size(on);
	json_int_t from = c->a->n > 1 ? json_integer_value(c->a->v[1]) : 0;
	json_int_t to = c->a->n > 2 ? json_integer_value(c->a->v[2]) : (json_int_t)len;

	if (from < 0 || to < from || (size_t)to > len)
		return fail(c, "the positions are out of range");
	if (json_is_string(on)) {
		json_t *part = json_stringn(json_string_value(on) + from, (size_t)(to - from));

		return part ? give(c, part, ret) : fail(c, "the part is no UTF-8");
	}
	if (!json_is_array(on))
		return fail(c, "expected a string or an array");
	_cleanup_json_ json_t *array = json_array();
	for (json_int_t i = from; i < to; i++)
		if (json_array_append(array, json_array_get(on, (size_t)i)) < 0)
			return err_oom(c->e);
	return give(c, take_ptr(array), ret);
}

/* print puts a blank between two values when neither is a string; println always, and a line break. */
static int f_print(const Call *c, json_t **ret)
{
	_cleanup_strbuf_ StrBuf b = {0};
	bool line = streq(c->name, "println");

	for (size_t i = 0; i < c->a->n; i++) {
		if (i && (line || (!json_is_string(c->a->v[i]) && !json_is_string(c->a->v[i - 1]))))
			strbuf_add_c(&b, ' ');
		template_print(&b, c->a->v[i]);
	}
	if (line)
		strbuf_add_c(&b, '\n');
	return give_buf(c, &b, ret);
}

static int print_verb(const Call *c, StrBuf *b, char verb, const char *flags, int width, int precision,
		      const json_t *j)
{
	_cleanup_strbuf_ StrBuf v = {0};
	bool left = strchr(flags, '-') != NULL, zeros = strchr(flags, '0') && !left;

	switch (verb) {
	case 'q':
		v.s = json_dumps(json_is_string(j) ? j : NULL, JSON_ENCODE_ANY);
		v.len = v.s ? strlen(v.s) : 0;
		if (!v.s)
			return fail(c, "%q needs a string");
		break;
	case 'x':
		strbuf_addf(&v, "%llx", (long long)json_integer_value(j));
		break;
	case 'f':
		strbuf_addf(&v, "%.*f", precision < 0 ? 6 : precision, json_number_value(j));
		break;
	case 's':
	case 'v':
	case 'd':
	case 't':
		template_print(&v, j);
		if (verb == 's' && precision >= 0 && v.s)
			v.len = char_offset(v.s, (size_t)precision);
		break;
	default:
		return fail(c, "a verb other than %s %d %v %q %x %t %f");
	}
	int pad = width > (int)v.len ? width - (int)v.len : 0;
	for (int i = 0; !left && i < pad; i++)
		strbuf_add_c(b, zeros && verb != 's' ? '0' : ' ');
	strbuf_add_n(b, v.s ? v.s : "", v.len);
	for (int i = 0; left && i < pad; i++)
		strbuf_add_c(b, ' ');
	b->oom = b->oom || v.oom;
	return 0;
}

static int take_digits(const char **p, int otherwise)
{
	int v = 0;

	if (!isdigit((unsigned char)**p))
		return otherwise;
	for (; isdigit((unsigned char)**p); (*p)++)
		v = MIN2(v * 10 + (**p - '0'), PAD_MAX);
	return v;
}

static int f_printf(const Call *c, json_t **ret)
{
	_cleanup_strbuf_ StrBuf b = {0};
	const char *p = string_at(c, 0);
	size_t next = 1;

	if (!p)
		return fail(c, "expected a format");
	while (*p) {
		char flags[8] = {0};
		size_t n;
		int width, precision = -1;

		if (*p != '%') {
			strbuf_add_c(&b, *p++);
			continue;
		}
		if (*++p == '%') {
			strbuf_add_c(&b, *p++);
			continue;
		}
		n = strspn(p, "-+# 0");
		if (n >= sizeof(flags))
			return fail(c, "too many flags");
		memcpy(flags, p, n);
		p += n;
		width = take_digits(&p, 0);
		if (*p == '.') {
			p++;
			precision = take_digits(&p, 0);
		}
		if (next >= c->a->n)
			return fail(c, "fewer values than verbs");
		int r = print_verb(c, &b, *p, flags, width, precision, c->a->v[next++]);
		if (r < 0)
			return r;
		p++;
	}
	return give_buf(c, &b, ret);
}

static int f_not(const Call *c, json_t **ret)
{
	return give(c, json_boolean(!template_truth(c->a->v[0])), ret);
}

static int f_and_or(const Call *c, json_t **ret)
{
	bool is_or = c->name[0] == 'o';
	size_t i = 0;

	while (i + 1 < c->a->n && template_truth(c->a->v[i]) != is_or)
		i++;
	*ret = json_incref(c->a->v[i]);
	return 0;
}

static bool equal(const json_t *a, const json_t *b)
{
	if (!a || !b)
		return (!a || json_is_null(a)) && (!b || json_is_null(b));
	if (json_is_number(a) && json_is_number(b)) {
		double x = json_number_value(a), y = json_number_value(b);

		return !(x < y) && !(x > y);
	}
	return json_equal(a, b) == 1;
}

static int f_eq(const Call *c, json_t **ret)
{
	bool same = false;

	for (size_t i = 1; i < c->a->n; i++)
		same = same || equal(c->a->v[0], c->a->v[i]);
	return give(c, json_boolean(same == (c->name[0] == 'e')), ret);
}

static int f_order(const Call *c, json_t **ret)
{
	const json_t *a = c->a->v[0], *b = c->a->v[1];
	int order;

	if (json_is_number(a) && json_is_number(b)) {
		double x = json_number_value(a), y = json_number_value(b);

		order = (x > y) - (x < y);
	} else if (json_is_string(a) && json_is_string(b)) {
		order = strcmp(json_string_value(a), json_string_value(b));
	} else {
		return fail(c, "expected two numbers or two strings");
	}
	if (c->name[0] == 'g')
		order = -order;
	return give(c, json_boolean(order < 0 || (c->name[1] == 'e' && order == 0)), ret);
}

static const struct {
	const char *name;
	size_t min, max;
	int (*call)(const Call *c, json_t **ret);
} functions[] = {
    {"json", 1, 1, f_json},      {"split", 2, 2, f_split},       {"join", 2, 2, f_join},
    {"title", 1, 1, f_case},     {"lower", 1, 1, f_case},        {"upper", 1, 1, f_case},
    {"pad", 3, 3, f_pad},        {"truncate", 2, 2, f_truncate}, {"len", 1, 1, f_len},
    {"index", 1, 16, f_index},   {"slice", 1, 3, f_slice},       {"print", 0, 64, f_print},
    {"println", 0, 64, f_print}, {"printf", 1, 64, f_printf},    {"not", 1, 1, f_not},
    {"and", 1, 64, f_and_or},    {"or", 1, 64, f_and_or},        {"eq", 2, 64, f_eq},
    {"ne", 2, 2, f_eq},          {"lt", 2, 2, f_order},          {"le", 2, 2, f_order},
    {"gt", 2, 2, f_order},       {"ge", 2, 2, f_order},
};

bool template_has_function(const char *name)
{
	for (size_t i = 0; i < ELEMENTSOF(functions); i++)
		if (streq(functions[i].name, name))
			return true;
	return false;
}

int template_call(const char *name, const Arguments *a, TemplateFlags flags, json_t **ret, Err *e)
{
	Call c = {.name = name, .a = a, .flags = flags, .e = e};

	for (size_t i = 0; i < ELEMENTSOF(functions); i++) {
		if (!streq(functions[i].name, name))
			continue;
		if (a->n < functions[i].min || a->n > functions[i].max)
			return fail(&c, "wrong number of arguments");
		return functions[i].call(&c, ret);
	}
	return fail(&c, "no such function");
}
