/* SPDX-License-Identifier: Apache-2.0 */
/* Our client against our server, over a socket pair. What other peers do is in hostile-test.c. */
#include "wire/grpc/grpc.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/test.h"

#include "grpc-test.pb-c.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

/* ---- a server with methods that do what their names say ---- */

static int echo(GrpcCall *call, void *user, Err *e)
{
	uint8_t *m;
	size_t len;
	int r;

	while ((r = grpc_receive(call, &m, &len, e)) > 0) {
		r = grpc_send(call, m, len, e);
		free(m);
		if (r < 0)
			return r;
	}
	return r;
}

static int upper(GrpcCall *call, void *user, Err *e)
{
	Ireko__Test__Text *m, answer = IREKO__TEST__TEXT__INIT;
	int r = grpc_receive_only(call, &ireko__test__text__descriptor, (ProtobufCMessage **)&m, e);

	if (r < 0)
		return r;
	for (char *p = m->text; *p; p++)
		*p = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
	answer.text = m->text;
	r = grpc_send_message_more(call, &answer.base, e);
	protobuf_c_message_free_unpacked(&m->base, NULL);
	return r;
}

/* How many empty messages there are. */
static int count_empties(GrpcCall *call, void *user, Err *e)
{
	Ireko__Test__Text *m;
	int r = grpc_receive_only(call, &ireko__test__text__descriptor, (ProtobufCMessage **)&m, e);
	uint32_t n;

	if (r < 0)
		return r;
	n = (uint32_t)m->n_empties;
	protobuf_c_message_free_unpacked(&m->base, NULL);
	return grpc_send(call, &n, sizeof(n), e);
}

static int failing(GrpcCall *call, void *user, Err *e)
{
	(void)grpc_set_details(call, "\x08\x05\0\xFF", 4);
	if (grpc_set_trailer(call, "x-why", "because", e) < 0)
		return -EIO;
	return err_new(e, ERR_NOT_FOUND, "nothing is named \"\xC3\xA9%%\n\" here ");
}

static int late_failure(GrpcCall *call, void *user, Err *e)
{
	if (grpc_set_header(call, "x-head", "early", e) < 0 || grpc_send(call, "one", 3, e) < 0)
		return -EIO;
	if (grpc_set_header(call, "x-head", "late", NULL) != -EEXIST)
		return err_new(e, ERR_INTERNAL, "a header was taken behind the head");
	return err_new_no(e, ERR_CONFLICT, ESTALE, "no more");
}

static int metadata(GrpcCall *call, void *user, Err *e)
{
	for (size_t i = 0; grpc_metadata(call, "x-name", i); i++)
		if (grpc_send_more(call, grpc_metadata(call, "x-name", i),
				   strlen(grpc_metadata(call, "x-name", i)), e) < 0)
			return -EIO;
	for (size_t i = 0;; i++) {
		_cleanup_free_ uint8_t *data = NULL;
		size_t len;
		int r = grpc_metadata_bin(call, "x-data-bin", i, &data, &len, e);

		if (r <= 0)
			return r;
		if (grpc_send_more(call, data, len, e) < 0)
			return -EIO;
	}
}

/* Waits for the end of the call, and tells. */
typedef struct Seen {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int started, ended, last;
} Seen;

static int waits(GrpcCall *call, void *user, Err *e)
{
	Seen *seen = user;
	struct pollfd p = {.fd = grpc_call_alive_fd(call)};
	uint8_t *m;
	size_t len;
	int r;

	pthread_mutex_lock(&seen->lock);
	seen->started++;
	pthread_cond_broadcast(&seen->changed);
	pthread_mutex_unlock(&seen->lock);
	while (poll(&p, 1, 20000) < 0)
		;
	r = p.revents & POLLHUP ? grpc_receive(call, &m, &len, e)
				: err_new(e, ERR_INTERNAL, "nothing ended the call");
	pthread_mutex_lock(&seen->lock);
	seen->ended++;
	seen->last = e->kind == ERR_CANCELLED ? -r : 0;
	pthread_cond_broadcast(&seen->changed);
	pthread_mutex_unlock(&seen->lock);
	return r;
}

