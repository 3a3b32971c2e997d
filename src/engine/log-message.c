/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local format: a protobuf message between two copies of its length (32 bits, big endian). Of the message, source (1), time_nano
 * (2), line (3) and partial (4) count; other fields are stepped over, as protobuf wants it.
 */
#include "engine/logs.h"

#include "base/fd.h"

#include <endian.h>

typedef struct Cursor {
	const uint8_t *p, *end;
} Cursor;

static bool take_varint(Cursor *c, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned shift = 0; c->p < c->end && shift < 64; shift += 7) {
		v |= (uint64_t)(*c->p & 0x7f) << shift;
		if (!(*c->p++ & 0x80)) {
			*ret = v;
			return true;
		}
	}
	return false;
}

static bool take_bytes(Cursor *c, uint64_t n, const char **ret)
{
	if (n > (uint64_t)(c->end - c->p))
		return false;
	*ret = (const char *)c->p;
	c->p += n;
	return true;
}

typedef struct Field {
	uint64_t number, value; /* a varint, or the length of: */
	const char *bytes;
} Field;

static bool take_field(Cursor *c, Field *ret)
{
	uint64_t key;
	Field f = {0};

	if (!take_varint(c, &key))
		return false;
	f.number = key >> 3;
	switch (key & 7) {
	case 0:
		if (!take_varint(c, &f.value))
			return false;
		break;
	case 1:
	case 5:
		if (!take_bytes(c, key & 4 ? 4 : 8, &f.bytes))
			return false;
		f.bytes = NULL;
		break;
	case 2:
		if (!take_varint(c, &f.value) || !take_bytes(c, f.value, &f.bytes))
			return false;
		break;
	default:
		return false;
	}
	*ret = f;
	return true;
}

int log_message_decode(const char *message, size_t n, StrBuf *scratch, LogRecord *ret)
{
	Cursor c = {(const uint8_t *)message, (const uint8_t *)message + n};
	LogRecord rec = {.stream = 1};
	bool partial = false, timed = false;
	Field line = {0}, f;

	while (c.p < c.end) {
		if (!take_field(&c, &f))
			return -EINVAL;
		if (f.number == 1 && f.bytes)
			rec.stream = f.value == 6 && memcmp(f.bytes, "stderr", 6) == 0 ? 2 : 1;
		else if (f.number == 2 && !f.bytes)
			rec.time_ns = (int64_t)f.value;
		else if (f.number == 3 && f.bytes)
			line = f;
		else if (f.number == 4 && !f.bytes)
			partial = f.value;
		timed = timed || f.number == 2;
	}
	if (!timed)
		return -EINVAL;
	scratch->len = 0;
	strbuf_add_n(scratch, line.bytes ? line.bytes : "", line.bytes ? (size_t)line.value : 0);
	if (!partial)
		strbuf_add_c(scratch, '\n');
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

static uint32_t length_at(const char *p)
{
	uint32_t n;

	memcpy(&n, p, sizeof(n));
	return be32toh(n);
}

static ssize_t frame_message(const char *buf, size_t len, const char **ret_body, size_t *ret_n)
{
	uint32_t n;

	if (len < 4)
		return 0;
	n = length_at(buf);
	if (n > LOG_LINE_MAX)
		return -EINVAL;
	if (len < (size_t)n + 8)
		return 0;
	if (length_at(buf + 4 + n) != n)
		return -EINVAL;
	*ret_body = buf + 4;
	*ret_n = n;
	return (ssize_t)n + 8;
}

static bool read_length(int fd, int64_t at, uint32_t *ret)
{
	char text[4];

	if (at < 0 || fd_pread_full(fd, text, sizeof(text), at) != (ssize_t)sizeof(text))
		return false;
	*ret = length_at(text);
	return *ret <= LOG_LINE_MAX;
}

/* The end of the last whole frame: the shim may just be writing one. */
static int64_t whole_end(int fd, int64_t size)
{
	uint32_t first, last;
	int64_t at = 0;

	if (read_length(fd, size - 4, &last) && read_length(fd, size - 8 - (int64_t)last, &first) &&
	    first == last)
		return size;
	while (at + 8 <= size && read_length(fd, at, &first) && at + 8 + (int64_t)first <= size &&
	       read_length(fd, at + 4 + (int64_t)first, &last) && first == last)
		at += 8 + (int64_t)first;
	return at;
}

/* From frame to frame backwards. */
static int64_t tail_messages(int fd, int64_t size, int64_t *left, char *block)
{
	int64_t at = whole_end(fd, size), low = at; /* block holds the file from `low` on */

	while (at >= 8 && *left > 0) {
		uint32_t n;

		if (at - 4 < low) {
			size_t want = (size_t)MIN2(at, (int64_t)LOG_BLOCK);

			low = at - (int64_t)want;
			if (fd_pread_full(fd, block, want, low) != (ssize_t)want)
				return -EIO;
		}
		n = length_at(block + (at - 4 - low));
		if ((int64_t)n > at - 8)
			return -EINVAL;
		at -= (int64_t)n + 8;
		(*left)--;
	}
	return at;
}

const LogCodec log_codec_local = {frame_message, log_message_decode, tail_messages, false, false};
