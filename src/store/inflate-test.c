/* SPDX-License-Identifier: Apache-2.0 */
/* Decompression of whole, cut, damaged and greedy streams, in pieces of every size. */
#include "base/str.h"
#include "base/test.h"
#include "store/inflate.h"

#include <bzlib.h>
#include <isa-l/igzip_lib.h>
#include <lzma.h>
#include <zstd.h>

#define PLAIN_LEN 3000
#define ROOM      (1u << 20)

static uint8_t plain[PLAIN_LEN];

/* Half of it can be compressed, half of it cannot. */
static void make_plain(void)
{
	uint32_t x = 1;

	for (size_t i = 0; i < PLAIN_LEN; i++) {
		x = x * 1664525u + 1013904223u;
		plain[i] = i % 100 < 50 ? (uint8_t)(x >> 24) : (uint8_t)('a' + i % 3);
	}
}

typedef struct Packed {
	const char *name;
	size_t magic; /* what is shorter is read as plain */
	uint8_t data[ROOM];
	size_t len;
} Packed;

static void pack_gzip(Packed *p, const void *data, size_t len)
{
	struct isal_zstream s;

	isal_deflate_init(&s);
	s.gzip_flag = IGZIP_GZIP;
	s.end_of_stream = 1;
	s.flush = NO_FLUSH;
	s.next_in = (uint8_t *)(uintptr_t)data;
	s.avail_in = (uint32_t)len;
	s.next_out = p->data + p->len;
	s.avail_out = (uint32_t)(ROOM - p->len);
	assert_int_equal(isal_deflate(&s), COMP_OK);
	p->len = ROOM - s.avail_out;
}

static void pack_zstd(Packed *p, const void *data, size_t len)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();

	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
	size_t n = ZSTD_compress2(c, p->data + p->len, ROOM - p->len, data, len);
	assert_false(ZSTD_isError(n));
	p->len += n;
	ZSTD_freeCCtx(c);
}

static void pack_xz(Packed *p, const void *data, size_t len)
{
	assert_int_equal(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, NULL, data, len, p->data, &p->len,
						 ROOM),
			 LZMA_OK);
}

static void pack_bzip2(Packed *p, const void *data, size_t len)
{
	unsigned n = (unsigned)(ROOM - p->len);

	assert_int_equal(BZ2_bzBuffToBuffCompress((char *)p->data + p->len, &n, (char *)(uintptr_t)data,
						  (unsigned)len, 1, 0, 0),
			 BZ_OK);
	p->len += n;
}

static const struct {
	const char *name;
	size_t magic;
	void (*pack)(Packed *p, const void *data, size_t len);
} formats[] = {{"gzip", 2, pack_gzip}, {"zstd", 4, pack_zstd}, {"xz", 6, pack_xz}, {"bzip2", 3, pack_bzip2}};

static Packed *pack(size_t format, const void *data, size_t len)
{
	Packed *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->name = formats[format].name;
	p->magic = formats[format].magic;
	formats[format].pack(p, data, len);
	return p;
}

/* Reads the stream in pieces; 0 and the plain bytes in *out, or the error. */
static int unpack(const void *data, size_t len, size_t piece, StrBuf *out, Err *e)
{
	_cleanup_(inflate_freep) Inflate *d = NULL;
	size_t first = MAX2(piece, (size_t)INFLATE_MAGIC), at = 0, seen = MIN2(len, first);
	uint8_t buf[700];

	int r = inflate_new(data, MIN2(len, (size_t)INFLATE_MAGIC), &d, e);
	while (r == 0) {
		size_t used, made;

		r = inflate_step(d, (const uint8_t *)data + at, seen - at, &used, buf, sizeof(buf), &made,
				 seen == len, e);
		if (r < 0)
			return r;
		strbuf_add_n(out, buf, made);
		at += used;
		if (used > 0 || made > 0)
			continue;
		if (seen == len)
			return inflate_finish(d, e);
		seen = MIN2(len, seen + piece);
	}
	return r;
}

