/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions of --format templates: docker's (json, split, join, title, lower, upper, pad, truncate) and
 * Go's (and, or, not, len, index, slice, print, println, printf, html, js, urlquery, eq, ne, lt, le, gt, ge).
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
	bool lists = false;
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
	/* In a map of lists, nothing is a list too: the ports that are not published. */
	for (size_t i = 0; i < n; i++)
		lists = lists || json_is_array(json_object_get(j, keys[i]));
	strbuf_add(b, "map[");
	for (size_t i = 0; i < n; i++) {
		const json_t *value = json_object_get(j, keys[i]);

		strbuf_addf(b, "%s%s:", i ? " " : "", keys[i]);
		/* The members of ExposedPorts and Volumes are structs without members. */
		if (json_is_object(value) && json_object_size(value) == 0)
			strbuf_add(b, "{}");
		else if (lists && json_is_null(value))
			strbuf_add(b, "[]");
		else
			template_print(b, value);
	}
	strbuf_add_c(b, ']');
}

/* A binding of a port, which is the one struct that people print whole. */
static bool print_binding(StrBuf *b, const json_t *j)
{
	const char *ip = json_get_str(j, "HostIp"), *port = json_get_str(j, "HostPort");

	if (!ip || !port || json_object_size(j) != 2)
		return false;
	strbuf_addf(b, "{%s %s}", ip, port);
	return true;
}

