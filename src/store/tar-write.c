/* SPDX-License-Identifier: Apache-2.0 */
/* Entries to tar blocks; the contract is in tar-write.h. POSIX.1-2017 pax(1). */
#include "store/tar-write.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/namespace.h"
#include "store/dir.h"
#include "store/tar-internal.h"

#define BUFFER (256u << 10)

struct TarWriter {
	int fd;
	Hasher *hasher;
	uint8_t *buf;
	size_t len;
	int64_t owed; /* contents and padding that the last header promised */
	int64_t contents, total;
	const StoreIds *ids; /* or NULL */
};

#define OVERFLOW_ID 65534

void tar_writer_name_ids(TarWriter *w, const StoreIds *ids)
{
	w->ids = ids;
}

static uint32_t id_inside(const NamespaceIdMap *v, size_t n, uint32_t outside)
{
	for (size_t i = 0; i < n; i++)
		if (outside >= v[i].outside && outside - v[i].outside < v[i].count)
			return v[i].inside + (outside - v[i].outside);
	return OVERFLOW_ID;
}

int tar_writer_new(int fd, Hasher *h, TarWriter **ret, Err *e)
{
	_cleanup_(tar_writer_freep) TarWriter *w = calloc(1, sizeof(*w));

	if (!w)
		return err_oom(e);
	w->fd = fd;
	w->hasher = h;
	w->buf = malloc(BUFFER);
	if (!w->buf)
		return err_oom(e);
	*ret = take_ptr(w);
	return 0;
}

void tar_writer_free(TarWriter *w)
{
	if (!w)
		return;
	free(w->buf);
	free(w);
}

int64_t tar_writer_contents(const TarWriter *w)
{
	return w->contents;
}

int64_t tar_writer_total(const TarWriter *w)
{
	return w->total;
}

static int flush(TarWriter *w, Err *e)
{
	int r = 0;

	if (w->hasher)
		hasher_add(w->hasher, w->buf, w->len);
	if (w->fd >= 0)
		r = fd_write_all(w->fd, w->buf, w->len);
	w->total += (int64_t)w->len;
	w->len = 0;
	return r < 0 ? err_sys(e, r, "write a tar") : 0;
}

