/* SPDX-License-Identifier: Apache-2.0 */
/* The log: exact bytes, splitting, rotation, compression, servers, and what a full disk does to it. */
#include "shim/logger.h"

#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "base/test-dir.h"
#include "shim/gzip.h"

#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/vfs.h>

static char *log_path(const TestDir *d, char *buf, size_t cap)
{
	(void)snprintf(buf, cap, "%s/c-json.log", d->path);
	return buf;
}

static Logger *open_doc(json_t *doc, Loop *loop)
{
	Logger *l = NULL;
	Err e = {0};

	if (logger_open(doc, loop, &l, &e) < 0)
		fail_msg("%s", e.msg);
	json_decref(doc);
	return l;
}

static Logger *open_log(const TestDir *d, int64_t max_size, int max_files)
{
	char path[64];

	return open_doc(json_pack("{s:s, s:s, s:I, s:i}", "driver", "json-file", "path",
				  log_path(d, path, sizeof(path)), "max_size", (json_int_t)max_size,
				  "max_files", max_files),
			NULL);
}

static char *slurp(const TestDir *d, const char *name, size_t *ret_len)
{
	char *text = NULL;

	assert_int_equal(file_read_at(d->fd, name, 64 << 20, &text, ret_len), 0);
	return text;
}

/* The texts of all records put together; checks each line is JSON with a time and the right stream. */
static char *texts(const TestDir *d, const char *name, const char *stream, size_t *ret_records)
{
	_cleanup_free_ char *all = slurp(d, name, NULL);
	char *out = calloc(1, strlen(all) + 1), *save = NULL;
	size_t n = 0;

	assert_true(!*all || all[strlen(all) - 1] == '\n');
	for (char *line = strtok_r(all, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		json_error_t je;
		_cleanup_json_ json_t *j = json_loads(line, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);

		if (!j)
			fail_msg("%s: %s", je.text, line);
		if (stream)
			assert_string_equal(json_get_str(j, "stream"), stream);
		assert_int_equal(strlen(json_get_str(j, "time")), 30);
		strcat(out, json_get_str(j, "log"));
		n++;
	}
	if (ret_records)
		*ret_records = n;
	return out;
}

static void test_exact_bytes(void **state)
{
	const TestDir *d = *state;
	_cleanup_free_ char *text = NULL;
	Logger *l = open_log(d, 0, 0);
	static const char in[] = "a\"b\\c\t<&>\r\x01\x7f \xc3\xa9 \xe2\x80\xa8 \xff\xc3 \xed\xa0\x80 "
				 "\xf0\x9f\x98\x80\n";
	static const char out[] = "{\"log\":\"a\\\"b\\\\c\\u0009\\u003c\\u0026\\u003e\\r\\u0001\x7f \xc3\xa9 "
				  "\\u2028 \\ufffd\\ufffd \\ufffd\\ufffd\\ufffd \xf0\x9f\x98\x80\\n\","
				  "\"stream\":\"stderr\",\"time\":\"";
	struct stat st;

	logger_write(l, 1, in, sizeof(in) - 1);
	text = slurp(d, "c-json.log", NULL);
	assert_true(strncmp(text, out, sizeof(out) - 1) == 0);
	assert_string_equal(text + strlen(text) - 4, "Z\"}\n");
	logger_close(l);
	assert_int_equal(fstatat(d->fd, "c-json.log", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777 & ~0640, 0);
}

static void test_lines_are_put_together(void **state)
{
	const TestDir *d = *state;
	_cleanup_free_ char *text = NULL;
	Logger *l = open_log(d, 0, 0);
	size_t n;

	logger_write(l, 0, "one", 3);
	logger_write(l, 0, " line\ntwo\n\nlast", 15);
	free(texts(d, "c-json.log", "stdout", &n));
	assert_int_equal(n, 3);
	logger_end(l, 0);
	text = texts(d, "c-json.log", "stdout", &n);
	assert_int_equal(n, 4);
	assert_string_equal(text, "one line\ntwo\n\nlast");
	logger_close(l);
}

/* Splits at 16 KiB, never inside a character, whatever the pieces of input. */
static void test_long_lines_are_split(void **state)
{
	const TestDir *d = *state;
	static char in[100001];
	size_t len = 0, n, pieces[] = {1, 7, 4096, 16384, sizeof(in)};

	while (len + 3 < sizeof(in) - 1) {
		memcpy(in + len, "私", 3);
		len += 3;
	}
	in[len++] = '\n';
	for (size_t p = 0; p < ELEMENTSOF(pieces); p++) {
		_cleanup_free_ char *text = NULL;
		Logger *l = open_log(d, 0, 0);

		for (size_t i = 0; i < len; i += pieces[p])
			logger_write(l, 0, in + i, MIN2(pieces[p], len - i));
		logger_close(l);
		text = texts(d, "c-json.log", "stdout", &n);
		assert_int_equal(n, (len + 16382) / 16383);
		assert_true(strncmp(text, in, len) == 0 && text[len] == 0);
		assert_int_equal(unlinkat(d->fd, "c-json.log", 0), 0);
	}
}

static void test_random_bytes_stay_valid_json(void **state)
{
	const TestDir *d = *state;
	Logger *l = open_log(d, 0, 0);
	unsigned x = 12345;
	static char in[300000];
	size_t n;

	for (size_t i = 0; i < sizeof(in); i++) {
		x = x * 1103515245 + 12345;
		in[i] = (char)(x >> 16);
		if ((x >> 16) % 64 == 1)
			in[i] = '\n';
	}
	for (size_t i = 0; i < sizeof(in); i += 16384)
		logger_write(l, 0, in + i, MIN2(sizeof(in) - i, (size_t)16384));
	logger_close(l);
	free(texts(d, "c-json.log", "stdout", &n));
	assert_true(n > 1000);
}

static void test_rotation(void **state)
{
	const TestDir *d = *state;
	Logger *l = open_log(d, 2000, 2);
	char line[200];
	int last = -1;

	for (int i = 0; i < 100; i++) {
		int n = snprintf(line, sizeof(line), "%03d %0100d\n", i, 0);

		logger_write(l, 0, line, (size_t)n);
	}
	logger_close(l);
	assert_int_equal(faccessat(d->fd, "c-json.log.3", F_OK, 0), -1);
	assert_int_equal(faccessat(d->fd, "c-json.log.new", F_OK, 0), -1);
	/* From the oldest to the newest: consecutive, ending with the last line. */
	for (const char *const *name =
		 (const char *const[]){"c-json.log.2", "c-json.log.1", "c-json.log", NULL};
	     *name; name++) {
		_cleanup_free_ char *text = texts(d, *name, "stdout", NULL);
		struct stat st;
		char *save = NULL;

		assert_int_equal(fstatat(d->fd, *name, &st, 0), 0);
		assert_true(st.st_size < 2400);
		for (char *s = strtok_r(text, "\n", &save); s; s = strtok_r(NULL, "\n", &save)) {
			assert_true(last < 0 || atoi(s) == last + 1);
			last = atoi(s);
		}
	}
	assert_int_equal(last, 99);
}

static void test_rotation_without_old_files(void **state)
{
	const TestDir *d = *state;
	Logger *l = open_log(d, 1000, 0);

	for (int i = 0; i < 100; i++)
		logger_write(l, 0, "some text\n", 10);
	logger_close(l);
	free(texts(d, "c-json.log", "stdout", NULL));
	assert_int_equal(faccessat(d->fd, "c-json.log.1", F_OK, 0), -1);
}

static void test_torn_record_is_cut_on_open(void **state)
{
	const TestDir *d = *state;
	_cleanup_free_ char *text = NULL;
	Logger *l = open_log(d, 0, 0);
	char path[64], junk[9000];
	int fd;

	logger_write(l, 0, "whole\n", 6);
	logger_close(l);
	fd = open(log_path(d, path, sizeof(path)), O_WRONLY | O_APPEND | O_CLOEXEC);
	memset(junk, 0, sizeof(junk));
	assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
	close(fd);
	l = open_log(d, 0, 0);
	logger_write(l, 0, "next\n", 5);
	logger_close(l);
	text = texts(d, "c-json.log", "stdout", NULL);
	assert_string_equal(text, "whole\nnext\n");
}

static void test_refuses_what_is_no_file(void **state)
{
	const TestDir *d = *state;
	char path[64];
	Logger *l = NULL;
	Err e = {0};

	assert_int_equal(symlinkat("/etc/passwd", d->fd, "c-json.log"), 0);
	_cleanup_json_ json_t *doc =
	    json_pack("{s:s, s:s}", "driver", "json-file", "path", log_path(d, path, sizeof(path)));
	assert_int_equal(logger_open(doc, NULL, &l, &e), -ELOOP);
	assert_null(l);
}

/* A full disk: records are lost whole, the file stays valid, and the loss is noted when there is room again. */
static void fill_disk(const TestDir *small)
{
	_cleanup_free_ char *text = NULL, *note = NULL;
	static char line[5000];
	Logger *l;
	size_t kept;

	l = open_log(small, 0, 0);
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	for (int i = 0; i < 200; i++)
		logger_write(l, 0, line, sizeof(line));
	free(texts(small, "c-json.log", "stdout", &kept));
	assert_in_range(kept, 30, 52);
	assert_int_equal(truncate(log_path(small, (char[64]){0}, 64), 0), 0);
	logger_write(l, 0, "again\n", 6);
	logger_close(l);
	text = texts(small, "c-json.log", NULL, NULL);
	assert_true(asprintf(&note, "[ireko: %zu log records lost: No space left on device]\nagain\n",
			     200 - kept) > 0);
	assert_string_equal(text, note);
}

/* One piece of input makes several stages. The first does not fit on the disk, the second, which is smaller, does: the loss is told between them. */
static void fill_disk_between_stages(const TestDir *small)
{
	_cleanup_free_ char *text = NULL;
	char input[80 * 1000], ballast[216 << 10] = {0};
	_cleanup_close_ int fd = openat(small->fd, "ballast", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	size_t kept;
	unsigned lost;
	Logger *l;

	assert_int_equal(truncate(log_path(small, (char[64]){0}, 64), 0), 0);
	assert_int_equal(write(fd, ballast, sizeof(ballast)), sizeof(ballast));
	l = open_log(small, 0, 0);
	memset(input, 'x', sizeof(input));
	for (size_t i = 999; i < sizeof(input); i += 1000)
		input[i] = '\n';
	logger_write(l, 0, input, sizeof(input));
	logger_close(l);
	text = texts(small, "c-json.log", NULL, &kept);
	assert_int_equal(sscanf(text, "[ireko: %u log records lost: No space left on device]\nx", &lost), 1);
	assert_in_range(lost, 1, 79);
	assert_int_equal(lost + kept - 1, 80);
}

/* The mount is undone whatever the assertions say. */
static int full_disk_setup(void **state)
{
	TestDir *d;

	if (test_dir_setup(state) < 0)
		return -1;
	d = *state;
	if (mount("ireko-test", d->path, "tmpfs", MS_NOSUID, "size=256k") < 0)
		return 0;
	close_fd(&d->fd);
	d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return d->fd < 0 ? -1 : 0;
}

static int full_disk_teardown(void **state)
{
	TestDir *d = *state;

	close_fd(&d->fd);
	(void)umount2(d->path, MNT_DETACH);
	return test_dir_teardown(state);
}

static void test_full_disk(void **state)
{
	const TestDir *d = *state;
	struct statfs fs;

	assert_int_equal(fstatfs(d->fd, &fs), 0);
	if (fs.f_type != TMPFS_MAGIC || fs.f_blocks * (uint64_t)fs.f_bsize != 256 << 10) {
		print_message("skipped: needs root to mount a small tmpfs\n");
		skip();
	}
	fill_disk(d);
	fill_disk_between_stages(d);
}

/* What gunzip makes of a file; malloc'ed. */
static char *gunzip(const TestDir *d, const char *name, size_t *ret_len)
{
	_cleanup_free_ char *command = strf("gzip -dc '%s/%s'", d->path, name);
	FILE *p = popen(command, "r");
	char *text = NULL;

	assert_non_null(p);
	assert_int_equal(fd_read_all(fileno(p), 64 << 20, &text, ret_len), 0);
	assert_int_equal(pclose(p), 0);
	return text;
}

/* Whatever the bytes, gzip reads them back. */
static void test_deflate(void **state)
{
	const TestDir *d = *state;
	_cleanup_free_ char *from = strf("%s/plain", d->path), *to = strf("%s/plain.gz", d->path);
	static char in[300000];
	unsigned x = 1;

	for (size_t n = 0; n <= sizeof(in); n = n < 70 ? n + 1 : n * 3) {
		_cleanup_free_ char *out = NULL;
		size_t len;

		for (size_t i = 0; i < n; i++) {
			x = x * 1103515245 + 12345;
			/* Runs, repetitions near and far, and noise. */
			in[i] = n % 3 == 0 ? 'a' : n % 3 == 1 && i > 40000 ? in[i - 32768] : (char)(x >> 16);
		}
		assert_int_equal(file_replace_at(d->fd, "plain", in, n, 0640, false), 0);
		assert_int_equal(gzip_file(from, to), 0);
		out = gunzip(d, "plain.gz", &len);
		assert_int_equal(len, n);
		assert_memory_equal(out, in, n);
		assert_int_equal(faccessat(d->fd, "plain", F_OK, 0), -1);
	}
}

static void compressed_log(const TestDir *d, Loop *loop)
{
	char path[64], line[200];
	Logger *l = open_doc(json_pack("{s:s, s:s, s:i, s:i, s:b}", "driver", "json-file", "path",
				       log_path(d, path, sizeof(path)), "max_size", 3000, "max_files", 3,
				       "compress", 1),
			     loop);
	int last = -1;

	for (int i = 0; i < 300; i++) {
		int n = snprintf(line, sizeof(line), "%03d %0100d\n", i, 0);

		logger_write(l, 0, line, (size_t)n);
		if (loop)
			(void)loop_once(loop, 0);
	}
	if (loop)
		while (faccessat(d->fd, "c-json.log.1", F_OK, 0) == 0)
			(void)loop_once(loop, 10);
	logger_close(l);
	assert_int_equal(faccessat(d->fd, "c-json.log.4.gz", F_OK, 0), -1);
	for (int i = 3; i >= 1; i--) {
		_cleanup_free_ char *name = strf("c-json.log.%d%s", i, loop || i > 1 ? ".gz" : "");
		_cleanup_free_ char *text = NULL, *copy = NULL;
		char *save = NULL;

		/* Without a loop the last one was ended with the log, and is whole either way. */
		if (faccessat(d->fd, name, F_OK, 0) < 0)
			continue;
		text = str_ends(name, ".gz") ? gunzip(d, name, NULL) : slurp(d, name, NULL);
		assert_int_equal(file_replace_at(d->fd, "unpacked", text, strlen(text), 0640, false), 0);
		copy = texts(d, "unpacked", "stdout", NULL);
		for (char *s = strtok_r(copy, "\n", &save); s; s = strtok_r(NULL, "\n", &save)) {
			assert_true(last < 0 || atoi(s) == last + 1);
			last = atoi(s);
		}
	}
	assert_true(last > 200);
}

static void test_compression(void **state)
{
	Loop loop;
	Err e;

	compressed_log(*state, NULL);
	assert_int_equal(loop_init(&loop, &e), 0);
	compressed_log(*state, &loop);
	loop_done(&loop);
}

/* A crash left a gap in the numbers: the next rotation closes it and nothing is overwritten. */
static void test_gap_is_closed(void **state)
{
	const TestDir *d = *state;
	_cleanup_free_ char *moved = NULL;
	Logger *l;

	assert_int_equal(file_replace_at(d->fd, "c-json.log.1", "{}\n", 3, 0640, false), 0);
	l = open_log(d, 10, 3);
	logger_write(l, 0, "one\ntwo\n", 8);
	logger_close(l);
	moved = slurp(d, "c-json.log.2", NULL);
	assert_string_equal(moved, "{}\n");
	free(texts(d, "c-json.log.1", "stdout", NULL));
}

static void test_attributes(void **state)
{
	const TestDir *d = *state;
	_cleanup_free_ char *text = NULL;
	char path[64];
	Logger *l = open_doc(json_pack("{s:s, s:s, s:s}", "driver", "json-file", "path",
				       log_path(d, path, sizeof(path)), "attrs", "{\"a\":\"b\"}"),
			     NULL);

	logger_write(l, 0, "x\n", 2);
	logger_close(l);
	text = slurp(d, "c-json.log", NULL);
	assert_non_null(
	    str_after(text, "{\"log\":\"x\\n\",\"stream\":\"stdout\",\"attrs\":{\"a\":\"b\"},\"time\":\"2"));
}

static Logger *open_local(const TestDir *d)
{
	char path[64];

	return open_doc(json_pack("{s:s, s:s}", "driver", "local", "path", log_path(d, path, sizeof(path))),
			NULL);
}

static void test_local_format(void **state)
{
	const TestDir *d = *state;
	_cleanup_free_ char *text = NULL;
	Logger *l = open_local(d);
	static const char head[] = "\0\0\0\x18\x0a\x06stderr\x10", middle[] = "\x1a\x04<\xff\"\n";
	size_t len;

	logger_write(l, 1, "<\xff\"\\\npart", 9);
	logger_close(l);
	text = slurp(d, "c-json.log", &len);
	/* Times have nine bytes as varints until 2262. */
	assert_int_equal(len, 4 + 24 + 4 + 4 + 26 + 4);
	assert_memory_equal(text, head, sizeof(head) - 1);
	assert_memory_equal(text + sizeof(head) - 1 + 9, middle, 5);
	assert_memory_equal(text + 28, "\0\0\0\x18\0\0\0\x1a", 8);
	assert_memory_equal(text + len - 4 - 6, "part\x20\x01\0\0\0\x1a", 10);
}

static void test_torn_local_record_is_cut(void **state)
{
	const TestDir *d = *state;
	struct stat st, now;
	char path[64];
	Logger *l = open_local(d);

	for (int i = 0; i < 100; i++)
		logger_write(l, 0, "whole\n", 6);
	logger_close(l);
	assert_int_equal(fstatat(d->fd, "c-json.log", &st, 0), 0);
	for (off_t cut = 1; cut < st.st_size / 100; cut++) {
		assert_int_equal(truncate(log_path(d, path, sizeof(path)), st.st_size - cut), 0);
		logger_close(open_local(d));
		assert_int_equal(fstatat(d->fd, "c-json.log", &now, 0), 0);
		assert_int_equal(now.st_size, st.st_size / 100 * 99);
		l = open_local(d);
		logger_write(l, 0, "whole\n", 6);
		logger_close(l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_in_dir(test_exact_bytes),
	    test_in_dir(test_lines_are_put_together),
	    test_in_dir(test_long_lines_are_split),
	    test_in_dir(test_random_bytes_stay_valid_json),
	    test_in_dir(test_rotation),
	    test_in_dir(test_rotation_without_old_files),
	    test_in_dir(test_torn_record_is_cut_on_open),
	    test_in_dir(test_refuses_what_is_no_file),
	    test_in_dir(test_deflate),
	    test_in_dir(test_compression),
	    test_in_dir(test_gap_is_closed),
	    test_in_dir(test_attributes),
	    test_in_dir(test_local_format),
	    test_in_dir(test_torn_local_record_is_cut),
	    cmocka_unit_test_setup_teardown(test_full_disk, full_disk_setup, full_disk_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
