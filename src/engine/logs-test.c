/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/logs.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/test-dir.h"

#include <pthread.h>
#include <sys/eventfd.h>

/* ---- one line ---- */

static void decodes(const char *line, int stream, const char *text, size_t len)
{
	_cleanup_strbuf_ StrBuf scratch = {0};
	LogRecord r;

	if (log_record_decode(line, strlen(line), &scratch, &r) < 0)
		fail_msg("not decoded: %s", line);
	assert_int_equal(r.stream, stream);
	assert_int_equal(r.len, len);
	assert_memory_equal(r.text, text, len);
}

static void refused(const char *line)
{
	_cleanup_strbuf_ StrBuf scratch = {0};
	LogRecord r;

	assert_int_equal(log_record_decode(line, strlen(line), &scratch, &r), -EINVAL);
}

#define TAIL(s) "\",\"stream\":\"" s "\",\"time\":\"2026-11-25T02:03:04.123456789Z\"}"
#define LINE(t) "{\"log\":\"" t TAIL("stdout")

static void lines(void **state)
{
	decodes(LINE("hello\\n"), 1, "hello\n", 6);
	decodes("{\"log\":\"" TAIL("stderr"), 2, "", 0);
	decodes(LINE("\\\"\\\\\\/\\b\\f\\r\\t\\u003c\\u00e9\\u20ac\\ufffd"), 1,
		"\"\\/\b\f\r\t<\xc3\xa9\xe2\x82\xac\xef\xbf\xbd", 16);
	decodes(LINE("a\\u0000b"), 1, "a\0b", 3);
	decodes(LINE("\\ud83d\\ude00"), 1, "\xf0\x9f\x98\x80", 4); /* a surrogate pair: jansson's way */
	/* Docker's own writer, other order and members. */
	decodes(
	    "{\"time\":\"2026-11-25T02:03:04Z\",\"attrs\":{\"a\":\"b\"},\"stream\":\"stderr\",\"log\":\"x\"}",
	    2, "x", 1);
	decodes(
	    "{\"log\":\"x\",\"stream\":\"stdout\",\"attrs\":{\"a\":\"b\"},\"time\":\"2026-11-25T02:03:04Z\"}",
	    1, "x", 1);
}

static void bad_lines(void **state)
{
	refused("");
	refused("{");
	refused("[]");
	refused("null");
	refused("{\"log\":\"x");
	refused("{\"log\":\"x\\");
	refused("{\"log\":\"x\\u12");
	refused("{\"log\":1,\"stream\":\"stdout\",\"time\":\"2026-11-25T02:03:04Z\"}");
	refused("{\"log\":\"x\",\"stream\":\"stdout\",\"time\":\"yesterday\"}");
	refused("{\"log\":\"x\",\"stream\":\"stdout\"}");
	refused(LINE("\xff"));
	refused(LINE("\\ud83d"));
	refused(LINE("ok") "x");
}

static void time_is_read(void **state)
{
	_cleanup_strbuf_ StrBuf scratch = {0};
	int64_t want;
	LogRecord r;

	assert_int_equal(clock_parse("2026-11-25T02:03:04.123456789Z", &want), 0);
	assert_int_equal(log_record_decode(LINE("x"), strlen(LINE("x")), &scratch, &r), 0);
	assert_true(r.time_ns == want);
}

/* ---- one line of a pod's log ---- */

#define CRI(rest) "2026-11-25T02:03:04.123456789Z " rest

static void cri_decodes(const char *line, size_t n, int stream, const char *text, size_t len)
{
	_cleanup_strbuf_ StrBuf scratch = {0};
	int64_t want;
	LogRecord r;

	assert_int_equal(clock_parse("2026-11-25T02:03:04.123456789Z", &want), 0);
	if (log_cri_decode(line, n, &scratch, &r) < 0)
		fail_msg("not decoded: %s", line);
	assert_int_equal(r.stream, stream);
	assert_int_equal(r.len, len);
	assert_memory_equal(r.text, text, len);
	assert_true(r.time_ns == want);
}

