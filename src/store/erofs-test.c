/* SPDX-License-Identifier: Apache-2.0 */
/* Images of layers: the same bytes every time, what they hold, and what the check thinks of damaged ones. That the kernel agrees is
 * tests/integration/test_erofs.py. */
#include "store/erofs-internal.h"

#include "base/fd.h"
#include "base/test.h"
#include "store/tar-write.h"

#include <fcntl.h>
#include <sys/mman.h>

static const char digest[] = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

typedef struct Item {
	const char *name;
	TarType type;
	const char *text; /* contents, or the target of a link */
} Item;

typedef struct Source {
	int fd;
	uint8_t buf[700];
} Source;

static int make_tar(const Item *items, size_t n)
{
	_cleanup_(tar_writer_freep) TarWriter *w = NULL;
	int fd = memfd_create("tar", MFD_CLOEXEC);
	Err e = {0};

	assert_int_equal(tar_writer_new(fd, NULL, &w, &e), 0);
	for (size_t i = 0; i < n; i++) {
		bool file = items[i].type == TAR_FILE;
		TarXattr x = {(char[]){"user.color"}, (char[]){"green"}, 5};
		TarEntry t = {.type = items[i].type,
			      .name = (char *)(uintptr_t)items[i].name,
			      .link = file ? NULL : (char *)(uintptr_t)items[i].text,
			      .mode = 0640,
			      .mtime_s = 1000 + (int64_t)i,
			      .dev_minor = 7,
			      .xattrs = &x,
			      .n_xattrs = i == 0,
			      .size = file && items[i].text ? (int64_t)strlen(items[i].text) : 0};

		assert_int_equal(tar_write_header(w, &t, &e), 0);
		if (t.size)
			assert_int_equal(tar_write_data(w, items[i].text, (size_t)t.size, &e), 0);
	}
	assert_int_equal(tar_writer_end(w, &e), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static ssize_t next_piece(void *user, const uint8_t **ret, Err *e)
{
	Source *s = user;
	ssize_t n = fd_read_full(s->fd, s->buf, sizeof(s->buf));

	*ret = s->buf;
	return n;
}

/* The image of a tar, or the failure of one of its entries. */
static int try_image(const Item *items, size_t n, int64_t max_bytes, int *ret, Err *e)
{
	_cleanup_(erofs_layer_freep) ErofsLayer *l = NULL;
	_cleanup_(tar_reader_freep) TarReader *t = NULL;
	_cleanup_close_ int tar = make_tar(items, n), fd = memfd_create("image", MFD_CLOEXEC);
	Source s = {.fd = tar};
	const TarEntry *entry;
	int64_t bytes;
	int r;

	assert_int_equal(erofs_layer_new(max_bytes, 100, &l, e), 0);
	assert_int_equal(tar_reader_new(next_piece, &s, &t, e), 0);
	while ((r = tar_next(t, &entry, e)) > 0) {
		r = erofs_layer_add(l, t, entry, e);
		if (r < 0)
			return r;
	}
	assert_int_equal(r, 0);
	assert_int_equal(lseek(tar, 0, SEEK_SET), 0);
	assert_int_equal(lseek(fd, EROFS_TAR_AT, SEEK_SET), EROFS_TAR_AT);
	bytes = fd_copy(tar, fd);
	assert_true(bytes > 0);
	r = erofs_layer_write(l, fd, bytes, digest, e);
	if (r >= 0)
		*ret = take_fd(&fd);
	return r;
}

static int make_image(const Item *items, size_t n)
{
	Err e = {0};
	int fd = -1;

	if (try_image(items, n, 1 << 20, &fd, &e) < 0)
		fail_msg("%s", e.msg);
	return fd;
}

static const Item some[] = {{"a", TAR_FILE, "contents"},  {"d/e/f", TAR_FILE, ""},  {"d/l", TAR_SYMLINK, "e"},
			    {"d/l/g", TAR_FILE, "g"},     {"h", TAR_HARDLINK, "a"}, {".wh.gone", TAR_FILE},
			    {"d/.wh..wh..opq", TAR_FILE}, {"c", TAR_CHAR},          {"p", TAR_FIFO}};

static void test_images_are_good(void **state _unused_)
{
	_cleanup_close_ int fd = make_image(some, ELEMENTSOF(some)), empty = make_image(some, 0);
	int64_t tar_bytes = 0;
	Err e = {0};

	if (erofs_check(fd, &tar_bytes, &e) < 0 || erofs_check(empty, NULL, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(tar_bytes % TAR_BLOCK, 0);
	assert_true(tar_bytes > (int64_t)(ELEMENTSOF(some) * TAR_BLOCK));
}

static void test_same_bytes(void **state _unused_)
{
	_cleanup_close_ int one = make_image(some, ELEMENTSOF(some)),
			    two = make_image(some, ELEMENTSOF(some));
	static uint8_t a[1 << 16], b[1 << 16];
	ssize_t n = fd_pread_full(one, a, sizeof(a), 0);

	assert_true(n > EROFS_TAR_AT && n < (ssize_t)sizeof(a));
	assert_int_equal(fd_pread_full(two, b, sizeof(b), 0), n);
	assert_memory_equal(a, b, (size_t)n);
}

/* Each byte of the metadata in turn is another one: the check refuses it or finds a sensible image, and what it
 * looks after is refused always. */
static void test_damage(void **state _unused_)
{
	_cleanup_close_ int fd = make_image(some, ELEMENTSOF(some));
	off_t end = lseek(fd, 0, SEEK_END);
	size_t refused = 0, tried = 0;
	int64_t tar_bytes;

	assert_int_equal(erofs_tar_bytes(fd, &tar_bytes, NULL), 0);
	for (off_t at = 0; at < end; at++) {
		uint8_t was, other;

		if (at == EROFS_SUPER_AT + 128)
			at = (EROFS_TAR_AT + tar_bytes) & ~(off_t)511;
		assert_int_equal(pread(fd, &was, 1, at), 1);
		other = (uint8_t)~was;
		assert_int_equal(pwrite(fd, &other, 1, at), 1);
		tried++;
		refused += erofs_check(fd, NULL, NULL) < 0;
		assert_true(erofs_check(fd, NULL, NULL) < 0 || at >= EROFS_TAR_AT ||
			    (at >= 12 && at < EROFS_SUPER_AT));
		assert_int_equal(pwrite(fd, &was, 1, at), 1);
	}
	assert_true(refused > 400 && refused < tried);
	assert_int_equal(ftruncate(fd, end - 1), 0);
	assert_true(erofs_check(fd, NULL, NULL) < 0);
}

static void test_refused(void **state _unused_)
{
	static const struct {
		Item items[3];
		const char *words;
	} cases[] = {
	    {{{"../x", TAR_FILE}}, "outside its root"},
	    {{{"a", TAR_FILE}, {"a/b", TAR_FILE}}, "is not a directory"},
	    {{{".wh.a", TAR_FILE}, {"a/b", TAR_FILE}}, "is not a directory"},
	    {{{".wh.a/b", TAR_FILE}}, "a whiteout is no directory"},
	    {{{".wh.", TAR_FILE}}, "names nothing"},
	    {{{"h", TAR_HARDLINK, "b"}}, "not in this archive"},
	    {{{"d", TAR_DIR}, {"h", TAR_HARDLINK, "d"}}, "not a file"},
	    {{{".wh.d", TAR_FILE}, {"h", TAR_HARDLINK, "d"}}, "not a file"},
	    {{{"h", TAR_HARDLINK, "../b"}}, "outside of the root"},
	    {{{"l", TAR_SYMLINK, ""}}, "has no target"},
	    {{{"l", TAR_SYMLINK, "nowhere"}, {"l/a", TAR_FILE}}, "No such file"},
	    {{{"l", TAR_SYMLINK, "l"}, {"l/a", TAR_FILE}}, "Too many levels"},
	    {{{"./", TAR_FILE}}, "replace the root"},
	    {{{"big", TAR_FILE, "12345678901"}}, "larger than the limit"},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		size_t n = 0;
		int fd = -1;
		Err e = {0};

		while (n < 3 && cases[i].items[n].name)
			n++;
		assert_true(try_image(cases[i].items, n, 10, &fd, &e) < 0);
		if (!strstr(e.msg, cases[i].words))
			fail_msg("%s: not \"%s\"", e.msg, cases[i].words);
	}
}

static int note_path(void *user, const char *path, uint64_t inode_at, Err *e)
{
	char *all = user;

	sprintf(all + strlen(all), "[%s]", path);
	return 0;
}

static void test_implied(void **state _unused_)
{
	_cleanup_(erofs_layer_freep) ErofsLayer *l = NULL;
	_cleanup_(tar_reader_freep) TarReader *t = NULL;
	static const Item items[] = {{"a/b/c/f", TAR_FILE},
				     {"a/b/", TAR_DIR},
				     {"x/y/f", TAR_FILE},
				     {"x", TAR_SYMLINK, "a"},
				     {"x/z/f", TAR_FILE}};
	_cleanup_close_ int tar = make_tar(items, ELEMENTSOF(items)), fd = memfd_create("image", MFD_CLOEXEC);
	Source s = {.fd = tar};
	const TarEntry *entry;
	char all[200] = "";
	Err e = {0};

	assert_int_equal(erofs_layer_new(1, 100, &l, &e), 0);
	assert_int_equal(tar_reader_new(next_piece, &s, &t, &e), 0);
	while (tar_next(t, &entry, &e) > 0)
		if (erofs_layer_add(l, t, entry, &e) < 0)
			fail_msg("%s", e.msg);
	assert_int_equal(erofs_layer_write(l, fd, 0, digest, &e), 0);
	assert_int_equal(erofs_layer_each_implied(l, note_path, all, &e), 0);
	assert_string_equal(all, "[][a][a/b/c][a/z]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_images_are_good), cmocka_unit_test(test_same_bytes),
	    cmocka_unit_test(test_damage),          cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_implied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
