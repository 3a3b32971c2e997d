/* SPDX-License-Identifier: Apache-2.0 */
/* What a well-behaved client sees, and what its server does. */
#include "base/test.h"

#include "wire/spdy/test-peer.h"

#include "base/clock.h"

#include <poll.h>
#include <sys/socket.h>

static const char *const stdin_fields[] = {"streamtype", "stdin", "x-a", "b", NULL};

static SpdyStream *accepted(Peer *p, uint32_t id, uint8_t flags, const char *const *fields)
{
	SpdyStream *s = NULL;

	assert_int_equal(peer_open_stream(p, id, flags, fields), 0);
	assert_int_equal(spdy_accept(p->c, 10000, &s, NULL), 1);
	assert_int_equal(spdy_stream_id(s), id);
	return s;
}

static bool readable(SpdyStream *s)
{
	struct pollfd f = {.fd = spdy_readable_fd(s), .events = POLLIN};

	return poll(&f, 1, 0) == 1;
}

static void wait_readable(SpdyStream *s)
{
	struct pollfd f = {.fd = spdy_readable_fd(s), .events = POLLIN};

	assert_int_equal(poll(&f, 1, 10000), 1);
}

static void a_stream_from_end_to_end(void **state)
{
	PeerFrame f = {0};
	char buf[64];
	Peer p;

	peer_open(&p, NULL);
	SpdyStream *s = accepted(&p, 1, 0, stdin_fields);
	assert_string_equal(spdy_header(s, "streamtype"), "stdin");
	assert_string_equal(spdy_header(s, "x-a"), "b");
	assert_null(spdy_header(s, "port"));
	assert_int_equal(spdy_reply(s, NULL), 0);
	peer_expect(&p, SPDY_SYN_REPLY, &f);
	assert_int_equal(spdy_get32(f.data), 1);

	assert_false(readable(s));
	assert_int_equal(peer_data(&p, 1, 0, "hello", 5), 0);
	wait_readable(s);
	assert_int_equal(spdy_read(s, buf, 3, NULL), 3);
	assert_true(readable(s));
	assert_int_equal(spdy_read(s, buf + 3, sizeof(buf) - 3, NULL), 2);
	assert_memory_equal(buf, "hello", 5);
	assert_false(readable(s));
	assert_int_equal(peer_data(&p, 1, SPDY_FIN, "!", 1), 0);
	assert_int_equal(spdy_read(s, buf, sizeof(buf), NULL), 1);
	assert_int_equal(spdy_read(s, buf, sizeof(buf), NULL), 0);

	assert_int_equal(spdy_write(s, "good", 4, NULL), 0);
	assert_int_equal(spdy_write_end(s, NULL), 0);
	assert_true(spdy_write(s, "x", 1, NULL) < 0);
	assert_true(peer_read(&p, &f));
	assert_int_equal(f.head.stream, 1);
	assert_string_equal((char *)f.data, "good");
	assert_true(peer_read(&p, &f));
	assert_int_equal(f.head.flags, SPDY_FIN);
	spdy_stream_close(s);
	free(f.data);
	peer_close(&p);
}

/* Both answers are pieces of one zlib stream, as any client reads them. */
static void answers_can_be_decompressed(void **state)
{
	static const char *const none[] = {NULL};
	PeerFrame f = {0};
	Peer p;

	peer_open(&p, NULL);
	for (uint32_t id = 1; id <= 5; id += 2) {
		SpdyStream *s = accepted(&p, id, SPDY_FIN, none);
		uint8_t *block;
		SpdyFields fields;
		size_t n;

		assert_int_equal(spdy_reply(s, NULL), 0);
		assert_int_equal(spdy_reply(s, NULL), 0); /* once */
		peer_expect(&p, SPDY_SYN_REPLY, &f);
		assert_int_equal(spdy_get32(f.data), id);
		assert_int_equal(spdy_inflate(&p.inflate, f.data + 4, f.head.len - 4, 100, &block, &n), 0);
		assert_int_equal(spdy_fields_read(block, n, &fields), 0);
		assert_int_equal(fields.n, 0);
		spdy_fields_done(&fields);
		free(block);
	}
	free(f.data);
	peer_close(&p);
}

