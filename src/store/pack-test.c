/* SPDX-License-Identifier: Apache-2.0 */
/* Layers compressed for a push: the same bytes each time, whole when decompressed, and remembered; and where blobs were seen. */
#include "store/deflate.h"
#include "store/inflate.h"
#include "store/store-test.h"

static int to_buffer(void *user, const void *data, size_t len, Err *e _unused_)
{
	strbuf_add_n(user, data, len);
	return 0;
}

static void compress(DeflateKind kind, const char *data, size_t len, StrBuf *ret)
{
	_cleanup_(deflate_freep) Deflate *d = NULL;
	size_t at = 0;
	Err e = {0};

	assert_int_equal(deflate_new(kind, &d, &e), 0);
	do {
		size_t n = MIN2(len - at, (size_t)DEFLATE_PIECE);

		if (deflate_add(d, data + at, n, n < DEFLATE_PIECE, to_buffer, ret, &e) < 0)
			fail_msg("%s", e.msg);
		at += n;
		if (n < DEFLATE_PIECE)
			return;
	} while (true);
}

static void check_inflates(const StrBuf *packed, const char *data, size_t len)
{
	_cleanup_(inflate_freep) Inflate *i = NULL;
	_cleanup_free_ uint8_t *out = malloc(len + 1);
	size_t used = 0, made = 0;
	Err e = {0};

	assert_int_equal(inflate_new((const uint8_t *)packed->s, MIN2(packed->len, (size_t)INFLATE_MAGIC), &i,
				     &e),
			 0);
	while (used < packed->len) {
		size_t u, m;

		if (inflate_step(i, (const uint8_t *)packed->s + used, packed->len - used, &u, out + made,
				 len + 1 - made, &m, true, &e) < 0)
			fail_msg("%s", e.msg);
		used += u;
		made += m;
		if (u == 0 && m == 0)
			break;
	}
	assert_int_equal(used, packed->len);
	assert_int_equal(made, len);
	assert_memory_equal(out, data, len);
	assert_int_equal(inflate_finish(i, &e), 0);
}

static void test_streams(void **state _unused_)
{
	static const size_t sizes[] = {0,      1, 511, DEFLATE_PIECE - 1, DEFLATE_PIECE, DEFLATE_PIECE + 1,
				       3000000};
	_cleanup_free_ char *data = malloc(3000000);
	uint32_t x = 1;

	assert_non_null(data);
	for (int noise = 0; noise < 2; noise++) {
		for (size_t i = 0; i < 3000000; i++) {
			x = x * 1664525 + 1013904223;
			data[i] = noise ? (char)(x >> 24) : "abcdefg\n"[(x >> 24) % 8];
		}
		for (size_t i = 0; i < ELEMENTSOF(sizes); i++)
			for (int kind = DEFLATE_GZIP; kind <= DEFLATE_ZSTD; kind++) {
				_cleanup_strbuf_ StrBuf once = {0}, again = {0};

				compress((DeflateKind)kind, data, sizes[i], &once);
				compress((DeflateKind)kind, data, sizes[i], &again);
				assert_int_equal(once.len, again.len);
				assert_memory_equal(once.s, again.s, once.len);
				check_inflates(&once, data, sizes[i]);
				if (!noise && sizes[i] == 3000000)
					assert_true(once.len < 1500000);
				assert_true(once.len < sizes[i] + sizes[i] / 100 + 100);
			}
	}
}

/* No name and no time in the header of a gzip stream (RFC 1952). */
static void test_gzip_header(void **state _unused_)
{
	_cleanup_strbuf_ StrBuf b = {0};

	compress(DEFLATE_GZIP, "x", 1, &b);
	assert_true(b.len > 18);
	assert_memory_equal(b.s, "\x1F\x8B\x08\0\0\0\0\0", 8);
}

/* ---- layers ---- */

typedef struct Grown {
	int64_t bytes, tar;
	bool shrank;
} Grown;

static void on_grown(void *user, int fd, int64_t bytes)
{
	Grown *g = user;
	char c;

	g->shrank |= bytes <= g->bytes || pread(fd, &c, 1, bytes - 1) != 1;
	g->bytes = bytes;
}

static void on_tar(void *user, int64_t bytes)
{
	((Grown *)user)->tar = bytes;
}

static bool at_once(void *user _unused_)
{
	return true;
}

