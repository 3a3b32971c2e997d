/* SPDX-License-Identifier: Apache-2.0 */
/* Lines, and where they go. See logger.h. */
#include "shim/logger.h"

#include "base/clock.h"
#include "base/str.h"

typedef struct Line {
	char *buf;
	size_t len, cap;
	int ordinal;     /* pieces of it that are written already */
	int64_t time_ns; /* of the first of them */
} Line;

struct Logger {
	const LogFormat *format;
	RecordFile *file; /* or NULL */
	char *attrs;      /* or NULL */
	Remote *remote;   /* or NULL */
	Line line[2];
};

/* ---- records ---- */

/* Says how much was lost, in front of the next record. The stage is empty here: what it had is lost. */
static void note_lost(Logger *l)
{
	int error = 0;
	uint64_t lost = l->file ? record_file_lost(l->file, &error) : 0;
	char text[160];
	int n;

	if (lost == 0)
		return;
	n = snprintf(text, sizeof(text), "[ireko: %llu log records lost: %s]", (unsigned long long)lost,
		     strerror(error));
	record_begin(l->file);
	l->format->put(l->file,
		       &(LogPiece){.stream = 1,
				   .text = text,
				   .n = (size_t)n,
				   .newline = true,
				   .ordinal = -1,
				   .time_ns = clock_now_ns()},
		       l->attrs);
	record_file_noted(l->file);
}

static void put_piece(Logger *l, const LogPiece *p)
{
	if (l->file) {
		/* A stage that was full may be what did not fit on the disk, and the next one fits. */
		if (record_file_has_gap(l->file))
			note_lost(l);
		record_begin(l->file);
		l->format->put(l->file, p, l->attrs);
	}
	if (l->remote)
		remote_put(l->remote, p);
}

/* ---- lines ---- */

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

/* The first n bytes of the line as a record; the last one of a line that was split is known by its number. */
static void put_line(Logger *l, int stream, size_t n, bool newline, bool split, int64_t now)
{
	Line *line = &l->line[stream];
	bool piece = split || line->ordinal > 0;

	if (line->ordinal == 0)
		line->time_ns = now;
	put_piece(l, &(LogPiece){.stream = stream,
				 .text = line->buf ? line->buf : "",
				 .n = n,
				 .newline = newline,
				 .ordinal = piece ? line->ordinal : -1,
				 .time_ns = line->time_ns});
	line->ordinal++;
}

static void put_split(Logger *l, int stream, unsigned char next, int64_t now)
{
	Line *line = &l->line[stream];
	size_t cut = split_point(line, next);

	put_line(l, stream, cut, false, true, now);
	memmove(line->buf, line->buf + cut, line->len - cut);
	line->len -= cut;
}

static void put_whole(Logger *l, int stream, const char *text, size_t n, int64_t now)
{
	put_piece(l, &(LogPiece){.stream = stream,
				 .text = text,
				 .n = n,
				 .newline = true,
				 .ordinal = -1,
				 .time_ns = now});
}

/* Text that does not make a whole line by itself; returns how much of it was used. */
static size_t put_part(Logger *l, int stream, const char *data, size_t body, bool newline, int64_t now)
{
	Line *line = &l->line[stream];
	size_t k = MIN2(body, LOG_RECORD_MAX - line->len);

	if (line_put(line, data, k) < 0) {
		if (l->file)
			record_file_lose(l->file, ENOMEM);
		line_clear(line);
	}
	if (k < body) {
		put_split(l, stream, (unsigned char)data[k], now);
		return k;
	}
	if (!newline)
		return k;
	put_line(l, stream, line->len, true, false, now);
	line_clear(line);
	return k + 1;
}

static void flush(Logger *l)
{
	if (l->file)
		record_file_flush(l->file);
	if (l->remote)
		remote_flush(l->remote);
}

void logger_write(Logger *l, int stream, const char *data, size_t n)
{
	const Line *line = &l->line[stream];
	int64_t now = clock_now_ns();

	note_lost(l);
	while (n > 0) {
		const char *nl = memchr(data, '\n', n);
		size_t body = nl ? (size_t)(nl - data) : n, used = body + 1;

		if (nl && line->len == 0 && line->ordinal == 0 && body <= LOG_RECORD_MAX)
			put_whole(l, stream, data, body, now);
		else
			used = put_part(l, stream, data, body, nl, now);
		data += used;
		n -= used;
	}
	flush(l);
}

void logger_end(Logger *l, int stream)
{
	Line *line = &l->line[stream];

	note_lost(l);
	/* Docker calls what the end of the stream cut off a piece of a line too. */
	if (line->len > 0)
		put_line(l, stream, line->len, false, true, clock_now_ns());
	line_clear(line);
	flush(l);
}

/* ---- life ---- */

static const LogFormat *const formats[] = {&log_format_json, &log_format_local, &log_format_cri};

static int open_file(Logger *l, const json_t *doc, Loop *loop, Err *e)
{
	const char *driver = json_get_str(doc, "driver"), *path = json_get_str(doc, "path"),
		   *attrs = json_get_str(doc, "attrs");
	RecordFileOptions o = {
	    .path = path,
	    .max_size = json_get_int(doc, "max_size", 0),
	    .max_files = (int)MIN2(json_get_int(doc, "max_files", 0), (int64_t)1000),
	    .compress = json_get_bool(doc, "compress", false),
	    .loop = loop,
	};

	if (!driver || streq(driver, "none"))
		return 0;
	for (size_t i = 0; i < ELEMENTSOF(formats) && !l->format; i++)
		if (streq(driver, formats[i]->driver))
			l->format = formats[i];
	if (!l->format)
		return err_new(e, ERR_UNSUPPORTED,
			       "log driver %s: the shim writes json-file, local, cri or none", driver);
	if (!path || path[0] != '/')
		return err_new(e, ERR_INVALID, "log driver %s needs an absolute path", driver);
	if (attrs && !(l->attrs = strdup(attrs)))
		return err_oom(e);
	o.end = l->format->end;
	return record_file_open(&o, &l->file, e);
}

int logger_open(const json_t *doc, Loop *loop, Logger **ret, Err *e)
{
	_cleanup_(logger_closep) Logger *l = calloc(1, sizeof(*l));
	const json_t *remote = json_object_get(doc, "remote");
	int r = l ? open_file(l, doc, loop, e) : err_oom(e);

	if (r >= 0 && json_is_object(remote))
		r = remote_open(remote, loop, &l->remote, e);
	if (r < 0)
		return r;
	*ret = l->file || l->remote ? take_ptr(l) : NULL;
	return 0;
}

void logger_finish(Logger *l)
{
	for (int i = 0; i < 2; i++)
		logger_end(l, i);
	record_file_close(take_ptr(l->file));
}

void logger_close(Logger *l)
{
	if (!l)
		return;
	logger_finish(l);
	remote_close(l->remote);
	free(l->attrs);
	free(l);
}

bool logger_busy(const Logger *l)
{
	return l->remote && remote_busy(l->remote);
}

bool logger_is_full(const Logger *l)
{
	return l->remote && remote_is_full(l->remote);
}

size_t logger_read_most(const Logger *l)
{
	return l->remote ? 4096 : LOOP_IO_SIZE;
}

void logger_on_room(Logger *l, void (*room)(void *user), void *user)
{
	if (l->remote)
		remote_on_room(l->remote, room, user);
}

int logger_reopen(Logger *l, Err *e)
{
	return l && l->file ? record_file_reopen(l->file, e) : 0;
}

void logger_idle(Logger *l)
{
	if (l->file)
		record_file_idle(l->file);
}
