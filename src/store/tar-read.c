/* SPDX-License-Identifier: Apache-2.0 */
/* Tar blocks to entries; the contract is in tar-read.h, PAX and sparse maps are in tar-pax.c. POSIX.1-2017 pax(1), GNU tar
 * manual, "Basic Tar Format" and "Storing Sparse Files". */
#include "base/str.h"
#include "store/tar-internal.h"

int tar_reader_new(TarNextChunk next, void *user, TarReader **ret, Err *e)
{
	TarReader *t = calloc(1, sizeof(*t));

	if (!t)
		return err_oom(e);
	t->next = next;
	t->user = user;
	*ret = t;
	return 0;
}

void tar_entry_done(TarEntry *n)
{
	free(n->name);
	free(n->link);
	for (size_t i = 0; i < n->n_xattrs; i++) {
		free(n->xattrs[i].name);
		free(n->xattrs[i].value);
	}
	free(n->xattrs);
	*n = (TarEntry){0};
}

void tar_reader_free(TarReader *t)
{
	if (!t)
		return;
	tar_entry_done(&t->entry);
	tar_extras_done(&t->extras);
	free(t->sparse);
	free(t);
}

int64_t tar_headers(const TarReader *t)
{
	return t->headers;
}

int64_t tar_position(const TarReader *t)
{
	return t->taken - (int64_t)t->left;
}

/* Makes sure that there is at least one byte at t->at: 1, 0 at the end of the stream, or -errno. */
static int fill(TarReader *t, Err *e)
{
	ssize_t n;

	if (t->left > 0)
		return 1;
	if (t->ended)
		return 0;
	n = t->next(t->user, &t->at, e);
	if (n < 0)
		return (int)n;
	t->left = (size_t)n;
	t->taken += n;
	t->ended = n == 0;
	return n > 0;
}

/* Up to len bytes; fewer only at the end of the stream. */
static ssize_t read_some(TarReader *t, void *buf, size_t len, Err *e)
{
	size_t got = 0;

	while (got < len) {
		int r = fill(t, e);
		size_t n;

		if (r < 0)
			return r;
		if (r == 0)
			break;
		n = MIN2(len - got, t->left);
		memcpy((uint8_t *)buf + got, t->at, n);
		t->at += n;
		t->left -= n;
		got += n;
	}
	return (ssize_t)got;
}

int tar_truncated(Err *e, const char *where)
{
	return err_new(e, ERR_INVALID, "truncated layer: the archive ends inside %s", where);
}

int tar_read_exact(TarReader *t, void *buf, size_t len, const char *where, Err *e)
{
	ssize_t n = read_some(t, buf, len, e);

	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : tar_truncated(e, where);
}

static int skip(TarReader *t, int64_t len, const char *where, Err *e)
{
	while (len > 0) {
		int r = fill(t, e);
		size_t n;

		if (r < 0)
			return r;
		if (r == 0)
			return tar_truncated(e, where);
		n = (int64_t)t->left < len ? t->left : (size_t)len;
		t->at += n;
		t->left -= n;
		len -= (int64_t)n;
	}
	return 0;
}

/* The rest of the stream behind the end marker: ignored, but read, because the digest covers it. */
static int drain(TarReader *t, Err *e)
{
	int r;

	while ((r = fill(t, e)) > 0)
		t->left = 0;
	return r;
}

/* Octal with blanks around it, or base-256 in two's complement when the first bit is set. */
static int number(const uint8_t *f, size_t len, int64_t *ret)
{
	uint64_t v = 0;
	size_t i = 0;

	if (f[0] & 0x80) {
		bool negative = f[0] & 0x40;
		uint64_t extend = negative ? UINT64_MAX : 0;

		v = negative ? (UINT64_MAX << 7) | f[0] : f[0] & 0x7Fu;
		for (i = 1; i < len; i++) {
			if (v >> 55 != extend >> 55)
				return -ERANGE;
			v = v << 8 | f[i];
		}
		*ret = (int64_t)v;
		return 0;
	}
	while (i < len && f[i] == ' ')
		i++;
	for (; i < len && f[i] >= '0' && f[i] <= '7'; i++) {
		if (v >> 60)
			return -ERANGE;
		v = v << 3 | (uint64_t)(f[i] - '0');
	}
	for (; i < len; i++)
		if (f[i] != ' ' && f[i] != 0)
			return -EINVAL;
	*ret = (int64_t)v;
	return 0;
}