static void pings_settings_and_unknown_frames(void **state)
{
	PeerFrame f = {0};
	uint8_t settings[12] = {0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 9};
	Peer p;

	peer_open(&p, NULL);
	assert_int_equal(peer_control(&p, SPDY_SETTINGS, 0, settings, sizeof(settings)), 0);
	assert_int_equal(peer_control(&p, 77, 0, "abc", 3), 0);
	assert_int_equal(peer_control(&p, SPDY_PING, 0, "\0\0\0\2", 4), 0);
	assert_int_equal(peer_control(&p, SPDY_PING, 0, "\0\0\0\3", 4), 0);
	assert_true(peer_read(&p, &f));
	assert_int_equal(f.head.type, SPDY_PING);
	assert_int_equal(spdy_get32(f.data), 3);
	free(f.data);
	peer_close(&p);
}

/* In pieces of one byte, with what came with the request before. */
static void bytes_in_any_pieces(void **state)
{
	uint8_t frame[] = {0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 9};
	SpdyConnection *c;
	uint8_t got[12];
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(spdy_serve(pair[1], frame, 5, NULL, &c, NULL), 0);
	for (size_t i = 5; i < sizeof(frame); i++)
		assert_int_equal(send(pair[0], frame + i, 1, MSG_NOSIGNAL), 1);
	assert_int_equal(recv(pair[0], got, sizeof(got), MSG_WAITALL), sizeof(got));
	assert_memory_equal(got, frame, sizeof(frame));
	(void)close(pair[0]);
	spdy_connection_close(c);
}

/* ---- windows ---- */

static void a_client_with_windows_is_waited_for(void **state)
{
	static const char *const none[] = {NULL};
	_cleanup_free_ uint8_t *data = calloc(1, 200000);
	uint8_t settings[12] = {0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0x40, 0}; /* 16 KiB */
	size_t got = 0;
	PeerFrame f = {0};
	Peer p;

	assert_non_null(data);
	peer_open(&p, NULL);
	assert_int_equal(peer_control(&p, SPDY_SETTINGS, 0, settings, sizeof(settings)), 0);
	SpdyStream *s = accepted(&p, 1, 0, none);
	assert_int_equal(spdy_write(s, data, 16384, NULL), 0);
	while (got < 16384 && peer_read(&p, &f))
		got += f.head.len;
	assert_int_equal(got, 16384);
	/* The window is used up: one more frame has to wait until it is opened. */
	assert_int_equal(peer_number2(&p, SPDY_WINDOW_UPDATE, 1, 7), 0);
	assert_int_equal(spdy_write(s, data, 7, NULL), 0);
	assert_true(peer_read(&p, &f));
	assert_int_equal(f.head.len, 7);
	spdy_stream_close(s);
	free(f.data);
	peer_close(&p);
}

static void what_was_read_may_be_sent_again(void **state)
{
	_cleanup_free_ uint8_t *data = calloc(1, 65536);
	PeerFrame f = {0};
	size_t left = 65536;
	Peer p;

	assert_non_null(data);
	peer_open(&p, NULL);
	SpdyStream *s = accepted(&p, 1, 0, stdin_fields);
	assert_int_equal(peer_data(&p, 1, 0, data, left), 0);
	while (left > 0) {
		ssize_t n = spdy_read(s, data, 10000, NULL);

		assert_true(n > 0);
		left -= (size_t)n;
	}
	peer_expect(&p, SPDY_WINDOW_UPDATE, &f);
	assert_true(spdy_get32(f.data + 4) >= 32768);
	free(f.data);
	peer_close(&p);
}

/* ---- ends ---- */

static void a_reset_ends_both_sides(void **state)
{
	char buf[8];
	Err e = {0};
	Peer p;

	peer_open(&p, NULL);
	SpdyStream *s = accepted(&p, 1, 0, stdin_fields);
	assert_int_equal(peer_number2(&p, SPDY_RST_STREAM, 1, SPDY_CANCEL), 0);
	assert_int_equal(spdy_read(s, buf, sizeof(buf), &e), -ECONNRESET);
	assert_int_equal(spdy_write(s, "x", 1, &e), -ECONNRESET);
	assert_true(readable(s));
	spdy_stream_close(s);
	peer_close(&p);
}

static void *cancel_soon(void *arg)
{
	(void)poll(NULL, 0, 20);
	spdy_stream_cancel(arg);
	return NULL;
}

