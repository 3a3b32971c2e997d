/* SPDX-License-Identifier: Apache-2.0 */
/* Strings, buffers, vectors, and the log lines that are made of them. */
#include "base/str.h"
#include "base/log.h"
#include "base/test.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

static void test_prefixes(void **state _unused_)
{
	assert_true(str_starts("sha256:ab", "sha256:"));
	assert_false(str_starts("sha", "sha256:"));
	assert_true(str_ends("a.json", ".json"));
	assert_false(str_ends("n", ".json"));
	assert_string_equal(str_after("sha256:ab", "sha256:"), "ab");
	assert_null(str_after("md5:ab", "sha256:"));
}

static void test_numbers(void **state _unused_)
{
	uint64_t u = 7;
	int64_t i = 7;
	int n = 7;

	assert_int_equal(str_to_u64("18446744073709551615", &u), 0);
	assert_true(u == UINT64_MAX);
	assert_int_equal(str_to_u64("18446744073709551616", &u), -ERANGE);
	assert_int_equal(str_to_u64("-1", &u), -EINVAL);
	assert_int_equal(str_to_u64("+1", &u), -EINVAL);
	assert_int_equal(str_to_u64(" 1", &u), -EINVAL);
	assert_int_equal(str_to_u64("1x", &u), -EINVAL);
	assert_int_equal(str_to_u64("", &u), -EINVAL);
	assert_true(u == UINT64_MAX);
	assert_int_equal(str_to_i64("-9223372036854775808", &i), 0);
	assert_true(i == INT64_MIN);
	assert_int_equal(str_to_i64("9223372036854775808", &i), -ERANGE);
	assert_int_equal(str_to_i64("-", &i), -EINVAL);
	assert_int_equal(str_to_i64("--1", &i), -EINVAL);
	assert_int_equal(str_to_int("65535", 1, 65535, &n), 0);
	assert_int_equal(n, 65535);
	assert_int_equal(str_to_int("65536", 1, 65535, &n), -ERANGE);
	assert_int_equal(str_to_int("0", 1, 65535, &n), -ERANGE);
	assert_int_equal(n, 65535);
}

static void test_bytes(void **state _unused_)
{
	static const struct {
		const char *s;
		int64_t n;
	} good[] = {
	    {"10", 10},
	    {"0", 0},
	    {"7b", 7},
	    {"64k", 65536},
	    {"64 k", 65536},
	    {"1.5g", 1610612736},
	    {"512MiB", 536870912},
	    {"2mb", 2097152},
	    {"1T", 1LL << 40},
	    {"1p", 1LL << 50},
	};
	static const char *const bad[] = {"", "x", "-1", "1x", "1kk", "1bb", "k", "1kib1", "1bi"};
	int64_t n = 0;

	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		assert_int_equal(str_to_bytes(good[i].s, &n), 0);
		assert_true(n == good[i].n);
	}
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		if (str_to_bytes(bad[i], &n) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
	assert_int_equal(str_to_bytes("999999999p", &n), -ERANGE);
}

static void test_utf8(void **state _unused_)
{
	static const char *const bad[] = {
	    "\x80",
	    "\xC0\xAF",
	    "\xC1\xBF",
	    "\xE0\x80\xAF",
	    "\xED\xA0\x80",
	    "\xF4\x90\x80\x80",
	    "\xF8\x88\x80\x80\x80",
	    "\xE3\x81",
	    "\xFF",
	};

	assert_true(str_is_utf8("", 0));
	assert_true(str_is_utf8("a\xC2\x80\xE3\x81\x82\xF0\x9F\x98\x80\xF4\x8F\xBF\xBF", 14));
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		assert_false(str_is_utf8(bad[i], strlen(bad[i])));
}

static void test_utf8_clean(void **state _unused_)
{
	static const char dirty[] = "a\0\xff\xE3\x81\x82\xE3\x81";
	_cleanup_free_ char *clean = str_utf8_clean(dirty, sizeof(dirty) - 1), *none = str_utf8_clean("x", 0);

	assert_string_equal(clean, "a\xef\xbf\xbd\xef\xbf\xbd\xE3\x81\x82\xef\xbf\xbd\xef\xbf\xbd");
	assert_string_equal(none, "");
}

static void test_trim(void **state _unused_)
{
	_cleanup_free_ char *a = str_trim_dup(" \t a b\r\n"), *b = str_trim_dup("  ");

	assert_string_equal(a, "a b");
	assert_string_equal(b, "");
}

