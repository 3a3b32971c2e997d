/* SPDX-License-Identifier: Apache-2.0 */
/* Messages over a socket pair: what a client sends in frames of any size, and what it gets. */
#include "base/test.h"

#include "base/clock.h"
#include "base/str.h"
#include "wire/httpd/websocket.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

static int client;
static HttpHijack h;
static WsConnection *w;

static int begin(void **state)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	client = pair[0];
	h = (HttpHijack){.fd = pair[1]};
	return ws_open(&h, 0, &w, NULL);
}

static int end(void **state)
{
	(void)close(client);
	ws_close(w, WS_NORMAL);
	(void)close(h.fd);
	return 0;
}

static void put(const void *data, size_t len)
{
	assert_int_equal(send(client, data, len, MSG_NOSIGNAL), len);
}

/* A client's frame, with a mask of zeros. */
static void put_frame(unsigned first, const void *data, size_t len)
{
	uint8_t head[WS_HEAD_MAX + 4];
	size_t n = ws_head_write(head, WS_BINARY, len);

	head[0] = (uint8_t)first;
	head[1] |= 0x80;
	memset(head + n, 0, 4);
	put(head, n + 4);
	put(data, len);
}

static void expect(bool begins, bool ends, const char *text)
{
	WsPiece p;

	assert_int_equal(ws_receive(w, -1, &p, NULL), 1);
	assert_int_equal(p.len, strlen(text));
	assert_memory_equal(p.data, text, p.len);
	assert_true(p.begins == begins && p.ends == ends);
}

static void whole_and_in_fragments(void **state)
{
	put_frame(0x82, "whole", 5);
	expect(true, true, "whole");
	put_frame(0x02, "be", 2);
	put_frame(0x89, "ping", 4); /* in between */
	put_frame(0x00, "", 0);
	put_frame(0x80, "gin", 3);
	expect(true, false, "be");
	expect(false, true, "gin");
	/* A beginning without bytes is none. */
	put_frame(0x02, "", 0);
	put_frame(0x80, "late", 4);
	expect(true, true, "late");
	put_frame(0x82, "", 0);
	expect(true, true, "");
	uint8_t pong[6];
	assert_int_equal(recv(client, pong, sizeof(pong), MSG_WAITALL), 6);
	assert_memory_equal(pong, "\x8a\x04ping", 6);
}

static void longer_than_a_buffer(void **state)
{
	_cleanup_free_ char *data = malloc(200000);
	size_t got = 0;
	WsPiece p;

	assert_non_null(data);
	memset(data, 'x', 200000);
	int size = 1 << 20;
	(void)setsockopt(client, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	put_frame(0x82, data, 100000);
	do {
		assert_int_equal(ws_receive(w, -1, &p, NULL), 1);
		assert_true(p.begins == (got == 0));
		got += p.len;
	} while (!p.ends);
	assert_int_equal(got, 100000);
}

static void what_is_no_frame(void **state)
{
	static const char *const wrong[] = {"\x82\x01x",         /* no mask */
					    "\x80\x80\0\0\0\0",  /* continues nothing */
					    "\x83\x80\0\0\0\0",  /* opcode 3 */
					    "\xc2\x80\0\0\0\0",  /* a reserved bit */
					    "\x89\xfe\x00\x7e"}; /* a long ping */
	WsPiece p;

	for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
		put(wrong[i], i == 0 ? 3 : i == 4 ? 4 : 6);
		assert_int_equal(ws_receive(w, -1, &p, NULL), -EPROTO);
		end(NULL);
		begin(NULL);
	}
}

static void ends(void **state)
{
	uint8_t got[4];
	WsPiece p;
	int quit[2];

	assert_int_equal(pipe(quit), 0);
	assert_int_equal(write(quit[1], "", 1), 1);
	assert_int_equal(ws_receive(w, quit[0], &p, NULL), 0);
	(void)close(quit[0]);
	(void)close(quit[1]);
	put_frame(0x88, "\x03\xe8", 2);
	assert_int_equal(ws_receive(w, -1, &p, NULL), 0);
	int64_t begun = clock_mono_ns();
	ws_close(w, WS_NORMAL);
	assert_true(clock_mono_ns() - begun < 500000000);
	assert_int_equal(recv(client, got, sizeof(got), MSG_WAITALL), 4);
	assert_memory_equal(got, "\x88\x02\x03\xe8", 4);
	w = NULL;
}

static void the_client_leaves(void **state)
{
	WsPiece p;

	(void)close(client);
	client = -1;
	assert_int_equal(ws_receive(w, -1, &p, NULL), 0);
	assert_true(ws_send(w, WS_BINARY, "x", 1, NULL, 0, NULL) < 0);
}

static void nothing_within_the_time(void **state)
{
	WsConnection *idle;
	WsPiece p;

	assert_int_equal(ws_open(&h, 50, &idle, NULL), 0);
	assert_int_equal(ws_receive(idle, -1, &p, NULL), -ETIMEDOUT);
	ws_close(idle, WS_NORMAL);
}

/* Whoever waits for a client that does not read stops to when it has left. */
static void *pour(void *arg)
{
	static const uint8_t piece[65536];

	while (ws_send(w, WS_BINARY, piece, sizeof(piece), NULL, 0, NULL) >= 0)
		;
	return NULL;
}

static void a_client_that_does_not_read(void **state)
{
	pthread_t t;
	WsPiece p;

	assert_int_equal(pthread_create(&t, NULL, pour, NULL), 0);
	(void)shutdown(client, SHUT_WR);
	assert_int_equal(ws_receive(w, -1, &p, NULL), 0);
	pthread_join(t, NULL);
}

static void nothing_taken_within_the_time(void **state)
{
	static const uint8_t piece[65536];
	WsConnection *idle;
	int r;

	assert_int_equal(ws_open(&h, 50, &idle, NULL), 0);
	do
		r = ws_send(idle, WS_BINARY, piece, sizeof(piece), NULL, 0, NULL);
	while (r >= 0);
	assert_int_equal(r, -ETIMEDOUT);
	ws_close(idle, WS_NORMAL);
}

/* Its network is full: the last words are not waited for, whatever the time-out. */
static void the_end_of_one_that_does_not_read(void **state)
{
	int64_t begun;

	while (send(h.fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	begun = clock_mono_ns();
	ws_close(w, WS_NORMAL);
	assert_in_range(clock_mono_ns() - begun, 500000000, 3000000000);
	w = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(whole_and_in_fragments, begin, end),
	    cmocka_unit_test_setup_teardown(longer_than_a_buffer, begin, end),
	    cmocka_unit_test_setup_teardown(what_is_no_frame, begin, end),
	    cmocka_unit_test_setup_teardown(ends, begin, end),
	    cmocka_unit_test_setup_teardown(the_client_leaves, begin, end),
	    cmocka_unit_test_setup_teardown(nothing_within_the_time, begin, end),
	    cmocka_unit_test_setup_teardown(a_client_that_does_not_read, begin, end),
	    cmocka_unit_test_setup_teardown(nothing_taken_within_the_time, begin, end),
	    cmocka_unit_test_setup_teardown(the_end_of_one_that_does_not_read, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