static int field(const TarHeader *h, const uint8_t *f, size_t len, const char *what, int64_t *ret, Err *e)
{
	int r = number(f, len, ret);

	if (r < 0)
		return err_new(e, ERR_INVALID, "bad tar header of \"%.*s\": the field %s is not a number",
			       (int)strnlen(h->name, sizeof(h->name)), h->name, what);
	return 0;
}

static bool is_zero_block(const uint8_t *b)
{
	return b[0] == 0 && memcmp(b, b + 1, TAR_BLOCK - 1) == 0;
}

/* The sum of all bytes with the checksum field taken as blanks; historic writers summed signed chars. */
static bool checksum_fits(const TarHeader *h)
{
	const uint8_t *b = (const uint8_t *)h;
	int64_t want, plain = 0, with_sign = 0;

	if (number((const uint8_t *)h->checksum, sizeof(h->checksum), &want) < 0)
		return false;
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		bool blank = i >= offsetof(TarHeader, checksum) && i < offsetof(TarHeader, type);

		plain += blank ? ' ' : b[i];
		with_sign += blank ? ' ' : (int8_t)b[i];
	}
	return want == plain || want == with_sign;
}

bool tar_block_begins(const void *block)
{
	return !is_zero_block(block) && checksum_fits(block);
}

/* 1 with a header in *h; 0 at the end of the archive. */
static int read_header(TarReader *t, TarHeader *h, Err *e)
{
	ssize_t n = read_some(t, h, TAR_BLOCK, e);

	if (n <= 0)
		return (int)n;
	if (n < (ssize_t)TAR_BLOCK)
		return t->headers == 0
			   ? err_new(e, ERR_INVALID, "not a tar archive: it has only %zd bytes", n)
			   : tar_truncated(e, "a header");
	if (is_zero_block((const uint8_t *)h)) {
		int r = drain(t, e);

		return r < 0 ? r : 0;
	}
	if (!checksum_fits(h))
		return err_new(e, ERR_INVALID,
			       t->headers == 0 ? "not a tar archive: the first header has a wrong checksum"
					       : "damaged tar archive: a header has a wrong checksum");
	t->headers++;
	return 1;
}

static int payload_size(const TarHeader *h, int64_t *ret, Err *e)
{
	int r = field(h, (const uint8_t *)h->size, sizeof(h->size), "size", ret, e);

	if (r < 0)
		return r;
	if (*ret < 0 || *ret > INT64_MAX - (int64_t)TAR_BLOCK)
		return err_new(e, ERR_INVALID, "bad tar header of \"%.*s\": impossible size",
			       (int)strnlen(h->name, sizeof(h->name)), h->name);
	return 0;
}

/* The contents of a PAX or long-name header, with a NUL behind them. */
static int read_payload(TarReader *t, const TarHeader *h, char **ret, size_t *ret_len, Err *e)
{
	_cleanup_free_ char *text = NULL;
	int64_t size;
	int r = payload_size(h, &size, e);

	if (r < 0)
		return r;
	if (size > (int64_t)TAR_HEADER_MAX)
		return err_new(e, ERR_INVALID, "an extended tar header of %lld bytes: at most %u are allowed",
			       (long long)size, TAR_HEADER_MAX);
	text = malloc((size_t)size + 1);
	if (!text)
		return err_oom(e);
	r = tar_read_exact(t, text, (size_t)size, "an extended header", e);
	if (r >= 0)
		r = skip(t, tar_padding(size), "an extended header", e);
	if (r < 0)
		return r;
	text[size] = 0;
	*ret_len = (size_t)size;
	*ret = take_ptr(text);
	return 0;
}

static int read_long_name(TarReader *t, const TarHeader *h, char **ret, Err *e)
{
	char *text;
	size_t len;
	int r = read_payload(t, h, &text, &len, e);

	if (r < 0)
		return r;
	free(*ret);
	*ret = text;
	return 0;
}

static int read_pax(TarReader *t, const TarHeader *h, Err *e)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = read_payload(t, h, &text, &len, e);

	if (r < 0)
		return r;
	return tar_pax_parse(&t->extras, text, len, e);
}

