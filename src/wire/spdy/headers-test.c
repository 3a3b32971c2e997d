/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "wire/spdy/spdy-internal.h"

static void the_dictionary_is_the_drafts(void **state)
{
	uint8_t d[SPDY_DICTIONARY_LEN];

	spdy_dictionary(d);
	assert_int_equal(adler32(adler32(0, NULL, 0), d, sizeof(d)), 0xe3c6a7c2);
}

/* ---- names and values ---- */

static size_t put(uint8_t *to, const char *s, size_t len)
{
	spdy_put32(to, (uint32_t)len);
	memcpy(to + 4, s, len);
	return 4 + len;
}

static int read_pair(const char *name, const char *value, size_t value_len, SpdyFields *ret)
{
	uint8_t block[256];
	size_t n = 4;

	spdy_put32(block, 1);
	n += put(block + n, name, strlen(name));
	n += put(block + n, value, value_len);
	return spdy_fields_read(block, n, ret);
}

static void names_and_values(void **state)
{
	SpdyFields f = {0};

	assert_int_equal(read_pair("streamtype", "error", 5, &f), 0);
	assert_string_equal(spdy_fields_get(&f, "streamtype"), "error");
	assert_null(spdy_fields_get(&f, "port"));
	spdy_fields_done(&f);
	/* Of several values the first. */
	assert_int_equal(read_pair("a", "b\0c", 3, &f), 0);
	assert_string_equal(spdy_fields_get(&f, "a"), "b");
	spdy_fields_done(&f);
	assert_int_equal(read_pair("a", "", 0, &f), 0);
	assert_string_equal(spdy_fields_get(&f, "a"), "");
	spdy_fields_done(&f);
}

static void what_the_draft_forbids(void **state)
{
	static const char *const names[] = {"", "Port", "a b", "a\x7f", "a\n"};
	SpdyFields f = {0};
	uint8_t twice[64];
	size_t n = 4;

	for (size_t i = 0; i < ELEMENTSOF(names); i++)
		assert_int_equal(read_pair(names[i], "x", 1, &f), -EPROTO);
	assert_int_equal(read_pair("a", "\0x", 2, &f), -EPROTO);
	assert_int_equal(read_pair("a", "x\0", 2, &f), -EPROTO);
	assert_int_equal(read_pair("a", "x\0\0y", 4, &f), -EPROTO);
	spdy_put32(twice, 2);
	for (int i = 0; i < 4; i++)
		n += put(twice + n, "a", 1);
	assert_int_equal(spdy_fields_read(twice, n, &f), -EPROTO);
}

static void lengths_that_lie(void **state)
{
	uint8_t block[64] = {0};
	SpdyFields f = {0};
	size_t n;

	assert_int_equal(spdy_fields_read(block, 3, &f), -EPROTO);
	spdy_put32(block, SPDY_FIELDS_MAX + 1);
	assert_int_equal(spdy_fields_read(block, 64, &f), -EPROTO);
	spdy_put32(block, UINT32_MAX);
	assert_int_equal(spdy_fields_read(block, 64, &f), -EPROTO);
	spdy_put32(block, 1);
	spdy_put32(block + 4, UINT32_MAX);
	assert_int_equal(spdy_fields_read(block, 64, &f), -EPROTO);
	n = 4 + put(block + 4, "a", 1);
	spdy_put32(block + n, 100);
	assert_int_equal(spdy_fields_read(block, 64, &f), -EPROTO);
	/* One that says less than there is. */
	spdy_put32(block, 0);
	assert_int_equal(spdy_fields_read(block, 5, &f), -EPROTO);
}

/* ---- compression ---- */

static size_t squeeze(z_stream *z, const void *data, size_t len, uint8_t *to, size_t cap)
{
	z->next_in = (Bytef *)(uintptr_t)data;
	z->avail_in = (unsigned)len;
	z->next_out = to;
	z->avail_out = (unsigned)cap;
	assert_int_equal(deflate(z, Z_SYNC_FLUSH), Z_OK);
	return cap - z->avail_out;
}

