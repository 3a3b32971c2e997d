/* SPDX-License-Identifier: Apache-2.0 */
/* A stack of what is open, fed by libyaml's events: nothing recurses, and what the events make is counted. See yaml.h. */
#include "engine/yaml.h"

#include "base/str.h"

#include <ctype.h>
#include <yaml.h>

typedef struct Open {
	json_t *value; /* owned by the one below */
	char *key;     /* of a mapping: what the next value is called */
} Open;

typedef struct Yaml {
	yaml_parser_t parser;
	const char *const *texts;
	Open open[YAML_DEPTH_MAX];
	size_t depth, nodes, documents;
	json_t *root;
} Yaml;

static void yaml_done(Yaml *y)
{
	for (size_t i = 0; i < y->depth; i++)
		free(y->open[i].key);
	json_decref(y->root);
	yaml_parser_delete(&y->parser);
}

/* ---- scalars ---- */

static bool is_one_of(const char *s, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(s, words[i]) == 0)
			return true;
	return false;
}

/* Decimal, 0x1f, 0b11, 017 and 0o17. */
static bool parse_integer(const char *s, json_int_t *ret)
{
	const char *digits = s + (*s == '-' || *s == '+');
	int base = 10;
	char *end;
	long long n;

	if (digits[0] == '0' && digits[1]) {
		char kind = digits[1];

		base = kind == 'x' ? 16 : kind == 'b' ? 2 : 8;
		digits += kind == 'x' || kind == 'b' || kind == 'o' ? 2 : 1;
	}
	if (!isalnum((unsigned char)*digits))
		return false;
	errno = 0;
	n = strtoll(digits, &end, base);
	if (errno || *end)
		return false;
	*ret = *s == '-' ? -n : n;
	return true;
}

static bool parse_real(const char *s, double *ret)
{
	char *end;

	if (!s[strspn(s, "+-.")] || s[strspn(s, "0123456789+-.eE")] || !strpbrk(s, "0123456789"))
		return false;
	*ret = strtod(s, &end);
	return !*end && __builtin_isfinite(*ret);
}

static json_t *plain_value(const char *s)
{
	static const char *const none[] = {"", "~", "null"}, *const yes[] = {"true", "yes", "on", "y"},
				 *const no[] = {"false", "no", "off", "n"};
	json_int_t n;
	double d;

	if (is_one_of(s, none, ELEMENTSOF(none)))
		return json_null();
	if (is_one_of(s, yes, ELEMENTSOF(yes)))
		return json_true();
	if (is_one_of(s, no, ELEMENTSOF(no)))
		return json_false();
	if (parse_integer(s, &n))
		return json_integer(n);
	return parse_real(s, &d) ? json_real(d) : json_string(s);
}

/* ---- events ---- */

static int wrong(Err *e, const yaml_mark_t *at, ErrKind kind, const char *what)
{
	return err_new(e, kind, "line %zu: %s", at->line + 1, what);
}

static bool in_mapping(const Yaml *y)
{
	return y->depth > 0 && json_is_object(y->open[y->depth - 1].value);
}

static bool key_awaited(const Yaml *y)
{
	return in_mapping(y) && !y->open[y->depth - 1].key;
}

/* Takes the value. */
static int put(Yaml *y, json_t *value, Err *e)
{
	Open *top = y->depth ? &y->open[y->depth - 1] : NULL;
	int r;

	if (!value)
		return err_oom(e);
	if (!top) {
		y->root = value;
		return 0;
	}
	r = top->key ? json_object_set_new(top->value, top->key, value)
		     : json_array_append_new(top->value, value);
	free(take_ptr(top->key));
	return r < 0 ? err_oom(e) : 0;
}

static int begin(Yaml *y, const yaml_event_t *v, Err *e)
{
	json_t *value;
	int r;

	if (key_awaited(y))
		return wrong(e, &v->start_mark, ERR_UNSUPPORTED, "a key that is a list or a mapping");
	if (y->depth == YAML_DEPTH_MAX)
		return wrong(e, &v->start_mark, ERR_INVALID, "nested too deeply");
	value = v->type == YAML_MAPPING_START_EVENT ? json_object() : json_array();
	r = put(y, value, e);
	if (r >= 0)
		y->open[y->depth++] = (Open){.value = value};
	return r;
}