static void cri_lines(void **state)
{
	static const char zeros[] = CRI("stdout F a\0 b\xff");
	static const char *const bad[] = {
	    "",
	    "x",
	    CRI(""),
	    CRI("stdout"),
	    CRI("stdout F"),
	    CRI("stdin F x"),
	    CRI("stdout  x"),
	    CRI(" stdout F x"),
	    "yesterday stdout F x",
	    "2026-11-25T02:03:04.123456789Z\tstdout F x",
	    "2026-11-25T02:03:04.123456789123456789123456789123456789Z stdout F x",
	    "{\"log\":\"x\"}"};

	cri_decodes(CRI("stdout F hello"), strlen(CRI("stdout F hello")), 1, "hello\n", 6);
	cri_decodes(CRI("stderr P part "), strlen(CRI("stderr P part ")), 2, "part ", 5);
	cri_decodes(CRI("stderr F "), strlen(CRI("stderr F ")), 2, "\n", 1);
	cri_decodes(CRI("stderr P "), strlen(CRI("stderr P ")), 2, "", 0);
	cri_decodes(CRI("stdout P:new x"), strlen(CRI("stdout P:new x")), 1, "x", 1);
	cri_decodes(CRI("stdout F:P x"), strlen(CRI("stdout F:P x")), 1, "x\n", 2);
	cri_decodes("2026-11-25T03:03:04.123456789+01:00 stdout F x", 46, 1, "x\n", 2);
	cri_decodes(zeros, sizeof(zeros) - 1, 1, "a\0 b\xff\n", 6);
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		_cleanup_strbuf_ StrBuf scratch = {0};
		LogRecord r;

		if (log_cri_decode(bad[i], strlen(bad[i]), &scratch, &r) != -EINVAL)
			fail_msg("decoded: %s", bad[i]);
	}
}

/* ---- files ---- */

#define BASE_NS 1700000000000000000ll

typedef struct Seen {
	pthread_mutex_t lock;
	StrBuf text; /* numbers of the records, "1 2 3 " */
	int stop_after, count;
} Seen;

static int sink(void *user, const EngineLogRecord *r)
{
	Seen *s = user;

	pthread_mutex_lock(&s->lock);
	strbuf_add_n(&s->text, r->text, r->len);
	strbuf_add_c(&s->text, ' ');
	int count = ++s->count;
	pthread_mutex_unlock(&s->lock);
	return s->stop_after && count >= s->stop_after;
}

static void write_records(const TestDir *d, const char *name, int from, int to, bool append)
{
	_cleanup_close_ int fd =
	    openat(d->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0640);

	assert_true(fd >= 0);
	for (int i = from; i <= to; i++) {
		_cleanup_free_ char *line =
		    strf("{\"log\":\"%d\",\"stream\":\"%s\",\"time\":\"%s\"}\n", i,
			 i % 2 ? "stdout" : "stderr", clock_rfc3339_fixed(BASE_NS + i).s);

		assert_int_equal(fd_write_all(fd, line, strlen(line)), 0);
	}
}

static void reads(const TestDir *d, EngineLogs l, int stop_after, const char *want, uint64_t want_malformed)
{
	_cleanup_free_ char *path = strf("%s/log", d->path);
	Seen s = {.lock = PTHREAD_MUTEX_INITIALIZER, .stop_after = stop_after};
	uint64_t malformed = 0;
	Err e = {0};

	if (log_files_read(path, &log_codec_json, &l, NULL, sink, &s, &malformed, &e) < 0)
		fail_msg("%s", e.msg);
	_cleanup_free_ char *got = strbuf_steal(&s.text);
	assert_string_equal(got, want);
	assert_int_equal(malformed, want_malformed);
}

