/* SPDX-License-Identifier: Apache-2.0 */
/* See image-list.h. */
#include "image-list.h"
#include "json-scan.h"
#include "text.h"

typedef struct Image {
	JsonSlice id, tags, digests; /* the last two as they stand in the text */
	int64_t created, size;
} Image;

static bool take_member(const char **p, Image *i)
{
	JsonSlice key, other;

	if (!json_scan_plain(p, &key) || !json_scan_take(p, ':'))
		return false;
	if (json_scan_is(&key, "Id"))
		return json_scan_plain(p, &i->id);
	if (json_scan_is(&key, "Created"))
		return json_scan_int(p, &i->created);
	if (json_scan_is(&key, "Size"))
		return json_scan_int(p, &i->size);
	return json_scan_skip(p, json_scan_is(&key, "RepoTags")      ? &i->tags
				 : json_scan_is(&key, "RepoDigests") ? &i->digests
								     : &other);
}

static bool take_image(const char **p, Image *ret)
{
	*ret = (Image){0};
	if (!json_scan_take(p, '{'))
		return false;
	if (json_scan_take(p, '}'))
		return false; /* an image without an id */
	do
		if (!take_member(p, ret))
			return false;
	while (json_scan_take(p, ','));
	return json_scan_take(p, '}') && ret->id.n > 0;
}

/* ---- rows ---- */

static void add_id(StrBuf *out, const ImageList *o, const JsonSlice *id)
{
	JsonSlice s = *id;

	if (o->full_ids) {
		strbuf_add_n(out, s.s, s.n);
		return;
	}
	if (s.n > 7 && memcmp(s.s, "sha256:", 7) == 0)
		s = (JsonSlice){s.s + 7, s.n - 7};
	strbuf_add_n(out, s.s, MIN2(s.n, (size_t)12));
}

static void add_row(StrBuf *out, const ImageList *o, const Image *i, const JsonSlice *repository,
		    const JsonSlice *tag)
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

static const JsonSlice none = {"<none>", 6};

/* One of "name:tag" or "name@digest", cut at the last separator. False if it names nothing. */
static bool cut(const JsonSlice *s, char separator, JsonSlice *name, JsonSlice *rest)
{
	const char *at = memrchr(s->s, separator, s->n);

	if (!at)
		return false;
	*name = (JsonSlice){s->s, (size_t)(at - s->s)};
	*rest = (JsonSlice){at + 1, s->n - name->n - 1};
	return name->n != none.n || memcmp(name->s, none.s, none.n) != 0;
}

/* The rows of a list of references: their number, or -1 if it is not that simple. */
static int add_rows(StrBuf *out, const ImageList *o, const Image *i, const JsonSlice *list, char separator)
{
	const char *p = list->s;
	JsonSlice s, name, rest;
	int n = 0;

	if (list->n == 0 || strncmp(list->s, "null", 4) == 0)
		return 0;
	if (!json_scan_take(&p, '['))
		return -1;
	if (json_scan_take(&p, ']'))
		return 0;
	do {
		if (!json_scan_plain(&p, &s))
			return -1;
		if (!cut(&s, separator, &name, &rest))
			continue;
		add_row(out, o, i, &name, separator == ':' ? &rest : &none);
		n++;
	} while (json_scan_take(&p, ','));
	return json_scan_take(&p, ']') ? n : -1;
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

	if (!json_scan_take(&p, '['))
		return false;
	if (!json_scan_take(&p, ']')) {
		do
			if (!take_image(&p, &i) || !add_image(out, o, &i))
				return false;
		while (json_scan_take(&p, ','));
		if (!json_scan_take(&p, ']'))
			return false;
	}
	json_scan_blanks(&p);
	return *p == '\0';
}
