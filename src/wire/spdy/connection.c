/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection: its thread, which reads, and its beginning and end.
 *
 * The end that we choose is told to the client (GOAWAY) and waited for, a second at most: closing a socket that holds unread input would make the other side
 * lose what it has not read yet (tcp(7)).
 */
#include "wire/spdy/spdy-internal.h"

#include "base/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define BUF_FIRST    (16 * 1024)
#define READER_STACK (256 * 1024)
#define LINGER_NS    1000000000ll
#define MS           1000000ll

/* ---- under the lock ---- */

void spdy_wake(SpdyConnection *c)
{
	if (c->woken)
		return;
	c->woken = true;
	(void)eventfd_write(c->wake, 1);
}

void spdy_lose(SpdyConnection *c, bool wrong, const char *fmt, ...)
{
	va_list ap;

	if (c->lost)
		return;
	va_start(ap, fmt);
	vsnprintf(c->why, sizeof(c->why), fmt, ap);
	va_end(ap);
	c->lost = true;
	c->wrong = wrong;
	close_fd(&c->dead_end);
	/* Ends the wait of whoever is writing. */
	(void)shutdown(c->fd, SHUT_RDWR);
	for (SpdyStream *s = c->streams; s; s = s->next)
		spdy_stream_changed(s);
	pthread_cond_broadcast(&c->changed);
	spdy_wake(c);
}

int spdy_gone(const SpdyConnection *c, Err *e)
{
	if (c->wrong)
		return err_new_no(e, ERR_INVALID, EPROTO, "the peer broke the protocol: %s", c->why);
	return err_new_no(e, ERR_CANCELLED, EPIPE, "the connection is over: %s",
			  c->why[0] ? c->why : "it was closed here");
}

static void say_goodbye(SpdyConnection *c)
{
	uint8_t payload[8];

	spdy_put32(payload, c->last_id);
	spdy_put32(payload + 4, 0);
	spdy_put_control(c, SPDY_GOAWAY, 0, payload, sizeof(payload));
}

/* ---- the thread ---- */

static int timeout_ms(const SpdyConnection *c)
{
	int64_t left = c->active_ns + c->o.idle_timeout_ms * MS - clock_mono_ns();

	if (c->o.idle_timeout_ms <= 0 || c->closing)
		return -1;
	return left <= 0 ? 0 : (int)MIN2(left / MS + 1, (int64_t)INT32_MAX);
}

/* Room for what is to come: the rest of a control frame, or a piece of anything. */
static bool make_room(SpdyConnection *c)
{
	size_t need = BUF_FIRST;
	uint8_t *p;

	if (c->buf_len >= SPDY_HEAD_LEN && !c->in_frame) {
		SpdyHead h = spdy_head_read(c->buf);

		if (h.control)
			need = MAX2(need, (size_t)SPDY_HEAD_LEN + h.len);
	}
	if (need == c->buf_cap || (need < c->buf_cap && c->buf_len > need))
		return true;
	p = realloc(c->buf, need);
	if (!p)
		return false;
	c->buf = p;
	c->buf_cap = need;
	return true;
}

static void read_some(SpdyConnection *c)
{
	ssize_t n;

	if (!make_room(c)) {
		spdy_lose(c, false, "out of memory");
		return;
	}
	n = recv(c->fd, c->buf + c->buf_len, c->buf_cap - c->buf_len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		spdy_lose(c, false, "%s",
			  n < 0                           ? strerror(errno)
			  : c->in_frame || c->buf_len > 0 ? "the client left in the middle of a frame"
							  : "the client left");
		return;
	}
	c->active_ns = clock_mono_ns();
	c->buf_len += (size_t)n;
	spdy_receive(c);
}

/* Waits without the lock. */
static void wait_for_work(SpdyConnection *c, struct pollfd p[2])
{
	bool full = spdy_is_full(c);
	int timeout = timeout_ms(c);

	/* While nothing is read, only POLLRDHUP tells that the client has left. */
	p[0] = (struct pollfd){.fd = c->fd, .events = (short)(full ? POLLRDHUP : POLLIN)};
	if (c->control_len > 0 && !c->writing)
		p[0].events |= POLLOUT;
	p[1] = (struct pollfd){.fd = c->wake, .events = POLLIN};
	pthread_mutex_unlock(&c->lock);
	if (poll(p, 2, timeout) < 0)
		p[0].revents = p[1].revents = 0;
	pthread_mutex_lock(&c->lock);
}

static void turn(SpdyConnection *c)
{
	struct pollfd p[2];
	eventfd_t unused;

	wait_for_work(c, p);
	if (p[1].revents) {
		(void)eventfd_read(c->wake, &unused);
		c->woken = false;
		spdy_receive(c); /* what was left in the buffer */
	}
	if (c->lost)
		return;
	if (p[0].revents & POLLOUT)
		spdy_flush(c);
	if (p[0].revents & (POLLIN | POLLERR | POLLHUP) && !spdy_is_full(c))
		read_some(c);
	else if (p[0].revents & (POLLRDHUP | POLLERR | POLLHUP))
		spdy_lose(c, false, "the client left");
	if (!c->lost && timeout_ms(c) == 0)
		spdy_lose(c, false, "nothing was sent for %d ms", c->o.idle_timeout_ms);
}

