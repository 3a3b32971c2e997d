/* SPDX-License-Identifier: Apache-2.0 */
/* Frames, the key of the handshake, and the pump with the test at both of its ends. */
#include "wire/httpd/websocket.h"

#include "base/fd.h"
#include "base/test.h"

#include <pthread.h>
#include <sys/socket.h>

static void heads(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		int want;
		uint64_t len;
	} table[] = {
	    {"\x82\x83mask", 6, 6, 3},
	    {"\x01\x80mask", 6, 6, 0},
	    {"\x82\xfe\x01\x00mask", 8, 8, 256},
	    {"\x82\xff\0\0\0\x01\0\0\0\0mask", 14, 14, UINT64_C(1) << 32},
	    {"\x82", 1, 0, 0},
	    {"\x82\xfe\x01\x00mas", 7, 0, 0},
	    {"\x82\x03mask", 6, -EPROTO, 0},                      /* not masked */
	    {"\xc2\x83mask", 6, -EPROTO, 0},                      /* a reserved bit */
	    {"\x83\x83mask", 6, -EPROTO, 0},                      /* an unknown opcode */
	    {"\x8b\x80mask", 6, -EPROTO, 0},                      /* an unknown control opcode */
	    {"\x09\x80mask", 6, -EPROTO, 0},                      /* a fragmented ping */
	    {"\x89\xfe\x01\x00mask", 8, -EPROTO, 0},              /* a long ping */
	    {"\x82\xfe\x00\x7dmask", 8, -EPROTO, 0},              /* 125 in two bytes */
	    {"\x82\xff\0\0\0\0\0\0\xff\xffmask", 14, -EPROTO, 0}, /* 65535 in eight */
	    {"\x82\xff\x80\0\0\0\0\0\0\0mask", 14, -EPROTO, 0},   /* the highest bit */
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		WsHead h = {0};

		assert_int_equal(ws_head_read((const uint8_t *)table[i].bytes, table[i].n, &h),
				 table[i].want);
		assert_true(table[i].want <= 0 || h.len == table[i].len);
	}
}

static void our_heads(void **state)
{
	uint8_t head[WS_HEAD_MAX];

	assert_int_equal(ws_head_write(head, WS_BINARY, 125), 2);
	assert_memory_equal(head, "\x82\x7d", 2);
	assert_int_equal(ws_head_write(head, WS_TEXT, 126), 4);
	assert_memory_equal(head, "\x81\x7e\x00\x7e", 4);
	assert_int_equal(ws_head_write(head, WS_BINARY, 65536), 10);
	assert_memory_equal(head, "\x82\x7f\0\0\0\0\0\x01\0\0", 10);
}

