/* SPDX-License-Identifier: Apache-2.0 */
/* The server as a raw socket sees it: framing, limits, time-outs, departure, hand-over. */
#include "base/test.h"

#include "base/clock.h"
#include "wire/httpd/httpd-internal.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

static char sock_dir[64], sock_path[96];
static HttpServer *server;
static pthread_t runner;
static int stop_fd, tcp_port;
static int gone_fd, kept_fd = -1; /* told by handlers */

static int h_plain(HttpRequest *rq, void *user, Err *e)
{
	return http_reply(rq, 200, "text/plain", "ok", 2);
}

static int h_echo(HttpRequest *rq, void *user, Err *e)
{
	size_t n;
	const char *b = http_body(rq, &n);

	return http_reply(rq, 200, "text/plain", b, n);
}

static int h_count(HttpRequest *rq, void *user, Err *e)
{
	char buf[1000], text[32];
	size_t total = 0;
	ssize_t n;
	int fd = http_body_fd(rq, e), r;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		total += (size_t)n;
	r = http_body_end(rq, e);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "%zu", total);
	return http_reply(rq, 200, "text/plain", text, strlen(text));
}

/* Reads nothing of what it is sent. */
static int h_ignore(HttpRequest *rq, void *user, Err *e)
{
	if (http_body_fd(rq, e) < 0)
		return -1;
	return err_new(e, ERR_CONFLICT, "not wanted");
}

static int h_wait_gone(HttpRequest *rq, void *user, Err *e)
{
	struct pollfd p = {.fd = http_alive_fd(rq), .events = 0};
	uint64_t one = 1;

	if (http_stream_begin(rq, 200, "application/json") < 0)
		return -1;
	if (poll(&p, 1, 5000) == 1 && (p.revents & (POLLHUP | POLLERR)))
		(void)!write(gone_fd, &one, 8);
	return 0;
}

static int h_pipe(HttpRequest *rq, void *user, Err *e)
{
	static char buf[200000];
	int fd;

	if (http_stream_begin(rq, 200, "application/x-tar") < 0)
		return -1;
	fd = http_stream_fd(rq, e);
	memset(buf, 'x', sizeof(buf));
	return fd < 0 ? fd : fd_write_all(fd, buf, sizeof(buf));
}

static int h_fail_late(HttpRequest *rq, void *user, Err *e)
{
	(void)http_stream_begin(rq, 200, "text/plain");
	(void)http_stream_write(rq, "part", 4);
	return err_new(e, ERR_INTERNAL, "broke");
}

static int h_hijack(HttpRequest *rq, void *user, Err *e)
{
	HttpHijack h;
	int r = http_hijack(rq, "application/vnd.docker.raw-stream", &h, e);

	if (r < 0)
		return r;
	(void)fd_write_all(h.fd, h.prefix, h.prefix_len);
	kept_fd = fcntl(h.fd, F_DUPFD_CLOEXEC, 3); /* what SCM_RIGHTS to a shim does */
	uint64_t one = 1;
	(void)!write(gone_fd, &one, 8);
	return 0;
}

static const HttpRoute routes[] = {
    {"GET", "/plain", h_plain, 0},
    {"HEAD", "/plain", h_plain, 0},
    {"POST", "/echo", h_echo, 0},
    {"POST", "/count", h_count, HTTP_STREAM_BODY},
    {"POST", "/ignore", h_ignore, HTTP_STREAM_BODY},
    {"GET", "/gone", h_wait_gone, 0},
    {"GET", "/pipe", h_pipe, 0},
    {"GET", "/late", h_fail_late, 0},
    {"POST", "/hijack", h_hijack, 0},
    {NULL, NULL, NULL, 0},
};

static void *run(void *arg)
{
	Err e;

	return (void *)(intptr_t)http_server_run(server, stop_fd, &e);
}