static void rotated_files(void **state)
{
	const TestDir *d = *state;

	reads(d, (EngineLogs){.out = true, .err = true, .tail = -1}, 0, "", 0); /* no file yet */
	write_records(d, "log.2", 1, 3, false);
	write_records(d, "log.1", 4, 6, false);
	write_records(d, "log", 7, 8, false);
	reads(d, (EngineLogs){.out = true, .err = true, .tail = -1}, 0, "1 2 3 4 5 6 7 8 ", 0);
	reads(d, (EngineLogs){.out = true, .tail = -1}, 0, "1 3 5 7 ", 0);
	reads(d, (EngineLogs){.err = true, .tail = -1}, 0, "2 4 6 8 ", 0);
	reads(d, (EngineLogs){.out = true, .err = true, .tail = 0}, 0, "", 0);
	reads(d, (EngineLogs){.out = true, .err = true, .tail = 1}, 0, "8 ", 0);
	reads(d, (EngineLogs){.out = true, .err = true, .tail = 2}, 0, "7 8 ", 0);
	reads(d, (EngineLogs){.out = true, .err = true, .tail = 3}, 0, "6 7 8 ", 0);
	reads(d, (EngineLogs){.out = true, .err = true, .tail = 5}, 0, "4 5 6 7 8 ", 0);
	reads(d, (EngineLogs){.out = true, .err = true, .tail = 7}, 0, "2 3 4 5 6 7 8 ", 0);
	reads(d, (EngineLogs){.out = true, .err = true, .tail = 100}, 0, "1 2 3 4 5 6 7 8 ", 0);
	reads(d,
	      (EngineLogs){
		  .out = true, .err = true, .tail = -1, .since_ns = BASE_NS + 3, .until_ns = BASE_NS + 5},
	      0, "3 4 5 ", 0);
	reads(d, (EngineLogs){.out = true, .err = true, .tail = -1}, 2, "1 2 ", 0);
}

static void large_tail(void **state)
{
	const TestDir *d = *state;
	const int n = 20000; /* several blocks */

	write_records(d, "log", 1, n, false);
	for (int tail = 1; tail <= 4096; tail *= 4) {
		_cleanup_strbuf_ StrBuf want = {0};

		for (int i = n - tail + 1; i <= n; i++)
			strbuf_addf(&want, "%d ", i);
		reads(d, (EngineLogs){.out = true, .err = true, .tail = tail}, 0, want.s, 0);
	}
}

static void damaged_file(void **state)
{
	const TestDir *d = *state;
	_cleanup_close_ int fd = -1;
	static char junk[LOG_LINE_MAX + 100000];

	write_records(d, "log", 1, 2, false);
	fd = openat(d->fd, "log", O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, "not json\n\n{\"log\":5}\n", 20), 0);
	memset(junk, 'x', sizeof(junk)); /* a line that is too long: skipped, not kept */
	junk[sizeof(junk) - 1] = '\n';
	assert_int_equal(fd_write_all(fd, junk, sizeof(junk)), 0);
	write_records(d, "log", 3, 3, true);
	assert_int_equal(fd_write_all(fd, "{\"log\":\"cut", 11), 0);
	reads(d, (EngineLogs){.out = true, .err = true, .tail = -1}, 0, "1 2 3 ", 3);
	assert_int_equal(symlinkat("/etc/passwd", d->fd, "other"), 0);
	assert_int_equal(renameat(d->fd, "other", d->fd, "log"), 0);
	_cleanup_free_ char *path = strf("%s/log", d->path);
	EngineLogs l = {.out = true, .tail = -1};
	uint64_t malformed = 0;
	Seen s = {.lock = PTHREAD_MUTEX_INITIALIZER};
	assert_int_equal(log_files_read(path, &log_codec_json, &l, NULL, sink, &s, &malformed, NULL), -ELOOP);
}

static void attributes_are_found(void **state)
{
	static const char with[] =
	    "{\"log\":\"x\",\"stream\":\"stderr\",\"attrs\":{\"a\":\"}\\\"\"},\"time\":"
	    "\"2026-11-25T02:03:04.1Z\"}";
	_cleanup_strbuf_ StrBuf scratch = {0};
	LogRecord r;

	assert_int_equal(log_record_decode(with, strlen(with), &scratch, &r), 0);
	assert_int_equal(r.stream, 2);
	assert_int_equal(r.n_attrs, 11);
	assert_memory_equal(r.attrs, "{\"a\":\"}\\\"\"}", 11);
}

/* ---- the local format ---- */