static void test_layer(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	Grown g = {0};
	LayerPack p = {.form = LAYER_GZIP, .grown = on_grown, .progress = on_tar, .user = &g};
	LayerBlob first, again, found;
	Err e = {0};

	make_layer(s, d, NULL, "file", "12345", chain, diff);
	assert_int_equal(store_layer_blob(s, chain, &found, &e), 0);
	assert_int_equal(store_layer_form(s, chain, LAYER_GZIP, &found, &e), 0);
	if (store_layer_pack(s, chain, &p, &first, &e) < 0)
		fail_msg("%s", e.msg);
	assert_false(g.shrank);
	assert_int_equal(g.bytes, first.size);
	assert_true(g.tar >= 2048 && g.tar % 512 == 0);

	/* It has a blob now, by which it can be made again. */
	assert_int_equal(store_layer_blob(s, chain, &found, &e), 1);
	assert_string_equal(found.digest, first.digest);
	assert_int_equal(found.size, first.size);
	assert_int_equal(found.form, LAYER_GZIP);
	assert_int_equal(store_layer_pack(s, chain, &p, &again, &e), 0);
	assert_string_equal(again.digest, first.digest);
	assert_int_equal(store_blob_release(s, first.digest, &e), 0);
	assert_true(store_blob_has(s, first.digest));

	/* Another form is remembered, but only its blob's user keeps it. */
	p.form = LAYER_ZSTD;
	g = (Grown){0};
	assert_int_equal(store_layer_pack(s, chain, &p, &again, &e), 0);
	assert_string_not_equal(again.digest, first.digest);
	assert_int_equal(store_blob_release(s, again.digest, &e), 0);
	assert_false(store_blob_has(s, again.digest));
	assert_int_equal(store_layer_form(s, chain, LAYER_ZSTD, &found, &e), 1);
	assert_string_equal(found.digest, again.digest);
	assert_int_equal(found.size, again.size);

	/* What is remembered goes with the layer, at the next start. */
	assert_int_equal(store_layer_release(s, chain, NULL, &e), 0);
	store_close(s);
	s = open_store(d);
	assert_int_equal(store_layer_form(s, chain, LAYER_ZSTD, &found, &e), 0);
	assert_false(store_blob_has(s, first.digest));
	store_close(s);
}

static void test_stopped(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	const LayerPack p = {.form = LAYER_GZIP, .stopped = at_once};
	LayerBlob b;
	Err e = {0};

	make_layer(s, d, NULL, "file", "12345", chain, diff);
	assert_true(store_layer_pack(s, chain, &p, &b, &e) < 0);
	assert_int_equal(e.kind, ERR_CANCELLED);
	assert_int_equal(store_layer_blob(s, chain, &b, &e), 0);
	assert_true(store_layer_pack(s, diff + 1, &p, &b, &e) < 0); /* no such layer */
	store_close(s);
}

/* ---- places ---- */

static void check_places(Store *s, const char *digest, const char *domain, const char *const *want)
{
	_cleanup_strv_ char **v = NULL;
	size_t n = 0;
	Err e = {0};

	assert_int_equal(store_blob_places(s, digest, domain, &v, &e), 0);
	for (; want && want[n]; n++)
		assert_string_equal(v[n], want[n]);
	assert_int_equal(strv_len(v), n);
}

static void test_places(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char digest[DIGEST_LEN + 1], gone[DIGEST_LEN + 1];
	char *digests[] = {digest, gone, NULL};
	Err e = {0};

	assert_int_equal(store_blob_put(s, "x", 1, digest, &e), 0);
	digest_of("y", 1, gone);
	check_places(s, digest, "docker.io", NULL);
	static const char *const paths[] = {"a", "b", "c", "a", "d", "e", "e"};
	for (size_t i = 0; i < ELEMENTSOF(paths); i++)
		assert_int_equal(store_blobs_seen(s, "docker.io", paths[i], digests, &e), 0);
	assert_int_equal(store_blobs_seen(s, "localhost:5000", "x/y", digests, &e), 0);
	check_places(s, digest, "docker.io", (const char *[]){"e", "d", "a", "c", NULL});
	check_places(s, digest, "localhost:5000", (const char *[]){"x/y", NULL});
	check_places(s, gone, "localhost:5000", (const char *[]){"x/y", NULL});
	check_places(s, digest, "ghcr.io", NULL);
	/* At a start, what nothing here is made of is forgotten. */
	store_close(s);
	s = open_store(d);
	check_places(s, gone, "docker.io", NULL);
	check_places(s, digest, "docker.io", (const char *[]){"e", "d", "a", "c", NULL});
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_streams), cmocka_unit_test(test_gzip_header), test_in_dir(test_layer),
	    test_in_dir(test_stopped),      test_in_dir(test_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
