/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records are put together in a stage and written when a piece of input has been used up. A record larger than
 * the stage goes to the file in pieces; until its end is written, `size` still names the end of the record before
 * it, and that is where a failed write cuts the file.
 *
 * Escaping is Docker's: '"', '\\', '\n', '\r' by name; other bytes below 0x20 and <, >, & as \u00XX; U+2028
 * and U+2029 as \u202X; each byte that is not part of valid UTF-8 as \ufffd.
 */
#include "shim/jsonlog.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define STAGE_SIZE   (48 * 1024)
#define ROTATE_MAX   1000
#define TAIL_PROBE   (128 * 1024) /* no record is longer */
#define ROTATE_AGAIN (64 * 1024)  /* bytes after which a failed rotation is tried again */

typedef struct Line {
	char *buf;
	size_t len, cap;
} Line;

struct JsonLog {
	int fd;
	char *path;
	int64_t max_size;
	int max_files;
	int64_t size;      /* end of the last whole record in the file */
	int64_t torn;      /* bytes of an unfinished record behind it */
	int64_t rotate_at; /* size at which the next rotation is due */
	char *stage;       /* STAGE_SIZE bytes, a mapping */
	size_t len;        /* used */
	size_t whole;      /* of them, up to the end of the last whole record */
	size_t records;    /* whole records in the stage */
	bool open;         /* a record is being put together */
	bool spoiled;      /* ... of which a part was lost */
	uint64_t lost;     /* records that are not in the file and not yet noted */
	uint64_t noted;    /* ... of them, told by a note that is still in the stage */
	int lost_errno;
	Line line[2];
};

static const char *const stream_names[2] = {"stdout", "stderr"};

/* ---- the stage and the file ---- */

/* Cuts off what a failed write left behind. Should even that fail, the file's true size is taken as it is. */
static void cut_torn(JsonLog *l)
{
	struct stat st;

	l->torn = 0;
	if (ftruncate(l->fd, l->size) < 0 && fstat(l->fd, &st) == 0)
		l->size = st.st_size;
}

static void stage_flush(JsonLog *l)
{
	int r = l->len ? fd_write_all(l->fd, l->stage, l->len) : 0;

	if (r < 0) {
		cut_torn(l);
		l->lost += l->records - (l->noted ? 1 : 0); /* the note itself is no loss */
		l->lost_errno = -r;
		l->spoiled = l->open;
		l->noted = 0;
	} else if (l->whole) {
		l->size += l->torn + (int64_t)l->whole;
		l->torn = (int64_t)(l->len - l->whole);
	} else {
		l->torn += (int64_t)l->len;
	}
	l->lost -= l->noted;
	l->len = l->whole = l->records = l->noted = 0;
}

static void stage_put(JsonLog *l, const char *p, size_t n)
{
	while (n > 0 && !l->spoiled) {
		size_t k = MIN2(n, STAGE_SIZE - l->len);

		memcpy(l->stage + l->len, p, k);
		l->len += k;
		p += k;
		n -= k;
		if (l->len == STAGE_SIZE)
			stage_flush(l);
	}
}

/* ---- rotation ---- */

static int rename_numbered(const JsonLog *l, int from, int to)
{
	_cleanup_free_ char *a = from ? strf("%s.%d", l->path, from) : strf("%s", l->path);
	_cleanup_free_ char *b = strf("%s.%d", l->path, to);

	if (!a || !b)
		return -ENOMEM;
	return rename(a, b) < 0 ? -errno : 0;
}

static int open_fresh(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640);

	return fd < 0 ? -errno : fd;
}

/* The new file is made first, so that a full disk or table leaves everything as it was. */
static int rotate_files(JsonLog *l)
{
	_cleanup_free_ char *fresh = strf("%s.new", l->path);
	_cleanup_close_ int fd = fresh ? open_fresh(fresh) : -ENOMEM;
	int r;

	if (fd < 0)
		return fd;
	for (int i = l->max_files - 1; i >= 1; i--) {
		r = rename_numbered(l, i, i + 1);
		if (r < 0 && r != -ENOENT)
			goto undo_fresh;
	}
	if (l->max_files > 0) {
		r = rename_numbered(l, 0, 1);
		if (r < 0 && r != -ENOENT)
			goto undo_fresh;
	}
	if (rename(fresh, l->path) < 0) {
		r = -errno;
		goto undo_fresh;
	}
	(void)close(l->fd);
	l->fd = take_fd(&fd);
	return 0;

undo_fresh:
	(void)unlink(fresh);
	return r;
}

static void rotate_if_due(JsonLog *l)
{
	if (l->max_size <= 0 || l->size + l->torn + (int64_t)l->len < l->rotate_at)
		return;
	stage_flush(l);
	if (l->size < l->rotate_at)
		return; /* the stage was lost */
	if (rotate_files(l) < 0) {
		/* The log goes on in the old file; trying again with every record would be slow. */
		l->rotate_at = l->size + ROTATE_AGAIN;
		return;
	}
	l->size = l->torn = 0;
	l->rotate_at = l->max_size;
}

