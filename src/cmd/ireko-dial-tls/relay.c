/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes both ways, without blocking: a step tries everything that it has room for, and waits when nothing moved. The end of
 * input becomes close_notify, and output goes on, as on a socket that was shut down one way. (No FIN: to some it means that we
 * are gone.)
 */
#include "base/fd.h"
#include "dial-tls.h"

#include <poll.h>
#include <sys/socket.h>

typedef struct Pipe {
	char buf[16384];
	size_t start, end;
} Pipe;

typedef struct Relay {
	SSL *ssl;
	int net, sock;
	Pipe up, down; /* to the net, from it */
	bool up_ended, up_closed, down_ended, gone;
	short want; /* what SSL waits for on the net */
} Relay;

static bool is_empty(const Pipe *p)
{
	return p->start == p->end;
}

/* The number of bytes, 0 for none now, -1 when the connection is over. */
static int outcome(Relay *r, int n)
{
	switch (SSL_get_error(r->ssl, n)) {
	case SSL_ERROR_NONE:
		return n;
	case SSL_ERROR_WANT_READ:
		r->want |= POLLIN;
		return 0;
	case SSL_ERROR_WANT_WRITE:
		r->want |= POLLOUT;
		return 0;
	default:
		return -1;
	}
}

static bool move_up(Relay *r)
{
	bool moved = false;

	if (is_empty(&r->up) && !r->up_ended) {
		ssize_t n = recv(r->sock, r->up.buf, sizeof(r->up.buf), MSG_DONTWAIT);

		r->up.start = 0;
		r->up.end = n > 0 ? (size_t)n : 0;
		r->up_ended = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
		moved = n >= 0;
	}
	if (!is_empty(&r->up)) {
		int n =
		    outcome(r, SSL_write(r->ssl, r->up.buf + r->up.start, (int)(r->up.end - r->up.start)));

		r->gone = r->gone || n < 0;
		r->up.start += n > 0 ? (size_t)n : 0;
		moved = moved || n > 0;
	}
	if (is_empty(&r->up) && r->up_ended && !r->up_closed) {
		(void)SSL_shutdown(r->ssl);
		r->up_closed = moved = true;
	}
	return moved;
}

static bool move_down(Relay *r)
{
	bool moved = false;

	if (is_empty(&r->down) && !r->down_ended) {
		int n = outcome(r, SSL_read(r->ssl, r->down.buf, sizeof(r->down.buf)));

		r->down_ended = n < 0;
		r->down.start = 0;
		r->down.end = n > 0 ? (size_t)n : 0;
		moved = n != 0;
	}
	if (!is_empty(&r->down)) {
		ssize_t n = send(r->sock, r->down.buf + r->down.start, r->down.end - r->down.start,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		r->gone = r->gone || (n < 0 && errno != EAGAIN && errno != EINTR);
		r->down.start += n > 0 ? (size_t)n : 0;
		moved = moved || n > 0;
	}
	return moved;
}

static void wait_for_more(Relay *r)
{
	struct pollfd p[] = {
	    {.fd = r->sock,
	     .events = (short)((is_empty(&r->up) && !r->up_ended ? POLLIN : 0) |
			       (is_empty(&r->down) ? 0 : POLLOUT))},
	    {.fd = r->want ? r->net : -1, .events = r->want},
	};

	(void)poll(p, ELEMENTSOF(p), -1);
	/* Whoever we relay for has gone altogether, and all that it said is out. */
	if (p[0].revents & (POLLHUP | POLLERR) && is_empty(&r->up) && r->up_ended)
		r->gone = true;
}

void relay(SSL *ssl, int sock)
{
	static Relay r;

	r = (Relay){.ssl = ssl, .net = SSL_get_fd(ssl), .sock = sock};
	(void)SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	(void)fd_set_nonblock(r.net, true);
	while (!r.gone && !(r.down_ended && is_empty(&r.down))) {
		r.want = 0;
		/* Both are tried before either is waited for. */
		bool up = move_up(&r), down = move_down(&r);

		if (!up && !down)
			wait_for_more(&r);
	}
}
