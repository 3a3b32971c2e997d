/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attached clients. A client's life:
 *
 *    live       output is queued for it and written as it reads; its input goes to the process
 *    finishing  no more output will be queued (the stream ended, or it detached); the queue is written
 *    lingering  the queue is empty and our side is shut down: input is thrown away until the client closes,
 *               or a second has passed. Closing a socket that holds unread input would make
 *               the other end see ECONNRESET instead of the end of file (unix(7), tcp(7)).
 *
 * A client that reads nothing at all while finishing is dropped after STALL_NS.
 */
#include "shim/stdio.h"

#include "base/clock.h"

#include <sys/socket.h>
#include <sys/uio.h>

#define LINGER_NS  (1000 * INT64_C(1000000))
#define STALL_NS   (600 * INT64_C(1000000000))
#define MUX_HEADER 8

struct Client {
	Source src;
	Stdio *io;
	Client *next;
	bool mux;
	bool feeds;    /* its input is the process's */
	bool wants[2]; /* stdout, stderr */
	bool in_eof;
	bool parked;     /* it has hung up, but its input cannot be taken yet */
	bool out_broken; /* it does not read any more */
	bool finishing, lingering;
	int64_t deadline; /* of finishing and lingering */
	Queue out;
	Detach detach;
};

static void client_drop(Client *c)
{
	Stdio *io = c->io;
	Client **p = &io->clients;

	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	loop_close(io->loop, &c->src);
	queue_clear(&c->out);
	free(c);
	stdio_check_room(io);
}

static bool client_reads_input(const Client *c)
{
	return !c->in_eof && (!c->feeds || stdio_takes_input(c->io));
}

static void client_update(Client *c)
{
	uint32_t events = (client_reads_input(c) ? EPOLLIN : 0u) | (c->out.len ? EPOLLOUT : 0u);

	if (c->parked && !(events & EPOLLIN))
		return;
	c->parked = false;
	(void)loop_watch(c->io->loop, &c->src, events);
}

/* ---- output ---- */

/* Bytes that went out (0: none now), or -1 when the client is past reading. */
static ssize_t send_now(Client *c, struct iovec *iov, size_t n)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
	ssize_t sent;

	do
		sent = sendmsg(c->src.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM))
		return 0;
	return sent;
}

static void client_break(Client *c)
{
	c->out_broken = true;
	queue_clear(&c->out);
}

/* Writes what waits. Returns false when the client was dropped. */
static bool client_flush(Client *c)
{
	while (c->out.len > 0) {
		struct iovec iov = {(void *)(uintptr_t)queue_head(&c->out), c->out.len};
		ssize_t n = send_now(c, &iov, 1);

		if (n == 0)
			break;
		if (n < 0) {
			client_break(c);
			break;
		}
		queue_skip(&c->out, (size_t)n);
		if (c->finishing)
			c->deadline = clock_mono_ns() + STALL_NS;
	}
	if (c->out_broken && (c->finishing || c->in_eof || !c->feeds)) {
		client_drop(c);
		return false;
	}
	if (c->out.len == 0 && c->finishing && !c->lingering) {
		(void)shutdown(c->src.fd, SHUT_WR);
		c->lingering = true;
		c->deadline = clock_mono_ns() + LINGER_NS;
		if (c->in_eof) {
			client_drop(c);
			return false;
		}
	}
	client_update(c);
	return true;
}

static void client_finish(Client *c)
{
	c->finishing = true;
	c->feeds = false;
	c->deadline = clock_mono_ns() + STALL_NS;
	(void)client_flush(c);
}

static size_t queue_rest(Client *c, const struct iovec *iov, size_t n, size_t sent)
{
	for (size_t i = 0; i < n; i++) {
		size_t skip = MIN2(sent, iov[i].iov_len);

		sent -= skip;
		/* Without memory the frame cannot be kept whole, and half a frame is worse than none. */
		if (queue_put(&c->out, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip) < 0) {
			client_break(c);
			break;
		}
	}
	return c->out.len;
}

static void client_output(Client *c, int stream, const char *data, size_t len)
{
	unsigned char head[MUX_HEADER] = {
	    (unsigned char)(stream + 1),
	    0,
	    0,
	    0,
	    (unsigned char)(len >> 24),
	    (unsigned char)(len >> 16),
	    (unsigned char)(len >> 8),
	    (unsigned char)len,
	};
	struct iovec iov[2] = {{head, sizeof(head)}, {(void *)(uintptr_t)data, len}};
	size_t first = c->mux ? 0 : 1;
	ssize_t sent = 0;

	if (c->out.len == 0)
		sent = send_now(c, iov + first, 2 - first);
	if (sent < 0)
		client_break(c);
	else
		queue_rest(c, iov + first, 2 - first, (size_t)sent);
	if (c->out_broken)
		(void)client_flush(c); /* drops it, unless its input is still of use */
	else
		client_update(c);
}

void clients_output(Stdio *io, int stream, const char *data, size_t n)
{
	for (Client *c = io->clients, *next; c; c = next) {
		next = c->next;
		if (c->wants[stream] && !c->finishing && !c->out_broken)
			client_output(c, stream, data, n);
	}
	stdio_check_room(io);
}

