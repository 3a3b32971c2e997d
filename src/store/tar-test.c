/* SPDX-License-Identifier: Apache-2.0 */
/* The tar reader against our writer and against headers made by hand, cut into chunks of every size. */
#include "base/str.h"
#include "base/test.h"
#include "store/tar-internal.h"
#include "store/tar-write.h"

#include <sys/mman.h>

typedef struct Source {
	const uint8_t *data;
	size_t len, chunk;
} Source;

static ssize_t next_piece(void *user, const uint8_t **ret, Err *e)
{
	Source *s = user;
	size_t n = MIN2(s->len, s->chunk);

	*ret = s->data;
	s->data += n;
	s->len -= n;
	return (ssize_t)n;
}

/* Reads a whole archive; what it holds as text: "name type size contents;". */
static int read_tar(const void *data, size_t len, size_t chunk, StrBuf *out, Err *e)
{
	Source s = {data, len, chunk};
	_cleanup_(tar_reader_freep) TarReader *t = NULL;
	const TarEntry *n;
	int r;

	assert_int_equal(tar_reader_new(next_piece, &s, &t, e), 0);
	while ((r = tar_next(t, &n, e)) > 0) {
		const void *piece;
		int64_t offset;
		size_t got;

		strbuf_addf(out, "%s %d %lld ", n->name, n->type, (long long)n->size);
		while ((r = tar_data(t, &piece, &got, &offset, e)) > 0)
			strbuf_add_n(out, piece, got);
		if (r < 0)
			return r;
		strbuf_add_c(out, ';');
	}
	return r;
}

static void test_round_trip(void **state _unused_)
{
	_cleanup_free_ char *long_name = malloc(5001);
	_cleanup_(tar_writer_freep) TarWriter *w = NULL;
	TarXattr x = {.name = (char[]){"user.a"}, .value = (char[]){"b\0c"}, .len = 3};
	TarEntry in[] = {
	    {.type = TAR_FILE,
	     .name = long_name,
	     .size = 700,
	     .uid = 4000000000u,
	     .mtime_s = -5,
	     .mtime_ns = 250000000,
	     .xattrs = &x,
	     .n_xattrs = 1,
	     .mode = 06755},
	    {.type = TAR_SYMLINK, .name = (char[]){"link"}, .link = long_name, .mtime_s = 1ll << 40},
	    {.type = TAR_CHAR, .name = (char[]){"dev"}, .dev_major = 4095, .dev_minor = 1048575},
	};
	int fd = memfd_create("tar", MFD_CLOEXEC);
	char text[700];
	Err e = {0};

	assert_non_null(long_name);
	memset(long_name, 'x', 5000);
	long_name[5000] = 0;
	memset(text, 't', sizeof(text));
	assert_int_equal(tar_writer_new(fd, NULL, &w, &e), 0);
	assert_int_equal(tar_write_header(w, &in[0], &e), 0);
	assert_int_equal(tar_write_data(w, text, sizeof(text), &e), 0);
	assert_int_equal(tar_write_header(w, &in[1], &e), 0);
	/* The entry is not used up by a header alone when it has contents. */
	assert_int_equal(tar_write_header(w, &in[2], &e), 0);
	assert_int_equal(tar_writer_end(w, &e), 0);

	off_t len = lseek(fd, 0, SEEK_END);
	void *map = mmap(NULL, (size_t)len, PROT_READ, MAP_PRIVATE, fd, 0);
	for (size_t chunk = 1; chunk < 600; chunk += 37) {
		Source s = {map, (size_t)len, chunk};
		_cleanup_(tar_reader_freep) TarReader *t = NULL;
		const TarEntry *n;

		assert_int_equal(tar_reader_new(next_piece, &s, &t, &e), 0);
		assert_int_equal(tar_next(t, &n, &e), 1);
		assert_string_equal(n->name, long_name);
		assert_int_equal(n->uid, 4000000000u);
		assert_int_equal(n->mode, 06755);
		assert_int_equal(n->mtime_s, -5);
		assert_int_equal(n->mtime_ns, 250000000);
		assert_int_equal(n->n_xattrs, 1);
		assert_memory_equal(n->xattrs[0].value, "b\0c", 3);
		assert_int_equal(tar_next(t, &n, &e), 1);
		assert_string_equal(n->link, long_name);
		assert_int_equal(n->mtime_s, 1ll << 40);
		assert_int_equal(tar_next(t, &n, &e), 1);
		assert_int_equal(n->dev_major, 4095);
		assert_int_equal(n->dev_minor, 1048575);
		assert_int_equal(tar_next(t, &n, &e), 0);
	}
	munmap(map, (size_t)len);
	close(fd);
}