static void begin_squeeze(z_stream *z, bool with_dictionary)
{
	uint8_t d[SPDY_DICTIONARY_LEN];

	*z = (z_stream){0};
	assert_int_equal(deflateInit(z, 9), Z_OK);
	spdy_dictionary(d);
	if (with_dictionary)
		assert_int_equal(deflateSetDictionary(z, d, sizeof(d)), Z_OK);
}

static void blocks_in_turn(void **state)
{
	static const char *const texts[] = {"the first of them", "the second of them", "the second of them"};
	_cleanup_(spdy_inflate_done) SpdyInflate in = {0};
	uint8_t buf[256], *got;
	size_t n;
	z_stream z;

	begin_squeeze(&z, true);
	for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
		size_t len = squeeze(&z, texts[i], strlen(texts[i]), buf, sizeof(buf));

		assert_int_equal(spdy_inflate(&in, buf, len, 100, &got, &n), 0);
		assert_int_equal(n, strlen(texts[i]));
		assert_memory_equal(got, texts[i], n);
		free(got);
	}
	deflateEnd(&z);
}

static void a_dictionary_of_somebody_elses(void **state)
{
	_cleanup_(spdy_inflate_done) SpdyInflate in = {0};
	uint8_t buf[256], *got;
	size_t n, len;
	z_stream z;

	begin_squeeze(&z, false);
	assert_int_equal(deflateSetDictionary(&z, (const Bytef *)"another", 7), Z_OK);
	len = squeeze(&z, "x", 1, buf, sizeof(buf));
	assert_int_equal(spdy_inflate(&in, buf, len, 100, &got, &n), -EPROTO);
	deflateEnd(&z);
}

/* A megabyte of zeros is a thousand bytes: memory is for what is allowed. */
static void a_bomb(void **state)
{
	_cleanup_(spdy_inflate_done) SpdyInflate in = {0};
	_cleanup_free_ uint8_t *zeros = calloc(1, 1 << 20);
	uint8_t buf[8192], *got;
	size_t n, len;
	z_stream z;

	assert_non_null(zeros);
	begin_squeeze(&z, true);
	len = squeeze(&z, zeros, 1 << 20, buf, sizeof(buf));
	assert_true(len < 4096);
	assert_int_equal(spdy_inflate(&in, buf, len, 65536, &got, &n), -EMSGSIZE);
	deflateEnd(&z);
}

static void exactly_the_limit(void **state)
{
	uint8_t buf[8192], *got;
	size_t n, len;
	z_stream z;

	for (size_t size = 4095; size <= 4097; size++) {
		_cleanup_(spdy_inflate_done) SpdyInflate in = {0};
		_cleanup_free_ uint8_t *zeros = calloc(1, size);
		int r;

		assert_non_null(zeros);
		begin_squeeze(&z, true);
		len = squeeze(&z, zeros, size, buf, sizeof(buf));
		r = spdy_inflate(&in, buf, len, 4096, &got, &n);
		assert_int_equal(r, size <= 4096 ? 0 : -EMSGSIZE);
		if (r == 0) {
			assert_int_equal(n, size);
			free(got);
		}
		deflateEnd(&z);
	}
}

static void not_compressed_at_all(void **state)
{
	_cleanup_(spdy_inflate_done) SpdyInflate in = {0};
	uint8_t *got;
	size_t n;

	assert_int_equal(spdy_inflate(&in, (const uint8_t *)"GET / HTTP/1.1", 14, 100, &got, &n), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_dictionary_is_the_drafts),
	    cmocka_unit_test(names_and_values),
	    cmocka_unit_test(what_the_draft_forbids),
	    cmocka_unit_test(lengths_that_lie),
	    cmocka_unit_test(blocks_in_turn),
	    cmocka_unit_test(a_dictionary_of_somebody_elses),
	    cmocka_unit_test(a_bomb),
	    cmocka_unit_test(exactly_the_limit),
	    cmocka_unit_test(not_compressed_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
