/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PAX records and sparse maps.
 *
 * A record is "LENGTH KEY=VALUE\n" (POSIX.1-2017 pax(1), "pax Extended Header"). A sparse file is described in
 * one of four ways: in the header and blocks behind it (old GNU), in repeated records (0.0), in one
 * record (0.1) or at the start of its contents (1.0). A map must be in order, without overlaps, within the file, and must account
 * for every stored byte.
 */
#include "base/str.h"
#include "store/tar-internal.h"

#include <ctype.h>

void tar_pax_reset(TarExtras *x)
{
	TarExtras keep = {.any = x->any,
			  .long_name = take_ptr(x->long_name),
			  .long_link = take_ptr(x->long_link)};

	tar_extras_done(x);
	*x = keep;
}

void tar_extras_done(TarExtras *x)
{
	free(x->path);
	free(x->linkpath);
	free(x->long_name);
	free(x->long_link);
	for (size_t i = 0; i < x->n_xattrs; i++) {
		free(x->xattrs[i].name);
		free(x->xattrs[i].value);
	}
	free(x->xattrs);
	free(x->map);
	*x = (TarExtras){0};
}

static int bad(Err *e, const char *key, const char *why)
{
	return err_new(e, ERR_INVALID, "bad PAX header: %.60s %s", key, why);
}

static int set_number(const char *key, const char *value, int64_t *ret, bool *has, Err *e)
{
	int r = str_to_i64(value, ret);

	if (r < 0 || *ret < 0)
		return bad(e, key, "is not a number in range");
	*has = true;
	return 0;
}

/* "1700000000.123456789", negative before 1970; digits past the ninth are cut off. */
static int set_mtime(TarExtras *x, const char *value, Err *e)
{
	_cleanup_free_ char *whole = strdup(value);
	bool negative = value[0] == '-';
	uint32_t ns = 0, scale = 100000000;
	char *dot;

	if (!whole)
		return err_oom(e);
	dot = strchr(whole, '.');
	if (dot) {
		*dot = 0;
		for (const char *p = dot + 1; *p; p++) {
			if (!isdigit((unsigned char)*p))
				return bad(e, "mtime", "is not a time");
			ns += (uint32_t)(*p - '0') * scale;
			scale /= 10;
		}
	}
	if (str_to_i64(whole, &x->mtime_s) < 0)
		return bad(e, "mtime", "is not a time");
	if (negative && ns > 0 && x->mtime_s > INT64_MIN) {
		x->mtime_s--;
		ns = 1000000000 - ns;
	}
	x->mtime_ns = ns;
	x->has_mtime = true;
	return 0;
}

static int set_text(char **field, const char *key, const char *value, size_t len, Err *e)
{
	if (memchr(value, 0, len))
		return bad(e, key, "contains a NUL byte");
	free(*field);
	*field = strndup(value, len);
	return *field ? 0 : err_oom(e);
}

static int add_xattr(TarExtras *x, const char *name, const char *value, size_t len, Err *e)
{
	TarXattr *grown = reallocarray(x->xattrs, x->n_xattrs + 1, sizeof(*grown));
	TarXattr *a;

	if (!grown)
		return err_oom(e);
	x->xattrs = grown;
	a = &grown[x->n_xattrs];
	a->name = strdup(name);
	a->value = malloc(len + 1);
	a->len = len;
	if (!a->name || !a->value) {
		free(a->name);
		free(a->value);
		return err_oom(e);
	}
	memcpy(a->value, value, len);
	x->n_xattrs++;
	return 0;
}

bool tar_xattr_is_wanted(const char *name)
{
	if (str_starts(name, "user."))
		return !str_starts(name, "user.overlay.");
	return streq(name, "security.capability") || streq(name, "system.posix_acl_access") ||
	       streq(name, "system.posix_acl_default");
}

static int add_piece(TarPiece **map, size_t *n, int64_t offset, int64_t len, Err *e)
{
	if (*n >= TAR_SPARSE_MAX)
		return err_new(e, ERR_INVALID, "a sparse file with more than %u pieces", TAR_SPARSE_MAX);
	if ((*n & (*n - 1)) == 0) {
		TarPiece *grown = reallocarray(*map, *n ? *n * 2 : 1, sizeof(*grown));

		if (!grown)
			return err_oom(e);
		*map = grown;
	}
	(*map)[(*n)++] = (TarPiece){offset, len};
	return 0;
}

