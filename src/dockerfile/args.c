/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A logical line in its parts: the verb, flags, and the arguments in the form that the instruction has them. Flags lose their quotes and
 * escapes here; arguments keep them.
 */
#include "dockerfile/parse-internal.h"
#include "dockerfile/utf8.h"

#include "base/json.h"
#include "base/str.h"

/* The next word of *p, which begins at no blank, with quotes (which stay, if `keep`) protecting blanks in it. *p is left behind it.
 * An escape at the very end is dropped. */
static char *take_word(const char **p, char escape, bool keep)
{
	StrBuf b = {0};
	char quote = 0;

	for (const char *s = *p;; s++) {
		if (!*s || (!quote && df_blank(s))) {
			*p = s;
			break;
		}
		bool mark = (*s == '\'' || *s == '"') && (!quote || quote == *s);

		if (*s == escape && !(keep && quote == '\'')) {
			if (keep && s[1])
				strbuf_add_c(&b, *s);
			if (s[1])
				strbuf_add_c(&b, *++s);
			continue;
		}
		if (mark)
			quote = quote ? 0 : *s;
		if (!mark || keep)
			strbuf_add_c(&b, *s);
	}
	return strbuf_steal(&b);
}

static int add_arg(DockerfileStep *s, char *arg, Err *e)
{
	if (s->n_args == DOCKERFILE_ARGS_MAX) {
		free(arg);
		return err_new(e, ERR_INVALID, "%s has more than %d arguments", dockerfile_verb_name(s->verb),
			       DOCKERFILE_ARGS_MAX);
	}
	if (strv_take(&s->args, arg) < 0)
		return err_oom(e);
	s->n_args++;
	return 0;
}

/* "--name=value" words in front of everything else; "--" alone ends them. */
static int take_flags(DockerfileStep *s, const char **rest, char escape, Err *e)
{
	for (size_t n = 0;; n++) {
		const char *p = df_skip_blanks(*rest);

		*rest = p;
		if (p[0] != '-' || p[1] != '-')
			return 0;
		_cleanup_free_ char *word = take_word(&p, escape, false);
		if (!word)
			return err_oom(e);
		*rest = p;
		if (streq(word, "--"))
			return 0;
		if (n == DOCKERFILE_ARGS_MAX)
			return err_new(e, ERR_INVALID, "more than %d flags", DOCKERFILE_ARGS_MAX);
		if (!str_starts(word, "--"))
			return err_new(e, ERR_INVALID, "arg should start with -- : %.100s", word);
		if (strv_add(&s->flags, word + 2) < 0)
			return err_oom(e);
	}
}

/* 1 if text is an array of strings, 0 if it is no array; an array of other things is refused. */
static int take_array(DockerfileStep *s, const char *text, Err *e)
{
	_cleanup_json_ json_t *array = NULL;
	const json_t *member;
	size_t i;

	if (*df_skip_blanks(text) != '[')
		return 0;
	array = json_loads(text, JSON_ALLOW_NUL, NULL);
	if (!array)
		return 0;
	json_array_foreach (array, i, member) {
		const char *value = json_string_value(member);
		int r;

		if (!value)
			r = err_new(e, ERR_INVALID,
				    "when using JSON array syntax, arrays must be comprised of strings only");
		else if (strlen(value) != json_string_length(member))
			r = err_new(e, ERR_INVALID, "argument %zu of %s has a NUL character in it", i + 1,
				    dockerfile_verb_name(s->verb));
		else
			r = add_arg(s, strdup(value), e);
		if (r < 0)
			return r;
	}
	s->json = true;
	return 1;
}

static int take_text(DockerfileStep *s, const char *text, Err *e)
{
	return *text ? add_arg(s, strdup(text), e) : 0;
}

static int take_command(DockerfileStep *s, const char *text, Err *e)
{
	int r = take_array(s, text, e);

	return r != 0 ? r : take_text(s, text, e);
}

static int take_list(DockerfileStep *s, const char *text, Err *e)
{
	int r = 0;

	for (const char *p = text; r >= 0 && *(p += strspn(p, " \t\v\f\r"));) {
		size_t n = strcspn(p, " \t\v\f\r");

		r = add_arg(s, strndup(p, n), e);
		p += n;
	}
	return r;
}