static int take_key(Yaml *y, const yaml_event_t *v, const char *s, Err *e)
{
	Open *top = &y->open[y->depth - 1];

	if (streq(s, "<<") && v->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
		return wrong(e, &v->start_mark, ERR_UNSUPPORTED, "merge keys (<<) are not read");
	if (json_object_get(top->value, s))
		return err_new(e, ERR_INVALID, "line %zu: the key \"%.100s\" stands twice",
			       v->start_mark.line + 1, s);
	top->key = strdup(s);
	return top->key ? 0 : err_oom(e);
}

static bool is_text(const Yaml *y, const yaml_event_t *v)
{
	const char *key = in_mapping(y) ? y->open[y->depth - 1].key : NULL;

	if (v->data.scalar.tag || v->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return true;
	for (const char *const *t = y->texts; key && t && *t; t++)
		if (streq(*t, key))
			return true;
	return false;
}

static int scalar(Yaml *y, const yaml_event_t *v, Err *e)
{
	const char *s = (const char *)v->data.scalar.value, *tag = (const char *)v->data.scalar.tag;

	if (strlen(s) != v->data.scalar.length)
		return wrong(e, &v->start_mark, ERR_INVALID, "a NUL in a text");
	if (tag && !streq(tag, YAML_STR_TAG))
		return wrong(e, &v->start_mark, ERR_UNSUPPORTED, "tags (!x) are not read");
	if (key_awaited(y))
		return take_key(y, v, s, e);
	return put(y, is_text(y, v) ? json_string(s) : plain_value(s), e);
}

static bool has_anchor_or_tag(const yaml_event_t *v)
{
	switch (v->type) {
	case YAML_SCALAR_EVENT:
		return v->data.scalar.anchor;
	case YAML_SEQUENCE_START_EVENT:
		return v->data.sequence_start.anchor || v->data.sequence_start.tag;
	case YAML_MAPPING_START_EVENT:
		return v->data.mapping_start.anchor || v->data.mapping_start.tag;
	default:
		return v->type == YAML_ALIAS_EVENT;
	}
}

static int on_event(Yaml *y, const yaml_event_t *v, Err *e)
{
	if (has_anchor_or_tag(v))
		return wrong(e, &v->start_mark, ERR_UNSUPPORTED,
			     "anchors, aliases and tags are not read: write out what they stand for");
	switch (v->type) {
	case YAML_DOCUMENT_START_EVENT:
		return y->documents++ ? wrong(e, &v->start_mark, ERR_UNSUPPORTED, "a second document") : 0;
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
	case YAML_SCALAR_EVENT:
		if (++y->nodes > YAML_NODES_MAX)
			return wrong(e, &v->start_mark, ERR_INVALID, "too many values");
		return v->type == YAML_SCALAR_EVENT ? scalar(y, v, e) : begin(y, v, e);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		y->depth--;
		return 0;
	default:
		return 0;
	}
}

static int parse_error(const yaml_parser_t *p, Err *e)
{
	if (p->error == YAML_MEMORY_ERROR)
		return err_oom(e);
	return err_new(e, ERR_INVALID, "line %zu: %s", p->problem_mark.line + 1, p->problem ?: "no YAML");
}

int yaml_parse(const char *text, size_t len, const char *const *texts, json_t **ret, Err *e)
{
	_cleanup_(yaml_done) Yaml y = {.texts = texts};
	bool more = true;
	int r = 0;

	if (!yaml_parser_initialize(&y.parser))
		return err_oom(e);
	yaml_parser_set_encoding(&y.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&y.parser, (const unsigned char *)text, len);
	while (r >= 0 && more) {
		yaml_event_t v;

		if (!yaml_parser_parse(&y.parser, &v))
			return parse_error(&y.parser, e);
		more = v.type != YAML_STREAM_END_EVENT;
		r = on_event(&y, &v, e);
		yaml_event_delete(&v);
	}
	if (r < 0)
		return r;
	*ret = y.root ? take_ptr(y.root) : json_null();
	return 0;
}
