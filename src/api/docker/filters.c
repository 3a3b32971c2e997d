/* SPDX-License-Identifier: Apache-2.0 */
#include "api/docker/filters.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/pattern.h"
#include "base/str.h"

#include <fnmatch.h>
#include <regex.h>
#include <strings.h>

#define FILTERS_MAX 1000

static int add(Filters *f, const char *key, const char *value, Err *e)
{
	Filter *grown, item;

	if (f->n == FILTERS_MAX)
		return err_new(e, ERR_INVALID, "invalid filters: more than %d values", FILTERS_MAX);
	grown = realloc(f->items, (f->n + 1) * sizeof(*grown));
	if (!grown)
		return err_oom(e);
	f->items = grown;
	item = (Filter){strdup(key), strdup(value)};
	if (!item.key || !item.value) {
		free(item.key);
		free(item.value);
		return err_oom(e);
	}
	f->items[f->n++] = item;
	return 0;
}

static int add_values(Filters *f, const char *key, json_t *values, Err *e)
{
	const char *value;
	json_t *v;
	size_t i;
	int r = 0;

	if (json_is_object(values)) {
		json_object_foreach (values, value, v) {
			/* {"label":{"x":false}} switches the value off. */
			if (r >= 0 && !json_is_false(v))
				r = add(f, key, value, e);
		}
		return r;
	}
	if (!json_is_array(values))
		return err_new(e, ERR_INVALID, "invalid filters: %.60s: expected an object or an array", key);
	json_array_foreach (values, i, v) {
		if (!json_is_string(v))
			return err_new(e, ERR_INVALID, "invalid filters: %.60s: expected strings", key);
		r = add(f, key, json_string_value(v), e);
		if (r < 0)
			return r;
	}
	return 0;
}

int filters_parse(const char *json, Filters *ret, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	const char *key;
	json_t *values;
	int r;

	*ret = (Filters){0};
	if (str_empty(json))
		return 0;
	r = json_parse(json, strlen(json), "filters", &doc, e);
	if (r < 0)
		return err_kind(e, r, ERR_INVALID);
	if (!json_is_object(doc))
		return err_new(e, ERR_INVALID, "invalid filters: expected a JSON object");
	json_object_foreach (doc, key, values) {
		r = add_values(ret, key, values, e);
		if (r < 0) {
			filters_done(ret);
			return r;
		}
	}
	return 0;
}

void filters_done(Filters *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->items[i].key);
		free(f->items[i].value);
	}
	free(f->items);
	*f = (Filters){0};
}

int filters_allow(const Filters *f, const char *const *allowed, Err *e)
{
	for (size_t i = 0; i < f->n; i++) {
		const char *const *a = allowed;

		while (*a && !streq(*a, f->items[i].key))
			a++;
		if (!*a)
			return err_new(e, ERR_INVALID, "invalid filter '%.100s'", f->items[i].key);
	}
	return 0;
}

const char *filters_get(const Filters *f, const char *key, size_t idx)
{
	for (size_t i = 0; i < f->n; i++)
		if (streq(f->items[i].key, key) && idx-- == 0)
			return f->items[i].value;
	return NULL;
}

bool filters_has(const Filters *f, const char *key)
{
	return filters_get(f, key, 0);
}

bool filters_exact(const Filters *f, const char *key, const char *text)
{
	const char *v;

	for (size_t i = 0; (v = filters_get(f, key, i)); i++)
		if (streq(v, text))
			return true;
	return !filters_has(f, key);
}

bool filters_prefix(const Filters *f, const char *key, const char *text)
{
	const char *v;

	for (size_t i = 0; (v = filters_get(f, key, i)); i++)
		if (str_starts(text, v))
			return true;
	return !filters_has(f, key);
}

static bool label_given(char *const *labels, const char *want)
{
	size_t n = strcspn(want, "=");

	for (; labels && *labels; labels++) {
		if (want[n] ? streq(*labels, want)
			    : strncmp(*labels, want, n) == 0 && ((*labels)[n] == '=' || !(*labels)[n]))
			return true;
	}
	return false;
}

bool filters_labels(const Filters *f, char *const *labels)
{
	bool excluded = filters_has(f, "label!");
	const char *v;

	for (size_t i = 0; (v = filters_get(f, "label", i)); i++)
		if (!label_given(labels, v))
			return false;
	for (size_t i = 0; (v = filters_get(f, "label!", i)); i++)
		excluded = excluded && label_given(labels, v);
	return !excluded;
}

static int regex_one(const char *pattern, const char *text, Err *e)
{
	regex_t re;
	int r;

	if (!pattern_is_bounded(pattern))
		return err_new(
		    e, ERR_INVALID,
		    "invalid filter pattern '%.100s': too long, or with back references, {n} or nested +",
		    pattern);
	r = regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB);
	if (r) {
		char why[100];

		regerror(r, &re, why, sizeof(why));
		return err_new(e, ERR_INVALID, "invalid filter pattern '%.100s': %s", pattern, why);
	}
	r = regexec(&re, text, 0, NULL, 0) == 0;
	regfree(&re);
	return r;
}

int filters_regex(const Filters *f, const char *key, const char *text, Err *e)
{
	const char *v;

	for (size_t i = 0; (v = filters_get(f, key, i)); i++) {
		int r = streq(v, text) ? 1 : regex_one(v, text, e);

		if (r != 0)
			return r;
	}
	return !filters_has(f, key);
}

/* 1, 0, or -1 for neither. */
static int bool_value(const char *v)
{
	if (streq(v, "1") || strcasecmp(v, "true") == 0 || strcasecmp(v, "t") == 0)
		return 1;
	return streq(v, "0") || strcasecmp(v, "false") == 0 || strcasecmp(v, "f") == 0 ? 0 : -1;
}

int filters_bool(const Filters *f, const char *key, bool *ret, Err *e)
{
	const char *first = filters_get(f, key, 0), *v;
	int value = first ? bool_value(first) : 0;

	if (!first)
		return 0;
	if (value < 0)
		return err_new(e, ERR_INVALID, "invalid filter '%s=[%.60s]'", key, first);
	for (size_t i = 1; (v = filters_get(f, key, i)); i++)
		if (bool_value(v) != value)
			return err_new(e, ERR_INVALID, "invalid filter '%s=[%.60s %.60s]'", key, first, v);
	*ret = value;
	return 0;
}

int filters_time(const Filters *f, const char *key, int64_t *ret_ns, Err *e)
{
	const char *v = filters_get(f, key, 0);
	int64_t ago;

	if (!v)
		return 0;
	if (filters_get(f, key, 1))
		return err_new(e, ERR_INVALID, "more than one %s filter specified", key);
	if (clock_parse_duration(v, &ago) == 0)
		*ret_ns = clock_now_ns() - ago;
	else if (clock_parse(v, ret_ns) < 0)
		return err_new(e, ERR_INVALID, "invalid filter '%s=%.60s': expected a time or a duration",
			       key, v);
	return 0;
}

bool glob_match(const char *pattern, const char *text)
{
	/* Bounded: fnmatch tries every split for every star. */
	size_t stars = 0;

	for (const char *p = pattern; *p; p++)
		stars += *p == '*' && p[1] != '*';
	if (stars > 8 || strlen(pattern) > PATTERN_MAX)
		return false;
	return fnmatch(pattern, text, FNM_PATHNAME) == 0;
}
