/* SPDX-License-Identifier: Apache-2.0 */
#include "tar.h"
#include "base/str.h"
#include "base/test-dir.h"
#include "tar-tree.h"

#include <sys/wait.h>

typedef struct Archive {
	StrBuf b;
	size_t at;
	size_t stop_after; /* the sink refuses more, 0: never */
} Archive;

static int add(void *user, const void *data, size_t n, Err *e)
{
	Archive *a = user;

	strbuf_add_n(&a->b, data, n);
	return a->stop_after && a->b.len >= a->stop_after;
}

static ssize_t take(void *user, void *buf, size_t cap, Err *e)
{
	Archive *a = user;
	size_t n = MIN2(cap, a->b.len - a->at);

	memcpy(buf, a->b.s + a->at, n);
	a->at += n;
	return (ssize_t)n;
}

static TarWriter *writer(Archive *a)
{
	TarWriter *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->sink = add;
	w->user = a;
	return w;
}

static char *long_name(size_t n)
{
	char *s = malloc(n + 1);

	memset(s, 'n', n);
	s[n] = '\0';
	return s;
}

static void what_is_written_is_read(void **state)
{
	_cleanup_free_ char *name = long_name(300), *target = long_name(200);
	const TarEntry entries[] = {
	    {.name = "dir", .mode = S_IFDIR | 0755, .uid = 5, .gid = 6, .mtime = 1700000000},
	    {.name = "dir/file", .mode = S_IFREG | 04755, .size = 3, .mtime = 1},
	    {.name = name, .mode = S_IFREG | 0600, .size = 0},
	    {.name = "\xe7\xa7\x81\xe3\x81\xae \xe5\x90\x8d\xe5\x89\x8d",
	     .mode = S_IFREG | 0644,
	     .size = 512},
	    {.name = "link", .link = "dir/file", .mode = S_IFLNK | 0777},
	    {.name = "long link", .link = target, .mode = S_IFLNK | 0777},
	    {.name = "hard", .link = "dir/file", .hard = true, .mode = S_IFREG | 0644},
	    {.name = "fifo", .mode = S_IFIFO | 0600},
	    {.name = "big ids", .mode = S_IFREG | 0644, .uid = 4000000000u, .gid = 3000000},
	};
	char data[512] = "abc";
	Archive a = {0};
	_cleanup_free_ TarWriter *w = writer(&a);

	for (size_t i = 0; i < ELEMENTSOF(entries); i++) {
		assert_int_equal(tar_write_entry(w, &entries[i], NULL), 0);
		assert_int_equal(tar_write_data(w, data, (size_t)entries[i].size, NULL), 0);
	}
	assert_int_equal(tar_write_end(w, NULL), 0);
	assert_int_equal(a.b.len % 512, 0);
	assert_int_equal((size_t)w->total, a.b.len);

	_cleanup_(tar_reader_freep) TarReader *r = tar_reader_new(take, &a);
	TarEntry t;
	for (size_t i = 0; i < ELEMENTSOF(entries); i++) {
		const TarEntry *want = &entries[i];
		char got[600];

		assert_int_equal(tar_reader_next(r, &t, NULL), 1);
		_cleanup_free_ char *dir = strf("%s%s", want->name, S_ISDIR(want->mode) ? "/" : "");
		assert_string_equal(t.name, dir);
		assert_int_equal(t.mode, want->mode);
		assert_int_equal(t.uid, want->uid);
		assert_int_equal(t.gid, want->gid);
		assert_int_equal(t.mtime, want->mtime);
		assert_int_equal(t.hard, want->hard);
		assert_int_equal(t.size, want->size);
		if (want->link)
			assert_string_equal(t.link, want->link);
		/* Contents that nobody reads are passed over. */
		if (i % 2)
			assert_int_equal(tar_reader_data(r, got, sizeof(got), NULL), want->size);
	}
	assert_int_equal(tar_reader_next(r, &t, NULL), 0);
	strbuf_done(&a.b);
}

/* A number that does not fit eleven octal digits. */
static void sizes_beyond_8_gib(void **state)
{
	Archive a = {0};
	_cleanup_free_ TarWriter *w = writer(&a);
	TarEntry t = {.name = "huge", .mode = S_IFREG | 0644, .size = 10LL << 30};

	assert_int_equal(tar_write_entry(w, &t, NULL), 0);
	w->left = 0;
	assert_int_equal(tar_write_end(w, NULL), 0);
	_cleanup_(tar_reader_freep) TarReader *r = tar_reader_new(take, &a);
	assert_int_equal(tar_reader_next(r, &t, NULL), 1);
	assert_int_equal(t.size, 10LL << 30);
	strbuf_done(&a.b);
}

static void tar_agrees(void **state)
{
	TestDir *d = *state;
	_cleanup_free_ char *name = long_name(150), *command = NULL, *listing = NULL;
	Archive a = {0};
	_cleanup_free_ TarWriter *w = writer(&a);

	assert_int_equal(
	    tar_write_entry(w, &(TarEntry){.name = name, .mode = S_IFREG | 0640, .size = 5, .mtime = 1},
			    NULL),
	    0);
	assert_int_equal(tar_write_data(w, "hello", 5, NULL), 0);
	assert_int_equal(tar_write_entry(w, &(TarEntry){.name = "l", .link = "t", .mode = S_IFLNK | 0777},
					 NULL),
			 0);
	assert_int_equal(tar_write_end(w, NULL), 0);
	assert_int_equal(file_replace_at(d->fd, "a.tar", a.b.s, a.b.len, 0600, false), 0);
	command = strf("cd %s && tar -tvf a.tar --numeric-owner > list 2>&1", d->path);
	assert_int_equal(system(command), 0);
	assert_int_equal(file_read_at(d->fd, "list", 1 << 16, &listing, NULL), 0);
	assert_non_null(strstr(listing, "-rw-r----- 0/0"));
	assert_non_null(strstr(listing, name));
	assert_non_null(strstr(listing, "l -> t"));
	strbuf_done(&a.b);
}

