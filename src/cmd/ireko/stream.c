/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See stream.h. One poll loop. The socket is written without blocking and input is read only when everything
 * before it is gone, so that a container that does not read its input cannot keep us from showing its output.
 */
#include "stream.h"
#include "base/fd.h"

#include <poll.h>
#include <sys/signalfd.h>

int demux_feed(Demux *d, const char *data, size_t n, Err *e)
{
	while (n > 0) {
		size_t take = n;
		int fd = d->out_fd;

		if (!d->raw && d->left == 0) {
			take = MIN2(n, sizeof(d->header) - d->have);
			memcpy(d->header + d->have, data, take);
			d->have += take;
			data += take;
			n -= take;
			if (d->have < sizeof(d->header))
				break;
			if (d->header[0] > 3 || d->header[1] || d->header[2] || d->header[3])
				return err_new_no(e, ERR_INTERNAL, EBADMSG,
						  "the engine's stream has a broken frame");
			d->left = (uint32_t)d->header[4] << 24 | (uint32_t)d->header[5] << 16 |
				  (uint32_t)d->header[6] << 8 | d->header[7];
			d->have = 0;
			continue;
		}
		if (!d->raw) {
			take = MIN2(n, (size_t)d->left);
			d->left -= (uint32_t)take;
			if (d->header[0] >= 2)
				fd = d->err_fd;
		}
		int r = fd >= 0 ? fd_write_all(fd, data, take) : 0;
		if (r < 0)
			return err_sys(e, r, "write the output");
		data += take;
		n -= take;
	}
	return 0;
}

typedef struct Input {
	char buf[32768 + STREAM_KEYS_MAX];
	size_t start, end; /* not sent yet */
	size_t matched;    /* keys of the detach sequence that are held back */
	bool eof, closed;  /* input ended; the socket's sending side is shut */
	bool detached;
} Input;

/* The longest end of what was matched that begins the sequence anew. */
static size_t shorter_match(const unsigned char *keys, size_t matched)
{
	size_t k = matched - 1;

	while (k > 0 && memcmp(keys, keys + matched - k, k) != 0)
		k--;
	return k;
}

/* Takes n bytes of input; what may belong to the detach sequence is held back (it is a prefix of it). */
static void filter_input(const Stream *s, Input *in, const char *data, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)data[i];

		while (in->matched > 0 && s->keys[in->matched] != c) {
			size_t k = shorter_match(s->keys, in->matched);

			memcpy(in->buf + in->end, s->keys, in->matched - k);
			in->end += in->matched - k;
			in->matched = k;
		}
		if (s->n_keys == 0 || s->keys[in->matched] != c) {
			in->buf[in->end++] = (char)c;
		} else if (++in->matched == s->n_keys) {
			in->detached = true;
			return;
		}
	}
}

static int read_input(const Stream *s, Input *in, Err *e)
{
	char data[32768];
	ssize_t n = read(s->in_fd, data, sizeof(data));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	/* A hung-up terminal says EIO: that is the end of input, not a failure. */
	if (n < 0 && errno != EIO)
		return err_sys(e, errno, "read the input");
	in->start = in->end = 0;
	if (n > 0) {
		filter_input(s, in, data, (size_t)n);
		return 0;
	}
	memcpy(in->buf, s->keys, in->matched);
	in->end = in->matched;
	in->matched = 0;
	in->eof = true;
	return 0;
}

/* Sends what it can; a peer that does not read any more only ends the input. */
static void send_input(const Stream *s, Input *in)
{
	while (in->start < in->end) {
		ssize_t n =
		    send(s->sock, in->buf + in->start, in->end - in->start, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			in->eof = in->closed = true;
			in->start = in->end = 0;
			return;
		}
		in->start += (size_t)n;
	}
	if (in->eof && !in->closed) {
		(void)shutdown(s->sock, SHUT_WR);
		in->closed = true;
	}
}

/* 1 at the end of the stream. */
static int read_output(Stream *s, Err *e)
{
	char data[65536];
	ssize_t n = recv(s->sock, data, sizeof(data), MSG_DONTWAIT);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	/* The other side was killed: what came so far is all there is; the caller learns the rest
	 * otherwise. */
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return 1;
	if (n < 0)
		return err_sys(e, errno, "read the stream");
	return demux_feed(&s->output, data, (size_t)n, e);
}

static void take_signals(const Stream *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		s->on_signal(s->user, (int)info.ssi_signo);
}

static int step(Stream *s, Input *in, Err *e)
{
	bool pending = in->start < in->end || (in->eof && !in->closed),
	     want_input = s->in_fd >= 0 && !in->eof && !pending;
	struct pollfd p[3] = {
	    {.fd = s->sock, .events = (short)(POLLIN | (pending ? POLLOUT : 0))},
	    {.fd = want_input ? s->in_fd : -1, .events = POLLIN},
	    {.fd = s->signal_fd, .events = POLLIN},
	};
	int r = 0;

	if (poll(p, ELEMENTSOF(p), -1) < 0)
		return errno == EINTR ? 0 : err_sys(e, errno, "poll");
	if (p[2].revents)
		take_signals(s);
	if (p[1].revents)
		r = read_input(s, in, e);
	if (r == 0 && (p[1].revents || p[0].revents & POLLOUT))
		send_input(s, in);
	if (r == 0 && p[0].revents & ~POLLOUT)
		r = read_output(s, e);
	return r;
}

int stream_run(Stream *s, Err *e)
{
	_cleanup_free_ Input *in = calloc(1, sizeof(*in));
	int r = in ? 0 : err_oom(e);

	if (r == 0)
		r = demux_feed(&s->output, s->ahead, s->n_ahead, e);
	while (r == 0 && !in->detached)
		r = step(s, in, e);
	return r < 0 ? r : in->detached && r == 0 ? STREAM_DETACHED : STREAM_ENDED;
}