static void expect(const Packed *p, const void *data, size_t len)
{
	for (size_t piece = 1; piece < 2 * PLAIN_LEN; piece = piece * 3 + 1) {
		_cleanup_strbuf_ StrBuf out = {0};
		Err e = {0};

		if (unpack(p->data, p->len, piece, &out, &e) < 0)
			fail_msg("%s in pieces of %zu: %s", p->name, piece, e.msg);
		assert_int_equal(out.len, len);
		assert_memory_equal(out.s ? out.s : "", data, len);
	}
}

static void test_round_trip(void **state _unused_)
{
	for (size_t f = 0; f < ELEMENTSOF(formats); f++) {
		_cleanup_free_ Packed *p = pack(f, plain, PLAIN_LEN);
		_cleanup_free_ Packed *empty = pack(f, "", 0);

		expect(p, plain, PLAIN_LEN);
		expect(empty, "", 0);
	}
}

static void test_cut_anywhere(void **state _unused_)
{
	for (size_t f = 0; f < ELEMENTSOF(formats); f++) {
		_cleanup_free_ Packed *p = pack(f, plain, PLAIN_LEN);

		for (size_t len = p->magic; len < p->len; len++) {
			_cleanup_strbuf_ StrBuf out = {0};
			Err e = {0};

			if (unpack(p->data, len, 512, &out, &e) >= 0)
				fail_msg("%s is taken for whole with %zu of %zu bytes", p->name, len, p->len);
			if (!strstr(e.msg, "truncated layer") && !strstr(e.msg, "damaged"))
				fail_msg("%s cut at %zu: %s", p->name, len, e.msg);
			assert_true(out.len <= PLAIN_LEN);
		}
	}
}

/* One bit wrong: it is noticed, or it makes no difference (a gzip header's time, for one). */
static void test_damaged_anywhere(void **state _unused_)
{
	for (size_t f = 0; f < ELEMENTSOF(formats); f++) {
		_cleanup_free_ Packed *p = pack(f, plain, PLAIN_LEN);
		size_t unnoticed = 0;

		for (size_t i = p->magic; i < p->len; i++) {
			_cleanup_strbuf_ StrBuf out = {0};
			Err e = {0};

			p->data[i] ^= (uint8_t)(1u << i % 8);
			if (unpack(p->data, p->len, 512, &out, &e) >= 0) {
				unnoticed++;
				if (out.len != PLAIN_LEN || memcmp(out.s, plain, PLAIN_LEN) != 0)
					fail_msg("%s with byte %zu wrong gives other bytes", p->name, i);
			}
			p->data[i] ^= (uint8_t)(1u << i % 8);
		}
		assert_true(unnoticed < 16);
	}
}

static void test_members_are_one_stream(void **state _unused_)
{
	for (size_t f = 0; f < ELEMENTSOF(formats); f++) {
		_cleanup_free_ Packed *p = pack(f, plain, 1000);

		formats[f].pack(p, plain + 1000, PLAIN_LEN - 1000);
		expect(p, plain, PLAIN_LEN);
	}
}

static void refused(const char *what, const void *data, size_t len, const char *why)
{
	_cleanup_strbuf_ StrBuf out = {0};
	Err e = {0};

	if (unpack(data, len, 512, &out, &e) >= 0)
		fail_msg("%s is accepted", what);
	if (!strstr(e.msg, why))
		fail_msg("%s: expected \"%s\", got \"%s\"", what, why, e.msg);
	assert_int_equal(e.kind, ERR_INVALID);
}