/* ---- escaping ---- */

enum { PLAIN, ESCAPE, HIGH };

/* What a byte needs: nothing, an escape, or a look at the bytes behind it. */
static const unsigned char byte_class[256] = {
    [0x00 ... 0x1f] = ESCAPE, ['"'] = ESCAPE, ['\\'] = ESCAPE,        ['<'] = ESCAPE,
    ['>'] = ESCAPE,           ['&'] = ESCAPE, [0x80 ... 0xff] = HIGH,
};

/* The length of the valid UTF-8 character at p, or 0 (RFC 3629, table of well-formed sequences). */
static size_t utf8_char_len(const unsigned char *p, size_t n)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t len;

	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		len = 2;
	else if ((p[0] & 0xf0) == 0xe0)
		len = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	if (n < len || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

static void put_escape(JsonLog *l, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

	if (c == '\n')
		stage_put(l, "\\n", 2);
	else if (c == '\r')
		stage_put(l, "\\r", 2);
	else if (c == '"')
		stage_put(l, "\\\"", 2);
	else if (c == '\\')
		stage_put(l, "\\\\", 2);
	else
		stage_put(l, text, sizeof(text));
}

static void put_escaped(JsonLog *l, const char *text, size_t n)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t plain = 0, i = 0, k;

	while (i < n) {
		if (byte_class[p[i]] == PLAIN) {
			i++;
			continue;
		}
		k = byte_class[p[i]] == HIGH ? utf8_char_len(p + i, n - i) : 0;
		/* E2 80 A8 and A9 are the line separators, which JavaScript does not take in strings. */
		if (k > 0 && !(k == 3 && p[i] == 0xe2 && p[i + 1] == 0x80 && (p[i + 2] | 1) == 0xa9)) {
			i += k;
			continue;
		}
		stage_put(l, text + plain, i - plain);
		if (k == 3)
			stage_put(l, p[i + 2] == 0xa8 ? "\\u2028" : "\\u2029", 6);
		else if (byte_class[p[i]] == HIGH)
			stage_put(l, "\\ufffd", 6);
		else
			put_escape(l, p[i]);
		i += k ? k : 1;
		plain = i;
	}
	stage_put(l, text + plain, n - plain);
}

/* ---- records and lines ---- */

static void put_record(JsonLog *l, const char *tail, size_t n_tail, const char *text, size_t n, bool newline)
{
	static const char head[] = "{\"log\":\"";

	rotate_if_due(l);
	l->open = true;
	l->spoiled = false;
	stage_put(l, head, sizeof(head) - 1);
	put_escaped(l, text, n);
	if (newline)
		stage_put(l, "\\n", 2);
	/* The tail must not be the piece that fills the stage: a flush has to see the record as whole or not. */
	if (STAGE_SIZE - l->len <= n_tail)
		stage_flush(l);
	stage_put(l, tail, n_tail);
	l->open = false;
	if (l->spoiled) {
		l->lost++;
		l->spoiled = false;
		return;
	}
	l->whole = l->len;
	l->records++;
}

typedef struct Tail {
	char s[96];
	size_t n;
} Tail;

static Tail tail_now(int stream)
{
	TimeText now = clock_rfc3339_fixed(clock_now_ns());
	Tail t;
	int n = snprintf(t.s, sizeof(t.s), "\",\"stream\":\"%s\",\"time\":\"%s\"}\n", stream_names[stream],
			 now.s);

	t.n = (size_t)n;
	return t;
}

/* Says how much was lost, in front of the next records: it is written, or cut off again, together with them, so that a
 * disk with room for little more than the note does not fill up with notes. The stage is empty here. */
static void note_lost(JsonLog *l)
{
	char text[160];
	Tail t;
	int n;

	if (l->lost == 0)
		return;
	n = snprintf(text, sizeof(text), "[ireko: %llu log records lost: %s]", (unsigned long long)l->lost,
		     strerror(l->lost_errno));
	t = tail_now(1);
	put_record(l, t.s, t.n, text, (size_t)n, true);
	l->noted = l->lost;
}

static void line_clear(Line *line)
{
	free(line->buf);
	*line = (Line){0};
}

static int line_put(Line *line, const char *p, size_t n)
{
	if (n == 0)
		return 0;
	if (line->len + n > line->cap) {
		size_t cap = line->cap ? line->cap : 256;
		char *b;

		while (cap < line->len + n)
			cap *= 2;
		b = realloc(line->buf, cap);
		if (!b)
			return -ENOMEM;
		line->buf = b;
		line->cap = cap;
	}
	memcpy(line->buf + line->len, p, n);
	line->len += n;
	return 0;
}

