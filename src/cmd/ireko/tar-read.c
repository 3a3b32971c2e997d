/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reading half of tar.h. The archive comes from a container and is hostile: every number is checked,
 * extension headers are bounded, and nothing is believed about names (see extract.c).
 */
#include "base/str.h"
#include "tar.h"

#include <ctype.h>
#include <sys/sysmacros.h>

#define BLOCK         512
#define EXTENSION_MAX (1u << 20)

struct TarReader {
	ssize_t (*source)(void *user, void *buf, size_t cap, Err *e);
	void *user;
	int64_t left;                /* of the contents */
	size_t padding;              /* behind them */
	char *name, *link;           /* of the present entry */
	char *next_name, *next_link; /* from extension headers, for the next one */
	bool has_size, has_mtime, has_uid, has_gid;
	int64_t size, mtime, uid, gid;
};

TarReader *tar_reader_new(ssize_t (*source)(void *user, void *buf, size_t cap, Err *e), void *user)
{
	TarReader *r = calloc(1, sizeof(*r));

	if (r) {
		r->source = source;
		r->user = user;
	}
	return r;
}

void tar_reader_free(TarReader *r)
{
	if (!r)
		return;
	free(r->name);
	free(r->link);
	free(r->next_name);
	free(r->next_link);
	free(r);
}

static int broken(Err *e, const char *what)
{
	return err_new_no(e, ERR_INVALID, EBADMSG, "the archive is broken: %s", what);
}

/* n bytes; 0 when the archive ends in front of the first one. */
static int read_exactly(TarReader *r, void *buf, size_t n, Err *e)
{
	for (size_t have = 0; have < n;) {
		ssize_t got = r->source(r->user, (char *)buf + have, n - have, e);

		if (got < 0)
			return (int)got;
		if (got == 0)
			return have == 0 ? 0 : broken(e, "it ends too early");
		have += (size_t)got;
	}
	return 1;
}

static int skip(TarReader *r, int64_t n, Err *e)
{
	char buf[8192];

	while (n > 0) {
		int got = read_exactly(r, buf, (size_t)MIN2(n, (int64_t)sizeof(buf)), e);

		if (got <= 0)
			return got < 0 ? got : broken(e, "it ends too early");
		n -= MIN2(n, (int64_t)sizeof(buf));
	}
	return 0;
}

/* Octal text, or GNU's base 256 when the first bit is set. */
static int number(const char *field, size_t n, int64_t *ret)
{
	const unsigned char *p = (const unsigned char *)field;
	uint64_t v = 0;
	size_t i = 0;

	if (p[0] & 0x80) {
		v = p[0] & 0x3F;
		for (i = 1; i < n; i++) {
			if (v >> 55)
				return -EINVAL;
			v = v << 8 | p[i];
		}
		*ret = (int64_t)v;
		return p[0] & 0x40 ? -EINVAL : 0;
	}
	while (i < n && p[i] == ' ')
		i++;
	for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
		v = v << 3 | (unsigned)(p[i] - '0');
	if (i < n && p[i] != ' ' && p[i] != '\0')
		return -EINVAL;
	*ret = (int64_t)v;
	return 0;
}

static bool checksum_fits(const char *h)
{
	int64_t want;
	unsigned sum = 0;

	for (size_t i = 0; i < BLOCK; i++)
		sum += i >= 148 && i < 156 ? ' ' : (unsigned char)h[i];
	return number(h + 148, 8, &want) == 0 && want == (int64_t)sum;
}

/* The body of an extension header, NUL-terminated. */
static int read_extension(TarReader *r, int64_t size, char **ret, Err *e)
{
	if (size < 0 || size > (int64_t)EXTENSION_MAX)
		return broken(e, "an extension header is too large");
	_cleanup_free_ char *text = calloc(1, (size_t)size + 1);
	if (!text)
		return err_oom(e);
	int got = size ? read_exactly(r, text, (size_t)size, e) : 1;
	if (got <= 0)
		return got < 0 ? got : broken(e, "it ends too early");
	*ret = take_ptr(text);
	return skip(r, (BLOCK - size % BLOCK) % BLOCK, e);
}

static int set_text(char **at, const char *value, size_t n, Err *e)
{
	free(*at);
	if (memchr(value, '\0', n))
		return broken(e, "a name contains a NUL byte");
	*at = strndup(value, n);
	return *at ? 0 : err_oom(e);
}

static int set_number(bool *has, int64_t *at, const char *value, size_t n, Err *e)
{
	_cleanup_free_ char *text = strndup(value, strcspn(value, ".\n") < n ? strcspn(value, ".\n") : n);

	if (!text)
		return err_oom(e);
	*has = true;
	return str_to_i64(text, at) < 0 ? broken(e, "a number in an extension header") : 0;
}

static int take_record(TarReader *r, const char *key, size_t key_len, const char *value, size_t n, Err *e)
{
	if (key_len == 4 && memcmp(key, "path", 4) == 0)
		return set_text(&r->next_name, value, n, e);
	if (key_len == 8 && memcmp(key, "linkpath", 8) == 0)
		return set_text(&r->next_link, value, n, e);
	if (key_len == 4 && memcmp(key, "size", 4) == 0)
		return set_number(&r->has_size, &r->size, value, n, e);
	if (key_len == 5 && memcmp(key, "mtime", 5) == 0)
		return set_number(&r->has_mtime, &r->mtime, value, n, e);
	if (key_len == 3 && memcmp(key, "uid", 3) == 0)
		return set_number(&r->has_uid, &r->uid, value, n, e);
	if (key_len == 3 && memcmp(key, "gid", 3) == 0)
		return set_number(&r->has_gid, &r->gid, value, n, e);
	return 0;
}

