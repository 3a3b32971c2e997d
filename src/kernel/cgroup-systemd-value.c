/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Properties given as annotations: the text form of GVariant, as far as properties of units have use for it.
 *
 *   value := ['@' signature ' '] plain | type ' ' plain
 *   plain := number | "true" | "false" | 'string' | "string" | b'bytes' | [plain, ...]
 *
 * A number is an int32 ("i") or, with a point or an exponent, a double ("d"); a type in front of it says otherwise.
 */
#include "kernel/cgroup-systemd.h"

#include "base/str.h"

#include <ctype.h>

#define PREFIX "org.systemd.property."
#define DEPTH  4

typedef struct Parser {
	const char *all, *at;
	Err *e;
} Parser;

static int bad(const Parser *p, const char *what)
{
	return err_new(p->e, ERR_INVALID, "\"%s\" at character %zu: %s", p->all, (size_t)(p->at - p->all) + 1,
		       what);
}

static void skip_blanks(Parser *p)
{
	while (isspace((unsigned char)*p->at))
		p->at++;
}

static const struct {
	const char *word, *signature;
	int64_t min;
	uint64_t max;
} types[] = {
    {"byte", "y", 0, UINT8_MAX},    {"int16", "n", INT16_MIN, INT16_MAX},
    {"uint16", "q", 0, UINT16_MAX}, {"int32", "i", INT32_MIN, INT32_MAX},
    {"uint32", "u", 0, UINT32_MAX}, {"int64", "x", INT64_MIN, INT64_MAX},
    {"uint64", "t", 0, UINT64_MAX}, {"boolean", "b", 0, 0},
    {"double", "d", 0, 0},          {"string", "s", 0, 0},
    {"objectpath", "o", 0, 0},      {"signature", "g", 0, 0},
};

/* "uint64 " or "@t " in front of a value; *signature stays as it is without. */
static int parse_type(Parser *p, char *signature, size_t cap)
{
	size_t n = strcspn(p->at, " \t");

	if (*p->at == '@') {
		if (n < 2 || n > cap || p->at[n] == '\0')
			return bad(p, "expected a signature and a value");
		memcpy(signature, p->at + 1, n - 1);
		signature[n - 1] = '\0';
		p->at += n;
		skip_blanks(p);
		return 0;
	}
	for (size_t i = 0; i < ELEMENTSOF(types); i++) {
		if (n != strlen(types[i].word) || strncmp(p->at, types[i].word, n) != 0 || p->at[n] == '\0')
			continue;
		snprintf(signature, cap, "%s", types[i].signature);
		p->at += n;
		skip_blanks(p);
	}
	return 0;
}

static int unescape(Parser *p, StrBuf *b)
{
	static const char from[] = "abfnrtv", to[] = "\a\b\f\n\r\t\v";
	const char *known = *p->at ? strchr(from, *p->at) : NULL;

	if (*p->at == '\0')
		return bad(p, "a string has no end");
	strbuf_add_c(b, known ? to[known - from] : *p->at);
	return 0;
}

static int parse_quoted(Parser *p, StrBuf *b)
{
	char quote = *p->at++;

	for (; *p->at && *p->at != quote; p->at++) {
		int r = 0;

		if (*p->at == '\\') {
			p->at++;
			r = unescape(p, b);
		} else
			strbuf_add_c(b, *p->at);
		if (r < 0)
			return r;
	}
	if (!*p->at)
		return bad(p, "a string has no end");
	p->at++;
	return 0;
}

static int parse_string(Parser *p, const char *signature, json_t **ret)
{
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_free_ char *text = NULL;
	int r;

	if (!strchr("sog", *signature) || signature[1])
		return bad(p, "no string is expected here");
	r = parse_quoted(p, &b);
	if (r < 0)
		return r;
	text = strbuf_steal(&b);
	*ret = text ? json_string(text) : NULL;
	return *ret ? 0 : bad(p, "the string is not valid UTF-8");
}

