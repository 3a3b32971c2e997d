/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pump between a WebSocket and a stream of bytes: one thread, and a buffer for each direction. A side is read only while what
 * was read from it before has gone out, so that neither can make the other's buffer grow.
 *
 *    client --frames--> in (unmasked in place) --bytes--> inner
 *    client <--frames-- out (head and bytes)   <--bytes-- inner
 */
#include "wire/httpd/websocket.h"

#include "base/clock.h"
#include "wire/httpd/httpd-internal.h"

#include <poll.h>
#include <sys/socket.h>

#define PIECE     32768
#define REPLY_MAX (WS_HEAD_MAX + WS_CONTROL_MAX)
#define LINGER_MS 1000

enum { NORMAL = 1000, PROTOCOL_ERROR = 1002 };

typedef struct Pump {
	int client, inner;
	WsOpcode opcode;
	/* From the client; what came with the request is less than a head may be. */
	uint8_t in[HTTP_HEAD_MAX];
	size_t in_at, in_len;     /* not yet looked at */
	size_t plain_at, plain_n; /* of in: payload on its way to inner */
	WsHead head;
	uint64_t left, done; /* of the frame's payload: still to come, has come */
	uint8_t control[WS_CONTROL_MAX];
	bool in_frame, in_message;
	/* To the client. */
	uint8_t out[WS_HEAD_MAX + PIECE];
	size_t out_at, out_len;
	uint8_t reply[REPLY_MAX]; /* to a ping or a close, sent before anything else */
	size_t reply_n;
	bool client_ended, inner_ended, closing, closed;
	int64_t deadline; /* of the client's answer to our close, monotonic; 0: none */
} Pump;

static void add_control(Pump *p, WsOpcode opcode, const void *data, size_t n)
{
	p->reply_n = ws_head_write(p->reply, opcode, n);
	memcpy(p->reply + p->reply_n, data, n);
	p->reply_n += n;
}

/* After it nothing more is sent. */
static void add_close(Pump *p, unsigned code)
{
	uint8_t text[2] = {(uint8_t)(code >> 8), (uint8_t)code};

	if (p->closing)
		return;
	p->closing = true;
	p->deadline = clock_mono_ns() + LINGER_MS * INT64_C(1000000);
	add_control(p, WS_CLOSE, text, sizeof(text));
}

static void client_end(Pump *p)
{
	if (p->client_ended)
		return;
	p->client_ended = true;
	(void)shutdown(p->inner, SHUT_WR);
}

static void control_done(Pump *p)
{
	unsigned code = NORMAL;

	switch (p->head.opcode) {
	case WS_PING:
		if (!p->closing)
			add_control(p, WS_PONG, p->control, p->done);
		break;
	case WS_CLOSE:
		if (p->done >= 2)
			code = (unsigned)(p->control[0] << 8 | p->control[1]);
		add_close(p, code);
		client_end(p);
		p->closed = true;
		break;
	default:
		break; /* a pong that nobody asked for is allowed */
	}
}

/* The beginning of a frame. False if it is not whole yet. */
static bool begin_frame(Pump *p)
{
	int n = ws_head_read(p->in + p->in_at, p->in_len, &p->head);
	bool data = p->head.opcode < WS_CLOSE;

	if (n == 0)
		return false;
	/* A continuation continues something, and a new message does not begin inside another. */
	if (n < 0 || (data && (p->head.opcode == WS_CONTINUATION) != p->in_message)) {
		add_close(p, PROTOCOL_ERROR);
		client_end(p);
		p->in_len = 0;
		return false;
	}
	if (data)
		p->in_message = !p->head.fin;
	p->in_at += (size_t)n;
	p->in_len -= (size_t)n;
	p->left = p->head.len;
	p->done = 0;
	p->in_frame = true;
	return true;
}

/* Payload of the frame at hand. */
static void take_payload(Pump *p)
{
	size_t n = (size_t)MIN2((uint64_t)p->in_len, p->left);
	uint8_t *at = p->in + p->in_at;

	ws_unmask(at, n, p->head.mask, p->done);
	if (p->head.opcode >= WS_CLOSE) {
		memcpy(p->control + p->done, at, n);
	} else if (!p->client_ended) {
		p->plain_at = p->in_at;
		p->plain_n = n;
	}
	p->in_at += n;
	p->in_len -= n;
	p->left -= n;
	p->done += n;
	if (p->left > 0)
		return;
	p->in_frame = false;
	if (p->head.opcode >= WS_CLOSE)
		control_done(p);
}