static int source(GrpcCall *call, void *user, Err *e)
{
	_cleanup_free_ uint8_t *block = calloc(1, 32768);
	const char *n = grpc_metadata(call, "x-count", 0);

	for (int i = 0; i < atoi(n); i++) {
		block[0] = (uint8_t)i;
		if (grpc_send(call, block, 32768, e) < 0)
			return -EIO;
	}
	return 0;
}

static int sink(GrpcCall *call, void *user, Err *e)
{
	uint64_t total = 0;
	uint8_t *m;
	size_t len;
	int r;

	while ((r = grpc_receive(call, &m, &len, e)) > 0) {
		total += len;
		free(m);
	}
	return r < 0 ? r : grpc_send(call, &total, sizeof(total), e);
}

static const GrpcMethod methods[] = {
    {"/t.T/Echo", echo},
    {"/t.T/Empties", count_empties},
    {"/t.T/Upper", upper},
    {"/t.T/Fail", failing},
    {"/t.T/LateFail", late_failure},
    {"/t.T/Metadata", metadata},
    {"/t.T/Wait", waits},
    {"/t.T/Source", source},
    {"/t.T/Sink", sink},
    {NULL},
};

typedef struct House {
	pthread_t thread;
	int fd, result;
	Seen seen;
	GrpcLimits limits, client_limits;
	GrpcConnection *c;
	Err e;
} House;

static void *serve(void *arg)
{
	House *h = arg;

	h->result = grpc_serve(h->fd, NULL, 0, methods, &h->seen, &h->limits, &h->e);
	return NULL;
}

static void house_open(House *h)
{
	Err e = {0};
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	pthread_mutex_init(&h->seen.lock, NULL);
	pthread_cond_init(&h->seen.changed, NULL);
	h->fd = sv[0];
	assert_int_equal(pthread_create(&h->thread, NULL, serve, h), 0);
	assert_int_equal(grpc_connect(sv[1], "localhost", &h->client_limits, &h->c, &e), 0);
}

static void house_close(House *h)
{
	grpc_connection_close(h->c);
	pthread_join(h->thread, NULL);
	close_fd(&h->fd);
	if (h->result < 0)
		fail_msg("the server: %s", h->e.msg);
}

/* A message behind the others must be this one; NULL: the end. */
static void expect(GrpcCall *call, const char *text)
{
	_cleanup_free_ uint8_t *m = NULL;
	size_t len = 0;
	Err e = {0};
	int r = grpc_receive(call, &m, &len, &e);

	if (r < 0)
		fail_msg("receive: %s", e.msg);
	assert_int_equal(r, text ? 1 : 0);
	if (text) {
		assert_int_equal(len, strlen(text));
		assert_memory_equal(m, text, len);
	}
}

static GrpcCall *begin(House *h, const char *path, const GrpcField *fields, size_t n)
{
	GrpcCall *call = NULL;
	Err e = {0};

	if (grpc_call_begin(h->c, path, fields, n, &call, &e) < 0)
		fail_msg("begin %s: %s", path, e.msg);
	return call;
}

/* ---- the tests ---- */

static void test_unary(void **state)
{
	House h = {0};
	Ireko__Test__Text rq = IREKO__TEST__TEXT__INIT, *rs = NULL;
	Err e = {0};

	house_open(&h);
	rq.text = (char *)"hello";
	for (int i = 0; i < 50; i++) {
		assert_int_equal(grpc_unary(h.c, "/t.T/Upper", NULL, 0, &rq.base,
					    &ireko__test__text__descriptor, (ProtobufCMessage **)&rs, &e),
				 0);
		assert_string_equal(rs->text, "HELLO");
		protobuf_c_message_free_unpacked(&rs->base, NULL);
	}
	assert_int_equal(grpc_unary(h.c, "/t.T/Nothing", NULL, 0, &rq.base, &ireko__test__text__descriptor,
				    (ProtobufCMessage **)&rs, &e),
			 -EOPNOTSUPP);
	assert_string_equal(e.msg, "unknown method /t.T/Nothing");
	assert_int_equal(e.kind, ERR_UNSUPPORTED);
	house_close(&h);
}

