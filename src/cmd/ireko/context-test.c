/* SPDX-License-Identifier: Apache-2.0 */
#include "context.h"
#include "base/str.h"
#include "base/test-dir.h"

typedef struct Archive {
	StrBuf b;
	size_t at;
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

static void file(TestDir *d, const char *name, const char *text)
{
	assert_int_equal(file_replace_at(d->fd, name, text, strlen(text), 0644, false), 0);
}

/* The names in the archive of a context, or the error. *ret_dockerfile is what the engine is told. */
static char *sent(const char *path, const char *dockerfile, char **ret_dockerfile)
{
	Context c = {.fd = -1};
	Err e = {0};
	Archive a = {0};
	_cleanup_strbuf_ StrBuf names = {0};
	_cleanup_free_ TarWriter *w = calloc(1, sizeof(*w));
	TarEntry t;

	if (context_open(path, dockerfile, &c, &e) < 0)
		return strdup(e.msg);
	w->sink = add;
	w->user = &a;
	assert_int_equal(context_write(&c, w, NULL), 0);
	*ret_dockerfile = strdup(c.dockerfile);
	context_done(&c);
	TarReader *r = tar_reader_new(take, &a);
	while (tar_reader_next(r, &t, NULL) > 0)
		strbuf_addf(&names, "%s%s", names.len ? " " : "", t.name);
	tar_reader_free(r);
	strbuf_done(&a.b);
	return strbuf_steal(&names);
}

static void ignored_files_stay(void **state)
{
	TestDir *d = *state;
	_cleanup_free_ char *dockerfile = NULL, *names = NULL;

	assert_int_equal(mkdirat(d->fd, "node_modules", 0755), 0);
	assert_int_equal(mkdirat(d->fd, "src", 0755), 0);
	file(d, "Dockerfile", "FROM x");
	file(d, ".dockerignore", "# comment\n*\n!src\nsrc/*.log\n!node_modules/keep\n");
	file(d, "node_modules/a", "");
	file(d, "node_modules/keep", "");
	file(d, "src/main.c", "");
	file(d, "src/x.log", "");
	names = sent(d->path, NULL, &dockerfile);
	assert_string_equal(names, ".dockerignore Dockerfile node_modules/keep src/ src/main.c");
	assert_string_equal(dockerfile, "Dockerfile");
}

static void dockerfile_in_a_folder(void **state)
{
	TestDir *d = *state;
	_cleanup_free_ char *dockerfile = NULL, *names = NULL,
			    *path = strf("%s/sub dir/My.Dockerfile", d->path);

	assert_int_equal(mkdirat(d->fd, "sub dir", 0755), 0);
	file(d, "sub dir/My.Dockerfile", "FROM x");
	file(d, ".dockerignore", "sub dir");
	names = sent(d->path, path, &dockerfile);
	assert_string_equal(dockerfile, "sub dir/My.Dockerfile");
	assert_string_equal(names, ".dockerignore sub dir/My.Dockerfile");
}

static void dockerfile_from_outside(void **state)
{
	TestDir *d = *state;
	_cleanup_free_ char *dockerfile = NULL, *names = NULL, *path = strf("%s/Other", d->path),
			    *context = strf("%s/ctx", d->path);

	assert_int_equal(mkdirat(d->fd, "ctx", 0755), 0);
	file(d, "Other", "FROM x");
	file(d, "ctx/a", "");
	names = sent(context, path, &dockerfile);
	assert_true(str_starts(dockerfile, ".dockerfile."));
	_cleanup_free_ char *want = strf("a %s", dockerfile);
	assert_string_equal(names, want);
}

static void what_is_missing_is_named(void **state)
{
	TestDir *d = *state;
	_cleanup_free_ char *unused = NULL, *nowhere = strf("%s/nowhere", d->path),
			    *a = sent(d->path, NULL, &unused), *b = sent(nowhere, NULL, &unused),
			    *c = sent(d->path, nowhere, &unused);

	assert_non_null(strstr(a, "Dockerfile"));
	assert_non_null(strstr(a, "No such file"));
	assert_non_null(strstr(b, "nowhere"));
	assert_non_null(strstr(c, "nowhere"));
}

static void lower_case_dockerfile(void **state)
{
	TestDir *d = *state;
	_cleanup_free_ char *dockerfile = NULL, *names = NULL;

	file(d, "dockerfile", "FROM x");
	names = sent(d->path, NULL, &dockerfile);
	assert_string_equal(names, "dockerfile");
	assert_string_equal(dockerfile, "dockerfile");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_in_dir(ignored_files_stay),      test_in_dir(dockerfile_in_a_folder),
	    test_in_dir(dockerfile_from_outside), test_in_dir(what_is_missing_is_named),
	    test_in_dir(lower_case_dockerfile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
