/* SPDX-License-Identifier: Apache-2.0 */
#include "extract.h"
#include "base/str.h"
#include "base/test-dir.h"

typedef struct Archive {
	StrBuf b;
	size_t at;
	TarWriter *w;
} Archive;

static int add(void *user, const void *data, size_t n, Err *e)
{
	strbuf_add_n(&((Archive *)user)->b, data, n);
	return 0;
}

static ssize_t take(void *user, void *buf, size_t cap, Err *e)
{
	Archive *a = user;
	size_t n = MIN2(cap, a->b.len - a->at);

	memcpy(buf, a->b.s + a->at, n);
	a->at += n;
	return (ssize_t)n;
}

static void begin(Archive *a)
{
	*a = (Archive){.w = calloc(1, sizeof(TarWriter))};
	assert_non_null(a->w);
	a->w->sink = add;
	a->w->user = a;
}

static void put(Archive *a, const char *name, mode_t mode, const char *text)
{
	bool link = S_ISLNK(mode);
	TarEntry t = {.name = name,
		      .mode = mode,
		      .mtime = 1000,
		      .link = link ? text : NULL,
		      .size = link || !text ? 0 : (int64_t)strlen(text)};

	assert_int_equal(tar_write_entry(a->w, &t, NULL), 0);
	if (!link && text)
		assert_int_equal(tar_write_data(a->w, text, strlen(text), NULL), 0);
}

static int unpack(Archive *a, int dirfd, const char *name, Err *e)
{
	Extract x = {.dirfd = dirfd, .name = name};

	assert_int_equal(tar_write_end(a->w, NULL), 0);
	TarReader *r = tar_reader_new(take, a);
	int result = extract_all(&x, r, e);
	tar_reader_free(r);
	free(a->w);
	strbuf_done(&a->b);
	return result;
}

static void expect_file(int dirfd, const char *path, const char *want)
{
	_cleanup_free_ char *got = NULL;

	assert_int_equal(file_read_at(dirfd, path, 1 << 16, &got, NULL), 0);
	assert_string_equal(got, want);
}

static void top_is_renamed(void **state)
{
	TestDir *d = *state;
	Archive a;
	struct stat st;

	begin(&a);
	put(&a, "src", S_IFDIR | 0750, NULL);
	put(&a, "src/f", S_IFREG | 04644, "text");
	put(&a, "src/sub", S_IFDIR | 0700, NULL);
	put(&a, "src/sub/g", S_IFREG | 0600, "");
	put(&a, "src/l", S_IFLNK | 0777, "f");
	assert_int_equal(unpack(&a, d->fd, "dst", NULL), 0);
	expect_file(d->fd, "dst/f", "text");
	expect_file(d->fd, "dst/l", "text");
	expect_file(d->fd, "dst/sub/g", "");
	assert_int_equal(fstatat(d->fd, "dst/f", &st, 0), 0);
	/* A set-user-id program of ours is not what a container may plant. */
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(st.st_mtim.tv_sec, 1000);
	assert_int_equal(fstatat(d->fd, "dst", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(st.st_mtim.tv_sec, 1000);
}

static void contents_only(void **state)
{
	TestDir *d = *state;
	Archive a;

	begin(&a);
	put(&a, "./", S_IFDIR | 0700, NULL);
	put(&a, "./x", S_IFREG | 0600, "1");
	put(&a, "./d/y", S_IFREG | 0600, "2");
	assert_int_equal(unpack(&a, d->fd, "", NULL), 0);
	expect_file(d->fd, "x", "1");
	expect_file(d->fd, "d/y", "2");
}

static void files_are_replaced_not_written_through(void **state)
{
	TestDir *d = *state;
	Archive a;

	assert_int_equal(file_replace_at(d->fd, "precious", "keep", 4, 0600, false), 0);
	assert_int_equal(symlinkat("precious", d->fd, "f"), 0);
	begin(&a);
	put(&a, "f", S_IFREG | 0600, "new");
	assert_int_equal(unpack(&a, d->fd, "f", NULL), 0);
	expect_file(d->fd, "f", "new");
	expect_file(d->fd, "precious", "keep");
}

/* Names and links that try to get out of the target. */
static void nothing_gets_out(void **state)
{
	TestDir *d = *state;
	Archive a;
	struct stat st;

	assert_int_equal(mkdirat(d->fd, "in", 0700), 0);
	assert_int_equal(mkdirat(d->fd, "out", 0700), 0);
	_cleanup_close_ int in = openat(d->fd, "in", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *outside = strf("%s/out", d->path);
	begin(&a);
	put(&a, "top", S_IFDIR | 0700, NULL);
	put(&a, "top/../../../out/a", S_IFREG | 0600, "a");
	put(&a, "top/up", S_IFLNK | 0777, "../../out");
	put(&a, "top/up/b", S_IFREG | 0600, "b");
	put(&a, "top/abs", S_IFLNK | 0777, outside);
	put(&a, "top/abs/c", S_IFREG | 0600, "c");
	put(&a, "/etc/../out/d", S_IFREG | 0600, "d");
	assert_int_equal(unpack(&a, in, "top", NULL), 0);
	for (const char *const *n = (const char *const[]){"out/a", "out/b", "out/c", "out/d", NULL}; *n; n++)
		assert_int_equal(fstatat(d->fd, *n, &st, 0), -1);
	/* A hard link to something outside is refused too. */
	assert_int_equal(file_replace_at(d->fd, "secret", "s", 1, 0600, false), 0);
	begin(&a);
	assert_int_equal(
	    tar_write_entry(a.w,
			    &(TarEntry){.name = "top/h", .link = "../secret", .hard = true, .mode = S_IFREG},
			    NULL),
	    0);
	assert_true(unpack(&a, in, "top", NULL) < 0);
}

static void kinds_are_not_mixed(void **state)
{
	TestDir *d = *state;
	Archive a;
	Err e = {0};

	assert_int_equal(mkdirat(d->fd, "dir", 0700), 0);
	assert_int_equal(file_replace_at(d->fd, "file", "", 0, 0600, false), 0);
	begin(&a);
	put(&a, "x", S_IFREG | 0600, "x");
	assert_true(unpack(&a, d->fd, "dir", &e) < 0);
	assert_string_equal(e.msg, "dir: cannot overwrite directory with non-directory");
	begin(&a);
	put(&a, "x", S_IFDIR | 0700, NULL);
	assert_true(unpack(&a, d->fd, "file", &e) < 0);
	assert_string_equal(e.msg, "file: cannot overwrite non-directory with directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_in_dir(top_is_renamed),
	    test_in_dir(contents_only),
	    test_in_dir(files_are_replaced_not_written_through),
	    test_in_dir(nothing_gets_out),
	    test_in_dir(kinds_are_not_mixed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