static void test_health(void **state)
{
	House h = {0};
	GrpcCall *call;
	Err e = {0};

	house_open(&h);
	call = begin(&h, "/grpc.health.v1.Health/Check", NULL, 0);
	assert_int_equal(grpc_send(call, "", 0, &e), 0);
	assert_int_equal(grpc_send_end(call, &e), 0);
	expect(call, "\x08\x01");
	expect(call, NULL);
	assert_int_equal(grpc_call_finish(call, &e), 0);
	house_close(&h);
}

static void test_streams(void **state)
{
	House h = {0};
	GrpcCall *a, *b;
	Err e = {0};

	house_open(&h);
	a = begin(&h, "/t.T/Echo", NULL, 0);
	b = begin(&h, "/t.T/Echo", NULL, 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(grpc_send(a, "ping", 4, &e), 0);
		assert_int_equal(grpc_send_more(b, "", 0, &e), 0);
		assert_int_equal(grpc_send(b, "pong", 4, &e), 0);
		expect(b, "");
		expect(b, "pong");
		expect(a, "ping");
	}
	assert_int_equal(grpc_send_end(a, &e), 0);
	expect(a, NULL);
	assert_int_equal(grpc_send(a, "x", 1, &e), -EPIPE);
	assert_int_equal(grpc_call_finish(a, &e), 0);
	assert_int_equal(grpc_call_finish(b, &e), 0);
	house_close(&h);
}

static void test_large_messages(void **state)
{
	static const size_t sizes[] = {0, 1, 8191, 8192, 8193, 65535, 1000000, 16 * 1024 * 1024};
	_cleanup_free_ uint8_t *out = malloc(sizes[ELEMENTSOF(sizes) - 1]);
	House h = {0};
	GrpcCall *call;
	Err e = {0};

	for (size_t i = 0; i < sizes[ELEMENTSOF(sizes) - 1]; i++)
		out[i] = (uint8_t)(i * 2654435761u >> 13);
	house_open(&h);
	call = begin(&h, "/t.T/Echo", NULL, 0);
	for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
		_cleanup_free_ uint8_t *in = NULL;
		size_t len;

		assert_int_equal(grpc_send(call, out, sizes[i], &e), 0);
		if (grpc_receive(call, &in, &len, &e) != 1)
			fail_msg("%zu: %s", sizes[i], e.msg);
		assert_int_equal(len, sizes[i]);
		assert_int_equal(memcmp(in, out, len), 0);
	}
	assert_int_equal(grpc_call_finish(call, &e), 0);
	house_close(&h);
}

static void test_errors(void **state)
{
	_cleanup_free_ uint8_t *details = NULL;
	House h = {0};
	GrpcCall *call;
	uint8_t *m;
	size_t len;
	Err e = {0};

	house_open(&h);
	call = begin(&h, "/t.T/Fail", NULL, 0);
	assert_int_equal(grpc_receive(call, &m, &len, &e), -ENOENT);
	assert_string_equal(e.msg, "nothing is named \"\xC3\xA9%\n\" here ");
	assert_string_equal(grpc_metadata(call, "x-why", 0), "because");
	assert_int_equal(grpc_metadata_bin(call, "grpc-status-details-bin", 0, &details, &len, &e), 1);
	assert_int_equal(len, 4);
	assert_memory_equal(details, "\x08\x05\0\xFF", 4);
	assert_int_equal(grpc_call_finish(call, &e), -ENOENT);

	call = begin(&h, "/t.T/LateFail", NULL, 0);
	expect(call, "one");
	assert_string_equal(grpc_metadata(call, "x-head", 0), "early");
	assert_null(grpc_metadata(call, "x-head", 1));
	assert_int_equal(grpc_receive(call, &m, &len, &e), -ESTALE);
	assert_int_equal(grpc_call_finish(call, &e), -ESTALE);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_string_equal(e.msg, "no more");
	house_close(&h);
}