static int setup(void **state)
{
	HttpOptions o = {.routes = routes,
			 .body_max = 4096,
			 .head_timeout_ms = 400,
			 .idle_timeout_ms = 700,
			 .send_timeout_ms = 300,
			 .connections_max = 20};
	struct sockaddr_storage a;
	socklen_t alen = sizeof(a);
	int fd;
	Err e;

	(void)signal(SIGPIPE, SIG_IGN);
	snprintf(sock_dir, sizeof(sock_dir), "/tmp/ireko-httpd-XXXXXX");
	if (!mkdtemp(sock_dir))
		return -1;
	snprintf(sock_path, sizeof(sock_path), "%s/s", sock_dir);
	stop_fd = eventfd(0, EFD_CLOEXEC);
	gone_fd = eventfd(0, EFD_CLOEXEC);
	fd = unix_listen(sock_path, SOCK_STREAM, 0600);
	if (fd < 0 || http_server_new(&o, &server, &e) < 0 || http_server_add(server, fd, HTTP_UNIX, &e) < 0)
		return -1;
	fd = http_tcp_listen("127.0.0.1:0", true, &e);
	if (fd < 0 || getsockname(fd, (void *)&a, &alen) < 0)
		return -1;
	tcp_port = ntohs(((struct sockaddr_in *)&a)->sin_port);
	if (http_server_add(server, fd, HTTP_TCP, &e) < 0)
		return -1;
	return pthread_create(&runner, NULL, run, NULL);
}

static int teardown(void **state)
{
	uint64_t one = 1;

	(void)!write(stop_fd, &one, 8);
	pthread_join(runner, NULL);
	assert_true(http_server_drain(server, 2000));
	http_server_free(server);
	close(stop_fd);
	close(gone_fd);
	unlink(sock_path);
	return rmdir(sock_dir);
}

static int dial(void)
{
	int fd = unix_connect(sock_path, SOCK_STREAM);

	assert_true(fd >= 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
}

/* Everything until end of file, or until ms have passed in silence after the first of it, for which a busy machine has 5 s. malloc'ed. */
static char *hear(int fd, int ms, bool *ret_eof)
{
	StrBuf b = {0};
	char buf[4096];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	bool eof = false;

	while (!eof && poll(&p, 1, b.len ? ms : MAX2(ms, 5000)) == 1) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n <= 0)
			eof = true;
		else
			strbuf_add_n(&b, buf, (size_t)n);
	}
	if (ret_eof)
		*ret_eof = eof;
	return strbuf_steal(&b);
}

static void expect(const char *request, const char *status, const char *text, bool want_eof)
{
	_cleanup_close_ int fd = dial();
	_cleanup_free_ char *got = NULL;
	bool eof;

	say(fd, request);
	got = hear(fd, want_eof ? 3000 : 150, &eof);
	if (!str_starts(got, status) || !strstr(got, text) || eof != want_eof)
		fail_msg("for %s\ngot (eof %d) %s", request, eof, got);
}

#define H "Host: d\r\n"

static void basics(void **state)
{
	expect("GET /plain HTTP/1.1\r\n" H "\r\n", "HTTP/1.1 200 OK", "\r\n\r\nok", false);
	expect("GET /plain HTTP/1.1\r\n" H "Connection: close\r\n\r\n", "HTTP/1.1 200 OK",
	       "Connection: close", true);
	expect("GET /plain HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK", "\r\n\r\nok", true);
	expect("HEAD /plain HTTP/1.1\r\n" H "\r\n", "HTTP/1.1 200 OK", "Content-Length: 2", false);
	expect("GET /nothing HTTP/1.1\r\n" H "\r\n", "HTTP/1.1 404", "{\"message\":\"page not found\"}\n",
	       false);
	expect("PUT /plain HTTP/1.1\r\n" H "\r\n", "HTTP/1.1 404", "page not found", false);
	expect("GET /plain HTTP/1.1\r\n" H "Origin: http://x\r\n\r\n", "HTTP/1.1 403", "web pages", false);
}