static void test_buffer_grows(void **state _unused_)
{
	_cleanup_strbuf_ StrBuf b = {0};

	for (int i = 0; i < 1000; i++)
		strbuf_addf(&b, "%03d,", i);
	strbuf_add_c(&b, 'x');
	strbuf_add(&b, "yz");
	strbuf_add_n(&b, "\0w", 2);
	assert_int_equal(b.len, 4005);
	assert_memory_equal(b.s + 3996, "999,xyz\0w", 10);

	_cleanup_free_ char *s = strbuf_steal(&b), *empty = strbuf_steal(&b);
	assert_int_equal(strlen(s), 4003);
	assert_string_equal(empty, "");
	assert_null(b.s);
}

static void test_buffer_remembers_failure(void **state _unused_)
{
	_cleanup_strbuf_ StrBuf b = {0};

	strbuf_add(&b, "a");
	strbuf_add_n(&b, "b", SIZE_MAX / 2);
	strbuf_add(&b, "c");
	assert_true(b.oom);
	assert_null(strbuf_steal(&b));
	assert_false(b.oom);
}

static void test_vectors(void **state _unused_)
{
	_cleanup_strv_ char **v = strv_split("a::b", ':');

	assert_int_equal(strv_len(v), 3);
	assert_string_equal(v[1], "");
	assert_int_equal(strv_add(&v, "c"), 0);
	assert_int_equal(strv_take(&v, NULL), -ENOMEM);
	assert_true(strv_has(v, "c"));
	assert_false(strv_has(v, "d"));
	assert_false(strv_has(NULL, "d"));

	_cleanup_strv_ char **copy = strv_dup(v);
	_cleanup_free_ char *joined = strv_join(copy, "--"), *none = strv_join(NULL, ",");
	assert_string_equal(joined, "a----b--c");
	assert_string_equal(none, "");
	assert_int_equal(strv_len(NULL), 0);
}

static void test_environment(void **state _unused_)
{
	_cleanup_strv_ char **env = NULL;

	assert_int_equal(strv_env_set(&env, "PATH=/bin"), 0);
	assert_int_equal(strv_env_set(&env, "PATHX=1"), 0);
	assert_int_equal(strv_env_set(&env, "PATH=/usr/bin=x"), 0);
	assert_int_equal(strv_len(env), 2);
	assert_string_equal(strv_env_get(env, "PATH"), "/usr/bin=x");
	assert_string_equal(strv_env_get(env, "PATHX"), "1");
	assert_null(strv_env_get(env, "PAT"));
	assert_null(strv_env_get(NULL, "PATH"));
}

/* What log_at() wrote: stderr is a pipe for one line. */
static void logged(LogLevel level, const char *message, char *buf, size_t cap)
{
	int p[2], kept = dup(STDERR_FILENO);

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_true(dup2(p[1], STDERR_FILENO) >= 0);
	close(p[1]);
	log_init(LOG_INFO);
	errno = EXDEV;
	log_at(level, "%s", message);
	assert_int_equal(errno, EXDEV);
	assert_true(dup2(kept, STDERR_FILENO) >= 0);
	close(kept);
	ssize_t n = read(p[0], buf, cap - 1);
	close(p[0]);
	assert_true(n >= 0);
	buf[n] = '\0';
}

static void test_log_shows_control_bytes(void **state _unused_)
{
	char line[400];

	logged(LOG_WARN, "a\x1b[2Jb\nc\x7f\xE3\x81\x82\xC2\x9B", line, sizeof(line));
	assert_true(str_ends(line, " warn  a\\x1b[2Jb\\x0ac\\x7f\xE3\x81\x82\\xc2\\x9b\n"));
	assert_int_equal(line[29], 'Z'); /* 2023-11-14T22:13:20.000000000Z */
	logged(LOG_ERROR, "\x9B\xE3\x81\x82", line, sizeof(line));
	assert_true(str_ends(line, " error \\x9b\\xe3\\x81\\x82\n"));
	logged(LOG_DEBUG, "unseen", line, sizeof(line));
	assert_string_equal(line, "");
}