static void test_metadata(void **state)
{
	static const GrpcField fields[] = {{"x-name", "one"},
					   {"x-name", "two, three"},
					   {"x-data-bin", "AAE,/w=="},
					   {"x-data-bin", "YWJj"},
					   {"x-name", ""}};
	static const GrpcField bad[][1] = {{{"X-Name", "v"}},
					   {{"x-name", "a\nb"}},
					   {{":path", "v"}},
					   {{"x-name", " v"}},
					   {{"grpc-timeout", "5"}}};
	House h = {0};
	GrpcCall *call;
	uint8_t *m;
	size_t len;
	Err e = {0};

	house_open(&h);
	call = begin(&h, "/t.T/Metadata", fields, ELEMENTSOF(fields));
	expect(call, "one");
	expect(call, "two, three");
	expect(call, "");
	assert_int_equal(grpc_receive(call, &m, &len, &e), 1);
	assert_int_equal(len, 2);
	assert_memory_equal(m, "\0\1", 2);
	free(m);
	expect(call, "\xFF");
	expect(call, "abc");
	expect(call, NULL);
	assert_int_equal(grpc_call_finish(call, &e), 0);
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		assert_int_equal(grpc_call_begin(h.c, "/t.T/Metadata", bad[i], 1, &call, &e), -EINVAL);
	house_close(&h);
}

static void wait_for(Seen *seen, const int *count, int n)
{
	pthread_mutex_lock(&seen->lock);
	while (*count < n)
		pthread_cond_wait(&seen->changed, &seen->lock);
	pthread_mutex_unlock(&seen->lock);
}

static void test_cancel(void **state)
{
	House h = {0};
	GrpcCall *call;
	struct pollfd p;
	Err e = {0};

	house_open(&h);
	call = begin(&h, "/t.T/Wait", NULL, 0);
	wait_for(&h.seen, &h.seen.started, 1);
	p = (struct pollfd){.fd = grpc_call_alive_fd(call)};
	assert_int_equal(poll(&p, 1, 0), 0);
	grpc_call_cancel(call);
	assert_int_equal(poll(&p, 1, 0), 1);
	assert_int_equal(grpc_call_finish(call, &e), -ECANCELED);
	wait_for(&h.seen, &h.seen.ended, 1);
	assert_int_equal(h.seen.last, ECANCELED);
	house_close(&h);
}

static void test_deadline(void **state)
{
	static const GrpcField soon[] = {{"grpc-timeout", "30m"}};
	House h = {0};
	GrpcCall *call;
	Err e = {0};

	house_open(&h);
	call = begin(&h, "/t.T/Wait", soon, 1);
	assert_int_equal(grpc_call_finish(call, &e), -ETIMEDOUT);
	assert_int_equal(e.kind, ERR_CANCELLED);
	wait_for(&h.seen, &h.seen.ended, 1);
	house_close(&h);
}

/* The client closes with calls under way, or goes without a word: the methods' calls end, and the server returns. */
static void test_closed_with_calls(void **state)
{
	House h = {0};
	struct pollfd p;
	GrpcCall *call;
	Err e = {0};

	house_open(&h);
	p = (struct pollfd){.fd = grpc_connection_dead_fd(h.c)};
	assert_int_equal(poll(&p, 1, 0), 0);
	call = begin(&h, "/t.T/Wait", NULL, 0);
	wait_for(&h.seen, &h.seen.started, 1);
	assert_int_equal(shutdown(h.fd, SHUT_RDWR), 0);
	assert_int_equal(grpc_call_finish(call, &e), -EAGAIN);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(grpc_call_begin(h.c, "/t.T/Echo", NULL, 0, &call, &e), -EAGAIN);
	wait_for(&h.seen, &h.seen.ended, 1);
	house_close(&h);
}