/* ---- headers by hand ---- */

static void seal(TarHeader *h)
{
	unsigned sum = 0;

	memset(h->checksum, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += ((uint8_t *)h)[i];
	snprintf(h->checksum, 8, "%06o", sum);
}

static TarHeader header(char type, const char *name, unsigned size)
{
	TarHeader h = {.type = type};

	snprintf(h.name, sizeof(h.name), "%s", name);
	snprintf(h.size, sizeof(h.size), "%011o", size);
	memcpy(h.magic, "ustar  ", 8);
	seal(&h);
	return h;
}

static void add_block(StrBuf *b, const void *data, size_t len)
{
	static const char zeros[TAR_BLOCK];

	strbuf_add_n(b, data, len);
	strbuf_add_n(b, zeros, (TAR_BLOCK - len % TAR_BLOCK) % TAR_BLOCK);
}

static void add_header(StrBuf *b, char type, const char *name, unsigned size)
{
	TarHeader h = header(type, name, size);

	add_block(b, &h, sizeof(h));
}

static void add_pax(StrBuf *b, const char *records)
{
	add_header(b, 'x', "pax", (unsigned)strlen(records));
	add_block(b, records, strlen(records));
}

/* Records given as "KEY=VALUE", with the lengths that they must have. */
static void add_records(StrBuf *b, const char *const *records, size_t n)
{
	_cleanup_strbuf_ StrBuf text = {0};

	for (size_t i = 0; i < n; i++) {
		size_t rest = strlen(records[i]) + 2;

		strbuf_addf(&text, "%zu %s\n", rest + (rest + 2 > 99 ? 3 : rest + 1 > 9 ? 2 : 1), records[i]);
	}
	add_pax(b, text.s);
}

static void expect(const StrBuf *b, const char *want)
{
	for (size_t chunk = 1; chunk <= b->len; chunk = chunk * 3 + 1) {
		_cleanup_strbuf_ StrBuf out = {0};
		Err e = {0};

		if (read_tar(b->s, b->len, chunk, &out, &e) < 0)
			fail_msg("%s", e.msg);
		assert_string_equal(out.s ? out.s : "", want);
	}
}

static void expect_failure(const StrBuf *b, const char *words)
{
	_cleanup_strbuf_ StrBuf out = {0};
	Err e = {0};

	assert_true(read_tar(b->s, b->len, 512, &out, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	if (!strstr(e.msg, words))
		fail_msg("\"%s\" does not say \"%s\"", e.msg, words);
}

static void test_dialects(void **state _unused_)
{
	_cleanup_strbuf_ StrBuf b = {0};

	add_header(&b, 'L', "././@LongLink", 6);
	add_block(&b, "gnu/l\0", 6);
	add_header(&b, '0', "short", 3);
	add_block(&b, "abc", 3);
	add_pax(&b, "12 path=pax\n10 size=2\n");
	add_header(&b, '0', "short", 0);
	add_block(&b, "xy", 2);
	add_header(&b, 0, "v7dir/", 0);
	/* A link's size field says nothing about what follows. */
	add_header(&b, '2', "link", 1000);
	/* Globals apply to nothing. */
	add_header(&b, 'g', "g", 12);
	add_block(&b, "12 path=pax\n", 12);
	add_header(&b, '5', "d", 0);
	expect(&b, "gnu/l 0 3 abc;pax 0 2 xy;v7dir/ 5 0 ;link 2 0 ;d 5 0 ;");
}

static void test_sparse_formats(void **state _unused_)
{
	_cleanup_strbuf_ StrBuf b = {0};

	static const char *const one_zero[] = {"GNU.sparse.major=1", "GNU.sparse.minor=0",
					       "GNU.sparse.name=fname", "GNU.sparse.realsize=1000"};
	static const char *const zero_one[] = {"GNU.sparse.map=0,1,90,2", "GNU.sparse.size=100"};
	static const char *const beyond[] = {"GNU.sparse.map=9,1,90,2", "GNU.sparse.size=91"};
	static const char *const zero_zero[] = {"GNU.sparse.size=50", "GNU.sparse.offset=5",
						"GNU.sparse.numbytes=2", "GNU.sparse.offset=20",
						"GNU.sparse.numbytes=1"};

	add_records(&b, one_zero, ELEMENTSOF(one_zero));
	add_header(&b, '0', "GNUSparseFile.0/x", 512 + 3);
	add_block(&b, "2\n10\n1\n20\n2\n", 12);
	add_block(&b, "abc", 3);
	add_records(&b, zero_one, ELEMENTSOF(zero_one));
	add_header(&b, '0', "old", 3);
	add_block(&b, "def", 3);
	add_records(&b, zero_zero, ELEMENTSOF(zero_zero));
	add_header(&b, '0', "older", 3);
	add_block(&b, "jkl", 3);
	expect(&b, "fname 0 1000 abc;old 0 100 def;older 0 50 jkl;");
	strbuf_done(&b);

	add_records(&b, beyond, ELEMENTSOF(beyond));
	add_header(&b, '0', "old", 3);
	add_block(&b, "def", 3);
	expect_failure(&b, "does not fit");
	strbuf_done(&b);

	TarHeader h = header('S', "gnu", 3);
	memcpy((char *)&h + 386,
	       "00000000005\0"
	       "00000000003\0",
	       24);
	memcpy((char *)&h + 483, "00000000012\0", 12);
	seal(&h);
	add_block(&b, &h, sizeof(h));
	add_block(&b, "ghi", 3);
	expect(&b, "gnu 0 10 ghi;");
}

static void test_lies_are_refused(void **state _unused_)
{
	static const char *const records[] = {"99999999 path=a\n", "0 path=a\n",        "10 path=aa",
					      "9 =value\n",        "6 path\n",          "13 size=-100\n",
					      "13 mtime=abc\n",    "15 uid=99999999\n1"};
	_cleanup_strbuf_ StrBuf b = {0};

	for (size_t i = 0; i < ELEMENTSOF(records); i++) {
		strbuf_done(&b);
		add_pax(&b, records[i]);
		add_header(&b, '0', "a", 0);
		expect_failure(&b, "bad PAX header");
	}
	strbuf_done(&b);
	add_header(&b, 'Z', "odd", 0);
	expect_failure(&b, "unknown type");
	strbuf_done(&b);
	add_header(&b, 'L', "long", 2 << 20);
	expect_failure(&b, "extended tar header");
	strbuf_done(&b);
	strbuf_add(&b, "this is no tar");
	expect_failure(&b, "not a tar");
	strbuf_done(&b);

	TarHeader h = header('0', "big", 0);
	memset(h.size, 0xFF, sizeof(h.size));
	seal(&h);
	add_block(&b, &h, sizeof(h));
	expect_failure(&b, "impossible size");
	strbuf_done(&b);
	h = header('0', "nobody", 0);
	memcpy(h.uid, "\x80\0\0\0\xFF\xFF\xFF\xFF", 8);
	seal(&h);
	add_block(&b, &h, sizeof(h));
	expect_failure(&b, "out of range");
}

static void test_cut_anywhere(void **state _unused_)
{
	_cleanup_strbuf_ StrBuf b = {0};

	add_pax(&b, "12 path=pax\n");
	add_header(&b, '0', "a", 600);
	add_block(&b, "contents", 600 > 8 ? 8 : 0);
	strbuf_add_n(&b, (char[TAR_BLOCK]){0}, TAR_BLOCK);
	for (size_t len = 1; len < b.len; len++) {
		_cleanup_strbuf_ StrBuf out = {0};
		Err e = {0};

		if (len == b.len - (size_t)tar_padding(600))
			continue;
		assert_true(read_tar(b.s, len, 512, &out, &e) < 0);
		assert_true(strstr(e.msg, "truncated") || strstr(e.msg, "not a tar"));
	}
}

static void test_end_without_padding(void **state _unused_)
{
	_cleanup_strbuf_ StrBuf b = {0}, out = {0};
	Err e = {0};

	add_header(&b, '0', "a", 700);
	strbuf_add_n(&b, (char[700]){0}, 700);
	assert_int_equal(read_tar(b.s, b.len, 512, &out, &e), 0);
	assert_non_null(strstr(out.s, "a"));
	strbuf_add_n(&b, "", 1);
	assert_true(read_tar(b.s, b.len, 512, &out, &e) < 0);
	assert_non_null(strstr(e.msg, "truncated"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_dialects),
	    cmocka_unit_test(test_sparse_formats), cmocka_unit_test(test_lies_are_refused),
	    cmocka_unit_test(test_cut_anywhere),   cmocka_unit_test(test_end_without_padding),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
