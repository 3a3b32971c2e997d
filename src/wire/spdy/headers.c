/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header blocks: how they are compressed, and the names and values in them (draft 3.1, 2.6.10).
 *
 * The blocks of all frames of one direction are one zlib stream, flushed behind each block. So each block is decompressed, also that of a stream that is refused, and the
 * first that is damaged or too long ends the connection: what follows could not be read. Memory is given for what has come out, never for what a length promises.
 */
#include "wire/spdy/spdy-internal.h"

#define FIRST 1024

void spdy_inflate_done(SpdyInflate *d)
{
	if (d->begun)
		inflateEnd(&d->z);
	d->begun = false;
}

/* zlib names the dictionary that it wants by its checksum: another is refused by inflateSetDictionary. */
static int set_dictionary(SpdyInflate *d)
{
	uint8_t dictionary[SPDY_DICTIONARY_LEN];

	spdy_dictionary(dictionary);
	return inflateSetDictionary(&d->z, dictionary, sizeof(dictionary)) == Z_OK ? 0 : -EPROTO;
}

/* Room for at least one byte more than there may be, so that one that is too long is seen. */
static int grow(uint8_t **buf, size_t *cap, size_t max)
{
	size_t more = MIN2(*cap ? *cap * 2 : FIRST, max + 1);
	uint8_t *p = realloc(*buf, more);

	if (!p)
		return -ENOMEM;
	*buf = p;
	*cap = more;
	return 0;
}

/* 0: all of the input is used up and all that it stands for is there. */
static int inflate_some(SpdyInflate *d, uint8_t *buf, size_t cap, size_t *len)
{
	int r;

	d->z.next_out = buf + *len;
	d->z.avail_out = (unsigned)(cap - *len);
	r = inflate(&d->z, Z_SYNC_FLUSH);
	*len = cap - d->z.avail_out;
	if (r == Z_NEED_DICT)
		return set_dictionary(d) < 0 ? -EPROTO : 1;
	if (r == Z_BUF_ERROR || r == Z_OK)
		return d->z.avail_out == 0 || (r == Z_OK && d->z.avail_in > 0);
	return r == Z_MEM_ERROR ? -ENOMEM : -EPROTO; /* Z_STREAM_END too: the stream of headers has no end */
}

int spdy_inflate(SpdyInflate *d, const uint8_t *block, size_t len, size_t max, uint8_t **ret, size_t *ret_len)
{
	_cleanup_free_ uint8_t *buf = NULL;
	size_t cap = 0, n = 0;
	int r;

	if (!d->begun && inflateInit(&d->z) != Z_OK)
		return -ENOMEM;
	d->begun = true;
	d->z.next_in = (Bytef *)(uintptr_t)block;
	d->z.avail_in = (unsigned)len;
	do {
		r = n == cap ? grow(&buf, &cap, max) : 0;
		if (r >= 0)
			r = inflate_some(d, buf, cap, &n);
		if (r >= 0 && n > max)
			r = -EMSGSIZE;
	} while (r > 0);
	if (r < 0)
		return r;
	*ret = take_ptr(buf);
	*ret_len = n;
	return 0;
}

/* ---- names and values ---- */

typedef struct Block {
	const uint8_t *p;
	size_t left;
} Block;

static bool take32(Block *b, uint32_t *ret)
{
	if (b->left < 4)
		return false;
	*ret = spdy_get32(b->p);
	b->p += 4;
	b->left -= 4;
	return true;
}

/* A string that is there as a whole, copied to *to with a NUL behind it. */
static bool take_string(Block *b, char **to, const char **ret, uint32_t *ret_len)
{
	if (!take32(b, ret_len) || *ret_len > b->left)
		return false;
	memcpy(*to, b->p, *ret_len);
	*ret = *to;
	*to += *ret_len;
	*(*to)++ = 0;
	b->p += *ret_len;
	b->left -= *ret_len;
	return true;
}

static bool name_allowed(const char *s, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if (s[i] <= ' ' || s[i] > '~' || (s[i] >= 'A' && s[i] <= 'Z'))
			return false;
	return len > 0;
}

/* Of several values, NULs between them, none is empty. An empty value alone may be. */
static bool value_allowed(const char *s, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if (!s[i] && (i == 0 || i == len - 1 || !s[i + 1]))
			return false;
	return true;
}

static int read_fields(Block *b, SpdyFields *f, uint32_t n)
{
	char *to = f->text;

	for (; f->n < n; f->n++) {
		SpdyField *x = &f->v[f->n];
		uint32_t name_len, value_len;

		if (!take_string(b, &to, &x->name, &name_len) || !name_allowed(x->name, name_len) ||
		    spdy_fields_get(f, x->name))
			return -EPROTO;
		if (!take_string(b, &to, &x->value, &value_len) || !value_allowed(x->value, value_len))
			return -EPROTO;
	}
	return b->left ? -EPROTO : 0;
}

int spdy_fields_read(const uint8_t *block, size_t len, SpdyFields *ret)
{
	SpdyFields f = {0};
	Block b = {block, len};
	uint32_t n;
	int r;

	if (!take32(&b, &n) || n > SPDY_FIELDS_MAX)
		return -EPROTO;
	/* A NUL takes less than the length that it stands in for. */
	f.text = malloc(len);
	f.v = calloc(n + 1, sizeof(*f.v));
	r = f.text && f.v ? read_fields(&b, &f, n) : -ENOMEM;
	if (r < 0)
		spdy_fields_done(&f);
	else
		*ret = f;
	return r;
}

void spdy_fields_done(SpdyFields *f)
{
	free(f->text);
	free(f->v);
	*f = (SpdyFields){0};
}

const char *spdy_fields_get(const SpdyFields *f, const char *name)
{
	for (size_t i = 0; i < f->n; i++)
		if (streq(f->v[i].name, name))
			return f->v[i].value;
	return NULL;
}
