/* SPDX-License-Identifier: Apache-2.0 */
/* The writing half of tar.h; the format is that of pax(1) in POSIX.1-2008. */
#include "tar.h"
#include "base/str.h"

#include <sys/sysmacros.h>

#define BLOCK             512
#define OCTAL_MAX(digits) ((1LL << (3 * (digits))) - 1)

typedef struct Header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6],
	    version[2];
	char uname[32], gname[32], major[8], minor[8], prefix[155], pad[12];
} Header;
_Static_assert(sizeof(Header) == BLOCK, "a tar header is one block");

static int flush(TarWriter *w, Err *e)
{
	int r = w->stopped ? 1 : w->used ? w->sink(w->user, w->buf, w->used, e) : 0;

	w->total += (int64_t)w->used;
	w->used = 0;
	w->stopped = w->stopped || r > 0;
	return r;
}

static int put(TarWriter *w, const void *data, size_t n, Err *e)
{
	const char *p = data;

	while (n > 0) {
		size_t take = MIN2(n, sizeof(w->buf) - w->used);

		memcpy(w->buf + w->used, p, take);
		w->used += take;
		p += take;
		n -= take;
		if (w->used == sizeof(w->buf)) {
			int r = flush(w, e);

			if (r != 0)
				return r;
		}
	}
	return w->stopped;
}

static int put_zeros(TarWriter *w, size_t n, Err *e)
{
	static const char zeros[2 * BLOCK];

	return put(w, zeros, n, e);
}

static void octal(char *field, size_t size, int64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%0*llo", (int)size - 1, (unsigned long long)v);
	memcpy(field, text, size);
}

static void finish_header(Header *h)
{
	const unsigned char *p = (const unsigned char *)h;
	unsigned sum = 0;

	memcpy(h->magic, "ustar", 6);
	memcpy(h->version, "00", 2);
	memset(h->checksum, ' ', sizeof(h->checksum));
	for (size_t i = 0; i < BLOCK; i++)
		sum += p[i];
	octal(h->checksum, 7, sum);
	h->checksum[7] = ' ';
}

/* "<length> key=value\n", where the length counts its own digits. */
static void add_record(StrBuf *b, const char *key, const char *value)
{
	size_t n = strlen(key) + strlen(value) + 3, digits = 1;
	char text[24];

	while ((size_t)snprintf(text, sizeof(text), "%zu", n + digits) > digits)
		digits++;
	strbuf_addf(b, "%zu %s=%s\n", n + digits, key, value);
}

static bool is_plain(const char *s, size_t max)
{
	size_t n = 0;

	for (; s[n]; n++)
		if ((unsigned char)s[n] < ' ' || (unsigned char)s[n] > '~')
			return false;
	return n <= max;
}

static void add_number(StrBuf *b, const char *key, int64_t v, int64_t max)
{
	char text[24];

	if (v >= 0 && v <= max)
		return;
	snprintf(text, sizeof(text), "%lld", (long long)v);
	add_record(b, key, text);
}

static int put_pax(TarWriter *w, const char *records, size_t n, Err *e)
{
	Header h = {.name = "PaxHeader", .type = 'x'};

	octal(h.mode, sizeof(h.mode), 0644);
	octal(h.uid, sizeof(h.uid), 0);
	octal(h.gid, sizeof(h.gid), 0);
	octal(h.size, sizeof(h.size), (int64_t)n);
	octal(h.mtime, sizeof(h.mtime), 0);
	finish_header(&h);
	int r = put(w, &h, sizeof(h), e);
	if (r == 0)
		r = put(w, records, n, e);
	return r ? r : put_zeros(w, (BLOCK - n % BLOCK) % BLOCK, e);
}

static char type_of(const TarEntry *t)
{
	if (t->hard)
		return '1';
	switch (t->mode & S_IFMT) {
	case S_IFDIR:
		return '5';
	case S_IFLNK:
		return '2';
	case S_IFCHR:
		return '3';
	case S_IFBLK:
		return '4';
	case S_IFIFO:
		return '6';
	default:
		return '0';
	}
}