static void test_stop_fd(void **state)
{
	House h = {0};
	GrpcCall *call, *second;
	struct pollfd dead;
	int p[2];
	Err e = {0};

	assert_int_equal(pipe(p), 0);
	h.limits.stop_fd = p[0];
	house_open(&h);
	dead = (struct pollfd){.fd = grpc_connection_dead_fd(h.c)};
	call = begin(&h, "/t.T/Echo", NULL, 0);
	assert_int_equal(grpc_send(call, "a", 1, &e), 0);
	expect(call, "a");
	(void)close(p[1]);
	assert_int_equal(poll(&dead, 1, 5000), 1);
	assert_int_equal(grpc_call_begin(h.c, "/t.T/Echo", NULL, 0, &second, &e), -EAGAIN);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_int_equal(grpc_send(call, "b", 1, &e), 0);
	expect(call, "b");
	assert_int_equal(grpc_call_finish(call, &e), 0);
	pthread_join(h.thread, NULL);
	assert_int_equal(h.result, 0);
	grpc_connection_close(h.c);
	(void)close(h.fd);
	(void)close(p[0]);
}

static void test_idle(void **state)
{
	House h = {.limits = {.idle_timeout_ms = 20}};
	struct pollfd p;

	house_open(&h);
	p = (struct pollfd){.fd = grpc_connection_dead_fd(h.c)};
	assert_int_equal(poll(&p, 1, 5000), 1);
	house_close(&h);
}

/* The other call goes on while nobody reads this one, and its sender waits. */
typedef struct Pusher {
	GrpcCall *call;
	int sent, r;
} Pusher;

