/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing of Dockerfiles; the contracts are in dockerfile.h. */
#include "dockerfile/dockerfile.h"

#include "base/json.h"
#include "base/str.h"

#include <ctype.h>

static const char *const verbs[] = {
    [DF_ADD] = "ADD",
    [DF_ARG] = "ARG",
    [DF_CMD] = "CMD",
    [DF_COPY] = "COPY",
    [DF_ENTRYPOINT] = "ENTRYPOINT",
    [DF_ENV] = "ENV",
    [DF_EXPOSE] = "EXPOSE",
    [DF_FROM] = "FROM",
    [DF_HEALTHCHECK] = "HEALTHCHECK",
    [DF_LABEL] = "LABEL",
    [DF_MAINTAINER] = "MAINTAINER",
    [DF_ONBUILD] = "ONBUILD",
    [DF_RUN] = "RUN",
    [DF_SHELL] = "SHELL",
    [DF_STOPSIGNAL] = "STOPSIGNAL",
    [DF_USER] = "USER",
    [DF_VOLUME] = "VOLUME",
    [DF_WORKDIR] = "WORKDIR",
};

/* A cursor over the lines of the file. */
typedef struct Lines {
	const char *p, *end;
	int number; /* of the line that next_line gave last */
	const char *name;
} Lines;

const char *dockerfile_verb_name(DockerfileVerb v)
{
	return verbs[v];
}

static bool next_line(Lines *l, const char **ret, size_t *ret_len)
{
	if (l->p >= l->end)
		return false;
	const char *nl = memchr(l->p, '\n', (size_t)(l->end - l->p));
	size_t len = (size_t)((nl ?: l->end) - l->p);

	*ret = l->p;
	*ret_len = len > 0 && l->p[len - 1] == '\r' ? len - 1 : len;
	l->p = nl ? nl + 1 : l->end;
	l->number++;
	return true;
}

static bool is_comment_or_blank(const char *s, size_t len, bool *ret_comment)
{
	size_t i = 0;

	while (i < len && isspace((unsigned char)s[i]))
		i++;
	*ret_comment = i < len && s[i] == '#';
	return i == len || *ret_comment;
}

/* "# escape=`" before anything else; false once a line is no directive. */
static bool directive(const char *s, size_t len, char *escape)
{
	_cleanup_free_ char *line = strndup(s, len);
	char key[32], value[256];

	if (!line || sscanf(line, " # %31[a-zA-Z] = %255s", key, value) != 2)
		return false;
	if (strcasecmp(key, "escape") == 0 && (streq(value, "\\") || streq(value, "`")))
		*escape = value[0];
	return strcasecmp(key, "escape") == 0 || strcasecmp(key, "syntax") == 0 ||
	       strcasecmp(key, "check") == 0;
}

static size_t distance(const char *a, const char *b)
{
	size_t row[16], la = strlen(a), lb = MIN2(strlen(b), ELEMENTSOF(row) - 1);

	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t up = row[j];
			size_t swap = diagonal + (toupper((unsigned char)a[i - 1]) != b[j - 1]);
			size_t step = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

			diagonal = up;
			row[j] = swap < step ? swap : step;
		}
	}
	return row[lb];
}

static int verb_of(const char *word, const Lines *l, int line, DockerfileVerb *ret, Err *e)
{
	size_t best = 3;
	const char *guess = NULL;

	for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
		if (strcasecmp(word, verbs[i]) == 0) {
			*ret = (DockerfileVerb)i;
			return 0;
		}
		size_t d = strlen(word) < 15 ? distance(word, verbs[i]) : 99;
		if (d < best) {
			best = d;
			guess = verbs[i];
		}
	}
	if (guess)
		return err_new(e, ERR_INVALID, "%s:%d: unknown instruction: %.40s (did you mean %s?)",
			       l->name, line, word, guess);
	return err_new(e, ERR_INVALID, "%s:%d: unknown instruction: %.40s", l->name, line, word);
}

/* Joins continuation lines into one logical line; comments and blank lines inside of it are dropped. */
static int logical_line(Lines *l, char escape, char **ret, int *ret_line, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	bool open = false, comment;
	const char *s;
	size_t len;

	while (next_line(l, &s, &len)) {
		if (is_comment_or_blank(s, len, &comment)) {
			if (open && !comment && l->p >= l->end)
				break;
			continue;
		}
		if (!open)
			*ret_line = l->number;
		size_t end = len;
		while (end > 0 && (s[end - 1] == ' ' || s[end - 1] == '\t'))
			end--;
		open = end > 0 && s[end - 1] == escape;
		strbuf_add_n(&b, s, open ? end - 1 : len);
		if (!open)
			break;
	}
	if (b.len == 0 && !b.oom) {
		*ret = NULL;
		return 0;
	}
	*ret = strbuf_steal(&b);
	return *ret ? 1 : err_oom(e);
}