static int put_header(TarWriter *w, const TarEntry *t, const char *name, Err *e)
{
	Header h = {.type = type_of(t)};
	bool has_size = h.type == '0', device = h.type == '3' || h.type == '4';

	memcpy(h.name, name, strnlen(name, sizeof(h.name)));
	if (t->link)
		memcpy(h.link, t->link, strnlen(t->link, sizeof(h.link)));
	octal(h.mode, sizeof(h.mode), t->mode & 07777);
	octal(h.uid, sizeof(h.uid), MIN2((int64_t)t->uid, OCTAL_MAX(7)));
	octal(h.gid, sizeof(h.gid), MIN2((int64_t)t->gid, OCTAL_MAX(7)));
	octal(h.size, sizeof(h.size), has_size ? MIN2(t->size, OCTAL_MAX(11)) : 0);
	octal(h.mtime, sizeof(h.mtime), t->mtime > 0 ? MIN2(t->mtime, OCTAL_MAX(11)) : 0);
	octal(h.major, sizeof(h.major), device ? (int64_t)(major(t->device) & 07777777) : 0);
	octal(h.minor, sizeof(h.minor), device ? (int64_t)(minor(t->device) & 07777777) : 0);
	finish_header(&h);
	return put(w, &h, sizeof(h), e);
}

int tar_write_entry(TarWriter *w, const TarEntry *t, Err *e)
{
	bool is_dir = S_ISDIR(t->mode);
	size_t n = strlen(t->name);
	_cleanup_free_ char *name = strf("%s%s", t->name, is_dir && n && t->name[n - 1] != '/' ? "/" : "");
	_cleanup_strbuf_ StrBuf pax = {0};
	int r = 0;

	if (!name)
		return err_oom(e);
	if (w->left > 0)
		return err_new(e, ERR_INTERNAL, "%s: the file before it is incomplete in the archive",
			       t->name);
	if (!is_plain(name, sizeof(((Header *)0)->name)))
		add_record(&pax, "path", name);
	if (t->link && !is_plain(t->link, sizeof(((Header *)0)->link)))
		add_record(&pax, "linkpath", t->link);
	add_number(&pax, "uid", t->uid, OCTAL_MAX(7));
	add_number(&pax, "gid", t->gid, OCTAL_MAX(7));
	add_number(&pax, "size", S_ISREG(t->mode) && !t->hard ? t->size : 0, OCTAL_MAX(11));
	if (pax.oom)
		return err_oom(e);
	if (pax.len)
		r = put_pax(w, pax.s, pax.len, e);
	if (r == 0)
		r = put_header(w, t, name, e);
	w->left = S_ISREG(t->mode) && !t->hard ? t->size : 0;
	w->padding = (size_t)((BLOCK - w->left % BLOCK) % BLOCK);
	return r;
}

int tar_write_data(TarWriter *w, const void *data, size_t n, Err *e)
{
	if ((int64_t)n > w->left)
		return err_new(e, ERR_INTERNAL, "more data than the archive's entry has room for");
	int r = put(w, data, n, e);
	w->left -= (int64_t)n;
	if (r == 0 && w->left == 0 && n > 0)
		r = put_zeros(w, w->padding, e);
	return r;
}

int tar_write_fd(TarWriter *w, int fd, const char *name, Err *e)
{
	_cleanup_free_ char *buf = w->left ? malloc(sizeof(w->buf)) : NULL;

	if (w->left && !buf)
		return err_oom(e);
	while (w->left > 0) {
		ssize_t n = read(fd, buf, (size_t)MIN2(w->left, (int64_t)sizeof(w->buf)));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, errno, "read %s", name);
		if (n == 0)
			return err_new(e, ERR_CONFLICT, "%s became shorter while it was being read", name);
		int r = tar_write_data(w, buf, (size_t)n, e);
		if (r != 0)
			return r;
	}
	return 0;
}

int tar_write_end(TarWriter *w, Err *e)
{
	int r = put_zeros(w, 2 * BLOCK, e);

	return r ? r : flush(w, e);
}