static void bodies(void **state)
{
	expect("POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", "HTTP/1.1 200", "\r\n\r\nabc",
	       false);
	expect("POST /echo HTTP/1.1\r\n" H
	       "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: x\r\n\r\n",
	       "HTTP/1.1 200", "\r\n\r\nabc", false);
	expect("POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
	       "HTTP/1.1 400", "malformed chunk", true);
	expect("POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n-2\r\n", "HTTP/1.1 400",
	       "malformed chunk", true);
	expect("POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
	       "HTTP/1.1 400", "malformed chunk", true);
	expect("POST /echo HTTP/1.1\r\n" H "Content-Length: 5000\r\n\r\n", "HTTP/1.1 413", "larger than 4096",
	       true);
	expect("POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	       "HTTP/1.1 400", "more than once", true);
	expect("POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
	       "HTTP/1.1 100", "\r\n\r\nabc", false);
	expect("POST /nothing HTTP/1.1\r\n" H "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n",
	       "HTTP/1.1 404", "Connection: close", true);
}

static void chunked_over_budget(void **state)
{
	_cleanup_close_ int fd = dial();
	_cleanup_free_ char *got = NULL;
	char block[1100];
	bool eof;

	say(fd, "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n");
	memset(block, 'a', sizeof(block));
	memcpy(block, "400\r\n", 5);
	memcpy(block + 5 + 1024, "\r\n", 3);
	for (int i = 0; i < 8; i++)
		say(fd, block);
	got = hear(fd, 3000, &eof);
	assert_true(str_starts(got, "HTTP/1.1 413"));
	assert_true(eof);
}

static void pipelined(void **state)
{
	expect("POST /echo HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\nXGET /plain HTTP/1.1\r\n" H
	       "\r\nGET /nothing HTTP/1.1\r\n" H "Connection: close\r\n\r\n",
	       "HTTP/1.1 200", "X", true);
	_cleanup_close_ int fd = dial();
	_cleanup_free_ char *got = NULL;
	const char *one, *two;

	say(fd, "POST /echo HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\nXGET /plain HTTP/1.1\r\n" H "\r\n");
	got = hear(fd, 150, NULL);
	one = strstr(got, "\r\n\r\nX");
	two = one ? strstr(one, "\r\n\r\nok") : NULL;
	assert_non_null(two);
}

/* Many requests whose answers nobody reads: their thread is free again after the time-out. */
static void answers_that_nobody_reads(void **state)
{
	_cleanup_close_ int fd = dial();
	static const char request[] = "GET /plain HTTP/1.1\r\n" H "\r\n";
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int64_t begun = clock_mono_ns();
	HttpCounts counts;

	while (poll(&p, 1, 100) == 1 &&
	       send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		;
	http_server_counts(server, &counts);
	assert_true(counts.workers > counts.idle_workers);
	do {
		(void)poll(NULL, 0, 20);
		http_server_counts(server, &counts);
	} while (counts.workers > counts.idle_workers && clock_mono_ns() - begun < 3000000000ll);
	assert_int_equal(counts.workers, counts.idle_workers);
}

static void streamed_body(void **state)
{
	_cleanup_close_ int fd = dial();
	_cleanup_free_ char *got = NULL, *big = calloc(1, 300000);

	say(fd, "POST /count HTTP/1.1\r\n" H "Content-Length: 300000\r\n\r\n");
	assert_int_equal(fd_write_all(fd, big, 300000), 0);
	got = hear(fd, 300, NULL);
	assert_non_null(strstr(got, "\r\n\r\n300000"));
	/* and the connection goes on */
	say(fd, "GET /plain HTTP/1.1\r\n" H "\r\n");
	free(got);
	got = hear(fd, 150, NULL);
	assert_non_null(strstr(got, "\r\n\r\nok"));
}

static void truncated_body(void **state)
{
	_cleanup_close_ int fd = dial();
	_cleanup_free_ char *got = NULL;

	say(fd, "POST /count HTTP/1.1\r\n" H "Content-Length: 300000\r\n\r\nabc");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	got = hear(fd, 3000, NULL);
	assert_true(str_starts(got, "HTTP/1.1 400"));
	assert_non_null(strstr(got, "ended early"));
}

static void unwanted_body(void **state)
{
	_cleanup_close_ int fd = dial();
	_cleanup_free_ char *got = NULL, *big = calloc(1, 300000);

	say(fd, "POST /ignore HTTP/1.1\r\n" H "Content-Length: 300000\r\n\r\n");
	assert_int_equal(fd_write_all(fd, big, 300000), 0);
	got = hear(fd, 300, NULL);
	assert_true(str_starts(got, "HTTP/1.1 409"));
}

static void slow_heads(void **state)
{
	_cleanup_close_ int fd = dial();
	_cleanup_free_ char *got = NULL;
	int64_t t0 = clock_mono_ns();
	bool eof = false;

	/* A byte now and then does not renew the time limit. */
	for (int i = 0; i < 8; i++) {
		(void)!send(fd, &"GET / HT"[i], 1, MSG_NOSIGNAL);
		usleep(100000);
	}
	(void)shutdown(fd, SHUT_WR); /* ends the server's lingering */
	got = hear(fd, 2500, &eof);
	assert_true(str_starts(got, "HTTP/1.1 408"));
	assert_true(eof);
	assert_true(clock_mono_ns() - t0 < 3000000000);
	expect("POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\na", "HTTP/1.1 408", "\"message\"", true);
}

static void idle_ends(void **state)
{
	_cleanup_close_ int fd = dial();
	_cleanup_free_ char *got = NULL;
	bool eof;

	got = hear(fd, 2000, &eof);
	assert_true(eof);
	assert_string_equal(got, "");
}

static void huge_head(void **state)
{
	_cleanup_close_ int fd = dial();
	_cleanup_free_ char *got = NULL, *big = malloc(70000);
	bool eof;

	memset(big, 'a', 70000);
	say(fd, "GET /");
	(void)!send(fd, big, 70000, MSG_NOSIGNAL);
	(void)shutdown(fd, SHUT_WR);
	got = hear(fd, 3000, &eof);
	assert_true(str_starts(got, "HTTP/1.1 431"));
	assert_true(eof);
}

static void wait_told(void)
{
	struct pollfd p = {.fd = gone_fd, .events = POLLIN};
	uint64_t n;

	assert_int_equal(poll(&p, 1, 3000), 1);
	(void)!read(gone_fd, &n, 8);
}

static void departure(void **state)
{
	for (int tcp = 0; tcp < 2; tcp++) {
		_cleanup_free_ char *got = NULL;
		int fd;

		if (tcp) {
			struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)tcp_port)};

			a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
			fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
			assert_int_equal(connect(fd, (void *)&a, sizeof(a)), 0);
		} else {
			fd = dial();
		}
		say(fd, "GET /gone HTTP/1.1\r\nHost: localhost\r\n\r\n");
		got = hear(fd, 200, NULL); /* the head arrives though there is no body yet */
		assert_true(str_starts(got, "HTTP/1.1 200"));
		assert_true(str_ends(got, "\r\n\r\n"));
		close(fd);
		wait_told();
	}
}