static const char *skip_blanks(const char *s)
{
	while (*s == ' ' || *s == '\t')
		s++;
	return s;
}

static bool takes_flags(DockerfileVerb v)
{
	return v == DF_ADD || v == DF_COPY || v == DF_FROM || v == DF_RUN || v == DF_HEALTHCHECK;
}

static int split_flags(DockerfileStep *s, const char *rest, Err *e)
{
	rest = skip_blanks(rest);
	while (takes_flags(s->verb) && str_starts(rest, "--")) {
		size_t n = strcspn(rest, " \t");

		if (n == 2)
			break;
		if (strv_take(&s->flags, strndup(rest + 2, n - 2)) < 0)
			return err_oom(e);
		rest = skip_blanks(rest + n);
	}
	s->text = str_trim_dup(rest);
	return s->text ? 0 : err_oom(e);
}

/* <<EOF, <<-EOF, <<"EOF" at a word's start, from *at on, which moves behind it; the body follows on the next lines. */
static bool heredoc_mark(const char *text, const char **at, char tag[64], DockerfileHeredoc *ret)
{
	const char *p = strstr(*at, "<<");

	for (; p && p > text && !isspace((unsigned char)p[-1]); p = strstr(p + 2, "<<"))
		;
	if (!p)
		return false;
	p += 2;
	ret->strip = *p == '-';
	if (*p == '-')
		p++;
	char quote = *p == '"' || *p == '\'' ? *p++ : 0;
	size_t n = 0;
	while (n < 63 && (isalnum((unsigned char)p[n]) || p[n] == '_'))
		n++;
	if (n == 0 || (quote && p[n] != quote))
		return false;
	memcpy(tag, p, n);
	tag[n] = '\0';
	ret->expand = !quote;
	*at = p + n;
	return true;
}

static int heredoc_body(Lines *l, const DockerfileStep *s, DockerfileHeredoc *h, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	const char *line;
	size_t len, tag_len = strlen(h->name);

	while (next_line(l, &line, &len)) {
		while (h->strip && len > 0 && *line == '\t') {
			line++;
			len--;
		}
		if (len == tag_len && memcmp(line, h->name, len) == 0) {
			h->text = b.len || b.oom ? strbuf_steal(&b) : strdup("");
			return h->text ? 0 : err_oom(e);
		}
		strbuf_add_n(&b, line, len);
		strbuf_add_c(&b, '\n');
	}
	return err_new(e, ERR_INVALID, "%s:%d: unterminated heredoc: no line \"%s\" ends it", l->name,
		       s->line, h->name);
}

static int heredocs_read(Lines *l, DockerfileStep *s, Err *e)
{
	const char *at = s->text;
	DockerfileHeredoc h = {0};
	char tag[64];
	int r = 0;

	while (r >= 0 && heredoc_mark(s->text, &at, tag, &h)) {
		DockerfileHeredoc *grown = reallocarray(s->heredocs, s->n_heredocs + 1, sizeof(*s->heredocs));

		if (!grown)
			return err_oom(e);
		s->heredocs = grown;
		h.name = strdup(tag);
		s->heredocs[s->n_heredocs++] = h;
		r = h.name ? heredoc_body(l, s, &s->heredocs[s->n_heredocs - 1], e) : err_oom(e);
	}
	return r;
}