/* "<length> key=value\n" one after the other. */
static int take_pax(TarReader *r, const char *text, size_t size, Err *e)
{
	for (size_t at = 0; at < size && text[at];) {
		size_t n = 0, digits = 0;

		while (at + digits < size && isdigit((unsigned char)text[at + digits]) && digits < 8)
			n = n * 10 + (size_t)(text[at + digits++] - '0');
		const char *key = text + at + digits + 1;
		if (digits == 0 || text[at + digits] != ' ' || n < digits + 4 || n > size - at ||
		    text[at + n - 1] != '\n')
			return broken(e, "a record of an extension header");
		size_t rest = n - digits - 2;
		const char *eq = memchr(key, '=', rest);
		if (!eq)
			return broken(e, "a record of an extension header");
		int bad = take_record(r, key, (size_t)(eq - key), eq + 1, rest - (size_t)(eq - key) - 1, e);
		if (bad < 0)
			return bad;
		at += n;
	}
	return 0;
}

static int take_extension(TarReader *r, char type, int64_t size, Err *e)
{
	_cleanup_free_ char *text = NULL;
	int bad = read_extension(r, size, &text, e);

	if (bad < 0)
		return bad;
	if (type == 'x')
		return take_pax(r, text, (size_t)size, e);
	if (type == 'L')
		return set_text(&r->next_name, text, strlen(text), e);
	if (type == 'K')
		return set_text(&r->next_link, text, strlen(text), e);
	return 0; /* 'g': global records say nothing that we need */
}

static mode_t type_bits(char type)
{
	switch (type) {
	case '5':
		return S_IFDIR;
	case '2':
		return S_IFLNK;
	case '3':
		return S_IFCHR;
	case '4':
		return S_IFBLK;
	case '6':
		return S_IFIFO;
	default:
		return S_IFREG;
	}
}

static int take_names(TarReader *r, const char *h, Err *e)
{
	size_t prefix = memcmp(h + 257, "ustar\0", 6) == 0 ? strnlen(h + 345, 155) : 0;

	free(r->name);
	free(r->link);
	r->name = take_ptr(r->next_name);
	r->link = take_ptr(r->next_link);
	if (!r->name)
		r->name =
		    strf("%.*s%s%.*s", (int)prefix, h + 345, prefix ? "/" : "", (int)strnlen(h, 100), h);
	if (!r->link)
		r->link = strndup(h + 157, 100);
	return r->name && r->link ? 0 : err_oom(e);
}

static int take_entry(TarReader *r, const char *h, int64_t size, TarEntry *ret, Err *e)
{
	int64_t mode, uid, gid, mtime, maj = 0, min = 0;
	char type = h[156] ? h[156] : '0';
	int bad = take_names(r, h, e);

	if (bad < 0)
		return bad;
	if (number(h + 100, 8, &mode) < 0 || number(h + 108, 8, &uid) < 0 || number(h + 116, 8, &gid) < 0 ||
	    number(h + 136, 12, &mtime) < 0)
		return broken(e, "a number in a header");
	if ((type == '3' || type == '4') && (number(h + 329, 8, &maj) < 0 || number(h + 337, 8, &min) < 0))
		return broken(e, "a device number");
	if (r->has_size)
		size = r->size;
	if (size < 0 || size > INT64_MAX - BLOCK)
		return broken(e, "a size is out of range");
	r->left = size;
	r->padding = (size_t)((BLOCK - size % BLOCK) % BLOCK);
	*ret = (TarEntry){.name = r->name,
			  .link = type == '1' || type == '2' ? r->link : NULL,
			  .hard = type == '1',
			  .mode = (mode_t)(mode & 07777) | type_bits(type),
			  .uid = (uint32_t)(r->has_uid ? r->uid : uid),
			  .gid = (uint32_t)(r->has_gid ? r->gid : gid),
			  .size = size,
			  .mtime = r->has_mtime ? r->mtime : mtime,
			  .device = makedev((unsigned)maj, (unsigned)min)};
	r->has_size = r->has_mtime = r->has_uid = r->has_gid = false;
	return 1;
}

int tar_reader_next(TarReader *r, TarEntry *ret, Err *e)
{
	static const char zeros[BLOCK];
	char h[BLOCK];
	int bad = skip(r, r->left, e);

	if (bad == 0)
		bad = skip(r, (int64_t)r->padding, e);
	r->left = 0;
	r->padding = 0;
	while (bad == 0) {
		int64_t size;
		int got = read_exactly(r, h, BLOCK, e);

		if (got <= 0)
			return got;
		if (memcmp(h, zeros, BLOCK) == 0)
			return 0;
		if (!checksum_fits(h) || number(h + 124, 12, &size) < 0)
			return broken(e, "a header is damaged");
		if (h[156] && strchr("xgLK", h[156])) {
			bad = take_extension(r, h[156], size, e);
			continue;
		}
		if (h[156] && !strchr("01234567", h[156])) {
			if (size < 0 || size > INT64_MAX - BLOCK)
				return broken(e, "a size is out of range");
			bad = skip(r, size + (BLOCK - size % BLOCK) % BLOCK, e);
			continue;
		}
		return take_entry(r, h, size, ret, e);
	}
	return bad;
}

ssize_t tar_reader_data(TarReader *r, void *buf, size_t cap, Err *e)
{
	ssize_t n = r->left ? r->source(r->user, buf, (size_t)MIN2((int64_t)cap, r->left), e) : 0;

	if (n == 0 && r->left)
		return broken(e, "it ends too early");
	if (n > 0)
		r->left -= n;
	return n;
}