static void print_array(StrBuf *b, const json_t *j)
{
	strbuf_add_c(b, '[');
	for (size_t i = 0; i < json_array_size(j); i++) {
		if (i)
			strbuf_add_c(b, ' ');
		if (!print_binding(b, json_array_get(j, i)))
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

/* As Go writes JSON that may end up in HTML. */
static char *escape_html(const char *s)
{
	_cleanup_strbuf_ StrBuf b = {0};

	for (; *s; s++) {
		if (strchr("<>&", *s))
			strbuf_addf(&b, "\\u%04x", *s);
		else
			strbuf_add_c(&b, *s);
	}
	return strbuf_steal(&b);
}

static int f_json(const Call *c, json_t **ret)
{
	const json_t *j = c->a->v[0];
	bool is_row = c->flags & TEMPLATE_SORT_KEYS && json_is_object(j);
	size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | (c->flags & TEMPLATE_SORT_KEYS ? JSON_SORT_KEYS : 0);
	_cleanup_json_ json_t *shown = NULL;

	if (j && json_object_get(j, TEMPLATE_LABELS)) {
		shown = json_copy((json_t *)j);
		if (!shown || json_object_del(shown, TEMPLATE_LABELS) < 0)
			return err_oom(c->e);
		j = shown;
	}
	_cleanup_free_ char *s = j ? json_dumps(j, flags) : strdup("null");
	_cleanup_free_ char *escaped = s && is_row ? escape_html(s) : NULL;
	return give(c, escaped ? json_string(escaped) : s && !is_row ? json_string(s) : NULL, ret);
}

static const char *string_at(const Call *c, size_t i)
{
	return json_string_value(c->a->v[i]);
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

static int f_split(const Call *c, json_t **ret)
{
	const char *s = string_at(c, 0), *sep = string_at(c, 1);
	_cleanup_json_ json_t *array = json_array();

	if (!s || !sep)
		return fail(c, "expected two strings");
	for (;;) {
		/* Without a separator every character is a part. */
		const char *end = *sep                         ? strstr(s, sep)
				  : *s && s[char_offset(s, 1)] ? s + char_offset(s, 1)
							       : NULL;

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
	_cleanup_strbuf_ StrBuf text = {0};
	template_print(&text, c->a->v[0]);
	/* Nothing stays nothing. */
	if (text.len > 0)
		strbuf_addf(&b, "%*s%s%*s", (int)before, "", text.s, (int)after, "");
	b.oom = b.oom || text.oom;
	return give_buf(c, &b, ret);
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

static void print_hex(StrBuf *b, const char *s, char verb)
{
	for (; *s; s++)
		strbuf_addf(b, verb == 'x' ? "%02x" : "%02X", (unsigned char)*s);
}

static void print_binary(StrBuf *b, uint64_t n)
{
	int bit = 63;

	while (bit > 0 && !(n >> bit & 1))
		bit--;
	for (; bit >= 0; bit--)
		strbuf_add_c(b, n >> bit & 1 ? '1' : '0');
}

static const char *go_type(const json_t *j)
{
	static const char *const names[] = {
	    [JSON_OBJECT] = "map[string]interface {}",
	    [JSON_ARRAY] = "[]interface {}",
	    [JSON_STRING] = "string",
	    [JSON_INTEGER] = "int",
	    [JSON_REAL] = "float64",
	    [JSON_TRUE] = "bool",
	    [JSON_FALSE] = "bool",
	    [JSON_NULL] = "<nil>",
	};

	return j ? names[json_typeof(j)] : "<nil>";
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
	case 'X':
		if (json_is_string(j))
			print_hex(&v, json_string_value(j), verb);
		else
			strbuf_addf(&v, verb == 'x' ? "%llx" : "%llX", (long long)json_integer_value(j));
		break;
	case 'o':
		strbuf_addf(&v, "%llo", (long long)json_integer_value(j));
		break;
	case 'b':
		print_binary(&v, (uint64_t)json_integer_value(j));
		break;
	case 'c':
		template_add_rune(&v, (unsigned long)json_integer_value(j));
		break;
	case 'U':
		strbuf_addf(&v, "U+%04llX", (long long)json_integer_value(j));
		break;
	case 'e':
		strbuf_addf(&v, "%.*e", precision < 0 ? 6 : precision, json_number_value(j));
		break;
	case 'f':
	case 'F':
		strbuf_addf(&v, "%.*f", precision < 0 ? 6 : precision, json_number_value(j));
		break;
	case 'T':
		strbuf_add(&v, go_type(j));
		break;
	case 'd':
		if (strchr(flags, '+') && json_integer_value(j) >= 0)
			strbuf_add_c(&v, '+');
		template_print(&v, j);
		break;
	case 's':
	case 'v':
	case 'g':
	case 't':
		template_print(&v, j);
		if (verb == 's' && precision >= 0 && v.s)
			v.len = char_offset(v.s, (size_t)precision);
		break;
	default:
		return fail(c, "a verb that is none of %v %s %q %d %x %X %o %b %c %U %e %f %g %t %T");
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

/* html, js and urlquery, of all arguments printed together. */
static int f_escape(const Call *c, json_t **ret)
{
	static const char html_from[] = "<>&\"'", js_from[] = "'\"\\<>&=";
	static const char *const html_to[] = {"&lt;", "&gt;", "&amp;", "&#34;", "&#39;"},
				 *const js_to[] = {"\\'",     "\\\"",    "\\\\",   "\\u003C",
						   "\\u003E", "\\u0026", "\\u003D"};
	_cleanup_strbuf_ StrBuf in = {0}, b = {0};

	for (size_t i = 0; i < c->a->n; i++)
		template_print(&in, c->a->v[i]);
	for (const char *p = in.s; p && *p; p++) {
		const char *from = c->name[0] == 'h' ? html_from : js_from, *at = strchr(from, *p);

		if (c->name[0] == 'u' && *p == ' ')
			strbuf_add_c(&b, '+');
		else if (c->name[0] == 'u' && !isalnum((unsigned char)*p) && !strchr("-_.~", *p))
			strbuf_addf(&b, "%%%02X", (unsigned char)*p);
		else if (c->name[0] != 'u' && at)
			strbuf_add(&b, (c->name[0] == 'h' ? html_to : js_to)[at - from]);
		else
			strbuf_add_c(&b, *p);
	}
	b.oom = b.oom || in.oom;
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
    {"gt", 2, 2, f_order},       {"ge", 2, 2, f_order},          {"html", 1, 64, f_escape},
    {"js", 1, 64, f_escape},     {"urlquery", 1, 64, f_escape},
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
