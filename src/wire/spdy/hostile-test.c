/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that break the protocol, or keep to it in order to use up what is ours. Each attack has a limit that it meets. */
#include "base/test.h"

#include "wire/spdy/test-peer.h"

#include <malloc.h>
#include <poll.h>
#include <sys/socket.h>

static const char *const none[] = {NULL};

/* A connection after some bytes of a client: over, and by the client's fault. */
static void assert_ended(Peer *p)
{
	SpdyStream *s;
	Err e = {0};
	int r;

	while ((r = spdy_accept(p->c, 10000, &s, &e)) > 0)
		spdy_stream_close(s);
	assert_int_equal(r, -EPROTO);
	peer_expect_end(p);
}

static void frames_that_end_a_connection(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} attacks[] = {
	    {"\x80\x02\0\x06\0\0\0\x04\0\0\0\x01", 12},       /* version 2 */
	    {"\x80\x03\0\x06\0\xff\xff\xff", 8},              /* a PING of 16 MiB */
	    {"\x80\x03\0\x06\0\0\0\x03\0\0\0", 11},           /* a short PING */
	    {"\x80\x03\0\x07\0\0\0\x04\0\0\0\0", 12},         /* a short GOAWAY */
	    {"\x80\x03\0\x03\0\0\0\x04\0\0\0\x01", 12},       /* a short RST_STREAM */
	    {"\x80\x03\0\x09\0\0\0\x04\0\0\0\x01", 12},       /* a short WINDOW_UPDATE */
	    {"\x80\x03\0\x01\0\0\0\x04\0\0\0\x01", 12},       /* a short SYN_STREAM */
	    {"\x80\x03\0\x08\0\0\0\x02\0\0", 10},             /* short HEADERS */
	    {"\x80\x03\0\x04\0\0\0\x04\xff\xff\xff\xff", 12}, /* settings that are not there */
	    {"\x80\x03\0\x04\0\0\0\x02\0\0", 10},             /* short SETTINGS */
	    {"\x80\x03\0\x04\0\0\0\x0c\0\0\0\1\0\0\0\7\xff\xff\xff\xff", 20}, /* a window of 4 GiB */
	    {"\x80\x03\0\x02\0\0\0\x04\0\0\0\x01", 12},                       /* SYN_REPLY */
	    {"\0\0\0\x01\0\0\0\x01x", 9},                                     /* data of no stream */
	    {"\0\0\0\0\0\0\0\x01x", 9},                                       /* data of stream 0 */
	    {"\x80\x03\0\x01\0\0\0\x0a\0\0\0\x02\0\0\0\0\0\0", 18},           /* an even stream */
	    {"\x80\x03\0\x01\0\0\0\x0a\0\0\0\0\0\0\0\0\0\0", 18},             /* stream 0 */
	    {"\x80\x03\0\x01\0\0\0\x0e\0\0\0\x01\0\0\0\0\0\0zzzz", 22}, /* headers that are not zlib's */
	    {"\x80\x03\0\x08\0\0\0\x08\0\0\0\x01zzzz", 16},             /* the same of HEADERS */
	};

	for (size_t i = 0; i < ELEMENTSOF(attacks); i++) {
		Peer p;

		peer_open(&p, NULL);
		assert_int_equal(peer_put(&p, attacks[i].bytes, attacks[i].len), 0);
		assert_ended(&p);
		peer_close(&p);
	}
}

static void streams_do_not_go_back(void **state)
{
	Peer p;

	peer_open(&p, NULL);
	assert_int_equal(peer_open_stream(&p, 5, 0, none), 0);
	assert_int_equal(peer_open_stream(&p, 3, 0, none), 0);
	assert_ended(&p);
	peer_close(&p);
}

static void a_frame_that_never_ends(void **state)
{
	SpdyStream *s;
	Peer p;

	peer_open(&p, NULL);
	assert_int_equal(peer_put(&p, "\x80\x03\0\x06\0\0\0\x04\0", 9), 0);
	(void)shutdown(p.fd, SHUT_WR);
	assert_int_equal(spdy_accept(p.c, 10000, &s, NULL), 0);
	peer_expect_end(&p);
	peer_close(&p);
}

static void a_header_bomb(void **state)
{
	_cleanup_free_ uint8_t *zeros = calloc(1, 1 << 20);
	Peer p;

	assert_non_null(zeros);
	peer_open(&p, NULL);
	assert_int_equal(peer_open_raw(&p, 1, zeros, 1 << 20), 0);
	assert_ended(&p);
	peer_close(&p);
}

static void headers_that_are_not_allowed(void **state)
{
	PeerFrame f = {0};
	SpdyStream *s;
	Peer p;

	peer_open(&p, NULL);
	assert_int_equal(peer_open_raw(&p, 1, "\0\0\0\1\0\0\0\1A\0\0\0\0", 13), 0);
	peer_expect(&p, SPDY_RST_STREAM, &f);
	assert_int_equal(spdy_get32(f.data), 1);
	assert_int_equal(spdy_get32(f.data + 4), SPDY_PROTOCOL_ERROR);
	/* That stream alone. */
	assert_int_equal(peer_open_stream(&p, 3, 0, none), 0);
	assert_int_equal(spdy_accept(p.c, 10000, &s, NULL), 1);
	free(f.data);
	peer_close(&p);
}