static void streams(void **state)
{
	_cleanup_close_ int fd = dial();
	_cleanup_free_ char *got = NULL;
	size_t x = 0;

	say(fd, "GET /pipe HTTP/1.1\r\n" H "\r\n");
	got = hear(fd, 300, NULL);
	for (const char *p = strstr(got, "\r\n\r\n"); *p; p++)
		x += *p == 'x';
	assert_int_equal(x, 200000);
	assert_true(str_ends(got, "\r\n0\r\n\r\n"));
	expect("GET /pipe HTTP/1.0\r\n\r\n", "HTTP/1.1 200", "xxxxxx", true);
	/* an answer that broke off has no last chunk */
	expect("GET /late HTTP/1.1\r\n" H "\r\n", "HTTP/1.1 200", "4\r\npart\r\n", true);
	_cleanup_close_ int fd2 = dial();
	say(fd2, "GET /late HTTP/1.1\r\n" H "\r\n");
	free(got);
	got = hear(fd2, 1000, NULL);
	assert_false(str_ends(got, "0\r\n\r\n"));
}

static void hijack(const char *request, const char *status)
{
	_cleanup_close_ int fd = dial();
	_cleanup_free_ char *got = NULL;
	char buf[8], head[4096] = "";
	bool eof;

	say(fd, request);
	wait_told();
	/* However much room a read has, it gives the head alone, and no descriptor. */
	assert_true(recv(fd, head, sizeof(head) - 1, 0) > 0);
	assert_true(str_starts(head, status));
	assert_true(str_ends(head, "\r\n\r\n"));
	got = hear(fd, 200, &eof);
	assert_string_equal(got, "early");
	assert_false(eof); /* the server's own copy is closed, but not shut down */
	say(fd, "in");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_int_equal(read(kept_fd, buf, sizeof(buf)), 2);
	assert_int_equal(read(kept_fd, buf, sizeof(buf)), 0); /* half-close is visible */
	say(kept_fd, "out");
	free(got);
	got = hear(fd, 100, &eof);
	assert_string_equal(got, "out");
	close_fd(&kept_fd);
}

