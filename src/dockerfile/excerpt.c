/* SPDX-License-Identifier: Apache-2.0 */
/* The lines around a place, as docker build shows them below an error or a warning. */
#include "dockerfile/dockerfile.h"
#include "dockerfile/utf8.h"

#include "base/str.h"

#define AROUND    4   /* lines around a single one; two around several */
#define SHOWN_MAX 60  /* lines */
#define WIDE_MAX  400 /* bytes of a line */

typedef struct Lines {
	const char *p, *end;
} Lines;

static size_t count_lines(const char *text, size_t len)
{
	size_t n = 1;

	for (const char *p = text, *nl; (nl = memchr(p, '\n', len - (size_t)(p - text))); p = nl + 1)
		n++;
	return n;
}

/* The next line, without its end. */
static size_t next(Lines *l, const char **ret)
{
	const char *nl = memchr(l->p, '\n', (size_t)(l->end - l->p));
	size_t len = (size_t)((nl ?: l->end) - l->p);

	*ret = l->p;
	l->p = nl ? nl + 1 : l->end;
	return len > 0 && (*ret)[len - 1] == '\r' ? len - 1 : len;
}

/* Under the column: blanks as wide as what is above (a tab stays one, wide characters take two), then ^ and the note. */
static void put_note(StrBuf *b, const char *line, size_t len, int column, const char *note)
{
	_cleanup_free_ char *copy = strndup(line, len);
	const char *p = copy ?: "";

	strbuf_add(b, "     |     ");
	for (int i = 1; i < column && *p; i++) {
		uint32_t c;

		p += df_char(p, &c);
		strbuf_add(b, c == '\t' ? "\t" : c >= 0x1100 ? "  " : " ");
	}
	strbuf_addf(b, "^ %s\n", note);
}

/* Which lines are shown: some before and behind, taken in turn. */
static void widen(size_t *first, size_t *last, size_t n_lines)
{
	size_t want = *first == *last ? AROUND : AROUND / 2;

	for (size_t got = 0; got < want; got++) {
		if (*first > 1) {
			(*first)--;
			got++;
		}
		if (*last < n_lines) {
			(*last)++;
			got++;
		}
	}
}

char *dockerfile_excerpt(const char *text, size_t len, const char *name, const DockerfilePlace *place,
			 const char *note)
{
	static const char rule[] = "--------------------\n";
	size_t n_lines = count_lines(text, len), first, last;
	Lines l = {text, text + len};
	StrBuf b = {0};

	if (place->first < 1 || (size_t)place->first > n_lines)
		return NULL;
	size_t marked = (size_t)MAX2(place->last, place->first);
	first = (size_t)place->first;
	last = MIN2(marked, n_lines);
	widen(&first, &last, n_lines);
	strbuf_addf(&b, "%s:%d\n%s", name, place->first, rule);
	for (size_t i = 1; i <= last; i++) {
		const char *line;
		size_t n = next(&l, &line);

		if (i < first)
			continue;
		if (i >= first + SHOWN_MAX) {
			strbuf_addf(&b, " ... | %zu more lines\n", last - i + 1);
			break;
		}
		strbuf_addf(&b, " %3zu | %s %.*s%s\n", i,
			    i >= (size_t)place->first && i <= marked ? ">>>" : "   ",
			    (int)MIN2(n, (size_t)WIDE_MAX), line, n > WIDE_MAX ? "..." : "");
		if (note && (int)i == place->line && place->column)
			put_note(&b, line, n, place->column, note);
	}
	strbuf_add(&b, rule);
	return strbuf_steal(&b);
}
