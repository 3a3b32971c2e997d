/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lines of a Dockerfile become logical lines, and those become steps; the contracts are in dockerfile.h.
 *
 * A line goes on when its last character, blanks aside, is the escape character and the one before is not. Comments and empty lines
 * are nothing, between the lines of an instruction too; there, blanks at the start of a line stay. The bodies of here-documents are
 * taken as they are.
 */
#include "dockerfile/parse-internal.h"
#include "dockerfile/utf8.h"

#include "base/json.h"
#include "base/str.h"

typedef struct Parser {
	Dockerfile d;
	const char *text, *p, *end;
	int number; /* of the line that next_line gave last */
	const char *name;
	DockerfilePlace place; /* of what is being read */
	Culprit culprit;
	Directives directives;
	StrBuf comments; /* since the last instruction */
} Parser;

/* The next line without its end; *ret_full is its length with it. */
static bool next_line(Parser *p, const char **ret, size_t *ret_len, size_t *ret_full)
{
	if (p->p >= p->end)
		return false;
	const char *nl = memchr(p->p, '\n', (size_t)(p->end - p->p));
	const char *next = nl ? nl + 1 : p->end;
	size_t len = (size_t)(next - p->p);

	*ret = p->p;
	*ret_full = len;
	while (len > 0 && (p->p[len - 1] == '\n' || p->p[len - 1] == '\r'))
		len--;
	*ret_len = len;
	p->p = next;
	p->number++;
	return true;
}

/* How much of the line is blank at its start. */
static size_t indent(const char *s, size_t len)
{
	size_t i = 0, n;

	/* The text ends with NUL, so that looking at one character is safe. */
	while (i < len && (n = df_blank(s + i)))
		i += n;
	return MIN2(i, len);
}

/* True if the line goes on; *len is then without the escape character and what is behind it. */
static bool goes_on(const char *s, size_t *len, char escape)
{
	size_t n = *len;

	while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
		n--;
	if (n == 0 || s[n - 1] != escape || (n > 1 && s[n - 2] == escape))
		return false;
	*len = n - 1;
	return true;
}

/* A comment of its own line: perhaps a directive, else kept for the instruction that follows. */
static int comment(Parser *p, const char *s, size_t len, Err *e)
{
	_cleanup_free_ char *value = NULL, *trimmed = NULL;
	DirectiveName name;
	int r = directive_read(&p->directives, s, len, "#", &name, &value, e);

	if (r < 0)
		return r;
	if (r > 0) {
		if (name == DIRECTIVE_ESCAPE && !streq(value, "\\") && !streq(value, "`"))
			return err_new(e, ERR_INVALID, "invalid escape token '%.20s' does not match ` or \\",
				       value);
		if (name == DIRECTIVE_ESCAPE)
			p->d.escape = value[0];
		return 0;
	}
	value = strndup(s + 1, len - 1);
	trimmed = value ? str_trim_dup(value) : NULL;
	if (!trimmed)
		return err_oom(e);
	if (!*trimmed) {
		strbuf_done(&p->comments);
		return 0;
	}
	strbuf_add(&p->comments, trimmed);
	strbuf_add_c(&p->comments, '\n');
	return 0;
}

/* The lines that follow one that goes on. */
static void continuation(Parser *p, StrBuf *b, DockerfileStep *s)
{
	const char *line;
	size_t len, full;
	bool open = true;

	while (open && next_line(p, &line, &len, &full)) {
		size_t blanks = indent(line, len);

		if (blanks < len && line[blanks] == '#')
			continue;
		if (blanks == len) {
			s->empty_continuation = true;
			continue;
		}
		open = goes_on(line, &len, p->d.escape);
		strbuf_add_n(b, line, len);
	}
}

/* The next instruction as one line. 0 at the end of the file. */
static int logical_line(Parser *p, DockerfileStep *s, char **ret, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	const char *line;
	size_t len, full;

	while (next_line(p, &line, &len, &full)) {
		size_t blanks = indent(line, len);
		int r;

		p->place = (DockerfilePlace){p->number, p->number, p->number, (int)blanks + 1};
		line += blanks;
		len -= blanks;
		if (len && *line == '#') {
			r = comment(p, line, len, e);
			if (r < 0)
				return r;
			continue;
		}
		p->directives.done = true;
		if (len == 0)
			continue;
		s->line = p->number;
		s->column = (int)blanks + 1;
		bool open = goes_on(line, &len, p->d.escape);
		strbuf_add_n(&b, line, len);
		if (open)
			continuation(p, &b, s);
		s->joined_line = s->last_line = p->place.last = p->number;
		*ret = strbuf_steal(&b);
		return *ret ? 1 : err_oom(e);
	}
	return 0;
}