static int entry_type(const TarHeader *h, TarType *ret, Err *e)
{
	size_t n = strnlen(h->name, sizeof(h->name));

	switch (h->type) {
	case 0:
	case '0':
	case '7':
	case 'S':
		*ret = TAR_FILE;
		return 0;
	case '1':
		*ret = TAR_HARDLINK;
		return 0;
	case '2':
		*ret = TAR_SYMLINK;
		return 0;
	case '3':
		*ret = TAR_CHAR;
		return 0;
	case '4':
		*ret = TAR_BLOCKDEV;
		return 0;
	case '5':
		*ret = TAR_DIR;
		return 0;
	case '6':
		*ret = TAR_FIFO;
		return 0;
	default:
		return err_new(e, ERR_INVALID, "tar entry \"%.*s\" has the unknown type 0x%02x", (int)n,
			       h->name, (unsigned)(uint8_t)h->type);
	}
}

static char *header_name(const TarHeader *h)
{
	char *s = NULL;
	/* GNU keeps other things where POSIX has the prefix. */
	int prefix = memcmp(h->magic, "ustar\0", 6) == 0 ? (int)strnlen(h->prefix, sizeof(h->prefix)) : 0;
	int name = (int)strnlen(h->name, sizeof(h->name));

	if (asprintf(&s, "%.*s%s%.*s", prefix, h->prefix, prefix ? "/" : "", name, h->name) < 0)
		return NULL;
	return s;
}

/* Ids and device numbers must fit; uid -1 means "unchanged" to the kernel and is nobody's. */
static int narrow(const char *name, const char *what, int64_t v, int64_t max, uint32_t *ret, Err *e)
{
	if (v < 0 || v > max)
		return err_new(e, ERR_INVALID, "tar entry \"%s\": %s %lld is out of range", name, what,
			       (long long)v);
	*ret = (uint32_t)v;
	return 0;
}

static int take_names(TarReader *t, const TarHeader *h, Err *e)
{
	TarExtras *x = &t->extras;
	TarEntry *n = &t->entry;

	n->name = x->path ? take_ptr(x->path) : x->long_name ? take_ptr(x->long_name) : header_name(h);
	n->link = x->linkpath    ? take_ptr(x->linkpath)
		  : x->long_link ? take_ptr(x->long_link)
				 : strndup(h->link, sizeof(h->link));
	return n->name && n->link ? 0 : err_oom(e);
}

static int take_numbers(TarReader *t, const TarHeader *h, Err *e)
{
	const TarExtras *x = &t->extras;
	TarEntry *n = &t->entry;
	int64_t mode, uid, gid, mtime, major = 0, minor = 0;
	int r;

	r = field(h, (const uint8_t *)h->mode, sizeof(h->mode), "mode", &mode, e);
	if (r >= 0)
		r = field(h, (const uint8_t *)h->uid, sizeof(h->uid), "uid", &uid, e);
	if (r >= 0)
		r = field(h, (const uint8_t *)h->gid, sizeof(h->gid), "gid", &gid, e);
	if (r >= 0)
		r = field(h, (const uint8_t *)h->mtime, sizeof(h->mtime), "mtime", &mtime, e);
	if (r >= 0 && (n->type == TAR_CHAR || n->type == TAR_BLOCKDEV)) {
		r = field(h, (const uint8_t *)h->major, sizeof(h->major), "device major", &major, e);
		if (r >= 0)
			r = field(h, (const uint8_t *)h->minor, sizeof(h->minor), "device minor", &minor, e);
	}
	if (r < 0)
		return r;
	n->mode = (uint32_t)mode & 07777;
	n->mtime_s = x->has_mtime ? x->mtime_s : mtime;
	n->mtime_ns = x->has_mtime ? x->mtime_ns : 0;
	r = narrow(n->name, "owner id", x->has_uid ? x->uid : uid, UINT32_MAX - 1, &n->uid, e);
	if (r >= 0)
		r = narrow(n->name, "group id", x->has_gid ? x->gid : gid, UINT32_MAX - 1, &n->gid, e);
	if (r >= 0)
		r = narrow(n->name, "device major", major, 0xFFF, &n->dev_major, e);
	if (r >= 0)
		r = narrow(n->name, "device minor", minor, 0xFFFFF, &n->dev_minor, e);
	return r;
}

/* Says how many bytes follow the header, and for sparse files where they belong. */
static int take_contents(TarReader *t, const TarHeader *h, Err *e)
{
	TarEntry *n = &t->entry;
	TarExtras *x = &t->extras;
	int64_t size;
	int r = payload_size(h, &size, e);

	if (r < 0)
		return r;
	if (x->has_size)
		size = x->size;
	t->stored = size;
	/* A GNU dump directory carries a file list, which is skipped. */
	if (n->type != TAR_FILE && h->type != 'D')
		t->stored = 0;
	t->pad = tar_padding(t->stored);
	if (n->type != TAR_FILE)
		return 0;
	n->size = size;
	if (h->type == 'S' || x->sparse)
		return tar_sparse_read(t, h, e);
	return 0;
}

