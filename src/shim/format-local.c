/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of the local driver, framed as Docker's: the length of a message, the message, and the length again (32 bits, big
 * endian), so that it can be read from either end. The message is a protobuf: source (1) and line (3) are strings, time_nano (2) is
 * a varint, and partial (4) is true where no newline belongs behind the line. Nothing is escaped.
 */
#include "shim/logger.h"

#include "base/fd.h"

#include <endian.h>

#define MESSAGE_MAX (64u << 10) /* no message is longer */

static size_t put_varint(uint8_t *to, uint64_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		to[n++] = (uint8_t)(v | 0x80);
	to[n++] = (uint8_t)v;
	return n;
}

static void put(RecordFile *f, const LogPiece *p, const char *attrs _unused_)
{
	static const uint8_t sources[2][8] = {{0x0a, 6, 's', 't', 'd', 'o', 'u', 't'},
					      {0x0a, 6, 's', 't', 'd', 'e', 'r', 'r'}};
	uint8_t head[4 + 8 + 1 + 10 + 1 + 10], tail[2 + 4];
	size_t n_head = 4, n_tail = 0;
	uint32_t len;

	memcpy(head + n_head, sources[p->stream], 8);
	n_head += 8;
	head[n_head++] = 2 << 3;
	n_head += put_varint(head + n_head, (uint64_t)p->time_ns);
	head[n_head++] = 3 << 3 | 2;
	n_head += put_varint(head + n_head, p->n);
	if (!p->newline) {
		tail[n_tail++] = 4 << 3;
		tail[n_tail++] = 1;
	}
	len = htobe32((uint32_t)(n_head - 4 + p->n + n_tail));
	memcpy(head, &len, 4);
	memcpy(tail + n_tail, &len, 4);
	record_put(f, (const char *)head, n_head);
	record_put(f, p->text, p->n);
	record_end(f, (const char *)tail, n_tail + 4);
}

static bool length_at(int fd, int64_t at, uint32_t *ret)
{
	if (fd_pread_full(fd, ret, sizeof(*ret), at) != (ssize_t)sizeof(*ret))
		return false;
	*ret = be32toh(*ret);
	return true;
}

/* The end of the record at `at`, or -1 if it is not whole. */
static int64_t record_end_at(int fd, int64_t at, int64_t size)
{
	uint32_t first, last;

	if (size - at < 8 || !length_at(fd, at, &first) || first > MESSAGE_MAX ||
	    (int64_t)first > size - at - 8 || !length_at(fd, at + 4 + first, &last) || first != last)
		return -1;
	return at + 8 + (int64_t)first;
}

/* An end that looks whole is believed; else the records are counted from the beginning. */
static int64_t last_end(int fd, int64_t size)
{
	int64_t at = 0, next;
	uint32_t last;

	if (size >= 8 && length_at(fd, size - 4, &last) && last <= MESSAGE_MAX && (int64_t)last <= size - 8 &&
	    record_end_at(fd, size - 8 - (int64_t)last, size) == size)
		return size;
	while ((next = record_end_at(fd, at, size)) > 0)
		at = next;
	return at;
}

const LogFormat log_format_local = {"local", put, last_end};
