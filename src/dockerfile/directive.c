/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parser directives, "# name=value" on the first lines: each once, in any case and order; the first line that is none, a blank or an unknown one
 * included, ends them. Which front end a text is for is looked for in other forms too, since it may be in any language.
 */
#include "dockerfile/parse-internal.h"
#include "dockerfile/utf8.h"

#include "base/json.h"
#include "base/str.h"

#include <ctype.h>

#define VALUE_MAX 4096

static const char *const names[] = {
    [DIRECTIVE_SYNTAX] = "syntax", [DIRECTIVE_ESCAPE] = "escape", [DIRECTIVE_CHECK] = "check"};

/* "name = value" in s: which it is, -1 for none. */
static int split(const char *s, const char **ret_value)
{
	size_t n = 0;

	while (isalnum((unsigned char)s[n]))
		n++;
	const char *p = df_skip_blanks(s + n);

	if (n == 0 || *p != '=')
		return -1;
	*ret_value = df_skip_blanks(p + 1);
	if (!**ret_value)
		return -1;
	for (size_t i = 0; i < ELEMENTSOF(names); i++)
		if (strlen(names[i]) == n && strncasecmp(s, names[i], n) == 0)
			return (int)i;
	return -1;
}

int directive_read(Directives *d, const char *line, size_t len, const char *sign, DirectiveName *ret,
		   char **ret_value, Err *e)
{
	_cleanup_free_ char *text = strndup(line, len);
	const char *rest = text ? str_after(text, sign) : NULL, *value;
	int i;

	if (!text)
		return err_oom(e);
	i = d->done || !rest ? -1 : split(df_skip_blanks(rest), &value);
	if (i < 0) {
		d->done = true;
		return 0;
	}
	if (d->seen[i])
		return err_new(e, ERR_INVALID, "only one %s parser directive can be used", names[i]);
	if (strlen(value) > VALUE_MAX)
		return err_new(e, ERR_INVALID, "the %s parser directive is longer than %d bytes", names[i],
			       VALUE_MAX);
	d->seen[i] = true;
	*ret = (DirectiveName)i;
	*ret_value = str_trim_dup(value);
	return *ret_value ? 1 : err_oom(e);
}

/* The next line from *at on, without its end. False at the end. */
static bool next_line(const char **at, const char *end, const char **ret, size_t *ret_len)
{
	if (*at >= end)
		return false;
	const char *nl = memchr(*at, '\n', (size_t)(end - *at));

	*ret = *at;
	*ret_len = (size_t)((nl ?: end) - *at);
	*at = nl ? nl + 1 : end;
	return true;
}

static const char *skip_bom(const char *text, const char *end)
{
	return end - text >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? text + 3 : text;
}

int directive_find(const char *text, size_t len, const char *sign, DirectiveName name, char **ret,
		   int *ret_line, Err *e)
{
	const char *end = text + len, *at = skip_bom(text, end), *line;
	Directives d = {0};
	size_t n;
	int number = 0;

	if (end - at >= 2 && memcmp(at, "#!", 2) == 0 && next_line(&at, end, &line, &n))
		number++;
	while (!d.done && next_line(&at, end, &line, &n)) {
		_cleanup_free_ char *value = NULL;
		DirectiveName which;
		int r = directive_read(&d, line, n, sign, &which, &value, e);

		number++;
		if (r < 0)
			return r;
		if (r > 0 && which == name) {
			*ret = take_ptr(value);
			*ret_line = number;
			return 1;
		}
	}
	return 0;
}

/* {"syntax": "..."} */
static int syntax_of_json(const char *text, size_t len, char **ret, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	const char *value;

	if (len == 0 || *df_skip_blanks(text) != '{' ||
	    json_parse_bounded(text, len, "Dockerfile", &doc, NULL) < 0)
		return 0;
	value = json_get_str(doc, "syntax");
	if (!value)
		return 0;
	*ret = strdup(value);
	return *ret ? 1 : err_oom(e);
}

int dockerfile_syntax(const char *text, size_t len, char **ret, int *ret_line, Err *e)
{
	_cleanup_free_ char *copy = strndup(text, MIN2(len, (size_t)DOCKERFILE_MAX));
	const char *json;
	int r;

	if (!copy)
		return err_oom(e);
	r = directive_find(copy, strlen(copy), "#", DIRECTIVE_SYNTAX, ret, ret_line, e);
	if (r == 0)
		r = directive_find(copy, strlen(copy), "//", DIRECTIVE_SYNTAX, ret, ret_line, e);
	if (r > 0)
		(*ret)[strcspn(*ret, " ")] = '\0';
	if (r != 0)
		return r;
	json = skip_bom(copy, copy + strlen(copy));
	if (str_starts(json, "#!"))
		json += strcspn(json, "\n");
	*ret_line = 1;
	return syntax_of_json(json, strlen(json), ret, e);
}