/* Frame headers by hand (RFC 8878, 3.1.1.1): what a frame wants is refused before it is given. */
static void test_zstd_frames_that_want_too_much(void **state _unused_)
{
	static const uint8_t dictionary[] = {0x28, 0xB5, 0x2F, 0xFD, 0x21, 7, 1, 0x09, 0, 0, 'x'};
	/* Window descriptor: exponent in the upper five bits, 10 added. */
	static const uint8_t window_256m[] = {0x28, 0xB5, 0x2F, 0xFD, 0x00, (28 - 10) << 3, 0x09, 0, 0, 'x'};
	static const uint8_t window_128m[] = {0x28, 0xB5, 0x2F, 0xFD, 0x00, (27 - 10) << 3, 0x09, 0, 0, 'x'};
	static const uint8_t reserved[] = {0x28, 0xB5, 0x2F, 0xFD, 0x08, 0x50, 0x09, 0, 0, 'x'};
	_cleanup_strbuf_ StrBuf out = {0};

	refused("a frame with a dictionary", dictionary, sizeof(dictionary), "ictionary");
	refused("a window of 256 MiB", window_256m, sizeof(window_256m), "memory");
	refused("a reserved bit", reserved, sizeof(reserved), "damaged zstd");
	assert_int_equal(unpack(window_128m, sizeof(window_128m), 512, &out, NULL), 0);
	assert_string_equal(out.s, "x");
}

static void test_skippable_frames(void **state _unused_)
{
	static const uint8_t skip[] = {0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'};
	static const uint8_t endless[] = {0x5F, 0x2A, 0x4D, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 'a', 'b', 'c'};
	_cleanup_free_ Packed *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->name = "zstd with skippable frames";
	memcpy(p->data, skip, sizeof(skip));
	p->len = sizeof(skip);
	pack_zstd(p, plain, PLAIN_LEN);
	memcpy(p->data + p->len, skip, sizeof(skip));
	p->len += sizeof(skip);
	expect(p, plain, PLAIN_LEN);
	refused("a skippable frame without its bytes", endless, sizeof(endless), "truncated layer");
}

/* A block that declares a dictionary of 1 GiB. */
static void test_xz_that_wants_too_much(void **state _unused_)
{
	lzma_options_lzma o;
	lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &o}, {LZMA_VLI_UNKNOWN, NULL}};
	lzma_block block = {.version = 0,
			    .check = LZMA_CHECK_CRC32,
			    .filters = filters,
			    .compressed_size = LZMA_VLI_UNKNOWN,
			    .uncompressed_size = LZMA_VLI_UNKNOWN};
	lzma_stream_flags flags = {.version = 0, .check = LZMA_CHECK_CRC32};
	uint8_t data[LZMA_STREAM_HEADER_SIZE + LZMA_BLOCK_HEADER_SIZE_MAX + 16] = {0};

	assert_false(lzma_lzma_preset(&o, 1));
	o.dict_size = 1u << 30;
	assert_int_equal(lzma_stream_header_encode(&flags, data), LZMA_OK);
	assert_int_equal(lzma_block_header_size(&block), LZMA_OK);
	assert_int_equal(lzma_block_header_encode(&block, data + LZMA_STREAM_HEADER_SIZE), LZMA_OK);
	refused("a dictionary of 1 GiB", data, LZMA_STREAM_HEADER_SIZE + block.header_size + 16, "256 MiB");
}

static void test_what_follows(void **state _unused_)
{
	for (size_t f = 0; f < ELEMENTSOF(formats); f++) {
		_cleanup_free_ Packed *p = pack(f, plain, PLAIN_LEN);

		memcpy(p->data + p->len, "garbage behind it", 17);
		refused(p->name, p->data, p->len + 17, "damaged");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_cut_anywhere),
	    cmocka_unit_test(test_damaged_anywhere),
	    cmocka_unit_test(test_members_are_one_stream),
	    cmocka_unit_test(test_zstd_frames_that_want_too_much),
	    cmocka_unit_test(test_skippable_frames),
	    cmocka_unit_test(test_xz_that_wants_too_much),
	    cmocka_unit_test(test_what_follows),
	};
	make_plain();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
