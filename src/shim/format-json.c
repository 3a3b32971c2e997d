/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Docker's json-file: one JSON object a line, {"log","stream","attrs","time"}.
 *
 * Escaping is Docker's: '"', '\\', '\n', '\r' by name; other bytes below 0x20 and <, >, & as \u00XX; U+2028
 * and U+2029 as \u202X; each byte that is not part of valid UTF-8 as \ufffd.
 */
#include "shim/logger.h"

#include "base/clock.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { PLAIN, ESCAPE, HIGH };

/* What a byte needs: nothing, an escape, or a look at the bytes behind it. */
static const unsigned char byte_class[256] = {
    [0x00 ... 0x1f] = ESCAPE, ['"'] = ESCAPE, ['\\'] = ESCAPE,        ['<'] = ESCAPE,
    ['>'] = ESCAPE,           ['&'] = ESCAPE, [0x80 ... 0xff] = HIGH,
};

/* How many bytes from p on need nothing; may stop early. */
static size_t plain_run(const unsigned char *p, size_t n)
{
	size_t i = 0;

#if defined(__SSE2__)
	for (; i + 16 <= n; i += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
		/* Signed: bytes from 0x80 on are below 0x20 too. '<' and '>' differ in one bit. */
		__m128i odd = _mm_cmplt_epi8(v, _mm_set1_epi8(0x20));

		odd = _mm_or_si128(odd, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
		odd = _mm_or_si128(odd, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
		odd = _mm_or_si128(odd, _mm_cmpeq_epi8(v, _mm_set1_epi8('&')));
		odd =
		    _mm_or_si128(odd, _mm_cmpeq_epi8(_mm_or_si128(v, _mm_set1_epi8(2)), _mm_set1_epi8('>')));
		int mask = _mm_movemask_epi8(odd);
		if (mask)
			return i + (size_t)__builtin_ctz((unsigned)mask);
	}
#endif
	while (i < n && byte_class[p[i]] == PLAIN)
		i++;
	return i;
}

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

static void put_escape(RecordFile *f, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

	if (c == '\n')
		record_put(f, "\\n", 2);
	else if (c == '\r')
		record_put(f, "\\r", 2);
	else if (c == '"')
		record_put(f, "\\\"", 2);
	else if (c == '\\')
		record_put(f, "\\\\", 2);
	else
		record_put(f, text, sizeof(text));
}

static void put_escaped(RecordFile *f, const char *text, size_t n)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t plain = 0, i = 0, k;

	for (;;) {
		i += plain_run(p + i, n - i);
		if (i == n)
			break;
		k = byte_class[p[i]] == HIGH ? utf8_char_len(p + i, n - i) : 0;
		/* E2 80 A8 and A9 are the line separators, which JavaScript does not take in strings. */
		if (k > 0 && !(k == 3 && p[i] == 0xe2 && p[i + 1] == 0x80 && (p[i + 2] | 1) == 0xa9)) {
			i += k;
			continue;
		}
		record_put(f, text + plain, i - plain);
		if (k == 3)
			record_put(f, p[i + 2] == 0xa8 ? "\\u2028" : "\\u2029", 6);
		else if (byte_class[p[i]] == HIGH)
			record_put(f, "\\ufffd", 6);
		else
			put_escape(f, p[i]);
		i += k ? k : 1;
		plain = i;
	}
	record_put(f, text + plain, n - plain);
}

/* The records of one read have one time: writing it out once is enough. */
static size_t time_tail(int64_t time_ns, const char **ret)
{
	static int64_t of = -1;
	static char text[64];
	static size_t len;

	if (time_ns != of) {
		len = (size_t)snprintf(text, sizeof(text), "\"time\":\"%s\"}\n",
				       clock_rfc3339_fixed(time_ns).s);
		of = time_ns;
	}
	*ret = text;
	return len;
}

static void put(RecordFile *f, const LogPiece *p, const char *attrs)
{
	static const char head[] = "{\"log\":\"";
	static const char ends[2][2][24] = {{"\",\"stream\":\"stdout\",", "\\n\",\"stream\":\"stdout\","},
					    {"\",\"stream\":\"stderr\",", "\\n\",\"stream\":\"stderr\","}};
	const char *tail;
	size_t n_tail = time_tail(p->time_ns, &tail);

	record_put(f, head, sizeof(head) - 1);
	put_escaped(f, p->text, p->n);
	record_put(f, ends[p->stream][p->newline], p->newline ? 22 : 20);
	if (attrs) {
		record_put(f, "\"attrs\":", 8);
		record_put(f, attrs, strlen(attrs));
		record_put(f, ",", 1);
	}
	record_end(f, tail, n_tail);
}

const LogFormat log_format_json = {"json-file", put, record_lines_end};