bool clients_have_room(const Stdio *io, size_t limit)
{
	for (const Client *c = io->clients; c; c = c->next)
		if (c->out.len >= limit && !c->finishing)
			return false;
	return true;
}

/* ---- input ---- */

static void client_input_end(Client *c)
{
	Queue q = {0};
	bool feeds = c->feeds;

	c->in_eof = true;
	if (feeds && detach_flush(&c->detach, &q) == 0)
		(void)stdio_input(c->io, queue_head(&q), q.len);
	queue_clear(&q);
	if (feeds)
		stdio_input_end(c->io);
	if (c->lingering || c->out_broken)
		client_drop(c);
	else
		client_update(c);
}

/* Bytes of the client on their way to the process. False when it detached with them. */
static bool client_input(Client *c, const char *data, size_t n)
{
	Queue q = {0};
	int r;

	if (!c->feeds)
		return true;
	if (c->detach.n == 0) {
		r = stdio_input(c->io, data, n);
	} else {
		r = detach_feed(&c->detach, data, n, &q);
		if (q.len && stdio_input(c->io, queue_head(&q), q.len) < 0)
			r = -ENOMEM;
		queue_clear(&q);
	}
	if (r == 0)
		return true;
	if (r == 1 && c->io->detached)
		c->io->detached(c->io);
	/* Detached; or no memory, and input with a hole in it is worse than a client that is told to go. */
	client_finish(c);
	return false;
}

static void client_read(Client *c)
{
	ssize_t n = recv(c->src.fd, c->io->loop->io, LOOP_IO_SIZE, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		client_break(c);
	if (n <= 0) {
		client_input_end(c);
		return;
	}
	if (client_input(c, c->io->loop->io, (size_t)n))
		client_update(c);
}

static void client_ready(Source *s, uint32_t events)
{
	Client *c = s->arg;

	if (events & EPOLLOUT) {
		if (!client_flush(c))
			return;
		stdio_check_room(c->io);
		if (!(events & EPOLLIN))
			return;
	}
	if ((events & (EPOLLIN | EPOLLERR)) || ((events & EPOLLHUP) && client_reads_input(c))) {
		client_read(c);
	} else if (events & EPOLLHUP) {
		if (c->in_eof || !c->feeds) {
			client_drop(c);
			return;
		}
		c->parked = true;
		loop_unwatch(c->io->loop, s);
	}
}

/* ---- life ---- */

void clients_update(Stdio *io)
{
	for (Client *c = io->clients; c; c = c->next)
		client_update(c);
}

void clients_finish(Stdio *io)
{
	for (Client *c = io->clients, *next; c; c = next) {
		next = c->next;
		if (!c->finishing)
			client_finish(c);
	}
}

void clients_drop(Stdio *io)
{
	while (io->clients)
		client_drop(io->clients);
}

int clients_timeout(const Stdio *io, int64_t now_ns)
{
	int64_t least = INT64_MAX;

	for (const Client *c = io->clients; c; c = c->next)
		if (c->finishing)
			least = MIN2(least, c->deadline);
	if (least == INT64_MAX)
		return -1;
	return least <= now_ns ? 0 : (int)((least - now_ns) / 1000000 + 1);
}

void clients_tick(Stdio *io, int64_t now_ns)
{
	for (Client *c = io->clients, *next; c; c = next) {
		next = c->next;
		if (c->finishing && c->deadline <= now_ns)
			client_drop(c);
	}
}

static int client_new(Stdio *io, const ShimAttach *a, Client **ret, Err *e)
{
	Client *c = calloc(1, sizeof(*c));

	if (!c)
		return err_oom(e);
	*c = (Client){
	    .src = {.fd = -1, .ready = client_ready, .arg = c},
	    .io = io,
	    .mux = a->framing == SHIM_MUX,
	    .feeds = a->want_stdin && io->in.fd >= 0,
	    .wants = {a->want_stdout, a->want_stderr},
	};
	if (detach_init(&c->detach, a->detach_keys, a->want_stdin ? a->n_detach_keys : 0) < 0) {
		free(c);
		return err_new(e, ERR_INVALID, "detach keys: more than %d keys", DETACH_KEYS_MAX);
	}
	*ret = c;
	return 0;
}

int stdio_attach(Stdio *io, const ShimAttach *a, Err *e)
{
	_cleanup_close_ int fd = a->fd;
	socklen_t len = sizeof(int);
	Client *c;
	int r, type = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return err_new(e, ERR_INVALID, "attach: the descriptor is not a stream socket");
	r = client_new(io, a, &c, e);
	if (r < 0)
		return r;
	c->src.fd = fd;
	r = loop_watch(io->loop, &c->src, 0);
	if (r < 0) {
		free(c);
		return err_sys(e, r, "watch an attached client");
	}
	(void)take_fd(&fd);
	c->next = io->clients;
	io->clients = c;
	if (a->prefix_len > 0 && !client_input(c, a->prefix, a->prefix_len))
		return 0;
	if (io->finished)
		client_finish(c);
	else
		client_update(c);
	return 0;
}
