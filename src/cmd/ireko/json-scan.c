/* SPDX-License-Identifier: Apache-2.0 */
/* See json-scan.h. */
#include "json-scan.h"

#include <ctype.h>

#define NESTING_MAX 64

void json_scan_blanks(const char **p)
{
	while (**p == ' ' || **p == '\n' || **p == '\r' || **p == '\t')
		(*p)++;
}

bool json_scan_take(const char **p, char c)
{
	json_scan_blanks(p);
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

bool json_scan_plain(const char **p, JsonSlice *ret)
{
	if (!json_scan_take(p, '"'))
		return false;
	ret->s = *p;
	while (**p >= ' ' && **p < 0x7F && **p != '"' && **p != '\\')
		(*p)++;
	ret->n = (size_t)(*p - ret->s);
	return json_scan_take(p, '"');
}

bool json_scan_int(const char **p, int64_t *ret)
{
	char *end;

	json_scan_blanks(p);
	if (**p != '-' && !isdigit((unsigned char)**p))
		return false;
	errno = 0;
	*ret = strtoll(*p, &end, 10);
	*p = end;
	return errno == 0 && strchr(",}] \n\r\t", **p) && **p;
}

static bool skip_string(const char **p)
{
	if (!json_scan_take(p, '"'))
		return false;
	for (; **p && **p != '"'; (*p)++)
		if (**p == '\\' && !*++*p)
			return false;
	return json_scan_take(p, '"');
}

bool json_scan_skip(const char **p, JsonSlice *ret)
{
	int depth = 0;

	json_scan_blanks(p);
	ret->s = *p;
	do {
		char c = **p;

		if (c == '"') {
			if (!skip_string(p))
				return false;
		} else if (c == '\0') {
			return false;
		} else {
			depth += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
			(*p)++;
		}
		if (depth < 0 || depth > NESTING_MAX)
			return false;
	} while (depth > 0 || !strchr(",}]", **p));
	ret->n = (size_t)(*p - ret->s);
	return **p != '\0' && ret->n > 0;
}

bool json_scan_is(const JsonSlice *key, const char *name)
{
	return key->n == strlen(name) && memcmp(key->s, name, key->n) == 0;
}

/* ---- trees of some of it ---- */

static json_t *load(const JsonSlice *s)
{
	return json_loadb(s->s, s->n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
}

static json_t *build_object(const char **p, int depth);

/* What is plain is made at once, and the rest goes to the parser. NULL if it is broken. */
static json_t *build(const char **p, int depth)
{
	const char *start;
	JsonSlice s;
	int64_t n;

	json_scan_blanks(p);
	start = *p;
	if (*start == '"' && json_scan_plain(p, &s))
		return json_stringn_nocheck(s.s, s.n);
	*p = start;
	if (json_scan_int(p, &n))
		return json_integer(n);
	*p = start;
	if (*start == '[' && depth < NESTING_MAX) {
		_cleanup_json_ json_t *array = json_array();
		bool good = array && json_scan_take(p, '[');

		if (good && json_scan_take(p, ']'))
			return take_ptr(array);
		while (good) {
			good = json_array_append_new(array, build(p, depth + 1)) == 0;
			if (good && !json_scan_take(p, ','))
				return json_scan_take(p, ']') ? take_ptr(array) : NULL;
		}
		return NULL;
	}
	if (*start == '{' && depth < NESTING_MAX) {
		json_t *object = build_object(p, depth);

		if (object)
			return object;
		*p = start;
	}
	return json_scan_skip(p, &s) ? load(&s) : NULL;
}

#define NAME_MAX_LEN 63

/* An object whose names are plain and short. NULL if it is not, or on out of memory. */
static json_t *build_object(const char **p, int depth)
{
	_cleanup_json_ json_t *object = json_object();
	JsonSlice key;

	if (!object || !json_scan_take(p, '{'))
		return NULL;
	if (json_scan_take(p, '}'))
		return take_ptr(object);
	do {
		char name[NAME_MAX_LEN + 1];

		if (!json_scan_plain(p, &key) || key.n > NAME_MAX_LEN || !json_scan_take(p, ':'))
			return NULL;
		memcpy(name, key.s, key.n);
		name[key.n] = '\0';
		if (json_object_get(object, name) ||
		    json_object_set_new_nocheck(object, name, build(p, depth + 1)) < 0)
			return NULL;
	} while (json_scan_take(p, ','));
	return json_scan_take(p, '}') ? take_ptr(object) : NULL;
}

static bool is_wanted(const JsonSlice *key, const char *const *members)
{
	for (; *members; members++)
		if (json_scan_is(key, *members))
			return true;
	return false;
}

static json_t *pick_object(const char **p, const char *const *members)
{
	_cleanup_json_ json_t *object = json_object();
	JsonSlice key, other;

	if (!object || !json_scan_take(p, '{'))
		return NULL;
	if (json_scan_take(p, '}'))
		return take_ptr(object);
	do {
		char name[32];

		if (!json_scan_plain(p, &key) || !json_scan_take(p, ':'))
			return NULL;
		if (!is_wanted(&key, members)) {
			if (!json_scan_skip(p, &other))
				return NULL;
			continue;
		}
		snprintf(name, sizeof(name), "%.*s", (int)key.n, key.s);
		if (json_object_set_new_nocheck(object, name, build(p, 0)) < 0)
			return NULL;
	} while (json_scan_take(p, ','));
	return json_scan_take(p, '}') ? take_ptr(object) : NULL;
}

/* Behind an item: another one, or the end. False: that is still to come, or will never. */
static bool step_on(JsonScan *s, const char **p)
{
	if (json_scan_take(p, ','))
		return true;
	s->ended = json_scan_take(p, ']');
	return s->ended;
}

static bool scan_begin(JsonScan *s, const char *text)
{
	const char *p = text;

	if (!s->begun && json_scan_take(&p, '[')) {
		s->begun = true;
		s->ended = json_scan_take(&p, ']');
		s->at = (size_t)(p - text);
	}
	return s->begun;
}

/* The next item if it is whole, and what follows it. */
static json_t *scan_item(JsonScan *s, const char *text)
{
	const char *p = text + s->at;
	_cleanup_json_ json_t *item = pick_object(&p, s->members);

	if (!item || !step_on(s, &p))
		return NULL;
	s->at = (size_t)(p - text);
	return take_ptr(item);
}

static void scan_items(JsonScan *s, const char *text)
{
	while (!s->ended && !s->failed) {
		_cleanup_json_ json_t *item = scan_item(s, text);

		if (!item)
			return;
		s->failed = !s->each(s->user, item);
	}
}

/* An item that was not whole is looked at again when there is twice as much of it: the time stays proportional to the text. */
void json_scan_more(JsonScan *s, const char *text, size_t len)
{
	if (s->failed || s->ended || len - s->at < s->need || !scan_begin(s, text))
		return;
	scan_items(s, text);
	s->need = 2 * (len - s->at);
}

bool json_scan_end(JsonScan *s, const char *text, size_t len)
{
	const char *p;

	s->need = 0;
	json_scan_more(s, text, len);
	if (s->failed || !s->ended)
		return false;
	p = text + s->at;
	json_scan_blanks(&p);
	return *p == '\0';
}

bool json_scan_each(const char *text, const char *const *members, bool (*each)(void *user, json_t *item),
		    void *user)
{
	JsonScan s = {members, each, user};

	return json_scan_end(&s, text, strlen(text));
}

static bool append(void *user, json_t *item)
{
	return json_array_append(user, item) == 0;
}

json_t *json_scan_pick(const char *text, const char *const *members)
{
	_cleanup_json_ json_t *array = json_array();

	return array && json_scan_each(text, members, append, array) ? take_ptr(array) : NULL;
}