static void the_sink_may_refuse(void **state)
{
	char data[1024] = {0};
	Archive a = {.stop_after = 1};
	_cleanup_free_ TarWriter *w = writer(&a);
	int r = tar_write_entry(w, &(TarEntry){.name = "x", .mode = S_IFREG, .size = 1 << 20}, NULL);

	for (int i = 0; r == 0 && i < 1024; i++)
		r = tar_write_data(w, data, sizeof(data), NULL);
	assert_int_equal(r, 1);
	assert_int_equal(tar_write_end(w, NULL), 1);
	assert_int_equal(a.b.len, sizeof(w->buf));
	strbuf_done(&a.b);
}

static void entries_are_whole(void **state)
{
	Archive a = {0};
	_cleanup_free_ TarWriter *w = writer(&a);

	assert_int_equal(tar_write_entry(w, &(TarEntry){.name = "x", .mode = S_IFREG, .size = 4}, NULL), 0);
	assert_true(tar_write_data(w, "12345", 5, NULL) < 0);
	assert_int_equal(tar_write_data(w, "12", 2, NULL), 0);
	assert_true(tar_write_entry(w, &(TarEntry){.name = "y", .mode = S_IFDIR}, NULL) < 0);
	strbuf_done(&a.b);
}

/* Every truncation and every damaged byte of an archive ends in an error or an end, never further. */
static void damaged_archives(void **state)
{
	Archive a = {0};
	_cleanup_free_ TarWriter *w = writer(&a);
	_cleanup_free_ char *name = long_name(120);
	char buf[64];

	assert_int_equal(tar_write_entry(w, &(TarEntry){.name = name, .mode = S_IFREG, .size = 3}, NULL), 0);
	assert_int_equal(tar_write_data(w, "abc", 3, NULL), 0);
	assert_int_equal(tar_write_end(w, NULL), 0);
	for (size_t i = 0; i < a.b.len; i++)
		for (int flip = 0; flip < 2; flip++) {
			Archive bad = {
			    .b = {.s = memcpy(malloc(a.b.len), a.b.s, a.b.len), .len = flip ? a.b.len : i}};
			TarEntry t;
			int n = 0;

			if (flip)
				bad.b.s[i] = (char)~bad.b.s[i];
			TarReader *r = tar_reader_new(take, &bad);
			while (n < 10 && tar_reader_next(r, &t, NULL) > 0) {
				n++;
				while (tar_reader_data(r, buf, sizeof(buf), NULL) > 0)
					;
			}
			assert_true(n <= 1);
			tar_reader_free(r);
			free(bad.b.s);
		}
	strbuf_done(&a.b);
}

static TreeChoice not_b(void *user, const char *path, bool is_dir)
{
	return streq(path, "b") || streq(path, "c/x") ? TREE_SKIP
	       : streq(path, "c")                     ? TREE_SKIP_BUT_ENTER
						      : TREE_TAKE;
}

static void trees(void **state)
{
	TestDir *d = *state;
	Archive a = {0};
	_cleanup_free_ TarWriter *w = writer(&a);
	_cleanup_strbuf_ StrBuf names = {0};
	TarTree tree = {.w = w, .as_root = true, .choose = not_b};
	TarEntry t;

	assert_int_equal(mkdirat(d->fd, "c", 0755), 0);
	assert_int_equal(mkdirat(d->fd, "b", 0755), 0);
	assert_int_equal(file_replace_at(d->fd, "b/in", "x", 1, 0644, false), 0);
	assert_int_equal(file_replace_at(d->fd, "c/x", "x", 1, 0644, false), 0);
	assert_int_equal(file_replace_at(d->fd, "c/y", "yy", 2, 0755, false), 0);
	assert_int_equal(file_replace_at(d->fd, "a", "", 0, 0600, false), 0);
	assert_int_equal(symlinkat("/etc/passwd", d->fd, "z"), 0);
	assert_int_equal(tar_tree_add_directory(&tree, d->fd, "top", NULL), 0);
	assert_int_equal(tar_write_end(w, NULL), 0);
	_cleanup_(tar_reader_freep) TarReader *r = tar_reader_new(take, &a);
	while (tar_reader_next(r, &t, NULL) > 0) {
		assert_int_equal(t.uid, 0);
		strbuf_addf(&names, "%s%s%s;", t.name, t.link ? ">" : "", t.link ? t.link : "");
	}
	assert_string_equal(names.s, "top/a;top/c/y;top/z>/etc/passwd;");
	strbuf_done(&a.b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_written_is_read),
	    cmocka_unit_test(sizes_beyond_8_gib),
	    test_in_dir(tar_agrees),
	    cmocka_unit_test(the_sink_may_refuse),
	    cmocka_unit_test(entries_are_whole),
	    cmocka_unit_test(damaged_archives),
	    test_in_dir(trees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