static void write_messages(const TestDir *d, const char *name, int from, int to)
{
	_cleanup_close_ int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);

	assert_true(fd >= 0);
	for (int i = from; i <= to; i++) {
		char text[16], m[64] = {0, 0, 0, 0, 0x10};
		int n = snprintf(text, sizeof(text), "%d", i);
		size_t len = 5;

		/* time_nano of one byte, line, partial: no newline behind the number */
		m[len++] = (char)(i % 100);
		m[len++] = 0x1a;
		m[len++] = (char)n;
		memcpy(m + len, text, (size_t)n);
		len += (size_t)n;
		memcpy(m + len, "\x20\x01\0\0\0", 5);
		len += 6;
		m[3] = m[len - 1] = (char)(len - 8);
		assert_int_equal(fd_write_all(fd, m, len), 0);
	}
}

static char *read_local(const TestDir *d, int64_t tail, uint64_t *malformed)
{
	_cleanup_free_ char *path = strf("%s/log", d->path);
	Seen s = {.lock = PTHREAD_MUTEX_INITIALIZER};
	EngineLogs l = {.out = true, .err = true, .tail = tail};
	Err e = {0};

	if (log_files_read(path, &log_codec_local, &l, NULL, sink, &s, malformed, &e) < 0)
		fail_msg("%s", e.msg);
	return strbuf_steal(&s.text);
}