static void hijacks(void **state)
{
	hijack("POST /hijack HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: "
	       "application/json\r\nContent-Length: 2\r\n\r\n{}early",
	       "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: "
	       "Upgrade\r\nUpgrade: tcp\r\n");
	hijack("POST /hijack HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n{}early",
	       "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n");
}

/* Who has been idle longest makes room. */
static void crowd(void **state)
{
	int fds[30];
	_cleanup_free_ char *first = NULL, *last = NULL;
	bool eof;

	for (size_t i = 0; i < ELEMENTSOF(fds); i++)
		fds[i] = dial();
	say(fds[29], "GET /plain HTTP/1.1\r\n" H "\r\n");
	last = hear(fds[29], 300, &eof);
	assert_true(str_starts(last, "HTTP/1.1 200"));
	first = hear(fds[0], 300, &eof);
	assert_true(eof);
	for (size_t i = 0; i < ELEMENTSOF(fds); i++)
		close(fds[i]);
}

/* Connections whose requests are under way are not closed for new ones. */
static void busy_crowd(void **state)
{
	int fds[20], extra;
	_cleanup_free_ char *got = NULL, *refused = NULL;
	bool eof;

	for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
		fds[i] = dial();
		say(fds[i], "GET /gone HTTP/1.1\r\n" H "\r\n");
		free(got);
		got = hear(fds[i], 100, NULL);
		assert_true(str_starts(got, "HTTP/1.1 200"));
	}
	extra = dial();
	refused = hear(extra, 500, &eof);
	assert_true(str_starts(refused, "HTTP/1.1 503"));
	assert_true(str_ends(refused, "\r\n\r\n{\"message\":\"too many connections\"}\n"));
	assert_true(eof);
	close(extra);
	for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
		close(fds[i]);
		wait_told();
	}
}

static unsigned workers(void)
{
	HttpCounts n;

	http_server_counts(server, &n);
	return n.workers - n.idle_workers;
}

/* Who was answered a moment ago may still have one. */
static void await_workers(unsigned n)
{
	for (int i = 0; i < 1000 && workers() != n; i++)
		usleep(10000);
	assert_int_equal(workers(), n);
}

/* Streams do not take the last threads: who is one too many is told, and others are answered. */
static void threads_for_others(void **state)
{
	int fds[14], extra = -1;
	_cleanup_free_ char *got = NULL, *refused = NULL, *ok = NULL, *slow = NULL;
	unsigned usual = server->o.requests_max;
	bool eof;

	server->o.requests_max = 16;
	for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
		fds[i] = dial();
		say(fds[i], "GET /gone HTTP/1.1\r\n" H "\r\n");
		free(got);
		got = hear(fds[i], 100, NULL);
		assert_true(str_starts(got, "HTTP/1.1 200"));
	}
	await_workers(ELEMENTSOF(fds));
	extra = dial();
	say(extra, "GET /gone HTTP/1.1\r\n" H "\r\n");
	refused = hear(extra, 2000, &eof);
	assert_true(str_starts(refused, "HTTP/1.1 503"));
	assert_non_null(strstr(refused, HTTP_TOO_MANY));
	assert_true(eof);
	close(extra);
	await_workers(ELEMENTSOF(fds));
	extra = dial();
	say(extra, "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1\r\n");
	slow = hear(extra, 2000, &eof);
	assert_true(str_starts(slow, "HTTP/1.1 503"));
	assert_true(eof);
	close(extra);
	await_workers(ELEMENTSOF(fds));
	extra = dial();
	say(extra, "GET /plain HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	ok = hear(extra, 2000, &eof);
	assert_true(str_starts(ok, "HTTP/1.1 200"));
	close(extra);
	server->o.requests_max = usual;
	for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
		close(fds[i]);
		wait_told();
	}
}