/* Where to cut a full line so that a character stays whole; `next` is the byte behind it. */
static size_t split_point(const Line *line, unsigned char next)
{
	size_t cut = line->len;

	if ((next & 0xc0) != 0x80)
		return cut;
	for (int back = 0; back < 3 && cut > 0; back++) {
		unsigned char c = (unsigned char)line->buf[--cut];

		if (c >= 0xc0)
			return cut;
		if (c < 0x80)
			break;
	}
	return line->len; /* no character: the bytes are invalid anyway */
}

static void put_split(JsonLog *l, const Tail *t, Line *line, unsigned char next)
{
	size_t cut = split_point(line, next);

	put_record(l, t->s, t->n, line->buf, cut, false);
	memmove(line->buf, line->buf + cut, line->len - cut);
	line->len -= cut;
}

void json_log_write(JsonLog *l, int stream, const char *data, size_t n)
{
	Line *line = &l->line[stream];
	Tail t = tail_now(stream);

	note_lost(l);
	while (n > 0) {
		const char *nl = memchr(data, '\n', n);
		size_t body = nl ? (size_t)(nl - data) : n, k = body;

		if (nl && line->len == 0 && body <= JSON_LOG_RECORD_MAX) {
			put_record(l, t.s, t.n, data, body, true);
			data += body + 1;
			n -= body + 1;
			continue;
		}
		k = MIN2(body, JSON_LOG_RECORD_MAX - line->len);
		if (line_put(line, data, k) < 0) {
			l->lost++;
			l->lost_errno = ENOMEM;
			line_clear(line);
		}
		if (k < body) {
			put_split(l, &t, line, (unsigned char)data[k]);
		} else if (nl) {
			put_record(l, t.s, t.n, line->buf, line->len, true);
			line_clear(line);
			k++;
		}
		data += k;
		n -= k;
	}
	stage_flush(l);
}

void json_log_end(JsonLog *l, int stream)
{
	Line *line = &l->line[stream];
	Tail t = tail_now(stream);

	note_lost(l);
	if (line->len > 0)
		put_record(l, t.s, t.n, line->buf, line->len, false);
	line_clear(line);
	stage_flush(l);
}

void json_log_idle(JsonLog *l)
{
	(void)madvise(l->stage, STAGE_SIZE, MADV_DONTNEED);
}

/* ---- opening and closing ---- */

/* After a power cut the file may end inside a record: it is cut back to the last newline. */
static int mend_end(JsonLog *l, int64_t size, Err *e)
{
	_cleanup_close_ int fd = open(l->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int64_t low = MAX2(size - TAIL_PROBE, (int64_t)0);
	char buf[4096];

	l->size = size;
	if (size == 0)
		return 0;
	if (fd < 0)
		return err_sys(e, errno, "open %s", l->path);
	while (l->size > low) {
		size_t want = (size_t)MIN2((int64_t)sizeof(buf), l->size - low);
		ssize_t n = pread(fd, buf, want, l->size - (int64_t)want);
		const char *nl;

		if (n != (ssize_t)want)
			return err_sys(e, n < 0 ? errno : EIO, "read %s", l->path);
		nl = memrchr(buf, '\n', want);
		if (nl) {
			l->size -= (int64_t)want - (nl - buf) - 1;
			break;
		}
		l->size -= (int64_t)want;
	}
	if (l->size != size && ftruncate(l->fd, l->size) < 0)
		return err_sys(e, errno, "cut a torn record from %s", l->path);
	return 0;
}

int json_log_open(const char *path, int64_t max_size, int max_files, JsonLog **ret, Err *e)
{
	_cleanup_(json_log_closep) JsonLog *l = calloc(1, sizeof(*l));
	struct stat st;
	void *stage;
	int r;

	if (!l)
		return err_oom(e);
	l->fd = -1;
	l->max_size = l->rotate_at = max_size;
	l->max_files = max_files < 0 ? 0 : MIN2(max_files, ROTATE_MAX);
	stage = mmap(NULL, STAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stage == MAP_FAILED)
		return err_oom(e);
	l->stage = stage;
	l->path = strdup(path);
	if (!l->path)
		return err_oom(e);
	l->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (l->fd < 0)
		return err_sys(e, errno, "open log %s", path);
	if (fstat(l->fd, &st) < 0)
		return err_sys(e, errno, "stat log %s", path);
	if (!S_ISREG(st.st_mode))
		return err_new(e, ERR_INVALID, "log %s is not a regular file", path);
	r = mend_end(l, st.st_size, e);
	if (r < 0)
		return r;
	*ret = take_ptr(l);
	return 0;
}

void json_log_close(JsonLog *l)
{
	if (!l)
		return;
	for (int i = 0; i < 2; i++) {
		if (l->fd >= 0)
			json_log_end(l, i);
		line_clear(&l->line[i]);
	}
	close_fd(&l->fd);
	if (l->stage)
		(void)munmap(l->stage, STAGE_SIZE);
	free(l->path);
	free(l);
}