static int step_add(Dockerfile *d, Lines *l, const char *logical, int line, Err *e)
{
	const char *start = skip_blanks(logical), *blank = strpbrk(start, " \t");
	_cleanup_free_ char *word = strndup(start, blank ? (size_t)(blank - start) : strlen(start));
	DockerfileStep *grown, *s;
	int r;

	if (d->n_steps >= DOCKERFILE_STEPS_MAX)
		return err_new(e, ERR_INVALID, "%s:%d: more than %d instructions", l->name, line,
			       DOCKERFILE_STEPS_MAX);
	grown = realloc(d->steps, (d->n_steps + 1) * sizeof(*grown));
	if (!word || !grown)
		return err_oom(e);
	d->steps = grown;
	s = &d->steps[d->n_steps++];
	*s = (DockerfileStep){.line = line, .original = str_trim_dup(start)};
	r = verb_of(word, l, line, &s->verb, e);
	if (r >= 0)
		r = split_flags(s, blank ?: "", e);
	if (r >= 0 && !*s->text)
		r = err_new(e, ERR_INVALID, "%s:%d: %s requires at least one argument", l->name, line,
			    verbs[s->verb]);
	if (r >= 0 && (s->verb == DF_RUN || s->verb == DF_COPY || s->verb == DF_ADD))
		r = heredocs_read(l, s, e);
	s->last_line = l->number;
	return r;
}

static int check_order(const Dockerfile *d, const char *name, Err *e)
{
	for (size_t i = 0; i < d->n_steps; i++) {
		if (d->steps[i].verb == DF_FROM)
			return 0;
		if (d->steps[i].verb != DF_ARG)
			return err_new(
			    e, ERR_INVALID,
			    "%s:%d: no build stage in current context: %s comes before the first FROM", name,
			    d->steps[i].line, verbs[d->steps[i].verb]);
	}
	return err_new(e, ERR_INVALID, "%s: file with no instructions: a Dockerfile starts with FROM", name);
}

static int parse(const char *text, size_t len, const char *name, Dockerfile *d, Err *e)
{
	Lines l = {text, text + len, 0, name};
	const char *s;
	size_t n;

	if (len > DOCKERFILE_MAX)
		return err_new(e, ERR_INVALID, "%s: larger than %u bytes", name, DOCKERFILE_MAX);
	if (memchr(text, 0, len) || !str_is_utf8(text, len))
		return err_new(e, ERR_INVALID, "%s: is not UTF-8 text", name);
	d->escape = '\\';
	if (len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
		l.p += 3;
	for (Lines ahead = l; next_line(&ahead, &s, &n) && directive(s, n, &d->escape);)
		l = ahead;
	for (;;) {
		_cleanup_free_ char *logical = NULL;
		int line = 0, r = logical_line(&l, d->escape, &logical, &line, e);

		if (r > 0)
			r = step_add(d, &l, logical, line, e);
		else if (r == 0)
			return 0;
		if (r < 0)
			return r;
	}
}

int dockerfile_parse(const char *text, size_t len, const char *name, Dockerfile *ret, Err *e)
{
	Dockerfile d = {0};
	int r = parse(text, len, name, &d, e);

	if (r >= 0)
		r = check_order(&d, name, e);
	if (r < 0) {
		dockerfile_done(&d);
		return r;
	}
	*ret = d;
	return 0;
}

int dockerfile_parse_step(const char *line, Dockerfile *ret, Err *e)
{
	Dockerfile d = {0};
	int r = parse(line, strlen(line), "ONBUILD", &d, e);

	if (r >= 0 && (d.n_steps != 1 || d.steps[0].verb == DF_FROM || d.steps[0].verb == DF_ONBUILD ||
		       d.steps[0].verb == DF_MAINTAINER))
		r = err_new(e, ERR_INVALID, "%.60s isn't allowed as an ONBUILD trigger", line);
	if (r < 0) {
		dockerfile_done(&d);
		return r;
	}
	*ret = d;
	return 0;
}

void dockerfile_done(Dockerfile *d)
{
	for (size_t i = 0; i < d->n_steps; i++) {
		strv_free(d->steps[i].flags);
		free(d->steps[i].text);
		for (size_t k = 0; k < d->steps[i].n_heredocs; k++) {
			free(d->steps[i].heredocs[k].name);
			free(d->steps[i].heredocs[k].text);
		}
		free(d->steps[i].heredocs);
		free(d->steps[i].original);
	}
	free(d->steps);
	*d = (Dockerfile){0};
}

const char *dockerfile_flag(const DockerfileStep *s, const char *name)
{
	for (size_t i = 0; s->flags && s->flags[i]; i++) {
		const char *rest = str_after(s->flags[i], name);

		if (rest && *rest == '=')
			return rest + 1;
		if (rest && !*rest)
			return "true";
	}
	return NULL;
}

bool dockerfile_exec_form(const char *text, char ***ret)
{
	_cleanup_json_ json_t *array = NULL;

	if (*skip_blanks(text) != '[')
		return false;
	array = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	return json_is_array(array) && json_to_strv(array, ret) >= 0;
}