static int heredoc_body(Parser *p, DockerfileHeredoc *h, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	size_t len, full, name_len = strlen(h->name);
	const char *line;

	while (next_line(p, &line, &len, &full)) {
		while (h->strip && full > 0 && *line == '\t') {
			line++;
			full--;
			len -= len > 0;
		}
		if (len == name_len && memcmp(line, h->name, len) == 0) {
			h->text = strbuf_steal(&b);
			return h->text ? 0 : err_oom(e);
		}
		strbuf_add_n(&b, line, full);
	}
	return err_new(e, ERR_INVALID, "unterminated heredoc: no line \"%.100s\" ends it", h->name);
}

static int heredocs(Parser *p, const char *line, DockerfileStep *s, Err *e)
{
	int r = heredoc_marks(line, s, e);

	for (size_t i = 0; r >= 0 && i < s->n_heredocs; i++)
		r = heredoc_body(p, &s->heredocs[i], e);
	s->last_line = p->number;
	return r;
}

static void step_done(DockerfileStep *s)
{
	free(s->word);
	strv_free(s->flags);
	free(s->text);
	strv_free(s->args);
	for (size_t k = 0; k < s->n_heredocs; k++) {
		free(s->heredocs[k].name);
		free(s->heredocs[k].text);
	}
	free(s->heredocs);
	free(s->original);
	free(s->comments);
}

/* An ONBUILD's own instruction may have here-documents; its text is made so that it can be parsed again. */
static int onbuild_heredocs(Parser *p, const char *line, DockerfileStep *s, Err *e)
{
	DockerfileStep inner = {0};
	StrBuf b = {0};
	Culprit c = {0};
	/* What is wrong in the instruction is told when it is run. */
	bool may = step_read(&inner, s->text, p->d.escape, &c, NULL) >= 0 && heredoc_allowed(&inner);
	int r = 0;

	step_done(&inner);
	if (may)
		r = heredocs(p, line, s, e);
	if (r < 0 || s->n_heredocs == 0)
		return r;
	strbuf_add(&b, s->text);
	for (size_t i = 0; i < s->n_heredocs; i++)
		strbuf_addf(&b, "\n%s%s", s->heredocs[i].text, s->heredocs[i].name);
	free(s->text);
	s->text = strbuf_steal(&b);
	return s->text ? 0 : err_oom(e);
}

static int step_add(Parser *p, DockerfileStep *s, const char *line, Err *e)
{
	int r = step_read(s, line, p->d.escape, &p->culprit, e);

	if (r >= 0)
		r = step_check(s, &p->culprit, e);
	if (r < 0)
		return r;
	p->culprit.text[0] = '\0';
	if (s->verb == DF_ONBUILD)
		r = onbuild_heredocs(p, line, s, e);
	else if (heredoc_allowed(s))
		r = heredocs(p, line, s, e);
	if (r >= 0 && p->comments.len) {
		s->comments = strbuf_steal(&p->comments);
		r = s->comments ? 0 : err_oom(e);
	}
	return r;
}

/* 0 at the end of the file. */
static int step_next(Parser *p, Err *e)
{
	_cleanup_free_ char *line = NULL;
	DockerfileStep s = {0}, *grown;
	int r = logical_line(p, &s, &line, e);

	if (r <= 0)
		return r;
	r = p->d.n_steps >= DOCKERFILE_STEPS_MAX
		? err_new(e, ERR_INVALID, "more than %d instructions", DOCKERFILE_STEPS_MAX)
		: step_add(p, &s, line, e);
	grown = r < 0 ? NULL : reallocarray(p->d.steps, p->d.n_steps + 1, sizeof(*grown));
	if (!grown) {
		step_done(&s);
		return r < 0 ? r : err_oom(e);
	}
	p->d.steps = grown;
	p->d.steps[p->d.n_steps++] = s;
	return 1;
}

static int check_order(Parser *p, Err *e)
{
	for (size_t i = 0; i < p->d.n_steps; i++) {
		const DockerfileStep *s = &p->d.steps[i];

		if (s->verb == DF_FROM)
			return 0;
		p->place = (DockerfilePlace){s->line, s->last_line, s->line, s->column};
		if (s->verb != DF_ARG)
			return err_new(e, ERR_INVALID,
				       "no build stage in current context: %s comes before the first FROM",
				       dockerfile_verb_name(s->verb));
	}
	p->place = (DockerfilePlace){0};
	return err_new(e, ERR_INVALID,
		       p->d.n_steps ? "no build stage in current context: there is no FROM"
				    : "file with no instructions: a Dockerfile starts with FROM");
}