static int take_entry(TarReader *t, const TarHeader *h, Err *e)
{
	TarHeader plain = *h;
	int r;

	if (h->type == 'D')
		plain.type = '5';
	r = entry_type(&plain, &t->entry.type, e);
	if (r >= 0)
		r = take_names(t, h, e);
	/* v7 had no type for directories: a trailing slash says so. */
	if (r >= 0 && h->type == 0 && str_ends(t->entry.name, "/"))
		t->entry.type = TAR_DIR;
	if (r >= 0)
		r = take_numbers(t, h, e);
	if (r >= 0)
		r = take_contents(t, h, e);
	if (r < 0)
		return r;
	t->entry.xattrs = take_ptr(t->extras.xattrs);
	t->entry.n_xattrs = t->extras.n_xattrs;
	t->extras.n_xattrs = 0;
	return 1;
}

bool tar_padding_is_dirty(const TarReader *t)
{
	return t->pad_dirty;
}

/* An archive may end right behind the contents of its last file: docker's command line sends such build contexts when the Dockerfile
 * lies outside of an empty one. Nobody can tell then what will lie where the padding would. */
static int skip_padding(TarReader *t, const char *where, Err *e)
{
	int64_t whole = t->pad;

	t->pad_dirty = false;
	while (t->pad > 0) {
		int r = fill(t, e);

		if (r < 0)
			return r;
		if (r == 0 && t->pad < whole)
			return tar_truncated(e, where);
		if (r == 0) {
			t->pad_dirty = true;
			return 0;
		}
		t->pad_dirty |= *t->at++ != 0;
		t->left--;
		t->pad--;
	}
	return 0;
}

static int finish_entry(TarReader *t, Err *e)
{
	const char *where = "a file";
	int r = skip(t, t->stored, where, e);

	if (r >= 0)
		r = skip_padding(t, where, e);
	t->stored = t->pad = 0;
	t->n_sparse = t->sparse_at = 0;
	t->offset = 0;
	tar_entry_done(&t->entry);
	tar_extras_done(&t->extras);
	return r;
}

int tar_next(TarReader *t, const TarEntry **ret, Err *e)
{
	TarHeader h;
	int64_t size;
	int r = finish_entry(t, e);

	if (r < 0)
		return r;
	for (;;) {
		r = read_header(t, &h, e);
		if (r < 0)
			return r;
		if (r == 0)
			return t->extras.any ? tar_truncated(e, "an extended header") : 0;
		switch (h.type) {
		case 'x':
		case 'X':
			tar_pax_reset(&t->extras);
			r = read_pax(t, &h, e);
			break;
		case 'L':
			r = read_long_name(t, &h, &t->extras.long_name, e);
			break;
		case 'K':
			r = read_long_name(t, &h, &t->extras.long_link, e);
			break;
		case 'g':
		case 'V':
			r = payload_size(&h, &size, e);
			if (r >= 0)
				r = skip(t, size + tar_padding(size), "a header", e);
			if (r < 0)
				return r;
			continue;
		default:
			r = take_entry(t, &h, e);
			if (r > 0)
				*ret = &t->entry;
			return r;
		}
		if (r < 0)
			return r;
		t->extras.any = true;
	}
}

int tar_data(TarReader *t, const void **ret, size_t *ret_len, int64_t *ret_offset, Err *e)
{
	int64_t most = t->stored;
	size_t n;
	int r;

	if (t->entry.sparse) {
		while (t->sparse_at < t->n_sparse && t->sparse[t->sparse_at].len == 0)
			t->sparse_at++;
		if (t->sparse_at == t->n_sparse)
			return 0;
		most = t->sparse[t->sparse_at].len;
		t->offset = t->sparse[t->sparse_at].offset;
	}
	if (most == 0)
		return 0;
	r = fill(t, e);
	if (r < 0)
		return r;
	if (r == 0)
		return tar_truncated(e, t->entry.name);
	n = (int64_t)t->left < most ? t->left : (size_t)most;
	*ret = t->at;
	*ret_len = n;
	*ret_offset = t->offset;
	t->at += n;
	t->left -= n;
	t->stored -= (int64_t)n;
	t->offset += (int64_t)n;
	if (t->entry.sparse) {
		t->sparse[t->sparse_at].offset += (int64_t)n;
		t->sparse[t->sparse_at].len -= (int64_t)n;
	}
	return 1;
}