/* Format 0.1: "offset,length,offset,length". */
static int parse_map(TarExtras *x, const char *value, Err *e)
{
	x->n_map = 0;
	while (*value) {
		long long v[2];
		int r;

		for (int i = 0; i < 2; i++) {
			char *end;

			errno = 0;
			v[i] = isdigit((unsigned char)*value) ? strtoll(value, &end, 10) : -1;
			if (v[i] < 0 || errno || (*end != ',' && !(i == 1 && *end == 0)))
				return bad(e, "GNU.sparse.map", "is not a list of pairs");
			value = *end ? end + 1 : end;
		}
		r = add_piece(&x->map, &x->n_map, v[0], v[1], e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int set_sparse(TarExtras *x, const char *key, const char *name, const char *value, size_t len, Err *e)
{
	int64_t v = 0;
	bool has;
	int r;

	x->sparse = true;
	if (streq(name, "map"))
		return parse_map(x, value, e);
	if (streq(name, "name"))
		return set_text(&x->path, key, value, len, e);
	r = set_number(key, value, &v, &has, e);
	if (r < 0)
		return r;
	if (streq(name, "major"))
		x->sparse_major = v;
	else if (streq(name, "minor"))
		x->sparse_minor = v;
	else if (streq(name, "size") || streq(name, "realsize"))
		x->sparse_size = v;
	else if (streq(name, "offset")) {
		if (x->map_half)
			return bad(e, key, "comes twice");
		x->map_half = true;
		return add_piece(&x->map, &x->n_map, v, 0, e);
	} else if (streq(name, "numbytes")) {
		if (!x->map_half)
			return bad(e, key, "comes without an offset");
		x->map_half = false;
		x->map[x->n_map - 1].len = v;
	}
	return 0;
}

static int set_record(TarExtras *x, const char *key, const char *value, size_t len, Err *e)
{
	const char *rest;

	/* An empty value takes a record back, as if it had not been given. */
	rest = str_after(key, "SCHILY.xattr.");
	if (rest)
		return *rest ? add_xattr(x, rest, value, len, e) : bad(e, key, "has no name");
	if (len == 0)
		return 0;
	if (streq(key, "path"))
		return x->sparse && x->path ? 0 : set_text(&x->path, key, value, len, e);
	if (streq(key, "linkpath"))
		return set_text(&x->linkpath, key, value, len, e);
	if (streq(key, "size"))
		return set_number(key, value, &x->size, &x->has_size, e);
	if (streq(key, "uid"))
		return set_number(key, value, &x->uid, &x->has_uid, e);
	if (streq(key, "gid"))
		return set_number(key, value, &x->gid, &x->has_gid, e);
	if (streq(key, "mtime"))
		return set_mtime(x, value, e);
	rest = str_after(key, "GNU.sparse.");
	if (rest && !streq(rest, "numblocks"))
		return set_sparse(x, key, rest, value, len, e);
	return 0;
}

int tar_pax_parse(TarExtras *x, char *text, size_t len, Err *e)
{
	while (len > 0) {
		size_t record = 0, digits = 0, key_len;
		char *equals, *key;
		int r;

		while (digits < len && isdigit((unsigned char)text[digits]) && digits < 8)
			record = record * 10 + (size_t)(text[digits++] - '0');
		if (digits == 0 || digits == len || text[digits] != ' ' || record > len ||
		    record < digits + 3 || text[record - 1] != '\n')
			return bad(e, "record", "has a wrong length");
		key = text + digits + 1;
		equals = memchr(key, '=', record - digits - 2);
		if (!equals || equals == key)
			return bad(e, "record", "has no key");
		key_len = (size_t)(equals - key);
		if (memchr(key, 0, key_len))
			return bad(e, "record", "has a NUL byte in its key");
		*equals = 0;
		text[record - 1] = 0;
		r = set_record(x, key, equals + 1, record - digits - 3 - key_len, e);
		if (r < 0)
			return r;
		text += record;
		len -= record;
	}
	return 0;
}

/* Octal or base-256 field of a sparse header; -1 if it is neither. */
static int64_t sparse_number(const char *f)
{
	int64_t v = 0;
	int i = 0;

	if (f[0] & 0x80) {
		for (i = 4; i < 12; i++)
			v = (int64_t)((uint64_t)v << 8 | (uint8_t)f[i]);
		return v;
	}
	while (i < 12 && f[i] == ' ')
		i++;
	for (; i < 12 && f[i] >= '0' && f[i] <= '7'; i++)
		v = v * 8 + (f[i] - '0');
	return i < 12 && f[i] != 0 && f[i] != ' ' ? -1 : v;
}

/* Takes `n` pairs of 12-byte fields; an empty field ends the list. */
static int add_fields(TarReader *t, const char *f, int n, Err *e)
{
	for (int i = 0; i < n && f[0]; i++, f += 24) {
		int64_t offset = sparse_number(f), len = sparse_number(f + 12);
		int r = add_piece(&t->sparse, &t->n_sparse, offset, len, e);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Old GNU: four pairs in the header at 386, "more follows" at 482, the real size at 483; then blocks of 21 pairs. */
static int read_old_gnu(TarReader *t, const TarHeader *h, Err *e)
{
	const char *raw = (const char *)h;
	bool more = raw[482] != 0;
	int r = add_fields(t, raw + 386, 4, e);

	t->entry.size = sparse_number(raw + 483);
	while (r >= 0 && more) {
		char block[TAR_BLOCK];

		r = tar_read_exact(t, block, sizeof(block), "a sparse map", e);
		if (r < 0)
			return r;
		more = block[504] != 0;
		r = add_fields(t, block, 21, e);
	}
	return r;
}

typedef struct MapText {
	char block[TAR_BLOCK];
	size_t at, len;
} MapText;

/* One decimal line of a 1.0 map, which fills whole blocks at the start of the contents. */
static int map_line(TarReader *t, MapText *m, int64_t *ret, Err *e)
{
	int64_t v = 0;

	for (int digits = 0;; digits++) {
		char c;

		if (m->at == m->len) {
			if (t->stored < (int64_t)TAR_BLOCK)
				return err_new(e, ERR_INVALID, "the sparse map of \"%s\" does not end",
					       t->entry.name);
			int r = tar_read_exact(t, m->block, TAR_BLOCK, "a sparse map", e);
			if (r < 0)
				return r;
			t->stored -= TAR_BLOCK;
			m->at = 0;
			m->len = TAR_BLOCK;
		}
		c = m->block[m->at++];
		if (c == '\n' && digits > 0)
			break;
		if (!isdigit((unsigned char)c) || digits > 17)
			return err_new(e, ERR_INVALID, "the sparse map of \"%s\" is damaged", t->entry.name);
		v = v * 10 + (c - '0');
	}
	*ret = v;
	return 0;
}

static int read_map_1_0(TarReader *t, Err *e)
{
	MapText m = {.at = 0};
	int64_t n, offset, len;
	int r = map_line(t, &m, &n, e);

	for (int64_t i = 0; r >= 0 && i < n; i++) {
		r = map_line(t, &m, &offset, e);
		if (r >= 0)
			r = map_line(t, &m, &len, e);
		if (r >= 0)
			r = add_piece(&t->sparse, &t->n_sparse, offset, len, e);
	}
	return r;
}

static int check_map(const TarReader *t, Err *e)
{
	int64_t end = 0, sum = 0;
	bool good = t->entry.size >= 0;

	for (size_t i = 0; good && i < t->n_sparse; i++) {
		const TarPiece *p = &t->sparse[i];

		good = p->offset >= end && p->len >= 0 && p->len <= INT64_MAX - p->offset &&
		       p->offset + p->len <= t->entry.size;
		if (good) {
			end = p->offset + p->len;
			sum += p->len;
		}
	}
	if (!good || sum != t->stored)
		return err_new(e, ERR_INVALID, "the sparse map of \"%s\" does not fit the file",
			       t->entry.name);
	return 0;
}

int tar_sparse_read(TarReader *t, const TarHeader *h, Err *e)
{
	TarExtras *x = &t->extras;
	int r = 0;

	t->n_sparse = t->sparse_at = 0;
	t->entry.sparse = true;
	if (!x->sparse) {
		r = read_old_gnu(t, h, e);
	} else {
		t->entry.size = x->sparse_size;
		if (x->sparse_major == 1 && x->sparse_minor == 0) {
			r = read_map_1_0(t, e);
		} else if (x->sparse_major == 0 && !x->map_half) {
			free(t->sparse);
			t->sparse = take_ptr(x->map);
			t->n_sparse = x->n_map;
		} else {
			r = err_new(e, ERR_INVALID, "\"%s\" is a sparse file of the unknown format %lld.%lld",
				    t->entry.name, (long long)x->sparse_major, (long long)x->sparse_minor);
		}
	}
	return r < 0 ? r : check_map(t, e);
}