/* b'text': its bytes, and the NUL that ends it. */
static int parse_bytes(Parser *p, const char *signature, json_t **ret)
{
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_json_ json_t *list = json_array();
	int r;

	if (!streq(signature, "ay"))
		return bad(p, "no byte string is expected here");
	p->at++;
	r = parse_quoted(p, &b);
	strbuf_add_c(&b, '\0');
	if (r == 0 && (!list || b.oom))
		r = err_oom(p->e);
	for (size_t i = 0; r == 0 && i < b.len; i++)
		if (json_array_append_new(list, json_integer((unsigned char)b.s[i])) < 0)
			r = err_oom(p->e);
	if (r == 0)
		*ret = take_ptr(list);
	return r;
}

static int in_range(const Parser *p, char type, const char *digits, bool negative, json_t **ret)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(digits, &end, 0);
	if (errno || *end || !isdigit((unsigned char)*digits))
		return bad(p, "a number is expected here");
	for (size_t i = 0; i < ELEMENTSOF(types); i++) {
		if (types[i].signature[0] != type)
			continue;
		if (negative ? v > -(unsigned long long)types[i].min : v > types[i].max)
			return bad(p, "the number is out of the type's range");
	}
	*ret = json_integer((json_int_t)(negative ? -v : v));
	return *ret ? 0 : err_oom(p->e);
}

static int parse_number(Parser *p, const char *signature, json_t **ret)
{
	size_t n = strspn(p->at, "0123456789abcdefABCDEFxX+-.");
	_cleanup_free_ char *word = strndup(p->at, n);
	const char *digits = word;
	int r;

	if (!word)
		return err_oom(p->e);
	if (signature[1] || !strchr("ynqiuxtd", *signature) || n == 0)
		return bad(p, "a value of another type is expected here");
	if (*signature == 'd') {
		char *end;
		double d = strtod(word, &end);

		*ret = *end == '\0' ? json_real(d) : NULL;
		r = *ret ? 0 : bad(p, "a number is expected here");
	} else {
		digits += *digits == '-' || *digits == '+';
		r = in_range(p, *signature, digits, word[0] == '-', ret);
	}
	p->at += n;
	return r;
}

static int parse_boolean(Parser *p, const char *signature, json_t **ret)
{
	bool is_true = str_starts(p->at, "true");

	if (!streq(signature, "b"))
		return bad(p, "no boolean is expected here");
	p->at += strlen(is_true ? "true" : "false");
	*ret = json_boolean(is_true);
	return 0;
}

/* What an untyped value is. */
static const char *guess(const char *s)
{
	if (*s == '\'' || *s == '"')
		return "s";
	if (*s == 'b' && (s[1] == '\'' || s[1] == '"'))
		return "ay";
	if (str_starts(s, "true") || str_starts(s, "false"))
		return "b";
	size_t n = strspn(s, "0123456789abcdefABCDEFxX+-.");
	bool hex = str_starts(s + strspn(s, "+-"), "0x");

	return !hex && (memchr(s, '.', n) || memchr(s, 'e', n)) ? "d" : "i";
}

/* NOLINTNEXTLINE(misc-no-recursion): the depth is limited */
static int parse_plain(Parser *p, char *signature, size_t cap, int depth, json_t **ret);

/* NOLINTNEXTLINE(misc-no-recursion) */
static int parse_array(Parser *p, char *signature, size_t cap, int depth, json_t **ret)
{
	_cleanup_json_ json_t *list = json_array();
	char element[8] = "";

	if (!list)
		return err_oom(p->e);
	if (*signature && *signature != 'a')
		return bad(p, "no array is expected here");
	snprintf(element, sizeof(element), "%s", *signature ? signature + 1 : "");
	p->at++;
	skip_blanks(p);
	while (*p->at != ']') {
		json_t *one = NULL;
		int r = parse_plain(p, element, sizeof(element), depth + 1, &one);

		if (r < 0)
			return r;
		if (json_array_append_new(list, one) < 0)
			return err_oom(p->e);
		skip_blanks(p);
		if (*p->at == ',')
			p->at++;
		else if (*p->at != ']')
			return bad(p, "expected ',' or ']'");
		skip_blanks(p);
	}
	p->at++;
	if (!*element)
		return bad(p, "an empty array needs its type in front (@as)");
	snprintf(signature, cap, "a%s", element);
	*ret = take_ptr(list);
	return 0;
}

