/* SPDX-License-Identifier: Apache-2.0 */
/* The log that a kubelet reads: its lines, and what becomes of them when it renames the file. */
#include "shim/logger.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/test-dir.h"

#include <sys/stat.h>

static int try_open(const TestDir *d, const char *name, Logger **ret, Err *e)
{
	_cleanup_free_ char *path = strf("%s/%s", d->path, name);
	_cleanup_json_ json_t *doc = json_pack("{s:s, s:s}", "driver", "cri", "path", path);

	return logger_open(doc, NULL, ret, e);
}

static Logger *open_log(const TestDir *d)
{
	Logger *l = NULL;
	Err e = {0};

	if (try_open(d, "0.log", &l, &e) < 0)
		fail_msg("%s", e.msg);
	return l;
}

/* The lines without their times, which are looked at. */
static char *lines_of(const TestDir *d, const char *name)
{
	_cleanup_free_ char *all = NULL;
	_cleanup_strbuf_ StrBuf b = {0};
	size_t len;

	assert_int_equal(file_read_at(d->fd, name, 64 << 20, &all, &len), 0);
	for (const char *p = all, *nl; p < all + len; p = nl + 1) {
		char when[32] = {0};
		int64_t ns;

		nl = memchr(p, '\n', len - (size_t)(p - all));
		assert_non_null(nl);
		memcpy(when, p, 30);
		assert_int_equal(p[29], 'Z');
		assert_int_equal(clock_parse(when, &ns), 0);
		strbuf_add_n(&b, p + 31, (size_t)(nl - p) - 30);
	}
	strbuf_add_c(&b, '\0');
	return strbuf_steal(&b);
}

static void assert_lines(const TestDir *d, const char *name, const char *want)
{
	_cleanup_free_ char *got = lines_of(d, name);

	assert_string_equal(got, want);
}