static int put(TarWriter *w, const void *data, size_t len, Err *e)
{
	const uint8_t *p = data;

	while (len > 0) {
		size_t n = MIN2(len, BUFFER - w->len);

		memcpy(w->buf + w->len, p, n);
		w->len += n;
		p += n;
		len -= n;
		if (w->len == BUFFER) {
			int r = flush(w, e);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int put_zeros(TarWriter *w, int64_t len, Err *e)
{
	while (len > 0) {
		size_t n = (size_t)MIN2(len, (int64_t)(BUFFER - w->len));

		memset(w->buf + w->len, 0, n);
		w->len += n;
		len -= (int64_t)n;
		if (w->len == BUFFER) {
			int r = flush(w, e);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Octal with a NUL behind it; false if there is no room. */
static bool octal(char *field, size_t len, uint64_t v)
{
	for (size_t i = len - 1; i-- > 0; v >>= 3)
		field[i] = (char)('0' + (v & 7));
	field[len - 1] = 0;
	return v == 0;
}

/* "LENGTH KEY=VALUE\n", where LENGTH counts itself. */
static void record(StrBuf *b, const char *key, const void *value, size_t len)
{
	size_t rest = strlen(key) + len + 3, total = rest + 1;
	char digits[24];

	while (total != rest + (size_t)snprintf(digits, sizeof(digits), "%zu", total))
		total = rest + strlen(digits);
	strbuf_addf(b, "%zu %s=", total, key);
	strbuf_add_n(b, value, len);
	strbuf_add_c(b, '\n');
}

static void record_text(StrBuf *b, const char *key, const char *value)
{
	record(b, key, value, strlen(value));
}

static void record_int(StrBuf *b, const char *key, int64_t v)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", (long long)v);
	record_text(b, key, text);
}

static void record_mtime(StrBuf *b, const TarEntry *n)
{
	int64_t s = n->mtime_s;
	uint32_t ns = n->mtime_ns;
	const char *sign = "";
	char text[48];
	size_t len;

	if (s < 0) {
		sign = "-";
		s = -(s + (ns > 0));
		ns = ns ? 1000000000 - ns : 0;
	}
	len = (size_t)snprintf(text, sizeof(text), "%s%lld.%09u", sign, (long long)s, ns);
	while (text[len - 1] == '0')
		text[--len] = 0;
	if (text[len - 1] == '.')
		text[--len] = 0;
	record_text(b, "mtime", text);
}

/* Fills the header; whatever has no room in it becomes a record. */
static void fill_header(TarHeader *h, const TarEntry *n, StrBuf *pax)
{
	static const char types[] = {
	    [TAR_FILE] = '0',     [TAR_HARDLINK] = '1', [TAR_SYMLINK] = '2', [TAR_CHAR] = '3',
	    [TAR_BLOCKDEV] = '4', [TAR_DIR] = '5',      [TAR_FIFO] = '6'};
	size_t name = strlen(n->name), link = n->link ? strlen(n->link) : 0;

	*h = (TarHeader){.type = types[n->type]};
	memcpy(h->magic, "ustar\00000", 8);
	memcpy(h->name, n->name, MIN2(name, sizeof(h->name)));
	if (name > sizeof(h->name))
		record_text(pax, "path", n->name);
	if (link > 0)
		memcpy(h->link, n->link, MIN2(link, sizeof(h->link)));
	if (link > sizeof(h->link))
		record_text(pax, "linkpath", n->link);
	octal(h->mode, sizeof(h->mode), n->mode);
	if (!octal(h->uid, sizeof(h->uid), n->uid))
		record_int(pax, "uid", n->uid);
	if (!octal(h->gid, sizeof(h->gid), n->gid))
		record_int(pax, "gid", n->gid);
	if (!octal(h->size, sizeof(h->size), n->type == TAR_FILE ? (uint64_t)n->size : 0))
		record_int(pax, "size", n->size);
	if (n->mtime_s < 0 || !octal(h->mtime, sizeof(h->mtime), (uint64_t)n->mtime_s) || n->mtime_ns) {
		if (n->mtime_s < 0)
			octal(h->mtime, sizeof(h->mtime), 0);
		record_mtime(pax, n);
	}
	octal(h->major, sizeof(h->major), n->dev_major);
	octal(h->minor, sizeof(h->minor), n->dev_minor);
	for (size_t i = 0; i < n->n_xattrs; i++) {
		char key[300];

		snprintf(key, sizeof(key), "SCHILY.xattr.%s", n->xattrs[i].name);
		record(pax, key, n->xattrs[i].value, n->xattrs[i].len);
	}
}

static int put_header(TarWriter *w, TarHeader *h, Err *e)
{
	const uint8_t *b = (const uint8_t *)h;
	unsigned sum = 0;

	memset(h->checksum, ' ', sizeof(h->checksum));
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += b[i];
	octal(h->checksum, 7, sum);
	return put(w, h, sizeof(*h), e);
}

static int put_pax(TarWriter *w, const StrBuf *pax, Err *e)
{
	TarHeader h = {.name = "PaxHeaders/entry", .type = 'x'};
	int r;

	memcpy(h.magic, "ustar\00000", 8);
	octal(h.mode, sizeof(h.mode), 0644);
	octal(h.uid, sizeof(h.uid), 0);
	octal(h.gid, sizeof(h.gid), 0);
	octal(h.size, sizeof(h.size), pax->len);
	octal(h.mtime, sizeof(h.mtime), 0);
	r = put_header(w, &h, e);
	if (r >= 0)
		r = put(w, pax->s, pax->len, e);
	return r < 0 ? r : put_zeros(w, tar_padding((int64_t)pax->len), e);
}

int tar_write_header(TarWriter *w, const TarEntry *n, Err *e)
{
	_cleanup_strbuf_ StrBuf pax = {0};
	TarHeader h;
	int r = 0;

	if (w->owed)
		return err_new(e, ERR_INTERNAL, "the tar entry before %s lacks %lld bytes", n->name,
			       (long long)w->owed);
	for (size_t i = 0; i < n->n_xattrs; i++)
		if (strchr(n->xattrs[i].name, '='))
			return err_new(e, ERR_UNSUPPORTED,
				       "%s has the attribute %s: a name with \"=\" cannot be said in a tar",
				       n->name, n->xattrs[i].name);
	TarEntry named = *n;
	if (w->ids) {
		named.uid = id_inside(w->ids->uids, w->ids->n_uids, n->uid);
		named.gid = id_inside(w->ids->gids, w->ids->n_gids, n->gid);
	}
	fill_header(&h, &named, &pax);
	if (pax.oom)
		return err_oom(e);
	if (pax.len > TAR_HEADER_MAX)
		return err_new(e, ERR_INVALID, "%s has too many extended attributes for a tar", n->name);
	if (pax.len > 0)
		r = put_pax(w, &pax, e);
	if (r >= 0)
		r = put_header(w, &h, e);
	if (r >= 0 && n->type == TAR_FILE) {
		w->owed = n->size;
		w->contents += n->size;
	}
	return r;
}

int tar_write_data(TarWriter *w, const void *data, size_t len, Err *e)
{
	int64_t pad;
	int r;

	if ((int64_t)len > w->owed)
		return err_new(e, ERR_INTERNAL, "more contents than the tar header said");
	r = put(w, data, len, e);
	if (r < 0)
		return r;
	w->owed -= (int64_t)len;
	/* The size has left; but blocks are counted from the start of the contents, and headers are whole blocks. */
	pad = w->owed ? 0 : (int64_t)((TAR_BLOCK - w->len % TAR_BLOCK) % TAR_BLOCK);
	return put_zeros(w, pad, e);
}

/* From the file's offset on; stops early at its end. */
static int put_from(TarWriter *w, int fd, int64_t size, int64_t *ret_read, Err *e)
{
	*ret_read = 0;
	while (*ret_read < size) {
		size_t room = BUFFER - w->len;
		ssize_t n = read(fd, w->buf + w->len, (size_t)MIN2((int64_t)room, size - *ret_read));
		int r = 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, errno, "read a file");
		if (n == 0)
			break;
		w->len += (size_t)n;
		*ret_read += n;
		if (w->len == BUFFER)
			r = flush(w, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A piece of data that lies between holes. *at is in and out. */
static int put_piece(TarWriter *w, int fd, int64_t *at, int64_t size, Err *e)
{
	int64_t data = dir_next_data(fd, *at, size), hole, n = 0;
	int r = put_zeros(w, data - *at, e);

	*at = data;
	if (r < 0 || data == size)
		return r;
	hole = dir_next_hole(fd, data, size);
	if (lseek(fd, data, SEEK_SET) < 0)
		return err_sys(e, errno, "read a file");
	r = put_from(w, fd, hole - data, &n, e);
	if (r >= 0)
		r = put_zeros(w, hole - data - n, e);
	*at = hole;
	return r;
}

int tar_write_from(TarWriter *w, int fd, int64_t size, bool sparse, Err *e)
{
	int64_t at = 0;
	int r = 0;

	bool read_it = w->fd >= 0 || w->hasher;

	if (size > w->owed)
		return err_new(e, ERR_INTERNAL, "more contents than the tar header said");
	while (read_it && sparse && r >= 0 && at < size)
		r = put_piece(w, fd, &at, size, e);
	if (read_it && !sparse)
		r = put_from(w, fd, size, &at, e);
	if (r >= 0)
		r = put_zeros(w, size - at, e);
	if (r < 0)
		return r;
	w->owed -= size;
	return tar_write_data(w, "", 0, e);
}

int tar_write_flush(TarWriter *w, Err *e)
{
	return flush(w, e);
}

int tar_write_given(TarWriter *w, int64_t len, Err *e)
{
	if (len != w->owed)
		return err_new(e, ERR_INTERNAL, "a tar entry has %lld bytes, its header says %lld",
			       (long long)len, (long long)w->owed);
	w->owed = 0;
	w->total += len;
	int r = put_zeros(w, tar_padding(len), e);
	/* The buffer begins at a block again, which tar_write_data counts on. */
	return r < 0 ? r : flush(w, e);
}

int tar_writer_end(TarWriter *w, Err *e)
{
	int r = put_zeros(w, 2 * TAR_BLOCK, e);

	return r < 0 ? r : flush(w, e);
}
