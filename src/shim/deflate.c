/* SPDX-License-Identifier: Apache-2.0 */
/* Greedy LZ77 with fixed Huffman codes. Positions are offsets into data, which is in memory as a whole. */
#include "shim/deflate.h"

#define WINDOW      32768u
#define HASH_BITS   15
#define HASH_SIZE   (1u << HASH_BITS)
#define CHAIN       16 /* places looked at for one match */
#define MATCH_LEAST 4
#define MATCH_MOST  258
#define OUT_SIZE    (64 * 1024)

typedef struct Deflate {
	uint64_t bits;
	unsigned n_bits;
	size_t len;
	DeflateSink sink;
	void *user;
	int failed;
	uint8_t *out;   /* OUT_SIZE */
	uint64_t *head; /* by hash: the newest place + 1 */
	uint64_t *prev; /* by place modulo WINDOW: the one before + 1 */
} Deflate;

/* ---- bits ---- */

static void put_bits(Deflate *d, uint32_t value, unsigned n)
{
	d->bits |= (uint64_t)value << d->n_bits;
	d->n_bits += n;
	while (d->n_bits >= 8) {
		d->out[d->len++] = (uint8_t)d->bits;
		d->bits >>= 8;
		d->n_bits -= 8;
		if (d->len == OUT_SIZE) {
			if (d->failed >= 0)
				d->failed = d->sink(d->user, d->out, d->len);
			d->len = 0;
		}
	}
}

/* Huffman codes go out with their highest bit first. */
static void put_code(Deflate *d, uint32_t code, unsigned n)
{
	uint32_t turned = 0;

	for (unsigned i = 0; i < n; i++)
		turned |= (code >> i & 1) << (n - 1 - i);
	put_bits(d, turned, n);
}

/* A literal (0 to 255), the end (256) or a length (257 to 285) in the fixed code (RFC 1951, 3.2.6). */
static void put_symbol(Deflate *d, unsigned s)
{
	if (s < 144)
		put_code(d, 0x30 + s, 8);
	else if (s < 256)
		put_code(d, 0x190 + s - 144, 9);
	else if (s < 280)
		put_code(d, s - 256, 7);
	else
		put_code(d, 0xc0 + s - 280, 8);
}

/* Lengths and distances: classes that begin at a base, with so many more bits (3.2.5). */
static void put_length(Deflate *d, unsigned len)
{
	unsigned v = len - 3, extra = 0;

	if (len == MATCH_MOST) {
		put_symbol(d, 285);
		return;
	}
	if (v >= 8)
		extra = (unsigned)(31 - __builtin_clz(v)) - 2;
	put_symbol(d, 257 + 4 * extra + (v >> extra));
	put_bits(d, v & ((1u << extra) - 1), extra);
}

static void put_distance(Deflate *d, unsigned distance)
{
	unsigned v = distance - 1, extra = 0;

	if (v >= 4)
		extra = (unsigned)(31 - __builtin_clz(v)) - 1;
	put_code(d, 2 * extra + (v >> extra), 5);
	put_bits(d, v & ((1u << extra) - 1), extra);
}

/* ---- repetitions ---- */

static unsigned hash_at(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v * 2654435761u >> (32 - HASH_BITS);
}

static void enter(Deflate *d, const uint8_t *data, size_t at)
{
	unsigned h = hash_at(data + at);

	d->prev[at % WINDOW] = d->head[h];
	d->head[h] = at + 1;
}

static size_t same_bytes(const uint8_t *a, const uint8_t *b, size_t most)
{
	size_t n = 0;

	while (n + 8 <= most) {
		uint64_t x, y;

		memcpy(&x, a + n, 8);
		memcpy(&y, b + n, 8);
		if (x != y)
			break;
		n += 8;
	}
	while (n < most && a[n] == b[n])
		n++;
	return n;
}

/* The longest match for the bytes at `at`; 0 if there is none worth it. */
static size_t find_match(const Deflate *d, const uint8_t *data, size_t at, size_t n, size_t *ret_distance)
{
	size_t most = MIN2(n - at, (size_t)MATCH_MOST), best = 0;
	uint64_t next = d->head[hash_at(data + at)];

	for (int i = 0; i < CHAIN && next; i++) {
		size_t place = next - 1, len;

		if (at - place > WINDOW)
			break;
		len = same_bytes(data + place, data + at, most);
		if (len > best) {
			best = len;
			*ret_distance = at - place;
			if (len == most)
				break;
		}
		next = d->prev[place % WINDOW];
		if (next > place) /* overwritten by a newer place */
			break;
	}
	return best >= MATCH_LEAST ? best : 0;
}

static void compress(Deflate *d, const uint8_t *data, size_t n)
{
	size_t at = 0, distance = 0;

	while (at < n && d->failed >= 0) {
		size_t len = n - at >= MATCH_LEAST ? find_match(d, data, at, n, &distance) : 0;

		if (len == 0) {
			put_symbol(d, data[at]);
			len = 1;
		} else {
			put_length(d, (unsigned)len);
			put_distance(d, (unsigned)distance);
		}
		for (size_t end = at + len; at < end; at++)
			if (n - at >= MATCH_LEAST)
				enter(d, data, at);
	}
}

int deflate_all(const uint8_t *data, size_t n, DeflateSink sink, void *user)
{
	_cleanup_free_ uint8_t *out = malloc(OUT_SIZE);
	_cleanup_free_ uint64_t *head = calloc(HASH_SIZE, sizeof(*head)),
				*prev = calloc(WINDOW, sizeof(*prev));
	Deflate d = {.sink = sink, .user = user, .out = out, .head = head, .prev = prev};

	if (!out || !head || !prev)
		return -ENOMEM;
	put_bits(&d, 1 | 1 << 1, 3); /* the last block, fixed codes */
	compress(&d, data, n);
	put_symbol(&d, 256);
	if (d.n_bits > 0)
		put_bits(&d, 0, 8 - d.n_bits);
	return d.failed < 0 ? d.failed : sink(user, out, d.len);
}

uint32_t deflate_crc32(const uint8_t *data, size_t n)
{
	uint32_t table[256], crc = ~0u;

	for (uint32_t i = 0; i < 256; i++) {
		table[i] = i;
		for (int k = 0; k < 8; k++)
			table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
	}
	for (size_t i = 0; i < n; i++)
		crc = table[(crc ^ data[i]) & 0xff] ^ crc >> 8;
	return ~crc;
}