static void local_files(void **state)
{
	const TestDir *d = *state;
	const int n = 30000; /* several blocks */
	uint64_t malformed = 0;
	int fd;

	write_messages(d, "log.1", 1, 10);
	write_messages(d, "log", 11, n);
	for (int tail = 1; tail <= n; tail = tail * 7 + 3) {
		_cleanup_free_ char *got = read_local(d, tail, &malformed);
		_cleanup_strbuf_ StrBuf want = {0};

		for (int i = n - tail + 1; i <= n; i++)
			strbuf_addf(&want, "%d ", i);
		assert_string_equal(got, want.s);
	}
	/* A frame that is just being written is not there yet. */
	fd = openat(d->fd, "log", O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(fd_write_all(fd, "\0\0\0\x30\x10\x01\x1a", 7), 0);
	close_fd(&fd);
	_cleanup_free_ char *got = read_local(d, 2, &malformed);
	assert_string_equal(got, "29999 30000 ");
	assert_int_equal(malformed, 0);
}

static void damaged_local_file(void **state)
{
	const TestDir *d = *state;
	uint64_t malformed = 0;

	write_messages(d, "log.1", 1, 3);
	int fd = openat(d->fd, "log.1", O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(fd_write_all(fd, "\xff\xff\xff\xff nonsense", 13), 0);
	close_fd(&fd);
	write_messages(d, "log", 4, 5);
	_cleanup_free_ char *got = read_local(d, -1, &malformed);
	assert_string_equal(got, "1 2 3 4 5 ");
	assert_int_equal(malformed, 1);
}

/* A crash between two renames leaves a gap, before or behind the current file. */
static void gap_in_the_numbers(void **state)
{
	const TestDir *d = *state;

	write_records(d, "log.3", 1, 2, false);
	write_records(d, "log.1", 3, 4, false);
	write_records(d, "log", 5, 6, false);
	reads(d, (EngineLogs){.out = true, .err = true, .tail = -1}, 0, "1 2 3 4 5 6 ", 0);
	assert_int_equal(renameat(d->fd, "log.3", d->fd, "log.2"), 0);
	assert_int_equal(unlinkat(d->fd, "log", 0), 0);
	reads(d, (EngineLogs){.out = true, .err = true, .tail = -1}, 0, "1 2 3 4 ", 0);
	reads(d, (EngineLogs){.out = true, .err = true, .tail = 3}, 0, "2 3 4 ", 0);
}

/* ---- following ---- */

typedef struct Following {
	char *path;
	const LogCodec *codec;
	EngineLogs l;
	LogFollow f;
	Seen seen;
	bool ended;
	int result;
	uint64_t malformed;
	Err err;
} Following;

static bool has_ended(void *user)
{
	return __atomic_load_n((bool *)user, __ATOMIC_ACQUIRE);
}

static void *follow_thread(void *arg)
{
	Following *f = arg;

	f->result = log_files_read(f->path, f->codec, &f->l, &f->f, sink, &f->seen, &f->malformed, &f->err);
	return NULL;
}

static void wait_count(Following *f, int n)
{
	for (int i = 0; i < 500; i++) {
		pthread_mutex_lock(&f->seen.lock);
		int have = f->seen.count;
		pthread_mutex_unlock(&f->seen.lock);
		if (have >= n)
			return;
		usleep(10000);
	}
	fail_msg("only %d of %d records came", f->seen.count, n);
}

static void rotate(const TestDir *d)
{
	if (renameat(d->fd, "log.1", d->fd, "log.2") < 0)
		assert_int_equal(errno, ENOENT);
	write_records(d, "log.new", 1, 0, false);
	assert_int_equal(renameat(d->fd, "log", d->fd, "log.1"), 0);
	assert_int_equal(renameat(d->fd, "log.new", d->fd, "log"), 0);
}

static void follow_through_rotation(void **state)
{
	const TestDir *d = *state;
	Following f = {
	    .path = strf("%s/log", d->path),
	    .codec = &log_codec_json,
	    .l = {.out = true, .err = true, .tail = 1, .follow = true},
	    .f = {.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .alive_fd = -1, .ended = has_ended},
	    .seen.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	pthread_t t;

	f.f.user = &f.ended;
	write_records(d, "log", 1, 3, false);
	assert_int_equal(pthread_create(&t, NULL, follow_thread, &f), 0);
	wait_count(&f, 1);
	write_records(d, "log", 4, 5, true);
	wait_count(&f, 3);
	rotate(d);
	write_records(d, "log", 6, 6, true);
	wait_count(&f, 4);
	/* Two rotations at once, and a record that comes with the end. */
	write_records(d, "log", 7, 7, true);
	rotate(d);
	write_records(d, "log", 8, 8, true);
	rotate(d);
	write_records(d, "log", 9, 9, true);
	__atomic_store_n(&f.ended, true, __ATOMIC_RELEASE);
	assert_int_equal(eventfd_write(f.f.wake_fd, 1), 0);
	pthread_join(t, NULL);
	_cleanup_free_ char *got = strbuf_steal(&f.seen.text);
	assert_int_equal(f.result, 0);
	assert_string_equal(got, "3 4 5 6 7 8 9 ");
	assert_int_equal(f.malformed, 0);
	close_fd(&f.f.wake_fd);
	free(f.path);
}

static void follow_until_client_leaves(void **state)
{
	const TestDir *d = *state;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	Following f = {
	    .path = strf("%s/log", d->path),
	    .codec = &log_codec_json,
	    .l = {.out = true, .err = true, .tail = -1, .follow = true},
	    .f = {.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .alive_fd = pair[0], .ended = has_ended},
	    .seen.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	pthread_t t;

	f.f.user = &f.ended;
	assert_int_equal(pthread_create(&t, NULL, follow_thread, &f), 0);
	write_records(d, "log", 1, 1, false); /* the file is made after the start */
	wait_count(&f, 1);
	close_fd(&pair[1]);
	pthread_join(t, NULL);
	assert_int_equal(f.err.kind, ERR_CANCELLED);
	strbuf_done(&f.seen.text);
	close_fd(&pair[0]);
	close_fd(&f.f.wake_fd);
	free(f.path);
}

/* ---- a pod's files ---- */

static void write_cri(const TestDir *d, const char *name, int from, int to)
{
	_cleanup_close_ int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);

	assert_true(fd >= 0);
	for (int i = from; i <= to; i++) {
		_cleanup_free_ char *line = strf("%s stdout P %d\n", clock_rfc3339_fixed(BASE_NS + i).s, i);

		assert_int_equal(fd_write_all(fd, line, strlen(line)), 0);
	}
}

static char *read_cri(const TestDir *d, int64_t tail)
{
	_cleanup_free_ char *path = strf("%s/log", d->path);
	Seen s = {.lock = PTHREAD_MUTEX_INITIALIZER};
	EngineLogs l = {.out = true, .err = true, .tail = tail};
	uint64_t malformed = 0;
	Err e = {0};

	if (log_files_read(path, &log_codec_cri, &l, NULL, sink, &s, &malformed, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(malformed, 0);
	return strbuf_steal(&s.text);
}

static void dated_files(void **state)
{
	const TestDir *d = *state;
	_cleanup_free_ char *cmd = strf("gzip -n %s/log.20261126-215033", d->path);

	write_cri(d, "log.20261126-215033", 1, 3);
	assert_int_equal(system(cmd), 0);
	/* Being compressed: the plain one counts. */
	write_cri(d, "log.20261126-225033", 4, 5);
	write_cri(d, "log.20261126-225033.gz", 90, 91);
	write_cri(d, "log.20261126-225033.gz.tmp", 92, 92);
	write_cri(d, "log.20261127-000000", 6, 6);
	/* None of its. */
	write_cri(d, "log.1", 93, 93);
	write_cri(d, "log.20261127-00000", 94, 94);
	write_cri(d, "log.20261127-000000x", 95, 95);
	write_cri(d, "xlog.20261127-000000", 96, 96);
	_cleanup_free_ char *between = read_cri(d, -1);
	assert_string_equal(between, "1 2 3 4 5 6 ");
	write_cri(d, "log", 7, 8);
	_cleanup_free_ char *all = read_cri(d, -1);
	assert_string_equal(all, "1 2 3 4 5 6 7 8 ");
	_cleanup_free_ char *some = read_cri(d, 4);
	assert_string_equal(some, "5 6 7 8 ");
	_cleanup_free_ char *most = read_cri(d, 7);
	assert_string_equal(most, "2 3 4 5 6 7 8 ");
}

/* The kubelet renames, the shim still writes, and only then is there a new file. */
static void follow_through_reopening(void **state)
{
	const TestDir *d = *state;
	Following f = {
	    .path = strf("%s/log", d->path),
	    .codec = &log_codec_cri,
	    .l = {.out = true, .err = true, .tail = 1, .follow = true},
	    .f = {.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .alive_fd = -1, .ended = has_ended},
	    .seen.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	pthread_t t;

	f.f.user = &f.ended;
	write_cri(d, "log", 1, 3);
	assert_int_equal(pthread_create(&t, NULL, follow_thread, &f), 0);
	wait_count(&f, 1);
	assert_int_equal(renameat(d->fd, "log", d->fd, "log.20261126-215033"), 0);
	write_cri(d, "log.20261126-215033", 4, 5);
	wait_count(&f, 3);
	write_cri(d, "log.20261126-215033", 6, 6);
	write_cri(d, "log", 7, 7);
	wait_count(&f, 5);
	/* Two at once; the file at hand is removed, as the kubelet does with what is too much. */
	write_cri(d, "log", 8, 8);
	assert_int_equal(renameat(d->fd, "log", d->fd, "log.20261126-215034"), 0);
	write_cri(d, "log", 9, 9);
	assert_int_equal(renameat(d->fd, "log", d->fd, "log.20261126-215035"), 0);
	assert_int_equal(unlinkat(d->fd, "log.20261126-215033", 0), 0);
	assert_int_equal(unlinkat(d->fd, "log.20261126-215034", 0), 0);
	write_cri(d, "log", 10, 10);
	__atomic_store_n(&f.ended, true, __ATOMIC_RELEASE);
	assert_int_equal(eventfd_write(f.f.wake_fd, 1), 0);
	pthread_join(t, NULL);
	_cleanup_free_ char *got = strbuf_steal(&f.seen.text);
	assert_int_equal(f.result, 0);
	assert_string_equal(got, "3 4 5 6 7 8 9 10 ");
	assert_int_equal(f.malformed, 0);
	close_fd(&f.f.wake_fd);
	free(f.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lines),
	    cmocka_unit_test(bad_lines),
	    cmocka_unit_test(time_is_read),
	    cmocka_unit_test(cri_lines),
	    test_in_dir(dated_files),
	    test_in_dir(follow_through_reopening),
	    test_in_dir(rotated_files),
	    test_in_dir(large_tail),
	    test_in_dir(damaged_file),
	    cmocka_unit_test(attributes_are_found),
	    test_in_dir(local_files),
	    test_in_dir(damaged_local_file),
	    test_in_dir(gap_in_the_numbers),
	    test_in_dir(follow_through_rotation),
	    test_in_dir(follow_until_client_leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