/* Neither a client that says nothing nor one that has said half of its request holds a thread. */
static void parked_without_thread(void **state)
{
	int fds[12];
	HttpCounts n;

	await_workers(0);
	for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
		fds[i] = dial();
		if (i % 3 == 1)
			say(fds[i], "GET /plain HTTP/1.1\r\nHo");
		if (i % 3 == 2)
			say(fds[i], "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab");
	}
	for (int i = 0; i < 1000; i++) {
		usleep(10000);
		http_server_counts(server, &n);
		if (n.parked == ELEMENTSOF(fds) && workers() == 0)
			break;
	}
	assert_int_equal(n.parked, ELEMENTSOF(fds));
	assert_int_equal(workers(), 0);
	for (size_t i = 2; i < ELEMENTSOF(fds); i += 3)
		say(fds[i], "cde");
	for (size_t i = 2; i < ELEMENTSOF(fds); i += 3) {
		_cleanup_free_ char *got = hear(fds[i], 100, NULL);

		assert_non_null(strstr(got, "\r\n\r\nabcde"));
	}
	for (size_t i = 0; i < ELEMENTSOF(fds); i++)
		close(fds[i]);
}

/* Without anything to do at rest it rests all the same. */
static void at_rest(void **state)
{
	expect("GET /plain HTTP/1.1\r\n" H "\r\n", "HTTP/1.1 200 OK", "\r\n\r\nok", false);
	usleep(3300000);
	expect("GET /plain HTTP/1.1\r\n" H "\r\n", "HTTP/1.1 200 OK", "\r\n\r\nok", false);
}

static void described(void **state)
{
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_free_ char *got = NULL;
	_cleanup_close_ int fd = dial();

	say(fd, "GET /gone?secret=1 HTTP/1.1\r\n" H "\r\n");
	got = hear(fd, 100, NULL);
	http_server_describe(server, &b);
	assert_non_null(strstr(b.s, "unix GET /gone (streams) for "));
	assert_null(strstr(b.s, "secret"));
	close_fd(&fd);
	wait_told();
}

static void tcp_refused(void **state)
{
	Err e;

	assert_true(http_tcp_listen("0.0.0.0:0", true, &e) < 0);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_true(http_tcp_listen("nonsense", true, &e) < 0);
	assert_true(http_tcp_listen(":1", true, &e) < 0);
	assert_true(http_tcp_listen("[]:1", true, &e) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(basics),
	    cmocka_unit_test(bodies),
	    cmocka_unit_test(chunked_over_budget),
	    cmocka_unit_test(pipelined),
	    cmocka_unit_test(answers_that_nobody_reads),
	    cmocka_unit_test(streamed_body),
	    cmocka_unit_test(truncated_body),
	    cmocka_unit_test(unwanted_body),
	    cmocka_unit_test(slow_heads),
	    cmocka_unit_test(idle_ends),
	    cmocka_unit_test(huge_head),
	    cmocka_unit_test(departure),
	    cmocka_unit_test(streams),
	    cmocka_unit_test(hijacks),
	    cmocka_unit_test(crowd),
	    cmocka_unit_test(busy_crowd),
	    cmocka_unit_test(threads_for_others),
	    cmocka_unit_test(parked_without_thread),
	    cmocka_unit_test(at_rest),
	    cmocka_unit_test(described),
	    cmocka_unit_test(tcp_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