static int take_array_or_list(DockerfileStep *s, const char *text, Err *e)
{
	int r = take_array(s, text, e);

	return r != 0 ? r : take_list(s, text, e);
}

/* Words, in each of which quotes and escapes stay. */
static int take_words(DockerfileStep *s, const char *text, char escape, Err *e)
{
	int r = 0;

	for (const char *p = text; r >= 0 && *(p = df_skip_blanks(p));) {
		char *word = take_word(&p, escape, true);

		if (word && !*word)
			free(word);
		else
			r = add_arg(s, word, e);
	}
	return r;
}

static int take_pair(DockerfileStep *s, const char *name, size_t n, const char *value, const char *sign,
		     Err *e)
{
	int r = add_arg(s, strndup(name, n), e);

	if (r >= 0)
		r = add_arg(s, strdup(value), e);
	return r < 0 ? r : add_arg(s, strdup(sign), e);
}

/* name=value ..., or, if there is no = in the first word, a name and all the rest. */
static int take_pairs(DockerfileStep *s, const char *text, char escape, Err *e)
{
	size_t n = strcspn(text, " \t\v\f\r");
	bool first = true;
	int r = 0;

	for (const char *p = text; r >= 0 && *(p = df_skip_blanks(p)); first = false) {
		_cleanup_free_ char *word = take_word(&p, escape, true);
		const char *eq = word ? strchr(word, '=') : NULL;

		if (!word)
			return err_oom(e);
		if (!eq && first) {
			if (!text[n])
				return err_new(e, ERR_INVALID, "%s must have two arguments",
					       dockerfile_verb_name(s->verb));
			return take_pair(s, text, n, text + n + strspn(text + n, " \t\v\f\r"), "", e);
		}
		if (!eq)
			return err_new(
			    e, ERR_INVALID,
			    "Syntax error - can't find = in \"%.100s\". Must be of the form: name=value",
			    word);
		r = take_pair(s, word, (size_t)(eq - word), eq + 1, "=", e);
	}
	return r;
}

/* HEALTHCHECK's first word, and the command behind it. */
static int take_health(DockerfileStep *s, const char *text, Err *e)
{
	size_t n = 0;
	int r;

	while (text[n] && !df_blank(text + n))
		n++;
	if (n == 0)
		return 0;
	r = add_arg(s, strndup(text, n), e);
	return r < 0 ? r : take_command(s, df_skip_blanks(text + n), e);
}

static int take_args(DockerfileStep *s, char escape, Err *e)
{
	switch (s->verb) {
	case DF_ADD:
	case DF_COPY:
	case DF_VOLUME:
		return take_array_or_list(s, s->text, e);
	case DF_ARG:
		return take_words(s, s->text, escape, e);
	case DF_ENV:
	case DF_LABEL:
		return take_pairs(s, s->text, escape, e);
	case DF_CMD:
	case DF_ENTRYPOINT:
	case DF_RUN:
	case DF_SHELL:
		return take_command(s, s->text, e);
	case DF_EXPOSE:
	case DF_FROM:
		return take_list(s, s->text, e);
	case DF_HEALTHCHECK:
		return take_health(s, s->text, e);
	case DF_MAINTAINER:
	case DF_ONBUILD:
	case DF_STOPSIGNAL:
	case DF_USER:
	case DF_WORKDIR:
		break;
	}
	return take_text(s, s->text, e);
}

int step_read(DockerfileStep *s, const char *line, char escape, Culprit *c, Err *e)
{
	const char *start = df_skip_blanks(line), *rest;
	size_t n = strcspn(start, " \t\v\f\r");
	int r;

	s->original = str_trim_dup(start);
	s->word = strndup(start, n);
	s->args = calloc(1, sizeof(char *));
	if (!s->original || !s->word || !s->args)
		return err_oom(e);
	culprit_set(c, s->word);
	r = step_verb(s->word, &s->verb, e);
	if (r < 0)
		return r;
	rest = start + n;
	r = take_flags(s, &rest, escape, e);
	if (r < 0)
		return r;
	s->text = str_trim_dup(df_skip_blanks(rest));
	return s->text ? take_args(s, escape, e) : err_oom(e);
}