/* The example of RFC 6455, 1.3. */
static void accept_key(void **state)
{
	char text[WS_KEY_LEN + 1];

	assert_int_equal(ws_accept_key("dGhlIHNhbXBsZSBub25jZQ==", text), 0);
	assert_string_equal(text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

/* ---- the pump ---- */

typedef struct Serving {
	HttpHijack h;
	int client, inner, served; /* the test's two ends, and the pump's */
	pthread_t thread;
} Serving;

static void *serve(void *arg)
{
	Serving *s = arg;

	ws_serve(&s->h, s->served, WS_BINARY);
	close_fd(&s->h.fd);
	close_fd(&s->served);
	return NULL;
}

static void begin(Serving *s, const char *prefix, size_t n)
{
	int outer[2], inner[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, outer), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, inner), 0);
	*s = (Serving){.h = {outer[1], prefix, n}, .client = outer[0], .inner = inner[0], .served = inner[1]};
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void end(Serving *s)
{
	close_fd(&s->client);
	close_fd(&s->inner);
	pthread_join(s->thread, NULL);
}

static void send_frame(const Serving *s, unsigned first, const char *text, size_t n)
{
	uint8_t frame[WS_HEAD_MAX + 256] = {(uint8_t)first, (uint8_t)(0x80 | n), 1, 2, 3, 4};

	assert_true(n < 126);
	memcpy(frame + 6, text, n);
	ws_unmask(frame + 6, n, frame + 2, 0);
	assert_int_equal(fd_write_all(s->client, frame, 6 + n), 0);
}

static void expect(int fd, const char *bytes, size_t n)
{
	char got[256];

	assert_true(n <= sizeof(got));
	assert_int_equal(fd_read_full(fd, got, n), n);
	assert_memory_equal(got, bytes, n);
}

static void bytes_both_ways(void **state)
{
	Serving s;

	begin(&s, "\x82\x82\0\0\0\0ab\x02\x81\0\0", 12); /* and the beginning of a frame */
	expect(s.inner, "ab", 2);
	assert_int_equal(fd_write_all(s.client, "\0\0c", 3), 0);
	send_frame(&s, 0x89, "ping", 4); /* between two fragments */
	send_frame(&s, 0x00, "", 0);
	send_frame(&s, 0x80, "de", 2);
	expect(s.inner, "cde", 3);
	expect(s.client, "\x8a\x04ping", 6);
	assert_int_equal(fd_write_all(s.inner, "out", 3), 0);
	expect(s.client, "\x82\x03out", 5);
	close_fd(&s.inner); /* the container has ended */
	expect(s.client, "\x88\x02\x03\xe8", 4);
	send_frame(&s, 0x88, "\x03\xe8", 2);
	assert_int_equal(read(s.client, &(char){0}, 1), 0);
	end(&s);
}

static void a_close_is_answered(void **state)
{
	Serving s;

	begin(&s, NULL, 0);
	send_frame(&s, 0x88, "\x0f\xa0why", 5);
	expect(s.client, "\x88\x02\x0f\xa0", 4);
	assert_int_equal(read(s.inner, &(char){0}, 1), 0);
	end(&s);
}

static void nonsense_is_refused(void **state)
{
	static const char *const bad[] = {"\x82\x01x", "\x80\x80mask", "\x01\x80mask\x82\x80mask"};
	static const size_t lengths[] = {3, 6, 12};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		Serving s;

		begin(&s, bad[i], lengths[i]);
		expect(s.client, "\x88\x02\x03\xea", 4);
		assert_int_equal(read(s.inner, &(char){0}, 1), 0);
		end(&s);
	}
}

/* Much more than any buffer holds, in both directions at once. */
static void *flood(void *arg)
{
	const Serving *s = arg;
	static char zeros[32768];

	for (int i = 0; i < 64; i++)
		assert_int_equal(fd_write_all(s->inner, zeros, sizeof(zeros)), 0);
	return NULL;
}

static void floods(void **state)
{
	static uint8_t frame[14 + (1 << 20)] = {0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0};
	static char sink[1 << 16];
	size_t out = 0, in = 0;
	pthread_t t;
	Serving s;

	begin(&s, NULL, 0);
	assert_int_equal(pthread_create(&t, NULL, flood, &s), 0);
	for (size_t at = 0; at < sizeof(frame) || in < 1 << 20 || out < 64 * 32768;) {
		ssize_t n =
		    at < sizeof(frame) ? send(s.client, frame + at, sizeof(frame) - at, MSG_DONTWAIT) : 0;

		at += n > 0 ? (size_t)n : 0;
		n = recv(s.client, sink, sizeof(sink), MSG_DONTWAIT);
		out += n > 0 ? (size_t)n : 0;
		n = recv(s.inner, sink, sizeof(sink), MSG_DONTWAIT);
		in += n > 0 ? (size_t)n : 0;
	}
	pthread_join(t, NULL);
	assert_int_equal(in, 1 << 20);
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(heads),
	    cmocka_unit_test(our_heads),
	    cmocka_unit_test(accept_key),
	    cmocka_unit_test(bytes_both_ways),
	    cmocka_unit_test(a_close_is_answered),
	    cmocka_unit_test(nonsense_is_refused),
	    cmocka_unit_test(floods),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