/* Goes on until something has to go out first, or the input is used up. */
static void look_at_input(Pump *p)
{
	while (p->plain_n == 0 && p->reply_n == 0 && !p->closed &&
	       (p->in_len > 0 || (p->in_frame && p->left == 0))) {
		if (!p->in_frame && !begin_frame(p))
			break;
		if (p->in_frame)
			take_payload(p);
	}
}

static void read_client(Pump *p)
{
	ssize_t n;

	memmove(p->in, p->in + p->in_at, p->in_len);
	p->in_at = 0;
	n = recv(p->client, p->in + p->in_len, sizeof(p->in) - p->in_len, MSG_DONTWAIT);
	if (n > 0)
		p->in_len += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		p->closed = true;
}

static void read_inner(Pump *p)
{
	ssize_t n = recv(p->inner, p->out + WS_HEAD_MAX, PIECE, MSG_DONTWAIT);
	uint8_t head[WS_HEAD_MAX];
	size_t len;

	if (n <= 0) {
		p->inner_ended = n == 0 || (errno != EAGAIN && errno != EINTR);
		return;
	}
	len = ws_head_write(head, p->opcode, (uint64_t)n);
	p->out_at = WS_HEAD_MAX - len;
	memcpy(p->out + p->out_at, head, len);
	p->out_len = len + (size_t)n;
}

/* Bytes that went out, 0 for none now; the receiver's end makes `gone`. */
static size_t send_some(int fd, const uint8_t *data, size_t n, bool *gone)
{
	ssize_t sent = send(fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent >= 0)
		return (size_t)sent;
	if (errno != EAGAIN && errno != EINTR)
		*gone = true;
	return 0;
}

static void write_client(Pump *p)
{
	/* Not in the middle of a frame. */
	if (p->reply_n > 0 && p->out_len == 0) {
		size_t n = send_some(p->client, p->reply, p->reply_n, &p->closed);

		memmove(p->reply, p->reply + n, p->reply_n - n);
		p->reply_n -= n;
		return;
	}
	size_t n = send_some(p->client, p->out + p->out_at, p->out_len, &p->closed);
	p->out_at += n;
	p->out_len -= n;
}

static void write_inner(Pump *p)
{
	bool gone = false;
	size_t n = send_some(p->inner, p->in + p->plain_at, p->plain_n, &gone);

	/* Nobody takes input any more: it is thrown away, output may still come. */
	p->plain_at += n;
	p->plain_n -= gone ? p->plain_n : n;
}

static bool over(const Pump *p)
{
	bool sent = p->reply_n == 0 && p->out_len == 0;

	if (p->closed && (sent || !p->closing))
		return true;
	return p->deadline && clock_mono_ns() >= p->deadline;
}

static void turn(Pump *p)
{
	struct pollfd f[2] = {{.fd = p->client}, {.fd = p->inner}};
	bool wants_input = p->plain_n == 0 && p->reply_n == 0 && !p->closed && p->in_len < sizeof(p->in);

	if (p->inner_ended && p->out_len == 0)
		add_close(p, NORMAL);
	if (p->out_len > 0 || p->reply_n > 0)
		f[0].events |= POLLOUT;
	if (wants_input)
		f[0].events |= POLLIN;
	if (p->plain_n > 0)
		f[1].events |= POLLOUT;
	if (p->out_len == 0 && p->reply_n == 0 && !p->closing && !p->inner_ended)
		f[1].events |= POLLIN;
	if (f[1].events == 0)
		f[1].fd = -1; /* POLLHUP would come again and again */
	if (poll(f, 2, p->deadline ? 50 : -1) < 0)
		return;
	if (f[0].revents & POLLOUT)
		write_client(p);
	if ((f[0].revents & (POLLIN | POLLERR | POLLHUP)) && wants_input)
		read_client(p);
	else if (f[0].revents & (POLLERR | POLLHUP))
		p->closed = true;
	if (f[1].revents & (POLLOUT | POLLERR) && p->plain_n > 0)
		write_inner(p);
	if ((f[1].revents & (POLLIN | POLLHUP | POLLERR)) && (f[1].events & POLLIN))
		read_inner(p);
	look_at_input(p);
}

void ws_serve(const HttpHijack *h, int inner, WsOpcode opcode)
{
	_cleanup_free_ Pump *p = calloc(1, sizeof(*p));

	if (!p)
		return;
	p->client = h->fd;
	p->inner = inner;
	p->opcode = opcode;
	p->in_len = MIN2(h->prefix_len, sizeof(p->in));
	if (p->in_len > 0)
		memcpy(p->in, h->prefix, p->in_len);
	look_at_input(p);
	while (!over(p))
		turn(p);
	client_end(p);
	(void)shutdown(h->fd, SHUT_WR);
}