static void test_lines(void **state)
{
	const TestDir *d = *state;
	Logger *l = open_log(d);
	struct stat st;

	logger_write(l, 0, "one\n\ntwo\r\n\r\r\n\r", 14);
	logger_write(l, 1, "err \"\\\n", 7);
	logger_write(l, 0, "\nla", 3);
	logger_write(l, 0, "st", 2);
	assert_lines(d, "0.log",
		     "stdout F one\nstdout F \nstdout F two\nstdout F \r\nstderr F err \"\\\nstdout F \n");
	/* What its stream's end cuts off is part of a line. */
	logger_end(l, 0);
	logger_close(l);
	assert_lines(d, "0.log",
		     "stdout F one\nstdout F \nstdout F two\nstdout F \r\nstderr F err \"\\\nstdout F "
		     "\nstdout P last\n");
	assert_int_equal(fstatat(d->fd, "0.log", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777 & ~0640, 0);
}

/* Pieces of 16 KiB; a line of exactly that length is whole. */
static void test_long_lines(void **state)
{
	const TestDir *d = *state;
	static char in[2 * LOG_RECORD_MAX + 8];
	_cleanup_free_ char *got = NULL;
	Logger *l = open_log(d);
	char *p;

	memset(in, 'x', sizeof(in));
	in[2 * LOG_RECORD_MAX] = '\r';
	in[2 * LOG_RECORD_MAX + 1] = '\n';
	logger_write(l, 0, in, 2 * LOG_RECORD_MAX + 2);
	in[LOG_RECORD_MAX] = '\n';
	logger_write(l, 0, in, LOG_RECORD_MAX + 1);
	logger_close(l);
	got = p = lines_of(d, "0.log");
	for (int i = 0; i < 2; i++) {
		assert_true(str_starts(p, "stdout P x"));
		assert_int_equal(strcspn(p, "\n"), LOG_RECORD_MAX + 9);
		p += LOG_RECORD_MAX + 10;
	}
	assert_true(str_starts(p, "stdout F \n"));
	p += 10;
	assert_true(str_starts(p, "stdout F x"));
	assert_int_equal(strlen(p), LOG_RECORD_MAX + 10);
}

/* Bytes are bytes: only a newline ends a record. */
static void test_bytes(void **state)
{
	const TestDir *d = *state;
	Logger *l = open_log(d);
	_cleanup_free_ char *all = NULL;
	char in[256], *nl;
	size_t len;

	for (int i = 0; i < 256; i++)
		in[i] = (char)(i == '\n' ? 0 : i);
	in[255] = '\n';
	logger_write(l, 1, in, sizeof(in));
	logger_close(l);
	assert_int_equal(file_read_at(d->fd, "0.log", 4096, &all, &len), 0);
	assert_int_equal(len, 40 + sizeof(in));
	assert_memory_equal(all + 40, in, sizeof(in));
	nl = memchr(all, '\n', len);
	assert_ptr_equal(nl, all + len - 1);
}

static void test_reopened(void **state)
{
	const TestDir *d = *state;
	Logger *l = open_log(d);
	Err e = {0};

	logger_write(l, 0, "one\nbeg", 7);
	assert_int_equal(renameat(d->fd, "0.log", d->fd, "old"), 0);
	logger_write(l, 0, "un\ntwo\nthr", 10);
	assert_int_equal(logger_reopen(l, &e), 0);
	assert_int_equal(faccessat(d->fd, "0.log", F_OK, 0), 0);
	logger_write(l, 0, "ee\n", 3);
	/* Again, without a rename: nothing is lost. */
	assert_int_equal(logger_reopen(l, &e), 0);
	logger_write(l, 0, "four\n", 5);
	/* Removed: made anew. */
	assert_int_equal(unlinkat(d->fd, "0.log", 0), 0);
	assert_int_equal(logger_reopen(l, &e), 0);
	logger_write(l, 1, "five\n", 5);
	logger_close(l);
	assert_lines(d, "old", "stdout F one\nstdout F begun\nstdout F two\n");
	assert_lines(d, "0.log", "stderr F five\n");
	assert_int_equal(logger_reopen(NULL, &e), 0);
}

/* What has its name is a link, a directory or a FIFO: it is left alone, and the old file goes on. */
static void test_hostile_names(void **state)
{
	const TestDir *d = *state;
	Logger *l = open_log(d), *other = NULL;
	Err e = {0};

	logger_write(l, 0, "one\n", 4);
	assert_int_equal(renameat(d->fd, "0.log", d->fd, "old"), 0);
	assert_int_equal(file_replace_at(d->fd, "victim", "precious", 8, 0600, false), 0);
	for (int kind = 0; kind < 3; kind++) {
		if (kind == 0)
			assert_int_equal(symlinkat("victim", d->fd, "0.log"), 0);
		else if (kind == 1)
			assert_int_equal(mkfifoat(d->fd, "0.log", 0600), 0);
		else
			assert_int_equal(mkdirat(d->fd, "0.log", 0700), 0);
		e = (Err){0};
		assert_true(logger_reopen(l, &e) < 0);
		assert_non_null(strstr(e.msg, "0.log"));
		assert_true(try_open(d, "0.log", &other, &e) < 0);
		logger_write(l, 0, "more\n", 5);
		assert_int_equal(unlinkat(d->fd, "0.log", kind == 2 ? AT_REMOVEDIR : 0), 0);
	}
	logger_close(l);
	assert_lines(d, "old", "stdout F one\nstdout F more\nstdout F more\nstdout F more\n");
	_cleanup_free_ char *victim = NULL;
	assert_int_equal(file_read_at(d->fd, "victim", 64, &victim, NULL), 0);
	assert_string_equal(victim, "precious");
	assert_true(try_open(d, "missing/0.log", &other, &e) < 0);
}

/* A power cut in the middle of a line. */
static void test_torn(void **state)
{
	const TestDir *d = *state;
	Logger *l;

	assert_int_equal(file_replace_at(d->fd, "0.log", "2026-11-26T21:50:33.123456789Z stdout F a\n2026-11",
					 49, 0640, false),
			 0);
	l = open_log(d);
	logger_write(l, 0, "b\n", 2);
	logger_close(l);
	assert_lines(d, "0.log", "stdout F a\nstdout F b\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_in_dir(test_lines),    test_in_dir(test_long_lines),    test_in_dir(test_bytes),
	    test_in_dir(test_reopened), test_in_dir(test_hostile_names), test_in_dir(test_torn),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
