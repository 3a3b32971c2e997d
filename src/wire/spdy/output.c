/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing. Control frames wait in one buffer; who sends data has the socket for as long as its frame takes, and sends first what waits there.
 *
 * A peer that makes us answer (PING, streams that are refused) without reading the answers fills the buffer, and is given up. Our headers are always empty, so they are
 * not compressed: their block is a piece of a zlib stream without compression (RFC 1951, 3.2.4), which needs no compressor to be kept.
 */
#include "wire/spdy/spdy-internal.h"

#include "base/clock.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* ---- control frames; under the lock ---- */

static uint8_t *control_room(SpdyConnection *c, size_t len)
{
	if (c->control_len + len > SPDY_PENDING_MAX) {
		spdy_lose(c, true, "the peer does not read the answers to what it sends");
		return NULL;
	}
	if (c->control_from > 0) {
		memmove(c->control, c->control + c->control_from, c->control_len);
		c->control_from = 0;
	}
	if (c->control_len + len > c->control_cap) {
		size_t cap = MAX2(c->control_cap * 2, c->control_len + len + 256);
		uint8_t *p = realloc(c->control, cap);

		if (!p) {
			spdy_lose(c, false, "out of memory");
			return NULL;
		}
		c->control = p;
		c->control_cap = cap;
	}
	c->control_len += len;
	return c->control + c->control_len - len;
}

void spdy_put_control(SpdyConnection *c, SpdyType type, uint8_t flags, const void *payload, size_t len)
{
	uint8_t *to = c->lost ? NULL : control_room(c, SPDY_HEAD_LEN + len);

	if (!to)
		return;
	spdy_head_write(to, type, flags, (uint32_t)len);
	if (len > 0)
		memcpy(to + SPDY_HEAD_LEN, payload, len);
}

void spdy_put_reset(SpdyConnection *c, uint32_t stream, SpdyReset code)
{
	uint8_t payload[8];

	spdy_put32(payload, stream);
	spdy_put32(payload + 4, code);
	spdy_put_control(c, SPDY_RST_STREAM, 0, payload, sizeof(payload));
}

void spdy_flush(SpdyConnection *c)
{
	if (c->lost || c->writing)
		return;
	while (c->control_len > 0) {
		ssize_t n =
		    send(c->fd, c->control + c->control_from, c->control_len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			spdy_wake(c); /* its thread waits for the socket, too */
			return;
		}
		if (n < 0) {
			spdy_lose(c, false, "write: %s", strerror(errno));
			return;
		}
		c->active_ns = clock_mono_ns();
		c->control_from += (size_t)n;
		c->control_len -= (size_t)n;
	}
	free(take_ptr(c->control));
	c->control_from = c->control_cap = 0;
	if (c->closing)
		pthread_cond_broadcast(&c->changed);
}

/* ---- data ---- */

/* All of it; whoever loses the connection shuts the socket down, which ends the wait. */
static int send_all(int fd, struct iovec *v, size_t n)
{
	while (n > 0) {
		struct msghdr m = {.msg_iov = v, .msg_iovlen = n};
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		ssize_t sent = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (sent < 0 && errno == EAGAIN)
			(void)poll(&p, 1, -1);
		for (size_t left = sent > 0 ? (size_t)sent : 0; left > 0;) {
			size_t skip = MIN2(left, v->iov_len);

			v->iov_base = (uint8_t *)v->iov_base + skip;
			v->iov_len -= skip;
			left -= skip;
			if (v->iov_len == 0) {
				v++;
				n--;
			}
		}
	}
	return 0;
}

static int write_frame(SpdyConnection *c, const uint8_t *before, size_t before_len,
		       const uint8_t head[SPDY_HEAD_LEN], const void *data, size_t len)
{
	struct iovec v[3];
	size_t n = 0;

	if (before_len > 0)
		v[n++] = (struct iovec){(void *)(uintptr_t)before, before_len};
	v[n++] = (struct iovec){(void *)(uintptr_t)head, SPDY_HEAD_LEN};
	if (len > 0)
		v[n++] = (struct iovec){(void *)(uintptr_t)data, len};
	return send_all(c->fd, v, n);
}

/* The lock is held, and is let go of meanwhile. The socket is ours. */
static int write_unlocked(SpdyConnection *c, const uint8_t head[SPDY_HEAD_LEN], const void *data, size_t len)
{
	uint8_t *before = take_ptr(c->control);
	size_t from = c->control_from, before_len = c->control_len;
	int r;

	c->control_from = c->control_len = c->control_cap = 0;
	c->writing = true;
	pthread_mutex_unlock(&c->lock);
	r = write_frame(c, before + from, before_len, head, data, len);
	free(before);
	pthread_mutex_lock(&c->lock);
	c->writing = false;
	c->active_ns = clock_mono_ns();
	if (r < 0)
		spdy_lose(c, false, "write: %s", strerror(-r));
	spdy_flush(c);
	pthread_cond_broadcast(&c->changed);
	return r;
}

/* Whether the stream can take len bytes of ours, or why it never will. */
static int stream_open(const SpdyStream *s, Err *e)
{
	if (s->c->lost || s->c->closing)
		return spdy_gone(s->c, e);
	if (s->reset)
		return err_new_no(e, ERR_CANCELLED, ECONNRESET, "stream %u was reset (%u)", s->id,
				  s->reset_code);
	if (s->out_end)
		return err_new_no(e, ERR_INTERNAL, EPIPE, "stream %u was ended before", s->id);
	return 0;
}

/* 1 with the bytes that may go now, the lock held; an error, too. */
static int wait_turn(SpdyStream *s, size_t want, size_t *ret, Err *e)
{
	SpdyConnection *c = s->c;

	for (;;) {
		int64_t window = c->peer_windows ? s->send_window : (int64_t)want;
		int r = stream_open(s, e);

		if (r < 0)
			return r;
		if (want > 0 && window <= 0) {
			pthread_cond_wait(&s->can_write, &c->lock);
		} else if (c->writing) {
			pthread_cond_wait(&c->changed, &c->lock);
		} else {
			*ret = want > 0 ? (size_t)MIN2((int64_t)want, window) : 0;
			return 1;
		}
	}
}

/* At most one frame; what of it went out, or an error. */
static ssize_t send_frame(SpdyStream *s, const void *data, size_t len, uint8_t flags, Err *e)
{
	SpdyConnection *c = s->c;
	uint8_t head[SPDY_HEAD_LEN];
	size_t n = 0;
	int r;

	pthread_mutex_lock(&c->lock);
	r = wait_turn(s, MIN2(len, (size_t)SPDY_DATA_MAX), &n, e);
	if (r >= 0) {
		s->send_window -= (int64_t)n;
		s->out_end = flags & SPDY_FIN;
		spdy_data_head_write(head, s->id, flags, (uint32_t)n);
		r = write_unlocked(c, head, data, n);
		if (r < 0)
			r = spdy_gone(c, e);
	}
	pthread_mutex_unlock(&c->lock);
	return r < 0 ? r : (ssize_t)n;
}

int spdy_send_data(SpdyStream *s, const void *data, size_t len, uint8_t flags, Err *e)
{
	const uint8_t *p = data;

	do {
		ssize_t n = send_frame(s, p, len, flags, e);

		if (n < 0)
			return (int)n;
		p += n;
		len -= (size_t)n;
	} while (len > 0);
	return 0;
}