static void *reader(void *arg)
{
	SpdyConnection *c = arg;

	pthread_mutex_lock(&c->lock);
	spdy_receive(c);
	while (!c->lost)
		turn(c);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* No signal is handled by it. */
static int start_reader(SpdyConnection *c)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, READER_STACK);
	r = pthread_create(&c->reader, &attr, reader, c);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

/* ---- made and freed ---- */

static SpdyLimits with_defaults(const SpdyLimits *o)
{
	SpdyLimits l = o ? *o : (SpdyLimits){0};

	l.streams_max = l.streams_max ? l.streams_max : 256;
	l.headers_max = l.headers_max ? l.headers_max : 64 * 1024;
	l.window = MIN2(l.window ? l.window : SPDY_WINDOW, (uint32_t)SPDY_UNREAD_MAX);
	return l;
}

static void connection_free(SpdyConnection *c)
{
	while (c->streams)
		spdy_stream_free(c->streams);
	spdy_inflate_done(&c->inflate);
	close_fd(&c->fd);
	close_fd(&c->wake);
	close_fd(&c->dead_fd);
	close_fd(&c->dead_end);
	free(c->buf);
	free(c->control);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->changed);
	free(c);
}

static int open_descriptors(SpdyConnection *c)
{
	int fds[2];

	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wake < 0 || pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	c->dead_fd = fds[0];
	c->dead_end = fds[1];
	return 0;
}

static void init_lock(SpdyConnection *c)
{
	pthread_condattr_t a;

	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &a);
	pthread_condattr_destroy(&a);
}

static int begin(SpdyConnection *c, const void *prefix, size_t len)
{
	uint8_t payload[12] = {0, 0, 0, 1, 0, 0, 0, SPDY_SETTING_WINDOW};
	int r = open_descriptors(c);

	if (r < 0)
		return r;
	c->buf_cap = MAX2(len, (size_t)BUF_FIRST);
	c->buf = malloc(c->buf_cap);
	if (!c->buf)
		return -ENOMEM;
	if (len > 0)
		memcpy(c->buf, prefix, len);
	c->buf_len = len;
	if (c->o.window != SPDY_WINDOW) {
		spdy_put32(payload + 8, c->o.window);
		spdy_put_control(c, SPDY_SETTINGS, 0, payload, sizeof(payload));
	}
	return start_reader(c);
}

int spdy_serve(int fd, const void *prefix, size_t prefix_len, const SpdyLimits *o, SpdyConnection **ret,
	       Err *e)
{
	SpdyConnection *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		close_fd(&fd);
		return err_oom(e);
	}
	c->fd = fd;
	c->wake = c->dead_fd = c->dead_end = -1;
	c->o = with_defaults(o);
	c->peer_window = SPDY_WINDOW;
	c->active_ns = clock_mono_ns();
	init_lock(c);
	r = begin(c, prefix, prefix_len);
	if (r < 0) {
		connection_free(c);
		return err_sys(e, r, "serve a SPDY connection");
	}
	*ret = c;
	return 0;
}

static struct timespec at(int64_t ns)
{
	return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

/* The lock is held. All that was said goes out, if the client takes it; then it has the rest of a second to leave. */
static void part(SpdyConnection *c)
{
	struct timespec until = at(clock_mono_ns() + LINGER_NS);
	bool shut = false;
	int r = 0;

	while (!c->lost && r == 0) {
		if (!shut && c->control_len == 0 && !c->writing) {
			(void)shutdown(c->fd, SHUT_WR);
			shut = true;
		}
		r = pthread_cond_timedwait(&c->changed, &c->lock, &until);
	}
}

void spdy_connection_close(SpdyConnection *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	for (SpdyStream *s = c->streams; s && !c->lost; s = s->next)
		if (!s->reset && !(s->in_end && s->out_end))
			spdy_put_reset(c, s->id, SPDY_CANCEL);
	say_goodbye(c);
	c->closing = true;
	for (SpdyStream *s = c->streams; s; s = s->next)
		spdy_stream_changed(s);
	spdy_flush(c);
	spdy_wake(c);
	part(c);
	spdy_lose(c, false, "it was closed here");
	pthread_mutex_unlock(&c->lock);
	(void)pthread_join(c->reader, NULL);
	connection_free(c);
}

int spdy_dead_fd(SpdyConnection *c)
{
	return c->dead_fd;
}

int spdy_accept(SpdyConnection *c, int wait_ms, SpdyStream **ret, Err *e)
{
	struct timespec until = at(clock_mono_ns() + wait_ms * MS);
	SpdyStream *s;
	int r = 0;

	pthread_mutex_lock(&c->lock);
	while (!c->accept_first && !c->lost && r == 0)
		r = wait_ms < 0 ? pthread_cond_wait(&c->changed, &c->lock)
				: pthread_cond_timedwait(&c->changed, &c->lock, &until);
	s = c->accept_first; /* of one that is over, too: what it has sent can be read */
	if (s) {
		c->accept_first = s->accept_next;
		if (!c->accept_first)
			c->accept_last = NULL;
		s->accepted = true;
		*ret = s;
		r = 1;
	} else if (c->lost) {
		r = c->wrong ? spdy_gone(c, e) : 0;
	} else {
		r = err_new_no(e, ERR_UNAVAILABLE, ETIMEDOUT, "no stream was opened within %d ms", wait_ms);
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}