/* NOLINTNEXTLINE(misc-no-recursion) */
static int parse_plain(Parser *p, char *signature, size_t cap, int depth, json_t **ret)
{
	int r = parse_type(p, signature, cap);

	if (r < 0)
		return r;
	if (depth > DEPTH)
		return bad(p, "too deep");
	if (*p->at == '[')
		return parse_array(p, signature, cap, depth, ret);
	if (!*signature)
		snprintf(signature, cap, "%s", guess(p->at));
	if (*p->at == '\'' || *p->at == '"')
		return parse_string(p, signature, ret);
	if (*p->at == 'b' && (p->at[1] == '\'' || p->at[1] == '"'))
		return parse_bytes(p, signature, ret);
	if (str_starts(p->at, "true") || str_starts(p->at, "false"))
		return parse_boolean(p, signature, ret);
	return parse_number(p, signature, ret);
}

int cgroup_unit_value(const char *text, char **ret_signature, json_t **ret, Err *e)
{
	Parser p = {.all = text, .at = text, .e = e};
	_cleanup_json_ json_t *value = NULL;
	char signature[8] = "";
	int r;

	skip_blanks(&p);
	r = parse_plain(&p, signature, sizeof(signature), 0, &value);
	if (r < 0)
		return r;
	skip_blanks(&p);
	if (*p.at)
		return bad(&p, "the value should end here");
	*ret_signature = strdup(signature);
	if (!*ret_signature)
		return err_oom(e);
	*ret = take_ptr(value);
	return 0;
}

static bool is_property(const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < n; i++)
		if (!isalpha((unsigned char)name[i]) || (unsigned char)name[i] > 127)
			return false;
	return n >= 3;
}

/* "TimeoutStopSec", as it is called in unit files, is "TimeoutStopUSec" on the bus. */
static int seconds_to_bus(char **name, const char *signature, json_t **value, Err *e)
{
	size_t n = strlen(*name);
	char *bus_name;
	json_t *us;

	if (!str_ends(*name, "Sec") || n < 4 || !islower((unsigned char)(*name)[n - 4]))
		return 0;
	if (!json_is_number(*value))
		return err_new(e, ERR_INVALID, "a value of type \"%s\" is no number of seconds", signature);
	us = json_integer(json_is_real(*value) ? (json_int_t)(json_real_value(*value) * 1e6)
					       : json_integer_value(*value) * 1000000);
	bus_name = strf("%.*sUSec", (int)(n - 3), *name);
	if (!us || !bus_name) {
		json_decref(us);
		free(bus_name);
		return err_oom(e);
	}
	json_decref(*value);
	free(*name);
	*value = us;
	*name = bus_name;
	return 1;
}

static int add_annotation(const char *text, json_t *list, Err *e)
{
	const char *cut = strchr(text, '=');
	_cleanup_free_ char *name = cut ? strndup(text, (size_t)(cut - text)) : NULL, *signature = NULL;
	_cleanup_json_ json_t *value = NULL;
	int r;

	if (!name)
		return err_oom(e);
	if (!is_property(name))
		return err_new(e, ERR_INVALID,
			       "annotations." PREFIX "%s: a property's name has three letters or more and "
			       "nothing else",
			       name);
	r = cgroup_unit_value(cut + 1, &signature, &value, e);
	if (r == 0)
		r = seconds_to_bus(&name, signature, &value, e);
	if (r < 0)
		return err_ctx(e, r, "annotations." PREFIX "%s", name);
	return cgroup_unit_add(list, name, r == 1 ? "t" : signature, take_ptr(value), 0, e);
}

int cgroup_unit_annotations(char *const *annotations, json_t *list, Err *e)
{
	for (size_t i = 0; annotations && annotations[i]; i++) {
		const char *rest = str_after(annotations[i], PREFIX);
		int r = rest ? add_annotation(rest, list, e) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}
