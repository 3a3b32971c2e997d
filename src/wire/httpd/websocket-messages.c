/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebSocket for who needs its messages. They are handed on in pieces, as they arrive, so that one of any length needs one buffer of ours.
 *
 * The socket is written under a lock of its own, for a whole frame. Whoever finds that the connection is over shuts it down, which ends the waits of the others.
 */
#include "wire/httpd/websocket.h"

#include "base/clock.h"
#include "wire/httpd/httpd-internal.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define LINGER_MS 1000
#define MS        INT64_C(1000000)

struct WsConnection {
	int fd, idle_timeout_ms;
	pthread_mutex_t write_lock;
	bool over;         /* no more is sent; atomic */
	int64_t active_ns; /* the last byte in either direction; atomic */
	/* The receiving thread's; what came with the request is less than a head may be. */
	uint8_t in[HTTP_HEAD_MAX];
	size_t at, len; /* not yet looked at */
	WsHead head;
	uint64_t left, done; /* of the frame's payload: still to come, has come */
	uint8_t control[WS_CONTROL_MAX];
	bool in_frame, in_message, fresh; /* fresh: nothing of the message was handed on */
	bool client_closed;
};

int ws_open(const HttpHijack *h, int idle_timeout_ms, WsConnection **ret, Err *e)
{
	WsConnection *w = calloc(1, sizeof(*w));

	if (!w)
		return err_oom(e);
	if (h->prefix_len > sizeof(w->in)) {
		free(w);
		return err_new(e, ERR_INVALID, "too much was sent before the handshake was answered");
	}
	w->fd = h->fd;
	w->idle_timeout_ms = idle_timeout_ms;
	w->active_ns = clock_mono_ns();
	w->len = h->prefix_len;
	if (h->prefix_len > 0)
		memcpy(w->in, h->prefix, h->prefix_len);
	pthread_mutex_init(&w->write_lock, NULL);
	*ret = w;
	return 0;
}

static void active(WsConnection *w)
{
	__atomic_store_n(&w->active_ns, clock_mono_ns(), __ATOMIC_RELAXED);
}

static void give_up(WsConnection *w)
{
	__atomic_store_n(&w->over, true, __ATOMIC_RELAXED);
	(void)shutdown(w->fd, SHUT_RDWR);
}

/* ---- sending ---- */

static void skip(struct iovec **v, size_t *n, size_t bytes)
{
	while (*n > 0 && bytes >= (*v)->iov_len) {
		bytes -= (*v)->iov_len;
		(*v)++;
		(*n)--;
	}
	if (*n > 0) {
		(*v)->iov_base = (uint8_t *)(*v)->iov_base + bytes;
		(*v)->iov_len -= bytes;
	}
}

/* Nanoseconds until too long nothing has passed; INT64_MAX: no limit. */
static int64_t idle_left(const WsConnection *w)
{
	if (w->idle_timeout_ms <= 0)
		return INT64_MAX;
	return __atomic_load_n(&w->active_ns, __ATOMIC_RELAXED) + w->idle_timeout_ms * MS - clock_mono_ns();
}

/* For poll(2); not negative unless there is no limit. */
static int wait_ms(int64_t left)
{
	if (left == INT64_MAX)
		return -1;
	return left > 0 ? (int)MIN2(left / MS + 1, INT64_C(3600000)) : 0;
}