static void *push(void *arg)
{
	Pusher *p = arg;
	uint8_t block[16384] = {0};

	while ((p->r = grpc_send(p->call, block, sizeof(block), NULL)) == 0)
		__atomic_add_fetch(&p->sent, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void test_unread_call(void **state)
{
	House h = {0};
	Pusher p = {0};
	pthread_t t;
	int before;
	Err e = {0};
	GrpcCall *other;

	house_open(&h);
	p.call = begin(&h, "/t.T/Wait", NULL, 0); /* reads nothing */
	assert_int_equal(pthread_create(&t, NULL, push, &p), 0);
	do {
		before = __atomic_load_n(&p.sent, __ATOMIC_RELAXED);
		usleep(30000);
	} while (before == 0 || before != __atomic_load_n(&p.sent, __ATOMIC_RELAXED));
	assert_true(before * 16384 <= 2 * 1024 * 1024);
	other = begin(&h, "/t.T/Echo", NULL, 0);
	assert_int_equal(grpc_send(other, "through", 7, &e), 0);
	expect(other, "through");
	assert_int_equal(grpc_call_finish(other, &e), 0);
	grpc_call_cancel(p.call);
	pthread_join(t, NULL);
	assert_int_equal(p.r, -ECANCELED);
	assert_int_equal(grpc_call_finish(p.call, &e), -ECANCELED);
	house_close(&h);
}

static void test_bulk(void **state)
{
	static const GrpcField count[] = {{"x-count", "2000"}};
	House h = {0};
	GrpcCall *down, *up;
	_cleanup_free_ uint8_t *block = calloc(1, 32768), *total = NULL;
	size_t len;
	uint8_t *m;
	Err e = {0};

	house_open(&h);
	down = begin(&h, "/t.T/Source", count, 1);
	up = begin(&h, "/t.T/Sink", NULL, 0);
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(grpc_send(up, block, 32768, &e), 0);
		assert_int_equal(grpc_receive(down, &m, &len, &e), 1);
		assert_int_equal(len, 32768);
		assert_int_equal(m[0], (uint8_t)i);
		free(m);
	}
	expect(down, NULL);
	assert_int_equal(grpc_call_finish(down, &e), 0);
	assert_int_equal(grpc_send_end(up, &e), 0);
	assert_int_equal(grpc_receive(up, &total, &len, &e), 1);
	assert_int_equal(*(uint64_t *)(void *)total, 2000ull * 32768);
	assert_int_equal(grpc_call_finish(up, &e), 0);
	house_close(&h);
}

static void test_limits(void **state)
{
	House h = {.limits = {.message_max = 1000, .calls_max = 3},
		   .client_limits = {.calls_max = 2, .message_max = 100}};
	GrpcCall *a, *b, *c;
	char big[1001] = {0};
	uint8_t *m;
	size_t len;
	Err e = {0};

	house_open(&h);
	a = begin(&h, "/t.T/Echo", NULL, 0);
	b = begin(&h, "/t.T/Echo", NULL, 0);
	assert_int_equal(grpc_call_begin(h.c, "/t.T/Echo", NULL, 0, &c, &e), -ENOSPC);
	assert_int_equal(grpc_send(a, big, 1001, &e), 0);
	assert_int_equal(grpc_receive(a, &m, &len, &e), -ENOSPC);
	assert_string_equal(e.msg, "the message has 1001 bytes, more than the 1000 that are taken");
	assert_int_equal(grpc_call_finish(a, &e), -ENOSPC);
	assert_int_equal(grpc_send(b, big, 500, &e), 0);
	assert_int_equal(grpc_receive(b, &m, &len, &e), -ENOSPC);
	assert_string_equal(e.msg, "the message has 500 bytes, more than the 100 that are taken");
	assert_int_equal(grpc_call_finish(b, &e), -ENOSPC);
	house_close(&h);
}

/* Two bytes each, and some 72 while they are unpacked: a few are a message, millions an attack. */
static void test_unpack_budget(void **state)
{
	static const size_t counts[] = {5000, 2000000};
	_cleanup_free_ uint8_t *m = malloc(4000000), *answer = NULL;
	House h = {0};
	size_t len;
	Err e = {0};

	for (size_t i = 0; i < 4000000; i += 2) {
		m[i] = 0x12;
		m[i + 1] = 0;
	}
	house_open(&h);
	for (size_t i = 0; i < ELEMENTSOF(counts); i++) {
		GrpcCall *call = begin(&h, "/t.T/Empties", NULL, 0);

		assert_int_equal(grpc_send(call, m, counts[i] * 2, &e), 0);
		assert_int_equal(grpc_send_end(call, &e), 0);
		assert_int_equal(grpc_receive(call, &answer, &len, &e), i == 0 ? 1 : -EINVAL);
		assert_int_equal(*(uint32_t *)(void *)answer, counts[0]);
		assert_int_equal(grpc_call_finish(call, &e), i == 0 ? 0 : -EINVAL);
	}
	assert_string_equal(e.msg, "the message of 4000000 bytes is no ireko.test.Text");
	house_close(&h);
}

static void test_status_table(void **state)
{
	for (uint32_t code = 1; code <= 16; code++) {
		Err e = {0};
		int r = grpc_status_error(code, NULL, &e);

		assert_int_equal(grpc_status_of(&e, r), code);
		assert_int_equal(e.kind, grpc_kind_of(code));
	}
	assert_int_equal(grpc_status_of(NULL, 0), 0);
	assert_int_equal(grpc_kind_of(99), ERR_INTERNAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_unary),
	    cmocka_unit_test(test_health),
	    cmocka_unit_test(test_streams),
	    cmocka_unit_test(test_large_messages),
	    cmocka_unit_test(test_errors),
	    cmocka_unit_test(test_metadata),
	    cmocka_unit_test(test_cancel),
	    cmocka_unit_test(test_deadline),
	    cmocka_unit_test(test_closed_with_calls),
	    cmocka_unit_test(test_stop_fd),
	    cmocka_unit_test(test_idle),
	    cmocka_unit_test(test_unread_call),
	    cmocka_unit_test(test_bulk),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_status_table),
	    cmocka_unit_test(test_unpack_budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
