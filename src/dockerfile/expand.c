/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Variables and words of a Dockerfile: shell-like, but only the forms that the Dockerfile reference
 * lists; nothing is ever run.
 */
#include "dockerfile/dockerfile.h"

#include "base/str.h"

#include <ctype.h>

#define EXPANDED_MAX (1u << 20) /* bytes: ${a} in a's own value would otherwise double at every line */

typedef struct Expander {
	const char *p;
	char escape;
	char *const *env;
	bool words;
	StrBuf out;
	int depth;
} Expander;

static int expand_until(Expander *x, char stop, Err *e);

/* Adds a value so that it stays one word: outside quotes blanks and quotes are escaped, inside double quotes only " and the escape. */
static void put_value(Expander *x, const char *value, bool quoted)
{
	const char *special = quoted ? "\"" : " \t\"'";

	for (; *value; value++) {
		if (x->words && (*value == x->escape || *value == '$' || strchr(special, *value)))
			strbuf_add_c(&x->out, x->escape);
		strbuf_add_c(&x->out, *value);
	}
}

static size_t name_length(const char *p)
{
	size_t n = 0;

	if (isdigit((unsigned char)*p))
		return 0;
	while (isalnum((unsigned char)p[n]) || p[n] == '_')
		n++;
	return n;
}

/* The word behind an operator in ${name:-word}, expanded by itself; x->p ends behind the brace. */
static int operand(Expander *x, char **ret, Err *e)
{
	Expander sub = {.p = x->p, .escape = x->escape, .env = x->env, .depth = x->depth + 1};
	int r = sub.depth > 20 ? err_new(e, ERR_INVALID, "variables are nested too deeply")
			       : expand_until(&sub, '}', e);

	if (r >= 0 && *sub.p != '}')
		r = err_new(e, ERR_INVALID, "unterminated ${...}");
	if (r >= 0) {
		x->p = sub.p + 1;
		*ret = strbuf_steal(&sub.out);
		if (!*ret)
			r = err_oom(e);
	}
	strbuf_done(&sub.out);
	return r;
}

static int braced(Expander *x, bool quoted, Err *e)
{
	size_t n = name_length(x->p);
	_cleanup_free_ char *name = strndup(x->p, n), *word = NULL;
	bool colon;
	char op;
	int r;

	if (!name)
		return err_oom(e);
	x->p += n;
	const char *value = strv_env_get(x->env, name);
	if (n > 0 && *x->p == '}') {
		x->p++;
		put_value(x, value ?: "", quoted);
		return 0;
	}
	colon = *x->p == ':';
	op = x->p[colon];
	if (n == 0 || !op || !strchr("-+?", op))
		return err_new(e, ERR_INVALID, "unsupported modifier in ${%s%.2s...}: use :- :+ or :?", name,
			       x->p);
	x->p += colon + 1;
	r = operand(x, &word, e);
	if (r < 0)
		return r;
	bool set = value && (!colon || *value);
	if (op == '?' && !set)
		return err_new(e, ERR_INVALID, "%s: %s", name, *word ? word : "is not set");
	if (op == '+')
		put_value(x, set ? word : "", quoted);
	else
		put_value(x, set ? value : word, quoted);
	return 0;
}

static int variable(Expander *x, bool quoted, Err *e)
{
	size_t n;

	x->p++; /* $ */
	if (*x->p == '{') {
		x->p++;
		return braced(x, quoted, e);
	}
	n = name_length(x->p);
	if (n == 0) {
		strbuf_add_c(&x->out, '$');
		return 0;
	}
	_cleanup_free_ char *name = strndup(x->p, n);
	if (!name)
		return err_oom(e);
	x->p += n;
	put_value(x, strv_env_get(x->env, name) ?: "", quoted);
	return 0;
}

static int expand_until(Expander *x, char stop, Err *e)
{
	char quote = 0;

	while (*x->p && (quote || *x->p != stop)) {
		int r = 0;

		if (x->out.len > EXPANDED_MAX)
			return err_new(e, ERR_INVALID, "expands to more than %u bytes", EXPANDED_MAX);
		if (*x->p == x->escape && x->p[1] && quote != '\'') {
			/* An escaped $ is a plain one; other escapes are left to the splitting into words. */
			if (x->p[1] != '$' || x->words)
				strbuf_add_c(&x->out, x->p[0]);
			strbuf_add_c(&x->out, x->p[1]);
			x->p += 2;
		} else if (*x->p == '$' && quote != '\'') {
			r = variable(x, quote == '"', e);
		} else {
			if ((*x->p == '"' || *x->p == '\'') && (!quote || quote == *x->p))
				quote = quote ? 0 : *x->p;
			strbuf_add_c(&x->out, *x->p++);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int dockerfile_expand(const char *text, char escape, char *const *env, bool words, char **ret, Err *e)
{
	Expander x = {.p = text, .escape = escape, .env = env, .words = words};
	int r = expand_until(&x, '\0', e);

	if (r >= 0) {
		*ret = strbuf_steal(&x.out);
		if (!*ret)
			r = err_oom(e);
	}
	strbuf_done(&x.out);
	return r;
}

/* One word from *p on, up to a blank if those end it; *p is left where it ends. */
static int take_word(const char **p, char escape, bool blanks_end, char **ret, Err *e)
{
	_cleanup_strbuf_ StrBuf word = {0};
	const char *at = *p;
	char quote = 0;

	for (; *at && (quote || !blanks_end || (*at != ' ' && *at != '\t')); at++) {
		if (*at == escape && at[1] && quote != '\'') {
			strbuf_add_c(&word, *++at);
		} else if ((*at == '"' || *at == '\'') && (!quote || quote == *at)) {
			quote = quote ? 0 : *at;
		} else {
			strbuf_add_c(&word, *at);
		}
	}
	if (quote)
		return err_new(e, ERR_INVALID,
			       "unexpected end of statement while looking for matching %s-quote",
			       quote == '"' ? "double" : "single");
	*p = at;
	*ret = strbuf_steal(&word);
	return *ret ? 0 : err_oom(e);
}

int dockerfile_word(const char *text, char escape, char **ret, Err *e)
{
	return take_word(&text, escape, false, ret, e);
}

int dockerfile_words(const char *text, char escape, char ***ret, Err *e)
{
	_cleanup_strv_ char **v = NULL;
	const char *p = text;

	for (;;) {
		char *word = NULL;

		while (*p == ' ' || *p == '\t')
			p++;
		if (!*p)
			break;
		int r = take_word(&p, escape, true, &word, e);

		if (r < 0)
			return r;
		if (strv_take(&v, word) < 0)
			return err_oom(e);
	}
	if (!v) {
		v = calloc(1, sizeof(char *));
		if (!v)
			return err_oom(e);
	}
	*ret = take_ptr(v);
	return 0;
}