static void a_stream_that_we_give_up(void **state)
{
	PeerFrame f = {0};
	char buf[8];
	pthread_t t;
	Peer p;

	peer_open(&p, NULL);
	SpdyStream *s = accepted(&p, 1, 0, stdin_fields);
	assert_int_equal(spdy_reply(s, NULL), 0);
	assert_int_equal(pthread_create(&t, NULL, cancel_soon, s), 0);
	assert_int_equal(spdy_read(s, buf, sizeof(buf), NULL), -ECONNRESET);
	pthread_join(t, NULL);
	peer_expect(&p, SPDY_RST_STREAM, &f);
	assert_int_equal(spdy_get32(f.data), 1);
	assert_int_equal(spdy_get32(f.data + 4), SPDY_CANCEL);
	free(f.data);
	assert_int_equal(spdy_write(s, "x", 1, NULL), -ECONNRESET);
	spdy_stream_close(s);
	peer_close(&p);
}

static void a_stream_that_is_not_wanted(void **state)
{
	PeerFrame f = {0};
	Peer p;

	peer_open(&p, NULL);
	SpdyStream *s = accepted(&p, 1, 0, stdin_fields);
	spdy_stream_close(s);
	peer_expect(&p, SPDY_RST_STREAM, &f);
	assert_int_equal(spdy_get32(f.data + 4), SPDY_REFUSED_STREAM);
	/* Data that was on its way is of no interest, and the connection goes on. */
	assert_int_equal(peer_data(&p, 1, 0, "abc", 3), 0);
	s = accepted(&p, 3, 0, stdin_fields);
	free(f.data);
	peer_close(&p);
}

static void the_client_leaves(void **state)
{
	SpdyStream *s, *other;
	char buf[8];
	Peer p;

	peer_open(&p, NULL);
	s = accepted(&p, 1, 0, stdin_fields);
	close_fd(&p.fd);
	struct pollfd f = {.fd = spdy_dead_fd(p.c)};
	assert_int_equal(poll(&f, 1, 10000), 1);
	assert_true(f.revents & POLLHUP);
	assert_true(spdy_read(s, buf, sizeof(buf), NULL) < 0);
	assert_int_equal(spdy_accept(p.c, -1, &other, NULL), 0);
	spdy_stream_close(s);
	peer_close(&p);
}

static void we_leave(void **state)
{
	static const char *const none[] = {NULL};
	PeerFrame f = {0};
	Peer p;

	peer_open(&p, NULL);
	SpdyStream *s = accepted(&p, 7, 0, none);
	assert_int_equal(spdy_write(s, "last", 4, NULL), 0);
	close_fd(&p.fd);
	peer_close(&p);

	peer_open(&p, NULL);
	s = accepted(&p, 7, 0, none);
	assert_int_equal(spdy_write(s, "last", 4, NULL), 0);
	/* The client has all of it, though it has sent what nobody has read. */
	assert_int_equal(peer_data(&p, 7, 0, "unread", 6), 0);
	wait_readable(s);
	int64_t begun = clock_mono_ns();
	int fd = dup(p.fd);
	(void)shutdown(p.fd, SHUT_WR);
	close_fd(&p.fd);
	p.fd = fd;
	spdy_connection_close(p.c);
	p.c = NULL;
	assert_true(clock_mono_ns() - begun < 900000000);
	assert_true(peer_read(&p, &f));
	assert_memory_equal(f.data, "last", 4);
	free(f.data);
	peer_close(&p);
}

static void nothing_within_the_time(void **state)
{
	SpdyLimits o = {.idle_timeout_ms = 50};
	SpdyStream *s = NULL;
	Err e = {0};
	Peer p;

	peer_open(&p, &o);
	assert_int_equal(spdy_accept(p.c, 1, &s, &e), -ETIMEDOUT);
	peer_expect_end(&p);
	peer_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_stream_from_end_to_end),
	    cmocka_unit_test(answers_can_be_decompressed),
	    cmocka_unit_test(pings_settings_and_unknown_frames),
	    cmocka_unit_test(bytes_in_any_pieces),
	    cmocka_unit_test(a_client_with_windows_is_waited_for),
	    cmocka_unit_test(what_was_read_may_be_sent_again),
	    cmocka_unit_test(a_reset_ends_both_sides),
	    cmocka_unit_test(a_stream_that_we_give_up),
	    cmocka_unit_test(a_stream_that_is_not_wanted),
	    cmocka_unit_test(the_client_leaves),
	    cmocka_unit_test(we_leave),
	    cmocka_unit_test(nothing_within_the_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
