/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line of a json-file log.
 *
 * Our own shim writes {"log":"...","stream":"...","attrs":{...},"time":"..."} in this order with few kinds of escapes; such lines are
 * decoded by hand in one pass. Whatever looks different (another writer, other order) goes to jansson.
 */
#include "engine/logs.h"

#include "base/clock.h"
#include "base/json.h"

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* \uXXXX outside the surrogates as UTF-8; a surrogate is left to jansson. */
static bool add_unicode(StrBuf *b, const char *p, const char *end)
{
	unsigned v = 0;

	if (end - p < 4)
		return false;
	for (int i = 0; i < 4; i++) {
		int h = hex_value(p[i]);

		if (h < 0)
			return false;
		v = v << 4 | (unsigned)h;
	}
	if (v >= 0xD800 && v < 0xE000)
		return false;
	if (v < 0x80) {
		strbuf_add_c(b, (char)v);
	} else if (v < 0x800) {
		strbuf_add_c(b, (char)(0xC0 | v >> 6));
		strbuf_add_c(b, (char)(0x80 | (v & 0x3F)));
	} else {
		strbuf_add_c(b, (char)(0xE0 | v >> 12));
		strbuf_add_c(b, (char)(0x80 | (v >> 6 & 0x3F)));
		strbuf_add_c(b, (char)(0x80 | (v & 0x3F)));
	}
	return true;
}

/* Unescapes up to the closing quote and returns what follows it, or NULL. */
static const char *take_string(const char *p, const char *end, StrBuf *b)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

	for (;;) {
		const char *quote = memchr(p, '"', (size_t)(end - p));
		const char *slash = memchr(p, '\\', (size_t)((quote ? quote : end) - p));

		if (!quote)
			return NULL;
		if (!slash) {
			strbuf_add_n(b, p, (size_t)(quote - p));
			return quote + 1;
		}
		strbuf_add_n(b, p, (size_t)(slash - p));
		if (end - slash < 2)
			return NULL;
		const char *known = slash[1] ? strchr(from, slash[1]) : NULL;
		p = slash + 2;
		if (known) {
			strbuf_add_c(b, to[known - from]);
		} else if (slash[1] == 'u' && add_unicode(b, p, end)) {
			p += 4;
		} else {
			return NULL;
		}
	}
}

static const char *take_text(const char *p, const char *end, const char *text)
{
	size_t n = strlen(text);

	return p && (size_t)(end - p) >= n && memcmp(p, text, n) == 0 ? p + n : NULL;
}

static bool take_time(const char *p, const char *end, int64_t *ret)
{
	const char *quote = p ? memchr(p, '"', (size_t)(end - p)) : NULL;
	char text[48];

	if (!quote || (size_t)(quote - p) >= sizeof(text) || end - quote != 2 || quote[1] != '}')
		return false;
	memcpy(text, p, (size_t)(quote - p));
	text[quote - p] = '\0';
	return clock_parse(text, ret) >= 0;
}

/* An object of strings, as "attrs" is: where it ends, or NULL. */
static const char *skip_attrs(const char *p, const char *end)
{
	bool quoted = false;

	for (; p < end; p++) {
		if (quoted && *p == '\\')
			p++;
		else if (*p == '"')
			quoted = !quoted;
		else if (*p == '}' && !quoted)
			return p + 1;
		else if (*p == '{' && !quoted)
			return NULL;
	}
	return NULL;
}

static bool decode_fast(const char *line, size_t n, StrBuf *b, LogRecord *ret)
{
	const char *end = line + n, *p = take_text(line, end, "{\"log\":\""), *next;

	p = p ? take_string(p, end, b) : NULL;
	p = take_text(p, end, ",\"stream\":\"std");
	if (!p)
		return false;
	next = take_text(p, end, "out\",");
	ret->stream = next ? 1 : 2;
	if (!next)
		next = take_text(p, end, "err\",");
	p = take_text(next, end, "\"attrs\":{");
	if (p) {
		ret->attrs = p - 1;
		next = skip_attrs(p, end);
		ret->n_attrs = next ? (size_t)(next - ret->attrs) : 0;
		next = take_text(next, end, ",");
	}
	next = take_text(next, end, "\"time\":\"");
	return take_time(next, end, &ret->time_ns) && str_is_utf8(b->s ? b->s : "", b->len);
}

static int decode_any(const char *line, size_t n, StrBuf *b, LogRecord *ret)
{
	_cleanup_json_ json_t *doc = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
	const json_t *log = json_object_get(doc, "log");
	const char *stream = json_string_value(json_object_get(doc, "stream"));
	const char *when = json_string_value(json_object_get(doc, "time"));

	if (!json_is_string(log) || !when || clock_parse(when, &ret->time_ns) < 0)
		return -EINVAL;
	ret->stream = streq0(stream, "stderr") ? 2 : 1;
	strbuf_add_n(b, json_string_value(log), json_string_length(log));
	return 0;
}

int log_record_decode(const char *line, size_t n, StrBuf *scratch, LogRecord *ret)
{
	LogRecord rec = {0};

	scratch->len = 0;
	if (!decode_fast(line, n, scratch, &rec)) {
		scratch->len = 0;
		rec = (LogRecord){0};
		int r = scratch->oom ? -ENOMEM : decode_any(line, n, scratch, &rec);

		if (r < 0)
			return r;
	}
	if (scratch->oom) {
		strbuf_done(scratch);
		return -ENOMEM;
	}
	rec.text = scratch->s ? scratch->s : "";
	rec.len = scratch->len;
	*ret = rec;
	return 0;
}

/* ---- the file ---- */

ssize_t log_lines_frame(const char *buf, size_t len, const char **ret_body, size_t *ret_n)
{
	const char *nl = memchr(buf, '\n', len);

	if (!nl)
		return 0;
	*ret_body = buf;
	*ret_n = (size_t)(nl - buf);
	return (ssize_t)*ret_n + 1;
}

int64_t log_lines_tail(int fd, int64_t size, int64_t *left, char *block)
{
	for (int64_t end = size; end > 0;) {
		size_t want = (size_t)MIN2((int64_t)LOG_BLOCK, end);
		ssize_t n = pread(fd, block, want, end - (int64_t)want);

		if (n != (ssize_t)want)
			return n < 0 ? -errno : -EIO;
		for (const char *p; (p = memrchr(block, '\n', want)); want = (size_t)(p - block)) {
			if ((*left)-- == 0) {
				*left = 0;
				return end - n + (p - block) + 1;
			}
		}
		end -= n;
	}
	return 0;
}

const LogCodec log_codec_json = {log_lines_frame, log_record_decode, log_lines_tail, true, false};