/* Within the time of an idle connection, and until a moment of clock_mono_ns (INT64_MAX: none). */
static int send_all(WsConnection *w, struct iovec *v, size_t n, int64_t until)
{
	skip(&v, &n, 0);
	while (n > 0) {
		struct msghdr m = {.msg_iov = v, .msg_iovlen = n};
		struct pollfd p = {.fd = w->fd, .events = POLLOUT};
		ssize_t sent = sendmsg(w->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent >= 0) {
			active(w);
			skip(&v, &n, (size_t)sent);
		} else if (errno == EAGAIN) {
			int64_t left = until == INT64_MAX ? INT64_MAX : until - clock_mono_ns();

			left = MIN2(left, idle_left(w));
			if (left <= 0)
				return -ETIMEDOUT;
			(void)poll(&p, 1, wait_ms(left));
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

int ws_send(WsConnection *w, WsOpcode opcode, const void *a, size_t an, const void *b, size_t bn, Err *e)
{
	uint8_t head[WS_HEAD_MAX];
	struct iovec v[] = {
	    {head, ws_head_write(head, opcode, (uint64_t)an + bn)},
	    {(void *)(uintptr_t)a, an},
	    {(void *)(uintptr_t)b, bn},
	};
	/* What is said last is not waited for any longer than the answer to it. */
	int64_t until = opcode == WS_CLOSE ? clock_mono_ns() + LINGER_MS * MS : INT64_MAX;
	int r;

	pthread_mutex_lock(&w->write_lock);
	r = __atomic_load_n(&w->over, __ATOMIC_RELAXED) ? -EPIPE : send_all(w, v, ELEMENTSOF(v), until);
	if (r < 0)
		give_up(w);
	if (opcode == WS_CLOSE)
		__atomic_store_n(&w->over, true, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&w->write_lock);
	return r < 0 ? err_new_no(e, ERR_CANCELLED, -r, "the client went away: %s", strerror(-r)) : 0;
}

/* ---- receiving ---- */

/* 1: there is more; 0: the client has left, or quit_fd says so. */
static int fill(WsConnection *w, int quit_fd, Err *e)
{
	struct pollfd p[] = {{w->fd, POLLIN, 0}, {quit_fd, POLLIN, 0}};
	ssize_t n;

	for (;;) {
		int64_t left = idle_left(w);

		if (left <= 0) {
			give_up(w);
			return err_new_no(e, ERR_CANCELLED, ETIMEDOUT, "nothing was sent for %d ms",
					  w->idle_timeout_ms);
		}
		if (poll(p, 2, wait_ms(left)) < 0)
			continue;
		if (p[1].revents)
			return 0;
		if (!p[0].revents)
			continue;
		memmove(w->in, w->in + w->at, w->len);
		w->at = 0;
		n = recv(w->fd, w->in + w->len, sizeof(w->in) - w->len, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0) {
			give_up(w);
			return 0;
		}
		active(w);
		w->len += (size_t)n;
		return 1;
	}
}

static int wrong(WsConnection *w, Err *e)
{
	uint8_t code[2] = {WS_PROTOCOL_ERROR >> 8, WS_PROTOCOL_ERROR & 0xff};

	(void)ws_send(w, WS_CLOSE, code, sizeof(code), NULL, 0, NULL);
	return err_new_no(e, ERR_INVALID, EPROTO, "the client broke the WebSocket protocol");
}

/* 1: the head of a frame was there; 0: not yet. */
static int begin_frame(WsConnection *w, Err *e)
{
	int n = ws_head_read(w->in + w->at, w->len, &w->head);
	bool data = n > 0 && w->head.opcode < WS_CLOSE;

	if (n == 0)
		return 0;
	/* A continuation continues something, and a new message does not begin inside another. */
	if (n < 0 || (data && (w->head.opcode == WS_CONTINUATION) != w->in_message))
		return wrong(w, e);
	if (data) {
		w->fresh = w->fresh || !w->in_message;
		w->in_message = !w->head.fin;
	}
	w->at += (size_t)n;
	w->len -= (size_t)n;
	w->left = w->head.len;
	w->done = 0;
	w->in_frame = true;
	return 1;
}

/* 0 after a close, else 1. */
static int control_done(WsConnection *w, Err *e)
{
	w->in_frame = false;
	if (w->head.opcode == WS_CLOSE) {
		w->client_closed = true;
		return 0;
	}
	return w->head.opcode == WS_PING ? MIN2(ws_send(w, WS_PONG, w->control, w->done, NULL, 0, e), 0) ?: 1
					 : 1;
}

/* Payload that is there. True if it makes a piece. */
static bool take_payload(WsConnection *w, WsPiece *ret)
{
	size_t n = (size_t)MIN2((uint64_t)w->len, w->left);
	uint8_t *p = w->in + w->at;

	ws_unmask(p, n, w->head.mask, w->done);
	if (w->head.opcode >= WS_CLOSE)
		memcpy(w->control + w->done, p, n);
	w->at += n;
	w->len -= n;
	w->left -= n;
	w->done += n;
	if (w->head.opcode >= WS_CLOSE)
		return false;
	w->in_frame = w->left > 0;
	*ret = (WsPiece){.begins = w->fresh, .ends = w->left == 0 && w->head.fin, .data = p, .len = n};
	if (n > 0)
		w->fresh = false;
	return n > 0 || ret->ends;
}

int ws_receive(WsConnection *w, int quit_fd, WsPiece *ret, Err *e)
{
	int r = 1;

	while (!w->client_closed) {
		if (!w->in_frame) {
			r = begin_frame(w, e);
			if (r < 0)
				return r;
		}
		if (w->in_frame && (w->len > 0 || w->left == 0)) {
			if (take_payload(w, ret))
				return 1;
			if (w->head.opcode >= WS_CLOSE && w->left == 0) {
				r = control_done(w, e);
				if (r <= 0)
					return r;
			}
			continue;
		}
		r = fill(w, quit_fd, e);
		if (r <= 0)
			return r;
	}
	return 0;
}

/* ---- the end ---- */

/* Closing a socket that holds unread input would make the client lose what it has not read yet (tcp(7)). */
static void wait_for_client(WsConnection *w)
{
	int64_t until = clock_mono_ns() + LINGER_MS * MS;

	for (;;) {
		struct pollfd p = {w->fd, POLLIN, 0};
		int64_t left = until - clock_mono_ns();
		ssize_t n;

		if (left <= 0 || poll(&p, 1, (int)(left / MS + 1)) <= 0)
			return;
		n = recv(w->fd, w->in, sizeof(w->in), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return;
	}
}

void ws_close(WsConnection *w, unsigned code)
{
	uint8_t text[2] = {(uint8_t)(code >> 8), (uint8_t)code};

	if (!w)
		return;
	if (ws_send(w, WS_CLOSE, text, sizeof(text), NULL, 0, NULL) >= 0 && !w->client_closed) {
		(void)shutdown(w->fd, SHUT_WR);
		wait_for_client(w);
	}
	(void)shutdown(w->fd, SHUT_RDWR);
	pthread_mutex_destroy(&w->write_lock);
	free(w);
}