/* ---- floods ---- */

static void more_streams_than_allowed(void **state)
{
	SpdyLimits o = {.streams_max = 4};
	PeerFrame f = {0};
	SpdyStream *s;
	Peer p;

	peer_open(&p, &o);
	for (uint32_t id = 1; id < 40; id += 2)
		assert_int_equal(peer_open_stream(&p, id, 0, none), 0);
	for (uint32_t id = 9; id < 40; id += 2) {
		peer_expect(&p, SPDY_RST_STREAM, &f);
		assert_int_equal(spdy_get32(f.data), id);
		assert_int_equal(spdy_get32(f.data + 4), SPDY_REFUSED_STREAM);
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(spdy_accept(p.c, 10000, &s, NULL), 1);
	assert_int_equal(spdy_accept(p.c, 0, &s, NULL), -ETIMEDOUT);
	free(f.data);
	peer_close(&p);
}

/* Opened and reset at once, a thousand times: nobody gets to see them, and nothing stays. */
static void streams_that_are_reset_at_once(void **state)
{
	SpdyStream *s;
	Peer p;

	peer_open(&p, NULL);
	for (uint32_t id = 1; id < 2000; id += 2) {
		assert_int_equal(peer_open_stream(&p, id, 0, none), 0);
		assert_int_equal(peer_number2(&p, SPDY_RST_STREAM, id, SPDY_CANCEL), 0);
	}
	assert_int_equal(peer_open_stream(&p, 2001, 0, none), 0);
	do
		assert_int_equal(spdy_accept(p.c, 10000, &s, NULL), 1);
	while (spdy_stream_id(s) != 2001);
	peer_close(&p);
}

/* Somebody who asks and never listens. */
static void a_flood_of_pings(void **state)
{
	int r = 0, n = 0;
	SpdyStream *s;
	Err e = {0};
	Peer p;

	peer_open(&p, NULL);
	for (; r == 0 && n < 1000000; n++)
		r = peer_control(&p, SPDY_PING, 0, "\0\0\0\1", 4);
	assert_int_equal(r, -EPIPE);
	assert_int_equal(spdy_accept(p.c, 10000, &s, &e), -EPROTO);
	peer_close(&p);
}

static void windows_that_lie(void **state)
{
	PeerFrame f = {0};
	SpdyStream *s;
	char buf[8];
	Err e = {0};
	Peer p;

	peer_open(&p, NULL);
	assert_int_equal(peer_open_stream(&p, 1, 0, none), 0);
	assert_int_equal(spdy_accept(p.c, 10000, &s, NULL), 1);
	assert_int_equal(peer_number2(&p, SPDY_WINDOW_UPDATE, 1, INT32_MAX), 0);
	peer_expect(&p, SPDY_RST_STREAM, &f);
	assert_int_equal(spdy_get32(f.data + 4), SPDY_FLOW_CONTROL_ERROR);
	assert_int_equal(spdy_read(s, buf, sizeof(buf), &e), -ECONNRESET);
	spdy_stream_close(s);

	assert_int_equal(peer_open_stream(&p, 3, 0, none), 0);
	assert_int_equal(spdy_accept(p.c, 10000, &s, NULL), 1);
	assert_int_equal(peer_number2(&p, SPDY_WINDOW_UPDATE, 3, 0), 0);
	peer_expect(&p, SPDY_RST_STREAM, &f);
	assert_int_equal(spdy_get32(f.data + 4), SPDY_PROTOCOL_ERROR);
	spdy_stream_close(s);
	/* Of streams that never were, or the connection's. */
	assert_int_equal(peer_number2(&p, SPDY_WINDOW_UPDATE, 0, 1), 0);
	assert_int_equal(peer_number2(&p, SPDY_WINDOW_UPDATE, 99, 1), 0);
	assert_int_equal(peer_open_stream(&p, 5, 0, none), 0);
	assert_int_equal(spdy_accept(p.c, 10000, &s, NULL), 1);
	free(f.data);
	peer_close(&p);
}

static void data_behind_the_end(void **state)
{
	PeerFrame f = {0};
	SpdyStream *s;
	Peer p;

	peer_open(&p, NULL);
	assert_int_equal(peer_open_stream(&p, 1, SPDY_FIN, none), 0);
	assert_int_equal(spdy_accept(p.c, 10000, &s, NULL), 1);
	assert_int_equal(peer_data(&p, 1, 0, "x", 1), 0);
	peer_expect(&p, SPDY_RST_STREAM, &f);
	assert_int_equal(spdy_get32(f.data + 4), SPDY_STREAM_ALREADY_CLOSED);
	free(f.data);
	peer_close(&p);
}

/* Nobody reads, and the client sends for ever: it is stopped, and what it has sent does not fill our memory. It goes on when somebody reads. */
static void data_without_end(void **state)
{
	_cleanup_free_ uint8_t *piece = calloc(1, 65536);
	uint8_t head[SPDY_HEAD_LEN];
	size_t sent = 0, held;
	SpdyStream *s;
	ssize_t n;
	Peer p;

	assert_non_null(piece);
	peer_open(&p, NULL);
	assert_int_equal(peer_open_stream(&p, 1, 0, none), 0);
	assert_int_equal(spdy_accept(p.c, 10000, &s, NULL), 1);
	spdy_data_head_write(head, 1, 0, SPDY_LEN_MAX);
	assert_int_equal(peer_put(&p, head, sizeof(head)), 0);
	for (;;) {
		struct pollfd w = {.fd = p.fd, .events = POLLOUT};

		if (poll(&w, 1, 1000) == 0)
			break;
		n = send(p.fd, piece, MIN2((size_t)65536, SPDY_LEN_MAX - sent), MSG_DONTWAIT | MSG_NOSIGNAL);
		assert_true(n > 0);
		sent += (size_t)n;
	}
	pthread_mutex_lock(&p.c->lock);
	held = s->in_cap;
	pthread_mutex_unlock(&p.c->lock);
	assert_true(held <= 1024 * 1024);
	assert_true(sent < 4 * 1024 * 1024);
	for (size_t got = 0; got < sent; got += (size_t)n) {
		n = spdy_read(s, piece, 65536, NULL);
		assert_true(n > 0);
	}
	peer_close(&p);
}

/* Each of many streams within its window: all together they have a limit. The client's departure is noticed although nothing is read. */
static void many_streams_without_end(void **state)
{
	_cleanup_free_ uint8_t *piece = calloc(1, 65536);
	struct pollfd w = {.events = POLLOUT}, dead = {.events = 0};
	uint32_t id;
	SpdyStream *s;
	size_t unread;
	Peer p;

	assert_non_null(piece);
	peer_open(&p, NULL);
	w.fd = p.fd;
	dead.fd = spdy_dead_fd(p.c);
	for (id = 1; id < 200; id += 2) {
		assert_int_equal(peer_open_stream(&p, id, 0, none), 0);
		assert_int_equal(spdy_accept(p.c, 10000, &s, NULL), 1);
	}
	for (id = 1; id < 200 && poll(&w, 1, 1000) == 1; id += 2) {
		uint8_t head[SPDY_HEAD_LEN];

		spdy_data_head_write(head, id, 0, 60000);
		if (send(p.fd, head, sizeof(head), MSG_DONTWAIT) < 0 ||
		    send(p.fd, piece, 60000, MSG_DONTWAIT) < 0)
			break;
	}
	assert_true(id > 30 && id < 190);
	pthread_mutex_lock(&p.c->lock);
	unread = p.c->unread;
	pthread_mutex_unlock(&p.c->lock);
	assert_true(unread >= SPDY_UNREAD_MAX && unread <= SPDY_UNREAD_MAX + 65536);
	assert_int_equal(poll(&dead, 1, 0), 0);
	close_fd(&p.fd);
	assert_int_equal(poll(&dead, 1, 10000), 1);
	peer_close(&p);
}

/* A client that does not read stops who writes to it; the end of the connection ends that. */
static void *write_for_ever(void *arg)
{
	static const uint8_t piece[32768];
	int r;

	do
		r = spdy_write(arg, piece, sizeof(piece), NULL);
	while (r == 0);
	return NULL;
}

static void a_client_that_does_not_read(void **state)
{
	SpdyLimits o = {.idle_timeout_ms = 300};
	pthread_t t;
	SpdyStream *s;
	Peer p;

	peer_open(&p, &o);
	assert_int_equal(peer_open_stream(&p, 1, 0, none), 0);
	assert_int_equal(spdy_accept(p.c, 10000, &s, NULL), 1);
	assert_int_equal(pthread_create(&t, NULL, write_for_ever, s), 0);
	struct pollfd dead = {.fd = spdy_dead_fd(p.c)};
	assert_int_equal(poll(&dead, 1, 10000), 1);
	pthread_join(t, NULL);
	spdy_stream_close(s);
	peer_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(frames_that_end_a_connection),
	    cmocka_unit_test(streams_do_not_go_back),
	    cmocka_unit_test(a_frame_that_never_ends),
	    cmocka_unit_test(a_header_bomb),
	    cmocka_unit_test(headers_that_are_not_allowed),
	    cmocka_unit_test(more_streams_than_allowed),
	    cmocka_unit_test(streams_that_are_reset_at_once),
	    cmocka_unit_test(a_flood_of_pings),
	    cmocka_unit_test(windows_that_lie),
	    cmocka_unit_test(data_behind_the_end),
	    cmocka_unit_test(data_without_end),
	    cmocka_unit_test(many_streams_without_end),
	    cmocka_unit_test(a_client_that_does_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
