/* SPDX-License-Identifier: Apache-2.0 */
/* See image-list.h. The text ends in a NUL, which no step passes: it is part of nothing that is looked for. */
#include "image-list.h"
#include "text.h"

#include <ctype.h>

#define NESTING_MAX 64

typedef struct Slice {
	const char *s;
	size_t n;
} Slice;

typedef struct Image {
	Slice id, tags, digests; /* the last two as they stand in the text */
	int64_t created, size;
} Image;

/* ---- JSON ---- */

static void blanks(const char **p)
{
	while (**p == ' ' || **p == '\n' || **p == '\r' || **p == '\t')
		(*p)++;
}

static bool take(const char **p, char c)
{
	blanks(p);
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

/* A text that needs neither unescaping nor escaping. */
static bool take_plain(const char **p, Slice *ret)
{
	if (!take(p, '"'))
		return false;
	ret->s = *p;
	while (**p >= ' ' && **p < 0x7F && **p != '"' && **p != '\\')
		(*p)++;
	ret->n = (size_t)(*p - ret->s);
	return take(p, '"');
}

static bool take_int(const char **p, int64_t *ret)
{
	char *end;

	blanks(p);
	if (**p != '-' && !isdigit((unsigned char)**p))
		return false;
	errno = 0;
	*ret = strtoll(*p, &end, 10);
	*p = end;
	return errno == 0 && strchr(",}] \n\r\t", **p) && **p;
}

static bool skip_string(const char **p)
{
	if (!take(p, '"'))
		return false;
	for (; **p && **p != '"'; (*p)++)
		if (**p == '\\' && !*++*p)
			return false;
	return take(p, '"');
}

/* Any value; *ret is its text. */
static bool skip_value(const char **p, Slice *ret)
{
	int depth = 0;

	blanks(p);
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

static bool is_key(const Slice *key, const char *name)
{
	return key->n == strlen(name) && memcmp(key->s, name, key->n) == 0;
}

static bool take_member(const char **p, Image *i)
{
	Slice key, other;

	if (!take_plain(p, &key) || !take(p, ':'))
		return false;
	if (is_key(&key, "Id"))
		return take_plain(p, &i->id);
	if (is_key(&key, "Created"))
		return take_int(p, &i->created);
	if (is_key(&key, "Size"))
		return take_int(p, &i->size);
	return skip_value(p, is_key(&key, "RepoTags")      ? &i->tags
			     : is_key(&key, "RepoDigests") ? &i->digests
							   : &other);
}

static bool take_image(const char **p, Image *ret)
{
	*ret = (Image){0};
	if (!take(p, '{'))
		return false;
	if (take(p, '}'))
		return false; /* an image without an id */
	do
		if (!take_member(p, ret))
			return false;
	while (take(p, ','));
	return take(p, '}') && ret->id.n > 0;
}

/* ---- rows ---- */

static void add_id(StrBuf *out, const ImageList *o, const Slice *id)
{
	Slice s = *id;

	if (o->full_ids) {
		strbuf_add_n(out, s.s, s.n);
		return;
	}
	if (s.n > 7 && memcmp(s.s, "sha256:", 7) == 0)
		s = (Slice){s.s + 7, s.n - 7};
	strbuf_add_n(out, s.s, MIN2(s.n, (size_t)12));
}

static void add_row(StrBuf *out, const ImageList *o, const Image *i, const Slice *repository,
		    const Slice *tag)
{
	if (!o->ids_only) {
		strbuf_add_n(out, repository->s, repository->n);
		strbuf_add_c(out, '\t');
		strbuf_add_n(out, tag->s, tag->n);
		strbuf_add_c(out, '\t');
	}
	add_id(out, o, &i->id);
	if (!o->ids_only) {
		_cleanup_free_ char *ago = text_ago(i->created * 1000000000, o->now_ns);

		if (!ago)
			out->oom = true;
		strbuf_add_c(out, '\t');
		strbuf_add(out, ago ? ago : "");
		strbuf_add_c(out, '\t');
		strbuf_add(out, i->size < 0 ? "N/A" : text_size((double)i->size, 3).s);
	}
	strbuf_add_c(out, '\n');
}

static const Slice none = {"<none>", 6};

/* One of "name:tag" or "name@digest", cut at the last separator. False if it names nothing. */
static bool cut(const Slice *s, char separator, Slice *name, Slice *rest)
{
	const char *at = memrchr(s->s, separator, s->n);

	if (!at)
		return false;
	*name = (Slice){s->s, (size_t)(at - s->s)};
	*rest = (Slice){at + 1, s->n - name->n - 1};
	return name->n != none.n || memcmp(name->s, none.s, none.n) != 0;
}

/* The rows of a list of references: their number, or -1 if it is not that simple. */
static int add_rows(StrBuf *out, const ImageList *o, const Image *i, const Slice *list, char separator)
{
	const char *p = list->s;
	Slice s, name, rest;
	int n = 0;

	if (list->n == 0 || strncmp(list->s, "null", 4) == 0)
		return 0;
	if (!take(&p, '['))
		return -1;
	if (take(&p, ']'))
		return 0;
	do {
		if (!take_plain(&p, &s))
			return -1;
		if (!cut(&s, separator, &name, &rest))
			continue;
		add_row(out, o, i, &name, separator == ':' ? &rest : &none);
		n++;
	} while (take(&p, ','));
	return take(&p, ']') ? n : -1;
}

static bool add_image(StrBuf *out, const ImageList *o, const Image *i)
{
	int n = add_rows(out, o, i, &i->tags, ':');

	if (n == 0)
		n = add_rows(out, o, i, &i->digests, '@');
	if (n == 0)
		add_row(out, o, i, &none, &none);
	return n >= 0;
}

bool image_list_rows(const char *text, const ImageList *o, StrBuf *out)
{
	const char *p = text;
	Image i;

	if (!take(&p, '['))
		return false;
	if (!take(&p, ']')) {
		do
			if (!take_image(&p, &i) || !add_image(out, o, &i))
				return false;
		while (take(&p, ','));
		if (!take(&p, ']'))
			return false;
	}
	blanks(&p);
	return *p == '\0';
}