/* Points the place at the word that the error is about, if that is in the lines of the instruction as it is written. */
static void locate(Parser *p)
{
	const char *line = p->text, *found;
	size_t n = strlen(p->culprit.text);

	for (int i = 1; line && i < p->place.first; i++)
		line = (line = strchr(line, '\n')) ? line + 1 : NULL;
	for (int i = p->place.first; n && line && i <= p->place.last; i++) {
		const char *nl = strchrnul(line, '\n');

		found = memmem(line, (size_t)(nl - line), p->culprit.text, n);
		if (found) {
			p->place.line = i;
			p->place.column = 1;
			for (uint32_t c; line < found; p->place.column++)
				line += df_char(line, &c);
			return;
		}
		line = *nl ? nl + 1 : NULL;
	}
}

/* "Dockerfile:3: ", with the line of the instruction. */
static int place_error(const Parser *p, int r, Err *e)
{
	if (p->place.first)
		return err_ctx(e, r, "%s:%d", p->name, p->place.first);
	return err_ctx(e, r, "%s", p->name);
}

static int read_all(Parser *p, size_t len, Err *e)
{
	int r;

	if (len > DOCKERFILE_MAX)
		return err_new(e, ERR_INVALID, "larger than %u bytes", DOCKERFILE_MAX);
	if (memchr(p->text, 0, len) || !str_is_utf8(p->text, len))
		return err_new(e, ERR_INVALID, "is not UTF-8 text");
	if (len >= 3 && memcmp(p->text, "\xEF\xBB\xBF", 3) == 0)
		p->p += 3;
	r = directive_find(p->text, len, "#", DIRECTIVE_SYNTAX, &p->d.syntax, &p->d.syntax_line, NULL);
	if (r >= 0)
		r = directive_find(p->text, len, "#", DIRECTIVE_CHECK, &p->d.check, &p->d.check_line, NULL);
	if (r == -ENOMEM)
		return err_oom(e);
	do {
		p->culprit.text[0] = '\0';
		r = step_next(p, e);
	} while (r > 0);
	return r;
}

/* whole: it is a file, which must have a stage. */
static int parse(const char *text, size_t len, const char *name, bool whole, Dockerfile *ret,
		 DockerfilePlace *ret_place, Err *e)
{
	size_t taken = MIN2(len, (size_t)DOCKERFILE_MAX);
	_cleanup_free_ char *copy = malloc(taken + 1);
	Parser p = {.d = {.escape = '\\'}, .text = copy, .p = copy, .name = name};
	int r;

	if (!copy)
		return err_oom(e);
	p.end = copy + taken;
	/* Characters of several bytes are looked at as a whole: the copy ends with NUL. */
	memcpy(copy, text, taken);
	copy[taken] = '\0';
	r = read_all(&p, len, e);
	if (r >= 0 && whole)
		r = check_order(&p, e);
	strbuf_done(&p.comments);
	if (r >= 0) {
		*ret = p.d;
		return 0;
	}
	locate(&p);
	if (ret_place)
		*ret_place = p.place;
	dockerfile_done(&p.d);
	return place_error(&p, r, e);
}

int dockerfile_parse_at(const char *text, size_t len, const char *name, Dockerfile *ret,
			DockerfilePlace *ret_place, Err *e)
{
	return parse(text, len, name, true, ret, ret_place, e);
}

int dockerfile_parse(const char *text, size_t len, const char *name, Dockerfile *ret, Err *e)
{
	return parse(text, len, name, true, ret, NULL, e);
}

int dockerfile_parse_step(const char *line, Dockerfile *ret, Err *e)
{
	Dockerfile d = {0};
	int r = parse(line, strlen(line), "ONBUILD", false, &d, NULL, e);

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
	for (size_t i = 0; i < d->n_steps; i++)
		step_done(&d->steps[i]);
	free(d->steps);
	free(d->syntax);
	free(d->check);
	*d = (Dockerfile){0};
}

bool dockerfile_exec_form(const char *text, char ***ret)
{
	_cleanup_json_ json_t *array = NULL;

	if (*df_skip_blanks(text) != '[')
		return false;
	array = json_loads(text, 0, NULL);
	return json_is_array(array) && json_to_strv(array, ret) >= 0;
}
