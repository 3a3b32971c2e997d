/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that write frames of their own making, against our server and our client. Each attack has a limit that it meets, and leaves others alone. */
#include "wire/grpc/grpc.h"
#include "base/clock.h"
#include "base/test.h"

#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

enum {
	DATA,
	HEADERS,
	PRIORITY,
	RST_STREAM,
	SETTINGS,
	PUSH_PROMISE,
	PING,
	GOAWAY,
	WINDOW_UPDATE,
	CONTINUATION
};
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };
enum { PROTOCOL_ERROR = 1, FLOW_CONTROL_ERROR = 3, REFUSED_STREAM = 7 };

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* ---- a server whose client is the attacker ---- */

typedef struct Server {
	pthread_t thread;
	int fd, peer, result;
	bool served;
	int begun, running, most, ended, released;
	uint32_t last_status;
	GrpcLimits limits;
	Err e;
} Server;

static void count(Server *s, int by)
{
	int now = __atomic_add_fetch(&s->running, by, __ATOMIC_SEQ_CST),
	    most = __atomic_load_n(&s->most, __ATOMIC_SEQ_CST);

	while (now > most &&
	       !__atomic_compare_exchange_n(&s->most, &most, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	__atomic_add_fetch(by > 0 ? &s->begun : &s->ended, 1, __ATOMIC_SEQ_CST);
}

static int hold(GrpcCall *call, void *user, Err *e)
{
	struct pollfd p = {.fd = grpc_call_alive_fd(call)};

	count(user, 1);
	(void)poll(&p, 1, 20000);
	count(user, -1);
	return err_new(e, ERR_CANCELLED, "the call has ended");
}

static int take(GrpcCall *call, void *user, Err *e)
{
	uint8_t *m;
	size_t len;
	int r;

	count(user, 1);
	while ((r = grpc_receive(call, &m, &len, e)) > 0)
		free(m);
	__atomic_store_n(&((Server *)user)->last_status, grpc_status_of(e, r), __ATOMIC_SEQ_CST);
	count(user, -1);
	return r;
}

static int pour(GrpcCall *call, void *user, Err *e)
{
	uint8_t block[20000] = {0};
	int r;

	count(user, 1);
	do
		r = grpc_send(call, block, sizeof(block), e);
	while (r == 0);
	count(user, -1);
	return r;
}

/* Does not notice that its call has ended. */
static int stuck(GrpcCall *call, void *user, Err *e)
{
	Server *s = user;

	count(s, 1);
	while (!__atomic_load_n(&s->released, __ATOMIC_SEQ_CST))
		usleep(1000);
	count(s, -1);
	return 0;
}

static const GrpcMethod methods[] = {
    {"/t.T/Hold", hold}, {"/t.T/Take", take}, {"/t.T/Pour", pour}, {"/t.T/Stuck", stuck}, {NULL}};

static void *serve(void *arg)
{
	Server *s = arg;

	s->result = grpc_serve(s->fd, NULL, 0, methods, s, &s->limits, &s->e);
	(void)shutdown(s->fd, SHUT_RDWR);
	return NULL;
}

/* What is not taken within 10 s is lost: -1. */
static int put(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len > 0) {
		struct pollfd w = {.fd = fd, .events = POLLOUT};
		ssize_t n;

		if (poll(&w, 1, 10000) != 1)
			return -1;
		n = send(fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static size_t head(uint8_t *to, size_t len, uint8_t type, uint8_t flags, uint32_t stream)
{
	uint8_t h[9] = {
	    (uint8_t)(len >> 16),    (uint8_t)(len >> 8),     (uint8_t)len,           type,           flags,
	    (uint8_t)(stream >> 24), (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};

	memcpy(to, h, 9);
	return 9;
}

static int frame(int fd, uint8_t type, uint8_t flags, uint32_t stream, const void *payload, size_t len)
{
	_cleanup_free_ uint8_t *b = malloc(len + 9);

	memcpy(b + head(b, len, type, flags, stream), payload, len);
	return put(fd, b, len + 9);
}

/* A literal that is not put into the table. */
static size_t field(uint8_t *to, const char *name, const char *value)
{
	size_t n = strlen(name), v = strlen(value);

	to[0] = 0;
	to[1] = (uint8_t)n;
	memcpy(to + 2, name, n);
	to[2 + n] = (uint8_t)v;
	memcpy(to + 3 + n, value, v);
	return 3 + n + v;
}

static size_t request(uint8_t *to, const char *method, const char *path, const char *type)
{
	size_t n = field(to, ":method", method);

	n += field(to + n, ":scheme", "http");
	n += field(to + n, ":path", path);
	n += field(to + n, ":authority", "localhost");
	return n + field(to + n, "content-type", type);
}

static int call(Server *s, uint32_t stream, const char *path, uint8_t flags)
{
	uint8_t b[512];

	return frame(s->peer, HEADERS, END_HEADERS | flags, stream, b,
		     request(b, "POST", path, "application/grpc"));
}

static void server_start(Server *s)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	s->fd = sv[0];
	s->peer = sv[1];
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_open(Server *s)
{
	server_start(s);
	assert_int_equal(put(s->peer, PREFACE, 24), 0);
	assert_int_equal(frame(s->peer, SETTINGS, 0, 0, "", 0), 0);
}

/* The server has returned, with an error that says this; NULL: with none. */
static void server_ends(Server *s, const char *why)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	if (!why)
		(void)shutdown(s->peer, SHUT_RDWR);
	if (pthread_timedjoin_np(s->thread, NULL, &until) != 0)
		fail_msg("the connection goes on");
	assert_int_equal(s->running, 0);
	(void)close(s->fd);
	(void)close(s->peer);
	if (why && (s->result == 0 || !strstr(s->e.msg, why)))
		fail_msg("expected \"%s\": %d, \"%s\"", why, s->result, s->e.msg);
	if (!why && s->result < 0)
		fail_msg("unexpected: %s", s->e.msg);
}

typedef struct Frame {
	uint8_t type, flags;
	uint32_t stream,
	    code; /* code: the last four bytes of RST_STREAM's and the second four of GOAWAY's payload */
	size_t len;
	uint8_t data[70000];
} Frame;

static bool get(int fd, void *to, size_t len)
{
	uint8_t *p = to;

	while (len > 0) {
		struct pollfd r = {.fd = fd, .events = POLLIN};
		ssize_t n = poll(&r, 1, 10000) == 1 ? recv(fd, p, len, 0) : 0;

		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool next(int fd, Frame *f)
{
	uint8_t h[9];

	if (!get(fd, h, 9))
		return false;
	f->len = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
	f->type = h[3];
	f->flags = h[4];
	f->stream = be32(h + 5);
	if (f->len > sizeof(f->data) || !get(fd, f->data, f->len))
		return false;
	f->code = f->type == RST_STREAM ? be32(f->data) : f->type == GOAWAY ? be32(f->data + 4) : 0;
	return true;
}

/* The next frame of a type and a stream, if it comes before the connection ends. */
static bool find(int fd, Frame *f, uint8_t type, uint32_t stream)
{
	while (next(fd, f))
		if (f->type == type && f->stream == stream)
			return true;
	return false;
}

static void wait_until(const int *n, int at_least)
{
	for (int i = 0; __atomic_load_n(n, __ATOMIC_SEQ_CST) < at_least; i++) {
		if (i > 4000)
			fail_msg("%d of %d", *n, at_least);
		usleep(5000);
	}
}

/* The connection still works. */
static void still_there(Server *s, uint32_t stream)
{
	_cleanup_free_ Frame *f = malloc(sizeof(*f));

	assert_int_equal(call(s, stream, "/grpc.health.v1.Health/Check", END_STREAM), 0);
	if (!find(s->peer, f, DATA, stream))
		fail_msg("no answer any more");
	assert_int_equal(f->len, 7);
}

/* ---- before the first call ---- */

static void test_garbage(void **state)
{
	static const char *const garbage[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\0\x01",
					      PREFACE "\0\0\0\0\0\0\0\0\0"};

	for (size_t i = 0; i < ELEMENTSOF(garbage); i++) {
		Server s = {0};

		server_start(&s);
		assert_int_equal(put(s.peer, garbage[i], i == 2 ? 33 : strlen(garbage[i])), 0);
		server_ends(&s, "gRPC: ");
	}
}

static void test_silent_client(void **state)
{
	Server s = {.limits = {.hello_timeout_ms = 40}};

	server_start(&s);
	assert_int_equal(put(s.peer, PREFACE, 24), 0);
	server_ends(&s, "preface did not come within 40 ms");
}

/* Half open: nobody answers on the other side any more. */
static void test_half_open(void **state)
{
	Server s = {.limits = {.ping_ms = 40}};

	server_open(&s);
	assert_int_equal(call(&s, 1, "/t.T/Hold", 0), 0);
	server_ends(&s, "silent for 80 ms");
}

/* ---- floods ---- */

/* Whether the flood of one frame ended with GOAWAY or the connection's end; answers are read or left. */
static void flood(Server *s, uint8_t type, uint8_t flags, uint32_t stream, const void *payload, size_t len,
		  bool read)
{
	_cleanup_free_ Frame *f = malloc(sizeof(*f));
	int i;

	for (i = 0; i < 200000; i++) {
		if (frame(s->peer, type, flags, stream, payload, len) < 0)
			break;
		while (read && recv(s->peer, f->data, sizeof(f->data), MSG_DONTWAIT) > 0)
			;
	}
	if (i == 200000)
		fail_msg("%d frames of type %d were taken", i, type);
}

static void test_control_floods(void **state)
{
	static const struct {
		uint8_t type, flags, stream, len;
	} kinds[] = {{PING, 0, 0, 8},     {PING, ACK, 0, 8},        {SETTINGS, 0, 0, 0},
		     {PRIORITY, 0, 3, 5}, {WINDOW_UPDATE, 0, 1, 4}, {DATA, 0, 1, 0}};

	for (size_t i = 0; i < ELEMENTSOF(kinds) * 2; i++) {
		size_t k = i / 2;
		Server s = {0};

		server_open(&s);
		assert_int_equal(call(&s, 1, "/t.T/Hold", 0), 0);
		flood(&s, kinds[k].type, kinds[k].flags, kinds[k].stream, "\0\0\0\1\0\0\0\0", kinds[k].len,
		      i % 2);
		server_ends(&s, "frames without content");
	}
}

static void test_rapid_reset(void **state)
{
	Server s = {.limits = {.calls_max = 20}};
	_cleanup_free_ Frame *f = malloc(sizeof(*f));
	uint32_t i;

	server_open(&s);
	for (i = 0; i < 100000; i++) {
		if (call(&s, 2 * i + 1, "/t.T/Hold", 0) < 0 ||
		    frame(s.peer, RST_STREAM, 0, 2 * i + 1, "\0\0\0\x8", 4) < 0)
			break;
		while (recv(s.peer, f->data, sizeof(f->data), MSG_DONTWAIT) > 0)
			;
	}
	if (i == 100000)
		fail_msg("taken without end");
	server_ends(&s, "gRPC: ");
	assert_true(s.most <= 20);
	assert_true(s.begun <= 2200);
}

/* Calls are reset, and their methods go on: the methods are what is counted. */
static void test_reset_of_stuck_methods(void **state)
{
	Server s = {.limits = {.calls_max = 4}};

	server_open(&s);
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(call(&s, 2 * i + 1, "/t.T/Stuck", 0), 0);
		assert_int_equal(frame(s.peer, RST_STREAM, 0, 2 * i + 1, "\0\0\0\x8", 4), 0);
	}
	wait_until(&s.begun, 4);
	usleep(50000);
	assert_int_equal(s.begun, 4);
	__atomic_store_n(&s.released, 1, __ATOMIC_SEQ_CST);
	wait_until(&s.ended, 4);
	still_there(&s, 1001);
	server_ends(&s, NULL);
}

static void test_too_many_streams(void **state)
{
	Server s = {.limits = {.calls_max = 10}};
	_cleanup_free_ Frame *f = malloc(sizeof(*f));

	server_open(&s);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(call(&s, 2 * i + 1, "/t.T/Hold", 0), 0);
	for (int refused = 0; refused < 90; refused++) {
		assert_true(next(s.peer, f));
		refused -= f->type != RST_STREAM;
		assert_true(f->type != RST_STREAM || (f->code == REFUSED_STREAM && f->stream > 20));
	}
	wait_until(&s.begun, 10);
	assert_int_equal(s.begun, 10);
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(frame(s.peer, RST_STREAM, 0, 2 * i + 1, "\0\0\0\x8", 4), 0);
	wait_until(&s.ended, 10);
	still_there(&s, 1001);
	server_ends(&s, NULL);
}

/* What it asks for is not read: the answers (RST_STREAM) may not pile up. */
static void test_refusals_not_read(void **state)
{
	Server s = {.limits = {.calls_max = 1}};
	uint32_t i;

	server_open(&s);
	for (i = 0; i < 100000 && call(&s, 2 * i + 1, "/t.T/Hold", 0) == 0; i++)
		;
	if (i == 100000)
		fail_msg("taken without end");
	server_ends(&s, "gRPC: ");
}

static void test_continuation_flood(void **state)
{
	Server s = {0};
	uint8_t b[512];
	int i;

	server_open(&s);
	assert_int_equal(frame(s.peer, HEADERS, 0, 1, b, request(b, "POST", "/t.T/Hold", "application/grpc")),
			 0);
	for (i = 0; i < 100000 && frame(s.peer, CONTINUATION, 0, 1, "", 0) == 0; i++)
		;
	assert_true(i < 100000);
	server_ends(&s, "gRPC: ");
}

/* ---- metadata ---- */

/* One entry of the table is named by a byte, again and again: a few kilobytes become many megabytes. */
static void test_hpack_bomb(void **state)
{
	Server s = {0};
	uint8_t b[16384];
	size_t n = request(b, "POST", "/t.T/Hold", "application/grpc"), before;

	b[n++] = 0x40; /* a literal that goes into the table, "x" with 3900 bytes */
	b[n++] = 1;
	b[n++] = 'x';
	b[n++] = 0x7F;
	b[n++] = 0xBD; /* 3900 - 127 = 3773 = 29 * 128 + 61 */
	b[n++] = 29;
	memset(b + n, 'a', 3900);
	n += 3900;
	memset(b + n, 0xBE, sizeof(b) - n); /* entry 62, the newest */
	before = mallinfo2().uordblks;
	server_open(&s);
	assert_int_equal(frame(s.peer, HEADERS, END_HEADERS, 1, b, sizeof(b)), 0);
	server_ends(&s, "of metadata in one block");
	assert_true(mallinfo2().uordblks < before + 256 * 1024);
	assert_int_equal(s.begun, 0);
}

/* Too much by mistake: the call fails, with a reason. */
static void test_large_metadata(void **state)
{
	Server s = {.limits = {.metadata_max = 4096}};
	_cleanup_free_ Frame *f = malloc(sizeof(*f));
	char value[101];
	uint8_t b[16384];
	size_t n = request(b, "POST", "/t.T/Hold", "application/grpc");

	memset(value, 'v', 100);
	value[100] = '\0';
	for (int i = 0; i < 50; i++)
		n += field(b + n, "x-many", value);
	server_open(&s);
	assert_int_equal(frame(s.peer, HEADERS, END_HEADERS, 1, b, n), 0);
	assert_true(find(s.peer, f, HEADERS, 1));
	assert_int_equal(f->flags & END_STREAM, END_STREAM);
	assert_int_equal(s.begun, 0);
	still_there(&s, 3);
	server_ends(&s, NULL);
}

static void test_not_grpc(void **state)
{
	static const struct {
		const char *method, *type, *status;
	} lies[] = {{"GET", "application/grpc", "405"},
		    {"POST", "text/html", "415"},
		    {"POST", "application/grpcx", "415"}};
	Server s = {0};
	_cleanup_free_ Frame *f = malloc(sizeof(*f));
	uint8_t b[512];

	server_open(&s);
	for (uint32_t i = 0; i < ELEMENTSOF(lies); i++) {
		assert_int_equal(frame(s.peer, HEADERS, END_HEADERS, 2 * i + 1, b,
				       request(b, lies[i].method, "/t.T/Hold", lies[i].type)),
				 0);
		assert_true(find(s.peer, f, HEADERS, 2 * i + 1));
		assert_int_equal(f->flags & END_STREAM, END_STREAM);
	}
	assert_int_equal(s.begun, 0);
	still_there(&s, 101);
	server_ends(&s, NULL);
}

/* ---- messages ---- */

/* Lengths that are only announced cost nothing. */
static void test_announced_lengths(void **state)
{
	Server s = {0};
	size_t before;

	server_open(&s);
	still_there(&s, 1);
	before = mallinfo2().uordblks + mallinfo2().hblkhd;
	for (uint32_t i = 1; i <= 100; i++) {
		assert_int_equal(call(&s, 2 * i + 1, "/t.T/Take", 0), 0);
		assert_int_equal(frame(s.peer, DATA, 0, 2 * i + 1,
				       "\0\0\xFF\xFF\xFF"
				       "a",
				       6),
				 0);
	}
	still_there(&s, 1001);
	assert_true(mallinfo2().uordblks + mallinfo2().hblkhd < before + 12 * 1024 * 1024);
	server_ends(&s, NULL);
}

static void test_message_too_large(void **state)
{
	Server s = {0};

	server_open(&s);
	assert_int_equal(call(&s, 1, "/t.T/Take", 0), 0);
	assert_int_equal(frame(s.peer, DATA, 0, 1,
			       "\0\xFF\xFF\xFF\xFF"
			       "a",
			       6),
			 0);
	wait_until(&s.ended, 1);
	assert_int_equal(s.last_status, 8);
	still_there(&s, 3);
	server_ends(&s, NULL);
}

static void test_broken_messages(void **state)
{
	static const struct {
		const char *data;
		size_t len;
		uint32_t status;
	} lies[] = {{"\0\0\0\0\5"
		     "abc",
		     8, 13},
		    {"\0\0", 2, 13},
		    {"\1\0\0\0\1"
		     "a",
		     6, 12},
		    {"\x80\0\0\0\1"
		     "a",
		     6, 12},
		    {"\0\0\0\0\1"
		     "ab",
		     7, 13}};
	Server s = {0};

	server_open(&s);
	for (uint32_t i = 0; i < ELEMENTSOF(lies); i++) {
		assert_int_equal(call(&s, 2 * i + 1, "/t.T/Take", 0), 0);
		assert_int_equal(frame(s.peer, DATA, END_STREAM, 2 * i + 1, lies[i].data, lies[i].len), 0);
		wait_until(&s.ended, (int)i + 1);
		assert_int_equal(s.last_status, lies[i].status);
	}
	still_there(&s, 101);
	server_ends(&s, NULL);
}

/* Messages that nobody takes, in many calls: the sum has a limit. */
static void test_memory_max(void **state)
{
	Server s = {.limits = {.memory_max = 4 * 1024 * 1024}};
	_cleanup_free_ uint8_t *block = calloc(1, 16384);
	size_t before;

	memcpy(block, "\0\0\0\x3F\xFB", 5);
	server_open(&s);
	assert_int_equal(frame(s.peer, SETTINGS, ACK, 0, "", 0), 0);
	still_there(&s, 1);
	before = mallinfo2().uordblks + mallinfo2().hblkhd;
	for (uint32_t i = 1; i <= 100; i++) {
		assert_int_equal(call(&s, 2 * i + 1, "/t.T/Hold", 0), 0);
		for (int k = 0; k < 60; k++) /* 960 KiB: within the stream's window */
			assert_int_equal(frame(s.peer, DATA, 0, 2 * i + 1, block, 16384), 0);
	}
	still_there(&s, 1001);
	assert_true(mallinfo2().uordblks + mallinfo2().hblkhd < before + 6 * 1024 * 1024);
	server_ends(&s, NULL);
}

/* ---- streams and windows ---- */

static void test_data_after_the_end(void **state)
{
	Server s = {0};

	server_open(&s);
	assert_int_equal(call(&s, 1, "/t.T/Hold", END_STREAM), 0);
	assert_int_equal(frame(s.peer, DATA, 0, 1, "\0\0\0\0\1a", 6), 0);
	server_ends(&s, "STREAM_CLOSED");
}

static void test_trailers_without_end(void **state)
{
	Server s = {0};
	uint8_t b[64];
	_cleanup_free_ Frame *f = malloc(sizeof(*f));

	server_open(&s);
	assert_int_equal(call(&s, 3, "/t.T/Hold", 0), 0);
	assert_int_equal(frame(s.peer, HEADERS, END_HEADERS, 3, b, field(b, "x-a", "b")), 0);
	assert_true(find(s.peer, f, RST_STREAM, 3));
	assert_int_equal(f->code, PROTOCOL_ERROR);
	wait_until(&s.ended, 1);
	still_there(&s, 5);
	server_ends(&s, NULL);
}

static void test_closed_window(void **state)
{
	Server s = {0};
	_cleanup_free_ Frame *f = malloc(sizeof(*f));

	server_open(&s);
	assert_int_equal(frame(s.peer, SETTINGS, 0, 0, "\0\4\0\0\0\0", 6), 0); /* INITIAL_WINDOW_SIZE 0 */
	assert_int_equal(call(&s, 1, "/t.T/Pour", END_STREAM), 0);
	assert_int_equal(call(&s, 3, "/t.T/Pour", END_STREAM), 0);
	wait_until(&s.begun, 2);
	assert_int_equal(frame(s.peer, WINDOW_UPDATE, 0, 3, "\0\0\0\7", 4), 0);
	for (size_t got = 0; got < 7; got += f->len) {
		do
			assert_true(next(s.peer, f));
		while (f->type != DATA);
		assert_int_equal(f->stream, 3);
	}
	assert_int_equal(frame(s.peer, WINDOW_UPDATE, 0, 1, "\0\0\0\1", 4), 0);
	assert_true(find(s.peer, f, DATA, 1));
	assert_int_equal(f->len, 1);
	assert_int_equal(frame(s.peer, RST_STREAM, 0, 1, "\0\0\0\x8", 4), 0);
	wait_until(&s.ended, 1);
	server_ends(&s, NULL);
}

static void test_window_overflow(void **state)
{
	Server s = {0};
	_cleanup_free_ Frame *f = malloc(sizeof(*f));

	server_open(&s);
	assert_int_equal(call(&s, 1, "/t.T/Hold", 0), 0);
	assert_int_equal(frame(s.peer, WINDOW_UPDATE, 0, 1, "\x7F\xFF\xFF\xFF", 4), 0);
	assert_true(find(s.peer, f, RST_STREAM, 1));
	assert_int_equal(f->code, FLOW_CONTROL_ERROR);
	wait_until(&s.ended, 1);
	assert_int_equal(frame(s.peer, WINDOW_UPDATE, 0, 0, "\x7F\xFF\xFF\xFF", 4), 0);
	server_ends(&s, "");
}

/* More than the window allows. */
static void test_window_ignored(void **state)
{
	Server s = {.limits = {.window = 65535}};
	_cleanup_free_ uint8_t *block = calloc(1, 16384);
	_cleanup_free_ Frame *f = malloc(sizeof(*f));

	memcpy(block, "\0\0\0\x3F\xFB", 5);
	server_open(&s);
	/* Our SETTINGS are in force once they are acknowledged. */
	assert_true(find(s.peer, f, SETTINGS, 0));
	assert_int_equal(frame(s.peer, SETTINGS, ACK, 0, "", 0), 0);
	assert_int_equal(call(&s, 1, "/t.T/Hold", 0), 0);
	for (int i = 0; i < 20; i++)
		assert_int_equal(frame(s.peer, DATA, 0, 1, block, 16384), 0);
	assert_true(find(s.peer, f, RST_STREAM, 1));
	assert_int_equal(f->code, FLOW_CONTROL_ERROR);
	server_ends(&s, NULL);
}

/* Nothing is read, and much asked for. */
static void test_never_reads(void **state)
{
	Server s = {0};
	size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;

	server_open(&s);
	assert_int_equal(frame(s.peer, SETTINGS, 0, 0, "\0\4\x7F\xFF\xFF\xFF", 6), 0);
	assert_int_equal(frame(s.peer, WINDOW_UPDATE, 0, 0, "\x7F\xFF\0\0", 4), 0);
	for (uint32_t i = 0; i < 50; i++)
		assert_int_equal(call(&s, 2 * i + 1, "/t.T/Pour", END_STREAM), 0);
	wait_until(&s.begun, 50);
	usleep(100000);
	assert_true(mallinfo2().uordblks + mallinfo2().hblkhd < before + 3 * 1024 * 1024);
	server_ends(&s, NULL);
	assert_int_equal(s.ended, 50);
}

/* ---- our client, whose server is the attacker ---- */

typedef struct Client {
	GrpcConnection *c;
	GrpcCall *call;
	int peer;
} Client;

static void client_open(Client *k)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	k->peer = sv[1];
	assert_int_equal(grpc_connect(sv[0], "localhost", NULL, &k->c, NULL), 0);
	assert_int_equal(grpc_call_begin(k->c, "/t.T/X", NULL, 0, &k->call, NULL), 0);
	assert_int_equal(frame(k->peer, SETTINGS, 0, 0, "", 0), 0);
	assert_int_equal(frame(k->peer, SETTINGS, ACK, 0, "", 0), 0);
}

/* How the call ended: the code. */
static uint32_t client_ends(Client *k, const char *why)
{
	Err e = {0};
	uint8_t *m;
	size_t len;
	int r;

	while ((r = grpc_receive(k->call, &m, &len, &e)) > 0)
		free(m);
	r = grpc_call_finish(k->call, &e);
	grpc_connection_close(k->c);
	(void)close(k->peer);
	if (why && !strstr(e.msg, why))
		fail_msg("expected \"%s\": \"%s\"", why, e.msg);
	return grpc_status_of(&e, r);
}

/* An answer's head of one or two fields. */
static void answer(Client *k, uint8_t flags, const char *status, const char *name, const char *value)
{
	uint8_t b[512];
	size_t n = 0;

	if (status)
		n += field(b + n, ":status", status);
	if (name)
		n += field(b + n, name, value);
	assert_int_equal(frame(k->peer, HEADERS, (uint8_t)(END_HEADERS | flags), 1, b, n), 0);
}

static void grpc_head(Client *k)
{
	answer(k, 0, "200", "content-type", "application/grpc+proto");
}

static void test_client_answers(void **state)
{
	static const struct {
		const char *status, *name, *value;
		uint8_t flags;
		uint32_t code;
		const char *why;
	} rows[] = {
	    {"503", "content-type", "text/html", 0, 14, "HTTP status 503"},
	    {"404", "content-type", "text/html", END_STREAM, 12, "HTTP status 404"},
	    {"200", "content-type", "text/html", 0, 2, "content-type"},
	    {"200", "content-type", "application/grpc", END_STREAM, 13, "without a status"},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		Client k;

		client_open(&k);
		answer(&k, 0, "103", NULL, NULL);
		answer(&k, rows[i].flags, rows[i].status, rows[i].name, rows[i].value);
		assert_int_equal(client_ends(&k, rows[i].why), rows[i].code);
	}
}

static void test_client_statuses(void **state)
{
	static const struct {
		const char *status;
		uint32_t code;
	} rows[] = {{"0", 0}, {"5", 5}, {"77", 2}, {"-1", 2}, {"99999999999999999999", 2}, {"x", 2}, {"", 2}};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		Client k;

		client_open(&k);
		grpc_head(&k);
		assert_int_equal(frame(k.peer, DATA, 0, 1, "\0\0\0\0\0", 5), 0);
		answer(&k, END_STREAM, NULL, "grpc-status", rows[i].status);
		assert_int_equal(client_ends(&k, NULL), rows[i].code);
	}
}

static void test_client_messages(void **state)
{
	static const struct {
		const char *data;
		size_t len;
		uint8_t flags;
		uint32_t code;
	} rows[] = {{"\0\xFF\0\0\0", 5, 0, 8},
		    {"\1\0\0\0\0", 5, 0, 12},
		    {"\0\0\0\0\5xx", 7, END_STREAM, 13},
		    {"\0\0\0\0\0", 5, END_STREAM, 13}};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		Client k;

		client_open(&k);
		grpc_head(&k);
		assert_int_equal(frame(k.peer, DATA, rows[i].flags, 1, rows[i].data, rows[i].len), 0);
		assert_int_equal(client_ends(&k, NULL), rows[i].code);
	}
}

static void test_client_endings(void **state)
{
	static const struct {
		uint8_t type, flags, stream;
		const char *data;
		size_t len;
		uint32_t code;
	} rows[] = {
	    {RST_STREAM, 0, 1, "\0\0\0\x7", 4, 14},
	    {RST_STREAM, 0, 1, "\0\0\0\xB", 4, 8},
	    {RST_STREAM, 0, 1, "\0\0\0\0", 4, 13},
	    {GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8, 14},
	    {GOAWAY, 0, 0, "\0\0\0\0\0\0\0\1why", 11, 14},
	    {PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\2\x82", 5, 14},
	    {SETTINGS, 0, 1, "", 0, 14},
	    {DATA, 0, 7, "x", 1, 14},
	    {HEADERS, END_HEADERS, 2, "\x88", 1, 14},
	    {PING, 0, 0, "x", 1, 14},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		Client k;

		client_open(&k);
		assert_int_equal(frame(k.peer, rows[i].type, rows[i].flags, rows[i].stream, rows[i].data,
				       rows[i].len),
				 0);
		if (client_ends(&k, NULL) != rows[i].code)
			fail_msg("row %zu", i);
	}
}

static void test_client_floods(void **state)
{
	Client k;
	int i;

	client_open(&k);
	for (i = 0; i < 200000 && frame(k.peer, PING, 0, 0, "\0\0\0\0\0\0\0\0", 8) == 0; i++)
		;
	assert_true(i < 200000);
	assert_int_equal(client_ends(&k, "frames without content"), 14);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_garbage),
	    cmocka_unit_test(test_silent_client),
	    cmocka_unit_test(test_half_open),
	    cmocka_unit_test(test_control_floods),
	    cmocka_unit_test(test_rapid_reset),
	    cmocka_unit_test(test_too_many_streams),
	    cmocka_unit_test(test_refusals_not_read),
	    cmocka_unit_test(test_continuation_flood),
	    cmocka_unit_test(test_reset_of_stuck_methods),
	    cmocka_unit_test(test_hpack_bomb),
	    cmocka_unit_test(test_large_metadata),
	    cmocka_unit_test(test_not_grpc),
	    cmocka_unit_test(test_announced_lengths),
	    cmocka_unit_test(test_message_too_large),
	    cmocka_unit_test(test_broken_messages),
	    cmocka_unit_test(test_memory_max),
	    cmocka_unit_test(test_data_after_the_end),
	    cmocka_unit_test(test_trailers_without_end),
	    cmocka_unit_test(test_closed_window),
	    cmocka_unit_test(test_window_overflow),
	    cmocka_unit_test(test_window_ignored),
	    cmocka_unit_test(test_never_reads),
	    cmocka_unit_test(test_client_answers),
	    cmocka_unit_test(test_client_statuses),
	    cmocka_unit_test(test_client_messages),
	    cmocka_unit_test(test_client_endings),
	    cmocka_unit_test(test_client_floods),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
