/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marks of here-documents: a word of the line that is "<<" or "<<-", a number perhaps in front, and a name behind, which may be quoted
 * and may stand apart by blanks. Inside of quotes there is none. In these words the escape character is always the backslash, as in the shell
 * that the line is for.
 */
#include "dockerfile/parse-internal.h"

#include "base/str.h"

#include <ctype.h>

#define HEREDOCS_MAX 1000 /* in one instruction */

static size_t quotes(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += *s == '\'' || *s == '"';
	return n;
}

int heredoc_mark(const char *word, DockerfileHeredoc *ret, Err *e)
{
	DockerfileLex lex = {.escape = '\\', .keep_unset = true};
	_cleanup_strv_ char **plain = NULL, **raw = NULL;
	const char *p = word;
	int r;

	while (isdigit((unsigned char)*p))
		p++;
	if (p[0] != '<' || p[1] != '<')
		return 0;
	p += 2;
	bool strip = *p == '-';
	p += strip;
	p += strspn(p, " \t\r\n\f");
	if (!*p || strchr(p, '<'))
		return 0;
	r = dockerfile_lex_words(&lex, p, &plain, e);
	lex.raw_quotes = true;
	if (r >= 0 && strv_len(plain) == 1)
		r = dockerfile_lex_words(&lex, p, &raw, e);
	if (r < 0 || strv_len(raw) != 1)
		return r;
	/* Quotes that are gone were around some part of it. */
	*ret = (DockerfileHeredoc){.expand = quotes(plain[0]) == quotes(raw[0]), .strip = strip};
	ret->name = take_ptr(plain[0]);
	return 1;
}

static int add(DockerfileStep *s, DockerfileHeredoc *h, Err *e)
{
	DockerfileHeredoc *grown = NULL;

	if (s->n_heredocs == HEREDOCS_MAX) {
		free(h->name);
		return err_new(e, ERR_INVALID, "more than %d here-documents in one instruction",
			       HEREDOCS_MAX);
	}
	grown = reallocarray(s->heredocs, s->n_heredocs + 1, sizeof(*grown));
	if (!grown) {
		free(h->name);
		return err_oom(e);
	}
	s->heredocs = grown;
	s->heredocs[s->n_heredocs++] = *h;
	return 0;
}

int heredoc_marks(const char *line, DockerfileStep *s, Err *e)
{
	DockerfileLex lex = {.escape = '\\', .raw_quotes = true, .raw_escapes = true, .keep_unset = true};
	_cleanup_strv_ char **words = NULL;
	int r = 0;

	/* A line that is none for a shell (a quote is left open) has no marks. */
	if (!strstr(line, "<<") || dockerfile_lex_words(&lex, line, &words, NULL) < 0)
		return 0;
	for (size_t i = 0; r >= 0 && words[i]; i++) {
		DockerfileHeredoc h = {0};

		r = heredoc_mark(words[i], &h, e);
		if (r > 0)
			r = add(s, &h, e);
	}
	return r;
}

bool heredoc_allowed(const DockerfileStep *s)
{
	return (s->verb == DF_RUN || s->verb == DF_COPY || s->verb == DF_ADD) && !s->json;
}