static void test_log_knows_the_journal(void **state _unused_)
{
	int p[2], kept = dup(STDERR_FILENO);
	char env[64], line[64] = "";
	struct stat st;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(fstat(p[1], &st), 0);
	snprintf(env, sizeof(env), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	assert_int_equal(setenv("JOURNAL_STREAM", env, 1), 0);
	assert_true(dup2(p[1], STDERR_FILENO) >= 0);
	log_init(LOG_INFO);
	log_error("no %s", "disk");
	assert_true(dup2(kept, STDERR_FILENO) >= 0);
	assert_true(read(p[0], line, sizeof(line) - 1) > 0);
	assert_string_equal(line, "<3>no disk\n");
	close(p[0]);
	close(p[1]);
	close(kept);

	/* Inherited, but stderr is another file now. */
	logged(LOG_INFO, "x", line, sizeof(line));
	assert_true(str_ends(line, " info  x\n"));
	unsetenv("JOURNAL_STREAM");
}

static void test_log_levels(void **state _unused_)
{
	LogLevel l = LOG_DEBUG;

	assert_int_equal(log_level_parse("warning", &l), 0);
	assert_int_equal(l, LOG_WARN);
	assert_int_equal(log_level_parse("error", &l), 0);
	assert_int_equal(l, LOG_ERROR);
	assert_int_equal(log_level_parse("loud", &l), -EINVAL);
	assert_int_equal(log_level_parse(NULL, &l), -EINVAL);
	assert_int_equal(l, LOG_ERROR);
}

static void test_env_is_unique(void **state _unused_)
{
	_cleanup_strv_ char **v = NULL;
	const char *in[] = {"A=1", "B=", "A=2", "AB=3", "B=4", "=x", "A=5"},
		   *out[] = {"AB=3", "B=4", "=x", "A=5"};

	assert_int_equal(strv_env_unique(v), 0);
	for (size_t i = 0; i < ELEMENTSOF(in); i++)
		assert_int_equal(strv_add(&v, in[i]), 0);
	assert_int_equal(strv_env_unique(v), 0);
	assert_int_equal(strv_len(v), ELEMENTSOF(out));
	for (size_t i = 0; i < ELEMENTSOF(out); i++)
		assert_string_equal(v[i], out[i]);
}

static void apply(char ***env, const char *changes, const char *want)
{
	_cleanup_strv_ char **v = strv_split(changes, ' ');
	_cleanup_free_ char *got = NULL;

	assert_int_equal(strv_env_apply(env, v), 0);
	got = strv_join(*env, " ");
	assert_string_equal(got, want);
}

static void test_env_changes(void **state _unused_)
{
	_cleanup_strv_ char **env = NULL, **many = NULL;

	assert_int_equal(strv_env_apply(&env, NULL), 0);
	assert_int_equal(strv_len(env), 0);
	apply(&env, "PATH=/bin A=1 AB=2", "PATH=/bin A=1 AB=2");
	apply(&env, "A=3 B= A=4", "PATH=/bin A=4 AB=2 B=");
	apply(&env, "A NONE AB=x=y", "PATH=/bin AB=x=y B=");
	apply(&env, "B A=5 A A=6 B=7 =x", "PATH=/bin AB=x=y A=6 B=7 =x");
	/* As many as a document holds. */
	assert_non_null(many = calloc(400001, sizeof(*many)));
	for (int i = 0; i < 400000; i++)
		assert_non_null(many[i] = strf("V%d=%d", i % 300000, i));
	assert_int_equal(strv_env_apply(&env, many), 0);
	assert_int_equal(strv_len(env), 5 + 300000);
	assert_string_equal(env[5], "V0=300000");
	assert_string_equal(env[5 + 299999], "V299999=299999");
	/* A variable that is there twice is one. */
	strv_free(env);
	env = strv_split("A=1 B=2 A=3", ' ');
	apply(&env, "B", "A=3");
}

static void assert_csv(const char *s, const char *want)
{
	_cleanup_strv_ char **v = NULL;
	int r = strv_split_csv(s, &v);
	_cleanup_free_ char *got = r < 0 ? strdup("bad") : strv_join(v, "|");

	assert_string_equal(got, want);
}

static void test_csv(void **state _unused_)
{
	assert_csv("a,b,,c", "a|b||c");
	assert_csv("\"a,b\",c", "a,b|c");
	assert_csv("\"a\"\"b\"", "a\"b");
	assert_csv("", "");
	assert_csv("\"a", "bad");
	assert_csv("\"a\"b", "bad");
	assert_csv("a\"b", "bad");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_prefixes),
	    cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_bytes),
	    cmocka_unit_test(test_utf8),
	    cmocka_unit_test(test_utf8_clean),
	    cmocka_unit_test(test_trim),
	    cmocka_unit_test(test_buffer_grows),
	    cmocka_unit_test(test_buffer_remembers_failure),
	    cmocka_unit_test(test_vectors),
	    cmocka_unit_test(test_environment),
	    cmocka_unit_test(test_csv),
	    cmocka_unit_test(test_log_shows_control_bytes),
	    cmocka_unit_test(test_log_knows_the_journal),
	    cmocka_unit_test(test_log_levels),
	    cmocka_unit_test(test_env_is_unique),
	    cmocka_unit_test(test_env_changes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
